"""What may happen while something is awaited: the caller's time is up, somebody else closes, or begins as well."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest

from mailproto import aio
from mailproto._core.flow import Call, Flow
from mailproto.aio.threads import InThreads
from mailproto.errors import ConnectionClosedError, LocalProtocolError
from mailproto.pop3.config import POP3ServerConfig
from tests.adapters import toy
from tests.adapters.harness import PATIENCE, held_port
from tests.adapters.toy import Echo
from tests.aio.test_link import serving


def test_the_timeout_of_who_waits_for_a_thread_is_one() -> None:
    """As that of who waits for anything else, on each version of Python."""

    async def main() -> None:
        may_return = threading.Event()

        class Blocking:
            def on_line(self) -> None:
                assert may_return.wait(PATIENCE)

        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await InThreads(Blocking(), "on_line").on_line()
        finally:
            may_return.set()

    asyncio.run(main())


@pytest.mark.parametrize("free", [False, True])
def test_what_no_thread_can_be_started_for_is_done_now_or_never(free: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The standard library queues it before it starts a thread, and so it was done behind its refusal."""

    async def main() -> None:
        done: list[str] = []
        may_return, begun = threading.Event(), threading.Event()

        class Blocking:
            def on_line(self, line: str) -> str:
                if line == "second":
                    begun.set()
                assert may_return.wait(PATIENCE)
                done.append(line)
                return line

        def start(_: threading.Thread) -> None:
            if free:
                may_return.set()
                assert begun.wait(PATIENCE)
            raise RuntimeError("can't start new thread")

        hooks = InThreads(Blocking(), "on_line")
        first = asyncio.ensure_future(hooks.on_line("first"))
        await asyncio.sleep(0)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            if free:
                assert await hooks.on_line("second") == "second"
            else:
                with pytest.raises(RuntimeError, match="can't start new thread"):
                    await hooks.on_line("second")
        may_return.set()
        await first
        await hooks.on_line("third")
        assert done == (["first", "second", "third"] if free else ["first", "third"])

    asyncio.run(main())


def test_who_is_cancelled_as_a_piece_comes_does_not_go_on_behind_it() -> None:
    """The piece would be missing, and nobody would know."""

    async def main() -> None:
        async with serving(Echo()) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            task = asyncio.ensure_future(link.run(toy.ask(conn, "hello"), part=True))
            await asyncio.sleep(0)
            link.data_received(b"+early\r\n")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(ConnectionClosedError):
                await link.run(toy.ask(conn, "and now"), part=True)
            await link.close()

    asyncio.run(main())


def test_who_is_cancelled_as_a_task_of_his_is_to_be_awaited_has_that_cancelled() -> None:
    def flow(conn: toy.ToyClient, source: Any) -> Flow[None]:
        yield from toy.ask(conn, "hello")
        yield Call(source)

    async def main() -> None:
        begun: list[asyncio.Future[None]] = []

        def source() -> asyncio.Future[None]:
            begun.append(asyncio.ensure_future(asyncio.sleep(PATIENCE)))
            return begun[0]

        async with serving(Echo()) as server:
            conn, link = await server.connect()
            await link.run(toy.greet(conn))
            task = asyncio.ensure_future(link.run(flow(conn, source)))
            await asyncio.sleep(0)
            link.data_received(b"+early\r\n")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await link.close()
            assert begun[0].cancelled()

    asyncio.run(main())


class Inbox:
    """Takes every message, and its time."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()

    async def on_rcpt(self, session: Any, rcpt: Any) -> None:
        pass

    async def on_message(self, session: Any, envelope: Any) -> None:
        self.begun.set()
        await self.may_end.wait()


def test_a_server_that_is_cancelled_as_it_starts_does_not_listen() -> None:
    """Cancel after each step of the loop in turn; nobody has what could be closed."""

    async def main() -> None:
        for steps in range(4):
            server = aio.SMTPServer(Inbox(), port=port)
            task = asyncio.ensure_future(server.start())
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
                await server.close()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)

    with held_port() as port:
        asyncio.run(main())


def test_the_time_that_a_server_is_given_to_close_holds_for_who_serves_for_ever_too() -> None:
    async def main() -> None:
        inbox = Inbox()
        server = aio.SMTPServer(inbox, port=0, options=aio.ServerOptions(grace=0.05))
        serving = asyncio.ensure_future(server.serve_forever())
        while not server.port:
            await asyncio.sleep(0.001)
        async with aio.SMTPClient("127.0.0.1", server.port, tls=aio.TLSPolicy.NONE) as client:
            sending = asyncio.ensure_future(client.send_message(b"Subject: x\r\n\r\n", "a@a.example", "b@b.example"))
            await inbox.begun.wait()
            closing = asyncio.ensure_future(server.close(PATIENCE))
            await asyncio.sleep(0.2)
            inbox.may_end.set()
            assert (await sending).accepted
        await closing
        await serving

    asyncio.run(main())


def _pop3_server(handler: object) -> aio.POP3Server:
    return aio.POP3Server(handler, port=0, config=POP3ServerConfig(allow_plaintext_auth=True))


def test_a_server_that_closes_makes_nobody_wait_who_was_cut_off_as_he_logged_in(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The check of his password is cancelled, and so fails, which costs guessers a pause."""

    async def main() -> None:
        begun = asyncio.Event()

        class Office:
            async def on_auth(self, session: Any, check: Any) -> bool:
                begun.set()
                await asyncio.Event().wait()
                return True

        async with asyncio.timeout(PATIENCE), _pop3_server(Office()) as server:
            client = aio.POP3Client(
                port=server.port, tls=aio.TLSPolicy.NONE, user="ada", password="x", allow_plaintext_auth=True
            )
            connecting = asyncio.ensure_future(client.connect())
            await begun.wait()
            await server.close(0)
            assert not server.connections
            with pytest.raises(ConnectionClosedError):
                await connecting

    asyncio.run(main())
    assert "are left" not in caplog.text


def test_two_tasks_cannot_connect_one_client_at_once() -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE), aio.SMTPServer(Inbox(), port=0) as server:
            client = aio.SMTPClient("127.0.0.1", server.port, tls=aio.TLSPolicy.NONE)
            results = await asyncio.gather(client.connect(), client.connect(), return_exceptions=True)
            await client.quit()
            assert [type(each) for each in results] == [type(None), LocalProtocolError]

    asyncio.run(main())


def test_who_is_closed_as_he_connects_is_not_connected() -> None:
    """Close after each step of the loop in turn."""

    async def closes_after(port: int, steps: int) -> bool:
        client = aio.SMTPClient("127.0.0.1", port, tls=aio.TLSPolicy.NONE)
        task = asyncio.ensure_future(client.connect())
        for _ in range(steps):
            await asyncio.sleep(0)
        finished = task.done()
        await client.close()
        with suppress(ConnectionClosedError):
            await task
        with pytest.raises(ConnectionClosedError):
            await client.noop()
        return finished

    async def main() -> None:
        async with asyncio.timeout(PATIENCE), aio.SMTPServer(Inbox(), port=0) as server:
            steps = 1
            while not await closes_after(server.port, steps):
                steps += 1
            assert steps > 3

    asyncio.run(main())
