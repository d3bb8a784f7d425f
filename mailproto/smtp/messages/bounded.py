"""Messages read as the standard library does, as far as that does not take too long.

The time that it takes for a header field grows with the square of its length, and a stranger may have written it: one
of a few hundred kilobytes would be read for hours. One with a parameter of too long a name would be folded for ever.
And each line of a message is looked at once for each multipart that it is in.
"""

from __future__ import annotations

from email.headerregistry import HeaderRegistry
from email.message import EmailMessage
from email.policy import EmailPolicy
from typing import Any

from mailproto.errors import NotSupportedError
from mailproto.smtp.messages.writing import check_parameters

_MAX_LEVELS = 30  # of parts in parts: each time that mail is forwarded as an attachment it gets two more
_MAX_PARTS = 10_000  # of next to no fields; of usual ones there is room for 1,800 in the cost of those
_MAX_COST = 10_000**2  # enough to read a field of so many characters once, or many shorter ones
_EACH = 4000  # of that, for a field of whatever length


def bounded(policy: Any) -> Any:
    """Return the policy for one message, with a bound to what is read of its header fields.

    It is not for a second one: the bound is that of all fields together. Beyond it there is a `NotSupportedError`, as
    there is for what could not be folded.
    Other policies than those of `EmailMessage` read no fields, and stay as they are.
    """
    return policy.clone(header_factory=_BoundedHeaders(policy)) if isinstance(policy, EmailPolicy) else policy


class _BoundedHeaders(HeaderRegistry):
    """Makes the fields that the factory of a policy makes."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self._factory = policy.header_factory
        self._left = _MAX_COST

    def __call__(self, name: str, value: str) -> Any:
        self._left -= len(value) ** 2 + _EACH
        if self._left < 0:
            raise NotSupportedError("the header fields are too long to be rewritten")
        made = self._factory(name, value)
        check_parameters(made)
        return made


class BoundedParts:
    """Makes the parts of one message for a parser; beyond what any mail has there is a `NotSupportedError`."""

    def __init__(self) -> None:
        self._left = _MAX_PARTS

    def __call__(self, policy: Any) -> EmailMessage:
        self._left -= 1
        if self._left < 0:
            raise NotSupportedError("the message has too many parts to be rewritten")
        return _Part(policy)


class _Part(EmailMessage):
    """A part that knows how many others it is in."""

    _level = 0

    def attach(self, payload: Any) -> None:
        payload._level = self._level + 1
        if payload._level > _MAX_LEVELS:
            raise NotSupportedError("the message has too many levels of parts to be rewritten")
        super().attach(payload)
