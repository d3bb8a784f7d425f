"""The server's side of POP3 (RFC 1939), as a state machine without I/O.

The application answers a login with a snapshot of the maildrop. From it the connection answers everything but
content, and it keeps the marks of deletion: they reach the application as one `Update`, on QUIT alone. What may be
said when is in `mailproto.pop3.rules.SERVER_TABLE`.

Here commands are read and carried out, but for those that log in. They, and what stands below them, are in
`mailproto.pop3._server`: the limits, the answers of the application, and the output.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from mailproto._core.buffer import LineTooLongError
from mailproto._core.codec import parse_uint
from mailproto._core.connection import AGAIN, STARVED
from mailproto._core.events import ExtensionCommand, StartTLS
from mailproto._core.server import FOREIGN_SIZE, is_foreign
from mailproto.errors import GrammarError
from mailproto.pop3._server import offer, responses
from mailproto.pop3._server.answers import ServerStep
from mailproto.pop3._server.logins import LoginConnection
from mailproto.pop3._server.marks import Refusal
from mailproto.pop3.config import POP3ServerConfig
from mailproto.pop3.events import Connected, Retrieve, Update, XClient
from mailproto.pop3.languages import Phrase
from mailproto.pop3.response import Response
from mailproto.pop3.rules import OTHER, SERVER_RULES, VERBS, Outcome, ServerState
from mailproto.pop3.xclient import parse_xclient

_COMMAND = re.compile(rb"[ -~]*")
_UTF8_COMMAND = re.compile(rb"(?i:USER|PASS|APOP) [ -~\x80-\xff]+")
_LANGUAGE_RANGE = re.compile(rb"\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*")


class POP3ServerConnection(LoginConnection):
    """One session with a POP3 client.

    Attributes:
        config: how it behaves.
        state: where it stands.
        auth_failures: logins that were refused so far because of the credentials.
    """

    __slots__ = ("_commands", "_known_command_seen", "_own")

    def __init__(self, config: POP3ServerConfig | None = None, timestamp: str | None = None) -> None:
        """Begin a session.

        Args:
            config: how to behave.
            timestamp: offers APOP with this one, a msg-id in angle brackets that no other session ever has. Where
                the config offers it one is made here.

        Raises:
            GrammarError: ``timestamp`` is no msg-id.
        """
        super().__init__(config, timestamp)
        self._own: dict[bytes, _Handler] = {
            verb.encode("ascii"): partial(POP3ServerConnection._own_command, verb=verb)
            for verb in self.config.commands
        }
        self._commands = _COMMANDS[self.state]
        self._known_command_seen = False
        self._mode = self._greet

    def _enter(self, state: ServerState) -> None:
        super()._enter(state)
        self._commands = _COMMANDS[state]
        if self._own and SERVER_RULES.get((state, OTHER)) is Outcome.ASK:
            self._commands = self._commands | self._own

    # Input.

    def _greet(self) -> ServerStep:
        self._mode = self._read
        return self._ask(Connected())

    def _read(self) -> ServerStep:
        """Read and carry out one command."""
        try:
            line = self._buffer.take_line(self.limits.max_line)
        except LineTooLongError:
            return self._hang_up_on_foreigner() or self._skip_long_line()
        if line is None:
            return self._hang_up_on_foreigner() or STARVED
        verb, space, argument = line.partition(b" ")
        handler = self._commands.get(verb) or self._commands.get(verb.upper())
        if handler is None or not self._is_readable(line):
            return self._hang_up_on_foreigner(line) or self._refuse_line(line)
        if self.trace is not None:
            self.trace(self._other, self._redacted(line))
        self._known_command_seen = True
        self._commands_left -= 1
        if self._commands_left < 0:
            return self._give_up(responses.TOO_MANY_COMMANDS)
        self._progress += 1  # any command does, to be waited for again (RFC 1939 section 3)
        if self.state is ServerState.NAMED:  # PASS comes right behind USER or not at all
            self._enter(ServerState.AUTHORIZATION)
        try:
            return handler(self, argument if space else None)
        except GrammarError:
            return self._refuse(verb, responses.BAD_ARGUMENTS)
        except Refusal as refused:
            if self.state is not ServerState.TRANSACTION:
                return self._refuse(verb, refused.response)
            return self._count_junk() or self._refuse(verb, refused.response, error=False)

    def _is_readable(self, line: bytes) -> bool:
        return bool(_COMMAND.fullmatch(line) or (self.config.utf8_user and _UTF8_COMMAND.fullmatch(line)))

    def _refuse_line(self, line: bytes) -> ServerStep:
        """Refuse what is no command here. It is not shown: it may be a password in the wrong place."""
        if self.trace is not None:
            self.trace(self._other, b"<%d octets that are no command>" % len(line))
        if self.state is ServerState.NAMED:
            self._enter(ServerState.AUTHORIZATION)
        verb = line.partition(b" ")[0].upper()
        known = verb in self._own or (verb.isascii() and verb.decode("ascii") in VERBS)
        if not _COMMAND.fullmatch(line):
            return self._refuse(verb if known else b"", responses.UNREADABLE)
        return self._refuse(verb, responses.NOT_NOW) if known else self._refuse(b"", responses.UNKNOWN)

    def _hang_up_on_foreigner(self, line: bytes | None = None) -> ServerStep | None:
        """Hang up if the client began with this ``line`` of another protocol, or with what there is of one."""
        beginning = self._buffer.peek(FOREIGN_SIZE) if line is None else line
        if self._known_command_seen or not is_foreign(beginning):
            return None
        self._over("the peer speaks another protocol")
        return AGAIN

    def _at_rest(self) -> bool:
        return self._mode == self._read and not len(self._buffer)

    # Commands: each returns an event that asks, or answers by itself.

    def _stls(self, argument: bytes | None) -> ServerStep:
        _nothing(argument)
        if self.tls is not None:
            raise Refusal(responses.TLS_ALREADY)
        if not self.config.starttls:
            raise Refusal(responses.UNKNOWN)
        if self.utf8:
            raise Refusal(responses.TLS_TOO_LATE)
        return self._ask(StartTLS())

    def _xclient(self, argument: bytes | None) -> ServerStep:
        if not self.trusted:
            raise Refusal(responses.UNKNOWN)
        return self._ask(XClient(parse_xclient((argument or b"").decode("ascii"))))

    def _utf8(self, argument: bytes | None) -> ServerStep:
        _nothing(argument)
        if not self.config.utf8:
            raise Refusal(responses.UNKNOWN)
        self.utf8 = True
        return self._count_junk() or self._reply(responses.UTF8_MODE)

    def _lang(self, argument: bytes | None) -> ServerStep:
        if not self.config.languages:
            raise Refusal(responses.UNKNOWN)
        if argument is None:
            return self._count_junk() or self._yes_lines(map(str, self._languages), responses.LANGUAGES_FOLLOW)
        if not _LANGUAGE_RANGE.fullmatch(argument):
            raise GrammarError("not a language range")
        wanted = argument.decode("ascii")
        if not self._choose_language(wanted, personal=self.state is ServerState.TRANSACTION):
            raise Refusal(Response(False, Phrase(responses.INVALID_LANGUAGE, range=wanted)))
        changed = self._language.say(responses.LANGUAGE_CHANGED)
        return self._count_junk() or self._reply(Response(True, f"{self.language} {changed}"))

    def _capa(self, argument: bytes | None) -> ServerStep:
        _nothing(argument)
        now = offer.Standing(
            self.config,
            secure=self.tls is not None,
            logged_in=self.state is ServerState.TRANSACTION,
            login_allowed=self._login_allowed,
            mechanisms=self.auth_mechanisms,
            utf8=self.utf8,
            trusted=self.trusted,
            expire=self.expire,
            login_delay=self.login_delay,
        )
        return self._count_junk() or self._yes_lines(offer.capabilities(now), responses.CAPABILITIES_FOLLOW)

    def _stat(self, argument: bytes | None) -> ServerStep:
        _nothing(argument)
        return self._count_junk() or self._say(f"+OK {self._maildrop.count} {self._maildrop.octets}")

    def _list(self, argument: bytes | None) -> ServerStep:
        if argument is not None:
            number = parse_uint(argument)
            return self._say(f"+OK {number} {self._maildrop[number].size}")
        lines = (f"{number} {message.size}" for number, message in self._maildrop.listed())
        drop = self._maildrop
        return self._count_junk() or self._yes_lines(lines, responses.IN_ALL, count=drop.count, octets=drop.octets)

    def _uidl(self, argument: bytes | None) -> ServerStep:
        if argument is not None:
            number = parse_uint(argument)
            return self._say(f"+OK {number} {self._maildrop[number].uid}")
        lines = (f"{number} {message.uid}" for number, message in self._maildrop.listed())
        return self._count_junk() or self._yes_lines(lines)

    def _retr(self, argument: bytes | None) -> ServerStep:
        number = parse_uint(argument or b"")
        self._maildrop.visit(number)
        self._junk = 0
        return self._ask(Retrieve(number))

    def _top(self, argument: bytes | None) -> ServerStep:
        number, _, lines = (argument or b"").partition(b" ")
        event = Retrieve(parse_uint(number), parse_uint(lines))
        self._maildrop.visit(event.number)
        self._junk = 0
        return self._ask(event)

    def _dele(self, argument: bytes | None) -> ServerStep:
        number = parse_uint(argument or b"")
        self._maildrop.mark(number)
        self._junk = 0
        return self._yes(responses.DELETED, number=number)

    def _rset(self, argument: bytes | None) -> ServerStep:
        _nothing(argument)
        self._maildrop.reset()
        drop = self._maildrop
        return self._count_junk() or self._yes(responses.RESET, count=drop.count, octets=drop.octets)

    def _noop(self, argument: bytes | None) -> ServerStep:
        _nothing(argument)
        return self._count_junk() or self._reply(responses.OK)

    def _last(self, argument: bytes | None) -> ServerStep:
        _nothing(argument)
        if not self.config.last:
            raise Refusal(responses.UNKNOWN)
        return self._count_junk() or self._say(f"+OK {self._maildrop.last}")

    def _own_command(self, argument: bytes | None, verb: str) -> ServerStep:
        """Ask about a command of the application's own. It may be one that is said of each message, as LIST is, so
        that it does not count as one that leads nowhere."""
        return self._ask(ExtensionCommand(verb, (argument or b"").decode("ascii")))

    def _quit(self, argument: bytes | None) -> ServerStep:
        _nothing(argument)
        if self.state is ServerState.TRANSACTION:
            self._enter(ServerState.UPDATE)
            return self._ask(Update(self._maildrop.marked))
        self._reply(responses.GOODBYE)
        self._over()
        return AGAIN


def _nothing(argument: bytes | None) -> None:
    if argument is not None:
        raise GrammarError("an argument where there is none")


_Handler: TypeAlias = Callable[[POP3ServerConnection, bytes | None], ServerStep]

_COMMANDS: dict[ServerState, dict[bytes, _Handler]] = {
    state: {
        verb.encode("ascii"): getattr(POP3ServerConnection, f"_{verb.lower()}")
        for verb in sorted(VERBS)
        if SERVER_RULES.get((state, verb), Outcome.REFUSED) is not Outcome.REFUSED
    }
    for state in ServerState
}
"""The handlers of each state's commands, in bytes and in upper case."""
