"""Messages as they go to one server: written in as many bits as it takes, in pieces.

An ``email`` message is written anew for every server; octets, files and iterables are sent as they are, unless the
caller has allowed to change them. Bcc never leaves the caller's copy (RFC 5321 section 7.2).
"""

from __future__ import annotations

import copy
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.headerregistry import Address as Mailbox
from email.headerregistry import Group, HeaderRegistry
from email.message import Message
from typing import Any

from mailproto._core.newlines import checked_pieces
from mailproto._core.spool import Spool
from mailproto.errors import ConnectionClosedError, GrammarError, NotSupportedError, SourceError
from mailproto.smtp.alabels import encode_domain, idna_2003
from mailproto.smtp.downgrade import downgrade, without_binary
from mailproto.smtp.message import MessageSource, Octets, Submission, has_utf8_addresses, parsed_field
from mailproto.smtp.parameters import Body
from mailproto.smtp.writing import readable_errors, write

_PIECE = 256 << 10
_OCTET = re.compile(r"[\udc80-\udcff]")  # how the standard library keeps one that is not ASCII
_HEADERS = HeaderRegistry()


@dataclass(frozen=True, slots=True)
class Content:
    """A message ready to be sent: its pieces, and what is known of it before (None: nothing)."""

    pieces: Iterable[bytes] | AsyncIterable[bytes] = field(repr=False)
    size: int | None = None
    eight_bit: bool | None = None


def open_content(
    submission: Submission,
    *,
    eight_bit: bool,
    utf8: bool = False,
    idna_encode: Callable[[str], str] = idna_2003,
) -> Content:
    """Return the message as it is to be sent.

    Args:
        eight_bit: whether the server takes 8-bit content.
        utf8: whether the message goes with SMTPUTF8. Without it the domains in the header fields of an ``email``
            message are written in A-labels.
        idna_encode: makes these.

    Raises:
        GrammarError: octets with a bare CR or LF that nobody asked to mend, or an ``email`` message that cannot be
            written.
        NotSupportedError: it cannot be written without SMTPUTF8, or in 7 bits.
    """
    message = submission.message
    if isinstance(message, Message):
        message = _flatten(message, utf8=utf8, eight_bit=eight_bit, idna_encode=idna_encode)
    elif submission.downgrade and not eight_bit:
        message = _downgraded(message)
    if isinstance(message, bytes | bytearray | memoryview):
        binary = submission.parameters.body is Body.BINARY_MIME
        return _octets(bytes(message), submission.canonicalise, binary)
    return Content(pieces_of(message))


def pieces_of(message: Octets) -> Iterable[bytes] | AsyncIterable[bytes]:
    """Return the pieces of a message that is no ``email`` message."""
    if isinstance(message, bytes | bytearray | memoryview):
        return _pieces(bytes(message))
    if isinstance(message, AsyncIterable):
        return message
    read = getattr(message, "read", None)
    return iter(lambda: read(_PIECE), b"") if read is not None else message


def checked_octets(piece: Any) -> bytes:
    """Return a piece that an application's iterable or file has given. What could change before it leaves is copied.

    Raises:
        TypeError: it is no octets, such as the None of a file that does not block and has nothing at the moment; to
            take that for the end would send half a message.
    """
    if isinstance(piece, bytes):
        return piece
    if isinstance(piece, bytearray | memoryview):
        return bytes(piece)
    raise TypeError(f"a piece of a message is octets, not {type(piece).__name__}")


@contextmanager
def reading_source() -> Iterator[None]:
    """Make a `SourceError` of what the application's own file or iterable raises."""
    try:
        yield
    except (GrammarError, ConnectionClosedError):  # of what was read, and of the connection that it is read for
        raise
    except Exception as error:
        raise SourceError(f"the message could not be read: {type(error).__name__}: {error}") from error


def repeatable(message: MessageSource) -> MessageSource:
    """Return the message in a form that can be sent more than once; files and iterables are kept while they are read.

    What is large is kept in a temporary file.
    """
    if isinstance(message, Message | bytes | bytearray | memoryview | _Repeatable | _AsyncRepeatable):
        return message
    pieces = pieces_of(message)
    return _AsyncRepeatable(pieces) if isinstance(pieces, AsyncIterable) else _Repeatable(pieces)


