"""Receiving a message: where it ends, what it may not have in it, and that nothing in it is ever a command."""

from __future__ import annotations

import itertools
import re
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.errors import LocalProtocolError
from mailproto.smtp import (
    BareNewlines,
    ConnectionClosed,
    Data,
    Limits,
    Mail,
    MessageAborted,
    MessageChunk,
    MessageEnd,
    Reply,
    ServerState,
    SMTPServerConnection,
)
from tests.helpers import THOROUGH, Talk, accept_all, cut_at, every_cut, talk
from tests.smtp import ENVELOPE, MAIL, RCPT, deliver, greeted, in_data, in_transaction

SMUGGLED = b"MAIL FROM:<evil@x>\r\nRCPT TO:<admin@x>\r\nDATA\r\nsmuggled\r\n.\r\n"
TRUE_END = b"\r\n.\r\n"

# S1: every sequence that some server has taken for the end.
FALSE_ENDS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\n.\r",
    b"\r.\n",
    b"\n\n.\r\n",
    b"\r\n\x00.\r\n",
    b"\r\n.\x00\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n.\n",
    b"\r\n\r.\r\n",
    b"\r\n.\n\r\n",
    b"\r\n .\r\n",
    b"\r\n. \r\n",
    b"\r\n..\r\n",
    b"\x85.\x85",
    "\u2028.\u2028".encode(),
    b"\x0b.\x0b",
    b"\r\n.\r\x00\n",
]
HARMLESS = {b"\r\n .\r\n", b"\r\n. \r\n", b"\r\n..\r\n", b"\x85.\x85", "\u2028.\u2028".encode(), b"\x0b.\x0b"}


@pytest.mark.parametrize("mode", list(BareNewlines))
@pytest.mark.parametrize("false_end", FALSE_ENDS)
def test_nothing_else_ends_a_message(false_end: bytes, mode: BareNewlines) -> None:
    """S1: one message or none, and never the one that was smuggled behind it."""
    wire = b"Subject: x\r\n\r\nbody" + false_end + SMUGGLED + b"NOOP\r\n"
    for pieces in ([wire], [wire[i : i + 1] for i in range(len(wire))], list(cut_at(wire, [7]))):
        conn = greeted(bare_newlines=mode)
        talk(conn, [ENVELOPE])
        result = talk(conn, pieces)
        assert not result.of(Mail)
        if false_end in HARMLESS or (mode is BareNewlines.NORMALIZE and b"\0" not in false_end):
            assert result.replies == [b"250", b"250"]
            assert len(result.of(MessageEnd)) == 1
            assert result.body.endswith(b"\r\nsmuggled\r\n")
            assert b"MAIL FROM:<evil@x>" in result.body
        else:
            assert not result.of(MessageEnd)
            assert len(result.of(MessageAborted)) == 1
            closes = mode is BareNewlines.CLOSE and result.replies == [b"521"]
            assert result.replies == ([b"521"] if closes else [b"550", b"250"])
            assert conn.closing is closes
        if not conn.closing:
            assert conn.state is ServerState.READY
            assert conn.envelope is None


CORPUS = [b"".join(map(bytes, zip(text))) for n in range(6) for text in itertools.product(b"\r\n.", repeat=n)]


def test_the_whole_corpus() -> None:
    """SECURITY 9.1: 364 strings behind ``x`` and before a command, at every cut; only CRLF.CRLF ends."""
    for sequence in CORPUS:
        body = b"x" + sequence
        wire = body + b"MAIL FROM:<s@x>\r\n"
        ends = re.search(rb"\r\n\.\r\n", wire)
        outcomes = set()
        for pieces in every_cut(wire):
            conn = in_data()
            result = talk(conn, pieces)
            bare = re.search(rb"\r(?!\n)|(?<!\r)\n", wire[: ends.end()] if ends else wire)
            assert bool(result.of(Mail) or result.replies[1:]) == bool(ends), (sequence, pieces)
            if bare:
                assert not result.of(MessageEnd)
            outcomes.add((tuple(result.lines), result.output, conn.state))
        assert len(outcomes) == 1, (sequence, outcomes)


