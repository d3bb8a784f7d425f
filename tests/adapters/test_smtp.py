"""SMTP from one end to the other, over either adapter."""

from __future__ import annotations

import io
import logging
import pickle
import socket
import ssl
import threading
from dataclasses import replace
from email.message import EmailMessage
from pathlib import Path
from typing import Any, assert_type

import pytest

from mailproto import aio, smtp, sync
from mailproto._core.limits import Limits
from mailproto.aio import ServerOptions, TLSPolicy
from mailproto.errors import (
    AuthenticationError,
    ConnectionClosedError,
    GrammarError,
    LocalProtocolError,
    NotSupportedError,
    Reject,
    TLSRequiredError,
)
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.pop3 import POP3ServerConfig
from mailproto.sasl import Challenge, Identity, ServerExchange
from mailproto.smtp import Outcome, SMTPServerConfig, make_submission
from mailproto.smtp.extensions import BURL
from mailproto.tunnels import Socks5
from tests.adapters.facades import AioFront, SyncFront
from tests.adapters.harness import PATIENCE, Wire, scripted, server_context
from tests.data import CA, MAIL

Front = AioFront | SyncFront
MESSAGE = b"From: ada@example.org\r\nTo: bob@example.org\r\nSubject: dots\r\n\r\n.\r\n..\r\nThe end.\r\n"


