"""Deliveries that died, and what is made of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mailproto.maildrop import Mbox
from tests.maildrop import read
from tests.mbox import FOREIGN, FOREIGN_CONTENT, SEPARATOR, all_of, leftovers, mbox_of, now_in

OLD, NEW = b"Subject: old\r\n\r\nFrom me\r\n", b"Subject: new\r\n\r\nFrom you\r\nmore\r\n"


def taken_back(mbox: Mbox, content: list[bytes]) -> tuple[bytes, bytes]:
    """Deliver a message and take it back; return what was written, and the note that was there meanwhile."""
    note = mbox.path.parent / ".mbox.mailproto-append"
    notes: list[bytes] = []
    before = mbox.path.read_bytes() if mbox.path.exists() else b""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mailproto.maildrop.mbox_append.os.fsync", lambda _: notes.append(note.read_bytes()))
        mbox.deliver(content)
    written = mbox.path.read_bytes()[len(before) :]
    mbox.path.write_bytes(before)
    return written, notes[-1]


def every_death(mbox: Mbox) -> Iterator[tuple[int, int]]:
    """Have the mbox be as a delivery of `NEW` leaves it that dies, with all that it may have written by then.

    Yields: how many octets those are, and how many are missing.
    """
    before = mbox.path.read_bytes() if mbox.path.exists() else b""
    written, note = taken_back(mbox, [NEW])
    for length in range(len(written) + 1):
        mbox.path.write_bytes(before + written[:length])
        (mbox.path.parent / ".mbox.mailproto-append").write_bytes(note)
        yield length, len(written) - length


@pytest.mark.parametrize("ending", [b"", b"cut off"])
def test_a_delivery_that_died_is_whole_or_not_there_and_the_next_goes_on(tmp_path: Path, ending: bytes) -> None:
    mbox = mbox_of(tmp_path / "mbox", FOREIGN, ending)
    before = mbox.open_read_only()
    content = all_of(before)
    for _, missing in every_death(mbox):
        reader = mbox.open_read_only()
        assert all_of(reader) == [*content, *([] if missing else [NEW])]
        assert reader.messages[0] == before.messages[0]
        assert leftovers(mbox) == [".mbox.mailproto-append"]
        assert now_in(mbox) == all_of(reader)
        assert leftovers(mbox) == []
        assert mbox.path.read_bytes().startswith(FOREIGN + ending)


def test_the_first_delivery_that_died(tmp_path: Path) -> None:
    mbox = Mbox(tmp_path / "mbox")
    for _, missing in every_death(mbox):
        assert now_in(mbox) == ([] if missing else [NEW])


@pytest.mark.parametrize("newlines", [0, 1])
def test_a_delivery_that_died_harms_nothing_that_came_behind_it(tmp_path: Path, newlines: int) -> None:
    mbox = mbox_of(tmp_path / "mbox")
    mbox.deliver([OLD])
    for length, missing in every_death(mbox):
        with mbox.path.open("ab") as file:
            file.write(b"\n" * newlines + FOREIGN)
        contents = now_in(mbox)
        assert contents[0].startswith(OLD)
        assert contents[-1].endswith(FOREIGN_CONTENT[-20:])
        if length:
            ours = [NEW + b"\r\n" * (newlines - missing)] if missing <= newlines else []
            assert contents == [OLD, *ours, FOREIGN_CONTENT]


@pytest.mark.parametrize("behind", [b"", FOREIGN, b"\n" + FOREIGN])
@pytest.mark.parametrize("more", [0, 63_302, 70_002])
def test_a_delivery_that_died_is_not_there_whatever_it_says(memory_path: Path, behind: bytes, more: int) -> None:
    """What looks like the line that begins a message may stand in another, quoted, or not at a line's beginning."""
    line = SEPARATOR[:-1].replace(b"ada", b"bob")
    lines = (line, b">" + line, b"I say: " + line, line + b"y" * 1200, line)
    content = b"\r\n".join((b"Subject: x", b"", *lines, *([b"z" * more, *lines] if more else []), b""))
    mbox = Mbox(memory_path / "mbox")
    written, note = taken_back(mbox, [content[at : at + 60] for at in range(0, len(content), 60)])
    head = written.index(b"Subject")
    for length in range(head, len(written), 5):
        if head + 1500 < length < len(written) - 1500:
            continue
        assert length + len(behind) != len(written), "nobody could tell them apart"
        mbox.path.write_bytes(written[:length] + behind)
        (memory_path / ".mbox.mailproto-append").write_bytes(note)
        assert now_in(mbox) == [FOREIGN_CONTENT] * bool(behind), length


