"""The base of all connections, by a toy protocol: a line is an event, and its answer is a line."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from mailproto._core.connection import Step
from mailproto._core.events import ConnectionClosed, MessageChunk, StartTLS, TLSInfo
from mailproto._core.limits import Limits
from mailproto._core.server import ServerConnection
from mailproto.errors import LocalProtocolError
from mailproto.pop3 import POP3ClientConnection, POP3ServerConnection
from mailproto.smtp import SMTPClientConnection, SMTPServerConnection


@dataclass(slots=True)
class Line:
    text: bytes


class Toy(ServerConnection[Line | StartTLS | MessageChunk]):
    """Answers ``.`` by itself, takes ``TLS`` for STARTTLS and ``BYE`` for QUIT, and chunks behind ``*``."""

    forgot = 0

    def _read(self) -> Line | StartTLS | MessageChunk | ConnectionClosed | Step:
        line = self._buffer.take_line(100)
        if line is None:
            return Step.STARVED
        if line == b"BYE":
            self._send(b"bye\r\n")
            self._close()
            return Step.AGAIN
        if line == b".":
            self._send(b"dot\r\n")
            return Step.AGAIN
        if line.startswith(b"*"):
            self._count_chunk(len(line))
            return MessageChunk(line)
        return self._ask(StartTLS() if line == b"TLS" else Line(line))

    def _at_rest(self) -> bool:
        return not len(self._buffer)

    def _forget(self) -> None:
        self.forgot += 1

    def accept(self, text: str | None = None) -> None:
        event = self._take_pending()
        if isinstance(event, StartTLS):
            self._close_gate()
        if self._failure is None:
            self._send(b"ok\r\n")

    def reject(self, code: int | None = None, text: str | None = None, enhanced: str | None = None) -> None:
        self._take_pending()
        self._send(b"no\r\n")

    def challenge(self, data: bytes, *, refused: bool = False) -> None:
        raise LocalProtocolError("nobody logs in here")

    def answer_default(self) -> None:
        self.reject()

    @property
    def auth_mechanisms(self) -> tuple[str, ...]:
        return ()

    @property
    def idle(self) -> bool:
        return self.pending is None

    @property
    def timeout(self) -> float:
        return self.limits.command_timeout

    def receive_timeout(self) -> None:
        self._fail("too slow")

    def shut_down(self) -> None:
        self._close("shut down")

    def break_down(self) -> None:
        self._fail("broken")


def toy(**limits: Any) -> Toy:
    return Toy(Limits(**limits))


def test_events_are_pulled_one_at_a_time_and_answered_in_order() -> None:
    conn = toy()
    conn.receive_data(b"a\r\n.\r\nb\r\n.\r\n")
    event = conn.next_event()
    assert event == Line(b"a")
    assert conn.pending is event
    assert conn.data_to_send() == b""
    with pytest.raises(LocalProtocolError, match="Line has to be answered first"):
        conn.next_event()
    conn.accept()
    assert conn.data_to_send() == b"ok\r\n"
    assert conn.next_event() == Line(b"b")
    assert conn.data_to_send() == b"dot\r\n"
    conn.accept()
    assert conn.next_event() is None
    assert conn.data_to_send() == b"ok\r\ndot\r\n"
    assert conn.data_to_send() == b""
    with pytest.raises(LocalProtocolError, match="nothing to answer"):
        conn.accept()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_input_of_every_kind_is_kept_as_it_is_now(kind: type) -> None:
    source = bytearray(b"abc\r\n")
    conn = toy()
    conn.receive_data(kind(source) if kind is not memoryview else memoryview(source))
    if kind is not bytes:
        source[:] = b"xyz\r\n"
    assert conn.next_event() == Line(b"abc")


def test_empty_data_is_the_end() -> None:
    conn = toy()
    conn.receive_data(b"")
    assert conn.next_event() == ConnectionClosed(True)


@pytest.mark.parametrize(("left", "clean"), [(b"", True), (b"half", False), (b"half\r", False)])
def test_the_peer_leaves(left: bytes, clean: bool) -> None:
    conn = toy()
    conn.receive_data(b"a\r\n" + left)
    conn.receive_eof()
    conn.receive_eof()
    assert conn.next_event() == Line(b"a"), "what came before the end counts"
    conn.accept()
    assert not conn.closing
    assert conn.next_event() == ConnectionClosed(clean, "" if clean else "the peer closed the connection")
    assert conn.closing
    assert conn.next_event() is None
    conn.receive_data(b"b\r\n")
    conn.receive_eof()
    assert conn.next_event() is None
    assert conn.data_to_send() == b"ok\r\n", "the answer can still be sent: only the peer's side is closed"


def test_nothing_is_read_behind_the_end() -> None:
    conn = toy()
    conn.receive_data(b"BYE\r\na\r\n")
    assert conn.next_event() == ConnectionClosed(True)
    conn.receive_data(b"b\r\n")
    assert conn.next_event() is None
    assert conn.data_to_send() == b"bye\r\n"
    assert conn.closing


def test_failure_is_for_good() -> None:
    conn = toy()
    conn.receive_data(b".\r\na\r\nb\r\n")
    conn.next_event()
    conn.break_down()
    assert conn.closing
    assert conn.pending is None
    assert conn.data_to_send() == b"", "nothing more is said"
    with pytest.raises(LocalProtocolError):
        conn.accept()
    assert conn.next_event() == ConnectionClosed(False, "broken")
    conn.receive_data(b"c\r\n")
    assert conn.next_event() is None
    conn.tls_established()
    assert conn.tls is None
    assert conn.data_to_send() == b""


# S6, rule 4: the TLS gate.


@pytest.mark.parametrize("early", [b"\r\n", b"x", b"a\r\n", b"\x16\x03\x01"])
@pytest.mark.parametrize("when", ["with", "before the answer", "behind the answer"])
def test_bytes_between_starttls_and_the_handshake_are_an_attack(early: bytes, when: str) -> None:
    conn = toy()
    conn.receive_data(b".\r\nTLS\r\n" + (early if when == "with" else b""))
    assert conn.next_event() == StartTLS()
    if when == "before the answer":
        conn.receive_data(early)
    conn.accept()
    if when == "behind the answer":
        assert conn.data_to_send() == b"dot\r\nok\r\n"
        conn.receive_data(early)
    assert conn.closing
    assert conn.data_to_send() == b"", "no reply"
    event = conn.next_event()
    assert isinstance(event, ConnectionClosed)
    assert not event.clean
    assert "in clear" in event.reason or "between STARTTLS and the handshake" in event.reason
    conn.tls_established()
    assert conn.tls is None
    assert conn.next_event() is None


def test_the_handshake() -> None:
    conn = toy()
    conn.receive_data(b"TLS\r\n")
    assert conn.next_event() == StartTLS()
    conn.accept()
    assert conn.next_event() is None
    info = TLSInfo("TLSv1.3", "cipher", "mx.example.org")
    conn.tls_established(info)
    assert conn.tls is info
    assert conn.forgot == 1
    conn.receive_data(b"a\r\n")
    assert conn.next_event() == Line(b"a")
    with pytest.raises(LocalProtocolError, match="no TLS handshake is due"):
        conn.tls_established()
    assert conn.forgot == 1


def test_implicit_tls_is_due_only_at_the_very_beginning() -> None:
    conn = toy()
    conn.tls_established()
    assert conn.tls == TLSInfo()
    with pytest.raises(LocalProtocolError):
        conn.tls_established()

    conn = toy()
    conn.receive_data(b"a\r\n")
    conn.next_event()
    conn.accept()
    with pytest.raises(LocalProtocolError):
        conn.tls_established()
    assert conn.tls is None


@pytest.mark.parametrize("early", [b"a\r\n", b"x"])
def test_bytes_before_an_implicit_handshake_are_an_attack(early: bytes) -> None:
    """S6 and S7 for implicit TLS: nothing that came in clear may be read as if it had come through TLS."""
    conn = toy()
    conn.receive_data(early)
    conn.tls_established()
    assert conn.tls is None
    event = conn.next_event()
    assert isinstance(event, ConnectionClosed)
    assert not event.clean
    assert conn.data_to_send() == b""


def test_a_peer_who_leaves_instead_of_shaking_hands() -> None:
    conn = toy()
    conn.receive_data(b"TLS\r\n")
    conn.next_event()
    conn.accept()
    conn.receive_eof()
    assert isinstance(conn.next_event(), ConnectionClosed)
    conn.tls_established()
    assert conn.tls is None


# S30: the peer does not read.


def test_commands_wait_while_too_much_output_does() -> None:
    conn = toy(max_unsent=50)
    conn.receive_data(b".\r\n" * 1000)
    assert conn.next_event() is None
    assert conn.output_full
    assert conn.queued == 55
    assert conn.next_event() is None
    assert len(conn.data_to_send()) == 55
    assert not conn.output_full
    total = 55
    while conn.next_event() is None and conn.queued:
        total += len(conn.data_to_send())
    assert total == 5000


def test_the_end_of_the_peer_waits_behind_its_commands() -> None:
    conn = toy(max_unsent=50)
    conn.receive_data(b".\r\n" * 30)
    conn.receive_eof()
    said = b""
    while (event := conn.next_event()) is None:
        said += conn.data_to_send()
    assert event == ConnectionClosed(True)
    assert said + conn.data_to_send() == b"dot\r\n" * 30


# S28: deadlines are data.


def test_progress_counts_events_and_blocks_of_a_message() -> None:
    conn = toy(min_data_rate=10, data_timeout=3.0)
    conn.receive_data(b"a\r\n")
    assert conn.progress == 0
    conn.next_event()
    assert conn.progress == 1
    conn.accept()
    assert conn.next_event() is None
    assert conn.progress == 1, "waiting is no progress"
    conn.receive_data(b"*" * 29 + b"\r\n")
    conn.next_event()
    assert conn.progress == 1, "less than a block is none"
    conn.receive_data(b"*\r\n")
    conn.next_event()
    assert conn.progress == 2


@pytest.mark.parametrize(
    "make", [SMTPServerConnection, SMTPClientConnection, POP3ServerConnection, POP3ClientConnection]
)
@pytest.mark.parametrize("store", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_connection_is_not_to_be_stored(make: Callable[[], Any], store: Callable[[Any], object]) -> None:
    """S99: it has secrets, and nobody could go on with a copy."""
    with pytest.raises(TypeError, match="cannot be pickled or copied"):
        store(make())
