"""What the tests let other processes do with a Maildir: ``python -m tests.maildrop.workers JOB MAILDIR``."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import NoReturn

from mailproto.maildrop import Maildir


def message(text: str, lines: int) -> list[bytes]:
    """Return a message that tells by itself whether it is whole: the last line is the hash of what is before."""
    body = f"Subject: {text}\r\n\r\n".encode() + b"0123456789abcdef\r\n" * lines
    return [body[:1000], body[1000:], sha256(body).hexdigest().encode()]


def is_whole(content: bytes) -> bool:
    """Say whether ``content`` is a whole `message`."""
    return sha256(content[:-64]).hexdigest().encode() == content[-64:]


def tell(text: object) -> None:
    """Write a line for the test, in one piece and at once."""
    os.write(1, f"{text}\n".encode())


def deliver(maildir: Maildir) -> None:
    """Deliver 40 messages and tell each unique-id."""
    for number in range(40):
        tell(maildir.deliver(message(f"{os.getpid()} {number}", lines=number)))


def deliver_without_end(maildir: Maildir) -> None:
    """Deliver from two threads until killed, and tell each unique-id."""

    def go_on() -> None:
        for number in count():
            tell(maildir.deliver(message(f"{threading.get_ident()} {number}", lines=number * 97 % 9000)))

    threading.Thread(target=go_on).start()
    go_on()


def deliver_and_die(maildir: Maildir) -> None:
    """Deliver in one process after another, each killed a call of a function later than the one before.

    Tell for each the unique-id it reported, or "". Ends when one lived to the end.
    """
    for step in count(1):
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            die_doing(partial(maildir.deliver, message(f"step {step}", lines=100)), die_at(step), writer)
        os.close(writer)
        _, status = os.waitpid(child, 0)
        tell(os.read(reader, 1000).decode())
        os.close(reader)
        if not was_killed(status):
            return


def die_doing(job: Callable[[], str], profile: Callable[[object, str, object], None], writer: int) -> NoReturn:
    """Run ``job`` under a profiler that kills; in a forked child, of which nothing goes on behind this.

    Whatever else ends the job, too, ends the child: it would go on with the tests of its parent, as the parent does.
    """
    try:
        sys.setprofile(profile)
        result = job()
        os.write(writer, result.encode())
        sys.setprofile(None)
        os._exit(0)
    except BaseException:
        sys.setprofile(None)
        traceback.print_exc()
    finally:
        os._exit(1)


def was_killed(status: int) -> bool:
    """Say whether a child that ran `die_doing` was killed; if not, its job went well."""
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert killed or status == 0, f"the job of a child failed: {status}"
    return killed


def die_at(step: int) -> Callable[[object, str, object], None]:
    """Return a profiler that kills the process at the ``step``-th call, or return from a call."""
    steps = count(1)

    def profile(frame: object, event: str, argument: object) -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return profile


def hold(maildir: Maildir) -> None:
    """Hold a session until standard input ends."""
    snapshot = maildir.open()
    tell("held")
    sys.stdin.read()
    snapshot.close()
    tell("closed")


def fork(maildir: Maildir) -> None:
    """Close a session of which a forked process still holds the descriptors; tell who can open one then."""
    snapshot = maildir.open()
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.read(reader, 1)  # until the parent has closed its session
        maildir.open().close()
        tell("child")
        os._exit(0)
    snapshot.close()
    maildir.open().close()
    tell("parent")
    os.write(writer, b".")
    os.wait()


def login(maildir: Maildir) -> None:
    """Open a session, and tell how many message files were opened for it, how many it has, and their octets."""
    opened: list[str] = []

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and Path(os.fsdecode(str(arguments[0]))).parent.name in ("new", "cur"):
            opened.append(str(arguments[0]))

    sys.addaudithook(audit)
    messages = maildir.open().messages
    tell(json.dumps([len(opened), len(messages), sum(size for size, _ in messages)]))


JOBS = {job.__name__: job for job in (deliver, deliver_without_end, deliver_and_die, hold, fork, login)}

if __name__ == "__main__":
    JOBS[sys.argv[1]](Maildir(sys.argv[2]))
