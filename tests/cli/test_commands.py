"""``python -m mailproto``: serve as a process of its own, send and fetch against it."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import itertools
import json
import poplib
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from mailproto import AuthenticationError, Reject, __version__, sync
from mailproto.cli import main
from mailproto.cli.options import HostPort, host_port
from mailproto.cli.signals import ENDING, hear, hear_no_more
from mailproto.ledger import SQLiteLedger
from mailproto.maildrop import MemoryMaildrop, maildir
from mailproto.mailhost import MailHost
from mailproto.pop3 import POP3ServerConfig
from mailproto.sasl import make_scram_key
from mailproto.testing import Outbox
from tests import data
from tests.adapters.harness import PATIENCE, held_port
from tests.cli.harness import run_in_vain, run_json, serving

MESSAGE = b"Subject: hello\n\n.a line that begins with a dot\nand one more\n"
ON_THE_WIRE = MESSAGE.replace(b"\n", b"\r\n")


@pytest.fixture
def message_file(tmp_path: Path) -> Path:
    """Return a message in a file, with the line ends of this system."""
    path = tmp_path / "message.eml"
    path.write_bytes(MESSAGE)
    return path


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"mailproto {__version__}\n"


def test_mail_goes_in_and_comes_out(
    tmp_path: Path, message_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "correct horse")
    users = ("--user", "ada:correct horse", "--domain", "example.org", "--allow-plaintext-auth")
    with serving("--maildir", str(tmp_path / "mail"), *users) as server:
        smtp, pop3 = (f"127.0.0.1:{server.ports[name]}" for name in ("smtp", "pop3"))
        sending = ("send", "--server", smtp, "--from", "g@example.net", "--to", "ada@example.org", str(message_file))
        assert run_json(capsys, *sending) == (
            0,
            {
                "ok": True,
                "accepted": ["ada@example.org"],
                "refused": {},
                "deferred": {},
                "unknown": [],
                "reply": "250 2.0.0 Message accepted",
                "error": None,
            },
        )
        fetching = ("fetch", "--server", pop3, "--user", "ada", "--password-env", "PASSWORD", "--tls", "none")
        inbox = ("--maildir", str(tmp_path / "inbox"))
        for options in (("--keep", *inbox), inbox):
            status, result = run_json(capsys, *fetching, *options)
            (entry,) = result["messages"]
            assert (status, result["ok"], result["error"]) == (0, True, None)
            assert (entry["number"], entry["size"]) == (1, len(ON_THE_WIRE))
            assert entry["sha256"] == hashlib.sha256(ON_THE_WIRE).hexdigest()
        assert run_json(capsys, *fetching, *inbox) == (0, {"ok": True, "messages": [], "error": None})
        assert server.stop()[0] == 0
    assert [path.read_bytes() for path in (tmp_path / "inbox").glob("new/*")] == [MESSAGE, MESSAGE]
    assert list((tmp_path / "mail" / "ada").glob("*/*")) == []


@pytest.mark.parametrize(
    ("options", "sender", "recipients", "shown"),
    [
        ([], "adä@a.example", ["bob@b.example", "eve@e.example", "hidden@h.example", "also@h.example"], False),
        (["--from", ""], "", ["bob@b.example", "eve@e.example", "hidden@h.example", "also@h.example"], False),
        (["--to", "zoe@z.example"], "adä@a.example", ["zoe@z.example"], True),
    ],
)
def test_the_header_says_who_sends_and_to_whom(
    options: list[str],
    sender: str,
    recipients: list[str],
    shown: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And nobody reads in it who else has it."""
    bcc = "Bcc: hidden@h.example,\n also@h.example\n"
    head = "From: Ada <adä@a.example>\nTo: bob@b.example\n"
    tail = "Cc: Eve <eve@e.example>\nContent-Type: text/plain; a*0*\nSubject: Grüße\n\nBcc: in the body\n"
    (tmp_path / "message.eml").write_text(head + bcc + tail, encoding="utf-8")
    outbox = Outbox()
    with sync.SMTPServer(outbox, port=0) as server:
        place = f"127.0.0.1:{server.port}"
        status, result = run_json(capsys, "send", "--server", place, *options, str(tmp_path / "message.eml"))
    assert (status, result["accepted"]) == (0, recipients)
    (letter,) = outbox.letters
    assert (letter.sender or "", letter.recipients) == (sender, recipients)
    sent = head + bcc + tail if shown else head + tail
    assert letter.content == sent.replace("\n", "\r\n").encode()


