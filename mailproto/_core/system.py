"""What some parts need of the system, and not every system has: said at once, and in one way."""

from __future__ import annotations

import os

from mailproto.errors import NotSupportedError


def require_posix(what: str) -> None:
    """Raise `NotSupportedError` if there is no POSIX system for ``what`` needs one: its locks, names or promises of
    files."""
    if os.name != "posix":
        raise NotSupportedError(f"{what} needs a POSIX system")
