"""Fetching from a server that refuses what it likes: every message is handed out whole or refused, and none is lost.

Nor is one deleted that was not: DELE goes only for what the caller has read to its end.
"""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from mailproto._core.flow import Flow
from mailproto._core.policy import TLSPolicy
from mailproto.pop3 import POP3ClientConnection, ResponseError
from mailproto.pop3.flows import Fetch, SessionOptions, listing, open_session, quit_session
from mailproto.sasl import Credentials
from tests.helpers import THOROUGH
from tests.smtp.pipes import converse

CONTENTS = st.lists(
    st.sampled_from([b"a\r\n", b"", b".\r\n..\r\n", b"+OK\r\n-ERR\r\n", b"x" * 99 + b"\r\n"]), min_size=3
)
REFUSALS = st.lists(st.booleans(), min_size=10, max_size=30)
READINGS = st.lists(st.sampled_from(["skip", "read", "delete", "delete", "delete twice"]), min_size=10, max_size=30)


class Fickle:
    """A server that refuses RETR and DELE as it is told, and gives everything else."""

    def __init__(self, contents: list[bytes], refusals: list[bool], pipelining: bool, wrong: int) -> None:
        self.contents = dict(enumerate(contents, 1))
        self.deleted: list[int] = []
        self.refused: list[str] = []
        self._refusals = iter(refusals)
        self._pipelining = pipelining
        self._wrong = wrong  # octets by which it is mistaken about sizes
        self._heard = b""

    def answer(self, said: bytes) -> bytes:
        """Return the responses to what came."""
        if not said:
            return b"+OK hello\r\n"
        *lines, self._heard = (self._heard + said).split(b"\r\n")
        return b"".join(self._respond(*line.decode().split(" ")) for line in lines)

    def _respond(self, verb: str, argument: str = "") -> bytes:
        match verb:
            case "CAPA" if self._pipelining:
                return b"+OK\r\nPIPELINING\r\n.\r\n"
            case "CAPA" | "UIDL":
                return b"-ERR\r\n"
            case "LIST" if argument:
                return b"-ERR\r\n" if int(argument) in self.deleted else b"+OK " + self._entry(int(argument))
            case "LIST":
                return b"+OK\r\n" + b"".join(map(self._entry, self.contents)) + b".\r\n"
            case "RETR" | "DELE" if next(self._refusals, False) or int(argument) in self.deleted:
                self.refused.append(verb)
                return b"-ERR\r\n"
            case "RETR":
                return (
                    b"+OK\r\n" + (b"\r\n" + self.contents[int(argument)]).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
                )
            case "DELE":
                self.deleted.append(int(argument))
        return b"+OK\r\n"

    def _entry(self, number: int) -> bytes:
        return b"%d %d\r\n" % (number, len(self.contents[number]) + self._wrong)


def fetch_all(
    conn: POP3ClientConnection, window: int, readings: Iterator[str], refused: list[str]
) -> Flow[dict[int, bytes | None]]:
    """Fetch everything, and go on after each refusal; return what was handed out, None for what was not read."""
    options = SessionOptions(tls=TLSPolicy.IMPLICIT, credentials=Credentials("ada", "x"))
    yield from open_session(conn, options)
    fetch = Fetch(conn, (yield from listing(conn)), window=window, max_ahead=200)
    found: dict[int, bytes | None] = {}
    while True:
        try:
            message = yield from fetch.next_message()
        except ResponseError as error:
            refused.append(error.command)
            continue
        if message is None:
            break
        reading = next(readings, "delete")
        found[message.number] = (yield from read(fetch)) if reading != "skip" else None
        for _ in range({"delete": 1, "delete twice": 2}.get(reading, 0)):
            fetch.delete(message.number)
    yield from quit_session(conn)
    return found


def read(fetch: Fetch) -> Flow[bytes]:
    content = b""
    while (chunk := (yield from fetch.next_chunk())) is not None:
        content += chunk
    return content


@settings(parent=THOROUGH)
@given(
    *(CONTENTS, REFUSALS, READINGS, st.integers(1, 4)),
    *(st.booleans(), st.sampled_from([0, 3]), st.lists(st.integers(1, 40), min_size=1)),
)
def test_every_message_is_handed_out_or_refused(
    contents: list[bytes],
    refusals: list[bool],
    readings: list[str],
    window: int,
    pipelining: bool,
    wrong: int,
    sizes: list[int],
) -> None:
    if wrong:  # nobody could tell what looks like a response from one
        contents = [content.replace(b"+OK", b"yes") for content in contents]
    server, refused = Fickle(contents, refusals, pipelining, wrong), list[str]()
    conn = POP3ClientConnection()
    driver, _ = converse(conn, fetch_all(conn, window, iter(readings), refused), server.answer, sizes)
    assert driver.error is None
    found = driver.result
    assert sorted(refused) == sorted(server.refused)
    assert len(found) + refused.count("RETR") == len(contents)
    assert all(content in (None, server.contents[number]) for number, content in found.items())
    assert all(found[number] is not None for number in server.deleted)
