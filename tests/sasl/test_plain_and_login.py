"""PLAIN (RFC 4616) and LOGIN, both sides: the RFC's examples, and everything that is near them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.errors import GrammarError
from mailproto.sasl import (
    Challenge,
    Credentials,
    Identity,
    LoginClient,
    LoginServer,
    PasswordCheck,
    PlainClient,
    PlainServer,
    ServerMechanism,
    saslprep,
)
from tests.helpers import PROPERTY


def asked(mechanism: ServerMechanism, *said: bytes | None) -> Any:
    """Run the server's side on an initial response and responses; return what it yields behind the last challenge."""
    exchange = mechanism.start(said[0])
    step = exchange.send(None)
    for response in said[1:]:
        assert isinstance(step, Challenge)
        step = exchange.send(response)
    return step


def concluded(mechanism: ServerMechanism, said: list[bytes | None], *answers: object) -> Identity | None:
    """Run the server's side to its end, the application giving these answers."""
    exchange = mechanism.start(said[0])
    value: object = None
    responses, opinions = iter(said[1:]), iter(answers)
    while True:
        try:
            step = exchange.send(value)
        except StopIteration as stop:
            identity: Identity | None = stop.value
            return identity
        value = next(responses) if isinstance(step, Challenge) else next(opinions)


# RFC 4616 section 4.


def test_the_example_of_the_rfc() -> None:
    response = b"\0tim\0tanstaaftanstaaf"
    assert next(PlainClient().start(Credentials("tim", "tanstaaftanstaaf"))) == response
    assert asked(PlainServer(), response) == PasswordCheck("PLAIN", "tim", "tanstaaftanstaaf")
    assert asked(PlainServer(), None) == Challenge(b"")
    assert asked(PlainServer(), None, response) == PasswordCheck("PLAIN", "tim", "tanstaaftanstaaf")


def test_the_example_with_somebody_to_act_as() -> None:
    response = b"Ursel\0Kurt\0xipj3plmq"
    assert next(PlainClient().start(Credentials("Kurt", "xipj3plmq", "Ursel"))) == response
    assert asked(PlainServer(), response) == PasswordCheck("PLAIN", "Kurt", "xipj3plmq", "Ursel")


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"\0",
        b"\0\0",
        b"\0\0pw",
        b"\0user\0",
        b"admin\0\0pw",
        b"user\0pw",
        b"\0user\0pw\0x",
        b"\0user\0pw\0",
        b"user",
        b"\0\0\0",
        b"\0us\xffer\0pw",
        b"\0user\0\xed\xa0\x80",
        b"\xff\0user\0pw",
    ],
)
def test_what_is_no_plain(response: bytes) -> None:
    """S16: exactly two NULs, and neither part falls back to the other."""
    for said in ((response,), (None, response)):
        with pytest.raises(GrammarError) as caught:
            asked(PlainServer(), *said)
        assert "pw" not in str(caught.value)
        assert "user" not in str(caught.value).replace("user name", "")


@pytest.mark.parametrize(
    ("response", "opinions", "identity"),
    [
        (b"\0ada\0pw", [True], Identity("ada", "PLAIN")),
        (b"\0ada\0pw", ["ada@example.org"], Identity("ada@example.org", "PLAIN")),
        (b"\0ada\0pw", [False], None),
        (b"\0ada\0pw", [None], None),
        (b"\0ada\0pw", [""], None),
        (b"ada\0ada\0pw", [True], Identity("ada", "PLAIN")),
        (b"root\0ada\0pw", [False], None),
        (b"root\0ada\0pw", [True, False], None),
        (b"root\0ada\0pw", [True, None], None),
        (b"root\0ada\0pw", [True, True], Identity("ada", "PLAIN", "root")),
    ],
)
def test_who_it_turns_out_to_be(response: bytes, opinions: list[object], identity: Identity | None) -> None:
    """S16: whose password it is, and whom to act as, are two questions; the second is never answered by the first."""
    assert concluded(PlainServer(), [response], *opinions) == identity


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials("", "pw"),
        Credentials("ada", ""),
        Credentials("a\0da", "pw"),
        Credentials("ada", "p\0w"),
        Credentials("ada", "pw", "ro\0ot"),
        Credentials("\udc80", "pw"),
        Credentials("ada", "\ud800"),
    ],
)
def test_what_plain_cannot_write(credentials: Credentials) -> None:
    with pytest.raises(GrammarError) as caught:
        next(PlainClient().start(credentials))
    assert "pw" not in str(caught.value)