@pytest.mark.parametrize(
    ("header", "options", "error"),
    [
        ("Subject: x\n", ["--to", "a@b.example"], "GrammarError"),
        ("From: a@b.example\n", [], "GrammarError"),
        ("From: a@b.example\nTo: x\nnonsense\n", [], "GrammarError"),
        ("From: a@b.example\nTo: b@b.example\nno field\nBcc: c@b.example\n", [], "GrammarError"),
        ("From: a@b.example\nTo: b@b.example\nSubject : x\nCc: c@b.example\n\n", [], "GrammarError"),
    ],
)
def test_what_a_header_does_not_say_is_not_guessed(
    header: str, options: list[str], error: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "message.eml").write_text(f"{header}\ntext\n", encoding="utf-8")
    status, result = run_json(capsys, "send", "--server", "localhost:1", *options, str(tmp_path / "message.eml"))
    assert (status, result["error"]) == (1, error)


def test_mail_for_others_is_refused(message_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving("--user", "ada:pw", "--domain", "example.org") as server:
        place = f"127.0.0.1:{server.ports['smtp']}"
        others = ["bob@example.org", "ada@example.net", "ada%example.net@example.com"]
        sending = ["send", "--server", place, "--from", "", str(message_file), "--to", "ada@example.org"]
        status, result = run_json(capsys, *sending, *(part for other in others for part in ("--to", other)))
    assert status == 1
    assert result["accepted"] == ["ada@example.org"]
    relaying = {"code": 550, "enhanced": "5.7.1", "text": "Relaying denied", "phase": "RCPT"}
    assert result["refused"] == dict.fromkeys(others, relaying)


def test_without_json_fetched_mail_goes_to_standard_output(message_file: Path) -> None:
    with serving() as server:
        smtp, pop3 = (f"127.0.0.1:{server.ports[name]}" for name in ("smtp", "pop3"))
        assert main(["send", "--server", smtp, "--from", "", "--to", "anybody@any.example", str(message_file)]) == 0
        command = [sys.executable, "-m", "mailproto", "fetch", "--server", pop3, "--tls", "none"]
        command += ["--user", "x", "--password-env", "PW"]
        fetch = subprocess.run(command, env={"PW": "y"}, capture_output=True, check=True)
        assert fetch.stdout == ON_THE_WIRE
        again = subprocess.run(command, env={"PW": "y"}, capture_output=True, check=True)
        assert again.stdout == b"", "it was written, and so deleted"


def test_with_a_ledger_only_what_is_new_is_fetched(
    tmp_path: Path, message_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "y")
    with serving() as server:
        smtp, pop3 = (f"127.0.0.1:{server.ports[name]}" for name in ("smtp", "pop3"))
        sending = ["send", "--server", smtp, "--from", "", "--to", "a@b.example", str(message_file)]
        fetching = ["fetch", "--server", pop3, "--tls", "none", "--user", "x", "--password-env", "PW"]
        fetching += ["--maildir", str(tmp_path / "in"), "--ledger", str(tmp_path / "ledger")]
        counts = []
        big = ("--delete-over", "10000000")
        for options in ((), ("--keep",), ("--limit", "0", *big), ("--max-size", "10"), ("--delete-after", "0")):
            assert main(sending) == 0
            capsys.readouterr()
            status, result = run_json(capsys, *fetching, *(options or ("--keep",)))
            assert (status, result["error"]) == (0, None)
            counts.append(len(result["messages"]))
        assert counts == [1, 1, 0, 0, 3]
        assert run_json(capsys, *fetching[:9])[1]["messages"] == [], "all are deleted at last"
    assert [path.read_bytes() for path in (tmp_path / "in").glob("new/*")] == [MESSAGE] * 5


def test_a_ledger_knows_a_server_however_its_name_is_written(
    tmp_path: Path, message_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "y")
    counts = []
    with serving() as server:
        smtp = f"127.0.0.1:{server.ports['smtp']}"
        assert main(["send", "--server", smtp, "--from", "", "--to", "a@b.example", str(message_file)]) == 0
        capsys.readouterr()
        for host in ("localhost", "LocalHost"):
            fetching = ["fetch", "--server", f"{host}:{server.ports['pop3']}", "--tls", "none", "--user", "x"]
            fetching += ["--password-env", "PW", "--maildir", str(tmp_path / "in"), "--keep"]
            fetching += ["--ledger", str(tmp_path / "ledger")]
            counts.append(len(run_json(capsys, *fetching)[1]["messages"]))
    assert counts == [1, 0]


def test_messages_can_be_told_by_content(
    tmp_path: Path, message_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "y")
    with serving() as server:
        smtp, pop3 = (f"127.0.0.1:{server.ports[name]}" for name in ("smtp", "pop3"))
        sending = ["send", "--server", smtp, "--from", "", "--to", "a@b.example", str(message_file)]
        fetching = ["fetch", "--server", pop3, "--tls", "none", "--user", "x", "--password-env", "PW", "--keep"]
        fetching += ["--maildir", str(tmp_path / "in"), "--ledger", str(tmp_path / "ledger"), "--no-unique-ids"]
        for count in (1, 0):
            assert main(sending) == 0
            capsys.readouterr()
            status, result = run_json(capsys, *fetching)
            assert (status, [entry["uid"] for entry in result["messages"]]) == (0, [None] * count)


@pytest.mark.parametrize(
    ("server", "account"),
    [
        ("127.0.0.1:1", "x@127.0.0.1:1"),
        ("127.0.0.1", "x@127.0.0.1"),
        ("127.0.0.1:110", "x@127.0.0.1"),
        ("127.0.0.1:995", "x@127.0.0.1"),
        ("[::1]:1", "x@[::1]:1"),
    ],
)
def test_a_second_run_on_an_account_fails_before_it_asks_for_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], server: str, account: str
) -> None:
    """The maildrop is the same on both ports of POP3, and behind any other port, of a tunnel say, another one."""
    fetching = ("fetch", "--server", server, "--user", "x", "--maildir", str(tmp_path / "in"))
    with SQLiteLedger(tmp_path / "ledger", account):
        result = run_json(capsys, *fetching, "--ledger", str(tmp_path / "ledger"))
    assert result == (1, {"ok": False, "messages": [], "error": "LedgerInUseError"})


