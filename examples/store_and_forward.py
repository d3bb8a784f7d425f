"""The whole way of a mail: submission, queue, relay, mail exchanger, Maildir, POP3; and back, where it fails.

    python3 -m examples.store_and_forward

Grace logs in to her submission server and sends a mail to two people. The server keeps it in a queue on disk, and the
relay finds the mail exchanger of their domain and hands it over. Ada has a mailbox there and fetches the mail; nobody
is called bob, so that the relay writes to Grace that her mail to him failed, and she fetches that.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from mailproto import Address, TLSPolicy, aio
from mailproto.maildrop import MaildirRoot
from mailproto.mailhost import BLOCKING_HOOKS, MailHost
from mailproto.pop3 import POP3ServerConfig
from mailproto.relay import Queue, Relay, RelayConfig, RelayHandler
from mailproto.sasl import PasswordCheck
from mailproto.smtp import Envelope, SMTPServerConfig, with_extensions
from mailproto.smtp.extensions import DSN
from mailproto.smtp.fixups import complete_header
from mailproto.smtp.routing import MX, StaticResolver

PASSWORDS = {"grace": "amazing", "ada": "analytical"}
GRACE, ADA, BOB = "grace@example.net", "ada@example.org", "bob@example.org"


class Submission(RelayHandler):
    """The handler of the submission server: it adds who may log in, and what mail programs leave out."""

    def on_auth(self, _: Any, check: PasswordCheck) -> bool:
        """Say whether the password is right; an unknown user costs what a known one costs."""
        return check.matches(PASSWORDS.get(check.username))

    def content(self, _: Any, envelope: Envelope, name: str, /) -> Iterable[bytes]:
        """Return the message with a Date and a Message-ID (RFC 6409 section 8)."""
        return complete_header(envelope, message_id=f"{name}@relay.example.net", date=datetime.now(UTC))


def build_message() -> EmailMessage:
    """Return a mail to Ada and Bob."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = GRACE, f"{ADA}, {BOB}", "By way of a relay"
    message.set_content("This mail was kept on disk on its way.\n")
    return message


async def submit(port: int) -> None:
    """Send the mail as Grace, who has logged in."""
    client = aio.SMTPClient(
        "127.0.0.1", port, tls=TLSPolicy.NONE, user="grace", password=PASSWORDS["grace"], allow_plaintext_auth=True
    )
    async with client:
        result = await client.send_message(build_message())
    print(f"The submission server says: {result.reply}")


async def fetch(port: int, user: str) -> None:
    """Show what is in a user's mailbox."""
    client = aio.POP3Client(
        "127.0.0.1", port, tls=TLSPolicy.NONE, user=user, password=PASSWORDS[user], allow_plaintext_auth=True
    )
    async with client as pop:
        async for message in pop.messages():
            text = (await message.read()).decode().replace("\r\n", "\n")
            print(f"\n-- In the mailbox of {user} --\n{text}")


async def run(folder: Path) -> None:
    """Run all of it on this machine, with everything that is kept in one folder."""
    queue = Queue(folder / "queue")
    open_drop = MaildirRoot(folder / "mail").maildir
    host = MailHost(open_drop, users=PASSWORDS, domains=["example.org", "example.net"], trace=True)
    mailbox_hooks = aio.InThreads(host, *BLOCKING_HOOKS)
    exchanger = aio.SMTPServer(mailbox_hooks, port=0, config=SMTPServerConfig(hostname="mx.example.org"))
    mailboxes = aio.POP3Server(mailbox_hooks, port=0, config=POP3ServerConfig(allow_plaintext_auth=True))

    handler = Submission(queue, postmaster=Address.parse(GRACE))
    # Passwords in clear are for this example alone: it has no certificate, and nobody else listens.
    config = SMTPServerConfig(hostname="relay.example.net", require_auth=True, allow_plaintext_auth=True)
    submission = aio.SMTPServer(aio.InThreads(handler, "on_message"), port=0, config=with_extensions(config, DSN))

    async with submission, exchanger, mailboxes:
        await submit(submission.port)
        print("In the queue:", *(path.name for path in folder.glob("queue/entries/*")))

        # On the Internet the DNS says this: the resolver is aio.DNSResolver(), and the port is 25.
        records = [MX(10, "mx.example.org")]
        resolver = StaticResolver({"example.org": records, "example.net": records}, {"mx.example.org": ["127.0.0.1"]})
        relay = Relay(
            queue,
            RelayConfig(
                hostname="relay.example.net",
                resolver=resolver,
                make_client=lambda target: aio.SMTPClient(
                    target.address, exchanger.port, tls=TLSPolicy.OPPORTUNISTIC, local_name="relay.example.net"
                ),
            ),
        )
        await relay.attempt_due()  # a real one says `await relay.run()`, and stays
        print("Left in the queue:", len(queue.names()))
        await fetch(mailboxes.port, "ada")
        await fetch(mailboxes.port, "grace")


def main() -> None:
    """Run the example in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="mailproto-") as folder:
        asyncio.run(run(Path(folder)))


if __name__ == "__main__":
    main()
