"""The half of a POP3 server's connection that the application talks to: answers, and what they do.

The other half, which reads the client's commands, is `mailproto.pop3.server`; a login is in `logins`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from mailproto._core.connection import Step
from mailproto._core.events import ConnectionClosed, ExtensionCommand, StartTLS
from mailproto.errors import LocalProtocolError
from mailproto.pop3._server import responses
from mailproto.pop3._server.content import OutgoingMessage, WrongSizeError
from mailproto.pop3._server.marks import MarkedMaildrop
from mailproto.pop3._server.speaking import SpeakingConnection
from mailproto.pop3.apop import check_timestamp, make_timestamp
from mailproto.pop3.config import POP3ServerConfig
from mailproto.pop3.events import Apop, Connected, Login, Retrieve, ServerEvent, Update, XClient
from mailproto.pop3.response import Response, refusal
from mailproto.pop3.rules import ServerState
from mailproto.pop3.snapshot import MessageInfo
from mailproto.sasl.base import Auth, AuthResponse
from mailproto.sasl.choice import offerable

ServerStep: TypeAlias = ServerEvent | ConnectionClosed | Step

_ACCEPTED: dict[type, Response] = {
    StartTLS: responses.BEGIN_TLS,
    Login: responses.LOGGED_IN,
    Apop: responses.LOGGED_IN,
    Auth: responses.LOGGED_IN,
    AuthResponse: responses.LOGGED_IN,
    XClient: responses.UPDATED,
    ExtensionCommand: responses.OK,
    Update: responses.GOODBYE,
}
# Also what is safe to say when nobody answers.
_REJECTED: dict[type, Response] = {
    Connected: responses.NO_SERVICE,
    StartTLS: responses.NO_TLS,
    Login: responses.LOGIN_FAILED,
    Apop: responses.LOGIN_FAILED,
    Auth: responses.LOGIN_FAILED,
    AuthResponse: responses.LOGIN_FAILED,
    XClient: responses.NOT_UPDATED,
    Retrieve: responses.NO_MESSAGE,
    ExtensionCommand: responses.UNKNOWN,
    Update: responses.NOT_REMOVED,
}
_LOGINS = (Login, Apop, Auth, AuthResponse)

WRONG_SIZE = "a message is not of the size that its snapshot says"
"""The reason of a `ConnectionClosed` that is due to the store."""
_GONE = "the client is gone"


class AnsweringConnection(SpeakingConnection):
    """What `POP3ServerConnection` is made of, but for reading commands.

    Attributes:
        trusted: whether the peer may speak for other clients, with XCLIENT. For whoever runs the connection to set
            before the greeting, by the peer's address and nothing that the peer says.
        expire: days that mail stays at least, as CAPA tells it; ``on_login`` may set it for its user.
        login_delay: seconds from one login to the next; ``on_login`` may set it for its user.
    """

    __slots__ = (
        "_maildrop",
        "_outgoing",
        "_stopping",
        "_timestamp",
        "auth_failures",
        "expire",
        "login_delay",
        "state",
        "trusted",
    )

    def __init__(self, config: POP3ServerConfig | None = None, timestamp: str | None = None) -> None:
        super().__init__(config)
        if timestamp is not None:
            check_timestamp(timestamp)
        elif self.config.apop:
            timestamp = make_timestamp()
        self.state = ServerState.CONNECTED
        self.auth_failures = 0
        self._timestamp = timestamp
        self._maildrop = MarkedMaildrop(())
        self._outgoing: OutgoingMessage | None = None
        self._stopping = False
        self.trusted = False
        self.expire = self.config.expire
        self.login_delay = self.config.login_delay

    @abstractmethod
    def _opened(self) -> None:
        """Learn that a login was accepted."""

    @property
    def auth_mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms that are offered as things stand: in clear none, unless that is allowed."""
        return offerable(self.config.auth_mechanisms, self.tls) if self._login_allowed else ()

    @property
    def _login_allowed(self) -> bool:
        return self.tls is not None or self.config.allow_plaintext_auth

    def accept(
        self,
        text: str | None = None,
        *,
        maildrop: Sequence[MessageInfo] | None = None,
        read_only: bool = False,
        lines: Iterable[str] | None = None,
    ) -> None:
        """Answer the `pending` event with yes; ``text`` replaces the usual words of the response.

        A login is accepted with the ``maildrop``: its messages, in an order that holds for the session. In one that
        is ``read_only`` nothing can be marked as deleted. A `Retrieve` stays pending until `end_data`. The response
        to an `ExtensionCommand` has several lines if there are ``lines``, and be it none, behind the first one.

        Raises:
            LocalProtocolError: there is nothing to answer, or a ``maildrop`` is missing or out of place, or ``lines``
                are.
            GrammarError: the maildrop has what no maildrop may have, such as two equal unique-ids.
        """
        pending = self.pending
        if isinstance(pending, _LOGINS) != (maildrop is not None):
            raise LocalProtocolError("a login, and nothing else, is accepted with a maildrop")
        if self._outgoing is not None:
            raise LocalProtocolError("this Retrieve was accepted already")
        if lines is not None and not isinstance(pending, ExtensionCommand):
            raise LocalProtocolError("an ExtensionCommand, and nothing else, is accepted with lines")
        behind = self._encode_lines(lines) if lines is not None else b""
        opened = MarkedMaildrop(maildrop, read_only=read_only) if maildrop is not None else None
        self._take_pending()
        if isinstance(pending, Retrieve):
            self._accept_retrieve(pending, text)
            return
        if isinstance(pending, Connected):
            text = self.config.greeting if text is None else text
            text = text if self._timestamp is None else f"{text} {self._timestamp}"
        code = "XCLIENT" if self.trusted and isinstance(pending, Connected) else None  # how Dovecot's proxies know
        self._reply(_ACCEPTED[type(pending)] if text is None else Response(True, text, code), behind)
        if opened is not None:
            self._maildrop = opened
            self._enter(ServerState.TRANSACTION)
            self._opened()
        elif isinstance(pending, Connected):
            self._enter(ServerState.AUTHORIZATION)
        elif isinstance(pending, StartTLS):
            self._close_gate()
        elif isinstance(pending, XClient):
            self._begin_again()
        elif isinstance(pending, Update):
            self._over()
        self._stop_if_told()

    def _accept_retrieve(self, event: Retrieve, text: str | None) -> None:
        size = self._maildrop[event.number].size
        if text is not None:
            self._reply(Response(True, text))
        elif event.lines is None:
            self._yes(responses.OCTETS, octets=size)
        else:
            self._reply(responses.TOP_FOLLOWS)
        self.pending = event
        self._outgoing = OutgoingMessage(size, event.lines)

    def reject(self, code: int | None = None, text: str | None = None, enhanced: str | None = None) -> None:
        """Answer the `pending` event with no.

        ``enhanced`` is the response code of RFC 2449 section 8, such as ``"IN-USE"``. What SMTP would say, with
        ``code`` or ``enhanced``, is understood as far as POP3 has words for it. In the middle of a message
        nothing can be said any more: the connection closes, and the client knows that the message is not whole.

        Raises:
            LocalProtocolError: there is nothing to answer.
            GrammarError: ``enhanced`` is neither a response code nor a status code.
        """
        if self._outgoing is not None:
            self._break_off("the message could not be read to its end")
            return
        default = _REJECTED[type(self.pending)] if self.pending is not None else responses.UNKNOWN
        response = refusal(default, code, text, enhanced)
        pending = self._take_pending()
        self._reply(response)
        if isinstance(pending, Update):
            self._over()
        elif isinstance(pending, Connected):
            self._over("refused the connection")
        elif isinstance(pending, _LOGINS) and response.code in (None, "AUTH"):
            self._count_auth_failure()
        self._stop_if_told()

    def _count_auth_failure(self) -> None:
        self.auth_failures += 1
        if self.auth_failures >= self.limits.max_auth_failures:
            self._over("too many failed logins")

    def answer_default(self) -> None:
        """Answer the `pending` event with what is safe when nobody did: the greeting, and no to everything else."""
        if isinstance(self.pending, Connected):
            self.accept()
        else:
            self.reject()

    @property
    def wants_data(self) -> bool:
        """Whether a `Retrieve` was accepted and has room for more of the message. TOP may have enough early."""
        return self._outgoing is not None and not self._outgoing.full

    def send_data(self, data: bytes) -> None:
        """Send a piece of the message, cut anywhere. Every line end becomes CRLF, and the dots are put on.

        A message that grows beyond the size of the snapshot closes the connection (see `end_data`). Once the
        connection is over, nothing happens.

        Raises:
            LocalProtocolError: no `Retrieve` was accepted.
        """
        outgoing = self._sending()
        if outgoing is None:
            return
        try:
            content = outgoing.feed(data)
        except WrongSizeError:
            self._break_off(WRONG_SIZE)
            return
        if content:
            self._count_chunk(len(content))
            self._send(content)

    def end_data(self) -> None:
        """End the message, and with it the answer to `Retrieve`.

        If it is not of the size that the snapshot told, the connection closes without the end: a client is not
        to take for whole what is not.

        Raises:
            LocalProtocolError: no `Retrieve` was accepted.
        """
        outgoing = self._sending()
        if outgoing is None:
            return
        try:
            end = outgoing.finish()
        except WrongSizeError:
            self._break_off(WRONG_SIZE)
            return
        self.pending = self._outgoing = None
        if self.trace is not None:
            self.trace(self._speaker, b"<message of %d octets>" % outgoing.sent)
            self.trace(self._speaker, b".")
        self._send(end)
        self._stop_if_told()

    def _sending(self) -> OutgoingMessage | None:
        if self._outgoing is None and not self.closing:
            raise LocalProtocolError("no message is being sent")
        return self._outgoing

    def _break_off(self, reason: str) -> None:
        self.pending = self._outgoing = None
        self._over(reason)

    # State, time and the end.

    def _enter(self, state: ServerState) -> None:
        self.state = state

    def _over(self, reason: str = "") -> None:
        self._enter(ServerState.CLOSED)
        self._close(reason)

    def _fail(self, reason: str) -> None:
        super()._fail(reason)
        self._outgoing = None
        self._enter(ServerState.CLOSED)

    def _forget(self) -> None:
        self._forget_mode()  # all else was good for one command
        self._stop_if_told()

    def _begin_again(self) -> None:
        """Begin again as another client's session, behind XCLIENT: only TLS is left of what was."""
        self._forget_mode()
        self.auth_failures = 0
        self._enter(ServerState.AUTHORIZATION)

    @property
    def timeout(self) -> float:
        """Seconds that the wait for input, or for the peer to take output, may last."""
        if self.awaits_proxy_header:
            return self.limits.proxy_timeout
        if self._gate:
            return self.limits.handshake_timeout
        if self._outgoing is not None:
            return self.limits.data_timeout
        if self.state is ServerState.TRANSACTION:
            return self.limits.session_timeout
        return self.limits.login_timeout

    def receive_timeout(self) -> None:
        """Learn that a wait took longer than `timeout`.

        The connection ends, without a word and without UPDATE (RFC 1939 section 3).
        """
        self._fail("the client took too long")

    @property
    def idle(self) -> bool:
        """Whether nothing waits for an answer, and nothing is being answered."""
        return self.pending is None and not self._gate and not self.closing

    def shut_down(self) -> None:
        """End the connection as soon as nothing is cut short by it: at once, or after the pending answer."""
        self._stopping = True
        self._stop_if_told()

    def lose_output(self, *, partly: bool = False) -> None:
        """Learn that nothing can be sent any more: no message is read, and no command looked at, for nobody.

        What the application is asked already it may still answer, and a commit is one.
        """
        super().lose_output(partly=partly)
        if self._outgoing is not None:
            self._break_off(_GONE)
        elif self.idle:
            self._over(_GONE)
        else:
            self._stopping = True

    def _stop_if_told(self) -> None:
        if self._stopping and self.idle:
            self._over("shut down")
