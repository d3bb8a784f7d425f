"""RRVS (RFC 7293)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.address import Address
from mailproto.errors import GrammarError, NotSupportedError
from mailproto.smtp import (
    NoSupport,
    RcptParameters,
    RequireRecipientValidSince,
    SMTPServerConfig,
    SMTPServerConnection,
)
from mailproto.smtp.extensions import RRVS
from tests.helpers import PROPERTY, assert_plays
from tests.smtp import client, say
from tests.smtp_extensions import converse, lines_sent, offer_of, offering, read_rcpt, refuses_rcpt, write_rcpt

SINCE = datetime(2014, 4, 3, 23, 1, tzinfo=UTC)

# RFC 7293 section 12.1.
EXAMPLE = """
E: Connected
! accept()
S: 220 server.example.com ESMTP
C: EHLO client.example.net
E: Hello 'client.example.net' extended
! accept()
S: 250-server.example.com
S: 250 RRVS
C: MAIL FROM:<sender@example.net>
E: Mail sender@example.net
! accept("OK")
S: 250 OK
C: RCPT TO:<receiver@example.com> RRVS=2014-04-03T23:01:00Z
E: Rcpt receiver@example.com rrvs=2014-04-03T23:01:00Z
! reject(550, "receiver@example.com is no longer valid", "5.7.17")
S: 550 receiver@example.com is no longer valid
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""


def test_the_example_of_the_rfc_on_the_server() -> None:
    config = SMTPServerConfig(hostname="server.example.com", extensions=(RRVS,))
    assert_plays(lambda: SMTPServerConnection(config), EXAMPLE)


def test_the_example_of_the_rfc_on_the_client() -> None:
    conn = client("RRVS", "ENHANCEDSTATUSCODES")
    conn.mail(Address.parse("sender@example.net"))
    lines_sent(conn)
    say(conn, "250 2.1.0 OK")
    command = conn.rcpt(Address.parse("receiver@example.com"), RcptParameters(rrvs=RequireRecipientValidSince(SINCE)))
    assert lines_sent(conn) == ["RCPT TO:<receiver@example.com> RRVS=2014-04-03T23:01:00Z"]
    say(conn, "550 5.7.17 receiver@example.com is no longer valid")
    assert command.reply is not None
    assert str(command.reply.enhanced) == "5.7.17"


VALUES = [
    ("2014-04-03T23:01:00Z", RequireRecipientValidSince(SINCE), "2014-04-03T23:01:00Z"),
    ("2014-04-03T23:01:00Z;R", RequireRecipientValidSince(SINCE), "2014-04-03T23:01:00Z"),
    ("2014-04-03T23:01:00Z;c", RequireRecipientValidSince(SINCE, NoSupport.CONTINUE), "2014-04-03T23:01:00Z;C"),
    ("2014-04-03T16:01:00-07:00;C", RequireRecipientValidSince(SINCE, NoSupport.CONTINUE), "2014-04-03T23:01:00Z;C"),
]


@pytest.mark.parametrize(("text", "rrvs", "written"), VALUES)
def test_since_when_and_what_if_nobody_can_tell(text: str, rrvs: RequireRecipientValidSince, written: str) -> None:
    values = RcptParameters(rrvs=rrvs)
    assert read_rcpt(RRVS, f"RRVS={text}") == values
    assert write_rcpt(RRVS, values) == f"RRVS={written}"


@pytest.mark.parametrize(
    "text",
    [
        "RRVS",
        "RRVS=",
        "RRVS=;C",
        "RRVS=2014-04-03",
        "RRVS=2014-04-03T23:01:00",
        "RRVS=2014-04-03T23:01:00.5Z",
        "RRVS=2014-04-03T23:01:00Z;",
        "RRVS=2014-04-03T23:01:00Z;X",
        "RRVS=2014-04-03T23:01:00Z;CR",
        "RRVS=2014-04-03T23:01:00Z;C;R",
        "RRVS=2014-04-31T23:01:00Z",
        "RRVS=2014-04-03T23:01:00Z RRVS=2014-04-03T23:01:00Z",
    ],
)
def test_what_is_no_such_value(text: str) -> None:
    assert refuses_rcpt(RRVS, text)
    result = converse(offering(RRVS), "MAIL FROM:<a@b>", f"RCPT TO:<c@d> {text}")
    assert result.replies == [b"250", b"501"]


def test_a_moment_without_a_zone_is_none() -> None:
    with pytest.raises(GrammarError):
        RequireRecipientValidSince(datetime(2014, 4, 3))


def test_a_server_offers_it_when_told_to() -> None:
    assert "RRVS" not in offer_of(offering())
    assert "RRVS" in offer_of(offering(RRVS))


def test_a_client_asks_no_server_without_it() -> None:
    conn = client("DSN")
    conn.mail(None)
    with pytest.raises(NotSupportedError):
        conn.rcpt(Address.parse("a@b"), RcptParameters(rrvs=RequireRecipientValidSince(SINCE)))


MOMENTS = st.datetimes(
    datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.sampled_from([UTC, timezone(timedelta(hours=14))])
)


@PROPERTY
@given(
    st.builds(
        RequireRecipientValidSince, MOMENTS.map(lambda at: at.replace(microsecond=0)), st.sampled_from(NoSupport)
    )
)
def test_what_is_written_is_what_was_meant(rrvs: RequireRecipientValidSince) -> None:
    values = RcptParameters(rrvs=rrvs)
    assert read_rcpt(RRVS, write_rcpt(RRVS, values)) == values
