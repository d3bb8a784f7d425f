"""How a server's exchange ends: with who the client is, and with whom it may act as, which is another question."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from mailproto.errors import GrammarError
from mailproto.sasl.base import Identity, Question
from mailproto.sasl.text import comparable, encode_utf8, saslprep

AUTH_HOOKS = ("on_auth", "on_scram_key", "on_authorize")
"""The names of the hooks that mechanisms ask; what they are asked stands at the head of `mailproto.sasl`."""

_REFUSAL = re.compile("[45][0-9]{2} ")


@dataclass(frozen=True, slots=True)
class PasswordCheck(Question):
    """Is this the password of that user? The answer is true, or the name of the identity, or false.

    ``authzid`` is whom the client wants to act as, None if itself. It is no part of this question: whether it may is
    asked as `Authorization` afterwards.
    """

    mechanism: str
    username: str
    password: str = field(repr=False)
    authzid: str | None = None

    def matches(self, password: str | None) -> bool:
        """Say whether ``password``, which is on file in clear, is the one given, in a time that tells nothing.

        Both are prepared with SASLprep (RFC 4616 section 2), and what that refuses is compared as it is. For a user
        whom you do not know pass None, which takes as long.
        """
        same = hmac.compare_digest(_digest(self.password), _digest(password or ""))
        return same and bool(password)


@dataclass(frozen=True, slots=True)
class Authorization(Question):
    """May ``identity``, which has proved who it is, act as ``authzid``? Where nobody answers it, the answer is no.

    The hook is called as ``on_authorize(session, identity, authzid)``.
    """

    hook: ClassVar[str] = "on_authorize"

    identity: Identity
    authzid: str

    def arguments(self) -> tuple[Any, ...]:
        """Return the identity, and whom it wants to act as."""
        return (self.identity, self.authzid)


class Claim(Protocol):
    """A check of who somebody is that tells who he says that he is."""

    @property
    def mechanism(self) -> str:
        """The name of the mechanism."""

    @property
    def username(self) -> str:
        """Who the client says that it is."""


def identify(check: Claim, answer: object) -> Identity | None:
    """Return the identity that the application's ``answer`` to ``check`` stands for, None if it said no."""
    name = name_of(answer, check.username)
    return Identity(name, check.mechanism) if name else None


def name_of(answer: object, name: str) -> str:
    """Return whose name the application's ``answer`` to a check stands for: ``name`` if it is true, another one that
    it says itself, and ``""`` for no.

    All else is a no as well. A `Reply` that refuses would be true, or what other libraries have their hooks return;
    and a text such as ``535 no``, which is how they write it, would be a name.
    """
    if answer is True:
        return name
    return answer if isinstance(answer, str) and not _REFUSAL.match(answer) else ""


def authorize(
    identity: Identity | None, authzid: str | None, username: str | None = None
) -> Generator[Question, Any, Identity | None]:
    """Return the identity with whom it may act as, None if it may not: the last step of every exchange.

    To act as somebody else is a decision of its own, which no password makes (RFC 4616 section 2).

    Args:
        identity: who the client has proved to be, None if it failed.
        authzid: whom it wants to act as, prepared; None or its own name means itself.
        username: the name it came with, where the application may know it by another.
    """
    if identity is None or authzid is None or authzid in map(comparable, (identity.name, username or "")):
        return identity
    if not name_of((yield Authorization(identity, authzid)), authzid):
        return None
    return Identity(identity.name, identity.mechanism, authzid)


def prepare_authzid(text: str) -> str | None:
    """Return an authorization identity as SMTP and POP3 compare it (RFC 4954 section 4), None for ``""``.

    Raises:
        GrammarError: SASLprep refuses it.
    """
    return saslprep(text) if text else None


def _digest(password: str) -> bytes:
    """Return a digest to compare, so that no length shows. What UTF-8 cannot say is equal to nothing."""
    try:
        return hashlib.sha256(encode_utf8(comparable(password))).digest()
    except GrammarError:
        return secrets.token_bytes(hashlib.sha256().digest_size)
