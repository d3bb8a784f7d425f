"""The server's connection before login: TLS, passwords, SASL, APOP, capabilities, guests from other protocols."""

from __future__ import annotations

import pytest

from mailproto.errors import LocalProtocolError
from mailproto.pop3 import (
    Apop,
    Auth,
    AuthResponse,
    CommandRejected,
    Connected,
    ConnectionClosed,
    Limits,
    Login,
    MessageInfo,
    POP3ServerConfig,
    POP3ServerConnection,
    ServerState,
    StartTLS,
    TLSInfo,
)
from tests.pop3.harness import TLS, Application, Refused, events, every_server_cut, play_server, talk

TIMESTAMP = "<1896.697170952@dbc.mtview.ca.us>"
APOP = b"APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\n"
FULL = POP3ServerConfig(
    starttls=True, auth_mechanisms=("SCRAM-SHA-256", "PLAIN"), extra_capabilities=("EXPIRE NEVER",)
)
IN_CLEAR = POP3ServerConfig(allow_plaintext_auth=True, auth_mechanisms=("PLAIN",))
NEEDS_TLS = b"-ERR Must establish TLS first\r\n"


def greeted(config: POP3ServerConfig = IN_CLEAR, timestamp: str | None = None) -> POP3ServerConnection:
    conn = POP3ServerConnection(config, timestamp)
    assert conn.next_event() == Connected()
    conn.accept()
    conn.data_to_send()
    return conn


def capabilities(conn: POP3ServerConnection) -> list[str]:
    assert talk(conn, b"CAPA\r\n") is None
    first, *lines, dot, end = conn.data_to_send().decode("ascii").split("\r\n")
    assert (first, dot, end) == ("+OK Capability list follows", ".", "")
    return lines


# TLS.


def test_capabilities_before_and_after_tls_and_login() -> None:
    conn = greeted(FULL)
    always = ["TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE"]
    assert capabilities(conn) == [*always, "STLS", "UTF8 USER", "EXPIRE NEVER"]
    assert talk(conn, b"STLS\r\n") == StartTLS()
    conn.accept()
    assert conn.data_to_send() == b"+OK Begin TLS negotiation\r\n"
    conn.tls_established(TLS)
    with_login = [*always, "USER", "SASL SCRAM-SHA-256 PLAIN", "UTF8 USER", "EXPIRE NEVER"]
    assert capabilities(conn) == with_login
    assert isinstance(talk(conn, b"USER a\r\nPASS b\r\n"), Login)
    conn.accept(maildrop=[])
    conn.data_to_send()
    assert capabilities(conn) == with_login


def test_capabilities_in_clear_where_that_is_allowed() -> None:
    conn = greeted(POP3ServerConfig(allow_plaintext_auth=True, starttls=True))
    assert {"USER", "STLS"} <= set(capabilities(conn))
    talk(conn, b"USER a\r\nPASS b\r\n")
    conn.accept(maildrop=[])
    conn.data_to_send()
    assert "USER" in capabilities(conn)
    assert "STLS" not in capabilities(conn), "it is not permitted any more (RFC 2595 section 4)"


@pytest.mark.parametrize("line", [b"USER ada", b"AUTH PLAIN", b"AUTH PLAIN AGEAYg==", b"AUTH", APOP[:-2]])
def test_no_login_in_clear(line: bytes) -> None:
    """SECURITY S14."""
    conn = greeted(FULL, TIMESTAMP)
    assert isinstance(talk(conn, line + b"\r\n"), CommandRejected)
    assert conn.data_to_send() == NEEDS_TLS
    conn.tls = TLSInfo()
    assert not isinstance(talk(conn, line + b"\r\n"), CommandRejected)


