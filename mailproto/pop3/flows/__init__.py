"""Whole POP3 jobs, still without I/O: generators that a driver runs (see `mailproto.flow`)."""

from mailproto.pop3.flows.client import (
    MessageListing,
    SessionOptions,
    default_endpoint,
    delete,
    listing,
    log_in,
    open_session,
    quit_session,
    request,
)
from mailproto.pop3.flows.fetch import Fetch, begin_retrieve, next_chunk
from mailproto.pop3.flows.server import HOOKS, POP3Session, serve

__all__ = [
    "HOOKS",
    "Fetch",
    "MessageListing",
    "POP3Session",
    "SessionOptions",
    "begin_retrieve",
    "default_endpoint",
    "delete",
    "listing",
    "log_in",
    "next_chunk",
    "open_session",
    "quit_session",
    "request",
    "serve",
]
