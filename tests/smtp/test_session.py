"""Opening a session: TLS by policy, whatever the server does; one login, and no weaker one behind it."""

from __future__ import annotations

from typing import Any

import pytest

from mailproto._core.policy import TLSPolicy
from mailproto.errors import (
    AuthenticationError,
    ConnectionClosedError,
    GrammarError,
    MailProtoError,
    RemoteProtocolError,
    TLSRequiredError,
)
from mailproto.sasl import Credentials
from mailproto.smtp import ReplyError, SMTPClientConnection
from mailproto.smtp.flows.client import SessionOptions, default_endpoint, open_session, quit_session
from tests.smtp.pipes import Answerer, Driver, converse

SECRET = "s3cr3t-päss"
ADA = Credentials("ada", SECRET)


def open_with(server: Answerer, **options: Any) -> tuple[Driver, list[bytes]]:
    conn = SMTPClientConnection()
    return converse(conn, open_session(conn, SessionOptions(**options)), server)


def a_server(**lines: str | None) -> Answerer:
    """Return a server that answers each verb with these lines; None is to hang up."""
    answers: dict[str, str | None] = {"GREETING": "220 x", "EHLO": "250 x", "STARTTLS": "220 go", "QUIT": "221 bye"}
    answers |= lines
    state = {"hellos": 0}

    def answer(said: bytes) -> bytes | None:
        verb = said.split(b"\r\n")[0].split(b" ")[0].decode() or "GREETING"
        if verb == "EHLO":
            state["hellos"] += 1
            if state["hellos"] > 1 and "EHLO2" in answers:
                verb = "EHLO2"
        line = answers.get(verb, "235 welcome" if verb == "AUTH" else "500 what?")
        return None if line is None else "".join(f"{part}\r\n" for part in line.split("|") if part).encode()

    return answer


# TLS by policy (S8).

BEHAVIOURS: dict[str, dict[str, str | None]] = {
    "offered": {"EHLO": "250-x|250-STARTTLS|250 AUTH PLAIN", "EHLO2": "250-x|250 AUTH PLAIN"},
    "stripped": {"EHLO": "250-x|250 AUTH PLAIN"},
    "refused 454": {"EHLO": "250-x|250-STARTTLS|250 AUTH PLAIN", "STARTTLS": "454 not now"},
    "refused 500": {"EHLO": "250-x|250-STARTTLS|250 AUTH PLAIN", "STARTTLS": "500 what"},
    "agreed 250": {"EHLO": "250-x|250-STARTTLS|250 AUTH PLAIN", "STARTTLS": "250 sure"},
    "hangs up": {"EHLO": "250-x|250-STARTTLS|250 AUTH PLAIN", "STARTTLS": None},
    "injects": {"EHLO": "250-x|250-STARTTLS|250 AUTH PLAIN", "STARTTLS": "220 go|250-evil|250 AUTH PLAIN"},
    "injects half": {"EHLO": "250-x|250-STARTTLS|250 AUTH PLAIN", "STARTTLS": "220 go|2"},
    "lookalike": {"EHLO": "250-x|250-\u017fTARTTLS|250 AUTH PLAIN"},
    "helo only": {"EHLO": "502 what", "HELO": "250-x|250-STARTTLS|250 AUTH PLAIN"},
    "gone behind": {"EHLO": "250-x|250-STARTTLS|250 AUTH PLAIN", "EHLO2": None},
    "no auth behind": {"EHLO": "250-x|250-STARTTLS|250 AUTH PLAIN", "EHLO2": "250 x"},
}


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
@pytest.mark.parametrize("policy", list(TLSPolicy))
@pytest.mark.parametrize("credentials", [None, ADA])
def test_nothing_leaves_that_the_policy_forbids(
    policy: TLSPolicy, behaviour: str, credentials: Credentials | None
) -> None:
    driver, flights = open_with(a_server(**BEHAVIOURS[behaviour]), tls=policy, credentials=credentials)
    said = b"".join(flights)
    secure = driver.conn.tls is not None
    verbs = [line.split(b" ")[0] for line in said.split(b"\r\n")[:-1]]
    assert set(verbs) <= {b"EHLO", b"HELO", b"STARTTLS", b"AUTH"}
    if not secure:
        assert b"AUTH" not in verbs, "no credential in clear"
    if policy is TLSPolicy.NONE:
        assert b"STARTTLS" not in verbs
        assert not secure
        assert isinstance(driver.error, AuthenticationError if credentials else type(None))
    elif policy is TLSPolicy.IMPLICIT:
        assert b"STARTTLS" not in verbs
        assert secure
    elif behaviour in ("offered", "gone behind", "no auth behind"):
        assert secure
        assert verbs[:3] == [b"EHLO", b"STARTTLS", b"EHLO"]
    else:
        assert not secure
        if policy is TLSPolicy.REQUIRED:
            assert isinstance(driver.error, TLSRequiredError | ConnectionClosedError | RemoteProtocolError)
            assert verbs[-1] in (b"EHLO", b"HELO", b"STARTTLS")
        elif credentials is not None:
            assert isinstance(driver.error, AuthenticationError | ConnectionClosedError | RemoteProtocolError)
    if behaviour == "offered" and credentials and policy in (TLSPolicy.REQUIRED, TLSPolicy.OPPORTUNISTIC):
        assert driver.error is None
        assert verbs[-1] == b"AUTH"


