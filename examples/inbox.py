"""A server and a client over asyncio: hooks that are coroutines, several messages over one connection.

    python3 -m examples.inbox
"""

from __future__ import annotations

import asyncio
from email.message import EmailMessage

from mailproto import Reject, aio
from mailproto.smtp import Envelope, Rcpt, make_submission
from mailproto.smtp.flows import SMTPSession


class Inbox:
    """Takes mail for example.org. What has no hook gets the safe answer."""

    def __init__(self) -> None:
        self.subjects: asyncio.Queue[str] = asyncio.Queue()

    async def on_rcpt(self, session: SMTPSession, rcpt: Rcpt) -> None:
        """Refuse what is for others: returning accepts, raising refuses."""
        if rcpt.address.domain.lower() != "example.org":
            raise Reject(550, "relaying denied", "5.7.1")

    async def on_message(self, session: SMTPSession, envelope: Envelope) -> str:
        """Take a message. When this returns the client is told 250, so the message has to be safe by then."""
        header, _, _ = bytes(envelope).partition(b"\r\n\r\n")
        subject = next(line for line in header.split(b"\r\n") if line.startswith(b"Subject: "))
        await self.subjects.put(subject.decode())
        return f"taken from {session.peer}"


def letter(number: int, *recipients: str) -> EmailMessage:
    """Return a message; its envelope is taken from its header fields."""
    message = EmailMessage()
    message["From"] = "grace@example.net"
    message["To"] = ", ".join(recipients)
    message["Subject"] = f"letter {number}"
    message.set_content("Hello!\n")
    return message


async def main() -> None:
    """Send some letters, and print what became of each recipient."""
    inbox = Inbox()
    async with aio.SMTPServer(inbox, port=0) as server, aio.SMTPClient("127.0.0.1", server.port) as client:
        letters = [letter(1, "ada@example.org"), letter(2, "ada@example.org", "eve@elsewhere.example")]
        for result in await client.send_messages(map(make_submission, letters)):
            for recipient in result.recipients:
                print(f"{recipient.address}: {recipient.outcome.value} ({recipient.reply})")
    while not inbox.subjects.empty():
        print("received:", inbox.subjects.get_nowait())


if __name__ == "__main__":
    asyncio.run(main())
