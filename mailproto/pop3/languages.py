"""The languages of a server's words (RFC 6856 section 3): what a catalogue is, and how a client chooses one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mailproto._core.codec import UNSAFE
from mailproto.errors import GrammarError

MAX_LISTING_LINE = 510  # octets without CRLF

_SUBTAGS = r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*"
_TAG = re.compile(_SUBTAGS)
_NAME = re.compile(rf"(?![ ])[^{UNSAFE}]*")
_FIELD = re.compile(r"\{([a-z]+)\}")


class Phrase(str):
    """Words of ours with values in them, in English, that a catalogue can say in another language.

    Attributes:
        template: the words, with fields such as ``{number}`` where the values go.
        values: the values by field.
    """

    __slots__ = ("template", "values")

    template: str
    values: Mapping[str, str | int]

    def __new__(cls, template: str, **values: str | int) -> Phrase:
        """Return the phrase with its values filled in."""
        phrase = super().__new__(cls, template.format_map(values))
        phrase.template = template
        phrase.values = values
        return phrase


@dataclass(frozen=True, slots=True)
class Language:
    """A language that a server speaks when a client has asked for it with LANG.

    Attributes:
        tag: its tag (RFC 5646), such as ``"de"`` or ``"pt-BR"``.
        name: what it calls itself, for the listing; may be empty.
        words: what is said, in English, to the same in this language. The words of this library are
            `mailproto.pop3.TEXTS`; where one has a field such as ``{number}``, the translation has it, too. Those of
            the application are translated if they are here. What is missing is said as it is.
    """

    tag: str
    name: str = ""
    words: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_tag(self.tag)
        if not _NAME.fullmatch(self.name) or len(str(self).encode("utf-8")) > MAX_LISTING_LINE:
            raise GrammarError(f"not the name of a language: {self.name!a:.60}")

    def __str__(self) -> str:
        """Return the language's line in the listing."""
        return f"{self.tag} {self.name}" if self.name else self.tag

    def say(self, text: str) -> str:
        """Return ``text``, which may be a `Phrase`, in this language."""
        if not isinstance(text, Phrase):
            return self.words.get(text, text)
        template = self.words.get(text.template)
        if template is None:
            return text
        return _FIELD.sub(lambda name: str(text.values.get(name[1], name[0])), template)


def check_tag(tag: str) -> None:
    """Raise `GrammarError` unless ``tag`` has the form of a language tag (RFC 5646 section 2.1)."""
    if not _TAG.fullmatch(tag):
        raise GrammarError(f"not the tag of a language: {tag!a:.40}")


I_DEFAULT = Language("i-default", "English")
"""What is spoken before anything else was chosen (RFC 2277 section 4.5)."""


def check_languages(languages: Iterable[Language]) -> None:
    """Raise `GrammarError` if two languages have the same tag."""
    seen: set[str] = set()
    for language in languages:
        tag = language.tag.lower()
        if tag in seen:
            raise GrammarError(f"two languages with the tag {language.tag}")
        seen.add(tag)


def find_language(languages: Iterable[Language], wanted: str) -> Language | None:
    """Return the language of that tag, or else the first that the basic language range ``wanted`` matches.

    ``pt`` matches ``pt-BR``, not the other way round (RFC 4647 section 3.3.1). Case plays no part.
    """
    by_tag = {language.tag.lower(): language for language in languages}
    wanted = wanted.lower()
    narrower = (language for tag, language in by_tag.items() if tag.startswith(wanted + "-"))
    return by_tag.get(wanted) or next(narrower, None)


def parse_languages(lines: Iterable[bytes]) -> dict[str, str]:
    """Return tag and name of each language that a server lists. What is no such line is passed over."""
    languages: dict[str, str] = {}
    for line in lines:
        tag, _, name = line.decode("utf-8", "backslashreplace").partition(" ")
        if _TAG.fullmatch(tag):
            languages.setdefault(tag, name if name.isprintable() else ascii(name)[1:-1])
    return languages


def parse_chosen(text: bytes) -> str:
    """Return the tag that a server says it has chosen, which is the first word of its response.

    Raises:
        GrammarError: it is no tag.
    """
    tag = text.partition(b" ")[0].decode("ascii", "backslashreplace")
    check_tag(tag)
    return tag
