"""What all tests share: no deadline for an example of hypothesis, since a loaded machine makes one a coin toss."""

import asyncio
import gc
import importlib
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# With CI set, hypothesis loads a profile of its own: no deadline either, and the same examples in every run.
if "CI" not in os.environ:
    settings.register_profile("mailproto", deadline=None)
    settings.load_profile("mailproto")


def pytest_configure() -> None:
    """Heed Ctrl-C, as do then the programs started here: what runs in the background is made to ignore it. Use the
    event loop that is asked for."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if module := os.environ.get("MAILPROTO_EVENT_LOOP"):  # of another loop than asyncio's own, such as uvloop
        asyncio.set_event_loop_policy(importlib.import_module(module).EventLoopPolicy())


def pytest_collection_finish() -> None:
    """Spare whoever collects garbage, or forks, the thousands of tests that were collected."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def memory_path(tmp_path: Path) -> Iterator[Path]:
    """Return an empty folder in memory, if there is any: to a process that is killed it is as durable as a disk."""
    memory = Path("/dev/shm")
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)
