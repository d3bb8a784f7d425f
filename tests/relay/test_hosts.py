"""Which hosts are asked, in which order, and what it is if there are none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from mailproto import TLSPolicy, TLSRequiredError, aio
from mailproto.address import Address
from mailproto.relay import Attempt, Fate, Pending, RelayHandler, Target
from mailproto.smtp import Reply, ReplyError
from mailproto.smtp.alabels import idna_2003
from mailproto.smtp.routing import LOOKUP_FAILED, MX, NO_SUCH_DOMAIN, RoutingError, StaticResolver
from tests.relay import (
    ADA,
    BOB,
    CAROL,
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
    read_notice,
    run,
    table,
    until,
)


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
async def test_who_comes_when_the_first_host_is_done_with_is_tried_there_as_well(world: World) -> None:
    """The last one refuses everybody for good, the first one does not: he was put off, and nobody had been asked."""

    class First(Host):
        async def on_connect(self, session: Any) -> Any:
            self.greeting = Reply.build(220, "Welcome") if self.connections else Reply.build(421, "Too busy")
            if self.connections:
                await until(lambda: len(relay._dispatcher.active) < 2)  # for the disk has to be told of BOB
                await asyncio.sleep(0.05)  # in which who is taken for done with would be put away
                under_way.append(len(relay._dispatcher.active))
            return super().on_connect(session)

    class Never(Host):
        async def on_connect(self, session: Any) -> Any:
            relay.wake(world.put(CAROL))
            await gathered(relay, 2)
            return super().on_connect(session)

    first, never, told, under_way = First(), Never(), list[Attempt](), list[int]()
    never.greeting = Reply.build(554, "No mail here")
    records = [(10, "mx1.example.net"), (20, "mx2.example.net")]
    async with world.host("mx1.example.net", first), world.host("mx2.example.net", never):
        world.put(BOB)
        relay = world.relay(table(net=records), on_attempt=told.append)
        await relay.attempt_due()
    assert first.received == [("carol@example.net", MESSAGE)]
    assert {each.recipient: each.fate for each in told} == {BOB: Fate.DEFERRED, CAROL: Fate.DELIVERED}
    assert under_way == [1]
    assert never.connections == 1


@in_loop
async def test_a_relay_that_stops_between_two_hosts_bounces_nothing(world: World) -> None:
    """The first one has put off one message, and then takes no more mail for good; the other is for the next run."""

    class Closing(Host):
        async def on_connect(self, session: Any) -> Any:
            if self.connections:
                self.greeting = Reply.build(554, "No mail here")
            else:
                await gathered(relay, 2)
            return super().on_connect(session)

        def on_mail(self, session: Any, _: object) -> None:
            if session.state.setdefault("before", False):
                session.conn.reply(Reply.build(421, "Enough for now", "4.7.0"))
            session.state["before"] = True

    class Client(aio.SMTPClient):
        async def connect(self) -> None:
            try:
                await super().connect()
            except ReplyError:
                relay.stop()
                raise

    def make_client(target: Target) -> aio.SMTPClient:
        return Client(target.address, world.ports[target.host], tls=TLSPolicy.NONE)

    closing, other, told = Closing(bob=LATER), Host(), list[Attempt]()
    records = [(10, "mx1.example.net"), (20, "mx2.example.net")]
    async with world.host("mx1.example.net", closing), world.host("mx2.example.net", other):
        for recipient in (BOB, CAROL):
            world.put(recipient)
        relay = world.relay(table(net=records), make_client=make_client, on_attempt=told.append)
        await relay.run()
        assert closing.connections == 2
        assert told == []
        await world.relay(table(net=records)).attempt_due()
    assert [to for to, _ in other.received] == ["bob@example.net", "carol@example.net"]


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


class Lost(StaticResolver):
    """A resolver that finds no host of example.net, for these reasons; or without one, and no address either."""

    def __init__(self, *reasons: Reply | None) -> None:
        hosts = {f"mx{number}.example.net": reply for number, reply in enumerate(reasons)}
        super().__init__({"example.net": [MX(10, host) for host in hosts], "example.org": [MX(10, "mx.example.org")]})
        self._reasons = hosts

    async def addresses(self, host: str) -> list[str]:
        if host not in self._reasons:
            return ["127.0.0.1"]
        reply = self._reasons[host]
        if reply is not None:
            raise RoutingError(reply)
        return []


@pytest.mark.parametrize(
    ("reasons", "status"), [((NO_SUCH_DOMAIN, NO_SUCH_DOMAIN), "5.1.2"), ((None, None), "5.4.4")]
)
def test_where_none_of_the_hosts_is_there_mail_comes_back(
    world: World, reasons: tuple[Reply | None, ...], status: str
) -> None:
    async def test(world: World) -> None:
        home = Host()
        async with world.host("mx.example.org", home):
            world.put(BOB)
            await world.relay(Lost(*reasons)).attempt_due()
        _, (_, fields) = read_notice(home.received[0][1])
        assert fields["Status"] == status

    run(test, world)


@in_loop
async def test_where_one_of_them_may_be_there_later_mail_waits(world: World) -> None:
    world.put(BOB)
    await world.relay(Lost(NO_SUCH_DOMAIN, LOOKUP_FAILED)).attempt_due()
    (entry,) = world.entries()
    assert entry.waiting == (Pending(BOB, reply=LOOKUP_FAILED),)


@in_loop
async def test_a_host_that_cannot_be_found_may_take_what_the_others_never_do(world: World) -> None:
    host = Host()
    host.greeting = Reply.build(554, "No mail here")
    async with world.host("mx.example.net", host):
        world.put(BOB)
        await world.relay(Backup(LOOKUP_FAILED)).attempt_due()
    (entry,) = world.entries()
    assert entry.waiting == (Pending(BOB, reply=LOOKUP_FAILED),)


class Slow:
    """A resolver that finds the first host of example.net, if there is one, and never comes to an end with others."""

    def __init__(self, hosts: int) -> None:
        self._hosts = hosts

    async def mx(self, domain: str) -> list[MX]:
        return [MX(number, f"{number}.{domain}") for number in range(self._hosts)] or await self._wait()

    async def addresses(self, host: str) -> list[str]:
        return ["127.0.0.1"] if host == "0.example.net" else await self._wait()

    async def _wait(self) -> NoReturn:
        await asyncio.Event().wait()
        raise AssertionError


@in_loop
async def test_a_domain_that_takes_too_long_to_be_looked_up_makes_place(world: World) -> None:
    """Its owner says how many hosts it has, and how slowly: they must not hold a place of the relay for days."""
    host = Host()
    async with world.host("0.example.net", host):
        world.put(BOB)
        await world.relay(Slow(0), attempt_timeout=0.1).attempt_due()
        (entry,) = world.entries()
        assert entry.waiting == (Pending(BOB, reply=LOOKUP_FAILED),)
        world.now += HOUR
        host.greeting = Reply.build(554, "No mail here")
        await world.relay(Slow(2), attempt_timeout=2).attempt_due()
        assert host.connections == 1, "what was found in time is used"
        (entry,) = world.entries()
        assert entry.waiting == (Pending(BOB, reply=LOOKUP_FAILED),), "and what was not may take the message"


@in_loop
async def test_no_more_hosts_are_looked_up_than_are_tried(world: World) -> None:
    """A domain may have any number of them."""

    class Many(StaticResolver):
        async def addresses(self, host: str) -> list[str]:
            looked_up.append(host)
            return ["127.0.0.1"]

    looked_up: list[str] = []
    records = [MX(number, f"{number}.example.net") for number in range(9)]
    world.put(BOB)
    await world.relay(Many({"example.net": records}), max_targets=2).attempt_due()
    assert looked_up == world.asked == ["0.example.net", "1.example.net"]


@in_loop
async def test_a_client_that_runs_out_of_time_by_itself_says_how(world: World) -> None:
    """And is not said to have had all the time that there is."""

    async def make_client(_: Target) -> aio.SMTPClient:
        raise TimeoutError("its policy cannot be found now")

    world.put(BOB)
    await world.relay(table(**MX_NET), make_client=make_client).attempt_due()
    ((recipient,),) = (entry.waiting for entry in world.entries())
    assert str(recipient.reply) == "451 4.4.1 mx.example.net cannot be reached: its policy cannot be found now"


def test_a_resolver_that_falls_over_loses_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def test(world: World) -> None:
        world.put(BOB)
        await world.relay(Doubtful(RuntimeError("a bug"))).attempt_due()

    run(test, world)
    (entry,) = world.entries()
    assert entry.waiting == (Pending(BOB),)
    assert entry.due == START + 1800
    assert caplog.messages == ["the way to example.net failed: a bug"]
    assert caplog.records[0].exc_info is not None, "which says where it is"


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


@in_loop
async def test_a_client_of_your_own_may_know_better_than_the_dns(world: World) -> None:
    """As with MTA-STS: what a domain says elsewhere decides which of its hosts may have the mail (RFC 8461)."""
    targets: list[Target] = []

    async def make_client(target: Target) -> aio.SMTPClient:
        targets.append(target)
        if target.host == "evil.example.com":
            raise TLSRequiredError(f"{target.domain} does not name {target.host}")
        return aio.SMTPClient(target.address, world.ports[target.host], tls=TLSPolicy.NONE)

    good, evil = Host(), Host()
    records = [(10, "evil.example.com"), (20, "mx.example.net")]
    async with world.host("mx.example.net", good), world.host("evil.example.com", evil):
        world.put(BOB)
        await world.relay(table(net=records), make_client=make_client).attempt_due()
        assert good.received == [("bob@example.net", MESSAGE)]
        world.put(BOB)
        await world.relay(table(net=records[:1]), make_client=make_client).attempt_due()
    assert targets == [
        Target("evil.example.com", "127.0.0.1", "example.net"),
        Target("mx.example.net", "127.0.0.1", "example.net"),
        Target("evil.example.com", "127.0.0.1", "example.net"),
    ]
    assert evil.received == []
    (entry,) = world.entries()
    assert "example.net does not name evil.example.com" in str(entry.recipients[0].reply)


@in_loop
async def test_what_a_client_of_your_own_needs_and_is_nowhere_is_the_end_of_a_host_and_not_of_the_mail(
    world: World,
) -> None:
    """A resolver says of what it does not know that it is for good, and may be asked for more than the hosts."""

    async def make_client(target: Target) -> aio.SMTPClient:
        if target.host == "strange.example.net":
            raise RoutingError(NO_SUCH_DOMAIN)
        return aio.SMTPClient(target.address, world.ports[target.host], tls=TLSPolicy.NONE)

    good = Host()
    records = [(10, "strange.example.net"), (20, "mx.example.net")]
    async with world.host("mx.example.net", good):
        world.put(BOB)
        await world.relay(table(net=records), make_client=make_client).attempt_due()
        assert good.received == [("bob@example.net", MESSAGE)]
        world.put(BOB)
        await world.relay(table(net=records[:1]), make_client=make_client).attempt_due()
    ((recipient,),) = (entry.waiting for entry in world.entries())
    assert str(recipient.reply).startswith("451 4.4.1 strange.example.net cannot be reached: ")
