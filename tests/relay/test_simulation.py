"""Whatever takes however long: the disk, the hosts, the operator, and a relay that ends on the way. A loop with a
clock of its own (`virtual`) plays many a day in a second, and the same one again for the same seed.

What there is: a domain whose hosts are as moody as can be, one whose host is well at all times, but has its limits,
and the sender's, where notices go.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mailproto.address import Address
from mailproto.errors import Reject
from mailproto.relay import Attempt, Entry, Fate, Order, Orders, Queue, Relay, Schedule
from mailproto.smtp import Envelope, Rcpt, Reply
from mailproto.smtp.routing import MX, StaticResolver
from mailproto.smtp.rules import ServerState
from tests.relay import START, WORDS, World, read_notice
from tests.virtual import SlowThread, VirtualLoop

SEEDS = 50
STORM = 120.0  # seconds
HOSTS = ("mx1.example.net", "mx2.example.net", "mx.example.com", "home")
PEOPLE = [Address(name, domain) for domain in ("example.net", "example.com") for name in ("ada", "bob", "eve")]
SCHEDULE = Schedule(first_hour=60, later=120)
GRACE = 5.0

Fates = Counter[tuple[str, str]]  # of a message for a recipient


class Place:
    """A mail host.

    Attributes:
        calm: whether nothing is ever wrong with it; there are limits to what it takes at a time all the same.
        trouble: how likely it is at each step.
        touchy: whether there are messages at which it always hangs up.
        said: what it has ever said but yes.
        known: what it has taken, and for whom, or was told by notices to have failed, for whom.
        perhaps: the same, where its client may not know that it has.
    """

    def __init__(self, story: Story, *, calm: bool) -> None:
        self._story = story
        self._dice = story.dice
        self.calm = calm
        self.trouble = 0.0 if calm else self._dice.choice([0.0, 0.03, 0.1, 0.3])
        self.touchy = not calm and self._dice.random() < 0.3
        self._most = self._dice.choice([1, 2, 3, 1000])  # messages on a connection
        self._recipients = self._dice.choice([1, 2, 1000])
        self._connections = self._dice.choice([1, 2, 1000])
        self._says_so_late = self._dice.random() < 0.5
        self._sessions: set[Any] = set()
        self.said: set[int] = set()
        self.known, self.perhaps = Fates(), Fates()

    async def on_connect(self, session: Any) -> Reply | None:
        session.state["count"] = 0
        session.state["perhaps"] = Fates()
        await self._pause()
        said = self._says(session, "busy", "never", "gone")
        if said is None and sum(not each.conn.over for each in self._sessions) >= self._connections:
            if not self._says_so_late:
                return WORDS["busy"]
            session.state["count"] = self._most
        else:
            self._sessions.add(session)
        return said

    async def on_mail(self, session: Any, _: object) -> None:
        self._is_still_there(session)
        await self._pause()
        session.state["count"] += 1
        if session.state["count"] > self._most:
            session.conn.reply(WORDS["busy"])
        else:
            self._refuse(session, "busy", "later", "never", "gone")

    async def on_rcpt(self, session: Any, _: Rcpt) -> None:
        if len(session.envelope.recipients) >= self._recipients:
            raise Reject(452, "Too many", "4.5.3")
        self._refuse(session, "busy", "later", "many", "never", "full", "gone")

    async def on_data(self, session: Any, _: object) -> None:
        await self._pause()
        self._refuse(session, "busy", "later", "never", "gone")

    async def on_message(self, session: Any, envelope: Envelope) -> Reply | None:
        await self._pause()
        content = bytes(envelope)
        subject = content.rpartition(b"Subject: ")[2].partition(b"\r\n")[0].decode()
        if self.touchy and int(subject[1:]) % 5 == 0:
            return WORDS["busy"]
        said = self._says(session, "busy", "later", "never", "full", "gone")
        if said is not None:
            return said
        fates = Fates((subject, str(address)) for address in envelope.forward_paths)
        if envelope.reverse_path is None:
            _, (_, *groups) = read_notice(content)
            failed = (group["Final-Recipient"] for group in groups if group["Action"] == "failed")
            fates = Fates((subject, each.removeprefix("rfc822; ")) for each in failed)
        session.state["perhaps"] += fates
        await self._pause()
        return None

    def on_close(self, session: Any) -> None:
        self._sessions.discard(session)
        if session.conn.state is ServerState.CLOSED and session.conn._farewell == "":  # by QUIT
            self._is_still_there(session)
        if "perhaps" in session.state:
            self.perhaps += session.state["perhaps"]

    def _is_still_there(self, session: Any) -> None:
        """Note that a client goes on: it knows what was said before, and so does its disk."""
        self.known += session.state["perhaps"]
        session.state["perhaps"] = Fates()

    async def _pause(self) -> None:
        await asyncio.sleep(self._story.pause())

    def _says(self, session: Any, *words: str) -> Reply | None:
        if self._dice.random() >= self.trouble:
            return None
        word = self._dice.choice(words)
        if word == "gone":
            session.drop()
            return None
        self.said.add(WORDS[word].code)
        return WORDS[word]

    def _refuse(self, session: Any, *words: str) -> None:
        reply = self._says(session, *words)
        if reply is not None and reply.code == 421:
            session.conn.reply(reply)
        elif reply is not None:
            raise Reject(reply.code, reply.text, str(reply.enhanced))


class Disk(Queue):
    """A queue on a disk that fails now and then, which sees what is noted there.

    Attributes:
        failures: how likely it fails.
        reliable: whether it never does.
        complaints: what should not have been noted.
    """

    def __init__(self, story: Story) -> None:
        super().__init__(story.world.queue.path)
        self._story = story
        self.failures = story.dice.choice([0.0, 0.0, 0.0, 0.02, 0.1])
        self.reliable = not self.failures
        self.complaints: list[Entry] = []
        self.orders = Book(self)

    def names(self) -> list[str]:
        self._work()
        return super().names()

    def load(self, name: str) -> Entry | None:
        self._work()
        return super().load(name)

    def add(self, entry: Entry, content: Any) -> None:
        self._work()
        super().add(entry, content)

    def save(self, entry: Entry) -> None:
        self._work()
        if not entry.attempts and entry.recipients:
            self.expect_due(entry)
        super().save(entry)

    def expect_due(self, entry: Entry) -> None:
        """Complain if a message is put off."""
        if self.reliable and entry.due > self._story.now():
            self.complaints.append(entry)

    def _work(self) -> None:
        if self._story.dice.random() < self.failures:
            raise OSError(self._story.dice.choice([errno.ENOSPC, errno.EIO]), "not now")


class Book(Orders):
    """The orders, and that none to try a message is forgotten before it is due."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk.path / "orders")
        self._disk = disk

    def forget(self, name: str, order: Order) -> None:
        if order is Order.RETRY and (entry := Queue.load(self._disk, name)) is not None:
            self._disk.expect_due(entry)
        super().forget(name, order)


