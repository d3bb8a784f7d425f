"""Commands of extensions of one's own (RFC 5321 sections 2.2.2 and 4.1.5), on the server and on the client."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from mailproto._core.server import is_foreign
from mailproto.errors import GrammarError, LocalProtocolError, NotSupportedError, Reject, RemoteProtocolError
from mailproto.smtp import (
    CommandRejected,
    ConnectionClosed,
    Extension,
    ExtensionCommand,
    Limits,
    Reply,
    ReplyReceived,
    Reset,
    SMTPClientConnection,
    SMTPServerConfig,
    SMTPServerConnection,
    StartTLS,
)
from mailproto.smtp.flows.server import SMTPSession, serve
from mailproto.smtp.rules import VERBS
from mailproto.testing import AsyncMemoryClient, MemoryClient, Outbox
from mailproto.transcript import Transcript
from tests.helpers import assert_plays, every_cut, talk
from tests.smtp import ADA, BOB, EHLO, MAIL, RCPT, client, say
from tests.smtp.pipes import Driver
from tests.smtp_extensions import VERIFIED, converse, offering, said

BREW = Extension("X-BREW", "ours", lambda _: "", commands=("XBREW", "X-POT2"))


def brewing(**settings: Any) -> SMTPServerConnection:
    return SMTPServerConnection(offering(BREW, **settings))


# The server.

DIALOGUE = """
E: Connected
! accept()
S: 220 mx.example.org ESMTP
C: EHLO client.example
E: Hello 'client.example' extended
! accept()
S: 250-mx.example.org
S: 250 X-BREW
C: XBREW tea, with  milk
E: ExtensionCommand 'XBREW' 'tea, with  milk'
! accept("on its way")
S: 250 on its way
C: x-pot2
E: ExtensionCommand 'X-POT2'
! reply(Reply.build(250, "one\\ntwo", "2.0.0"))
S: 250-one
S: 250 two
C: MAIL FROM:<ada@example.org>
C: xBrew grüner Tee
C: RCPT TO:<bob@example.org>
C: XBREW mocha
C: XBREW chicory
C: NOOP
E: Mail ada@example.org
! accept()
S: 250 Sender OK
E: ExtensionCommand 'XBREW' 'grüner Tee'
! reject(504, "we have none", "5.5.4")
S: 504 we have none
E: Rcpt bob@example.org
! accept()
S: 250 Recipient OK
E: ExtensionCommand 'XBREW' 'mocha'
! answer_default()
S: 502 Command not implemented
E: ExtensionCommand 'XBREW' 'chicory'
! reject()
S: 502 Command not implemented
S: 250 OK
C: XBREW a
E: ExtensionCommand 'XBREW' 'a'
! reply(Reply(421, "too hot"))
S: 421 too hot
E: ConnectionClosed 'closed by the server'
"""


def test_a_dialogue_however_it_is_cut() -> None:
    config = SMTPServerConfig(hostname="mx.example.org", extensions=(BREW,))
    assert_plays(lambda: SMTPServerConnection(config), DIALOGUE)


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        (b"XBREW \xff", "501 5.5.4 "),
        ("XBREW a\u2028b".encode(), "501 5.5.4 "),
        (b"XBREW a\0", "500 5.5.2 "),
        (b"XBREW a\rb", "500 5.5.2 "),
        (b"XBREW a\nb", "500 5.5.2 "),
        (b"XBREW " + b"a" * 100, "500 5.5.2 Line too long"),
        (b"XBREWS a", "500 5.5.1 "),
        (b"X-POT a", "500 5.5.1 "),
        (b"XBREW\ta", "500 5.5.2 "),
    ],
)
def test_what_is_no_such_command(line: bytes, reply: str) -> None:
    for pieces in every_cut(line + b"\r\n"):
        conn = brewing(limits=Limits(max_line=100))
        talk(conn, [EHLO])
        result = talk(conn, pieces)
        assert said(result).startswith(reply)
        assert [type(event) for event in result.events] == [CommandRejected]


def test_an_argument_is_as_long_as_a_line_may_be() -> None:
    conn = brewing()
    talk(conn, [EHLO])
    line = b"XBREW " + b"a" * (4096 - 8) + b"\r\n"
    assert talk(conn, [line]).replies == [b"250"]
    assert talk(conn, [line[:-2] + b"a\r\n"]).replies == [b"500"]


def test_nobody_who_was_not_offered_it_is_asked_about() -> None:
    """It is in force behind EHLO, where the server has said so; behind HELO nothing is (RFC 5321 section 4.1.4)."""
    conn = brewing()
    assert said(talk(conn, [b"XBREW tea\r\n"])).endswith("503 5.5.1 Bad sequence of commands\r\n")
    assert converse(offering(BREW), "XBREW", ehlo="HELO x").lines == [
        "CommandRejected 'XBREW' 502 5.5.1 Command not implemented"
    ]
    assert said(converse(offering(), "XBREW")) == "500 5.5.1 Command not recognised\r\n"

    late = Extension("X-LATE", "ours", lambda standing: "" if standing.secure else None, commands=("XLATE",))
    assert said(converse(offering(late), "XLATE")) == "502 5.5.1 Command not implemented\r\n"
    assert converse(offering(late), "XLATE", tls=True).lines == ["ExtensionCommand 'XLATE'"]


def test_an_offer_is_over_when_tls_begins() -> None:
    conn = brewing(starttls=True)
    talk(conn, [EHLO])
    assert talk(conn, [b"XBREW\r\n", b"STARTTLS\r\n"]).of(StartTLS)
    conn.tls_established(VERIFIED)
    assert talk(conn, [b"XBREW\r\n"]).replies == [b"503"]
    assert talk(conn, [EHLO, b"XBREW\r\n"]).replies == [b"250", b"250"]


def test_where_tls_or_a_login_is_required_it_is_here_too() -> None:
    """As for VRFY and ETRN."""
    secure = offering(BREW, starttls=True, require_tls=True)
    assert said(converse(secure, "XBREW")).startswith("530 5.7.0 Must issue a STARTTLS command first")
    assert converse(secure, "XBREW", tls=True).lines == ["ExtensionCommand 'XBREW'"]

    login: dict[str, Any] = {"auth_mechanisms": ("PLAIN",), "allow_plaintext_auth": True, "require_auth": True}
    assert said(converse(offering(BREW, **login), "XBREW")).startswith("530 5.7.0 Authentication required")
    conn = brewing(**login)
    assert talk(conn, [EHLO, b"AUTH PLAIN AGEAYg==\r\n", b"XBREW\r\n"]).replies[-1:] == [b"250"]


def test_it_disturbs_no_transaction() -> None:
    conn = brewing()
    result = talk(
        conn, [EHLO, MAIL, b"XBREW\r\n", RCPT, b"XBREW\r\n", b"BDAT 2\r\nhe", b"XBREW\r\n", b"BDAT 3 LAST\r\ny\r\n"]
    )
    assert result.replies == [b"220", *[b"250"] * 8]
    assert result.body == b"hey\r\n"
    assert not result.of(Reset)
    assert [event.verb for event in result.of(ExtensionCommand)] == ["XBREW"] * 3


def test_in_lmtp() -> None:
    assert converse(offering(BREW, lmtp=True), "XBREW tea", ehlo="LHLO x").lines == ["ExtensionCommand 'XBREW' 'tea'"]


@pytest.mark.parametrize("code", [220, 221, 250, 299, 421, 450, 599])
def test_a_reply_of_any_class_that_ends_a_command(code: int) -> None:
    conn = brewing()
    result = talk(conn, [EHLO, b"XBREW\r\n"], lambda conn, event: answer_brew(conn, event, code))
    assert result.replies[-1] == str(code).encode()
    assert conn.closing == (code == 421)


@pytest.mark.parametrize("code", [199, 334, 354, 600])
def test_no_reply_that_asks_for_more(code: int) -> None:
    conn = brewing()
    talk(conn, [EHLO])
    conn.receive_data(b"XBREW\r\n")
    assert conn.next_event() == conn.pending == ExtensionCommand("XBREW")
    with pytest.raises(LocalProtocolError):
        conn.reply(Reply(code, "go on"))
    assert conn.pending is not None, "it still is to be answered"


def answer_brew(conn: Any, event: object, code: int) -> None:
    if isinstance(event, ExtensionCommand):
        conn.reply(Reply(code, "so"))
    else:
        conn.accept()


def test_it_counts_as_what_leads_nowhere() -> None:
    conn = brewing(limits=Limits(max_junk=3))
    result = talk(conn, [EHLO, b"XBREW\r\n" * 3])
    assert result.replies == [b"220", b"250", b"250", b"250", b"421"]
    assert result.events[-1] == ConnectionClosed(False, "too many commands")

    conn = brewing(limits=Limits(max_commands=2))
    assert talk(conn, [EHLO, b"XBREW\r\n" * 2]).replies == [b"220", b"250", b"250", b"421"]
    conn = brewing(limits=Limits(max_errors=1))
    assert talk(conn, [b"XBREW\r\n" * 2]).replies == [b"220", b"503", b"421"]


def test_help_lists_what_can_be_said_now() -> None:
    assert "X-POT2 XBREW" in said(converse(offering(BREW), "HELP"))
    later = Extension("X-LATE", "ours", lambda standing: "" if standing.secure else None, commands=("XLATE",))
    assert "XLATE" not in said(converse(offering(later), "HELP"))
    assert " XLATE" in said(converse(offering(later), "HELP", tls=True))
    assert "XBREW" not in said(converse(offering(), "HELP"))


def test_a_trace_shows_it() -> None:
    conn = brewing()
    talk(conn, [EHLO])
    conn.trace = transcript = Transcript()
    talk(conn, [b"xbrew tea\r\nXBREWS tea\r\n"])
    assert "C: xbrew tea\n" in str(transcript)
    assert str(transcript).count("tea") == 1, "what nobody knows may be anything"


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_verb_that_smtp_has_is_no_extension(verb: str) -> None:
    with pytest.raises(GrammarError, match=f"SMTP has {verb} already"):
        Extension("X-NEW", "ours", lambda _: "", commands=("XNEW", verb))


@pytest.mark.parametrize(
    "verb", ["", "X", "xnew", "XNEW ", " XNEW", "X NEW", "X_NEW", "2NEW", "-NEW", "XNEÜ", "XNEW\n"]
)
def test_what_is_no_verb(verb: str) -> None:
    with pytest.raises(GrammarError):
        Extension("X-NEW", "ours", lambda _: "", commands=(verb,))
    conn = client()
    with pytest.raises(GrammarError):
        conn.command(verb)
    assert conn.data_to_send() == b""


def test_a_text_in_place_of_several_verbs_is_found_out() -> None:
    without_a_comma: Any = "XNEW"
    with pytest.raises(GrammarError):
        Extension("X-NEW", "ours", lambda _: "", commands=without_a_comma)


@pytest.mark.parametrize("verb", ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH"])
def test_a_verb_for_which_clients_are_hung_up_on(verb: str) -> None:
    """Whether it was would depend on how the network cuts the line."""
    assert is_foreign(verb.encode() + b" ")
    with pytest.raises(GrammarError, match="HTTP"):
        Extension("X-NEW", "ours", lambda _: "", commands=(verb,))


def test_two_extensions_may_share_a_command() -> None:
    never = Extension("X-NEVER", "ours", lambda _: None, commands=("XBREW",))
    for both in ((BREW, never), (never, BREW)):
        assert converse(offering(*both), "XBREW").lines == ["ExtensionCommand 'XBREW'"]


# Hooks.


class Kitchen:
    """Brews tea."""

    def __init__(self, answer: Any = "on its way") -> None:
        self.orders: list[ExtensionCommand] = []
        self._answer = answer

    def on_command(self, session: SMTPSession, command: ExtensionCommand) -> Any:
        self.orders.append(command)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


def served(handler: object, line: bytes) -> bytes:
    conn = brewing()
    driver = Driver(conn, serve(SMTPSession(conn), handler))
    driver.go()
    driver.go(EHLO)
    return driver.go(line)


def test_the_hook_answers() -> None:
    kitchen = Kitchen()
    assert served(kitchen, b"XBREW tea\r\n") == b"250 2.0.0 on its way\r\n"
    assert kitchen.orders == [ExtensionCommand("XBREW", "tea")]
    assert served(Kitchen(None), b"XBREW\r\n") == b"250 2.0.0 OK\r\n"
    assert served(Kitchen(Reply(214, "a\nb")), b"XBREW\r\n") == b"214-a\r\n214 b\r\n"
    assert served(Kitchen(Reject(504, "none", "5.5.4")), b"XBREW\r\n") == b"504 5.5.4 none\r\n"
    assert served(Kitchen(False), b"XBREW\r\n").startswith(b"451 4.3.0 ")
    assert served(Kitchen(Reply(354, "go on")), b"XBREW\r\n").startswith(b"451 4.3.0 ")
    assert served(Kitchen(ValueError("tea")), b"XBREW\r\n") == b"451 4.3.0 Internal error, try again later\r\n"


def test_without_a_hook_there_is_no_such_command(caplog: pytest.LogCaptureFixture) -> None:
    assert served(Outbox(), b"XBREW tea\r\n") == b"502 5.5.1 Command not implemented\r\n"
    with caplog.at_level(logging.WARNING):
        MemoryClient(Outbox(), server=offering())
        assert "on_command" not in caplog.text
        MemoryClient(Outbox(), server=offering(BREW))
    assert "the handler has no on_command, so that every command of your own is refused" in caplog.text


def test_the_test_kit_has_them_as_well() -> None:
    with MemoryClient(Kitchen(), server=offering(BREW)) as asking:
        assert asking.command("XBREW", "tea") == Reply.build(250, "on its way", "2.0.0")
        assert "C: XBREW tea" in asking.said.lines

    class SlowKitchen:
        async def on_command(self, session: SMTPSession, command: ExtensionCommand) -> str:
            await asyncio.sleep(0)
            return command.argument

    async def run() -> Reply:
        async with AsyncMemoryClient(SlowKitchen(), server=offering(BREW)) as asking:
            return await asking.command("XBREW", "tea")

    assert asyncio.run(run()).text == "tea"


# The client.

ASKED = """
S: 220 mx.example.org
E: GreetingReceived 220 mx.example.org
! command("XBREW", "before EHLO")
C: XBREW before EHLO
S: 503 not yet
E: ReplyReceived [XBREW] 503 not yet
! ehlo("client.example")
C: EHLO client.example
S: 250-mx.example.org
S: 250 PIPELINING
E: ReplyReceived [EHLO] 250 mx.example.org / PIPELINING
! mail(Address.parse("ada@example.org"))
! command("XBREW", "tea")
! rcpt(Address.parse("bob@example.org"))
! command("X-POT2")
! noop()
C: MAIL FROM:<ada@example.org>
C: XBREW tea
S: 250 OK
S: 250-one
S: 250 two
E: ReplyReceived [MAIL] 250 OK
E: ReplyReceived [XBREW] 250 one / two
C: RCPT TO:<bob@example.org>
C: X-POT2
S: 250 OK
S: 502 no such command
E: ReplyReceived [RCPT] 250 OK
E: ReplyReceived [X-POT2] 502 no such command
C: NOOP
S: 250 OK
E: ReplyReceived [NOOP] 250 OK
! command("XBREW")
C: XBREW
S: 421 closing
E: ReplyReceived [XBREW] 421 closing
E: ConnectionClosed 'the server said: 421 closing'
"""


def test_a_client_says_any() -> None:
    assert_plays(SMTPClientConnection, ASKED)


def test_nothing_leaves_behind_it_before_its_reply_is_there() -> None:
    """RFC 2920 section 3.1: a command of an extension is the last of a group."""
    conn = client("PIPELINING")
    conn.mail(ADA)
    conn.command("XBREW", "tea")
    conn.rcpt(BOB)
    assert conn.data_to_send() == b"MAIL FROM:<ada@example.org>\r\nXBREW tea\r\n"
    say(conn, "250 OK")
    assert conn.data_to_send() == b""
    say(conn, "250 OK")
    assert conn.data_to_send() == b"RCPT TO:<bob@example.org>\r\n"


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_client_does_not_say_so_what_it_has_a_method_for(verb: str) -> None:
    conn = client("SMTPUTF8")
    with pytest.raises(LocalProtocolError, match=verb):
        conn.command(verb, "x")
    assert conn.data_to_send() == b""
    assert conn.noop().verb == "NOOP", "it is as usable as before"


@pytest.mark.parametrize("argument", ["a\rb", "a\nb", "a\r\nQUIT", "a\0b", "\x1b[2J", "a\x85b", "a\u2028b", "\x7f"])
def test_an_argument_that_may_not_leave(argument: str) -> None:
    conn = client("SMTPUTF8")
    with pytest.raises(GrammarError):
        conn.command("XBREW", argument)
    assert conn.data_to_send() == b""


def test_utf8_needs_smtputf8() -> None:
    conn = client("SMTPUTF8")
    conn.command("XBREW", "grüner Tee")
    assert conn.data_to_send() == "XBREW grüner Tee\r\n".encode()
    with pytest.raises(NotSupportedError):
        client().command("XBREW", "grüner Tee")


def test_it_has_a_single_reply() -> None:
    conn = client()
    conn.command("XBREW")
    conn.data_to_send()
    conn.receive_data(b"334 more?\r\n")
    with pytest.raises(RemoteProtocolError, match="not an answer to XBREW"):
        conn.next_event()


def test_it_changes_nothing_that_the_client_knows_of() -> None:
    conn = client("X-BREW")
    conn.command("XBREW")
    conn.data_to_send()
    before = conn.state, conn.extensions, conn.tls
    (event,) = say(conn, "220 whatever")
    assert isinstance(event, ReplyReceived)
    assert (conn.state, conn.extensions, conn.tls) == before
    assert conn.idle


def test_nothing_of_it_is_taken_for_a_secret() -> None:
    conn = client()
    conn.trace = transcript = Transcript()
    command = conn.command("XBREW", "tea")
    conn.data_to_send()
    assert repr(command) == "<XBREW tea>"
    assert str(transcript) == "C: XBREW tea"
