"""A random client, one command at a time, against the server's flow: what the application gets is what was sent.

The model believes the replies and nothing else: what a client may conclude from them has to be what the application
has got, whatever the order of commands, whoever refuses, and however often a transaction is begun and given up.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mailproto.errors import Reject
from mailproto.smtp import Envelope, Mail, Rcpt
from mailproto.smtp.flows.server import SMTPSession, serve
from tests.helpers import THOROUGH
from tests.smtp import EHLO, server
from tests.smtp.pipes import Driver

TEXT = st.lists(st.sampled_from(["a", ".", "..x", "b", "refuse me", "bare\n"]), max_size=2).map(
    lambda lines: "".join(f"{line}\r\n" for line in lines).encode()
)
COMMANDS = st.sampled_from(
    [
        *["chunk", "last chunk", "DATA"] * 4,  # each behind an envelope, if there is none yet
        *["RSET", "EHLO client.example"] * 2,
        *["stray chunk", "stray last chunk", "stray DATA", "HELO client.example", "NOOP", "VRFY x"],
        *["MAIL FROM:<b@x>", "MAIL FROM:<n@x>", "RCPT TO:<d@x>", "RCPT TO:<n@x>"],
    ]
)


class Inbox:
    """Notes what it takes; refuses the sender and the recipient ``n``, and a message that asks for it."""

    def __init__(self, streams: bool) -> None:
        self.messages: list[tuple[str, list[str], bytes]] = []
        self._content = b""
        if streams:
            self.on_chunk = self._take_chunk

    def on_mail(self, session: SMTPSession, mail: Mail) -> None:
        if str(mail.reverse_path).startswith("n"):
            raise Reject(550, "no")

    def on_rcpt(self, session: SMTPSession, rcpt: Rcpt) -> None:
        if str(rcpt.address).startswith("n"):
            raise Reject(550, "no")

    def _take_chunk(self, session: SMTPSession, octets: bytes) -> None:
        self._content += octets
        if b"refuse me" in self._content:
            raise Reject(552, "no")

    def on_message(self, session: SMTPSession, envelope: Envelope) -> None:
        content, self._content = self._content or bytes(envelope), b""
        if b"refuse me" in content:
            raise Reject(554, "no")
        self.messages.append((str(envelope.reverse_path), [str(path) for path in envelope.forward_paths], content))

    def on_reset(self, session: SMTPSession) -> None:
        self._content = b""


class Client:
    """Says one thing at a time, and keeps book of what the server has taken."""

    def __init__(self, driver: Driver) -> None:
        self.taken: list[tuple[str, list[str], bytes]] = []
        self._driver = driver
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._content = b""

    def act(self, command: str, text: bytes) -> None:
        """Do one thing."""
        if not command.endswith(("chunk", "DATA")):
            self._command(command)
            return
        if self._sender is None and not command.startswith("stray"):
            self._command("MAIL FROM:<a@x>")
            self._command("RCPT TO:<c@x>")
        if command.endswith("chunk"):
            self._chunk(text, "last" in command)
        else:
            self._data(text)

    def _command(self, command: str) -> None:
        if self._say(f"{command}\r\n".encode()) != b"250":
            return
        if command[:4] in ("RSET", "EHLO", "HELO"):
            self._begin(None)
        elif command[:4] == "MAIL":
            self._begin(command[11:-1])
        elif command[:4] == "RCPT":
            self._recipients.append(command[9:-1])

    def _data(self, text: bytes) -> None:
        if self._say(b"DATA\r\n") == b"354":
            stuffed = (b"\r\n" + text).replace(b"\r\n.", b"\r\n..")[2:]
            self._content = text
            self._end(self._say(stuffed + b".\r\n"))

    def _chunk(self, text: bytes, last: bool) -> None:
        code = self._say(b"BDAT %d%s\r\n" % (len(text), b" LAST" if last else b"") + text)
        self._content += text
        if code == b"250" and last:
            self._end(code)
        elif code != b"250":
            assert self._say(b"RSET\r\n") == b"250"  # RFC 3030 section 2: nothing else is safe behind a refused chunk
            self._begin(None)

    def _end(self, code: bytes) -> None:
        if code == b"250":
            assert self._sender is not None
            self.taken.append((self._sender, self._recipients, self._content))
        self._begin(None)

    def _begin(self, sender: str | None) -> None:
        self._sender, self._recipients, self._content = sender, [], b""

    def _say(self, words: bytes) -> bytes:
        replies = [line for line in self._driver.go(words).split(b"\r\n") if line[3:4] == b" "]
        assert len(replies) == 1, f"{words!r} got {replies}"
        return replies[0][:3]


@settings(parent=THOROUGH, max_examples=500)
@given(st.lists(st.tuples(COMMANDS, TEXT), min_size=6, max_size=16), st.booleans())
def test_what_the_application_gets_is_what_was_sent(actions: list[tuple[str, bytes]], streams: bool) -> None:
    inbox = Inbox(streams)
    conn = server()
    driver = Driver(conn, serve(SMTPSession(conn), inbox))
    driver.go()
    driver.go(EHLO)
    client = Client(driver)
    for action in actions:
        client.act(*action)
    assert inbox.messages == client.taken
