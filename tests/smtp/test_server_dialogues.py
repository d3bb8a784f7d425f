"""The example dialogues of the RFCs, the server's side: each whole, at every cut, and octet by octet.

The words of the replies are the RFCs' where an application can choose them, and the library's elsewhere.
"""

from __future__ import annotations

from typing import Any

import pytest

from mailproto.smtp import SMTPServerConfig, SMTPServerConnection
from mailproto.smtp.extensions import (
    AUTH,
    EIGHT_BIT_MIME,
    ENHANCED_STATUS_CODES,
    EXPN,
    HELP,
    PIPELINING,
    SIZE,
    SMTPUTF8,
    STARTTLS,
    Extension,
)
from tests.helpers import assert_plays

DSN = Extension("DSN", "RFC 3461", lambda _: "")
VRFY = Extension("VRFY", "RFC 5321", lambda _: "")


def server(hostname: str, *extensions: Extension, **settings: Any) -> SMTPServerConnection:
    return SMTPServerConnection(SMTPServerConfig(hostname=hostname, extensions=extensions, **settings))


def foo_com(*more: Extension) -> SMTPServerConnection:
    return server("foo.com", EIGHT_BIT_MIME, SIZE, DSN, *more, HELP, max_message_size=0)


SP = " "

GREETING = """
E: Connected
! accept("Simple Mail Transfer Service Ready")
S: 220 foo.com Simple Mail Transfer Service Ready
C: EHLO bar.com
E: Hello 'bar.com' extended
! accept("greets bar.com")
S: 250-foo.com greets bar.com
S: 250-8BITMIME
S: 250-SIZE 0
S: 250-DSN
"""

GOODBYE = """
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""

# One of three recipients does not exist.
TYPICAL = f"""{GREETING}
S: 250 HELP
C: MAIL FROM:<Smith@bar.com>
E: Mail Smith@bar.com
! accept("OK")
S: 250 OK
C: RCPT TO:<Jones@foo.com>
E: Rcpt Jones@foo.com
! accept("OK")
S: 250 OK
C: RCPT TO:<Green@foo.com>
E: Rcpt Green@foo.com
! reject(550, "No such user here")
S: 550 No such user here
C: RCPT TO:<Brown@foo.com>
E: Rcpt Brown@foo.com
! accept("OK")
S: 250 OK
C: DATA
E: Data
! accept("Start mail input; end with <CRLF>.<CRLF>")
S: 354 Start mail input; end with <CRLF>.<CRLF>
C: Blah blah blah...
C: ...etc. etc. etc.
C: .
B: Blah blah blah...
B: ..etc. etc. etc.
E: MessageEnd 37 Smith@bar.com > Jones@foo.com, Brown@foo.com
! accept("OK")
S: 250 OK
{GOODBYE}"""

ABORTED = f"""{GREETING}
S: 250 HELP
C: MAIL FROM:<Smith@bar.com>
E: Mail Smith@bar.com
! accept("OK")
S: 250 OK
C: RCPT TO:<Jones@foo.com>
E: Rcpt Jones@foo.com
! accept("OK")
S: 250 OK
C: RCPT TO:<Green@foo.com>
E: Rcpt Green@foo.com
! reject(550, "No such user here")
S: 550 No such user here
C: RSET
S: 250 OK
E: Reset
{GOODBYE}"""

# The relay of appendix D.3, step 2, with a Received field and the folding that it has there.
RELAYED = """
E: Connected
! accept()
S: 220 xyz.com ESMTP
C: HELO foo.com
E: Hello 'foo.com'
! accept("is on the air")
S: 250 xyz.com is on the air
C: MAIL FROM:<JQP@bar.com>
E: Mail JQP@bar.com
! accept("OK")
S: 250 OK
C: RCPT TO:<Jones@XYZ.COM>
E: Rcpt Jones@XYZ.COM
! accept("OK")
S: 250 OK
C: DATA
E: Data
! accept()
S: 354 Go ahead, end with a dot on a line by itself
C: Received: from bar.com by foo.com ; Thu, 21 May 1998
C:     05:33:29 -0700
C: To: Jones@xyz.com
C:
C: on Tuesday.
C:                         John.
C: .
B: Received: from bar.com by foo.com ; Thu, 21 May 1998
B:     05:33:29 -0700
B: To: Jones@xyz.com
B:
B: on Tuesday.
B:                         John.
E: MessageEnd 139 JQP@bar.com > Jones@XYZ.COM
! accept("OK")
S: 250 OK
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""

