"""The example dialogues of the RFCs, the client's side: each whole, at every cut, and octet by octet."""

from __future__ import annotations

import pytest

from mailproto.smtp import SMTPClientConfig, SMTPClientConnection
from tests.helpers import assert_plays

SP = " "

GREETING = """
S: 220 foo.com Simple Mail Transfer Service Ready
E: GreetingReceived 220 foo.com Simple Mail Transfer Service Ready
! ehlo("bar.com")
C: EHLO bar.com
S: 250-foo.com greets bar.com
S: 250-8BITMIME
S: 250-SIZE
S: 250-DSN
"""

# RFC 5321 appendix D.1, one command at a time, for the server does not offer PIPELINING.
TYPICAL = f"""{GREETING}
S: 250 HELP
E: ReplyReceived [EHLO] 250 foo.com greets bar.com / 8BITMIME / SIZE / DSN / HELP
! mail(Address.parse("Smith@bar.com"))
! rcpt(Address.parse("Jones@foo.com"))
! rcpt(Address.parse("Green@foo.com"))
! rcpt(Address.parse("Brown@foo.com"))
! data()
C: MAIL FROM:<Smith@bar.com>
S: 250 OK
C: RCPT TO:<Jones@foo.com>
S: 250 OK
E: ReplyReceived [MAIL] 250 OK
E: ReplyReceived [RCPT] 250 OK
C: RCPT TO:<Green@foo.com>
S: 550 No such user here
E: ReplyReceived [RCPT] 550 No such user here
C: RCPT TO:<Brown@foo.com>
S: 250 OK
E: ReplyReceived [RCPT] 250 OK
C: DATA
S: 354 Start mail input; end with <CRLF>.<CRLF>
E: ReadyForData [DATA] 354 Start mail input; end with <CRLF>.<CRLF>
! send_data(b"Blah blah blah...\\r\\n...et")
! send_data(b"c. etc. etc.")
! end_data()
C: Blah blah blah...
C: ....etc. etc. etc.
C: .
S: 250 OK
E: ReplyReceived [.] 250 OK
! quit()
C: QUIT
S: 221 foo.com Service closing transmission channel
E: ReplyReceived [QUIT] 221 foo.com Service closing transmission channel
E: ConnectionClosed clean
"""

ABORTED = f"""{GREETING}
S: 250 HELP
E: ReplyReceived [EHLO] 250 foo.com greets bar.com / 8BITMIME / SIZE / DSN / HELP
! mail(Address.parse("Smith@bar.com"))
C: MAIL FROM:<Smith@bar.com>
S: 250 OK
E: ReplyReceived [MAIL] 250 OK
! rcpt(Address.parse("Green@foo.com"))
C: RCPT TO:<Green@foo.com>
S: 550 No such user here
E: ReplyReceived [RCPT] 550 No such user here
! rset()
C: RSET
S: 250 OK
E: ReplyReceived [RSET] 250 OK
! mail(None)
C: MAIL FROM:<>
S: 421 foo.com Service not available, closing transmission channel
E: ReplyReceived [MAIL] 421 foo.com Service not available, closing transmission channel
E: ConnectionClosed 'the server said: 421 foo.com Service not available, closing transmission channel'
"""

VERIFYING = f"""{GREETING}
S: 250-VRFY
S: 250 HELP
E: ReplyReceived [EHLO] 250 foo.com greets bar.com / 8BITMIME / SIZE / DSN / VRFY / HELP
! vrfy("Crispin")
! expn("Example-People")
! expn("Executive-Washroom-List")
! help()
! help("MAIL")
! noop()
C: VRFY Crispin
S: 250 Mark Crispin <Admin.MRC@foo.com>
C: EXPN Example-People
S: 250-Jon Postel <Postel@isi.edu>
S: 250 Sam Q. Smith <SQSmith@specific.generic.com>
C: EXPN Executive-Washroom-List
S: 550 Access Denied to You.
C: HELP
S: 214-VRFY
S: 214 EXPN
C: HELP MAIL
S: 504 what?
C: NOOP
S: 250
E: ReplyReceived [VRFY] 250 Mark Crispin <Admin.MRC@foo.com>
E: ReplyReceived [EXPN] 250 Jon Postel <Postel@isi.edu> / Sam Q. Smith <SQSmith@specific.generic.com>
E: ReplyReceived [EXPN] 550 Access Denied to You.
E: ReplyReceived [HELP] 214 VRFY / EXPN
E: ReplyReceived [HELP] 504 what?
E: ReplyReceived [NOOP] 250
"""

