"""Many messages for one domain go over several connections at once, and each of them goes once."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from mailproto.relay import Attempt, Entry, Fate, Order, Queue
from mailproto.smtp import Envelope, Reply
from tests.relay import BOB, ERIN, HOUR, LATER, MX_NET, Host, World, gathered, in_loop, run, table, until

COM = {"com": [(0, "mx.example.com")]}


class Popular(Host):
    """A host that takes a moment for each message, and remembers how many connections there were at once.

    Attributes:
        now, most: connections that there are, and were at most.
        limit: connections that it takes at a time; others hear 421.
        ready: what it waits for before it greets the first one, such as that all messages are `gathered`.
    """

    def __init__(self, limit: int = 100, **replies: Reply) -> None:
        super().__init__(**replies)
        self.now = self.most = 0
        self.limit = limit
        self.ready: Callable[[], Awaitable[None]] | None = None

    async def on_connect(self, session: Any) -> Any:
        """Greet, or send away."""
        self.now += 1
        self.most = max(self.most, self.now)
        super().on_connect(session)
        if self.connections == 1 and self.ready is not None:
            await self.ready()
        return self.greeting if self.now <= self.limit else Reply.build(421, "Too many connections", "4.7.0")

    async def on_mail(self, *_: object) -> None:
        """Take a moment."""
        await asyncio.sleep(0.01)

    def on_close(self, *_: object) -> None:
        """Count."""
        self.now -= 1


def put_many(world: World, count: int) -> list[bytes]:
    """Lay messages for Bob into the queue, each another one, and return them."""
    messages = [b"Subject: %03d\r\n\r\n" % number for number in range(count)]
    for message in messages:
        world.put(BOB, message=message)
    return messages


@pytest.mark.parametrize(("count", "cap", "most"), [(25, 3, 1), (40, 3, 2), (110, 3, 3), (110, 1, 1)])
def test_as_many_connections_as_there_is_work_for(world: World, count: int, cap: int, most: int) -> None:
    async def test(world: World) -> None:
        host = Popular()
        relay = world.relay(table(**MX_NET), max_connections_each=cap)
        host.ready = partial(gathered, relay, count)
        async with world.host("mx.example.net", host):
            messages = put_many(world, count)
            await relay.attempt_due()
        assert sorted(content for _, content in host.received) == messages
        assert (host.most, host.connections) == (most, most)
        assert world.queue.names() == []

    run(test, world)


@in_loop
async def test_a_host_that_wants_one_connection_gets_the_mail_over_one(world: World) -> None:
    """That it refuses others is no attempt in vain, for nobody."""
    told: list[Attempt] = []
    host = Popular(limit=1)
    relay = world.relay(table(**MX_NET), on_attempt=told.append)
    host.ready = partial(gathered, relay, 60)
    async with world.host("mx.example.net", host):
        put_many(world, 60)
        await relay.attempt_due()
    assert len(host.envelopes) == 60
    assert host.connections == 2
    assert {each.fate for each in told} == {Fate.DELIVERED}


@in_loop
async def test_a_host_that_says_only_at_a_message_that_it_wants_one_connection(world: World) -> None:
    """It gets that message over the first one, and no more connections are tried, each with a message of its own."""

    class Late(Popular):
        async def on_connect(self, session: Any) -> Any:
            session.state["many"] = self.now > 0
            return await super().on_connect(session)

        async def on_mail(self, *arguments: Any) -> None:
            await super().on_mail()
            session = arguments[0]
            if session.state["many"]:
                session.conn.reply(Reply.build(421, "Too many connections", "4.7.0"))

    host = Late()
    relay = world.relay(table(**MX_NET))
    host.ready = partial(gathered, relay, 60)
    async with world.host("mx.example.net", host):
        messages = put_many(world, 60)
        await relay.attempt_due()
    assert sorted(content for _, content in host.received) == messages
    assert host.connections <= 3


@in_loop
async def test_whoever_else_wants_a_place_gets_it_at_once(world: World) -> None:
    """Not when a turn is over: that is for first connections."""
    host, other = Popular(), Host()
    async with world.host("mx.example.net", host), world.host("mx.example.com", other):
        put_many(world, 200)
        relay = world.relay(table(**MX_NET, **COM), max_connections=2)
        host.ready = partial(gathered, relay, 200)
        running = asyncio.create_task(relay.attempt_due())
        await until(lambda: host.now >= 2)
        relay.wake(world.put(ERIN))
        await until(lambda: other.envelopes)
        assert len(host.envelopes) < 150
        await running
    assert len(host.envelopes) == len(set(host.received)) == 200


@in_loop
async def test_where_there_is_one_place_no_other_is_waited_for(world: World) -> None:
    host = Popular()
    async with world.host("mx.example.net", host):
        put_many(world, 60)
        await world.relay(table(**MX_NET), max_connections=1, turn=0).attempt_due()
    assert (len(host.envelopes), host.connections) == (60, 1)


@in_loop
async def test_who_gets_his_place_too_late_opens_no_connection(world: World) -> None:
    """Somebody else was faster, and when he has done there is nothing left to be sent."""
    host = Popular()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailproto.relay.slots.Slots.free", True)
        async with world.host("mx.example.net", host):
            put_many(world, 60)
            await world.relay(table(**MX_NET), max_connections=1).attempt_due()
    assert (len(host.envelopes), host.connections) == (60, 1)


@pytest.mark.parametrize("limit", [1, 100])
def test_what_one_host_puts_off_is_tried_at_the_next_one_once(world: World, limit: int) -> None:
    """And what one says of several connections is not the word of the next one."""

    async def test(world: World) -> None:
        first, second = Popular(limit, bob=LATER), Popular()
        relay = world.relay(table(net=[(10, "mx1.example.net"), (20, "mx2.example.net")]))
        first.ready = partial(gathered, relay, 40)
        async with world.host("mx1.example.net", first), world.host("mx2.example.net", second):
            messages = put_many(world, 40)
            await relay.attempt_due()
        assert sorted(content for _, content in second.received) == messages
        assert (first.most, second.most) == (2, 2)

    run(test, world)


@in_loop
async def test_connections_that_end_early(world: World) -> None:
    """421 at any message, on any of the connections: the message goes over another one."""

    class Tired(Popular):
        async def on_mail(self, *arguments: Any) -> None:
            await super().on_mail()
            session = arguments[0]
            session.state["count"] = session.state.get("count", 0) + 1
            if session.state["count"] > 7:
                session.conn.reply(Reply.build(421, "Enough for now", "4.7.0"))

    host = Tired()
    relay = world.relay(table(**MX_NET))
    host.ready = partial(gathered, relay, 80)
    async with world.host("mx.example.net", host):
        messages = put_many(world, 80)
        await relay.attempt_due()
    assert sorted(content for _, content in host.received) == messages
    assert host.most > 1
    assert world.queue.names() == []


@in_loop
async def test_a_first_connection_on_which_nothing_goes(world: World) -> None:
    """The others get on, and so it is worth its while to come again."""

    class Odd(Popular):
        async def on_connect(self, session: Any) -> Any:
            greeting = await super().on_connect(session)
            session.state["left"] = 10 if self.connections > 1 else 0
            return greeting

        async def on_mail(self, *arguments: Any) -> None:
            await super().on_mail()
            session = arguments[0]
            if session.state["left"] == 0:
                await asyncio.sleep(0.2)
                session.conn.reply(Reply.build(421, "Enough for now", "4.7.0"))
            session.state["left"] -= 1

    host = Odd()
    relay = world.relay(table(**MX_NET))
    host.ready = partial(gathered, relay, 60)
    async with world.host("mx.example.net", host, greeting_delay=0.3):
        put_many(world, 60)
        await relay.attempt_due()
    assert len(host.envelopes) == len(set(host.received)) == 59
    assert [entry.attempts for entry in world.entries()] == [1]


@in_loop
async def test_when_it_stops_what_is_under_way_ends_on_each_connection(world: World) -> None:
    class Last(Popular):
        def on_message(self, session: Any, envelope: Envelope) -> Reply:
            if self.most == 3:
                relay.stop()
            return super().on_message(session, envelope)

    host = Last()
    relay = world.relay(table(**MX_NET))
    async with world.host("mx.example.net", host):
        put_many(world, 110)
        await relay.run()
        sent = len(host.envelopes)
        assert sent + len(world.queue.names()) == 110
        await world.relay(table(**MX_NET)).attempt_due()
    assert len(host.envelopes) == len(set(host.received)) == 110


@in_loop
async def test_a_run_that_is_cancelled_ends_all_connections(world: World) -> None:
    host = Popular()
    relay = world.relay(table(**MX_NET))
    host.ready = partial(gathered, relay, 110)
    async with world.host("mx.example.net", host):
        put_many(world, 110)
        running = asyncio.create_task(relay.run())
        await until(lambda: host.now >= 3)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await until(lambda: not host.now)
        await world.relay(table(**MX_NET)).attempt_due()
    assert len(set(host.received)) == 110
    assert len(host.envelopes) <= 113
    assert world.queue.names() == []


@pytest.mark.parametrize("failing", range(1, 4))
def test_a_disk_that_fails_on_one_of_them_repeats_nothing(
    world: World, failing: int, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Queue):
        def save(self, entry: Entry) -> None:
            if not entry.recipients:
                saved.append(entry.name)
                if len(saved) == 20 * failing:
                    raise OSError(errno.EIO, "not now")
            super().save(entry)

    async def test(world: World) -> None:
        world.queue = Failing(world.queue.path)
        host = Popular()
        relay = world.relay(table(**MX_NET))
        async with world.host("mx.example.net", host):
            messages = put_many(world, 80)
            for _ in range(3):
                await relay.attempt_due()
                world.now += HOUR
        assert sorted(content for _, content in host.received) == messages
        assert world.queue.names() == []

    saved: list[str] = []
    run(test, world)
    assert "not now" in caplog.text


@in_loop
async def test_a_client_that_cannot_be_made_ends_one_way_and_not_the_relay(world: World) -> None:
    made: list[str] = []
    host, other = Popular(), Host()
    usual = world.relay(table())._config.make_client
    assert usual is not None

    def make_client(target: Any) -> Any:
        made.append(target.host)
        if target.host == "mx.example.net" and made.count(target.host) == 2:
            raise RuntimeError("a mistake of the application's")
        return usual(target)

    async with world.host("mx.example.net", host), world.host("mx.example.com", other):
        put_many(world, 60)
        world.put(ERIN)
        relay = world.relay(table(**MX_NET, **COM), make_client=make_client)
        await relay.attempt_due()
        assert len(other.envelopes) == 1
        world.now += HOUR
        await relay.attempt_due()
    assert len(host.envelopes) == len(set(host.received)) == 60


@in_loop
async def test_what_waits_behind_them_is_removed_when_it_is_ordered(world: World) -> None:
    host = Popular()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailproto.relay.relay._POLL_ORDERS", 0.02)
        relay = world.relay(table(**MX_NET))
        host.ready = partial(gathered, relay, 110)
        async with world.host("mx.example.net", host):
            put_many(world, 110)
            running = asyncio.create_task(relay.attempt_due())
            await until(lambda: host.now >= 3)
            for name in world.queue.names():
                world.queue.orders.give(name, Order.REMOVE)
            await running
    assert len(host.envelopes) == len(set(host.received)) < 110
    assert world.queue.names() == []
