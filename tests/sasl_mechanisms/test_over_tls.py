"""Real TLS, real sockets, both adapters: channel binding, certificates of clients, and a loop that goes on."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mailproto import aio, sync
from mailproto._core.limits import Limits
from mailproto.errors import AuthenticationError, LocalProtocolError
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.pop3.config import POP3ServerConfig
from mailproto.sasl import (
    ChannelBinding,
    Credentials,
    ExternalCheck,
    Identity,
    Question,
    end_point_binding,
    server_mechanisms,
)
from mailproto.smtp.config import SMTPServerConfig
from mailproto.tls import ServerContext, client_context, server_context
from tests.data import CA, SELF_SIGNED, SERVER
from tests.sasl_mechanisms.talk import ADA

HERE = Path(__file__).parent / "tls"
NAMES = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "EXTERNAL", "PLAIN", "CRAM-MD5")
LIMITS = Limits(auth_failure_delay=0)
TLS_1_2, TLS_1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


class Host(MailHost):
    """Knows ada, and her certificate, and remembers who came."""

    def __init__(self) -> None:
        super().__init__(lambda _: MemoryMaildrop(), {"ada": ADA.password})
        self.came: list[Identity | None] = []

    def on_auth(self, session: Any, check: Question) -> Any:
        if isinstance(check, ExternalCheck):
            return "ada" if ("email", "ada@example.test") in check.names else None
        return super().on_auth(session, check)

    def on_close(self, session: Any) -> None:
        self.came.append(session.identity)


@contextmanager
def serving(name: str, host: Host, context: ssl.SSLContext, **settings: Any) -> Iterator[Any]:
    """Run a server of either protocol over blocking sockets."""
    config: Any
    if name == "smtp":
        config = SMTPServerConfig(auth_mechanisms=NAMES, limits=LIMITS)
        server: Any = sync.SMTPServer(host, port=0, config=config, tls=context, **settings)
    else:
        config = POP3ServerConfig(auth_mechanisms=NAMES, limits=LIMITS)
        server = sync.POP3Server(host, port=0, config=config, tls=context, **settings)
    with server:
        yield server


def trusting(version: ssl.TLSVersion | None = None, *, certified: bool = False) -> ssl.SSLContext:
    context = client_context(CA)
    if version is not None:
        context.maximum_version = version
    if certified:
        context.load_cert_chain(HERE / "client.pem", HERE / "client.key")
    return context


def log_in(name: str, port: int, context: ssl.SSLContext, **options: Any) -> None:
    """Log in over asyncio, and leave."""

    async def run() -> None:
        client = aio.SMTPClient if name == "smtp" else aio.POP3Client
        options.setdefault("credentials", ADA)
        async with client("localhost", port, tls=aio.TLSPolicy.REQUIRED, context=context, **options):
            pass

    asyncio.run(run())


def mechanism_of(name: str, context: ssl.SSLContext, server: ssl.SSLContext | None = None, **options: Any) -> str:
    """Log in, and return the mechanism that was used."""
    host = Host()
    with serving(name, host, server or server_context(*SERVER)) as running:
        log_in(name, running.port, context, **options)
    (identity,) = host.came
    assert identity is not None and identity.name == "ada"
    return identity.mechanism


both = pytest.mark.parametrize("name", ["smtp", "pop3"])


@both
def test_tls_1_2_is_bound_by_default(name: str) -> None:
    assert mechanism_of(name, trusting(TLS_1_2)) == "SCRAM-SHA-256-PLUS"
    assert mechanism_of(name, trusting(TLS_1_2), channel_binding=ChannelBinding.OFF) == "SCRAM-SHA-256"


@both
def test_tls_1_3_is_bound_to_the_certificate_where_that_is_required(name: str) -> None:
    assert mechanism_of(name, trusting(TLS_1_3)) == "SCRAM-SHA-256"
    assert mechanism_of(name, trusting(), channel_binding=ChannelBinding.REQUIRE) == "SCRAM-SHA-256-PLUS"
    assert mechanism_of(name, trusting(), mechanisms=["SCRAM-SHA-256-PLUS"]) == "SCRAM-SHA-256-PLUS"


@both
def test_a_server_that_does_not_know_its_certificate_cannot_bind_on_tls_1_3(name: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*SERVER)
    assert mechanism_of(name, trusting(), context) == "SCRAM-SHA-256"
    with pytest.raises(AuthenticationError):
        mechanism_of(name, trusting(), context, channel_binding=ChannelBinding.REQUIRE)


@both
def test_a_certificate_of_the_clients(name: str) -> None:
    def context() -> ssl.SSLContext:
        return server_context(*SERVER, client_ca=HERE / "client.pem")

    certified = trusting(certified=True)
    assert mechanism_of(name, certified, context(), credentials=Credentials()) == "EXTERNAL"
    assert mechanism_of(name, certified, context()) == "SCRAM-SHA-256"  # with a password, that is used
    with pytest.raises(AuthenticationError, match="no mechanism"):
        mechanism_of(name, trusting(), context(), credentials=Credentials())
    with pytest.raises(AuthenticationError, match="no mechanism"):  # shown, but nobody looks
        mechanism_of(name, certified, credentials=Credentials())


@both
def test_the_host_answers_for_what_it_offers(name: str) -> None:
    for mechanism in ("PLAIN", "CRAM-MD5", "SCRAM-SHA-256"):
        assert mechanism_of(name, trusting(), mechanisms=[mechanism]) == mechanism
        for wrong in (Credentials("ada", "wrong"), Credentials("eve", ADA.password)):
            with pytest.raises(AuthenticationError):
                mechanism_of(name, trusting(), mechanisms=[mechanism], credentials=wrong)


@both
def test_without_a_word_a_host_with_users_offers_scram(name: str) -> None:
    server = sync.SMTPServer if name == "smtp" else sync.POP3Server
    for host, expected in (
        (Host(), "SCRAM-SHA-256 PLAIN LOGIN"),
        (MailHost(lambda _: MemoryMaildrop()), "PLAIN LOGIN"),
    ):
        with server(host, port=0, tls=server_context(*SERVER)) as running:
            client: Any = sync.SMTPClient if name == "smtp" else sync.POP3Client
            with client("localhost", running.port, tls=sync.TLSPolicy.REQUIRED, context=trusting()) as caller:
                offered = caller.conn.auth_mechanisms if name == "smtp" else caller.conn.capabilities.auth_mechanisms
                assert " ".join(offered) == expected


@pytest.mark.parametrize("facade", ["aio", "sync"])
@both
def test_credentials_come_late_and_from_anywhere(name: str, facade: str) -> None:
    host = Host()
    asked: list[int] = []

    def ask() -> Credentials:
        asked.append(threading.get_ident())
        return ADA

    async def ask_later() -> Credentials:
        await asyncio.sleep(0)
        return ask()

    async def go(port: int) -> None:
        client: Any = aio.SMTPClient if name == "smtp" else aio.POP3Client
        async with client("localhost", port, tls=aio.TLSPolicy.REQUIRED, context=trusting()) as caller:
            with pytest.raises(LocalProtocolError):
                await caller.log_in()
            await caller.log_in(credentials=ask_later)
        async with client(
            "localhost", port, tls=aio.TLSPolicy.REQUIRED, context=trusting(), credentials=ask_later
        ) as caller:
            pass

    with serving(name, host, server_context(*SERVER)) as running:
        if facade == "aio":
            asyncio.run(go(running.port))
        else:
            client: Any = sync.SMTPClient if name == "smtp" else sync.POP3Client
            options = {"tls": sync.TLSPolicy.REQUIRED, "context": trusting()}
            with client("localhost", running.port, **options) as caller:
                caller.log_in(credentials=ask)
            with client("localhost", running.port, credentials=ask, **options):
                pass
            with pytest.raises(LocalProtocolError, match="not both"):
                client("localhost", running.port, user="ada", password="x", credentials=ask)
    assert asked == [threading.get_ident()] * 2
    assert [identity.name for identity in host.came if identity] == ["ada", "ada"]


def test_the_loop_goes_on_while_a_key_is_derived() -> None:
    """S37: 600,000 iterations are most of a second, on each side."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    async def run() -> None:
        config = SMTPServerConfig(auth_mechanisms=("SCRAM-SHA-512",), limits=LIMITS)
        slow = server_mechanisms(iterations=600_000)
        context = server_context(*SERVER)
        async with aio.SMTPServer(Host(), port=0, config=config, tls=context, mechanisms=slow) as server:
            options: dict[str, Any] = {"tls": aio.TLSPolicy.REQUIRED, "context": trusting()}
            async with aio.SMTPClient("localhost", server.port, **options) as client:
                ticking = asyncio.create_task(tick())
                await client.log_in("ada", ADA.password)
                ticking.cancel()

    asyncio.run(run())
    assert ticks > 50


# The context.


def test_a_context_knows_its_certificate() -> None:
    context = server_context(*SERVER)
    assert context.end_point == end_point_binding(ssl.PEM_cert_to_DER_cert(SERVER.certificate.read_text()))
    assert context.minimum_version is TLS_1_2
    assert context.verify_mode is ssl.CERT_NONE


def test_a_context_with_two_certificates_does_not_know_which_one_is_shown() -> None:
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    assert context.end_point is None
    context.load_cert_chain(str(SERVER.certificate), str(SERVER.key))
    assert context.end_point is not None
    context.load_cert_chain(str(SELF_SIGNED.certificate).encode(), str(SELF_SIGNED.key).encode())
    assert context.end_point is None
