"""Messages at which a server hangs up: what is behind them is fetched, and what is fetched is deleted."""

from __future__ import annotations

import asyncio
import socketserver
import threading
from functools import partial
from typing import Any

import pytest

from mailproto import ConnectionClosedError, ConnectionTimeoutError, aio, sync
from mailproto.ledger import SQLiteLedger
from mailproto.pop3 import Limits, POP3ClientConnection
from mailproto.pop3.flows.keep import KeepPolicy, KeepReport, Note
from tests.keep.scripted import Server, Shelf, fetch, mail

MOVE = KeepPolicy(keep=False)


def five(*bad: str, **how: Any) -> Server:
    """Return a server with five messages that hangs up at some of them."""
    return Server([mail(str(number)) for number in range(1, 6)], hangs_up_at=frozenset(bad), **how)


def run(server: Server, ledger: SQLiteLedger, store: Any, policy: KeepPolicy = MOVE) -> tuple[KeepReport, bool]:
    """Fetch; return the report and whether the run came to its end."""
    report = KeepReport()
    try:
        fetch(server, ledger, store, policy, report=report)
    except ConnectionClosedError:
        return report, False
    return report, True


@pytest.mark.parametrize("uidl", [True, False], ids=["unique-ids", "no unique-ids"])
def test_what_is_behind_is_fetched_and_deleted(ledger: SQLiteLedger, uidl: bool) -> None:
    server, shelf = five("2", uidl=uidl), Shelf()
    report, ended = run(server, ledger, shelf)
    assert not ended and report.broken_off is not None and report.broken_off.number == 2
    assert shelf.stored == ["1"]
    report, ended = run(server, ledger, shelf)
    assert not ended and report.broken_off is not None and report.broken_off.number == 2
    assert shelf.stored == ["1", "3", "4", "5"] and len(server.mails) == 5
    report, ended = run(server, ledger, shelf)
    assert ended and [message.number for message in report.left_out] == [2]
    assert [mail.uid for mail in server.mails] == ["2"]


def test_a_line_that_breaks_once_costs_nothing(ledger: SQLiteLedger) -> None:
    server, shelf = five("2"), Shelf()
    run(server, ledger, shelf)
    server.hangs_up_at = frozenset()
    report, ended = run(server, ledger, shelf)
    assert ended and not report.left_out and server.mails == []
    assert shelf.stored == ["1", "3", "4", "5", "2"]
    server.mails = [mail("6")]
    run(server, ledger, shelf)
    assert list(ledger.read()) == ["6"]


def test_what_was_left_out_is_tried_again(ledger: SQLiteLedger) -> None:
    server, shelf = five("2"), Shelf()
    for _ in range(3):
        run(server, ledger, shelf)
    server.mails.append(mail("6"))
    report, ended = run(server, ledger, shelf)
    assert not ended and report.broken_off == (1, 16, "2")
    server.hangs_up_at = frozenset()
    report, ended = run(server, ledger, shelf)
    assert ended and report.left_out == [(1, 16, "2")]
    report, ended = run(server, ledger, shelf)
    assert ended and report.left_out == [] and server.mails == []
    assert shelf.stored == ["1", "3", "4", "5", "6", "2"]


def test_several_of_them_do_not_keep_each_other(ledger: SQLiteLedger) -> None:
    """Nor does one that can be had again have to wait for those that cannot."""
    server, shelf = five("1", "3", "5"), Shelf()
    ends = [run(server, ledger, shelf)[1] for _ in range(12)]
    assert shelf.stored == ["2", "4"] and len(server.mails) == 3
    assert ends.count(True) == 2
    server.hangs_up_at = frozenset({"1", "3"})
    for _ in range(4):
        run(server, ledger, shelf)
    assert shelf.stored == ["2", "4", "5"]


def test_a_limit_passes_by_them(ledger: SQLiteLedger) -> None:
    server, shelf = five("1"), Shelf()
    for _ in range(5):
        run(server, ledger, shelf, KeepPolicy(limit=2))
    assert shelf.stored == ["2", "3", "4", "5"]


def test_a_store_that_fails_is_no_fault_of_a_message(ledger: SQLiteLedger) -> None:
    def store(note: Note, content: Any) -> None:
        raise ConnectionClosedError("the store is far away")

    report, ended = run(five(), ledger, store)
    assert not ended and report.broken_off is None
    assert list(ledger.read()) == ["1"]


ANSWERS = {
    b"CAPA": b"-ERR\r\n",
    b"LIST": b"+OK\r\n1 5\r\n2 5\r\n.\r\n",
    b"UIDL": b"+OK\r\n1 a\r\n2 b\r\n.\r\n",
    b"RETR 1": b"",
    b"RETR 2": b"+OK\r\ntwo\r\n.\r\n",
    b"LIST 2": b"+OK 2 5\r\n",
}


class Silent(socketserver.StreamRequestHandler):
    """Says nothing when it is asked for the first of two messages."""

    def handle(self) -> None:
        self.wfile.write(b"+OK\r\n")
        for line in self.rfile:
            self.wfile.write(ANSWERS.get(line.strip(), b"+OK\r\n"))


def grow_impatient(conn: POP3ClientConnection, speaker: str, line: bytes) -> None:
    """Do not wait for long behind the listings, where something never comes, but for all else."""
    if line == b"2 b":
        conn.limits = Limits(command_timeout=1.0)


@pytest.mark.parametrize("blocking", [True, False], ids=["sync", "aio"])
def test_a_server_that_says_nothing_any_more(ledger: SQLiteLedger, blocking: bool) -> None:
    contents: list[bytes] = []
    known: dict[str, Any] = {"tls": sync.TLSPolicy.NONE, "user": "ada", "password": "x"}
    known["allow_plaintext_auth"] = True

    def store(note: Note, content: Any) -> None:
        contents.append(b"".join(content))

    async def fetch_in_loop(port: int) -> KeepReport:
        async with aio.POP3Client("127.0.0.1", port, **known) as pop:
            pop.conn.trace = partial(grow_impatient, pop.conn)
            return await pop.fetch_new(ledger, store)

    def fetch_new(port: int) -> KeepReport:
        if not blocking:
            return asyncio.run(fetch_in_loop(port))
        with sync.POP3Client("127.0.0.1", port, **known) as pop:
            pop.conn.trace = partial(grow_impatient, pop.conn)
            return pop.fetch_new(ledger, store)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Silent) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        for expected in ([], [b"two\r\n"]):
            with pytest.raises(ConnectionTimeoutError):
                fetch_new(server.server_address[1])
            assert contents == expected
        assert fetch_new(server.server_address[1]).left_out == [(1, 5, "a")]
        server.shutdown()
