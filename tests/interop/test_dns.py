"""Our resolvers ask dnsmasq, and a relay finds Postfix by what it says."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mailproto import TLSPolicy, aio, sync
from mailproto.address import Address
from mailproto.dns import MailServer
from mailproto.relay import Entry, Pending, PolicyStore, Queue, Relay, RelayConfig
from mailproto.smtp.routing import MX, NO_SUCH_DOMAIN, RoutingError
from tests import data
from tests.interop.dovecot import Dovecot
from tests.interop.postfix import Postfix
from tests.interop.programs import (
    HOST,
    STARTUP_SECONDS,
    Daemon,
    find_program,
    free_port,
    temporary_folder,
    unprivileged_user,
)
from tests.relay.policy_hosts import serving_once

MANY = [MX(number, f"mail-exchanger-number-{number}.example.test") for number in range(60)]
_ZONE = (
    "--mx-host=example.test,mx.example.test,10",
    "--mx-host=example.test,backup.example.test,20",
    "--cname=alias.example.test,both.example.test",
    "--address=/mx.example.test/127.0.0.1",
    "--host-record=both.example.test,192.0.2.1,2001:db8::1",
    *(f"--mx-host=many.test,{host},{preference}" for preference, host in MANY),
    "--srv-host=_submissions._tcp.example.test,mail.example.test,465,10,0",
    "--srv-host=_submission._tcp.example.test,hosting.example,587,0,0",
    "--srv-host=_submission._tcp.example.test,mail.example.test,587,10,0",
    "--srv-host=_pop3s._tcp.example.test,pop.example.test,995,20,65535",
    "--srv-host=_pop3s._tcp.example.test,pop1.example.test,995,10,0",
    "--srv-host=_pop3._tcp.example.test",
    "--txt-record=_mta-sts.example.test,v=STSv1; ,id=20160831085700Z;",
    "--cname=_mta-sts.hosted.test,_mta-sts.example.test",
)


@pytest.fixture(scope="module")
def name_server() -> Iterator[int]:
    """The port of a dnsmasq that knows this zone."""
    with running_dnsmasq(*_ZONE) as port:
        yield port


@contextmanager
def running_dnsmasq(*zone: str) -> Iterator[int]:
    """Run dnsmasq, which knows this zone and asks nobody; yield its port."""
    port = free_port()
    with temporary_folder() as folder:
        program = (
            find_program("dnsmasq"),
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--local=/test/",
        )
        place = (f"--port={port}", f"--listen-address={HOST}", "--bind-interfaces", "--pid-file=")
        user = f"--user={unprivileged_user().pw_name}"
        daemon = Daemon((*program, *place, user, *zone), log=folder / "log")
        try:
            wait_for(port)
            yield port
        finally:
            daemon.stop()


def wait_for(port: int) -> None:
    """Wait until it answers."""
    resolver = sync.DNSResolver([HOST], port=port, timeout=0.5, attempts=1)
    give_up = time.monotonic() + STARTUP_SECONDS
    while True:
        try:
            resolver.addresses("example.test")
        except RoutingError:
            assert time.monotonic() < give_up
            time.sleep(0.05)
        else:
            return


def mx(adapter: str, port: int, domain: str) -> list[MX]:
    """Ask for MX records over this adapter."""
    if adapter == "sync":
        return sorted(sync.DNSResolver([HOST], port=port).mx(domain))
    return sorted(asyncio.run(aio.DNSResolver([HOST], port=port).mx(domain)))


def addresses(adapter: str, port: int, host: str) -> Sequence[str]:
    """Ask for addresses over this adapter."""
    if adapter == "sync":
        return sync.DNSResolver([HOST], port=port).addresses(host)
    return asyncio.run(aio.DNSResolver([HOST], port=port).addresses(host))


@pytest.mark.parametrize("adapter", ["aio", "sync"])
def test_records(name_server: int, adapter: str) -> None:
    found = [MX(10, "mx.example.test"), MX(20, "backup.example.test")]
    assert mx(adapter, name_server, "example.test") == found
    assert mx(adapter, name_server, "EXAMPLE.test") == found
    assert mx(adapter, name_server, "many.test") == MANY, "which takes more than a datagram"
    assert mx(adapter, name_server, "both.example.test") == [], "a host without a record has itself"
    for name in ("both.example.test", "alias.example.test"):
        assert addresses(adapter, name_server, name) == ["2001:db8::1", "192.0.2.1"]
    assert addresses(adapter, name_server, "mx.example.test") == ["127.0.0.1"]
    assert addresses(adapter, name_server, "nobody.test") == []
    with pytest.raises(RoutingError) as caught:
        mx(adapter, name_server, "nobody.test")
    assert caught.value.reply is NO_SUCH_DOMAIN


@pytest.mark.parametrize("adapter", ["aio", "sync"])
def test_texts(name_server: int, adapter: str) -> None:
    def ask(name: str) -> list[bytes]:
        if adapter == "sync":
            return sync.DNSResolver([HOST], port=name_server).txt(name)
        return asyncio.run(aio.DNSResolver([HOST], port=name_server).txt(name))

    for name in ("_mta-sts.example.test", "_mta-sts.hosted.test"):
        assert ask(name) == [b"v=STSv1; id=20160831085700Z;"]
    for name in ("mx.example.test", "nobody.test"):
        assert ask(name) == []


@pytest.mark.parametrize("adapter", ["aio", "sync"])
def test_servers_for_the_users_of_a_domain(name_server: int, adapter: str) -> None:
    submission, pop3 = servers(adapter, name_server, "ada@example.test")
    assert submission == [
        MailServer("hosting.example", 587, TLSPolicy.REQUIRED, in_domain=False),
        MailServer("mail.example.test", 465, TLSPolicy.IMPLICIT, in_domain=True),
        MailServer("mail.example.test", 587, TLSPolicy.REQUIRED, in_domain=True),
    ]
    assert pop3 == [
        MailServer("pop1.example.test", 995, TLSPolicy.IMPLICIT, in_domain=True),
        MailServer("pop.example.test", 995, TLSPolicy.IMPLICIT, in_domain=True),
    ]
    assert servers(adapter, name_server, "ada@nobody.test") == ([], [])


def servers(adapter: str, port: int, address: str) -> tuple[list[MailServer], list[MailServer]]:
    """Ask over this adapter for those that take the mail of a user, and those that have it."""
    if adapter == "sync":
        resolver = sync.DNSResolver([HOST], port=port)
        return resolver.submission_servers(address), resolver.pop3_servers(address)

    async def ask() -> tuple[list[MailServer], list[MailServer]]:
        resolver = aio.DNSResolver([HOST], port=port)
        return await resolver.submission_servers(address), await resolver.pop3_servers(address)

    return asyncio.run(ask())


def test_all_that_a_user_says_is_his_address_and_his_password(postfix: Postfix, dovecot: Dovecot) -> None:
    """Postfix and Dovecot, each by both of its ways to begin with TLS."""
    mailbox = dovecot.mailbox()
    zone = (
        f"--srv-host=_submissions._tcp.localhost,localhost,{postfix.submissions_port},0,0",
        f"--srv-host=_submission._tcp.localhost,localhost,{postfix.submission_port},0,0",
        f"--srv-host=_pop3s._tcp.localhost,localhost,{dovecot.pop3s_port},0,0",
        f"--srv-host=_pop3._tcp.localhost,localhost,{dovecot.pop3_port},0,0",
    )
    with running_dnsmasq(*zone) as port:
        submission, pop3 = servers("sync", port, f"{mailbox.name}@localhost")
    assert [server.tls for server in (*submission, *pop3)] == [TLSPolicy.IMPLICIT, TLSPolicy.REQUIRED] * 2
    login: dict[str, Any] = {"user": mailbox.name, "password": mailbox.password, "cafile": data.CA}
    for server in submission:
        with sync.SMTPClient(server.host, server.port, tls=server.tls, **login) as client:
            assert client.send_message(b"Subject: found\r\n\r\n", mailbox.address, mailbox.address).ok
    mailbox.wait(len(submission))
    for server in pop3:
        with sync.POP3Client(server.host, server.port, tls=server.tls, **login) as pop:
            assert len(pop.listing()) == len(submission)


def test_a_relay_finds_its_way(
    name_server: int, postfix: Postfix, dovecot: Dovecot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailproto.relay.connecting.RELAY_PORT", postfix.port)
    mailbox = dovecot.mailbox()
    queue = Queue(tmp_path)
    now = time.time()
    recipient = Pending(Address.parse(mailbox.address))
    assert recipient.address.domain == "example.test"
    queue.add(Entry("m1", Address.parse("someone@example.test"), (recipient,), now, now), [b"Subject: found\r\n\r\n"])
    config = RelayConfig(hostname="relay.example.test", resolver=aio.DNSResolver([HOST], port=name_server))
    asyncio.run(Relay(queue, config).attempt_due())
    assert queue.names() == []
    (arrived,) = mailbox.wait()
    assert b"Subject: found\r\n" in arrived


def test_a_relay_trusts_the_host_that_a_policy_names(
    postfix: Postfix, dovecot: Dovecot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 8461: dnsmasq says that there is a policy, http.server has it, and Postfix has the certificate."""
    monkeypatch.setattr("mailproto.relay.connecting.RELAY_PORT", postfix.port)
    zone = (
        "--mx-host=example.test,evil.example.test,5",
        "--mx-host=example.test,mail.example.test,10",
        "--address=/example.test/127.0.0.1",
        "--txt-record=_mta-sts.example.test,v=STSv1; id=1;",
    )
    mailbox = dovecot.mailbox()
    queue = Queue(tmp_path)
    now = time.time()
    recipient = Pending(Address.parse(mailbox.address))
    queue.add(Entry("m1", Address.parse("someone@example.test"), (recipient,), now, now), [b"Subject: kept\r\n\r\n"])
    with running_dnsmasq(*zone) as port, serving_once():
        resolver = aio.DNSResolver([HOST], port=port)
        sts = PolicyStore(tmp_path / "sts", resolver, cafile=data.CA)
        config = RelayConfig(hostname="relay.example.test", resolver=resolver, sts=sts)
        asyncio.run(Relay(queue, config).attempt_due())
    assert queue.names() == []
    (arrived,) = mailbox.wait()
    assert b"Subject: kept\r\n" in arrived
    assert b"using TLSv1.3" in arrived
