"""Listening with blocking sockets: a thread that accepts, and a thread a connection. Nothing here knows a protocol.

A connection belongs to its thread alone. To end them all, `Listener.close` rings a bell that every thread hears
where it waits for the network, and each then shuts its own connection down; what has not ended when the grace is
over has its line cut, which its thread sees as the end of input. Hooks are never interrupted.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
from types import TracebackType
from typing import Self

from mailproto._net.listener import ListenerBase, Verdict, closed_for_good
from mailproto._net.sockets import Sockets
from mailproto.errors import ConnectionClosedError
from mailproto.sync.link import Link

logger = logging.getLogger("mailproto")

_MOMENT = 1.0
"""Seconds for what was cut off to tidy up, for the system to find what it lacked to accept, and between two looks."""


class Listener(ListenerBase):
    __doc__ = ListenerBase.__doc__

    def _prepare(self) -> None:
        self._acceptor: threading.Thread | None = None
        self._process = 0  # where that, and all other threads, are
        self._changed = threading.Condition()  # guards the links and their count
        self._stopped = threading.Event()
        self._over = False
        self._grace = self.options.grace

    def start(self) -> None:
        """Begin to listen, if that was not done yet.

        Raises:
            LocalProtocolError: the server was closed.
            OSError: an address is not known, not ours, or in use.
        """
        if not self._begin():
            raise closed_for_good()

    def _begin(self) -> bool:
        """Begin to listen, if that was not done yet; return False if the server was closed."""
        with self._changed:  # before a `close` of another thread, or behind it
            if self._sockets is None and not self._stopped.is_set():
                sockets = self._open_sockets()
                if self._stopped.is_set():  # by the handler of a signal, which has the lock as well
                    sockets.close()
                    return False
                self._bell, self._rope = socket.socketpair()
                self._process = os.getpid()
                self._acceptor = threading.Thread(target=self._accept_all, args=(sockets,), daemon=True)
                self._acceptor.start()
                self._sockets = sockets
            return not self._stopped.is_set()

    def serve_forever(self) -> None:
        """Listen until `close` is called elsewhere, or until an exception such as KeyboardInterrupt.

        If it was called already, there is nothing to wait for.
        """
        if not self._begin():
            return
        try:
            while not self._stopped.wait(_MOMENT):
                pass  # on Windows a wait without an end hears no Ctrl-C
        finally:
            self.close()

    def close(self, grace: float | None = None) -> None:
        """Stop listening for good, let the transactions under way finish, and close all connections.

        Where another thread closes already, this waits for the end as well, or for its own grace. In a process that
        was forked since it does nothing: the server is its parent's.

        Args:
            grace: seconds until what has not finished is cut off; None takes that of the options, or, where it closes
                already, what was said then.
        """
        if self._acceptor is not None and self._process != os.getpid():
            return
        with self._changed:
            self._stopped.set()
            self._grace = self._grace if grace is None else grace
            if self._over or self._sockets is None or self._acceptor is None:
                return
            self._rope.send(b"!")
        try:
            self._acceptor.join()
            self._sockets.close()
            self._wait_until_empty(self._grace)
        finally:
            with self._changed:
                self._grace = 0  # for who closes once more, such as a `with` behind an interrupt of this wait
                for link in tuple(self._links):
                    link.cut()
        if not self._wait_until_empty(_MOMENT):
            logger.error("%d connections are left: their hooks do not end", len(self._links))
        with self._changed:
            self._over = True
            self._put_bell_away()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _wait_until_empty(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._links, min(seconds, threading.TIMEOUT_MAX))

    def _accept_all(self, sockets: Sockets) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._bell, selectors.EVENT_READ)
            for sock in sockets.sockets:
                sock.setblocking(False)
                selector.register(sock, selectors.EVENT_READ)
            while not self._stopped.is_set():
                for key, _ in selector.select():
                    if isinstance(key.fileobj, socket.socket) and key.fileobj is not self._bell:
                        self._accept(key.fileobj)

    def _accept(self, listening: socket.socket) -> None:
        try:
            sock, _ = listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):  # the peer has left already
            return
        except OSError as error:
            logger.error("cannot accept a connection: %s", error)
            self._stopped.wait(_MOMENT)
            return
        try:
            self._admit(sock)
        except OSError as error:  # which is how macOS says that the peer has left
            logger.info("a connection could not be served: %s", error)
            sock.close()
        except Exception:
            logger.exception("a connection could not be served")
            sock.close()

    def _admit(self, sock: socket.socket) -> None:
        link = Link(self._connect(), sock, self._open_tls(), bell=self._bell)
        with self._changed:
            verdict = self._admission.enter(link.peer)
            self._links.add(link)
        if verdict is Verdict.SERVE:
            try:
                threading.Thread(target=self._attend, args=(link,), daemon=True).start()
                return
            except RuntimeError as error:
                logger.error("there is no thread for a connection: %s", error)
        if verdict is not Verdict.DROP and not self._implicit_tls:
            link.refuse()
        link.abort()
        self._forget(link)

    def _attend(self, link: Link) -> None:
        try:
            self._serve(link)
        except (ConnectionClosedError, OSError) as error:
            logger.info("%r: %s", link.peer, error)
        except (Exception, SystemExit):  # the latter would end the thread without a word
            logger.exception("%r: serving failed", link.peer)
        finally:
            link.close()
            self._forget(link)

    def _forget(self, link: Link) -> None:
        with self._changed:
            self._count_off(link)
            self._changed.notify_all()
            self._put_bell_away()

    def _recount(self, link: Link, client: str) -> bool:
        with self._changed:
            return super()._recount(link, client)

    def _put_bell_away(self) -> None:
        """Close what threads listen to, once there are none any more."""
        if self._over and not self._links:
            self._bell.close()
            self._rope.close()
