"""Our POP3 clients meet Courier, and our maildrop shares a Maildir with it, without harm to each other."""

import contextlib
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mailproto.errors import AuthenticationError
from mailproto.ledger import MaildirStore, SQLiteLedger
from mailproto.maildrop import Maildir
from mailproto.pop3 import ResponseError
from mailproto.pop3.config import POP3ClientConfig
from mailproto.sync import TLSPolicy
from tests import data
from tests.interop.clients import files_in, on_the_wire
from tests.interop.courier import Courier
from tests.interop.dovecot import PASSWORD, Mailbox
from tests.interop.ours import ADAPTERS, Adapter, client

MAIL = [path.read_bytes() for path in data.MAIL.values()]
FETCHED = [on_the_wire(message) for message in MAIL]
UTF8 = data.MAIL["utf8"].read_bytes()
SECONDS = 60.0
NONE, REQUIRED = TLSPolicy.NONE, TLSPolicy.REQUIRED


@pytest.fixture(params=["ours", "theirs"])
def port(request: pytest.FixtureRequest, courier: Courier, ours: int) -> int:
    """The port of either POP3 server over the mailbox."""
    return ours if request.param == "ours" else courier.port


@pytest.fixture
def full_mailbox(mailbox: Mailbox) -> Mailbox:
    for number, message in enumerate(MAIL):
        put(mailbox, message, number)
    return mailbox


def put(mailbox: Mailbox, message: bytes, number: int) -> None:
    """Lay a message into the mailbox, with the line ends that Courier wants there."""
    mailbox.put(message.replace(b"\r\n", b"\n"), f"17000000{number:02}.M1P1.test")


def pop3(port: int, mailbox: Mailbox, tls: TLSPolicy = NONE, adapter: Adapter = "sync", **arguments: Any) -> Any:
    login = {"user": mailbox.name, "password": PASSWORD, "allow_plaintext_auth": tls is NONE}
    return client(adapter, "POP3Client", port, tls=tls, **{**login, **arguments})


def contents(port: int, mailbox: Mailbox) -> list[bytes]:
    """Return the messages as fetched, and see that their sizes were right."""
    with pop3(port, mailbox) as session:
        fetched = [(message.size, message.read()) for message in session.messages()]
    for size, content in fetched:
        assert size in (len(content), len(content) - 2), "a last line without an end may count as it is"
    return [content for _, content in fetched]


def wait_until_gone(mailbox: Mailbox, messages: Iterable[bytes]) -> None:
    """Wait until none of the messages is in the mailbox: Courier says good-bye first, and then deletes."""
    deleted = set(messages)
    give_up = time.monotonic() + SECONDS
    while time.monotonic() < give_up:
        with contextlib.suppress(FileNotFoundError):
            if not deleted.intersection(mailbox.messages()):
                return
        time.sleep(0.01)
    raise TimeoutError("Courier deletes nothing")


# Our client, their server.


@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelined", "in-steps"])
@pytest.mark.parametrize("tls", [NONE, REQUIRED])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_message_is_fetched(
    courier: Courier, full_mailbox: Mailbox, adapter: Adapter, tls: TLSPolicy, pipelining: bool
) -> None:
    with pop3(courier.port, full_mailbox, tls, adapter, config=POP3ClientConfig(pipelining=pipelining)) as session:
        assert (session.tls is not None) == (tls is not NONE)
        assert session.capabilities.pipelining and session.capabilities.uidl and session.capabilities.utf8_user
        assert session.capabilities.implementation == "Courier Mail Server"
        assert session.capabilities.login_delay == 10
        assert len({message.uid for message in session.listing()}) == len(MAIL)
        assert [message.read() for message in session.messages()] == FETCHED
        for number, message in enumerate(FETCHED, start=1):
            header, _, body = message.partition(b"\r\n\r\n")
            first = body.split(b"\r\n")[0] + b"\r\n" if body else b""
            assert session.top(number, 1) == header + b"\r\n\r\n" + first
    assert full_mailbox.messages() == MAIL


def test_a_message_in_utf8_wants_utf8_mode(courier: Courier, full_mailbox: Mailbox) -> None:
    with pop3(courier.port, full_mailbox) as session:
        assert session.conn.utf8_mode and session.retrieve(MAIL.index(UTF8) + 1) == UTF8
    with pop3(courier.port, full_mailbox, utf8=False) as session:
        surrogate = session.retrieve(MAIL.index(UTF8) + 1)
    assert surrogate.partition(b"\r\n\r\n")[0].isascii() and UTF8 in surrogate, "it comes as an attachment"