class Inbox:
    """Takes mail for example.org."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.envelopes: list[smtp.Envelope] = []
        self.sessions: list[Any] = []

    def on_connect(self, session: Any) -> None:
        self.sessions.append(session)

    def on_rcpt(self, session: Any, rcpt: smtp.Rcpt) -> None:
        if rcpt.address.domain != "example.org":
            raise Reject(550, "relaying denied", "5.7.1")

    def on_message(self, session: Any, envelope: smtp.Envelope) -> str:
        self.messages.append(bytes(envelope))
        self.envelopes.append(envelope)
        return "it is safe now"


class Guarded(Inbox):
    """Takes it from those who can say who they are."""

    def on_auth(self, session: Any, check: Any) -> bool:
        return (check.username, check.password) == ("ada", "lovelace")


def message(*recipients: str) -> EmailMessage:
    made = EmailMessage()
    made["From"] = "ada@example.org"
    made["To"] = ", ".join(recipients)
    made["Subject"] = "hello"
    made.set_content("first line\n.second line\n")
    return made


def secure(front: Front, handler: Any, **settings: Any) -> Any:
    return front.SMTPServer(handler, port=0, tls=server_context(), **settings)


# Sending and receiving.


def test_mail_comes_through(front: Front) -> None:
    inbox = Inbox()
    with front.SMTPServer(inbox, port=0) as server, front.SMTPClient("127.0.0.1", server.port) as client:
        result = client.send_message(message("bob@example.org", "eve@example.com"))
        assert [(str(one.address), one.outcome) for one in result.recipients] == [
            ("bob@example.org", Outcome.ACCEPTED),
            ("eve@example.com", Outcome.REFUSED),
        ]
        assert str(result.refused[0].reply) == "550 5.7.1 relaying denied"
        assert result.reply.text == "it is safe now"
    assert b"\r\n.second line\r\n" in inbox.messages[0]
    assert [str(path) for path in inbox.envelopes[0].forward_paths] == ["bob@example.org"]
    assert inbox.sessions[0].hello == "[127.0.0.1]"
    assert inbox.sessions[0].peer == inbox.sessions[0].local == "127.0.0.1"


@pytest.mark.parametrize("name", MAIL)
def test_every_octet_comes_through(front: Front, name: str) -> None:
    inbox = Inbox()
    content = MAIL[name].read_bytes()
    with front.SMTPServer(inbox, port=0) as server, front.SMTPClient("127.0.0.1", server.port) as client:
        assert client.send_message(content, "ada@example.org", "bob@example.org").ok
    assert inbox.messages == [content if content.endswith(b"\r\n") else content + b"\r\n"]


def test_messages_in_all_shapes(front: Front, tmp_path: Path) -> None:
    path = tmp_path / "message.eml"
    path.write_bytes(MESSAGE)
    inbox = Inbox()
    envelope = ("ada@example.org", ["bob@example.org"])
    with front.SMTPServer(inbox, port=0) as server, front.SMTPClient("127.0.0.1", server.port) as client:
        assert client.send_message(MESSAGE, *envelope).ok
        assert client.send_message(io.BytesIO(MESSAGE), *envelope).ok
        with path.open("rb") as file:
            assert client.send_message(file, *envelope).ok
        assert client.send_message(MESSAGE.splitlines(keepends=True), *envelope).ok
        assert client.send_message(iter((MESSAGE,)), *envelope).ok
        assert client.send_message(MESSAGE.replace(b"\r\n", b"\n"), *envelope, canonicalise=True).ok
    assert inbox.messages == [MESSAGE] * 6


def test_a_large_message(front: Front) -> None:
    inbox = Inbox()
    line = b"x" * 70 + b"\r\n"
    content = b"Subject: large\r\n\r\n" + line * 100_000
    with front.SMTPServer(inbox, port=0) as server, front.SMTPClient("127.0.0.1", server.port) as client:
        assert client.send_message(content, "ada@example.org", "bob@example.org").ok
        pieces = (line * 1000 for _ in range(100))
        assert client.send_message(pieces, "ada@example.org", "bob@example.org").ok
    assert inbox.messages == [content, line * 100_000]


def test_several_messages_over_one_connection(front: Front) -> None:
    inbox = Inbox()
    submissions = [make_submission(MESSAGE, "ada@example.org", f"bob{n}@example.org") for n in range(5)]
    with front.SMTPServer(inbox, port=0) as server, front.SMTPClient("127.0.0.1", server.port) as client:
        assert all(result.ok for result in client.send_messages(submissions))
    names = [envelope.forward_paths[0].local_part for envelope in inbox.envelopes]
    assert names == ["bob0", "bob1", "bob2", "bob3", "bob4"]


def test_the_smaller_questions(front: Front) -> None:
    class Helpful(Inbox):
        def on_vrfy(self, session: Any, vrfy: smtp.Vrfy) -> smtp.Reply:
            return smtp.Reply(250, "<bob@example.org>")

    with front.SMTPServer(Helpful(), port=0) as server, front.SMTPClient("127.0.0.1", server.port) as client:
        assert client.verify("bob").text == "<bob@example.org>"
        assert client.expand("list").code in (252, 502, 550)
        assert client.noop().ok
        assert "PIPELINING" in client.extensions
        assert client.max_message_size == 32 << 20
        assert client.tls is None


def test_a_command_of_ones_own(front: Front) -> None:
    """On both sides, and in step with the mail before and behind it."""

    class Kitchen(Inbox):
        def on_command(self, session: Any, command: smtp.ExtensionCommand) -> smtp.Reply:
            if command.argument == "mocha":
                raise Reject(504, "we have none", "5.5.4")
            return smtp.Reply(250, f"{command.verb}\n{command.argument}\n{len(self.messages)}")

    brew = smtp.Extension("X-BREW", "ours", lambda _: "", commands=("XBREW",))
    config = smtp.with_extensions(SMTPServerConfig(), brew)
    with (
        front.SMTPServer(Kitchen(), port=0, config=config) as server,
        front.SMTPClient("127.0.0.1", server.port) as client,
    ):
        assert client.command("XBREW", "tea").text == "XBREW\ntea\n0"
        assert client.send_message(MESSAGE, "ada@example.org", "bob@example.org").ok
        assert client.command("XBREW").text == "XBREW\n\n1"
        assert client.command("XBREW", "mocha") == smtp.Reply.build(504, "we have none", "5.5.4")
        assert client.command("XUNKNOWN").code == 500
        with pytest.raises(LocalProtocolError):
            client.command("RSET")
        with pytest.raises(GrammarError):
            client.command("XBREW", "tea\r\nRSET")
        assert client.send_message(MESSAGE, "ada@example.org", "bob@example.org").ok


@pytest.mark.parametrize("lmtp", [False, True])
def test_what_is_offered_to_who_has_logged_in_can_be_asked_for(front: Front, lmtp: bool) -> None:
    config = smtp.with_extensions(SMTPServerConfig(allow_plaintext_auth=True, lmtp=lmtp), BURL)
    login: dict[str, Any] = {"user": "ada", "password": "lovelace", "allow_plaintext_auth": True}
    where: dict[str, Any] = {"tls": TLSPolicy.NONE, "config": smtp.SMTPClientConfig(lmtp=lmtp)}
    with (
        front.SMTPServer(Guarded(), port=0, config=config) as server,
        front.SMTPClient("127.0.0.1", server.port, **login, **where) as client,
    ):
        assert client.extensions["BURL"] == ""
        assert client.hello().ok
        assert client.extensions["BURL"] == "imap"
        assert client.send_message(MESSAGE, "ada@example.org", "bob@example.org").ok, "ada is still logged in"


def test_bad_input_leaves_the_client_usable(front: Front) -> None:
    inbox = Inbox()
    with front.SMTPServer(inbox, port=0) as server, front.SMTPClient("127.0.0.1", server.port) as client:
        with pytest.raises(GrammarError):
            client.send_message(b"bare\nnewline\r\n", "ada@example.org", "bob@example.org")
        with pytest.raises(GrammarError):
            client.send_message(MESSAGE, "ada@example.org", "bob@example.org>\r\nRCPT TO:<eve@example.org")
        with pytest.raises(GrammarError):
            client.send_message(EmailMessage())
        assert client.send_message(MESSAGE, "ada@example.org", "bob@example.org").ok


@pytest.mark.parametrize("chunking", [True, False])
def test_a_source_that_fails_loses_the_message(front: Front, chunking: bool) -> None:
    """And the connection, where half a message was sent that cannot be taken back."""
    inbox, config = Inbox(), smtp.SMTPClientConfig(chunking=chunking)

    def pieces() -> Any:
        yield MESSAGE
        raise OverflowError("disk on fire")

    with (
        front.SMTPServer(inbox, port=0) as server,
        front.SMTPClient("127.0.0.1", server.port, config=config) as client,
    ):
        with pytest.raises(OverflowError):
            client.send_message(pieces(), "ada@example.org", "bob@example.org")
        if chunking:
            assert client.noop().ok
        else:
            with pytest.raises((ConnectionClosedError, LocalProtocolError)):
                client.noop()
    assert inbox.messages == []


def test_a_hook_that_fails_defers_the_message(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Inbox):
        def on_message(self, session: Any, envelope: smtp.Envelope) -> str:
            raise OverflowError("disk full")

    with front.SMTPServer(Failing(), port=0) as server, front.SMTPClient("127.0.0.1", server.port) as client:
        result = client.send_message(MESSAGE, "ada@example.org", "bob@example.org")
        assert result.recipients[0].outcome is Outcome.DEFERRED
        assert "disk full" not in str(result.reply)
    assert "disk full" in caplog.text


def test_a_server_that_takes_nothing_it_was_not_told_to(front: Front) -> None:
    class Bare:
        def on_close(self, session: Any) -> None: ...

    with front.SMTPServer(Bare(), port=0) as server, front.SMTPClient("127.0.0.1", server.port) as client:
        result = client.send_message(MESSAGE, "ada@example.org", "bob@example.org")
        assert result.recipients[0].outcome is Outcome.REFUSED


# Handlers over events.


def test_a_handler_over_events(front: Front) -> None:
    bodies: list[bytes] = []
    ends: list[bool] = []

    def handle(session: Any, event: Any) -> None:
        match event:
            case smtp.Rcpt(address=address) if address.domain == "example.org":
                session.accept()
            case smtp.MessageChunk(data=data):
                bodies.append(data)
            case smtp.MessageEnd():
                session.accept("queued")
            case smtp.ConnectionClosed(clean=clean):
                ends.append(clean)

    with (
        front.SMTPServer(front.handler(handle), port=0) as server,
        front.SMTPClient("127.0.0.1", server.port) as client,
    ):
        result = client.send_message(MESSAGE, "ada@example.org", ["bob@example.org", "eve@example.com"])
        assert result.reply.text == "queued"
        assert [one.outcome for one in result.recipients] == [Outcome.ACCEPTED, Outcome.REFUSED]
    for tls in (TLSPolicy.IMPLICIT, TLSPolicy.REQUIRED):
        with (
            secure(front, front.handler(handle), implicit_tls=tls is TLSPolicy.IMPLICIT) as server,
            front.SMTPClient("localhost", server.port, tls=tls, cafile=CA) as client,
        ):
            assert client.send_message(MESSAGE, "ada@example.org", "bob@example.org").ok
    assert b"".join(bodies) == MESSAGE * 3
    assert ends == [True] * 3


def test_a_handler_over_events_knows_which_there_are() -> None:
    """So that a type checker finds a name that none of them has, and those that a match has forgotten."""
    seen: list[str] = []

    def see(session: sync.SMTPEventSession) -> None:
        for event in session:
            assert_type(event, smtp.ServerEvent | smtp.ConnectionClosed)
            seen.append(type(event).__name__)

    with sync.SMTPServer(see, port=0) as server, sync.SMTPClient("127.0.0.1", server.port, tls=TLSPolicy.NONE):
        pass
    assert seen == ["Connected", "Hello", "ConnectionClosed"]


def test_a_handler_over_events_may_have_commands_of_its_own(front: Front) -> None:
    def handle(session: Any, event: Any) -> None:
        match event:
            case smtp.ExtensionCommand("XBREW", "tea"):
                session.reply(smtp.Reply(211, "on its way"))

    brew = smtp.Extension("X-BREW", "ours", lambda _: "", commands=("XBREW",))
    config = smtp.with_extensions(SMTPServerConfig(), brew)
    with (
        front.SMTPServer(front.handler(handle), port=0, config=config) as server,
        front.SMTPClient("127.0.0.1", server.port) as client,
    ):
        assert client.command("XBREW", "tea").code == 211
        assert client.command("XBREW", "mocha").code == 502, "nobody has answered that"


def test_a_handler_that_returns_early_ends_the_connection(front: Front) -> None:
    def handle(session: Any, event: Any) -> bool:
        return isinstance(event, smtp.Mail)

    with front.SMTPServer(front.handler(handle), port=0) as server, Wire.to(server.port) as wire:
        assert wire.line().startswith(b"220 ")
        wire.send(b"EHLO x\r\nMAIL FROM:<ada@example.org>\r\nRCPT TO:<bob@example.org>\r\n")
        answers = wire.rest()
        assert b"\r\n250 2.1.0" in answers
        assert b"2.1.5" not in answers


def test_a_handler_that_returns_between_messages_says_goodbye(front: Front) -> None:
    def handle(session: Any, event: Any) -> bool:
        return isinstance(event, smtp.Reset)

    with front.SMTPServer(front.handler(handle), port=0) as server, Wire.to(server.port) as wire:
        wire.send(b"EHLO x\r\nRSET\r\n")
        assert wire.rest().rpartition(b"250 2.0.0 ")[2].partition(b"\r\n")[2].startswith(b"421 4.3.2")


@pytest.mark.parametrize("last", [smtp.Mail, smtp.Rcpt, smtp.Data, smtp.MessageChunk])
def test_a_handler_that_returns_in_a_transaction_says_goodbye(front: Front, last: type) -> None:
    """RFC 5321 section 3.8: a server that hangs up says 421 before."""

    def handle(session: Any, event: Any) -> bool:
        if session.conn.pending is not None:
            session.accept()
        return isinstance(event, last)

    with front.SMTPServer(front.handler(handle), port=0) as server, Wire.to(server.port) as wire:
        wire.send(b"EHLO x\r\nMAIL FROM:<ada@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nhalf a mess")
        assert wire.rest().splitlines()[-1].startswith(b"421 4.3.2")


def test_a_handler_may_fail_by_the_end_of_another_connection(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    """Which is told, for nobody else knows; the end of its own is how a handler ends."""

    def handle(session: Any, event: object) -> None:
        if isinstance(event, smtp.Hello):
            raise ConnectionClosedError("the next server hung up")

    with front.SMTPServer(front.handler(handle), port=0) as server, Wire.to(server.port) as wire:
        wire.line()
        wire.send(b"EHLO x\r\n")
        assert wire.line().startswith(b"451 ")
        wire.rest()
    assert "the next server hung up" in caplog.text


def test_a_handler_that_fails_is_answered_for(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    def handle(session: Any, event: Any) -> None:
        if isinstance(event, smtp.Rcpt):
            if event.address.local_part == "refused":
                raise Reject(553, "not here", "5.1.3")
            raise OverflowError("secret detail")

    with front.SMTPServer(front.handler(handle), port=0) as server:
        for name, answer in ((b"refused", b"553 5.1.3 not here"), (b"fails", b"451 4.3.0 ")):
            with Wire.to(server.port) as wire:
                wire.send(b"EHLO x\r\nMAIL FROM:<ada@example.org>\r\nRCPT TO:<%s@example.org>\r\n" % name)
                answers = wire.rest()
                assert answer in answers
                assert b"secret" not in answers
    assert "secret detail" in caplog.text
    assert "not here" not in caplog.text


# TLS and credentials.


@pytest.mark.parametrize("implicit", [True, False], ids=["implicit", "starttls"])
def test_a_login_under_tls(front: Front, implicit: bool) -> None:
    inbox = Guarded()
    config = SMTPServerConfig(require_auth=True, require_tls=not implicit, limits=Limits(auth_failure_delay=0.0))
    tls = TLSPolicy.IMPLICIT if implicit else TLSPolicy.REQUIRED
    where = {"tls": tls, "cafile": CA, "server_hostname": "localhost"}
    with secure(front, inbox, implicit_tls=implicit, config=config) as server:
        with front.SMTPClient("127.0.0.1", server.port, user="ada", password="lovelace", **where) as client:
            assert client.tls.version == "TLSv1.3"
            assert client.send_message(message("bob@example.org")).ok
        with front.SMTPClient("127.0.0.1", server.port, **where) as client:
            assert not client.send_message(message("bob@example.org")).ok
            client.log_in("ada", "lovelace")
            assert client.send_message(message("bob@example.org")).ok
        with pytest.raises(AuthenticationError):
            front.SMTPClient("127.0.0.1", server.port, user="ada", password="byron", **where).connect()
    assert [session.identity.name for session in inbox.sessions[:1]] == ["ada"]


def test_credentials_do_not_leave_in_clear(front: Front) -> None:
    with front.SMTPServer(Guarded(), port=0) as server:
        with pytest.raises(TLSRequiredError):
            front.SMTPClient("127.0.0.1", server.port, user="ada", password="lovelace").connect()
        login: dict[str, Any] = {"tls": TLSPolicy.NONE, "user": "ada", "password": "lovelace"}
        with pytest.raises(AuthenticationError, match="unless allow_plaintext_auth"):
            front.SMTPClient("127.0.0.1", server.port, **login).connect()
        with pytest.raises(AuthenticationError, match="no way to log in; in clear many do not"):
            front.SMTPClient("127.0.0.1", server.port, allow_plaintext_auth=True, **login).connect()


def test_a_server_that_lacks_tls_gets_nothing(front: Front) -> None:
    def script(wire: Wire) -> None:
        wire.send(b"220 mx ESMTP\r\n")
        assert wire.line().startswith(b"EHLO ")
        wire.send(b"250-mx\r\n250 SIZE\r\n")
        assert wire.rest() == b""

    with scripted(script) as port, pytest.raises(TLSRequiredError):
        front.SMTPClient("127.0.0.1", port, tls=TLSPolicy.REQUIRED).connect()


def test_a_server_that_nobody_vouches_for(front: Front) -> None:
    for implicit, tls in ((True, TLSPolicy.IMPLICIT), (False, TLSPolicy.REQUIRED), (False, TLSPolicy.OPPORTUNISTIC)):
        inbox = Inbox()
        with secure(front, inbox, implicit_tls=implicit) as server:
            with pytest.raises(ssl.SSLCertVerificationError):
                front.SMTPClient("localhost", server.port, tls=tls).connect()
            with pytest.raises(ssl.SSLCertVerificationError):
                front.SMTPClient("127.0.0.1", server.port, tls=tls, cafile=CA, server_hostname="else.test").connect()
        assert not any(session.hello and session.tls for session in inbox.sessions)


def test_a_context_of_one_s_own(front: Front) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with secure(front, Inbox()) as server:
        with front.SMTPClient("127.0.0.1", server.port, tls=TLSPolicy.REQUIRED, context=context) as client:
            assert client.tls.peer_certificate is None
        with pytest.raises(LocalProtocolError):
            front.SMTPClient("127.0.0.1", server.port, context=context, cafile=CA)


@pytest.mark.parametrize("name", ["mx..example.org", "x" * 64, ".example.org"])
def test_what_is_no_name_to_verify_is_said_before_anything_is(front: Front, name: str) -> None:
    """And not by a UnicodeError of the TLS library's, in the middle of a session."""
    for where in ({"host": name}, {"host": "127.0.0.1", "server_hostname": name}):
        with pytest.raises(GrammarError):
            front.SMTPClient(**where)


