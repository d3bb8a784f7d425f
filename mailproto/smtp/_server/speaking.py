"""How an SMTP server's connection says what it says: in which octets, to the trace, and whether it was heard."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from mailproto._core.checks import check_kind
from mailproto._core.server import ServerConnection
from mailproto.smtp._server import replies
from mailproto.smtp._server.unsaid import ReplyLost, Unsaid
from mailproto.smtp.config import SMTPServerConfig
from mailproto.smtp.events import Mail, Rcpt, ServerEvent
from mailproto.smtp.extensions import ENHANCED_STATUS_CODES
from mailproto.smtp.reply import Reply, encode_reply


class SpeakingConnection(ServerConnection[ServerEvent]):
    """What `SMTPServerConnection` is made of: its output."""

    __slots__ = ("_enhanced", "_unsaid", "config")

    def __init__(self, config: SMTPServerConfig | None = None) -> None:
        self.config = config if config is not None else SMTPServerConfig()
        check_kind("config", self.config, SMTPServerConfig)
        super().__init__(self.config.limits)
        self._enhanced = ENHANCED_STATUS_CODES in self.config.extensions
        self._unsaid = Unsaid()

    def _say(self, reply: Reply, utf8: bool = False) -> None:
        """Send a reply; with ``utf8`` the client has allowed more than ASCII in it (RFC 6531 section 3.7.4)."""
        encoded = _encoded(reply, utf8, self._enhanced)
        self._output.append(encoded)
        self._queued += len(encoded)
        if self.trace is not None:
            for line in encoded[:-2].split(b"\r\n"):
                self.trace(self._speaker, line)

    def _say_all(self, several: Sequence[Reply]) -> None:
        for reply in several:
            self._say(reply)

    def _say_final(self, reply: Reply, mail: Mail, recipients: Sequence[Rcpt]) -> None:
        """Send the reply to a message, and see what becomes of it if it is a yes."""
        self._say(reply)
        if reply.code < 400:
            self._unsaid.add(reply, mail, recipients, self._queued)

    def _trace_line(self, speaker: str, line: bytes) -> None:
        if self.trace is not None:
            self.trace(speaker, line)

    # What became of the answers.

    @property
    def replies_lost(self) -> tuple[ReplyLost, ...]:
        """The answers to accepted messages that certainly have not left, once the connection is lost.

        What is not among them may have arrived, or not: that the network took an answer does not tell.
        """
        return self._unsaid.lost

    def _before_output(self) -> None:
        self._unsaid.leave(self._queued)

    def lose_output(self, *, partly: bool = False) -> None:
        """Learn that nothing can be sent any more: for whoever carries the octets to tell, and more than once.

        `replies_lost` tells what of it.

        Args:
            partly: what `data_to_send` returned last, if anything, has certainly not left to its end.
        """
        self._unsaid.lose(partly)

    def _fall_silent(self) -> None:
        """Say nothing more; but what was answered before is true, and a yes to a message is not taken back."""


@functools.lru_cache(maxsize=512)
def _encoded(reply: Reply, utf8: bool, enhanced: bool) -> bytes:
    """Return a reply on the wire: with its ``enhanced`` status code or without, in ``utf8`` or in other words."""
    if not utf8 and not reply.text.isascii():
        reply = replies.SHOWS_ADDRESS.get(reply.code, reply)
    return encode_reply(reply if enhanced else reply._replace(enhanced=None), utf8)
