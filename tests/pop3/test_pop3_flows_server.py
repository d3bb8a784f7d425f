"""The server's flow: hooks, the maildrop's life, and what a client hears of what goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

import pytest

from mailproto._core.flow import Call, Flow, Sleep, Want
from mailproto._core.policy import TLSPolicy
from mailproto.errors import AuthenticationError, ConnectionClosedError, Reject
from mailproto.maildrop import MemoryMaildrop
from mailproto.pop3 import (
    Limits,
    MaildropBusyError,
    MessageInfo,
    POP3ClientConnection,
    POP3ServerConfig,
    POP3ServerConnection,
    ResponseError,
    apop_digest,
)
from mailproto.pop3.flows import (
    Fetch,
    POP3Session,
    SessionOptions,
    delete,
    listing,
    open_session,
    quit_session,
    serve,
)
from mailproto.sasl import Credentials, PasswordCheck
from tests.pop3.harness import TLS, Runner, run_pair

TIMESTAMP = "<1@example.org>"
SECURE = POP3ServerConfig(starttls=True, auth_mechanisms=("PLAIN", "LOGIN"))
MAIL = (b"Subject: one\r\n\r\n.dot\r\nlast\r\n", b"Subject: two\n\nstored with LF\n", b"")
LOGIN = b"USER ada\r\nPASS secret\r\n"


def size(content: bytes) -> int:
    return len(content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))


class Drop:
    """A snapshot that keeps a diary."""

    def __init__(self, contents: Sequence[bytes] = MAIL) -> None:
        self.contents = contents
        self.diary: list[object] = []

    @property
    def messages(self) -> Sequence[MessageInfo]:
        return [MessageInfo(size(content), f"u{n}") for n, content in enumerate(self.contents, 1)]

    def retrieve(self, number: int) -> Iterator[bytes]:
        self.diary.append(f"retrieve {number}")
        content = self.contents[number - 1]
        try:
            for start in range(0, len(content), 7):
                yield content[start : start + 7]
        finally:
            self.diary.append("closed the message")

    def commit(self, deleted: Sequence[int]) -> None:
        self.diary.append(("commit", *deleted))

    def close(self) -> Any:
        self.diary.append("close")


class App:
    """The hooks most tests need: everybody whose password is "secret" gets in."""

    def __init__(self, drop: Any = None) -> None:
        self.drop = drop if drop is not None else Drop()
        self.asked: list[Any] = []
        self.closed: list[Any] = []

    def on_auth(self, session: POP3Session, check: Any) -> bool:
        self.asked.append(check)
        return check.password == "secret" if isinstance(check, PasswordCheck) else check.matches("secret")

    def on_login(self, session: POP3Session) -> Any:
        return self.drop

    def on_close(self, session: POP3Session) -> None:
        self.closed.append(session.identity.name if session.identity else None)


def runner(
    app: object, config: POP3ServerConfig = SECURE, *, implicit_tls: bool = True, timestamp: str | None = None
) -> Runner:
    conn = POP3ServerConnection(config, timestamp)
    flow = Runner(conn, serve(POP3Session(conn), app, implicit_tls=implicit_tls))
    flow.run()
    return flow


def talk(app: object, data: bytes, **options: Any) -> tuple[Runner, list[str]]:
    """Serve a client that says ``data`` over TLS and leaves; return the server, and its lines behind the greeting."""
    server = runner(app, **options)
    server.conn.receive_data(data)
    server.run()
    server.conn.receive_eof()
    server.run()
    assert server.done
    assert server.error is None
    return server, server.take().decode("ascii").split("\r\n")[1:-1]


# A whole session, against our own client.


def client_job(conn: POP3ClientConnection, options: SessionOptions) -> Flow[dict[str | None, bytes]]:
    yield from open_session(conn, options)
    messages = yield from listing(conn)
    fetch = Fetch(conn, messages)
    contents = {}
    while (message := (yield from fetch.next_message())) is not None:
        content = b""
        while (chunk := (yield from fetch.next_chunk())) is not None:
            content += chunk
        assert len(content) == message.size
        contents[message.uid] = content
        if message.number != 2:
            fetch.delete(message.number)
    yield from quit_session(conn)
    return contents


def cut_in(length: int) -> Any:
    return lambda data: [data[start : start + length] for start in range(0, len(data), length)]


@pytest.mark.parametrize("length", [1, 2, 3, 7, 10**6])
@pytest.mark.parametrize("tls", [TLSPolicy.IMPLICIT, TLSPolicy.REQUIRED, TLSPolicy.NONE])
@pytest.mark.parametrize("how", ["PLAIN", "LOGIN", "USER", "APOP"])
def test_client_and_server_through_any_pipe(how: str, tls: TLSPolicy, length: int) -> None:
    app = App()
    in_clear = tls is TLSPolicy.NONE
    config = POP3ServerConfig(starttls=True, auth_mechanisms=("PLAIN", "LOGIN"), allow_plaintext_auth=in_clear)
    server = runner(app, config, implicit_tls=tls is TLSPolicy.IMPLICIT, timestamp=TIMESTAMP)
    options = SessionOptions(
        tls=tls,
        credentials=Credentials("ada", "secret"),
        mechanisms=(how,) if how in ("PLAIN", "LOGIN") else (),
        apop=how == "APOP",
        allow_plaintext_auth=in_clear,
    )
    conn = POP3ClientConnection()
    client = Runner(conn, client_job(conn, options))
    run_pair(client, server, cut_in(length))
    assert client.error is None
    expected = [content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") for content in MAIL]
    assert client.result == {"u1": expected[0], "u2": expected[1], "u3": expected[2]}
    assert [entry for entry in app.drop.diary if entry != "closed the message"] == [
        "retrieve 1",
        "retrieve 2",
        "retrieve 3",
        ("commit", 1, 3),
        "close",
    ]
    assert app.closed == ["ada"]
    assert app.asked[0].mechanism == how


# Login.


def test_nobody_gets_in_without_hooks() -> None:
    for app in (object(), type("App", (), {"on_login": lambda self, session: Drop()})()):
        _, lines = talk(app, LOGIN + b"AUTH PLAIN AGFkYQBzZWNyZXQ=\r\n")
        assert lines[1:] == ["-ERR [AUTH] Authentication failed"] * 2
    app = type("App", (), {"on_auth": lambda self, session, check: True})()
    _, lines = talk(app, LOGIN)
    assert lines[1:] == ["-ERR [SYS/PERM] There is no maildrop here"]


def test_who_is_asked_about_and_who_it_is() -> None:
    class Renames(App):
        def on_auth(self, session: POP3Session, check: Any) -> Any:
            return super().on_auth(session, check) and "ada@example.org"

        def on_login(self, session: POP3Session) -> Any:
            assert session.identity is not None
            self.asked.append((session.identity.name, session.identity.mechanism, session.tls))
            return super().on_login(session)

    apop = b"APOP ada " + apop_digest(TIMESTAMP, "secret").encode() + b"\r\n"
    for data, mechanism in ((LOGIN, "USER"), (b"AUTH PLAIN AGFkYQBzZWNyZXQ=\r\n", "PLAIN"), (apop, "APOP")):
        app = Renames()
        talk(app, data, timestamp=TIMESTAMP)
        check, opened = app.asked
        assert (check.mechanism, check.username) == (mechanism, "ada")
        assert opened == ("ada@example.org", mechanism, TLS)
        assert app.closed == ["ada@example.org"]


@pytest.mark.parametrize(
    "data",
    [b"USER ada\r\nPASS wrong\r\n", b"AUTH PLAIN AGFkYQB3cm9uZw==\r\n", b"APOP ada " + b"0" * 32 + b"\r\n"],
)
def test_guessing_is_slow_and_ends(data: bytes) -> None:
    server, lines = talk(App(), data * 5, timestamp=TIMESTAMP)
    assert server.slept == [2.0, 4.0, 6.0]
    assert [line for line in lines if line.startswith("-ERR")] == ["-ERR [AUTH] Authentication failed"] * 3
    config = POP3ServerConfig(auth_mechanisms=("PLAIN",), limits=Limits(auth_failure_delay=0))
    server, _ = talk(App(), data * 5, config=config, timestamp=TIMESTAMP)
    assert server.slept == []


@pytest.mark.parametrize("answer", [Reject(535, "no"), "535 5.7.8 no", 1], ids=repr)
@pytest.mark.parametrize("data", [LOGIN, b"APOP ada " + b"0" * 32 + b"\r\n"])
def test_what_is_neither_true_nor_a_name_lets_nobody_in(
    data: bytes, answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    class Confused(App):
        def on_auth(self, session: POP3Session, check: Any) -> Any:
            return answer

    app = Confused()
    _, lines = talk(app, data, timestamp=TIMESTAMP)
    assert "-ERR [AUTH] Authentication failed" in lines
    assert app.closed == [None]
    assert f"a hook answered with what lets nobody in: {type(answer).__name__}" in caplog.messages


@pytest.mark.parametrize("said", [False, Reject(550, "no", "SYS/PERM"), 0, 550, "-ERR no", ["-ERR", "no"]], ids=repr)
def test_a_no_that_is_returned_is_no_yes(said: object) -> None:
    """The client would take for deleted what is not, or be let in."""

    class Returns(App):
        def on_commit(self, session: POP3Session, numbers: Any) -> Any:
            return said

    _, lines = talk(Returns(), LOGIN + b"DELE 1\r\nQUIT\r\n")
    assert lines[-1].startswith("-ERR")

    class Closed(App):
        def on_connect(self, session: POP3Session) -> Any:
            return said

    _, lines = talk(Closed(), b"NOOP\r\n")
    assert lines == [], "there is nothing behind the refusal"


def test_none_and_true_that_are_returned_are_yes() -> None:
    class Returns(App):
        def on_connect(self, session: POP3Session) -> Any:
            return True

        def on_commit(self, session: POP3Session, numbers: Any) -> Any:
            return True

    _, lines = talk(Returns(), LOGIN + b"DELE 1\r\nQUIT\r\n")
    assert lines[-1].startswith("+OK")


@pytest.mark.parametrize("said", [None, False, [MessageInfo(3, "a")], MemoryMaildrop()])
def test_what_is_no_snapshot_is_told_at_the_login(said: object, caplog: pytest.LogCaptureFixture) -> None:
    class Unopened(App):
        def on_login(self, session: POP3Session) -> Any:
            return said

    _, lines = talk(Unopened(), LOGIN)
    assert lines[-1].startswith("-ERR [SYS/TEMP]")
    kind = type(said).__name__
    assert caplog.messages == [f"on_login has to return a Snapshot, such as maildrop.open() makes, and not a {kind}"]


def test_a_locked_maildrop_is_in_use() -> None:
    class Busy(App):
        def on_login(self, session: POP3Session) -> Any:
            raise MaildropBusyError

    app = Busy()
    server, lines = talk(app, LOGIN * 5)
    assert lines[1] == "-ERR [IN-USE] the maildrop is in use by another session"
    assert len(lines) == 10
    assert server.slept == []
    assert app.closed == [None]


def test_a_refusal_in_the_applications_words() -> None:
    class Strict(App):
        def on_auth(self, session: POP3Session, check: Any) -> bool:
            raise Reject(535, "not today", "5.7.8")

    _, lines = talk(Strict(), LOGIN + b"AUTH PLAIN AGFkYQBzZWNyZXQ=\r\n")
    assert lines[1:] == ["-ERR [AUTH] not today"] * 2


@pytest.mark.parametrize("hook", ["on_auth", "on_login", "on_retrieve", "on_commit"])
def test_what_fails_inside_is_not_told(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    """SECURITY S50."""

    def fail(*_: object) -> None:
        raise RuntimeError("the database password is hunter2")

    app = App()
    setattr(app, hook, fail)
    _, lines = talk(app, LOGIN + b"RETR 1\r\nQUIT\r\n")
    assert any(line.startswith("-ERR [SYS/TEMP] ") for line in lines)
    assert not any("hunter2" in line for line in lines)
    assert "hunter2" in caplog.text


def test_a_maildrop_that_is_none_lets_nobody_in_and_is_closed() -> None:
    class Twice(Drop):
        @property
        def messages(self) -> Sequence[MessageInfo]:
            return [MessageInfo(1, "same"), MessageInfo(2, "same")]

    class Broken(Drop):
        @property
        def messages(self) -> Sequence[MessageInfo]:
            raise OSError("disk")

    for drop in (Twice(), Broken()):
        app = App(drop)
        _, lines = talk(app, LOGIN + b"STAT\r\n")
        assert lines[1] == "-ERR [SYS/TEMP] Internal error, try again later"
        assert drop.diary == ["close"]
        assert app.closed == [None]
        drop.diary.clear()
        server = runner(app)
        server.conn.receive_data(LOGIN)
        server.run()
        assert drop.diary == ["close"], "at once, for whoever comes meanwhile"


def test_a_client_that_gives_up_an_exchange_may_begin_another() -> None:
    app = App()
    _, lines = talk(app, b"AUTH LOGIN\r\n*\r\nAUTH PLAIN\r\n!\r\nAUTH LOGIN\r\nYWRh\r\nc2VjcmV0\r\nSTAT\r\n")
    assert lines == [
        "+ VXNlcm5hbWU6",
        "-ERR Authentication cancelled",
        "+ ",
        "-ERR Cannot decode the response",
        "+ VXNlcm5hbWU6",
        "+ UGFzc3dvcmQ6",
        "+OK maildrop locked and ready",
        f"+OK 3 {sum(map(size, MAIL))}",
    ]


def test_a_response_that_is_none_of_the_mechanism() -> None:
    _, lines = talk(App(), b"AUTH PLAIN YWRh\r\n")
    assert lines == ["-ERR Malformed authentication response"]


def test_a_client_that_leaves_during_an_exchange() -> None:
    app = App()
    server, _ = talk(app, b"AUTH LOGIN\r\n")
    assert app.closed == [None]
    assert server.done


def test_on_connect_can_refuse() -> None:
    class Full(App):
        def on_connect(self, session: POP3Session) -> None:
            raise Reject(421, "too many of you", "4.3.2")

    app = Full()
    server = runner(app)
    assert server.done
    assert server.take() == b"-ERR [SYS/TEMP] too many of you\r\n"
    assert app.closed == [None]


# The maildrop's life.


def test_the_lock_is_released_before_the_client_hears_of_it() -> None:
    class Waits(Drop):
        heard = b""

        def close(self) -> None:
            super().close()
            self.heard = server.output + server.conn.data_to_send()

    drop = Waits()
    server = runner(App(drop))
    server.conn.receive_data(LOGIN + b"QUIT\r\n")
    server.run()
    assert b"Good-bye" not in drop.heard
    assert server.take().endswith(b"+OK Good-bye\r\n")
    assert drop.diary == [("commit",), "close"]


def test_a_commit_that_fails() -> None:
    class Fails(Drop):
        def commit(self, deleted: Sequence[int]) -> None:
            super().commit(deleted)
            raise OSError("disk full")

    drop = Fails()
    _, lines = talk(App(drop), LOGIN + b"DELE 1\r\nQUIT\r\n")
    assert lines[-1] == "-ERR [SYS/TEMP] some deleted messages not removed"
    assert drop.diary == [("commit", 1), "close"]

    class Refuses(App):
        def on_commit(self, session: POP3Session, deleted: Sequence[int]) -> None:
            raise Reject(550, "one is still there", "SYS/PERM")

    app = Refuses()
    _, lines = talk(app, LOGIN + b"DELE 1\r\nQUIT\r\n")
    assert lines[-1] == "-ERR [SYS/PERM] one is still there"
    assert app.drop.diary == ["close"]


@pytest.mark.parametrize("data", [b"", b"DELE 1\r\n", b"DELE 1\r\nQUI", b"RETR 1\r\n", b"STLS\r\n", b"X\r\n" * 30])
def test_a_session_that_just_ends_releases_the_lock_and_deletes_nothing(data: bytes) -> None:
    app = App()
    talk(app, LOGIN + data)
    assert app.drop.diary.count("close") == 1
    assert not any(isinstance(entry, tuple) for entry in app.drop.diary)
    assert app.closed == ["ada"]


def test_the_lock_is_released_whatever_the_driver_throws_and_wherever() -> None:
    """Break the flow off at each of its wishes, in each of the ways a driver can."""
    for script in (b"RETR 1\r\nTOP 2 1\r\nDELE 1\r\nQUIT\r\n", b"RETR 1\r\nDELE 1\r\n"):
        break_off_everywhere(LOGIN + script)


def break_off_everywhere(script: bytes) -> None:
    app = App()
    wishes = wishes_of(app, script)
    assert len(wishes) > 12
    for stop, wish in enumerate(wishes):
        ends: list[BaseException] = [ConnectionClosedError("gone")]  # at a call: it could not be made
        if wish is Want.START_TLS:
            ends.append(OSError("no TLS"))
        if not isinstance(wish, Call) or wish.function != app.drop.close:  # else it has begun to be closed
            ends += [KeyboardInterrupt(), GeneratorExit()]
        for how in ends:
            again = App()
            wishes_of(again, script, stop, how)
            assert again.drop.diary.count("close") == again.drop.diary.count("opened"), (stop, how)


def wishes_of(app: App, script: bytes, stop: int = -1, how: BaseException | None = None) -> list[Any]:
    """Drive a flow by hand, throw ``how`` at wish number ``stop``, and grant everything from then on."""

    def opened(session: POP3Session) -> Any:
        app.drop.diary.append("opened")
        return app.drop

    vars(app)["on_login"] = opened
    conn = POP3ServerConnection(SECURE)
    flow: Generator[Any, Any, None] = serve(POP3Session(conn), app, implicit_tls=True)
    wishes: list[Any] = []
    value: Any = None
    fed = False
    thrown = False
    error: BaseException | None = None
    while True:
        try:
            wish = flow.send(value) if error is None else flow.throw(error)
        except StopIteration:
            return wishes
        except BaseException as ended:
            assert thrown
            assert ended is how
            return wishes
        value = error = None
        if len(wishes) == stop and not thrown and how is not None:
            thrown = True
            conn.receive_eof()
            if isinstance(how, GeneratorExit):
                flow.close()
                return wishes
            error = how
            continue
        wishes.append(wish)
        conn.data_to_send()
        if wish is Want.START_TLS:
            conn.tls_established(TLS)
        elif wish is Want.READ:
            conn.receive_data(script if not fed else b"")
            fed = True
        elif isinstance(wish, Call):
            try:
                value = wish.function(*wish.arguments)
            except Exception as failure:
                error = failure
        else:
            assert isinstance(wish, Sleep) or wish is Want.FLUSH


def test_a_maildrop_that_cannot_be_closed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Stuck(Drop):
        def close(self) -> None:
            raise OSError("stuck")

    app = App(Stuck())
    talk(app, LOGIN)
    assert "a maildrop could not be closed" in caplog.text
    assert app.closed == ["ada"]


def test_nothing_is_left_to_say_to_who_is_gone() -> None:
    conn = POP3ServerConnection(SECURE)
    flow = serve(POP3Session(conn), App(), implicit_tls=True)
    assert next(flow) is Want.START_TLS
    conn.tls_established(TLS)
    conn.receive_data(b"USER ada\r\nPASS wrong\r\n")
    wish = next(flow)
    while isinstance(wish, Call):
        wish = flow.send(wish.function(*wish.arguments))
    assert isinstance(wish, Sleep)
    assert conn.queued
    wish = flow.throw(ConnectionClosedError("gone"))
    assert isinstance(wish, Call)
    assert not conn.queued


def test_a_handshake_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    app = App()
    caplog.set_level(logging.INFO, "mailproto")
    flow = serve(POP3Session(POP3ServerConnection(SECURE)), app, implicit_tls=True)
    assert next(flow) is Want.START_TLS
    wish = flow.throw(OSError("no TLS"))
    assert isinstance(wish, Call)
    assert wish.function == app.on_close
    assert "no TLS" in caplog.text


def test_a_flow_that_is_broken_off_cannot_wait(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Drop):
        async def close(self) -> Any:
            raise AssertionError("nobody is there to await it")

    server = runner(App(Slow()))
    server.conn.receive_data(LOGIN)
    conn = server.conn
    while conn.state.name != "TRANSACTION":
        server.run()
    server.flow.close()
    assert "its maildrop could not be closed" in caplog.text


# Content.


def test_a_message_that_cannot_be_opened_is_refused() -> None:
    class Gone(Drop):
        def retrieve(self, number: int) -> Iterator[bytes]:
            raise FileNotFoundError(f"message {number}")

    _, lines = talk(App(Gone()), LOGIN + b"RETR 1\r\nSTAT\r\n")
    assert lines[2:] == ["-ERR [SYS/TEMP] Internal error, try again later", f"+OK 3 {sum(map(size, MAIL))}"]

    class GoneLater(Drop):
        def retrieve(self, number: int) -> Iterator[bytes]:
            yield from ()
            raise Reject(550, "it has been moved", "SYS/PERM")

    _, lines = talk(App(GoneLater()), LOGIN + b"RETR 1\r\nSTAT\r\n")
    assert lines[2:] == ["-ERR [SYS/PERM] it has been moved", f"+OK 3 {sum(map(size, MAIL))}"]


@pytest.mark.parametrize("content", [None, "text", ["text"], 7, [MAIL[0][:-4], "t\r\n"]])
def test_what_is_no_message_is_refused(content: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Own(App):
        def on_retrieve(self, session: POP3Session, number: int) -> Any:
            return content

    _, lines = talk(Own(), LOGIN + b"RETR 1\r\nSTAT\r\n")
    if isinstance(content, list) and len(content) > 1:  # it has begun, and must not look whole
        assert lines[-1] == "..dot"
    else:
        assert lines[2:] == ["-ERR [SYS/TEMP] Internal error, try again later", f"+OK 3 {sum(map(size, MAIL))}"]
    assert "TypeError" in caplog.text
    assert "a session failed" not in caplog.text


@pytest.mark.parametrize("command", [b"RETR 1\r\n", b"QUIT\r\n"])
def test_a_hook_that_has_dropped_its_client_owes_nothing(command: bytes, caplog: pytest.LogCaptureFixture) -> None:
    class Drops(App):
        def on_retrieve(self, session: POP3Session, number: int) -> Any:
            session.drop()

        def on_commit(self, session: POP3Session, deleted: Sequence[int]) -> None:
            session.drop()
            raise OSError("and then it failed")

    app = Drops()
    server = runner(app)
    server.conn.receive_data(LOGIN + command)
    server.run()
    assert server.done
    assert server.error is None
    assert server.take().endswith(b"+OK maildrop locked and ready\r\n")
    assert app.drop.diary == ["close"]
    assert "a session failed" not in caplog.text


@pytest.mark.parametrize("beginning", [b"", MAIL[0][:-6]])
def test_the_end_of_another_connection_is_not_that_of_the_clients(
    beginning: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that hands on messages of another one."""

    class Proxy(Drop):
        def retrieve(self, number: int) -> Iterator[bytes]:
            if beginning:
                yield beginning
            raise ConnectionClosedError("the other server hung up")

    drop = Proxy()
    _, lines = talk(App(drop), LOGIN + b"DELE 2\r\nRETR 1\r\nSTAT\r\n")
    assert lines[2].startswith("+OK")
    if beginning:
        assert lines[-1] == "..dot"
    else:
        assert lines[3:] == ["-ERR [SYS/TEMP] Internal error, try again later", f"+OK 2 {size(MAIL[0])}"]
    assert "a message could not be read" in caplog.text
    assert drop.diary == ["close"]


