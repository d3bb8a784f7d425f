"""Hosts that take mail whatever the DNS says: smarthosts, and those of closed networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailproto import aio
from mailproto.address import Address
from mailproto.aio import TLSPolicy
from mailproto.errors import GrammarError, LocalProtocolError
from mailproto.relay import Relay, RelayConfig, Route
from mailproto.sasl import Credentials, PasswordCheck
from mailproto.smtp import Limits, Reply, SMTPServerConfig
from tests import data
from tests.relay import (
    ADA,
    BOB,
    CAROL,
    ERIN,
    HOME,
    HOUR,
    LATER,
    MX_NET,
    Host,
    World,
    in_loop,
    read_notice,
    run,
    table,
)

RELAY = "relay.example.org"


class Guarded(Host):
    """A host that takes mail of who has logged in."""

    def on_auth(self, _: Any, check: PasswordCheck) -> bool:
        """Say whether it is Ada."""
        return check.matches("analytical" if check.username == "ada" else None)


GUARDED = SMTPServerConfig(require_auth=True)


def relay(world: World, **config: Any) -> Relay:
    return Relay(world.queue, RelayConfig(hostname=RELAY, clock=lambda: world.now, **config))


def route(server: aio.SMTPServer, **more: Any) -> Route:
    return Route("127.0.0.1", server.port, **more)


@in_loop
async def test_the_smarthost_takes_mail_for_everybody_in_one_transaction(world: World) -> None:
    """Also for who is named by an address: that would be a way around it."""
    literal, utf8 = Address("dan", "[192.0.2.1]"), Address("eve", "b\u00fccher.example")
    host = Host()
    async with aio.SMTPServer(host, port=0) as server:
        world.put(BOB, ERIN, literal, utf8)
        await relay(world, smarthost=route(server)).attempt_due()
    (envelope,) = host.envelopes
    assert envelope.forward_paths[:3] == [BOB, ERIN, literal]
    assert world.queue.names() == []


@in_loop
async def test_a_route_comes_before_the_smarthost_and_the_smarthost_before_the_dns(world: World) -> None:
    one, other = Host(), Host()
    async with aio.SMTPServer(one, port=0) as here, aio.SMTPServer(other, port=0) as there:
        world.put(Address("bob", "Example.NET"), ERIN, Address("eve", "b\u00fccher.example"))
        routes = {"example.net": route(here), "xn--bcher-kva.example": route(here)}
        await relay(world, routes=routes, smarthost=route(there), resolver=table(**MX_NET)).attempt_due()
    assert [to for to, _ in one.received] == ["bob@Example.NET", "eve@b\u00fccher.example"] or [
        to for to, _ in one.received
    ] == ["eve@b\u00fccher.example", "bob@Example.NET"]
    assert [to for to, _ in other.received] == ["erin@example.com"]


@in_loop
async def test_without_a_route_the_dns_is_asked(world: World) -> None:
    host, other = Host(), Host()
    async with world.host("mx.example.net", host), aio.SMTPServer(other, port=0) as there:
        world.put(BOB, ERIN)
        await world.relay(table(**MX_NET), routes={"example.com": route(there)}).attempt_due()
    assert [to for to, _ in host.received] == ["bob@example.net"]
    assert [to for to, _ in other.received] == ["erin@example.com"]


@in_loop
async def test_without_any_way_mail_comes_back(world: World) -> None:
    home = Host()
    async with aio.SMTPServer(home, port=0) as server:
        world.put(BOB)
        await relay(world, routes={"example.org": route(server)}).attempt_due()
    assert [to for to, _ in home.received] == [str(ADA)]
    _, (_, fields) = read_notice(home.received[0][1])
    assert (fields["Status"], "Remote-MTA" in fields) == ("5.4.4", False)


@in_loop
async def test_a_host_is_not_the_relay_itself_because_it_has_its_name(world: World) -> None:
    """It has another port: routes are laid by who knows where they lead."""
    host = Host()
    async with aio.SMTPServer(host, "localhost", 0) as server:
        world.put(BOB)
        config = RelayConfig(hostname="localhost", smarthost=Route("localhost", server.port))
        await Relay(world.queue, config).attempt_due()
    assert len(host.envelopes) == 1


@in_loop
async def test_mail_waits_while_a_route_lacks_the_login_that_its_host_wants(world: World) -> None:
    """No message is at fault, and no notice could leave."""
    host = Guarded()
    async with aio.SMTPServer(host, port=0, config=replace(GUARDED, allow_plaintext_auth=True)) as server:
        name = world.put(BOB, CAROL)
        await relay(world, smarthost=route(server)).attempt_due()
        (entry,) = world.entries()
        replies = {str(each.reply) for each in entry.waiting}
        assert (entry.name, replies) == (name, {"451 4.7.0 Authentication required"})
        world.now += HOUR
        known = Credentials("ada", "analytical")
        mended = route(server, tls=TLSPolicy.NONE, credentials=known, allow_plaintext_auth=True)
        await relay(world, smarthost=mended).attempt_due()
    assert [to for to, _ in host.received] == ["bob@example.net,carol@example.net"]
    assert world.queue.names() == []


@in_loop
async def test_a_host_of_the_dns_that_wants_a_login_is_no_place_to_wait_for(world: World) -> None:
    home = Host()
    config = {"require_auth": True, "allow_plaintext_auth": True}
    async with world.host("mx.example.net", Guarded(), **config), world.host("mx.example.org", home):
        world.put(BOB)
        await world.relay(table(**MX_NET, **HOME)).attempt_due()
    assert [to for to, _ in home.received] == [str(ADA)]


@pytest.mark.parametrize(("certificate", "secure"), [(data.SERVER, True), (data.SELF_SIGNED, True), (None, False)])
def test_tls_to_a_host_that_needs_none_is_taken_as_it_comes(
    world: World, certificate: data.KeyPair | None, secure: bool
) -> None:
    tls = aio.server_context(certificate.certificate, certificate.key) if certificate else None

    async def test(world: World) -> None:
        host = Host()
        async with aio.SMTPServer(host, port=0, tls=tls) as server:
            world.put(BOB)
            await relay(world, smarthost=route(server)).attempt_due()
        assert host.secure == [secure]

    run(test, world)


@pytest.mark.parametrize("implicit", [False, True])
def test_a_login_takes_tls_that_is_verified(world: World, implicit: bool) -> None:
    async def test(world: World) -> None:
        host = Guarded()
        policy = {"tls": TLSPolicy.IMPLICIT} if implicit else {}
        tls = aio.server_context(data.SERVER.certificate, data.SERVER.key)
        known: dict[str, Any] = {"credentials": Credentials("ada", "analytical"), "cafile": data.CA, **policy}
        async with aio.SMTPServer(host, port=0, tls=tls, implicit_tls=implicit, config=GUARDED) as server:
            world.put(BOB)
            await relay(world, smarthost=Route("localhost", server.port, **known)).attempt_due()
        assert host.secure == [True]

    run(test, world)


@pytest.mark.parametrize(
    ("certificate", "more", "told"),
    [
        (data.SELF_SIGNED, {"cafile": data.CA}, "451 4.4.1 {} cannot be reached: "),
        (None, {}, "451 4.4.1 {} cannot be reached: "),
        (None, {"tls": TLSPolicy.OPPORTUNISTIC}, "451 4.7.0 login at {} failed: credentials are not sent "),
        (data.SERVER, {}, "451 4.4.1 {} cannot be reached: "),
    ],
)
def test_who_cannot_be_trusted_gets_no_password_and_no_mail(
    world: World, certificate: data.KeyPair | None, more: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    tls = aio.server_context(certificate.certificate, certificate.key) if certificate else None
    asked: list[object] = []

    class Curious(Guarded):
        def on_auth(self, _: Any, check: PasswordCheck) -> bool:
            asked.append(check)
            return True

    async def test(world: World) -> None:
        host = Curious()
        config = SMTPServerConfig(allow_plaintext_auth=True)
        async with aio.SMTPServer(host, port=0, tls=tls, config=config) as server:
            world.put(BOB)
            known = Credentials("ada", "analytical")
            await relay(world, smarthost=Route("localhost", server.port, credentials=known, **more)).attempt_due()
        assert (host.envelopes, asked, host.connections) == ([], [], 1)
        ((recipient,),) = (entry.recipients for entry in world.entries())
        assert str(recipient.reply).startswith(told.format(f"localhost:{server.port}"))

    caplog.set_level("DEBUG")
    run(test, world)
    assert "analytical" not in caplog.text


@in_loop
async def test_a_login_that_is_refused_is_called_so(world: World) -> None:
    """The host was reached, and it is the password that somebody has to see to; the mail waits for that."""
    tls = aio.server_context(data.SERVER.certificate, data.SERVER.key)
    config = replace(GUARDED, limits=Limits(auth_failure_delay=0))
    async with aio.SMTPServer(Guarded(), port=0, tls=tls, config=config) as server:
        world.put(BOB)
        known = Credentials("ada", "babbage")
        way = Route("localhost", server.port, credentials=known, cafile=data.CA)
        await relay(world, smarthost=way).attempt_due()
    ((recipient,),) = (entry.recipients for entry in world.entries())
    said = "the server refused the credentials: 535 5.7.8 Authentication credentials invalid"
    assert str(recipient.reply) == f"451 4.7.0 login at localhost:{server.port} failed: {said}"
    assert recipient.remote_mta is None


@in_loop
async def test_a_password_goes_in_clear_if_it_is_told_to(world: World) -> None:
    host = Guarded()
    config = SMTPServerConfig(require_auth=True, allow_plaintext_auth=True)
    known = Credentials("ada", "analytical")
    async with aio.SMTPServer(host, port=0, config=config) as server:
        world.put(BOB)
        way = route(server, credentials=known, tls=TLSPolicy.NONE, allow_plaintext_auth=True)
        await relay(world, smarthost=way).attempt_due()
    assert host.secure == [False]
    assert "analytical" not in repr(way)


@in_loop
async def test_a_smarthost_that_is_down_is_tried_again(world: World) -> None:
    host = Host(bob=LATER)
    async with aio.SMTPServer(host, port=0) as server:
        way = route(server)
    told: list[object] = []
    running = relay(world, smarthost=way, on_attempt=told.append)
    world.put(BOB, CAROL)
    await running.attempt_due()
    world.now += HOUR
    async with aio.SMTPServer(host, port=way.port or 0):
        await running.attempt_due()
        world.now += 2 * HOUR
        host.replies.clear()
        await running.attempt_due()
    assert [to for to, _ in host.received] == ["carol@example.net", "bob@example.net"]
    assert [str(each).split(" ")[1:3] for each in told] == [
        ["deferred", "to=<bob@example.net>"],
        ["deferred", "to=<carol@example.net>"],
        ["delivered", "to=<carol@example.net>"],
        ["deferred", "to=<bob@example.net>"],
        ["delivered", "to=<bob@example.net>"],
    ]
    assert all(f"host=[127.0.0.1]:{way.port} " in str(each) for each in told)


@pytest.mark.parametrize("domain", ["Example.net", "b\u00fccher.example"])
def test_the_domain_of_a_route_is_written_as_it_is_looked_up(domain: str) -> None:
    with pytest.raises(GrammarError):
        RelayConfig(hostname=RELAY, routes={domain: Route("localhost")})


@pytest.mark.parametrize("wrong", [{"max_connections": 0}, {"max_connections_each": 0}])
def test_a_relay_that_would_send_nothing_is_not_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(GrammarError, match="without a connection"):
        RelayConfig(hostname=RELAY, smarthost=Route("localhost"), **wrong)


def test_the_host_of_a_route_may_be_the_name_of_one() -> None:
    """Who writes it hears of it at once, and not by mail that waits for days."""
    with pytest.raises(GrammarError):
        Route("fa\u00df.example")
    with pytest.raises(GrammarError):
        Route("localhost", (1 << 16) + 25)


def test_a_relay_that_knows_no_way_at_all_is_a_mistake(tmp_path: Path) -> None:
    """All mail would come back."""
    with pytest.raises(LocalProtocolError):
        RelayConfig(hostname=RELAY)


LOGIN: dict[str, Any] = {"credentials": Credentials("ada", "pencil")}


@pytest.mark.parametrize(
    ("tls", "more", "waits"),
    [
        (TLSPolicy.REQUIRED, {}, True),
        (TLSPolicy.OPPORTUNISTIC, {}, False),
        (TLSPolicy.OPPORTUNISTIC, LOGIN, True),
        (TLSPolicy.OPPORTUNISTIC, LOGIN | {"allow_plaintext_auth": True}, False),
        (TLSPolicy.NONE, {}, False),
    ],
)
def test_nobody_on_the_line_to_a_smarthost_has_mail_returned(
    world: World, tls: TLSPolicy, more: dict[str, Any], waits: bool
) -> None:
    """What comes in clear is the word of a host only where mail may go in clear as well."""

    async def test(world: World) -> None:
        host = Host()
        host.greeting = Reply.build(554, "No mail here")
        async with aio.SMTPServer(host, port=0, tls=aio.server_context(*data.SERVER)) as server:
            world.put(BOB)
            smarthost = route(server, tls=tls, **more)
            await relay(world, smarthost=smarthost).attempt_due()
        left = [(str(each.reply), each.remote_mta) for entry in world.entries() for each in entry.waiting]
        said = f"451 4.7.5 {smarthost.place} says without TLS, which it is to have: 554 No mail here"
        assert left == ([(said, None)] if waits else [])

    run(test, world)
