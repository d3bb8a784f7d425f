"""Commands of one's own, said by the clients of the standard library: each in step with what comes around it."""

from __future__ import annotations

import poplib
import smtplib
from typing import Any

from mailproto import sync
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.pop3 import POP3ServerConfig
from mailproto.smtp import Extension, ExtensionCommand, SMTPServerConfig, with_extensions


class Host(MailHost):
    """A mail host that says what it was told."""

    def on_command(self, session: Any, command: ExtensionCommand) -> Any:
        return command.argument if command.verb == "XECHO" else [".", *command.argument.split(" ")]


def host() -> Host:
    drop = MemoryMaildrop()
    drop.deliver([b"Subject: x\r\n\r\ntext\r\n"])
    return Host(lambda _: drop, {"ada": "secret"})


def test_smtplib() -> None:
    config = with_extensions(SMTPServerConfig(), Extension("X-ECHO", "ours", lambda _: "", commands=("XECHO",)))
    with sync.SMTPServer(host(), port=0, config=config) as server, smtplib.SMTP("localhost", server.port) as client:
        assert client.docmd("XECHO", "hello")[0] == 503
        client.ehlo()
        assert client.has_extn("x-echo")
        assert client.docmd("xecho", "hello, world") == (250, b"2.0.0 hello, world")
        assert b"XECHO" in client.help()
        assert client.noop()[0] == 250


def test_poplib() -> None:
    config = POP3ServerConfig(allow_plaintext_auth=True, commands=("XECHO", "XLINES"))
    with sync.POP3Server(host(), port=0, config=config) as server:
        client: Any = poplib.POP3("localhost", server.port)
        client.user("ada")
        client.pass_("secret")
        assert client._shortcmd("XECHO hello") == b"+OK hello"
        assert client._longcmd("xlines one ..two") == (b"+OK", [b".", b"one", b"..two"], 15)
        assert len(client.retr(1)[1]) == 3
        client.quit()
