"""A client's flow against a server's connection, both in memory."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from mailproto._core.flow import Call, Flow
from mailproto._core.policy import TLSPolicy
from mailproto.smtp import (
    MessageChunk,
    MessageEnd,
    SendResult,
    SMTPClientConfig,
    SMTPClientConnection,
    SMTPServerConfig,
    SMTPServerConnection,
    Submission,
)
from mailproto.smtp.flows.client import SessionOptions, open_session
from mailproto.smtp.flows.sending import send_message, send_messages

T = TypeVar("T")
Answer = Callable[[SMTPServerConnection, Any], None]


def accept(conn: SMTPServerConnection, _: Any) -> None:
    """Take everything."""
    conn.accept()


class Wire:
    """Both ends of one connection.

    Attributes:
        heard: the lines of the client, as the server has them, since the session is open.
        delivered: the forward-paths and the octets of each message that the server has taken.
    """

    def __init__(
        self, config: SMTPServerConfig, client: SMTPClientConfig | None = None, answer: Answer = accept
    ) -> None:
        self.client = SMTPClientConnection(client)
        self.server = SMTPServerConnection(config)
        self.heard: list[str] = []
        self.delivered: list[tuple[list[str], bytes]] = []
        self._answer = answer
        self._body = b""
        tls = TLSPolicy.NONE
        self._run(open_session(self.client, SessionOptions(tls=tls, local_name="client.example")))
        self.server.trace = self._trace

    def send(self, submission: Submission) -> SendResult:
        """Send one message."""
        return self._run(send_message(self.client, submission))

    def send_all(self, *submissions: Submission) -> list[SendResult]:
        """Send several."""
        return self._run(send_messages(self.client, submissions))

    def said(self, verb: str) -> list[str]:
        """Return what the client has said with this verb, without the verb."""
        return [line.removeprefix(f"{verb} ") for line in self.heard if line.startswith(verb)]

    def _trace(self, speaker: str, line: bytes) -> None:
        if speaker == "C":
            self.heard.append(line.decode("utf-8"))

    def _run(self, flow: Flow[T]) -> T:
        value: Any = None
        while True:
            try:
                want = flow.send(value)
            except StopIteration as stop:
                self._exchange()
                result: T = stop.value
                return result
            value = want.function(*want.arguments) if isinstance(want, Call) else None
            if inspect.isawaitable(value):
                value = _awaited(value)
            self._exchange()

    def _exchange(self) -> None:
        said = self.client.data_to_send()
        if said:
            self.server.receive_data(said)
        while (event := self.server.next_event()) is not None:
            if isinstance(event, MessageChunk):
                self._body += event.data
            elif self.server.pending is not None:
                self._answer(self.server, event)
                if isinstance(event, MessageEnd):
                    self.delivered.append(([str(path) for path in event.envelope.forward_paths], self._body))
                    self._body = b""
        said = self.server.data_to_send()
        if said:
            self.client.receive_data(said)
        if self.server.closing:
            self.client.receive_eof()


def _awaited(value: Awaitable[T]) -> T:
    """Return what comes of an awaitable that waits for nothing."""
    steps = value.__await__()
    try:
        next(steps)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("it waits for something")
