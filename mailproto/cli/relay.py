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
from datetime import UTC, datetime
from typing import Any

from mailproto import aio
from mailproto._core.peers import check_networks, is_loopback
from mailproto._flows.session import Session
from mailproto.accounts import Accounts
from mailproto.address import Address
from mailproto.cli.listeners import (
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
    run_to_end,
    show,
)
from mailproto.cli.options import (
    HostPort,
    checked,
    named,
)
from mailproto.cli.streams import complain
from mailproto.cli.users import by_name
from mailproto.cli.ways import add_ways, knows_way, relay_config
from mailproto.errors import Reject
from mailproto.relay import Queue, Relay, RelayConfig, RelayHandler, Route
from mailproto.sasl import ScramKey, ScramKeyRequest
from mailproto.sasl.base import Question
from mailproto.sasl.scram_key import ScramPassword
from mailproto.smtp.config import SMTPServerConfig, with_extensions
from mailproto.smtp.events import Envelope, Rcpt
from mailproto.smtp.extensions import DSN
from mailproto.smtp.fixups import complete_header
from mailproto.smtp.flows.server import SMTPSession
from mailproto.smtp.routing import UNROUTABLE

ROLES = (SMTP, SUBMISSION, SMTPS)
LOOPBACK = ("127.0.0.0/8", "::1", "unix")
_DEFAULT = SUBMISSION, HostPort("127.0.0.1", 8587)
_EPILOG = f"{PLACES} Without any, it listens for submission on 127.0.0.1:8587."


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("relay", help="run a small relay", description=__doc__, epilog=_EPILOG)
    parser.add_argument("--queue", required=True, metavar="DIR", help="keep the mail here until it is sent")
    add_ways(parser)
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
    with _log_on_standard_error():
        return run_to_end(_relay(options))


async def _relay(options: argparse.Namespace) -> None:
    config = relay_config(options)
    with named("--queue"):
        queue = Queue(options.queue)
    relay = Relay(queue, config)
    servers, accounts, postmaster = Servers(options), Accounts(by_name(options.user)), _postmaster(options, config)
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
            show(session)

    def on_auth(self, session: Session[Any], check: Question) -> bool:
        """Say whether the password is right. Without users it need not be, on this machine."""
        return self._accounts.check(check) if self._accounts else is_loopback(session.peer)

    def _scram_secret(self, _: Session[Any], request: ScramKeyRequest) -> ScramKey | ScramPassword | None:
        return self._accounts.scram_secret(request)

    def on_rcpt(self, session: SMTPSession, rcpt: Rcpt) -> None:
        """Take recipients as a relay does, but those to whom it knows no way: better now than by a notice."""
        super().on_rcpt(session, rcpt)
        if not (self.is_postmaster(session, rcpt.address) or knows_way(self._config, rcpt.address)):
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
        known = knows_way(config, postmaster)
    if not known:
        complain(f"there is no route to the postmaster, {postmaster}: name another one with --postmaster")
    return postmaster


def _server_config(role: Role, options: argparse.Namespace) -> SMTPServerConfig:
    config = SMTPServerConfig(
        hostname=options.hostname,
        max_message_size=options.max_size,
        allow_plaintext_auth=in_clear(options),
        require_auth=role.submission and bool(options.user),
        require_tls=role.submission and not in_clear(options),
    )
    return with_extensions(config, DSN)


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
