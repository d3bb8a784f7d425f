"""What those are told who give one thing where another is due: what is wanted, and what they gave."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import threading
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from mailproto import Address, ConnectionTimeoutError, GrammarError, LocalProtocolError, TLSPolicy, aio, sync
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.pop3 import POP3ClientConnection, POP3ServerConnection
from mailproto.smtp import (
    Outcome,
    RecipientResult,
    ReplyError,
    SendResult,
    SMTPClientConnection,
    SMTPServerConnection,
    make_submission,
)
from mailproto.testing import MemoryClient, Outbox
from mailproto.tls import server_context
from tests.data import SERVER, WRONG_NAME

ADA: Any = Address("ada", "example.org")
SUBMISSION: Any = make_submission(b"", "", ADA)
LETTER: Any = EmailMessage()
LETTER["Subject"] = "It is me"
PORT: Any = "25"
NOBODY: Any = None
ZERO: Any = 0
TEXT: Any = "250 OK"
ADDRESS: Any = Address
LATE: Any = RecipientResult(ADA, Outcome.DEFERRED, "RCPT")
RESULT: Any = SendResult((LATE,))
CONNECTIONS: Any = (SMTPClientConnection, SMTPServerConnection, POP3ClientConnection, POP3ServerConnection)


def asked() -> SMTPServerConnection:
    """Return a server's connection that has an event to answer."""
    conn = SMTPServerConnection()
    conn.next_event()
    return conn


def send_messages(*messages: Any) -> object:
    with MemoryClient(Outbox()) as client:
        return client.send_messages([make_submission(b"", "", ADA), *messages])


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        (lambda: make_submission(b"", "", [ADA, NOBODY]), "an address is text or an Address, not NoneType"),
        (lambda: make_submission(b"", ZERO, ADA), "text of an address is wanted, not int"),
        (lambda: make_submission(TEXT), "a message is octets, a binary file, .*, not text"),
        (lambda: make_submission(NOBODY), "a message is octets, a binary file, .*, not NoneType"),
        (lambda: make_submission(SUBMISSION), "a message is octets, .*, not Submission"),
        (lambda: make_submission(b"", "", LATE), "an address is text or an Address, not RecipientResult"),
        (lambda: make_submission(b"", "", RESULT.deferred), "an address is text or an Address, not RecipientResult"),
        (lambda: make_submission(b"", "", RESULT), "an address is text or an Address, not RecipientResult"),
        (lambda: ADDRESS("ada@example.org"), "Address.parse makes one of text"),
        (lambda: asked().reject(TEXT), "a refusal begins with its code, such as 550, and not with '250 OK'"),
        (lambda: asked().reply(TEXT), "reply has to be a Reply, not str"),
        (lambda: SMTPClientConnection().ehlo(NOBODY), "a domain has to be a str, not NoneType"),
        (lambda: send_messages(LETTER), "each of submissions has to be a Submission, not EmailMessage"),
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


@pytest.mark.parametrize("kind", CONNECTIONS)
@pytest.mark.parametrize("wrong", ["220 OK", None, 3])
def test_what_comes_is_octets(kind: Any, wrong: object) -> None:
    """A socket that does not block may have nothing, which is not the end, and 3 is not three octets."""
    conn = kind()
    with pytest.raises(TypeError, match=f"data has to be a bytes .*, not {type(wrong).__name__}"):
        conn.receive_data(wrong)
    assert not conn.over


@pytest.mark.parametrize("kind", CONNECTIONS)
def test_a_connection_has_a_config(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"config has to be a .*Config, not str"):
        kind("mx.example.org")


@pytest.mark.parametrize("adapter", [sync, aio])
def test_what_goes_into_a_config_is_no_argument_of_a_server(adapter: Any) -> None:
    for kind, name in (("SMTP", "hostname"), ("POP3", "apop")):
        with pytest.raises(TypeError, match=rf"{name}, which goes into config={kind}ServerConfig\(...\)"):
            getattr(adapter, f"{kind}Server")(MailHost(lambda _: MemoryMaildrop()), port=0, **{name: True})


@pytest.mark.parametrize("adapter", [sync, aio])
def test_a_port_is_no_host_to_listen_on(adapter: Any) -> None:
    with pytest.raises(TypeError, match="a host to listen on is text, several texts or None, not 8025"):
        adapter.SMTPServer(Outbox(), 8025)


def test_a_host_that_nobody_knows_is_named() -> None:
    with pytest.raises(socket.gaierror, match=r"cannot listen on no-such-host\.invalid port 8025: "):
        sync.SMTPServer(Outbox(), "no-such-host.invalid").start()


def test_a_pool_has_clients_of_its_own_kind() -> None:
    wrong: Any
    for wrong in (aio.SMTPClient, sync.POP3Client, lambda: None):
        with pytest.raises(TypeError, match=r"has to return a mailproto\.sync\.smtp\.SMTPClient, not a "):
            sync.SMTPPool(wrong).send_message(b"", "", ADA)
    for wrong in (sync.SMTPClient, aio.POP3Client, lambda: None):
        pool = aio.SMTPPool(wrong)
        with pytest.raises(TypeError, match=r"has to return a mailproto\.aio\.smtp\.SMTPClient, not a "):
            asyncio.run(pool.send_message(b"", "", ADA))
    with sync.SMTPPool(lambda: MemoryClient(Outbox())) as outboxes:
        assert outboxes.send_message(b"", "", ADA).ok


