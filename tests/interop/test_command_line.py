"""``python -m mailproto``, each command a process of its own, between real programs."""

import contextlib
import hashlib
import json
import os
import poplib
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mailproto
from tests import data
from tests.interop.clients import Endpoint, TLSMode, files_in, on_the_wire
from tests.interop.dovecot import PASSWORD, Dovecot, Mailbox
from tests.interop.fetchers import FETCHERS
from tests.interop.postfix import UNKNOWN, Postfix
from tests.interop.senders import SENDERS

MAIL = {name: path.read_bytes() for name, path in data.MAIL.items()}
SENDER = "someone@example.test"
SECONDS = 60.0

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(mailproto.__file__).parents[1]), "SECRET": PASSWORD}
MAILPROTO = [sys.executable, "-W", "error", "-m", "mailproto"]
_LISTENING = re.compile(rb"([a-z0-9]+): listening on 127\.0\.0\.1 port ([0-9]+)\n")


class Host:
    """A running ``python -m mailproto serve``, and the ports on which it says that it listens, by role."""

    def __init__(self, process: subprocess.Popen[bytes], roles: int) -> None:
        self.process = process
        assert process.stdout is not None
        lines = [_LISTENING.fullmatch(process.stdout.readline()) for _ in range(roles)]
        self.ports = {line[1].decode(): int(line[2]) for line in lines if line is not None}
        assert len(self.ports) == roles, "the host did not say where it listens"

    def end(self, how: int = signal.SIGTERM) -> tuple[int, bytes]:
        """Ask the host to end, and return its exit status and what it printed since it began to listen."""
        self.process.send_signal(how)
        printed, _ = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, printed


@contextlib.contextmanager
def serve(folder: Path, *options: str, roles: tuple[str, ...] = ("smtp", "pop3")) -> Iterator[Host]:
    """Run the host on free ports, and kill it at the end unless that was done."""
    listeners = [word for role in roles for word in (f"--{role}", "127.0.0.1:0")]
    process = subprocess.Popen(
        [*MAILPROTO, "serve", *listeners, *options], stdout=subprocess.PIPE, cwd=folder, env=ENVIRONMENT
    )
    try:
        yield Host(process, len(roles))
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def users() -> list[str]:
    key_pair = ["--tls-cert", str(data.SERVER.certificate), "--tls-key", str(data.SERVER.key)]
    return ["--user", f"ada:{PASSWORD}", "--user", f"grace:{PASSWORD}", "--domain", "example.test", *key_pair]


def run(*arguments: object, stdin: bytes = b"", status: int = 0) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [*MAILPROTO, *map(str, arguments)], input=stdin, capture_output=True, env=ENVIRONMENT, timeout=SECONDS
    )
    assert done.returncode == status, done.stderr.decode()
    return done


def run_for_json(*arguments: object, stdin: bytes = b"", status: int = 0) -> Any:
    done = run(*arguments, "--json", stdin=stdin, status=status)
    assert done.stdout.count(b"\n") == 1 and done.stdout.endswith(b"\n"), "one line"
    result = json.loads(done.stdout)
    if result["error"] is None:
        assert done.stderr == b""
    else:
        assert f"{result['error']}: ".encode() in done.stderr  # in words, for people
    return result


# serve.

ALL_ROLES = ("smtp", "submission", "smtps", "pop3", "pop3s")
WAYS: list[tuple[str, str, TLSMode]] = [
    ("smtp", "pop3", "starttls"),
    ("submission", "pop3", "starttls"),
    ("smtps", "pop3s", "implicit"),
]


def test_host_keeps_mail_between_real_programs(tmp_path: Path, users: list[str]) -> None:
    maildirs = tmp_path / "mail"
    with serve(tmp_path, "--maildir", str(maildirs), *users, roles=ALL_ROLES) as host:
        for program, send in SENDERS.items():
            for role, _, tls in WAYS:
                endpoint = Endpoint(host.ports[role], tls, user=None if role == "smtp" else "ada")
                sent = send(endpoint, SENDER, ["ada@example.test", "grace@example.test"], MAIL["dots"], tmp_path)
                assert sent.ok, f"{program} by {role}: {sent.log}"
        assert files_in(maildirs / "ada" / "new") == files_in(maildirs / "grace" / "new") == 9 * [MAIL["dots"]]
        for program, fetch in FETCHERS.items():
            tls = "implicit" if program == "getmail" else "starttls"
            endpoint = Endpoint(host.ports["pop3s" if tls == "implicit" else "pop3"], tls, user="grace")
            fetched = fetch(endpoint, tmp_path / program, keep=program != "fetchmail")
            assert fetched.ok, f"{program}: {fetched.log}"
            if program != "getmail":
                assert fetched.messages == 9 * [MAIL["dots"]]
        assert host.end() == (0, b"")
    assert files_in(maildirs / "ada" / "new") == 9 * [MAIL["dots"]]
    assert files_in(maildirs / "grace" / "new") == files_in(maildirs / "grace" / "cur") == []


