"""Postfix and Exim hand mail on to our SMTP and LMTP servers."""

import contextlib
import smtplib
from collections.abc import Iterator
from typing import Any

import pytest

from mailproto.errors import Reject
from mailproto.smtp.config import SMTPServerConfig, with_extensions
from mailproto.smtp.events import Rcpt
from mailproto.smtp.extensions import DSN, PRDR, Notify, OriginalRecipient, Ret
from mailproto.smtp.parameters import Body
from tests import data
from tests.interop.clients import TLSMode, on_the_wire
from tests.interop.dovecot import Mailbox
from tests.interop.exim import Exim
from tests.interop.ours import ADAPTERS, Adapter
from tests.interop.postfix import RELAY_USER, Postfix
from tests.interop.servers import (
    ADA,
    FULL,
    GRACE,
    LIMITS,
    NOBODY,
    UTF8_USER,
    Host,
    smtp_server,
)

MTA = Postfix | Exim
MAIL = {name: path.read_bytes() for name, path in data.MAIL.items()}
SENDER = "someone@example.test"
TLS: dict[str, TLSMode] = {"starttls": "starttls", "smtps": "implicit", "submission": "starttls"}
KINDS = ("plain", "starttls", "smtps", "submission", "lmtp", "lmtp-unix")


@pytest.fixture(params=["postfix", "exim"])
def mta(request: pytest.FixtureRequest) -> MTA:
    mta: MTA = request.getfixturevalue(request.param)
    return mta


def connect(mta: MTA) -> smtplib.SMTP:
    return smtplib.SMTP("localhost", mta.port)


@contextlib.contextmanager
def destination(mta: MTA, adapter: Adapter, handler: object, kind: str, *extensions: Any) -> Iterator[None]:
    """Run the server of ours that the MTA takes mail for KIND.test to."""
    config = SMTPServerConfig(
        hostname="ours.example.test", limits=LIMITS, lmtp=kind.startswith("lmtp"), require_auth=kind == "submission"
    )
    where: dict[str, Any] = {"path": mta.relay_socket} if kind == "lmtp-unix" else {"port": mta.relay_ports[kind]}
    tls = TLS.get(kind, "none")
    with smtp_server(adapter, handler, tls, with_extensions(config, *extensions), **where):
        if kind == "lmtp-unix":
            mta.relay_socket.chmod(0o666)
        yield


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_message_comes(mta: MTA, adapter: Adapter, kind: str) -> None:
    host, recipients = Host(), [f"{ADA}@{kind}.test", f"{GRACE}@{kind}.test"]
    with destination(mta, adapter, host, kind), connect(mta) as client:
        for count, message in enumerate(MAIL.values(), start=1):  # each waited for, so that they come in order
            client.sendmail(SENDER, recipients, message, ["BODY=8BITMIME"])
            host.wait(count)
    for arrival, message in zip(host.wait(), map(on_the_wire, MAIL.values()), strict=True):
        assert arrival.content.endswith(message)
        assert arrival.content.removesuffix(message).startswith(b"Received: ")
        assert arrival.recipients == [ADA, GRACE]
        assert (arrival.tls is not None) == (kind in TLS)
        assert arrival.user == (RELAY_USER if kind == "submission" else None)
        assert arrival.chunked == (isinstance(mta, Exim) and kind != "lmtp-unix")


def test_long_message_comes(mta: MTA) -> None:
    host, message = Host(), MAIL["dots"] + b"....\r\n" * 1_000_000
    with destination(mta, "aio", host, "starttls"), connect(mta) as client:
        client.sendmail(SENDER, f"{ADA}@starttls.test", message)
        (arrival,) = host.wait()
    assert arrival.content.endswith(message)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_refused_recipient_is_bounced(mta: MTA, adapter: Adapter, mailbox: Mailbox) -> None:
    host = Host()
    with destination(mta, adapter, host, "plain"), connect(mta) as client:
        recipients = [f"{user}@plain.test" for user in (ADA, NOBODY, GRACE)]
        client.sendmail(mailbox.address, recipients, MAIL["plain"])
        (bounce,) = mailbox.wait()
        (arrival,) = host.wait()
    assert arrival.recipients == [ADA, GRACE]
    assert b"nobody@plain.test" in bounce and b"Relaying denied" in bounce
    assert b"grace@plain.test" not in bounce


