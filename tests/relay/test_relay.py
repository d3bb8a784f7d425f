"""The relay over real connections: who gets what, when it is tried again, and what the sender hears of it."""

from __future__ import annotations

import asyncio
import errno
import itertools
import ssl
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mailproto import aio
from mailproto.address import Address
from mailproto.aio import TLSPolicy
from mailproto.errors import Reject
from mailproto.maildrop import MaildropBusyError
from mailproto.relay import Entry, Pending, Queue, Relay, RelayHandler, Schedule
from mailproto.relay.lane import Lane
from mailproto.smtp import (
    Body,
    Envelope,
    Limits,
    MailParameters,
    Notify,
    OriginalRecipient,
    Rcpt,
    RcptParameters,
    Reply,
    Ret,
)
from mailproto.smtp.alabels import idna_2003
from mailproto.smtp.extensions import DSN, PIPELINING, SIZE
from mailproto.smtp.notices import Action
from mailproto.smtp.routing import LOOKUP_FAILED, MX, NO_SUCH_DOMAIN, RoutingError, StaticResolver
from tests import data
from tests.relay import (
    ADA,
    BOB,
    CAROL,
    DAN,
    ERIN,
    HOME,
    HOUR,
    MESSAGE,
    MX_NET,
    START,
    Host,
    World,
    read_notice,
    run,
    table,
)

NO_SUCH_USER = Reply.build(550, "No such user", "5.1.1")
LATER = Reply.build(451, "Not so fast", "4.7.1")
Test = Callable[[World], Awaitable[None]]


def in_loop(test: Test) -> Callable[[World], None]:
    """Make a test of a coroutine function."""

    def wrapped(world: World) -> None:
        run(test, world)

    wrapped.__name__ = test.__name__
    wrapped.__doc__ = test.__doc__
    return wrapped


@in_loop
async def test_mail_goes_to_where_it_belongs(world: World) -> None:
    net, com = Host(), Host()
    async with world.host("mx.example.net", net), world.host("mx.example.com", com):
        world.put(BOB, ERIN, CAROL)
        await world.relay(table(**MX_NET, com=[(0, "mx.example.com")])).attempt_due()
    assert net.received == [("bob@example.net,carol@example.net", MESSAGE)]
    assert com.received == [("erin@example.com", MESSAGE)]
    assert net.envelopes[0].reverse_path == ADA
    assert world.queue.names() == []
    assert [path.name for path in world.queue.path.rglob("*") if path.is_file()] == ["lock"]


@in_loop
async def test_several_messages_go_over_one_connection(world: World) -> None:
    host = Host()
    async with world.host("mx.example.net", host):
        for count in range(20):
            world.put(BOB, message=b"Subject: %d\r\n\r\n" % count)
        await world.relay(table(**MX_NET)).attempt_due()
    assert [content for _, content in host.received] == [b"Subject: %d\r\n\r\n" % count for count in range(20)]
    assert host.connections == 1


@in_loop
async def test_the_server_that_takes_three_at_a_time_is_asked_again(world: World) -> None:
    class Three(Host):
        def on_mail(self, session: Any, _: object) -> None:
            session.state["count"] = session.state.get("count", 0) + 1
            if session.state["count"] > 3:
                session.conn.reply(Reply.build(421, "Enough for now", "4.7.0"))

    host = Three()
    async with world.host("mx.example.net", host):
        for _ in range(8):
            world.put(BOB)
        await world.relay(table(**MX_NET)).attempt_due()
    assert (host.connections, len(host.envelopes)) == (3, 8)
    assert world.queue.names() == []


@pytest.mark.parametrize("reply", [Reply.build(452, "Too many", "4.5.3"), Reply.build(552, "Too many")])
def test_recipients_of_whom_there_are_too_many(world: World, reply: Reply) -> None:
    """RFC 5321 section 4.5.3.1.10: the others follow at once."""

    class Few(Host):
        def on_rcpt(self, session: Any, rcpt: Rcpt) -> None:
            super().on_rcpt(session, rcpt)
            if len(session.envelope.recipients) >= 4:
                raise Reject(reply.code, reply.text, str(reply.enhanced) if reply.enhanced else None)

    async def test(world: World) -> None:
        host = Few()
        async with world.host("mx.example.net", host, extensions=(PIPELINING, SIZE)):
            world.put(*(Address(f"user{number}", "example.net") for number in range(10)))
            await world.relay(table(**MX_NET)).attempt_due()
        assert [len(envelope.recipients) for envelope in host.envelopes] == [4, 4, 2]
        assert host.connections == 1
        assert world.queue.names() == []

    run(test, world)


