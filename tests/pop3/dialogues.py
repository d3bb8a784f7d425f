"""The dialogues of the RFCs, as data. C is the client, S the server; TLS stands where the handshake takes place.

A line that the RFC leaves out (``<the POP3 server sends message 1>``) is a message of the size that the dialogue
gives. Where an RFC's server says what ours does not (USER that tells which names exist, a CAPA of its own), the
dialogue is for the client alone, and so for the server what our client knows better than to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mailproto.pop3 import Apop, Auth, AuthResponse, Connected, Login, Retrieve, Update
from tests.pop3.harness import Application, Refused

TIMESTAMP = "<1896.697170952@dbc.mtview.ca.us>"
SECRET = "tanstaaf"


def message(size: int) -> bytes:
    """Return a message of ``size`` octets with dots in its body."""
    text = b"Subject: dots\r\n\r\n.\r\n..\r\n.dot\r\n"
    return text + b"x" * (size - len(text) - 2) + b"\r\n"


def stuffed(content: bytes) -> str:
    """Return the lines of a message as they stand in a transcript."""
    lines = content.decode("ascii").split("\r\n")[:-1]
    return "\n".join("S: " + ("." + line if line.startswith(".") else line) for line in lines)


FIRST, SECOND = message(120), message(200)
TWO = Application((FIRST, SECOND), ("whqtswO00WBw418f9t5JxYwZ", "QhdPYR:00WBw1Ph7x7"))


@dataclass
class Dialogue:
    """A dialogue, and what the server's application says and does in it."""

    text: str
    words: dict[type, list[Any]] = field(default_factory=dict)
    contents: Sequence[bytes] = TWO.contents
    apop: bool = False
    mechanisms: tuple[str, ...] = ()
    client_only: bool = False
    server_only: bool = False

    @property
    def application(self) -> Application:
        return Application(self.contents, TWO.uids[: len(self.contents)], self.words)