CHARACTERS = [*map(chr, range(1, 0x200)), "例", "\u2028", "\ufeff", "\U0001f511"]
PASSWORDS = st.text(st.sampled_from(CHARACTERS), min_size=1, max_size=20)


@PROPERTY
@given(PASSWORDS, PASSWORDS)
def test_every_password_gets_through_as_it_is(username: str, password: str) -> None:
    """RFC 4616 section 2: UTF-8, the name prepared; the password is prepared by who compares."""
    response = next(PlainClient().start(Credentials(username, password)))
    assert isinstance(response, bytes)
    login = LoginClient().start(Credentials(username, password))
    said: list[Any] = [next(login), login.send(b"Username:"), login.send(b"Password:")]
    try:
        name = saslprep(username)
    except GrammarError:
        for server, words in ((PlainServer(), [response]), (LoginServer(), said)):
            with pytest.raises(GrammarError):
                asked(server, *words)
        return
    assert asked(PlainServer(), response) == PasswordCheck("PLAIN", name, password)
    assert asked(LoginServer(), *said) == PasswordCheck("LOGIN", name, password)


def test_one_name_however_it_is_composed() -> None:
    """As with SCRAM and with USER of POP3: all of them lead to one account."""
    composed, decomposed = "j\u00f6rg", "jo\u0308rg"
    response = f"\0{decomposed}\0pw".encode()
    assert asked(PlainServer(), response) == PasswordCheck("PLAIN", composed, "pw")
    assert asked(LoginServer(), decomposed.encode(), b"pw") == PasswordCheck("LOGIN", composed, "pw")


# LOGIN.


def test_login() -> None:
    exchange = LoginClient().start(Credentials("ada", "pw"))
    assert next(exchange) is None
    assert exchange.send(b"whatever it says") == b"ada"
    assert exchange.send(b"") == b"pw"
    assert asked(LoginServer(), None) == Challenge(b"Username:")
    assert asked(LoginServer(), None, b"ada") == Challenge(b"Password:")
    assert asked(LoginServer(), b"ada") == Challenge(b"Password:"), "many clients send the name along"
    assert concluded(LoginServer(), [None, b"ada", b"pw"], True) == Identity("ada", "LOGIN")
    assert concluded(LoginServer(), [b"ada", b"pw"], False) is None


@pytest.mark.parametrize(
    "said", [(None, b"", b"pw"), (None, b"ada", b""), (b"", b"pw"), (None, b"\xff", b"pw"), (None, b"ada", b"\xff")]
)
def test_what_is_no_login(said: tuple[bytes | None, ...]) -> None:
    with pytest.raises(GrammarError):
        asked(LoginServer(), *said)


@pytest.mark.parametrize(
    "credentials", [Credentials("", "pw"), Credentials("ada", ""), Credentials("ada", "pw", "root")]
)
def test_what_login_cannot_write(credentials: Credentials) -> None:
    with pytest.raises(GrammarError):
        next(LoginClient().start(credentials))
    assert not LoginClient().fits(credentials)


def test_no_secret_shows_in_a_repr() -> None:
    """S23."""
    for holder in (
        Credentials("ada", "pw-secret", token="tok-secret"),
        PasswordCheck("PLAIN", "ada", "pw-secret"),
        Challenge(b"secret"),
    ):
        assert "secret" not in repr(holder)
