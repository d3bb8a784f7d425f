"""POP3 from one end to the other, over either adapter."""

from __future__ import annotations

import pickle
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mailproto import pop3
from mailproto._core.limits import Limits
from mailproto.aio import TLSPolicy
from mailproto.errors import (
    AuthenticationError,
    ConnectionClosedError,
    LocalProtocolError,
    Reject,
    TLSRequiredError,
)
from mailproto.maildrop.memory import MemoryMaildrop
from mailproto.pop3 import POP3ServerConfig, ResponseError
from mailproto.pop3.flows import POP3Session
from tests.adapters.facades import AioFront, SyncFront
from tests.adapters.harness import PATIENCE, Wire, scripted, server_context, wait_until
from tests.data import CA, MAIL

Front = AioFront | SyncFront
CLEAR = {"tls": TLSPolicy.NONE, "allow_plaintext_auth": True}
ADA = {"user": "ada", "password": "lovelace"}
CONFIG = POP3ServerConfig(allow_plaintext_auth=True, limits=Limits(auth_failure_delay=0.0))


class Drops:
    """One maildrop, Ada's."""

    def __init__(self, *messages: bytes) -> None:
        self.drop = MemoryMaildrop()
        self.closed = threading.Event()
        for message in messages:
            self.drop.deliver((message,))

    @property
    def contents(self) -> list[bytes]:
        return list(self.drop._contents.values())

    def on_auth(self, session: Any, check: Any) -> bool:
        return (check.username, check.password) == ("ada", "lovelace")

    def on_login(self, session: Any) -> Any:
        return self.drop.open()

    def on_close(self, session: Any) -> None:
        self.closed.set()


def numbered(count: int, size: int = 50) -> list[bytes]:
    return [b"Subject: %d\r\n\r\n.%s\r\n" % (n, b"x" * size) for n in range(1, count + 1)]


def client_of(front: Front, server: Any, **settings: Any) -> Any:
    return front.POP3Client("127.0.0.1", server.port, **{**CLEAR, **ADA, **settings})


def test_mail_is_fetched_and_deleted_when_all_went_well(front: Front) -> None:
    messages = numbered(50)
    drops = Drops(*messages)
    with front.POP3Server(drops, port=0, config=CONFIG) as server:
        with client_of(front, server) as pop:
            fetched = []
            for message in pop.messages():
                fetched.append(message.read())
                message.delete()
            assert fetched == messages
            assert drops.contents == messages  # not before QUIT
        assert drops.contents == []


def test_commands_of_ones_own(front: Front) -> None:
    """In one line and in several, and in step with the mail around them."""

    class Senders(Drops):
        def on_command(self, session: Any, command: pop3.ExtensionCommand) -> Any:
            match command.verb, command.argument:
                case "XSENDER", "1":
                    return "ada@example.org"
                case "XALL", what:
                    return [what, ".", "..two", ""]
            raise Reject(550, "no such message", "SYS/PERM")

    messages = numbered(3)
    config = POP3ServerConfig(allow_plaintext_auth=True, commands=("XSENDER", "XALL"))
    with front.POP3Server(Senders(*messages), port=0, config=config) as server, client_of(front, server) as pop:
        assert pop.command("XSENDER", 1) == "ada@example.org"
        (first, *_) = (message.read() for message in pop.messages())
        assert first == messages[0]
        assert pop.multiline_command("XALL", "one") == ["one", ".", "..two", ""]
        for say in (pop.command, pop.multiline_command):
            with pytest.raises(ResponseError, match=r"XSENDER: -ERR \[SYS/PERM\] no such message"):
                say("XSENDER", 2)
            with pytest.raises(ResponseError, match="XOTHER"):
                say("XOTHER")
            with pytest.raises(LocalProtocolError, match="RETR"):
                say("RETR", 1)
        assert pop.retrieve(2) == messages[1]


