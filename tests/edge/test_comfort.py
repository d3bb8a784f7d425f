"""What clients are spared: to ask how far a message is, and to find out whether a server can be used at all."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mailproto import AuthenticationError, TLSPolicy, aio
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.pop3 import POP3ServerConfig
from mailproto.smtp import Limits, SMTPClientConfig, SMTPServerConfig
from mailproto.smtp.flows.sending import send_message, send_messages
from mailproto.smtp.messages.submission import make_submission
from tests.adapters.harness import PATIENCE, held_port, server_context
from tests.cli.harness import serving as serving_host
from tests.data import CA
from tests.edge.test_chunks import Inbox, ours
from tests.smtp import client
from tests.smtp.pipes import converse, scripted

PARTIES = ("a@x", ["b@x"])
MESSAGE = b"Subject: x\r\n\r\n" + (b"y" * 98 + b"\r\n") * 6000
CHUNKS = ("PIPELINING", "CHUNKING")


@pytest.mark.parametrize("keywords", [CHUNKS, ("PIPELINING",), ()])
def test_progress_goes_up_to_the_whole(keywords: tuple[str, ...]) -> None:
    told: list[tuple[int, int | None]] = []
    conn = client(*keywords)
    submission = make_submission(MESSAGE, *PARTIES, progress=lambda sent, total: told.append((sent, total)))
    driver, _ = converse(conn, send_message(conn, submission), ours(Inbox()))
    assert driver.result.ok
    assert told == sorted(told)
    assert len(told) >= 3
    assert told[-1] == (len(MESSAGE), len(MESSAGE))


@pytest.mark.parametrize("keywords", [CHUNKS, ("PIPELINING",)])
def test_of_an_iterable_the_whole_is_not_known(keywords: tuple[str, ...]) -> None:
    told: list[tuple[int, int | None]] = []
    conn = client(*keywords)
    pieces = [MESSAGE[i : i + 100_000] for i in range(0, len(MESSAGE), 100_000)]
    submission = make_submission(iter(pieces), *PARTIES, progress=lambda sent, total: told.append((sent, total)))
    driver, _ = converse(conn, send_message(conn, submission), ours(Inbox()))
    assert driver.result.ok
    assert [sent for sent, _ in told if sent] == [*range(100_000, len(MESSAGE), 100_000), len(MESSAGE)]
    assert {total for _, total in told} == {None}


def test_each_message_has_its_own() -> None:
    told: list[tuple[str, int]] = []

    def teller(name: str) -> Callable[[int, int | None], None]:
        return lambda sent, _: told.append((name, sent))

    conn = client("PIPELINING")
    submissions = [make_submission(MESSAGE, *PARTIES, progress=teller(name)) for name in "ab"]
    driver, _ = converse(conn, send_messages(conn, submissions), ours(Inbox()))
    assert all(result.ok for result in driver.result)
    assert [name for name, _ in told] == sorted(name for name, _ in told)
    assert ("a", len(MESSAGE)) in told
    assert ("b", len(MESSAGE)) in told


def test_of_what_is_refused_nothing_is_told() -> None:
    told: list[int] = []
    conn = client("PIPELINING")
    submission = make_submission(MESSAGE, *PARTIES, progress=lambda sent, _: told.append(sent))
    driver, _ = converse(conn, send_message(conn, submission), scripted("550 no|503 no|503 no", greeting=""))
    assert driver.result.refused
    assert told == []


class Taking:
    def on_rcpt(self, session: Any, rcpt: Any) -> None:
        return None

    def on_message(self, session: Any, envelope: Any) -> None:
        return None


@pytest.mark.parametrize("chunking", [True, False])
def test_progress_over_real_sockets(front: Any, chunking: bool) -> None:
    told: list[tuple[int, int | None]] = []
    config = SMTPClientConfig(chunking=chunking)
    with front.SMTPServer(Taking(), port=0) as server:
        with front.SMTPClient("127.0.0.1", server.port, config=config) as sender:
            sender.send_message(MESSAGE, *PARTIES, progress=lambda *so_far: told.append(so_far)).raise_for_refused()
        assert told[-1] == (len(MESSAGE), len(MESSAGE))

        def fail(sent: int, total: int | None) -> None:
            raise KeyError("the caller's own")

        sender = front.SMTPClient("127.0.0.1", server.port, config=config)
        with pytest.raises(KeyError), sender:
            sender.send_message(MESSAGE, *PARTIES, progress=fail)
        assert sender.conn.over, "half a message cannot be taken back"


def on_a_terminal(*arguments: str) -> bytes:
    """Run a command with a terminal for its standard error; return what stands there at the end."""
    terminal, side = pty.openpty()
    command = [sys.executable, "-m", "mailproto", *arguments]
    try:
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=side, timeout=PATIENCE, check=True)
        os.set_blocking(terminal, False)
        return os.read(terminal, 1 << 20)
    except BlockingIOError:
        return b""
    finally:
        os.close(side)
        os.close(terminal)


def test_the_command_line_shows_it_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", "x")
    long, short = tmp_path / "long.eml", tmp_path / "short.eml"
    long.write_bytes(MESSAGE * 4)
    short.write_bytes(b"Subject: x\n\nshort\n")
    with serving_host() as server:
        sending = ["send", "--server", f"127.0.0.1:{server.ports['smtp']}", "--from", "", "--to", "a@b.example"]
        fetching = ["fetch", "--server", f"127.0.0.1:{server.ports['pop3']}", "--tls", "none", "--user", "x"]
        fetching += ["--password-env", "PW", "--maildir", str(tmp_path / "inbox")]
        for path, options, shown in ((long, [], True), (short, [], False), (long, ["-v"], False)):
            assert (b"\rsent: 100 %" in on_a_terminal(*sending, *options, str(path))) is shown
            assert (b"\rfetched: 100 %" in on_a_terminal(*fetching, *options)) is shown


def test_so_it_does_where_only_what_is_new_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How much that will be nobody knows before."""
    monkeypatch.setenv("PW", "x")
    long = tmp_path / "long.eml"
    long.write_bytes(MESSAGE * 4)
    mebibytes = len(MESSAGE * 4) >> 20
    with serving_host() as server:
        sending = ["send", "--server", f"127.0.0.1:{server.ports['smtp']}", "--from", "", "--to", "a@b.example"]
        fetching = ["fetch", "--server", f"127.0.0.1:{server.ports['pop3']}", "--tls", "none", "--user", "x"]
        fetching += ["--password-env", "PW", "--maildir", str(tmp_path / "inbox"), "--ledger", str(tmp_path / "seen")]
        on_a_terminal(*sending, str(long))
        said = on_a_terminal(*fetching, "--keep")
        assert said.endswith(b"\rstored: %3d MiB\r\n" % mebibytes)
        assert said.count(b"\r\n") == 1
        assert on_a_terminal(*fetching, "--keep") == b"", "nothing is new"
        on_a_terminal(*sending, str(long))
        assert b"\rstored" not in on_a_terminal(*fetching, "--keep", "-v")


