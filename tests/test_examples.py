"""Every example runs, as the README says: from a clone, with nothing installed."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples.relay import Relay
from mailproto import aio
from mailproto.smtp import Reply, SMTPServerConfig
from mailproto.smtp.extensions import SIZE
from mailproto.testing import Outbox
from tests import data
from tests.adapters.harness import PATIENCE

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("[a-z]*.py"))


def run_example(name: str, *arguments: str) -> str:
    """Run an example with only the standard library in sight; return what it printed. A warning is an error."""
    strictly = ["-I", "-bb", "-X", "dev", "-W", "error"]
    run = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {_RUN}"
    command = [sys.executable, *strictly, "-c", run, name, *arguments]
    done = subprocess.run(command, capture_output=True, timeout=2 * PATIENCE, cwd=ROOT)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


_RUN = "import runpy; runpy.run_module('examples.' + sys.argv.pop(1), run_name='__main__', alter_sys=True)"


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs(name: str) -> None:
    assert run_example(name)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs_where_output_is_ascii(name: str) -> None:
    """Or anything else but Unicode, as it is in many a pipe on Windows."""
    narrow = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONWARNDEFAULTENCODING": "1", "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-m", f"examples.{name}"]
    done = subprocess.run(command, capture_output=True, timeout=2 * PATIENCE, cwd=ROOT, env=narrow)
    assert done.returncode == 0, done.stderr.decode()


def test_quickstart_shows_the_conversation_and_hides_the_secret() -> None:
    shown = run_example("quickstart")
    assert shown.endswith("every octet came back\n")
    for line in ("S: 220 ", "C: MAIL FROM:<grace@example.net>", "C: RETR 1", "C: QUIT", "S: +OK"):
        assert line in shown
    assert "<secret>" in shown
    assert "correct horse" not in shown


def test_quickstart_takes_mails_of_all_kinds() -> None:
    paths = [str(path) for path in data.MAIL.values()]
    shown = run_example("quickstart", *paths)
    assert f"{len(paths)} mail(s)" in shown
    assert shown.endswith("every octet came back\n")


@pytest.mark.parametrize("mail", [b"", b".", b"Subject: nul\r\n\r\n\0\r\n", b"Subject: x\n\n.\n.\r.", b"\xff" * 3000])
def test_quickstart_takes_odd_mails(tmp_path: Path, mail: bytes) -> None:
    path = tmp_path / "odd.eml"
    path.write_bytes(mail)
    assert run_example("quickstart", str(path)).endswith("every octet came back\n")


def test_quickstart_says_which_file_is_not_there() -> None:
    done = subprocess.run([sys.executable, "-m", "examples.quickstart", "no-such.eml"], capture_output=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"no-such.eml" in done.stderr


def test_the_relay_adds_its_field_and_says_what_the_next_server_says() -> None:
    shown = run_example("relay")
    assert "ada@example.org: accepted, 250 " in shown
    assert "bob@example.net: refused, 550 5.7.1 Relaying denied" in shown
    assert "Received: from client.example ([127.0.0.1])\n\tby relay.example with ESMTP" in shown


def test_the_relay_does_not_put_off_what_the_next_server_never_takes() -> None:
    async def send() -> Reply:
        bare = SMTPServerConfig(extensions=(SIZE,))
        async with (
            aio.SMTPServer(Outbox(), port=0, config=bare) as inner,
            aio.SMTPServer(Relay("127.0.0.1", inner.port), port=0) as outer,
            aio.SMTPClient("127.0.0.1", outer.port) as client,
        ):
            result = await client.send_message(b"\xff\r\n", "grace@example.net", "ada@example.org")
        (recipient,) = result.recipients
        assert recipient.reply is not None
        return recipient.reply

    assert asyncio.run(send()).code == 554


def test_the_selector_loop_serves_and_calls_in_clear_and_under_tls() -> None:
    shown = run_example("selector_loop").splitlines()
    assert shown[:3] == ["250 2.0.0 Message accepted"] * 3
    told = [f"b'Subject: TLS {tls}\\r\\n\\r\\nHello\\r\\n'" for tls in ("implicit", "none", "required")]
    assert sorted(shown[3:]) == told


def test_local_delivery_answers_for_each_recipient() -> None:
    shown = run_example("lmtp_delivery")
    codes = [line.split(": ")[1][:3] for line in shown.split("\n")[:6]]
    assert codes == ["250", "250", "550", "250", "452", "250"]
    assert shown.count("Return-Path: <grace@example.net>") == 4
    assert "forged" not in shown


def test_mail_is_stored_and_forwarded_and_what_fails_comes_back() -> None:
    shown = run_example("store_and_forward")
    assert "The submission server says: 250 2.0.0 queued as " in shown
    assert "Left in the queue: 0\n" in shown
    to_ada, to_grace = shown.split("-- In the mailbox of ")[1:]
    assert to_ada.startswith("ada --\nReturn-Path: <grace@example.net>\nReceived: from relay.example.net ")
    assert "by mx.example.org with ESMTP\n\tfor <ada@example.org>;\n" in to_ada
    assert "by relay.example.net with ESMTPA id " in to_ada
    assert "@relay.example.net>\nDate: " in to_ada
    assert to_grace.startswith("grace --\nReturn-Path: <>\nReceived: from relay.example.net ")
    assert "\nFrom: Mail Delivery System <postmaster@relay.example.net>\n" in to_grace
    assert "Final-Recipient: rfc822; bob@example.org\nAction: failed\n" in to_grace
    assert "ada@example.org\nAction" not in to_grace


def blocks(language: str) -> list[str]:
    """Return the README's fenced blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_two_commands_stand_in_the_readme() -> None:
    commands = "".join(blocks("sh")).split("\n")
    assert "python3 -m examples.quickstart" in commands
    test = "python3 -m venv .venv && .venv/bin/python -m pip install -e '.[test]' && .venv/bin/python -m pytest"
    assert test in commands


@pytest.mark.parametrize("block", blocks("python"))
def test_python_in_the_readme_is_python(block: str) -> None:
    compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_what_the_readme_names_is_there() -> None:
    for path in re.findall(r"\]\(([\w./]+)\)", README):
        assert (ROOT / path).exists(), path


def test_every_part_of_the_house_is_on_its_map() -> None:
    house = ROOT / "mailproto"
    parts = {f"{path.parent.name}/" for path in house.glob("*/__init__.py")}
    parts |= {path.name for path in house.glob("*.py") if not path.name.startswith("__")}
    assert parts <= set(re.findall(r"`([\w/.]+)`", README))
