"""A pool of SMTP connections over asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from mailproto._core.checks import check_kind
from mailproto._net.client import check_made, check_maker, takes_as
from mailproto.aio.smtp import SMTPClient
from mailproto.errors import MailProtoError
from mailproto.smtp.flows.errand import Errand
from mailproto.smtp.flows.sending import raise_own, send_one
from mailproto.smtp.flows.shelf import Lent, PoolOptions, Shelf
from mailproto.smtp.messages.submission import make_submission
from mailproto.smtp.result import SendResult


class SMTPPool:
    """Sends messages over a few connections that are kept and used again, from any number of tasks at once::

        async with SMTPPool(lambda: SMTPClient("mail.example.org", user="ada", password=secret)) as pool:
            result = await pool.send_message(message)

    A connection that the server has closed meanwhile is noticed, and the message sent over another, once, and only
    if nothing of it had been sent. Recipients for whom a connection has no room, on a server that says how much it
    takes on each (RFC 9422), go over others, one after the other.

    It is for one event loop, whose connections are those that it keeps.

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
        self._free = asyncio.Semaphore(self._options.max_connections)

    @takes_as(SMTPClient.send_message)
    async def send_message(self, *arguments: Any, **keywords: Any) -> SendResult:
        """Send one message; the arguments, the result and what is raised are those of `SMTPClient.send_message`.

        Raises:
            OSError, MailProtoError: no connection could be had, so that nobody has got the message; see
                `SMTPClient.connect`.
        """
        errand = Errand(make_submission(*arguments, **keywords))
        async with self._free:
            await self._close_expired()
            await asyncio.sleep(self._shelf.reserve(self._now()))
            lent = self._shelf.take()
            if lent is not None:
                await self._send_over(lent, errand)
            if not errand.begun:
                await self._send_over(await self._open(), errand)
            with suppress(MailProtoError, OSError):  # who gets no other connection stays deferred
                while not errand.done:
                    await self._send_over(await self._open(), errand)
            return raise_own(errand.result)

    async def _open(self) -> Lent[SMTPClient]:
        client = self._make_client()
        check_made(client, SMTPClient)
        await client.connect()
        return Lent(client)

    async def _send_over(self, lent: Lent[SMTPClient], errand: Errand) -> None:
        """Send over this connection, and keep it if it is still good."""
        conn = lent.client.conn
        good = True
        try:
            result = await lent.client.run(send_one(conn, errand.begin(conn)))
            good = errand.note(result, fresh=not lent.messages)
        finally:
            if conn.over or not conn.idle:
                await lent.client.close()
            elif conn.exhausted or not good or not self._shelf.put(lent, self._now()):
                await _quit(lent.client)

    async def _close_expired(self) -> None:
        for client in self._shelf.take_expired(self._now()):
            await _quit(client)

    async def close(self) -> None:
        """Close the connections that nobody uses; those in use behind the message that goes over them."""
        try:
            for client in self._shelf.take_all():
                await _quit(client)
        finally:  # those whose turn did not come
            await asyncio.gather(*(client.close() for client in self._shelf.take_all()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


async def _quit(client: SMTPClient) -> None:
    with suppress(MailProtoError, OSError):
        await client.quit()
