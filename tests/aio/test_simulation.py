"""Clients and servers that are cut off, cancelled, closed and kept waiting at any moment, on a loop with a clock and
a network of its own (`tests.virtual`): a whole day of that in a second, and the same one again for the same seed.

Whatever happens, what a client is told is true: what was accepted has been taken, as it was sent and once, and what
was not has not been. Everything ends by its deadline, and nothing is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import random
import socket
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from mailproto import aio
from mailproto.aio.threads import InThreads
from mailproto.errors import MailProtoError, Reject
from mailproto.ledger import SQLiteLedger
from mailproto.maildrop.memory import MemoryMaildrop, MemorySnapshot
from mailproto.pop3.config import POP3ServerConfig
from mailproto.pop3.flows.keep import KeepPolicy, Note
from mailproto.smtp.events import MessageChunk, MessageEnd
from mailproto.smtp.flows.shelf import PoolOptions
from mailproto.smtp.messages.submission import make_submission
from mailproto.smtp.result import Outcome, SendResult
from mailproto.tls import client_context, server_context
from tests.data import CA, SERVER
from tests.virtual import VirtualLoop

SEEDS = 60
GRACE = 20.0
LONGEST = 50_000.0  # seconds, in which every deadline has come
LONGEST_CLOSE = 2.0  # seconds beyond the grace

POP3_CONFIG = POP3ServerConfig(allow_plaintext_auth=True)
_contexts = functools.cache(lambda: (client_context(CA), server_context(*SERVER)))


class MeantError(Exception):
    """What a hook fails by in a story."""


class Errors(logging.Handler):
    """What goes wrong, and would only be logged."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[object] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        unsaid = "are left" in record.getMessage() or "too late" in record.getMessage()
        if unsaid or not isinstance(error, MeantError | None):
            self.found.append((record.getMessage(), error))

    def hear(self, _: object, context: dict[str, Any]) -> None:
        """Hear of one from the loop."""
        self.found.append(context)


class Story:
    """What happens, by the dice.

    Attributes:
        pace: the seconds that a hook takes, on the average.
        trouble: how likely it fails.
    """

    def __init__(self, seed: int) -> None:
        self.dice = dice = random.Random(seed)
        self.loop = loop = VirtualLoop(
            dice, disk=dice.choice([0.001, 0.1, 1.0]), latency=dice.choice([0.0001, 0.02, 0.2])
        )
        loop.pieces = dice.choice([1, 2, 5])
        loop.window = dice.choice([100, 5_000, 200_000, float("inf")])
        loop.broken = dice.choice([0.0, 0.2, 0.7])
        loop.within = dice.choice([0.3, 3.0, 60.0])
        loop.stalling = dice.choice([0.0, 0.3])
        loop.tick = dice.choice([0.0, 0.01, 0.2])
        self.pace = dice.choice([0.0, 0.01, 1.0])
        self.trouble = dice.choice([0.0, 0.05, 0.2])
        self.cancelling = dice.choice([0.0, 0.2, 0.5])
        self.tls = dice.choice(["", "", "", "implicit", "start"])
        self.kind = dice.choice(["hooks", "events", "threads", "plain"])
        self.most = dice.choice([1, 3, 1000])
        self.most_here = dice.choice([2, 1000])
        self.calm = dice.random() < 0.2
        if self.calm:
            loop.broken = self.trouble = self.cancelling = 0.0
            self.most = self.most_here = 1000
        self.sessions = 0
        self.servers: list[Any] = []
        self.port = 0

    async def pause(self) -> None:
        """Take some time, or none, or more than anybody waits for."""
        if self.pace:
            slow = self.dice.random() < self.trouble / 10
            await asyncio.sleep(5_000.0 if slow else self.dice.expovariate(1 / self.pace))

    async def think(self) -> None:
        """Take the time that a hook does, unless it is cancelled by what it waits for."""
        await self.pause()
        if self.dice.random() < self.trouble / 10:
            raise asyncio.CancelledError

    def fail(self) -> None:
        """Fail now and then."""
        chance = self.dice.random()
        if chance < self.trouble / 3:
            raise MeantError
        if chance < self.trouble * 2 / 3:
            raise Reject(550, "No", "5.7.1")
        if chance < self.trouble:
            raise Reject(451, "Later", "4.7.1")

    def enter(self) -> None:
        """Count a session, for the caps."""
        self.sessions += 1
        assert self.sessions <= min(self.most, self.most_here)

    def leave(self) -> None:
        """Count it off."""
        self.sessions -= 1

    def where(self) -> dict[str, Any]:
        """Return how a client finds the server, and a server is found."""
        policy = {"": aio.TLSPolicy.NONE, "implicit": aio.TLSPolicy.IMPLICIT, "start": aio.TLSPolicy.REQUIRED}
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "tls": policy[self.tls],
            "context": _contexts()[0] if self.tls else None,
        }

    async def serve(self, kind: type[Any], handler: Any, config: Any = None) -> None:
        """Start a server, where the last one was if there was one."""
        options = aio.ServerOptions(max_connections=self.most, max_per_address=self.most_here, grace=GRACE)
        server = kind(
            handler,
            port=self.port,
            tls=_contexts()[1] if self.tls else None,
            implicit_tls=self.tls == "implicit",
            config=config,
            options=options,
        )
        await server.start()
        self.port = server.port
        self.servers.append(server)

    async def close(self) -> None:
        """Close the server that runs, with the grace that it has or less; that may be cut off."""
        begun, grace = self.loop.time(), self.dice.choice([None, 0.0, 1.0])
        try:
            async with asyncio.timeout(self.dice.uniform(0, 3) if self.dice.random() < self.cancelling else None):
                await self.servers[-1].close(grace)
        except TimeoutError:
            await self.servers[-1].close(0)
        assert self.loop.time() - begun <= (GRACE if grace is None else grace) + LONGEST_CLOSE

    async def some_time(self, work: Awaitable[Any]) -> bool:
        """Do something; return False if it was cancelled on the way, one way or another."""
        way = self.dice.random()
        task = asyncio.ensure_future(work)
        if way >= self.cancelling:
            await task
            return True
        patience = self.dice.choice([0.0, 0.01, 0.5, 5.0]) * self.dice.random()
        if way < self.cancelling / 2:
            try:
                async with asyncio.timeout(patience):
                    await task
            except TimeoutError:
                return False
            return True
        await asyncio.wait([task], timeout=patience)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return False
        return True


