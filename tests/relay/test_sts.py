"""A relay that holds domains to what they promise of their TLS (MTA-STS, RFC 8461 section 5): real connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mailproto import aio
from mailproto.address import Address
from mailproto.aio import TLSPolicy
from mailproto.errors import LocalProtocolError, Reject
from mailproto.relay import Entry, PolicyStore, Relay, RelayConfig, Route, Schedule
from mailproto.smtp import Reply
from mailproto.smtp.routing import NO_SUCH_DOMAIN, RoutingError, StaticResolver
from tests import data
from tests.relay import HOUR, MESSAGE, Host, World, in_loop, read_notice, run
from tests.relay.policy_hosts import POLICY, Names, serving
from tests.relay.test_fallback import Broken, End, hang_up, hang_up_under_tls, stall

BOB = Address("bob", "example.test")
TESTING = POLICY.replace(b"enforce", b"testing")
NONE = b"version: STSv1\nmode: none\nmax_age: 604800\n"
BAD = [data.SELF_SIGNED, data.EXPIRED, data.WRONG_NAME, data.NAME_IN_CN_ONLY]


class STS:
    """A relay that asks for policies, mail hosts at one port, and what is between them.

    Attributes:
        names: what the DNS says.
        blocked: whether nothing comes from the policy host any more.
        policy: what it says.
    """

    def __init__(self, world: World, policy: bytes = POLICY) -> None:
        self.names = Names()
        self.blocked = False
        self.policy = policy
        self._world = world

    async def _fetch(self, _: str) -> bytes:
        if self.blocked:
            raise ConnectionResetError("somebody is in between")
        return self.policy

    def relay(self, **more: Any) -> Relay:
        """Return a relay that knows what is on disk and nothing else."""
        world = self._world
        settings: dict[str, Any] = {"cafile": data.CA, "fetch": self._fetch, "clock": lambda: world.now}
        store = PolicyStore(world.queue.path / "sts", self.names, **settings)
        return world.relay(self.names, make_client=None, sts=store, **more)

    async def attempt(self, **more: Any) -> Entry | None:
        """Put a message into the queue and try it; return what is left of it."""
        self._world.put(BOB)
        await self.relay(**more).attempt_due()
        return next(iter(self._world.entries()), None)


@contextlib.asynccontextmanager
async def exchanger(
    host: Host, certificate: data.KeyPair | None = data.SERVER, address: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[int]:
    """Run a mail host where the relay looks for it; yield its port."""
    context = aio.server_context(*certificate) if certificate is not None else None
    async with aio.SMTPServer(host, address, port, tls=context) as server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mailproto.relay.connecting.RELAY_PORT", server.port)
            yield server.port


def why(entry: Entry | None) -> str:
    """Return why the only recipient of an entry waits."""
    assert entry is not None
    (recipient,) = entry.waiting
    assert recipient.remote_mta is None, "it is the relay's own word"
    return str(recipient.reply)


@in_loop
async def test_from_the_record_to_the_mailbox(world: World) -> None:
    """With the policy from a policy host over HTTPS, and both certificates verified."""
    names, host = Names(), Host()
    store = PolicyStore(world.queue.path / "sts", names, cafile=data.CA)
    async with serving() as policies, exchanger(host):
        for _ in range(2):
            world.put(BOB)
            await world.relay(names, make_client=None, sts=store).attempt_due()
    assert host.received == [("bob@example.test", MESSAGE)] * 2
    assert host.secure == [True, True]
    assert len(policies.requests) == 1
    assert world.queue.names() == []


@pytest.mark.parametrize("certificate", [*BAD, None])
@pytest.mark.parametrize("policy", [POLICY, TESTING, NONE])
def test_a_host_without_a_good_certificate(
    world: World, certificate: data.KeyPair | None, policy: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Section 5: where the policy is enforced it gets nothing, in clear or otherwise; else as always."""

    async def test(world: World) -> None:
        host, sts = Host(), STS(world, policy)
        async with exchanger(host, certificate):
            caplog.clear()
            entry = await sts.attempt()
        if policy is POLICY:
            assert why(entry).startswith("451 4.7.5 mail.example.test is not as the policy of example.test wants it")
            assert host.envelopes == []
            assert caplog.messages == []
        else:
            assert entry is None
            assert host.secure == [certificate is not None]
            beginnings = [line[:50] for line in caplog.messages]
            assert beginnings == ["mail goes there all the same, for that is a test: "] * (policy is TESTING)

    run(test, world)


