"""Replies and enhanced status codes as values, on their way out and in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.errors import GrammarError, RemoteProtocolError
from mailproto.smtp import EnhancedStatus, Reply, ReplyError
from mailproto.smtp.reply import ReplyParser, encode_reply
from tests.helpers import PROPERTY


@pytest.mark.parametrize(
    ("code", "ok", "temporary", "permanent"),
    [
        (220, True, False, False),
        (251, True, False, False),
        (299, True, False, False),
        (354, True, False, False),
        (399, True, False, False),
        (400, False, True, False),
        (421, False, True, False),
        (452, False, True, False),
        (499, False, True, False),
        (500, False, False, True),
        (552, False, False, True),
        (599, False, False, True),
    ],
)
def test_the_first_digit_decides(code: int, ok: bool, temporary: bool, permanent: bool) -> None:
    """S96, RFC 5321 section 4.2.1: any code is legal, known or not."""
    reply = Reply(code, "text may say 250 or 550")
    assert (reply.ok, reply.temporary, reply.permanent) == (ok, temporary, permanent)
    assert ReplyError(reply, "MAIL").temporary is temporary


@pytest.mark.parametrize(
    ("text", "queue_id"),
    [
        ("2.0.0 Ok: queued as 4XyZ1234", "4XyZ1234"),
        ("OK id=1abcDE-000123-4f", "1abcDE-000123-4f"),
        ("Queued as A.B-C_D", "A.B-C_D"),
        ("queue id: 77", "77"),
        ("OK", None),
        ("", None),
        ("identity=x", None),
    ],
)
def test_what_looks_like_a_queue_id(text: str, queue_id: str | None) -> None:
    assert Reply(250, text).queue_id == queue_id


def test_of_one_reply_is_one_line_of_a_log() -> None:
    """S54: a server has no say in where a line ends."""
    reply = Reply.build(550, "no\n250 accepted", "5.7.1")
    assert str(reply) == "550 5.7.1 no / 250 accepted"
    assert str(ReplyError(reply, "RCPT")) == "RCPT: 550 5.7.1 no / 250 accepted"


@pytest.mark.parametrize("text", ["2.0.0", "4.7.1", "5.123.999"])
def test_enhanced_codes(text: str) -> None:
    assert str(EnhancedStatus.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2",
        "2.0",
        "2.0.0.0",
        "1.0.0",
        "3.0.0",
        "6.0.0",
        "2.00.0",
        "2.0.01",
        "2.1000.0",
        "2.0.0 ",
        "2.\u0660.0",
        "x2.0.0",
    ],
)
def test_what_is_no_enhanced_code(text: str) -> None:
    """RFC 3463 section 2."""
    with pytest.raises(GrammarError):
        EnhancedStatus.parse(text)


@pytest.mark.parametrize(
    ("code", "enhanced"),
    [(199, None), (600, None), (25, None), (250, "5.0.0"), (550, "4.0.0"), (354, "2.0.0"), (250, "x")],
)
def test_what_is_not_built(code: int, enhanced: str | None) -> None:
    with pytest.raises(GrammarError):
        Reply.build(code, "x", enhanced)


TEXTS = st.text(
    st.sampled_from("abc \n\r\t\0\x7f\x1bäß\u2028例") | st.sampled_from(list(map(chr, range(0x250)))), max_size=30
)


@PROPERTY
@given(st.integers(200, 599), TEXTS, st.booleans(), st.booleans())
def test_one_reply_is_one_reply_on_the_wire(code: int, text: str, enhanced: bool, utf8: bool) -> None:
    """S49: whatever the text is made of."""
    status = EnhancedStatus(code // 100, 1, 2) if enhanced and code // 100 in (2, 4, 5) else None
    wire = encode_reply(Reply(code, text, status), utf8)
    *lines, rest = wire.split(b"\r\n")
    assert rest == b""
    parser = ReplyParser(10_000, 10_000_000)
    parsed = [parser.feed(line, enhanced=True) for line in lines]
    assert parsed[:-1] == [None] * (len(lines) - 1)
    assert parsed[-1] is not None
    assert parsed[-1].code == code
    assert all(len(line) <= 510 for line in lines)
    for line in lines:
        line.decode("utf-8" if utf8 else "ascii")
        assert not any((byte < 0x20 and byte != 0x09) or byte == 0x7F for byte in line)
    looks_like_a_status = status is None and text[:1].isdigit()
    if text.isascii() and text.isprintable() and len(text) < 400 and not looks_like_a_status:
        assert parsed[-1] == Reply(code, text, status)


@PROPERTY
@given(st.text(st.sampled_from("aä例"), min_size=400, max_size=1200))
def test_long_lines_are_wrapped_between_characters(text: str) -> None:
    wire = encode_reply(Reply.build(550, text, "5.7.1"), True)
    pieces = [line[10:].decode("utf-8") for line in wire.split(b"\r\n")[:-1]]
    assert "".join(pieces) == text
    assert all(len(line) <= 510 for line in wire.split(b"\r\n"))


def test_each_line_has_the_code() -> None:
    assert encode_reply(Reply.build(550, "a\nb\r\nc", "5.1.1")) == b"550-5.1.1 a\r\n550-5.1.1 b\r\n550 5.1.1 c\r\n"
    assert encode_reply(Reply(250)) == b"250 \r\n"
    assert encode_reply(Reply(250, "\n")) == b"250-\r\n250 \r\n"


@pytest.mark.parametrize(
    ("lines", "enhanced", "expected"),
    [
        ([b"2.1.0 ok"], True, Reply(250, "ok", EnhancedStatus(2, 1, 0))),
        ([b"2.1.0 ok"], False, Reply(250, "2.1.0 ok")),
        ([b"5.1.0 ok"], True, Reply(250, "5.1.0 ok")),
        ([b"2.1.0"], True, Reply(250, "", EnhancedStatus(2, 1, 0))),
        ([b"2.1.0x"], True, Reply(250, "2.1.0x")),
        ([b"2.1.0 a", b"2.1.0 b"], True, Reply(250, "a\nb", EnhancedStatus(2, 1, 0))),
        ([b"2.1.0 a", b"b"], True, Reply(250, "a\nb", EnhancedStatus(2, 1, 0))),
        ([b"a", b"2.1.0 b"], True, Reply(250, "a\n2.1.0 b")),
    ],
)
def test_the_enhanced_code_counts_where_it_was_offered_and_agrees(
    lines: list[bytes], enhanced: bool, expected: Reply
) -> None:
    """RFC 2034 section 4."""
    parser = ReplyParser(10, 1000)
    for line in lines[:-1]:
        assert parser.feed(b"250-" + line, enhanced=enhanced) is None
    assert parser.feed(b"250 " + lines[-1], enhanced=enhanced) == expected


def test_a_reply_of_too_many_octets() -> None:
    parser = ReplyParser(100, 50)
    assert parser.feed(b"250-" + b"x" * 40, enhanced=False) is None
    assert parser.unfinished
    with pytest.raises(RemoteProtocolError):
        parser.feed(b"250 " + b"x" * 40, enhanced=False)


def test_the_parser_begins_anew() -> None:
    parser = ReplyParser(2, 100)
    for _ in range(5):
        assert parser.feed(b"250-a", enhanced=False) is None
        assert parser.feed(b"250 b", enhanced=False) == Reply(250, "a\nb")
        assert not parser.unfinished
    assert parser.feed(b"550 c", enhanced=False) == Reply(550, "c")


def test_what_was_said_once_is_read_anew_each_time() -> None:
    """Replies that come again and again are parsed once; what was offered decides how, each time."""
    parser = ReplyParser(2, 100)
    for _ in range(2):
        assert parser.feed(b"250 2.1.0 ok", enhanced=True) == Reply(250, "ok", EnhancedStatus(2, 1, 0))
        assert parser.feed(b"250 2.1.0 ok", enhanced=False) == Reply(250, "2.1.0 ok")
        assert parser.feed(b"250-2.1.0 ok", enhanced=True) is None
        assert parser.feed(b"250 2.1.0 ok", enhanced=True) == Reply(250, "ok\nok", EnhancedStatus(2, 1, 0))
