"""S23: no secret in a log, a repr, a trace or an exception, whatever becomes of the login it was for."""

from __future__ import annotations

import base64
import logging
from typing import Any

import pytest

from mailproto._core.policy import TLSPolicy
from mailproto.errors import MailProtoError
from mailproto.sasl import Credentials
from mailproto.smtp import SMTPClientConnection, SMTPServerConfig, SMTPServerConnection, make_submission
from mailproto.smtp.flows.client import SessionOptions, open_session, quit_session
from mailproto.smtp.flows.sending import send_message
from mailproto.smtp.flows.server import SMTPSession, serve
from mailproto.smtp.reply import usual_reply
from mailproto.transcript import Transcript
from tests.helpers import talk
from tests.smtp import EHLO, client, greeted, say
from tests.smtp.pipes import Driver, converse, serving

USER, PASSWORD = "ada-who-is-known", "S3cr3t-Wort-42"
PLAIN = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
WORD = base64.b64encode(PASSWORD.encode())


def shows_the_secret(text: str) -> bool:
    """Say whether a text has the password in it, as it is, in base64 at any offset, or in hex."""
    forms = {PASSWORD, PASSWORD.encode().hex(), WORD.decode().rstrip("="), PLAIN.decode().rstrip("=")}
    for offset in range(3):
        middle = base64.b64encode(b"x" * offset + PASSWORD.encode())[4:-4]
        forms.add(middle.decode())
    return any(form.lower() in text.lower() for form in forms)


def test_the_search_finds_it() -> None:
    for said in (PASSWORD, WORD.decode(), PLAIN.decode(), repr(PASSWORD.encode()), PASSWORD.encode().hex()):
        assert shows_the_secret(f"AUTH {said}.")
    assert not shows_the_secret(f"AUTH PLAIN <secret> {USER}")


