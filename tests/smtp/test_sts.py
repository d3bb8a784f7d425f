"""MTA-STS: the record and the policy of a domain, and which hosts it names (RFC 8461 sections 3 and 4)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.errors import GrammarError
from mailproto.smtp.sts import MAX_AGE, MAX_POLICY, Mode, Policy, parse_policy, policy_host, policy_id, record_name
from tests.helpers import PROPERTY


def test_where_a_domain_says_it() -> None:
    assert record_name("example.com") == "_mta-sts.example.com"
    assert policy_host("example.com") == "mta-sts.example.com"


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([b"v=STSv1; id=20160831085700Z;"], "20160831085700Z"),  # section 3.1
        ([b"v=STSv1;id=1"], "1"),
        ([b"v=STSv1 ;\tid=1 \t;  "], "1"),  # erratum 6285
        ([b"v=STSv1; id=" + b"a" * 32], "a" * 32),
        ([b"v=STSv1; a_-.b=c!~; id=1; id=2;"], "1"),
        ([b"v=spf1 -all", b"v=STSv1; id=1;", b"v=STSv2; id=2;", b" v=STSv1; id=2;"], "1"),
        ([b"v=STSv1; id=1;", b"v=STSv1"], "1"),
    ],
)
def test_a_record(records: list[bytes], found: str) -> None:
    assert policy_id(records) == found


@pytest.mark.parametrize(
    "records",
    [
        [],
        [b""],
        [b"v=spf1 -all"],
        [b"v=STSv1; id=1;", b"v=STSv1; id=1;"],
        [b"v=STSv1; id=1;", b"v=STSv1; nonsense"],
        [b"v=STSv1"],
        [b"v=STSv1;"],
        [b"v=STSv1; a=b"],
        [b"v=STSv1; id="],
        [b"v=STSv1; id=" + b"a" * 33],
        [b"v=STSv1; id=a-b;"],
        [b"v=STSv1; id=a-b; id=1;"],
        [b"v=STSv1; id=1;;"],
        [b"v=STSv1; id=1; a=b=c"],
        [b"v=STSv1; id=1; a=b c"],
        [b"v=STSv1; id=1; _a=b"],
        [b"v=STSv1; id=1; " + b"a" * 33 + b"=b"],
        [b"v=STSv1; id=1; a=\xff"],
        [b"v=STSv1; id=1\n"],
        [b"v=STSv1\n; id=1"],
        [b"v=STSv1; ID=1"],
        [b"V=STSv1; id=1"],
        [b"v=stsv1; id=1"],
        [b"id=1; v=STSv1;"],
        [b"v=STSv10; id=1;"],
    ],
)
def test_what_is_no_record(records: list[bytes]) -> None:
    assert policy_id(records) is None


EXAMPLE = b"""version: STSv1
mode: enforce
mx: mail.example.com
mx: *.example.net
mx: backupmx.example.com
max_age: 604800
"""
HOSTS = ("mail.example.com", "*.example.net", "backupmx.example.com")


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        (EXAMPLE, Policy(Mode.ENFORCE, 604800, HOSTS)),  # section 3.2
        (EXAMPLE.replace(b"\n", b"\r\n"), Policy(Mode.ENFORCE, 604800, HOSTS)),
        (EXAMPLE.replace(b"\n", b" \t\r\n"), Policy(Mode.ENFORCE, 604800, HOSTS)),
        (EXAMPLE[:-1], Policy(Mode.ENFORCE, 604800, HOSTS)),
        (b"\r\n" + EXAMPLE.replace(b"\n", b"\n\n"), Policy(Mode.ENFORCE, 604800, HOSTS)),
        (
            b"version: STSv1\nmode: testing\nmx: mx1.example.com\nmx: mx2.example.com\nmx: mx.backup-example.com\n"
            b"max_age: 1296000\n",  # appendix A
            Policy(Mode.TESTING, 1296000, ("mx1.example.com", "mx2.example.com", "mx.backup-example.com")),
        ),
        (b"mode:none\nmax_age:0\nversion:STSv1", Policy(Mode.NONE, 0)),
        (b"version: STSv1\nmode: none\nmx: a.example\nmax_age: 1", Policy(Mode.NONE, 1, ("a.example",))),
        (EXAMPLE.replace(b"604800", b"31557600"), Policy(Mode.ENFORCE, MAX_AGE, HOSTS)),
        (EXAMPLE.replace(b"604800", b"9999999999"), Policy(Mode.ENFORCE, MAX_AGE, HOSTS)),
        (
            b"version: STSv1\nmode: enforce\nmx: MX.Example\nmx: mx.example\nmax_age: 9",
            Policy(Mode.ENFORCE, 9, ("mx.example",)),
        ),
        (EXAMPLE + b"version: 2\nmode: none\nmax_age: x\n", Policy(Mode.ENFORCE, 604800, HOSTS)),
        (b"a_b-c.d: \xc3\xa9 x: y\nempty:\n" + EXAMPLE, Policy(Mode.ENFORCE, 604800, HOSTS)),
    ],
)
def test_a_policy(text: bytes, policy: Policy) -> None:
    assert parse_policy(text) == policy


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        EXAMPLE.replace(b"version: STSv1\n", b""),
        EXAMPLE.replace(b"STSv1", b"STSv2"),
        EXAMPLE.replace(b"STSv1", b"stsv1"),
        EXAMPLE.replace(b"version", b"Version"),
        b"version: STSv2\n" + EXAMPLE,
        EXAMPLE.replace(b"mode: enforce\n", b""),
        EXAMPLE.replace(b"enforce", b"Enforce"),
        EXAMPLE.replace(b"enforce", b"report"),
        EXAMPLE.replace(b"max_age: 604800\n", b""),
        EXAMPLE.replace(b"604800", b""),
        EXAMPLE.replace(b"604800", b"-1"),
        EXAMPLE.replace(b"604800", b"6e5"),
        EXAMPLE.replace(b"604800", b"00000000001"),
        EXAMPLE.replace(b"604800", "\u0661".encode()),
        b"version: STSv1\nmode: enforce\nmax_age: 604800\n",
        b"version: STSv1\nmode: testing\nmax_age: 604800\n",
        EXAMPLE.replace(b"*.", b"*"),
        EXAMPLE.replace(b"*.", b"*.*."),
        EXAMPLE.replace(b"*.", b"mx*."),
        EXAMPLE.replace(b"*.", b"."),
        EXAMPLE.replace(b"*.example.net", b"*"),
        EXAMPLE.replace(b"*.example.net", b"*."),
        EXAMPLE.replace(b"*.example.net", b""),
        EXAMPLE.replace(b"*.example.net", b"[192.0.2.1]"),
        EXAMPLE.replace(b"*.example.net", b"a.example, b.example"),
        EXAMPLE.replace(b"*.example.net", "b\u00fccher.example".encode()),
        EXAMPLE.replace(b"\n", b"\r"),
        EXAMPLE + b"nonsense\n",
        EXAMPLE + b" folded: line\n",
        EXAMPLE + b"_x: y\n",
        EXAMPLE + b"x" * 33 + b": y\n",
        EXAMPLE + b"x : y\n",
        EXAMPLE + b"x: a\0b\n",
        EXAMPLE + b"x: a\rb\n",
        EXAMPLE + b"x: \xff\n",
        b"\xef\xbb\xbf" + EXAMPLE,
        EXAMPLE + b"x: " + b"y" * MAX_POLICY,
    ],
)
def test_what_is_no_policy(text: bytes) -> None:
    with pytest.raises(GrammarError):
        parse_policy(text)


def test_the_longest_policy() -> None:
    assert parse_policy((EXAMPLE + b"x: " + b"y" * MAX_POLICY)[:MAX_POLICY]).mx == HOSTS


@pytest.mark.parametrize("spaces", [b" ", b"\t"])
def test_no_spaces_keep_the_relay_busy(spaces: bytes) -> None:
    """Who owns a domain says what stands there, and whoever reads it stands still meanwhile."""
    begun = time.process_time()
    many = (MAX_POLICY - 1000) * spaces
    assert policy_id([b"v=STSv1; id=1;" + many]) == policy_id([b"v=STSv1" + many + b";" + many + b"id=1"]) == "1"
    assert policy_id([b"v=STSv1; id=1" + many]) is None
    for line in (b"x:" + many + b"\0", b"x: y" + many + b"\0"):
        with pytest.raises(GrammarError):
            parse_policy(EXAMPLE + line)
    assert parse_policy(EXAMPLE + b"x:" + many + b"y").mx == HOSTS
    assert time.process_time() - begun < 0.5


@pytest.mark.parametrize(
    ("host", "matches"),
    [
        ("mail.example.com", True),
        ("MAIL.example.COM.", True),
        ("mail.example.net", True),
        ("example.net", False),  # section 4.1
        ("foo.bar.example.net", False),
        (".example.net", False),
        ("example.com", False),
        ("mx.mail.example.com", False),
        ("mailXexample.com", False),
        ("net", False),
        ("", False),
    ],
)
def test_the_hosts_that_a_policy_names(host: str, matches: bool) -> None:
    assert parse_policy(EXAMPLE).matches(host) is matches


@PROPERTY
@given(st.binary(max_size=120), st.integers(0, len(EXAMPLE)))
def test_no_octets_raise_anything_else(junk: bytes, start: int) -> None:
    for octets in (junk, EXAMPLE[:start] + junk + EXAMPLE[start:]):
        policy_id([octets, b"v=STSv1; " + octets])
        try:
            parse_policy(octets)
        except GrammarError:
            continue
