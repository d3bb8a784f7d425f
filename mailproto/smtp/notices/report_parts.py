"""How a notice is taken apart: a multipart/report (RFC 6522) into its status and what came back of the message.

The standard library understands the header fields of MIME. Where a part begins and ends is looked for here: its
parser falls over deep nesting, and takes the encoding of a message/global for the message. How one is put together is
the business of `mailproto.smtp.notices.multireport`.
"""

from __future__ import annotations

import binascii
import io
import itertools
import re
from collections.abc import Iterator
from contextlib import suppress
from email.generator import BytesGenerator
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import EmailPolicy
from email.utils import collapse_rfc2231_value
from typing import Any, NamedTuple

from mailproto._core.codec import decode_base64
from mailproto.errors import GrammarError

_MAX_HEADER = 256 << 10  # octets
_MAX_STATUS = 1 << 20  # octets of the part for programs: some thousand recipients
_MAX_PARTS = 20
_MAX_PARAMETERS = 2000  # characters of a Content-Type; the time to read one grows with the square of it

_STATUS_TYPES = ("message/delivery-status", "message/global-delivery-status")
_WHOLE_TYPES = ("message/rfc822", "message/global")
_HEADER_TYPES = ("text/rfc822-headers", "message/rfc822-headers", "message/global-headers")

_LINE_END = re.compile(rb"\r?\n")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_MESSAGE_ID = re.compile(r"<[^<>\x00-\x20]+>")


class ReportParts(NamedTuple):
    """What is in a report.

    ``status`` is the part for programs, ``returned`` the message that came back, if it is ``returned_whole``, or its
    header; None if nothing did. ``message_id`` is what stands in it.
    """

    status: str
    returned: bytes | None
    returned_whole: bool
    message_id: str | None


class _Mime(NamedTuple):
    """What a header says of the content."""

    kind: str
    report_type: str | None
    boundary: str | None
    encoding: str
    message_id: str


class _Part(NamedTuple):
    mime: _Mime
    body: bytes


def take_apart(message: bytes | bytearray | memoryview | Message[Any, Any]) -> ReportParts:
    """Return what is in a report of delivery status.

    Raises:
        GrammarError: it is none, or it is beyond all bounds.
    """
    whole = _open(_flatten(message) if isinstance(message, Message) else bytes(message))
    report_type = (whole.mime.report_type or "delivery-status").lower()
    if whole.mime.kind != "multipart/report" or report_type != "delivery-status":
        raise GrammarError("not a report of delivery status")
    parts = list(_parts(whole))
    status = next((part for part in parts if part.mime.kind in _STATUS_TYPES), None)
    if status is None or len(status.body) > _MAX_STATUS:
        raise GrammarError("a report without its status, or with too much of it")
    text = _decoded(status).decode("utf-8", "backslashreplace")
    returned, returned_whole = _returned(parts)
    return ReportParts(text, returned, returned_whole, _message_id(returned))


def _flatten(message: Message[Any, Any]) -> bytes:
    """Return the octets of a message, with its header fields as they are."""
    # Without utf8 it would encode what is beyond ASCII.
    kept: dict[str, Any] = {"refold_source": "none", "utf8": True} if isinstance(message.policy, EmailPolicy) else {}
    policy = message.policy.clone(max_line_length=None, cte_type="8bit", linesep="\r\n", **kept)
    out = io.BytesIO()
    try:
        BytesGenerator(out, mangle_from_=False, policy=policy).flatten(message)
    except Exception as error:  # what is parsed of nonsense cannot always be written again
        raise GrammarError("a message that has no octets") from error
    return out.getvalue()


def _open(octets: bytes) -> _Part:
    """Take a message, or a part of one, apart."""
    header, body = _split(octets)
    if len(header) > _MAX_HEADER:
        raise GrammarError("a header without end")
    return _Part(_read_header(header), body)


def _split(octets: bytes) -> tuple[bytes, bytes]:
    """Return the header, and what is behind the blank line."""
    end = _LINE_END.match(octets)  # there is no header at all
    if end is None:
        end = _HEADER_END.search(octets)
    return (octets[: end.start()], octets[end.end() :]) if end is not None else (octets, b"")


def _read_header(octets: bytes) -> _Mime:
    try:
        header = BytesHeaderParser().parsebytes(octets)
        if len(str(header.get("Content-Type", ""))) > _MAX_PARAMETERS:
            raise GrammarError("a content type without end")
        report_type = header.get_param("report-type")
        return _Mime(
            header.get_content_type(),
            collapse_rfc2231_value(report_type) if report_type is not None else None,
            header.get_boundary(),
            str(header.get("Content-Transfer-Encoding", "")).strip(" \t").lower(),
            str(header.get("Message-ID", "")),
        )
    except Exception as error:  # parameters with numbers and charsets have many ways to be wrong (RFC 2231)
        raise GrammarError("a header that makes no sense") from error


def _parts(whole: _Part) -> Iterator[_Part]:
    """Yield the parts of a multipart (RFC 2046 section 5.1.1) that can be read. The last one may lack its end."""
    if not whole.mime.boundary or not whole.mime.boundary.isascii():
        raise GrammarError("a multipart without a boundary")
    boundary = re.escape(whole.mime.boundary.encode("ascii"))
    delimiters = re.compile(rb"(?<![^\n])--%s(--)?[ \t]*(?:\r?\n|\Z)" % boundary).finditer(whole.body)
    last = next(delimiters, None)
    for delimiter in itertools.islice(itertools.chain(delimiters, [None]), _MAX_PARTS):
        if last is None or last[1]:
            return
        end = delimiter.start() if delimiter is not None else len(whole.body)
        with suppress(GrammarError):
            yield _open(_without_line_end(whole.body[last.end() : end]))
        last = delimiter


def _without_line_end(octets: bytes) -> bytes:
    """Take off the line end that belongs to the delimiter behind."""
    return octets.removesuffix(b"\n").removesuffix(b"\r") if octets.endswith(b"\n") else octets


def _decoded(part: _Part) -> bytes:
    """Return the octets of a part without their encoding.

    Raises:
        GrammarError: it is not the encoding that it says.
    """
    if part.mime.encoding == "base64":
        return decode_base64(part.body.translate(None, b" \t\r\n"))
    return binascii.a2b_qp(part.body) if part.mime.encoding == "quoted-printable" else part.body


def _returned(parts: list[_Part]) -> tuple[bytes | None, bool]:
    """Return the message that came back, or its header, and which of the two it is."""
    for part in parts:
        if part.mime.kind in _WHOLE_TYPES + _HEADER_TYPES:
            with suppress(GrammarError):
                return _decoded(part), part.mime.kind in _WHOLE_TYPES
    return None, False


def _message_id(returned: bytes | None) -> str | None:
    header = _split(returned)[0][:_MAX_HEADER] if returned is not None else b""
    with suppress(GrammarError):
        match = _MESSAGE_ID.search(_read_header(header).message_id)
        return match[0] if match is not None else None
    return None
