"""``python -m mailproto relay`` as a process of its own, and ``queue``, which looks at what it has."""

from __future__ import annotations

import argparse
import os
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mailproto import sync
from mailproto.address import Address
from mailproto.cli import main
from mailproto.cli.options import HostPort, next_place
from mailproto.cli.ways import add_ways, relay_config
from mailproto.dns import read_name
from mailproto.errors import Reject
from mailproto.relay import Entry, Pending, Queue, RelayConfig, Schedule
from mailproto.sasl import PasswordCheck, make_scram_key
from mailproto.smtp import Rcpt, Reply, SMTPServerConfig
from mailproto.testing import Outbox
from tests import data
from tests.adapters.harness import PATIENCE
from tests.cli.harness import relaying, run_in_vain, run_json, serving
from tests.dns import wire
from tests.dns.server import TYPES
from tests.dns.server import serving as dns_serving
from tests.relay.policy_hosts import RECORD, serving_once

GRACE, ADA, BOB = "grace@example.net", "ada@example.org", "bob@example.org"
MESSAGE = b"From: grace@example.net\nSubject: hello\n\n.How are you?\n"
DOWN = ("--smarthost", "127.0.0.1:1")  # where nobody listens


@pytest.fixture
def message_file(tmp_path: Path) -> str:
    """Return the path of a message, with the line ends of this system."""
    path = tmp_path / "message.eml"
    path.write_bytes(MESSAGE)
    return str(path)


@pytest.fixture
def queue(tmp_path: Path) -> str:
    return str(tmp_path / "queue")


def sending(port: int, *recipients: str, file: str, tls: str = "none") -> tuple[str, ...]:
    to = (part for recipient in recipients for part in ("--to", recipient))
    return ("send", "--server", f"localhost:{port}", "--tls", tls, "--from", GRACE, *to, file)


def put(queue: str, *recipients: str) -> None:
    """Lay a message of nobody into the queue."""
    pending = tuple(Pending(Address.parse(recipient)) for recipient in recipients or (ADA,))
    Queue(queue).add(Entry("m1", None, pending, time.time(), 0), [b"x\r\n"])


def wait_for(condition: Callable[[], object]) -> None:
    """Return when it is true, not for ever."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_whole_journey(
    tmp_path: Path,
    queue: str,
    message_file: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From a submission over the queue to a mailbox whose server is down at first; and what fails comes back."""
    monkeypatch.setenv("PASSWORD", "pw")
    mailbox = socket.socket()
    mailbox.bind(("127.0.0.1", 0))  # where nobody listens yet, and nobody else can meanwhile
    port = mailbox.getsockname()[1]
    ways = ("--smarthost", f"127.0.0.1:{port}", "--tls", "opportunistic", "--retry-after", "1")
    hosting = ["--user", "ada:pw", "--user", "grace:pw", "--domain", "example.org", "--domain", "example.net"]
    hosting += ["--allow-plaintext-auth", "--maildir", str(tmp_path / "mail")]
    listeners = (f"smtp=fd:{mailbox.fileno()}", "pop3")
    with relaying("--queue", queue, "--hostname", "relay.example.net", "--add-date", *ways) as relay:
        status, result = run_json(capsys, *sending(relay.ports["submission"], ADA, BOB, file=message_file))
        assert (status, result["accepted"]) == (0, [ADA, BOB])
        name = result["reply"].rpartition(" ")[2]
        wait_for(lambda: run_json(capsys, "queue", queue)[1]["messages"][0]["attempts"])
        (waiting,) = run_json(capsys, "queue", queue)[1]["messages"]
        assert (waiting["name"], waiting["sender"], list(waiting["recipients"])) == (name, GRACE, [ADA, BOB])
        assert waiting["recipients"][ADA]["reply"].startswith(f"451 4.4.1 [127.0.0.1]:{port} cannot be reached")
        mailbox.listen()
        with mailbox, serving(*hosting, listeners=listeners, pass_fds=(mailbox.fileno(),)) as server:
            wait_for(lambda: not run_json(capsys, "queue", queue)[1]["messages"])
            assert relay.stop() == (0, "")
            for user in ("ada", "grace"):
                place = f"127.0.0.1:{server.ports['pop3']}"
                fetching = ("fetch", "--server", place, "--tls", "none", "--user", user, "--password-env", "PASSWORD")
                status, result = run_json(capsys, *fetching, "--maildir", str(tmp_path / user))
                assert (status, len(result["messages"])) == (0, 1)
            server.stop()
    (to_ada,) = (path.read_bytes() for path in (tmp_path / "ada").glob("new/*"))
    (to_grace,) = (path.read_bytes() for path in (tmp_path / "grace").glob("new/*"))
    assert to_ada.endswith(b" +0000\n" + MESSAGE)
    assert f"\nMessage-ID: <{name}@relay.example.net>\nDate: ".encode() in to_ada
    assert f"by relay.example.net with ESMTP id {name};".encode() in to_ada
    assert b"\nSubject: Undelivered mail\n" in to_grace
    assert b"Final-Recipient: rfc822; bob@example.org\nAction: failed\n" in to_grace


