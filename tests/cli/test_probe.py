"""``python -m mailproto probe``: what servers offer, over every kind of TLS, and what is in the way."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator

import pytest

from mailproto import aio, sync
from mailproto.cli import main
from mailproto.cli.options import host_port
from mailproto.cli.probe import _is_pop3
from mailproto.pop3 import POP3ServerConfig
from mailproto.smtp import SMTPServerConfig
from tests import data
from tests.cli.harness import Running, run_json, serving

CERTIFICATE = ("--tls-cert", str(data.SERVER.certificate), "--tls-key", str(data.SERVER.key))
TRUST = ("--cafile", str(data.CA))
LOGIN = ("--user", "ada", "--password-env", "PW")


@pytest.fixture(scope="module")
def host() -> Iterator[Running]:
    """Run a mail host with all four listeners and a certificate."""
    listeners = ("submission", "smtps", "pop3", "pop3s")
    with serving("--user", "ada:pw", "--max-size", "12345", *CERTIFICATE, listeners=listeners) as server:
        yield server


@pytest.mark.parametrize(("listener", "tls"), [("submission", "required"), ("smtps", "implicit")])
def test_what_an_smtp_server_offers(
    host: Running, listener: str, tls: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"localhost:{host.ports[listener]}"
    status, found = run_json(capsys, "probe", "--server", place, "--tls", tls, *TRUST)
    assert status == 0
    assert found["ok"]
    assert found["error"] is None
    assert found["protocol"] == "SMTP"
    assert found["name"] == "localhost"
    assert found["tls"]["version"] == "TLSv1.3"
    assert "PLAIN" in found["auth"]
    assert found["max_message_size"] == 12345
    assert found["limits"] == {"mail": 1000, "rcpt": 1000, "rcpt_domains": None}
    assert found["extensions"]["SIZE"] == "12345"


@pytest.mark.parametrize(("listener", "tls"), [("pop3", "required"), ("pop3s", "implicit")])
def test_what_a_pop3_server_offers(
    host: Running, listener: str, tls: str, capsys: pytest.CaptureFixture[str]
) -> None:
    place = f"localhost:{host.ports[listener]}"
    status, found = run_json(capsys, "probe", "--pop3", "--server", place, "--tls", tls, *TRUST)
    assert status == 0
    assert found["ok"]
    assert found["protocol"] == "POP3"
    assert found["tls"]["version"] == "TLSv1.3"
    assert "PLAIN" in found["auth"]
    assert found["capabilities"]["UIDL"] == ""
    assert "PLAIN" in found["capabilities"]["SASL"]


@pytest.mark.parametrize(("listener", "kind"), [("smtps", ()), ("pop3s", ("--pop3",))])
@pytest.mark.parametrize(("password", "error"), [("pw", None), ("wrong", "AuthenticationError")])
def test_whether_one_gets_in(
    host: Running,
    listener: str,
    kind: tuple[str, ...],
    password: str,
    error: str | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PW", password)
    place = f"localhost:{host.ports[listener]}"
    status, found = run_json(capsys, "probe", *kind, "--server", place, "--tls", "implicit", *TRUST, *LOGIN)
    assert (status == 0) is found["ok"] is (error is None)
    assert found["error"] == error


def test_what_is_in_the_way_is_named(host: Running, capsys: pytest.CaptureFixture[str]) -> None:
    smtps, pop3 = (f"localhost:{host.ports[name]}" for name in ("smtps", "pop3"))
    assert run_json(capsys, "probe", "--server", smtps, "--tls", "implicit") == (
        1,
        {"ok": False, "error": "SSLCertVerificationError"},
    )
    assert main(["probe", "--server", pop3, "--tls", "none"]) == 1
    assert "RemoteProtocolError: " in capsys.readouterr().err


def test_for_people(host: Running, capsys: pytest.CaptureFixture[str]) -> None:
    place = f"localhost:{host.ports['submission']}"
    assert main(["probe", "--server", place, "--tls", "none", "-v"]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[:5] == ["protocol: SMTP", "name: localhost", "tls: -", "auth: -", "max message size: 12345"]
    assert "  STARTTLS" in lines
    assert "  rcpt_domains -" in lines
    assert "C: EHLO" in said.err
    assert "MAIL FROM" not in said.err


@pytest.mark.parametrize(
    ("place", "said", "pop3"),
    [("x:110", False, True), ("x:995", False, True), ("x:25", False, False), ("x", False, False), ("x", True, True)],
)
def test_the_port_tells_the_protocol(place: str, said: bool, pop3: bool) -> None:
    assert _is_pop3(argparse.Namespace(server=host_port(place), pop3=said)) is pop3


class Drops:
    """Lets everybody in."""

    def on_auth(self, session: object, check: object) -> bool:
        """Let them in."""
        return True


def test_the_functions_behind_it() -> None:
    """Over both adapters: a report is what the server says behind the login, and nothing is done there."""
    smtp_config = SMTPServerConfig(hostname="mx.example.org", max_message_size=77)
    pop3_config = POP3ServerConfig(allow_plaintext_auth=True, expire=3)
    none = sync.TLSPolicy.NONE

    async def ask(smtp: int, pop3: int) -> tuple[object, object]:
        return await aio.verify_smtp("127.0.0.1", smtp), await aio.verify_pop3("127.0.0.1", pop3, tls=none)

    with (
        sync.SMTPServer(Drops(), port=0, config=smtp_config) as smtp,
        sync.POP3Server(Drops(), port=0, config=pop3_config) as pop3,
    ):
        report = sync.verify_smtp("127.0.0.1", smtp.port)
        drop = sync.verify_pop3("127.0.0.1", pop3.port, tls=none)
        assert asyncio.run(ask(smtp.port, pop3.port)) == (report, drop)
    assert (report.name, report.max_message_size, report.tls) == ("mx.example.org", 77, None)
    assert (drop.capabilities.expire, drop.tls) == (3, None)
