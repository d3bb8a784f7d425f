"""What the listeners of both adapters have in common: where they listen, whom they let in."""

from __future__ import annotations

import enum
import ipaddress
import logging
import os
import socket
import ssl
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from typing import Any, TypedDict, Unpack

from mailproto._core.checks import check_fields, check_kind
from mailproto._core.connection import Connection
from mailproto._core.peers import is_among, is_loopback
from mailproto._flows.endpoints import host_of
from mailproto._net.sockets import Sockets, check_listening, unix_address
from mailproto.errors import LocalProtocolError, NotSupportedError
from mailproto.tls import MemoryTLS, check_context, server_tls

logger = logging.getLogger("mailproto")

_MAX_FAREWELLS = 100
"""Connections beyond the cap that are told so; there is no time for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """How a server deals with connections, whatever is said on them.

    Args:
        max_connections: connections at a time; beyond it new ones are sent away.
        max_per_address: connections at a time from one IPv4 address or IPv6 /64; behind a load balancer it is the
            client's that counts, once the balancer has told it.
        backlog: connections that wait to be accepted.
        reuse_port: let other processes listen on the same port and share the connections.
        grace: seconds that transactions under way have to finish when the server closes.

    Raises:
        NotSupportedError: ports cannot be shared on this system.
    """

    max_connections: int = 1000
    max_per_address: int = 100
    backlog: int = 128
    reuse_port: bool = False
    grace: float = 30.0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.reuse_port and not hasattr(socket, "SO_REUSEPORT"):
            raise NotSupportedError("no port can be shared with other processes on this system")


class Where(TypedDict, total=False):
    """The arguments of a server that few need."""

    path: str | os.PathLike[str] | None
    """Listen on a unix socket, in place of host and port."""
    sock: socket.socket | None
    """Listen on this socket, which is bound already."""
    options: ServerOptions | None


def _place_of(names: Set[str], kinds: Mapping[str, Any]) -> str:
    """Return where what is no argument belongs, if it is a field of what one of these arguments takes."""
    for argument, kind in kinds.items():
        if kind is not None and names <= {field.name for field in fields(kind)}:
            return f", which goes into {argument}={kind.__name__}(...)"
    return ""


def closed_for_good() -> LocalProtocolError:
    """Return what is raised when a server that was closed is to start."""
    return LocalProtocolError("a server that was closed does not start again: make another one")


class ListenerBase(ABC):
    """Listening sockets, and the connections that came through them.

    Args:
        connect: makes the state machine of a new connection.
        serve: serves a link.
        host: a name or an address to listen on, several of them, or None for all of the machine.
        port: 0 has the system choose one.
        tls: the context for handshakes.
        implicit_tls: every connection begins with the handshake, so that one too many cannot be told in clear.
        proxies: addresses and networks of load balancers, whose own connections are no single client's.
        in_public: what to log if not only this machine can connect.
        config_kind: the class of the config, whose fields are sometimes taken for arguments.

    Attributes:
        tls: may be replaced while the server runs; new connections take the new one.
        options: as given.

    Raises:
        TypeError: there is no argument of such a name, or one is of another type, such as a client's context.
        GrammarError: there is no host, or a host, the port or the path is none.
        NotSupportedError: there are no unix sockets on this system.
    """

    def __init__(
        self,
        connect: Callable[[], Connection[Any]],
        serve: Callable[[Any], None],
        host: str | Sequence[str] | None = "127.0.0.1",
        port: int = 0,
        *,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        proxies: Sequence[str] = (),
        in_public: str = "",
        config_kind: type | None = None,
        **where: Unpack[Where],
    ) -> None:
        unknown = where.keys() - Where.__optional_keys__
        if unknown:  # Python does not look, and who misspells what is to protect a server must not get one without it
            hint = _place_of(unknown, {"options": ServerOptions, "config": config_kind})
            raise TypeError(f"{type(self).__name__} has no argument {', '.join(sorted(unknown))}{hint}")
        self.tls = tls
        options, sock = where.get("options"), where.get("sock")
        self.options = options if options is not None else ServerOptions()
        check_kind("options", self.options, ServerOptions)
        if sock is not None:
            check_kind("sock", sock, socket.socket)
        check_listening(host, port)
        self._connect = connect
        self._serve = serve
        self._implicit_tls = implicit_tls
        self._in_public = in_public
        path = where.get("path")
        if path is not None:
            unix_address(path)
        self._where = (host, port, path, sock)
        self._sockets: Sockets | None = None
        self._admission = Admission(self.options, proxies)
        self._links: set[Any] = set()
        self._clients: dict[Any, tuple[str]] = {}  # whom a balancer speaks for on a link
        self._prepare()

    def __repr__(self) -> str:
        shown = (f"{each[0]} port {each[1]}" if isinstance(each, tuple) else each for each in self.addresses)
        return f"<{type(self).__name__} at {', '.join(shown) or 'nothing yet'}>"

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the adapter needs beside that."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The context for handshakes, None for none."""
        return self._tls

    @tls.setter
    def tls(self, context: ssl.SSLContext | None) -> None:
        if context is not None:
            check_context(context, server_side=True)
        self._tls = context

    @property
    def port(self) -> int:
        """The port that is listened on, the real one where 0 was asked for; 0 for a unix socket."""
        return self._sockets.port if self._sockets is not None else 0

    @property
    def addresses(self) -> tuple[Any, ...]:
        """The socket addresses that are listened on."""
        return self._sockets.addresses if self._sockets is not None else ()

    @property
    def connections(self) -> int:
        """How many connections there are now."""
        return len(self._links)

    def _open_sockets(self) -> Sockets:
        sockets = Sockets(*self._where, backlog=self.options.backlog, reuse_port=self.options.reuse_port)
        if self._in_public and not all(is_loopback(host_of(address)) for address in sockets.addresses):
            logger.warning("%s", self._in_public)
        return sockets

    def _recount(self, link: Any, client: str) -> bool:
        """Count a connection that a balancer has brought as its client's; return whether there is room for that."""
        self._clients[link] = (client,)
        return self._admission.rename(link.peer, (client,))

    def _count_off(self, link: Any) -> None:
        self._links.discard(link)
        self._admission.leave(self._clients.pop(link, link.peer))

    def _open_tls(self) -> Callable[[], MemoryTLS] | None:
        return server_tls(self.tls) if self.tls is not None else None


