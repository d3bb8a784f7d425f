"""Which servers a domain has for its users to submit and fetch mail: SRV records (RFC 6186, RFC 8314 section 5.1).

Nothing is looked up here, and nothing left to chance: the records and the dice are the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from mailproto._core.policy import TLSPolicy
from mailproto.address import check_domain
from mailproto.dns.message import ServiceLocation
from mailproto.errors import GrammarError

SUBMISSION = {"_submissions._tcp": TLSPolicy.IMPLICIT, "_submission._tcp": TLSPolicy.REQUIRED}
"""The labels in front of a domain under which its submission servers stand, and how TLS begins there. The first is
preferred to the second where their priorities are equal (RFC 8314 section 3)."""

POP3 = {"_pop3s._tcp": TLSPolicy.IMPLICIT, "_pop3._tcp": TLSPolicy.REQUIRED}
"""The same for POP3 servers."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """A server that the DNS names for the users of a domain. It is for the settings of an account, once, and not to
    be asked for at each connection (RFC 8314 section 5.1).

    Who can forge answers of the DNS names a server of his own, with a good certificate. So one that is not
    ``in_domain`` is to be used only if the user agrees to its name, or if the certificate is verified for the domain
    of his address, which is what ``server_hostname`` of a client is for (RFC 6186 section 6, RFC 7817 section 3).

    Args:
        host: its name.
        port: its port.
        tls: how TLS begins there; the policy for a client.
        in_domain: whether it is named within the domain that was asked about.
    """

    host: str
    port: int
    tls: TLSPolicy
    in_domain: bool


def arrange(
    domain: str, found: Mapping[TLSPolicy, Sequence[ServiceLocation]], pick: Callable[[int], int]
) -> list[MailServer]:
    """Return the servers that records name, the best first.

    The lower priority comes first, whichever service it is of (RFC 6186 section 3.4); of equals the service that
    stands first in ``found``, and then as the weights have it.

    Args:
        domain: the domain that was asked about, in A-labels.
        found: the records of each service, by how TLS begins there.
        pick: returns a random number from 0 to below the one that it is given.
    """
    priorities = sorted({record.priority for records in found.values() for record in records})
    return [
        MailServer(record.target, record.port, tls, _is_within(record.target, domain))
        for priority in priorities
        for tls, records in found.items()
        for record in _by_weight([record for record in records if record.priority == priority], pick)
        if record.port and _is_host(record.target)  # nobody listens on port 0
    ]


def _by_weight(records: Sequence[ServiceLocation], pick: Callable[[int], int]) -> Iterator[ServiceLocation]:
    """Yield records of one priority in a random order, the heavier the sooner, as RFC 2782 has it: those without a
    weight stand first, so that they have a small chance."""
    left = sorted(records, key=lambda record: record.weight > 0)
    while left:
        sums = list(accumulate(record.weight for record in left))
        number = pick(sums[-1] + 1)
        yield left.pop(next(at for at, total in enumerate(sums) if total >= number))


def _is_within(host: str, domain: str) -> bool:
    return f".{host.lower()}".endswith(f".{domain.lower()}")


def _is_host(name: str) -> bool:
    """Say whether this is the name of a host: ``"."`` says that there is none, and others wrote what stands there."""
    try:
        check_domain(name)
    except GrammarError:
        return False
    return not name.startswith("[")
