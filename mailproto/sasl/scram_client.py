"""The client's side of SCRAM."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from mailproto._core.codec import encode_base64
from mailproto.errors import AuthenticationError, GrammarError
from mailproto.sasl import scram_messages as messages
from mailproto.sasl.base import Channel, ChannelRequest, ClientExchange, Compute, Credentials
from mailproto.sasl.identity import prepare_authzid
from mailproto.sasl.scram import Scram, offers_binding, xor
from mailproto.sasl.scram_key import (
    MAX_ITERATIONS,
    MIN_ITERATIONS,
    client_key,
    prepare_password,
    salt_password,
    server_key,
    stored_key,
)
from mailproto.sasl.text import saslprep


@dataclass(frozen=True)
class ScramClient(Scram):
    """The client's side.

    Args:
        min_iterations: with fewer, whoever listens could guess the password too cheaply.
        max_iterations: with more, a server could keep us computing.
    """

    min_iterations: int = field(default=MIN_ITERATIONS, kw_only=True)
    max_iterations: int = field(default=MAX_ITERATIONS, kw_only=True)

    def fits(self, credentials: Credentials) -> bool:
        """Say whether there is a user name, and a password that SASLprep lets through."""
        try:
            return bool(credentials.username and prepare_password(credentials.password))
        except GrammarError:
            return False

    def start(self, credentials: Credentials) -> ClientExchange:
        """Yield the user name, then a proof, then, once the server has proved itself too, nothing.

        Raises:
            GrammarError: SASLprep refuses the user name or the password.
            AuthenticationError: there is nothing to bind to, or the server cannot be trusted, or speaks no SCRAM.
        """
        username, password = saslprep(credentials.username), prepare_password(credentials.password)
        channel: Channel = yield ChannelRequest()
        header, binding = self._bind(channel, prepare_authzid(credentials.authzid or ""))
        nonce = self.make_nonce()
        bare = messages.client_first_bare(username, nonce)
        answer = yield header + bare
        first = self._read_server_first(answer, nonce)
        salted: bytes = yield Compute(salt_password, (password, self.hash_name, first.salt, first.iterations))
        without_proof = messages.client_final_without_proof(header + binding, first.nonce)
        signed = b",".join((bare, answer, without_proof))
        key = client_key(salted, self.hash_name)
        proof = xor(key, self._sign(stored_key(key, self.hash_name), signed))
        answer = yield b"%s,p=%s" % (without_proof, encode_base64(proof))
        self._verify(answer, self._sign(server_key(salted, self.hash_name), signed))
        yield b""

    def _bind(self, channel: Channel, authzid: str | None) -> tuple[bytes, bytes]:
        """Return the GS2 header and the channel binding data.

        A client that could bind says so where no server offers it: a server that did will know that somebody has
        taken it out of the offer (RFC 5802 section 6).
        """
        if not self.plus:
            could_bind = bool(channel.bindings) and not offers_binding(channel)
            return messages.gs2_header(None, authzid, could_bind=could_bind), b""
        for name, data in channel.bindings.items():
            return messages.gs2_header(name, authzid), data
        raise AuthenticationError("there is nothing to bind the login to in this TLS session")

    def _read_server_first(self, answer: bytes | None, nonce: bytes) -> messages.ServerFirst:
        if answer is None:
            raise AuthenticationError("the server said yes before it could know anything")
        if answer.startswith(b"e="):
            _read_server_final(answer)
        try:
            first = messages.parse_server_first(answer)
        except GrammarError as error:
            raise AuthenticationError(f"the server does not speak SCRAM: {error}") from None
        if not first.nonce.startswith(nonce) or len(first.nonce) == len(nonce):
            raise AuthenticationError("the server's nonce does not continue ours")
        if not self.min_iterations <= first.iterations <= self.max_iterations:
            raise AuthenticationError(f"the server wants {first.iterations} iterations")
        return first

    def _verify(self, answer: bytes | None, expected: bytes) -> None:
        """Raise `AuthenticationError` unless the server has proved that it knows our password, too."""
        if answer is None:
            raise AuthenticationError("the server said yes without proving who it is")
        if not hmac.compare_digest(_read_server_final(answer), expected):
            raise AuthenticationError("the server does not know the password: it is not who it says")


def _read_server_final(answer: bytes) -> bytes:
    """Return the server's signature; `AuthenticationError` if there is an error in its place, or nonsense."""
    try:
        return messages.parse_server_final(answer)
    except GrammarError as error:
        raise AuthenticationError(f"the server does not speak SCRAM: {error}") from None
