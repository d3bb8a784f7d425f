"""Rewrites that died, and what is made of them, whatever other programs did meanwhile."""

import json
import logging
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mailproto.maildrop import MaildropBusyError, Mbox, mbox_rewrite
from mailproto.maildrop.mbox_lock import locked
from mailproto.maildrop.mbox_rewrite import Edit, recover, replace
from tests.helpers import PROPERTY
from tests.mbox import FOREIGN, FOREIGN_CONTENT, SEPARATOR, leftovers, mbox_of, now_in

SPANS = st.lists(st.integers(0, 60), min_size=2, max_size=8, unique=True).map(sorted)


@settings(PROPERTY, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SPANS, st.lists(st.binary(max_size=9), min_size=4, max_size=4))
def test_edits_are_their_plain_definition(tmp_path: Path, offsets: list[int], texts: list[bytes]) -> None:
    before = bytes(range(60))
    path = tmp_path / "file"
    path.write_bytes(before)
    spans = list(zip(offsets[::2], offsets[1::2], strict=False))
    edits = [Edit(start, end, text[: end - start]) for (start, end), text in zip(spans, texts, strict=False)]
    with locked(path, 5) as box:
        replace(box, reversed(edits))
        expected = before
        for start, end, text in reversed(edits):
            expected = expected[:start] + text + expected[end:]
        assert path.read_bytes() == box.read(0, 1000) == expected


class _DiedError(Exception):
    """Where the process died."""


def left_behind(mbox: Mbox, edits: list[Edit]) -> tuple[bytes, bytes, bytes]:
    """Make edits; return the mbox as it was, as it is to be, and the journal that is there meanwhile."""
    before = mbox.path.read_bytes()
    journal = mbox.path.parent / ".mbox.mailproto-journal"

    def die(*arguments: object) -> None:
        raise _DiedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mbox_rewrite, "_carry_out", die)
        with pytest.raises(_DiedError), locked(mbox.path, 5) as box:
            replace(box, edits)
    assert mbox.path.read_bytes() == before
    text = journal.read_bytes()
    with locked(mbox.path, 5) as box:
        recover(box)
    after = mbox.path.read_bytes()
    assert not journal.exists()
    return before, after, text


def message(number: int) -> bytes:
    """Return one of some messages that are of the same length, so that each begins where another one did."""
    return SEPARATOR + b"Subject: %d\n\n" % number + b"x" * number + b"y" * (9 - number) + b"\n\n"


LENGTH = len(message(0))
EDITS = [Edit(LENGTH, 2 * LENGTH), Edit(2 * LENGTH + len(SEPARATOR), 2 * LENGTH + len(SEPARATOR), b"X: y\n")]


@pytest.mark.parametrize("edits", [EDITS, EDITS[:1]], ids=["two edits", "one edit"])
@pytest.mark.parametrize("added", [b"", FOREIGN, b"\n" + FOREIGN + FOREIGN, message(5)])
def test_a_rewrite_that_died_is_ended_and_what_was_added_meanwhile_kept(
    tmp_path: Path, edits: list[Edit], added: bytes
) -> None:
    mbox = mbox_of(tmp_path / "mbox", *map(message, range(4)))
    before, after, journal = left_behind(mbox, edits)
    states = [after[:written] + before[written:] for written in range(LENGTH, len(after) + 1)]
    for state in [*states, after]:  # the last one is that of a file that has been cut, too
        mbox.path.write_bytes(state + added)
        (tmp_path / ".mbox.mailproto-journal").write_bytes(journal)
        with pytest.raises(MaildropBusyError):
            mbox.open_read_only()
        with locked(mbox.path, 5) as box:
            recover(box)
        assert mbox.path.read_bytes() == after + added
        assert leftovers(mbox) == []


@pytest.mark.parametrize(
    "meanwhile",
    [
        b"",
        message(0),
        message(0) + message(2)[:50],
        message(0) + FOREIGN,
        message(0) + message(2) + message(3) + b"no message",
        b"".join(map(message, range(4))) + b"no message",
    ],
)
def test_what_cannot_be_ended_is_kept(tmp_path: Path, meanwhile: bytes, caplog: pytest.LogCaptureFixture) -> None:
    mbox = mbox_of(tmp_path / "mbox", *map(message, range(4)))
    _, after, journal = left_behind(mbox, EDITS[:1])
    mbox.path.write_bytes(meanwhile)
    (tmp_path / ".mbox.mailproto-journal").write_bytes(journal)
    with caplog.at_level(logging.ERROR), locked(mbox.path, 5) as box:
        recover(box)
    assert mbox.path.read_bytes() == meanwhile
    (kept,) = tmp_path.glob(".mbox.mailproto-journal-*")
    assert kept.read_bytes().endswith(after[LENGTH:])
    assert str(kept) in caplog.text


def test_a_journal_of_another_file_or_none_is_kept_aside(tmp_path: Path) -> None:
    mbox = mbox_of(tmp_path / "mbox", *map(message, range(4)))
    _, _, journal = left_behind(mbox, EDITS[:1])
    header, text = journal.split(b"\n", 1)
    facts = json.loads(header)
    foreign = [
        json.dumps([facts[0] + 1, *facts[1:]]).encode() + b"\n" + text,
        json.dumps(facts[:4]).encode() + b"\n" + text,
        header + b"\n" + text[:-1],
        b"",
        b"[" * 5000,
    ]
    for content in foreign:
        (tmp_path / ".mbox.mailproto-journal").write_bytes(content)
        before = mbox.path.read_bytes()
        mbox.deliver([b"x\r\n"])
        assert mbox.path.read_bytes().startswith(before)
    assert len(list(tmp_path.glob(".mbox.mailproto-journal-*"))) == len(foreign)


def test_a_rewrite_that_fails_in_the_middle_is_ended_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mbox = mbox_of(tmp_path / "mbox", FOREIGN, message(1), FOREIGN)
    snapshot = mbox.open()

    def fail(*arguments: object) -> None:
        raise OSError("input or output")

    with monkeypatch.context() as patch:
        patch.setattr(mbox_rewrite, "_cut", fail)
        with pytest.raises(OSError, match="input or output"):
            snapshot.commit([2])
    snapshot.close()
    assert now_in(mbox) == [FOREIGN_CONTENT, FOREIGN_CONTENT]
    assert leftovers(mbox) == []


def test_a_file_is_cut_only_when_what_was_written_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that loses power may have done the one and not the other, in any order that was not enforced."""
    mbox = mbox_of(tmp_path / "mbox", FOREIGN, message(1), FOREIGN)
    calls: list[str] = []
    fsync, ftruncate = os.fsync, os.ftruncate
    with locked(mbox.path, 5) as box:

        def noted_fsync(descriptor: int) -> None:
            calls.append("fsync" if descriptor == box.descriptor else "other")
            fsync(descriptor)

        def noted_ftruncate(descriptor: int, size: int) -> None:
            calls.append("cut")
            ftruncate(descriptor, size)

        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(os, "ftruncate", noted_ftruncate)
        replace(box, [Edit(len(FOREIGN), len(FOREIGN) + LENGTH)])
    assert calls == ["other", "other", "fsync", "cut", "fsync"]
