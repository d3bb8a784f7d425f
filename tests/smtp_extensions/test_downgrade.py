"""8-bit content to servers without 8BITMIME (RFC 6152 section 3), as the caller chose."""

from __future__ import annotations

import io
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.errors import GrammarError, NotSupportedError
from mailproto.smtp import SMTPServerConfig, Submission, make_submission
from mailproto.smtp.extensions import DEFAULT_EXTENSIONS, EIGHT_BIT_MIME, SMTPUTF8
from mailproto.smtp.messages.downgrade import downgrade
from mailproto.smtp.messages.submission import MessageSource
from tests.helpers import PROPERTY
from tests.smtp_extensions import offering
from tests.smtp_extensions.wire import Wire

SEVEN_BIT = SMTPServerConfig(
    extensions=tuple(each for each in DEFAULT_EXTENSIONS if each not in (EIGHT_BIT_MIME, SMTPUTF8))
)

TEXT = """\
From: ada@example.org\r
Subject: x\r
MIME-Version: 1.0\r
Content-Type: text/plain; charset="utf-8"\r
Content-Transfer-Encoding: 8bit\r
\r
Grüße, \r
und ein langer Satz, der in quoted-printable über eine Zeile von sechsundsiebzig Oktetten hinausreicht.\r
.\r
=3D\r
""".encode()

MIXED = """\
From: ada@example.org\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary="b"\r
Content-Transfer-Encoding: 8bit\r
\r
--b\r
Content-Type: text/html; charset="iso-8859-1"\r
Content-Transfer-Encoding: 8bit\r
\r
<p>Gr\udcfc\udcdfe</p>\r
--b\r
Content-Type: application/octet-stream\r
Content-Transfer-Encoding: binary\r
\r
\udc80\udc81\udcff\r
--b\r
Content-Type: text/plain\r
Content-Transfer-Encoding: 8bit\r
\r
plain\r
--b\r
Content-Type: image/png\r
Content-Transfer-Encoding: base64\r
\r
iVBORw0KGgo=\r
--b\r
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: base64\r
\r
R3LDvMOfZQ==\r
--b\r
Content-Type: message/rfc822\r
\r
Subject: inner\r
Content-Transfer-Encoding: 8bit\r
\r
f\udcfcnf\r
--b--\r
""".encode("ascii", "surrogateescape")


def parts(data: bytes) -> list[tuple[str, str, bytes]]:
    """Return type, encoding and decoded content of each leaf."""
    found = []
    for part in message_from_bytes(data, policy=policy.SMTP).walk():
        content = part.get_payload(decode=True)
        if isinstance(content, bytes):
            found.append((part.get_content_type(), str(part["Content-Transfer-Encoding"]), content))
    return found


def test_a_text_becomes_quoted_printable() -> None:
    rewritten = downgrade(TEXT)
    assert rewritten.isascii()
    assert max(map(len, rewritten.split(b"\r\n"))) <= 76
    ((kind, encoding, content),) = parts(rewritten)
    assert (kind, encoding) == ("text/plain", "quoted-printable")
    assert content == TEXT.partition(b"\r\n\r\n")[2]
    assert b"\n" not in rewritten.replace(b"\r\n", b"")


def test_every_part_keeps_its_content_and_its_charset() -> None:
    rewritten = downgrade(MIXED)
    assert rewritten.isascii()
    before, after = parts(MIXED), parts(rewritten)
    assert [(kind, content) for kind, _, content in after] == [(kind, content) for kind, _, content in before]
    assert [encoding for _, encoding, _ in after] == [
        "quoted-printable",
        "base64",
        "7bit",
        "base64",
        "base64",
        "quoted-printable",
    ]
    message = message_from_bytes(rewritten, policy=policy.SMTP)
    assert message["Content-Transfer-Encoding"] == "7bit"
    assert b'charset="iso-8859-1"' in rewritten