# RFC 2920 section 4.2: one flight to DATA, and QUIT right behind the message.
PIPELINED = """
S: 220 innosoft.com SMTP service ready
E: GreetingReceived 220 innosoft.com SMTP service ready
! ehlo("dbc.mtview.ca.us")
C: EHLO dbc.mtview.ca.us
S: 250-innosoft.com
S: 250 PIPELINING
E: ReplyReceived [EHLO] 250 innosoft.com / PIPELINING
! mail(Address.parse("mrose@dbc.mtview.ca.us"))
! rcpt(Address.parse("ned@innosoft.com"))
! rcpt(Address.parse("dan@innosoft.com"))
! rcpt(Address.parse("kvc@innosoft.com"))
! data()
C: MAIL FROM:<mrose@dbc.mtview.ca.us>
C: RCPT TO:<ned@innosoft.com>
C: RCPT TO:<dan@innosoft.com>
C: RCPT TO:<kvc@innosoft.com>
C: DATA
S: 250 sender <mrose@dbc.mtview.ca.us> OK
S: 250 recipient <ned@innosoft.com> OK
S: 250 recipient <dan@innosoft.com> OK
S: 250 recipient <kvc@innosoft.com> OK
S: 354 enter mail, end with line containing only "."
E: ReplyReceived [MAIL] 250 sender <mrose@dbc.mtview.ca.us> OK
E: ReplyReceived [RCPT] 250 recipient <ned@innosoft.com> OK
E: ReplyReceived [RCPT] 250 recipient <dan@innosoft.com> OK
E: ReplyReceived [RCPT] 250 recipient <kvc@innosoft.com> OK
E: ReadyForData [DATA] 354 enter mail, end with line containing only "."
! end_data()
! quit()
C: .
C: QUIT
S: 250 message sent
S: 221 goodbye
E: ReplyReceived [.] 250 message sent
E: ReplyReceived [QUIT] 221 goodbye
E: ConnectionClosed clean
"""

# RFC 2920 section 4.3, its two ways: DATA is refused, or the server wants a message for nobody.
NOBODY_REFUSED = """
S: 220 innosoft.com SMTP service ready
E: GreetingReceived 220 innosoft.com SMTP service ready
! ehlo("dbc.mtview.ca.us")
C: EHLO dbc.mtview.ca.us
S: 250-innosoft.com
S: 250 PIPELINING
E: ReplyReceived [EHLO] 250 innosoft.com / PIPELINING
! mail(Address.parse("mrose@dbc.mtview.ca.us"))
! rcpt(Address.parse("nsb@thumper.bellcore.com"))
! rcpt(Address.parse("galvin@tis.com"))
! data()
C: MAIL FROM:<mrose@dbc.mtview.ca.us>
C: RCPT TO:<nsb@thumper.bellcore.com>
C: RCPT TO:<galvin@tis.com>
C: DATA
S: 250 sender <mrose@dbc.mtview.ca.us> OK
S: 550 remote mail to <nsb@thumper.bellore.com> not allowed
S: 550 remote mail to <galvin@tis.com> not allowed
S: 554 no valid recipients given
E: ReplyReceived [MAIL] 250 sender <mrose@dbc.mtview.ca.us> OK
E: ReplyReceived [RCPT] 550 remote mail to <nsb@thumper.bellore.com> not allowed
E: ReplyReceived [RCPT] 550 remote mail to <galvin@tis.com> not allowed
E: ReplyReceived [DATA] 554 no valid recipients given
! quit()
C: QUIT
S: 221 goodbye
E: ReplyReceived [QUIT] 221 goodbye
E: ConnectionClosed clean
"""

NOBODY_ACCEPTED = NOBODY_REFUSED.replace(
    "S: 554 no valid recipients given\n", 'S: 354 enter mail, end with line containing only "."\n'
).replace("E: ReplyReceived [DATA]", "C: .\nS: 554 no valid recipients given\nE: ReplyReceived [DATA]")