# SMTP.


class Inbox:
    """Takes messages, in one of several ways."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self.taken: Counter[bytes] = Counter()

    def take(self, content: bytes) -> None:
        self._story.fail()
        self.taken[content] += 1


class Hooks(Inbox):
    """With coroutines."""

    async def on_connect(self, session: Any) -> None:
        self._story.enter()
        session.state["entered"] = True
        await self._story.think()
        self._story.fail()

    async def on_rcpt(self, session: Any, rcpt: Any) -> None:
        await self._story.think()
        self._story.fail()

    async def on_message(self, session: Any, envelope: Any) -> None:
        await self._story.think()
        self.take(bytes(envelope))

    def on_close(self, session: Any) -> None:
        if session.state.get("entered"):
            self._story.leave()


class Plain(Inbox):
    """With functions, which may run in threads."""

    def on_rcpt(self, session: Any, rcpt: Any) -> None:
        self._story.fail()

    def on_message(self, session: Any, envelope: Any) -> None:
        self.take(bytes(envelope))


class EventLoop(Inbox):
    """Over the events."""

    async def __call__(self, session: aio.SMTPEventSession) -> None:
        self._story.enter()
        try:
            await self._handle(session)
        finally:
            self._story.leave()

    async def _handle(self, session: aio.SMTPEventSession) -> None:
        pieces: list[bytes] = []
        while (event := await self._next(session)) is not None:
            if isinstance(event, MessageChunk):
                pieces.append(event.data)
            elif isinstance(event, MessageEnd):
                content, pieces = b"".join(pieces), []
                await self._story.pause()
                self.take(content)
                session.accept()
            elif session.conn.pending is not None:
                await self._story.pause()
                session.accept()
            else:
                pieces = []

    async def _next(self, session: aio.SMTPEventSession) -> object:
        """Return the next event; do not wait for it long, and go on all the same."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(
                self._story.pace if self._story.dice.random() < self._story.cancelling else None
            ):
                return await anext(session, None)
        return await self._next(session)


def make_inbox(story: Story) -> tuple[Inbox, Any]:
    """Return an inbox, and it as a handler."""
    if story.kind == "hooks":
        return (hooks := Hooks(story)), hooks
    if story.kind == "events":
        return (events := EventLoop(story)), events.__call__
    plain = Plain(story)
    return plain, InThreads(plain, "on_rcpt", "on_message") if story.kind == "threads" else plain


