"""A server's job: carry each event to the application's hook, and its answer back.

A handler is an object with any of these methods, and an event is what `mailproto.smtp` has under that name::

    on_connect(session)                    a client is there
    on_hello(session, event)               EHLO, HELO or LHLO: `Hello`
    on_auth(session, check)                is that who it says it is? see `mailproto.sasl` for these three
    on_scram_key(session, request)         the key of this user
    on_authorize(session, identity, name)  may the one act as the other?
    on_mail(session, event)                who sends: `Mail`
    on_rcpt(session, event)                to whom, once for each: `Rcpt`
    on_data(session, event)                the message is about to come: `Data`
    on_chunk(session, octets)              a piece of it; with this hook nothing is kept for the next two
    on_message(session, envelope)          the whole message: `Envelope`; returning means that it is safe
    on_delivery(session, envelope, rcpt)   the same for each recipient, in LMTP and with PRDR
    on_vrfy, on_expn, on_etrn, on_burl,
    on_xclient, on_xforward(session, event)  the rarer commands
    on_command(session, event)             one of an extension of your own: `ExtensionCommand`
    on_reset(session)                      RSET or EHLO, or a message that is refused before its end: forget what came
    on_close(session)                      the end, on every way out; ``session.replies_lost`` is known now

Returning None or ``True`` accepts (a text, or a `Reply`, says it in other words), raising `Reject` refuses, and any
other exception is logged and answered with 451. So is all else that is returned, such as a number, a tuple or a path,
and a text such as ``550 no``: nobody could tell 550 octets written from a refusal. What the handler has no hook for
is answered as is safe: no recipient, no login, no message; a server says so in the log when it is made. A refusal by
``on_chunk`` is told at the end of the message; no more of that is handed on, and ``on_reset`` follows.
``session.drop()`` in any hook ends the connection without an answer.

``on_delivery`` comes behind ``on_message``, if that took the message or is not there, for each accepted recipient in
turn (RFC 2033 section 4.2); its return or `Reject` is the reply for that one alone, sent at once. Without it the word
of ``on_message`` is the reply for each.

``on_burl`` fetches a piece of the message (RFC 4468 section 3.2). Behind the last piece no ``on_message`` comes: it
takes the message as that would, and finds the pieces that came otherwise in the event's envelope.

With ``on_expn`` a server offers EXPN, and refuses it without (RFC 5321 section 3.5.2).
"""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import datetime
from typing import Any

from mailproto._core.events import ConnectionClosed, ExtensionCommand, MessageChunk, StartTLS
from mailproto._core.flow import Call, Flow, Sleep, Want
from mailproto._core.spool import Spool
from mailproto._flows.auth import authenticate
from mailproto._flows.beginning import Admit, admit_all, begin_session
from mailproto._flows.hooks import (
    INTERNAL_ERROR,
    HookCutOffError,
    answer,
    call_hook,
    check_said,
    forget,
    refusal_of,
)
from mailproto._flows.reading import go_on, slow_down
from mailproto._flows.session import Session
from mailproto.address import Address
from mailproto.errors import ConnectionClosedError, ConnectionTimeoutError, LocalProtocolError, Reject
from mailproto.sasl.base import Auth, Identity, ServerMechanisms
from mailproto.sasl.choice import SERVER_MECHANISMS
from mailproto.sasl.identity import AUTH_HOOKS
from mailproto.smtp._server.unsaid import ReplyLost
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
    Vrfy,
    XClient,
    XForward,
)
from mailproto.smtp.reply import Reply
from mailproto.smtp.rules import ServerState
from mailproto.smtp.server import SMTPServerConnection
from mailproto.smtp.trace import received_field, with_protocol

logger = logging.getLogger("mailproto")

NO_ROOM = Reject(452, "Insufficient system storage", "4.3.1")
"""What the client is told when the temporary file of a message cannot be written."""

_ASKING: dict[type, str] = {
    Hello: "on_hello",
    Mail: "on_mail",
    Rcpt: "on_rcpt",
    Data: "on_data",
    Vrfy: "on_vrfy",
    Expn: "on_expn",
    Etrn: "on_etrn",
    XForward: "on_xforward",
    ExtensionCommand: "on_command",
}

HOOKS = (
    "on_connect",
    *_ASKING.values(),
    *AUTH_HOOKS,
    "on_chunk",
    "on_message",
    "on_delivery",
    "on_burl",
    "on_xclient",
    "on_reset",
    "on_close",
)
"""The names of the hooks."""

_WORDS = (str, Reply)  # what a hook may return beside None and True


