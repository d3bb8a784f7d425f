"""Who the client is where somebody stands in front: the PROXY header, and XCLIENT as Dovecot has it."""

from __future__ import annotations

from typing import Any

import pytest

from mailproto._core.flow import Call, Want
from mailproto._core.proxyheader import ProxyFamily, ProxyHeader
from mailproto.errors import ConnectionClosedError, GrammarError, LocalProtocolError, NotSupportedError
from mailproto.pop3 import (
    Capabilities,
    CommandRejected,
    Connected,
    ConnectionClosed,
    Login,
    POP3ClientConnection,
    POP3ServerConfig,
    POP3ServerConnection,
    XClient,
)
from mailproto.pop3.flows import POP3Session, serve
from mailproto.pop3.xclient import format_xclient, parse_xclient
from tests.helpers import every_cut
from tests.pop3.harness import TLS, Application, every_client_cut, every_server_cut, talk
from tests.pop3.test_pop3_flows_server import App
from tests.pop3.test_pop3_server_login import greeted

BALANCER, CLIENT = "10.0.0.1", "192.0.2.7"
HEADERS = [ProxyHeader(ProxyFamily.TCP4, CLIENT, "192.0.2.1", 1024, 110).encode(version) for version in (1, 2)]
SESSION = b"CAPA\r\nUSER ada\r\nPASS secret\r\nSTAT\r\nQUIT\r\n"


class Curious(App):
    """Remembers where clients came from, and how far they got."""

    def __init__(self) -> None:
        super().__init__()
        self.peers: list[tuple[str, str]] = []

    def on_connect(self, session: POP3Session) -> None:
        self.peers.append((session.peer, session.transport_peer))

    def on_login(self, session: POP3Session) -> Any:
        self.peers.append((session.peer, session.transport_peer))
        return super().on_login(session)


class Wire:
    """Serves a session as an adapter does: input comes in pieces, and the handshake when it is asked for."""

    def __init__(self, config: POP3ServerConfig, peer: str, *, implicit_tls: bool = False) -> None:
        self.app = Curious()
        self.conn = POP3ServerConnection(config)
        self.session = POP3Session(self.conn, peer)
        self.flow = serve(self.session, self.app, implicit_tls=implicit_tls)
        self.output = b""
        self.handshakes: list[bytes] = []
        self.done = False
        self._advance(None)

    def _advance(self, error: BaseException | None) -> None:
        value: Any = None
        while True:
            try:
                wish = self.flow.send(value) if error is None else self.flow.throw(error)
            except StopIteration:
                self.done = True
                self.output += self.conn.data_to_send()
                return
            value = error = None
            self.output += self.conn.data_to_send()
            if isinstance(wish, Call):
                try:
                    value = wish.function(*wish.arguments)
                except Exception as failure:
                    error = failure
            elif wish is Want.START_TLS:
                self.handshakes.append(self.output)
                self.conn.tls_established(TLS)
            elif wish is Want.READ:
                return

    def hear(self, data: bytes) -> None:
        if not self.done:
            self.conn.receive_data(data)
            self._advance(None)

    def lose(self) -> None:
        if not self.done:
            self.conn.receive_eof()
            self._advance(ConnectionClosedError("gone"))


def config(**more: Any) -> POP3ServerConfig:
    return POP3ServerConfig(allow_plaintext_auth=True, starttls=True, **more)


# The PROXY header.


@pytest.mark.parametrize("header", HEADERS, ids=["v1", "v2"])
def test_the_balancer_tells_the_client_at_every_cut(header: bytes) -> None:
    outputs = set()
    for pieces in every_cut(header + SESSION):
        wire = Wire(config(proxies=("10.0.0.0/8",)), BALANCER)
        assert wire.output == b"", "nothing is said before the header"
        for piece in pieces:
            wire.hear(piece)
        assert wire.done
        assert wire.app.peers == [(CLIENT, BALANCER)] * 2
        outputs.add(wire.output)
    assert len(outputs) == 1
    assert b"+OK 3 " in outputs.pop()


@pytest.mark.parametrize("header", HEADERS, ids=["v1", "v2"])
def test_the_balancer_tells_the_client_before_implicit_tls_at_every_cut(header: bytes) -> None:
    for pieces in every_cut(header):
        wire = Wire(config(proxies=(BALANCER,)), BALANCER, implicit_tls=True)
        assert wire.handshakes == []
        for piece in pieces:
            wire.hear(piece)
        assert wire.handshakes == [b""], "the handshake comes behind the header, and the greeting behind both"
        wire.hear(SESSION)
        assert wire.done
        assert wire.app.peers == [(CLIENT, BALANCER)] * 2


