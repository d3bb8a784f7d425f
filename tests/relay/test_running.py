"""The run of a relay: what it finds, what it ends with, and that it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Mapping
from typing import Any

import pytest

from mailproto import aio
from mailproto.aio import TLSPolicy
from mailproto.errors import Reject
from mailproto.relay import Entry, Pending, Queue, QueueInUseError, Relay, Target
from mailproto.relay.job import Job
from mailproto.relay.lanes import Lanes
from mailproto.relay.round import Round
from mailproto.relay.route import Way
from mailproto.smtp import Envelope, Rcpt, Reply
from mailproto.smtp.extensions import PIPELINING
from mailproto.smtp.notices import Action
from mailproto.smtp.routing import MX, StaticResolver
from tests.adapters.harness import PATIENCE
from tests.relay import (
    BOB,
    CAROL,
    DAN,
    ERIN,
    HOME,
    HOUR,
    LATER,
    MESSAGE,
    MX_NET,
    NO_SUCH_USER,
    START,
    Host,
    World,
    gathered,
    in_loop,
    run,
    table,
    until,
)


@in_loop
async def test_it_goes_on_until_it_is_stopped(world: World) -> None:
    """`Relay.run` sends what comes while it runs, whichever thread has put it there; and there is one alone."""
    host = Host()
    relay = world.relay(table(**MX_NET))
    async with world.host("mx.example.net", host):
        running = asyncio.create_task(relay.run())
        await asyncio.sleep(0.1)

        def add() -> None:
            relay.wake(world.put(BOB))

        for count in range(1, 4):
            threading.Thread(target=add).start()
            while len(host.envelopes) < count:
                await asyncio.sleep(0.01)
        with pytest.raises(QueueInUseError):
            await world.relay(table()).attempt_due()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        relay.wake("gone")  # which harms nobody
        await world.relay(table()).attempt_due()
    assert world.queue.names() == []


@in_loop
async def test_what_another_process_adds_is_found(world: World) -> None:
    host = Host()
    relay = world.relay(table(**MX_NET))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailproto.relay.relay._POLL", 0.02)
        async with world.host("mx.example.net", host):
            running = asyncio.create_task(relay.run())
            await asyncio.sleep(0.1)
            world.put(BOB)
            await until(lambda: host.envelopes)
            relay.stop()
            await running
    assert world.queue.names() == []


@in_loop
async def test_what_is_under_way_is_not_begun_once_more_by_who_looks_what_there_is(world: World) -> None:
    class Slow(Host):
        async def on_data(self, *_: object) -> None:
            await asyncio.sleep(0.2)

    host = Slow()
    relay = world.relay(table(**MX_NET))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailproto.relay.relay._POLL", 0.02)
        async with world.host("mx.example.net", host, extensions=(PIPELINING,)):
            name = world.put(BOB)
            running = asyncio.create_task(relay.run())
            await until(lambda: host.connections)
            relay.wake(name)
            await until(lambda: host.envelopes)
            await asyncio.sleep(0.3)
            relay.stop()
            await running
    assert host.received == [("bob@example.net", MESSAGE)]


@in_loop
async def test_what_came_while_the_clock_was_ahead(world: World) -> None:
    """It is not kept until that time, nor for so long."""
    host = Host(bob=LATER)
    async with world.host("mx.example.net", host):
        world.now = START + 1e9
        world.put(BOB)
        world.now = START
        await world.relay(table(**MX_NET)).attempt_due()
        (entry,) = world.entries()
        assert (entry.arrival, entry.due) == (START, START + 1800)
        host.replies.clear()
        world.now = entry.due
        await world.relay(table(**MX_NET)).attempt_due()
    assert host.received == [("bob@example.net", MESSAGE)]


@in_loop
async def test_a_clock_that_is_set_back_while_it_runs(world: World) -> None:
    """What came by the wrong time, and was put off by it, does not wait until then."""
    host = Host(bob=LATER)
    relay = world.relay(table(**MX_NET))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailproto.relay.relay._POLL_ORDERS", 0.02)
        async with world.host("mx.example.net", host):
            world.now = START + 1e9
            world.put(BOB)
            running = asyncio.create_task(relay.run())
            await until(lambda: world.entries()[0].attempts)
            host.replies.clear()
            world.now = START
            await until(lambda: host.envelopes)
            relay.stop()
            await running
    assert world.queue.names() == []


@in_loop
async def test_a_clock_that_is_set_back_while_something_is_tried(world: World) -> None:
    """What the wrong time has put off is not told of it any more, and waits no longer than the rest."""
    host = Host(bob=LATER)
    relay = world.relay(table(**MX_NET))
    conclude = Round.conclude

    async def conclude_slowly(attempt: Round) -> float | None:
        due = await conclude(attempt)
        host.replies.clear()
        world.now = START
        relay._changed.set()
        await asyncio.sleep(0.05)
        return due

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Round, "conclude", conclude_slowly)
        async with world.host("mx.example.net", host):
            world.now = START + 1e9
            world.put(BOB)
            running = asyncio.create_task(relay.run())
            await until(lambda: host.envelopes)
            relay.stop()
            await running
    assert world.queue.names() == []


def test_it_may_run_in_one_loop_after_the_other(world: World) -> None:
    """As where nothing else is asyncio."""

    async def test(world: World) -> None:
        async with world.host("mx.example.net", host):
            await relay.attempt_due()

    host = Host(bob=LATER, carol=LATER)
    relay = world.relay(table(net=MX_NET["net"], com=MX_NET["net"]), max_connections=1)
    world.put(BOB, ERIN)
    run(test, world)
    host.replies.clear()
    world.now += HOUR
    world.put(CAROL, ERIN)
    run(test, world)
    assert len(host.envelopes) == 4


@pytest.mark.parametrize("again", [False, True])
def test_what_was_tried_while_the_clock_was_ahead(world: World, again: bool) -> None:
    """It came before, and does not wait until then, whether the relay ran when the clock was set back or not."""

    async def test(world: World) -> None:
        host = Host(bob=LATER)
        relay = world.relay(table(**MX_NET))
        async with world.host("mx.example.net", host):
            world.put(BOB)
            world.now += 1e9
            await relay.attempt_due()
            assert world.entries()[0].attempts == 1
            host.replies.clear()
            world.now = START + HOUR
            await (relay if again else world.relay(table(**MX_NET))).attempt_due()
        assert host.received == [("bob@example.net", MESSAGE)]

    run(test, world)


@in_loop
async def test_what_was_put_in_for_later_waits(world: World) -> None:
    """Longer than between two attempts, too."""
    host = Host()
    async with world.host("mx.example.net", host):
        world.queue.add(Entry("m1", None, (Pending(BOB),), START, START + 24 * HOUR), [MESSAGE])
        await world.relay(table(**MX_NET)).attempt_due()
        assert host.envelopes == []
        world.now += 24 * HOUR
        await world.relay(table(**MX_NET)).attempt_due()
    assert len(host.envelopes) == 1


@in_loop
async def test_who_has_it_run_a_second_time_does_it_no_harm(world: World) -> None:
    """It is refused, as with another relay, and what is under way goes on."""

    class Slow(Host):
        async def on_mail(self, *_: object) -> None:
            begun.set()
            await over.wait()

    begun, over = asyncio.Event(), asyncio.Event()
    host = Slow()
    relay = world.relay(table(**MX_NET))
    async with world.host("mx.example.net", host):
        world.put(BOB)
        running = asyncio.create_task(relay.run())
        await begun.wait()
        with pytest.raises(QueueInUseError):
            await relay.attempt_due()
        over.set()
        while world.queue.names():
            assert not running.done()
            await asyncio.sleep(0.01)
        relay.stop()
        await running
    assert len(host.envelopes) == 1


@in_loop
async def test_what_comes_while_a_host_is_left_is_tried(world: World) -> None:
    class Slow(aio.SMTPClient):
        async def quit(self) -> None:
            while len(late) < 3:
                late.append(world.put(CAROL))
                relay.wake(late[-1])
            await asyncio.sleep(0.1)
            await super().quit()

    def make_client(target: Target) -> aio.SMTPClient:
        return Slow(target.address, world.ports[target.host], tls=TLSPolicy.NONE)

    late: list[str] = []
    host = Host(bob=LATER)
    relay = world.relay(table(**MX_NET), make_client=make_client)
    async with world.host("mx.example.net", host):
        world.put(BOB)
        await relay.attempt_due()
    assert host.received == [("carol@example.net", MESSAGE)] * 3
    assert host.connections == 2


def test_it_stops_while_it_notes_that_there_is_no_way(world: World, caplog: pytest.LogCaptureFixture) -> None:
    loop: Any = None

    class Stopping(Queue):
        def save(self, entry: Entry) -> None:
            stopped = threading.Event()
            loop.call_soon_threadsafe(relay.stop)
            loop.call_soon_threadsafe(stopped.set)
            assert stopped.wait(PATIENCE)
            super().save(entry)

    async def test(world: World) -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        world.put(BOB)
        world.put(BOB)
        await relay.attempt_due()
        assert [[each.action for each in entry.recipients] for entry in world.entries()] == [[Action.FAILED], [None]]

    world.queue = Stopping(world.queue.path)
    relay = world.relay(table())
    run(test, world)
    assert caplog.messages == []


@in_loop
async def test_it_stops_in_good_order(world: World) -> None:
    """What is under way is ended, nothing else is begun, and nobody loses time or a notice by that."""

    class Last(Host):
        def on_message(self, session: Any, envelope: Envelope) -> Reply:
            relay.stop()
            return super().on_message(session, envelope)

    host, home = Last(carol=NO_SUCH_USER), Host()
    relay = world.relay(table(**MX_NET, **HOME))
    async with world.host("mx.example.net", host), world.host("mx.example.org", home):
        world.put(BOB, CAROL)
        world.put(BOB)
        world.put(BOB)
        await relay.run()
        assert (len(host.envelopes), len(home.envelopes)) == (1, 0)
        assert [len(entry.recipients) for entry in world.entries()] == [1, 1, 1]
        assert [entry.due for entry in world.entries()] == [START] * 3
        while world.queue.names():
            await world.relay(table(**MX_NET, **HOME)).attempt_due()
    assert (len(host.envelopes), len(home.envelopes)) == (3, 1)


@pytest.mark.parametrize("others", [0, 1])
def test_a_host_that_is_only_waited_for_does_not_keep_it(
    world: World, others: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is under way there, on a first connection or on a further one."""

    class Silent(Host):
        async def on_connect(self, _: Any) -> Any:
            self.connections += 1
            await gathered(relay, 30)
            if self.connections > others:
                waits.set()
                await over.wait()
            return self.greeting

        async def on_mail(self, *_: object) -> None:
            await waits.wait()
            relay.stop()

    async def test(world: World) -> None:
        async with world.host("mx.example.net", Silent()):
            for _ in range(30):
                world.put(BOB)
            running = asyncio.create_task(relay.run())
            await waits.wait()
            relay.stop()
            await asyncio.sleep(0)
            relay.stop()  # once more, while it lets go of the host
            async with asyncio.timeout(20):
                await running
            over.set()

    waits, over = asyncio.Event(), asyncio.Event()
    relay = world.relay(table(**MX_NET))
    run(test, world)
    assert len(world.entries()) == 30 - others
    assert caplog.messages == []


