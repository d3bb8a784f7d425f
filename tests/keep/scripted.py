"""A POP3 server in memory that has the faults a test wants it to have, and the line to it, which can be cut."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mailproto._core.flow import Flow
from mailproto._core.policy import TLSPolicy
from mailproto.pop3 import POP3ClientConnection
from mailproto.pop3.flows import SessionOptions, open_session, quit_session
from mailproto.pop3.flows.keep import KeepPolicy, KeepReport, Note, fetch_and_keep
from mailproto.sasl.base import Credentials
from tests.pop3.harness import Runner


class Mail(NamedTuple):
    """A message in the maildrop; ``listed`` is what the server takes for its size, None for what it is."""

    uid: str
    content: bytes
    listed: int | None = None

    @property
    def size(self) -> int:
        """What the server lists."""
        return len(self.content) if self.listed is None else self.listed

    @property
    def header(self) -> bytes:
        """What TOP gives of it, without a line of the body."""
        header, end, _ = self.content.partition(b"\r\n\r\n")
        return header + end


def mail(name: str, uid: str | None = None, length: int = 0) -> Mail:
    """Return a message, with a unique-id of its name or of another one."""
    return Mail(uid if uid is not None else name, f"Subject: {name}\r\n\r\n".encode() + b"x" * length + b"\r\n")


@dataclass
class Server:
    """The maildrop, and how the server answers."""

    mails: list[Mail]
    uidl: bool = True
    tells_of_uidl: bool = True
    """Whether it has that among its capabilities. Some do behind the login only."""
    pipelining: bool = True
    lists: str = "one"
    """What LIST with a number lists: one message, as it should, all of them, or none."""
    refused: frozenset[bytes] = frozenset()
    """Commands that are answered -ERR."""
    hangs_up_at: frozenset[str] = frozenset()
    """The unique-ids of messages that it cannot give, and hangs up instead."""
    loses_quit: bool = False
    """Hang up at QUIT without having done anything."""
    asked: list[bytes] = field(default_factory=list)
    marked: set[int] = field(default_factory=set)

    def answer(self, line: bytes) -> bytes:
        """Return the answer to a command, b"" to hang up."""
        verb, _, argument = line.partition(b" ")
        self.asked.append(line)
        if line in self.refused:
            return b"-ERR not now\r\n"
        match verb:
            case b"CAPA":
                offered = b"PIPELINING\r\n" if self.pipelining else b""
                offered += b"UIDL\r\n" if self.uidl and self.tells_of_uidl else b""
                return b"+OK\r\nUSER\r\n%b.\r\n" % offered
            case b"USER" | b"PASS":
                return b"+OK\r\n"
            case b"LIST" if argument and self.lists == "one":
                return b"+OK %b %d\r\n" % (argument, self.mails[int(argument) - 1].size)
            case b"LIST" if not argument or self.lists == "all":
                return b"+OK\r\n%b.\r\n" % b"".join(b"%d %d\r\n" % entry for entry in self._sizes())
            case b"UIDL" if self.uidl:
                uids = enumerate((mail.uid.encode() for mail in self.mails), 1)
                return b"+OK\r\n%b.\r\n" % b"".join(b"%d %b\r\n" % entry for entry in uids)
            case b"RETR" if self.mails[int(argument) - 1].uid in self.hangs_up_at:
                return b""
            case b"RETR":
                return b"+OK\r\n%b.\r\n" % self.mails[int(argument) - 1].content
            case b"TOP":
                return b"+OK\r\n%b.\r\n" % self.mails[int(argument.split()[0]) - 1].header
            case b"DELE":
                self.marked.add(int(argument))
                return b"+OK\r\n"
            case b"QUIT":
                return self._quit()
        return b"-ERR what?\r\n"

    def _sizes(self) -> list[tuple[int, int]]:
        return list(enumerate((mail.size for mail in self.mails), 1))

    def _quit(self) -> bytes:
        if self.loses_quit:
            return b""
        self.mails = [mail for number, mail in enumerate(self.mails, 1) if number not in self.marked]
        return b"+OK\r\n"


class Shelf:
    """A store that remembers what it was given, in order."""

    def __init__(self) -> None:
        self.stored: list[str] = []

    def __call__(self, note: Note, content: Any) -> None:
        first, _, _ = b"".join(content).partition(b"\r\n")
        self.stored.append(first.decode().removeprefix("Subject: "))


def fetch(
    server: Server,
    ledger: Any,
    store: Callable[[Note, Any], object],
    policy: KeepPolicy | None = None,
    *,
    now: float = 0.0,
    cut: int | None = None,
    report: KeepReport | None = None,
) -> KeepReport:
    """Fetch in one session, which the server ends behind so many octets, if ``cut`` says so.

    What the server answers to what was asked at once comes at once, and so does its end.
    """
    server.marked.clear()
    conn = POP3ClientConnection()
    report = report if report is not None else KeepReport()
    runner = Runner(conn, session(conn, ledger, store, policy if policy is not None else KeepPolicy(), now, report))
    conn.receive_data(b"+OK\r\n")
    left = cut if cut is not None else 1 << 60
    while not runner.done:
        runner.run()
        for line in runner.take().split(b"\r\n")[:-1]:
            answer = server.answer(line)
            if left <= len(answer) or not answer:
                conn.receive_data(answer[:left])
                conn.receive_eof()
                break
            left -= len(answer)
            conn.receive_data(answer)
    if runner.error is not None:
        raise runner.error
    return report


def session(
    conn: POP3ClientConnection, ledger: Any, store: Any, policy: KeepPolicy, now: float, report: KeepReport
) -> Flow[None]:
    """Log in, fetch what is new, and leave."""
    yield from log_in(conn)
    yield from fetch_and_keep(conn, ledger, store, policy, now=now, report=report)
    yield from quit_session(conn)


def log_in(conn: POP3ClientConnection) -> Flow[None]:
    """Open a session, in clear."""
    credentials = Credentials("ada", "secret")
    yield from open_session(
        conn, SessionOptions(tls=TLSPolicy.NONE, credentials=credentials, mechanisms=(), allow_plaintext_auth=True)
    )


def numbers(server: Server, verb: bytes) -> Sequence[int]:
    """Return the messages that the server was asked for with this command, in order."""
    return [int(line.partition(b" ")[2]) for line in server.asked if line.startswith(verb + b" ")]
