"""BURL: the server fetches the message, or a piece of it, from where a URL says (RFC 4468).

Only the command is read and written. To fetch is the application's, which has to know an IMAP server that trusts it;
where it does nothing, the answer is that there is no such content. For submission only, never for a server on port 25
(section 3.1), and only for who has authenticated.
"""

from __future__ import annotations

import re

from mailproto.errors import GrammarError
from mailproto.smtp.extensions.frame import Extension, Standing

_URI_CHARACTER = r"[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2}"  # RFC 3986 section 2, without the fragment
_ABSOLUTE_URI = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*:(?:{_URI_CHARACTER})+")
_SOURCE = re.compile(rf"imap(?:://(?:{_URI_CHARACTER})+)?")


def parse_burl(argument: str) -> tuple[str, bool]:
    """Return the URL of a BURL command, and whether it is the last piece of the message (RFC 4468 section 3.5).

    Raises:
        GrammarError: not an absolute URI, and perhaps LAST.
    """
    url, space, mark = argument.partition(" ")
    if space and mark.encode().upper() != b"LAST":  # beyond ASCII there are letters whose upper case is ASCII
        raise GrammarError("not LAST")
    return check_url(url), bool(space)


def check_url(url: str) -> str:
    """Return ``url``; raise `GrammarError` unless it is an absolute URI of RFC 3986 section 4.3."""
    if not _ABSOLUTE_URI.fullmatch(url):
        raise GrammarError("not an absolute URI")
    return url


def burl(*sources: str) -> Extension:
    """Return the extension for a server that fetches from these sources, of which clients hear once they log in.

    Args:
        sources: ``imap`` for URLs that carry their own authorization (URLAUTH), ``imap://imap.example.com`` for all
            that the user may read on that server (RFC 4468 section 3.3).

    Raises:
        GrammarError: a source is neither.
    """
    if not all(map(_SOURCE.fullmatch, sources)):
        raise GrammarError("not a source of BURL")

    def offer(standing: Standing) -> str:
        return " ".join(sources) if standing.authenticated else ""

    return Extension("BURL", "RFC 4468", offer)


BURL = burl("imap")
"""For a server that fetches what a URL of the form URLAUTH gives it the right to."""
