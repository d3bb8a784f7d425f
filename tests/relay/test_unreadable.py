"""Entries and messages that cannot be read: out of the queue once and for all, told of once, and not lost."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailproto.address import Address
from mailproto.relay import Queue, UnreadableError
from mailproto.relay.unreadable import open_whole, reading
from mailproto.smtp import Reply
from tests.relay import (
    BOB,
    CAROL,
    ERIN,
    HOME,
    HOUR,
    MESSAGE,
    MX_NET,
    Host,
    World,
    content_of,
    read_notice,
    run,
    table,
)

UNREADABLE = Path("/proc/self/mem")
NO_SUCH_USER = Reply.build(550, "No such user", "5.1.1")
Damage = Callable[[Queue, str], object]


def missing(queue: Queue, name: str) -> None:
    """Remove the message."""
    (queue.path / "messages" / name).unlink()


def not_a_file(queue: Queue, name: str) -> None:
    """Put a directory in its place, which not even root can read as a file."""
    missing(queue, name)
    (queue.path / "messages" / name).mkdir()


def truncated(queue: Queue, name: str) -> None:
    """Take its last octets."""
    path = queue.path / "messages" / name
    os.truncate(path, path.stat().st_size - 1)


def emptied(queue: Queue, name: str) -> None:
    """Take all of its octets."""
    os.truncate(queue.path / "messages" / name, 0)


def bad_disk(queue: Queue, name: str) -> None:
    """Let every read of the message fail, in the way of a disk, after it was opened."""
    missing(queue, name)
    (queue.path / "messages" / name).symlink_to(UNREADABLE)
    path = queue.path / "entries" / name
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"size": None}))


def no_entry(queue: Queue, name: str) -> None:
    """Spoil the entry, and not the message."""
    (queue.path / "entries" / name).write_bytes(b"{")


def deep_entry(queue: Queue, name: str) -> None:
    """Spoil it such that a parser falls over."""
    (queue.path / "entries" / name).write_bytes(b"[" * 100_000)


def endless_entry(queue: Queue, name: str) -> None:
    """Spoil it with a number that is none."""
    path = queue.path / "entries" / name
    path.write_bytes(path.read_bytes().replace(b'"notices": 0', b'"notices": 1e999'))


BAD_DISK = pytest.param(
    bad_disk, marks=pytest.mark.skipif(not UNREADABLE.exists(), reason="needs a file that cannot be read")
)
DAMAGES = [missing, not_a_file, truncated, emptied, no_entry, deep_entry, endless_entry]


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("in_memory", [1 << 20, -1])
@pytest.mark.parametrize("damage", DAMAGES)
def test_it_is_set_aside_told_of_once_and_holds_nobody_up(
    world: World,
    damage: Damage,
    in_memory: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mailproto.relay.lane._IN_MEMORY", in_memory)

    async def test(world: World) -> None:
        host = Host()
        async with world.host("mx.example.net", host):
            bad = world.put(BOB)
            damage(world.queue, bad)
            world.put(CAROL)
            await world.relay(table(**MX_NET)).attempt_due()
            assert host.received == [("carol@example.net", MESSAGE)]
            assert world.queue.names() == []
            for _ in range(3):  # across restarts, and whatever the clock says
                world.queue = Queue(world.queue.path)
                world.now += 200 * HOUR
                world.put(CAROL)
                await world.relay(table(**MX_NET)).attempt_due()
            assert len(host.received) == 4
        assert [path.name for path in (world.queue.path / "unreadable").iterdir()] == [bad]
        (line,) = errors_in(caplog)
        assert bad in line
        assert str(world.queue.path / "unreadable") in line

    run(test, world)


@pytest.mark.parametrize("in_memory", [1 << 20, -1])
@pytest.mark.parametrize("damage", [BAD_DISK])
def test_a_disk_that_fails_gets_two_more_chances(
    world: World,
    damage: Damage,
    in_memory: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mailproto.relay.lane._IN_MEMORY", in_memory)

    async def test(world: World) -> None:
        host = Host()
        relay = world.relay(table(**MX_NET))
        async with world.host("mx.example.net", host):
            bad = world.put(BOB)
            damage(world.queue, bad)
            world.put(CAROL)
            for count in range(1, 4):
                assert world.queue.names()[0] == bad
                await relay.attempt_due()
                assert host.received == [("carol@example.net", MESSAGE)]
                assert len(caplog.messages) == count
                world.now += HOUR
            assert world.queue.names() == []
        assert [path.name for path in (world.queue.path / "unreadable").iterdir()] == [bad]
        assert len(errors_in(caplog)) == 1
        assert all(bad in line for line in caplog.messages)

    run(test, world)


@pytest.mark.parametrize("method", ["open", "load"])
def test_a_disk_that_comes_back_has_lost_nothing(
    world: World, method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And it is not for ever that it has failed before."""

    def gone(*_: object) -> None:
        with reading(world.queue.path):
            raise OSError(errno.EIO, "Input/output error")

    async def test(world: World) -> None:
        host = Host(bob=Reply.build(451, "Later"))
        relay = world.relay(table(**MX_NET))
        async with world.host("mx.example.net", host):
            world.put(BOB)
            for _ in range(3):
                with monkeypatch.context() as patch:
                    patch.setattr(Queue, method, gone)
                    for _ in range(2):
                        await relay.attempt_due()
                        world.now += 2 * HOUR
                await relay.attempt_due()
                world.now += 2 * HOUR
            host.replies.clear()
            await relay.attempt_due()
        assert host.received == [("bob@example.net", MESSAGE)]
        assert world.queue.unreadable() == []

    run(test, world)


