"""Floor 5: store and forward. Mail is taken into a queue on disk, and sent to where it belongs.

    RelayHandler     takes mail from known clients, for an `SMTPServer`
    Queue            keeps it on disk, whatever crashes
    Relay            sends it, tries again, gives up, and tells the sender
    RelayConfig      the relay's name, who asks the DNS, and what else it may do so or so
    Schedule         when it tries again, and for how long

Everything is asyncio, but for the queue, which any process may fill. `Entry` and `Pending` are for who looks into it
or puts mail in without a server, and `UnreadableError` says that what is there cannot be read.
"""

from mailproto.relay.config import RelayConfig
from mailproto.relay.entry import Entry, Pending
from mailproto.relay.handler import RelayHandler
from mailproto.relay.queue import Queue, new_name
from mailproto.relay.relay import Relay
from mailproto.relay.schedule import Schedule
from mailproto.relay.unreadable import UnreadableError

__all__ = [
    "Entry",
    "Pending",
    "Queue",
    "Relay",
    "RelayConfig",
    "RelayHandler",
    "Schedule",
    "UnreadableError",
    "new_name",
]