def test_a_message_that_breaks_off_never_ends() -> None:
    """SECURITY S80."""

    class Breaks(Drop):
        def retrieve(self, number: int) -> Iterator[bytes]:
            yield self.contents[0][:-2]
            raise OSError("disk")

    drop = Breaks()
    server = runner(App(drop))
    server.conn.receive_data(LOGIN + b"RETR 1\r\nDELE 1\r\nQUIT\r\n")
    server.run()
    assert server.done
    assert server.take().endswith(b"..dot\r\nlast")
    assert drop.diary == ["close"]


def test_a_store_that_got_its_sizes_wrong_hears_of_it(caplog: pytest.LogCaptureFixture) -> None:
    class Lies(Drop):
        @property
        def messages(self) -> Sequence[MessageInfo]:
            return [MessageInfo(5, "x")]

    talk(App(Lies()), LOGIN + b"RETR 1\r\n")
    assert "not of the size" in caplog.text
    assert caplog.records[-1].levelno == logging.ERROR


def test_top_reads_no_further_than_it_has_to() -> None:
    drop = Drop([b"A: b\r\n\r\n" + b"x" * 5 + b"\r\n" * 5000])
    server, _ = talk(App(drop), LOGIN + b"TOP 1 1\r\n")
    assert drop.diary == ["retrieve 1", "closed the message", "close"]
    assert server.done


