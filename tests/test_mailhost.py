"""Whose mail a mail host takes, however its domains are spelled, and whom it lets in."""

from __future__ import annotations

import asyncio
import errno
import hmac
import os
import re
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mailproto import Address, GrammarError, Reject, TLSPolicy, aio, sync
from mailproto.maildrop import MaildropBusyError, MemoryMaildrop
from mailproto.mailhost import BLOCKING_HOOKS, MailHost, Secret
from mailproto.pop3 import LoginDelayError, POP3ServerConfig, Snapshot
from mailproto.pop3.flows import POP3Session
from mailproto.sasl import (
    CramMD5Check,
    Identity,
    Question,
    ScramKey,
    ScramKeyRequest,
    ScramPassword,
    make_scram_key,
)
from mailproto.sasl.plain import parse_plain
from mailproto.smtp import Outcome, Rcpt, RcptParameters, SMTPClientConfig, SMTPServerConfig
from mailproto.smtp.flows.server import SMTPSession
from mailproto.smtp.server import SMTPServerConnection
from tests.adapters.harness import PATIENCE

SESSION = SMTPSession(SMTPServerConnection())
IN_CLEAR: dict[str, Any] = {"tls": TLSPolicy.NONE}


def takes(host: MailHost, address: str) -> bool:
    """Say whether the host takes mail for this address."""
    try:
        host.on_rcpt(SESSION, Rcpt(Address.parse(address), RcptParameters()))
    except Reject as refusal:
        assert (refusal.code, refusal.enhanced) == (550, "5.7.1")
        return False
    return True


class Elsewhere(MailHost):
    """Knows its users, but not their keys, which a subclass looks up."""

    key = make_scram_key("pencil")

    def on_scram_key(self, session: SMTPSession | POP3Session, request: ScramKeyRequest) -> ScramKey | None:
        return self.key if request.username == "ada" else None

    def on_rcpt(self, session: SMTPSession, rcpt: Rcpt) -> None:
        if rcpt.address.local_part == "away":
            raise Reject(450, "on holiday", "4.2.1")
        super().on_rcpt(session, rcpt)

    def on_auth(self, session: SMTPSession | POP3Session, check: Question) -> bool:
        return session.peer == "192.0.2.1" and super().on_auth(session, check)

    def on_login(self, session: POP3Session) -> Snapshot:
        return super().on_login(session)


def test_a_subclass_has_its_own_way() -> None:
    host = Elsewhere(lambda _: MemoryMaildrop(), {"ada": "pw"}, ["example.org"])
    assert host.on_scram_key(SESSION, ScramKeyRequest("ada", "SHA-256", "SCRAM-SHA-256")) == Elsewhere.key
    assert takes(host, "ada@example.org")
    with pytest.raises(Reject, match="on holiday"):
        host.on_rcpt(SESSION, Rcpt(Address.parse("away@example.org"), RcptParameters()))


@pytest.mark.parametrize("domain", ["m\u00fcnchen.example", "M\u00dcNCHEN.example", "xn--mnchen-3ya.example"])
def test_a_domain_is_the_same_in_all_its_spellings(domain: str) -> None:
    host = MailHost(lambda _: MemoryMaildrop(), {"ada": "pw"}, [domain])
    for spelling in ("m\u00fcnchen.example", "M\u00dcNCHEN.EXAMPLE", "XN--mnchen-3ya.example"):
        assert takes(host, f"ada@{spelling}")
    for other in ("munchen.example", "muenchen.example", "mu\u0308nchen.example.net"):
        assert not takes(host, f"ada@{other}")


def test_a_domain_without_a_form_in_idna_2003_is_still_itself() -> None:
    host = MailHost(lambda _: MemoryMaildrop(), {"ada": "pw"}, ["fa\u00df.example"])
    assert takes(host, "ada@fa\u00df.example")
    assert not takes(host, "ada@fass.example")