def test_nothing_is_deleted_when_something_went_wrong(front: Front) -> None:
    messages = numbered(3)
    drops = Drops(*messages)
    with front.POP3Server(drops, port=0, config=CONFIG) as server:
        with pytest.raises(OverflowError), client_of(front, server) as pop:
            for message in pop.messages():
                message.delete()
                if message.number == 2:
                    raise OverflowError
        assert drops.closed.wait(PATIENCE)
        assert drops.contents == messages
        with client_of(front, server) as pop:  # and the lock is gone
            assert pop.status() == (3, sum(map(len, messages)))


def test_a_client_that_vanishes_deletes_nothing(front: Front) -> None:
    drops = Drops(*numbered(2))
    with front.POP3Server(drops, port=0, config=CONFIG) as server:
        with Wire.to(server.port) as wire:
            wire.send(b"USER ada\r\nPASS lovelace\r\nDELE 1\r\n")
            assert [wire.line()[:3] for _ in range(4)] == [b"+OK"] * 4
        assert drops.closed.wait(PATIENCE)
    assert len(drops.contents) == 2


class Counted(Drops):
    """A maildrop that counts the pieces of messages that are asked for."""

    pieces = 0

    def on_retrieve(self, session: Any, number: int) -> Iterator[bytes]:
        for start in range(0, 1 << 20, 1 << 16):
            self.pieces += 1
            yield self.contents[0][start : start + (1 << 16)]


def test_nothing_is_read_for_a_client_that_vanishes(front: Front) -> None:
    drops = Counted(b"x" * ((1 << 20) - 2) + b"\r\n")
    with front.POP3Server(drops, port=0, config=CONFIG) as server:
        with Wire.to(server.port) as wire:
            wire.send(b"USER ada\r\nPASS lovelace\r\n" + b"RETR 1\r\n" * 1000)
            wait_until(lambda: drops.pieces > 0)
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # go with a reset
        assert drops.closed.wait(PATIENCE)
    assert drops.pieces < 1000, "not what a thousand messages have"


def test_deletions_that_are_not_confirmed_are_an_error(front: Front) -> None:
    def script(wire: Wire) -> None:
        wire.send(b"+OK hello\r\n")
        for answer in (b"-ERR", b"+OK", b"+OK", b"+OK", b"-ERR some deleted messages not removed"):
            wire.line()
            wire.send(answer + b"\r\n")
        wire.rest()

    with scripted(script) as port:
        client = front.POP3Client("127.0.0.1", port, **CLEAR, **ADA)
        with pytest.raises(ResponseError, match="not removed"), client:
            client.delete(1)


def test_every_octet_is_fetched(front: Front) -> None:
    contents = [path.read_bytes() for path in MAIL.values()]
    drops = Drops(*contents)
    expected = [content if content.endswith(b"\r\n") else content + b"\r\n" for content in contents]
    with front.POP3Server(drops, port=0, config=CONFIG) as server, client_of(front, server) as pop:
        assert [message.read() for message in pop.messages()] == expected
        assert [pop.retrieve(number) for number in range(1, len(contents) + 1)] == expected


def test_a_message_comes_in_pieces(front: Front) -> None:
    (large,) = messages = numbered(1, 1_000_000)
    with front.POP3Server(Drops(*messages), port=0, config=CONFIG) as server, client_of(front, server) as pop:
        (pieces,) = [list(message) for message in pop.messages()]
        assert len(pieces) > 1
        assert b"".join(pieces) == large


def test_what_is_in_the_maildrop(front: Front) -> None:
    messages = numbered(3)
    with front.POP3Server(Drops(*messages), port=0, config=CONFIG) as server, client_of(front, server) as pop:
        listed = pop.listing()
        assert [(entry.number, entry.size) for entry in listed] == [(n, len(messages[n - 1])) for n in (1, 2, 3)]
        assert len({entry.uid for entry in listed}) == 3
        assert pop.top(2) == b"Subject: 2\r\n\r\n"
        pop.delete(1)
        assert pop.status() == (2, len(messages[1]) + len(messages[2]))
        pop.reset()
        assert pop.status().messages == 3
        pop.noop()
        assert pop.capabilities.uidl
        assert [message.number for message in pop.messages(listed[1:])] == [2, 3]


