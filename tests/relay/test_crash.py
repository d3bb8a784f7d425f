"""A relay that is killed at random moments, again and again: nothing is lost, and hardly anything comes twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from mailproto import sync
from mailproto.relay import Entry, Pending, Queue
from mailproto.smtp import Reply
from tests.relay import ADA, BOB, CAROL, START, Host

REPOSITORY = Path(__file__).parents[2]
COUNT, KILLS = 120, 6


def test_a_relay_that_is_killed(tmp_path: Path) -> None:
    """RFC 1047: a message that was under way when the process died may come twice, and no other."""
    queue, dice = Queue(tmp_path / "queue"), random.Random(1047)
    for number in range(COUNT):
        refused = (Pending(CAROL),) if number % 4 == 0 else ()
        entry = Entry(f"m{number:04}", ADA, (Pending(BOB), *refused), time.time(), START - 1e9)
        queue.add(entry, [b"Subject: m%04d\r\n\r\n" % number])
    host = Host(carol=Reply.build(550, "No such user", "5.1.1"))
    kills = 0
    with sync.SMTPServer(host, port=0) as server:
        command = [sys.executable, "-m", "tests.relay.workers", "work_off", str(queue.path), str(server.port)]
        while True:
            worker = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
            before = len(host.envelopes)
            while kills < KILLS and worker.poll() is None and len(host.envelopes) < before + 8:
                time.sleep(0.001)
            if kills < KILLS:
                time.sleep(dice.uniform(0, 0.03))
                worker.kill()
            said, _ = worker.communicate(timeout=60)
            if said:
                break
            kills += 1
    assert kills == KILLS
    assert queue.names() == []
    to_bob = Counter(bytes(each) for each in host.envelopes if each.forward_paths == [BOB])
    to_ada = Counter(
        bytes(each).partition(b"Subject: m")[2][:4] for each in host.envelopes if each.forward_paths == [ADA]
    )
    assert set(to_bob) == {b"Subject: m%04d\r\n\r\n" % number for number in range(COUNT)}
    assert set(to_ada) == {b"%04d" % number for number in range(0, COUNT, 4)}
    assert sum(to_bob.values()) <= COUNT + KILLS
    assert sum(to_ada.values()) <= COUNT // 4 + KILLS
