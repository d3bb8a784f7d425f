"""Header fields read as the standard library does, as far as that does not take too long.

The time that it takes for a field grows with the square of its length, and a stranger may have written it: one of a
few hundred kilobytes would be read for hours. One with a parameter of too long a name would be folded for ever.
"""

from __future__ import annotations

from email.headerregistry import HeaderRegistry
from email.policy import EmailPolicy
from typing import Any

from mailproto.errors import NotSupportedError
from mailproto.smtp.messages.writing import check_parameters

_MAX_COST = 10_000**2  # enough to read a field of so many characters once, or many shorter ones


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
        self._left -= len(value) ** 2
        if self._left < 0:
            raise NotSupportedError("the header fields are too long to be rewritten")
        made = self._factory(name, value)
        check_parameters(made)
        return made
