"""Sessions that use most of the extensions, either side: whole, at every cut, and octet by octet."""

from __future__ import annotations

from datetime import UTC, datetime

from mailproto.smtp import SMTPClientConnection, SMTPServerConfig, SMTPServerConnection
from mailproto.smtp.extensions import CONNEG, CONPERM, MTRK, PIPELINING, REQUIRETLS, RRVS, future_release
from tests.helpers import assert_plays
from tests.smtp_extensions import VERIFIED

OFFER = [
    "mx.example.org",
    "DSN",
    "SMTPUTF8",
    "DELIVERBY 60",
    "FUTURERELEASE 86400 2030-01-01T00:00:00Z",
    "MT-PRIORITY MIXER",
    "LIMITS MAILMAX=2 RCPTDOMAINMAX=1",
    "AUTH PLAIN",
    "PIPELINING",
]
LINES = [f"S: 250{' ' if line == OFFER[-1] else '-'}{line}" for line in OFFER]
LINES.append(f"E: ReplyReceived [EHLO] 250 {' / '.join(OFFER)}")

SESSION = r"""
S: 220 mx.example.org
E: GreetingReceived 220 mx.example.org
! ehlo("client.example")
C: EHLO client.example
OFFER
# Everything leaves in one flight.
! mail(Address("ada", "b.example"), MailParameters(ret=Ret.FULL, envid="a b", auth=Submitter.UNKNOWN, mt_priority=-3))
! rcpt(Address("bob", "b.example"), RcptParameters(notify=frozenset({Notify.SUCCESS, Notify.DELAY})))
! rcpt(Address("eve", "b.example"), RcptParameters(orcpt=OriginalRecipient("utf-8", "ève@b.example")))
! data()
C: MAIL FROM:<ada@b.example> AUTH=<> RET=FULL ENVID=a+20b MT-PRIORITY=-3
C: RCPT TO:<bob@b.example> NOTIFY=SUCCESS,DELAY
C: RCPT TO:<eve@b.example> ORCPT=utf-8;\x{E8}ve@b.example
C: DATA
S: 250 ok
S: 550 no
S: 250 ok
S: 354 go
E: ReplyReceived [MAIL] 250 ok
E: ReplyReceived [RCPT] 550 no
E: ReplyReceived [RCPT] 250 ok
E: ReadyForData [DATA] 354 go
! send_data(b"x\r\n")
! end_data()
# The next one is right behind it.
! mail(None, MailParameters(smtputf8=True, deliver_by=DeliverBy(60, ByMode.RETURN), hold=HoldFor(60)))
! rcpt(Address("ève", "b.example"), RcptParameters(orcpt=OriginalRecipient("utf-8", "ève@b.example")))
C: x
C: .
C: MAIL FROM:<> SMTPUTF8 BY=60;R HOLDFOR=60
C: RCPT TO:<ève@b.example> ORCPT=utf-8;ève@b.example
S: 250 queued
S: 250 ok
S: 250 ok
E: ReplyReceived [.] 250 queued
E: ReplyReceived [MAIL] 250 ok
E: ReplyReceived [RCPT] 250 ok
! rset()
! vrfy("ève", smtputf8=True)
C: RSET
C: VRFY ève SMTPUTF8
S: 250 ok
S: 250 Ève <ève@b.example>
E: ReplyReceived [RSET] 250 ok
E: ReplyReceived [VRFY] 250 Ève <ève@b.example>
! quit()
C: QUIT
S: 221 bye
E: ReplyReceived [QUIT] 221 bye
E: ConnectionClosed clean
"""


def test_a_session_with_most_of_them() -> None:
    assert_plays(SMTPClientConnection, SESSION.replace("OFFER", "\n".join(LINES)))


