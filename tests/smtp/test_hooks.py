"""The server's flow: each event to its hook, and whatever comes of the hook, an answer that is safe."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from mailproto._core.flow import Call, Want
from mailproto._core.spool import Spool
from mailproto.errors import Reject
from mailproto.smtp import Envelope, Limits, Rcpt, Reply
from mailproto.smtp.flows.server import SMTPSession, serve
from tests.smtp import EHLO, ENVELOPE, MAIL, RCPT, server
from tests.smtp.pipes import Driver

BODY = b"Subject: x\r\n\r\n..hello\r\n.\r\n"
CONTENT = b"Subject: x\r\n\r\n.hello\r\n"


class Inbox:
    """Takes everything, and notes what it was asked."""

    def __init__(self, **behaviour: Any) -> None:
        self.calls: list[str] = []
        self.messages: list[tuple[str, list[str], bytes]] = []
        self.envelopes: list[Envelope] = []
        self.chunks: list[bytes] = []
        self._behaviour = behaviour

    def _do(self, name: str) -> Any:
        self.calls.append(name)
        what = self._behaviour.get(name)
        if isinstance(what, BaseException):
            raise what
        return what

    def on_connect(self, session: SMTPSession) -> Any:
        return self._do("connect")

    def on_hello(self, session: SMTPSession, hello: Any) -> Any:
        assert session.hello == hello.domain
        return self._do("hello")

    def on_mail(self, session: SMTPSession, mail: Any) -> Any:
        return self._do("mail")

    def on_rcpt(self, session: SMTPSession, rcpt: Rcpt) -> Any:
        return self._do("rcpt")

    def on_data(self, session: SMTPSession, data: Any) -> Any:
        return self._do("data")

    def on_message(self, session: SMTPSession, envelope: Envelope) -> Any:
        self.messages.append(
            (str(envelope.reverse_path), [str(path) for path in envelope.forward_paths], bytes(envelope))
        )
        self.envelopes.append(envelope)
        return self._do("message")

    def on_reset(self, session: SMTPSession) -> Any:
        return self._do("reset")

    def on_close(self, session: SMTPSession) -> Any:
        return self._do("close")


class Streaming(Inbox):
    """Takes the chunks itself."""

    def on_chunk(self, session: SMTPSession, data: bytes) -> Any:
        self.chunks.append(data)
        return self._do("chunk")


def serve_lines(handler: object, *pieces: bytes, eof: bool = True, **settings: Any) -> tuple[bytes, Driver]:
    conn = server(**settings)
    driver = Driver(conn, serve(SMTPSession(conn, "192.0.2.1"), handler))
    output = driver.go() + b"".join(driver.go(piece) for piece in pieces)
    if eof:
        output += driver.go(None)
        assert driver.done
    return output, driver


def codes(output: bytes) -> list[bytes]:
    return [line[:3] for line in output.split(b"\r\n") if line[3:4] == b" "]


def test_a_message_from_one_end_to_the_other() -> None:
    inbox = Inbox()
    output, _ = serve_lines(inbox, EHLO, ENVELOPE, BODY)
    assert codes(output) == [b"220", b"250", b"250", b"250", b"354", b"250"]
    assert inbox.messages == [("ada@example.org", ["bob@example.org"], CONTENT)]
    assert inbox.calls == ["connect", "hello", "mail", "rcpt", "data", "message", "close"]


def test_returning_is_yes_in_any_words() -> None:
    words = Inbox(
        message="queued as 4711",
        rcpt=Reply.build(251, "will forward", "2.1.5"),
        hello="hi",
        connect=None,
        mail=True,
    )
    output, _ = serve_lines(words, EHLO, ENVELOPE, BODY)
    assert b"250 2.0.0 queued as 4711\r\n" in output
    assert b"251 2.1.5 will forward\r\n" in output
    assert b"250-localhost hi\r\n" in output


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        ("connect", [b"550", b"503", b"503", b"503", b"503"]),
        ("hello", [b"220", b"550", b"503", b"503", b"503"]),
        ("mail", [b"220", b"250", b"550", b"503", b"503"]),
        ("rcpt", [b"220", b"250", b"250", b"550", b"554"]),
        ("data", [b"220", b"250", b"250", b"250", b"550"]),
        ("message", [b"220", b"250", b"250", b"250", b"354", b"550"]),
    ],
)
def test_raising_reject_is_no(hook: str, expected: list[bytes]) -> None:
    body = BODY if hook == "message" else b""
    inbox = Inbox(**{hook: Reject(550, "no\nway", "5.7.1")})
    output, _ = serve_lines(inbox, EHLO, ENVELOPE, *([body] if body else []))
    assert codes(output) == expected
    assert b"550-" in output, "in two lines"


@pytest.mark.parametrize("body", [BODY, b"x" * 70_000 + b"\r\n.\r\n"])
def test_a_message_that_there_is_no_room_for(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """It is refused for now, and the session goes on."""
    monkeypatch.setattr("tempfile.tempdir", "/nowhere/at/all")
    inbox, conn = Inbox(), server()
    driver = Driver(conn, serve(SMTPSession(conn), inbox, spool_threshold=10))
    output = driver.go() + b"".join(driver.go(piece) for piece in (EHLO, ENVELOPE, body[:60], body[60:], b"NOOP\r\n"))
    assert codes(output) == [b"220", b"250", b"250", b"250", b"354", b"452", b"250"]
    driver.go(None)
    assert inbox.calls == ["connect", "hello", "mail", "rcpt", "data", "reset", "close"], "its envelope was told of"


def test_a_mechanism_that_fails_ends_the_session_with_a_word() -> None:
    class Broken:
        name, reveals_secret = "BROKEN", False

        def start(self, _: bytes | None) -> Any:
            raise ZeroDivisionError

    inbox = Inbox()
    conn = server(auth_mechanisms=("BROKEN",), allow_plaintext_auth=True)
    driver = Driver(conn, serve(SMTPSession(conn), inbox, mechanisms={"BROKEN": Broken()}))
    output = driver.go() + driver.go(EHLO) + driver.go(b"AUTH BROKEN\r\n")
    assert codes(output) == [b"220", b"250", b"421"]
    assert driver.done
    assert inbox.calls == ["connect", "hello", "close"]


NO_ANSWERS = [False, 0, 550, 4711, 550.0, (550, "no"), [], b"250 ok", Path("/mail/17"), object]


@pytest.mark.parametrize("said", [*NO_ANSWERS, "550 no", "451-later", "550"], ids=repr)
@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        ("connect", [b"451"]),
        ("rcpt", [b"220", b"250", b"250", b"451"]),
        ("message", [b"220", b"250", b"250", b"250", b"354", b"451"]),
    ],
)
def test_a_no_that_is_returned_is_no_yes(
    hook: str, expected: list[bytes], said: object, caplog: pytest.LogCaptureFixture
) -> None:
    """By the habits of other libraries; an acceptance would be an open relay, or mail lost."""
    output, _ = serve_lines(Inbox(**{hook: said}), EHLO, ENVELOPE, BODY)
    assert codes(output)[: len(expected)] == expected
    assert f"Inbox.on_{hook} returned " in caplog.text


def test_what_is_returned_is_not_shown_if_it_may_be_the_message(caplog: pytest.LogCaptureFixture) -> None:
    serve_lines(Inbox(rcpt=(550, "no"), connect=None), EHLO, ENVELOPE)
    serve_lines(Inbox(message=CONTENT), EHLO, ENVELOPE, BODY)
    assert caplog.messages == [
        "Inbox.on_rcpt returned <class 'tuple'>, which is no answer: None accepts, raising Reject refuses",
        "Inbox.on_message returned <class 'bytes'>, which is no answer: None accepts, raising Reject refuses",
    ]


@pytest.mark.parametrize("hook", ["connect", "hello", "mail", "rcpt", "data", "chunk", "message"])
@pytest.mark.parametrize("what", [Reject(550, "no"), OSError("full")], ids=repr)
def test_what_was_to_be_raised_is_no_yes_if_it_is_returned(
    hook: str, what: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    class Returns(Streaming):
        def _do(self, name: str) -> Any:
            return what if name == hook else super()._do(name)

    output, _ = serve_lines(Returns(), EHLO, ENVELOPE, BODY)
    assert b"451" in codes(output)
    assert f"Inbox.on_{hook} returned " in caplog.text or f"Streaming.on_{hook} returned " in caplog.text


@pytest.mark.parametrize(
    ("said", "code"),
    [(False, b"451"), ("550 no", b"451"), (Reply.build(552, "too much", "5.3.4"), b"552"), (Reply(250), b"250")]
    + [(said, b"451") for said in NO_ANSWERS]
    + [(said, b"250") for said in (None, True, "5000 octets")],
)
def test_a_chunk_that_is_refused_by_what_is_returned_is_refused(said: object, code: bytes) -> None:
    output, _ = serve_lines(Streaming(chunk=said), EHLO, ENVELOPE, BODY)
    assert codes(output)[-1] == code


@pytest.mark.parametrize("said", ["4711", "5000 octets", "451a8c0de.ffee", "250 yes", True])
def test_what_else_is_returned_is_yes(said: object) -> None:
    """A text may be the name that the message was stored by, whatever digits that begins with."""
    output, _ = serve_lines(Inbox(message=said), EHLO, ENVELOPE, BODY)
    assert codes(output)[-1] == b"250"


HOOKS = ["connect", "hello", "mail", "rcpt", "data", "message", "reset", "close"]


@pytest.mark.parametrize(
    "raised",
    [
        RuntimeError("s3cr3t path /var/db"),
        ValueError("s3cr3t"),
        UnicodeDecodeError("utf-8", b"s3cr3t", 0, 1, "bad"),
        StopIteration("s3cr3t"),
        KeyError("s3cr3t"),
        TimeoutError("s3cr3t"),
        Reject(250, "s3cr3t lies"),
        Reject(550, "s3cr3t", "4.0.0"),
        Reject(999, "s3cr3t"),
    ],
)
@pytest.mark.parametrize("hook", HOOKS)
def test_any_other_exception_is_451_and_tells_nothing(
    hook: str, raised: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """S50, S17: never 250, never its text."""
    inbox = Inbox(**{hook: raised})
    output, driver = serve_lines(inbox, EHLO, b"RSET\r\n", ENVELOPE, BODY)
    assert driver.error is None
    assert b"s3cr3t" not in output
    assert "close" in inbox.calls
    if hook in ("reset", "close"):
        assert codes(output)[-1] == b"250"
    else:
        assert b"451" in codes(output)
        assert codes(output)[-1] != b"250" or hook != "message"
    assert caplog.records, "the operator is told"


@pytest.mark.parametrize("code", ["550 no", None, Reply(550, "no")])
def test_a_refusal_without_a_code_is_the_hook_s_mistake(code: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It fails where it is made, so that the operator is told where, and the client may try again."""

    class Careless:
        def on_mail(self, session: Any, mail: Any) -> None:
            raise Reject(code)

    output, driver = serve_lines(Careless(), EHLO, b"MAIL FROM:<a@b>\r\n", b"NOOP\r\n")
    assert codes(output)[-2:] == [b"451", b"250"]
    assert "a refusal begins with its code" in caplog.text
    assert driver.error is None