@in_loop
async def test_a_host_that_says_how_much_it_takes_on_a_connection_gets_the_rest_on_another(world: World) -> None:
    """RFC 9422 sections 4.1 and 4.2, at once: they have not to wait for the next attempt."""
    host = Host()
    async with world.host("mx.example.net", host, limits=Limits(max_transactions=2, max_recipients=2)):
        world.put(*(Address(f"user{number}", "example.net") for number in range(9)))
        world.put(BOB)
        await world.relay(table(**MX_NET)).attempt_due()
    assert sorted(len(envelope.recipients) for envelope in host.envelopes) == [1, 1, 2, 2, 2, 2]
    assert host.connections == 3
    assert world.queue.names() == []


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
    async def test(world: World) -> None:
        host = Host(bob=Reply.build(550, "No such user\nERROR: root logged in", "5.1.1"))
        async with world.host("mx.example.net", host):
            world.put(BOB, sender=None)
            await world.relay(table(**MX_NET)).attempt_due()

    run(test, world)
    (line,) = caplog.messages
    assert line.endswith("550 5.1.1 No such user / ERROR: root logged in")


@in_loop
async def test_the_next_host_is_tried(world: World) -> None:
    """RFC 5321 section 5.1: in the order of preference, past one that is down, one that is busy, one that defers."""
    busy, picky, last = Host(), Host(bob=LATER), Host()
    busy.greeting = Reply.build(421, "Too busy")
    records = [
        (10, "down.example.net"),
        (20, "busy.example.net"),
        (30, "picky.example.net"),
        (40, "last.example.net"),
    ]
    async with (
        world.host("busy.example.net", busy),
        world.host("picky.example.net", picky),
        world.host("last.example.net", last),
    ):
        world.put(BOB, CAROL)
        await world.relay(table(net=records)).attempt_due()
    assert [name.partition(".")[0] for name in world.asked] == ["down", "busy", "picky", "last"]
    assert picky.received == [("carol@example.net", MESSAGE)]
    assert last.received == [("bob@example.net", MESSAGE)]
    assert world.queue.names() == []


@in_loop
async def test_every_address_of_a_host_is_tried(world: World) -> None:
    host = Host()
    resolver = StaticResolver(
        {"example.net": [MX(10, "mx.example.net")]}, {"mx.example.net": ["127.0.0.2", "127.0.0.3", "127.0.0.1"]}
    )
    async with world.host("mx.example.net", host):
        world.put(BOB)
        await world.relay(resolver).attempt_due()
        world.put(BOB)
        await world.relay(resolver, max_targets=2).attempt_due()
    assert len(host.envelopes) == 1
    assert len(world.entries()) == 1
    assert world.asked == ["mx.example.net"] * 5


@in_loop
async def test_what_is_refused_for_good_is_not_tried_elsewhere(world: World) -> None:
    first, second, home = Host(bob=NO_SUCH_USER), Host(), Host()
    records = [(10, "mx1.example.net"), (20, "mx2.example.net")]
    async with (
        world.host("mx1.example.net", first),
        world.host("mx2.example.net", second),
        world.host("mx.example.org", home),
    ):
        world.put(BOB)
        await world.relay(table(net=records, **HOME)).attempt_due()
    assert second.connections == 0
    assert len(home.envelopes) == 1


@in_loop
async def test_hosts_that_take_no_mail_at_all(world: World) -> None:
    """RFC 7504: 521 is final, once every host says so."""
    closed, home = Host(), Host()
    closed.greeting = Reply.build(521, "No mail here")
    async with world.host("mx.example.net", closed), world.host("mx.example.org", home):
        world.put(BOB)
        relay = world.relay(table(net=[(10, "mx.example.net"), (20, "down.example.net")], **HOME))
        await relay.attempt_due()
        assert home.envelopes == []
        world.now += HOUR
        await world.relay(table(**MX_NET, **HOME)).attempt_due()
    _, (_, fields) = read_notice(home.received[0][1])
    assert fields["Diagnostic-Code"] == "smtp; 521 No mail here"


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


