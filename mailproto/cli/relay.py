"""python -m mailproto relay: a small relay. It takes mail of known clients, keeps it on disk, and sends it on.

Mail goes over the routes that are laid for its domain, or else to a smarthost, or to the hosts that the DNS names.
What cannot be sent is tried again for days, and then comes back to its sender by the same ways.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mailproto import aio
from mailproto._core.peers import check_networks, is_loopback
from mailproto._flows.session import Session
from mailproto._net.tls import client_context
from mailproto.accounts import Accounts
from mailproto.address import Address, check_domain
from mailproto.cli.listeners import (
    LOCALHOST,
    PLACES,
    SMTP,
    SMTPS,
    SUBMISSION,
    Ending,
    Role,
    Servers,
    add_listeners,
    in_clear,
    listeners,
)
from mailproto.cli.options import (
    HostPort,
    NextPlace,
    UsageError,
    add_tls_options,
    checked,
    count,
    days,
    host_port,
    named,
    next_place,
    read_password,
    readable_text,
)
from mailproto.cli.streams import complain
from mailproto.dns import PORT
from mailproto.errors import GrammarError, MailProtoError, Reject
from mailproto.relay import PolicyStore, Queue, Relay, RelayConfig, RelayHandler, Route, Schedule
from mailproto.sasl import Credentials, ScramKey, ScramKeyRequest
from mailproto.sasl.base import Question
from mailproto.sasl.scram_key import ScramPassword
from mailproto.smtp.config import SMTPServerConfig, with_extensions
from mailproto.smtp.events import Envelope, Rcpt
from mailproto.smtp.extensions import DSN
from mailproto.smtp.fixups import complete_header
from mailproto.smtp.flows.client import RELAY_PORT
from mailproto.smtp.flows.server import SMTPSession
from mailproto.smtp.routing import UNROUTABLE, RoutingError, lookup_name
from mailproto.transcript import Transcript

ROLES = (SMTP, SUBMISSION, SMTPS)
LOOPBACK = ("127.0.0.0/8", "::1", "unix")
_DEFAULT = {SUBMISSION: HostPort("127.0.0.1", 8587)}
_WHERE = (
    "A place is HOST[:PORT], or the path of a unix socket, which has a slash. One that speaks LMTP, such as a store, "
    "has 'lmtp:' in front: lmtp:/run/dovecot/lmtp, or lmtp:mail.example.org, which is on port 24. TLS and a login "
    "are for the smarthost, TLS for routes, too; a socket has no need of it."
)
_LMTP_PORT = 24  # "any private mail system", and so usual
_EPILOG = f"{PLACES} Without any, it listens for submission on 127.0.0.1:8587."


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("relay", help="run a small relay", description=__doc__, epilog=_EPILOG)
    parser.add_argument("--queue", required=True, metavar="DIR", help="keep the mail here until it is sent")
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
        type=_seconds,
        metavar="SECONDS",
        help="how long after an attempt in vain a message is tried again; left out, it is half an hour in its first "
        "hour, and two hours then",
    )
    when.add_argument(
        "--give-up-after", type=days, default=5.0, metavar="DAYS", help="when a message comes back at last: 5 days"
    )
    when.add_argument(
        "--connections",
        type=_connections,
        default=3,
        metavar="COUNT",
        help="how many there may be at a time for a domain, or a route, to which many messages go: 3",
    )
    clients = parser.add_argument_group("whom mail comes from")
    add_listeners(clients, ROLES, without_users="Without users whoever is on this machine may send, and nobody else")
    clients.add_argument(
        "--trust",
        action="append",
        default=[],
        type=checked(lambda network: check_networks((network,))),
        metavar="NETWORK",
        help="clients that need not log in: an address, a network, or 'unix'; repeatable",
    )
    clients.add_argument(
        "--postmaster",
        type=checked(Address.parse),
        metavar="ADDRESS",
        help="who gets the mail to the postmaster here, which everybody may send",
    )
    clients.add_argument(
        "--add-date",
        action="store_true",
        help="add a Date to a message that is submitted without one; a Message-ID it gets at any rate",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Relay until SIGTERM or Ctrl-C, then let what is under way finish. What is left is for the next run."""
    if options.smarthost is None and not (options.mx or options.route):
        raise UsageError("there is nowhere to send mail to: give --smarthost, --mx, or --route")
    if options.mx and options.hostname == LOCALHOST:
        raise UsageError("--mx needs --hostname, which other hosts are told, and take no localhost for an answer")
    try:
        with _log_on_standard_error():
            asyncio.run(_relay(options))
    except KeyboardInterrupt:
        return 1  # the second one: something was cut off
    except (MailProtoError, OSError) as error:
        complain(f"{type(error).__name__}: {error}")
        return 1
    return 0


