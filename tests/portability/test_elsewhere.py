"""A system that is not POSIX, simulated: what works there works, and what does not says so when it is wanted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import data
from tests.portability import wanted

ROOT = Path(__file__).parents[2]
TIMEOUT = 120
MAIL = b"Subject: by command\n\n.Hello\n"


def command(*arguments: str) -> list[str]:
    """Return the command that runs a module elsewhere. A warning is an error there, too."""
    run = f"import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv.pop(0); {_RUN}"
    return [sys.executable, *_STRICTLY, "-c", run, "", *arguments]


_STRICTLY = ("-I", "-X", "dev", "-X", "warn_default_encoding", "-W", "error")
_RUN = "runpy.run_module('tests.portability.elsewhere', run_name='__main__', alter_sys=True)"


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run a module there, in a folder, to its end; return what it printed, complaints behind the rest."""
    password = {**os.environ, "PASSWORD": "secret"}
    done = subprocess.run(command(*arguments), capture_output=True, timeout=TIMEOUT, cwd=folder, env=password)
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == code, said
    assert "Traceback" not in said
    return said


def test_mail_goes_and_comes_by_both_adapters(tmp_path: Path) -> None:
    assert run(tmp_path, "tests.portability.conversation") == "every octet came back\n"


def test_quickstart_runs_and_says_what_it_does_without(tmp_path: Path) -> None:
    said = run(tmp_path, "examples.quickstart")
    assert "every octet came back\n" in said
    assert "-- In the Maildir --" not in said
    assert said.endswith("a Maildir needs a POSIX system, so that the mail is kept in memory\n")


@pytest.mark.parametrize("name", ["by_hand", "inbox", "relay", "selector_loop"])
def test_examples_run(tmp_path: Path, name: str) -> None:
    assert run(tmp_path, f"examples.{name}")


def test_what_cannot_be_had_is_refused_at_once(tmp_path: Path) -> None:
    said = run(tmp_path, "tests.portability.wanted").splitlines()
    assert said.pop() == "ledger: 1"
    assert [line.partition(": ")[0] for line in said] == list(wanted.WANTED)
    for line in said:
        assert ": NotSupportedError: " in line
    assert sorted(path.name.partition(".")[0] for path in tmp_path.iterdir()) == ["ledger", "ledger"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("tls", [False, True])
def test_commands_serve_send_fetch_and_probe(tmp_path: Path, number: signal.Signals, tls: bool) -> None:
    (tmp_path / "mail").write_bytes(MAIL)
    ours = ["--tls-cert", str(data.SERVER.certificate), "--tls-key", str(data.SERVER.key)] if tls else []
    theirs = ["--cafile", str(data.CA)] if tls else ["--tls", "none"]
    arguments = ["serve", "--user", "ada:secret", "--smtp", "localhost:0", "--pop3", "localhost:0", *ours]
    if not tls:
        arguments.append("--allow-plaintext-auth")
    with subprocess.Popen(
        command("mailproto", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
    ) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        smtp, pop3 = ("localhost:" + server.stdout.readline().decode().split()[-1] for _ in range(2))
        sent = run(tmp_path, "mailproto", "send", "--server", smtp, *theirs, "--from", "", "--to", "ada@x", "mail")
        assert "ada@x: accepted" in sent
        login = ["--user", "ada", "--password-env", "PASSWORD"]
        assert "protocol: POP3" in run(tmp_path, "mailproto", "probe", "--server", pop3, "--pop3", *theirs, *login)
        fetched = run(tmp_path, "mailproto", "fetch", "--server", pop3, *theirs, *login)
        assert fetched.encode() == MAIL.replace(b"\n", b"\r\n")
        server.send_signal(number)
        out, complaints = server.communicate(timeout=TIMEOUT)
        assert (out, complaints, server.returncode) == (b"", b"", 0)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("serve", "--maildir", "mail"), "NotSupportedError: a Maildir needs a POSIX system\n"),
        (("relay", "--queue", "queue", "--smarthost", "localhost"), "--queue: a queue needs a POSIX system\n"),
        (("serve", "--smtp", "./socket"), "NotSupportedError: there are no unix sockets on this system: socket\n"),
    ],
)
def test_commands_say_what_cannot_be_had(tmp_path: Path, arguments: tuple[str, ...], complaint: str) -> None:
    assert run(tmp_path, "mailproto", *arguments, code=1) == complaint
    assert list(tmp_path.iterdir()) == []
