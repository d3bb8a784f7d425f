"""What all clients have in common, over either adapter: whom to connect to, and how."""

from __future__ import annotations

import inspect
import os
import socket
import ssl
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar

from mailproto._core.checks import check_amount, check_kind
from mailproto._core.client import ClientConnection
from mailproto._core.events import TLSInfo
from mailproto._core.flow import Flow
from mailproto._core.policy import TLSPolicy
from mailproto._net.sockets import check_host, check_port, unix_address
from mailproto.errors import LocalProtocolError
from mailproto.tls import MemoryTLS, check_context, client_context, client_tls
from mailproto.tunnels import Proxy, TunnelConnection

PathLike = str | os.PathLike[str]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def takes(other: Callable[P, object]) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """Let type checkers, and ``help``, know whose arguments a function passes on."""
    return lambda function: _shown_as(other, function)


def takes_as(
    other: Callable[Concatenate[Any, P], object],
) -> Callable[[Callable[Concatenate[S, ...], R]], Callable[Concatenate[S, P], R]]:
    """Let them know the same of a method that passes on what another class's method takes."""
    return lambda method: _shown_as(other, method)


def _shown_as(other: Callable[..., object], function: FunctionT) -> FunctionT:
    returned = inspect.signature(function).return_annotation
    vars(function)["__signature__"] = inspect.signature(other).replace(return_annotation=returned)
    return function


def check_maker(make_client: object) -> None:
    """Raise `TypeError` for a client where a pool is to be given what makes clients."""
    if not callable(make_client):
        raise TypeError("a pool is given what makes its clients, such as lambda: SMTPClient(...), and not a client")


def check_made(client: object, kind: type) -> None:
    """Raise `TypeError` for what a pool cannot send over, above all a client of the other adapter."""
    if not isinstance(client, kind):
        wanted, made = (f"{each.__module__}.{each.__qualname__}" for each in (kind, type(client)))
        raise TypeError(f"what makes the clients of this pool has to return a {wanted}, not a {made}")


class ClientBase(ABC):
    """Whom to connect to, and how."""

    conn: ClientConnection[Any]
    _proxy_header: bytes | None
    _policy: TLSPolicy
    _local: Any = None  # our socket's address

    def _begin(self) -> Flow[None]:
        """Open the session, behind what comes before it.

        Raises:
            GrammarError: the PROXY header is none.
        """
        if self._proxy_header is not None:
            self.conn.send_proxy_header(self._proxy_header)
        return self._open()

    @abstractmethod
    def _open(self) -> Flow[None]:
        """Open the session."""

    @abstractmethod
    def _quit(self) -> Flow[None]:
        """End the session in good order."""

    def _aim(
        self,
        host: str,
        port: int,
        path: PathLike | None,
        sock: socket.socket | None,
        source_address: tuple[str, int] | None,
        connect_timeout: float,
        context: ssl.SSLContext | None,
        cafile: PathLike | None,
        server_hostname: str | None,
        proxy: Proxy | None,
    ) -> None:
        if proxy is not None and path is not None:
            raise LocalProtocolError("no proxy leads to a unix socket of this machine")
        if path is not None:
            unix_address(path)
        if context is not None and cafile is not None:
            raise LocalProtocolError("a context has its own authorities: give context or cafile")
        if context is not None:
            check_context(context, server_side=False)
        for what, value, kind in (("sock", sock, socket.socket), ("proxy", proxy, Proxy)):
            if value is not None:
                check_kind(what, value, kind)
        check_amount("connect_timeout", connect_timeout)
        check_host(host)
        check_port(port)
        if server_hostname is not None:
            check_host(server_hostname)
        if proxy is not None:
            check_host(proxy.host)
            check_port(proxy.port)
        self.host = host
        self.port = port
        self._proxy = proxy
        self._where: dict[str, Any] = {
            "host": host if proxy is None else proxy.host,
            "port": port if proxy is None else proxy.port,
            "path": path,
            "sock": sock,
            "source_address": source_address,
            "timeout": connect_timeout,
        }
        self._context = context
        self._cafile = cafile
        self._server_hostname = server_hostname or host

    def _tunnel(self) -> TunnelConnection | None:
        """Return what opens the way through the proxy, None if there is none.

        Raises:
            GrammarError: the proxy cannot be told whom to reach, or who asks.
        """
        if self._proxy is None:
            return None
        tunnel = self._proxy.open(self.host, self.port)
        tunnel.limits = self.conn.limits  # the proxy has no more time for a step than the server
        return tunnel

    def _destination(self) -> dict[str, Any]:
        """Return the arguments of ``open_link``."""
        return self._where if self._policy is TLSPolicy.NONE else {**self._where, "open_tls": self._open_tls}

    def _open_tls(self) -> MemoryTLS:
        """Open a TLS session. The default context is made only here: to read the system's authorities takes long."""
        context = self._context if self._context is not None else client_context(self._cafile)
        return client_tls(context, self._server_hostname)()

    @property
    def tls(self) -> TLSInfo | None:
        """The TLS session, None in clear."""
        return self.conn.tls

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.host}:{self.port}{' under TLS' if self.tls else ''}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client is a connection and its secrets, and cannot be pickled or copied")
