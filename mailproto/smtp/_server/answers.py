"""The answering half of a server's connection: what its user says to each event, and what follows from it.

The reading half is `mailproto.smtp.server`. What is said without words of one's own is in `replies`, how a
transaction ends in `settling`, and a login in `logins`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from mailproto._core.checks import check_kind
from mailproto._core.connection import AGAIN, STARVED
from mailproto._core.events import ExtensionCommand, StartTLS
from mailproto.errors import GrammarError, LocalProtocolError, check_code
from mailproto.sasl.base import Auth, AuthResponse
from mailproto.sasl.choice import offerable
from mailproto.smtp._server import replies
from mailproto.smtp._server.body import DataSource
from mailproto.smtp._server.offer import Offer
from mailproto.smtp._server.settling import ServerStep, SettlingConnection
from mailproto.smtp.config import SMTPServerConfig
from mailproto.smtp.events import (
    Burl,
    CommandRejected,
    Connected,
    Data,
    Delivery,
    Envelope,
    Etrn,
    Expn,
    Hello,
    Mail,
    MessageEnd,
    Rcpt,
    Reset,
    ServerEvent,
    Vrfy,
    XClient,
    XForward,
)
from mailproto.smtp.extensions import Standing
from mailproto.smtp.reply import Reply
from mailproto.smtp.rules import HELLO, ServerState

# By these names, because up to Python 3.11 an attribute of an enum's class costs as much as a call.
_READY, _MAIL, _RCPT = ServerState.READY, ServerState.MAIL, ServerState.RCPT


class AnsweringConnection(SettlingConnection):
    """What `SMTPServerConnection` answers."""

    __slots__ = ("_hushed", "_login_lost", "_offer", "authenticated", "extended", "hello", "trusted")

    def __init__(self, config: SMTPServerConfig | None = None) -> None:
        super().__init__(config)
        self.authenticated = False
        self._login_lost = False
        self._login_due = self.config.require_auth
        self.extended = False
        self.hello = ""
        self.trusted = False
        self._offer = Offer(self.config)
        self._hushed = self.config.greeting_delay <= 0  # whether the client let us speak first

    @property
    def auth_mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms that are offered as things stand: in clear none, unless that is allowed."""
        return offerable(self.config.auth_mechanisms, self.tls) if self._auth_is_safe else ()

    @property
    def _standing(self) -> Standing:
        """What decides which extensions are offered."""
        return Standing(self.config, self.tls is not None, self.authenticated, self.trusted, self.auth_mechanisms)

    @property
    def _auth_is_safe(self) -> bool:
        """Whether nobody reads along, or that is allowed, and nothing else says that nobody may."""
        in_clear = self.config.allow_plaintext_auth and not self.config.require_tls
        return self.tls is not None or in_clear

    # Answers.

    def accept(self, text: str | None = None) -> None:
        """Answer the pending event with yes: 220, 250, 354 or what else yes is there.

        Accepting a `MessageEnd` takes over the responsibility for the message (RFC 5321 section 4.2.5), so it has
        to be on disk by then.

        Raises:
            LocalProtocolError: nothing is pending.
        """
        event, self.pending = self.pending, None
        answered, reply = _ANSWERED[type(event)]
        answered(self, event, reply if text is None else reply._replace(text=text), True)

    def reject(self, code: int | None = None, text: str | None = None, enhanced: str | None = None) -> None:
        """Answer the pending event with no; while a message comes in, refuse that, at its end, see `MessageAborted`.

        Args:
            code: 400 to 599.
            text: one line or several, separated by a newline.
            enhanced: of the same class as ``code``, like ``5.7.1``; left out it is the usual or a general one.

        Raises:
            LocalProtocolError: nothing is pending and no message comes in.
            GrammarError: not such a code; nothing was answered.
            TypeError: the code is no number.
        """
        if self.pending is None and self._body is not None:
            self._abort_message(_refusal(replies.REJECTED[MessageEnd], code, text, enhanced))
        else:
            self._answer(_refusal(self._usual(replies.REJECTED), code, text, enhanced))

    def reply(self, reply: Reply) -> None:
        """Answer the pending event with any reply; the class of its code decides what it means.

        Raises:
            LocalProtocolError: nothing is pending, or the code says what cannot be said there.
            TypeError: it is text.
        """
        check_kind("reply", reply, Reply)
        self._answer(reply)

    def answer_default(self) -> None:
        """Answer the pending event as if nobody cared: no recipient, no login, no message is taken by default."""
        reply = replies.DEFAULT.get(type(self.pending))
        if reply is None:
            self.accept()
        else:
            self._answer(reply)

    # What follows from an answer.

    def _usual(self, table: dict[type, Reply]) -> Reply:
        if self.pending is None:
            raise LocalProtocolError("there is nothing to answer")
        return table[type(self.pending)]

    def _answer(self, reply: Reply) -> None:
        """Send the reply to the pending event, and move the state as its code says."""
        positive = self._usual(replies.ACCEPTED).code // 100
        code = reply.code
        if code // 100 not in (positive, 4, 5) or (positive == 3 and code < 400 and code != 354):
            raise LocalProtocolError(f"{code} is no answer to {type(self.pending).__name__}")
        event = self._take_pending()
        answered, _ = _ANSWERED[type(event)]
        answered(self, event, reply, code < 400)
        if code == 421 and not self.closing and not self._owes_the_word_for_all:
            self._close("closed by the server")

    def _answered_nothing(self, *_: object) -> None:
        raise LocalProtocolError("there is nothing to answer")

    def _answered_connected(self, _: ServerEvent, reply: Reply, accepted: bool) -> None:
        self.state = ServerState.START if accepted else ServerState.REFUSED
        text = reply.text or self.config.greeting
        self._say(Reply(reply.code, f"{self.config.hostname} {text}" if accepted else text))
        if reply.code == 521:
            self._close("refused")

    def _answered_hello(self, event: Hello, reply: Reply, accepted: bool) -> None:
        if not accepted:
            self._say(reply._replace(enhanced=None))
            return
        if self.envelope is not None:  # EHLO takes a transaction back as RSET does (RFC 5321 section 4.1.4)
            self._events.append(Reset())
        self._end_transaction()
        self.state = _READY
        self.extended = event.extended
        self.hello = event.domain
        first = f"{self.config.hostname} {reply.text}" if reply.text else self.config.hostname
        self._offer = Offer(self.config)
        offered = self._offer.make(self._standing) if event.extended else []
        self._say(Reply(reply.code, "\n".join((first, *offered))))

    def _answered_starttls(self, _: ServerEvent, reply: Reply, accepted: bool) -> None:
        if accepted:
            self._close_gate()
        if self._failure is None:
            self._say(reply)

    def _answered_auth(self, _: ServerEvent, reply: Reply, accepted: bool) -> None:
        self.authenticated = accepted
        if accepted:
            self._login_due = False
        else:
            self._budget.count_auth_failure()
        self._say(reply)

    def _answered_mail(self, event: Mail, reply: Reply, accepted: bool) -> None:
        self._mail_refused = not accepted
        if accepted:
            self.envelope = Envelope(event)
            self.state = _MAIL
        self._say(reply)

    def _answered_rcpt(self, event: Rcpt, reply: Reply, accepted: bool) -> None:
        envelope = self._transaction()
        if accepted:
            envelope.recipients.append(event)
            self.state = _RCPT
        elif reply.permanent:
            farewell = self._budget.count_refused_recipient(len(envelope.recipients))
            if farewell is not None:
                self._hang_up(farewell, "too many recipients were refused")
                return
        self._say(reply, reply.code in replies.SHOWS_ADDRESS and envelope.mail.parameters.smtputf8)

    def _answered_data(self, event: Data, reply: Reply, accepted: bool) -> None:
        if event.chunked and reply.code != 421:  # behind which nothing is read
            self._begin_chunked_body()
            if not accepted:
                self._refuse_body(reply)
            return
        self._say(reply)
        if accepted:
            self._begin_body(DataSource())
        else:
            self._end_transaction()

    def _answered_query(self, event: Vrfy | Expn | Etrn | XForward | ExtensionCommand, reply: Reply, _: bool) -> None:
        if not isinstance(event, Vrfy | Expn) or reply.text.isascii():
            self._say(reply)
        elif event.smtputf8:
            self._say(reply, utf8=True)
        else:
            self._say(replies.UTF8_NEEDED if reply.ok else replies.UTF8_REFUSED)

    def _answered_xclient(self, event: XClient, reply: Reply, accepted: bool) -> None:
        """Begin again as another client's session: only TLS is left of what was (Postfix XCLIENT_README)."""
        if accepted:
            self._forget()
            self.hello = event.attributes.get("HELO") or ""
            self._say(Reply(reply.code, f"{self.config.hostname} {reply.text or self.config.greeting}"))
        else:
            self._say(reply)

    def _forget(self) -> None:
        if self.state is not ServerState.CONNECTED:
            self.state = ServerState.START
            self._mode = self._read_command
        self.envelope = None
        self.authenticated = self.extended = False
        self._login_due = self.config.require_auth
        self.hello = ""
        self._offer = Offer(self.config)

    # What needs no answer.

    def _refuse(self, verb: str, reply: Reply, *, count: bool = True) -> ServerStep:
        """Refuse a command without asking anybody, and say so in a notice."""
        farewell = self._budget.count_error() if count else None
        if farewell is not None:
            return self._hang_up(farewell, "too many errors")
        if count:
            self._penalise(self._budget.errors)
        if verb == "MAIL":
            self._mail_refused = True
        elif verb in HELLO:  # whose replies have no status code (RFC 2034 section 4)
            reply = reply._replace(enhanced=None)
        self._say(reply)
        return CommandRejected(verb, reply)

    def _skip_line(self) -> ServerStep:
        """Drop the rest of an over-long line, which must never be taken for a command."""
        if not self._buffer.skip_line():
            return STARVED
        self._mode = self._read_command
        return AGAIN


