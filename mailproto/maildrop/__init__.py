"""Floor 5: maildrops, the places where a server keeps mail and a POP3 session finds it.

    Maildrop         the interface: deliver(content) -> unique-id, open() -> a snapshot for POP3
    MemoryMaildrop   in memory
    Maildir          on disk, shared with other mail programs
    MaildirRoot      a directory with a Maildir for each user

A store of your own needs the two methods of `Maildrop`, and a snapshot as `mailproto.pop3.snapshot` says;
`LockedSnapshot` is a start for it.
"""

from mailproto.maildrop.base import (
    LockedSnapshot,
    Maildrop,
    MaildropBusyError,
    MessageGoneError,
    NotRemovedError,
    canonical,
)
from mailproto.maildrop.maildir import Maildir, MaildirRoot
from mailproto.maildrop.maildir_snapshot import MaildirSnapshot
from mailproto.maildrop.memory import MemoryMaildrop, MemorySnapshot
from mailproto.maildrop.names import is_safe_name

__all__ = [
    "LockedSnapshot",
    "Maildir",
    "MaildirRoot",
    "MaildirSnapshot",
    "Maildrop",
    "MaildropBusyError",
    "MemoryMaildrop",
    "MemorySnapshot",
    "MessageGoneError",
    "NotRemovedError",
    "canonical",
    "is_safe_name",
]