DIALOGUES = {
    "RFC 1939 section 10": Dialogue(
        f"""
S: +OK POP3 server ready {TIMESTAMP}
C: APOP mrose c4c9334bac560ecc979e58001b3e22fb
S: +OK mrose's maildrop has 2 messages (320 octets)
C: STAT
S: +OK 2 320
C: LIST
S: +OK 2 messages (320 octets)
S: 1 120
S: 2 200
S: .
C: RETR 1
S: +OK 120 octets
{stuffed(FIRST)}
S: .
C: DELE 1
S: +OK message 1 deleted
C: RETR 2
S: +OK 200 octets
{stuffed(SECOND)}
S: .
C: DELE 2
S: +OK message 2 deleted
C: QUIT
S: +OK dewey POP3 server signing off (maildrop empty)
""",
        {
            Apop: ["mrose's maildrop has 2 messages (320 octets)"],
            Update: ["dewey POP3 server signing off (maildrop empty)"],
        },
        apop=True,
    ),
    "RFC 1939 section 4, QUIT": Dialogue(
        """
S: +OK POP3 server ready
C: QUIT
S: +OK Good-bye
"""
    ),
    "RFC 1939 sections 5 and 7": Dialogue(
        f"""
S: +OK POP3 server ready
C: USER mrose
S: +OK Send the password
C: PASS secret
S: -ERR [IN-USE] maildrop already locked
C: USER mrose
S: +OK Send the password
C: PASS secret
S: +OK mrose's maildrop has 2 messages (320 octets)
C: STAT
S: +OK 2 320
C: LIST 2
S: +OK 2 200
C: LIST 3
S: -ERR no such message, only 2 messages in maildrop
C: NOOP
S: +OK
C: TOP 1 10
S: +OK
{stuffed(FIRST)}
S: .
C: TOP 100 3
S: -ERR no such message, only 2 messages in maildrop
C: UIDL
S: +OK
S: 1 whqtswO00WBw418f9t5JxYwZ
S: 2 QhdPYR:00WBw1Ph7x7
S: .
C: UIDL 2
S: +OK 2 QhdPYR:00WBw1Ph7x7
C: UIDL 3
S: -ERR no such message, only 2 messages in maildrop
C: DELE 2
S: +OK message 2 deleted
C: DELE 2
S: -ERR message 2 already deleted
C: RSET
S: +OK maildrop has 2 messages (320 octets)
C: QUIT
S: +OK dewey POP3 server signing off (2 messages left)
""",
        {
            Login: [Refused("maildrop already locked", "IN-USE"), "mrose's maildrop has 2 messages (320 octets)"],
            Retrieve: [""],
            Update: ["dewey POP3 server signing off (2 messages left)"],
        },
    ),
    "RFC 1939 section 7, USER": Dialogue(
        """
S: +OK POP3 server ready
C: USER frated
S: -ERR sorry, no mailbox for frated here
C: USER mrose
S: +OK mrose is a real hoopy frood
""",
        client_only=True,
    ),
    "RFC 2449 section 5": Dialogue(
        """
S: +OK POP3 server ready
C: CAPA
S: +OK Capability list follows
S: TOP
S: USER
S: SASL CRAM-MD5 KERBEROS_V4
S: RESP-CODES
S: LOGIN-DELAY 900
S: PIPELINING
S: EXPIRE 60
S: UIDL
S: IMPLEMENTATION Shlemazle-Plotz-v302
S: .
""",
        client_only=True,
    ),
    "RFC 2449 section 8": Dialogue(
        f"""
S: +OK POP3 server ready {TIMESTAMP}
C: APOP mrose c4c9334bac560ecc979e58001b3e22fb
S: -ERR [IN-USE] Do you have another POP session running?
""",
        {Apop: [Refused("Do you have another POP session running?", "IN-USE")]},
        apop=True,
    ),
    "RFC 2595 section 4": Dialogue(
        """
S: +OK POP3 server ready
C: STLS
S: +OK Begin TLS negotiation
TLS
C: CAPA
S: +OK Capability list follows
S: TOP
S: UIDL
S: PIPELINING
S: RESP-CODES
S: AUTH-RESP-CODE
S: USER
S: UTF8 USER
S: .
"""
    ),
    "RFC 2595 section 4, twice": Dialogue(
        """
S: +OK POP3 server ready
C: STLS
S: +OK Begin TLS negotiation
TLS
C: STLS
S: -ERR Command not permitted when TLS active
""",
        server_only=True,
    ),
    "RFC 5034 section 6, initial response": Dialogue(
        """
S: +OK pop.example.com BlurdyBlurp POP3 server ready
C: CAPA
S: +OK List of capabilities follows
S: SASL DIGEST-MD5 GSSAPI ANONYMOUS
S: STLS
S: IMPLEMENTATION BlurdyBlurp POP3 server
S: .
C: STLS
S: +OK Begin TLS negotiation now
TLS
C: CAPA
S: +OK List of capabilities follows
S: SASL PLAIN DIGEST-MD5 GSSAPI ANONYMOUS
S: IMPLEMENTATION BlurdyBlurp POP3 server
S: .
C: AUTH PLAIN dGVzdAB0ZXN0AHRlc3Q=
S: +OK Maildrop locked and ready
""",
        client_only=True,
    ),
    "RFC 5034 section 6, initial response, server": Dialogue(
        """
S: +OK pop.example.com BlurdyBlurp POP3 server ready
C: STLS
S: +OK Begin TLS negotiation
TLS
C: CAPA
S: +OK Capability list follows
S: TOP
S: UIDL
S: PIPELINING
S: RESP-CODES
S: AUTH-RESP-CODE
S: USER
S: SASL PLAIN
S: UTF8 USER
S: .
C: AUTH PLAIN dGVzdAB0ZXN0AHRlc3Q=
S: +OK Maildrop locked and ready
""",
        {Connected: ["pop.example.com BlurdyBlurp POP3 server ready"], Auth: ["Maildrop locked and ready"]},
        mechanisms=("PLAIN",),
    ),
    "RFC 5034 section 6, no initial response": Dialogue(
        """
S: +OK POP3 server ready
C: AUTH PLAIN
S: +\x20
C: dGVzdAB0ZXN0AHRlc3Q=
S: +OK Maildrop locked and ready
""",
        {Auth: [b""], AuthResponse: ["Maildrop locked and ready"]},
        mechanisms=("PLAIN",),
    ),
    "RFC 5034 section 6, server first": Dialogue(
        """
S: +OK pop.example.com BlurdyBlurp POP3 server ready
C: AUTH DIGEST-MD5
S: + cmVhbG09ImVsd29vZC5pbm5vc29mdC5jb20iLG5vbmNlPSJPQTZNRzl0RVFHbTJoaCIscW9wPSJhdXRoIixhbGdvcml0aG0
     9bWQ1LXNlc3MsY2hhcnNldD11dGYtOA==
C: Y2hhcnNldD11dGYtOCx1c2VybmFtZT0iY2hyaXMiLHJlYWxtPSJlbHdvb2QuaW5ub3NvZnQuY29tIixub25jZT0iT0E2TUc5d
     EVRR20yaGgiLG5jPTAwMDAwMDAxLGNub25jZT0iT0E2TUhYaDZWcVRyUmsiLGRpZ2VzdC11cmk9InBvcC9lbHdvb2QuaW5ub3NvZ
     nQuY29tIixyZXNwb25zZT1iMGQ1NmQyZjA1NGMyNGI2MjA3MjMyMjEwNjQ2OGRiOSxxb3A9YXV0aA==
S: + cnNwYXV0aD0wYjk3MTQ2MmNlZjVlOGY5MzBkYjlhMzNiMDJmYzlhMA==
C:\x20
S: +OK Maildrop locked and ready
""",
        {
            Connected: ["pop.example.com BlurdyBlurp POP3 server ready"],
            Auth: [b'realm="elwood.innosoft.com",nonce="OA6MG9tEQGm2hh",qop="auth",algorithm=md5-sess,charset=utf-8'],
            AuthResponse: [b"rspauth=0b971462cef5e8f930db9a33b02fc9a0", "Maildrop locked and ready"],
        },
        mechanisms=("DIGEST-MD5",),
    ),
}
