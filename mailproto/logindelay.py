"""LOGIN-DELAY enforced (RFC 2449 section 6.5): who has logged in, and when, so that nobody does so too soon again.

The state machines keep no clock, so the server's handler asks this part, once it knows who the client is::

    async def on_login(self, session):
        with self.delay.login(session.identity.user):
            return self.drop_of(session.identity.user).open()

One object serves all sessions of a server, from all threads. It forgets everything with the process.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mailproto._core.checks import check_amount
from mailproto.pop3.snapshot import LoginDelayError

__all__ = ["LoginDelay"]


class LoginDelay:
    """Refuses logins that come too soon after the last one of the same user.

    Args:
        seconds: from the success of one login to the next; what ``POP3ServerConfig.login_delay`` announces.
        clock: returns seconds, and never goes back.

    Raises:
        TypeError: ``seconds`` is no number.
        GrammarError: it is negative, or NaN.
    """

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        check_amount("seconds", seconds)
        self.seconds = seconds
        self._clock = clock
        self._next: dict[str, float] = {}  # when each user may log in again, in the order of the logins
        self._lock = threading.Lock()
        self._sweep_at = 0

    def __len__(self) -> int:
        """Return how many users are remembered, at most those that have logged in within the delay, and as many."""
        return len(self._next)

    @contextmanager
    def login(self, user: str, seconds: float | None = None) -> Iterator[None]:
        """Let ``user`` in, if it is time. The login counts when the block ends without an exception.

        Args:
            seconds: until the next login of this user, if not as long as usual.

        Raises:
            LoginDelayError: it is too soon. This does not make the wait longer.
        """
        with self._lock:
            if self._clock() < self._next.get(user, float("-inf")):
                raise LoginDelayError
        yield
        with self._lock:
            now = self._clock()
            self._next[user] = now + (self.seconds if seconds is None else seconds)
            self._forget(now)

    def _forget(self, now: float) -> None:
        """Forget whose wait is over, each time that there are twice as many as after the last time."""
        if len(self._next) > 2 * self._sweep_at:
            self._next = {user: then for user, then in self._next.items() if then > now}
            self._sweep_at = max(len(self._next), 64)
