"""The mbox file: what is written into it, what is read of other programs' files, and unique-ids that last."""

import re
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from mailproto._core.spool import Spool
from mailproto.maildrop import LockedSnapshot, Mbox, MboxFormatError, MessageGoneError, mbox_index, mbox_rewrite
from mailproto.maildrop.mbox_lock import LockedMbox
from tests.maildrop import read, uids
from tests.mbox import FOREIGN, FOREIGN_CONTENT, SEPARATOR, all_of, leftovers, mbox_of, now_in

UID = re.compile("[0-9a-f]{32}")


@pytest.fixture
def mbox(tmp_path: Path) -> Mbox:
    return Mbox(tmp_path / "mbox", lock_timeout=5)


def unique_ids(mbox: Mbox) -> list[str]:
    snapshot = mbox.open()
    snapshot.close()
    return uids(snapshot)


def delete(mbox: Mbox, *numbers: int) -> None:
    snapshot = mbox.open()
    snapshot.commit(numbers)
    snapshot.close()


# What is written.


def test_a_delivery_is_written_as_the_format_wants_it(mbox: Mbox) -> None:
    before = int(time.time())
    uid = mbox.deliver([b"Return-Path: <ada@exam", b"ple.org>\r\nSubject: x\r", b"\n\r\nFrom me\r\n>From you\r\n"])
    line, rest = mbox.path.read_bytes().split(b"\n", 1)
    assert rest == (
        b"X-UIDL: %s\nReturn-Path: <ada@example.org>\nSubject: x\n\n>From me\n>>From you\n\n" % uid.encode()
    )
    assert UID.fullmatch(uid)
    match = re.fullmatch(rb"From ada@example\.org (.{24})", line)
    assert match
    assert before - 1 <= time.mktime(time.strptime(match[1].decode())) - time.timezone <= time.time() + 1
    assert mbox.path.stat().st_mode & 0o777 == 0o600
    assert leftovers(mbox) == []


@pytest.mark.parametrize("end", [b"b", b"From", b"Fr"])
def test_what_lacks_a_line_end_gets_one_in_the_file_and_loses_it_again(mbox: Mbox, end: bytes) -> None:
    uid = mbox.deliver([b"a\r\n", end])
    assert mbox.path.read_bytes().endswith(b"X-UIDL: %s (no line end)\na\n%s\n\n" % (uid.encode(), end))
    assert now_in(mbox) == [b"a\r\n" + end]


@pytest.mark.parametrize("end", [b"", b"\n", b"\n\n", b"\r\n\r\n"])
def test_a_delivery_behind_a_file_without_an_empty_line_at_its_end(tmp_path: Path, end: bytes) -> None:
    mbox = mbox_of(tmp_path / "mbox", SEPARATOR + b"Subject: torn\n\nlast words" + end)
    mbox.deliver([b"new\r\n"])
    torn, new = now_in(mbox)
    assert torn.startswith(b"Subject: torn\r\n\r\nlast words")
    assert new == b"new\r\n"
    assert mbox.path.read_bytes().count(b"\n\nFrom ") + mbox.path.read_bytes().count(b"\n\r\nFrom ") == 1


def test_a_unique_id_that_comes_with_a_message_is_part_of_the_message(mbox: Mbox) -> None:
    victim = mbox.deliver([b"Subject: first\r\n\r\n"])
    forged = b"X-UIDL: %s\r\nSubject: second\r\n\r\n" % victim.encode()
    mbox.deliver([forged])
    assert now_in(mbox) == [b"Subject: first\r\n\r\n", forged]
    assert len(set(unique_ids(mbox))) == 2


@pytest.mark.parametrize("content", [b"root:x:0:0::/root:/bin/sh\n", b"From here on it is no mbox\n", b"\0" * 100])
def test_a_file_that_is_no_mbox_is_left_alone(tmp_path: Path, content: bytes) -> None:
    mbox = mbox_of(tmp_path / "passwd", content)
    with pytest.raises(MboxFormatError):
        mbox.deliver([b"x\r\n"])
    with pytest.raises(MboxFormatError):
        mbox.open()
    with pytest.raises(MboxFormatError):
        mbox.open_read_only()
    assert mbox.path.read_bytes() == content
    assert leftovers(mbox) == []


