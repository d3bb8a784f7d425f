"""A refusal that is made once and raised for every client keeps none of them in memory."""

from __future__ import annotations

import gc
import logging
import weakref
from typing import Any

import pytest

from mailproto import Reject
from mailproto._flows import auth, hooks
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import NOT_LOCAL, MailHost
from mailproto.pop3 import POP3ServerConfig, POP3ServerConnection
from mailproto.pop3.flows import POP3Session
from mailproto.pop3.flows import serve as serve_pop3
from mailproto.smtp.flows.server import SMTPSession, serve
from tests.smtp import server
from tests.smtp.pipes import Driver

DENIED = Reject(554, "not today", "5.7.1")
OURS = [DENIED, NOT_LOCAL, hooks.INTERNAL_ERROR, auth.MALFORMED, auth.NOT_KNOWN, auth.NO_INITIAL_RESPONSE]


class Denying:
    """Refuses by one and the same exception, or fails."""

    def __init__(self, where: str) -> None:
        self._where = where

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("on_") or name == "on_scram_key":
            raise AttributeError(name)

        def hook(session: Any, *_: object) -> Any:
            if name == self._where:
                raise DENIED
            if self._where == f"{name} fails":
                raise ValueError(name)
            return name == "on_auth" or None

        return hook


TALK = (
    b"EHLO x\r\n",
    b"AUTH XYZZY\r\nAUTH PLAIN !\r\nAUTH PLAIN eA==\r\nAUTH PLAIN AGEAYg==\r\nVRFY x\r\nEXPN x\r\n",
    b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
    b"Subject: x\r\n\r\nx\r\n.\r\n",
    b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRSET\r\n",
    None,
)
WHERE = ("on_connect", "on_hello", "on_auth", "on_mail", "on_rcpt", "on_data", "on_chunk", "on_message")


@pytest.fixture(autouse=True)
def _no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pytest keep no records of the log, which remember where the exceptions in them were raised."""
    monkeypatch.setattr(logging.getLogger("mailproto"), "disabled", True)


@pytest.fixture(autouse=True)
def _nothing_before() -> None:
    """Have forgotten what other tests were refused without anybody to deal with it."""
    for refusal in OURS:
        hooks.forget(refusal)


def remembered() -> list[Reject]:
    return [
        refusal
        for refusal in OURS
        if refusal.__traceback__ is not None or refusal.__context__ is not None or refusal.__cause__ is not None
    ]


@pytest.mark.parametrize("where", [*WHERE, *(f"{name} fails" for name in WHERE), "on_reset", "on_close", "on_vrfy"])
def test_no_session_is_remembered(where: str) -> None:
    conn = server(allow_plaintext_auth=True, auth_mechanisms=("PLAIN",))
    session = SMTPSession(conn)
    watched = weakref.ref(session)
    driver = Driver(conn, serve(session, Denying(where)))
    driver.go()
    for said in TALK:
        driver.go(said)
    assert driver.done
    assert remembered() == []
    del conn, session, driver
    gc.collect()
    assert watched() is None


def test_nobody_who_tried_to_relay_is_remembered() -> None:
    host = MailHost(lambda _: MemoryMaildrop(), {"ada": "x"}, ["example.org"])
    for lmtp in (False, True):
        conn = server(lmtp=lmtp)
        driver = Driver(conn, serve(SMTPSession(conn), host))
        driver.go()
        driver.go(b"LHLO x\r\n" if lmtp else b"EHLO x\r\n")
        said = driver.go(b"MAIL FROM:<a@b>\r\n" + b"RCPT TO:<eve@example.net>\r\n" * 5)
        assert said.count(b"Relaying denied") == 5
        assert remembered() == []


@pytest.mark.parametrize("where", ["on_connect", "on_auth", "on_login", "on_retrieve", "on_commit", "on_close"])
@pytest.mark.parametrize("how", ["", " fails"])
def test_no_session_of_pop3_is_remembered(where: str, how: str) -> None:
    class Host(MailHost):
        def __getattribute__(self, name: str) -> Any:
            if name == where:
                return getattr(Denying(where + how), name)
            return super().__getattribute__(name)

    drop = MemoryMaildrop()
    drop.deliver([b"Subject: x\r\n\r\nx\r\n"])
    host = Host(lambda _: drop, {"ada": "x"})
    conn = POP3ServerConnection(POP3ServerConfig(allow_plaintext_auth=True))
    driver = Driver(conn, serve_pop3(POP3Session(conn), host))
    driver.go()
    for said in (b"USER ada\r\nPASS x\r\n", b"RETR 1\r\nDELE 1\r\n", b"QUIT\r\n", None):
        driver.go(said)
    assert driver.done
    assert remembered() == []


def test_content_that_breaks_off_is_not_remembered() -> None:
    def pieces() -> Any:
        yield b"Subject: x\r\n"
        raise DENIED

    class Host(MailHost):
        def on_retrieve(self, session: Any, number: int) -> Any:
            return pieces()

    drop = MemoryMaildrop()
    drop.deliver([b"Subject: x\r\n\r\nx\r\n"])
    conn = POP3ServerConnection(POP3ServerConfig(allow_plaintext_auth=True))
    driver = Driver(conn, serve_pop3(POP3Session(conn), Host(lambda _: drop, {"ada": "x"})))
    driver.go()
    for said in (b"USER ada\r\nPASS x\r\n", b"RETR 1\r\n", None):
        driver.go(said)
    assert driver.done
    assert remembered() == []
