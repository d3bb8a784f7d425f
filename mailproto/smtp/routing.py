"""Where mail for a domain goes: from its MX records to the hosts to try, in their order (RFC 5321 section 5.1).

Nothing is looked up here, and nothing left to chance: the records and the dice are the caller's. Who has the records
is a `Resolver`: `mailproto.aio.DNSResolver` asks the DNS, the one that is here, `StaticResolver`, a table.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

from mailproto.address import check_domain
from mailproto.errors import GrammarError, MailProtoError
from mailproto.smtp.alabels import encode_domain, idna_2003
from mailproto.smtp.reply import Reply

__all__ = [
    "LOOKUP_FAILED",
    "MAIL_LOOP",
    "MX",
    "NO_A_LABELS",
    "NO_MAIL_TAKEN",
    "NO_SUCH_DOMAIN",
    "UNROUTABLE",
    "Resolver",
    "RoutingError",
    "StaticResolver",
    "hosts_for",
    "literal_host",
    "lookup_name",
]

NO_SUCH_DOMAIN = Reply.build(550, "There is no such domain", "5.1.2")
NO_A_LABELS = Reply.build(550, "The domain has no A-labels that are known here: write it in A-labels", "5.1.2")
LOOKUP_FAILED = Reply.build(451, "The domain cannot be looked up now", "4.4.3")
NO_MAIL_TAKEN = Reply.build(556, "This domain takes no mail", "5.1.10")  # RFC 7505 section 4.1
UNROUTABLE = Reply.build(550, "No mail host is known for this domain", "5.4.4")
MAIL_LOOP = Reply.build(554, "This host is the last one that takes mail for this domain", "5.4.6")


class MX(NamedTuple):
    """An MX record: the host ``exchange`` takes mail for the domain, the sooner the lower ``preference`` is.

    The exchange ``"."`` says that the domain takes none (RFC 7505).
    """

    preference: int
    exchange: str


class RoutingError(MailProtoError):
    """There is no host to send to. ``reply`` says why, as a server says it to whoever names such a recipient."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class Resolver(Protocol):
    """Knows where mail goes: asks the DNS, as `mailproto.aio.DNSResolver` does, or whatever else knows."""

    async def mx(self, domain: str) -> Sequence[MX]:
        """Return the MX records of a domain in lower-case A-labels, CNAMEs followed; none if it has none.

        Raises:
            RoutingError: with `NO_SUCH_DOMAIN`, or with `LOOKUP_FAILED`, so that mail waits.
        """

    async def addresses(self, host: str) -> Sequence[str]:
        """Return the IP addresses of a host, the best first; none if it has none.

        In their place may stand the host's own name: then the system looks for them when it connects, and one of them
        that takes the connection stands for all.

        Raises:
            RoutingError: with `LOOKUP_FAILED`.
        """


class StaticResolver:
    """Answers from a table, for relays that hand all mail to one host, closed networks, and tests.

    Args:
        mx: the records by domain, in lower-case A-labels.
        addresses: the IP addresses by host. Of a host that is not here the name is the answer, for the system to
            find the address when it connects.
        default: the records of every other domain; without it there is no way to them.
    """

    def __init__(
        self,
        mx: Mapping[str, Sequence[MX]],
        addresses: Mapping[str, Sequence[str]] | None = None,
        *,
        default: Sequence[MX] | None = None,
    ) -> None:
        self._mx = mx
        self._addresses = addresses or {}
        self._default = default

    async def mx(self, domain: str) -> Sequence[MX]:
        """Return the records in the table; see `Resolver`."""
        records = self._mx.get(domain, self._default)
        if records is None:
            raise RoutingError(UNROUTABLE)
        return records

    async def addresses(self, host: str) -> Sequence[str]:
        """Return the addresses in the table; see `Resolver`."""
        return self._addresses.get(host, (host,))


def literal_host(domain: str) -> str | None:
    """Return the IP address that an address literal names; None for a domain, which has to be looked up.

    Raises:
        RoutingError: the literal is for another kind of address (RFC 5321 section 4.1.3).
    """
    if not domain.startswith("["):
        return None
    content = domain[1:-1]
    try:
        return str(ipaddress.ip_address(content[5:] if content[:5].lower() == "ipv6:" else content))
    except ValueError:
        raise RoutingError(NO_SUCH_DOMAIN) from None


def lookup_name(domain: str, idna_encode: Callable[[str], str] = idna_2003) -> str:
    """Return the name to look up for a domain: in A-labels, in lower case.

    Args:
        idna_encode: makes A-labels of a domain that is not ASCII.

    Raises:
        RoutingError: with `NO_A_LABELS`. There may be such a domain all the same.
    """
    try:
        return encode_domain(domain, idna_encode).lower()
    except GrammarError:
        raise RoutingError(NO_A_LABELS) from None


def hosts_for(
    domain: str,
    records: Iterable[MX],
    *,
    shuffle: Callable[[list[str]], object],
    own_names: Collection[str] = (),
) -> list[str]:
    """Return the hosts that take mail for a domain, the most preferred first, each once.

    Args:
        domain: as `lookup_name` returns it.
        records: its MX records, in any order. A domain without any is its own mail host.
        shuffle: puts hosts of equal preference in a random order, in place, as ``random.shuffle`` does, to spread
            the load.
        own_names: the names of this host. Hosts that are no better than itself are left out, for they would send
            the mail back.

    Raises:
        RoutingError: the domain takes no mail (RFC 7505), none of its records is of use, or this host is the best.
    """
    found = list(records) or [MX(0, domain)]
    if all(record.exchange in (".", "") for record in found):
        raise RoutingError(NO_MAIL_TAKEN)
    own = {name.lower() for name in own_names}
    hosts: dict[str, None] = {}
    for _, equals in groupby(sorted(found), key=lambda record: record.preference):
        names = sorted({name for record in equals if _is_domain(name := record.exchange.removesuffix(".").lower())})
        if not own.isdisjoint(names):
            if not hosts:
                raise RoutingError(MAIL_LOOP)
            break
        shuffle(names)
        hosts.update(dict.fromkeys(names))
    if not hosts:
        raise RoutingError(UNROUTABLE)
    return list(hosts)


def _is_domain(name: str) -> bool:
    """Say whether this is the name of a host: records have what others wrote into them. Underscores there should be
    none (RFC 952), but are, and mail goes there all the same (RFC 2181 section 11)."""
    try:
        check_domain(name.replace("_", "x"))
    except GrammarError:
        return False
    return not name.startswith("[") and name.isascii()
