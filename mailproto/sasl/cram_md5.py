"""CRAM-MD5 (RFC 2195): a digest of a challenge and the password. Off by default on both sides.

It hides the password from who listens, but neither proves the server nor stops guessing, and the server has to keep
the password itself (RFC 6331 says the like of its successor). SCRAM does better at every point.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from mailproto.errors import AuthenticationError, GrammarError
from mailproto.sasl.base import (
    Challenge,
    ClientExchange,
    Credentials,
    InitialResponseError,
    Question,
    ServerExchange,
)
from mailproto.sasl.identity import identify
from mailproto.sasl.text import comparable, decode_utf8, encode_utf8

_RESPONSE = re.compile(rb"([^\x00]+) ([0-9a-f]{32})", re.DOTALL)


class CramMD5:
    """Both sides of CRAM-MD5."""

    name = "CRAM-MD5"
    reveals_secret = False


class CramMD5Client(CramMD5):
    """The client's side."""

    def fits(self, credentials: Credentials) -> bool:
        """Say whether there is a user name and a password, and nobody else to act as."""
        return bool(credentials.username and credentials.password) and credentials.authzid is None

    def start(self, credentials: Credentials) -> ClientExchange:
        """Wait for the challenge, then yield the name and the digest.

        Raises:
            GrammarError: the name or the password is empty, or there is an ``authzid``.
            AuthenticationError: the server says yes without having asked.
        """
        if not self.fits(credentials):
            raise GrammarError("CRAM-MD5 takes a user name and a password, and nothing else")
        username = encode_utf8(credentials.username)
        challenge = yield None
        if challenge is None:
            raise AuthenticationError("the server accepted a login that it has not seen")
        yield b"%s %s" % (username, _digest(credentials.password, challenge))


@dataclass(frozen=True, slots=True)
class CramMD5Check(Question):
    """Does this user know the password? The answer is true, or the name of the identity, or false.

    Checking it takes the password itself, not a hash of it: ``return check.matches(password_of(check.username))``.
    """

    username: str
    challenge: bytes
    digest: bytes = field(repr=False)
    mechanism: str = "CRAM-MD5"

    def matches(self, password: str | None) -> bool:
        """Say whether the digest was made with ``password``, in a time that tells nothing about it.

        RFC 2195 does not say whether passwords are prepared, so some clients do it and others do not; both will do.
        For a user whom you do not know pass None, which takes as long.
        """
        forms = (password or "", comparable(password or ""))
        same = [hmac.compare_digest(_digest(form, self.challenge), self.digest) for form in forms]
        return any(same) and bool(password)


def make_challenge() -> bytes:
    """Return a challenge that no other exchange ever has: a msg-id, as RFC 2195 section 2 wants it."""
    return b"<%s@localhost>" % secrets.token_hex(20).encode("ascii")


@dataclass(frozen=True)
class CramMD5Server(CramMD5):
    """The server's side."""

    make_challenge: Callable[[], bytes] = make_challenge

    def start(self, initial_response: bytes | None) -> ServerExchange:
        """Send a challenge, then ask the application for its opinion of the answer."""
        if initial_response is not None:
            raise InitialResponseError("the server begins")
        challenge = self.make_challenge()
        response = yield Challenge(challenge)
        match = _RESPONSE.fullmatch(response)
        if match is None:
            raise GrammarError("not a name and a digest")
        check = CramMD5Check(decode_utf8(match[1]), challenge, match[2])
        answer = yield check
        return identify(check, answer)


def _digest(password: str, challenge: bytes) -> bytes:
    return hmac.digest(encode_utf8(password), challenge, "md5").hex().encode("ascii")
