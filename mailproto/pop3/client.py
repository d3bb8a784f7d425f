"""The client's side of POP3 (RFC 1939), as a state machine without I/O.

A command is a method: it checks, queues, and returns a handle. Whether commands leave one at a time or several in
one flight is a policy of `POP3ClientConnection.data_to_send`: with PIPELINING (RFC 2449 section 6.6) ahead of the
responses, without it one by one. The caller's code is the same.
"""

from __future__ import annotations

from collections import deque
from typing import Any, TypeAlias, TypeVar, overload

from mailproto._core.attributes import Attributes
from mailproto._core.buffer import LineTooLongError
from mailproto._core.client import ClientConnection
from mailproto._core.codec import decode_base64, encode_base64, printable
from mailproto._core.connection import Step
from mailproto._core.dots import Unstuffer
from mailproto._core.events import ConnectionClosed, MessageChunk, StartTLS
from mailproto.errors import (
    ConnectionTimeoutError,
    GrammarError,
    LocalProtocolError,
    MailProtoError,
    NotSupportedError,
    RemoteProtocolError,
)
from mailproto.pop3 import command as commands
from mailproto.pop3.apop import apop_digest, find_timestamp
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
from mailproto.pop3.listing import Stat
from mailproto.pop3.response import Response, parse_response
from mailproto.pop3.rules import CLIENT_RULES, ClientState, Outcome
from mailproto.pop3.tolerance import Lenience, Tolerance

T = TypeVar("T")
ClientStep: TypeAlias = ClientEvent | ConnectionClosed | Step

_LAST_OF_A_FLIGHT = frozenset({"AUTH", "STLS", "XCLIENT", "QUIT"})
_MAX_ENTRY = 128  # octets that the lines of a listing may have, one with another
_LOGINS = frozenset({"PASS", "APOP", "AUTH"})