@pytest.mark.parametrize("said", [Reply(354, "x"), Reply(700, "x"), Reply(99, "x")])
def test_a_reply_that_does_not_fit_takes_no_mail(said: Reply, caplog: pytest.LogCaptureFixture) -> None:
    output, driver = serve_lines(Inbox(message=said), EHLO, ENVELOPE, BODY, b"NOOP\r\n")
    assert codes(output)[-2:] == [b"451", b"250"]
    assert caplog.records
    assert driver.error is None


def test_without_hooks_nothing_is_taken() -> None:
    """S55: forgetting a hook is no open relay, and no lost mail."""
    output, _ = serve_lines(object(), EHLO, ENVELOPE, b"QUIT\r\n")
    assert codes(output) == [b"220", b"250", b"250", b"550", b"554", b"221"]

    class OnlyRcpt:
        def on_rcpt(self, session: SMTPSession, rcpt: Rcpt) -> None:
            """Take it."""

    output, _ = serve_lines(OnlyRcpt(), EHLO, ENVELOPE, BODY)
    assert codes(output)[-1] == b"451"


# Streaming.


def test_chunks_instead_of_a_spool() -> None:
    inbox = Streaming()
    output, _ = serve_lines(inbox, EHLO, ENVELOPE, *(BODY[i : i + 3] for i in range(0, len(BODY), 3)))
    assert b"".join(inbox.chunks) == CONTENT
    assert len(inbox.chunks) > 3
    assert codes(output)[-1] == b"250"