class Doubtful:
    """A resolver that raises what it is told to."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def mx(self, domain: str) -> list[MX]:
        if domain == "example.org":
            return [MX(10, "mx.example.org")]
        raise self._error

    async def addresses(self, _: str) -> list[str]:
        return ["127.0.0.1"]


@pytest.mark.parametrize(
    ("records", "status"),
    [
        ([(0, ".")], "5.1.10"),
        ([(10, "relay.example.org")], "5.4.6"),
        ([(10, "no host at all")], "5.4.4"),
        (None, "5.4.4"),
    ],
)
def test_there_is_no_way_to_the_domain(world: World, records: list[tuple[int, str]] | None, status: str) -> None:
    async def test(world: World) -> None:
        home = Host()
        async with world.host("mx.example.org", home):
            world.put(BOB)
            await world.relay(table(**HOME, **({} if records is None else {"net": records}))).attempt_due()
        _, (_, fields) = read_notice(home.received[0][1])
        assert fields["Status"] == status
        assert "Remote-MTA" not in fields
        assert world.queue.names() == []

    run(test, world)


@in_loop
async def test_mail_that_goes_in_a_circle_ends(world: World) -> None:
    """RFC 5321 section 6.3: where the DNS leads a relay to itself under another name, the hops are counted."""
    home = Host()
    relay = world.relay(table(**MX_NET, **HOME))
    itself = RelayHandler(world.queue, postmaster=ADA, trusted=["127.0.0.1"], queued=relay.wake)
    async with world.host("mx.example.net", itself), world.host("mx.example.org", home):
        world.put(BOB)
        await relay.attempt_due()
    ((_, content),) = home.received
    assert b"\r\nStatus: 5.4.6\r\n" in content
    assert 100 <= content.count(b"\r\nReceived: ") <= 101
    assert world.queue.names() == []


@in_loop
async def test_the_look_up_fails(world: World) -> None:
    home = Host()
    async with world.host("mx.example.org", home):
        world.put(BOB)
        await world.relay(Doubtful(RoutingError(LOOKUP_FAILED))).attempt_due()
        (entry,) = world.entries()
        assert entry.recipients[0].reply == LOOKUP_FAILED
        world.now += HOUR
        await world.relay(Doubtful(RoutingError(NO_SUCH_DOMAIN))).attempt_due()
    _, (_, fields) = read_notice(home.received[0][1])
    assert fields["Status"] == "5.1.2"


class Backup:
    """A resolver that finds the first host of example.net, and of the second one none of the addresses."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    async def mx(self, _: str) -> list[MX]:
        return [MX(1, "mx.example.net"), MX(2, "backup.example.net")]

    async def addresses(self, host: str) -> list[str]:
        if host == "mx.example.net":
            return ["127.0.0.1"]
        raise RoutingError(self._reply)


@pytest.mark.parametrize("reply", [LOOKUP_FAILED, NO_SUCH_DOMAIN])
def test_a_host_that_cannot_be_found_holds_up_no_mail_for_another(world: World, reply: Reply) -> None:
    async def test(world: World) -> None:
        host = Host()
        async with world.host("mx.example.net", host):
            world.put(BOB)
            await world.relay(Backup(reply)).attempt_due()
        assert host.received == [("bob@example.net", MESSAGE)]

    run(test, world)


@in_loop
async def test_a_host_that_cannot_be_found_may_take_what_the_others_never_do(world: World) -> None:
    host = Host()
    host.greeting = Reply.build(554, "No mail here")
    async with world.host("mx.example.net", host):
        world.put(BOB)
        await world.relay(Backup(LOOKUP_FAILED)).attempt_due()
    (entry,) = world.entries()
    assert entry.waiting == (Pending(BOB, reply=LOOKUP_FAILED),)


def test_a_resolver_that_falls_over_loses_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def test(world: World) -> None:
        world.put(BOB)
        await world.relay(Doubtful(RuntimeError("a bug"))).attempt_due()

    run(test, world)
    (entry,) = world.entries()
    assert entry.waiting == (Pending(BOB),)
    assert entry.due == START + 1800
    assert caplog.messages == ["the way to example.net failed"]


@in_loop
async def test_an_address_literal(world: World) -> None:
    host = Host()
    async with world.host("[127.0.0.1]", host):
        world.put(Address("bob", "[127.0.0.1]"))
        await world.relay(table()).attempt_due()
    assert len(host.envelopes) == 1


