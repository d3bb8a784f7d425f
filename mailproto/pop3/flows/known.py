"""What messages are known by: their unique-ids, or, where these are missing or worth nothing, their content."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from operator import attrgetter

from mailproto.pop3.flows.client import MessageListing
from mailproto.pop3.flows.notes import Note

_CONTENT = "sha256:"  # begins the key of a message without a unique-id; a unique-id could look so, and would be one


class KnownMessages:
    """The notes of a ledger, beside what a server lists.

    Args:
        notes: the notes, by key.
        listed: what the server lists.
    """

    def __init__(self, notes: dict[str, Note], listed: Iterable[MessageListing]) -> None:
        self._notes = notes
        self._there = {message.uid for message in listed}
        # The keys, by digests; of equal messages that of one that is stored.
        self._keys = {note.sha256: note.key for note in sorted(notes.values(), key=attrgetter("stored"))}
        self._unnamed = self._find_unnamed()
        self._renamed: dict[str, str] = {}  # what stands now for the notes that were taken

    def _find_unnamed(self) -> dict[str, list[Note]]:
        """Return the notes of what is stored and has no longer the unique-id that it had, by digests.

        What was to be deleted is no such thing: it has lost its unique-id because it is gone.
        """
        unnamed: dict[str, list[Note]] = {}
        for note in self._notes.values():
            if note.stored and not (note.deleted or note.key in self._there):
                unnamed.setdefault(note.sha256, []).append(note)
        return unnamed

    def __getitem__(self, key: str) -> Note:
        return self._notes[self._renamed.get(key, key)]

    def get(self, key: str) -> Note | None:
        """Return the note with this key, None if there is none."""
        return self._notes.get(key)

    def put(self, note: Note) -> None:
        """Have a message known that is stored now."""
        self._notes[note.key] = note
        self._keys[note.sha256] = note.key

    @property
    def any_by_unique_id(self) -> bool:
        """Whether some are known by their unique-ids."""
        return not all(map(_is_content, self._notes))

    def is_safe(self, key: str) -> bool:
        """Say whether the message of this key is stored, and no other one can be meant."""
        note = self._notes.get(key)
        return note is not None and note.stored and not note.deleted

    def key_of(self, message: MessageListing, sha256: str) -> str:
        """Return the key of a message: without a unique-id, that of any note of its content, which once had one."""
        if message.uid is not None:
            return message.uid
        key = self._keys.get(sha256, "")
        note = self._notes.get(key)
        return key if note is not None and note.sha256 == sha256 else _CONTENT + sha256

    def take_twin(self, key: str, sha256: str) -> Note | None:
        """Return the note of what is stored with this content and has no unique-id any more, None if there is none.

        What is known by content stands for all messages that have it; else each note for one, and is taken once. The
        note that is put under ``key`` stands for it then.
        """
        note = self._notes.get(_CONTENT + sha256)
        if note is not None and note.stored and note.sha256 == sha256:
            return note
        unnamed = self._unnamed.get(sha256)
        if not unnamed:
            return None
        twin = self._notes.pop(unnamed.pop().key)
        self._renamed[twin.key] = key
        return twin

    def vanished(self, safe: Collection[str], *, all_seen: bool, ids_seen: bool) -> list[str]:
        """Return the keys of what is gone from the server; none if all is, which is more often its mishap than true.

        Args:
            safe: the keys of the messages that are there.
            all_seen: whether all messages were fetched, which it takes to miss one that is known by its content.
            ids_seen: whether all unique-ids that are known could be seen, if they are there.
        """
        if not self._there:
            return []
        seen = self._there.union(safe)
        unseen = [key for key in self._notes if key not in seen]
        return [key for key in unseen if (all_seen if _is_content(key) else ids_seen)]


def stands_for_content(note: Note) -> bool:
    """Say whether a note is of a content, and so of all messages that have it."""
    return _is_content(note.key)


def with_trusted_ids(listed: list[MessageListing]) -> list[MessageListing]:
    """Return the listing without unique-ids that are not unique: who has one like it cannot be known by it."""
    counts = Counter(message.uid for message in listed)
    return [message if counts[message.uid] == 1 else message._replace(uid=None) for message in listed]


def _is_content(key: str) -> bool:
    return key.startswith(_CONTENT)
