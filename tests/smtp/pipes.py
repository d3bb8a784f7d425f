"""A third driver for the flows, over pipes in memory: a whole adapter in fewer than sixty lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mailproto._core.connection import Connection
from mailproto._core.flow import Call, Flow, Sleep, Want
from tests.helpers import cut_at


class Driver:
    """Runs one flow on one connection; the network is whoever calls `go`."""

    def __init__(self, conn: Connection[Any], flow: Flow[Any]) -> None:
        self.conn = conn
        self.flow = flow
        self.done = False
        self.result: Any = None
        self.error: Exception | None = None
        self.slept: list[float] = []
        self._said: list[bytes] = []
        self._begun = False

    def go(self, data: bytes | None = b"") -> bytes:
        """Hand over input (None: its end), run until more is wanted, and return the output."""
        if data is None:
            self.conn.receive_eof()
        elif data:
            self.conn.receive_data(data)
        value: Any = None
        thrown: Exception | None = None
        while not self.done:
            try:
                wish = self.flow.send(value) if thrown is None else self.flow.throw(thrown)
            except StopIteration as stop:
                self.done, self.result = True, stop.value
                break
            except Exception as error:
                self.done, self.error = True, error
                break
            value = thrown = None
            self._said.append(self.conn.data_to_send())
            if wish is Want.READ:
                break
            if wish is Want.START_TLS:
                self.conn.tls_established()
            elif isinstance(wish, Sleep):
                self.slept.append(wish.seconds)
            elif isinstance(wish, Call):
                try:
                    value = finished(wish.function(*wish.arguments))
                except Exception as error:
                    thrown = error
        said, self._said = b"".join([*self._said, self.conn.data_to_send()]), []
        return said


def finished(result: Any) -> Any:
    """Return the result of an awaitable that has nothing to wait for, and everything else as it is."""
    if not hasattr(result, "__await__"):
        return result
    try:
        result.__await__().send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("nothing here waits")


Answerer = Callable[[bytes], bytes | None]
"""A server: is given what the client says, and returns what it answers, None when it has hung up."""


def converse(
    conn: Connection[Any], flow: Flow[Any], server: Answerer, sizes: Sequence[int] = (1 << 20,)
) -> tuple[Driver, list[bytes]]:
    """Run a client's flow against a server; return the driver, and what left in each flight."""
    client = Driver(conn, flow)
    flights: list[bytes] = []
    heard: bytes | None = b""
    for _ in range(1000):
        said = b""
        for piece in cut_at(heard, sizes) if heard else [heard]:
            said += client.go(piece)
        if said:
            flights.append(said)
        if client.done:
            return client, flights
        if heard is None:
            raise AssertionError("it goes on waiting though the server is gone")
        heard = server(said)
        if heard == b"" and not said:
            raise AssertionError(f"both sides wait, behind {flights[-1:]}")
    raise AssertionError("this leads nowhere")


def serving(driver: Driver, sizes: Sequence[int] = (1 << 20,)) -> Answerer:
    """Return a server that is one of ours, run by a driver."""
    waiting = bytearray(driver.go())

    def answer(data: bytes) -> bytes | None:
        if driver.done:
            return None
        for piece in cut_at(data, sizes):
            waiting.extend(driver.go(piece))
        said = bytes(waiting)
        waiting.clear()
        return said

    return answer


def scripted(*answers: str | None, greeting: str = "220 mx.example.org") -> Answerer:
    """Return a server that gives these answers, one to each flight of the client, lines separated by ``|``."""
    left = [greeting, *answers]

    def answer(_: bytes) -> bytes | None:
        lines = left.pop(0) if left else None
        return None if lines is None else "".join(f"{line}\r\n" for line in lines.split("|") if line).encode()

    return answer
