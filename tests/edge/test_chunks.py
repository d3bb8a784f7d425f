"""BDAT and BINARYMIME (RFC 3030), both sides: the RFC's dialogues at every cut, accounting, what goes in a flight."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.smtp import (
    DEFAULT_EXTENSIONS,
    BareNewlines,
    Body,
    Limits,
    MailParameters,
    MessageEnd,
    Outcome,
    ServerState,
    SMTPClientConnection,
)
from mailproto.smtp.extensions import BINARYMIME, CHUNKING
from mailproto.smtp.flows.sending import send_message, send_messages
from mailproto.smtp.flows.server import SMTPSession, serve
from mailproto.smtp.messages.submission import make_submission
from tests.helpers import THOROUGH, assert_plays, cut_at, every_cut, talk
from tests.smtp import ADA, BOB, MAIL, RCPT, client, greeted, in_transaction, server
from tests.smtp.pipes import Driver, converse, scripted, serving

BINARY: dict[str, Any] = {"extensions": (*DEFAULT_EXTENSIONS, BINARYMIME)}

# The dialogues of section 4. The octets are 86, as the RFC counts them.

SIMPLE_SERVER = """
E: Connected
! accept("SMTP service ready")
S: 220 cnri.reston.va.us SMTP service ready
C: EHLO ymir.claremont.edu
E: Hello 'ymir.claremont.edu' extended
! accept("says hello")
S: 250-cnri.reston.va.us says hello
S: 250 CHUNKING
C: MAIL FROM:<Sam@Random.com>
E: Mail Sam@Random.com
! accept("<Sam@Random.com> Sender ok")
S: 250 <Sam@Random.com> Sender ok
C: RCPT TO:<Susan@Random.com>
E: Rcpt Susan@Random.com
! accept("<Susan@random.com> Recipient ok")
S: 250 <Susan@random.com> Recipient ok
C: BDAT 86 LAST
C: To: Susan@random.com
C: From: Sam@random.com
C: Subject: This is a bodyless test message
E: Data chunked
! accept()
B: To: Susan@random.com
B: From: Sam@random.com
B: Subject: This is a bodyless test message
E: MessageEnd 86 Sam@Random.com > Susan@Random.com
! accept("Message OK, 86 octets received")
S: 250 Message OK, 86 octets received
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""

SIMPLE_CLIENT = """
S: 220 cnri.reston.va.us SMTP service ready
E: GreetingReceived 220 cnri.reston.va.us SMTP service ready
! ehlo("ymir.claremont.edu")
C: EHLO ymir.claremont.edu
S: 250-cnri.reston.va.us says hello
S: 250 CHUNKING
E: ReplyReceived [EHLO] 250 cnri.reston.va.us says hello / CHUNKING
! mail(Address.parse("Sam@Random.com"))
C: MAIL FROM:<Sam@Random.com>
S: 250 <Sam@Random.com> Sender ok
E: ReplyReceived [MAIL] 250 <Sam@Random.com> Sender ok
! rcpt(Address.parse("Susan@Random.com"))
C: RCPT TO:<Susan@Random.com>
S: 250 <Susan@random.com> Recipient ok
E: ReplyReceived [RCPT] 250 <Susan@random.com> Recipient ok
! bdat(b"To: Susan@random.com\\r\\nFrom: Sam@random.com\\r\\nSubject: This is a bodyless test message\\r\\n", last=1)
C: BDAT 86 LAST
C: To: Susan@random.com
C: From: Sam@random.com
C: Subject: This is a bodyless test message
S: 250 Message OK, 86 octets received
E: ReplyReceived [BDAT] 250 Message OK, 86 octets received
! quit()
C: QUIT
S: 221 Goodbye
E: ReplyReceived [QUIT] 221 Goodbye
E: ConnectionClosed clean
"""

