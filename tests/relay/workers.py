"""What the tests let other processes do with a queue: ``python -m tests.relay.workers JOB QUEUE …``."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

from mailproto import aio
from mailproto.aio import TLSPolicy
from mailproto.relay import Entry, Pending, Queue, Relay, RelayConfig, Target
from mailproto.smtp.routing import MX, StaticResolver
from tests.maildrop.workers import is_whole, message, tell
from tests.relay import ADA, BOB, CAROL, START

__all__ = ["is_whole"]


def die_at_every_step(queue: Queue) -> None:
    """Take, change and remove a message in one process after another, each killed a call later than the one before.

    Tell the name of each, and how far it came.
    """
    for step in count(1):
        name = f"step{step}"
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            entry = Entry(name, ADA, (Pending(BOB), Pending(CAROL)), START, START)
            sys.setprofile(die_at_disk(step))
            queue.add(entry, message(name, lines=50))
            os.write(writer, b"added ")
            queue.save(replace(entry, recipients=entry.recipients[1:]))
            os.write(writer, b"changed ")
            queue.save(replace(entry, recipients=()))
            os.write(writer, b"removed ")
            sys.setprofile(None)
            os._exit(0)
        os.close(writer)
        _, status = os.waitpid(child, 0)
        said = os.read(reader, 1000).decode().split(" ")[:-1]
        os.close(reader)
        tell(f"{name} {said[-1] if said else 'begun'}")
        if not os.WIFSIGNALED(status):
            return


def die_at_disk(step: int) -> Callable[[object, str, Any], None]:
    """Return a profiler that kills the process at the ``step``-th call, or return, of what may touch the disk."""
    steps = count(1)

    def profile(_: object, event: str, function: Any) -> None:
        if event in ("c_call", "c_return"):
            touches = function.__module__ == "posix" or isinstance(getattr(function, "__self__", None), io.IOBase)
            if touches and next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)

    return profile


def work_off(queue: Queue, port: str) -> None:
    """Send what is in the queue to the one host that there is."""
    host = [MX(0, "127.0.0.1.example")]
    resolver = StaticResolver({}, {"127.0.0.1.example": ["127.0.0.1"]}, default=host)

    def make_client(target: Target) -> aio.SMTPClient:
        return aio.SMTPClient(target.address, int(port), tls=TLSPolicy.NONE)

    config = RelayConfig(hostname="relay.example.org", resolver=resolver, make_client=make_client)
    asyncio.run(Relay(queue, config).attempt_due())
    tell("done")


JOBS: dict[str, Callable[..., None]] = {"die_at_every_step": die_at_every_step, "work_off": work_off}

if __name__ == "__main__":
    JOBS[sys.argv[1]](Queue(sys.argv[2]), *sys.argv[3:])
