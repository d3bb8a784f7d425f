"""Proxies: who speaks for somebody else, and how the other side learns of it."""

from pathlib import Path
from typing import Any

import pytest

from mailproto import ProxyHeader
from mailproto._core.flow import Flow
from mailproto._core.proxyheader import ProxyFamily
from mailproto.errors import AuthenticationError
from mailproto.pop3.config import POP3ServerConfig
from mailproto.pop3.flows.client import wait_done
from mailproto.smtp.config import SMTPServerConfig, with_extensions
from mailproto.smtp.events import XForward
from mailproto.smtp.extensions import XCLIENT, XFORWARD
from mailproto.smtp.flows.client import request
from mailproto.sync import TLSPolicy
from tests import data
from tests.interop.clients import Endpoint
from tests.interop.dovecot import PASSWORD, POP3_BEHIND, Dovecot, Mailbox
from tests.interop.fetchers import FETCHERS
from tests.interop.ours import ADAPTERS, Adapter, client
from tests.interop.postfix import Postfix
from tests.interop.programs import HOST
from tests.interop.senders import SENDERS
from tests.interop.servers import ADA, LIMITS, Host, pop3_server, smtp_server

MESSAGE = data.MAIL["dots"].read_bytes()
SENDER = "someone@example.test"
CLIENT = "192.0.2.7"
CLIENT_IPV6 = "2001:db8::7"
HEADER = ProxyHeader(ProxyFamily.TCP4, CLIENT, HOST, 4711, 25)


# To real servers.


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_postfix_believes_our_xclient(postfix: Postfix, mailbox: Mailbox, adapter: Adapter) -> None:
    def speak_for(conn: Any) -> Flow[None]:
        attributes = {"NAME": "far.example.test", "ADDR": CLIENT, "PORT": "4711", "HELO": "not what EHLO says"}
        reply = yield from request(conn, conn.xclient(attributes))
        assert reply.code == 220
        yield from request(conn, conn.ehlo("later.example.test"))

    with client(adapter, "SMTPClient", postfix.port, tls=TLSPolicy.NONE) as session:
        session.run(speak_for(session.conn))
        session.send_message(MESSAGE, SENDER, mailbox.address).raise_for_refused()
    assert f"from later.example.test (far.example.test [{CLIENT}])".encode() in mailbox.wait()[0]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_postfix_logs_our_xforward(postfix: Postfix, mailbox: Mailbox, adapter: Adapter) -> None:
    def tell(conn: Any) -> Flow[None]:
        attributes = {"NAME": "far.example.test", "ADDR": CLIENT, "IDENT": adapter, "SOURCE": "REMOTE"}
        reply = yield from request(conn, conn.xforward(attributes))
        assert reply.code == 250

    with client(adapter, "SMTPClient", postfix.port, tls=TLSPolicy.NONE) as session:
        session.run(tell(session.conn))
        session.send_message(MESSAGE, SENDER, mailbox.address).raise_for_refused()
    mailbox.wait()
    assert f"orig_queue_id={adapter}, orig_client=far.example.test[{CLIENT}]" in postfix.log()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_postfix_reads_our_proxy_header(postfix: Postfix, mailbox: Mailbox, adapter: Adapter, version: int) -> None:
    told = {"tls": TLSPolicy.REQUIRED, "proxy_header": HEADER.encode(version)}
    with client(adapter, "SMTPClient", postfix.proxied_port, **told) as session:
        session.send_message(MESSAGE, SENDER, mailbox.address).raise_for_refused()
    assert f"[{CLIENT}])".encode() in mailbox.wait()[0]


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_dovecot_reads_our_proxy_header(dovecot: Dovecot, mailbox: Mailbox, adapter: Adapter, version: int) -> None:
    told = {"tls": TLSPolicy.REQUIRED, "proxy_header": HEADER.encode(version)}
    with client(adapter, "POP3Client", dovecot.proxied_port, user=mailbox.name, password=PASSWORD, **told) as session:
        assert session.status() == (0, 0)
    assert f"user=<{mailbox.name}>, method=" in dovecot.log()
    (line,) = [line for line in dovecot.log().splitlines() if f"Login: user=<{mailbox.name}>" in line]
    assert f"rip={CLIENT}" in line


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_dovecot_believes_our_xclient(dovecot: Dovecot, mailbox: Mailbox, adapter: Adapter) -> None:
    def speak_for(conn: Any) -> Flow[None]:
        response = yield from wait_done(conn, conn.xclient({"ADDR": CLIENT, "PORT": "4711"}))
        assert response.ok

    with client(adapter, "POP3Client", dovecot.pop3_port, tls=TLSPolicy.NONE, allow_plaintext_auth=True) as session:
        session.run(speak_for(session.conn))
        session.log_in(mailbox.name, PASSWORD)
    (line,) = [line for line in dovecot.log().splitlines() if f"Login: user=<{mailbox.name}>" in line]
    assert f"rip={CLIENT}" in line


# To our servers.


