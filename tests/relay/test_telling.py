"""What the sender hears of his mail, and the log."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mailproto.address import Address
from mailproto.relay import Entry, Pending, Queue, Schedule
from mailproto.smtp import Envelope, MailParameters, Notify, OriginalRecipient, Rcpt, RcptParameters, Reply, Ret
from mailproto.smtp.extensions import DSN
from tests.relay import (
    ADA,
    BOB,
    CAROL,
    DAN,
    HOME,
    HOUR,
    LATER,
    MESSAGE,
    MX_NET,
    NO_SUCH_USER,
    START,
    Host,
    World,
    in_loop,
    read_notice,
    run,
    table,
)


@in_loop
async def test_a_refused_recipient_is_reported_and_the_others_get_it(world: World) -> None:
    host, home = Host(carol=NO_SUCH_USER), Host()
    async with world.host("mx.example.net", host), world.host("mx.example.org", home):
        world.put(BOB, CAROL, parameters=MailParameters(envid="QQ314159"))
        await world.relay(table(**MX_NET, **HOME)).attempt_due()
    assert host.received == [("bob@example.net", MESSAGE)]
    ((to, content),) = home.received
    assert to == str(ADA)
    assert home.envelopes[0].reverse_path is None
    message, (about_it, about_carol) = read_notice(content)
    assert message["To"] == "ada@example.org"
    assert about_it["Original-Envelope-Id"] == "QQ314159"
    assert about_carol["Final-Recipient"] == "rfc822; carol@example.net"
    assert about_carol["Remote-MTA"] == "dns; mx.example.net"
    assert about_carol["Diagnostic-Code"] == "smtp; 550 5.1.1 No such user"
    assert world.queue.names() == []


@in_loop
async def test_the_longest_name_is_none_too_long_for_a_notice(world: World) -> None:
    home = Host()
    async with world.host("mx.example.org", home):
        world.queue.add(Entry("m" * 40, ADA, (Pending(BOB),), START, START), [MESSAGE])
        await world.relay(table(**HOME)).attempt_due()
    assert len(home.envelopes) == 1
    assert world.queue.names() == []


@in_loop
async def test_a_failed_notice_is_not_noticed(world: World) -> None:
    """RFC 5321 section 6.1: the one that says so to the sender is the last."""
    host = Host(carol=NO_SUCH_USER, ada=NO_SUCH_USER)
    async with world.host("mx.example.net", host), world.host("mx.example.org", host):
        world.put(CAROL)
        world.put(CAROL, sender=None)
        await world.relay(table(**MX_NET, **HOME)).attempt_due()
    assert host.envelopes == []
    assert world.queue.names() == []


def test_what_a_host_says_is_one_line_of_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Under the name that the message has, and with nothing in it that turns letters around."""

    to = Address("b\N{RIGHT-TO-LEFT OVERRIDE}ob", "example.net")

    async def test(world: World) -> None:
        host = Host()
        host.replies[to.local_part] = Reply.build(550, "No such user\nERROR: root logged in", "5.1.1")
        async with world.host("mx.example.net", host):
            world.put(to, sender=None, parameters=MailParameters(smtputf8=True))
            await world.relay(table(**MX_NET), on_attempt=lambda _: None).attempt_due()

    run(test, world)
    assert caplog.messages == [
        r"m0001: undeliverable to <b\u202eob@example.net>, and nobody to be told: "
        r"550 5.1.1 No such user / ERROR: root logged in"
    ]


@in_loop
async def test_it_is_tried_again_told_of_once_and_given_up(world: World) -> None:
    """RFC 5321 section 4.5.4.1, by a clock that is set."""
    host, home = Host(bob=LATER), Host()
    relay = world.relay(table(**MX_NET, **HOME))
    attempts = []
    async with world.host("mx.example.net", host), world.host("mx.example.org", home):
        world.put(BOB)
        while world.queue.names():
            before = host.connections
            await relay.attempt_due()
            if host.connections > before:
                attempts.append(world.now - START)
            world.now += 600
    assert attempts[:5] == [0, 1800, 3600, 3 * HOUR, 5 * HOUR]
    assert attempts[-1] == 5 * 24 * HOUR
    assert len(attempts) == 3 + 60
    notices = [read_notice(content) for _, content in home.received]
    assert [message["Subject"] for message, _ in notices] == ["Delayed mail", "Undelivered mail"]
    (_, delayed), (_, failed) = (fields for _, fields in notices)
    assert (delayed["Action"], delayed["Status"]) == ("delayed", "4.7.1")
    assert (failed["Action"], failed["Status"]) == ("failed", "4.7.1")
    assert delayed["Will-Retry-Until"] == "Wed, 20 Jan 2027 08:00:00 +0000"
    assert "Will-Retry-Until" not in failed


