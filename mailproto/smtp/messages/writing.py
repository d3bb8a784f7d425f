"""Email messages as octets: the standard library's generator, with a second look at each header field.

What an encoded word stands for may have line ends in it, and the octets 0B, 0C and 1C to 1E are line ends to Python
though not to SMTP. Not every version of the generator notices where it writes them out, and makes two fields of one,
or ends the header early (CVE-2024-6923, CVE-2026-1299). The latter it does with some long names, too.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from email.generator import BytesGenerator
from email.message import Message
from email.policy import EmailPolicy, Policy
from typing import Any

from mailproto.errors import GrammarError, MailProtoError, NotSupportedError

_MAX_PARAMETER_NAME = 40  # characters of the 78 of a line, which has its charset and the value beside it
_MAX_ODD_LINE_ENDS = 100
_ODD_LINE_END = re.compile("[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_EMPTY_LINES = re.compile(rb"(?<!\r\n)(?:\r\n){2,}+(?=[ \t])")  # with no way back, or the time grows with the square
_ANOTHER_FIELD = re.compile(rb"\r\n(?![ \t])|\r(?![ \t\n])|\n(?![ \t])")


def write(message: Message[Any, Any], policy: Policy[Any]) -> bytes:
    """Return the message as octets in CRLF lines.

    Raises:
        GrammarError: a header field would not be one.
        NotSupportedError: a header field cannot be folded.
    """
    out = io.BytesIO()
    _Generator(out, mangle_from_=False, policy=policy.clone(linesep="\r\n")).flatten(message)
    return out.getvalue()


def decoded(raw: str) -> str:
    """Return what a field says whose octets the standard library keeps as surrogates: UTF-8 (RFC 6532 section 3.2).

    Raises:
        UnicodeError: they are something else.
    """
    return raw.encode("utf-8", "surrogateescape").decode("utf-8")


def unfolded(value: str) -> str:
    """Return the value of a field on one line (RFC 5322 section 2.2.3); not every policy of ``email`` gives it so."""
    return _LINE_END.sub("", value)


def check_parameters(value: object) -> None:
    """Raise `NotSupportedError` if this is a field with a parameter whose name is too long to be folded.

    The standard library looks for room behind that name for ever (RFC 2231 section 3, as its ``email`` writes it).
    """
    if any(len(name) > _MAX_PARAMETER_NAME for name in getattr(value, "params", ())):
        raise NotSupportedError("a header field has a parameter with a name that is too long")


def _check_odd_line_ends(value: object) -> None:
    """Raise `GrammarError` if this is a field with many line ends that are some to Python alone: the older policies
    of ``email`` make lines of them, and look from each through all others for a field that might be hidden there."""
    if isinstance(value, str) and sum(1 for _ in _ODD_LINE_END.finditer(value)) > _MAX_ODD_LINE_ENDS:
        raise GrammarError("a header field has too many line ends in it")


@contextmanager
def readable_errors() -> Iterator[None]:
    """Make a `GrammarError` of whatever the standard library falls over when a message is odd enough."""
    try:
        yield
    except MailProtoError:
        raise
    except Exception as error:
        raise GrammarError("the email message cannot be written") from error


class _Generator(BytesGenerator):
    """Writes no field that is more than one."""

    def _write_headers(self, msg: Message[Any, Any]) -> None:
        policy = self.policy or msg.policy
        for name, value in msg.raw_items():
            check_parameters(value)
            if not isinstance(policy, EmailPolicy):
                _check_odd_line_ends(value)
            field = policy.fold_binary(name, value)
            if not _is_one(field):  # folding sometimes leaves an empty line, where it only wanted to begin a new one
                field = _EMPTY_LINES.sub(b"\r\n", field)
                if not _is_one(field):
                    raise GrammarError(f"the field {name!a:.40} has a line end in it")
            self.write(field.decode("ascii", "surrogateescape"))
        self.write("\r\n")


def _is_one(field: bytes) -> bool:
    return field.endswith(b"\r\n") and _ANOTHER_FIELD.search(field, 0, len(field) - 2) is None
