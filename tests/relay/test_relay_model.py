"""Whatever happens to a relay, in whichever order: each recipient gets a message once, or its sender hears that he
did not, or an operator has removed it. Nothing else becomes of it, and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproto.address import Address
from mailproto.aio import TLSPolicy
from mailproto.errors import Reject
from mailproto.relay import Attempt, Entry, Fate, Order, Queue, Relay, Route
from mailproto.smtp import Envelope, Rcpt, Reply
from mailproto.smtp.routing import MX, StaticResolver
from tests.adapters.harness import PATIENCE
from tests.relay import WORDS, World, read_notice

Step: TypeAlias = tuple[Any, ...]
Fates: TypeAlias = Counter[tuple[str, str]]  # of a message for a recipient

PEOPLE = [Address(name, domain) for domain in ("example.net", "store.example") for name in ("ada", "bob", "eve")]
PHASES = ("connect", "mail", "rcpt", "second", "end")
GOOD = ("", "")

HAPPENS: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("put"), st.lists(st.sampled_from(PEOPLE), min_size=1, unique=True)),
    st.tuples(
        st.just("mood"),
        st.sampled_from(["mx1", "mx2", "store"]),
        st.one_of(st.just(GOOD), st.tuples(st.sampled_from(PHASES), st.sampled_from(["gone", *WORDS]))),
    ),
    st.tuples(st.just("clock"), st.sampled_from([1800.0, 7200.0, 5 * 86400.0, 1e8, -3600.0, -1e8])),
    st.tuples(st.just("order"), st.integers(0, 9), st.sampled_from(Order)),
    st.tuples(st.just("fail"), st.integers(1, 3)),
)
STEPS: st.SearchStrategy[Step] = st.one_of(
    HAPPENS,
    st.just(("due",)),
    st.just(("restart",)),
    st.tuples(st.just("run"), st.lists(HAPPENS, max_size=4)),
)


class Place:
    """Where mail arrives. In a mood it goes away in one phase, or says then that it does not want what comes.

    Attributes:
        taken: what it has taken, for whom.
        perhaps: that of which it went away when it was to say so.
        failed: what it was told by notices to have failed.
    """

    def __init__(self) -> None:
        self.mood = GOOD
        self.taken, self.perhaps, self.failed = Fates(), Fates(), Fates()

    def on_connect(self, session: Any) -> Reply | None:
        return self._says(session, "connect")

    async def on_mail(self, session: Any, _: object) -> None:
        await asyncio.sleep(0.001)
        self._refuse(session, "mail")

    def on_rcpt(self, session: Any, _: Rcpt) -> None:
        self._refuse(session, "second" if session.envelope.recipients else "rcpt")

    def take(self, session: Any, envelope: Envelope, to: list[Address]) -> Reply | None:
        """Take a message for them, or not."""
        content = bytes(envelope)
        subject = content.rpartition(b"Subject: ")[2].partition(b"\r\n")[0].decode()
        said = self._says(session, "end")
        if envelope.reverse_path is None:
            _, (_, *groups) = read_notice(content)
            failed = (group["Final-Recipient"] for group in groups if group["Action"] == "failed")
            self.failed.update((subject, each.removeprefix("rfc822; ")) for each in failed)
        elif said is None:
            taken = self.taken if self.mood[0] != "end" else self.perhaps
            taken.update((subject, str(address)) for address in to)
        return said

    def _says(self, session: Any, phase: str) -> Reply | None:
        if self.mood[0] != phase:
            return None
        if self.mood[1] == "gone":
            session.drop()
        return WORDS.get(self.mood[1])

    def _refuse(self, session: Any, phase: str) -> None:
        reply = self._says(session, phase)
        if reply is not None:
            raise Reject(reply.code, reply.text, str(reply.enhanced))


class MailHost(Place):
    def on_message(self, session: Any, envelope: Envelope) -> Reply | None:
        return self.take(session, envelope, envelope.forward_paths)


class Store(Place):
    """One with LMTP."""

    def on_delivery(self, session: Any, envelope: Envelope, rcpt: Rcpt) -> Reply | None:
        return self.take(session, envelope, [rcpt.address])


class Disk(Queue):
    """A queue on a disk that has failures before it."""

    failures = 0

    def save(self, entry: Entry) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError(errno.ENOSPC, "full")
        super().save(entry)


class Story:
    """A relay, the world, and what has happened."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.world.queue = self.disk = Disk(self.world.queue.path)
        self.places: dict[str, Place] = {name: MailHost() for name in ("mx1", "mx2", "home")} | {"store": Store()}
        self.told: list[Attempt] = []
        self.sent: dict[str, list[Address]] = {}

    async def tell(self, steps: list[Step]) -> None:
        """Have it happen, and in the end everything well again."""
        async with contextlib.AsyncExitStack() as running:
            for name, place in self.places.items():
                await running.enter_async_context(self.world.host(f"{name}.example", place, lmtp=name == "store"))
            self.relay = self._new_relay()
            for what, *arguments in steps:
                await getattr(self, what)(*arguments)
            self.disk.failures = 0
            for place in self.places.values():
                place.mood = GOOD
            for _ in range(8):
                await self.due()
                self.world.now += 7200

    async def put(self, people: list[Address]) -> None:
        subject = f"m{len(self.sent) + 1:04}"
        assert self.world.put(*people, message=f"Subject: {subject}\r\n\r\n".encode()) == subject
        self.sent[subject] = people
        self.relay.wake(subject)

    async def mood(self, name: str, mood: tuple[str, str]) -> None:
        self.places[name].mood = mood

    async def clock(self, seconds: float) -> None:
        self.world.now += seconds

    async def order(self, number: int, order: Order) -> None:
        self.world.queue.orders.give(f"m{number:04}", order)

    async def fail(self, failures: int) -> None:
        self.disk.failures = failures

    async def due(self) -> None:
        await self.relay.attempt_due()

    async def restart(self) -> None:
        if not self.relay._disk._unsaved:  # what the disk has not taken is in its memory alone
            self.relay = self._new_relay()

    async def run(self, steps: list[Step]) -> None:
        running = asyncio.create_task(self.relay.run())
        for what, *arguments in steps:
            await asyncio.sleep(0.002)
            await getattr(self, what)(*arguments)
        await asyncio.sleep(0.002)
        self.relay.stop()
        await running

    def _new_relay(self) -> Relay:
        names = {f"{name}.example": ["127.0.0.1"] for name in self.places}
        mx = {"example.net": [MX(1, "mx1.example"), MX(2, "mx2.example")], "example.org": [MX(1, "home.example")]}
        store = Route("127.0.0.1", self.world.ports["store.example"], tls=TLSPolicy.NONE, lmtp=True)
        routes = {"store.example": store}
        return self.world.relay(StaticResolver(mx, names), routes=routes, on_attempt=self.told.append)