@pytest.mark.parametrize(
    ("peer", "let_in"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("", True),  # a unix socket
        ("192.0.2.1", False),
        ("::ffff:192.0.2.1", False),
        ("fe80::1%lo", False),
        ("unknown", False),  # whom a trusted proxy does not know
    ],
)
def test_without_users_this_machine_alone_may_fetch_mail(peer: str, let_in: bool) -> None:
    host = MailHost(lambda _: MemoryMaildrop())
    session = SMTPSession(SMTPServerConnection(), peer)
    assert host.on_auth(session, parse_plain(b"\0ada\0anything")) is let_in


def test_without_users_a_host_still_has_its_domains() -> None:
    host = MailHost(lambda _: MemoryMaildrop(), domains=["example.org"])
    assert takes(host, "ada@example.org")
    assert takes(host, "anybody@EXAMPLE.ORG")
    assert not takes(host, "ada@example.net")
    assert takes(MailHost(lambda _: MemoryMaildrop()), "ada@example.net"), "without domains every one is local"


def test_what_is_no_domain_is_none() -> None:
    with pytest.raises(GrammarError):
        MailHost(lambda _: MemoryMaildrop(), {"ada": "pw"}, ["example..org"])


@pytest.mark.parametrize("given", ["jo\u0308rg", "j\u00f6rg", "\uff4a\u00f6rg"])
def test_a_name_is_kept_as_it_is_compared(given: str) -> None:
    """Prepared (RFC 4616 section 2): a name in decomposed letters, as some keyboards write it, let nobody in."""
    opened: list[str] = []

    def open_drop(name: str) -> MemoryMaildrop:
        opened.append(name)
        return MemoryMaildrop()

    host = MailHost(open_drop, {given: "pw"})
    session: Any = None
    for said in ("jo\u0308rg", "j\u00f6rg", "\uff4a\u00f6rg"):
        assert host.on_auth(session, parse_plain(f"\0{said}\0pw".encode()))
        assert host.on_auth(session, CramMD5Check(said, b"<1@x>", hmac.digest(b"pw", b"<1@x>", "md5").hex().encode()))
        assert takes(host, f"{said}@example.org")
        assert host.drop_of(said) is host.drop_of(given)
    assert host.on_scram_key(session, ScramKeyRequest("j\u00f6rg", "SHA-256", "SCRAM-SHA-256")) == ScramPassword("pw")
    assert opened == [given]


@pytest.mark.parametrize("keyed", [0, 50, 100])
def test_who_is_not_known_to_scram_costs_what_users_cost(keyed: int) -> None:
    """A key costs nothing, a password many iterations: neither tells who is a user here."""
    key = make_scram_key("pencil")
    users: dict[str, Secret] = {f"user{i}": key if i < keyed else "pencil" for i in range(100)}
    host = MailHost(lambda _: MemoryMaildrop(), users)

    def is_cheap(name: str) -> bool:
        request = ScramKeyRequest(name, "SHA-256", "SCRAM-SHA-256")
        answers = [host.on_scram_key(SESSION, request) for _ in range(2)]
        assert answers[0] == answers[1]
        return not isinstance(answers[0], ScramPassword)

    assert sum(map(is_cheap, users)) == keyed
    assert sum(is_cheap(f"nobody{i}") for i in range(1000)) == pytest.approx(10 * keyed, abs=100 * (0 < keyed < 100))


def test_who_is_not_known_to_scram_is_challenged_like_users() -> None:
    """How many iterations there are is told to everybody, and a key that comes from elsewhere has its own number."""
    keys = [make_scram_key("pencil", iterations=iterations) for iterations in (4096, 40_000)]
    users: dict[str, Secret] = {f"user{i}": keys[i % 2] for i in range(100)}

    challenged = challenges(users)
    assert {key.iterations for key in challenged} == {4096, 40_000}
    assert len({key.salt for key in challenged}) == 100
    assert challenged == challenges(users), "of a user the salt is the same when the server has begun anew"


