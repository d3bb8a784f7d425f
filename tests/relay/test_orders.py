"""What an operator orders for entries of a queue, in whatever process, and when it is done."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest

from mailproto.errors import GrammarError
from mailproto.relay import Attempt, Entry, Fate, Order, Orders, Pending, Queue, UnreadableError
from mailproto.relay.round import Round
from mailproto.smtp import Notify, RcptParameters, Reply
from tests.adapters.harness import wait_until
from tests.relay import (
    ADA,
    BOB,
    CAROL,
    DAN,
    ERIN,
    HOME,
    HOUR,
    LATER,
    MX_NET,
    NO_SUCH_USER,
    START,
    FullQueue,
    Host,
    World,
    files,
    gathered,
    in_loop,
    read_notice,
    run,
    running,
    table,
    until,
)

COM = {"com": [(0, "mx.example.com")]}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no test wait for a second."""
    monkeypatch.setattr("mailproto.relay.relay._POLL_ORDERS", 0.02)


@in_loop
async def test_what_is_not_due_is_tried_now(world: World) -> None:
    """The one that was named, and not the others; and an hour later it is not forgotten when it was due."""
    host = Host(bob=LATER)
    async with world.host("mx.example.net", host):
        first, second = world.put(BOB), world.put(BOB)
        async with running(world.relay(table(**MX_NET))):
            await until(lambda: all(entry.attempts for entry in world.entries()))
            world.now += 60
            host.replies.clear()
            Queue(world.queue.path).orders.give(first, Order.RETRY)
            await until(lambda: host.envelopes)
            await until(lambda: not world.queue.orders.given())
    assert world.queue.names() == [second]
    (entry,) = world.entries()
    assert (entry.due, entry.attempts) == (START + 1800, 1)


@in_loop
async def test_without_a_relay_an_order_waits_for_one(world: World) -> None:
    host = Host(bob=LATER)
    async with world.host("mx.example.net", host):
        name = world.put(BOB)
        await world.relay(table(**MX_NET)).attempt_due()
        host.replies.clear()
        world.queue.orders.give(name, Order.RETRY)
        assert world.queue.orders.given() == {name: Order.RETRY}
        await world.relay(table(**MX_NET)).attempt_due()
    assert len(host.envelopes) == 1
    assert files(world.queue) == ["lock"]


@in_loop
async def test_what_is_removed_is_forgotten_without_a_word(world: World) -> None:
    told: list[Attempt] = []
    host, home = Host(bob=LATER), Host()
    async with world.host("mx.example.net", host), world.host("mx.example.org", home):
        name = world.put(BOB, CAROL)
        async with running(world.relay(table(**MX_NET, **HOME), on_attempt=told.append)):
            await until(lambda: any(entry.attempts for entry in world.entries()))
            world.queue.orders.give(name, Order.REMOVE)
            await until(lambda: not world.queue.orders.given())
            assert files(world.queue) == ["lock"]
    assert home.connections == 0
    assert [(each.recipient, each.fate) for each in told] == [
        (CAROL, Fate.DELIVERED),
        (BOB, Fate.DEFERRED),
        (BOB, Fate.REMOVED),
    ]
    assert str(told[-1]).startswith(f"{name}: removed to=<bob@example.net> from=<ada@example.org> age=0 reply=554 ")


