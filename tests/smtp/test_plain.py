"""Plain messages go a way of their own, which is short: nobody may see a difference but in what it costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto._flows.engine import Engine
from mailproto.address import Address
from mailproto.errors import GrammarError, LocalProtocolError, MailProtoError, NotSupportedError, RemoteProtocolError
from mailproto.smtp import (
    ClientState,
    CommandSkipped,
    Limits,
    MailParameters,
    RcptParameters,
    ReadyForData,
    ReplyReceived,
    SendResult,
    SMTPClientConnection,
    Submission,
    make_submission,
)
from mailproto.smtp.extensions import ALL_EXTENSIONS, Extension, Parameter
from mailproto.smtp.extensions.frame import offer_always
from mailproto.smtp.flows import sending
from mailproto.smtp.flows.plain import queue_plain
from mailproto.smtp.flows.sending import send_message, send_messages
from tests.helpers import PROPERTY, THOROUGH
from tests.smtp import ADA, BOB, EVE, client, say
from tests.smtp.pipes import Driver

OFFER = ("PIPELINING", "CHUNKING", "8BITMIME", "SIZE 1000")
TEXT = b"Subject: x\r\n\r\nHello\r\n"


def ready(*more: str, **settings: Any) -> SMTPClientConnection:
    return client(*OFFER, *more, **settings)


def plain(body: Any = TEXT, recipients: Any = "bob@example.org", **options: Any) -> Submission:
    return make_submission(body, "ada@example.org", recipients, **options)


# Extensions of the application's own, of which one takes the place of the library's, and one says something unasked.
LARGER = Extension("SIZE", "ours", offer_always, mail=(Parameter("SIZE", str, lambda size: str(size + 100), "size"),))
OWN = Extension("X-OWN", "ours", offer_always, mail=(Parameter("X-OWN", str, str, "size"),))

# The same as the long way.

LINES = st.sampled_from(
    [
        *["250 OK"] * 9,
        *["250 2.0.0 Ok: queued as 1A2B"] * 3,
        f"250 {'x' * 90}",
        "250",
        "250-first|250 second",
        "251 will forward",
        f"250 {'long ' * 50}",
        "250 2.1.5 gr\xfc\xdfe",
        "354 go ahead",
        "353 each follows",
        "450 4.2.0 greylisted",
        "452",
        "550 5.1.1 no such user",
        "552 too much",
        "421 4.3.2 shutting down",
        "2x0 what",
        "25",
        "",
        "250\tOK",
        "nonsense",
    ]
)
BODIES = st.sampled_from(
    [TEXT, b"", b"no end", b".\r\n..\r\n", b"bare\n", b"gr\xc3\xbc\xc3\x9fe\r\n", b"x" * 2000 + b"\r\n", b"\r\n"]
)
OFFERS = st.lists(
    st.sampled_from(
        [
            *OFFER,
            "SIZE",
            "ENHANCEDSTATUSCODES",
            "SMTPUTF8",
            "PRDR",
            "DSN",
            "LIMITS RCPTMAX=2",
            "LIMITS MAILMAX=2",
            "LIMITS RCPTDOMAINMAX=1",
        ]
    ),
    unique=True,
)
RECIPIENTS = st.lists(
    st.sampled_from(["bob@example.org", '"a b"@[192.0.2.1]', "postmaster", "eve@b\xfccher.example"]),
    min_size=1,
    max_size=4,
)


class Told:
    """All that can be known of a conversation by who has sent a message, and by the server."""

    def __init__(self, conn: SMTPClientConnection, flow: Any) -> None:
        self._conn = conn
        self._traced: list[tuple[str, bytes]] = []
        self._driver = Driver(conn, flow)
        self._said = b""
        self._waits = 0

    def trace(self) -> None:
        self._conn.trace = lambda *line: self._traced.append(line)

    def hear(self, piece: bytes | None) -> None:
        self._waits += not self.done
        self._said += self._driver.go(piece)

    @property
    def done(self) -> bool:
        return self._driver.done

    def answers(self, spoilt: dict[int, str]) -> list[str]:
        """Return what the server has said so far if it takes everything, but for these replies."""
        said: list[str] = []
        left = self._said
        while left:
            line, _, left = left.partition(b"\r\n")
            if line.startswith(b"BDAT"):
                left = left[int(line.split(b" ")[1]) :]
            said.append(spoilt.get(len(said), "354 go ahead" if line == b"DATA" else f"250 2.0.0 {line!a}"))
            if line == b"DATA" and said[-1].startswith("354"):
                _, end, left = (b"\r\n" + left).partition(b"\r\n.\r\n")
                if end:
                    said.append(spoilt.get(len(said), "250 2.0.0 it is mine"))
        return said

    def all(self) -> tuple[Any, ...]:
        conn, driver, result = self._conn, self._driver, self._driver.result
        if isinstance(result, list):
            result = list(map(shown, result))
        elif isinstance(result, SendResult):
            result = shown(result)
        error = driver.error and (type(driver.error), str(driver.error))
        still = (conn.state, conn.idle, conn.over, conn.closing, conn.in_transaction, conn.progress, conn.take_rest())
        return result, error, still, self._said, self._waits, self._traced


def shown(result: SendResult) -> tuple[Any, ...]:
    """Return a result so that it equals others: exceptions do not."""
    recipients = [(*each[:-1], repr(each.error)) for each in result.recipients]
    return recipients, result.reply, repr(result.error)


def in_pieces(octets: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(octets[:size])
        octets = octets[size:]
    return [piece for piece in (*pieces, octets) if piece]


def wire(replies: list[str]) -> bytes:
    return "".join(f"{line}\r\n" for reply in replies for line in reply.split("|")).encode()


def tell(
    way: Callable[[SMTPClientConnection], Any],
    replies: list[str],
    sizes: list[int],
    manner: str,
    spoils: list[int],
    traced: bool,
    conn: SMTPClientConnection,
) -> tuple[Any, ...]:
    """Return what becomes of a flow with a server that says this."""
    told = Told(conn, way(conn))
    if traced:
        told.trace()
    if manner == "left":
        conn.receive_eof()
    pieces = in_pieces(wire(replies), sizes)
    if manner == "early" and pieces:
        conn.receive_data(pieces.pop(0))
    told.hear(b"")
    heard, spoilt = 0, dict(zip(spoils, replies, strict=False))
    while manner == "answering" and (answers := told.answers(spoilt)[heard:]):
        heard += len(answers)
        for piece in in_pieces(wire(answers), sizes):
            told.hear(piece)
    if manner != "answering":
        for piece in pieces:
            told.hear(piece)
    for _ in range(3):
        told.hear(None)
    assert told.done
    return told.all()


SERVERS = {
    "sizes": st.lists(st.integers(1, 40), max_size=4),
    "offer": st.one_of(st.just(list(OFFER)), st.just(["PIPELINING"]), OFFERS),
    "manner": st.sampled_from(["answering", "answering", "ahead", "early", "left"]),
    "spoils": st.lists(st.integers(0, 15), max_size=3, unique=True),  # which replies are not those of a good server
    "in_flight": st.sampled_from([100, 2, 1, 0]),
    "line": st.sampled_from([2000, 60]),
    "traced": st.booleans(),
}


def told_of(
    way: Callable[[SMTPClientConnection], Any],
    replies: list[str],
    sizes: list[int],
    offer: list[str],
    manner: str,
    spoils: list[int],
    in_flight: int,
    line: int,
    traced: bool,
) -> list[tuple[Any, ...]]:
    """Return what becomes of a flow, first as it is, and then with each message and each reply on the long way."""
    limits = Limits(max_in_flight=in_flight, max_reply_line=line)
    short = tell(way, replies, sizes, manner, spoils, traced, client(*offer, limits=limits))
    taking_nothing = mock.patch.object(SMTPClientConnection, "take_good_replies", lambda _: False)
    with mock.patch.object(sending, "queue_plain", lambda *_: None), taking_nothing:
        return [short, tell(way, replies, sizes, manner, spoils, traced, client(*offer, limits=limits))]


@given(st.lists(LINES, max_size=8), BODIES, RECIPIENTS, st.fixed_dictionaries(SERVERS))
@THOROUGH
def test_the_short_way_leads_where_the_long_one_does(
    replies: list[str], body: bytes, recipients: list[str], server: dict[str, Any]
) -> None:
    """Whatever the server says, before it is asked or when it is, and wherever that is cut."""
    submission = plain(body, recipients)
    short, long = told_of(lambda conn: send_message(conn, submission), replies, **server)
    assert short == long


@given(
    st.lists(LINES, max_size=20), st.lists(st.tuples(BODIES, RECIPIENTS), max_size=4), st.fixed_dictionaries(SERVERS)
)
@THOROUGH
def test_several_messages_get_there_on_either_way(
    replies: list[str], messages: list[tuple[bytes, list[str]]], server: dict[str, Any]
) -> None:
    submissions = [plain(body, recipients) for body, recipients in messages]
    short, long = told_of(lambda conn: send_messages(conn, submissions), replies, **server)
    assert short == long


@PROPERTY
@given(st.lists(LINES, min_size=4, max_size=4), st.data())
def test_what_is_taken_is_what_the_events_would_tell(replies: list[str], data: st.DataObject) -> None:
    """Wherever it is cut, and whatever was asked for between the pieces."""
    pieces = in_pieces(wire(replies), data.draw(st.lists(st.integers(1, 40), max_size=9)))
    told = []
    for taken in (False, True):
        conn, error = ready(), None
        handles = conn.transact(ADA, [BOB, EVE], TEXT)
        conn.data_to_send()
        for piece in pieces:
            conn.receive_data(piece)
            if taken:
                conn.take_good_replies()
            error = error or (pull(conn) if not taken or data.draw(st.booleans()) else None)
        error = error or pull(conn)
        said = [(each.reply, each.refused, each.skipped) for each in handles]
        told.append((said, error, conn.state, conn.progress, conn.idle, conn.closing, conn.take_rest()))
    assert told[0] == told[1]


def time_is_up(engine: Engine) -> None:
    assert engine.receive_timeout() is None


@pytest.mark.parametrize("good", range(4))
@pytest.mark.parametrize(("chunking", "answer"), [(True, b"250 OK\r\n"), (False, b"354 go ahead\r\n")])
@pytest.mark.parametrize("end", [time_is_up, Engine.shut_down, Engine.lose, lambda engine: engine.receive(b"")])
def test_the_end_of_the_connection_is_told_on_either_way(
    good: int, chunking: bool, answer: bytes, end: Callable[[Engine], None]
) -> None:
    """However many replies have come, and though nothing else comes that they could be told from."""
    told = []
    for way in (queue_plain, lambda *_: None):
        with mock.patch.object(sending, "queue_plain", way):
            conn = ready(chunking=chunking)
            engine = Engine(conn)
            engine.begin(send_message(conn, plain()))
            step(engine)
            if good:
                engine.receive(b"".join([b"250 OK\r\n", b"250 OK\r\n", answer][:good]))
                step(engine)
            if engine.busy:
                end(engine)
            while engine.busy:
                step(engine)
            told.append((shown(engine.result), conn.idle, conn.closing))
    assert told[0] == told[1]


def step(engine: Engine) -> None:
    """Go on, and send what is said."""
    engine.step()
    engine.output()


def pull(conn: SMTPClientConnection) -> str | None:
    """Pull events until none is left, and return what that raises."""
    try:
        while conn.next_event() is not None:
            pass
    except MailProtoError as failure:
        return str(failure)
    return None


# When it is taken.


def test_a_plain_message_takes_the_short_way() -> None:
    conn = ready()
    handles = queue_plain(conn, plain(recipients=["bob@example.org", "eve@example.org"]))
    assert handles is not None
    assert [handle.verb for handle in handles] == ["MAIL", "RCPT", "RCPT", "BDAT"]
    assert conn.data_to_send() == (
        b"MAIL FROM:<ada@example.org> SIZE=21\r\n"
        b"RCPT TO:<bob@example.org>\r\nRCPT TO:<eve@example.org>\r\nBDAT 21 LAST\r\n" + TEXT
    )
    conn.receive_data(b"250 OK\r\n250 OK\r\n")
    assert conn.take_good_replies()
    assert (conn.state, conn.progress) == (ClientState.TRANSACTION, 4)
    conn.receive_data(b"250 OK\r\n250 2.0.0 it is mine\r\n")
    assert conn.take_good_replies()
    assert (conn.state, conn.progress, conn.idle) == (ClientState.READY, 6, True)
    assert [handle.reply.text for handle in handles if handle.reply] == ["OK", "OK", "OK", "2.0.0 it is mine"]
    assert conn.next_event() is None


@pytest.mark.parametrize(
    ("conn", "submission"),
    [
        (client("CHUNKING"), plain()),
        (ready(pipelining=False), plain()),
        (ready(lmtp=True), plain()),
        (ready("LIMITS RCPTDOMAINMAX=5"), plain()),
        (ready("LIMITS RCPTMAX=1"), plain(recipients=["bob@example.org", "eve@example.org"])),
        (ready("PRDR"), plain(recipients=["bob@example.org", "eve@example.org"])),
        (ready(), plain(TEXT.replace(b"\r\n", b"\n"))),
        (ready(), plain(b"")),
        (ready(), plain(b"x" * 990 + b"\r\n" * 9)),
        (client("PIPELINING", "CHUNKING"), plain(b"\xff\r\n")),
        (client("PIPELINING"), plain(b"\xff\r\n")),
        (client("PIPELINING", "CHUNKING"), plain(bytes(70_000))),
        (ready(), plain([TEXT])),
        (ready(), plain(recipients="bob@b\xfccher.example")),
        (ready("DSN"), plain(recipients=("bob@example.org", RcptParameters(notify=frozenset())))),
        (ready("DSN"), plain(parameters=MailParameters(envid="x"))),
        (ready(), plain(progress=print)),
        (ready(extensions=(*ALL_EXTENSIONS, LARGER)), plain()),
        (ready("X-OWN", extensions=(*ALL_EXTENSIONS, OWN)), plain()),
    ],
)
def test_what_is_not_plain_takes_the_long_one(conn: SMTPClientConnection, submission: Submission) -> None:
    assert queue_plain(conn, submission) is None
    assert conn.data_to_send() == b""
    assert conn.idle


def test_an_extension_of_ones_own_says_in_mail_what_it_has_to() -> None:
    conn = ready(extensions=(*ALL_EXTENSIONS, LARGER))
    said = Driver(conn, send_message(conn, plain())).go()
    assert said.startswith(b"MAIL FROM:<ada@example.org> SIZE=121\r\n")


@pytest.mark.parametrize("conn", [client("PIPELINING", "SIZE"), ready(chunking=False)])
def test_without_chunks_it_goes_behind_data(conn: SMTPClientConnection) -> None:
    handles = queue_plain(conn, plain(b".\r\n"))
    assert handles is not None
    assert [handle.verb for handle in handles] == ["MAIL", "RCPT", "DATA"]
    assert conn.data_to_send() == b"MAIL FROM:<ada@example.org> SIZE=3\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n"
    conn.receive_data(b"250 OK\r\n250 OK\r\n354 go ahead\r\n")
    assert not conn.take_good_replies()
    assert [type(event) for event in say(conn)] == [ReadyForData]
    conn.send_data(b".\r\n")
    end = conn.end_data()
    assert conn.data_to_send() == b"..\r\n.\r\n"
    conn.receive_data(b"250 it is mine\r\n")
    assert conn.take_good_replies()
    assert end.reply == (250, "it is mine", None)
    assert conn.idle


def test_what_takes_more_bits_may_come_behind_data_too() -> None:
    conn = client("PIPELINING", "8BITMIME")
    conn.transact(ADA, [BOB], b"\xff\r\n")
    assert conn.data_to_send().startswith(b"MAIL FROM:<ada@example.org> BODY=8BITMIME\r\n")
    say(conn, "250 OK", "250 OK", "354 go ahead")
    conn.send_data(b"\xff\r\n")
    assert conn.data_to_send() == b"\xff\r\n"


def test_behind_data_one_transaction_is_under_way_until_its_end() -> None:
    conn = client("PIPELINING")
    conn.transact(ADA, [BOB], TEXT)
    for another in (lambda: conn.transact(ADA, [BOB], TEXT), lambda: conn.mail(ADA), lambda: conn.rcpt(EVE)):
        with pytest.raises(LocalProtocolError):
            another()
    say(conn)
    conn.data_to_send()
    say(conn, "250 OK", "550 who?", "354 go ahead all the same")
    assert conn.data_to_send() == b".\r\n"
    say(conn, "554 no valid recipients")
    assert conn.idle


@pytest.mark.parametrize("said", [b"2", b"250-first\r\n", b""])
def test_what_a_server_says_unasked_disturbs_whether_it_was_looked_at_or_not(said: bytes) -> None:
    conn = ready()
    assert conn.undisturbed
    conn.receive_data(said)
    assert not conn.undisturbed
    pull(conn)
    assert not conn.undisturbed


def test_limits_are_kept_on_the_short_way() -> None:
    """RFC 9422, which our own servers offer."""
    conn = ready("LIMITS MAILMAX=2 RCPTMAX=2")
    both = plain(recipients=["bob@example.org", "eve@example.org"])
    for _ in range(2):
        assert queue_plain(conn, both) is not None
        conn.data_to_send()
        say(conn, *["250 OK"] * 4)
    assert conn.exhausted
    assert queue_plain(conn, both) is None


def test_what_takes_more_bits_says_so() -> None:
    conn = ready()
    assert queue_plain(conn, plain(b"\xff\r\n")) is not None
    assert conn.data_to_send().startswith(b"MAIL FROM:<ada@example.org> SIZE=3 BODY=8BITMIME\r\n")


# By hand.


def test_the_last_line_gets_its_end() -> None:
    conn = ready()
    conn.transact(None, [BOB], b"no end")
    assert conn.data_to_send() == b"MAIL FROM:<> SIZE=8\r\nRCPT TO:<bob@example.org>\r\nBDAT 8 LAST\r\nno end\r\n"


def test_without_pipelining_the_commands_leave_one_by_one() -> None:
    conn = client("CHUNKING")
    conn.transact(ADA, [BOB], TEXT)
    assert conn.data_to_send() == b"MAIL FROM:<ada@example.org>\r\n"
    conn.receive_data(b"250 OK\r\n")
    assert conn.take_good_replies()
    assert conn.data_to_send() == b"RCPT TO:<bob@example.org>\r\n"


def test_a_line_may_not_be_longer_than_the_limit() -> None:
    conn = ready(limits=Limits(max_reply_line=60))
    mail, *_ = conn.transact(ADA, [BOB], TEXT)
    conn.data_to_send()
    conn.receive_data(b"250 " + b"x" * 55 + b"\r\n")
    assert not conn.take_good_replies()
    assert mail.reply is None
    with pytest.raises(RemoteProtocolError, match="endless"):
        conn.next_event()


def test_good_replies_to_single_commands_are_taken_too_if_little_follows() -> None:
    conn = ready()
    mail, bob = conn.mail(ADA), conn.rcpt(BOB)
    conn.data_to_send()
    conn.receive_data(b"250 OK\r\n250 OK\r\n")
    assert conn.take_good_replies()
    assert mail.reply == bob.reply == (250, "OK", None)
    assert conn.state.name == "TRANSACTION"
    rset = conn.rset()
    conn.data_to_send()
    conn.receive_data(b"250 OK\r\n")
    assert conn.take_good_replies()
    assert rset.reply is not None
    assert conn.state.name == "READY"


@pytest.mark.parametrize("early", [False, True])
def test_the_end_of_data_has_its_good_reply_taken_unless_that_was_there_before(early: bool) -> None:
    conn = client("PIPELINING")
    conn.mail(ADA)
    conn.rcpt(BOB)
    conn.data()
    conn.data_to_send()
    say(conn, "250 OK", "250 OK", "354 go ahead")
    conn.send_data(TEXT)
    if early:
        conn.receive_data(b"250 it is mine\r\n")
    end = conn.end_data()
    conn.data_to_send()
    if early:
        assert not conn.take_good_replies()
        with pytest.raises(RemoteProtocolError, match="before it was whole"):
            conn.next_event()
    else:
        conn.receive_data(b"250 it is mine\r\n")
        assert conn.take_good_replies()
        assert end.reply == (250, "it is mine", None)
        assert conn.idle


@pytest.mark.parametrize(("lmtp", "last"), [(False, False), (True, False), (True, True)])
def test_what_more_follows_from_is_left_to_the_events(lmtp: bool, last: bool) -> None:
    """Behind a chunk the transaction goes on, and in LMTP there is more than one reply to the last of them."""
    conn = client("PIPELINING", "CHUNKING", lmtp=lmtp)
    conn.mail(ADA)
    conn.rcpt(BOB)
    conn.data_to_send()
    say(conn, "250 OK", "250 OK")
    conn.bdat(TEXT, last=last)
    conn.data_to_send()
    conn.receive_data(b"250 OK\r\n")
    assert not conn.take_good_replies()
    assert [type(event) for event in say(conn)] == [ReplyReceived]


def test_a_recipient_who_was_taken_gets_the_message_whoever_is_refused_behind_him() -> None:
    conn = client("CHUNKING")
    conn.transact(ADA, [BOB, EVE], TEXT)
    for reply in (b"250 OK\r\n", b"250 OK\r\n"):
        conn.data_to_send()
        conn.receive_data(reply)
        assert conn.take_good_replies()
    assert conn.data_to_send().startswith(b"RCPT TO:<eve@")
    say(conn, "550 who?")
    assert conn.data_to_send() == b"BDAT 21 LAST\r\n" + TEXT


def test_messages_count() -> None:
    conn = ready()
    conn.transact(ADA, [BOB], TEXT)
    conn.data_to_send()
    say(conn, "250 OK", "250 OK", "250 OK")
    conn.ehlo("client.example")
    conn.data_to_send()
    say(conn, "250-mx.example.org", "250 LIMITS MAILMAX=1")
    assert conn.exhausted


def test_behind_a_refused_sender_there_is_no_transaction_whatever_the_recipients_get() -> None:
    conn = ready()
    mail, bob, end = conn.transact(ADA, [BOB], TEXT)
    conn.data_to_send()
    say(conn, "450 later")
    conn.receive_data(b"250 OK\r\n")
    assert conn.take_good_replies()
    assert (mail.refused, bob.refused, end.reply) == (True, False, None)
    assert conn.state is ClientState.READY


@pytest.mark.parametrize("offer", [["PIPELINING", "CHUNKING"], ["PIPELINING"]])
def test_behind_what_was_to_carry_the_message_and_was_refused_rset_is_due(offer: list[str]) -> None:
    """Behind a chunk it is not clear where the server stands, and behind DATA the transaction goes on."""
    conn = client(*offer)
    *_, carrier = conn.transact(ADA, [BOB], TEXT)
    conn.data_to_send()
    say(conn, "250 OK", "250 OK", "451 later")
    assert carrier.refused
    assert conn.in_transaction is ("CHUNKING" not in offer)
    conn.rset()
    assert conn.data_to_send() == b"RSET\r\n"
    say(conn, "250 OK")
    conn.transact(ADA, [BOB], TEXT)
    assert conn.data_to_send().startswith(b"MAIL FROM:")


def test_after_helo_one_command_leaves_at_a_time_up_to_data() -> None:
    conn = SMTPClientConnection()
    say(conn, "220 mx.example.org")
    conn.helo("client.example")
    conn.data_to_send()
    say(conn, "250 mx.example.org")
    conn.transact(ADA, [BOB], TEXT)
    for line in (b"MAIL FROM:<ada@example.org>\r\n", b"RCPT TO:<bob@example.org>\r\n", b"DATA\r\n"):
        assert conn.data_to_send() == line
        say(conn, "354 go ahead" if line == b"DATA\r\n" else "250 OK")
    assert conn.state is ClientState.DATA


def test_events_that_wait_are_told_before_more_is_waited_for() -> None:
    conn = client("CHUNKING")
    conn.transact(ADA, [BOB], TEXT)
    conn.data_to_send()
    conn.receive_data(b"450 later\r\n")
    assert isinstance(conn.next_event(), ReplyReceived)
    assert not conn.take_good_replies()
    assert not conn.undisturbed
    assert [type(event) for event in say(conn)] == [CommandSkipped] * 2
    assert conn.undisturbed


def test_a_refusal_is_left_to_the_events() -> None:
    conn = ready()
    mail, bob, eve, end = conn.transact(ADA, [BOB, EVE], TEXT)
    conn.data_to_send()
    conn.receive_data(b"250 OK\r\n550 who?\r\n250 OK\r\n250 it is mine\r\n")
    assert not conn.take_good_replies()
    assert (mail.reply is not None, bob.reply, eve.reply, end.reply) == (True, None, None, None)
    assert [type(event) for event in say(conn)] == [ReplyReceived] * 3
    assert (bob.refused, eve.refused, end.refused) == (True, False, False)


def test_who_has_no_recipient_any_more_sends_no_chunk() -> None:
    conn = client("CHUNKING")
    handles = conn.transact(ADA, [BOB], TEXT)
    conn.data_to_send()
    conn.receive_data(b"250 OK\r\n")
    assert conn.take_good_replies()
    conn.data_to_send()
    assert [type(event) for event in say(conn, "550 who?")] == [ReplyReceived, CommandSkipped]
    assert handles[-1].skipped
    assert conn.data_to_send() == b""


@pytest.mark.parametrize(
    ("conn", "path", "recipients", "message", "error"),
    [
        (client("PIPELINING", "CHUNKING", lmtp=True), ADA, [BOB], TEXT, NotSupportedError),
        (ready("X-OWN", extensions=(*ALL_EXTENSIONS, OWN)), ADA, [BOB], TEXT, NotSupportedError),
        (ready("LIMITS RCPTDOMAINMAX=5"), ADA, [BOB], TEXT, NotSupportedError),
        (ready(), ADA, [BOB], b"x" * 1001, NotSupportedError),
        (client("CHUNKING"), ADA, [BOB], b"\xff", NotSupportedError),
        (ready("SMTPUTF8"), ADA, [Address.parse("\xfc@example.org")], TEXT, NotSupportedError),
        (ready("SMTPUTF8"), Address.parse("\xfc@example.org"), [BOB], TEXT, NotSupportedError),
        (ready(), ADA, [], TEXT, LocalProtocolError),
        (ready(), ADA, [BOB], b"bare\n", GrammarError),
        (ready(), ADA, [tuple(BOB)], TEXT, TypeError),
        (ready(), tuple(ADA), [BOB], TEXT, TypeError),
        (ready(), ADA, [BOB], "text", TypeError),
    ],
)
def test_what_cannot_go_so_is_refused_before_anything_is_queued(
    conn: SMTPClientConnection, path: Any, recipients: Any, message: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        conn.transact(path, recipients, message)
    assert conn.idle
    assert conn.data_to_send() == b""


def test_one_transaction_at_a_time() -> None:
    conn = ready()
    conn.mail(ADA)
    with pytest.raises(LocalProtocolError, match="under way"):
        conn.transact(ADA, [BOB], TEXT)
    conn = ready()
    conn.quit()
    with pytest.raises(LocalProtocolError, match="QUIT"):
        conn.transact(ADA, [BOB], TEXT)
