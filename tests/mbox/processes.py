"""Running the jobs of `tests.mbox.workers` that hold something."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mailproto.maildrop import Mbox
from tests.maildrop.processes import worker


@contextmanager
def holding(job: Callable[[Mbox], None], mbox: Mbox) -> Iterator[subprocess.Popen[str]]:
    """Run a job that has told that it holds something."""
    with worker(job, mbox) as process:
        told = process.stdout.readline() if process.stdout else ""
        assert told == "held\n"
        yield process
