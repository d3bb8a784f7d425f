"""LMTP (RFC 2033), both sides: one reply for each recipient, whoever decides it and wherever the line breaks."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto import Address, Reject, TLSPolicy, aio
from mailproto.errors import LocalProtocolError
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.smtp import (
    Delivery,
    MessageEnd,
    Outcome,
    Reply,
    ServerState,
    SMTPClientConfig,
    SMTPClientConnection,
    SMTPServerConfig,
)
from mailproto.smtp.flows.client import SessionOptions, open_session
from mailproto.smtp.flows.sending import send_message, send_messages
from mailproto.smtp.flows.server import SMTPSession, serve
from mailproto.smtp.messages.submission import make_submission
from tests.adapters.harness import PATIENCE, Wire
from tests.helpers import PROPERTY, assert_plays, every_cut, talk
from tests.smtp import MAIL, server
from tests.smtp.pipes import Driver, converse, scripted, serving

# The example of section 4.2.

SERVER = """
E: Connected
! accept("LMTP server ready")
S: 220 foo.edu LMTP server ready
C: LHLO foo.edu
E: Hello 'foo.edu' extended
! accept()
S: 250-foo.edu
S: 250-PIPELINING
S: 250 SIZE 33554432
C: MAIL FROM:<chris@bar.com>
E: Mail chris@bar.com
! accept("OK")
S: 250 OK
C: RCPT TO:<pat@foo.edu>
E: Rcpt pat@foo.edu
! accept("OK")
S: 250 OK
C: RCPT TO:<jones@foo.edu>
E: Rcpt jones@foo.edu
! reject(550, "No such user here")
S: 550 No such user here
C: RCPT TO:<green@foo.edu>
E: Rcpt green@foo.edu
! accept("OK")
S: 250 OK
C: DATA
E: Data
! accept("Start mail input; end with <CRLF>.<CRLF>")
S: 354 Start mail input; end with <CRLF>.<CRLF>
C: Blah blah blah...
C: ...etc. etc. etc.
C: .
B: Blah blah blah...
B: ..etc. etc. etc.
E: MessageEnd 37 chris@bar.com > pat@foo.edu, green@foo.edu
{answer}
S: 250 OK
S: 452 <green@foo.edu> is temporarily over quota
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""

AT_ONCE = '! reply_each([Reply(250, "OK"), Reply(452, "<green@foo.edu> is temporarily over quota")])'
ONE_BY_ONE = """
! ask_each()
E: Delivery Rcpt pat@foo.edu chris@bar.com > pat@foo.edu, green@foo.edu
! accept("OK")
E: Delivery Rcpt green@foo.edu chris@bar.com > pat@foo.edu, green@foo.edu
! reject(452, "<green@foo.edu> is temporarily over quota")
"""

CLIENT = """
S: 220 foo.edu LMTP server ready
E: GreetingReceived 220 foo.edu LMTP server ready
! lhlo("foo.edu")
C: LHLO foo.edu
S: 250-foo.edu
S: 250-PIPELINING
S: 250 SIZE
E: ReplyReceived [LHLO] 250 foo.edu / PIPELINING / SIZE
! mail(Address.parse("chris@bar.com"))
! rcpt(Address.parse("pat@foo.edu"))
! rcpt(Address.parse("jones@foo.edu"))
! rcpt(Address.parse("green@foo.edu"))
! data()
C: MAIL FROM:<chris@bar.com>
C: RCPT TO:<pat@foo.edu>
C: RCPT TO:<jones@foo.edu>
C: RCPT TO:<green@foo.edu>
C: DATA
S: 250 OK
S: 250 OK
S: 550 No such user here
S: 250 OK
S: 354 Start mail input; end with <CRLF>.<CRLF>
E: ReplyReceived [MAIL] 250 OK
E: ReplyReceived [RCPT] 250 OK
E: ReplyReceived [RCPT] 550 No such user here
E: ReplyReceived [RCPT] 250 OK
E: ReadyForData [DATA] 354 Start mail input; end with <CRLF>.<CRLF>
! send_data(b"Blah blah blah...\\r\\n")
! end_data()
C: Blah blah blah...
C: .
S: 250-a reply of several lines
S: 250 is one reply
S: 452 <green@foo.edu> is temporarily over quota
E: ReplyReceived [.] 452 <green@foo.edu> is temporarily over quota
! quit()
C: QUIT
S: 221 foo.edu closing connection
E: ReplyReceived [QUIT] 221 foo.edu closing connection
E: ConnectionClosed clean
"""