# What the RFCs have no dialogue of, in one flight; under TLS, which REQUIRETLS wants (RFC 8689 section 2).
RARER = r"""
S: 220 mx.example.org
E: GreetingReceived 220 mx.example.org
! ehlo("client.example")
C: EHLO client.example
S: 250-mx.example.org
S: 250-REQUIRETLS
S: 250-MTRK
S: 250-CONPERM
S: 250-CONNEG
S: 250-RRVS
S: 250-FUTURERELEASE 86400 2030-01-01T00:00:00Z
S: 250 PIPELINING
E: ReplyReceived [EHLO] 250 mx.example.org / REQUIRETLS / MTRK / CONPERM / CONNEG / RRVS / FUTURERELEASE 86400 \
2030-01-01T00:00:00Z / PIPELINING
! mail(Address.parse("ada@b.example"), MailParameters(requiretls=True, mtrk=Tracking(b"hash", 60), conperm=True))
! rcpt(Address.parse("bob@b.example"), RcptParameters(conneg=True))
C: MAIL FROM:<ada@b.example> REQUIRETLS MTRK=aGFzaA:60 CONPERM
C: RCPT TO:<bob@b.example> CONNEG
S: 250 ok
S: 250 ok
E: ReplyReceived [MAIL] 250 ok
E: ReplyReceived [RCPT] 250 ok
! rset()
! mail(None, MailParameters(hold=HoldFor(3600)))
! rcpt(Address.parse("eve@b.example"))
C: RSET
C: MAIL FROM:<> HOLDFOR=3600
C: RCPT TO:<eve@b.example>
S: 250 ok
S: 501 held for too long
S: 503 no
E: ReplyReceived [RSET] 250 ok
E: ReplyReceived [MAIL] 501 held for too long
E: ReplyReceived [RCPT] 503 no
! quit()
C: QUIT
S: 221 bye
E: ReplyReceived [QUIT] 221 bye
E: ConnectionClosed clean
""".replace("\\\n", "")

RARER_SERVER = """
E: Connected
! accept()
S: 220 mx.example.org ESMTP
C: EHLO client.example
E: Hello 'client.example' extended
! accept()
S: 250-mx.example.org
S: 250-PIPELINING
S: 250-REQUIRETLS
S: 250-MTRK
S: 250-CONPERM
S: 250-CONNEG
S: 250-FUTURERELEASE 86400 2030-01-01T00:00:00Z
S: 250 RRVS
C: MAIL FROM:<ada@b.example> REQUIRETLS MTRK=aGFzaA:60 CONPERM
C: RCPT TO:<bob@b.example> CONNEG RRVS=2014-04-03T23:01:00Z
C: RSET
C: MAIL FROM:<> HOLDFOR=3600
C: RCPT TO:<bob@b.example> MTRK=aGFzaA
C: RSET
C: MAIL FROM:<> HOLDFOR=9999999
E: Mail ada@b.example requiretls=True mtrk=Tracking(timeout=60) conperm=True
! accept()
S: 250 Sender OK
E: Rcpt bob@b.example rrvs=2014-04-03T23:01:00Z conneg=True
! reject(550, "Another owner")
S: 550 Another owner
S: 250 OK
E: Reset
E: Mail <> hold=3600
! accept()
S: 250 Sender OK
S: 555 Parameter not recognised or not offered
E: CommandRejected 'RCPT' 555 5.5.4 Parameter not recognised or not offered
S: 250 OK
E: Reset
S: 501 Cannot hold a message so long
E: CommandRejected 'MAIL' 501 5.5.4 Cannot hold a message so long
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""


def secured(conn: SMTPClientConnection) -> SMTPClientConnection:
    """Return the connection under TLS, to a server whose name was verified."""
    conn.tls_established(VERIFIED)
    return conn


def test_a_client_with_the_rarer_ones() -> None:
    assert_plays(lambda: secured(SMTPClientConnection()), RARER)


def test_a_server_with_the_rarer_ones() -> None:
    release = future_release(86_400, lambda: datetime(2030, 1, 1, tzinfo=UTC))
    offered = (PIPELINING, REQUIRETLS, MTRK, CONPERM, CONNEG, release, RRVS)
    config = SMTPServerConfig(hostname="mx.example.org", extensions=offered)

    def make() -> SMTPServerConnection:
        conn = SMTPServerConnection(config)
        conn.tls_established(VERIFIED)
        return conn

    assert_plays(make, RARER_SERVER)
