"""A pool of SMTP connections over blocking sockets."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from mailproto._core.checks import check_kind
from mailproto._net.client import check_made, check_maker, takes_as
from mailproto.errors import MailProtoError
from mailproto.smtp.flows.errand import Errand
from mailproto.smtp.flows.sending import raise_own, send_one
from mailproto.smtp.flows.shelf import Lent, PoolOptions, Shelf
from mailproto.smtp.messages.submission import make_submission
from mailproto.smtp.result import SendResult
from mailproto.sync.smtp import SMTPClient


class SMTPPool:
    """Sends messages over a few connections that are kept and used again, from any number of threads at once::

        with SMTPPool(lambda: SMTPClient("mail.example.org", user="ada", password=secret)) as pool:
            result = pool.send_message(message)

    A connection that the server has closed meanwhile is noticed, and the message sent over another, once, and only
    if nothing of it had been sent. Recipients for whom a connection has no room, on a server that says how much it
    takes on each (RFC 9422), go over others, one after the other.

    A process that is forked has connections of its own, and leaves those that there are to its parent.

    Args:
        make_client: returns a new client, not connected yet.
        options: how many connections, for how long, how fast.
    """

    def __init__(self, make_client: Callable[[], SMTPClient], options: PoolOptions | None = None) -> None:
        check_maker(make_client)
        self._options = options if options is not None else PoolOptions()
        check_kind("options", self._options, PoolOptions)
        self._make_client = make_client
        self._shelf: Shelf[SMTPClient] = Shelf(self._options)
        self._make_locks()
        _POOLS.add(self)

    def _make_locks(self) -> None:
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(self._options.max_connections)

    def _leave_to_parent(self) -> None:
        """In a process that was just forked, begin anew: no other thread is left to give back what it holds, and what
        two processes say on one connection is mixed up, and with it who gets which message."""
        self._make_locks()
        while (lent := self._shelf.take()) is not None:
            lent.client._let_go()

    @takes_as(SMTPClient.send_message)
    def send_message(self, *arguments: Any, **keywords: Any) -> SendResult:
        """Send one message; the arguments, the result and what is raised are those of `SMTPClient.send_message`.

        Raises:
            OSError, MailProtoError: no connection could be had, so that nobody has got the message; see
                `SMTPClient.connect`.
        """
        errand = Errand(make_submission(*arguments, **keywords))
        with self._free:
            self._close_expired()
            self._wait_for_turn()
            with self._lock:
                lent = self._shelf.take()
            if lent is not None:
                self._send_over(lent, errand)
            if not errand.begun:
                self._send_over(self._open(), errand)
            with suppress(MailProtoError, OSError):  # who gets no other connection stays deferred
                while not errand.done:
                    self._send_over(self._open(), errand)
            return raise_own(errand.result)

    def _open(self) -> Lent[SMTPClient]:
        client = self._make_client()
        check_made(client, SMTPClient)
        client.connect()
        return Lent(client)

    def _send_over(self, lent: Lent[SMTPClient], errand: Errand) -> None:
        """Send over this connection, and keep it if it is still good."""
        conn = lent.client.conn
        good = True
        try:
            result = lent.client.run(send_one(conn, errand.begin(conn)))
            good = errand.note(result, fresh=not lent.messages)
        finally:
            if conn.over or not conn.idle:
                lent.client.close()
            elif conn.exhausted or not good or not self._put_back(lent):
                _quit(lent.client)

    def _put_back(self, lent: Lent[SMTPClient]) -> bool:
        with self._lock:
            return self._shelf.put(lent, time.monotonic())

    def _close_expired(self) -> None:
        with self._lock:
            expired = list(self._shelf.take_expired(time.monotonic()))
        _quit_all(expired)

    def close(self) -> None:
        """Close the connections that nobody uses; those in use behind the message that goes over them."""
        with self._lock:
            idle = list(self._shelf.take_all())
        _quit_all(idle)

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


_POOLS: weakref.WeakSet[SMTPPool] = weakref.WeakSet()


def _leave_to_parent() -> None:
    for pool in tuple(_POOLS):
        pool._leave_to_parent()


if hasattr(os, "register_at_fork"):  # where the system can fork
    os.register_at_fork(after_in_child=_leave_to_parent)


def _quit_all(clients: Sequence[SMTPClient]) -> None:
    try:
        for client in clients:
            _quit(client)
    finally:
        for client in clients:
            client.close()  # those whose turn did not come


def _quit(client: SMTPClient) -> None:
    with suppress(MailProtoError, OSError):
        client.quit()