@in_loop
async def test_who_is_late_and_who_is_not(world: World) -> None:
    """Only those who have not got it are tried again, and told of."""
    host, home = Host(bob=LATER), Host()
    schedule = Schedule(delay_notice=HOUR)
    async with world.host("mx.example.net", host), world.host("mx.example.org", home):
        world.put(BOB, CAROL, DAN)
        await world.relay(table(**MX_NET, **HOME), schedule=schedule).attempt_due()
        (entry,) = world.entries()
        assert [(each.address, each.reply) for each in entry.recipients] == [(BOB, LATER)]
        host.replies.clear()
        world.now += HOUR
        await world.relay(table(**MX_NET, **HOME), schedule=schedule).attempt_due()
    assert [to for to, _ in host.received] == ["carol@example.net,dan@example.net", "bob@example.net"]
    assert home.envelopes == []


SUCCESS = RcptParameters(frozenset({Notify.SUCCESS}), OriginalRecipient("rfc822", "Bob@Example.NET"))
NEVER = RcptParameters(frozenset({Notify.NEVER}))


@in_loop
async def test_the_next_host_keeps_the_promises_of_dsn(world: World) -> None:
    """RFC 3461 section 5.2.1: all of it is passed on, and nobody is told of success here."""
    host, home = Host(), Host()
    async with world.host("mx.example.net", host, DSN), world.host("mx.example.org", home):
        parameters = MailParameters(ret=Ret.HDRS, envid="QQ+314159")
        world.put(Pending(BOB, SUCCESS), Pending(CAROL, NEVER), DAN, parameters=parameters)
        await world.relay(table(**MX_NET, **HOME)).attempt_due()
    assert home.envelopes == []
    (envelope,) = host.envelopes
    assert (envelope.mail.parameters.ret, envelope.mail.parameters.envid) == (Ret.HDRS, "QQ+314159")
    assert [recipient.parameters for recipient in envelope.recipients] == [SUCCESS, NEVER, RcptParameters()]
    assert world.queue.names() == []


@in_loop
async def test_the_relay_keeps_them_where_the_next_host_does_not(world: World) -> None:
    """RFC 3461 section 5.2.2."""
    host, home = Host(carol=NO_SUCH_USER), Host()
    async with world.host("mx.example.net", host), world.host("mx.example.org", home):
        parameters = MailParameters(ret=Ret.FULL, envid="QQ314159")
        world.put(Pending(BOB, SUCCESS), Pending(CAROL, NEVER), DAN, parameters=parameters)
        await world.relay(table(**MX_NET, **HOME)).attempt_due()
    assert host.envelopes[0].mail.parameters.envid is None
    ((_, content),) = home.received
    _, (_, fields) = read_notice(content)
    assert fields["Original-Recipient"] == "rfc822;Bob@Example.NET"
    assert (fields["Action"], fields["Remote-MTA"]) == ("relayed", "dns; mx.example.net")
    assert world.queue.names() == []


@in_loop
async def test_a_notice_that_a_crash_left_behind_is_on_its_way_when_there_is_more_to_tell(world: World) -> None:
    """The crash came when the notice about CAROL was in the queue, and she not yet out of it. Now BOB fails too."""

    class Crashing(Queue):
        def save(self, entry: Entry) -> None:
            if entry.notices:
                raise OSError("the power is gone")
            super().save(entry)

    class Slow:
        def __init__(self) -> None:
            self.notices: list[bytes] = []

        def on_rcpt(self, _: Any, rcpt: Rcpt) -> None:
            pass

        async def on_message(self, _: Any, envelope: Envelope) -> None:
            while name in queue.names():
                await asyncio.sleep(0.005)
            self.notices.append(bytes(envelope))

    queue = world.queue
    host, home = Host(carol=NO_SUCH_USER, bob=LATER), Slow()
    async with world.host("mx.example.net", host), world.host("mx.example.org", home):
        home_port = world.ports.pop("mx.example.org")
        name = world.put(BOB, CAROL)
        world.queue = Crashing(queue.path)
        await world.relay(table(**MX_NET, **HOME)).attempt_due()
        assert queue.names() == [name, f"{name}.0"]
        world.queue = queue
        world.ports["mx.example.org"] = home_port
        world.now += HOUR
        host.replies["bob"] = NO_SUCH_USER
        await world.relay(table(**MX_NET, **HOME)).attempt_due()
    assert queue.names() == []
    assert [b"bob@example.net" in notice for notice in home.notices] == [False, True]
    assert [b"carol@example.net" in notice for notice in home.notices] == [True, True]
