"""Fetch and keep: only what is new, stored before it is remembered, deleted when its time has come.

What was fetched stands in a ledger, by unique-id (RFC 1939 section 8). A message is noted there before it is stored
and again when it is: whoever is interrupted anywhere in between, by a broken line or by a lost machine, stores it
under the same name once more, and so neither loses it nor has it twice. Which messages are known is for
`mailproto.pop3.flows.known` to say, and at which the line has broken before for `mailproto.pop3.flows.hurdles`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from mailproto._core.checks import check_fields
from mailproto._core.flow import Call, Flow
from mailproto._core.spool import Spool
from mailproto.errors import ConnectionClosedError, NotSupportedError, RemoteProtocolError
from mailproto.pop3.client import POP3ClientConnection
from mailproto.pop3.flows.client import MessageListing, listing, request, wait_done
from mailproto.pop3.flows.fetch import Fetch
from mailproto.pop3.flows.hurdles import Hurdles
from mailproto.pop3.flows.known import KnownMessages, stands_for_content, with_trusted_ids
from mailproto.pop3.flows.notes import Ledger as Ledger
from mailproto.pop3.flows.notes import Note as Note
from mailproto.pop3.response import ResponseError

T = TypeVar("T")

_WAS_EMPTY = "was empty"  # names a note, and no unique-id, which has no space in it

Store = Callable[[Note, Iterable[bytes]], Any]
"""What stores a message, given its note and its content; see `fetch_and_keep`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepPolicy:
    """What is fetched, and what becomes of it on the server.

    Args:
        keep: leave on the server what was fetched; without it a message is deleted as soon as it is safe.
        delete_after: seconds from the time when a message was fetched until it is deleted all the same.
        delete_over: octets beyond which a message is deleted as soon as it is safe, whatever is kept otherwise.
        max_size: octets beyond which a message is left where it is.
        limit: how many messages are stored at most; the rest is for the next time.
        unique_ids: ask for unique-ids. Without them, as with a server whose ids are malformed, messages are told by
            content.
    """

    keep: bool = True
    delete_after: float | None = None
    delete_over: int | None = None
    max_size: int | None = None
    limit: int | None = None
    unique_ids: bool = True

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True)
class Fetched:
    """A message that was fetched and is safe."""

    number: int
    uid: str | None
    size: int
    sha256: str