@pytest.mark.parametrize("mode", list(BareNewlines))
def test_bare_newlines(mode: BareNewlines) -> None:
    """All of what came before the fault is passed on, and nothing behind it, however the network cut it."""
    wire = b"one\r\ntwo\nthree\rfour\r\n..\n.five\r\n.\r\nNOOP\r\n"
    expected = {
        BareNewlines.REJECT: (b"one\r\ntwo", [b"550", b"250"]),
        BareNewlines.CLOSE: (b"one\r\ntwo", [b"521"]),
        BareNewlines.NORMALIZE: (b"one\r\ntwo\r\nthree\r\nfour\r\n.\r\n.five\r\n", [b"250", b"250"]),
    }[mode]
    for pieces in every_cut(wire):
        conn = in_data(bare_newlines=mode)
        result = talk(conn, pieces)
        assert (result.body, result.replies) == expected
        assert len(result.of(MessageAborted)) == (mode is not BareNewlines.NORMALIZE)
        if mode is BareNewlines.CLOSE:
            assert result.events[-1] == ConnectionClosed(False, "closed by the server")


def test_a_bare_newline_is_refused_in_these_words() -> None:
    result = deliver(greeted(), b"a\nb\r\n.\r\n")
    assert result.output.endswith(b"550 5.6.0 The message has a bare CR or LF, which RFC 5321 forbids\r\n")


def test_the_mended_message_has_no_end_in_it() -> None:
    """S1: what became a line end by mending starts no terminator, and stuffed again it is the same."""
    result = deliver(greeted(bare_newlines=BareNewlines.NORMALIZE), b"a\n.\r\nb\n.\nc\r.\rd\r\n.\r\n")
    assert result.body == b"a\r\n.\r\nb\r\n.\r\nc\r\n.\r\nd\r\n"
    assert result.replies[-1] == b"250"


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b".x\r\n.\r\n", b"x\r\n"),
        (b"...\r\n.\r\n", b"..\r\n"),
        (b"x\r\n..\r\n\r\n.\r\n", b"x\r\n.\r\n\r\n"),
        (b"..\r\nMAIL FROM:<evil@x>\r\n.\r\n", b".\r\nMAIL FROM:<evil@x>\r\n"),
    ],
)
def test_transparency(wire: bytes, body: bytes) -> None:
    """RFC 5321 section 4.5.2, from the first line on."""
    for pieces in every_cut(wire + b"NOOP\r\n"):
        result = talk(in_data(), pieces)
        assert result.body == body
        assert result.of(MessageEnd)[0].size == len(body)
        assert result.replies == [b"250", b"250"]


# NUL (S59).


@pytest.mark.parametrize("wire", [b"\0\r\n.\r\n", b"a\0b\r\n.\r\n", b"a\r\n\0\r\n.\r\n", b"a\r\n..\0\r\n.\r\n"])
def test_nul(wire: bytes) -> None:
    for pieces in every_cut(wire + b"NOOP\r\n"):
        result = talk(in_data(), pieces)
        assert result.replies == [b"550", b"250"]
        assert not result.of(MessageEnd)
        assert result.body == wire[: wire.index(b"\0")].replace(b"\r\n..", b"\r\n.")
        result = talk(in_data(allow_nul=True), pieces)
        assert result.replies == [b"250", b"250"]
        assert b"\0" in result.body


# Size (S26, S5).


@pytest.mark.parametrize("size", range(18, 24))
def test_the_size_limit_holds_whatever_size_said(size: int) -> None:
    """And the tail of a message that is too big is no command."""
    body = (b"x" * (size - 2)) + b"\r\n"
    wire = body.replace(b"\r\n.", b"\r\n..") + b".\r\nNOOP\r\n"
    for pieces in every_cut(wire):
        conn = greeted(max_message_size=20)
        talk(conn, [b"MAIL FROM:<a@b> SIZE=5\r\n", RCPT, b"DATA\r\n"])
        result = talk(conn, pieces)
        if size <= 20:
            assert result.replies == [b"250", b"250"]
            assert result.body == body
        else:
            assert result.replies == [b"552", b"250"]
            assert result.body == body[:20]
            assert [type(event) for event in result.events if type(event) is not MessageChunk] == [MessageAborted]


