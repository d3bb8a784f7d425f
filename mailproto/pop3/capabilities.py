"""What CAPA lists (RFC 2449 sections 5 and 6), read and written."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping

from mailproto._core.codec import parse_uint
from mailproto.errors import GrammarError
from mailproto.pop3.tolerance import Lenience

_CAPABILITY = re.compile(r"[!-\-/-~]+(?: [!-~]+)*")
_MAX_LINE = 510  # octets without CRLF


class Capabilities(Mapping[str, tuple[str, ...]]):
    """The capabilities of a server: from tags, in upper case and in their order, to their arguments.

    Empty for a server that has no CAPA.
    """

    def __init__(self, tags: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self._tags = dict(tags or {})

    def __getitem__(self, tag: str) -> tuple[str, ...]:
        return self._tags[tag]

    def __contains__(self, tag: object) -> bool:  # asked at every command and response
        return tag in self._tags

    def __iter__(self) -> Iterator[str]:
        return iter(self._tags)

    def __len__(self) -> int:
        return len(self._tags)

    def __repr__(self) -> str:
        return f"Capabilities({', '.join(' '.join((tag, *words)) for tag, words in self._tags.items())})"

    @property
    def top(self) -> bool:
        """Whether there is TOP (section 6.1)."""
        return "TOP" in self

    @property
    def user(self) -> bool:
        """Whether there are USER and PASS (section 6.2)."""
        return "USER" in self

    @property
    def auth_mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms on offer (section 6.3, RFC 5034 section 3)."""
        return tuple(word.upper() for word in self.get("SASL", ()))

    @property
    def resp_codes(self) -> bool:
        """Whether a bracket at the beginning of a text is always a response code (section 6.4)."""
        return "RESP-CODES" in self

    @property
    def auth_resp_code(self) -> bool:
        """Whether AUTH marks all errors that are due to the credentials, and no others (RFC 3206 section 6)."""
        return "AUTH-RESP-CODE" in self

    @property
    def pipelining(self) -> bool:
        """Whether commands may be sent ahead of their responses (section 6.6)."""
        return "PIPELINING" in self

    @property
    def uidl(self) -> bool:
        """Whether there is UIDL (section 6.8)."""
        return "UIDL" in self

    @property
    def stls(self) -> bool:
        """Whether STLS is there and permitted now (RFC 2595 section 4)."""
        return "STLS" in self

    @property
    def utf8(self) -> bool:
        """Whether there is UTF8, for messages with UTF-8 in their header (RFC 6856 section 2)."""
        return "UTF8" in self

    @property
    def utf8_user(self) -> bool:
        """Whether user names and passwords may be in UTF-8 (RFC 6856 section 2.2)."""
        return "USER" in (word.upper() for word in self.get("UTF8", ()))

    @property
    def lang(self) -> bool:
        """Whether there is LANG (RFC 6856 section 3)."""
        return "LANG" in self

    @property
    def login_delay(self) -> int | None:
        """Seconds from one login to the next (section 6.5); None if the server does not say."""
        return _number(self.get("LOGIN-DELAY", ()))

    @property
    def expire(self) -> float | None:
        """Days that mail stays at least (section 6.7), ``math.inf`` for ever; None if the server does not say."""
        words = self.get("EXPIRE", ())
        return math.inf if words and words[0].upper() == "NEVER" else _number(words)

    @property
    def implementation(self) -> str | None:
        """What the server is, in its own words (section 6.9). Nothing may be decided by it."""
        return " ".join(self["IMPLEMENTATION"]) if "IMPLEMENTATION" in self else None

    @property
    def differ_by_user(self) -> bool:
        """Whether the server says that some arguments are better known after login (sections 6.5 and 6.7)."""
        return any("USER" in map(str.upper, self.get(tag, ())[1:2]) for tag in ("LOGIN-DELAY", "EXPIRE"))


def _number(words: tuple[str, ...]) -> int | None:
    try:
        return parse_uint(words[0].encode("utf-8")) if words else None
    except GrammarError:
        return None


def parse_capabilities(lines: Iterable[bytes], lenience: Lenience, limit: int) -> Capabilities:
    """Return what the lines of a response to CAPA say, of the first ``limit`` tags.

    The first of two lines with the same tag counts, but SASL gathers. What is no capability is passed over: a
    server that says too much is still a server.
    """
    tags: dict[str, tuple[str, ...]] = {}
    for line in lines:
        try:
            words = lenience.split(line)
            check_capability(text := b" ".join(words).decode("ascii"))
        except (GrammarError, UnicodeDecodeError):
            continue
        tag, *arguments = text.split(" ")
        tag = tag.upper()
        if tag == "SASL":
            tags[tag] = tags.get(tag, ()) + tuple(arguments)
        elif len(tags) < limit:
            tags.setdefault(tag, tuple(arguments))
    return Capabilities(tags)


def check_capability(line: str) -> None:
    """Raise `GrammarError` unless ``line`` is a capability line of RFC 2449 section 3."""
    if len(line) > _MAX_LINE or not _CAPABILITY.fullmatch(line):
        raise GrammarError(f"not a capability: {line!a:.60}")