def test_a_link_leads_to_the_mbox(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "mbox").symlink_to(tmp_path / "spool" / "ada")
    mbox = Mbox(tmp_path / "mbox")
    mbox.deliver([b"one\r\n"])
    mbox.deliver([b"two\r\n"])
    delete(mbox, 1)
    assert (tmp_path / "mbox").is_symlink()
    assert now_in(mbox) == [b"two\r\n"]


# What other programs write.


def test_another_programs_mbox_is_read(tmp_path: Path) -> None:
    mbox = mbox_of(tmp_path / "mbox", b"\n", FOREIGN, FOREIGN.replace(b"\n", b"\r\n"), SEPARATOR + b"\n", SEPARATOR)
    assert now_in(mbox) == [FOREIGN_CONTENT, FOREIGN_CONTENT, b"", b""]
    assert len(set(unique_ids(mbox))) == 4


def test_messages_across_the_blocks_of_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mbox_index, "_SCAN_BLOCK", 50)
    monkeypatch.setattr(mbox_index, "BLOCK", 64)
    texts = [b"Subject: %d\n\n%s\n>From x\n" % (number, b"y" * number) for number in range(120)]
    mbox = mbox_of(tmp_path / "mbox", *(SEPARATOR + text + b"\n" for text in texts))
    assert now_in(mbox) == [text.replace(b">From", b"From").replace(b"\n", b"\r\n") for text in texts]


def test_a_bare_cr_in_the_file_is_a_line_end_and_counts_as_one(tmp_path: Path) -> None:
    mbox = mbox_of(tmp_path / "mbox", SEPARATOR + b"Subject: x\n\na\rb\r\nc\n\n")
    assert now_in(mbox) == [b"Subject: x\r\n\r\na\r\nb\r\nc\r\n"]


@pytest.mark.parametrize("text", [b"Subject: x\n\nlast\r", b"Subject: x\r\n\r\nlast\r"])
def test_a_file_cut_off_in_the_middle_of_a_line_end_tells_the_right_size(tmp_path: Path, text: bytes) -> None:
    """A message of another size than the listing says could never be fetched."""
    mbox = mbox_of(tmp_path / "mbox", SEPARATOR + text)
    content = b"Subject: x\r\n\r\nlast\r\n"
    assert now_in(mbox) == [content]
    snapshot = mbox.open()
    assert [message.size for message in snapshot.messages] == [len(content)]
    snapshot.close()


@pytest.mark.parametrize("before", [b"\n", b"\r\n\r\n"])
def test_what_stood_before_the_first_message_may_be_all_that_is_left(tmp_path: Path, before: bytes) -> None:
    mbox = mbox_of(tmp_path / "mbox", before, FOREIGN)
    delete(mbox, 1)
    assert now_in(mbox) == []
    mbox.deliver([b"new\r\n"])
    assert now_in(mbox) == [b"new\r\n"]


# Unique-ids.


def test_the_unique_id_of_another_programs_message_stays_when_readers_mark_it(tmp_path: Path) -> None:
    mbox = mbox_of(tmp_path / "mbox", FOREIGN, FOREIGN.replace(b"Subject", b"Object"))
    before = unique_ids(mbox)
    assert all(map(UID.fullmatch, before))
    marked = mbox.path.read_bytes().replace(b"\n\nFrom me", b"\nStatus: RO\nX-UID: 12\nX-Keywords: a\n b\n\nFrom me")
    mbox.path.write_bytes(marked)
    assert b"Status" in marked
    assert unique_ids(mbox) == before


def test_the_unique_id_of_a_message_without_a_body_stays_when_readers_mark_it(tmp_path: Path) -> None:
    """The one empty line behind its header is that of the format, and no part of it."""
    mbox = mbox_of(tmp_path / "mbox", SEPARATOR + b"Subject: x\n\n", SEPARATOR + b"Subject: y\n\n")
    before = unique_ids(mbox)
    mbox.path.write_bytes(mbox.path.read_bytes().replace(b": x\n", b": x\nStatus: RO\n"))
    assert now_in(mbox) == [b"Subject: x\r\nStatus: RO\r\n", b"Subject: y\r\n"]
    assert unique_ids(mbox) == before


