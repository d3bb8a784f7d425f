"""Pools, over asyncio and over blocking sockets: how many connections, and which message goes over which."""

from __future__ import annotations

import asyncio
import io
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from mailproto import NotSupportedError, Reject, aio, sync
from mailproto.errors import ConnectionExhaustedError, GrammarError
from mailproto.smtp import Envelope, Limits, Mail, Outcome, Rcpt, Reply, SendResult, SMTPServerConfig
from mailproto.smtp.extensions import CHUNKING, DEFAULT_EXTENSIONS, LIMITS, PIPELINING
from mailproto.smtp.flows.server import SMTPSession
from mailproto.smtp.flows.shelf import Lent, PoolOptions, Shelf
from tests.adapters.harness import PATIENCE, held_port, wait_until

MESSAGE = b"Subject: pooled\r\n\r\nHello.\r\n"
PARTIES = ("a@example.org", ["b@example.org"])


class Inbox:
    """Counts connections and messages."""

    def __init__(self) -> None:
        self.connections = 0
        self.at_once = 0
        self.most_at_once = 0
        self.messages: list[int] = []
        self._lock = threading.Lock()

    def on_connect(self, session: SMTPSession) -> None:
        with self._lock:
            self.connections += 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            session.state["number"] = self.connections

    def on_rcpt(self, session: SMTPSession, rcpt: Rcpt) -> None:
        if rcpt.address.local_part == "nobody":
            raise Reject(550, "no such user", "5.1.1")

    def on_message(self, session: SMTPSession, envelope: Envelope) -> None:
        with self._lock:
            self.messages.append(session.state["number"])

    def on_close(self, session: SMTPSession) -> None:
        with self._lock:
            self.at_once -= 1


def use_sync(port: int, options: PoolOptions, job: Callable[[Callable[..., SendResult]], Any]) -> Any:
    """Run ``job`` with a blocking pool's ``send_message``."""
    with sync.SMTPPool(lambda: sync.SMTPClient("127.0.0.1", port), options) as pool:
        return job(pool.send_message)


def use_aio(port: int, options: PoolOptions, job: Callable[[Callable[..., SendResult]], Any]) -> Any:
    """Run ``job``, in a thread, with an asyncio pool's ``send_message`` made blocking."""

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        async with aio.SMTPPool(lambda: aio.SMTPClient("127.0.0.1", port), options) as pool:

            def send(*arguments: Any, **keywords: Any) -> SendResult:
                return asyncio.run_coroutine_threadsafe(pool.send_message(*arguments, **keywords), loop).result()

            return await loop.run_in_executor(None, job, send)

    return asyncio.run(main())


