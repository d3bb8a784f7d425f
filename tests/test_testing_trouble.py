"""The test kit for POP3, for asyncio, and for servers that make trouble."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mailproto import ConnectionClosedError, ConnectionTimeoutError, LocalProtocolError, Reject
from mailproto.ledger import SQLiteLedger
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost, Secret
from mailproto.pop3 import POP3ClientConfig, ResponseError
from mailproto.pop3.flows import KeepPolicy
from mailproto.smtp import DEFAULT_EXTENSIONS, Outcome, SMTPServerConfig, make_submission
from mailproto.testing import (
    AsyncMemoryClient,
    AsyncMemoryPOP3Client,
    MemoryClient,
    MemoryPOP3Client,
    NoAnswer,
    Outbox,
)

MESSAGES = [b"Subject: %d\r\n\r\n%s" % (size, b".123456\r\n" * size) for size in (1, 9_000, 2, 3)]
ADA: dict[str, Any] = {"user": "ada", "password": "open sesame"}


def host_with_mail() -> MailHost:
    host = MailHost(lambda _: MemoryMaildrop(), {"ada": "open sesame"}, login_delay=0)
    with MemoryClient(host) as client:
        for result in client.send_messages([make_submission(each, "a@b", "ada@b") for each in MESSAGES]):
            assert result.ok
    return host


@pytest.mark.parametrize("pipelining", [True, False])
def test_what_was_sent_can_be_fetched(pipelining: bool) -> None:
    host = host_with_mail()
    with MemoryPOP3Client(host, config=POP3ClientConfig(pipelining=pipelining), **ADA) as pop:
        assert pop.status().messages == len(MESSAGES)
        fetched = []
        for message in pop.messages():
            fetched.append(message.read())
            if message.number != 2:
                message.delete()
        assert fetched == MESSAGES
        assert pop.retrieve(2) == MESSAGES[1]
    with MemoryPOP3Client(host, **ADA) as pop:
        assert [listed.size for listed in pop.listing()] == [len(MESSAGES[1])]
        assert "sesame" not in str(pop.said)
        assert pop.said.lines[-1].startswith("S: ")


def test_fetch_and_keep_in_memory(tmp_path: Path) -> None:
    host = host_with_mail()
    stored: list[bytes] = []
    with SQLiteLedger(tmp_path / "seen", "ada") as ledger:
        for new in (4, 0):
            with MemoryPOP3Client(host, **ADA) as pop:
                report = pop.fetch_new(ledger, lambda _, pieces: stored.append(b"".join(pieces)), KeepPolicy())
            assert len(report.fetched) == new
    assert stored == MESSAGES


def test_both_over_asyncio_with_hooks_that_wait() -> None:
    class Waiting(Outbox):
        async def on_rcpt(self, session: Any, rcpt: Any) -> None:
            await asyncio.sleep(0)

        async def on_message(self, session: Any, envelope: Any) -> None:
            await asyncio.sleep(0)
            super().on_message(session, envelope)

    async def job() -> None:
        outbox = Waiting()
        async with AsyncMemoryClient(outbox) as client:
            assert (await client.send_message(MESSAGES[1], "a@b", "c@d")).ok
            with pytest.raises(LocalProtocolError, match="once"):
                await client.connect()
        assert [letter.content for letter in outbox.letters] == [MESSAGES[1]]
        async with AsyncMemoryPOP3Client(host_with_mail(), **ADA) as pop:
            assert [await message.read() async for message in pop.messages()] == MESSAGES
            with pytest.raises(ResponseError):
                await pop.retrieve(5)
            assert await pop.retrieve(1) == MESSAGES[0]

    asyncio.run(job())


def test_who_is_cancelled_over_asyncio_closes_and_the_server_hears_of_it() -> None:
    class Hanging(Outbox):
        closed = False

        async def on_rcpt(self, session: Any, rcpt: Any) -> None:
            await asyncio.sleep(3600)

        def on_close(self, session: Any) -> None:
            self.closed = True

    async def job() -> None:
        outbox = Hanging()
        client = AsyncMemoryClient(outbox)
        await client.connect()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await client.send_message(MESSAGES[0], "a@b", "c@d")
        with pytest.raises(ConnectionClosedError):
            await client.noop()
        await client.close()
        assert outbox.closed

    asyncio.run(job())


@pytest.mark.parametrize("cancelled", ["on_rcpt", "on_message"])
def test_what_a_cancelled_hook_was_asked_for_is_not_taken(cancelled: str) -> None:
    """Nor are the messages behind it."""
    asked: list[str] = []

    class Hanging(Outbox):
        async def on_rcpt(self, session: Any, rcpt: Any) -> None:
            await self.ask("on_rcpt")

        async def on_message(self, session: Any, envelope: Any) -> None:
            await self.ask("on_message")

        async def ask(self, hook: str) -> None:
            asked.append(hook)
            if hook == cancelled:
                await asyncio.sleep(3600)

    async def job() -> None:
        client = AsyncMemoryClient(Hanging())
        await client.connect()
        letter = make_submission(MESSAGES[0], "a@b", "c@d")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await client.send_messages([letter, letter])
        before = list(asked)
        async with asyncio.timeout(5):
            await client.close()
        assert asked == before

    asyncio.run(job())
    assert asked[-1] == cancelled


@pytest.mark.parametrize("hangs", [True, False])
def test_a_server_hears_of_the_end_what_is_true(hangs: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing was taken by a hook that was cancelled; and nothing is wrong when a client just closes."""
    heard: list[Any] = []

    class Listening(Outbox):
        async def on_message(self, session: Any, envelope: Any) -> None:
            await asyncio.sleep(3600 if hangs else 0)

        def on_close(self, session: Any) -> None:
            heard.append(session.replies_lost)

    async def job() -> None:
        client = AsyncMemoryClient(Listening())
        await client.connect()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01 if hangs else 5):
                assert (await client.send_message(MESSAGES[0], "a@b", "c@d")).ok
        await client.close()

    asyncio.run(job())
    assert heard == [()]
    assert caplog.records == []