@pytest.mark.parametrize("by", [None, "PLAIN", "LOGIN", "USER"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_way_to_log_in(courier: Courier, full_mailbox: Mailbox, adapter: Adapter, by: str | None) -> None:
    how: dict[str, Any] = {"mechanisms": () if by == "USER" else by and (by,)}
    with pop3(courier.port, full_mailbox, REQUIRED, adapter, **how) as session:
        assert session.status().messages == len(MAIL)
        said = str(session.said)
    assert f"C: {by}" in said if by == "USER" else f"C: AUTH {by or 'PLAIN'}" in said


def test_a_wrong_password_is_refused(courier: Courier, mailbox: Mailbox) -> None:
    """Once: Courier takes five seconds for it."""
    with pytest.raises(AuthenticationError), pop3(courier.port, mailbox, REQUIRED, password="wrong"):
        pytest.fail("logged in")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_deletions_take_effect_at_quit_alone(courier: Courier, full_mailbox: Mailbox, adapter: Adapter) -> None:
    with pytest.raises(KeyError), pop3(courier.port, full_mailbox, NONE, adapter) as session:
        session.delete(1)
        raise KeyError
    with pop3(courier.port, full_mailbox, NONE, adapter) as session:
        session.delete(1)
        session.reset()
        for message in session.messages():
            if message.number in (2, 3):
                message.delete()
        assert full_mailbox.messages() == MAIL
    wait_until_gone(full_mailbox, MAIL[1:3])
    assert full_mailbox.messages() == MAIL[:1] + MAIL[3:]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_only_what_is_new_is_fetched(
    courier: Courier, full_mailbox: Mailbox, tmp_path: Path, adapter: Adapter
) -> None:
    store = MaildirStore(Maildir(tmp_path / "inbox"), full_mailbox.name)
    counts = []
    with SQLiteLedger(tmp_path / "ledger", full_mailbox.name) as ledger:
        for number in range(3):
            with pop3(courier.port, full_mailbox, NONE, adapter) as session:
                counts.append(len(session.fetch_new(ledger, store).fetched))
            put(full_mailbox, MAIL[0], 90 + number)
    assert counts == [len(MAIL), 1, 1]
    assert sorted(files_in(tmp_path / "inbox")) == sorted([*FETCHED, FETCHED[0], FETCHED[0]])


# One Maildir.


def test_what_either_delivers_both_serve(courier: Courier, mailbox: Mailbox, maildir: Maildir, ours: int) -> None:
    for message in MAIL:
        maildir.deliver([message])
        courier.deliver(mailbox, message)
    before = mailbox.messages()
    with pop3(ours, mailbox) as session:
        uids = [message.uid for message in session.listing()]
    assert sorted(contents(courier.port, mailbox)) == sorted([*FETCHED, *FETCHED])
    assert sorted(contents(ours, mailbox)) == sorted([*FETCHED, *FETCHED])
    with pop3(ours, mailbox) as session:
        assert [message.uid for message in session.listing()] == uids, "Courier has moved and flagged them meanwhile"
    assert mailbox.messages() == before


def test_either_deletes_for_both(courier: Courier, full_mailbox: Mailbox, ours: int, port: int) -> None:
    mailbox = full_mailbox
    assert contents(courier.port, mailbox) == FETCHED  # its list of sizes knows them all now
    with pop3(port, mailbox) as session:
        for message in session.messages():
            if message.number > 2:
                message.delete()
    wait_until_gone(mailbox, MAIL[2:])
    for other in (ours, courier.port):
        assert contents(other, mailbox) == FETCHED[:2]


def test_unique_ids_are_never_used_again(courier: Courier, mailbox: Mailbox, maildir: Maildir, port: int) -> None:
    seen: set[str] = set()
    for message in MAIL[:3]:
        maildir.deliver([message])
        courier.deliver(mailbox, message)
        with pop3(port, mailbox) as session:
            uids = {listed.uid for listed in session.listing()}
            assert len(uids) == 2 and not uids & seen
            seen |= uids
            session.delete(1)
            session.delete(2)
        wait_until_gone(mailbox, [message])


def test_either_session_goes_on_while_the_other_removes(
    courier: Courier, full_mailbox: Mailbox, ours: int, port: int
) -> None:
    mailbox = full_mailbox
    with pop3(port, mailbox) as session:
        assert session.retrieve(1) == FETCHED[0]
        with pop3(courier.port if port == ours else ours, mailbox) as other:
            other.delete(2)
        wait_until_gone(mailbox, MAIL[1:2])
        with pytest.raises(ResponseError):
            session.retrieve(2)
        assert session.retrieve(3) == FETCHED[2]
        session.delete(3)
    wait_until_gone(mailbox, MAIL[2:3])
    for either in (ours, courier.port):
        assert contents(either, mailbox) == [FETCHED[0], *FETCHED[3:]]


def test_all_at_once(courier: Courier, mailbox: Mailbox, maildir: Maildir, ours: int) -> None:
    """Both deliver while both fetch and delete: each message is fetched, no message is lost, none is torn."""
    mine, theirs = ([b"Subject: %s %d\r\n\r\nText.\r\n" % (who, n) for n in range(40)] for who in (b"we", b"they"))
    failures: list[BaseException] = []

    def attempt(deliver: Any, messages: list[bytes]) -> None:
        try:
            for message in messages:
                deliver(message)
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=attempt, args=(lambda message: maildir.deliver([message]), mine)),
        threading.Thread(target=attempt, args=(lambda message: courier.deliver(mailbox, message), theirs)),
    ]
    for thread in threads:
        thread.start()
    fetched: list[bytes] = []
    while any(thread.is_alive() for thread in threads) or mailbox.messages():
        for port in (ours, courier.port):
            with pop3(port, mailbox) as session:
                for message in session.messages():
                    fetched.append(message.read())
                    message.delete()
            wait_until_gone(mailbox, fetched)
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(fetched) == sorted([*mine, *theirs])