@in_loop
async def test_what_is_returned_comes_back_to_its_sender(world: World) -> None:
    told: list[Attempt] = []
    host, home = Host(bob=LATER, dan=LATER), Host()
    async with world.host("mx.example.net", host), world.host("mx.example.org", home):
        name = world.put(BOB, CAROL, Pending(DAN, RcptParameters(frozenset({Notify.NEVER}))))
        async with running(world.relay(table(**MX_NET, **HOME), on_attempt=told.append)):
            await until(lambda: any(entry.attempts for entry in world.entries()))
            world.queue.orders.give(name, Order.RETURN)
            await until(lambda: home.envelopes)
            await until(lambda: not world.queue.names())
    assert files(world.queue) == ["lock"]
    _, (_, *failed) = read_notice(home.received[0][1])
    assert [(each["Final-Recipient"], each["Diagnostic-Code"]) for each in failed] == [
        (f"rfc822; {BOB}", "smtp; 554 5.0.0 The operator of this relay has given it up")
    ]
    assert [(each.recipient, each.fate) for each in told if each.fate is not Fate.DEFERRED] == [
        (CAROL, Fate.DELIVERED),
        (BOB, Fate.BOUNCED),
        (DAN, Fate.BOUNCED),
        (ADA, Fate.DELIVERED),
    ]


@in_loop
async def test_what_was_removed_before_the_relay_began_is_not_sent(world: World) -> None:
    host = Host()
    async with world.host("mx.example.net", host):
        names = [world.put(BOB) for _ in range(3)]
        world.queue.orders.give(names[1], Order.REMOVE)
        world.queue.orders.give(names[1], Order.RETRY)  # which makes nothing of it
        await world.relay(table(**MX_NET)).attempt_due()
        await world.relay(table(**MX_NET)).attempt_due()
    assert len(host.envelopes) == 2
    assert files(world.queue) == ["lock"]


class Slow(Host):
    """A host that takes its time."""

    def __init__(self, **replies: Reply) -> None:
        super().__init__(**replies)
        self.begun = asyncio.Event()
        self.over = asyncio.Event()

    async def on_mail(self, *_: object) -> None:
        self.begun.set()
        await self.over.wait()


@pytest.mark.parametrize("order", [Order.REMOVE, Order.RETURN])
@pytest.mark.parametrize("verdict", [None, LATER])
def test_what_is_under_way_ends_first(world: World, order: Order, verdict: Reply | None) -> None:
    """Whoever has the message has it; what is behind it in the lane, or would come at the next host, is not begun."""

    async def test(world: World) -> None:
        slow = Slow(**({"bob": verdict} if verdict else {}))
        other, com, home = Host(), Host(), Host()
        records = {"net": [(10, "mx1.example.net"), (20, "mx2.example.net")], **COM, **HOME}
        async with (
            world.host("mx1.example.net", slow),
            world.host("mx2.example.net", other),
            world.host("mx.example.com", com),
            world.host("mx.example.org", home),
        ):
            first, second = world.put(BOB, ERIN), world.put(CAROL)
            async with running(world.relay(table(**records))):
                await slow.begun.wait()
                await until(lambda: com.envelopes)
                for name in (first, second):
                    world.queue.orders.give(name, order)
                await until(lambda: second not in world.queue.names())
                assert first in world.queue.names()
                slow.over.set()
                await until(lambda: not world.queue.names())
                await until(lambda: not world.queue.orders.given())
        assert [to for to, _ in slow.received] == ([] if verdict else [str(BOB)])
        assert other.envelopes == []
        assert len(com.envelopes) == 1
        returned = 1 + (verdict is not None) if order is Order.RETURN else 0
        assert len(home.envelopes) == returned
        assert files(world.queue) == ["lock"]

    run(test, world)


@pytest.mark.parametrize("order", [Order.RETRY, Order.RETURN])
def test_who_changes_his_mind_in_time_has_nothing_sent(world: World, order: Order) -> None:
    class Changing(Queue):
        relay: Any

        def load(self, name: str) -> Entry | None:
            self.orders.give(name, Order.REMOVE)
            # Which is read behind this, and before what was ordered first is forgotten.
            wait_until(lambda: self.relay._disk._thread._work_queue.qsize() > 0)
            return super().load(name)

    async def test(world: World) -> None:
        world.queue = queue = Changing(world.queue.path)
        host, home = Host(), Host()
        async with world.host("mx.example.net", host), world.host("mx.example.org", home):
            world.queue.orders.give(world.put(BOB), order)
            queue.relay = world.relay(table(**MX_NET, **HOME))
            async with running(queue.relay):
                await until(lambda: not world.queue.names())
        assert host.envelopes == home.envelopes == []

    run(test, world)


