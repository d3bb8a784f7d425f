"""AUTH on the server's side (RFC 4954): the lines, the states, and the questions to the application."""

from __future__ import annotations

from typing import Any

import pytest

from mailproto.errors import LocalProtocolError, Reject
from mailproto.sasl import Identity, PasswordCheck
from mailproto.smtp import Auth, AuthResponse, CommandRejected, ConnectionClosed, Limits, Reply, ServerState
from mailproto.smtp.flows.server import SMTPSession, serve
from mailproto.smtp.server import SMTPServerConnection
from tests.helpers import every_cut, talk
from tests.smtp import EHLO, MAIL, greeted, in_transaction, server
from tests.smtp.pipes import Driver

OPEN: dict[str, Any] = {"auth_mechanisms": ("PLAIN", "LOGIN"), "allow_plaintext_auth": True}
PLAIN = b"AUTH PLAIN AGFkYQBwdw==\r\n"


def challenge_once(conn: Any, event: object) -> None:
    conn.challenge(b"?") if isinstance(event, Auth) else conn.accept()


NOT_BASE64 = [
    b"=AAA",
    b"AAA=BBB",
    b"AAAA====",
    b"dXN!lcg==",
    b"dXNlch==",
    b"dXNlcg",
    b"dXNlcg== ",
    b" dXNlcg==",
    b"\t",
    b"==",
    b"\xff",
]


@pytest.mark.parametrize("text", NOT_BASE64)
def test_what_is_no_base64(text: bytes) -> None:
    """S35: 501, and the next try starts anew."""
    for wire in (b"AUTH PLAIN " + text, b"AUTH PLAIN\r\n" + text):
        if text == b"dXNlcg== " and b"\r\n" not in wire:
            continue  # white space at the end of a command is tolerated
        conn = greeted(**OPEN)
        result = talk(conn, [wire + b"\r\n"], challenge_once)
        assert result.replies[-1][:2] == b"50"
        assert [type(event) for event in result.events[-1:]] == [CommandRejected]
        assert conn.state is ServerState.READY
        assert not conn.authenticated
        assert talk(conn, [PLAIN]).replies == [b"235"]


def test_no_response_and_an_empty_one() -> None:
    for argument, expected in ((b"", None), (b" =", b""), (b" ", None)):
        (event,) = talk(greeted(**OPEN), [b"AUTH PLAIN" + argument + b"\r\n"]).events
        assert event == Auth("PLAIN", expected)
    *_, response = talk(greeted(**OPEN), [b"AUTH PLAIN\r\n\r\n"], challenge_once).events
    assert response == AuthResponse(b"")


def test_an_equals_sign_is_no_response() -> None:
    """It says `empty` only with the command."""
    assert talk(greeted(**OPEN), [b"AUTH PLAIN\r\n=\r\n"], challenge_once).replies[-1] == b"501"


def test_a_response_of_any_length_up_to_the_limit() -> None:
    """RFC 4954 section 4: 12288 octets with the CRLF; the tail of more is no command (S5)."""
    fits = b"A" * 12284
    for pieces in ([fits + b"\r\n"], [fits, b"\r", b"\n"]):
        result = talk(greeted(**OPEN), [b"AUTH PLAIN\r\n", *pieces], challenge_once)
        assert len(result.of(AuthResponse)) == 1
    for wire in (b"A" * 20_000 + b"\r\nNOOP\r\n", b"A" * 12_288 + b"\nMAIL FROM:<a@b>\r\nNOOP\r\n"):
        for pieces in (
            [wire],
            [wire[:12_287], wire[12_287:]],
            [wire[i : i + 1000] for i in range(0, len(wire), 1000)],
        ):
            conn = greeted(**OPEN)
            result = talk(conn, [b"AUTH PLAIN\r\n", *pieces], challenge_once)
            assert result.output.endswith(b"500 5.5.6 Authentication exchange line is too long\r\n250 2.0.0 OK\r\n")
            assert not result.of(AuthResponse)
            assert conn.state is ServerState.READY


@pytest.mark.parametrize(
    "line", [b"RSET", b"QUIT", b"MAIL FROM:<a@b>", b"NOOP", b"EHLO x", b"*", b"STARTTLS", b"AUTH PLAIN"]
)
def test_a_line_of_an_exchange_is_a_response_whatever_it_looks_like(line: bytes) -> None:
    """S36."""
    for pieces in every_cut(line + b"\r\n"):
        conn = greeted(**OPEN)
        talk(conn, [b"AUTH PLAIN\r\n"], challenge_once)
        result = talk(conn, pieces)
        assert len(result.events) == 1
        assert type(result.events[0]) in (AuthResponse, CommandRejected)
        assert conn.envelope is None
        assert not conn.closing


