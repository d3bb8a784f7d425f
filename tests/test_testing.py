"""The test kit: both machines in one process, and everything that a real pair would do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import pytest

from mailproto import AuthenticationError, GrammarError, LocalProtocolError, Reject
from mailproto.smtp import DEFAULT_EXTENSIONS, Limits, Outcome, SMTPClientConfig, SMTPServerConfig, make_submission
from mailproto.smtp.reply import ReplyError
from mailproto.testing import MemoryClient, Outbox

MESSAGE = b"Subject: x\r\n\r\n.a dot\r\n"


def test_what_is_sent_can_be_looked_at() -> None:
    outbox = Outbox()
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ada@example.org", "bob@example.org", "Grüße"
    message.set_content("Größe\n")
    with MemoryClient(outbox) as client:
        assert client.send_message(message).ok
        assert client.send_message(MESSAGE, "", ["x@y", "z@y"]).ok
    first, second = outbox.letters
    assert (first.sender, first.recipients) == ("ada@example.org", ["bob@example.org"])
    assert first.message["Subject"] == "Grüße"
    assert first.message.get_content() == "Größe\n"
    assert (second.sender, second.recipients, second.content) == (None, ["x@y", "z@y"], MESSAGE)
    assert second.envelope.mail.reverse_path is None
    assert "Größe" not in repr(first)
    assert client.said.lines[0] == "S: 220 localhost ESMTP"
    assert client.said.lines[-1] == "S: 221 2.0.0 Bye"


@pytest.mark.parametrize("keyword", ["PIPELINING", "CHUNKING", "neither"])
def test_many_and_large(keyword: str) -> None:
    outbox = Outbox()
    extensions = tuple(each for each in DEFAULT_EXTENSIONS if each.keyword != keyword)
    large = MESSAGE + b"x" * 70 + b"\r\n" + b"....\r\n" * 100_000
    with MemoryClient(outbox, server=SMTPServerConfig(extensions=extensions)) as client:
        results = client.send_messages([make_submission(body, "a@b", ["c@d"]) for body in (MESSAGE, large) * 5])
    assert all(result.ok for result in results)
    assert [letter.content for letter in outbox.letters] == [MESSAGE, large] * 5


class Guarded(Outbox):
    """Takes mail for one user, from who can log in."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def on_auth(self, session: Any, check: Any) -> bool:
        return bool(check.password == "open sesame")

    def on_rcpt(self, session: Any, rcpt: Any) -> None:
        if rcpt.address.local_part != "bob":
            raise Reject(550, "not here", "5.1.1")

    async def on_hello(self, session: Any, hello: Any) -> str:
        return "hello"

    def on_close(self, session: Any) -> None:
        self.calls.append("close")


def test_a_handler_of_one_s_own_is_told_what_a_client_would_tell_it() -> None:
    handler = Guarded()
    settings = SMTPServerConfig(require_auth=True, limits=Limits(auth_failure_delay=100.0))
    login: dict[str, Any] = {"user": "ada", "server": settings}
    with MemoryClient(handler, password="open sesame", **login) as client:
        result = client.send_message(MESSAGE, "a@b", ["bob@y", "eve@y"])
        assert [recipient.outcome for recipient in result.recipients] == [Outcome.ACCEPTED, Outcome.REFUSED]
        assert str(result.refused[0].reply) == "550 5.1.1 not here"
        assert client.noop().code == 250
    assert handler.calls == ["close"]
    assert "sesame" not in str(client.said)
    with pytest.raises(AuthenticationError), MemoryClient(handler, password="wrong", **login):
        pytest.fail("logged in")
    assert handler.calls == ["close"] * 2


@pytest.mark.parametrize("server", [None, SMTPServerConfig(require_auth=True)])
def test_a_login_needs_no_permission_where_nobody_can_listen(server: SMTPServerConfig | None) -> None:
    handler = Guarded()
    with MemoryClient(handler, server=server, user="ada", password="open sesame") as client:
        assert client.send_message(MESSAGE, "a@b", "bob@y").ok
    assert handler.letters[0].recipients == ["bob@y"]
    cautious = MemoryClient(handler, user="ada", password="open sesame", allow_plaintext_auth=False)
    with pytest.raises(AuthenticationError, match="without TLS"):
        cautious.connect()


def test_it_connects_first_and_once_as_real_ones_do() -> None:
    class Greeting(Outbox):
        greeted = 0

        def on_connect(self, _: Any) -> None:
            self.greeted += 1

    handler = Greeting()
    client = MemoryClient(handler)
    for operation in (client.noop, client.quit, lambda: client.send_message(MESSAGE, "a@b", "c@d")):
        with pytest.raises(LocalProtocolError, match="not connected"):
            operation()
    client.close()
    assert handler.greeted == 0
    with client:
        assert client.send_message(MESSAGE, "a@b", "c@d").ok
    with pytest.raises(LocalProtocolError, match="once"):
        client.connect()
    assert (handler.greeted, len(handler.letters)) == (1, 1)


def test_lmtp() -> None:
    outbox = Outbox()
    lmtp: dict[str, Any] = {"server": SMTPServerConfig(lmtp=True), "config": SMTPClientConfig(lmtp=True)}
    with MemoryClient(outbox, **lmtp) as client:
        assert client.send_message(MESSAGE, "a@b", ["c@d", "e@f"]).ok
    assert len(outbox.letters) == 1


def test_a_server_may_hold_back_its_greeting() -> None:
    """And nobody has to wait; nor does a server become impatient between two messages."""
    outbox = Outbox()
    config = SMTPServerConfig(greeting_delay=2.0, limits=Limits(command_timeout=5.0))
    with MemoryClient(outbox, server=config) as client:
        assert client.send_message(MESSAGE, "a@b", "c@d").ok
        assert client.send_message(MESSAGE, "a@b", "c@d").ok
    assert len(outbox.letters) == 2


def test_a_server_that_wants_nobody() -> None:
    class Closed(Outbox):
        def on_connect(self, session: Any) -> None:
            raise Reject(554, "closed")

    with pytest.raises(ReplyError, match="closed"), MemoryClient(Closed()):
        pytest.fail("came in")


def test_a_message_that_breaks_off_comes_nowhere() -> None:
    class Watching(Outbox):
        closed = False

        def on_close(self, session: Any) -> None:
            self.closed = True

    def broken() -> Iterator[bytes]:
        yield b"Subject: x\r\n"
        raise OverflowError

    outbox = Watching()
    with pytest.raises(OverflowError), MemoryClient(outbox) as client:
        client.send_message(broken(), "a@b", "c@d")
    assert outbox.letters == []
    assert outbox.closed
    with pytest.raises(GrammarError, match="canonicalise=True makes it so"), MemoryClient(Outbox()) as client:
        client.send_message(b"bare\nnewline", "a@b", "c@d")
    with pytest.raises(GrammarError, match=r"such as ada.*Ada <a@b>"), MemoryClient(Outbox()) as client:
        client.send_message(MESSAGE, "Ada <a@b>", "c@d")


def test_what_would_wait_is_told_so() -> None:
    class Slow(Outbox):
        async def on_connect(self, session: Any) -> None:
            await asyncio.sleep(1)

    with pytest.raises(ReplyError, match="451"), MemoryClient(Slow()):
        pytest.fail("came in")

    def handle(session: Any) -> None:
        """Nothing."""

    with pytest.raises(LocalProtocolError):
        MemoryClient(handle)
