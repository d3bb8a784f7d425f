"""Who the client is where somebody stands in front: XCLIENT and XFORWARD, and PROXY headers over real sockets."""

from __future__ import annotations

import itertools
import logging
import socket
import ssl
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto import Reject, TLSPolicy
from mailproto._core.peers import is_among, is_loopback
from mailproto._core.proxyheader import ProxyFamily, ProxyHeader
from mailproto._net.listener import ServerOptions
from mailproto.errors import GrammarError, LocalProtocolError, NotSupportedError
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.pop3 import POP3ClientConnection, POP3ServerConfig
from mailproto.smtp import (
    DEFAULT_EXTENSIONS,
    Limits,
    Reply,
    SMTPClientConnection,
    SMTPServerConfig,
    SMTPServerConnection,
    XClient,
    XForward,
)
from mailproto.smtp.attributes import XCLIENT_NAMES, format_attributes, parse_attributes
from mailproto.smtp.extensions import ETRN, XCLIENT, XFORWARD
from mailproto.smtp.flows.server import SMTPSession, serve
from tests.adapters.harness import PATIENCE, Wire, server_context, wait_until
from tests.data import CA
from tests.helpers import PROPERTY, assert_plays, describe, every_cut, talk
from tests.smtp import ADA, MAIL, RCPT, client, say, server
from tests.smtp.pipes import Driver, serving

EXTENSIONS = (*DEFAULT_EXTENSIONS, XCLIENT, XFORWARD, ETRN)
PLAIN = tuple(extension for extension in EXTENSIONS if extension.keyword in ("XCLIENT", "XFORWARD", "PIPELINING"))


def trusting(**settings: Any) -> SMTPServerConnection:
    """Return a server whose peer may speak for others."""
    conn = server(**{"extensions": PLAIN, "hostname": "server.example.com", **settings})
    conn.trusted = True
    return conn


# The first example of XCLIENT_README, and that of XFORWARD_README, less what the server does not offer.

