"""The common jobs in examples/README.md do what they say, word for word, but that the hosts they name are here."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mailproto import Address, AuthenticationError, Limits, Reject, aio, relay, sync
from mailproto.dns import MailServer
from mailproto.maildrop import Maildir, MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.pop3 import POP3ServerConfig
from mailproto.relay import Fate, Route
from mailproto.sasl import make_scram_key
from mailproto.smtp import Envelope, Outcome, Rcpt, Reply, SendResult, SMTPServerConfig
from mailproto.smtp.notices import Action, Report, make_notice
from mailproto.smtp.sts import parse_policy
from mailproto.testing import MemoryClient
from tests import data
from tests.dns import wire
from tests.dns.server import serving as name_server
from tests.relay.policy_hosts import POLICY, RECORD, serving_once

PAGE = (Path(__file__).parent.parent / "examples" / "README.md").read_text("utf-8")
SECTIONS = {title: text for title, _, text in (part.partition("\n") for part in PAGE.split("\n## "))}
JOBS = re.findall(r"^```python\n(.*?)^```$", SECTIONS["Common jobs"], re.DOTALL | re.MULTILINE)
CONTENT = b"Subject: x\r\n\r\ntext\r\n"
SERVER_TLS = aio.server_context(data.SERVER.certificate, data.SERVER.key)
TRUST: dict[str, Any] = {"cafile": data.CA}


def do_job(beginning: str, **names: Any) -> dict[str, Any]:
    """Do the one job whose code has this in it, and return what it has named."""
    (code,) = (job for job in JOBS if beginning in job)
    exec(compile(code, "examples/README.md", "exec", optimize=0), names)  # asserts are part of some jobs
    return names


class Provider:
    """A submission server that wants a token, and has no room for eve."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.taken: list[bytes] = []

    def on_auth(self, session: Any, check: Any) -> bool:
        self.tokens.append(check.token)
        return True

    def on_rcpt(self, session: Any, rcpt: Rcpt) -> None:
        if rcpt.address.local_part == "eve":
            raise Reject(452, "Mailbox full", "4.2.2")

    def on_message(self, session: Any, envelope: Envelope) -> None:
        self.taken.append(bytes(envelope))


