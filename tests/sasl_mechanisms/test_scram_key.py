"""The keys that a server keeps: their one line, their sizes, and what fits them."""

import base64
import copy
import pickle

import pytest

from mailproto.errors import GrammarError
from mailproto.sasl import ScramKey, make_scram_key

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
LINE = (
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)
"""The key behind the exchange of RFC 7677 section 3, as PostgreSQL writes it."""


def test_the_line_is_what_others_write() -> None:
    key = make_scram_key("pencil", iterations=4096, salt=SALT)
    assert key.format() == LINE
    assert ScramKey.parse(LINE) == key


@pytest.mark.parametrize("name", ["SHA-1", "SHA-256", "SHA-512"])
def test_a_line_is_read_as_it_was_written(name: str) -> None:
    key = make_scram_key("pencil", name)
    assert ScramKey.parse(key.format()) == key
    assert key.iterations == 15_000
    assert len(key.salt) == 16
    assert key.format().isprintable() and " " not in key.format()
    assert key.matches("pencil")
    assert not key.matches("Pencil")
    assert not key.matches("")
    assert not key.matches("pencil \U0001f511")


def test_keys_of_one_password_differ() -> None:
    assert make_scram_key("pencil").salt != make_scram_key("pencil").salt


def test_the_password_is_prepared() -> None:
    assert make_scram_key("cafe\u0301", salt=SALT) == make_scram_key("caf\u00e9", salt=SALT)
    assert make_scram_key("cafe\u0301").matches("caf\u00e9")


@pytest.mark.parametrize(
    "line",
    [
        "",
        LINE + "\n",
        " " + LINE,
        LINE.replace("SHA-256", "SHA-384"),
        LINE.replace("SHA-256", "SHA-512"),
        LINE.replace("SHA-256", "SHA-1"),
        LINE.replace("SCRAM", "scram"),
        LINE.replace("4096", "4095"),
        LINE.replace("4096", "+4096"),
        LINE.replace("4096", "4_096"),
        LINE.replace("4096", "\u0664\u0660\u0669\u0666"),
        LINE.replace("4096", "99999999999"),
        LINE.replace("gQ==", "gR=="),  # bits that say nothing
        LINE.replace("gQ==", "gQ"),
        LINE.replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""),
        LINE.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "===="),
        LINE[:-4],
        LINE.replace(":", "$"),
        LINE + ":" + LINE,
    ],
)
def test_a_line_that_is_no_key(line: str) -> None:
    with pytest.raises(GrammarError) as caught:
        ScramKey.parse(line)
    assert "WG5d8" not in str(caught.value)


@pytest.mark.parametrize("password", ["", "\x07", "key \U0001f511", "\ud800"])
def test_a_password_that_has_no_key(password: str) -> None:
    with pytest.raises(GrammarError):
        make_scram_key(password)


def test_too_few_iterations_make_no_key() -> None:
    with pytest.raises(GrammarError, match="4096"):
        make_scram_key("pencil", iterations=4095)


def test_a_key_may_be_copied_and_kept_but_not_seen() -> None:
    key = ScramKey.parse(LINE)
    assert copy.copy(key) == key == pickle.loads(pickle.dumps(key))
    assert "WG5d8" not in repr(key) and repr(key.stored_key) not in repr(key)
