"""The engine over the SMTP connections: what it hands to the network, in clear and through TLS."""

from __future__ import annotations

import pytest

from mailproto._core.events import TLSInfo
from mailproto._core.flow import Want
from mailproto._core.policy import TLSPolicy
from mailproto._flows.engine import Engine
from mailproto.errors import ConnectionClosedError, RemoteProtocolError
from mailproto.smtp import SMTPClientConnection
from mailproto.smtp.flows.client import SessionOptions, open_session


class Mirror:
    """A TLS session whose records are the octets themselves, in brackets."""

    ended = False

    def __init__(self) -> None:
        self._in = self._out = b""

    def handshake(self) -> bool:
        return True

    def info(self) -> TLSInfo:
        return TLSInfo("mirrored")

    def receive(self, data: bytes) -> None:
        self._in += data

    def read(self) -> bytes:
        data, self._in = self._in, b""
        return data

    def write(self, data: bytes) -> None:
        self._out += b"[%s]" % data

    def output(self) -> bytes:
        data, self._out = self._out, b""
        return data

    def close(self) -> None:
        """Nothing to be said."""


def test_commands_that_wait_for_their_turn_go_through_tls() -> None:
    """What a client has queued becomes output only when it is asked for."""
    conn = SMTPClientConnection()
    engine = Engine(conn, Mirror)
    engine.begin(open_session(conn, SessionOptions(tls=TLSPolicy.IMPLICIT)))
    assert engine.step() is Want.READ
    assert conn.tls == TLSInfo("mirrored")
    engine.receive(b"220 x\r\n")
    assert engine.step() is Want.READ
    assert engine.output() == b"[EHLO [127.0.0.1]\r\n]"
    assert engine.output() == b""


def test_what_came_in_clear_is_not_read_as_if_it_came_through_tls() -> None:
    """S7 for implicit TLS: a reply that somebody in between has put in front of the handshake."""
    conn = SMTPClientConnection()
    engine = Engine(conn, Mirror)
    engine.receive(b"220 x\r\n250-x\r\n250 AUTH PLAIN\r\n")
    engine.begin(open_session(conn, SessionOptions(tls=TLSPolicy.IMPLICIT)))
    with pytest.raises(RemoteProtocolError, match="in clear"):
        engine.step()
    assert conn.closing
    assert conn.tls is None
    assert engine.output() == b""


def test_a_server_that_greets_and_leaves() -> None:
    """The flow does not know it yet when it says EHLO: that is no mistake of the caller's."""
    conn = SMTPClientConnection()
    engine = Engine(conn)
    engine.begin(open_session(conn, SessionOptions(tls=TLSPolicy.NONE)))
    assert engine.step() is Want.READ
    engine.receive(b"220 x\r\n")
    engine.receive(b"")
    with pytest.raises(ConnectionClosedError):
        engine.step()