@in_loop
async def test_it_may_be_stopped_before_its_first_step(world: World) -> None:
    """And then run again: who has stopped one run does not mean the next one, nor does who stops none."""
    host = Host()
    relay = world.relay(table(**MX_NET))
    async with world.host("mx.example.net", host):
        world.put(BOB)
        for begin in (relay.run, relay.attempt_due):
            running = asyncio.create_task(begin())
            relay.stop()
            async with asyncio.timeout(20):
                await running
        assert host.connections == 0
        relay.stop()
        await relay.attempt_due()
    assert len(host.envelopes) == 1


@in_loop
async def test_who_calls_a_run_while_another_one_stops_does_not_keep_it(world: World) -> None:
    class Last(Host):
        def on_message(self, session: Any, envelope: Envelope) -> Reply:
            relay.stop()
            relay.run().close()
            return super().on_message(session, envelope)

    host = Last()
    relay = world.relay(table(**MX_NET))
    async with world.host("mx.example.net", host):
        for _ in range(2):
            world.put(BOB)
        await relay.run()
    assert len(host.envelopes) == 1


@pytest.mark.parametrize("again", [False, True])
def test_what_is_under_way_has_an_end_when_it_stops(
    world: World, again: bool, caplog: pytest.LogCaptureFixture
) -> None:
    class Silent(Host):
        async def on_mail(self, *_: object) -> None:
            begun.set()
            await over.wait()

    async def test(world: World) -> None:
        relay = world.relay(table(**MX_NET), grace=0.2)
        async with world.host("mx.example.net", Silent()):
            world.put(BOB)
            running = asyncio.create_task(relay.run())
            await begun.wait()
            relay.stop()
            if again:
                await asyncio.sleep(0.1)
                relay.stop()
            await running
            over.set()
        relay.stop()  # which harms nobody

    begun, over = asyncio.Event(), asyncio.Event()
    run(test, world)
    assert len(world.entries()) == 1
    assert caplog.messages == ["what was under way was cut off, and is sent again by the next run"]


