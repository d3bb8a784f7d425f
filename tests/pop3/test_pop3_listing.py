"""STAT, LIST and UIDL as a client reads them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mailproto.errors import GrammarError
from mailproto.pop3 import Stat, Tolerance
from mailproto.pop3.listing import collect, collect_unique_ids, parse_size, parse_stat, parse_unique_id
from mailproto.pop3.tolerance import Lenience

STRICT: frozenset[Tolerance] = frozenset()
ALL = frozenset(Tolerance)


@pytest.mark.parametrize("text", [b"2 320", b"2 320 ", b"2 320 and more", b"2 320  \x80"])
def test_what_follows_the_numbers_has_no_meaning(text: bytes) -> None:
    assert parse_stat(text, Lenience(STRICT)) == Stat(2, 320)
    assert parse_size(text, Lenience(STRICT)) == (2, 320)


@pytest.mark.parametrize("text", [b" 2 320", b"2  320", b"2\t320", b"\t2 320", b"2   320 more", b" 2 320 "])
def test_stray_spaces(text: bytes) -> None:
    for parse in (parse_stat, parse_size):
        with pytest.raises(GrammarError):
            parse(text, Lenience(STRICT))
        lenience = Lenience(ALL)
        assert parse(text, lenience) == (2, 320)
        assert lenience.used == {Tolerance.STRAY_SPACES}


@pytest.mark.parametrize(
    "text",
    [b"", b"2", b"2 ", b"two 320", b"2 x", b"+2 320", b"2 -1", b"2_0 1", b"\xb2 1", b"9" * 21 + b" 1", b"2,320"],
)
@pytest.mark.parametrize("parse", [parse_stat, parse_size])
def test_what_is_no_pair_of_numbers(text: bytes, parse: Callable[[bytes, Lenience], object]) -> None:
    with pytest.raises(GrammarError):
        parse(text, Lenience(ALL))


def test_no_message_has_the_number_0() -> None:
    with pytest.raises(GrammarError):
        parse_size(b"0 120", Lenience(ALL))
    with pytest.raises(GrammarError):
        parse_unique_id(b"0 abc", Lenience(ALL))


def test_unique_ids() -> None:
    assert parse_unique_id(b"2 QhdPYR:00WBw1Ph7x7", Lenience(STRICT)) == (2, "QhdPYR:00WBw1Ph7x7")
    assert parse_unique_id(b"1 " + b"!~" * 35, Lenience(STRICT)) == (1, "!~" * 35)


@pytest.mark.parametrize("line", [b"1 ", b"1", b"1 a b", b"1 a\x80", b"1 \x7f", b"x a", b"1 \x00", b""])
def test_what_is_no_unique_id_listing(line: bytes) -> None:
    with pytest.raises(GrammarError):
        parse_unique_id(line, Lenience(ALL))


def test_long_unique_id() -> None:
    line = b"1 " + b"x" * 71
    with pytest.raises(GrammarError):
        parse_unique_id(line, Lenience(STRICT))
    lenience = Lenience(ALL)
    assert parse_unique_id(line, lenience) == (1, "x" * 71)
    assert lenience.used == {Tolerance.LONG_UNIQUE_ID}


@pytest.mark.parametrize("line", [b"1 a ", b" 1 a", b"1  a", b"1\ta"])
def test_odd_spacing_of_unique_ids(line: bytes) -> None:
    lenience = Lenience(ALL)
    assert parse_unique_id(line, lenience) == (1, "a")
    assert lenience.used == {Tolerance.STRAY_SPACES}
    assert collect_unique_ids([line], Lenience(ALL)) == {1: "a"}


@pytest.mark.parametrize("line", [b"1", b"1 ", b"1  ", b"1\t", b" 1"])
def test_a_message_without_a_unique_id_is_left_out(line: bytes) -> None:
    lenience = Lenience(ALL)
    assert collect_unique_ids([line, b"2 a"], lenience) == {2: "a"}
    assert lenience.used == {Tolerance.NO_UNIQUE_ID}
    with pytest.raises(GrammarError):
        collect_unique_ids([line], Lenience(ALL - {Tolerance.NO_UNIQUE_ID}))


@pytest.mark.parametrize("line", [b"", b" ", b"\t", b"x", b"0"])
def test_a_line_without_a_number_is_no_message(line: bytes) -> None:
    with pytest.raises(GrammarError):
        collect_unique_ids([line], Lenience(ALL))


def test_no_message_is_listed_twice() -> None:
    assert collect(parse_size, [b"1 10", b"3 20"], Lenience(STRICT)) == {1: 10, 3: 20}
    with pytest.raises(GrammarError, match="twice"):
        collect(parse_size, [b"1 10", b"01 20"], Lenience(STRICT))


def test_two_messages_may_have_one_unique_id() -> None:
    """RFC 1939 section 7: clients should be able to handle two identical copies of a message."""
    assert collect(parse_unique_id, [b"1 a", b"2 a"], Lenience(STRICT)) == {1: "a", 2: "a"}
