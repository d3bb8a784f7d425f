"""A disk that fails once, at any one step: what is said of a job is true, and the mbox can be used as before."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mailproto.maildrop import Mbox
from tests.mbox import now_in

STEPS = ("open", "read", "write", "pread", "fstat", "fsync", "ftruncate", "link", "unlink", "dup", "close")
OLD, NEW = b"Subject: old\r\n\r\nFrom me\r\n", b"Subject: new\r\n\r\nFrom me\r\n"


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Step:
    """The system call that is to fail: the ``number``-th of those that a job makes."""

    def __init__(self, number: int) -> None:
        self.left = number

    def take(self, call: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        self.left -= 1
        if self.left == 0 and call.__name__ != "close":
            raise OSError(f"{call.__name__} failed")
        result = call(*arguments, **keywords)
        if self.left == 0:  # a descriptor is closed, whatever is told of it
            raise OSError("close failed")
        return result


@contextmanager
def failing(number: int) -> Iterator[Step]:
    step = Step(number)
    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            call = getattr(os, name)
            patch.setattr(os, name, lambda *given, call=call, **named: step.take(call, *given, **named))
        yield step


def deliver(mbox: Mbox) -> None:
    mbox.deliver([NEW])


def delete_the_first(mbox: Mbox) -> None:
    snapshot = mbox.open()
    try:
        snapshot.commit([1])
    finally:
        snapshot.close()


@pytest.mark.parametrize(
    ("job", "after"), [(deliver, [OLD, OLD, NEW]), (delete_the_first, [OLD])], ids=["deliver", "delete"]
)
def test_a_disk_that_fails_once_at_any_step(tmp_path: Path, job: Callable[[Mbox], None], after: list[bytes]) -> None:
    number = 0
    failed = False
    while not number or failed:
        number += 1
        mbox = Mbox(tmp_path / str(number) / "mbox", lock_timeout=0.1)
        for _ in range(2):
            mbox.deliver([OLD])
        open_before = descriptors()
        error = None
        with failing(number) as step:
            try:
                job(mbox)
            except OSError as raised:
                error = raised
        failed = step.left <= 0
        assert descriptors() == open_before, error
        now = now_in(mbox)
        if error is None:
            assert now == after
        elif job is deliver:
            assert now == [OLD, OLD], error
        else:
            assert now in ([OLD, OLD], after), error
    assert number > 20
