"""What clients, servers and the parts around them cannot be made of, said when they are made."""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

import mailproto
from mailproto import GrammarError, Limits, LocalProtocolError, ProxyHeader, aio, sync
from mailproto.accounts import Accounts
from mailproto.address import Address
from mailproto.ledger import SQLiteLedger
from mailproto.logindelay import LoginDelay
from mailproto.maildrop import Maildir, MaildirRoot, Mbox, MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.pop3 import POP3ClientConfig, POP3ServerConfig
from mailproto.relay import PolicyStore, Queue, Relay, RelayConfig, RelayHandler, Route
from mailproto.sasl import Credentials
from mailproto.smtp import SMTPClientConfig, SMTPServerConfig
from mailproto.smtp.messages.submission import make_submission
from mailproto.smtp.routing import RoutingError
from mailproto.testing import Outbox
from mailproto.tls import client_context, client_tls, server_context, server_tls
from mailproto.tunnels import HTTPProxy, Socks5
from tests import data

CLIENT_WAITS = ("greeting", "command", "data", "final_reply", "handshake", "quit")
CLIENT = client_context()
SERVER = server_context(data.SERVER.certificate, data.SERVER.key)


@pytest.fixture(params=[sync, aio], ids=["sync", "aio"])
def front(request: pytest.FixtureRequest) -> Any:
    return request.param


def host(**settings: Any) -> MailHost:
    return MailHost(lambda _: MemoryMaildrop(), **settings)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"port": 70_000}, GrammarError),
        ({"port": -1}, GrammarError),
        ({"port": "25"}, TypeError),
        ({"port": None}, TypeError),
        ({"host": []}, GrammarError),
        ({"host": ()}, GrammarError),
        ({"host": b"127.0.0.1"}, TypeError),
        ({"host": ["127.0.0.1", 3]}, TypeError),
        ({"host": iter(["127.0.0.1"])}, TypeError),
        ({"host": "smtp://localhost"}, GrammarError),
        ({"path": ""}, GrammarError),
        ({"sock": 3}, TypeError),
        ({"options": {"max_connections": 3}}, TypeError),
        ({"tls": CLIENT}, TypeError),
        ({"tls": ssl.create_default_context()}, TypeError),
        ({"tls": str(data.SERVER.certificate)}, TypeError),
        ({"config": {}}, TypeError),
        ({"config": SMTPClientConfig()}, TypeError),
        ({"mechanisms": ("PLAIN",)}, TypeError),
    ],
)
@pytest.mark.parametrize("kind", ["SMTPServer", "POP3Server"])
def test_a_server_is_not_made_of_it(front: Any, kind: str, wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        getattr(front, kind)(host(), **wrong)


def test_a_server_has_a_config_of_its_own_protocol(front: Any) -> None:
    with pytest.raises(TypeError, match="config has to be a SMTPServerConfig, not POP3ServerConfig"):
        front.SMTPServer(host(), config=POP3ServerConfig())
    with pytest.raises(TypeError, match="config has to be a POP3ServerConfig, not SMTPServerConfig"):
        front.POP3Server(host(), config=SMTPServerConfig())
    with pytest.raises(TypeError, match="spool_threshold"):
        front.SMTPServer(host(), spool_threshold="1 MiB")


def test_a_certificate_is_renewed_by_one_of_a_server(front: Any) -> None:
    server = front.SMTPServer(host(), tls=SERVER)
    with pytest.raises(TypeError, match="a server needs a TLS context of its side, such as server_context"):
        server.tls = CLIENT
    assert server.tls is SERVER
    server.tls = None
    assert server.tls is None


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"port": "25"}, TypeError),
        ({"port": 25.0}, TypeError),
        ({"host": b"localhost"}, TypeError),
        ({"host": "smtp://ada:secret@mail.example.org"}, GrammarError),
        ({"host": None}, TypeError),
        ({"server_hostname": 3}, TypeError),
        ({"path": ""}, GrammarError),
        ({"sock": 3}, TypeError),
        ({"context": SERVER}, TypeError),
        ({"context": "system"}, TypeError),
        ({"timeout": "5"}, TypeError),
        ({"timeout": -1}, GrammarError),
        ({"timeout": math.nan}, GrammarError),
        ({"timeout": True}, TypeError),
        ({"connect_timeout": -1.0}, GrammarError),
        ({"connect_timeout": None}, TypeError),
        ({"proxy": "socks5://ada:secret@localhost"}, TypeError),
        ({"context": ("cert.pem", "secret")}, TypeError),
        ({"config": {"password": "secret"}}, TypeError),
        ({"proxy_header": ProxyHeader()}, TypeError),
        ({"config": {}}, TypeError),
        ({"config": SMTPServerConfig()}, TypeError),
        ({"credentials": "secret"}, TypeError),
        ({"user": "ada", "password": b"secret"}, TypeError),
        ({"user": 3, "password": "secret"}, TypeError),
        ({"proxy": Socks5("a b")}, GrammarError),
        ({"proxy": HTTPProxy("http://ada:secret@proxy.example.org")}, GrammarError),
        ({"proxy": HTTPProxy("proxy.example.org", 70_000)}, GrammarError),
        ({"known_mechanisms": ("PLAIN",)}, TypeError),
        ({"allow_plaintext_auth": "no"}, TypeError),
        ({"channel_binding": "require"}, TypeError),
    ],
)
@pytest.mark.parametrize("kind", ["SMTPClient", "POP3Client"])
def test_a_client_is_not_made_of_it(front: Any, kind: str, wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        getattr(front, kind)(**wrong)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["a b", "", "x\r\nMAIL FROM:<>", "a..b"])
def test_a_client_calls_itself_what_a_host_may_be_called(front: Any, name: str) -> None:
    with pytest.raises(GrammarError):
        front.SMTPClient(local_name=name)


