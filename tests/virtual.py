"""A loop whose time, network and threads are made up: whatever takes time takes as long as the dice say, nothing
takes any of ours, and the same dice tell the same story again."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import selectors
import socket
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Any, Self, TypeVar, TypeVarTuple, Unpack

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_MOST_TURNS = 100_000  # of the loop at one moment, before it is one that spins


class _Clock(selectors.SelectSelector):
    """What a loop waits by: it does not wait, but is told the time that it would be then."""

    now = 0.0
    turns = 0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        assert ready or timeout is not None, "everybody waits, and nothing will happen"
        self.turns = self.turns + 1 if ready or not timeout else 0
        assert self.turns < _MOST_TURNS, "it spins"
        if not ready:
            self.now += timeout or 0
        return ready


class SlowThread(Executor):
    """In place of an executor with one thread: does one thing after another, each at some moment of its time."""

    def __init__(self, *_: object) -> None:
        self._loop = asyncio.get_running_loop()
        self._free = 0.0
        self._works: deque[_Work] = deque()

    def begin(self, work: _Work, pause: Callable[[], float]) -> None:
        """Have something done."""
        done = max(self._loop.time(), self._free) + pause()
        self._free = done + pause()
        self._works.append(work)
        self._loop.call_at(done, work.do)
        self._loop.call_at(self._free, work.tell)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while self._works:  # for the loop stands still until they are done
            self._works.popleft().tell()


class _Work:
    def __init__(self, future: asyncio.Future[Any], function: Callable[[], Any]) -> None:
        self._future = future
        self._function: Callable[[], Any] | None = function
        self._tell: Callable[[], object] = bool

    def do(self) -> None:
        function, self._function = self._function, None
        if function is not None:
            try:
                self._tell = partial(self._future.set_result, function())
            except Exception as error:
                self._tell = partial(self._future.set_exception, error)

    def tell(self) -> None:
        self.do()
        if not self._future.done():
            self._tell()


class Pipe(asyncio.Transport):
    """One end of a connection."""

    peer: Pipe

    def __init__(self, loop: VirtualLoop, protocol: asyncio.Protocol, sock: socket.socket, here: Any, there: Any):
        super().__init__({"socket": sock, "sockname": here, "peername": there})
        self._loop = loop
        self._protocol = protocol
        self._sock = sock
        self._unsent: deque[bytes] = deque()
        self._flight = 0  # octets that have left and that the peer has not read
        self._high = 0
        self._choked = False
        self._coming: deque[Callable[[], None]] = deque()
        self._unread: deque[Callable[[], None]] = deque()
        self._paused = False
        self._arrival = 0.0
        self._ending = self._ended = self._closing = self._lost = False
        self.silent = False  # nothing that is sent arrives any more

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not (self._ending or self._closing):
            self._unsent.append(bytes(data))
            self._pump()
            if self.get_write_buffer_size() > self._high and not self._choked:
                self._choked = True
                self._protocol.pause_writing()

    def write_eof(self) -> None:
        if not (self._ending or self._closing):
            self._ending = True
            self._pump()

    def close(self) -> None:
        self.write_eof()
        if not self._closing:
            self._closing = True
            self._pump()

    def abort(self) -> None:
        if not self._closing or self._unsent:
            self._send(partial(self.peer.lose, ConnectionResetError()))
        self.lose()

    def _pump(self) -> None:
        """Have leave what the peer has room for, and say what that makes possible."""
        if self._lost:
            return
        while self._unsent and self._flight < self._loop.window:
            data = self._unsent.popleft()
            self._flight += len(data)
            for piece in self._loop.cut(data):
                self._send(partial(self.peer.take, piece))
        if not self._unsent:
            if self._choked:
                self._choked = False
                self._loop.call_soon(self._resume)
            if self._ending and not self._ended:
                self._ended = True
                self._send(self.peer.take_end)
            if self._closing:
                self._loop.call_soon(self.lose)

    def _resume(self) -> None:
        if not (self._choked or self._lost):
            self._protocol.resume_writing()

    def _send(self, event: Callable[[], None]) -> None:
        """Have something happen to the peer, behind what was sent before."""
        if not self.silent:
            self.peer._coming.append(event)
            self._arrival = max(self._arrival, self._loop.time() + self._loop.latency())
            self._loop.call_at(self._arrival, self.peer._happen)

    def _happen(self) -> None:
        self._unread.append(self._coming.popleft())
        self._read_on()

    def take(self, data: bytes) -> None:
        """Have data arrive here."""
        if self._closing:
            self.peer.lose(ConnectionResetError())
        else:
            self.peer._flight -= len(data)
            self._loop.call_soon(self.peer._pump)
            self._protocol.data_received(data)

    def take_end(self) -> None:
        """Have its end arrive here."""
        if not (self._closing or self._protocol.eof_received()):
            self.close()

    def lose(self, error: Exception | None = None) -> None:
        """Have the connection gone."""
        self._closing = True
        if not self._lost:
            self._lost = True
            self._unsent.clear()
            self._unread.clear()
            self._loop.pipes.remove(self)
            self._sock.close()
            self._loop.call_soon(self._protocol.connection_lost, error)

    def is_closing(self) -> bool:
        return self._closing

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self._unsent))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high or 0

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        while self._unread and not self._paused:
            self._unread.popleft()()


class _Listening:
    def __init__(self, close: Callable[[], object]) -> None:
        self.close = close


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop.

    Attributes:
        pipes: both ends of the connections that there are.
        broken: how likely a connection is to be refused, or to break.
        solid: the ports to which none does.
        within: the seconds within which those break that do; None for soon.
        stalling: how likely nothing arrives any more on a connection that would break.
        window: the octets beyond which a peer that does not read takes no more.
        pieces: into how many pieces what is sent at once may be cut.
        tick: the seconds from one moment to the next at which anything happens, so that much does at once, in any
            order; 0 for no such thing.

    Args:
        dice: all chance.
        disk: the seconds that the disk takes for something, on the average.
        latency: those that the network does.
    """

    def __init__(self, dice: random.Random, disk: float, latency: float) -> None:
        self._clock = _Clock()
        super().__init__(self._clock)
        self.pipes: list[Pipe] = []
        self.broken = 0.0
        self.solid: set[int] = set()
        self.within: float | None = None
        self.stalling = 0.0
        self.window = math.inf
        self.pieces = 1
        self.tick = 0.0
        self._dice = dice
        self._disk = disk
        self._latency = latency
        self._servers: dict[Any, Callable[[], asyncio.Protocol]] = {}
        self._aims: dict[socket.socket, Any] = {}
        self._ports = itertools.count(50000)

    def time(self) -> float:
        return self._clock.now

    def call_at(
        self, when: float, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Any = None
    ) -> asyncio.TimerHandle:
        if self.tick and math.isfinite(when):
            # What is due within the resolution of the clock, a nanosecond, is done at once.
            when = math.ceil(when / self.tick - 1e-6) * self.tick + self._dice.random() * 5e-10
        return super().call_at(when, callback, *args, context=context)

    @property
    def timers(self) -> list[asyncio.TimerHandle]:
        """What is to happen yet."""
        return [each for each in vars(self)["_scheduled"] if not each.cancelled()]

    def latency(self) -> float:
        """Return how long something takes on its way."""
        return self._dice.expovariate(1 / self._latency)

    def cut(self, data: bytes) -> list[bytes]:
        """Return data in the pieces in which it arrives."""
        cuts = self._dice.randrange(self.pieces) if self.pieces > 1 else 0
        places = [0, *sorted(int(self._dice.random() * len(data)) for _ in range(cuts)), len(data)]
        return [data[start:end] for start, end in itertools.pairwise(places) if start < end]

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Ts]], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        future = self.create_future()
        thread = executor if isinstance(executor, SlowThread) else SlowThread()
        thread.begin(_Work(future, partial(func, *args)), lambda: self._dice.expovariate(1 / self._disk))
        return future

    async def create_server(self, *args: Any, **kwargs: Any) -> Any:
        address = kwargs["sock"].getsockname()
        self._servers[address] = args[0]
        return _Listening(partial(self._servers.pop, address, None))

    async def sock_connect(self, sock: Any, address: Any) -> None:
        await asyncio.sleep(self.latency())
        if address not in self._servers or self._breaks(address):
            raise ConnectionRefusedError("nobody listens")
        self._aims[sock] = address

    async def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        there = self._aims.pop(sock := kwargs["sock"])
        if there not in self._servers:  # any more
            sock.close()
            raise ConnectionResetError("nobody listens")
        here = ("127.0.0.1", next(self._ports))
        protocols = args[0](), self._servers[there]()
        near = Pipe(self, protocols[0], sock, here, there)
        far = Pipe(self, protocols[1], socket.socket(), there, here)
        near.peer, far.peer = far, near
        self.pipes += near, far
        for protocol, pipe in zip(protocols, (near, far), strict=True):
            protocol.connection_made(pipe)
        if self._breaks(there):
            self.call_later(self._dice.uniform(0, self.within or 20 * self._latency), self._break, near)
        return near, protocols[0]

    def _breaks(self, address: Any) -> bool:
        return address[1] not in self.solid and self._dice.random() < self.broken

    def _break(self, pipe: Pipe) -> None:
        stalls = self.stalling and self._dice.random() < self.stalling
        for end in (pipe, pipe.peer):
            if stalls:
                end.silent = True
            else:
                end.lose(ConnectionResetError())
