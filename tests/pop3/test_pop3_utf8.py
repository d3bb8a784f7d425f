"""UTF8 (RFC 6856 section 2) on both sides: the mode, user names and passwords, and what is not said without it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from mailproto._core.policy import TLSPolicy
from mailproto.errors import AuthenticationError, GrammarError, LocalProtocolError
from mailproto.pop3 import (
    Apop,
    ApopCheck,
    Capabilities,
    CommandRejected,
    Connected,
    ConnectionClosed,
    Login,
    POP3ClientConnection,
    POP3ServerConfig,
    POP3ServerConnection,
    ResponseCode,
    ResponseError,
    UTF8RequiredError,
    apop_digest,
)
from mailproto.pop3.flows import POP3Session, SessionOptions, begin_retrieve, listing, next_chunk, open_session
from mailproto.sasl import Credentials
from tests.pop3.harness import TLS, Application, Runner, every_client_cut, every_server_cut, run_pair, talk
from tests.pop3.test_pop3_flows_server import App, Drop, runner
from tests.pop3.test_pop3_server_login import greeted

TIMESTAMP = "<1@example.org>"
IN_CLEAR = POP3ServerConfig(allow_plaintext_auth=True)
BAD = b"-ERR Syntax error in the arguments\r\n"
MAIL = "Subject: Grüße\r\n\r\nß\r\n".encode()


def server(config: POP3ServerConfig = IN_CLEAR) -> POP3ServerConnection:
    return POP3ServerConnection(config, TIMESTAMP)


def client(*capabilities: str) -> POP3ClientConnection:
    conn = POP3ClientConnection()
    conn.receive_data(b"+OK hello " + TIMESTAMP.encode() + b"\r\n")
    conn.next_event()
    conn.capabilities = Capabilities({line.split(" ")[0]: tuple(line.split(" ")[1:]) for line in capabilities})
    return conn


# The server.


def test_server_plays_a_session_in_utf8_at_every_cut() -> None:
    said = "UTF8\r\nUSER jürgen\r\nPASS grün ist  gut\r\nRETR 1\r\nQUIT\r\n".encode()
    application = Application((MAIL,), words={Login: ["Grüß Gott, jürgen"]})
    played = every_server_cut(server, [said], application)
    assert played.events[1] == Login("jürgen", "grün ist  gut")
    assert played.output.decode().split("\r\n")[1:] == [
        "+OK UTF8 enabled",
        "+OK Send the password",
        "+OK Grüß Gott, jürgen",
        f"+OK {len(MAIL)} octets",
        "Subject: Grüße",
        "",
        "ß",
        ".",
        "+OK Good-bye",
        "",
    ]


def test_server_says_nothing_but_ascii_without_utf8() -> None:
    application = Application((MAIL,), words={Login: ["Grüß Gott"]})
    played = every_server_cut(server, ["USER ü\r\nPASS x\r\n".encode()], application)
    assert b"+OK Gr?? Gott\r\n" in played.output
    assert Login("ü", "x") in played.events, "the client may say it before UTF8, and without it"


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("ju\u0308rgen", "jürgen"),
        ("I\u00adX", "IX"),
        ("\u2168", "IX"),
        ("\u00aa", "a"),
        ("USER", "USER"),
        ("~", "~"),
    ],
)
def test_server_prepares_names_and_passwords(said: str, heard: str) -> None:
    """The examples of RFC 4013 section 3 among them."""
    conn = greeted(IN_CLEAR)
    assert talk(conn, f"USER {said}\r\nPASS {said} {said}\r\n".encode()) == Login(heard, f"{heard} {heard}")
    conn = greeted(IN_CLEAR, TIMESTAMP)
    digest = apop_digest(TIMESTAMP, "x")
    assert talk(conn, f"APOP {said} {digest}\r\n".encode()) == Apop(heard, TIMESTAMP, digest)


@pytest.mark.parametrize(
    "octets",
    [
        *(b"\xff", b"a\xc3", b"\xc3\x28", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"\xc2\x85"),
        *(text.encode() for text in ("\u2028", "\u0627\u0031", "\ue000", "\xad", "a\u3000b")),
    ],
)
def test_server_refuses_names_that_are_no_utf8_or_no_names(octets: bytes) -> None:
    """RFC 6856 section 2.2, RFC 3629 section 4, RFC 4013 section 2.3; the last would be two words."""
    for line in (b"USER " + octets, b"APOP %s %s" % (octets, b"0" * 32)):
        conn = greeted(IN_CLEAR, TIMESTAMP)
        assert isinstance(talk(conn, line + b"\r\n"), CommandRejected)
        assert conn.data_to_send() == BAD


def test_server_refuses_passwords_likewise_but_takes_their_spaces() -> None:
    conn = greeted(IN_CLEAR)
    assert isinstance(talk(conn, b"USER a\r\nPASS \xff\r\n"), CommandRejected)
    assert conn.data_to_send().endswith(BAD)
    assert talk(conn, "USER a\r\nPASS ä\u3000b \r\n".encode()) == Login("a", "ä b ")


@pytest.mark.parametrize("line", ["USER ü", "PASS ü", "USER a\0ü", "USER a\tü", "STAT ü", "AUTH ü", "UTF8 ü", "ü"])
def test_utf8_is_nowhere_else_and_nowhere_if_switched_off(line: str) -> None:
    config = POP3ServerConfig(allow_plaintext_auth=True, utf8_user=line[5:] != "ü")
    conn = greeted(config)
    talk(conn, b"USER a\r\n")
    conn.data_to_send()
    event = talk(conn, f"{line}\r\n".encode())
    assert isinstance(event, CommandRejected)
    assert conn.data_to_send() == b"-ERR Only printable ASCII in a command\r\n"


def test_the_capability_says_whether_names_may_be_in_utf8() -> None:
    for config, line in (
        (POP3ServerConfig(), b"\r\nUTF8 USER\r\n"),
        (POP3ServerConfig(utf8_user=False), b"\r\nUTF8\r\n"),
        (POP3ServerConfig(utf8=False), None),
    ):
        conn = greeted(config)
        talk(conn, b"CAPA\r\n")
        output = conn.data_to_send()
        assert line in output if line is not None else b"UTF8" not in output


def test_utf8_may_be_switched_off_and_has_no_argument() -> None:
    conn = greeted(POP3ServerConfig(utf8=False))
    assert isinstance(talk(conn, b"UTF8\r\n"), CommandRejected)
    assert conn.data_to_send() == b"-ERR Command not recognised\r\n"
    conn = greeted()
    assert isinstance(talk(conn, b"UTF8 USER\r\n"), CommandRejected)
    assert not conn.utf8
    talk(conn, b"UTF8\r\nUTF8\r\n")
    assert conn.utf8


def test_no_stls_behind_utf8_on_either_side() -> None:
    """RFC 6856 section 2.1."""
    conn = greeted(POP3ServerConfig(starttls=True))
    talk(conn, b"UTF8\r\nCAPA\r\n")
    assert b"STLS" not in conn.data_to_send()
    assert isinstance(talk(conn, b"STLS\r\n"), CommandRejected)
    assert conn.data_to_send() == b"-ERR Command not permitted after UTF8\r\n"
    ours = client("UTF8", "STLS")
    ours.utf8()
    with pytest.raises(LocalProtocolError, match="before UTF8"):
        ours.stls()


# APOP.


def test_apop_prepares_the_secret_as_a_stored_string() -> None:
    """RFC 6856 section 2.2."""
    assert apop_digest(TIMESTAMP, "gru\u0308n") == apop_digest(TIMESTAMP, "grün")
    assert apop_digest(TIMESTAMP, "grün") == apop_digest(TIMESTAMP, unicodedata.normalize("NFD", "grün"))
    for secret in ("\u0627\u0031", "ü\r\n", "\U0001f600", "\ud800"):
        with pytest.raises(GrammarError):
            apop_digest(TIMESTAMP, secret)
        check = ApopCheck("ada", TIMESTAMP, "0" * 32)
        assert not check.matches(secret)
    assert ApopCheck("ada", TIMESTAMP, apop_digest(TIMESTAMP, "grün")).matches("gru\u0308n")


# The client.


def test_client_plays_its_part_at_every_cut() -> None:
    turns = [
        (None, b"+OK hello\r\n"),
        (b"CAPA", b"+OK\r\nUTF8 USER\r\n.\r\n"),
        (b"UTF8", b"+OK\r\n"),
        ("USER jürgen".encode(), "+OK jürgen ist da\r\n".encode()),
        ("PASS grün".encode(), b"-ERR [UTF8] no\r\n"),
    ]
    played = every_client_cut(POP3ClientConnection, turns)
    assert played.error is None
    assert played.output.decode() == "CAPA\r\nUTF8\r\nUSER jürgen\r\nPASS grün\r\n"
    assert "text='jürgen ist da'" in played.events[4]


def test_client_says_utf8_only_where_the_server_takes_it() -> None:
    for offered in ((), ("UTF8",), ("UTF8 user2",)):
        conn = client(*offered)
        with pytest.raises(GrammarError):
            conn.user("ü")
        with pytest.raises(GrammarError):
            conn.apop("ü", "x")
        conn.user("a")
        with pytest.raises(GrammarError):
            conn.pass_("ü")
    conn = client("UTF8 user", "PIPELINING")
    conn.user("u\u0308\u00aa")
    conn.pass_("gru\u0308n \u3000")
    assert conn.data_to_send().decode() == "USER üa\r\nPASS grün  \r\n"
    conn = client("UTF8 USER")
    conn.apop("u\u0308", "grün")
    assert conn.data_to_send().decode() == f"APOP ü {apop_digest(TIMESTAMP, 'grün')}\r\n"


@pytest.mark.parametrize("name", ["", "a b", "a\u3000b", "\u0627\u0031", "ü\r\nQUIT", "ü\0", "\ud800", "ü" * 130])
def test_client_refuses_names_that_cannot_be(name: str) -> None:
    conn = client("UTF8 USER")
    with pytest.raises(GrammarError):
        conn.user(name)
    assert conn.data_to_send() == b""


def test_client_knows_the_mode_once_the_server_has_agreed() -> None:
    conn = client("UTF8")
    conn.utf8()
    conn.data_to_send()
    assert not conn.utf8_mode
    conn.receive_data(b"-ERR\r\n")
    conn.next_event()
    assert not conn.utf8_mode
    conn.utf8()
    conn.data_to_send()
    conn.receive_data(b"+OK\r\n")
    conn.next_event()
    assert conn.utf8_mode


# Flows.


class Worldly(App):
    """Has mail in UTF-8, for whom it may be shown to."""

    def on_login(self, session: POP3Session) -> Any:
        self.drop = Drop((MAIL,)) if session.conn.utf8 else NotForYou((MAIL,))
        return self.drop


class NotForYou(Drop):
    def retrieve(self, number: int) -> Iterator[bytes]:
        raise UTF8RequiredError


def fetch_first(conn: POP3ClientConnection, options: SessionOptions) -> Any:
    yield from open_session(conn, options)
    yield from listing(conn)
    yield from begin_retrieve(conn, 1)
    return (yield from next_chunk(conn))


def session(
    config: POP3ServerConfig, *, utf8: bool, user: str = "ada", mechanisms: Sequence[str] | None = ()
) -> Runner:
    options = SessionOptions(
        tls=TLSPolicy.REQUIRED, credentials=Credentials(user, "secret"), mechanisms=mechanisms, utf8=utf8
    )
    conn = POP3ClientConnection()
    ours = Runner(conn, fetch_first(conn, options))
    ours.output = run_pair(ours, runner(Worldly(), config, implicit_tls=False), lambda data: [data[:3], data[3:]])[0]
    return ours


def test_client_asks_for_utf8_mode_and_gets_what_needs_it() -> None:
    ours = session(POP3ServerConfig(starttls=True), utf8=True, user="jürgen")
    assert (ours.result, ours.error) == (MAIL, None)
    assert ours.conn.utf8_mode


def test_client_without_it_is_told_why() -> None:
    for config, utf8 in (
        (POP3ServerConfig(starttls=True), False),
        (POP3ServerConfig(starttls=True, utf8=False), True),
    ):
        ours = session(config, utf8=utf8)
        assert isinstance(ours.error, ResponseError)
        assert ours.error.response.code == ResponseCode.UTF8
        assert not ours.error.temporary
        assert b"UTF8" not in ours.output


IN_PIECES = [1, 2, 3, 5, 1000]
HEADER = "Received: by us\r\nSubject: Grüße\r\n".encode()
ASCII_ENOUGH = {
    "UTF-8 in the body": "Subject: x\r\n\r\nGrüße\r\n".encode(),
    "no header": "\r\nGrüße\r\n".encode(),
    "Latin-1": "Subject: Grüße\r\n\r\n".encode("latin-1"),
    "empty": b"",
    "a long header before it": b"A: %b\r\n" % (b"x" * 300_000) + HEADER + b"\r\n",
}
BEYOND_ASCII = {
    "the header": HEADER + b"\r\nText\r\n",
    "LF": HEADER.replace(b"\r", b"") + b"\nText\n",
    "nothing but a header": HEADER,
    "beside Latin-1": "X: ß\r\n".encode("latin-1") + HEADER + b"\r\n",
    "no line end": "Subject: ß".encode(),
}


class Pieces(Drop):
    """Messages in pieces of so many octets."""

    def __init__(self, contents: Sequence[bytes], step: int) -> None:
        super().__init__(contents)
        self.step = step

    def retrieve(self, number: int) -> Iterator[bytes]:
        content = self.contents[number - 1]
        try:
            for start in range(0, len(content), self.step):
                yield content[start : start + self.step]
        finally:
            self.diary.append(number)


def ask_for_all(contents: Sequence[bytes], step: int, *, say: bytes = b"", utf8: bool = True) -> tuple[bytes, Pieces]:
    """Return what a server says to RETR and TOP of each message, and the maildrop."""
    drop = Pieces(contents, step)
    server = runner(App(drop), POP3ServerConfig(starttls=True, utf8=utf8))
    asked = b"".join(b"RETR %d\r\nTOP %d 0\r\n" % (number, number) for number in range(1, len(contents) + 1))
    server.conn.receive_data(say + b"USER ada\r\nPASS secret\r\n" + asked)
    server.run()
    assert server.error is None and not server.conn.closing
    return server.take().partition(b"locked and ready\r\n")[2], drop


@pytest.mark.parametrize("step", IN_PIECES)
def test_server_refuses_what_the_client_could_not_read(step: int) -> None:
    """RFC 6856 section 2.1: without UTF-8 mode such a message must not be sent as it is."""
    said, drop = ask_for_all([*BEYOND_ASCII.values()], step)
    refusal = b"-ERR [UTF8] the message is in UTF-8, say UTF8 before login\r\n"
    assert said == refusal * 2 * len(BEYOND_ASCII)
    opened = [entry for entry in drop.diary if entry != "close"]
    assert opened == sorted([*range(1, len(BEYOND_ASCII) + 1)] * 2), "each was opened, and closed again"


@pytest.mark.parametrize("step", IN_PIECES)
def test_server_sends_what_was_always_sent(step: int) -> None:
    for name, content in ASCII_ENOUGH.items():
        if len(content) > 1000 and step < 1000:
            continue
        said, _ = ask_for_all([content], step)
        assert said.startswith(b"+OK") and said.count(b"+OK") == 2, name
        assert content.partition(b"\r\n\r\n")[0] in said


@pytest.mark.parametrize(("say", "utf8"), [(b"UTF8\r\n", True), (b"", False)], ids=["UTF-8 mode", "no RFC 6856"])
def test_server_sends_everything_as_it_is(say: bytes, utf8: bool) -> None:
    said, _ = ask_for_all([HEADER + b"\r\nText\r\n"], 7, say=say, utf8=utf8)
    assert said.count(HEADER) == 2


def test_a_name_beyond_ascii_is_not_sent_where_it_is_not_taken() -> None:
    ours = session(POP3ServerConfig(starttls=True, utf8_user=False), utf8=False, user="jürgen")
    assert isinstance(ours.error, GrammarError | AuthenticationError)
    ours = session(
        POP3ServerConfig(starttls=True, utf8_user=False, auth_mechanisms=("PLAIN",)),
        utf8=True,
        user="jürgen",
        mechanisms=None,
    )
    assert ours.error is None, "SASL has its own rules"


def test_a_password_beyond_ascii_is_sent_where_it_is_taken() -> None:
    options = SessionOptions(tls=TLSPolicy.IMPLICIT, credentials=Credentials("ada", "grün"), mechanisms=())
    for taken, expected in ((True, AuthenticationError), (False, GrammarError)):
        app = Worldly()
        conn = POP3ClientConnection()
        ours = Runner(conn, open_session(conn, options))
        run_pair(ours, runner(app, POP3ServerConfig(utf8_user=taken)))
        assert isinstance(ours.error, expected)
        assert [check.password for check in app.asked] == ["grün"] * taken


def test_both_forget_the_mode_with_the_handshake() -> None:
    conn = POP3ServerConnection(POP3ServerConfig(starttls=True))
    assert conn.next_event() == Connected()
    conn.accept()
    conn.utf8 = True
    conn._gate = True
    conn.tls_established(TLS)
    assert not conn.utf8
    conn.receive_eof()
    assert isinstance(conn.next_event(), ConnectionClosed)
