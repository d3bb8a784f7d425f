"""Floor 5: maildrops, the places where a server keeps mail and a POP3 session finds it.

    Maildrop         the interface: deliver(content) -> unique-id, open() -> a snapshot for POP3
    MemoryMaildrop   in memory
    Maildir          on disk, shared with other mail programs
    MaildirRoot      a directory with a Maildir for each user
    Mbox             all messages in one file, shared with other mail programs
    ReadOnly         any of them, as long as nothing about it is to change

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
from mailproto.maildrop.mbox import Mbox, mbox_entry
from mailproto.maildrop.mbox_format import MboxFormatError
from mailproto.maildrop.mbox_snapshot import MboxSnapshot
from mailproto.maildrop.memory import MemoryMaildrop, MemorySnapshot
from mailproto.maildrop.names import is_safe_name
from mailproto.maildrop.readonly import OpensReadOnly, ReadOnly, ReadOnlyError, ReadOnlySnapshot

__all__ = [
    "LockedSnapshot",
    "Maildir",
    "MaildirRoot",
    "MaildirSnapshot",
    "Maildrop",
    "MaildropBusyError",
    "Mbox",
    "MboxFormatError",
    "MboxSnapshot",
    "MemoryMaildrop",
    "MemorySnapshot",
    "MessageGoneError",
    "NotRemovedError",
    "OpensReadOnly",
    "ReadOnly",
    "ReadOnlyError",
    "ReadOnlySnapshot",
    "canonical",
    "is_safe_name",
    "mbox_entry",
]
