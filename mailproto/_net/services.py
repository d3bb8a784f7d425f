"""What a server does with a connection, over either adapter: make it, and carry its events to the application."""

from __future__ import annotations

import inspect
import logging
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias, TypeVar

from mailproto._core.checks import check_count, check_kind
from mailproto._core.flow import Flow
from mailproto._core.server import ServerConnection
from mailproto._flows.beginning import Admit
from mailproto.errors import LocalProtocolError
from mailproto.pop3.config import POP3ServerConfig
from mailproto.pop3.flows import server as pop3
from mailproto.pop3.server import POP3ServerConnection
from mailproto.sasl.base import ServerMechanisms
from mailproto.sasl.choice import SERVER_MECHANISMS, default_mechanisms
from mailproto.smtp.config import SMTPServerConfig, with_extensions
from mailproto.smtp.extensions import EXPN
from mailproto.smtp.flows import server as smtp
from mailproto.smtp.server import SMTPServerConnection
from mailproto.tls import check_context

ConfigT = TypeVar("ConfigT", SMTPServerConfig, POP3ServerConfig)

logger = logging.getLogger("mailproto")

Needs: TypeAlias = Mapping[tuple[str, ...], str]
"""By hooks, of which a handler has to have one, what is refused without."""

_NAMELESS = "clients are told that this is localhost: the config wants a hostname"

_LOGIN_NEEDS: Needs = {("on_auth", "on_scram_key"): "every login"}
_SMTP_NEEDS: Needs = {("on_rcpt",): "every recipient", ("on_message", "on_delivery", "on_burl"): "every message"}
_COMMAND_NEEDS: Needs = {("on_command",): "every command of your own"}
_POP3_NEEDS: Needs = {("on_login",): "every login"}


@dataclass(frozen=True)
class Service:
    """One protocol as one server speaks it.

    Attributes:
        connect: makes a connection.
        serve: the flow that carries its events to the hooks; is given the connection, both addresses, and what
            says whether there is room for a client behind a load balancer.
        handler: the application.
        takes_events: whether it is a function over events, not an object with hooks.
        has_coroutines: whether it is, or has among its hooks, a coroutine function.
        implicit_tls: whether the connection begins with the handshake.
        proxies: addresses and networks of the load balancers that all connections come through.
        in_public: what is to be logged if not only this machine can connect.
        config_kind: the class of the config.
    """

    connect: Callable[[], ServerConnection[Any]]
    serve: Callable[[Any, str, str, Admit], Flow[None]]
    handler: Any
    takes_events: bool
    has_coroutines: bool
    implicit_tls: bool
    proxies: tuple[str, ...]
    config_kind: type
    in_public: str = ""


def smtp_service(
    handler: Any,
    config: SMTPServerConfig | None,
    tls: ssl.SSLContext | None,
    implicit_tls: bool,
    mechanisms: ServerMechanisms,
    spool_threshold: int,
) -> Service:
    """Return the service of an SMTP server; see `mailproto.aio.SMTPServer` for the arguments."""
    check_count("spool_threshold", spool_threshold)
    config = config if config is not None else SMTPServerConfig()
    check_kind("config", config, SMTPServerConfig)
    config = _complete(config, handler, tls, implicit_tls, mechanisms)
    if hasattr(handler, "on_expn"):
        config = with_extensions(config, EXPN)

    def serve(conn: SMTPServerConnection, peer: str, local: str, admit: Admit) -> Flow[None]:
        return smtp.serve(
            smtp.SMTPSession(conn, peer, local),
            handler,
            implicit_tls=implicit_tls,
            mechanisms=mechanisms,
            spool_threshold=spool_threshold,
            admit=admit,
        )

    needs = _SMTP_NEEDS
    if config.require_auth and not config.trusted_peers:
        needs = {**needs, **_login_needs(config, mechanisms)}
    if any(extension.commands for extension in config.extensions):
        needs = {**needs, **_COMMAND_NEEDS}
    connect = partial(SMTPServerConnection, config)
    service = _service(connect, serve, handler, smtp.HOOKS, needs, config, mechanisms, implicit_tls)
    return replace(service, in_public=_NAMELESS) if config.hostname == SMTPServerConfig().hostname else service


