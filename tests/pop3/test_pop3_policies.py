"""What a site decides: how long mail stays, how often one may log in, whether anything may be deleted."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto._core.policy import TLSPolicy
from mailproto.errors import AuthenticationError, GrammarError
from mailproto.logindelay import LoginDelay
from mailproto.maildrop import MemoryMaildrop, ReadOnly
from mailproto.pop3 import (
    Capabilities,
    CommandRejected,
    Limits,
    LoginDelayError,
    MaildropBusyError,
    MessageInfo,
    POP3ClientConnection,
    POP3ServerConfig,
    ResponseCode,
    ResponseError,
    Retrieve,
    StartTLS,
    safe_key,
)
from mailproto.pop3.flows import POP3Session, SessionOptions, delete, open_session, quit_session
from mailproto.sasl import Credentials
from tests.pop3.harness import TLS, Runner, events, run_pair, talk
from tests.pop3.test_pop3_flows_server import App, Drop, runner
from tests.pop3.test_pop3_server_login import capabilities, greeted

LOGIN = b"USER ada\r\nPASS secret\r\n"
BARE = ["TOP", "UIDL", "PIPELINING", "RESP-CODES", "AUTH-RESP-CODE"]

# CAPA: each capability in clear, under TLS and after login.

POLICIES: dict[str, tuple[dict[str, Any], list[str], list[str], list[str]]] = {
    "nothing": ({"utf8": False}, [], ["USER"], ["USER"]),
    "UTF8": ({}, ["UTF8 USER"], ["USER", "UTF8 USER"], ["USER", "UTF8 USER"]),
    "no USER": ({"utf8": False, "user": False, "auth_mechanisms": ("PLAIN",)}, [], ["SASL PLAIN"], ["SASL PLAIN"]),
    "in clear": ({"utf8": False, "allow_plaintext_auth": True}, ["USER"], ["USER"], ["USER"]),
    "EXPIRE": ({"utf8": False, "expire": 30}, ["EXPIRE 30"], ["USER", "EXPIRE 30"], ["USER", "EXPIRE 30"]),
    "EXPIRE 0": ({"utf8": False, "expire": 0}, ["EXPIRE 0"], ["USER", "EXPIRE 0"], ["USER", "EXPIRE 0"]),
    "EXPIRE NEVER": (
        {"utf8": False, "expire": math.inf},
        ["EXPIRE NEVER"],
        ["USER", "EXPIRE NEVER"],
        ["USER", "EXPIRE NEVER"],
    ),
    "by user": (
        {"utf8": False, "expire": 5, "expire_by_user": True, "login_delay": 900, "login_delay_by_user": True},
        ["EXPIRE 5 USER", "LOGIN-DELAY 900 USER"],
        ["USER", "EXPIRE 5 USER", "LOGIN-DELAY 900 USER"],
        ["USER", "EXPIRE 5", "LOGIN-DELAY 900"],
    ),
    "LOGIN-DELAY": (
        {"utf8": False, "login_delay": 900},
        ["LOGIN-DELAY 900"],
        ["USER", "LOGIN-DELAY 900"],
        ["USER", "LOGIN-DELAY 900"],
    ),
    "IMPLEMENTATION": (
        {"utf8": False, "implementation": "Shlemazle-Plotz-v302"},
        [],
        ["USER"],
        ["USER", "IMPLEMENTATION Shlemazle-Plotz-v302"],
    ),
    "extra": (
        {"utf8": False, "extra_capabilities": ("X-OWN 1",)},
        ["X-OWN 1"],
        ["USER", "X-OWN 1"],
        ["USER", "X-OWN 1"],
    ),
}


@pytest.mark.parametrize("name", POLICIES)
def test_capabilities_in_clear_under_tls_and_after_login(name: str) -> None:
    options, in_clear, under_tls, logged_in = POLICIES[name]
    conn = greeted(POP3ServerConfig(starttls=True, **options))
    before, after = [line for line in in_clear if line == "USER"], [line for line in in_clear if line != "USER"]
    assert capabilities(conn) == [*BARE, *before, "STLS", *after]
    assert talk(conn, b"STLS\r\n") == StartTLS()
    conn.accept()
    conn.data_to_send()
    conn.tls_established(TLS)
    assert capabilities(conn) == [*BARE, *under_tls]
    talk(conn, b"AUTH PLAIN =\r\n" if name == "no USER" else LOGIN)
    conn.accept(maildrop=[])
    conn.data_to_send()
    assert capabilities(conn) == [*BARE, *logged_in]


class Personal(App):
    """Knows how it is for this user."""

    def on_login(self, session: POP3Session) -> Any:
        session.conn.expire = 60
        session.conn.login_delay = 10
        return self.drop


def test_client_learns_what_holds_for_its_user() -> None:
    config = POP3ServerConfig(
        starttls=True, expire=5, expire_by_user=True, login_delay=900, login_delay_by_user=True, implementation="x y"
    )
    options = SessionOptions(tls=TLSPolicy.IMPLICIT, credentials=Credentials("ada", "secret"), mechanisms=())
    conn = POP3ClientConnection()
    client = Runner(conn, open_session(conn, options))
    run_pair(client, runner(Personal(), config))
    assert client.error is None
    offered = conn.capabilities
    assert offered is not None
    assert (offered.expire, offered.login_delay, offered.implementation) == (60, 10, "x y")
    assert not offered.differ_by_user


def test_words_in_capa_have_no_case() -> None:
    offered = Capabilities({"EXPIRE": ("never", "user"), "UTF8": ("user",)})
    assert (offered.expire, offered.differ_by_user, offered.utf8_user) == (math.inf, True, True)


@pytest.mark.parametrize(
    "wrong",
    [{"expire": -1}, {"expire": 1.5}, {"expire": math.nan}, {"expire": -math.inf}, {"login_delay": -1}]
    + [{"implementation": value} for value in ("a\r\nSTLS", " x", "x  y", "\xfc", "x" * 600)],
)
def test_what_cannot_be_announced_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(GrammarError):
        POP3ServerConfig(**wrong)


# LOGIN-DELAY enforced.


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Patient(App):
    """Lets nobody in twice within a minute."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.delay = LoginDelay(60, clock=self.clock)
        self.busy = False

    def on_login(self, session: POP3Session) -> Any:
        identity = session.identity
        with self.delay.login(identity.user if identity is not None else ""):
            if self.busy:
                raise MaildropBusyError
            return Drop()


