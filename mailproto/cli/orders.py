"""What the command ``queue`` lets an operator order: that messages are tried now, returned, or forgotten.

The relay that runs on the queue sees to it within a second or two, or else the next one that does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

from mailproto.cli.streams import complain, say
from mailproto.relay import Entry, Order, Queue
from mailproto.smtp.routing import RoutingError, lookup_name

_ALL = "ALL"
_PATIENCE = 3.0  # seconds that a relay gets to carry out what was ordered
_USAGE = (
    (Order.RETRY, "{NAME,@DOMAIN,ALL}", "try this message now, or those to somebody in a domain, or all of them"),
    (Order.RETURN, "{NAME,ALL}", "give this message up, or all of them, and tell the sender"),
    (Order.REMOVE, "{NAME,ALL}", "forget this message, or all of them, and tell nobody"),
)
TO_COME = {Order.RETRY: "to be tried now", Order.RETURN: "to be returned", Order.REMOVE: "to be removed"}
"""How an order that is not carried out is shown."""


class _Wish(NamedTuple):
    order: Order
    which: str


def add_orders(parser: argparse.ArgumentParser) -> None:
    """Add what tells what is to be done with which messages."""
    group = parser.add_argument_group(
        "what is to be done", "Each of these may be repeated. A message that is just being sent ends first."
    )
    for order, which, text in _USAGE:
        make = partial(_wish, order)
        group.add_argument(
            f"--{order.value}", dest="wishes", action="append", default=[], type=make, metavar=which, help=text
        )


def give_orders(queue: Queue, wishes: Iterable[_Wish], entries: list[Entry], unreadable: list[str]) -> dict[str, Any]:
    """Give the orders for these messages, wait a moment, and return what came of them."""
    given: dict[str, None] = {}  # each once, whatever is ordered for it
    unknown = []
    for order, which in wishes:
        names = list(_names(which, entries, [] if order is not Order.REMOVE else unreadable))
        if not names and which != _ALL:
            unknown.append(which)
        for name in names:
            queue.orders.give(name, order)
            given[name] = None
    left = _wait(queue, given)
    return {
        "ok": not unknown,
        "done": [name for name in given if name not in left],
        "ordered": list(left),
        "unknown": unknown,
    }


def tell_orders(result: dict[str, Any]) -> None:
    """Say what came of orders."""
    for which in result["unknown"]:
        complain(f"{which}: there is no such message")
    for name in result["ordered"]:
        complain(f"{name}: ordered, and not done yet: it is under way, or no relay runs on this queue")
    say(f"{len(result['done'])} done, {len(result['ordered'])} to be done")


def _wish(order: Order, text: str) -> _Wish:
    """Return what an option asks for."""
    if text.startswith("@"):
        if order is not Order.RETRY:
            raise argparse.ArgumentTypeError("a message may have recipients in other domains, too: name it")
        return _Wish(order, f"@{_domain(text[1:])}")
    return _Wish(order, text)


def _names(which: str, entries: list[Entry], unreadable: list[str]) -> Iterable[str]:
    """Return the names of the messages that are meant. One that cannot be read has to be named."""
    for entry in entries:
        if which in (_ALL, entry.name) or any(which == f"@{_domain(each.address.domain)}" for each in entry.waiting):
            yield entry.name
    if which in unreadable:
        yield which


def _domain(domain: str) -> str:
    try:
        return lookup_name(domain)
    except RoutingError:
        return domain.lower()


def _wait(queue: Queue, given: Iterable[str]) -> dict[str, None]:
    """Wait until nothing is ordered for these messages any more, not for long, and return those where it is."""
    end = time.monotonic() + _PATIENCE
    while True:
        open_orders = queue.orders.given()
        left = {name: None for name in given if name in open_orders}
        if not left or time.monotonic() >= end:
            return left
        time.sleep(0.05)
