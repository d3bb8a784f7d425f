"""What the tests let other processes do with an mbox: ``python -m tests.mbox.workers JOB MBOX``."""

from __future__ import annotations

import fcntl
import os
import random
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from mailproto.maildrop import Mbox
from tests.maildrop.workers import die_at, die_doing, message, tell, was_killed


def deliver(mbox: Mbox) -> None:
    """Deliver 25 messages and tell each unique-id."""
    for number in range(25):
        tell(mbox.deliver(message(f"{os.getpid()} {number}", lines=number)))


def deliver_without_end(mbox: Mbox) -> None:
    """Deliver until killed, and tell each unique-id."""
    for number in count():
        tell(mbox.deliver(message(f"{os.getpid()} {number}", lines=number * 97 % 5000)))
        let_others_in()


def delete_without_end(mbox: Mbox) -> None:
    """Delete some of what there is, over and over until killed; tell each unique-id before."""
    while True:
        snapshot = mbox.open()
        numbers = [number for number in range(1, len(snapshot.messages) + 1) if random.random() < 0.3]
        for number in numbers:
            tell(snapshot.messages[number - 1].uid)
        snapshot.commit(numbers)
        snapshot.close()
        let_others_in()


def let_others_in() -> None:
    """Leave the lock to those who try it now and then: where a disk is slow it is free for no more than a moment."""
    time.sleep(random.uniform(0, 0.05))


def run_and_die(job: Callable[[], str], step: int) -> tuple[str, bool]:
    """Run ``job`` in a process that is killed at its ``step``-th call of the system, or return from one.

    Returns:
        What the job returned, or "", and whether the process was killed.
    """
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        die_doing(job, die_at_system_call(step), writer)
    os.close(writer)
    result = os.read(reader, 1000).decode()
    os.close(reader)
    _, status = os.waitpid(child, 0)
    return result, was_killed(status)


def die_at_system_call(step: int) -> Callable[[object, str, object], None]:
    """Return a profiler that kills the process at that call into the system or a file, or return from one."""
    profile = die_at(step)

    def profile_calls(frame: object, event: str, function: object) -> None:
        if event.startswith("c_"):
            owner = type(getattr(function, "__self__", None)).__module__
            if owner == "_io" or getattr(function, "__module__", "") in ("posix", "fcntl"):
                profile(frame, event, function)

    return profile_calls


def hold_file_lock(mbox: Mbox) -> None:
    """Hold the lock that ``fcntl`` makes, as other programs do, until standard input ends."""
    with mbox.path.open("ab") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        tell("held")
        sys.stdin.read()


def hold_dot_lock(mbox: Mbox) -> None:
    """Hold the dot-lock, as other programs do, with its number and the name of the machine in it."""
    dot_lock = mbox.path.with_name(mbox.path.name + ".lock")
    dot_lock.write_text(f"{os.getpid()}:{os.uname().nodename}")
    tell("held")
    sys.stdin.read()
    dot_lock.unlink()


def try_locks(mbox: Mbox) -> None:
    """Hold the mbox locked as we do, and tell what another program finds while we do."""
    with mbox._lock():
        if (child := os.fork()) == 0:
            tell(mbox.path.with_name(mbox.path.name + ".lock").read_text() == f"{os.getppid()}:{os.uname().nodename}")
            with Path(mbox.path).open("ab") as file:
                try:
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    tell("no lock")
                except OSError:
                    tell("locked")
            os._exit(0)
        os.waitpid(child, 0)


ALL = (deliver, deliver_without_end, delete_without_end, hold_file_lock, hold_dot_lock, try_locks)
JOBS = {job.__name__: job for job in ALL}

if __name__ == "__main__":
    JOBS[sys.argv[1]](Mbox(sys.argv[2], lock_timeout=60))