@in_loop
async def test_it_looks_for_no_way_when_it_is_stopped(world: World) -> None:
    class Asked(StaticResolver):
        async def mx(self, domain: str) -> list[MX]:
            asked.append(domain)
            relay.stop()
            return list(await super().mx(domain))

    asked: list[str] = []
    relay = world.relay(Asked({}), max_connections=1)
    world.put(BOB, ERIN)
    await relay.attempt_due()
    assert len(asked) == 1


@in_loop
async def test_it_does_not_follow_up_a_message_when_it_is_stopped(world: World) -> None:
    """Recipients of whom there were too many are for the next run."""

    class Few(Host):
        def on_rcpt(self, session: Any, rcpt: Rcpt) -> None:
            if session.envelope.recipients:
                raise Reject(452, "Too many", "4.5.3")

        def on_message(self, session: Any, envelope: Envelope) -> Reply:
            relay.stop()
            return super().on_message(session, envelope)

    host = Few()
    relay = world.relay(table(**MX_NET))
    async with world.host("mx.example.net", host):
        world.put(BOB, CAROL, DAN)
        for left in (2, 1):
            await relay.run()
            assert [len(entry.recipients) for entry in world.entries()] == [left]
        await relay.run()
    assert len(host.envelopes) == 3
    assert world.queue.names() == []


