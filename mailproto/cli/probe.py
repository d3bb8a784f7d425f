"""python -m mailproto probe: see what a server offers, and whether one gets in, without sending or fetching."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from mailproto import sync
from mailproto._core.events import TLSInfo
from mailproto.cli.options import UsageError, add_server_options, client_arguments
from mailproto.cli.streams import complain, print_json, say, words_of
from mailproto.errors import MailProtoError
from mailproto.transcript import Transcript

_POP3_PORTS = frozenset({110, 995})


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("probe", help="see what a server offers", description=__doc__)
    add_server_options(parser, user_required=False)
    parser.add_argument(
        "--pop3", action="store_true", help="it is a POP3 server, which on ports 110 and 995 need not be said"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Connect, secure the connection, log in if there is a user, leave; the exit status is 0 if all that works."""
    found: dict[str, Any] = {}
    error: BaseException | None = None
    try:
        found = _look_at_pop3(options) if _is_pop3(options) else _look_at_smtp(options)
    except (MailProtoError, OSError, KeyboardInterrupt, UsageError) as raised:
        error = raised
    if options.json:
        print_json({"ok": error is None, **found, "error": type(error).__name__ if error is not None else None})
    if isinstance(error, UsageError):
        raise error
    if error is not None:
        complain(words_of(error))
    elif not options.json:
        say("\n".join(_lines(found)))
    return 0 if error is None else 1


def _is_pop3(options: argparse.Namespace) -> bool:
    return options.pop3 or options.server.port in _POP3_PORTS


def _look_at_smtp(options: argparse.Namespace) -> dict[str, Any]:
    client = sync.SMTPClient(**client_arguments(options))
    with _shown(client, options):
        report = client.report()
    limits = report.limits
    return {
        "protocol": "SMTP",
        "name": report.name,
        "tls": _tls(report.tls),
        "auth": list(report.auth_mechanisms),
        "max_message_size": report.max_message_size,
        "limits": {"mail": limits.mail_max, "rcpt": limits.rcpt_max, "rcpt_domains": limits.rcpt_domain_max},
        "extensions": report.extensions,
    }


def _look_at_pop3(options: argparse.Namespace) -> dict[str, Any]:
    client = sync.POP3Client(**client_arguments(options))
    with _shown(client, options):
        report = client.report()
    capabilities = report.capabilities
    return {
        "protocol": "POP3",
        "name": capabilities.implementation,
        "tls": _tls(report.tls),
        "auth": list(report.auth_mechanisms),
        "login_delay": capabilities.login_delay,
        "capabilities": {tag: " ".join(words) for tag, words in capabilities.items()},
    }


def _shown(client: Any, options: argparse.Namespace) -> Any:
    """Return the client, which shows its conversation if that is wanted."""
    if options.verbose:
        client.conn.trace = Transcript(complain)
    return client


def _tls(info: TLSInfo | None) -> dict[str, str] | None:
    return {"version": info.version, "cipher": info.cipher} if info is not None else None


def _lines(found: dict[str, Any]) -> Iterator[str]:
    """Return what was found, for people; a dash is what the server does not say or have."""
    for what, value in found.items():
        label = what.replace("_", " ")
        if isinstance(value, dict):
            yield f"{label}:"
            yield from (f"  {name} {'-' if words is None else words}".rstrip() for name, words in value.items())
        else:
            words = " ".join(value) if isinstance(value, list) else value
            yield f"{label}: {words or '-'}"
