"""What a server says, where the application has no words of its own: those of the RFCs, as far as they have any."""

from __future__ import annotations

from mailproto._core.events import StartTLS
from mailproto.pop3.events import Apop, Connected, Login, Retrieve, Update
from mailproto.pop3.response import Response
from mailproto.sasl.base import Auth, AuthResponse

OK = Response(True)
SEND_PASSWORD = Response(True, "Send the password")
GOODBYE = Response(True, "Good-bye")

LINE_TOO_LONG = Response(False, "Line too long")
UNREADABLE = Response(False, "Only printable ASCII in a command")
UNKNOWN = Response(False, "Command not recognised")
NOT_NOW = Response(False, "Command not permitted in this state")
BAD_ARGUMENTS = Response(False, "Syntax error in the arguments")

TLS_REQUIRED = Response(False, "Must establish TLS first")
TLS_ALREADY = Response(False, "Command not permitted when TLS active")
AUTH_MECHANISM = Response(False, "Authentication mechanism not offered")
AUTH_CANCELLED = Response(False, "Authentication cancelled")
AUTH_NOT_BASE64 = Response(False, "Cannot decode the response")

TOO_MANY_ERRORS = Response(False, "Too many errors, good-bye")
TOO_MANY_COMMANDS = Response(False, "Too many commands, good-bye")

TOP_FOLLOWS = Response(True, "top of message follows")
LOGGED_IN = Response(True, "maildrop locked and ready")
LOGIN_FAILED = Response(False, "Authentication failed", "AUTH")

ACCEPTED: dict[type, Response] = {
    StartTLS: Response(True, "Begin TLS negotiation"),
    Login: LOGGED_IN,
    Apop: LOGGED_IN,
    Auth: LOGGED_IN,
    AuthResponse: LOGGED_IN,
    Update: GOODBYE,
}
"""The answer to an event that is accepted without words. The greeting is configured, RETR says the size."""

REJECTED: dict[type, Response] = {
    Connected: Response(False, "No POP3 service here"),
    StartTLS: Response(False, "TLS not available at present", "SYS/TEMP"),
    Login: LOGIN_FAILED,
    Apop: LOGIN_FAILED,
    Auth: LOGIN_FAILED,
    AuthResponse: LOGIN_FAILED,
    Retrieve: Response(False, "Message not available", "SYS/TEMP"),
    Update: Response(False, "some deleted messages not removed", "SYS/TEMP"),
}
"""The answer to an event that is rejected without words, or not answered at all. There is one for all logins, so
that it does not tell which users exist."""