VERIFYING = f"""{GREETING}
S: 250-VRFY
S: 250 HELP
C: VRFY Crispin
E: Vrfy 'Crispin'
! reply(Reply(250, "Mark Crispin <Admin.MRC@foo.com>"))
S: 250 Mark Crispin <Admin.MRC@foo.com>
C: MAIL FROM:<EAK@bar.com>
E: Mail EAK@bar.com
! accept("OK")
S: 250 OK
C: RCPT TO:<Admin.MRC@foo.com>
E: Rcpt Admin.MRC@foo.com
! accept("OK")
S: 250 OK
{GOODBYE}"""

# RFC 5321 section 3.5.1 (the list and its refusal) and 3.4 (251 and 551).
EXPANDING = f"""{GREETING}
S: 250-EXPN
S: 250 HELP
C: EXPN Example-People
E: Expn 'Example-People'
! reply(Reply(250, "Jon Postel <Postel@isi.edu>\\nFred Fonebone <Fonebone@physics.foo-u.edu>"))
S: 250-Jon Postel <Postel@isi.edu>
S: 250 Fred Fonebone <Fonebone@physics.foo-u.edu>
C: EXPN Executive-Washroom-List
E: Expn 'Executive-Washroom-List'
! reject(550, "Access Denied to You.")
S: 550 Access Denied to You.
C: MAIL FROM:<Smith@bar.com>
E: Mail Smith@bar.com
! accept("OK")
S: 250 OK
C: RCPT TO:<@hosta.int,@jkl.org:userc@d.bar.org>
E: Rcpt userc@d.bar.org
! reply(Reply(251, "User not local; will forward to <x@y.org>"))
S: 251 User not local; will forward to <x@y.org>
C: RCPT TO:<Postmaster>
E: Rcpt postmaster
! reject(551, "User not local; please try <x@y.org>")
S: 551 User not local; please try <x@y.org>
{GOODBYE}"""

# RFC 2920 section 4.2: everything in one flight, and QUIT behind the message.
PIPELINED = """
E: Connected
! accept("SMTP service ready")
S: 220 innosoft.com SMTP service ready
C: EHLO dbc.mtview.ca.us
E: Hello 'dbc.mtview.ca.us' extended
! accept()
S: 250-innosoft.com
S: 250 PIPELINING
C: MAIL FROM:<mrose@dbc.mtview.ca.us>
C: RCPT TO:<ned@innosoft.com>
C: RCPT TO:<dan@innosoft.com>
C: DATA
E: Mail mrose@dbc.mtview.ca.us
! accept("sender <mrose@dbc.mtview.ca.us> OK")
E: Rcpt ned@innosoft.com
! accept("recipient <ned@innosoft.com> OK")
E: Rcpt dan@innosoft.com
! accept("recipient <dan@innosoft.com> OK")
E: Data
! accept('enter mail, end with line containing only "."')
S: 250 sender <mrose@dbc.mtview.ca.us> OK
S: 250 recipient <ned@innosoft.com> OK
S: 250 recipient <dan@innosoft.com> OK
S: 354 enter mail, end with line containing only "."
C: Hello
C: .
C: QUIT
B: Hello
E: MessageEnd 7 mrose@dbc.mtview.ca.us > ned@innosoft.com, dan@innosoft.com
! accept("message sent")
S: 250 message sent
S: 221 Bye
E: ConnectionClosed clean
"""