@settings(max_examples=30, deadline=None)
@given(st.lists(STEPS, min_size=4, max_size=20))
def test_each_recipient_has_one_fate(steps: list[Step]) -> None:
    async def in_time() -> None:
        async with asyncio.timeout(2 * PATIENCE):
            await story.tell(steps)

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailproto.relay.relay._POLL_ORDERS", 0.002)
        story = Story(Path(folder))
        asyncio.run(in_time())
        left = {path.name for path in story.disk.path.rglob("*") if path.is_file()}
    assert left == {"lock"}
    disk, dispatcher, orders = story.relay._disk, story.relay._dispatcher, story.relay._orders
    assert not any((dispatcher.active, dispatcher._rounds, disk._unsaved, orders._known))
    taken, perhaps, failed = Fates(), Fates(), Fates()
    for place in story.places.values():
        taken, perhaps, failed = taken + place.taken, perhaps + place.perhaps, failed + place.failed
    removed = Fates((each.queue_id, str(each.recipient)) for each in story.told if each.fate is Fate.REMOVED)
    for subject, people in story.sent.items():
        for address in people:
            key = subject, str(address)
            certain = taken[key] + failed[key] + removed[key]
            assert certain == 1 or (certain == 0 and perhaps[key]), (key, taken, failed, removed, perhaps)
