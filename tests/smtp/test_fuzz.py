"""Random clients against the server: nothing escapes, nothing is smuggled, and a small model agrees with it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mailproto.smtp import (
    Auth,
    AuthResponse,
    CommandRejected,
    Connected,
    ConnectionClosed,
    Data,
    Expn,
    Extension,
    ExtensionCommand,
    Hello,
    Limits,
    Mail,
    MessageAborted,
    MessageChunk,
    MessageEnd,
    Rcpt,
    Reset,
    SMTPServerConfig,
    SMTPServerConnection,
    StartTLS,
    Vrfy,
)
from tests.helpers import THOROUGH, Talk, cut_at, talk
from tests.smtp import WITH_EXPN

LINES = st.sampled_from(
    [
        b"EHLO x\r\n",
        b"HELO x\r\n",
        b"MAIL FROM:<a@b>\r\n",
        b"MAIL FROM:<> SIZE=5 BODY=8BITMIME\r\n",
        b"MAIL FROM:<a@b> SIZE=99999999999\r\n",
        b"RCPT TO:<c@d>\r\n",
        b"RCPT TO:<Postmaster>\r\n",
        b"DATA\r\n",
        b"BDAT 4\r\nab\r\n",
        b"BDAT 0 LAST\r\n",
        b"BDAT 6 LAST\r\nQUIT\r\n",
        b"BDAT x\r\n",
        b"hello\r\n.\r\n",
        b".\r\n",
        b"..\r\n",
        b"a\nb\r\n",
        b"\0\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"VRFY x\r\n",
        b"EXPN x\r\n",
        b"HELP\r\n",
        b"XBREW tea\r\n",
        b"AUTH PLAIN\r\n",
        b"AUTH PLAIN AGEAYg==\r\n",
        b"AGEAYg==\r\n",
        b"*\r\n",
        b"STARTTLS\r\n",
        b"XYZZY\r\n",
        b"\xff\xfe\r\n",
        b"x" * 60 + b"\r\n",
        b"GET / HTTP/1.1\r\n",
        b"QUIT\r\n",
    ]
)
WIRE = st.lists(LINES | st.binary(max_size=6), max_size=25).map(b"".join)
VERDICTS = st.lists(
    st.sampled_from(["accept", "accept", "accept", "reject", "default", "challenge"]), min_size=1, max_size=9
)

CONFIG = SMTPServerConfig(
    starttls=True,
    auth_mechanisms=("PLAIN",),
    allow_plaintext_auth=True,
    max_message_size=40,
    extensions=(*WITH_EXPN, Extension("X-BREW", "ours", lambda _: "", commands=("XBREW",))),
    limits=Limits(max_line=50, max_sasl_line=50, max_errors=8, max_junk=8, max_recipients=3, max_excess=200),
)
KNOWN = (
    Auth,
    AuthResponse,
    CommandRejected,
    Connected,
    ConnectionClosed,
    Data,
    Expn,
    ExtensionCommand,
    Hello,
    Mail,
    MessageAborted,
    MessageChunk,
    MessageEnd,
    Rcpt,
    Reset,
    StartTLS,
    Vrfy,
)


def run(wire: bytes, sizes: list[int], verdicts: list[str]) -> tuple[SMTPServerConnection, Talk]:
    turn = iter(verdicts * 1000)

    def policy(conn: Any, event: object) -> None:
        verdict = next(turn)
        if verdict == "challenge" and isinstance(event, Auth | AuthResponse):
            conn.challenge(b"?")
        elif verdict == "reject":
            conn.reject()
        elif verdict == "default":
            conn.answer_default()
        else:
            conn.accept()

    conn = SMTPServerConnection(CONFIG)
    return conn, talk(conn, cut_at(wire, sizes), policy, eof=True)


@THOROUGH
@given(WIRE, st.lists(st.integers(1, 9), min_size=1, max_size=4), VERDICTS)
def test_whatever_a_client_says(wire: bytes, sizes: list[int], verdicts: list[str]) -> None:
    """S86, SECURITY 9.5 and 9.7: no exception, the same in one piece and in many, replies that can be counted."""
    conn, cut = run(wire, sizes, verdicts)
    _, whole = run(wire, [1 << 20], verdicts)
    if not cut.of(StartTLS):  # where what comes behind it is the attack, how it is cut is not ours
        assert cut.lines == whole.lines
        # Who is hung up on without a word loses the words that were not on their way yet.
        assert cut.output == whole.output or (conn._failure and cut.output.startswith(whole.output))
    _invariants(conn, cut)


def _invariants(conn: SMTPServerConnection, result: Talk) -> None:
    assert result.error is None
    assert len(result.of(ConnectionClosed)) == 1
    assert isinstance(result.events[-1], ConnectionClosed)
    assert conn.closing
    assert conn.next_event() is None
    assert conn.data_to_send() == b""
    lines = result.output.split(b"\r\n")
    assert lines.pop() == b""
    assert all(line[:3].isdigit() and line[3:4] in (b" ", b"-") and len(line) <= 510 for line in lines)
    # Every message has its recipients, and nothing of an envelope is left for the next.
    open_mail = False
    for event in result.events:
        if isinstance(event, Mail):
            open_mail = True
        elif isinstance(event, MessageEnd):
            assert open_mail
            assert 0 < len(event.envelope.recipients) <= 3
            assert event.size <= 40
            open_mail = False
        elif isinstance(event, Rcpt):
            assert open_mail
        else:
            assert isinstance(event, KNOWN)


class Model:
    """A server in a few lines: accepts everything, one line a command, messages without a fault."""

    def __init__(self) -> None:
        self.codes: list[int] = [220]
        self.messages: list[tuple[int, bytes]] = []
        self.state = "start"
        self._recipients = 0
        self._body = b""

    def line(self, text: bytes) -> None:
        if self.state == "closed":
            return
        if self.state == "data":
            self._take(text)
            return
        verb = text.split(b" ")[0]
        handler = getattr(self, f"_{verb.decode().lower()}", None)
        self.codes.append(500 if handler is None else handler(text))

    def _take(self, text: bytes) -> None:
        if text != b".":
            self._body += text.removeprefix(b".") + b"\r\n"
            return
        self.messages.append((self._recipients, self._body))
        self.state = "ready"
        self.codes.append(250)

    def _ehlo(self, _: bytes) -> int:
        self.state = "ready"
        return 250

    _helo = _ehlo

    def _mail(self, _: bytes) -> int:
        if self.state != "ready":
            return 503
        self.state, self._recipients, self._body = "mail", 0, b""
        return 250

    def _rcpt(self, _: bytes) -> int:
        if self.state not in ("mail", "rcpt"):
            return 503
        self.state, self._recipients = "rcpt", self._recipients + 1
        return 250

    def _data(self, _: bytes) -> int:
        if self.state != "rcpt":
            return 554 if self.state == "mail" else 503
        self.state = "data"
        return 354

    def _rset(self, _: bytes) -> int:
        self.state = "start" if self.state == "start" else "ready"
        return 250

    def _noop(self, _: bytes) -> int:
        return 250

    def _vrfy(self, _: bytes) -> int:
        return 252

    def _quit(self, _: bytes) -> int:
        self.state = "closed"
        return 221


MODEL_LINES = st.sampled_from(
    [
        b"EHLO x",
        b"HELO x",
        b"MAIL FROM:<a@b>",
        b"RCPT TO:<c@d>",
        b"DATA",
        b"RSET",
        b"NOOP",
        b"VRFY x",
        b"XYZZY",
        b".",
        b"..",
        b".x",
        b"hello",
        b"QUIT",
    ]
)


@THOROUGH
@given(st.lists(MODEL_LINES, max_size=40), st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_a_small_model_agrees(lines: list[bytes], sizes: list[int]) -> None:
    """Which replies there are, and which messages: nothing of the machine's own making in either."""
    model = Model()
    for line in lines:
        model.line(line)
    conn = SMTPServerConnection(
        SMTPServerConfig(max_message_size=0, limits=Limits(max_errors=999, max_junk=999), extensions=())
    )
    result = talk(conn, cut_at(b"".join(line + b"\r\n" for line in lines), sizes))
    assert [int(code) for code in result.replies] == model.codes
    messages: list[tuple[int, bytes]] = []
    body = b""
    for event in result.events:
        if isinstance(event, Data):
            body = b""
        elif isinstance(event, MessageChunk):
            body += event.data
        elif isinstance(event, MessageEnd):
            messages.append((len(event.envelope.recipients), body))
    assert messages == model.messages
