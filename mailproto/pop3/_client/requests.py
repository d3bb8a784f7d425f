"""The asking half of a client's connection: its commands, and when they leave.

A command is a method: it checks, queues, and returns a handle. Whether commands leave one at a time or several in
one flight is a policy of `RequestingConnection.data_to_send`: with PIPELINING (RFC 2449 section 6.6) ahead of the
responses, without it one by one. The caller's code is the same.
"""

from __future__ import annotations

from collections import deque
from typing import Any, TypeVar, overload

from mailproto._core.attributes import Attributes
from mailproto._core.checks import check_kind
from mailproto._core.client import ClientConnection
from mailproto._core.codec import encode_base64
from mailproto.errors import LocalProtocolError, NotSupportedError
from mailproto.pop3 import command as commands
from mailproto.pop3.apop import apop_digest
from mailproto.pop3.capabilities import Capabilities
from mailproto.pop3.command import SECRET, Command, Shape
from mailproto.pop3.config import POP3ClientConfig
from mailproto.pop3.events import ClientEvent
from mailproto.pop3.listing import Stat
from mailproto.pop3.rules import CLIENT_RULES, OTHER, VERBS, ClientState, Outcome

T = TypeVar("T")

_LAST_OF_A_FLIGHT = frozenset({"AUTH", "STLS", "XCLIENT", "QUIT"})


class RequestingConnection(ClientConnection[ClientEvent]):
    """What `POP3ClientConnection` asks for."""

    _speaker = "C"
    _other = "S"

    __slots__ = (
        "_asked_utf8",
        "_challenged",
        "_last",
        "_offers_xclient",
        "_unsent",
        "_waiting",
        "capabilities",
        "config",
        "language",
        "state",
        "timestamp",
        "utf8_mode",
    )

    def __init__(self, config: POP3ClientConfig | None = None) -> None:
        self.config = config if config is not None else POP3ClientConfig()
        check_kind("config", self.config, POP3ClientConfig)
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
        """Queue AUTH (RFC 5034 section 4). None is no initial response, ``b""`` is an empty one;
        base64 is made of it here.

        Where an initial response must not go with the command, because that would exceed 255 octets or the server
        did not list SASL, it follows by itself on the server's empty challenge.
        """
        along = self.capabilities is not None and "SASL" in self.capabilities
        return self._queue(commands.auth(mechanism, initial_response, along=along))

    def auth_response(self, data: bytes) -> None:
        """Answer an `AuthChallenge`; base64 is made of the octets here.

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

    def command(self, verb: str, *parameters: str | int) -> Command[str]:
        """Queue a command that there is no method for: one of the server's own, or of a rare extension.

        Its response is one line, whose text is the result, and it changes nothing that this connection knows of. A
        trace shows all of it: there is nothing in it that is known for a secret.

        Args:
            verb: in upper case.

        Raises:
            LocalProtocolError: ``verb`` is a command of POP3, for which there is a method.
            GrammarError: it is none at all, or a parameter has what may not stand in one, such as a space.
        """
        return self._queue(commands.other(self._own(verb), *parameters), OTHER)

    def multiline_command(self, verb: str, *parameters: str | int) -> Command[list[str]]:
        """Queue a command such as `command` does, to which a yes has several lines, up to a lone dot.

        The result is the lines behind the first.
        """
        return self._queue(commands.other_multiline(self._own(verb), *parameters), OTHER)

    def _own(self, verb: str) -> str:
        if verb in VERBS:
            raise LocalProtocolError(f"{verb} has a method of its own")
        return verb

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

    # When they leave.

    @property
    def pipelining(self) -> bool:
        """Whether commands are sent ahead of the responses to those before them."""
        return self.config.pipelining and self.capabilities is not None and self.capabilities.pipelining

    @property
    def takes_utf8(self) -> bool:
        """Whether the server takes user names and passwords in UTF-8."""
        return self.capabilities is not None and self.capabilities.utf8_user

    def _before_output(self) -> None:
        """Send the commands that need not wait for a response first."""
        ahead = self.pipelining
        while self._unsent and self._may_send(ahead):
            command = self._unsent.popleft()
            self._waiting.append(command)
            self._send(command.line)
            command.line = b""  # nothing secret is kept that is not needed any more
            if self.trace is not None:
                self.trace(self._speaker, command.shown)

    def _may_send(self, ahead: bool) -> bool:
        if self._gate or self.over:
            return False
        if not self._waiting:  # what lies there was said before we asked, and is no answer
            return not len(self._buffer)
        return (
            ahead
            and self._waiting[-1].verb not in _LAST_OF_A_FLIGHT
            and len(self._waiting) < self.limits.max_in_flight
        )

    # Queueing.

    def _queue(self, command: Command[T], row: str = "") -> Command[T]:
        """Queue a command, by its row of the rules or another ``row``. That the server has left is no mistake of the
        caller's before an event has told it."""
        if self.closing:
            raise LocalProtocolError("the connection is closed")
        if CLIENT_RULES[self.state, row or command.verb] is not Outcome.SENT:
            raise LocalProtocolError(f"no {command.verb} while {self.state.value}")
        if self._last is not None and not self._last.done and self._last.verb in _LAST_OF_A_FLIGHT:
            raise LocalProtocolError(f"no {command.verb} behind {self._last.verb}, which is not answered yet")
        self._last = command
        self._unsent.append(command)
        return command

    def _sasl_line(self, line: bytes, shown: bytes) -> None:
        if not self._challenged or self.closing:
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
