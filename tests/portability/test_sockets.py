"""What sockets, and waiting for them, do on other systems, simulated one by one."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
import time
from typing import Any

import pytest

from mailproto import aio, sync
from mailproto.testing import Outbox
from tests.adapters.harness import PATIENCE, held_port


def test_a_server_that_waits_for_its_end_hears_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows a wait without an end does not, and one with an end hears it behind that."""

    class DeafEvent(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None, "a wait that nobody can interrupt"
            raise KeyboardInterrupt

    server = sync.SMTPServer(Outbox(), port=0)
    monkeypatch.setattr(server, "_stopped", DeafEvent())
    with pytest.raises(KeyboardInterrupt):
        server.serve_forever()


def test_a_client_that_has_left_before_it_was_accepted_holds_up_nobody(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Linux hands out a dead connection, Windows has accepting fail, and so do others."""
    monkeypatch.setattr("mailproto.sync.listener._MOMENT", PATIENCE)  # as it would be held up for

    class Listening(socket.socket):
        failures: Any = 3

        def accept(self) -> Any:
            if self.failures:
                self.failures -= 1
                raise ConnectionResetError(errno.ECONNRESET, "reset")
            return super().accept()

    listening = Listening()
    listening.bind(("127.0.0.1", 0))
    begun = time.monotonic()
    with sync.SMTPServer(Outbox(), sock=listening) as server, sync.SMTPClient("127.0.0.1", server.port) as client:
        client.noop()
    assert time.monotonic() - begun < PATIENCE
    assert caplog.record_tuples == []


def test_a_socket_without_options_any_more_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """On macOS it is one whose peer has left."""

    class Left(socket.socket):
        def setsockopt(self, *_: Any) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

    class Listening(socket.socket):
        def accept(self) -> Any:
            sock, address = super().accept()
            return Left(fileno=sock.detach()), address

    listening = Listening()
    listening.bind(("127.0.0.1", 0))
    with sync.SMTPServer(Outbox(), sock=listening), socket.create_connection(listening.getsockname()) as sock:
        assert sock.recv(1) == b""
    assert caplog.record_tuples == []


@pytest.mark.parametrize("front", [sync, aio])
def test_errors_of_sockets_have_words_where_the_system_has_a_table_of_them(
    front: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "strerror", lambda _: "Unknown error")
    monkeypatch.setattr(socket, "errorTab", {errno.ECONNREFUSED: "Connection refused."}, raising=False)
    said = r"cannot connect to 127\.0\.0\.1 port \d+: Connection refused\."
    with held_port() as port, pytest.raises(ConnectionRefusedError, match=said):
        _connect(front.SMTPClient("127.0.0.1", port, tls=sync.TLSPolicy.NONE))


def _connect(client: Any) -> None:
    connecting = client.connect()
    if connecting is not None and hasattr(connecting, "__await__"):
        asyncio.run(connecting)