@in_loop
async def test_the_name_of_the_host_is_what_the_certificate_has_to_have(world: World) -> None:
    """Not that of the domain, and not one of its policy: good.example.test is in it, and not in the certificate."""
    host, sts = Host(), STS(world, POLICY.replace(b"mail.", b"*."))
    async with exchanger(host):
        assert await sts.attempt() is None
        sts.names.exchanges = {"good.example.test": "127.0.0.1"}
        assert "good.example.test" in why(await sts.attempt())
    assert len(host.envelopes) == 1


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (hang_up, b"220 go ahead\r\n"),
        (hang_up, b""),
        (stall, b"nonsense\r\n"),
        (stall, b"220 go ahead\r\n250-evil\r\n250 AUTH PLAIN\r\n"),
        (hang_up_under_tls, b"220 go ahead\r\n"),
    ],
)
@pytest.mark.parametrize("policy", [POLICY, TESTING])
def test_a_host_that_breaks_over_tls(
    world: World, end: End, words: bytes, policy: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However an attacker has it break: an enforced policy knows no clear text."""

    async def test(world: World) -> None:
        broken, sts = Broken(end, words), STS(world, policy)
        async with broken.listening() as port:
            monkeypatch.setattr("mailproto.relay.connecting.RELAY_PORT", port)
            entry = await sts.attempt()
        if policy is POLICY:
            assert why(entry).startswith("451 4.7.5 ")
            assert (broken.connections, broken.taken) == (1, [])
        else:
            assert entry is None
            assert len(broken.taken) == 1

    run(test, world)


@pytest.mark.parametrize("words", [b"454 not now\r\n", b"501 never\r\n"])
def test_a_host_that_refuses_starttls(world: World, words: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(world: World) -> None:
        broken, sts = Broken(stall, words), STS(world)
        async with broken.listening() as port:
            monkeypatch.setattr("mailproto.relay.connecting.RELAY_PORT", port)
            assert f"the server refused STARTTLS: {words.decode()[:-2]}" in why(await sts.attempt())
        assert (broken.connections, broken.taken) == (1, [])

    run(test, world)


async def busy_under_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Shake hands with a good certificate, and have no time then."""
    await writer.start_tls(aio.server_context(*data.SERVER))
    await reader.readline()
    writer.write(b"421 Too busy\r\n")


@pytest.mark.parametrize("policy", [POLICY, TESTING])
def test_a_host_that_fulfils_the_policy_and_is_busy(
    world: World, policy: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the host that says so, and not the policy."""

    async def test(world: World) -> None:
        busy, sts = Broken(busy_under_tls), STS(world, policy)
        async with busy.listening() as port:
            monkeypatch.setattr("mailproto.relay.connecting.RELAY_PORT", port)
            entry = await sts.attempt()
        assert entry is not None
        (recipient,) = entry.waiting
        assert (str(recipient.reply), recipient.remote_mta) == ("421 Too busy", "mail.example.test")
        assert busy.connections == 1

    run(test, world)


@pytest.mark.parametrize("policy", [POLICY, TESTING])
@pytest.mark.parametrize("greeting", [None, Reply.build(421, "Too busy")])
def test_a_host_that_is_just_not_there(world: World, policy: bytes, greeting: Reply | None) -> None:
    """Which is nothing that a policy has to do with, and no reason to try it twice."""

    async def test(world: World) -> None:
        host, sts = Host(), STS(world, policy)
        host.greeting = greeting or host.greeting
        async with exchanger(host):
            if greeting is None:
                sts.names.exchanges = {"mail.example.test": "127.0.0.2"}
            entry = await sts.attempt()
        assert entry is not None
        (recipient,) = entry.waiting
        assert recipient.reply is not None
        if greeting is None:
            assert str(recipient.reply).startswith("451 4.4.1 mail.example.test cannot be reached")
        else:
            assert (recipient.reply, recipient.remote_mta) == (greeting, "mail.example.test")
            assert host.connections == 1

    run(test, world)


@in_loop
async def test_what_a_host_says_for_good_under_tls_counts(world: World) -> None:
    class Never(Host):
        def on_hello(self, session: Any, _: object) -> None:
            if session.conn.tls is not None:
                raise Reject(550, "No mail here")

    host, sts = Never(), STS(world, POLICY)
    async with exchanger(host):
        assert await sts.attempt() is None, "it has come back"
    assert host.envelopes == []


@pytest.mark.parametrize("policy", [POLICY, TESTING])
def test_nobody_on_the_line_has_mail_returned(world: World, policy: bytes) -> None:
    """A refusal for good that comes before TLS is no word of the host's where the policy is enforced."""

    async def test(world: World) -> None:
        host, sts = Host(), STS(world, policy)
        host.greeting = Reply.build(554, "No mail here")
        async with exchanger(host):
            entry = await sts.attempt()
        if policy is POLICY:
            assert why(entry).endswith("(MTA-STS): without TLS it says 554 No mail here")
        else:
            assert entry is None, "it is the host's word for once, and the sender hears it"
        assert host.envelopes == []

    run(test, world)


@pytest.mark.parametrize("policy", [POLICY, TESTING, NONE])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({".": ""}, "This domain takes no mail"),
        (RoutingError(NO_SUCH_DOMAIN), "There is no such domain"),
        ({"mail.example.test": ""}, "No mail host is known for this domain"),
    ],
)
def test_nobody_who_forges_the_dns_has_mail_returned(
    world: World, policy: bytes, answer: dict[str, str] | RoutingError, words: str
) -> None:
    """That a domain has mail hosts its policy says, which stays known when the DNS says nothing of it any more."""

    async def test(world: World) -> None:
        host, sts = Host(), STS(world, policy)
        async with exchanger(host):
            assert await sts.attempt() is None
        sts.names.exchanges, sts.names.record = answer, RoutingError(NO_SUCH_DOMAIN)
        entry = await sts.attempt()
        if policy is POLICY:
            assert why(entry).startswith("451 4.7.5 example.test has mail hosts by its policy (MTA-STS), ")
            assert why(entry).endswith(words)
        else:
            assert entry is None, "it has come back"

    run(test, world)