def test_equal_messages_have_unique_ids_that_are_never_handed_on(tmp_path: Path) -> None:
    mbox = mbox_of(tmp_path / "mbox", FOREIGN, FOREIGN, FOREIGN, FOREIGN)
    key, second, third, fourth = unique_ids(mbox)
    assert (second, third, fourth) == (key + ".2", key + ".3", key + ".4")
    delete(mbox, 1, 3)
    assert unique_ids(mbox) == [second, fourth]
    assert now_in(mbox) == [FOREIGN_CONTENT, FOREIGN_CONTENT]
    with mbox.path.open("ab") as file:
        file.write(FOREIGN)
    assert unique_ids(mbox) == [second, fourth, key]
    delete(mbox, 1)
    assert unique_ids(mbox) == [fourth, key]


def test_copies_of_our_messages_made_by_other_programs_are_told_apart(mbox: Mbox) -> None:
    uid = mbox.deliver([b"a\r\nno end"])
    mbox.path.write_bytes(mbox.path.read_bytes() * 3)
    assert unique_ids(mbox) == [uid, uid + ".2", uid + ".3"]
    delete(mbox, 1)
    assert unique_ids(mbox) == [uid + ".2", uid + ".3"]
    assert now_in(mbox) == [b"a\r\nno end"] * 2


def test_a_rewrite_makes_no_mbox_longer(tmp_path: Path) -> None:
    """What keeps the unique-ids of equal messages takes no more room than there is: a full disk has no more."""
    mbox = mbox_of(tmp_path / "mbox", FOREIGN * 9)
    before = mbox.path.stat().st_size
    delete(mbox, 2)
    assert before - len(FOREIGN) < mbox.path.stat().st_size <= before
    assert now_in(mbox) == [FOREIGN_CONTENT] * 8


def test_copies_of_copies_are_told_apart_and_can_be_had(tmp_path: Path) -> None:
    """A number behind a unique-id may have been kept, when another program copied the message once more."""
    uid = "0123456789abcdef" * 2
    kept = [uid, f"{uid}.2", f"{uid}.2", f"{uid}.2", uid]
    fields = [f"X-UIDL: {name}\nSubject: {number}\n\n".encode() for number, name in enumerate(kept)]
    mbox = mbox_of(tmp_path / "mbox", *(SEPARATOR + field + b"y" * 99 + b"\n\n" for field in fields))
    given = unique_ids(mbox)
    assert len(set(given)) == len(kept)
    contents = now_in(mbox)
    delete(mbox, 1, 3)
    assert now_in(mbox) == [contents[1], *contents[3:]]
    assert unique_ids(mbox) == [given[1], *given[3:]]


class Counting(dict[str, int]):
    """Counts how often it is asked whether it has something."""

    asked = 0

    def __contains__(self, key: object) -> bool:
        self.asked += 1
        return super().__contains__(key)


def test_a_stranger_with_many_equal_messages_costs_no_more_than_with_others() -> None:
    given = Counting()
    uids = {mbox_index._make_unique(key, given) for key in ("0123", "0123.7") * 500}
    assert len(uids) == 1000
    assert given.asked < 5000


def test_a_copy_with_a_higher_number_in_its_place_is_another_message(tmp_path: Path) -> None:
    message = SEPARATOR + b"X-UIDL: 0123456789abcdef0123456789abcdef.2\n\ntext\n\n"
    mbox = mbox_of(tmp_path / "mbox", message)
    snapshot = mbox.open()
    (tmp_path / "mbox").write_bytes(message.replace(b"def.2\n\ntext", b"def.3\n\nnews"))
    with pytest.raises(MessageGoneError):
        read(snapshot, 1)
    snapshot.close()


def test_behind_the_last_number_none_becomes_a_part_of_a_message(tmp_path: Path) -> None:
    field = b"X-UIDL: 0123456789abcdef0123456789abcdef.999999999\n"
    mbox = mbox_of(tmp_path / "mbox", *(SEPARATOR + field + b"\n%d\n\n" % number for number in range(3)))
    contents = now_in(mbox)
    assert len(set(unique_ids(mbox))) == 3
    delete(mbox, 1)
    assert now_in(mbox) == contents[1:]


