"""What a server says, where the application has no words of its own: those of the RFCs, as far as they have any."""

from __future__ import annotations

from mailproto.pop3.response import Response

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
TLS_TOO_LATE = Response(False, "Command not permitted after UTF8")
AUTH_MECHANISM = Response(False, "Authentication mechanism not offered")
AUTH_CANCELLED = Response(False, "Authentication cancelled")
AUTH_NOT_BASE64 = Response(False, "Cannot decode the response")

TOO_MANY_ERRORS = Response(False, "Too many errors, good-bye")
TOO_MANY_COMMANDS = Response(False, "Too many commands, good-bye")

UTF8_MODE = Response(True, "UTF8 enabled")
UPDATED = Response(True, "Updated")
NOT_UPDATED = Response(False, "Not updated")

TOP_FOLLOWS = Response(True, "top of message follows")
LOGGED_IN = Response(True, "maildrop locked and ready")
LOGIN_FAILED = Response(False, "Authentication failed", "AUTH")
"""There is one for all logins, so that it does not tell which users exist."""

BEGIN_TLS = Response(True, "Begin TLS negotiation")
NO_TLS = Response(False, "TLS not available at present", "SYS/TEMP")
NO_SERVICE = Response(False, "No POP3 service here")
NO_MESSAGE = Response(False, "Message not available", "SYS/TEMP")
NOT_REMOVED = Response(False, "some deleted messages not removed", "SYS/TEMP")
READ_ONLY = Response(False, "the maildrop is read-only", "SYS/PERM")

# Words around values.
CAPABILITIES_FOLLOW = "Capability list follows"
MECHANISMS_FOLLOW = "Mechanisms follow"
LANGUAGES_FOLLOW = "Language listing follows:"
LANGUAGE_CHANGED = "Language changed"
INVALID_LANGUAGE = "invalid language {range}"
IN_ALL = "{count} messages ({octets} octets)"
RESET = "maildrop has {count} messages ({octets} octets)"
OCTETS = "{octets} octets"
DELETED = "message {number} deleted"
ALREADY_DELETED = "message {number} already deleted"
NO_SUCH_MESSAGE = "no such message, only {count} messages in maildrop"

TEXTS = tuple(
    value.text if isinstance(value, Response) else value
    for name, value in sorted(globals().items())
    if name.isupper() and isinstance(value, Response | str) and value != OK
)
"""All that a server says by itself, for translators."""
