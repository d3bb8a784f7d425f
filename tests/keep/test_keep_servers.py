"""Fetch and keep, from servers that are not as they should be, over lines that break."""

from __future__ import annotations

import gc
import hashlib
import random
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

import pytest

from mailproto.errors import ConnectionClosedError, NotSupportedError, RemoteProtocolError
from mailproto.ledger import LedgerInUseError, MaildirStore, SQLiteLedger
from mailproto.maildrop import Maildir
from mailproto.pop3.flows.keep import KeepPolicy, Note
from tests.interrupts import interrupted
from tests.keep.scripted import Mail, Server, Shelf, fetch, mail, numbers


def test_without_unique_ids_a_limit_gets_to_the_end_all_the_same(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail(str(number)) for number in range(50)], uidl=False), Shelf()
    for _ in range(6):
        fetch(server, ledger, shelf, KeepPolicy(limit=10))
    assert shelf.stored == [str(number) for number in range(50)]


def test_without_a_word_everything_stays_on_the_server(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail("one"), mail("two")]), Shelf()
    for now in (0.0, 1e9):
        assert fetch(server, ledger, shelf, KeepPolicy(), now=now).deleted == []
    assert numbers(server, b"DELE") == []
    assert numbers(server, b"RETR") == [1, 2]  # by their unique-ids they are known the second time
    assert shelf.stored == ["one", "two"]


def test_a_limit_asks_for_no_more_than_it_stores(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail(str(number)) for number in range(50)]), Shelf()
    fetch(server, ledger, shelf, KeepPolicy(limit=7))
    assert numbers(server, b"RETR") == list(range(1, 8))
    assert fetch(server, ledger, shelf, KeepPolicy(limit=0)).fetched == []
    assert shelf.stored == [str(number) for number in range(7)]


@pytest.mark.parametrize("refused", [True, False], ids=["refused", "longer than listed"])
def test_what_cannot_be_had_stands_in_nobodys_way(ledger: SQLiteLedger, refused: bool) -> None:
    """It would be tried first the next time, too, and the limit be used up by it again."""
    odd = [mail(str(number), length=0 if refused else 900)._replace(listed=20) for number in range(3)]
    server, shelf = Server([*odd, *(mail(str(number)) for number in range(3, 8))]), Shelf()
    if refused:
        server.refused = frozenset({b"RETR 1", b"RETR 2", b"RETR 3"})
    for expected in (["3", "4"], ["3", "4", "5", "6"], ["3", "4", "5", "6", "7"]):
        report = fetch(server, ledger, shelf, KeepPolicy(limit=2, max_size=500))
        assert shelf.stored == expected
        assert len(report.refused if refused else report.too_big) == 3


def test_unique_ids_that_a_server_does_not_tell_of_are_made_use_of(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail("one")], tells_of_uidl=False), Shelf()
    fetch(server, ledger, shelf)
    assert list(ledger.read()) == ["one"]
    server.asked.clear()
    fetch(server, ledger, shelf)
    assert b"RETR 1" not in server.asked


def test_without_unique_ids_what_is_gone_is_forgotten_once_all_was_seen(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail("one"), mail("two"), mail("three")], uidl=False), Shelf()
    fetch(server, ledger, shelf)
    del server.mails[0]
    fetch(server, ledger, shelf, KeepPolicy(max_size=1))
    assert len(ledger.read()) == 3
    fetch(server, ledger, shelf)
    assert len(ledger.read()) == 2
    assert shelf.stored == ["one", "two", "three"]


def test_of_unique_ids_what_is_gone_is_forgotten_once_all_of_them_were_seen(ledger: SQLiteLedger) -> None:
    """Where all messages have one it takes no more than a listing; where some do not, what is gone may be one of
    those, and all have to be fetched."""
    server, shelf = Server([mail("one", "1"), mail("two", "2")]), Shelf()
    fetch(server, ledger, shelf)
    server.mails = [mail("two", "2"), mail("three", "3"), mail("four", "4")]
    fetch(server, ledger, shelf, KeepPolicy(limit=1))
    assert set(ledger.read()) == {"2", "3"}
    server.mails = [mail("two", "2"), mail("five", "same"), mail("six", "same")]
    fetch(server, ledger, shelf, KeepPolicy(limit=1))
    assert {"2", "3"} <= set(ledger.read())
    fetch(server, ledger, shelf)
    assert [key for key in ledger.read() if not key.startswith("sha256:")] == ["2"]
    assert shelf.stored == ["one", "two", "three", "five", "six"]


