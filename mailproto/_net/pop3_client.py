"""What the POP3 clients of both adapters have in common."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from mailproto._core.checks import check_kind
from mailproto._core.events import TLSInfo
from mailproto._core.flow import Flow, T
from mailproto._core.policy import TLSPolicy
from mailproto._flows.endpoints import credentials_for
from mailproto._net.client import ClientBase, PathLike
from mailproto.errors import ConnectionClosedError, LocalProtocolError
from mailproto.pop3.capabilities import Capabilities
from mailproto.pop3.client import POP3ClientConnection
from mailproto.pop3.config import POP3ClientConfig
from mailproto.pop3.flows.client import (
    MessageListing,
    SessionOptions,
    default_endpoint,
    delete,
    listing,
    open_session,
    quit_session,
    wait_done,
)
from mailproto.pop3.flows.fetch import Fetch
from mailproto.sasl.base import ClientMechanisms, CredentialsSource
from mailproto.sasl.binding import ChannelBinding
from mailproto.sasl.choice import CLIENT_MECHANISMS
from mailproto.tunnels import Proxy


@dataclass(frozen=True, slots=True)
class POP3Report:
    """What a server offers, to a client that stands where this one does: under TLS or not, logged in or not.

    Args:
        capabilities: empty for a server that has no CAPA.
        auth_mechanisms: the SASL mechanisms, in upper case.
        tls: the TLS session, None in clear.
    """

    capabilities: Capabilities
    auth_mechanisms: tuple[str, ...]
    tls: TLSInfo | None


class POP3ClientBase(ClientBase):
    """A POP3 client.

    All that asks the server raises `mailproto.pop3.ResponseError` for an ``-ERR``, `ConnectionClosedError` when the
    connection is gone, `RemoteProtocolError` when the server breaks the protocol, and `LocalProtocolError` when the
    client is not connected, or busy.

    Args:
        host: the server's name or address.
        port: None means 995, or 110 where TLS is not implicit.
        tls: how much TLS it takes. None means implicit on port 995 and required on others.
        user: whom to log in as, with ``password``; None for nobody, yet.
        credentials: other credentials than those, or what is called to get them, so that a token can be fresh.
        context: a TLS context of your own; the default one verifies the server and wants TLS 1.2.
        cafile: a PEM file with the authorities to trust, in place of the system's.
        server_hostname: the name to verify, if it is not ``host``.
        mechanisms: the SASL mechanisms that may be used, in this order. None for all that are known, and USER and
            PASS where the server offers none of them; empty for USER and PASS alone.
        apop: log in with APOP, and with nothing else.
        minimum_mechanism: the weakest that may be used, in the order of ``known_mechanisms``; None for any.
        known_mechanisms: the mechanisms by name, best first: those of `mailproto.sasl`, and your own.
        channel_binding: whether SCRAM binds to the TLS session.
        utf8: ask for UTF-8 mode, where the server offers it, so that messages come as they are (RFC 6856). Without
            it a server refuses those with UTF-8 in their headers, or makes surrogates of them.
        allow_plaintext_auth: send credentials without TLS, too, so that whoever listens has them.
        path: connect to a unix socket instead; ``tls`` None means none then.
        sock: take this connected socket instead.
        source_address: connect from this host and port.
        proxy: reach the server through this `mailproto.tunnels.Socks5` or `mailproto.tunnels.HTTPProxy`.
        proxy_header: begin with this PROXY header, which `ProxyHeader.encode` makes: the server then takes us for the
            load balancer, and for who connects whom the header names.
        connect_timeout: seconds until connecting is given up.
        timeout: seconds that connecting, and each wait for the server after that, may last at most; None means
            ``connect_timeout`` and those of ``config.limits``, which are minutes long.
        config: how to behave where the RFCs leave the choice, the limits and timeouts among it.

    Attributes:
        conn: the state machine underneath, `mailproto.pop3.POP3ClientConnection`; its ``trace`` may be a
            `mailproto.Transcript`.
    """

    conn: POP3ClientConnection

    def __init__(
        self,
        host: str = "localhost",
        port: int | None = None,
        *,
        tls: TLSPolicy | None = None,
        user: str | None = None,
        password: str | None = None,
        credentials: CredentialsSource | None = None,
        context: ssl.SSLContext | None = None,
        cafile: PathLike | None = None,
        server_hostname: str | None = None,
        mechanisms: Sequence[str] | None = None,
        apop: bool = False,
        minimum_mechanism: str | None = None,
        known_mechanisms: ClientMechanisms = CLIENT_MECHANISMS,
        channel_binding: ChannelBinding = ChannelBinding.PREFER,
        utf8: bool = True,
        allow_plaintext_auth: bool = False,
        path: PathLike | None = None,
        sock: socket.socket | None = None,
        source_address: tuple[str, int] | None = None,
        proxy: Proxy | None = None,
        proxy_header: bytes | None = None,
        connect_timeout: float = 30.0,
        timeout: float | None = None,
        config: POP3ClientConfig | None = None,
    ) -> None:
        config = config if config is not None else POP3ClientConfig()
        check_kind("config", config, POP3ClientConfig)
        if proxy_header is not None:
            check_kind("proxy_header", proxy_header, bytes)
        if timeout is not None:
            config = replace(config, limits=config.limits.within(timeout))
            connect_timeout = min(connect_timeout, timeout)
        self.conn = POP3ClientConnection(config)
        if tls is None and path is not None:
            tls = TLSPolicy.NONE
        port, tls = default_endpoint(port, tls)
        self._aim(host, port, path, sock, source_address, connect_timeout, context, cafile, server_hostname, proxy)
        self._policy = tls
        self._proxy_header = proxy_header
        self._fetching: Fetch | None = None
        self._current: int | None = None  # the number of the message that can be read
        self._begun = self._ended = False  # whether some, and all, of it was read
        self._options = SessionOptions(
            tls=tls,
            credentials=credentials_for(user, password, credentials),
            mechanisms=mechanisms,
            apop=apop,
            minimum_mechanism=minimum_mechanism,
            known_mechanisms=known_mechanisms,
            channel_binding=channel_binding,
            utf8=utf8,
            allow_plaintext_auth=allow_plaintext_auth,
        )

    def _open(self) -> Flow[None]:
        return open_session(self.conn, self._options)

    def _quit(self) -> Flow[None]:
        return self._then(quit_session(self.conn))

    def _begin_fetch(self, messages: Iterable[MessageListing] | None) -> Flow[Fetch]:
        """Begin to fetch ``messages``, or all that there are."""
        if messages is None:
            messages = yield from listing(self.conn)
        self._fetching = fetch = Fetch(self.conn, messages)
        return fetch

    def _next_message(self, fetch: Fetch) -> Flow[MessageListing | None]:
        """Go on to the next message of a fetch, None behind the last.

        Raises:
            LocalProtocolError: another command has ended the fetch.
        """
        if self._fetching is not fetch:
            raise LocalProtocolError("another command came between: begin to fetch again")
        self._current = None
        self._begun = self._ended = False
        message = yield from fetch.next_message()
        if message is not None:
            self._current = message.number
        return message

    def _check_current(self, fetch: Fetch, number: int) -> None:
        if self._fetching is not fetch or self._current != number:
            raise LocalProtocolError("a message can be read until the next command")

    def _check_unread(self, fetch: Fetch, number: int) -> None:
        """See that nothing was read of a message: who begins again would take the rest of it, or nothing, for all."""
        self._check_current(fetch, number)
        if self._begun:
            raise LocalProtocolError("a message comes once, and this one was read already, or a part of it")

    def _next_chunk(self, fetch: Fetch, number: int) -> Flow[bytes | None]:
        self._check_current(fetch, number)
        self._begun = True
        chunk = yield from fetch.next_chunk()
        self._ended = chunk is None
        return chunk

    def _read(self, fetch: Fetch, number: int) -> Flow[bytes]:
        if self._ended:
            self._check_unread(fetch, number)
        chunks = []
        while (chunk := (yield from self._next_chunk(fetch, number))) is not None:
            chunks.append(chunk)
        return b"".join(chunks)

    def _delete(self, number: int) -> Flow[None]:
        """Mark a message; in the middle of a fetch this goes with the next commands, and is waited for later."""
        if self._fetching is not None:
            self._fetching.delete(number)
        else:
            yield from self._then(delete(self.conn, number))

    def _then(self, flow: Flow[T]) -> Flow[T]:
        """Leave off fetching, and then do ``flow``.

        Raises:
            ConnectionClosedError: the connection is over; that is told each time.
        """
        if self.conn.closing:
            flow.close()
            raise ConnectionClosedError("the connection is closed")
        fetching, self._fetching = self._fetching, None
        if fetching is not None:
            yield from fetching.finish()
        return (yield from flow)

    def _retrieve(self, number: int, lines: int | None = None) -> Flow[bytes]:
        """Return a message, or with ``lines`` its header and so many lines of its body."""
        chunks = []
        # Nothing has that size, so that the answer is proved whatever it is.
        fetch = Fetch(self.conn, [MessageListing(number, -1)], lines=lines)
        yield from fetch.next_message()
        while (chunk := (yield from fetch.next_chunk())) is not None:
            chunks.append(chunk)
        return b"".join(chunks)

    def _report(self) -> Flow[POP3Report]:
        yield from wait_done(self.conn, self.conn.capa())
        return POP3Report(self.capabilities, self.capabilities.auth_mechanisms, self.conn.tls)

    @property
    def capabilities(self) -> Capabilities:
        """What the server offers; empty for a server that has no CAPA."""
        return self.conn.capabilities if self.conn.capabilities is not None else Capabilities()


class MessageBase:
    """A message on its way from a maildrop. It can be read once, until the next command, and deleted at any time.

    Attributes:
        number: its number in this session.
        size: in octets, as the server says.
        uid: its unique-id, None if the server has none.
    """

    def __init__(self, listing: MessageListing) -> None:
        self.number, self.size, self.uid = listing

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number}: {self.size} octets>"
