"""A session's view of its maildrop."""

from __future__ import annotations

import pytest

from mailproto.errors import GrammarError
from mailproto.pop3 import MessageInfo
from mailproto.pop3._server.marks import MarkedMaildrop, Refusal

THREE = [MessageInfo(10, "a"), MessageInfo(200, "b"), MessageInfo(3000, "c")]


def test_counts_what_is_not_marked() -> None:
    maildrop = MarkedMaildrop(THREE)
    assert (maildrop.count, maildrop.octets) == (3, 3210)
    maildrop.mark(2)
    assert (maildrop.count, maildrop.octets, maildrop.marked, maildrop.last) == (2, 3010, (2,), 2)
    assert list(maildrop.listed()) == [(1, THREE[0]), (3, THREE[2])]
    maildrop.reset()
    assert (maildrop.count, maildrop.octets, maildrop.marked) == (3, 3210, ())


@pytest.mark.parametrize("number", [0, 4, -1])
def test_there_is_no_such_message(number: int) -> None:
    with pytest.raises(Refusal) as caught:
        MarkedMaildrop(THREE)[number]
    assert caught.value.response.text == "no such message, only 3 messages in maildrop"


def test_a_marked_message_is_as_good_as_gone() -> None:
    maildrop = MarkedMaildrop(THREE)
    maildrop.mark(3)
    for use in (maildrop.mark, maildrop.visit, maildrop.__getitem__):
        with pytest.raises(Refusal) as caught:
            use(3)
        assert caught.value.response.text == "message 3 already deleted"
    assert maildrop.octets == 210


def test_the_numbers_hold_whatever_the_store_does_to_its_list() -> None:
    messages = list(THREE)
    maildrop = MarkedMaildrop(messages)
    messages.pop(0)
    assert maildrop[3] == THREE[2]


def test_last_is_the_highest_number_looked_into() -> None:
    maildrop = MarkedMaildrop(THREE)
    assert maildrop.last == 0
    maildrop.visit(3)
    maildrop.visit(1)
    assert maildrop.last == 3
    maildrop.reset()
    assert maildrop.last == 0


@pytest.mark.parametrize("uid", ["", "x" * 71, "a b", "a\r\n", "ä", "\x7f", "a\n", "\x00"])
def test_a_unique_id_is_1_to_70_printable_characters(uid: str) -> None:
    with pytest.raises(GrammarError):
        MarkedMaildrop([MessageInfo(1, uid)])
    MarkedMaildrop([MessageInfo(1, "x" * 70), MessageInfo(1, "!~")])


def test_no_two_messages_have_one_unique_id() -> None:
    with pytest.raises(GrammarError, match="the same unique-id"):
        MarkedMaildrop([MessageInfo(1, "a"), MessageInfo(2, "a")])


def test_no_message_has_a_negative_size() -> None:
    MarkedMaildrop([MessageInfo(0, "a")])
    with pytest.raises(GrammarError):
        MarkedMaildrop([MessageInfo(-1, "a")])
