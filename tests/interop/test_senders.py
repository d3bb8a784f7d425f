"""Real programs, and smtplib, send to our SMTP servers."""

import smtplib
import ssl
from pathlib import Path

import pytest

from tests import data
from tests.interop.clients import TLS_MODES, Endpoint, TLSMode, on_the_wire, run
from tests.interop.ours import ADAPTERS, Adapter
from tests.interop.senders import SENDERS
from tests.interop.servers import ADA, GRACE, NOBODY, UTF8_USER, Host, smtp_server

SENDER = "someone@client.example.test"
MAIL = {name: path.read_bytes() for name, path in data.MAIL.items()}
BIG = MAIL["plain"] + b"The engine weaves patterns.\r\n.\r\n" * 320_000  # 10 MB, and full of dots


def at_home(*users: str) -> list[str]:
    return [f"{user}@example.test" for user in users]


def connect(port: int, tls: TLSMode) -> smtplib.SMTP:
    context = ssl.create_default_context(cafile=data.CA)
    if tls == "implicit":
        return smtplib.SMTP_SSL("localhost", port, context=context)
    client = smtplib.SMTP("localhost", port)
    if tls == "starttls":
        client.starttls(context=context)
    return client


@pytest.mark.parametrize("tls", TLS_MODES)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_smtplib_sends_every_message(adapter: Adapter, tls: TLSMode) -> None:
    host = Host()
    with smtp_server(adapter, host, tls) as port, connect(port, tls) as client:
        client.login(ADA, "open-sesame")
        for message in MAIL.values():
            refused = client.sendmail(SENDER, at_home(ADA, NOBODY, GRACE), message)
            assert list(refused) == at_home(NOBODY)
            assert refused[at_home(NOBODY)[0]] == (550, b"5.7.1 Relaying denied")
    arrivals = host.wait(len(MAIL))
    assert [arrival.content for arrival in arrivals] == [on_the_wire(message) for message in MAIL.values()]
    assert all(arrival.recipients == [ADA, GRACE] for arrival in arrivals)
    assert {arrival.user for arrival in arrivals} == {ADA}
    assert all((arrival.tls is not None) == (tls != "none") for arrival in arrivals)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_smtplib_sends_smtputf8_and_asks_around(adapter: Adapter) -> None:
    host = Host()
    with smtp_server(adapter, host) as port, connect(port, "none") as client:
        client.sendmail(
            "ünal@bücher.example", at_home(UTF8_USER), MAIL["utf8"], mail_options=["SMTPUTF8", "BODY=8BITMIME"]
        )
        assert client.noop()[0] == 250
        assert client.vrfy(ADA)[0] == 252
        assert client.rset()[0] == 250
        assert client.docmd("HELP")[0] == 214
        assert client.docmd("XYZZY")[0] == 500
    (arrival,) = host.wait()
    assert arrival.envelope.mail.parameters.smtputf8
    assert str(arrival.envelope.reverse_path) == "ünal@bücher.example"
    assert arrival.recipients == [UTF8_USER]


@pytest.mark.parametrize("tls", TLS_MODES)
@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("program", SENDERS)
def test_program_logs_in_and_sends(tmp_path: Path, program: str, adapter: Adapter, tls: TLSMode) -> None:
    host = Host()
    with smtp_server(adapter, host, tls) as port:
        endpoint = Endpoint(port, tls, user=ADA)
        outcome = SENDERS[program](endpoint, SENDER, at_home(ADA, GRACE), MAIL["dots"], tmp_path)
    assert outcome.ok, outcome.log
    (arrival,) = host.wait()
    assert arrival.content == MAIL["dots"]
    assert arrival.recipients == [ADA, GRACE]
    assert arrival.user == ADA
    assert (arrival.tls is not None) == (tls != "none")


@pytest.mark.parametrize("name", MAIL)
@pytest.mark.parametrize("program", SENDERS)
def test_program_sends_every_message(tmp_path: Path, program: str, name: str) -> None:
    host = Host()
    with smtp_server("aio", host) as port:
        outcome = SENDERS[program](Endpoint(port), SENDER, at_home(ADA), MAIL[name], tmp_path)
    assert outcome.ok, outcome.log
    assert [arrival.content for arrival in host.wait()] == [on_the_wire(MAIL[name])]


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("program", SENDERS)
def test_program_sends_ten_megabytes(tmp_path: Path, program: str, adapter: Adapter) -> None:
    host = Host()
    with smtp_server(adapter, host, "starttls") as port:
        outcome = SENDERS[program](Endpoint(port, "starttls"), SENDER, at_home(ADA), BIG, tmp_path)
    assert outcome.ok, outcome.log[-2000:]
    assert host.wait()[0].content == BIG


@pytest.mark.parametrize("program", SENDERS)
def test_program_tells_of_a_refused_recipient(tmp_path: Path, program: str) -> None:
    host = Host()
    with smtp_server("sync", host) as port:
        outcome = SENDERS[program](Endpoint(port), SENDER, at_home(NOBODY), MAIL["plain"], tmp_path)
    assert not outcome.ok
    assert "550" in outcome.log and "Relaying denied" in outcome.log


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("program", SENDERS)
def test_program_with_a_wrong_password_is_refused(tmp_path: Path, program: str, adapter: Adapter) -> None:
    host = Host()
    with smtp_server(adapter, host) as port:
        endpoint = Endpoint(port, user=ADA, password="wrong")
        outcome = SENDERS[program](endpoint, SENDER, at_home(ADA), MAIL["plain"], tmp_path)
    assert not outcome.ok
    assert host.contents(ADA) == []


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_swaks_uses_each_mechanism_and_pipelines(tmp_path: Path, adapter: Adapter, mechanism: str) -> None:
    host = Host()
    with smtp_server(adapter, host, "starttls") as port:
        endpoint = Endpoint(port, "starttls", user=GRACE)
        outcome = SENDERS["swaks"](
            endpoint, SENDER, at_home(ADA, GRACE), MAIL["utf8"], tmp_path, "--pipeline", "--auth", mechanism
        )
    assert outcome.ok, outcome.log
    assert f"AUTH {mechanism}" in outcome.log
    (arrival,) = host.wait()
    assert (arrival.content, arrival.user) == (MAIL["utf8"], GRACE)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_swaks_pipelines_a_refused_recipient(tmp_path: Path, adapter: Adapter) -> None:
    host = Host()
    with smtp_server(adapter, host) as port:
        outcome = SENDERS["swaks"](
            Endpoint(port), SENDER, at_home(NOBODY, ADA, NOBODY), MAIL["dots"], tmp_path, "--pipeline"
        )
    assert outcome.ok, outcome.log
    assert outcome.log.count("550 5.7.1") == 2
    assert [(arrival.recipients, arrival.content) for arrival in host.wait()] == [([ADA], MAIL["dots"])]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_curl_asks_about_an_address(tmp_path: Path, adapter: Adapter) -> None:
    """Without a message curl says VRFY."""
    with smtp_server(adapter, Host()) as port:
        outcome = run("curl", "--verbose", f"smtp://localhost:{port}/me", "--mail-rcpt", ADA, folder=tmp_path)
    assert outcome.ok and f"VRFY {ADA}" in outcome.log and "< 252 " in outcome.log, outcome.log
