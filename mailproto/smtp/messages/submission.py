"""What is to be sent, from whom and to whom: messages in all the shapes that callers have them in.

An `email.message.EmailMessage` brings its envelope along, which `header_addresses` reads. How a message is written
for a server is the business of `content`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from email.message import Message
from io import TextIOBase
from typing import Any, BinaryIO, NamedTuple, Self, TypeAlias

from mailproto._core.checks import check_callable, check_kind
from mailproto.address import POSTMASTER, Address, check_address
from mailproto.errors import GrammarError
from mailproto.smtp.parameters import NO_MAIL_PARAMETERS, NO_RCPT_PARAMETERS, MailParameters, RcptParameters
from mailproto.smtp.result import RecipientResult

_TEXT_OR_ADDRESS = (str, Address)

OctetsInMemory: TypeAlias = bytes | bytearray | memoryview

Octets: TypeAlias = "OctetsInMemory | BinaryIO | Iterable[bytes] | AsyncIterable[bytes]"
"""A message as it is: octets, a file open for reading in binary, or an iterable of octets."""

MessageSource: TypeAlias = "Message[Any, Any] | Octets"
"""A message: an ``email`` message, octets, a file open for reading in binary, or an iterable of octets."""

RecipientLike: TypeAlias = "str | Address | tuple[str | Address, RcptParameters]"
"""A recipient as callers have him: an address, or an address and what RCPT is to say of it."""

Progress: TypeAlias = "Callable[[int, int | None], object]"
"""What is told how much of a message has left; see `Submission`."""


class Recipient(NamedTuple):
    """One recipient: the address, and what RCPT is to say of it."""

    address: Address
    parameters: RcptParameters = NO_RCPT_PARAMETERS


class _Fields(NamedTuple):
    """What `Submission` adds its checks to, for which a NamedTuple itself has no place."""

    reverse_path: Address | None
    recipients: tuple[Recipient, ...]
    message: MessageSource
    parameters: MailParameters = NO_MAIL_PARAMETERS
    canonicalise: bool = False
    downgrade: bool = False
    progress: Progress | None = None


class Submission(_Fields):
    """One message with its envelope.

    Args:
        reverse_path: None is the null reverse-path ``<>``.
        recipients: the forward-paths; `make_submission` takes them, and the reverse-path, as text.
        message: an ``email`` message, octets, a file open for reading in binary, or an iterable of octets.
        parameters: what else MAIL is to say.
        canonicalise: make CRLF of bare CRs and LFs in octets, files and iterables; without it they are refused.
        downgrade: rewrite octets with 8-bit content in 7 bits for a server that takes nothing else, which changes
            them, and breaks signatures; without it they are refused. Files and iterables are read into memory then.
        progress: called for each piece of the message that has left, with the octets so far and those of the whole
            message, None where that is not known. What it raises breaks the sending off, and what went with DATA then
            costs the connection; behind the last piece it changes nothing any more.

    Raises:
        TypeError: an address is text, or anything else that is none, or ``parameters`` or ``progress`` are none.
    """

    __slots__ = ()

    def __new__(
        cls,
        reverse_path: Address | None,
        recipients: tuple[Recipient, ...],
        message: MessageSource,
        parameters: MailParameters = NO_MAIL_PARAMETERS,
        canonicalise: bool = False,
        downgrade: bool = False,
        progress: Progress | None = None,
    ) -> Self:
        if reverse_path is not None:
            check_address(reverse_path)
        for recipient in recipients:
            if not isinstance(recipient, Recipient):
                raise TypeError(f"a Recipient is wanted, not {type(recipient).__name__}: see make_submission")
            check_address(recipient.address)
        check_kind("parameters", parameters, MailParameters)
        if progress is not None:
            check_callable("progress", progress)
        # Half the price of super().__new__(…).
        return tuple.__new__(cls, (reverse_path, recipients, message, parameters, canonicalise, downgrade, progress))

    def _replace(self, **changes: Any) -> Self:
        return type(self)(**(self._asdict() | changes))  # checked like every other

    __replace__ = _replace  # for `copy.replace` of Python 3.13

    def __repr__(self) -> str:
        shown = {name: value for name, value in self._asdict().items() if name not in ("message", "progress")}
        return f"Submission({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def forward_paths(self) -> list[Address]:
        """The addresses of the recipients, in their order."""
        return [recipient.address for recipient in self.recipients]

    @property
    def needs_utf8(self) -> bool:
        """Whether an address, of the envelope or in a header field, is not ASCII, which calls for SMTPUTF8."""
        path = self.reverse_path
        if self.parameters.smtputf8 or (path is not None and not path.is_ascii):
            return True
        if not all(recipient.address.is_ascii for recipient in self.recipients):
            return True
        if not isinstance(self.message, Message):
            return False
        from mailproto.smtp.messages.header_addresses import has_utf8_addresses  # slow to load

        return has_utf8_addresses(self.message)


def make_submission(
    message: MessageSource,
    sender: str | Address | None = None,
    recipients: RecipientLike | Sequence[RecipientLike] | None = None,
    *,
    parameters: MailParameters | None = None,
    canonicalise: bool = False,
    downgrade: bool = False,
    progress: Progress | None = None,
) -> Submission:
    """Return the submission of ``message``, its envelope from the arguments or else from its header fields.

    Args:
        sender: the reverse-path; ``""`` is the null one; None means Sender or From (or Resent-Sender, Resent-From).
        recipients: the forward-paths; None means To, Cc and Bcc (or their Resent- forms). Each may be a pair of an
            address and its `RcptParameters`.
        canonicalise, downgrade, progress: as in `Submission`.

    Raises:
        GrammarError: an address is none, there is no recipient, or the header fields do not tell.
        TypeError: ``message`` is something else, such as text.
    """
    if isinstance(message, Message):
        from mailproto.smtp.messages.header_addresses import recipients_of, sender_of  # slow to load

        path = sender_of(message) if sender is None else _reverse_path(sender)
        found = list(map(Recipient, recipients_of(message))) if recipients is None else _recipients(recipients)
    else:
        if not isinstance(message, OctetsInMemory):
            _check_source(message)
        if sender is None or recipients is None:
            raise GrammarError("without an email message the sender and the recipients have to be given")
        path, found = _reverse_path(sender), _recipients(recipients)
    if not found:
        raise GrammarError("the message has no recipient")
    values = parameters or NO_MAIL_PARAMETERS
    return Submission(path, tuple(found), message, values, canonicalise, downgrade, progress)


def _reverse_path(sender: str | Address) -> Address | None:
    if isinstance(sender, Address):
        return sender
    return None if sender == "" else Address.parse(sender)


def _recipients(recipients: RecipientLike | Sequence[RecipientLike]) -> list[Recipient]:
    if isinstance(recipients, _TEXT_OR_ADDRESS):
        return [Recipient(_forward_path(recipients))]
    if isinstance(recipients, bytes):
        raise TypeError("an address is text, not octets")
    if isinstance(recipients, tuple) and len(recipients) == 2 and isinstance(recipients[1], RcptParameters):
        return [Recipient(_forward_path(recipients[0]), recipients[1])]
    # Such as None in a list of users, of whom one has no address, and what an earlier message has come to.
    if not isinstance(recipients, Iterable) or isinstance(recipients, RecipientResult):
        raise TypeError(f"an address is text or an Address, not {type(recipients).__name__}")
    return [found for each in recipients for found in _recipients(each)]


def _check_source(message: Any) -> None:
    """Raise `TypeError` for what is no message, before anything is said: text above all, which is no octets yet, and
    a submission, which can be iterated over only because it is a tuple."""
    is_text = isinstance(message, str | TextIOBase)
    is_source = any(hasattr(message, name) for name in ("read", "__iter__", "__aiter__"))
    if is_text or isinstance(message, Submission) or not is_source:
        kind = "text" if is_text else type(message).__name__
        raise TypeError(f"a message is octets, a binary file, an iterable of octets or an email message, not {kind}")


def _forward_path(text: str | Address) -> Address:
    """Return whom a string means: only here is a postmaster without a domain one (RFC 5321 section 4.1.1.3)."""
    if isinstance(text, Address):
        return text
    return POSTMASTER if text.lower() == POSTMASTER.local_part else Address.parse(text)
