"""Standard input, output and error. Each may be closed, and output may be full, or a pipe that nobody reads any more.

What cannot be said changes nothing about what was done: a message that was sent must not look as if it was not.
"""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any


def prepare() -> None:
    """Make the streams fit for use. Who reads from a closed one gets an `OSError`, not an empty message."""
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.FileIO(os.devnull, "w"))
    if sys.stderr is None:  # print would take standard output in its place
        sys.stderr = io.TextIOWrapper(io.FileIO(os.devnull, "w"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a report of what was done must not fail by a character


def complain(text: object) -> None:
    """Say something on standard error, if anybody hears it."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def words_of(error: BaseException) -> str:
    """Return an error as people read it: an interrupt has no words of its own."""
    return "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"


def finish() -> None:
    """Leave nothing to standard error that it does not take: Python would try that again at the very end, and have an
    exit status of its own."""
    try:
        sys.stderr.flush()
    except OSError:
        with suppress(OSError):
            sys.stderr.close()


def say(text: str) -> bool:
    """Say something on standard output; return whether it was written."""
    if sys.stdout is None:
        return False
    try:
        print(text, flush=True)
    except OSError as error:
        _give_up_output()
        complain(f"standard output cannot be written: {error}")
        return False
    return True


def print_json(value: dict[str, Any]) -> None:
    """Print one line of JSON, in ASCII: any terminal and any pipe can take it."""
    say(json.dumps(value))


def write(content: Iterable[bytes]) -> None:
    """Write octets to standard output, all of them, as they are.

    Raises:
        OSError: they cannot be written.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, "standard output is closed")
    for piece in content:
        _put(piece)
    _put(b"", flush=True)


def is_terminal() -> bool:
    """Whether standard output is a terminal, which shows and keeps nothing."""
    return sys.stdout is not None and sys.stdout.isatty()


def settle() -> None:
    """Have what was written to standard output on disk, where it is a file.

    Raises:
        OSError: it does not get there.
    """
    with suppress(io.UnsupportedOperation):  # a program's own stream in place of it
        if sys.stdout is not None and stat.S_ISREG(os.fstat(sys.stdout.fileno()).st_mode):
            os.fsync(sys.stdout.fileno())


def _put(data: bytes, *, flush: bool = False) -> None:
    try:
        sys.stdout.buffer.write(data)
        if flush:
            sys.stdout.buffer.flush()
    except OSError:
        _give_up_output()
        raise


def _give_up_output() -> None:
    """Write no more to standard output, not even what waits there: Python would try that again at the very end."""
    with suppress(OSError):
        sys.stdout.close()
    sys.stdout = None
