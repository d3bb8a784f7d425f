"""Listening sockets: on addresses, on a path, or handed in; and what keeps others from connecting."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mailproto._core.checks import check_kind, check_path
from mailproto.errors import GrammarError, NotSupportedError
from mailproto.smtp.alabels import idna_2003

_TRIES = 10
"""How often several addresses are tried to be given one free port."""

_STRANGE = re.compile(r"[\x00-\x20/<>@\x7f]")


def listen(
    host: str | Sequence[str] | None = "127.0.0.1", port: int = 0, *, backlog: int = 128, reuse_port: bool = False
) -> list[socket.socket]:
    """Return sockets that listen on every address of ``host``, all on the same port.

    Args:
        host: a name or an address, several of them, or None for every address of the machine.
        port: 0 has the system choose one.
        backlog: connections that wait to be accepted.
        reuse_port: let other processes listen on it too, and share the connections.

    Raises:
        OSError: an address is not known, not ours, or in use.
        GrammarError: a host or the port is none, or there is no host.
    """
    addresses = _addresses(host, port)
    tries = _TRIES if port == 0 and len(addresses) > 1 else 1
    while True:
        tries -= 1
        try:
            return _open_all(addresses, port, backlog, reuse_port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not tries:
                raise


def check_host(host: str) -> None:
    """Raise `GrammarError` for what no name of a host can be, on which look-ups stumble in a way of their own.

    And for a name that they, and TLS behind them, would take for somebody else's (see `idna_2003`); and for a URL, or
    an address of mail. Raise `TypeError` for what is no text.
    """
    check_kind("a host", host, str)
    try:
        idna_2003(host)
        if not _STRANGE.search(host):
            return
    except UnicodeError:
        pass
    login, at, rest = host.rpartition("@")  # as in a URL, with a password
    raise GrammarError(f"not a host: {(login and '***') + at + rest!a:.100}")


def check_port(port: int) -> None:
    """Raise `GrammarError` for what no port can be: look-ups take 65,561 for 25, where somebody else may listen.

    And `TypeError` for text, as a setting that was read is.
    """
    if not isinstance(port, int):
        raise TypeError(f"a port is a number, not {port!r:.40}")
    if not 0 <= port <= 0xFFFF:
        raise GrammarError(f"not a port: {port}")


def check_listening(host: str | Sequence[str] | None, port: int) -> None:
    """Raise `GrammarError` or `TypeError` for where nobody can listen: at no host at all, say."""
    check_port(port)
    hosts = _hosts(host)
    if not hosts:
        raise GrammarError("there is no host to listen on: None is every address of the machine")
    for name in hosts:
        check_host(name or "")


def _hosts(host: str | Sequence[str] | None) -> Sequence[str | None]:
    if host is None or isinstance(host, str):
        return [host]
    if not isinstance(host, Collection):  # such as a port that was to be port=25
        raise TypeError(f"a host to listen on is text, several texts or None, not {host!r:.40}")
    return host


def _addresses(host: str | Sequence[str] | None, port: int) -> list[tuple[int, Any]]:
    check_listening(host, port)
    found: dict[tuple[int, Any], None] = {}
    for name in _hosts(host):
        kind, flags = socket.SOCK_STREAM, socket.AI_PASSIVE
        try:
            infos = socket.getaddrinfo(name or None, port, type=kind, flags=flags)
        except socket.gaierror as error:
            raise type(error)(error.errno, f"cannot listen on {name} port {port}: {error.strerror}") from None
        for family, _, _, _, address in infos:
            found[family, address] = None
    return list(found)


def _open_all(addresses: list[tuple[int, Any]], port: int, backlog: int, reuse_port: bool) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, address in addresses:
            try:
                sockets.append(_open(family, (address[0], port, *address[2:]), backlog, reuse_port))
            except OSError as error:
                if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
                absent = error  # names often have an IPv6 address where the machine has no IPv6
            else:
                port = sockets[-1].getsockname()[1]
        if absent is not None and not sockets:
            raise absent
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _open(family: int, address: tuple[Any, ...], backlog: int, reuse_port: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has its own socket
        sock.bind(address)
        sock.listen(backlog)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            raise OSError(error.errno, f"cannot listen on {address[0]} port {address[1]}: {error.strerror}") from None
        raise
    return sock


@contextmanager
def connecting(host: str, port: int, path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Have an error of connecting say where to, for that of the system does not."""
    try:
        yield
    except TimeoutError:
        raise
    except OSError as error:
        if error.errno is None:
            raise
        where = f"{host} port {port}" if path is None else os.fspath(path)
        why = error.strerror if isinstance(error, socket.gaierror) else _describe(error.errno)
        raise type(error)(error.errno, f"cannot connect to {where}: {why}") from None


def _describe(code: int) -> str:
    """Return what an error of a socket means, of which ``os.strerror`` of Windows knows nothing, but a table does."""
    codes: dict[int, str] = getattr(socket, "errorTab", {})
    return codes.get(code) or os.strerror(code)


def unix_address(path: str | os.PathLike[str]) -> str:
    """Return the address of the unix socket at ``path``.

    Raises:
        NotSupportedError: this system has no unix sockets, or its Python knows nothing of them.
        GrammarError: the path is empty, where Linux would listen under a name of its own choice.
    """
    check_path(path)
    if not hasattr(socket, "AF_UNIX"):
        raise NotSupportedError(f"there are no unix sockets on this system: {os.fspath(path)}")
    return os.fspath(path)


def listen_unix(path: str | os.PathLike[str], *, backlog: int = 128) -> socket.socket:
    """Return a socket that listens at ``path``; a socket that a dead server left there is replaced.

    Raises:
        NotSupportedError: there are no unix sockets on this system.
        OSError: something else is there, or somebody listens on it.
    """
    address = unix_address(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(Path(path))
        sock.bind(address)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {address}: {error.strerror or error}") from None
    return sock


def _remove_stale(path: Path) -> None:
    """Remove the socket at ``path`` if nobody listens on it."""
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            try:
                probe.connect(os.fspath(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except BlockingIOError:
                pass  # whoever listens is only busy


class Sockets:
    """The listening sockets of one server, and what is to be tidied up behind them.

    Args:
        sock: a socket to listen on, bound already; host, port and path do not count then.
        path: where to listen as a unix socket, in place of host and port.
    """

    def __init__(
        self,
        host: str | Sequence[str] | None,
        port: int,
        path: str | os.PathLike[str] | None,
        sock: socket.socket | None,
        *,
        backlog: int,
        reuse_port: bool,
    ) -> None:
        self._path = Path(path) if path is not None and sock is None else None
        if sock is not None:
            self.sockets = [sock]
            sock.listen(backlog)
        elif self._path is not None:
            self.sockets = [listen_unix(self._path, backlog=backlog)]
            self._inode = self._path.stat().st_ino
        else:
            self.sockets = listen(host, port, backlog=backlog, reuse_port=reuse_port)
        self.addresses: tuple[Any, ...] = tuple(sock.getsockname() for sock in self.sockets)

    @property
    def port(self) -> int:
        """The port, the real one where 0 was asked for; 0 for a unix socket."""
        return next((address[1] for address in self.addresses if isinstance(address, tuple)), 0)

    def close(self) -> None:
        """Listen no more. The file of a unix socket goes too, unless it is another server's by now. Only once: then
        another server may have its inode as well."""
        for sock in self.sockets:
            sock.close()
        path, self._path = self._path, None
        if path is not None:
            with suppress(FileNotFoundError):
                if path.stat().st_ino == self._inode:
                    path.unlink()