@in_loop
async def test_an_order_that_comes_while_another_is_carried_out_stands(world: World) -> None:
    """It was forgotten in the place of the other, and the sender told of what was to be forgotten."""
    record = Round.record

    async def record_slowly(attempt: Round, *heard: Any) -> None:
        await record(attempt, *heard)
        name = attempt.entry.name
        world.queue.orders.give(name, Order.REMOVE)
        await until(lambda: relay._orders.get(name) is Order.REMOVE)

    home = Host()
    relay = world.relay(table(**MX_NET, **HOME))
    async with world.host("mx.example.org", home):
        world.queue.orders.give(world.put(BOB), Order.RETURN)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Round, "record", record_slowly)
            async with running(relay):
                await until(lambda: not world.queue.names())
    assert home.envelopes == []


@in_loop
async def test_what_is_ordered_when_it_stops_is_for_the_next_run(world: World) -> None:
    def forget(orders: Orders, name: str, order: Order) -> None:
        loop.call_soon_threadsafe(relay.stop)
        Orders.give(orders, name, order)

    loop = asyncio.get_running_loop()
    host = Host()
    async with world.host("mx.example.net", host):
        name = world.put(BOB)
        world.queue.orders.give(name, Order.RETRY)
        relay = world.relay(table(**MX_NET))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Orders, "forget", forget)
            await relay.run()
        assert (host.envelopes, world.queue.names()) == ([], [name])
        await world.relay(table(**MX_NET)).attempt_due()
    assert len(host.envelopes) == 1
    assert files(world.queue) == ["lock"]


@in_loop
async def test_what_is_returned_when_it_stops_is_told_by_the_next_run(world: World) -> None:
    """At once, and not when it would have been tried again."""

    def forget(orders: Orders, name: str, order: Order) -> None:
        loop.call_soon_threadsafe(relay.stop)
        original(orders, name, order)

    loop, original = asyncio.get_running_loop(), Orders.forget
    host, home = Host(bob=LATER), Host()
    async with world.host("mx.example.net", host), world.host("mx.example.org", home):
        relay = world.relay(table(**MX_NET, **HOME))
        name = world.put(BOB)
        await relay.attempt_due()
        world.queue.orders.give(name, Order.RETURN)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Orders, "forget", forget)
            await relay.run()
        assert (home.envelopes, world.queue.names(), world.queue.orders.given()) == ([], [name], {})
        await relay.attempt_due()
    assert len(home.envelopes) == 1
    assert files(world.queue) == ["lock"]


@in_loop
async def test_who_has_the_message_is_not_said_to_be_removed(world: World) -> None:
    """Even if its sender was still to be told that he has it; but who had refused it is."""
    wanted = RcptParameters(frozenset({Notify.SUCCESS, Notify.FAILURE}))
    told: list[Attempt] = []
    host, slow = Host(carol=NO_SUCH_USER), Slow(erin=LATER)
    async with world.host("mx.example.net", host), world.host("mx.example.com", slow):
        name = world.put(Pending(BOB, wanted), CAROL, ERIN)
        async with running(world.relay(table(**MX_NET, **COM), on_attempt=told.append)):
            await slow.begun.wait()
            await until(lambda: len(told) == 2)
            world.queue.orders.give(name, Order.REMOVE)
            await asyncio.sleep(0.1)
            slow.over.set()
            await until(lambda: not world.queue.names())
    assert [(each.recipient, each.fate) for each in told] == [
        (BOB, Fate.DELIVERED),
        (CAROL, Fate.BOUNCED),
        (CAROL, Fate.REMOVED),
        (ERIN, Fate.REMOVED),
    ]


