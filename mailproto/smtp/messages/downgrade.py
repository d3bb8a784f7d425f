"""A message in 7 bits, for servers that take nothing else (RFC 6152 section 3): same content, other octets.

And one without binary parts, which no message of lines has room for (RFC 2045 section 6.2).
"""

from __future__ import annotations

import binascii
import copy
import email
from email.message import EmailMessage, Message
from email.policy import EmailPolicy
from typing import Any

from mailproto.errors import MailProtoError, NotSupportedError
from mailproto.smtp.messages.bounded import BoundedParts, bounded
from mailproto.smtp.messages.writing import decoded, unfolded, write

_LINE = 57  # octets that make a line of 76 in base64


def downgrade(data: bytes) -> bytes:
    """Return the message with every part that has 8-bit content encoded, and 8-bit header fields as encoded words.

    Raises:
        GrammarError: it cannot be written, for a header field would not be one.
        NotSupportedError: there is something in it that no encoding can be given to, or that takes too long to read,
            be it for its many parts in parts.
    """
    try:
        written = _rewritten(data)
    except MailProtoError:
        raise
    except Exception as error:  # the parser of the standard library falls over in many ways
        raise NotSupportedError("a header field cannot be read well enough to be rewritten") from error
    if not written.isascii():
        raise NotSupportedError("the message cannot be written in 7 bits")
    return written


class _SevenBits(EmailPolicy):
    """Writes header fields that are UTF-8 (RFC 6532) as encoded words of that charset. Those in 7 bits stay as they
    are, however long."""

    def fold_binary(self, name: str, value: Any) -> bytes:
        """Return the field as octets."""
        if not (hasattr(value, "name") or value.isascii()):  # one that was read has a name
            value = _decoded(self, name, value)
        return super().fold_binary(name, value)


_POLICY = _SevenBits(linesep="\r\n", cte_type="7bit", refold_source="none")


def _rewritten(data: bytes) -> bytes:
    policy = bounded(_POLICY).clone(message_factory=BoundedParts())
    message = email.message_from_bytes(data, policy=policy)
    for part in message.walk():
        _encode_part(part)
    return write(message, policy)


def _decoded(policy: EmailPolicy, name: str, raw: str) -> Any:
    """Return an 8-bit field as what it says; as it is if it is in another charset, of which nothing is known."""
    try:
        text = unfolded(decoded(raw))
    except UnicodeError:
        return raw
    _, value = policy.header_store_parse(name, text)
    if any(not mailbox.addr_spec.isascii() for mailbox in getattr(value, "addresses", ())):
        raise NotSupportedError(f"an address in the field {name} needs SMTPUTF8")
    return value


def without_binary(message: Message[Any, Any]) -> Message[Any, Any]:
    """Return the message, or a copy with base64 for what is binary: in lines its CRs and LFs would become CRLFs."""
    if not any(map(_is_binary, message.walk())):
        return message
    message = copy.deepcopy(message)
    for part in filter(_is_binary, message.walk()):
        content = None if part.is_multipart() else part.get_payload(decode=True)
        if isinstance(content, bytes):
            part.set_payload(_base64(content).decode("ascii"))
        part.replace_header("Content-Transfer-Encoding", "8bit" if content is None else "base64")
    return message


def _is_binary(part: Message[Any, Any]) -> bool:
    fields = (str(raw) for name, raw in part.raw_items() if name.lower() == "content-transfer-encoding")
    return next(fields, "").strip(" ").lower() == "binary"


def _encode_part(part: EmailMessage) -> None:
    """Encode the content of a part that is not in 7 bits, whatever it says of itself."""
    content = b"" if part.is_multipart() else part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return
    if part.is_multipart() or str(part.get_payload()).isascii():
        if str(part.get("Content-Transfer-Encoding", "")).lower() in ("8bit", "binary"):
            part.replace_header("Content-Transfer-Encoding", "7bit")
        return
    text = part.get_content_maintype() == "text"
    part.set_payload((_quoted_printable(content) if text else _base64(content)).decode("ascii"))
    del part["Content-Transfer-Encoding"]
    part["Content-Transfer-Encoding"] = "quoted-printable" if text else "base64"


def _quoted_printable(content: bytes) -> bytes:
    return binascii.b2a_qp(content, istext=True)


def _base64(content: bytes) -> bytes:
    pieces = (content[start : start + _LINE] for start in range(0, len(content), _LINE))
    return b"\r\n".join(binascii.b2a_base64(piece, newline=False) for piece in pieces)
