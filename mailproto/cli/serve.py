"""python -m mailproto serve: a small mail host. It takes mail for its users, keeps it, and hands it out.

It relays nothing: mail for anybody else is refused, whoever brings it.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import ssl
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from mailproto import aio
from mailproto._flows.session import Session
from mailproto.cli.options import HostPort, listening_place
from mailproto.cli.streams import complain, say, write
from mailproto.cli.users import read_users, user
from mailproto.errors import MailProtoError
from mailproto.maildrop import MaildirRoot, Maildrop, MemoryMaildrop
from mailproto.mailhost import BLOCKING_HOOKS, MailHost, Secret
from mailproto.pop3.config import POP3ServerConfig
from mailproto.sasl import ScramKey, ServerMechanisms, server_mechanisms
from mailproto.sasl.scram_key import ITERATIONS
from mailproto.smtp.config import SMTPServerConfig
from mailproto.smtp.events import Envelope
from mailproto.transcript import Transcript

SINGLE_DROP = "inbox"
"""The Maildir of a host without users, below ``--maildir``."""


class Role(NamedTuple):
    """What a listener is for."""

    name: str
    pop3: bool = False
    submission: bool = False
    implicit_tls: bool = False
    lmtp: bool = False


ROLES = (
    Role("smtp"),
    Role("submission", submission=True),
    Role("smtps", submission=True, implicit_tls=True),
    Role("lmtp", lmtp=True),
    Role("pop3", pop3=True),
    Role("pop3s", pop3=True, implicit_tls=True),
)
_SMTP_PORT = 25
_ENDING = (signal.SIGINT, signal.SIGTERM)
Place: TypeAlias = HostPort | Path
_DEFAULT_LISTENERS: dict[str, Place] = {"smtp": HostPort("127.0.0.1", 8025), "pop3": HostPort("127.0.0.1", 8110)}
_PLACES = """A place is HOST:PORT, or the path of a unix socket, which has a slash. Without any, it listens for SMTP
on 127.0.0.1:8025 and for POP3 on 127.0.0.1:8110."""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("serve", help="run a small mail host", description=__doc__, epilog=_PLACES)
    for role in ROLES:
        parser.add_argument(
            f"--{role.name}", type=listening_place, metavar="PLACE", help=f"listen here for {role.name}"
        )
    parser.add_argument("--maildir", metavar="DIR", help="keep mail in the Maildir DIR/NAME of each user")
    parser.add_argument(
        "--user",
        action="append",
        default=[],
        type=user,
        metavar="NAME:PASSWORD",
        help="a user; repeatable. The command line can be read by all of the machine, a file of --users need not. "
        "Without users all local mail is kept together, and anybody on this machine may fetch it",
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
        "--domain", action="append", default=[], metavar="NAME", help="a local domain; left out, every domain is"
    )
    parser.add_argument("--hostname", default="localhost", metavar="NAME", help="the host's own name")
    parser.add_argument("--tls-cert", metavar="FILE", help="the certificate (PEM), for STARTTLS and implicit TLS")
    parser.add_argument("--tls-key", metavar="FILE", help="its key (PEM)")
    parser.add_argument(
        "--allow-plaintext-auth", action="store_true", help="let users log in without TLS, where others may listen"
    )
    parser.add_argument(
        "--login-delay", type=_seconds, metavar="SECONDS", help="how long after a POP3 login the user may do so again"
    )
    parser.add_argument(
        "--no-pop3-utf8",
        action="store_false",
        dest="pop3_utf8",
        help="give mail with UTF-8 in its header to every POP3 client, which might misread it, and not only to those "
        "that say UTF8 (RFC 6856); fetchmail and mpop do not",
    )
    parser.add_argument(
        "--max-size", type=int, default=32 << 20, metavar="BYTES", help="the largest message taken; 0 takes any"
    )
    parser.add_argument(
        "--trace", action="store_true", help="put Received and Return-Path on top of each message that is kept"
    )
    parser.add_argument("--print", action="store_true", help="print each message that is delivered")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the conversations on standard error")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C, then let what is under way finish."""
    try:
        asyncio.run(_serve(options))
    except KeyboardInterrupt:
        return 1  # the second one: something was cut off
    except (MailProtoError, OSError) as error:
        complain(f"{type(error).__name__}: {error}")
        return 1
    return 0


class _Host(MailHost):
    """The mail host, its conversations shown."""

    def on_connect(self, session: Session[Any]) -> None:
        """Have both sides of the conversation written to standard error."""
        session.conn.trace = Transcript(complain, f"{session.peer or 'unix'} ")


