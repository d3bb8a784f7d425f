"""Connecting over a blocking socket."""

from __future__ import annotations

import socket
import time

import pytest

from mailproto.smtp import SMTPClientConnection
from mailproto.sync.connect import open_link
from tests.adapters.harness import at_best

TIMEOUT = 2.0


def test_an_address_that_leads_nowhere_leaves_time_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It took all of the time, and the next one had a thousandth of a second."""
    with socket.create_server(("127.0.0.1", 0)) as good, socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        waiting = [socket.socket() for _ in range(4)]  # more than it can keep, so that who comes now hears nothing
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(deaf.getsockname())
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", listening.getsockname())
            for listening in (deaf, good)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

        def seconds() -> float:
            begun = time.monotonic()
            link = open_link(SMTPClientConnection(), "mx.example", 25, timeout=TIMEOUT)
            took = time.monotonic() - begun
            assert link.peer == good.getsockname()
            link.abort()
            return took

        assert at_best(seconds, (0.9 * TIMEOUT).__gt__) < 0.9 * TIMEOUT
        for sock in waiting:
            sock.close()
