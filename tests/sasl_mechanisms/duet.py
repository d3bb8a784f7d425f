"""The flows of a client and of a server, over nothing but memory: what both say, do, log and remember."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mailproto._core.events import TLSInfo
from mailproto._core.flow import Call, Flow, Sleep, Want
from mailproto._core.limits import Limits
from mailproto._core.policy import TLSPolicy
from mailproto.errors import ConnectionClosedError
from mailproto.maildrop import MemoryMaildrop
from mailproto.pop3.client import POP3ClientConnection
from mailproto.pop3.config import POP3ServerConfig
from mailproto.pop3.flows import client as pop3_client
from mailproto.pop3.flows import server as pop3_server
from mailproto.pop3.server import POP3ServerConnection
from mailproto.sasl import (
    SERVER_MECHANISMS,
    AnonymousCheck,
    CramMD5Check,
    ExternalCheck,
    Identity,
    PasswordCheck,
    Question,
    ScramKeyRequest,
    ScramPassword,
    ServerMechanisms,
    TokenCheck,
)
from mailproto.smtp.client import SMTPClientConnection
from mailproto.smtp.config import SMTPServerConfig
from mailproto.smtp.flows import client as smtp_client
from mailproto.smtp.flows import server as smtp_server
from mailproto.smtp.server import SMTPServerConnection
from tests.sasl_mechanisms.talk import ADA

ALL = tuple(SERVER_MECHANISMS)
LIMITS = Limits(auth_failure_delay=1.0, max_auth_failures=3)


def knows_ada(question: Question) -> Any:
    """Answer what is asked of ``on_auth`` by who knows ada, her password, her token and her certificate."""
    match question:
        case PasswordCheck() | CramMD5Check():
            return question.matches({"ada": ADA.password}.get(question.username))
        case TokenCheck():
            return "ada" if question.token == "t0ken" else None
        case ExternalCheck():
            return "ada" if ("email", "ada@example.test") in question.names else None
        case AnonymousCheck():
            return True
    return None


class Careless:
    """Answers logins, and lets ``decide`` answer for ``on_auth``."""

    def __init__(self, decide: Callable[[Any], Any] = knows_ada) -> None:
        self.asked: list[Question] = []
        self.drop = MemoryMaildrop()
        self.identity: Identity | None = None
        self.decide = decide

    def on_auth(self, _: Any, question: Question) -> Any:
        self.asked.append(question)
        return self.decide(question)

    def on_scram_key(self, _: Any, question: ScramKeyRequest) -> Any:
        self.asked.append(question)
        return ScramPassword({"ada": ADA.password}.get(question.username))

    def on_login(self, _: Any) -> Any:
        return self.drop.open()

    def on_close(self, session: Any) -> None:
        self.identity = session.identity


class Handler(Careless):
    """Also lets ada act as list."""

    def on_authorize(self, _: Any, identity: Identity, authzid: str) -> bool:
        return identity.name == "ada" and authzid == "list"


class Side:
    """One flow on one connection."""

    def __init__(self, conn: Any, flow: Flow[Any], tls: TLSInfo | None) -> None:
        self.conn = conn
        self.flow = flow
        self.tls = tls
        self.over = False
        self.error: Exception | None = None
        self.sleeps: list[float] = []
        self.computed = 0
        self.said = b""
        self.trace: list[bytes] = []
        conn.trace = lambda who, line: self.trace.append(line)
        self._step(None)

    def hear(self, data: bytes) -> None:
        """Take what the other side said; go on with the flow, which is waiting."""
        if data:
            self.conn.receive_data(data)
        else:
            self.conn.receive_eof()
        if not self.over:
            self._step(None)

    def speak(self) -> bytes:
        data: bytes = self.conn.data_to_send()
        self.said += data
        return data

    def _step(self, value: Any, error: Exception | None = None) -> None:
        try:
            while True:
                wish = self.flow.send(value) if error is None else self.flow.throw(error)
                value = error = None
                if wish is Want.READ:
                    return
                if wish is Want.START_TLS:
                    self.conn.tls_established(self.tls)
                elif isinstance(wish, Sleep):
                    self.sleeps.append(wish.seconds)
                elif isinstance(wish, Call):
                    self.computed += wish.slow
                    try:
                        value = wish.function(*wish.arguments)
                    except Exception as raised:
                        error = raised
        except StopIteration:
            self.over = True
        except Exception as raised:
            self.over, self.error = True, raised


@dataclass(frozen=True)
class Protocol:
    """What SMTP and POP3 do differently, as far as a login is concerned."""

    name: str
    client: Callable[[], Any]
    server: Callable[..., Any]
    client_flow: Callable[..., Flow[None]]
    server_flow: Callable[..., Flow[None]]
    ask: str  # asks for a challenge
    yes: str
    no: str
    cancelled: str
    greeting: tuple[str, ...]  # what a client says first, in a script


def _smtp_server(**settings: Any) -> SMTPServerConnection:
    return SMTPServerConnection(SMTPServerConfig(hostname="mx.example.test", **settings))


def _smtp_client_flow(conn: Any, **options: Any) -> Flow[None]:
    return smtp_client.open_session(conn, smtp_client.SessionOptions(**options))


def _smtp_server_flow(conn: Any, handler: object, **options: Any) -> Flow[None]:
    return smtp_server.serve(smtp_server.SMTPSession(conn), handler, **options)


def _pop3_server(**settings: Any) -> POP3ServerConnection:
    return POP3ServerConnection(POP3ServerConfig(**settings))


def _pop3_client_flow(conn: Any, **options: Any) -> Flow[None]:
    return pop3_client.open_session(conn, pop3_client.SessionOptions(**options))


def _pop3_server_flow(conn: Any, handler: object, **options: Any) -> Flow[None]:
    return pop3_server.serve(pop3_server.POP3Session(conn), handler, **options)


SMTP = Protocol(
    "smtp",
    SMTPClientConnection,
    _smtp_server,
    _smtp_client_flow,
    _smtp_server_flow,
    "334 ",
    "235 2.7.0 ",
    "535 5.7.8 ",
    "501 5.7.0 ",
    ("EHLO client.example.test",),
)
POP3 = Protocol(
    "pop3",
    POP3ClientConnection,
    _pop3_server,
    _pop3_client_flow,
    _pop3_server_flow,
    "+ ",
    "+OK maildrop",
    "-ERR [AUTH] ",
    "-ERR Authentication cancelled",
    (),
)
PROTOCOLS = (SMTP, POP3)


@dataclass
class Duet:
    """A client and a server that have talked to each other.

    ``bindings`` is channel binding data that both know; with ``certificate`` the client has shown one of ada's.
    """

    protocol: Protocol
    handler: Any = field(default_factory=Handler)
    offered: tuple[str, ...] = ALL
    known: ServerMechanisms = field(default_factory=lambda: SERVER_MECHANISMS)
    secure: bool = True
    version: str = "TLSv1.3"
    bindings: dict[str, bytes] = field(default_factory=dict)
    certificate: bool = False
    cut: int | None = None
    limits: Limits = LIMITS

    def talk(self, **options: Any) -> "Duet":
        """Have the client open a session and log in with these options, then hang up."""
        self.server = self._server()
        client_tls = TLSInfo(self.version, channel_bindings=self.bindings) if self.secure else None
        flow = self.protocol.client_flow(
            conn := self.protocol.client(), tls=TLSPolicy.IMPLICIT if self.secure else TLSPolicy.NONE, **options
        )
        self.client = Side(conn, flow, client_tls)
        while not self.client.over:
            moved = self._move(self.server, self.client) | self._move(self.client, self.server)
            if not moved:
                self.client.hear(b"")
        self._move(self.client, self.server)
        self._end()
        return self

    def script(self, *lines: str | bytes) -> list[str]:
        """Say these lines to the server, each after the answer to the one before; return the replies in lines."""
        self.server = self._server()
        for line in (*self.protocol.greeting, *lines):
            self.server.speak()
            self.server.hear((line.encode() if isinstance(line, str) else line) + b"\r\n")
        self.server.speak()
        self._end()
        return self.server.said.decode().split("\r\n")[:-1]

    def _server(self) -> Side:
        conn = self.protocol.server(
            auth_mechanisms=self.offered, allow_plaintext_auth=not self.secure, limits=self.limits
        )
        names = (("email", "ada@example.test"),) if self.certificate else ()
        shown = b"DER" if self.certificate else None
        tls = TLSInfo(self.version, peer_certificate=shown, peer_names=names, channel_bindings=self.bindings)
        flow = self.protocol.server_flow(conn, self.handler, implicit_tls=self.secure, mechanisms=self.known)
        return Side(conn, flow, tls)

    def _move(self, source: Side, target: Side) -> bool:
        data = source.speak()
        size = self.cut or len(data) or 1
        for start in range(0, len(data), size):
            target.hear(data[start : start + size])
        return bool(data)

    def _end(self) -> None:
        if not self.server.over:
            self.server.hear(b"")
        assert self.server.over
        assert self.server.error is None or isinstance(self.server.error, ConnectionClosedError)

    @property
    def identity(self) -> Identity | None:
        """Who the server thinks the client was."""
        identity: Identity | None = self.handler.identity
        return identity

    def raise_failure(self) -> None:
        """Raise what the client's flow raised, if anything."""
        if self.client.error is not None:
            raise self.client.error

    def everything(self, caplog: Any) -> str:
        """Return all that may be logged: traces, log records, reprs of events and errors."""
        shown = [repr(line) for side in (self.client, self.server) for line in side.trace]
        shown += [record.getMessage() + (record.exc_text or "") for record in caplog.records]
        shown += [repr(self.client.error), str(self.client.error), repr(self.handler.asked)]
        return "\n".join(shown)


def listen_to_everything(caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
