"""What goes over a connection: which messages, to how many recipients, with what of their parameters."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from mailproto.address import Address
from mailproto.errors import Reject
from mailproto.relay import Attempt, Entry, Fate, Queue
from mailproto.smtp import DEFAULT_EXTENSIONS, Body, Limits, Mail, MailParameters, Rcpt, Reply
from mailproto.smtp.extensions import PIPELINING, SIZE, Extension
from mailproto.smtp.messages.downgrade import downgrade
from tests.adapters.harness import PATIENCE
from tests.relay import (
    ADA,
    BOB,
    CAROL,
    ERIN,
    HOME,
    HOUR,
    LATER,
    MESSAGE,
    MX_NET,
    Host,
    World,
    gathered,
    in_loop,
    run,
    table,
)


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
async def test_a_host_that_ends_the_connection_at_the_first_message_has_put_off_all(world: World) -> None:
    """It is asked no more, and of each message it is said, and remembered, that it was tried in vain."""

    class Busy(Host):
        def on_mail(self, session: Any, _: object) -> None:
            session.conn.reply(Reply.build(421, "Not now", "4.7.0"))

        async def on_connect(self, session: Any) -> Any:
            await gathered(relay, 3)
            return super().on_connect(session)

    host, told = Busy(), list[Attempt]()
    async with world.host("mx.example.net", host):
        for _ in range(3):
            world.put(BOB)
        relay = world.relay(table(**MX_NET), on_attempt=told.append)
        await relay.attempt_due()
    assert host.connections == 1
    assert {(each.fate, each.host) for each in told} == {(Fate.DEFERRED, "mx.example.net")}
    assert {each.queue_id: str(each.reply) for each in told} == {
        "m0001": "421 4.7.0 Not now",
        "m0002": "451 4.4.2 mx.example.net ended the connection before it took a message",
        "m0003": "451 4.4.2 mx.example.net ended the connection before it took a message",
    }
    assert [entry.attempts for entry in world.entries()] == [1, 1, 1]


@pytest.mark.parametrize("announced", [True, False])
def test_what_is_put_off_holds_up_nobody_behind_it(world: World, announced: bool) -> None:
    """Neither where the host has said that it takes one message on a connection, nor where it ends it without."""

    class One(Host):
        def on_mail(self, session: Any, _: object) -> None:
            session.state["count"] = session.state.get("count", 0) + 1
            if session.state["count"] > 1:
                session.conn.reply(Reply.build(421, "One is enough", "4.7.0"))

    async def test(world: World) -> None:
        host = One(bob=LATER)
        limits = Limits(max_transactions=1) if announced else Limits()
        async with world.host("mx.example.net", host, limits=limits):
            world.put(BOB)
            for _ in range(2):
                world.put(CAROL)
            await world.relay(table(**MX_NET)).attempt_due()
        assert host.received == [("carol@example.net", MESSAGE)] * 2
        assert [(entry.attempts, entry.waiting[0].address) for entry in world.entries()] == [(1, BOB)]

    run(test, world)


class Touchy(Host):
    """A host that hangs up at messages of the null reverse-path."""

    def on_mail(self, session: Any, mail: Mail) -> Any:
        """Take another sender."""
        if mail.reverse_path is None:
            session.conn.reply(Reply.build(421, "Not that one", "4.7.0"))


@in_loop
async def test_a_message_at_which_a_host_hangs_up_is_not_always_in_front_of_others(world: World) -> None:
    """Where a relay is started for each attempt, too, and takes up its entries in the order of their names: the
    others came back at last, and had been offered to nobody."""

    class Gathering(Touchy):
        async def on_connect(self, session: Any) -> Any:
            if self.connections < 2:  # the first one of each relay
                await gathered(relay, 4)
            return super().on_connect(session)

    def clock() -> float:
        world.now += 0.001
        return world.now

    host = Gathering()
    async with world.host("mx.example.net", host):
        world.put(BOB, sender=None)
        for _ in range(3):
            world.put(BOB)
        relay = world.relay(table(**MX_NET), clock=clock)
        await relay.attempt_due()
        assert host.received == []
        world.now += HOUR
        relay = world.relay(table(**MX_NET), clock=clock)
        await relay.attempt_due()
    assert host.received == [("bob@example.net", MESSAGE)] * 3
    assert world.queue.names() == ["m0001"]


@in_loop
async def test_a_message_at_which_a_host_hangs_up_is_behind_the_others_from_then_on(world: World) -> None:
    """On the next connection it would be the first one, and all others put off, though the host takes them."""

    class Gathering(Touchy):
        async def on_connect(self, session: Any) -> Any:
            if not self.connections:
                await gathered(relay, 4)
            return super().on_connect(session)

    def clock() -> float:
        world.now += 0.001
        return world.now

    host, told = Gathering(), list[Attempt]()
    async with world.host("mx.example.net", host):
        for sender in (ADA, None, ADA, ADA):
            world.put(BOB, sender=sender)
            clock()  # so that it had come before the last ones
        relay = world.relay(table(**MX_NET), clock=clock, on_attempt=told.append)
        await relay.attempt_due()
    assert host.received == [("bob@example.net", MESSAGE)] * 3
    assert [(each.queue_id, each.fate) for each in told][-1] == ("m0002", Fate.DEFERRED)
    assert host.connections == 3


@in_loop
async def test_who_comes_while_a_host_hangs_up_at_another_message_is_tried(world: World) -> None:
    """The disk was slow: the first message was alone when the connection began, and the others, which nobody had
    offered, were put off with it when it ended."""
    asked = threading.Event()

    class Slow(Touchy):
        async def on_mail(self, session: Any, mail: Mail) -> None:
            if mail.reverse_path is None:
                asked.set()
                await gathered(relay, 4)
            super().on_mail(session, mail)

    class SlowQueue(Queue):
        def load(self, name: str) -> Entry | None:
            assert name == "m0001" or asked.wait(PATIENCE)
            return super().load(name)

    world.queue = SlowQueue(world.queue.path)
    host = Slow()
    async with world.host("mx.example.net", host):
        world.put(BOB, sender=None)
        for _ in range(3):
            world.put(BOB)
        relay = world.relay(table(**MX_NET))
        await relay.attempt_due()
    assert host.received == [("bob@example.net", MESSAGE)] * 3
    assert world.queue.names() == ["m0001"]


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


DEEP = b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n) for n in range(40)) + UTF8
NEEDY = [
    (DEEP, MailParameters(body=Body.EIGHT_BIT_MIME)),
    (UTF8, MailParameters(smtputf8=True, body=Body.EIGHT_BIT_MIME)),
]
TWO = [(10, "mx1.example.net"), (20, "mx2.example.net")]


@pytest.mark.parametrize(("message", "parameters"), NEEDY, ids=["8BITMIME", "SMTPUTF8"])
def test_what_a_host_does_not_offer_the_next_one_may(
    world: World, message: bytes, parameters: MailParameters
) -> None:
    """RFC 5321 section 2.2.3: a message that cannot be given to one as it is goes to the next."""

    async def test(world: World) -> None:
        old, new = Host(), Host()
        async with world.host("mx1.example.net", old, extensions=OLD), world.host("mx2.example.net", new):
            world.put(BOB, message=message, parameters=parameters)
            await world.relay(table(net=TWO)).attempt_due()
        assert (old.connections, old.received) == (1, [])
        assert new.received == [("bob@example.net", message)]
        assert world.queue.names() == []

    run(test, world)


@pytest.mark.parametrize(("message", "parameters"), NEEDY, ids=["8BITMIME", "SMTPUTF8"])
def test_what_one_host_does_not_offer_waits_for_the_other_one_which_is_down(
    world: World, message: bytes, parameters: MailParameters
) -> None:
    """It came back, though the first host would have taken it in an hour."""

    async def test(world: World) -> None:
        old, new = Host(), Host()
        async with world.host("mx2.example.net", old, extensions=OLD):
            world.put(BOB, message=message, parameters=parameters)
            await world.relay(table(net=TWO)).attempt_due()
            ((recipient,),) = (entry.waiting for entry in world.entries())
            assert recipient.reply is not None
            assert (recipient.reply.code, str(recipient.reply.enhanced)) == (451, "4.6.0")
            world.now += HOUR
            async with world.host("mx1.example.net", new):
                await world.relay(table(net=TWO)).attempt_due()
        assert len(new.received) == 1
        assert world.queue.names() == []

    run(test, world)


@pytest.mark.parametrize(("message", "parameters"), NEEDY, ids=["8BITMIME", "SMTPUTF8"])
def test_what_no_host_offers_comes_back_at_once(world: World, message: bytes, parameters: MailParameters) -> None:
    """Whatever other addresses these hosts have, and whether those can be reached."""

    async def test(world: World) -> None:
        old, home, told = Host(), Host(), list[Attempt]()
        names = table(net=TWO, **HOME)
        names._addresses = {**names._addresses, "mx2.example.net": ["127.0.0.1", "::1"]}
        async with (
            world.host("mx1.example.net", old, extensions=OLD),
            world.host("mx2.example.net", old, extensions=OLD),
            world.host("mx.example.org", home),
        ):
            world.put(BOB, message=message, parameters=parameters)
            await world.relay(names, on_attempt=told.append).attempt_due()
        assert old.received == []
        fates = [(each.fate, each.host, each.reply.code // 100) for each in told if each.queue_id == "m0001"]
        assert fates == [(Fate.BOUNCED, "mx2.example.net", 5)]
        assert len(home.received) == 1

    run(test, world)


@in_loop
async def test_the_largest_message_that_the_next_host_takes(world: World) -> None:
    host = Host()
    async with world.host("mx.example.net", host, max_message_size=len(MESSAGE)):
        world.put(BOB)
        await world.relay(table(**MX_NET)).attempt_due()
    assert len(host.envelopes) == 1


@pytest.mark.parametrize(("said", "offered"), [(Body.EIGHT_BIT_MIME, OLD), (Body.SEVEN_BIT, DEFAULT_EXTENSIONS)])
@pytest.mark.parametrize("size", [0, 2 << 20])
def test_eight_bits_for_a_host_that_takes_seven(
    world: World, said: Body, offered: tuple[Extension, ...], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 6152 section 3: rather other octets than none; and nobody waits meanwhile, for that may take long."""
    threads = []

    def slowly(data: bytes) -> bytes:
        threads.append(threading.current_thread())
        return downgrade(data)

    async def test(world: World) -> None:
        host = Host()
        message = b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + b"x\r\n" * (size // 3)
        async with world.host("mx.example.net", host, extensions=offered):
            world.put(BOB, message=message + "\u00f1\r\n".encode(), parameters=MailParameters(body=said))
            await world.relay(table(**MX_NET)).attempt_due()
        ((_, content),) = host.received
        assert content.endswith(b"\r\n=C3=B1\r\n")

    monkeypatch.setattr("mailproto.smtp.messages.downgrade.downgrade", slowly)
    run(test, world)
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


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
