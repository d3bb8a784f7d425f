"""The state machines alone: an SMTP client and a server talk without a socket, bytes carried by hand.

    python3 -m examples.by_hand

What is done here between `data_to_send` and `receive_data` is all that an event loop, a thread or a test has to do.
"""

from __future__ import annotations

from mailproto import Address
from mailproto.smtp import (
    Connected,
    Data,
    Envelope,
    Hello,
    Mail,
    MessageChunk,
    MessageEnd,
    Rcpt,
    ReadyForData,
    ReplyReceived,
    SMTPClientConnection,
    SMTPServerConfig,
    SMTPServerConnection,
)

ADA, BOB = Address("ada", "example.org"), Address("bob", "example.net")


class Mailbox:
    """The application of the server: takes mail for Ada."""

    def __init__(self) -> None:
        self.messages: list[tuple[Envelope, bytes]] = []
        self._pieces: list[bytes] = []

    def serve(self, conn: SMTPServerConnection) -> None:
        """Answer every event that there is by now."""
        while (event := conn.next_event()) is not None:
            match event:
                case Connected() | Hello() | Mail() | Data():
                    conn.accept()
                case Rcpt(address=address):
                    if address == ADA:
                        conn.accept()
                    else:
                        conn.reject(550, "no such user here", "5.1.1")
                case MessageChunk(data=data):
                    self._pieces.append(data)
                case MessageEnd(envelope=envelope):
                    self.messages.append((envelope, b"".join(self._pieces)))
                    self._pieces.clear()
                    conn.accept("taken")


def main() -> None:
    """Send one message to two recipients, of whom one is not there."""
    mailbox = Mailbox()
    server = SMTPServerConnection(SMTPServerConfig(hostname="mx.example.org"))
    client = SMTPClientConnection()
    flights = 0

    client.ehlo("client.example")
    queued = False
    while True:
        mailbox.serve(server)
        if answer := server.data_to_send():
            print("S:", answer.decode().replace("\r\n", "\n   ").rstrip())
            client.receive_data(answer)
        while (event := client.next_event()) is not None:
            match event:
                case ReplyReceived(command=command) if command.verb == "EHLO":
                    # Queued one by one, sent in one flight: the server offers PIPELINING.
                    client.mail(Address("grace", "example.com"))
                    client.rcpt(ADA)
                    client.rcpt(BOB)
                    client.data()
                case ReadyForData():
                    client.send_data(b"Subject: by hand\r\n\r\n.dots are stuffed\r\n")
                    client.end_data()
                    queued = True
        if queued:
            client.quit()
            queued = False
        if flight := client.data_to_send():
            flights += 1
            print("C:", flight.decode().replace("\r\n", "\n   ").rstrip())
            server.receive_data(flight)
        if client.closing:
            break

    ((envelope, content),) = mailbox.messages
    print(f"\n{flights} flights; delivered to {[str(path) for path in envelope.forward_paths]}: {content!r}")


if __name__ == "__main__":
    main()
