"""Messages as they go to one server: written in as many bits as it takes, in pieces.

An ``email`` message is written anew for every server, which is the business of `flattening`; octets, files and
iterables are sent as they are, unless the caller has allowed to change them.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

from mailproto._core.connection import Connection
from mailproto._core.newlines import Checked, checked_pieces
from mailproto._core.spool import Spool
from mailproto.errors import ConnectionClosedError, GrammarError, SourceError
from mailproto.smtp.alabels import idna_2003
from mailproto.smtp.messages.submission import MessageSource, Octets, OctetsInMemory, Submission
from mailproto.smtp.parameters import Body

_PIECE = 256 << 10


@dataclass(slots=True)
class Content:
    """A message ready to be sent, once: its pieces, and what is known of it before (None: nothing)."""

    pieces: Iterator[bytes | Checked] | AsyncIterator[bytes] = field(repr=False)
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
        SourceError: it is to be read from something that cannot be.
    """
    message = submission.message
    if isinstance(message, Message):
        from mailproto.smtp.messages.flattening import flatten  # slow to load

        message = flatten(message, utf8=utf8, eight_bit=eight_bit, idna_encode=idna_encode)
    elif submission.downgrade and not eight_bit:
        message = in_seven_bits(message)
    if isinstance(message, OctetsInMemory):
        binary = submission.parameters.body is Body.BINARY_MIME
        return _octets(bytes(message), submission.canonicalise, binary)
    pieces = pieces_of(message)
    if isinstance(pieces, AsyncIterable):
        with reading_source():
            return Content(aiter(pieces))
    return Content(_read(pieces))


def pieces_of(message: Octets) -> Iterable[bytes] | AsyncIterable[bytes]:
    """Return the pieces of a message that is no ``email`` message."""
    if isinstance(message, OctetsInMemory):
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
def reading_source(conn: Connection[Any] | None = None) -> Iterator[None]:
    """Make a `SourceError` of what the application's own file or iterable raises.

    Args:
        conn: the connection that it is read for, whose end is no fault of the source's. A source that comes over
            another connection may meet the end of that one.
    """
    try:
        yield
    except GrammarError:  # of what was read
        raise
    except Exception as error:
        if isinstance(error, ConnectionClosedError) and conn is not None and conn.over:
            raise
        raise SourceError(f"the message could not be read: {type(error).__name__}: {error}") from error


def _read(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces of an application's own file or iterable, but for empty ones, which would look like the end.

    Raises:
        SourceError: there should be one, and could not be had.
    """
    with reading_source():
        for piece in pieces:
            octets = checked_octets(piece)
            if octets:
                yield octets


def repeatable(message: MessageSource) -> MessageSource:
    """Return the message in a form that can be sent more than once; files and iterables are kept while they are read.

    What is large is kept in a temporary file.
    """
    if isinstance(message, Message | OctetsInMemory | _Repeatable | _AsyncRepeatable):
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


def in_seven_bits(message: Octets) -> Octets:
    """Return the message in 7 bits. One that comes asynchronously cannot be looked at here, and stays as it is.

    A long one takes its time: 30 MB many seconds.

    Raises:
        GrammarError, NotSupportedError: it cannot be rewritten so.
        SourceError: it is to be read from something that cannot be.
    """
    pieces = pieces_of(message)
    if isinstance(pieces, AsyncIterable):
        return message
    with reading_source():
        data = b"".join(map(checked_octets, pieces))
    if data.isascii():
        return data
    from mailproto.smtp.messages.downgrade import downgrade  # slow to load

    return downgrade(data)
