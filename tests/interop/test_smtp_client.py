"""Our SMTP clients meet Postfix and Exim, and Dovecot's LMTP."""

import email
import email.policy
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from email.message import EmailMessage
from itertools import pairwise
from typing import Any

import pytest

from mailproto.errors import AuthenticationError, NotSupportedError, TLSRequiredError
from mailproto.smtp.config import SMTPClientConfig
from mailproto.smtp.extensions import Notify, OriginalRecipient, Ret
from mailproto.smtp.messages.submission import make_submission
from mailproto.smtp.parameters import MailParameters, RcptParameters
from mailproto.smtp.result import SendResult
from mailproto.sync import TLSPolicy
from tests import data
from tests.interop.clients import on_the_wire
from tests.interop.dovecot import PASSWORD, Dovecot, Mailbox
from tests.interop.exim import Exim
from tests.interop.ours import ADAPTERS, Adapter, client, pool
from tests.interop.postfix import UNKNOWN, Postfix

MAIL = {name: path.read_bytes() for name, path in data.MAIL.items()}
SENDER = "someone@example.test"
BIG = MAIL["plain"] + b"The engine weaves patterns.\r\n.\r\n" * 320_000  # 10 MB, and full of dots
NONE, REQUIRED, IMPLICIT = TLSPolicy.NONE, TLSPolicy.REQUIRED, TLSPolicy.IMPLICIT

Server = Callable[..., AbstractContextManager[Any]]

SERVERS = {
    "postfix": ("postfix", "port", NONE),
    "postfix-starttls": ("postfix", "port", REQUIRED),
    "exim": ("exim", "port", NONE),
    "exim-starttls": ("exim", "port", REQUIRED),
    "exim-smtps": ("exim", "smtps_port", IMPLICIT),
}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> tuple[int, TLSPolicy]:
    """Port and policy of a server that takes mail for example.test from anybody."""
    name, port, tls = SERVERS[request.param]
    return getattr(request.getfixturevalue(name), port), tls


def smtp(adapter: Adapter, port: int, tls: TLSPolicy = NONE, **arguments: Any) -> AbstractContextManager[Any]:
    return client(adapter, "SMTPClient", port, tls=tls, **arguments)


def outcomes(result: SendResult) -> list[str]:
    return [recipient.outcome.value for recipient in result.recipients]


def count(messages: list[bytes], sent: bytes) -> int:
    return sum(message.endswith(on_the_wire(sent)) for message in messages)


@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelined", "in-steps"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_several_messages_over_one_connection(
    server: tuple[int, TLSPolicy], adapter: Adapter, pipelining: bool, mailbox: Mailbox
) -> None:
    recipients = [mailbox.address, UNKNOWN]
    submissions = [make_submission(message, SENDER, recipients) for message in MAIL.values()]
    with smtp(adapter, *server, config=SMTPClientConfig(pipelining=pipelining)) as client:
        results = client.send_messages(submissions)
    for result in results:
        assert outcomes(result) == ["accepted", "refused"]
        assert result.refused[0].reply.code == 550
        assert result.refused[0].phase == "RCPT"
        assert result.queue_id
    messages = mailbox.wait(len(MAIL))
    assert [count(messages, sent) for sent in MAIL.values()] == [1] * len(MAIL)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_message_that_nobody_wants_does_not_hold_up_the_next(
    server: tuple[int, TLSPolicy], adapter: Adapter, mailbox: Mailbox
) -> None:
    first = make_submission(MAIL["plain"], SENDER, mailbox.address)
    unwanted = make_submission(MAIL["dots"], SENDER, [UNKNOWN, UNKNOWN])
    last = make_submission(MAIL["utf8"], "", mailbox.address)
    with smtp(adapter, *server) as client:
        results = client.send_messages([first, unwanted, last])
        assert client.noop().code == 250
    assert [outcomes(result) for result in results] == [["accepted"], ["refused", "refused"], ["accepted"]]
    messages = mailbox.wait(2)
    assert [count(messages, MAIL[name]) for name in ("plain", "dots", "utf8")] == [1, 0, 1]