class Registry(Host):
    """A host that keeps what is said about other clients."""

    def __init__(self) -> None:
        super().__init__()
        self.forwarded: dict[str, str | None] = {}
        self.peers: list[str] = []

    def on_xforward(self, _: Any, event: XForward) -> None:
        """Keep what a relay says of where the message came from."""
        self.forwarded.update(event.attributes)

    def on_login(self, session: Any) -> Any:
        """Keep who has come."""
        self.peers.append(session.peer)
        return super().on_login(session)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_postfix_tells_where_mail_comes_from(postfix: Postfix, adapter: Adapter) -> None:
    host = Registry()
    config = with_extensions(SMTPServerConfig(trusted_peers=(HOST,), limits=LIMITS), XFORWARD)
    with smtp_server(adapter, host, "none", config, port=postfix.relay_ports["plain"]):
        with client("sync", "SMTPClient", postfix.port, tls=TLSPolicy.NONE, local_name="far.example.test") as session:
            session.send_message(MESSAGE, SENDER, f"{ADA}@plain.test").raise_for_refused()
        (arrival,) = host.wait()
    assert arrival.content.endswith(MESSAGE)
    assert host.forwarded.items() >= {"ADDR": HOST, "PROTO": "ESMTP", "HELO": "far.example.test"}.items()


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "a stranger"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_swaks_speaks_for_another_client(tmp_path: Path, adapter: Adapter, trusted: bool) -> None:
    host = Registry()
    peers = (HOST,) if trusted else ("192.0.2.0/24",)
    config = with_extensions(SMTPServerConfig(trusted_peers=peers, limits=LIMITS), XCLIENT)
    options = ("--xclient-addr", f"IPV6:{CLIENT_IPV6}", "--xclient-helo", "far.example.test")
    with smtp_server(adapter, host, "none", config) as port:
        outcome = SENDERS["swaks"](Endpoint(port), SENDER, [f"{ADA}@example.test"], MESSAGE, tmp_path, *options)
    assert outcome.ok is trusted, outcome.log
    if trusted:
        (arrival,) = host.wait()
        assert (arrival.peer, arrival.content) == (CLIENT_IPV6, MESSAGE)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_swaks_says_a_proxy_header(tmp_path: Path, adapter: Adapter, version: str) -> None:
    host = Registry()
    config = SMTPServerConfig(proxies=(HOST,), limits=LIMITS)
    family = {"1": "TCP4", "2": "AF_INET"}[version]
    options = ["--proxy-version", version, "--proxy-family", family, "--proxy-source", CLIENT, "--proxy-source-port"]
    options += ["4711", "--proxy-dest", HOST, "--proxy-dest-port", "25"]
    with smtp_server(adapter, host, "implicit", config) as port:
        endpoint = Endpoint(port, "implicit")
        outcome = SENDERS["swaks"](endpoint, SENDER, [f"{ADA}@example.test"], MESSAGE, tmp_path, *options)
    assert outcome.ok, outcome.log
    (arrival,) = host.wait()
    assert (arrival.peer, arrival.content) == (CLIENT, MESSAGE)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_curl_says_a_proxy_header(tmp_path: Path, adapter: Adapter) -> None:
    host = Registry()
    host.put(ADA, MESSAGE)
    config = POP3ServerConfig(proxies=(HOST,), limits=LIMITS)
    with pop3_server(adapter, host, "starttls", config) as port:
        endpoint = Endpoint(port, "starttls", user=ADA)
        outcome = FETCHERS["curl"](endpoint, tmp_path / "1", "--haproxy-protocol")
    assert outcome.messages == [MESSAGE], outcome.log
    assert set(host.peers) == {HOST}


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "a stranger"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_dovecot_as_proxy_speaks_for_its_clients(dovecot: Dovecot, adapter: Adapter, trusted: bool) -> None:
    """Dovecot says XCLIENT to who offers it in the greeting; what it was told itself it passes on."""
    host = Registry()
    host.put(POP3_BEHIND, MESSAGE)
    peers = (HOST,) if trusted else ("192.0.2.0/24",)
    config = POP3ServerConfig(trusted_peers=peers, limits=LIMITS, allow_plaintext_auth=True)
    with pop3_server(adapter, host, "none", config, port=dovecot.relay_ports["pop3"]):
        login: dict[str, Any] = {"tls": TLSPolicy.REQUIRED, "mechanisms": ("PLAIN",), "user": POP3_BEHIND}
        told = {**login, "password": PASSWORD, "proxy_header": HEADER.encode(2)}
        with client("sync", "POP3Client", dovecot.proxied_port, **told) as session:
            assert session.retrieve(1) == MESSAGE
            session.delete(1)
        assert host.contents(POP3_BEHIND) == []
        wrong = client("sync", "POP3Client", dovecot.pop3_port, password="wrong", **login)
        with pytest.raises(AuthenticationError), wrong:
            pytest.fail("logged in")
    assert host.peers == [CLIENT if trusted else HOST]
