"""Our notices pass through Postfix and Exim, and theirs are read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mailproto.address import Address
from mailproto.smtp.config import SMTPServerConfig
from mailproto.smtp.extensions import Notify, OriginalRecipient, Ret
from mailproto.smtp.notices import Action, Report, make_notice
from mailproto.smtp.notices.reading import parse_notice
from mailproto.smtp.parameters import MailParameters, RcptParameters
from mailproto.smtp.reply import Reply
from mailproto.sync import TLSPolicy
from tests import data
from tests.interop.dovecot import Mailbox
from tests.interop.exim import Exim
from tests.interop.ours import ADAPTERS, Adapter, client
from tests.interop.postfix import Postfix
from tests.interop.servers import ADA, LIMITS, NOBODY, Host, smtp_server

MAIL = {name: path.read_bytes() for name, path in data.MAIL.items()}


@pytest.fixture(params=["postfix", "exim"])
def mta(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("name", ["plain", "dots", "utf8", "latin1", "attachment"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_notice_comes_as_it_was_made(mta: Postfix | Exim, mailbox: Mailbox, adapter: Adapter, name: str) -> None:
    report = Report(Address("bob", "example.net"), Action.FAILED, Reply.build(550, "No\nsuch user"), "mx.example.net")
    made = make_notice(
        [report],
        reverse_path=Address.parse(mailbox.address),
        message=[MAIL[name].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")],
        hostname="relay.example.test",
        when=datetime.now(UTC),
        notice_id="4711",
        parameters=MailParameters(ret=Ret.FULL),
    )
    assert made is not None
    with client(adapter, "SMTPClient", mta.port, tls=TLSPolicy.NONE) as smtp:
        recipient = (made.address, made.rcpt_parameters)
        smtp.send_message(made.content, "", [recipient], parameters=made.parameters).raise_for_refused()
    (arrived,) = mailbox.wait()
    assert arrived.endswith(made.content)


ENVELOPE_ID = "order 4711+x=y"
"""One that looks different in xtext, which Exim leaves as it is, here and in the original recipients."""


@pytest.mark.parametrize("ret", [Ret.HDRS, Ret.FULL])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_their_notices_say_what_became_of_whom(
    mta: Postfix | Exim, mailbox: Mailbox, adapter: Adapter, ret: Ret
) -> None:
    host, wanted = Host(), frozenset({Notify.SUCCESS, Notify.FAILURE})
    config = SMTPServerConfig(hostname="ours.example.test", limits=LIMITS)
    recipients = [
        (f"{user}@plain.test", RcptParameters(wanted, OriginalRecipient("rfc822", f"{user}+list@Plain.TEST")))
        for user in (ADA, NOBODY)
    ]
    message = (
        b"From: grace@example.test\r\nMessage-ID: <4711@example.test>\r\nSubject: notices\r\n\r\nHow are you?\r\n"
    )
    began = datetime.now(UTC) - timedelta(seconds=2)
    with (
        smtp_server(adapter, host, "none", config, port=mta.relay_ports["plain"]),
        client(adapter, "SMTPClient", mta.port, tls=TLSPolicy.NONE) as smtp,
    ):
        parameters = MailParameters(ret=ret, envid=ENVELOPE_ID)
        smtp.send_message(message, mailbox.address, recipients, parameters=parameters).raise_for_refused()
        notices = [parse_notice(content) for content in mailbox.wait(2)]
    for notice in notices:
        assert notice.is_about(ENVELOPE_ID)
        assert notice.reporting_mta is not None
        assert notice.reporting_mta.kind == "dns"
        assert notice.reporting_mta.value.endswith(".example.test")
        assert notice.message_id == "<4711@example.test>"
        assert notice.arrival is None or notice.arrival > began
    (failed,) = [recipient for notice in notices for recipient in notice.failed]
    (sent,) = [recipient for notice in notices for recipient in notice.recipients if not recipient.failed]
    assert sent.action is (Action.RELAYED if isinstance(mta, Postfix) else Action.DELIVERED)
    assert failed.is_about(f"{NOBODY}+list@Plain.TEST")
    assert sent.is_about(f"{ADA}+list@Plain.TEST")
    assert failed.final_recipient == OriginalRecipient("rfc822", f"{NOBODY}@plain.test")
    assert sent.final_recipient == OriginalRecipient("rfc822", f"{ADA}@plain.test")
    assert (str(failed.status)[0], str(sent.status)[0]) == ("5", "2")
    assert failed.diagnostic is not None
    assert failed.diagnostic.kind == "smtp"
    assert failed.diagnostic.value.startswith("550 ")
    assert "Relaying denied" in failed.diagnostic.value
    assert failed.remote_mta is not None
    (bounce,) = [notice for notice in notices if notice.failed]
    assert bounce.returned is not None
    assert bounce.returned_whole is (ret is Ret.FULL)
    assert bounce.returned.endswith(b"How are you?\r\n") is (ret is Ret.FULL)
