"""Maildir: what lies on disk, and when it is safe there."""

import errno
import fcntl
import mailbox
import os
import resource
import stat
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mailproto.errors import GrammarError, NotSupportedError
from mailproto.maildrop import Maildir, MaildirRoot, MaildropBusyError
from mailproto.maildrop.names import unique_id
from tests.data import MAIL
from tests.maildrop import contents, read, stored_files, uids


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_missing_is_made_for_the_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "not" / "there" / "yet"
    Maildir(str(path))
    assert sorted(child.name for child in path.iterdir()) == ["cur", "new", "tmp"]
    for directory in (path.parent.parent, path.parent, path, path / "cur", path / "new", path / "tmp"):
        assert mode(directory) == 0o700


def test_a_file_that_cannot_be_written_is_named(path: Path) -> None:
    """There may be many disks, of which one is full, say; here it is a limit of the process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large") as caught:
            Maildir(path).deliver([b"x" * 100_000])
        with pytest.raises(OSError, match="too large") as caught_at_the_end:
            Maildir(path).deliver([b"x" * 2000])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert Path(caught.value.filename).parent == Path(caught_at_the_end.value.filename).parent == path / "tmp"
    assert stored_files(path) == []


def test_a_file_that_does_not_get_onto_the_disk_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maildir = Maildir(path)

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="error") as caught:
        maildir.deliver([b"x"])
    assert Path(caught.value.filename).parent == path / "tmp"
    assert stored_files(path) == []


def test_what_is_there_is_left_alone(path: Path) -> None:
    uid = Maildir(path).deliver([b"x"])
    (path / "new").chmod(0o750)
    assert uids(Maildir(path).open()) == [uid]
    assert mode(path / "new") == 0o750


def test_many_may_make_it_at_once(tmp_path: Path) -> None:
    for attempt in range(20):
        together = threading.Barrier(4)

        def make(path: Path = tmp_path / f"{attempt}" / "ada", together: threading.Barrier = together) -> bool:
            together.wait()
            return Maildir(path).path.is_dir()

        with ThreadPoolExecutor(4) as pool:
            assert all(future.result() for future in [pool.submit(make) for _ in range(4)])


def test_a_system_without_posix_names_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch, pytest.raises(NotSupportedError):
        patch.setattr(os, "name", "nt")
        Maildir("anywhere")
    assert not Path("anywhere").exists()


def test_a_file_is_as_unix_programs_want_it(path: Path, maildir: Maildir) -> None:
    uid = maildir.deliver([b"Subject: x\r", b"\n\r\nline", b"\r\n.\r\n"])
    (name,) = stored_files(path)
    stored = path / name
    assert stored.read_bytes() == b"Subject: x\n\nline\n.\n"
    assert name.startswith("new/") and name.endswith(",S=19,W=23") and unique_id(stored.name) == uid
    assert mode(stored) == 0o600


def test_the_stdlib_reads_what_is_delivered(path: Path, maildir: Maildir) -> None:
    maildir.deliver([MAIL["utf8"].read_bytes()])
    (message,) = mailbox.Maildir(path, create=False)
    assert message.as_bytes() == MAIL["utf8"].read_bytes().replace(b"\r\n", b"\n")


def test_what_the_stdlib_delivers_is_read(path: Path, maildir: Maildir) -> None:
    key = mailbox.Maildir(path, create=False).add(MAIL["latin1"].read_bytes().replace(b"\r\n", b"\n"))
    snapshot = maildir.open()
    assert contents(snapshot) == {key: MAIL["latin1"].read_bytes()}
    assert snapshot.messages[0].size == len(MAIL["latin1"].read_bytes())


class Steps:
    """Records the steps that make a file last, and can let one of them fail. The real ones are done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken: list[str] = []
        self.failing = ""
        self._watch(monkeypatch, "fsync", self._name)
        self._watch(monkeypatch, "mkdir", lambda path, *_: Path(path).name)
        self._watch(monkeypatch, "rename", lambda _, target: Path(target).parent.name)

    def _watch(self, monkeypatch: pytest.MonkeyPatch, step: str, describe: Callable[..., str]) -> None:
        really = getattr(os, step)

        def watched(*args: object) -> object:
            self._take(f"{step} {describe(*args)}")
            return really(*args)

        monkeypatch.setattr(os, step, watched)

    def _take(self, step: str) -> None:
        self.taken.append(step)
        if step == self.failing:
            raise OSError(f"no {step}")

    def _name(self, descriptor: int) -> str:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        return path.name if path.is_dir() else f"{path.stat().st_size} octets in {path.parent.name}"