def test_what_scram_tells_of_nobody_tells_nothing_of_a_password() -> None:
    """Made of the only key there is, whose salt it tells as well, it would be there to try passwords on at home."""
    first, second = ({"ada": make_scram_key("pencil", salt=salt)} for salt in (b"salt", b"pepper"))
    assert challenges(first) == challenges(second)
    assert challenges(first, None) != challenges(first, None)
    with pytest.raises(TypeError, match="secret has to be a bytes, not str"):
        MailHost(lambda _: MemoryMaildrop(), {}, secret=cast(Any, "x"))


def challenges(users: Mapping[str, Secret], secret: bytes | None = b"of this server") -> list[ScramKey]:
    """Return what a host that has just begun knows of a hundred users that it does not have."""
    host = MailHost(lambda _: MemoryMaildrop(), users, secret=secret)
    requests = (ScramKeyRequest(f"nobody{i}", "SHA-256", "SCRAM-SHA-256") for i in range(100))
    return [cast(ScramKey, host.on_scram_key(SESSION, request)) for request in requests]


def test_a_password_of_nobody_is_checked_as_long_as_one_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is as long as his key takes, where not all keys take as long."""
    keys = [make_scram_key("pencil", iterations=iterations) for iterations in (4096, 40_000)]
    host = MailHost(lambda _: MemoryMaildrop(), {f"user{i}": keys[i % 2] for i in range(100)})
    computed: list[int] = []
    monkeypatch.setattr(ScramKey, "matches", lambda key, _: computed.append(key.iterations))
    for i in range(100):
        assert not host.on_auth(SESSION, parse_plain(f"\0nobody{i}\0pencil".encode()))
    assert sorted(set(computed)) == [4096, 40_000]
    assert len(computed) == 100


@pytest.mark.parametrize("user", ["j\u00f6rg", "jo\u0308rg"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
def test_names_and_passwords_beyond_ascii(mechanism: str, user: str) -> None:
    """RFC 4616 section 2, RFC 5802 section 5.1: both sides prepare a name, whichever way somebody has typed it."""
    login: dict[str, Any] = {"user": user, "password": "p\u00e4ssw\u00f6rd \u2709", "mechanisms": (mechanism,)}
    where: dict[str, Any] = {"tls": TLSPolicy.NONE, "allow_plaintext_auth": True}
    host = MailHost(lambda _: MemoryMaildrop(), {login["user"]: login["password"]})
    smtp = sync.SMTPServer(host, port=0, config=SMTPServerConfig(allow_plaintext_auth=True, require_auth=True))
    pop3 = sync.POP3Server(host, port=0, config=POP3ServerConfig(allow_plaintext_auth=True))
    with smtp, pop3:
        with sync.SMTPClient("127.0.0.1", smtp.port, **login, **where) as client:
            assert client.send_message(b"x\r\n", "", f"{login['user']}@example.org").ok
        with sync.POP3Client("127.0.0.1", pop3.port, **login, **where) as pop:
            assert pop.status() == (1, 3)
        with sync.POP3Client("127.0.0.1", pop3.port, **{**login, "mechanisms": None}, **where) as pop:
            assert pop.status() == (1, 3)


def test_the_delay_of_a_user_is_none_of_another_spelling() -> None:
    """Not every mechanism prepares names: CRAM-MD5 gives them as they come."""
    host = MailHost(lambda _: MemoryMaildrop(), {"j\u00f6rg": "pw"}, login_delay=900)
    first, second = (
        cast(Any, SimpleNamespace(identity=Identity(*who)))
        for who in (("j\u00f6rg", "PLAIN"), ("jo\u0308rg", "CRAM-MD5"))
    )
    host.on_login(first).close()
    with pytest.raises(LoginDelayError):
        host.on_login(second)


@pytest.mark.parametrize(
    ("users", "local_part", "users_mail"),
    [
        (["ada"], "ADA", "ada"),
        (["Ada"], "ada", "Ada"),
        (["\u00dcnal"], "\u00fcnal", "\u00dcnal"),
        (["Ada", "ada"], "Ada", "Ada"),
        (["Ada", "ada"], "ADA", "ada"),
        (["Ada", "ADA"], "ADA", "ADA"),
        (["Ada", "ADA"], "ada", None),  # nobody could say whose that is
    ],
)
def test_mail_finds_its_user_in_any_case(users: list[str], local_part: str, users_mail: str | None) -> None:
    drops = {user: MemoryMaildrop() for user in users}
    host = MailHost(drops.__getitem__, dict.fromkeys(users, "pw"))
    with sync.SMTPServer(host, port=0) as server, sync.SMTPClient("127.0.0.1", server.port, **IN_CLEAR) as client:
        assert client.send_message(b"x\r\n", "", f"{local_part}@example.org").ok is (users_mail is not None)
    assert [user for user in users if drops[user].open().messages] == ([users_mail] if users_mail else [])


def test_two_users_whom_no_login_could_tell_apart() -> None:
    with pytest.raises(GrammarError):
        MailHost(lambda _: MemoryMaildrop(), {"j\u00f6rg": "one", "jo\u0308rg": "two"})


ALONE = ["ada@x.example"]
BOTH = ["ada@x.example", "bob@x.example"]
WAY = rb"Return-Path: <s@y\.example>\r\nReceived: from client\.example \(\[127\.0\.0\.1\]\)\r\n\tby mx\.example with "
DATED = rb";\r\n\t\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d \+0000\r\n"


@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.parametrize(("to", "clause"), [(ALONE, rb"\r\n\tfor <ada@x\.example>"), (BOTH, b""), (ALONE * 2, b"")])
def test_the_way_of_a_message_stands_on_top_of_it(lmtp: bool, to: list[str], clause: bytes) -> None:
    """RFC 5321 section 4.4: one Received, one Return-Path, and no recipient that another may not see."""
    drops = {"ada": MemoryMaildrop(), "bob": MemoryMaildrop()}
    host = MailHost(drops.__getitem__, {"ada": "x", "bob": "y"}, ["x.example"], trace=True)
    text = b"Return-Path: <forged@y.example>\r\nSubject: x\r\nReturn-Path :\r\n <a@b>\r\n\r\nReturn-Path: quoted\r\n"
    server = sync.SMTPServer(host, port=0, config=SMTPServerConfig(hostname="mx.example", lmtp=lmtp))
    settings: dict[str, Any] = {"tls": TLSPolicy.NONE, "config": SMTPClientConfig(lmtp=lmtp)}
    with server, sync.SMTPClient("127.0.0.1", server.port, local_name="client.example", **settings) as client:
        client.send_message(text, "s@y.example", to).raise_for_refused()
    protocol = b"LMTP" if lmtp else b"ESMTP"
    for name in {address.partition("@")[0] for address in to}:
        kept = stored(drops[name])
        way = re.match(WAY + protocol + clause + DATED, kept)
        assert way, kept
        assert kept[way.end() :] == b"Subject: x\r\n\r\nReturn-Path: quoted\r\n"


@pytest.mark.parametrize(
    ("sender", "to", "smtputf8"),
    [(None, "postmaster", False), ("j\u00f6rg@y.example", "ad\u00e4@x.example", True), (None, "a@x.example", True)],
)
def test_the_way_of_a_message_with_any_path(sender: str | None, to: str, smtputf8: bool) -> None:
    drop = MemoryMaildrop()
    host = MailHost(lambda _: drop, domains=["x.example"], trace=True)
    with sync.SMTPServer(host, port=0) as server:
        session = socket.create_connection(("127.0.0.1", server.port))
        with session, session.makefile("rwb") as line:
            sending = f"MAIL FROM:<{sender or ''}>{' SMTPUTF8' * smtputf8}\r\nRCPT TO:<{to}>\r\nDATA\r\n"
            line.write(f"EHLO [127.0.0.1]\r\n{sending}".encode())
            line.flush()
            while not line.readline().startswith(b"354"):
                pass
            line.write(b"\r\nx\r\n.\r\nQUIT\r\n")
            line.flush()
            assert line.readline().startswith(b"250")
    kept = stored(drop)
    assert kept.startswith(f"Return-Path: <{sender or ''}>\r\nReceived: from [127.0.0.1] ".encode())
    assert (f"\tfor <{to}>;".encode() in kept) is ("@" in to)
    assert kept.endswith(b" +0000\r\n\r\nx\r\n")


def test_who_has_a_message_has_it_again_when_another_maildrop_failed() -> None:
    """At least once: a client is told 451 rather than that mail is stored which is not."""

    class Full(MemoryMaildrop):
        room = False

        def deliver(self, content: Any) -> str:
            if not self.room:
                raise OSError("disk full")
            return super().deliver(content)

    bobs = Full()
    drops = {"ada": MemoryMaildrop(), "bob": bobs}
    host = MailHost(drops.__getitem__, {"ada": "x", "bob": "y"})
    with sync.SMTPServer(host, port=0) as server, sync.SMTPClient("127.0.0.1", server.port, **IN_CLEAR) as client:
        first = client.send_message(b"x\r\n", "", BOTH)
        bobs.room = True
        second = client.send_message(b"x\r\n", "", BOTH)
    assert [recipient.outcome for recipient in first.recipients] == [Outcome.DEFERRED] * 2
    assert second.ok
    assert [len(drops[name].open().messages) for name in ("ada", "bob")] == [2, 1]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES])
@pytest.mark.parametrize("lmtp", [False, True])
def test_a_client_hears_that_there_is_no_room(caplog: pytest.LogCaptureFixture, lmtp: bool, number: int) -> None:
    """RFC 5321 section 4.2.3; whatever else is wrong with the disk is ours to know."""

    class Full(MemoryMaildrop):
        def deliver(self, _: Any) -> str:
            raise OSError(number, os.strerror(number))

    host = MailHost(lambda _: Full(), {"ada": "x"})
    config = SMTPServerConfig(lmtp=lmtp)
    here: Any = {**IN_CLEAR, "config": SMTPClientConfig(lmtp=lmtp)}
    with (
        sync.SMTPServer(host, port=0, config=config) as server,
        sync.SMTPClient("127.0.0.1", server.port, **here) as client,
    ):
        result = client.send_message(b"x\r\n", "", "ada@example.org")
    full = number != errno.EACCES
    [recipient] = result.deferred
    assert str(recipient.reply)[:9] == ("452 4.3.1" if full else "451 4.3.0")
    assert [record.exc_info is None for record in caplog.records] == [full]


@pytest.mark.parametrize("lmtp", [False, True])
def test_a_message_that_is_stored_is_taken_though_it_cannot_be_told(
    caplog: pytest.LogCaptureFixture, lmtp: bool
) -> None:
    """The client would send it again, and again, and each time it would be stored once more."""

    def tell(user: str, _: object) -> None:
        raise BrokenPipeError(f"nobody hears of {user}'s mail any more")

    drops = {"ada": MemoryMaildrop(), "bob": MemoryMaildrop()}
    host = MailHost(drops.__getitem__, {"ada": "x", "bob": "y"}, ["x.example"], delivered=tell)
    settings: dict[str, Any] = {**IN_CLEAR, "config": SMTPClientConfig(lmtp=lmtp)}
    with (
        sync.SMTPServer(host, port=0, config=SMTPServerConfig(lmtp=lmtp)) as server,
        sync.SMTPClient("127.0.0.1", server.port, **settings) as client,
    ):
        assert client.send_message(b"x\r\n", "s@y.example", BOTH).ok
    assert [stored(drop) for drop in drops.values()] == [b"x\r\n"] * 2
    assert [record.getMessage() for record in caplog.records] == ["a delivery could not be told"] * 2


class Slow(MemoryMaildrop):
    """A maildrop that notes the thread of everybody who has to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: dict[str, threading.Thread] = {}

    def deliver(self, content: Any) -> str:
        self.waited["deliver"] = threading.current_thread()
        return super().deliver(content)

    def open(self) -> Any:
        self.waited["open"] = threading.current_thread()
        return SlowSnapshot(self)


