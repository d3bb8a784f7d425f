"""PRDR (draft-hall-prdr-00): a reply to the message for each recipient, over SMTP."""

from __future__ import annotations

from typing import Any

import pytest

from mailproto import Reject
from mailproto.errors import LocalProtocolError, RemoteProtocolError
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.smtp import (
    Delivery,
    MailParameters,
    MessageEnd,
    Outcome,
    Reply,
    SendResult,
    SMTPClientConnection,
    SMTPServerConfig,
    SMTPServerConnection,
    make_submission,
    with_extensions,
)
from mailproto.smtp.extensions import CHUNKING, DEFAULT_EXTENSIONS, PIPELINING, PRDR
from mailproto.testing import MemoryClient, Outbox
from tests.helpers import assert_plays, talk
from tests.smtp import ADA, BOB, client, say
from tests.smtp_extensions import offer_of, offering

SERVER = """
E: Connected
! accept()
S: 220 mx.example.org ESMTP
C: EHLO client.example
E: Hello 'client.example' extended
! accept()
S: 250-mx.example.org
S: 250-PIPELINING
S: 250 PRDR
C: MAIL FROM:<x@y> PRDR
C: RCPT TO:<ada@example.org>
C: RCPT TO:<bob@example.org>
C: RCPT TO:<eve@example.org>
C: DATA
E: Mail x@y prdr=True
! accept("ok")
E: Rcpt ada@example.org
! accept("ok")
E: Rcpt bob@example.org
! accept("ok")
E: Rcpt eve@example.org
! accept("ok")
E: Data
! accept("go")
S: 250 ok
S: 250 ok
S: 250 ok
S: 250 ok
S: 354 go
C: body
C: .
B: body
E: MessageEnd 6 x@y > ada@example.org, bob@example.org, eve@example.org
{answer}
S: 353 A reply for each recipient follows
S: 250 taken
S: 550 not for me
S: 450 later
S: 250 Message accepted
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""

AT_ONCE = '! reply_each([Reply(250, "taken"), Reply(550, "not for me"), Reply(450, "later")])'
ONE_BY_ONE = """
! ask_each()
E: Delivery Rcpt ada@example.org x@y > ada@example.org, bob@example.org, eve@example.org
! accept("taken")
E: Delivery Rcpt bob@example.org x@y > ada@example.org, bob@example.org, eve@example.org
! reject(550, "not for me")
E: Delivery Rcpt eve@example.org x@y > ada@example.org, bob@example.org, eve@example.org
! reject(450, "later")
"""

CLIENT = """
S: 220 mx.example.org
E: GreetingReceived 220 mx.example.org
! ehlo("client.example")
C: EHLO client.example
S: 250-mx.example.org
S: 250-PIPELINING
S: 250 PRDR
E: ReplyReceived [EHLO] 250 mx.example.org / PIPELINING / PRDR
! mail(Address("x", "y"), MailParameters(prdr=True))
! rcpt(Address("ada", "example.org"))
! rcpt(Address("bob", "example.org"))
! rcpt(Address("eve", "example.org"))
! data()
C: MAIL FROM:<x@y> PRDR
C: RCPT TO:<ada@example.org>
C: RCPT TO:<bob@example.org>
C: RCPT TO:<eve@example.org>
C: DATA
S: 250 ok
S: 250 ok
S: 550 no
S: 250 ok
S: 354 go
E: ReplyReceived [MAIL] 250 ok
E: ReplyReceived [RCPT] 250 ok
E: ReplyReceived [RCPT] 550 no
E: ReplyReceived [RCPT] 250 ok
E: ReadyForData [DATA] 354 go
! send_data(b"body\\r\\n")
! end_data()
C: body
C: .
S: 353 content analysis has started
S: 250 ada takes it
S: 550-eve does
S: 550 not
S: 250 queued as 4711
E: ReplyReceived [.] 250 queued as 4711
! quit()
C: QUIT
S: 221 bye
E: ReplyReceived [QUIT] 221 bye
E: ConnectionClosed clean
"""


@pytest.mark.parametrize("answer", [AT_ONCE, ONE_BY_ONE])
def test_the_dialogue_of_a_server(answer: str) -> None:
    config = SMTPServerConfig(hostname="mx.example.org", extensions=(PIPELINING, PRDR))
    assert_plays(lambda: SMTPServerConnection(config), SERVER.replace("{answer}", answer))


def test_the_dialogue_of_a_client() -> None:
    assert_plays(SMTPClientConnection, CLIENT)


def test_it_is_off_unless_told() -> None:
    assert "PRDR" not in offer_of(offering())
    assert "PRDR" in offer_of(offering(PRDR))


def served(*recipients: str, prdr: bool = True, lines: bytes = b"DATA\r\nx\r\n.\r\n") -> SMTPServerConnection:
    """Return a server with a message that waits for its answer."""
    conn = SMTPServerConnection(with_extensions(SMTPServerConfig(), PRDR))
    mail = b"MAIL FROM:<x@y>" + (b" PRDR" if prdr else b"") + b"\r\n"
    talk(conn, [b"EHLO x\r\n", mail, *(f"RCPT TO:<{each}>\r\n".encode() for each in recipients)])
    conn.receive_data(lines)
    while not isinstance(conn.pending, MessageEnd):
        assert conn.next_event() is not None
        if conn.pending is not None and not isinstance(conn.pending, MessageEnd):
            conn.accept()
    conn.data_to_send()
    return conn


@pytest.mark.parametrize(
    ("codes", "overall"),
    [((250, 250), 250), ((250, 550), 250), ((550, 554), 554), ((450, 550), 451), ((452, 451), 451)],
)
def test_the_word_for_all(codes: tuple[int, int], overall: int) -> None:
    conn = served("a@b", "c@d")
    conn.reply_each([Reply(code, "x") for code in codes])
    said = [int(line[:3]) for line in conn.data_to_send().split(b"\r\n") if line]
    assert said == [353, *codes, overall]
    conn.lose_output(partly=True)
    lost = [str(rcpt.address) for each in conn.replies_lost for rcpt in each.recipients]
    assert lost == [name for name, code in zip(("a@b", "c@d"), codes, strict=True) if code == 250]


@pytest.mark.parametrize("conn", [served("a@b"), served("a@b", "c@d", prdr=False)])
def test_where_each_has_no_reply_of_its_own(conn: SMTPServerConnection) -> None:
    assert not conn.answers_each
    with pytest.raises(LocalProtocolError):
        conn.reply_each([Reply(250, "x")])
    with pytest.raises(LocalProtocolError):
        conn.ask_each()
    conn.accept()
    assert conn.data_to_send() == b"250 2.0.0 Message accepted\r\n"


@pytest.mark.parametrize("lines", [b"DATA\r\nx\r\n.\r\n", b"BDAT 3 LAST\r\nx\r\n"])
def test_one_word_may_be_enough(lines: bytes) -> None:
    conn = served("a@b", "c@d", lines=lines)
    assert conn.answers_each
    conn.reject(550, "not for anybody")
    assert conn.data_to_send() == b"550 5.0.0 not for anybody\r\n"
    assert not conn.answers_each


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("at_once", [True, False])
def test_a_good_bye_waits_for_the_word_for_all(place: int, at_once: bool) -> None:
    """Before it the client knows nothing of anybody, and would send the message again to those who have it."""
    conn = served("a@b", "c@d", "e@f")
    verdicts = [Reply(250, "taken")] * 3
    verdicts[place] = Reply.build(421, "bye", "4.3.2")
    if at_once:
        conn.reply_each(verdicts)
    else:
        conn.ask_each()
        for verdict in verdicts:
            assert isinstance(conn.next_event(), Delivery)
            conn.reply(verdict)
    each = [b"250 taken\r\n"] * 3
    each[place] = b"451 4.3.2 bye\r\n"
    follows, word = b"353 A reply for each recipient follows\r\n", b"250 2.0.0 Message accepted\r\n"
    assert conn.data_to_send() == b"".join([follows, *each, word, b"421 4.3.2 bye\r\n"])
    assert talk(conn, []).lines == ["ConnectionClosed 'closed by the server'"]


def test_a_hook_says_good_bye_behind_the_message() -> None:
    class Leaving(Choosy):
        def on_delivery(self, session: Any, envelope: Any, rcpt: Any) -> None:
            if rcpt.address.local_part == "last":
                raise Reject(421, "leaving", "4.3.2")
            super().on_delivery(session, envelope, rcpt)

    (first, second) = send(Leaving(), "ada@x", "last@x", "picky@x", "eve@x", count=2)
    accepted, deferred = Outcome.ACCEPTED, Outcome.DEFERRED
    assert [each.outcome for each in first.recipients] == [accepted, deferred, Outcome.REFUSED, accepted]
    assert str(first.deferred[0].reply) == "451 4.3.2 leaving"
    assert {each.outcome for each in second.recipients} == {deferred}


# A client that was not asked to is not told so.


@pytest.mark.parametrize("parameters", [MailParameters(), MailParameters(prdr=True)])
def test_353_out_of_place(parameters: MailParameters) -> None:
    conn = client("PRDR")
    conn.mail(ADA, parameters)
    conn.data_to_send()
    with pytest.raises(RemoteProtocolError):
        say(conn, "353 x")
    conn = client("PRDR", "PIPELINING")
    conn.mail(ADA, parameters)
    conn.rcpt(ADA)
    conn.rcpt(BOB)
    conn.data()
    conn.data_to_send()
    say(conn, "250 ok", "250 ok", "250 ok", "354 go")
    conn.end_data()
    conn.data_to_send()
    if parameters.prdr:
        say(conn, "353 x")
    with pytest.raises(RemoteProtocolError):
        say(conn, "353 x")


class Choosy(Outbox):
    """Takes the message for some recipients."""

    def on_delivery(self, session: Any, envelope: Any, rcpt: Any) -> None:
        local = rcpt.address.local_part
        if local == "full":
            raise Reject(452, "full", "4.2.2")
        if local == "picky":
            raise Reject(550, "not for me", "5.7.1")


def send(handler: object, *recipients: str, without: Any = None, count: int = 1) -> list[SendResult]:
    extensions = tuple(each for each in (*DEFAULT_EXTENSIONS, PRDR) if each is not without)
    with MemoryClient(handler, server=SMTPServerConfig(extensions=extensions)) as session:
        submissions = [make_submission(b"Subject: x\r\n\r\n", "a@b", list(recipients)) for _ in range(count)]
        return session.send_messages(submissions)


@pytest.mark.parametrize("without", [None, CHUNKING, PIPELINING])
@pytest.mark.parametrize("count", [1, 5])
def test_a_client_makes_use_of_it(without: Any, count: int) -> None:
    for result in send(Choosy(), "ada@x", "full@x", "picky@x", "eve@x", without=without, count=count):
        outcomes = [recipient.outcome for recipient in result.recipients]
        assert outcomes == [Outcome.ACCEPTED, Outcome.DEFERRED, Outcome.REFUSED, Outcome.ACCEPTED]
        assert str(result.refused[0].reply) == "550 5.7.1 not for me"
        assert str(result.reply) == "250 2.0.0 Message accepted"


def test_one_recipient_and_none_that_takes_it() -> None:
    (result,) = send(Choosy(), "ada@x")
    assert result.ok
    (result,) = send(Choosy(), "full@x", "picky@x")
    assert [recipient.outcome for recipient in result.recipients] == [Outcome.DEFERRED, Outcome.REFUSED]
    assert str(result.reply) == "451 4.0.0 No recipient takes the message at present"


@pytest.mark.parametrize(
    ("answers", "outcomes"),
    [
        (["353 x", "250 a", "550 b", "250 all"], ["accepted", "refused"]),
        (["353 x", "250 a", "550 b", "450 all"], ["deferred", "refused"]),
        (["353 x", "250 a", "250 b", "550 all"], ["refused", "refused"]),
        (["353 x", "250 a", "421 bye"], ["unknown", "deferred"]),
        (["353 x", "550 a", "421 bye"], ["refused", "deferred"]),
        (["353 x", "250 a", "250 b", "421 bye"], ["deferred", "deferred"]),
        (["421 bye"], ["deferred", "deferred"]),
        (["250 all"], ["accepted", "accepted"]),
        (["550 all"], ["refused", "refused"]),
        (["353 x", "250 a", "550 b"], ["unknown", "unknown"]),
        (["353 x"], ["unknown", "unknown"]),
    ],
)
def test_what_a_server_may_answer(answers: list[str], outcomes: list[str]) -> None:
    """The word for all counts for those who said yes, and without it nobody knows."""
    from mailproto._core.policy import TLSPolicy
    from mailproto.smtp.flows.client import SessionOptions, open_session
    from mailproto.smtp.flows.sending import send_message
    from tests.smtp.pipes import converse, scripted

    conn = SMTPClientConnection()
    server = scripted("250-x|250-PIPELINING|250 PRDR", "250 ok|250 ok|250 ok|354 go", "|".join(answers))

    def job() -> Any:
        yield from open_session(conn, SessionOptions(tls=TLSPolicy.NONE))
        return (yield from send_message(conn, make_submission(b"x\r\n", "a@b", ["c@d", "e@f"])))

    driver, flights = converse(conn, job(), server)
    assert [recipient.outcome.value for recipient in driver.result.recipients] == outcomes
    assert b"MAIL FROM:<a@b> PRDR\r\n" in flights[1]


def test_a_mail_host_stores_for_each() -> None:
    drops = {"ada": MemoryMaildrop(), "bob": MemoryMaildrop()}
    host = MailHost(drops.__getitem__, {"ada": "x", "bob": "y"})
    (result,) = send(host, "ada@x", "bob@x")
    assert result.ok
    assert [len(drop.open().messages) for drop in drops.values()] == [1, 1]
