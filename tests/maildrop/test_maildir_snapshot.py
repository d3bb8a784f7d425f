"""A session with a Maildir: other programs move, flag, remove and replace its files meanwhile."""

import contextlib
import errno
import itertools
import os
import threading
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from mailproto.maildrop import Maildir, MaildirSnapshot, MessageGoneError, NotRemovedError, ReadOnly
from mailproto.maildrop import files as files_module
from mailproto.maildrop.files import MessageFiles
from tests.maildrop import contents, read, stored_files, uids


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def flag_all(path: Path, flags: str) -> None:
    """Do what a mail reader does: move all messages to cur, with these flags."""
    for message in [*(path / "new").iterdir(), *(path / "cur").iterdir()]:
        message.rename(path / "cur" / f"{message.name.partition(':')[0]}:2,{flags}")


def reopen(maildir: Maildir, snapshot: MaildirSnapshot) -> MaildirSnapshot:
    snapshot.close()
    return maildir.open()


def test_ids_sizes_and_order_survive_moves_and_flags(path: Path, maildir: Maildir) -> None:
    delivered = [maildir.deliver([b"%d\r\n" % number]) for number in range(3)]
    (path / "new" / "1.M1P1.a host,S=2").write_bytes(b"x\n")
    before = maildir.open()
    messages = before.messages
    assert uids(before)[1:] == delivered
    for flags in ("", "S", "RS"):
        flag_all(path, flags)
        before = reopen(Maildir(path), before)
        assert before.messages == messages
        assert read(before, 4) == b"2\r\n"


def test_messages_are_in_the_order_of_delivery_whoever_named_them(path: Path, maildir: Maildir) -> None:
    last = maildir.deliver([b"x"])
    foreign = ["odd", "999999999.1_1.a", "1000000000.M9P1.b", "1000000000.M10P1.b"]
    for name in foreign:
        (path / "cur" / f"{name}:2,S").write_bytes(b"x")
    assert uids(maildir.open()) == [*foreign, last]


@pytest.mark.parametrize("name", [".hidden", "directory", "link", "fifo"])
def test_only_plain_visible_files_are_messages(path: Path, maildir: Maildir, name: str) -> None:
    uid = maildir.deliver([b"x"])
    odd = path / "cur" / name
    match name:
        case "directory":
            odd.mkdir()
        case "link":
            odd.symlink_to("/etc/passwd")
        case "fifo":
            os.mkfifo(odd)
        case _:
            odd.write_bytes(b"y")
    assert uids(maildir.open()) == [uid]


def test_a_message_seen_in_new_and_in_cur_is_one(path: Path, maildir: Maildir) -> None:
    maildir.deliver([b"x"])
    (message,) = (path / "new").iterdir()
    os.link(message, path / "cur" / f"{message.name}:2,S")
    assert len(maildir.open().messages) == 1


def test_two_messages_with_one_base_are_two(path: Path, maildir: Maildir) -> None:
    texts = {"new/1.a": b"one\n", "cur/1.a:2,S": b"and two\n", "cur/1.a:2,": b"three\n", "cur/2.b:2,S": b"x\n"}
    for name, text in texts.items():
        (path / name).write_bytes(text)
    snapshot = maildir.open()
    shown = contents(snapshot)
    assert sorted(shown.values()) == sorted(text.replace(b"\n", b"\r\n") for text in texts.values())
    assert {"1.a", "2.b"} < shown.keys()
    assert [name[-3:] for name in names(path / "cur")].count("2,S") == 2, "a flag stays"
    snapshot.commit([uids(snapshot).index("1.a") + 1])
    del shown["1.a"]
    assert contents(reopen(maildir, snapshot)) == shown


def test_a_reader_that_may_not_write_sees_one_of_two_with_one_base(path: Path, maildir: Maildir) -> None:
    for name in ("new/1.a", "cur/1.a:2,S"):
        (path / name).write_bytes(name.encode())
    assert len(ReadOnly(maildir).open().messages) == 1
    assert stored_files(path) == ["cur/1.a:2,S", "new/1.a"]


