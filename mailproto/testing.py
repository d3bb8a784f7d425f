"""A test kit for applications: mail goes through both state machines, and no further.

    outbox = Outbox()
    with MemoryClient(outbox) as client:
        invite(client, "ada@example.org")         # whatever takes a `mailproto.sync.SMTPClient`
    assert outbox.letters[0].recipients == ["ada@example.org"]

In the place of the `Outbox` may stand the handler of a server of your own, to be told what a client would tell it.
There is no network, no thread and no clock: nothing takes longer than it takes to compute.
"""

from __future__ import annotations

import email
import email.policy
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from typing import Any

from mailproto._core.connection import Connection
from mailproto._core.flow import Call, Flow, T, Want
from mailproto._flows.beginning import admit_all
from mailproto._flows.engine import Engine
from mailproto._net.services import smtp_service
from mailproto.errors import LocalProtocolError
from mailproto.sasl.choice import SERVER_MECHANISMS
from mailproto.smtp.config import SMTPServerConfig
from mailproto.smtp.events import Envelope, Rcpt
from mailproto.sync import SMTPClient, TLSPolicy
from mailproto.transcript import Transcript

__all__ = ["Letter", "MemoryClient", "Outbox"]


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that an `Outbox` has taken. ``sender`` is None for the null reverse-path."""

    sender: str | None
    recipients: list[str]
    content: bytes = field(repr=False)
    envelope: Envelope = field(repr=False)

    @property
    def message(self) -> EmailMessage:
        """The message, parsed, its lines ended with ``\\n``."""
        return email.message_from_bytes(self.content.replace(b"\r\n", b"\n"), policy=email.policy.default)


class Outbox:
    """A server's handler that takes all mail for everybody, and keeps it in ``letters``."""

    def __init__(self) -> None:
        self.letters: list[Letter] = []

    def on_rcpt(self, session: Any, rcpt: Rcpt) -> None:
        """Take every recipient."""

    def on_message(self, _: Any, envelope: Envelope) -> None:
        """Keep the message."""
        sender = None if envelope.reverse_path is None else str(envelope.reverse_path)
        self.letters.append(Letter(sender, [str(path) for path in envelope.forward_paths], bytes(envelope), envelope))


class MemoryClient(SMTPClient):
    """An SMTP client whose server is a handler in the same process.

    Nobody can listen, so that both sides take logins without TLS, unless ``allow_plaintext_auth=False`` is said.

    Args:
        handler: an object with hooks. A coroutine among them must have nothing to wait for.
        server: how the server behaves where the RFCs leave the choice.
        arguments: those of `mailproto.sync.SMTPClient` that are not about the network.

    Attributes:
        said: the conversation, a `Transcript`.
    """

    def __init__(self, handler: object, *, server: SMTPServerConfig | None = None, **arguments: Any) -> None:
        arguments.setdefault("allow_plaintext_auth", True)
        super().__init__(tls=TLSPolicy.NONE, **arguments)
        config = replace(server or SMTPServerConfig(), allow_plaintext_auth=True)
        service = smtp_service(handler, config, None, False, SERVER_MECHANISMS, 1 << 20)
        if service.takes_events:
            raise LocalProtocolError("a handler over events wants a thread of its own, and so a server")
        conn = service.connect()
        self.said = self.conn.trace = Transcript()
        self._connected = False
        self._engine = Engine(self.conn)
        self._server = _Server(conn, service.serve(conn, "127.0.0.1", "127.0.0.1", admit_all))

    def connect(self) -> None:
        """Open the session as the arguments say; raises what `mailproto.sync.SMTPClient.connect` raises."""
        if self._connected:
            raise LocalProtocolError("a client connects once")
        self._connected = True
        try:
            self.run(self._begin())
        except BaseException:
            self.close()
            raise

    def run(self, flow: Flow[T], *, part: bool = False) -> T:
        """Drive a flow of your own, or one of the library's that has no method here."""
        if not self._connected:
            flow.close()
            raise LocalProtocolError("the client is not connected")
        engine = self._engine
        engine.begin(flow, part=part)
        try:
            answer = self._server.hear(_advance(engine))
            while engine.busy:
                if not answer and self._server.busy:
                    raise LocalProtocolError("both sides wait for each other")
                engine.receive(answer)
                answer = self._server.hear(_advance(engine))
        except BaseException:
            if engine.busy:
                engine.break_off()
            raise
        result: T = engine.result
        return result

    def close(self) -> None:
        """Close the connection without another word."""
        if self._connected:
            self._engine.lose()
            self._server.end()


class _Server:
    """The other end of the line."""

    def __init__(self, conn: Connection[Any], flow: Flow[None]) -> None:
        self._engine = Engine(conn)
        self._engine.begin(flow, part=True)

    @property
    def busy(self) -> bool:
        """Whether it has not hung up."""
        return self._engine.busy

    def hear(self, said: bytes) -> bytes:
        """Take what the client says; return the answer."""
        if said:
            self._engine.receive(said)
        return _advance(self._engine)

    def end(self) -> None:
        """Learn that the client is gone."""
        self._engine.lose()
        _advance(self._engine)


def _advance(engine: Engine) -> bytes:
    """Drive an engine until it wants input or is through; return what it says meanwhile."""
    said: list[bytes] = []
    value: Any = None
    error: Exception | None = None
    while engine.busy and (wish := engine.step(value, error)) is not None:
        value = error = None
        said.append(engine.output())
        if wish is Want.READ:
            break
        if isinstance(wish, Call):
            try:
                value = _finished(wish.function(*wish.arguments))
            except Exception as raised:
                error = raised
    said.append(engine.output())
    return b"".join(said)


def _finished(value: Any) -> Any:
    """Return what a hook has returned, awaited if it is to be."""
    if not hasattr(type(value), "__await__"):
        return value
    try:
        value.__await__().send(None)
    except StopIteration as stop:
        return stop.value
    if hasattr(value, "close"):
        value.close()
    raise LocalProtocolError("nothing can be waited for here")