# RFC 2920 section 4.3: no recipient is valid, so DATA is refused.
NO_RECIPIENTS = """
E: Connected
! accept("SMTP service ready")
S: 220 innosoft.com SMTP service ready
C: EHLO dbc.mtview.ca.us
E: Hello 'dbc.mtview.ca.us' extended
! accept()
S: 250-innosoft.com
S: 250 PIPELINING
C: MAIL FROM:<mrose@dbc.mtview.ca.us>
C: RCPT TO:<nsb@thumper.bellcore.com>
C: RCPT TO:<galvin@tis.com>
C: DATA
C: QUIT
E: Mail mrose@dbc.mtview.ca.us
! accept("sender <mrose@dbc.mtview.ca.us> OK")
E: Rcpt nsb@thumper.bellcore.com
! reject(550, "remote mail to <nsb@thumper.bellore.com> not allowed")
E: Rcpt galvin@tis.com
! reject(550, "remote mail to <galvin@tis.com> not allowed")
E: CommandRejected 'DATA' 554 5.5.1 No valid recipients
S: 250 sender <mrose@dbc.mtview.ca.us> OK
S: 550 remote mail to <nsb@thumper.bellore.com> not allowed
S: 550 remote mail to <galvin@tis.com> not allowed
S: 554 No valid recipients
S: 221 Bye
E: ConnectionClosed clean
"""

# RFC 1870 section 7: a declared size, and two recipients who cannot take so much.
SIZED = """
E: Connected
! accept("-- Server SMTP (PMDF V4.2-6 #1992)")
S: 220 sigurd.innosoft.com -- Server SMTP (PMDF V4.2-6 #1992)
C: EHLO ymir.claremont.edu
E: Hello 'ymir.claremont.edu' extended
! accept()
S: 250-sigurd.innosoft.com
S: 250-EXPN
S: 250-HELP
S: 250 SIZE 1000000
C: MAIL FROM:<ned@thor.innosoft.com> SIZE=500000
E: Mail ned@thor.innosoft.com size=500000
! accept("Address Ok.")
S: 250 Address Ok.
C: RCPT TO:<ned@innosoft.com>
E: Rcpt ned@innosoft.com
! accept("ned@innosoft.com OK; can accomodate 500000 byte message")
S: 250 ned@innosoft.com OK; can accomodate 500000 byte message
C: RCPT TO:<ned@ymir.claremont.edu>
E: Rcpt ned@ymir.claremont.edu
! reject(552, "Channel size limit exceeded: ned@YMIR.CLAREMONT.EDU")
S: 552 Channel size limit exceeded: ned@YMIR.CLAREMONT.EDU
C: RCPT TO:<ned@hmcvax.claremont.edu>
E: Rcpt ned@hmcvax.claremont.edu
! reject(452, "Insufficient channel storage: ned@hmcvax.CLAREMONT.EDU")
S: 452 Insufficient channel storage: ned@hmcvax.CLAREMONT.EDU
C: DATA
E: Data
! accept("Send message, ending in CRLF.CRLF.")
S: 354 Send message, ending in CRLF.CRLF.
C: .
E: MessageEnd 0 ned@thor.innosoft.com > ned@innosoft.com
! accept("Some recipients OK")
S: 250 Some recipients OK
C: MAIL FROM:<ned@thor.innosoft.com> SIZE=1000001
S: 552 Message too big
E: CommandRejected 'MAIL' 552 5.3.4 Message too big
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""

# RFC 6152 section 4, and a body that makes use of it.
EIGHT_BIT = """
E: Connected
! accept("SMTP service ready")
S: 220 dbc.mtview.ca.us SMTP service ready
C: EHLO ymir.claremont.edu
E: Hello 'ymir.claremont.edu' extended
! accept("says hello")
S: 250-dbc.mtview.ca.us says hello
S: 250 8BITMIME
C: MAIL FROM:<ned@ymir.claremont.edu> BODY=8BITMIME
E: Mail ned@ymir.claremont.edu body=8BITMIME
! accept("<ned@ymir.claremont.edu>... Sender and 8BITMIME ok")
S: 250 <ned@ymir.claremont.edu>... Sender and 8BITMIME ok
C: RCPT TO:<mrose@dbc.mtview.ca.us>
E: Rcpt mrose@dbc.mtview.ca.us
! accept("<mrose@dbc.mtview.ca.us>... Recipient ok")
S: 250 <mrose@dbc.mtview.ca.us>... Recipient ok
C: DATA
E: Data
! accept("Send 8BITMIME message, ending in CRLF.CRLF.")
S: 354 Send 8BITMIME message, ending in CRLF.CRLF.
C: naïve
C: .
B: naïve
E: MessageEnd 8 ned@ymir.claremont.edu > mrose@dbc.mtview.ca.us
! accept()
S: 250 Message accepted
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""

