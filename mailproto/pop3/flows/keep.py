"""Fetch and keep: only what is new, stored before it is remembered, deleted when its time has come.

What was fetched stands in a ledger, by unique-id (RFC 1939 section 8). A message is noted there before it is stored
and again when it is: whoever is interrupted anywhere in between, by a broken line or by a lost machine, stores it
under the same name once more, and so neither loses it nor has it twice.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from mailproto._core.flow import Call, Flow
from mailproto._core.spool import Spool
from mailproto.pop3.client import POP3ClientConnection
from mailproto.pop3.flows.client import MessageListing, delete, listing
from mailproto.pop3.flows.fetch import Fetch
from mailproto.pop3.response import ResponseError


@dataclass(frozen=True, slots=True)
class Note:
    """What a ledger knows of a message.

    ``key`` names it: its unique-id, or what takes its place. ``first_seen`` is in seconds of the clock that the
    caller's ``now`` is of. ``stored`` is whether it is safe; if not, it may be stored or not.
    """

    key: str
    first_seen: float
    stored: bool


class Ledger(Protocol):
    """Where it is written down what was fetched. Each method is done, durably, when it returns."""

    def read(self) -> dict[str, Note]:
        """Return all notes, by key."""

    def begin(self, key: str, now: float) -> Note:
        """Note that a message is about to be stored, and return the note, or the older one if there is one."""

    def finish(self, key: str) -> None:
        """Note that it is stored."""

    def forget(self, keys: Sequence[str]) -> None:
        """Drop these notes: the messages are no longer on the server, which may use their names again."""


Store = Callable[[Note, Iterable[bytes]], Any]
"""Stores a message: called with its note and its content, returns when it is safe. Called again with an equal note,
after an interruption, it has to leave one copy, not two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepPolicy:
    """What is fetched, and what becomes of it on the server."""

    keep: bool = True
    """Leave on the server what was fetched; without it a message is deleted as soon as it is safe."""
    delete_after: float | None = None
    """Seconds after which a message that was fetched is deleted all the same."""
    max_size: int | None = None
    """Octets beyond which a message is left where it is."""
    limit: int | None = None
    """How many messages are fetched at most; the rest is for the next time."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A message that was fetched and is safe."""

    number: int
    uid: str | None
    size: int
    sha256: str


@dataclass(slots=True)
class KeepReport:
    """What was done, message by message. It is filled in as it happens, and so tells the truth at any time."""

    fetched: list[Fetched] = field(default_factory=list)
    too_big: list[MessageListing] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """What the server said instead of giving a message, which may have vanished; the next time it is tried again."""
    deleted: list[int] = field(default_factory=list)


def fetch_and_keep(
    conn: POP3ClientConnection,
    ledger: Ledger,
    store: Store,
    policy: KeepPolicy,
    *,
    now: float,
    report: KeepReport | None = None,
) -> Flow[KeepReport]:
    """Fetch what is new in the maildrop, store it, and mark for deletion what the policy says.

    Deletions take effect at QUIT, which is left to the caller. Notes of messages that are gone from the server are
    dropped, for it may use their unique-ids again (RFC 1957).

    A server that has no unique-ids, or gives the same to two messages, is taken by the content: such messages are
    fetched each time, and stored only if their content is new.

    Raises:
        ConnectionClosedError: the line broke; what is in the report is safe.
        Whatever ``ledger`` and ``store`` raise.
    """
    job = _Job(conn, ledger, store, policy, now, report if report is not None else KeepReport())
    yield from job.run()
    return job.report


_CONTENT = "sha256:"  # begins the key of a message without a unique-id; a unique-id could look so, and would be one


class _Job:
    def __init__(
        self,
        conn: POP3ClientConnection,
        ledger: Ledger,
        store: Store,
        policy: KeepPolicy,
        now: float,
        report: KeepReport,
    ) -> None:
        self.report = report
        self._conn = conn
        self._ledger = ledger
        self._store = store
        self._policy = policy
        self._now = now
        self._notes: dict[str, Note] = {}

    def run(self) -> Flow[None]:
        """Fetch what is to be fetched, and delete what is to be deleted."""
        listed = yield from listing(self._conn)
        self._notes = yield Call(self._ledger.read)
        known = _with_trusted_ids(listed)
        fetch = Fetch(self._conn, self._wanted(known))
        while True:
            try:
                message = yield from fetch.next_message()
            except ResponseError as error:
                self.report.refused.append(str(error))
                continue
            if message is None:
                break
            yield from self._keep(fetch, message)
        for message in known:
            if message.number not in self.report.deleted and self._is_due(message.uid):
                yield from delete(self._conn, message.number)
                self.report.deleted.append(message.number)
        yield from self._forget_vanished({message.uid for message in listed})

    def _forget_vanished(self, there: set[str | None]) -> Flow[None]:
        """Drop the notes of what is gone, unless all is gone: that is more often a server's mishap than the truth."""
        gone = [key for key in self._notes if key not in there and not key.startswith(_CONTENT)]
        if there and gone:
            yield Call(self._ledger.forget, (gone,))

    def _wanted(self, listed: Iterable[MessageListing]) -> Iterator[MessageListing]:
        """Yield the messages to fetch."""
        count = 0
        for message in listed:
            note = self._notes.get(message.uid) if message.uid is not None else None
            if note is not None and note.stored:
                continue
            if self._policy.max_size is not None and message.size > self._policy.max_size:
                self.report.too_big.append(message)
                continue
            if self._policy.limit is not None and count >= self._policy.limit:
                return
            count += 1
            yield message

    def _keep(self, fetch: Fetch, message: MessageListing) -> Flow[None]:
        """Fetch one message whole, and only then store it; what is cut off is nothing."""
        content, digest = Spool(), hashlib.sha256()
        try:
            while (chunk := (yield from fetch.next_chunk())) is not None:
                content.write(chunk)
                digest.update(chunk)
            key = message.uid if message.uid is not None else _CONTENT + digest.hexdigest()
            note = self._notes.get(key)
            if note is None or not note.stored:
                note = yield Call(self._ledger.begin, (key, self._now))
                yield Call(self._store, (note, content))
                yield Call(self._ledger.finish, (key,))
                self._notes[key] = Note(key, note.first_seen, True)
                self.report.fetched.append(Fetched(message.number, message.uid, len(content), digest.hexdigest()))
        finally:
            content.close()
        if self._is_due(key):
            fetch.delete(message.number)
            self.report.deleted.append(message.number)

    def _is_due(self, key: str | None) -> bool:
        """Whether the message is safe here and may go from the server."""
        note = self._notes.get(key) if key is not None else None
        if note is None or not note.stored:
            return False
        after = self._policy.delete_after
        return not self._policy.keep or (after is not None and self._now - note.first_seen >= after)


def _with_trusted_ids(listed: list[MessageListing]) -> list[MessageListing]:
    """Return the listing without unique-ids that are not unique: who has one like it cannot be known by it."""
    counts = Counter(message.uid for message in listed)
    return [message if counts[message.uid] == 1 else message._replace(uid=None) for message in listed]
