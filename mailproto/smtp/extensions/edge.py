"""The extensions among servers: queues to be run (ETRN), and clients that are spoken for (XCLIENT, XFORWARD).

None is offered by default: what a queue is the application knows, and who may speak for others the operator.
"""

from __future__ import annotations

from mailproto.smtp.attributes import XCLIENT_NAMES, XFORWARD_NAMES
from mailproto.smtp.extensions.frame import Extension, Standing, offer_always


def _offer_xclient(standing: Standing) -> str | None:
    return " ".join(XCLIENT_NAMES) if standing.trusted else None


def _offer_xforward(standing: Standing) -> str | None:
    return " ".join(XFORWARD_NAMES) if standing.trusted else None


ETRN = Extension("ETRN", "RFC 1985", offer_always)
XCLIENT = Extension("XCLIENT", "Postfix XCLIENT_README", _offer_xclient)
XFORWARD = Extension("XFORWARD", "Postfix XFORWARD_README", _offer_xforward)