def plain(hostname: str = "foo.edu") -> Any:
    """Return a server that offers what the one of the example does."""
    config = SMTPServerConfig(lmtp=True)
    known = tuple(e for e in config.extensions if e.keyword in ("PIPELINING", "SIZE"))
    return server(lmtp=True, hostname=hostname, extensions=known)


@pytest.mark.parametrize("answer", [AT_ONCE, ONE_BY_ONE])
def test_the_dialogue(answer: str) -> None:
    assert_plays(plain, SERVER.replace("{answer}", answer))


def test_the_dialogue_of_a_client() -> None:
    assert_plays(lambda: SMTPClientConnection(SMTPClientConfig(lmtp=True)), CLIENT)


# The server.


def greeted(**settings: Any) -> Any:
    conn = server(lmtp=True, **settings)
    talk(conn, [b"LHLO x\r\n"])
    return conn


def at_message_end(count: int, how: bytes = b"DATA\r\nx\r\n.\r\n", **settings: Any) -> Any:
    """Return a server with a message for so many recipients pending."""
    conn = greeted(**settings)
    wire = MAIL + b"".join(b"RCPT TO:<r%d@x>\r\n" % i for i in range(count)) + how

    def answer(conn: Any, event: object) -> None:
        if not isinstance(event, MessageEnd):
            conn.accept()

    conn.receive_data(wire)
    while conn.pending is None or not isinstance(conn.pending, MessageEnd):
        event = conn.next_event()
        if conn.pending is not None:
            answer(conn, event)
    conn.data_to_send()
    return conn


BDAT = b"BDAT 3 LAST\r\nx\r\n"


@pytest.mark.parametrize("verb", [b"EHLO x\r\n", b"HELO x\r\n"])
def test_the_greetings_of_smtp_are_unknown(verb: bytes) -> None:
    """Section 4.1: never a positive reply; 500 is recommended."""
    assert talk(server(lmtp=True), [verb]).replies == [b"220", b"500"]
    assert talk(server(), [b"LHLO x\r\n"]).replies == [b"220", b"500"]


def test_help_names_the_greeting_that_there_is() -> None:
    verbs = talk(greeted(), [b"HELP\r\n"]).output.split()
    assert b"LHLO" in verbs and not {b"EHLO", b"HELO"} & set(verbs)


def test_without_recipients_there_is_no_message() -> None:
    """Section 4.2 and 4.3: DATA is refused with 503, and a last chunk gets no reply at all."""
    for pieces in every_cut(MAIL + b"DATA\r\nBDAT 4 LAST\r\nQUITBDAT 1\r\nxNOOP\r\n"):
        assert talk(greeted(), pieces).replies == [b"250", b"503", b"503", b"250"]


def test_a_chunk_that_is_not_known_gets_its_reply() -> None:
    """Nobody may have promised to send as many replies as there are recipients to a command that does not exist."""
    conn = greeted(extensions=())
    wire = MAIL + b"RCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\n" + BDAT
    assert talk(conn, [wire]).replies == [b"250", b"250", b"250", b"502"]


