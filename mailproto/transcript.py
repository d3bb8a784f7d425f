"""The conversation of a connection, both sides marked, secrets hidden: for learning, for logs, for bug reports.

A connection calls its ``trace`` with every line that either side says, the secrets taken out where they are known
to be secrets; a `Transcript` makes text of the lines.
"""

from __future__ import annotations

from collections.abc import Callable

from mailproto._core.checks import check_callable
from mailproto._core.codec import printable

__all__ = ["MAX_LINE", "Transcript"]

MAX_LINE = 500  # octets of a line that are shown


class Transcript:
    """Keeps, or passes on, what is said. Set it as the ``trace`` of a connection::

        client.conn.trace = Transcript(print)

    Args:
        write: called with each line of text as it is said; without it the lines are kept in `lines`.
        label: stands in front of each line, to tell connections apart.
    """

    def __init__(self, write: Callable[[str], object] | None = None, label: str = "") -> None:
        if write is not None:
            check_callable("write", write)
        self.lines: list[str] = []
        self._write = write if write is not None else self.lines.append
        self._label = label

    def __call__(self, speaker: str, line: bytes) -> None:
        """Take one line; ``speaker`` is ``"C"`` for the client and ``"S"`` for the server."""
        self._write(f"{self._label}{speaker}: {printable(line, MAX_LINE)}")

    def __repr__(self) -> str:
        return f"<Transcript of {len(self.lines)} lines>"

    def __str__(self) -> str:
        return "\n".join(self.lines)
