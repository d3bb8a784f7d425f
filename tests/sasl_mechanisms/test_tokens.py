"""OAUTHBEARER and XOAUTH2: the exchanges of RFC 7628 and of Google, errors in JSON, and what is injected."""

import json
from typing import Any

import pytest

from mailproto.errors import AuthenticationError, GrammarError
from mailproto.sasl import (
    Authorization,
    ClientMechanism,
    Credentials,
    Identity,
    OAuthBearerClient,
    OAuthBearerServer,
    Question,
    ServerMechanism,
    TokenCheck,
    TokenRefusal,
    TokenRefusedError,
    XOAuth2Client,
    XOAuth2Server,
)
from tests.sasl_mechanisms.talk import Client, Server, converse, no

TOKEN = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
USER = Credentials("user@example.com", token=TOKEN)
IMAP = b"n,a=user@example.com,\1host=server.example.com\1port=143\1auth=Bearer " + TOKEN.encode() + b"\1\1"
XOAUTH2 = b"user=user@example.com\1auth=Bearer " + TOKEN.encode() + b"\1\1"
PAIRS: list[tuple[ClientMechanism, ServerMechanism]] = [
    (OAuthBearerClient(), OAuthBearerServer()),
    (XOAuth2Client(), XOAuth2Server()),
]


def owner(question: Question) -> Any:
    """Answer that the token is user@example.com's."""
    if isinstance(question, Authorization):
        return False
    assert isinstance(question, TokenCheck)
    return "user@example.com" if question.token == TOKEN else None


# The exchanges.


def test_the_successful_exchange_of_rfc_7628_section_4_1() -> None:
    caller = Client(OAuthBearerClient("server.example.com", 143), USER)
    assert caller.initial == IMAP
    caller.succeed()
    called = Server(OAuthBearerServer(), owner, initial=IMAP)
    assert called.outcome == Identity("user@example.com", "OAUTHBEARER")
    assert called.questions == [TokenCheck("OAUTHBEARER", "user@example.com", TOKEN, "server.example.com", "143")]


def test_the_failed_exchange_of_rfc_7628_section_4_3() -> None:
    """An empty auth asks what would be taken; nobody has to be asked about it."""
    error = TokenRefusal("invalid_token", "example_scope", "https://example.com/.well-known/openid-config")
    initial = b"n,a=user@example.com,\1host=server.example.com\1port=143\1auth=\1\1"
    called = Server(OAuthBearerServer(), lambda _: error, initial=initial)
    assert json.loads(called.challenge or b"")["status"] == "invalid_token"
    assert called.questions == []
    assert called.answer(b"\1") is None
    assert called.over and called.outcome is None
    called = Server(OAuthBearerServer(), lambda _: error, initial=IMAP)
    assert json.loads(called.challenge or b"") == {
        "status": "invalid_token",
        "schemes": "bearer",
        "scope": "example_scope",
        "openid-configuration": "https://example.com/.well-known/openid-config",
    }


def test_the_failed_exchange_of_rfc_7628_section_4_4() -> None:
    caller = Client(OAuthBearerClient(), USER)
    challenge = b'{"status":"invalid_token","schemes":"bearer mac","scope":"https://mail.example.com/"}'
    assert caller.answer(challenge) == b"\1"
    with pytest.raises(TokenRefusedError, match="535") as caught:
        caller.fail()
    assert caught.value.details == {
        "status": "invalid_token",
        "schemes": "bearer mac",
        "scope": "https://mail.example.com/",
    }


def test_the_exchange_of_xoauth2() -> None:
    caller = Client(XOAuth2Client(), USER)
    assert caller.initial == XOAUTH2
    caller.succeed()
    assert Server(XOAuth2Server(), owner, initial=XOAUTH2).outcome == Identity("user@example.com", "XOAUTH2")


@pytest.mark.parametrize("kept", ["jo\u0308rg", "j\u00f6rg"])
@pytest.mark.parametrize("said", ["jo\u0308rg", "j\u00f6rg", "\uff4a\u00f6rg"])
@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_who_acts_as_itself_needs_no_leave_however_the_name_is_written(
    client: ClientMechanism, server: ServerMechanism, said: str, kept: str
) -> None:
    """Names are compared prepared (RFC 4954 section 4): not even XOAUTH2 gives the application any other."""
    initial = Client(client, Credentials(said, token=TOKEN)).initial
    called = Server(server, lambda question: kept, initial=initial)
    assert called.outcome == Identity(kept, server.name)
    assert [getattr(question, "username", None) for question in called.questions] == ["j\u00f6rg"]