@in_loop
async def test_a_host_that_the_policy_does_not_name_is_passed_over(world: World) -> None:
    """Section 8.4: as if it could not be reached, however good its certificate is."""
    good, evil, sts = Host(), Host(), STS(world)
    async with exchanger(good) as port, exchanger(evil, address="127.0.0.2", port=port):
        sts.names.exchanges = {"localhost": "127.0.0.2", "mail.example.test": "127.0.0.1"}
        assert await sts.attempt() is None
        sts.names.exchanges = {"localhost": "127.0.0.2"}
        assert why(await sts.attempt()).endswith("(MTA-STS): it is none of the hosts there")
    assert len(good.envelopes) == 1
    assert evil.connections == 0


@in_loop
async def test_a_policy_that_is_tested_names_no_hosts_for_sure(world: World) -> None:
    other, sts = Host(), STS(world, TESTING)
    async with exchanger(other):
        sts.names.exchanges = {"localhost": "127.0.0.1"}
        assert await sts.attempt() is None
    assert other.secure == [True]


@pytest.mark.parametrize("record", [None, b"v=STSv1; id=2;"])
def test_a_downgrade_comes_too_late(world: World, record: bytes | None) -> None:
    """Section 5.1: somebody has the DNS, the policy host and the mail host; and the relay was started again."""

    async def test(world: World) -> None:
        good, evil, sts = Host(), Host(), STS(world)
        async with exchanger(good):
            assert await sts.attempt() is None
        sts.names.record, sts.blocked = record, True
        sts.names.exchanges = {"evil.example.com": "127.0.0.1", "mail.example.test": "127.0.0.1"}
        world.now += 6 * 86400
        async with exchanger(evil, data.SELF_SIGNED):
            assert why(await sts.attempt()).startswith("451 4.7.5 mail.example.test ")
        assert evil.envelopes == []
        world.now += HOUR
        sts.names.exchanges = {"mail.example.test": "127.0.0.1"}
        async with exchanger(good):
            await sts.relay().attempt_due()
        assert good.secure == [True, True]
        assert world.queue.names() == []

    run(test, world)