# RFC 2034 section 6: each line of a reply has the code; EHLO and the greeting have none.
ENHANCED = """
E: Connected
! accept("SMTP service ready")
S: 220 dbc.mtview.ca.us SMTP service ready
C: EHLO ymir.claremont.edu
E: Hello 'ymir.claremont.edu' extended
! accept("says hello")
S: 250-dbc.mtview.ca.us says hello
S: 250 ENHANCEDSTATUSCODES
C: MAIL FROM:<ned@ymir.claremont.edu>
E: Mail ned@ymir.claremont.edu
! accept("Originator <ned@ymir.claremont.edu> ok")
S: 250 2.1.0 Originator <ned@ymir.claremont.edu> ok
C: RCPT TO:<mrose@dbc.mtview.ca.us>
E: Rcpt mrose@dbc.mtview.ca.us
! accept("Recipient <mrose@dbc.mtview.ca.us> ok")
S: 250 2.1.5 Recipient <mrose@dbc.mtview.ca.us> ok
C: RCPT TO:<nosuchuser@dbc.mtview.ca.us>
E: Rcpt nosuchuser@dbc.mtview.ca.us
! reject(550, 'Mailbox "nosuchuser" does not exist', "5.1.1")
S: 550 5.1.1 Mailbox "nosuchuser" does not exist
C: RCPT TO:<remoteuser@isi.edu>
E: Rcpt remoteuser@isi.edu
! reject(551, "Forwarding to remote hosts disabled\\nSelect another host to act as your forwarder", "5.7.1")
S: 551-5.7.1 Forwarding to remote hosts disabled
S: 551 5.7.1 Select another host to act as your forwarder
C: DATA
E: Data
! accept("Send message, ending in CRLF.CRLF.")
S: 354 Send message, ending in CRLF.CRLF.
C: Hello
C: .
B: Hello
E: MessageEnd 7 ned@ymir.claremont.edu > mrose@dbc.mtview.ca.us
! reply(Reply.build(250, "Message accepted", "2.6.0"))
S: 250 2.6.0 Message accepted
C: QUIT
S: 221 2.0.0 Bye
E: ConnectionClosed clean
"""

# RFC 3207 section 5 and RFC 4954 section 4.4: STARTTLS, EHLO again, PLAIN with an initial response.
SECURED = """
E: Connected
! accept()
S: 220 smtp.example.com ESMTP
C: EHLO client.example.com
E: Hello 'client.example.com' extended
! accept("Hello client.example.com")
S: 250-smtp.example.com Hello client.example.com
S: 250-ENHANCEDSTATUSCODES
S: 250 STARTTLS
C: STARTTLS
E: StartTLS
! accept()
S: 220 2.0.0 Ready to start TLS
TLS
C: EHLO client.example.com
E: Hello 'client.example.com' extended
! accept("Hello client.example.com")
S: 250-smtp.example.com Hello client.example.com
S: 250-ENHANCEDSTATUSCODES
S: 250 AUTH GSSAPI DIGEST-MD5 PLAIN
C: AUTH PLAIN dGVzdAB0ZXN0ADEyMzQ=
E: Auth 'PLAIN' b'test\\x00test\\x001234'
! accept()
S: 235 2.7.0 Authentication successful
C: QUIT
S: 221 2.0.0 Bye
E: ConnectionClosed clean
"""