def test_json_alone_deletes_nothing(
    message_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "y")
    with serving() as server:
        smtp, pop3 = (f"127.0.0.1:{server.ports[name]}" for name in ("smtp", "pop3"))
        assert main(["send", "--server", smtp, "--from", "", "--to", "a@b.example", str(message_file)]) == 0
        capsys.readouterr()
        fetching = ("fetch", "--server", pop3, "--tls", "none", "--user", "x", "--password-env", "PW")
        first, second = (run_json(capsys, *fetching) for _ in range(2))
    assert first == second
    assert len(first[1]["messages"]) == 1


def test_tls_in_both_ways(
    tmp_path: Path, message_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "pw")
    certificate = ("--tls-cert", str(data.SERVER.certificate), "--tls-key", str(data.SERVER.key))
    listeners = ("submission", "smtps", "pop3", "pop3s")
    with serving("--user", "ada:pw", *certificate, listeners=listeners) as server:
        login = ("--user", "ada", "--password-env", "PW", "--cafile", str(data.CA))
        for name, tls in (("submission", "required"), ("smtps", "implicit")):
            place = f"localhost:{server.ports[name]}"
            envelope = ("--from", "ada@example.org", "--to", "ada@example.org", str(message_file))
            status, result = run_json(capsys, "send", "--server", place, "--tls", tls, *login, *envelope)
            assert (status, result["ok"]) == (0, True), result
        for name, tls in (("pop3", "required"), ("pop3s", "implicit")):
            place = f"localhost:{server.ports[name]}"
            status, result = run_json(capsys, "fetch", "--server", place, "--tls", tls, *login, "--keep")
            assert (status, len(result["messages"])) == (0, 2), result
        untrusted = ("send", "--server", f"localhost:{server.ports['smtps']}", "--tls", "implicit", *login[:4])
        status, result = run_json(capsys, *untrusted, "--from", "", "--to", "ada@x.example", str(message_file))
        assert (status, result["error"]) == (1, "SSLCertVerificationError")


