"""What one client may cost a server, each count at its border; and the peer that does not read."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from mailproto.smtp import ConnectionClosed, Limits, Rcpt, ServerState
from tests.helpers import talk
from tests.smtp import ENVELOPE, MAIL, RCPT, client, deliver, greeted, in_transaction, server


def test_errors() -> None:
    """S27: so many commands in error, then 421."""
    conn = server(limits=Limits(max_errors=3))
    result = talk(conn, [b"XYZZY\r\n" * 3])
    assert result.replies == [b"220", b"500", b"500", b"500"]
    assert not conn.closing
    result = talk(conn, [b"NOOP\r\nMAIL FROM:<\r\nNOOP\r\n"])
    assert result.replies == [b"250", b"421"]
    assert result.output.endswith(b"421 4.7.0 Too many errors, good-bye\r\n")
    assert result.events[-1] == ConnectionClosed(False, "too many errors")


def test_errors_of_every_kind_count() -> None:
    lines = [
        b"XYZZY\r\n",
        b"\0\r\n",
        b"MAIL FROM:<\r\n",
        b"RCPT TO:<a@b>\r\n",
        b"AUTH PLAIN\r\n",
        b"STARTTLS\r\n",
        b"x" * 5000 + b"\r\n",
        b"DATA x\r\n",
        b"EHLO\r\n",
        b"MAIL FROM:<a@b> X=1\r\n",
        b"\r\n",
    ]
    for line in lines:
        conn = greeted(limits=Limits(max_errors=2))
        result = talk(conn, [line * 3])
        assert result.replies[-1] == b"421", line
        assert len(result.replies) == 3


def test_refusals_of_the_application_do_not_count() -> None:
    conn = greeted(limits=Limits(max_errors=2))
    talk(conn, [MAIL])
    result = talk(conn, [RCPT * 50], lambda conn, _: conn.reject())
    assert result.replies == [b"550"] * 50


def by_name(conn: Any, event: Any) -> None:
    """Take the recipients whose names say that they are good, and what else there is."""
    if isinstance(event, Rcpt) and event.address.local_part != "good":
        conn.reject(450 if event.address.local_part == "later" else 550)
    else:
        conn.accept()


GOOD, BAD, LATER = (b"RCPT TO:<%s@x>\r\n" % name for name in (b"good", b"bad", b"later"))


def test_who_guesses_addresses_is_hung_up_on() -> None:
    """S27: a dictionary is made of nothing but recipients that there are not; the words of a list are not."""
    conn = greeted(limits=Limits(max_refused_recipients=3))
    result = talk(conn, [MAIL + BAD * 2 + b"RSET\r\n" + MAIL + BAD * 3], by_name)
    assert result.replies == [b"250", b"550", b"550", b"250", b"250", b"550", b"421"]
    assert result.output.endswith(b"421 4.7.0 Too many recipients refused, good-bye\r\n")
    assert conn.closing


def test_recipients_that_get_their_mail_make_up_for_others_that_left() -> None:
    """An honest list, however long: in one transaction, and in one for each member."""
    limits = Limits(max_refused_recipients=3)
    conn = greeted(limits=limits)
    result = talk(conn, [MAIL + (GOOD + BAD) * 50], by_name)
    assert result.replies == [b"250"] + [b"250", b"550"] * 50
    conn = greeted(limits=limits)
    for _ in range(50):
        assert talk(conn, [MAIL + BAD + b"RSET\r\n"], by_name).replies == [b"250", b"550", b"250"]
        assert talk(conn, [MAIL + GOOD + b"DATA\r\n.\r\n"], by_name).replies[-1] == b"250"


def test_a_recipient_that_is_only_named_makes_up_for_none() -> None:
    conn = greeted(limits=Limits(max_refused_recipients=3))
    result = talk(conn, [(MAIL + GOOD + BAD + b"RSET\r\n") * 5], by_name)
    assert result.replies == [b"250", b"250", b"550", b"250"] * 4 + [b"250", b"250", b"421"]


def test_a_recipient_that_may_come_again_is_none_that_there_is_not() -> None:
    """Who defers strangers at first (RFC 6647) tells nobody whom there is."""
    conn = greeted(limits=Limits(max_refused_recipients=3))
    result = talk(conn, [MAIL + LATER * 50], by_name)
    assert result.replies == [b"250"] + [b"450"] * 50


@pytest.mark.parametrize(
    "line", [b"NOOP\r\n", b"RSET\r\n", b"VRFY x\r\n", b"EXPN x\r\n", b"HELP\r\n", b"EHLO x\r\n", b"HELO x\r\n"]
)
def test_commands_that_lead_nowhere(line: bytes) -> None:
    """S27: NOOP for ever is no session."""
    conn = server(limits=Limits(max_junk=5))
    result = talk(conn, [line * 5])
    assert b"421" not in result.replies
    assert talk(conn, [line]).replies[-1] == b"421"
    assert conn.closing


def test_a_message_makes_up_for_them() -> None:
    conn = greeted(limits=Limits(max_junk=5))
    for _ in range(5):
        talk(conn, [b"NOOP\r\n" * 4])
        deliver(conn, b"x\r\n.\r\n")
    assert not conn.closing


def test_commands() -> None:
    conn = server(limits=Limits(max_commands=10, max_junk=99))
    result = talk(conn, [b"NOOP\r\n" * 11])
    assert result.replies == [b"220"] + [b"250"] * 10 + [b"421"]
    assert result.events[-1] == ConnectionClosed(False, "too many commands")


@pytest.mark.parametrize("verdict", ["accept", "reject"])
def test_messages(verdict: str) -> None:
    """Whatever became of them."""

    def policy(conn: Any, event: Any) -> None:
        conn.reject() if type(event).__name__ == "MessageEnd" and verdict == "reject" else conn.accept()

    conn = greeted(limits=Limits(max_transactions=2))
    for _ in range(2):
        deliver(conn, b"x\r\n.\r\n", policy)
    result = talk(conn, [MAIL])
    assert result.output == b"421 4.7.0 Too many messages on this connection, come again\r\n"
    assert conn.closing


def test_recipients() -> None:
    """RFC 5321 section 4.5.3.1.10: 452, and the transaction goes on with those that were taken."""
    conn = greeted(limits=Limits(max_recipients=3))
    result = talk(conn, [MAIL, RCPT * 5, b"DATA\r\n.\r\n"])
    assert result.replies == [b"250"] * 4 + [b"452", b"452", b"354", b"250"]
    assert b"452 4.5.3 " in result.output
    assert len(result.of(Rcpt)) == 3
    talk(conn, [MAIL, RCPT])
    assert conn.state is ServerState.RCPT, "the next transaction begins anew"


def test_a_recipient_that_was_refused_takes_no_place() -> None:
    conn = greeted(limits=Limits(max_recipients=2))
    talk(conn, [MAIL])
    talk(conn, [RCPT * 10], lambda conn, _: conn.reject())
    assert talk(conn, [RCPT * 3]).replies == [b"250", b"250", b"452"]


@pytest.mark.parametrize("verdict", ["reject", "again"])
def test_logins(verdict: str) -> None:
    """S47: the next one is not even asked about."""
    conn = greeted(limits=Limits(max_auth_failures=3), auth_mechanisms=("PLAIN",), allow_plaintext_auth=True)
    for _ in range(3):
        result = talk(conn, [b"AUTH PLAIN AGEAYg==\r\n"], lambda conn, _: conn.reject())
        assert result.replies == [b"535"]
    if verdict == "again":
        talk(conn, [b"EHLO x\r\n", b"RSET\r\n"])
    result = talk(conn, [b"AUTH PLAIN AGEAYg==\r\n"])
    assert result.output == b"421 4.7.0 Too many failed attempts, good-bye\r\n"
    assert [type(event) for event in result.events] == [ConnectionClosed]


def test_other_commands_go_on_behind_failed_logins() -> None:
    conn = greeted(limits=Limits(max_auth_failures=1), auth_mechanisms=("PLAIN",), allow_plaintext_auth=True)
    talk(conn, [b"AUTH PLAIN AGEAYg==\r\n"], lambda conn, _: conn.reject())
    assert talk(conn, [ENVELOPE]).replies == [b"250", b"250", b"354"]


def test_aborted_logins_take_no_memory() -> None:
    """S36."""
    conn = greeted(limits=Limits(max_errors=10**9), auth_mechanisms=("PLAIN",), allow_plaintext_auth=True)
    tracemalloc.start()
    for _ in range(2000):
        talk(conn, [b"AUTH PLAIN\r\n*\r\n"], lambda conn, _: conn.challenge(b"x"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
    assert talk(conn, [b"AUTH PLAIN AGEAYg==\r\n"]).replies == [b"235"]


@pytest.mark.parametrize("line", [b"NOOP\r\n", b"RCPT TO:<x@y>\r\n", b"XYZZY\r\n"])
def test_a_client_that_does_not_read(line: bytes) -> None:
    """S30: no more commands are looked at while too many replies wait."""
    limits = Limits(max_unsent=2000, max_junk=10**9, max_errors=10**9, max_recipients=10**9, max_commands=10**9)
    conn = in_transaction(limits=limits)
    conn.receive_data(line * 10_000)
    while (event := conn.next_event()) is not None:
        if conn.pending is event:
            conn.accept()
    assert conn.output_full
    assert 2000 < conn.queued < 2200
    assert conn.next_event() is None
    conn.data_to_send()
    assert not conn.output_full
    while (event := conn.next_event()) is not None:
        if conn.pending is event:
            conn.accept()
    assert conn.output_full


def test_no_command_is_worked_ahead() -> None:
    """Ten million commands in one read wait as octets; nothing is made of them before its turn."""
    conn = server(limits=Limits(max_junk=10**9))
    conn.next_event()
    conn.receive_data(b"NOOP\r\n" * 100_000)
    tracemalloc.start()
    conn.accept()
    conn.data_to_send()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize("piece", [b"x", b"\r", b"EHLO x", b"\n"])
def test_a_line_without_end_takes_no_memory(piece: bytes) -> None:
    """S24, in every state that reads lines."""
    for login in (False, True):
        conn = greeted(auth_mechanisms=("PLAIN",), allow_plaintext_auth=True)
        if login:
            talk(conn, [b"AUTH PLAIN\r\n"], lambda conn, _: conn.challenge(b""))
        block = piece * (65536 // len(piece))
        tracemalloc.start()
        for _ in range(100):
            conn.receive_data(block)
            while conn.next_event() is not None:
                pass
            conn.data_to_send()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1 << 20
        assert talk(conn, [b"\r\nNOOP\r\n"]).replies[-1] == b"250"


def test_a_client_keeps_no_endless_line_either() -> None:
    conn = client()
    conn.noop()
    conn.data_to_send()
    conn.receive_data(b"250 " + b"x" * 9000)
    tracemalloc.start()
    for _ in range(100):
        conn.receive_data(b"x" * 65536)
        try:
            conn.next_event()
        except Exception:
            continue
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_the_defaults_are_generous_beside_real_mail() -> None:
    """RFC 5321 section 4.5.3.1."""
    limits = Limits()
    assert limits.max_line >= 512 + 500
    assert limits.max_sasl_line >= 12288
    assert limits.max_recipients >= 100
    assert limits.command_timeout >= 300
    assert limits.data_timeout >= 180
    assert limits.final_reply_timeout >= 600
    assert limits.greeting_timeout >= 300
    assert limits.max_auth_failures == 3


def test_errors_have_a_price_from_a_number_on() -> None:
    """S27: a connection says how long the client is to be made to wait, once for each error."""
    limits = Limits(max_free_errors=2, max_errors=9, error_delay=3.5)
    conn = greeted(limits=limits)
    for price in (0.0, 0.0, 3.5, 3.5):
        talk(conn, [b"NONSENSE\r\n"])
        assert (conn.take_penalty(), conn.take_penalty()) == (price, 0.0)
    talk(conn, [b"NOOP\r\n", MAIL, RCPT, b"DATA\r\n", b"x\r\n.\r\n", b"MAIL FROM:<x@y> NONSENSE=1\r\n"])
    assert conn.take_penalty() == 3.5
    talk(conn, [b"NOOP\r\n"])
    assert conn.take_penalty() == 0.0
