"""What a snapshot of many messages costs: ``python -m tests.mbox.measure [MESSAGES]``."""

from __future__ import annotations

import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mailproto.maildrop import Maildir, Maildrop, Mbox

T = TypeVar("T")
HEADER = b"".join(b"X-Field-%d: something of a length that is usual\n" % number for number in range(15))
LINE = b"0123456789abcdef" * 4 + b"\n"


def text(number: int) -> bytes:
    """Return a message of 2.7 kB on average."""
    return b"Subject: %d\n" % number + HEADER + b"\n" + LINE * (number % 60)


def fill_mbox(path: Path, messages: int, kept: bool) -> Mbox:
    """Make an mbox: of our own messages, which keep their unique-ids, or of another program's."""
    with path.open("wb") as file:
        for number in range(messages):
            uid = b"X-UIDL: %032x\n" % number if kept else b""
            file.write(b"From ada@example.org Thu Nov 29 12:33:52 2001\n" + uid + text(number) + b"\n")
    time.sleep(2.1)  # so that the index is kept
    return Mbox(path)


def fill_maildir(path: Path, messages: int, with_sizes: bool) -> Maildir:
    """Make a Maildir, whose files have their sizes in their names or not."""
    maildir = Maildir(path)
    for number in range(messages):
        content = text(number)
        sizes = f",S={len(content)},W={len(content) + content.count(10)}" if with_sizes else ""
        (path / "cur" / f"{1_000_000_000 + number}.M{number}P1Q{number}.host{sizes}:2,S").write_bytes(content)
    return maildir


def timed(job: Callable[[], T]) -> tuple[float, T]:
    """Return how many seconds a job took, and its result."""
    begun = time.perf_counter()
    result = job()
    return time.perf_counter() - begun, result


def measure(name: str, drop: Maildrop) -> None:
    """Print what the first snapshot takes, what the second takes, and how much memory that is."""
    first, snapshot = timed(drop.open)
    snapshot.close()
    second, snapshot = timed(drop.open)
    snapshot.close()
    tracemalloc.start()
    snapshot = drop.open()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    snapshot.close()
    print(f"{name:26} first {first:5.2f} s, again {second:5.2f} s; {kept / 1e6:.1f} MB, at most {peak / 1e6:.1f} MB")


def measure_session(mbox: Mbox) -> None:
    """Print what it takes to fetch from an mbox, and to delete every other message, and all."""
    snapshot = mbox.open()
    some = min(len(snapshot.messages), 2000)
    fetching, _ = timed(lambda: [b"".join(snapshot.retrieve(number)) for number in range(1, some + 1)])
    half, _ = timed(lambda: snapshot.commit(range(1, len(snapshot.messages), 2)))
    snapshot.close()
    snapshot = mbox.open()
    rest, _ = timed(lambda: snapshot.commit(range(1, len(snapshot.messages) + 1)))
    snapshot.close()
    print(f"{'':26} {some / fetching:.0f} fetched a second; half deleted in {half:.2f} s, the rest in {rest:.2f} s")


def main() -> None:
    """Measure all kinds."""
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure("mbox, delivered here", mbox := fill_mbox(folder / "ours", messages, True))
        print(f"{'':26} {mbox.path.stat().st_size / 1e6:.0f} MB of mail")
        measure_session(mbox)
        measure("mbox, delivered elsewhere", fill_mbox(folder / "theirs", messages, False))
        measure("Maildir, sizes in names", fill_maildir(folder / "maildir", messages, True))
        measure("Maildir, no sizes", fill_maildir(folder / "bare", messages, False))


if __name__ == "__main__":
    main()
