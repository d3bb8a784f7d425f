"""python -m mailproto queue: show what is in the queue of a relay, whether that runs or not, and have it tried now,
returned, or removed. The relay that runs sees to that within a second or two, or else the next one that does.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from mailproto.address import format_path
from mailproto.cli.orders import TO_COME, add_orders, give_orders, tell_orders
from mailproto.cli.streams import complain, print_json, say, words_of
from mailproto.errors import MailProtoError
from mailproto.relay import Entry, Order, Pending, Queue, UnreadableError
from mailproto.relay.attempt import one_line


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("queue", help="show the queue of a relay, or control it", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")
    parser.add_argument("queue", metavar="DIR", help="the queue")
    add_orders(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show the queue, or order something; the exit status is 0 only if all of it can be read, or was there."""
    try:
        queue = _open(Path(options.queue))
        entries, unreadable = _read(queue)
        if options.wishes:
            result = give_orders(queue, options.wishes, entries, unreadable)
        else:
            result = _as_json(entries, unreadable, queue.orders.given())
    except (MailProtoError, OSError) as error:
        if options.json:
            print_json({**_as_json([], [], {}), "ok": False, "error": type(error).__name__})
        complain(words_of(error))
        return 1
    if options.json:
        print_json({**result, "error": None})
    elif options.wishes:
        tell_orders(result)
    else:
        _tell(entries, unreadable, queue.orders.given())
    return 0 if result["ok"] else 1


def _open(path: Path) -> Queue:
    """Return the queue that is there. Nothing is created."""
    if not (path / "entries").is_dir():
        raise NotADirectoryError(f"there is no queue at {path}")
    return Queue(path)


def _read(queue: Queue) -> tuple[list[Entry], list[str]]:
    """Return the entries, and the names of those that cannot be read."""
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


def _tell(entries: list[Entry], unreadable: list[str], orders: Mapping[str, Order]) -> None:
    for entry in entries:
        sender = one_line(format_path(entry.reverse_path))
        ordered = f", {TO_COME[orders[entry.name]]}" if entry.name in orders else ""
        say(f"{entry.name}: from {sender}, {entry.size} octets, since {_time(entry.arrival)}{ordered}")
        for recipient in entry.recipients:
            say(f"    to {one_line(format_path(recipient.address))}: {_state(entry, recipient)}")
    for name in unreadable:
        complain(f"{name}: cannot be read")
    say(f"{len(entries)} in the queue, {len(unreadable)} unreadable")


def _state(entry: Entry, recipient: Pending) -> str:
    """Say what is to come for a recipient, and what was said last."""
    coming = f"next at {_time(entry.due)}" if recipient.action is None else f"{recipient.action.value}, to be told"
    return f"{coming} ({one_line(str(recipient.reply))})" if recipient.reply is not None else coming


def _time(when: float) -> str:
    return datetime.fromtimestamp(when).astimezone().isoformat(" ", "seconds")


def _as_json(entries: list[Entry], unreadable: list[str], orders: Mapping[str, Order]) -> dict[str, Any]:
    return {
        "ok": not unreadable,
        "messages": [_entry_as_json(entry, orders.get(entry.name)) for entry in entries],
        "unreadable": unreadable,
    }


def _entry_as_json(entry: Entry, order: Order | None) -> dict[str, Any]:
    return {
        "name": entry.name,
        "sender": str(entry.reverse_path) if entry.reverse_path is not None else "",
        "size": entry.size,
        "arrival": entry.arrival,
        "due": entry.due,
        "attempts": entry.attempts,
        "order": order.value if order is not None else None,
        "recipients": {
            str(recipient.address): {
                "action": recipient.action.value if recipient.action is not None else None,
                "reply": str(recipient.reply) if recipient.reply is not None else None,
            }
            for recipient in entry.recipients
        },
    }
