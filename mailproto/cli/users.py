"""The users of ``python -m mailproto serve``: names, and what is kept of their passwords."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mailproto.cli.options import UsageError
from mailproto.errors import GrammarError
from mailproto.maildrop import is_safe_name
from mailproto.mailhost import Secret
from mailproto.sasl import ScramKey

_HASH_NAME = "SHA-256"  # what servers offer by default: a client would take a stronger one, for which there is no key


def user_name(text: str) -> str:
    """Return the name of a user, which names a directory, too."""
    if ":" in text or not is_safe_name(text):
        raise argparse.ArgumentTypeError("the name of a user has to be one that may name a directory")
    return text


def user(text: str) -> tuple[str, Secret]:
    """Return the name and the secret that ``NAME:PASSWORD`` or ``NAME:KEY`` says."""
    name, _, secret = text.partition(":")
    if not secret:
        raise argparse.ArgumentTypeError("a user is NAME:PASSWORD, or NAME:KEY as 'scram-key' prints it")
    return user_name(name), _key(secret) if secret.startswith("SCRAM-") else secret


def read_users(path: str) -> list[tuple[str, Secret]]:
    """Return the users in a file, one a line. Without any, the host would be open to everybody on the machine."""
    try:
        lines = Path(path).read_text("utf-8").split("\n")  # a password may have what else Python takes for a line end
    except OSError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    except UnicodeDecodeError as error:
        raise argparse.ArgumentTypeError(f"{path}: {error}") from None
    users = [_user_at(f"{path}, line {number}", line) for number, line in enumerate(lines, 1) if line]
    if not users:
        raise argparse.ArgumentTypeError(f"no user in {path}")
    return users


def _user_at(where: str, line: str) -> tuple[str, Secret]:
    try:
        return user(line)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{where}: {error}") from None


def by_name(users: Sequence[tuple[str, Secret]]) -> dict[str, Secret]:
    """Return the secrets of the users by name. Of two passwords nobody could tell which one counts."""
    secrets: dict[str, Secret] = {}
    for name, secret in users:
        if name in secrets:
            raise UsageError(f"the user {name} is given twice")
        secrets[name] = secret
    return secrets


def _key(text: str) -> ScramKey:
    """Return a key. What only looks like one is a mistake, and surely nobody's password."""
    try:
        key = ScramKey.parse(text)
    except GrammarError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if key.hash_name != _HASH_NAME:
        raise argparse.ArgumentTypeError(f"a key has to be one for SCRAM-{_HASH_NAME}")
    return key
