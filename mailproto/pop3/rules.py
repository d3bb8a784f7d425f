"""The order of POP3 commands as two tables, one a role: what may be said in each state."""

from __future__ import annotations

import enum
from typing import TypeAlias, TypeVar


class ServerState(enum.Enum):
    """Where a server's connection stands."""

    CONNECTED = "nothing said yet"
    AUTHORIZATION = "waiting for a login"
    NAMED = "waiting for a login, and USER was the last command"
    EXCHANGE = "in an AUTH exchange: lines are responses"
    TRANSACTION = "the maildrop is open"
    UPDATE = "QUIT was said, and the deletions are being made"
    CLOSED = "over"


class ClientState(enum.Enum):
    """Where a client's connection stands, as far as the responses tell that have come."""

    GREETING = "waiting for the greeting"
    AUTHORIZATION = "not logged in"
    TRANSACTION = "logged in"
    FAILED = "broken for good"
    CLOSED = "over"


class Outcome(enum.Enum):
    """What becomes of a command.

    Attributes:
        ASK: it makes an event, and the user answers it.
        OWN: the connection answers it.
        REFUSED: it is out of order.
        SENT: on a client: it goes out as soon as it is its turn.
        NOT_SENT: on a client: it is the caller's mistake.
    """

    ASK = "ask"
    OWN = "own"
    REFUSED = "-ERR"
    SENT = "send"
    NOT_SENT = "no"


SERVER_TABLE = """
command  AUTHORIZATION  NAMED  TRANSACTION
USER     own            own    -ERR
PASS     -ERR           ask    -ERR
APOP     ask            ask    -ERR
AUTH     ask            ask    -ERR
STLS     ask            ask    -ERR
XCLIENT  ask            ask    -ERR
UTF8     own            own    -ERR
LANG     own            own    own
STAT     -ERR           -ERR   own
LIST     -ERR           -ERR   own
UIDL     -ERR           -ERR   own
RETR     -ERR           -ERR   ask
TOP      -ERR           -ERR   ask
DELE     -ERR           -ERR   own
RSET     -ERR           -ERR   own
NOOP     -ERR           -ERR   own
LAST     -ERR           -ERR   own
CAPA     own            own    own
QUIT     own            own    ask
other    -ERR           -ERR   ask
"""
"""RFC 1939 sections 4 to 7, RFC 2449 section 5, RFC 2595 section 4, RFC 5034 section 4, RFC 6856. The others are
those that an application adds.

The other states look at no commands: these wait until the state is left, which they never do once it is CLOSED.
"""

CLIENT_TABLE = """
command  GREETING  AUTHORIZATION  TRANSACTION  FAILED  CLOSED
USER     no        send           no           no      no
PASS     no        send           no           no      no
APOP     no        send           no           no      no
AUTH     no        send           no           no      no
STLS     no        send           no           no      no
XCLIENT  no        send           no           no      no
UTF8     no        send           no           no      no
LANG     no        send           send         no      no
STAT     no        no             send         no      no
LIST     no        no             send         no      no
UIDL     no        no             send         no      no
RETR     no        no             send         no      no
TOP      no        no             send         no      no
DELE     no        no             send         no      no
RSET     no        no             send         no      no
NOOP     no        no             send         no      no
LAST     no        no             send         no      no
CAPA     no        send           send         no      no
QUIT     no        send           send         no      no
other    no        send           send         no      no
"""
"""The same rules as a client keeps them. Further, nothing goes behind QUIT, and nothing behind AUTH, STLS
or XCLIENT before they are answered; PASS goes only right behind USER, APOP only with a timestamp, and STLS never
behind UTF8."""

StateT = TypeVar("StateT", bound=enum.Enum)
Rules: TypeAlias = dict[tuple[StateT, str], Outcome]


def read_rules(table: str, states: type[StateT]) -> Rules[StateT]:
    """Return (state, command) to outcome for one of the tables."""
    header, *rows = (line.split() for line in table.split("\n") if line)
    return {
        (states[state], verb): Outcome(outcome)
        for verb, *outcomes in rows
        for state, outcome in zip(header[1:], outcomes, strict=True)
    }


SERVER_RULES = read_rules(SERVER_TABLE, ServerState)
CLIENT_RULES = read_rules(CLIENT_TABLE, ClientState)
OTHER = "other"
"""What stands in the tables for commands of one's own. Verbs are in upper case, so that it is none."""
VERBS = frozenset(verb for _, verb in SERVER_RULES) - {OTHER}
