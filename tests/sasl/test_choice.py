"""Which mechanism a client takes: by its own rank, from what is offered, and nothing weaker than it may (S15)."""

from __future__ import annotations

from typing import Any

import pytest

from mailproto.errors import AuthenticationError, GrammarError
from mailproto.pop3 import POP3ServerConfig
from mailproto.sasl import CLIENT_MECHANISMS, SERVER_MECHANISMS, Credentials, choose_mechanism
from mailproto.smtp import SMTPServerConfig

ADA = Credentials("ada", "pw")


def chosen(*offered: str, secure: bool = True, allowed: tuple[str, ...] | None = None) -> str:
    return choose_mechanism(offered, secure=secure, allowed=allowed, credentials=ADA).name


def test_the_order_is_ours() -> None:
    assert chosen("LOGIN", "PLAIN", "SCRAM-SHA-256") == "SCRAM-SHA-256"
    assert chosen("LOGIN", "PLAIN") == "PLAIN"
    assert chosen("LOGIN") == "LOGIN"
    assert chosen("XYZZY", "LOGIN", "plain") == "LOGIN"


def test_the_order_is_the_callers_where_there_is_one() -> None:
    assert chosen("PLAIN", "LOGIN", allowed=("LOGIN", "PLAIN")) == "LOGIN"
    assert chosen("PLAIN", allowed=("LOGIN", "PLAIN")) == "PLAIN"


@pytest.mark.parametrize("offered", [(), ("XYZZY",), ("plain",), ("",)])
def test_nothing_to_choose_from(offered: tuple[str, ...]) -> None:
    with pytest.raises(AuthenticationError):
        chosen(*offered)


def test_nothing_that_was_not_allowed() -> None:
    with pytest.raises(AuthenticationError):
        chosen("PLAIN", "LOGIN", allowed=("SCRAM-SHA-256",))
    with pytest.raises(AuthenticationError):
        chosen("PLAIN", allowed=("XYZZY",))


def test_no_password_in_clear() -> None:
    """S14."""
    with pytest.raises(AuthenticationError, match="in clear"):
        chosen("PLAIN", "LOGIN", secure=False)
    assert chosen("PLAIN", "LOGIN", "SCRAM-SHA-256", secure=False) == "SCRAM-SHA-256"


def test_what_is_weak_is_taken_only_by_name() -> None:
    """S44."""
    with pytest.raises(AuthenticationError):
        chosen("CRAM-MD5", "ANONYMOUS")
    assert chosen("PLAIN", "CRAM-MD5") == "PLAIN"


def test_no_mechanism_that_the_credentials_do_not_fit() -> None:
    token = Credentials("ada", token="t")
    with pytest.raises(AuthenticationError):
        choose_mechanism(("PLAIN", "LOGIN"), secure=True, credentials=token)


def test_the_tables_are_by_name() -> None:
    for mechanisms in (CLIENT_MECHANISMS, SERVER_MECHANISMS):
        assert {"PLAIN", "LOGIN"} <= set(mechanisms)
        assert all(name == mechanism.name for name, mechanism in mechanisms.items())
        assert mechanisms["PLAIN"].reveals_secret
        assert mechanisms["LOGIN"].reveals_secret


@pytest.mark.parametrize("config", [SMTPServerConfig, POP3ServerConfig])
@pytest.mark.parametrize(
    "names", ["PLAIN", ("plain",), ("PLAIN LOGIN",), ("PLAIN\r\n250 X",), ("",), ("X" * 21,), ("PL\u00c4IN",)]
)
def test_a_server_offers_no_mechanism_that_no_client_could_name(config: Any, names: Any) -> None:
    """Over SMTP it was offered, and refused whenever a client wanted it."""
    with pytest.raises(GrammarError):
        config(auth_mechanisms=names)
