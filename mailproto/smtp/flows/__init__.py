"""Whole SMTP jobs, still without I/O: generators that a driver runs (see `mailproto.flow`).

`client` opens sessions, `sending` sends, `server` serves. Parts of sending are `planning`, `fitting`, `transfer` and
`outcomes`, and `plain`, the short way of most messages; what a pool of connections decides is `shelf` and `errand`.
"""

from mailproto.smtp.flows.client import (
    SessionOptions,
    default_endpoint,
    log_in,
    open_session,
    quit_session,
    request,
)
from mailproto.smtp.flows.sending import send_message, send_messages
from mailproto.smtp.flows.server import HOOKS, SMTPSession, serve

__all__ = [
    "HOOKS",
    "SMTPSession",
    "SessionOptions",
    "default_endpoint",
    "log_in",
    "open_session",
    "quit_session",
    "request",
    "send_message",
    "send_messages",
    "serve",
]
