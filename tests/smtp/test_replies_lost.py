"""S17: an accepted message whose client was not told comes again, and the application can know that."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from mailproto import Reject
from mailproto._core.spool import Spool
from mailproto.smtp import Delivery, Limits, MessageEnd, Reply, ReplyLost, SMTPServerConnection
from mailproto.smtp.flows.server import SMTPSession, serve
from tests.helpers import talk
from tests.smtp import ENVELOPE, MAIL, RCPT, deliver, greeted, in_data, in_transaction, server
from tests.smtp.pipes import Driver

BODY = b"x\r\n.\r\n"


def accepted(conn: SMTPServerConnection, data: bytes) -> None:
    """Have everything in ``data`` accepted, and nothing sent."""
    conn.receive_data(data)
    while conn.next_event() is not None:
        if conn.pending is not None:
            conn.accept()


def lost(conn: SMTPServerConnection) -> list[tuple[str, list[str]]]:
    return [(str(each.reply), [str(rcpt.address) for rcpt in each.recipients]) for each in conn.replies_lost]


ONE = ("250 2.0.0 Message accepted", ["bob@example.org"])


def test_an_answer_that_was_not_sent_is_lost_with_the_connection() -> None:
    conn = in_data()
    accepted(conn, BODY)
    assert not lost(conn), "it may still be sent"
    conn.lose_output()
    assert lost(conn) == [ONE]
    (found,) = conn.replies_lost
    assert isinstance(found, ReplyLost)
    assert str(found.mail.reverse_path) == "ada@example.org"
    assert conn.data_to_send(), "which nobody can send"
    conn.lose_output()
    assert lost(conn) == [ONE]


def test_one_that_was_sent_is_not() -> None:
    conn = in_data()
    accepted(conn, BODY)
    assert conn.data_to_send().startswith(b"250 ")
    conn.lose_output()
    assert conn.replies_lost == ()
    conn.data_to_send()
    conn.lose_output(partly=True)
    assert conn.replies_lost == ()


def test_one_whose_end_did_not_leave_is() -> None:
    conn = in_data()
    accepted(conn, BODY)
    conn.data_to_send()
    conn.lose_output(partly=True)
    assert lost(conn) == [ONE]


def test_where_nobody_can_tell_nothing_is_claimed() -> None:
    """Of all that left last an end is missing, and the answer is not at the end."""
    conn = in_data()
    accepted(conn, BODY + b"NOOP\r\n")
    conn.data_to_send()
    conn.lose_output(partly=True)
    assert conn.replies_lost == ()
    conn = in_data()
    accepted(conn, BODY)
    conn.data_to_send()
    assert conn.data_to_send() == b""
    conn.lose_output(partly=True)
    assert conn.replies_lost == (), "what left last was not this one"


def test_several_messages() -> None:
    conn = in_data()
    accepted(conn, BODY + ENVELOPE + BODY)
    conn.data_to_send()
    accepted(conn, ENVELOPE + BODY + ENVELOPE + BODY)
    conn.lose_output(partly=True)
    assert lost(conn) == [ONE] * 3


def test_one_that_is_accepted_when_all_is_lost() -> None:
    conn = in_data()
    conn.receive_data(BODY)
    while not isinstance(conn.pending, MessageEnd):
        assert conn.next_event() is not None
    conn.receive_eof()
    conn.lose_output()
    conn.accept("queued as 4711")
    conn.data_to_send()
    assert [each.reply.queue_id for each in conn.replies_lost] == ["4711"]


@pytest.mark.parametrize("code", [451, 421, 550])
def test_only_a_yes_can_be_lost(code: int) -> None:
    conn = in_data()
    conn.receive_data(BODY)
    while not isinstance(conn.pending, MessageEnd):
        assert conn.next_event() is not None
    conn.reject(code)
    conn.lose_output()
    assert conn.replies_lost == ()


@pytest.mark.parametrize("by_and_by", [False, True])
def test_in_lmtp_each_recipient_has_an_answer_to_lose(by_and_by: bool) -> None:
    conn = server(lmtp=True)
    talk(conn, [b"LHLO x\r\n", MAIL, b"RCPT TO:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\n", b"DATA\r\n"])
    conn.receive_data(BODY)
    while conn.next_event() is not None:
        if isinstance(conn.pending, MessageEnd) and by_and_by:
            conn.ask_each()
        elif isinstance(conn.pending, MessageEnd):
            conn.reply_each([Reply(250, "a"), Reply(450, "c"), Reply(250, "e")])
        elif isinstance(conn.pending, Delivery):
            local = conn.pending.recipient.address.local_part
            conn.reply(Reply(450 if local == "c" else 250, local))
    conn.lose_output()
    assert lost(conn) == [("250 a", ["a@b"]), ("250 e", ["e@f"])]


FAILURES = {
    "no SMTP": b"GET / HTTP/1.1\r\n",
    "data before a handshake": b"STARTTLS\r\nNOOP\r\n",
}


@pytest.mark.parametrize("what", FAILURES)
def test_a_failure_takes_no_answer_back(what: str) -> None:
    """What was answered before is true, and whoever spoilt the connection may hear it."""
    conn = in_data(starttls=True)
    accepted(conn, BODY + FAILURES[what])
    assert conn.closing
    assert conn.data_to_send() == b"250 2.0.0 Message accepted\r\n"


def test_a_message_that_is_refused_for_ever_takes_no_answer_back() -> None:
    conn = in_transaction(max_message_size=10, limits=Limits(max_excess=50))
    accepted(conn, b"BDAT 1 LAST\r\nx" + MAIL + RCPT + (b"BDAT 40\r\n" + b"x" * 40) * 2)
    assert conn.closing
    assert conn.data_to_send().startswith(b"250 2.0.0 Message accepted\r\n")


class Slow:
    """Takes messages, and remembers which of them its clients will send again."""

    def __init__(self) -> None:
        self.lost: tuple[ReplyLost, ...] | None = None

    def on_rcpt(self, session: SMTPSession, rcpt: Any) -> None:
        """Take it."""

    def on_message(self, session: SMTPSession, envelope: Any) -> str:
        if not bytes(envelope).startswith(b"x"):
            raise Reject(550)
        session.conn.lose_output()
        return "queued as 4711"

    def on_close(self, session: SMTPSession) -> None:
        self.lost = session.replies_lost


def test_hooks_learn_it_at_the_end() -> None:
    slow = Slow()
    conn = greeted()
    driver = Driver(conn, serve(SMTPSession(conn), slow))
    driver.go()
    driver.go(ENVELOPE)
    driver.go(BODY)
    assert slow.lost is None
    driver.go(None)
    assert slow.lost is not None
    assert [each.reply.text for each in slow.lost] == ["queued as 4711"]


def test_and_that_there_was_nothing_to_learn() -> None:
    slow = Slow()
    conn = greeted()
    driver = Driver(conn, serve(SMTPSession(conn), slow))
    driver.go()
    driver.go(ENVELOPE)
    driver.go(b"no\r\n.\r\n")
    driver.go(None)
    assert slow.lost == ()


def test_nothing_of_a_message_is_kept_for_it() -> None:
    """Its content is the application's to keep, or to forget."""
    contents: list[weakref.ref[Spool]] = []

    def policy(conn: Any, event: object) -> None:
        if isinstance(event, MessageEnd):
            event.envelope.content = Spool(10)
            contents.append(weakref.ref(event.envelope.content))
        conn.accept()

    conn = greeted()
    deliver(conn, BODY, policy)
    gc.collect()
    assert [content() for content in contents] == [None]
