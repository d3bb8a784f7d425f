"""Logging in to a server: the exchange that AUTH begins (RFC 4954 section 4)."""

from __future__ import annotations

from mailproto._core.buffer import LineTooLongError
from mailproto._core.codec import decode_base64, encode_base64
from mailproto._core.connection import STARVED
from mailproto.errors import GrammarError, LocalProtocolError
from mailproto.sasl.base import Auth, AuthResponse
from mailproto.smtp._server import replies
from mailproto.smtp._server.answers import AnsweringConnection
from mailproto.smtp._server.settling import ServerStep
from mailproto.smtp.command import SECRET, upper
from mailproto.smtp.reply import Reply
from mailproto.smtp.rules import ServerState


class LoginConnection(AnsweringConnection):
    """What `SMTPServerConnection` lets clients log in with."""

    __slots__ = ()

    def challenge(self, data: bytes, *, refused: bool = False) -> None:
        """Answer a pending `Auth` or `AuthResponse` with 334; the response will be the next event.

        Args:
            refused: the challenge says that the login has failed. So it counts if the client breaks off.

        Raises:
            LocalProtocolError: neither is pending.
        """
        if not isinstance(self.pending, Auth | AuthResponse):
            raise LocalProtocolError("a challenge answers Auth and AuthResponse only")
        self._take_pending()
        self._login_lost = refused
        self.state = ServerState.AUTH
        self._mode = self._read_sasl
        self._trace_line(self._speaker, b"334 " + SECRET if data else b"334")
        self._send(b"334 %s\r\n" % encode_base64(data))

    def _on_auth(self, argument: str) -> ServerStep:
        refusal = self._auth_refusal()
        if refusal is not None:
            return self._refuse("AUTH", refusal)
        farewell = self._budget.check_login()
        if farewell is not None:
            return self._hang_up(farewell, "too many failed logins")
        name, space, initial = argument.partition(" ")
        mechanism = upper(name)
        if mechanism not in self.auth_mechanisms:
            return self._refuse("AUTH", replies.AUTH_MECHANISM if name else replies.BAD_ARGUMENTS)
        if not space:
            return self._ask(Auth(mechanism))
        try:
            return self._ask(Auth(mechanism, b"" if initial == "=" else decode_base64(initial.encode())))
        except GrammarError:
            return self._refuse("AUTH", replies.AUTH_NOT_BASE64)

    def _auth_refusal(self) -> Reply | None:
        if self.authenticated:
            return replies.AUTH_ALREADY
        if not self.config.auth_mechanisms or not self.extended:
            return replies.NOT_IMPLEMENTED
        if not self._auth_is_safe:
            return replies.AUTH_NEEDS_TLS
        return None

    def _read_sasl(self) -> ServerStep:
        try:
            line = self._buffer.take_line(self.limits.max_sasl_line)
        except LineTooLongError:
            self._trace_line(self._other, b"<over-long line>")
            self._end_sasl()
            self._mode = self._skip_line
            self._count_lost_login()
            return self._refuse("AUTH", replies.SASL_LINE_TOO_LONG)
        if line is None:
            return STARVED
        self._end_sasl()
        self._trace_line(self._other, line if line == b"*" else SECRET)
        if line == b"*":
            self._count_lost_login()
            return self._refuse("AUTH", replies.AUTH_CANCELLED)
        try:
            return self._ask(AuthResponse(decode_base64(line)))
        except GrammarError:
            self._count_lost_login()
            return self._refuse("AUTH", replies.AUTH_NOT_BASE64)

    def _count_lost_login(self) -> None:
        """Count an exchange that the client breaks off as a failed login if it was one already."""
        if self._login_lost:
            self._budget.count_auth_failure()

    def _end_sasl(self) -> None:
        self.state = ServerState.READY
        self._mode = self._read_command

    def _redacted(self, argument: str) -> bytes:
        """Return an AUTH as it may be shown. What does not begin with a mechanism may be a password altogether."""
        mechanism, space, _ = argument.partition(" ")
        if upper(mechanism) not in self.config.auth_mechanisms:
            return b"AUTH " + SECRET
        return b"AUTH " + mechanism.encode() + (b" " + SECRET if space else b"")
