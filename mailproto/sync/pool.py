"""A pool of SMTP connections over blocking sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from mailproto.errors import MailProtoError
from mailproto.smtp.flows.sending import send_message
from mailproto.smtp.flows.shelf import Lent, PoolOptions, Shelf, is_stale, resendable
from mailproto.smtp.message import Submission, make_submission
from mailproto.smtp.result import SendResult
from mailproto.sync.smtp import SMTPClient


class SMTPPool:
    """Sends messages over a few connections that are kept and used again, from any number of threads at once::

        with SMTPPool(lambda: SMTPClient("mail.example.org", user="ada", password=secret)) as pool:
            result = pool.send_message(message)

    A connection that the server has closed meanwhile is noticed, and the message sent over another, once, and only
    if nothing of it had been sent.

    Args:
        make_client: returns a new client, not connected yet.
        options: how many connections, for how long, how fast.
    """

    def __init__(self, make_client: Callable[[], SMTPClient], options: PoolOptions | None = None) -> None:
        self._options = options if options is not None else PoolOptions()
        self._make_client = make_client
        self._shelf: Shelf[SMTPClient] = Shelf(self._options)
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(self._options.max_connections)

    def send_message(self, *arguments: Any, **keywords: Any) -> SendResult:
        """Send one message; the arguments, the result and what is raised are those of `SMTPClient.send_message`."""
        submission = resendable(make_submission(*arguments, **keywords))
        with self._free:
            self._close_expired()
            self._wait_for_turn()
            with self._lock:
                lent = self._shelf.take()
            if lent is not None:
                lent.client.look()  # who has left would leave it open what became of a message sent in one flight
                result = self._send_over(lent, submission)
                if not is_stale(result):
                    return result
            return self._send_over(self._open(), submission)

    def _open(self) -> Lent[SMTPClient]:
        client = self._make_client()
        client.connect()
        return Lent(client)

    def _send_over(self, lent: Lent[SMTPClient], submission: Submission) -> SendResult:
        """Send over this connection, and keep it if it is still good."""
        conn = lent.client.conn
        result: SendResult | None = None
        try:
            result = lent.client.run(send_message(conn, submission))
            return result
        finally:
            if conn.over or not conn.idle:
                lent.client.close()
            elif conn.exhausted or (result and is_stale(result)) or not self._put_back(lent):
                _quit(lent.client)

    def _put_back(self, lent: Lent[SMTPClient]) -> bool:
        with self._lock:
            return self._shelf.put(lent, time.monotonic())

    def _close_expired(self) -> None:
        with self._lock:
            expired = list(self._shelf.take_expired(time.monotonic()))
        for client in expired:
            _quit(client)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with self._lock:
            idle = list(self._shelf.take_all())
        for client in idle:
            _quit(client)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _wait_for_turn(self) -> None:
        with self._lock:
            seconds = self._shelf.reserve(time.monotonic())
        time.sleep(seconds)


def _quit(client: SMTPClient) -> None:
    with suppress(MailProtoError, OSError):
        client.quit()