@pytest.mark.parametrize("port", [-1, 1 << 16, (1 << 16) + 25])
def test_a_slip_in_a_port_leads_to_no_other_port(front: Front, port: int) -> None:
    """As look-ups have it, who take it modulo 65,536."""
    wrong_ones: list[dict[str, Any]] = [{"port": port}, {"proxy": Socks5("localhost", port)}]
    for wrong in wrong_ones:
        with pytest.raises(GrammarError, match="not a port"):
            front.SMTPClient("127.0.0.1", **wrong)
        with pytest.raises(GrammarError, match="not a port"):
            front.POP3Client("127.0.0.1", **wrong)


@pytest.mark.parametrize("name", ["fa\u00df.example", "mail.\u03c2.example", "a\u200db.example"])
def test_the_password_for_one_host_does_not_go_to_another(front: Front, name: str) -> None:
    """IDNA 2003, which look-ups and TLS go by, makes fass.example of the first; IDNA 2008 does not."""
    for where in ({"host": name}, {"host": "127.0.0.1", "server_hostname": name}):
        with pytest.raises(GrammarError, match="A-labels") as refused:
            front.SMTPClient(user="ada", password="pw", **where)
        assert "idna_encode" not in str(refused.value), "which is for addresses, and no help here"


@pytest.mark.parametrize(
    "wrong",
    [
        {"mechanisms": ["PLIAN"]},
        {"mechanisms": ["PLAIN", "plain"]},
        {"mechanisms": "PLAIN"},
        {"mechanisms": ["APOP"]},
        {"minimum_mechanism": "SCRAM"},
    ],
)
def test_a_mechanism_that_nobody_knows_is_the_callers_mistake(front: Front, wrong: dict[str, Any]) -> None:
    """And not said of the server, which may offer whatever it likes."""
    for client in (front.SMTPClient, front.POP3Client):
        with pytest.raises(GrammarError):
            client("127.0.0.1", user="ada", password="pw", **wrong)


