"""The servers of the loopback benchmark, each in a process of its own: ``python -m tests.bench.servers NAME``.

It prints its port, serves until its input ends, and prints the CPU seconds that it took since it was ready.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from functools import partial
from typing import Any, NamedTuple

from mailproto import aio, sync
from mailproto.pop3 import MessageInfo, POP3ServerConfig
from mailproto.smtp import Envelope, Limits, Rcpt, SMTPServerConfig

POP3_MESSAGES, POP3_SIZE = 200, 10_000
_ENDLESS = Limits(max_commands=10**9, max_junk=10**9, max_transactions=10**9)
_CONFIG = SMTPServerConfig(limits=_ENDLESS, max_message_size=0)


class Place(NamedTuple):
    """Where a server listens."""

    port: int


class Sink:
    """Takes every message, whole, and forgets it."""

    def on_rcpt(self, session: Any, rcpt: Rcpt) -> None:
        """Take every recipient."""

    def on_message(self, session: Any, envelope: Envelope) -> None:
        """Take every message."""


class Drop:
    """Hands out the same messages at every login."""

    def __init__(self) -> None:
        line = b"The quick brown fox jumps over the lazy dog.\r\n"
        self._message = line * (POP3_SIZE // len(line))
        self.messages = [MessageInfo(len(self._message), f"uid{number}") for number in range(POP3_MESSAGES)]

    def retrieve(self, number: int) -> Iterator[bytes]:
        """Return the message."""
        return iter((self._message,))

    def commit(self, deleted: Any) -> None:
        """Delete nothing."""

    def close(self) -> None:
        """Release nothing."""


class Drops:
    """The hooks of a POP3 server that lets everybody in."""

    def on_auth(self, session: Any, check: object) -> bool:
        """Let everybody in."""
        return True

    def on_login(self, session: Any) -> Drop:
        """Open the one drop."""
        return Drop()


def aio_smtp() -> AbstractAsyncContextManager[Any]:
    """Return our SMTP server over asyncio."""
    return aio.SMTPServer(Sink(), port=0, config=_CONFIG, spool_threshold=64 << 20)


def sync_smtp() -> AbstractContextManager[Any]:
    """Return our SMTP server over blocking sockets."""
    return sync.SMTPServer(Sink(), port=0, config=_CONFIG, spool_threshold=64 << 20)


def aio_pop3() -> AbstractAsyncContextManager[Any]:
    """Return our POP3 server over asyncio."""
    config = POP3ServerConfig(limits=_ENDLESS, allow_plaintext_auth=True)
    return aio.POP3Server(Drops(), port=0, config=config)


@asynccontextmanager
async def aiosmtpd() -> AsyncIterator[Any]:
    """Run aiosmtpd with its usual parser and a handler that takes everything."""
    smtp = importlib.import_module("aiosmtpd.smtp")

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            return "250 OK"

    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: smtp.SMTP(Handler(), data_size_limit=1 << 30), "127.0.0.1", 0)
    try:
        yield Place(server.sockets[0].getsockname()[1])
    finally:
        server.close()


@contextmanager
def canned(offer: bytes) -> Iterator[Any]:
    """Run the cheapest server there is, for measuring clients: it answers by rote and looks at nothing but lines."""
    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_accept, args=(listening, offer), daemon=True).start()

    yield Place(listening.getsockname()[1])
    listening.close()


def _accept(listening: socket.socket, offer: bytes) -> None:
    while True:
        try:
            sock, _ = listening.accept()
        except OSError:
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_attend, args=(sock, offer), daemon=True).start()


def _attend(sock: socket.socket, offer: bytes) -> None:
    with sock, suppress(ConnectionError):  # who has been measured may leave without a word
        _answer(sock, offer)


def _answer(sock: socket.socket, offer: bytes) -> None:
    sock.sendall(b"220 canned ESMTP\r\n")
    kept = b""
    in_data = False
    chunk = 0  # octets of a BDAT that are still to come
    while data := sock.recv(1 << 20):
        kept += data
        out = b""
        while kept:
            if chunk:
                chunk, kept = max(0, chunk - len(kept)), kept[chunk:]
                out += b"" if chunk else b"250 2.0.0 OK\r\n"
                continue
            if in_data:
                end = kept.find(b"\r\n.\r\n")
                if end < 0:
                    kept = kept[-4:]
                    break
                kept, in_data, out = kept[end + 5 :], False, out + b"250 2.0.0 OK\r\n"
                continue
            line, ended, rest = kept.partition(b"\r\n")
            if not ended:
                break
            kept = rest
            verb = line[:4].upper()
            in_data = verb == b"DATA"
            if verb == b"BDAT":
                chunk = int(line.split(b" ")[1])
            else:
                out += offer if verb == b"EHLO" else _CANNED.get(verb, b"250 2.0.0 OK\r\n")
        if out:
            sock.sendall(out)


_OFFER = b"250-canned\r\n250-PIPELINING\r\n250-SIZE 0\r\n250 8BITMIME\r\n"
_CANNED = {b"DATA": b"354 go ahead\r\n", b"QUIT": b"221 bye\r\n"}
ASYNC_SERVERS: dict[str, Callable[[], AbstractAsyncContextManager[Any]]] = {
    "aio": aio_smtp,
    "aiosmtpd": aiosmtpd,
    "aio-pop3": aio_pop3,
}
SYNC_SERVERS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "sync": sync_smtp,
    "canned": partial(canned, _OFFER),
    "canned, CHUNKING": partial(canned, _OFFER.replace(b"250 ", b"250-") + b"250 CHUNKING\r\n"),
}


async def _serve(make: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
    async with make() as server:
        end_of_input = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        began = _announce(server)
        await end_of_input
        print(time.process_time() - began, flush=True)


def _announce(server: Any) -> float:
    print(server.port, flush=True)
    return time.process_time()


def main(name: str) -> None:
    """Run one server."""
    if name in ASYNC_SERVERS:
        asyncio.run(_serve(ASYNC_SERVERS[name]))
        return
    with SYNC_SERVERS[name]() as server:
        began = _announce(server)
        sys.stdin.read()
        print(time.process_time() - began, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