def attempt(app: App) -> bytes:
    """Return the response to one login."""
    server = runner(app)
    server.conn.receive_data(LOGIN)
    server.run()
    return server.take().split(b"\r\n")[2]


def test_a_login_too_soon_is_told_so() -> None:
    app = Patient()
    assert attempt(app).startswith(b"+OK")
    app.clock.now += 59.9
    for _ in range(3):
        assert attempt(app) == b"-ERR [LOGIN-DELAY] the last login was not long enough ago"
    app.clock.now += 0.1
    assert attempt(app).startswith(b"+OK"), "the attempts between did not make it longer"


def test_a_login_that_failed_is_none() -> None:
    app = Patient()
    app.busy = True
    assert attempt(app).startswith(b"-ERR [IN-USE]")
    app.busy = False
    assert attempt(app).startswith(b"+OK")
    app.busy = True
    assert attempt(app).startswith(b"-ERR [LOGIN-DELAY]")


def test_too_soon_is_no_wrong_password() -> None:
    server = runner(app := Patient())
    assert attempt(app).startswith(b"+OK")
    server.conn.receive_data(LOGIN * 5)
    server.run()
    assert server.take().count(b"[LOGIN-DELAY]") == 5
    assert (server.conn.auth_failures, server.slept) == (0, [])
    conn = POP3ClientConnection()
    options = SessionOptions(tls=TLSPolicy.IMPLICIT, credentials=Credentials("ada", "secret"))
    client = Runner(conn, open_session(conn, options))
    run_pair(client, runner(app))
    assert isinstance(client.error, AuthenticationError)
    assert client.error.temporary


