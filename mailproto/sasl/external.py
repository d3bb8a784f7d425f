"""EXTERNAL (RFC 4422 appendix A): the client is whom its certificate, shown in the TLS handshake, says it is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from mailproto.sasl.base import (
    Challenge,
    ChannelRequest,
    ClientExchange,
    Credentials,
    Identity,
    Question,
    ServerExchange,
)
from mailproto.sasl.identity import authorize, name_of, prepare_authzid
from mailproto.sasl.text import decode_utf8, encode_utf8


class External:
    """Both sides of EXTERNAL."""

    name = "EXTERNAL"
    reveals_secret = False


class ExternalClient(External):
    """The client's side."""

    def fits(self, credentials: Credentials) -> bool:
        """Say whether there is no secret but the one that TLS has used already."""
        return not credentials.password and not credentials.token

    def start(self, credentials: Credentials) -> ClientExchange:
        """Yield whom to act as, nothing for whom the certificate names.

        Raises:
            GrammarError: the ``authzid`` cannot be one.
        """
        yield encode_utf8(prepare_authzid(credentials.authzid or "") or "")


@dataclass(frozen=True, slots=True)
class ExternalCheck(Question):
    """Whose certificate is this? The answer is the name of the identity, or None.

    The TLS layer has verified that ``certificate``, in DER form, comes from an authority that it trusts, and that
    the client has its key. ``names`` are those that it certifies, as far as the TLS layer tells them: pairs such as
    ``("email", "ada@example.org")``. ``authzid`` is whom the client wants to act as, None if itself; whether it may
    is asked afterwards.
    """

    certificate: bytes = field(repr=False)
    names: tuple[tuple[str, str], ...] = ()
    authzid: str | None = None
    mechanism: str = "EXTERNAL"

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the certificate, in 64 hexadecimal digits."""
        return hashlib.sha256(self.certificate).hexdigest()


class ExternalServer(External):
    """The server's side. Without a verified certificate nobody gets in, whatever is configured."""

    def start(self, initial_response: bytes | None) -> ServerExchange:
        """Ask for the response if it did not come along, then ask the application whose the certificate is."""
        response = initial_response
        if response is None:
            response = yield Challenge(b"")
        authzid = prepare_authzid(decode_utf8(response))
        channel = yield ChannelRequest()
        if channel.tls is None or not channel.tls.peer_certificate:
            return None
        answer = yield ExternalCheck(channel.tls.peer_certificate, channel.tls.peer_names, authzid)
        name = name_of(answer, "")
        return (yield from authorize(Identity(name, self.name), authzid)) if name else None
