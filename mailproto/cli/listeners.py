"""What the commands that serve have in common: where they listen and for whom, with which certificate, how long."""

from __future__ import annotations

import argparse
import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from mailproto import aio
from mailproto._flows.session import Session
from mailproto.accounts import Secret
from mailproto.cli.options import Descriptor, HostPort, checked, count, listening_place, named
from mailproto.cli.signals import ENDING, RENEWING, hear, hear_no_more
from mailproto.cli.streams import complain, say, words_of
from mailproto.cli.users import by_name, read_users, user
from mailproto.errors import MailProtoError
from mailproto.pop3.config import POP3ServerConfig
from mailproto.sasl import ScramKey, ServerMechanisms, server_mechanisms
from mailproto.sasl.scram_key import ITERATIONS
from mailproto.smtp.config import SMTPServerConfig
from mailproto.transcript import Transcript


class Role(NamedTuple):
    """What a listener is for."""

    name: str
    pop3: bool = False
    submission: bool = False
    implicit_tls: bool = False
    lmtp: bool = False


SMTP = Role("smtp")
SUBMISSION = Role("submission", submission=True)
SMTPS = Role("smtps", submission=True, implicit_tls=True)
LMTP = Role("lmtp", lmtp=True)
POP3 = Role("pop3", pop3=True)
POP3S = Role("pop3s", pop3=True, implicit_tls=True)

Place: TypeAlias = HostPort | Path | Descriptor
Listener: TypeAlias = tuple[Role, Place]

PLACES = (
    "A place is HOST:PORT, the path of a unix socket, which has a slash, or fd:NUMBER, a socket that whoever started "
    "the command has opened."
)

LOCALHOST = "localhost"
_SMTP_PORT = 25