def test_who_answers_for_lists_is_seen_to(front: Front) -> None:
    """RFC 5321 section 3.5.2: where EXPN is supported, EHLO says so."""

    class WithLists(Inbox):
        def on_expn(self, session: Any, expn: Any) -> str:
            return f"<member@{expn.argument}.example>"

    for inbox, offered, reply in ((Inbox(), False, "502 "), (WithLists(), True, "252 2.0.0 <member@x.example>")):
        with front.SMTPServer(inbox, port=0) as server, front.SMTPClient("127.0.0.1", server.port) as client:
            assert ("EXPN" in client.extensions) is offered
            assert "HELP" in client.extensions
            assert str(client.expand("x")).startswith(reply)


# Ends.


def test_a_client_says_goodbye_when_all_went_well_and_only_then(front: Front) -> None:
    class Listening(Inbox):
        closed = threading.Event()

        def on_close(self, session: Any) -> None:
            self.closed.set()

    said: list[bytes] = []

    def trace(speaker: str, line: bytes) -> None:
        if speaker == "C":
            said.append(line)

    with front.SMTPServer(Listening(), port=0) as server:
        client = front.SMTPClient("127.0.0.1", server.port)
        client.conn.trace = trace
        with client:
            pass
        assert said == [b"EHLO [127.0.0.1]", b"QUIT"]
        said.clear()
        client = front.SMTPClient("127.0.0.1", server.port, local_name="client.example.org")
        client.conn.trace = trace
        with pytest.raises(OverflowError), client:
            raise OverflowError
        assert said == [b"EHLO client.example.org"]
        assert Listening.closed.wait(PATIENCE)


