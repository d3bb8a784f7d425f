"""What those are told who give one thing where another is due: what is wanted, and what they gave."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any

import pytest

from mailproto import Address, ConnectionTimeoutError, GrammarError, TLSPolicy, aio, sync
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.smtp import SMTPClientConnection, make_submission
from tests.data import SERVER

ADA: Any = Address("ada", "example.org")
LETTER: Any = EmailMessage()
LETTER["Subject"] = "It is me"
PORT: Any = "25"
NOBODY: Any = None
ZERO: Any = 0


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (lambda: make_submission(b"", "", [ADA, NOBODY]), "an address is text or an Address, not NoneType"),
        (lambda: make_submission(b"", ZERO, ADA), "text of an address is wanted, not int"),
        (lambda: Address.parse(ADA), "text of an address is wanted, not Address"),
        (lambda: SMTPClientConnection().vrfy(ADA), "VRFY asks about a text, not Address"),
        (lambda: sync.SMTPClient("127.0.0.1", PORT), "a port is a number, not '25'"),
        (lambda: aio.POP3Client("127.0.0.1", 110, timeout=PORT), "a timeout is a number of seconds, not '25'"),
        (lambda: MemoryMaildrop().deliver(LETTER), "pieces that are octets: EmailMessage has text"),
    ],
)
def test_a_mistake_is_told(mistake: Callable[[], object], told: str) -> None:
    with pytest.raises(TypeError, match=told):
        mistake()


@pytest.mark.parametrize("adapter", [sync, aio])
@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_no_time_is_not_without_end(adapter: Any, seconds: float) -> None:
    for client in (adapter.SMTPClient, adapter.POP3Client):
        with pytest.raises(GrammarError, match="no time to wait"):
            client("127.0.0.1", 25, timeout=seconds)


@pytest.mark.parametrize("kind", ["SMTP", "POP3"])
def test_the_port_for_the_other_kind_of_tls_is_told(kind: str) -> None:
    """Where the server waits for a handshake, or where the client begins with one and nobody else does."""
    make, client = getattr(sync, f"{kind}Server"), getattr(sync, f"{kind}Client")
    tls = sync.server_context(SERVER.certificate, SERVER.key)
    host = MailHost(lambda _: MemoryMaildrop())
    with (
        make(host, port=0, tls=tls, implicit_tls=True) as server,
        pytest.raises(ConnectionTimeoutError, match="the server did not greet in time"),
    ):
        client("127.0.0.1", server.port, tls=TLSPolicy.REQUIRED, timeout=0.2).connect()
    with make(host, port=0, tls=tls) as server, pytest.raises(ssl.SSLError, match="what the peer says is no TLS"):
        client("127.0.0.1", server.port, tls=TLSPolicy.IMPLICIT).connect()
    with make(host, port=0, tls=tls, implicit_tls=True) as server, pytest.raises(ssl.SSLError) as untrusted:
        client("127.0.0.1", server.port, tls=TLSPolicy.IMPLICIT).connect()
    assert "no TLS" not in str(untrusted.value)
