"""What a queue writes of a message it reads again, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.address import Address
from mailproto.errors import GrammarError, NotSupportedError
from mailproto.relay import Entry, Pending
from mailproto.relay.entry import decode_entry, encode_entry
from mailproto.smtp import Body, HoldFor, MailParameters, Notify, OriginalRecipient, RcptParameters, Reply, Ret
from mailproto.smtp.notices import Action
from tests.helpers import PROPERTY
from tests.relay import ADA, BOB, CAROL, START

NOTIFY = RcptParameters(frozenset({Notify.DELAY, Notify.FAILURE}), OriginalRecipient("utf-8", "jörg+=@ü.x"))
ENTRY = Entry(
    "m1",
    ADA,
    (
        Pending(
            BOB, RcptParameters(frozenset({Notify.DELAY, Notify.FAILURE}), OriginalRecipient("utf-8", "jörg+=@ü.x"))
        ),
        Pending(CAROL, action=Action.FAILED, reply=Reply.build(550, "No\nsuch user", "5.1.1"), remote_mta="mx"),
        Pending(Address("a b", "[IPv6:::1]"), reply=Reply(451, "")),
    ),
    START,
    START + 0.5,
    MailParameters(body=Body.EIGHT_BIT_MIME, smtputf8=True, ret=Ret.FULL, envid="a b+="),
    late=True,
    notices=2,
)


def test_it_comes_back_as_it_was() -> None:
    assert decode_entry("m1", encode_entry(ENTRY)) == ENTRY
    null = replace(ENTRY, reverse_path=None, parameters=MailParameters())
    assert decode_entry("m1", encode_entry(null)) == null


def test_it_is_written_in_the_words_of_smtp() -> None:
    read = json.loads(encode_entry(ENTRY))
    assert read["mail"] == "<ada@example.org> BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=a+20b+2B+3D"
    assert read["recipients"][1]["rcpt"] == "<carol@example.net>"


REPLIES = st.builds(Reply, st.integers(400, 599), st.text(max_size=50))


@PROPERTY
@given(text=st.text(max_size=80), late=st.booleans(), due=st.floats(0, 1e12), remote=st.none() | st.text(max_size=9))
def test_whatever_a_host_says(text: str, late: bool, due: float, remote: str | None) -> None:
    entry = Entry("x", None, (Pending(BOB, reply=Reply(451, text), remote_mta=remote),), due, due, late=late)
    assert decode_entry("x", encode_entry(entry)) == entry


@pytest.mark.parametrize(
    "damage",
    [
        {"mail": "ada@example.org"},
        {"mail": "<ada@example.org> BODY=9BIT"},
        {"mail": "<ada@example.org> SOLICIT=x:y"},
        {"recipients": [{}]},
        {"recipients": [{"rcpt": "<>", "action": None, "reply": None, "remote": None}]},
        {"recipients": [{"rcpt": "<a@b>", "action": "eaten", "reply": None, "remote": None}]},
        {"recipients": [{"rcpt": "<a@b>", "action": None, "reply": [99, "", None], "remote": None}]},
        {"recipients": [{"rcpt": "<a@b>", "action": "relayed", "reply": [550, "No", None], "remote": None}]},
        {"recipients": [{"rcpt": "<a@b>", "action": "delivered", "reply": None, "remote": None}]},
        {"recipients": 7},
        {"due": "tomorrow"},
        {"arrival": None},
        {"arrival": float("nan")},
        {"arrival": float("-inf")},
        {"arrival": -1},
        {"notices": -1},
        {"attempts": -1},
        {"recipients": []},
    ],
)
def test_what_somebody_else_wrote(damage: dict[str, Any]) -> None:
    with pytest.raises(GrammarError):
        decode_entry("m1", json.dumps(json.loads(encode_entry(ENTRY)) | damage).encode())


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b"{}"])
def test_what_is_no_entry(data: bytes) -> None:
    with pytest.raises(GrammarError):
        decode_entry("m1", data)


def test_a_promise_that_would_be_forgotten_is_not_taken() -> None:
    with pytest.raises(NotSupportedError):
        encode_entry(replace(ENTRY, parameters=MailParameters(hold=HoldFor(60))))


def test_what_is_settled_is_gone() -> None:
    failed = replace(ENTRY.recipients[0], action=Action.FAILED)
    changed = ENTRY.changed({BOB: failed, CAROL: None})
    assert changed.recipients == (failed, ENTRY.recipients[2])
    assert changed.waiting == (ENTRY.recipients[2],)
