"""Resolvers over sockets: datagrams and connections, servers that are gone, silent, or not those that were asked."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mailproto import Address, GrammarError, TLSPolicy
from mailproto._net import dns as shared
from mailproto.dns import LookupFailedError, MailServer, read_name
from mailproto.smtp.routing import LOOKUP_FAILED, MX, NO_SUCH_DOMAIN, RoutingError
from tests.adapters.facades import AioFront, SyncFront
from tests.adapters.harness import PATIENCE, at_best
from tests.dns import wire
from tests.dns.server import serving

Front = AioFront | SyncFront


def records(*records: bytes, **how: Any) -> Callable[[str, bytes], list[bytes]]:
    """Answer every query with these records."""
    return lambda _, query: [wire.answer(query, *records, **how)]


RECORDS = (
    wire.mx("example.org", 20, "b.example.org"),
    wire.mx("example.org", 10, "a.example.org"),
    wire.address("example.org", "192.0.2.1"),
    wire.address("example.org", "2001:db8::1"),
)
FOUND = [MX(20, "b.example.org"), MX(10, "a.example.org")]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_mx_and_addresses(front: Front, address: str) -> None:
    with serving(records(*RECORDS), address) as server:
        resolver = front.DNSResolver([address], port=server.port)
        assert resolver.mx("example.org") == FOUND
        assert resolver.addresses("example.org") == ["2001:db8::1", "192.0.2.1"]
        assert server.asked == [(kind, "datagram") for kind in ("MX", "AAAA", "A")]
        assert len(server.ports) == 3, "each query has a port of its own (RFC 5452 section 9.2)"


def test_the_servers_of_an_address(front: Front) -> None:
    found = {
        "_submissions._tcp.example.org": [wire.srv("_submissions._tcp.example.org", 10, 0, 465, "mail.example.org")],
        "_submission._tcp.example.org": [wire.srv("_submission._tcp.example.org", 0, 0, 587, "mail.example.net")],
        "_pop3._tcp.example.org": [wire.srv("_pop3._tcp.example.org", 0, 0, 0, "")],
    }

    def respond(_: str, query: bytes) -> list[bytes]:
        name = read_name(query, 12)[0]
        return [wire.answer(query, *found.get(name, ()), code=0 if name in found else 3)]

    with serving(respond) as server:
        resolver = front.DNSResolver(["127.0.0.1"], port=server.port)
        servers = [
            MailServer("mail.example.net", 587, TLSPolicy.REQUIRED, in_domain=False),
            MailServer("mail.example.org", 465, TLSPolicy.IMPLICIT, in_domain=True),
        ]
        assert resolver.submission_servers("ada@example.org") == servers
        assert resolver.submission_servers(Address("ada", "example.org")) == servers
        assert resolver.pop3_servers("ada@example.org") == []
        assert server.names[-2:] == ["_pop3s._tcp.example.org", "_pop3._tcp.example.org"]
        assert resolver.pop3_servers("ada@b\u00fccher.example") == []
        assert server.names[-1] == "_pop3._tcp.xn--bcher-kva.example"
        assert resolver.pop3_servers("ada@" + "x" * 63 + ".example") == []
        asked = len(server.asked)
        with pytest.raises(GrammarError):
            resolver.submission_servers("example.org")
        assert len(server.asked) == asked


def test_texts(front: Front) -> None:
    def respond(_: str, query: bytes) -> list[bytes]:
        match read_name(query, 12)[0]:
            case "_mta-sts.example.org":
                return [wire.answer(query, wire.alias("_mta-sts.example.org", "_mta-sts.provider.example"))]
            case "_mta-sts.provider.example" as name:
                return [wire.answer(query, wire.txt(name, b"v=STSv1; ", b"id=1;"), wire.txt(name, b"else"))]
            case "nobody.example":
                return [wire.answer(query, code=3)]
        return [wire.answer(query, code=2)]

    with serving(respond) as server:
        resolver = front.DNSResolver(["127.0.0.1"], port=server.port, attempts=1)
        assert resolver.txt("_mta-sts.example.org") == [b"v=STSv1; id=1;", b"else"]
        assert server.asked == [("TXT", "datagram")] * 2
        assert resolver.txt("nobody.example") == []
        assert resolver.txt("x" * 64 + ".example") == []
        with pytest.raises(LookupFailedError):
            resolver.txt("broken.example")


def test_servers_that_nobody_can_tell_are_not_none(front: Front) -> None:
    """The half that is known might be the worse one."""

    def respond(_: str, query: bytes) -> list[bytes]:
        name = read_name(query, 12)[0]
        return [wire.answer(query, wire.srv(name, 0, 0, 1, "a.example.org"), code=2 if "submissions" in name else 0)]

    with serving(respond) as server:
        resolver = front.DNSResolver(["127.0.0.1"], port=server.port, attempts=1)
        with pytest.raises(LookupFailedError):
            resolver.submission_servers("ada@example.org")


def test_long_answers_come_over_tcp(front: Front) -> None:
    many = [wire.mx("example.org", number, f"mx{number}.example.org") for number in range(1000)]

    def respond(how: str, query: bytes) -> list[bytes]:
        if how == "datagram":
            return [wire.answer(query, flags=wire.USUAL | wire.TRUNCATED)]
        return [b"", wire.answer(query, message_id=0xFFFF & ~int.from_bytes(query[:2])), wire.answer(query, *many)]

    with serving(respond) as server:
        found = front.DNSResolver(["127.0.0.1"], port=server.port, timeout=PATIENCE).mx("example.org")
        assert found == [MX(number, f"mx{number}.example.org") for number in range(1000)]
        assert server.asked == [("MX", "datagram"), ("MX", "stream")]


@pytest.mark.parametrize("stream", [False, True])
def test_the_time_for_an_answer_is_not_that_for_each_piece(front: Front, stream: bool) -> None:
    """A server that has something to say in time, again and again, and never the answer."""

    def respond(how: str, query: bytes) -> Iterator[bytes]:
        if stream and how == "datagram":
            yield wire.answer(query, flags=wire.USUAL | wire.TRUNCATED)
        else:
            for _ in range(int(PATIENCE / 0.15)):
                if given_up.wait(0.15):
                    return
                yield b"junk"
            said_all.set()

    given_up, said_all = threading.Event(), threading.Event()
    with serving(respond) as server:
        with pytest.raises(RoutingError):
            front.DNSResolver(["127.0.0.1"], port=server.port, timeout=0.3, attempts=1).mx("example.org")
        given_up.set()
        assert not said_all.is_set()


def test_what_is_no_answer_is_passed_over(front: Front) -> None:
    def respond(_: str, query: bytes) -> list[bytes]:
        evil = wire.mx("example.org", 0, "evil.example")
        other = wire.answer(query, evil, question=wire.question("other.example", wire.MX))
        return [b"junk", query, other, wire.answer(query, *RECORDS)]

    with serving(respond) as server:
        assert front.DNSResolver(["127.0.0.1"], port=server.port).mx("example.org") == FOUND
        assert len(server.asked) == 1


def test_an_answer_from_somebody_else_is_not_heard(front: Front) -> None:
    """Who knows the id and the port, but not how to send from the server's address."""
    evil = wire.mx("example.org", 0, "evil.example")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))
        ports: list[int] = []

        def respond(_: str, query: bytes) -> list[bytes]:
            (port,) = server.ports
            ports.append(port)
            stranger.sendto(wire.answer(query, evil), ("127.0.0.1", port))
            return [wire.answer(query, *RECORDS)]

        with serving(respond) as server:
            assert front.DNSResolver(["127.0.0.1"], port=server.port).mx("example.org") == FOUND
        assert ports