@pytest.mark.parametrize("encode", [idna_2003, lambda _: "xn--of-2008.example"])
def test_a_domain_beyond_ascii_is_looked_up_in_a_labels(world: World, encode: Callable[[str], str]) -> None:
    name, host = encode("b\u00fccher.example"), Host()
    resolver = StaticResolver({name: [MX(10, "mx.example.net")]}, {"mx.example.net": ["127.0.0.1"]})

    async def test(world: World) -> None:
        async with world.host("mx.example.net", host):
            world.put(Address("bob", "b\u00fccher.example"))
            await world.relay(resolver, idna_encode=encode).attempt_due()

    run(test, world)
    assert len(host.envelopes) == 1


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
async def test_the_broken_connection_behind_the_end_of_a_message(world: World) -> None:
    """RFC 1047: it may have come, so no other host gets it at once; but it may not, so it is sent again."""

    taken: list[bytes] = []

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for words in (b"220 hello", b"250 hello", b"250 sender", b"250 recipient", b"354 go on"):
            writer.write(words + b"\r\n")
            await (reader.readuntil(b"\r\n") if words[:3] != b"354" else reader.readuntil(b"\r\n.\r\n"))
        taken.append(words)
        writer.close()

    other = Host()
    records = [(10, "mx1.example.net"), (20, "mx2.example.net")]
    async with await asyncio.start_server(die, "127.0.0.1") as dying, world.host("mx2.example.net", other):
        world.ports["mx1.example.net"] = dying.sockets[0].getsockname()[1]
        world.put(BOB)
        await world.relay(table(net=records)).attempt_due()
        assert (len(taken), other.connections) == (1, 0)
        (entry,) = world.entries()
        assert entry.recipients[0].reply is not None
        assert str(entry.recipients[0].reply.enhanced) == "4.4.2"
        world.ports["mx1.example.net"] = 1
        world.now += HOUR
        await world.relay(table(net=records)).attempt_due()
    assert len(other.envelopes) == 1


UTF8 = "Subject: Gr\u00fc\u00dfe\r\n\r\n\u00f1\r\n".encode()
OLD = (PIPELINING, SIZE)


@pytest.mark.parametrize(
    ("message", "parameters", "config", "status"),
    [
        (MESSAGE + b"x" * 98 + b"\r\n", MailParameters(), {"max_message_size": 100}, "5.3.4"),
        (UTF8, MailParameters(smtputf8=True, body=Body.EIGHT_BIT_MIME), {"extensions": OLD}, "5.6.7"),
    ],
)
def test_what_the_next_host_cannot_take(
    world: World, message: bytes, parameters: MailParameters, config: dict[str, Any], status: str
) -> None:
    async def test(world: World) -> None:
        host, home = Host(), Host()
        async with world.host("mx.example.net", host, **config), world.host("mx.example.org", home):
            world.put(BOB, message=message, parameters=parameters)
            await world.relay(table(**MX_NET, **HOME)).attempt_due()
        assert host.envelopes == []
        ((_, content),) = home.received
        assert f"Status: {status}\r\n".encode() in content

    run(test, world)


@in_loop
async def test_eight_bits_for_a_host_that_takes_seven(world: World) -> None:
    """RFC 6152 section 3: rather other octets than none."""
    host = Host()
    message = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + "\u00f1\r\n".encode()
    async with world.host("mx.example.net", host, extensions=OLD):
        world.put(BOB, message=message, parameters=MailParameters(body=Body.EIGHT_BIT_MIME))
        await world.relay(table(**MX_NET)).attempt_due()
    ((_, content),) = host.received
    assert content.endswith(b"\r\n\r\n=C3=B1\r\n")


@in_loop
async def test_utf8_goes_on_as_utf8(world: World) -> None:
    host, utf8 = Host(), Address("j\u00f6rg", "example.net")
    async with world.host("mx.example.net", host):
        world.put(utf8, message=UTF8, parameters=MailParameters(smtputf8=True, body=Body.EIGHT_BIT_MIME))
        await world.relay(table(**MX_NET)).attempt_due()
    assert host.received == [(str(utf8), UTF8)]
    assert host.envelopes[0].mail.parameters.smtputf8


@in_loop
async def test_a_message_of_many_octets_is_streamed(world: World) -> None:
    host, message = Host(), MESSAGE + b"0123456789abcdef.\xe4\r\n" * 200_000
    async with world.host("mx.example.net", host):
        world.put(BOB, message=message, parameters=MailParameters(body=Body.EIGHT_BIT_MIME))
        await world.relay(table(**MX_NET)).attempt_due()
    assert host.received == [("bob@example.net", message)]
    assert host.envelopes[0].mail.parameters.size == len(message)
    assert host.envelopes[0].mail.parameters.body is Body.EIGHT_BIT_MIME


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
        with pytest.raises(MaildropBusyError):
            await world.relay(table()).attempt_due()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        relay.wake("gone")  # which harms nobody
        await world.relay(table()).attempt_due()
    assert world.queue.names() == []


