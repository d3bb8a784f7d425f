"""REQUIRETLS (RFC 8689)."""

from __future__ import annotations

import pytest

from mailproto._core.events import TLSInfo
from mailproto.errors import NotSupportedError
from mailproto.smtp import MailParameters, SMTPClientConnection, describe
from mailproto.smtp.extensions import REQUIRETLS
from mailproto.smtp.extensions.requiretls import SUPPORT_REQUIRED
from tests.smtp import ADA, BOB, say
from tests.smtp_extensions import (
    VERIFIED,
    converse,
    lines_sent,
    offer_of,
    offering,
    read_mail,
    refuses_mail,
    write_mail,
)

WANTED = MailParameters(requiretls=True)
UNVERIFIED = TLSInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", "mx.example.org")


def client(tls: TLSInfo | None, *keywords: str) -> SMTPClientConnection:
    conn = SMTPClientConnection()
    if tls is not None:
        conn.tls_established(tls)
    say(conn, "220 mx.example.org")
    conn.ehlo("client.example")
    lines_sent(conn)
    say(conn, "250-mx.example.org", *(f"250-{keyword}" for keyword in keywords), "250 HELP")
    return conn


def test_it_is_offered_under_tls_only_and_only_if_told_to() -> None:
    """RFC 8689 section 2: following the negotiation of STARTTLS."""
    assert "REQUIRETLS" in offer_of(offering(REQUIRETLS), tls=True)
    assert "REQUIRETLS" not in offer_of(offering(REQUIRETLS))
    assert "REQUIRETLS" not in offer_of(offering(), tls=True)


def test_a_server_tells_the_application() -> None:
    result = converse(offering(REQUIRETLS), "MAIL FROM:<ada@example.org> REQUIRETLS", tls=True)
    assert result.lines == ["Mail ada@example.org requiretls=True"]
    assert result.replies == [b"250"]


def test_a_server_refuses_it_in_clear() -> None:
    result = converse(offering(REQUIRETLS), "MAIL FROM:<a@b> REQUIRETLS", "MAIL FROM:<a@b>")
    assert result.output.startswith(b"555 5.5.4 ")
    assert result.replies == [b"555", b"250"]


@pytest.mark.parametrize("text", ["REQUIRETLS=", "REQUIRETLS=yes", "REQUIRETLS REQUIRETLS"])
def test_it_takes_no_value(text: str) -> None:
    assert refuses_mail(REQUIRETLS, text)
    result = converse(offering(REQUIRETLS), f"MAIL FROM:<a@b> {text}", tls=True)
    assert result.output.startswith(b"501 5.5.4 ")


def test_it_is_read_and_written_alone() -> None:
    assert read_mail(REQUIRETLS, "requiretls") == WANTED
    assert write_mail(REQUIRETLS, WANTED) == "REQUIRETLS"
    assert write_mail(REQUIRETLS, MailParameters()) == ""


def test_a_client_asks_a_server_that_it_knows() -> None:
    conn = client(VERIFIED, "REQUIRETLS")
    conn.mail(ADA, WANTED)
    assert lines_sent(conn) == ["MAIL FROM:<ada@example.org> REQUIRETLS"]


@pytest.mark.parametrize(
    ("tls", "keywords"),
    [
        (None, ["REQUIRETLS"]),
        (UNVERIFIED, ["REQUIRETLS"]),
        (VERIFIED, []),
    ],
    ids=["in-clear", "not-verified", "not-offered"],
)
def test_a_client_asks_nobody_else(tls: TLSInfo | None, keywords: list[str]) -> None:
    conn = client(tls, *keywords)
    with pytest.raises(NotSupportedError):
        conn.mail(ADA, WANTED)
    conn.mail(ADA)
    conn.rcpt(BOB)
    assert lines_sent(conn) == ["MAIL FROM:<ada@example.org>"]


def test_what_the_server_offered_in_clear_counts_no_more() -> None:
    """RFC 8689 section 4.2.1 item 5: the EHLO behind the handshake decides."""
    conn = client(None, "STARTTLS", "REQUIRETLS")
    conn.starttls()
    lines_sent(conn)
    say(conn, "220 go ahead")
    conn.tls_established(VERIFIED)
    conn.ehlo("client.example")
    lines_sent(conn)
    say(conn, "250 mx.example.org")
    with pytest.raises(NotSupportedError):
        conn.mail(ADA, WANTED)


def test_the_words_for_a_message_that_can_go_nowhere() -> None:
    assert str(SUPPORT_REQUIRED) == "550 5.7.30 REQUIRETLS support required"
    assert SUPPORT_REQUIRED.enhanced is not None
    assert describe(SUPPORT_REQUIRED.enhanced) == SUPPORT_REQUIRED.text