def test_what_is_in_the_queue_survives_a_restart(queue: str, message_file: str) -> None:
    """Killed, and not ended."""
    outbox = Outbox()
    with sync.SMTPServer(outbox, port=0) as server:
        down = ("--queue", queue, *DOWN, "--tls", "none")
        with relaying(*down, "--retry-after", "1") as relay:
            assert main(sending(relay.ports["submission"], ADA, file=message_file)) == 0
            relay.stop(signal.SIGKILL)
        up = ("--queue", queue, "--smarthost", f"127.0.0.1:{server.port}", "--tls", "none")
        with relaying(*up) as relay:
            wait_for(lambda: outbox.letters)
            assert relay.stop(signal.SIGINT) == (0, "")
    assert [letter.recipients for letter in outbox.letters] == [[ADA]]
    assert Queue(queue).names() == []


def test_without_a_smarthost_only_what_has_a_route_is_taken(queue: str, message_file: str) -> None:
    one, other = Outbox(), Outbox()
    with sync.SMTPServer(one, port=0) as here, sync.SMTPServer(other, port=0) as there:
        ways = ["--route", f"Example.ORG=127.0.0.1:{here.port}"]
        ways += ["--route", f"b\u00fccher.example=127.0.0.1:{there.port}"]
        with relaying("--queue", queue, *ways, "--postmaster", ADA, listeners=("smtp",)) as relay:
            with smtplib.SMTP("127.0.0.1", relay.ports["smtp"]) as client:
                others = ["bob@example.net", "bob@[127.0.0.1]", "bob@sub.example.org"]
                everybody = [ADA, "eve@xn--bcher-kva.example", "Postmaster", *others]
                refused = client.sendmail(GRACE, everybody, MESSAGE.decode())
            assert refused == dict.fromkeys(others, (550, b"5.4.4 No mail host is known for this domain"))
            wait_for(lambda: one.letters and other.letters)
            relay.stop()
    assert [letter.recipients for letter in one.letters] == [[ADA]]
    assert [letter.recipients for letter in other.letters] == [["eve@xn--bcher-kva.example"]]


