"""Who a client is, and whom it may act as (S16): PLAIN's octets, passwords compared, authorization by itself."""

import copy
import pickle
from dataclasses import replace
from typing import Any

import pytest

from mailproto.errors import AuthenticationError, GrammarError
from mailproto.sasl import (
    Auth,
    Authorization,
    AuthResponse,
    Challenge,
    Credentials,
    Identity,
    LoginClient,
    LoginServer,
    PasswordCheck,
    PlainClient,
    PlainServer,
    Question,
)
from tests.sasl_mechanisms.talk import ADA, Client, Server, converse, no


def answers(question: Question) -> Any:
    if isinstance(question, Authorization):
        return question.identity.name == "Kurt" and question.authzid == "Ursel"
    assert isinstance(question, PasswordCheck)
    return question.matches(
        {"tim": "tanstaaftanstaaf", "Kurt": "xipj3plmq", "ada": "open-sesame"}.get(question.username)
    )


def test_the_first_example_of_rfc_4616() -> None:
    caller = Client(PlainClient(), Credentials("tim", "tanstaaftanstaaf"))
    assert caller.initial == b"\0tim\0tanstaaftanstaaf"
    called = Server(PlainServer(), answers, initial=None)
    assert called.challenge == b""
    assert called.answer(caller.initial) is None
    assert called.outcome == Identity("tim", "PLAIN")


def test_the_second_example_of_rfc_4616() -> None:
    caller = Client(PlainClient(), Credentials("Kurt", "xipj3plmq", authzid="Ursel"))
    assert caller.initial == b"Ursel\0Kurt\0xipj3plmq"
    refused = Server(
        PlainServer(), lambda q: answers(q) if isinstance(q, PasswordCheck) else no(q), initial=caller.initial
    )
    assert refused.over and refused.outcome is None
    allowed = Server(PlainServer(), answers, initial=caller.initial)
    assert allowed.outcome == Identity("Kurt", "PLAIN", "Ursel")
    assert allowed.outcome.user == "Ursel"
    assert [type(question) for question in allowed.questions] == [PasswordCheck, Authorization]
    assert allowed.questions[1].arguments() == (Identity("Kurt", "PLAIN"), "Ursel")


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"\0",
        b"\0\0",
        b"admin\0\0pw",
        b"\0user\0",
        b"user\0pw",
        b"\0user\0pw\0x",
        b"\0user\0pw\0",
        b"\0\xff\0pw",
        b"\0user\0\xff",
        b"\xff\0user\0pw",
        b"\x07\0user\0pw",  # SASLprep refuses whom to act as
        b"\xc2\xad\0user\0pw",
    ],
)
def test_what_is_no_message_of_plain(response: bytes) -> None:
    called = Server(PlainServer(), answers)
    with pytest.raises(GrammarError) as caught:
        called.answer(response)
    assert called.questions == []
    assert "pw" not in str(caught.value)


def test_whom_to_act_as_is_asked_only_of_who_has_proved_himself() -> None:
    called = Server(PlainServer(), answers, initial=b"Ursel\0Kurt\0wrong")
    assert called.over and called.outcome is None
    assert [type(question) for question in called.questions] == [PasswordCheck]


def test_to_act_as_oneself_is_no_question() -> None:
    for initial in (b"ada\0ada\0open-sesame", "a\u00adda\0ada\0open-sesame".encode()):
        called = Server(PlainServer(), answers, initial=initial)
        assert called.outcome == Identity("ada", "PLAIN")
        assert called.outcome.user == "ada"
    renamed = Server(PlainServer(), lambda _: "ada@example.org", initial=b"ada\0ada\0open-sesame")
    assert renamed.outcome == Identity("ada@example.org", "PLAIN")


def test_names_of_255_octets_get_through() -> None:
    """RFC 4616 section 2."""
    long = Credentials("u" * 255, "p" * 255, authzid="u" * 255)
    called = converse(PlainClient(), PlainServer(), lambda _: True, long)
    assert called.questions == [PasswordCheck("PLAIN", long.username, long.password, long.authzid)]


@pytest.mark.parametrize(
    ("given", "on_file"),
    [
        ("open-sesame", "open-sesame"),
        ("cafe\u0301", "caf\u00e9"),
        ("\u2168", "IX"),
        ("key \U0001f511", "key \U0001f511"),
        ("\u05d0a", "\u05d0a"),  # what SASLprep refuses is compared as it is
        ("a\tb", "a\tb"),
    ],
)
def test_passwords_that_match(given: str, on_file: str) -> None:
    assert PasswordCheck("PLAIN", "ada", given).matches(on_file)


@pytest.mark.parametrize(
    ("given", "on_file"),
    [
        ("open-sesame", "Open-sesame"),
        ("open-sesame", "open-sesame "),
        ("open-sesame", ""),
        ("open-sesame", None),
        ("", ""),
        ("", None),
        ("a\tb", "a\tc"),
        ("\u05d0a", "\u05d0b"),
        ("x", "\ud800"),
        ("\ud800", "\ud800"),
    ],
)
def test_passwords_that_do_not(given: str, on_file: str | None) -> None:
    assert not PasswordCheck("PLAIN", "ada", given).matches(on_file)


@pytest.mark.parametrize(("client", "server"), [(PlainClient(), PlainServer()), (LoginClient(), LoginServer())])
def test_the_old_mechanisms_in_full(client: Any, server: Any) -> None:
    assert converse(client, server, answers).outcome == Identity("ada", server.name)
    with pytest.raises(AuthenticationError):
        converse(client, server, answers, Credentials("ada", "wrong"))
    with pytest.raises(AuthenticationError):
        converse(client, server, no)


def test_what_is_said_is_not_shown() -> None:
    """S23: of events, challenges and questions only the names."""
    check = PasswordCheck("PLAIN", "ada", "open-sesame")
    for thing in (Auth("PLAIN", b"open-sesame"), AuthResponse(b"open-sesame"), Challenge(b"open-sesame"), check):
        assert "sesame" not in repr(thing)


def test_credentials_are_neither_shown_nor_stored() -> None:
    """S99."""
    credentials = Credentials("ada", "open-sesame", token="t0ken")
    assert repr(credentials) == "Credentials(username='ada', authzid=None)"
    for store in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            store(credentials)
    assert replace(credentials, password="new").username == ADA.username
