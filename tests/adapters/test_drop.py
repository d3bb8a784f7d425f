"""A server that drops its client in the middle of a hook, over either adapter: not a word more, and no mistake."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mailproto import TLSPolicy
from mailproto.errors import ConnectionClosedError
from mailproto.maildrop.memory import MemoryMaildrop
from mailproto.pop3 import POP3ServerConfig
from mailproto.sasl import make_scram_key
from mailproto.smtp import Outcome, SMTPServerConfig
from tests.adapters.facades import AioFront, SyncFront
from tests.adapters.harness import PATIENCE

Front = AioFront | SyncFront
MESSAGE = b"Subject: x\r\n\r\nx\r\n"
SMTP_HOOKS = ["on_connect", "on_hello", "on_auth", "on_scram_key", "on_mail", "on_rcpt", "on_chunk", "on_message"]
POP3_HOOKS = ["on_connect", "on_auth", "on_scram_key", "on_login", "on_retrieve", "on_commit"]
CLEAR: dict[str, Any] = {"allow_plaintext_auth": True}


class Dropping:
    """A handler of both protocols, which drops the client in one of its hooks, and says yes to all."""

    def __init__(self, dropping: str) -> None:
        self.heard: list[str] = []
        self.closed = threading.Event()
        self._dropping = dropping

    def __getattr__(self, name: str) -> Any:
        if name == "on_chunk" and self._dropping != name:
            raise AttributeError(name)
        if name in SMTP_HOOKS + POP3_HOOKS:
            return lambda session, *arguments: self._hook(name, session, *arguments)
        raise AttributeError(name)

    def _hook(self, name: str, session: Any, *arguments: Any) -> Any:
        self.heard.append(name)
        if name == self._dropping:
            session.drop()
        if name == "on_login":
            drop = MemoryMaildrop()
            drop.deliver((MESSAGE,))
            return drop.open()
        return {"on_auth": True, "on_scram_key": make_scram_key("pw"), "on_retrieve": MESSAGE}.get(name)

    def on_close(self, _: Any) -> None:
        self.closed.set()


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Have nothing logged as an error."""
    yield
    assert [record.message for record in caplog.get_records("call") if record.levelno >= logging.ERROR] == []


def login(hook: str) -> dict[str, Any]:
    """Return how a client logs in, so that the hook is called."""
    mechanism = "SCRAM-SHA-256" if hook == "on_scram_key" else "PLAIN"
    return {"user": "ada", "password": "pw", "mechanisms": [mechanism], "tls": TLSPolicy.NONE, **CLEAR}


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("hook", SMTP_HOOKS)
def test_an_smtp_client_is_dropped_in_any_hook(front: Front, hook: str) -> None:
    handler = Dropping(hook)
    with front.SMTPServer(handler, port=0, config=SMTPServerConfig(**CLEAR)) as server:
        client = front.SMTPClient("127.0.0.1", server.port, **login(hook))
        if SMTP_HOOKS.index(hook) < SMTP_HOOKS.index("on_mail"):
            with pytest.raises(ConnectionClosedError):
                client.connect()
        else:
            client.connect()
            (result,) = client.send_message(MESSAGE, "a@b", "c@d").recipients
            assert (result.outcome, result.reply) == (Outcome.UNKNOWN, None)  # all of it was in one flight
            client.close()
        assert handler.closed.wait(PATIENCE)
    assert handler.heard[-1] == hook


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("hook", POP3_HOOKS)
def test_a_pop3_client_is_dropped_in_any_hook(front: Front, hook: str) -> None:
    handler = Dropping(hook)
    with front.POP3Server(handler, port=0, config=POP3ServerConfig(**CLEAR)) as server:
        client = front.POP3Client("127.0.0.1", server.port, **login(hook))
        with pytest.raises(ConnectionClosedError), client:
            assert client.retrieve(1) == MESSAGE
            client.delete(1)
        assert handler.closed.wait(PATIENCE)
    assert handler.heard[-1] == hook
