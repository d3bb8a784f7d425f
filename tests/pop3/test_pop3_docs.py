"""The examples in the package's docstring do what they say, against each other."""

from __future__ import annotations

import ast
import socket
import textwrap
import threading
from contextlib import ExitStack, closing
from typing import Any

import mailproto.pop3
from mailproto.maildrop import MemoryMaildrop
from tests.adapters.harness import PATIENCE

CONTENT = b"Subject: one\r\n\r\n.dot\r\n"


def examples() -> list[str]:
    """Return the indented blocks of the docstring."""
    blocks: list[list[str]] = []
    for before, line in zip(["", *(lines := (mailproto.pop3.__doc__ or "").split("\n"))], lines, strict=False):
        if line.startswith("    ") and not before.startswith("    ") and before == "" and line.strip():
            blocks.append([])
        if blocks and (line.startswith("    ") or not line):
            blocks[-1].append(line)
    return [textwrap.dedent("\n".join(block)) for block in blocks]


def run(code: str, sock: socket.socket, **names: Any) -> dict[str, Any]:
    namespace = {name: getattr(mailproto.pop3, name) for name in mailproto.pop3.__all__}
    namespace |= {"sock": sock, "ExitStack": ExitStack, "closing": closing, **names}
    with sock:
        exec(compile(ast.parse(code), "the docstring", "exec"), namespace)
    return namespace


def test_the_server_by_hand_serves_the_client_by_hand() -> None:
    server_code, client_code = examples()
    maildrop = MemoryMaildrop()
    maildrop.deliver([CONTENT])
    ours, theirs = socket.socketpair()
    names = {"passwords": {"ada": "secret"}, "open_maildrop": lambda username: maildrop.open()}
    server = threading.Thread(target=run, args=(server_code, ours), kwargs=names)
    server.start()
    try:
        seen = run(client_code, theirs)
    finally:
        server.join(PATIENCE)
    assert b"".join(seen["message"]) == CONTENT
    assert not server.is_alive()
    assert not maildrop.open().messages, "it was deleted, and the lock is free"
