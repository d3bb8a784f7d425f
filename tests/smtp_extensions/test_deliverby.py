"""DELIVERBY (RFC 2852)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.address import Address
from mailproto.errors import GrammarError, NotSupportedError
from mailproto.smtp import ByMode, DeliverBy, MailParameters
from mailproto.smtp.extensions import DELIVERBY, deliver_by
from tests.helpers import PROPERTY
from tests.smtp import client
from tests.smtp_extensions import converse, lines_sent, offer_of, offering, read_mail, refuses_mail, said, write_mail

ELJEFE = Address.parse("eljefe@bigbiz.com")

VALUES = [
    ("120;R", DeliverBy(120, ByMode.RETURN), "120;R"),
    ("98;R", DeliverBy(98, ByMode.RETURN), "98;R"),
    ("125;RT", DeliverBy(125, ByMode.RETURN, trace=True), "125;RT"),
    ("+60;n", DeliverBy(60, ByMode.NOTIFY), "60;N"),
    ("0;N", DeliverBy(0, ByMode.NOTIFY), "0;N"),
    ("-0;N", DeliverBy(0, ByMode.NOTIFY), "0;N"),
    ("-22;Nt", DeliverBy(-22, ByMode.NOTIFY, trace=True), "-22;NT"),
    ("007;R", DeliverBy(7, ByMode.RETURN), "7;R"),
    ("999999999;R", DeliverBy(999_999_999, ByMode.RETURN), "999999999;R"),
    ("-999999999;N", DeliverBy(-999_999_999, ByMode.NOTIFY), "-999999999;N"),
]


@pytest.mark.parametrize(("text", "by", "written"), VALUES)
def test_a_time_to_deliver_by(text: str, by: DeliverBy, written: str) -> None:
    values = MailParameters(deliver_by=by)
    assert read_mail(DELIVERBY, f"BY={text}") == values
    assert write_mail(DELIVERBY, values) == f"BY={written}"


BAD = [
    "BY",
    "BY=",
    "BY=120",
    "BY=120;",
    "BY=120;X",
    "BY=120;T",
    "BY=120;RN",
    "BY=120;RTT",
    "BY=;R",
    "BY=--1;N",
    "BY=1.5;R",
    "BY=1_0;R",
    "BY=\u0663;R",
    "BY=1000000000;R",
    "BY=0;R",
    "BY=-1;R",
    "BY=120;R BY=120;R",
]


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_such_time(text: str) -> None:
    """RFC 2852 section 4, with 501 and 5.5.4 for a time that is over and a message to return."""
    assert refuses_mail(DELIVERBY, text)
    assert converse(offering(DELIVERBY), f"MAIL FROM:<a@b> {text}").output.startswith(b"501 5.5.4 ")


@pytest.mark.parametrize(
    ("seconds", "mode"),
    [(0, ByMode.RETURN), (-1, ByMode.RETURN), (1_000_000_000, ByMode.NOTIFY), (-1_000_000_000, ByMode.NOTIFY)],
)
def test_a_time_that_cannot_be(seconds: int, mode: ByMode) -> None:
    with pytest.raises(GrammarError):
        DeliverBy(seconds, mode)


def test_the_example_of_the_rfc_on_the_server() -> None:
    """RFC 2852 section 6."""
    result = converse(offering(DELIVERBY), "MAIL FROM:<eljefe@bigbiz.com> BY=120;R", "RCPT TO:<topbanana@other.com>")
    assert result.lines == ["Mail eljefe@bigbiz.com deliver_by=120;R", "Rcpt topbanana@other.com"]
    assert result.replies == [b"250", b"250"]


def test_a_server_offers_it_when_told_to_and_tells_its_minimum() -> None:
    assert not [line for line in offer_of(offering()) if line.startswith("DELIVERBY")]
    assert "DELIVERBY" in offer_of(offering(DELIVERBY))
    assert "DELIVERBY 240" in offer_of(offering(deliver_by(240)))


def test_a_server_refuses_what_is_below_its_minimum() -> None:
    """Section 3: a permanent failure (55z), for mode R alone; section 4 says 555."""
    config = offering(deliver_by(240))
    result = converse(config, "MAIL FROM:<a@b> BY=120;R", "MAIL FROM:<a@b> BY=239;RT", "MAIL FROM:<a@b> BY=240;R")
    assert result.replies == [b"555", b"555", b"250"]
    assert said(result).startswith("555 5.5.4 ")
    assert converse(config, "MAIL FROM:<a@b> BY=-5;N").replies == [b"250"]


@pytest.mark.parametrize("minimum", [-1, 1_000_000_000])
def test_a_minimum_has_nine_digits(minimum: int) -> None:
    with pytest.raises(GrammarError):
        deliver_by(minimum)


@pytest.mark.parametrize(
    ("offer", "by", "line"),
    [
        ("DELIVERBY", DeliverBy(120, ByMode.RETURN), "BY=120;R"),
        ("DELIVERBY 30", DeliverBy(98, ByMode.RETURN), "BY=98;R"),
        ("DELIVERBY 240", DeliverBy(240, ByMode.RETURN), "BY=240;R"),
        ("DELIVERBY 240", DeliverBy(-3, ByMode.NOTIFY), "BY=-3;N"),
        ("DELIVERBY ,X-TOKEN", DeliverBy(1, ByMode.RETURN), "BY=1;R"),
        ("DELIVERBY soon", DeliverBy(1, ByMode.RETURN), "BY=1;R"),
    ],
)
def test_a_client_asks_a_server_that_can(offer: str, by: DeliverBy, line: str) -> None:
    conn = client(offer)
    conn.mail(ELJEFE, MailParameters(deliver_by=by))
    assert lines_sent(conn) == [f"MAIL FROM:<eljefe@bigbiz.com> {line}"]


@pytest.mark.parametrize("offer", ["DELIVERBY 240", "DELIVERBY 240,X-TOKEN", "DSN"])
def test_a_client_asks_no_server_that_cannot(offer: str) -> None:
    """RFC 2852 section 4.1.4.1, and the second dialogue of section 6: then it says QUIT."""
    conn = client(offer)
    with pytest.raises(NotSupportedError):
        conn.mail(ELJEFE, MailParameters(deliver_by=DeliverBy(120, ByMode.RETURN)))
    conn.quit()
    assert lines_sent(conn) == ["QUIT"]


SECONDS = st.integers(-999_999_999, 999_999_999)


@PROPERTY
@given(
    st.one_of(
        st.builds(DeliverBy, SECONDS, st.just(ByMode.NOTIFY), st.booleans()),
        st.builds(DeliverBy, st.integers(1, 999_999_999), st.just(ByMode.RETURN), st.booleans()),
    )
)
def test_what_is_written_is_what_was_meant(by: DeliverBy) -> None:
    values = MailParameters(deliver_by=by)
    assert read_mail(DELIVERBY, write_mail(DELIVERBY, values)) == values