def test_goodbye_is_a_courtesy(front: Front) -> None:
    def script(wire: Wire) -> None:
        wire.send(b"220 mx ESMTP\r\n")
        wire.line()
        wire.send(b"250 mx\r\n421 I am off\r\n")

    with scripted(script) as port:
        client = front.SMTPClient("127.0.0.1", port, tls=TLSPolicy.NONE)
        client.connect()
        client.quit()
        client.quit()
        client.close()


def test_goodbye_to_nobody(front: Front) -> None:
    def script(wire: Wire) -> None:
        wire.send(b"220 mx ESMTP\r\n")
        wire.line()
        wire.send(b"250 mx\r\n")

    with scripted(script) as port:
        client = front.SMTPClient("127.0.0.1", port, tls=TLSPolicy.NONE)
        client.connect()
    with pytest.raises((ConnectionClosedError, LocalProtocolError)):
        client.noop()
    client.quit()


def test_a_client_is_used_once(front: Front) -> None:
    with front.SMTPServer(Inbox(), port=0) as server:
        client = front.SMTPClient("127.0.0.1", server.port)
        with pytest.raises(LocalProtocolError, match="not connected"):
            client.noop()
        with client, pytest.raises(LocalProtocolError, match="connects once"):
            client.connect()
        with pytest.raises((LocalProtocolError, ConnectionClosedError)):
            client.noop()


