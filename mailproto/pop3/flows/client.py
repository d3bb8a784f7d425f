"""A client's jobs: open a session under a TLS policy, log in, look what is there, delete, leave.

Fetching has a module of its own, `mailproto.pop3.flows.fetch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

from mailproto._core.events import ConnectionClosed, StartTLS
from mailproto._core.flow import Flow, Want
from mailproto._core.policy import TLSPolicy, check_policy
from mailproto._flows.login import Attempt, LoginOptions, choose_login, get_credentials
from mailproto._flows.reading import go_on, meet
from mailproto.errors import (
    AuthenticationError,
    ConnectionClosedError,
    NotSupportedError,
    TLSRequiredError,
)
from mailproto.pop3 import command as commands
from mailproto.pop3.capabilities import Capabilities
from mailproto.pop3.client import POP3ClientConnection
from mailproto.pop3.command import Command
from mailproto.pop3.events import AuthChallenge, ClientEvent, GreetingReceived
from mailproto.pop3.response import Response, ResponseError
from mailproto.sasl.base import Credentials, CredentialsSource
from mailproto.sasl.binding import ChannelBinding

T = TypeVar("T")

POP3_PORT, POP3S_PORT = 110, 995


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions(LoginOptions):
    """How a session is to be opened, and whether and how to log in.

    Where ``mechanisms`` is None and the server offers none that will do, a password goes by USER and PASS; where it
    is empty, by nothing else. Those about the login, beginning with ``credentials``, are as in
    `mailproto.sync.POP3Client`.

    Args:
        tls: how much TLS it takes.
        apop: log in with APOP, and with nothing else.
        utf8: ask for UTF-8 mode, where the server offers it, so that messages come as they are (RFC 6856). Without
            it a server refuses those with UTF-8 in their headers, or makes surrogates of them.
    """

    tls: TLSPolicy = TLSPolicy.REQUIRED
    apop: bool = False
    utf8: bool = True

    def __post_init__(self) -> None:
        LoginOptions.__post_init__(self)
        check_policy(self.tls)


class MessageListing(NamedTuple):
    """What LIST and UIDL tell of a message. ``uid`` is None where the server has none."""

    number: int
    size: int
    uid: str | None = None


def default_endpoint(port: int | None, tls: TLSPolicy | None) -> tuple[int, TLSPolicy]:
    """Return the port and the policy that are meant where the caller leaves one of them, or both, open.

    Without a word it is TLS from the first octet on port 995 (RFC 8314 section 3.2). On any other port TLS is
    required as well.
    """
    if tls is None:
        tls = TLSPolicy.IMPLICIT if port in (None, POP3S_PORT) else TLSPolicy.REQUIRED
    if port is None:
        port = POP3S_PORT if tls is TLSPolicy.IMPLICIT else POP3_PORT
    return port, tls


def open_session(conn: POP3ClientConnection, options: SessionOptions) -> Flow[None]:
    """Take a new connection to where messages can be fetched.

    Raises:
        ResponseError: the server refused the session.
        TLSRequiredError: there is no TLS, and the policy insists on it.
        AuthenticationError: the credentials were refused, or could not be sent safely.
        NotSupportedError: APOP was asked for, and the server has none that can be trusted.
        ConnectionClosedError: the server hung up.
        RemoteProtocolError: the server does not speak POP3.
    """
    if options.tls is TLSPolicy.IMPLICIT:
        yield Want.START_TLS
    yield from meet(conn, _greeting(conn))
    yield from wait_done(conn, conn.capa())
    if options.tls in (TLSPolicy.REQUIRED, TLSPolicy.OPPORTUNISTIC):
        yield from _secure(conn, options.tls)
    if options.credentials is not None:
        yield from log_in(conn, options.credentials, options)


def log_in(conn: POP3ClientConnection, credentials: CredentialsSource, options: SessionOptions) -> Flow[None]:
    """Log in, in one way; when that is refused no weaker one is tried.

    Raises:
        AuthenticationError: refused, or there is no way that can be used, or the server is not who it says. The
            credentials may still be good when it is ``temporary``, for instance because another session has the
            maildrop. A `mailproto.sasl.TokenRefusedError` says more about a token.
        NotSupportedError: APOP was asked for, and the server has none that can be trusted.
        GrammarError: the credentials cannot be written in that way.
    """
    known = yield from get_credentials(conn.tls, credentials, options)
    if options.utf8 and _capabilities(conn).utf8 and not conn.utf8_mode:
        yield from wait_done(conn, conn.utf8())
    if options.apop:
        if conn.timestamp is None:
            raise NotSupportedError("the greeting has no timestamp for APOP that can be trusted")
        yield from _log_in_with(conn, conn.apop(known.username, known.password))
    elif (attempt := _choose(conn, known, options)) is not None:
        yield from _authenticate(conn, attempt)
    else:
        yield from _user_and_pass(conn, known)
    if conn.capabilities is not None and conn.capabilities.differ_by_user:
        yield from wait_done(conn, conn.capa())


def request(conn: POP3ClientConnection, command: Command[T]) -> Flow[T]:
    """Return the result of a command that was queued, once its response has come, and those before it.

    Raises:
        ResponseError: the response is -ERR.
        ConnectionClosedError: the server hung up instead.
        RemoteProtocolError: the server broke the protocol.
    """
    response = yield from wait_done(conn, command)
    if not response.ok:
        raise ResponseError(response, command.verb)
    return cast(T, command.result)


def listing(conn: POP3ClientConnection) -> Flow[list[MessageListing]]:
    """Return what is in the maildrop, by LIST and, where the server has it, UIDL, asked for together.

    Not all that have it say so before the login; and for want of unique-ids all mail might be fetched each time.
    """
    sizes, uids = conn.list(), conn.uidl()
    yield from wait_done(conn, uids)
    listed = yield from request(conn, sizes)
    known = uids.result or {}
    return [MessageListing(number, size, known.get(number)) for number, size in listed.items()]


def delete(conn: POP3ClientConnection, number: int) -> Flow[None]:
    """Mark message ``number`` as deleted; `quit_session` deletes it.

    Raises:
        ResponseError: the server has no such message, any more.
    """
    yield from request(conn, conn.dele(number))


def quit_session(conn: POP3ClientConnection) -> Flow[None]:
    """Say QUIT, which makes the deletions, and wait for the word that they are made.

    Raises:
        ResponseError: some messages marked as deleted were not removed.
        ConnectionClosedError: the server hung up, and nobody knows whether it made the deletions.
    """
    yield from request(conn, conn.quit())


def wait_done(conn: POP3ClientConnection, command: Command[Any]) -> Flow[Response]:
    """Return the response to a command that was queued, whatever it is, once all of it has come."""
    while not command.done:
        yield from next_event(conn)
    return cast(Response, command.response)


def next_event(conn: POP3ClientConnection) -> Flow[ClientEvent]:
    """Return the next event of a connection that is not to close.

    Raises:
        ConnectionClosedError: it did.
    """
    while (event := conn.next_event()) is None or type(event) is StartTLS:
        yield from go_on(conn, event)
    if isinstance(event, ConnectionClosed):
        raise ConnectionClosedError(event.reason or "the connection is closed")
    return event


def _greeting(conn: POP3ClientConnection) -> Flow[None]:
    while True:
        event = yield from next_event(conn)
        if isinstance(event, GreetingReceived):
            if not event.response.ok:
                raise ResponseError(event.response, "greeting")
            return


def _secure(conn: POP3ClientConnection, policy: TLSPolicy) -> Flow[None]:
    required = policy is TLSPolicy.REQUIRED
    if not _capabilities(conn).stls:
        if required:
            raise TLSRequiredError("the server does not offer STLS")
        return
    response = yield from wait_done(conn, conn.stls())
    if response.ok:
        yield from wait_done(conn, conn.capa())  # the handshake takes place on the way
    elif required:
        raise TLSRequiredError(f"the server refused STLS: {response}")


def _capabilities(conn: POP3ClientConnection) -> Capabilities:
    return conn.capabilities if conn.capabilities is not None else Capabilities()


def _choose(conn: POP3ClientConnection, credentials: Credentials, options: SessionOptions) -> Attempt | None:
    """Return the attempt with SASL to make, None for USER and PASS.

    Raises:
        AuthenticationError: neither will do.
    """
    offered = _capabilities(conn)
    try:
        return choose_login(conn, offered.auth_mechanisms, credentials, options)
    except AuthenticationError:
        picky = options.mechanisms or options.minimum_mechanism or options.channel_binding is ChannelBinding.REQUIRE
        if picky or not credentials.password or not (offered.user or not offered.auth_mechanisms):
            raise
        return None


def _user_and_pass(conn: POP3ClientConnection, credentials: Credentials) -> Flow[None]:
    commands.password(credentials.password, utf8=conn.takes_utf8)  # raises before anything is queued
    if credentials.authzid is not None:
        raise AuthenticationError("USER and PASS cannot carry an authorization identity")
    user = conn.user(credentials.username)
    password = conn.pass_(credentials.password)
    response = yield from wait_done(conn, user)
    if not response.ok:
        if not conn.withdraw(password):
            yield from wait_done(conn, password)
        raise _refusal(conn, response)
    yield from _log_in_with(conn, password)


def _log_in_with(conn: POP3ClientConnection, command: Command[None]) -> Flow[None]:
    response = yield from wait_done(conn, command)
    if not response.ok:
        raise _refusal(conn, response)


def _refusal(conn: POP3ClientConnection, response: Response) -> AuthenticationError:
    """Return what a refused login means.

    Where the server has announced AUTH-RESP-CODE, only AUTH is about the credentials (RFC 3206 section 6): after any
    other refusal the same ones may do later, unless it says SYS/PERM.
    """
    blamed = response.code is not None and response.code.partition("/")[0] in ("AUTH", "SYS")
    spared = _capabilities(conn).auth_resp_code and not blamed
    return AuthenticationError(f"the server refused the login: {response}", temporary=response.temporary or spared)


def _authenticate(conn: POP3ClientConnection, attempt: Attempt) -> Flow[None]:
    command = conn.auth(attempt.mechanism.name, (yield from attempt.begin()))
    while not command.done:
        event = yield from next_event(conn)
        if isinstance(event, AuthChallenge):
            yield from attempt.respond(event.data)
    response = yield from wait_done(conn, command)
    yield from attempt.conclude(None if response.ok else _refusal(conn, response))
