"""Peers by their address: who is on this machine, and who is trusted by name."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from itertools import chain

from mailproto.errors import GrammarError


def check_networks(*lists: Iterable[str]) -> None:
    """Raise `GrammarError` unless each in these lists is an IP address, a network, or ``unix`` for unix sockets."""
    for network in chain.from_iterable(lists):
        if network != "unix":
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise GrammarError(f"not an address or a network: {network!a:.60}") from None


def is_among(peer: str, networks: Iterable[str]) -> bool:
    """Say whether the address ``peer`` is one of these, or in one of them; ``""`` is a peer on a unix socket."""
    address = _address(peer)
    if address is None:
        return not peer and "unix" in networks
    return any(network != "unix" and address in ipaddress.ip_network(network) for network in networks)


def is_loopback(peer: str) -> bool:
    """Say whether ``peer`` is on this machine: a loopback address, or a unix socket."""
    address = _address(peer)
    return not peer if address is None else address.is_loopback


def plain_address(host: str) -> str:
    """Return an address, that of IPv4 as itself where IPv6 only wraps it (RFC 4291 section 2.5.5.2), as a socket does
    that listens for both."""
    address = _address(host) if ":" in host else None
    return str(address) if isinstance(address, ipaddress.IPv4Address) else host


def _address(peer: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address, IPv4 where it is one that IPv6 only wraps, without a zone; None if it is none."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
