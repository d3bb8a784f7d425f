"""REQUIRETLS: the message travels over TLS on every hop, or not at all (RFC 8689).

A server that offers it promises to tag the message, to relay it only to servers that offer it, too, and to bounce
it with `SUPPORT_REQUIRED` otherwise (section 4), so it is off until the application does.
"""

from __future__ import annotations

from mailproto.errors import NotSupportedError
from mailproto.smtp.extensions.frame import Extension, Offered, Standing, flag
from mailproto.smtp.reply import Reply

SUPPORT_REQUIRED = Reply.build(550, "REQUIRETLS support required", "5.7.30")
"""No server that the message could go to offers REQUIRETLS (RFC 8689 section 7)."""


def _offer(standing: Standing) -> str | None:
    return "" if standing.secure else None


def _fit(offered: Offered, _: bool) -> None:
    """Insist on a server whose certificate was verified (RFC 8689 section 2)."""
    if offered.tls is None or offered.tls.peer_certificate is None:
        raise NotSupportedError("REQUIRETLS needs TLS with a server whose certificate was verified")


REQUIRETLS = Extension("REQUIRETLS", "RFC 8689", _offer, mail=(flag("REQUIRETLS", "requiretls", _fit),))