def test_stuffed_dots_do_not_count() -> None:
    """RFC 1870 section 5."""
    assert deliver(greeted(max_message_size=10), b"..\r\n..\r\n..\r\n.\r\n").replies[-1] == b"250"


@pytest.mark.parametrize(
    "tail", [b"\r\nRSET\r\nMAIL FROM:<evil@x>\r\n", b"\r\nQUIT\r\n", b"\nQUIT\r\n", b"\0\r\nQUIT\r\n"]
)
def test_the_tail_of_what_is_too_big_is_no_command(tail: bytes) -> None:
    """S5."""
    wire = b"x" * 20 + tail + b".\r\n"
    for pieces in every_cut(wire):
        conn = in_data(max_message_size=20)
        result = talk(conn, pieces)
        assert result.replies in ([b"552"], [b"550"])
        assert not result.of(Mail)
        assert not conn.closing


def test_the_first_fault_counts_however_it_was_cut() -> None:
    """Which reply there is does not depend on the network."""
    faults = {b"\n": b"550 5.6.0 The message has a bare", b"\0": b"550 5.6.0 The message has a NUL", b"y" * 40: b"55"}
    for order in itertools.permutations(faults, 3):
        wire = b"x\r\n" + b"".join(b"z" + fault for fault in order) + b"\r\n.\r\n"
        outputs = {
            talk(in_data(max_message_size=30, limits=Limits(max_body_line=25)), pieces).output
            for pieces in every_cut(wire)
        }
        assert len(outputs) == 1, outputs
        assert outputs.pop().startswith(faults[order[0]])


def test_what_is_refused_is_swallowed_to_a_bound() -> None:
    """S5: a small multiple, then the connection goes, without a word."""
    conn = in_data(max_message_size=10, limits=Limits(max_excess=100))
    result = talk(conn, [b"x" * 105 + b"\r\n.\r\nNOOP\r\n"])
    assert result.replies == [b"552", b"250"]
    for pieces in ([b"x" * 200], [b"x"] * 200, [b"x" * 109 + b"\r\n.\r\nNOOP\r\n"]):
        conn = in_data(max_message_size=10, limits=Limits(max_excess=100))
        result = talk(conn, pieces)
        assert result.lines[-1] == "ConnectionClosed 'the peer goes on with a message that was refused'"
        assert result.output == b""
        assert conn.closing


def test_an_application_hears_why_before_the_bound_however_it_came() -> None:
    wire = b"x" * 200
    heard = [
        talk(in_data(max_message_size=10, limits=Limits(max_excess=100)), pieces).lines
        for pieces in ([wire], [b"x"] * 200, [wire[:60], wire[60:]])
    ]
    for lines in heard:
        content = "".join(line for line in lines if line.startswith("MessageChunk"))
        assert content.count("x") == 10
        assert [line.partition(" ")[0] for line in lines if not line.startswith("MessageChunk")] == [
            "MessageAborted",
            "ConnectionClosed",
        ]


def test_no_limit_means_none() -> None:
    conn = in_data(max_message_size=0, limits=Limits(max_excess=10))
    result = talk(conn, [b"x" * 100_000, b"\r\n.\r\n"])
    assert result.replies == [b"250"]


# Lines.


def test_lines_have_no_limit_of_their_own() -> None:
    """DESIGN section 6: real mail passes 998 octets every day."""
    assert deliver(greeted(), b"x" * 100_000 + b"\r\n.\r\n").replies[-1] == b"250"


@pytest.mark.parametrize("length", range(6, 12))
def test_unless_one_is_set(length: int) -> None:
    wire = b"ok\r\n" + b"x" * length + b"\r\nok\r\n.\r\nNOOP\r\n"
    for pieces in every_cut(wire):
        result = talk(in_data(limits=Limits(max_body_line=10)), pieces)
        if length <= 8:
            assert result.replies == [b"250", b"250"]
        else:
            assert result.replies == [b"550", b"250"]
            assert result.body == b"ok\r\n" + (b"x" * length + b"\r\nok\r\n")[:10]


# Refused by the application.