def test_a_unique_id_that_is_used_again_at_once_is_no_reason_to_delete_unseen(ledger: SQLiteLedger) -> None:
    """The server numbers from 1 whenever the maildrop is empty: the worst there is to be met."""
    server, shelf = Server([mail("first", "1"), mail("second", "2")]), Shelf()
    fetch(server, ledger, shelf, KeepPolicy(keep=False))
    assert server.mails == []
    server.mails = [mail("another, longer", "1")]
    fetch(server, ledger, shelf, KeepPolicy(keep=False))
    assert shelf.stored == ["first", "second", "another, longer"]
    assert server.mails == []


def test_a_unique_id_that_is_used_again_behind_an_empty_maildrop_is_no_reason_to_delete_unseen(
    ledger: SQLiteLedger,
) -> None:
    """Somebody else has deleted all that was to be kept, and the server numbers from 1 again."""
    server, shelf = Server([mail("first", "1"), mail("second", "2")]), Shelf()
    fetch(server, ledger, shelf)
    server.mails = []
    for _ in range(2):
        fetch(server, ledger, shelf)
    server.mails = [mail("third", "1")]
    fetch(server, ledger, shelf, KeepPolicy(keep=False))
    assert shelf.stored == ["first", "second", "third"]
    assert server.mails == []


@pytest.mark.parametrize("uids", ["12", "34"], ids=["same", "other"])
def test_what_is_there_again_behind_an_empty_maildrop_is_looked_at_once(ledger: SQLiteLedger, uids: str) -> None:
    """As it is where a server shows an empty maildrop by mishap, or before all is moved to it."""
    server, shelf = Server([mail("first", "1"), mail("second", "2")]), Shelf()
    fetch(server, ledger, shelf)
    server.mails = []
    fetch(server, ledger, shelf)
    server.mails = [mail(name, uid) for name, uid in zip(["first", "second"], uids, strict=True)]
    for _ in range(3):
        assert fetch(server, ledger, shelf).fetched == []
    assert numbers(server, b"RETR") == [1, 2, 1, 2]
    assert sorted(ledger.read()) == sorted(uids)
    assert shelf.stored == ["first", "second"]


def test_a_unique_id_that_is_used_again_for_as_many_octets_is_new(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail("first", "1"), mail("second", "2")]), Shelf()
    fetch(server, ledger, shelf, KeepPolicy(keep=False))
    server.mails = [mail("third", "1"), mail("fourth", "2")]
    fetch(server, ledger, shelf, KeepPolicy(keep=False))
    assert shelf.stored == ["first", "second", "third", "fourth"]
    assert server.mails == []


def test_a_unique_id_that_is_used_again_within_a_second_gets_another_file(tmp_path: Path) -> None:
    server = Server([mail("first", "1")])
    with SQLiteLedger(":memory:", "ada@here") as ledger:
        for name in ("first", "third"):
            server.mails = [mail(name, "1")]
            fetch(server, ledger, MaildirStore(Maildir(tmp_path), "ada@here"), KeepPolicy(keep=False), now=100.5)
    assert sorted(path.read_bytes()[:14] for path in tmp_path.glob("new/*")) == [b"Subject: first", b"Subject: third"]


def test_the_name_of_what_is_stored_stays_the_same_for_ever(tmp_path: Path) -> None:
    """Or what was interrupted before an upgrade would be stored twice."""
    MaildirStore(Maildir(tmp_path), "ada@here")(Note("1", 5.9, "0" * 64), [b"x\r\n"])
    (stored,) = (tmp_path / "new").iterdir()
    assert stored.name == "5.Fb7cf931bbd15cfbe34b34ec137435713edeab08c.mailproto,S=2,W=3"


def test_what_was_to_be_deleted_and_is_kept_after_all_is_looked_at_once(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail("one")], loses_quit=True), Shelf()
    with pytest.raises(ConnectionClosedError):
        fetch(server, ledger, shelf, KeepPolicy(keep=False))
    server.loses_quit = False
    for _ in range(3):
        assert fetch(server, ledger, shelf).fetched == []
    assert shelf.stored == ["one"]
    assert server.asked.count(b"RETR 1") == 2