def test_a_certificate_is_renewed_without_a_restart(tmp_path: Path) -> None:
    """A certificate is good for weeks, and a server is up for months."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def put(pair: data.KeyPair, its_key: Path) -> None:
        certificate.write_bytes(pair.certificate.read_bytes())
        key.write_bytes(its_key.read_bytes())

    def shown(name: str) -> str:
        return ssl.get_server_certificate(("127.0.0.1", server.ports[name])).strip()

    old, new = (pair.certificate.read_text(encoding="ascii") for pair in (data.SERVER, data.EXPIRED))
    put(data.SERVER, data.SERVER.key)
    with serving("--tls-cert", str(certificate), "--tls-key", str(key), listeners=("smtps", "pop3s")) as server:
        assert server.process.stdout is not None
        assert all(shown(name) in old for name in server.ports)
        put(data.EXPIRED, data.EXPIRED.key)
        server.process.send_signal(signal.SIGHUP)
        assert server.process.stdout.readline() == "the certificate was read anew\n"
        assert all(shown(name) in new for name in server.ports)
        put(data.SERVER, data.EXPIRED.key)  # as it is for a moment while both are replaced
        server.process.send_signal(signal.SIGHUP)
        assert shown("smtps") in new
        assert server.stop()[0] == 0


def test_a_certificate_that_has_expired_is_told_at_start_and_when_it_is_renewed() -> None:
    """Mail stays away, and nothing but this says why."""
    key_pair = ("--tls-cert", str(data.EXPIRED.certificate), "--tls-key", str(data.EXPIRED.key))
    command = [sys.executable, "-m", "mailproto", "serve", "--smtp", "127.0.0.1:0", *key_pair]
    warning = f"clients will refuse {data.EXPIRED.certificate}: certificate has expired\n"
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        assert process.stdout.readline() == "the certificate was read anew\n"
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == warning * 2


def test_a_renewal_that_fails_is_told(tmp_path: Path) -> None:
    certificate = tmp_path / "cert.pem"
    certificate.write_bytes(data.SERVER.certificate.read_bytes() + data.SERVER.key.read_bytes())
    command = [sys.executable, "-m", "mailproto", "serve", "--smtp", "127.0.0.1:0", "--tls-cert", str(certificate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        certificate.unlink()
        process.send_signal(signal.SIGHUP)
        assert process.stderr.readline().startswith("the certificate is not renewed: ")
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_a_socket_may_be_handed_down(message_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ports below 1024 are for root, who opens them and starts the server as somebody else."""
    command = [sys.executable, "-m", "mailproto", "serve"]
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port, number = sock.getsockname()[1], sock.fileno()
        process = subprocess.Popen(
            [*command, "--smtp", f"fd:{number}"], stdout=subprocess.PIPE, text=True, pass_fds=[number]
        )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"smtp: listening on 127.0.0.1 port {port}\n"
        envelope = ("--tls", "none", "--from", "", "--to", "ada@example.org", str(message_file))
        assert run_json(capsys, "send", "--server", f"127.0.0.1:{port}", *envelope)[0] == 0
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_a_service_may_be_had_at_several_places(tmp_path: Path) -> None:
    path = tmp_path / "smtp"
    with serving("--smtp", str(path), listeners=("smtp", "smtp")) as server:
        assert server.process.stdout is not None
        assert server.process.stdout.readline() == f"smtp: listening on {path}\n"
        with socket.create_connection(("127.0.0.1", server.ports["smtp"])) as sock:
            assert sock.recv(3) == b"220"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(path))
            assert sock.recv(3) == b"220"
        assert server.stop()[0] == 0