class Greylist(Host):
    """A host that wants every recipient to be named twice."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def on_rcpt(self, session: Any, rcpt: Rcpt) -> None:
        """Send the first attempt away."""
        name = rcpt.address.local_part
        if name not in self.seen:
            self.seen.add(name)
            raise Reject(451, "Not so fast", "4.7.1")
        super().on_rcpt(session, rcpt)


def test_deferred_message_comes_again(mta: MTA) -> None:
    host = Greylist()
    with destination(mta, "aio", host, "starttls"), connect(mta) as client:
        client.sendmail(SENDER, f"{ADA}@starttls.test", MAIL["dots"])
        (arrival,) = host.wait()
    assert host.seen == {ADA}
    assert arrival.content.endswith(MAIL["dots"])


@pytest.mark.parametrize("kind", ["lmtp", "lmtp-unix"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_lmtp_has_a_verdict_for_each_recipient(mta: MTA, adapter: Adapter, kind: str, mailbox: Mailbox) -> None:
    host = Host()
    with destination(mta, adapter, host, kind), connect(mta) as client:
        recipients = [f"{user}@{kind}.test" for user in (ADA, FULL, NOBODY, GRACE)]
        client.sendmail(mailbox.address, recipients, MAIL["dots"])
        bounce = b"".join(mailbox.wait())
        (arrival,) = host.wait()
    assert arrival.recipients == [ADA, GRACE]
    assert arrival.content.endswith(MAIL["dots"])
    assert b"full@" in bounce and b"Mailbox full" in bounce
    assert b"nobody@" in bounce and b"Relaying denied" in bounce
    assert b"grace@" not in bounce


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_prdr_has_a_verdict_for_each_recipient(exim: Exim, adapter: Adapter, mailbox: Mailbox) -> None:
    host = Host()
    with destination(exim, adapter, host, "plain", PRDR), connect(exim) as client:
        recipients = [f"{user}@plain.test" for user in (ADA, FULL, GRACE)]
        client.sendmail(mailbox.address, recipients, MAIL["dots"])
        (bounce,) = mailbox.wait()
        (arrival,) = host.wait()
    assert arrival.envelope.mail.parameters.prdr
    assert arrival.recipients == [ADA, GRACE]
    assert b"full@" in bounce and b"Mailbox full" in bounce
    assert b"grace@" not in bounce


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_dsn_parameters_come_typed(mta: MTA, adapter: Adapter) -> None:
    host = Host()
    with destination(mta, adapter, host, "plain", DSN), connect(mta) as client:
        client.sendmail(
            SENDER,
            f"{ADA}@plain.test",
            MAIL["plain"],
            mail_options=["RET=HDRS", "ENVID=QQ+2B314"],
            rcpt_options=["NOTIFY=FAILURE,DELAY", "ORCPT=rfc822;list+2Bada@example.test"],
        )
        (arrival,) = host.wait()
    (recipient,) = arrival.envelope.recipients
    assert arrival.envelope.mail.parameters.ret is Ret.HDRS
    assert arrival.envelope.mail.parameters.envid == "QQ+314"
    assert recipient.parameters.notify == frozenset({Notify.FAILURE, Notify.DELAY})
    assert recipient.parameters.orcpt == OriginalRecipient("rfc822", "list+ada@example.test")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_original_recipient_beyond_ascii_comes(mta: MTA, adapter: Adapter) -> None:
    """RFC 6533 section 3: in whatever form a relay passes it on."""
    host = Host()
    with destination(mta, adapter, host, "plain", DSN), connect(mta) as client:
        rcpt_options = ["NOTIFY=NEVER", r"ORCPT=utf-8;j\x{F6}rg\x{2B}x@example.test"]
        client.sendmail(SENDER, f"{ADA}@plain.test", MAIL["plain"], rcpt_options=rcpt_options)
        (arrival,) = host.wait()
    (recipient,) = arrival.envelope.recipients
    assert recipient.parameters.orcpt == OriginalRecipient("utf-8", "jörg+x@example.test")


def test_success_is_reported_by_who_relays_to_a_server_without_dsn(mta: MTA, mailbox: Mailbox) -> None:
    host = Host()
    with destination(mta, "aio", host, "plain"), connect(mta) as client:
        notify = ["NOTIFY=SUCCESS,FAILURE"]
        client.sendmail(mailbox.address, f"{ADA}@plain.test", MAIL["plain"], rcpt_options=notify)
        (report,) = mailbox.wait()
        (arrival,) = host.wait()
    assert b"relayed" in report
    assert arrival.envelope.recipients[0].parameters.notify is None


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_smtputf8_addresses_come(mta: MTA, adapter: Adapter) -> None:
    host = Host()
    with destination(mta, adapter, host, "plain"), connect(mta) as client:
        client.sendmail(
            "jörg@example.test", f"{UTF8_USER}@plain.test", MAIL["utf8"], mail_options=["SMTPUTF8", "BODY=8BITMIME"]
        )
        (arrival,) = host.wait()
    assert arrival.recipients == [UTF8_USER]
    assert str(arrival.envelope.reverse_path) == "jörg@example.test"
    assert arrival.envelope.mail.parameters.smtputf8
    if isinstance(mta, Postfix):  # Exim sends 8-bit octets without a word
        assert arrival.envelope.mail.parameters.body is Body.EIGHT_BIT_MIME
    assert arrival.content.endswith(MAIL["utf8"])
