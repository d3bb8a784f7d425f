"""TLS by the ``ssl`` module: contexts that verify by default, and sessions over bytes in memory, which engines feed.

No adapter hands its socket to a TLS layer. The bytes stay in sight: what came in clear goes to the connection,
which knows that it must not come after STARTTLS, and TLS is fed only what comes after (RFC 3207 section 6).

- `client_context` and `server_context` make contexts.
- `client_tls` and `server_tls` make of a context what opens the sessions of a `mailproto.flow.Engine`.
- `tls_info` is for a connection without an engine: ``connection.tls_established(tls_info(ssl_object))`` tells it of a
  session that something else has made, so that SCRAM can bind to it, and EXTERNAL sees the client's certificate.
"""

from __future__ import annotations

import logging
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from mailproto._core.events import TLSInfo
from mailproto.sasl.binding import TLS_SERVER_END_POINT, TLS_UNIQUE, end_point_binding
from mailproto.smtp.alabels import encode_domain

__all__ = [
    "MemoryTLS",
    "ServerContext",
    "TLSInfo",
    "client_context",
    "client_tls",
    "server_context",
    "server_tls",
    "tls_info",
]

logger = logging.getLogger("mailproto")

PathLike: TypeAlias = str | os.PathLike[str]
AnyPath: TypeAlias = PathLike | bytes | os.PathLike[bytes]

_READ_SIZE = 256 << 10
_RECORDS = (b"", b"\x15", b"\x16")  # what can come first: nothing yet, an alert, a handshake (RFC 8446 section 5.1)
_TURNS = 4  # of a handshake at most, with a HelloRetryRequest (RFC 8446 section 2.1)
_DATES = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED, which ssl has no names for
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")


class MemoryTLS:
    """One session, either side; see `mailproto.flow.TLSSession`, whose methods these are."""

    def __init__(self, context: ssl.SSLContext, *, server_hostname: str | None = None, server_side: bool = False):
        self.ended = False
        self._cut = False
        self._first = b""  # the octet that the peer has begun with
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
        except ssl.SSLError as error:
            if self._first not in _RECORDS:
                error.strerror = f"{error.strerror}: what the peer says is no TLS"
                if not self._ssl.server_side:
                    error.strerror += "; if it wants to be asked for that first, it is TLSPolicy.REQUIRED"
            raise
        return True

    def info(self) -> TLSInfo:
        """Return what is known of the session, see `tls_info`."""
        return tls_info(self._ssl)

    def receive(self, data: bytes) -> None:
        """Take what came from the network, ``b""`` at its end."""
        if data:
            self._first = self._first or data[:1]
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


def client_context(cafile: PathLike | None = None) -> ssl.SSLContext:
    """Return a context that verifies the server's certificate and its name: TLS 1.2 or later.

    The name has to be where RFC 9525 section 6.3 wants it, in the subjectAltName.

    ``cafile`` names a PEM file with the authorities to trust, in place of the system's.
    """
    with _naming(cafile):
        context = ssl.create_default_context(cafile=cafile)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False
    return context


class ServerContext(ssl.SSLContext):
    """A server's context that knows its certificate, which ``ssl`` does not tell: for channel binding.

    Attributes:
        end_point: the channel binding tls-server-end-point. None before a certificate is loaded, and after a second
            one is, because nobody could tell which of them a client has seen; or if it has none.
    """

    def __init__(self, *_: object) -> None:
        self.end_point: bytes | None = None
        self._loaded = False

    def load_cert_chain(self, certfile: AnyPath, keyfile: AnyPath | None = None, password: Any = None) -> None:
        """Load a certificate, as every context does, and remember it."""
        super().load_cert_chain(certfile, keyfile, password)
        first = _CERTIFICATE.search(Path(os.fsdecode(certfile)).read_bytes())
        self.end_point = None
        if first is not None and not self._loaded:
            self.end_point = end_point_binding(ssl.PEM_cert_to_DER_cert(first[0].decode("ascii")))
        self._loaded = True


