"""Who has an account on a server, and whether a login is his: one check for SMTP and POP3, and for all mechanisms."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from mailproto._core.checks import check_kind
from mailproto.errors import GrammarError
from mailproto.pop3.apop import ApopCheck
from mailproto.sasl.base import Question
from mailproto.sasl.cram_md5 import CramMD5Check
from mailproto.sasl.identity import PasswordCheck
from mailproto.sasl.scram_key import ScramKey, ScramPassword, decoy_scram_key
from mailproto.sasl.scram_server import ScramKeyRequest
from mailproto.sasl.text import comparable

__all__ = ["Accounts", "Secret"]

Secret: TypeAlias = str | ScramKey
"""What a host keeps of a user's password: itself, or what SCRAM needs, which cannot be used to log in."""


class Accounts:
    """Users and their secrets. Names are compared as SASLprep has them, however they are written.

    Args:
        users: user name to password, or to a key made of it for SCRAM-SHA-256; with keys among them a check of a
            password takes some milliseconds.
        secret: keeps what SCRAM tells about users who are not known the same when the server starts again, as that
            of `server_mechanisms` does. Without one it is made up now.

    Raises:
        GrammarError: two users have names that no login can tell apart.
        TypeError: that is no mapping, what is kept of a user neither text nor a key, or the secret no octets.
    """

    def __init__(self, users: Mapping[str, Secret], *, secret: bytes | None = None) -> None:
        check_kind("users", users, Mapping)
        if not all(isinstance(secret, str | ScramKey) for secret in users.values()):  # which no message is to show
            raise TypeError("what is kept of a user is his password, or a ScramKey")
        self._secrets = {comparable(name): secret for name, secret in users.items()}
        if len(self._secrets) < len(users):
            raise GrammarError("two users with names that SASLprep makes the same")
        keys = [secret for secret in self._secrets.values() if isinstance(secret, ScramKey)]
        iterations = max((key.iterations for key in keys), default=0)
        # Not of the keys, though they stay the same as well: who guesses at a password could see that he is right.
        self._mask = secrets.token_bytes(32) if secret is None else secret
        check_kind("secret", self._mask, bytes)
        self._decoy = decoy_scram_key(self._mask, "", iterations=iterations) if keys else None
        self._kept = tuple(self._secrets.values())

    def __len__(self) -> int:
        return len(self._secrets)

    def __iter__(self) -> Iterator[str]:
        """Yield the names of all users as they are compared, in the order in which they were given."""
        return iter(self._secrets)

    def __contains__(self, name: str) -> bool:
        """Say whether this is the name of a user, as it is compared."""
        return name in self._secrets

    def check(self, check: Question) -> bool:
        """Say whether a password is right; an unknown user costs what a known one costs."""
        if not isinstance(check, PasswordCheck | CramMD5Check | ApopCheck):
            return False
        name = comparable(check.username)
        secret = self._secrets.get(name)
        right = check.matches(secret if isinstance(secret, str) else None)
        if self._decoy is not None and isinstance(check, PasswordCheck):
            kept = secret if secret is not None else self._kept_of_nobody(name)
            right = (kept if isinstance(kept, ScramKey) else self._decoy).matches(check.password) or right
        return right

    def scram_secret(self, request: ScramKeyRequest) -> ScramKey | ScramPassword | None:
        """Return the key of a user, or the password that SCRAM makes one of, which takes longer."""
        secret = self._secrets.get(request.username)
        kept = secret if secret is not None else self._kept_of_nobody(request.username)
        return kept if isinstance(kept, ScramKey) else ScramPassword(kept)

    def _kept_of_nobody(self, name: str) -> ScramKey | None:
        """Return what could be kept for a name that nobody has, None for a password.

        It is of the kind of one of the users', always the same one's: so as many names have keys, and keys that take
        so long, as among the users.
        """
        digest = hmac.digest(self._mask, name.encode("utf-8"), "sha256")
        model = self._kept[int.from_bytes(digest[:8], "big") % len(self._kept)] if self._kept else ""
        if not isinstance(model, ScramKey):
            return None
        return decoy_scram_key(self._mask, name, model.hash_name, iterations=model.iterations)