@contextmanager
def running(*servers: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(server)
            threading.Thread(target=server.serve_forever, daemon=True).start()
        yield


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_there_is_a_test_for_each_job() -> None:
    assert len(JOBS) == 16


def test_an_attachment_and_a_token(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("report.pdf").write_bytes(b"%PDF")
    provider, real = Provider(), sync.SMTPClient
    config = SMTPServerConfig(auth_mechanisms=("OAUTHBEARER", "XOAUTH2"), require_auth=True)
    server = sync.SMTPServer(provider, port=0, config=config, tls=SERVER_TLS)
    with running(server):
        monkeypatch.setattr(
            sync,
            "SMTPClient",
            lambda host, **more: real("localhost", server.port, tls=sync.TLSPolicy.REQUIRED, **TRUST, **more),
        )
        result: SendResult = do_job("add_attachment", fresh_token=lambda: "fresh")["result"]
    assert provider.tokens == ["fresh"]
    assert b'filename="report.pdf"' in provider.taken[0]
    assert [each.outcome for each in result.recipients] == [Outcome.ACCEPTED, Outcome.DEFERRED]
    assert do_job("try_again", result=result)["try_again"] == [result.recipients[1].address]
    assert capsys.readouterr().out.endswith("eve@example.net deferred 452 4.2.2 Mailbox full\n")


class Moody:
    """Has room for eve at the second time, and wants a password."""

    def __init__(self) -> None:
        self.taken: list[list[str]] = []

    def on_auth(self, session: Any, check: Any) -> bool:
        return bool(check.matches("secret"))

    def on_rcpt(self, session: Any, rcpt: Rcpt) -> None:
        if rcpt.address.local_part == "eve" and not self.taken:
            raise Reject(452, "Mailbox full", "4.2.2")

    def on_message(self, session: Any, envelope: Envelope) -> None:
        self.taken.append([str(path) for path in envelope.forward_paths])


def test_try_again_and_never_twice() -> None:
    handler, pauses, passwords = Moody(), list[float](), ["secret"] * 3
    server = sync.SMTPServer(handler, port=0, config=SMTPServerConfig(allow_plaintext_auth=True, require_auth=True))
    message = EmailMessage()
    message["From"], message["To"] = "ada@example.org", "bob@example.net, eve@example.net"
    with running(server):
        ports = [1, server.port, server.port]

        def make_client() -> sync.SMTPClient:
            login: dict[str, Any] = {"user": "ada", "password": passwords.pop(), "allow_plaintext_auth": True}
            return sync.SMTPClient("127.0.0.1", ports.pop(0), tls=sync.TLSPolicy.NONE, **login)

        names = do_job("send_patiently")
        names["time"] = SimpleNamespace(sleep=pauses.append)
        send = names["send_patiently"]
        with sync.SMTPPool(make_client, sync.PoolOptions(max_messages=1)) as pool:
            assert send(pool, message).ok
            assert handler.taken == [["bob@example.net"], ["eve@example.net"]]
            assert pauses == [60, 600]
            passwords, ports = ["wrong"], [server.port]
            with pytest.raises(AuthenticationError):
                send(pool, message)
            ports, passwords = [1] * 4, ["secret"] * 4
            with pytest.raises(TimeoutError, match="given up"):
                send(pool, message)
    assert len(handler.taken) == 2


def test_a_web_application(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    handler = Moody()
    server = sync.SMTPServer(handler, port=0, config=SMTPServerConfig(require_auth=True), tls=SERVER_TLS)
    message = EmailMessage()
    message["From"], message["To"] = "web@example.org", "Björn <bob@example.net>, eve@example.net"
    app = SimpleNamespace(state=SimpleNamespace())

    async def serve(lifespan: Any) -> SendResult:
        async with lifespan(app):
            result: SendResult = await app.state.mail.send_message(message)
        return result

    with running(server):
        for front in (sync, aio):
            make = functools.partial(front.SMTPClient, "localhost", server.port, **TRUST)
            monkeypatch.setattr(front, "SMTPClient", lambda host, make=make, **account: make(**account))
        names = do_job("lifespan", secret="secret", log=logging.getLogger("web"))
        assert not names["send"](message)
        assert caplog.messages == ["eve@example.net: deferred (452 4.2.2 Mailbox full)"]
        assert names["send"](message)
        assert asyncio.run(serve(names["lifespan"])).ok
        names["account"]["password"] = "wrong"
        names["pool"].close()
        assert not names["send"](message)
        assert "535 5.7.8" in caplog.messages[-1]
    assert [len(taken) for taken in handler.taken] == [1, 2, 2]


class Mailboxes:
    """Has some users, and takes mail for one more whom it does not have."""

    def on_rcpt(self, session: Any, rcpt: Rcpt) -> None:
        if rcpt.address.local_part == "nobody":
            raise Reject(550, "No such user here", "5.1.1")

    def on_message(self, session: Any, envelope: Envelope) -> None:
        """Take it, at first."""


def test_a_newsletter() -> None:
    subscribers = {1: "ada@example.net", 2: "nobody@example.net", 3: "gone@example.net", 4: "no address"}
    server, bounced = sync.SMTPServer(Mailboxes(), port=0), dict[str, str]()

    def letter(to: str) -> bytes:
        return f"Subject: News\r\nTo: {to}\r\n\r\nNone today.\r\n".encode()

    with running(server):
        names = do_job(
            "class Bounces",
            subscribers=subscribers,
            letter=letter,
            bounced=bounced,
            make_client=lambda: sync.SMTPClient("127.0.0.1", server.port),
        )
    rows = [row.split(",")[:3] for row in Path("outcome.csv").read_text("utf-8").splitlines()]
    outcomes = ["accepted", "refused", "accepted", "not sent"]
    assert rows == [[str(n), subscribers[n], outcome] for n, outcome in enumerate(outcomes, 1)]
    with MemoryClient(names["Bounces"]()) as client:
        for number, action, code in ((1, Action.DELAYED, 450), (3, Action.FAILED, 550)):
            notice = make_notice(
                [Report(Address.parse(subscribers[number]), action, Reply(code, "Sorry"))],
                reverse_path=Address.parse(f"news+{number}@example.org"),
                message=[letter(subscribers[number])],
                hostname="mx.example.net",
                when=datetime.now(UTC),
                notice_id="1",
            )
            assert notice is not None
            assert client.send_message(notice.content, "", str(notice.address)).ok
        assert client.send_message(CONTENT, "", "news+2@example.org").ok  # who is on holiday says so
        assert not client.send_message(CONTENT, "", "else@example.org").ok
    assert bounced == {"3": "5.0.0"}


def test_fetch_and_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    drop, real = MemoryMaildrop(), sync.POP3Client
    drop.deliver([CONTENT])
    server = sync.POP3Server(MailHost(lambda _: drop, {"ada": "secret"}), port=0, tls=SERVER_TLS, implicit_tls=True)
    with running(server):
        monkeypatch.setattr(
            sync,
            "POP3Client",
            lambda host, **more: real("localhost", server.port, tls=sync.TLSPolicy.IMPLICIT, **TRUST, **more),
        )
        for count in (1, 0):
            assert len(do_job("fetch_new", secret="secret")["report"].fetched) == count
    assert len(Maildir("inbox").open().messages) == len(drop.open().messages) == 1


def test_a_server_with_a_certificate_and_maildirs(monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(data.SERVER.certificate, "certificate.pem")
    shutil.copy(data.SERVER.key, "key.pem")
    servers: list[Any] = []
    for kind in (aio.SMTPServer, aio.POP3Server):

        def make(hooks: object, host: None, port: int, kind: Any = kind, **more: Any) -> Any:
            servers.append(kind(hooks, "127.0.0.1", 0, **more))
            return servers[-1]

        monkeypatch.setattr(aio, kind.__name__, make)

    async def run() -> None:
        serving = asyncio.create_task(do_job("async def serve", secret="secret")["serve"]())
        while len(servers) < 2 or not servers[1].port:
            await asyncio.sleep(0.01)
        client = aio.SMTPClient("localhost", servers[0].port, tls=aio.TLSPolicy.REQUIRED, **TRUST)
        async with client:
            assert (await client.send_message(CONTENT, "", "ada@example.org")).ok
        login: dict[str, Any] = {"user": "ada", "password": "secret", "tls": aio.TLSPolicy.IMPLICIT}
        async with aio.POP3Client("localhost", servers[1].port, **login, **TRUST) as pop:
            assert (await pop.retrieve(1)).endswith(CONTENT)
        serving.cancel()
        await asyncio.wait([serving])

    asyncio.run(run())
    assert len(Maildir("mail/ada").open().messages) == 1


def test_a_smarthost(monkeypatch: pytest.MonkeyPatch) -> None:
    drop, counters = MemoryMaildrop(), Counter[Fate]()
    servers: list[Any] = []
    real = aio.SMTPServer

    def make(hooks: object, port: int) -> Any:
        servers.append(real(hooks, port=0))
        return servers[-1]

    async def run() -> None:
        config = SMTPServerConfig(require_auth=True)
        smarthost = MailHost(lambda _: drop, {"ada": "secret"}, ["example.org"])
        async with real(smarthost, port=0, config=config, tls=SERVER_TLS) as there:
            route = functools.partial(Route, "localhost", there.port, **TRUST)
            monkeypatch.setattr(relay, "Route", lambda host, port, **more: route(**more))
            monkeypatch.setattr(aio, "SMTPServer", make)
            names = do_job("async def run", secret="secret", counters=counters)
            running = asyncio.create_task(names["run"]())
            while not (servers and servers[0].port):
                await asyncio.sleep(0.01)
            async with aio.SMTPClient("127.0.0.1", servers[0].port, tls=aio.TLSPolicy.NONE) as client:
                await client.send_message(CONTENT, "", ["ada@example.org", "bob@example.org"])
            while counters.total() < 2:
                await asyncio.sleep(0.01)
            running.cancel()
            await asyncio.wait([running])

    asyncio.run(run())
    assert counters == {Fate.DELIVERED: 1, Fate.BOUNCED: 1}
    assert len(drop.open().messages) == 1


def test_what_domains_want_of_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = aio.DNSResolver
    answers = [wire.address("mta-sts.example.test", "127.0.0.1"), wire.txt("_mta-sts.example.test", RECORD)]
    with name_server(lambda _, query: [wire.answer(query, *answers)]) as names, serving_once():
        monkeypatch.setattr(aio, "DNSResolver", lambda: resolver(["127.0.0.1"], port=names.port))
        monkeypatch.setenv("SSL_CERT_FILE", str(data.CA))  # the authorities of the system
        policy = asyncio.run(do_job("PolicyStore")["config"].sts.policy("example.test"))
    assert policy == parse_policy(POLICY)
    assert Path("queue/sts/example.test").exists()


def test_orders_for_a_queue() -> None:
    queue = relay.Queue("queue")
    for name, domain in (("m1", "example.org"), ("m2", "example.com")):
        recipients = (relay.Pending(Address("ada", domain)),)
        queue.add(relay.Entry(name, None, recipients, 0, 0), [CONTENT])
    do_job("RETRY")
    assert queue.orders.given() == {"m1": relay.Order.RETRY}


def test_a_store_of_ones_own() -> None:
    db = sqlite3.connect(":memory:", check_same_thread=False)
    db.execute("CREATE TABLE users (name TEXT, key TEXT)")
    db.execute("CREATE TABLE mail (id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT, content BLOB)")
    db.execute("INSERT INTO users VALUES ('ada', ?)", (make_scram_key("secret").format(),))
    rows = [("ada", CONTENT), ("eve", b""), ("ada", b"2\r\n")]
    db.executemany("INSERT INTO mail (owner, content) VALUES (?, ?)", rows)
    handler = do_job("LockedSnapshot", db=db, server_secret=b"of the server")["Archive"]()
    config = POP3ServerConfig(limits=Limits(auth_failure_delay=0))
    server = sync.POP3Server(handler, port=0, tls=SERVER_TLS, config=config)

    def client(password: str = "secret", user: str = "ada", **more: Any) -> sync.POP3Client:
        tls = sync.TLSPolicy.REQUIRED
        return sync.POP3Client("localhost", server.port, tls=tls, user=user, password=password, **TRUST, **more)

    with closing(db), running(server):
        with client(mechanisms=["SCRAM-SHA-256"]) as pop:
            assert [(message.uid, message.read()) for message in pop.messages()] == [("1", CONTENT), ("3", b"2\r\n")]
            pop.delete(1)
            with pytest.raises(AuthenticationError, match="IN-USE"):
                client(mechanisms=[]).connect()
        with client(mechanisms=[]) as pop:
            assert [each.uid for each in pop.listing()] == ["3"]
        for stranger in (client("wrong"), client("wrong", mechanisms=[]), client(user="bob", mechanisms=[])):
            with pytest.raises(AuthenticationError, match="AUTH"):
                stranger.connect()
        assert db.execute("SELECT id FROM mail").fetchall() == [(2,), (3,)]


def test_delivery_over_lmtp() -> None:
    provider = Provider()
    with running(sync.SMTPServer(provider, path="lmtp.sock", config=SMTPServerConfig(lmtp=True))):
        result: SendResult = do_job("lmtp.sock", content=CONTENT)["result"]
    assert provider.taken == [CONTENT]
    assert [each.outcome for each in result.recipients] == [Outcome.ACCEPTED, Outcome.DEFERRED]


def test_mail_to_the_hosts_of_a_domain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The best of them is out of order."""
    provider, real, resolver = Provider(), sync.SMTPClient, sync.DNSResolver
    server = sync.SMTPServer(provider, port=0)
    ports = {"dead.example.net": 1, "mx.example.net": 0}
    records = [wire.mx("example.net", number, host) for number, host in enumerate(ports)]
    with name_server(lambda _, query: [wire.answer(query, *records)]) as names, running(server):
        ports["mx.example.net"] = server.port
        monkeypatch.setattr(sync, "DNSResolver", lambda: resolver(["127.0.0.1"], port=names.port))
        monkeypatch.setattr(sync, "SMTPClient", lambda host, _, **more: real("127.0.0.1", ports[host], **more))
        result: SendResult = do_job("hosts_for", content=CONTENT)["result"]
    assert result.ok
    assert provider.taken == [CONTENT]
    assert capsys.readouterr().out.startswith("dead.example.net ")


def test_the_servers_of_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that knows its users by their local parts alone, and is not in their domain."""
    real, resolver = sync.verify_smtp, sync.DNSResolver
    host = MailHost(lambda _: MemoryMaildrop(), {"ada": "secret"})
    with running(server := sync.SMTPServer(host, port=0, tls=SERVER_TLS)):
        found = wire.srv("_submission._tcp.example.org", 0, 0, server.port, "localhost")
        with name_server(lambda _, query: [wire.answer(query, found)]) as names:
            monkeypatch.setattr(sync, "DNSResolver", lambda: resolver(["127.0.0.1"], port=names.port))
            monkeypatch.setattr(sync, "verify_smtp", functools.partial(real, **TRUST))
            done = do_job("submission_servers", secret="secret", user_agrees=lambda host: host == "localhost")
    assert done["account"] == (MailServer("localhost", server.port, sync.TLSPolicy.REQUIRED, in_domain=False), "ada")


def test_a_test_without_a_network() -> None:
    def invite(client: sync.SMTPClient, whom: str) -> None:
        client.send_message(b"Subject: You are invited\r\n\r\n", "ada@example.org", whom)

    do_job("Outbox()", invite=invite)["test_invitation"]()


def test_a_test_of_trouble() -> None:
    seen: list[Outcome] = []

    def invite(client: sync.SMTPClient, whom: str) -> str:
        result = client.send_message(b"Subject: You are invited\r\n\r\n", "ada@example.org", whom)
        seen.append(result.recipients[0].outcome)
        return "you are" if result.ok else "not now"

    names = do_job("NoAnswer", invite=invite)
    for trouble in ("refuse", "hang_up", "stay_silent"):
        names["test_trouble"](names[trouble])
    assert seen == [Outcome.DEFERRED, Outcome.UNKNOWN, Outcome.UNKNOWN]
