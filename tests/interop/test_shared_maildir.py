"""One Maildir, in which Dovecot and mailproto deliver, serve and delete, without harm to each other."""

import threading
from contextlib import closing
from typing import Any

import pytest

from mailproto.errors import AuthenticationError
from mailproto.maildrop import Maildir
from mailproto.pop3 import ResponseError
from mailproto.smtp.config import SMTPClientConfig
from mailproto.sync import TLSPolicy
from tests import data
from tests.interop.clients import on_the_wire
from tests.interop.dovecot import PASSWORD, Dovecot, Mailbox
from tests.interop.ours import client

MAIL = [path.read_bytes() for path in data.MAIL.values()]
FETCHED = [on_the_wire(message) for message in MAIL]


@pytest.fixture(params=["ours", "theirs"])
def port(request: pytest.FixtureRequest, dovecot: Dovecot, ours: int) -> int:
    """The port of either POP3 server over the mailbox."""
    return ours if request.param == "ours" else dovecot.pop3_port


def pop3(port: int, mailbox: Mailbox) -> Any:
    login = {"user": mailbox.name, "password": PASSWORD, "allow_plaintext_auth": True}
    return client("sync", "POP3Client", port, tls=TLSPolicy.NONE, **login)


def deliver_by_lmtp(dovecot: Dovecot, mailbox: Mailbox, *messages: bytes) -> None:
    lmtp = SMTPClientConfig(lmtp=True)
    with client("sync", "SMTPClient", dovecot.lmtp_port, tls=TLSPolicy.NONE, config=lmtp) as sender:
        for message in messages:
            sender.send_message(message, "someone@example.test", mailbox.address).raise_for_refused()


def fetch_all(port: int, mailbox: Mailbox) -> dict[str, tuple[int, bytes]]:
    """Return size and content of every message, by its unique-id."""
    with pop3(port, mailbox) as session:
        return {message.uid: (message.size, message.read()) for message in session.messages()}


def complaints(dovecot: Dovecot) -> list[str]:
    return [
        line for line in dovecot.log().splitlines() if any(word in line for word in ("Error:", "Panic:", "Fatal:"))
    ]


def test_what_we_deliver_both_serve(dovecot: Dovecot, mailbox: Mailbox, maildir: Maildir, ours: int) -> None:
    before = complaints(dovecot)
    uids = [maildir.deliver([message]) for message in MAIL]
    theirs = fetch_all(dovecot.pop3_port, mailbox)
    assert [content for _, content in theirs.values()] == FETCHED
    assert fetch_all(ours, mailbox) == theirs, "the sizes and unique-ids are the same"
    assert list(theirs) == uids
    assert complaints(dovecot) == before


def test_what_dovecot_delivers_both_serve(dovecot: Dovecot, mailbox: Mailbox, maildir: Maildir, ours: int) -> None:
    before = complaints(dovecot)
    deliver_by_lmtp(dovecot, mailbox, *MAIL)
    first = fetch_all(ours, mailbox)
    contents = [content for _, content in first.values()]
    assert all(content.endswith(message) for content, message in zip(contents, FETCHED, strict=True))
    assert all(size == len(content) for size, content in first.values())
    assert fetch_all(dovecot.pop3_port, mailbox) == first
    assert fetch_all(ours, mailbox) == first, "Dovecot has moved and flagged them, and they are the same"
    assert complaints(dovecot) == before


def test_either_deletes_for_both(dovecot: Dovecot, mailbox: Mailbox, maildir: Maildir, ours: int, port: int) -> None:
    before = complaints(dovecot)
    for message in MAIL:
        maildir.deliver([message])
    fetch_all(dovecot.pop3_port, mailbox)  # its index knows them all now
    with pop3(port, mailbox) as session:
        for message in session.messages():
            if message.number > 2:
                message.delete()
    for other in (ours, dovecot.pop3_port):
        assert [content for _, content in fetch_all(other, mailbox).values()] == FETCHED[:2]
    assert complaints(dovecot) == before


