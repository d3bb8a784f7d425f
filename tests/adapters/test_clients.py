"""What is the same for the clients of both protocols, over either adapter."""

from __future__ import annotations

import errno
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from mailproto import ConnectionClosedError, ConnectionTimeoutError, TLSPolicy
from mailproto.pop3 import POP3ClientConfig
from mailproto.smtp import Limits, SMTPClientConfig
from tests.adapters.facades import AioFront, SyncFront
from tests.adapters.harness import PATIENCE, Wire, held_port, scripted

Front = AioFront | SyncFront
KINDS = pytest.mark.parametrize(
    ("kind", "make_config"), [("SMTPClient", SMTPClientConfig), ("POP3Client", POP3ClientConfig)]
)


@KINDS
def test_one_timeout_for_every_wait(front: Front, kind: str, make_config: Any) -> None:
    """No wait of a client is longer, and none becomes longer by it; what is no wait of a client's stays."""
    config = make_config(limits=Limits(data_timeout=0.25, max_line=4000))
    client = getattr(front, kind)("localhost", 1, timeout=7.5, config=config)
    waits = ("greeting", "command", "data", "final_reply", "handshake", "quit", "session", "login")
    limits = client.conn.limits
    assert [getattr(limits, f"{name}_timeout") for name in waits] == [7.5, 7.5, 0.25, 7.5, 7.5, 5.0, 600.0, 120.0]
    assert limits.max_line == 4000


@KINDS
def test_a_server_that_says_nothing(front: Front, kind: str, make_config: Any) -> None:
    """It may wait for a handshake: the error has a note of that, but not where there was one."""

    def script(wire: Wire) -> None:
        assert wire.rest() == b""

    begun = time.monotonic()
    with scripted(script) as port, pytest.raises(ConnectionTimeoutError) as caught:
        getattr(front, kind)("127.0.0.1", port, tls=TLSPolicy.REQUIRED, timeout=0.05).connect()
    assert time.monotonic() - begun < PATIENCE / 2
    assert "TLSPolicy.IMPLICIT" in caught.value.__notes__[0]


@KINDS
def test_a_server_that_hangs_up_at_once(front: Front, kind: str, make_config: Any) -> None:
    with scripted(lambda wire: None) as port, pytest.raises(ConnectionClosedError) as caught:
        getattr(front, kind)("127.0.0.1", port, tls=TLSPolicy.NONE).connect()
    assert "TLSPolicy.IMPLICIT" in caught.value.__notes__[0]


@KINDS
def test_an_error_of_connecting_says_where_to(front: Front, kind: str, make_config: Any, tmp_path: Path) -> None:
    refused = pytest.raises(ConnectionRefusedError, match=r"cannot connect to 127\.0\.0\.1 port \d+: ")
    with held_port() as port, refused as caught:
        getattr(front, kind)("127.0.0.1", port).connect()
    assert caught.value.errno == errno.ECONNREFUSED
    with pytest.raises(FileNotFoundError, match=f"cannot connect to {tmp_path}/nobody: "):
        getattr(front, kind)(path=tmp_path / "nobody").connect()
    with pytest.raises(socket.gaierror, match=r"cannot connect to nobody.invalid port 4: "):
        getattr(front, kind)("nobody.invalid", 4).connect()
