"""The snippets and the tables for those who come from other libraries, in examples/README.md, are true."""

from __future__ import annotations

import asyncio
import builtins
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

import mailproto
from mailproto import aio, pop3, smtp, sync, testing
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.smtp.flows import HOOKS, SMTPSession
from mailproto.testing import Letter, Outbox
from tests import data
from tests.test_common_jobs import SECTIONS

SECTION = SECTIONS["Coming from smtplib, poplib, aiosmtplib or aiosmtpd"]
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
ROWS = [row.strip("| ").split(" | ") for row in re.findall(r"^\|.*\|$", SECTION, re.MULTILINE)]
TLS = aio.server_context(data.SERVER.certificate, data.SERVER.key)


def run(beginning: str, **names: Any) -> dict[str, Any]:
    """Run the one snippet that has this in it, and return what it has named."""
    (code,) = (snippet for snippet in SNIPPETS if beginning in snippet)
    exec(compile(code, "examples/README.md", "exec"), names)
    return names


class Choosy(Outbox):
    """Takes mail for everybody but Eve, from Ada alone where somebody has to log in."""

    def on_auth(self, session: Any, check: Any) -> bool:
        return (check.username, check.password) == ("ada", "secret")

    def on_rcpt(self, session: Any, rcpt: Any) -> None:
        if rcpt.address.local_part == "eve":
            raise mailproto.Reject(550, "no such user", "5.1.1")


@pytest.fixture
def choosy() -> Choosy:
    return Choosy()


@pytest.fixture
def server(choosy: Choosy) -> Iterator[sync.SMTPServer]:
    with sync.SMTPServer(choosy, "localhost", port=0, tls=TLS) as server:
        yield server


def test_there_is_a_test_for_each_snippet() -> None:
    assert len(SNIPPETS) == 4


def test_from_smtplib(choosy: Choosy, server: sync.SMTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sync.SMTPClient
    monkeypatch.setattr(sync, "SMTPClient", lambda host, port, **more: real(host, server.port, **more))
    assert run("relay = ")["refused"] == {"eve@example.net": "550 5.1.1 no such user"}
    (letter,) = choosy.letters
    assert letter.recipients == ["bob@example.net"]
    assert letter.content == b"Subject: Hello\r\n\r\nIt is me.\r\n"


def test_from_aiosmtplib(choosy: Choosy, server: sync.SMTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = aio.SMTPClient
    where: dict[str, Any] = {"host": "localhost", "port": server.port, "cafile": data.CA}
    monkeypatch.setattr(aio, "SMTPClient", lambda host, **more: real(**where, **more))
    message = EmailMessage()
    message["From"], message["To"] = "ada@example.org", "bob@example.net"
    send = run("async def send", secret="secret")["send"]
    assert asyncio.run(send(message)).ok
    assert choosy.letters[0].recipients == ["bob@example.net"]


def test_from_poplib(monkeypatch: pytest.MonkeyPatch) -> None:
    drop, real, tickets = MemoryMaildrop(), sync.POP3Client, []
    for number in range(3):
        drop.deliver([b"Subject: %d\r\n\r\ntext\r\n" % number])

    def open_ticket(message: EmailMessage) -> None:
        if message["Subject"] == "2":
            raise OverflowError
        tickets.append(message.get_content())

    server = sync.POP3Server(MailHost(lambda _: drop, {"ada": "secret"}), port=0, tls=TLS)
    with server:
        monkeypatch.setattr(
            sync, "POP3Client", lambda host, **more: real("localhost", server.port, cafile=data.CA, **more)
        )
        with pytest.raises(OverflowError):
            run("open_ticket", secret="secret", open_ticket=open_ticket)
        assert len(drop.open().messages) == 3
    assert tickets == ["text\n"] * 2


def test_from_aiosmtpd(tmp_path: Path) -> None:
    """The test in it is run, and has to pass; for an application that sends what it should not it has to fail."""
    (snippet,) = (snippet for snippet in SNIPPETS if "@pytest.fixture" in snippet)
    app = (
        "import smtplib\n"
        "def register(address, smtp_host, smtp_port):\n"
        "    with smtplib.SMTP(smtp_host, smtp_port) as smtp:\n"
        "        smtp.sendmail('app@example.org', [address], 'Subject: {}\\n\\n')\n"
    )
    for subject, failures in (("Welcome", 0), ("Farewell", 1)):
        path = tmp_path / f"test_{subject}.py"
        path.write_text(app.format(subject) + snippet, "utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(path)],
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
        )
        assert done.returncode == failures, done.stdout


# The tables: what stands in code on their right is there.

CODE = " ".join(re.findall(r"`([^`]*)`", "\n".join(row[-1] for row in ROWS)))
OWNERS: dict[str, Any] = {
    "client": sync.SMTPClient(),
    "conn": sync.SMTPClient().conn,
    "server": sync.SMTPServer(Outbox()),
    "session": SMTPSession(smtp.SMTPServerConnection()),
    "envelope": smtp.Envelope,
    "letter": Letter(None, [], b"", smtp.Envelope(smtp.Mail(None, smtp.MailParameters()))),
    "result": smtp.SendResult,
    "pop": sync.POP3Client,
    "TLSPolicy": mailproto.TLSPolicy,
    "smtp": smtp,
    "pop3": pop3,
    "sync": sync,
    "aio": aio,
}
CALLED = (
    sync.SMTPClient,
    sync.POP3Client,
    sync.SMTPServer,
    smtp.SMTPServerConfig,
    smtp.SMTPClientConfig,
    smtp.Extension,
)
ARGUMENTS = {name for called in CALLED for name in inspect.signature(called).parameters} | set(
    inspect.signature(sync.SMTPClient.send_message).parameters
)


@pytest.mark.parametrize(
    ("owner", "name"), [pair for pair in re.findall(r"(\w+)\.(\w+)", CODE) if pair[0] not in ("mailproto", "flows")]
)
def test_an_attribute_of_the_tables_is_there(owner: str, name: str) -> None:
    assert hasattr(OWNERS[owner], name)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"(\w+)=", CODE))))
def test_an_argument_of_the_tables_is_there(name: str) -> None:
    assert name in ARGUMENTS


@pytest.mark.parametrize("name", sorted(set(re.findall(r"(?<![.\w])(?:\w+(?=\()|[A-Z]\w*[a-z]\w*|on_\w+)", CODE))))
def test_a_class_and_a_call_of_the_tables_are_there(name: str) -> None:
    classes = (sync.SMTPClient, sync.POP3Client, sync.SMTPServer, smtp.SendResult)
    places = (mailproto, testing, sync, smtp, builtins, *classes)
    assert name in HOOKS or any(hasattr(place, name) for place in places)