def test_a_message_can_be_refused_while_it_comes_in() -> None:
    """Poisoned, not discarded: it is read to its end, and the refusal is said there."""

    def policy(conn: Any, event: object) -> None:
        accept_all(conn, event)

    wire = b"virus\r\n.\r\nNOOP\r\n"
    for pieces in every_cut(wire):
        conn = in_data()
        result = Talk()
        for piece in pieces:
            conn.receive_data(piece)
            while (event := conn.next_event()) is not None:
                result.events.append(event)
                if isinstance(event, MessageChunk):
                    conn.reject(554, "a virus", "5.7.1")
                    conn.reject(450, "the second word does not count")
                result.output += conn.data_to_send()
        result.output += conn.data_to_send()
        assert result.output == b"554 5.7.1 a virus\r\n250 2.0.0 OK\r\n", pieces
        assert not result.of(MessageEnd)
        assert conn.state is ServerState.READY


@pytest.mark.parametrize(("code", "closes"), [(550, False), (451, False), (421, True), (521, True)])
def test_a_message_can_be_refused_at_its_end(code: int, closes: bool) -> None:
    def policy(conn: Any, event: object) -> None:
        conn.reject(code, "no") if isinstance(event, MessageEnd) else conn.accept()

    conn = greeted()
    result = deliver(conn, b"x\r\n.\r\nNOOP\r\n", policy)
    assert result.replies[-2:] == ([b"354", b"%d" % code] if closes else [b"%d" % code, b"250"])
    assert conn.closing is closes
    assert conn.envelope is None


def test_data_can_be_refused() -> None:
    def policy(conn: Any, event: object) -> None:
        conn.reject() if type(event).__name__ == "Data" else conn.accept()

    conn = greeted()
    result = talk(conn, [ENVELOPE + MAIL], policy)
    assert result.replies == [b"250", b"250", b"554", b"250"]


def test_nobody_takes_a_message_by_forgetting() -> None:
    """S17: without an answer it is 451, never 250."""

    def policy(conn: Any, event: object) -> None:
        conn.answer_default() if isinstance(event, MessageEnd) else conn.accept()

    assert deliver(greeted(), b"x\r\n.\r\n", policy).replies[-1] == b"451"


# Cut off (S17).


def test_a_message_is_one_only_from_the_last_octet_on() -> None:
    wire = ENVELOPE + b"Subject: x\r\n\r\n..body\r\n.\r\n"
    for place in range(len(wire) + 1):
        for pieces in ([wire[:place]], [wire[i : i + 1] for i in range(place)]):
            result = talk(greeted(), [piece for piece in pieces if piece], eof=True)
            assert len(result.of(MessageEnd)) == (place == len(wire)), place
            (closed,) = result.of(ConnectionClosed)
            assert closed.clean is (place in (0, len(wire)))
            assert result.events[-1] is closed


@pytest.mark.parametrize("ending", ["receive_timeout", "close"])
def test_a_message_that_is_cut_short_is_none(ending: str) -> None:
    conn = in_data()
    talk(conn, [b"half a message\r\n"])
    getattr(conn, ending)()
    conn.receive_data(b".\r\n")
    result = talk(conn, [])
    assert not result.of(MessageEnd)
    assert result.output[:3] == b"421"
    assert [event.clean for event in result.of(ConnectionClosed)] == [False]


# Memory and work (S24, S29).


def test_a_message_of_any_size_takes_no_memory() -> None:
    conn = in_data()
    piece = (b"x" * 76 + b"\r\n") * 840
    tracemalloc.start()
    for _ in range(500):
        conn.receive_data(piece)
        while conn.next_event() is not None:
            pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
    assert conn.state is ServerState.DATA


@pytest.mark.parametrize("octet", [b"x", b".", b"\r"])
def test_octets_one_by_one_are_no_more_work_each(octet: bytes) -> None:
    """A buffer that is joined again with each octet would hold them all."""
    conn = in_data(max_message_size=0)
    tracemalloc.start()
    for _ in range(20_000):
        conn.receive_data(octet)
        conn.next_event()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


# BDAT (S4).


