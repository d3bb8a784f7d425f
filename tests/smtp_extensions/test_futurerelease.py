"""FUTURERELEASE (RFC 4865, with erratum 2040)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.errors import GrammarError, NotSupportedError
from mailproto.smtp import ByMode, DeliverBy, HoldFor, HoldUntil, MailParameters
from mailproto.smtp.extensions import DELIVERBY, FUTURERELEASE, future_release
from tests.helpers import PROPERTY
from tests.smtp import ADA, client
from tests.smtp_extensions import converse, lines_sent, offer_of, offering, read_mail, refuses_mail, said, write_mail

LIMIT = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
HOLDING = future_release(86_400, lambda: LIMIT)

VALUES = [
    ("HOLDFOR=1", HoldFor(1), "HOLDFOR=1"),
    ("HOLDFOR=999999999", HoldFor(999_999_999), "HOLDFOR=999999999"),
    ("holdfor=86400", HoldFor(86_400), "HOLDFOR=86400"),
    (
        "HOLDUNTIL=2026-11-23T09:30:45Z",
        HoldUntil(datetime(2026, 11, 23, 9, 30, 45, tzinfo=UTC)),
        "HOLDUNTIL=2026-11-23T09:30:45Z",
    ),
    (
        "HOLDUNTIL=2026-11-23t09:30:45.5z",
        HoldUntil(datetime(2026, 11, 23, 9, 30, 45, 500_000, tzinfo=UTC)),
        "HOLDUNTIL=2026-11-23T09:30:45Z",
    ),
    (
        "HOLDUNTIL=2026-11-23T01:30:45-08:00",
        HoldUntil(datetime(2026, 11, 23, 9, 30, 45, tzinfo=UTC)),
        "HOLDUNTIL=2026-11-23T09:30:45Z",
    ),
    (
        "HOLDUNTIL=2026-11-23T15:00:45+05:30",
        HoldUntil(datetime(2026, 11, 23, 9, 30, 45, tzinfo=UTC)),
        "HOLDUNTIL=2026-11-23T09:30:45Z",
    ),
    (
        "HOLDUNTIL=2016-12-31T23:59:60Z",  # a leap second
        HoldUntil(datetime(2017, 1, 1, tzinfo=UTC)),
        "HOLDUNTIL=2017-01-01T00:00:00Z",
    ),
]


@pytest.mark.parametrize(("text", "hold", "written"), VALUES)
def test_a_time_of_release(text: str, hold: HoldFor | HoldUntil, written: str) -> None:
    assert read_mail(FUTURERELEASE, text) == MailParameters(hold=hold)
    assert write_mail(FUTURERELEASE, MailParameters(hold=hold)) == written


BAD = [
    "HOLDFOR",
    "HOLDFOR=",
    "HOLDFOR=0",
    "HOLDFOR=01",
    "HOLDFOR=-1",
    "HOLDFOR=+1",
    "HOLDFOR=1_0",
    "HOLDFOR=\u0663",
    "HOLDFOR=1000000000",
    "HOLDFOR=1h",
    "HOLDUNTIL",
    "HOLDUNTIL=",
    "HOLDUNTIL=2026-11-23",
    "HOLDUNTIL=2026-11-23T09:30Z",
    "HOLDUNTIL=2026-11-23T09:30:45",
    "HOLDUNTIL=2026-11-23_09:30:45Z",
    "HOLDUNTIL=2026-11-23T09:30:45.Z",
    "HOLDUNTIL=2026-11-23T09:30:45+0100",
    "HOLDUNTIL=2026-11-23T09:30:45+01:60",
    "HOLDUNTIL=2026-11-23T09:30:45+24:00",
    "HOLDUNTIL=2026-11-23T24:00:00Z",
    "HOLDUNTIL=2026-11-23T09:60:00Z",
    "HOLDUNTIL=2026-11-23T09:30:61Z",
    "HOLDUNTIL=2026-02-30T09:30:45Z",
    "HOLDUNTIL=2026-13-01T09:30:45Z",
    "HOLDUNTIL=0000-01-01T00:00:00Z",
    "HOLDUNTIL=0001-01-01T00:00:00+01:00",
    "HOLDUNTIL=9999-12-31T23:59:60Z",
    "HOLDUNTIL=\uff12026-11-23T09:30:45Z",
    "HOLDFOR=1 HOLDFOR=1",
    "HOLDFOR=1 HOLDUNTIL=2026-11-23T09:30:45Z",
    "HOLDUNTIL=2026-11-23T09:30:45Z HOLDFOR=1",
]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_such_time(text: str) -> None:
    """RFC 4865 section 4.2 items 7 to 11: 501 and 5.5.4."""
    assert refuses_mail(FUTURERELEASE, text)
    assert converse(offering(HOLDING), f"MAIL FROM:<a@b> {text}").output.startswith(b"501 5.5.4 ")


@pytest.mark.parametrize("seconds", [0, -1, 1_000_000_000])
def test_an_interval_that_cannot_be(seconds: int) -> None:
    with pytest.raises(GrammarError):
        HoldFor(seconds)


@pytest.mark.parametrize(
    "moment",
    [datetime(2026, 11, 23), datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))],
    ids=["no-zone", "before-all-time"],
)
def test_a_moment_that_cannot_be(moment: datetime) -> None:
    with pytest.raises(GrammarError):
        HoldUntil(moment)


def test_a_server_offers_it_when_told_to_and_always_with_both_limits() -> None:
    """RFC 4865 section 4.2 item 3."""
    assert "FUTURERELEASE 86400 2026-12-31T23:59:59Z" in offer_of(offering(HOLDING))
    for config in (offering(), offering(FUTURERELEASE)):
        assert not [line for line in offer_of(config) if line.startswith("FUTURERELEASE")]


def test_a_limit_moves_with_the_clock() -> None:
    now = [LIMIT]
    config = offering(future_release(60, lambda: now[0]))
    assert "FUTURERELEASE 60 2026-12-31T23:59:59Z" in offer_of(config)
    now[0] += timedelta(seconds=1)
    assert "FUTURERELEASE 60 2027-01-01T00:00:00Z" in offer_of(config)


def test_a_server_refuses_what_is_beyond_its_limits() -> None:
    result = converse(
        offering(HOLDING),
        "MAIL FROM:<a@b> HOLDFOR=86401",
        "MAIL FROM:<a@b> HOLDUNTIL=2027-01-01T00:00:00Z",
        "MAIL FROM:<a@b> HOLDFOR=86400",
        "RSET",
        "MAIL FROM:<a@b> HOLDUNTIL=2026-12-31T23:59:59Z",
    )
    assert result.replies == [b"501", b"501", b"250", b"250", b"250"]
    assert said(result).count("501 5.5.4 Cannot hold") == 2
    assert "Mail a@b hold=86400" in result.lines


@pytest.mark.parametrize("interval", [0, 1_000_000_000])
def test_a_limit_has_nine_digits(interval: int) -> None:
    with pytest.raises(GrammarError):
        future_release(interval, lambda: LIMIT)


def test_a_message_is_not_held_until_it_is_late() -> None:
    """RFC 4865 section 5.2, as far as it can be told without a clock."""
    late = converse(
        offering(HOLDING, DELIVERBY), "MAIL FROM:<a@b> HOLDFOR=121 BY=120;R", "MAIL FROM:<a@b> BY=120;R HOLDFOR=120"
    )
    assert late.replies == [b"501", b"250"]
    with pytest.raises(GrammarError):
        MailParameters(hold=HoldFor(121), deliver_by=DeliverBy(120, ByMode.RETURN))
    MailParameters(hold=HoldUntil(LIMIT), deliver_by=DeliverBy(120, ByMode.RETURN))


@pytest.mark.parametrize(
    ("hold", "line"),
    [
        (HoldFor(86_400), "HOLDFOR=86400"),
        (HoldUntil(LIMIT), "HOLDUNTIL=2026-12-31T23:59:59Z"),
        (HoldUntil(LIMIT.astimezone(timezone(timedelta(hours=9)))), "HOLDUNTIL=2026-12-31T23:59:59Z"),
    ],
)
def test_a_client_asks_within_the_limits_of_the_server(hold: HoldFor | HoldUntil, line: str) -> None:
    conn = client("FUTURERELEASE 86400 2026-12-31T23:59:59Z")
    conn.mail(ADA, MailParameters(hold=hold))
    assert lines_sent(conn) == [f"MAIL FROM:<ada@example.org> {line}"]


@pytest.mark.parametrize("hold", [HoldFor(86_401), HoldUntil(LIMIT + timedelta(seconds=1))])
def test_a_client_asks_for_nothing_beyond_them(hold: HoldFor | HoldUntil) -> None:
    """RFC 4865 section 4.1."""
    for offer in ("FUTURERELEASE 86400 2026-12-31T23:59:59Z", "DSN"):
        conn = client(offer)
        with pytest.raises(NotSupportedError):
            conn.mail(ADA, MailParameters(hold=hold))
        assert lines_sent(conn) == []


@pytest.mark.parametrize("offer", ["FUTURERELEASE", "FUTURERELEASE 1", "FUTURERELEASE x y", "FUTURERELEASE 1 2026"])
def test_limits_that_nobody_understands_are_none(offer: str) -> None:
    conn = client(offer)
    conn.mail(ADA, MailParameters(hold=HoldFor(86_401)))
    assert lines_sent(conn) == ["MAIL FROM:<ada@example.org> HOLDFOR=86401"]


MOMENTS = st.datetimes(
    datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.sampled_from([UTC, timezone(-timedelta(hours=8))])
)


@PROPERTY
@given(
    st.one_of(
        st.integers(1, 999_999_999).map(HoldFor), MOMENTS.map(lambda moment: HoldUntil(moment.replace(microsecond=0)))
    )
)
def test_what_is_written_is_what_was_meant(hold: HoldFor | HoldUntil) -> None:
    values = MailParameters(hold=hold)
    assert read_mail(FUTURERELEASE, write_mail(FUTURERELEASE, values)) == values