def test_an_interrupted_message_that_has_become_another_is_stored(ledger: SQLiteLedger) -> None:
    """The note was written, and nobody knows whether the message was stored; what is there now was certainly not."""
    server, shelf = Server([mail("one", "1")]), Shelf()
    ledger.begin("1", 0.0, "0" * 64)
    fetch(server, ledger, shelf, KeepPolicy(keep=False))
    assert shelf.stored == ["one"]


def test_what_is_still_there_because_quit_was_lost_is_deleted_and_not_fetched_again(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail("one"), mail("two")], loses_quit=True), Shelf()
    with pytest.raises(ConnectionClosedError):
        fetch(server, ledger, shelf, KeepPolicy(keep=False))
    assert len(server.mails) == 2
    server.loses_quit = False
    assert fetch(server, ledger, shelf, KeepPolicy(keep=False)).deleted == [1, 2]
    assert shelf.stored == ["one", "two"]
    assert server.mails == []


def test_a_size_that_changes_on_the_server_makes_nothing_new(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail("one")]), Shelf()
    fetch(server, ledger, shelf)
    server.mails = [Mail("one", b"Subject: one\r\nStatus: RO\r\n\r\n\r\n")]
    fetch(server, ledger, shelf)
    assert shelf.stored == ["one"]


def test_a_message_longer_than_listed_is_held_to_the_cap(ledger: SQLiteLedger) -> None:
    server = Server([Mail("liar", b"Subject: liar\r\n" + b"x" * 5000 + b"\r\n", listed=20), mail("next")])
    shelf = Shelf()
    report = fetch(server, ledger, shelf, KeepPolicy(max_size=1000))
    assert [message.uid for message in report.too_big] == ["liar"]
    assert shelf.stored == ["next"]
    assert list(ledger.read()) == ["next"]


def test_unique_ids_that_go_missing_are_not_taken_for_a_new_maildrop(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail("one"), mail("two")]), Shelf()
    fetch(server, ledger, shelf)
    server.uidl = False
    with pytest.raises(NotSupportedError):
        fetch(server, ledger, shelf)
    server.uidl, server.refused = True, frozenset({b"UIDL"})
    with pytest.raises(NotSupportedError):
        fetch(server, ledger, shelf)
    server.refused = frozenset()
    assert fetch(server, ledger, shelf).fetched == []
    assert shelf.stored == ["one", "two"]


@pytest.mark.parametrize("uid", ["a b", "a\x00b", "\x7f", "ä"])
def test_malformed_unique_ids_end_the_job_or_are_not_asked_for(ledger: SQLiteLedger, uid: str) -> None:
    server, shelf = Server([mail("one", uid), mail("two", "2")]), Shelf()
    with pytest.raises(RemoteProtocolError):
        fetch(server, ledger, shelf)
    assert shelf.stored == []
    for _ in range(2):
        fetch(server, ledger, shelf, KeepPolicy(unique_ids=False))
    assert shelf.stored == ["one", "two"]
    assert b"UIDL" in server.asked[:5] and b"UIDL" not in server.asked[5:]


def test_what_is_known_by_unique_id_stays_known_while_none_are_asked_for(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail("one")]), Shelf()
    fetch(server, ledger, shelf)
    assert fetch(server, ledger, shelf, KeepPolicy(unique_ids=False)).fetched == []
    assert fetch(server, ledger, shelf).fetched == []
    assert shelf.stored == ["one"]
    assert numbers(server, b"RETR") == [1, 1]


def test_what_is_known_by_content_stays_known_when_it_gets_a_unique_id(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail("one"), mail("two")]), Shelf()
    fetch(server, ledger, shelf, KeepPolicy(unique_ids=False), now=100.0)
    for _ in range(2):
        assert fetch(server, ledger, shelf, now=200.0).fetched == []
    assert shelf.stored == ["one", "two"]
    assert numbers(server, b"RETR") == [1, 2, 1, 2]
    assert {key: note.first_seen for key, note in ledger.read().items()} == {"one": 100.0, "two": 100.0}