@pytest.mark.parametrize("how", [b"DATA\r\nx\r\n.\r\n", BDAT, b"BDAT 1\r\nxBDAT 2\r\n\r\nBDAT 0 LAST\r\n"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_as_many_replies_as_recipients(count: int, how: bytes) -> None:
    for answer in ("accept", "reject", "ask_each", "answer_default"):
        conn = at_message_end(count, how)
        getattr(conn, answer)()
        result = talk(conn, [b"NOOP\r\n"])
        said = {"accept": b"250", "reject": b"554", "ask_each": b"250", "answer_default": b"451"}[answer]
        assert result.replies == [said] * count + [b"250"]
        assert conn.envelope is None
        assert conn.state is ServerState.READY


def test_each_reply_leaves_before_the_next_recipient_is_asked() -> None:
    """Section 5: as soon as possible."""
    conn = at_message_end(3)
    conn.ask_each()
    for i, code in enumerate((250, 452, 550)):
        event = conn.next_event()
        assert isinstance(event, Delivery)
        assert str(event.recipient.address) == f"r{i}@x"
        assert conn.pending is event
        conn.reply(Reply(code, "so"))
        assert conn.data_to_send() == b"%d so\r\n" % code
    assert conn.idle


def test_what_nobody_says_of_a_recipient_is_not_yes() -> None:
    conn = at_message_end(2)
    conn.ask_each()
    for _ in range(2):
        conn.next_event()
        conn.answer_default()
    assert conn.data_to_send().startswith(b"451 ")


def test_nothing_is_said_to_a_recipient_that_means_something_else() -> None:
    conn = at_message_end(1)
    conn.ask_each()
    conn.next_event()
    for code in (354, 334, 199):
        with pytest.raises(LocalProtocolError):
            conn.reply(Reply(code, "no"))
    conn.accept()
    assert conn.idle


def test_good_bye_to_one_recipient_is_good_bye() -> None:
    conn = at_message_end(3)
    conn.ask_each()
    conn.next_event()
    conn.reject(421, "leaving", "4.3.2")
    result = talk(conn, [])
    assert result.lines == ["ConnectionClosed 'closed by the server'"]
    assert conn.data_to_send() == b""


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_good_bye_among_replies_at_once_stands_behind_them(place: int) -> None:
    """A client reads no further, and would send the message again to those who come behind."""
    conn = at_message_end(3)
    each = [Reply(250, "yes")] * 3
    each[place] = Reply.build(421, "leaving", "4.3.2")
    conn.reply_each(each)
    said = [b"250 yes"] * 3 + [b"421 4.3.2 leaving"]
    if place == 2:
        del said[2]
    else:
        said[place] = b"451 4.3.2 leaving"
    assert conn.data_to_send() == b"".join(line + b"\r\n" for line in said)
    assert talk(conn, []).lines == ["ConnectionClosed 'closed by the server'"]


@pytest.mark.parametrize("place", [0, 1])
def test_who_takes_no_mail_hangs_up_behind_the_replies_at_once(place: int) -> None:
    """A 521 closes the connection, whichever recipient it is said of."""
    conn = at_message_end(2)
    each = [Reply(250, "yes")] * 2
    each[place] = Reply.build(521, "no mail here", "5.3.2")
    conn.reply_each(each)
    said = [b"250 yes"] * 2
    said[place] = b"521 5.3.2 no mail here"
    assert conn.data_to_send() == b"".join(line + b"\r\n" for line in said)
    assert talk(conn, []).lines == ["ConnectionClosed 'closed by the server'"]


def test_replies_one_by_one_are_for_messages_in_lmtp() -> None:
    with pytest.raises(LocalProtocolError):
        at_message_end(2).reply_each([Reply(250)])
    with pytest.raises(LocalProtocolError):
        at_message_end(2).reply_each([Reply(250), Reply(354)])
    conn = greeted()
    conn.receive_data(MAIL)
    conn.next_event()
    for answer in (conn.ask_each, lambda: conn.reply_each([])):
        with pytest.raises(LocalProtocolError):
            answer()
    conn.accept()
    conn = server()
    talk(conn, [b"EHLO x\r\n", MAIL, b"RCPT TO:<a@x>\r\n"])
    conn.receive_data(BDAT)
    while not isinstance(conn.pending, MessageEnd):
        if conn.next_event() is not None and conn.pending is not None and not isinstance(conn.pending, MessageEnd):
            conn.accept()
    for answer in (conn.ask_each, lambda: conn.reply_each([Reply(250)])):
        with pytest.raises(LocalProtocolError):
            answer()


def test_a_refused_message_is_refused_to_each() -> None:
    conn = greeted()
    result = talk(conn, [MAIL + b"RCPT TO:<a@x>\r\nRCPT TO:<a@x>\r\nDATA\r\na\nb\r\n.\r\nNOOP\r\n"])
    assert result.replies == [b"250", b"250", b"250", b"354", b"550", b"550", b"250"]


def test_commands_behind_the_message_wait_for_all_replies() -> None:
    conn = at_message_end(2)
    conn.receive_data(MAIL + b"QUIT\r\n")
    conn.ask_each()
    assert isinstance(conn.next_event(), Delivery)
    conn.accept()
    assert isinstance(conn.next_event(), Delivery)
    conn.accept()
    assert talk(conn, []).replies == [b"250", b"250", b"250", b"221"]


def test_a_shutdown_waits_for_all_replies() -> None:
    conn = at_message_end(2)
    conn.ask_each()
    conn.next_event()
    conn.accept()
    conn.shut_down()
    assert not conn.closing
    conn.next_event()
    conn.accept()
    assert [line[:3] for line in conn.data_to_send().split(b"\r\n")] == [b"250", b"250", b"421", b""]


# Hooks.


class Box:
    """Delivers to those whose names do not say otherwise."""

    def __init__(self, message_verdict: Any = None) -> None:
        self.calls: list[str] = []
        self._message_verdict = message_verdict

    def on_rcpt(self, session: SMTPSession, rcpt: Any) -> None:
        if rcpt.address.local_part == "stranger":
            raise Reject(550, "no such user", "5.1.1")

    def on_message(self, session: SMTPSession, envelope: Any) -> Any:
        self.calls.append(f"message of {len(bytes(envelope))}")
        if callable(self._message_verdict):  # a new exception each time, for one that was raised keeps all frames
            raise self._message_verdict()
        return self._message_verdict

    def on_delivery(self, session: SMTPSession, envelope: Any, rcpt: Any) -> Any:
        name = rcpt.address.local_part
        self.calls.append(f"{name} gets {len(bytes(envelope))}")
        match name:
            case "full":
                raise Reject(452, "over quota", "4.2.2")
            case "broken":
                raise ValueError("the secret of the disk")
            case "words":
                return "it is here"
            case "reply":
                return Reply.build(251, "moved", "2.1.5")
            case "wrong":
                return Reply(354, "what?")
        return None


def serving_box(box: object, **settings: Any) -> Callable[[bytes], bytes | None]:
    conn = server(lmtp=True, **settings)
    answer = serving(Driver(conn, serve(SMTPSession(conn), box)))
    answer(b"")
    answer(b"LHLO x\r\n")
    return answer


def codes(said: bytes | None) -> list[bytes]:
    return [line[:3] for line in (said or b"").split(b"\r\n") if line]


def send(answer: Callable[[bytes], bytes | None], *names: str, how: bytes = BDAT) -> bytes:
    wire = MAIL + b"".join(f"RCPT TO:<{name}@x>\r\n".encode() for name in names) + how
    return answer(wire) or b""


def test_each_recipient_has_a_verdict_of_its_own() -> None:
    box = Box()
    names = ("ada", "stranger", "full", "broken", "ada", "words", "reply", "wrong")
    said = send(serving_box(box), *names)
    assert box.calls == ["message of 3"] + [f"{name} gets 3" for name in names if name != "stranger"]
    final = said.split(b"\r\n")[len(names) + 1 : -1]
    assert [line[:3] for line in final] == [b"250", b"452", b"451", b"250", b"250", b"251", b"451"]
    assert final[1] == b"452 4.2.2 over quota"
    assert final[4] == b"250 2.0.0 it is here"
    assert b"secret" not in said


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (lambda: Reject(552, "too big", "5.3.4"), b"552"),
        (lambda: ValueError("no"), b"451"),
        (Reply.build(450, "later", "4.2.0"), b"450"),
        (Reply.build(550, "never", "5.7.1"), b"550"),
    ],
)
def test_a_message_that_is_refused_is_delivered_to_nobody(verdict: Any, code: bytes) -> None:
    box = Box(verdict)
    said = send(serving_box(box), "ada", "bob")
    assert codes(said)[-2:] == [code, code]
    assert box.calls == ["message of 3"]


