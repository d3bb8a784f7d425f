"""What a server keeps of a password for SCRAM (RFC 5802 section 3): enough to check it, not enough to use it.

Who steals the keys can guess at the passwords behind them, at the price of an iteration count for each guess, and
can pose as the server; but cannot log in.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

from mailproto._core.codec import decode_base64, encode_base64, parse_uint
from mailproto.errors import GrammarError
from mailproto.sasl.text import encode_utf8, saslprep

HASHES = {"SHA-1": "sha1", "SHA-256": "sha256", "SHA-512": "sha512"}
"""The hashes by the names that they have in SCRAM, and by those that hashlib has for them."""

MIN_ITERATIONS = 4096
"""What RFC 5802 section 5.1 and RFC 7677 section 4 want at least."""
MAX_ITERATIONS = 600_000
"""What a client computes at most: about half a second of a processor."""
ITERATIONS = 15_000
"""What a server asks for, unless told otherwise: the rule of thumb of RFC 7677 section 4."""
SALT_SIZE = 16

_LINE = re.compile(r"SCRAM-(SHA-[0-9]+)\$([0-9]{1,10}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")


@dataclass(frozen=True, slots=True)
class ScramKey:
    """The key of one user for one hash.

    Raises:
        GrammarError: the hash is none of SCRAM's, a key is not of its size, the salt is empty, or there are fewer
            than `MIN_ITERATIONS`.
    """

    hash_name: str
    iterations: int
    salt: bytes
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        size = hash_size(self.hash_name)
        if len(self.stored_key) != size or len(self.server_key) != size or not self.salt:
            raise GrammarError("not a SCRAM key: its parts are not of their sizes")
        check_iterations(self.iterations)

    @classmethod
    def parse(cls, line: str) -> ScramKey:
        """Return the key that `format` wrote, or PostgreSQL, whose form it is. `GrammarError` if nobody did."""
        match = _LINE.fullmatch(line)
        if match is None:
            raise GrammarError("not a SCRAM key")
        salt, stored_key, server_key = (decode_base64(part.encode("ascii")) for part in match.group(3, 4, 5))
        return cls(match[1], parse_uint(match[2].encode("ascii")), salt, stored_key, server_key)

    def format(self) -> str:
        """Return the key as one printable line: ``SCRAM-SHA-256$15000:salt$stored key:server key``."""
        salt, stored_key, server_key = (
            encode_base64(part).decode("ascii") for part in (self.salt, self.stored_key, self.server_key)
        )
        return f"SCRAM-{self.hash_name}${self.iterations}:{salt}${stored_key}:{server_key}"

    def matches(self, password: str) -> bool:
        """Say whether this is the key of ``password``, for the sake of PLAIN. It takes as long as making one.

        Ask the `decoy_scram_key` of a user who is not known, too: a quicker no would tell that he is not.
        """
        try:
            other = make_scram_key(password, self.hash_name, iterations=self.iterations, salt=self.salt)
        except GrammarError:
            return False
        return hmac.compare_digest(other.stored_key, self.stored_key)


@dataclass(frozen=True, slots=True)
class ScramPassword:
    """A password that is kept in clear, where a key is asked for. None is that of a user who is not known."""

    password: str | None = field(repr=False)


def make_scram_key(
    password: str, hash_name: str = "SHA-256", *, iterations: int = ITERATIONS, salt: bytes | None = None
) -> ScramKey:
    """Return a key for ``password``, which takes some milliseconds by design.

    Raises:
        GrammarError: the password is one that SASLprep does not allow to be stored, or the hash is none of SCRAM's.
    """
    hash_size(hash_name)
    salt = secrets.token_bytes(SALT_SIZE) if salt is None else salt
    salted = salt_password(prepare_password(password), hash_name, salt, iterations)
    return key_of_salted(salted, hash_name, salt, iterations)


def decoy_scram_key(
    secret: bytes, username: str, hash_name: str = "SHA-256", *, iterations: int = ITERATIONS
) -> ScramKey:
    """Return a key for a user who is not known, whom nobody can tell from one who is: no password fits.

    Args:
        secret: what the server keeps for this purpose. The same secret makes the same key at every login, as a user
            who is known has the same one.
        iterations: as many as real keys have here.
    """
    parts = [
        hmac.digest(secret, encode_utf8(f"{part}\0{hash_name}\0{username}"), HASHES[hash_name])
        for part in ("salt", "stored key", "server key")
    ]
    return ScramKey(hash_name, iterations, parts[0][:SALT_SIZE], parts[1], parts[2])


def prepare_password(password: str) -> bytes:
    """Return the password as SCRAM computes with it (RFC 5802 section 2.2)."""
    return encode_utf8(saslprep(password, stored=True))


def salt_password(password: bytes, hash_name: str, salt: bytes, iterations: int) -> bytes:
    """Return SaltedPassword of RFC 5802 section 3, which is what takes long."""
    return hashlib.pbkdf2_hmac(HASHES[hash_name], password, salt, iterations)


def key_of_salted(salted: bytes, hash_name: str, salt: bytes, iterations: int) -> ScramKey:
    """Return the key that a SaltedPassword makes."""
    stored = stored_key(client_key(salted, hash_name), hash_name)
    return ScramKey(hash_name, iterations, salt, stored, server_key(salted, hash_name))


def client_key(salted: bytes, hash_name: str) -> bytes:
    """Return ClientKey of RFC 5802 section 3."""
    return hmac.digest(salted, b"Client Key", HASHES[hash_name])


def stored_key(client_key: bytes, hash_name: str) -> bytes:
    """Return StoredKey of RFC 5802 section 3, of which nobody can tell the ClientKey."""
    return hashlib.new(HASHES[hash_name], client_key).digest()


def server_key(salted: bytes, hash_name: str) -> bytes:
    """Return ServerKey of RFC 5802 section 3."""
    return hmac.digest(salted, b"Server Key", HASHES[hash_name])


def hash_size(hash_name: str) -> int:
    """Return the octets of a hash; `GrammarError` if it is none of SCRAM's."""
    if hash_name not in HASHES:
        raise GrammarError(f"not a hash of SCRAM's: {hash_name!a:.20}")
    return hashlib.new(HASHES[hash_name]).digest_size


def check_iterations(iterations: int) -> None:
    """Raise `GrammarError` if these are too few for a server to ask for."""
    if iterations < MIN_ITERATIONS:
        raise GrammarError(f"fewer than {MIN_ITERATIONS} iterations are too few")