@pytest.mark.parametrize(
    "argument",
    [
        b"",
        b"-1",
        b"+5",
        b"5_0",
        "٣".encode(),
        b"999999999999999999999",
        b"5 X",
        b"5 LAST X",
        b"5  LAST",
        b"x",
        b"5\0",
        b"LAST",
        b"0x5",
        b"5\t",
        b"5\rLAST",
        b"5" + b" " * 5000,
    ],
)
@pytest.mark.parametrize("ready", [greeted, in_transaction])
def test_a_chunk_of_unknown_size_is_the_end(ready: Callable[[], SMTPServerConnection], argument: bytes) -> None:
    """Nothing else is safe: where it ends cannot be told, even if the line cannot be read at all."""
    wire = b"bdat " + argument + b"\r\nMAIL FROM:<evil@x>\r\nQUIT\r\n"
    for pieces in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
        conn = ready()
        result = talk(conn, pieces)
        assert not result.of(Mail)
        assert result.replies == [b"521"]
        assert conn.closing


CHUNKED_SMUGGLED = b"MAIL FROM:<evil@x>\r\n"


@pytest.mark.parametrize("state", ["ready", "mail", "no chunking"])
def test_a_refused_chunk_is_consumed_all_the_same(state: str) -> None:
    conn = greeted(extensions=()) if state == "no chunking" else greeted()
    if state != "ready":
        talk(conn, [MAIL])
    if state == "no chunking":
        talk(conn, [RCPT])
    wire = b"BDAT %d LAST\r\n%sNOOP\r\n" % (len(CHUNKED_SMUGGLED), CHUNKED_SMUGGLED)
    result = talk(conn, [wire[i : i + 1] for i in range(len(wire))])
    assert not result.of(Mail)
    assert result.replies == [{"ready": b"503", "mail": b"554", "no chunking": b"502"}[state], b"250"]


@pytest.mark.parametrize("refused", ["data", "end", "chunk"])
def test_behind_a_refused_chunk_the_rest_is_swallowed(refused: str) -> None:
    def policy(conn: Any, event: object) -> None:
        kind = {"data": "Data", "end": "MessageEnd", "chunk": ""}[refused]
        conn.reject(554) if type(event).__name__ == kind else conn.accept()

    first = b"a\nb\r\n" if refused == "chunk" else b"first\r\n"
    wire = b"BDAT %d\r\n%sBDAT %d LAST\r\n%sNOOP\r\n" % (len(first), first, len(CHUNKED_SMUGGLED), CHUNKED_SMUGGLED)
    for pieces in every_cut(wire):
        conn = in_transaction()
        result = talk(conn, pieces, policy)
        assert not result.of(Mail)
        assert result.replies[-2:] in ([b"554", b"250"], [b"550", b"250"])
        assert conn.envelope is None, "recipients never survive into the next transaction"
        assert conn.state is ServerState.READY


@pytest.mark.parametrize("last", [b"", b" LAST"])
def test_a_farewell_to_a_chunk_is_said(last: bytes) -> None:
    def refuse(conn: Any, event: object) -> None:
        conn.reject(421, "enough") if isinstance(event, Data) else conn.accept()

    conn = in_transaction()
    result = talk(conn, [b"BDAT 6%s\r\nNOOP\r\nNOOP\r\n" % last], refuse)
    assert result.output == b"421 4.0.0 enough\r\n"
    assert [event.clean for event in result.of(ConnectionClosed)] == [False]


def test_a_farewell_at_the_end_of_a_chunk_is_one() -> None:
    """As ``CLOSE`` promises, and not only behind the last chunk."""
    for pieces in every_cut(b"BDAT 5\r\na\nb\r\nBDAT 0\r\nNOOP\r\n"):
        conn = in_transaction(bare_newlines=BareNewlines.CLOSE)
        result = talk(conn, pieces)
        assert result.replies == [b"521"]
        assert result.body == b"a"
        assert [type(event) for event in result.events[-2:]] == [MessageAborted, ConnectionClosed]


def test_chunks() -> None:
    wire = b"BDAT 6\r\nab\r\nc\rBDAT 0\r\nBDAT 2\r\n\n.BDAT 5 last\r\n\r\n.\r\nNOOP\r\n"
    for pieces in every_cut(wire):
        result = talk(in_transaction(), pieces)
        assert result.body == b"ab\r\nc\r\n.\r\n.\r\n", "nothing is stuffed, and no CRLF cut"
        assert result.replies == [b"250"] * 5
        assert result.of(MessageEnd)[0].size == 13


