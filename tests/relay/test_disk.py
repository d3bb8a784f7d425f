"""Disks that fail under a relay."""

from __future__ import annotations

import asyncio
import errno
import itertools

import pytest

from mailproto.relay import Entry, Order, Queue, Relay
from tests.relay import (
    BOB,
    CAROL,
    ERIN,
    HOME,
    HOUR,
    LATER,
    MX_NET,
    NO_SUCH_USER,
    FullQueue,
    Host,
    World,
    in_loop,
    run,
    table,
)


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_a_disk_that_takes_nothing_more_repeats_no_message(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    """What is on disk is out of date then, and is found there at every look. Each attempt is a line of the log."""

    async def test(world: World) -> None:
        net, com = Host(), Host(erin=LATER)
        relay = world.relay(table(**MX_NET, com=[(0, "mx.example.com")]))
        async with world.host("mx.example.net", net), world.host("mx.example.com", com):
            running = asyncio.create_task(relay.run())
            for count, recipients in enumerate([(BOB,), (BOB, ERIN)]):
                world.put(*recipients)
                while len(net.envelopes) == count:
                    await asyncio.sleep(0.01)
            world.now += HOUR
            await asyncio.sleep(0.3)
            queue.full = False
            del com.replies["erin"]
            while world.queue.names():
                world.now += HOUR
                await asyncio.sleep(0.01)
            relay.stop()
            await running
        assert (len(net.envelopes), len(com.envelopes)) == (2, 1)

    monkeypatch.setattr("mailproto.relay.relay._POLL", 0.05)
    world.queue = queue = FullQueue(world.queue.path, number)
    run(test, world)
    failed = [record for record in caplog.records if "failed" in record.getMessage()]
    assert any("an attempt failed" in record.getMessage() for record in failed)
    assert all("nothing more" in record.getMessage() and not record.exc_info for record in failed)


@in_loop
async def test_a_queue_that_has_filled_its_disk_empties_itself(world: World) -> None:
    """To remove a message takes no room, and makes some. Until then a message stays as it is that somebody has, where
    that could not be noted."""

    class Brimful(Queue):
        room = False

        def save(self, entry: Entry) -> None:
            if entry.recipients and not self.room:
                raise OSError(errno.ENOSPC, "no room")
            super().save(entry)
            self.room = self.room or not entry.recipients

    world.queue = queue = Brimful(world.queue.path)
    net, com = Host(bob=LATER), Host(erin=LATER)
    relay = world.relay(table(**MX_NET, com=[(0, "mx.example.com")]))
    async with world.host("mx.example.net", net), world.host("mx.example.com", com):
        world.put(BOB)
        world.put(CAROL, ERIN)
        await relay.attempt_due()
        com.replies.clear()
        world.now += HOUR
        await relay.attempt_due()
        assert (queue.room, len(net.envelopes), len(com.envelopes)) == (False, 1, 0)
        net.replies.clear()
        for _ in range(2):
            world.now += HOUR
            await relay.attempt_due()
    assert queue.names() == []
    assert (len(net.envelopes), len(com.envelopes)) == (2, 1)


@in_loop
async def test_what_the_disk_did_not_take_is_remembered_from_one_run_to_the_next(world: World) -> None:
    class Once(Queue):
        def save(self, entry: Entry) -> None:
            if entry.notices and not failures:
                failures.append(entry)
                raise OSError(errno.EIO, "not now")
            super().save(entry)

    failures: list[Entry] = []
    world.queue = Once(world.queue.path)
    host, home = Host(carol=NO_SUCH_USER), Host()
    relay = world.relay(table(**MX_NET, **HOME))
    async with world.host("mx.example.net", host), world.host("mx.example.org", home):
        world.put(BOB, CAROL)
        for _ in range(3):
            await relay.attempt_due()
            world.now += HOUR
    assert (len(failures), len(host.envelopes), len(home.envelopes)) == (1, 1, 1)
    assert world.queue.names() == []


@in_loop
async def test_an_attempt_that_the_disk_has_broken_off_is_made_anew_as_a_whole(world: World) -> None:
    """What it had come to is not passed over then."""

    class Busy(Host):
        async def on_mail(self, *_: object) -> None:
            begun.set()
            await over.wait()

    class Failing(Queue):
        def save(self, entry: Entry) -> None:
            if broken:
                raise OSError(broken.pop(), "not now")
            super().save(entry)

    begun, over, broken = asyncio.Event(), asyncio.Event(), [errno.ENOSPC]
    world.queue = Failing(world.queue.path)
    host = Busy(bob=LATER)
    relay = world.relay(table(**MX_NET))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailproto.relay.relay._POLL_ORDERS", 0.02)
        async with world.host("mx.example.net", host):
            name = world.put(BOB)
            running = asyncio.create_task(relay.run())
            await begun.wait()
            world.queue.orders.give(name, Order.RETRY)  # so that it is made in parts
            while not relay._orders._known:
                await asyncio.sleep(0.01)
            over.set()
            while broken:
                await asyncio.sleep(0.01)
            host.replies.clear()
            while not host.envelopes:
                world.now += HOUR
                assert not any(entry.attempts for entry in world.entries())
                await asyncio.sleep(0.05)
            relay.stop()
            await running
    assert world.queue.names() == []


@in_loop
async def test_a_look_through_the_queue_that_fails_is_repeated(world: World) -> None:
    class Short(Queue):
        def names(self) -> list[str]:
            if next(looks) == 2:  # behind that of the sweeping, and the first one
                raise OSError(errno.EMFILE, "too many files")
            return super().names()

    looks = itertools.count()
    world.queue = Short(world.queue.path)
    host = Host()
    relay = world.relay(table(**MX_NET))
    async with world.host("mx.example.net", host):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mailproto.relay.relay._POLL", 0.05)
            running = asyncio.create_task(relay.run())
            await asyncio.sleep(0.02)
            world.put(BOB)
            while not host.envelopes:
                assert not running.done()
                await asyncio.sleep(0.01)
            relay.stop()
            await running


@in_loop
async def test_what_the_disk_has_not_taken_is_noted_before_a_relay_stops(world: World) -> None:
    """It is for the next one to know who has the message."""

    class Failing(Queue):
        def save(self, entry: Entry) -> None:
            if broken:
                raise OSError(broken.pop(), "not now")
            super().save(entry)

    broken = [errno.ENOSPC]
    world.queue = Failing(world.queue.path)
    host = Host(carol=LATER)
    relay: Relay = world.relay(table(**MX_NET), on_attempt=lambda _: relay.stop())
    async with world.host("mx.example.net", host):
        world.put(BOB, CAROL)
        await relay.run()
        assert broken == []
        world.now += HOUR
        await world.relay(table(**MX_NET)).attempt_due()
    assert [each.forward_paths for each in host.envelopes] == [[BOB]]
