"""Standard streams that are closed, full, cut off, or not what was hoped for: no command shows how it is made."""

from __future__ import annotations

import os
import pty
import re
import socketserver
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mailproto.cli import main
from tests.adapters.harness import PATIENCE
from tests.cli.harness import serving

needs_full_disk = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
MESSAGE = b"Subject: hello\n\nhello\n"


@pytest.fixture
def message_file(tmp_path: Path) -> str:
    path = tmp_path / "message.eml"
    path.write_bytes(MESSAGE)
    return str(path)


def run_in_shell(line: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``line``, in which ``"$@"`` is our program with the arguments, where there is no terminal.

    It has its buffers, whatever is usual where the tests run: what is in them at the end may make a difference.
    """
    command = ["sh", "-c", line, "sh", sys.executable, "-m", "mailproto", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "", **variables}
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        start_new_session=True,
    )
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    return done


@needs_full_disk
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_report_that_cannot_be_written_does_not_make_what_was_sent_unsent(
    form: tuple[str, ...], message_file: str
) -> None:
    """Whoever goes by the exit status would send it again."""
    with serving(listeners=("smtp",)) as server:
        place = f"127.0.0.1:{server.ports['smtp']}"
        sending = ("send", "--server", place, "--from", "", "--to", "a@b.example", *form, message_file)
        full = run_in_shell('"$@" > /dev/full', *sending)
        assert (full.returncode, b"No space left" in full.stderr) == (0, True)
        unread = run_in_shell('{ "$@"; echo $? >&2; } | true', *sending)
        assert unread.stderr.splitlines()[-1] == b"0"
        closed = run_in_shell('"$@" >&-', *sending)
        assert (closed.returncode, closed.stderr) == (0, b"")


@needs_full_disk
def test_a_key_that_cannot_be_written_is_a_failure() -> None:
    made = run_in_shell('"$@" > /dev/full', "scram-key", "ada", "--password-env", "PW", PW="pencil")
    assert (made.returncode, b"No space left" in made.stderr) == (1, True)


@needs_full_disk
def test_mail_that_cannot_be_written_stays_on_the_server(message_file: str) -> None:
    with serving() as server:
        smtp, pop3 = (f"127.0.0.1:{server.ports[name]}" for name in ("smtp", "pop3"))
        assert main(["send", "--server", smtp, "--from", "", "--to", "a@b.example", message_file]) == 0
        fetching = ("fetch", "--server", pop3, "--tls", "none", "--user", "any", "--password-env", "PW")
        for where in ("> /dev/full", ">&-", "--mbox > /dev/full", "--mbox >&-"):
            assert run_in_shell(f'"$@" {where}', *fetching, PW="x").returncode == 1
        unread = run_in_shell('{ "$@"; echo $? >&2; } | true', *fetching, PW="x")
        assert unread.stderr.splitlines()[-1] == b"1"
        assert run_in_shell('"$@"', *fetching, PW="x").stdout == MESSAGE.replace(b"\n", b"\r\n")


def test_an_mbox_tells_messages_apart(tmp_path: Path) -> None:
    contents = [b"Subject: %d\r\n\r\nFrom here\r\n>From there\r\n" % number for number in range(3)]
    with serving() as server:
        smtp, pop3 = (f"127.0.0.1:{server.ports[name]}" for name in ("smtp", "pop3"))
        for content in contents:
            (tmp_path / "message").write_bytes(content)
            sending = ["send", "--server", smtp, "--from", "", "--to", "a@b.example"]
            assert main([*sending, str(tmp_path / "message")]) == 0
        fetching = ("fetch", "--server", pop3, "--tls", "none", "--user", "any", "--password-env", "PW")
        fetched = run_in_shell('"$@" --mbox', *fetching, PW="x")
        assert run_in_shell('"$@"', *fetching, PW="x").stdout == b"", "they were written, and so deleted"
    lines = re.split(rb"^(From MAILER-DAEMON .*)\n", fetched.stdout, flags=re.MULTILINE)
    assert len(lines) == 1 + 2 * len(contents)
    quoted = [content.replace(b"\r\n", b"\n").replace(b"From ", b">From ") + b"\n" for content in contents]
    assert (fetched.returncode, lines[2::2]) == (0, quoted)


def test_what_a_terminal_showed_stays_on_the_server(message_file: str) -> None:
    with serving() as server:
        smtp, pop3 = (f"127.0.0.1:{server.ports[name]}" for name in ("smtp", "pop3"))
        assert main(["send", "--server", smtp, "--from", "", "--to", "a@b.example", message_file]) == 0
        fetching = ("fetch", "--server", pop3, "--tls", "none", "--user", "any", "--password-env", "PW")
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "mailproto", *fetching]
        environment = {**os.environ, "PW": "x"}
        shown = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, env=environment, check=True)
        assert b"stay on the server" in shown.stderr
        assert MESSAGE.splitlines()[0] in os.read(ours, 1 << 16)
        os.close(ours)
        os.close(theirs)
        assert run_in_shell('"$@"', *fetching, PW="x").stdout == MESSAGE.replace(b"\n", b"\r\n")


class HangsUp(socketserver.StreamRequestHandler):
    """Hangs up in the middle of the second message."""

    def handle(self) -> None:
        self.wfile.write(b"+OK\r\n")
        for line in self.rfile:
            match line.split():
                case [b"CAPA"] | [b"UIDL"]:
                    self.wfile.write(b"-ERR\r\n")
                case [b"LIST"]:
                    self.wfile.write(b"+OK\r\n1 5\r\n2 9\r\n.\r\n")
                case [b"LIST", number]:
                    self.wfile.write(b"+OK %b 5\r\n" % number)
                case [b"RETR", b"1"]:
                    self.wfile.write(b"+OK\r\none\r\n.\r\n")
                case [b"RETR", _]:
                    self.wfile.write(b"+OK\r\nhalf of")
                    return
                case _:
                    self.wfile.write(b"+OK\r\n")


@pytest.mark.parametrize("mbox", [(), ("--mbox",)])
def test_half_a_message_is_not_written(mbox: tuple[str, ...]) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), HangsUp) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        fetching = ("fetch", "--server", f"127.0.0.1:{server.server_address[1]}", "--tls", "none", "--user", "any")
        fetched = run_in_shell('"$@"', *fetching, "--password-env", "PW", *mbox, PW="x")
        server.shutdown()
    assert (fetched.returncode, b"ConnectionClosedError" in fetched.stderr) == (1, True)
    assert b"one" in fetched.stdout and b"half" not in fetched.stdout


def test_a_message_at_which_a_server_hangs_up_is_told(tmp_path: Path) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), HangsUp) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        fetching = ("fetch", "--server", f"127.0.0.1:{server.server_address[1]}", "--tls", "none", "--user", "any")
        stored = ("--maildir", str(tmp_path / "in"), "--ledger", str(tmp_path / "ledger"))
        said = [run_in_shell('"$@"', *fetching, "--password-env", "PW", *stored, PW="x").stderr for _ in range(3)]
        server.shutdown()
    assert all(b"broken off at message 2" in words for words in said[:2])
    assert b"left out" in said[2] and b"message 2" in said[2]
    assert [path.read_bytes() for path in tmp_path.glob("in/new/*")] == [b"one\n"]


def test_what_cannot_be_printed_is_stored_and_taken_all_the_same(message_file: str) -> None:
    """The client would send it again and again."""
    with serving("--print", listeners=("smtp",)) as server:
        assert server.process.stdout is not None
        server.process.stdout.close()
        server.process.stdout = None
        place = f"127.0.0.1:{server.ports['smtp']}"
        for _ in range(2):
            assert main(["send", "--server", place, "--from", "", "--to", "a@b.example", message_file]) == 0


def test_messages_are_printed_one_by_one(tmp_path: Path) -> None:
    """They are delivered in threads, all at once."""
    files = [tmp_path / str(number) for number in range(6)]
    for file in files:
        file.write_text(f"{file.name * 70}\n" * 5000)
    with serving("--print", listeners=("smtp",)) as server:
        place = f"127.0.0.1:{server.ports['smtp']}"
        sending = ["send", "--server", place, "--from", "", "--to", "a@b.example"]
        with ThreadPoolExecutor(len(files)) as pool:
            output = pool.submit(server.process.communicate)
            assert set(pool.map(lambda file: main([*sending, str(file)]), files)) == {0}
            server.process.terminate()
            printed, _ = output.result(timeout=PATIENCE)
    messages = re.findall(r"-+ MESSAGE FOLLOWS -+ \(for everybody\)\n([^-]*)-+ END MESSAGE -+\n", printed)
    assert sorted(messages) == [file.read_text() for file in files]


def test_a_message_from_a_closed_stream_is_not_an_empty_message() -> None:
    with serving(listeners=("smtp",)) as server:
        place = f"127.0.0.1:{server.ports['smtp']}"
        sent = run_in_shell('"$@" <&-', "send", "--server", place, "--from", "", "--to", "a@b.example", "-")
    assert (sent.returncode, sent.stderr.startswith(b"not sent: ")) == (1, True)


@needs_full_disk
def test_complaints_that_nobody_hears_do_not_get_into_the_report(message_file: str) -> None:
    with serving(listeners=("smtp",)) as server:
        sending = ("send", "--server", f"127.0.0.1:{server.ports['smtp']}", "--from", "", "--to", "a@b.example", "-v")
        heard = run_in_shell('"$@" 2>&-', *sending, message_file)
        assert (heard.returncode, heard.stdout.count(b"\n")) == (0, 1)
        full = run_in_shell('"$@" 2> /dev/full', *sending, message_file)
        assert (full.returncode, full.stdout) == (0, heard.stdout)


@pytest.mark.parametrize("stdin", ["< /dev/null", "<&-"])
@pytest.mark.parametrize("command", [("send", "--from", "", "--to", "a@b.example"), ("fetch",)])
def test_where_nobody_types_a_password_that_is_said(stdin: str, command: tuple[str, ...], message_file: str) -> None:
    file = (message_file,) if command[0] == "send" else ()
    asked = run_in_shell(f'"$@" {stdin}', *command, "--server", "127.0.0.1:1", "--user", "ada", *file)
    assert (asked.returncode, b"--password-env" in asked.stderr) == (1, True)


@pytest.mark.parametrize("stdin", ["<&-", "< {file}"])
def test_a_password_that_cannot_be_read_makes_no_key(stdin: str, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes(b"p\xffncil\n")
    line = f'"$@" {stdin.format(file=path)}'
    made = run_in_shell(line, "scram-key", "ada", PYTHONIOENCODING="utf-8:strict")
    assert (made.returncode, made.stdout, b"no password" in made.stderr) == (1, b"", True)
    assert b"0xff" not in made.stderr


def test_who_interrupts_the_question_for_a_password_is_told_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("getpass.getpass", interrupted)
    assert main(["scram-key", "ada"]) == 1
    assert capsys.readouterr() == ("", "")