# The same with the response behind an empty challenge, and an exchange of two steps that fails.
CHALLENGED = f"""
E: Connected
! accept()
S: 220 smtp.example.com ESMTP
C: EHLO client.example.com
E: Hello 'client.example.com' extended
! accept()
S: 250-smtp.example.com
S: 250-ENHANCEDSTATUSCODES
S: 250 AUTH GSSAPI DIGEST-MD5 PLAIN
C: AUTH PLAIN
E: Auth 'PLAIN'
! challenge(b"")
S: 334{SP}
C: dGVzdAB0ZXN0ADEyMzQ=
E: AuthResponse b'test\\x00test\\x001234'
! reject()
S: 535 5.7.8 Authentication credentials invalid
C: AUTH DIGEST-MD5
E: Auth 'DIGEST-MD5'
! challenge(b"realm")
S: 334 cmVhbG0=
C: cnNwYXV0aA==
E: AuthResponse b'rspauth'
! challenge(b"more")
S: 334 bW9yZQ==
C: *
S: 501 5.7.0 Authentication cancelled
E: CommandRejected 'AUTH' 501 5.7.0 Authentication cancelled
C: AUTH GSSAPI =
E: Auth 'GSSAPI'
! accept()
S: 235 2.7.0 Authentication successful
C: AUTH PLAIN dGVzdAB0ZXN0ADEyMzQ=
S: 503 5.5.1 Authenticated already
E: CommandRejected 'AUTH' 503 5.5.1 Authenticated already
# RFC 4954 section 5: whom the message is from, as far as the client knows.
C: MAIL FROM:<e=mc2@example.com> AUTH=e+3Dmc2@example.com
E: Mail e=mc2@example.com auth=e=mc2@example.com
! accept()
S: 250 2.1.0 Sender OK
C: RSET
S: 250 2.0.0 OK
E: Reset
C: MAIL FROM:<john+@example.org> AUTH=<>
E: Mail john+@example.org auth=<>
! accept()
S: 250 2.1.0 Sender OK
EOF
E: ConnectionClosed 'the peer closed the connection'
"""

