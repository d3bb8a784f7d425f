"""Routes that end in a store: LMTP (RFC 2033), with an outcome for each recipient, and unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mailproto import aio
from mailproto.address import Address
from mailproto.errors import LocalProtocolError, Reject
from mailproto.relay import Attempt, Fate, Pending, Relay, RelayConfig, Route
from mailproto.sasl import Credentials
from mailproto.smtp import Envelope, Notify, Rcpt, RcptParameters, Reply, SMTPServerConfig
from tests.relay import (
    ADA,
    BOB,
    CAROL,
    DAN,
    ERIN,
    HOUR,
    LATER,
    MESSAGE,
    NO_SUCH_USER,
    Host,
    World,
    in_loop,
    read_notice,
    run,
)

RELAY = "relay.example.org"
FULL = Reply.build(452, "Mailbox full", "4.2.2")
BROKEN = Reply.build(552, "Mailbox full for ever", "5.2.2")
LMTP = SMTPServerConfig(lmtp=True)


class Store(Host):
    """A store, which says of each recipient what ``verdicts`` has for the local part, behind the message."""

    def __init__(self, replies: dict[str, Reply] | None = None, **verdicts: Reply) -> None:
        super().__init__(**(replies or {}))
        self.verdicts = verdicts
        self.delivered: list[tuple[str, bytes]] = []
        self.asked: list[str] = []

    def on_delivery(self, _: Any, envelope: Envelope, rcpt: Rcpt) -> None:
        """Deliver the message to one recipient, or do not."""
        name = rcpt.address.local_part
        self.asked.append(name)
        if (verdict := self.verdicts.get(name)) is not None:
            raise Reject(verdict.code, verdict.text, str(verdict.enhanced))
        self.delivered.append((name, bytes(envelope)))


def relay(world: World, smarthost: Route, **config: Any) -> Relay:
    return Relay(world.queue, RelayConfig(hostname=RELAY, smarthost=smarthost, clock=lambda: world.now, **config))


@contextlib.asynccontextmanager
async def storing(store: Host, folder: Path, unix: bool, config: SMTPServerConfig = LMTP) -> AsyncIterator[Route]:
    """Run a store meanwhile; the route leads there."""
    where: dict[str, Any] = {"path": folder / "socket"} if unix else {"port": 0}
    async with aio.SMTPServer(store, config=config, **where) as server:
        if unix:
            yield Route(path=folder / "socket", lmtp=config.lmtp)
        else:
            yield Route("127.0.0.1", server.port, lmtp=config.lmtp)


@pytest.mark.parametrize("unix", [False, True])
def test_each_recipient_has_an_outcome_of_his_own(world: World, tmp_path: Path, unix: bool) -> None:
    """One delivered, one put off, one refused behind the message, one before: and none of them asked twice."""
    told: list[Attempt] = []

    async def test(world: World) -> None:
        store = Store({"erin": NO_SUCH_USER}, carol=FULL, dan=BROKEN)
        async with storing(store, tmp_path, unix) as route:
            world.put(BOB, CAROL, DAN, ERIN)
            await relay(world, route, on_attempt=told.append).attempt_due()
            assert store.asked == ["bob", "carol", "dan", "ada"]
            (entry,) = world.entries()
            assert [(each.address, each.reply) for each in entry.waiting] == [(CAROL, FULL)]
            del store.verdicts["carol"]
            world.now += HOUR
            await relay(world, route).attempt_due()
        notice = store.delivered.pop(1)
        assert store.delivered == [("bob", MESSAGE), ("carol", MESSAGE)]
        _, (_, *failed) = read_notice(notice[1])
        assert [(each["Final-Recipient"], each["Status"], each["Remote-MTA"]) for each in failed] == [
            (f"rfc822; {address}", status, f"dns; {RELAY if unix else '[127.0.0.1]'}")
            for address, status in ((DAN, "5.2.2"), (ERIN, "5.1.1"))
        ]
        assert world.queue.names() == []

    run(test, world)
    assert {each.recipient: (each.fate, str(each.reply)) for each in told} == {
        BOB: (Fate.DELIVERED, "250 2.0.0 Message delivered"),
        CAROL: (Fate.DEFERRED, "452 4.2.2 Mailbox full"),
        DAN: (Fate.BOUNCED, "552 5.2.2 Mailbox full for ever"),
        ERIN: (Fate.BOUNCED, "550 5.1.1 No such user"),
        ADA: (Fate.DELIVERED, "250 2.0.0 Message delivered"),
    }
    if unix:
        assert {each.host for each in told} == {str(tmp_path / "socket")}


@in_loop
async def test_recipients_of_whom_there_are_too_many_follow_at_once(world: World) -> None:
    """452 means that to RCPT, and a mailbox that is full behind the message."""

    class Few(Store):
        def on_rcpt(self, session: Any, rcpt: Rcpt) -> None:
            if len(session.envelope.recipients) >= 2:
                raise Reject(452, "Too many", "4.5.3")

    store = Few(carol=FULL)
    async with storing(store, world.queue.path, unix=True) as route:
        world.put(BOB, DAN, ERIN)
        world.put(CAROL, BOB)
        await relay(world, route).attempt_due()
    assert store.asked == ["bob", "dan", "erin", "carol", "bob"]
    assert [[each.address for each in entry.waiting] for entry in world.entries()] == [[CAROL]]


@in_loop
async def test_a_store_that_dies_among_its_replies(world: World) -> None:
    """RFC 2033 section 4.2: who has a reply is settled, and the others are sent it again."""
    seen: list[bytes] = []

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for words in (b"220 hello", b"250 hello", b"250 sender", b"250 bob", b"250 carol", b"250 dan", b"354 go on"):
            writer.write(words + b"\r\n")
            seen.append(await reader.readuntil(b"\r\n" if words[:3] != b"354" else b"\r\n.\r\n"))
        writer.write(b"250 2.0.0 Bob has it\r\n")
        writer.write(b"552 5.2.2 Carol is full\r\n")
        writer.close()

    socket = world.queue.path / "socket"
    async with await asyncio.start_unix_server(die, socket):
        world.put(BOB, CAROL, DAN, sender=None)
        await relay(world, Route(path=socket, lmtp=True)).attempt_due()
    assert seen[0] == b"LHLO relay.example.org\r\n"
    (entry,) = world.entries()
    assert [(each.address, str(each.reply)) for each in entry.recipients] == [
        (DAN, "451 4.4.2 The connection broke before the next host had answered for the message")
    ]
    store = Store()
    async with storing(store, world.queue.path, unix=False) as route:
        world.now += HOUR
        await relay(world, route).attempt_due()
    assert store.delivered == [("dan", MESSAGE)]


@pytest.mark.parametrize(("lmtp", "action"), [(True, "delivered"), (False, "relayed")])
def test_who_wants_to_hear_of_success(world: World, lmtp: bool, action: str) -> None:
    """RFC 3464 section 2.3.3: a store without DSN is the end of the way; a server is not."""

    async def test(world: World) -> None:
        store = Store()
        wanted = RcptParameters(frozenset({Notify.SUCCESS}))
        async with storing(store, world.queue.path, unix=True, config=SMTPServerConfig(lmtp=lmtp)) as route:
            world.put(Pending(BOB, wanted))
            await relay(world, route, on_attempt=told.append).attempt_due()
        _, (_, fields) = read_notice(store.received[1][1])
        assert fields["Action"] == action
        assert world.queue.names() == []

    told: list[Attempt] = []
    run(test, world)
    assert [each.fate for each in told] == [Fate.DELIVERED] * 2


@in_loop
async def test_smtp_over_a_unix_socket(world: World) -> None:
    """TLS is not asked for there, nor is a login in need of it, if it is told so."""

    class Guarded(Host):
        def on_auth(self, _: Any, check: Any) -> bool:
            return bool(check.matches("analytical"))

    host = Guarded(dan=LATER)
    config = SMTPServerConfig(require_auth=True, allow_plaintext_auth=True)
    async with storing(host, world.queue.path, unix=True, config=config) as way:
        known = Credentials("ada", "analytical")
        world.put(BOB, DAN)
        await relay(world, Route(path=way.path, credentials=known, allow_plaintext_auth=True)).attempt_due()
    assert host.received == [("bob@example.net", MESSAGE)]
    assert [each.address for each in world.entries()[0].waiting] == [DAN]


@in_loop
async def test_a_socket_at_which_nobody_listens(world: World) -> None:
    told: list[Attempt] = []
    world.put(BOB)
    await relay(world, Route(path="/nowhere/lmtp", lmtp=True), on_attempt=told.append).attempt_due()
    ((line,),) = [[str(each) for each in told]]
    assert "m0001: deferred to=<bob@example.net> from=<ada@example.org> host=/nowhere/lmtp " in line
    assert "reply=451 4.4.1 /nowhere/lmtp cannot be reached: " in line


@in_loop
async def test_a_store_for_one_domain_alone(world: World) -> None:
    store, host = Store(), Host()
    async with storing(store, world.queue.path, unix=True) as route, aio.SMTPServer(host, port=0) as server:
        world.put(BOB, ERIN)
        way = Route("localhost", server.port)
        await relay(world, way, routes={"example.net": route}).attempt_due()
    assert store.delivered == [("bob", MESSAGE)]
    assert host.received == [(str(ERIN), MESSAGE)]


@in_loop
async def test_a_long_message_is_streamed(world: World) -> None:
    store, message = Store(carol=FULL), MESSAGE + b"0123456789abcdef\r\n" * 200_000
    async with storing(store, world.queue.path, unix=True) as route:
        world.put(BOB, CAROL, message=message)
        await relay(world, route).attempt_due()
    assert store.delivered == [("bob", message)]
    assert [each.address for each in world.entries()[0].waiting] == [CAROL]


def test_lmtp_is_not_for_port_25() -> None:
    """RFC 2033 section 5."""
    with pytest.raises(LocalProtocolError, match="25"):
        Route("mail.example.org", lmtp=True)
    assert Route("mail.example.org", 24, lmtp=True).place == "mail.example.org:24"


@pytest.mark.parametrize(
    ("route", "place"),
    [
        (Route("mail.example.org"), "mail.example.org"),
        (Route("mail.example.org", None), "mail.example.org:587"),
        (Route("2001:db8::1", 2525), "[IPv6:2001:db8::1]:2525"),
        (Route(path=Path("/run/dovecot/lmtp"), lmtp=True), "/run/dovecot/lmtp"),
    ],
)
def test_where_a_route_leads(route: Route, place: str) -> None:
    assert route.place == place


def test_an_address_with_a_detail_comes_as_it_is(world: World) -> None:
    async def test(world: World) -> None:
        store = Store()
        async with storing(store, world.queue.path, unix=True) as route:
            world.put(Address("bob+list", "example.net"))
            await relay(world, route).attempt_due()
        assert store.delivered == [("bob+list", MESSAGE)]

    run(test, world)
