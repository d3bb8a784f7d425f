"""Our resolvers ask dnsmasq, and a relay finds Postfix by what it says."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mailproto import aio, sync
from mailproto.address import Address
from mailproto.relay import Entry, Pending, Queue, Relay, RelayConfig
from mailproto.smtp.routing import MX, NO_SUCH_DOMAIN, RoutingError
from tests.interop.dovecot import Dovecot
from tests.interop.postfix import Postfix
from tests.interop.programs import HOST, Daemon, find_program, free_port, temporary_folder, unprivileged_user

MANY = [MX(number, f"mail-exchanger-number-{number}.example.test") for number in range(60)]
_ZONE = (
    "--local=/test/",
    "--mx-host=example.test,mx.example.test,10",
    "--mx-host=example.test,backup.example.test,20",
    "--cname=alias.example.test,both.example.test",
    "--address=/mx.example.test/127.0.0.1",
    "--host-record=both.example.test,192.0.2.1,2001:db8::1",
    *(f"--mx-host=many.test,{host},{preference}" for preference, host in MANY),
)


@pytest.fixture(scope="module")
def name_server() -> Iterator[int]:
    """Run dnsmasq, which knows this zone and asks nobody; yield its port."""
    port = free_port()
    with temporary_folder() as folder:
        program = (
            find_program("dnsmasq"),
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
        )
        place = (f"--port={port}", f"--listen-address={HOST}", "--bind-interfaces", "--pid-file=")
        user = f"--user={unprivileged_user().pw_name}"
        daemon = Daemon((*program, *place, user, *_ZONE), log=folder / "log")
        try:
            wait_for(port)
            yield port
        finally:
            daemon.stop()


def wait_for(port: int) -> None:
    """Wait until it answers."""
    resolver = sync.DNSResolver([HOST], port=port, timeout=0.5, attempts=1)
    give_up = time.monotonic() + 20
    while True:
        try:
            resolver.mx("example.test")
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


def test_a_relay_finds_its_way(
    name_server: int, postfix: Postfix, dovecot: Dovecot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailproto.relay.config.RELAY_PORT", postfix.port)
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
