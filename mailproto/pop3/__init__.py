"""POP3, client and server, without I/O (RFC 1939, RFC 2449, RFC 2595, RFC 5034, RFC 6856).

Both connections are driven in the same way, over whatever moves bytes. A server, by hand::

    conn = POP3ServerConnection(POP3ServerConfig(allow_plaintext_auth=True))
    with ExitStack() as stack:
        while not conn.closing:
            while (event := conn.next_event()) is not None:
                match event:
                    case Connected():
                        conn.accept()
                    case Login(username, password) if passwords.get(username) == password:
                        snapshot = stack.enter_context(closing(open_maildrop(username)))
                        conn.accept(maildrop=snapshot.messages)
                    case Retrieve(number):
                        conn.accept()
                        for piece in snapshot.retrieve(number):
                            conn.send_data(piece)
                        conn.end_data()
                    case Update(deleted):
                        snapshot.commit(deleted)
                        conn.accept()
                    case _ if conn.pending is not None:
                        conn.answer_default()
            sock.sendall(conn.data_to_send())
            if not conn.closing:
                conn.receive_data(sock.recv(65536))

A client queues commands and reads what comes of them; each event says which command it answers::

    conn = POP3ClientConnection()
    message = []
    while True:
        match conn.next_event():
            case None:
                sock.sendall(conn.data_to_send())
                conn.receive_data(sock.recv(65536))
            case GreetingReceived():
                conn.user("ada")
                conn.pass_("secret")
            case ResponseReceived(command, response) if not response.ok:
                raise ResponseError(response, command.verb)
            case ResponseReceived(command) if command.verb == "PASS":
                conn.retr(1)
                conn.dele(1)
                conn.quit()
            case MessageChunk(data):
                message.append(data)
            case ConnectionClosed():
                break

Whole jobs, such as opening a session under a TLS policy, are in `mailproto.pop3.flows`.
"""

from mailproto._core.events import ConnectionClosed, ExtensionCommand, MessageChunk, StartTLS, TLSInfo
from mailproto._core.limits import Limits
from mailproto.pop3._server.responses import TEXTS
from mailproto.pop3.apop import ApopCheck, apop_digest
from mailproto.pop3.capabilities import Capabilities
from mailproto.pop3.client import POP3ClientConnection
from mailproto.pop3.command import Command
from mailproto.pop3.config import POP3ClientConfig, POP3ServerConfig
from mailproto.pop3.events import (
    Apop,
    AuthChallenge,
    ClientEvent,
    CommandRejected,
    Connected,
    GreetingReceived,
    ListingReceived,
    Login,
    MessageEnd,
    ResponseReceived,
    Retrieve,
    ServerEvent,
    ToleranceUsed,
    Update,
    XClient,
)
from mailproto.pop3.keys import safe_key
from mailproto.pop3.languages import Language, Phrase
from mailproto.pop3.listing import Stat
from mailproto.pop3.response import Response, ResponseCode, ResponseError
from mailproto.pop3.rules import ClientState, ServerState
from mailproto.pop3.server import POP3ServerConnection
from mailproto.pop3.snapshot import LoginDelayError, MaildropBusyError, MessageInfo, Snapshot, UTF8RequiredError
from mailproto.pop3.tolerance import Tolerance
from mailproto.sasl.base import Auth, AuthResponse

__all__ = [
    "TEXTS",
    "Apop",
    "ApopCheck",
    "Auth",
    "AuthChallenge",
    "AuthResponse",
    "Capabilities",
    "ClientEvent",
    "ClientState",
    "Command",
    "CommandRejected",
    "Connected",
    "ConnectionClosed",
    "ExtensionCommand",
    "GreetingReceived",
    "Language",
    "Limits",
    "ListingReceived",
    "Login",
    "LoginDelayError",
    "MaildropBusyError",
    "MessageChunk",
    "MessageEnd",
    "MessageInfo",
    "POP3ClientConfig",
    "POP3ClientConnection",
    "POP3ServerConfig",
    "POP3ServerConnection",
    "Phrase",
    "Response",
    "ResponseCode",
    "ResponseError",
    "ResponseReceived",
    "Retrieve",
    "ServerEvent",
    "ServerState",
    "Snapshot",
    "StartTLS",
    "Stat",
    "TLSInfo",
    "Tolerance",
    "ToleranceUsed",
    "UTF8RequiredError",
    "Update",
    "XClient",
    "apop_digest",
    "safe_key",
]
