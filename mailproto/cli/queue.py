"""python -m mailproto queue: show what is in the queue of a relay, whether that runs or not."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path
from typing import Any

from mailproto.address import format_path
from mailproto.cli.streams import complain, print_json, say
from mailproto.relay import Entry, Pending, Queue, UnreadableError
from mailproto.relay.attempt import one_line


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("queue", help="show the queue of a relay", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    parser.add_argument("queue", metavar="DIR", help="the queue")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show the queue; the exit status is 0 only if all of it can be read."""
    entries: list[Entry] = []
    unreadable: list[str] = []
    error: Exception | None = None
    try:
        entries, unreadable = _read(Path(options.queue))
    except OSError as raised:
        error = raised
    if options.json:
        print_json(_as_json(entries, unreadable, error))
    else:
        _tell(entries, unreadable, error)
    return 0 if error is None and not unreadable else 1


def _read(path: Path) -> tuple[list[Entry], list[str]]:
    """Return the entries, and the names of those that cannot be read. Nothing is created."""
    if not (path / "entries").is_dir():
        raise NotADirectoryError(f"there is no queue at {path}")
    queue = Queue(path)
    entries, unreadable = [], queue.unreadable()
    for name in queue.names():
        try:
            entry = queue.load(name)
        except UnreadableError:
            unreadable.append(name)
        else:
            if entry is not None:  # else it has left meanwhile
                entries.append(entry)
    return entries, unreadable


def _tell(entries: list[Entry], unreadable: list[str], error: Exception | None) -> None:
    for entry in entries:
        sender = one_line(format_path(entry.reverse_path))
        say(f"{entry.name}: from {sender}, {entry.size} octets, since {_time(entry.arrival)}")
        for recipient in entry.recipients:
            say(f"    to {one_line(format_path(recipient.address))}: {_state(entry, recipient)}")
    for name in unreadable:
        complain(f"{name}: cannot be read")
    if error is not None:
        complain(f"{type(error).__name__}: {error}")
    else:
        say(f"{len(entries)} in the queue, {len(unreadable)} unreadable")


def _state(entry: Entry, recipient: Pending) -> str:
    """Say what is to come for a recipient, and what was said last."""
    coming = f"next at {_time(entry.due)}" if recipient.action is None else f"{recipient.action.value}, to be told"
    return f"{coming} ({one_line(str(recipient.reply))})" if recipient.reply is not None else coming


def _time(when: float) -> str:
    return datetime.fromtimestamp(when).astimezone().isoformat(" ", "seconds")


def _as_json(entries: list[Entry], unreadable: list[str], error: Exception | None) -> dict[str, Any]:
    return {
        "ok": error is None and not unreadable,
        "messages": [_entry_as_json(entry) for entry in entries],
        "unreadable": unreadable,
        "error": type(error).__name__ if error is not None else None,
    }


def _entry_as_json(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "sender": str(entry.reverse_path) if entry.reverse_path is not None else "",
        "size": entry.size,
        "arrival": entry.arrival,
        "due": entry.due,
        "attempts": entry.attempts,
        "recipients": {
            str(recipient.address): {
                "action": recipient.action.value if recipient.action is not None else None,
                "reply": str(recipient.reply) if recipient.reply is not None else None,
            }
            for recipient in entry.recipients
        },
    }