def test_each_event_loop_has_connections_of_its_own() -> None:
    with sync.SMTPServer(Outbox(), port=0) as server, asyncio.Runner() as runner:
        client = aio.SMTPClient("127.0.0.1", server.port, tls=TLSPolicy.NONE)
        runner.run(client.connect())
        for elsewhere in (client.send_message(b"", "", ADA), client.quit(), client.close()):
            with pytest.raises(LocalProtocolError, match="the event loop in which it has connected"):
                asyncio.run(elsewhere)
        runner.run(client.quit())
        asyncio.run(client.close())  # as it is already


def test_a_handler_over_events_that_is_no_coroutine_function_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def knock() -> None:
        handler: Any = print
        async with aio.SMTPServer(handler, port=0) as server:
            with pytest.raises(ReplyError, match="421"):
                await aio.SMTPClient("127.0.0.1", server.port, tls=TLSPolicy.NONE).connect()

    asyncio.run(knock())
    assert "a handler over events is a coroutine function here, and returned None" in caplog.text


def test_hooks_that_block_are_named() -> None:
    with pytest.raises(LocalProtocolError, match="name the hooks that block"):
        aio.InThreads(Outbox())


@pytest.mark.parametrize("begun", [True, False])
def test_a_server_that_was_closed_does_not_start_again(begun: bool) -> None:
    server = sync.SMTPServer(Outbox(), port=0)
    if begun:
        server.start()
    server.close()
    for start in (server.start, server.__enter__):
        with pytest.raises(LocalProtocolError, match="a server that was closed does not start again"):
            start()
    server.close()
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    serving.join(20)
    assert not serving.is_alive()
    assert (server.port != 0) is begun


def test_a_server_that_a_signal_has_closed_as_it_starts_does_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handler runs in the thread that starts the server, and so holds whatever that does."""
    server = sync.SMTPServer(Outbox(), "localhost", port=0)
    look_up = socket.getaddrinfo

    def interrupted(*arguments: Any, **more: Any) -> Any:
        server.close()
        return look_up(*arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", interrupted)
    with pytest.raises(LocalProtocolError, match="a server that was closed does not start again"):
        server.start()
    assert server.addresses == ()


@pytest.mark.parametrize("begun", [True, False])
def test_nor_does_one_over_asyncio(begun: bool) -> None:
    async def main() -> None:
        server = aio.SMTPServer(Outbox(), port=0)
        if begun:
            await server.start()
        await server.close()
        for start in (server.start, server.__aenter__):
            with pytest.raises(LocalProtocolError, match="a server that was closed does not start again"):
                await start()
        await server.close()
        await asyncio.wait_for(server.serve_forever(), 20)
        assert (server.port != 0) is begun

    asyncio.run(main())


@pytest.mark.parametrize(
    ("certificate", "key", "told"),
    [
        (SERVER.certificate, None, f"there is no private key in {SERVER.certificate}"),
        (SERVER.certificate, WRONG_NAME.certificate, f"there is no private key in {WRONG_NAME.certificate}"),
        (SERVER.key, SERVER.certificate, f"there is no certificate in {SERVER.key}"),
        (SERVER.certificate, WRONG_NAME.key, f"{SERVER.certificate} or {WRONG_NAME.key}"),
    ],
)
def test_a_file_that_has_not_what_it_should_have_is_named(certificate: Path, key: Path | None, told: str) -> None:
    with pytest.raises(ssl.SSLError, match=re.escape(told)):
        server_context(certificate, key)


@pytest.mark.parametrize("files", [(SERVER.certificate, "no-such-file"), ("no-such-file", SERVER.key)])
def test_a_file_that_is_not_there_is_named(files: tuple[Path, Path]) -> None:
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: 'no-such-file'$"):
        server_context(*files)


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
        pytest.raises(ConnectionTimeoutError, match=r"the server did not greet in time: .* TLSPolicy\.IMPLICIT"),
    ):
        client("127.0.0.1", server.port, tls=TLSPolicy.REQUIRED, timeout=0.2).connect()
    with make(host, port=0, tls=tls) as server, pytest.raises(ssl.SSLError) as clear:
        client("127.0.0.1", server.port, tls=TLSPolicy.IMPLICIT).connect()
    told = "what the peer says is no TLS; if it wants to be asked for that first, it is TLSPolicy.REQUIRED"
    assert told in str(clear.value)
    with make(host, port=0, tls=tls, implicit_tls=True) as server, pytest.raises(ssl.SSLError) as untrusted:
        client("127.0.0.1", server.port, tls=TLSPolicy.IMPLICIT).connect()
    assert "no TLS" not in str(untrusted.value)
