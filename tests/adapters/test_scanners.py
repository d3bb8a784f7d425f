"""What knocks at every port of the Internet leaves a line in the log, and no traceback."""

from __future__ import annotations

import logging
import socket

import pytest

from mailproto import sync
from mailproto._net.tls import server_context
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from tests import data


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
