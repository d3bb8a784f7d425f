"""``python -m mailproto queue`` with orders, while a relay runs and while none does."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mailproto import sync
from mailproto.address import Address
from mailproto.cli import main
from mailproto.errors import Reject
from mailproto.relay import Entry, Order, Pending, Queue, UnreadableError
from mailproto.smtp.notices import Action
from mailproto.testing import Outbox
from tests.cli.harness import relaying, run_json
from tests.cli.test_relay import wait_for

GRACE = Address("grace", "example.net")


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    """Return a queue with some messages that are not due for an hour: to one, to the other, and to both."""
    queue = Queue(tmp_path / "queue")
    ada, bob = Pending(Address("ada", "Example.ORG")), Pending(Address("bob", "b\u00fccher.example"))
    for number, recipients in enumerate([(ada,), (bob,), (ada, bob)], start=1):
        now = time.time()
        queue.add(Entry(f"m{number}", GRACE, recipients, now, now + 3600), [b"Subject: %d\r\n\r\n" % number])
    return queue


def order(capsys: pytest.CaptureFixture[str], queue: Queue, *options: str) -> tuple[int, dict[str, Any]]:
    return run_json(capsys, "queue", *options, str(queue.path))


@pytest.mark.parametrize(
    ("which", "names"),
    [
        ("m2", ["m2"]),
        ("@example.org", ["m1", "m3"]),
        ("@XN--bcher-kva.example", ["m2", "m3"]),
        ("@B\u00dcCHER.example", ["m2", "m3"]),
        ("ALL", ["m1", "m2", "m3"]),
    ],
)
def test_without_a_relay_they_wait(
    queue: Queue, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, which: str, names: list[str]
) -> None:
    monkeypatch.setattr("mailproto.cli.orders._PATIENCE", 0)
    status, result = order(capsys, queue, "--retry", which)
    assert (status, result) == (0, {"ok": True, "done": [], "ordered": names, "unknown": [], "error": None})
    assert queue.orders.given() == dict.fromkeys(names, Order.RETRY)


def test_what_is_ordered_twice_counts_once(
    queue: Queue, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailproto.cli.orders._PATIENCE", 0)
    _, result = order(capsys, queue, "--retry", "m3", "--retry", "@example.org", "--remove", "m3")
    assert (result["ordered"], result["done"]) == (["m3", "m1"], [])


def test_what_is_ordered_is_shown(
    queue: Queue, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailproto.cli.orders._PATIENCE", 0)
    orders = ("--remove", "m1", "--return", "m2", "--retry", "m3", "--remove", "m9")
    assert main(["queue", *orders, str(queue.path)]) == 1
    said = capsys.readouterr()
    assert said.out == "0 done, 3 to be done\n"
    assert said.err.splitlines()[:2] == [
        "m9: there is no such message",
        "m1: ordered, and not done yet: it is under way, or no relay runs on this queue",
    ]
    assert main(["queue", str(queue.path)]) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("m")]
    assert [line.rpartition(", ")[2] for line in shown] == ["to be removed", "to be returned", "to be tried now"]
    messages = order(capsys, queue)[1]["messages"]
    assert [message["order"] for message in messages] == ["remove", "return", "retry"]


def test_a_relay_does_what_is_ordered(queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    class Busy(Outbox):
        def on_rcpt(self, _: object, rcpt: Any) -> None:
            if rcpt.address.local_part == "bob":
                raise Reject(451, "Not so fast", "4.7.1")

    busy = Busy()
    queue.set_aside("m1", UnreadableError("for a moment"))
    with sync.SMTPServer(busy, port=0) as server:
        way = ("--smarthost", f"127.0.0.1:{server.port}", "--tls", "none")
        with relaying("--queue", str(queue.path), *way) as relay:
            assert order(capsys, queue, "--retry", "ALL")[1]["done"] == ["m2", "m3"]
            wait_for(lambda: busy.letters)
            assert order(capsys, queue, "--remove", "m2", "--remove", "m1")[1]["done"] == ["m2", "m1"]
            assert order(capsys, queue, "--return", "m3")[1]["done"] == ["m3"]
            wait_for(lambda: not queue.names())
            relay.stop()
    assert [letter.recipients for letter in busy.letters] == [["ada@Example.ORG"], ["grace@example.net"]]
    assert busy.letters[1].message["Subject"] == "Undelivered mail"
    assert queue.unreadable() == []


def test_an_order_for_nothing_is_an_error(queue: Queue, capsys: pytest.CaptureFixture[str]) -> None:
    for options in (("--retry", "m9"), ("--retry", "@example.com"), ("--return", "../lock")):
        status, result = order(capsys, queue, *options)
        assert (status, result["ok"], result["unknown"]) == (1, False, [options[1]])
    queue.set_aside("m2", UnreadableError("it was tried"))
    entry = queue.load("m3")
    assert entry is not None
    ada, bob = entry.recipients
    queue.save(replace(entry, recipients=(ada, replace(bob, action=Action.FAILED))))
    for options in (("--retry", "m2"), ("--return", "m2"), ("--retry", "@xn--bcher-kva.example")):
        assert order(capsys, queue, *options)[1]["unknown"] == [options[1]]
    assert queue.orders.given() == {}
    with pytest.raises(SystemExit):
        main(["queue", "--remove", "@example.org", str(queue.path)])
    for name in queue.names():
        queue.remove(name)
    assert order(capsys, queue, "--remove", "ALL")[0] == 0, "nothing is all there is"