@dataclass(slots=True)
class KeepReport:
    """What was done, message by message. It is filled in as it happens, and so tells the truth at any time.

    Args:
        fetched: the messages that were stored.
        too_big: those that the policy leaves on the server for their size.
        refused: what the server said instead of giving a message, or of deleting it; the next time it is tried again.
        deleted: the numbers of those that are marked as deleted.
        broken_off: the message at which the server hung up, or did not go on. The next time it is tried last.
        left_out: messages at which that has happened twice in a row. The next time they are tried again, last.
    """

    fetched: list[Fetched] = field(default_factory=list)
    too_big: list[MessageListing] = field(default_factory=list)
    refused: list[ResponseError] = field(default_factory=list)
    deleted: list[int] = field(default_factory=list)
    broken_off: MessageListing | None = None
    left_out: list[MessageListing] = field(default_factory=list)


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
    dropped, for it may use their unique-ids again (RFC 1957). It may even do so before that was seen: so a message
    that was to be deleted, and seems to be there, is fetched again, as is one that seems to be there although the
    maildrop was empty meanwhile. If its content is another, it is a new one.

    A server that has no unique-ids, or gives the same to two messages, is taken by the content: such messages are
    fetched each time, and stored only if their content is new, whatever it was known by. So is a message that has got
    a unique-id only since. One that has got another, as all do when a maildrop moves to another server, is known by
    its content as well: as one of those whose unique-ids are gone, though they were not deleted from here.

    A message at which the line breaks stands in nobody's way: the next time it is tried last, and if the line breaks
    at it again it is left out of one run, so that the others are fetched and deleted all the same.

    Args:
        ledger: what was fetched before.
        store: called with the note of a message and its content, returns when that is safe. Called again with an
            equal note, after an interruption, it has to leave one copy, not two. What it raises ends the run, and the
            next one begins with that message again: one that can never be stored has to be taken without an error,
            lest it hold up all behind it.
        policy: what is fetched, and what becomes of it.
        now: the time, in seconds of the Unix clock.
        report: is filled in as things happen, so that it tells what was done even if this raises.

    Raises:
        NotSupportedError: the server has given unique-ids before and gives none now. All would be fetched again.
        ConnectionClosedError: the line broke; what is in the report is safe.
        RemoteProtocolError: the server has broken the protocol; the same holds.
        Whatever ``ledger`` and ``store`` raise.
    """
    job = _Job(conn, ledger, store, policy, now, report if report is not None else KeepReport())
    yield from job.run()
    return job.report


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
        self._safe: dict[MessageListing, str] = {}  # what is stored, by key
        self._ahead: list[MessageListing] = []  # what runs have broken off at, and this one has not tried

    def run(self) -> Flow[None]:
        """Fetch what is to be fetched, and delete what is to be deleted."""
        listed = yield from self._list()
        notes = yield from self._read(listed)
        self._hurdles = Hurdles(self._ledger, notes, self._now)
        self._known = KnownMessages(notes, listed)
        self._check_unique_ids(listed)
        there = with_trusted_ids(listed)
        self._safe = {
            message: message.uid for message in there if message.uid is not None and self._known.is_safe(message.uid)
        }
        yield from self._fetch(there)
        yield from self._delete()
        yield from self._hurdles.settle(self._ahead)
        yield from self._forget_vanished(all_named=all(message.uid is not None for message in there))

    def _list(self) -> Flow[list[MessageListing]]:
        if self._policy.unique_ids:
            return (yield from listing(self._conn))
        sizes = yield from request(self._conn, self._conn.list())
        return [MessageListing(number, size) for number, size in sizes.items()]

    def _read(self, listed: Sequence[MessageListing]) -> Flow[dict[str, Note]]:
        """Return the notes. Behind an empty maildrop what seems to be there again is doubted, as is what was to be
        deleted: that it was empty may have been a mishap of the server's, or else the unique-ids are used again."""
        notes: dict[str, Note] = yield Call(self._ledger.read)
        was_empty = notes.pop(_WAS_EMPTY, None) is not None
        if not listed:
            if not was_empty and any(note.stored and not note.deleted for note in notes.values()):
                yield Call(self._ledger.begin, (_WAS_EMPTY, self._now, ""))
        elif was_empty:
            doubtful = [message.uid for message in listed if message.uid in notes and notes[message.uid].stored]
            if doubtful:
                yield Call(self._ledger.mark_deleted, (doubtful,))
            yield Call(self._ledger.forget, ([_WAS_EMPTY],))
            notes.update({key: replace(notes[key], deleted=True) for key in doubtful})
        return notes

    def _check_unique_ids(self, listed: Sequence[MessageListing]) -> None:
        """See that a server does not lose its unique-ids: by content, all that is known by them is fetched again."""
        without = self._policy.unique_ids and listed and not any(message.uid for message in listed)
        if without and self._known.any_by_unique_id:
            raise NotSupportedError("the server gave unique-ids before, and gives none now")

    def _forget_vanished(self, *, all_named: bool) -> Flow[None]:
        """Drop the notes of what is gone.

        What is known by content was seen only if all was fetched; and so was what has lost its unique-id.
        """
        all_seen = not (self._is_full() or self.report.too_big or self.report.refused or self._ahead)
        ids_seen = self._policy.unique_ids and (all_seen or all_named)
        gone = self._known.vanished(self._safe.values(), all_seen=all_seen, ids_seen=ids_seen)
        if gone:
            yield Call(self._ledger.forget, (gone,))

    def _fetch(self, there: Iterable[MessageListing]) -> Flow[None]:
        """Fetch what is new, and last, one at a time, that at which a run has broken off before."""
        by_times: tuple[list[MessageListing], ...] = ([], [], [])
        for message in there:
            by_times[self._hurdles.times(message)].append(message)
        new, suspect, left_out = map(self._wanted, by_times)
        while not self._is_full() and (batch := self._take_batch(new)):
            yield from self._fetch_batch(batch)
        while not self._is_full() and (last := next(suspect, None)) is not None:
            yield from self._fetch_batch([last])
        self.report.left_out += left_out
        self._ahead = [*suspect, *self.report.left_out]

    def _fetch_batch(self, batch: Sequence[MessageListing]) -> Flow[None]:
        fetch = Fetch(self._conn, batch)
        while not self._is_full():
            try:
                message = yield from self._minded(fetch, fetch.next_message())
            except ResponseError as error:
                self.report.refused.append(error)
                continue
            if message is None:
                break
            yield from self._keep(fetch, message)
        yield from self._minded(fetch, fetch.finish())

    def _minded(self, fetch: Fetch, flow: Flow[T]) -> Flow[T]:
        """Do a part of a fetch, and remember it if the line breaks at a message."""
        try:
            return (yield from flow)
        except (ConnectionClosedError, RemoteProtocolError):
            self.report.broken_off = fetch.current
            if fetch.current is not None:
                yield from self._hurdles.stumble(fetch.current)
            raise

    def _is_full(self) -> bool:
        return self._policy.limit is not None and len(self.report.fetched) >= self._policy.limit

    def _wanted(self, listed: Iterable[MessageListing]) -> Iterator[MessageListing]:
        """Yield the messages to fetch: those that are new, as far as that is known before."""
        for message in listed:
            if message in self._safe:
                continue
            if self._policy.max_size is not None and message.size > self._policy.max_size:
                self.report.too_big.append(message)
            else:
                yield message

    def _take_batch(self, wanted: Iterator[MessageListing]) -> list[MessageListing]:
        """Take of the messages as many as there is room for, should all of them be given, and be new.

        Some may not be, today or ever; the next batch then goes on behind them, or they would stand in the way of
        the others for good.
        """
        if self._policy.limit is None:
            return list(wanted)
        room = self._policy.limit - len(self.report.fetched)
        batch: list[MessageListing] = []
        while room > 0 and (message := next(wanted, None)) is not None:
            note = self._known.get(message.uid or "")
            room -= message.uid is not None and (note is None or not note.stored)
            batch.append(message)
        return batch

    def _keep(self, fetch: Fetch, message: MessageListing) -> Flow[None]:
        """Fetch one message whole, and only then store it; what is cut off is nothing."""
        content, digest = Spool(), hashlib.sha256()
        try:
            while (chunk := (yield from self._minded(fetch, fetch.next_chunk()))) is not None:
                content.write(chunk)
                digest.update(chunk)
                if self._policy.max_size is not None and len(content) > self._policy.max_size:
                    self.report.too_big.append(message)  # it is longer than the server has said
                    return
            yield from self._store_new(message, content, digest.hexdigest())
        finally:
            content.close()

    def _store_new(self, message: MessageListing, content: Spool, sha256: str) -> Flow[None]:
        """Store a message, unless it is known by its key, or has a twin: itself, from when it had another one."""
        key = self._known.key_of(message, sha256)
        note = self._known.get(key)
        if note is not None and note.sha256 != sha256:  # the server has used the unique-id again
            yield Call(self._ledger.forget, ([key],))
            note = None
        if note is None or not note.stored:
            twin = self._known.take_twin(key, sha256)
            note = yield Call(self._ledger.begin, (key, self._now if twin is None else twin.first_seen, sha256))
            if twin is None:
                yield Call(self._store, (note, content))
            yield Call(self._ledger.finish, (key,))
            if twin is None:
                self.report.fetched.append(Fetched(message.number, message.uid, len(content), sha256))
            elif not stands_for_content(twin):  # it is one message, and no second one is to pass for it
                yield Call(self._ledger.forget, ([twin.key],))
        elif note.deleted:
            yield Call(self._ledger.finish, (key,))
        self._known.put(Note(key, note.first_seen, sha256, stored=True))
        self._safe[message] = key

    def _delete(self) -> Flow[None]:
        """Mark what is to go from the server, all at once."""
        notes = {message: self._known[key] for message, key in self._safe.items()}
        due = {message: note.key for message, note in notes.items() if self._is_due(message, note)}
        if not due:
            return
        yield Call(self._ledger.mark_deleted, (list(due.values()),))
        for message, command in [(message, self._conn.dele(message.number)) for message in due]:
            response = yield from wait_done(self._conn, command)
            if response.ok:
                self.report.deleted.append(message.number)
            else:
                self.report.refused.append(ResponseError(response, command.verb))

    def _is_due(self, message: MessageListing, note: Note) -> bool:
        """Whether a message that is safe here may go from the server."""
        policy = self._policy
        is_old = policy.delete_after is not None and self._now - note.first_seen >= policy.delete_after
        is_big = policy.delete_over is not None and message.size > policy.delete_over
        return is_old or is_big or not policy.keep