@in_loop
async def test_a_policy_that_was_mended_lets_mail_through_that_waits(world: World) -> None:
    """Section 5: at each attempt it is looked for."""
    host, sts = Host(), STS(world, POLICY.replace(b"mail.", b"mx."))
    async with exchanger(host):
        assert "4.7.5" in why(await sts.attempt())
        sts.names.record, sts.policy = b"v=STSv1; id=2;", POLICY
        world.now += HOUR
        await sts.relay().attempt_due()
    assert host.secure == [True]


@in_loop
async def test_what_waits_too_long_comes_back_and_says_why(world: World) -> None:
    home, evil, sts = Host(), Host(), STS(world)
    async with exchanger(evil, data.WRONG_NAME), aio.SMTPServer(home, port=0) as server:
        routes = {"example.org": Route("127.0.0.1", server.port, tls=TLSPolicy.NONE)}
        schedule = Schedule(give_up=HOUR, delay_notice=3 * HOUR, min_attempts=2)
        assert await sts.attempt(routes=routes, schedule=schedule) is not None
        world.now += HOUR
        await sts.relay(routes=routes, schedule=schedule).attempt_due()
    assert evil.envelopes == []
    (_, (_, fields)) = read_notice(home.received[0][1])
    assert fields["Action"] == "failed"
    assert fields["Status"] == "4.7.5"
    assert "the policy of example.test" in fields["Diagnostic-Code"]
    assert "certificate verify failed" in fields["Diagnostic-Code"]
    assert "Remote-MTA" not in fields
    assert world.queue.names() == []


@in_loop
async def test_several_connections_are_all_verified(world: World) -> None:
    host, sts = Host(), STS(world)
    async with exchanger(host):
        for _ in range(60):
            world.put(BOB)
        assert await sts.attempt() is None
    assert host.connections > 1
    assert host.secure == [True] * 61


@in_loop
async def test_a_domain_that_there_is_not_is_not_asked_for_its_policy(world: World) -> None:
    sts = STS(world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sts.names, "mx", StaticResolver({}).mx)
        assert await sts.attempt() is None
    assert sts.names.asked == []


@in_loop
async def test_whom_no_policy_is_for(world: World) -> None:
    """Section 3.4 has none for address literals; hosts that the operator has named have a TLS policy from him."""
    host, sts = Host(), STS(world)
    async with exchanger(host, data.SELF_SIGNED) as port:
        world.put(Address("bob", "[127.0.0.1]"))
        await sts.relay().attempt_due()
        world.put(BOB)
        await sts.relay(routes={"example.test": Route("127.0.0.1", port)}).attempt_due()
        world.put(BOB)
        await sts.relay(smarthost=Route("127.0.0.1", port)).attempt_due()
    assert len(host.envelopes) == 3
    assert sts.names.asked == []


@in_loop
async def test_a_policy_that_cannot_be_read_keeps_mail_back(world: World) -> None:
    host, sts = Host(), STS(world)
    (world.queue.path / "sts" / "example.test").mkdir(parents=True)
    async with exchanger(host):
        assert why(await sts.attempt()).startswith("451 4.3.0 ")
    assert host.connections == 0


def test_who_makes_the_clients_himself_sees_to_their_tls_himself(tmp_path: Path) -> None:
    names = Names()
    with pytest.raises(LocalProtocolError):
        RelayConfig(
            hostname="relay.example.org",
            resolver=names,
            sts=PolicyStore(tmp_path, names),
            make_client=lambda target: aio.SMTPClient(target.address),
        )