DIALOGUE = """
E: Connected
! accept("ESMTP Postfix")
S: 220 server.example.com ESMTP Postfix
C: EHLO client.example.com
E: Hello 'client.example.com' extended
! accept()
S: 250-server.example.com
S: 250-PIPELINING
S: 250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT
S: 250 XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE
C: XCLIENT NAME=spike.porcupine.org ADDR=168.100.189.2
E: XClient {'NAME': 'spike.porcupine.org', 'ADDR': '168.100.189.2'}
! accept("ESMTP Postfix")
S: 220 server.example.com ESMTP Postfix
C: MAIL FROM:<wietse@porcupine.org>
S: 503 Bad sequence of commands
E: CommandRejected 'MAIL' 503 5.5.1 Bad sequence of commands
C: EHLO spike.porcupine.org
E: Hello 'spike.porcupine.org' extended
! accept()
S: 250-server.example.com
S: 250-PIPELINING
S: 250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT
S: 250 XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE
C: XFORWARD NAME=spike.porcupine.org ADDR=168.100.189.2 PROTO=ESMTP
E: XForward {'NAME': 'spike.porcupine.org', 'ADDR': '168.100.189.2', 'PROTO': 'ESMTP'}
! accept("Ok")
S: 250 Ok
C: MAIL FROM:<wietse@porcupine.org>
E: Mail wietse@porcupine.org
! accept("Ok")
S: 250 Ok
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""


def test_the_dialogue() -> None:
    assert_plays(trusting, DIALOGUE)


@pytest.mark.parametrize("verb", [b"XCLIENT", b"XFORWARD"])
def test_only_who_is_trusted_may(verb: bytes) -> None:
    """S71: not offered, and 550, whatever the argument is; also where the operator has not switched it on."""
    for conn in (server(extensions=EXTENSIONS), trusting(extensions=DEFAULT_EXTENSIONS)):
        offered = talk(conn, [b"EHLO x\r\n"]).output
        assert verb not in offered
        for argument in (b" ADDR=1.2.3.4", b" nonsense", b""):
            result = talk(conn, [verb + argument + b"\r\n"])
            assert result.replies == [b"550"]
            assert not result.of(XClient)
            assert not result.of(XForward)


@pytest.mark.parametrize("verb", [b"XCLIENT", b"XFORWARD"])
def test_never_inside_a_transaction(verb: bytes) -> None:
    for before in ([MAIL], [MAIL, RCPT], [MAIL, RCPT, b"BDAT 1\r\nx"]):
        conn = trusting(extensions=EXTENSIONS)
        talk(conn, [b"EHLO x\r\n", *before])
        assert talk(conn, [verb + b" ADDR=1.2.3.4\r\n"]).replies == [b"503"]
        assert conn.envelope is not None


def test_all_but_tls_is_forgotten() -> None:
    conn = trusting(extensions=EXTENSIONS, auth_mechanisms=("PLAIN",))
    conn.tls_established()
    talk(conn, [b"EHLO x\r\n", b"AUTH PLAIN AGEAYg==\r\n"])
    assert conn.authenticated
    talk(conn, [b"XCLIENT LOGIN=eve\r\n"])
    assert conn.tls is not None
    assert not conn.authenticated, "a login that a proxy tells of is its word and no more"
    assert not conn.extended
    assert talk(conn, [b"AUTH PLAIN AGEAYg==\r\n"]).replies == [b"503"]
    assert b"XCLIENT" in talk(conn, [b"EHLO x\r\n"]).output, "there may be more to tell"


def test_a_refused_one_changes_nothing() -> None:
    conn = trusting(extensions=EXTENSIONS)
    talk(conn, [b"EHLO x\r\n"])

    def refuse(conn: Any, event: object) -> None:
        conn.reject() if isinstance(event, XClient) else conn.accept()

    assert talk(conn, [b"XCLIENT ADDR=1.2.3.4\r\n"], refuse).replies == [b"550"]
    assert conn.extended
    assert talk(conn, [MAIL]).replies == [b"250"]


# Attributes.

GOOD: dict[str, dict[str, str | None]] = {
    "NAME=spike.porcupine.org ADDR=168.100.189.2": {"NAME": "spike.porcupine.org", "ADDR": "168.100.189.2"},
    "name=[UNAVAILABLE] Addr=[tempunavail]": {"NAME": None, "ADDR": None},
    "ADDR=IPV6:2001:DB8::1 PORT=65535": {"ADDR": "2001:db8::1", "PORT": "65535"},
    "DESTADDR=ipv6:::1 DESTPORT=25 PROTO=esmtp": {"DESTADDR": "::1", "DESTPORT": "25", "PROTO": "ESMTP"},
    "HELO=a+20b LOGIN=gr+C3+BCn+40x": {"HELO": "a b", "LOGIN": "grün@x"},
    "HELO=" + "x" * 255: {"HELO": "x" * 255},
}


@pytest.mark.parametrize("text", GOOD)
def test_attributes(text: str) -> None:
    assert parse_attributes(text, XCLIENT_NAMES) == GOOD[text]
    assert parse_attributes(format_attributes(GOOD[text], XCLIENT_NAMES), XCLIENT_NAMES) == GOOD[text]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "NAME",
        "NAME=",
        "=x",
        "NAME=a NAME=b",
        "NAME=a name=[UNAVAILABLE]",
        "NAME=a  ADDR=1.2.3.4",
        "SOURCE=LOCAL",
        "ADDR=1.2.3",
        "ADDR=1.2.3.04",
        "ADDR=IPV6:",
        "ADDR=IPV6:1.2.3.4.5",
        "ADDR=fe80::1%eth0",
        "ADDR=[1.2.3.4]",
        "PORT=65536",
        "PORT=-1",
        "PORT=0x1",
        "PROTO=HTTP",
        "HELO=a+0D+0AX",
        "HELO=a+",
        "HELO=a+4",
        "HELO=+c3+BC",
        "HELO=+C3",
        "HELO=+C2+85",
        "HELO=+E2+80+A8",
        "HELO=+7F",
        "HELO=ü",
        "HELO=" + "x" * 256,
    ],
)
def test_what_is_no_attribute(text: str) -> None:
    with pytest.raises(GrammarError):
        parse_attributes(text, XCLIENT_NAMES)
    conn = trusting()
    talk(conn, [b"EHLO x\r\n"])
    assert talk(conn, [b"XCLIENT " + text.encode() + b"\r\n"]).replies == [b"501"]


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"NAME": ""},
        {"NAME": "a\r\nQUIT"},
        {"NAME": "\u2028"},
        {"NAME": "x" * 256},
        {"SOURCE": "LOCAL"},
        {"NAME=x ADDR": "y"},
        {"ADDR": "localhost"},
        {"PORT": "٣"},
        {"PROTO": "X"},
    ],
)
def test_what_cannot_be_told(attributes: dict[str, str | None]) -> None:
    with pytest.raises(GrammarError):
        format_attributes(attributes, XCLIENT_NAMES)
    conn = client("XCLIENT " + " ".join(XCLIENT_NAMES))
    with pytest.raises(GrammarError):
        conn.xclient(attributes)
    assert conn.idle


TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30)


@PROPERTY
@given(st.dictionaries(st.sampled_from(["NAME", "HELO", "LOGIN"]), st.none() | TEXT, min_size=1))
def test_what_is_told_is_heard(attributes: dict[str, str | None]) -> None:
    try:
        text = format_attributes(attributes, XCLIENT_NAMES)
    except GrammarError:
        return
    assert text.isascii()
    heard = parse_attributes(text, XCLIENT_NAMES)
    unknown = ("[UNAVAILABLE]", "[TEMPUNAVAIL]")
    assert heard == {k: None if v is not None and v.upper() in unknown else v for k, v in attributes.items()}


# The client.


def test_a_client_that_speaks_for_another() -> None:
    for cut in every_cut(b"220 server.example.com ESMTP\r\n"):
        conn = client("PIPELINING", "XCLIENT NAME ADDR HELO")
        conn.xclient({"NAME": "spike.porcupine.org", "ADDR": "2001:db8::1", "HELO": None})
        conn.ehlo("spike.porcupine.org")
        assert conn.data_to_send() == b"XCLIENT NAME=spike.porcupine.org ADDR=IPV6:2001:db8::1 HELO=[UNAVAILABLE]\r\n"
        for piece in cut:
            conn.receive_data(piece)
            conn.next_event()
        assert conn.extensions == {}, "all is to be learnt anew"
        assert conn.data_to_send() == b"EHLO spike.porcupine.org\r\n"
        say(conn, "250 server.example.com")
        assert conn.idle


def test_a_client_keeps_to_what_is_offered() -> None:
    conn = client("XCLIENT NAME ADDR", "XFORWARD NAME")
    for speak in (conn.xclient, conn.xforward):
        with pytest.raises(NotSupportedError):
            speak({"HELO": "x"})
    with pytest.raises(NotSupportedError):
        client().xclient({"NAME": "x"})
    conn.mail(ADA)
    for speak in (conn.xclient, conn.xforward):
        with pytest.raises(LocalProtocolError):
            speak({"NAME": "x"})


def test_a_refusal_leaves_the_session_as_it_is() -> None:
    conn = client("PIPELINING", "XCLIENT NAME")
    command = conn.xclient({"NAME": "x"})
    conn.data_to_send()
    say(conn, "550 5.7.0 no")
    assert command.reply is not None
    assert command.reply.code == 550
    assert "PIPELINING" in conn.extensions


# ETRN (RFC 1985).


@pytest.mark.parametrize("node", ["example.org", "@example.org", "#uucp"])
def test_a_queue_is_run(node: str) -> None:
    """Section 5: outside of transactions, and each of its replies."""
    for code in (250, 251, 252, 253, 458, 459):

        def answer(conn: Any, event: object, code: int = code) -> None:
            if type(event).__name__ != "Etrn":
                conn.accept()
                return
            assert describe(event) == f"Etrn {node!r}"
            conn.reply(Reply(code, "so"))

        for pieces in every_cut(b"ETRN %s\r\nNOOP\r\n" % node.encode()):
            conn = server(extensions=EXTENSIONS)
            talk(conn, [b"EHLO x\r\n"])
            assert talk(conn, pieces, answer).replies == [b"%d" % code, b"250"]
    conn = server(extensions=EXTENSIONS)
    talk(conn, [b"EHLO x\r\n", MAIL])
    assert talk(conn, [b"ETRN x\r\n"]).replies == [b"503"]
    conn = server()
    talk(conn, [b"EHLO x\r\n"])
    assert talk(conn, [b"ETRN x\r\n"]).replies == [b"502"]
    conn = server(extensions=EXTENSIONS)
    talk(conn, [b"EHLO x\r\n"])
    assert talk(conn, [b"ETRN\r\n"]).replies == [b"501"]


# Hooks.

PROXY_PEER = "10.0.0.1"


class Curious:
    """Remembers who the client was said to be."""

    def __init__(self, refuse: bool = False) -> None:
        self.told: list[tuple[str, str, str, str]] = []
        self._refuse = refuse

    def note(self, session: SMTPSession) -> None:
        self.told.append((session.peer, session.transport_peer, session.local, session.hello))

    def on_xclient(self, session: SMTPSession, event: Any) -> None:
        self.note(session)
        if self._refuse:
            raise Reject(550, "not that one", "5.7.1")

    def on_mail(self, session: SMTPSession, event: Any) -> None:
        self.note(session)


def session_of(handler: object, peer: str = PROXY_PEER) -> tuple[SMTPSession, Any]:
    conn = server(extensions=EXTENSIONS, trusted_peers=("10.0.0.0/8",))
    session = SMTPSession(conn, peer, "10.0.0.2")
    answer = serving(Driver(conn, serve(session, handler)))
    answer(b"")
    return session, answer


TOLD = b"XCLIENT ADDR=192.0.2.1 DESTADDR=198.51.100.1 HELO=client.example\r\n"


def test_the_session_is_told() -> None:
    curious = Curious()
    session, answer = session_of(curious)
    answer(b"EHLO proxy.example\r\n")
    assert answer(TOLD).startswith(b"220 ")
    assert session.hello == "client.example"
    assert answer(b"EHLO x\r\nXCLIENT NAME=client.example\r\nEHLO client.example\r\n" + MAIL).endswith(
        b"Sender OK\r\n"
    )
    assert curious.told == [
        ("192.0.2.1", PROXY_PEER, "198.51.100.1", "proxy.example"),
        ("192.0.2.1", PROXY_PEER, "198.51.100.1", "x"),
        ("192.0.2.1", PROXY_PEER, "198.51.100.1", "client.example"),
    ]
    assert session.attributes["NAME"] == "client.example"
    assert session.attributes["ADDR"] == "192.0.2.1"


@pytest.mark.parametrize("before", [b"", TOLD + b"EHLO x\r\n"])
def test_a_client_that_the_proxy_does_not_know_is_not_the_proxy_nor_the_one_before(before: bytes) -> None:
    """Whoever may relay because the proxy is in the network would be everybody."""
    session, answer = session_of(Curious())
    answer(b"EHLO proxy.example\r\n" + before)
    assert answer(b"XCLIENT ADDR=[UNAVAILABLE] DESTADDR=[TEMPUNAVAIL]\r\n").startswith(b"220 ")
    assert (session.peer, session.local, session.transport_peer) == ("unknown", "unknown", PROXY_PEER)
    assert not is_among(session.peer, ("0.0.0.0/0", "::/0", "unix"))
    assert not is_loopback(session.peer)
    answer(b"EHLO x\r\nMAIL FROM:<a@b.example>\r\n")
    assert session.received_field(datetime.now(UTC)).startswith(b"Received: from x\r\n\tby ")


@pytest.mark.parametrize("wrapped", ["::ffff:192.0.2.1", "::FFFF:c000:201"])
def test_an_address_of_ipv4_is_one_however_it_is_wrapped(wrapped: str) -> None:
    """RFC 4291 section 2.5.5.2: as a socket has it that listens for IPv6 and IPv4."""
    session, _ = session_of(Curious(), wrapped)
    assert (session.peer, session.transport_peer) == ("192.0.2.1", "192.0.2.1")
    session = SMTPSession(server(extensions=EXTENSIONS), "2001:db8::1", wrapped)
    assert (session.peer, session.local) == ("2001:db8::1", "192.0.2.1")
    session.speak_for({"ADDR": wrapped, "DESTADDR": "fe80::1%eth0"})
    assert (session.peer, session.local) == ("192.0.2.1", "fe80::1%eth0")


def test_what_a_proxy_on_a_unix_socket_leaves_out_stays_as_it_was() -> None:
    session = SMTPSession(server(extensions=EXTENSIONS))
    session.speak_for({"NAME": "client.example"})
    assert (session.peer, session.local) == ("", "")


def test_a_client_that_is_not_wanted_is_not_told_of() -> None:
    curious = Curious(refuse=True)
    session, answer = session_of(curious)
    answer(b"EHLO proxy.example\r\n")
    assert answer(TOLD) == b"550 5.7.1 not that one\r\n"
    answer(MAIL)
    assert curious.told[-1] == (PROXY_PEER, PROXY_PEER, "10.0.0.2", "proxy.example")
    assert session.attributes == {}


def test_without_a_hook_a_trusted_peer_is_believed() -> None:
    class Plain:
        def on_rcpt(self, session: Any, rcpt: Any) -> None:
            return None

    session, answer = session_of(Plain())
    answer(b"EHLO x\r\n")
    answer(TOLD)
    assert session.peer == "192.0.2.1"
    session, answer = session_of(Plain(), "192.0.2.99")
    assert b"XCLIENT" not in answer(b"EHLO x\r\n")
    assert answer(TOLD).startswith(b"550")
    assert session.peer == "192.0.2.99"


# Over real sockets.

CLIENT = "192.0.2.7"
HEADERS = {
    "v1": ProxyHeader(ProxyFamily.TCP4, CLIENT, "192.0.2.1", 1024, 25).encode(1),
    "v2": ProxyHeader(ProxyFamily.TCP6, "2001:db8::7", "2001:db8::1", 1024, 25, ((5, b"id"),)).encode(2),
    "wrapped": ProxyHeader(ProxyFamily.TCP6, f"::ffff:{CLIENT}", "::ffff:192.0.2.1", 1024, 25).encode(2),
    "local": ProxyHeader(local=True).encode(),
    "unix": ProxyHeader(ProxyFamily.UNIX, "/run/client", "/run/server").encode(),
    "unknown": ProxyHeader().encode(1),
    "unspecified": ProxyHeader().encode(2),
}
STRANGER = "unknown"
PEERS = {"v1": CLIENT, "v2": "2001:db8::7", "local": "127.0.0.1", "wrapped": CLIENT}
BEHIND: dict[str, Any] = {"proxies": ("127.0.0.0/8",), "limits": Limits(proxy_timeout=PATIENCE)}


class Guest:
    """Remembers where clients came from."""

    def __init__(self) -> None:
        self.peers: list[tuple[str, str]] = []

    def on_connect(self, session: Any) -> None:
        self.peers.append((session.peer, session.transport_peer))

    def on_rcpt(self, session: Any, rcpt: Any) -> None:
        return None


def send_pieces(sock: socket.socket, data: bytes, drip: bool) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in [data[i : i + 1] for i in range(len(data))] if drip else [data]:
        sock.sendall(piece)


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("drip", [False, True])
def test_the_client_behind_a_balancer(front: Any, kind: str, drip: bool) -> None:
    guest = Guest()
    config = SMTPServerConfig(**BEHIND)
    with front.SMTPServer(guest, port=0, config=config) as running, Wire.to(running.port) as wire:
        send_pieces(wire.sock, HEADERS[kind] + b"EHLO x\r\n", drip)
        assert wire.line().startswith(b"220 ")
        assert wire.line().startswith(b"250-")
    assert guest.peers == [(PEERS.get(kind, STRANGER), "127.0.0.1")]


@pytest.mark.parametrize("kind", HEADERS)
@pytest.mark.parametrize("protocol", ["SMTP", "POP3"])
def test_a_client_without_an_address_is_not_taken_for_the_balancer(front: Any, protocol: str, kind: str) -> None:
    """Nor is it on this machine, nor may it speak for others: a relay would send what any stranger likes."""
    seen: list[tuple[str, str, bool]] = []

    def handle(session: Any, event: Any) -> bool:
        if session.conn.pending is not None:
            seen.append((session.peer, session.local, session.conn.trusted))
            session.accept()
        return False

    config = (SMTPServerConfig if protocol == "SMTP" else POP3ServerConfig)(**BEHIND, trusted_peers=("127.0.0.0/8",))
    made = getattr(front, f"{protocol}Server")(front.handler(handle), port=0, config=config)
    with made as running, Wire.to(running.port) as wire:
        wire.send(HEADERS[kind])
        assert wire.line()
    (peer, local, trusted) = seen[0]
    assert (peer, is_loopback(peer), trusted) == (PEERS.get(kind, STRANGER), kind == "local", kind == "local")
    known = {"v1": "192.0.2.1", "wrapped": "192.0.2.1", "v2": "2001:db8::1", "local": "127.0.0.1"}
    assert local == known.get(kind, STRANGER)


def test_clients_without_an_address_are_not_one_client(front: Any) -> None:
    """Each of them counts towards the cap on all connections, and they have no network in common."""
    config, options = SMTPServerConfig(**BEHIND), ServerOptions(max_per_address=1)
    made = front.SMTPServer(Guest(), port=0, config=config, options=options)
    with made as running, Wire.to(running.port) as first, Wire.to(running.port) as second:
        for wire in (first, second):
            wire.send(HEADERS["unknown"])
            assert wire.line().startswith(b"220")


@pytest.mark.parametrize("protocol", ["SMTP", "POP3"])
@pytest.mark.parametrize("kind", ["v1", "v2"])
@pytest.mark.parametrize("drip", [False, True])
def test_the_client_hello_comes_with_the_header(front: Any, protocol: str, kind: str, drip: bool) -> None:
    """Implicit TLS behind a balancer: the octets behind the header are the handshake's, wherever they are cut."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context(cafile=str(CA)).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    drop = MemoryMaildrop()
    config = (SMTPServerConfig if protocol == "SMTP" else POP3ServerConfig)(**BEHIND)
    make = getattr(front, f"{protocol}Server")
    host = MailHost(lambda _: drop, {"ada": "x"})
    settings = {"config": config, "tls": server_context(), "implicit_tls": True}
    with make(host, port=0, **settings) as running, Wire.to(running.port) as wire:
        send_pieces(wire.sock, HEADERS[kind] + outgoing.read(), drip)
        greeting = b""
        deadline = time.monotonic() + PATIENCE
        while not greeting and time.monotonic() < deadline:
            incoming.write(wire.sock.recv(65536))
            try:
                tls.do_handshake()
                wire.sock.sendall(outgoing.read())
                greeting = tls.read(100)
            except ssl.SSLWantReadError:
                wire.sock.sendall(outgoing.read())
        assert greeting[:3] in (b"220", b"+OK")


