"""Mail that comes to be relayed: from whom, what of it is kept, and that it is on disk before it is acknowledged."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mailproto import aio
from mailproto.address import POSTMASTER, Address
from mailproto.aio import TLSPolicy
from mailproto.errors import GrammarError
from mailproto.relay import Entry, Pending, Queue, RelayHandler
from mailproto.sasl import PasswordCheck
from mailproto.smtp import (
    ALL_EXTENSIONS,
    Body,
    Envelope,
    HoldFor,
    MailParameters,
    Notify,
    OriginalRecipient,
    RcptParameters,
    Ret,
    SendResult,
    SMTPServerConfig,
    with_extensions,
)
from mailproto.smtp.extensions import future_release
from mailproto.smtp.fixups import complete_header
from mailproto.testing import MemoryClient
from tests.relay import ADA, BOB, CAROL, MESSAGE, content_of

ROOT = Address("root", "example.org")
NO_NOTICE = RcptParameters(frozenset({Notify.NEVER}))
WITHOUT_AUTH: dict[str, Any] = {}
AS_ADA: dict[str, Any] = {"user": "ada", "password": "analytical", "allow_plaintext_auth": True}


class Submission(RelayHandler):
    """A relay that knows Ada."""

    def on_auth(self, _: Any, check: PasswordCheck) -> bool:
        return check.matches("analytical" if check.username == "ada" else None)


def submit(
    queue: Queue,
    *recipients: Any,
    login: dict[str, Any],
    message: bytes = MESSAGE,
    trusted: tuple[str, ...] = (),
    **more: Any,
) -> tuple[SendResult, list[str]]:
    """Send a message to a relay, and return what it says, and the names that it calls out."""
    names: list[str] = []
    config = SMTPServerConfig(hostname="relay.example.org", allow_plaintext_auth=True, extensions=ALL_EXTENSIONS)
    config = with_extensions(config, future_release(3600, lambda: datetime(2099, 1, 1, tzinfo=UTC)))

    async def talk() -> SendResult:
        handler = Submission(queue, postmaster=ROOT, trusted=trusted, queued=names.append)
        async with (
            aio.SMTPServer(aio.InThreads(handler, "on_message"), port=0, config=config) as server,
            aio.SMTPClient(
                "127.0.0.1", server.port, tls=TLSPolicy.NONE, local_name="client.example", **login
            ) as client,
        ):
            return await client.send_message(message, ADA, recipients, **more)

    return asyncio.run(talk()), names


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "queue")


def entries(queue: Queue) -> list[Entry]:
    return [entry for name in queue.names() if (entry := queue.load(name)) is not None]


def test_it_is_no_open_relay(queue: Queue) -> None:
    """S55."""
    result, names = submit(queue, BOB, CAROL, login=WITHOUT_AUTH)
    assert [str(each.reply) for each in result.refused] == ["550 5.7.1 Relaying denied"] * 2
    assert names == queue.names() == []


@pytest.mark.parametrize(
    ("login", "trusted", "taken"),
    [
        (AS_ADA, (), True),
        (WITHOUT_AUTH, ("127.0.0.0/8",), True),
        (WITHOUT_AUTH, ("192.0.2.0/24", "unix", "::1"), False),
    ],
)
def test_who_may_send(queue: Queue, login: dict[str, Any], trusted: tuple[str, ...], taken: bool) -> None:
    result, _ = submit(queue, BOB, login=login, trusted=trusted)
    assert result.ok == taken == bool(queue.names())


def test_a_full_disk_is_told_of_in_one_line(queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    """Its client tries again later, and the log, which may be on the same disk, has no traceback for each message."""

    class Full(Queue):
        def add(self, *_: object) -> None:
            raise OSError(errno.ENOSPC, "no room")

    result, names = submit(Full(queue.path), BOB, login=AS_ADA)
    assert ([str(each.reply) for each in result.deferred], names) == (["452 4.3.1 Insufficient system storage"], [])
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage() == "a message from 127.0.0.1 cannot be queued: [Errno 28] no room"
    assert record.exc_info is None


def test_trust_is_spelt_out(queue: Queue) -> None:
    with pytest.raises(GrammarError):
        RelayHandler(queue, postmaster=ROOT, trusted=["everybody"])


def test_the_postmaster_is_there_for_everybody(queue: Queue) -> None:
    """RFC 5321 section 4.5.1."""
    result, _ = submit(queue, POSTMASTER, BOB, login=WITHOUT_AUTH)
    assert [each.outcome.value for each in result.recipients] == ["accepted", "refused"]
    (entry,) = entries(queue)
    assert entry.recipients == (Pending(ROOT, NO_NOTICE),)


def test_who_writes_to_the_postmaster_under_a_forged_name_gets_nobody_a_notice(queue: Queue) -> None:
    """S72: neither of success nor of failure, by this host or by the next one. A client that is known gets it."""
    wanted = RcptParameters(frozenset({Notify.SUCCESS, Notify.FAILURE}), OriginalRecipient("rfc822", "x@example.net"))
    for login in (WITHOUT_AUTH, AS_ADA):
        result, _ = submit(queue, (POSTMASTER, wanted), login=login)
        assert result.ok
    assert [entry.recipients for entry in entries(queue)] == [(Pending(ROOT, NO_NOTICE),), (Pending(ROOT, wanted),)]


@pytest.mark.parametrize("login", [WITHOUT_AUTH, AS_ADA])
def test_who_answers_a_notice_reaches_the_postmaster(queue: Queue, login: dict[str, Any]) -> None:
    """Notices are from him at the name of the host, to which no MX record leads from here."""
    him, other = Address("Postmaster", "Relay.example.org"), Address("postmaster", "example.net")
    result, _ = submit(queue, him, other, login=login)
    assert [each.outcome.value for each in result.recipients] == ["accepted", "accepted" if login else "refused"]
    (entry,) = entries(queue)
    assert entry.recipients == ((Pending(ROOT), Pending(other)) if login else (Pending(ROOT, NO_NOTICE),))


def test_what_is_taken_is_acknowledged_though_nobody_can_be_told(
    queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    def queued(_: str) -> None:
        raise RuntimeError("the relay is gone")

    with MemoryClient(RelayHandler(queue, postmaster=ROOT, queued=queued)) as client:
        assert client.send_message(MESSAGE, ADA, ["postmaster@localhost"]).ok
    (name,) = queue.names()
    assert caplog.messages == [f"{name} was taken, and telling so failed"]


def test_what_is_kept(queue: Queue) -> None:
    notify = RcptParameters(frozenset({Notify.DELAY}), OriginalRecipient("rfc822", "Bob@Example.NET"))
    wanted = MailParameters(ret=Ret.FULL, envid="QQ314159")
    result, names = submit(queue, (BOB, notify), CAROL, login=AS_ADA, parameters=wanted)
    (entry,) = entries(queue)
    assert names == [entry.name]
    assert result.queue_id == entry.name
    assert (entry.reverse_path, entry.parameters) == (ADA, wanted)
    assert entry.recipients == (Pending(BOB, notify), Pending(CAROL))
    assert entry.arrival == entry.due
    content = content_of(queue, entry.name)
    head = f"Received: from client.example ([127.0.0.1])\r\n\tby relay.example.org with ESMTPA id {entry.name};\r\n\t"
    assert content.startswith(head.encode())
    assert content.endswith(b"\r\n" + MESSAGE)
    assert b"for <" not in content


def test_the_only_recipient_stands_in_the_trace(queue: Queue) -> None:
    submit(queue, BOB, BOB, login=AS_ADA)
    (entry,) = entries(queue)
    assert entry.recipients == (Pending(BOB),)
    assert b"\r\n\tfor <bob@example.net>;" in content_of(queue, entry.name)


def test_eight_bits_are_seen_whatever_the_client_says(queue: Queue) -> None:
    submit(queue, BOB, login=AS_ADA, message=b"\xe4\r\n")
    submit(queue, BOB, login=AS_ADA, message=MESSAGE, parameters=MailParameters(body=Body.EIGHT_BIT_MIME))
    assert [entry.parameters.body for entry in entries(queue)] == [Body.EIGHT_BIT_MIME, None]


def test_utf8_is_kept(queue: Queue) -> None:
    utf8 = Address("jörg", "example.net")
    submit(queue, utf8, login=AS_ADA)
    (entry,) = entries(queue)
    assert entry.parameters.smtputf8
    assert "for <jörg@example.net>".encode() in content_of(queue, entry.name)


@pytest.mark.parametrize(
    "parameters",
    [
        MailParameters(body=Body.BINARY_MIME),
        MailParameters(mt_priority=3),
        MailParameters(hold=HoldFor(60)),
        MailParameters(solicit=("org.example:ADV",)),
    ],
)
def test_a_promise_that_the_relay_would_forget(queue: Queue, parameters: MailParameters) -> None:
    """Whatever the server's config offers."""
    result, _ = submit(queue, BOB, login=AS_ADA, parameters=parameters)
    assert [str(each.reply)[:9] for each in result.refused] == ["555 5.5.4"]
    assert queue.names() == []


def test_a_submission_server_may_mend_what_it_takes(queue: Queue) -> None:
    """RFC 6409 section 8; a relay may not."""

    class Mending(RelayHandler):
        def content(self, _: Any, envelope: Envelope, name: str, /) -> Iterable[bytes]:
            return complete_header(envelope, message_id=f"{name}@example.org")

    for handler in (Mending, RelayHandler):
        with MemoryClient(handler(queue, postmaster=ROOT)) as client:
            client.send_message(MESSAGE, ADA, ["postmaster@localhost"])
    mended, as_it_came = entries(queue)
    added = f"Message-ID: <{mended.name}@example.org>\r\n".encode()
    assert content_of(queue, mended.name).endswith(b"\r\n" + added + MESSAGE)
    assert mended.size == len(content_of(queue, mended.name))
    assert b"Message-ID" not in content_of(queue, as_it_came.name)
