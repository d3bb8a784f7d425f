"""What a submission server adds to a message (RFC 6409 section 8), however the message is cut."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailproto.address import Address
from mailproto.errors import GrammarError
from mailproto.smtp.fixups import complete_header, without_bcc

NOW = datetime(2026, 11, 26, 4, 34, 9, tzinfo=UTC)
ADA = Address("ada", "example.org")
ID = b"Message-ID: <m1@example.org>\r\n"
DATE = b"Date: Thu, 26 Nov 2026 04:34:09 +0000\r\n"
SENDER = b"Sender: ada@example.org\r\n"
BODY = b"\r\nMessage-ID: <in the body>\r\n\r\nDate: never\r\n"
WHOLE = b"From: Ada <ada@example.org>\r\nDate: Thu, 26 Nov 2026 04:34:09 +0000\r\nMessage-ID: <1@x.example>\r\n"


def complete(message: bytes, **more: Any) -> bytes:
    """Complete a message, as it comes in one piece, octet by octet, and in two."""
    options = {"message_id": "m1@example.org", "date": NOW, "sender": ADA, **more}
    whole = b"".join(complete_header([message], **options))
    cuts = range(0, len(message), max(1, len(message) // 200))
    octets = [message[at : at + 1] for at in range(len(message))]
    ways = [[message[:cut], message[cut:]] for cut in cuts]
    for pieces in (*ways, [*octets[:5000], message[5000:]]):
        assert b"".join(complete_header(pieces, **options)) == whole
    return whole


@pytest.mark.parametrize(
    "header",
    [
        WHOLE,
        WHOLE.lower(),
        b"Message-ID:\r\n <1@x.example>\r\nDate :26 nov 26 04:34 GMT\r\nFrom: g@x.example, ada@EXAMPLE.org\r\n",
        b"Message-ID: <a@b@[192.0.2.1]>\r\nDate: 26\r\n\tNov 2026 04:34:09 -0500 (EST)\r\nFrom: ada@example.org\r\n",
        b'From: "A, B" <ada@example.org>\r\nSubject: \xff\r\n' + WHOLE,
    ],
)
@pytest.mark.parametrize("body", [BODY, b"\r\n", b""])
def test_what_is_there_is_left_alone(header: bytes, body: bytes) -> None:
    assert complete(header + body) == header + body


@pytest.mark.parametrize(
    ("header", "added"),
    [
        (b"", ID + DATE + SENDER),
        (b"Subject: x\r\n", ID + DATE + SENDER),
        (b"Subject: Message-ID: <1@x.example>\r\n Date: today\r\n", ID + DATE + SENDER),
        (b"Resent-Message-ID: <1@x.example>\r\nX-Date: x\r\nFrom: ada@example.org\r\n", ID + DATE),
        (WHOLE.replace(b"Message-ID", b"Message-IDs"), ID),
        (WHOLE.replace(b"Date", b"Dates"), DATE),
        (WHOLE.replace(b"From: Ada <ada", b'From: "ada@example.org" <eve'), SENDER),
        (WHOLE.replace(b"ada@", b"Ada@"), SENDER),
        (WHOLE.replace(b"ada@example.org", b"ada@example.org.evil.example"), SENDER),
    ],
)
def test_what_lacks_is_added_on_top(header: bytes, added: bytes) -> None:
    assert complete(header + BODY) == added + header + BODY


@pytest.mark.parametrize(
    ("field", "added"),
    [
        (b"Message-ID: 12345\r\n", ID),
        (b"Message-ID: <a b@example.org>\r\n", ID),
        (b"message-id :\r\n <@>\r\n", ID),
        (b"Date: 2026-11-26T04:34:09Z\r\n", DATE),
        (b"Date: Thursday\r\n", DATE),
        (b"Sender: eve@example.org\r\n", SENDER),
    ],
)
def test_what_is_none_is_replaced(field: bytes, added: bytes) -> None:
    rest = b"".join(line for line in WHOLE.splitlines(keepends=True) if line[:4].lower() != field[:4].lower())
    if field.startswith(b"Sender"):
        rest = WHOLE.replace(b"From: Ada <ada", b"From: <eve")
    assert complete(rest + field + BODY) == added + rest + BODY


def test_not_every_from_is_read() -> None:
    """There should be one. The time to read it grows with the square of its length, and many take many times that."""
    longest = b"From: " + b"eve@example.com, " * 290 + b"ada@example.org\r\n"
    assert complete(ID + DATE + longest + BODY) == ID + DATE + longest + BODY
    assert complete(ID + DATE + longest * 3 + BODY) == SENDER + ID + DATE + longest * 3 + BODY


def test_only_what_is_wanted_is_added() -> None:
    """The identifier should be, the others may."""
    assert complete(BODY, date=None, sender=None) == ID + BODY


@pytest.mark.parametrize(
    "message",
    [
        b"Hello,\r\nthis is no header.\r\n",
        b"Subject: x\r\nand now for something\r\n\r\n",
        b" folded: nothing\r\n\r\n",
        b"From ada Thu Nov 26 04:34:09 2026\r\nSubject: x\r\n\r\n",
        b"Subject: x",
        b"Subject: " + b"x" * (1 << 20) + b"\r\n\r\nbody\r\n",
    ],
)
def test_what_has_no_proper_header_stays_as_it_is(message: bytes) -> None:
    assert complete(message) == message


def test_a_message_is_not_read_further_than_its_header() -> None:
    """It streams."""

    def message() -> Any:
        yield b"Subject: x\r\n\r\n"
        raise AssertionError

    assert next(complete_header(message(), message_id="m1@example.org")) == ID + b"Subject: x\r\n\r\n"


NASTY = [
    b"a: " + b"x\r\n " * 200_000,
    b"a:\r\n" * 170_000,
    b"Date:" + b" " * 1_000_000,
    b"Message-ID: <" + b"@" * 1_000_000,
    b"From: " + b"(" * 9000,
    b"From: " + b"<" * 1_000_000,
]


@pytest.mark.parametrize(
    ("header", "left"),
    [
        (b"", b""),
        (b"Bcc: a@b\r\n", b""),
        (b"To: a@b\r\nBCC : c@d,\r\n\te@f\r\nCc: g@h\r\nresent-bcc:\r\n", b"To: a@b\r\nCc: g@h\r\n"),
        (b"X-Bcc: a@b\r\nSubject: x\r\n Bcc: c@d\r\n", b"X-Bcc: a@b\r\nSubject: x\r\n Bcc: c@d\r\n"),
    ],
)
def test_bcc_is_taken_off(header: bytes, left: bytes) -> None:
    message = header + BODY
    for cut in range(len(message)):
        assert b"".join(without_bcc([message[:cut], message[cut:]])) == left + BODY
    assert b"".join(without_bcc(message[at : at + 1] for at in range(len(message)))) == left + BODY


@pytest.mark.parametrize("header", [b"no field\r\nBcc: a@b\r\n", b" Bcc: a@b\r\n", b"a: b\r\n" * 200_000])
def test_where_it_cannot_be_seen_nothing_is_passed_on(header: bytes) -> None:
    with pytest.raises(GrammarError, match="may have a Bcc"):
        next(without_bcc([header + BODY]))


@pytest.mark.parametrize("header", NASTY, ids=lambda header: repr(header[:12]))
def test_a_long_header_takes_no_time(header: bytes) -> None:
    """S20: every pattern is linear."""
    begun = time.process_time()
    completed = b"".join(complete_header([header, BODY], message_id="m1@example.org", date=NOW, sender=ADA))
    assert completed.endswith(b"\r\n\r\nDate: never\r\n")
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    "wrong",
    [
        {"message_id": "m1"},
        {"message_id": "<m1@example.org>"},
        {"message_id": "m1@example.org>\r\nBcc: x"},
        {"date": datetime(2026, 11, 26)},
    ],
)
def test_what_must_not_go_into_a_header(wrong: dict[str, Any]) -> None:
    """S52: at once, and not when the message is half written."""
    options: dict[str, Any] = {"message_id": "m1@example.org", **wrong}
    with pytest.raises(GrammarError):
        complete_header([BODY], **options)


def test_the_zone_is_the_callers() -> None:
    later = NOW.astimezone(tz=None) + timedelta(0)
    assert complete(BODY, date=later).count(b"Date: ") == 2