class SMTPSession(Session[SMTPServerConnection]):
    """One SMTP client, as the application sees it.

    Attributes:
        peer: the address of the client: an IP address, or ``""`` on a unix socket. Where a trusted proxy has told
            it, ``transport_peer`` is the proxy's own.
        local: the address that the client reached.
        state: a dictionary of the application's own, for what it wants to keep from hook to hook.
        attributes: what a trusted peer has said of the client with XCLIENT.
        conn: the state machine underneath, whose ``accept``, ``reject``, ``reply``, ``challenge`` and ``drop`` are
            here, too.
    """

    def __init__(self, conn: SMTPServerConnection, peer: str = "", local: str = "") -> None:
        super().__init__(conn, peer, local)
        self.accept = conn.accept
        self.reply = conn.reply
        self.reply_each = conn.reply_each
        self.ask_each = conn.ask_each

    @property
    def hello(self) -> str:
        """What the client calls itself, which proves nothing; ``""`` before EHLO or HELO, and again behind STARTTLS
        (RFC 3207 section 4.2). Who has just said it is called so before it is accepted; what is refused is forgotten.
        """
        pending = self.conn.pending
        return pending.domain if isinstance(pending, Hello) else self.conn.hello

    @property
    def identity(self) -> Identity | None:
        """Who the client has authenticated as; STARTTLS makes it nobody again (RFC 3207 section 4.2)."""
        return self._identity if self.conn.authenticated else None

    def received_field(
        self, when: datetime, *, queue_id: str | None = None, recipient: Address | None = None
    ) -> bytes:
        """Return the Received field for the message under way, as `mailproto.smtp.trace.received_field` does.

        Args:
            when: the time of reception, with its zone.
            queue_id: the server's name for the message.
            recipient: the recipient, if the message has only this one.
        """
        conn, envelope = self.conn, self.envelope
        return received_field(
            by=conn.config.hostname,
            hello=self.hello,
            peer=self.peer,
            protocol=with_protocol(
                extended=conn.extended,
                tls=conn.tls is not None,
                authenticated=conn.authenticated,
                lmtp=conn.config.lmtp,
                utf8=envelope is not None and envelope.mail.parameters.smtputf8,
            ),
            when=when,
            queue_id=queue_id,
            recipient=recipient,
            cipher=conn.tls.cipher or None if conn.tls is not None else None,
        )

    @property
    def replies_lost(self) -> tuple[ReplyLost, ...]:
        """The answers to accepted messages that certainly did not reach the client, who will send those again.

        Known at the end: in ``on_close``, and with `ConnectionClosed`.
        """
        return self.conn.replies_lost

    @property
    def envelope(self) -> Envelope | None:
        """The transaction under way, if any."""
        return self.conn.envelope


def serve(
    session: SMTPSession,
    handler: object,
    *,
    implicit_tls: bool = False,
    mechanisms: ServerMechanisms = SERVER_MECHANISMS,
    spool_threshold: int = 1 << 20,
    admit: Admit = admit_all,
) -> Flow[None]:
    """Serve one client to the end of its connection, which ``on_close`` hears of on every way out.

    Args:
        implicit_tls: begin with the handshake (RFC 8314 section 3.3).
        mechanisms: the SASL mechanisms by name; the config says which of them are offered.
        spool_threshold: octets of a message that are kept in memory; more go to a temporary file.
        admit: says whether there is room for the client that a load balancer has brought.
    """
    service = _Service(session, handler, mechanisms, spool_threshold)
    try:
        yield from begin_session(session, implicit_tls=implicit_tls, admit=admit)
        yield from service.converse()
    except (ConnectionClosedError, HookCutOffError, OSError) as error:
        logger.info("%s: %s", session.peer, error)
    except Exception:
        logger.exception("a session failed")
        session.conn.close()
    yield from service.end()


