"""What is to be sent, from whom and to whom: messages in all the shapes that callers have them in.

An `email.message.EmailMessage` brings its envelope along and is written as the server can take it; octets, files
and iterators are sent as they are. Bcc never leaves the caller's copy (RFC 5321 section 7.2).
"""

from __future__ import annotations

import copy
import io
from collections.abc import AsyncIterable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from email.generator import BytesGenerator
from email.headerregistry import HeaderRegistry
from email.message import Message
from typing import Any, BinaryIO, TypeAlias

from mailproto._core.newlines import has_bare_newline
from mailproto.address import Address
from mailproto.errors import GrammarError
from mailproto.smtp.parameters import Body, MailParameters

MessageSource: TypeAlias = (
    "Message[Any, Any] | bytes | bytearray | memoryview | BinaryIO | Iterable[bytes] | AsyncIterable[bytes]"
)
"""A message: an ``email`` message, octets, a file open for reading in binary, or an iterable of octets."""

_PIECE = 256 << 10
_HEADERS = HeaderRegistry()


@dataclass(frozen=True, slots=True)
class Submission:
    """One message with its envelope.

    ``reverse_path`` None is the null reverse-path ``<>``. With ``canonicalise`` bare CRs and LFs in octets, files
    and iterables are made CRLF; without it they are refused.
    """

    reverse_path: Address | None
    recipients: tuple[Address, ...]
    message: MessageSource = field(repr=False)
    parameters: MailParameters = field(default_factory=MailParameters)
    canonicalise: bool = False

    @property
    def needs_utf8(self) -> bool:
        """Whether an address of the envelope is not ASCII, so that the message needs SMTPUTF8 (RFC 6531)."""
        sender = () if self.reverse_path is None else (self.reverse_path,)
        return self.parameters.smtputf8 or not all(address.is_ascii for address in (*sender, *self.recipients))


@dataclass(frozen=True, slots=True)
class Content:
    """A message ready to be sent: its pieces, and what is known of it before (None: nothing)."""

    pieces: Iterable[bytes] | AsyncIterable[bytes] = field(repr=False)
    size: int | None = None
    eight_bit: bool | None = None


def make_submission(
    message: MessageSource,
    sender: str | Address | None = None,
    recipients: str | Address | Sequence[str | Address] | None = None,
    *,
    parameters: MailParameters | None = None,
    canonicalise: bool = False,
) -> Submission:
    """Return the submission of ``message``, its envelope from the arguments or else from its header fields.

    Args:
        sender: the reverse-path; ``""`` is the null one; None means Sender or From (or Resent-Sender, Resent-From).
        recipients: the forward-paths; None means To, Cc and Bcc (or their Resent- forms).

    Raises:
        GrammarError: an address is none, there is no recipient, or the header fields do not tell.
    """
    path: Address | None
    if isinstance(message, Message):
        path = sender_of(message) if sender is None else _reverse_path(sender)
        paths = recipients_of(message) if recipients is None else _addresses(recipients)
    elif sender is None or recipients is None:
        raise GrammarError("without an email message the sender and the recipients have to be given")
    else:
        path, paths = _reverse_path(sender), _addresses(recipients)
    if not paths:
        raise GrammarError("the message has no recipient")
    return Submission(path, tuple(paths), message, parameters or MailParameters(), canonicalise)


def sender_of(message: Message[Any, Any]) -> Address:
    """Return whom a message is from: Sender, or else the first of From (RFC 5322 section 3.6.2).

    Raises:
        GrammarError: it does not say.
    """
    prefix = _resent_prefix(message)
    for name in (f"{prefix}Sender", f"{prefix}From"):
        found = _header_addresses(message, name)
        if found:
            return found[0]
    raise GrammarError("the message has neither Sender nor From")


def recipients_of(message: Message[Any, Any]) -> list[Address]:
    """Return whom a message is to, each once: To, Cc and Bcc, in this order."""
    prefix = _resent_prefix(message)
    names = (f"{prefix}To", f"{prefix}Cc", f"{prefix}Bcc")
    return list(dict.fromkeys(address for name in names for address in _header_addresses(message, name)))


def open_content(submission: Submission, *, eight_bit: bool) -> Content:
    """Return the message as it is to be sent to a server that takes 8-bit content, or does not.

    Raises:
        GrammarError: octets with a bare CR or LF that nobody asked to mend.
    """
    message = submission.message
    if isinstance(message, Message):
        message = _flatten(message, utf8=submission.needs_utf8, eight_bit=eight_bit)
    if isinstance(message, bytes | bytearray | memoryview):
        binary = submission.parameters.body is Body.BINARY_MIME
        return _octets(bytes(message), submission.canonicalise, binary)
    if isinstance(message, AsyncIterable):
        return Content(message)
    read = getattr(message, "read", None)
    return Content(iter(lambda: read(_PIECE), b"") if read is not None else message)


def _octets(data: bytes, canonicalise: bool, binary: bool) -> Content:
    bare = not binary and has_bare_newline(data)
    if bare and not canonicalise:
        raise GrammarError("a bare CR or LF in the message; every line has to end in CRLF")
    size = None if bare else len(data) + (0 if data.endswith(b"\r\n") else 2)
    return Content(_pieces(data), size, not data.isascii())


def _pieces(data: bytes) -> Iterator[bytes]:
    if len(data) <= _PIECE:
        return iter((data,))
    return (data[start : start + _PIECE] for start in range(0, len(data), _PIECE))


def _flatten(message: Message[Any, Any], *, utf8: bool, eight_bit: bool) -> bytes:
    """Write the message without its Bcc, in 7 bits if it has to be."""
    visible = copy.copy(message)
    del visible["Bcc"], visible["Resent-Bcc"]
    settings: dict[str, Any] = {"linesep": "\r\n", "cte_type": "8bit" if eight_bit else "7bit"}
    if hasattr(message.policy, "utf8"):
        settings["utf8"] = utf8
    out = io.BytesIO()
    BytesGenerator(out, mangle_from_=False, policy=message.policy.clone(**settings)).flatten(visible)
    return out.getvalue()


def _resent_prefix(message: Message[Any, Any]) -> str:
    dates = len(message.get_all("Resent-Date", ()))
    if dates > 1:
        raise GrammarError("the message was resent more than once: say to whom it goes now")
    return "Resent-" if dates else ""


def _header_addresses(message: Message[Any, Any], name: str) -> list[Address]:
    found: list[Address] = []
    for value in message.get_all(name, ()):
        header = _HEADERS(name, str(value))
        found += [Address.parse(mailbox.addr_spec) for mailbox in getattr(header, "addresses", ())]
    return found


def _reverse_path(sender: str | Address) -> Address | None:
    return None if sender == "" else _address(sender)


def _addresses(recipients: str | Address | Sequence[str | Address]) -> list[Address]:
    if isinstance(recipients, str | Address):
        return [_address(recipients)]
    return [_address(recipient) for recipient in recipients]


def _address(text: str | Address) -> Address:
    return text if isinstance(text, Address) else Address.parse(text)
