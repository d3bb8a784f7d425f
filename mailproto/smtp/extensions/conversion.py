"""CONPERM and CONNEG: servers on the way may convert the content for devices that cannot show it (RFC 4141)."""

from __future__ import annotations

from mailproto.smtp.extensions.frame import Extension, flag, offer_always

CONPERM = Extension("CONPERM", "RFC 4141", offer_always, mail=(flag("CONPERM", "conperm"),))
"""The sender permits it for this message."""

CONNEG = Extension("CONNEG", "RFC 4141", offer_always, rcpt=(flag("CONNEG", "conneg"),))
"""The sender asks what the recipient can show; the reply to RCPT has a line for each capability."""
