"""The answering half of a server's connection: what its user says to each event, and what follows from it.

The reading half is `mailproto.smtp.server`. What is said without words of one's own is `mailproto.smtp.replies`, and
how it is said is `mailproto.smtp.speaking`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TypeAlias

from mailproto._core.codec import encode_base64
from mailproto._core.connection import AGAIN, Step
from mailproto._core.events import ConnectionClosed, StartTLS
from mailproto.errors import GrammarError, LocalProtocolError
from mailproto.sasl.base import Auth, AuthResponse
from mailproto.sasl.choice import offerable
from mailproto.smtp import replies
from mailproto.smtp.body import BodyReader, ChunkSource, DataSource, Source
from mailproto.smtp.budget import Budget
from mailproto.smtp.command import SECRET
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
    MessageAborted,
    MessageEnd,
    Rcpt,
    Reset,
    ServerEvent,
    Vrfy,
    XClient,
    XForward,
)
from mailproto.smtp.extensions import Standing
from mailproto.smtp.offer import Offer
from mailproto.smtp.parameters import Body
from mailproto.smtp.reply import Reply
from mailproto.smtp.rules import HELLO, ServerState
from mailproto.smtp.speaking import SpeakingConnection

FAREWELLS = frozenset({421, 521})
_IN_TRANSACTION = frozenset({ServerState.MAIL, ServerState.RCPT, ServerState.DATA, ServerState.CHUNKS})

ServerStep: TypeAlias = ServerEvent | ConnectionClosed | Step


class AnsweringConnection(SpeakingConnection):
    """What `SMTPServerConnection` answers."""

    __slots__ = (
        "_body",
        "_budget",
        "_chunks",
        "_draining",
        "_hushed",
        "_login_lost",
        "_mail_refused",
        "_offer",
        "_verdicts",
        "authenticated",
        "envelope",
        "extended",
        "hello",
        "state",
        "trusted",
    )

    def __init__(self, config: SMTPServerConfig | None = None) -> None:
        super().__init__(config)
        self.state = ServerState.CONNECTED
        self.envelope: Envelope | None = None
        self.authenticated = False
        self._login_lost = False
        self.extended = False
        self.hello = ""
        self.trusted = False
        self._offer = Offer(self.config)
        self._budget = Budget(self.limits)
        self._body: BodyReader | None = None
        self._chunks = ChunkSource()
        self._draining = False
        self._hushed = self.config.greeting_delay <= 0  # whether the client let us speak first
        self._verdicts: list[Reply] = []  # on a message, for each recipient that was asked about so far
        self._mail_refused = False  # and since then nothing was said but what hangs on it

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
        event = self._take_pending()
        kind = type(event)
        reply = replies.ACCEPTED[kind]
        _ANSWERED[kind](self, event, reply if text is None else reply._replace(text=text), True)

    def reject(self, code: int | None = None, text: str | None = None, enhanced: str | None = None) -> None:
        """Answer the pending event with no; while a message comes in, refuse that, at its end.

        Args:
            code: 400 to 599.
            text: one line or several, separated by a newline.
            enhanced: of the same class as ``code``, like ``5.7.1``; left out it is the usual or a general one.

        Raises:
            LocalProtocolError: nothing is pending and no message comes in.
            GrammarError: not such a code; nothing was answered.
        """
        if self.pending is None and self._body is not None:
            self._refuse_body(_refusal(replies.REJECTED[MessageEnd], code, text, enhanced))
        else:
            self._answer(_refusal(self._usual(replies.REJECTED), code, text, enhanced))

    def reply(self, reply: Reply) -> None:
        """Answer the pending event with any reply; the class of its code decides what it means.

        Raises:
            LocalProtocolError: nothing is pending, or the code says what cannot be said there.
        """
        self._answer(reply)

    def reply_each(self, each: Sequence[Reply]) -> None:
        """Answer a pending `MessageEnd` with a reply for each accepted recipient, see `answers_each`.

        A 421 is said as 451 where other replies follow, and closes the connection behind the last of them.

        Raises:
            LocalProtocolError: that is not what is pending, or not so many replies are due.
        """
        event = self._need_each()
        if len(each) != len(event.envelope.recipients):
            raise LocalProtocolError("not as many replies as recipients")
        if not {reply.code // 100 for reply in each} <= {2, 4, 5}:
            raise LocalProtocolError("such a reply is no answer to a message")
        self._take_pending()
        if self.config.lmtp:
            self._finish_message((*map(_for_one, each[:-1]), each[-1]))
            self._take_leave_if_told(each)
        else:
            self._say_all((replies.EACH_FOLLOWS, *map(_for_one, each)))
            self._finish_each(each)

    def ask_each(self) -> None:
        """Answer a pending `MessageEnd` by and by: a `Delivery` for each accepted recipient comes next.

        Raises:
            LocalProtocolError: that is not what is pending, or `answers_each` is false.
        """
        self._need_each()
        self._take_pending()
        self._verdicts = []
        self._mode = self._read_delivery
        if not self.config.lmtp:
            self._say(replies.EACH_FOLLOWS)

    @property
    def answers_each(self) -> bool:
        """Whether the message under way may be answered for each recipient: in LMTP (RFC 2033 section 4.2), and for
        several recipients where MAIL has asked for it (PRDR)."""
        envelope = self.envelope
        if envelope is None:
            return False
        return self.config.lmtp or (envelope.mail.parameters.prdr and len(envelope.recipients) > 1)

    def _need_each(self) -> MessageEnd:
        if not isinstance(self.pending, MessageEnd) or not self.answers_each:
            raise LocalProtocolError("only a message in LMTP, or with PRDR, has a reply for each recipient")
        return self.pending

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

    def answer_default(self) -> None:
        """Answer the pending event as if nobody cared: no recipient, no login, no message is taken by default."""
        reply = replies.DEFAULT.get(type(self.pending))
        if reply is None:
            self.accept()
        else:
            self._answer(reply)

    def close(self, reply: Reply = replies.SHUTTING_DOWN) -> None:
        """Say ``reply``, which should be a 421, and close. A message that is coming in is lost to the client."""
        if not self._closing:
            self.pending = None
            self._hang_up(reply, "closed by the server")

    # The modes, which the reading half fills in.

    @abstractmethod
    def _read_command(self) -> ServerStep:
        """Read a command."""

    @abstractmethod
    def _read_sasl(self) -> ServerStep:
        """Read a response to a challenge."""

    @abstractmethod
    def _read_body(self) -> ServerStep:
        """Read a piece of a message."""

    @abstractmethod
    def _read_delivery(self) -> ServerStep:
        """Read nothing, but ask for the next recipient of a message."""

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
        _ANSWERED[type(event)](self, event, reply, code < 400)
        if code == 421 and not self._closing and not self._owes_the_word_for_all:
            self._close("closed by the server")

    def _answered_connected(self, _: ServerEvent, reply: Reply, accepted: bool) -> None:
        self.state = ServerState.START if accepted else ServerState.REFUSED
        text = reply.text or self.config.greeting
        self._say(Reply(reply.code, f"{self.config.hostname} {text}" if accepted else text))
        if reply.code == 521:
            self._close("refused")

    def _answered_hello(self, event: ServerEvent, reply: Reply, accepted: bool) -> None:
        if not accepted or not isinstance(event, Hello):
            self._say(reply._replace(enhanced=None))
            return
        if self.envelope is not None:  # EHLO takes a transaction back as RSET does (RFC 5321 section 4.1.4)
            self._events.append(Reset())
        self._end_transaction()
        self.state = ServerState.READY
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
        if not accepted:
            self._budget.count_auth_failure()
        self._say(reply)

    def _answered_mail(self, event: ServerEvent, reply: Reply, accepted: bool) -> None:
        self._mail_refused = not accepted
        if accepted and isinstance(event, Mail):
            self.envelope = Envelope(event)
            self.state = ServerState.MAIL
        self._say(reply)

    def _answered_rcpt(self, event: ServerEvent, reply: Reply, accepted: bool) -> None:
        envelope = self._transaction()
        if accepted and isinstance(event, Rcpt):
            envelope.recipients.append(event)
            self.state = ServerState.RCPT
        elif reply.permanent:
            farewell = self._budget.count_refused_recipient(len(envelope.recipients))
            if farewell is not None:
                self._hang_up(farewell, "too many recipients were refused")
                return
        self._say(reply, envelope.mail.parameters.smtputf8 and reply.code in replies.SHOWS_ADDRESS)

    def _answered_data(self, event: ServerEvent, reply: Reply, accepted: bool) -> None:
        if isinstance(event, Data) and event.chunked and reply.code != 421:  # behind which nothing is read
            self._begin_body(self._chunks)
            if not accepted:
                self._refuse_body(reply)
            return
        self._say(reply)
        if accepted:
            self._begin_body(DataSource())
        else:
            self._end_transaction()

    def _answered_message(self, _: ServerEvent, reply: Reply, __: bool) -> None:
        self._finish_message((reply,) * self._final_replies())

    def _answered_delivery(self, event: ServerEvent, reply: Reply, _: bool) -> None:
        self._verdicts.append(reply)
        envelope = self._transaction()
        last = len(self._verdicts) == len(envelope.recipients)
        if last:
            self._mode = self._read_command
        if not self.config.lmtp:
            self._say(_for_one(reply))
            if last:
                self._finish_each(self._verdicts)
        elif last or not isinstance(event, Delivery):
            self._finish_message((reply,))
        else:
            self._say_final(reply, envelope.mail, [event.recipient])

    @property
    def _owes_the_word_for_all(self) -> bool:
        """Whether replies for single recipients were said that mean nothing yet: with PRDR, not in LMTP."""
        return self._mode == self._read_delivery and not self.config.lmtp

    def _finish_each(self, each: Sequence[Reply]) -> None:
        """Say the word on the whole message behind those for each recipient: yes, if one of them has it.

        Only now a farewell is said to the client: before, those who have the message would have got it again.
        """
        recipients = self._transaction().recipients
        taking = [rcpt for rcpt, reply in zip(recipients, each, strict=True) if reply.ok]
        refusal = replies.NOBODY_TAKES_NOW if any(reply.temporary for reply in each) else replies.NOBODY_TAKES
        self._finish_message((replies.ACCEPTED[MessageEnd] if taking else refusal,), taking)
        self._take_leave_if_told(each)

    def _take_leave_if_told(self, each: Sequence[Reply]) -> None:
        farewell = next((reply for reply in each if reply.code == 421), None)
        if farewell is not None:
            self.close(farewell)

    def _answered_burl(self, event: ServerEvent, reply: Reply, accepted: bool) -> None:
        last = isinstance(event, Burl) and event.last
        if not accepted:
            self._fail_burl(reply, last)
        elif last:
            self._finish_message((reply,) * self._final_replies())
        else:
            if self._body is None:
                self._chunks = ChunkSource()
                self._begin_body(self._chunks)
            self.state = ServerState.CHUNKS
            self._mode = self._read_command
            self._say(reply)

    def _fail_burl(self, reply: Reply, last: bool) -> None:
        """Fail the whole transaction for a piece that cannot be had (RFC 4468 section 3.2)."""
        if self._body is not None and self._body.refusal is None:
            self._events.append(MessageAborted(reply))
        self._mail_refused = True  # what was said ahead of this reply is no fault of the client's
        self._finish_message((reply,) * (self._final_replies() if last else 1))

    def _answered_query(self, event: ServerEvent, reply: Reply, _: bool) -> None:
        if not isinstance(event, Vrfy | Expn) or reply.text.isascii():
            self._say(reply)
        elif event.smtputf8:
            self._say(reply, utf8=True)
        else:
            self._say(replies.UTF8_NEEDED if reply.ok else replies.UTF8_REFUSED)

    def _answered_xclient(self, event: ServerEvent, reply: Reply, accepted: bool) -> None:
        """Begin again as another client's session: only TLS is left of what was (Postfix XCLIENT_README)."""
        if accepted:
            self._forget()
            self.hello = (event.attributes.get("HELO") if isinstance(event, XClient) else None) or ""
            self._say(Reply(reply.code, f"{self.config.hostname} {reply.text or self.config.greeting}"))
        else:
            self._say(reply)

    def _begin_body(self, source: Source) -> None:
        self.state = ServerState.DATA
        binary = self._transaction().mail.parameters.body is Body.BINARY_MIME
        self._body = BodyReader(self.config, source, binary=binary)
        self._mode = self._read_body

    def _refuse_body(self, reply: Reply) -> None:
        if self._body is not None and self._body.refusal is None:
            self._body.refusal = reply

    def _final_replies(self) -> int:
        """Return how many replies the message gets: one, or in LMTP one for each recipient."""
        return len(self._transaction().recipients) if self.config.lmtp else 1

    def _finish_message(self, final: Sequence[Reply], taking: list[Rcpt] | None = None) -> None:
        """End the transaction with the reply to its message, in LMTP with the replies. ``taking`` are the recipients
        that have it, if not all."""
        envelope = self._transaction()
        self._budget.count_message(len(envelope.recipients))
        self._end_transaction()
        recipients = envelope.recipients if taking is None else taking
        if self.config.lmtp:
            for reply, recipient in zip(final, recipients[-len(final) :], strict=True):
                self._say_final(reply, envelope.mail, [recipient])
        else:
            self._say_final(final[0], envelope.mail, recipients)
        if not FAREWELLS.isdisjoint([reply.code for reply in final]):
            self._close("closed by the server")
        elif self._draining:
            self.close()

    def _transaction(self) -> Envelope:
        if self.envelope is None:
            raise LocalProtocolError("no transaction is under way")
        return self.envelope

    def _end_transaction(self) -> None:
        self.envelope = None
        self._body = None
        if self.state in _IN_TRANSACTION:
            self.state = ServerState.READY

    def _forget(self) -> None:
        if self.state is not ServerState.CONNECTED:
            self.state = ServerState.START
            self._mode = self._read_command
        self.envelope = None
        self.authenticated = self.extended = False
        self.hello = ""
        self._offer = Offer(self.config)

    # What needs no answer.

    def _hang_up(self, reply: Reply, reason: str) -> ServerStep:
        if self._gate or self.awaits_proxy_header:  # where words in clear are none, or would reach nobody
            self._fail(reason)
            return AGAIN
        self.pending = None
        self.state = ServerState.CLOSED
        self._say(reply)
        self._close(reason)
        return AGAIN

    def _refuse(self, verb: str, reply: Reply, *, count: bool = True) -> ServerStep:
        """Refuse a command without asking anybody, and say so in a notice."""
        farewell = self._budget.count_error() if count else None
        if farewell is not None:
            return self._hang_up(farewell, "too many errors")
        if verb == "MAIL":
            self._mail_refused = True
        elif verb in HELLO:  # whose replies have no status code (RFC 2034 section 4)
            reply = reply._replace(enhanced=None)
        self._say(reply)
        return CommandRejected(verb, reply)


def _refusal(usual: Reply, code: int | None, text: str | None, enhanced: str | None) -> Reply:
    """Return the reply that refuses, the usual one where the caller leaves something out."""
    if code is None:
        code = usual.code
    if not 400 <= code <= 599:
        raise GrammarError(f"{code} does not refuse")
    if enhanced is None:
        same_class = usual.enhanced is not None and usual.enhanced.status_class == code // 100
        status = usual.enhanced if same_class else f"{code // 100}.0.0"
    else:
        status = enhanced
    return Reply.build(code, usual.text if text is None else text, status)


def _for_one(reply: Reply) -> Reply:
    """Return a reply as it is said of one recipient when others follow: a farewell would be taken for the last."""
    return reply._replace(code=451) if reply.code == 421 else reply


_ANSWERED: dict[type, Callable[[AnsweringConnection, ServerEvent, Reply, bool], None]] = {
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
}
