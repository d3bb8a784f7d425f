"""What a server knows of one client, for the hooks and the handlers of both protocols."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from mailproto._core.attributes import Attributes
from mailproto._core.events import TLSInfo
from mailproto._core.peers import plain_address
from mailproto._core.server import ServerConnection
from mailproto.sasl.base import Identity

ConnT = TypeVar("ConnT", bound=ServerConnection[Any])

UNKNOWN = "unknown"
"""The address of a client of whom a trusted peer says that it does not know it. It is on no network and on no unix
socket of this machine, and so nobody whom anything is entrusted to by address."""


class Session(Generic[ConnT]):
    """One client's connection, as the application sees it.

    A subclass has ``accept`` as well, whose arguments depend on the protocol.

    Attributes:
        conn: the state machine underneath; its answers are here, too.
        peer: the address of the client: an IP address, or ``""`` on a unix socket. A trusted proxy may have told it,
            or that it is ``"unknown"``; `transport_peer` is then the proxy's own.
        local: the address the client reached.
        attributes: what a trusted peer has said of the client with XCLIENT.
        state: the application's own, for whatever it wants to keep from hook to hook.
    """

    def __init__(self, conn: ConnT, peer: str = "", local: str = "") -> None:
        self.conn = conn
        self.peer = self.transport_peer = plain_address(peer)
        self.local = plain_address(local)
        self.attributes: Attributes = {}
        self.state: dict[str, Any] = {}
        self.reject = conn.reject
        self.challenge = conn.challenge
        self.drop = conn.drop
        self._identity: Identity | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} with {self.peer or 'unix'}>"

    def speak_for(self, attributes: Attributes) -> None:
        """Take a trusted peer's word (XCLIENT) for who the client is. What it does not say again stays as it was."""
        self.attributes = {**self.attributes, **attributes}
        if "ADDR" in attributes:
            self.peer = plain_address(attributes["ADDR"] or UNKNOWN)
        if "DESTADDR" in attributes:
            self.local = plain_address(attributes["DESTADDR"] or UNKNOWN)

    @property
    def tls(self) -> TLSInfo | None:
        """The TLS session, None in clear."""
        return self.conn.tls

    @property
    def identity(self) -> Identity | None:
        """Who the client has authenticated as."""
        return self._identity