@pytest.mark.parametrize("charset", ["us-ascii", "utf-16", "utf-8", "no-such"])
@pytest.mark.parametrize(
    ("encoding", "body", "content"),
    [
        (b"quoted-printable", b"Gr=FC\xdfe=\r\n\x81\r\n", b"Gr\xfc\xdfe\x81\r\n"),
        (b"base64", b"R3L8\r\n\xff\r\n32U=\r\n", b"Gr\xfc\xdfe"),
        (b"x-no-such", b"\xff\r\n", b"\xff\r\n"),
    ],
)
def test_a_part_that_is_not_encoded_as_it_says(encoding: bytes, body: bytes, content: bytes, charset: str) -> None:
    """What a reader makes of it today he will make of it then."""
    head = b"Content-Type: text/plain; charset=%s\r\nContent-Transfer-Encoding: %s\r\n\r\n"
    rewritten = downgrade(head % (charset.encode(), encoding) + body)
    assert rewritten.isascii()
    assert [each for _, _, each in parts(rewritten)] == [content]


def test_a_part_in_seven_bits_is_not_encoded_again() -> None:
    uuencoded = b"Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin 666 x\r\n!_P``\r\n`\r\nend\r\n"
    data = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n%s--b\r\n\r\n\xff\r\n--b--\r\n" % uuencoded
    assert uuencoded in downgrade(data)


def test_a_header_field_becomes_encoded_words() -> None:
    rewritten = downgrade("Subject: Grüße\r\nTo: bob@example.org\r\n\r\nx\r\n".encode())
    assert rewritten.isascii()
    assert rewritten.startswith(b"Subject: =?")
    assert rewritten.endswith(b"\r\nTo: bob@example.org\r\n\r\nx\r\n")


@pytest.mark.parametrize("subject", ["Grüße", "Grüße " + "x" * 100, "Grüße \u263a" * 30, "Grüße\r\n und mehr"])
def test_a_header_field_in_utf8_is_taken_for_what_it_is(subject: str) -> None:
    """RFC 6532: other charsets are nobody's business, but what UTF-8 says can be said in encoded words."""
    rewritten = downgrade(f"Subject: {subject}\r\nX: y\r\nSubject: ü\r\n\r\nx\r\n".encode())
    assert rewritten.isascii() and b"unknown-8bit" not in rewritten
    read = message_from_bytes(rewritten, policy=policy.SMTP)
    assert read.get_all("Subject") == [subject.replace("\r\n", ""), "ü"]
    assert read.keys() == ["Subject", "X", "Subject"]


def test_an_address_has_no_encoding() -> None:
    """RFC 2047 section 5: an encoded word must not appear in any portion of an addr-spec."""
    with pytest.raises(NotSupportedError, match="SMTPUTF8"):
        downgrade("To: jürgen@example.org\r\n\r\nx\r\n".encode())


@pytest.mark.parametrize(
    "field",
    [
        b"Subject: \xe9 " + b"x" * 100,
        b"Sender: " + b"x" * 80 + b"@",
        b"Message-ID: <\t;" + b"x" * 80 + b"[) ",
        b"To: .",
        b"Reply-To: .:;\xe9",
        b"Cc: a; name=" + b"x" * 80 + b"()",
        b"Content-Type: text/plain; charset=no-such",
    ],
)
def test_a_field_that_the_standard_library_falls_over_is_no_reason_to_fall(field: bytes) -> None:
    """S86: whoever is sent such a message does not have to answer for it."""
    with suppress(NotSupportedError):
        assert downgrade(field + b"\r\n\r\nGr\xfc\xdfe\r\n").isascii()


def test_a_field_in_seven_bits_stays_as_it_is() -> None:
    """However long it is: who folds it anew may break a signature, or write out what is hidden in an encoded word."""
    field = b"Subject: " + b"=?utf-8?q?x=0D=0ABcc=3A_evil=40x?= " * 4 + b"\r\n"
    assert downgrade(field + b"\r\n\xff\r\n").startswith(field)


@pytest.mark.parametrize("separator", [b"\x0b", b"\x0c", b"\x1c"])
def test_what_is_a_line_end_to_python_alone(separator: bytes) -> None:
    """Up to Python 3.12 it cannot be written; later it stays what it is. Never does it end the field."""
    with suppress(GrammarError):
        rewritten = downgrade(b"Subject: x" + separator + b"Bcc: evil@x\r\n\r\n\xff\r\n")
        assert rewritten.startswith(b"Subject: x" + separator + b"Bcc: evil@x\r\n")


