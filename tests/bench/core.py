"""What the state machines cost in memory, each beside a floor: the least that any Python could do for the same.

    python -m tests.bench.core [ROUNDS]
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from mailproto.pop3 import POP3ServerConfig, POP3ServerConnection
from mailproto.pop3.snapshot import MessageInfo
from mailproto.smtp import Limits, SMTPServerConfig, SMTPServerConnection
from tests.bench.timing import interleave, per_item

_ENDLESS = Limits(max_commands=10**9, max_junk=10**9, max_transactions=10**9)
_TEXT = b"The quick brown fox jumps over the lazy dog, and then over all of its neighbours.\r\n"
_HEADER = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: bench\r\n\r\n"
_SMALL = _HEADER + _TEXT * ((1024 - len(_HEADER)) // len(_TEXT))
_CHUNK = (_TEXT * 1000)[: 64 << 10]
_COMMANDS = b"MAIL FROM:<ada@example.org> SIZE=1024\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n"


def smtp_server() -> SMTPServerConnection:
    """Return a connection behind EHLO."""
    conn = SMTPServerConnection(SMTPServerConfig(limits=_ENDLESS, max_message_size=0))
    conn.receive_data(b"EHLO client.example\r\n")
    for _ in range(2):
        conn.next_event()
        conn.accept()
    conn.data_to_send()
    return conn


def noop(count: int) -> None:
    """Have NOOPs answered."""
    conn = smtp_server()
    for _ in range(count):
        conn.receive_data(b"NOOP\r\n")
        conn.next_event()
        conn.data_to_send()


def noop_floor(count: int) -> None:
    """Find the line's end, look the verb up, and make an answer of it."""
    replies = {b"NOOP": b"250 2.0.0 OK\r\n"}
    for _ in range(count):
        data = b"NOOP\r\n"
        b"".join([replies[data[: data.find(b"\r\n")].upper()]])


def transaction(count: int) -> None:
    """Take messages of 1 KB: MAIL, RCPT and DATA in one flight, then the message, each answered."""
    conn = smtp_server()
    message = _SMALL + b".\r\n"
    for _ in range(count):
        conn.receive_data(_COMMANDS)
        for _ in range(3):
            conn.next_event()
            conn.accept()
        conn.data_to_send()
        conn.receive_data(message)
        while conn.next_event() is not None:
            if conn.pending is not None:
                conn.accept()
        conn.data_to_send()


def transaction_floor(count: int) -> None:
    """Split the same octets at line ends, and no more."""
    message = _SMALL + b".\r\n"
    for _ in range(count):
        _COMMANDS.split(b"\r\n")
        message.split(b"\r\n")


def body(count: int) -> None:
    """Take ``count`` chunks of 64 KiB of one message."""
    conn = smtp_server()
    conn.receive_data(_COMMANDS)
    for _ in range(3):
        conn.next_event()
        conn.accept()
    conn.receive_data(_HEADER)
    for _ in range(count):
        conn.receive_data(_CHUNK)
        while conn.next_event() is not None:
            pass


def body_floor(count: int) -> None:
    """Count the line ends of the same chunks."""
    for _ in range(count):
        _CHUNK.count(b"\r\n")


def retrieval(count: int) -> None:
    """Hand out a message of 64 KiB over POP3, again and again."""
    config = POP3ServerConfig(limits=_ENDLESS, allow_plaintext_auth=True)
    conn = POP3ServerConnection(config)
    conn.receive_data(b"USER ada\r\nPASS secret\r\n")
    conn.next_event()
    conn.accept()
    conn.next_event()
    conn.accept(maildrop=[MessageInfo(len(_CHUNK), "1")])
    conn.data_to_send()
    for _ in range(count):
        conn.receive_data(b"RETR 1\r\n")
        conn.next_event()
        conn.accept()
        conn.send_data(_CHUNK)
        conn.end_data()
        conn.data_to_send()


def retrieval_floor(count: int) -> None:
    """Stuff the dots of the same message."""
    for _ in range(count):
        _CHUNK.replace(b"\r\n.", b"\r\n..")


_BENCHES: dict[str, tuple[Callable[[int], None], Callable[[int], None], int]] = {
    "NOOP": (noop, noop_floor, 20_000),
    "1 KB transaction": (transaction, transaction_floor, 4_000),
    "64 KiB of a message": (body, body_floor, 1_000),
    "RETR of 64 KiB": (retrieval, retrieval_floor, 1_000),
}


def main(rounds: int) -> None:
    """Print the median cost of each, and how many times its floor that is."""
    for name, (job, floor, count) in _BENCHES.items():
        took = interleave({"it": per_item(job, count), "floor": per_item(floor, count)}, rounds)
        speed = f"  {len(_CHUNK) / took['it'] / 1e9:.2f} GB/s" if "64 KiB" in name else ""
        print(f"{name:20} {took['it'] * 1e6:8.2f} µs  {took['it'] / took['floor']:6.1f} x its floor{speed}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