class Troubled(Outbox):
    """Makes trouble in one of its hooks."""

    def __init__(self, hook: str, trouble: Any) -> None:
        super().__init__()
        self.closed = 0
        self._hook = hook
        self._trouble = trouble

    def on_connect(self, session: Any) -> None:
        self._at("on_connect", session)

    def on_rcpt(self, session: Any, rcpt: Any) -> None:
        self._at("on_rcpt", session)

    def on_message(self, session: Any, envelope: Any) -> None:
        self._at("on_message", session)
        super().on_message(session, envelope)

    def on_close(self, session: Any) -> None:
        self.closed += 1

    def _at(self, hook: str, session: Any) -> None:
        if hook == self._hook:
            self._trouble(session)


def never_answer(_: Any) -> None:
    raise NoAnswer


def refuse_for_good(_: Any) -> None:
    raise Reject(550)


def say_421(_: Any) -> None:
    raise Reject(421, "come later", "4.3.2")


def drop(session: Any) -> None:
    session.drop()


NO_CHUNKING = SMTPServerConfig(extensions=tuple(each for each in DEFAULT_EXTENSIONS if each.keyword != "CHUNKING"))


@pytest.mark.parametrize(
    ("hook", "trouble", "outcome", "error"),
    [
        ("on_rcpt", refuse_for_good, Outcome.REFUSED, None),
        ("on_rcpt", say_421, Outcome.DEFERRED, ConnectionClosedError),
        ("on_rcpt", drop, Outcome.DEFERRED, ConnectionClosedError),
        ("on_rcpt", never_answer, Outcome.DEFERRED, ConnectionTimeoutError),
        ("on_message", refuse_for_good, Outcome.REFUSED, None),
        ("on_message", say_421, Outcome.DEFERRED, None),
        ("on_message", drop, Outcome.UNKNOWN, ConnectionClosedError),
        ("on_message", never_answer, Outcome.UNKNOWN, ConnectionTimeoutError),
    ],
)
@pytest.mark.parametrize("over_asyncio", [False, True])
def test_what_becomes_of_a_message_in_trouble(
    hook: str, trouble: Any, outcome: Outcome, error: type[Exception] | None, over_asyncio: bool
) -> None:
    handler = Troubled(hook, trouble)
    arguments = (MESSAGES[0], "a@b", "c@d")

    async def job() -> Any:
        client = AsyncMemoryClient(handler, server=NO_CHUNKING)
        await client.connect()
        result = await client.send_message(*arguments)
        await client.close()
        return result

    if over_asyncio:
        result = asyncio.run(job())
    else:
        client = MemoryClient(handler, server=NO_CHUNKING)
        client.connect()
        result = client.send_message(*arguments)
        client.close()
    assert result.recipients[0].outcome is outcome
    assert type(result.error) is error if error is not None else result.error is None
    assert handler.closed == 1
    assert len(handler.letters) == (trouble is drop and hook == "on_message")  # which the client cannot know


@pytest.mark.parametrize(
    ("trouble", "error"), [(drop, ConnectionClosedError), (never_answer, ConnectionTimeoutError)]
)
def test_a_server_that_makes_trouble_at_once(trouble: Any, error: type[Exception]) -> None:
    handler = Troubled("on_connect", trouble)
    with pytest.raises(error), MemoryClient(handler):
        pytest.fail("came in")
    assert handler.closed == 1


class Broken(MailHost):
    """Breaks off in the middle."""

    def on_retrieve(self, session: Any, number: int) -> Any:
        if number == 3:
            session.drop()
        return super().on_retrieve(session, number)


class Mute(MailHost):
    """Says nothing to QUIT."""

    def on_commit(self, session: Any, deleted: Any) -> None:
        raise NoAnswer


@pytest.mark.parametrize(("kind", "error"), [(Broken, ConnectionClosedError), (Mute, ConnectionTimeoutError)])
def test_a_maildrop_in_trouble_keeps_its_mail(kind: type[MailHost], error: type[Exception]) -> None:
    drop = MemoryMaildrop()
    for content in MESSAGES:
        drop.deliver((content,))
    users: dict[str, Secret] = {"ada": "open sesame"}
    with pytest.raises(error), MemoryPOP3Client(kind(lambda _: drop, users), **ADA) as pop:
        for message in pop.messages():
            message.read()
            message.delete()
    with MemoryPOP3Client(MailHost(lambda _: drop, users), **ADA) as pop:  # and the lock is gone
        assert pop.status().messages == len(MESSAGES)


def test_an_interrupted_client_is_closed() -> None:
    def interrupt(_: Any) -> None:
        raise KeyboardInterrupt

    client = MemoryClient(Troubled("on_rcpt", interrupt))
    client.connect()
    with pytest.raises(KeyboardInterrupt) as caught:
        client.send_message(MESSAGES[0], "a@b", "c@d")
    with pytest.raises(ConnectionClosedError):
        client.noop()
    client.close()
    assert caught.tb is not None  # which has kept alive all that was under way