def add_listeners(parser: argparse._ActionsContainer, roles: Iterable[Role], *, without_users: str) -> None:
    """Add what tells where to listen, for whom, and how."""
    for role in roles:
        parser.add_argument(
            f"--{role.name}",
            action="append",
            default=[],
            type=listening_place,
            metavar="PLACE",
            help=f"listen here for {role.name}; repeatable",
        )
    parser.add_argument(
        "--user",
        action="append",
        default=[],
        type=user,
        metavar="NAME:PASSWORD",
        help="a user; repeatable. The command line can be read by all of the machine, a file of --users need not. "
        + without_users,
    )
    parser.add_argument(
        "--users",
        action="extend",
        dest="user",
        type=read_users,
        metavar="FILE",
        help="users, one a line: NAME:PASSWORD, or what 'scram-key' prints",
    )
    parser.add_argument(
        "--hostname",
        default=LOCALHOST,
        type=checked(lambda name: SMTPServerConfig(hostname=name)),
        metavar="NAME",
        help="the host's own name; left out it is localhost",
    )
    parser.add_argument(
        "--tls-cert",
        metavar="FILE",
        help="the certificate (PEM), for STARTTLS and implicit TLS; SIGHUP has it read anew",
    )
    parser.add_argument("--tls-key", metavar="FILE", help="its key (PEM)")
    parser.add_argument(
        "--allow-plaintext-auth", action="store_true", help="let users log in without TLS, where others may listen"
    )
    parser.add_argument(
        "--max-size", type=count, default=32 << 20, metavar="BYTES", help="the largest message taken; 0 takes any"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show the conversations on standard error")


def listeners(options: argparse.Namespace, roles: Sequence[Role], *default: Listener) -> Sequence[Listener]:
    """Return what to listen for, and where: what the options say, or else the default."""
    wanted = [(role, place) for role in roles for place in getattr(options, role.name)]
    handed_down = [place.number for _, place in wanted if isinstance(place, Descriptor)]
    if len(set(handed_down)) < len(handed_down):
        raise SystemExit("a descriptor is for one service only")
    return wanted or default


class Servers:
    """The servers of all roles, with one certificate and one set of users: what `add_listeners` has added."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        with named("--tls-cert"):
            self._tls = _tls_context(options)
        self._mechanisms = _mechanisms(by_name(options.user))
        self._made: list[tuple[Role, Place, Any]] = []

    def make(self, role: Role, place: Place, config: SMTPServerConfig | POP3ServerConfig, handler: object) -> None:
        """Make the server of a role, which does not listen yet."""
        if role.implicit_tls and self._tls is None:
            raise SystemExit(f"--{role.name} needs --tls-cert")
        if role.lmtp and isinstance(place, HostPort) and place.port == _SMTP_PORT:
            raise SystemExit(f"LMTP must not be spoken on port {_SMTP_PORT} (RFC 2033 section 5)")
        if (role.pop3 or role.submission) and self._tls is None and not in_clear(self._options):
            complain(f"{role.name}: nobody can log in here without --tls-cert or --allow-plaintext-auth")
        kind: Callable[..., Any] = aio.POP3Server if role.pop3 else aio.SMTPServer
        server = kind(
            handler,
            **_where(role, place),
            config=config,
            tls=self._tls,
            implicit_tls=role.implicit_tls,
            mechanisms=self._mechanisms,
        )
        self._made.append((role, place, server))

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Start all that were made, with a line for each; in the end let what is under way finish, of all at a time.

        Meanwhile SIGHUP, where there is one, has the certificate read anew.
        """
        started = []
        if self._tls is not None:
            hear(RENEWING, self._renew)
        try:
            for role, place, server in self._made:
                started.append(server)
                await server.start()
                say(f"{role.name}: listening on {_shown(place, server)}")
            yield
        finally:
            await asyncio.gather(*(server.close() for server in started))
            if self._tls is not None:
                hear_no_more(RENEWING)

    def _renew(self) -> None:
        """Have new connections use the certificate that is there now. If it cannot be read, the old one stays."""
        try:
            context = _tls_context(self._options)
        except OSError as error:
            complain(f"the certificate is not renewed: {error}")
            return
        for _, _, server in self._made:
            server.tls = context
        say("the certificate was read anew")


def in_clear(options: argparse.Namespace) -> bool:
    """Say whether users may log in without TLS. A host without any has no passwords that could be listened to."""
    return bool(options.allow_plaintext_auth or not options.user)


def show(session: Session[Any]) -> None:
    """Have both sides of a conversation written to standard error."""
    session.conn.trace = Transcript(complain, f"{session.peer or 'unix'} ")


def run_to_end(work: Coroutine[Any, Any, None]) -> int:
    """Do the work of a command that serves, until its `Ending`; return the exit status."""
    try:
        asyncio.run(work)
    except KeyboardInterrupt:
        return 1  # the second one: something was cut off
    except (MailProtoError, OSError) as error:
        complain(words_of(error))
        return 1
    return 0


class Ending:
    """The end that SIGTERM or Ctrl-C asks for. They are heeded from here on, and the first one alone."""

    def __init__(self) -> None:
        self._told = asyncio.Event()
        self._hears = True
        hear(ENDING, self._hear)

    async def wait(self) -> None:
        """Wait for it. Who asks a second time does not want to wait."""
        try:
            await self._told.wait()
        finally:
            self._hears = False
            hear_no_more(ENDING)

    def _hear(self) -> None:
        if self._told.is_set() and self._hears:  # the second one came before the first one was heeded
            raise KeyboardInterrupt
        self._told.set()


def _where(role: Role, place: Place) -> dict[str, Any]:
    """Return the arguments of a server that tell where it listens."""
    if isinstance(place, HostPort):
        return place._asdict()
    if isinstance(place, Path):
        return {"path": place}
    try:
        sock = socket.socket(fileno=place.number)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except (OSError, OverflowError):
        listens = False
    if not listens:
        raise SystemExit(f"--{role.name}: the descriptor {place.number} is no socket that listens")
    return {"sock": sock}


def _shown(place: Place, server: Any) -> str:
    """Return where a server listens, as people have it."""
    if isinstance(place, HostPort):
        return f"{place.host} port {server.port}"
    address = server.addresses[0]
    return f"{address[0]} port {server.port}" if isinstance(address, tuple) else str(address)


def _mechanisms(users: Mapping[str, Secret]) -> ServerMechanisms:
    """Return what a server knows; who has no key must not be told from the others by the iterations of SCRAM."""
    keys = (secret for secret in users.values() if isinstance(secret, ScramKey))
    return server_mechanisms(iterations=max((key.iterations for key in keys), default=ITERATIONS))


def _tls_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    certificate, key = options.tls_cert, options.tls_key
    if certificate is None:
        if key is not None:
            raise SystemExit("--tls-key needs --tls-cert")
        return None
    return aio.server_context(certificate, key)
