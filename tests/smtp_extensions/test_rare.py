"""What is only read and written: NO-SOLICITING (RFC 3865), MTRK (3885), CONPERM, CONNEG (4141), CHECKPOINT (1845)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto._core.flow import Flow
from mailproto._core.policy import TLSPolicy
from mailproto.errors import GrammarError, LocalProtocolError, NotSupportedError, RemoteProtocolError
from mailproto.smtp import (
    CommandSkipped,
    Extension,
    MailParameters,
    Outcome,
    RcptParameters,
    SendResult,
    SMTPClientConnection,
    Tracking,
    make_submission,
)
from mailproto.smtp.extensions import (
    CHECKPOINT,
    CONNEG,
    CONPERM,
    MTRK,
    NO_SOLICITING,
    OFF_BY_DEFAULT,
    no_soliciting,
)
from mailproto.smtp.flows.client import SessionOptions, open_session
from mailproto.smtp.flows.sending import send_message
from tests.helpers import PROPERTY, assert_plays
from tests.smtp import ADA, BOB, client, say
from tests.smtp.pipes import converse as run_client
from tests.smtp.pipes import scripted
from tests.smtp_extensions import (
    converse,
    lines_sent,
    offer_of,
    offering,
    read_mail,
    read_rcpt,
    refuses_mail,
    refuses_rcpt,
    write_mail,
    write_rcpt,
)

HASH = bytes(range(20))
ENCODED = "AAECAwQFBgcICQoLDA0ODxAREhM"  # without its padding: 27 octets, RFC 3885 section 3.2

MAIL_PARAMETERS = [
    (NO_SOLICITING, "SOLICIT=org.example:ADV:ADLT", MailParameters(solicit=("org.example:ADV:ADLT",))),
    (
        NO_SOLICITING,
        "SOLICIT=net.example:ADV,org.example:ADV:ADLT",
        MailParameters(solicit=("net.example:ADV", "org.example:ADV:ADLT")),
    ),
    (NO_SOLICITING, "SOLICIT=" + "a" * 1000, MailParameters(solicit=("a" * 1000,))),
    (MTRK, f"MTRK={ENCODED}", MailParameters(mtrk=Tracking(HASH))),
    (MTRK, f"MTRK={ENCODED}:86400", MailParameters(mtrk=Tracking(HASH, 86_400))),
    (MTRK, "MTRK=+/+/:0", MailParameters(mtrk=Tracking(b"\xfb\xff\xbf", 0))),
    (CONPERM, "CONPERM", MailParameters(conperm=True)),
    (CHECKPOINT, "TRANSID=<12345@claremont.edu>", MailParameters(transid="<12345@claremont.edu>")),
]


@pytest.mark.parametrize(("extension", "text", "values"), MAIL_PARAMETERS)
def test_what_mail_says(extension: Extension, text: str, values: MailParameters) -> None:
    assert read_mail(extension, text) == values
    assert write_mail(extension, values) == text
    result = converse(offering(extension), f"MAIL FROM:<ada@example.org> {text}")
    assert result.replies == [b"250"]
    conn = client(extension.keyword)
    conn.mail(ADA, values)
    assert lines_sent(conn) == [f"MAIL FROM:<ada@example.org> {text}"]
    with pytest.raises(NotSupportedError):
        client("SIZE").mail(ADA, values)


BAD_MAIL_PARAMETERS = [
    (NO_SOLICITING, "SOLICIT"),
    (NO_SOLICITING, "SOLICIT="),
    (NO_SOLICITING, "SOLICIT=1st:ADV"),
    (NO_SOLICITING, "SOLICIT=a,,b"),
    (NO_SOLICITING, "SOLICIT=a,"),
    (NO_SOLICITING, "SOLICIT=a/b"),
    (NO_SOLICITING, "SOLICIT=ä"),
    (NO_SOLICITING, "SOLICIT=" + "a" * 1001),
    (NO_SOLICITING, "SOLICIT=" + "a" * 500 + "," + "b" * 500),
    (MTRK, "MTRK"),
    (MTRK, "MTRK="),
    (MTRK, "MTRK=:60"),
    (MTRK, f"MTRK={ENCODED}:"),
    (MTRK, f"MTRK={ENCODED}:1000000000"),
    (MTRK, f"MTRK={ENCODED}:-1"),
    (MTRK, f"MTRK={ENCODED}="),
    (MTRK, "MTRK=AAAAA"),
    (MTRK, "MTRK=AB"),  # bits that stand for nothing
    (MTRK, "MTRK=a.b"),
    (CONPERM, "CONPERM="),
    (CONPERM, "CONPERM=yes"),
    (CHECKPOINT, "TRANSID"),
    (CHECKPOINT, "TRANSID=12345@claremont.edu"),
    (CHECKPOINT, "TRANSID=<12345>"),
    (CHECKPOINT, "TRANSID=<@claremont.edu>"),
    (CHECKPOINT, "TRANSID=<a..b@c>"),
    (CHECKPOINT, "TRANSID=<a@b@c>"),
    (CHECKPOINT, "TRANSID=<a(x)@b>"),
    (CHECKPOINT, "TRANSID=<ä@b>"),
    (CHECKPOINT, "TRANSID=<" + "a" * 77 + "@b>"),
]


@pytest.mark.parametrize(("extension", "text"), BAD_MAIL_PARAMETERS)
def test_what_mail_may_not_say(extension: Extension, text: str) -> None:
    assert refuses_mail(extension, text)
    assert converse(offering(extension), f"MAIL FROM:<a@b> {text}").output.startswith(b"501 5.5.4 ")


def test_conneg_asks_for_what_a_recipient_can_show() -> None:
    values = RcptParameters(conneg=True)
    assert read_rcpt(CONNEG, "CONNEG") == values
    assert write_rcpt(CONNEG, values) == "CONNEG"
    assert refuses_rcpt(CONNEG, "CONNEG=1")
    result = converse(offering(CONNEG), "MAIL FROM:<a@b>", "RCPT TO:<c@d> CONNEG")
    assert result.lines[-1] == "Rcpt c@d conneg=True"
    conn = client("CONNEG", "PIPELINING")
    conn.mail(ADA)
    conn.rcpt(BOB, values)
    assert lines_sent(conn)[1] == "RCPT TO:<bob@example.org> CONNEG"


def test_nothing_of_this_is_offered_by_default() -> None:
    keywords = {line.partition(" ")[0] for line in offer_of(offering(), tls=True)}
    assert not keywords & {extension.keyword for extension in OFF_BY_DEFAULT}


def test_classes_that_are_not_wanted_are_offered() -> None:
    """RFC 3865 section 2.1."""
    assert "NO-SOLICITING" in offer_of(offering(NO_SOLICITING))
    assert "NO-SOLICITING net.example:ADV" in offer_of(offering(no_soliciting("net.example:ADV")))
    assert "NO-SOLICITING a:b,c:d" in offer_of(offering(no_soliciting("a:b", "c:d")))
    with pytest.raises(GrammarError):
        no_soliciting("a b")


@pytest.mark.parametrize(
    "values",
    [
        MailParameters(solicit=()),
        MailParameters(solicit=("a,b",)),
        MailParameters(transid="<a b@c>"),
        MailParameters(transid=""),
    ],
)
def test_what_a_client_does_not_write(values: MailParameters) -> None:
    with pytest.raises(GrammarError):
        client("NO-SOLICITING", "CHECKPOINT").mail(ADA, values)


@pytest.mark.parametrize(("certifier", "timeout"), [(b"", None), (b"x", -1), (b"x", 1_000_000_000)])
def test_what_is_no_tracking(certifier: bytes, timeout: int | None) -> None:
    with pytest.raises(GrammarError):
        Tracking(certifier, timeout)


def test_a_certifier_is_not_shown() -> None:
    """Who has it may ask what became of the message."""
    assert "certifier" not in repr(Tracking(HASH))


@PROPERTY
@given(st.binary(min_size=1, max_size=64), st.one_of(st.none(), st.integers(0, 999_999_999)))
def test_a_tracking_that_is_written_is_the_one_that_was_meant(certifier: bytes, timeout: int | None) -> None:
    values = MailParameters(mtrk=Tracking(certifier, timeout))
    assert read_mail(MTRK, write_mail(MTRK, values)) == values


KEYWORDS = st.from_regex(r"[A-Za-z][A-Za-z0-9._:-]{0,20}", fullmatch=True)
ATOMS = st.from_regex(r"[!#$%&'*+^_`{|}~0-9A-Za-z-]{1,8}(\.[A-Za-z]{1,8})?", fullmatch=True)


@PROPERTY
@given(st.lists(KEYWORDS, min_size=1, max_size=5), ATOMS, ATOMS)
def test_what_is_written_is_what_was_meant(keywords: list[str], local: str, domain: str) -> None:
    classes = MailParameters(solicit=tuple(keywords))
    assert read_mail(NO_SOLICITING, write_mail(NO_SOLICITING, classes)) == classes
    name = MailParameters(transid=f"<{local}@{domain}>")
    assert read_mail(CHECKPOINT, write_mail(CHECKPOINT, name)) == name


# RFC 1845 section 5: the second half of the example.
RESUMED = """
S: 220 dbc.mtview.ca.us SMTP service ready
E: GreetingReceived 220 dbc.mtview.ca.us SMTP service ready
! ehlo("ymir.claremont.edu")
C: EHLO ymir.claremont.edu
S: 250-dbc.mtview.ca.us says hello
S: 250 CHECKPOINT
E: ReplyReceived [EHLO] 250 dbc.mtview.ca.us says hello / CHECKPOINT
! mail(Address.parse("ned@ymir.claremont.edu"), MailParameters(transid="<12345@claremont.edu>"))
C: MAIL FROM:<ned@ymir.claremont.edu> TRANSID=<12345@claremont.edu>
S: 355 6135 is the transaction offset
E: ReplyReceived [MAIL] 355 6135 is the transaction offset
! rset()
C: RSET
S: 250 OK
E: ReplyReceived [RSET] 250 OK
! mail(Address.parse("ned@ymir.claremont.edu"), MailParameters(transid="<12345@claremont.edu>"))
C: MAIL FROM:<ned@ymir.claremont.edu> TRANSID=<12345@claremont.edu>
S: 250 ok
E: ReplyReceived [MAIL] 250 ok
! quit()
C: QUIT
S: 221 Goodbye
E: ReplyReceived [QUIT] 221 Goodbye
E: ConnectionClosed clean
"""


def test_an_interrupted_transaction_is_taken_back() -> None:
    assert_plays(SMTPClientConnection, RESUMED)


def test_nothing_is_said_ahead_into_a_transaction_that_may_be_another_one() -> None:
    """A lone dot would end the message that was interrupted where it broke off."""
    conn = client("CHECKPOINT", "PIPELINING")
    conn.mail(ADA, MailParameters(transid="<1@x>"))
    rcpt, data = conn.rcpt(BOB), conn.data()
    assert lines_sent(conn) == ["MAIL FROM:<ada@example.org> TRANSID=<1@x>"]
    events = say(conn, "355 6135 is the transaction offset")
    assert [event for event in events if isinstance(event, CommandSkipped)] == [
        CommandSkipped(rcpt),
        CommandSkipped(data),
    ]
    assert lines_sent(conn) == []
    with pytest.raises(LocalProtocolError):
        conn.rcpt(BOB)
    with pytest.raises(LocalProtocolError):
        conn.mail(ADA)
    conn.rset()
    assert lines_sent(conn) == ["RSET"]
    conn.mail(ADA, MailParameters(transid="<1@x>"))
    conn.rcpt(BOB)
    assert say(conn, "250 ok") != []
    lines_sent(conn)
    say(conn, "250 ok")
    assert lines_sent(conn) == ["RCPT TO:<bob@example.org>"]


@pytest.mark.parametrize("parameters", [MailParameters(), MailParameters(transid="<1@x>")])
def test_where_nothing_can_be_resumed_355_is_no_answer(parameters: MailParameters) -> None:
    conn = client("CHECKPOINT")
    conn.mail(ADA, parameters)
    conn.data_to_send()
    if parameters.transid is not None:
        say(conn, "250 ok")
        conn.rcpt(BOB)
        conn.data_to_send()
    with pytest.raises(RemoteProtocolError, match="355"):
        say(conn, "355 6135 is the transaction offset")


@pytest.mark.parametrize("pipelining", ["|250-PIPELINING", ""])
def test_a_message_that_could_be_resumed_is_deferred_and_sent_anew(pipelining: str) -> None:
    flights: list[bytes] = []
    answers = scripted(
        f"250-x{pipelining}|250 CHECKPOINT", "355 6135 is the transaction offset", "250 forgotten", "221 bye"
    )

    def server(said: bytes) -> bytes | None:
        flights.append(said)
        return answers(said)

    conn = SMTPClientConnection()
    parameters = MailParameters(transid="<1@x>")

    def job() -> Flow[SendResult]:
        yield from open_session(conn, SessionOptions(tls=TLSPolicy.NONE))
        return (yield from send_message(conn, make_submission(b"x\r\n", "a@b", "c@d", parameters=parameters)))

    driver, _ = run_client(conn, job(), server)
    (recipient,) = driver.result.recipients
    assert (recipient.outcome, recipient.phase, str(recipient.reply)) == (
        Outcome.DEFERRED,
        "MAIL",
        "355 6135 is the transaction offset",
    )
    assert flights[-2:] == [b"MAIL FROM:<a@b> TRANSID=<1@x>\r\n", b"RSET\r\n"]
    assert conn.idle