def test_the_failed_exchange_of_xoauth2() -> None:
    caller = Client(XOAuth2Client(), USER)
    assert caller.answer(b'{"status":"401","schemes":"bearer","scope":"https://mail.google.com/"}') == b""
    with pytest.raises(TokenRefusedError) as caught:
        caller.fail()
    assert caught.value.details["status"] == "401"


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_both_sides_agree(client: ClientMechanism, server: ServerMechanism, held: bool) -> None:
    called = converse(client, server, owner, USER, held=held)
    assert called.outcome == Identity("user@example.com", server.name)
    assert converse(client, server, lambda _: True, USER, held=held).outcome == called.outcome


@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_a_refusal_reaches_the_caller_with_its_reason(client: ClientMechanism, server: ServerMechanism) -> None:
    error = TokenRefusal("insufficient_scope", "mail")
    with pytest.raises(TokenRefusedError) as caught:
        converse(client, server, lambda _: error, USER)
    assert caught.value.details == {"status": "insufficient_scope", "schemes": "bearer", "scope": "mail"}
    with pytest.raises(TokenRefusedError) as caught:
        converse(client, server, no, USER)
    assert caught.value.details == {"status": "invalid_token", "schemes": "bearer"}
    assert not caught.value.temporary


@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_a_token_of_somebody_elses_does_not_make_you_him(client: ClientMechanism, server: ServerMechanism) -> None:
    stolen = Credentials("ada@example.com", token=TOKEN)
    with pytest.raises(AuthenticationError):
        converse(client, server, owner, stolen)
    called = converse(client, server, lambda question: isinstance(question, Authorization) or owner(question), stolen)
    assert called.outcome == Identity("user@example.com", server.name, "ada@example.com")


def test_a_token_may_come_without_a_name() -> None:
    """RFC 7628 section 3.1: the GS2 header may name the user."""
    initial = b"n,,\1auth=Bearer " + TOKEN.encode() + b"\1\1"
    assert Client(OAuthBearerClient(), Credentials(token=TOKEN)).initial == initial
    assert Server(OAuthBearerServer(), owner, initial=initial).outcome == Identity("user@example.com", "OAUTHBEARER")
    unsure = Server(OAuthBearerServer(), lambda _: True, initial=initial)  # true for whom?
    assert unsure.challenge is not None
    assert unsure.answer(b"\1") is None and unsure.outcome is None


def test_the_authorization_identity_comes_before_the_name() -> None:
    credentials = Credentials("ada", authzid="a,b=c", token=TOKEN)
    initial = Client(OAuthBearerClient(), credentials).initial
    assert initial is not None and initial.startswith(b"n,a=a=2Cb=3Dc,\1")
    called = Server(OAuthBearerServer(), lambda _: True, initial=initial)
    assert called.outcome == Identity("a,b=c", "OAUTHBEARER")


def test_the_scheme_is_read_in_any_case() -> None:
    for scheme in (b"bearer", b"BEARER", b"BeArEr"):
        called = Server(OAuthBearerServer(), owner, initial=IMAP.replace(b"Bearer", scheme))
        assert called.outcome is not None


@pytest.mark.parametrize("answer", [0, "", 1, object(), TokenRefusal()])
def test_an_answer_that_is_neither_true_nor_a_name_is_a_no(answer: Any) -> None:
    called = Server(XOAuth2Server(), lambda _: answer, initial=XOAUTH2)
    assert called.challenge is not None
    called.answer(b"")
    assert called.over and called.outcome is None


def test_a_success_behind_an_error_is_none() -> None:
    for mechanism in (OAuthBearerClient(), XOAuth2Client()):
        caller = Client(mechanism, USER)
        caller.answer(b'{"status":"401"}')
        with pytest.raises(TokenRefusedError):
            caller.succeed()


# What is injected.


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials("ada"),
        Credentials("ada", token="a b"),
        Credentials("ada", token="a\1auth=Bearer b"),
        Credentials("ada", token="a\r\nb"),
        Credentials("ada", token="=a"),
        Credentials("ada", token="t\u00f6ken"),
        Credentials("ada", token="a,b"),
        Credentials("ada\1auth=Bearer stolen", token=TOKEN),
        Credentials("ada\x00", token=TOKEN),
        Credentials("ada\r\n", token=TOKEN),
        Credentials("ada\x7f", token=TOKEN),
        Credentials("\ud800", token=TOKEN),
        Credentials("ada", authzid="b\1c", token=TOKEN),
    ],
)
@pytest.mark.parametrize("mechanism", [OAuthBearerClient(), XOAuth2Client()])
def test_credentials_that_would_say_something_else(mechanism: ClientMechanism, credentials: Credentials) -> None:
    with pytest.raises(GrammarError) as caught:
        Client(mechanism, credentials)
    assert TOKEN not in repr(caught.value)


@pytest.mark.parametrize("host", ["a\1auth=Bearer b", "a\r\nb", "a\x00"])
def test_a_host_that_would_say_something_else(host: str) -> None:
    with pytest.raises(GrammarError):
        Client(OAuthBearerClient(host), USER)


