"""What cannot be had elsewhere, asked for: each prints how that was refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mailproto import NotSupportedError, aio, sync
from mailproto._net.sockets import listen_unix
from mailproto.ledger import SQLiteLedger
from mailproto.maildrop import Maildir, MaildirRoot, Mbox
from mailproto.relay import PolicyStore, Queue, Route
from mailproto.smtp import SMTPClientConnection
from mailproto.testing import Outbox

WANTED: dict[str, Callable[[], object]] = {
    "Maildir": lambda: Maildir("mail"),
    "MaildirRoot": lambda: MaildirRoot("mail").maildir("ada"),
    "Mbox": lambda: Mbox("mbox"),
    "Queue": lambda: Queue("queue"),
    "PolicyStore": lambda: PolicyStore("sts", aio.DNSResolver(["192.0.2.1"])),
    "name servers": sync.DNSResolver,
    "name servers over asyncio": aio.DNSResolver,
    "a client's path": lambda: sync.SMTPClient(path="socket"),
    "a client's path over asyncio": lambda: aio.POP3Client(path="socket"),
    "a server's path": lambda: sync.SMTPServer(Outbox(), path="socket"),
    "a server's path over asyncio": lambda: aio.SMTPServer(Outbox(), path="socket"),
    "a route's path": lambda: Route(path="socket", lmtp=True),
    "a link's path": lambda: sync.open_link(SMTPClientConnection(), path="socket"),
    "a link's path over asyncio": lambda: asyncio.run(aio.open_link(SMTPClientConnection(), path="socket")),
    "a listening path": lambda: listen_unix("socket"),
    "reuse_port": lambda: sync.ServerOptions(reuse_port=True),
}

if __name__ == "__main__":
    for name, make in WANTED.items():
        try:
            print(f"{name}: {make()!r}")
        except NotSupportedError as error:
            print(f"{name}: NotSupportedError: {error}")
    with SQLiteLedger("ledger", "ada@pop.example.org") as ledger:  # which can be had
        ledger.begin("key", 0.0, "")
        print("ledger:", len(ledger.read()))