@in_loop
async def test_it_begins_nothing_that_was_being_read_from_the_disk_when_it_was_stopped(world: World) -> None:
    class Stopping(Queue):
        def load(self, name: str) -> Entry | None:
            loop.call_soon_threadsafe(relay.stop)  # which it does before it is told what was read
            return super().load(name)

    loop = asyncio.get_running_loop()
    world.queue = Stopping(world.queue.path)
    host = Host()
    relay = world.relay(table(**MX_NET))
    async with world.host("mx.example.net", host):
        world.put(BOB)
        await relay.run()
    assert (host.envelopes, len(world.entries())) == ([], 1)


@in_loop
async def test_it_sleeps_between_two_looks_at_the_disk(world: World) -> None:
    class Watched(Relay):
        def _start_due(self) -> None:
            rounds.append(len(self._dispatcher.active))
            super()._start_due()

    rounds: list[int] = []
    relay = Watched(world.queue, world.relay(table())._config)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_POLL", "_POLL_ORDERS"):
            patch.setattr(f"mailproto.relay.relay.{name}", 0.1)
        running = asyncio.create_task(relay.run())
        await until(lambda: len(rounds) > 4)
        await asyncio.sleep(0.3)
        relay.stop()
        await running
    assert len(rounds) < 20


@in_loop
async def test_it_sleeps_while_it_has_as_much_to_do_as_it_can(world: World) -> None:
    """And does not look again and again for a place for what is due."""

    class Slow(Host):
        async def on_mail(self, *_: object) -> None:
            await asyncio.sleep(0.3)

    class Watched(Relay):
        def _start_due(self) -> None:
            super()._start_due()
            rounds.append(len(self._dispatcher.active))

    rounds: list[int] = []
    host = Slow()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailproto.relay.dispatch._MAX_ACTIVE", 2)
        async with world.host("mx.example.net", host), world.host("mx.example.com", host):
            for each in (BOB, ERIN, CAROL):
                world.put(each)
            relay = world.relay(table(**MX_NET, com=[(0, "mx.example.com")]))
            await Watched(world.queue, relay._config).attempt_due()
    assert len(host.envelopes) == 3
    assert max(rounds) == 2
    assert len(rounds) < 60


