"""What only asyncio has: tasks, cancellation, coroutines as hooks and as sources."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import resource
import socket
import threading
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

from mailproto._core.flow import Call, Flow, Want
from mailproto._core.limits import Limits
from mailproto.aio.connect import open_link
from mailproto.aio.link import Link
from mailproto.aio.listener import Listener
from mailproto.aio.threads import InThreads
from mailproto.errors import ConnectionClosedError, ConnectionTimeoutError, LocalProtocolError
from mailproto.tls import client_context, client_tls
from tests.adapters import toy
from tests.adapters.harness import PATIENCE, held_port, server_context
from tests.adapters.toy import Echo
from tests.data import CA


class Server:
    """A toy server in this loop."""

    def __init__(self, handler: Any, limits: Limits | None = None) -> None:
        self.conns: list[toy.ToyServer] = []
        self.links: list[Link] = []
        self._handler = handler
        self._limits = limits
        self.listener = Listener(self._make, self._serve, tls=server_context())

    def _make(self) -> toy.ToyServer:
        self.conns.append(toy.ToyServer(self._limits))
        return self.conns[-1]

    def _serve(self, link: Link) -> None:
        self.links.append(link)
        assert isinstance(link.conn, toy.ToyServer)
        link.start(toy.serve(link.conn, self._handler))

    async def connect(self) -> tuple[toy.ToyClient, Link]:
        conn = toy.ToyClient()
        link = await open_link(
            conn, "127.0.0.1", self.listener.port, open_tls=client_tls(client_context(CA), "localhost")
        )
        return conn, link


@asynccontextmanager
async def serving(handler: Any, limits: Limits | None = None) -> AsyncIterator[Server]:
    server = Server(handler, limits)
    async with asyncio.timeout(PATIENCE), server.listener:
        yield server


async def settle(times: int = 20) -> None:
    for _ in range(times):
        await asyncio.sleep(0.001)


# Cancellation.


Operation = Callable[[toy.ToyClient, Link], Awaitable[object]]


async def several_lines(conn: toy.ToyClient, link: Link) -> None:
    await link.run(toy.greet(conn))
    await link.run(toy.ask(conn, "one"))
    await link.run(toy.ask(conn, "two", "three"))


async def handshake(conn: toy.ToyClient, link: Link) -> None:
    await link.run(toy.greet(conn))
    await link.run(toy.start_tls(conn))


async def message(conn: toy.ToyClient, link: Link) -> None:
    pieces = iter([b"x" * 70_000, b"y" * 30_000, b""])

    async def source() -> bytes:
        await asyncio.sleep(0)
        return next(pieces)

    await link.run(toy.greet(conn))
    await link.run(toy.put_called(conn, 100_000, source))


@pytest.mark.parametrize("operation", [several_lines, handshake, message])
def test_cancelled_anywhere_the_connection_is_in_step_or_closed(operation: Operation) -> None:
    """Cancel after each step of the loop in turn, until the operation is through before."""

    async def cancel_after(server: Server, steps: int) -> bool:
        conn, link = await server.connect()
        task = asyncio.ensure_future(operation(conn, link))
        for _ in range(steps):
            await asyncio.sleep(0)
        finished = task.done()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        if link._engine.broken:
            with pytest.raises(ConnectionClosedError):
                await link.run(toy.ask(conn, "later"))
            await link.close()
        else:
            assert conn.idle
            if conn.progress:
                assert await link.run(toy.ask(conn, "in step")) == ["+in step"]
            await link.close()
        return finished

    async def main() -> None:
        async with serving(Echo()) as server:
            steps = 0
            while not await cancel_after(server, steps):
                steps += 1
            assert steps > 3
            while server.listener.connections:
                await asyncio.sleep(0.001)
            assert not any("later" in conn.lines for conn in server.conns)

    asyncio.run(main())


def test_a_timeout_of_the_caller_s_closes_the_connection() -> None:
    async def main() -> None:
        never = asyncio.Event()

        class Slow:
            async def on_line(self, event: toy.Line) -> None:
                await never.wait()

        async with serving(Slow()) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await link.run(toy.ask(conn, "hello"))
            with pytest.raises(ConnectionClosedError):
                await link.run(toy.ask(conn, "hello"))
            never.set()
            await link.close()

    asyncio.run(main())


def test_a_source_that_is_cancelled_knows_it() -> None:
    async def main() -> None:
        cancelled = asyncio.Event()

        async def source() -> bytes:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise
            return b""

        async with serving(Echo()) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            task = asyncio.ensure_future(link.run(toy.put_called(conn, 10, source)))
            await settle(2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert cancelled.is_set()
            assert link._engine.broken
            await link.close()

    asyncio.run(main())


def test_a_source_that_is_asked_as_the_caller_is_cancelled_leaves_no_coroutine_behind() -> None:
    def flow(conn: toy.ToyClient, source: Callable[[], Any]) -> Flow[None]:
        yield from toy.ask(conn, "hello")
        yield Call(source)

    async def source() -> bytes:
        return b""

    async def main() -> None:
        async with serving(Echo()) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            task = asyncio.ensure_future(link.run(flow(conn, source)))
            await asyncio.sleep(0)
            link.data_received(b"+early\r\n")  # the source is called, and its coroutine is to be awaited
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert link._engine.broken
            await link.close()

    asyncio.run(main())
    gc.collect()


# Tasks.


def test_two_tasks_cannot_use_one_connection_at_once() -> None:
    async def main() -> None:
        async with serving(Echo()) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            first = asyncio.ensure_future(link.run(toy.ask(conn, "first")))
            await asyncio.sleep(0)
            with pytest.raises(LocalProtocolError, match="one at a time"):
                await link.run(toy.ask(conn, "second"))
            assert await first == ["+first"]
            assert server.conns[0].lines == ["first"]
            await link.close()

    asyncio.run(main())


def test_a_server_has_no_task_where_nothing_is_awaited() -> None:
    async def main() -> None:
        async with serving(Echo()) as server:
            before = len(asyncio.all_tasks())
            clients = [await server.connect() for _ in range(5)]
            for conn, link in clients:
                await link.run(toy.greet(conn))
                await link.run(toy.ask(conn, "one", "two"))
            assert len(asyncio.all_tasks()) == before
            for _, link in clients:
                await link.close()

    asyncio.run(main())


def test_a_flow_that_only_writes_leaves_others_their_turn() -> None:
    async def main() -> None:
        turns: list[str] = []

        def talk() -> Flow[None]:
            for _ in range(100):
                turns.append("flow")
                yield Want.FLUSH

        async def other() -> None:
            turns.append("other")

        async with serving(Echo()) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            task = asyncio.create_task(other())
            await link.run(talk())
            await task
            await link.close()
        assert turns.count("flow") == 100
        assert turns.index("other") < 50

    asyncio.run(main())


def test_a_source_runs_in_the_task_of_the_caller() -> None:
    async def main() -> None:
        tasks = set()
        pieces = iter([b"x" * 70_000, b"x" * 70_000, b""])

        async def source() -> bytes:
            tasks.add(asyncio.current_task())
            await asyncio.sleep(0)
            return next(pieces)

        async with serving(Echo()) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            assert await link.run(toy.put_called(conn, 140_000, source)) == "+stored 140000"
            assert tasks == {asyncio.current_task()}
            await link.close()

    asyncio.run(main())


def test_hooks_may_be_coroutines_and_return_anything_awaitable() -> None:
    class Mixed(Echo):
        def on_line(self, event: toy.Line) -> Any:
            if event.text == "coroutine":
                return self.wait()
            if event.text == "future":
                future = asyncio.get_running_loop().create_future()
                asyncio.get_running_loop().call_soon(future.set_result, "future")
                return future
            return event.text

        async def wait(self) -> str:
            await asyncio.sleep(0.001)
            return "coroutine"

    async def main() -> None:
        async with serving(Mixed()) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            texts = ["plain", "coroutine", "coroutine", "future", "plain", "future"]
            assert await link.run(toy.ask(conn, *texts)) == [f"+{text}" for text in texts]
            await link.close()

    asyncio.run(main())


def test_a_hook_that_is_cancelled_by_others_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    class Cancelled(Echo):
        async def on_line(self, event: toy.Line) -> str:
            if event.text == "cancel":
                raise asyncio.CancelledError
            return event.text

    async def main() -> None:
        async with serving(Cancelled()) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            answers = await link.run(toy.ask(conn, "cancel", "hello"))
            assert answers == ["-Internal error, try again later", "+hello"]
            await link.close()

    asyncio.run(main())
    assert "the hook was cancelled" in caplog.text


def test_a_hook_is_cancelled_when_the_server_has_no_more_patience(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        reached, cancelled, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

        class Slow:
            async def on_line(self, event: toy.Line) -> None:
                reached.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    cancelled.set()

            async def on_end(self) -> None:
                await asyncio.sleep(0)
                ended.set()

        async with serving(Slow()) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            task = asyncio.ensure_future(link.run(toy.ask(conn, "wait")))
            await reached.wait()
            await server.listener.close(0.01)
            assert cancelled.is_set()
            assert ended.is_set()
            with pytest.raises(ConnectionClosedError):
                await task
            await link.close()

    asyncio.run(main())


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_connection_that_is_cut_off_before_its_hook_has_begun_ends() -> None:
    """A task that is cancelled before its first step never takes one: neither hook nor end would come."""

    async def main() -> None:
        begun, ended = asyncio.Event(), asyncio.Event()

        class Late:
            async def on_greeting(self, event: toy.Greeting) -> None:
                begun.set()
                await asyncio.Event().wait()

            def on_end(self) -> None:
                ended.set()

        class Hasty(Server):
            def _serve(self, link: Link) -> None:
                super()._serve(link)
                link.abort()

        server = Hasty(Late())
        async with asyncio.timeout(PATIENCE), server.listener:
            _, link = await server.connect()
            await ended.wait()
            await settle()
            assert begun.is_set()
            assert server.listener.connections == 0
            await link.close()

    asyncio.run(main())


def test_a_connection_whose_hook_raises_what_is_no_exception_ends() -> None:
    class Drastic(BaseException):
        pass

    async def main() -> None:
        class Hook:
            async def on_line(self, event: toy.Line) -> None:
                await asyncio.sleep(0)
                raise Drastic

        problems: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context["exception"]))
        async with serving(Hook()) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            with pytest.raises(ConnectionClosedError):
                await link.run(toy.ask(conn, "wait"))
            await settle()
            assert server.listener.connections == 0
            await link.close()
        gc.collect()
        assert [type(problem) for problem in problems] == [Drastic], "it was not swallowed"

    asyncio.run(main())


def test_a_loop_that_ends_leaves_nothing_behind() -> None:
    ended = []

    class Slow:
        async def on_line(self, event: toy.Line) -> None:
            await asyncio.Event().wait()

        async def on_end(self) -> None:
            ended.append(True)

    async def main() -> None:
        server = Server(Slow())
        await server.listener.start()
        conn, link = await server.connect()
        await link.run(toy.greet(conn))
        task = asyncio.ensure_future(link.run(toy.ask(conn, "wait")))
        while not server.conns or not server.conns[0].pending:
            await asyncio.sleep(0.001)
        server.listener._sockets.close() if server.listener._sockets else None
        for one in server.links:
            one._transport.abort()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ended == [True]


def test_a_keyboard_interrupt_in_a_hook_reaches_the_top() -> None:
    class Interrupted:
        def on_line(self, event: toy.Line) -> None:
            raise KeyboardInterrupt

    async def main() -> None:
        async with serving(Interrupted()) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            await link.run(toy.ask(conn, "interrupt"))

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())


@pytest.mark.parametrize("waits", [False, True])
def test_a_signal_may_cancel_a_task_while_its_flow_goes_on(waits: bool) -> None:
    """The handler that ``asyncio.run`` has for SIGINT does so: at any moment, and not in a turn of the loop."""

    async def main() -> None:
        complaints: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, complaint: complaints.append(complaint))
        async with serving(Echo()) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))

            def interrupted() -> Flow[None]:
                yield from toy.ask(conn, "hello")
                yield Call(task.cancel)
                if waits:
                    yield Call(asyncio.sleep, (0,))

            task = asyncio.ensure_future(link.run(interrupted()))
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(ConnectionClosedError, match="broken off"):
                await link.run(toy.ask(conn, "hello"))
        gc.collect()
        assert complaints == []

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())


# Back-pressure.


def test_reading_stops_while_nobody_wants_what_comes() -> None:
    async def main() -> None:
        go_on = asyncio.Event()

        class Slow(Echo):
            async def on_line(self, event: toy.Line) -> str:
                if event.text == "wait":
                    await go_on.wait()
                return event.text

        async with serving(Slow()) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.listener.port)
            writer.write(b"wait\r\n")
            while not server.conns or server.conns[0].pending is None:
                await asyncio.sleep(0.001)
            (link,) = server.links
            assert link._transport.is_reading()
            writer.write(b"hello\r\n" * 100_000)
            while link._transport.is_reading():
                await asyncio.sleep(0.001)
            await settle()
            assert len(server.conns[0]._buffer) < 1 << 20
            go_on.set()
            answers = b""
            while answers.count(b"\r\n") < 1000:
                answers += await reader.read(65536)
            assert link._transport.is_reading()
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()

    asyncio.run(main())


class Stuck:
    """Never comes to an answer, but for the end, which takes its time."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ended = 0

    async def on_line(self, event: toy.Line) -> None:
        self.asked.append(event.text)
        await asyncio.Event().wait()

    async def on_end(self) -> None:
        await asyncio.sleep(0.01)
        self.ended += 1


