"""Signals, heard in an event loop: by its own means, or by those of Python where it has none, as on Windows."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name))
"""Those that ask a program to end. SIGBREAK is Ctrl-Break, with which Windows ends those that have no window."""

RENEWING = tuple(getattr(signal, name) for name in ("SIGHUP",) if hasattr(signal, name))
"""Those that ask it to read its files anew."""


def hear(numbers: tuple[signal.Signals, ...], callback: Callable[[], object]) -> None:
    """Have the loop that runs call ``callback`` when one of these signals comes."""
    loop = asyncio.get_running_loop()
    for number in numbers:
        try:
            loop.add_signal_handler(number, callback)
        except NotImplementedError:
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(callback))


def hear_no_more(numbers: tuple[signal.Signals, ...]) -> None:
    """Let these signals do again what they do to any Python program.

    The loop keeps its callback, and so goes on to be woken by them: of a signal that comes just before a wait begins
    Python would hear behind that wait alone.
    """
    for number in numbers:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