def test_mail_and_unique_ids_outlive_the_host(tmp_path: Path, users: list[str]) -> None:
    uids: list[list[bytes]] = []
    for _ in range(2):
        with serve(tmp_path, "--maildir", "mail", *users, "--allow-plaintext-auth") as host:
            if not uids:
                with smtplib.SMTP("localhost", host.ports["smtp"]) as client:
                    for message in MAIL.values():
                        client.sendmail(SENDER, "ada@example.test", message)
            pop = poplib.POP3("localhost", host.ports["pop3"])
            pop.user("ada")
            pop.pass_(PASSWORD)
            uids.append(pop.uidl()[1])
            pop.quit()
            assert host.end() == (0, b"")
    assert len(uids[0]) == len(MAIL) and uids[0] == uids[1]


def test_host_relays_nothing(tmp_path: Path, users: list[str]) -> None:
    with serve(tmp_path, *users, roles=("smtp", "submission")) as host:
        context = ssl.create_default_context(cafile=data.CA)
        for role in ("smtp", "submission"):
            with smtplib.SMTP("localhost", host.ports[role]) as client:
                if role == "submission":
                    client.ehlo()
                    assert client.mail(SENDER)[0] == 530, "submission wants TLS and a login"
                client.starttls(context=context)
                client.login("ada", PASSWORD)
                client.mail("ada@example.test")
                for recipient in ("ada@elsewhere.test", "nobody@example.test", "ada%elsewhere.test@example.test"):
                    assert client.rcpt(recipient) == (550, b"5.7.1 Relaying denied")
                assert client.rcpt("grace@EXAMPLE.test")[0] == 250


def test_host_without_users_takes_everything_into_one_drop(tmp_path: Path) -> None:
    with serve(tmp_path, "--print") as host:
        with smtplib.SMTP("localhost", host.ports["smtp"]) as client:
            client.sendmail(SENDER, ["anybody@example.test", "anyone@elsewhere.test"], MAIL["plain"])
        fetched = FETCHERS["mpop"](Endpoint(host.ports["pop3"], user="whoever"), tmp_path / "1")
        assert fetched.messages == [MAIL["plain"]], fetched.log
        status, printed = host.end()
    assert status == 0
    assert printed.count(MAIL["plain"]) == 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_host_lets_a_message_under_way_finish(tmp_path: Path, users: list[str], how: signal.Signals) -> None:
    with serve(tmp_path, "--maildir", "mail", *users) as host:
        idle = smtplib.SMTP("localhost", host.ports["smtp"])
        idle.noop()
        client = smtplib.SMTP("localhost", host.ports["smtp"])
        client.ehlo()
        client.mail(SENDER)
        client.rcpt("ada@example.test")
        client.docmd("DATA")
        client.send(b"Subject: half\r\n\r\nThe first ")
        host.process.send_signal(how)
        assert idle.getreply()[0] == 421
        idle.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("localhost", host.ports["smtp"]), timeout=5)
        client.send(b"and the other half.\r\n.\r\n")
        assert client.getreply()[0] == 250
        assert client.getreply()[0] == 421
        client.close()
        assert host.process.wait(SECONDS) == 0
    assert files_in(tmp_path / "mail" / "ada" / "new") == [b"Subject: half\r\n\r\nThe first and the other half.\r\n"]


def test_host_tells_what_is_wrong_with_its_options(tmp_path: Path) -> None:
    for options in (
        ["--smtps", "127.0.0.1:0"],
        ["--smtp", "127.0.0.1"],
        ["--user", "ada"],
        ["--tls-cert", "no-file"],
    ):
        done = subprocess.run([*MAILPROTO, "serve", *options], capture_output=True, env=ENVIRONMENT, timeout=SECONDS)
        assert done.returncode != 0 and done.stderr and b"Traceback" not in done.stderr


# send.