@pytest.mark.parametrize("header", HEADERS, ids=["v1", "v2"])
def test_the_client_is_known_beyond_stls_at_every_cut(header: bytes) -> None:
    said = header + b"STLS\r\n"
    for pieces in every_cut(said):
        wire = Wire(config(proxies=(BALANCER,)), BALANCER)
        for piece in pieces:
            wire.hear(piece)
        assert len(wire.handshakes) == 1
        wire.hear(SESSION)
        assert wire.app.peers == [(CLIENT, BALANCER)] * 2


@pytest.mark.parametrize("implicit_tls", [False, True])
@pytest.mark.parametrize("peer", ["10.0.0.2", "", "2001:db8::1"])
def test_who_is_no_balancer_is_sent_away_without_a_word(peer: str, implicit_tls: bool) -> None:
    wire = Wire(config(proxies=(BALANCER,)), peer, implicit_tls=implicit_tls)
    assert (wire.done, wire.output, wire.handshakes, wire.app.peers) == (True, b"", [], [])


@pytest.mark.parametrize("said", [SESSION, b"\x16\x03\x01", b"PROXY TCP4 x\r\n", HEADERS[0][:-1], HEADERS[1][:20]])
def test_a_balancer_without_its_header_is_sent_away_without_a_word(said: bytes) -> None:
    wire = Wire(config(proxies=(BALANCER,)), BALANCER)
    wire.hear(said)
    wire.lose()
    assert (wire.done, wire.output, wire.app.peers) == (True, b"", [])


def test_where_no_balancer_is_expected_its_header_is_no_command() -> None:
    wire = Wire(config(), BALANCER)
    wire.hear(HEADERS[0])
    assert wire.output.endswith(b"-ERR Command not recognised\r\n")
    assert wire.app.peers == [(BALANCER, BALANCER)]


# XCLIENT.

TOLD = b"XCLIENT ADDR=192.0.2.7 PORT=4711 SESSION=x+y/Z= TTL=4 FORWARD=YT1i\r\n"


def trusted(config: POP3ServerConfig | None = None) -> POP3ServerConnection:
    conn = POP3ServerConnection(config if config is not None else POP3ServerConfig(allow_plaintext_auth=True))
    conn.trusted = True
    return conn


def test_a_trusted_proxy_speaks_for_a_client_at_every_cut() -> None:
    said = TOLD + b"USER ada\r\nPASS x\r\nQUIT\r\n"
    played = every_server_cut(trusted, [said], Application())
    told = {"ADDR": CLIENT, "PORT": "4711", "SESSION": "x+y/Z=", "TTL": "4", "FORWARD": "YT1i"}
    assert played.events[:3] == [Connected(), XClient(told), Login("ada", "x")]
    assert played.output.startswith(b"+OK [XCLIENT] POP3 server ready\r\n+OK Updated\r\n+OK Send the password\r\n")


def test_the_flow_takes_the_word_of_a_trusted_peer_only() -> None:
    said = b"XCLIENT ADDR=192.0.2.7 SESSION=abc\r\n" + SESSION
    wire = Wire(config(trusted_peers=("10.0.0.0/8",)), BALANCER)
    wire.hear(said)
    assert wire.app.peers == [(BALANCER, BALANCER), (CLIENT, BALANCER)]
    assert wire.session.attributes == {"ADDR": CLIENT, "SESSION": "abc"}
    assert b"\r\nXCLIENT\r\n" in wire.output
    for peers, peer in (((), BALANCER), (("10.0.0.0/8",), "192.0.2.1"), (("10.0.0.0/8",), "")):
        wire = Wire(config(trusted_peers=peers), peer)
        wire.hear(said)
        assert wire.app.peers == [(peer, peer)] * 2
        assert wire.output.startswith(b"+OK POP3 server ready\r\n-ERR Command not recognised\r\n")
        assert b"XCLIENT" not in wire.output


def test_the_trust_is_in_the_client_that_the_balancer_tells_of() -> None:
    for told, is_trusted in ((CLIENT, True), (BALANCER, False)):
        header = ProxyHeader(ProxyFamily.TCP4, told, "192.0.2.1", 1, 110).encode(1)
        wire = Wire(config(proxies=(BALANCER,), trusted_peers=(CLIENT,)), BALANCER)
        wire.hear(header)
        assert wire.conn.trusted == is_trusted


@pytest.mark.parametrize(
    "argument",
    [
        *(b"", b" ", b" ADDR", b" ADDR=", b" ADDR=x", b" ADDR=[UNAVAILABLE]", b" ADDR=1.2.3.4  PORT=1"),
        *(b" PORT=65536", b" PORT=+1", b" ADDR=1.1.1.1 ADDR=1.1.1.1", b" NAME=x", b" SESSION=", b" TTL=x"),
        *(b" FORWARD=!", b" =x", b" SESSION=" + b"x" * 65),
    ],
)
def test_what_is_no_attribute_is_refused(argument: bytes) -> None:
    conn = greeted()
    conn.trusted = True
    assert isinstance(talk(conn, b"XCLIENT" + argument + b"\r\n"), CommandRejected)
    assert conn.data_to_send() == b"-ERR Syntax error in the arguments\r\n"


