"""Our notices pass through Postfix and Exim."""

from datetime import UTC, datetime
from typing import Any

import pytest

from mailproto.address import Address
from mailproto.smtp.extensions import Ret
from mailproto.smtp.notices import Action, Report, make_notice
from mailproto.smtp.parameters import MailParameters
from mailproto.smtp.reply import Reply
from mailproto.sync import TLSPolicy
from tests import data
from tests.interop.dovecot import Mailbox
from tests.interop.exim import Exim
from tests.interop.ours import ADAPTERS, Adapter, client
from tests.interop.postfix import Postfix

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
