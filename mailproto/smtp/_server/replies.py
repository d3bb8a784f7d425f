"""What a server says unless the application says it better (RFC 5321 section 4.2.3, RFC 5248)."""

from __future__ import annotations

from mailproto._core.events import ExtensionCommand, StartTLS
from mailproto.sasl.base import Auth, AuthResponse
from mailproto.smtp.events import (
    Burl,
    Connected,
    Data,
    Delivery,
    Etrn,
    Expn,
    Hello,
    Mail,
    MessageEnd,
    Rcpt,
    Vrfy,
    XClient,
    XForward,
)
from mailproto.smtp.extensions import prdr
from mailproto.smtp.extensions.basic import TOO_BIG as TOO_BIG
from mailproto.smtp.reply import Reply
from mailproto.smtp.rules import Outcome

READY_FOR_DATA = Reply(354, "Go ahead, end with a dot on a line by itself")
GOODBYE = Reply.build(221, "Bye", "2.0.0")
OK = Reply.build(250, "OK", "2.0.0")

LINE_TOO_LONG = Reply.build(500, "Line too long", "5.5.2")
SASL_LINE_TOO_LONG = Reply.build(500, "Authentication exchange line is too long", "5.5.6")
UNREADABLE = Reply.build(500, "Command not recognised", "5.5.2")
UNKNOWN = Reply.build(500, "Command not recognised", "5.5.1")
NOT_IMPLEMENTED = Reply.build(502, "Command not implemented", "5.5.1")
BAD_ARGUMENTS = Reply.build(501, "Syntax error in the arguments", "5.5.4")
BAD_SENDER = Reply.build(501, "Bad sender address syntax", "5.1.7")
BAD_RECIPIENT = Reply.build(501, "Bad recipient address syntax", "5.1.3")
UNKNOWN_PARAMETER = Reply.build(555, "Parameter not recognised or not offered", "5.5.4")
NON_ASCII_SENDER = Reply.build(550, "This address needs SMTPUTF8", "5.6.7")
NON_ASCII_ADDRESS = Reply.build(553, "This address needs SMTPUTF8", "5.6.7")
NO_BINARY = Reply.build(503, "A binary message has to come with BDAT", "5.5.1")
CHUNK_OK = Reply.build(250, "Chunk received", "2.0.0")
BAD_CHUNK = Reply.build(521, "Cannot tell where this chunk ends, good-bye", "5.5.4")
HUGE_CHUNK = Reply.build(521, "The chunk is too big to be skipped, good-bye", "5.3.4")
EACH_FOLLOWS = Reply(prdr.EACH_FOLLOWS, "A reply for each recipient follows")
NOBODY_TAKES = Reply.build(554, "No recipient takes the message", "5.0.0")
NOBODY_TAKES_NOW = Reply.build(451, "No recipient takes the message at present", "4.0.0")
NOT_A_TRANSACTION = {
    Outcome.BAD_SEQUENCE: Reply.build(503, "Bad sequence of commands", "5.5.1"),
    Outcome.NO_RECIPIENTS: Reply.build(554, "No valid recipients", "5.5.1"),
}

SPOKE_EARLY = Reply(554, "You spoke before you were greeted, good-bye")
SPOKE_AHEAD = Reply.build(554, "You spoke before you were answered, good-bye", "5.5.0")
NOT_TRUSTED = Reply.build(550, "Not for you", "5.7.0")
TLS_REQUIRED = Reply.build(530, "Must issue a STARTTLS command first", "5.7.0")
TLS_ALREADY = Reply.build(503, "TLS is in use already", "5.5.1")
AUTH_REQUIRED = Reply.build(530, "Authentication required", "5.7.0")
AUTH_ALREADY = Reply.build(503, "Authenticated already", "5.5.1")
AUTH_NEEDS_TLS = Reply.build(538, "Encryption required for authentication", "5.7.11")
AUTH_MECHANISM = Reply.build(504, "Authentication mechanism not offered", "5.5.4")
AUTH_CANCELLED = Reply.build(501, "Authentication cancelled", "5.7.0")
AUTH_NOT_BASE64 = Reply.build(501, "Cannot decode the response", "5.5.2")

CUT_LINE_END = Reply.build(554, "A chunk ends between CR and LF", "5.6.0")

SHOWS_ADDRESS = {
    251: Reply.build(250, "User not local, will forward", "2.1.5"),
    551: Reply.build(550, "User not local", "5.1.6"),
}
"""The replies that may name a non-ASCII address, and what becomes of them for clients without SMTPUTF8 (RFC 6531
section 3.7.4.1)."""
UTF8_NEEDED = Reply.build(252, "Cannot tell without SMTPUTF8", "2.6.8")
UTF8_REFUSED = Reply.build(550, "Cannot tell without SMTPUTF8", "5.6.8")