class Names(StaticResolver):
    """A DNS that takes its time."""

    story: Story

    async def mx(self, domain: str) -> Any:
        await asyncio.sleep(self.story.pause())
        return await super().mx(domain)


class Story:
    """What happens, by the dice.

    Attributes:
        pace: the seconds that a host takes for something, on the average.
        told: what the relay has told.
        sent: for whom each message is.
        may_be_removed: those of which that was ordered.
        may_be_silent: whether one may be removed without a word: its relay was cut off, or could not read it.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.pace = self.dice.choice([0.01, 0.1, 0.5])
        self.world = World(folder)
        self.disk = Disk(self)
        self.loop = VirtualLoop(
            self.dice, disk=self.dice.choice([0.001, 0.02, 0.1]), latency=self.dice.choice([0.001, 0.05, 0.2])
        )
        self.places = {name: Place(self, calm=name in ("mx.example.com", "home")) for name in HOSTS}
        self.told: list[Attempt] = []
        self.sent: dict[str, list[Address]] = {}
        self.may_be_removed: set[str] = set()
        self.may_be_silent = not self.disk.reliable
        self.running: asyncio.Task[None] | None = None

    def now(self) -> float:
        """Return the time of the Unix clock."""
        return START + self.loop.time()

    def pause(self) -> float:
        """Return how long somebody takes for something."""
        return self.dice.expovariate(1 / self.pace)

    async def tell(self) -> None:
        """Have it happen, and in the end everything well again."""
        self.world.queue = Queue(self.world.queue.path)
        async with contextlib.AsyncExitStack() as hosts:
            for name, place in self.places.items():
                await hosts.enter_async_context(self.world.host(name, place))
                if place.calm:
                    self.loop.solid.add(self.world.ports[name])
            self.relay = self._new_relay()
            self._start()
            end = self.loop.time() + STORM
            busy = self.dice.choice([1.0, 3.0, 15.0])
            while self.loop.time() < end:
                await asyncio.sleep(self.dice.expovariate(1 / busy))
                await self._happen()
            self.disk.failures = self.loop.broken = 0.0
            for place in self.places.values():
                place.trouble, place.touchy = 0.0, False
            await self._until_done()
            await self._stop()

    async def _happen(self) -> None:
        what = self.dice.random()
        if what < 0.6 and len(self.sent) < 80:
            for _ in range(self.dice.choice([1, 1, 2, 10])):
                self._put()
        elif what < 0.85 and self.sent:
            name, order = self.dice.choice(list(self.sent)), self.dice.choice(list(Order))
            if order is Order.REMOVE:
                self.may_be_removed.add(name)
            self.world.queue.orders.give(name, order)
        elif what < 0.92:
            await self._stop()
            await self._restart()
            if self.dice.random() < 0.5:
                await self._stop()
                await self._restart()
        elif what < 0.96:
            self.may_be_silent = True
            await self._cancel()
            await self._restart()

    def _put(self) -> None:
        people = self.dice.sample(PEOPLE, self.dice.randint(1, 3))
        name = f"m{len(self.sent) + 1:04}"
        self.world.now = self.now()
        assert self.world.put(*people, message=f"Subject: {name}\r\n\r\n".encode()) == name
        self.sent[name] = people
        if self.dice.random() < 0.8:
            self.relay.wake(name)

    def _start(self) -> None:
        self.stopped = False
        self.running = self.loop.create_task(self._run())

    async def _run(self) -> None:
        while not self.stopped:
            try:
                await self.relay.run()
            except OSError:  # at the beginning, as it may
                await asyncio.sleep(1)
            else:
                return

    async def _stop(self) -> None:
        assert self.running is not None
        begun = self.loop.time()
        self.stopped = True
        self.relay.stop()
        await self.running
        self.may_be_silent |= self.loop.time() - begun >= GRACE
        assert self.loop.time() - begun < GRACE + 2, "it does not stop"

    async def _cancel(self) -> None:
        assert self.running is not None
        self.running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.running

    async def _restart(self) -> None:
        await asyncio.sleep(10)  # so that every host has seen the last one go
        if not self.relay._disk._unsaved and self.dice.random() < 0.7:
            self.relay = self._new_relay()
        self._start()

    async def _until_done(self) -> None:
        end = self.loop.time() + 2000
        while self.world.queue.names() or self.world.queue.orders.given():
            assert self.running is not None
            assert not self.running.done(), self.running
            await asyncio.sleep(10)
            assert self.loop.time() < end, "somebody starves"

    def _new_relay(self) -> Relay:
        names = {name: ["127.0.0.1"] for name in HOSTS}
        net = [MX(1, "mx1.example.net"), MX(2, "mx2.example.net")]
        mx = {"example.net": net, "example.com": [MX(1, "mx.example.com")], "example.org": [MX(1, "home")]}
        resolver = Names(mx, names)
        resolver.story = self
        relay = self.world.relay(
            resolver,
            clock=self.now,
            schedule=SCHEDULE,
            grace=GRACE,
            attempt_timeout=self.dice.choice([30.0, 1800.0]),
            on_attempt=self.told.append,
            max_connections=self.dice.choice([1, 2, 10]),
            turn=self.dice.choice([0.0, 10.0]),
        )
        return Relay(self.disk, relay._config)


class Errors(logging.Handler):
    """The mistakes of the program's that are only logged."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[object] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(record.exc_info)

    def hear(self, _: object, context: dict[str, Any]) -> None:
        """Hear of one from the loop; not of a disk that fails when a run is cancelled, and waits for it no more."""
        if not isinstance(context.get("exception"), OSError):
            self.found.append(context)