class SlowSnapshot:
    """A session with it."""

    def __init__(self, drop: Slow) -> None:
        self._drop, self._snapshot = drop, MemoryMaildrop.open(drop)
        self.messages, self.close = self._snapshot.messages, self._snapshot.close

    def retrieve(self, number: int) -> Any:
        self._drop.waited["retrieve"] = threading.current_thread()
        return self._snapshot.retrieve(number)

    def commit(self, deleted: Any) -> None:
        self._drop.waited["commit"] = threading.current_thread()
        self._snapshot.commit(deleted)


@pytest.mark.parametrize("lmtp", [False, True])
def test_nobody_waits_in_the_loop(lmtp: bool) -> None:
    drop = Slow()
    host = MailHost(lambda _: drop, {"ada": "secret"})

    async def run() -> None:
        handler = aio.InThreads(host, *BLOCKING_HOOKS)
        smtp = aio.SMTPServer(handler, port=0, config=SMTPServerConfig(lmtp=lmtp))
        pop3 = aio.POP3Server(handler, port=0, config=POP3ServerConfig(allow_plaintext_auth=True))
        async with smtp, pop3:
            config = SMTPClientConfig(lmtp=lmtp)
            async with aio.SMTPClient("127.0.0.1", smtp.port, config=config, **IN_CLEAR) as client:
                (await client.send_message(b"x\r\n", "", ALONE)).raise_for_refused()
            where = {"user": "ada", "password": "secret", "allow_plaintext_auth": True, **IN_CLEAR}
            async with aio.POP3Client("127.0.0.1", pop3.port, **where) as pop:
                assert await pop.retrieve(1) == b"x\r\n"
                await pop.delete(1)

    asyncio.run(run())
    assert drop.waited.keys() == {"deliver", "open", "retrieve", "commit"}
    assert threading.main_thread() not in drop.waited.values()
    assert not drop.open().messages


