"""A relay that is killed at random moments, again and again: nothing is lost, and hardly anything comes twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from mailproto import sync
from mailproto.relay import Entry, Order, Pending, Queue
from mailproto.smtp import Reply
from tests.adapters.harness import PATIENCE
from tests.relay import ADA, BOB, CAROL, START, Host

REPOSITORY = Path(__file__).parents[2]
COUNT, KILLS = 120, 6
AT_ONCE = 3  # connections to a host


def put(queue: Queue, number: int, *recipients: Pending) -> str:
    """Lay a message into the queue that is due, and return its name."""
    entry = Entry(f"m{number:04}", ADA, recipients, time.time(), START - 1e9)
    queue.add(entry, [b"Subject: m%04d\r\n\r\n" % number])
    return entry.name


def work_off(queue: Queue, host: Host, progress: Callable[[], int]) -> None:
    """Have a queue worked off, by relays of which each but the last one is killed when it has got on a bit."""
    dice = random.Random(1047)
    kills = 0
    with sync.SMTPServer(host, port=0) as server:
        command = [sys.executable, "-m", "tests.relay.workers", "work_off", str(queue.path), str(server.port)]
        while True:
            worker = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
            before = progress()
            while kills < KILLS and worker.poll() is None and progress() < before + 8:
                time.sleep(0.001)
            if kills < KILLS:
                time.sleep(dice.uniform(0, 0.03))
                worker.kill()
            said, _ = worker.communicate(timeout=2 * PATIENCE)
            if said:
                break
            kills += 1
    assert kills == KILLS
    assert queue.names() == []


def test_a_relay_that_is_killed(tmp_path: Path) -> None:
    """RFC 1047: a message that was under way when the process died may come again, and no other."""
    queue = Queue(tmp_path / "queue")
    for number in range(COUNT):
        put(queue, number, Pending(BOB), *([Pending(CAROL)] if number % 4 == 0 else ()))
    host = Host(carol=Reply.build(550, "No such user", "5.1.1"))
    work_off(queue, host, lambda: len(host.envelopes))
    to_bob = Counter(bytes(each) for each in host.envelopes if each.forward_paths == [BOB])
    to_ada = Counter(
        bytes(each).partition(b"Subject: m")[2][:4] for each in host.envelopes if each.forward_paths == [ADA]
    )
    assert set(to_bob) == {b"Subject: m%04d\r\n\r\n" % number for number in range(COUNT)}
    assert set(to_ada) == {b"%04d" % number for number in range(0, COUNT, 4)}
    assert sum(to_bob.values()) <= COUNT + KILLS * AT_ONCE
    assert sum(to_ada.values()) <= COUNT // 4 + KILLS * AT_ONCE


def test_a_relay_that_is_killed_while_it_carries_out_orders(tmp_path: Path) -> None:
    """What is removed, or returned, is so for good, and no message gets away over that."""
    queue = Queue(tmp_path / "queue")
    orders = (Order.REMOVE, Order.RETURN, None)
    for number in range(COUNT):
        name, order = put(queue, number, Pending(BOB)), orders[number % 3]
        if order is not None:
            queue.orders.give(name, order)
    host = Host()
    work_off(queue, host, lambda: COUNT - len(queue.names()) + len(host.envelopes))
    to_bob = Counter(bytes(each) for each in host.envelopes if each.forward_paths == [BOB])
    to_ada = Counter(
        bytes(each).partition(b"Subject: m")[2][:4] for each in host.envelopes if each.forward_paths == [ADA]
    )
    assert set(to_bob) == {b"Subject: m%04d\r\n\r\n" % number for number in range(2, COUNT, 3)}
    assert set(to_ada) == {b"%04d" % number for number in range(1, COUNT, 3)}
    assert sum(to_bob.values()) <= COUNT // 3 + KILLS * AT_ONCE
    assert sum(to_ada.values()) <= COUNT // 3 + KILLS * AT_ONCE
    assert queue.orders.given() == {}