@pytest.mark.parametrize("behind", [b"NOOP\r\n", b"X", b"\r\n", b"USER a\r\nPASS b\r\n", b"\x16\x03\x01"])
def test_what_comes_behind_stls_in_clear_ends_everything(behind: bytes) -> None:
    """SECURITY S6, with every cut: nothing of it is carried out, and TLS never begins."""
    for position in range(len(behind) + 1):
        conn = greeted(FULL)
        assert talk(conn, b"STLS\r\n" + behind[:position]) == StartTLS()
        conn.accept()
        if position == 0:
            assert conn.data_to_send() == b"+OK Begin TLS negotiation\r\n"
        if position < len(behind):
            conn.receive_data(behind[position:])
        end = events(conn)[-1]
        assert isinstance(end, ConnectionClosed)
        assert (end.clean, "the peer sent data" in end.reason) == (False, True)
        assert conn.closing
        assert conn.data_to_send() == b""
        conn.tls_established(TLS)
        assert conn.tls is None


def test_stls_refused_leaves_everything_as_it_was() -> None:
    conn = greeted(FULL)
    assert talk(conn, b"STLS\r\nCAPA\r\n") == StartTLS()
    conn.reject()
    assert events(conn) == []
    assert conn.data_to_send().startswith(b"-ERR [SYS/TEMP] TLS not available at present\r\n+OK Capa")


def test_stls_where_there_is_none_or_no_more() -> None:
    conn = greeted(IN_CLEAR)
    talk(conn, b"STLS\r\nSTLS x\r\n")
    assert conn.data_to_send() == b"-ERR Command not recognised\r\n"
    events(conn)
    talk(conn, b"USER a\r\nPASS b\r\n")
    conn.accept(maildrop=[])
    conn.data_to_send()
    talk(conn, b"STLS\r\n")
    assert conn.data_to_send() == b"-ERR Command not permitted in this state\r\n"


def test_the_name_is_forgotten_with_tls() -> None:
    conn = greeted(POP3ServerConfig(starttls=True, allow_plaintext_auth=True))
    talk(conn, b"USER ada\r\nSTLS\r\n")
    conn.accept()
    conn.tls_established(TLS)
    assert isinstance(talk(conn, b"PASS x\r\n"), CommandRejected)


def test_implicit_tls_comes_before_everything() -> None:
    conn = POP3ServerConnection(FULL)
    conn.tls_established(TLS)
    conn.next_event()
    conn.accept()
    conn.data_to_send()
    assert conn.state is ServerState.AUTHORIZATION
    assert "STLS" not in capabilities(conn)
    with pytest.raises(LocalProtocolError):
        conn.tls_established(TLS)


def test_shutting_down_waits_for_the_handshake() -> None:
    conn = greeted(FULL)
    talk(conn, b"STLS\r\n")
    conn.accept()
    conn.shut_down()
    assert not conn.closing
    conn.tls_established(TLS)
    assert conn.closing


def test_shutting_down_ends_an_exchange_at_its_next_challenge() -> None:
    conn = greeted()
    talk(conn, b"AUTH PLAIN\r\n")
    conn.shut_down()
    assert not conn.closing
    conn.challenge(b"")
    assert conn.closing


# Passwords.


def test_the_same_words_for_all_who_fail() -> None:
    """SECURITY S48: USER tells nothing, and neither does PASS."""
    outputs = set()
    for name in (b"known", b"unknown"):
        conn = greeted()
        talk(conn, b"USER " + name + b"\r\nPASS wrong\r\n")
        conn.reject()
        outputs.add(conn.data_to_send())
    assert outputs == {b"+OK Send the password\r\n-ERR [AUTH] Authentication failed\r\n"}


def test_failed_logins_are_counted_whatever_the_way() -> None:
    conn = greeted(IN_CLEAR, TIMESTAMP)
    for data, reject in (
        (b"USER a\r\nPASS b\r\n", {}),
        (APOP, {"text": "no"}),
        (b"AUTH PLAIN AGEAYg==\r\n", {"code": 535, "text": "no", "enhanced": "5.7.8"}),
    ):
        assert not conn.closing
        talk(conn, data)
        conn.reject(**reject)
    assert conn.auth_failures == 3
    assert conn.data_to_send().endswith(b"-ERR [AUTH] no\r\n")
    assert talk(conn, b"USER a\r\n") == ConnectionClosed(False, "too many failed logins")