@pytest.mark.parametrize("pieces", [[BODY], [BODY[:5], BODY[5:]], [BODY[i : i + 1] for i in range(len(BODY))]])
@pytest.mark.parametrize(
    ("raised", "code"), [(Reject(554, "a virus", "5.7.1"), b"554"), (RuntimeError("oops"), b"451")]
)
def test_a_chunk_that_is_refused_refuses_the_message(pieces: list[bytes], raised: Exception, code: bytes) -> None:
    """However much of it came at once: even its end."""
    inbox = Streaming(chunk=raised)
    output, driver = serve_lines(inbox, EHLO, ENVELOPE, *pieces, b"NOOP\r\n")
    assert codes(output)[-2:] == [code, b"250"]
    assert driver.error is None
    assert inbox.messages == []
    assert inbox.calls.count("chunk") == 1, "the rest is not handed on"
    assert inbox.calls[inbox.calls.index("chunk") :] == ["chunk", "reset", "close"]


def test_a_chunk_that_is_refused_is_forgotten_once() -> None:
    """Even if the connection would refuse the message, too, for what comes behind."""
    inbox = Streaming(chunk=Reject(554, "a virus", "5.7.1"))
    output, _ = serve_lines(inbox, EHLO, ENVELOPE, b"virus\r\n", b"bare\nnewline\r\n.\r\n")
    assert codes(output)[-1] == b"554"
    assert inbox.calls.count("reset") == 1


