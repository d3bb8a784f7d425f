"""What CAPA lists, read."""

from __future__ import annotations

import math

import pytest

from mailproto.errors import GrammarError
from mailproto.pop3 import Capabilities, POP3ServerConfig, Tolerance
from mailproto.pop3.capabilities import parse_capabilities
from mailproto.pop3.tolerance import Lenience

RFC_2449 = [
    b"TOP",
    b"USER",
    b"SASL CRAM-MD5 KERBEROS_V4",
    b"RESP-CODES",
    b"LOGIN-DELAY 900",
    b"PIPELINING",
    b"EXPIRE 60",
    b"UIDL",
    b"IMPLEMENTATION Shlemazle-Plotz-v302",
]


def parse(*lines: bytes, limit: int = 128) -> Capabilities:
    return parse_capabilities(lines, Lenience(()), limit)


def test_the_example_of_rfc_2449() -> None:
    offered = parse(*RFC_2449)
    assert list(offered) == [line.split(b" ")[0].decode() for line in RFC_2449]
    assert offered["SASL"] == ("CRAM-MD5", "KERBEROS_V4")
    assert offered.auth_mechanisms == ("CRAM-MD5", "KERBEROS_V4")
    assert (offered.top, offered.user, offered.resp_codes, offered.pipelining, offered.uidl) == (True,) * 5
    assert (offered.stls, offered.auth_resp_code, offered.differ_by_user) == (False,) * 3
    assert (offered.login_delay, offered.expire) == (900, 60)
    assert offered.implementation == "Shlemazle-Plotz-v302"


def test_none_at_all() -> None:
    offered = Capabilities()
    assert not offered
    assert (offered.top, offered.user, offered.uidl, offered.pipelining, offered.stls) == (False,) * 5
    assert (offered.login_delay, offered.expire, offered.implementation) == (None,) * 3
    assert offered.auth_mechanisms == ()


def test_tags_and_mechanisms_have_no_case() -> None:
    offered = parse(b"Stls", b"sasl plain Login", b"Auth-Resp-Code")
    assert (offered.stls, offered.auth_resp_code) == (True, True)
    assert offered.auth_mechanisms == ("PLAIN", "LOGIN")


def test_arguments_keep_theirs() -> None:
    assert parse(b"IMPLEMENTATION BlurdyBlurp POP3 server").implementation == "BlurdyBlurp POP3 server"


@pytest.mark.parametrize(
    ("line", "expire"),
    [
        (b"EXPIRE 5 USER", 5),
        (b"EXPIRE NEVER", math.inf),
        (b"EXPIRE 0", 0),
        (b"EXPIRE", None),
        (b"EXPIRE soon", None),
        (b"EXPIRE -1", None),
        (b"EXPIRE 1_0", None),
    ],
)
def test_expire(line: bytes, expire: float | None) -> None:
    assert parse(line).expire == expire


def test_what_differs_by_user_says_so() -> None:
    assert parse(b"EXPIRE 5 USER").differ_by_user
    assert parse(b"LOGIN-DELAY 900 USER").differ_by_user
    assert not parse(b"EXPIRE 5", b"LOGIN-DELAY 900", b"USER").differ_by_user


def test_of_two_lines_with_one_tag_the_first_counts_but_sasl_gathers() -> None:
    offered = parse(b"EXPIRE 5", b"SASL PLAIN", b"EXPIRE 6", b"SASL LOGIN")
    assert offered.expire == 5
    assert offered.auth_mechanisms == ("PLAIN", "LOGIN")


@pytest.mark.parametrize("line", [b"", b"A\0B", b"\xff", b"A\x85", b"A.B", b".", b"A  B", b" A", b"A ", b"x" * 511])
def test_what_is_no_capability_is_passed_over(line: bytes) -> None:
    assert list(parse(b"TOP", line, b"UIDL")) == ["TOP", "UIDL"]


@pytest.mark.parametrize("line", [b" UIDL", b"UIDL ", b"\tUIDL", b"UIDL  \t"])
def test_stray_spaces_are_a_tolerance(line: bytes) -> None:
    lenience = Lenience(frozenset(Tolerance))
    assert parse_capabilities([line], lenience, 9).uidl
    assert lenience.used == {Tolerance.STRAY_SPACES}


def test_ten_thousand_tags_are_too_many() -> None:
    lines = [b"X%d" % number for number in range(10_000)]
    assert len(parse(*lines)) == 128


@pytest.mark.parametrize("line", ["", "A\r\nB", "A  B", ".X", "A\n", "Ä", "x" * 511])
def test_a_server_is_not_configured_with_what_is_no_capability(line: str) -> None:
    with pytest.raises(GrammarError):
        POP3ServerConfig(extra_capabilities=(line,))


@pytest.mark.parametrize("name", ["", "plain", "A B", ".X", "A" * 21, "A\n"])
def test_a_server_is_not_configured_with_what_is_no_mechanism(name: str) -> None:
    with pytest.raises(GrammarError):
        POP3ServerConfig(auth_mechanisms=(name,))


def test_a_server_has_no_greeting_that_looks_like_apop() -> None:
    with pytest.raises(GrammarError):
        POP3ServerConfig(greeting="hello <there@example.org>")


def test_the_repr_is_what_was_said() -> None:
    assert repr(parse(b"SASL PLAIN", b"top")) == "Capabilities(SASL PLAIN, TOP)"
