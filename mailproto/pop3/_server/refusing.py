"""How a POP3 server's connection refuses what a client says, and when its patience is at an end."""

from __future__ import annotations

from abc import abstractmethod

from mailproto._core.connection import AGAIN, STARVED
from mailproto.pop3._server import responses
from mailproto.pop3._server.answers import AnsweringConnection, ServerStep
from mailproto.pop3.config import POP3ServerConfig
from mailproto.pop3.events import CommandRejected
from mailproto.pop3.response import Response


class RefusingConnection(AnsweringConnection):
    """What `POP3ServerConnection` keeps clients within bounds with."""

    __slots__ = ("_commands_left", "_errors", "_junk")

    def __init__(self, config: POP3ServerConfig | None = None, timestamp: str | None = None) -> None:
        super().__init__(config, timestamp)
        self._login_due = True
        self._commands_left = self.limits.max_commands
        self._errors = 0
        self._junk = 0  # commands that led nowhere, since the last one that did not

    @abstractmethod
    def _read(self) -> ServerStep:
        """Read and carry out one command."""

    def _opened(self) -> None:
        self._login_due = False
        self._commands_left += 4 * len(self._maildrop)  # LIST, UIDL, RETR and DELE for each message
        self._errors = self._junk = 0

    def _refuse(self, verb: bytes, response: Response, *, error: bool = True) -> ServerStep:
        """Refuse a command, and count that if it was an ``error`` of the client's; too many of them are the end."""
        self._errors += error
        if self._errors >= self.limits.max_errors:
            return self._give_up(responses.TOO_MANY_ERRORS)
        if error:
            self._penalise(self._errors)
        self._reply(response)
        return CommandRejected(verb.upper().decode("ascii"), response)

    def _count_junk(self) -> ServerStep | None:
        """Count a command that leads nowhere; return what to do when there were too many, None otherwise."""
        self._junk += 1
        return self._give_up(responses.TOO_MANY_COMMANDS) if self._junk > self.limits.max_junk else None

    def _give_up(self, response: Response) -> ServerStep:
        self._reply(response)
        self._over(response.text)
        return AGAIN

    def _skip_long_line(self) -> ServerStep:
        if self.trace is not None:
            self.trace(self._other, b"<over-long line>")
        self._mode = self._skip
        return self._refuse(b"", responses.LINE_TOO_LONG)

    def _skip(self) -> ServerStep:
        if not self._buffer.skip_line():
            return STARVED
        self._mode = self._read
        return AGAIN
