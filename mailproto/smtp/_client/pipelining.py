"""When a client's commands leave: one at a time, or several in one flight (RFC 2920).

That is a policy of `PipeliningConnection.data_to_send`: with PIPELINING everything up to a point where the client has
to wait (section 3.1), without it one by one. The caller's code is the same.
"""

from __future__ import annotations

from collections import deque

from mailproto._core.checks import check_kind
from mailproto._core.client import ClientConnection
from mailproto.errors import LocalProtocolError, NotSupportedError
from mailproto.smtp.command import Command
from mailproto.smtp.config import SMTPClientConfig
from mailproto.smtp.events import ClientEvent
from mailproto.smtp.reply import MAX_REPLY_LINE, ReplyParser


class PipeliningConnection(ClientConnection[ClientEvent]):
    """What `SMTPClientConnection` is made of: the commands that wait to leave, and those that wait for a reply."""

    _speaker = "C"
    _other = "S"

    __slots__ = ("_leaving", "_parser", "_sending", "_unsent", "_waiting", "config", "extensions", "pipelines")

    def __init__(self, config: SMTPClientConfig | None = None) -> None:
        self.config = config if config is not None else SMTPClientConfig()
        check_kind("config", self.config, SMTPClientConfig)
        super().__init__(self.config.limits)
        limits = self.limits
        self.extensions: dict[str, str] = {}
        self.pipelines = False
        max_reply = max(limits.max_reply_line, limits.max_reply_lines * MAX_REPLY_LINE)
        self._parser = ReplyParser(limits.max_reply_lines, max_reply)
        self._unsent: deque[Command] = deque()
        self._waiting: deque[Command] = deque((Command("greeting", b""),))
        self._sending: Command | None = None  # the DATA whose message is being sent
        self._leaving = False  # whether QUIT was said

    def _queue(self, command: Command) -> Command:
        """Queue ``command``. Whoever does so changes nothing before that counts: this may raise."""
        self._need_session()
        if not command.line.isascii() and "SMTPUTF8" not in self.extensions:
            raise NotSupportedError("the server does not offer SMTPUTF8")
        self._unsent.append(command)
        return command

    def _need_session(self) -> None:
        if self.closing:  # that the server has left is no mistake of the caller's before an event has told it
            raise LocalProtocolError("the connection is closed")
        if self._leaving:
            raise LocalProtocolError("QUIT was said already")

    def _before_output(self) -> None:
        """Send the commands that may leave before the replies that are still to come (RFC 2920 section 3.1)."""
        unsent, waiting = self._unsent, self._waiting
        if not unsent or self._gate or self.over or self._sending is not None:
            return
        if not waiting and (self._buffer or self._parser.unfinished):
            return  # what lies there was said before we asked, and is no answer
        most = self.limits.max_in_flight if self.pipelines else 1
        while unsent and (not waiting or (len(waiting) < most and not waiting[-1].alone)):
            self._transmit(unsent.popleft())

    def _transmit(self, command: Command) -> None:
        command.sent = True
        self._send(command.line + command.payload)
        command.line = command.payload = b""  # nothing secret is kept that is not needed any more
        self._waiting.append(command)
        if self.trace is not None:
            self.trace(self._speaker, command.shown)
