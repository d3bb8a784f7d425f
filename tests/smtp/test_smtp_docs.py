"""The example in the package's docstring does what it says."""

from __future__ import annotations

import re
import socket
import textwrap
import threading
from typing import Any

import mailproto.smtp
from mailproto import sync
from tests.adapters.harness import PATIENCE


class Spool:
    """Keeps what was written when it is told to."""

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self.kept: list[bytes] = []

    def write(self, octets: bytes) -> None:
        self._written.append(octets)

    def commit(self) -> None:
        self.kept.append(b"".join(self._written))
        self._written.clear()


def test_the_server_by_hand() -> None:
    (block,) = re.findall(r"::\n\n((?: {4}.*\n)+)", mailproto.smtp.__doc__ or "")
    names: dict[str, Any] = {name: getattr(mailproto.smtp, name) for name in mailproto.smtp.__all__}
    ours, theirs = socket.socketpair()
    names |= {"sock": ours, "spool": Spool()}

    def serve() -> None:
        with ours:
            exec(compile(textwrap.dedent(block), "the docstring", "exec"), names)

    server = threading.Thread(target=serve)
    server.start()
    try:
        with sync.SMTPClient(sock=theirs, tls=sync.TLSPolicy.NONE) as client:
            results = [
                client.send_message(b"Subject: x\r\n\r\n%d\r\n" % number, "", ["ada@Example.org", "bob@example.net"])
                for number in range(2)
            ]
    finally:
        server.join(PATIENCE)
    assert not server.is_alive()
    assert [str(result.reply) for result in results] == ["250 2.0.0 it is safe now"] * 2
    assert [len(result.accepted) for result in results] == [1, 1]
    assert names["spool"].kept == [b"Subject: x\r\n\r\n0\r\n", b"Subject: x\r\n\r\n1\r\n"]
