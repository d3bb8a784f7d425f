"""SCRAM (RFC 5802, RFC 7677): both sides prove that they know the password, and neither tells it.

With channel binding, as SCRAM-…-PLUS, both also prove that they speak over the same TLS session. The sides themselves
are in `mailproto.sasl.scram_client` and `mailproto.sasl.scram_server`; here is what they share.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from mailproto._core.codec import encode_base64
from mailproto.sasl.base import Channel
from mailproto.sasl.scram_key import HASHES, hash_size

PLUS = "-PLUS"
"""How the name of a mechanism with channel binding ends (RFC 5801 section 3.1)."""


def make_nonce() -> bytes:
    """Return 24 characters that nobody can foretell and that never come again."""
    return encode_base64(secrets.token_bytes(18))


@dataclass(frozen=True)
class Scram:
    """Both sides of SCRAM with one hash.

    Args:
        hash_name: ``SHA-1``, ``SHA-256`` or ``SHA-512``.
        plus: with channel binding.
        make_nonce: makes one side's part of the nonce.
    """

    reveals_secret: ClassVar[bool] = False

    hash_name: str = "SHA-256"
    plus: bool = False
    make_nonce: Callable[[], bytes] = field(default=make_nonce, kw_only=True)

    def __post_init__(self) -> None:
        hash_size(self.hash_name)

    @property
    def name(self) -> str:
        """The name of the mechanism."""
        return f"SCRAM-{self.hash_name}{PLUS if self.plus else ''}"

    def _sign(self, key: bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, HASHES[self.hash_name])


def offers_binding(channel: Channel) -> bool:
    """Say whether the server offers SCRAM with channel binding, whatever the hash."""
    return any(name.startswith("SCRAM-") and name.endswith(PLUS) for name in channel.offered)


def xor(left: bytes, right: bytes) -> bytes:
    """Return the exclusive-or of two strings of octets of the same length."""
    return bytes(a ^ b for a, b in zip(left, right, strict=True))