async def _relay(options: argparse.Namespace) -> None:
    config = _relay_config(options)
    with named("--queue"):
        queue = Queue(options.queue)
    relay = Relay(queue, config)
    servers, accounts, postmaster = Servers(options), Accounts(dict(options.user)), _postmaster(options, config)
    for role, place in listeners(options, ROLES, _DEFAULT):
        kind = _Submission if role.submission else _Handler
        handler = kind(queue, config, accounts, options, postmaster=postmaster, queued=relay.wake)
        hooks = aio.InThreads(handler, "on_message", "on_auth")
        servers.make(role, place, _server_config(role, options), hooks)
    ending = asyncio.create_task(Ending().wait())
    running = asyncio.create_task(relay.run())
    async with servers.listening():
        await asyncio.wait((ending, running), return_when=asyncio.FIRST_COMPLETED)
        relay.stop()
    ending.cancel()
    await running


class _Handler(RelayHandler):
    """The handler of the listeners: who may log in, and for whom there is no way."""

    def __init__(
        self, queue: Queue, config: RelayConfig, accounts: Accounts, options: argparse.Namespace, **more: Any
    ) -> None:
        super().__init__(queue, trusted=options.trust or (() if accounts else LOOPBACK), **more)
        self._accounts = accounts
        self._config = config
        self._options = options
        if self._accounts:  # SCRAM cannot prove a password that is anything
            self.on_scram_key = self._scram_secret

    def on_connect(self, session: Session[Any]) -> None:
        """Have both sides of the conversation written to standard error, if that is wanted."""
        if self._options.verbose:
            session.conn.trace = Transcript(complain, f"{session.peer or 'unix'} ")

    def on_auth(self, session: Session[Any], check: Question) -> bool:
        """Say whether the password is right. Without users it need not be, on this machine."""
        return self._accounts.check(check) if self._accounts else is_loopback(session.peer)

    def _scram_secret(self, _: Session[Any], request: ScramKeyRequest) -> ScramKey | ScramPassword | None:
        return self._accounts.scram_secret(request)

    def on_rcpt(self, session: SMTPSession, rcpt: Rcpt) -> None:
        """Take recipients as a relay does, but those to whom it knows no way: better now than by a notice."""
        super().on_rcpt(session, rcpt)
        if not (self.is_postmaster(session, rcpt.address) or _knows_way(self._config, rcpt.address)):
            raise Reject(UNROUTABLE.code, UNROUTABLE.text, str(UNROUTABLE.enhanced))


class _Submission(_Handler):
    """The handler of the listeners for submission: it adds what a mail program has left out (RFC 6409 section 8)."""

    def content(self, _: SMTPSession, envelope: Envelope, name: str, /) -> Iterable[bytes]:
        """Return the message with a Message-ID, and with a Date if that is wanted."""
        now = datetime.now(UTC) if self._options.add_date else None
        return complete_header(envelope, message_id=f"{name}@{self._options.hostname}", date=now)


def _postmaster(options: argparse.Namespace, config: RelayConfig) -> Address:
    """Return the postmaster, and say so if no mail will reach him."""
    postmaster = Address.parse(options.postmaster or f"postmaster@{options.hostname}")
    if options.postmaster is None:  # the DNS leads from the name of this host back to it
        known = isinstance(config.way_to(postmaster), Route)
    else:
        known = _knows_way(config, postmaster)
    if not known:
        complain(f"there is no route to the postmaster, {postmaster}: name another one with --postmaster")
    return postmaster


def _knows_way(config: RelayConfig, address: Address) -> bool:
    return config.resolver is not None or isinstance(config.way_to(address), Route)


def _relay_config(options: argparse.Namespace) -> RelayConfig:
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


def _server_config(role: Role, options: argparse.Namespace) -> SMTPServerConfig:
    config = SMTPServerConfig(
        hostname=options.hostname,
        max_message_size=options.max_size,
        allow_plaintext_auth=in_clear(options),
        require_auth=role.submission and bool(options.user),
        require_tls=role.submission and not in_clear(options),
    )
    return with_extensions(config, DSN)


def _seconds(text: str) -> int:
    if count(text) == 0:
        raise argparse.ArgumentTypeError("there are no attempts without a second between them")
    return int(text)


def _connections(text: str) -> int:
    if count(text) == 0:
        raise argparse.ArgumentTypeError("no mail goes anywhere without a connection")
    return int(text)


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


@contextmanager
def _log_on_standard_error() -> Iterator[None]:
    """Show meanwhile what becomes of each message, and what goes wrong."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("mailproto")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