def test_an_iterator_that_can_be_closed_is_closed() -> None:
    class Pieces:
        closed = 0

        def __iter__(self) -> Iterator[bytes]:
            return self

        def __next__(self) -> bytes:
            return MAIL[0]

        def close(self) -> None:
            self.closed += 1

    pieces = Pieces()

    class Endless(App):
        def on_retrieve(self, session: POP3Session, number: int) -> Any:
            return pieces

    talk(Endless(), LOGIN + b"TOP 1 0\r\n")
    assert pieces.closed == 1

    class Drops(Endless):
        def on_retrieve(self, session: POP3Session, number: int) -> Any:
            session.drop()
            return super().on_retrieve(session, number)

    talk(Drops(), LOGIN + b"TOP 1 0\r\n")
    assert pieces.closed == 2


@pytest.mark.parametrize("content", [MAIL[0], [MAIL[0][:5], MAIL[0][5:]], iter([MAIL[0]])])
def test_on_retrieve_may_return_any_kind_of_pieces(content: bytes | Iterable[bytes]) -> None:
    class Own(App):
        def on_retrieve(self, session: POP3Session, number: int) -> Any:
            return content

    app = Own()
    _, lines = talk(app, LOGIN + b"RETR 1\r\n")
    assert lines[-4:] == ["", "..dot", "last", "."]
    assert app.drop.diary == ["close"]


def test_a_client_without_the_right_password_gets_the_servers_words() -> None:
    server = runner(App(), implicit_tls=False)
    conn = POP3ClientConnection()
    client = Runner(conn, open_session(conn, SessionOptions(credentials=Credentials("ada", "wrong"))))
    run_pair(client, server)
    assert isinstance(client.error, AuthenticationError)
    assert "[AUTH] Authentication failed" in str(client.error)


def test_a_client_hears_that_a_message_is_not_there() -> None:
    server = runner(App())
    conn = POP3ClientConnection()

    def job() -> Flow[None]:
        options = SessionOptions(tls=TLSPolicy.IMPLICIT, credentials=Credentials("ada", "secret"))
        yield from open_session(conn, options)
        yield from delete(conn, 9)

    client = Runner(conn, job())
    run_pair(client, server)
    assert isinstance(client.error, ResponseError)
    assert "only 3 messages" in str(client.error)