TOO_MANY_RECIPIENTS = Reply.build(452, "Too many recipients, send the rest in another transaction", "4.5.3")
TOO_MANY_DOMAINS = Reply.build(452, "Too many domains, send to this one on another connection", "4.5.3")
BARE_NEWLINE = Reply.build(550, "The message has a bare CR or LF, which RFC 5321 forbids", "5.6.0")
BARE_NEWLINE_CLOSE = Reply.build(521, "The message has a bare CR or LF, which RFC 5321 forbids", "5.6.0")
NUL = Reply.build(550, "The message has a NUL octet, which RFC 5322 forbids", "5.6.0")
TOO_MANY_HOPS = Reply.build(554, "The message has been through too many servers: a loop", "5.4.6")
LONG_BODY_LINE = Reply.build(550, "The message has an over-long line", "5.6.0")

TOO_MANY_ERRORS = Reply.build(421, "Too many errors, good-bye", "4.7.0")
TOO_MANY_COMMANDS = Reply.build(421, "Too many commands, good-bye", "4.7.0")
TOO_MANY_TRANSACTIONS = Reply.build(421, "Too many messages on this connection, come again", "4.7.0")
TOO_MANY_LOGINS = Reply.build(421, "Too many failed attempts, good-bye", "4.7.0")
TOO_MANY_STRANGERS = Reply.build(421, "Too many recipients refused, good-bye", "4.7.0")
TIMED_OUT = Reply.build(421, "Timed out, good-bye", "4.4.2")
NOT_AVAILABLE = Reply.build(421, "Service not available, come again later", "4.3.2")

ACCEPTED: dict[type, Reply] = {
    Connected: Reply(220),
    Hello: Reply(250),
    StartTLS: Reply.build(220, "Ready to start TLS", "2.0.0"),
    Auth: Reply.build(235, "Authentication successful", "2.7.0"),
    AuthResponse: Reply.build(235, "Authentication successful", "2.7.0"),
    Mail: Reply.build(250, "Sender OK", "2.1.0"),
    Rcpt: Reply.build(250, "Recipient OK", "2.1.5"),
    Data: READY_FOR_DATA,
    MessageEnd: Reply.build(250, "Message accepted", "2.0.0"),
    Delivery: Reply.build(250, "Message delivered", "2.0.0"),
    Burl: Reply.build(250, "OK", "2.5.0"),
    Vrfy: Reply.build(252, "Cannot tell, but will take mail for it and try", "2.0.0"),
    Expn: Reply.build(252, "Cannot tell", "2.0.0"),
    Etrn: Reply.build(250, "Queuing started", "2.0.0"),
    XClient: Reply(220),
    XForward: OK,
    ExtensionCommand: OK,
}
"""The answer to an event that is accepted without words."""

REJECTED: dict[type, Reply] = {
    Connected: Reply(554, "No SMTP service here"),
    Hello: Reply(550, "Go away"),
    StartTLS: Reply.build(454, "TLS not available at present", "4.7.0"),
    Auth: Reply.build(535, "Authentication credentials invalid", "5.7.8"),
    AuthResponse: Reply.build(535, "Authentication credentials invalid", "5.7.8"),
    Mail: Reply.build(550, "Sender refused", "5.7.1"),
    Rcpt: Reply.build(550, "Recipient refused", "5.7.1"),
    Data: Reply.build(554, "Transaction failed", "5.0.0"),
    MessageEnd: Reply.build(554, "Message refused", "5.0.0"),
    Delivery: Reply.build(554, "Message refused", "5.0.0"),
    Burl: Reply.build(554, "Message content not available", "5.6.6"),
    Vrfy: NOT_IMPLEMENTED,
    Expn: NOT_IMPLEMENTED,
    Etrn: NOT_IMPLEMENTED,
    XClient: NOT_TRUSTED,
    XForward: NOT_TRUSTED,
    ExtensionCommand: NOT_IMPLEMENTED,
}
"""The answer to an event that is rejected without words."""

DEFAULT: dict[type, Reply] = {
    StartTLS: REJECTED[StartTLS],
    Auth: REJECTED[Auth],
    AuthResponse: REJECTED[AuthResponse],
    Rcpt: REJECTED[Rcpt],
    MessageEnd: Reply.build(451, "Nobody took the message, try again later", "4.3.0"),
    Delivery: Reply.build(451, "Nobody took the message, try again later", "4.3.0"),
    Burl: REJECTED[Burl],
    Expn: REJECTED[Expn],
    Etrn: REJECTED[Etrn],
    ExtensionCommand: REJECTED[ExtensionCommand],
}
"""The answer to an event that nobody answered, where silence must not mean yes."""
