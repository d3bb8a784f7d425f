"""Read-only maildrops: everything can be fetched, nothing changes, nobody is kept out."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mailproto.errors import Reject
from mailproto.maildrop import Maildir, Maildrop, MaildropBusyError, Mbox, MemoryMaildrop, ReadOnly, ReadOnlyError
from mailproto.maildrop.readonly import ReadOnlySnapshot
from mailproto.pop3 import POP3ServerConfig, POP3ServerConnection
from mailproto.pop3.flows import POP3Session, serve
from mailproto.pop3.snapshot import MessageInfo
from tests.pop3.harness import Runner

KINDS = ("memory", "maildir", "mbox")


@pytest.fixture(params=KINDS)
def drop(request: pytest.FixtureRequest, tmp_path: Path) -> Maildrop:
    if request.param == "memory":
        return MemoryMaildrop()
    return Maildir(tmp_path / "drop") if request.param == "maildir" else Mbox(tmp_path / "drop")


def content(snapshot: ReadOnlySnapshot, number: int) -> bytes:
    pieces = snapshot.retrieve(number)
    assert isinstance(pieces, Iterator)
    return b"".join(pieces)


def state_of(folder: Path) -> list[tuple[str, int, int, int]]:
    """Return names, inodes, sizes and times of all that lies in a folder."""
    paths = sorted([folder, *folder.rglob("*")])
    return [(str(path), (status := path.stat()).st_ino, status.st_size, status.st_mtime_ns) for path in paths]


def test_what_is_there_can_be_fetched_and_not_deleted(drop: Maildrop, tmp_path: Path) -> None:
    uids = [drop.deliver([b"Subject: %d\r\n" % number]) for number in range(3)]
    if isinstance(drop, Maildir):  # a file whose size has to be counted
        (drop.path / "new" / "1.foreign").write_bytes(b"x\n")
    before = state_of(tmp_path)
    snapshot = ReadOnly(drop).open()
    assert [uid for _, uid in snapshot.messages][-3:] == uids
    assert content(snapshot, len(snapshot.messages)) == b"Subject: 2\r\n"
    snapshot.commit([])
    with pytest.raises(ReadOnlyError) as caught:
        snapshot.commit([1])
    assert (caught.value.code, caught.value.enhanced) == (550, "SYS/PERM")
    snapshot.close()
    assert state_of(tmp_path) == before


def test_nobody_is_kept_out_and_nobody_keeps_out(drop: Maildrop) -> None:
    uid = drop.deliver([b"x\r\n"])
    writer = drop.open()
    first, second = ReadOnly(drop).open(), ReadOnly(drop).open()
    assert [uid for _, uid in first.messages] == [uid for _, uid in second.messages] == [uid]
    writer.commit([1])
    writer.close()
    drop.deliver([b"later\r\n"])
    assert len(first.messages) == 1
    first.close()
    second.close()
    assert len(drop.open().messages) == 1


@pytest.mark.parametrize("kind", ["maildir", "mbox"])
def test_what_another_session_deletes_is_gone(kind: str, tmp_path: Path) -> None:
    drop: Maildrop = Maildir(tmp_path / "drop") if kind == "maildir" else Mbox(tmp_path / "drop")
    drop.deliver([b"x\r\n"])
    reader = ReadOnly(drop).open()
    writer = drop.open()
    writer.commit([1])
    writer.close()
    with pytest.raises(Reject) as caught:
        content(reader, 1)
    assert caught.value.enhanced == "SYS/TEMP"


def test_a_size_that_a_name_tells_wrong_is_right_the_next_time(tmp_path: Path) -> None:
    """It breaks off the session over POP3, and would break off each one behind it."""
    drop = ReadOnly(Maildir(tmp_path))
    (tmp_path / "new" / "1.foreign,W=5").write_bytes(b"x\ny\r")
    assert content(drop.open(), 1) == b"x\r\ny\r\n"
    assert drop.open().messages == (MessageInfo(6, "1.foreign,W=5"),)
    assert not (tmp_path / "mailproto-sizes").exists()


def test_sizes_are_kept_in_memory_as_long_as_their_messages_are_there(tmp_path: Path) -> None:
    drop = ReadOnly(Maildir(tmp_path))
    for number in range(3):
        path = tmp_path / "new" / f"{number}.foreign"
        path.write_bytes(b"x\n")
        assert len(drop.open().messages) == 1
        assert list(drop._counted) == [path.name]
        path.unlink()


def test_nothing_is_delivered(drop: Maildrop) -> None:
    with pytest.raises(ReadOnlyError):
        ReadOnly(drop).deliver([b"x"])
    assert len(drop.open().messages) == 0


def test_an_mbox_that_is_not_there_is_empty_and_stays_away(tmp_path: Path) -> None:
    drop = Mbox(tmp_path / "mbox")
    assert ReadOnly(drop).open().messages == ()
    assert list(tmp_path.iterdir()) == []


class OneMessage:
    """A user's own maildrop, with a lock."""

    def __init__(self) -> None:
        self.is_open = False
        self.messages: Sequence[MessageInfo] = (MessageInfo(3, "uid"),)

    def deliver(self, content: object) -> str:
        raise NotImplementedError

    def open(self) -> "OneMessage":
        if self.is_open:
            raise MaildropBusyError
        self.is_open = True
        return self

    def retrieve(self, number: int) -> Iterator[bytes]:
        return iter((b"x\r\n",))

    def commit(self, deleted: Sequence[int]) -> None:
        raise AssertionError("committed")

    def close(self) -> None:
        self.is_open = False


class Untouched(OneMessage):
    """One that knows how to be opened without its lock."""

    def open_read_only(self) -> OneMessage:
        return OneMessage()


def test_a_maildrop_of_ones_own_keeps_its_lock_unless_it_knows_better() -> None:
    own = OneMessage()
    snapshot = ReadOnly(own).open()
    with pytest.raises(MaildropBusyError):
        ReadOnly(own).open()
    with pytest.raises(ReadOnlyError):
        snapshot.commit([1])
    snapshot.close()
    assert not own.is_open
    knowing = Untouched()
    assert content(ReadOnly(knowing).open(), 1) == b"x\r\n"
    assert not knowing.is_open
    assert repr(ReadOnly(own)).startswith("ReadOnly(<")


class Handler:
    """A server's application with one read-only maildrop."""

    def __init__(self, drop: Maildrop) -> None:
        self.drop = ReadOnly(drop)

    def on_auth(self, session: object, check: object) -> bool:
        return True

    def on_login(self, session: object) -> ReadOnlySnapshot:
        return self.drop.open()


def test_over_pop3_a_deletion_is_refused_at_once(drop: Maildrop) -> None:
    drop.deliver([b"x\r\n"])
    conn = POP3ServerConnection(POP3ServerConfig(allow_plaintext_auth=True))
    server = Runner(conn, serve(POP3Session(conn), Handler(drop)))
    server.run()
    conn.receive_data(b"USER ada\r\nPASS secret\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n")
    server.run()
    said = server.take().split(b"\r\n")
    assert said[-3] == b"-ERR [SYS/PERM] the maildrop is read-only"
    assert said[-2].startswith(b"+OK")
    assert len(drop.open().messages) == 1
