"""The base of the two server connections: the one event that waits for its answer."""

from __future__ import annotations

from typing import TypeVar

from mailproto._core.connection import Connection, EventT
from mailproto.errors import LocalProtocolError

AskT = TypeVar("AskT")


class ServerConnection(Connection[EventT]):
    """A connection whose peer asks and whose user answers, one event at a time.

    Commands that a client sent ahead wait as bytes behind the pending event, so no reply overtakes another.
    """

    _speaker = "S"
    _other = "C"

    @property
    def auth_mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms that are offered as things stand, best first."""
        raise NotImplementedError

    def accept(self, text: str | None = None) -> None:
        """Answer the `pending` event with yes; ``text`` replaces the usual words of the reply."""
        raise NotImplementedError

    def reject(self, code: int | None = None, text: str | None = None, enhanced: str | None = None) -> None:
        """Answer the `pending` event with no.

        SMTP takes the reply code (4yz or 5yz), the text and the enhanced status code; POP3 has no codes and
        takes ``enhanced`` as response code of RFC 2449 section 8. What is left out gets its usual value.
        """
        raise NotImplementedError

    def challenge(self, data: bytes) -> None:
        """Answer a pending `Auth` or `AuthResponse` with a challenge; the next event is the response to it."""
        raise NotImplementedError

    def answer_default(self) -> None:
        """Answer the `pending` event with what is safe when nobody did: no recipient, no login, no message."""
        raise NotImplementedError

    def _ask(self, event: EventT) -> EventT:
        self._pending = event
        return event

    def _take_pending(self) -> EventT:
        """Return the pending event, which is about to be answered.

        Raises:
            LocalProtocolError: there is none, or the connection is over.
        """
        pending, self._pending = self._pending, None
        if pending is None:
            raise LocalProtocolError("there is nothing to answer")
        return pending