@pytest.mark.parametrize("certificate", [data.SELF_SIGNED, data.EXPIRED, data.WRONG_NAME])
def test_any_certificate_is_better_than_none(
    world: World, certificate: data.KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 7435: nobody vouches for it, but who only listens hears nothing."""
    context = aio.server_context(certificate.certificate, certificate.key)

    async def test(world: World) -> None:
        host = Host()
        async with aio.SMTPServer(host, port=0, tls=context) as server:
            monkeypatch.setattr("mailproto.relay.config.RELAY_PORT", server.port)
            world.put(BOB)
            await world.relay(table(**MX_NET), make_client=None).attempt_due()
        assert host.secure == [True]

    run(test, world)


@in_loop
async def test_an_address_literal_is_no_name_of_a_server(world: World) -> None:
    """RFC 6066 section 3: a server may break off the handshake over one."""
    names: list[str | None] = []
    context = aio.server_context(data.SERVER.certificate, data.SERVER.key)
    context.sni_callback = lambda _, name, __: names.append(name)
    async with aio.SMTPServer(Host(), port=0, tls=context) as server:
        world.put(Address("bob", "[127.0.0.1]"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mailproto.relay.config.RELAY_PORT", server.port)
            await world.relay(table(), make_client=None).attempt_due()
    assert world.queue.names() == []
    assert names == [None]


@in_loop
async def test_where_tls_fails_mail_goes_without(world: World) -> None:
    """RFC 7435 section 3: to a host that offers STARTTLS and cannot do it, rather than not at all."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # without a certificate
    host = Host()
    async with aio.SMTPServer(host, port=0, tls=context) as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mailproto.relay.config.RELAY_PORT", server.port)
            world.put(BOB)
            world.put(BOB)
            await world.relay(table(**MX_NET), make_client=None).attempt_due()
    assert host.secure == [False, False]
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
            while not host.envelopes:
                await asyncio.sleep(0.01)
            relay.stop()
            await running
    assert world.queue.names() == []


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
async def test_what_comes_while_a_host_is_left_is_tried(world: World) -> None:
    class Slow(aio.SMTPClient):
        async def quit(self) -> None:
            while len(late) < 3:
                late.append(world.put(CAROL))
                relay.wake(late[-1])
            await asyncio.sleep(0.1)
            await super().quit()

    def make_client(host: str, address: str) -> aio.SMTPClient:
        return Slow(address, world.ports[host], tls=TLSPolicy.NONE)

    late: list[str] = []
    host = Host(bob=LATER)
    relay = world.relay(table(**MX_NET), make_client=make_client)
    async with world.host("mx.example.net", host):
        world.put(BOB)
        await relay.attempt_due()
    assert host.received == [("carol@example.net", MESSAGE)] * 3
    assert host.connections == 2


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
        while not slow.connections:
            await asyncio.sleep(0.01)
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
            while not slow.connections:
                await asyncio.sleep(0.01)
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
    monkeypatch.setattr("mailproto.relay.relay._MAX_ACTIVE", 20)
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
        while len(net.envelopes) < 5:
            await asyncio.sleep(0.01)
        relay.wake(world.put(ERIN))
        while not com.envelopes:
            await asyncio.sleep(0.01)
        relay.stop()
        await running


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_a_disk_that_takes_nothing_more_repeats_no_message(
    world: World, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """What is on disk is out of date then, and is found there at every look."""

    class Full(Queue):
        def save(self, entry: Entry) -> None:
            if full:
                raise OSError(number, "nothing more")
            super().save(entry)

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
            full.clear()
            del com.replies["erin"]
            while world.queue.names():
                world.now += HOUR
                await asyncio.sleep(0.01)
            relay.stop()
            await running
        assert (len(net.envelopes), len(com.envelopes)) == (2, 1)

    full = ["yes"]
    monkeypatch.setattr("mailproto.relay.relay._POLL", 0.05)
    world.queue = Full(world.queue.path)
    run(test, world)


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


def test_it_stops_while_it_notes_that_there_is_no_way(world: World, caplog: pytest.LogCaptureFixture) -> None:
    loop: Any = None

    class Stopping(Queue):
        def save(self, entry: Entry) -> None:
            stopped = threading.Event()
            loop.call_soon_threadsafe(relay.stop)
            loop.call_soon_threadsafe(stopped.set)
            assert stopped.wait(10)
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
async def test_a_run_that_is_cancelled_before_the_way_to_a_domain_has_begun(world: World) -> None:
    class Hasty(Relay):
        def _lane(self, domain: str) -> Lane:
            if not running.done():
                running.cancel()
            return super()._lane(domain)

    host = Host()
    async with world.host("mx.example.net", host):
        world.put(BOB)
        relay = Hasty(world.queue, world.relay(table(**MX_NET))._config)
        running = asyncio.ensure_future(relay.run())
        with pytest.raises(asyncio.CancelledError):
            await running
        await relay.attempt_due()
    assert host.received == [("bob@example.net", MESSAGE)]


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
