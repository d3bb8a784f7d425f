"""A session that uses most of the extensions, the client's side: whole, at every cut, and octet by octet."""

from __future__ import annotations

from mailproto.smtp import SMTPClientConnection
from tests.helpers import assert_plays

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
