"""The order of SMTP commands as one table: what a server does with each command in each state."""

from __future__ import annotations

import enum
from typing import TypeAlias


class ServerState(enum.Enum):
    """Where a server's connection stands."""

    CONNECTED = "nothing said yet"
    START = "greeted, waiting for EHLO or HELO"
    READY = "between transactions"
    MAIL = "in a transaction, no recipient yet"
    RCPT = "in a transaction, with a recipient"
    REFUSED = "greeted with a refusal: only QUIT (RFC 5321 section 3.1)"
    AUTH = "in an AUTH exchange: lines are responses"
    DATA = "receiving a message or a chunk: nothing is a command"
    CHUNKS = "between the chunks of a message (RFC 3030)"
    CLOSED = "over"

    __hash__ = object.__hash__  # a member equals only itself; hashing its name would cost more than the look-up


class ClientState(enum.Enum):
    """Where a client's connection stands, by the replies that have come."""

    GREETING = "waiting for the greeting"
    START = "greeted, no EHLO yet"
    READY = "between transactions"
    TRANSACTION = "in a transaction"
    DATA = "sending a message"
    FAILED = "broken for good"
    CLOSED = "over"


class Outcome(enum.Enum):
    """What becomes of a command.

    Attributes:
        ASK: it makes an event, and the user answers it.
        OWN: the connection answers it.
        BAD_SEQUENCE: it is out of order.
        NO_RECIPIENTS: nobody is there to get a message.
    """

    ASK = "ask"
    OWN = "own"
    BAD_SEQUENCE = "503"
    NO_RECIPIENTS = "554"

    __hash__ = object.__hash__


RULES_TABLE = """
command   START  READY  MAIL  RCPT  CHUNKS  REFUSED
EHLO      ask    ask    ask   ask   ask     503
HELO      ask    ask    ask   ask   ask     503
LHLO      ask    ask    ask   ask   ask     503
STARTTLS  503    ask    503   503   503     503
AUTH      503    ask    503   503   503     503
MAIL      503    ask    503   503   503     503
RCPT      503    503    ask   ask   503     503
DATA      503    503    554   ask   503     503
BDAT      503    503    554   ask   own     503
BURL      503    503    554   ask   ask     503
RSET      own    own    own   own   own     503
VRFY      ask    ask    ask   ask   ask     503
EXPN      ask    ask    ask   ask   ask     503
ETRN      503    ask    503   503   503     503
XCLIENT   503    ask    503   503   503     503
XFORWARD  503    ask    503   503   503     503
HELP      own    own    own   own   own     503
NOOP      own    own    own   own   own     503
QUIT      own    own    own   own   own     own
other     503    ask    ask   ask   ask     503
"""
"""RFC 5321 section 4.1.4, RFC 3207 section 4, RFC 4954 section 4, RFC 3030 section 2, RFC 4468 section 3, RFC 1985;
XCLIENT and XFORWARD are Postfix's; the others are those that the application's own extensions add (RFC 5321 section
2.2.2). The other states look at no commands. LHLO takes the place of EHLO and HELO in LMTP (RFC 2033 section 4.1),
where 554 is 503 (section 4.2)."""

Rules: TypeAlias = dict[tuple[ServerState, str], Outcome]


def read_rules(table: str) -> Rules:
    """Return (state, command) to outcome for a table like `RULES_TABLE`."""
    header, *rows = (line.split() for line in table.split("\n") if line)
    return {
        (ServerState[state], verb): Outcome(outcome)
        for verb, *outcomes in rows
        for state, outcome in zip(header[1:], outcomes, strict=True)
    }


RULES = read_rules(RULES_TABLE)
OTHER = "other"
"""What stands in the table for the commands of extensions of one's own. No client can say it, for verbs are read in
upper case."""
VERBS = frozenset(verb for _, verb in RULES) - {OTHER}
SMTP_VERBS = VERBS - {"LHLO"}
LMTP_VERBS = VERBS - {"EHLO", "HELO"}
HELLO = frozenset({"EHLO", "HELO", "LHLO"})
"""The commands by which a client says who it is."""
JUNK = HELLO | {"RSET", "VRFY", "EXPN", "ETRN", "HELP", "NOOP"}
"""Commands that deliver nothing, however many of them come."""
