"""What is told of each attempt: the lines of the log, and the hook."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mailproto.address import Address
from mailproto.relay import Attempt, Fate, Pending, log_attempt
from mailproto.smtp import Notify, OriginalRecipient, RcptParameters, Reply
from mailproto.smtp.extensions import DSN
from tests.relay import (
    ADA,
    BOB,
    CAROL,
    DAN,
    HOME,
    HOUR,
    LATER,
    MX_NET,
    NO_SUCH_USER,
    Host,
    World,
    in_loop,
    run,
    table,
)

SUCCESS = RcptParameters(frozenset({Notify.SUCCESS}), OriginalRecipient("rfc822", "bob@example.net"))


def told_by(attempts: list[Attempt]) -> Iterator[tuple[str, Fate, str | None, str]]:
    for each in attempts:
        yield each.recipient.local_part, each.fate, each.host, str(each.reply)


@pytest.mark.parametrize("dsn", [False, True])
def test_each_outcome_is_told_once(world: World, dsn: bool) -> None:
    """Whoever writes the notices."""
    told: list[Attempt] = []

    async def test(world: World) -> None:
        host, home = Host(carol=NO_SUCH_USER, dan=LATER), Host()
        async with world.host("mx.example.net", host, *([DSN] * dsn)), world.host("mx.example.org", home):
            name = world.put(Pending(BOB, SUCCESS), CAROL, DAN)
            await world.relay(table(**MX_NET, **HOME), on_attempt=told.append).attempt_due()
        about = [each for each in told if each.queue_id == name]
        assert sorted(told_by(about)) == [
            ("bob", Fate.DELIVERED, "mx.example.net", "250 Taken"),
            ("carol", Fate.BOUNCED, "mx.example.net", "550 5.1.1 No such user"),
            ("dan", Fate.DEFERRED, "mx.example.net", "451 4.7.1 Not so fast"),
        ]
        assert {each.sender for each in about} == {ADA}
        assert all(each.duration is not None and 0 < each.duration < 5 for each in about)
        (notice,) = (each for each in told if each.queue_id != name)
        assert (notice.sender, notice.recipient, notice.fate) == (None, ADA, Fate.DELIVERED)

    run(test, world)


@in_loop
async def test_an_attempt_at_several_hosts_is_one(world: World) -> None:
    """What the last one said counts."""
    told: list[Attempt] = []
    records = [(10, "down.example.net"), (20, "picky.example.net"), (30, "last.example.net")]
    picky, last = Host(bob=LATER, carol=LATER), Host(bob=LATER)
    async with world.host("picky.example.net", picky), world.host("last.example.net", last):
        world.put(BOB, CAROL)
        await world.relay(table(net=records), on_attempt=told.append).attempt_due()
    assert list(told_by(told)) == [
        ("carol", Fate.DELIVERED, "last.example.net", "250 Taken"),
        ("bob", Fate.DEFERRED, "last.example.net", "451 4.7.1 Not so fast"),
    ]


@in_loop
async def test_what_expires_has_bounced(world: World) -> None:
    told: list[Attempt] = []
    relay = world.relay(table(**MX_NET), on_attempt=told.append)
    world.put(BOB, sender=None)
    while world.queue.names():
        await relay.attempt_due()
        world.now += HOUR
    assert {each.fate for each in told[:-1]} == {Fate.DEFERRED}
    assert told[-1].fate is Fate.BOUNCED
    assert (told[-1].age, told[-1].host) == (5 * 24 * HOUR, "mx.example.net")


@in_loop
async def test_where_no_host_was_asked_there_is_none(world: World) -> None:
    told: list[Attempt] = []
    world.put(BOB, sender=None)
    await world.relay(table(), on_attempt=told.append).attempt_due()
    ((attempt,),) = [told]
    assert (attempt.fate, attempt.host, attempt.duration) == (Fate.BOUNCED, None, None)


def test_a_line_of_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def test(world: World) -> None:
        async with world.host("mx.example.net", Host()):
            world.put(BOB)
            world.now += 90
            await world.relay(table(**MX_NET)).attempt_due()

    caplog.set_level("INFO", "mailproto.relay")
    run(test, world)
    (record,) = (record for record in caplog.records if record.name == "mailproto.relay")
    begin, _, end = record.getMessage().partition(" duration=")
    assert begin == "m0001: delivered to=<bob@example.net> from=<ada@example.org> host=mx.example.net"
    assert end.partition(" ")[2] == "age=90 reply=250 Taken"
    assert vars(record)["attempt"].fate is Fate.DELIVERED


def test_strangers_cannot_write_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """S54: one line, no controls, nothing turned around, and not endless."""
    attempt = Attempt(
        queue_id="m1",
        sender=Address("a\u202eb", "example.org"),
        recipient=Address("b to=<x>", "example.net"),
        fate=Fate.BOUNCED,
        host="mx\x1b[2J",
        reply=Reply(550, "no\nm2: delivered\x1b[2J\x9b\r\u2066" + "x" * 10_000),
        duration=None,
        age=0.4,
    )
    caplog.set_level("INFO")
    log_attempt(attempt)
    (line,) = caplog.messages
    assert line.isprintable()
    assert len(line) < 600
    assert line.startswith(r'm1: bounced to=<"b to=<x>"@example.net> from=<a\u202eb@')
    assert r"reply=550 no / m2: delivered\x1b[2J\x9b\r\u2066xxx" in line


def test_a_hook_that_fails_stops_no_mail(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Attempt) -> None:
        raise RuntimeError("the disk of the statistics is full")

    async def test(world: World) -> None:
        host = Host(carol=LATER)
        async with world.host("mx.example.net", host):
            world.put(BOB, CAROL)
            await world.relay(table(**MX_NET), on_attempt=fail).attempt_due()
        assert [to for to, _ in host.received] == ["bob@example.net"]
        assert [entry.waiting[0].address for entry in world.entries()] == [CAROL]

    run(test, world)
    assert caplog.messages == ["m0001: what came of it could not be told"] * 2


@in_loop
async def test_what_was_not_tried_because_the_relay_stops_is_not_told(world: World) -> None:
    class Last(Host):
        def on_message(self, session: Any, envelope: Any) -> Reply:
            relay.stop()
            return super().on_message(session, envelope)

    told: list[Attempt] = []
    relay = world.relay(table(**MX_NET), on_attempt=told.append)
    async with world.host("mx.example.net", Last()):
        world.put(BOB)
        world.put(CAROL)
        await relay.run()
    assert [each.recipient for each in told] == [BOB]