@pytest.mark.parametrize(("chunking", "verb"), [(True, "BDAT"), (False, "DATA")])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_ten_megabytes(
    server: tuple[int, TLSPolicy], adapter: Adapter, chunking: bool, verb: str, mailbox: Mailbox
) -> None:
    with smtp(adapter, *server, config=SMTPClientConfig(chunking=chunking)) as client:
        result = client.send_message(BIG, SENDER, [UNKNOWN, mailbox.address])
        assert f"C: {verb}" in str(client.said)
    assert outcomes(result) == ["refused", "accepted"]
    assert count(mailbox.wait(), BIG) == 1


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_smtputf8(server: tuple[int, TLSPolicy], adapter: Adapter, mailbox: Mailbox) -> None:
    with smtp(adapter, *server) as client:
        result = client.send_message(MAIL["utf8"], "jörg@example.test", [f"ü{mailbox.address}"])
    assert outcomes(result) == ["accepted"]
    (message,) = mailbox.wait()
    assert count([message], MAIL["utf8"]) == 1
    assert "jörg@example.test".encode() in message.removesuffix(MAIL["utf8"])


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_server_without_extensions(postfix: Postfix, adapter: Adapter, mailbox: Mailbox) -> None:
    with smtp(adapter, postfix.bare_port) as client:
        assert client.extensions.keys() <= {"ETRN", "VRFY"}
        result = client.send_message(MAIL["dots"], SENDER, [UNKNOWN, mailbox.address])
        assert outcomes(result) == ["refused", "accepted"]
        with pytest.raises(NotSupportedError, match="8BITMIME"):
            client.send_message(MAIL["latin1"], SENDER, mailbox.address)
        result = client.send_message(MAIL["plain"], SENDER, [f"ü{mailbox.address}", mailbox.address])
        assert outcomes(result) == ["refused", "accepted"]
        assert isinstance(result.refused[0].error, NotSupportedError)
    messages = mailbox.wait(2)
    assert [count(messages, MAIL[name]) for name in ("plain", "dots")] == [1, 1]
    said = client.said.lines
    ahead = [line for before, line in pairwise(said) if before.startswith("C: ") and line.startswith("C: ")]
    assert all(line.startswith("C: <message") for line in ahead), "everything else waits for its reply"


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_pool_notices_that_postfix_has_hung_up(postfix: Postfix, adapter: Adapter, mailbox: Mailbox) -> None:
    hung_up = postfix.log().count("timeout after END-OF-MESSAGE")
    with pool(adapter, port=postfix.hasty_port, tls=NONE) as connections:
        for name in ("dots", "plain"):
            assert connections.send_message(MAIL[name], SENDER, mailbox.address).ok
        time.sleep(3.5)
        assert connections.send_message(MAIL["utf8"], SENDER, mailbox.address).ok
    assert len(mailbox.wait(3)) == 3
    assert postfix.log().count("timeout after END-OF-MESSAGE") == hung_up + 1, (
        "the first two went over one connection"
    )


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_email_message_is_fitted_to_the_server(postfix: Postfix, adapter: Adapter, mailbox: Mailbox) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = SENDER, mailbox.address, "Grüße"
    message.set_content("Größe: 5 €\n.\n", cte="8bit")
    for port in (postfix.port, postfix.bare_port):
        with smtp(adapter, port) as client:
            client.send_message(message).raise_for_refused()
    messages = mailbox.wait(2)
    assert sorted(came.isascii() for came in messages) == [False, True]
    for came in messages:
        text = email.message_from_bytes(came, policy=email.policy.default).get_content()
        assert text.replace("\r\n", "\n") == "Größe: 5 €\n.\n"


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_exim_judges_a_message_for_each_recipient(exim: Exim, dovecot: Dovecot, adapter: Adapter) -> None:
    """PRDR, which our client asks for by itself."""
    first, choosy, last = (dovecot.mailbox() for _ in range(3))
    message = f"X-Not-For: {choosy.name}\r\n".encode() + MAIL["dots"]
    with smtp(adapter, exim.port) as client:
        results = [client.send_message(message, SENDER, [box.address for box in (first, choosy, last)])]
        results += client.send_messages([make_submission(message, SENDER, [first.address, choosy.address])] * 2)
        assert client.send_message(message, SENDER, last.address).ok
        assert "S: 353 " in str(client.said)
    two, three = ["accepted", "refused"], ["accepted", "refused", "accepted"]
    assert [outcomes(result) for result in results] == [three, two, two]
    assert all("not for me" in str(result.refused[0].reply) for result in results)
    assert (count(first.wait(3), message), count(last.wait(2), message), choosy.messages()) == (3, 2, [])


# Notices.


