"""The base of the two client connections: what may come before the first word, and what is told if none comes."""

from __future__ import annotations

from mailproto._core.connection import Connection, EventT
from mailproto._core.proxyheader import parse_proxy_header
from mailproto.errors import ConnectionTimeoutError, GrammarError, LocalProtocolError


class ClientConnection(Connection[EventT]):
    """A connection whose user asks and whose peer answers."""

    __slots__ = ()

    def _no_answer(self) -> ConnectionTimeoutError:
        """Return what is raised when the server takes too long: one that never greets may wait for a handshake."""
        if self._progress or self.tls is not None:
            return ConnectionTimeoutError("the server did not answer in time")
        return ConnectionTimeoutError(
            "the server did not greet in time: it may wait for a handshake, which is TLSPolicy.IMPLICIT"
        )

    def send_proxy_header(self, header: bytes) -> None:
        """Begin with a PROXY header, before anything else, even TLS: tell the server for whom we connect.

        Args:
            header: what `ProxyHeader.encode` makes, of either version.

        Raises:
            LocalProtocolError: the connection has begun already.
            GrammarError: it is no PROXY header, or there is something behind it.
        """
        if self._progress or self._queued or self.tls is not None:
            raise LocalProtocolError("a PROXY header comes before anything else")
        found = parse_proxy_header(header)
        if found is None or found[1] != len(header):
            raise GrammarError("not one whole PROXY header")
        self._send(header)