def test_a_chunk_that_the_connection_refuses_as_well_is_forgotten_once() -> None:
    """The beginning of it was handed on, and the fault of the rest is known already."""
    inbox = Streaming(chunk=Reject(554, "a virus", "5.7.1"))
    output, _ = serve_lines(inbox, EHLO, ENVELOPE, b"virus\r\nbare\nnewline\r\n.\r\n")
    assert codes(output)[-1] == b"550"
    assert inbox.calls.count("reset") == 1


@pytest.mark.parametrize("end", [b"x\r\n.\r\nNOOP\r\n", b"\r\n.\r\nNOOP\r\n"])
def test_a_hook_that_refuses_a_message_by_hand_is_told_to_forget_it(end: bytes) -> None:
    class ByHand(Streaming):
        def on_chunk(self, session: SMTPSession, data: bytes) -> Any:
            session.reject(554, "a virus", "5.7.1")
            return super().on_chunk(session, data)

    inbox = ByHand()
    output, _ = serve_lines(inbox, EHLO, ENVELOPE, b"virus", end)
    assert codes(output)[-2:] == [b"554", b"250"]
    assert inbox.calls[-3:] == ["chunk", "reset", "close"]


def test_who_drops_a_client_hears_of_its_end_alone() -> None:
    class Drops(Streaming):
        def on_chunk(self, session: SMTPSession, data: bytes) -> Any:
            session.drop()
            return super().on_chunk(session, data)

    inbox = Drops(chunk=Reject(554, "a virus", "5.7.1"))
    serve_lines(inbox, EHLO, ENVELOPE, b"virus\r\n")
    assert inbox.calls[-2:] == ["chunk", "close"]