def test_a_delivery_that_died_leaves_what_others_rely_on(tmp_path: Path) -> None:
    """The file had no line end, the delivery gave it one, and somebody else added his message right behind."""
    mbox = mbox_of(tmp_path / "mbox", FOREIGN[:-2])
    before = mbox.open_read_only().messages[0].uid
    for length, missing in every_death(mbox):
        if mbox.path.read_bytes().endswith(b"\n") and missing:
            with mbox.path.open("ab") as file:
                file.write(FOREIGN.replace(b"Subject", b"Object"))
            assert now_in(mbox) == [FOREIGN_CONTENT, FOREIGN_CONTENT.replace(b"Subject", b"Object")], length
            assert mbox.open_read_only().messages[0].uid == before


def test_a_session_begun_before_a_delivery_died_goes_on(tmp_path: Path) -> None:
    mbox = mbox_of(tmp_path / "mbox", FOREIGN)
    for _ in every_death(mbox):
        snapshot = mbox.open_read_only()
        assert read(snapshot, 1) == FOREIGN_CONTENT


@pytest.mark.parametrize(
    "note",
    [
        *(b"", b"[", b"{}", b"[1, 2]", b"[" * 99999),
        *(b'[-5, 10, "x", []]', b"[0, 10, 5, []]", b'[0, 9999, "From nobody", []]'),
        *(b'[0, 9999, "From me", 5]', b'[0, 9999, "From me", [5]]', b'[0, 9999, "From me", [[[], 5]]]'),
    ],
)
def test_a_note_that_says_nothing_changes_nothing(tmp_path: Path, note: bytes) -> None:
    mbox = mbox_of(tmp_path / "mbox", FOREIGN)
    (tmp_path / ".mbox.mailproto-append").write_bytes(note)
    assert now_in(mbox) == [FOREIGN_CONTENT]
    assert mbox.path.read_bytes() == FOREIGN
    assert leftovers(mbox) == []


def test_a_delivery_that_fails_takes_back_what_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mbox = mbox_of(tmp_path / "mbox", FOREIGN)

    def full(descriptor: int) -> None:
        if mbox.path.stat().st_size > len(FOREIGN):
            raise OSError("no space left")

    monkeypatch.setattr("mailproto.maildrop.mbox_append.os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        mbox.deliver([NEW])
    assert mbox.path.read_bytes() == FOREIGN
    assert leftovers(mbox) == []


def test_what_looks_like_many_beginnings_is_noted_once(tmp_path: Path) -> None:
    """Each place with the rest of its line would be hundreds of times what a stranger sends, on disk, too."""
    line = b"x" + b"From " * 190 + SEPARATOR[len("From ") : -1]
    written, note = taken_back(Mbox(tmp_path / "mbox"), [b"\r\n".join([b"Subject: x", b"", *[line] * 30, b""])])
    assert len(note) < 2 * len(written)
    for length in range(1000, len(written), len(line) + 33):
        (tmp_path / "mbox").write_bytes(written[:length] + FOREIGN)
        (tmp_path / ".mbox.mailproto-append").write_bytes(note)
        assert now_in(Mbox(tmp_path / "mbox")) == [FOREIGN_CONTENT], length
