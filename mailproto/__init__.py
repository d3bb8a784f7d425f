"""SMTP and POP3, client and server: state machines without I/O, with asyncio and blocking adapters.

The names here are those that most programs want. Each floor below is public as well: `mailproto.smtp` and
`mailproto.pop3` have the state machines and their flows, `mailproto.aio` and `mailproto.sync` run them,
`mailproto.flow` and `mailproto.tls` are for event loops of your own, `mailproto.sasl` has the mechanisms,
`mailproto.maildrop` the places where mail is kept.
"""

from mailproto._core.limits import Limits
from mailproto._core.policy import TLSPolicy
from mailproto._core.proxyheader import ProxyFamily, ProxyHeader
from mailproto.address import Address
from mailproto.errors import (
    AuthenticationError,
    ConnectionClosedError,
    ConnectionTimeoutError,
    GrammarError,
    LocalProtocolError,
    MailProtoError,
    NotSupportedError,
    Reject,
    RemoteProtocolError,
    SourceError,
    TLSRequiredError,
)
from mailproto.transcript import Transcript

__version__ = "0.1.0"

__all__ = [
    "Address",
    "AuthenticationError",
    "ConnectionClosedError",
    "ConnectionTimeoutError",
    "GrammarError",
    "Limits",
    "LocalProtocolError",
    "MailProtoError",
    "NotSupportedError",
    "ProxyFamily",
    "ProxyHeader",
    "Reject",
    "RemoteProtocolError",
    "SourceError",
    "TLSPolicy",
    "TLSRequiredError",
    "Transcript",
    "__version__",
]
