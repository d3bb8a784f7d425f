"""A test kit for applications: mail goes through both state machines, and no further.

    outbox = Outbox()
    with MemoryClient(outbox) as client:
        invite(client, "ada@example.org")         # whatever takes a `mailproto.sync.SMTPClient`
    assert outbox.letters[0].recipients == ["ada@example.org"]

There is no network, no thread and no clock: nothing takes longer than it takes to compute. In the place of the
`Outbox` may stand the handler of a server of your own, to be told what a client would tell it. A `MailHost` is one
for both protocols, so that what was sent can be fetched::

    host = MailHost(lambda user: MemoryMaildrop(), {"ada": "secret"})
    with MemoryClient(host) as client:
        client.send_message(message, "bob@example.org", "ada@example.org")
    with MemoryPOP3Client(host, user="ada", password="secret") as pop:
        read(pop)                                 # whatever takes a `mailproto.sync.POP3Client`

`AsyncMemoryClient` and `AsyncMemoryPOP3Client` are the same for what takes the clients of `mailproto.aio`.

What an application does in trouble shows when a hook makes some. Raising `mailproto.Reject` is every kind of refusal,
421 among them; ``session.drop()`` hangs up without a word; and `NoAnswer` has the client's time run out, at once::

    class Breaking(Outbox):
        def on_message(self, session, envelope):
            session.drop()                        # was it taken, or not? the result says *unknown*

An application that connects by host and port gets a real server, on a port that is free: ``with
mailproto.sync.SMTPServer(Outbox(), port=0) as server``, and then ``server.port``.
"""

from mailproto.testing.clients import AsyncMemoryClient, AsyncMemoryPOP3Client, MemoryClient, MemoryPOP3Client
from mailproto.testing.line import NoAnswer
from mailproto.testing.outbox import Letter, Outbox

__all__ = [
    "AsyncMemoryClient",
    "AsyncMemoryPOP3Client",
    "Letter",
    "MemoryClient",
    "MemoryPOP3Client",
    "NoAnswer",
    "Outbox",
]