# What was cut short (S17).


def test_the_application_hears_of_a_message_only_from_its_last_octet_on() -> None:
    wire = ENVELOPE + BODY
    for place in range(len(wire) + 1):
        inbox = Inbox()
        serve_lines(inbox, EHLO, *([wire[:place]] if place else []))
        assert len(inbox.messages) == (place == len(wire))
        assert inbox.calls[-1] == "close"
        assert inbox.calls.count("close") == 1


@pytest.mark.parametrize("ending", ["receive_timeout", "close"])
def test_every_way_out_is_heard_of(ending: str) -> None:
    inbox = Inbox()
    conn = server()
    driver = Driver(conn, serve(SMTPSession(conn), inbox))
    driver.go()
    driver.go(EHLO + ENVELOPE + b"half")
    getattr(conn, ending)()
    output = driver.go()
    assert output[:3] == b"421"
    assert driver.done
    assert inbox.calls[-1] == "close"
    assert inbox.messages == []


def test_a_failed_handshake_is_a_way_out_too(caplog: pytest.LogCaptureFixture) -> None:
    inbox = Inbox()
    flow = serve(SMTPSession(server(starttls=True)), inbox, implicit_tls=True)
    assert flow.send(None) is Want.START_TLS
    assert flow.throw(ConnectionResetError("no handshake")) is Want.FLUSH
    wish = flow.send(None)
    assert isinstance(wish, Call)
    with pytest.raises(StopIteration):
        flow.send(wish.function(*wish.arguments))
    assert inbox.calls == ["close"]


def test_a_reset_and_a_refused_message_throw_away_what_came() -> None:
    inbox = Inbox()
    output, _ = serve_lines(
        inbox, EHLO, ENVELOPE, b"a\nb\r\n.\r\n", ENVELOPE, b"fine\r\n.\r\n", MAIL, RCPT, b"RSET\r\n"
    )
    assert codes(output)[-4:] == [b"250", b"250", b"250", b"250"]
    assert [content for _, _, content in inbox.messages] == [b"fine\r\n"]
    assert inbox.calls.count("reset") == 2


def test_ehlo_between_chunks_throws_away_what_came() -> None:
    """EHLO takes a transaction back (RFC 5321 section 4.1.4), and RFC 3030 lets it come between chunks, too."""
    inbox = Inbox()
    envelope = MAIL + RCPT
    serve_lines(inbox, EHLO, envelope + b"BDAT 5\r\nfirst", EHLO, envelope + b"BDAT 8 LAST\r\nsecond\r\n")
    assert [content for _, _, content in inbox.messages] == [b"second\r\n"]
    assert inbox.calls.count("reset") == 1


def test_two_messages_do_not_mix() -> None:
    inbox = Inbox()
    serve_lines(
        inbox,
        EHLO,
        ENVELOPE,
        b"one\r\n.\r\n",
        b"MAIL FROM:<>\r\nRCPT TO:<eve@example.org>\r\nDATA\r\n",
        b"two\r\n.\r\n",
    )
    assert inbox.messages == [
        ("ada@example.org", ["bob@example.org"], b"one\r\n"),
        ("None", ["eve@example.org"], b"two\r\n"),
    ]