def test_what_was_injected_is_not_believed() -> None:
    driver, flights = open_with(a_server(**BEHAVIOURS["injects"]), credentials=ADA)
    assert isinstance(driver.error, RemoteProtocolError)
    assert driver.conn.closing
    assert b"AUTH" not in b"".join(flights)


def test_a_handshake_that_fails_is_the_end() -> None:
    """S9."""
    conn = SMTPClientConnection()
    flow = open_session(conn, SessionOptions(credentials=ADA))
    flow.send(None)
    for said in (b"220 x\r\n", b"250-x\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n"):
        conn.receive_data(said)
        flow.send(None)
        conn.data_to_send()
    conn.receive_data(b"220 go\r\n")
    flow.send(None)
    with pytest.raises(OSError, match="certificate"):
        flow.throw(OSError("certificate"))
    assert conn.data_to_send() == b""


@pytest.mark.parametrize(
    ("port", "tls", "credentials", "expected"),
    [
        (None, None, False, (587, TLSPolicy.REQUIRED)),
        (None, None, True, (587, TLSPolicy.REQUIRED)),
        (587, None, False, (587, TLSPolicy.REQUIRED)),
        (465, None, False, (465, TLSPolicy.IMPLICIT)),
        (465, None, True, (465, TLSPolicy.IMPLICIT)),
        (25, None, False, (25, TLSPolicy.OPPORTUNISTIC)),
        (25, None, True, (25, TLSPolicy.REQUIRED)),
        (2525, None, False, (2525, TLSPolicy.OPPORTUNISTIC)),
        (2525, None, True, (2525, TLSPolicy.REQUIRED)),
        (None, TLSPolicy.IMPLICIT, False, (465, TLSPolicy.IMPLICIT)),
        (None, TLSPolicy.NONE, False, (587, TLSPolicy.NONE)),
        (25, TLSPolicy.REQUIRED, False, (25, TLSPolicy.REQUIRED)),
    ],
)
def test_the_policy_follows_the_port(
    port: int | None, tls: TLSPolicy | None, credentials: bool, expected: tuple[int, TLSPolicy]
) -> None:
    """RFC 8314 section 3.3: submission wants TLS, and so do credentials, wherever they go."""
    assert default_endpoint(port, tls, credentials=credentials) == expected


# Hello.


def test_helo_is_the_way_back() -> None:
    driver, flights = open_with(a_server(EHLO="500 what", HELO="250 x"), tls=TLSPolicy.NONE)
    assert driver.error is None
    assert flights == [b"EHLO [127.0.0.1]\r\n", b"HELO [127.0.0.1]\r\n"]


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ({"GREETING": "554 go away"}, ReplyError),
        ({"GREETING": "421 busy"}, ReplyError),
        ({"GREETING": None}, ConnectionClosedError),
        ({"GREETING": "hello"}, RemoteProtocolError),
        ({"EHLO": "450 later"}, ReplyError),
        ({"EHLO": "550 no", "HELO": "550 no"}, ReplyError),
        ({"EHLO": "421 busy"}, ReplyError),
        ({"EHLO": None}, ConnectionClosedError),
    ],
)
def test_a_session_that_does_not_begin(lines: dict[str, str | None], error: type[Exception]) -> None:
    driver, _ = open_with(a_server(**lines), tls=TLSPolicy.NONE)
    assert isinstance(driver.error, error)
    if isinstance(driver.error, ReplyError):
        assert driver.error.temporary is (driver.error.reply.code < 500)


def test_the_name_is_the_callers() -> None:
    """S89: an address literal by default, and no look-up of names."""
    _, flights = open_with(a_server(), tls=TLSPolicy.NONE, local_name="client.example")
    assert flights == [b"EHLO client.example\r\n"]
    driver, flights = open_with(a_server(), tls=TLSPolicy.NONE, local_name="x\r\nDATA")
    assert isinstance(driver.error, GrammarError)
    assert flights == []


# Logging in (S14, S15).


def log_in(auth: str, *answers: str, **options: Any) -> tuple[Driver, list[bytes]]:
    left = list(answers)

    def server(said: bytes) -> bytes | None:
        if not said:
            return b"220 x\r\n"
        if said.startswith(b"EHLO"):
            return f"250-x\r\n250 AUTH {auth}\r\n".encode()
        return f"{left.pop(0)}\r\n".encode()

    return open_with(server, tls=TLSPolicy.IMPLICIT, credentials=options.pop("credentials", ADA), **options)


PLAIN = b"AGFkYQBzM2NyM3QtcMOkc3M="