class _Shared(NamedTuple):
    """What the servers of all roles have in common."""

    handler: object
    tls: ssl.SSLContext | None
    mechanisms: ServerMechanisms


async def _serve(options: argparse.Namespace) -> None:
    host = (_Host if options.verbose else MailHost)(
        _open_drop(options),
        dict(options.user),
        options.domain,
        delivered=_print_message if options.print else None,
        trace=options.trace,
        login_delay=options.login_delay or 0,
    )
    shared = _Shared(
        aio.InThreads(host, *BLOCKING_HOOKS),
        _tls_context(options),
        _mechanisms(dict(options.user)),
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _ENDING:
        loop.add_signal_handler(number, stop.set)
    servers: list[Any] = []
    try:
        for role, place in _listeners(options):
            server = _make_server(role, place, shared, options)
            servers.append(server)
            await server.start()
            where = place if isinstance(place, Path) else f"{place.host} port {server.port}"
            say(f"{role.name}: listening on {where}")
        await stop.wait()
    finally:
        for number in _ENDING:
            loop.remove_signal_handler(number)  # who asks a second time does not want to wait
        await asyncio.gather(*(server.close() for server in servers))


def _listeners(options: argparse.Namespace) -> list[tuple[Role, Place]]:
    wanted = {role.name: place for role in ROLES if (place := getattr(options, role.name)) is not None}
    places = wanted or _DEFAULT_LISTENERS
    return [(role, places[role.name]) for role in ROLES if role.name in places]


def _make_server(role: Role, place: Place, shared: _Shared, options: argparse.Namespace) -> Any:
    if role.implicit_tls and shared.tls is None:
        raise SystemExit(f"--{role.name} needs --tls-cert")
    if role.lmtp and isinstance(place, HostPort) and place.port == _SMTP_PORT:
        raise SystemExit(f"LMTP must not be spoken on port {_SMTP_PORT} (RFC 2033 section 5)")
    # A host without users has no passwords that could be listened to.
    in_clear = options.allow_plaintext_auth or not options.user
    if (role.pop3 or role.submission) and shared.tls is None and not in_clear:
        complain(f"{role.name}: nobody can log in here without --tls-cert or --allow-plaintext-auth")
    config: SMTPServerConfig | POP3ServerConfig
    if role.pop3:
        config = POP3ServerConfig(
            allow_plaintext_auth=in_clear, login_delay=options.login_delay, utf8=options.pop3_utf8
        )
        make: Callable[..., Any] = aio.POP3Server
    else:
        config = SMTPServerConfig(
            hostname=options.hostname,
            max_message_size=options.max_size,
            allow_plaintext_auth=in_clear,
            require_auth=role.submission,
            require_tls=role.submission and not in_clear,
            lmtp=role.lmtp,
        )
        make = aio.SMTPServer
    where: dict[str, Any] = {"path": place} if isinstance(place, Path) else place._asdict()
    return make(
        shared.handler,
        **where,
        config=config,
        tls=shared.tls,
        implicit_tls=role.implicit_tls,
        mechanisms=shared.mechanisms,
    )


def _mechanisms(users: Mapping[str, Secret]) -> ServerMechanisms:
    """Return what a server knows; who has no key must not be told from the others by the iterations of SCRAM."""
    keys = (secret for secret in users.values() if isinstance(secret, ScramKey))
    return server_mechanisms(iterations=max((key.iterations for key in keys), default=ITERATIONS))


def _open_drop(options: argparse.Namespace) -> Callable[[str], Maildrop]:
    if options.maildir is None:
        return lambda _: MemoryMaildrop()
    root = MaildirRoot(options.maildir)
    return lambda user: root.maildir(user or SINGLE_DROP)


def _tls_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    certificate, key = options.tls_cert, options.tls_key
    if certificate is None:
        if key is not None:
            raise SystemExit("--tls-key needs --tls-cert")
        return None
    return aio.server_context(certificate, key)


def _seconds(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError("a delay is a whole number of seconds")
    return int(text)


_PRINTING = threading.Lock()
"""One message at a time: they are delivered in threads."""


def _print_message(user: str, envelope: Envelope) -> None:
    """Print a message. It is stored already: the client must not send it again because it cannot be shown."""
    with _PRINTING:
        if say(f"---------- MESSAGE FOLLOWS ---------- (for {user or 'everybody'})"):
            try:
                write(envelope)
            except OSError as error:
                complain(f"messages are printed no more: {error}")
            say("------------ END MESSAGE ------------")
