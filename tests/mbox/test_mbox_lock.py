"""The locks on an mbox, met from both sides: by other programs, and by threads."""

import os
import socket
import threading
import time
from itertools import count
from pathlib import Path

import pytest

from mailproto.maildrop import MaildropBusyError, Mbox, mbox_lock
from tests.adapters.harness import PATIENCE
from tests.interrupts import interrupted
from tests.maildrop.processes import worker
from tests.mbox import FOREIGN, leftovers, mbox_of, now_in
from tests.mbox.processes import holding
from tests.mbox.workers import hold_dot_lock, hold_file_lock, try_locks

HOST = socket.gethostname()


@pytest.fixture
def mbox(tmp_path: Path) -> Mbox:
    return Mbox(tmp_path / "mbox", lock_timeout=0.15)


def dot_lock_of(mbox: Mbox) -> Path:
    return mbox.path.with_name("mbox.lock")


def a_dead_process() -> int:
    if (child := os.fork()) == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return child


def test_other_programs_find_both_locks(mbox: Mbox) -> None:
    with worker(try_locks, mbox) as process:
        told, _ = process.communicate(timeout=PATIENCE)
    assert told == "True\nlocked\n"
    assert not dot_lock_of(mbox).exists()


@pytest.mark.parametrize("job", [hold_file_lock, hold_dot_lock])
def test_another_program_is_waited_for_but_not_for_ever(mbox: Mbox, job: object) -> None:
    mbox.deliver([b"first\r\n"])
    with holding(hold_file_lock if job is hold_file_lock else hold_dot_lock, mbox) as process:
        begun = time.monotonic()
        with pytest.raises(TimeoutError):
            mbox.deliver([b"x\r\n"])
        with pytest.raises(MaildropBusyError):
            mbox.open()
        assert 0.2 < time.monotonic() - begun < PATIENCE
        patient = Mbox(mbox.path, lock_timeout=PATIENCE)
        threading.Timer(0.1, lambda: process.stdin and process.stdin.close()).start()
        patient.deliver([b"second\r\n"])
    assert now_in(patient) == [b"first\r\n", b"second\r\n"]
    assert leftovers(mbox) == []


def test_a_session_waits_at_retrieve_and_at_commit(mbox: Mbox) -> None:
    mbox.deliver([b"first\r\n"])
    snapshot = mbox.open()
    with holding(hold_file_lock, mbox):
        with pytest.raises(TimeoutError):
            snapshot.retrieve(1)
        with pytest.raises(TimeoutError):
            snapshot.commit([1])
    assert b"".join(snapshot.retrieve(1)) == b"first\r\n"


def test_a_reader_is_kept_out_by_a_writer_and_by_no_dot_lock(mbox: Mbox) -> None:
    mbox.deliver([b"first\r\n"])
    with holding(hold_file_lock, mbox), pytest.raises(MaildropBusyError):
        mbox.open_read_only()
    with holding(hold_dot_lock, mbox):
        assert len(mbox.open_read_only().messages) == 1


@pytest.mark.parametrize("owner", ["{dead}:{host}", "{self}:{host}"])
def test_the_dot_lock_of_a_process_that_is_gone_is_broken(mbox: Mbox, owner: str) -> None:
    """A process of our own number that is not us is gone, too: in a container, numbers come again."""
    dot_lock_of(mbox).write_text(owner.format(dead=a_dead_process(), self=os.getpid(), host=HOST))
    mbox.deliver([b"x\r\n"])
    assert now_in(mbox) == [b"x\r\n"]
    assert leftovers(mbox) == []


@pytest.mark.parametrize(
    "owner", ["", "0", "{dead}", "{dead}:elsewhere.example", "-1:{host}", "{parent}:{host}", "1:{host}", "9" * 400]
)
def test_any_other_dot_lock_is_respected_until_it_is_old(mbox: Mbox, owner: str) -> None:
    text = owner.format(dead=a_dead_process(), parent=os.getppid(), host=HOST)
    dot_lock_of(mbox).write_text(text)
    with pytest.raises(TimeoutError):
        mbox.deliver([b"x\r\n"])
    assert dot_lock_of(mbox).read_text() == text
    long_ago = time.time() - 301
    os.utime(dot_lock_of(mbox), (long_ago, long_ago))
    with pytest.raises(TimeoutError):  # for the mbox changes yet
        mbox.deliver([b"x\r\n"])
    os.utime(mbox.path, (long_ago, long_ago))
    mbox.deliver([b"x\r\n"])
    assert leftovers(mbox) == []