@pytest.mark.parametrize("verdict", [None, "taken", Reply.build(250, "taken", "2.0.0")])
def test_a_message_that_is_taken_is_still_to_be_delivered(verdict: Any) -> None:
    box = Box(verdict)
    assert codes(send(serving_box(box), "ada", "full"))[-2:] == [b"250", b"452"]


def test_one_hook_may_do() -> None:
    class OnlyDelivery:
        def on_rcpt(self, session: Any, rcpt: Any) -> None:
            return None

        def on_delivery(self, session: Any, envelope: Any, rcpt: Any) -> None:
            if rcpt.address.local_part == "full":
                raise Reject(452)

    class OnlyMessage:
        on_rcpt = OnlyDelivery.on_rcpt

        def on_message(self, session: Any, envelope: Any) -> None:
            return None

    assert codes(send(serving_box(OnlyDelivery()), "ada", "full"))[-2:] == [b"250", b"452"]
    assert codes(send(serving_box(OnlyMessage()), "ada", "full"))[-2:] == [b"250", b"250"]
    conn = server()
    answer = serving(Driver(conn, serve(SMTPSession(conn), OnlyDelivery())))
    answer(b"EHLO x\r\n")
    assert codes(send(answer, "ada"))[-1] == b"451", "over SMTP nobody has taken it"


