"""The client's side of AUTH, the same for SMTP (RFC 4954) and POP3 (RFC 5034)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from mailproto._core.checks import check_fields, check_kind
from mailproto._core.events import TLSInfo
from mailproto._core.flow import Call, Flow
from mailproto.errors import AuthenticationError, GrammarError, MailProtoError
from mailproto.sasl.base import (
    Channel,
    ClientMechanism,
    ClientMechanisms,
    Compute,
    Credentials,
    CredentialsSource,
    Request,
    check_mechanisms,
)
from mailproto.sasl.binding import ChannelBinding, client_bindings
from mailproto.sasl.choice import CLIENT_MECHANISMS, choose_mechanism


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginOptions:
    """How a client is to log in, if it is to.

    Args:
        credentials: whom to log in as, or what is called to say so; None for nobody.
        mechanisms: the SASL mechanisms that may be used, in this order; None for all that are known.
        minimum_mechanism: the weakest that may be used, in the order of ``known_mechanisms``; None for any.
        known_mechanisms: the mechanisms by name, best first: those of `mailproto.sasl`, and your own.
        channel_binding: whether SCRAM binds to the TLS session.
        allow_plaintext_auth: send credentials without TLS, too, so that whoever listens has them.

    Raises:
        GrammarError: ``mechanisms`` or ``minimum_mechanism`` names one that is not among ``known_mechanisms``, which
            no server could make up for.
    """

    credentials: CredentialsSource | None = field(default=None, repr=False)
    mechanisms: Sequence[str] | None = None
    minimum_mechanism: str | None = None
    known_mechanisms: ClientMechanisms = field(default_factory=lambda: CLIENT_MECHANISMS, repr=False)
    channel_binding: ChannelBinding = ChannelBinding.PREFER
    allow_plaintext_auth: bool = False

    def __post_init__(self) -> None:
        check_fields(self)
        check_kind("known_mechanisms", self.known_mechanisms, Mapping)
        names = self.mechanisms or ()
        check_mechanisms(names)
        for name in (*names, self.minimum_mechanism):
            if name is not None and name not in self.known_mechanisms:
                raise GrammarError(f"no mechanism is known as {name!a:.40}, but {', '.join(self.known_mechanisms)}")


class AuthConnection(Protocol):
    """What a login needs of a client's connection."""

    @property
    def tls(self) -> TLSInfo | None:
        """The TLS session, None in clear."""

    def auth_response(self, data: bytes) -> None:
        """Answer a challenge."""

    def auth_cancel(self) -> None:
        """Give up the exchange."""

    def shut_down(self) -> None:
        """End the connection."""


def get_credentials(tls: TLSInfo | None, source: CredentialsSource, options: LoginOptions) -> Flow[Credentials]:
    """Return the credentials, fresh if they come from a call.

    Raises:
        AuthenticationError: there is no TLS, and they must not be sent without.
    """
    if tls is None and not options.allow_plaintext_auth:
        raise AuthenticationError("credentials are not sent without TLS, unless allow_plaintext_auth is true")
    if isinstance(source, Credentials):
        return source
    credentials: Credentials = yield Call(source)
    return credentials


def choose_login(
    conn: AuthConnection, offered: Collection[str], credentials: Credentials, options: LoginOptions
) -> Attempt:
    """Return the one attempt to log in that is made, with the best mechanism that will do.

    Raises:
        AuthenticationError: there is none.
    """
    bindings = client_bindings(conn.tls, options.channel_binding, options.mechanisms)
    mechanism = choose_mechanism(
        offered,
        secure=conn.tls is not None or options.allow_plaintext_auth,
        allowed=options.mechanisms,
        known=options.known_mechanisms,
        credentials=credentials,
        can_bind=bool(bindings),
        must_bind=options.channel_binding is ChannelBinding.REQUIRE,
        minimum=options.minimum_mechanism,
    )
    usable = tuple(
        name
        for name in offered
        if name in options.known_mechanisms and (options.mechanisms is None or name in options.mechanisms)
    )
    return Attempt(conn, mechanism, credentials, Channel(conn.tls, usable, bindings))


class Attempt:
    """One exchange. It is begun, responds to challenges, and is concluded when the server has said its last word.

    Attributes:
        mechanism: the mechanism.
    """

    def __init__(
        self, conn: AuthConnection, mechanism: ClientMechanism, credentials: Credentials, channel: Channel
    ) -> None:
        self.mechanism = mechanism
        self._conn = conn
        self._channel = channel
        self._exchange = mechanism.start(credentials)
        self._over = False
        self._held: bytes | None = None
        self._failure: MailProtoError | None = None

    def begin(self, room: int | None = None) -> Flow[bytes | None]:
        """Return the initial response, None if there is none to send along.

        One of more than ``room`` octets in base64 is held back until the server asks for it with an empty challenge.

        Raises:
            GrammarError: the mechanism cannot write the credentials.
            AuthenticationError: it does not trust the connection.
        """
        initial = yield from self._advance(None)
        if initial is not None and room is not None and -(-len(initial) // 3) * 4 > room:
            self._held, initial = initial, None
        return initial

    def respond(self, challenge: bytes) -> Flow[None]:
        """Answer a challenge, or give up, for a reason that is told when the server has noted it.

        Raises:
            MailProtoError: the server does not take note of it.
        """
        if self._failure is not None:
            raise self._failure
        try:
            response = yield from self._next(challenge)
        except MailProtoError as error:
            self._failure = error
            self._conn.auth_cancel()
        else:
            self._conn.auth_response(response or b"")

    def conclude(self, refusal: AuthenticationError | None) -> Flow[None]:
        """Say what became of it, after the server has: ``refusal`` is None if it said yes.

        When it should not have said yes, the connection ends: nobody knows who is at its other end.

        Raises:
            AuthenticationError: the login failed.
        """
        try:
            yield from self._judge(refusal)
        except MailProtoError:
            if refusal is None:
                self._conn.shut_down()
            raise
        finally:
            self._exchange.close()

    def _judge(self, refusal: AuthenticationError | None) -> Flow[None]:
        if self._failure is not None:
            raise self._failure
        if refusal is not None:
            with suppress(StopIteration):
                self._exchange.throw(refusal)  # the mechanism may know more about it
            raise refusal
        if not self._over:
            yield from self._advance(None)
        if not self._over or self._held is not None:
            raise AuthenticationError("the server said yes before the exchange was over")

    def _next(self, challenge: bytes) -> Flow[bytes | None]:
        held, self._held = self._held, None
        if held is None:
            response = yield from self._advance(challenge)
        elif challenge:
            raise AuthenticationError("the server begins, where the client has to")
        else:
            response = held
        if self._over:
            raise AuthenticationError("the server asks for more than there is to say")
        return response

    def _advance(self, answer: Any) -> Flow[bytes | None]:
        """Go on with the exchange until it says something, or is over."""
        try:
            step = self._exchange.send(answer)
            while isinstance(step, Request):
                step = self._exchange.send((yield from self._grant(step)))
        except StopIteration:
            self._over = True
            return None
        return step

    def _grant(self, request: Request) -> Flow[Any]:
        if isinstance(request, Compute):
            return (yield Call(request.function, request.arguments, slow=True))
        return self._channel
