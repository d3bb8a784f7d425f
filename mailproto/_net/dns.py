"""What the resolvers of both adapters have in common: whom to ask, for what, and what mail makes of the answers."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from mailproto._core.checks import check_amount, check_count
from mailproto._core.policy import TLSPolicy
from mailproto._core.system import require_posix
from mailproto._net.sockets import check_port
from mailproto.address import Address
from mailproto.dns.discovery import MailServer, arrange
from mailproto.dns.lookup import PORT, Lookup, LookupFailedError, NoSuchNameError, Query, look_up
from mailproto.dns.message import MailExchange, Question, RecordType, ServiceLocation, Value
from mailproto.dns.resolv_conf import NameServers, is_address, parse_resolv_conf
from mailproto.errors import GrammarError
from mailproto.smtp.alabels import encode_domain
from mailproto.smtp.routing import LOOKUP_FAILED, MX, NO_SUCH_DOMAIN, RoutingError

T = TypeVar("T")

RESOLV_CONF = Path("/etc/resolv.conf")
_new_id = partial(secrets.randbelow, 1 << 16)


class ResolverBase:
    """Asks the name servers of this host where mail goes, as a `mailproto.smtp.routing.Resolver` is asked, which
    servers the users of a domain have, and what else it says in text.

    They have to be servers that find out for others, as all in a resolv.conf are, and remember it: here nothing is
    remembered. Names are looked up as they are, in the DNS and nowhere else: no hosts file, no search list.

    Args:
        servers: their IP addresses. None takes what resolv.conf says, for each look-up anew.
        port: where they listen.
        timeout: seconds that each of them may take; None: what resolv.conf says, or else 5.
        attempts: how often each of them is asked; None: what resolv.conf says, or else 2.

    Raises:
        ValueError: ``servers`` are no IP addresses, or none, or a number is one that cannot be.
        TypeError: what there is is no number.
        NotSupportedError: there are none, and the system is not POSIX, so that it has no resolv.conf either.
    """

    def __init__(
        self,
        servers: Sequence[str] | None = None,
        *,
        port: int = PORT,
        timeout: float | None = None,
        attempts: int | None = None,
    ) -> None:
        if servers is not None and (isinstance(servers, str) or not servers or not all(map(is_address, servers))):
            raise ValueError("the name servers are a sequence of IP addresses, of one at least")
        if servers is None:
            require_posix("a resolver that is not told its name servers")
        check_port(port)
        if timeout is not None:
            check_amount("timeout", timeout)
        if attempts is not None:
            check_count("attempts", attempts, 1)
        self._servers = servers
        self._port = port
        self._timeout = timeout
        self._attempts = attempts

    def _mx(self, domain: str) -> Lookup[list[MX]]:
        try:
            values = yield from self._look_up(domain, RecordType.MX)
        except (NoSuchNameError, GrammarError):
            raise RoutingError(NO_SUCH_DOMAIN) from None
        except LookupFailedError:
            raise RoutingError(LOOKUP_FAILED) from None
        return [MX(value.preference, value.host) for value in values if isinstance(value, MailExchange)]

    def _txt(self, name: str) -> Lookup[list[bytes]]:
        try:
            values = yield from self._look_up(name, RecordType.TXT)
        except (NoSuchNameError, GrammarError):
            return []
        return [value for value in values if isinstance(value, bytes)]

    def _addresses(self, host: str) -> Lookup[list[str]]:
        """Return the addresses, those of IPv6 first. What is known is used even if not all can be found out."""
        found: list[str] = []
        failed = False
        for kind in (RecordType.AAAA, RecordType.A):
            try:
                values = yield from self._look_up(host, kind)
            except (NoSuchNameError, GrammarError):
                continue  # which some servers say of a name that has only the other kind (RFC 4074 section 4.2)
            except LookupFailedError:
                failed = True
            else:
                found += [value for value in values if isinstance(value, str)]
        if failed and not found:
            raise RoutingError(LOOKUP_FAILED)
        return found

    def _mail_servers(self, address: str | Address, services: Mapping[str, TLSPolicy]) -> Lookup[list[MailServer]]:
        """Return the servers that the domain of an address has for its users, the best first."""
        parsed = address if isinstance(address, Address) else Address.parse(address)
        domain = encode_domain(parsed.domain)
        found = {}
        for label, tls in services.items():
            try:
                values = yield from self._look_up(f"{label}.{domain}", RecordType.SRV)
            except (NoSuchNameError, GrammarError):
                values = []
            found[tls] = [value for value in values if isinstance(value, ServiceLocation)]
        return arrange(domain, found, secrets.randbelow)

    def _look_up(self, name: str, kind: RecordType) -> Lookup[list[Value]]:
        system = _of_the_system()
        return look_up(
            Question(name, kind),
            system.addresses if self._servers is None else self._servers,
            new_id=_new_id,
            timeout=system.timeout if self._timeout is None else self._timeout,
            attempts=system.attempts if self._attempts is None else self._attempts,
        )


class Asking(Generic[T]):
    """A look-up under way.

    Attributes:
        query: what is asked now, None when it is over.
        result: what came of it.
    """

    result: T

    def __init__(self, lookup: Lookup[T]) -> None:
        self._lookup = lookup
        self.query: Query | None = None
        self._go_on(None)

    def hear(self, octets: bytes | None) -> None:
        """Take what comes from the server that is asked, or learn that nothing more does."""
        self._go_on(octets)

    def _go_on(self, octets: bytes | None) -> None:
        try:
            self.query = self._lookup.send(octets)
        except StopIteration as stop:
            self.query, self.result = None, stop.value


def _of_the_system() -> NameServers:
    try:
        return parse_resolv_conf(RESOLV_CONF.read_text(encoding="utf-8", errors="replace"))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError):
        return NameServers()
    except OSError as error:  # too many open files, say: which servers there are nobody knows now
        raise LookupFailedError(f"{RESOLV_CONF} cannot be read now") from error