def test_over_smtp_recipients_are_not_asked_for() -> None:
    box = Box()
    conn = server()
    answer = serving(Driver(conn, serve(SMTPSession(conn), box)))
    answer(b"EHLO x\r\n")
    assert codes(send(answer, "ada", "full"))[-1] == b"250"
    assert box.calls == ["message of 3"]


def test_a_hook_that_closes_the_connection_is_asked_no_more() -> None:
    class Leaving(Box):
        def on_delivery(self, session: Any, envelope: Any, rcpt: Any) -> None:
            super().on_delivery(session, envelope, rcpt)
            session.conn.close()

    box = Leaving()
    said = send(serving_box(box), "ada", "bob")
    assert codes(said)[-1] == b"421"
    assert box.calls == ["message of 3", "ada gets 3"]


NAMES = st.lists(st.sampled_from(["ada", "stranger", "full", "broken", "words"]), max_size=6)
VERDICTS = {"ada": b"250", "full": b"452", "broken": b"451", "words": b"250"}


@PROPERTY
@given(st.lists(st.tuples(NAMES, st.sampled_from([BDAT, b"DATA\r\nx\r\n.\r\n"])), max_size=4))
def test_replies_never_get_out_of_step(transactions: list[tuple[list[str], bytes]]) -> None:
    """S18: one transaction after the other on one connection, recipients refused and named twice."""
    answer = serving_box(Box())
    for names, how in transactions:
        taken = [name for name in names if name != "stranger"]
        said = codes(send(answer, *names, how=how if taken else b"RSET\r\n"))
        expected = [b"250", *(b"550" if name == "stranger" else b"250" for name in names)]
        if taken:
            expected += [b"354"] * (how != BDAT) + [VERDICTS[name] for name in taken]
        else:
            expected += [b"250"]
        assert said == expected


def test_the_mail_host_delivers_to_each() -> None:
    class Broken(MemoryMaildrop):
        def deliver(self, content: Any) -> str:
            raise OSError("disk full")

    drops = {"ada": MemoryMaildrop(), "bob": Broken()}
    host = MailHost(drops.__getitem__, {"ada": "x", "bob": "y"}, ["x"])
    answer = serving_box(host)
    for _ in range(2):
        said = codes(send(answer, "ada", "eve", "bob", "ada"))
        assert said == [b"250", b"250", b"550", b"250", b"250", b"250", b"451", b"250"]
    assert len(drops["ada"].open().messages) == 2, "once a message, though it was named twice"


# The client.

OFFER = "250-foo.edu|250-PIPELINING|250-CHUNKING|250 8BITMIME"
NO_CHUNKS = "250-foo.edu|250-PIPELINING|250 8BITMIME"
MESSAGE = b"Subject: x\r\n\r\nbody\r\n"
TO = ["a@x", "b@x", "a@x", "c@x"]


def opened(offer: str = OFFER) -> SMTPClientConnection:
    conn = SMTPClientConnection(SMTPClientConfig(lmtp=True))
    options = SessionOptions(tls=TLSPolicy.NONE, local_name="client.example")
    converse(conn, open_session(conn, options), scripted(offer, greeting="220 foo.edu"))
    return conn


def outcomes(result: Any) -> list[str]:
    return [recipient.outcome.name for recipient in result.recipients]


def test_mixed_verdicts_and_duplicates() -> None:
    conn = opened(NO_CHUNKS)
    script = scripted("250 ok|250 ok|550 no|250 ok|250 ok|354 go", "250 yes|452 full|554 virus", greeting="")
    driver, _ = converse(conn, send_message(conn, make_submission(MESSAGE, "s@x", TO)), script)
    result = driver.result
    assert outcomes(result) == ["ACCEPTED", "REFUSED", "DEFERRED", "REFUSED"]
    assert [str(recipient.reply) for recipient in result.recipients] == ["250 yes", "550 no", "452 full", "554 virus"]
    assert [recipient.phase for recipient in result.recipients] == [".", "RCPT", ".", "."]
    assert conn.idle


FINAL = b"250 yes\r\n452-full\r\n452 really\r\n554 virus\r\n"