class Verdict(enum.Enum):
    """What to do with a new connection."""

    SERVE = enum.auto()
    REFUSE = enum.auto()  # with a word of farewell
    DROP = enum.auto()


class Admission:
    """Counts connections, in all and for each network that one client is likely to have to itself.

    A load balancer among ``proxies`` is no such client.
    """

    def __init__(self, options: ServerOptions, proxies: Sequence[str] = ()) -> None:
        self._options = options
        self._proxies = proxies
        self._total = 0
        self._counts: Counter[str] = Counter()

    def enter(self, peer: Any) -> Verdict:
        """Count a connection from the socket address ``peer`` and say what to do with it. `leave` follows anyway."""
        self._total += 1
        has_room = self._count(peer)
        excess = self._total - self._options.max_connections
        if excess <= 0 and has_room:
            return Verdict.SERVE
        logger.info("%r: too many connections%s", peer, "" if excess > 0 else " from this address")
        return Verdict.DROP if excess > _MAX_FAREWELLS else Verdict.REFUSE

    def rename(self, peer: Any, client: Any) -> bool:
        """Count a connection from ``peer`` as the client's from now on; return whether there is room for it."""
        self._count_off(peer)
        return self._count(client)

    def leave(self, peer: Any) -> None:
        """Count a connection off, by the address that it was last counted by."""
        self._total -= 1
        self._count_off(peer)

    def _count(self, peer: Any) -> bool:
        network = self._network(peer)
        self._counts[network] += 1
        return not network or self._counts[network] <= self._options.max_per_address

    def _count_off(self, peer: Any) -> None:
        network = self._network(peer)
        self._counts[network] -= 1
        if not self._counts[network]:
            del self._counts[network]

    def _network(self, peer: Any) -> str:
        return "" if self._proxies and is_among(host_of(peer), self._proxies) else _network(peer)


def _network(peer: Any) -> str:
    """Return the address for IPv4, the /64 that a client has for IPv6, ``""`` for a unix socket."""
    if not isinstance(peer, tuple):
        return ""
    host: str = peer[0]
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host.partition("%")[0])
    return str(address.ipv4_mapped) if address.ipv4_mapped else address.packed[:8].hex()
