"""Where mail goes: RFC 5321 section 5.1 and RFC 7505, record by record."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.smtp.routing import (
    LOOKUP_FAILED,
    MAIL_LOOP,
    MX,
    NO_A_LABELS,
    NO_MAIL_TAKEN,
    NO_SUCH_DOMAIN,
    UNROUTABLE,
    Resolver,
    RoutingError,
    StaticResolver,
    hosts_for,
    literal_host,
    lookup_name,
)
from tests.helpers import PROPERTY


def keep(_: list[str]) -> None:
    """Leave equals in the order of their names."""


def route(*records: tuple[int, str], own: Sequence[str] = ("relay.example",)) -> list[str]:
    return hosts_for("example.org", [MX(*record) for record in records], shuffle=keep, own_names=own)


@pytest.mark.parametrize(
    ("records", "hosts"),
    [
        ([], ["example.org"]),
        ([(10, "mx.example.org.")], ["mx.example.org"]),
        ([(20, "b.example"), (10, "a.example"), (30, "c.example")], ["a.example", "b.example", "c.example"]),
        ([(10, "B.Example"), (10, "a.example")], ["a.example", "b.example"]),
        ([(10, "a.example"), (20, "A.example.")], ["a.example"]),
        ([(10, "."), (20, "a.example")], ["a.example"]),
        ([(10, "_a_b_.example")], ["_a_b_.example"]),
        ([(10, "no host\r\n"), (10, "[192.0.2.1]"), (20, "a.example")], ["a.example"]),
        # This host, and all that are no better than it.
        ([(10, "a.example"), (20, "relay.example"), (30, "c.example")], ["a.example"]),
        ([(10, "a.example"), (20, "Relay.Example."), (20, "b.example")], ["a.example"]),
    ],
)
def test_the_hosts_and_their_order(records: list[tuple[int, str]], hosts: list[str]) -> None:
    assert route(*records) == hosts


@pytest.mark.parametrize(
    ("records", "reply"),
    [
        ([(0, ".")], NO_MAIL_TAKEN),
        ([(0, "")], NO_MAIL_TAKEN),
        ([(10, "not a host")], UNROUTABLE),
        ([(10, "m\u00fcx.example")], UNROUTABLE),
        ([(10, "relay.example")], MAIL_LOOP),
        ([(10, "relay.example"), (10, "a.example")], MAIL_LOOP),
        ([(10, "relay.example"), (20, "backup.example")], MAIL_LOOP),
    ],
)
def test_there_is_no_host(records: list[tuple[int, str]], reply: object) -> None:
    with pytest.raises(RoutingError) as caught:
        route(*records)
    assert caught.value.reply == reply


def test_the_implicit_mx_is_this_host() -> None:
    with pytest.raises(RoutingError) as caught:
        route(own=["example.org"])
    assert caught.value.reply == MAIL_LOOP


def test_the_codes_are_those_of_the_rfcs() -> None:
    """RFC 7505 section 4.1; RFC 5321 section 5.1 has a failed look-up wait."""
    assert str(NO_MAIL_TAKEN).startswith("556 5.1.10 ")
    assert LOOKUP_FAILED.temporary
    assert all(reply.permanent for reply in (NO_SUCH_DOMAIN, NO_A_LABELS, UNROUTABLE, MAIL_LOOP, NO_MAIL_TAKEN))


def test_equals_take_turns() -> None:
    """RFC 5321 section 5.1: the sender MUST randomize them."""
    dice = random.Random(4711)
    records = [MX(10, f"{letter}.example") for letter in "abc"] + [MX(20, "d.example")]
    orders = {tuple(hosts_for("example.org", records, shuffle=dice.shuffle)) for _ in range(200)}
    assert len(orders) == 6
    assert {order[3] for order in orders} == {"d.example"}


RECORDS = st.lists(st.builds(MX, st.integers(0, 5), st.sampled_from(["a.x", "b.x", "c.x", "me.x", ".", "A.X.", " "])))


@PROPERTY
@given(records=RECORDS, seed=st.integers())
def test_mail_never_comes_back(records: list[MX], seed: int) -> None:
    """Every host is better than this one, none comes twice, and the better never stands behind the worse."""
    try:
        hosts = hosts_for("d.x", records, shuffle=random.Random(seed).shuffle, own_names=["me.x"])
    except RoutingError:
        return
    best: dict[str, int] = {}
    for preference, exchange in sorted(records or [MX(0, "d.x")]):
        best.setdefault(exchange.removesuffix(".").lower(), preference)
    ranks = [best[host] for host in hosts]
    assert ranks == sorted(ranks)
    assert len(set(hosts)) == len(hosts) > 0
    assert all(rank < best.get("me.x", 6) for rank in ranks)


@pytest.mark.parametrize(
    ("domain", "host"),
    [
        ("example.org", None),
        ("[192.0.2.1]", "192.0.2.1"),
        ("[IPv6:2001:DB8::1]", "2001:db8::1"),
        ("[ipv6:2001:db8::1]", "2001:db8::1"),
    ],
)
def test_an_address_literal_needs_no_look_up(domain: str, host: str | None) -> None:
    assert literal_host(domain) == host


def test_a_literal_of_another_kind_leads_nowhere() -> None:
    with pytest.raises(RoutingError) as caught:
        literal_host("[X.25:4711]")
    assert caught.value.reply == NO_SUCH_DOMAIN


def test_names_are_looked_up_in_a_labels() -> None:
    assert lookup_name("Example.ORG") == "example.org"
    assert lookup_name("B\u00fccher.example") == "xn--bcher-kva.example"
    assert lookup_name("stra\u00dfe.example", lambda _: "xn--strae-oqa.example") == "xn--strae-oqa.example"
    with pytest.raises(RoutingError, match="write it in A-labels") as caught:
        lookup_name("stra\u00dfe.example")  # which IDNA 2003 would lead to somebody else
    assert caught.value.reply == NO_A_LABELS


def test_the_table() -> None:
    records = [MX(10, "mx.example.org")]
    resolver: Resolver = StaticResolver({"example.org": records}, {"mx.example.org": ["192.0.2.1", "192.0.2.2"]})
    assert asyncio.run(resolver.mx("example.org")) == records
    assert asyncio.run(resolver.addresses("mx.example.org")) == ["192.0.2.1", "192.0.2.2"]
    assert asyncio.run(resolver.addresses("elsewhere.example")) == ("elsewhere.example",)
    with pytest.raises(RoutingError) as caught:
        asyncio.run(resolver.mx("example.net"))
    assert caught.value.reply == UNROUTABLE


def test_everything_to_one_host() -> None:
    resolver = StaticResolver({"local.example": []}, default=[MX(0, "smarthost.example")])
    assert asyncio.run(resolver.mx("anywhere.example")) == [MX(0, "smarthost.example")]
    assert asyncio.run(resolver.mx("local.example")) == []
