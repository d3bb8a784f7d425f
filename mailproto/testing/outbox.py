"""What was sent, kept where a test can look at it."""

from __future__ import annotations

import email
import email.policy
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from mailproto.smtp.events import Envelope, Rcpt


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that an `Outbox` has taken. ``sender`` is None for the null reverse-path."""

    sender: str | None
    recipients: list[str]
    content: bytes = field(repr=False)
    envelope: Envelope = field(repr=False)

    @property
    def message(self) -> EmailMessage:
        """The message, parsed, its lines ended with ``\\n``."""
        return email.message_from_bytes(self.content.replace(b"\r\n", b"\n"), policy=email.policy.default)


class Outbox:
    """A server's handler that takes all mail for everybody, and keeps it in ``letters``.

    In a subclass, which may refuse some of it, the hooks may be coroutines.
    """

    def __init__(self) -> None:
        self.letters: list[Letter] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self.letters)} letters>"

    def on_rcpt(self, session: Any, rcpt: Rcpt) -> Any:
        """Take every recipient."""

    def on_message(self, _: Any, envelope: Envelope, /) -> Any:
        """Keep the message."""
        sender = None if envelope.reverse_path is None else str(envelope.reverse_path)
        self.letters.append(Letter(sender, [str(path) for path in envelope.forward_paths], bytes(envelope), envelope))
