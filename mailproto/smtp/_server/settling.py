"""How an SMTP server's transaction ends: with one word on the message for all, or with one for each recipient.

What leads there is answered in `answers`; how anything is said is in `speaking`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

from mailproto._core.connection import AGAIN, Step
from mailproto._core.events import ConnectionClosed
from mailproto.errors import LocalProtocolError
from mailproto.smtp._server import replies
from mailproto.smtp._server.body import BodyReader, ChunkSource, Source
from mailproto.smtp._server.budget import Budget
from mailproto.smtp._server.speaking import SpeakingConnection
from mailproto.smtp.config import SMTPServerConfig
from mailproto.smtp.events import Burl, Delivery, Envelope, MessageAborted, MessageEnd, Rcpt, ServerEvent
from mailproto.smtp.parameters import Body
from mailproto.smtp.reply import Reply
from mailproto.smtp.rules import ServerState

FAREWELLS = frozenset({421, 521})
# By these names, because up to Python 3.11 an attribute of an enum's class costs as much as a call.
_READY, _DATA, _CHUNKS = ServerState.READY, ServerState.DATA, ServerState.CHUNKS
_IN_TRANSACTION = frozenset({ServerState.MAIL, ServerState.RCPT, _DATA, _CHUNKS})

ServerStep: TypeAlias = ServerEvent | ConnectionClosed | Step


class SettlingConnection(SpeakingConnection):
    """What `SMTPServerConnection` brings transactions to their end with."""

    __slots__ = ("_body", "_budget", "_chunks", "_draining", "_mail_refused", "_verdicts", "envelope", "state")

    def __init__(self, config: SMTPServerConfig | None = None) -> None:
        super().__init__(config)
        self.state = ServerState.CONNECTED
        self.envelope: Envelope | None = None
        self._budget = Budget(self.limits)
        self._body: BodyReader | None = None
        self._chunks = ChunkSource()
        self._draining = False
        self._verdicts: list[Reply] = []  # on a message, for each recipient that was asked about so far
        self._mail_refused = False  # and since then nothing was said but what hangs on it

    # The modes, which the reading half fills in.

    @abstractmethod
    def _read_command(self) -> ServerStep:
        """Read a command."""

    @abstractmethod
    def _read_body(self) -> ServerStep:
        """Read a piece of a message."""

    @abstractmethod
    def _read_delivery(self) -> ServerStep:
        """Read nothing, but ask for the next recipient of a message."""

    # The transaction and its message.

    def _transaction(self) -> Envelope:
        if self.envelope is None:
            raise LocalProtocolError("no transaction is under way")
        return self.envelope

    def _begin_body(self, source: Source, *, binary: bool = False) -> None:
        self.state = _DATA
        self._body = BodyReader(self.config, source, binary=binary)
        self._mode = self._read_body

    def _begin_chunked_body(self) -> None:
        self._begin_body(self._chunks, binary=self._transaction().mail.parameters.body is Body.BINARY_MIME)

    def _refuse_body(self, reply: Reply) -> None:
        if self._body is not None and self._body.refusal is None:
            self._body.refusal = reply

    def _abort_message(self, reply: Reply) -> None:
        """Refuse the message that is coming in, of which something was handed on."""
        if self._body is not None and self._body.refusal is None:
            self._body.refusal = reply
            if not self.closing:
                self._events.append(MessageAborted(reply))

    def _end_transaction(self) -> None:
        self.envelope = None
        self._body = None
        if self.state in _IN_TRANSACTION:
            self.state = _READY

    # One word for all.

    def _answered_message(self, event: MessageEnd, reply: Reply, _: bool) -> None:
        self._finish_message(reply, event.envelope)

    def _finish_message(self, reply: Reply, envelope: Envelope, recipients: list[Rcpt] | None = None) -> None:
        """End the transaction with the reply to its message, in LMTP said once for each recipient. ``recipients`` are
        those that it is said of, if not all."""
        self._budget.count_message(len(envelope.recipients))
        self._progress += 1  # though what was refused may be no event: the next command has its own time
        self._end_transaction()
        if recipients is None:
            recipients = envelope.recipients
        if self.config.lmtp:
            for recipient in recipients:
                self._say_final(reply, envelope.mail, [recipient])
        else:
            self._say_final(reply, envelope.mail, recipients)
        if reply.code in FAREWELLS:
            self._close("closed by the server")
        elif self._draining:
            self.close()

    def _answered_burl(self, event: Burl, reply: Reply, accepted: bool) -> None:
        if not accepted:
            self._fail_burl(event, reply)
        elif event.last:
            self._finish_message(reply, event.envelope)
        else:
            if self._body is None:
                self._chunks = ChunkSource()
                self._begin_chunked_body()
            self.state = _CHUNKS
            self._mode = self._read_command
            self._say(reply)

    def _fail_burl(self, event: Burl, reply: Reply) -> None:
        """Fail the whole transaction for a piece that cannot be had (RFC 4468 section 3.2)."""
        if self._body is not None and self._body.refusal is None:
            self._events.append(MessageAborted(reply))
        self._mail_refused = True  # what was said ahead of this reply is no fault of the client's
        recipients = event.envelope.recipients
        self._finish_message(reply, event.envelope, recipients if event.last else recipients[-1:])

    # A word for each recipient: LMTP and PRDR.

    @property
    def answers_each(self) -> bool:
        """Whether the message under way may be answered for each recipient: in LMTP (RFC 2033 section 4.2), and for
        several recipients where MAIL has asked for it (PRDR)."""
        envelope = self.envelope
        if envelope is None:
            return False
        return self.config.lmtp or (envelope.mail.parameters.prdr and len(envelope.recipients) > 1)

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
            *before, last = zip(each, event.envelope.recipients, strict=True)
            for reply, recipient in before:
                self._say_final(for_one(reply), event.envelope.mail, [recipient])
            self._finish_message(last[0], event.envelope, [last[1]])
            if any(reply.code == 521 for reply in each):
                self._close("closed by the server")
            self._take_leave_if_told(each)
        else:
            self._say_all((replies.EACH_FOLLOWS, *map(for_one, each)))
            self._finish_each(event.envelope, each)

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

    def _need_each(self) -> MessageEnd:
        if not isinstance(self.pending, MessageEnd) or not self.answers_each:
            raise LocalProtocolError("only a message in LMTP, or with PRDR, has a reply for each recipient")
        return self.pending

    def _answered_delivery(self, event: Delivery, reply: Reply, _: bool) -> None:
        self._verdicts.append(reply)
        envelope = event.envelope
        last = len(self._verdicts) == len(envelope.recipients)
        if last:
            self._mode = self._read_command
        if not self.config.lmtp:
            self._say(for_one(reply))
            if last:
                self._finish_each(envelope, self._verdicts)
        elif last:
            self._finish_message(reply, envelope, [event.recipient])
        else:
            self._say_final(reply, envelope.mail, [event.recipient])

    @property
    def _owes_the_word_for_all(self) -> bool:
        """Whether replies for single recipients were said that mean nothing yet: with PRDR, not in LMTP."""
        return self._mode == self._read_delivery and not self.config.lmtp

    def _finish_each(self, envelope: Envelope, each: Sequence[Reply]) -> None:
        """Say the word on the whole message behind those for each recipient: yes, if one of them has it.

        Only now a farewell is said to the client: before, those who have the message would have got it again.
        """
        taking = [rcpt for rcpt, reply in zip(envelope.recipients, each, strict=True) if reply.ok]
        refusal = replies.NOBODY_TAKES_NOW if any(reply.temporary for reply in each) else replies.NOBODY_TAKES
        self._finish_message(replies.ACCEPTED[MessageEnd] if taking else refusal, envelope, taking)
        self._take_leave_if_told(each)

    def _take_leave_if_told(self, each: Sequence[Reply]) -> None:
        farewell = next((reply for reply in each if reply.code == 421), None)
        if farewell is not None:
            self.close(farewell)

    # The end of the connection.

    def close(self, reply: Reply = replies.NOT_AVAILABLE) -> None:
        """Say ``reply``, which should be a 421, and close. A message that is coming in is lost to the client."""
        if not self.closing:
            self.pending = None
            self._hang_up(reply, "closed by the server")

    def _hang_up(self, reply: Reply, reason: str) -> ServerStep:
        if self._gate or self.awaits_proxy_header:  # where words in clear are none, or would reach nobody
            self._fail(reason)
            return AGAIN
        self.pending = None
        self.state = ServerState.CLOSED
        self._say(reply)
        self._close(reason)
        return AGAIN


def for_one(reply: Reply) -> Reply:
    """Return a reply as it is said of one recipient when others follow: a farewell would be taken for the last."""
    return reply._replace(code=451) if reply.code == 421 else reply
