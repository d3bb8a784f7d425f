"""A server's job: carry each event to the application's hook, and its answer back.

A handler is an object with any of these methods::

    on_connect(session)                    a client is there
    on_auth(session, check)                is that who it says it is? an `ApopCheck`, or see `mailproto.sasl`
    on_scram_key(session, request)         the key of this user
    on_authorize(session, identity, name)  may the one act as the other?
    on_login(session)                      return a `Snapshot` of the maildrop of ``session.identity.user``, locked
    on_retrieve(session, number)           return the pieces of a message; without it the snapshot is asked
    on_commit(session, numbers)            QUIT: remove these messages for good; without it the snapshot does
    on_command(session, event)             a command of your own, an `ExtensionCommand`: return the text of the
                                           response, or a list of texts, for one of several lines
    on_close(session)                      the end

Raising `Reject` refuses, with ``enhanced`` as the response code, and any other exception is logged and answered with
[SYS/TEMP]; so is what ``on_connect`` and ``on_commit`` return, unless it is None or ``True``. ``session.drop()`` ends
the connection without an answer, and deletes nothing.

A message with UTF-8 in its header is refused with `UTF8RequiredError` to a client that has not said UTF8 (RFC 6856
section 2.1), unless the config does without UTF8. ``session.conn.utf8`` tells whether it has, before login or never,
so that ``on_login`` may return a maildrop with surrogates of such messages instead.

``on_auth`` says who somebody is, the same for USER and PASS, APOP and SASL, and for SMTP; ``on_login`` opens the
maildrop of ``session.identity``. Without both of them nobody gets in.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

from mailproto._core.events import ConnectionClosed, ExtensionCommand
from mailproto._core.flow import Call, Flow, Sleep
from mailproto._flows.auth import ask_hook, authenticate
from mailproto._flows.beginning import Admit, admit_all, begin_session
from mailproto._flows.hooks import INTERNAL_ERROR, HookCutOffError, answer, call_hook, check_said, forget
from mailproto._flows.reading import read_event, slow_down
from mailproto._flows.session import Session
from mailproto.errors import ConnectionClosedError, Reject
from mailproto.pop3._server.answers import WRONG_SIZE
from mailproto.pop3.apop import ApopCheck
from mailproto.pop3.events import Apop, CommandRejected, Connected, Login, Retrieve, Update, XClient
from mailproto.pop3.server import POP3ServerConnection
from mailproto.pop3.snapshot import Snapshot, UTF8RequiredError
from mailproto.pop3.utf8 import HeaderScan
from mailproto.sasl.base import Auth, Identity, ServerMechanisms
from mailproto.sasl.choice import SERVER_MECHANISMS
from mailproto.sasl.identity import AUTH_HOOKS, PasswordCheck, identify

logger = logging.getLogger("mailproto")

HOOKS = ("on_connect", *AUTH_HOOKS, "on_login", "on_retrieve", "on_commit", "on_command", "on_close")
"""The names of the hooks."""

NO_MAILDROP = Reject(550, "There is no maildrop here", "SYS/PERM")


class POP3Session(Session[POP3ServerConnection]):
    """One POP3 client, as the application sees it.

    Attributes:
        peer: the address of the client: an IP address, or ``""`` on a unix socket. Where a trusted proxy has told
            it, ``transport_peer`` is the proxy's own.
        local: the address that the client reached.
        state: a dictionary of the application's own, for what it wants to keep from hook to hook.
        attributes: what a trusted peer has said of the client with XCLIENT.
        conn: the state machine underneath, whose ``accept``, ``reject``, ``challenge`` and ``drop`` are here, too.
        snapshot: the open maildrop, None before login and after QUIT.
    """

    def __init__(self, conn: POP3ServerConnection, peer: str = "", local: str = "") -> None:
        super().__init__(conn, peer, local)
        self.accept = conn.accept
        self.snapshot: Snapshot | None = None
        self.send_data = conn.send_data
        self.end_data = conn.end_data


def serve(
    session: POP3Session,
    handler: object,
    *,
    implicit_tls: bool = False,
    mechanisms: ServerMechanisms = SERVER_MECHANISMS,
    admit: Admit = admit_all,
) -> Flow[None]:
    """Serve one client to the end of its connection.

    The snapshot is closed on every way out, once, and ``on_close`` hears of it on every way out but one: when the
    flow itself is broken off, there is nobody left to ask.

    Args:
        implicit_tls: begin with the handshake (RFC 8314 section 3.2).
        mechanisms: the SASL mechanisms by name; the config says which of them are offered.
        admit: says whether there is room for the client that a load balancer has brought.
    """
    service = _Service(session, handler, mechanisms)
    try:
        yield from begin_session(session, implicit_tls=implicit_tls, admit=admit)
        yield from service.converse()
    except (ConnectionClosedError, HookCutOffError, OSError) as error:
        session.conn.data_to_send()  # nobody is there to hear it
        logger.info("%s: %s", session.peer, error)
    except Exception:
        logger.exception("a session failed")
    except BaseException:
        service.abandon()
        raise
    yield from service.end()


class _Service:
    """The flow over the events of one session."""

    def __init__(self, session: POP3Session, handler: object, mechanisms: ServerMechanisms) -> None:
        self._session = session
        self._conn = session.conn
        self._handler = handler
        self._mechanisms = mechanisms
        self._failures = 0
        self._hooks: dict[str, Any] = {name: getattr(handler, name, None) for name in HOOKS}

    def converse(self) -> Flow[None]:
        """Take events until the connection is over."""
        while True:
            event = yield from read_event(self._conn)
            match event:
                case Retrieve():
                    yield from self._retrieve(event)
                case Login() | Apop() | Auth():
                    yield from self._log_in(event)
                case Update():
                    yield from self._commit(event)
                case ExtensionCommand():
                    yield from self._command(event)
                case Connected():
                    yield from self._connect()
                case XClient():
                    self._session.speak_for(event.attributes)
                    self._conn.accept()
                case CommandRejected():
                    yield from slow_down(self._conn)
                case ConnectionClosed():
                    level = logging.ERROR if event.reason == WRONG_SIZE else logging.DEBUG
                    logger.log(level, "the session ended: %s", event.reason or "in good order")
                    return

    def end(self) -> Flow[None]:
        """Release the maildrop, and tell the application."""
        try:
            yield from self._release()
        except ConnectionClosedError:
            self.abandon()
        if self._hooks["on_close"] is not None:
            try:
                yield from call_hook(self._hooks["on_close"], self._session)
            except Reject as refusal:
                forget(refusal)
                logger.warning("on_close has nothing to reject")

    def abandon(self) -> None:
        """Release the maildrop without waiting for anything: nobody drives this flow any more."""
        snapshot, self._session.snapshot = self._session.snapshot, None
        if snapshot is not None:
            _close_at_once(snapshot)

    def _connect(self) -> Flow[None]:
        hook = self._hooks["on_connect"]
        try:
            if hook is not None:
                check_said(hook, (yield from call_hook(hook, self._session)))
        except Reject as refusal:
            answer(self._conn, refusal)
        else:
            self._accept()

    def _command(self, event: ExtensionCommand) -> Flow[None]:
        hook = self._hooks["on_command"]
        if hook is None:
            self._conn.answer_default()
            return
        try:
            said = yield from call_hook(hook, self._session, event)
            words = {"text": said} if said is None or isinstance(said, str) else {"lines": said}
            yield from call_hook(lambda: self._accept(**words))
        except Reject as refusal:
            answer(self._conn, refusal)

    def _accept(self, **more: Any) -> None:
        """Accept the pending event, unless the application has dropped the client meanwhile."""
        if self._conn.pending is not None:
            self._conn.accept(**more)

    # Login.

    def _log_in(self, event: Login | Apop | Auth) -> Flow[None]:
        conn = self._conn
        try:
            identity = yield from self._identify(event)
        except Reject as refusal:
            yield from self._delay()
            answer(conn, refusal)
            return
        if conn.pending is None:
            return  # the client has given up, or was dropped
        if identity is not None:
            yield from self._open(identity)
        else:
            yield from self._delay()
            conn.reject()

    def _identify(self, event: Login | Apop | Auth) -> Flow[Identity | None]:
        """Return who the client has proved to be; None if nobody, or if it gave up."""
        if isinstance(event, Auth):
            conn, session = self._conn, self._session
            return (yield from authenticate(conn, event, self._mechanisms, self._handler, session, self._delay))
        hook = self._hooks["on_auth"]
        if hook is None:
            return None
        if isinstance(event, Login):
            check = PasswordCheck("USER", event.username, event.password)
            return identify(check, (yield from ask_hook(hook, self._session, check)))
        question = ApopCheck(event.username, event.timestamp, event.digest)
        return identify(question, (yield from ask_hook(hook, self._session, question)))

    def _delay(self) -> Flow[None]:
        """Make guessing slow: each refusal takes longer than the one before."""
        self._failures += 1
        delay = self._conn.limits.auth_failure_delay * self._failures
        if delay > 0:
            yield Sleep(delay)

    def _open(self, identity: Identity) -> Flow[None]:
        """Have the application open the maildrop, and show it to the client."""
        session = self._session
        session._identity = identity
        try:
            if self._hooks["on_login"] is None:
                raise NO_MAILDROP
            session.snapshot = _opened((yield from call_hook(self._hooks["on_login"], session)))
            messages = yield from call_hook(getattr, session.snapshot, "messages")
            read_only = bool(getattr(session.snapshot, "read_only", False))
            yield from call_hook(lambda: self._accept(maildrop=messages, read_only=read_only))
        except Reject as refusal:
            yield from self._release()
            session._identity = None
            answer(self._conn, refusal)

    # The maildrop.

    def _retrieve(self, event: Retrieve) -> Flow[None]:
        try:
            pieces = yield from self._pieces(event.number)
        except Reject as refusal:
            answer(self._conn, refusal)
            return
        try:
            yield from self._send(pieces)
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()

    def _send(self, pieces: Iterator[bytes]) -> Flow[None]:
        conn = self._conn
        try:
            begun = yield from self._begin(pieces)
        except Reject as refusal:
            answer(conn, refusal)
            return
        if conn.pending is None:
            return  # the application has dropped the client
        conn.accept()
        try:
            for piece in begun:
                conn.send_data(piece)
            while conn.wants_data and (following := (yield from self._next(pieces))) is not None:
                conn.send_data(following)
        except Reject as refusal:
            forget(refusal)
            conn.reject()
        else:
            conn.end_data()

    def _begin(self, pieces: Iterator[bytes]) -> Flow[list[bytes]]:
        """Return the first pieces of a message: nothing is promised before this much was to be had.

        Raises:
            UTF8RequiredError: the client has to be in UTF-8 mode, and is not.
        """
        begun: list[bytes] = []
        scan = HeaderScan()
        while (piece := (yield from self._next(pieces))) is not None:
            begun.append(piece)
            if self._takes_utf8 or scan.feed(piece):
                break
        if scan.needs_utf8:
            raise UTF8RequiredError
        return begun

    @property
    def _takes_utf8(self) -> bool:
        """Whether messages go as they are: in UTF-8 mode, and where the server does without RFC 6856."""
        return self._conn.utf8 or not self._conn.config.utf8

    def _pieces(self, number: int) -> Flow[Iterator[bytes]]:
        hook = self._hooks["on_retrieve"]
        if hook is not None:
            content = yield from call_hook(hook, self._session, number)
        else:
            content = yield from call_hook(self._open_maildrop.retrieve, number)
        if content is None and self._conn.pending is None:
            return iter(())  # the application has dropped the client
        pieces: Iterator[bytes] = yield from call_hook(iter, (content,) if isinstance(content, bytes) else content)
        return pieces

    def _next(self, pieces: Iterator[bytes]) -> Flow[bytes | None]:
        """Return the next piece of a message, None behind the last."""
        try:
            piece: bytes | None = yield Call(next, (pieces, None))
            if not isinstance(piece, bytes | bytearray | None):
                raise TypeError(f"a piece of a message is octets, not {type(piece).__name__}")
        except Reject:
            raise
        except Exception:  # the end of a connection is the source's own: this one is only written to
            logger.exception("a message could not be read")
            raise INTERNAL_ERROR from None
        return piece

    def _commit(self, event: Update) -> Flow[None]:
        """Have the deletions made, and the lock released, before the client hears of it."""
        hook = self._hooks["on_commit"]
        try:
            if hook is not None:
                said = yield from call_hook(hook, self._session, event.deleted, cut_off=self._release_later)
                check_said(hook, said)
            else:
                yield from call_hook(self._open_maildrop.commit, event.deleted, cut_off=self._release_later)
        except Reject as refusal:
            yield from self._release()
            self._refuse_commit(refusal)
        else:
            yield from self._release()
            self._accept()

    def _release_later(self, cancelled: HookCutOffError) -> None:
        """Leave the maildrop locked for as long as its deletions are made, though nobody waits for them any more."""
        snapshot = self._session.snapshot
        if snapshot is not None and cancelled.when_over is not None:
            self._session.snapshot = None
            cancelled.when_over(partial(_close_at_once, snapshot))

    def _refuse_commit(self, refusal: Reject) -> None:
        if refusal is INTERNAL_ERROR and self._conn.pending is not None:
            forget(refusal)
            self._conn.reject()  # RFC 1939 section 6 has words for it
        else:
            answer(self._conn, refusal)

    @property
    def _open_maildrop(self) -> Snapshot:
        if self._session.snapshot is None:
            raise NO_MAILDROP
        return self._session.snapshot

    def _release(self) -> Flow[None]:
        snapshot, self._session.snapshot = self._session.snapshot, None
        if snapshot is None:
            return
        try:
            yield Call(snapshot.close)
        except ConnectionClosedError:  # thrown when the output before the call could not be sent
            self._session.snapshot = snapshot
            raise
        except Exception:
            logger.exception("a maildrop could not be closed")


def _opened(said: Any) -> Snapshot:
    """Return the snapshot that ``on_login`` has returned.

    Raises:
        Reject: it is none, such as a maildrop that has still to be opened; the log says so.
    """
    if not hasattr(said, "close"):
        kind = type(said).__name__
        logger.error("on_login has to return a Snapshot, such as maildrop.open() makes, and not a %s", kind)
        raise INTERNAL_ERROR
    snapshot: Snapshot = said
    return snapshot


def _close_at_once(snapshot: Snapshot) -> None:
    """Release a maildrop where nothing can be awaited."""
    closing: Any = snapshot.close()
    if inspect.iscoroutine(closing):
        closing.close()
        logger.error("a session was broken off, and its maildrop could not be closed")