def test_leaving_off_in_the_middle(front: Front) -> None:
    messages = numbered(20)
    with front.POP3Server(Drops(*messages), port=0, config=CONFIG) as server, client_of(front, server) as pop:
        for message in pop.messages():
            if message.number == 3:
                break
        assert pop.status().messages == 20
        with pytest.raises(LocalProtocolError, match="until the next command"):
            message.read()
        message.delete()
        assert pop.status().messages == 19
        fetching = iter(pop.messages())
        assert next(fetching).number == 1
        assert pop.retrieve(2) == messages[1]
        with pytest.raises(LocalProtocolError, match="begin to fetch again"):
            next(fetching)


def test_a_message_can_be_read_until_the_next_one(front: Front) -> None:
    with front.POP3Server(Drops(*numbered(2)), port=0, config=CONFIG) as server, client_of(front, server) as pop:
        fetching = iter(pop.messages())
        first, second = next(fetching), next(fetching)
        with pytest.raises(LocalProtocolError):
            first.read()
        assert second.read() == numbered(2)[1]
        assert next(fetching, None) is None
        with pytest.raises(LocalProtocolError, match="until the next command"):
            second.read()


def test_a_message_comes_once(front: Front) -> None:
    """Who stores what he has read already would store nothing, or half a message, and then delete it."""
    once = "read already"
    large = b"Subject: x\r\n\r\n" + b"y" * 1_000_000 + b"\r\n"
    with front.POP3Server(Drops(large, b"", large), port=0, config=CONFIG) as server, client_of(front, server) as pop:
        fetching = iter(pop.messages())
        first = next(fetching)
        assert first.read() == large
        with pytest.raises(LocalProtocolError, match=once):
            first.read()
        with pytest.raises(LocalProtocolError, match=once):
            list(first)
        empty = next(fetching)
        assert list(empty) == []
        with pytest.raises(LocalProtocolError, match=once):
            empty.read()
        last = next(fetching)
        begun = next(iter(last))
        with pytest.raises(LocalProtocolError, match=once):
            list(last)
        assert begun + last.read() == large, "who asks for the rest of it gets that"


def test_a_deletion_that_was_refused_is_not_passed_over(front: Front) -> None:
    drops = Drops(*numbered(2))
    with front.POP3Server(drops, port=0, config=CONFIG) as server:
        with pytest.raises(ResponseError), client_of(front, server) as pop:
            for message in pop.messages():
                message.delete()
                message.delete()
                break
        assert drops.closed.wait(PATIENCE)
    assert len(drops.contents) == 2


def test_a_message_that_is_not_there(front: Front) -> None:
    with front.POP3Server(Drops(*numbered(1)), port=0, config=CONFIG) as server, client_of(front, server) as pop:
        with pytest.raises(ResponseError):
            pop.retrieve(2)
        with pytest.raises(ResponseError):
            pop.delete(2)
        assert pop.retrieve(1) == numbered(1)[0]


def test_a_message_that_went_missing_costs_no_other(front: Front) -> None:
    class Moth(Drops):
        def on_retrieve(self, session: Any, number: int) -> bytes:
            if number == 2:
                raise Reject(450, "eaten by moths", "SYS/TEMP")
            return self.contents[number - 1]

    with front.POP3Server(Moth(*numbered(3)), port=0, config=CONFIG) as server, client_of(front, server) as pop:
        fetching = iter(pop.messages())
        assert next(fetching).number == 1
        with pytest.raises(ResponseError, match="eaten by moths"):
            next(fetching)
        third = next(fetching)
        assert (third.number, third.read()) == (3, numbered(3)[2])


def test_two_sessions_at_once(front: Front) -> None:
    drops = Drops(*numbered(1))
    with front.POP3Server(drops, port=0, config=CONFIG) as server:
        with client_of(front, server) as pop:
            with pytest.raises(AuthenticationError) as caught:
                client_of(front, server).connect()
            assert caught.value.temporary
            assert pop.status().messages == 1
        with client_of(front, server) as pop:
            assert pop.status().messages == 1