def server_context(
    certfile: PathLike,
    keyfile: PathLike | None = None,
    *,
    client_ca: PathLike | None = None,
    by_name: Mapping[str, ssl.SSLContext] | None = None,
) -> ServerContext:
    """Return a context for a server: TLS 1.2 or later, with this certificate, which SCRAM can bind to.

    To renew a certificate make a new context; a server that runs takes it as its ``tls``. The log says so if
    the certificate has expired, or is not yet valid.

    Args:
        certfile: a PEM file with the certificate, and those between it and its authority.
        keyfile: a PEM file with the key, None if it is in ``certfile``. OpenSSL asks at the terminal for the password
            of one that is encrypted.
        client_ca: a PEM file with authorities. Clients may then show a certificate of theirs, for SASL's EXTERNAL.
        by_name: contexts with the certificates for other names of the host, by the name that a client asks for (SNI,
            RFC 6066 section 3). All else is as this context says, whose ``client_ca`` they get if they have none.

    Raises:
        OSError: a file is not there, or not what it should be.
        GrammarError: a name is no domain.
        TypeError: one of ``by_name`` is no context of a server.
    """
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        with _naming(certfile, keyfile):
            context.load_cert_chain(certfile, keyfile)
    except ssl.SSLError as error:
        error.strerror = _what_is_missing(certfile, keyfile or certfile) or error.strerror
        raise
    _warn_of_dates(context, certfile)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        with _naming(client_ca):
            context.load_verify_locations(client_ca)
    if by_name:
        contexts = {encode_domain(name).lower(): other for name, other in by_name.items()}
        for other in contexts.values():
            check_context(other, server_side=True)
            _ask_for_certificates_too(other, client_ca)

        def choose(session: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
            session.context = contexts.get((name or "").lower(), context)

        context.sni_callback = choose
    return context


def _warn_of_dates(context: ServerContext, certfile: PathLike) -> None:
    """Log it if clients will refuse the certificate for its dates, whoever it is that they trust.

    ``ssl`` does not tell the dates of a certificate of one's own, and so a client in memory, which trusts it, looks.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        client.load_verify_locations(certfile)
        ours, theirs = MemoryTLS(context, server_side=True), MemoryTLS(client)
        for _ in range(_TURNS):
            theirs.handshake()
            ours.receive(theirs.output())
            ours.handshake()
            theirs.receive(ours.output())
    except ssl.SSLError as error:  # of which any other says nothing of dates
        if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _DATES:
            logger.warning("clients will refuse %s: %s", os.fspath(certfile), error.verify_message)


def _ask_for_certificates_too(context: ssl.SSLContext, client_ca: PathLike | None) -> None:
    """Have the context of another name trust the clients that the first one does, which asks for certificates."""
    if client_ca is not None and context.verify_mode is ssl.CERT_NONE:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(client_ca)


def _what_is_missing(certfile: PathLike, keyfile: PathLike) -> str:
    """Return what a PEM file has not that it should have, of which ``ssl`` says only "PEM lib"; "" if it has all."""
    for what, path in (("CERTIFICATE", certfile), ("PRIVATE KEY", keyfile)):
        if f"{what}-----".encode("ascii") not in Path(path).read_bytes():
            return f"there is no {what.lower()} in {os.fspath(path)}"
    return ""


@contextmanager
def _naming(*paths: PathLike | None) -> Iterator[None]:
    """Have an error say which file cannot be read, or is not what it should be, for that of ``ssl`` does not."""
    given = [os.fspath(path) for path in paths if path is not None]
    names = " or ".join(given)
    try:
        yield
    except ssl.SSLError as error:
        error.strerror = f"{error.strerror}: {names}"
        raise
    except OSError as error:
        for name in given:
            Path(name).open("rb").close()  # which of them cannot be opened says so by itself
        raise OSError(error.errno, error.strerror, names) from None


def check_context(context: object, *, server_side: bool) -> None:
    """Raise `TypeError` for what is no TLS context, and for one of the other side: no handshake would succeed.

    Its class may be any, for there are packages that put one of their own in the place of that of ``ssl``.
    """
    side, maker, other = (
        ("server", "server_context", ssl.PROTOCOL_TLS_CLIENT)
        if server_side
        else ("client", "client_context", ssl.PROTOCOL_TLS_SERVER)
    )
    if not hasattr(context, "wrap_bio") or getattr(context, "protocol", None) is other:
        given = type(context).__name__
        raise TypeError(f"a {side} needs a TLS context of its side, such as {maker}() makes, and not this {given}")


def client_tls(context: ssl.SSLContext, server_hostname: str) -> Callable[[], MemoryTLS]:
    """Return what opens a client's session with the server of that name, or of that IP address.

    A dot at the end of the name, as the DNS writes it, is in no certificate and not for SNI (RFC 6066 section 3). Nor
    is the zone of an IPv6 address, as in ``fe80::1%eth0``: it means nothing on another host (RFC 4007 section 11.2).
    """
    check_context(context, server_side=False)
    address, _, _ = server_hostname.partition("%")
    name = address if ":" in address else server_hostname.removesuffix(".")
    return lambda: MemoryTLS(context, server_hostname=name)


def server_tls(context: ssl.SSLContext) -> Callable[[], MemoryTLS]:
    """Return what opens a server's session."""
    check_context(context, server_side=True)
    return lambda: MemoryTLS(context, server_side=True)


def tls_info(session: ssl.SSLObject | ssl.SSLSocket) -> TLSInfo:
    """Return version, cipher, channel bindings and, if it was verified, the peer's certificate.

    The handshake has to be done. A server's context has to be a `ServerContext` for tls-server-end-point.
    """
    cipher = session.cipher()
    verified = session.context.verify_mode is not ssl.CERT_NONE
    return TLSInfo(
        session.version() or "",
        cipher[0] if cipher else "",
        session.server_hostname,
        session.getpeercert(binary_form=True) if verified else None,
        _bindings(session),
        _names(session.getpeercert()) if verified else (),
    )


def _bindings(session: ssl.SSLObject | ssl.SSLSocket) -> dict[str, bytes]:
    """Return the channel bindings that ``ssl`` knows, and on a server that of its own certificate.

    ``ssl`` tells tls-unique of any session; it is undefined beyond TLS 1.2 (RFC 9266 section 1), and in a session
    that was resumed it may not be unique (RFC 7677 section 4).
    """
    bindings: dict[str, bytes | None] = {}
    for kind in ssl.CHANNEL_BINDING_TYPES:
        if kind != TLS_UNIQUE or (session.version() == "TLSv1.2" and not session.session_reused):
            bindings[kind] = session.get_channel_binding(kind)
    if isinstance(session.context, ServerContext):
        bindings[TLS_SERVER_END_POINT] = session.context.end_point
    return {kind: data for kind, data in bindings.items() if data}


def _names(certificate: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """Return the names that a certificate certifies, those that are text."""
    names = (certificate or {}).get("subjectAltName", ())
    return tuple((kind, name) for kind, name in names if isinstance(name, str))