def test_who_waited_for_a_file_that_was_replaced_takes_the_new_one(tmp_path: Path) -> None:
    mbox = mbox_of(tmp_path / "mbox", FOREIGN)
    with mbox_lock.locked(mbox.path, 1) as box:
        waiting = threading.Thread(target=mbox.deliver, args=([b"late\r\n"],))
        waiting.start()
        time.sleep(0.05)
        draft = mbox.path.with_name("draft")
        draft.write_bytes(FOREIGN * 2)
        draft.rename(mbox.path)
        assert os.fstat(box.descriptor).st_nlink == 0
    waiting.join()
    assert len(now_in(mbox)) == 3


def test_a_file_replaced_between_opening_and_locking_it_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mbox = mbox_of(tmp_path / "mbox", FOREIGN)
    draft = tmp_path / "draft"
    draft.write_bytes(FOREIGN * 2)
    lock_file = mbox_lock._lock_file

    def replace_and_lock(descriptor: int, *, shared: bool = False) -> bool:
        if draft.exists():
            draft.rename(mbox.path)
        return lock_file(descriptor, shared=shared)

    monkeypatch.setattr(mbox_lock, "_lock_file", replace_and_lock)
    mbox.deliver([b"late\r\n"])
    assert len(now_in(mbox)) == 3


def test_threads_keep_each_other_out(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    inside: list[int] = []
    seen: list[int] = []

    def enter() -> None:
        for _ in range(10):
            with mbox_lock.locked(path, 30):
                inside.append(1)
                seen.append(len(inside))
                time.sleep(0.001)
                inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 40


def test_a_fork_inherits_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "mbox"
    reader, writer = os.pipe()
    with mbox_lock.locked(path, 1):
        if (child := os.fork()) == 0:
            os.close(writer)
            os.read(reader, 1)  # until the parent has made its test
            os._exit(0)
    with mbox_lock.locked(path, 1):
        pass
    os.close(writer)
    os.close(reader)
    os.waitpid(child, 0)


@pytest.mark.parametrize("function", ["fcntl", "fstat", "stat", "write", "link", "unlink", "add", "discard"])
def test_an_interrupt_leaves_no_lock_behind(mbox: Mbox, function: str) -> None:
    """It may come while a system call is under way, and the program may go on, as an interpreter does."""
    for number in count(1):
        if not interrupted(number, [function], lambda: mbox.deliver([b"x\r\n"])):
            break
        mbox.deliver([b"y\r\n"])
    assert number > 1
    assert leftovers(mbox) == []


def test_no_dot_lock_where_none_can_be_made(mbox: Mbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*arguments: object) -> None:
        raise PermissionError("not in this directory")

    monkeypatch.setattr(os, "link", forbidden)
    with pytest.raises(PermissionError):
        mbox.deliver([b"x\r\n"])
    monkeypatch.undo()
    mbox.deliver([b"y\r\n"])
    assert now_in(mbox) == [b"y\r\n"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_where_there_is_no_room_mail_can_be_read_and_deleted(mbox: Mbox, monkeypatch: pytest.MonkeyPatch) -> None:
    mbox.deliver([b"x\r\n"])
    real_open = os.open

    def full(path: str | Path, flags: int, mode: int = 0o777) -> int:
        descriptor = real_open(path, flags, mode)
        if str(path).endswith("-dot"):
            os.dup2(device, descriptor)
        return descriptor

    device = real_open("/dev/full", os.O_WRONLY)
    monkeypatch.setattr(os, "open", full)
    assert now_in(mbox) == [b"x\r\n"]
    snapshot = mbox.open()
    dot_lock_of(mbox).touch()
    with pytest.raises(TimeoutError):
        snapshot.commit([1])
    dot_lock_of(mbox).unlink()
    snapshot.commit([1])
    snapshot.close()
    assert now_in(mbox) == []
    assert leftovers(mbox) == []
    os.close(device)
