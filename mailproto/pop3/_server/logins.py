"""Logging in to a POP3 server: with USER and PASS, with APOP, or in the exchange that AUTH begins (RFC 5034)."""

from __future__ import annotations

import re

from mailproto._core.buffer import LineTooLongError
from mailproto._core.codec import decode_base64, encode_base64
from mailproto._core.connection import STARVED
from mailproto.errors import GrammarError, LocalProtocolError
from mailproto.pop3._server import responses
from mailproto.pop3._server.answers import ServerStep
from mailproto.pop3._server.marks import Refusal
from mailproto.pop3._server.refusing import RefusingConnection
from mailproto.pop3.command import SECRET
from mailproto.pop3.config import POP3ServerConfig
from mailproto.pop3.events import Apop, Login
from mailproto.pop3.rules import ServerState
from mailproto.sasl.base import Auth, AuthResponse
from mailproto.sasl.text import decode_utf8, saslprep

_DIGEST = re.compile(rb"[0-9a-f]{32}")


class LoginConnection(RefusingConnection):
    """What `POP3ServerConnection` lets clients log in with."""

    __slots__ = ("_login_lost", "_username")

    def __init__(self, config: POP3ServerConfig | None = None, timestamp: str | None = None) -> None:
        super().__init__(config, timestamp)
        self._username = ""  # of the USER before
        self._login_lost = False  # whether the last challenge says that the login has failed

    def _user(self, argument: bytes | None) -> ServerStep:
        self._check_login(self.config.user)
        self._username = _word(argument)
        self._enter(ServerState.NAMED)
        return self._count_junk() or self._reply(responses.SEND_PASSWORD)

    def _pass(self, argument: bytes | None) -> ServerStep:
        if not argument:
            raise GrammarError("no password")
        return self._ask(Login(self._username, _prepared(argument)))

    def _apop(self, argument: bytes | None) -> ServerStep:
        self._check_login(self._timestamp is not None)
        name, _, digest = (argument or b"").partition(b" ")
        if self._timestamp is None or not _DIGEST.fullmatch(digest):
            raise GrammarError("not a name and a digest")
        return self._ask(Apop(_word(name), self._timestamp, digest.decode("ascii")))

    def _auth(self, argument: bytes | None) -> ServerStep:
        offered = self.auth_mechanisms
        self._check_login(bool(self.config.auth_mechanisms))
        if argument is None:  # how clients asked before CAPA
            return self._count_junk() or self._yes_lines(offered, responses.MECHANISMS_FOLLOW)
        name, space, response = argument.partition(b" ")
        mechanism = name.upper().decode("ascii")
        if mechanism not in offered:
            raise Refusal(responses.AUTH_MECHANISM)
        if not space:
            return self._ask(Auth(mechanism))
        return self._ask(Auth(mechanism, b"" if response == b"=" else _decode_initial(response)))

    def _check_login(self, offered: bool) -> None:
        if not offered:
            raise Refusal(responses.UNKNOWN)
        if not self._login_allowed:
            raise Refusal(responses.TLS_REQUIRED)

    # The AUTH exchange.

    def challenge(self, data: bytes, *, refused: bool = False) -> None:
        """Answer a pending `Auth` or `AuthResponse` with a challenge; the next event is the response to it.

        Args:
            data: the challenge, not yet in base64.
            refused: it says that the login has failed. So it counts if the client breaks off.

        Raises:
            LocalProtocolError: something else is pending, or nothing.
        """
        if not isinstance(self.pending, Auth | AuthResponse):
            raise LocalProtocolError("a challenge answers only Auth and AuthResponse")
        self.pending = None
        self._login_lost = refused
        self._enter(ServerState.EXCHANGE)
        self._mode = self._read_exchange
        if self.trace is not None:
            self.trace(self._speaker, b"+ " + SECRET)
        self._send(b"+ %s\r\n" % encode_base64(data))
        self._stop_if_told()

    def _read_exchange(self) -> ServerStep:
        """Read the client's response to a challenge (RFC 5034 section 4)."""
        try:
            line = self._buffer.take_line(self.limits.max_sasl_line)
        except LineTooLongError:
            self._enter(ServerState.AUTHORIZATION)
            return self._end_exchange(self._skip_long_line())
        if line is None:
            return STARVED
        if self.trace is not None:
            self.trace(self._other, line if line == b"*" else SECRET)
        self._mode = self._read
        self._enter(ServerState.AUTHORIZATION)
        if line == b"*":
            return self._end_exchange(self._refuse(b"AUTH", responses.AUTH_CANCELLED))
        try:
            return self._ask(AuthResponse(decode_base64(line)))
        except GrammarError:
            return self._end_exchange(self._refuse(b"AUTH", responses.AUTH_NOT_BASE64))

    def _end_exchange(self, step: ServerStep) -> ServerStep:
        """Count an exchange that was broken off as a failed login if it was one already."""
        if self._login_lost:
            self._count_auth_failure()
        return step

    def _redacted(self, line: bytes) -> bytes:
        """Return a command of ours fit for a trace, whatever is wrong with it."""
        verb, space, argument = line.partition(b" ")
        name, more, _ = argument.partition(b" ")
        match verb.upper():
            case b"PASS" if space:
                return verb + b" " + SECRET
            case b"APOP" if space:
                return b" ".join((verb, name, SECRET) if more else (verb, SECRET))
            case b"AUTH" if space:
                known = name.upper().decode("ascii") in self.config.auth_mechanisms
                return b" ".join((verb, *((name,) if known else ()), *((SECRET,) if more or not known else ())))
            case b"USER" if more:
                return b" ".join((verb, name, SECRET))
        return line


def _word(argument: bytes | None) -> str:
    text = _prepared(argument or b"")
    if " " in text:
        raise GrammarError("not a single argument")
    return text


def _prepared(argument: bytes) -> str:
    """Return a user name or a password prepared with SASLprep, as a query (RFC 6856 section 2.2); ASCII as it is."""
    return saslprep(decode_utf8(argument))


def _decode_initial(response: bytes) -> bytes:
    """Return what an initial response says; that it is not base64 is an error of the exchange, not of syntax."""
    try:
        return decode_base64(response or b"=")
    except GrammarError:
        raise Refusal(responses.AUTH_NOT_BASE64) from None
