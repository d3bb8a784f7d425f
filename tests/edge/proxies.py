"""Proxies that work: they read what a client asks for, open the way, and pass octets on."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.adapters.harness import PATIENCE


class Tunneler:
    """A SOCKS5 or HTTP proxy on a port of its own.

    Attributes:
        asked: the destinations that were asked for.
        logins: the users and passwords that were shown, as they came.
    """

    def __init__(self, kind: str, *, coalesce: bool = False, drip: bool = False) -> None:
        self._open = self._open_socks if kind == "socks" else self._open_http
        self._coalesce = coalesce
        self._drip = drip
        self.asked: list[tuple[str, int]] = []
        self.logins: list[bytes] = []
        self.failures: list[BaseException] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(PATIENCE)
        self.port: int = self._listening.getsockname()[1]
        self._socks: list[socket.socket] = [self._listening]
        self._threads = [self._start(self._serve)]

    def _start(self, work: Callable[..., None], *arguments: socket.socket) -> threading.Thread:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        thread.start()
        return thread

    def _serve(self) -> None:
        try:
            client, _ = self._listening.accept()
        except OSError:
            return
        try:
            client.settimeout(PATIENCE)
            self._socks.append(client)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server, answer = self._open(client)
            self._socks.append(server)
            if self._coalesce:  # the destination's first words come with the proxy's last
                answer += server.recv(65536)
            self._say(client, answer)
            self._threads.append(self._start(self._pump, server, client))
            self._pump(client, server)
        except BaseException as error:
            self.failures.append(error)

    def _say(self, client: socket.socket, data: bytes) -> None:
        for start in range(0, len(data), 1 if self._drip else max(len(data), 1)):
            client.sendall(data[start : start + 1] if self._drip else data)

    def _reach(self, host: str, port: int) -> socket.socket:
        self.asked.append((host, port))
        server = socket.create_connection(("127.0.0.1", port), PATIENCE)
        server.settimeout(PATIENCE)
        return server

    def _open_socks(self, client: socket.socket) -> tuple[socket.socket, bytes]:
        _, count = _take(client, 2)
        methods = _take(client, count)
        if 2 in methods:
            self._say(client, b"\x05\x02")
            login = _take(client, 2)
            login += _take(client, login[1] + 1)
            login += _take(client, login[-1])
            self.logins.append(login)
            self._say(client, b"\x01\x00")
        else:
            self._say(client, b"\x05\x00")
        kind = _take(client, 4)[3]
        if kind == 3:
            host = _take(client, _take(client, 1)[0]).decode()
        else:
            host = str(ipaddress.ip_address(_take(client, 4 if kind == 1 else 16)))
        server = self._reach(host, int.from_bytes(_take(client, 2), "big"))
        return server, b"\x05\x00\x00\x03\x05proxy\x00\x00"

    def _open_http(self, client: socket.socket) -> tuple[socket.socket, bytes]:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += _take(client, 1)
        first, *fields = head.decode().split("\r\n")
        self.logins += [field.encode() for field in fields if field.startswith("Proxy-Authorization: ")]
        host, _, port = first.split(" ")[1].rpartition(":")
        server = self._reach(host, int(port))
        return server, b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n"

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
        for sock in self._socks:
            sock.close()
        if self.failures:
            raise self.failures[0]


def _take(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = sock.recv(count - len(data))
        if not piece:
            raise ConnectionError("the client hung up")
        data += piece
    return data


@contextmanager
def tunneler(kind: str, **how: bool) -> Iterator[Tunneler]:
    """Run a proxy for one connection."""
    proxy = Tunneler(kind, **how)
    try:
        yield proxy
    finally:
        proxy.close()