def test_each_user_has_a_delay_and_may_have_another_one() -> None:
    clock = Clock()
    delay = LoginDelay(60, clock=clock)
    for user, seconds in (("ada", None), ("eve", 5.0), ("bob", 0.0)):
        with delay.login(user, seconds):
            pass
    clock.now += 5
    for user in ("eve", "bob"):
        with delay.login(user):
            pass
    with pytest.raises(LoginDelayError), delay.login("ada"):
        pass


def test_users_are_forgotten_when_their_time_is_over() -> None:
    clock = Clock()
    delay = LoginDelay(10, clock=clock)
    for number in range(10_000):
        with delay.login(f"user{number}"):
            pass
        clock.now += 1
    assert len(delay) <= 200
    with pytest.raises(LoginDelayError), delay.login("user9999"):
        pass


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), max_size=60))
def test_no_two_logins_are_closer_than_the_delay(logins: list[tuple[str, int]]) -> None:
    clock = Clock()
    delay = LoginDelay(10, clock=clock)
    last: dict[str, float] = {}
    for user, pause in logins:
        clock.now += pause
        try:
            with delay.login(user):
                pass
        except LoginDelayError:
            assert clock.now - last[user] < 10
        else:
            assert clock.now - last.get(user, -math.inf) >= 10
            last[user] = clock.now