def test_a_connection_that_breaks_behind_the_last_dot(front: Front) -> None:
    def script(wire: Wire) -> None:
        wire.send(b"220 mx ESMTP\r\n")
        wire.line()
        wire.send(b"250 mx\r\n")
        for answer in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            wire.line()
            wire.send(answer)
        while wire.line() != b".":
            pass

    with scripted(script) as port:
        client = front.SMTPClient("127.0.0.1", port, tls=TLSPolicy.NONE)
        client.connect()
        result = client.send_message(MESSAGE, "ada@example.org", "bob@example.org")
        assert result.recipients[0].outcome is Outcome.UNKNOWN
        client.close()


def test_a_transaction_under_way_is_finished_before_a_server_closes(front: Front) -> None:
    inbox = Inbox()
    server = front.SMTPServer(inbox, port=0)
    server.start()
    with Wire.to(server.port) as wire, Wire.to(server.port) as idle:
        assert wire.line().startswith(b"220 ")
        assert idle.line().startswith(b"220 ")
        wire.send(b"EHLO x\r\nMAIL FROM:<ada@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n")
        while not wire.line().startswith(b"354"):
            pass
        closing = threading.Thread(target=server.close, args=(PATIENCE,))
        closing.start()
        assert idle.rest().startswith(b"421 4.3.2")
        wire.send(MESSAGE.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        assert wire.line().startswith(b"250 2")
        assert wire.rest().startswith(b"421 4.3.2")
        idle.close()
        wire.close()
        closing.join(PATIENCE)
        assert not closing.is_alive()
    assert inbox.messages == [MESSAGE]


def test_one_connection_too_many(front: Front) -> None:
    with (
        front.SMTPServer(Inbox(), port=0, options=ServerOptions(max_connections=1)) as server,
        front.SMTPClient("127.0.0.1", server.port),
    ):
        with Wire.to(server.port) as wire:
            assert wire.rest().startswith(b"421 ")
        with pytest.raises((smtp.ReplyError, ConnectionClosedError)):
            front.SMTPClient("127.0.0.1", server.port).connect()


# Where.


def test_over_a_unix_socket_and_one_that_was_handed_in(front: Front, tmp_path: Path) -> None:
    inbox = Inbox()
    with front.SMTPServer(inbox, path=tmp_path / "smtp") as server:
        assert server.port == 0
        with front.SMTPClient(path=tmp_path / "smtp") as client:
            assert client.send_message(MESSAGE, "ada@example.org", "bob@example.org").ok
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(tmp_path / "smtp"))
        with front.SMTPClient(sock=sock, tls=TLSPolicy.NONE) as client:
            assert client.send_message(MESSAGE, "ada@example.org", "bob@example.org").ok
    assert inbox.messages == [MESSAGE] * 2
    assert inbox.sessions[0].peer == ""