def test_mail_goes_into_a_store_over_lmtp(queue: str, tmp_path: Path, message_file: str) -> None:
    """On a socket, as of Dovecot, whatever TLS others need; and the rest to a smarthost on another one."""

    class Store(Outbox):
        def on_delivery(self, _: object, __: object, rcpt: Rcpt) -> None:
            if rcpt.address.local_part == "bob":
                raise Reject(452, "Mailbox full", "4.2.2")

    store, smarthost = Store(), Outbox()
    lmtp, smtp = tmp_path / "lmtp", tmp_path / "smtp"
    config = SMTPServerConfig(lmtp=True)
    with sync.SMTPServer(store, path=lmtp, config=config), sync.SMTPServer(smarthost, path=smtp):
        ways = ("--route", f"example.org=lmtp:{lmtp}", "--smarthost", str(smtp), "--tls", "required")
        with relaying("--queue", queue, *ways) as relay:
            others = sending(relay.ports["submission"], ADA, BOB, "eve@example.com", file=message_file)
            assert main(others) == 0
            wait_for(lambda: store.letters and smarthost.letters)
            relay.stop()
    assert smarthost.letters[0].recipients == ["eve@example.com"]
    assert store.letters[0].recipients == [ADA, BOB]
    (entry,) = (Queue(queue).load(name) for name in Queue(queue).names())
    assert entry is not None
    assert [(str(each.address), str(each.reply)) for each in entry.recipients] == [(BOB, "452 4.2.2 Mailbox full")]


@pytest.mark.parametrize(
    ("text", "place", "lmtp"),
    [
        ("mx.example", HostPort("mx.example", None), False),
        ("lmtp:mx.example", HostPort("mx.example", None), True),
        ("lmtp:mx.example:2424", HostPort("mx.example", 2424), True),
        ("lmtp:[::1]:2424", HostPort("::1", 2424), True),
        ("lmtp:/run/lmtp", Path("/run/lmtp"), True),
        ("./lmtp", Path("lmtp"), False),
        ("./a:b/lmtp", Path("a:b/lmtp"), False),
        ("lmtp:24", HostPort("lmtp", 24), False),
        ("lmtp:lmtp", HostPort("lmtp", None), True),
    ],
)
def test_where_mail_is_handed_over(text: str, place: HostPort | Path, lmtp: bool) -> None:
    assert next_place(text) == (place, lmtp)


def test_mail_is_tried_again_after_seconds_and_given_up_after_days() -> None:
    def schedule(*options: str) -> Schedule:
        parser = argparse.ArgumentParser()
        add_ways(parser)
        given = parser.parse_args(["--smarthost", "mx.example", *options])
        given.hostname = "relay.example"
        return relay_config(given).schedule

    assert schedule() == Schedule()
    assert schedule("--give-up-after", "0.5") == Schedule(give_up=12 * 3600)
    assert schedule("--retry-after", "60") == Schedule(first_hour=60, later=60)


def test_with_users_nobody_else_may_send(
    queue: str, message_file: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "pencil")
    known = ("--user", "ada:pencil", "--user", f"grace:{make_scram_key('pencil').format()}")
    tls = ("--tls-cert", str(data.SERVER.certificate), "--tls-key", str(data.SERVER.key))
    with relaying("--queue", queue, *known, *tls, *DOWN, listeners=("smtp", "submission", "smtps")) as relay:
        ports = relay.ports
        status, result = run_json(capsys, *sending(ports["smtp"], BOB, file=message_file))
        assert (status, result["refused"][BOB]["code"]) == (1, 550)
        status, result = run_json(capsys, *sending(ports["smtp"], "Postmaster", file=message_file))
        assert (status, result["accepted"]) == (0, ["postmaster"])
        trusting = ("--cafile", str(data.CA), "--password-env", "PW")
        for user, name, policy in (("ada", "submission", "required"), ("grace", "smtps", "implicit")):
            login = ("--user", user, *trusting)
            status, result = run_json(capsys, *sending(ports[name], BOB, file=message_file, tls=policy), *login)
            assert (status, result["ok"]) == (0, True)
        for policy in ("none", "required"):
            unknown = sending(ports["submission"], BOB, file=message_file, tls=policy)
            status, result = run_json(capsys, *unknown, *trusting[:2])
            assert (status, result["refused"][BOB]["code"]) == (1, 530)
        relay.stop()
    names = Queue(queue).names()
    kept = [(Path(queue) / "messages" / name).read_bytes() for name in names]
    mended = [f"<{name}@localhost>".encode() in content for name, content in zip(names, kept, strict=True)]
    assert mended == [False, True, True], "a relay mends nothing, a submission server does"
    assert not any(b"\nDate:" in content for content in kept)