@pytest.mark.parametrize("code", ["IN-USE", "SYS/TEMP", "SYS/PERM", "LOGIN-DELAY"])
def test_what_is_not_about_the_credentials_is_not_counted(code: str) -> None:
    conn = greeted()
    for _ in range(5):
        talk(conn, b"USER a\r\nPASS b\r\n")
        conn.reject(text="later", enhanced=code)
    assert conn.auth_failures == 0
    assert not conn.closing


def test_without_user_there_is_no_user() -> None:
    conn = greeted(POP3ServerConfig(user=False, allow_plaintext_auth=True))
    assert "USER" not in capabilities(conn)
    assert isinstance(talk(conn, b"USER a\r\n"), CommandRejected)
    assert conn.data_to_send() == b"-ERR Command not recognised\r\n"


# APOP.


def test_apop_only_with_a_timestamp() -> None:
    conn = greeted()
    assert isinstance(talk(conn, APOP), CommandRejected)
    conn = POP3ServerConnection(IN_CLEAR, TIMESTAMP)
    conn.next_event()
    conn.accept("hello")
    assert conn.data_to_send() == f"+OK hello {TIMESTAMP}\r\n".encode("ascii")
    assert talk(conn, APOP) == Apop("mrose", TIMESTAMP, "c4c9334bac560ecc979e58001b3e22fb")


@pytest.mark.parametrize("digest", [b"", b"c4c9", b"C4C9334BAC560ECC979E58001B3E22FB", b"g" * 32, b"0" * 33])
def test_a_digest_is_32_lower_case_digits(digest: bytes) -> None:
    conn = greeted(IN_CLEAR, TIMESTAMP)
    assert isinstance(talk(conn, b"APOP mrose " + digest + b"\r\n"), CommandRejected)


# AUTH (RFC 5034).


def test_bare_auth_lists_the_mechanisms() -> None:
    conn = greeted(POP3ServerConfig(allow_plaintext_auth=True, auth_mechanisms=("PLAIN", "LOGIN")))
    talk(conn, b"AUTH\r\n")
    assert conn.data_to_send() == b"+OK Mechanisms follow\r\nPLAIN\r\nLOGIN\r\n.\r\n"
    conn = greeted(POP3ServerConfig(allow_plaintext_auth=True))
    talk(conn, b"AUTH\r\n")
    assert conn.data_to_send() == b"-ERR Command not recognised\r\n"


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b"AUTH PLAIN", Auth("PLAIN")),
        (b"auth plain", Auth("PLAIN")),
        (b"AUTH PLAIN =", Auth("PLAIN", b"")),
        (b"AUTH PLAIN AGEAYg==", Auth("PLAIN", b"\0a\0b")),
    ],
)
def test_initial_responses(line: bytes, event: Auth) -> None:
    assert talk(greeted(), line + b"\r\n") == event


NO_BASE64 = [
    b"A",
    b"AA",
    b"AAA",
    b"=AAA",
    b"AAA=BBB=",
    b"AAAA====",
    b"dXN!lcg==",
    b"AGEAYh==",
    b" AGEAYg==",
    b"==",
    b"\xff",
]


@pytest.mark.parametrize("text", NO_BASE64)
def test_base64_is_strict(text: bytes) -> None:
    conn = greeted()
    assert isinstance(talk(conn, b"AUTH PLAIN " + text + b"\r\n"), CommandRejected)
    talk(conn, b"AUTH PLAIN\r\n")
    conn.challenge(b"")
    conn.data_to_send()
    assert isinstance(talk(conn, text + b"\r\n"), CommandRejected)
    assert conn.data_to_send() == b"-ERR Cannot decode the response\r\n"
    assert talk(conn, b"AUTH PLAIN AGEAYg==\r\n") == Auth("PLAIN", b"\0a\0b")


def test_an_empty_initial_response_is_said_with_an_equals_sign() -> None:
    conn = greeted()
    talk(conn, b"AUTH PLAIN \r\n")
    assert conn.data_to_send() == b"-ERR Cannot decode the response\r\n"


