"""Whole POP3 jobs, still without I/O: generators that a driver runs (see `mailproto.flow`).

`client` opens sessions, `fetch` fetches, `keep` fetches what is new and remembers it, `server` serves.
"""

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
from mailproto.pop3.flows.keep import Fetched, KeepPolicy, KeepReport, Ledger, Note, Store, fetch_and_keep
from mailproto.pop3.flows.server import HOOKS, POP3Session, serve

__all__ = [
    "HOOKS",
    "Fetch",
    "Fetched",
    "KeepPolicy",
    "KeepReport",
    "Ledger",
    "MessageListing",
    "Note",
    "POP3Session",
    "SessionOptions",
    "Store",
    "begin_retrieve",
    "default_endpoint",
    "delete",
    "fetch_and_keep",
    "listing",
    "log_in",
    "next_chunk",
    "open_session",
    "quit_session",
    "request",
    "serve",
]
