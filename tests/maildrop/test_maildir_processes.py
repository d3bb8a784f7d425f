"""Several processes over one Maildir, and processes that are killed in the middle."""

import json
import random
import time
from collections.abc import Callable

import pytest

from mailproto.maildrop import Maildir, MaildropBusyError
from tests.adapters.harness import PATIENCE
from tests.maildrop import contents, stored_files
from tests.maildrop.processes import worker
from tests.maildrop.workers import deliver, deliver_and_die, deliver_without_end, fork, hold, is_whole, login

Job = Callable[[Maildir], None]


def output(job: Job, maildir: Maildir) -> list[str]:
    """Return the lines that a job tells from its start to its good end."""
    with worker(job, maildir) as process:
        told, _ = process.communicate(timeout=2 * PATIENCE)
        assert process.returncode == 0
        return told.split("\n")[:-1]


def whole_messages(maildir: Maildir) -> set[str]:
    """Return the unique-ids of what is in the Maildir, after making sure that nothing of it is torn."""
    snapshot = maildir.open()
    messages = contents(snapshot)
    assert all(is_whole(content) for content in messages.values())
    assert [len(messages[uid]) for _, uid in snapshot.messages] == [size for size, _ in snapshot.messages]
    snapshot.close()
    return set(messages)


def test_four_processes_deliver_at_once(maildir: Maildir) -> None:
    with (
        worker(deliver, maildir) as first,
        worker(deliver, maildir) as second,
        worker(deliver, maildir) as third,
        worker(deliver, maildir) as fourth,
    ):
        told = [process.communicate(timeout=2 * PATIENCE)[0] for process in (first, second, third, fourth)]
    reported = [uid for text in told for uid in text.split("\n")[:-1]]
    assert len(reported) == 160
    assert whole_messages(maildir) == set(reported)
    assert [name for name in stored_files(maildir.path) if name.startswith("tmp/")] == []


def test_a_process_killed_at_random_tears_nothing_and_loses_nothing_it_reported(maildir: Maildir) -> None:
    reported: set[str] = set()
    for _ in range(6):
        with worker(deliver_without_end, maildir) as process:
            assert process.stdout
            reported.add(process.stdout.readline()[:-1])
            time.sleep(random.uniform(0, 0.06))
            process.kill()
            told = process.stdout.read()
            reported.update(told.split("\n")[:-1])
    found = whole_messages(maildir)
    assert reported <= found
    assert len(found - reported) <= 6 * 2  # stored, but killed before it could say so


def test_a_delivery_killed_at_each_step_is_whole_or_not_there(maildir: Maildir) -> None:
    told = output(deliver_and_die, maildir)
    reported = {uid for uid in told if uid}
    found = whole_messages(maildir)
    assert reported <= found
    before, after = len(told) - len(found), len(found - reported)
    assert before > 50 and after > 3  # it was killed on both sides of the moment that counts


def test_another_process_is_kept_out_until_the_session_is_closed(maildir: Maildir) -> None:
    with worker(hold, maildir) as process:
        assert process.stdout and process.stdin
        assert process.stdout.readline() == "held\n"
        for _ in range(2):
            with pytest.raises(MaildropBusyError):
                maildir.open()
        process.stdin.close()
        assert process.stdout.readline() == "closed\n"
        maildir.open().close()


def test_a_killed_process_holds_no_lock(maildir: Maildir) -> None:
    with worker(hold, maildir) as process:
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        process.kill()
        process.wait()
        maildir.open().close()


def test_a_fork_inherits_no_session(maildir: Maildir) -> None:
    assert output(fork, maildir) == ["parent", "child"]


def fill(maildir: Maildir, sizes_in_name: str) -> None:
    """Put 10,000 messages of 4 octets into the Maildir, 5 as sent."""
    for number in range(10_000):
        name = f"{1_000_000_000 + number}.M{number}P1Q{number}.host{sizes_in_name}:2,S"
        (maildir.path / "cur" / name).write_bytes(b"abc\n")


def log_in(maildir: Maildir) -> list[int]:
    """Return how many files a login opened, how many messages it found, and their octets as sent."""
    (told,) = output(login, maildir)
    numbers = json.loads(told)
    assert isinstance(numbers, list)
    return numbers


def test_a_login_to_10000_messages_with_sizes_in_their_names_opens_none(maildir: Maildir) -> None:
    fill(maildir, ",S=4,W=5")
    assert log_in(maildir) == [0, 10_000, 50_000]


def test_a_login_to_10000_messages_without_sizes_opens_each_once_and_never_again(maildir: Maildir) -> None:
    fill(maildir, "")
    assert log_in(maildir) == [10_000, 10_000, 50_000]
    assert log_in(maildir) == [0, 10_000, 50_000]
    (maildir.path / "new" / "2000000000.M1P1Q1.host").write_bytes(b"one more\n")
    assert log_in(maildir) == [1, 10_001, 50_010]
    assert log_in(maildir) == [0, 10_001, 50_010]
