"""UTF-8 mode and languages through both adapters, and as poplib asks for them."""

from __future__ import annotations

import asyncio
import poplib
from typing import Any

from mailproto import aio, sync
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
