"""What the commands have in common: addresses, passwords, TLS, and how they show that they get on."""

from __future__ import annotations

import argparse
import getpass
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mailproto._core.policy import TLSPolicy
from mailproto._net.sockets import check_host
from mailproto.errors import GrammarError, MailProtoError
from mailproto.smtp.flows.client import RELAY_PORT


class UsageError(SystemExit):
    """Ends a command that cannot begin, because something is missing or makes no sense, with this text."""


class HostPort(NamedTuple):
    """Where to listen, or whom to connect to. ``port`` is None where it was left out."""

    host: str
    port: int | None


class Descriptor(NamedTuple):
    """A socket to listen on that is there already: opened, and handed down, by whatever has started the command."""

    number: int


class NextPlace(NamedTuple):
    """Where mail is handed to, and whether by LMTP."""

    place: HostPort | Path
    lmtp: bool


def host_port(text: str) -> HostPort:
    """Return the place that ``HOST:PORT``, ``HOST``, ``[IPV6]:PORT`` or ``:PORT`` names.

    That nothing is said may be a variable of a shell that is empty, and means no place, not even this machine.
    """
    if not text:
        raise argparse.ArgumentTypeError("the host is missing")
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = text, ""
    if (":" in host and not host.startswith("[")) or host.startswith("[") != host.endswith("]"):
        raise argparse.ArgumentTypeError(f"put an IPv6 address in brackets: {text}")
    if port and not (port.isascii() and port.isdigit() and int(port) <= 0xFFFF):
        raise argparse.ArgumentTypeError(f"not a port: {port}")
    return HostPort(host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port) if port else None)


def listening_place(text: str) -> HostPort | Path | Descriptor:
    """Return the place to listen that ``text`` names: with its port, which may be 0, a path if it has a slash, or
    ``fd:`` and a number."""
    if "/" in text:
        return Path(text)
    if text.startswith("fd:"):
        return Descriptor(count(text.removeprefix("fd:")))
    place = host_port(text)
    if place.port is None:
        raise argparse.ArgumentTypeError(f"the port is missing, as in 127.0.0.1:25: {text}")
    return place


def next_place(text: str) -> NextPlace:
    """Return where mail is handed over, as ``text`` says: at ``HOST[:PORT]``, or at a path if it has a slash, with
    ``lmtp:`` in front if LMTP is spoken there. But ``lmtp:24`` is a host of that name."""
    lmtp = text.startswith("lmtp:") and not text.removeprefix("lmtp:").isdigit()
    rest = text.removeprefix("lmtp:") if lmtp else text
    if "/" in rest:
        if rest.startswith("//") or ":" in rest.partition("/")[0]:  # such as unix:/path, or smtp://host
            raise argparse.ArgumentTypeError(f"nothing but lmtp: may stand before a path: {text}")
        return NextPlace(Path(rest), lmtp)
    place = host_port(rest)
    checked(check_host)(place.host)
    if lmtp and place.port == RELAY_PORT:
        raise argparse.ArgumentTypeError(f"LMTP must not be spoken on port {RELAY_PORT} (RFC 2033 section 5)")
    return NextPlace(place, lmtp)


def checked(check: Callable[[str], object]) -> Callable[[str], str]:
    """Return the type of an option whose value is text that ``check`` does not raise `GrammarError` for."""

    def convert(text: str) -> str:
        try:
            check(text)
        except GrammarError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return text

    return convert


@contextmanager
def named(option: str) -> Iterator[None]:
    """Do meanwhile what the value of an option is for, and name the option if that fails."""
    try:
        yield
    except (MailProtoError, OSError) as error:
        raise UsageError(f"{option}: {error}") from None


def count(text: str) -> int:
    """Return the whole number, not negative, that ``text`` is."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"not a whole number: {text}")
    return int(text)


def days(text: str) -> float:
    """Return the number of days, not negative, that ``text`` is."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"not a number of days: {text}")
    return number


def readable_text(argument: str) -> str:
    """Return an argument that is text, and not octets that nobody can read."""
    try:
        argument.encode("utf-8")
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("not UTF-8") from None
    return argument


def _tls_policy(text: str) -> TLSPolicy:
    try:
        return TLSPolicy(text)
    except ValueError:
        policies = ", ".join(policy.value for policy in TLSPolicy)
        raise argparse.ArgumentTypeError(f"{text} is none of {policies}") from None


def add_server_options(parser: argparse.ArgumentParser, *, user_required: bool) -> None:
    """Add what tells whom to connect to, and as whom."""
    parser.add_argument("--server", required=True, type=host_port, metavar="HOST[:PORT]", help="the server")
    add_tls_options(parser)
    parser.add_argument(
        "--user", required=user_required, type=readable_text, metavar="NAME", help="log in as this user"
    )
    parser.add_argument(
        "--password-env", metavar="VAR", help="take the password from this environment variable, do not ask for it"
    )
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the conversation on standard error")


def add_tls_options(parser: argparse._ActionsContainer) -> None:
    """Add what tells how a client secures its connection."""
    parser.add_argument(
        "--tls",
        type=_tls_policy,
        metavar="{none,opportunistic,required,implicit}",
        help="how much TLS it takes; left out it is what the port is for. 'none' sends a password in clear, too",
    )
    parser.add_argument("--cafile", metavar="FILE", help="trust the authorities in this PEM file, not the system's")


def client_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of a client for these options."""
    return {
        "host": options.server.host,
        "port": options.server.port,
        "tls": options.tls,
        "cafile": options.cafile,
        "user": options.user,
        "password": read_password(options, options.user) if options.user is not None else None,
        "allow_plaintext_auth": options.tls is TLSPolicy.NONE,
    }


def read_password(options: argparse.Namespace, user: str) -> str:
    """Return the password of a user, which is never on the command line, where all of the machine could read it."""
    if options.password_env is not None:
        return password_from_environment(options.password_env)
    return ask_password(f"Password of {user}: ")


def ask_password(prompt: str) -> str:
    """Return the password that somebody types."""
    try:
        return getpass.getpass(prompt)
    except (EOFError, OSError):
        raise UsageError("nobody types a password: name a variable with --password-env") from None
    except UnicodeDecodeError:
        raise UsageError("a password that cannot be read as text") from None


def password_from_environment(name: str) -> str:
    """Return the password in this environment variable."""
    try:
        return os.environ[name]
    except KeyError:
        raise UsageError(f"there is no environment variable {name}") from None


_LONG = 1 << 20
"""Octets from which on a job is long."""


class Progress:
    """A line on a terminal's standard error that tells how far a long job is.

    Args:
        what: what is done with octets.
        total: how many there are; None where that is not known.
        wanted: False where there is no room for the line, which something else is shown on.

    Attributes:
        shown: whether there is such a line: not if the job is short, or there is no terminal, or it is not wanted.
    """

    def __init__(self, what: str, total: int | None, *, wanted: bool) -> None:
        self.shown = wanted and (total is None or total >= _LONG) and sys.stderr.isatty()
        self._what = what
        self._total = total
        self._step = 0 if total is None else -1  # what may be a short job says nothing at first
        self._said = False

    def show(self, done: int) -> None:
        """Tell that so many octets are done."""
        if not self.shown:
            return
        step, unit = (done // _LONG, "MiB") if self._total is None else (100 * done // self._total, "%")
        if step != self._step:
            self._step, self._said = step, True
            print(f"\r{self._what}: {step:3} {unit}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self._said:
            print(file=sys.stderr)
