"""The client's side of SMTP (RFC 5321), as a state machine without I/O.

The commands, and when they leave, are in `mailproto.smtp._client.requests`; here is what the server's replies do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from mailproto._core.buffer import LineTooLongError
from mailproto._core.codec import decode_base64
from mailproto._core.connection import AGAIN, STARVED, Step
from mailproto._core.dots import Stuffer
from mailproto._core.events import ConnectionClosed, StartTLS
from mailproto._core.newlines import CanonicalNewlines, StrictNewlines
from mailproto.errors import (
    GrammarError,
    MailProtoError,
    RemoteProtocolError,
)
from mailproto.smtp._client.conveying import END
from mailproto.smtp._client.plain import PlainConnection
from mailproto.smtp._client.terms import Terms, read_keywords
from mailproto.smtp.command import SECRET, Command, Transaction
from mailproto.smtp.events import (
    AuthChallenge,
    ClientEvent,
    CommandSkipped,
    GreetingReceived,
    ReadyForData,
    ReplyReceived,
    ToleranceUsed,
)
from mailproto.smtp.extensions.checkpoint import RESUME
from mailproto.smtp.extensions.prdr import EACH_FOLLOWS
from mailproto.smtp.reply import Reply
from mailproto.smtp.rules import ClientState

ClientStep: TypeAlias = ClientEvent | ConnectionClosed | Step


class SMTPClientConnection(PlainConnection):
    """A client's connection to a server.

    Any reply code is legal for any command; its class decides. What the server may not do, such as replies to
    nothing, raises `RemoteProtocolError` from `next_event`, once and for all.

    Attributes:
        config: as given.
        state: where the connection stands.
        extensions: the server's EHLO keywords, in upper case, and what stood behind them.
        pipelines: whether commands leave ahead of the replies to those before (RFC 2920).
        server_name: what the server calls itself in its reply to EHLO.
    """

    __slots__ = ()

    # What the base asks for.

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, so that another job may begin."""
        return not (self._waiting or self._unsent or self._sending or self._transaction or self.closing)

    @property
    def timeout(self) -> float:
        """Seconds that the wait may last (RFC 5321 section 4.5.3.2), by what the server owes first."""
        if self._sending is not None:
            return self.limits.data_timeout
        if not self._waiting:
            return self.limits.command_timeout
        first = self._waiting[0]
        if first.ends:
            return self.limits.final_reply_timeout
        special = {"greeting": self.limits.greeting_timeout, "QUIT": self.limits.quit_timeout}
        return special.get(first.verb, self.limits.command_timeout)

    def receive_timeout(self) -> None:
        """Give up: a reply that comes later would be taken for the reply to something else."""
        if not self.closing:
            self._break(self._no_answer())

    def shut_down(self) -> None:
        """Say QUIT if nothing is under way; close at once otherwise."""
        if self._waiting or self._sending or self._unsent or self._gate:  # behind which nothing can be said
            self._close("closed by the client")
        elif not self.closing:
            self.quit()

    def _at_rest(self) -> bool:
        return not (self._waiting or self._unsent or self._parser.unfinished or self._buffer)

    def _forget(self) -> None:
        if self.state is not ClientState.GREETING:
            self.state = ClientState.START
        self.extensions = {}
        self.pipelines = False
        self.server_name = ""
        self._terms = Terms()

    def _report_failure(self, reason: str) -> ClientStep:
        self.state = ClientState.FAILED
        raise self._error if self._error is not None else RemoteProtocolError(reason)

    # Replies.

    def _read(self) -> ClientStep:
        try:
            line = self._buffer.take_line(self.limits.max_reply_line)
        except LineTooLongError:
            return self._break(RemoteProtocolError("an endless reply line"))
        if line is None:
            return STARVED
        try:
            reply = self._parser.feed(line, enhanced="ENHANCEDSTATUSCODES" in self.extensions)
        except RemoteProtocolError as error:
            return self._break(error)
        if self.trace is not None:
            self._trace_reply(line)
        return AGAIN if reply is None else self._on_reply(reply)

    def _trace_reply(self, line: bytes) -> None:
        challenge = line.startswith(b"334 ") and bool(self._waiting) and self._waiting[0].verb == "AUTH"
        if self.trace is not None:
            self.trace(self._other, b"334 " + SECRET if challenge and len(line) > 4 else line)

    def _on_reply(self, reply: Reply) -> ClientStep:
        code = reply.code
        if not self._waiting:
            if code != 421:
                return self._break(RemoteProtocolError(f"a reply to nothing: {reply}"))
            self._take_leave(reply)
            return AGAIN
        command = self._waiting[0]
        if code // 100 == 3 and not (code == RESUME and command.alone and command.verb == "MAIL"):
            return self._on_intermediate(command, reply)
        if command.ends:
            if self._premature and reply.ok and command.verb == END:
                return self._break(RemoteProtocolError(f"a message was taken before it was whole: {reply}"))
            if not self._is_final(command, reply):
                return AGAIN
        self._waiting.popleft()
        self._challenged = None
        command.reply = reply
        # Of class 3 only a 355 comes as far as here, and to DATA no go-ahead: without one nothing is taken.
        command.refused = code >= 300 or command.verb == "DATA"
        follow = _ON_REPLY.get(command.verb)
        if follow is not None:
            follow(self, command, reply)
        if self._failure is not None:
            return AGAIN
        if code == 421:
            self._take_leave(reply)
        if command.verb == "greeting":
            return GreetingReceived(reply)
        return ReplyReceived(command, reply)

    def _on_intermediate(self, command: Command, reply: Reply) -> ClientStep:
        """Go on with a command whose reply wants more of it."""
        if command.verb == "DATA":
            return self._on_go_ahead(command, reply)
        if command.verb == "AUTH" and reply.code == 334 and self._challenged is None:
            return self._on_challenge(command, reply)
        transaction = command.transaction
        if command.ends and reply.code == EACH_FOLLOWS and transaction and transaction.prdr and not transaction.each:
            transaction.each = True
            return AGAIN
        return self._break(RemoteProtocolError(f"not an answer to {command.verb}: {reply}"))

    def _is_final(self, command: Command, reply: Reply) -> bool:
        """Whether ``reply`` is the last to a message: in LMTP there is one for each accepted recipient, and with PRDR
        one for all behind them.

        When fewer come, the rest is waited for: a message of which the first recipient hears that it is too big may
        still be delivered to the second one.
        """
        transaction = command.transaction
        if transaction is None or not (self.config.lmtp or transaction.each):
            return True
        command.replies.append(reply)
        if len(command.replies) >= transaction.accepted + transaction.each or reply.code == 421:
            return True
        if len(command.replies) == 1 and reply.of_syntax and not transaction.each:
            # The server knows of no message, so that there will be no word for each; or else nobody knows how many.
            self._close(f"the server takes no message: {reply}")
            return True
        return False

    def _on_challenge(self, command: Command, reply: Reply) -> ClientStep:
        self._challenged = command
        try:
            return AuthChallenge(command, decode_base64(reply.text.encode("utf-8")))
        except GrammarError:
            self.auth_cancel()  # a server that cannot write base64 is asked to stop, and refuses the command
            return AGAIN

    def _on_go_ahead(self, command: Command, reply: Reply) -> ClientStep:
        transaction = command.transaction
        if transaction is None or transaction.refused or not transaction.accepted:
            # The sender or every recipient was refused and the server waits all the same: an empty message goes to
            # nobody (RFC 2920 section 3.1), and ends the transaction. Its reply will be the reply to DATA.
            self._send(b".\r\n")
            if self._transaction is transaction:
                self._transaction = None
                self.state = ClientState.READY
            return AGAIN
        self._waiting.popleft()
        command.reply = reply
        self._sending = command
        self._stuffer = Stuffer()
        self._newlines = CanonicalNewlines() if transaction.canonicalise else StrictNewlines()
        self.state = ClientState.DATA
        return ReadyForData(command, reply)

    def _on_greeting(self, _: Command, reply: Reply) -> None:
        self.state = ClientState.START if reply.ok else ClientState.CLOSED

    def _on_ehlo(self, _: Command, reply: Reply) -> None:
        if reply.ok:
            self._learn(reply.text.split("\n"))
            self.state = ClientState.READY
            self._transaction = None

    def _on_helo(self, _: Command, reply: Reply) -> None:
        if reply.ok:
            self._learn(reply.text.split("\n")[:1])
            self.state = ClientState.READY
            self._transaction = None

    def _learn(self, lines: list[str]) -> None:
        """Keep what the server offers."""
        self.server_name = lines[0].partition(" ")[0]
        self.extensions, used = read_keywords(lines[1 : self.limits.max_keywords + 1], self.config.tolerances)
        self.pipelines = self.config.pipelining and "PIPELINING" in self.extensions
        self._events.extend(map(ToleranceUsed, used))
        self._terms = Terms(self.config.extensions, self.extensions, self.tls)

    def _on_starttls(self, _: Command, reply: Reply) -> None:
        if reply.code == 220:
            self._close_gate()
            if self._failure is None:
                self._events.append(StartTLS())

    def _on_mail(self, command: Command, reply: Reply) -> None:
        transaction = command.transaction
        if transaction is None:
            return
        if reply.ok:
            self.state = ClientState.TRANSACTION
        elif self._transaction is transaction:
            self._transaction = None
        if not command.refused:
            return
        transaction.refused = True
        self._skip(transaction, ("RCPT", "DATA", "BDAT", "BURL"))

    def _on_rcpt(self, command: Command, _: Reply) -> None:
        transaction = command.transaction
        if transaction is None:
            return
        transaction.waiting -= 1
        transaction.accepted += not command.refused
        if not transaction.waiting and not transaction.accepted:
            self._skip(transaction, ("DATA", "BDAT", "BURL"))

    def _on_bdat(self, command: Command, _: Reply) -> None:
        if command.refused and command.transaction is not None:
            self._skip(command.transaction, ("BDAT",))
        if command.ends:
            self.state = ClientState.READY

    def _on_xclient(self, _: Command, reply: Reply) -> None:
        if reply.code == 220:
            self._forget()

    def _on_rset(self, _: Command, reply: Reply) -> None:
        if reply.ok:
            self.state = ClientState.READY
        else:  # the next recipients could be added to those of the transaction that was to be taken back
            self._close(f"the server takes no transaction back: {reply}")

    def _on_quit(self, _: Command, __: Reply) -> None:
        self.state = ClientState.CLOSED
        self._close()

    def _take_leave(self, farewell: Reply) -> None:
        """Close, as the server does (RFC 5321 section 3.8). What was said behind what this answers was not read."""
        for command in self._waiting:
            command.sent = False
        self._close(f"the server said: {farewell}")

    def _skip(self, transaction: Transaction, verbs: tuple[str, ...]) -> None:
        """Take back what was not sent yet of a transaction that comes to nothing."""
        kept: deque[Command] = deque()
        for command in self._unsent:
            if command.transaction is transaction and command.verb in verbs:
                command.skipped = True
                if command.address is not None:
                    self._take_back_domain(command.address)
                self._events.append(CommandSkipped(command))
                transaction.data = transaction.data and command.verb != "DATA"
            else:
                kept.append(command)
        self._unsent = kept

    def _break(self, error: MailProtoError) -> ClientStep:
        """Fail for good, for this reason."""
        self._error = error
        self._fail(str(error))
        return AGAIN


# What follows from a reply but for the event; from most of them nothing.
_ON_REPLY: dict[str, Callable[[SMTPClientConnection, Command, Reply], None]] = {
    "greeting": SMTPClientConnection._on_greeting,
    "EHLO": SMTPClientConnection._on_ehlo,
    "HELO": SMTPClientConnection._on_helo,
    "LHLO": SMTPClientConnection._on_ehlo,
    "STARTTLS": SMTPClientConnection._on_starttls,
    "MAIL": SMTPClientConnection._on_mail,
    "RCPT": SMTPClientConnection._on_rcpt,
    "BDAT": SMTPClientConnection._on_bdat,
    "BURL": SMTPClientConnection._on_bdat,
    "RSET": SMTPClientConnection._on_rset,
    "XCLIENT": SMTPClientConnection._on_xclient,
    "QUIT": SMTPClientConnection._on_quit,
}
