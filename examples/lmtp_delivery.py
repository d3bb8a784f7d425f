"""Local delivery over LMTP: a reply for each recipient, a Return-Path on top, and each user's mail in a Maildir.

    python3 -m examples.lmtp_delivery

A mail server hands messages to such a program through a socket of its own; Postfix does with
``mailbox_transport = lmtp:unix:/path/to/socket``. Here a client plays its part.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from mailproto import Reject, sync
from mailproto.maildrop import MaildirRoot
from mailproto.smtp import Envelope, Rcpt, SMTPClientConfig, SMTPServerConfig
from mailproto.smtp.flows import SMTPSession
from mailproto.smtp.trace import with_return_path

QUOTA = 500
"""Octets that a user may have."""


class Delivery:
    """Delivers to the users who have a Maildir below ``folder``."""

    def __init__(self, folder: Path, *users: str) -> None:
        root = MaildirRoot(folder)
        self._drops = {user: root.maildir(user) for user in users}
        self._folder = folder

    def on_rcpt(self, _: SMTPSession, rcpt: Rcpt) -> None:
        """Take whom we know."""
        if rcpt.address.local_part not in self._drops:
            raise Reject(550, "No such user here", "5.1.1")

    def on_delivery(self, session: SMTPSession, envelope: Envelope, rcpt: Rcpt) -> str:
        """Deliver to one recipient. What is returned or raised here is the reply for this one alone."""
        user = rcpt.address.local_part
        kept = sum(path.stat().st_size for path in (self._folder / user).glob("new/*"))
        if kept + len(bytes(envelope)) > QUOTA:
            raise Reject(452, f"{user} is over quota", "4.2.2")
        self._drops[user].deliver(self._traced(session, envelope, rcpt))
        return f"Delivered to {user}"  # it is on disk

    def _traced(self, session: SMTPSession, envelope: Envelope, rcpt: Rcpt) -> Iterable[bytes]:
        """Return the message with its way on top: whom returned mail goes to, how it came (RFC 5321 section 4.4)."""
        received = session.received_field(datetime.now(UTC), recipient=rcpt.address)
        return with_return_path(envelope.reverse_path, chain((received,), envelope))


def main() -> None:
    """Deliver two messages, of which the second is too much for one of the users."""
    with tempfile.TemporaryDirectory(prefix="mailproto-") as name:
        folder, path = Path(name), Path(name) / "lmtp.socket"
        server = sync.SMTPServer(
            Delivery(folder, "ada", "bob"), path=path, config=SMTPServerConfig(hostname="mx.example.org", lmtp=True)
        )
        with server, sync.SMTPClient(path=path, config=SMTPClientConfig(lmtp=True)) as client:
            send(client, b"short", "ada@example.org", "bob@example.org", "eve@example.org")
            send(client, b"long " * 20, "ada@example.org")
            send(client, b"longer " * 30, "ada@example.org", "bob@example.org")
        for mail in sorted(folder.glob("*/new/*")):
            print(f"\n-- {mail.parent.parent.name} --", mail.read_text("utf-8"), sep="\n", end="")


def send(client: sync.SMTPClient, text: bytes, *recipients: str) -> None:
    """Send a message and print what became of it for each recipient."""
    message = b"Return-Path: <forged@example.net>\r\nSubject: LMTP\r\n\r\n" + text + b"\r\n"
    for recipient in client.send_message(message, "grace@example.net", recipients).recipients:
        print(f"{recipient.address}: {recipient.reply}")


if __name__ == "__main__":
    main()