class _Service:
    """The flow over the events of one session."""

    def __init__(self, session: SMTPSession, handler: object, mechanisms: ServerMechanisms, threshold: int) -> None:
        self._session = session
        self._conn = session.conn
        self._handler = handler
        self._mechanisms = mechanisms
        self._threshold = threshold
        self._hooks: dict[str, Any] = {name: getattr(handler, name, None) for name in HOOKS}
        self._asked: dict[type, Any] = {kind: self._hooks[name] for kind, name in _ASKING.items()}
        self._spool: Spool | None = None
        self._failures = 0

    def converse(self) -> Flow[None]:
        """Take events until the connection is over."""
        conn, hooks, asked = self._conn, self._hooks, self._asked
        while True:
            event = conn.next_event()
            kind = type(event)
            if kind in asked:
                if asked[kind] is None:
                    conn.answer_default()
                else:
                    yield from self._consult(asked[kind], event)
            elif isinstance(event, MessageChunk):
                if hooks["on_chunk"] is None:
                    self._keep(event.data)
                else:
                    yield from self._hand_on(event.data)
            elif isinstance(event, MessageEnd):
                yield from self._message(event.envelope)
            elif event is None or isinstance(event, StartTLS):
                yield from go_on(conn, event)
            elif isinstance(event, Connected):
                yield from self._consult(hooks["on_connect"])
            elif isinstance(event, Delivery):
                yield from self._deliver(event)
            elif isinstance(event, Burl):
                yield from self._fetch(event)
            elif isinstance(event, XClient):
                yield from self._speak_for(event)
            elif isinstance(event, Auth):
                yield from self._auth(event)
            elif isinstance(event, Reset | MessageAborted):
                yield from self._reset()
            elif isinstance(event, CommandRejected):
                yield from slow_down(conn)
            elif isinstance(event, ConnectionClosed):
                return

    def end(self) -> Flow[None]:
        """Throw away what is unfinished, and tell the application."""
        self._drop()
        with suppress(ConnectionTimeoutError):
            yield Want.FLUSH  # so that it is known what of the last answers has left
        yield from self._tell("on_close")

    def _consult(self, hook: Any, *arguments: object) -> Flow[None]:
        """Answer the pending event as the hook says, or as is safe if there is none."""
        if hook is None:
            self._conn.answer_default()
            return
        try:
            said = yield Call(hook, (self._session, *arguments))
            if said is not None:
                check_said(hook, said, *_WORDS)
        except Exception as error:
            answer(self._conn, refusal_of(hook, error))
        else:
            self._accept(said)

    def _accept(self, said: object) -> None:
        """Accept the pending event, in the words of the hook if it has any."""
        conn = self._conn
        if conn.pending is None:
            return  # the hook has answered by itself
        if said is None or said is True:
            conn.accept()
        elif isinstance(said, str):
            conn.accept(said)
        elif isinstance(said, Reply):
            try:
                conn.reply(said)
            except LocalProtocolError as error:
                logger.error("a hook returned a reply that cannot be given: %s", error)
                answer(conn, INTERNAL_ERROR)

    def _speak_for(self, event: XClient) -> Flow[None]:
        """Take a trusted peer's word for who the client is, unless the hook will not have that one."""
        session = self._session
        before = session.peer, session.local, session.attributes
        session.speak_for(event.attributes)
        yield from self._consult(self._hooks["on_xclient"], event)
        if self._conn.state is not ServerState.START:
            session.peer, session.local, session.attributes = before

    def _keep(self, data: bytes) -> None:
        """Keep a piece of the message for ``on_message``."""
        if self._spool is None:
            self._spool = Spool(self._threshold)
        try:
            self._spool.write(data)
        except OSError:
            logger.exception("%s: a message cannot be kept", self._session.peer)
            self._drop()
            answer(self._conn, NO_ROOM)

    def _take_spool(self) -> Spool:
        """Return what was kept of the message that has come."""
        spool, self._spool = self._spool, None
        return Spool(self._threshold) if spool is None else spool

    def _hand_on(self, data: bytes) -> Flow[None]:
        """Hand a piece of the message on. A refusal is said at the message's end."""
        hook = self._hooks["on_chunk"]
        try:
            said = yield Call(hook, (self._session, data))
            check_said(hook, said, *_WORDS)
            if isinstance(said, Reply) and not said.ok:
                raise Reject(said.code, said.text, str(said.enhanced) if said.enhanced else None)
        except Exception as error:
            answer(self._conn, refusal_of(hook, error))

    def _message(self, envelope: Envelope) -> Flow[None]:
        """Have the application take the whole message; only its return makes it a 250."""
        hook = self._hooks["on_message"]
        each = self._hooks["on_delivery"] is not None and self._conn.answers_each
        envelope.content = self._take_spool()
        if hook is None and not each:
            envelope.content.close()
            self._conn.answer_default()
            return
        said = None
        try:
            if hook is not None:
                said = yield Call(hook, (self._session, envelope))
            if said is not None:
                check_said(hook, said, *_WORDS)
        except Exception as error:
            envelope.content.close()
            answer(self._conn, refusal_of(hook, error))
            return
        if each and self._conn.pending is not None and (not isinstance(said, Reply) or said.ok):
            self._conn.ask_each()
        else:
            self._accept(said)

    def _fetch(self, event: Burl) -> Flow[None]:
        """Have the application fetch a piece of the message; behind the last one, have it take the whole."""
        if event.last:
            event.envelope.content = self._take_spool()
        yield from self._consult(self._hooks["on_burl"], event)

    def _deliver(self, event: Delivery) -> Flow[None]:
        """Have the application deliver to one recipient, and let the client know at once (RFC 2033 section 5)."""
        yield from self._consult(self._hooks["on_delivery"], event.envelope, event.recipient)
        yield Want.FLUSH

    def _auth(self, event: Auth) -> Flow[None]:
        conn = self._conn
        try:
            identity = yield from authenticate(
                conn, event, self._mechanisms, self._handler, self._session, self._delay
            )
        except Reject as refusal:
            yield from self._delay()
            answer(conn, refusal)
            return
        if identity is not None:
            self._session._identity = identity
            conn.accept()
        elif conn.pending is not None:
            yield from self._delay()
            conn.reject()

    def _delay(self) -> Flow[None]:
        """Make guessing slow: each refusal takes longer than the one before."""
        self._failures += 1
        delay = self._conn.limits.auth_failure_delay * self._failures
        if delay > 0:
            yield Sleep(delay)

    def _reset(self) -> Flow[None]:
        self._drop()
        yield from self._tell("on_reset")

    def _drop(self) -> None:
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def _tell(self, name: str) -> Flow[None]:
        """Call a hook whose answer nobody waits for."""
        hook = self._hooks[name]
        if hook is not None:
            try:
                yield from call_hook(hook, self._session)
            except Reject as refusal:
                forget(refusal)
                logger.warning("%s has nothing to reject", name)
