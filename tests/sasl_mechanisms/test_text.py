"""UTF-8 and SASLprep: the examples of RFC 4013, and a character of each table that is prohibited."""

import stringprep
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.errors import GrammarError
from mailproto.sasl import saslprep
from mailproto.sasl.text import comparable, decode_utf8, encode_utf8
from tests.helpers import PROPERTY


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("I\u00adX", "IX"),  # soft hyphen mapped to nothing
        ("user", "user"),
        ("USER", "USER"),  # the case is kept
        ("\u00aa", "a"),  # NFKC
        ("\u2168", "IX"),  # NFKC
    ],
)
def test_examples_of_rfc_4013_section_3(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared
    assert saslprep(text, stored=True) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031"])
def test_examples_of_rfc_4013_section_3_that_are_errors(text: str) -> None:
    with pytest.raises(GrammarError):
        saslprep(text)


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("pass word", "pass word"),
        ("a\u00a0b\u3000c", "a b c"),  # C.1.2: mapped to the one space
        ("a\u200bb\ufeffc\u034f", "abc"),  # B.1
        ("e\u0301", "\u00e9"),  # composed
        ("\u00e9", "\u00e9"),
        ("\ufb01n", "fin"),
        ("\u0627\u0031\u0628", "\u0627\u0031\u0628"),  # RFC 3454 section 6, requirement 3
        ("\u05d0 \u05d1", "\u05d0 \u05d1"),
        ("\u212b", "\u00c5"),
    ],
)
def test_mapping_and_normalization(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared


@pytest.mark.parametrize(
    "text",
    [
        "\x00",  # C.2.1
        "a\x7f",
        "a\r\n",
        "\x85",  # C.2.2
        "\u2028",
        "\ue000",  # C.3
        "\ufdd0",  # C.4
        "\U0001ffff",
        "\ud800",  # C.5
        "\ufffd",  # C.6
        "\u2ff0",  # C.7
        "\u202a",  # C.8
        "\U000e0041",  # C.9
        "\u0627a\u0627",  # both directions
        "1\u0627",  # begins with neither
        "",
        "\u00ad",  # nothing is left
    ],
)
def test_what_no_name_and_no_password_may_have(text: str) -> None:
    with pytest.raises(GrammarError) as caught:
        saslprep(text)
    assert not text or text not in str(caught.value)


def test_what_is_newer_than_unicode_3_2_may_be_asked_for_but_not_stored() -> None:
    """RFC 3454 section 7, RFC 5802 section 2.2."""
    assert saslprep("key \U0001f511") == "key \U0001f511"
    with pytest.raises(GrammarError):
        saslprep("key \U0001f511", stored=True)


@pytest.mark.parametrize("char", ["\u00e9", "\ufdfa", "\u0315\u0300", "\u1100\u1161\u11a8", "\u00ad", "\x07"])
def test_nobody_has_us_prepare_for_long(char: str) -> None:
    """A line of an AUTH exchange has room for 3000 of the second, which become 54,000: a quarter of a second each."""
    with pytest.raises(GrammarError, match="too long"):
        saslprep(char * 1025)
    begun = time.process_time()
    for _ in range(10):
        comparable(char * 1024)
        comparable(char * 3000)
    assert time.process_time() - begun < 0.5


def test_what_is_let_through_is_not_longer_than_what_may_come() -> None:
    assert len(saslprep("\ufdfa" * 56)) == 56 * 18
    with pytest.raises(GrammarError, match="too long"):
        saslprep("\ufdfa" * 57)
    assert saslprep("\u00e9" * 1024) == "\u00e9" * 1024
    assert saslprep("e" * 5000) == "e" * 5000  # a token, say, that is taken as a password


def test_every_character_that_is_let_through_is_allowed() -> None:
    """All of the alphabets and a sample of the rest: what comes out is stable, and in no table that is prohibited."""
    for code in (*range(0x3100), *range(0x3100, sys.maxunicode + 1, 61)):
        try:
            prepared = saslprep(chr(code), stored=True)
        except GrammarError:
            continue
        assert saslprep(prepared, stored=True) == prepared, hex(code)
        assert not any(stringprep.in_table_c21_c22(char) or stringprep.in_table_c12(char) for char in prepared)


@PROPERTY
@given(st.text())
def test_preparing_twice_is_preparing_once(text: str) -> None:
    try:
        prepared = saslprep(text, stored=True)
    except GrammarError:
        return
    assert saslprep(prepared, stored=True) == prepared


@PROPERTY
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1))
def test_printable_ascii_stays_as_it_is(text: str) -> None:
    assert saslprep(text) == text


@pytest.mark.parametrize("data", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"se\xe9cret"])
def test_what_is_not_utf8_is_an_error_that_does_not_show_it(data: bytes) -> None:
    with pytest.raises(GrammarError) as caught:
        decode_utf8(data)
    assert "cret" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_lone_surrogate_is_an_error_that_does_not_show_it() -> None:
    with pytest.raises(GrammarError) as caught:
        encode_utf8("secret\ud800")
    assert "secret" not in repr(caught.value)
    assert caught.value.__suppress_context__