class Mail:
    """The messages of a story, and what was told of each: its outcome, or None for one of which nothing was."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self.told: dict[bytes, Outcome | None] = {}

    def new(self) -> bytes:
        dice = self._story.dice
        lines = [b"." * dice.randrange(4) + b"x" * dice.randrange(80) for _ in range(dice.choice([0, 3, 30, 2000]))]
        content = b"".join(line + b"\r\n" for line in (b"Subject: %d" % len(self.told), b"", *lines))
        self.told[content] = None
        return content

    def tell(self, content: bytes, result: SendResult) -> None:
        (own,) = result.recipients
        self.told[content] = own.outcome

    async def send(self, send: Callable[..., Awaitable[SendResult]]) -> None:
        """Send one message."""
        content = self.new()
        message: Any = content
        if self._story.dice.random() < 0.2:
            message = self._slowly(content)
        await self._story.some_time(self._send(send, content, message))

    async def _slowly(self, content: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(content), 5000):
            await self._story.pause()
            yield content[start : start + 5000]

    async def _send(self, send: Callable[..., Awaitable[SendResult]], content: bytes, message: Any) -> None:
        try:
            result = await send(message, "ada@a.example", "bob@b.example")
        except (MailProtoError, OSError):
            self.told[content] = Outcome.DEFERRED
        else:
            self.tell(content, result)

    def judge(self, taken: Counter[bytes]) -> None:
        """See that all that was told is true."""
        assert taken.keys() <= self.told.keys(), "taken as nobody has sent it"
        for content, outcome in self.told.items():
            assert outcome is Outcome.ACCEPTED or not self._story.calm
            few, many = {Outcome.ACCEPTED: (1, 1), Outcome.UNKNOWN: (0, 1), None: (0, 1)}.get(outcome, (0, 0))
            assert few <= taken[content] <= many, (content[:20], outcome, taken[content])


class Rude(asyncio.Protocol):
    """A client that says all at once, with a word behind QUIT, reads when it likes, and leaves in its own way."""

    def __init__(self, story: Story, mail: Mail) -> None:
        self._story = story
        self._mail = mail
        self.gone = story.loop.create_future()

    def connection_made(self, transport: Any) -> None:
        dice = self._story.dice
        said = [b"EHLO rude\r\n"]
        for _ in range(dice.randrange(5)):
            stuffed = b"".join(
                b"." * line.startswith(b".") + line for line in self._mail.new().splitlines(keepends=True)
            )
            said += [b"MAIL FROM:<>\r\nRCPT TO:<bob@b.example>\r\nDATA\r\n", stuffed, b".\r\n"]
        said += dice.choice([[], [b"QUIT\r\n"], [b"QUIT\r\nNOOP\r\n"], [b"NOOP\r\n"] * 20_000])
        transport.write(b"".join(said))
        if dice.random() < 0.5:
            transport.pause_reading()
        end = dice.choice([transport.write_eof, transport.close, transport.abort, transport.resume_reading])
        self._story.loop.call_later(dice.expovariate(1.0), end)
        self._story.loop.call_later(2_000, transport.abort)

    def connection_lost(self, error: Exception | None) -> None:
        self.gone.set_result(None)


async def send_rudely(story: Story, mail: Mail) -> None:
    """Be a rude client."""
    sock = socket.socket()
    try:
        await story.loop.sock_connect(sock, ("127.0.0.1", story.port))
    except OSError:
        sock.close()
        return
    _, rude = await story.loop.create_connection(lambda: Rude(story, mail), sock=sock)
    await rude.gone


async def send_some(story: Story, mail: Mail) -> None:
    """Send messages over one connection, one by one or several at once."""
    client = aio.SMTPClient(**story.where())
    closing = asyncio.ensure_future(close_some_time(story, client))
    with contextlib.suppress(MailProtoError, OSError):
        if not await story.some_time(client.connect()):
            await closing
            return
        for _ in range(story.dice.randrange(5)):
            if story.dice.random() < 0.5:
                await mail.send(client.send_message)
            else:
                await story.some_time(send_several(story, mail, client))
        if story.dice.random() < 0.7:
            await story.some_time(client.quit())
    await closing
    assert client._link is None or client._link._transport.is_closing()


async def close_some_time(story: Story, client: aio.SMTPClient) -> None:
    """Close a client, which may be in the middle of something."""
    await asyncio.sleep(LONGEST / 2 if story.calm else story.dice.choice([0.1, 10.0, 1_000.0]) * story.dice.random())
    await client.close()


async def send_several(story: Story, mail: Mail, client: aio.SMTPClient) -> None:
    contents = [mail.new() for _ in range(story.dice.randint(1, 30))]
    results = await client.send_messages(make_submission(each, "ada@a.example", "bob@b.example") for each in contents)
    for content, result in zip(contents, results, strict=True):
        mail.tell(content, result)


async def send_by_pool(story: Story, mail: Mail) -> None:
    """Send from many tasks over a pool, which may be closed meanwhile."""
    options = PoolOptions(
        max_connections=story.dice.randint(1, 4),
        max_messages=story.dice.choice([1, 3, 100]),
        max_idle=story.dice.choice([0.0, 1.0, 60.0]),
        messages_per_second=story.dice.choice([None, 2.0]),
    )
    pool = aio.SMTPPool(lambda: aio.SMTPClient(**story.where()), options)
    tasks = []
    for _ in range(story.dice.randrange(15)):
        tasks.append(asyncio.ensure_future(mail.send(pool.send_message)))
        await asyncio.sleep(story.dice.choice([0.0, 1.0]) * story.dice.random())
    if story.dice.random() < 0.5:
        await asyncio.gather(*tasks)
    await story.some_time(pool.close())
    await asyncio.gather(*tasks)
    await pool.close()


async def tell_smtp(story: Story) -> None:
    """Tell a story of mail that is sent."""
    inbox, handler = make_inbox(story)
    mail = Mail(story)
    await story.serve(aio.SMTPServer, handler)
    clients = []
    for _ in range(story.dice.randint(1, 8)):
        rude = [] if story.tls or story.calm else [send_rudely]
        clients.append(asyncio.ensure_future(story.dice.choice([send_some, send_by_pool, *rude])(story, mail)))
        await asyncio.sleep(story.dice.choice([0.0, 1.0, 10.0]) * story.dice.random())
        if story.dice.random() < 0.2 and not story.calm:
            await story.close()
            await story.serve(aio.SMTPServer, handler)
    await asyncio.wait_for(asyncio.gather(*clients), LONGEST)
    await story.close()
    await asyncio.sleep(LONGEST)
    mail.judge(inbox.taken)


# POP3.


class Drop(MemoryMaildrop):
    """A maildrop that remembers what was in it, and what has been deleted."""

    def __init__(self) -> None:
        super().__init__()
        self.deleted: set[str] = set()

    def _remove(self, uids: Any) -> None:
        uids = list(uids)
        self.deleted.update(uids)
        super()._remove(uids)


class Office:
    """Opens the one maildrop that there is, and takes its time."""

    def __init__(self, story: Story, drop: Drop) -> None:
        self._story = story
        self._drop = drop

    async def on_connect(self, session: Any) -> None:
        self._story.enter()
        session.state["entered"] = True
        await self._story.think()

    async def on_auth(self, session: Any, check: Any) -> bool:
        await self._story.think()
        return True

    async def on_login(self, session: Any) -> MemorySnapshot:
        await self._story.think()
        return self._drop.open()

    async def on_commit(self, session: Any, deleted: Any) -> None:
        await self._story.think()
        self._story.fail()
        session.snapshot.commit(deleted)

    def on_close(self, session: Any) -> None:
        if session.state.get("entered"):
            self._story.leave()


class Blocking:
    """The same with functions, for threads."""

    def __init__(self, story: Story, drop: Drop) -> None:
        self._story = story
        self._drop = drop

    def on_auth(self, session: Any, check: Any) -> bool:
        return True

    def on_login(self, session: Any) -> MemorySnapshot:
        return self._drop.open()

    def on_retrieve(self, session: Any, number: int) -> Any:
        return session.snapshot.retrieve(number)

    def on_commit(self, session: Any, deleted: Any) -> None:
        self._story.fail()
        session.snapshot.commit(deleted)


class Reader:
    """Somebody who fetches mail."""

    def __init__(self, story: Story, drop: Drop, contents: dict[str, bytes]) -> None:
        self._story = story
        self._drop = drop
        self._contents = contents
        self.may_be_deleted: set[str] = set()
        self.is_deleted: set[str] = set()

    def client(self) -> aio.POP3Client:
        return aio.POP3Client(user="ada", password="secret", allow_plaintext_auth=True, **self._story.where())

    async def fetch(self) -> None:
        """Fetch some, and delete some."""
        client = self.client()
        marked: set[str] = set()
        with contextlib.suppress(MailProtoError, OSError):
            if not await self._story.some_time(client.connect()):
                return
            await self._story.some_time(self._read(client, marked))
            if self._story.dice.random() < 0.7:
                self.may_be_deleted |= marked
                if await self._story.some_time(client.quit()):
                    assert marked <= self._drop.deleted
        await client.close()

    async def _read(self, client: aio.POP3Client, marked: set[str]) -> None:
        async for message in client.messages():
            assert message.uid is not None
            if self._story.dice.random() < 0.8:
                assert await message.read() == self._contents[message.uid]
            if self._story.dice.random() < 0.3:
                marked.add(message.uid)
                await message.delete()
            await self._story.pause()


class Keeper(Reader):
    """Somebody who has a ledger."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.ledger = SQLiteLedger(":memory:", "ada")
        self.kept: dict[str, bytes] = {}

    def store(self, note: Note, content: Any) -> None:
        self._story.fail()
        whole = b"".join(content)
        assert whole == self._contents[note.key]
        self.kept[note.key] = whole

    async def fetch(self) -> None:
        client = self.client()
        policy = KeepPolicy(keep=self._story.dice.random() < 0.5, limit=self._story.dice.choice([None, 3]))
        with contextlib.suppress(MailProtoError, OSError, MeantError, Reject):
            if not await self._story.some_time(client.connect()):
                return
            await self._story.some_time(client.fetch_new(self.ledger, self.store, policy))
            if not policy.keep:
                self.may_be_deleted |= self.kept.keys()
            await self._story.some_time(client.quit())
        await client.close()


