"""What a resolv.conf says, and what is passed over in one."""

from __future__ import annotations

import pytest

from mailproto.dns import NameServers, parse_resolv_conf


def test_servers_and_options() -> None:
    text = """
# a comment
; another
domain example.org
search example.org example.net
nameserver 192.0.2.53
nameserver\t2001:db8::53   # with a word behind it
nameserver fe80::1%eth0
nameserver 192.0.2.54
options ndots:2 timeout:3
options attempts:4 rotate
"""
    assert parse_resolv_conf(text) == NameServers(("192.0.2.53", "2001:db8::53", "fe80::1%eth0"), 3, 4)


@pytest.mark.parametrize("text", ["", "search example.org\n", "nameserver\n", "nameserver ns.example.org\n"])
def test_without_a_server_it_is_the_one_on_this_host(text: str) -> None:
    assert parse_resolv_conf(text) == NameServers(("127.0.0.1", "::1"), 5, 2)


@pytest.mark.parametrize(
    ("option", "seconds"),
    [
        ("timeout:0", 1),
        ("timeout:99", 30),
        ("timeout:", 5),
        ("timeout:-1", 5),
        ("timeout:²", 5),
        ("timeout:" + "9" * 18, 30),
        ("timeout:" + "9" * 5000, 5),
    ],
)
def test_times_within_reason(option: str, seconds: int) -> None:
    assert parse_resolv_conf(f"options {option}\n").timeout == seconds
