"""The server's side of SCRAM: it needs keys, not passwords, and does not tell who has one."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mailproto._core.codec import encode_base64
from mailproto.errors import GrammarError
from mailproto.sasl import scram_messages as messages
from mailproto.sasl.base import (
    Challenge,
    Channel,
    ChannelRequest,
    Compute,
    Identity,
    Question,
    Request,
    ServerExchange,
)
from mailproto.sasl.binding import server_bindings
from mailproto.sasl.identity import authorize, prepare_authzid
from mailproto.sasl.scram import Scram, offers_binding, xor
from mailproto.sasl.scram_key import (
    ITERATIONS,
    ScramKey,
    ScramPassword,
    check_iterations,
    decoy_scram_key,
    key_of_salted,
    prepare_password,
    salt_password,
    stored_key,
)
from mailproto.sasl.text import saslprep


@dataclass(frozen=True, slots=True)
class ScramKeyRequest(Question):
    """What is this user's key? The answer is a `ScramKey` of that hash, a `ScramPassword`, or None if nobody's.

    ``username`` is prepared with SASLprep. Whether the client has the password is not for the application to check.
    """

    hook: ClassVar[str] = "on_scram_key"

    username: str
    hash_name: str
    mechanism: str


@dataclass(frozen=True)
class ScramServer(Scram):
    """The server's side.

    A user who is not known gets a challenge like everybody else, the same at every login, and fails at the end.

    Args:
        secret: what those challenges are made from. Keep it, for they change with it, and nobody else's do.
        iterations: of those challenges, and of passwords that are kept in clear: as many as real keys have here.

    Raises:
        GrammarError: the hash is none of SCRAM's, or there are fewer than `MIN_ITERATIONS`.
    """

    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), kw_only=True, repr=False)
    iterations: int = field(default=ITERATIONS, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_iterations(self.iterations)

    def start(self, initial_response: bytes | None) -> ServerExchange:
        """Ask for the user's key, have the client prove itself, then prove that we have the key."""
        response = initial_response
        if response is None:
            response = yield Challenge(b"")
        client = messages.parse_client_first(response)
        username, authzid = saslprep(client.username), prepare_authzid(client.authzid or "")
        channel: Channel = yield ChannelRequest()
        binding = self._bind(client, channel)
        if binding is None:
            return None
        answer = yield ScramKeyRequest(username, self.hash_name, self.name)
        signature = yield from self._verify(client, client.header + binding, answer, self._decoy(username))
        if signature is None:
            return None
        identity = yield from authorize(Identity(username, self.name), authzid)
        if identity is not None and (yield Challenge(b"v=" + encode_base64(signature))):
            raise GrammarError("a response where there is nothing to say")
        return identity

    def _bind(self, client: messages.ClientFirst, channel: Channel) -> bytes | None:
        """Return the channel binding data that the client has to know, None if it binds as it must not.

        A client that only believes that we do not bind was told so by somebody else (RFC 5802 section 6).
        """
        if self.plus != (client.binding is not None) or (client.flag == "y" and offers_binding(channel)):
            return None
        if client.binding is None:
            return b""
        return server_bindings(channel.tls).get(client.binding)

    def _verify(
        self, client: messages.ClientFirst, binding: bytes, answer: object, decoy: ScramKey
    ) -> Generator[Challenge | Request, Any, bytes | None]:
        """Return the signature that proves us to the client, None if it has not proved itself."""
        known = isinstance(answer, ScramKey) and answer.hash_name == self.hash_name
        key = answer if isinstance(answer, ScramKey) and known else decoy
        nonce = client.nonce + self.make_nonce()
        challenge = messages.server_first(messages.ServerFirst(nonce, key.salt, key.iterations))
        final = messages.parse_client_final((yield Challenge(challenge)))
        if isinstance(answer, ScramPassword):
            key = yield from self._derive(answer, decoy)
        signed = b",".join((client.bare, challenge, final.without_proof))
        right = (
            hmac.compare_digest(final.nonce, nonce),
            hmac.compare_digest(final.binding, binding),
            self._proves(final.proof, key, signed),
        )
        return self._sign(key.server_key, signed) if all(right) else None

    def _proves(self, proof: bytes, key: ScramKey, signed: bytes) -> bool:
        """Say whether the proof was made by who knows the password (RFC 5802 section 3)."""
        signature = self._sign(key.stored_key, signed)
        if len(proof) != len(signature):
            raise GrammarError("a proof that is not of the size of the hash")
        return hmac.compare_digest(stored_key(xor(proof, signature), self.hash_name), key.stored_key)

    def _decoy(self, username: str) -> ScramKey:
        return decoy_scram_key(self.secret, username, self.hash_name, iterations=self.iterations)

    def _derive(self, answer: ScramPassword, decoy: ScramKey) -> Generator[Request, Any, ScramKey]:
        """Return the key of a password that is kept in clear; that of nobody's takes as long, and nothing fits it."""
        try:
            password = prepare_password(answer.password or "")
        except GrammarError:
            password = b""
        salted = yield Compute(salt_password, (password, self.hash_name, decoy.salt, decoy.iterations))
        return key_of_salted(salted, self.hash_name, decoy.salt, decoy.iterations) if password else decoy
