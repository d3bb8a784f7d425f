"""Mechanisms talking without a protocol around them, and what they are told by the application."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mailproto._core.events import TLSInfo
from mailproto.errors import AuthenticationError
from mailproto.sasl import (
    Channel,
    ChannelRequest,
    ClientExchange,
    ClientMechanism,
    Compute,
    Credentials,
    Identity,
    Question,
    Request,
    ServerExchange,
    ServerMechanism,
)

ADA = Credentials("ada", "open-sesame")
NOWHERE = Channel()
SECURE = Channel(TLSInfo("TLSv1.3"))


def binding(name: str = "tls-exporter", data: bytes = b"binding data", version: str = "TLSv1.3") -> Channel:
    """Return a channel that has this data to bind to, and offers it."""
    tls = TLSInfo(version, channel_bindings={name: data})
    return Channel(tls, ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"), {name: data})


def grant(request: Request, channel: Channel) -> Any:
    """Return what a mechanism wants besides talking."""
    if isinstance(request, Compute):
        return request.function(*request.arguments)
    assert isinstance(request, ChannelRequest)
    return channel


class Client:
    """The client's side, a response at a time."""

    def __init__(
        self, mechanism: ClientMechanism, credentials: Credentials = ADA, channel: Channel = NOWHERE
    ) -> None:
        self._exchange: ClientExchange = mechanism.start(credentials)
        self._channel = channel
        self.initial = self._advance(None)

    def answer(self, challenge: bytes) -> bytes:
        response = self._advance(challenge)
        assert response is not None
        return response

    def succeed(self) -> None:
        """Hear that the server says yes. Raises what the client has against it, as `mailproto._flows.login` does."""
        try:
            self._exchange.send(None)
        except StopIteration:
            return
        raise AuthenticationError("the server said yes before the exchange was over")

    def fail(self) -> None:
        """Hear that the server says no. Raises what the client makes of it."""
        self._exchange.throw(AuthenticationError("535 no"))

    def _advance(self, answer: Any) -> bytes | None:
        step = self._exchange.send(answer)
        while isinstance(step, Request):
            step = self._exchange.send(grant(step, self._channel))
        return step


Answers = Callable[[Question], Any]


@dataclass
class Server:
    """The server's side, a challenge at a time. ``questions`` are those that the application was asked."""

    mechanism: ServerMechanism
    answers: Answers
    channel: Channel = NOWHERE
    initial: bytes | None = None
    questions: list[Question] = field(default_factory=list)
    outcome: Identity | None = None
    over: bool = False

    def __post_init__(self) -> None:
        self._exchange: ServerExchange = self.mechanism.start(self.initial)
        self.challenge = self._advance(None)

    def answer(self, response: bytes) -> bytes | None:
        """Return the next challenge, None if the exchange is over."""
        self.challenge = self._advance(response)
        return self.challenge

    def _advance(self, value: Any) -> bytes | None:
        while True:
            try:
                step = self._exchange.send(value)
            except StopIteration as stop:
                self.outcome, self.over = stop.value, True
                return None
            if isinstance(step, Question):
                self.questions.append(step)
                value = self.answers(step)
            elif isinstance(step, Request):
                value = grant(step, self.channel)
            else:
                return step.data


def no(question: Question) -> None:
    """Answer every question with no."""


def converse(
    client: ClientMechanism,
    server: ServerMechanism,
    answers: Answers,
    credentials: Credentials = ADA,
    channel: Channel = NOWHERE,
    *,
    held: bool = False,
) -> Server:
    """Let both sides talk to the end and return the server; ``held`` keeps the initial response back.

    Raises what the client thinks of it.
    """
    caller = Client(client, credentials, channel)
    called = Server(server, answers, channel, None if held else caller.initial)
    if held and caller.initial is not None:
        assert called.challenge == b""
        called.answer(caller.initial)
    while called.challenge is not None:
        called.answer(caller.answer(called.challenge))
    if called.outcome is not None:
        caller.succeed()
    else:
        caller.fail()
    return called
