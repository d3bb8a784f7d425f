"""A client's jobs: open a session under a TLS policy, log in, leave.

Sending has a module of its own, `mailproto.smtp.flows.sending`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from mailproto._core.events import ConnectionClosed, StartTLS
from mailproto._core.flow import Flow, Want
from mailproto._core.policy import TLSPolicy, check_policy
from mailproto._flows.login import Attempt, LoginOptions, choose_login, get_credentials
from mailproto._flows.reading import go_on, meet, read_event
from mailproto.errors import (
    AuthenticationError,
    ConnectionClosedError,
    LocalProtocolError,
    RemoteProtocolError,
    TLSRequiredError,
)
from mailproto.sasl.base import CredentialsSource
from mailproto.smtp.client import SMTPClientConnection
from mailproto.smtp.command import Command
from mailproto.smtp.events import AuthChallenge, GreetingReceived, ReplyReceived
from mailproto.smtp.reply import Reply, ReplyError

RELAY_PORT, SUBMISSION_PORT, SUBMISSIONS_PORT = 25, 587, 465
_MAX_COMMAND = 512  # octets of a command line with its CRLF, RFC 4954 section 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions(LoginOptions):
    """How a session is to be opened, and whether and how to log in.

    Those about the login, beginning with ``credentials``, are as in `mailproto.sync.SMTPClient`.

    Args:
        tls: how much TLS it takes.
        local_name: what the client calls itself in EHLO, a domain or an address literal.
    """

    tls: TLSPolicy = TLSPolicy.REQUIRED
    local_name: str = "[127.0.0.1]"

    def __post_init__(self) -> None:
        LoginOptions.__post_init__(self)
        check_policy(self.tls)


def default_endpoint(port: int | None, tls: TLSPolicy | None, *, credentials: bool) -> tuple[int, TLSPolicy]:
    """Return the port and the policy that are meant where the caller leaves one of them, or both, open.

    Without a word it is submission on port 587, TLS required (RFC 8314 section 3.3). Relay needs no credentials
    and can hardly insist on TLS; whoever has credentials insists.
    """
    if tls is None:
        insists = credentials or port in (None, SUBMISSION_PORT)
        tls = TLSPolicy.REQUIRED if insists else TLSPolicy.OPPORTUNISTIC
        tls = TLSPolicy.IMPLICIT if port == SUBMISSIONS_PORT else tls
    if port is None:
        port = SUBMISSIONS_PORT if tls is TLSPolicy.IMPLICIT else SUBMISSION_PORT
    return port, tls


def open_session(conn: SMTPClientConnection, options: SessionOptions) -> Flow[None]:
    """Take a new connection to where messages can be sent.

    Raises:
        ReplyError: the server refused the session.
        TLSRequiredError: there is no TLS, and the policy insists on it.
        AuthenticationError: the credentials were refused, or could not be sent safely.
        ConnectionClosedError: the server hung up.
        RemoteProtocolError: the server does not speak SMTP.
    """
    if options.tls is TLSPolicy.IMPLICIT:
        yield Want.START_TLS
    yield from meet(conn, _greeting(conn))
    yield from _hello(conn, options.local_name)
    if options.tls in (TLSPolicy.REQUIRED, TLSPolicy.OPPORTUNISTIC):
        yield from _secure(conn, options)
    if options.credentials is not None:
        yield from log_in(conn, options.credentials, options)


def log_in(conn: SMTPClientConnection, credentials: CredentialsSource, options: SessionOptions) -> Flow[None]:
    """Authenticate (RFC 4954), with one mechanism; when that is refused no weaker one is tried.

    Raises:
        AuthenticationError: refused, or no mechanism can be used, or the server is not who it says. The credentials
            may still be good when it is ``temporary``. A `mailproto.sasl.TokenRefusedError` says more about a token.
        GrammarError: the credentials cannot be written.
    """
    known = yield from get_credentials(conn.tls, credentials, options)
    attempt = choose_login(conn, conn.auth_mechanisms, known, options)
    name = attempt.mechanism.name
    initial = yield from attempt.begin(room=_MAX_COMMAND - len(f"AUTH {name} \r\n"))
    reply = yield from _exchange(conn, conn.auth(name, initial), attempt)
    refusal = AuthenticationError(f"the server refused the credentials: {reply}", temporary=reply.temporary)
    yield from attempt.conclude(None if reply.ok else refusal)


def request(conn: SMTPClientConnection, command: Command) -> Flow[Reply]:
    """Return the reply to a command that was just queued, of whatever class.

    Raises:
        ConnectionClosedError: the server hung up instead.
    """
    yield from wait_replies(conn, command)
    if command.reply is None:
        raise ConnectionClosedError("the command was not sent")
    return command.reply


def quit_session(conn: SMTPClientConnection) -> Flow[None]:
    """Say QUIT, if that can still be said, and wait a little for the answer, which changes nothing any more."""
    with suppress(ConnectionClosedError, LocalProtocolError, RemoteProtocolError):
        yield from wait_replies(conn, conn.quit())


def wait_replies(conn: SMTPClientConnection, *commands: Command) -> Flow[None]:
    """Read until each of ``commands`` has its reply, a 354 to DATA included, or was not sent after all.

    Raises:
        ConnectionClosedError: the server hung up before it answered.
        RemoteProtocolError: the server broke the protocol.
    """
    for command in commands:
        # Both may have been told before the reply to another one was.
        while command.reply is None and not command.skipped:
            event = conn.next_event()
            if event is None or isinstance(event, StartTLS):
                yield from go_on(conn, event)
                conn.take_good_replies()  # whose events would be of no use here
            elif isinstance(event, ConnectionClosed):
                raise ConnectionClosedError(event.reason or "the connection is closed")


def _greeting(conn: SMTPClientConnection) -> Flow[None]:
    while True:
        event = yield from read_event(conn)
        if isinstance(event, GreetingReceived):
            if event.reply.ok:
                return
            raise ReplyError(event.reply, "greeting")
        if isinstance(event, ConnectionClosed):
            raise ConnectionClosedError(event.reason or "the server hung up without a greeting")


def _hello(conn: SMTPClientConnection, name: str) -> Flow[None]:
    """Say EHLO, or HELO to a server that does not know it (RFC 5321 section 3.2); LHLO in LMTP, and nothing else."""
    if conn.config.lmtp:
        reply = yield from request(conn, conn.lhlo(name))
        if not reply.ok:
            raise ReplyError(reply, "LHLO")
        return
    reply = yield from request(conn, conn.ehlo(name))
    if reply.permanent:
        reply = yield from request(conn, conn.helo(name))
    if not reply.ok:
        raise ReplyError(reply, "EHLO")


def _secure(conn: SMTPClientConnection, options: SessionOptions) -> Flow[None]:
    required = options.tls is TLSPolicy.REQUIRED
    if "STARTTLS" not in conn.extensions:
        if required:
            raise TLSRequiredError("the server does not offer STARTTLS")
        return
    reply = yield from request(conn, conn.starttls())
    if reply.code == 220:
        yield from _hello(conn, options.local_name)  # the handshake takes place on the way to its reply
    elif required:
        raise TLSRequiredError(f"the server refused STARTTLS: {reply}")


def _exchange(conn: SMTPClientConnection, command: Command, attempt: Attempt) -> Flow[Reply]:
    while True:
        event = yield from read_event(conn)
        match event:
            case AuthChallenge():
                yield from attempt.respond(event.data)
            case ReplyReceived() if event.command is command:
                return event.reply
            case ConnectionClosed():
                raise ConnectionClosedError(event.reason or "the server hung up during AUTH")
