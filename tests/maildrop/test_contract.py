"""What every maildrop promises, asked of each of them."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from mailproto.errors import LocalProtocolError
from mailproto.maildrop import Maildir, MaildropBusyError, MemoryMaildrop
from tests.data import MAIL
from tests.maildrop import canonical_form, cut, read, uids
from tests.maildrop.strategies import CONTENTS, CUTS, MESSY_CONTENTS

AnyMaildrop = MemoryMaildrop | Maildir


@pytest.fixture(params=["memory", "maildir"])
def maildrop(request: pytest.FixtureRequest, tmp_path: Path) -> AnyMaildrop:
    return MemoryMaildrop() if request.param == "memory" else Maildir(tmp_path / "maildir")


def deliver_and_take(maildrop: AnyMaildrop, pieces: list[bytes]) -> bytes:
    """Deliver a message to an empty maildrop, and fetch and delete it in a session."""
    uid = maildrop.deliver(iter(pieces))
    snapshot = maildrop.open()
    try:
        assert uids(snapshot) == [uid]
        content = read(snapshot, 1)
        assert snapshot.messages[0].size == len(content)
        snapshot.commit([1])
    finally:
        snapshot.close()
    return content


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=CONTENTS, cuts=CUTS)
def test_every_octet_comes_back(maildrop: AnyMaildrop, content: bytes, cuts: list[int]) -> None:
    assert deliver_and_take(maildrop, cut(content, cuts)) == content


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=MESSY_CONTENTS, cuts=CUTS)
def test_bare_newlines_become_crlf(maildrop: AnyMaildrop, content: bytes, cuts: list[int]) -> None:
    assert deliver_and_take(maildrop, cut(content, cuts)) == canonical_form(content)


@pytest.mark.parametrize("name", MAIL)
def test_real_mail_comes_back(maildrop: AnyMaildrop, name: str) -> None:
    content = MAIL[name].read_bytes()
    assert deliver_and_take(maildrop, [content]) == content


@pytest.mark.parametrize("content", [b"Subject: x\r\n", bytearray(b"x"), memoryview(b"x"), "Subject: x\r\n"])
def test_what_is_not_in_pieces_is_told_and_not_stored(maildrop: AnyMaildrop, content: Any) -> None:
    """Octets are an iterable too, of numbers."""
    with pytest.raises(TypeError, match="in pieces"):
        maildrop.deliver(content)
    assert maildrop.open().messages == ()


def test_a_message_of_many_blocks_comes_back(maildrop: AnyMaildrop) -> None:
    content = b"".join(b"%d" % number * (number % 90) + b"\r\n" for number in range(20_000))
    assert len(content) > 20 * 65536
    assert deliver_and_take(maildrop, cut(content, list(range(0, len(content), 99_991)))) == content


def test_an_empty_maildrop_and_an_empty_message(maildrop: AnyMaildrop) -> None:
    snapshot = maildrop.open()
    assert snapshot.messages == ()
    snapshot.commit([])
    snapshot.close()
    assert deliver_and_take(maildrop, []) == b""


def test_messages_are_in_the_order_of_delivery(maildrop: AnyMaildrop) -> None:
    delivered = [maildrop.deliver([b"%d\r\n" % number]) for number in range(25)]
    snapshot = maildrop.open()
    assert uids(snapshot) == delivered
    assert [read(snapshot, number + 1) for number in range(25)] == [b"%d\r\n" % number for number in range(25)]


def test_commit_removes_these_and_no_others_for_good(maildrop: AnyMaildrop) -> None:
    delivered = [maildrop.deliver([b"%d" % number]) for number in range(5)]
    snapshot = maildrop.open()
    snapshot.commit([4, 1, 4])
    snapshot.close()
    again = maildrop.open()
    assert uids(again) == [delivered[1], delivered[2], delivered[4]]
    assert read(again, 2) == b"2"


def test_a_session_without_commit_deletes_nothing(maildrop: AnyMaildrop) -> None:
    delivered = [maildrop.deliver([b"%d" % number]) for number in range(3)]
    snapshot = maildrop.open()
    assert read(snapshot, 2) == b"1"
    snapshot.close()
    assert uids(maildrop.open()) == delivered


def test_a_delivery_during_a_session_shows_in_the_next(maildrop: AnyMaildrop) -> None:
    first = maildrop.deliver([b"first"])
    snapshot = maildrop.open()
    second = maildrop.deliver([b"second"])
    assert uids(snapshot) == [first]
    with pytest.raises(LocalProtocolError):
        snapshot.retrieve(2)
    snapshot.commit([1])
    snapshot.close()
    assert uids(maildrop.open()) == [second]


def test_a_second_session_is_refused_until_the_first_is_closed(maildrop: AnyMaildrop) -> None:
    first = maildrop.open()
    for _ in range(3):
        with pytest.raises(MaildropBusyError) as caught:
            maildrop.open()
        assert caught.value.enhanced == "IN-USE"
    first.close()
    second = maildrop.open()
    first.close()  # a second time: it must not take the lock from the second session
    with pytest.raises(MaildropBusyError):
        maildrop.open()
    second.close()
    maildrop.open().close()


def test_of_many_threads_one_gets_the_session(maildrop: AnyMaildrop) -> None:
    outcomes: list[str] = []
    together = threading.Barrier(16)

    def log_in() -> None:
        together.wait()
        try:
            maildrop.open()
            outcomes.append("open")
        except MaildropBusyError:
            outcomes.append("busy")

    threads = [threading.Thread(target=log_in) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["busy"] * 15 + ["open"]


def test_threads_deliver_at_once(maildrop: AnyMaildrop) -> None:
    delivered: dict[str, bytes] = {}

    def deliver(sender: int) -> None:
        for number in range(10):
            content = b"%d %d\r\n" % (sender, number)
            delivered[maildrop.deliver([content])] = content

    threads = [threading.Thread(target=deliver, args=(sender,)) for sender in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    snapshot = maildrop.open()
    assert len(delivered) == len(snapshot.messages) == 80
    assert all(read(snapshot, number) == delivered[uid] for number, uid in enumerate(uids(snapshot), 1))


@pytest.mark.parametrize("number", [0, -1, 2, 10**30])
def test_a_number_that_is_no_message_is_the_callers_mistake(maildrop: AnyMaildrop, number: int) -> None:
    maildrop.deliver([b"only"])
    snapshot = maildrop.open()
    with pytest.raises(LocalProtocolError):
        snapshot.retrieve(number)
    with pytest.raises(LocalProtocolError):
        snapshot.commit([1, number])
    snapshot.close()
    assert len(maildrop.open().messages) == 1


def test_a_closed_session_can_do_nothing(maildrop: AnyMaildrop) -> None:
    maildrop.deliver([b"only"])
    snapshot = maildrop.open()
    snapshot.close()
    with pytest.raises(LocalProtocolError):
        snapshot.retrieve(1)
    with pytest.raises(LocalProtocolError):
        snapshot.commit([1])


def test_content_that_fails_stores_nothing(maildrop: AnyMaildrop) -> None:
    def broken() -> Iterator[bytes]:
        yield b"Subject: half"
        raise KeyError("the sender went away")

    with pytest.raises(KeyError):
        maildrop.deliver(broken())
    assert maildrop.open().messages == ()


def test_memory_ids_are_new_in_every_process() -> None:
    first, second = MemoryMaildrop(), MemoryMaildrop()
    assert first.deliver([b"x"]) != second.deliver([b"x"])


def test_repr_shows_no_content(maildrop: AnyMaildrop) -> None:
    maildrop.deliver([b"secret"])
    snapshot = maildrop.open()
    assert repr(snapshot).endswith("Snapshot of 1 messages>")
    snapshot.close()
    assert repr(snapshot).endswith("Snapshot of 1 messages, closed>")
    assert "secret" not in repr(maildrop) + repr(snapshot)
