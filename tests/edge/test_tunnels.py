"""Tunnels through proxies: what is said to them, what they may answer, and clients of both protocols behind them."""

from __future__ import annotations

import copy
import pickle
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto import sync
from mailproto._core.policy import TLSPolicy
from mailproto._flows.engine import Engine
from mailproto.errors import (
    ConnectionClosedError,
    ConnectionTimeoutError,
    GrammarError,
    LocalProtocolError,
    MailProtoError,
    RemoteProtocolError,
)
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.pop3 import POP3ServerConfig
from mailproto.smtp import ConnectionClosed, GreetingReceived, Reply, ReplyError, SMTPClientConnection
from mailproto.smtp.flows.client import SessionOptions, open_session
from mailproto.tunnels import (
    HTTPProxy,
    HTTPTunnel,
    Socks5,
    Socks5Tunnel,
    TunnelConnection,
    TunnelError,
    TunnelOpened,
    open_tunnel,
)
from tests.adapters.harness import PATIENCE, Wire, scripted, server_context
from tests.data import CA
from tests.edge.proxies import tunneler
from tests.helpers import THOROUGH, every_cut
from tests.smtp.pipes import Driver

Make = Callable[[], TunnelConnection]


def through(make: Make, answers: list[tuple[bytes, bytes]], behind: bytes = b"") -> None:
    """Have the proxy give each answer to what is said, cut everywhere, and something come behind the last one."""
    whole = b"".join(answer for _, answer in answers) + behind
    for place in range(1, len(whole) + 1):
        for drip in (False, True):
            assert run_through(make(), answers, behind, place, drip) == behind, place


def run_through(
    conn: TunnelConnection, answers: list[tuple[bytes, bytes]], behind: bytes, place: int, drip: bool
) -> bytes:
    """Open the tunnel; return what is left for whoever comes next."""
    heard = 0
    for i, (question, answer) in enumerate(answers):
        assert conn.next_event() is None
        assert conn.data_to_send() == question
        answer += behind if i == len(answers) - 1 else b""
        for piece in pieces(answer, place - heard, drip):
            assert not conn.idle or i == len(answers) - 1
            conn.receive_data(piece)
            if not conn.idle and conn.next_event() is not None:
                assert conn.idle
        heard += len(answer)
    assert conn.idle
    assert conn.next_event() is None
    assert conn.data_to_send() == b""
    return conn.take_rest()


def pieces(data: bytes, place: int, drip: bool) -> list[bytes]:
    if drip:
        return [data[i : i + 1] for i in range(len(data))]
    return [data[:place], data[place:]] if 0 < place < len(data) else [data]


# SOCKS5 (RFC 1928, RFC 1929).

NO_LOGIN = (b"\x05\x01\x00", b"\x05\x00")
OPENED = b"\x05\x00\x00\x01\xc0\x00\x02\x01\x04\x38"
REQUEST = b"\x05\x01\x00\x03\x0fmx.example.test\x00\x19"


def socks(host: str = "mx.example.test", port: int = 25, *login: str) -> Make:
    return lambda: Socks5Tunnel(host, port, *login)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("mx.example.test", b"\x03\x0fmx.example.test"),
        ("192.0.2.1", b"\x01\xc0\x00\x02\x01"),
        ("2001:db8::1", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01"),
        ("x" * 255, b"\x03\xff" + b"x" * 255),
        ("1.2.3.4.5", b"\x03\x091.2.3.4.5"),
    ],
)
@pytest.mark.parametrize(
    "bound",
    [b"\x01\x7f\x00\x00\x01\x04\x38", b"\x04" + bytes(16) + b"\x00\x00", b"\x03\x00\x00\x00", b"\x03\x02px\x04\x38"],
)
def test_the_way_is_opened(host: str, address: bytes, bound: bytes) -> None:
    question = b"\x05\x01\x00" + address + b"\x01\xbb"
    through(socks(host, 443), [NO_LOGIN, (question, b"\x05\x00\x00" + bound)], b"220 mx\r\n")


def test_a_login() -> None:
    """RFC 1929 section 2."""
    login = (b"\x01\x03ada\x06secret", b"\x01\x00")
    through(
        socks("mx.example.test", 25, "ada", "secret"), [(b"\x05\x02\x00\x02", b"\x05\x02"), login, (REQUEST, OPENED)]
    )
    longest = (b"\x01\xff" + b"u" * 255 + b"\xfe" + "é".encode() * 127, b"\x01\x00")
    run_through(
        Socks5Tunnel("mx.example.test", 25, "u" * 255, "é" * 127),
        [(b"\x05\x02\x00\x02", b"\x05\x02"), longest, (REQUEST, OPENED)],
        b"",
        1,
        True,
    )


