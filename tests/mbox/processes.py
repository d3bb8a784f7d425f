"""Running the jobs of `tests.mbox.workers`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mailproto.maildrop import Mbox

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def worker(job: Callable[[Mbox], None], mbox: Mbox) -> Iterator[subprocess.Popen[str]]:
    """Run a job in a process that does not outlive the block."""
    command = [sys.executable, "-m", "tests.mbox.workers", job.__name__, str(mbox.path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=REPOSITORY) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def holding(job: Callable[[Mbox], None], mbox: Mbox) -> Iterator[subprocess.Popen[str]]:
    """Run a job that has told that it holds something."""
    with worker(job, mbox) as process:
        told = process.stdout.readline() if process.stdout else ""
        assert told == "held\n"
        yield process
