"""Running the jobs of a module of workers, of a Maildir or an mbox."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from mailproto.maildrop import Maildir, Mbox

REPOSITORY = Path(__file__).parents[2]
DropT = TypeVar("DropT", Maildir, Mbox)


@contextmanager
def worker(job: Callable[[DropT], None], drop: DropT) -> Iterator[subprocess.Popen[str]]:
    """Run a job in a process that does not outlive the block."""
    command = [sys.executable, "-m", job.__module__, job.__name__, str(drop.path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=REPOSITORY) as process:
        try:
            yield process
        finally:
            process.kill()
