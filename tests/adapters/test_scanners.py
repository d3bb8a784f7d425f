"""What knocks at every port of the Internet leaves a line in the log, and no traceback."""

from __future__ import annotations

import logging
import socket
from typing import Any

import pytest

from mailproto import sync
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.tls import server_context
from tests import data
from tests.adapters.facades import AioFront, SyncFront
from tests.adapters.harness import Wire


def over_events(session: Any, event: object) -> None:
    """Answer nothing."""


@pytest.mark.parametrize("implicit_tls", [True, False])
@pytest.mark.parametrize("protocol", ["SMTP", "POP3"])
def test_nor_is_it_one_of_a_handler_over_events(
    front: AioFront | SyncFront, protocol: str, implicit_tls: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mailproto")
    context = server_context(data.SERVER.certificate, data.SERVER.key)
    kind, handler = getattr(front, f"{protocol}Server"), front.handler(over_events)
    server = kind(handler, port=0, tls=context, implicit_tls=implicit_tls)
    with server, Wire.to(server.port) as wire:
        if not implicit_tls:
            wire.line()
            wire.send(b"STLS\r\n" if protocol == "POP3" else b"EHLO x\r\n")
            while wire.line()[3:4] == b"-":
                pass
            if protocol == "SMTP":
                wire.send(b"STARTTLS\r\n")
                wire.line()
        wire.send(b"GET / HTTP/1.1\r\n\r\n")
        wire.rest()
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.exc_info is None
    assert record.message.startswith("127.0.0.1: [SSL")


@pytest.mark.parametrize("kind", [sync.SMTPServer, sync.POP3Server])
def test_a_failed_handshake_is_no_failure_of_ours(
    kind: type[sync.SMTPServer] | type[sync.POP3Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mailproto")
    context = server_context(data.SERVER.certificate, data.SERVER.key)
    host = MailHost(lambda _: MemoryMaildrop())
    with (
        kind(host, port=0, tls=context, implicit_tls=True) as server,
        socket.create_connection(("127.0.0.1", server.port)) as sock,
    ):
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while sock.recv(1000):
            pass
    assert [record.levelno for record in caplog.records] == [logging.INFO]
    assert all(record.exc_info is None for record in caplog.records)
