"""Floor 5: store and forward. Mail is taken into a queue on disk, and sent to where it belongs.

    RelayHandler     takes mail from known clients, for an `SMTPServer`
    Queue            keeps it on disk, whatever crashes
    Relay            sends it, tries again, gives up, and tells the sender
    RelayConfig      the relay's name, who asks the DNS, and what else it may do so or so
    Route            a host that takes mail whatever the DNS says: a smarthost, or one of a closed network
    PolicyStore      knows which domains want verified TLS for their mail, and remembers it (MTA-STS)
    Target           a host that mail is handed to, for who makes the client for it himself
    Order            what is to be done with a message at once: try it, return it to its sender, or forget it
    Schedule         when it tries again, and for how long
    Attempt, Fate    what became of a message for one recipient, which is logged, or told as the config has it

Everything is asyncio, but for the queue, which any process may fill, and give orders for (`Orders`). `Entry` and
`Pending` are for who looks into it or puts mail in without a server, and `UnreadableError` says that what is there
cannot be read. `QueueInUseError` tells a second relay that there is a first one. `PolicyFetchError` is told by what
fetches the policy of a domain.
"""

from mailproto.relay.attempt import Attempt, Fate, log_attempt
from mailproto.relay.config import RelayConfig
from mailproto.relay.entry import Entry, Pending
from mailproto.relay.handler import RelayHandler
from mailproto.relay.orders import Order, Orders
from mailproto.relay.queue import Queue, QueueInUseError, new_name
from mailproto.relay.relay import Relay
from mailproto.relay.route import Route, Target
from mailproto.relay.schedule import Schedule
from mailproto.relay.sts.fetch import PolicyFetchError
from mailproto.relay.sts.store import PolicyStore
from mailproto.relay.unreadable import UnreadableError

__all__ = [
    "Attempt",
    "Entry",
    "Fate",
    "Order",
    "Orders",
    "Pending",
    "PolicyFetchError",
    "PolicyStore",
    "Queue",
    "QueueInUseError",
    "Relay",
    "RelayConfig",
    "RelayHandler",
    "Route",
    "Schedule",
    "Target",
    "UnreadableError",
    "log_attempt",
    "new_name",
]
