"""A message being collected, in memory or in a file."""

from __future__ import annotations

import errno
import gc
import io
import sys
import tracemalloc
from types import FrameType
from typing import Any

import pytest

from mailproto._core.spool import Spool


@pytest.mark.parametrize("threshold", [0, 1, 9, 10, 100])
def test_the_pieces_come_back_as_often_as_wanted(threshold: int) -> None:
    spool = Spool(threshold)
    for piece in (b"one ", b"", b"two ", b"three"):
        spool.write(piece)
    for _ in range(2):
        assert bytes(spool) == b"one two three"
        assert b"".join(spool) == b"one two three"
    assert len(spool) == 13
    spool.write(b"!")
    assert bytes(spool) == b"one two three!"


@pytest.mark.parametrize("threshold", [0, 100])
def test_two_readers_do_not_disturb_each_other_or_the_writer(threshold: int) -> None:
    spool = Spool(threshold)
    spool.write(b"x" * (300 << 10))
    first, second = iter(spool), iter(spool)
    a, b = next(first), next(second)
    spool.write(b"y")
    assert a + b"".join(first) in (b"x" * (300 << 10), b"x" * (300 << 10) + b"y")
    assert (b + b"".join(second)).startswith(b"x" * (300 << 10))
    assert bytes(spool) == b"x" * (300 << 10) + b"y"


@pytest.mark.parametrize("threshold", [0, 100])
def test_writing_in_the_middle_of_reading_appends(threshold: int) -> None:
    spool = Spool(threshold)
    spool.write(b"a" * (600 << 10))
    reader = iter(spool)
    next(reader)
    spool.write(b"b")
    assert bytes(spool) == b"a" * (600 << 10) + b"b"


def test_a_large_message_takes_no_memory() -> None:
    """S24: beyond the threshold it is on disk."""
    spool = Spool(64 << 10)
    piece = b"x" * (64 << 10)
    tracemalloc.start()
    for _ in range(256):
        spool.write(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20
    assert len(spool) == 16 << 20
    assert sum(map(len, spool)) == 16 << 20


@pytest.mark.parametrize("threshold", [0, 100])
def test_close_throws_it_away(threshold: int) -> None:
    """And leaves no empty message in its place, for a hook that comes late from its thread to store."""
    spool = Spool(threshold)
    spool.write(b"secret")
    spool.close()
    spool.close()
    with pytest.raises(ValueError, match="closed"):
        bytes(spool)
    with pytest.raises(ValueError, match="closed"):
        iter(spool)


def test_what_is_closed_by_another_thread_at_that_moment_is_not_empty() -> None:
    """A hook in a thread may begin to read at the moment in which it is cancelled."""
    outcomes = set[str]()
    lines = {line for _, _, line in Spool.__iter__.__code__.co_lines() if line is not None}
    for reading in lines:
        spool = Spool()
        spool.write(b"secret")
        outcomes.add(_read_while(reading, spool))
    assert outcomes == {"secret", "ValueError"}


def _read_while(line: int, spool: Spool) -> str:
    """Read a spool that is closed before this line of the reading is reached."""

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is Spool.__iter__.__code__ and event == "line" and frame.f_lineno == line:
            spool.close()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        return bytes(spool).decode()
    except ValueError as error:
        return type(error).__name__
    finally:
        sys.settrace(before)


@pytest.mark.filterwarnings("error::ResourceWarning")
def test_a_forgotten_spool_closes_its_file() -> None:
    spool = Spool(0)
    spool.write(b"x")
    file = spool._file
    assert file is not None
    del spool
    gc.collect()
    assert file.closed


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_what_is_thrown_away_need_not_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is noticed by some files only when they are closed."""

    class Full(io.BytesIO):
        def close(self) -> None:
            super().close()
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", Full)
    for close in (True, False):
        spool = Spool(0)
        spool.write(b"x")
        if close:
            spool.close()
        del spool
        gc.collect()
