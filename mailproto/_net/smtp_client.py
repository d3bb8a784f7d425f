"""What the SMTP clients of both adapters have in common."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mailproto._core.checks import check_kind
from mailproto._core.events import TLSInfo
from mailproto._core.flow import Flow
from mailproto._core.policy import TLSPolicy
from mailproto._flows.endpoints import ask, credentials_for, literal_of
from mailproto._net.client import ClientBase, PathLike
from mailproto.address import check_domain
from mailproto.sasl.base import ClientMechanisms, CredentialsSource
from mailproto.sasl.binding import ChannelBinding
from mailproto.sasl.choice import CLIENT_MECHANISMS
from mailproto.smtp.alabels import encode_domain
from mailproto.smtp.client import SMTPClientConnection
from mailproto.smtp.config import SMTPClientConfig
from mailproto.smtp.extensions import ServerLimits
from mailproto.smtp.flows.client import SessionOptions, default_endpoint, open_session, quit_session, request
from mailproto.smtp.reply import Reply
from mailproto.tunnels import Proxy


@dataclass(frozen=True, slots=True)
class SMTPReport:
    """What a server offers a client that stands where this one does, under TLS or not, before it logs in.

    Args:
        name: what the server calls itself.
        extensions: EHLO keywords in upper case, and what stood behind them.
        auth_mechanisms: the SASL mechanisms, in upper case.
        max_message_size: in octets, None if the server does not say (RFC 1870).
        limits: how much it takes (RFC 9422).
        tls: the TLS session, None in clear.
    """

    name: str
    extensions: dict[str, str]
    auth_mechanisms: tuple[str, ...]
    max_message_size: int | None
    limits: ServerLimits
    tls: TLSInfo | None


class SMTPClientBase(ClientBase):
    """An SMTP client.

    All that asks the server raises `ConnectionClosedError` when the connection is gone, `RemoteProtocolError` when
    the server breaks the protocol, and `LocalProtocolError` when the client is not connected, or busy. Only sending
    raises none of the first two: that a connection broke on the way is part of the result.

    Args:
        host: the server's name or address.
        port: None means 587, or 465 for implicit TLS.
        tls: how much TLS it takes. None means what the port is for: required on 587, implicit on 465, and on other
            ports opportunistic, unless there are credentials.
        user: whom to log in as, with ``password``; None for nobody.
        credentials: other credentials than those, or what is called to get them, so that a token can be fresh.
        context: a TLS context of your own; the default one verifies the server and wants TLS 1.2.
        cafile: a PEM file with the authorities to trust, in place of the system's.
        server_hostname: the name to verify, if it is not ``host``.
        local_name: what the client calls itself; None means the address literal of its socket.
        mechanisms: the SASL mechanisms that may be used, in this order; None for all that are known.
        minimum_mechanism: the weakest that may be used, in the order of ``known_mechanisms``; None for any.
        known_mechanisms: the mechanisms by name, best first: those of `mailproto.sasl`, and your own.
        channel_binding: whether SCRAM binds to the TLS session.
        allow_plaintext_auth: send credentials without TLS, too, so that whoever listens has them.
        path: connect to a unix socket instead; ``tls`` None means none then.
        sock: take this connected socket instead.
        source_address: connect from this host and port.
        proxy: reach the server through this `mailproto.tunnels.Socks5` or `mailproto.tunnels.HTTPProxy`.
        proxy_header: begin with this PROXY header, which `ProxyHeader.encode` makes: the server then takes us for the
            load balancer, and for who connects whom the header names.
        connect_timeout: seconds until connecting is given up.
        timeout: seconds that connecting, and each wait for the server after that, may last at most; None means
            ``connect_timeout`` and those of ``config.limits``, minutes long as RFC 5321 section 4.5.3.2 has them.
        config: how to behave where the RFCs leave the choice, the limits and timeouts among it.

    Attributes:
        conn: the state machine underneath, `mailproto.smtp.SMTPClientConnection`; its ``trace`` may be a
            `mailproto.Transcript`.
    """

    conn: SMTPClientConnection

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
        local_name: str | None = None,
        mechanisms: Sequence[str] | None = None,
        minimum_mechanism: str | None = None,
        known_mechanisms: ClientMechanisms = CLIENT_MECHANISMS,
        channel_binding: ChannelBinding = ChannelBinding.PREFER,
        allow_plaintext_auth: bool = False,
        path: PathLike | None = None,
        sock: socket.socket | None = None,
        source_address: tuple[str, int] | None = None,
        proxy: Proxy | None = None,
        proxy_header: bytes | None = None,
        connect_timeout: float = 30.0,
        timeout: float | None = None,
        config: SMTPClientConfig | None = None,
    ) -> None:
        config = config if config is not None else SMTPClientConfig()
        check_kind("config", config, SMTPClientConfig)
        if proxy_header is not None:
            check_kind("proxy_header", proxy_header, bytes)
        if timeout is not None:
            config = replace(config, limits=config.limits.within(timeout))
            connect_timeout = min(connect_timeout, timeout)
        self.conn = SMTPClientConnection(config)
        source = credentials_for(user, password, credentials)
        if tls is None and path is not None:
            tls = TLSPolicy.NONE
        port, tls = default_endpoint(port, tls, credentials=source is not None)
        self._aim(host, port, path, sock, source_address, connect_timeout, context, cafile, server_hostname, proxy)
        self._policy = tls
        self._proxy_header = proxy_header
        if local_name is not None:
            check_domain(encode_domain(local_name, config.idna_encode))
        self._local_name = local_name
        self._options = SessionOptions(
            tls=tls,
            credentials=source,
            mechanisms=mechanisms,
            minimum_mechanism=minimum_mechanism,
            known_mechanisms=known_mechanisms,
            channel_binding=channel_binding,
            allow_plaintext_auth=allow_plaintext_auth,
        )

    def _open(self) -> Flow[None]:
        return open_session(self.conn, replace(self._options, local_name=self._own_name()))

    def _hello(self) -> Flow[Reply]:
        conn = self.conn
        return ask(conn, request, conn.lhlo if conn.config.lmtp else conn.ehlo, self._own_name())

    def _own_name(self) -> str:
        return self._local_name if self._local_name is not None else literal_of(self._local)

    def _quit(self) -> Flow[None]:
        return quit_session(self.conn)

    def report(self) -> SMTPReport:
        """Return what the server offers, as things stand."""
        conn = self.conn
        return SMTPReport(
            conn.server_name,
            dict(conn.extensions),
            conn.auth_mechanisms,
            conn.max_message_size,
            conn.server_limits,
            conn.tls,
        )

    @property
    def extensions(self) -> dict[str, str]:
        """What the server offers: EHLO keywords in upper case, and what stood behind them."""
        return self.conn.extensions

    @property
    def max_message_size(self) -> int | None:
        """The largest message the server takes, in octets, None if it does not say (RFC 1870)."""
        return self.conn.max_message_size