# RFC 1870 section 7 and RFC 6152 section 4, in one.
PARAMETERS = """
S: 220 dbc.mtview.ca.us SMTP service ready
E: GreetingReceived 220 dbc.mtview.ca.us SMTP service ready
! ehlo("ymir.claremont.edu")
C: EHLO ymir.claremont.edu
S: 250-dbc.mtview.ca.us says hello
S: 250-SIZE 1000000
S: 250-AUTH PLAIN
S: 250 8BITMIME
E: ReplyReceived [EHLO] 250 dbc.mtview.ca.us says hello / SIZE 1000000 / AUTH PLAIN / 8BITMIME
! mail(Address.parse("e=mc2@x.edu"), MailParameters(500000, Body.EIGHT_BIT_MIME, auth=Address.parse("e=mc2@x.edu")))
C: MAIL FROM:<e=mc2@x.edu> SIZE=500000 BODY=8BITMIME AUTH=e+3Dmc2@x.edu
S: 250 <ned@ymir.claremont.edu>... Sender and 8BITMIME ok
E: ReplyReceived [MAIL] 250 <ned@ymir.claremont.edu>... Sender and 8BITMIME ok
! rcpt(Address.parse('"m rose"@dbc.mtview.ca.us'))
C: RCPT TO:<"m rose"@dbc.mtview.ca.us>
S: 250 ok
E: ReplyReceived [RCPT] 250 ok
! data(canonicalise=True)
C: DATA
S: 354 Send 8BITMIME message, ending in CRLF.CRLF.
E: ReadyForData [DATA] 354 Send 8BITMIME message, ending in CRLF.CRLF.
! send_data("naïve\\n.\\rx\\r".encode())
! send_data(b"\\n.")
! end_data()
C: naïve
C: ..
C: x
C: ..
C: .
S: 250 OK
E: ReplyReceived [.] 250 OK
! quit()
C: QUIT
S: 250 Goodbye
E: ReplyReceived [QUIT] 250 Goodbye
E: ConnectionClosed clean
"""

# RFC 2034 section 6: the codes are taken off each line, and only where they were offered and agree with the reply.
ENHANCED = """
S: 220 2.0.0 ready
E: GreetingReceived 220 2.0.0 ready
! ehlo("ymir.claremont.edu")
C: EHLO ymir.claremont.edu
S: 250-dbc.mtview.ca.us says hello
S: 250 ENHANCEDSTATUSCODES
E: ReplyReceived [EHLO] 250 dbc.mtview.ca.us says hello / ENHANCEDSTATUSCODES
! mail(None)
! rcpt(Address.parse("remoteuser@isi.edu"))
! rset()
C: MAIL FROM:<>
S: 250 5.1.0 Originator ok
C: RCPT TO:<remoteuser@isi.edu>
S: 551-5.7.1 Forwarding to remote hosts disabled
S: 551 5.7.1 Select another host to act as your forwarder
C: RSET
S: 250 2.0.0
E: ReplyReceived [MAIL] 250 5.1.0 Originator ok
E: ReplyReceived [RCPT] 551 5.7.1 Forwarding to remote hosts disabled / Select another host to act as your forwarder
E: ReplyReceived [RSET] 250 2.0.0
! quit()
C: QUIT
EOF
E: ConnectionClosed 'the peer closed the connection'
"""

# RFC 3207 section 5 and RFC 4954 section 4.4. What was offered in clear is gone.
SECURED = """
S: 220-smtp.example.com ESMTP Server
S: 220 ready
E: GreetingReceived 220 smtp.example.com ESMTP Server / ready
! ehlo("client.example.com")
C: EHLO client.example.com
S: 250-smtp.example.com Hello
S: 250-AUTH GSSAPI DIGEST-MD5
S: 250-ENHANCEDSTATUSCODES
S: 250 STARTTLS
E: ReplyReceived [EHLO] 250 smtp.example.com Hello / AUTH GSSAPI DIGEST-MD5 / ENHANCEDSTATUSCODES / STARTTLS
! starttls()
! ehlo("client.example.com")
C: STARTTLS
S: 220 2.0.0 Ready to start TLS
E: ReplyReceived [STARTTLS] 220 2.0.0 Ready to start TLS
E: StartTLS
TLS
C: EHLO client.example.com
S: 250-smtp.example.com Hello client.example.com
S: 250 AUTH GSSAPI DIGEST-MD5 PLAIN
E: ReplyReceived [EHLO] 250 smtp.example.com Hello client.example.com / AUTH GSSAPI DIGEST-MD5 PLAIN
! auth("PLAIN", b"test\\0test\\x001234")
C: AUTH PLAIN dGVzdAB0ZXN0ADEyMzQ=
S: 235 2.7.0 Authentication successful
E: ReplyReceived [AUTH] 235 2.7.0 Authentication successful
"""
CHALLENGED = f"""
S: 220 smtp.example.com ESMTP
E: GreetingReceived 220 smtp.example.com ESMTP
! ehlo("client.example.com")
C: EHLO client.example.com
S: 250-smtp.example.com Hello client.example.com
S: 250-AUTH GSSAPI DIGEST-MD5
S: 250 AUTH=PLAIN
E: ReplyReceived [EHLO] 250 smtp.example.com Hello client.example.com / AUTH GSSAPI DIGEST-MD5 / AUTH=PLAIN
E: ToleranceUsed AUTH_EQUALS
! auth("PLAIN")
C: AUTH PLAIN
S: 334{SP}
E: AuthChallenge [AUTH]
! auth_response(b"test\\0test\\x001234")
C: dGVzdAB0ZXN0ADEyMzQ=
S: 535 nope
E: ReplyReceived [AUTH] 535 nope
! auth("GSSAPI", b"")
C: AUTH GSSAPI =
S: 334 cmVhbG0=
E: AuthChallenge [AUTH] b'realm'
! auth_response(b"")
C:
S: 334 bW9yZQ==
E: AuthChallenge [AUTH] b'more'
! auth_cancel()
C: *
S: 501 cancelled
E: ReplyReceived [AUTH] 501 cancelled
! auth("DIGEST-MD5")
C: AUTH DIGEST-MD5
S: 334 dXN!lcg==
C: *
S: 501 5.5.2 what?
E: ReplyReceived [AUTH] 501 5.5.2 what?
"""

