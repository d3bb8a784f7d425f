"""Names of message files: what they tell, how ids come from them, and what a user's name may be."""

import os
import random
import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.maildrop.names import (
    base_of,
    delivery_order,
    is_safe_name,
    new_base,
    size_as_sent,
    unique_id,
)


def test_new_bases_have_the_form_of_the_maildir_page_and_never_repeat() -> None:
    bases = [new_base() for _ in range(5000)]
    assert len(set(bases)) == len(bases)
    for base in bases:
        assert re.fullmatch(rf"[0-9]{{10}}\.M[0-9]{{6}}P{os.getpid()}Q[0-9]+\.[^/:,]+", base)


def test_new_bases_sort_as_they_were_made() -> None:
    bases = [new_base() for _ in range(500)]
    keys = [delivery_order(base)[:2] for base in bases]
    assert keys == sorted(keys) and len(set(keys)) > 5
    early = [base.partition("P")[0] for base in bases]
    assert early == sorted(early), "as text, too"


@pytest.mark.parametrize(
    ("host", "escaped"),
    [
        ("mail.example.org", "mail.example.org"),
        ("a/b:c", r"a\057b\072c"),
        ("a,S=1", r"a\054S\0751"),
        ("caf\u00e9 1", r"caf\303\251\0401"),
        ("a\\b", r"a\134b"),
        ("", "localhost"),
    ],
)
def test_a_host_cannot_break_the_name(monkeypatch: pytest.MonkeyPatch, host: str, escaped: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert new_base().partition("Q")[2].partition(".")[2] == escaped


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("1.M2P3Q4.host,S=10,W=12", 12),
        ("1.M2P3Q4.host,W=12,S=10", 12),
        ("1.M2P3Q4.host,W=0", 0),
        ("1.M2P3Q4.host,S=10", None),
        ("1.M2P3Q4.host", None),
        ("1.M2P3Q4.host,W=", None),
        ("1.M2P3Q4.host,W=12x", None),
        ("1.M2P3Q4.host,W=-12", None),
        ("1.M2P3Q4.host,W=1_2", None),
        ("1.M2P3Q4.host,W=\u0661", None),
        ("1.M2P3Q4.host,W=12\n", None),
        ("1.M2P3Q4.host,W=" + "9" * 19, None),
        ("1.M2P3Q4.hostW=12", None),
    ],
)
def test_size_as_sent(name: str, size: int | None) -> None:
    assert size_as_sent(name) == size


@pytest.mark.parametrize(
    ("name", "base"),
    [("x", "x"), ("x:2,", "x"), ("x,S=1:2,RS", "x,S=1"), ("x:2,a:b", "x"), (":2,S", "")],
)
def test_base_of(name: str, base: str) -> None:
    assert base_of(name) == base


def test_delivery_order_reads_the_names_of_all_programs() -> None:
    in_order = [
        "a name without a time",
        "no.time",
        "999999999.123_4.old.host",
        "1000000000.123_4.old.host",
        "1000000000.M5P77.dovecot,S=1,W=2",
        "1000000000.V801I1bM10.postfix",
        "1000000000.M123456P77Q1.here",
        "1000000001.M1P1.dovecot",
    ]
    shuffled = random.Random(1).sample(in_order, len(in_order))
    assert sorted(shuffled, key=delivery_order) == in_order


def test_unique_id_is_the_base_where_pop3_can_say_it() -> None:
    base = "1000000000.M5P77Q1.host,S=1,W=2"
    assert unique_id(base) == base
    assert unique_id("x" * 70) == "x" * 70


@pytest.mark.parametrize("base", ["", "x" * 71, "a b", "caf\u00e9", "a\tb", "a\n", "\udcff"])
def test_unique_id_is_a_hash_where_pop3_cannot(base: str) -> None:
    assert re.fullmatch("[0-9a-f]{40}", unique_id(base))


def test_a_hashed_id_stays_the_same_for_ever() -> None:
    assert unique_id("a b") == "407024d66cde17bdcf02effc1c376cb80387f3ec"


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=75), unique=True, max_size=6))
def test_ids_are_legal_and_differ_where_bases_do(bases: list[str]) -> None:
    ids = {unique_id(base) for base in bases}
    assert len(ids) == len(bases)
    assert all(re.fullmatch(r"[\x21-\x7e]{1,70}", uid) for uid in ids)


@pytest.mark.parametrize("name", ["ada", "a.b", "ada@example.org", "a b", "a..", "~", "\u00e9va", "x" * 255])
def test_safe_names(name: str) -> None:
    assert is_safe_name(name)


UNSAFE = ["", ".", "..", ".hidden", "a/b", "/", "/etc", "../x", "a\0b", "a\nb", "a\x7f", "a\x85b"]
UNSAFE += ["\u202ea", "\ud800", "\udcff", "x" * 256, "\u00e9" * 128, "a\u2028b"]


@pytest.mark.parametrize("name", UNSAFE)
def test_unsafe_names(name: str) -> None:
    assert not is_safe_name(name)