def test_unique_ids_are_never_used_again(dovecot: Dovecot, mailbox: Mailbox, maildir: Maildir, port: int) -> None:
    seen: set[str] = set()
    for message in MAIL[:3]:
        maildir.deliver([message])
        deliver_by_lmtp(dovecot, mailbox, message)
        uids = fetch_all(port, mailbox).keys()
        assert len(uids) == 2 and not uids & seen
        seen |= uids
        with pop3(port, mailbox) as session:
            session.delete(1)
            session.delete(2)


def test_our_session_goes_on_while_dovecot_moves_and_removes(
    dovecot: Dovecot, mailbox: Mailbox, maildir: Maildir, ours: int
) -> None:
    for message in MAIL:
        maildir.deliver([message])
    with pop3(ours, mailbox) as session:
        fetch_all(dovecot.pop3_port, mailbox)  # moves them from new to cur, and flags them as seen
        assert session.retrieve(1) == FETCHED[0]
        with pop3(dovecot.pop3_port, mailbox) as other:
            other.delete(2)
        with pytest.raises(ResponseError, match="no longer in the maildrop"):
            session.retrieve(2)
        assert session.retrieve(3) == FETCHED[2]
        session.delete(2)
        session.delete(3)
    rest = [FETCHED[0], *FETCHED[3:]]
    for port in (ours, dovecot.pop3_port):
        assert [content for _, content in fetch_all(port, mailbox).values()] == rest


def test_dovecots_session_goes_on_while_we_remove(
    dovecot: Dovecot, mailbox: Mailbox, maildir: Maildir, ours: int
) -> None:
    before = complaints(dovecot)
    for message in MAIL:
        maildir.deliver([message])
    with pop3(dovecot.pop3_port, mailbox) as session:
        session.noop()  # Dovecot says that we are logged in before it has looked into the mailbox
        with pop3(ours, mailbox) as other:
            other.delete(1)
        assert session.retrieve(2) == FETCHED[1]
        session.delete(1)
        session.delete(2)
    assert [content for _, content in fetch_all(dovecot.pop3_port, mailbox).values()] == FETCHED[2:]
    assert [line for line in complaints(dovecot) if "Panic" in line] == [line for line in before if "Panic" in line]


def test_all_at_once(dovecot: Dovecot, mailbox: Mailbox, maildir: Maildir, ours: int) -> None:
    """Both deliver while both fetch and delete: each message is fetched, no message is lost, none is torn."""
    wanted = {b"Subject: %s %d\r\n\r\nText.\r\n" % (who, n) for who in (b"we", b"they") for n in range(60)}
    mine, theirs = (sorted(message for message in wanted if who in message) for who in (b"we", b"they"))
    failures: list[BaseException] = []

    def deliver_mine() -> None:
        for message in mine:
            maildir.deliver([message])

    def attempt(work: Any, *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=attempt, args=(deliver_mine,)),
        threading.Thread(target=attempt, args=(deliver_by_lmtp, dovecot, mailbox, *theirs)),
    ]
    for thread in threads:
        thread.start()
    fetched: list[bytes] = []
    while any(thread.is_alive() for thread in threads) or mailbox.messages():
        for port in (ours, dovecot.pop3_port):
            with pop3(port, mailbox) as session:
                for message in session.messages():
                    fetched.append(message.read())
                    message.delete()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(fetched) == len(wanted)
    assert all(sum(content.endswith(message) for content in fetched) == 1 for message in wanted)


def test_two_sessions_of_ours_exclude_each_other(mailbox: Mailbox, maildir: Maildir, ours: int) -> None:
    maildir.deliver([MAIL[0]])
    with closing(maildir.open()), pytest.raises(AuthenticationError, match="IN-USE"), pop3(ours, mailbox):
        pytest.fail("two sessions have the maildrop open")
    assert len(fetch_all(ours, mailbox)) == 1
