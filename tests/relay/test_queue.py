"""A queue keeps what it has taken: over restarts, over crashes at any step, and for one relay at a time."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailproto.errors import GrammarError, NotSupportedError
from mailproto.maildrop.durable import write_durably
from mailproto.relay import Entry, Pending, Queue, QueueInUseError, UnreadableError, new_name
from mailproto.smtp import MailParameters
from tests.relay import ADA, BOB, CAROL, MESSAGE, START, content_of, files
from tests.relay.workers import is_whole

REPOSITORY = Path(__file__).parents[2]
ENTRY = Entry("m1", ADA, (Pending(BOB), Pending(CAROL)), START, START)


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "deep" / "queue")


def test_from_its_arrival_to_its_end(queue: Queue) -> None:
    queue.add(ENTRY, [MESSAGE[:9], MESSAGE[9:]])
    again = Queue(queue.path)
    assert again.names() == ["m1"]
    assert again.load("m1") == replace(ENTRY, size=len(MESSAGE))
    assert content_of(again, "m1") == MESSAGE
    changed = replace(ENTRY, recipients=ENTRY.recipients[1:], due=START + 1)
    queue.save(changed)
    assert again.load("m1") == changed
    queue.save(replace(ENTRY, recipients=()))
    assert files(queue) == []


def test_nobody_else_may_read_it(queue: Queue) -> None:
    queue.add(ENTRY, [MESSAGE])
    assert all(path.stat().st_mode & 0o077 == 0 for path in (queue.path, *queue.path.rglob("*")))


def test_a_message_that_breaks_off_leaves_nothing(queue: Queue) -> None:
    def breaks() -> Iterator[bytes]:
        yield MESSAGE
        raise OSError("no more of it")

    with pytest.raises(OSError, match="no more"):
        queue.add(ENTRY, breaks())
    with pytest.raises(NotSupportedError):
        queue.add(replace(ENTRY, parameters=MailParameters(mt_priority=1)), [MESSAGE])
    assert files(queue) == []


@pytest.mark.parametrize("name", ["", "..", "../m1", ".m1", "m1.", "m..1", "m/1", "m_1", "m1\n", "\u0663", "m" * 41])
def test_what_is_no_name_is_refused(queue: Queue, name: str) -> None:
    """It is that of a file, and of notices."""
    with pytest.raises(GrammarError, match="name"):
        queue.add(replace(ENTRY, name=name), [MESSAGE])
    assert files(queue) == []


@pytest.mark.parametrize("step", ["entries-m1", "rename", "fsync"])
def test_what_is_not_taken_leaves_nothing(queue: Queue, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """A disk that is full does not keep what was refused, nor does the relay find what its sender sends again."""

    def write(path: Path, **how: Any) -> Any:
        if path.name == step:
            raise OSError(errno.ENOSPC, "the disk is full")
        return write_durably(path, **how)

    def rename(path: Path, target: Path) -> None:
        if step == "rename" and target.parent.name == "entries":
            raise OSError(errno.ENOSPC, "the directory cannot grow")
        real_rename(path, target)

    def fsync(path: Path) -> None:
        if path.name == "entries" and "fsync" in steps:
            steps.remove("fsync")  # it passes
            raise OSError(errno.EMFILE, "too many files")

    real_rename = Path.rename
    steps = {step}
    monkeypatch.setattr("mailproto.relay.queue.write_durably", write)
    monkeypatch.setattr("mailproto.relay.queue.fsync_directory", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match=r"full|grow|many"):
        queue.add(ENTRY, [MESSAGE])
    assert files(queue) == []


def test_what_somebody_else_has_written_stays(queue: Queue) -> None:
    (queue.path / "entries" / "odd").write_bytes(b"?")
    for _ in range(2):
        assert queue.names() == ["odd"]
        with pytest.raises(UnreadableError, match="odd"):
            queue.load("odd")


@pytest.mark.parametrize("copy", ["m1~", ".m1.swp", "#m1#", ".nfs0001"])
def test_what_an_editor_leaves_is_no_entry(queue: Queue, copy: str) -> None:
    """An operator mends an entry, or looks into one that was set aside."""
    queue.add(ENTRY, [MESSAGE])
    for folder in ("entries", "unreadable"):
        (queue.path / folder / copy).write_bytes((queue.path / "entries/m1").read_bytes())
    assert queue.names() == ["m1"]
    assert queue.unreadable() == []


def test_a_message_of_another_size_is_not_opened(queue: Queue) -> None:
    queue.add(ENTRY, [MESSAGE])
    with queue.open("m1", len(MESSAGE)) as file:
        assert file.read() == MESSAGE
    with pytest.raises(UnreadableError, match=f"{len(MESSAGE)} octets of 7"):
        queue.open("m1", 7)


def test_names_sort_by_time_and_never_come_twice() -> None:
    names = [new_name() for _ in range(1000)]
    assert [name[:16] for name in names] == sorted(name[:16] for name in names)
    assert len(set(names)) == 1000


def test_one_relay_at_a_time(queue: Queue) -> None:
    with queue.reserved(), pytest.raises(QueueInUseError, match="another relay"), Queue(queue.path).reserved():
        pass
    with queue.reserved():
        pass


def test_what_a_crash_has_left_is_swept_away(queue: Queue) -> None:
    queue.add(ENTRY, [MESSAGE])
    for path in ("tmp/messages-old", "messages/old", "tmp/messages-new", "messages/new"):
        (queue.path / path).write_bytes(b"half a mess")
    for path in ("tmp/messages-old", "messages/old", "messages/m1", "entries/m1"):
        os.utime(queue.path / path, (0, 0))
    with queue.reserved():
        assert files(queue) == ["entries/m1", "lock", "messages/m1", "messages/new", "tmp/messages-new"]


def test_what_is_moved_back_while_the_rest_is_swept_away_stays(queue: Queue) -> None:
    class Mended(Queue):
        def names(self) -> list[str]:
            names = super().names()
            (self.path / "unreadable/m1").rename(self.path / "entries/m1")
            return names

    queue.add(ENTRY, [MESSAGE])
    os.utime(queue.path / "messages/m1", (0, 0))
    queue.set_aside("m1", UnreadableError("for a moment"))
    with Mended(queue.path).reserved():
        assert files(queue) == ["entries/m1", "lock", "messages/m1"]


def test_a_process_that_dies_at_any_step(queue: Queue) -> None:
    """Taken means whole and there; not taken means not there; and what was to be done is never half of it."""
    command = [sys.executable, "-m", "tests.relay.workers", "die_at_every_step", str(queue.path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, timeout=100, check=True)
    told = [line.split(" ") for line in done.stdout.decode().split("\n")[:-1]]
    assert len(told) > 100
    left = {name: queue.load(name) for name in queue.names()}
    assert None not in left.values()
    for name, state in told:
        if state == "begun":
            continue
        entry = left.get(name)
        if state == "removed":
            assert entry is None
        elif entry is not None:  # else it was being removed
            assert is_whole(content_of(queue, name))
            assert len(entry.recipients) in ((2, 1) if state == "added" else (1,))
    # Those that died early enough are all there.
    assert {name for name, state in told if state == "added"} & set(left)
    assert {name for name, state in told if state == "begun"} - set(left)