@in_loop
async def test_who_waits_behind_one_that_is_gone_is_not_left_behind(world: World) -> None:
    """Who is called when a way is free would call the next ones when he is through."""

    class Slow(Host):
        async def on_mail(self, *_: object) -> None:
            await free.wait()

    host, free = Slow(), asyncio.Event()
    relay = world.relay(table(**MX_NET))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailproto.relay.relay._POLL", 0.1)
        patch.setattr("mailproto.relay.dispatch._MAX_ACTIVE", 2)
        async with world.host("mx.example.net", host):
            _, called, _ = (world.put(BOB) for _ in range(3))
            running = asyncio.create_task(relay.run())
            await until(lambda: host.connections and len(relay._dispatcher.active) == 1)
            world.queue.remove(called)
            free.set()
            await until(lambda: len(host.envelopes) == 2)
            relay.stop()
            await running
    assert world.queue.names() == []


@in_loop
async def test_a_run_that_is_cancelled_before_the_way_to_a_domain_has_begun(world: World) -> None:
    def work_off_hastily(lanes: Lanes, jobs: Mapping[Way, Job]) -> Awaitable[None]:
        running.cancel()
        return work_off(lanes, jobs)

    work_off = Lanes.work_off
    host = Host()
    async with world.host("mx.example.net", host):
        world.put(BOB)
        relay = world.relay(table(**MX_NET))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Lanes, "work_off", work_off_hastily)
            running = asyncio.ensure_future(relay.run())
            with pytest.raises(asyncio.CancelledError):
                await running
        await relay.attempt_due()
    assert host.received == [("bob@example.net", MESSAGE)]


@in_loop
async def test_a_clock_that_jumps_days_ahead_bounces_nothing(world: World) -> None:
    """Nor does a machine that was asleep for so long, whose network is not there yet when it awakes."""
    relay = world.relay(table(**MX_NET))
    for _ in range(3):
        world.put(BOB)
    for _ in range(20):
        await relay.attempt_due()
        world.now += HOUR
    world.put(CAROL)
    await relay.attempt_due()
    world.now += 30 * 24 * HOUR
    await relay.attempt_due()
    assert [entry.waiting[0].address for entry in world.entries()] == [BOB, BOB, BOB, CAROL]
    host = Host()
    async with world.host("mx.example.net", host):
        world.now += 2 * HOUR
        await relay.attempt_due()
    assert [to for to, _ in host.received] == ["bob@example.net"] * 3 + ["carol@example.net"]