@pytest.mark.parametrize("damage", [missing, truncated, not_a_file])
def test_whoever_has_mended_it_puts_it_back(world: World, damage: Damage, memory_path: Path) -> None:
    """One file is moved, so that a crash in between loses nothing; and what is left of the message is kept."""

    async def test(world: World) -> None:
        host = Host()
        async with world.host("mx.example.net", host):
            name = world.put(BOB)
            message = world.queue.path / "messages" / name
            message.rename(memory_path / "backup")
            message.write_bytes(MESSAGE)
            damage(world.queue, name)
            for path in world.queue.path.glob("messages/*"):
                os.utime(path, (0, 0))
            for _ in range(2):
                await world.relay(table(**MX_NET)).attempt_due()
            assert message.exists() is (damage is not missing)
            if message.is_dir():
                message.rmdir()
            (memory_path / "backup").rename(message)
            (world.queue.path / "unreadable" / name).rename(world.queue.path / "entries" / name)
            await world.relay(table(**MX_NET)).attempt_due()
        assert host.received == [("bob@example.net", MESSAGE)]
        assert [path.name for path in world.queue.path.rglob("*") if path.is_file()] == ["lock"]

    run(test, world)


def test_what_was_done_before_is_not_done_again(world: World) -> None:
    """One of the domains has it already, and of the recipient who was refused the sender is told in the end."""
    name = ""
    backup = world.queue.path.parent / "backup"

    class Spoiling(Host):
        def on_message(self, session: Any, envelope: Any) -> Reply:
            (world.queue.path / "messages" / name).rename(backup)
            return super().on_message(session, envelope)

    async def test(world: World) -> None:
        com, net, home = Spoiling(carol=NO_SUCH_USER), Host(), Host()
        dan = Address("carol", "example.com")
        hosts = table(**MX_NET, **HOME, com=[(0, "mx.example.com")])
        async with (
            world.host("mx.example.com", com),
            world.host("mx.example.net", net),
            world.host("mx.example.org", home),
        ):
            nonlocal name
            name = world.put(ERIN, dan, BOB)
            await world.relay(hosts, max_connections=1).attempt_due()
            assert (len(com.envelopes), len(net.envelopes), len(home.envelopes)) == (1, 0, 0)
            assert world.queue.names() == []
            backup.rename(world.queue.path / "messages" / name)
            (world.queue.path / "unreadable" / name).rename(world.queue.path / "entries" / name)
            await world.relay(hosts).attempt_due()
        assert (len(com.envelopes), len(net.envelopes)) == (1, 1)
        _, (_, fields) = read_notice(home.received[0][1])
        assert fields["Final-Recipient"] == "rfc822; carol@example.com"
        assert world.queue.names() == []

    run(test, world)


def test_a_message_that_is_gone_when_its_sender_is_to_be_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    name = ""

    class Spoiling(Host):
        def on_rcpt(self, session: Any, rcpt: Any) -> None:
            (world.queue.path / "messages" / name).unlink(missing_ok=True)
            super().on_rcpt(session, rcpt)

    async def test(world: World) -> None:
        nonlocal name
        async with world.host("mx.example.net", Spoiling(bob=NO_SUCH_USER)):
            name = world.put(BOB)
            for _ in range(3):
                await world.relay(table(**MX_NET, **HOME)).attempt_due()
                world.now += 10 * HOUR
        assert world.queue.names() == []
        assert len(errors_in(caplog)) == 1

    run(test, world)


@pytest.mark.parametrize("method", ["open", "load"])
def test_a_machine_that_is_out_of_something_is_no_fault_of_the_message(
    world: World, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again when that has passed."""

    def out_of_files(*_: object) -> None:
        with reading(world.queue.path):
            raise OSError(errno.EMFILE, "Too many open files")

    async def test(world: World) -> None:
        host = Host()
        async with world.host("mx.example.net", host):
            world.put(BOB)
            with monkeypatch.context() as patch:
                patch.setattr(Queue, method, out_of_files)
                await world.relay(table(**MX_NET)).attempt_due()
            assert [entry.attempts for entry in world.entries()] == [0]
            assert not list((world.queue.path / "unreadable").iterdir())
            world.now += HOUR
            await world.relay(table(**MX_NET)).attempt_due()
        assert host.received == [("bob@example.net", MESSAGE)]

    run(test, world)


def test_what_a_machine_is_out_of_is_told_with_the_path_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m0001"
    path.touch()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files") as caught:
            open_whole(path, None)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert str(caught.value).endswith(f": {str(path)!r}")


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EIO, errno.ELOOP])
def test_what_is_the_fault_of_the_file(number: int) -> None:
    with pytest.raises(UnreadableError, match="m0001") as caught, reading(Path("m0001")):
        raise OSError(number, os.strerror(number))
    assert caught.value.may_pass is (number == errno.EIO)


def test_an_entry_from_before_sizes_were_kept(world: World) -> None:
    async def test(world: World) -> None:
        host = Host()
        async with world.host("mx.example.net", host):
            name = world.put(BOB)
            path = world.queue.path / "entries" / name
            old = json.loads(path.read_bytes())
            del old["size"]
            path.write_text(json.dumps(old))
            assert content_of(world.queue, name) == MESSAGE
            await world.relay(table(**MX_NET)).attempt_due()
        assert host.received == [("bob@example.net", MESSAGE)]

    run(test, world)
