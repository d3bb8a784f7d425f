"""Real programs log in to our servers by every SASL mechanism that they know."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mailproto.pop3.config import POP3ServerConfig
from mailproto.sasl import TokenCheck
from mailproto.smtp.config import SMTPServerConfig
from tests import data
from tests.interop.clients import Endpoint
from tests.interop.fetchers import FETCHERS
from tests.interop.ours import ADAPTERS, Adapter
from tests.interop.senders import SENDERS
from tests.interop.servers import ADA, LIMITS, Host, pop3_server, smtp_server

MESSAGE = data.MAIL["plain"].read_bytes()
TOKEN = "a-token-of-ada.0123456789"


class Registry(Host):
    """A host that knows tokens, too."""

    def on_auth(self, session: Any, check: Any) -> bool:
        """Say whether the client has proved who it is."""
        if isinstance(check, TokenCheck):
            return check.username == ADA and check.token == TOKEN
        return super().on_auth(session, check)


@dataclass(frozen=True)
class Login:
    """How a program is told to log in by one mechanism."""

    program: str
    mechanism: str
    options: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.program}-{self.mechanism}"


def curl(mechanism: str) -> Login:
    token = ("--oauth2-bearer", TOKEN) if mechanism in TOKENS else ()
    return Login("curl", mechanism, ("--login-options", f"AUTH={mechanism}", *token))


TOKENS = ("XOAUTH2", "OAUTHBEARER")
PASSWORDS = ("PLAIN", "LOGIN", "CRAM-MD5")
SCRAMS = ("SCRAM-SHA-1", "SCRAM-SHA-256")
SENDING = [
    *(curl(mechanism) for mechanism in (*PASSWORDS, *TOKENS)),
    *(Login("swaks", mechanism, ("--auth", mechanism)) for mechanism in PASSWORDS),
    *(Login("msmtp", mechanism, (f"--auth={mechanism.lower()}",)) for mechanism in (*PASSWORDS, *SCRAMS, *TOKENS)),
]
FETCHING = [
    *(curl(mechanism) for mechanism in (*PASSWORDS, *TOKENS)),
    *(Login("mpop", mechanism, (f"--auth={mechanism.lower()}",)) for mechanism in (*PASSWORDS, *SCRAMS, *TOKENS)),
    Login("fetchmail", "CRAM-MD5", ("--auth", "cram-md5")),
]


def password_for(login: Login) -> dict[str, str]:
    return {"password": TOKEN} if login.mechanism in TOKENS else {}


@pytest.mark.parametrize("login", SENDING, ids=str)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_program_logs_in_to_send(tmp_path: Path, adapter: Adapter, login: Login) -> None:
    host = Registry()
    config = SMTPServerConfig(auth_mechanisms=(login.mechanism,), require_auth=True, limits=LIMITS)
    with smtp_server(adapter, host, "starttls", config) as port:
        endpoint = Endpoint(port, "starttls", user=ADA, **password_for(login))
        outcome = SENDERS[login.program](endpoint, "a@b.test", ["ada@c.test"], MESSAGE, tmp_path, *login.options)
    assert outcome.ok, outcome.log
    (arrival,) = host.wait()
    assert (arrival.user, arrival.content) == (ADA, MESSAGE)


@pytest.mark.parametrize("login", FETCHING, ids=str)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_program_logs_in_to_fetch(tmp_path: Path, adapter: Adapter, login: Login) -> None:
    host = Registry()
    host.put(ADA, MESSAGE)
    config = POP3ServerConfig(auth_mechanisms=(login.mechanism,), user=False, limits=LIMITS)
    with pop3_server(adapter, host, "implicit", config) as port:
        endpoint = Endpoint(port, "implicit", user=ADA, **password_for(login))
        outcome = FETCHERS[login.program](endpoint, tmp_path / "1", *login.options)
    assert outcome.ok, outcome.log
    assert outcome.messages == [MESSAGE]
    assert host.contents(ADA) == []


@pytest.mark.parametrize("login", [login for login in SENDING if login.mechanism not in PASSWORDS[:2]], ids=str)
def test_program_with_a_wrong_secret_is_refused(tmp_path: Path, login: Login) -> None:
    host = Registry()
    config = SMTPServerConfig(auth_mechanisms=(login.mechanism,), require_auth=True, limits=LIMITS)
    options = [option.replace(TOKEN, "not-a-token") for option in login.options]
    with smtp_server("aio", host, "starttls", config) as port:
        endpoint = Endpoint(port, "starttls", user=ADA, password="wrong")
        outcome = SENDERS[login.program](endpoint, "a@b.test", ["ada@c.test"], MESSAGE, tmp_path, *options)
    assert not outcome.ok
    assert "535 5.7.8" in outcome.log or "Login denied" in outcome.log  # as curl says at the 334 of XOAUTH2
