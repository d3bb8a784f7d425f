"""Policies over HTTPS: from the policy host alone, proved by its certificate, whole, and within a time (RFC 8461)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from mailproto.errors import GrammarError
from mailproto.relay import PolicyFetchError
from mailproto.relay.sts.fetch import fetch_policy
from mailproto.smtp.sts import MAX_POLICY
from mailproto.tls import client_context
from tests import data
from tests.adapters.harness import PATIENCE
from tests.relay.policy_hosts import POLICY, Names, response, serving, serving_once

TRUST = client_context(data.CA)


def run(test: Coroutine[Any, Any, object]) -> None:
    """Run a test, not for ever."""
    asyncio.run(asyncio.wait_for(test, PATIENCE))


async def fetch() -> bytes:
    return await fetch_policy("example.test", Names(), TRUST)


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        response(),
        response(media="Text/Plain ; charset=utf-8"),
        response(header="Connection: keep-alive\r\n"),
        response().replace(b"HTTP/1.1", b"HTTP/1.0"),
        CHUNKED + b"8\r\n" + POLICY[:8] + b"\r\n" + b"%x\r\n" % len(POLICY[8:]) + POLICY[8:] + b"\r\n0\r\n\r\n",
    ],
)
def test_a_policy(answer: bytes) -> None:
    async def test() -> None:
        async with serving(answer) as host:
            assert await fetch() == POLICY
        assert host.names == ["mta-sts.example.test"], "section 7.1"
        (request,) = host.requests
        assert request.startswith(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.example.test\r\n")

    run(test())


@pytest.mark.parametrize(
    "answer",
    [
        response(status="301 Moved Permanently", header="Location: https://mta-sts.example.test/policy\r\n"),
        response(status="302 Found", header="Location: /.well-known/mta-sts.txt\r\n"),
        response(status="307 Temporary Redirect", header="Location: https://localhost/\r\n"),
        response(status="404 Not Found"),
        response(status="503 Service Unavailable"),
        response(status="206 Partial Content"),
        response(status="304 Not Modified"),
        response(media="text/html"),
        response(media="text/plainer"),
        response().replace(b"Content-Type: text/plain\r\n", b""),
        response().replace(b"Content-Length: ", b"X-Length: "),
        response().replace(b"Content-Length: ", b"Content-Length: -"),
        response().replace(b"Content-Length: ", b"Content-Length: 99999999999999999999"),
        response()[:-1],
        CHUNKED + b"8\r\n" + POLICY[:8] + b"\r\n",
        CHUNKED + b"8\r\n" + POLICY[:8],
        CHUNKED + b"nonsense\r\n",
        CHUNKED + b"FFFFFFFFFFFFFFFFFFFF\r\n",
        response(b"x" * (MAX_POLICY + (16 << 10))),
        b"",
        b"\r\n",
        b"220 mail.example.test ESMTP\r\n",
        POLICY,
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000,
    ],
)
def test_what_is_no_policy_to_be_had(answer: bytes) -> None:
    """A redirect is not followed, and what was cut off not taken for whole."""

    async def test() -> None:
        async with serving(answer) as host:
            with pytest.raises(PolicyFetchError, match=r"^mta-sts\.example\.test "):
                await fetch()
        assert len(host.requests) == 1

    run(test())


@pytest.mark.parametrize("certificate", [data.SELF_SIGNED, data.EXPIRED, data.WRONG_NAME, data.NAME_IN_CN_ONLY])
def test_who_cannot_prove_its_name_is_no_policy_host(certificate: data.KeyPair) -> None:
    async def test() -> None:
        async with serving(certificate=certificate) as host:
            with pytest.raises(ssl.SSLCertVerificationError):
                await fetch()
        assert host.requests == []

    run(test())


def test_whom_nobody_here_trusts_is_no_policy_host() -> None:
    async def test() -> None:
        async with serving():
            with pytest.raises(ssl.SSLCertVerificationError):
                await fetch_policy("example.test", Names(), client_context())

    run(test())


def test_who_is_slow_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much he has to say: each octet comes in time, and all together do not."""
    monkeypatch.setattr("mailproto.relay.sts.fetch._TIMEOUT", 2.0)

    async def test() -> None:
        async with serving() as host:
            host.pause = 0.1
            with pytest.raises(TimeoutError, match=r"^mta-sts\.example\.test does not answer, or not to the end"):
                await fetch()
        assert len(host.requests) == 1

    run(test())


def test_who_is_not_there_is_named_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailproto.relay.sts.fetch._CONNECT_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr("mailproto.relay.sts.fetch.HTTPS_PORT", silent.getsockname()[1])
        with pytest.raises(TimeoutError, match=r"^mta-sts\.example\.test does not answer"):
            run(fetch())


class Several(Names):
    """A resolver that knows these addresses of each host."""

    def __init__(self, *addresses: str) -> None:
        super().__init__()
        self._addresses = addresses

    async def addresses(self, _: str) -> Sequence[str]:
        return self._addresses


def test_each_address_is_tried() -> None:
    async def test() -> None:
        async with serving():
            assert await fetch_policy("example.test", Several("127.0.0.2", "127.0.0.1"), TRUST) == POLICY
            with pytest.raises(ConnectionRefusedError):
                await fetch_policy("example.test", Several("127.0.0.2", "127.0.0.3"), TRUST)
            with pytest.raises(PolicyFetchError, match="no address"):
                await fetch_policy("example.test", Several(), TRUST)

    run(test())


@pytest.mark.parametrize("domain", ["", "example.test\r\nX: y", "example test", "b..example"])
def test_a_domain_that_is_none(domain: str) -> None:
    with pytest.raises(GrammarError):
        run(fetch_policy(domain, Names(), TRUST))


def test_a_server_of_somebody_else_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving_once():
        assert asyncio.run(fetch()) == POLICY
