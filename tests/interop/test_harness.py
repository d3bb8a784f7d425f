"""The real programs with each other, without mailproto: what fails here is the harness's fault, not ours."""

import json
import poplib
import smtplib
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from tests import data
from tests.interop.clients import TLS_MODES, Endpoint, TLSMode
from tests.interop.dovecot import Dovecot, Mailbox
from tests.interop.exim import Exim
from tests.interop.fetchers import FETCHER_MODES, FETCHERS
from tests.interop.postfix import UNKNOWN, Postfix
from tests.interop.programs import find_program, free_port
from tests.interop.senders import SENDERS

ROOT = Path(__file__).parents[2]
SENDER = "ada@client.example.test"
MESSAGE = data.MAIL["dots"].read_bytes()


def test_smtplib_through_postfix_to_poplib(postfix: Postfix, dovecot: Dovecot, mailbox: Mailbox) -> None:
    with smtplib.SMTP("localhost", postfix.port) as client:
        refused = client.sendmail(SENDER, [mailbox.address, UNKNOWN], MESSAGE)
    assert list(refused) == [UNKNOWN] and refused[UNKNOWN][0] == 550
    mailbox.wait(1)
    pop = poplib.POP3("localhost", dovecot.pop3_port)
    pop.stls(ssl.create_default_context(cafile=data.CA))
    pop.user(mailbox.name)
    pop.pass_(mailbox.password)
    lines = pop.retr(1)[1]
    pop.dele(1)
    pop.quit()
    assert b"\r\n".join([*lines, b""]).endswith(MESSAGE)
    assert mailbox.messages() == []


def test_smtplib_through_exim(exim: Exim, mailbox: Mailbox) -> None:
    context = ssl.create_default_context(cafile=data.CA)
    with smtplib.SMTP("localhost", exim.port) as client:
        client.starttls(context=context)
        refused = client.sendmail(SENDER, [mailbox.address, UNKNOWN], MESSAGE)
        client.sendmail("ü@example.test", [f"ü{mailbox.address}"], MESSAGE, mail_options=["SMTPUTF8"])
    with smtplib.SMTP_SSL("localhost", exim.smtps_port, context=context) as client:
        client.sendmail(SENDER, [mailbox.address], MESSAGE)
    assert list(refused) == [UNKNOWN] and refused[UNKNOWN][0] == 550
    assert [message.endswith(MESSAGE) for message in mailbox.wait(3)] == [True, True, True]


@pytest.mark.parametrize("by_socket", [False, True], ids=["tcp", "unix"])
def test_smtplib_delivers_to_dovecot_by_lmtp(dovecot: Dovecot, mailbox: Mailbox, by_socket: bool) -> None:
    host, port = (str(dovecot.lmtp_socket), 0) if by_socket else ("localhost", dovecot.lmtp_port)
    with smtplib.LMTP(host, port) as client:
        refused = client.sendmail(SENDER, [mailbox.address, UNKNOWN], MESSAGE)
    assert list(refused) == [UNKNOWN] and refused[UNKNOWN][0] == 550
    assert mailbox.messages()[0].endswith(MESSAGE)


@pytest.mark.parametrize("tls", TLS_MODES)
@pytest.mark.parametrize("program", SENDERS)
def test_command_line_client_sends_through_postfix(
    postfix: Postfix, mailbox: Mailbox, tmp_path: Path, program: str, tls: TLSMode
) -> None:
    port = {"none": postfix.port, "starttls": postfix.submission_port, "implicit": postfix.submissions_port}[tls]
    endpoint = Endpoint(port, tls, user=mailbox.name)
    outcome = SENDERS[program](endpoint, SENDER, [mailbox.address], MESSAGE, tmp_path)
    assert outcome.ok, outcome.log
    (message,) = mailbox.wait(1)
    assert message.endswith(MESSAGE)


@pytest.mark.parametrize(("program", "tls"), FETCHER_MODES)
def test_command_line_client_fetches_from_dovecot(
    dovecot: Dovecot, mailbox: Mailbox, tmp_path: Path, program: str, tls: TLSMode
) -> None:
    messages = [MESSAGE, data.MAIL["utf8"].read_bytes()]
    for number, message in enumerate(messages):
        mailbox.put(message, f"{number}")
    port = dovecot.pop3s_port if tls == "implicit" else dovecot.pop3_port
    kept = FETCHERS[program](Endpoint(port, tls, user=mailbox.name), tmp_path / "1", keep=True)
    assert kept.ok, kept.log
    assert kept.messages == mailbox.messages() == messages
    fetched = FETCHERS[program](Endpoint(port, tls, user=mailbox.name), tmp_path / "2")
    assert fetched.ok, fetched.log
    assert fetched.messages == messages
    assert mailbox.messages() == []


def test_missing_program_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAILPROTO_REQUIRE_INTEROP", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-program is not installed"):
        find_program("no-such-program")


def test_missing_program_fails_where_all_must_be_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILPROTO_REQUIRE_INTEROP", "1")
    with pytest.raises(pytest.fail.Exception, match="no-such-program is not installed"):
        find_program("no-such-program")


def test_two_runs_at_once_have_different_ports() -> None:
    ports = [free_port() for _ in range(50)]
    script = "from tests.interop.programs import free_port; print([free_port() for _ in range(400)])"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=ROOT, check=True)
    assert len(set(ports)) == 50
    assert not set(ports) & set(json.loads(other.stdout))