@pytest.mark.parametrize("proxy", [Socks5, HTTPProxy])
def test_a_proxy_is_told_a_user_and_a_password(proxy: Any) -> None:
    for login in ({"user": "ada"}, {"password": "secret"}, {"user": "ada", "password": "secret\0"}):
        with pytest.raises(GrammarError) as caught:
            proxy("proxy.example.org", **login)
        assert "secret" not in str(caught.value)


def test_a_client_has_a_config_of_its_own_protocol(front: Any) -> None:
    with pytest.raises(TypeError):
        front.SMTPClient(config=POP3ClientConfig())
    with pytest.raises(TypeError):
        front.POP3Client(config=SMTPClientConfig())
    with pytest.raises(TypeError, match="options has to be a PoolOptions, "):
        front.SMTPPool(front.SMTPClient, {"max_connections": 3})


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"port": 1 << 16}, GrammarError),
        ({"port": "53"}, TypeError),
        ({"timeout": -1}, GrammarError),
        ({"timeout": "5"}, TypeError),
        ({"attempts": 0}, GrammarError),
        ({"attempts": 1.5}, TypeError),
    ],
)
def test_a_resolver_is_not_made_of_it(front: Any, wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        front.DNSResolver(["127.0.0.1"], **wrong)


def test_tls_has_two_sides() -> None:
    with pytest.raises(TypeError, match="a client needs a TLS context of its side, such as client_context"):
        client_tls(SERVER, "localhost")
    with pytest.raises(TypeError, match="a server needs"):
        server_tls(CLIENT)
    with pytest.raises(TypeError, match="a server needs"):
        server_context(data.SERVER.certificate, data.SERVER.key, by_name={"mail.example.org": CLIENT})


def test_a_context_may_be_of_a_class_that_takes_the_place_of_the_usual_one(
    front: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As truststore has one, whether those that are used were made before or behind that."""

    class Replaced(ssl.SSLContext):
        pass

    monkeypatch.setattr(ssl, "SSLContext", Replaced)
    for context in (CLIENT, Replaced(ssl.PROTOCOL_TLS_CLIENT)):
        assert front.SMTPClient("localhost", context=context)
    assert front.SMTPServer(host(), tls=SERVER).tls is SERVER


def test_hooks_in_threads_are_those_of_an_object() -> None:
    with pytest.raises(LocalProtocolError, match="not a class"):
        aio.InThreads(Outbox, "on_message")


@pytest.mark.parametrize("make", [Maildir, MaildirRoot, Mbox, Queue, lambda path: SQLiteLedger(path, "ada")])
def test_no_path_is_no_place(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is not set would have them use whatever folder the program runs in, or forget it all."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GrammarError, match="the path is empty"):
        make("")
    assert list(tmp_path.iterdir()) == []


def test_no_path_is_no_place_for_policies_and_routes(tmp_path: Path) -> None:
    resolver = aio.DNSResolver(["127.0.0.1"])
    with pytest.raises(GrammarError):
        PolicyStore("", resolver)
    with pytest.raises(GrammarError):
        PolicyStore(tmp_path, resolver, max_policies=0)
    with pytest.raises(GrammarError):
        Route(path="", lmtp=True)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"domains": "example.org"}, GrammarError),
        ({"domains": "localhost"}, GrammarError),
        ({"domains": iter(["localhost"])}, TypeError),
        ({"users": [("ada", "secret")]}, TypeError),
        ({"users": {"ada": b"secret"}}, TypeError),
        ({"users": {"ada": None}}, TypeError),
        ({"login_delay": -1}, GrammarError),
        ({"login_delay": "10"}, TypeError),
    ],
)
def test_a_mail_host_is_not_made_of_it(wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        host(**wrong)
    assert "secret" not in str(caught.value)
    assert error is TypeError or "domains" not in wrong or "is no collection, but one" in str(caught.value)


def test_parts_are_not_made_of_it(tmp_path: Path) -> None:
    accounts: Any = Accounts
    with pytest.raises(TypeError):
        accounts([("ada", "secret"), ("ada", "other")])
    with pytest.raises(GrammarError):
        LoginDelay(math.nan)
    with pytest.raises(GrammarError):
        Mbox(tmp_path / "mbox", lock_timeout=-1.0)
    handler: Any = RelayHandler
    with pytest.raises(TypeError, match=r"Address\.parse"):
        handler(Queue(tmp_path), postmaster="postmaster@example.org")
    with pytest.raises(TypeError, match="trusted"):
        handler(Queue(tmp_path), postmaster=Address.parse("postmaster@example.org"), trusted=iter(["127.0.0.1"]))
    assert handler(Queue(tmp_path), postmaster=Address.parse("postmaster@example.org"))
    relay: Any = Relay
    config = RelayConfig(hostname="relay.example.org", smarthost=Route("localhost"))
    with pytest.raises(TypeError):
        relay(str(tmp_path), config)
    with pytest.raises(TypeError):
        relay(Queue(tmp_path), {})
    submission: Any = make_submission
    for wrong in ("progress", "parameters"):
        with pytest.raises(TypeError, match=wrong):
            submission(b"", "a@example.org", "b@example.org", **{wrong: {"size": 3}})
    transcript: Any = mailproto.Transcript
    with pytest.raises(TypeError):
        transcript(3)
    resolver: Any = sync.DNSResolver
    with pytest.raises(ValueError, match="IP addresses"):
        resolver([1])
    refusal: Any = mailproto.Reject
    with pytest.raises(TypeError):
        refusal(True)


def test_the_family_of_a_proxy_header_has_a_public_name() -> None:
    header = ProxyHeader(mailproto.ProxyFamily.UNIX, "/run/client", "/run/server")
    assert header.family is mailproto.ProxyFamily.UNIX
    assert "ProxyFamily" in mailproto.__all__


# The name of a server.


@pytest.fixture
def unnamed(front: Any) -> Any:
    """Have a server started and closed, on either side."""

    def start(**settings: Any) -> None:
        server = front.SMTPServer(Outbox(), port=0, **settings)
        if front is sync:
            with server:
                return
        asyncio.run(_open_and_close(server))

    return start


async def _open_and_close(server: Any) -> None:
    async with server:
        pass


NAMELESS = "clients are told that this is localhost: the config wants a hostname"


@pytest.mark.parametrize(
    ("settings", "logged"),
    [
        ({"host": "0.0.0.0"}, [NAMELESS]),
        ({"host": None}, [NAMELESS]),
        ({"host": None, "config": SMTPServerConfig(hostname="mx.example.org")}, []),
        ({"host": "127.0.0.1"}, []),
        ({"host": "localhost"}, []),
    ],
)
def test_a_server_for_others_that_has_no_name_says_so(
    unnamed: Any, settings: dict[str, Any], logged: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    unnamed(**settings)
    assert caplog.messages == logged


def test_a_server_on_a_unix_socket_is_not_for_others(
    unnamed: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unnamed(path=tmp_path / "socket")
    assert caplog.messages == []


def test_a_socket_that_is_handed_in_may_be_for_others(unnamed: Any, caplog: pytest.LogCaptureFixture) -> None:
    sock = socket.socket()
    sock.bind(("0.0.0.0", 0))
    unnamed(sock=sock)
    assert caplog.messages == [NAMELESS]


def test_credentials_are_text() -> None:
    wrong: Any = b"secret"
    with pytest.raises(TypeError, match=r"^credentials are text$"):
        Credentials("ada", wrong)


@pytest.mark.parametrize("long", [math.inf, 1e12])
@pytest.mark.parametrize("lookup", ["localhost", "127.0.0.1"])
def test_a_wait_may_be_as_long_as_one_likes(front: Any, long: float, lookup: str) -> None:
    """However little the system can wait at a time."""
    waits: dict[str, Any] = dict.fromkeys((f"{name}_timeout" for name in CLIENT_WAITS), long)
    limits = Limits(login_timeout=long, session_timeout=long, proxy_timeout=long, **waits)
    options = front.ServerOptions(grace=long)
    server = front.SMTPServer(Outbox(), port=0, config=SMTPServerConfig(limits=limits), options=options)
    where: dict[str, Any] = {"host": lookup, "connect_timeout": long, "config": SMTPClientConfig(limits=limits)}
    if front is aio:
        assert asyncio.run(_noop(server, where)) == 250
    else:
        with server, sync.SMTPClient(port=server.port, **where) as client:
            assert client.noop().code == 250


def test_who_is_still_there_when_a_server_closes_may_have_as_long_as_one_likes() -> None:
    with sync.SMTPServer(Outbox(), port=0) as server, socket.create_connection(("127.0.0.1", server.port)) as sock:
        assert sock.recv(4) == b"220 "
        leaving = threading.Timer(0.1, sock.close)
        leaving.start()
        server.close(math.inf)
        assert server.connections == 0
        leaving.join()


@pytest.mark.parametrize("long", [math.inf, 1e12])
def test_a_name_server_may_be_waited_for_as_long_as_one_likes(long: float) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.connect(deaf.getsockname())  # and hears nobody else
        resolver = sync.DNSResolver(["127.0.0.1"], port=deaf.getsockname()[1], timeout=long, attempts=1)
        with pytest.raises(RoutingError):  # at once
            resolver.addresses("mx.example.org")


async def _noop(server: Any, where: dict[str, Any]) -> int:
    async with server, aio.SMTPClient(port=server.port, **where) as client:
        return (await client.noop()).code
