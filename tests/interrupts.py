"""Interrupts on purpose, such as a Ctrl-C that is pressed while the system does something for the main thread."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from itertools import count
from types import FrameType


def interrupted(number: int, names: Collection[str], job: Callable[[], object]) -> bool:
    """Do a job, and interrupt it when a call of one of these functions that are not Python's own has ended, for the
    so manieth time: Python shows a signal that comes in such a call right behind it. Return whether it was."""
    calls = count(1)

    def watch(frame: FrameType, event: str, function: object) -> None:
        if event == "c_return" and getattr(function, "__name__", "") in names and next(calls) == number:
            raise KeyboardInterrupt  # which ends the watching, too

    sys.setprofile(watch)
    try:
        job()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False