@pytest.mark.parametrize(
    "wrong", [b"EHLO x\r\n", b"PROXY TCP4 1.2.3.4\r\n", b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n", b"\x16\x03\x01\x00"]
)
@pytest.mark.parametrize("implicit", [False, True])
def test_who_says_something_else_hears_nothing(front: Any, wrong: bytes, implicit: bool) -> None:
    guest = Guest()
    config = SMTPServerConfig(**BEHIND)
    settings: dict[str, Any] = {"tls": server_context(), "implicit_tls": True} if implicit else {}
    with front.SMTPServer(guest, port=0, config=config, **settings) as running, Wire.to(running.port) as wire:
        wire.send(wrong)
        assert wire.rest() == b""
    assert guest.peers == []


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"EHLO x", "no PROXY header"),
        (b"PROXY TCP4 1.2.3.4\r\n", "a broken PROXY header"),
        (b"PROXY TCP4", "the peer closed the connection"),
    ],
)
def test_the_log_says_what_is_wrong_with_a_balancer(
    front: Any, said: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody else does: its clients are hung up on without a word."""
    caplog.set_level(logging.INFO, "mailproto")
    with front.SMTPServer(Guest(), port=0, config=SMTPServerConfig(**BEHIND)) as running:
        with Wire.to(running.port) as wire:
            wire.send(said)
            wire.sock.shutdown(socket.SHUT_WR)
            assert wire.rest() == b""
        wait_until(lambda: why in caplog.text)


def test_one_network_is_no_list_of_them() -> None:
    for config, name in itertools.product((SMTPServerConfig, POP3ServerConfig), ("proxies", "trusted_peers")):
        with pytest.raises(GrammarError, match=r"but one: '10.0.0.1'"):
            config(**{name: "10.0.0.1"})


def test_who_is_no_balancer_is_sent_away(front: Any) -> None:
    guest = Guest()
    config = SMTPServerConfig(proxies=("10.0.0.0/8",))
    with front.SMTPServer(guest, port=0, config=config) as running, Wire.to(running.port) as wire:
        wire.send(HEADERS["v1"] + b"EHLO x\r\n")
        assert wire.rest() == b""
    assert guest.peers == []


@pytest.mark.parametrize("protocol", ["SMTP", "POP3"])
@pytest.mark.parametrize("tls", [TLSPolicy.NONE, TLSPolicy.REQUIRED, TLSPolicy.IMPLICIT])
@pytest.mark.parametrize("version", [1, 2])
def test_a_client_of_ours_tells_whom_it_connects_for(front: Any, protocol: str, tls: TLSPolicy, version: int) -> None:
    """Before TLS, before everything."""
    seen: list[str] = []

    def handle(session: Any, event: Any) -> bool:
        seen.append(session.peer)
        if session.conn.pending is not None:
            session.accept()
        return False

    config = (SMTPServerConfig if protocol == "SMTP" else POP3ServerConfig)(**BEHIND)
    secure = tls is not TLSPolicy.NONE
    settings = {"tls": server_context(), "implicit_tls": tls is TLSPolicy.IMPLICIT} if secure else {}
    header = ProxyHeader(ProxyFamily.TCP4, CLIENT, "192.0.2.1", 1024, 25).encode(version)
    made = getattr(front, f"{protocol}Server")(front.handler(handle), port=0, config=config, **settings)
    with made as running:
        arguments = {"tls": tls, "cafile": CA if secure else None, "proxy_header": header}
        with getattr(front, f"{protocol}Client")("localhost", running.port, **arguments) as session:
            assert (session.tls is not None) is secure
    assert set(seen) == {CLIENT}


@pytest.mark.parametrize("make", [SMTPClientConnection, POP3ClientConnection])
def test_nothing_but_a_header_comes_first(make: Any) -> None:
    header = HEADERS["v1"]
    conn = make()
    for wrong in (b"", b"EHLO x\r\n", header[:-1], header + b"QUIT\r\n", HEADERS["v2"] + b"x"):
        with pytest.raises(GrammarError):
            conn.send_proxy_header(wrong)
    assert conn.data_to_send() == b""
    conn.send_proxy_header(header)
    with pytest.raises(LocalProtocolError):
        conn.send_proxy_header(header)
    assert conn.data_to_send() == header
    conn.receive_data(b"220 x\r\n" if make is SMTPClientConnection else b"+OK\r\n")
    assert conn.next_event() is not None
    with pytest.raises(LocalProtocolError):
        conn.send_proxy_header(header)
    secure = make()
    secure.tls_established()
    with pytest.raises(LocalProtocolError):
        secure.send_proxy_header(header)


@pytest.mark.parametrize("protocol", ["SMTP", "POP3"])
@pytest.mark.parametrize("events", [False, True])
def test_the_cap_for_an_address_is_the_client_s(front: Any, protocol: str, events: bool) -> None:
    """A balancer brings everybody, and is nobody's address."""

    def handle(session: Any, event: Any) -> bool:
        if session.conn.pending is not None:
            session.accept()
        return False

    config = (SMTPServerConfig if protocol == "SMTP" else POP3ServerConfig)(**BEHIND)
    farewell = b"421 4.3.2 Service not available, come again later\r\n"
    good, full = (b"220", farewell) if protocol == "SMTP" else (b"+OK", b"")
    other = ProxyHeader(ProxyFamily.TCP4, "192.0.2.8", "192.0.2.1", 1024, 25).encode()
    handler = front.handler(handle) if events else Guest()
    make = getattr(front, f"{protocol}Server")
    with make(handler, port=0, config=config, options=ServerOptions(max_per_address=1)) as running:

        def connect(header: bytes) -> Wire:
            wire = Wire.to(running.port)
            wire.send(header)
            return wire

        with connect(HEADERS["v1"]) as first, connect(other) as second:
            assert first.line().startswith(good)
            assert second.line().startswith(good)
            with connect(HEADERS["v1"]) as third:
                assert third.rest() == full
            first.close()
            wait_until(lambda: running.connections == 1)
            with connect(HEADERS["v1"]) as fourth, connect(HEADERS["local"]) as fifth:
                assert fourth.line().startswith(good)
                assert fifth.line().startswith(good)


def test_a_client_too_many_is_not_told_in_clear(front: Any) -> None:
    settings: dict[str, Any] = {"tls": server_context(), "implicit_tls": True}
    config, options = SMTPServerConfig(**BEHIND), ServerOptions(max_per_address=0)
    made = front.SMTPServer(Guest(), port=0, config=config, options=options, **settings)
    with made as running, Wire.to(running.port) as wire:
        wire.send(HEADERS["v1"])
        assert wire.rest() == b""


def test_a_header_that_does_not_come_is_not_waited_for_long(front: Any) -> None:
    config = SMTPServerConfig(proxies=("127.0.0.1",), limits=Limits(proxy_timeout=0.1))
    with front.SMTPServer(Guest(), port=0, config=config) as running, Wire.to(running.port) as wire:
        wire.send(HEADERS["v1"][:10])
        assert wire.rest() == b""


def test_a_header_where_none_is_expected_is_a_bad_command(front: Any) -> None:
    guest = Guest()
    with front.SMTPServer(guest, port=0) as running, Wire.to(running.port) as wire:
        wire.send(HEADERS["v1"])
        assert wire.line().startswith(b"220 ")
        assert wire.line().startswith(b"500 ")
    assert guest.peers == [("127.0.0.1", "127.0.0.1")]


def test_handlers_over_events_know_whom_to_trust(front: Any) -> None:
    """XCLIENT for them as for hooks; the session is theirs to tell."""
    peers: list[str] = []

    def handle(session: Any, event: Any) -> bool:
        if isinstance(event, XClient):
            session.speak_for(event.attributes)
        if session.conn.pending is not None:
            session.accept()
        peers.append(session.peer)
        return False

    config = SMTPServerConfig(extensions=EXTENSIONS, trusted_peers=("127.0.0.1",))
    with front.SMTPServer(front.handler(handle), port=0, config=config) as running, Wire.to(running.port) as wire:
        assert wire.line().startswith(b"220 ")
        wire.send(b"EHLO x\r\n")
        while wire.line()[3:4] == b"-":
            pass
        wire.send(b"XCLIENT ADDR=192.0.2.1\r\n")
        assert wire.line().startswith(b"220 ")
    assert peers[-1] == "192.0.2.1"
