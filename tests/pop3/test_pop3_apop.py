"""APOP: timestamps that can be trusted, and the digest."""

from __future__ import annotations

import asyncio
import poplib
from typing import Any

import pytest

from mailproto import AuthenticationError, Limits, TLSPolicy, aio, sync
from mailproto.errors import GrammarError
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.pop3 import (
    ApopCheck,
    GreetingReceived,
    POP3ClientConnection,
    POP3ServerConfig,
    POP3ServerConnection,
    apop_digest,
)
from mailproto.pop3.apop import check_timestamp, find_timestamp

TIMESTAMP = "<1896.697170952@dbc.mtview.ca.us>"
DIGEST = "c4c9334bac560ecc979e58001b3e22fb"


def test_the_digest_of_rfc_1939() -> None:
    assert apop_digest(TIMESTAMP, "tanstaaf") == DIGEST


def test_a_check_knows_the_right_secret() -> None:
    check = ApopCheck("mrose", TIMESTAMP, DIGEST)
    assert check.matches("tanstaaf")
    assert not check.matches("tanstaaff")
    assert not check.matches("ñ")
    assert not ApopCheck("mrose", TIMESTAMP, "ñ").matches("tanstaaf")


@pytest.mark.parametrize("secret", [None, ""])
def test_nobody_has_a_secret_that_anybody_could_make_a_digest_of(secret: str | None) -> None:
    assert not ApopCheck("nobody", TIMESTAMP, apop_digest(TIMESTAMP, "")).matches(secret)


def test_a_check_does_not_show_the_digest() -> None:
    assert DIGEST not in repr(ApopCheck("mrose", TIMESTAMP, DIGEST))


GOOD = [TIMESTAMP, "<1@[127.0.0.1]>", "<4d2.1.5f3b+/==.abc@mail>", "<a@[IPv6:::1]>", f"<{'a' * 186}@example.org>"]
BAD = [
    "<>",
    "<@>",
    "<a@>",
    "<@b>",
    "<a>",
    "<a b@c>",
    "<a@b@c>",
    "<a@b\x80>",
    "<a@b\x00>",
    "<a@b\x7f>",
    "<ä@b>",
    "<a@b",
    "a@b>",
    '<"a"@b>',
    "<a(c)@b>",
    f"<{'a' * 187}@example.org>",
]


@pytest.mark.parametrize("timestamp", GOOD)
def test_a_timestamp_is_a_msg_id(timestamp: str) -> None:
    check_timestamp(timestamp)
    assert find_timestamp(f"ready {timestamp}") == timestamp
    assert find_timestamp(f"{timestamp} ready") == timestamp


@pytest.mark.parametrize("timestamp", BAD)
def test_what_is_no_msg_id_is_no_timestamp(timestamp: str) -> None:
    with pytest.raises(GrammarError):
        check_timestamp(timestamp)
    assert find_timestamp(f"ready {timestamp}") is None
    with pytest.raises(GrammarError):
        POP3ServerConnection(timestamp=timestamp)


def test_two_brackets_are_none() -> None:
    assert find_timestamp("<1@a> <2@a>") is None
    assert find_timestamp("<<1@a>>") is None


@pytest.mark.parametrize("octets", [b"<\x80@a>", b"<1@a\xff>", "<1@ä>".encode(), b"<1\0@a>"])
def test_a_client_does_not_take_the_timestamps_of_an_attacker(octets: bytes) -> None:
    """What recovers a password from APOP needs octets that no msg-id has."""
    conn = POP3ClientConnection()
    conn.receive_data(b"+OK ready " + octets + b"\r\n")
    event = conn.next_event()
    assert isinstance(event, GreetingReceived)
    assert event.timestamp is None


CONFIG = POP3ServerConfig(apop=True, allow_plaintext_auth=True, limits=Limits(auth_failure_delay=0))
LOGIN: dict[str, Any] = {"tls": TLSPolicy.NONE, "apop": True, "allow_plaintext_auth": True}


def host() -> MailHost:
    return MailHost(lambda _: MemoryMaildrop(), {"ada": "tänstaaf"})


def test_a_server_offers_it_if_its_config_says_so() -> None:
    """RFC 1939 section 7: the timestamp must be different each time. S44: and nobody may foresee it."""
    timestamps = set()
    with sync.POP3Server(host(), port=0, config=CONFIG) as server:
        for _ in range(3):
            with sync.POP3Client("127.0.0.1", server.port, user="ada", password="tänstaaf", **LOGIN) as pop:
                assert pop.status() == (0, 0)
                timestamps.add(pop.conn.timestamp)
        for user, password in (("ada", "tanstaaf"), ("eve", "tänstaaf")):
            with pytest.raises(AuthenticationError):
                sync.POP3Client("127.0.0.1", server.port, user=user, password=password, **LOGIN).connect()
        stranger = poplib.POP3("127.0.0.1", server.port, timeout=10)
        stranger.encoding = "utf-8"
        assert stranger.apop("ada", "tänstaaf").startswith(b"+OK")
        stranger.quit()
    assert len(timestamps) == 3


def test_a_server_over_asyncio_offers_it_too() -> None:
    async def run() -> None:
        server = aio.POP3Server(host(), port=0, config=CONFIG)
        await server.start()
        async with server, aio.POP3Client("127.0.0.1", server.port, user="ada", password="tänstaaf", **LOGIN) as pop:
            assert await pop.status() == (0, 0)

    asyncio.run(run())