@pytest.mark.parametrize("number", ["0", "77", "9" * 30])
def test_what_is_handed_down_has_to_listen(number: str) -> None:
    command = [sys.executable, "-m", "mailproto", "serve", "--pop3", f"fd:{number}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stderr) == (1, f"--pop3: the descriptor {number} is no socket that listens\n")


def test_what_is_handed_down_is_for_one_service(capsys: pytest.CaptureFixture[str]) -> None:
    """Whose client would meet the other one every second time."""
    for second in ("--pop3", "--smtp"):
        said = run_in_vain(capsys, "serve", "--smtp", "fd:3", second, "fd:3")
        assert said == (1, "a descriptor is for one service only\n")


def test_submission_wants_a_login(message_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving("--user", "ada:pw", "--allow-plaintext-auth", listeners=("submission",)) as server:
        place = f"127.0.0.1:{server.ports['submission']}"
        sending = ("send", "--server", place, "--tls", "none", "--from", "", "--to", "ada@x.example")
        status, result = run_json(capsys, *sending, str(message_file))
    assert status == 1
    assert result["refused"]["ada@x.example"]["code"] == 530


def test_a_wrong_password_is_an_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PW", "wrong")
    with serving("--user", "ada:pw", "--allow-plaintext-auth") as server:
        place = f"127.0.0.1:{server.ports['pop3']}"
        fetching = ("fetch", "--server", place, "--tls", "none", "--user", "ada", "--password-env", "PW")
        result = run_json(capsys, *fetching)
    assert result == (1, {"ok": False, "messages": [], "error": "AuthenticationError"})


def test_a_user_who_comes_again_too_soon_is_sent_away(tmp_path: Path) -> None:
    users = ("--user", "ada:pw", "--user", "bob:pw", "--allow-plaintext-auth", "--login-delay", "3600")
    with serving(*users, listeners=("pop3",)) as server:

        def log_in(user: str, password: str = "pw") -> int | None:
            place = ("127.0.0.1", server.ports["pop3"])
            none = sync.TLSPolicy.NONE
            with sync.POP3Client(*place, tls=none, user=user, password=password, allow_plaintext_auth=True) as pop:
                return pop.capabilities.login_delay

        with pytest.raises(AuthenticationError):
            log_in("ada", "wrong")
        assert (log_in("ada"), log_in("bob")) == (3600, 3600)
        with pytest.raises(AuthenticationError, match="LOGIN-DELAY") as caught:
            log_in("ada")
        assert caught.value.temporary


def test_print_and_verbose(message_file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with serving("--print", "-v", listeners=("smtp",)) as server:
        place = f"127.0.0.1:{server.ports['smtp']}"
        assert main(["send", "--server", place, "--from", "", "--to", "a@b.example", str(message_file)]) == 0
        status, printed = server.stop(signal.SIGINT)
    assert status == 0
    assert "MESSAGE FOLLOWS" in printed
    assert ".a line that begins with a dot" in printed
    assert "C: MAIL FROM:<>" in capfd.readouterr().err


def test_the_trace_of_a_message(tmp_path: Path, message_file: Path) -> None:
    inbox = tmp_path / "mail"
    with serving("--trace", "--maildir", str(inbox), "--hostname", "mx.example", listeners=("smtp",)) as server:
        place = f"127.0.0.1:{server.ports['smtp']}"
        sending = ("send", "--server", place, "--from", "a@y.example", "--to", "a@b.example", str(message_file))
        assert main(sending) == 0
    (stored,) = inbox.glob("inbox/new/*")
    kept = stored.read_bytes()
    assert kept.startswith(b"Return-Path: <a@y.example>\nReceived: from ")
    assert b"\n\tby mx.example with ESMTP\n\tfor <a@b.example>;\n\t" in kept
    assert kept.endswith(b"\n" + MESSAGE)


def test_the_message_may_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(listeners=("smtp",)) as server:
        place = f"127.0.0.1:{server.ports['smtp']}"
        command = [sys.executable, "-m", "mailproto", "send", "--server", place]
        command += ["--from", "", "--to", "a@b.example", "-"]
        sent = subprocess.run(command, input=MESSAGE, capture_output=True, check=True)
    assert sent.stdout.startswith(b"a@b.example: accepted")


def test_nobody_listens(message_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with held_port() as port:
        status, result = run_json(
            capsys, "send", "--server", f"127.0.0.1:{port}", "--from", "", "--to", "a@b.example", str(message_file)
        )
    assert (status, result["error"]) == (1, "ConnectionRefusedError")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("mx.example.org:25", HostPort("mx.example.org", 25)),
        ("mx.example.org", HostPort("mx.example.org", None)),
        ("[::1]:8025", HostPort("::1", 8025)),
        ("[::1]", HostPort("::1", None)),
        (":8025", HostPort("127.0.0.1", 8025)),
        ("192.0.2.1:0", HostPort("192.0.2.1", 0)),
    ],
)
def test_places(text: str, place: HostPort) -> None:
    assert host_port(text) == place


@pytest.mark.parametrize(
    "arguments",
    [
        ["serve", "--smtp", "127.0.0.1:99999"],
        ["serve", "--smtp", "127.0.0.1"],
        ["serve", "--smtp", "::1:25"],
        ["serve", "--smtp", "[::1"],  # whose port is no 1
        ["serve", "--smtp", "localhost]:25"],
        ["serve", "--user", "ada"],
        ["serve", "--user", "../ada:pw"],
        ["serve", "--user", "ada:SCRAM-SHA-256$4096:short"],
        ["serve", "--user", f"ada:{make_scram_key('pencil', 'SHA-1').format()}"],
        ["serve", "--users", "/no/such/file"],
        ["serve", "--users", "/dev/null"],
        ["serve", "--login-delay", "-1"],
        ["scram-key"],
        ["scram-key", "../ada"],
        ["scram-key", "ada:pw"],
        ["scram-key", "ada", "--iterations", "4095"],
        ["scram-key", "ada", "--iterations", "600001"],
        ["scram-key", "ada", "--mechanism", "PLAIN"],
        ["scram-key", "ada", "--password-env", "NO_SUCH_VARIABLE"],
        ["serve", "--pop3s", "127.0.0.1:0"],
        ["serve", "--tls-key", str(data.SERVER.key)],
        ["fetch", "--server", "x", "--user", "ada", "--password-env", "NO_SUCH_VARIABLE"],
        ["fetch", "--server", "x", "--user", "ada", "--limit", "3"],
        ["fetch", "--server", "x", "--user", "ada", "--no-unique-ids"],
        ["fetch", "--server", "x", "--user", "ada", "--delete-over", "0"],
        ["fetch", "--server", "x", "--user", "ada", "--ledger", "file"],
        ["fetch", "--server", "127.0.0.1:1", "--user", "\udcff", "--password-env", "PATH"],
        ["send", "--server", "", "--from", "", "--to", "a@b.example", "message.eml"],
        ["send", "--server", "x", "--tls", "maybe", "--from", "", "--to", "a@b.example", "message.eml"],
        [],
    ],
)
def test_wrong_usage_ends_at_once(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code != 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["fetch", "--user", "ada", "--password-env", "NO_SUCH_VARIABLE"],
        ["fetch", "--user", "ada", "--limit", "3"],
        ["fetch", "--user", "ada", "--ledger", "file"],
        ["fetch", "--user", "ada", "--mbox"],
        ["probe", "--user", "ada", "--password-env", "NO_SUCH_VARIABLE"],
        ["send", "--from", "", "--to", "a@b.example", "--user", "ada", "--password-env", "NO_SUCH", __file__],
    ],
)
def test_what_cannot_begin_reports_in_json_all_the_same(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--server", "127.0.0.1:1", "--json"])
    assert isinstance(caught.value.code, str), "which goes to standard error"
    (line,) = capsys.readouterr().out.splitlines()
    assert (json.loads(line)["ok"], json.loads(line)["error"]) == (False, "UsageError")


@pytest.mark.parametrize("cafile", ["no-such-file", __file__, "."])
def test_authorities_that_cannot_be_read_are_an_error_of_the_command(
    cafile: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "y")
    with serving(listeners=("pop3",)) as server:
        place = f"127.0.0.1:{server.ports['pop3']}"
        fetching = ("fetch", "--server", place, "--tls", "implicit", "--user", "x", "--password-env", "PW")
        status, result = run_json(capsys, *fetching, "--cafile", cafile)
    assert (status, result["ok"], result["messages"]) == (1, False, [])


NUMBERS = ("--limit", "--max-size", "--delete-over", "--delete-after")


@pytest.mark.parametrize(
    ("option", "number"),
    [*itertools.product(NUMBERS, ("-1", "nan", "inf", "x", "")), ("--delete-over", "1.5")],
)
def test_what_would_delete_at_once_or_never_by_a_slip_of_the_pen(
    option: str, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["fetch", "--server", "x", "--user", "ada", "--ledger", "file", f"{option}={number}"])
    assert f"argument {option}: not a " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--max-size", "-1"], "argument --max-size: not a whole number: -1"),
        (["--hostname", "a..b"], "argument --hostname: not a domain: 'a..b'"),
        (["--user", "ada:one", "--user", "bob:x", "--user", "ada:two"], "the user ada is given twice"),
        (["--maildir", ""], "--maildir: the path is empty"),
        (["--pop3", "8110"], "the port is missing, as in 127.0.0.1:25: 8110"),
        (["--domain", "example..org"], "not a domain: 'example..org'"),
        (["--tls-cert", "no-such-file"], "--tls-cert: [Errno 2] No such file or directory: 'no-such-file'"),
        (["--tls-cert", __file__], __file__),
        (["--tls-cert", str(data.SERVER.certificate), "--tls-key", str(data.EXPIRED.key)], str(data.EXPIRED.key)),
    ],
)
def test_a_value_that_makes_no_sense_is_named(
    options: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = run_in_vain(capsys, "serve", "--smtp", "127.0.0.1:0", *options)
    assert status in (1, 2)
    assert complaint in said


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        (["--user", "ada:pw"], ["submission", "pop3"]),
        (["--user", "ada:pw", "--allow-plaintext-auth"], []),
        (["--user", "ada:pw", "--tls-cert", str(data.SERVER.certificate), "--tls-key", str(data.SERVER.key)], []),
        ([], []),
    ],
)
def test_where_nobody_could_log_in_that_is_told(
    options: list[str], warned: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Clients were sent away, and whoever had started the server saw nothing of it."""
    with serving(*options, listeners=("smtp", "submission", "pop3")) as server:
        server.stop()
    assert [line.partition(":")[0] for line in capfd.readouterr().err.splitlines()] == warned


class Forgetful(MailHost):
    """A mail host that cannot give the first message."""

    def on_retrieve(self, session: Any, number: int) -> Iterable[bytes]:
        """Give the others."""
        if number == 1:
            raise Reject(text="lost")
        content: Iterable[bytes] = session.snapshot.retrieve(number)
        return content


def test_a_ledger_that_cannot_be_opened_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetching = ("fetch", "--server", "127.0.0.1:1", "--user", "x", "--password-env", "PATH", "--tls", "none")
    assert main([*fetching, "--maildir", str(tmp_path), "--ledger", str(tmp_path / "none" / "ledger")]) == 1
    assert capsys.readouterr().err.startswith("--ledger: OperationalError: ")


@pytest.mark.parametrize("ledger", [(), ("--ledger", "ledger")])
def test_a_message_that_is_refused_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, ledger: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PW", "x")
    monkeypatch.chdir(tmp_path)
    drop = MemoryMaildrop()
    for _ in range(3):
        drop.deliver([MESSAGE])
    with sync.POP3Server(
        Forgetful(lambda _: drop), port=0, config=POP3ServerConfig(allow_plaintext_auth=True)
    ) as server:
        fetching = ("fetch", "--server", f"127.0.0.1:{server.port}", "--user", "x", "--password-env", "PW")
        status, result = run_json(capsys, *fetching, "--tls", "none", "--maildir", "inbox", *ledger)
    assert (status, result["ok"], result["error"]) == (1, False, "ResponseError")
    assert [entry["number"] for entry in result["messages"]] == [2, 3]
    assert len(list(Path("inbox").glob("new/*"))) == 2
    assert len(drop.open().messages) == 1, "what was stored is deleted"


def test_what_was_stored_before_the_disk_is_full_is_deleted_and_not_stored_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "x")
    drop = MemoryMaildrop()
    for number in range(4):
        drop.deliver([b"Subject: %d\r\n\r\n" % number, b"x" * 100_000, b"\r\n"])
    host = MailHost(lambda _: drop)
    with sync.POP3Server(host, port=0, config=POP3ServerConfig(allow_plaintext_auth=True)) as server:
        fetching = ["fetch", "--server", f"127.0.0.1:{server.port}", "--user", "x", "--password-env", "PW"]
        fetching += ["--tls", "none", "--maildir", str(tmp_path)]
        with monkeypatch.context() as patch:
            patch.setattr("mailproto.maildrop.maildir._store", full_behind(2, maildir._store))
            status, result = run_json(capsys, *fetching)
        assert (status, result["error"], len(result["messages"])) == (1, "OSError", 2)
        assert len(run_json(capsys, *fetching)[1]["messages"]) == 2
    stored = [path.read_bytes().partition(b"\n")[0] for path in tmp_path.glob("new/*")]
    assert sorted(stored) == [b"Subject: %d" % number for number in range(4)]
    assert drop.open().messages == ()


def full_behind(messages: int, store: Callable[..., str]) -> Callable[..., str]:
    """Return ``store`` for a disk on which there is room for so many, and a piece of the next one."""
    room = iter(range(messages))

    def store_if_there_is_room(content: Iterator[bytes], file: BinaryIO) -> str:
        if next(room, None) is None:
            file.write(next(iter(content)))
            raise OSError(errno.ENOSPC, "no space left")
        return store(content, file)

    return store_if_there_is_room


@pytest.mark.parametrize("command", [("send", "--from", "", "--to", "a@b.example"), ("fetch", "--user", "x")])
def test_an_interrupted_command_says_so_and_no_more(message_file: Path, command: tuple[str, ...]) -> None:
    file = (str(message_file),) if command[0] == "send" else ("--password-env", "PW")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        line = [sys.executable, "-m", "mailproto", *command, "--server", place, "--tls", "none", "--json", *file]
        process = subprocess.Popen(line, env={"PW": "x"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        waiting, _ = silent.accept()
        with waiting:
            out, complaints = interrupt(process)
    assert process.returncode == 1
    assert complaints == (b"interrupted: it may have been sent\n" if command[0] == "send" else b"interrupted\n")
    assert json.loads(out)["error"] == "KeyboardInterrupt"


def test_who_interrupts_the_farewell_hears_what_became_of_the_message(
    message_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was accepted, and who takes it for not sent sends it once more."""

    def interrupted(client: sync.SMTPClient) -> None:
        client.close()
        raise KeyboardInterrupt

    monkeypatch.setattr("mailproto.sync.SMTPClient.quit", interrupted)
    outbox = Outbox()
    with sync.SMTPServer(outbox, port=0) as server:
        place = ("--server", f"127.0.0.1:{server.port}", "--tls", "none")
        assert main(["send", *place, "--from", "", "--to", "a@b.example", str(message_file)]) == 0
    assert len(outbox.letters) == 1
    assert capsys.readouterr() == ("a@b.example: accepted (250 2.0.0 Message accepted)\n", "interrupted\n")


def interrupt(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """Interrupt a command until it heeds that; return what it says.

    Python does not if the signal comes just before a wait begins, a moment that a busy machine makes long.
    """
    for _ in range(5):
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=20)
    process.kill()
    return process.communicate()


def test_all_listeners_end_at_once_and_who_asks_twice_does_not_wait() -> None:
    with (
        held_port() as smtp,
        held_port() as submission,
        serving(listeners=(f"smtp=127.0.0.1:{smtp}", f"submission=127.0.0.1:{submission}")) as server,
    ):
        under_way = [smtplib.SMTP("127.0.0.1", server.ports[name]) for name in ("smtp", "submission")]
        for client in under_way:
            client.ehlo()
        under_way[1].login("any", "one")
        for client in under_way:
            client.mail("")
        server.process.send_signal(signal.SIGTERM)
        for port in server.ports.values():
            wait_until_refused(port)
        assert server.stop(signal.SIGINT)[0] == 1
        for client in under_way:
            client.close()


def test_who_asks_twice_at_once_does_not_wait_either() -> None:
    """Both come before the program has done anything about the first one: it stands still."""
    with serving(listeners=("smtp",)) as server, smtplib.SMTP("127.0.0.1", server.ports["smtp"]) as client:
        client.ehlo()
        client.mail("")
        for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGINT):
            server.process.send_signal(number)
        assert server.stop(signal.SIGCONT)[0] == 1
        client.close()


