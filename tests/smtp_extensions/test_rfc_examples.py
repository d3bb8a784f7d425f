"""The dialogues by which RFCs explain their extensions, on both sides, where no other module has them.

The words of our server's own replies stand in the place of theirs, and what other extensions play a part is left out.
"""

from __future__ import annotations

import pytest

from mailproto.smtp import Extension, SMTPClientConnection, SMTPServerConfig, SMTPServerConnection
from mailproto.smtp.extensions import (
    CHECKPOINT,
    CONNEG,
    CONPERM,
    EIGHT_BIT_MIME,
    ENHANCED_STATUS_CODES,
    ETRN,
    PIPELINING,
    REQUIRETLS,
    SIZE,
    STARTTLS,
    no_soliciting,
)
from tests.helpers import assert_plays

# RFC 8689 appendix A.1. Behind the handshake the server does not greet again: RFC 3207 has no such greeting.
REQUIRETLS_SERVER = """
E: Connected
! accept()
S: 220 mail.example.net ESMTP
C: EHLO mail.example.org
E: Hello 'mail.example.org' extended
! accept("Hello example.org [192.0.2.1]")
S: 250-mail.example.net Hello example.org [192.0.2.1]
S: 250-SIZE 52428800
S: 250-8BITMIME
S: 250-PIPELINING
S: 250 STARTTLS
C: STARTTLS
E: StartTLS
! accept("TLS go ahead")
S: 220 TLS go ahead
TLS
C: EHLO mail.example.org
E: Hello 'mail.example.org' extended
! accept("Hello example.org [192.0.2.1]")
S: 250-mail.example.net Hello example.org [192.0.2.1]
S: 250-SIZE 52428800
S: 250-8BITMIME
S: 250-PIPELINING
S: 250 REQUIRETLS
C: MAIL FROM:<roger@example.org> REQUIRETLS
E: Mail roger@example.org requiretls=True
! accept("OK")
S: 250 OK
C: RCPT TO:<editor@example.net>
E: Rcpt editor@example.net
! accept("Accepted")
S: 250 Accepted
C: DATA
E: Data
! accept('Enter message, ending with "." on a line by itself')
S: 354 Enter message, ending with "." on a line by itself
C: (message follows)
C: .
B: (message follows)
E: MessageEnd 19 roger@example.org > editor@example.net
! accept("OK")
S: 250 OK
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""

# RFC 1985 section 7, its two endings one behind the other.
ETRN_SERVER = """
E: Connected
! accept("-- Server SMTP (PMDF V4.2-6 #1992)")
S: 220 sigurd.innosoft.com -- Server SMTP (PMDF V4.2-6 #1992)
C: EHLO ymir.claremont.edu
E: Hello 'ymir.claremont.edu' extended
! accept()
S: 250-sigurd.innosoft.com
S: 250 ETRN
C: ETRN
E: CommandRejected 'ETRN' 501 5.5.4 Syntax error in the arguments
S: 501 Syntax error in the arguments
C: ETRN localname
E: Etrn 'localname'
! reject(501, "Syntax Error in Parameters")
S: 501 Syntax Error in Parameters
C: ETRN uu.net
E: Etrn 'uu.net'
! reject(458, "Unable to queue messages for node uu.net")
S: 458 Unable to queue messages for node uu.net
C: ETRN sigurd.innosoft.com
E: Etrn 'sigurd.innosoft.com'
! accept("OK, queuing for node sigurd.innosoft.com started")
S: 250 OK, queuing for node sigurd.innosoft.com started
C: ETRN sigurd.innosoft.com
E: Etrn 'sigurd.innosoft.com'
! reply(Reply(251, "OK, no messages waiting for node sigurd.innosoft.com"))
S: 251 OK, no messages waiting for node sigurd.innosoft.com
C: ETRN innosoft.com
E: Etrn 'innosoft.com'
! reply(Reply(252, "OK, pending messages for node innosoft.com started"))
S: 252 OK, pending messages for node innosoft.com started
C: ETRN mysoft.com
E: Etrn 'mysoft.com'
! reply(Reply(253, "OK, 14 pending messages for node mysoft.com started"))
S: 253 OK, 14 pending messages for node mysoft.com started
C: ETRN foo.bar
E: Etrn 'foo.bar'
! reject(459, "Node foo.bar not allowed: Unable to resolve name.")
S: 459 Node foo.bar not allowed: Unable to resolve name.
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""

ETRN_CLIENT = """
S: 220 sigurd.innosoft.com -- Server SMTP (PMDF V4.2-6 #1992)
E: GreetingReceived 220 sigurd.innosoft.com -- Server SMTP (PMDF V4.2-6 #1992)
! ehlo("ymir.claremont.edu")
C: EHLO ymir.claremont.edu
S: 250-sigurd.innosoft.com
S: 250-EXPN
S: 250-HELP
S: 250 ETRN
E: ReplyReceived [EHLO] 250 sigurd.innosoft.com / EXPN / HELP / ETRN
! etrn("uu.net")
C: ETRN uu.net
S: 458 Unable to queue messages for node uu.net
E: ReplyReceived [ETRN] 458 Unable to queue messages for node uu.net
! etrn("mysoft.com")
C: ETRN mysoft.com
S: 253 OK, 14 pending messages for node mysoft.com started
E: ReplyReceived [ETRN] 253 OK, 14 pending messages for node mysoft.com started
! quit()
C: QUIT
S: 250 Goodbye
E: ReplyReceived [QUIT] 250 Goodbye
E: ConnectionClosed clean
"""

# RFC 3865 section 2.1, and what its section 2.3 adds to MAIL.
NO_SOLICITING_SERVER = """
E: Connected
! accept("SMTP service ready")
S: 220 trusted.example.com SMTP service ready
C: EHLO untrusted.example.com
E: Hello 'untrusted.example.com' extended
! accept("says hello")
S: 250-trusted.example.com says hello
S: 250-ENHANCEDSTATUSCODES
S: 250-NO-SOLICITING net.example:ADV
S: 250 SIZE 20480000
C: MAIL FROM:<x@untrusted.example.com> SOLICIT=net.example:ADV,org.example:ADV:ADLT
E: Mail x@untrusted.example.com solicit=('net.example:ADV', 'org.example:ADV:ADLT')
! reject(550, "Solicitation classes net.example:ADV are not wanted", "5.7.1")
S: 550 5.7.1 Solicitation classes net.example:ADV are not wanted
C: QUIT
S: 221 2.0.0 Bye
E: ConnectionClosed clean
"""

NO_SOLICITING_CLIENT = """
S: 220 trusted.example.com SMTP service ready
E: GreetingReceived 220 trusted.example.com SMTP service ready
! ehlo("untrusted.example.com")
C: EHLO untrusted.example.com
S: 250-trusted.example.com says hello
S: 250-ENHANCEDSTATUSCODES
S: 250 NO-SOLICITING net.example:ADV
E: ReplyReceived [EHLO] 250 trusted.example.com says hello / ENHANCEDSTATUSCODES / NO-SOLICITING net.example:ADV
! mail(Address("x", "untrusted.example.com"), MailParameters(solicit=("org.example:ADV:ADLT",)))
C: MAIL FROM:<x@untrusted.example.com> SOLICIT=org.example:ADV:ADLT
S: 250 2.1.0 Sender ok
E: ReplyReceived [MAIL] 250 2.1.0 Sender ok
! quit()
C: QUIT
S: 221 2.0.0 bye
E: ReplyReceived [QUIT] 221 2.0.0 bye
E: ConnectionClosed clean
"""

# RFC 4141 sections 9.1 and 9.2. Their EHLO has a space too many, and 9.1 forgets the brackets.
CONPERM_SERVER = """
E: Connected
! accept("IFAX")
S: 220 example.com IFAX
C: EHLO example.com
E: Hello 'example.com' extended
! accept()
S: 250-example.com
S: 250 CONPERM
C: MAIL FROM:<May@some.example.com> CONPERM
E: Mail May@some.example.com conperm=True
! accept("<May@some.example.com> originator ok")
S: 250 <May@some.example.com> originator ok
C: RCPT TO:<June@some.example.com>
E: Rcpt June@some.example.com
! accept("<June@some.example.com> recipient ok")
S: 250 <June@some.example.com> recipient ok
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""

CONNEG_SERVER = """
E: Connected
! accept("IFAX")
S: 220 example.com IFAX
C: EHLO example.com
E: Hello 'example.com' extended
! accept()
S: 250-example.com
S: 250 CONNEG
C: MAIL FROM:<May@some.example.com>
E: Mail May@some.example.com
! accept("<May@some.example.com> originator ok")
S: 250 <May@some.example.com> originator ok
C: RCPT TO:<June@ifax1.jp> CONNEG
E: Rcpt June@ifax1.jp conneg=True
! accept("<June@some.example.com> recipient ok\\nCONNEG (&(MRC-mode=0)\\nCONNEG   (color=Binary))")
S: 250-<June@some.example.com> recipient ok
S: 250-CONNEG (&(MRC-mode=0)
S: 250 CONNEG   (color=Binary))
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""

CONNEG_CLIENT = """
S: 220 example.com IFAX
E: GreetingReceived 220 example.com IFAX
! ehlo("example.com")
C: EHLO example.com
S: 250- example.com
S: 250-DSN
S: 250 CONNEG
E: ReplyReceived [EHLO] 250  example.com / DSN / CONNEG
! mail(Address("May", "some.example.com"))
C: MAIL FROM:<May@some.example.com>
S: 250 <May@some.example.com> originator ok
E: ReplyReceived [MAIL] 250 <May@some.example.com> originator ok
! rcpt(Address("June", "ifax1.jp"), RcptParameters(conneg=True))
C: RCPT TO:<June@ifax1.jp> CONNEG
S: 250-<June@some.example.com> recipient ok
S: 250-CONNEG (&(MRC-mode=0)
S: 250 CONNEG   (color=Binary))
E: ReplyReceived [RCPT] 250 <June@some.example.com> recipient ok / CONNEG (&(MRC-mode=0) / CONNEG   (color=Binary))
! quit()
C: QUIT
S: 221 goodbye
E: ReplyReceived [QUIT] 221 goodbye
E: ConnectionClosed clean
"""

# RFC 1845 section 5, up to where the connection breaks.
CHECKPOINT_SERVER = """
E: Connected
! accept("SMTP service ready")
S: 220 dbc.mtview.ca.us SMTP service ready
C: EHLO ymir.claremont.edu
E: Hello 'ymir.claremont.edu' extended
! accept("says hello")
S: 250-dbc.mtview.ca.us says hello
S: 250 CHECKPOINT
C: MAIL FROM:<ned@ymir.claremont.edu> TRANSID=<12345@claremont.edu>
E: Mail ned@ymir.claremont.edu transid=<12345@claremont.edu>
! accept("<ned@ymir.claremont.edu>... Sender and TRANSID ok")
S: 250 <ned@ymir.claremont.edu>... Sender and TRANSID ok
C: RCPT TO:<mrose@dbc.mtview.ca.us>
E: Rcpt mrose@dbc.mtview.ca.us
! accept("<mrose@dbc.mtview.ca.us>... Recipient ok")
S: 250 <mrose@dbc.mtview.ca.us>... Recipient ok
C: DATA
E: Data
! accept("Send checkpointed message, ending in CRLF.CRLF")
S: 354 Send checkpointed message, ending in CRLF.CRLF
EOF
E: ConnectionClosed 'the peer closed the connection'
"""

SERVERS: dict[str, tuple[str, str, tuple[Extension, ...]]] = {
    "REQUIRETLS": (REQUIRETLS_SERVER, "mail.example.net", (SIZE, EIGHT_BIT_MIME, PIPELINING, STARTTLS, REQUIRETLS)),
    "ETRN": (ETRN_SERVER, "sigurd.innosoft.com", (ETRN,)),
    "NO-SOLICITING": (
        NO_SOLICITING_SERVER,
        "trusted.example.com",
        (ENHANCED_STATUS_CODES, no_soliciting("net.example:ADV"), SIZE),
    ),
    "CONPERM": (CONPERM_SERVER, "example.com", (CONPERM,)),
    "CONNEG": (CONNEG_SERVER, "example.com", (CONNEG,)),
    "CHECKPOINT": (CHECKPOINT_SERVER, "dbc.mtview.ca.us", (CHECKPOINT,)),
}

CLIENTS = {"ETRN": ETRN_CLIENT, "NO-SOLICITING": NO_SOLICITING_CLIENT, "CONNEG": CONNEG_CLIENT}


@pytest.mark.parametrize("name", SERVERS)
def test_on_the_server(name: str) -> None:
    script, host, extensions = SERVERS[name]
    sizes = {"REQUIRETLS": 52428800, "NO-SOLICITING": 20480000}
    config = SMTPServerConfig(
        hostname=host,
        extensions=extensions,
        starttls=name == "REQUIRETLS",
        max_message_size=sizes.get(name, 0),
    )
    assert_plays(lambda: SMTPServerConnection(config), script)


@pytest.mark.parametrize("name", CLIENTS)
def test_on_the_client(name: str) -> None:
    assert_plays(SMTPClientConnection, CLIENTS[name])
