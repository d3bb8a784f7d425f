"""SMTP (RFC 5321), client and server, without I/O.

The server's side, by hand, over whatever carries bytes::

    conn = SMTPServerConnection(SMTPServerConfig(hostname="mx.example.org"))
    while not conn.closing:
        match conn.next_event():
            case None:
                sock.sendall(conn.data_to_send())
                conn.receive_data(sock.recv(65536))
            case Rcpt(address=address) if address.domain.lower() == "example.org":
                conn.accept()
            case MessageChunk(data=data):
                spool.write(data)
            case MessageEnd():
                spool.commit()
                conn.accept("it is safe now")
            case _ if conn.pending is not None:
                conn.answer_default()
    sock.sendall(conn.data_to_send())

The client's side is `SMTPClientConnection`: its methods queue commands and return handles, its events carry them.
Whole jobs are in `mailproto.smtp.flows`, and `mailproto.aio` and `mailproto.sync` run them.
"""

from mailproto._core.events import ConnectionClosed, ExtensionCommand, MessageChunk, StartTLS, TLSInfo
from mailproto._core.limits import Limits
from mailproto._core.spool import Spool
from mailproto.smtp._server.unsaid import ReplyLost
from mailproto.smtp.client import SMTPClientConnection
from mailproto.smtp.command import Command
from mailproto.smtp.config import (
    BareNewlines,
    SMTPClientConfig,
    SMTPServerConfig,
    Tolerance,
    UnknownParameters,
    with_extensions,
)
from mailproto.smtp.events import (
    Auth,
    AuthChallenge,
    AuthResponse,
    Burl,
    ClientEvent,
    CommandRejected,
    CommandSkipped,
    Connected,
    Data,
    Delivery,
    Envelope,
    Etrn,
    Expn,
    GreetingReceived,
    Hello,
    Mail,
    MessageAborted,
    MessageEnd,
    Rcpt,
    ReadyForData,
    ReplyReceived,
    Reset,
    ServerEvent,
    ToleranceUsed,
    Vrfy,
    XClient,
    XForward,
)
from mailproto.smtp.extensions import (
    ALL_EXTENSIONS,
    DEFAULT_EXTENSIONS,
    OFF_BY_DEFAULT,
    ByMode,
    DeliverBy,
    Extension,
    HoldFor,
    HoldUntil,
    NoSupport,
    Notify,
    OriginalRecipient,
    RequireRecipientValidSince,
    Ret,
    ServerLimits,
    Standing,
    Tracking,
)
from mailproto.smtp.messages.submission import (
    MessageSource,
    Progress,
    Recipient,
    RecipientLike,
    Submission,
    make_submission,
)
from mailproto.smtp.notices import Action
from mailproto.smtp.notices.reading import ReceivedNotice, ReportedRecipient, Typed, parse_notice
from mailproto.smtp.parameters import Body, MailParameters, Parameter, RcptParameters, Submitter
from mailproto.smtp.reply import EnhancedStatus, Reply, ReplyError
from mailproto.smtp.result import DeliveryError, Outcome, RecipientResult, SendResult
from mailproto.smtp.rules import ClientState, ServerState
from mailproto.smtp.server import SMTPServerConnection
from mailproto.smtp.status import describe

__all__ = [
    "ALL_EXTENSIONS",
    "Action",
    "Auth",
    "AuthChallenge",
    "AuthResponse",
    "BareNewlines",
    "Body",
    "Burl",
    "ByMode",
    "ClientEvent",
    "ClientState",
    "Command",
    "CommandRejected",
    "CommandSkipped",
    "Connected",
    "ConnectionClosed",
    "DEFAULT_EXTENSIONS",
    "Data",
    "Delivery",
    "DeliverBy",
    "DeliveryError",
    "EnhancedStatus",
    "Envelope",
    "Etrn",
    "Expn",
    "Extension",
    "ExtensionCommand",
    "GreetingReceived",
    "Hello",
    "HoldFor",
    "HoldUntil",
    "Limits",
    "Mail",
    "MailParameters",
    "MessageAborted",
    "MessageChunk",
    "MessageEnd",
    "MessageSource",
    "NoSupport",
    "Notify",
    "OFF_BY_DEFAULT",
    "OriginalRecipient",
    "Outcome",
    "Parameter",
    "Progress",
    "Rcpt",
    "RcptParameters",
    "ReadyForData",
    "ReceivedNotice",
    "Recipient",
    "RecipientLike",
    "RecipientResult",
    "Reply",
    "ReplyError",
    "ReplyLost",
    "ReplyReceived",
    "ReportedRecipient",
    "RequireRecipientValidSince",
    "Reset",
    "Ret",
    "SMTPClientConfig",
    "SMTPClientConnection",
    "SMTPServerConfig",
    "SMTPServerConnection",
    "SendResult",
    "ServerEvent",
    "ServerLimits",
    "ServerState",
    "Spool",
    "Standing",
    "StartTLS",
    "Submission",
    "Submitter",
    "TLSInfo",
    "Tolerance",
    "ToleranceUsed",
    "Tracking",
    "Typed",
    "UnknownParameters",
    "Vrfy",
    "XClient",
    "XForward",
    "describe",
    "make_submission",
    "parse_notice",
    "with_extensions",
]
