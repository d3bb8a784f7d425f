"""When a policy is fetched, how long it holds, and that it is not forgotten (RFC 8461 sections 3.3 and 5.1)."""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mailproto.dns import LookupFailedError
from mailproto.errors import GrammarError, MailProtoError
from mailproto.relay import PolicyFetchError, PolicyStore
from mailproto.relay.sts.files import Kept, PolicyFiles
from mailproto.smtp.routing import RoutingError
from mailproto.smtp.sts import Mode, Policy
from tests.relay import HOUR, START
from tests.relay.policy_hosts import POLICY, RECORD, Names

DAY, WEEK = 86400.0, 604800.0
ENFORCED = Policy(Mode.ENFORCE, 604800, ("mail.example.test",))
NONE = b"version: STSv1\nmode: none\nmax_age: 604800\n"
OTHER = POLICY.replace(b"mail.", b"mx.")


class Domain:
    """example.test, and a store that asks about it.

    Attributes:
        now: what the store takes for the time.
        names: what the DNS says.
        file: what the policy host says; or what is raised.
        fetched: the domains whose policies were fetched.
        path: where the store keeps them.
    """

    def __init__(self, path: Path) -> None:
        self.now = START
        self.names = Names()
        self.file: bytes | Exception = POLICY
        self.fetched: list[str] = []
        self.path = path
        self.restart()

    def restart(self, max_policies: int = 100) -> None:
        """Forget all but what is on disk."""
        settings: dict[str, Any] = {"fetch": self._fetch, "clock": lambda: self.now, "max_policies": max_policies}
        self._store = PolicyStore(self.path, self.names, **settings)

    async def _fetch(self, domain: str) -> bytes:
        self.fetched.append(domain)
        if isinstance(self.file, Exception):
            raise self.file
        return self.file

    @property
    def kept(self) -> list[str]:
        """The domains whose policies are on disk."""
        return sorted(path.name for path in self.path.iterdir())

    def policy(self, domain: str = "example.test") -> Policy | None:
        """Return the policy that holds."""
        return asyncio.run(self._store.policy(domain))


@pytest.fixture
def domain(tmp_path: Path) -> Domain:
    return Domain(tmp_path / "queue" / "sts")


def test_a_policy_is_found_and_fetched_once(domain: Domain) -> None:
    assert domain.policy() == domain.policy() == ENFORCED
    assert domain.names.asked == ["_mta-sts.example.test"] * 2
    assert domain.fetched == ["example.test"]


def test_a_domain_is_asked_and_not_the_one_above_it(domain: Domain) -> None:
    """Section 3.4."""
    domain.names.record = None
    assert domain.policy("mail.example.test") is None
    assert domain.names.asked == ["_mta-sts.mail.example.test"]
    assert domain.fetched == []


@pytest.mark.parametrize("record", [None, b"v=spf1 -all", b"v=STSv1; id=a-b;", LookupFailedError("nobody tells")])
def test_a_domain_without_a_record_has_no_policy(
    domain: Domain, record: bytes | MailProtoError | None, caplog: pytest.LogCaptureFixture
) -> None:
    domain.names.record = record
    assert domain.policy() is None
    assert domain.fetched == []
    assert caplog.messages == [], "most domains have none"


def test_a_policy_is_fetched_anew_when_its_id_changes(domain: Domain) -> None:
    domain.policy()
    domain.names.record, domain.file = b"v=STSv1; id=2;", OTHER
    changed = domain.policy()
    assert changed is not None
    assert changed.mx == ("mx.example.test",)
    domain.restart()
    assert domain.policy() == changed
    assert len(domain.fetched) == 2


def test_a_policy_is_fetched_anew_once_a_day(domain: Domain) -> None:
    """Section 3.3: so that it holds for as long as it says from then on."""
    for hours, fetched in ((0, 1), (23, 1), (24, 2), (47, 2), (48, 3)):
        domain.now = START + hours * HOUR
        assert domain.policy() == ENFORCED
        assert len(domain.fetched) == fetched
    domain.names.record, domain.file = None, OSError()
    domain.now = START + 2 * DAY + WEEK
    assert domain.policy() == ENFORCED
    domain.now += 1
    assert domain.policy() is None


def test_a_clock_that_is_set_back_makes_no_policy_hold_for_ever(domain: Domain) -> None:
    domain.policy()
    domain.now -= DAY
    assert domain.policy() == domain.policy() == ENFORCED
    assert len(domain.fetched) == 2
    domain.names.record, domain.file = None, OSError()
    domain.now += WEEK
    assert domain.policy() == ENFORCED
    domain.now += 1
    assert domain.policy() is None


BLOCKED = [
    OSError("no route to the host"),
    TimeoutError(),
    PolicyFetchError("mta-sts.example.test answers 404, and not 200"),
    b"<html>",
    b"",
    POLICY.replace(b"STSv1", b"STSv2"),
]