class _Repeatable:
    """An iterable that remembers what it has given, and what it has failed by; each turn begins at the beginning."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._source = iter(pieces)
        self._kept = Spool()
        self._failure: Exception | None = None

    def __iter__(self) -> Iterator[bytes]:
        yield from self._kept
        while self._failure is None:
            try:
                piece = next(self._source)
                self._kept.write(checked_octets(piece))
            except StopIteration:
                return
            except Exception as error:  # behind which many a source only looks as if it had ended
                self._failure = error
            else:
                yield piece
        raise self._failure


class _AsyncRepeatable:
    """The same for an asynchronous iterable."""

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._source = aiter(pieces)
        self._kept = Spool()
        self._failure: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._kept:
            yield piece
        while self._failure is None:
            try:
                piece = await anext(self._source)
                self._kept.write(checked_octets(piece))
            except StopAsyncIteration:
                return
            except Exception as error:
                self._failure = error
            else:
                yield piece
        raise self._failure


def _octets(data: bytes, canonicalise: bool, binary: bool) -> Content:
    if binary:
        return Content(_pieces(data), len(data), not data.isascii())
    try:
        pieces, ascii_only = checked_pieces(data, _PIECE)
    except GrammarError:
        if not canonicalise:
            raise
        return Content(_pieces(data), None, not data.isascii())
    return Content(pieces, len(data) + (0 if data.endswith(b"\r\n") else 2), not ascii_only)


def _pieces(data: bytes) -> Iterator[bytes]:
    if len(data) <= _PIECE:
        return iter((data,))
    return (data[start : start + _PIECE] for start in range(0, len(data), _PIECE))


def _downgraded(message: Octets) -> Octets:
    """Return the message in 7 bits. One that comes asynchronously cannot be looked at here, and stays as it is."""
    pieces = pieces_of(message)
    if isinstance(pieces, AsyncIterable):
        return message
    with reading_source():
        data = b"".join(map(checked_octets, pieces))
    return data if data.isascii() else downgrade(data)


def _flatten(message: Message[Any, Any], *, utf8: bool, eight_bit: bool, idna_encode: Callable[[str], str]) -> bytes:
    """Write the message without its Bcc, in 7 bits if it has to be.

    The standard library can do the latter, too, but where a charset is wrong it gives up, or replaces characters.
    """
    with readable_errors():
        visible = copy.copy(message)
        del visible["Bcc"], visible["Resent-Bcc"]
        if not utf8 and has_utf8_addresses(visible):
            _use_a_labels(visible, idna_encode)
        written = _write(without_binary(visible), utf8)
    return written if eight_bit or utf8 or written.isascii() else downgrade(written)


def _write(message: Message[Any, Any], utf8: bool) -> bytes:
    """Write the message in 8 bits; its fields in the words they came in, if the standard library knows no others."""
    settings: dict[str, Any] = {"cte_type": "8bit"}
    as_it_is: dict[str, Any] = {"refold_source": "none"} if hasattr(message.policy, "refold_source") else {}
    if hasattr(message.policy, "utf8"):
        settings["utf8"] = utf8
    if _has_octets_in_fields(message):
        if "utf8" in settings:
            settings["utf8"] = True  # else they would be made encoded words, of no charset
    else:
        with suppress(Exception):  # it cannot fold every field that it has read
            return write(message, message.policy.clone(**settings))
    return write(message, message.policy.clone(**settings, **as_it_is))


def _has_octets_in_fields(message: Message[Any, Any]) -> bool:
    """Say whether a header field has 8-bit octets in it, which the standard library knows no charset for."""
    fields = (raw for part in message.walk() for _, raw in part.raw_items())
    return any(_OCTET.search(raw) for raw in fields if isinstance(raw, str) and not raw.isascii())


def _use_a_labels(message: Message[Any, Any], idna_encode: Callable[[str], str]) -> None:
    """Write the addresses in the header fields of ``message``, whose fields are its own, in ASCII.

    Raises:
        NotSupportedError: the local part of one is not ASCII, and nobody but its own server may change that.
    """

    def in_ascii(mailbox: Mailbox) -> Mailbox:
        if not mailbox.username.isascii():
            raise NotSupportedError(f"{mailbox.addr_spec!a:.100} in the header needs SMTPUTF8")
        return Mailbox(mailbox.display_name, mailbox.username, encode_domain(mailbox.domain, idna_encode))

    fields = list(message.raw_items())
    for name in {name.lower() for name, _ in fields}:
        del message[name]
    for name, raw in fields:
        groups = getattr(parsed_field(message, name, raw), "groups", None)
        if groups is None:
            message.set_raw(name, raw)
        else:
            written = [Group(group.display_name, tuple(map(in_ascii, group.addresses))) for group in groups]
            message.set_raw(name, _HEADERS(name, written))
