"""Sizes: counted as sent, and remembered only as long as the file is the same."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given

from mailproto.maildrop.base import canonical
from mailproto.maildrop.sizes import SizeCache, count_octets
from tests.maildrop import canonical_form, cut
from tests.maildrop.strategies import CONTENTS, CUTS, MESSY_CONTENTS


@given(MESSY_CONTENTS | CONTENTS, CUTS)
def test_counted_is_what_is_sent_at_every_cut(content: bytes, cuts: list[int]) -> None:
    pieces = cut(content, cuts)
    assert b"".join(canonical(pieces)) == canonical_form(content)
    assert count_octets(pieces) == len(canonical_form(content))


@pytest.fixture
def status(tmp_path: Path) -> os.stat_result:
    message = tmp_path / "message"
    message.write_bytes(b"hello\n")
    return message.stat()


def test_what_is_saved_is_known_to_the_next(tmp_path: Path, status: os.stat_result) -> None:
    odd = "od\ndname \udcff"
    cache = SizeCache(tmp_path / "sizes")
    cache.record("x", status, 7)
    cache.record(odd, status, 8)
    cache.save(["x", odd])
    again = SizeCache(tmp_path / "sizes")
    assert "x" in again and "y" not in again
    assert (again.get("x", status), again.get(odd, status), again.get("y", status)) == (7, 8, None)


def test_only_bases_that_are_left_are_kept(tmp_path: Path, status: os.stat_result) -> None:
    cache = SizeCache(tmp_path / "sizes")
    cache.record("x", status, 7)
    cache.record("y", status, 8)
    cache.save(["y", "z"])
    assert list(json.loads((tmp_path / "sizes").read_bytes())) == ["y"]


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    SizeCache(tmp_path / "sizes").save(["x"])
    assert not (tmp_path / "sizes").exists()


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_changed_file_is_not_known(tmp_path: Path, status: os.stat_result, change: str) -> None:
    cache = SizeCache(tmp_path / "sizes")
    cache.record("x", status, 7)
    message = tmp_path / "message"
    if change == "size":
        message.write_bytes(b"hello again\n")
        os.utime(message, ns=(status.st_mtime_ns, status.st_mtime_ns))
    else:
        os.utime(message, ns=(status.st_mtime_ns, status.st_mtime_ns + 1))
    assert cache.get("x", status) == 7
    assert cache.get("x", message.stat()) is None


def torn_caches(status: os.stat_result) -> list[bytes]:
    """Return files that are no cache, or have no good entry for x."""
    whole = json.dumps({"x": [status.st_size, status.st_mtime_ns, 7]}).encode()
    entries: list[object] = [5, None, [], [1, 2], [status.st_size, status.st_mtime_ns, "7"], {"size": 7}]
    entries.append([status.st_size, status.st_mtime_ns, -7])
    torn = [b"", b"\0" * 100, b"\xff", b"[]", b"7", b"null", b"[" * 100_000, b"9" * 5000, whole[:-1], whole + b"}"]
    return torn + [json.dumps({"x": entry}).encode() for entry in entries]


def test_a_torn_cache_is_no_cache(tmp_path: Path, status: os.stat_result) -> None:
    path = tmp_path / "sizes"
    for torn in torn_caches(status):
        path.write_bytes(torn)
        cache = SizeCache(path)
        assert cache.get("x", status) is None, torn[:50]
        cache.record("x", status, 7)
        cache.save(["x"])
        assert SizeCache(path).get("x", status) == 7


def test_a_cache_that_cannot_be_written_does_no_harm(tmp_path: Path, status: os.stat_result) -> None:
    (tmp_path / "sizes").mkdir()
    cache = SizeCache(tmp_path / "sizes")
    cache.record("x", status, 7)
    cache.save(["x"])
    assert cache.get("x", status) == 7
    assert (tmp_path / "sizes").is_dir()


def test_a_draft_left_by_a_crash_is_written_over(tmp_path: Path, status: os.stat_result) -> None:
    (tmp_path / "sizes.tmp").write_bytes(b"x" * 1000)
    cache = SizeCache(tmp_path / "sizes")
    cache.record("x", status, 7)
    cache.save(["x"])
    assert SizeCache(tmp_path / "sizes").get("x", status) == 7