def test_the_exchange_can_be_cancelled() -> None:
    conn = greeted(**OPEN)
    result = talk(conn, [b"AUTH LOGIN\r\n*\r\nNOOP\r\n"], challenge_once)
    assert result.output.endswith(b"501 5.7.0 Authentication cancelled\r\n250 2.0.0 OK\r\n")
    assert talk(conn, [PLAIN]).replies == [b"235"]


@pytest.mark.parametrize("place", range(len(b"AUTH LOGIN\r\nYWRh\r\ncHc=\r\n")))
def test_the_client_leaves_at_any_octet(place: int) -> None:
    wire = b"AUTH LOGIN\r\nYWRh\r\ncHc=\r\n"[:place]

    def policy(conn: Any, event: Any) -> None:
        conn.challenge(b"?") if isinstance(event, Auth) or event.data == b"ada" else conn.accept()

    conn = greeted(**OPEN)
    result = talk(conn, [wire] if wire else [], policy, eof=True)
    assert not conn.authenticated
    (closed,) = result.of(ConnectionClosed)
    assert closed.clean is (place == 0)


def test_auth_has_its_time() -> None:
    assert talk(server(**OPEN), [PLAIN]).replies == [b"220", b"503"], "EHLO first"
    assert talk(in_transaction(**OPEN), [PLAIN]).replies == [b"503"]
    conn = greeted(**OPEN)
    assert talk(conn, [PLAIN, PLAIN]).replies == [b"235", b"503"]
    assert talk(greeted(), [PLAIN]).replies == [b"502"]
    conn = greeted(**OPEN)
    assert talk(conn, [b"HELO x\r\n", PLAIN]).replies == [b"250", b"502"], "HELO has no AUTH"
    assert talk(greeted(**OPEN), [b"AUTH CRAM-MD5\r\n"]).replies == [b"504"]


def test_only_a_success_is_one() -> None:
    for code in (235, 250, 454, 503, 535):
        conn = greeted(**OPEN)
        conn.receive_data(PLAIN)
        conn.next_event()
        conn.reply(Reply(code, "x"))
        assert conn.authenticated is (code < 400)
    conn = greeted(**OPEN)
    conn.receive_data(PLAIN)
    conn.next_event()
    with pytest.raises(LocalProtocolError, match="334 is no answer to Auth"):
        conn.reply(Reply(334, "eA=="))
    assert conn.pending is not None


# The application's side.


class Users:
    """Knows two users."""

    def __init__(self, answer: object = None) -> None:
        self.asked: list[PasswordCheck] = []
        self.authorized: list[tuple[str, str]] = []
        self.identities: list[Identity | None] = []
        self._answer = answer

    def on_auth(self, session: SMTPSession, check: PasswordCheck) -> object:
        self.asked.append(check)
        if isinstance(self._answer, Exception):
            raise self._answer
        return {"ada": "pw", "bob": "secret"}.get(check.username) == check.password

    def on_authorize(self, session: SMTPSession, identity: Identity, authzid: str) -> bool:
        self.authorized.append((identity.name, authzid))
        return authzid == "list"

    def on_mail(self, session: SMTPSession, mail: object) -> None:
        self.identities.append(session.identity)


def log_in(*lines: bytes, users: Users | None = None, **settings: Any) -> tuple[list[bytes], Users, Driver]:
    """Say these lines to a served connection; return the replies behind EHLO, the application, and the driver."""
    users = users or Users()
    conn = server(**OPEN, **settings)
    driver = Driver(conn, serve(SMTPSession(conn), users))
    driver.go()
    driver.go(EHLO)
    output = b"".join(driver.go(line) for line in lines)
    return [line[:3] for line in output.split(b"\r\n") if line[3:4] == b" "], users, driver


def test_a_login() -> None:
    replies, users, _ = log_in(PLAIN, MAIL)
    assert replies == [b"235", b"250"]
    assert users.asked == [PasswordCheck("PLAIN", "ada", "pw")]
    assert users.identities == [Identity("ada", "PLAIN")]


def test_a_login_in_steps() -> None:
    replies, users, _ = log_in(b"AUTH LOGIN\r\nYWRh\r\ncHc=\r\n", MAIL)
    assert replies == [b"334", b"334", b"235", b"250"]
    assert users.identities == [Identity("ada", "LOGIN")]


