"""A name server that says what a test wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from mailproto.dns import read_name
from tests.dns import wire

TYPES = {wire.MX: "MX", wire.A: "A", wire.AAAA: "AAAA", wire.SRV: "SRV", wire.TXT: "TXT"}


class NameServer:
    """A name server on a free port of this host, over UDP and TCP, that says what a test wants.

    Attributes:
        asked: the type of each query that came, and how.
        names: what it was about.
        ports: the ports that datagrams came from.
    """

    def __init__(self, respond: Callable[[str, bytes], Iterable[bytes]], address: str = "127.0.0.1") -> None:
        self.asked: list[tuple[str, str]] = []
        self.names: list[str] = []
        self.ports: set[int] = set()
        self._respond = respond
        self._datagrams, self._listening = _listen(address)
        self.port: int = self._datagrams.getsockname()[1]
        self._threads = [threading.Thread(target=target) for target in (self._serve_datagrams, self._serve_streams)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop serving."""
        with socket.socket(self._datagrams.family, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self._datagrams.getsockname())
        self._listening.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._datagrams.close()
        self._listening.close()

    def _answers(self, how: str, query: bytes) -> Iterable[bytes]:
        self.asked.append((TYPES[int.from_bytes(query[-4:-2])], how))
        self.names.append(read_name(query, 12)[0])
        return self._respond(how, query)

    def _serve_datagrams(self) -> None:
        while True:
            query, peer = self._datagrams.recvfrom(4096)
            if not query:
                return
            self.ports.add(peer[1])
            for answer in self._answers("datagram", query):
                self._datagrams.sendto(answer, peer)

    def _serve_streams(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            with sock, suppress(ConnectionError):  # who asks may have heard enough
                query = sock.recv(4096)
                assert int.from_bytes(query[:2]) == len(query) - 2
                for answer in self._answers("stream", query[2:]):
                    for octet in len(answer).to_bytes(2) + answer:  # however it is cut
                        sock.sendall(bytes([octet]))


def _listen(address: str) -> tuple[socket.socket, socket.socket]:
    """Return a socket for datagrams and one for connections, on one port that nobody else has for either."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    while True:
        datagrams = socket.socket(family, socket.SOCK_DGRAM)
        datagrams.bind((address, 0))
        try:
            return datagrams, socket.create_server((address, datagrams.getsockname()[1]), family=family)
        except OSError:
            datagrams.close()


@contextmanager
def serving(respond: Callable[[str, bytes], Iterable[bytes]], address: str = "127.0.0.1") -> Iterator[NameServer]:
    """Run a name server."""
    server = NameServer(respond, address)
    try:
        yield server
    finally:
        server.close()
