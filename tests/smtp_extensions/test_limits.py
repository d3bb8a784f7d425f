"""LIMITS (RFC 9422): what a server announces and keeps, and what a client reads."""

from __future__ import annotations

import pytest

from mailproto import errors
from mailproto.address import Address
from mailproto.smtp import Limits, ServerLimits, SMTPClientConfig, SMTPClientConnection, SMTPServerConfig
from mailproto.smtp.extensions import DEFAULT_EXTENSIONS, LIMITS
from mailproto.smtp.extensions.limits import parse_limits
from tests.helpers import assert_plays
from tests.smtp import ADA, BOB, EVE, client
from tests.smtp_extensions import converse, lines_sent, offer_of, offering

# RFC 9422 section 5, without what else is offered there.
EXAMPLE = """
S: 220 mail.example.com ESMTP service ready
E: GreetingReceived 220 mail.example.com ESMTP service ready
! ehlo("example.org")
C: EHLO example.org
S: 250-mail.example.com
S: 250-SMTPUTF8
S: 250-LIMITS RCPTMAX=20 MAILMAX=5
S: 250-SIZE 100000000
S: 250 STARTTLS
E: ReplyReceived [EHLO] 250 mail.example.com / SMTPUTF8 / LIMITS RCPTMAX=20 MAILMAX=5 / SIZE 100000000 / STARTTLS
"""


def test_the_example_of_the_rfc_on_the_client() -> None:
    assert_plays(SMTPClientConnection, EXAMPLE)
    assert SMTPClientConnection().server_limits == ServerLimits()
    assert client("LIMITS RCPTMAX=20 MAILMAX=5").server_limits == ServerLimits(mail_max=5, rcpt_max=20)


@pytest.mark.parametrize(
    ("argument", "limits"),
    [
        ("MAILMAX=1 RCPTMAX=999999 RCPTDOMAINMAX=2", ServerLimits(1, 999_999, 2)),
        ("rcptmax=20", ServerLimits(rcpt_max=20)),
        ("RCPTMAX=20 RCPTMAX=30", ServerLimits(rcpt_max=20)),
        ("X-LIMIT RCPTMAX=20 Y_2=x;=y", ServerLimits()),
        ("X-LIMIT RCPTMAX=20 Y_2=x=y", ServerLimits(rcpt_max=20)),
        # A limit that is malformed does not count, and the others do (section 3.7).
        ("RCPTMAX=0 MAILMAX=5", ServerLimits(5)),
        ("RCPTMAX=007 MAILMAX=5", ServerLimits(5)),
        ("RCPTMAX=1000000 MAILMAX=5", ServerLimits(5)),
        ("RCPTMAX=-1 MAILMAX=5", ServerLimits(5)),
        ("RCPTMAX=2_0 MAILMAX=5", ServerLimits(5)),
        ("RCPTMAX=many MAILMAX=5", ServerLimits(5)),
        ("RCPTMAX MAILMAX=5", ServerLimits(5)),
        # The syntax being broken, nothing counts.
        ("", ServerLimits()),
        ("RCPTMAX=20  MAILMAX=5", ServerLimits()),
        ("RCPTMAX=20 ", ServerLimits()),
        ("RCPTMAX= MAILMAX=5", ServerLimits()),
        ("RCPTMAX=20;MAILMAX=5", ServerLimits()),
        ("=20 MAILMAX=5", ServerLimits()),
        ("RCPTMÄX=20 MAILMAX=5", ServerLimits()),
        ("RCPTMAX=\u0662 MAILMAX=5", ServerLimits()),
    ],
)
def test_what_a_server_may_say(argument: str, limits: ServerLimits) -> None:
    assert parse_limits(argument) == limits
    assert client(f"LIMITS {argument}").server_limits == limits


def test_every_ehlo_says_it_anew() -> None:
    """RFC 9422 section 3.6."""
    conn = client("LIMITS RCPTMAX=20")
    assert conn.server_limits.rcpt_max == 20
    conn.ehlo("client.example")
    lines_sent(conn)
    conn.receive_data(b"250 mx.example.org\r\n")
    conn.next_event()
    assert conn.server_limits == ServerLimits()


