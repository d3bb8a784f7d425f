"""The grammar of an mbox file: the line that begins a message, the quoting, the field that keeps a unique-id."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.maildrop.mbox_format import (
    KeptUniqueId,
    Quoter,
    Unquoter,
    find_unique_id,
    is_separator,
    sender_of,
    separator,
    unique_id_line,
    without_marks,
)
from tests.helpers import PROPERTY
from tests.maildrop import cut
from tests.maildrop.strategies import CUTS

UID = "0123456789abcdef0123456789abcdef"


def fed(machine: Quoter | Unquoter, pieces: list[bytes]) -> bytes:
    return b"".join([machine.feed(piece) for piece in pieces]) + machine.finish()


@pytest.mark.parametrize(
    "line",
    [
        b"From ada@example.org Thu Nov 29 12:33:52 2001",
        b"From ada@example.org Thu Nov  9 12:33:52 2001",
        b"From MAILER-DAEMON Thu Nov 29 02:03:04 2001",
        b"From  Thu Nov 29 12:33:52 2001",
        b"From ada@example.org  Thu Nov 29 12:33 2001",
        b"From ada@example.org Thu Nov 29 12:33:52 EET 2001",
        b"From ada@example.org Thu Nov 29 12:33:52 +0200 EET 2001",
        b"From ada Thu Nov 29 12:33:52 2001 remote from elsewhere",
        b'From "ada lovelace"@example.org Thu Nov 29 12:33:52 2001',
        b"From ada@example.org Thu Nov 29 12:33:52 2001\r",
    ],
)
def test_a_line_that_begins_a_message(line: bytes) -> None:
    assert is_separator(line + b"\nSubject: x\n")
    assert not is_separator(line)  # not a line yet
    assert not is_separator(b">" + line + b"\n")


@pytest.mark.parametrize(
    "line",
    [
        b"From me to you",
        b"From: Ada <ada@example.org> Thu Nov 29 12:33:52 2001",
        b"from ada@example.org Thu Nov 29 12:33:52 2001",
        b"From ada@example.org Thursday Nov 29 12:33:52 2001",
        b"From ada@example.org 2001-11-29 12:33:52",
        b"From ada\nThu Nov 29 12:33:52 2001",
        b"From " + b"a" * 2000 + b" Thu Nov 29 12:33:52 2001",
        b"",
    ],
)
def test_a_line_that_does_not(line: bytes) -> None:
    assert not is_separator(line + b"\n")


def test_the_line_we_write() -> None:
    assert separator("ada@example.org", 1006990432.9) == b"From ada@example.org Wed Nov 28 23:33:52 2001\n"
    assert is_separator(separator("MAILER-DAEMON", 0))


@pytest.mark.parametrize(
    ("beginning", "sender"),
    [
        (b"Return-Path: <ada@example.org>\r\nSubject: x\r\n\r\n", "ada@example.org"),
        (b"Received: by x\r\nreturn-path:<ada@example.org>\r\n\r\n", "ada@example.org"),
        (b"Return-Path: <>\r\n\r\n", "MAILER-DAEMON"),
        (b"Subject: x\r\n\r\nReturn-Path: <ada@example.org>\r\n", "MAILER-DAEMON"),
        (b"X-Return-Path: <ada@example.org>\r\n\r\n", "MAILER-DAEMON"),
        (b"Return-Path: <ada lovelace@example.org>\r\n\r\n", "MAILER-DAEMON"),
        (b"Return-Path: <ada\r\n@example.org>\r\n\r\n", "MAILER-DAEMON"),
        ("Return-Path: <ädä@example.org>\r\n\r\n".encode(), "MAILER-DAEMON"),
        (b"", "MAILER-DAEMON"),
    ],
)
def test_the_sender_is_that_of_the_return_path(beginning: bytes, sender: str) -> None:
    assert sender_of(beginning) == sender
    assert is_separator(separator(sender, 0))


@pytest.mark.parametrize(
    ("plain", "quoted"),
    [
        (b"From x\n", b">From x\n"),
        (b">From x\n", b">>From x\n"),
        (b"a\nFrom x\n>>From y\n", b"a\n>From x\n>>>From y\n"),
        (b"a From x\n> From y\nfrom z\nFrom\nFro", b"a From x\n> From y\nfrom z\nFrom\nFro"),
        (b"From ", b">From "),
        (b">>", b">>"),
        (b"", b""),
    ],
)
def test_quoting(plain: bytes, quoted: bytes) -> None:
    assert fed(Quoter(), [plain]) == quoted
    assert fed(Unquoter(), [quoted]) == plain
    for position in range(len(plain)):
        assert fed(Quoter(), [plain[:position], plain[position:]]) == quoted
    for position in range(len(quoted)):
        assert fed(Unquoter(), [quoted[:position], quoted[position:]]) == plain


TEXT = st.lists(st.sampled_from([b"From ", b"From", b"Fro", b">", b">From ", b"\n", b"x", b" "])).map(b"".join)


@PROPERTY
@given(TEXT, CUTS)
def test_quoting_is_its_plain_definition_however_it_is_cut(text: bytes, cuts: list[int]) -> None:
    quoted = fed(Quoter(), cut(text, cuts))
    assert quoted == re.sub(rb"(?m)^(>*From )", rb">\1", text)
    assert not re.search(rb"(?m)^From ", quoted)
    assert fed(Unquoter(), cut(quoted, cuts)) == text
    assert fed(Unquoter(), cut(text, cuts)) == re.sub(rb"(?m)^>(>*From )", rb"\1", text)


def test_a_long_run_of_quoting_is_not_held_back() -> None:
    quoter = Quoter()
    assert len(quoter.feed(b">" * 100_000)) == 100_000
    assert quoter.feed(b"From ") + quoter.finish() == b">From "


@pytest.mark.parametrize("lacks_end", [False, True])
@pytest.mark.parametrize("uid", [UID, UID + ".2", UID + ".10"])
def test_a_kept_unique_id_is_found_again(uid: str, lacks_end: bool) -> None:
    line = unique_id_line(uid, lacks_end)
    assert find_unique_id(b"before\n" + line + b"Subject: x\n", 7) == KeptUniqueId(uid, lacks_end, 7 + len(line))


@pytest.mark.parametrize(
    "field",
    [
        b"X-UIDL: " + UID.encode()[:-1] + b"\n",
        b"X-UIDL: " + UID.encode() + b"0\n",
        b"X-UIDL: " + UID.upper().encode() + b"\n",
        b"X-UIDL: " + UID.encode() + b"\r\n",
        b"X-UIDL:  " + UID.encode() + b"\n",
        b"X-UIDL: " + UID.encode() + b".\n",
        b"X-UIDL: " + UID.encode() + b" \n",
        b"Subject: x\nX-UIDL: " + UID.encode() + b"\n",
        b"",
    ],
)
def test_what_is_not_a_kept_unique_id(field: bytes) -> None:
    assert find_unique_id(field, 0) is None


def test_what_readers_change_is_left_out_of_the_header_alone() -> None:
    header = b"From x\nStatus: RO\nSubject: s\nX-Keywords: a\n\tb\nX-UID: 7\nX-Status: A\nX-Status-Of: me\n"
    body = b"\nStatus: mine\n"
    assert without_marks(header + body) == b"From x\nSubject: s\nX-Status-Of: me\n" + body
    assert without_marks(b"From x\nno: body\nStatus: R\n") == b"From x\nno: body\n"