@pytest.mark.parametrize(
    ("text", "content"), [(b"", b""), (b"\n", b""), (b"x", b"x"), (b"x\r", b"x\r\n"), (b"x\n\n", b"x")]
)
def test_a_field_that_says_a_line_end_was_added_where_there_is_none(
    tmp_path: Path, text: bytes, content: bytes
) -> None:
    """Anybody may write such a field, and other programs may change what is behind it. It locked the owner out."""
    field = b"X-UIDL: 0123456789abcdef0123456789abcdef (no line end)\n"
    mbox = mbox_of(tmp_path / "mbox", SEPARATOR, field, text)
    assert now_in(mbox) == [content]
    mbox.deliver([b"new\r\n"])
    assert now_in(mbox) == [content, b"new\r\n"]
    delete(mbox, 1)
    assert now_in(mbox) == [b"new\r\n"]


def test_unique_ids_survive_rewrites_and_moves(mbox: Mbox, tmp_path: Path) -> None:
    delivered = [mbox.deliver([b"%d\r\n" % number]) for number in range(6)]
    delete(mbox, 1, 4)
    kept = [delivered[1], delivered[2], delivered[4], delivered[5]]
    assert unique_ids(mbox) == kept
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "ada").write_bytes(mbox.path.read_bytes())
    assert unique_ids(Mbox(elsewhere / "ada")) == kept


# Behind the session's back.


def others(mbox: Mbox) -> Iterator[Callable[[], None]]:
    """Yield what other programs may do to an mbox, by their own means."""
    path = mbox.path

    def append() -> None:
        with path.open("ab") as file:
            file.write(FOREIGN)

    def mark_all() -> None:  # moves every message
        path.write_bytes(path.read_bytes().replace(b"\n\nFrom me", b"\nStatus: RO\n\nFrom me"))

    def put_one_in_front() -> None:
        path.write_bytes(SEPARATOR + b"Subject: in front\n\n\n" + path.read_bytes())

    def replace_the_file() -> None:
        (path.parent / "draft").write_bytes(FOREIGN + path.read_bytes())
        (path.parent / "draft").rename(path)

    yield from (append, mark_all, put_one_in_front, replace_the_file)


@pytest.mark.parametrize("which", range(4))
def test_messages_are_found_wherever_other_programs_have_moved_them(mbox: Mbox, which: int) -> None:
    contents = [b"Subject: %d\r\n\r\n%s\r\n" % (number, b"x" * number) for number in range(5)]
    for content in contents:
        mbox.deliver([content])
    with mbox.path.open("ab") as file:
        file.write(FOREIGN)
    snapshot = mbox.open()
    list(others(mbox))[which]()
    assert [read(snapshot, number) for number in range(1, 6)] == contents
    snapshot.commit([2, 4])
    snapshot.close()
    left = now_in(mbox)
    assert [content for content in left if content in contents] == [contents[0], contents[2], contents[4]]
    assert sum(b"From me to you" in content for content in left) == (1 if which in (1, 2) else 2)


