"""Our servers and clients beside their peers, over the loopback: CPU seconds a message, and the ratio.

    python -m tests.bench.loopback [ROUNDS]

Servers are measured in processes of their own, each round anew, in turns; the load comes from a raw socket that
pipelines and looks at nothing but the ends of replies. Clients are measured in this process, against servers that
answer by rote. The peers aiosmtpd and aiosmtplib have to be installed; what is missing is said and left out.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import poplib
import smtplib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO

from mailproto import aio, sync
from mailproto.smtp import make_submission
from tests.bench.servers import POP3_MESSAGES
from tests.bench.timing import cpu_seconds, interleave

_HEADER = b"""Received: from client.example.org (client.example.org [192.0.2.1])
\tby mx.example.net with ESMTPS id 4Zx1Qw2k3Tz9rH
\tfor <b@example.org>; Mon, 23 Nov 2026 09:00:00 +0000
From: Alice <a@example.org>
To: Bob <b@example.org>
Subject: About the bench in the park
Date: Mon, 23 Nov 2026 09:00:00 +0000
Message-ID: <20261123090000.12345@client.example.org>
MIME-Version: 1.0
Content-Type: text/plain; charset="us-ascii"
Content-Transfer-Encoding: 7bit

""".replace(b"\n", b"\r\n")
_LINE = b"The quick brown fox jumps over the lazy dog, and over its neighbours too.\r\n"
SMALL = _HEADER + _LINE * ((1024 - len(_HEADER)) // len(_LINE))
LARGE = _HEADER + _LINE * ((10 << 20) // len(_LINE))
SENDER, RECIPIENT = "a@example.org", "b@example.org"


# What the C library gives back to the system has to be cleared page by page when it is wanted again: for each 10 MB
# that a server holds some 4 ms, or nothing, as it happens to lie. All servers alike are told to keep it.
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": f"{32 << 20}", "MALLOC_TRIM_THRESHOLD_": f"{64 << 20}"}


class Server:
    """A server of `tests.bench.servers` in its own process."""

    def __init__(self, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.servers", name],
            env=os.environ | _KEEP_MEMORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._line())

    def stop(self) -> float:
        """End it; return the CPU seconds that it took."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        took = float(self._line())
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        return took

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def running(name: str) -> Iterator[int]:
    """Run a server, and yield its port."""
    server = Server(name)
    try:
        yield server.port
    finally:
        server.stop()


def load(port: int, message: bytes, count: int, ahead: int) -> None:
    """Send a message ``count`` times, ``ahead`` of them in one flight.

    With one it is what a client may do: the commands in one flight, then the message with the commands of the next.
    With more of them DATA is not waited for, which only shows what a message costs when no wait comes between.
    """
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        replies = sock.makefile("rb")
        _read_reply(replies)
        sock.sendall(b"EHLO load.example\r\n")
        _read_reply(replies)
        commands = f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode()
        text = message + b".\r\n"
        flight = text + (commands + text) * (ahead - 1)
        sock.sendall(commands)
        _read_replies(replies, 3)
        for _ in range(count // ahead - 1):
            sock.sendall(flight + commands)
            _read_replies(replies, 4 * ahead)
        sock.sendall(flight + b"QUIT\r\n")
        _read_replies(replies, 4 * ahead - 2)
        replies.close()


def _read_replies(replies: BinaryIO, count: int) -> None:
    for _ in range(count):
        _read_reply(replies)


def _read_reply(replies: BinaryIO) -> None:
    while (line := replies.readline())[3:4] == b"-":
        pass
    assert line[:1] in (b"2", b"3"), line


def server_cost(name: str, message: bytes, count: int, ahead: int) -> float:
    """Return the CPU seconds that a server takes for a message."""
    server = Server(name)
    load(server.port, message, count, ahead)
    return server.stop() / count


def ours_sync(port: int, message: bytes, count: int) -> None:
    """Send with our blocking client."""
    with sync.SMTPClient("127.0.0.1", port) as client:
        for _ in range(count):
            client.send_message(message, SENDER, RECIPIENT).raise_for_refused()


def ours_sync_pipelined(port: int, message: bytes, count: int) -> None:
    """Send with our blocking client, each message begun before the reply to the last one."""
    with sync.SMTPClient("127.0.0.1", port) as client:
        client.send_messages([make_submission(message, SENDER, RECIPIENT) for _ in range(count)])


def stdlib_smtp(port: int, message: bytes, count: int) -> None:
    """Send with smtplib."""
    with smtplib.SMTP("127.0.0.1", port) as client:
        for _ in range(count):
            client.sendmail(SENDER, [RECIPIENT], message)


def bare_socket(port: int, message: bytes, count: int) -> None:
    """Send the same octets in as few flights, one message by one, and look at nothing: the floor of any client."""
    envelope = f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\n".encode()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.recv(1 << 16)
        sock.sendall(b"EHLO bare.example\r\n")
        if b"CHUNKING" in sock.recv(1 << 16):
            flights = [envelope + b"BDAT %d LAST\r\n" % len(message) + message]
        else:
            flights = [envelope + b"DATA\r\n", message + b".\r\n"]
        for flight in flights * count:
            sock.sendall(flight)
            sock.recv(1 << 16)


def ours_aio(port: int, message: bytes, count: int) -> None:
    """Send with our client over asyncio."""

    async def job() -> None:
        async with aio.SMTPClient("127.0.0.1", port) as client:
            for _ in range(count):
                (await client.send_message(message, SENDER, RECIPIENT)).raise_for_refused()

    asyncio.run(job())


def peer_aiosmtplib(port: int, message: bytes, count: int) -> None:
    """Send with aiosmtplib."""
    aiosmtplib = importlib.import_module("aiosmtplib")

    async def job() -> None:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) as client:
            for _ in range(count):
                await client.sendmail(SENDER, [RECIPIENT], message)

    asyncio.run(job())


