"""How a POP3 server's connection says what it says: in which language, in which octets, and to the trace."""

from __future__ import annotations

from collections.abc import Iterable

from mailproto._core.checks import check_kind
from mailproto._core.connection import AGAIN, Step
from mailproto._core.server import ServerConnection
from mailproto.pop3.config import POP3ServerConfig
from mailproto.pop3.events import ServerEvent
from mailproto.pop3.languages import I_DEFAULT, Language, Phrase, find_language
from mailproto.pop3.response import Response, encode_line, encode_response


class SpeakingConnection(ServerConnection[ServerEvent]):
    """What `POP3ServerConnection` is made of: its output.

    Attributes:
        config: how it behaves.
        utf8: whether the client has asked for UTF-8 mode. It does so before login or never, so that what ``on_login``
            returns can depend on it: without it, no message may be sent that needs RFC 6532 (RFC 6856 section 4).
        preferred_language: the tag of the language that ``LANG *`` chooses once the client is logged in, for the
            application to set; None for the first of the config's.
    """

    __slots__ = ("_language", "_language_chosen", "config", "preferred_language", "utf8")

    def __init__(self, config: POP3ServerConfig | None = None) -> None:
        self.config = config if config is not None else POP3ServerConfig()
        check_kind("config", self.config, POP3ServerConfig)
        super().__init__(self.config.limits)
        self.utf8 = False
        self.preferred_language: str | None = None
        self._language = I_DEFAULT
        self._language_chosen = False

    @property
    def language(self) -> str:
        """The tag of the language in which responses are, ``"i-default"`` before the client has chosen one."""
        return self._language.tag

    def _forget_mode(self) -> None:
        """Forget UTF-8 mode and the language, which somebody else may have asked for."""
        self.utf8 = self._language_chosen = False
        self._language = I_DEFAULT

    @property
    def _languages(self) -> tuple[Language, ...]:
        """The languages there are: the config's, and ours, which there always is (RFC 2277 section 4.5)."""
        known = self.config.languages
        return known if find_language(known, I_DEFAULT.tag) is not None else (*known, I_DEFAULT)

    def _choose_language(self, wanted: str, *, personal: bool) -> bool:
        """Change to the language of that range, ``*`` for the preferred one; return whether there is one."""
        preferred = self.preferred_language if personal else None
        if wanted == "*":
            wanted = preferred or self._languages[0].tag
        language = find_language(self._languages, wanted)
        if language is None:
            return False
        self._language = language
        self._language_chosen = True
        return True

    # Output.

    def _reply(self, response: Response, behind: bytes = b"") -> Step:
        if self._language.words:
            response = response._replace(text=self._language.say(response.text))
        return self._emit(encode_response(response, self.utf8 or self._language_chosen) + behind)

    def _encode_lines(self, lines: Iterable[str]) -> bytes:
        """Return the lines behind the first of a response, whatever is in them, and the end of it."""
        utf8 = self.utf8 or self._language_chosen
        return b"".join((*(encode_line(line, utf8) for line in lines), b".\r\n"))

    def _yes(self, template: str, **values: int) -> Step:
        """Say yes in words of ours."""
        if self._language.words:
            return self._reply(Response(True, Phrase(template, **values)))
        return self._say(f"+OK {template.format_map(values)}")

    def _say(self, text: str) -> Step:
        """Send what is ours down to the last letter, so that nothing has to be checked."""
        return self._emit(f"{text}\r\n".encode())

    def _emit(self, data: bytes) -> Step:
        if self.trace is not None:
            for line in data[:-2].split(b"\r\n"):
                self.trace(self._speaker, line)
        self._send(data)
        return AGAIN

    def _yes_lines(self, lines: Iterable[str], template: str = "", **values: int) -> Step:
        """Send a response of several lines. None of ours begins with a dot, so there is none to stuff."""
        text = self._language.say(Phrase(template, **values))
        first = encode_response(Response(True, text), self.utf8 or self._language_chosen)
        return self._emit(first + "".join(f"{line}\r\n" for line in (*lines, ".")).encode())
