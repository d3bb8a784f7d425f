"""The client's side of POP3 (RFC 1939), as a state machine without I/O.

The commands, and when they leave, are in `mailproto.pop3._client.requests`; here is what the server's responses do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from mailproto._core.buffer import LineTooLongError
from mailproto._core.codec import decode_base64, printable
from mailproto._core.connection import AGAIN, STARVED, Step
from mailproto._core.dots import Unstuffer
from mailproto._core.events import ConnectionClosed, MessageChunk, StartTLS
from mailproto.errors import GrammarError, MailProtoError, RemoteProtocolError
from mailproto.pop3._client.requests import RequestingConnection
from mailproto.pop3.apop import find_timestamp
from mailproto.pop3.capabilities import Capabilities
from mailproto.pop3.command import SECRET, Command, Shape
from mailproto.pop3.config import POP3ClientConfig
from mailproto.pop3.events import (
    AuthChallenge,
    ClientEvent,
    GreetingReceived,
    ListingReceived,
    MessageEnd,
    ResponseReceived,
    ToleranceUsed,
)
from mailproto.pop3.response import Response, parse_response
from mailproto.pop3.rules import ClientState
from mailproto.pop3.tolerance import Lenience, Tolerance

ClientStep: TypeAlias = ClientEvent | ConnectionClosed | Step

_MAX_ENTRY = 128  # octets that the lines of a listing may have, one with another
_TWO_NUMBERS = re.compile(rb"\s*[0-9]+\s+[0-9]+")
_LOGINS = frozenset({"PASS", "APOP", "AUTH"})


class POP3ClientConnection(RequestingConnection):
    """A client's connection to a server.

    What the server may not do, such as responses to nothing, raises `RemoteProtocolError` from `next_event`, once
    and for all.

    Attributes:
        config: as given.
        state: where the connection stands.
        capabilities: what the server said to CAPA, empty if it knows no CAPA; None before it was asked.
        timestamp: what APOP needs, from the greeting; None if there is none that can be trusted.
        utf8_mode: whether the server has agreed to UTF-8 mode, so that messages come as they are (RFC 6856).
        language: the tag of the language that the server speaks, None if none was chosen.
    """

    __slots__ = ("_error", "_lenience", "_lines", "_reported", "_room", "_size", "_unstuffer")

    def __init__(self, config: POP3ClientConfig | None = None) -> None:
        super().__init__(config)
        self._lines: list[bytes] = []  # of the listing that is coming in
        self._room = 0  # octets that it may still have
        self._unstuffer = Unstuffer()
        self._size = 0  # octets so far of the message that is coming in
        self._lenience = Lenience(self.config.tolerances)
        self._reported: set[Tolerance] = set()
        self._error: MailProtoError | None = None
        self._mode = self._read_greeting

    # What the base asks for.

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, so that another job may begin."""
        return not (self._waiting or self._unsent or self.closing or self.state is ClientState.GREETING)

    @property
    def timeout(self) -> float:
        """Seconds that the wait may last, by what the server owes first."""
        if self._gate:
            return self.limits.handshake_timeout
        if self.state is ClientState.GREETING:
            return self.limits.greeting_timeout
        return self.limits.data_timeout if self._mode == self._read_message else self.limits.command_timeout

    def receive_timeout(self) -> None:
        """Give up: a response that comes later would be taken for the response to something else."""
        if not self.closing:
            self._break(self._no_answer())

    def shut_down(self) -> None:
        """Close, without QUIT: what the caller did not commit is not deleted."""
        if not self.closing:
            self.state = ClientState.CLOSED
            self._close("closed by the client")

    def _at_rest(self) -> bool:
        return self.idle and not len(self._buffer)

    def _forget(self) -> None:
        self.capabilities = self.language = None
        self.utf8_mode = self._asked_utf8 = False

    def _report_failure(self, reason: str) -> ClientStep:
        raise self._error if self._error is not None else RemoteProtocolError(reason)

    def _fail(self, reason: str) -> None:
        super()._fail(reason)
        self.state = ClientState.FAILED

    def _break(self, error: MailProtoError) -> ClientStep:
        """Fail for good, for this reason."""
        self._error = error
        self._fail(str(error))
        return AGAIN

    # Responses.

    def _take_line(self) -> bytes | None:
        """Return the next line; None when it is not complete, or so long that the connection has failed."""
        try:
            return self._buffer.take_line(self.limits.max_reply_line)
        except LineTooLongError:
            self._break(RemoteProtocolError("an endless line"))
            return None

    def _starved(self) -> Step:
        return STARVED if self._failure is None else AGAIN

    def _read_greeting(self) -> ClientStep:
        line = self._take_line()
        if line is None:
            return self._starved()
        self._trace_line(line)
        try:
            response = parse_response(line)
        except GrammarError as error:
            return self._break(RemoteProtocolError(str(error)))
        self._offers_xclient = response.code == "XCLIENT"
        if response.ok:
            self.state = ClientState.AUTHORIZATION
            self.timestamp = find_timestamp(response.text)
        else:
            self.state = ClientState.CLOSED
            self._close(f"the server said: {response}")
        self._mode = self._read
        return GreetingReceived(response, self.timestamp)

    def _read(self) -> ClientStep:
        """Read the first line of a response, or a challenge."""
        if not self._waiting and len(self._buffer):
            words = printable(self._buffer.peek(self.limits.max_reply_line).partition(b"\r\n")[0])
            return self._break(RemoteProtocolError(f"a response to nothing: {words}"))
        line = self._take_line()
        if line is None:
            return self._starved()
        command = self._waiting[0]
        if command.shape is Shape.EXCHANGE and line[:1] == b"+" and line[:3] != b"+OK":
            return self._on_challenge(command, line)
        self._trace_line(line)
        try:
            response = parse_response(line, resp_codes=self.capabilities is not None and self.capabilities.resp_codes)
            if response.ok and command.shape is Shape.LINE and command.parse is not None:
                self._understand(command, command.parse, line[4:])
        except GrammarError as error:
            return self._break(RemoteProtocolError(f"{command.verb}: {error}"))
        if response.ok and command.held is not None:
            return self._break(RemoteProtocolError(f"{command.verb}: a yes to what was not said yet"))
        command.response = response
        return self._on_response(command, response)

    def _understand(self, command: Command[Any], parse: Callable[[list[bytes], Lenience], Any], text: bytes) -> None:
        """Read what a response of one line says, or see that a whole listing begins with it."""
        if command.entry is not None and not _TWO_NUMBERS.match(text):
            self._lenience.need(Tolerance.WHOLE_LISTING, f"not two numbers: {printable(text)}")
            command.shape = Shape.LISTING
        else:
            command.result = parse([text], self._lenience)

    def _on_response(self, command: Command[Any], response: Response) -> ClientStep:
        if response.ok and command.shape is Shape.LISTING:
            self._lines = []
            of_server = command.verb in ("CAPA", "LANG")  # and so not longer where there is more mail
            self._room = self.limits.max_keywords * 512 if of_server else self.limits.max_listing * _MAX_ENTRY
            self._mode = self._read_listing
        elif response.ok and command.shape is Shape.MESSAGE:
            self._unstuffer = Unstuffer()
            self._size = 0
            self._mode = self._read_message
        else:
            self._complete(command)
            self._follow(command, response)
            if self._failure is not None:
                return AGAIN
        self._report_tolerances()
        return ResponseReceived(command, response)

    def _complete(self, command: Command[Any]) -> None:
        self._waiting.popleft()
        command.done = True
        command.held = None
        self._challenged = False
        self._mode = self._read

    def _follow(self, command: Command[Any], response: Response) -> None:
        """Draw the conclusions from a response of one line."""
        verb = command.verb
        if verb == "QUIT":
            self.state = ClientState.CLOSED
            self._close()
        elif verb == "CAPA":
            self.capabilities = Capabilities()  # it was refused: the server knows no CAPA
        elif response.ok and verb in _LOGINS:
            self.state = ClientState.TRANSACTION
        elif response.ok and verb == "UTF8":
            self.utf8_mode = True
        elif response.ok and verb == "LANG":
            self.language = command.result
        elif response.ok and verb == "XCLIENT":
            self._forget()
        elif response.ok and verb == "STLS":
            self._close_gate()
            if self._failure is None:
                self._events.append(StartTLS())

    def _on_challenge(self, command: Command[Any], line: bytes) -> ClientStep:
        self._trace_line(b"+ " + SECRET if len(line) > 2 else line)
        if self._challenged:
            return self._break(RemoteProtocolError("a challenge before the last one was answered"))
        self._challenged = True
        try:
            data = self._decode_challenge(line)
        except GrammarError:
            self.auth_cancel()  # as RFC 5034 section 4 wants it; the server then refuses the command
            return AGAIN
        held, command.held = command.held, None
        if held is None:
            return AuthChallenge(command, data)
        if data:
            return self._break(RemoteProtocolError("a challenge that is not empty, where the client begins"))
        self.auth_response(held)
        return AGAIN

    def _decode_challenge(self, line: bytes) -> bytes:
        if line == b"+":
            self._lenience.need(Tolerance.BARE_PLUS, "a challenge without a space")
            self._report_tolerances()
        elif line[:2] != b"+ ":
            raise GrammarError("not a challenge")
        return decode_base64(line[2:])

    def _read_listing(self) -> ClientStep:
        """Read the lines behind the first, up to the lone dot."""
        lines, command = self._lines, self._waiting[0]
        while (line := self._take_line()) is not None:
            self._trace_line(line)
            if line == b".":
                return self._end_listing(command)
            self._room -= len(line) + 2
            if len(lines) >= self.limits.max_listing or self._room < 0:
                return self._break(RemoteProtocolError("an endless listing"))
            if command.entry is not None:  # the end of what is no listing might never come
                try:
                    command.entry(line, self._lenience)
                except GrammarError as error:
                    return self._break(RemoteProtocolError(f"{command.verb}: {error}"))
            lines.append(line[1:] if line[:1] == b"." else line)
        return self._starved()

    def _end_listing(self, command: Command[Any]) -> ClientStep:
        try:
            if command.parse is not None:
                command.result = command.parse(self._lines, self._lenience)
        except GrammarError as error:
            return self._break(RemoteProtocolError(f"{command.verb}: {error}"))
        self._lines = []
        self._complete(command)
        if isinstance(command.result, Capabilities):
            self.capabilities = command.result
        self._report_tolerances()
        return ListingReceived(command, command.result)

    def _read_message(self) -> ClientStep:
        """Read what there is of a message."""
        room = self.limits.max_retrieval - self._size
        if room < 0:
            return self._break(RemoteProtocolError("an endless message"))
        content = self._buffer.unstuff(self._unstuffer)
        self._size += len(content)
        if len(content) > room:  # wherever it is cut, as much is told of it
            return MessageChunk(content[:room]) if room else AGAIN
        end: ClientStep = STARVED
        if self._unstuffer.done:
            command = self._waiting[0]
            self._trace_line(b"<message of %d octets>" % self._size)
            self._trace_line(b".")
            self._complete(command)
            end = MessageEnd(command, self._size)
        if not content:
            return end
        self._count_chunk(len(content))
        if isinstance(end, MessageEnd):
            self._events.append(end)
        return MessageChunk(content)

    def _report_tolerances(self) -> None:
        """Tell of each tolerance once, when it is used for the first time."""
        for tolerance in self._lenience.used - self._reported:
            self._reported.add(tolerance)
            self._events.append(ToleranceUsed(tolerance))

    def _trace_line(self, line: bytes) -> None:
        if self.trace is not None:
            self.trace(self._other, line)