# Mistakes.


def test_a_client_of_ipv4_is_one_where_ipv6_is_listened_for_too(front: Front) -> None:
    """As on a socket that is handed down by a service manager."""
    met = []

    class Host(Inbox):
        def on_connect(self, session: Any) -> None:
            met.append((session.peer, session.local))

    sock = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with front.SMTPServer(Host(), sock=sock) as server, Wire.to(server.port) as wire:
        assert wire.line().startswith(b"220 ")
    assert met == [("127.0.0.1", "127.0.0.1")]


def test_handlers_that_cannot_be(front: Front) -> None:
    with pytest.raises(LocalProtocolError, match="not a class"):
        front.SMTPServer(Inbox, port=0)
    with pytest.raises(LocalProtocolError, match="none of the hooks"):
        front.SMTPServer(object(), port=0)
    with pytest.raises(LocalProtocolError, match="needs a TLS context"):
        front.SMTPServer(Inbox(), port=0, implicit_tls=True)
    with pytest.raises(TypeError, match="server_context"):
        front.SMTPServer(Inbox(), port=0, tls=True)


@pytest.mark.parametrize("name", ["on_mesage", "on_messages", "on_receipt"])
def test_what_looks_like_a_hook_is_told_if_it_is_none(
    front: Front, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """It would never be called, and no checker of types can tell."""
    handler: Any = type("Misspelt", (Inbox,), {name: lambda *_: None, "on_login": lambda _: None})()
    front.SMTPServer(handler, port=0)
    aio.SMTPServer(aio.InThreads(handler, "on_message"), port=0)
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == [name] * 2


@pytest.mark.parametrize(
    ("hooks", "missing"),
    [
        (["on_rcpt", "on_message"], []),
        (["on_rcpt", "on_delivery"], []),
        (["on_rcpt", "on_burl"], []),
        (["on_message"], [("on_rcpt", "every recipient")]),
        (["on_rcpt", "on_chunk"], [("on_message", "every message")]),
        (["on_auth"], [("on_rcpt", "every recipient"), ("on_message", "every message")]),
    ],
)
def test_what_everybody_is_refused_for_want_of_a_hook_is_told_once(
    front: Front, caplog: pytest.LogCaptureFixture, hooks: list[str], missing: list[tuple[str, str]]
) -> None:
    """Clients were refused, and whoever had started the server saw nothing of it."""
    handler = type("Handler", (), {name: lambda *_: None for name in hooks})()
    with front.SMTPServer(handler, port=0) as server:
        for _ in range(2):
            with front.SMTPClient("127.0.0.1", server.port) as client:
                client.send_message(MESSAGE, "ada@example.org", "bob@example.org")
    assert [record.args for record in caplog.records if record.levelno == logging.WARNING] == missing


@pytest.mark.parametrize(
    ("hooks", "missing"),
    [
        (["on_auth", "on_login"], []),
        (["on_scram_key", "on_login"], []),
        (["on_auth"], [("on_login", "every login")]),
        (["on_login"], [("on_auth", "every login")]),
    ],
)
def test_so_is_what_keeps_everybody_from_their_mail(
    front: Front, caplog: pytest.LogCaptureFixture, hooks: list[str], missing: list[tuple[str, str]]
) -> None:
    front.POP3Server(type("Handler", (), {name: lambda *_: None for name in hooks})(), port=0)
    assert [record.args for record in caplog.records] == missing


def test_so_is_a_mechanism_that_nobody_knows(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    host = MailHost(lambda _: MemoryMaildrop())
    front.SMTPServer(host, port=0, config=SMTPServerConfig(auth_mechanisms=("PLAIN", "ROT13")))
    front.POP3Server(host, port=0, config=POP3ServerConfig(auth_mechanisms=("ROT13",)))
    assert caplog.messages == ["the mechanism ROT13 is offered, and nobody knows it"] * 2


class Word:
    """A mechanism of one's own, which asks the handler nothing."""

    name = "X-WORD"
    reveals_secret = True

    def start(self, initial_response: bytes | None) -> ServerExchange:
        word = initial_response if initial_response is not None else (yield Challenge(b""))
        return Identity("ada", self.name) if word == b"plover" else None


def test_what_a_mechanism_of_ones_own_asks_for_nobody_misses(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    offered: dict[str, Any] = {"auth_mechanisms": ("X-WORD",)}
    known = {"X-WORD": Word()}
    front.SMTPServer(Inbox(), port=0, config=SMTPServerConfig(require_auth=True, **offered), mechanisms=known)
    opens = type("Opens", (), {"on_login": lambda *_: None})()
    front.POP3Server(opens, port=0, config=POP3ServerConfig(**offered), mechanisms=known)
    assert not caplog.records


def test_and_who_asks_for_logins_has_to_answer_for_them(front: Front, caplog: pytest.LogCaptureFixture) -> None:
    config = SMTPServerConfig(require_auth=True)
    front.SMTPServer(Inbox(), port=0, config=config)
    assert [record.args for record in caplog.records] == [("on_auth", "every login")]
    caplog.clear()
    front.SMTPServer(Inbox(), port=0, config=replace(config, trusted_peers=("127.0.0.1",)))
    assert not caplog.records, "others may log in for the client, and tell with XCLIENT"


def test_what_is_to_run_in_a_thread_has_to_be_there() -> None:
    with pytest.raises(LocalProtocolError, match="has no on_mesage"):
        aio.InThreads(Inbox(), "on_mesage")


def test_coroutines_are_for_asyncio() -> None:
    async def handler(session: Any) -> None:
        raise AssertionError(session)

    function: Any = handler
    for server in (sync.SMTPServer, sync.POP3Server):
        with pytest.raises(LocalProtocolError, match="cannot be awaited"):
            server(function, port=0)
        waits = type("Waits", (), {"on_connect": function, "on_close": lambda *_: None})()
        with pytest.raises(LocalProtocolError, match="cannot be awaited"):
            server(waits, port=0)


def test_credentials_are_complete_and_kept_to_oneself(front: Front) -> None:
    with pytest.raises(LocalProtocolError):
        front.SMTPClient("127.0.0.1", user="ada")
    client = front.SMTPClient("127.0.0.1", user="ada", password="lovelace")
    assert "lovelace" not in repr(client)
    assert "lovelace" not in repr(client._options)
    with pytest.raises(TypeError):
        pickle.dumps(client)


@pytest.mark.parametrize("tls", ["required", "implicit", True, False, ssl.CERT_REQUIRED])
def test_what_is_no_policy_does_not_pass_for_one_without_tls(front: Front, tls: Any) -> None:
    for client in (front.SMTPClient, front.POP3Client):
        with pytest.raises(TypeError, match="TLSPolicy"):
            client("127.0.0.1", 1, tls=tls)


def test_what_the_server_does_not_offer_is_not_tried(front: Front) -> None:
    config = SMTPServerConfig(max_message_size=100)
    with (
        front.SMTPServer(Inbox(), port=0, config=config) as server,
        front.SMTPClient("127.0.0.1", server.port) as client,
    ):
        with pytest.raises(NotSupportedError):
            client.send_message(b"x" * 200 + b"\r\n", "ada@example.org", "bob@example.org")
        assert client.send_message(b"x\r\n", "ada@example.org", "bob@example.org").ok
