"""The base of the two server connections: the one event that waits for its answer."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable

from mailproto._core.connection import AGAIN, STARVED, Connection, EventT, Step
from mailproto._core.events import ConnectionClosed, TLSInfo
from mailproto._core.limits import Limits
from mailproto._core.proxyheader import MAX_V2, ProxyHeader, parse_proxy_header
from mailproto.errors import GrammarError, LocalProtocolError

_FOREIGN = re.compile(rb"(?:GET|POST|PUT|HEAD|DELETE|OPTIONS|TRACE|CONNECT|PATCH) |Host:|\x16\x03", re.IGNORECASE)
FOREIGN_SIZE = len(b"OPTIONS ")
"""Octets of a line that `is_foreign` needs to see."""


def is_foreign(beginning: bytes) -> bool:
    """Say whether a line begins as those of HTTP, or TLS, do: a client of these was lured here to talk to us for
    somebody else."""
    return _FOREIGN.match(beginning) is not None


class ServerConnection(Connection[EventT]):
    """A connection whose peer asks and whose user answers, one event at a time.

    Commands that a client sent ahead wait as bytes behind the pending event, so no reply overtakes another.

    Attributes:
        proxy_header: what a load balancer told of the client, once it has; see `expect_proxy_header`.
    """

    _speaker = "S"
    _other = "C"

    __slots__ = ("_behind_proxy", "_login_due", "_penalty", "_tls_first", "proxy_header")

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self.proxy_header: ProxyHeader | None = None
        self._behind_proxy: Callable[[], EventT | ConnectionClosed | Step] | None = None
        self._tls_first = False
        self._login_due = False  # whether a login has to come, for which there is one time, whatever fills it
        self._penalty = 0.0

    @property
    def progress(self) -> int:
        """What grows with every event, see `Connection.progress`; while a login has to come, with the first alone."""
        return min(self._progress, 1) if self._login_due else self._progress

    def expect_proxy_header(self, *, tls_first: bool = False) -> None:
        """Begin with a PROXY header, which has to come before anything else, even TLS (``tls_first``).

        To be called at the very beginning, and only when the peer's address is that of a trusted load balancer. No
        event comes of the header: `next_event` returns None, and `proxy_header` is there. Without a header the
        connection fails.

        Raises:
            LocalProtocolError: the connection has begun already.
        """
        if self._progress or self.pending is not None or self.tls is not None:
            raise LocalProtocolError("a PROXY header comes before anything else")
        self._behind_proxy = self._mode
        self._tls_first = tls_first
        self._mode = self._read_proxy_header

    @property
    def awaits_proxy_header(self) -> bool:
        """Whether a PROXY header has to come next."""
        return self._behind_proxy is not None and self.proxy_header is None

    def tls_established(self, info: TLSInfo | None = None) -> None:
        """Learn that the TLS handshake is done: behind `StartTLS`, or at the very beginning for implicit TLS.

        All that was learnt in clear is forgotten (RFC 3207 section 4.2, RFC 2595 section 4).

        Args:
            info: what the application is to know of the session. Without it nothing is known but that there is one,
                and no mechanism can bind to it.

        Raises:
            LocalProtocolError: no handshake was due, or the PROXY header is.
        """
        if self.awaits_proxy_header and not self.over:
            raise LocalProtocolError("the PROXY header comes before TLS")
        if self._tls_first and self._behind_proxy is not None and not self.closing:
            self._mode = self._behind_proxy
            self._tls_first = False
        super().tls_established(info)

    def _read_proxy_header(self) -> EventT | ConnectionClosed | Step:
        try:
            found = parse_proxy_header(self._buffer.peek(MAX_V2))
        except GrammarError as error:
            self._fail(str(error))
            return AGAIN
        if found is None or self._behind_proxy is None:
            return STARVED
        self.proxy_header, length = found
        self._buffer.take(length)
        if self._tls_first:
            self.trailing_data = self._buffer.take(len(self._buffer))
            self._close_gate()
            self._mode = self._wait_for_tls
        else:
            self._mode = self._behind_proxy
        return STARVED

    def _wait_for_tls(self) -> EventT | ConnectionClosed | Step:
        return STARVED

    def close(self) -> None:
        """End the connection, whatever is cut short by it: in the words that there are for that."""
        self.shut_down()

    def drop(self) -> None:
        """End the connection at once and without a word, whatever is pending. What was said before still leaves.

        For peers that are not worth an answer, and to see what a client does that gets none.
        """
        if not self.closing:
            self.pending = None
            self._events.clear()
            self._close("dropped by the server")

    def take_penalty(self) -> float:
        """Return the seconds that the client is to be made to wait before `next_event` is called, and forget them.

        There are some behind a `CommandRejected` of a client that errs again and again: see `Limits`.
        """
        penalty, self._penalty = self._penalty, 0.0
        return penalty

    def _penalise(self, errors: int) -> None:
        """Have the client wait if it has made so many errors."""
        if errors > self.limits.max_free_errors:
            self._penalty = self.limits.error_delay

    @property
    @abstractmethod
    def auth_mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms that are offered as things stand, best first."""

    @abstractmethod
    def accept(self, text: str | None = None) -> None:
        """Answer the `pending` event with yes; ``text`` replaces the usual words of the reply."""

    @abstractmethod
    def reject(self, code: int | None = None, text: str | None = None, enhanced: str | None = None) -> None:
        """Answer the `pending` event with no.

        SMTP takes the reply code (4yz or 5yz), the text and the enhanced status code; POP3 has no codes and
        takes ``enhanced`` as response code of RFC 2449 section 8. What is left out gets its usual value.
        """

    @abstractmethod
    def challenge(self, data: bytes, *, refused: bool = False) -> None:
        """Answer a pending `Auth` or `AuthResponse` with a challenge; the next event is the response to it.

        If it says that the login was ``refused``, that counts even if the client breaks off.
        """

    @abstractmethod
    def answer_default(self) -> None:
        """Answer the `pending` event with what is safe when nobody did: no recipient, no login, no message."""

    def _ask(self, event: EventT) -> EventT:
        self.pending = event
        return event

    def _take_pending(self) -> EventT:
        """Return the pending event, which is about to be answered.

        Raises:
            LocalProtocolError: there is none, or the connection is over.
        """
        pending, self.pending = self.pending, None
        if pending is None:
            raise LocalProtocolError("there is nothing to answer")
        return pending
