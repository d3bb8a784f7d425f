"""``python -m mailproto scram-key``, and ``serve`` with what it makes."""

from __future__ import annotations

import base64
import hmac
import io
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mailproto import AuthenticationError, sync
from mailproto.cli import main
from mailproto.cli.users import read_users
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost, Secret
from mailproto.sasl import CramMD5Check, ScramKey, make_scram_key
from tests.cli.harness import run_json, serving


def test_a_scram_key_takes_the_place_of_a_password(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made from standard input, kept in a file, and good for SCRAM as for a password in clear."""
    command = [sys.executable, "-m", "mailproto", "scram-key", "--iterations", "5000", "ada"]
    made = subprocess.run(command, input="correct horse\n", text=True, capture_output=True, check=True)
    name, _, line = made.stdout.removesuffix("\n").partition(":")
    key = ScramKey.parse(line)
    assert (name, key.hash_name, key.iterations) == ("ada", "SHA-256", 5000)
    assert key.matches("correct horse")
    users = tmp_path / "users"
    users.write_text(f"bob:battery staple\n\n{made.stdout}")
    options = ("--users", str(users), "--user", "eve:apple", "--allow-plaintext-auth")
    with serving(*options, listeners=("pop3",)) as server:

        def logs_in(user: str, password: str) -> bool:
            pop = sync.POP3Client(
                *("127.0.0.1", server.ports["pop3"]),
                tls=sync.TLSPolicy.NONE,
                user=user,
                password=password,
                mechanisms=("PLAIN",),
                allow_plaintext_auth=True,
            )
            try:
                with pop:
                    return pop.listing() == []
            except AuthenticationError:
                return False

        right = {"ada": "correct horse", "bob": "battery staple", "eve": "apple"}
        for user, password in right.items():
            monkeypatch.setenv("PW", password)
            fetching = ("fetch", "--server", f"127.0.0.1:{server.ports['pop3']}", "--tls", "none", "--user", user)
            assert run_json(capsys, *fetching, "--password-env", "PW")[0] == 0, user
            assert logs_in(user, password)
        wrong = {"ada": line, "nobody": "correct horse"}
        with ThreadPoolExecutor() as pool:  # at once, for each refusal takes its time
            assert list(pool.map(logs_in, wrong, wrong.values())) == [False, False]


def test_a_key_is_no_password_for_cram_md5() -> None:
    """Which has to have the password itself; who has one still gets in by it."""
    key = make_scram_key("pencil")
    users: dict[str, Secret] = {"ada": key, "bob": "pencil"}
    host = MailHost(lambda _: MemoryMaildrop(), users)
    session: Any = None
    for secret in ("pencil", "", key.format()):
        digest = hmac.digest(secret.encode(), b"<1@x>", "md5").hex().encode()
        for name in ("ada", "bob", "nobody"):
            right = host.on_auth(session, CramMD5Check(name, b"<1@x>", digest))
            assert right is ((name, secret) == ("bob", "pencil"))


def test_a_user_without_a_key_is_offered_as_many_iterations_as_those_with_one(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(f"ada:{make_scram_key('pencil', iterations=7000).format()}\nbob:pencil\n")
    with serving("--users", str(users), "--allow-plaintext-auth", listeners=("pop3",)) as server:
        for name in ("ada", "bob", "nobody"):
            first = base64.b64encode(b"n,,n=%b,r=nonce" % name.encode())
            place = ("127.0.0.1", server.ports["pop3"])
            with socket.create_connection(place, 20) as sock, sock.makefile("rb") as said:
                sock.sendall(b"AUTH SCRAM-SHA-256 %b\r\n" % first)
                said.readline()
                challenge = base64.b64decode(said.readline()[2:])
            assert challenge.endswith(b",i=7000"), name


def test_a_password_may_have_what_ends_a_line_elsewhere(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_bytes("ada:a\x0cb\u2028eve:c\n\nbob:\x85\r\n".encode())
    assert read_users(str(users)) == [("ada", "a\x0cb\u2028eve:c"), ("bob", "\x85")]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"ada:pw\n\nbob\n", "line 3: a user is NAME:PASSWORD"),
        (b"../ada:pw\n", "line 1: the name of a user"),
        (b"ada:SCRAM-SHA-256$4096:short\n", "line 1: "),
        (b"ada:\xff\n", "users: 'utf-8' codec can't decode"),
    ],
)
def test_what_is_wrong_in_a_file_of_users_is_found(
    content: bytes, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    users = tmp_path / "users"
    users.write_bytes(content)
    with pytest.raises(SystemExit):
        main(["serve", "--users", str(users)])
    said = capsys.readouterr().err
    assert str(users) in said
    assert told in said


@pytest.mark.parametrize("name", ["SHA-1", "SHA-256", "SHA-512"])
def test_a_scram_key_is_made_for_each_mechanism(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "pencil")
    assert main(["scram-key", "--mechanism", f"SCRAM-{name}", "--password-env", "PW", "ada"]) == 0
    key = ScramKey.parse(capsys.readouterr().out.removeprefix("ada:").removesuffix("\n"))
    assert (key.hash_name, key.iterations, key.matches("pencil")) == (name, 15_000, True)


def test_a_scram_key_is_made_on_a_terminal_of_what_was_typed_twice(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    typed = iter(("pencil", "pencil", "pencil", "stencil"))
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(typed))
    assert main(["scram-key", "ada"]) == 0
    assert ScramKey.parse(capsys.readouterr().out.removeprefix("ada:").removesuffix("\n")).matches("pencil")
    with pytest.raises(SystemExit, match="two passwords"):
        main(["scram-key", "ada"])


def test_a_password_that_makes_no_scram_key(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\x07secret\n"))
    assert main(["scram-key", "ada"]) == 1
    said = capsys.readouterr()
    assert (said.out, "secret" in said.err) == ("", False)