def test_a_line_end_that_an_encoded_word_hides_stays_hidden() -> None:
    field = "Subject: gr\u00fcn =?utf-8?q?=C3=BC?= =?utf-8?q?x=0ABcc: y?=\u00fc"
    rewritten = downgrade(field.encode() * 3 + b"\r\n\r\nx")
    assert rewritten.isascii() and b"\nBcc" not in rewritten
    assert message_from_bytes(rewritten).keys() == ["Subject"]


def test_octets_that_belong_to_no_part_have_no_encoding() -> None:
    data = MIXED.replace(b"\r\n\r\n--b\r\n", b"\r\n\r\nVor\xfcber\r\n--b\r\n", 1)
    with pytest.raises(NotSupportedError):
        downgrade(data)


@PROPERTY
@given(st.binary(max_size=300))
def test_whatever_is_in_a_part_comes_out_of_it(content: bytes) -> None:
    head = b"Content-Type: application/x\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    lines = content.replace(b"\r", b"").replace(b"\n", b"\r\n")
    ((_, _, before),) = parts(head + lines)
    ((_, _, after),) = parts(downgrade(head + lines))
    assert after == before


@pytest.mark.parametrize(
    "field",
    [
        b"To: \xc3\xa4" + b"." * 10_000,
        b"To: " + b'"\xc3\xa4"<a@b>,' * 2_000,
        b"Subject: \xe4" + b" a" * 5_000,
        b"Content-Type: text/plain" + b';a="b"' * 2_000,
        b"\r\n".join([b"X: \xc3\xa4"] * 25_000),
    ],
)
def test_fields_that_would_be_read_for_long_are_not(field: bytes) -> None:
    """The time to read one grows with the square of its length, and a stranger may have written it."""
    part = field + b"\r\n\r\n\xe4\r\n"
    for message in (part, b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n%b--b--\r\n" % part):
        with pytest.raises(NotSupportedError, match="too long to be rewritten"):
            downgrade(message)


@pytest.mark.parametrize("length", [41, 60, 75, 100])
def test_a_parameter_of_too_long_a_name_is_not_folded_for_ever(length: int) -> None:
    with pytest.raises(NotSupportedError, match="a name that is too long"):
        downgrade(b"Content-Type: text/plain; %b=\xe4\r\n\r\n\xe4\r\n" % (b"x" * length))


@pytest.mark.parametrize("value", ["ä" * 200, "\U0001f600" * 200, "\udce4" * 200, "a" * 200])
def test_a_parameter_of_a_long_name_is_folded(value: str) -> None:
    octets = f"Content-Type: text/plain; {'x' * 40}={value}\r\n\r\n\udce4\r\n".encode("utf-8", "surrogateescape")
    assert all(len(line) < 998 for line in downgrade(octets).split(b"\r\n"))


def test_what_python_takes_for_many_empty_lines_is_looked_at_once() -> None:
    """Up to Python 3.12 it would fold the field there; since then it leaves it as it is."""
    field = b"X: a" + b"\x0b" * 40_000 + b"\r\n"
    began = time.process_time()
    try:
        written = downgrade(field + b"\r\n\xe4\r\n")
    except GrammarError as error:
        assert "has a line end in it" in str(error)
    else:
        assert written.startswith(field)
        assert written.endswith(b"\r\n\r\n=E4\r\n")
    assert time.process_time() - began < 5


def test_many_short_fields_are_rewritten() -> None:
    written = downgrade("".join(f"X-{number}: Grüße\r\n" for number in range(1_000)).encode() + b"\r\nx\r\n")
    assert written.count(b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=") == 1_000


def test_fields_are_rewritten_where_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    """To take one out, and put another in, is to look at all of them."""
    taken_out: list[str] = []
    monkeypatch.setattr(Message, "__delitem__", lambda _, name: taken_out.append(name))
    fields = "".join(f"X-{number}: x\r\n" for number in range(100))
    written = downgrade(f"{fields}Subject: Grüße\r\nX: y\r\n\r\nx\r\n".encode())
    assert written == f"{fields}Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX: y\r\n\r\nx\r\n".encode()
    assert taken_out == []


BOX = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n"


@pytest.mark.parametrize("around", [BOX, b"Content-Type: message/rfc822\r\n\r\n"])
def test_parts_in_parts_are_rewritten_as_far_as_mail_has_them(around: bytes) -> None:
    """Each line is looked at once for each multipart that it is in, and that is what a stranger may make many."""

    def nested(levels: int) -> bytes:
        return b"".join(around.replace(b"%d", b"%d" % level) for level in range(levels)) + b"\r\n\xe4\r\n"

    assert b"\r\n\r\n=E4\r\n" in downgrade(nested(30))
    with pytest.raises(NotSupportedError, match="too many levels of parts"):
        downgrade(nested(31))


def test_there_is_an_end_to_the_parts_that_are_rewritten() -> None:
    def parts_of(count: int) -> bytes:
        return BOX.replace(b"%d", b"") + b"\r\n--b\r\n" * (count - 1) + b"\r\n\xe4\r\n"

    assert downgrade(parts_of(9_999)).count(b"--b\r\n") == 9_999
    with pytest.raises(NotSupportedError, match="too many parts"):
        downgrade(parts_of(10_000))


def letter(message: MessageSource, **more: Any) -> Submission:
    return make_submission(message, "ada@example.org", "bob@example.org", **more)


def pieces() -> Iterable[bytes]:
    yield TEXT[:100]
    yield TEXT[100:]


async def later() -> AsyncIterator[bytes]:
    for piece in pieces():
        yield piece


class TestSending:
    def test_octets_are_refused_unless_they_may_be_changed(self) -> None:
        wire = Wire(SEVEN_BIT)
        with pytest.raises(NotSupportedError, match="8BITMIME"):
            wire.send(letter(TEXT))
        assert wire.heard == []

    @pytest.mark.parametrize(
        "make", [lambda: TEXT, lambda: io.BytesIO(TEXT), pieces], ids=["octets", "file", "iterable"]
    )
    def test_they_are_rewritten_where_they_may(self, make: Any) -> None:
        wire = Wire(SEVEN_BIT)
        assert wire.send(letter(make(), downgrade=True)).ok
        assert wire.delivered == [(["bob@example.org"], downgrade(TEXT))]
        assert "BODY" not in wire.said("MAIL")[0]

    def test_they_are_left_alone_where_the_server_takes_them(self) -> None:
        wire = Wire(offering())
        assert wire.send(letter(TEXT, downgrade=True)).ok
        assert wire.delivered == [(["bob@example.org"], TEXT)]

    def test_seven_bits_are_left_alone_everywhere(self) -> None:
        odd = b"Subject:x\r\nContent-Transfer-Encoding: 8BIT\r\n\r\n=?odd?=  \r\n"
        for config in (SEVEN_BIT, offering()):
            wire = Wire(config)
            assert wire.send(letter(odd, downgrade=True)).ok
            assert wire.delivered == [(["bob@example.org"], odd)]

    def test_what_comes_asynchronously_cannot_be_looked_at(self) -> None:
        wire = Wire(SEVEN_BIT)
        with pytest.raises(GrammarError):
            wire.send(letter(later(), downgrade=True))
        assert wire.delivered == []

    def test_an_email_message_is_written_for_the_server_anyway(self) -> None:
        message = EmailMessage()
        message["From"], message["To"] = "ada@example.org", "bob@example.org"
        message.set_content("Grüße\n", cte="8bit")
        for config, encoding in ((SEVEN_BIT, b"quoted-printable"), (offering(), b"8bit")):
            wire = Wire(config)
            assert wire.send(make_submission(message)).ok
            ((_, body),) = wire.delivered
            assert b"Content-Transfer-Encoding: " + encoding in body
            assert body.isascii() is (config is SEVEN_BIT)
