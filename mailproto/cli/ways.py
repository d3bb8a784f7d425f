"""Where a relay sends mail, and when: the options that say so, and what they mean."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from mailproto import aio
from mailproto.address import Address, check_domain
from mailproto.cli.listeners import LOCALHOST
from mailproto.cli.options import (
    NextPlace,
    UsageError,
    add_tls_options,
    count,
    days,
    host_port,
    named,
    next_place,
    read_password,
    readable_text,
)
from mailproto.dns import PORT
from mailproto.errors import GrammarError
from mailproto.relay import PolicyStore, RelayConfig, Route, Schedule
from mailproto.sasl import Credentials
from mailproto.smtp.flows.client import RELAY_PORT
from mailproto.smtp.routing import RoutingError, lookup_name
from mailproto.tls import client_context

_WHERE = (
    "A place is HOST[:PORT], or the path of a unix socket, which has a slash. One that speaks LMTP, such as a store, "
    "has 'lmtp:' in front: lmtp:/run/dovecot/lmtp, or lmtp:mail.example.org, which is on port 24. TLS and a login "
    "are for the smarthost, TLS for routes, too; a socket has no need of it."
)
_LMTP_PORT = 24  # "any private mail system", and so usual


def add_ways(parser: argparse.ArgumentParser) -> None:
    """Add what tells where mail goes, and when."""
    ways = parser.add_argument_group("where mail goes", _WHERE)
    others = ways.add_mutually_exclusive_group()
    others.add_argument("--smarthost", type=next_place, metavar="PLACE", help="hand all mail over at this place")
    others.add_argument("--mx", action="store_true", help="hand all mail to the hosts that the DNS names, on port 25")
    ways.add_argument(
        "--mta-sts",
        action="store_true",
        help="with --mx, keep to what domains want of TLS (MTA-STS, RFC 8461), and ask them for it over HTTPS: their "
        "mail goes to none but the hosts that they name, and to those under TLS that is verified",
    )
    ways.add_argument(
        "--name-server", type=host_port, metavar="ADDRESS[:PORT]", help="ask this one for --mx, not the system's"
    )
    ways.add_argument(
        "--route",
        action="append",
        default=[],
        type=_route,
        metavar="DOMAIN=PLACE",
        help="hand the mail for a domain over at this place, whatever else is said; repeatable",
    )
    add_tls_options(ways)
    ways.add_argument("--login", type=readable_text, metavar="NAME", help="log in at the smarthost as this user")
    ways.add_argument(
        "--password-env", metavar="VAR", help="take the password from this environment variable, do not ask for it"
    )
    when = parser.add_argument_group("when it goes there")
    when.add_argument(
        "--retry-after",
        type=_positive("there are no attempts without a second between them"),
        metavar="SECONDS",
        help="how long after an attempt in vain a message is tried again; left out, it is half an hour in its first "
        "hour, and two hours then",
    )
    when.add_argument(
        "--give-up-after", type=days, default=5.0, metavar="DAYS", help="when a message comes back at last: 5 days"
    )
    when.add_argument(
        "--connections",
        type=_positive("no mail goes anywhere without a connection"),
        default=3,
        metavar="COUNT",
        help="how many there may be at a time for a domain, or a route, to which many messages go: 3",
    )


def knows_way(config: RelayConfig, address: Address) -> bool:
    """Say whether there is a way to an address, as far as that is known before the DNS is asked."""
    return config.resolver is not None or isinstance(config.way_to(address), Route)


def relay_config(options: argparse.Namespace) -> RelayConfig:
    """Return how a relay sends mail, as the options have it.

    Raises:
        UsageError: they do not go together.
        OSError: a file of certificates cannot be read.
    """
    if options.smarthost is None and not (options.mx or options.route):
        raise UsageError("there is nowhere to send mail to: give --smarthost, --mx, or --route")
    if options.mx and options.hostname == LOCALHOST:
        raise UsageError("--mx needs --hostname, which other hosts are told, and take no localhost for an answer")
    if options.cafile is not None:
        with named("--cafile"):
            client_context(options.cafile)  # which raises now what else would put off every message
    common = {"tls": options.tls, "cafile": options.cafile}
    routes = {domain: _make_route(place, RELAY_PORT, **common) for domain, place in options.route}
    if len(routes) < len(options.route):
        raise UsageError("--route: there is one place for the mail of a domain, and not several")
    resolver = _resolver(options)
    return RelayConfig(
        hostname=options.hostname,
        resolver=resolver,
        sts=_sts(options, resolver),
        routes=routes,
        smarthost=_smarthost(options, common),
        schedule=_schedule(options),
        max_connections_each=options.connections,
    )


def _make_route(to: NextPlace, smtp_port: int | None, **more: Any) -> Route:
    """Return the route to a place, over SMTP to this port if it names none. A socket needs no TLS."""
    if isinstance(to.place, Path):
        return Route(path=to.place, lmtp=to.lmtp, **{**more, "tls": None})
    port = to.place.port if to.place.port is not None else _LMTP_PORT if to.lmtp else smtp_port
    return Route(to.place.host, port, lmtp=to.lmtp, **more)


def _sts(options: argparse.Namespace, resolver: aio.DNSResolver | None) -> PolicyStore | None:
    """Return what asks domains for their policies. It keeps them with the queue, and trusts the system's authorities:
    another --cafile is for hosts that the operator has named."""
    if not options.mta_sts:
        return None
    if resolver is None:
        raise UsageError("--mta-sts goes with --mx")
    with named("--queue"):
        return PolicyStore(Path(options.queue) / "sts", resolver)


def _resolver(options: argparse.Namespace) -> aio.DNSResolver | None:
    if options.name_server is None:
        return aio.DNSResolver() if options.mx else None
    if not options.mx:
        raise UsageError("--name-server goes with --mx")
    address, port = options.name_server
    try:
        return aio.DNSResolver([address], port=port or PORT)
    except ValueError as error:
        raise UsageError(f"--name-server: {error}") from None


def _schedule(options: argparse.Namespace) -> Schedule:
    schedule = Schedule(give_up=options.give_up_after * 86400)
    interval = options.retry_after
    return schedule if interval is None else replace(schedule, first_hour=interval, later=interval)


def _smarthost(options: argparse.Namespace, common: dict[str, Any]) -> Route | None:
    """Return the way to the smarthost. The login is for it alone."""
    if options.password_env is not None and options.login is None:
        raise UsageError("--password-env needs --login")
    if options.smarthost is None:
        if options.login is not None:
            raise UsageError("--login needs --smarthost")
        return None
    to = options.smarthost
    in_clear = options.tls is aio.TLSPolicy.NONE or isinstance(to.place, Path)  # which says so
    known = Credentials(options.login, read_password(options, options.login)) if options.login is not None else None
    return _make_route(to, None, credentials=known, allow_plaintext_auth=in_clear, **common)


def _positive(why: str) -> Callable[[str], int]:
    """Return what reads a whole number, and says ``why`` it may not be 0."""

    def read(text: str) -> int:
        number = count(text)
        if number == 0:
            raise argparse.ArgumentTypeError(why)
        return number

    return read


def _route(text: str) -> tuple[str, NextPlace]:
    """Return the domain and the place of a route; an option may name it as people write it."""
    domain, equals, place = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"a route is DOMAIN=PLACE: {text}")
    try:
        check_domain(domain)
        return lookup_name(domain), next_place(place)
    except (GrammarError, RoutingError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