REFUSED = """
E: Connected
! reject()
S: 554 No SMTP service here
C: EHLO x
S: 503 Bad sequence of commands
E: CommandRejected 'EHLO' 503 Bad sequence of commands
C: NOOP
S: 503 Bad sequence of commands
E: CommandRejected 'NOOP' 503 5.5.1 Bad sequence of commands
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""

FALLBACK = """
E: Connected
! accept()
S: 220 mx.example.org ESMTP
C: NOOP
C: NOOP whatever
C: MAIL FROM:<a@b>
S: 250 OK
S: 250 OK
S: 503 Bad sequence of commands
E: CommandRejected 'MAIL' 503 5.5.1 Bad sequence of commands
C: EHLO
S: 501 Syntax error in the arguments
E: CommandRejected 'EHLO' 501 Syntax error in the arguments
C: HELO [192.0.2.1]
E: Hello '[192.0.2.1]'
! reject(450, "Later")
S: 450 Later
C: HELO bar.com
E: Hello 'bar.com'
! accept()
S: 250 mx.example.org
# HELO offers nothing, so there is nothing to make use of.
C: MAIL FROM:<> SIZE=10
S: 555 Parameter not recognised or not offered
E: CommandRejected 'MAIL' 555 5.5.4 Parameter not recognised or not offered
C: MAIL FROM:<>
E: Mail <>
! accept()
S: 250 Sender OK
C: mail from:<second@b>
S: 503 Bad sequence of commands
E: CommandRejected 'MAIL' 503 5.5.1 Bad sequence of commands
C: EHLO bar.com
E: Hello 'bar.com' extended
! accept()
S: 250-mx.example.org
S: 250-SIZE 33554432
S: 250-8BITMIME
S: 250 SMTPUTF8
# EHLO took the transaction back.
E: Reset
C: RCPT TO:<a@b>
S: 503 Bad sequence of commands
E: CommandRejected 'RCPT' 503 5.5.1 Bad sequence of commands
C: MAIL FROM:<grün@b.example>
S: 550 This address needs SMTPUTF8
E: CommandRejected 'MAIL' 550 5.6.7 This address needs SMTPUTF8
C: mAiL fRoM:<grün@b.example> sMtPuTf8
E: Mail grün@b.example smtputf8=True
# Only a reply that names an address may have more than ASCII (RFC 6531 section 3.7.4).
! accept("Grüße")
S: 250 Gr??e
C: RCPT TO:<ödön@例え.テスト>
E: Rcpt ödön@例え.テスト
! reply(Reply(251, "forwards to <ő@b>"))
S: 251 forwards to <ő@b>
C: DATA
E: Data
! accept()
S: 354 Go ahead, end with a dot on a line by itself
C: .
E: MessageEnd 0 grün@b.example > ödön@例え.テスト
! reject(550, "näh")
S: 550 n?h
C: MAIL FROM:<a@b>
E: Mail a@b
! accept("Grüße")
S: 250 Gr??e
EOF
E: ConnectionClosed 'the peer closed the connection'
"""


@pytest.mark.parametrize(
    ("make", "script"),
    [
        pytest.param(foo_com, TYPICAL, id="5321-D.1"),
        pytest.param(foo_com, ABORTED, id="5321-D.2"),
        pytest.param(lambda: server("xyz.com"), RELAYED, id="5321-D.3"),
        pytest.param(lambda: foo_com(VRFY), VERIFYING, id="5321-D.4"),
        pytest.param(lambda: foo_com(EXPN), EXPANDING, id="5321-3.5.1"),
        pytest.param(lambda: server("innosoft.com", PIPELINING), PIPELINED, id="2920-4.2"),
        pytest.param(lambda: server("innosoft.com", PIPELINING), NO_RECIPIENTS, id="2920-4.3"),
        pytest.param(
            lambda: server("sigurd.innosoft.com", EXPN, HELP, SIZE, max_message_size=1_000_000), SIZED, id="1870-7"
        ),
        pytest.param(lambda: server("dbc.mtview.ca.us", EIGHT_BIT_MIME), EIGHT_BIT, id="6152-4"),
        pytest.param(lambda: server("dbc.mtview.ca.us", ENHANCED_STATUS_CODES), ENHANCED, id="2034-6"),
        pytest.param(
            lambda: server(
                "smtp.example.com",
                ENHANCED_STATUS_CODES,
                STARTTLS,
                AUTH,
                starttls=True,
                auth_mechanisms=("GSSAPI", "DIGEST-MD5", "PLAIN"),
            ),
            SECURED,
            id="3207-5",
        ),
        pytest.param(
            lambda: server(
                "smtp.example.com",
                ENHANCED_STATUS_CODES,
                AUTH,
                auth_mechanisms=("GSSAPI", "DIGEST-MD5", "PLAIN"),
                allow_plaintext_auth=True,
            ),
            CHALLENGED,
            id="4954-4.4",
        ),
        pytest.param(lambda: server("mx.example.org"), REFUSED, id="5321-3.1"),
        pytest.param(
            lambda: server("mx.example.org", SIZE, EIGHT_BIT_MIME, SMTPUTF8), FALLBACK, id="5321-3.2-and-6531"
        ),
    ],
)
def test_dialogue(make: Any, script: str) -> None:
    assert_plays(make, script)