def test_who_is_cut_off_is_not_asked_about_what_else_the_peer_has_said() -> None:
    """A second hook that hangs would never be cancelled."""

    async def main() -> None:
        stuck = Stuck()
        async with serving(stuck) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            asking = asyncio.ensure_future(link.run(toy.ask(conn, "one", "two", "three")))
            while not stuck.asked:
                await asyncio.sleep(0.001)
            await server.listener.close(grace=0)
            assert (stuck.asked, stuck.ended, server.listener.connections) == (["one"], 1, 0)
            with pytest.raises(ConnectionClosedError):
                await asking

    asyncio.run(main())


def test_a_hook_that_hangs_does_not_keep_the_loop_from_ending() -> None:
    """At its end `asyncio.run` cancels every task, once, and waits for it."""
    stuck = Stuck()

    async def main() -> None:
        server = Server(stuck)
        await server.listener.start()
        sock.connect(("127.0.0.1", server.listener.port))
        sock.sendall(b"one\r\ntwo\r\nthree\r\n")
        while not stuck.asked:
            await asyncio.sleep(0.001)
        for listening in server.listener._servers:
            listening.close()

    with socket.socket() as sock:
        thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
        thread.start()
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert (stuck.asked, stuck.ended) == (["one"], 1)


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="since Python 3.12")
def test_eager_tasks_leave_no_connection_behind() -> None:
    """One is over when it is made, if its hook has nothing to wait for, and nobody will hear its end later."""

    class AtOnce(Echo):
        async def on_line(self, event: toy.Line) -> str:
            return event.text

    async def leave_at_once(link: Link) -> None: ...

    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009
        async with serving(AtOnce()) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            assert await link.run(toy.ask(conn, "one", "two")) == ["+one", "+two"]
            await link.close()
            while server.listener.connections:
                await asyncio.sleep(0.001)
        listener = Listener(toy.ToyServer, lambda link: link.attend(leave_at_once(link)))
        async with asyncio.timeout(PATIENCE), listener:
            link = await open_link(toy.ToyClient(), "127.0.0.1", listener.port)
            await link.close()
            while listener.connections:
                await asyncio.sleep(0.001)

    asyncio.run(main())