def test_a_login_that_nobody_wants_is_not_shown() -> None:
    through(socks("mx.example.test", 25, "ada", "secret"), [(b"\x05\x02\x00\x02", b"\x05\x00"), (REQUEST, OPENED)])


REASONS = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "time to live expired",
    7: "command not supported",
    8: "address type not supported",
    9: "unknown reason",
    255: "unknown reason",
}


def outcome(conn: TunnelConnection, said: list[bytes]) -> MailProtoError:
    """Have the proxy say this, whatever it is asked; return the error that comes of it."""
    driver = Driver(conn, open_tunnel(conn))
    driver.go()
    for piece in said:
        driver.go(piece)
    if not driver.done:
        driver.go(None)
    assert isinstance(driver.error, MailProtoError), driver.error
    assert conn.closing
    assert not conn.idle
    return driver.error


@pytest.mark.parametrize("code", REASONS)
@pytest.mark.parametrize("rest", [b"\x00\x01\x00\x00\x00\x00\x00\x00", b"", b"\x00", b"\x00\x09"])
def test_a_refusal(code: int, rest: bytes) -> None:
    """Section 6; some proxies do not even finish their reply."""
    for cut in every_cut(b"\x05\x00\x05" + bytes((code,)) + rest):
        error = outcome(socks()(), cut)
        assert type(error) is TunnelError
        assert str(error) == f"the proxy refused: {REASONS[code]}"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"\x04\x00", RemoteProtocolError),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", RemoteProtocolError),
        (b"220 mx.example.test\r\n", RemoteProtocolError),
        (b"\x05\xff", TunnelError),
        (b"\x05\x01", TunnelError),
        (b"\x05\x02", TunnelError),
        (b"\x05\x00\x04\x00\x00\x01\x00", RemoteProtocolError),
        (b"\x05\x00\x05\x00\x00\x02\x00", RemoteProtocolError),
        (b"", ConnectionClosedError),
        (b"\x05", ConnectionClosedError),
        (b"\x05\x00", ConnectionClosedError),
        (b"\x05\x00" + OPENED[:-1], ConnectionClosedError),
        (b"\x05\x00\x05\x00\x00\x03\xff" + b"x" * 255 + b"\x00", ConnectionClosedError),
    ],
)
def test_what_is_no_answer(said: bytes, kind: type[MailProtoError]) -> None:
    for cut in every_cut(said) if said else [[]]:
        assert type(outcome(socks()(), list(cut))) is kind


@pytest.mark.parametrize("verdict", [b"\x01\x01", b"\x01\xff"])
def test_a_login_that_is_refused(verdict: bytes) -> None:
    for cut in every_cut(b"\x05\x02" + verdict):
        error = outcome(socks("mx.example.test", 25, "ada", "secret")(), cut)
        assert str(error) == "the proxy refused the user or the password"


# HTTP CONNECT (RFC 9110 section 9.3.6).


def http(host: str = "mx.example.test", port: int = 25, *login: str) -> Make:
    return lambda: HTTPTunnel(host, port, *login)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 200\r\n\r\n",
        b"HTTP/1.1 200 \r\nVia: x\r\nX: y\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 299 Well\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_connect(answer: bytes) -> None:
    """A body has no place behind 2xx, whatever the fields say: what follows is the destination's.

    In front of it may stand interim responses (RFC 9110 section 15.2).
    """
    question = b"CONNECT mx.example.test:25 HTTP/1.1\r\nHost: mx.example.test:25\r\n\r\n"
    through(http(), [(question, answer)], b"220 mx\r\n")


def test_connect_to_an_ipv6_address() -> None:
    question = b"CONNECT [2001:db8::1]:25 HTTP/1.1\r\nHost: [2001:db8::1]:25\r\n\r\n"
    through(http("2001:db8::1"), [(question, b"HTTP/1.1 200 OK\r\n\r\n")])