class Watcher:
    """An application that watches everything it is shown."""

    def __init__(self, answer: object) -> None:
        self.seen: list[str] = []
        self._answer = answer

    def on_auth(self, session: SMTPSession, check: Any) -> object:
        assert check.password
        self.seen += [repr(check), repr(session.conn.pending), repr(session.state)]
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256", "CRAM-MD5"])
@pytest.mark.parametrize("answer", [True, False, RuntimeError("no database")])
def test_nothing_shows_it_on_either_side(mechanism: str, answer: object, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    watcher = Watcher(answer)
    server_conn = SMTPServerConnection(SMTPServerConfig(auth_mechanisms=(mechanism,), allow_plaintext_auth=True))
    conn = SMTPClientConnection()
    ours, theirs = Transcript(), Transcript()
    conn.trace, server_conn.trace = ours, theirs
    options = SessionOptions(
        tls=TLSPolicy.NONE,
        credentials=Credentials(USER, PASSWORD),
        mechanisms=(mechanism,),
        allow_plaintext_auth=True,
    )
    server = serving(Driver(server_conn, serve(SMTPSession(server_conn), watcher)))
    driver, flights = converse(conn, open_session(conn, options), server)
    shown = [str(ours), str(theirs), *watcher.seen, caplog.text, repr(options), str(driver.error), repr(driver.error)]
    shown += [repr(command) for command in (*conn._waiting, *conn._unsent)]
    assert not any(map(shows_the_secret, shown))
    assert f"AUTH {mechanism}" in str(ours)
    assert f"AUTH {mechanism}" in str(theirs)
    assert "<secret>" in str(theirs)
    if mechanism in ("PLAIN", "LOGIN"):
        assert any(map(shows_the_secret, [flight.decode() for flight in flights])), "it was said, though"


MALFORMED = [
    b"AUTH PLAIN %s!\r\n" % PLAIN,
    b"AUTH PLAIN %s %s\r\n" % (PLAIN, PLAIN),
    b"AUTH  PLAIN %s\r\n" % PLAIN,
    b"AUTH %s\r\n" % PLAIN,
    b"AUTH XYZZY %s\r\n" % PLAIN,
    b"auth plain %s\r\n" % PLAIN,
    b"AUTH PLAIN=%s\r\n" % PLAIN,
    b"AUTHPLAIN %s\r\n" % PLAIN,
    b"AUTH PLAIN %s\0\r\n" % PLAIN,
    b"AUTH PLAIN\t%s\r\n" % PLAIN,
    b"%s\r\n" % PLAIN,
    b"%s\r\n" % WORD,
    b"%s\r\n" % PASSWORD.encode(),
    b"PASS %s\r\n" % PASSWORD.encode(),
    b"AUTH PLAIN\r\n%s\r\n" % PLAIN,
    b"AUTH PLAIN\r\n%s!\r\n" % PLAIN,
    b"AUTH PLAIN\r\n%s\r\n" % (PLAIN * 500),
    b"AUTH PLAIN %s\r\n" % (PLAIN * 200),
    b"AUTH LOGIN %s\r\n%s\r\n" % (WORD, WORD),
    b"AUTH LOGIN\r\n%s\r\n%s\r\n" % (WORD, PASSWORD.encode()),
    b"AUTH PLAIN \xff%s\r\n" % PLAIN,
]


@pytest.mark.parametrize("wire", MALFORMED)
@pytest.mark.parametrize("secure", [True, False])
def test_nothing_shows_a_login_that_went_wrong(wire: bytes, secure: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Redacted by state, not by looking for AUTH: a password that lost its way is one, too."""
    caplog.set_level(logging.DEBUG)
    transcript = Transcript()
    conn = greeted(auth_mechanisms=("PLAIN", "LOGIN"), allow_plaintext_auth=secure)
    conn.trace = transcript

    def policy(conn: Any, event: Any) -> None:
        conn.challenge(b"Password:") if getattr(event, "data", None) is None else conn.reject()

    result = talk(conn, [wire], policy, eof=True)
    shown = [*map(repr, result.events), str(transcript), caplog.text, result.output.decode()]
    assert not any(map(shows_the_secret, shown))
    assert len(transcript.lines) > 1, "that something came is shown"


def test_a_served_connection_logs_no_response(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for wire in MALFORMED:
        conn = SMTPServerConnection(SMTPServerConfig(auth_mechanisms=("PLAIN", "LOGIN"), allow_plaintext_auth=True))
        driver = Driver(conn, serve(SMTPSession(conn), Watcher(RuntimeError("no database"))))
        driver.go()
        driver.go(EHLO)
        driver.go(wire)
        driver.go(None)
    assert caplog.records
    assert not shows_the_secret(caplog.text)


def test_a_client_shows_neither_challenge_nor_response() -> None:
    conn = client("AUTH LOGIN")
    transcript = Transcript()
    conn.trace = transcript
    command = conn.auth("LOGIN", PASSWORD.encode())
    conn.data_to_send()
    events = say(conn, f"334 {WORD.decode()}")
    conn.auth_response(PASSWORD.encode())
    conn.data_to_send()
    events += say(conn, "535 5.7.8 no")
    shown = [str(transcript), repr(command), *map(repr, events)]
    assert not any(map(shows_the_secret, shown))
    assert transcript.lines == [
        "C: AUTH LOGIN <secret>",
        "S: 334 <secret>",
        "C: <secret>",
        "S: 535 5.7.8 no",
    ]


def test_what_was_sent_is_not_kept() -> None:
    """S99."""
    conn = client("AUTH PLAIN")
    command = conn.auth("PLAIN", f"\0{USER}\0{PASSWORD}".encode())
    assert shows_the_secret(conn.data_to_send().decode())
    assert not any(shows_the_secret(repr(getattr(command, name))) for name in command.__slots__)


def test_a_challenge_is_not_remembered() -> None:
    """What a process has read once it does not keep for its life: the usual replies only."""
    conn = client("AUTH LOGIN")
    conn.auth("LOGIN")
    conn.data_to_send()
    say(conn, f"334 {WORD.decode()}")
    challenge, refusal = f"334 {WORD.decode()}".encode(), b"535 5.7.8 remembered"
    before = usual_reply.cache_info().misses
    usual_reply(challenge, False)
    assert usual_reply.cache_info().misses == before + 1
    conn.auth_cancel()
    conn.data_to_send()
    say(conn, refusal.decode())
    before = usual_reply.cache_info().misses
    usual_reply(refusal, False)
    assert usual_reply.cache_info().misses == before


@pytest.mark.parametrize(
    "credentials", [Credentials("", PASSWORD), Credentials("a\0b", PASSWORD), Credentials(USER, PASSWORD + "\ud800")]
)
def test_no_exception_carries_it(credentials: Credentials) -> None:
    conn = SMTPClientConnection()
    options = SessionOptions(tls=TLSPolicy.IMPLICIT, credentials=credentials)
    answers = iter([b"220 x\r\n", b"250-x\r\n250 AUTH PLAIN LOGIN\r\n"])
    driver, _ = converse(conn, open_session(conn, options), lambda _: next(answers))
    error: BaseException | None = driver.error
    assert isinstance(error, MailProtoError)
    while error is not None:
        assert not shows_the_secret(f"{error} {error!r} {error.args}")
        error = error.__cause__


def test_a_transcript_is_what_was_said() -> None:
    """Line by line, on both sides the same."""
    server_conn = SMTPServerConnection(SMTPServerConfig(hostname="mx.example.org", extensions=()))
    conn = SMTPClientConnection()
    ours, theirs = Transcript(), Transcript()
    conn.trace, server_conn.trace = ours, theirs

    class Inbox:
        def on_rcpt(self, session: SMTPSession, rcpt: Any) -> None:
            """Take it."""

        def on_message(self, session: SMTPSession, envelope: Any) -> str:
            return "in two\nlines"

    server = serving(Driver(server_conn, serve(SMTPSession(server_conn), Inbox())))
    converse(conn, open_session(conn, SessionOptions(tls=TLSPolicy.NONE)), server)
    converse(conn, send_message(conn, make_submission(b"x\r\n", "a@b", "c@d")), server)
    converse(conn, quit_session(conn), server)
    expected = [
        "S: 220 mx.example.org ESMTP",
        "C: EHLO [127.0.0.1]",
        "S: 250 mx.example.org",
        "C: MAIL FROM:<a@b>",
        "S: 250 Sender OK",
        "C: RCPT TO:<c@d>",
        "S: 250 Recipient OK",
        "C: DATA",
        "S: 354 Go ahead, end with a dot on a line by itself",
        "C: <message of 3 octets>",
        "S: 250-in two",
        "S: 250 lines",
        "C: QUIT",
        "S: 221 Bye",
    ]
    assert theirs.lines == expected
    expected[9] = "C: <end of message>"
    assert ours.lines == expected