@pytest.fixture
def steps(maildir: Maildir, monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


def test_file_then_directory_entry_are_on_disk_before_deliver_returns(steps: Steps, maildir: Maildir) -> None:
    maildir.deliver([b"x"])
    assert steps.taken == ["fsync 1 octets in tmp", "rename new", "fsync new"]


def test_new_directories_are_on_disk_before_mail_is_in_them(steps: Steps, tmp_path: Path) -> None:
    Maildir(tmp_path / "users" / "ada")
    assert steps.taken == [
        *("mkdir users", f"fsync {tmp_path.name}", "mkdir ada", "fsync users"),
        *("mkdir tmp", "fsync ada", "mkdir cur", "fsync ada", "mkdir new", "fsync ada"),
    ]


def test_removals_are_on_disk_before_commit_returns(steps: Steps, maildir: Maildir) -> None:
    maildir.deliver([b"x"])
    snapshot = maildir.open()
    steps.taken.clear()
    snapshot.commit([1])
    assert steps.taken == ["fsync new", "fsync cur"]


@pytest.mark.parametrize("step", ["fsync 1 octets in tmp", "rename new", "fsync new"])
def test_a_delivery_that_fails_leaves_nothing(steps: Steps, path: Path, maildir: Maildir, step: str) -> None:
    steps.failing = step
    with pytest.raises(OSError, match=step):
        maildir.deliver([b"x"])
    assert stored_files(path) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_content_that_fails_leaves_no_draft(path: Path, maildir: Maildir, error: type[BaseException]) -> None:
    seen = []

    def broken() -> Iterator[bytes]:
        yield b"x" * 100_000
        seen.extend(stored_files(path))
        raise error

    with pytest.raises(error):
        maildir.deliver(broken())
    assert len(seen) == 1 and seen[0].startswith("tmp/")
    assert stored_files(path) == []


def test_a_draft_of_somebody_else_is_never_written_over(
    path: Path, maildir: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path / "tmp" / "same").write_bytes(b"theirs")
    monkeypatch.setattr("mailproto.maildrop.maildir.new_base", lambda: "same")
    with pytest.raises(FileExistsError):
        maildir.deliver([b"ours"])
    assert (path / "tmp" / "same").read_bytes() == b"theirs"


def test_content_is_streamed(maildir: Maildir) -> None:
    def endless(megabytes: int) -> Iterator[bytes]:
        for _ in range(megabytes):
            block = b"x" * 1022 + b"\r\n"
            yield block * 1024
            sizes.append(peak())

    sizes: list[int] = []
    maildir.deliver(endless(32))
    assert sizes[-1] - sizes[1] < 4 << 20
    (message,) = maildir.open().messages
    assert message.size == 32 << 20


def peak() -> int:
    """Return the octets of memory this process has in use."""
    pages = int(Path("/proc/self/statm").read_text().split(" ")[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def age(path: Path, hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(path, (then, then))


def test_open_removes_drafts_older_than_36_hours(path: Path, maildir: Maildir) -> None:
    for name, hours in [("old", 36.1), ("young", 35.9)]:
        (path / "tmp" / name).write_bytes(b"x")
        age(path / "tmp" / name, hours)
    (path / "tmp" / "directory").mkdir()
    age(path / "tmp" / "directory", 100)
    assert maildir.open().messages == ()
    assert stored_files(path) == ["tmp/directory", "tmp/young"]


def test_open_that_fails_gives_the_lock_back(path: Path, maildir: Maildir) -> None:
    (path / "cur").rename(path / "away")
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            maildir.open()
    (path / "away").rename(path / "cur")
    maildir.open().close()


def test_two_names_of_one_maildir_share_the_lock(tmp_path: Path, path: Path, maildir: Maildir) -> None:
    (tmp_path / "link").symlink_to(path)
    snapshot = maildir.open()
    with pytest.raises(MaildropBusyError):
        Maildir(tmp_path / "link").open()
    snapshot.close()
    Maildir(tmp_path / "link").open().close()


def test_threads_are_kept_apart_where_flock_does_not(
    tmp_path: Path, path: Path, maildir: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    (tmp_path / "link").symlink_to(path)
    snapshot = maildir.open()
    for same in (maildir, Maildir(tmp_path / "link")):
        with pytest.raises(MaildropBusyError):
            same.open()
    snapshot.close()
    maildir.open().close()


def test_no_session_leaves_a_descriptor_behind(maildir: Maildir, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    maildir.open().close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before

    def busy(*_: object) -> None:
        raise BlockingIOError

    monkeypatch.setattr(fcntl, "flock", busy)
    with pytest.raises(MaildropBusyError):
        maildir.open()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_each_user_has_a_maildir_under_the_root(tmp_path: Path) -> None:
    root = MaildirRoot(tmp_path / "users")
    uid = root.maildir("ada").deliver([b"for ada"])
    assert root.maildir("ada@example.org").open().messages == ()
    snapshot = Maildir(tmp_path / "users" / "ada").open()
    assert uids(snapshot) == [uid] and read(snapshot, 1) == b"for ada"


@pytest.mark.parametrize("user", ["", ".", "..", "../ada", "a/b", "/tmp", ".ada", "a\0b", "a\nb"])
def test_no_user_name_leads_out_of_the_root(tmp_path: Path, user: str) -> None:
    with pytest.raises(GrammarError):
        MaildirRoot(tmp_path / "users").maildir(user)
    assert list(tmp_path.iterdir()) == []
