"""The policies of domains on disk, a file each, so that a relay that is started again knows them still."""

from __future__ import annotations

import json
import math
import os
import secrets
import threading
from dataclasses import dataclass
from pathlib import Path

from mailproto._core.checks import check_count, check_path
from mailproto._core.system import require_posix
from mailproto.errors import GrammarError
from mailproto.maildrop.durable import fsync_directory, make_directory, write_durably
from mailproto.smtp.sts import Mode, Policy


@dataclass(frozen=True, slots=True)
class Kept:
    """A policy as it is kept.

    Args:
        policy: what the domain has said.
        id: which policy its record said that this is.
        fetched: when, in seconds of the Unix clock.
    """

    policy: Policy
    id: str
    fetched: float


class PolicyFiles:
    """A directory of policies, which relays may share. Each file is named after its domain, and may be removed at any
    time.
    """

    def __init__(self, path: str | os.PathLike[str], limit: int) -> None:
        """Use the directory ``path``, which is created if missing, for so many policies at most.

        Raises:
            NotSupportedError: the system is not POSIX: its files cannot take the place of others while they are read.
        """
        check_path(path)
        require_posix("a store of policies")
        self._path = Path(path)
        check_count("max_policies", limit, 1)
        self._limit = limit
        self._lock = threading.Lock()
        make_directory(self._path)

    def load(self, domain: str) -> Kept | None:
        """Return the policy of a domain, None if there is none.

        Raises:
            OSError: it cannot be read.
            GrammarError: what is there is none.
        """
        try:
            return _decode((self._path / domain).read_bytes())
        except FileNotFoundError:
            return None

    def save(self, domain: str, kept: Kept) -> None:
        """Keep a policy, in place of the one before it, or, if there is no room, of the one that was kept first.

        It is on disk at return.

        Raises:
            OSError: the disk does not take it.
        """
        with self._lock:
            draft = self._path / f".{secrets.token_hex(8)}"  # which is no domain, and no other relay's draft
            with write_durably(draft) as file:
                file.write(_encode(kept))
            self._make_room(draft.name, domain)
            draft.rename(self._path / domain)
            fsync_directory(self._path)

    def _make_room(self, *needed: str) -> None:
        """Remove what is oldest, if it is too much: the drafts that crashes have left, too."""
        with os.scandir(self._path) as files:
            others = [file for file in files if file.name not in needed]
        others.sort(key=_last_change)
        for file in others[: max(0, len(others) + 1 - self._limit)]:
            Path(file).unlink(missing_ok=True)


def _last_change(file: os.DirEntry[str]) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # another relay has had it go
        return math.inf


def _encode(kept: Kept) -> bytes:
    policy = kept.policy
    written = {"mode": policy.mode.value, "max_age": policy.max_age, "mx": policy.mx}
    return json.dumps({"id": kept.id, "fetched": kept.fetched, **written}, indent=1).encode()


def _decode(octets: bytes) -> Kept:
    try:
        read = json.loads(octets)
        policy = Policy(Mode(read["mode"]), int(read["max_age"]), tuple(map(str, read["mx"])))
        return Kept(policy, str(read["id"]), float(read["fetched"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise GrammarError("not a policy that was kept") from error