# A look at a server.


def host() -> MailHost:
    return MailHost(lambda _: MemoryMaildrop(), {"ada": "secret"}, ["x"])


def verify(front: Any, *arguments: Any, protocol: str = "smtp", **keywords: Any) -> Any:
    name = f"verify_{protocol}"
    if front.name == "sync":
        return getattr(front, name)(*arguments, **keywords)
    return front.loop.run(getattr(aio, name)(*arguments, **keywords))


def test_a_server_is_looked_at(front: Any) -> None:
    limits = Limits(auth_failure_delay=0.0)
    config = SMTPServerConfig(hostname="mx.example", max_message_size=1234, limits=limits)
    with front.SMTPServer(host(), port=0, config=config, tls=server_context()) as server:
        report = verify(
            front, "localhost", server.port, tls=TLSPolicy.REQUIRED, cafile=CA, user="ada", password="secret"
        )
        assert report.name == "mx.example"
        assert report.max_message_size == 1234
        assert report.extensions["SIZE"] == "1234"
        assert "PLAIN" in report.auth_mechanisms
        assert report.tls is not None
        assert report.limits.rcpt_max == 1000
        with pytest.raises(AuthenticationError):
            verify(front, "localhost", server.port, tls=TLSPolicy.REQUIRED, cafile=CA, user="ada", password="wrong")
        assert verify(front, "localhost", server.port, tls=TLSPolicy.NONE).auth_mechanisms == ()
    with held_port() as port, pytest.raises(ConnectionRefusedError):
        verify(front, "127.0.0.1", port, tls=TLSPolicy.NONE)


def test_a_maildrop_is_looked_at(front: Any) -> None:
    drop = MemoryMaildrop()
    drop.deliver([b"Subject: x\r\n\r\n"])
    limits = Limits(auth_failure_delay=0.0)
    config = POP3ServerConfig(implementation="ours", limits=limits)
    served = MailHost(lambda _: drop, {"ada": "secret"})
    with front.POP3Server(served, port=0, config=config, tls=server_context()) as server:
        where: dict[str, Any] = {"tls": TLSPolicy.REQUIRED, "cafile": CA, "protocol": "pop3"}
        report = verify(front, "localhost", server.port, user="ada", password="secret", **where)
        assert report.capabilities.uidl
        assert report.capabilities.implementation == "ours"
        assert "PLAIN" in report.auth_mechanisms
        assert report.tls is not None
        with pytest.raises(AuthenticationError):
            verify(front, "localhost", server.port, user="ada", password="wrong", **where)
        report = verify(front, "localhost", server.port, tls=TLSPolicy.NONE, protocol="pop3")
        assert report.auth_mechanisms == ()
        assert report.capabilities.stls
        assert report.tls is None
    assert len(list(drop.open().messages)) == 1
    with held_port() as port, pytest.raises(ConnectionRefusedError):
        verify(front, "127.0.0.1", port, tls=TLSPolicy.NONE, protocol="pop3")
