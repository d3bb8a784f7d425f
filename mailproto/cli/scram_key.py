"""``python -m mailproto scram-key``: make of a password what a server keeps of it for SCRAM (RFC 5802 section 3).

What it prints is a line for ``serve --users``; what stands behind the colon is for `mailproto.sasl.ScramKey.parse`.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from mailproto.cli.options import ask_password, password_from_environment
from mailproto.cli.streams import complain, say
from mailproto.cli.users import user_name
from mailproto.errors import GrammarError
from mailproto.sasl import make_scram_key
from mailproto.sasl.scram_key import HASHES, ITERATIONS, MAX_ITERATIONS, MIN_ITERATIONS

_PREFIX = "SCRAM-"


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "scram-key",
        help="make what a server keeps of a password for SCRAM",
        description="Read a password from a terminal, where it is asked for twice, or a line of standard input, and "
        "print USER and what a server needs to check it with SCRAM. Who steals that cannot log in with it.",
    )
    parser.add_argument("user", type=user_name, metavar="USER", help="the name that the user logs in with")
    parser.add_argument(
        "--mechanism",
        choices=[_PREFIX + name for name in HASHES],
        default="SCRAM-SHA-256",
        help="what the key is for; 'serve' offers SCRAM-SHA-256, and that is the default",
    )
    parser.add_argument(
        "--iterations",
        type=_iterations,
        default=ITERATIONS,
        metavar="N",
        help=f"what each guess at the password costs; {ITERATIONS} by default",
    )
    parser.add_argument(
        "--password-env", metavar="VAR", help="take the password from this environment variable, do not read it"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the line of a user."""
    password = _read_password() if options.password_env is None else password_from_environment(options.password_env)
    try:
        key = make_scram_key(password, options.mechanism.removeprefix(_PREFIX), iterations=options.iterations)
    except GrammarError as error:
        complain(f"this password cannot be used: {error}")
        return 1
    return 0 if say(f"{options.user}:{key.format()}") else 1


def _read_password() -> str:
    """Return the password. It is never on the command line, where every user of the machine could read it."""
    if not sys.stdin.isatty():
        return _read_line()
    first, second = (ask_password(prompt) for prompt in ("Password: ", "The same again: "))
    if first != second:
        raise SystemExit("these are two passwords")
    return first


def _read_line() -> str:
    try:
        return sys.stdin.readline().removesuffix("\n")
    except (OSError, UnicodeDecodeError):
        raise SystemExit("there is no password that can be read") from None


def _iterations(text: str) -> int:
    if not (text.isascii() and text.isdigit() and MIN_ITERATIONS <= int(text) <= MAX_ITERATIONS):
        raise argparse.ArgumentTypeError(f"between {MIN_ITERATIONS} and {MAX_ITERATIONS}, or clients refuse")
    return int(text)
