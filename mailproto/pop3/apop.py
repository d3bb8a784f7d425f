"""APOP (RFC 1939 section 7): the timestamp, the digest, and the check of it.

Off by default on both sides. MD5 is broken where it matters here: who controls the timestamps can recover the
beginning of a password, unless the client insists on a timestamp that is a proper msg-id, which this one does.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

from mailproto.errors import GrammarError
from mailproto.sasl.base import Question
from mailproto.sasl.text import encode_utf8, saslprep

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+"
_TIMESTAMP = re.compile(rf"<{_ATOM}@(?:{_ATOM}|\[[!-Z^-~]+\])>")
_MAX_TIMESTAMP = 200


def check_timestamp(timestamp: str) -> None:
    """Raise `GrammarError` unless ``timestamp`` is a msg-id of RFC 5322 section 3.6.4, with its angle brackets."""
    if len(timestamp) > _MAX_TIMESTAMP or not _TIMESTAMP.fullmatch(timestamp):
        raise GrammarError(f"not a timestamp for APOP: {timestamp!a:.60}")


def make_timestamp() -> str:
    """Return a timestamp that no other session ever has, and nobody can foresee."""
    return f"<{secrets.token_hex(20)}@localhost>"


def find_timestamp(greeting: str) -> str | None:
    """Return the timestamp in the text of a greeting, None if there is none that may be used."""
    match = _TIMESTAMP.search(greeting) if greeting.count("<") == 1 else None
    return match[0] if match is not None and len(match[0]) <= _MAX_TIMESTAMP else None


def apop_digest(timestamp: str, secret: str) -> str:
    """Return the digest that proves the knowledge of ``secret``: 32 lower-case hexadecimal digits.

    A secret beyond ASCII is prepared with SASLprep, as a stored string (RFC 6856 section 2.2).

    Raises:
        GrammarError: it has characters that cannot be in a password.
    """
    prepared = secret if secret.isascii() else saslprep(secret, stored=True)
    return hashlib.md5(encode_utf8(timestamp + prepared)).hexdigest()


@dataclass(frozen=True, slots=True)
class ApopCheck(Question):
    """Does this user know the secret? The answer is true, or the name of the identity, or false.

    Checking it takes the secret itself, not a hash of it: ``return check.matches(secret_of(check.username))``.
    """

    username: str
    timestamp: str
    digest: str = field(repr=False)
    mechanism: str = "APOP"

    def matches(self, secret: str | None) -> bool:
        """Say whether the digest was made with ``secret``, in a time that tells nothing about it.

        For a user whom you do not know pass None, which takes as long.
        """
        try:
            expected = apop_digest(self.timestamp, secret or "")
        except GrammarError:
            expected = secrets.token_hex(16)  # no client can make a digest with it
        same = hmac.compare_digest(expected.encode("ascii"), self.digest.encode("utf-8"))
        return same and bool(secret)
