"""What a flow may want of the outside world; `mailproto.flow` says what flows are, and how they are driven."""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

T = TypeVar("T")


class Want(enum.Enum):
    """The wants that carry nothing with them.

    Attributes:
        READ: input. The driver waits at most ``connection.timeout`` seconds for each unit of ``connection.progress``
            and hands what came, or the end of input, to the connection; when time runs out it calls
            ``connection.receive_timeout()`` instead.
        FLUSH: all output handed to the network, and room for more.
        START_TLS: the TLS handshake, with nothing read in between, and then ``connection.tls_established()``. When
            the handshake fails, its error is thrown into the flow and the connection is lost.
    """

    READ = enum.auto()
    FLUSH = enum.auto()
    START_TLS = enum.auto()


# By these names, because up to Python 3.11 an attribute of an enum's class costs as much as a call.
READ: Final = Want.READ
FLUSH: Final = Want.FLUSH
START_TLS: Final = Want.START_TLS


@dataclass(slots=True)
class Call:
    """A call of the application's code; its result is sent back, its exception is thrown into the flow.

    Under asyncio the function may return an awaitable, whose result then counts. What is ``slow`` is no code of the
    application's but a computation that takes long: a driver that serves others meanwhile runs it in a thread.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = field(default=(), repr=False)  # a password may be among them
    slow: bool = False


@dataclass(slots=True)
class Sleep:
    """A pause of so many seconds, for instance after a failed login."""

    seconds: float


Wish: TypeAlias = Want | Call | Sleep
Flow: TypeAlias = Generator[Wish, Any, T]
