"""How much TLS a client insists on."""

from __future__ import annotations

import enum


class TLSPolicy(enum.Enum):
    """What a client does about TLS before anything else is said.

    The default is to insist (RFC 8314 section 3): a server, or somebody in between, that does not offer TLS then
    gets no credentials and no mail.

    Attributes:
        NONE: stay in clear. Credentials are refused, unless clear text is allowed by its long name.
        OPPORTUNISTIC: take STARTTLS when offered, go on in clear otherwise: for relay on port 25. In clear
            credentials are refused; under TLS the certificate has to be right, as always.
        REQUIRED: STARTTLS or STLS, or nothing.
        IMPLICIT: TLS from the first octet (ports 465 and 995).
    """

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"
    IMPLICIT = "implicit"


def check_policy(tls: object) -> None:
    """Raise `TypeError` for what is no policy: a mere word would be none of those that lead to TLS."""
    if not isinstance(tls, TLSPolicy):
        raise TypeError(f"how much TLS it takes is told by a TLSPolicy, not by {tls!r:.40}")