async def tell_pop3(story: Story) -> None:
    """Tell a story of mail that is fetched."""
    drop = Drop()
    contents: dict[str, bytes] = {}
    for number in range(story.dice.choice([0, 5, 40])):
        body = b".%d\r\n" % number * story.dice.choice([0, 10, 20_000])
        contents[drop.deliver([b"Subject: %d\r\n\r\n" % number, body])] = b"Subject: %d\r\n\r\n" % number + body
    office: Any = Office(story, drop)
    if story.kind == "threads":
        office = InThreads(Blocking(story, drop), "on_auth", "on_login", "on_retrieve", "on_commit")
    await story.serve(aio.POP3Server, office, POP3_CONFIG)
    readers = (Reader(story, drop, contents), Keeper(story, drop, contents))
    tasks: list[asyncio.Task[None]] = []
    for _ in range(story.dice.randint(2, 12)):
        tasks.append(story.loop.create_task(story.dice.choice(readers).fetch()))
        if story.dice.random() < 0.7:
            await asyncio.wait(tasks)
        if story.dice.random() < 0.15:
            await story.close()
            await story.serve(aio.POP3Server, office, POP3_CONFIG)
    await asyncio.wait_for(asyncio.gather(*tasks), LONGEST)
    await story.close()
    await asyncio.sleep(LONGEST)
    readers[1].ledger.close()
    assert drop.deleted <= readers[0].may_be_deleted | readers[1].may_be_deleted
    drop.open().close()  # nobody has it locked


def play(seed: int) -> None:
    """Have it all happen, and see what is left."""
    story = Story(seed)
    errors = Errors()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        patch.setattr(logging.getLogger("mailproto"), "handlers", [errors])
        story.loop.set_exception_handler(errors.hear)
        with asyncio.Runner(loop_factory=lambda: story.loop) as runner:
            runner.run(tell_pop3(story) if story.dice.random() < 0.4 else tell_smtp(story))
            assert not asyncio.all_tasks(story.loop)
        assert not story.loop.pipes
        assert not story.loop.timers
        assert story.sessions == 0
        for server in story.servers:
            admission = server._admission
            assert not (server.connections or admission._total or admission._counts or server._clients)
        story.loop.close()
        gc.collect()
    assert not errors.found, errors.found
    assert not warned, [str(each.message) for each in warned]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_is_told_is_true_whatever_happens(seed: int) -> None:
    """Nothing that was accepted is lost, nothing comes twice, nothing waits for ever, and nothing is left behind."""
    play(seed)
