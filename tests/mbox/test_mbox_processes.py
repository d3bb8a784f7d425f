"""Several processes over one mbox, and processes that are killed in the middle."""

import random
import time
from itertools import count
from pathlib import Path

import pytest

from mailproto.maildrop import Mbox
from tests.adapters.harness import PATIENCE
from tests.maildrop import uids
from tests.maildrop.processes import worker
from tests.maildrop.workers import is_whole, message
from tests.mbox import FOREIGN, FOREIGN_CONTENT, all_of, leftovers, mbox_of, repaired
from tests.mbox.test_mbox_append import taken_back
from tests.mbox.workers import delete_without_end, deliver, deliver_without_end, run_and_die


@pytest.fixture
def mbox(memory_path: Path) -> Mbox:
    return Mbox(memory_path / "mbox")


def whole_messages(mbox: Mbox) -> set[str]:
    """Return the unique-ids of what is in the mbox, after making sure that nothing of it is torn."""
    snapshot = mbox.open()
    assert all(map(is_whole, all_of(snapshot)))
    snapshot.close()
    return set(uids(snapshot))


def test_three_processes_deliver_at_once(mbox: Mbox) -> None:
    with worker(deliver, mbox) as first, worker(deliver, mbox) as second, worker(deliver, mbox) as third:
        told = [process.communicate(timeout=2 * PATIENCE)[0] for process in (first, second, third)]
    reported = [uid for text in told for uid in text.split("\n")[:-1]]
    assert len(reported) == 75
    assert whole_messages(mbox) == set(reported)
    assert leftovers(mbox) == []


def test_deliveries_and_a_session_at_once_and_all_killed_at_random_lose_nothing(mbox: Mbox) -> None:
    reported: set[str] = set()
    deleted: set[str] = set()
    for _ in range(3):
        with (
            worker(deliver_without_end, mbox) as first,
            worker(deliver_without_end, mbox) as second,
            worker(delete_without_end, mbox) as session,
        ):
            processes = [first, second, session]
            assert first.stdout and second.stdout and session.stdout
            for told in (first.stdout, second.stdout, first.stdout):  # however slow the disk
                reported.add(told.readline()[:-1])
            deleted.add(session.stdout.readline()[:-1])
            time.sleep(random.uniform(0, 0.3))
            random.shuffle(processes)
            for process in processes:
                process.kill()
                time.sleep(random.uniform(0, 0.05))
            reported.update(first.stdout.read().split("\n")[:-1], second.stdout.read().split("\n")[:-1])
            deleted.update(session.stdout.read().split("\n")[:-1])
    found = whole_messages(mbox)
    assert reported - deleted <= found
    assert len(found - reported) <= 3 * 2  # stored, but killed before it could say so
    assert len(reported) > 8 and deleted & reported
    assert leftovers(mbox) == []


def test_a_child_whose_job_fails_ends_and_is_told_of() -> None:
    """It would go on with the tests that come behind this one, as a second run of them all."""

    def fail() -> str:
        raise OSError

    with pytest.raises(AssertionError, match="a child failed"):
        run_and_die(fail, step=1_000_000)


def test_a_delivery_killed_at_each_step_is_whole_or_not_there(memory_path: Path) -> None:
    mbox = mbox_of(memory_path / "mbox", FOREIGN)
    mbox.open().close()
    reported: list[str] = []
    outcomes = {"before": 0, "after": 0}

    def deliver_one() -> str:
        return mbox.deliver(message("one", lines=100))

    for step in count(1):
        uid, killed = run_and_die(deliver_one, step)
        after = mbox.open_read_only()
        new = all_of(after)[1:]
        assert all_of(after)[0] == FOREIGN_CONTENT
        assert len(new) <= 1 and all(map(is_whole, new))
        reported += [uid] if uid else []
        assert [uid] == [new_uid for _, new_uid in after.messages[1:]] or not uid
        outcomes["after" if new else "before"] += 1
        snapshot = mbox.open()
        assert len(snapshot.messages) == 1 + len(new)
        snapshot.commit(range(2, 2 + len(new)))
        snapshot.close()
        assert mbox.path.read_bytes() == FOREIGN
        if not killed:
            break
    assert reported
    assert outcomes["before"] > 50 and outcomes["after"] > 5  # killed on both sides of the moment that counts


@pytest.mark.parametrize(("deleted", "cuts_end"), [([2], False), ([1, 2, 3, 4], False), ([3, 4], True)])
def test_a_commit_killed_at_each_step_deletes_all_or_nothing(mbox: Mbox, deleted: list[int], cuts_end: bool) -> None:
    delivered = [mbox.deliver(message(str(number), lines=number)) for number in range(4)]
    snapshot = mbox.open()
    if not cuts_end:
        delivered.append(mbox.deliver(message("late", lines=3)))
    before = mbox.path.read_bytes()
    kept = [uid for number, uid in enumerate(delivered, 1) if number not in deleted]
    outcomes = {"none": 0, "all": 0}

    def commit() -> str:
        snapshot.commit(deleted)
        return "done"

    for step in count(1):
        mbox.path.write_bytes(before)
        result, killed = run_and_die(commit, step)
        after = repaired(mbox)
        assert all(map(is_whole, all_of(after)))
        assert uids(after) == kept or (uids(after) == delivered and not result)
        outcomes["all" if uids(after) == kept else "none"] += 1
        if not killed:
            break
    snapshot.close()
    assert outcomes["none"] > 15 and outcomes["all"] > 4
    assert leftovers(mbox) == []


@pytest.mark.parametrize("behind", [b"", b"\n" + FOREIGN, FOREIGN])
def test_a_repair_killed_at_each_step_is_done_by_the_next(mbox: Mbox, behind: bytes) -> None:
    old = mbox.deliver(message("old", lines=5))
    before = mbox.path.read_bytes()
    written, note = taken_back(mbox, message("torn", lines=9))

    def deliver_next() -> str:
        return mbox.deliver(message("next", lines=2))

    for step in count(1):
        mbox.path.write_bytes(before + written[:200] + behind)
        (mbox.path.parent / ".mbox.mailproto-append").write_bytes(note)
        uid, killed = run_and_die(deliver_next, step)
        found = repaired(mbox)
        assert uids(found)[0] == old and uid in ("", uids(found)[-1])
        assert [content for content in all_of(found) if not is_whole(content)] == [FOREIGN_CONTENT] * bool(behind)
        if not killed:
            break
    assert step > 40
    assert leftovers(mbox) == []
