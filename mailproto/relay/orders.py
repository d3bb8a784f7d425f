"""What the operator of a queue wants done with its entries: in whatever process, whether a relay runs or not.

The relay does it, and nobody else: it has the entries that are under way in its memory, and who changed them behind
its back would have mail sent twice, or not at all. So an order is laid beside them as an empty file, whose name says
all that there is to say, and is there until it was carried out, whatever crashes.
"""

from __future__ import annotations

import enum
import os
from pathlib import Path

from mailproto.maildrop.durable import fsync_directory, make_directory
from mailproto.relay.entry import check_name, is_name


class Order(enum.Enum):
    """What is to be done with an entry. If several things are, the last one of these is done.

    Attributes:
        RETRY: try it now, whenever it is due.
        RETURN: give it up, and tell its sender, if he wants to hear of failures.
        REMOVE: forget it, and tell nobody.
    """

    RETRY = "retry"
    RETURN = "return"
    REMOVE = "remove"


class Orders:
    """The orders for a queue, in a directory. Any number of threads and processes may give some."""

    def __init__(self, path: Path) -> None:
        """Use the directory ``path``, which is created if missing."""
        self._path = path
        make_directory(path)

    def give(self, name: str, order: Order) -> None:
        """Order something for the entry of this name. The relay that runs sees to it within a second or two, or else
        the next one before anything else; what is just being sent it lets end first.

        Raises:
            GrammarError: that is not the name of an entry.
            OSError: the disk does not take it.
        """
        check_name(name)
        os.close(os.open(self._file(name, order), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        fsync_directory(self._path)

    def given(self) -> dict[str, Order]:
        """Return what is not carried out yet, by the names of the entries."""
        files = [path.name.partition("-") for path in self._path.iterdir()]
        return {name: order for order in Order for kind, _, name in files if kind == order.value and is_name(name)}

    def forget(self, name: str, order: Order) -> None:
        """Forget an order: it was carried out, or is no longer wanted."""
        self._file(name, order).unlink(missing_ok=True)

    def _file(self, name: str, order: Order) -> Path:
        return self._path / f"{order.value}-{name}"
