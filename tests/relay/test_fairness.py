"""Slow hosts, and that they hold up no mail but their own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from mailproto.address import Address
from mailproto.errors import Reject
from mailproto.relay import Attempt, Fate, Pending, Schedule
from mailproto.smtp import Envelope, Rcpt, Reply
from mailproto.smtp.extensions import PIPELINING
from tests.relay import BOB, CAROL, ERIN, HOUR, LATER, MESSAGE, MX_NET, Host, World, in_loop, run, table, until


@in_loop
async def test_a_slow_domain_holds_nobody_up(world: World) -> None:
    class Slow(Host):
        async def on_mail(self, *_: object) -> None:
            await over.wait()

    over = asyncio.Event()
    slow, quick = Slow(), Host()
    relay = world.relay(table(**MX_NET, com=[(0, "mx.example.com")]))
    async with world.host("mx.example.net", slow), world.host("mx.example.com", quick):
        world.put(BOB)
        running = asyncio.create_task(relay.run())
        await until(lambda: slow.connections)
        for count in range(1, 4):
            relay.wake(world.put(ERIN))
            while len(quick.envelopes) < count:
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        over.set()
        assert [entry.waiting for entry in world.entries()] == [(Pending(BOB),)]
        await relay.attempt_due()
    assert slow.envelopes  # twice perhaps, since all of it was in one flight
    assert world.queue.names() == []


@pytest.mark.parametrize("deferring", [0, 15])
def test_no_number_of_messages_for_a_slow_domain_holds_the_others_up(
    world: World, monkeypatch: pytest.MonkeyPatch, deferring: int
) -> None:
    class Slow(Host):
        async def on_mail(self, *_: object) -> None:
            if next(mails) < deferring:
                raise Reject(451, "Not so fast")
            await over.wait()

    mails = itertools.count()

    async def test(world: World) -> None:
        slow, quick = Slow(), Host()
        relay = world.relay(table(**MX_NET, com=[(0, "mx.example.com")]))
        async with world.host("mx.example.net", slow), world.host("mx.example.com", quick):
            for count in range(100):
                world.put(BOB, message=b"Subject: %d\r\n\r\n" % count)
            running = asyncio.create_task(relay.attempt_due())
            await until(lambda: slow.connections)
            for count in range(1, 4):
                relay.wake(world.put(ERIN))
                while len(quick.envelopes) < count:
                    await asyncio.sleep(0.01)
            assert not slow.envelopes
            over.set()
            await running
            assert slow.connections < 20
            world.now += HOUR
            await relay.attempt_due()
        assert len(slow.envelopes) == len(set(slow.received)) == 100
        assert world.queue.names() == []

    over = asyncio.Event()
    monkeypatch.setattr("mailproto.relay.dispatch._MAX_ACTIVE", 20)
    run(test, world)


@in_loop
async def test_a_domain_for_which_mail_never_ends_lets_the_others_have_their_turn(world: World) -> None:
    class Popular(Host):
        def on_message(self, session: Any, envelope: Envelope) -> Reply:
            for _ in range(2):
                relay.wake(world.put(BOB))
            return super().on_message(session, envelope)

    net, com = Popular(), Host()
    relay = world.relay(table(**MX_NET, com=[(0, "mx.example.com")]), max_connections=1)
    async with world.host("mx.example.net", net), world.host("mx.example.com", com):
        world.put(BOB)
        running = asyncio.create_task(relay.run())
        await until(lambda: len(net.envelopes) >= 5)
        relay.wake(world.put(ERIN))
        await until(lambda: com.envelopes)
        relay.stop()
        await running


@in_loop
async def test_mail_that_never_ends_does_not_keep_what_was_put_off_from_being_tried_again(world: World) -> None:
    """It waits for the end of its way, which would never come; nor is who waits for a place overtaken for ever."""

    class Popular(Host):
        def on_rcpt(self, session: Any, rcpt: Rcpt) -> None:
            world.now += 1.0
            super().on_rcpt(session, rcpt)

        async def on_mail(self, *_: object) -> None:
            if len(self.envelopes) < 100 and name in world.queue.names():
                relay.wake(another := world.put(CAROL))
                await until(lambda: another in relay._dispatcher)
                await asyncio.sleep(0.02)  # in which it comes to its way

    host = Popular(bob=LATER)
    relay = world.relay(table(**MX_NET), schedule=Schedule(first_hour=5.0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailproto.relay.lane._OPEN", 0.2)
        async with world.host("mx.example.net", host):
            name = world.put(BOB)
            world.put(CAROL)
            running = asyncio.create_task(relay.attempt_due())
            await until(lambda: host.envelopes)
            host.replies.clear()
            await running
    assert len(host.envelopes) < 100
    assert world.queue.names() == []


@in_loop
async def test_messages_for_a_slow_domain_among_others_hold_nobody_up(world: World) -> None:
    """Their other recipients get them at once, and they leave their places to other messages."""

    class Slow(Host):
        async def on_mail(self, *_: object) -> None:
            await over.wait()

    over = asyncio.Event()
    slow, quick = Slow(), Host(dan=LATER)
    told: list[Attempt] = []
    relay = world.relay(table(**MX_NET, com=[(0, "mx.example.com")]), on_attempt=told.append)
    dan = Address("dan", "example.com")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailproto.relay.dispatch._MAX_ACTIVE", 20)
        async with world.host("mx.example.net", slow), world.host("mx.example.com", quick):
            for count in range(100):
                world.put(BOB, ERIN, dan, message=b"Subject: %d\r\n\r\n" % count)
            world.put(BOB, dan)
            running = asyncio.create_task(relay.attempt_due())
            await until(lambda: len(quick.envelopes) >= 100)
            relay.wake(world.put(ERIN))
            await until(lambda: len(quick.envelopes) >= 101)
            assert slow.envelopes == []
            over.set()
            await running
    assert len(set(slow.received)) == len(slow.envelopes) == 101
    assert len(quick.envelopes) == 101
    tried = [attempt for attempt in told if attempt.recipient == dan]
    assert [attempt.fate for attempt in tried] == [Fate.DEFERRED] * 101, "nobody is tried twice in one attempt"
    left = (Pending(dan, reply=LATER, remote_mta="mx.example.com"),)
    assert [(entry.waiting, entry.attempts) for entry in world.entries()] == [(left, 1)] * 101


@in_loop
async def test_a_domain_with_much_mail_makes_place_for_others_when_its_turn_is_over(world: World) -> None:
    class Slow(Host):
        async def on_mail(self, *_: object) -> None:
            await asyncio.sleep(0.05)
            # However slow the disk is with the late one.
            await until(lambda: not late or len(relay._dispatcher._lanes._lanes) > 1 or quick.envelopes)

    slow, quick, late = Slow(), Host(), list[str]()
    relay = world.relay(table(**MX_NET, com=[(0, "mx.example.com")]), max_connections=1, turn=0.1)
    async with world.host("mx.example.net", slow), world.host("mx.example.com", quick):
        for count in range(40):
            world.put(BOB, message=b"Subject: %d\r\n\r\n" % count)
        running = asyncio.create_task(relay.attempt_due())
        await until(lambda: slow.envelopes)
        late.append(world.put(ERIN))
        relay.wake(late[0])
        await until(lambda: quick.envelopes)
        assert len(slow.envelopes) < 40
        await running
    assert [content for _, content in slow.received] == [b"Subject: %d\r\n\r\n" % count for count in range(40)]


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def bare_host(world: World, name: str, serve: Serve) -> AsyncIterator[None]:
    """Run a mail host that takes one connection, and see it to its end."""

    async def attend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        over.set()

    over = asyncio.Event()
    async with await asyncio.start_server(attend, "127.0.0.1") as server:
        world.ports[name] = server.sockets[0].getsockname()[1]
        yield
        await over.wait()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer EHLO with one line after another, each in good time, and without an end."""
    writer.write(b"220 hello\r\n")
    await reader.readline()
    while not reader.at_eof():
        writer.write(b"250-AGAIN\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def cling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take a message, and come to no end in the reply to QUIT."""
    for words in (b"220 hello", b"250 hello", b"250 sender", b"250 recipient", b"354 go on"):
        writer.write(words + b"\r\n")
        await (reader.readuntil(b"\r\n") if words[:3] != b"354" else reader.readuntil(b"\r\n.\r\n"))
    writer.write(b"250 taken\r\n")
    while not reader.at_eof():
        writer.write(b"221-Good\r\n")
        await writer.drain()
        await asyncio.sleep(0.2)


@in_loop
async def test_a_host_that_never_comes_to_an_end_with_its_greeting_holds_no_place(world: World) -> None:
    relay = world.relay(table(**MX_NET, com=[(0, "mx.example.com")]), max_connections=1, attempt_timeout=2)
    quick = Host()
    async with bare_host(world, "mx.example.net", drip), world.host("mx.example.com", quick):
        world.put(BOB)
        world.put(ERIN)
        await relay.attempt_due()
    assert len(quick.envelopes) == 1
    ((recipient,),) = (entry.recipients for entry in world.entries())
    assert str(recipient.reply) == "451 4.4.1 mx.example.net cannot be reached: no session within 2 seconds"


class Tarpit(Host):
    """Answers for Bob when the test is over: to RCPT, or to the message."""

    def __init__(self, hook: str) -> None:
        super().__init__()
        self.over = asyncio.Event()
        setattr(self, hook, getattr(self, f"slow_{hook}"))

    async def slow_on_rcpt(self, _: Any, rcpt: Rcpt) -> None:
        if rcpt.address == BOB:
            await self.over.wait()

    async def slow_on_message(self, session: Any, envelope: Envelope) -> Reply:
        if BOB in envelope.forward_paths:
            await self.over.wait()
        return super().on_message(session, envelope)


@pytest.mark.parametrize(("hook", "elsewhere"), [("on_rcpt", 1), ("on_message", 0)])
def test_a_host_that_takes_too_long_for_a_message_is_left(world: World, hook: str, elsewhere: int) -> None:
    """What is behind it is sent. It is itself taken elsewhere, unless the host may have it (RFC 1047)."""

    async def test(world: World) -> None:
        tarpit, other = Tarpit(hook), Host()
        records = [(10, "mx1.example.net"), (20, "mx2.example.net")]
        relay = world.relay(table(net=records), attempt_timeout=2)
        async with (
            world.host("mx1.example.net", tarpit, extensions=(PIPELINING,)),
            world.host("mx2.example.net", other),
        ):
            world.put(CAROL)
            world.put(BOB)
            world.put(CAROL)
            await relay.attempt_due()
            assert [to for to, _ in tarpit.received] == ["carol@example.net"] * 2
            assert tarpit.connections == 2
            assert [to for to, _ in other.received] == ["bob@example.net"] * elsewhere
            assert [str(entry.recipients[0].reply) for entry in world.entries()] == [
                "451 4.4.2 The next host took too long to take the message"
            ] * (1 - elsewhere)
            tarpit.over.set()

    run(test, world)


@in_loop
async def test_a_long_message_may_take_longer(world: World) -> None:
    class Thorough(Host):
        async def on_data(self, *_: object) -> None:
            await asyncio.sleep(3)

    host = Thorough()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailproto.relay.lane._SLOWEST", 100)
        async with world.host("mx.example.net", host, extensions=(PIPELINING,)):
            world.put(BOB, message=MESSAGE)
            world.put(CAROL, message=MESSAGE + b"x" * 998 + b"\r\n")
            await world.relay(table(**MX_NET), attempt_timeout=2).attempt_due()
    assert [to for to, _ in host.received] == ["carol@example.net"]


@in_loop
async def test_a_host_that_comes_to_no_end_of_a_goodbye_holds_no_place(world: World) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailproto.relay.lane._GOODBYE", 0.3)
        async with bare_host(world, "mx.example.net", cling):
            world.put(BOB)
            begun = asyncio.get_running_loop().time()
            await world.relay(table(**MX_NET)).attempt_due()
            assert asyncio.get_running_loop().time() - begun < 10, "a reply of a hundred lines ends by itself, later"
    assert world.queue.names() == []