def test_nothing_of_a_reset_message_gets_into_the_next() -> None:
    """A CR at the end of a chunk waits for what follows; RSET is not what it waited for."""
    for reset in (b"RSET\r\n", b"EHLO x\r\n"):
        conn = in_transaction()
        talk(conn, [b"BDAT 2\r\nx\r", reset, MAIL, RCPT])
        result = talk(conn, [b"BDAT 3 LAST\r\ny\r\n"])
        assert result.body == b"y\r\n"
        assert result.replies == [b"250"]


def test_a_chunk_that_is_cut_off() -> None:
    """S4: the end of input within a chunk, or before LAST, delivers nothing."""
    for wire in (b"BDAT 10 LAST\r\n123456789", b"BDAT 4\r\nab\r\n", b"BDAT 4\r\nab\r\nBDAT 0 LA"):
        result = talk(in_transaction(), [wire], eof=True)
        assert not result.of(MessageEnd)
        assert [event.clean for event in result.of(ConnectionClosed)] == [False]
    result = talk(greeted(), [b"BDAT 10 LAST\r\n12345"], eof=True)
    assert [event.clean for event in result.of(ConnectionClosed)] == [False]


def test_empty_chunks_lead_nowhere() -> None:
    conn = in_transaction(limits=Limits(max_junk=10))
    result = talk(conn, [b"BDAT 0\r\n" * 20])
    assert result.replies == [b"250"] * (len(result.replies) - 1) + [b"421"]
    assert len(result.replies) <= 11
    assert conn.closing


def test_chunks_add_up_to_a_message() -> None:
    conn = in_transaction(max_message_size=10)
    result = talk(conn, [b"BDAT 6\r\n1234\r\nBDAT 6 LAST\r\n1234\r\nNOOP\r\n"])
    assert result.replies == [b"250", b"552", b"250"]
    conn = in_transaction(max_message_size=10, limits=Limits(max_excess=100))
    result = talk(conn, [b"BDAT 101 LAST\r\n", b"x" * 101])
    assert result.replies == [b"521"]
    assert conn.closing
    conn = in_transaction(max_message_size=10, limits=Limits(max_excess=100))
    assert talk(conn, [b"BDAT 50 LAST\r\n" + b"x" * 48 + b"\r\nNOOP\r\n"]).replies == [b"552", b"250"]
    conn = in_transaction(max_message_size=0, limits=Limits(max_excess=5))
    assert talk(conn, [b"BDAT 50 LAST\r\n" + b"x" * 48 + b"\r\nNOOP\r\n"]).replies == [b"250", b"250"]


@pytest.mark.parametrize("limit", [0, 1000])
@pytest.mark.parametrize(
    "make",
    [
        greeted,
        lambda **settings: in_transaction(extensions=(), **settings),
    ],
)
def test_a_chunk_that_nobody_wants_is_not_skipped_for_ever(make: Any, limit: int) -> None:
    """Where a message has no fixed limit, what comes in a wrong state still has one."""
    conn = make(max_message_size=limit, limits=Limits(max_excess=100))
    result = talk(conn, [b"BDAT 100 LAST\r\n", b"x" * 100, b"NOOP\r\n"])
    assert result.replies[1:] == [b"250"]
    result = talk(conn, [b"BDAT 101 LAST\r\n", b"x" * 101])
    assert result.replies == [b"521"]
    assert conn.closing


# LMTP (S18).


def test_a_reply_for_each_recipient() -> None:
    conn = greeted_lmtp()
    talk(conn, [MAIL, b"RCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<a@b>\r\n"], refuse_c)

    def policy(conn: Any, event: object) -> None:
        if isinstance(event, MessageEnd):
            assert len(event.envelope.recipients) == 2
        accept_all(conn, event)

    result = talk(conn, [b"DATA\r\nx\r\n.\r\n"], policy)
    assert result.replies == [b"354", b"250", b"250"]
    assert talk(conn, [b"DATA\r\n"]).replies == [b"503"]