def test_a_large_message_is_spooled() -> None:
    inbox = Inbox()
    conn = server()
    driver = Driver(conn, serve(SMTPSession(conn), inbox, spool_threshold=100))
    driver.go()
    driver.go(EHLO + ENVELOPE)
    driver.go(b"x" * 1000 + b"\r\n.\r\n")
    (envelope,) = inbox.envelopes
    assert envelope.content is not None
    assert envelope.content._file is not None
    assert len(envelope.content) == 1002
    assert inbox.messages[0][2] == b"x" * 1000 + b"\r\n"


@pytest.mark.parametrize("ending", [None, b"\r\nbare\n", b"\r\n.\r\n"])
def test_what_was_spooled_is_thrown_away(ending: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off, refused by the connection, or refused by the application: no file waits for the collector."""
    closed: list[int] = []

    class Watched(Spool):
        def close(self) -> None:
            closed.append(len(self))
            super().close()

    monkeypatch.setattr("mailproto.smtp.flows.server.Spool", Watched)
    conn = server()
    driver = Driver(conn, serve(SMTPSession(conn), Inbox(message=Reject(550)), spool_threshold=10))
    driver.go()
    driver.go(EHLO + ENVELOPE + b"x" * 100)
    driver.go(ending)
    assert closed


def test_a_hook_may_answer_by_itself() -> None:
    class Own:
        def on_rcpt(self, session: SMTPSession, rcpt: Rcpt) -> None:
            session.reject(450, "ask again", "4.2.0") if rcpt.address.local_part == "bob" else session.accept(
                "why not"
            )

        def on_mail(self, session: SMTPSession, mail: Any) -> None:
            session.reply(Reply.build(250, "hello again", "2.1.0"))

    output, _ = serve_lines(Own(), EHLO, ENVELOPE, b"RCPT TO:<x@y>\r\n")
    assert b"450 4.2.0 ask again\r\n" in output
    assert b"250 2.1.5 why not\r\n" in output
    assert b"250 2.1.0 hello again\r\n" in output


def test_a_hook_that_answers_and_then_raises(caplog: pytest.LogCaptureFixture) -> None:
    """One answer a question; the session goes on."""

    class Twice:
        def on_rcpt(self, session: SMTPSession, rcpt: Rcpt) -> None:
            session.accept()
            raise Reject(550, "no")

    output, driver = serve_lines(Twice(), EHLO, MAIL, RCPT, b"NOOP\r\n")
    assert driver.error is None
    assert codes(output)[2:] == [b"250", b"250", b"250"]
    assert caplog.records


def test_what_a_session_knows() -> None:
    seen: list[tuple[object, ...]] = []

    class Curious:
        def on_rcpt(self, session: SMTPSession, rcpt: Rcpt) -> None:
            assert session.envelope is not None
            seen.append(
                (session.peer, session.hello, session.tls, session.identity, str(session.envelope.reverse_path))
            )
            session.state["seen"] = True

        def on_close(self, session: SMTPSession) -> None:
            seen.append((session.state,))

    serve_lines(Curious(), EHLO, MAIL, RCPT)
    assert seen == [("192.0.2.1", "client.example", None, None, "ada@example.org"), ({"seen": True},)]


def test_limits_hang_up_on_hooks_as_well() -> None:
    inbox = Inbox()
    output, driver = serve_lines(inbox, *[b"NOOP\r\n"] * 4, eof=False, limits=Limits(max_junk=3))
    assert codes(output)[-1] == b"421"
    assert driver.done
    assert inbox.calls[-1] == "close"


def test_coroutines_are_hooks(caplog: pytest.LogCaptureFixture) -> None:
    class Async:
        async def on_rcpt(self, session: SMTPSession, rcpt: Rcpt) -> str:
            return "awaited"

    caplog.set_level(logging.DEBUG)
    output, _ = serve_lines(Async(), EHLO, MAIL, RCPT)
    assert b"250 2.1.5 awaited\r\n" in output
    assert not caplog.records