def test_a_client_that_is_told_not_to_does_not_look() -> None:
    others = tuple(extension for extension in DEFAULT_EXTENSIONS if extension is not LIMITS)
    assert client("LIMITS RCPTMAX=20", extensions=others).server_limits == ServerLimits()
    assert LIMITS in SMTPClientConfig().extensions


def test_a_client_counts_its_messages_whatever_becomes_of_them() -> None:
    """RFC 9422 section 4.1: the count includes all MAIL commands."""
    conn = client("LIMITS MAILMAX=2")
    for exhausted in (False, True):
        conn.mail(ADA)
        assert conn.exhausted is exhausted
        conn.rset()
    assert not client("SIZE").exhausted


def test_a_client_counts_the_domains_of_recipients_where_they_are_limited() -> None:
    conn = client("LIMITS RCPTDOMAINMAX=2")
    conn.mail(ADA)
    for recipient in (BOB, EVE):
        conn.rcpt(recipient)
    assert conn.recipient_domains == {"example.org"}
    free = client("SIZE")
    free.mail(ADA)
    free.rcpt(BOB)
    assert free.recipient_domains == set()


def test_a_domain_that_was_never_named_is_not_counted() -> None:
    """The sender is refused before the recipients have left."""
    conn = client("LIMITS RCPTDOMAINMAX=2")
    for sender, recipients in ((ADA, (BOB,)), (EVE, (BOB, Address("carol", "example.net")))):
        conn.mail(sender)
        for recipient in recipients:
            conn.rcpt(recipient)
        conn.data_to_send()
        conn.receive_data(b"550 not you\r\n" if sender == EVE else b"250 well\r\n")
        while conn.next_event() is not None:
            pass
        if sender == ADA:
            conn.data_to_send()
            conn.receive_data(b"250 well\r\n")
            conn.next_event()
            conn.rset()
            conn.data_to_send()
            conn.receive_data(b"250 well\r\n")
            conn.next_event()
    assert conn.recipient_domains == {"example.org"}


def test_a_server_announces_what_it_keeps() -> None:
    assert "LIMITS MAILMAX=1000 RCPTMAX=1000" in offer_of(SMTPServerConfig())
    limits = Limits(max_transactions=5, max_recipients=20, max_recipient_domains=1)
    assert "LIMITS MAILMAX=5 RCPTMAX=20 RCPTDOMAINMAX=1" in offer_of(offering(limits=limits))


@pytest.mark.parametrize(
    ("limits", "line"),
    [
        (Limits(max_transactions=1_000_000), "LIMITS RCPTMAX=1000"),
        (Limits(max_recipients=0), "LIMITS MAILMAX=1000"),
        (Limits(max_transactions=999_999, max_recipients=1), "LIMITS MAILMAX=999999 RCPTMAX=1"),
    ],
)
def test_a_server_announces_only_what_has_six_digits(limits: Limits, line: str) -> None:
    assert line in offer_of(offering(limits=limits))


def test_a_server_without_limits_that_can_be_said_says_nothing() -> None:
    config = offering(limits=Limits(max_transactions=1_000_000, max_recipients=1_000_000))
    assert not [line for line in offer_of(config) if line.startswith("LIMITS")]


def test_what_obeys_is_never_refused_and_what_does_not_is() -> None:
    config = offering(limits=Limits(max_transactions=1, max_recipients=2))
    obeys = ["MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RCPT TO:<e@f>"]
    assert converse(config, *obeys).replies == [b"250"] * 3
    assert converse(config, *obeys, "RCPT TO:<g@h>").replies == [b"250"] * 3 + [b"452"]


def test_a_server_keeps_to_the_domains_that_it_announced() -> None:
    config = offering(limits=Limits(max_recipient_domains=1))
    result = converse(
        config,
        "MAIL FROM:<a@b>",
        "RCPT TO:<c@Example.ORG>",
        "RCPT TO:<d@example.net>",
        "RCPT TO:<e@example.org>",
        "RCPT TO:<Postmaster>",
        "RSET",
        "MAIL FROM:<a@b>",
        "RCPT TO:<d@example.net>",
    )
    assert result.replies == [b"250", b"250", b"452", b"250", b"452", b"250", b"250", b"452"]
    assert b"452 4.5.3 Too many domains" in result.output


def test_being_exhausted_is_an_end_of_the_connection_but_no_failure() -> None:
    assert issubclass(errors.ConnectionExhaustedError, errors.ConnectionClosedError)
