"""EXTERNAL: the certificate, and nothing but a verified one."""

import hashlib
from typing import Any

import pytest

from mailproto._core.events import TLSInfo
from mailproto.errors import AuthenticationError, GrammarError
from mailproto.sasl import (
    Authorization,
    Channel,
    Credentials,
    ExternalCheck,
    ExternalClient,
    ExternalServer,
    Identity,
    Question,
)
from tests.sasl_mechanisms.talk import NOWHERE, SECURE, Client, Server, converse

NAMES = (("email", "ada@example.org"),)
CERTIFIED = Channel(TLSInfo("TLSv1.3", peer_certificate=b"DER", peer_names=NAMES))
NOBODY = Credentials()


def answers(question: Question) -> Any:
    if isinstance(question, Authorization):
        return question.authzid == "postmaster"
    assert isinstance(question, ExternalCheck)
    return dict(question.names).get("email", "").partition("@")[0]


@pytest.mark.parametrize("held", [False, True])
def test_the_certificate_says_who_it_is(held: bool) -> None:
    called = converse(ExternalClient(), ExternalServer(), answers, NOBODY, CERTIFIED, held=held)
    assert called.outcome == Identity("ada", "EXTERNAL")
    assert called.questions == [ExternalCheck(b"DER", NAMES, None)]


def test_the_fingerprint_is_what_others_compute() -> None:
    assert ExternalCheck(b"DER").fingerprint == hashlib.sha256(b"DER").hexdigest()


def test_the_first_response_is_empty_but_there() -> None:
    """RFC 4954 section 4.1: AUTH EXTERNAL =."""
    assert Client(ExternalClient(), NOBODY).initial == b""
    assert Client(ExternalClient(), Credentials(authzid="fred@example.com")).initial == b"fred@example.com"


def test_to_act_as_somebody_else_is_another_question() -> None:
    called = converse(ExternalClient(), ExternalServer(), answers, Credentials(authzid="postmaster"), CERTIFIED)
    assert called.outcome == Identity("ada", "EXTERNAL", "postmaster")
    with pytest.raises(AuthenticationError):
        converse(ExternalClient(), ExternalServer(), answers, Credentials(authzid="fred@example.com"), CERTIFIED)
    own = converse(ExternalClient(), ExternalServer(), answers, Credentials(authzid="ada"), CERTIFIED)
    assert own.outcome == Identity("ada", "EXTERNAL")


@pytest.mark.parametrize("channel", [NOWHERE, SECURE, Channel(TLSInfo(peer_certificate=b""))])
def test_without_a_certificate_nobody_is_asked(channel: Channel) -> None:
    called = Server(ExternalServer(), lambda _: "ada", channel, b"")
    assert called.over and called.outcome is None
    assert called.questions == []


@pytest.mark.parametrize("answer", [None, False, True, "", 1, ("ada",)])
def test_an_answer_that_is_no_name_is_a_no(answer: Any) -> None:
    called = Server(ExternalServer(), lambda _: answer, CERTIFIED, b"")
    assert called.over and called.outcome is None


@pytest.mark.parametrize("response", [b"\x00", b"ada\x00", b"\xff", b"\x07", b"\xc2\xad"])
def test_a_response_that_is_none(response: bytes) -> None:
    with pytest.raises(GrammarError):
        Server(ExternalServer(), answers, CERTIFIED, response)


def test_an_authorization_identity_is_prepared() -> None:
    assert Client(ExternalClient(), Credentials(authzid="I\u00adX")).initial == b"IX"
    called = Server(ExternalServer(), answers, CERTIFIED, "postma\u00adster".encode())
    assert called.outcome == Identity("ada", "EXTERNAL", "postmaster")
    with pytest.raises(GrammarError):
        Client(ExternalClient(), Credentials(authzid="a\x00b"))
