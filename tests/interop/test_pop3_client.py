"""Our POP3 clients meet Dovecot."""

from contextlib import AbstractContextManager
from typing import Any

import pytest

from mailproto.errors import AuthenticationError
from mailproto.pop3 import ResponseError
from mailproto.pop3.config import POP3ClientConfig
from mailproto.sync import TLSPolicy
from tests import data
from tests.interop.clients import on_the_wire
from tests.interop.dovecot import Dovecot, Mailbox
from tests.interop.ours import ADAPTERS, Adapter, client

MAIL = [path.read_bytes() for path in data.MAIL.values()]
FETCHED = [on_the_wire(message) for message in MAIL]
NONE, REQUIRED, IMPLICIT = TLSPolicy.NONE, TLSPolicy.REQUIRED, TLSPolicy.IMPLICIT


@pytest.fixture
def full_mailbox(mailbox: Mailbox) -> Mailbox:
    for number, message in enumerate(MAIL):
        mailbox.put(message, f"{number}")
    return mailbox


def pop3(
    adapter: Adapter, dovecot: Dovecot, mailbox: Mailbox, tls: TLSPolicy = IMPLICIT, **arguments: Any
) -> AbstractContextManager[Any]:
    port = dovecot.pop3s_port if tls is IMPLICIT else dovecot.pop3_port
    login = {"user": mailbox.name, "password": mailbox.password, "allow_plaintext_auth": tls is NONE}
    return client(adapter, "POP3Client", port, tls=tls, **{**login, **arguments})


@pytest.mark.parametrize("pipelining", [True, False], ids=["pipelined", "in-steps"])
@pytest.mark.parametrize("tls", [NONE, REQUIRED, IMPLICIT])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_message_is_fetched(
    dovecot: Dovecot, full_mailbox: Mailbox, adapter: Adapter, tls: TLSPolicy, pipelining: bool
) -> None:
    config = POP3ClientConfig(pipelining=pipelining)
    with pop3(adapter, dovecot, full_mailbox, tls, config=config) as client:
        assert (client.tls is not None) == (tls is not NONE)
        assert client.capabilities.pipelining and client.capabilities.uidl
        listing = client.listing()
        assert [message.number for message in listing] == list(range(1, len(MAIL) + 1))
        assert len({message.uid for message in listing}) == len(MAIL)
        sizes, messages = [], []
        for message in client.messages():
            sizes.append(message.size)
            messages.append(message.read())
    assert messages == FETCHED
    assert sizes == [len(message) for message in MAIL], "Dovecot does not count the line end that it adds"
    assert full_mailbox.messages() == MAIL


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_deletions_take_effect_at_quit(dovecot: Dovecot, full_mailbox: Mailbox, adapter: Adapter) -> None:
    with pop3(adapter, dovecot, full_mailbox) as client:
        assert client.status().messages == len(MAIL)
        client.delete(1)
        client.reset()
        for message in client.messages():
            if message.number in (2, 3):
                message.delete()  # unread
        client.delete(4)
        with pytest.raises(ResponseError):
            client.retrieve(4)
        client.noop()
        assert client.retrieve(1) == FETCHED[0]
        assert full_mailbox.messages() == MAIL
    assert full_mailbox.messages() == MAIL[:1] + MAIL[4:]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_connection_that_drops_deletes_nothing(dovecot: Dovecot, full_mailbox: Mailbox, adapter: Adapter) -> None:
    with pytest.raises(KeyError), pop3(adapter, dovecot, full_mailbox) as client:
        client.delete(1)
        raise KeyError
    with pop3(adapter, dovecot, full_mailbox) as client:
        assert client.status().messages == len(MAIL)
    assert full_mailbox.messages() == MAIL


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_top_gives_the_header_and_some_lines(dovecot: Dovecot, full_mailbox: Mailbox, adapter: Adapter) -> None:
    with pop3(adapter, dovecot, full_mailbox) as client:
        for number, message in enumerate(FETCHED, start=1):
            header, _, body = message.partition(b"\r\n\r\n")
            lines = body.split(b"\r\n")[:-1]
            for count in (0, 3, len(lines) + 10):
                shown = b"".join(line + b"\r\n" for line in lines[:count])
                assert client.top(number, count) == header + b"\r\n\r\n" + shown


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_five_hundred_messages(dovecot: Dovecot, mailbox: Mailbox, adapter: Adapter) -> None:
    messages = [b"Subject: %d\r\n\r\n%s" % (n, b"Number.\r\n.\r\n" * (n % 97)) for n in range(500)]
    for number, message in enumerate(messages):
        mailbox.put(message, f"{number:03}")
    with pop3(adapter, dovecot, mailbox) as client:
        for expected, message in zip(messages, client.messages(), strict=True):
            assert message.read() == expected
            if message.number % 2:
                message.delete()
    assert mailbox.messages() == messages[1::2]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_ten_megabytes_come_in_pieces(dovecot: Dovecot, mailbox: Mailbox, adapter: Adapter) -> None:
    big = MAIL[0] + b"The engine weaves patterns.\r\n.\r\n" * 320_000
    mailbox.put(big, "1")
    with pop3(adapter, dovecot, mailbox) as client:
        message = next(iter(client.messages()))
        pieces = list(message)
    assert b"".join(pieces) == big
    assert len(pieces) > 10


@pytest.mark.parametrize("by", [None, "PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "USER", "APOP"])
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_way_to_log_in(dovecot: Dovecot, full_mailbox: Mailbox, adapter: Adapter, by: str | None) -> None:
    how: dict[str, Any] = {"mechanisms": (by,)}
    if by in (None, "USER", "APOP"):
        how = {"mechanisms": None if by is None else (), "apop": by == "APOP"}
    with pop3(adapter, dovecot, full_mailbox, REQUIRED, **how) as client:
        assert client.status().messages == len(MAIL)
        said = str(client.said)
    assert f"C: {by}" in said if by in ("USER", "APOP") else f"C: AUTH {by or 'SCRAM-SHA-256'}" in said
    assert full_mailbox.password not in said
    wrong = pop3(adapter, dovecot, full_mailbox, REQUIRED, **how, password="wrong")
    with pytest.raises(AuthenticationError), wrong:
        pytest.fail("logged in")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_password_is_not_said_in_clear(dovecot: Dovecot, mailbox: Mailbox, adapter: Adapter) -> None:
    in_clear = pop3(adapter, dovecot, mailbox, NONE, allow_plaintext_auth=False, mechanisms=("PLAIN",))
    with pytest.raises(AuthenticationError), in_clear:
        pytest.fail("logged in")


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_empty_mailbox(dovecot: Dovecot, mailbox: Mailbox, adapter: Adapter) -> None:
    with pop3(adapter, dovecot, mailbox) as client:
        assert client.status() == (0, 0)
        assert client.listing() == []
        assert list(client.messages()) == []
        with pytest.raises(ResponseError):
            client.retrieve(1)
