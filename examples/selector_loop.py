"""A third driver, over ``selectors``: many connections in one thread, and the same flows as everywhere.

    python3 -m examples.selector_loop

`serve_all` is the whole of it. To be read in one go it keeps no time, does no TLS, and waits for a client that does
not read; the adapters of the library show how that is done.
"""

from __future__ import annotations

import selectors
import socket
import threading
from typing import Any

from mailproto import ConnectionClosedError, sync
from mailproto.flow import Call, Flow, Want
from mailproto.smtp import Envelope, Rcpt, SMTPServerConnection
from mailproto.smtp.flows import SMTPSession, serve


class Inbox:
    """The application: takes everything."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def on_rcpt(self, session: SMTPSession, rcpt: Rcpt) -> None:
        """Take every recipient."""

    def on_message(self, session: SMTPSession, envelope: Envelope) -> None:
        """Keep the message."""
        self.messages.append(bytes(envelope))


class Driver:
    """Drives one flow over one socket."""

    def __init__(self, sock: socket.socket, peer: str, handler: object) -> None:
        self._sock = sock
        self._conn = SMTPServerConnection()
        self._flow: Flow[None] = serve(SMTPSession(self._conn, peer), handler)

    def run(self, *, error: Exception | None = None) -> bool:
        """Go on until the flow waits for input; return whether it still does."""
        try:
            wish = self._flow.send(None) if error is None else self._flow.throw(error)
            while True:
                if isinstance(wish, Call):
                    wish = self._call(wish)
                    continue
                self._send()
                if wish is Want.READ:
                    return True
                wish = self._flow.send(None)
        except StopIteration:
            self._send()
            return False

    def read(self) -> bool:
        """Take what came, and go on."""
        if self._conn.closing:
            return self.run(error=ConnectionClosedError("the peer is gone"))
        try:
            self._conn.receive_data(self._sock.recv(65536))  # b"" is the end of input
        except OSError:  # so is a connection that was reset: no client can end the service of the others
            self._conn.receive_eof()
        return self.run()

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def _send(self) -> None:
        try:
            self._sock.sendall(self._conn.data_to_send())
        except OSError:
            self._conn.lose_output()
            self._conn.receive_eof()

    def _call(self, call: Call) -> Any:
        try:
            value = call.function(*call.arguments)
        except Exception as error:
            return self._flow.throw(error)
        return self._flow.send(value)


def serve_all(listening: socket.socket, handler: object, stop: threading.Event) -> None:
    """Serve whoever comes, all in this thread."""
    with selectors.DefaultSelector() as selector:
        selector.register(listening, selectors.EVENT_READ)
        while not stop.is_set():
            for key, _ in selector.select(0.05):
                if key.data is None:
                    sock, address = listening.accept()
                    driver = Driver(sock, address[0], handler)
                    if driver.run():
                        selector.register(sock, selectors.EVENT_READ, driver)
                    else:
                        driver.close()
                elif not key.data.read():
                    selector.unregister(key.fileobj)
                    key.data.close()
        for key in selector.get_map().values():
            if key.data is not None:
                key.data.close()


def main() -> None:
    """Serve three clients at once, and show what they brought."""
    inbox, stop = Inbox(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve_all, args=(listening, inbox, stop))
        thread.start()
        clients = [sync.SMTPClient("127.0.0.1", listening.getsockname()[1]) for _ in range(3)]
        for client in clients:
            client.connect()
        for number, client in enumerate(clients):
            client.send_message(b"Subject: %d\r\n\r\nHello\r\n" % number, "a@example.org", "b@example.org")
        for client in clients:
            client.quit()
        stop.set()
        thread.join()
    print(*map(repr, inbox.messages), sep="\n")


if __name__ == "__main__":
    main()