@pytest.mark.parametrize(("trusted", "taken"), [("127.0.0.0/8", True), ("192.0.2.1", False)])
def test_who_is_trusted(queue: str, message_file: str, trusted: str, taken: bool) -> None:
    options = ("--queue", queue, "--trust", trusted, "--user", "ada:pw", "--allow-plaintext-auth")
    with relaying(*options, *DOWN, listeners=("smtp",)) as relay:
        assert (main(sending(relay.ports["smtp"], BOB, file=message_file)) == 0) is taken
        relay.stop()
    assert len(Queue(queue).names()) == taken


def test_it_logs_in_at_the_smarthost_under_tls(
    queue: str, message_file: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PW", "correct horse")
    certificate = ("--tls-cert", str(data.SERVER.certificate), "--tls-key", str(data.SERVER.key))
    hosting = ("--user", "ada:correct horse", "--domain", "example.org", *certificate)
    with serving(*hosting, listeners=("submission",)) as server:
        way = ("--smarthost", f"localhost:{server.ports['submission']}", "--cafile", str(data.CA))
        login = ("--login", "ada", "--password-env", "PW")
        with relaying("--queue", queue, *way, *login, "-v") as relay:
            assert main(sending(relay.ports["submission"], ADA, file=message_file)) == 0
            wait_for(lambda: not Queue(queue).names())
            relay.stop()
    said = capfd.readouterr().err
    assert "delivered to=<ada@example.org>" in said
    assert "C: MAIL FROM:<grace@example.net>" in said
    assert "correct horse" not in said


@pytest.mark.parametrize("on_a_socket", [True, False])
def test_it_logs_in_in_clear_on_a_socket_or_if_told_so(
    queue: str, tmp_path: Path, message_file: str, monkeypatch: pytest.MonkeyPatch, on_a_socket: bool
) -> None:
    class Guarded(Outbox):
        def on_auth(self, _: object, check: PasswordCheck) -> bool:
            return check.matches("pencil")

    monkeypatch.setenv("PW", "pencil")
    smarthost = Guarded()
    config = SMTPServerConfig(require_auth=True, allow_plaintext_auth=True)
    place: dict[str, Any] = {"path": tmp_path / "smtp"} if on_a_socket else {"port": 0}
    with sync.SMTPServer(smarthost, config=config, **place) as server:
        way = (str(tmp_path / "smtp"),) if on_a_socket else (f"127.0.0.1:{server.port}", "--tls", "none")
        with relaying("--queue", queue, "--smarthost", *way, "--login", "ada", "--password-env", "PW") as relay:
            assert main(sending(relay.ports["submission"], BOB, file=message_file)) == 0
            wait_for(lambda: smarthost.letters)
            relay.stop()


def test_a_second_relay_on_a_queue_ends_at_once(queue: str, capfd: pytest.CaptureFixture[str]) -> None:
    way = ("--smarthost", "127.0.0.1:1")
    with relaying("--queue", queue, *way) as relay:
        command = [sys.executable, "-m", "mailproto", "relay", "--queue", queue, *way, "--submission", "127.0.0.1:0"]
        second = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        told = "QueueInUseError: another relay works this queue off\n"
        assert (second.returncode, second.stderr.endswith(told)) == (1, True)
        relay.stop()


def hang_at_mail(connection: socket.socket) -> None:
    """Be a host that says nothing more when a message has begun."""
    for words, answer in (b"220 ", b"EHLO"), (b"250 ", b"MAIL"):
        connection.sendall(words + b"well\r\n")
        assert connection.recv(1000).startswith(answer)


def test_a_host_that_hangs_holds_no_end_up_for_long(queue: str, message_file: str) -> None:
    """What was under way is in the queue."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        way = ("--smarthost", f"127.0.0.1:{silent.getsockname()[1]}", "--tls", "none")
        with relaying("--queue", queue, *way) as relay:
            assert main(sending(relay.ports["submission"], ADA, file=message_file)) == 0
            connection, _ = silent.accept()
            hang_at_mail(connection)
            relay.process.send_signal(signal.SIGTERM)
            with pytest.raises(subprocess.TimeoutExpired):
                relay.process.wait(1)
            assert relay.stop(signal.SIGINT)[0] == 1, "who asks twice does not want to wait"
            connection.close()
    assert len(Queue(queue).names()) == 1


def test_the_end_is_not_put_off_for_long(queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailproto.cli.ways.RelayConfig", partial(RelayConfig, grace=0.2))
    put(queue)
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def end() -> None:
            with silent.accept()[0] as connection:
                hang_at_mail(connection)
                os.kill(os.getpid(), signal.SIGTERM)
                connection.recv(1)  # which ends with the connection

        connected = threading.Thread(target=end)
        connected.start()
        way = ("--smarthost", f"127.0.0.1:{silent.getsockname()[1]}", "--tls", "none")
        assert main(["relay", "--queue", queue, *way, "--submission", "127.0.0.1:0"]) == 0
        connected.join(PATIENCE)
    assert Queue(queue).names() == ["m1"]


def test_mail_goes_to_where_the_dns_says(queue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    outbox, other = Outbox(), Outbox()
    records = [wire.mx("example.org", 10, "mx.example.org"), wire.address("mx.example.org", "127.0.0.1")]

    def respond(_: str, query: bytes) -> list[bytes]:
        return [wire.answer(query, records[0] if b"\x02mx" not in query else records[1])]

    def end() -> None:
        wait_for(lambda: outbox.letters and other.letters)
        os.kill(os.getpid(), signal.SIGTERM)

    put(queue, "ada@example.org", "bob@example.com")
    with (
        dns_serving(respond) as names,
        sync.SMTPServer(outbox, port=0) as exchanger,
        sync.SMTPServer(other, port=0) as elsewhere,
    ):
        monkeypatch.setattr("mailproto.relay.connecting.RELAY_PORT", exchanger.port)
        waiting = threading.Thread(target=end)
        waiting.start()
        asking = ("--mx", "--hostname", "relay.example.net", "--name-server", f"127.0.0.1:{names.port}")
        way = (*asking, "--route", f"example.com=127.0.0.1:{elsewhere.port}")
        assert main(["relay", "--queue", queue, *way, "--submission", "127.0.0.1:0"]) == 0
        waiting.join(PATIENCE)
    assert [letter.recipients for letter in (*outbox.letters, *other.letters)] == [[ADA], ["bob@example.com"]]


@pytest.mark.parametrize("certificate", [data.SERVER, data.WRONG_NAME], ids=["good", "bad"])
def test_mail_goes_to_where_the_policy_of_a_domain_says(
    queue: str, monkeypatch: pytest.MonkeyPatch, certificate: data.KeyPair
) -> None:
    """Its mail host is proved, or mail waits; the policy stays with the queue."""
    outbox = Outbox()
    records = {
        ("MX", "example.test"): wire.mx("example.test", 10, "mail.example.test"),
        ("A", "mail.example.test"): wire.address("mail.example.test", "127.0.0.1"),
        ("A", "mta-sts.example.test"): wire.address("mta-sts.example.test", "127.0.0.1"),
        ("TXT", "_mta-sts.example.test"): wire.txt("_mta-sts.example.test", RECORD),
    }

    def respond(_: str, query: bytes) -> list[bytes]:
        record = records.get((TYPES[int.from_bytes(query[-4:-2])], read_name(query, 12)[0]))
        return [wire.answer(query, *([record] if record is not None else ()))]

    def waits() -> bool:
        entry = Queue(queue).load("m1")
        return entry is not None and "(MTA-STS)" in str(entry.recipients[0].reply)

    def end() -> None:
        wait_for(waits if certificate is data.WRONG_NAME else lambda: outbox.letters)
        os.kill(os.getpid(), signal.SIGTERM)

    put(queue, "ada@example.test")
    context = sync.server_context(*certificate)
    with dns_serving(respond) as names, serving_once(), sync.SMTPServer(outbox, port=0, tls=context) as exchanger:
        monkeypatch.setattr("mailproto.relay.connecting.RELAY_PORT", exchanger.port)
        monkeypatch.setenv("SSL_CERT_FILE", str(data.CA))  # the authorities of the system
        waiting = threading.Thread(target=end)
        waiting.start()
        way = ("--mx", "--mta-sts", "--hostname", "relay.example.net", "--name-server", f"127.0.0.1:{names.port}")
        assert main(["relay", "--queue", queue, *way, "--submission", "127.0.0.1:0"]) == 0
        waiting.join(PATIENCE)
    assert len(outbox.letters) == (certificate is data.SERVER)
    assert (Path(queue) / "sts" / "example.test").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--smarthost", "mx.example", "--mx"),
        ("--mx",),
        ("--mx", "--hostname", "localhost"),
        ("--mx", "--hostname", "relay.example", "--login", "ada", "--password-env", "PATH"),
        ("--mx", "--hostname", "relay.example", "--name-server", "ns.example.org"),
        ("--smarthost", "mx.example", "--name-server", "127.0.0.1"),
        ("--smarthost", "mx.example", "--mta-sts"),
        ("--smarthost", "mx.example", "--password-env", "PATH"),
        ("--route", "example.org"),
        ("--route", "example..org=mx.example"),
        ("--route", "fa\u00df.example=mx.example"),
        ("--route", "example.org=mx.example:99999"),
        ("--route", "example.org=lmtp:mx.example:25"),
        ("--smarthost", "lmtp:mx.example:25"),
        ("--smarthost", "smtp://mx.example"),
        ("--route", "example.org=lmtp:unix:/run/lmtp"),
        ("--route", "example.org=lmtp:unix:private/lmtp"),
        ("--route", "example.org=lmtp://mx.example:24"),
        ("--route", "example.org=mx.example", "--login", "ada", "--password-env", "PATH"),
        ("--smarthost", "mx.example", "--login", "ada", "--password-env", "NO_SUCH_VARIABLE"),
        ("--smarthost", "mx.example", "--login", "\udcff", "--password-env", "PATH"),
        ("--smarthost", "mx.example", "--retry-after", "0"),
        ("--smarthost", "mx.example", "--give-up-after", "-1"),
        ("--smarthost", "mx.example", "--connections", "0"),
        ("--smarthost", "mx.example", "--lmtp", "127.0.0.1:0"),
        ("--smarthost", "mx.example", "--smtps", "127.0.0.1:0"),
    ],
)
def test_wrong_usage_ends_at_once(arguments: tuple[str, ...], queue: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["relay", "--queue", queue, *arguments])
    assert caught.value.code != 0


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--trust", "everybody"), "argument --trust: not an address or a network: 'everybody'"),
        (("--hostname", "b\u00fccher.example"), "argument --hostname: the hostname is said before UTF-8"),
        (("--postmaster", "nobody"), "argument --postmaster: not a mailbox, such as"),
        (("--max-size", "-1"), "argument --max-size: not a whole number: -1"),
        (("--route", "example.org=fa\u00df.example"), "argument --route: 'fa\\xdf.example' needs IDNA 2008"),
        (("--smarthost", "fa\u00df.example"), "argument --smarthost: 'fa\\xdf.example' needs IDNA 2008"),
        (("--route", "example.org=one", "--route", "Example.ORG=two"), "--route: there is one place for the mail"),
        (("--user", "ada:one", "--user", "ada:two"), "the user ada is given twice"),
        (("--queue", ""), "--queue: the path is empty"),
        (("--queue", "/dev/null/queue"), "--queue: [Errno 17] File exists: '/dev/null'"),
        (("--cafile", "/dev/null/authorities.pem"), "--cafile: [Errno 20] Not a directory: '/dev/null/auth"),
        (("--tls-cert", "/dev/null/cert.pem"), "--tls-cert: [Errno 20] Not a directory: '/dev/null/cert.pem'"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(
    queue: str, options: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    way = ("--queue", queue, "--smarthost", "mx.example", "--smtp", "127.0.0.1:0")
    status, said = run_in_vain(capsys, "relay", *way, *options)
    assert status in (1, 2)
    assert complaint in said


@pytest.mark.parametrize("way", [("--route", "example.org=127.0.0.1:1"), ("--mx",)])
def test_a_postmaster_to_whom_no_route_leads_is_told_of(
    queue: str, way: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    """The DNS leads from the name of this host back to it."""
    options = ("--queue", queue, *way, "--hostname", "relay.example.net")
    with relaying(*options, listeners=("smtp", "submission")) as relay:
        relay.stop()
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("there is no route to the postmaster, postmaster@relay.example.net")


def test_a_postmaster_who_is_named_is_for_the_dns_to_find(queue: str, capfd: pytest.CaptureFixture[str]) -> None:
    with relaying("--queue", queue, "--mx", "--hostname", "relay.example.net", "--postmaster", ADA) as relay:
        relay.stop()
    assert "postmaster" not in capfd.readouterr().err


class Full:
    """A queue with something of each kind in it."""

    def __init__(self, path: str) -> None:
        queue = Queue(path)
        waiting = Pending(Address("bob", "example.org"), reply=Reply.build(451, "no\x1b[2J", "4.7.1"))
        failed = Pending(Address("eve", "example.org"), reply=Reply.build(550, "Never"))
        queue.add(Entry("m1", Address.parse(GRACE), (waiting, failed), 0, 1800), [b"x\r\n"])
        queue.add(Entry("m2", None, (Pending(Address("ada", "example.org")),), 0, 0), [b"y\r\n"])
        for name in ("m3", "m4"):
            queue.add(Entry(name, None, (waiting,), 0, 0), [b"z\r\n"])
        (queue.path / "entries" / "m3").write_bytes(b"{")
        (queue.path / "entries" / "m4").rename(queue.path / "unreadable" / "m4")


def test_the_queue_is_shown(queue: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    Full(queue)
    before = {path: path.stat().st_mtime for path in Path(queue).rglob("*")}
    assert main(["queue", queue]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "m1: from <grace@example.net>, 3 octets, since 1970-01-01 00:00:00+00:00",
        r"    to <bob@example.org>: next at 1970-01-01 00:30:00+00:00 (451 4.7.1 no\x1b[2J)",
        "    to <eve@example.org>: next at 1970-01-01 00:30:00+00:00 (550 Never)",
        "m2: from <>, 3 octets, since 1970-01-01 00:00:00+00:00",
        "    to <ada@example.org>: next at 1970-01-01 00:00:00+00:00",
        "2 in the queue, 2 unreadable",
    ]
    assert sorted(said.err.splitlines()) == ["m3: cannot be read", "m4: cannot be read"]
    assert {path: path.stat().st_mtime for path in Path(queue).rglob("*")} == before


def test_the_queue_is_shown_as_json(queue: str, capsys: pytest.CaptureFixture[str]) -> None:
    Full(queue)
    status, result = run_json(capsys, "queue", queue)
    assert (status, result["ok"], sorted(result["unreadable"]), result["error"]) == (1, False, ["m3", "m4"], None)
    m1: dict[str, Any] = result["messages"][0]
    keys = ("name", "sender", "size", "arrival", "due", "attempts")
    assert [m1[key] for key in keys] == ["m1", GRACE, 3, 0, 1800, 0]
    assert m1["recipients"]["eve@example.org"] == {"action": None, "reply": "550 Never"}


def test_where_there_is_no_queue_none_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queue", str(tmp_path / "nowhere")]) == 1
    assert "there is no queue at" in capsys.readouterr().err
    assert run_json(capsys, "queue", str(tmp_path))[1]["error"] == "NotADirectoryError"
    assert list(tmp_path.iterdir()) == []
