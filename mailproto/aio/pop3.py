"""POP3 over asyncio: the client and the server."""

from __future__ import annotations

import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Self, Unpack, cast

from mailproto._core.flow import Flow, T
from mailproto._flows.endpoints import ask, need_credentials
from mailproto._net.client import takes
from mailproto._net.listener import Where
from mailproto._net.pop3_client import MessageBase, POP3ClientBase, POP3Report
from mailproto._net.services import pop3_service
from mailproto.aio.client import Client
from mailproto.aio.server import Events, Server
from mailproto.aio.threads import Beside, beside
from mailproto.pop3.config import POP3ServerConfig
from mailproto.pop3.events import ServerEvent
from mailproto.pop3.flows.client import MessageListing, listing, log_in, request
from mailproto.pop3.flows.fetch import Fetch
from mailproto.pop3.flows.keep import KeepPolicy, KeepReport, Ledger, Store, fetch_and_keep
from mailproto.pop3.flows.server import POP3Session
from mailproto.pop3.listing import Stat
from mailproto.sasl.base import CredentialsSource, ServerMechanisms
from mailproto.sasl.choice import SERVER_MECHANISMS


class POP3Client(POP3ClientBase, Client):
    __doc__ = POP3ClientBase.__doc__

    def messages(self, listed: Iterable[MessageListing] | None = None) -> Messages:
        """Fetch the messages that were ``listed``, or all, one after the other, with the next ones on their way."""
        return Messages(self, listed)

    async def listing(self) -> list[MessageListing]:
        """Return number, size in octets and unique-id of every message (LIST, UIDL)."""
        return await self._do(listing(self.conn))

    async def status(self) -> Stat:
        """Return how many messages there are, and how many octets they have together (STAT)."""
        return await self._do(ask(self.conn, request, self.conn.stat))

    async def retrieve(self, number: int) -> bytes:
        """Return message ``number``, from 1, all of it, every line end a CRLF (RETR)."""
        return await self._do(self._retrieve(number))

    async def top(self, number: int, lines: int = 0) -> bytes:
        """Return the header of message ``number`` and so many lines of its body (TOP)."""
        return await self._do(self._retrieve(number, lines))

    async def delete(self, number: int) -> None:
        """Mark message ``number`` as deleted (DELE). It is deleted by `quit`."""
        await self.run(self._delete(number), part=True)

    async def reset(self) -> None:
        """Take all deletions back (RSET)."""
        await self._do(ask(self.conn, request, self.conn.rset))

    async def languages(self) -> dict[str, str]:
        """Return the languages that the server can speak: tag to name (RFC 6856 section 3)."""
        return await self._do(ask(self.conn, request, self.conn.languages))

    async def choose_language(self, wanted: str = "*") -> str:
        """Have the server speak a language, such as ``"de"``, or the one it prefers; return which one that is."""
        return await self._do(ask(self.conn, request, self.conn.lang, wanted))

    async def command(self, verb: str, *parameters: str | int) -> str:
        """Say a command that there is no method for, one of the server's own, and return the text of its response.

        `mailproto.pop3.POP3ClientConnection.command` says which may be said.

        Raises:
            ResponseError: the server has refused it.
            LocalProtocolError: there is a method for ``verb``.
            GrammarError: not a command that can be sent.
        """
        return await self._do(ask(self.conn, request, self.conn.command, verb, *parameters))

    async def multiline_command(self, verb: str, *parameters: str | int) -> list[str]:
        """Say such a command, to which a yes has several lines, and return those behind the first one."""
        return await self._do(ask(self.conn, request, self.conn.multiline_command, verb, *parameters))

    async def noop(self) -> None:
        """Do nothing, and see whether the server is still there."""
        await self._do(ask(self.conn, request, self.conn.noop))

    async def fetch_new(
        self,
        ledger: Ledger,
        store: Store,
        policy: KeepPolicy | None = None,
        *,
        report: KeepReport | None = None,
    ) -> KeepReport:
        """Fetch what is new by the ledger, store it, and mark for deletion what the policy says.

        Both wait for disks, and so are called in threads; they may also be made of coroutine functions.

        Args:
            ledger: what was fetched before, see `mailproto.ledger.SQLiteLedger`.
            store: stores a message and returns when it is safe: a `mailproto.ledger.MaildirStore`, or your own;
                `mailproto.pop3.flows.fetch_and_keep` says what it has to do.
            policy: None fetches everything new and leaves it on the server.
            report: is filled in as things happen, so that it tells what was done even if this raises.

        Raises:
            NotSupportedError: the server has given unique-ids before and gives none now. All would be fetched again.
            Exception: what the ledger and the store raise.
        """
        policy = policy if policy is not None else KeepPolicy()
        notes, shelf = cast(Ledger, Beside(ledger)), beside(store)
        return await self._do(fetch_and_keep(self.conn, notes, shelf, policy, now=time.time(), report=report))

    async def log_in(
        self, user: str | None = None, password: str | None = None, *, credentials: CredentialsSource | None = None
    ) -> None:
        """Log in as a user with a password, or with other ``credentials``.

        Raises:
            AuthenticationError: that does not succeed.
        """
        known = need_credentials(user, password, credentials)
        await self._do(log_in(self.conn, known, self._options))

    async def report(self) -> POP3Report:
        """Return what the server offers as things stand, having asked it again: behind the login it may be more."""
        return await self.run(self._report())

    async def _do(self, flow: Flow[T]) -> T:
        return await self.run(self._then(flow))