@pytest.mark.parametrize("file", BLOCKED)
def test_without_one_before_it_a_policy_that_cannot_be_fetched_is_none(
    domain: Domain, file: bytes | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Section 3.3. It is tried again after five minutes, or at once if it is another one."""
    domain.file = file
    assert domain.policy() is None
    (line,) = caplog.messages
    assert line.startswith("example.test: mail goes there as if it had no policy: its policy cannot be fetched: ")
    domain.file = POLICY
    domain.now += 299
    assert domain.policy() is None
    domain.now += 1
    assert domain.policy() == ENFORCED
    assert len(domain.fetched) == 2


def test_not_every_domain_that_ever_failed_is_remembered(domain: Domain) -> None:
    domain.file = OSError()
    for name in "abc":
        domain.policy(f"{name}.example")
    domain.now += 300
    domain.policy()
    assert list(domain._store._failed) == ["example.test"]


def test_another_policy_is_tried_at_once(domain: Domain) -> None:
    domain.file = OSError()
    assert domain.policy() is None
    domain.names.record, domain.file = b"v=STSv1; id=2;", POLICY
    assert domain.policy() == ENFORCED


@pytest.mark.parametrize("file", BLOCKED)
@pytest.mark.parametrize("record", [RECORD, b"v=STSv1; id=2;"])
def test_who_blocks_the_policy_host_undoes_no_policy(
    domain: Domain, record: bytes, file: bytes | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Section 5.1, whether the relay was started again meanwhile or not."""
    domain.policy()
    domain.names.record, domain.file = record, file
    domain.now += DAY
    assert domain.policy() == domain.policy() == ENFORCED
    assert len(domain.fetched) == 2
    domain.restart()
    assert domain.policy() == ENFORCED
    assert all(line.startswith("example.test: the policy that was kept holds on: ") for line in caplog.messages)
    assert len(caplog.messages) == 2
    domain.now = START + WEEK
    assert domain.policy() == ENFORCED
    domain.now += 1
    assert domain.policy() is None, "it says itself how long it holds"


@pytest.mark.parametrize("record", [None, b"v=STSv1; nonsense", LookupFailedError("nobody tells")])
def test_who_blocks_the_dns_undoes_no_policy(
    domain: Domain, record: bytes | MailProtoError | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor one whom the domain has told of no more (section 3.1)."""
    domain.policy()
    domain.names.record = record
    domain.restart()
    domain.now += DAY - 1
    assert domain.policy() == ENFORCED
    assert caplog.messages == [
        "example.test: the policy that was kept holds on: the DNS does not say which policy it has now"
    ]
    assert len(domain.fetched) == 1


@pytest.mark.parametrize("record", [None, b"v=STSv1; nonsense", LookupFailedError("nobody tells")])
def test_who_blocks_the_dns_keeps_no_policy_from_being_refreshed(
    domain: Domain, record: bytes | MailProtoError | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Section 10.2: regardless of the record, for as long as the policy host says that it holds."""
    domain.policy()
    domain.names.record = record
    for _ in range(9):
        domain.now += DAY
        assert domain.policy() == ENFORCED
    assert len(domain.fetched) == 10
    domain.names.record = RECORD
    assert domain.policy() == ENFORCED
    assert len(domain.fetched) == 10, "it is the same one"
    caplog.clear()
    domain.names.record, domain.file = record, OSError("blocked, too")
    domain.now += WEEK
    assert domain.policy() == ENFORCED
    assert caplog.messages == [
        "example.test: the policy that was kept holds on: the DNS does not say which policy it has now",
        "example.test: the policy that was kept holds on: its policy cannot be fetched: blocked, too",
    ]
    domain.now += 1
    assert domain.policy() is None
    assert len(domain.fetched) == 11


def test_a_domain_that_has_a_policy_no_longer(domain: Domain, caplog: pytest.LogCaptureFixture) -> None:
    """Section 8.3: it says so, and may then take away all of it without a word in the log."""
    domain.policy()
    domain.names.record, domain.file = b"v=STSv1; id=2;", NONE
    assert domain.policy() is None
    domain.names.record, domain.file = None, OSError()
    domain.restart()
    assert domain.policy() is None
    domain.now += DAY
    assert domain.policy() is None
    assert len(domain.fetched) == 2, "there is nothing to be refreshed"
    domain.names.record = b"v=STSv1; id=3;"
    assert domain.policy() is None
    assert len(domain.fetched) == 3
    assert caplog.messages == []


def test_a_policy_that_is_for_once(domain: Domain) -> None:
    domain.file = POLICY.replace(b"604800", b"0")
    assert domain.policy() == Policy(Mode.ENFORCE, 0, ENFORCED.mx)
    domain.now += 1
    domain.names.record = None
    assert domain.policy() is None


def test_what_strangers_say_is_one_line_of_the_log(domain: Domain, caplog: pytest.LogCaptureFixture) -> None:
    evil = OSError("evil\r\nexample.test: delivered\x1b[2J")
    domain.file = evil
    assert domain.policy() is None
    domain.names.record, domain.file = b"v=STSv1; id=2;", POLICY
    assert domain.policy() == ENFORCED
    domain.names.record, domain.file = b"v=STSv1; id=3;", evil
    assert domain.policy() == ENFORCED
    assert len(caplog.messages) == 2
    assert all(line.isprintable() for line in caplog.messages)


ENDLESS = b'{"id": "1", "fetched": 0, "mode": "none", "max_age": Infinity, "mx": []}'


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"id": "1"}', b"\xff", ENDLESS, b"[" * 100_000])
def test_a_file_that_is_no_policy_is_told_of_and_replaced(
    domain: Domain, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    domain.policy()
    (domain.path / "example.test").write_bytes(content)
    assert domain.policy() == domain.policy() == ENFORCED
    assert len(domain.fetched) == 2
    assert caplog.messages == ["example.test: the policy that was kept is lost: not a policy that was kept"]


def test_a_file_that_cannot_be_read_now_keeps_mail_back(domain: Domain) -> None:
    """For there may be a policy in it, and nobody else may say so."""
    (domain.path / "example.test").mkdir()
    domain.names.record = None
    with pytest.raises(RoutingError) as caught:
        domain.policy()
    assert str(caught.value.reply.enhanced) == "4.3.0"


def test_a_disk_that_is_full_makes_no_policy_less_true(domain: Domain, caplog: pytest.LogCaptureFixture) -> None:
    domain.path.rmdir()
    assert domain.policy() == ENFORCED
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()[:40]) == (logging.ERROR, "example.test: its policy cannot be kept:")


def test_what_a_crash_leaves_half_written_is_no_policy(domain: Domain) -> None:
    domain.policy()
    (domain.path / ".draft").write_bytes(b"half a pol")
    os.utime(domain.path / ".draft", (0, 0))
    domain.restart(max_policies=2)
    domain.names.record = None
    assert domain.policy() == ENFORCED
    domain.names.record = b"v=STSv1; id=2;"
    assert domain.policy() == ENFORCED
    assert domain.policy("example.com") == ENFORCED
    assert domain.kept == ["example.com", "example.test"], "it goes when there is need of its room"


def test_there_is_an_end_to_what_is_kept(domain: Domain) -> None:
    domain.restart(max_policies=3)
    for number, name in enumerate("bcad"):
        assert domain.policy(f"{name}.example") == ENFORCED
        os.utime(domain.path / f"{name}.example", (number, number))
    assert domain.kept == ["a.example", "c.example", "d.example"]
    domain.names.record = b"v=STSv1; id=2;"
    assert domain.policy("c.example") == ENFORCED
    assert domain.kept == ["a.example", "c.example", "d.example"]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_room_for_more_is_left_alone(tmp_path: Path, count: int) -> None:
    files = PolicyFiles(tmp_path, limit=10)
    kept = Kept(ENFORCED, "1", START)
    for number in range(count):
        files.save(f"{number}.example", kept)
    assert [files.load(f"{number}.example") for number in range(count)] == [kept] * count


def test_a_clock_that_is_set_back_puts_no_fetch_off(domain: Domain) -> None:
    domain.file = OSError()
    assert domain.policy() is None
    domain.now -= DAY
    domain.file = POLICY
    assert domain.policy() == ENFORCED


def test_many_domains_at_once_need_not_all_be_kept(tmp_path: Path) -> None:
    """None of them takes the room of another that is just being written."""
    files = PolicyFiles(tmp_path, limit=1)

    def work(number: int) -> None:
        for _ in range(30):
            files.save(f"{number}.example", Kept(ENFORCED, "1", START))

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(work, range(3))) == [None] * 3
    assert len(list(tmp_path.iterdir())) == 1


def test_relays_that_share_a_directory_do_not_write_over_each_other(tmp_path: Path) -> None:
    """What one wrote was kept under the domain of the other, or half of it."""

    def work(number: int) -> bool:
        files, domain = PolicyFiles(tmp_path, limit=10), f"{number}.example"
        for version in range(50):
            kept = Kept(Policy(Mode.ENFORCE, 1, (f"mx.{domain}",) * (version + 1)), "1", START)
            files.save(domain, kept)
            if files.load(domain) != kept:
                return False
        return True

    with ThreadPoolExecutor(3) as threads:
        assert list(threads.map(work, range(3))) == [True] * 3
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("name", ["", "..", "../secrets", ".draft", "[192.0.2.1]", "b\u00fccher.example"])
def test_what_is_no_domain_is_no_file(domain: Domain, name: str) -> None:
    with pytest.raises(GrammarError):
        domain.policy(name)
    assert domain.names.asked == []


def test_what_fetches_may_be_broken(domain: Domain) -> None:
    """Which is a mistake in a program, and not a domain without a policy."""
    domain.file = RuntimeError("a bug")
    with pytest.raises(RuntimeError):
        domain.policy()
