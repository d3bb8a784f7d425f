"""Tests of mailproto.smtp, and what they share."""

from __future__ import annotations

from typing import Any

from mailproto.address import Address
from mailproto.smtp import (
    SMTPClientConfig,
    SMTPClientConnection,
    SMTPServerConfig,
    SMTPServerConnection,
)
from mailproto.smtp.extensions import DEFAULT_EXTENSIONS, EXPN
from tests.helpers import Talk, accept_all, talk

ADA, BOB, EVE = map(Address.parse, ("ada@example.org", "bob@example.org", "eve@example.org"))

EHLO = b"EHLO client.example\r\n"
MAIL = b"MAIL FROM:<ada@example.org>\r\n"
RCPT = b"RCPT TO:<bob@example.org>\r\n"
ENVELOPE = MAIL + RCPT + b"DATA\r\n"
WITH_EXPN = (*DEFAULT_EXTENSIONS, EXPN)


def server(**settings: Any) -> SMTPServerConnection:
    """Return a server that nobody has talked to yet."""
    return SMTPServerConnection(SMTPServerConfig(**settings))


def greeted(**settings: Any) -> SMTPServerConnection:
    """Return a server behind EHLO."""
    conn = server(**settings)
    talk(conn, [EHLO])
    return conn


def in_transaction(**settings: Any) -> SMTPServerConnection:
    """Return a server with a sender and a recipient."""
    conn = greeted(**settings)
    talk(conn, [MAIL, RCPT])
    return conn


def in_data(**settings: Any) -> SMTPServerConnection:
    """Return a server that waits for a message."""
    conn = in_transaction(**settings)
    talk(conn, [b"DATA\r\n"])
    return conn


def deliver(conn: SMTPServerConnection, body: bytes, answer: Any = accept_all) -> Talk:
    """Send a message to a greeted server."""
    return talk(conn, [ENVELOPE, body], answer)


def client(*keywords: str, **settings: Any) -> SMTPClientConnection:
    """Return a client behind EHLO, to a server that offers these."""
    conn = SMTPClientConnection(SMTPClientConfig(**settings))
    conn.receive_data(b"220 mx.example.org\r\n")
    conn.next_event()
    conn.ehlo("client.example")
    conn.data_to_send()
    lines = ["mx.example.org", *keywords]
    last = len(lines) - 1
    say(conn, *(f"250{' ' if i == last else '-'}{line}" for i, line in enumerate(lines)))
    return conn


def say(conn: SMTPClientConnection, *lines: str) -> list[Any]:
    """Have the server say these lines; return the events."""
    if lines:
        conn.receive_data("".join(f"{line}\r\n" for line in lines).encode())
    events = []
    while (event := conn.next_event()) is not None:
        events.append(event)
    return events