class Held:
    """A gate in a maildrop's way: whoever comes there says so, and waits until it is opened."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()

    def pass_through(self) -> None:
        self.reached.set()
        assert self.open.wait(PATIENCE)


def test_a_maildrop_that_is_opened_too_late_is_not_kept_locked() -> None:
    """Its server has given up on the session; nobody else would ever close it."""
    gate = Held()

    class Late(MemoryMaildrop):
        def open(self) -> Any:
            gate.pass_through()
            return super().open()

    drop = Late()
    host = MailHost(lambda _: drop, {"ada": "secret"})

    async def run() -> None:
        handler = aio.InThreads(host, *BLOCKING_HOOKS)
        server = aio.POP3Server(handler, port=0, config=POP3ServerConfig(allow_plaintext_auth=True))
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"USER ada\r\nPASS secret\r\n")
        assert await asyncio.to_thread(gate.reached.wait, PATIENCE)
        await server.close(grace=0)
        assert not server.connections
        gate.open.set()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        reader.feed_eof()

    asyncio.run(run())
    drop.open().close()


def test_a_maildrop_stays_locked_while_a_commit_goes_on_that_its_server_has_given_up() -> None:
    """Else the next session would see messages that are about to go."""
    gate = Held()

    class Slow(MemoryMaildrop):
        def open(self) -> Any:
            snapshot = super().open()
            commit = snapshot.commit

            def commit_late(deleted: Any) -> None:
                gate.pass_through()
                commit(deleted)

            vars(snapshot)["commit"] = commit_late
            return snapshot

    drop = Slow()
    drop.deliver([b"one\r\n"])
    host = MailHost(lambda _: drop, {"ada": "secret"})

    async def run() -> None:
        handler = aio.InThreads(host, *BLOCKING_HOOKS)
        server = aio.POP3Server(handler, port=0, config=POP3ServerConfig(allow_plaintext_auth=True))
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"USER ada\r\nPASS secret\r\nDELE 1\r\nQUIT\r\n")
        assert await asyncio.to_thread(gate.reached.wait, PATIENCE)
        await server.close(grace=0)
        assert not server.connections
        with pytest.raises(MaildropBusyError):
            drop.open()
        gate.open.set()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        reader.feed_eof()

    asyncio.run(run())
    snapshot = drop.open()
    assert not snapshot.messages
    snapshot.close()


def test_a_message_is_not_stored_empty_when_its_server_has_given_up() -> None:
    """The session is over and its message thrown away, while the thread comes to its second recipient."""
    gate = Held()

    class Late(MemoryMaildrop):
        def deliver(self, content: Any) -> str:
            gate.pass_through()
            return super().deliver(content)

    drops = {"ada": Late(), "bob": MemoryMaildrop()}
    host = MailHost(drops.__getitem__, {"ada": "x", "bob": "y"})

    async def run() -> None:
        server = aio.SMTPServer(aio.InThreads(host, *BLOCKING_HOOKS), port=0)
        await server.start()
        client = aio.SMTPClient("127.0.0.1", server.port, **IN_CLEAR)
        await client.connect()
        sending = asyncio.create_task(client.send_message(b"x\r\n", "", BOTH))
        assert await asyncio.to_thread(gate.reached.wait, PATIENCE)
        await server.close(grace=0)
        result = await sending
        assert [recipient.outcome for recipient in result.recipients] == [Outcome.UNKNOWN] * 2
        gate.open.set()
        await client.close()

    asyncio.run(run())
    for drop in drops.values():
        assert [message.size for message in drop.open().messages] in ([], [3])


class Later(MemoryMaildrop):
    """A maildrop whose sessions have to be waited for, as the snapshot of a store of one's own may."""

    def open(self) -> Any:
        return LaterSnapshot(super().open())


