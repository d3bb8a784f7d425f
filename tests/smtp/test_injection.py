"""Values of the caller's that are more than values: refused before anything is queued, by every public method."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from mailproto.address import Address
from mailproto.errors import MailProtoError
from mailproto.smtp import (
    MailParameters,
    RcptParameters,
    SMTPClientConfig,
    SMTPClientConnection,
    make_submission,
)
from mailproto.smtp.extensions import Extension, Parameter
from tests.smtp import ADA, client, say

# SECURITY 9.2.
CORPUS = [
    "\r",
    "\n",
    "\r\n",
    "x\r\nDATA",
    "x\nDATA",
    "\0",
    "\x01",
    "\t",
    "\x0b",
    "\x0c",
    "\x1b[2J",
    "\x1c",
    "\x7f",
    *map(chr, range(0x80, 0xA0)),
    "\u2028",
    "\u2029",
    "\ud800",
    "\udc0a",
    "\udcff",
    "a@b>\r\nRCPT TO:<c@d",
    '"a\r\nb"@x',
]
# Characters that lose a byte somewhere become line ends (S12): exact UTF-8 where that was agreed on, or refused.
WIDE = ["\u560a\u560d", "\u760a\u760d", "\u010a\u010d", "\uff0d\uff0a", "\u0a0d"]
CLOSING = [">", "> SIZE=1", "> X=y", "a@b> SIZE=1 <c@d", "<", "> \r\nQUIT"]

EXTRA = Extension("X", "none", lambda _: "", mail=(Parameter("X", str, str),), rcpt=(Parameter("Y", str, str),))


def ready() -> SMTPClientConnection:
    return client(
        "PIPELINING",
        "SMTPUTF8",
        "SIZE",
        "8BITMIME",
        "AUTH PLAIN",
        "X",
        "CHUNKING",
        "XCLIENT NAME",
        "XFORWARD NAME",
        "BURL imap",
        extensions=(*SMTPClientConfig().extensions, EXTRA),
    )


def forged(part: str) -> Address:
    """Return an address that no constructor has seen."""
    return tuple.__new__(Address, (part, "example.org"))


def challenged(conn: SMTPClientConnection) -> None:
    conn.auth("PLAIN")
    conn.data_to_send()
    say(conn, "334 ")


Sink = Callable[[SMTPClientConnection, str], object]
SINKS: dict[str, Sink] = {
    "ehlo": lambda conn, evil: conn.ehlo(evil),
    "ehlo domain": lambda conn, evil: conn.ehlo(f"x{evil}.example"),
    "ehlo literal": lambda conn, evil: conn.ehlo(f"[x:{evil}]"),
    "helo": lambda conn, evil: conn.helo(evil),
    "lhlo": lambda conn, evil: conn.lhlo(evil),
    "vrfy": lambda conn, evil: conn.vrfy(f"x{evil}y"),
    "expn": lambda conn, evil: conn.expn(f"x{evil}y"),
    "etrn": lambda conn, evil: conn.etrn(f"x{evil}y"),
    "help": lambda conn, evil: conn.help(f"x{evil}y"),
    "command": lambda conn, evil: conn.command("XFOO", f"x{evil}y"),
    "command verb": lambda conn, evil: conn.command(f"XFOO{evil}"),
    "auth": lambda conn, evil: conn.auth(f"PLAIN{evil}"),
    "xclient": lambda conn, evil: conn.xclient({f"NAME{evil}": "x"}),
    "xforward": lambda conn, evil: conn.xforward({f"NAME{evil}": "x"}),
    "mail": lambda conn, evil: conn.mail(Address.parse(f"a{evil}b@example.org")),
    "mail parts": lambda conn, evil: conn.mail(Address(f"a{evil}b", "example.org"), MailParameters(smtputf8=True)),
    "mail domain": lambda conn, evil: conn.mail(Address("a", f"b{evil}.example"), MailParameters(smtputf8=True)),
    "mail forged": lambda conn, evil: conn.mail(forged(f"a{evil}b"), MailParameters(smtputf8=True)),
    "mail auth": lambda conn, evil: conn.mail(ADA, MailParameters(auth=Address(f"a{evil}b", "example.org"))),
    "mail extra": lambda conn, evil: conn.mail(ADA, MailParameters(extra={"X": f"a{evil}b"})),
    "mail keyword": lambda conn, evil: conn.mail(ADA, MailParameters(extra={f"X{evil}": "y"})),
    "rcpt": lambda conn, evil: conn.rcpt(Address.parse(f"a{evil}b@example.org")),
    "rcpt forged": lambda conn, evil: conn.rcpt(forged(f"a{evil}b")),
    "transact": lambda conn, evil: conn.transact(forged(f"a{evil}b"), [ADA], b"x"),
    "transact to": lambda conn, evil: conn.transact(ADA, [forged(f"a{evil}b")], b"x"),
    "rcpt extra": lambda conn, evil: conn.rcpt(ADA, RcptParameters(extra={"Y": f"a{evil}b"})),
    "burl": lambda conn, evil: conn.burl(f"imap://x{evil}y"),
    "submission": lambda conn, evil: make_submission(b"x", f"a{evil}b@example.org", "b@c"),
    "submission to": lambda conn, evil: make_submission(b"x", "a@b", [f"a{evil}b@example.org"]),
    "auth response": lambda conn, evil: challenged(conn),
}


def prepared(sink: str) -> tuple[SMTPClientConnection, int]:
    """Return a client where a sink may be used, and how many commands it has queued for that."""
    conn = ready()
    steps = {"rcpt": 1, "burl": 2}.get(sink.split(" ")[0], 0)
    if steps:
        conn.mail(ADA, MailParameters(smtputf8=True))
    if steps > 1:
        conn.rcpt(ADA)
    return conn, steps


def snapshot(conn: SMTPClientConnection) -> tuple[object, ...]:
    return (conn.state, conn.in_transaction, list(conn._unsent), list(conn._waiting), conn.queued, conn.closing)


@pytest.mark.parametrize("evil", CORPUS)
@pytest.mark.parametrize("sink", [name for name in SINKS if name != "auth response"])
def test_nothing_is_queued(sink: str, evil: str) -> None:
    """S11."""
    conn, queued = prepared(sink)
    before = snapshot(conn)
    with pytest.raises((MailProtoError, UnicodeError)) as caught:
        SINKS[sink](conn, evil)
    assert isinstance(caught.value, MailProtoError), "no exception but the documented ones"
    assert snapshot(conn) == before
    said = conn.data_to_send()
    assert said.count(b"\r\n") == queued
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("evil", WIDE)
@pytest.mark.parametrize("sink", [name for name in SINKS if name != "auth response"])
def test_nothing_is_lost_on_the_way_to_the_wire(sink: str, evil: str) -> None:
    """S12: exact UTF-8 in one line, or nothing."""
    conn, _ = prepared(sink)
    conn.data_to_send()
    try:
        SINKS[sink](conn, evil)
    except MailProtoError:
        assert conn.data_to_send() == b""
        return
    said = conn.data_to_send()
    if said:
        assert said.count(b"\r") == said.count(b"\n") == said.count(b"\r\n") == 1
        assert said.isascii() or evil.encode() in said


@pytest.mark.parametrize("evil", CLOSING)
@pytest.mark.parametrize(
    "sink", ["mail", "mail parts", "mail domain", "mail auth", "mail extra", "mail keyword", "rcpt", "rcpt extra"]
)
def test_no_value_gets_out_of_its_place(sink: str, evil: str) -> None:
    """S13: what a peer reads is what was meant."""
    from mailproto.address import parse_path
    from mailproto.smtp.command import path_argument

    conn = ready()
    if sink.startswith("rcpt"):
        conn.mail(ADA)
        conn.data_to_send()
    try:
        SINKS[sink](conn, evil)
    except MailProtoError:
        assert conn.data_to_send() == b""
        return
    line = conn.data_to_send()
    assert line.count(b"\r\n") == 1
    verb, _, argument = line.decode().removesuffix("\r\n").partition(" ")
    path = parse_path(path_argument(argument, "FROM:" if verb == "MAIL" else "TO:"))
    assert path.address is not None
    if "parts" in sink:
        assert path.address.local_part == f"a{evil}b"
        assert path.rest == " SMTPUTF8"
    assert " " not in path.rest.removeprefix(" "), "one parameter is one word"


def test_every_method_with_an_argument_is_a_sink() -> None:
    """A method that comes later has to be added here."""
    known = {name.split(" ")[0] for name in SINKS}
    known |= {
        "auth_response",
        "send_data",
        "bdat",
        "data",
        "receive_data",
        "tls_established",
        "starttls",
        "check_rcpt",
        "lose_output",
        "send_proxy_header",
        "uses",
    }
    for name, method in inspect.getmembers(SMTPClientConnection, inspect.isfunction):
        if not name.startswith("_") and len(inspect.signature(method).parameters) > 1:
            assert name in known, f"{name} takes arguments, and nobody injects into it"


@pytest.mark.parametrize("size", ["5\r\nRCPT TO:<evil@x>", "5 AUTH=x", -1, "-1", 5.5, True, None, b"5"])
def test_a_number_is_a_number(size: Any) -> None:
    """Envelope sizes have been a way in elsewhere: an int is an int."""
    conn = ready()
    try:
        conn.mail(ADA, MailParameters(size=size))
    except (MailProtoError, TypeError, ValueError):
        assert conn.data_to_send() == b""
        assert not conn.in_transaction
        return
    line = conn.data_to_send()
    assert size is None
    assert line == b"MAIL FROM:<ada@example.org>\r\n"


def test_a_response_is_always_base64() -> None:
    """Whatever is in the octets."""
    conn = ready()
    challenged(conn)
    conn.auth_response(b"\r\nMAIL FROM:<evil@x>\r\n")
    assert conn.data_to_send() == b"DQpNQUlMIEZST006PGV2aWxAeD4NCg==\r\n"
    conn = ready()
    conn.auth("PLAIN", b"\r\nQUIT\r\n")
    assert conn.data_to_send() == b"AUTH PLAIN DQpRVUlUDQo=\r\n"


def test_an_extension_of_the_callers_own_gets_no_line_through_either() -> None:
    """What a format function returns is checked like everything else."""
    own = Extension("X", "none", lambda _: "", mail=(Parameter("X", str, lambda value: value),))
    for text in ("a\r\nb", "a b", "a=b", "", "\ud800", "\x85"):
        conn = client("X", extensions=(own,))
        with pytest.raises(MailProtoError):
            conn.mail(ADA, MailParameters(extra={"X": text}))
        assert conn.data_to_send() == b""


def test_a_hundred_thousand_characters() -> None:
    conn = ready()
    sinks: list[Callable[[], object]] = [
        lambda: conn.ehlo("x" * 100_000),
        lambda: conn.mail(Address.parse("x" * 100_000 + "@y")),
        lambda: conn.mail(Address("x" * 100_000, "y")),
        lambda: conn.auth("X" * 100_000),
    ]
    for sink in sinks:
        with pytest.raises(MailProtoError) as caught:
            sink()
        assert len(str(caught.value)) < 1000
    assert conn.data_to_send() == b""
