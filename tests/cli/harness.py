"""Runs the commands: ``serve`` and ``relay`` as processes of their own, the others in this one."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from mailproto.cli import main
from tests.adapters.harness import PATIENCE


class Running:
    """A process that serves, and where its listeners are."""

    def __init__(self, process: subprocess.Popen[str], ports: dict[str, int]) -> None:
        self.process = process
        self.ports = ports

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send the signal; return the exit status and what else was printed."""
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out


def serving(
    *arguments: str, listeners: tuple[str, ...] = ("smtp", "pop3"), pass_fds: tuple[int, ...] = ()
) -> AbstractContextManager[Running]:
    """Run ``serve`` with these listeners, ``name=place`` or the name alone, which is on a free port, and hand these
    descriptors down to it."""
    return _running("serve", arguments, listeners, pass_fds)


def relaying(*arguments: str, listeners: tuple[str, ...] = ("submission",)) -> AbstractContextManager[Running]:
    """Run ``relay`` with these listeners on free ports."""
    return _running("relay", arguments, listeners)


@contextmanager
def _running(
    command: str, arguments: tuple[str, ...], listeners: tuple[str, ...], pass_fds: tuple[int, ...] = ()
) -> Iterator[Running]:
    wanted = [each.partition("=") for each in listeners]
    places = [f"--{name}={place or '127.0.0.1:0'}" for name, _, place in wanted]
    line = [sys.executable, "-m", "mailproto", command, *places, *arguments]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, pass_fds=pass_fds)
    assert process.stdout is not None
    try:
        ports = {}
        for _ in listeners:
            said = process.stdout.readline()
            match = re.fullmatch(r"(\w+): listening on 127\.0\.0\.1 port (\d+)\n", said)
            assert match, said
            ports[match[1]] = int(match[2])
        yield Running(process, ports)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run a command in this process; return its exit status and the one line of JSON that it printed."""
    status = main([*arguments, "--json"])
    said = capsys.readouterr()
    (line,) = said.out.splitlines()
    result = json.loads(line)
    if result["error"] is not None:
        assert f"{result['error']}: " in said.err  # where people read what programs have no use for
    return status, result


def run_in_vain(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Run a command in this process that cannot do what it is to; return its exit status, and its complaint."""
    words = ""
    try:
        status = main(arguments)
    except SystemExit as ended:
        if isinstance(ended.code, int):
            status = ended.code
        else:  # Python says it, and has this status
            status, words = 1, f"{ended.code}\n"
    said = capsys.readouterr()
    assert said.out == ""
    return status, said.err + words
