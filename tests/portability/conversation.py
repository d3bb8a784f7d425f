"""Mail by both adapters, under TLS, over the maildrop in memory; and every module of the project read."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
from typing import Any

import examples
import mailproto
from mailproto import aio, sync
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import BLOCKING_HOOKS, MailHost
from tests import data

MAIL = b"Subject: elsewhere\r\n\r\n.Hello\r\n"
USER: dict[str, Any] = {"user": "ada", "password": "secret", "tls": sync.TLSPolicy.REQUIRED, "cafile": str(data.CA)}


def read_all() -> None:
    """Import every module."""
    for package in (mailproto, examples):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def host() -> MailHost:
    """Return a host that has to be told TLS and password."""
    return MailHost(lambda _: MemoryMaildrop(), {"ada": "secret"}, ["example.org"])


def blocking() -> list[bytes]:
    """Send and fetch over blocking sockets."""
    handler = host()
    where: dict[str, Any] = {"port": 0, "tls": sync.server_context(data.SERVER.certificate, data.SERVER.key)}
    with sync.SMTPServer(handler, **where) as smtp, sync.POP3Server(handler, **where) as pop3:
        with sync.SMTPClient("localhost", smtp.port, **USER) as client:
            client.send_message(MAIL, "grace@example.net", "ada@example.org").raise_for_refused()
        with sync.POP3Client("localhost", pop3.port, **USER) as pop:
            return [message.read() for message in pop.messages()]


async def evented() -> list[bytes]:
    """Send and fetch over asyncio."""
    handler: Any = aio.InThreads(host(), *BLOCKING_HOOKS)
    where: dict[str, Any] = {"port": 0, "tls": aio.server_context(data.SERVER.certificate, data.SERVER.key)}
    async with aio.SMTPServer(handler, **where) as smtp, aio.POP3Server(handler, **where) as pop3:
        async with aio.SMTPClient("localhost", smtp.port, **USER) as client:
            (await client.send_message(MAIL, "grace@example.net", "ada@example.org")).raise_for_refused()
        async with aio.POP3Client("localhost", pop3.port, **USER) as pop:
            return [await message.read() async for message in pop.messages()]


if __name__ == "__main__":
    read_all()
    assert blocking() == [MAIL]
    assert asyncio.run(evented()) == [MAIL]
    print("every octet came back")
