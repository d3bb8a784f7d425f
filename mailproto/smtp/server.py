"""The server's side of SMTP (RFC 5321), as a state machine without I/O.

What is done with a command in which state is the table in `mailproto.smtp.rules`; what is said is in
`mailproto.smtp.replies`; how a message is read is in `mailproto.smtp.body`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from mailproto._core.buffer import LineTooLongError
from mailproto._core.codec import decode_base64, encode_base64
from mailproto._core.connection import Step
from mailproto._core.events import ConnectionClosed, MessageChunk, StartTLS
from mailproto._core.server import ServerConnection
from mailproto.address import Path
from mailproto.errors import GrammarError, LocalProtocolError
from mailproto.sasl.base import Auth, AuthResponse
from mailproto.smtp import replies
from mailproto.smtp.body import BodyReader
from mailproto.smtp.budget import Budget
from mailproto.smtp.command import SECRET, CommandLine, decode_argument, parse_command, parse_path_argument
from mailproto.smtp.config import SMTPServerConfig
from mailproto.smtp.events import (
    CommandRejected,
    Connected,
    Data,
    Envelope,
    Expn,
    Hello,
    Mail,
    MessageAborted,
    MessageEnd,
    Rcpt,
    Reset,
    ServerEvent,
    ToleranceUsed,
    Vrfy,
)
from mailproto.smtp.extensions import ENHANCED_STATUS_CODES, Standing
from mailproto.smtp.offer import Offer
from mailproto.smtp.reply import Reply, encode_reply
from mailproto.smtp.rules import RULES, VERBS, ServerState

ServerStep: TypeAlias = ServerEvent | ConnectionClosed | Step

_IDLE = frozenset({ServerState.CONNECTED, ServerState.START, ServerState.READY, ServerState.REFUSED})
# The first words of protocols whose clients are tricked into talking to mail servers.
_FOREIGN = ("GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "HOST:")
_CLIENT_HELLO = b"\x16\x03"


class SMTPServerConnection(ServerConnection[ServerEvent]):
    """One client's connection to a server.

    Pull events with `next_event` and answer those that ask with `accept`, `reject` or `reply`; what the peer gets
    wrong is answered for you and shown as `CommandRejected`. Nothing that a peer sends raises.

    Attributes:
        config: as given.
        state: where the connection stands.
        envelope: the transaction under way, or None.
        authenticated: whether an AUTH has succeeded (since STARTTLS).
        extended: whether the client said EHLO.
    """

    def __init__(self, config: SMTPServerConfig | None = None) -> None:
        self.config = config if config is not None else SMTPServerConfig()
        super().__init__(self.config.limits)
        self.state = ServerState.CONNECTED
        self.envelope: Envelope | None = None
        self.authenticated = False
        self.extended = False
        self._enhanced = ENHANCED_STATUS_CODES in self.config.extensions
        self._offer = Offer(self.config)
        self._budget = Budget(self.limits)
        self._body: BodyReader | None = None
        self._draining = False

    # Answers.

    def accept(self, text: str | None = None) -> None:
        """Answer the pending event with yes: 220, 250, 354 or what else yes is there.

        Accepting a `MessageEnd` takes over the responsibility for the message (RFC 5321 section 4.2.5), so it has
        to be on disk by then.

        Raises:
            LocalProtocolError: nothing is pending.
        """
        reply = self._usual(replies.ACCEPTED)
        if text is not None:
            reply = reply._replace(text=text)
        self._answer(reply)

    def reject(self, code: int | None = None, text: str | None = None, enhanced: str | None = None) -> None:
        """Answer the pending event with no; while a message comes in, refuse that, at its end.

        Args:
            code: 400 to 599.
            text: one line or several, separated by a newline.
            enhanced: of the same class as ``code``, like ``5.7.1``; left out it is the usual or a general one.

        Raises:
            LocalProtocolError: nothing is pending and no message comes in.
            GrammarError: not such a code; nothing was answered.
        """
        if self._pending is None and self._body is not None and not self._body.done:
            self._refuse_body(_refusal(replies.REJECTED[MessageEnd], code, text, enhanced))
        else:
            self._answer(_refusal(self._usual(replies.REJECTED), code, text, enhanced))

    def reply(self, reply: Reply) -> None:
        """Answer the pending event with any reply; the class of its code decides what it means.

        Raises:
            LocalProtocolError: nothing is pending, or the code says what cannot be said there.
        """
        self._answer(reply)

    def challenge(self, data: bytes) -> None:
        """Answer a pending `Auth` or `AuthResponse` with 334; the response will be the next event.

        Raises:
            LocalProtocolError: neither is pending.
        """
        if not isinstance(self._pending, Auth | AuthResponse):
            raise LocalProtocolError("a challenge answers Auth and AuthResponse only")
        self._take_pending()
        self.state = ServerState.AUTH
        self._mode = self._read_sasl
        self._trace_line(self._speaker, b"334 " + SECRET if data else b"334")
        self._send(b"334 %s\r\n" % encode_base64(data))

    def answer_default(self) -> None:
        """Answer the pending event as if nobody cared: no recipient, no login, no message is taken by default."""
        reply = replies.DEFAULT.get(type(self._pending))
        if reply is None:
            self.accept()
        else:
            self._answer(reply)

    def close(self, reply: Reply = replies.SHUTTING_DOWN) -> None:
        """Say ``reply``, which should be a 421, and close. A message that is coming in is lost to the client."""
        if not self._closing:
            self._pending = None
            self._hang_up(reply, "closed by the server")

    # What the base asks for.

    @property
    def idle(self) -> bool:
        """Whether no transaction is under way and nothing waits for an answer."""
        return self._pending is None and self.state in _IDLE

    @property
    def timeout(self) -> float:
        """Seconds that the wait for input may last: RFC 5321 section 4.5.3.2.7, or 4.5.3.2.5 during a message."""
        return self.limits.data_timeout if self._body is not None else self.limits.command_timeout

    def receive_timeout(self) -> None:
        """Say 421 and close; what the client had begun is not done."""
        if not self._closing:
            self._hang_up(replies.TIMED_OUT, "timed out")

    def shut_down(self) -> None:
        """Say 421 and close, now if no transaction is under way, at its end otherwise (RFC 5321 section 3.8)."""
        self._draining = True
        if self.idle:
            self.close()

    def _at_rest(self) -> bool:
        return self.state in _IDLE and not len(self._buffer)

    def _forget(self) -> None:
        if self.state is not ServerState.CONNECTED:
            self.state = ServerState.START
            self._mode = self._read_command
        self.envelope = None
        self.authenticated = self.extended = False
        self._offer = Offer(self.config)

    # Reading.

    def _read(self) -> ServerStep:
        self._mode = self._read_command
        return self._ask(Connected())

    def _read_command(self) -> ServerStep:
        try:
            line = self._buffer.take_line(self.limits.max_line)
        except LineTooLongError:
            self._mode = self._skip_line
            return self._refuse("", replies.LINE_TOO_LONG)
        if line is None:
            return Step.STARVED
        if self._draining and self.envelope is None:
            return self._hang_up(replies.SHUTTING_DOWN, "shut down")
        return self._dispatch(line)

    def _skip_line(self) -> ServerStep:
        """Drop the rest of an over-long line, which must never be taken for a command."""
        if not self._buffer.skip_line():
            return Step.STARVED
        self._mode = self._read_command
        return Step.AGAIN

    def _dispatch(self, line: bytes) -> ServerStep:
        try:
            command = parse_command(line)
        except GrammarError:
            self._trace_unknown(line)
            return self._foreign() if line.startswith(_CLIENT_HELLO) else self._refuse("", replies.UNREADABLE)
        verb = command.verb
        farewell = self._budget.count_command(verb)
        if farewell is not None:
            return self._hang_up(farewell, "too many commands")
        if verb not in VERBS:
            self._trace_unknown(line)
            return self._foreign() if verb in _FOREIGN else self._refuse("", replies.UNKNOWN)
        self._trace_command(command, line)
        outcome = RULES[self.state, verb]
        if outcome in replies.NOT_A_TRANSACTION:
            return self._refuse(verb, replies.NOT_A_TRANSACTION[outcome])
        try:
            return _HANDLERS[verb](self, command.argument)
        except GrammarError:
            return self._refuse(verb, replies.BAD_ARGUMENTS)

    def _foreign(self) -> ServerStep:
        """Hang up on a client of another protocol at once: it is a browser somebody makes use of."""
        self._fail("the peer does not speak SMTP")
        return Step.AGAIN

    # Commands.

    def _on_ehlo(self, argument: bytes) -> ServerStep:
        return self._ask(Hello(_name(argument), True))

    def _on_helo(self, argument: bytes) -> ServerStep:
        return self._ask(Hello(_name(argument), False))

    def _on_starttls(self, argument: bytes) -> ServerStep:
        if self.tls is not None:
            return self._refuse("STARTTLS", replies.TLS_ALREADY)
        if not self.config.starttls:
            return self._refuse("STARTTLS", replies.NOT_IMPLEMENTED)
        if argument:
            return self._refuse("STARTTLS", replies.BAD_ARGUMENTS)
        return self._ask(StartTLS())

    def _on_auth(self, argument: bytes) -> ServerStep:
        refusal = self._auth_refusal()
        if refusal is not None:
            return self._refuse("AUTH", refusal)
        farewell = self._budget.check_login()
        if farewell is not None:
            return self._hang_up(farewell, "too many failed logins")
        name, space, initial = argument.partition(b" ")
        mechanism = decode_argument(name).upper()
        if mechanism not in self.config.auth_mechanisms:
            return self._refuse("AUTH", replies.AUTH_MECHANISM if name else replies.BAD_ARGUMENTS)
        if not space:
            return self._ask(Auth(mechanism))
        try:
            return self._ask(Auth(mechanism, b"" if initial == b"=" else decode_base64(initial)))
        except GrammarError:
            return self._refuse("AUTH", replies.AUTH_NOT_BASE64)

    def _auth_refusal(self) -> Reply | None:
        if self.authenticated:
            return replies.AUTH_ALREADY
        if not self.config.auth_mechanisms or not self.extended:
            return replies.NOT_IMPLEMENTED
        if self.tls is None and not self.config.allow_plaintext_auth:
            return replies.AUTH_NEEDS_TLS
        return None

    def _on_mail(self, argument: bytes) -> ServerStep:
        if self.config.require_tls and self.tls is None:
            return self._refuse("MAIL", replies.TLS_REQUIRED)
        if self.config.require_auth and not self.authenticated:
            return self._refuse("MAIL", replies.AUTH_REQUIRED)
        farewell = self._budget.check_transaction()
        if farewell is not None:
            return self._hang_up(farewell, "too many messages")
        try:
            path = self._path(argument, b"FROM:", null=True)
        except GrammarError:
            return self._refuse("MAIL", replies.BAD_SENDER)
        parameters = self._offer.mail_values(path.rest)
        if isinstance(parameters, Reply):
            return self._refuse("MAIL", parameters)
        if path.address is not None and not path.address.is_ascii and not parameters.smtputf8:
            return self._refuse("MAIL", replies.NON_ASCII_ADDRESS)
        return self._ask(Mail(path.address, parameters))

    def _on_rcpt(self, argument: bytes) -> ServerStep:
        envelope = self._transaction()
        if len(envelope.recipients) >= self.limits.max_recipients:
            return self._refuse("RCPT", replies.TOO_MANY_RECIPIENTS, count=False)
        try:
            path = self._path(argument, b"TO:", postmaster=True)
        except GrammarError:
            return self._refuse("RCPT", replies.BAD_RECIPIENT)
        if path.address is None:
            return self._refuse("RCPT", replies.BAD_RECIPIENT)
        if not path.address.is_ascii and not envelope.mail.parameters.smtputf8:
            return self._refuse("RCPT", replies.NON_ASCII_ADDRESS)
        parameters = self._offer.rcpt_values(path.rest)
        if isinstance(parameters, Reply):
            return self._refuse("RCPT", parameters)
        return self._ask(Rcpt(path.address, parameters))

    def _on_data(self, argument: bytes) -> ServerStep:
        if argument:
            return self._refuse("DATA", replies.BAD_ARGUMENTS)
        return self._ask(Data())

    def _on_rset(self, argument: bytes) -> ServerStep:
        if argument:
            return self._refuse("RSET", replies.BAD_ARGUMENTS)
        self._end_transaction()
        self._say(replies.OK)
        return Reset()

    def _on_vrfy(self, argument: bytes) -> ServerStep:
        return self._ask(Vrfy(_text(argument)))

    def _on_expn(self, argument: bytes) -> ServerStep:
        return self._ask(Expn(_text(argument)))

    def _on_help(self, _: bytes) -> ServerStep:
        self._say(replies.HELP)
        return Step.AGAIN

    def _on_noop(self, _: bytes) -> ServerStep:
        self._say(replies.OK)
        return Step.AGAIN

    def _on_quit(self, argument: bytes) -> ServerStep:
        if argument:
            return self._refuse("QUIT", replies.BAD_ARGUMENTS)
        self._say(replies.GOODBYE)
        self._end_transaction()
        self.state = ServerState.CLOSED
        self._close()
        return Step.AGAIN

    def _path(self, argument: bytes, prefix: bytes, *, null: bool = False, postmaster: bool = False) -> Path:
        """Return the path of MAIL or RCPT, by the grammar, or by a tolerance that the config names."""
        path, used = parse_path_argument(
            argument, prefix, null=null, postmaster=postmaster, tolerances=self.config.tolerances
        )
        self._events.extend(map(ToleranceUsed, used))
        return path

    # The message.

    def _begin_body(self) -> None:
        self.state = ServerState.DATA
        self._body = BodyReader(self.config)
        self._mode = self._read_body

    def _read_body(self) -> ServerStep:
        body = self._body
        if body is None or body.done:
            return self._end_body()
        if not len(self._buffer):
            return Step.STARVED
        was_refused = body.refusal is not None
        content = body.read(self._buffer)
        self._count_chunk(len(content))
        if body.excess > self.limits.max_excess:
            self._fail("the peer goes on with a message that was refused")
            return Step.AGAIN
        if body.refusal is not None and not was_refused:
            self._events.append(MessageAborted(body.refusal))
        if content:
            return MessageChunk(content)
        return Step.AGAIN if body.done or self._events else Step.STARVED

    def _end_body(self) -> ServerStep:
        body, self._body = self._body, None
        envelope = self._transaction()
        self._mode = self._read_command
        self._trace_line(self._other, b"<message of %d octets>" % (body.size if body else 0))
        if body is not None and body.refusal is not None:
            self._finish_message(body.refusal)
            return Step.AGAIN
        return self._ask(MessageEnd(body.size if body else 0, envelope))

    def _refuse_body(self, reply: Reply) -> None:
        if self._body is not None and self._body.refusal is None:
            self._body.refusal = reply

    def _finish_message(self, reply: Reply) -> None:
        self._budget.count_message()
        self._end_transaction()
        self._say(reply)
        if reply.code in (421, 521):
            self._close("closed by the server")
        elif self._draining:
            self.close()

    # AUTH.

    def _read_sasl(self) -> ServerStep:
        try:
            line = self._buffer.take_line(self.limits.max_sasl_line)
        except LineTooLongError:
            self._end_sasl()
            self._mode = self._skip_line
            return self._refuse("AUTH", replies.SASL_LINE_TOO_LONG)
        if line is None:
            return Step.STARVED
        self._end_sasl()
        self._trace_line(self._other, line if line == b"*" else SECRET)
        if line == b"*":
            return self._refuse("AUTH", replies.AUTH_CANCELLED)
        try:
            return self._ask(AuthResponse(decode_base64(line)))
        except GrammarError:
            return self._refuse("AUTH", replies.AUTH_NOT_BASE64)

    def _end_sasl(self) -> None:
        self.state = ServerState.READY
        self._mode = self._read_command

    # Answering.

    def _usual(self, table: dict[type, Reply]) -> Reply:
        if self._pending is None:
            raise LocalProtocolError("there is nothing to answer")
        return table[type(self._pending)]

    def _answer(self, reply: Reply) -> None:
        """Send the reply to the pending event, and move the state as its code says."""
        positive = self._usual(replies.ACCEPTED).code // 100
        code = reply.code
        if code // 100 not in (positive, 4, 5) or (positive == 3 and code < 400 and code != 354):
            raise LocalProtocolError(f"{code} is no answer to {type(self._pending).__name__}")
        event = self._take_pending()
        _ANSWERED[type(event)](self, event, reply, code < 400)
        if code == 421 and not self._closing:
            self._close("closed by the server")

    def _answered_connected(self, _: ServerEvent, reply: Reply, accepted: bool) -> None:
        self.state = ServerState.START if accepted else ServerState.REFUSED
        text = reply.text or self.config.greeting
        self._say(Reply(reply.code, f"{self.config.hostname} {text}" if accepted else text))
        if reply.code == 521:
            self._close("refused")

    def _answered_hello(self, event: ServerEvent, reply: Reply, accepted: bool) -> None:
        if not accepted or not isinstance(event, Hello):
            self._say(reply._replace(enhanced=None))
            return
        self._end_transaction()
        self.state = ServerState.READY
        self.extended = event.extended
        first = f"{self.config.hostname} {reply.text}" if reply.text else self.config.hostname
        self._offer = Offer(self.config)
        standing = Standing(self.config, self.tls is not None, self.authenticated)
        offered = self._offer.make(standing) if event.extended else []
        self._say(Reply(reply.code, "\n".join((first, *offered))))

    def _answered_starttls(self, _: ServerEvent, reply: Reply, accepted: bool) -> None:
        if accepted:
            self._close_gate()
        if self._failure is None:
            self._say(reply)

    def _answered_auth(self, _: ServerEvent, reply: Reply, accepted: bool) -> None:
        self.authenticated = accepted
        if not accepted:
            self._budget.count_auth_failure()
        self._say(reply)

    def _answered_mail(self, event: ServerEvent, reply: Reply, accepted: bool) -> None:
        if accepted and isinstance(event, Mail):
            self.envelope = Envelope(event)
            self.state = ServerState.MAIL
        self._say(reply)

    def _answered_rcpt(self, event: ServerEvent, reply: Reply, accepted: bool) -> None:
        if accepted and isinstance(event, Rcpt):
            self._transaction().recipients.append(event)
            self.state = ServerState.RCPT
        self._say(reply)

    def _answered_data(self, _: ServerEvent, reply: Reply, accepted: bool) -> None:
        self._say(reply)
        if accepted:
            self._begin_body()
        else:
            self._end_transaction()

    def _answered_message(self, _: ServerEvent, reply: Reply, __: bool) -> None:
        self._finish_message(reply)

    def _answered_query(self, _: ServerEvent, reply: Reply, __: bool) -> None:
        self._say(reply)

    # Help.

    def _transaction(self) -> Envelope:
        if self.envelope is None:
            raise LocalProtocolError("no transaction is under way")
        return self.envelope

    def _end_transaction(self) -> None:
        if self.envelope is not None:
            self.envelope = None
        if self.state in (ServerState.MAIL, ServerState.RCPT, ServerState.DATA):
            self.state = ServerState.READY

    def _refuse(self, verb: str, reply: Reply, *, count: bool = True) -> ServerStep:
        """Refuse a command without asking anybody, and say so in a notice."""
        farewell = self._budget.count_error() if count else None
        if farewell is not None:
            return self._hang_up(farewell, "too many errors")
        self._say(reply)
        return CommandRejected(verb, reply)

    def _hang_up(self, reply: Reply, reason: str) -> ServerStep:
        self._pending = None
        self.state = ServerState.CLOSED
        self._say(reply)
        self._close(reason)
        return Step.AGAIN

    def _say(self, reply: Reply) -> None:
        if not self._enhanced and reply.enhanced is not None:
            reply = reply._replace(enhanced=None)
        utf8 = self.envelope is not None and self.envelope.mail.parameters.smtputf8
        encoded = encode_reply(reply, utf8)
        self._send(encoded)
        if self.trace is not None:
            for line in encoded[:-2].split(b"\r\n"):
                self.trace(self._speaker, line)

    def _trace_line(self, speaker: str, line: bytes) -> None:
        if self.trace is not None:
            self.trace(speaker, line)

    def _trace_command(self, command: CommandLine, line: bytes) -> None:
        if self.trace is None:
            return
        if command.verb == "AUTH" and b" " in command.argument:
            line = line[: len(line) - len(command.argument)] + command.argument.partition(b" ")[0] + b" " + SECRET
        self.trace(self._other, line)

    def _trace_unknown(self, line: bytes) -> None:
        """Show that a line came, but not the line: it may be a password that lost its way."""
        if self.trace is not None:
            self.trace(self._other, b"<%d octets that are no command>" % len(line))


def _refusal(usual: Reply, code: int | None, text: str | None, enhanced: str | None) -> Reply:
    """Return the reply that refuses, the usual one where the caller leaves something out."""
    if code is None:
        code = usual.code
    if not 400 <= code <= 599:
        raise GrammarError(f"{code} does not refuse")
    if enhanced is None:
        same_class = usual.enhanced is not None and usual.enhanced.status_class == code // 100
        status = usual.enhanced if same_class else f"{code // 100}.0.0"
    else:
        status = enhanced
    return Reply.build(code, usual.text if text is None else text, status)


def _name(argument: bytes) -> str:
    """Return what a client calls itself. Any word will do, for the RFC forbids to make mail depend on it."""
    name = decode_argument(argument)
    if not name or " " in name or len(name) > 255:
        raise GrammarError("not a name")
    return name


def _text(argument: bytes) -> str:
    if not argument:
        raise GrammarError("an argument is missing")
    return decode_argument(argument)


_Handler: TypeAlias = Callable[[SMTPServerConnection, bytes], ServerStep]
_HANDLERS: dict[str, _Handler] = {
    verb: getattr(SMTPServerConnection, f"_on_{verb.lower()}") for verb in sorted(VERBS)
}
_ANSWERED: dict[type, Callable[[SMTPServerConnection, ServerEvent, Reply, bool], None]] = {
    Connected: SMTPServerConnection._answered_connected,
    Hello: SMTPServerConnection._answered_hello,
    StartTLS: SMTPServerConnection._answered_starttls,
    Auth: SMTPServerConnection._answered_auth,
    AuthResponse: SMTPServerConnection._answered_auth,
    Mail: SMTPServerConnection._answered_mail,
    Rcpt: SMTPServerConnection._answered_rcpt,
    Data: SMTPServerConnection._answered_data,
    MessageEnd: SMTPServerConnection._answered_message,
    Vrfy: SMTPServerConnection._answered_query,
    Expn: SMTPServerConnection._answered_query,
}