def test_connect_with_a_login() -> None:
    """RFC 7617 section 2, its own example, and section 2.1, too."""
    for user, password, shown in (
        ("Aladdin", "open sesame", b"QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        ("test", "123£", b"dGVzdDoxMjPCow=="),
    ):
        question = (
            b"CONNECT mx.example.test:25 HTTP/1.1\r\nHost: mx.example.test:25\r\n"
            b"Proxy-Authorization: Basic " + shown + b"\r\n\r\n"
        )
        through(http("mx.example.test", 25, user, password), [(question, b"HTTP/1.1 200 OK\r\n\r\n")])


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n", TunnelError),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", TunnelError),
        (b"HTTP/1.1 302 Found\r\n\r\n", TunnelError),
        (b"HTTP/1.1 100 Continue\r\n\r\n", ConnectionClosedError),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 403 Forbidden\r\n\r\n", TunnelError),
        (b"HTTP/2 200\r\n\r\n", RemoteProtocolError),
        (b"HTTP/1.1 20\r\n\r\n", RemoteProtocolError),
        (b"HTTP/1.1  200 OK\r\n\r\n", RemoteProtocolError),
        ("HTTP/1.1 ٢٠٠ OK\r\n\r\n".encode(), RemoteProtocolError),
        (b"HTTP/1.1 200OK\r\n\r\n", RemoteProtocolError),
        (b"\nHTTP/1.1 200 OK\r\n\r\n", RemoteProtocolError),
        (b"220 mx.example.test\r\n", RemoteProtocolError),
        (b"\r\n", RemoteProtocolError),
        (b"HTTP/1.1 200 OK", ConnectionClosedError),
        (b"HTTP/1.1 200 OK\n\n", ConnectionClosedError),
        (b"HTTP/1.1 200 OK\r\nVia: x\r\n", ConnectionClosedError),
        (b"HTTP/1.1 200 OK\r\n\n", ConnectionClosedError),
    ],
)
def test_what_does_not_open(said: bytes, kind: type[MailProtoError]) -> None:
    for cut in every_cut(said):
        assert type(outcome(http()(), cut)) is kind


def test_a_refusal_is_told() -> None:
    error = outcome(http()(), [b"HTTP/1.1 403 No\x1b[31m \xffway\r\n"])
    assert str(error) == "the proxy refused: HTTP/1.1 403 No\\x1b[31m \\xffway"


@pytest.mark.parametrize("line", [b"x" * 9000, b"HTTP/1.1 200 " + b"x" * 9000, b"HTTP/1.1 200 OK\r\n" + b"x" * 9000])
def test_a_line_without_an_end(line: bytes) -> None:
    for said in ([line], [line[i : i + 1000] for i in range(0, len(line), 1000)]):
        error = outcome(http()(), said)
        assert type(error) is RemoteProtocolError
        assert "a line without an end" in str(error)


def test_a_header_without_an_end() -> None:
    for said in ([b"HTTP/1.1 200 OK\r\n", *[b"X: " + b"y" * 1000 + b"\r\n"] * 70], [b"HTTP/1.1 100\r\n\r\n"] * 6000):
        error = outcome(http()(), said)
        assert type(error) is RemoteProtocolError
        assert "fields without an end" in str(error)


# Both.

BOTH = pytest.mark.parametrize("kind", [Socks5Tunnel, HTTPTunnel])


@BOTH
@pytest.mark.parametrize(
    "host",
    ["", "a b", "a\r\nb", "a\0", "münchen.example", "x" * 256, "[::1]", "a@b", "a/b", "fe80::1%eth0", "::::", "1:2"],
)
def test_what_is_no_host(kind: type[TunnelConnection], host: str) -> None:
    with pytest.raises(GrammarError):
        kind(host, 25)


@BOTH
@pytest.mark.parametrize("port", [0, -1, 65536])
def test_what_is_no_port(kind: type[TunnelConnection], port: int) -> None:
    with pytest.raises(GrammarError):
        kind("mx.example.test", port)


@BOTH
@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("ada", None),
        (None, "x"),
        ("", "x"),
        ("ada", ""),
        ("u" * 256, "x"),
        ("ada", "é" * 128),
        ("a\r\nb", "x"),
        ("a", "\0"),
        ("\ud800", "x"),
        ("a", "\udcff"),
    ],
)
def test_what_is_no_login(kind: type[TunnelConnection], user: str | None, password: str | None) -> None:
    with pytest.raises(GrammarError):
        kind("mx.example.test", 25, user, password)


def test_a_colon_would_end_the_user() -> None:
    with pytest.raises(GrammarError):
        HTTPTunnel("mx.example.test", 25, "a:b", "x")
    Socks5Tunnel("mx.example.test", 25, "a:b", "x")


@BOTH
def test_a_proxy_has_its_time(kind: type[TunnelConnection]) -> None:
    conn = kind("mx.example.test", 25)
    assert conn.timeout == conn.limits.handshake_timeout
    driver = Driver(conn, open_tunnel(conn))
    driver.go()
    conn.receive_timeout()
    driver.go(b"x")
    assert isinstance(driver.error, ConnectionTimeoutError)


