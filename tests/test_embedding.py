"""The protocol in examples/README.md that embeds a state machine does STARTTLS, and believes nothing said before."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mailproto import aio
from mailproto.smtp import MessageEnd, Rcpt
from tests import data
from tests.adapters.harness import PATIENCE
from tests.test_common_jobs import SECTIONS

(CODE,) = re.findall(r"^```python\n(.*?)^```$", SECTIONS["Embedding the state machines"], re.DOTALL | re.MULTILINE)
CONTEXT = aio.server_context(data.SERVER.certificate, data.SERVER.key)


def answer(conn: Any, event: Any) -> None:
    if isinstance(event, Rcpt):
        conn.accept()
    elif isinstance(event, MessageEnd):
        conn.accept(f"under {conn.tls.version}" if conn.tls else "taken")
    elif conn.pending is not None:
        conn.answer_default()


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    names: dict[str, Any] = {}
    exec(compile(CODE, "examples/README.md", "exec"), names)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: names["Carrier"](CONTEXT, answer), "localhost", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("tls", [aio.TLSPolicy.REQUIRED, aio.TLSPolicy.NONE])
def test_mail_comes_through(tls: aio.TLSPolicy) -> None:
    """Again and again, for what comes with the last word of the handshake does so only now and then."""

    async def run() -> None:
        async with serving() as port:
            for _ in range(20):
                async with aio.SMTPClient("localhost", port, tls=tls, cafile=data.CA, timeout=PATIENCE) as client:
                    result = await client.send_message(b"Subject: x\r\n\r\n", "", "ada@example.org")
                    assert str(result.reply) == f"250 2.0.0 {'under TLSv1.3' if client.tls else 'taken'}"
                    assert (client.tls is not None) == (tls is aio.TLSPolicy.REQUIRED)

    asyncio.run(run())


@pytest.mark.parametrize("gap", [False, True])
def test_what_is_said_before_the_handshake_is_not_believed(gap: bool) -> None:
    async def run() -> None:
        async with serving() as port, asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection("localhost", port)
            writer.write(b"EHLO client.example\r\n")
            while not (await reader.readline()).startswith(b"250 "):
                """The greeting, and what is offered."""
            writer.write(b"STARTTLS\r\n" + (b"" if gap else b"NOOP\r\n"))
            said = await reader.readline()
            if gap:
                assert said.startswith(b"220 ")
                writer.write(b"NOOP\r\n")
            rest = await reader.read()
            assert b"250" not in said + rest
            writer.close()

    asyncio.run(run())