PIPELINED_SERVER = """
E: Connected
! accept()
S: 220 cnri.reston.va.us ESMTP
C: EHLO ymir.claremont.edu
E: Hello 'ymir.claremont.edu' extended
! accept()
S: 250-cnri.reston.va.us
S: 250-PIPELINING
S: 250-CHUNKING
S: 250 BINARYMIME
C: MAIL FROM:<ned@ymir.claremont.edu> BODY=BINARYMIME
C: RCPT TO:<gvaudre@cnri.reston.va.us>
C: RCPT TO:<jstewart@cnri.reston.va.us>
E: Mail ned@ymir.claremont.edu body=BINARYMIME
! accept()
E: Rcpt gvaudre@cnri.reston.va.us
! accept()
E: Rcpt jstewart@cnri.reston.va.us
! accept()
S: 250 Sender OK
S: 250 Recipient OK
S: 250 Recipient OK
C: BDAT 10
C: \0\x01\x02\x03\x04\x05\x06\x07
C: BDAT 3
C: z
C: BDAT 0 LAST
E: Data chunked
! accept()
B: \0\x01\x02\x03\x04\x05\x06\x07
B: z
E: MessageEnd 13 ned@ymir.claremont.edu > gvaudre@cnri.reston.va.us, jstewart@cnri.reston.va.us
! accept("Message OK, 13 octets received")
S: 250 Chunk received
S: 250 Chunk received
S: 250 Message OK, 13 octets received
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""


def test_the_simple_dialogue() -> None:
    """Section 4.1."""
    assert_plays(lambda: server(hostname="cnri.reston.va.us", extensions=(CHUNKING,)), SIMPLE_SERVER)
    assert_plays(SMTPClientConnection, SIMPLE_CLIENT)


def test_the_pipelined_dialogue() -> None:
    """Section 4.2, with fewer octets."""
    offered = tuple(e for e in BINARY["extensions"] if e.keyword in ("PIPELINING", "CHUNKING", "BINARYMIME"))
    assert_plays(lambda: server(hostname="cnri.reston.va.us", extensions=offered), PIPELINED_SERVER)


def test_the_pipelined_dialogue_of_a_client() -> None:
    """Section 4.2: each group leaves at once, and every octet as it is."""
    conn = client("PIPELINING", "BINARYMIME", "CHUNKING")
    conn.mail(ADA, MailParameters(body=Body.BINARY_MIME))
    conn.rcpt(ADA)
    conn.rcpt(BOB)
    first, second, end = conn.bdat(bytes(range(256)) * 40), conn.bdat(b"\r\n\n\r."), conn.bdat(b"", last=True)
    assert conn.data_to_send() == (
        b"MAIL FROM:<ada@example.org> BODY=BINARYMIME\r\nRCPT TO:<ada@example.org>\r\nRCPT TO:<bob@example.org>\r\n"
        b"BDAT 10240\r\n" + bytes(range(256)) * 40 + b"BDAT 5\r\n\r\n\n\r.BDAT 0 LAST\r\n"
    )
    for cut in every_cut(b"250 ok\r\n" * 6):
        replies: list[Any] = []
        conn = client("PIPELINING", "BINARYMIME", "CHUNKING")
        conn.mail(ADA, MailParameters(body=Body.BINARY_MIME))
        conn.rcpt(ADA)
        conn.rcpt(BOB)
        first, second, end = conn.bdat(b"\0"), conn.bdat(b"\r"), conn.bdat(b"", last=True)
        conn.data_to_send()
        for piece in cut:
            conn.receive_data(piece)
            while (event := conn.next_event()) is not None:
                replies.append(event)
        assert len(replies) == 6
        assert all(command.reply is not None and command.reply.ok for command in (first, second, end))
        assert conn.idle


# Accounting (S4). What the tests of bodies have not asked yet.


@pytest.mark.parametrize("size", range(5))
@pytest.mark.parametrize("last", [False, True])
def test_exactly_so_many_octets_are_taken(size: int, last: bool) -> None:
    """One octet less or more would be taken for a command, or a command for content."""
    wire = b"BDAT %d%s\r\n%sNOOP\r\n" % (size, b" LAST" if last else b"", b"QUIT"[:size])
    for pieces in every_cut(wire):
        conn = in_transaction()
        result = talk(conn, pieces)
        assert result.body == b"QUIT"[:size]
        assert result.replies == [b"250", b"250"]
        assert conn.state is (ServerState.READY if last else ServerState.CHUNKS)


def test_the_verb_and_the_mark_are_read_in_any_case() -> None:
    for wire in (b"bdat 1 last\r\nx", b"Bdat 01 Last\r\nx", b"BDAT 1 LAST \r\nx"):
        assert len(talk(in_transaction(), [wire]).of(MessageEnd)) == 1


def test_data_and_chunks_do_not_mix() -> None:
    """Section 2: 503, and RSET sets it right."""
    wire = b"BDAT 3\r\nx\r\nDATA\r\nMAIL FROM:<>\r\nRCPT TO:<e@x>\r\nRSET\r\n" + MAIL + RCPT + b"DATA\r\ny\r\n.\r\n"
    for pieces in every_cut(wire):
        result = talk(in_transaction(), pieces)
        assert result.replies == [b"250", b"503", b"503", b"503", b"250", b"250", b"250", b"354", b"250"]
        assert [event.size for event in result.of(MessageEnd)] == [3]


def test_behind_the_last_chunk_there_is_no_more() -> None:
    """Section 2: 503, its octets consumed, and the message stays accepted."""
    for pieces in every_cut(b"BDAT 3 LAST\r\nx\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"):
        result = talk(in_transaction(), pieces)
        assert result.replies == [b"250", b"503", b"250"]
        assert len(result.of(MessageEnd)) == 1


def test_a_binary_message_does_not_come_with_data() -> None:
    """Section 3: 503, and with BDAT it still may."""
    conn = greeted(**BINARY)
    talk(conn, [b"MAIL FROM:<a@b> BODY=BINARYMIME\r\n", RCPT])
    assert talk(conn, [b"DATA\r\n"]).replies == [b"503"]
    assert talk(conn, [b"BDAT 1 LAST\r\n\0"]).replies == [b"250"]


def test_binary_is_offered_where_it_was_switched_on() -> None:
    assert b"BINARYMIME" not in talk(server(), [b"EHLO x\r\n"]).output
    assert b"BINARYMIME" in talk(server(**BINARY), [b"EHLO x\r\n"]).output
    assert talk(greeted(), [b"MAIL FROM:<a@b> BODY=BINARYMIME\r\n"]).replies != [b"250"]


OCTETS = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"\0", b".", b"x", b"\xff"]), max_size=12).map(b"".join)


@THOROUGH
@given(
    OCTETS, st.lists(st.integers(0, 5), min_size=1, max_size=5), st.lists(st.integers(1, 7), min_size=1, max_size=3)
)
def test_binary_octets_come_out_as_they_went_in(data: bytes, chunks: list[int], cuts: list[int]) -> None:
    conn = greeted(**BINARY)
    talk(conn, [b"MAIL FROM:<a@b> BODY=BINARYMIME\r\n", RCPT])
    wire, rest = b"", data
    for size in chunks:
        wire += b"BDAT %d\r\n%s" % (len(rest[:size]), rest[:size])
        rest = rest[size:]
    wire += b"BDAT %d LAST\r\n%s" % (len(rest), rest)
    result = talk(conn, cut_at(wire, cuts))
    assert result.body == data
    assert result.replies == [b"250"] * (len(chunks) + 1)


@THOROUGH
@given(
    OCTETS,
    st.sampled_from(BareNewlines),
    st.integers(0, 12),
    st.lists(st.integers(1, 7), min_size=1, max_size=3),
)
def test_where_chunks_are_cut_makes_no_difference(
    data: bytes, mode: BareNewlines, place: int, cuts: list[int]
) -> None:
    """A CR at the end of one chunk and the LF at the beginning of the next are one line end."""
    outcomes = set()
    for parts in ([data], [data[:place], data[place:]], [data[:place], b"", data[place:], b""]):
        conn = in_transaction(bare_newlines=mode)
        wire = b"".join(b"BDAT %d\r\n%s" % (len(part), part) for part in parts) + b"BDAT 0 LAST\r\n"
        result = talk(conn, cut_at(wire, cuts))
        outcomes.add((result.body, result.replies[-1], len(result.of(MessageEnd)), conn.closing))
    assert len(outcomes) == 1


def test_whoever_pipelines_chunks_behind_a_refusal_makes_no_errors() -> None:
    """RFC 2920 section 3.1: they were said before the refusal was there. But nobody goes on for ever."""

    def nobody(conn: Any, event: object) -> None:
        conn.reject() if type(event).__name__ == "Rcpt" else conn.accept()

    conn = greeted(limits=Limits(max_errors=2, max_junk=50))
    for _ in range(10):
        result = talk(conn, [MAIL + RCPT + b"BDAT 6 LAST\r\nQUIT\r\nRSET\r\n"], nobody)
        assert result.replies == [b"250", b"550", b"554", b"250"]
    assert talk(conn, [MAIL + b"BDAT 0\r\n" * 100], nobody).replies[-1] == b"421"
    conn = greeted(limits=Limits(max_errors=2))
    assert talk(conn, [b"BDAT 1\r\nx" * 5]).replies == [b"503", b"503", b"421"]


def test_a_refused_sender_refuses_the_chunks() -> None:
    """S4: MAIL refused, and the chunk behind it holds a command."""

    def nobody(conn: Any, event: object) -> None:
        conn.reject() if type(event).__name__ == "Mail" else conn.accept()

    smuggled = b"MAIL FROM:<e@x>\r\n"
    wire = MAIL + RCPT + b"BDAT %d LAST\r\n%sNOOP\r\n" % (len(smuggled), smuggled)
    for pieces in every_cut(wire):
        result = talk(greeted(), pieces, nobody)
        assert result.replies == [b"550", b"503", b"503", b"250"]


def test_a_shutdown_between_chunks_waits_for_the_message() -> None:
    conn = in_transaction()
    talk(conn, [b"BDAT 3\r\nx\r\n"])
    conn.shut_down()
    result = talk(conn, [b"BDAT 3 LAST\r\ny\r\n"])
    assert result.replies == [b"250", b"421"]


# The client.


def test_chunks_are_checked_as_data_is() -> None:
    """S2: bare newlines are never sent, whether they stand in a chunk or across two."""
    for chunks in ([b"a\nb"], [b"a\rb"], [b"a\r", b"b"], [b"a", b"\nb"]):
        conn = client("PIPELINING", "CHUNKING")
        conn.mail(ADA)
        conn.rcpt(BOB)
        with pytest.raises(ValueError, match="bare CR or LF"):
            for chunk in chunks:
                conn.bdat(chunk)
        conn.rset()
        sent = conn.data_to_send()
        assert sent.endswith(b"RSET\r\n")
        assert not any(chunk in sent for chunk in chunks if b"\n" in chunk)
    conn = client("PIPELINING", "CHUNKING")
    conn.mail(ADA)
    conn.rcpt(BOB)
    with pytest.raises(ValueError, match="bare CR at the end"):
        conn.bdat(b"a\r", last=True)


def test_a_line_end_across_two_chunks_is_one() -> None:
    for place in range(1, 6):
        conn = client("PIPELINING", "CHUNKING")
        conn.mail(ADA)
        conn.rcpt(BOB)
        conn.data_to_send()
        text = b"a\r\nb\r\n"
        conn.bdat(text[:place])
        conn.bdat(text[place:], last=True)
        peer = in_transaction()
        assert talk(peer, [conn.data_to_send()]).body == text


def test_what_hangs_on_a_refused_chunk_is_not_sent() -> None:
    conn = client("CHUNKING")
    conn.mail(ADA)
    conn.rcpt(BOB)
    chunks = [conn.bdat(b"x\r\n"), conn.bdat(b"y\r\n"), conn.bdat(b"", last=True)]
    for reply in (b"250 ok\r\n", b"250 ok\r\n", b"552 full\r\n"):
        conn.data_to_send()
        conn.receive_data(reply)
        while conn.next_event() is not None:
            pass
    assert [chunk.skipped for chunk in chunks] == [False, True, True]
    assert conn.data_to_send() == b""


# Sending.

LARGE = b"Subject: large\r\n\r\n" + (b"x" * 98 + b"\r\n") * 3000
PARTIES = ("a@example.org", ["b@example.org"])
OFFER = "250-mx|250-PIPELINING|250 CHUNKING"
BINARY_OFFER = "250-mx|250-PIPELINING|250-8BITMIME|250-BINARYMIME|250 CHUNKING"


class Inbox:
    """Takes all, or refuses what the test says."""

    def __init__(self, refuse: frozenset[str] = frozenset()) -> None:
        self.messages: list[bytes] = []
        self._refuse = refuse

    def on_rcpt(self, session: SMTPSession, rcpt: Any) -> Any:
        return None

    def on_message(self, session: SMTPSession, envelope: Any) -> None:
        self.messages.append(bytes(envelope))


def connected(**settings: Any) -> SMTPClientConnection:
    """Return a client behind EHLO, for flows."""
    return client("PIPELINING", "8BITMIME", "SIZE 100000000", "CHUNKING", "BINARYMIME", **settings)


def ours(inbox: Inbox, **settings: Any) -> Any:
    """Return a server of ours behind EHLO, as `converse` wants it."""
    conn = server(**{**BINARY, **settings})
    answer = serving(Driver(conn, serve(SMTPSession(conn), inbox)))
    answer(b"")
    answer(b"EHLO x\r\n")
    return answer


def test_a_large_message_goes_in_one_flight() -> None:
    """MAIL, RCPT and the first chunk leave together, and the rest without waiting for a go-ahead."""
    inbox = Inbox()
    conn = connected()
    driver, flights = converse(conn, send_message(conn, make_submission(LARGE, *PARTIES)), ours(inbox))
    assert driver.result.ok
    assert inbox.messages == [LARGE]
    assert flights[0].startswith(b"MAIL FROM:<a@example.org> SIZE=")
    assert b"\r\nRCPT TO:<b@example.org>\r\nBDAT " in flights[0]
    assert len(flights) <= 3


def test_the_next_message_follows_the_last_chunk() -> None:
    inbox = Inbox()
    conn = connected()
    submissions = [make_submission(LARGE + b"%d\r\n" % i, *PARTIES) for i in range(3)]
    driver, flights = converse(conn, send_messages(conn, submissions), ours(inbox))
    assert [result.ok for result in driver.result] == [True] * 3
    assert inbox.messages == [LARGE + b"%d\r\n" % i for i in range(3)]
    assert any(
        b" LAST\r\n" in flight and flight.index(b" LAST\r\n") < flight.rfind(b"MAIL FROM") for flight in flights
    )


@pytest.mark.parametrize("pipelining", [True, False])
@pytest.mark.parametrize("limit", [1000, 200_000, 299_000])
def test_a_refused_chunk_spoils_nothing_else(pipelining: bool, limit: int) -> None:
    """Whichever chunk is refused, the messages behind it arrive; over the same connection."""
    inbox = Inbox()
    conn = client("PIPELINING", "CHUNKING", "BINARYMIME", pipelining=pipelining)
    small = b"Subject: small\r\n\r\n\0" + b"y" * 100
    binary = MailParameters(body=Body.BINARY_MIME)
    bodies = [LARGE, small, LARGE, small]
    submissions = [make_submission(body, *PARTIES, parameters=binary) for body in bodies]
    driver, _ = converse(conn, send_messages(conn, submissions), ours(inbox, max_message_size=limit))
    outcomes = [result.recipients[0].outcome for result in driver.result]
    assert outcomes == [Outcome.REFUSED, Outcome.ACCEPTED] * 2
    assert [result.recipients[0].reply.code for result in driver.result] == [552, 250] * 2
    assert inbox.messages == [small, small]


class OneTransaction:
    """A server that ends a transaction at a chunk that it takes and at RSET, and at nothing else."""

    def __init__(self) -> None:
        self.taken: list[tuple[bytes, bytes]] = []
        self._sender = b""
        self._accepted = False

    def answer(self, said: bytes) -> bytes:
        """Return the replies to a flight of whole commands."""
        replies = b""
        while said:
            line, _, said = said.partition(b"\r\n")
            verb = line[:4]
            if verb == b"BDAT":
                size = int(line.split(b" ")[1])
                body, said = said[:size], said[size:]
                ok = self._accepted and b"unwanted" not in body
                if ok:
                    self.taken.append((self._sender, body))
            else:
                wanted = bool(self._sender) and b"nobody" not in line
                ok = {b"MAIL": not self._sender, b"RCPT": wanted}.get(verb, True)
            if ok and verb in (b"BDAT", b"RSET"):
                self._sender, self._accepted = b"", False
            elif ok and verb == b"MAIL":
                self._sender = line
            elif ok and verb == b"RCPT":
                self._accepted = True
            replies += b"250 ok\r\n" if ok else b"503 no\r\n"
        return replies


def test_nothing_ends_up_in_the_transaction_of_another_message() -> None:
    """RFC 3030 section 2: where a server stands behind a refused chunk is not clear, so RSET comes between."""
    conn = connected()
    letters = [
        (b"first unwanted\r\n", "a@example.org", "x@example.org"),
        (b"never sent, for its line end is bare\n", "b@example.org", "x@example.org"),
        (b"third\r\n", "c@example.org", "x@example.org"),
        (b"fourth\r\n", "d@example.org", "nobody@example.org"),
        (b"fifth\r\n", "e@example.org", "x@example.org"),
    ]
    server = OneTransaction()
    driver, flights = converse(conn, send_messages(conn, [make_submission(*each) for each in letters]), server.answer)
    assert [result.ok for result in driver.result] == [False, False, True, False, True]
    assert [(sender.split(b"<")[1][:1], body) for sender, body in server.taken] == [
        (b"c", b"third\r\n"),
        (b"e", b"fifth\r\n"),
    ]
    assert len(flights) == 1
    assert conn.idle


def test_what_comes_to_nothing_takes_nothing_back_of_the_next() -> None:
    """The message behind is in pieces of unknown size, and so under way while the first one is settled."""
    conn = connected()
    first = make_submission(b"x\r\n", "a@example.org", "nobody@example.org")
    second = make_submission([b"second\r\n"], "b@example.org", "x@example.org")
    server = OneTransaction()
    driver, _ = converse(conn, send_messages(conn, [first, second]), server.answer)
    assert [result.ok for result in driver.result] == [False, True]
    assert server.taken == [(b"MAIL FROM:<b@example.org> BODY=8BITMIME", b"second\r\n")]


def test_many_messages_leave_in_few_flights() -> None:
    inbox = Inbox()
    conn = connected()
    submissions = [make_submission(b"Subject: %d\r\n\r\n" % i, *PARTIES) for i in range(50)]
    driver, flights = converse(conn, send_messages(conn, submissions), ours(inbox))
    assert all(result.ok for result in driver.result)
    assert inbox.messages == [b"Subject: %d\r\n\r\n" % i for i in range(50)]
    assert len(flights) <= 8
    assert conn.idle


def test_what_never_left_is_deferred_and_what_left_unknown() -> None:
    """A connection that breaks in the middle of a flight, with more commands waiting than may be ahead."""
    conn = client("PIPELINING", "CHUNKING", limits=Limits(max_in_flight=4))
    submissions = [make_submission(b"x\r\n", *PARTIES) for _ in range(3)]
    script = scripted("250|250|250 taken", None, greeting="")
    driver, _ = converse(conn, send_messages(conn, submissions), script)
    outcomes = [result.recipients[0].outcome for result in driver.result]
    assert outcomes == [Outcome.ACCEPTED, Outcome.UNKNOWN, Outcome.DEFERRED]


def test_text_whose_last_line_has_no_end_gets_one() -> None:
    """As it would with DATA: a message is the same whichever way it goes."""
    for text, end in ((b"x", b"\r\n"), (b"x\r\n", b""), (b"", b""), (b"x" * 300_000, b"\r\n")):
        for pieces in (text, [text, b""], [text[:1], text[1:]]):
            inbox = Inbox()
            conn = connected()
            driver, _ = converse(conn, send_message(conn, make_submission(pieces, *PARTIES)), ours(inbox))
            assert driver.result.ok
            assert inbox.messages == [text + end]


def test_behind_a_refused_chunk_the_connection_is_cleared() -> None:
    """RFC 3030 section 2: RSET before anything else; who sends next finds the server ready."""
    conn = connected()
    binary = MailParameters(body=Body.BINARY_MIME)
    submission = make_submission(b"\0x", *PARTIES, parameters=binary)
    driver, flights = converse(
        conn, send_message(conn, submission), scripted("250|250|552 no", "250 reset", greeting="")
    )
    assert driver.result.refused
    assert flights[-1] == b"RSET\r\n"
    assert conn.idle


@pytest.mark.parametrize(
    "answers",
    [("250|250|552 no", None), ("250|250|552 no", None, None), ("250|250|552 no|250|250|250", None, None)],
)
def test_a_server_that_leaves_behind_a_refused_chunk_takes_no_result_along(answers: tuple[str | None, ...]) -> None:
    conn = connected()
    binary = MailParameters(body=Body.BINARY_MIME)
    submissions = [make_submission(b"\0x", *PARTIES, parameters=binary) for _ in answers[1:]]
    driver, _ = converse(conn, send_messages(conn, submissions), scripted(*answers, greeting=""))
    assert driver.error is None
    first, *others = [result.recipients[0].outcome for result in driver.result]
    assert first is Outcome.REFUSED
    assert others in ([], [Outcome.DEFERRED], [Outcome.UNKNOWN])


def test_good_bye_to_a_chunk_is_good_bye() -> None:
    conn = connected()
    submission = make_submission(b"\0x", *PARTIES, parameters=MailParameters(body=Body.BINARY_MIME))
    driver, flights = converse(conn, send_message(conn, submission), scripted("250|250|421 bye", None, greeting=""))
    assert driver.result.recipients[0].outcome is Outcome.DEFERRED
    assert len(flights) == 1


@pytest.mark.parametrize(("pipelining", "times"), [(True, 8), (False, 8), (False, 1)])
def test_what_is_known_to_be_refused_is_reset_before_anything_else(pipelining: bool, times: int) -> None:
    """RFC 3030 section 2: no MAIL between a refused chunk and RSET, unless it was on its way already."""
    conn = client("PIPELINING", "CHUNKING", "BINARYMIME", pipelining=pipelining)
    binary = MailParameters(body=Body.BINARY_MIME)
    submissions = [make_submission(body, *PARTIES, parameters=binary) for body in (LARGE * times, b"\0small")]
    inbox = Inbox()
    driver, flights = converse(conn, send_messages(conn, submissions), ours(inbox, max_message_size=1000))
    said = b"".join(flights)
    assert [result.ok for result in driver.result] == [False, True]
    assert said.count(b"RSET\r\n") == 1
    assert said.count(b"MAIL FROM") == 2
    assert said.index(b"RSET\r\n") < said.rindex(b"MAIL FROM")


def test_an_empty_piece_ends_no_message() -> None:
    for kind in (iter, list):
        inbox = Inbox()
        conn = connected()
        pieces = kind([b"", b"Subject: x\r\n", b"", b"", b"\r\nbody\r\n", b""])
        driver, _ = converse(conn, send_message(conn, make_submission(pieces, *PARTIES)), ours(inbox))
        assert driver.result.ok
        assert inbox.messages == [b"Subject: x\r\n\r\nbody\r\n"]


def test_a_binary_message_without_binarymime_is_not_sent() -> None:
    for keywords in (("PIPELINING", "CHUNKING"), ("PIPELINING", "BINARYMIME"), ()):
        conn = client(*keywords)
        submission = make_submission(b"\0", *PARTIES, parameters=MailParameters(body=Body.BINARY_MIME))
        driver, flights = converse(conn, send_message(conn, submission), scripted(greeting=""))
        assert type(driver.error).__name__ == "NotSupportedError"
        assert not flights


def test_chunks_can_be_switched_off() -> None:
    inbox = Inbox()
    conn = connected(chunking=False)
    driver, flights = converse(conn, send_message(conn, make_submission(LARGE, *PARTIES)), ours(inbox))
    assert driver.result.ok
    assert b"BDAT" not in b"".join(flights)