def test_a_connection_that_comes_as_the_server_closes_is_not_left_open(recwarn: pytest.WarningsRecorder) -> None:
    """Close after each step of the loop in turn, until there is a connection before."""
    warnings.simplefilter("always")
    problems: list[dict[str, Any]] = []

    async def close_after(steps: int) -> bool:
        server = Server(Echo())
        await server.listener.start()
        with socket.create_connection(("127.0.0.1", server.listener.port)):
            for _ in range(steps):
                await asyncio.sleep(0)
            served = bool(server.links)
            await server.listener.close(grace=0)
            assert not server.listener.connections
        return served

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        steps = 0
        while not await close_after(steps):
            steps += 1
            await settle(3)
        assert steps > 2

    asyncio.run(main())
    gc.collect()
    assert not problems
    assert not [str(warning.message) for warning in recwarn]


# Opening.


def test_a_server_without_descriptors_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """It looks again after a while. Else whoever opens many connections could fill a disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main() -> None:
        async with serving(Echo()) as server:
            with ExitStack() as stack:
                clients = [stack.enter_context(socket.socket()) for _ in range(20)]
                resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
                try:
                    for client in clients:
                        client.setblocking(False)
                        client.connect_ex(("127.0.0.1", server.listener.port))
                    await asyncio.sleep(0.1)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            await link.close()

    asyncio.run(main())
    assert len(caplog.records) < 4


def test_who_comes_while_the_loop_is_busy_is_not_kept_out() -> None:
    async def main() -> None:
        async with serving(Echo()) as server:
            with ExitStack() as stack:
                for _ in range(20):  # meanwhile the loop accepts nobody
                    stack.enter_context(socket.create_connection(("127.0.0.1", server.listener.port), PATIENCE))

    asyncio.run(main())


def test_small_writes_leave_at_once() -> None:
    """Two of them in a row waited 40 ms for the peer's acknowledgement; asyncio sees to it for some sockets only."""

    def leaves_at_once(link: Link) -> bool:
        return bool(link._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    async def main() -> None:
        async with serving(Echo()) as server:
            _, link = await server.connect()
            sock = socket.create_connection(("127.0.0.1", server.listener.port))
            other = await open_link(toy.ToyClient(), sock=sock)
            while len(server.links) < 2:
                await asyncio.sleep(0.001)
            assert all(map(leaves_at_once, (link, other, *server.links)))
            await link.close()
            await other.close()

    asyncio.run(main())


def test_connecting_has_a_deadline() -> None:
    async def main() -> None:
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            fillers = []
            try:
                with pytest.raises(ConnectionTimeoutError, match=r"within 0\.1 seconds"):
                    for _ in range(10):
                        filler = await open_link(toy.ToyClient(), *full.getsockname(), timeout=0.1)
                        fillers.append(filler)
            finally:
                for filler in fillers:
                    filler.abort()
                    await filler.close()

    asyncio.run(main())


def test_nobody_listens() -> None:
    async def main() -> None:
        with held_port() as port, pytest.raises(ConnectionRefusedError):
            await open_link(toy.ToyClient(), "127.0.0.1", port)

    asyncio.run(main())


def test_cancelled_anywhere_connecting_leaves_no_socket_open(recwarn: pytest.WarningsRecorder) -> None:
    """Cancel after each step of the loop in turn, until there is a connection before."""
    warnings.simplefilter("always")

    async def main() -> None:
        async with serving(Echo()) as server:
            steps, connected = 0, False
            while not connected:
                task = asyncio.ensure_future(open_link(toy.ToyClient(), "127.0.0.1", server.listener.port))
                for _ in range(steps):
                    await asyncio.sleep(0)
                connected = task.done()
                task.cancel()
                with suppress(asyncio.CancelledError):
                    link = await task
                del task
                await settle(3)
                gc.collect()
                assert not [str(warning.message) for warning in recwarn], f"after {steps} steps"
                steps += 1
            await link.close()
            assert steps > 3

    asyncio.run(main())


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    """Have every name stand for these addresses."""

    async def getaddrinfo(*_: object, **__: object) -> list[Any]:
        families = (socket.AF_INET6 if ":" in host else socket.AF_INET for host, _ in addresses)
        return [(family, socket.SOCK_STREAM, 0, "", each) for family, each in zip(families, addresses, strict=True)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


def test_one_address_after_the_other_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        with held_port() as port:
            closed = ("127.0.0.1", port)
            async with serving(Echo()) as server:
                resolving(monkeypatch, closed, ("127.0.0.1", server.listener.port))
                link = await open_link(toy.ToyClient(), "mail.example.org", 25)
                assert link.peer == ("127.0.0.1", server.listener.port)
                await link.close()
            resolving(monkeypatch, closed, closed)
            with pytest.raises(ConnectionRefusedError):
                await open_link(toy.ToyClient(), "mail.example.org", 25)
        resolving(monkeypatch)
        with pytest.raises(OSError, match=r"mail\.example\.org has no address"):
            await open_link(toy.ToyClient(), "mail.example.org", 25)

    asyncio.run(main())


def test_what_is_wrong_with_the_own_address_is_told() -> None:
    """It was said that the other side had none, and the reason left to the end of a task that nobody waits for."""

    async def main() -> None:
        async with serving(Echo()) as server:
            for name, error in (("x" * 64, UnicodeError), ("::1", socket.gaierror)):
                with pytest.raises(error):
                    await open_link(toy.ToyClient(), "127.0.0.1", server.listener.port, source_address=(name, 0))

    asyncio.run(main())


def test_an_address_that_does_not_answer_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with serving(Echo()) as server:
            with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as fillers:
                for _ in range(3):
                    filler = fillers.enter_context(socket.socket())
                    filler.setblocking(False)
                    with suppress(BlockingIOError):
                        filler.connect(full.getsockname())
                resolving(monkeypatch, full.getsockname(), ("127.0.0.1", server.listener.port))
                link = await open_link(toy.ToyClient(), "mail.example.org", 25)
                assert link.peer == ("127.0.0.1", server.listener.port)
                await link.close()

    asyncio.run(main())


def test_the_families_of_a_host_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 8305 section 4: one family that leads nowhere is not tried to its end first."""
    tried = []

    async def refuse(_: socket.socket, address: tuple[Any, ...]) -> None:
        tried.append(address[0])
        raise ConnectionRefusedError

    async def main() -> None:
        resolving(monkeypatch, ("::1", 25), ("::2", 25), ("127.0.0.1", 25))
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", refuse)
        with pytest.raises(ConnectionRefusedError):
            await open_link(toy.ToyClient(), "mail.example.org", 25)

    asyncio.run(main())
    assert tried == ["::1", "127.0.0.1", "::2"]


def test_the_source_address_can_be_chosen() -> None:
    async def main() -> None:
        async with serving(Echo()) as server:
            link = await open_link(
                toy.ToyClient(), "127.0.0.1", server.listener.port, source_address=("127.0.0.3", 0)
            )
            assert link.local[0] == "127.0.0.3"
            await link.close()

    asyncio.run(main())


# Threads.


def test_hooks_can_run_in_threads() -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    seen = []

    class Blocking:
        other = "attribute"

        def on_line(self, event: toy.Line) -> str:
            seen.append((threading.current_thread() is threading.main_thread(), request.get()))
            return event.text

        def on_stored(self, event: toy.Stored) -> str:
            seen.append((threading.current_thread() is threading.main_thread(), ""))
            return "stored"

    async def main() -> None:
        handler = InThreads(Blocking(), "on_line")
        assert handler.other == "attribute"
        assert not hasattr(handler, "on_nothing")
        request.set("mine")
        async with serving(handler) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            assert await link.run(toy.ask(conn, "hello")) == ["+hello"]
            assert await link.run(toy.put(conn, 1, [b"x"])) == "+stored"
            await link.close()

    asyncio.run(main())
    assert seen == [(False, "mine"), (True, "")]


def test_a_hook_that_fails_in_a_thread_is_named(caplog: pytest.LogCaptureFixture) -> None:
    class Blocking:
        def on_line(self, event: toy.Line) -> str:
            raise OSError("the disk is full")

    async def main() -> None:
        async with serving(InThreads(Blocking(), "on_line")) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            await link.run(toy.ask(conn, "hello"))
            await link.close()

    asyncio.run(main())
    assert [record.getMessage().endswith("Blocking.on_line") for record in caplog.records] == [True]


def test_what_a_hook_in_a_thread_returns_is_awaited() -> None:
    """A message is not accepted by a coroutine that nobody runs."""
    stored = []

    class Mixed:
        async def on_stored(self, event: toy.Stored) -> str:
            stored.append(event.size)
            return "stored"

    async def main() -> None:
        async with serving(InThreads(Mixed(), "on_stored")) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            assert await link.run(toy.put(conn, 1, [b"x"])) == "+stored"
            await link.close()

    asyncio.run(main())
    assert stored == [1]


class Resource:
    """What a hook returns, and somebody has to close."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_what_a_thread_returns_too_late_is_closed() -> None:
    """Cancel after each step of the loop in turn: either there is a result, or it is closed, in whatever thread."""

    async def try_after(steps: int, *, wait: bool) -> bool:
        resource, begun, may_return = Resource(), threading.Event(), threading.Event()

        class Blocking:
            def on_line(self) -> Resource:
                begun.set()
                assert may_return.wait(PATIENCE)
                return resource

        task = asyncio.ensure_future(InThreads(Blocking(), "on_line").on_line())
        await asyncio.sleep(0)
        assert begun.wait(PATIENCE)  # a thread that has not begun never does
        if wait:
            may_return.set()
            await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.01)
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            assert await task is resource
            assert not resource.closed
            return True
        may_return.set()
        while not resource.closed:
            await asyncio.sleep(0.001)
        return False

    async def main() -> None:
        async with asyncio.timeout(PATIENCE):
            for steps in range(4):
                assert not await try_after(steps, wait=False)
            steps = 0
            while not await try_after(steps, wait=True):
                steps += 1

    asyncio.run(main())


async def cancel_behind_its_thread(handler: object) -> None:
    """Cancel a hook whose thread has ended, before the loop has heard of it."""
    with ThreadPoolExecutor(1) as executor:
        task = asyncio.ensure_future(InThreads(handler, "on_line", executor=executor).on_line())
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_result_is_there_and_not_taken_yet_when_the_hook_is_cancelled() -> None:
    resource = Resource()

    class Blocking:
        def on_line(self) -> Resource:
            return resource

    asyncio.run(cancel_behind_its_thread(Blocking()))
    assert resource.closed == 1


def test_what_cannot_be_closed_in_a_thread_is_told(caplog: pytest.LogCaptureFixture) -> None:
    class Awaited:
        async def close(self) -> None:
            raise AssertionError

    class Blocking:
        def on_line(self) -> Awaited:
            return Awaited()

    asyncio.run(cancel_behind_its_thread(Blocking()))
    assert "too late could not be closed" in caplog.text