@pytest.mark.parametrize("program", ["postfix", "exim"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_delivery_is_reported(
    request: pytest.FixtureRequest, adapter: Adapter, program: str, dovecot: Dovecot
) -> None:
    """RFC 3461: the report of a success comes back with the name of the message, and without its body."""
    sender, recipient, silent = dovecot.mailbox(), dovecot.mailbox(), dovecot.mailbox()
    wanted = RcptParameters(
        notify=frozenset({Notify.SUCCESS}), orcpt=OriginalRecipient("rfc822", "a+list@example.test")
    )
    with smtp(adapter, request.getfixturevalue(program).port) as client:
        client.send_message(
            MAIL["plain"],
            sender.address,
            [(recipient.address, wanted), (silent.address, RcptParameters(notify=frozenset({Notify.NEVER})))],
            parameters=MailParameters(ret=Ret.HDRS, envid="the+message"),
        ).raise_for_refused()
    report = sender.wait()[0].replace(b"+2B", b"+").replace(b"-ID:", b"-Id:")  # Exim leaves xtext as it is
    assert b"Original-Envelope-Id: the+message" in report
    assert b"Original-Recipient: rfc822;a+list@example.test" in report
    assert b"Action: delivered" in report and recipient.name.encode() in report
    assert b"Subject: The engine" in report and b"Jacquard" not in report
    assert silent.name.encode() not in report


# Submission.


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", None])
@pytest.mark.parametrize("tls", [REQUIRED, IMPLICIT])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_submission_to_postfix(
    postfix: Postfix, adapter: Adapter, tls: TLSPolicy, mechanism: str | None, mailbox: Mailbox
) -> None:
    port = postfix.submissions_port if tls is IMPLICIT else postfix.submission_port
    mechanisms = None if mechanism is None else (mechanism,)
    with smtp(adapter, port, tls, user=mailbox.name, password=PASSWORD, mechanisms=mechanisms) as client:
        assert client.tls.version == "TLSv1.3"
        assert client.send_message(MAIL["dots"], mailbox.address, mailbox.address).ok
        assert f"C: AUTH {mechanism or ''}" in str(client.said)
        assert PASSWORD not in str(client.said)
    assert count(mailbox.wait(), MAIL["dots"]) == 1


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_submission_to_exim(exim: Exim, adapter: Adapter, mailbox: Mailbox) -> None:
    with smtp(adapter, exim.port, REQUIRED, user=mailbox.name, password=PASSWORD) as client:
        assert client.send_message(MAIL["dots"], SENDER, mailbox.address).ok
    assert count(mailbox.wait(), MAIL["dots"]) == 1


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_wrong_password(postfix: Postfix, adapter: Adapter, mechanism: str, mailbox: Mailbox) -> None:
    login = {"user": mailbox.name, "password": "wrong", "mechanisms": (mechanism,)}
    with pytest.raises(AuthenticationError), smtp(adapter, postfix.submission_port, REQUIRED, **login):
        pytest.fail("logged in")


@pytest.mark.parametrize(
    "arguments", [{"tls": REQUIRED}, {"user": "box001", "password": PASSWORD}], ids=["told", "login"]
)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_without_starttls_nothing_is_said(postfix: Postfix, adapter: Adapter, arguments: dict[str, Any]) -> None:
    """A port that is none of submission's is opportunistic, unless there is a password to lose."""
    bare = client(adapter, "SMTPClient", postfix.bare_port, **arguments)
    with pytest.raises(TLSRequiredError, match="does not offer STARTTLS"), bare:
        pytest.fail("went on in clear")


# LMTP.


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_blind_copies_are_blind(dovecot: Dovecot, adapter: Adapter) -> None:
    """Postfix and Exim would take the field out themselves; Dovecot stores what it is given."""
    seen, hidden = dovecot.mailbox(), dovecot.mailbox()
    message = EmailMessage()
    message["From"], message["To"], message["Bcc"] = SENDER, seen.address, hidden.address
    message.set_content("To both.\n")
    with smtp(adapter, dovecot.lmtp_port, config=SMTPClientConfig(lmtp=True)) as client:
        assert outcomes(client.send_message(message)) == ["accepted", "accepted"]
    for mailbox in (seen, hidden):
        (came,) = mailbox.messages()
        header, body = came[came.index(b"From: ") :].split(b"\r\n\r\n")
        assert body == b"To both.\r\n" and seen.name.encode() in header and hidden.name.encode() not in header


@pytest.mark.parametrize("by_socket", [False, True], ids=["tcp", "unix"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_lmtp_to_dovecot(dovecot: Dovecot, adapter: Adapter, by_socket: bool) -> None:
    first, full, last = (dovecot.mailbox() for _ in range(3))
    full.maildir.parent.mkdir(mode=0)  # nothing can be stored there
    where: dict[str, Any] = {"path": dovecot.lmtp_socket} if by_socket else {}
    recipients = [first.address, UNKNOWN, full.address, last.address]
    submissions = [make_submission(message, SENDER, recipients) for message in MAIL.values()]
    with smtp(adapter, dovecot.lmtp_port, config=SMTPClientConfig(lmtp=True), **where) as client:
        results = client.send_messages(submissions)
    for result in results:
        assert outcomes(result) == ["accepted", "refused", "deferred", "accepted"]
        assert result.refused[0].phase == "RCPT"
        assert result.deferred[0].phase in (".", "BDAT")
    for mailbox in (first, last):
        messages = mailbox.messages()
        assert [count(messages, sent) for sent in MAIL.values()] == [1] * len(MAIL)
