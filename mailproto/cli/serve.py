"""python -m mailproto serve: a small mail host. It takes mail for its users, keeps it, and hands it out.

It relays nothing: mail for anybody else is refused, whoever brings it.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable
from typing import Any

from mailproto import aio
from mailproto._flows.session import Session
from mailproto.cli.listeners import (
    LMTP,
    PLACES,
    POP3,
    POP3S,
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
from mailproto.cli.options import HostPort, count, named
from mailproto.cli.streams import complain, say, write
from mailproto.cli.users import by_name
from mailproto.maildrop import MaildirRoot, Maildrop, MemoryMaildrop
from mailproto.mailhost import BLOCKING_HOOKS, MailHost
from mailproto.pop3.config import POP3ServerConfig
from mailproto.smtp.config import SMTPServerConfig
from mailproto.smtp.events import Envelope

SINGLE_DROP = "inbox"
"""The Maildir of a host without users, below ``--maildir``."""

ROLES = (SMTP, SUBMISSION, SMTPS, LMTP, POP3, POP3S)
_DEFAULT = (SMTP, HostPort("127.0.0.1", 8025)), (POP3, HostPort("127.0.0.1", 8110))
_EPILOG = f"{PLACES} Without any, it listens for SMTP on 127.0.0.1:8025 and for POP3 on 127.0.0.1:8110."


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("serve", help="run a small mail host", description=__doc__, epilog=_EPILOG)
    add_listeners(
        parser,
        ROLES,
        without_users="Without users all local mail is kept together, and anybody on this machine may fetch it",
    )
    parser.add_argument("--maildir", metavar="DIR", help="keep mail in the Maildir DIR/NAME of each user")
    parser.add_argument(
        "--domain", action="append", default=[], metavar="NAME", help="a local domain; left out, every domain is"
    )
    parser.add_argument(
        "--login-delay", type=count, metavar="SECONDS", help="how long after a POP3 login the user may do so again"
    )
    parser.add_argument(
        "--no-pop3-utf8",
        action="store_false",
        dest="pop3_utf8",
        help="give mail with UTF-8 in its header to every POP3 client, which might misread it, and not only to those "
        "that say UTF8 (RFC 6856); fetchmail and mpop do not",
    )
    parser.add_argument(
        "--trace", action="store_true", help="put Received and Return-Path on top of each message that is kept"
    )
    parser.add_argument("--print", action="store_true", help="print each message that is delivered")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C, then let what is under way finish."""
    return run_to_end(_serve(options))


class _Host(MailHost):
    """The mail host, its conversations shown."""

    def on_connect(self, session: Session[Any]) -> None:
        """Have both sides of the conversation written to standard error."""
        show(session)


async def _serve(options: argparse.Namespace) -> None:
    host = (_Host if options.verbose else MailHost)(
        _open_drop(options),
        by_name(options.user),
        options.domain,
        delivered=_print_message if options.print else None,
        trace=options.trace,
        login_delay=options.login_delay or 0,
    )
    servers, handler = Servers(options), aio.InThreads(host, *BLOCKING_HOOKS)
    for role, place in listeners(options, ROLES, *_DEFAULT):
        servers.make(role, place, _config(role, options), handler)
    ending = Ending()
    async with servers.listening():
        await ending.wait()


def _config(role: Role, options: argparse.Namespace) -> SMTPServerConfig | POP3ServerConfig:
    if role.pop3:
        return POP3ServerConfig(
            allow_plaintext_auth=in_clear(options), login_delay=options.login_delay, utf8=options.pop3_utf8
        )
    return SMTPServerConfig(
        hostname=options.hostname,
        max_message_size=options.max_size,
        allow_plaintext_auth=in_clear(options),
        require_auth=role.submission,
        require_tls=role.submission and not in_clear(options),
        lmtp=role.lmtp,
    )


def _open_drop(options: argparse.Namespace) -> Callable[[str], Maildrop]:
    if options.maildir is None:
        return lambda _: MemoryMaildrop()
    with named("--maildir"):
        root = MaildirRoot(options.maildir)
    return lambda user: root.maildir(user or SINGLE_DROP)


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