def test_an_exchange_can_be_cancelled() -> None:
    played = every_server_cut(
        lambda: POP3ServerConnection(IN_CLEAR),
        [b"AUTH PLAIN\r\n*\r\nAUTH PLAIN\r\n\r\n"],
        Application(words={Auth: [b"", b"more"], AuthResponse: [Refused()]}),
    )
    assert played.output.split(b"\r\n")[1:-1] == [
        b"+ ",
        b"-ERR Authentication cancelled",
        b"+ bW9yZQ==",
        b"-ERR [AUTH] Authentication failed",
    ]
    assert played.events[3:5] == [Auth("PLAIN"), AuthResponse(b"")]


def test_an_exchange_that_was_not_refused_is_no_failed_login() -> None:
    conn = greeted()
    for response in (b"*\r\n", b"no base64\r\n", b"*\r\n"):
        talk(conn, b"AUTH PLAIN\r\n")
        conn.challenge(b"")
        talk(conn, response)
    assert (conn.auth_failures, conn.closing) == (0, False)


@pytest.mark.parametrize("mechanism", [b"LOGIN", b"X", b"*", b"PLAIN2"])
def test_only_what_is_offered(mechanism: bytes) -> None:
    conn = greeted()
    talk(conn, b"AUTH " + mechanism + b"\r\n")
    assert conn.data_to_send() == b"-ERR Authentication mechanism not offered\r\n"


def test_a_long_response_is_read_and_a_longer_one_skipped_to_its_end() -> None:
    limits = Limits(max_line=64, max_sasl_line=128)
    config = POP3ServerConfig(allow_plaintext_auth=True, auth_mechanisms=("PLAIN",), limits=limits)
    for size, expected in ((124, AuthResponse), (128, CommandRejected)):
        played = every_server_cut(
            lambda: POP3ServerConnection(config),
            [b"AUTH PLAIN\r\n" + b"A" * size + b"\r\nQUIT\r\n"],
            Application(words={Auth: [b""], AuthResponse: [Refused()]}),
        )
        assert [type(event) for event in played.events] == [Connected, Auth, expected, ConnectionClosed]
        assert played.output.endswith(b"+OK Good-bye\r\n")


def test_the_end_of_input_in_an_exchange_is_unclean() -> None:
    played = play_server(
        lambda: POP3ServerConnection(IN_CLEAR), [[b"AUTH PLAIN\r\n"]], Application(words={Auth: [b""]})
    )
    assert played.events[-1] == ConnectionClosed(False, "the peer closed the connection")


def test_after_login_there_is_no_login() -> None:
    conn = greeted(IN_CLEAR, TIMESTAMP)
    talk(conn, b"AUTH PLAIN AGEAYg==\r\n")
    conn.accept(maildrop=[MessageInfo(1, "x")])
    conn.data_to_send()
    for line in (b"AUTH PLAIN\r\n", b"USER a\r\n", APOP, b"STLS\r\n"):
        assert isinstance(talk(conn, line), CommandRejected)
        assert conn.data_to_send() == b"-ERR Command not permitted in this state\r\n"


# Guests from other protocols (SECURITY S68).


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\nQUIT\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.0\r\n",
        b"TRACE / HTTP/1.1\r\n",
        b"PATCH / HTTP/1.1\r\n",
        b"get / http/1.1\r\n",
        b"Host: x\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x16\x03\x01\r\nQUIT\r\n",
    ],
)
def test_who_begins_in_another_protocol_is_hung_up_on(data: bytes) -> None:
    played = every_server_cut(lambda: POP3ServerConnection(IN_CLEAR), [data], Application())
    assert played.events == [Connected(), ConnectionClosed(False, "the peer speaks another protocol")]
    assert played.output == b"+OK POP3 server ready\r\n"


def test_however_long_a_line_it_begins_with() -> None:
    request = b"POST /" + b"x" * 5000 + b" HTTP/1.1\r\nCAPA\r\n"
    for pieces in ([request], [request[i : i + 1] for i in range(len(request))]):
        played = play_server(lambda: POP3ServerConnection(IN_CLEAR), [pieces], Application())
        assert played.events == [Connected(), ConnectionClosed(False, "the peer speaks another protocol")]


def test_later_it_is_only_an_unknown_command() -> None:
    conn = greeted()
    assert isinstance(talk(conn, b"CAPA\r\nGET / HTTP/1.1\r\n"), CommandRejected)
    assert not conn.closing