def ours_pop3(port: int) -> None:
    """Fetch the maildrop with our blocking client."""
    none = sync.TLSPolicy.NONE
    with sync.POP3Client("127.0.0.1", port, tls=none, user="a", password="b", allow_plaintext_auth=True) as pop:
        for message in pop.messages():
            message.read()


def stdlib_pop3(port: int) -> None:
    """Fetch the maildrop with poplib."""
    pop = poplib.POP3("127.0.0.1", port)
    pop.user("ada")
    pop.pass_("secret")
    for number in range(1, POP3_MESSAGES + 1):
        pop.retr(number)
    pop.quit()


def report(title: str, candidates: Mapping[str, Callable[[], float]], rounds: int) -> None:
    """Print the median cost of each candidate, and how many times the first one's that is."""
    took = interleave(candidates, rounds)
    first = next(iter(took.values()))
    figures = ", ".join(f"{name} {cost * 1e6:.0f} µs ({cost / first:.1f} x)" for name, cost in took.items())
    print(f"{title}: {figures}", flush=True)


def main(rounds: int) -> None:
    """Compare servers, then clients."""
    have = {name for name in ("aiosmtpd", "aiosmtplib") if importlib.util.find_spec(name)}
    for name in sorted({"aiosmtpd", "aiosmtplib"} - have):
        print(f"{name} is not installed and is left out")
    servers = ["aio", "sync", *(["aiosmtpd"] if "aiosmtpd" in have else [])]
    loads = {"1 KB": (SMALL, 2000, 1), "1 KB, 20 in a flight": (SMALL, 2000, 20), "10 MB": (LARGE, 5, 1)}
    for size, (message, count, ahead) in loads.items():
        report(
            f"SMTP server, {size}",
            {name: partial(server_cost, name, message, count, ahead) for name in servers},
            rounds,
        )
    clients = {
        "sync": ours_sync,
        "smtplib": stdlib_smtp,
        "sync, in one go": ours_sync_pipelined,
        "aio": ours_aio,
        "a bare socket": bare_socket,
    }
    if "aiosmtplib" in have:
        clients["aiosmtplib"] = peer_aiosmtplib
    for server in ("canned", "canned, CHUNKING"):
        with running(server) as port:
            for size, message, count in (("1 KB", SMALL, 1000), ("10 MB", LARGE, 5)):
                jobs = {name: partial(_client_cost, client, port, message, count) for name, client in clients.items()}
                report(f"SMTP client, server {server}, {size}", jobs, rounds)
    with running("aio-pop3") as port:
        jobs = {
            name: partial(_fetch_cost, fetch, port)
            for name, fetch in {"sync": ours_pop3, "poplib": stdlib_pop3}.items()
        }
        report("POP3 client, 10 KB", jobs, rounds)


def _client_cost(client: Callable[[int, bytes, int], None], port: int, message: bytes, count: int) -> float:
    return cpu_seconds(partial(client, port, message, count)) / count


def _fetch_cost(fetch: Callable[[int], None], port: int) -> float:
    return cpu_seconds(partial(fetch, port)) / POP3_MESSAGES


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