@pytest.mark.parametrize("cut", range(0, 300, 7))
def test_what_gets_another_unique_id_is_nothing_new(ledger: SQLiteLedger, cut: int) -> None:
    """As when a maildrop moves to another server; wherever the line breaks in the midst of it."""
    server, shelf = Server([mail("one", "1"), mail("two", "2")]), Shelf()
    fetch(server, ledger, shelf, now=100.0)
    server.mails = [mail("one", "a"), mail("new", "b"), mail("two", "c")]
    with suppress(ConnectionClosedError):
        fetch(server, ledger, shelf, now=200.0, cut=cut)
    for _ in range(2):
        fetch(server, ledger, shelf, now=200.0)
    assert shelf.stored == ["one", "two", "new"]
    assert {key: note.first_seen for key, note in ledger.read().items()} == {"a": 100.0, "b": 200.0, "c": 100.0}


def test_equal_messages_that_get_other_unique_ids_are_nothing_new(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail("one", "1"), mail("one", "2")]), Shelf()
    fetch(server, ledger, shelf)
    server.mails = [mail("one", "a"), mail("one", "b"), mail("one", "c")]
    assert [entry.uid for entry in fetch(server, ledger, shelf).fetched] == ["c"]
    assert shelf.stored == ["one"] * 3


def test_a_note_is_forgotten_once() -> None:
    """A ledger of somebody's own may know no note that it has dropped before."""
    forgotten: list[str] = []

    class Counting(SQLiteLedger):
        def forget(self, keys: Sequence[str]) -> None:
            forgotten.extend(keys)
            super().forget(keys)

    with Counting(":memory:", "ada@here") as ledger:
        for uids in ("ab", "cd"):
            fetch(Server([mail(name, uid) for name, uid in zip("xy", uids, strict=True)]), ledger, Shelf())
    assert forgotten == ["a", "b"]


def test_what_has_lost_its_unique_id_is_known_by_that_of_an_equal_one() -> None:
    """The note by which it was known is that of the other one from then on, and nothing is done to it any more."""
    done: list[tuple[str, ...]] = []

    class Strict(SQLiteLedger):
        def mark_deleted(self, keys: Sequence[str]) -> None:
            assert self.read().keys() >= set(keys)
            done.append(tuple(keys))
            super().mark_deleted(keys)

    with Strict(":memory:", "ada@here") as ledger:
        shelf = Shelf()
        fetch(Server([mail("one", "a")]), ledger, shelf)
        server = Server([mail("one", "same"), mail("one", "same"), mail("one", "b")])
        fetch(server, ledger, shelf)
        assert list(ledger.read()) == ["b"]
        server.mails[2] = mail("one", "c")
        assert fetch(server, ledger, shelf, KeepPolicy(keep=False)).deleted == [1, 2, 3]
    assert shelf.stored == ["one"]
    assert done == [("c", "c", "c")]


@pytest.mark.parametrize("cut", [True, False])
def test_equal_messages_that_get_unique_ids_are_nothing_new(ledger: SQLiteLedger, cut: bool) -> None:
    server, shelf = Server([mail("one", "a"), mail("one", "b")]), Shelf()
    fetch(server, ledger, shelf, KeepPolicy(unique_ids=False))
    if cut:
        server.hangs_up_at = frozenset("b")
        with pytest.raises(ConnectionClosedError):
            fetch(server, ledger, shelf)
    server.hangs_up_at = frozenset()
    fetch(server, ledger, shelf)
    assert shelf.stored == ["one"]


def test_what_was_never_stored_is_stored_under_another_unique_id(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail("one", "1")]), Shelf()

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        fetch(server, ledger, fail)
    server.mails = [mail("one", "a")]
    fetch(server, ledger, shelf)
    assert shelf.stored == ["one"]


def test_what_was_never_stored_is_stored_when_it_gets_a_unique_id(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail("one", "x"), mail("two", "x")]), Shelf()

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk"):
        fetch(server, ledger, fail)
    server.mails = [mail("one", "a"), mail("two", "b")]
    fetch(server, ledger, shelf, KeepPolicy(keep=False))
    assert shelf.stored == ["one", "two"]


