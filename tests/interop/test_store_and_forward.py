"""Our relay hands mail to Postfix, Exim and Dovecot, and its notices come back through them."""

import asyncio
import smtplib
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from mailproto import aio, sync
from mailproto.address import Address
from mailproto.relay import Entry, Pending, Queue, Relay, RelayConfig, RelayHandler, Route
from mailproto.sasl import PasswordCheck
from mailproto.smtp.config import SMTPServerConfig
from mailproto.smtp.extensions import Notify, OriginalRecipient
from mailproto.smtp.parameters import Body, MailParameters, RcptParameters
from mailproto.smtp.routing import MX, StaticResolver
from tests import data
from tests.interop.clients import on_the_wire
from tests.interop.dovecot import PASSWORD, Dovecot
from tests.interop.exim import Exim
from tests.interop.postfix import UNKNOWN, Postfix

MAIL = {name: on_the_wire(path.read_bytes()) for name, path in data.MAIL.items()}
RESOLVER = StaticResolver({"example.test": [MX(10, "mx.example.test")]}, {"mx.example.test": ["127.0.0.1"]})


@pytest.fixture(params=["postfix", "exim"])
def mta(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Postfix | Exim:
    """A server on what the relay takes for port 25."""
    mta: Postfix | Exim = request.getfixturevalue(request.param)
    monkeypatch.setattr("mailproto.relay.connecting.RELAY_PORT", mta.port)
    return mta


def send(folder: Path, sender: str, message: bytes, *recipients: Pending, envid: str | None = None) -> list[str]:
    """Relay a message, and return the names of what is left in the queue."""
    queue = Queue(folder / "queue")
    body = None if message.isascii() else Body.EIGHT_BIT_MIME
    now = time.time()
    parameters = MailParameters(body=body, envid=envid)
    queue.add(Entry("m1", Address.parse(sender), recipients, now, now, parameters), [message])
    config = RelayConfig(hostname="relay.example.test", resolver=RESOLVER)
    asyncio.run(Relay(queue, config).attempt_due())
    return queue.names()


@pytest.mark.parametrize("name", MAIL)
def test_mail_comes_under_tls(mta: Postfix | Exim, dovecot: Dovecot, tmp_path: Path, name: str) -> None:
    """Nobody vouches for the certificate here, and it is better than none (RFC 7435)."""
    mailbox = dovecot.mailbox()
    assert send(tmp_path, "someone@example.test", MAIL[name], Pending(Address.parse(mailbox.address))) == []
    (arrived,) = mailbox.wait()
    assert arrived.endswith(MAIL[name])
    assert b"ESMTPS" in arrived or b"esmtps" in arrived


def test_a_refused_recipient_comes_back_to_the_sender(mta: Postfix | Exim, dovecot: Dovecot, tmp_path: Path) -> None:
    sender, mailbox = dovecot.mailbox(), dovecot.mailbox()
    recipients = [Pending(Address.parse(address)) for address in (UNKNOWN, mailbox.address)]
    assert send(tmp_path, sender.address, MAIL["plain"], *recipients, envid="QQ314159") == []
    (notice,) = sender.wait()
    assert b"Original-Envelope-Id: QQ314159\r\n" in notice
    assert f"Final-Recipient: rfc822; {UNKNOWN}\r\nAction: failed\r\nStatus: 5.".encode() in notice
    assert b"\r\nRemote-MTA: dns; mx.example.test\r\nDiagnostic-Code: smtp; 550 " in notice
    assert mailbox.wait()[0].endswith(MAIL["plain"])


def test_postfix_keeps_the_promise_of_a_notice(
    postfix: Postfix, monkeypatch: pytest.MonkeyPatch, dovecot: Dovecot, tmp_path: Path
) -> None:
    monkeypatch.setattr("mailproto.relay.connecting.RELAY_PORT", postfix.port)
    sender, mailbox = dovecot.mailbox(), dovecot.mailbox()
    wanted = RcptParameters(frozenset({Notify.SUCCESS}), OriginalRecipient("rfc822", "Alias@Example.Test"))
    recipient = Pending(Address.parse(mailbox.address), wanted)
    assert send(tmp_path, sender.address, MAIL["plain"], recipient, envid="QQ314159") == []
    (notice,) = sender.wait()
    assert b"Reporting-MTA: dns; postfix.example.test\r\n" in notice
    assert b"Original-Envelope-Id: QQ314159\r\n" in notice
    assert b"Original-Recipient: rfc822;Alias@Example.Test\r\n" in notice
    assert b"Action: delivered\r\n" in notice


class Submission(RelayHandler):
    """Knows a user of Dovecot's."""

    def on_auth(self, _: Any, check: PasswordCheck) -> bool:
        return check.matches(PASSWORD if check.username == "someone" else None)


def submit(port: int, sender: str, recipients: list[str]) -> None:
    """Submit a mail as other programs do."""
    with smtplib.SMTP("localhost", port) as client:
        client.starttls(context=ssl.create_default_context(cafile=str(data.CA)))
        client.login("someone", PASSWORD)
        client.sendmail(sender, recipients, MAIL["utf8"], ["BODY=8BITMIME"])


def test_the_whole_way(mta: Postfix | Exim, dovecot: Dovecot, tmp_path: Path) -> None:
    """smtplib, our submission server and relay, their server and mailbox, our client; and the notice comes back."""
    sender, mailbox = dovecot.mailbox(), dovecot.mailbox()
    queue = Queue(tmp_path / "queue")
    relay = Relay(queue, RelayConfig(hostname="relay.example.test", resolver=RESOLVER))
    handler = Submission(queue, postmaster=Address.parse(sender.address), queued=relay.wake)
    config = SMTPServerConfig(hostname="relay.example.test", require_tls=True, require_auth=True)
    context = aio.server_context(data.SERVER.certificate, data.SERVER.key)

    async def talk() -> None:
        hooks = aio.InThreads(handler, "on_message")
        async with aio.SMTPServer(hooks, port=0, config=config, tls=context) as server:
            running = asyncio.create_task(relay.run())
            await asyncio.to_thread(submit, server.port, sender.address, [mailbox.address, UNKNOWN])
            await asyncio.to_thread(mailbox.wait)
            await asyncio.to_thread(sender.wait)
            relay.stop()
            await running

    asyncio.run(talk())
    login: dict[str, Any] = {"user": mailbox.name, "password": mailbox.password, "cafile": data.CA}
    with sync.POP3Client("localhost", dovecot.pop3_port, **login) as pop:
        (content,) = (message.read() for message in pop.messages())
    assert content.endswith(MAIL["utf8"])
    assert b"by relay.example.test with ESMTPSA id " in content
    assert UNKNOWN.encode() in sender.messages()[0]
    assert queue.names() == []


@pytest.mark.parametrize("unix", [True, False])
def test_dovecot_is_the_end_of_the_way(dovecot: Dovecot, tmp_path: Path, unix: bool) -> None:
    """Over LMTP each recipient has an outcome: one gets it, one is not known, one gets it when that is mended."""
    sender, mailbox, broken = (dovecot.mailbox() for _ in range(3))
    broken.maildir.parent.write_bytes(b"in the way of the mailbox")
    message = MAIL["dots"] + b"....\r\n" * 300_000
    queue = Queue(tmp_path / "queue")
    now = time.time()
    recipients = tuple(Pending(Address.parse(to)) for to in (mailbox.address, UNKNOWN, broken.address))
    queue.add(Entry("m1", Address.parse(sender.address), recipients, now, now), [message])
    route = Route(path=dovecot.lmtp_socket, lmtp=True) if unix else Route("localhost", dovecot.lmtp_port, lmtp=True)
    clock = [now]
    config = RelayConfig(hostname="relay.example.test", smarthost=route, clock=lambda: clock[0])
    asyncio.run(Relay(queue, config).attempt_due())
    (notice,) = sender.wait()
    assert f"Final-Recipient: rfc822; {UNKNOWN}\r\nAction: failed\r\nStatus: 5.1.1".encode() in notice
    (entry,) = (queue.load(name) for name in queue.names())
    assert entry is not None
    ((address, code),) = [(str(each.address), each.reply and each.reply.code) for each in entry.recipients]
    assert (address, code) == (broken.address, 451)
    broken.maildir.parent.unlink()
    clock[0] += 3600
    asyncio.run(Relay(queue, config).attempt_due())
    assert queue.names() == []
    for each in (mailbox, broken):
        (arrived,) = each.wait()
        assert arrived.endswith(message)
        assert arrived.startswith(f"Return-Path: <{sender.address}>\r\n".encode())