class LaterSnapshot:
    def __init__(self, snapshot: Any) -> None:
        self._snapshot = snapshot
        self.messages, self.close = snapshot.messages, snapshot.close

    async def retrieve(self, number: int) -> Any:
        return self._snapshot.retrieve(number)

    async def commit(self, deleted: Any) -> None:
        await asyncio.sleep(0)
        self._snapshot.commit(deleted)


class Picky(MailHost):
    def on_message(self, session: Any, envelope: Any) -> Any:
        return self._store(session, envelope)

    async def _store(self, session: Any, envelope: Any) -> None:
        await asyncio.sleep(0)
        if bytes(envelope) == b"no\r\n":
            raise Reject(550, "not that one", "5.6.0")
        super().on_message(session, envelope)


def test_what_is_to_be_awaited_is_awaited_though_it_was_begun_in_a_thread() -> None:
    """S17: a coroutine that nobody runs stores nothing, and refuses nothing, and all the same it was a yes."""
    drop = Later()
    host = Picky(lambda _: drop, {"ada": "secret"})

    async def run() -> None:
        handler = aio.InThreads(host, *BLOCKING_HOOKS)
        smtp = aio.SMTPServer(handler, port=0)
        pop3 = aio.POP3Server(handler, port=0, config=POP3ServerConfig(allow_plaintext_auth=True))
        async with smtp, pop3:
            async with aio.SMTPClient("127.0.0.1", smtp.port, **IN_CLEAR) as client:
                assert (await client.send_message(b"no\r\n", "", ALONE)).refused
                assert (await client.send_message(b"yes\r\n", "", ALONE)).ok
            where = {"user": "ada", "password": "secret", "allow_plaintext_auth": True, **IN_CLEAR}
            async with aio.POP3Client("127.0.0.1", pop3.port, **where) as pop:
                assert await pop.retrieve(1) == b"yes\r\n"
                await pop.delete(1)

    asyncio.run(run())
    assert not drop.open().messages


def stored(drop: MemoryMaildrop) -> bytes:
    """Return the one message in a maildrop."""
    snapshot = drop.open()
    assert len(snapshot.messages) == 1
    return b"".join(snapshot.retrieve(1))