@pytest.mark.parametrize("fails", [False, True])
def test_a_retrieval_given_up_at_once_closes_its_copy(
    mbox: Mbox, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """Which is a file, if the message is large; as a server does whose client has left meanwhile."""
    closed: list[Spool] = []
    mbox.deliver([b"x\r\n"])
    snapshot = mbox.open()
    monkeypatch.setattr(Spool, "close", lambda spool: closed.append(spool))
    if fails:
        monkeypatch.delattr(LockedMbox, "blocks")
        with pytest.raises(AttributeError):
            snapshot.retrieve(1)
    else:
        pieces = snapshot.retrieve(1)
        assert isinstance(pieces, Generator)
        pieces.close()
    assert len(closed) == 1


def test_a_message_that_was_marked_cannot_be_fetched_before_the_next_session_but_deleted(tmp_path: Path) -> None:
    mbox = mbox_of(tmp_path / "mbox", FOREIGN, FOREIGN.replace(b"Subject", b"Object"))
    marked = mbox.path.read_bytes().replace(b"\n\nFrom me", b"\nStatus: RO\n\nFrom me")
    snapshot = mbox.open()
    mbox.path.write_bytes(marked)
    with pytest.raises(MessageGoneError):  # it is not as long as was announced
        snapshot.retrieve(1)
    snapshot.commit([2])
    snapshot.close()
    assert now_in(mbox) == [FOREIGN_CONTENT.replace(b"\r\n\r\n", b"\r\nStatus: RO\r\n\r\n")]


def test_what_another_program_removed_is_gone_and_nothing_else_is_taken_for_it(tmp_path: Path) -> None:
    bodies = [b"Subject: %d\n\nsame length\n\n" % number for number in range(4)]
    mbox = mbox_of(tmp_path / "mbox", *(SEPARATOR + body for body in bodies))
    snapshot = mbox.open()
    mbox.path.write_bytes(b"".join(SEPARATOR + body for body in (bodies[0], bodies[2], bodies[3])))
    with pytest.raises(MessageGoneError):
        snapshot.retrieve(2)
    assert read(snapshot, 3) == b"Subject: 2\r\n\r\nsame length\r\n"
    snapshot.commit([2])
    snapshot.close()
    assert len(now_in(mbox)) == 3


def test_a_message_shortened_so_that_the_next_one_fills_its_place_takes_nothing_of_it(mbox: Mbox) -> None:
    """The place still begins with the same message and has the same size, but does not end where a message ends."""
    mbox.deliver([b"Subject: a\r\nX-Long: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n\r\n"])
    snapshot = mbox.open()
    mbox.deliver([b"Subject: b\r\n\r\n"])
    mbox.path.write_bytes(mbox.path.read_bytes().replace(b"X-Long: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\n", b""))
    with pytest.raises(MessageGoneError):
        snapshot.retrieve(1)
    snapshot.commit([1])
    snapshot.close()
    assert now_in(mbox) == [b"Subject: b\r\n\r\n"]


def test_a_place_of_the_same_size_is_not_the_message_unless_a_message_ends_there(mbox: Mbox) -> None:
    """Four header fields are gone, and so many octets of the next message make up for them and their line ends."""
    mbox.deliver([b"A: b\r\n" * 4 + b"Subject: a\r\n\r\nx\r\n"])
    mbox.deliver([b"Subject: b\r\n\r\n"])
    snapshot = mbox.open()
    mbox.path.write_bytes(mbox.path.read_bytes().replace(b"A: b\n" * 4, b""))
    with pytest.raises(MessageGoneError):
        snapshot.retrieve(1)


def test_a_message_shortened_by_the_length_of_the_next_one_is_deleted_alone(mbox: Mbox) -> None:
    """Its place begins with it and ends where a message ends, but that is the next one."""
    mbox.deliver([b"Subject: b\r\n\r\n"])
    line = b"X: ".ljust(mbox.path.stat().st_size - 1, b"y")
    delete(mbox, 1)
    mbox.deliver([line + b"\r\nSubject: a\r\n\r\n"])
    mbox.deliver([b"Subject: b\r\n\r\n"])
    mbox.deliver([b"Subject: c\r\n\r\n"])
    snapshot = mbox.open()
    mbox.path.write_bytes(mbox.path.read_bytes().replace(line + b"\n", b""))
    snapshot.commit([1])
    snapshot.close()
    assert now_in(mbox) == [b"Subject: b\r\n\r\n", b"Subject: c\r\n\r\n"]


def test_the_file_vanishes(mbox: Mbox) -> None:
    mbox.deliver([b"a\r\n"])
    snapshot = mbox.open()
    reader = mbox.open_read_only()
    mbox.path.unlink()
    with pytest.raises(FileNotFoundError):
        reader.retrieve(1)
    with pytest.raises(MessageGoneError):
        snapshot.retrieve(1)
    snapshot.commit([1])
    snapshot.close()
    assert now_in(mbox) == []


# The rewrite.


def test_a_rewrite_keeps_the_file_for_who_has_it_open(mbox: Mbox) -> None:
    for number in range(3):
        mbox.deliver([b"%d\r\n" % number])
    before = mbox.path.stat()
    with mbox.path.open("ab") as file:
        delete(mbox, 1)
        file.write(FOREIGN)
    assert mbox.path.stat().st_ino == before.st_ino
    assert now_in(mbox) == [b"1\r\n", b"2\r\n", FOREIGN_CONTENT]
    assert leftovers(mbox) == []


def test_the_end_is_cut_off_without_a_journal(mbox: Mbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        mbox.deliver([b"%d\r\n" % number])
    monkeypatch.setattr(mbox_rewrite, "_write_journal", None)
    delete(mbox, 2, 3)
    assert now_in(mbox) == [b"0\r\n"]
    delete(mbox, 1)
    assert mbox.path.stat().st_size == 0


def test_a_rewrite_that_fails_leaves_everything(mbox: Mbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        mbox.deliver([b"%d\r\n" % number])
    before = mbox.path.read_bytes()
    snapshot = mbox.open()

    def full(*arguments: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(LockedMbox, "blocks", full)
        with pytest.raises(OSError, match="no space"):
            snapshot.commit([1])
    assert mbox.path.read_bytes() == before
    assert leftovers(mbox) == []
    snapshot.commit([1])
    assert all_of(mbox.open_read_only()) == [b"1\r\n", b"2\r\n"]


# The index on disk.


def aged(mbox: Mbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it be late enough that the times of the file can be trusted."""
    later = time.time_ns() + 3_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)


def count_reading(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets an entry for each message that is looked at."""
    looked: list[int] = []
    examine = mbox_index.examine

    def noted(box: LockedMbox, region: mbox_index.Region) -> mbox_index.StoredMessage | None:
        looked.append(region[0])
        return examine(box, region)

    monkeypatch.setattr(mbox_index, "examine", noted)
    return looked


def as_listed(snapshot: LockedSnapshot) -> list[tuple[int, str]]:
    snapshot.close()
    return list(snapshot.messages)


def test_a_login_reads_no_message_when_nothing_has_changed(mbox: Mbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        mbox.deliver([b"%d\r\n" % number])
    aged(mbox, monkeypatch)
    looked = count_reading(monkeypatch)
    first = as_listed(mbox.open())
    assert len(looked) == 9
    assert as_listed(mbox.open()) == first == as_listed(mbox.open_read_only())
    assert len(looked) == 9
    mbox.deliver([b"one more\r\n"])
    aged(mbox, monkeypatch)
    assert as_listed(mbox.open())[:9] == first
    assert len(looked) == 19
    assert now_in(mbox)[9] == b"one more\r\n"


def test_an_index_made_too_soon_after_a_change_is_not_kept(mbox: Mbox) -> None:
    mbox.deliver([b"x\r\n"])
    mbox.open().close()
    assert not (mbox.path.parent / ".mbox.mailproto-index").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'{"stamp": STAMP}',
        b'{"stamp": STAMP, "starts": [0], "ends": [9], "sizes": [3], "uids": ["x y"]}',
        b'{"stamp": STAMP, "starts": [0], "ends": [9], "sizes": [-3], "uids": ["00112233445566778899aabbccddeeff"]}',
        b'{"stamp": STAMP, "starts": [-1], "ends": [9], "sizes": [3], "uids": ["00112233445566778899aabbccddeeff"]}',
        b'{"stamp": STAMP, "starts": [0], "ends": [], "sizes": [3], "uids": ["00112233445566778899aabbccddeeff"]}',
        b'{"stamp": STAMP, "starts": [0], "ends": [9], "sizes": ["3"], "uids": ["00112233445566778899aabbccddeeff"]}',
        b'{"stamp": STAMP, "starts": ["0"], "ends": [9], "sizes": [3], "uids": ["00112233445566778899aabbccddeeff"]}',
        b'{"stamp": [1, 2, 3, 4, 5], "starts": [], "ends": [], "sizes": [], "uids": []}',
        b"[" * 100_000,
    ],
)
def test_a_foreign_index_is_read_over(mbox: Mbox, content: bytes) -> None:
    uid = mbox.deliver([b"x\r\n"])
    status = mbox.path.stat()
    stamp = [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    index = mbox.path.parent / ".mbox.mailproto-index"
    index.write_bytes(content.replace(b"STAMP", str(stamp).encode()))
    assert as_listed(mbox.open()) == [(3, uid)]


def test_a_wrong_index_is_found_out_and_removed(mbox: Mbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        mbox.deliver([b"%d\r\n" % number])
    aged(mbox, monkeypatch)
    mbox.open().close()
    index = mbox.path.parent / ".mbox.mailproto-index"
    index.write_text(re.sub(r'"starts": \[0, [0-9]+', '"starts": [0, 7', index.read_text()))
    reader = mbox.open_read_only()
    with pytest.raises(MessageGoneError):
        reader.retrieve(2)
    assert now_in(mbox) == [b"0\r\n", b"1\r\n", b"2\r\n"]
    assert not index.exists()