def test_threads_do_not_disturb_each_other() -> None:
    delay = LoginDelay(1000)

    def come(first: int) -> None:
        for number in range(first, first + 300):
            with delay.login(str(number)):
                pass

    threads = [threading.Thread(target=come, args=(first,)) for first in range(0, 1200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(delay) == 1200


# Response codes that say whose fault it is.


@pytest.mark.parametrize(
    ("answer", "announced", "temporary"),
    [
        (b"-ERR [AUTH] no", True, False),
        (b"-ERR [AUTH] no", False, False),
        (b"-ERR [SYS/TEMP] no", False, True),
        (b"-ERR [SYS/PERM] no", True, False),
        (b"-ERR no", True, True),
        (b"-ERR no", False, False),
        (b"-ERR [LOGIN-DELAY] no", False, True),
    ],
)
def test_only_auth_is_about_the_credentials_where_the_server_says_so(
    answer: bytes, announced: bool, temporary: bool
) -> None:
    """RFC 3206 section 6."""
    conn = POP3ClientConnection()
    options = SessionOptions(tls=TLSPolicy.NONE, credentials=Credentials("ada", "x"), allow_plaintext_auth=True)
    client = Runner(conn, open_session(conn, options))
    capa = b"+OK\r\nUSER\r\n%s.\r\n" % (b"AUTH-RESP-CODE\r\n" if announced else b"")
    client.run()
    for said in (b"+OK hello\r\n", capa, b"+OK\r\n", answer + b"\r\n"):
        conn.receive_data(said)
        client.run()
    assert isinstance(client.error, AuthenticationError)
    assert client.error.temporary == temporary


@pytest.mark.parametrize(
    ("text", "announced", "code"),
    [
        (b"[IN-USE] x", False, ResponseCode.IN_USE),
        (b"[sys/temp] x", False, ResponseCode.SYS_TEMP),
        (b"[SYS/PERM/DISK] x", False, "SYS/PERM/DISK"),
        (b"[UTF8] x", False, ResponseCode.UTF8),
        (b"[OWN] x", False, None),
        (b"[OWN] x", True, "OWN"),
        (b"[two words] x", True, None),
    ],
)
def test_what_stands_in_brackets_is_a_code_where_that_is_announced(
    text: bytes, announced: bool, code: str | None
) -> None:
    """RFC 2449 section 6.4."""
    conn = POP3ClientConnection()
    conn.receive_data(b"+OK hello\r\n")
    conn.next_event()
    conn.capabilities = Capabilities({"RESP-CODES": ()} if announced else {})
    command = conn.user("ada")
    conn.data_to_send()
    conn.receive_data(b"-ERR " + text + b"\r\n")
    conn.next_event()
    assert command.response is not None
    assert command.response.code == code
    assert command.response.text == ("x" if code is not None else text.decode())


# Read-only.


def test_nothing_is_marked_in_a_read_only_maildrop() -> None:
    conn = greeted()
    talk(conn, LOGIN)
    conn.accept(maildrop=[MessageInfo(3, "a")], read_only=True)
    conn.data_to_send()
    assert isinstance(talk(conn, b"DELE 1\r\nDELE 2\r\nSTAT\r\nRETR 1\r\n"), CommandRejected)
    assert isinstance(conn.next_event(), CommandRejected)
    assert conn.next_event() == Retrieve(1)
    assert conn.data_to_send().split(b"\r\n")[:3] == [
        b"-ERR [SYS/PERM] the maildrop is read-only",
        b"-ERR no such message, only 1 messages in maildrop",
        b"+OK 1 3",
    ]


class Reader(App):
    """Shows a maildrop that nobody can change."""

    def __init__(self, mail: MemoryMaildrop) -> None:
        super().__init__()
        self.mail = mail

    def on_login(self, session: POP3Session) -> Any:
        return ReadOnly(self.mail).open()


def test_a_read_only_snapshot_is_served_as_one() -> None:
    drop = MemoryMaildrop()
    drop.deliver([b"A: b\r\n"])
    app = Reader(drop)
    options = SessionOptions(tls=TLSPolicy.IMPLICIT, credentials=Credentials("ada", "secret"), mechanisms=())
    conn = POP3ClientConnection()

    def job() -> Any:
        yield from open_session(conn, options)
        try:
            yield from delete(conn, 1)
        except ResponseError as error:
            refused = error.response
        yield from quit_session(conn)
        return refused

    client = Runner(conn, job())
    run_pair(client, runner(app))
    assert client.error is None
    assert client.result.code == ResponseCode.SYS_PERM
    assert len(drop.open().messages) == 1


# Unauthenticated time (SECURITY S31).


def test_before_login_nothing_but_a_login_makes_the_wait_longer() -> None:
    """However busy a client is, it has `Limits.login_timeout` in all; the count is what an adapter goes by."""
    config = POP3ServerConfig(allow_plaintext_auth=True, auth_mechanisms=("PLAIN",), limits=Limits(max_errors=99))
    conn = greeted(config)
    before = conn.progress
    for line in (
        b"CAPA",
        b"USER ada",
        b"XYZ",
        b"\xff",
        b"STAT",
        b"AUTH",
        b"UTF8",
        b"AUTH PLAIN",
        b"*",
        b"PASS",
        b"x" * 9999,
    ):
        conn.receive_data(line + b"\r\n")
        for _ in events_with_challenges(conn):
            pass
    assert (conn.progress, conn.timeout) == (before, conn.limits.login_timeout)
    talk(conn, LOGIN)
    conn.reject()
    assert conn.progress == before
    talk(conn, LOGIN)
    conn.accept(maildrop=[])
    assert conn.progress > before
    assert conn.timeout == conn.limits.session_timeout
    assert events(conn) == []
    before = conn.progress
    talk(conn, b"NOOP\r\n")
    assert conn.progress == before + 1


def events_with_challenges(conn: Any) -> Any:
    while (event := conn.next_event()) is not None:
        yield event
        if conn.pending is not None:
            conn.challenge(b"")


# Keys.


@pytest.mark.parametrize("uid", ["../../.ssh/authorized_keys", "a/b", "CON", ".", "", "x" * 10_000, "ä"])
def test_a_key_is_hexadecimal(uid: str) -> None:
    """SECURITY S77."""
    assert len(safe_key(uid)) == 64
    assert set(safe_key(uid)) <= set("0123456789abcdef")


def test_a_key_stands_for_one_unique_id() -> None:
    assert safe_key("a") != safe_key("A")
    assert safe_key("a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    with pytest.raises(GrammarError):
        safe_key("\ud800")


def test_errors_have_a_price_from_a_number_on() -> None:
    """S27."""
    conn = greeted(POP3ServerConfig(limits=Limits(max_free_errors=1, max_errors=9, error_delay=2.5)))
    for price in (0.0, 2.5, 2.5):
        talk(conn, b"NONSENSE\r\n")
        assert (conn.take_penalty(), conn.take_penalty()) == (price, 0.0)