def test_plain_takes_one_round_trip() -> None:
    driver, flights = log_in("LOGIN PLAIN", "235 ok")
    assert driver.error is None
    assert flights[1:] == [b"AUTH PLAIN " + PLAIN + b"\r\n"]


def test_login() -> None:
    driver, flights = log_in("LOGIN", "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 ok")
    assert driver.error is None
    assert flights[1:] == [b"AUTH LOGIN\r\n", b"YWRh\r\n", b"czNjcjN0LXDDpHNz\r\n"]


@pytest.mark.parametrize(
    "reply", ["535 5.7.8 no", "534 weak", "503 again", "500 what", "454 later", "432 transition", "504 what"]
)
def test_no_weaker_mechanism_behind_a_refusal(reply: str) -> None:
    """S15: and 503 is no success."""
    driver, flights = log_in("PLAIN LOGIN CRAM-MD5", reply)
    assert isinstance(driver.error, AuthenticationError)
    assert driver.error.temporary is reply.startswith("4")
    assert [flight[:5] for flight in flights] == [b"EHLO ", b"AUTH "]
    assert SECRET not in str(driver.error)


@pytest.mark.parametrize("offered", ["", "XYZZY", "CRAM-MD5", "GSSAPI NTLM", "PLA\u0131N"])
def test_no_mechanism_that_can_be_used(offered: str) -> None:
    driver, flights = log_in(offered)
    assert isinstance(driver.error, AuthenticationError)
    assert b"AUTH" not in b"".join(flights)


def test_the_callers_choice_and_order() -> None:
    _, flights = log_in(
        "PLAIN LOGIN", "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 ok", mechanisms=("LOGIN", "PLAIN")
    )
    assert flights[1] == b"AUTH LOGIN\r\n"
    driver, flights = log_in("PLAIN", mechanisms=("LOGIN",))
    assert isinstance(driver.error, AuthenticationError)
    assert len(flights) == 1


def test_a_response_too_long_for_the_command_comes_behind_it() -> None:
    """RFC 4954 section 4: the command has 512 octets, the response 12288."""
    long = Credentials("ada", "x" * 400)
    driver, flights = log_in("PLAIN", "334 ", "235 ok", credentials=long)
    assert driver.error is None
    assert flights[1] == b"AUTH PLAIN\r\n"
    assert len(flights[2]) > 512
    for size in range(355, 375):
        _, flights = log_in("PLAIN", "334 ", "235 ok", credentials=Credentials("ada", "x" * size))
        assert len(flights[1]) <= 512


@pytest.mark.parametrize("challenges", [["334 ", "501 stop"], ["334 b25lIG1vcmU=", "501 stop"]])
def test_a_challenge_too_many_is_cancelled(challenges: list[str]) -> None:
    driver, flights = log_in("PLAIN", *challenges)
    assert isinstance(driver.error, MailProtoError)
    assert flights[-1] == b"*\r\n"


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials("", "x"),
        Credentials("a\0b", "x"),
        Credentials("a", "x\0"),
        Credentials("a", "\ud800"),
        Credentials("a", ""),
    ],
)
def test_credentials_that_cannot_be_written(credentials: Credentials) -> None:
    driver, flights = log_in("PLAIN", credentials=credentials)
    assert isinstance(driver.error, GrammarError | AuthenticationError)
    assert len(flights) == 1


def test_credentials_in_clear_by_their_long_name() -> None:
    driver, flights = open_with(
        a_server(EHLO="250-x|250 AUTH PLAIN"), tls=TLSPolicy.NONE, credentials=ADA, allow_plaintext_auth=True
    )
    assert driver.error is None
    assert flights[-1].startswith(b"AUTH PLAIN ")


# Leaving.


@pytest.mark.parametrize(
    "answer", ["221 bye", "250 bye", "500 what", "421 gone", None, "garbage", "221-bye", "250 a|250 b"]
)
def test_quit_is_best_effort(answer: str | None) -> None:
    """S66: what the server makes of it changes nothing any more."""
    conn = SMTPClientConnection()
    server = a_server(QUIT=answer) if answer != "221-bye" else a_server(QUIT="221-bye|garbage")
    converse(conn, open_session(conn, SessionOptions(tls=TLSPolicy.NONE)), server)
    driver, flights = converse(conn, quit_session(conn), server)
    assert flights == [b"QUIT\r\n"]
    assert driver.error is None, repr(driver.error)


@pytest.mark.parametrize("how", ["eof", "closed", "failed", "quit"])
def test_quit_behind_the_end(how: str) -> None:
    conn = SMTPClientConnection()
    converse(conn, open_session(conn, SessionOptions(tls=TLSPolicy.NONE)), a_server())
    if how == "failed":
        conn.receive_timeout()
    elif how == "quit":
        converse(conn, quit_session(conn), a_server())
    else:
        conn.receive_eof()
        if how == "closed":
            conn.next_event()
    driver, flights = converse(conn, quit_session(conn), a_server())
    assert driver.error is None, repr(driver.error)
    assert flights == []
