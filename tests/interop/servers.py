"""Our own servers as the real programs meet them: over either adapter, and every message that came is kept."""

import asyncio
import contextlib
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

from mailproto import aio, sync
from mailproto._core.events import TLSInfo
from mailproto._core.limits import Limits
from mailproto.errors import Reject
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.pop3.config import POP3ServerConfig
from mailproto.smtp.config import SMTPServerConfig
from mailproto.smtp.events import Data, Envelope
from mailproto.smtp.reply import Reply
from tests import data
from tests.interop.clients import TLSMode
from tests.interop.dovecot import PASSWORD
from tests.interop.ours import Adapter
from tests.interop.postfix import RELAY_USER

ADA, GRACE, NOBODY = "ada", "grace", "nobody"
"""Local parts: two that our host has, and one that it has not."""

FULL = "full"
"""The user whose mailbox is full: accepted as a recipient, and then the message is not."""

UTF8_USER = "ünal"

ARRIVAL_SECONDS = 60.0

# Guessing passwords need not be slow here.
LIMITS = Limits(auth_failure_delay=0.01)


@dataclass(frozen=True)
class Arrival:
    """A message that came, and how."""

    content: bytes
    envelope: Envelope
    chunked: bool
    hello: str
    peer: str
    tls: TLSInfo | None
    user: str | None

    @property
    def recipients(self) -> list[str]:
        """The local parts of those it was for."""
        return [address.local_part for address in self.envelope.forward_paths]


class Host(MailHost):
    """A mail host with a few users, in memory, that remembers what came."""

    def __init__(self) -> None:
        users = (ADA, GRACE, FULL, UTF8_USER, RELAY_USER)
        self._memory = {user: MemoryMaildrop() for user in users}
        super().__init__(self._memory.__getitem__, dict.fromkeys(users, PASSWORD))
        self._arrivals: list[Arrival] = []
        self._more = threading.Condition()

    def on_data(self, session: Any, event: Data) -> None:
        """Remember whether the message comes with DATA or BDAT."""
        session.state["chunked"] = event.chunked

    def on_message(self, session: Any, envelope: Envelope) -> None:
        """Take the message, except for FULL: in LMTP, and with PRDR, the others get it nevertheless."""
        verdicts = [self._verdict(address.local_part) for address in envelope.forward_paths]
        if session.conn.answers_each:
            session.conn.reply_each(verdicts)
            envelope.recipients = [
                recipient for recipient, verdict in zip(envelope.recipients, verdicts, strict=True) if verdict.ok
            ]
        elif not all(verdict.ok for verdict in verdicts):
            raise Reject(552, "Mailbox full", "5.2.2")
        super().on_message(session, envelope)
        identity = session.identity
        arrival = Arrival(
            content=bytes(envelope),
            envelope=envelope,
            chunked=session.state["chunked"],
            hello=session.hello,
            peer=session.peer,
            tls=session.tls,
            user=identity.name if identity is not None else None,
        )
        with self._more:
            self._arrivals.append(arrival)
            self._more.notify_all()

    def _verdict(self, user: str) -> Reply:
        if user == FULL:
            return Reply.build(552, "Mailbox full", "5.2.2")
        return Reply.build(250, "Taken", "2.0.0")

    def wait(self, count: int = 1) -> list[Arrival]:
        """Wait until so many messages have come, and return them. TimeoutError after ARRIVAL_SECONDS."""
        with self._more:
            if not self._more.wait_for(lambda: len(self._arrivals) >= count, ARRIVAL_SECONDS):
                raise TimeoutError(f"{len(self._arrivals)} of {count} messages have come")
            return list(self._arrivals)

    def put(self, user: str, *messages: bytes) -> None:
        """Lay messages into a user's maildrop."""
        for message in messages:
            self._memory[user].deliver([message])

    def contents(self, user: str) -> list[bytes]:
        """Return what is in a user's maildrop, once the session that has it open is over."""
        give_up = time.monotonic() + ARRIVAL_SECONDS
        while True:
            with contextlib.suppress(Reject):
                snapshot = self._memory[user].open()
                break
            if time.monotonic() > give_up:
                raise TimeoutError(f"the maildrop of {user} is not released")
            time.sleep(0.005)
        with contextlib.closing(snapshot):
            return [b"".join(snapshot.retrieve(number)) for number in range(1, len(snapshot.messages) + 1)]


def server_context(pair: data.KeyPair = data.SERVER) -> ssl.SSLContext:
    """Return the TLS context of a server with this certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*pair)
    return context


@contextlib.contextmanager
def smtp_server(
    adapter: Adapter,
    handler: object,
    tls: TLSMode = "none",
    config: SMTPServerConfig | None = None,
    *,
    pair: data.KeyPair = data.SERVER,
    **where: Any,
) -> Iterator[int]:
    """Run an SMTP server of ours, and yield its port."""
    module: Any = {"sync": sync, "aio": aio}[adapter]
    config = config or SMTPServerConfig(
        hostname="ours.example.test", limits=LIMITS, allow_plaintext_auth=tls == "none"
    )
    with running(
        lambda: module.SMTPServer(handler, config=config, **_tls(tls, pair), **{"port": 0, **where})
    ) as port:
        yield port


@contextlib.contextmanager
def pop3_server(
    adapter: Adapter,
    handler: object,
    tls: TLSMode = "none",
    config: POP3ServerConfig | None = None,
    *,
    pair: data.KeyPair = data.SERVER,
    **where: Any,
) -> Iterator[int]:
    """Run a POP3 server of ours, and yield its port."""
    module: Any = {"sync": sync, "aio": aio}[adapter]
    config = config or POP3ServerConfig(limits=LIMITS, allow_plaintext_auth=tls == "none")
    with running(
        lambda: module.POP3Server(handler, config=config, **_tls(tls, pair), **{"port": 0, **where})
    ) as port:
        yield port


def _tls(tls: TLSMode, pair: data.KeyPair) -> dict[str, Any]:
    if tls == "none":
        return {}
    return {"tls": server_context(pair), "implicit_tls": tls == "implicit"}


@contextlib.contextmanager
def running(make: Callable[[], Any]) -> Iterator[int]:
    """Run the server that ``make`` makes, one over asyncio with its loop in a thread, and yield its port."""
    server = make()
    if isinstance(server, sync.Listener):
        with server:
            yield server.port
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(ARRIVAL_SECONDS)

    try:
        run(server.start())
        yield server.port
    finally:
        run(server.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