def _refusal(usual: Reply, code: int | None, text: str | None, enhanced: str | None) -> Reply:
    """Return the reply that refuses, the usual one where the caller leaves something out."""
    if code is None:
        code = usual.code
    check_code(code)
    if not 400 <= code <= 599:
        raise GrammarError(f"{code} does not refuse")
    if enhanced is None:
        same_class = usual.enhanced is not None and usual.enhanced.status_class == code // 100
        status = usual.enhanced if same_class else f"{code // 100}.0.0"
    else:
        status = enhanced
    return Reply.build(code, usual.text if text is None else text, status)


_Answered: TypeAlias = Callable[[AnsweringConnection, Any, Reply, bool], None]
_FOLLOWS: dict[type, _Answered] = {
    Connected: AnsweringConnection._answered_connected,
    Hello: AnsweringConnection._answered_hello,
    StartTLS: AnsweringConnection._answered_starttls,
    Auth: AnsweringConnection._answered_auth,
    AuthResponse: AnsweringConnection._answered_auth,
    Mail: AnsweringConnection._answered_mail,
    Rcpt: AnsweringConnection._answered_rcpt,
    Data: AnsweringConnection._answered_data,
    MessageEnd: AnsweringConnection._answered_message,
    Delivery: AnsweringConnection._answered_delivery,
    Burl: AnsweringConnection._answered_burl,
    Vrfy: AnsweringConnection._answered_query,
    Expn: AnsweringConnection._answered_query,
    Etrn: AnsweringConnection._answered_query,
    XClient: AnsweringConnection._answered_xclient,
    XForward: AnsweringConnection._answered_query,
    ExtensionCommand: AnsweringConnection._answered_query,
}
# What follows from the answer to an event, and the reply that accepts it; and where no event is pending.
_ANSWERED = {kind: (follow, replies.ACCEPTED[kind]) for kind, follow in _FOLLOWS.items()}
_ANSWERED[type(None)] = (AnsweringConnection._answered_nothing, replies.OK)
