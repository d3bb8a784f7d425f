"""What both clients over blocking sockets do alike: connect, run flows, close."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from mailproto._core.flow import Flow, T
from mailproto._net.client import ClientBase
from mailproto.errors import LocalProtocolError
from mailproto.sync.connect import open_link
from mailproto.sync.link import Link
from mailproto.tunnels import open_tunnel


class Client(ClientBase):
    """A connection to a server, opened once and closed once. One operation runs at a time."""

    _link: Link | None = None

    def run(self, flow: Flow[T], *, part: bool = False) -> T:
        """Drive a flow of your own, or one of the library's that has no method here.

        Raises:
            LocalProtocolError: the client is not connected, or another operation is under way.
        """
        if self._link is None:
            flow.close()
            raise LocalProtocolError("the client is not connected")
        return self._link.run(flow, part=part)

    def connect(self) -> None:
        """Connect, and open the session as the arguments say.

        Raises:
            LocalProtocolError: it has been connected before.
            OSError: nobody listens there, or, as an ``ssl.SSLError``, TLS failed.
            MailProtoError: the session could not be opened; see the flow ``open_session``. A proxy that does not open
                the way is a `mailproto.tunnels.TunnelError`.
        """
        if self._link is not None:
            raise LocalProtocolError("a client connects once: make another one")
        tunnel = self._tunnel()
        self._link = open_link(tunnel or self.conn, **self._destination())
        try:
            self._local = self._link.local
            if tunnel is not None:
                self._link.run(open_tunnel(tunnel))
                self._link.switch(self.conn)
            self._link.run(self._begin())
        except BaseException:
            self._link.close()
            raise

    def quit(self) -> None:
        """End the session in good order, and close the connection, whatever is raised.

        Raises:
            MailProtoError: as the flow ``quit_session`` does, when what was to be done at the end was not.
        """
        try:
            self.run(self._quit())
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection without another word."""
        if self._link is not None:
            self._link.close()

    def _let_go(self) -> None:
        """Close our descriptor of a connection that another process goes on with, which hears nothing of it."""
        if self._link is not None:
            self._link.abort()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.quit()
        else:
            self.close()