@in_loop
async def test_nothing_is_sent_before_the_orders_can_be_read(world: World) -> None:
    """It may be what is to be removed. Later on that passes, and is told, but not each second."""

    def given(orders: Orders) -> dict[str, Order]:
        reads.append(orders)
        if len(reads) in failing:
            raise PermissionError(errno.EACCES, "not yours")
        return original(orders)

    original, reads, failing = Orders.given, list[Orders](), {1, 3}
    host = Host()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Orders, "given", given)
        patch.setattr("mailproto.relay.relay._POLL", 0.5)
        async with world.host("mx.example.net", host):
            name = world.put(BOB)
            world.queue.orders.give(name, Order.REMOVE)
            with pytest.raises(PermissionError):
                await world.relay(table(**MX_NET)).run()
            async with running(world.relay(table(**MX_NET))):
                await until(lambda: len(reads) == 3)
                await asyncio.sleep(0.2)
                assert len(reads) == 3
                await until(lambda: len(reads) > 3)
    assert (host.envelopes, world.queue.names()) == ([], [])


@in_loop
async def test_what_is_under_way_is_not_tried_a_second_time(world: World) -> None:
    slow = Slow(bob=LATER)
    async with world.host("mx.example.net", slow):
        name = world.put(BOB)
        async with running(world.relay(table(**MX_NET))):
            await slow.begun.wait()
            world.queue.orders.give(name, Order.RETRY)
            await asyncio.sleep(0.1)
            slow.over.set()
            await until(lambda: not world.queue.orders.given())
            await until(lambda: any(entry.attempts for entry in world.entries()))
    assert slow.connections == 1
    assert [entry.attempts for entry in world.entries()] == [1]


