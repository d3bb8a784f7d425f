"""A process that fetches new mail until somebody kills it: ``python -m tests.keep.fetching PORT MAILDIR LEDGER``."""

from __future__ import annotations

import sys

from mailproto import sync
from mailproto.ledger import MaildirStore, SQLiteLedger
from mailproto.maildrop import Maildir


def main(port: str, maildir: str, ledger: str) -> None:
    """Fetch all that is new."""
    account = "ada@here"
    none = sync.TLSPolicy.NONE
    client = sync.POP3Client("127.0.0.1", int(port), tls=none, user="ada", password="pw", allow_plaintext_auth=True)
    with SQLiteLedger(ledger, account) as notes, client as pop:
        pop.fetch_new(notes, MaildirStore(Maildir(maildir), account))


if __name__ == "__main__":
    main(*sys.argv[1:])
