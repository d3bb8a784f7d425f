"""Which name servers the system asks: the file resolv.conf, as far as a look-up of whole names has a use for it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from mailproto._core.codec import parse_uint
from mailproto.errors import GrammarError

_MAX_SERVERS = 3  # what the system's own resolver takes, too
_MAX_TIMEOUT, _MAX_ATTEMPTS = 30, 5
_WORD = re.compile(r"[^ \t\r]+")
_LOCAL = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class NameServers:
    """The servers to ask.

    Attributes:
        addresses: their IP addresses, the first one first.
        timeout: seconds that each of them may take.
        attempts: how often each of them is asked.
    """

    addresses: tuple[str, ...] = _LOCAL
    timeout: float = 5.0
    attempts: int = 2


def parse_resolv_conf(text: str) -> NameServers:
    """Return what the file says. Without a server in it the one on this host is meant.

    What is malformed is passed over, as the system does: a word that only others know must not stop all mail.
    """
    addresses: list[str] = []
    timeout, attempts = 5, 2
    for line in text.split("\n"):
        match _WORD.findall(line):
            case ["nameserver", address, *_] if is_address(address):
                addresses.append(address)
            case ["options", *options]:
                timeout = _option(options, "timeout:", timeout, _MAX_TIMEOUT)
                attempts = _option(options, "attempts:", attempts, _MAX_ATTEMPTS)
    return NameServers(tuple(addresses[:_MAX_SERVERS]) or _LOCAL, timeout, attempts)


def is_address(text: str) -> bool:
    """Say whether this is an IP address, with an interface perhaps, and not a number, which could be one of IPv4."""
    if not isinstance(text, str):
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _option(options: list[str], name: str, default: int, most: int) -> int:
    for option in options:
        if option.startswith(name):
            try:
                return min(max(1, parse_uint(option.removeprefix(name).encode())), most)
            except GrammarError:
                break
    return default