@pytest.mark.parametrize("tls", [TLSPolicy.IMPLICIT, TLSPolicy.REQUIRED])
def test_under_tls(front: Front, tls: TLSPolicy) -> None:
    implicit = tls is TLSPolicy.IMPLICIT
    limits = Limits(auth_failure_delay=0.0)
    config = POP3ServerConfig(limits=limits)
    with front.POP3Server(
        Drops(*numbered(2)), port=0, tls=server_context(), implicit_tls=implicit, config=config
    ) as server:
        where = {"host": "localhost", "port": server.port, "tls": tls}
        with front.POP3Client(**where, cafile=CA, **ADA) as pop:
            assert pop.tls.version == "TLSv1.3"
            assert [message.read() for message in pop.messages()] == numbered(2)
        with pytest.raises(AuthenticationError):
            front.POP3Client(**where, cafile=CA, user="ada", password="byron").connect()
        with pytest.raises(ssl.SSLCertVerificationError):
            front.POP3Client(**where, **ADA).connect()
        with front.POP3Client(**where, cafile=CA) as pop:
            pop.log_in("ada", "lovelace")
            assert pop.status().messages == 2


def test_credentials_do_not_leave_in_clear(front: Front) -> None:
    with front.POP3Server(Drops(), port=0, config=CONFIG) as server:
        with pytest.raises(TLSRequiredError):
            front.POP3Client("127.0.0.1", server.port, **ADA).connect()
        with pytest.raises(AuthenticationError):
            front.POP3Client("127.0.0.1", server.port, tls=TLSPolicy.NONE, **ADA).connect()


def test_a_handler_over_events(front: Front) -> None:
    removed: list[tuple[int, ...]] = []

    def handle(session: POP3Session, event: Any) -> None:
        match event:
            case pop3.Login(username="ada", password="lovelace"):
                session.accept(maildrop=[pop3.MessageInfo(7, "uid")])
            case pop3.Retrieve():
                session.accept()
                session.send_data(b"a: b\r\n\r\n"[:-1])
                session.send_data(b"\n")
                session.end_data()
            case pop3.Update(deleted=deleted):
                removed.append(tuple(deleted))
                session.accept()

    config = POP3ServerConfig(allow_plaintext_auth=True)
    with front.POP3Server(front.handler(handle), port=0, config=config) as server:
        with pytest.raises(AuthenticationError):
            client_of(front, server, password="byron").connect()
        with client_of(front, server) as pop:
            assert pop.listing() == [(1, 7, "uid")]
            pop.delete(1)
    assert removed == [(1,)]


def test_a_server_that_is_shut_down_deletes_nothing(front: Front) -> None:
    drops = Drops(*numbered(1))
    server = front.POP3Server(drops, port=0, config=CONFIG)
    server.start()
    pop = client_of(front, server)
    pop.connect()
    pop.delete(1)
    server.close(PATIENCE)
    with pytest.raises((ConnectionClosedError, ResponseError)):
        pop.quit()
    wait_until(lambda: server.connections == 0)
    assert len(drops.contents) == 1


def test_that_a_server_has_left_is_told_each_time(front: Front) -> None:
    """Its last words and its end may come together; what is asked behind them is no mistake of the caller's."""

    def script(wire: Wire) -> None:
        wire.send(b"+OK\r\n")
        for answer in (b"-ERR\r\n", b"+OK\r\n", b"+OK\r\n", b"+OK 0 0\r\n"):
            wire.line()
            wire.send(answer)

    with scripted(script) as port:
        client = front.POP3Client("127.0.0.1", port, **CLEAR, **ADA)
        with pytest.raises(ConnectionClosedError), client:
            assert client.status() == (0, 0)
            for ask in (client.noop, client.noop, lambda: client.delete(1), client.listing):
                with pytest.raises(ConnectionClosedError):
                    ask()


def test_a_client_keeps_its_secrets(front: Front) -> None:
    client = front.POP3Client("127.0.0.1", **ADA)
    assert "lovelace" not in repr(client)
    with pytest.raises(TypeError):
        pickle.dumps(client)
