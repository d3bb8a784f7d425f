"""What both servers over blocking sockets do alike, and handlers that loop over the events of a session."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, Self, Unpack

from mailproto._core.connection import EventT
from mailproto._core.events import ConnectionClosed
from mailproto._flows.beginning import Admit
from mailproto._flows.endpoints import begin_events, host_of, log_failure, next_event, take_leave
from mailproto._net.listener import Where
from mailproto._net.services import Service
from mailproto.errors import LocalProtocolError
from mailproto.sync.link import Link
from mailproto.sync.listener import Listener


class Events(Generic[EventT]):
    """The events of a session: ``for event in session``.

    An event that asks and is not answered gets its safe answer when the next one is asked for; `ConnectionClosed`
    comes last. Answers leave when the next event is asked for.
    """

    link: Link
    peer: str

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventT | ConnectionClosed:
        flow = next_event(self.link.conn, self.peer)
        event: EventT | ConnectionClosed | None = self.link.run(flow, part=True)
        if event is None:
            raise StopIteration
        return event


class Server(Listener):
    """A listener with a service behind it."""

    def __init__(
        self,
        service: Service,
        session: Callable[[Any, str, str], Events[Any]],
        host: str | Sequence[str] | None,
        port: int,
        tls: ssl.SSLContext | None,
        **where: Unpack[Where],
    ) -> None:
        if service.has_coroutines:
            raise LocalProtocolError("a coroutine cannot be awaited here: that is what mailproto.aio is for")
        super().__init__(
            service.connect,
            self._serve_link,
            host,
            port,
            tls=tls,
            implicit_tls=service.implicit_tls,
            proxies=service.proxies,
            in_public=service.in_public,
            config_kind=service.config_kind,
            **where,
        )
        self._service = service
        self._session = session

    def _serve_link(self, link: Link) -> None:
        peer, local = host_of(link.peer), host_of(link.local)
        admit = partial(self._recount, link)
        if self._service.takes_events:
            session = self._session(link.conn, peer, local)
            session.link = link
            self._converse(link, session, admit)
        else:
            link.run(self._service.serve(link.conn, peer, local, admit), part=True)

    def _converse(self, link: Link, session: Any, admit: Admit) -> None:
        """Have the handler serve the connection, and end that when it returns or fails."""
        begun = begin_events(session, implicit_tls=self._service.implicit_tls, admit=admit)
        if not link.run(begun, part=True):
            return
        failure: Exception | None = None
        try:
            self._service.handler(session)
        except Exception as raised:
            failure = raised
        log_failure(session.conn, failure)
        link.run(take_leave(session.conn, failure), part=True)