def test_who_asks_the_second_time_is_heard_whatever_is_waited_for() -> None:
    """A signal wakes the loop only by the descriptor that Python writes to: else it is heard behind the next wait."""

    async def hear_once() -> int:
        hear(ENDING, lambda: None)
        hear_no_more(ENDING)
        woken = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(woken)
        return woken

    assert asyncio.run(hear_once()) != -1


def wait_until_refused(port: int) -> None:
    """Return when nobody listens any more."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
        except ConnectionRefusedError:
            return
        time.sleep(0.05)
    pytest.fail(f"port {port} is still listened on")


def test_the_postmaster_needs_no_domain(message_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving("--user", "ada:pw", "--domain", "example.org", listeners=("smtp",)) as server:
        place = f"127.0.0.1:{server.ports['smtp']}"
        status, result = run_json(
            capsys, "send", "--server", place, "--from", "", "--to", "Postmaster", str(message_file)
        )
    assert (status, result["accepted"]) == (0, ["postmaster"])


@pytest.mark.parametrize("without", [False, True])
def test_mail_in_utf8_is_for_clients_of_utf8_unless_told_otherwise(without: bool) -> None:
    """RFC 6856 section 2.1 has it refused to all others, among them many a program that fetches mail."""
    with serving(*["--no-pop3-utf8"] * without) as server:
        with smtplib.SMTP("127.0.0.1", server.ports["smtp"]) as client:
            client.sendmail("", "a@b.example", "Subject: gr\u00fc\u00dfe\r\n\r\nx\r\n".encode())
        pop = poplib.POP3("127.0.0.1", server.ports["pop3"])
        assert ("UTF8" in pop.capa()) is not without
        pop.user("any")
        pop.pass_("one")
        if without:
            assert pop.retr(1)[1] == ["Subject: gr\u00fc\u00dfe".encode(), b"", b"x"]
        else:
            with pytest.raises(poplib.error_proto) as refusal:
                pop.retr(1)
            assert refusal.value.args[0].startswith(b"-ERR [UTF8]")
        pop.quit()


@pytest.mark.parametrize("json_line", [True, False])
def test_a_report_gets_through_where_only_ascii_does(message_file: Path, json_line: bool) -> None:
    with serving(listeners=("smtp",)) as server:
        command = [sys.executable, "-m", "mailproto", "send", "--server", f"127.0.0.1:{server.ports['smtp']}"]
        command += ["--from", "", "--to", "j\u00f6rg@example.org", str(message_file), *(["--json"] * json_line)]
        sent = subprocess.run(command, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"}, capture_output=True)
    assert (sent.returncode, sent.stderr) == (0, b"")
    if json_line:
        assert json.loads(sent.stdout)["accepted"] == ["j\u00f6rg@example.org"]
    else:
        assert sent.stdout.startswith(b"j\\xf6rg@example.org: accepted")


@pytest.mark.parametrize("host", ["example..org", "x" * 64, "\udcff", "a host", "ada@example.org", "a/b", "a\x00b"])
def test_what_is_no_host_is_told_like_everything_else(
    host: str, message_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sending = ("send", "--server", f"{host}:25", "--from", "", "--to", "a@b.example", str(message_file))
    status, result = run_json(capsys, *sending)
    assert (status, result["error"]) == (1, "GrammarError")
    if "/" not in host:  # which is a path
        assert main(["serve", "--smtp", f"{host}:0"]) == 1
        assert "not a host" in capsys.readouterr().err