def test_xoauth2_needs_a_name() -> None:
    with pytest.raises(GrammarError):
        Client(XOAuth2Client(), Credentials(token=TOKEN))


@pytest.mark.parametrize(
    "initial",
    [
        b"",
        b"\1",  # RFC 7628 section 3.1: only behind an error
        b"n,a=user@example.com,",
        b"n,a=user@example.com,\1\1",
        b"n,a=user@example.com,\1auth=Bearer x\1",
        b"n,a=user@example.com,auth=Bearer x\1\1",
        b"n,a=user@example.com,\1host=x\1\1",  # no auth at all
        IMAP.replace(b"port=143", b"auth=Bearer stolen"),  # two
        IMAP.replace(b"port=143", b"AUTH=Bearer stolen"),
        IMAP.replace(b"port=143", b"host=elsewhere"),
        IMAP.replace(b"port=143", b"p0rt=143"),
        IMAP.replace(b"port=143", b"=143"),
        IMAP.replace(b"port=143", b"port"),
        IMAP.replace(b"port=143", b""),
        IMAP.replace(b"port=143", b"port=143\x00"),
        IMAP.replace(b"port=143", b"port=\xff"),
        IMAP.replace(b"server.example.com", b"a\r\nb"),
        IMAP.replace(b"Bearer ", b"Bearer\t"),
        IMAP.replace(b"n,a", b"p=tls-exporter,a"),
        IMAP.replace(b"n,a", b"x,a"),
        IMAP.replace(b"user@", b"us=er@"),
        IMAP.replace(b"user@", b"us\x07er@"),
        IMAP.replace(b"user@", b"us\xffer@"),
        IMAP + b"x",
        # RFC 7628 section 4.4 shows a client that breaks the grammar of section 3.1.
        b"n,user=someuser@example.com,\1auth=Bearer x\1\1",
    ],
)
def test_a_response_of_oauthbearer_that_is_none(initial: bytes) -> None:
    with pytest.raises(GrammarError) as caught:
        Server(OAuthBearerServer(), owner, initial=initial)
    assert TOKEN not in repr(caught.value)


@pytest.mark.parametrize(
    "initial",
    [
        b"",
        b"\1",
        XOAUTH2[:-1],
        XOAUTH2 + b"\0",
        XOAUTH2.removeprefix(b"user="),
        XOAUTH2.replace(b"user@example.com", b""),
        XOAUTH2.replace(b"user@", b"us\x00er@"),
        XOAUTH2.replace(b"user@", b"us\ner@"),
        XOAUTH2.replace(b"user@", b"us\xffer@"),
        XOAUTH2.replace(b"\1auth", b"\1user=eve\1auth=x\1auth"),
        XOAUTH2.replace(b"auth=", b"auth"),
        XOAUTH2.replace(b"\1auth", b"auth"),
        b"user=ada\1\1",
    ],
)
def test_a_response_of_xoauth2_that_is_none(initial: bytes) -> None:
    with pytest.raises(GrammarError):
        Server(XOAuth2Server(), owner, initial=initial)


@pytest.mark.parametrize("auth", [b"", b"Basic abc", b"Bearer", b"Bearer ", b"Bearer a b", b"Bearer a,b"])
def test_another_scheme_or_no_token_is_refused_without_a_question(auth: bytes) -> None:
    for mechanism, initial in ((OAuthBearerServer(), IMAP), (XOAuth2Server(), XOAUTH2)):
        changed = initial.replace(b"Bearer " + TOKEN.encode(), auth)
        called = Server(mechanism, owner, initial=changed)
        assert called.challenge is not None
        assert called.questions == []
        called.answer(b"anything")
        assert called.over and called.outcome is None


# Errors in JSON, from servers that want to harm.


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"not json",
        b"[1]",
        b'"text"',
        b"null",
        b"[" * 4000,
        b'{"a":' * 800,
        b'{"status":"' + b"x" * 1_000_000 + b'"}',
        b"\xff\xfe\x00",
        b"\x00\x00\xfe\xff",
        b'{"status": NaN',
    ],
)
def test_details_that_are_none(challenge: bytes) -> None:
    caller = Client(XOAuth2Client(), USER)
    assert caller.answer(challenge) == b""
    with pytest.raises(TokenRefusedError) as caught:
        caller.fail()
    assert caught.value.details == {}
    assert len(str(caught.value)) < 200


def test_a_temporary_refusal_stays_temporary() -> None:
    caller = Client(XOAuth2Client(), USER)
    caller.answer(b"{}")
    with pytest.raises(TokenRefusedError) as caught:
        caller._exchange.throw(AuthenticationError("454 later", temporary=True))
    assert caught.value.temporary


# Secrets.


def test_nothing_shows_the_token() -> None:
    assert TOKEN not in repr(USER)
    assert TOKEN not in repr(TokenCheck("XOAUTH2", "ada", TOKEN))
    assert not TokenRefusal()