def test_send_reports_every_recipient(postfix: Postfix, mailbox: Mailbox) -> None:
    server = ("--server", f"localhost:{postfix.port}", "--tls", "required", "--cafile", data.CA)
    envelope = ("--from", SENDER, "--to", mailbox.address, "--to", UNKNOWN)
    report = run_for_json("send", *server, *envelope, data.MAIL["utf8"], status=1)
    details = report["refused"].pop(UNKNOWN)
    assert details.pop("text").startswith(f"<{UNKNOWN}>: Recipient address rejected")
    assert details == {"code": 550, "enhanced": "5.1.1", "phase": "RCPT"}
    assert re.match(r"250 2\.0\.0 Ok: \d+ bytes queued as \w+", report.pop("reply")), "as Postfix says of chunks"
    assert report == {
        "ok": False,
        "accepted": [mailbox.address],
        "refused": {},
        "deferred": {},
        "unknown": [],
        "error": None,
    }
    (message,) = mailbox.wait()
    assert message.endswith(MAIL["utf8"])


@pytest.mark.parametrize(("port", "tls"), [("submission_port", "required"), ("submissions_port", "implicit")])
def test_send_logs_in_and_takes_standard_input(postfix: Postfix, mailbox: Mailbox, port: str, tls: str) -> None:
    server = ("--server", f"localhost:{getattr(postfix, port)}", "--tls", tls, "--cafile", data.CA)
    login = ("--user", mailbox.name, "--password-env", "SECRET")
    unix = MAIL["dots"].replace(b"\r\n", b"\n")
    envelope = ("--from", mailbox.address, "--to", mailbox.address)
    report = run_for_json("send", *server, *login, *envelope, "-", stdin=unix)
    assert report["ok"] and report["accepted"] == [mailbox.address] and report["error"] is None
    (message,) = mailbox.wait()
    assert message.endswith(MAIL["dots"])


def test_send_speaks_to_people_too(postfix: Postfix, mailbox: Mailbox) -> None:
    server = ("--server", f"localhost:{postfix.port}", "--tls", "none", "--verbose")
    done = run("send", *server, "--from", "", "--to", mailbox.address, data.MAIL["plain"])
    assert done.stdout.startswith(f"{mailbox.address}: accepted (250".encode())
    assert b"C: MAIL FROM:<>" in done.stderr
    assert mailbox.wait()[0].endswith(MAIL["plain"])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--tls", "required"], "SSLCertVerificationError"),
        (["--tls", "implicit", "--cafile", str(data.CA)], "SSLError"),
        (
            ["--tls", "required", "--cafile", str(data.CA), "--user", "nobody", "--password-env", "SECRET"],
            "AuthenticationError",
        ),
    ],
    ids=["unknown authority", "no TLS there", "unknown user"],
)
def test_send_names_the_error(postfix: Postfix, mailbox: Mailbox, options: list[str], error: str) -> None:
    server = ("--server", f"localhost:{postfix.submission_port}", *options)
    report = run_for_json("send", *server, "--from", SENDER, "--to", mailbox.address, data.MAIL["plain"], status=1)
    nothing = {"ok": False, "accepted": [], "refused": {}, "deferred": {}, "unknown": [], "reply": None}
    assert report == {**nothing, "error": error}


def test_send_without_starttls_sends_nothing(postfix: Postfix, mailbox: Mailbox) -> None:
    server = ("--server", f"localhost:{postfix.bare_port}", "--tls", "required")
    report = run_for_json("send", *server, "--from", SENDER, "--to", mailbox.address, data.MAIL["plain"], status=1)
    assert report["error"] == "TLSRequiredError"


# fetch.


def expected_report(messages: list[bytes], uids: list[str]) -> dict[str, Any]:
    listed = [
        {"number": number, "uid": uid, "size": len(message), "sha256": hashlib.sha256(message).hexdigest()}
        for number, (message, uid) in enumerate(zip(messages, uids, strict=True), start=1)
    ]
    return {"ok": True, "messages": listed, "error": None}


@pytest.fixture
def full_mailbox(mailbox: Mailbox) -> Mailbox:
    for number, message in enumerate(MAIL.values()):
        mailbox.put(message, f"17000000{number:02}.M1P1.test")
    return mailbox


def login(port: int, mailbox: Mailbox) -> tuple[object, ...]:
    server = ("--server", f"localhost:{port}", "--cafile", data.CA)
    return (*server, "--user", mailbox.name, "--password-env", "SECRET")


