"""Which server comes first, and which is to be trusted: what is made of SRV records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import chain, repeat
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto import TLSPolicy
from mailproto.dns import MailServer, ServiceLocation
from mailproto.dns.discovery import arrange
from tests.helpers import PROPERTY

IMPLICIT, REQUIRED = TLSPolicy.IMPLICIT, TLSPolicy.REQUIRED
Record = tuple[int, int, int, str]


def lowest(_: int) -> int:
    return 0


def arranged(*records: Record, others: tuple[Record, ...] = (), pick: Callable[[int], int] = lowest) -> list[str]:
    """Return the hosts that these records name, and others of the service that begins with STARTTLS."""
    services = {IMPLICIT: records, REQUIRED: others}
    found = {tls: [ServiceLocation(*each) for each in service] for tls, service in services.items()}
    return [server.host for server in arrange("example.org", found, pick)]


def test_no_records() -> None:
    assert arrange("example.org", {}, lowest) == []
    assert arranged() == []


def test_what_a_server_is() -> None:
    found = {
        IMPLICIT: [ServiceLocation(1, 0, 465, "Mail.Example.ORG")],
        REQUIRED: [ServiceLocation(2, 0, 587, "mail.example.net")],
    }
    assert arrange("example.org", found, lowest) == [
        MailServer("Mail.Example.ORG", 465, IMPLICIT, in_domain=True),
        MailServer("mail.example.net", 587, REQUIRED, in_domain=False),
    ]


def test_a_port_on_which_nobody_listens_is_no_server() -> None:
    assert arranged((0, 0, 0, "a"), (1, 0, 1, "b")) == ["b"]


def test_the_lower_priority_comes_first_whichever_service_it_is_of() -> None:
    """RFC 6186 section 3.4."""
    others = ((30, 0, 1, "d"), (10, 0, 1, "b"))
    assert arranged((20, 0, 1, "c"), (0, 0, 1, "a"), others=others) == ["a", "b", "c", "d"]


def test_of_equals_tls_from_the_first_octet_comes_first_whatever_the_weights() -> None:
    """RFC 8314 section 3; "the client MUST first select the protocol it intends to use" (RFC 6186 section 3.4)."""
    assert arranged((0, 1, 1, "a"), (1, 1, 1, "c"), others=((0, 9, 1, "b"), (1, 9, 1, "d"))) == ["a", "b", "c", "d"]


def next_of(numbers: Iterator[int], _: int) -> int:
    return next(numbers)


def chances(*weights: int) -> dict[str, Fraction]:
    """Return how often each of these weights comes first and second, if all numbers come as often."""
    seen: Counter[str] = Counter()
    records = [(0, weight, 1, f"{weight}w{at}") for at, weight in enumerate(weights)]
    total = sum(weights) + 1
    for number in range(total):
        numbers = chain([number], repeat(0))
        seen[arranged(*records, pick=partial(next_of, numbers))[0]] += 1
    return {host: Fraction(count, total) for host, count in seen.items()}


def test_weights_are_chances() -> None:
    """A number from 0 to the sum, both included, and the first whose running sum is no less (RFC 2782)."""
    assert chances(3, 1) == {"3w0": Fraction(4, 5), "1w1": Fraction(1, 5)}
    assert chances(1, 3) == {"1w0": Fraction(2, 5), "3w1": Fraction(3, 5)}
    assert chances(9, 0) == {"9w0": Fraction(9, 10), "0w1": Fraction(1, 10)}, "who has none stands first"
    assert chances(0, 0) == {"0w0": 1}


def test_what_was_picked_is_out_for_the_next() -> None:
    numbers = iter([10, 4, 0])
    limits: list[int] = []

    def pick(limit: int) -> int:
        limits.append(limit)
        return next(numbers)

    assert arranged((0, 1, 1, "a"), (0, 4, 1, "b"), (0, 5, 1, "c"), pick=pick) == ["c", "b", "a"]
    assert limits == [11, 6, 2]


@PROPERTY
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 65535)), max_size=6), st.randoms(use_true_random=False))
def test_each_server_comes_once_and_none_before_its_time(drawn: list[tuple[int, int]], dice: Random) -> None:
    records = [(priority, weight, 1, f"{priority}.h{at}") for at, (priority, weight) in enumerate(drawn)]
    hosts = arranged(*records, pick=dice.randrange)
    assert sorted(hosts) == sorted(record[3] for record in records)
    assert [host[0] for host in hosts] == sorted(host[0] for host in hosts)


@pytest.mark.parametrize("target", [".", "", "[192.0.2.1]", "a..b", "-x", r"a\.b", "a b", "x" * 256])
def test_a_target_that_is_no_host_is_none(target: str) -> None:
    """RFC 6186 section 3.4: with the target "." the service "is not available"."""
    assert arranged((0, 1, 110, target), (10, 1, 995, "pop.example.org")) == ["pop.example.org"]


@pytest.mark.parametrize(
    ("host", "within"),
    [
        ("example.org", True),
        ("mail.EXAMPLE.org", True),
        ("a.b.example.org", True),
        ("notexample.org", False),
        ("example.org.example.net", False),
        ("org", False),
    ],
)
def test_a_host_within_the_domain(host: str, within: bool) -> None:
    """RFC 6186 section 6: others are to be confirmed by the user."""
    (server,) = arrange("Example.org", {IMPLICIT: [ServiceLocation(0, 0, 465, host)]}, lowest)
    assert server.in_domain is within
