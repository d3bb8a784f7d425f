"""SIZE (RFC 1870), 8BITMIME (6152), BINARYMIME (3030), SMTPUTF8 (6531): what MAIL says of the message itself."""

from __future__ import annotations

import pytest

from mailproto.errors import GrammarError, NotSupportedError
from mailproto.smtp import Body, Extension, MailParameters, SMTPServerConfig
from mailproto.smtp.extensions import BINARYMIME, BURL, CHUNKING, EIGHT_BIT_MIME, SIZE, SMTPUTF8
from tests.smtp import ADA, client
from tests.smtp_extensions import (
    converse,
    lines_sent,
    offer_of,
    offering,
    read_mail,
    refuses_mail,
    write_mail,
)

VALUES = [
    (SIZE, "SIZE=0", MailParameters(size=0)),
    (SIZE, "SIZE=99999999999999999999", MailParameters(size=99_999_999_999_999_999_999)),
    (EIGHT_BIT_MIME, "BODY=7BIT", MailParameters(body=Body.SEVEN_BIT)),
    (EIGHT_BIT_MIME, "BODY=8BITMIME", MailParameters(body=Body.EIGHT_BIT_MIME)),
    (EIGHT_BIT_MIME, "BODY=BINARYMIME", MailParameters(body=Body.BINARY_MIME)),
    (SMTPUTF8, "SMTPUTF8", MailParameters(smtputf8=True)),
]


@pytest.mark.parametrize(("extension", "text", "values"), VALUES)
def test_what_mail_says(extension: Extension, text: str, values: MailParameters) -> None:
    assert read_mail(extension, text) == read_mail(extension, text.lower()) == values
    assert write_mail(extension, values) == text


BAD = [
    (SIZE, "SIZE"),
    (SIZE, "SIZE="),
    (SIZE, "SIZE=-1"),
    (SIZE, "SIZE=+1"),
    (SIZE, "SIZE=1_0"),
    (SIZE, "SIZE=1k"),
    (SIZE, "SIZE=\u0661"),
    (SIZE, "SIZE=100000000000000000000"),
    (SIZE, "SIZE=1 SIZE=1"),
    (EIGHT_BIT_MIME, "BODY"),
    (EIGHT_BIT_MIME, "BODY="),
    (EIGHT_BIT_MIME, "BODY=9BIT"),
    (EIGHT_BIT_MIME, "BODY=8B\u0131TMIME"),
    (SMTPUTF8, "SMTPUTF8="),
    (SMTPUTF8, "SMTPUTF8=yes"),
]


@pytest.mark.parametrize(("extension", "text"), BAD)
def test_what_mail_may_not_say(extension: Extension, text: str) -> None:
    assert refuses_mail(extension, text)
    assert converse(offering(), f"MAIL FROM:<a@b> {text}").output.startswith(b"501 5.5.4 ")


def test_a_message_that_is_too_big_is_refused_before_it_comes() -> None:
    """RFC 1870 section 6.1."""
    config = offering(max_message_size=1000)
    assert "SIZE 1000" in offer_of(config)
    result = converse(config, "MAIL FROM:<a@b> SIZE=1001", "MAIL FROM:<a@b> SIZE=1000")
    assert result.replies == [b"552", b"250"]
    assert result.output.startswith(b"552 5.3.4 ")
    assert converse(offering(max_message_size=0), "MAIL FROM:<a@b> SIZE=9999999999").replies == [b"250"]


@pytest.mark.parametrize(
    ("extension", "needed"), [(SMTPUTF8, EIGHT_BIT_MIME), (BINARYMIME, CHUNKING), (BURL, EIGHT_BIT_MIME)]
)
def test_what_may_not_be_offered_alone(extension: Extension, needed: Extension) -> None:
    """RFC 6531 section 3.1, RFC 3030 section 3, RFC 4468 section 4."""
    with pytest.raises(GrammarError, match=needed.keyword):
        SMTPServerConfig(extensions=(extension,))
    SMTPServerConfig(extensions=(extension, needed))


def test_a_binary_message_needs_a_server_that_offers_it() -> None:
    line = "MAIL FROM:<a@b> BODY=BINARYMIME"
    assert converse(offering(), line).replies == [b"501"]
    assert converse(offering(BINARYMIME), line).replies == [b"250"]
    assert converse(SMTPServerConfig(extensions=(BINARYMIME, EIGHT_BIT_MIME, CHUNKING)), line).replies == [b"250"]
    values = MailParameters(body=Body.BINARY_MIME)
    with pytest.raises(NotSupportedError, match="BINARYMIME"):
        client("8BITMIME", "CHUNKING").mail(ADA, values)
    conn = client("8BITMIME", "CHUNKING", "BINARYMIME")
    conn.mail(ADA, values)
    assert lines_sent(conn) == ["MAIL FROM:<ada@example.org> BODY=BINARYMIME"]


def test_a_size_is_not_negative() -> None:
    with pytest.raises(GrammarError):
        client("SIZE").mail(ADA, MailParameters(size=-1))


def test_a_client_uses_what_both_know() -> None:
    conn = client("SIZE 1000", "8BITMIME", "X-FOO", extensions=(SIZE, SMTPUTF8))
    assert [keyword for keyword in ("SIZE", "8BITMIME", "SMTPUTF8", "X-FOO") if conn.uses(keyword)] == ["SIZE"]
