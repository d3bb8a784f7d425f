"""Servers that make clients wait which err again and again, over either adapter and with either kind of handler."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

import pytest

from mailproto._core.limits import Limits
from mailproto._net.listener import ServerOptions
from mailproto.pop3 import POP3ServerConfig
from mailproto.smtp import SMTPServerConfig
from tests.adapters.facades import AioFront, SyncFront
from tests.adapters.harness import Wire, at_best

Front = AioFront | SyncFront
DELAY = 0.25
LIMITS = Limits(max_free_errors=2, max_errors=9, error_delay=DELAY)


class Anybody:
    """A handler of both protocols that has nothing to say."""

    def on_connect(self, session: Any) -> None:
        """Let everybody in."""


def over_events(session: Any, event: object) -> None:
    """Answer nothing."""


@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize("protocol", ["SMTP", "POP3"])
def test_who_errs_again_and_again_has_to_wait(front: Front, protocol: str, events: bool) -> None:
    handler = front.handler(over_events) if events else Anybody()
    config = SMTPServerConfig(limits=LIMITS) if protocol == "SMTP" else POP3ServerConfig(limits=LIMITS)
    server = getattr(front, f"{protocol}Server")(handler, port=0, config=config)
    with server:
        assert at_best(partial(waits, server.port), EXPECTED.__eq__) == EXPECTED


EXPECTED = [False, False, False, True, True]
"""The answer comes at once; what waits is the next command."""


def waits(port: int) -> list[bool]:
    """Err again and again; say of each answer whether it came late behind the command before its own."""
    with Wire.to(port) as wire:
        wire.line()
        late, before = [], time.monotonic()
        for _ in range(5):
            begun = time.monotonic()
            wire.send(b"NONSENSE\r\n")
            wire.line()
            late.append(time.monotonic() - before >= DELAY * 0.8)
            before = begun
    return late


@pytest.mark.parametrize("protocol", ["SMTP", "POP3"])
def test_who_has_to_wait_is_no_trouble_when_a_server_closes(
    front: Front, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = SMTPServerConfig(limits=LIMITS) if protocol == "SMTP" else POP3ServerConfig(limits=LIMITS)
    options = ServerOptions(grace=0.0)
    with getattr(front, f"{protocol}Server")(Anybody(), port=0, config=config, options=options) as server:
        wire = Wire.to(server.port)
        wire.line()
        for _ in range(3):
            wire.send(b"NONSENSE\r\n")
            wire.line()
    wire.close()
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []
