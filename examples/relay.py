"""A relay between two servers: it passes each message on while that still comes in, and adds its Received field.

    python3 -m examples.relay

What the next server says to MAIL, to each RCPT and to the whole message is what our client hears, so the relay never
holds a message that it would have to give back. Nothing is kept, and a message that breaks off breaks off there, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from mailproto import GrammarError, MailProtoError, NotSupportedError, Reject, TLSPolicy, aio
from mailproto.flow import Flow, Want
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.smtp import Command, Data, Envelope, Hello, Mail, MailParameters, Rcpt, Reply, SMTPClientConnection
from mailproto.smtp import SMTPServerConfig as Config
from mailproto.smtp.flows import SMTPSession, request

UNREACHABLE = Reject(451, "The next server cannot be reached", "4.4.1")


class Relay:
    """The handler: for each client a connection of its own to the next server."""

    def __init__(self, host: str, port: int) -> None:
        self._next = (host, port)

    async def on_hello(self, session: SMTPSession, _: Hello) -> None:
        """Begin anew, as our client does."""
        await self.on_reset(session)

    async def on_mail(self, session: SMTPSession, mail: Mail) -> Reply:
        """Connect if that was not done yet, and name the sender."""
        if "client" not in session.state:
            client = aio.SMTPClient(*self._next, tls=TLSPolicy.NONE)
            try:
                await client.connect()
            except (MailProtoError, OSError) as error:
                raise UNREACHABLE from error
            session.state["client"] = client
        given = mail.parameters
        parameters = MailParameters(body=given.body, smtputf8=given.smtputf8)
        return await ask(session, lambda conn: conn.mail(mail.reverse_path, parameters))

    async def on_rcpt(self, session: SMTPSession, rcpt: Rcpt) -> Reply:
        """Have the next server decide."""
        return await ask(session, lambda conn: conn.rcpt(rcpt.address))

    async def on_data(self, session: SMTPSession, _: Data) -> None:
        """Begin the message there, too, with a Received field on top."""
        await ask(session, lambda conn: conn.data())
        await pass_on(session, session.received_field(datetime.now(UTC)))

    async def on_chunk(self, session: SMTPSession, octets: bytes) -> None:
        """Pass a piece on; our client waits as long as the next server does not take it."""
        await pass_on(session, octets)

    async def on_message(self, session: SMTPSession, _: Envelope) -> Reply:
        """Say what the next server says: its word is ours."""
        return await ask(session, lambda conn: conn.end_data())

    async def on_reset(self, session: SMTPSession) -> None:
        """Take back what was not finished. Half a message cannot be, only cut off."""
        if "client" in session.state:
            await session.state.pop("client").close()

    on_close = on_reset


async def ask(session: SMTPSession, queue: Callable[[SMTPClientConnection], Command]) -> Reply:
    """Give a command to the next server and return its reply; raise it as `Reject` if it refuses."""

    def flow(conn: SMTPClientConnection) -> Flow[Reply]:
        return (yield from request(conn, queue(conn)))

    client: aio.SMTPClient = session.state["client"]
    try:
        reply: Reply = await client.run(flow(client.conn), part=True)
    except (NotSupportedError, GrammarError) as error:  # so it will be whenever one tries
        raise Reject(554, "The next server does not take such a message", "5.3.3") from error
    except (MailProtoError, OSError) as error:
        raise UNREACHABLE from error
    if reply.code >= 400:
        raise Reject(reply.code, reply.text, str(reply.enhanced) if reply.enhanced else None)
    return reply


async def pass_on(session: SMTPSession, octets: bytes) -> None:
    """Send octets of the message to the next server."""

    def flow(conn: SMTPClientConnection) -> Flow[None]:
        conn.send_data(octets)
        yield Want.FLUSH

    client: aio.SMTPClient = session.state["client"]
    await client.run(flow(client.conn), part=True)


async def main() -> None:
    """Run a mail host, a relay in front of it, and a client that sends through the relay."""
    drop = MemoryMaildrop()
    users: dict[str, Any] = {"ada": "secret"}
    async with (
        aio.SMTPServer(MailHost(lambda _: drop, users, ["example.org"]), port=0) as inner,
        aio.SMTPServer(Relay("127.0.0.1", inner.port), port=0, config=Config(hostname="relay.example")) as outer,
        aio.SMTPClient("127.0.0.1", outer.port, local_name="client.example") as client,
    ):
        message = b"Subject: passed on\r\n\r\nHello.\r\n"
        result = await client.send_message(message, "grace@example.net", ["ada@example.org", "bob@example.net"])
        for recipient in result.recipients:
            print(f"{recipient.address}: {recipient.outcome.value}, {recipient.reply}")
    snapshot = drop.open()
    print(b"".join(snapshot.retrieve(1)).decode().replace("\r\n", "\n"))


if __name__ == "__main__":
    asyncio.run(main())