def test_an_ipv6_address_has_nothing_in_front_or_what_smtp_has() -> None:
    assert parse_xclient("ADDR=2001:DB8::1") == parse_xclient("addr=IPV6:2001:db8::1") == {"ADDR": "2001:db8::1"}
    assert format_xclient({"ADDR": "2001:db8::1"}) == "ADDR=2001:db8::1"


def test_behind_xclient_the_session_begins_again() -> None:
    conn = trusted()
    conn.next_event()
    conn.accept()
    talk(conn, b"UTF8\r\nUSER eve\r\nPASS x\r\n")
    conn.reject()
    assert isinstance(talk(conn, b"USER eve\r\nXCLIENT PORT=1\r\nPASS x\r\n"), XClient)
    conn.accept()
    assert (conn.auth_failures, conn.utf8) == (0, False)
    assert b"[XCLIENT]" not in conn.data_to_send().partition(b"\r\n")[2]
    assert isinstance(conn.next_event(), CommandRejected), "the name was the proxy's"


def test_not_after_login() -> None:
    conn = trusted()
    conn.next_event()
    conn.accept()
    talk(conn, b"USER ada\r\nPASS x\r\n")
    conn.data_to_send()
    conn.accept("welcome", maildrop=[])
    assert conn.data_to_send() == b"+OK welcome\r\n", "only the greeting offers XCLIENT"
    talk(conn, b"CAPA\r\n")
    assert b"\r\nXCLIENT" not in conn.data_to_send()
    assert isinstance(talk(conn, TOLD), CommandRejected)
    assert conn.data_to_send() == b"-ERR Command not permitted in this state\r\n"


def test_the_application_may_refuse() -> None:
    conn = trusted()
    conn.next_event()
    conn.accept()
    conn.data_to_send()
    talk(conn, b"XCLIENT PORT=1\r\n")
    conn.answer_default()
    assert conn.data_to_send() == b"-ERR Not updated\r\n"
    assert not conn.closing


# The client.


def test_client_speaks_for_another_at_every_cut() -> None:
    turns = [
        (None, b"+OK [XCLIENT] Dovecot ready.\r\n"),
        (b"XCLIENT ADDR=192.0.2.7 PORT=4711 SESSION=abc", b"+OK Updated\r\n"),
        (b"CAPA", b"+OK\r\nTOP\r\nXCLIENT\r\n.\r\n"),
        (b"XCLIENT PORT=1", b"-ERR Invalid parameters\r\n"),
    ]
    played = every_client_cut(POP3ClientConnection, turns)
    assert played.error is None
    assert played.output == b"".join(line + b"\r\n" for line, _ in turns if line)


def client(greeting: bytes = b"+OK [XCLIENT] Dovecot ready.\r\n") -> POP3ClientConnection:
    conn = POP3ClientConnection()
    conn.receive_data(greeting)
    conn.next_event()
    return conn


def known(conn: POP3ClientConnection) -> tuple[bool, ...]:
    return conn.capabilities is not None, conn.utf8_mode, conn.language == "de"


def test_client_forgets_what_it_knew_for_itself() -> None:
    conn = client()
    conn.capabilities = Capabilities({"UTF8": ()})
    conn.utf8()
    conn.data_to_send()
    conn.receive_data(b"+OK\r\n")
    conn.next_event()
    conn.lang("de")
    conn.data_to_send()
    conn.receive_data(b"+OK de\r\n")
    conn.next_event()
    assert known(conn) == (True, True, True)
    conn.xclient({"PORT": "1"})
    conn.data_to_send()
    with pytest.raises(LocalProtocolError, match="behind XCLIENT"):
        conn.capa()
    conn.receive_data(b"+OK\r\n")
    conn.next_event()
    assert not any(known(conn))
    conn.stls()


def test_client_does_not_speak_for_others_to_who_does_not_ask_for_it() -> None:
    conn = client(b"+OK hello\r\n")
    with pytest.raises(NotSupportedError):
        conn.xclient({"ADDR": CLIENT})
    conn.capabilities = Capabilities({"XCLIENT": ()})
    conn.xclient({"ADDR": CLIENT})


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"ADDR": "x"},
        {"ADDR": None},
        {"NAME": "x"},
        {"SESSION": "a b"},
        {"SESSION": "a\r\nQUIT"},
        {"PORT": "70000"},
    ],
)
def test_client_says_nothing_that_is_no_attribute(attributes: dict[str, str | None]) -> None:
    conn = client()
    with pytest.raises(GrammarError):
        conn.xclient(attributes)
    assert conn.data_to_send() == b""
    conn.receive_eof()
    assert isinstance(conn.next_event(), ConnectionClosed)


def test_trust_is_in_addresses_and_networks() -> None:
    with pytest.raises(GrammarError):
        POP3ServerConfig(trusted_peers=("example.org",))