def test_a_file_moved_after_login_is_found(path: Path, maildir: Maildir) -> None:
    for number in range(3):
        maildir.deliver([b"%d" % number])
    snapshot = maildir.open()
    for number, flags in [(1, ""), (2, "S"), (3, "FRS")]:
        flag_all(path, flags)
        assert read(snapshot, number) == b"%d" % (number - 1)


def test_a_file_moved_while_it_is_read_is_read_to_the_end(path: Path, maildir: Maildir) -> None:
    content = b"0123456789abcde\r\n" * 20_000
    maildir.deliver([content])
    pieces = maildir.open().retrieve(1)
    start = next(pieces)
    flag_all(path, "S")
    assert start + b"".join(pieces) == content


def test_a_message_gone_is_told_before_its_first_octet(path: Path, maildir: Maildir) -> None:
    delivered = [maildir.deliver([b"%d" % number]) for number in range(3)]
    snapshot = maildir.open()
    (path / "new" / delivered[1]).unlink()
    with pytest.raises(MessageGoneError) as caught:
        snapshot.retrieve(2)
    assert caught.value.enhanced == "SYS/TEMP"
    assert (read(snapshot, 1), read(snapshot, 3)) == (b"0", b"2")
    assert len(snapshot.messages) == 3


def test_messages_that_are_gone_are_not_looked_for_one_by_one(
    path: Path, maildir: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 100,000 that another program removes, each asked for, each look at all that is left would take for ever."""
    listings: list[str] = []
    list_folder = MessageFiles._list

    def noting(files: MessageFiles, folder: str) -> Iterator[str]:
        listings.append(folder)
        return list_folder(files, folder)

    delivered = [maildir.deliver([b"%d" % number]) for number in range(50)]
    snapshot = maildir.open()
    monkeypatch.setattr(MessageFiles, "_list", noting)
    for uid in delivered[1:49]:
        (path / "new" / uid).unlink()
    for folder in ("new", "cur"):
        os.utime(path / folder, (1e9, 1e9))  # a while has passed
    for number in range(2, 50):
        with pytest.raises(MessageGoneError):
            snapshot.retrieve(number)
    assert listings == ["new", "cur"]
    flag_all(path, "S")
    assert (read(snapshot, 1), read(snapshot, 50)) == (b"0", b"49"), "what is moved now is found nevertheless"


def test_a_link_put_in_place_of_a_message_is_not_followed(path: Path, maildir: Maildir) -> None:
    uid = maildir.deliver([b"x"])
    snapshot = maildir.open()
    (path / "new" / uid).unlink()
    (path / "new" / uid).symlink_to("/etc/passwd")
    with pytest.raises(OSError, match="symbolic link"):
        snapshot.retrieve(1)


def test_a_retrieval_given_up_closes_its_file(maildir: Maildir) -> None:
    maildir.deliver([b"x\r\n" * 100_000])
    snapshot = maildir.open()
    before = names(Path("/proc/self/fd"))
    for steps in (0, 1):
        pieces = snapshot.retrieve(1)
        for _ in range(steps):
            next(pieces)
        del pieces
        assert names(Path("/proc/self/fd")) == before


def test_commit_removes_files_wherever_they_are_now(path: Path, maildir: Maildir) -> None:
    for number in range(6):
        maildir.deliver([b"%d" % number])
    snapshot = maildir.open()
    flag_all(path, "S")
    snapshot.commit([1, 3, 6])
    left = reopen(maildir, snapshot)
    assert list(contents(left).values()) == [b"1", b"3", b"4"]


def test_a_message_gone_counts_as_removed(path: Path, maildir: Maildir) -> None:
    delivered = [maildir.deliver([b"%d" % number]) for number in range(4)]
    snapshot = maildir.open()
    (path / "new" / delivered[0]).unlink()
    with pytest.raises(MessageGoneError):
        snapshot.retrieve(1)
    (path / "new" / delivered[1]).unlink()
    snapshot.commit([1, 2, 3])
    assert uids(reopen(maildir, snapshot)) == delivered[3:]


def test_what_cannot_be_removed_is_told_after_all_were_tried(path: Path, maildir: Maildir) -> None:
    delivered = [maildir.deliver([b"%d" % number]) for number in range(4)]
    snapshot = maildir.open()
    (path / "new" / delivered[1]).unlink()
    (path / "new" / delivered[1]).mkdir()
    with pytest.raises(NotRemovedError) as caught:
        snapshot.commit([1, 2, 3])
    assert caught.value.numbers == (2,)
    assert isinstance(caught.value.__cause__, OSError)
    assert names(path / "new") == [delivered[1]]
    assert names(path / "cur") == [f"{delivered[3]}:2,"]


def test_commit_moves_what_stays_to_cur_and_nothing_else_does(path: Path, maildir: Maildir) -> None:
    first = maildir.deliver([b"1"])
    (path / "new" / first).rename(path / "new" / f"{first}:2,F")
    second, third = maildir.deliver([b"2"]), maildir.deliver([b"3"])
    snapshot = maildir.open()
    read(snapshot, 2)
    snapshot = reopen(maildir, snapshot)
    assert names(path / "cur") == []
    fourth = maildir.deliver([b"4"])
    snapshot.commit([2])
    assert stored_files(path) == sorted([f"cur/{first}:2,F", f"cur/{third}:2,", f"new/{fourth}"])
    assert uids(reopen(maildir, snapshot)) == [first, third, fourth]
    assert second not in "".join(stored_files(path))


def test_a_session_goes_on_while_a_reader_flags_without_end(path: Path, maildir: Maildir) -> None:
    expected = {maildir.deliver([b"%d\r\n" % number]): b"%d\r\n" % number for number in range(30)}
    done = threading.Event()

    def flag() -> None:
        for flags in itertools.cycle(["", "S", "RS"]):
            with contextlib.suppress(FileNotFoundError):  # removed by the commit
                flag_all(path, flags)
            if done.wait(0.002):
                return

    reader = threading.Thread(target=flag)
    snapshot = maildir.open()
    reader.start()
    try:
        for _ in range(5):
            assert contents(snapshot) == expected
        snapshot.commit(range(1, 16))
    finally:
        done.set()
        reader.join()
    assert contents(reopen(maildir, snapshot)) == dict(list(expected.items())[15:])


def test_sizes_are_counted_where_names_do_not_tell_them(path: Path, maildir: Maildir) -> None:
    (path / "cur" / "1.a:2,S").write_bytes(b"a\nb\r\nc\rd")
    (path / "new" / "2.b,S=3").write_bytes(b"\n\n\n")
    snapshot = maildir.open()
    assert [message.size for message in snapshot.messages] == [10, 6]
    assert contents(snapshot) == {"1.a": b"a\r\nb\r\nc\r\nd", "2.b,S=3": b"\r\n\r\n\r\n"}


def test_a_file_changed_since_is_counted_again(path: Path, maildir: Maildir) -> None:
    message = path / "cur" / "1.a:2,S"
    message.write_bytes(b"one\n")
    snapshot = maildir.open()
    message.write_bytes(b"one and two\n")
    snapshot = reopen(maildir, snapshot)
    assert snapshot.messages[0].size == len(read(snapshot, 1)) == 13


def test_a_name_that_lies_is_found_out_and_not_believed_again(path: Path, maildir: Maildir) -> None:
    (path / "cur" / "1.a,S=7,W=9:2,S").write_bytes(b"a\rb\nc\n.")
    snapshot = maildir.open()
    assert snapshot.messages[0].size == 9
    assert read(snapshot, 1) == b"a\r\nb\r\nc\r\n."
    snapshot = reopen(maildir, snapshot)
    assert snapshot.messages[0].size == len(read(snapshot, 1)) == 10


@pytest.mark.parametrize("length", [4, 200_000])
def test_a_name_that_lies_is_found_out_though_nobody_reads_beyond_what_it_says(
    path: Path, maildir: Maildir, length: int
) -> None:
    """A POP3 session ends where a message is longer than listed, and so would each one after it."""
    text = b"x" * length + b"\ry\n"
    (path / "cur" / f"1.a,S={len(text)},W={len(text) + 1}:2,S").write_bytes(text)
    snapshot = maildir.open()
    announced, got = snapshot.messages[0].size, 0
    pieces = snapshot.retrieve(1)
    while got <= announced:
        got += len(next(pieces))
    del pieces
    snapshot = reopen(maildir, snapshot)
    assert snapshot.messages[0].size == len(read(snapshot, 1)) == len(text) + 2


def test_what_was_counted_before_a_failure_is_kept(
    path: Path, maildir: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path / "cur" / "1.a").write_bytes(b"\n")
    (path / "cur" / "2.b").write_bytes(b"broken\n")

    def count(blocks: Iterator[bytes]) -> int:
        if (text := b"".join(blocks)) == b"broken\n":
            raise OSError("cannot be read")
        return len(text) + 1

    monkeypatch.setattr("mailproto.maildrop.maildir_snapshot.count_octets", count)
    with pytest.raises(OSError, match="cannot be read"):
        maildir.open()
    cache = (path / "mailproto-sizes").read_text()
    assert "1.a" in cache and "2.b" not in cache


def test_a_message_that_cannot_be_read_keeps_nobody_from_the_others(
    path: Path, maildir: Maildir, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (path / "cur" / "1.a").write_bytes(b"a\n")
    (path / "new" / "2.b").write_bytes(b"b\n")
    real_open = os.open

    def guarded(name: Path, *arguments: int) -> int:
        if str(name).endswith("1.a"):
            raise PermissionError(errno.EACCES, "not yours", str(name))
        return real_open(name, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", guarded)
        snapshot = maildir.open()
        assert contents(snapshot) == {"2.b": b"b\r\n"}
        snapshot.commit([1])
        snapshot.close()
    assert "1.a" in caplog.text
    assert contents(maildir.open()) == {"1.a": b"a\r\n"}


def test_a_file_renamed_under_the_listing_is_not_missed(
    path: Path, maildir: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivered = [maildir.deliver([b"%d" % number]) for number in range(4)]
    flag_all(path, "")
    really = os.scandir

    @contextlib.contextmanager
    def listing(directory: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
        """List a directory as the kernel may: a file whose new name falls on the part already read is left out."""
        with really(directory) as entries:
            seen = list(entries)
        if any(entry.name.startswith(delivered[2]) and entry.name.endswith(":2,") for entry in seen):
            flag_all(path, "S")
            seen = [entry for entry in seen if not entry.name.startswith(delivered[2])]
        yield iter(seen)

    monkeypatch.setattr(files_module, "os", SimpleNamespace(**{**vars(os), "scandir": listing}))
    assert uids(maildir.open()) == delivered


def test_a_message_on_its_way_to_cur_is_not_missed(
    path: Path, maildir: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivered = [maildir.deliver([b"%d" % number]) for number in range(3)]
    really = os.scandir

    def listing(directory: Path) -> contextlib.AbstractContextManager[Iterator[os.DirEntry[str]]]:
        if directory.name == "new":
            flag_all(path, "S")
        return really(directory)

    monkeypatch.setattr(files_module, "os", SimpleNamespace(**{**vars(os), "scandir": listing}))
    assert uids(maildir.open()) == delivered


def test_a_message_gone_between_listing_and_counting_is_left_out(
    path: Path, maildir: Maildir, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("1.a", "2.b", "3.c"):
        (path / "cur" / name).write_bytes(b"x\n")
    really = MessageFiles.open

    def open_later(files: MessageFiles, base: str) -> FileIO:
        (path / "cur" / "2.b").unlink(missing_ok=True)
        return really(files, base)

    monkeypatch.setattr(MessageFiles, "open", open_later)
    assert uids(maildir.open()) == ["1.a", "3.c"]