@pytest.mark.parametrize("proxy", [Socks5("px", 1, "ada", "hunter2"), HTTPProxy("px", 1, "ada", "hunter2")])
def test_a_password_is_neither_shown_nor_stored(proxy: Socks5 | HTTPProxy) -> None:
    """S23, S99."""
    for store in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            store(proxy)
    assert replace(proxy, port=2).port == 2
    assert "hunter2" not in repr(proxy)
    assert "hunter2" not in repr(proxy.open("mx.example.test", 25))


@THOROUGH
@given(st.sampled_from([Socks5Tunnel, HTTPTunnel]), st.lists(st.binary(max_size=40), max_size=8))
def test_no_octets_raise_anything_else(kind: type[TunnelConnection], said: list[bytes]) -> None:
    conn = kind("mx.example.test", 25, "ada", "secret")
    driver = Driver(conn, open_tunnel(conn))
    driver.go()
    for piece in said:
        driver.go(piece)
    driver.go(None)
    assert driver.error is None or isinstance(driver.error, MailProtoError)


def test_the_event_comes_once() -> None:
    conn = http()()
    conn.next_event()
    conn.receive_data(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n")
    assert conn.next_event() == TunnelOpened()
    assert conn.next_event() is None
    assert conn.take_rest() == b"HTTP/1.1 200 OK\r\n\r\n"
    assert conn.take_rest() == b""


# With clients, over real sockets.

KINDS = pytest.mark.parametrize("kind", ["socks", "http"])
MESSAGE = b"Subject: through the tunnel\r\n\r\nHello.\r\n"
PROXIES: dict[str, Callable[..., Any]] = {"socks": Socks5, "http": HTTPProxy}


def host(drop: MemoryMaildrop) -> MailHost:
    return MailHost(lambda _: drop, {"ada": "secret"}, ["example.test"])


@KINDS
@pytest.mark.parametrize("how", [{}, {"coalesce": True}, {"drip": True}, {"coalesce": True, "drip": True}])
def test_mail_goes_through(front: Any, kind: str, how: dict[str, bool]) -> None:
    """The server's greeting may come together with the proxy's last word, and cut anywhere."""
    drop = MemoryMaildrop()
    with front.SMTPServer(host(drop), port=0) as server, tunneler(kind, **how) as px:
        proxy = PROXIES[kind]("127.0.0.1", px.port, "ada", "proxy secret")
        with front.SMTPClient("mx.example.test", server.port, tls=TLSPolicy.NONE, proxy=proxy) as client:
            client.send_message(MESSAGE, "a@example.org", ["ada@example.test"]).raise_for_refused()
    assert px.asked == [("mx.example.test", server.port)]
    assert px.logins == [
        b"\x01\x03ada\x0cproxy secret" if kind == "socks" else b"Proxy-Authorization: Basic YWRhOnByb3h5IHNlY3JldA=="
    ]
    assert len(drop.open().messages) == 1


@KINDS
@pytest.mark.parametrize("tls", [TLSPolicy.REQUIRED, TLSPolicy.IMPLICIT])
def test_tls_is_the_destinations(front: Any, kind: str, tls: TLSPolicy) -> None:
    """The certificate that is verified is the server's, and the name the one the proxy was asked for."""
    drop = MemoryMaildrop()
    implicit = tls is TLSPolicy.IMPLICIT
    settings = {"tls": server_context(), "implicit_tls": implicit}
    with front.SMTPServer(host(drop), port=0, **settings) as server:
        with tunneler(kind) as px:
            proxy = PROXIES[kind]("127.0.0.1", px.port)
            where = {"tls": tls, "cafile": CA, "proxy": proxy}
            with front.SMTPClient("mail.example.test", server.port, user="ada", password="secret", **where) as client:
                assert client.tls is not None
                client.send_message(MESSAGE, "a@example.org", ["ada@example.test"]).raise_for_refused()
        with tunneler(kind) as px:
            where["proxy"] = PROXIES[kind]("127.0.0.1", px.port)
            with pytest.raises(ssl.SSLCertVerificationError):
                front.SMTPClient("other.example.test", server.port, **where).connect()


@KINDS
@pytest.mark.parametrize("tls", [TLSPolicy.REQUIRED, TLSPolicy.IMPLICIT, TLSPolicy.NONE])
def test_mail_is_fetched_through(front: Any, kind: str, tls: TLSPolicy) -> None:
    drop = MemoryMaildrop()
    drop.deliver([MESSAGE])
    settings: dict[str, Any] = {"implicit_tls": tls is TLSPolicy.IMPLICIT}
    if tls is not TLSPolicy.NONE:
        settings["tls"] = server_context()
    config = POP3ServerConfig(allow_plaintext_auth=True)
    with front.POP3Server(host(drop), port=0, config=config, **settings) as server, tunneler(kind) as px:
        client = front.POP3Client(
            "localhost",
            server.port,
            tls=tls,
            cafile=None if tls is TLSPolicy.NONE else CA,
            user="ada",
            password="secret",
            allow_plaintext_auth=True,
            proxy=PROXIES[kind]("127.0.0.1", px.port),
        )
        with client as pop:
            assert pop.retrieve(1) == MESSAGE
    assert px.asked == [("localhost", server.port)]


def test_a_proxy_that_refuses(front: Any) -> None:
    def refuse(wire: Wire) -> None:
        assert wire.line() == b"CONNECT mx.example.test:25 HTTP/1.1"
        wire.send(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        wire.rest()

    with scripted(refuse) as port:
        client = front.SMTPClient("mx.example.test", 25, proxy=HTTPProxy("127.0.0.1", port))
        with pytest.raises(TunnelError, match="403 Forbidden"):
            client.connect()


@pytest.mark.parametrize("kind", ["SMTPClient", "POP3Client"])
def test_a_proxy_has_no_more_time_than_the_server(front: Any, kind: str) -> None:
    def script(wire: Wire) -> None:
        wire.rest()

    with scripted(script) as port:
        client = getattr(front, kind)("mx.example.org", 25, proxy=Socks5("127.0.0.1", port), timeout=0.1)
        begun = time.monotonic()
        with pytest.raises(ConnectionTimeoutError):
            client.connect()
        assert time.monotonic() - begun < PATIENCE


def test_a_proxy_that_hangs_up_behind_its_last_word(front: Any) -> None:
    def hang_up(wire: Wire) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
        wire.line()

    with scripted(hang_up) as port:
        client = front.SMTPClient("mx.example.test", 25, tls=TLSPolicy.NONE, proxy=HTTPProxy("127.0.0.1", port))
        with pytest.raises(ConnectionClosedError):
            client.connect()


def test_what_a_proxy_cannot_be_told_is_told_here(front: Any) -> None:
    client = front.SMTPClient("münchen.example", 25, proxy=Socks5("127.0.0.1", 1))
    with pytest.raises(GrammarError):
        client.connect()
    with pytest.raises(LocalProtocolError):
        front.SMTPClient(path="/nowhere", proxy=Socks5("127.0.0.1", 1))


def test_words_in_clear_before_implicit_tls_are_an_attack(front: Any) -> None:
    """What comes behind the proxy's answer is heard by the connection, which knows what to think of it."""

    def inject(wire: Wire) -> None:
        while wire.line():
            pass
        wire.send(b"HTTP/1.1 200 OK\r\n\r\n220 injected.example.test\r\n")
        with server_context().wrap_socket(wire.sock, server_side=True) as secure, suppress(OSError):
            secure.sendall(b"220 mx.example.test\r\n")
            secure.recv(100)

    with scripted(inject) as port:
        proxy = HTTPProxy("127.0.0.1", port)
        client = front.SMTPClient("mail.example.test", 465, tls=TLSPolicy.IMPLICIT, cafile=CA, proxy=proxy)
        with pytest.raises(MailProtoError, match="in clear"):
            client.connect()


# Switching from one connection to the next.


def test_what_came_and_how_it_ended_is_the_new_connections_to_hear() -> None:
    for early in (b"HTTP/1.1 200 OK\r\n\r\n220 mx", b"HTTP/1.1 200 OK\r\n\r\n"):
        tunnel, conn = http()(), SMTPClientConnection()
        engine = Engine(tunnel)
        engine.begin(open_tunnel(tunnel))
        with pytest.raises(LocalProtocolError):
            engine.switch(conn)
        engine.step()
        engine.receive(early)
        assert engine.step() is None
        engine.receive(b"\r\n" if early.endswith(b"mx") else b"220 mx\r\n")
        engine.receive(b"")
        engine.switch(conn)
        assert engine.conn is conn
        assert conn.next_event() == GreetingReceived(Reply(220, "mx"))
        assert isinstance(conn.next_event(), ConnectionClosed)


def test_a_link_goes_on_with_the_new_connection() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        link = sync.Link(http()(), ours)
        conn = SMTPClientConnection()
        link.switch(conn)
        assert link.conn is conn
        theirs.sendall(b"554 no\r\n")
        with pytest.raises(ReplyError):
            link.run(open_session(conn, SessionOptions(tls=TLSPolicy.NONE)))
        link.abort()
