"""TLS over memory: sessions of the ``ssl`` module that the engine feeds, and contexts that verify by default.

Neither adapter hands its socket to a TLS layer. The bytes stay in sight: what came in clear goes to the connection,
which knows that it must not come after STARTTLS, and TLS is fed only what comes after (RFC 3207 section 6).
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from contextlib import suppress

from mailproto._core.events import TLSInfo

_READ_SIZE = 256 << 10


class MemoryTLS:
    """One session, either side; see `mailproto._flows.engine.TLSSession`, whose methods these are."""

    def __init__(self, context: ssl.SSLContext, *, server_hostname: str | None = None, server_side: bool = False):
        self.ended = False
        self._cut = False
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._unsent: list[memoryview] = []
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side, server_hostname)

    def handshake(self) -> bool:
        """Go on with the handshake; return whether it is done. Raises ``ssl.SSLError`` when it fails."""
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def info(self) -> TLSInfo:
        """Return version, cipher and, if it was verified, the peer's certificate.

        The channel binding tls-unique is only defined up to TLS 1.2 (RFC 9266 section 1).
        """
        cipher = self._ssl.cipher()
        version = self._ssl.version() or ""
        unique = self._ssl.get_channel_binding("tls-unique") if version == "TLSv1.2" else None
        verified = self._ssl.context.verify_mode is not ssl.CERT_NONE
        return TLSInfo(
            version,
            cipher[0] if cipher else "",
            self._ssl.server_hostname,
            self._ssl.getpeercert(binary_form=True) if verified else None,
            {"tls-unique": unique} if unique else {},
        )

    def receive(self, data: bytes) -> None:
        """Take what came from the network, ``b""`` at its end."""
        if data:
            self._incoming.write(data)
        else:
            self._cut = True  # OpenSSL is not told, for it would say nothing more either

    def read(self) -> bytes:
        """Return what the peer has said since.

        An end without the peer's word for it (a ragged one, or a record that is forged) is an end like any other:
        no end of input ever ends a message.
        """
        pieces: list[bytes] = []
        try:
            while piece := self._ssl.read(_READ_SIZE):
                pieces.append(piece)
            self.ended = True
        except ssl.SSLWantReadError:
            self.ended = self._cut
        except ssl.SSLError:
            self.ended = True
        return b"".join(pieces)

    def write(self, data: bytes) -> None:
        """Say this to the peer."""
        self._unsent.append(memoryview(data))

    def output(self) -> bytes:
        """Return what has to go to the network."""
        self._encrypt()
        return self._outgoing.read()

    def close(self) -> None:
        """Tell the peer that nothing more will be said; what it still says is not waited for."""
        self._encrypt()
        with suppress(ssl.SSLError):
            self._ssl.unwrap()

    def _encrypt(self) -> None:
        try:
            while self._unsent:
                data = self._unsent.pop(0)
                written = self._ssl.write(data)
                if written < len(data):
                    self._unsent.insert(0, data[written:])
        except ssl.SSLWantReadError:
            self._unsent.insert(0, data)  # a renegotiation: the peer has to say its part first
        except ssl.SSLError:
            self._unsent.clear()  # the session is over


def client_context(cafile: str | os.PathLike[str] | None = None) -> ssl.SSLContext:
    """Return a context that verifies the server's certificate and its name: TLS 1.2 or later.

    The name has to be where RFC 9525 section 6.3 wants it, in the subjectAltName.

    ``cafile`` names a PEM file with the authorities to trust, in place of the system's.
    """
    context = ssl.create_default_context(cafile=cafile)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    return context


def client_tls(context: ssl.SSLContext, server_hostname: str) -> Callable[[], MemoryTLS]:
    """Return what opens a client's session with the server of that name, or of that IP address."""
    return lambda: MemoryTLS(context, server_hostname=server_hostname)


def server_tls(context: ssl.SSLContext) -> Callable[[], MemoryTLS]:
    """Return what opens a server's session."""
    return lambda: MemoryTLS(context, server_side=True)
