"""CRAM-MD5: the exchanges of RFC 2195 and RFC 4954, and what is no answer."""

from typing import Any

import pytest

from mailproto.errors import AuthenticationError, GrammarError
from mailproto.sasl import (
    CramMD5Check,
    CramMD5Client,
    CramMD5Server,
    Credentials,
    Identity,
    InitialResponseError,
    Question,
)
from tests.sasl_mechanisms.talk import ADA, Client, Server, converse

CHALLENGE = b"<1896.697170952@postoffice.reston.mci.net>"
TIM = Credentials("tim", "tanstaaftanstaaf")
RESPONSE = b"tim b913a602c7eda7a495b4e6e7334d3890"


def answers(question: Question) -> Any:
    assert isinstance(question, CramMD5Check)
    return question.matches({"tim": "tanstaaftanstaaf", "ada": "open-sesame", "a b": "c"}.get(question.username))


def server() -> CramMD5Server:
    return CramMD5Server(lambda: CHALLENGE)


def test_the_example_of_rfc_2195() -> None:
    caller = Client(CramMD5Client(), TIM)
    assert caller.initial is None
    assert caller.answer(CHALLENGE) == RESPONSE
    caller.succeed()
    called = Server(server(), answers)
    assert called.challenge == CHALLENGE
    assert called.answer(RESPONSE) is None
    assert called.outcome == Identity("tim", "CRAM-MD5")


def test_the_example_of_rfc_4954_has_our_form() -> None:
    """Section 4.1 does not tell the password; its response is one that we read."""
    called = Server(CramMD5Server(lambda: b"<4129423 41.12828472@sourcefour.andrew.cmu.edu>"), lambda _: True)
    called.answer(b"rjs3 ec3a59fed395aba1ec6367c4f4b41ac0")
    assert called.outcome == Identity("rjs3", "CRAM-MD5")


def test_both_sides_agree() -> None:
    assert converse(CramMD5Client(), CramMD5Server(), answers).outcome == Identity("ada", "CRAM-MD5")
    spaced = converse(CramMD5Client(), CramMD5Server(), answers, Credentials("a b", "c"))
    assert spaced.outcome == Identity("a b", "CRAM-MD5")
    for credentials in (Credentials("ada", "wrong"), Credentials("eve", "open-sesame")):
        with pytest.raises(AuthenticationError):
            converse(CramMD5Client(), CramMD5Server(), answers, credentials)


def test_the_application_may_know_the_user_by_another_name() -> None:
    called = Server(server(), lambda _: "tim@example.org")
    called.answer(RESPONSE)
    assert called.outcome == Identity("tim@example.org", "CRAM-MD5")


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"tim",
        b"tim ",
        b" b913a602c7eda7a495b4e6e7334d3890",
        RESPONSE[:-1],
        RESPONSE + b"0",
        RESPONSE + b" ",
        RESPONSE + b"\n",
        RESPONSE.upper(),
        RESPONSE.replace(b" ", b"\t"),
        b"tim\x00 b913a602c7eda7a495b4e6e7334d3890",
        b"\xff b913a602c7eda7a495b4e6e7334d3890",
    ],
)
def test_a_response_that_is_none(response: bytes) -> None:
    called = Server(server(), answers)
    with pytest.raises(GrammarError):
        called.answer(response)
    assert called.questions == []


def test_a_client_must_not_begin() -> None:
    """RFC 4954 section 4."""
    for initial in (b"", RESPONSE):
        with pytest.raises(InitialResponseError):
            Server(server(), answers, initial=initial)


def test_a_success_without_a_challenge_is_none() -> None:
    with pytest.raises(AuthenticationError):
        Client(CramMD5Client(), TIM).succeed()


@pytest.mark.parametrize(
    "credentials",
    [Credentials("", "x"), Credentials("x"), Credentials("x", "y", authzid="z"), Credentials("\ud800", "secret")],
)
def test_credentials_that_it_cannot_carry(credentials: Credentials) -> None:
    with pytest.raises(GrammarError):
        Client(CramMD5Client(), credentials)


def test_challenges_never_come_again() -> None:
    """S44."""
    made = {Server(CramMD5Server(), answers).challenge for _ in range(500)}
    assert len(made) == 500
    for challenge in made:
        assert challenge is not None
        assert challenge.startswith(b"<") and challenge.endswith(b"@localhost>") and len(challenge) > 40


def test_clients_prepare_the_password_or_do_not() -> None:
    for said in ("cafe\u0301", "caf\u00e9"):
        digest = Client(CramMD5Client(), Credentials("ada", said)).answer(CHALLENGE).split(b" ")[1]
        assert CramMD5Check("ada", CHALLENGE, digest).matches("cafe\u0301")
        assert not CramMD5Check("ada", CHALLENGE, digest).matches("cafe")
    assert not CramMD5Check("ada", CHALLENGE, digest).matches("caf\u00e9\x07")


def test_nothing_matches_nobody() -> None:
    caller = Client(CramMD5Client(), Credentials("ada", "x"))
    digest = caller.answer(CHALLENGE).split(b" ")[1]
    check = CramMD5Check("ada", CHALLENGE, digest)
    assert check.matches("x")
    assert not check.matches(None)
    assert not check.matches("")
    assert digest.decode() not in repr(check)
    assert ADA.password not in repr(Client(CramMD5Client()))