def test_what_is_known_by_content_stays_known_until_all_was_seen(ledger: SQLiteLedger) -> None:
    """A run that comes to its limit has not looked at the others, though all have unique-ids by now."""
    server, shelf = Server([mail("one", "x"), mail("two", "x")]), Shelf()
    fetch(server, ledger, shelf)
    server.mails = [mail("new"), mail("one", "a"), mail("two", "b")]
    fetch(server, ledger, shelf, KeepPolicy(limit=1))
    fetch(server, ledger, shelf)
    assert shelf.stored == ["one", "two", "new"]


@pytest.mark.parametrize("old", ["1", "z"])
def test_only_one_message_passes_for_one_that_had_another_unique_id(ledger: SQLiteLedger, old: str) -> None:
    """Though the line breaks in between."""
    server, shelf = Server([mail("one", old)]), Shelf()
    fetch(server, ledger, shelf)
    server.mails, server.hangs_up_at = [mail("one", "a"), mail("bad", "b")], frozenset("b")
    with suppress(ConnectionClosedError):
        fetch(server, ledger, shelf)
    server.mails.append(mail("one", "c"))
    with suppress(ConnectionClosedError):
        fetch(server, ledger, shelf)
    assert shelf.stored == ["one", "one"]


def test_what_was_deleted_and_comes_again_is_new(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail("one", "1")]), Shelf()
    fetch(server, ledger, shelf, KeepPolicy(keep=False))
    server.mails = [mail("one", "2")]
    fetch(server, ledger, shelf, KeepPolicy(keep=False))
    assert shelf.stored == ["one", "one"]


def test_an_equal_message_beside_one_that_is_there_is_new(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail("one", "1")]), Shelf()
    fetch(server, ledger, shelf)
    server.mails.append(mail("one", "2"))
    fetch(server, ledger, shelf)
    assert shelf.stored == ["one", "one"]


def test_a_unique_id_that_looks_like_a_content_stands_for_none(ledger: SQLiteLedger) -> None:
    wanted = mail("two")
    server, shelf = Server([mail("one", f"sha256:{hashlib.sha256(wanted.content).hexdigest()}")]), Shelf()
    fetch(server, ledger, shelf)
    server.mails.append(wanted)
    fetch(server, ledger, shelf)
    assert shelf.stored == ["one", "two"]


def test_a_unique_id_that_is_given_twice_from_one_day_on_makes_nothing_new(ledger: SQLiteLedger) -> None:
    """A server that makes them of the content does so as soon as somebody has two copies of a message."""
    server, shelf = Server([mail("one", "1")]), Shelf()
    fetch(server, ledger, shelf)
    server.mails = [mail("one", "1"), mail("one", "1"), mail("two", "2")]
    assert [entry.uid for entry in fetch(server, ledger, shelf).fetched] == ["2"]
    del server.mails[0]
    assert fetch(server, ledger, shelf).fetched == []
    assert shelf.stored == ["one", "two"]


@pytest.mark.parametrize("policy", [KeepPolicy(), KeepPolicy(limit=0), KeepPolicy(max_size=1)])
@pytest.mark.parametrize("uid", ["", "one"], ids=["missing", "doubled"])
def test_a_unique_id_that_is_not_there_one_day_makes_nothing_new(
    ledger: SQLiteLedger, policy: KeepPolicy, uid: str
) -> None:
    server, shelf = Server([mail("one"), mail("two"), mail("three")]), Shelf()
    fetch(server, ledger, shelf)
    whole, server.mails = server.mails, [mail("one"), mail("two", uid), mail("three", uid)]
    fetch(server, ledger, shelf, policy)
    server.mails = whole
    fetch(server, ledger, shelf)
    assert shelf.stored == ["one", "two", "three"]


def test_content_that_a_unique_id_no_longer_stands_for_is_new(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail("one", "1")]), Shelf()
    fetch(server, ledger, shelf)
    ledger.mark_deleted(["1"])
    server.mails = [mail("two", "1"), mail("one", "")]
    fetch(server, ledger, shelf)
    assert shelf.stored == ["one", "two", "one"]
    assert fetch(server, ledger, shelf).fetched == []


