"""The extensions of SMTP, each a value in a module of its own; `frame` is what they are made of.

A server offers the `DEFAULT_EXTENSIONS` unless its config says otherwise. An extension that is only honest when the
application acts on it is off by default. A client knows all of them and uses what the server offers.
"""

from mailproto.smtp.extensions.basic import (
    AUTH,
    BINARYMIME,
    CHUNKING,
    EIGHT_BIT_MIME,
    ENHANCED_STATUS_CODES,
    PIPELINING,
    SIZE,
    SMTPUTF8,
    STARTTLS,
)
from mailproto.smtp.extensions.edge import ETRN, XCLIENT, XFORWARD
from mailproto.smtp.extensions.frame import (
    Extension,
    Offered,
    Parameter,
    Settings,
    Standing,
    flag,
    mail_parameters,
    rcpt_parameters,
)

DEFAULT_EXTENSIONS: tuple[Extension, ...] = (
    PIPELINING,
    SIZE,
    EIGHT_BIT_MIME,
    SMTPUTF8,
    ENHANCED_STATUS_CODES,
    CHUNKING,
    STARTTLS,
    AUTH,
)
"""What a server offers unless told otherwise, in this order."""

__all__ = [
    "AUTH",
    "BINARYMIME",
    "CHUNKING",
    "DEFAULT_EXTENSIONS",
    "EIGHT_BIT_MIME",
    "ETRN",
    "ENHANCED_STATUS_CODES",
    "Extension",
    "Offered",
    "PIPELINING",
    "Parameter",
    "SIZE",
    "SMTPUTF8",
    "STARTTLS",
    "Settings",
    "Standing",
    "XCLIENT",
    "XFORWARD",
    "flag",
    "mail_parameters",
    "rcpt_parameters",
]
