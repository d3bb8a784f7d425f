"""S17 over sockets: the answer to an accepted message that the network did not take any more."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from typing import Any

import pytest

from mailproto import smtp
from tests.adapters.facades import AioFront, SyncFront
from tests.adapters.harness import PATIENCE, Wire

Front = AioFront | SyncFront
MESSAGE = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n"


@pytest.fixture(params=[AioFront, SyncFront], ids=["aio", "sync"])
def front(request: pytest.FixtureRequest) -> Any:
    chosen = request.param()
    yield chosen
    chosen.close()


class Slow:
    """Has a message safe some time after it came."""

    def __init__(self, answer: str = "queued as 4711", *, awaited: bool = False) -> None:
        self.lost: tuple[smtp.ReplyLost, ...] = ()
        self.reached, self.goes_on, self.closed = threading.Event(), threading.Event(), threading.Event()
        self._answer = answer
        self._awaited = awaited

    def on_rcpt(self, session: Any, rcpt: Any) -> None:
        """Take it."""

    def on_message(self, session: Any, envelope: Any) -> Any:
        return asyncio.to_thread(self._store) if self._awaited else self._store()

    def _store(self) -> str:
        self.reached.set()
        assert self.goes_on.wait(PATIENCE)
        return self._answer

    def on_close(self, session: Any) -> None:
        self.lost = session.replies_lost
        self.closed.set()

    def wait_closed(self) -> list[str]:
        """Return the texts of the answers that were lost, once the connection is closed."""
        assert self.closed.wait(PATIENCE)
        return [each.reply.text[:14] for each in self.lost]


def reset(wire: Wire) -> None:
    """Close a connection so that its peer cannot miss it."""
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


def read_until(wire: Wire, beginning: bytes) -> None:
    while not wire.line().startswith(beginning):
        pass


@pytest.mark.parametrize("awaited", [False, True])
def test_a_client_that_left_before_its_message_was_safe(front: Front, awaited: bool) -> None:
    slow = Slow(awaited=awaited and front.name == "aio")
    with front.SMTPServer(slow, port=0) as server:
        with Wire.to(server.port) as wire:
            wire.send(MESSAGE)
            assert slow.reached.wait(PATIENCE)
            reset(wire)
        slow.goes_on.set()
        assert slow.wait_closed() == ["queued as 4711"]


def test_a_client_that_left_in_the_middle_of_the_answer(front: Front) -> None:
    slow = Slow("\n".join(["queued as 4711", *["and so on " * 45] * 40_000]))
    slow.goes_on.set()
    with front.SMTPServer(slow, port=0) as server:
        with Wire.to(server.port) as wire:
            wire.send(MESSAGE)
            read_until(wire, b"250-2.0.0 queued")
            reset(wire)
        assert slow.wait_closed() == ["queued as 4711"]


@pytest.mark.parametrize("ending", ["reset", "close", "quit"])
def test_a_client_that_was_told(front: Front, ending: str) -> None:
    slow = Slow()
    slow.goes_on.set()
    with front.SMTPServer(slow, port=0) as server:
        with Wire.to(server.port) as wire:
            wire.send(MESSAGE)
            read_until(wire, b"250 2.0.0 queued")
            if ending == "quit":
                wire.send(b"QUIT\r\n")
                wire.rest()
            elif ending == "reset":
                reset(wire)
        assert slow.wait_closed() == []


def test_a_handler_over_events_learns_it_with_the_end(front: Front) -> None:
    lost: list[str] = []
    reached, goes_on, closed = threading.Event(), threading.Event(), threading.Event()

    def handle(session: Any, event: Any) -> bool:
        if isinstance(event, smtp.MessageEnd):
            reached.set()
            assert goes_on.wait(PATIENCE)
            session.accept("queued as 4711")
        elif isinstance(event, smtp.ConnectionClosed):
            lost.extend(each.reply.text for each in session.replies_lost)
            closed.set()
        elif session.conn.pending is not None:
            session.accept()
        return False

    with front.SMTPServer(front.handler(handle), port=0) as server:
        with Wire.to(server.port) as wire:
            wire.send(MESSAGE)
            assert reached.wait(PATIENCE)
            reset(wire)
        goes_on.set()
        assert closed.wait(PATIENCE)
    assert lost == ["queued as 4711"]