# RFC 6531, and a source route that is never written.
INTERNATIONAL = """
S: 220 x
E: GreetingReceived 220 x
! helo("[IPv6:2001:db8::1]")
C: HELO [IPv6:2001:db8::1]
S: 250-x
S: 250 SMTPUTF8
E: ReplyReceived [HELO] 250 x / SMTPUTF8
# HELO offers nothing, whatever stands in its reply.
! ehlo("[192.0.2.1]")
C: EHLO [192.0.2.1]
S: 250-x
S: 250-8bitmime
S: 250 smtputf8
E: ReplyReceived [EHLO] 250 x / 8bitmime / smtputf8
! mail(Address.parse("grün@b.example"), MailParameters(smtputf8=True))
! rcpt(Address.parse("ödön@例え.テスト"))
C: MAIL FROM:<grün@b.example> SMTPUTF8
S: 250 Grüße
C: RCPT TO:<ödön@例え.テスト>
S: 251 forwards to <ő@b>
E: ReplyReceived [MAIL] 250 Grüße
E: ReplyReceived [RCPT] 251 forwards to <ő@b>
"""

UNWELCOME = """
S: 554-No SMTP service here
S: 554 go away
E: GreetingReceived 554 No SMTP service here / go away
! quit()
C: QUIT
S: 221 bye
E: ReplyReceived [QUIT] 221 bye
E: ConnectionClosed clean
"""


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(TYPICAL, id="5321-D.1"),
        pytest.param(ABORTED, id="5321-D.2"),
        pytest.param(VERIFYING, id="5321-D.4"),
        pytest.param(PIPELINED, id="2920-4.2"),
        pytest.param(NOBODY_REFUSED, id="2920-4.3-554"),
        pytest.param(NOBODY_ACCEPTED, id="2920-4.3-354"),
        pytest.param(PARAMETERS, id="1870-7"),
        pytest.param(ENHANCED, id="2034-6"),
        pytest.param(SECURED, id="3207-5"),
        pytest.param(CHALLENGED, id="4954-4.4"),
        pytest.param(INTERNATIONAL, id="6531"),
        pytest.param(UNWELCOME, id="5321-3.1"),
    ],
)
def test_dialogue(script: str) -> None:
    assert_plays(SMTPClientConnection, script)


def test_the_caller_may_do_without_pipelining() -> None:
    assert_plays(
        lambda: SMTPClientConnection(SMTPClientConfig(pipelining=False)),
        """
        S: 220 x
        E: GreetingReceived 220 x
        ! ehlo("y.example")
        C: EHLO y.example
        S: 250-x
        S: 250 PIPELINING
        E: ReplyReceived [EHLO] 250 x / PIPELINING
        ! mail(None)
        ! rcpt(Address.parse("a@b"))
        C: MAIL FROM:<>
        S: 250 ok
        C: RCPT TO:<a@b>
        S: 250 ok
        E: ReplyReceived [MAIL] 250 ok
        E: ReplyReceived [RCPT] 250 ok
        """,
    )