def test_the_line_breaks_between_the_replies() -> None:
    """S18: who had a reply has an outcome, and of the others nobody knows."""
    complete = [FINAL.index(b"452-"), FINAL.index(b"554"), len(FINAL)]
    for cut in range(len(FINAL) + 1):
        conn = opened(NO_CHUNKS)

        left = [b"250\r\n250\r\n550 no\r\n250\r\n250\r\n354\r\n", FINAL[:cut] or None, None]
        driver, _ = converse(conn, send_message(conn, make_submission(MESSAGE, "s@x", TO)), in_turn(left))
        known = sum(cut >= end for end in complete)
        final = ["ACCEPTED", "DEFERRED", "REFUSED"][:known] + ["UNKNOWN"] * (3 - known)
        assert outcomes(driver.result) == [final[0], "REFUSED", *final[1:]], cut


def in_turn(answers: list[bytes | None]) -> Callable[[bytes], bytes | None]:
    """Return a server that gives these answers to what it hears, the first before it hears anything."""
    left = [b"", *answers]
    return lambda said: left.pop(0)


def test_good_bye_among_the_replies() -> None:
    conn = opened(NO_CHUNKS)
    script = scripted("250|250|250|250|250|354", "250 yes|421 leaving", None, greeting="")
    driver, _ = converse(conn, send_message(conn, make_submission(MESSAGE, "s@x", TO)), script)
    assert outcomes(driver.result)[:2] == ["ACCEPTED", "DEFERRED"]
    assert set(outcomes(driver.result)[2:]) <= {"UNKNOWN", "DEFERRED"}


@pytest.mark.parametrize("offer", [OFFER, NO_CHUNKS])
@pytest.mark.parametrize("word", ["500 what?", "502 not here", "503 where is your mail?"])
def test_a_command_that_is_refused_as_such_is_refused_for_all(offer: str, word: str) -> None:
    """The server knows of no message, and so of no recipients to have a word for; but whether it has more to say
    nobody knows, so that the connection ends."""
    conn = opened(offer)
    before = "250|250|250|250|250" + ("|354" if offer is NO_CHUNKS else "")
    submissions = [make_submission(MESSAGE, "s@x", TO)] * 2
    driver, _ = converse(conn, send_messages(conn, submissions), scripted(before, word, None, greeting=""))
    first, second = driver.result
    assert outcomes(first) == ["REFUSED"] * 4
    assert {str(recipient.reply) for recipient in first.recipients} == {word}
    assert conn.closing
    assert outcomes(second) == ["DEFERRED"] * 4


@pytest.mark.parametrize("word", ["503 no", "250 yes", "552 too big"])
def test_a_word_for_each_is_waited_for(word: str) -> None:
    """Whoever is told of one recipient is told of the next; and of a single one there is no doubt."""
    conn = opened(NO_CHUNKS)
    script = scripted("250|250|354", word, greeting="")
    driver, _ = converse(conn, send_message(conn, make_submission(MESSAGE, "s@x", TO[:1])), script)
    assert str(driver.result.reply) == word
    assert conn.idle
    conn = opened(NO_CHUNKS)
    conn.limits = dataclasses.replace(conn.limits, final_reply_timeout=7)
    conn.mail(Address("s", "x"))
    for name in "ab":
        conn.rcpt(Address(name, "x"))
    conn.data()
    conn.data_to_send()
    talk(conn, [b"250\r\n250\r\n250\r\n354\r\n"])
    conn.end_data()
    conn.data_to_send()
    assert talk(conn, [b"552 too big\r\n"]).events == []
    assert conn.timeout == 7
    assert len(talk(conn, [b"250 but not for him\r\n"]).events) == 1


@pytest.mark.parametrize("refusal", ["552 too big", "451 not now"])
def test_the_last_chunk_waits_for_the_replies_to_the_others(refusal: str) -> None:
    """Behind a refused chunk a server has one word for the last one, or one for each recipient."""
    conn = opened()
    pieces = [b"y" * 70_000] * 3
    script = scripted("250|250|250", f"250 ok|{refusal}", "250 reset", greeting="")
    driver, flights = converse(conn, send_message(conn, make_submission(pieces, "s@x", TO[:2])), script)
    assert [flight[:4] for flight in flights[-2:]] == [b"BDAT", b"RSET"]
    assert flights[-2].count(b"BDAT") == 2
    assert {str(recipient.reply) for recipient in driver.result.recipients} == {refusal}
    assert conn.idle


