"""A connection over asyncio: its bytes, its clock and its tasks, and nothing that knows a protocol.

No streams and no task a read: bytes go to the engine where asyncio delivers them, and the flow runs on from there
until it waits again. A task is needed only where the application's code is to be awaited.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, cast

from mailproto._core.connection import Connection
from mailproto._core.flow import FLUSH, READ, Call, Flow, Sleep, T, Want
from mailproto._flows.engine import HIGH_WATER, Engine, TLSSession
from mailproto._flows.hooks import HookCutOffError
from mailproto.errors import ConnectionClosedError

logger = logging.getLogger("mailproto")

_TURNS = 16
"""How often a flow may write as much as it likes to a peer that takes it all, before others have their turn."""

LINGER = 1.0
"""Seconds to wait for the peer's end after ours: to close at once could destroy what it has not read yet."""


class Link(asyncio.Protocol):
    """One connection and its transport.

    A client runs flows on it, one after the other (`run`). A server starts the one that serves it (`start`), or a
    coroutine that runs flows (`attend`).

    Whoever has the flow goes on with it (`_advance`) until it waits. If it waits for the network, that wakes it
    (`_wake`), in the callbacks of asyncio. If something is to be awaited for it, `run` does that, which is parked
    otherwise (`_park`), or, where nobody runs it, a task that is made for that (`_pursue`).

    Args:
        conn: the state machine.
        open_tls: what opens a TLS session when a flow wants one.
        on_open: called when the transport is there.
        on_close: called when the connection is closed and nothing runs on it any more.
    """

    def __init__(
        self,
        conn: Connection[Any],
        open_tls: Callable[[], TLSSession] | None = None,
        *,
        on_open: Callable[[Link], None] | None = None,
        on_close: Callable[[Link], None] | None = None,
    ) -> None:
        self.conn = conn
        self._engine = Engine(conn, open_tls)
        self._on_open = on_open
        self._on_close = on_close
        self._loop = asyncio.get_running_loop()
        self._closed = self._loop.create_future()
        self._parked: asyncio.Future[tuple[Awaitable[Any] | None, Exception | None]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        self._unsent = 0  # octets the transport held when the wait for room began
        self._unread = 0  # octets that came since the flow last asked for input
        self._choked = False  # the transport holds output that the network does not take
        self._hung_up = False

    # Flows.

    async def run(self, flow: Flow[T], *, part: bool = False) -> T:
        """Drive ``flow``, a whole job or a ``part`` of one, to its end and return its value.

        If it is cancelled on the way, or broken off by anything else that is no answer of the flow's own, the
        connection is closed: nobody could say any more to whom the next reply belongs.

        Raises:
            LocalProtocolError: another flow is under way.
            ConnectionClosedError: the connection is gone.
        """
        self._engine.begin(flow, part=part)
        try:
            awaitable = self._advance()
            while self._engine.busy:
                awaitable = await (self._park() if awaitable is None else self._grant(awaitable))
        except BaseException:
            if self._engine.busy:
                self._engine.break_off()
            raise
        finally:
            if self._engine.broken:
                self._transport.abort()
            elif self.conn.closing:
                self._hang_up()
        return cast(T, self._engine.result)

    def switch(self, conn: Connection[Any]) -> None:
        """Go on with ``conn`` in the place of the connection so far, see `Engine.switch`."""
        self._engine.switch(conn)
        self.conn = conn

    def start(self, flow: Flow[Any]) -> None:
        """Drive ``flow`` for the life of the connection, without a task as long as no hook needs one."""
        self._engine.begin(flow, part=True)
        self._wake()

    def attend(self, work: Coroutine[Any, Any, None]) -> None:
        """Let ``work``, which runs flows, serve the connection."""
        self._work(self._attend(work))

    def _work(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        if not task.done():  # as an eager one may be
            self._task = task

    async def _attend(self, work: Coroutine[Any, Any, None]) -> None:
        failure: BaseException | None = None
        try:
            await work
        except BaseException as raised:
            failure = raised
        self._over(failure)

    def _advance(self, value: Any = None, error: BaseException | None = None) -> Awaitable[Any] | None:
        """Go on with the flow until it waits or is over; return what has to be awaited for it, if it is that."""
        engine = self._engine
        self._deadline = None
        turns = _TURNS
        while (wish := engine.step(value, error)) is not None:
            value = error = None
            if type(wish) is Call:
                try:
                    if wish.slow:
                        return self._loop.run_in_executor(None, wish.function, *wish.arguments)
                    value = wish.function(*wish.arguments)
                except Exception as raised:
                    error = raised
                else:
                    if value is not None and hasattr(type(value), "__await__"):
                        return cast(Awaitable[Any], value)
                continue
            self._write()
            if wish is READ:
                self._want_input()
                return None
            if isinstance(wish, Sleep):
                return asyncio.sleep(wish.seconds)
            turns -= 1
            if self._choked or (self._transport.is_closing() and not self._closed.done()):
                self._want_room()  # or its end, which is on its way
                return None
            if not turns:
                self._loop.call_soon(self._take_turn)
                return None
        self._write()
        return None

    def _take_turn(self) -> None:
        """Go on writing after everybody else has had a turn."""
        if self._engine.wish is FLUSH and not self._choked:
            self._wake()

    async def _grant(self, awaitable: Awaitable[Any]) -> Awaitable[Any] | None:
        """Await for the flow, and go on with it."""
        value: Any = None
        error: Exception | None = None
        try:
            value = await awaitable
        except Exception as raised:
            error = raised
        return self._advance(value, error)

    async def _park(self) -> Awaitable[Any] | None:
        """Wait until the flow, driven by the network meanwhile, is over or wants something awaited."""
        parked: asyncio.Future[tuple[Awaitable[Any] | None, Exception | None]] = self._loop.create_future()
        self._parked = parked
        try:
            awaitable, failure = await parked
        except BaseException:
            if not parked.cancelled() and (awaitable := parked.result()[0]) is not None:
                asyncio.ensure_future(awaitable).cancel()
            self._engine.break_off()  # even if it is over: what it has returned, such as a piece, nobody gets
            raise
        finally:
            self._parked = None
        if failure is not None:
            raise failure
        return awaitable

    def _wake(self, error: BaseException | None = None) -> None:
        """Go on with the flow after something happened, and find who takes over when it stops."""
        if (parked := self._parked) is not None and parked.done():
            return  # its owner has been cancelled and is about to say so
        if self._engine.wish is READ:
            self._engine.wait_to(self._loop.time())
        awaitable: Awaitable[Any] | None = None
        failure: Exception | None = None
        try:
            awaitable = self._advance(error=error)
        except Exception as raised:
            failure = raised
        except BaseException:
            self._engine.break_off()
            self._transport.abort()
            raise
        if awaitable is None and self._engine.busy:
            return
        if parked is not None and not parked.done():
            parked.set_result((awaitable, failure))
        elif parked is not None and awaitable is not None:  # its owner was cancelled by the handler of a signal
            asyncio.ensure_future(awaitable).cancel()
        elif awaitable is not None:
            self._work(self._pursue(awaitable))
        elif parked is None:
            self._over(failure)

    async def _pursue(self, awaitable: Awaitable[Any] | None) -> None:
        """Go on, in a task, with a flow that was started, for as long as there is something to await."""
        failure: BaseException | None = None
        try:
            while awaitable is not None:
                try:
                    awaitable = await self._grant(awaitable)
                except asyncio.CancelledError as cancelled:
                    # To the flow a cancelled hook is one that failed: it goes on, and so to its proper end.
                    self._cut_short()
                    awaitable = self._advance(error=HookCutOffError(getattr(cancelled, "when_over", None)))
        except BaseException as raised:
            failure = raised
            if self._engine.busy:  # a hook's SystemExit, say: nobody answers the flow any more
                self._engine.break_off()
                self._transport.abort()
        self._task = None
        if not self._engine.busy:
            self._over(failure)

    def _cut_short(self) -> None:
        """If it was not the hook alone that was cancelled, but its task, have the flow see nothing but the end."""
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            return
        while task.uncancel():
            pass
        self.conn.take_rest()  # it would go to hooks that nobody cancels any more
        self._engine.lose(partly=self._choked)
        self._transport.abort()

    def _over(self, failure: BaseException | None) -> None:
        """See the connection off after its flow has ended."""
        self._task = None
        if isinstance(failure, ConnectionClosedError | OSError):
            logger.info("%r: %s", self.peer, failure)
        elif isinstance(failure, Exception):
            logger.error("%r: serving failed", self.peer, exc_info=failure)
        self._hang_up()
        self._tell_closed()
        if failure is not None and not isinstance(failure, Exception | asyncio.CancelledError):
            raise failure

    # The end.

    async def close(self) -> None:
        """Close the connection and wait until it is closed: politely, unless a flow is under way."""
        if self._engine.busy:
            self.abort()
        else:
            self._hang_up()
        try:
            await asyncio.shield(self._closed)
        except asyncio.CancelledError:
            self._transport.abort()
            raise

    def abort(self) -> None:
        """Close the connection at once. The flow that is under way learns that the peer is gone."""
        self._transport.abort()
        if self._task is not None:
            # Not at once: a task that is cancelled before its first step never takes one, and would end nothing.
            self._loop.call_soon(self._task.cancel)

    def shut_down(self) -> None:
        """Have the connection end itself as soon as nothing is cut short by it."""
        self._engine.shut_down()
        if self._engine.wish is READ:
            self._wake()

    def refuse(self) -> None:
        """End the connection before it has begun, in the words it has for that."""
        self.conn.shut_down()
        self._hang_up()

    def _hang_up(self) -> None:
        """Say what is to be said, that this was all, and give the peer a moment to take it."""
        transport = self._transport
        if self._hung_up or transport.is_closing():
            return
        self._engine.close_tls()
        self._write()
        self._hung_up = True
        self._stop_timer()
        if self._choked:
            transport.abort()  # it had its time
        elif self._engine.ended or not transport.can_write_eof():
            transport.close()
        else:
            try:
                transport.write_eof()
                transport.resume_reading()
            except OSError:  # the peer has reset it meanwhile
                transport.abort()
        self._timer = self._loop.call_later(LINGER, transport.abort)

    def _tell_closed(self) -> None:
        if self._closed.done() and not self._engine.busy and self._task is None and self._on_close is not None:
            on_close, self._on_close = self._on_close, None
            on_close(self)

    # Time: one timer a connection, moved only when it fires too early.

    def _want_input(self) -> None:
        if self._unread > HIGH_WATER:
            self._transport.resume_reading()
        self._unread = 0
        self._watch(self._engine.wait_from(self._loop.time()))

    def _want_room(self) -> None:
        self._unsent = self._transport.get_write_buffer_size()
        self._watch(self._loop.time() + self.conn.timeout)

    def _watch(self, deadline: float) -> None:
        self._deadline = deadline
        if self._timer is None or self._timer.when() > deadline:
            self._stop_timer()
            self._timer = self._loop.call_at(deadline, self._on_timer, deadline)

    def _on_timer(self, due: float) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._deadline > due:
            self._watch(self._deadline)
        elif self._unsent - self._transport.get_write_buffer_size() >= HIGH_WATER:
            self._want_room()
        else:
            error = self._engine.receive_timeout()
            if error is not None:
                self._choked = False
                self._transport.abort()
            self._wake(error)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Have a transport; pausing starts with the first octet that the network does not take."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)
        sock = transport.get_extra_info("socket")
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            with suppress(OSError):  # the peer has reset it meanwhile
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._on_open is not None:
            self._on_open(self)

    def data_received(self, data: bytes) -> None:
        """Let the flow have it if it waits, or keep it; stop reading when too much is kept."""
        if self._hung_up:
            return
        self._engine.receive(data)
        if self._engine.wish is READ:
            self._wake()
        else:
            self._unread += len(data)
            if self._unread > HIGH_WATER:
                self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Tell the flow if it waits for input. Whatever else it does goes on, and may still be answered."""
        self._engine.receive(b"")
        if self._engine.wish is READ:
            self._wake()
        return not self._hung_up

    def pause_writing(self) -> None:
        """Keep the output back, where its amount is limited."""
        self._choked = True

    def resume_writing(self) -> None:
        """Go on writing, and with a flow that waited for it."""
        self._choked = False
        self._write()
        if self._engine.wish is FLUSH and not self._choked:
            self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        """Let the flow see what came last, and then the end."""
        self._stop_timer()
        partly, self._choked = self._choked, False
        if isinstance(error, OSError) and not self._hung_up:
            self._read_last_words()
        self._engine.lose(partly=partly)
        self._closed.set_result(None)
        if isinstance(self._engine.wish, Want):
            self._wake()
        self._tell_closed()

    def _read_last_words(self) -> None:
        """Take what came before a write failed: it may say why, and asyncio does not look any more."""
        with suppress(OSError), self._transport.get_extra_info("socket").dup() as sock:
            self._engine.receive(sock.recv(HIGH_WATER))

    def _write(self) -> None:
        if self._choked or self._hung_up:
            return
        transport = self._transport
        if transport.is_closing():
            self.conn.lose_output()
        data = self._engine.output()
        if data and not transport.is_closing():
            transport.write(data)
            if transport.is_closing():  # the peer has reset it meanwhile
                self.conn.lose_output(partly=True)

    # Who is there.

    @property
    def peer(self) -> Any:
        """The peer's address, as the socket has it: (host, port, …), or a path."""
        return self._transport.get_extra_info("peername")

    @property
    def local(self) -> Any:
        """Our own address, as the socket has it."""
        return self._transport.get_extra_info("sockname")