def pop3_service(
    handler: Any,
    config: POP3ServerConfig | None,
    tls: ssl.SSLContext | None,
    implicit_tls: bool,
    mechanisms: ServerMechanisms,
) -> Service:
    """Return the service of a POP3 server; see `mailproto.aio.POP3Server` for the arguments."""
    config = config if config is not None else POP3ServerConfig()
    check_kind("config", config, POP3ServerConfig)
    config = _complete(config, handler, tls, implicit_tls, mechanisms)

    def serve(conn: POP3ServerConnection, peer: str, local: str, admit: Admit) -> Flow[None]:
        session = pop3.POP3Session(conn, peer, local)
        return pop3.serve(session, handler, implicit_tls=implicit_tls, mechanisms=mechanisms, admit=admit)

    needs = {**_login_needs(config, mechanisms), **_POP3_NEEDS}
    if config.commands:
        needs = {**needs, **_COMMAND_NEEDS}
    connect = partial(POP3ServerConnection, config)
    return _service(connect, serve, handler, pop3.HOOKS, needs, config, mechanisms, implicit_tls)


def _login_needs(config: SMTPServerConfig | POP3ServerConfig, mechanisms: ServerMechanisms) -> Needs:
    """Return what logins need of the handler. A mechanism of the application's own may need anything, or nothing."""
    own = any(name in mechanisms and name not in SERVER_MECHANISMS for name in config.auth_mechanisms)
    return {} if own else _LOGIN_NEEDS


def _service(
    connect: Callable[[], ServerConnection[Any]],
    serve: Callable[..., Flow[None]],
    handler: Any,
    hooks: tuple[str, ...],
    needs: Needs,
    config: SMTPServerConfig | POP3ServerConfig,
    mechanisms: ServerMechanisms,
    implicit_tls: bool,
) -> Service:
    """Return the service of a handler that may have these hooks, having looked at those that it has."""
    takes_events = _takes_events(handler, hooks)
    if not takes_events:
        _warn_of_missing(handler, needs)
        _warn_of_unknown(config, mechanisms)
    has_coroutines = _has_coroutines(handler, hooks)
    kind = type(config)
    return Service(connect, serve, handler, takes_events, has_coroutines, implicit_tls, config.proxies, kind)


def _takes_events(handler: Any, hooks: tuple[str, ...]) -> bool:
    """Say whether the handler is a function over events.

    Raises:
        LocalProtocolError: it is neither that nor an object with hooks.
    """
    if isinstance(handler, type):
        raise LocalProtocolError("the handler has to be an object, not a class")
    if any(hasattr(handler, name) for name in hooks):
        _warn_of_misspelt(handler, hooks)
        return False
    if not callable(handler):
        raise LocalProtocolError(f"the handler has none of the hooks: {', '.join(hooks)}")
    return True


def _warn_of_misspelt(handler: Any, hooks: tuple[str, ...]) -> None:
    """Log what looks like a hook and is none. It would never be called, and no checker of types can tell."""
    strangers = [name for name in dir(handler) if name.startswith("on_") and name not in smtp.HOOKS + pop3.HOOKS]
    if strangers:
        from difflib import get_close_matches  # most handlers have none

        for name in strangers:
            for meant in get_close_matches(name, hooks, 1, 0.8):
                logger.warning("the handler has %s, which is no hook and is not called: %s is one", name, meant)


def _warn_of_missing(handler: Any, needs: Needs) -> None:
    """Log what everybody is refused because the handler has no hook for it: safe, and seldom what was meant."""
    for hooks, refused in needs.items():
        if not any(hasattr(handler, name) for name in hooks):
            logger.warning("the handler has no %s, so that %s is refused", hooks[0], refused)


def _warn_of_unknown(config: SMTPServerConfig | POP3ServerConfig, mechanisms: ServerMechanisms) -> None:
    """Log that clients are offered, and may choose, what cannot be done."""
    for name in config.auth_mechanisms:
        if name not in mechanisms:
            logger.warning("the mechanism %s is offered, and nobody knows it", name)


def _has_coroutines(handler: Any, hooks: tuple[str, ...]) -> bool:
    return any(map(inspect.iscoroutinefunction, (handler, *(getattr(handler, name, None) for name in hooks))))


def _complete(
    config: ConfigT, handler: Any, tls: ssl.SSLContext | None, implicit_tls: bool, mechanisms: ServerMechanisms
) -> ConfigT:
    """Return ``config`` with what follows from the rest.

    STARTTLS is offered where there is a context for it; and, if the config names no mechanisms, those that the
    handler surely answers.

    Raises:
        LocalProtocolError: there is no context for implicit TLS.
        TypeError: what there is is no context of a server, or the mechanisms have no names.
    """
    if tls is not None:
        check_context(tls, server_side=True)
    if implicit_tls and tls is None:
        raise LocalProtocolError("implicit TLS needs a TLS context")
    check_kind("mechanisms", mechanisms, Mapping)
    names = config.auth_mechanisms or default_mechanisms(handler, mechanisms)
    return replace(config, starttls=tls is not None and not implicit_tls, auth_mechanisms=names)