@pytest.mark.parametrize("chunks", [True, False])
def test_two_transactions_over_one_connection(chunks: bool) -> None:
    """S18: the second one's replies are counted anew."""
    box = Box()
    conn = opened(OFFER if chunks else NO_CHUNKS)
    body = MESSAGE + b"y" * 70_000 + b"\r\n" if chunks else MESSAGE
    first = make_submission(body, "s@x", ["ada@x", "full@x", "stranger@x", "ada@x"])
    second = make_submission(body, "s@x", ["broken@x", "ada@x"])
    driver, flights = converse(conn, send_messages(conn, [first, second, first]), serving_box(box))
    assert [outcomes(result) for result in driver.result] == [
        ["ACCEPTED", "DEFERRED", "REFUSED", "ACCEPTED"],
        ["DEFERRED", "ACCEPTED"],
        ["ACCEPTED", "DEFERRED", "REFUSED", "ACCEPTED"],
    ]
    assert (b"BDAT" in b"".join(flights)) is chunks
    assert conn.idle


def test_when_all_are_refused_nothing_is_sent() -> None:
    for chunks in (True, False):
        conn = opened(OFFER if chunks else NO_CHUNKS)
        body = MESSAGE + b"y" * 70_000 if chunks else MESSAGE
        driver, flights = converse(
            conn, send_messages(conn, [make_submission(body, "s@x", ["stranger@x"])] * 2), serving_box(Box())
        )
        assert [outcomes(result) for result in driver.result] == [["REFUSED"]] * 2
        assert b"yyy" not in b"".join(flights)
        assert conn.idle


def test_a_reply_too_many_is_a_broken_protocol() -> None:
    conn = opened(NO_CHUNKS)
    script = scripted("250|250|354", "250 yes|250 and yes", greeting="")
    submissions = [make_submission(MESSAGE, "s@x", ["a@x"])] * 2
    driver, _ = converse(conn, send_messages(conn, submissions), script)
    assert outcomes(driver.result[0]) == ["ACCEPTED"]
    assert driver.result[1].recipients[0].outcome is not Outcome.ACCEPTED


def test_a_client_of_lmtp_says_lhlo_alone() -> None:
    conn = SMTPClientConnection(SMTPClientConfig(lmtp=True))
    options = SessionOptions(tls=TLSPolicy.NONE, local_name="client.example")
    driver, flights = converse(conn, open_session(conn, options), scripted("500 what?", greeting="220 mx"))
    assert type(driver.error).__name__ == "ReplyError"
    assert flights == [b"LHLO client.example\r\n"]


# Over real sockets.


def test_over_a_unix_socket(front: Any, tmp_path: Any) -> None:
    drop = MemoryMaildrop()
    host = MailHost(lambda _: drop, {"ada": "x"}, ["x"])
    path = tmp_path / "lmtp"
    config = SMTPServerConfig(lmtp=True)
    client_config = SMTPClientConfig(lmtp=True)
    with (
        front.SMTPServer(host, path=path, config=config),
        front.SMTPClient(path=path, config=client_config) as client,
    ):
        result = client.send_message(MESSAGE, "s@x", ["ada@x", "eve@x", "ada@x"])
    assert outcomes(result) == ["ACCEPTED", "REFUSED", "ACCEPTED"]
    assert len(drop.open().messages) == 1


def test_the_first_reply_does_not_wait_for_the_last_delivery(front: Any) -> None:
    """Section 5: the client hears of the first while the second is still being delivered."""
    heard = threading.Event()

    class Slow:
        def on_rcpt(self, session: Any, rcpt: Any) -> None:
            return None

        def on_delivery(self, session: Any, envelope: Any, rcpt: Any) -> None:
            if rcpt.address.local_part == "second":
                assert heard.wait(PATIENCE)

    handler: Any = Slow()
    if front.name == "aio":
        handler = aio.InThreads(handler, "on_delivery")
    with (
        front.SMTPServer(handler, port=0, config=SMTPServerConfig(lmtp=True)) as server,
        Wire.to(server.port) as wire,
    ):
        wire.line()
        wire.send(b"LHLO x\r\n")
        while wire.line()[3:4] == b"-":
            pass
        wire.send(MAIL + b"RCPT TO:<first@x>\r\nRCPT TO:<second@x>\r\n" + BDAT)
        assert [wire.line()[:3] for _ in range(4)] == [b"250"] * 4
        heard.set()
        assert wire.line()[:3] == b"250"