@pytest.mark.parametrize("stopped", [False, True])
def test_what_is_to_be_tried_now_may_have_to_wait_for_its_turn(world: World, stopped: bool) -> None:
    """It is not forgotten over that, nor if the relay stops meanwhile."""

    async def test(world: World) -> None:
        slow = Slow(bob=LATER)
        slow.over.set()
        async with world.host("mx.example.net", slow):
            name = world.put(BOB)
            relay = world.relay(table(**MX_NET))
            await relay.attempt_due()
            slow.replies.clear()
            slow.begun.clear()
            slow.over.clear()
            world.now += 60
            async with running(relay):
                for _ in range(2):
                    relay.wake(world.put(CAROL))
                await slow.begun.wait()
                await gathered(relay, 2)
                world.queue.orders.give(name, Order.RETRY)
                await until(lambda: name in relay._dispatcher._waiting)
                if stopped:
                    relay.stop()
                slow.over.set()
                await until(lambda: stopped or not relay._dispatcher.someone_waits)
                await until(lambda: stopped or not relay._dispatcher.active)
            await relay.attempt_due()
        assert sorted(to for to, _ in slow.received) == [str(BOB), str(CAROL), str(CAROL)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailproto.relay.dispatch._MAX_ACTIVE", 4)
        run(test, world)


@in_loop
async def test_what_waits_for_its_turn_is_removed_from_there(world: World) -> None:
    """Wherever it waits: in a lane, or for one."""
    slow = Slow()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailproto.relay.dispatch._MAX_ACTIVE", 4)
        async with world.host("mx.example.net", slow):
            names = [world.put(BOB, message=b"Subject: %d\r\n\r\n" % count) for count in range(10)]
            async with running(world.relay(table(**MX_NET))):
                await slow.begun.wait()
                for name in names[1:9]:
                    world.queue.orders.give(name, Order.REMOVE)
                await until(lambda: world.queue.names() == [names[0], names[9]])
                slow.over.set()
                await until(lambda: not world.queue.names())
    assert [content for _, content in slow.received] == [b"Subject: 0\r\n\r\n", b"Subject: 9\r\n\r\n"]


@pytest.mark.parametrize("broken", ["entry", "message", "aside"])
def test_what_cannot_be_read_can_be_removed(world: World, broken: str) -> None:
    async def test(world: World) -> None:
        name = world.put(BOB)
        if broken == "entry":
            (world.queue.path / "entries" / name).write_bytes(b"{")
        elif broken == "message":
            (world.queue.path / "messages" / name).unlink()
        else:
            world.queue.set_aside(name, UnreadableError("it was tried"))
        world.queue.orders.give(name, Order.REMOVE)
        await world.relay(table(**MX_NET)).attempt_due()
        assert files(world.queue) == ["lock"]

    run(test, world)


@in_loop
async def test_what_cannot_be_read_is_not_returned_but_set_aside(world: World) -> None:
    name = world.put(BOB)
    (world.queue.path / "entries" / name).write_bytes(b"{")
    world.queue.orders.give(name, Order.RETURN)
    await world.relay(table(**MX_NET)).attempt_due()
    assert files(world.queue) == ["lock", f"messages/{name}", f"unreadable/{name}"]


@in_loop
async def test_what_is_gone_needs_no_order(world: World) -> None:
    strays = ["orders/remove-..", "orders/retry-", "orders/stray"]
    for order in Order:
        world.queue.orders.give("gone", order)
    (world.queue.path / "entries" / "m1").write_bytes(b"{")
    for stray in strays:
        (world.queue.path / stray).touch()
    async with running(world.relay(table(**MX_NET))):
        await until(lambda: not world.queue.orders.given())
    assert files(world.queue) == ["lock", *strays, "unreadable/m1"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_is_full_keeps_nobody_from_making_room(
    world: World, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What could not be noted need not be noted any more, and is not when there is room again."""

    async def test(world: World) -> None:
        world.queue = queue = FullQueue(world.queue.path, number)
        host = Host(carol=LATER)
        async with world.host("mx.example.net", host):
            name = world.put(BOB, CAROL)
            async with running(world.relay(table(**MX_NET))):
                await until(lambda: caplog.messages)
                for order in (Order.REMOVE, Order.RETRY):
                    world.queue.orders.give(name, order)
                    await until(lambda: not world.queue.orders.given())
                    assert files(world.queue) == ["lock"]
                    queue.full = False
        assert len(host.envelopes) == 1

    run(test, world)


@in_loop
async def test_an_order_that_cannot_be_carried_out_now_is_later(world: World) -> None:
    """Not at each look, and not lost."""

    class Failing(Queue):
        def remove(self, name: str) -> None:
            if len(failures) < 2:
                failures.append(name)
                raise OSError(errno.EIO, "not now")
            super().remove(name)

    failures: list[str] = []
    world.queue = Failing(world.queue.path)
    name = world.put(BOB)
    world.queue.orders.give(name, Order.REMOVE)
    async with running(world.relay(table(**MX_NET))):
        await until(lambda: failures)
        await asyncio.sleep(0.2)
        assert len(failures) == 1
        world.now += HOUR
        await until(lambda: len(failures) == 2)
        world.now += HOUR
        await until(lambda: not world.queue.orders.given())
    assert files(world.queue) == ["lock"]


@pytest.mark.parametrize("name", ["", "..", "../entries/m1", "m/1", "m-1"])
def test_an_order_is_for_what_may_be_an_entry(tmp_path: Path, name: str) -> None:
    queue = Queue(tmp_path)
    with pytest.raises(GrammarError, match="name"):
        queue.orders.give(name, Order.REMOVE)
    assert files(queue) == []


def test_the_gravest_of_several_orders_counts(tmp_path: Path) -> None:
    queue = Queue(tmp_path)
    for order in (Order.REMOVE, Order.RETRY, Order.RETURN):
        queue.orders.give("m1", order)
    assert Queue(tmp_path).orders.given() == {"m1": Order.REMOVE}
    queue.orders.forget("m1", Order.REMOVE)
    assert queue.orders.given() == {"m1": Order.RETURN}
    for order in Order:
        queue.orders.forget("m1", order)
    assert queue.orders.given() == {}
