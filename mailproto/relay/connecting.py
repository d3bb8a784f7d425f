"""Connecting to a host: with the client that the route, the application, or the custom of mail hosts has for it."""

from __future__ import annotations

import functools
import logging
import ssl

from mailproto._core.policy import TLSPolicy
from mailproto.aio.smtp import SMTPClient
from mailproto.errors import ConnectionClosedError, MailProtoError, RemoteProtocolError, TLSRequiredError
from mailproto.relay.attempt import one_line
from mailproto.relay.config import RelayConfig
from mailproto.relay.route import Route, Target
from mailproto.smtp.config import SMTPClientConfig
from mailproto.smtp.flows.client import RELAY_PORT
from mailproto.smtp.reply import Reply, ReplyError
from mailproto.smtp.routing import RoutingError, literal_host
from mailproto.smtp.sts import Mode, Policy

logger = logging.getLogger("mailproto")


async def connect(target: Target, config: RelayConfig) -> SMTPClient:
    """Return a client that is connected to this host.

    With opportunistic TLS, a host that offers STARTTLS and then hangs up, falls silent, fails in the handshake or
    says something else in its place is tried once more in clear (RFC 7435 section 3), with a line in the log. So is
    one that has words in clear behind its 220: they may be those of an attacker, who must not be believed, and is
    not. But he could have taken the offer of STARTTLS away as well (RFC 3207 section 6), so that not to send at all
    would keep nothing from him, and from the recipients of a host that is just broken all their mail.

    Raises:
        OSError, MailProtoError: as `SMTPClient.connect` does, or what makes the client in its place.
        RoutingError: the host is not what its domain wants of it.
    """
    if target.policy is not None:
        try:
            return await _connect_verified(target, target.policy, config)
        except RoutingError as error:
            if target.policy.mode is not Mode.TESTING:
                raise
            logger.warning("mail goes there all the same, for that is a test: %s", one_line(error.reply.text))
    client = await _client(target, config, TLSPolicy.OPPORTUNISTIC)
    try:
        await client.connect()
    except ReplyError as error:
        if target.route is not None and target.route.secure and _may_be_forged(error, client):
            text = f"{target.place} says without TLS, which it is to have: {error.reply}"
            raise RoutingError(Reply.build(451, text, "4.7.5")) from error
        raise
    except (ConnectionClosedError, RemoteProtocolError, OSError) as error:
        if not _may_go_in_clear(target, config) or not _came_to_tls(client):
            raise
        logger.warning("%s: no session under TLS, so that mail goes in clear: %s", target.place, error)
        client = await _client(target, config, TLSPolicy.NONE)
        await client.connect()
    return client


async def _connect_verified(target: Target, policy: Policy, config: RelayConfig) -> SMTPClient:
    """Return a client that is connected to a host which fulfils the policy of its domain (RFC 8461 section 4).

    Raises:
        RoutingError: it does not.
    """
    if not policy.matches(target.host):
        raise _not_fulfilled(target, "it is none of the hosts there")
    context = config.sts.context if config.sts is not None else None  # the usual one, which verifies as well
    client = _mx_client(target, config, TLSPolicy.REQUIRED, context)
    try:
        await client.connect()
    except ReplyError as error:
        if _may_be_forged(error, client):
            raise _not_fulfilled(target, f"without TLS it says {error.reply}") from error
        raise
    except (MailProtoError, OSError) as error:
        if isinstance(error, TLSRequiredError) or _came_to_tls(client):
            raise _not_fulfilled(target, str(error)) from error
        raise
    return client


def _may_be_forged(error: ReplyError, client: SMTPClient) -> bool:
    """Say whether this would return mail, and comes from who knows whom: from anybody who sits on the line."""
    return error.reply.permanent and client.tls is None


def _came_to_tls(client: SMTPClient) -> bool:
    return client.tls is not None or "STARTTLS" in client.extensions


def _not_fulfilled(target: Target, why: str) -> RoutingError:
    text = f"{target.place} is not as the policy of {target.domain} wants it (MTA-STS): {why}"
    return RoutingError(Reply.build(451, text, "4.7.5"))


def _may_go_in_clear(target: Target, config: RelayConfig) -> bool:
    return config.make_client is None if target.route is None else target.route.opportunistic


async def _client(target: Target, config: RelayConfig, tls: TLSPolicy) -> SMTPClient:
    """Return the client for a host, with so much ``tls`` where that is opportunistic."""
    if target.route is not None:
        return _client_on_route(target.route, config, tls)
    if config.make_client is None:
        return _mx_client(target, config, tls, _any_certificate())
    client = config.make_client(target)
    return client if isinstance(client, SMTPClient) else await client


def _client_on_route(route: Route, config: RelayConfig, tls: TLSPolicy) -> SMTPClient:
    return SMTPClient(
        route.host,
        route.port,
        path=route.path,
        tls=tls if route.opportunistic else route.tls,
        context=_any_certificate() if route.opportunistic else None,
        cafile=None if route.opportunistic else route.cafile,
        credentials=route.credentials,
        allow_plaintext_auth=route.allow_plaintext_auth,
        local_name=config.hostname,
        config=SMTPClientConfig(idna_encode=config.idna_encode, lmtp=route.lmtp),
    )


def _mx_client(target: Target, config: RelayConfig, tls: TLSPolicy, context: ssl.SSLContext | None) -> SMTPClient:
    """Return the client for a host that the DNS names."""
    is_name = literal_host(target.host) is None  # which alone SNI is for (RFC 6066 section 3)
    return SMTPClient(
        target.address,
        RELAY_PORT,
        tls=tls,
        context=context,
        server_hostname=target.host if is_name else target.address,
        local_name=config.hostname,
        config=SMTPClientConfig(idna_encode=config.idna_encode),
    )


@functools.cache
def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