def test_a_server_that_is_gone_or_silent_is_passed_over(front: Front) -> None:
    with serving(records(*RECORDS)) as server:
        began = time.monotonic()
        gone = front.DNSResolver(["127.0.0.2", "127.0.0.1"], port=server.port, timeout=60)
        assert gone.mx("example.org") == FOUND
        assert time.monotonic() - began < 30, "the system says at once that nobody is there"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.3", server.port))
            # Each of them is asked as often as a busy machine may need, to answer in so short a time.
            resolver = front.DNSResolver(["127.0.0.3", "127.0.0.1"], port=server.port, timeout=0.2, attempts=100)
            assert resolver.mx("example.org") == FOUND


def test_nobody_tells(front: Front) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        silent.setblocking(False)
        resolver = front.DNSResolver(["127.0.0.1"], port=silent.getsockname()[1], timeout=0.05, attempts=3)

        def queries() -> int:
            for ask in (resolver.mx, resolver.addresses):
                with pytest.raises(RoutingError) as caught:
                    ask("example.org")
                assert caught.value.reply is LOOKUP_FAILED
            return sum(1 for _ in iter(lambda: _received(silent), None))

        # Who has no time any more before it has even asked does not ask.
        assert at_best(queries, (9).__eq__) == 9, "three times for MX, AAAA and A"


