"""The command line at the edge: ``serve --lmtp``."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from mailproto import TLSPolicy, sync
from mailproto.cli import main
from mailproto.cli.options import HostPort, listening_place
from mailproto.smtp import SMTPClientConfig
from tests.adapters.harness import PATIENCE
from tests.cli.harness import serving


def test_a_mail_host_that_speaks_lmtp(tmp_path: Path) -> None:
    """Each recipient has an answer of his own, and each user's message is on disk."""
    users = ("--user", "ada:x", "--user", "bob:y", "--domain", "example.org")
    with serving("--maildir", str(tmp_path), *users, listeners=("lmtp",)) as server:
        config = SMTPClientConfig(lmtp=True)
        with sync.SMTPClient("127.0.0.1", server.ports["lmtp"], tls=TLSPolicy.NONE, config=config) as client:
            to = ["ada@example.org", "eve@example.org", "bob@example.org"]
            result = client.send_message(b"Subject: x\r\n\r\nbody\r\n", "s@example.net", to)
    assert [recipient.outcome.name for recipient in result.recipients] == ["ACCEPTED", "REFUSED", "ACCEPTED"]
    assert [str(recipient.reply) for recipient in result.accepted] == ["250 2.0.0 Message delivered"] * 2
    assert sorted(path.relative_to(tmp_path).parts[0] for path in tmp_path.glob("*/new/*")) == ["ada", "bob"]


def serve_on(path: str, *arguments: str) -> subprocess.Popen[str]:
    """Run ``serve`` with LMTP on a unix socket, and wait until it listens."""
    command = [sys.executable, "-m", "mailproto", "serve", "--lmtp", path, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == f"lmtp: listening on {path}\n"
    return process


def send_to(path: str) -> str:
    config = SMTPClientConfig(lmtp=True)
    with sync.SMTPClient(path=path, config=config) as client:
        result = client.send_message(b"Subject: x\r\n\r\nbody\r\n", "s@example.net", "ada@example.org")
    return str(result.recipients[0].reply)


def test_a_mail_host_on_a_unix_socket(tmp_path: Path) -> None:
    """It is there while the server is; what a dead server left is replaced, and a living one is not disturbed."""
    path = str(tmp_path / "lmtp")
    delivered = "250 2.0.0 Message delivered"
    with serve_on(path) as killed:
        assert send_to(path) == delivered
        killed.kill()
        killed.wait(PATIENCE)
    assert Path(path).is_socket()
    with serve_on(path) as living:
        second = subprocess.run(living.args, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert second.returncode == 1
        assert second.stdout == ""
        assert f"cannot listen on {path}: Address already in use" in second.stderr
        assert send_to(path) == delivered
        living.terminate()
        assert living.wait(PATIENCE) == 0
    assert not Path(path).exists()


@pytest.mark.parametrize("there", ["file", "folder", "nowhere"])
def test_a_path_that_cannot_be_listened_on(there: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "place"
    if there == "file":
        path.write_text("precious")
    elif there == "folder":
        path.mkdir()
    else:
        path = tmp_path / "none" / "place"
    assert main(["serve", "--lmtp", str(path)]) == 1
    assert f"cannot listen on {path}: " in capsys.readouterr().err
    assert there != "file" or path.read_text() == "precious"


def test_a_path_that_is_too_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--lmtp", f"{tmp_path}/{'x' * 120}"]) == 1
    assert "cannot listen on" in capsys.readouterr().err


def test_a_path_is_known_by_its_slash() -> None:
    assert listening_place("./lmtp") == Path("lmtp")
    assert listening_place("/run/lmtp:24") == Path("/run/lmtp:24")
    assert listening_place("lmtp:24") == HostPort("lmtp", 24)
    assert listening_place("[::1]:24") == HostPort("::1", 24)
    with pytest.raises(argparse.ArgumentTypeError):
        listening_place("lmtp")


def test_lmtp_is_not_spoken_where_smtp_is() -> None:
    with pytest.raises(SystemExit, match="RFC 2033"):
        main(["serve", "--lmtp", "127.0.0.1:25"])
