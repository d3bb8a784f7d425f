"""UTF-8 mode and languages through both adapters, and as poplib asks for them; and servers that are out of step."""

from __future__ import annotations

import asyncio
import poplib
import socketserver
import threading
from typing import Any

import pytest

from mailproto import RemoteProtocolError, aio, sync
from mailproto._core.policy import TLSPolicy
from mailproto.pop3 import Language, POP3ServerConfig
from mailproto.pop3.flows import POP3Session
from tests.pop3.test_pop3_flows_server import App

CONFIG = POP3ServerConfig(
    allow_plaintext_auth=True,
    languages=(Language("de", "Deutsch", {"Language changed": "Sprache geändert", "Good-bye": "Tschüß"}),),
)
CLIENT: dict[str, Any] = {
    "tls": TLSPolicy.NONE,
    "user": "jürgen",
    "password": "secret",
    "mechanisms": (),
    "allow_plaintext_auth": True,
    "utf8": True,
}
NAMES = {"de": "Deutsch", "i-default": "English"}


class Noting(App):
    """Notes in which mode each client logs in."""

    def __init__(self) -> None:
        super().__init__()
        self.modes: list[tuple[str, bool]] = []

    def on_login(self, session: POP3Session) -> Any:
        assert session.identity is not None
        self.modes.append((session.identity.user, session.conn.utf8))
        return super().on_login(session)


def test_blocking() -> None:
    app = Noting()
    with sync.POP3Server(app, port=0, config=CONFIG) as server:
        with sync.POP3Client("127.0.0.1", server.port, **CLIENT) as client:
            assert client.languages() == NAMES
            assert client.choose_language() == client.conn.language == "de"
        pop = poplib.POP3("127.0.0.1", server.port, timeout=10)
        assert pop.utf8() == b"+OK UTF8 enabled"
        assert pop.user("jürgen").startswith(b"+OK")
        assert pop.pass_("secret").startswith(b"+OK")
        assert pop.capa()["UTF8"] == ["USER"]
        pop.quit()
    assert app.modes == [("jürgen", True)] * 2


def test_asyncio() -> None:
    app = Noting()

    async def talk() -> None:
        async with (
            aio.POP3Server(app, port=0, config=CONFIG) as server,
            aio.POP3Client("127.0.0.1", server.port, **CLIENT) as client,
        ):
            assert await client.languages() == NAMES
            assert await client.choose_language("DE") == "de"

    asyncio.run(talk())
    assert app.modes == [("jürgen", True)]


class Babbler(socketserver.StreamRequestHandler):
    """Says a line too many in front of what it answers to the first RETR."""

    def handle(self) -> None:
        self.wfile.write(b"+OK\r\n")
        for line in self.rfile:
            match line.split():
                case [b"CAPA"]:
                    self.wfile.write(b"-ERR\r\n")
                case [b"RETR", b"1"]:
                    self.wfile.write(b"-ERR too many\r\n")
                case [b"LIST", number]:  # the answer to RETR is late
                    self.wfile.write(b"+OK 5 octets\r\none\r\n.\r\n+OK %b 5\r\n" % number)
                case _:
                    self.wfile.write(b"+OK\r\n")


def test_a_message_is_not_taken_for_refused_because_of_a_line_too_many() -> None:
    """The next one would else be taken for this one."""
    client: dict[str, Any] = {**CLIENT, "user": "ada"}
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Babbler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with (
            pytest.raises(RemoteProtocolError),
            sync.POP3Client("127.0.0.1", server.server_address[1], **client) as pop,
        ):
            pop.retrieve(1)
        server.shutdown()
