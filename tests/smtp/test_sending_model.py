"""Sending to a server that says whatever it likes: each recipient's outcome is what that server has really done.

The server is the worst that the RFCs allow. Behind a chunk that it refused, or that nobody was to get, it is still in
its transaction, and takes the next chunk for a part of the same message (RFC 3030 section 2 leaves that open).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from mailproto.smtp import Limits, Outcome, make_submission
from mailproto.smtp.flows.sending import send_messages
from tests.helpers import THOROUGH
from tests.smtp import client
from tests.smtp.pipes import converse

# Mostly yes, or no message would get anywhere.
VERDICTS = st.lists(st.sampled_from([*["250"] * 24, "450", "550", "552", "421", "cut"]), min_size=8, max_size=60)
BODIES = st.sampled_from([b"a\r\n", b"", b"no end", b".\r\n..\r\n", b"bare\n", b"x" * 70 + b"\r\n"])
MESSAGES = st.lists(st.tuples(BODIES, st.integers(1, 3), st.booleans()), min_size=2, max_size=9)
OFFERS = st.sampled_from([("PIPELINING", "CHUNKING"), ("PIPELINING",), ("CHUNKING",), ()])


class Taken(NamedTuple):
    """A message that the server has taken over."""

    sender: str
    recipients: tuple[str, ...]
    body: bytes


class Fickle:
    """A server whose verdicts are drawn by lot; when they run out it says yes to everything."""

    def __init__(self, verdicts: list[str]) -> None:
        self.taken: list[Taken] = []
        self.broke = False
        self.nested = False  # whether MAIL came within a transaction
        self._verdicts = iter(verdicts)
        self._buffer = b""
        self._in_data = False
        self._sender = ""
        self._recipients: list[str] = []
        self._content = b""

    def answer(self, said: bytes) -> bytes | None:
        """Return the replies to what came; None when the line is cut, with whatever else was to be said."""
        self._buffer += said
        replies = b""
        for reply in self._replies():
            if reply == "cut":
                self.broke = True
                return None
            replies += f"{reply}\r\n".encode()
            if reply.startswith("421"):
                self.broke = True
                break
        return replies

    def _replies(self) -> Iterator[str]:
        while self._buffer and not self.broke:
            if self._in_data:
                end = (b"\r\n" + self._buffer).find(b"\r\n.\r\n")
                if end < 0:
                    return
                body, self._buffer = self._buffer[:end], self._buffer[end + 3 :]
                self._content = (b"\r\n" + body).replace(b"\r\n.", b"\r\n")[2:]
                self._in_data = False
                yield self._finish()
                self._clear()
                continue
            line, _, rest = self._buffer.partition(b"\r\n")
            if line.startswith(b"BDAT"):
                size = int(line.split(b" ")[1])
                chunk, self._buffer = rest[:size], rest[size:]
                yield self._chunk(chunk, line.endswith(b"LAST"))
            else:
                self._buffer = rest
                yield self._command(line.decode())

    def _command(self, line: str) -> str:
        verb, _, path = line.partition(":")
        verdict = next(self._verdicts, "250")
        if line == "RSET":
            self._clear()
            return "250"
        self.nested |= verb == "MAIL FROM" and bool(self._sender)
        if verdict != "250":
            return verdict
        if verb == "MAIL FROM" and not self._sender:
            self._sender = path[1 : path.index(">")]
        elif verb == "RCPT TO" and self._sender:
            self._recipients.append(path[1:-1])
        elif line == "DATA" and self._recipients:
            self._in_data = True
            return "354 go"
        else:
            return "503"
        return "250"

    def _chunk(self, chunk: bytes, last: bool) -> str:
        verdict = next(self._verdicts, "250")
        if not self._recipients:
            return "503"
        if verdict != "250":
            return verdict
        self._content += chunk
        if not last:
            return "250"
        reply = self._finish()
        if reply == "250":
            self._clear()
        return reply

    def _finish(self) -> str:
        verdict = next(self._verdicts, "250")
        if verdict in ("250", "cut"):  # who cuts the line now has taken the message all the same
            self.taken.append(Taken(self._sender, tuple(self._recipients), self._content))
        return verdict

    def _clear(self) -> None:
        self._sender, self._recipients, self._content = "", [], b""


def wire_form(body: bytes) -> bytes:
    """Return a text as it arrives: its last line ended."""
    return body if not body or body.endswith(b"\r\n") else body + b"\r\n"


@settings(parent=THOROUGH, max_examples=1000)
@given(MESSAGES, VERDICTS, OFFERS, st.integers(1, 9))
def test_outcomes_are_what_the_server_has_done(
    messages: list[tuple[bytes, int, bool]], verdicts: list[str], offer: tuple[str, ...], in_flight: int
) -> None:
    server = Fickle(verdicts)
    conn = client(*offer, limits=Limits(max_in_flight=in_flight))
    submissions = [
        make_submission([body] if streamed else body, f"s{i}@x", [f"r{i}{j}@x" for j in range(recipients)])
        for i, (body, recipients, streamed) in enumerate(messages)
    ]
    driver, _ = converse(conn, send_messages(conn, submissions), server.answer)
    assert driver.error is None
    assert len(driver.result) == len(messages)
    for i, (body, _, _) in enumerate(messages):
        taken = [each for each in server.taken if each.sender == f"s{i}@x"]
        assert len(taken) <= 1, "a message went twice"
        reached = taken[0].recipients if taken else ()
        assert all(each.body == wire_form(body) for each in taken)
        for recipient in driver.result[i].recipients:
            if recipient.outcome is not Outcome.UNKNOWN:
                assert (recipient.outcome is Outcome.ACCEPTED) == (str(recipient.address) in reached)
            else:
                assert server.broke
    assert {each.sender for each in server.taken} <= {f"s{i}@x" for i in range(len(messages))}
    assert conn.idle or conn.over
    assert not server.nested, "a message began within the transaction of another one"