def test_a_server_that_could_prove_a_message_has_to_prove_the_next(ledger: SQLiteLedger) -> None:
    """If it cannot, nobody knows whose content that was."""
    server, shelf = Server([mail("one"), mail("two"), mail("three")], refused=frozenset({b"LIST 2"})), Shelf()
    with pytest.raises(RemoteProtocolError, match="out of step"):
        fetch(server, ledger, shelf, KeepPolicy(keep=False))
    assert shelf.stored == ["one"]
    assert numbers(server, b"DELE") == []


@pytest.mark.parametrize("lists", ["all", "none"])
def test_a_server_that_can_prove_nothing_is_asked_once(ledger: SQLiteLedger, lists: str) -> None:
    server, shelf = Server([mail("one"), mail("two"), mail("three")], lists=lists), Shelf()
    fetch(server, ledger, shelf)
    assert shelf.stored == ["one", "two", "three"]
    assert numbers(server, b"LIST") == [1]


def test_a_deletion_that_is_refused_is_told_and_stops_nothing(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail(str(number)) for number in range(4)], refused=frozenset({b"DELE 2"})), Shelf()
    report = fetch(server, ledger, shelf, KeepPolicy(keep=False))
    assert report.deleted == [1, 3, 4]
    assert list(map(str, report.refused)) == ["DELE: -ERR not now"]
    assert [entry.uid for entry in server.mails] == ["1"]
    server.refused = frozenset()
    assert fetch(server, ledger, shelf, KeepPolicy(keep=False)).deleted == [1]
    assert shelf.stored == ["0", "1", "2", "3"]


def test_a_message_that_is_refused_is_not_deleted(ledger: SQLiteLedger) -> None:
    server, shelf = Server([mail("one"), mail("two"), mail("three")], refused=frozenset({b"RETR 2"})), Shelf()
    report = fetch(server, ledger, shelf, KeepPolicy(keep=False))
    assert report.deleted == [1, 3]
    assert [entry.uid for entry in server.mails] == ["two"]


def test_a_ledger_on_disk_remembers_what_was_marked(tmp_path: Path) -> None:
    with SQLiteLedger(tmp_path / "ledger", "a") as first, SQLiteLedger(tmp_path / "ledger", "b") as other:
        for key in ("x", "y"):
            first.begin(key, 1.0, "a1")
            first.finish(key)
        other.begin("x", 2.0, "b2")
        first.mark_deleted(["x"])
    x, y = (Note(key, 1.0, "a1", stored=True, deleted=key == "x") for key in ("x", "y"))
    with SQLiteLedger(tmp_path / "ledger", "a") as again, SQLiteLedger(tmp_path / "ledger", "b") as other:
        assert again.read() == {"x": x, "y": y}
        assert again.begin("x", 9.0, "c3") == x
        assert other.read() == {"x": Note("x", 2.0, "b2")}


