"""The engine: drives the flows of one connection up to the edge of the world, where an adapter takes over.

An adapter moves bytes, calls the application and keeps time. Everything else about driving a flow is the same over
asyncio, over blocking sockets and over anything else, and stands here once: what a wish means when the peer is
gone, where TLS sits between connection and network, how long a wait may last. No I/O, no clock, no TLS library.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from mailproto._core.connection import Connection
from mailproto._core.events import TLSInfo
from mailproto._core.flow import FLUSH, READ, START_TLS, Call, Flow, Sleep, T, Wish
from mailproto.errors import ConnectionClosedError, ConnectionTimeoutError, LocalProtocolError, MailProtoError

HIGH_WATER = 64 << 10
"""Octets of output that may wait before they are sent without being asked for; and of input that nobody wants."""


class TLSSession(Protocol):
    """One TLS session over bytes in memory. An adapter brings it; `mailproto.tls` has the one of the stdlib."""

    ended: bool
    """Whether nothing more will come: the peer said so, the network did, or what came was no TLS."""

    def handshake(self) -> bool:
        """Go on with the handshake; return whether it is done. Raises an `OSError` when it fails."""

    def info(self) -> TLSInfo:
        """Return what is known of the session, once the handshake is done."""

    def receive(self, data: bytes) -> None:
        """Take what came from the network, ``b""`` at its end."""

    def read(self) -> bytes:
        """Return what the peer has said since."""

    def write(self, data: bytes) -> None:
        """Say this to the peer."""

    def output(self) -> bytes:
        """Return what has to go to the network."""

    def close(self) -> None:
        """Tell the peer that nothing more will be said."""


class Engine:
    """One connection, and the one flow that runs on it; `mailproto.flow` tells in six steps how it is driven.

    Args:
        conn: the connection, of either protocol and either side.
        open_tls: opens a TLS session when a flow wants one; without it such a flow fails.

    Attributes:
        broken: whether a flow was broken off, so that only closing is left.
        conn: the connection.
        wish: what the flow waits for; None while it runs, or when there is none.
        result: what the last flow returned.
    """

    def __init__(self, conn: Connection[Any], open_tls: Callable[[], TLSSession] | None = None) -> None:
        self.conn = conn
        self.wish: Wish | None = None
        self.result: Any = None
        self._flow: Flow[Any] | None = None
        self._part = False
        self._open_tls = open_tls
        self._tls: TLSSession | None = None
        self._secure = False
        self._clear = False  # what was said before the handshake is not on its way yet
        self._ended = False
        self._end_was_told = False
        self._lost = False
        self.broken = False
        self._stopping = False
        self._handshake_timeout: float | None = None
        self._since = 0.0
        self._waited = 0.0
        self._progress = 0

    # The flow.

    @property
    def busy(self) -> bool:
        """Whether a flow is under way."""
        return self._flow is not None

    def begin(self, flow: Flow[T], *, part: bool = False) -> None:
        """Take on ``flow``, to be driven with `step`.

        Args:
            part: the flow is a part of a longer job, such as one event of a session or one message of many. Other
                flows have to leave the connection idle; if one does not, the connection is broken off behind it.

        Raises:
            LocalProtocolError: another flow is under way.
            ConnectionClosedError: one was broken off, so nobody knows any more what the peer would answer.
        """
        if self._flow is not None:
            flow.close()
            raise LocalProtocolError("another operation is under way on this connection: one at a time")
        if self.broken:
            flow.close()
            raise ConnectionClosedError("the connection was closed here, because an operation was broken off")
        self._flow = self._refine(flow)
        self._part = part

    def switch(self, conn: Connection[Any]) -> None:
        """Go on with ``conn`` in the place of a connection that has done its work, such as opening a tunnel.

        What the peer has said since is the new one's to hear.

        Raises:
            LocalProtocolError: a flow is under way, or TLS is.
        """
        if self._flow is not None or self._tls is not None:
            raise LocalProtocolError("a connection is switched between operations, and before TLS")
        rest = self.conn.take_rest()
        self.conn = conn
        self._progress = conn.progress
        self._waited = 0.0
        if rest:
            conn.receive_data(rest)
        if self._ended:
            conn.receive_eof()

    def step(self, value: object = None, thrown: BaseException | None = None) -> Wish | None:
        """Go on with the flow, sent ``value`` or thrown ``thrown``; return its next wish, None when it is over.

        Raises: whatever ends the flow.
        """
        if self._flow is None:
            raise LocalProtocolError("no operation is under way")
        self.wish = None
        try:
            self.wish = self._flow.send(value) if thrown is None else self._flow.throw(thrown)
        except StopIteration as stop:
            self.result = stop.value
            self._settle(None)
        except BaseException as error:
            self._settle(error)
            raise
        return self.wish

    def _settle(self, error: BaseException | None) -> None:
        """Break the connection off if the flow that has ended, by ``error`` or well, leaves it out of step."""
        self._flow = None
        if self._part:
            in_step = error is None or isinstance(error, MailProtoError)
        else:
            in_step = self.conn.idle and (error is None or isinstance(error, Exception))
        if not in_step and not self.conn.closing:
            self.break_off()

    def break_off(self) -> None:
        """Drop the flow that is under way, and with it the connection: what comes now answers nobody's question."""
        flow, self._flow, self.wish = self._flow, None, None
        self.lose()
        self.broken = True
        if flow is not None:
            with suppress(RuntimeError):  # it wanted something on its way out; there is nobody to grant it
                flow.close()

    def _refine(self, flow: Flow[T]) -> Flow[T]:
        """Run ``flow`` and grant here what needs no adapter, so that only READ, FLUSH, Call and Sleep are left."""
        conn = self.conn
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                wish = flow.send(value) if error is None else flow.throw(error)
            except StopIteration as stop:
                result: T = stop.value
                break
            except LocalProtocolError as mistake:
                if conn.over and not conn.closing:  # no mistake: the peer has left, and the flow did not know it
                    raise ConnectionClosedError("the peer closed the connection") from mistake
                raise
            value = error = None
            try:
                if wish is READ:
                    if not self._read_at_once():
                        yield wish
                elif wish is START_TLS:
                    yield from self._shake_hands()
                elif isinstance(wish, Sleep) and self._lost:
                    pass  # nobody is there to be made to wait
                else:
                    if conn.queued > HIGH_WATER and type(wish) is Call:
                        with suppress(ConnectionTimeoutError):  # no fault of the application's
                            yield FLUSH
                    value = yield wish
            except GeneratorExit:
                flow.close()
                raise
            except BaseException as thrown:
                error = thrown
        if conn.closing:
            with suppress(ConnectionClosedError):
                yield FLUSH
        return result

    def _read_at_once(self) -> bool:
        """Say whether the flow may go on without waiting for input.

        Raises:
            ConnectionClosedError: it knows already that there will be no more.
        """
        if self._stopping:
            self._stopping = False
            self.conn.shut_down()
            return True
        if self.conn.closing or self._end_was_told:
            raise ConnectionClosedError("the connection is closed")
        self._end_was_told = self._ended
        return self._ended

    def shut_down(self) -> None:
        """End the connection as soon as the flow waits for input and nothing is cut short by it."""
        self._stopping = True

    # From the network.

    def receive(self, data: bytes) -> None:
        """Take what came from the network; ``b""`` is its end."""
        if self._tls is None:
            if data:
                self.conn.receive_data(data)
            else:
                self._hear_end()
            return
        self._tls.receive(data)
        if self._secure:
            self._decrypt(self._tls)
        elif not data:
            self._hear_end()

    def lose(self, *, partly: bool = False) -> None:
        """Learn that the network connection is gone: nothing comes any more, and what is said is lost.

        Args:
            partly: what `output` returned last has certainly not left to its end.
        """
        self._lost = True
        self.conn.lose_output(partly=partly)
        self._hear_end()

    def _hear_end(self) -> None:
        self._ended = True
        self.conn.receive_eof()

    def _decrypt(self, tls: TLSSession) -> None:
        data = tls.read()
        if data:
            self.conn.receive_data(data)
        if tls.ended:
            self._hear_end()

    # To the network.

    @property
    def ended(self) -> bool:
        """Whether nothing more comes from the network."""
        return self._ended

    @property
    def lost(self) -> bool:
        """Whether the network is gone, or was given up: nothing that is left to send leaves any more."""
        return self._lost

    def output(self) -> bytes:
        """Return what has to go to the network, ``b""`` if nothing, and forget it.

        An adapter asks when all that this returned before has left.
        """
        if self._tls is None:
            data = self.conn.data_to_send()
        elif self._secure:
            said = self.conn.data_to_send()
            if said:
                self._tls.write(said)
            data = self._tls.output()
        else:
            data = self.conn.data_to_send() if self._clear else b""
            data += self._tls.output()
            self._clear = False
        return b"" if self._lost else data

    # TLS.

    def _shake_hands(self) -> Flow[None]:
        """Do the TLS handshake. From the first line on, nothing from the network reaches the connection in clear.

        Raises:
            LocalProtocolError: there is nothing to do it with.
            ConnectionClosedError: the peer left.
            OSError: it failed, for instance as an ``ssl.SSLCertVerificationError``.
        """
        if self._open_tls is None:
            raise LocalProtocolError("there is no TLS context for a handshake")
        self._clear = True
        self._tls = tls = self._open_tls()
        if self.conn.trailing_data:
            tls.receive(self.conn.trailing_data)
        self._handshake_timeout = self.conn.limits.handshake_timeout
        self._waited = 0.0
        try:
            while not tls.handshake():
                if self._ended or self._stopping:
                    raise ConnectionClosedError("the connection was closed during the TLS handshake")
                yield READ
        except BaseException as error:
            self._hear_end()
            if isinstance(error, OSError) and not isinstance(error, ConnectionClosedError):
                with suppress(ConnectionClosedError):
                    yield FLUSH  # the alert, which tells the peer why (RFC 8446 section 6.2)
            raise
        self._handshake_timeout = None
        self._waited = 0.0
        self._secure = True
        self.conn.tls_established(tls.info())
        self._decrypt(tls)

    def close_tls(self) -> None:
        """Say to the peer, if there is TLS, that nothing more will be said."""
        if self._tls is not None and self._secure:
            self._tls.close()

    # Time. It is told, not kept: seconds of any clock that does not jump.

    def wait_from(self, now: float) -> float:
        """Begin to wait for what the flow wants; return when the wait has to be over.

        For input only what is waited counts: a slow hook takes nothing from the peer's time.
        """
        conn, wish = self.conn, self.wish
        if wish is not READ:
            return now + (wish.seconds if isinstance(wish, Sleep) else conn.timeout)
        progress = conn.progress
        if progress != self._progress:
            self._progress = progress
            self._waited = 0.0
        self._since = now
        limit = conn.timeout if self._handshake_timeout is None else self._handshake_timeout
        return now + limit - self._waited

    def wait_to(self, now: float) -> None:
        """End the wait that `wait_from` began."""
        if self.wish is READ:
            self._waited += now - self._since

    def receive_timeout(self) -> ConnectionTimeoutError | None:
        """Learn that a wait took its time; return what has to be thrown into the flow, None to let it go on.

        A connection that waits for input knows what to do, and a pause is over as it was meant. A peer that does not
        take our output, or not shake hands, is beyond words.
        """
        if self._handshake_timeout is not None:
            return ConnectionTimeoutError("the TLS handshake took too long")
        if self.wish is READ:
            self.conn.receive_timeout()
            if self.conn.closing and not self.conn.queued:  # without a word that the peer should have time to take
                self._hear_end()
            return None
        if isinstance(self.wish, Sleep):
            return None
        self.lose(partly=True)
        return ConnectionTimeoutError("the peer took too long to take what was sent")