def play(seed: int, folder: Path) -> None:
    """Have it all happen, and see what has become of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", bool)
        patch.setattr("mailproto.relay.disk.ThreadPoolExecutor", SlowThread)
        patch.setattr("mailproto.relay.relay._POLL", 20.0)
        patch.setattr("mailproto.relay.relay._POLL_ORDERS", 3.0)
        story = Story(folder, seed)
        patch.setattr("mailproto.relay.lane._MANY", story.dice.choice([1, 3, 25]))
        patch.setattr("mailproto.relay.lane._OPEN", story.dice.choice([2.0, 600.0]))
        patch.setattr("mailproto.relay.dispatch._MAX_ACTIVE", story.dice.choice([4, 10, 1000]))
        story.loop.broken = story.dice.choice([0.0, 0.0, 0.1])
        errors = Errors()
        patch.setattr(logging.getLogger("mailproto"), "handlers", [errors])
        story.loop.set_exception_handler(errors.hear)
        with asyncio.Runner(loop_factory=lambda: story.loop) as runner:
            runner.run(story.tell())
            assert not story.loop.pipes
            assert not asyncio.all_tasks(story.loop)
        left = {path.name for path in story.disk.path.rglob("*") if path.is_file()}
    assert left == {"lock"}
    assert not errors.found, errors.found
    judge(story)


def judge(story: Story) -> None:
    """See that each recipient of each message has one fate, and that it is just."""
    assert not story.disk.complaints, story.disk.complaints
    disk, dispatcher, orders = story.relay._disk, story.relay._dispatcher, story.relay._orders
    assert not any((dispatcher.active, dispatcher._rounds, disk._unsaved, orders._known, dispatcher._waiting))
    fates = [(place.known, place.perhaps) for place in story.places.values()]
    known, perhaps = (sum(each, Fates()) for each in zip(*fates, strict=True))
    removed = Fates((each.queue_id, str(each.recipient)) for each in story.told if each.fate is Fate.REMOVED)
    for name, people in story.sent.items():
        for address in people:
            key = name, str(address)
            certain = known[key] + removed[key]
            unsure = perhaps[key] or (name in story.may_be_removed and story.may_be_silent)
            assert certain == 1 or (certain == 0 and unsure), (key, known[key], removed[key])
    for each in story.told:
        calm = each.recipient.domain in ("example.com", "example.org") and story.disk.reliable
        assert not (calm and each.fate is Fate.DEFERRED), each
        if each.fate is Fate.BOUNCED and each.host is not None:
            assert each.reply.code in story.places[each.host].said, each


@pytest.mark.parametrize("seed", range(SEEDS))
def test_nothing_depends_on_who_is_faster(seed: int, memory_path: Path) -> None:
    """Nothing is lost, nor comes twice, nor is put off for no reason, and nobody waits for ever; a relay that is
    stopped stops, and leaves nothing behind."""
    play(seed, memory_path)