@pytest.mark.parametrize("keep", [True, False], ids=["keep", "delete"])
def test_fetch_stores_in_a_maildir(dovecot: Dovecot, full_mailbox: Mailbox, tmp_path: Path, keep: bool) -> None:
    messages = list(map(on_the_wire, MAIL.values()))
    uids = sorted(path.name for path in (full_mailbox.maildir / "new").iterdir())
    options = ["--tls", "implicit", "--maildir", str(tmp_path / "inbox"), *(["--keep"] if keep else [])]
    report = run_for_json("fetch", *login(dovecot.pop3s_port, full_mailbox), *options)
    assert report == expected_report(messages, uids)
    assert sorted(files_in(tmp_path / "inbox" / "new")) == sorted(messages)
    assert full_mailbox.messages() == (list(MAIL.values()) if keep else [])


def test_fetch_takes_only_what_is_new(dovecot: Dovecot, full_mailbox: Mailbox, tmp_path: Path) -> None:
    options = ["--tls", "implicit", "--maildir", str(tmp_path / "inbox"), "--ledger", str(tmp_path / "ledger")]
    counts = []
    for more in (["--keep", "--limit", "3"], ["--keep"], ["--keep"], ["--keep", "--no-unique-ids"]):
        report = run_for_json("fetch", *login(dovecot.pop3s_port, full_mailbox), *options, *more)
        counts.append(len(report["messages"]))
    assert counts == [3, len(MAIL) - 3, 0, 0], "by their content they are known as well"
    assert full_mailbox.messages() == list(MAIL.values())
    full_mailbox.put(MAIL["plain"], "1800000000.M1P1.test")
    report = run_for_json("fetch", *login(dovecot.pop3s_port, full_mailbox), *options, "--delete-after", "0")
    assert len(report["messages"]) == 1
    assert full_mailbox.messages() == []


def test_fetch_prints_messages_and_deletes_them(dovecot: Dovecot, full_mailbox: Mailbox) -> None:
    done = run("fetch", *login(dovecot.pop3_port, full_mailbox), "--tls", "required")
    assert done.stdout == b"".join(map(on_the_wire, MAIL.values()))
    assert full_mailbox.messages() == []


def test_fetch_for_json_alone_leaves_the_messages(dovecot: Dovecot, full_mailbox: Mailbox) -> None:
    report = run_for_json("fetch", *login(dovecot.pop3_port, full_mailbox))
    assert len(report["messages"]) == len(MAIL)
    assert full_mailbox.messages() == list(MAIL.values())


def test_fetch_deletes_nothing_that_it_could_not_store(
    dovecot: Dovecot, full_mailbox: Mailbox, tmp_path: Path
) -> None:
    (tmp_path / "inbox").write_bytes(b"a file, where a Maildir should be")
    options = ("--tls", "implicit", "--maildir", tmp_path / "inbox")
    report = run_for_json("fetch", *login(dovecot.pop3s_port, full_mailbox), *options, status=1)
    assert report["ok"] is False and report["messages"] == [] and report["error"] == "FileExistsError"
    assert full_mailbox.messages() == list(MAIL.values())


def test_fetch_names_the_error(dovecot: Dovecot, mailbox: Mailbox) -> None:
    server = ("--server", f"localhost:{dovecot.pop3s_port}", "--tls", "implicit", "--cafile", data.CA)
    report = run_for_json("fetch", *server, "--user", mailbox.name, "--password-env", "HOME", status=1)
    assert report == {"ok": False, "messages": [], "error": "AuthenticationError"}


def test_whole_way_through_our_own_commands(tmp_path: Path, users: list[str]) -> None:
    odd = [data.MAIL[name] for name in ("dots", "latin1", "no_final_newline")]
    ours = ("--cafile", data.CA, "--user", "ada", "--password-env", "SECRET")
    with serve(tmp_path, *users, roles=ALL_ROLES) as host:
        submission = ("--server", f"localhost:{host.ports['submission']}", *ours)
        for path in odd:
            run("send", *submission, "--from", SENDER, "--to", "ada@example.test", path)
        pop3s = ("--server", f"localhost:{host.ports['pop3s']}", "--tls", "implicit", *ours)
        report = run_for_json("fetch", *pop3s, "--maildir", tmp_path / "inbox")
        assert host.end() == (0, b"")
    digests = [hashlib.sha256(on_the_wire(path.read_bytes())).hexdigest() for path in odd]
    assert [message["sha256"] for message in report["messages"]] == digests