@pytest.fixture(params=[use_sync, use_aio], ids=["sync", "aio"])
def use(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return what runs a job with a pool of either side."""
    use: Callable[..., Any] = request.param
    return use


@pytest.fixture
def inbox() -> Inbox:
    """Return a new inbox."""
    return Inbox()


@pytest.fixture
def port(inbox: Inbox) -> Iterator[int]:
    """Return the port of a server over the inbox."""
    with sync.SMTPServer(inbox, port=0) as server:
        yield server.port


def test_messages_one_after_the_other_share_a_connection(use: Callable[..., Any], port: int, inbox: Inbox) -> None:
    use(port, PoolOptions(), lambda send: [send(MESSAGE, *PARTIES).raise_for_refused() for _ in range(5)])
    assert inbox.messages == [1] * 5
    assert inbox.connections == 1


def test_a_connection_has_its_share_of_messages(use: Callable[..., Any], port: int, inbox: Inbox) -> None:
    use(port, PoolOptions(max_messages=2), lambda send: [send(MESSAGE, *PARTIES) for _ in range(5)])
    assert inbox.messages == [1, 1, 2, 2, 3]


def test_a_connection_that_was_idle_too_long_is_not_used(use: Callable[..., Any], port: int, inbox: Inbox) -> None:
    use(port, PoolOptions(max_idle=0.0), lambda send: [send(MESSAGE, *PARTIES) for _ in range(3)])
    assert inbox.messages == [1, 2, 3]


@pytest.mark.parametrize(
    "wrong",
    [{"max_connections": 0}, {"messages_per_second": 0.0}, {"messages_per_second": -1.0}],
)
def test_a_pool_that_would_wait_for_ever_is_not_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(GrammarError):
        PoolOptions(**wrong)


def test_many_at_once_stay_below_the_limit(use: Callable[..., Any], port: int, inbox: Inbox) -> None:
    def job(send: Callable[..., SendResult]) -> None:
        with ThreadPoolExecutor(8) as threads:
            results = list(threads.map(lambda _: send(MESSAGE, *PARTIES), range(24)))
        assert all(result.ok for result in results)

    use(port, PoolOptions(max_connections=3), job)
    assert len(inbox.messages) == 24
    assert inbox.most_at_once <= 3


def test_a_refusal_leaves_the_connection_good(use: Callable[..., Any], port: int, inbox: Inbox) -> None:
    def job(send: Callable[..., SendResult]) -> None:
        assert send(MESSAGE, "a@example.org", ["nobody@example.org"]).refused
        with pytest.raises(NotSupportedError):
            send(b"x" * (40 << 20), *PARTIES)
        assert send(MESSAGE, *PARTIES).ok

    use(port, PoolOptions(), job)
    assert inbox.connections == 1


Script = list[tuple[bytes, bytes]]
"""What a server waits for, and what it says before that."""


@contextmanager
def fickle_server(farewell: bytes, script: Script | None = None) -> Iterator[tuple[int, list[bytes]]]:
    """Run a server that takes one message a connection, says ``farewell`` and hangs up; and what it heard."""
    listening = socket.create_server(("127.0.0.1", 0))
    heard: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                sock, _ = listening.accept()
            except OSError:
                return
            with sock, sock.makefile("rb") as lines:
                said = b""
                for line, answer in script or _SCRIPT:
                    sock.sendall(answer)
                    while not said.endswith(line):
                        said += lines.readline() or b"<it hung up>" + line
                sock.sendall(b"250 taken\r\n" + farewell)
                sock.shutdown(socket.SHUT_WR)
                heard.append(said)
                while lines.readline():
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listening.getsockname()[1], heard
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join()


_SCRIPT = [
    (b"EHLO [127.0.0.1]\r\n", b"220 fickle\r\n"),
    (b"MAIL FROM:<a@example.org>\r\n", b"250 fickle\r\n"),
    (b"RCPT TO:<b@example.org>\r\n", b"250 sender\r\n"),
    (b"DATA\r\n", b"250 recipient\r\n"),
    (b".\r\n", b"354 go ahead\r\n"),
]
_ONE_FLIGHT = [
    (b"EHLO [127.0.0.1]\r\n", b"220 fickle\r\n"),
    (MESSAGE, b"250-fickle\r\n250-PIPELINING\r\n250 CHUNKING\r\n"),
    (b"", b"250 sender\r\n250 recipient\r\n"),
]


@pytest.mark.parametrize("script", [_SCRIPT, _ONE_FLIGHT])
@pytest.mark.parametrize("farewell", [b"", b"421 good-bye\r\n"])
def test_a_stale_connection_is_noticed_and_the_message_sent_over_another(
    use: Callable[..., Any], farewell: bytes, script: Script
) -> None:
    """A message of one flight leaves before any reply could tell, and then nobody knows what became of it."""

    def job(send: Callable[..., SendResult]) -> list[SendResult]:
        results = []
        for _ in range(3):
            results.append(send(MESSAGE, *PARTIES))
            wait_until(lambda: len(heard) == len(results))  # so that the end is there
        return results

    with fickle_server(farewell, script) as (port, heard):
        results = use(port, PoolOptions(), job)
    assert [result.ok for result in results] == [True] * 3
    assert [said.count(MESSAGE) for said in heard] == [1, 1, 1], "each exactly once"


def test_a_file_that_may_be_rewritten_is_there_for_the_other_connection(use: Callable[..., Any]) -> None:
    """Whether it has to be is known only when it was read, and that the connection is stale only after that."""
    taken: list[bytes] = []

    class OneEach(Inbox):
        def on_mail(self, session: SMTPSession, _: Mail) -> Reply | None:
            return Reply.build(421, "Enough") if session.state["number"] in self.messages else None

        def on_message(self, session: SMTPSession, envelope: Envelope) -> None:
            super().on_message(session, envelope)
            taken.append(bytes(envelope))

    def job(send: Callable[..., SendResult]) -> None:
        assert send(io.BytesIO(MESSAGE), *PARTIES, downgrade=True).ok
        assert send(io.BytesIO(MESSAGE), *PARTIES, downgrade=True).ok

    seven_bit = SMTPServerConfig(extensions=(PIPELINING,))
    with sync.SMTPServer(OneEach(), port=0, config=seven_bit) as server:
        use(server.port, PoolOptions(), job)
    assert taken == [MESSAGE, MESSAGE]


def test_a_connection_that_takes_no_more_domains_makes_room(use: Callable[..., Any], inbox: Inbox) -> None:
    def job(send: Callable[..., SendResult]) -> None:
        for number in range(4):
            assert send(MESSAGE, "a@example.org", [f"b@example{number}.org"]).ok

    config = SMTPServerConfig(extensions=(LIMITS,), limits=Limits(max_recipient_domains=1))
    with sync.SMTPServer(inbox, port=0, config=config) as server:
        use(server.port, PoolOptions(max_connections=2), job)
    assert inbox.messages == [1, 2, 3, 4]
    assert inbox.most_at_once <= 2


def limited(inbox: Inbox, **limits: int) -> sync.SMTPServer:
    """Return a server that keeps to these limits, and says so beforehand."""
    return sync.SMTPServer(inbox, port=0, config=SMTPServerConfig(limits=Limits(**limits)))


def at(*domains: str) -> list[str]:
    return [f"b@{domain}.example" for domain in domains]


@pytest.mark.parametrize("kind", [bytes, io.BytesIO, lambda octets: iter([octets])])
@pytest.mark.parametrize(
    ("limits", "messages", "expected"),
    [
        # What the messages before have used up of a connection is there on a fresh one,
        (
            {"max_recipient_domains": 2},
            [at("one", "two"), at("one", "three", "two")],
            ["1 one,two", "1 one,two", "2 three"],
        ),
        # and what no connection has room for goes over several.
        ({"max_recipient_domains": 1}, [at("one", "two", "one", "three")], ["1 one,one", "2 two", "3 three"]),
        (
            {"max_transactions": 2, "max_recipients": 2},
            [at("one"), at("one", "two", "three", "four", "five", "six", "seven")],
            ["1 one", "1 one,two", "2 three,four", "2 five,six", "3 seven"],
        ),
    ],
)
def test_those_for_whom_a_connection_has_no_room_go_over_another(
    use: Callable[..., Any],
    inbox: Inbox,
    kind: Callable[[bytes], Any],
    limits: dict[str, int],
    messages: list[list[str]],
    expected: list[str],
) -> None:
    """RFC 9422: two of the limits are for a session, so that nobody has to wait for another attempt."""
    taken: list[str] = []

    class Noting(Inbox):
        def on_message(self, session: SMTPSession, envelope: Envelope) -> None:
            names = ",".join(path.domain.partition(".")[0] for path in envelope.forward_paths)
            taken.append(f"{session.state['number']} {names}")
            assert bytes(envelope) == MESSAGE

    def job(send: Callable[..., SendResult]) -> None:
        for recipients in messages:
            result = send(kind(MESSAGE), "a@example.org", recipients)
            result.raise_for_refused()
            assert result.error is None
            assert result.reply is not None
            assert [str(each.address) for each in result.recipients] == recipients

    noting = Noting()
    with limited(noting, **limits) as server:
        use(server.port, PoolOptions(max_connections=1), job)
    assert taken == expected
    assert noting.most_at_once == 1


def test_what_became_of_the_others_is_told_when_there_is_no_other_connection(
    use: Callable[..., Any], inbox: Inbox
) -> None:
    class Once(Inbox):
        def on_connect(self, session: SMTPSession) -> None:
            super().on_connect(session)
            if self.connections > 1:
                raise Reject(421, "Once is enough")

    def job(send: Callable[..., SendResult]) -> None:
        result = send(MESSAGE, "a@example.org", [*at("one", "two"), "nobody@one.example"])
        assert [each.outcome for each in result.recipients] == [Outcome.ACCEPTED, Outcome.DEFERRED, Outcome.REFUSED]
        assert isinstance(result.error, ConnectionExhaustedError)

    with limited(Once(), max_recipient_domains=1) as server:
        use(server.port, PoolOptions(), job)


def test_what_a_caller_fails_by_takes_no_result_with_it(use: Callable[..., Any], inbox: Inbox) -> None:
    """Some have the message when, over the next connection, the caller's own progress fails."""
    told: list[int] = []

    def progress(sent: int, _: int | None) -> None:
        told.append(sent)
        if told.count(sent) > 1:
            raise KeyError("again?")

    def job(send: Callable[..., SendResult]) -> None:
        result = send(iter([MESSAGE]), "a@example.org", at("one", "two"), progress=progress)
        assert [each.outcome for each in result.recipients] == [Outcome.ACCEPTED, Outcome.DEFERRED]
        told[:] = [len(MESSAGE)]
        with pytest.raises(KeyError):
            send(iter([MESSAGE]), "a@example.org", at("one"), progress=progress)

    without_chunks = tuple(each for each in DEFAULT_EXTENSIONS if each is not CHUNKING)
    limits = Limits(max_recipient_domains=1)
    with sync.SMTPServer(inbox, port=0, config=SMTPServerConfig(extensions=without_chunks, limits=limits)) as server:
        use(server.port, PoolOptions(), job)


class Slow(Inbox):
    """Takes a message when it is allowed to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.allowed = threading.Event(), threading.Event()

    def on_message(self, session: SMTPSession, envelope: Envelope) -> None:
        self.asked.set()
        assert self.allowed.wait(PATIENCE)


def test_a_connection_in_use_when_a_blocking_pool_closes_is_closed_behind_its_message() -> None:
    """Nobody would come back for it."""
    slow = Slow()
    with sync.SMTPServer(slow, port=0) as server, ThreadPoolExecutor(1) as thread:
        with sync.SMTPPool(lambda: sync.SMTPClient("127.0.0.1", server.port)) as pool:
            sending = thread.submit(pool.send_message, MESSAGE, *PARTIES)
            assert slow.asked.wait(PATIENCE)
        slow.allowed.set()
        assert sending.result().ok
        wait_until(lambda: server.connections == 0)


def test_a_connection_in_use_when_a_pool_closes_is_closed_behind_its_message() -> None:
    slow = Slow()

    async def main(server: sync.SMTPServer) -> None:
        async with aio.SMTPPool(lambda: aio.SMTPClient("127.0.0.1", server.port)) as pool:
            sending = asyncio.ensure_future(pool.send_message(MESSAGE, *PARTIES))
            assert await asyncio.to_thread(slow.asked.wait, PATIENCE)
        slow.allowed.set()
        assert (await sending).ok
        await asyncio.to_thread(wait_until, lambda: server.connections == 0)

    with sync.SMTPServer(slow, port=0) as server:
        asyncio.run(main(server))


def test_who_is_cancelled_while_he_closes_a_pool_leaves_no_connection_open(port: int, inbox: Inbox) -> None:
    """Nobody would come back for it, at the end of ``async with``."""

    async def main() -> None:
        pool = aio.SMTPPool(lambda: aio.SMTPClient("127.0.0.1", port))
        await asyncio.gather(*(pool.send_message(MESSAGE, *PARTIES) for _ in range(3)))
        clients = [lent.client for lent in pool._shelf._idle]
        assert len(clients) == 3
        closing = asyncio.ensure_future(pool.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert all(client._link is not None and client._link._closed.done() for client in clients)

    asyncio.run(main())


def test_who_is_interrupted_while_he_closes_a_pool_leaves_no_connection_open(
    port: int, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    pool = sync.SMTPPool(lambda: sync.SMTPClient("127.0.0.1", port))
    clients = [sync.SMTPClient("127.0.0.1", port) for _ in range(3)]
    for client in clients:
        client.connect()
        pool._shelf.put(Lent(client), 0.0)
    monkeypatch.setattr(sync.SMTPClient, "quit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool.close()
    assert all(client._link is not None and client._link._closed for client in clients)


def test_a_fresh_connection_that_fails_is_not_tried_again(use: Callable[..., Any]) -> None:
    with held_port() as port, pytest.raises(ConnectionRefusedError):
        use(port, PoolOptions(), lambda send: send(MESSAGE, *PARTIES))


def test_a_server_that_hangs_up_on_a_fresh_connection_is_not_tried_again(use: Callable[..., Any]) -> None:
    """It would be, for as long as it does so."""

    class Leaving(Inbox):
        def on_mail(self, session: SMTPSession, mail: Mail) -> None:
            if self.connections < 3:
                session.drop()

    inbox = Leaving()
    extensions = tuple(each for each in DEFAULT_EXTENSIONS if each is not CHUNKING)
    with sync.SMTPServer(inbox, port=0, config=SMTPServerConfig(extensions=extensions)) as server:
        result = use(server.port, PoolOptions(), lambda send: send(MESSAGE, *PARTIES))
    assert [recipient.outcome for recipient in result.recipients] == [Outcome.DEFERRED]
    assert inbox.connections == 1


def test_the_rate_spaces_the_messages_out() -> None:
    shelf: Shelf[str] = Shelf(PoolOptions(messages_per_second=2))
    assert [shelf.reserve(10.0), shelf.reserve(10.0), shelf.reserve(10.2), shelf.reserve(20.0)] == [
        0.0,
        0.5,
        pytest.approx(0.8),
        0.0,
    ]
    assert Shelf[str](PoolOptions()).reserve(10.0) == 0.0


def test_the_last_connection_used_is_the_next(inbox: Inbox) -> None:
    shelf: Shelf[str] = Shelf(PoolOptions(max_idle=10.0))
    assert shelf.take() is None
    assert shelf.put(Lent("old"), 0.0)
    assert shelf.put(Lent("new"), 5.0)
    assert list(shelf.take_expired(11.0)) == ["old"]
    lent = shelf.take()
    assert lent is not None
    assert lent.client == "new"
    assert list(shelf.take_all()) == []


@pytest.mark.parametrize("front", [aio, sync])
def test_a_pool_makes_its_clients(front: Any) -> None:
    with pytest.raises(TypeError, match="lambda: SMTPClient"):
        front.SMTPPool(front.SMTPClient("localhost"))


FORKING = """
import os, signal, sys, threading, warnings
from mailproto import sync

pool = sync.SMTPPool(lambda: sync.SMTPClient("127.0.0.1", int(sys.argv[1])), sync.PoolOptions(max_connections=1))

def send():
    pool.send_message(b"Hello.\\r\\n", "a@example.org", "b@example.org").raise_for_refused()

send()
busy = threading.Thread(target=send)
if sys.argv[2] == "busy":
    busy.start()
    sys.stdin.readline()
    warnings.simplefilter("ignore")  # that there are threads, which is the point
child = os.fork()
if child == 0:
    signal.alarm(60)  # should it wait for what no thread of its own holds
    send()
    pool.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
if busy.ident:
    busy.join()
send()
pool.close()
"""


@pytest.mark.parametrize("at", ["idle", "busy"])
def test_a_forked_process_has_connections_of_its_own(at: str) -> None:
    """As the workers of a web server have that was started, and has sent mail, before they were forked."""
    second_has_come, third_has_come = threading.Event(), threading.Event()

    class Slow(Inbox):
        def on_message(self, session: SMTPSession, envelope: Envelope) -> None:
            if at == "busy" and len(self.messages) == 1 and not second_has_come.is_set():
                second_has_come.set()
                assert third_has_come.wait(PATIENCE)
            super().on_message(session, envelope)
            if len(self.messages) == 2:
                third_has_come.set()

    inbox = Slow()
    with sync.SMTPServer(inbox, port=0) as server:
        command = [sys.executable, "-X", "dev", "-c", FORKING, str(server.port), at]
        with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as program:
            if at == "busy":
                assert second_has_come.wait(PATIENCE)
            program.communicate("\n", PATIENCE)
            assert program.returncode == 0
    assert inbox.messages == ([1, 2, 1] if at == "idle" else [1, 2, 1, 1])
