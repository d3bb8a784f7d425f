"""Dovecot hands mail on to our servers, as an LMTP proxy and as a submission server, and takes chunks itself."""

from __future__ import annotations

from typing import Any

import pytest

from mailproto._core.flow import Flow
from mailproto.smtp.config import SMTPClientConfig, SMTPServerConfig, with_extensions
from mailproto.smtp.extensions import DSN, Notify, OriginalRecipient, Ret
from mailproto.smtp.flows.client import request
from mailproto.smtp.parameters import MailParameters, RcptParameters
from mailproto.smtp.reply import Reply
from mailproto.sync import TLSPolicy
from tests import data
from tests.interop.clients import on_the_wire
from tests.interop.dovecot import DOMAIN, PASSWORD, Dovecot, Mailbox
from tests.interop.ours import ADAPTERS, Adapter, client
from tests.interop.servers import ADA, FULL, GRACE, LIMITS, Host, smtp_server
from tests.smtp import ADA as SOMEBODY

MAIL = {name: path.read_bytes() for name, path in data.MAIL.items()}
SENDER = "someone@example.test"
LMTP = SMTPClientConfig(lmtp=True)
URL = "imap://box001@localhost/inbox/;uid=1;urlauth=submit+box001:internal:91354a473744909de610943775f92038"


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_lmtp_through_dovecot_has_a_verdict_for_each_recipient(dovecot: Dovecot, adapter: Adapter) -> None:
    """What our server says of each is what our client hears, and every octet comes."""
    host = Host()
    config = SMTPServerConfig(hostname="ours.example.test", limits=LIMITS, lmtp=True)
    recipients = [f"{user}@{DOMAIN}" for user in (ADA, FULL, "stranger", GRACE)]
    arguments: dict[str, Any] = {"tls": TLSPolicy.NONE, "config": LMTP}
    with (
        smtp_server(adapter, host, config=config, port=dovecot.relay_ports["lmtp"]),
        client(adapter, "SMTPClient", dovecot.lmtp_port, **arguments) as session,
    ):
        results = [session.send_message(message, SENDER, recipients) for message in MAIL.values()]
    for result in results:
        assert [each.outcome.value for each in result.recipients] == ["accepted", "refused", "refused", "accepted"]
        assert [each.phase for each in result.refused] == ["BDAT", "RCPT"]
        assert result.refused[0].reply.code == 552
    for arrival, message in zip(host.wait(len(MAIL)), map(on_the_wire, MAIL.values()), strict=True):
        assert arrival.content.endswith(message)
        assert arrival.recipients == [ADA, GRACE]
        assert arrival.chunked


@pytest.mark.parametrize("chunking", [True, False])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_dovecot_takes_chunks_and_lines_alike(
    dovecot: Dovecot, mailbox: Mailbox, adapter: Adapter, chunking: bool
) -> None:
    config = SMTPClientConfig(lmtp=True, chunking=chunking)
    large = MAIL["dots"] + b"....\r\n" * 100_000
    with client(adapter, "SMTPClient", dovecot.lmtp_port, tls=TLSPolicy.NONE, config=config) as session:
        session.send_message(large, SENDER, mailbox.address).raise_for_refused()
        assert ("C: BDAT" in str(session.said)) is chunking
        assert ("C: DATA" in str(session.said)) is not chunking
    (message,) = mailbox.messages()
    assert message.endswith(large)


def again(conn: Any) -> Flow[Reply]:
    """Say EHLO again: to who has logged in Dovecot offers more."""
    return request(conn, conn.ehlo("client.example.test"))


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_notices_that_are_wanted_come_through_a_submission_server(
    dovecot: Dovecot, mailbox: Mailbox, adapter: Adapter
) -> None:
    host = Host()
    config = with_extensions(SMTPServerConfig(hostname="ours.example.test", limits=LIMITS), DSN)
    wanted = RcptParameters(
        notify=frozenset({Notify.FAILURE, Notify.DELAY}), orcpt=OriginalRecipient("rfc822", "list+ada@example.test")
    )
    login = {"tls": TLSPolicy.NONE, "user": mailbox.name, "password": PASSWORD, "allow_plaintext_auth": True}
    with (
        smtp_server(adapter, host, config=config, port=dovecot.relay_ports["submission"]),
        client(adapter, "SMTPClient", dovecot.submission_port, **login) as session,
    ):
        assert session.run(again(session.conn)).ok
        session.send_message(
            MAIL["dots"],
            SENDER,
            [(f"{ADA}@{DOMAIN}", wanted)],
            parameters=MailParameters(ret=Ret.HDRS, envid="QQ+314 159"),
        ).raise_for_refused()
    (arrival,) = host.wait()
    assert arrival.content.endswith(MAIL["dots"])
    assert arrival.chunked
    assert arrival.envelope.mail.parameters.ret is Ret.HDRS
    assert arrival.envelope.mail.parameters.envid == "QQ+314 159"
    assert arrival.envelope.recipients[0].parameters == wanted


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_dovecot_reads_our_burl(dovecot: Dovecot, mailbox: Mailbox, adapter: Adapter) -> None:
    """It has no IMAP server that would give it the message, and says so; the next message goes as ever."""

    def ask(conn: Any) -> Flow[Reply]:
        yield from again(conn)
        yield from request(conn, conn.mail(SOMEBODY))
        yield from request(conn, conn.rcpt(SOMEBODY))
        refusal = yield from request(conn, conn.burl(URL))
        yield from request(conn, conn.rset())
        return refusal

    host = Host()
    config = SMTPServerConfig(hostname="ours.example.test", limits=LIMITS)
    login = {"tls": TLSPolicy.NONE, "user": mailbox.name, "password": PASSWORD, "allow_plaintext_auth": True}
    with (
        smtp_server(adapter, host, config=config, port=dovecot.relay_ports["submission"]),
        client(adapter, "SMTPClient", dovecot.submission_port, **login) as session,
    ):
        refusal = session.run(ask(session.conn))
        assert refusal.code == 554
        assert str(refusal.enhanced) == "5.7.14"
        session.send_message(MAIL["plain"], SENDER, f"{ADA}@{DOMAIN}").raise_for_refused()
    assert len(host.wait()) == 1