def test_each_recipient_may_have_another_reply() -> None:
    """RFC 2033 section 4.2: in the order of the accepted recipients, and exactly so many."""
    verdicts = (Reply.build(250, "for a", "2.1.5"), Reply.build(452, "full", "4.2.2"))

    def policy(conn: Any, event: object) -> None:
        if not isinstance(event, MessageEnd):
            refuse_c(conn, event)
            return
        for wrong in (verdicts[:1], (*verdicts, verdicts[0]), (verdicts[0], Reply(354, "x")), ()):
            with pytest.raises(LocalProtocolError):
                conn.reply_each(wrong)
            assert conn.pending is event
        conn.reply_each(verdicts)
        with pytest.raises(LocalProtocolError):
            conn.reply_each(verdicts)

    conn = greeted_lmtp()
    wire = MAIL + b"RCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nDATA\r\nx\r\n.\r\nNOOP\r\n"
    result = talk(conn, [wire], policy)
    assert result.output.endswith(b"250 2.1.5 for a\r\n452 4.2.2 full\r\n250 2.0.0 OK\r\n")
    assert result.replies == [b"250", b"250", b"550", b"250", b"354", b"250", b"452", b"250"]


def test_each_recipient_has_one_reply_only_in_lmtp() -> None:
    conn = in_data()
    conn.receive_data(b".\r\n")
    conn.next_event()
    with pytest.raises(LocalProtocolError):
        conn.reply_each([Reply(250, "x")])
    conn.accept()
    assert conn.data_to_send()[:3] == b"250"


def test_a_message_that_the_connection_refuses_has_its_replies_too() -> None:
    conn = greeted_lmtp()
    talk(conn, [MAIL + b"RCPT TO:<a@b>\r\nRCPT TO:<e@f>\r\nDATA\r\n"])
    assert talk(conn, [b"a\nb\r\n.\r\nNOOP\r\n"]).replies == [b"550", b"550", b"250"]


def refuse_c(conn: Any, event: Any) -> None:
    conn.reject() if getattr(
        event, "address", None
    ) is not None and event.address.local_part == "c" else conn.accept()


def greeted_lmtp() -> Any:
    conn = greeted(lmtp=True)
    talk(conn, [b"LHLO x\r\n"])
    return conn


# Everything together: the machine against the plain definition.

BODY = st.lists(
    st.sampled_from(
        [b"\r\n", b".", b"\r", b"\n", b"x", b"\0", b"\r\n.", b"MAIL FROM:<e@x>\r\n", b"QUIT\r\n", b"y" * 9]
    ),
    max_size=14,
).map(b"".join)


@THOROUGH
@given(
    BODY,
    st.sampled_from(BareNewlines),
    st.booleans(),
    st.sampled_from([0, 12]),
    st.sampled_from([None, 11]),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
)
def test_against_the_plain_definition(
    body: bytes, mode: BareNewlines, nul: bool, size: int, line: int | None, cuts: list[int]
) -> None:
    """S2, S3: for any body, any config and any cut, what is delivered is the definition's message or none."""
    wire = body + TRUE_END + b"NOOP\r\n"
    end = (b"\r\n" + wire).index(TRUE_END)
    content, rest = wire[:end], wire[end + 3 :]
    lines = content.split(b"\r\n")
    content = b"\r\n".join(text[1:] if text[:1] == b"." else text for text in lines)
    if mode is BareNewlines.NORMALIZE:
        content = re.sub(rb"\r\n|\r|\n", b"\r\n", content)
    fine = not (
        re.search(rb"\r(?!\n)|(?<!\r)\n", content)
        or (b"\0" in content and not nul)
        or (size and len(content) > size)
        or (line and any(len(text) + 2 > line for text in content.split(b"\r\n")))
    )
    settings: dict[str, Any] = {"bare_newlines": mode, "allow_nul": nul, "max_message_size": size}
    for pieces in ([wire], list(cut_at(wire, cuts))):
        conn = in_data(**settings, limits=Limits(max_body_line=line))
        result = talk(conn, pieces)
        first_end = result.of(MessageEnd)[:1]
        assert bool(result.lines and result.replies[0] == b"250" and first_end) == fine
        if fine:
            assert first_end[0].size == len(content)
            assert result.body.startswith(content)
        if not conn.closing and rest == b"NOOP\r\n":
            assert result.replies[1:] == [b"250"]
