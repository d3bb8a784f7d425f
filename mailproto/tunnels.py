"""Tunnels: how a client gets through a SOCKS5 or an HTTP proxy before it says its first word.

`Socks5` and `HTTPProxy` name a proxy, and are what the clients take as ``proxy``. Each makes a connection like those
of the protocols, without I/O: it talks to the proxy until the way is open, and what came behind that belongs to
whoever speaks next (`Connection.take_rest`).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias

from mailproto._core.buffer import LineTooLongError
from mailproto._core.codec import encode_base64, printable
from mailproto._core.connection import AGAIN, STARVED, Connection, Step
from mailproto._core.events import ConnectionClosed
from mailproto._core.flow import Flow
from mailproto._core.limits import Limits
from mailproto._flows.reading import read_event
from mailproto.errors import (
    ConnectionClosedError,
    ConnectionTimeoutError,
    GrammarError,
    MailProtoError,
    RemoteProtocolError,
)

__all__ = [
    "HTTPProxy",
    "HTTPTunnel",
    "Proxy",
    "Socks5",
    "Socks5Tunnel",
    "TunnelConnection",
    "TunnelError",
    "TunnelOpened",
    "open_tunnel",
]

_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")
_CREDENTIAL = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,255}")
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: (.*))?")
_MAX_HEADER = 64 << 10
_MAX_LINE = 8 << 10
_REFUSALS = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "time to live expired",
    7: "command not supported",
    8: "address type not supported",
}


class TunnelError(MailProtoError):
    """The proxy did not open the way."""


@dataclass(slots=True)
class TunnelOpened:
    """The way is open: what is said from now on, the destination hears."""


class TunnelConnection(Connection[TunnelOpened]):
    """The part that both kinds of tunnel have in common."""

    _speaker = "C"
    _other = "S"

    def __init__(self, host: str, port: int, user: str | None = None, password: str | None = None) -> None:
        """Prepare to reach ``host`` and ``port``, as ``user`` if the proxy wants to know.

        Raises:
            GrammarError: that is no host, port, user or password.
        """
        super().__init__(Limits())
        _check_destination(host, port)
        _check_login(user, password)
        self._host = host
        self._port = port
        self._user = user
        self._password = password
        self._error: MailProtoError | None = None
        self._opened = False

    @property
    def idle(self) -> bool:
        """Whether the way is open."""
        return self._opened

    @property
    def timeout(self) -> float:
        """Seconds that the proxy may take for each step."""
        return self.limits.handshake_timeout

    def receive_timeout(self) -> None:
        """Give the proxy up."""
        self._break(ConnectionTimeoutError("the proxy did not answer in time"))

    def shut_down(self) -> None:
        """Give the tunnel up."""
        self._close("closed by the client")

    def _at_rest(self) -> bool:
        return False

    def _forget(self) -> None:
        """TLS comes behind the tunnel, never in it: there is nothing to forget."""

    def _open(self) -> TunnelOpened:
        self._opened = True
        self._mode = self._wait
        return TunnelOpened()

    def _wait(self) -> TunnelOpened | ConnectionClosed | Step:
        """Leave what comes now to whoever speaks next."""
        return STARVED

    def _break(self, error: MailProtoError) -> Step:
        self._error = error
        self._fail(str(error))
        return AGAIN

    def _report_failure(self, reason: str) -> Step:
        raise self._error if self._error is not None else RemoteProtocolError(reason)


class Socks5Tunnel(TunnelConnection):
    """Through a SOCKS5 proxy (RFC 1928), with a user name and password if there are any (RFC 1929).

    The proxy resolves the name of the host.
    """

    def _read(self) -> TunnelOpened | ConnectionClosed | Step:
        methods = b"\x00" if self._user is None else b"\x00\x02"
        self._send(bytes((5, len(methods))) + methods)
        self._mode = self._read_method
        return AGAIN

    def _read_method(self) -> TunnelOpened | ConnectionClosed | Step:
        if len(self._buffer) < 2:
            return STARVED
        version, method = self._buffer.take(2)
        if version != 5:
            return self._break(RemoteProtocolError("the proxy does not speak SOCKS5"))
        if method == 0:
            return self._request()
        if method == 2 and self._user is not None and self._password is not None:
            user, password = self._user.encode("utf-8"), self._password.encode("utf-8")
            self._send(b"\x01%c%b%c%b" % (len(user), user, len(password), password))
            self._mode = self._read_verdict
            return AGAIN
        return self._break(TunnelError("the proxy offers no way to log in that can be used"))

    def _read_verdict(self) -> TunnelOpened | ConnectionClosed | Step:
        if len(self._buffer) < 2:
            return STARVED
        if self._buffer.take(2)[1] != 0:
            return self._break(TunnelError("the proxy refused the user or the password"))
        return self._request()

    def _request(self) -> Step:
        self._send(b"\x05\x01\x00" + _socks_address(self._host) + self._port.to_bytes(2, "big"))
        self._mode = self._read_answer
        return AGAIN

    def _read_answer(self) -> TunnelOpened | ConnectionClosed | Step:
        head = self._buffer.peek(5)
        if len(head) >= 2 and head[0] == 5 and head[1] != 0:  # behind a refusal some proxies say nothing more
            return self._break(TunnelError(f"the proxy refused: {_REFUSALS.get(head[1], 'unknown reason')}"))
        if len(head) < 5:
            return STARVED
        lengths = {1: 10, 3: 7 + head[4], 4: 22}
        if head[0] != 5 or head[3] not in lengths:
            return self._break(RemoteProtocolError("the proxy gave an answer that is none of SOCKS5"))
        if len(self._buffer) < lengths[head[3]]:
            return STARVED
        self._buffer.take(lengths[head[3]])
        return self._open()


class HTTPTunnel(TunnelConnection):
    """Through an HTTP proxy with CONNECT (RFC 9110 section 9.3.6), with Basic authentication (RFC 7617) if asked."""

    def __init__(self, host: str, port: int, user: str | None = None, password: str | None = None) -> None:
        """Prepare as for every tunnel.

        Raises:
            GrammarError: as there, or the user has a colon, which would end the name (RFC 7617 section 2).
        """
        super().__init__(host, port, user, password)
        if user is not None and ":" in user:
            raise GrammarError("not a user name for an HTTP proxy")
        self._read_octets = 0
        self._final = False  # whether the fields that come are those of the last response

    def _read(self) -> TunnelOpened | ConnectionClosed | Step:
        place = f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"
        lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
        if self._user is not None:
            login = encode_base64(f"{self._user}:{self._password}".encode()).decode("ascii")
            lines.append(f"Proxy-Authorization: Basic {login}")
        self._send(("\r\n".join(lines) + "\r\n\r\n").encode("ascii"))
        self._mode = self._read_status
        return AGAIN

    def _read_status(self) -> TunnelOpened | ConnectionClosed | Step:
        line = self._line()
        if isinstance(line, Step):
            return line
        match = _STATUS.fullmatch(line)
        if match is None:
            return self._break(RemoteProtocolError("the proxy does not speak HTTP"))
        if not match[1].startswith((b"1", b"2")):
            return self._break(TunnelError(f"the proxy refused: {printable(line)}"))
        self._final = match[1].startswith(b"2")
        self._mode = self._read_fields
        return AGAIN

    def _read_fields(self) -> TunnelOpened | ConnectionClosed | Step:
        line = self._line()
        if isinstance(line, Step):
            return line
        if line:
            return AGAIN
        if self._final:
            return self._open()
        self._mode = self._read_status  # behind an interim response (RFC 9110 section 15.2) comes another one
        return AGAIN

    def _line(self) -> bytes | Step:
        try:
            line = self._buffer.take_line(_MAX_LINE)
        except LineTooLongError:
            return self._break(RemoteProtocolError("the proxy sends a line without an end"))
        if line is None:
            return STARVED
        self._read_octets += len(line)
        if self._read_octets > _MAX_HEADER:
            return self._break(RemoteProtocolError("the proxy sends header fields without an end"))
        return line


class _ProxyBase:
    """A proxy, which may have a password, and so is not to be stored.

    Raises:
        GrammarError: user or password are none, or one of them is missing.
    """

    __slots__ = ()

    user: str | None
    password: str | None

    def __post_init__(self) -> None:
        _check_login(self.user, self.password)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a proxy may have a password, and is not to be stored")


@dataclass(frozen=True, slots=True)
class Socks5(_ProxyBase):
    """A SOCKS5 proxy (RFC 1928), which wants to know ``user`` and ``password`` or not. It resolves names itself."""

    host: str
    port: int = 1080
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def open(self, host: str, port: int) -> TunnelConnection:
        """Return the connection that opens the way to ``host`` and ``port``; raises as that does."""
        return Socks5Tunnel(host, port, self.user, self.password)


@dataclass(frozen=True, slots=True)
class HTTPProxy(_ProxyBase):
    """An HTTP proxy that takes CONNECT, and wants to know ``user`` and ``password`` or not. It resolves names."""

    host: str
    port: int = 8080
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def open(self, host: str, port: int) -> TunnelConnection:
        """Return the connection that opens the way to ``host`` and ``port``; raises as that does."""
        return HTTPTunnel(host, port, self.user, self.password)


Proxy: TypeAlias = Socks5 | HTTPProxy


def open_tunnel(conn: TunnelConnection) -> Flow[None]:
    """Open the way. What the destination has said already is left for the connection that comes next.

    Raises:
        TunnelError: the proxy refused.
        RemoteProtocolError: it does not speak its protocol.
        ConnectionClosedError: it hung up.
    """
    if not isinstance((yield from read_event(conn)), TunnelOpened):
        raise ConnectionClosedError("the proxy hung up")


def _check_login(user: str | None, password: str | None) -> None:
    """Raise `GrammarError` unless a proxy can be told these, or there are none."""
    if (user is None) is not (password is None):
        raise GrammarError("a user and a password belong together")
    for text in (user, password):
        if text is not None and (not _CREDENTIAL.fullmatch(text) or len(text.encode("utf-8")) > 255):
            raise GrammarError("not a user name or password for a proxy")


def _check_destination(host: str, port: int) -> None:
    """Raise `GrammarError` unless this is a name or an IP address, and a port."""
    if ":" in host and "%" not in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise GrammarError("not an IPv6 address that a proxy could reach") from None
    elif not _NAME.fullmatch(host):
        raise GrammarError("not a host that a proxy could reach")
    if not 0 < port < 0x10000:
        raise GrammarError("not a port that a proxy could reach")


def _socks_address(host: str) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        return b"\x03%c%b" % (len(name), name)
    return (b"\x01" if address.version == 4 else b"\x04") + address.packed