class POP3ClientConnection(ClientConnection[ClientEvent]):
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

    _speaker = "C"
    _other = "S"

    def __init__(self, config: POP3ClientConfig | None = None) -> None:
        self.config = config if config is not None else POP3ClientConfig()
        super().__init__(self.config.limits)
        self.state = ClientState.GREETING
        self.capabilities: Capabilities | None = None
        self.timestamp: str | None = None
        self.utf8_mode = False
        self.language: str | None = None
        self._offers_xclient = False
        self._asked_utf8 = False
        self._unsent: deque[Command[Any]] = deque()
        self._waiting: deque[Command[Any]] = deque()
        self._last: Command[Any] | None = None  # the command queued last
        self._challenged = False
        self._lines: list[bytes] = []  # of the listing that is coming in
        self._room = 0  # octets that it may still have
        self._unstuffer = Unstuffer()
        self._size = 0  # octets so far of the message that is coming in
        self._lenience = Lenience(self.config.tolerances)
        self._reported: set[Tolerance] = set()
        self._error: MailProtoError | None = None
        self._mode = self._read_greeting

    # Commands before login.

    def user(self, username: str) -> Command[None]:
        """Queue USER; queue PASS right behind it.

        In `user`, `pass_` and `apop` more than ASCII can be sent where the server says that it takes UTF-8 there.
        """
        return self._queue(commands.user(username, utf8=self.takes_utf8))

    def pass_(self, password: str) -> Command[None]:
        """Queue PASS, whose success opens the maildrop.

        Raises:
            LocalProtocolError: the last command was not USER, or it was refused.
        """
        command = commands.password(password, utf8=self.takes_utf8)
        named = self._last
        if named is None or named.verb != "USER" or (named.response is not None and not named.response.ok):
            raise LocalProtocolError("PASS goes only right behind USER")
        return self._queue(command)

    def apop(self, username: str, secret: str) -> Command[None]:
        """Queue APOP, with the digest of the timestamp and the secret.

        Raises:
            LocalProtocolError: the greeting had no timestamp that can be trusted.
        """
        if self.timestamp is None:
            raise LocalProtocolError("the greeting had no timestamp for APOP")
        digest = apop_digest(self.timestamp, secret)
        return self._queue(commands.apop(username, digest, utf8=self.takes_utf8))

    def auth(self, mechanism: str, initial_response: bytes | None = None) -> Command[None]:
        """Queue AUTH (RFC 5034 section 4). None is no initial response, ``b""`` is an empty one.

        Where an initial response must not go with the command, because that would exceed 255 octets or the server
        did not list SASL, it follows by itself on the server's empty challenge.
        """
        along = self.capabilities is not None and "SASL" in self.capabilities
        return self._queue(commands.auth(mechanism, initial_response, along=along))

    def auth_response(self, data: bytes) -> None:
        """Answer an `AuthChallenge`.

        Raises:
            LocalProtocolError: there is none to answer.
        """
        self._sasl_line(encode_base64(data), SECRET)

    def auth_cancel(self) -> None:
        """Give up an AUTH exchange; the server will answer the command with -ERR."""
        self._sasl_line(b"*", b"*")

    def stls(self) -> Command[None]:
        """Queue STLS; `StartTLS` comes when the server agrees (RFC 2595 section 4).

        Raises:
            LocalProtocolError: TLS is there already, or UTF8 was sent, behind which there is none.
        """
        if self.tls is not None:
            raise LocalProtocolError("TLS is in use already")
        if self._asked_utf8:
            raise LocalProtocolError("STLS goes only before UTF8")
        return self._queue(commands.plain("STLS"))

    def utf8(self) -> Command[None]:
        """Queue UTF8 (RFC 6856 section 2.1): messages then come as they are, with UTF-8 in their headers."""
        command = self._queue(commands.plain("UTF8"))
        self._asked_utf8 = True
        return command

    def xclient(self, attributes: Attributes) -> Command[None]:
        """Queue XCLIENT of Dovecot: speak for another client. If the server agrees, the session begins again.

        Raises:
            NotSupportedError: the server does not offer it, to us.
            GrammarError: an attribute that it does not have, or a value that cannot be.
        """
        if not self._offers_xclient and "XCLIENT" not in (self.capabilities or ()):
            raise NotSupportedError("the server does not offer XCLIENT")
        return self._queue(commands.xclient(attributes))

    # Commands before and after login.

    def capa(self) -> Command[Capabilities]:
        """Queue CAPA; its result is also kept in ``capabilities``."""
        return self._queue(commands.capa(self.limits.max_keywords))

    def languages(self) -> Command[dict[str, str]]:
        """Queue LANG, whose result is the languages that the server can speak: tag to name (RFC 6856 section 3)."""
        return self._queue(commands.languages())

    def lang(self, wanted: str = "*") -> Command[str]:
        """Queue LANG with a language to choose, such as ``"de"``, or ``*`` for the one that the server prefers.

        The result is the tag of the language in which the server's words now are.
        """
        return self._queue(commands.lang(wanted))

    def quit(self) -> Command[None]:
        """Queue QUIT. After login it is what makes the deletions: its response tells whether they were made."""
        return self._queue(commands.plain("QUIT"))

    # Commands after login.

    def stat(self) -> Command[Stat]:
        """Queue STAT, whose result is the number of messages and their octets."""
        return self._queue(commands.stat())

    @overload
    def list(self) -> Command[dict[int, int]]: ...
    @overload
    def list(self, number: int) -> Command[int]: ...
    def list(self, number: int | None = None) -> Command[dict[int, int]] | Command[int]:
        """Queue LIST, whose result is the octets of each message by its number, or of the one message."""
        if number is None:
            return self._queue(commands.list_all())
        return self._queue(commands.list_one(number))

    @overload
    def uidl(self) -> Command[dict[int, str]]: ...
    @overload
    def uidl(self, number: int) -> Command[str]: ...
    def uidl(self, number: int | None = None) -> Command[dict[int, str]] | Command[str]:
        """Queue UIDL, whose result is the unique-id of each message by its number, or of the one message."""
        if number is None:
            return self._queue(commands.uidl_all())
        return self._queue(commands.uidl_one(number))

    def retr(self, number: int) -> Command[None]:
        """Queue RETR; `MessageChunk` and `MessageEnd` follow a positive response."""
        return self._queue(commands.on_message("RETR", number, Shape.MESSAGE))

    def top(self, number: int, lines: int) -> Command[None]:
        """Queue TOP, for the header and so many lines of the body; comes as for `retr`."""
        return self._queue(commands.top(number, lines))

    def dele(self, number: int) -> Command[None]:
        """Queue DELE, which marks the message as deleted; QUIT deletes it."""
        return self._queue(commands.on_message("DELE", number))

    def rset(self) -> Command[None]:
        """Queue RSET, which takes all marks of deletion off."""
        return self._queue(commands.plain("RSET"))

    def noop(self) -> Command[None]:
        """Queue NOOP, which only makes the server answer."""
        return self._queue(commands.plain("NOOP"))

    def last(self) -> Command[int]:
        """Queue LAST of RFC 1460, whose result is the highest message number that was accessed."""
        return self._queue(commands.last())

    # What the base asks for.

    @property
    def pipelining(self) -> bool:
        """Whether commands are sent ahead of the responses to those before them."""
        return self.config.pipelining and self.capabilities is not None and self.capabilities.pipelining

    @property
    def takes_utf8(self) -> bool:
        """Whether the server takes user names and passwords in UTF-8."""
        return self.capabilities is not None and self.capabilities.utf8_user

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, so that another job may begin."""
        return not (self._waiting or self._unsent or self._closing or self.state is ClientState.GREETING)

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
        if not self._closing:
            self._break(ConnectionTimeoutError("the server did not answer in time"))

    def shut_down(self) -> None:
        """Close, without QUIT: what the caller did not commit is not deleted."""
        if not self._closing:
            self.state = ClientState.CLOSED
            self._close("closed by the client")

    def data_to_send(self) -> bytes:
        """Return what may go on the wire now: the commands that need not wait for a response first."""
        while self._unsent and self._may_send():
            command = self._unsent.popleft()
            self._waiting.append(command)
            self._send(command.line)
            command.line = b""  # nothing secret is kept that is not needed any more
            if self.trace is not None:
                self.trace(self._speaker, command.shown)
        return super().data_to_send()

    def _may_send(self) -> bool:
        if self._gate or self._closing:
            return False
        if not self._waiting:  # what lies there was said before we asked, and is no answer
            return not len(self._buffer)
        return (
            self.pipelining
            and self._waiting[-1].verb not in _LAST_OF_A_FLIGHT
            and len(self._waiting) < self.limits.max_in_flight
        )

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
        return Step.AGAIN

    # Queueing.

    def _queue(self, command: Command[T]) -> Command[T]:
        if self._closing or self._eof:
            raise LocalProtocolError("the connection is closed")
        if CLIENT_RULES[self.state, command.verb] is not Outcome.SENT:
            raise LocalProtocolError(f"no {command.verb} while {self.state.value}")
        if self._last is not None and not self._last.done and self._last.verb in _LAST_OF_A_FLIGHT:
            raise LocalProtocolError(f"no {command.verb} behind {self._last.verb}, which is not answered yet")
        self._last = command
        self._unsent.append(command)
        return command

    def _sasl_line(self, line: bytes, shown: bytes) -> None:
        if not self._challenged or self._closing:
            raise LocalProtocolError("there is no challenge to answer")
        self._challenged = False
        self._send(line + b"\r\n")
        if self.trace is not None:
            self.trace(self._speaker, shown)

    def withdraw(self, command: Command[Any]) -> bool:
        """Take back a command that was queued but not sent yet; return whether it was still to be had."""
        if command not in self._unsent:
            return False
        self._unsent.remove(command)
        return True

    # Responses.

    def _take_line(self) -> bytes | None:
        """Return the next line; None when it is not complete, or so long that the connection has failed."""
        try:
            return self._buffer.take_line(self.limits.max_reply_line)
        except LineTooLongError:
            self._break(RemoteProtocolError("an endless line"))
            return None

    def _starved(self) -> Step:
        return Step.STARVED if self._failure is None else Step.AGAIN

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
                command.result = command.parse([line[4:]], self._lenience)
        except GrammarError as error:
            return self._break(RemoteProtocolError(f"{command.verb}: {error}"))
        command.response = response
        return self._on_response(command, response)

    def _on_response(self, command: Command[Any], response: Response) -> ClientStep:
        if response.ok and command.shape is Shape.LISTING:
            self._lines = []
            capa = command.verb == "CAPA"
            self._room = self.limits.max_keywords * 512 if capa else self.limits.max_listing * _MAX_ENTRY
            self._mode = self._read_listing
        elif response.ok and command.shape is Shape.MESSAGE:
            self._unstuffer = Unstuffer()
            self._size = 0
            self._mode = self._read_message
        else:
            self._complete(command)
            self._follow(command, response)
            if self._failure is not None:
                return Step.AGAIN
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
            return Step.AGAIN
        held, command.held = command.held, None
        if held is None:
            return AuthChallenge(command, data)
        if data:
            return self._break(RemoteProtocolError("a challenge that is not empty, where the client begins"))
        self.auth_response(held)
        return Step.AGAIN

    def _decode_challenge(self, line: bytes) -> bytes:
        if line == b"+":
            self._lenience.need(Tolerance.BARE_PLUS, "a challenge without a space")
            self._report_tolerances()
        elif line[:2] != b"+ ":
            raise GrammarError("not a challenge")
        return decode_base64(line[2:])

    def _read_listing(self) -> ClientStep:
        """Read the lines behind the first, up to the lone dot."""
        lines = self._lines
        while (line := self._take_line()) is not None:
            self._trace_line(line)
            if line == b".":
                return self._end_listing(self._waiting[0])
            self._room -= len(line) + 2
            if len(lines) >= self.limits.max_listing or self._room < 0:
                return self._break(RemoteProtocolError("an endless listing"))
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
        content = self._buffer.unstuff(self._unstuffer)
        self._size += len(content)
        end: ClientStep = Step.STARVED
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