def test_a_ledger_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    with SQLiteLedger(path, "ada@here") as ledger:
        ledger.begin("one", 0.0, "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_ledger_behind_a_link_to_nothing_is_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "ledger")
    with SQLiteLedger(tmp_path / "link", "ada@here"):
        assert stat.S_IMODE((tmp_path / "ledger").stat().st_mode) == 0o600


def test_a_ledger_that_is_opened_breaks_no_lock_of_another(tmp_path: Path) -> None:
    """A process that closes a file loses the POSIX locks that it has on it, whichever descriptor they are of."""
    path = tmp_path / "ledger"
    SQLiteLedger(path, "ada@here").close()
    with closing(sqlite3.connect(path, isolation_level=None)) as writing:
        writing.execute("BEGIN IMMEDIATE")
        SQLiteLedger(path, "eve@here").close()
        script = "import sqlite3, sys; sqlite3.connect(sys.argv[1], 0).execute('BEGIN IMMEDIATE')"
        other = subprocess.run([sys.executable, "-c", script, str(path)], stderr=subprocess.PIPE, check=False)
    assert b"database is locked" in other.stderr


def test_two_runs_on_one_account_are_kept_apart(tmp_path: Path) -> None:
    with SQLiteLedger(tmp_path / "ledger", "ada@here"):
        with pytest.raises(LedgerInUseError, match="ada@here"):
            SQLiteLedger(tmp_path / "ledger", "ada@here")
        (tmp_path / "link").symlink_to("ledger")
        with pytest.raises(LedgerInUseError, match="ada@here"):
            SQLiteLedger(tmp_path / "link", "ada@here")
        SQLiteLedger(tmp_path / "ledger", "ada@there").close()
        SQLiteLedger(tmp_path / "other ledger", "ada@here").close()
        script = "import sys; from mailproto.ledger import SQLiteLedger; SQLiteLedger(*sys.argv[1:])"
        command = [sys.executable, "-c", script, str(tmp_path / "ledger")]
        other = subprocess.run([*command, "ada@here"], stderr=subprocess.PIPE, check=False)
        assert other.returncode == 1 and b"LedgerInUseError" in other.stderr
        subprocess.run([*command, "ada@there"], check=True)
    SQLiteLedger(tmp_path / "ledger", "ada@here").close()


@pytest.mark.parametrize("function", ["execute", "close"])
def test_a_run_that_is_interrupted_is_not_in_the_way_of_the_next_one(tmp_path: Path, function: str) -> None:
    """Nor until what it has dropped is collected, which may be never."""
    path = tmp_path / "ledger"
    SQLiteLedger(path, "ada@here").close()
    gc.disable()
    try:
        for number in count(1):
            if not interrupted(number, [function], lambda: SQLiteLedger(path, "ada@here").close()):
                break
            SQLiteLedger(path, "ada@here").close()
    finally:
        gc.enable()
    assert number > 1


CLOSING = """
import sys, threading
from contextlib import suppress
from sqlite3 import ProgrammingError
from mailproto.ledger import SQLiteLedger

def note(ledger, begun):
    with suppress(ProgrammingError):  # that it is closed
        for number in range(10_000):
            ledger.begin(str(number), 0.0, "")
            begun.set()

for _ in range(100):
    ledger, begun = SQLiteLedger(sys.argv[1], "ada@here"), threading.Event()
    thread = threading.Thread(target=note, args=(ledger, begun))
    thread.start()
    begun.wait()
    ledger.close()
    thread.join()
"""


def test_a_ledger_is_closed_while_a_thread_notes_something(tmp_path: Path) -> None:
    """As when a run over asyncio is cancelled: what SQLite does under it must not take the process along."""
    subprocess.run([sys.executable, "-c", CLOSING, str(tmp_path / "ledger")], check=True)


def test_a_ledger_that_cannot_be_locked_is_no_ledger_in_use(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        SQLiteLedger(tmp_path / "nowhere" / "ledger", "ada@here")


def test_a_ledger_that_cannot_be_read_is_in_nobodys_use(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    path.write_bytes(b"something else altogether" * 99)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        SQLiteLedger(path, "ada@here")
    path.unlink()
    SQLiteLedger(path, "ada@here").close()
    assert caught.traceback, "which keeps all that was there when it was raised"


@pytest.mark.parametrize("policy", [KeepPolicy(), KeepPolicy(keep=False), KeepPolicy(unique_ids=False)])
def test_a_line_that_is_cut_at_every_octet_loses_nothing_and_doubles_nothing(policy: KeepPolicy) -> None:
    whole = 0
    for cut in range(1000):
        server, shelf = Server([mail("one"), mail("two", length=30), mail("three")]), Shelf()
        with SQLiteLedger(":memory:", "ada@here") as ledger:
            try:
                fetch(server, ledger, shelf, policy, cut=cut)
                whole += 1
            except ConnectionClosedError:
                assert len(server.mails) == 3 or shelf.stored == ["one", "two", "three"]
            fetch(server, ledger, shelf, policy)
            assert not any(key.startswith("broken off") for key in ledger.read())
        assert sorted(shelf.stored) == ["one", "three", "two"]
        assert len(server.mails) == (3 if policy.keep else 0)
        if whole:
            break
    assert whole == 1 and cut > 150


def test_10000_messages_over_a_line_that_breaks_again_and_again(ledger: SQLiteLedger) -> None:
    chance = random.Random(7)
    server = Server([mail(str(number), length=chance.randrange(100)) for number in range(10_000)])
    shelf, runs = Shelf(), 0
    while server.mails:
        runs += 1
        try:
            fetch(server, ledger, shelf, KeepPolicy(keep=False), cut=chance.randrange(400_000) + runs * 20_000)
        except ConnectionClosedError:
            assert len(server.mails) == 10_000
    assert sorted(shelf.stored, key=int) == [str(number) for number in range(10_000)]
    assert runs > 5
