"""A line between a client and a server in one process: two engines, and the octets between them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any, TypeAlias, TypeVar

from mailproto._core.connection import Connection
from mailproto._core.flow import Call, Flow, T, Want
from mailproto._flows.engine import Engine
from mailproto.errors import LocalProtocolError, Reject

R = TypeVar("R")

Talk: TypeAlias = Generator[Call, Any, R]
"""A talk over the line. It yields the calls of the application's code, and is sent what they return."""


class NoAnswer(Exception):
    """Raised by a hook of a server on the other end of a line in memory: it never says anything any more.

    The client's time is up at once, as it would be after minutes.
    """


class Line:
    """The line, with a client's connection at one end, and at the other a server's and the flow that serves it."""

    def __init__(self, client: Connection[Any], server: Connection[Any], serving: Flow[None]) -> None:
        self._client = Engine(client)
        self._server = Engine(server)
        self._server.begin(serving, part=True)
        self._silent = False  # the server is, and for good

    def run(self, flow: Flow[T], *, part: bool = False) -> Talk[T]:
        """Drive a flow of the client, and the server as far as it is asked.

        Raises:
            LocalProtocolError: both sides wait for each other, or another flow is under way.
        """
        client = self._client
        client.begin(flow, part=part)
        thrown: Exception | None = None
        try:
            while True:
                said = yield from self._advance(client, thrown)
                answer = yield from self._ask(said)
                if answer or client.busy:
                    thrown = self._hear(answer)
                if not client.busy:
                    result: T = client.result
                    return result
        except BaseException:
            if client.busy:
                client.break_off()
            raise

    def close(self) -> Talk[None]:
        """Cut the line, and let the server learn of it.

        A hook that has not answered, because it never does or because it was cancelled, has not taken anything, and
        nobody is asked about what was said behind.
        """
        self._client.lose()
        cut_off = isinstance(self._server.wish, Call)
        if cut_off:
            self._server.conn.take_rest()
        self._server.lose()
        yield from self._advance(self._server, Reject() if cut_off else None)

    def _ask(self, said: bytes) -> Talk[bytes]:
        """Return what the server answers."""
        if self._silent:
            return b""
        client, server = self._client, self._server
        if said:
            server.receive(said)
        answer = yield from self._advance(server)
        both_wait = not answer and client.wish is Want.READ and server.wish is Want.READ
        if both_wait and server.conn.timeout < client.conn.timeout:
            server.receive_timeout()  # as before its greeting, which it may hold back to see who talks too soon
            answer = yield from self._advance(server)
        return answer

    def _hear(self, answer: bytes) -> Exception | None:
        """Hand an answer to the client, or the end, or that there is none; return what has to be thrown into its
        flow."""
        if self._silent and not answer:
            return self._client.receive_timeout()
        if not answer and self._server.busy:
            raise LocalProtocolError("both sides wait for each other")
        self._client.receive(answer)
        return None

    def _advance(self, engine: Engine, thrown: Exception | None = None) -> Talk[bytes]:
        """Drive an engine until it wants input, or is through; return what it says meanwhile."""
        said: list[bytes] = []
        value: Any = None
        while engine.busy and (wish := engine.step(value, thrown)) is not None:
            value = thrown = None
            said.append(engine.output())
            if wish is Want.READ:
                break
            if isinstance(wish, Call):
                try:
                    value = yield wish
                except NoAnswer:
                    self._silent = True
                    break
                except Exception as raised:
                    thrown = raised
        said.append(engine.output())
        return b"".join(said)


def hold(talk: Talk[R]) -> R:
    """Hold a talk to its end, or close it. A coroutine among the calls must have nothing to wait for."""
    value: Any = None
    thrown: Exception | None = None
    with closing(talk):
        while True:
            try:
                call = talk.send(value) if thrown is None else talk.throw(thrown)
            except StopIteration as stop:
                result: R = stop.value
                return result
            value = thrown = None
            try:
                value = _finished(call.function(*call.arguments))
            except Exception as raised:
                thrown = raised


async def hold_async(talk: Talk[R]) -> R:
    """Hold a talk to its end, or close it, and await what the calls return, if it is to be awaited."""
    value: Any = None
    thrown: Exception | None = None
    with closing(talk):
        while True:
            try:
                call = talk.send(value) if thrown is None else talk.throw(thrown)
            except StopIteration as stop:
                result: R = stop.value
                return result
            value = thrown = None
            try:
                value = call.function(*call.arguments)
                if hasattr(type(value), "__await__"):
                    value = await value
            except Exception as raised:
                thrown = raised


def _finished(value: Any) -> Any:
    """Return what a call has returned, awaited if it is to be."""
    if not hasattr(type(value), "__await__"):
        return value
    try:
        value.__await__().send(None)
    except StopIteration as stop:
        return stop.value
    if hasattr(value, "close"):
        value.close()
    raise LocalProtocolError("nothing can be waited for here")
