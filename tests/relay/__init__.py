"""What the tests of the relay share: mail hosts that do as they are told, and a relay with a clock that is set."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from mailproto import aio
from mailproto.address import Address
from mailproto.aio import TLSPolicy
from mailproto.errors import Reject
from mailproto.relay import Entry, Pending, Queue, Relay, RelayConfig, Target
from mailproto.smtp import DEFAULT_EXTENSIONS, Envelope, MailParameters, Rcpt, Reply, SMTPServerConfig
from mailproto.smtp.extensions import Extension
from mailproto.smtp.routing import MX, Resolver, StaticResolver
from tests.adapters.harness import PATIENCE

MESSAGE = b"From: ada@example.org\r\nSubject: hello\r\n\r\nHow are you?\r\n"
ADA = Address("ada", "example.org")
BOB, CAROL, DAN = (Address(name, "example.net") for name in ("bob", "carol", "dan"))
ERIN = Address("erin", "example.com")
START = 1_800_000_000.0
HOUR = 3600.0


class Host:
    """The handler of a mail host: says of each recipient what ``replies`` has for the local part, or takes it.

    Attributes:
        replies: what it says, to RCPT.
        verdict: what it says to each message.
        envelopes: what it has taken.
        connections: how many there were.
        secure: for each message that it took, whether it came under TLS.
    """

    def __init__(self, **replies: Reply) -> None:
        self.replies = replies
        self.verdict = Reply.build(250, "Taken")
        self.greeting = Reply.build(220, "Welcome")
        self.envelopes: list[Envelope] = []
        self.connections = 0
        self.secure: list[bool] = []

    def on_connect(self, _: Any) -> Any:
        """Greet."""
        self.connections += 1
        return self.greeting

    def on_rcpt(self, _: Any, rcpt: Rcpt) -> None:
        """Take or refuse a recipient."""
        reply = self.replies.get(rcpt.address.local_part)
        if reply is not None:
            raise Reject(reply.code, reply.text, str(reply.enhanced) if reply.enhanced else None)

    def on_message(self, session: Any, envelope: Envelope) -> Reply:
        """Take a message, or not."""
        if self.verdict.ok:
            self.envelopes.append(envelope)
            self.secure.append(session.tls is not None)
        return self.verdict

    @property
    def received(self) -> list[tuple[str, bytes]]:
        """For whom it has taken what, in the order of coming."""
        return [(",".join(map(str, each.forward_paths)), bytes(each)) for each in self.envelopes]


class World:
    """A relay, its queue, and the hosts that it knows, each at an address of the loopback of its own.

    Attributes:
        now: what the relay takes for the time.
    """

    def __init__(self, folder: Path) -> None:
        self.queue = Queue(folder / "queue")
        self.now = START
        self.ports: dict[str, int] = {}
        self.asked: list[str] = []
        self._count = 0

    def relay(self, resolver: Resolver, **more: Any) -> Relay:
        """Return a relay over the queue."""

        def make_client(target: Target) -> aio.SMTPClient:
            self.asked.append(target.host)
            port = self.ports.get(target.host, 1)  # where nobody listens
            return aio.SMTPClient(target.address, port, tls=TLSPolicy.NONE, local_name="relay.example.org")

        settings: dict[str, Any] = {"make_client": make_client, "shuffle": sorted, "clock": lambda: self.now, **more}
        return Relay(self.queue, RelayConfig(hostname="relay.example.org", resolver=resolver, **settings))

    def put(
        self,
        *recipients: Address | Pending,
        sender: Address | None = ADA,
        message: bytes = MESSAGE,
        parameters: MailParameters | None = None,
    ) -> str:
        """Lay a message into the queue, and return its name."""
        self._count += 1
        name = f"m{self._count:04}"
        pending = tuple(each if isinstance(each, Pending) else Pending(each) for each in recipients)
        self.queue.add(Entry(name, sender, pending, self.now, self.now, parameters or MailParameters()), [message])
        return name

    @contextlib.asynccontextmanager
    async def host(self, name: str, handler: object, *extensions: Extension, **config: Any) -> AsyncIterator[Any]:
        """Run a mail host under this name."""
        settings: dict[str, Any] = {"hostname": name, "extensions": (*DEFAULT_EXTENSIONS, *extensions), **config}
        async with aio.SMTPServer(handler, port=0, config=SMTPServerConfig(**settings)) as server:
            self.ports[name] = server.port
            yield server

    def entries(self) -> list[Entry]:
        """Return what is in the queue."""
        return [entry for name in self.queue.names() if (entry := self.queue.load(name)) is not None]


def run(test: Callable[[World], Awaitable[None]], world: World) -> None:
    """Run a test that is a coroutine function, not for ever."""

    async def in_time() -> None:
        async with asyncio.timeout(2 * PATIENCE):  # much of it is for the disk
            await test(world)

    asyncio.run(in_time())


def in_loop(test: Callable[[World], Awaitable[None]]) -> Callable[[World], None]:
    """Make a test of a coroutine function."""

    def wrapped(world: World) -> None:
        run(test, world)

    wrapped.__name__ = test.__name__
    wrapped.__doc__ = test.__doc__
    return wrapped


async def until(condition: Callable[[], object]) -> None:
    """Wait until this is so."""
    while not condition():
        await asyncio.sleep(0.01)


async def gathered(relay: Relay, count: int) -> None:
    """Wait until a relay has so many messages on one way, however slow its disk is."""
    lanes = relay._dispatcher._lanes._lanes
    await until(lambda: any(len(lane) == count for lane in lanes.values()))


@contextlib.asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[None]:
    """Run a relay meanwhile, and let it stop in good order."""
    task = asyncio.create_task(relay.run())
    try:
        yield
    finally:
        relay.stop()
        await task


def files(queue: Queue) -> list[str]:
    """Return what is in a queue."""
    return sorted(str(path.relative_to(queue.path)) for path in queue.path.rglob("*") if path.is_file())


class FullQueue(Queue):
    """A queue on a disk that is full, or may not be written to, as this error number has it."""

    def __init__(self, path: Path, number: int) -> None:
        super().__init__(path)
        self.full = True
        self._number = number

    def save(self, entry: Entry) -> None:
        if self.full:
            raise OSError(self._number, "nothing more")
        super().save(entry)


def content_of(queue: Queue, name: str) -> bytes:
    """Return the message of an entry."""
    with queue.open(name) as file:
        return file.read()


def table(**domains: Sequence[tuple[int, str]]) -> StaticResolver:
    """Return a resolver that knows example.net and example.com by their first names, all hosts on the loopback."""
    mx = {f"example.{name}": [MX(*record) for record in records] for name, records in domains.items()}
    hosts = {record.exchange: ["127.0.0.1"] for records in mx.values() for record in records}
    return StaticResolver(mx, hosts)


def read_notice(content: bytes) -> tuple[EmailMessage, list[Mapping[str, str]]]:
    """Return a notice and its groups of fields."""
    message = email.message_from_bytes(content, policy=email.policy.SMTP)
    status = list(message.iter_parts())[1]
    return message, [dict(group.items()) for group in status.iter_parts()]


MX_NET = {"net": [(10, "mx.example.net")]}
HOME = {"org": [(10, "mx.example.org")]}
"""Where notices to ADA go."""

NO_SUCH_USER = Reply.build(550, "No such user", "5.1.1")
LATER = Reply.build(451, "Not so fast", "4.7.1")
WORDS = {
    "busy": Reply.build(421, "Not now", "4.3.2"),
    "later": Reply.build(451, "Later", "4.7.1"),
    "many": Reply.build(452, "Too many", "4.5.3"),
    "never": Reply.build(550, "No", "5.1.1"),
    "full": Reply.build(552, "Full", "5.2.2"),
}
"""What a host may say in the tests by chance."""