@pytest.mark.parametrize(
    ("response", "code", "identity"),
    [
        (b"AGFkYQB3cm9uZw==", b"535", None),  # \0ada\0wrong
        (b"AG5vYm9keQBwdw==", b"535", None),  # \0nobody\0pw
        (b"YWRhAGFkYQBwdw==", b"235", "ada"),  # ada\0ada\0pw
        (b"cm9vdABhZGEAcHc=", b"535", None),  # root\0ada\0pw
        (b"bGlzdABhZGEAcHc=", b"235", "ada"),  # list\0ada\0pw
        (b"YWRtaW4AAHB3", b"501", None),  # admin\0\0pw
        (b"AHVzZXIAcHcAeA==", b"501", None),  # \0user\0pw\0x
        (b"AAA=", b"501", None),  # \0\0
        (b"dXNlcgBwdw==", b"501", None),  # user\0pw
        (b"=", b"501", None),
    ],
)
def test_who_it_turns_out_to_be(response: bytes, code: bytes, identity: str | None) -> None:
    """S16."""
    replies, users, driver = log_in(b"AUTH PLAIN " + response + b"\r\n", MAIL)
    assert replies[0] == code
    assert [found and found.name for found in users.identities] == [identity]
    assert isinstance(driver.conn, SMTPServerConnection)
    assert driver.conn.authenticated is (identity is not None)


def test_an_unknown_user_looks_like_a_wrong_password() -> None:
    """S48: octet for octet."""
    outputs = set()
    for response in (b"AGFkYQB3cm9uZw==", b"AG5vYm9keQBwdw=="):
        conn = server(**OPEN)
        driver = Driver(conn, serve(SMTPSession(conn), Users()))
        driver.go()
        driver.go(EHLO)
        outputs.add(driver.go(b"AUTH PLAIN " + response + b"\r\n"))
    assert outputs == {b"535 5.7.8 Authentication credentials invalid\r\n"}


def test_guessing_is_slow_and_ends() -> None:
    """S47: each refusal takes longer, and the fourth is not even considered."""
    wrong = b"AUTH PLAIN AGFkYQB3cm9uZw==\r\n"
    replies, users, driver = log_in(wrong, wrong, wrong, PLAIN)
    assert replies == [b"535", b"535", b"535", b"421"]
    assert len(users.asked) == 3
    assert driver.slept == [2.0, 4.0, 6.0]
    assert driver.done
    _, _, driver = log_in(wrong, limits=Limits(auth_failure_delay=0))
    assert driver.slept == []


def test_malformed_responses_count_as_guesses() -> None:
    replies, _, driver = log_in(*[b"AUTH PLAIN AAA=\r\n"] * 4)
    assert replies == [b"501", b"501", b"501", b"421"]
    assert driver.slept == [2.0, 4.0, 6.0]


def test_no_hook_no_login() -> None:
    conn = server(**OPEN)
    driver = Driver(conn, serve(SMTPSession(conn), object()))
    driver.go()
    driver.go(EHLO)
    assert driver.go(PLAIN)[:3] == b"535"


@pytest.mark.parametrize(
    ("raised", "output"),
    [
        (Reject(454, "the database sleeps", "4.7.0"), b"454 4.7.0 the database sleeps\r\n"),
        (Reject(535, "expired"), b"535 5.7.8 expired\r\n"),
        (RuntimeError("secret: pw"), b"451 4.3.0 Internal error, try again later\r\n"),
        (Reject(235, "lies"), b"451 4.3.0 Internal error, try again later\r\n"),
    ],
)
def test_a_hook_that_raises(raised: Exception, output: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """S50."""
    conn = server(**OPEN)
    driver = Driver(conn, serve(SMTPSession(conn), Users(raised)))
    driver.go()
    driver.go(EHLO)
    assert driver.go(PLAIN) == output
    assert not conn.authenticated
    assert not driver.done
    assert bool(caplog.records) is (output[:3] == b"451")


def test_a_cancelled_exchange_leaves_nothing_behind() -> None:
    replies, users, _ = log_in(b"AUTH LOGIN\r\nYWRh\r\n*\r\n", b"AUTH LOGIN\r\nYm9i\r\nc2VjcmV0\r\n", MAIL)
    assert replies[-3:] == [b"334", b"235", b"250"]
    assert [check.username for check in users.asked] == ["bob"]


def test_tls_makes_everybody_a_stranger_again() -> None:
    """RFC 3207 section 4.2."""
    replies, users, _ = log_in(PLAIN, MAIL, b"RSET\r\n", b"STARTTLS\r\n", EHLO, MAIL, starttls=True)
    assert replies[:4] == [b"235", b"250", b"250", b"220"]
    assert users.identities == [Identity("ada", "PLAIN"), None]