def _received(sock: socket.socket) -> bytes | None:
    try:
        return sock.recv(4096)
    except BlockingIOError:
        return None


@pytest.mark.parametrize("address", ["fe80::1%\ufffd", "fe80::1%" + "x" * 64, "fe80::1%nothing"])
def test_what_is_no_address_is_passed_over(front: Front, address: str) -> None:
    """A resolv.conf may have interfaces in it that there are not, and cannot be."""
    with serving(records(*RECORDS)) as server:
        resolver = front.DNSResolver([address, "127.0.0.1"], port=server.port, timeout=PATIENCE)
        assert resolver.mx("example.org") == FOUND


def test_a_connection_that_ends_too_soon_is_no_answer(front: Front) -> None:
    def respond(how: str, query: bytes) -> list[bytes]:
        return [wire.answer(query, flags=wire.USUAL | wire.TRUNCATED)] if how == "datagram" else []

    with serving(respond) as server:
        with pytest.raises(RoutingError) as caught:
            front.DNSResolver(["127.0.0.1"], port=server.port, timeout=PATIENCE, attempts=1).mx("example.org")
        assert caught.value.reply is LOOKUP_FAILED


def test_a_name_that_does_not_exist(front: Front) -> None:
    with serving(records(code=3)) as server:
        resolver = front.DNSResolver(["127.0.0.1"], port=server.port)
        for domain in ("example.org", "a..b", "x" * 64):
            with pytest.raises(RoutingError) as caught:
                resolver.mx(domain)
            assert caught.value.reply is NO_SUCH_DOMAIN
            assert resolver.addresses(domain) == []


def test_some_addresses_are_better_than_none(front: Front) -> None:
    """RFC 4074 section 4: there are servers that fail, or deny a name, when they are asked for IPv6."""
    for code in (2, 3):

        def respond(_: str, query: bytes, code: int = code) -> list[bytes]:
            asks_for_ipv6 = int.from_bytes(query[-4:-2]) == wire.AAAA
            return [wire.answer(query, code=code) if asks_for_ipv6 else wire.answer(query, *RECORDS)]

        with serving(respond) as server:
            assert front.DNSResolver(["127.0.0.1"], port=server.port).addresses("example.org") == ["192.0.2.1"]


def test_the_system_says_whom_to_ask(front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "RESOLV_CONF", tmp_path / "resolv.conf")
    with serving(records(*RECORDS), "127.0.0.4") as server:
        resolver = front.DNSResolver(port=server.port, timeout=PATIENCE, attempts=1)
        with pytest.raises(RoutingError):
            resolver.mx("example.org")
        (tmp_path / "resolv.conf").write_bytes(b"# \xff\nnameserver 127.0.0.4\n")
        assert resolver.mx("example.org") == FOUND, "the file is read for each look-up"


def test_where_nobody_knows_whom_to_ask_nobody_is_asked(
    front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the file it is a server on this host. But if it cannot be read, that one may know nothing of names."""
    with serving(records(code=3)) as server:
        resolver = front.DNSResolver(port=server.port, timeout=PATIENCE)
        for file, reply in ("gone", NO_SUCH_DOMAIN), (".", NO_SUCH_DOMAIN), ("x" * 300, LOOKUP_FAILED):
            monkeypatch.setattr(shared, "RESOLV_CONF", tmp_path / file)
            with pytest.raises(RoutingError) as caught:
                resolver.mx("example.org")
            assert caught.value.reply is reply
        with pytest.raises(RoutingError):
            resolver.addresses("example.org")
        assert len(server.asked) == 2


@pytest.mark.parametrize("servers", ["192.0.2.53", [], (), ["192.0.2.53", "localhost"]])
def test_what_are_no_servers(front: Front, servers: object) -> None:
    with pytest.raises(ValueError, match="a sequence of IP addresses"):
        front.DNSResolver(servers)