@takes(POP3Client)
async def verify_pop3(*arguments: Any, **keywords: Any) -> POP3Report:
    """See whether a maildrop can be used: connect, secure the connection, log in, leave; return what is offered.

    The arguments are those of `POP3Client`, and what is raised is what its ``connect`` raises. Nothing is deleted.
    """
    async with POP3Client(*arguments, **keywords) as client:
        return await client.report()


class Messages:
    """Messages on their way, one after the other: ``async for message in client.messages()``.

    When going on raises `ResponseError`, because the server does not give a message or refused a deletion, the next
    attempt goes on behind that.
    """

    def __init__(self, client: POP3Client, listed: Iterable[MessageListing] | None) -> None:
        self._client = client
        self._listed = listed
        self._fetch: Fetch | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        client = self._client
        if self._fetch is None:
            self._fetch = await client._do(client._begin_fetch(self._listed))
        found = await client.run(client._next_message(self._fetch), part=True)
        if found is None:
            raise StopAsyncIteration
        return Message(found, client, self._fetch)


class Message(MessageBase):
    __doc__ = MessageBase.__doc__

    def __init__(self, listing: MessageListing, client: POP3Client, fetch: Fetch) -> None:
        super().__init__(listing)
        self._client = client
        self._fetch = fetch

    async def read(self) -> bytes:
        """Return the message, or the rest of it, all lines ending in CRLF.

        Raises:
            LocalProtocolError: it was read to its end already, or another command came between.
        """
        return await self._client.run(self._client._read(self._fetch, self.number), part=True)

    def __aiter__(self) -> Self:
        """Read the message from its beginning, in pieces.

        Raises:
            LocalProtocolError: some of it was read already, or another command came between.
        """
        self._client._check_unread(self._fetch, self.number)
        return self

    async def __anext__(self) -> bytes:
        """Return the next piece of the message."""
        chunk = await self._client.run(self._client._next_chunk(self._fetch, self.number), part=True)
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def delete(self) -> None:
        """Mark the message as deleted. It is deleted by `POP3Client.quit`."""
        await self._client.delete(self.number)


class POP3EventSession(Events[ServerEvent], POP3Session):
    """One POP3 client, as a handler over events sees it: ``async for event in session``."""


class POP3Server(Server):
    """Gives mail out::

        async with POP3Server(Maildrops(), port=8110) as server:
            await server.serve_forever()

    Inside the ``async with`` it serves already, and at its end it closes; `serve_forever` only waits.

    Args:
        handler: an object with hooks, which `mailproto.pop3.flows.server` lists, or a coroutine function over the
            events of a session.
        host: a name or an address to listen on, several of them, or None for all of the machine.
        port: 0 has the system choose one; see ``port``.
        config: how to behave where the RFCs leave the choice.
        tls: the server's certificate, for STLS or implicit TLS.
        implicit_tls: begin with the handshake, as on port 995.
        mechanisms: the SASL mechanisms by name, of which the config's are offered, or those that
            `mailproto.sasl.default_mechanisms` finds if the config names none.
        path: listen on a unix socket instead.
        sock: listen on this socket instead, which is bound already.
        options: how many connections, and the like: `ServerOptions`.

    Attributes:
        tls: may be replaced while the server runs, by a context with a new certificate; new connections take it.
    """

    def __init__(
        self,
        handler: object | Callable[[POP3EventSession], Awaitable[None]],
        host: str | Sequence[str] | None = "127.0.0.1",
        port: int = 8110,
        *,
        config: POP3ServerConfig | None = None,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        mechanisms: ServerMechanisms = SERVER_MECHANISMS,
        **where: Unpack[Where],
    ) -> None:
        service = pop3_service(handler, config, tls, implicit_tls, mechanisms)
        super().__init__(service, POP3EventSession, host, port, tls, **where)
