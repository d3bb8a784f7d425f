"""The Python in README.md does what it says, word for word, but that the hosts it names are here."""

from __future__ import annotations

import ast
import asyncio
import functools
import re
import socket
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from mailproto import Reject, aio, flow, smtp, sync, tls
from mailproto.maildrop import Maildir, MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.smtp import flows
from mailproto.testing import Outbox
from tests import data

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
TLS = sync.server_context(data.SERVER.certificate, data.SERVER.key)
CONTENT = b"Subject: x\r\n\r\ntext\r\n"


def snippet(beginning: str) -> Any:
    """Return the one snippet that has this in it, compiled."""
    (code,) = (each for each in SNIPPETS if beginning in each)
    return compile(code, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_there_is_a_test_for_each_snippet() -> None:
    assert len(SNIPPETS) == 5


class Choosy(Outbox):
    """Takes mail from Ada, for everybody but Eve."""

    def on_auth(self, session: Any, check: Any) -> bool:
        return (check.username, check.password) == ("ada", "secret")

    def on_rcpt(self, session: Any, rcpt: smtp.Rcpt) -> None:
        if rcpt.address.local_part == "eve":
            raise Reject(550, "no such user", "5.1.1")


@pytest.mark.parametrize("recipients", ["bob@example.net", "bob@example.net, eve@example.net"])
def test_a_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], recipients: str
) -> None:
    choosy, drop, maildir = Choosy(), MemoryMaildrop(), Maildir(tmp_path)
    drop.deliver([CONTENT])
    message = EmailMessage()
    message["From"], message["To"] = "ada@example.org", recipients
    host = MailHost(lambda _: drop, {"ada": "secret"})
    submission = sync.SMTPServer(choosy, port=0, tls=TLS)
    pop3s = sync.POP3Server(host, port=0, tls=TLS, implicit_tls=True)
    with submission, pop3s:
        for name, port, tls in (
            ("SMTPClient", submission.port, sync.TLSPolicy.REQUIRED),
            ("POP3Client", pop3s.port, sync.TLSPolicy.IMPLICIT),
        ):
            here: dict[str, Any] = {"host": "localhost", "port": port, "tls": tls, "cafile": data.CA}
            real = getattr(sync, name)
            monkeypatch.setattr(sync, name, lambda _, real=real, here=here, **more: real(**here, **more))
        names = {"secret": "secret", "email_message": message, "maildir": maildir}
        if "eve" in recipients:
            with pytest.raises(smtp.DeliveryError, match=r"eve@example\.net: refused"):
                exec(snippet("sync.SMTPClient"), names)
            assert capsys.readouterr().out == "eve@example.net 550 5.1.1 no such user\n"
        else:
            exec(snippet("sync.SMTPClient"), names)
    assert choosy.letters[0].recipients == ["bob@example.net"]
    fetched = "eve" not in recipients
    assert (len(maildir.open().messages), len(drop.open().messages)) == (fetched, not fetched)


def test_a_server_with_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    stored: list[bytes] = []
    servers: list[aio.SMTPServer] = []

    async def store(message: bytes) -> None:
        stored.append(message)

    def make(handler: Any, port: int) -> aio.SMTPServer:
        servers.append(real(handler, port=0))
        return servers[-1]

    async def run() -> None:
        task = asyncio.create_task(eval(snippet("class Inbox"), {"store": store, "__name__": "readme"}))
        while not servers or not servers[0].port:
            await asyncio.sleep(0.01)
        async with aio.SMTPClient("127.0.0.1", servers[0].port) as client:
            result = await client.send_message(CONTENT, "a@example.net", ["ada@Example.org", "bob@example.net"])
        assert [str(each.reply) for each in result.refused] == ["550 5.7.1 relaying denied"]
        task.cancel()
        await asyncio.wait([task])

    real = aio.SMTPServer
    monkeypatch.setattr(aio, "SMTPServer", make)
    asyncio.run(run())
    assert stored == [CONTENT]


def test_a_server_event_by_event() -> None:
    names: dict[str, Any] = {"smtp": smtp}
    exec(snippet("async for event in session"), names)

    async def run() -> None:
        async with (
            aio.SMTPServer(names["handle"], port=0) as server,
            aio.SMTPClient("127.0.0.1", server.port) as client,
        ):
            result = await client.send_message(CONTENT, "a@example.net", ["ada@Example.org", "bob@example.net"])
        assert (result.recipients[0].reply, result.recipients[1].outcome) == (result.reply, smtp.Outcome.REFUSED)
        assert str(result.reply) == "250 2.0.0 taken"

    asyncio.run(run())


def test_the_state_machine_alone() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        exec(snippet("conn = smtp."), {"smtp": smtp, "sock": ours})
        ours.close()
        said = theirs.makefile("rb").read()
    assert said.startswith(b"220 mx.example.org ESMTP\r\n250-mx.example.org\r\n")


def test_a_flow_driven_by_hand() -> None:
    names: dict[str, Any] = {
        "smtp": smtp,
        "Engine": flow.Engine,
        "Want": flow.Want,
        "SessionOptions": flows.SessionOptions,
        "open_session": flows.open_session,
        "client_context": functools.partial(tls.client_context, data.CA),
        "client_tls": lambda context, _: tls.client_tls(context, "localhost"),
    }
    with sync.SMTPServer(Outbox(), port=0, tls=TLS) as server:
        with socket.create_connection(("localhost", server.port)) as sock:
            names["sock"] = sock
            exec(snippet("engine.begin"), names)
        client: Any = names["client"]
        assert client.tls.version == "TLSv1.3"
        assert "SIZE" in client.extensions
