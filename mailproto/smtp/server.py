"""The server's side of SMTP (RFC 5321), as a state machine without I/O.

What is done with a command in which state is the table in `mailproto.smtp.rules`; the layers below, from the words of
a reply to the taking in of messages, are in `mailproto.smtp._server`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from mailproto._core.buffer import LineTooLongError
from mailproto._core.connection import AGAIN, STARVED
from mailproto._core.events import ExtensionCommand, StartTLS
from mailproto._core.server import FOREIGN_SIZE, is_foreign
from mailproto.address import Address, split_path
from mailproto.errors import GrammarError
from mailproto.smtp._server import replies
from mailproto.smtp._server.intake import IntakeConnection
from mailproto.smtp._server.settling import ServerStep
from mailproto.smtp.attributes import XCLIENT_NAMES, XFORWARD_NAMES, parse_attributes
from mailproto.smtp.command import SECRET, has_control, mend_path, needed_argument, parse_command, path_argument
from mailproto.smtp.config import SMTPServerConfig
from mailproto.smtp.events import (
    Connected,
    Etrn,
    Expn,
    Hello,
    Mail,
    Rcpt,
    Reset,
    ToleranceUsed,
    Vrfy,
    XClient,
    XForward,
)
from mailproto.smtp.extensions import CHUNKING, ETRN, EXPN, HELP, PIPELINING, SMTPUTF8, XCLIENT, XFORWARD
from mailproto.smtp.reply import Reply
from mailproto.smtp.rules import HELLO, LMTP_VERBS, OTHER, RULES, SMTP_VERBS, VERBS, Outcome, ServerState

_IDLE = frozenset({ServerState.CONNECTED, ServerState.START, ServerState.READY, ServerState.REFUSED})
_WAIT_BEHIND = ("EHLO", "HELO", "LHLO", "DATA", "AUTH")
_ALWAYS_THERE = HELLO | {"MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY"}  # RFC 5321 section 4.5.1
_BEHIND_MAIL = ("RCPT", "DATA", "BDAT", "BURL")
_UNREADABLE = {"MAIL": replies.BAD_SENDER, "RCPT": replies.BAD_RECIPIENT}  # what else is none has bad arguments


class SMTPServerConnection(IntakeConnection):
    """One client's connection to a server.

    Pull events with `next_event` and answer those that ask with `accept`, `reject` or `reply`; what the peer gets
    wrong is answered for you and shown as `CommandRejected`. Nothing that a peer sends raises.

    Attributes:
        config: as given.
        state: where the connection stands.
        envelope: the transaction under way, or None.
        authenticated: whether an AUTH has succeeded (since STARTTLS).
        extended: whether the client said EHLO.
        hello: what the client calls itself, ``""`` before EHLO or HELO was accepted.
        trusted: whether the peer may speak for other clients, with XCLIENT and XFORWARD. For whoever runs the
            connection to set, by the peer's address and nothing that the peer says.
    """

    __slots__ = ("_handlers", "_strict", "_verbs")

    def __init__(self, config: SMTPServerConfig | None = None) -> None:
        super().__init__(config)
        self._verbs = LMTP_VERBS if self.config.lmtp else SMTP_VERBS
        self._handlers = _LMTP_HANDLERS if self.config.lmtp else _SMTP_HANDLERS
        self._strict = self.config.forbid_illegal_pipelining

    # What the base asks for.

    @property
    def idle(self) -> bool:
        """Whether no transaction is under way and nothing waits for an answer."""
        return self.pending is None and self.state in _IDLE

    @property
    def timeout(self) -> float:
        """Seconds that the wait for input may last: RFC 5321 section 4.5.3.2.7, or 4.5.3.2.5 during a message, and
        that all waits may last before a login that has to come."""
        if self.awaits_proxy_header:
            return self.limits.proxy_timeout
        if not self._hushed:
            return self.config.greeting_delay
        if self._login_due:
            return self.limits.login_timeout
        return self.limits.data_timeout if self._body is not None else self.limits.command_timeout

    def receive_timeout(self) -> None:
        """Say 421 and close; what the client had begun is not done. Before the greeting: greet the patient client."""
        if not self._hushed and not self.awaits_proxy_header:
            self._hushed = True
        elif not self.closing:
            self._hang_up(replies.TIMED_OUT, "timed out")

    def shut_down(self) -> None:
        """Say 421 and close, now if no transaction is under way, at its end otherwise (RFC 5321 section 3.8)."""
        self._draining = True
        if self.idle:
            self.close()

    def _at_rest(self) -> bool:
        between_lines = self._mode in (self._read, self._read_command) and not self._buffer
        return between_lines and self.state in _IDLE

    # Reading.

    def _read(self) -> ServerStep:
        if not self._hushed:
            return self._hang_up(replies.SPOKE_EARLY, "spoke too early") if self._buffer else STARVED
        self._mode = self._read_command
        return self._ask(Connected())

    def _read_command(self) -> ServerStep:
        """Read a line, and do what it says."""
        if self._draining and self.envelope is None:
            return self._hang_up(replies.NOT_AVAILABLE, "shut down")
        try:
            line = self._buffer.take_line(self.limits.max_line)
        except LineTooLongError:
            return self._refuse_long_line()
        if line is None:
            return self._foreign() if is_foreign(self._buffer.peek(FOREIGN_SIZE)) else STARVED
        try:
            verb, argument = parse_command(line)
        except GrammarError:
            return self._refuse_unreadable(line)
        farewell = self._budget.count_command(verb)
        if farewell is not None:
            return self._hang_up(farewell, "too many commands")
        handler = self._handlers.get((self.state, verb)) or self._handler_of_ones_own(verb)
        if handler is None:
            self._trace_unknown(line)
            return self._foreign() if is_foreign(line) else self._refuse("", replies.UNKNOWN)
        if self.trace is not None:
            self.trace(self._other, self._shown(verb, argument, line))
        if self._strict and self._buffer and self._ends_a_group(verb):
            return self._hang_up(replies.SPOKE_AHEAD, "spoke before it was answered")
        if self._mail_refused and verb not in _BEHIND_MAIL:
            self._mail_refused = False
        try:
            return handler(self, argument)
        except GrammarError:
            return self._refuse(verb, replies.BAD_ARGUMENTS)

    def _handler_of_ones_own(self, verb: str) -> _Handler | None:
        """Return what takes a command of an extension of the application's own, None for one that nobody knows."""
        return _handler(verb, RULES[self.state, OTHER]) if self._is_ones_own(verb) else None

    def _is_ones_own(self, verb: str) -> bool:
        return any(verb in extension.commands for extension in self.config.extensions)

    def _refuse_out_of_order(self, outcome: Outcome, verb: str) -> ServerStep:
        """Refuse a command. Whoever pipelines has said it before the refusal of another was there, which is no fault
        of his (RFC 2920 section 3.1)."""
        ahead = outcome is Outcome.NO_RECIPIENTS or self._mail_refused
        return self._refuse(verb, self._not_a_transaction(outcome), count=not ahead)

    def _ends_a_group(self, verb: str) -> bool:
        """Say whether the client has to wait for the reply to this command before it says more."""
        return verb in _WAIT_BEHIND or (verb != "BDAT" and not self._offer.offers(PIPELINING))

    def _refuse_long_line(self) -> ServerStep:
        """Refuse a line that is too long, whether or not its end has come."""
        self._trace_line(self._other, b"<over-long line>")
        self._mode = self._skip_line
        return self._refuse_line(self._buffer.peek(FOREIGN_SIZE), replies.LINE_TOO_LONG)

    def _refuse_unreadable(self, line: bytes) -> ServerStep:
        """Refuse a line that is no text. Where only the argument of a command is not UTF-8, that is what is wrong."""
        verb = line.partition(b" ")[0].decode("ascii", "replace").upper()
        known = verb in self._verbs or self._is_ones_own(verb)
        if verb == "BDAT" or not known or has_control(line):
            self._trace_unknown(line)
            return self._refuse_line(line, replies.UNREADABLE)
        self._trace_line(self._other, b"%s <unreadable>" % verb.encode("ascii"))
        return self._refuse(verb, _UNREADABLE.get(verb, replies.BAD_ARGUMENTS))

    def _refuse_line(self, beginning: bytes, reply: Reply) -> ServerStep:
        """Refuse a line that cannot be read. If it was to announce a chunk, the chunk would be taken for commands."""
        if is_foreign(beginning):
            return self._foreign()
        return self._lose_chunk() if beginning[:4].upper() == b"BDAT" else self._refuse("", reply)

    def _foreign(self) -> ServerStep:
        """Hang up on a client of another protocol at once: it is a browser somebody makes use of."""
        self._fail("the peer does not speak SMTP")
        return AGAIN

    # Commands.

    def _on_ehlo(self, argument: str) -> ServerStep:
        return self._ask(Hello(_name(argument), True))

    def _on_helo(self, argument: str) -> ServerStep:
        return self._ask(Hello(_name(argument), False))

    _on_lhlo = _on_ehlo

    def _on_starttls(self, argument: str) -> ServerStep:
        if self.tls is not None:
            return self._refuse("STARTTLS", replies.TLS_ALREADY)
        if not self.config.starttls:
            return self._refuse("STARTTLS", replies.NOT_IMPLEMENTED)
        if argument:
            return self._refuse("STARTTLS", replies.BAD_ARGUMENTS)
        return self._ask(StartTLS())

    def _missing(self) -> Reply | None:
        """Return what to tell a client that may have no mail sent yet, nor ask who there is (RFC 3207 section 4, RFC
        4954 section 6); None if nothing is missing."""
        if self.config.require_tls and self.tls is None:
            return replies.TLS_REQUIRED
        if self.config.require_auth and not self.authenticated:
            return replies.AUTH_REQUIRED
        return None

    def _on_mail(self, argument: str) -> ServerStep:
        missing = self._missing()
        if missing is not None:
            return self._refuse("MAIL", missing)
        farewell = self._budget.check_transaction()
        if farewell is not None:
            return self._hang_up(farewell, "too many messages")
        try:
            address, _, rest = self._path(argument, "FROM:")
        except GrammarError:
            return self._refuse("MAIL", replies.BAD_SENDER)
        parameters = self._offer.mail_values(rest, authenticated=self.authenticated)
        if isinstance(parameters, Reply):
            return self._refuse("MAIL", parameters)
        if not (argument.isascii() or parameters.smtputf8 or address is None or address.is_ascii):
            return self._refuse("MAIL", replies.NON_ASCII_SENDER)
        return self._ask(Mail(address, parameters))

    def _on_rcpt(self, argument: str) -> ServerStep:
        envelope = self._transaction()
        if len(envelope.recipients) >= self.limits.max_recipients:
            return self._refuse("RCPT", replies.TOO_MANY_RECIPIENTS, count=False)
        try:
            address, _, rest = self._path(argument, "TO:")
        except GrammarError:
            return self._refuse("RCPT", replies.BAD_RECIPIENT)
        if address is None:
            return self._refuse("RCPT", replies.BAD_RECIPIENT)
        if not (argument.isascii() or envelope.mail.parameters.smtputf8 or address.is_ascii):
            return self._refuse("RCPT", replies.NON_ASCII_ADDRESS)
        parameters = self._offer.rcpt_values(rest)
        if isinstance(parameters, Reply):
            return self._refuse("RCPT", parameters)
        if self.limits.max_recipient_domains is not None:
            refusal = self._budget.count_domain(address.canonical.domain)
            if refusal is not None:
                return self._refuse("RCPT", refusal, count=False)
        return self._ask(Rcpt(address, parameters))

    def _on_rset(self, argument: str) -> ServerStep:
        if argument:
            return self._refuse("RSET", replies.BAD_ARGUMENTS)
        self._end_transaction()
        self._say(replies.OK)
        return Reset()

    def _on_vrfy(self, argument: str) -> ServerStep:
        return self._ask_unless_missing("VRFY", Vrfy(*self._query(argument)))

    def _on_expn(self, argument: str) -> ServerStep:
        if EXPN not in self.config.extensions:
            return self._refuse("EXPN", replies.NOT_IMPLEMENTED)
        return self._ask_unless_missing("EXPN", Expn(*self._query(argument)))

    def _ask_unless_missing(self, verb: str, event: Vrfy | Expn | Etrn | ExtensionCommand) -> ServerStep:
        missing = self._missing()
        return self._ask(event) if missing is None else self._refuse(verb, missing)

    def _query(self, argument: str) -> tuple[str, bool]:
        """Return what VRFY or EXPN asks for, and whether the reply may be UTF-8 (RFC 6531 section 3.7.4.2)."""
        text = needed_argument(argument)
        string, space, keyword = text.rpartition(" ")
        if space and keyword.isascii() and keyword.upper() == "SMTPUTF8" and self._offer.offers(SMTPUTF8):
            return string, True
        return text, False

    def _on_etrn(self, argument: str) -> ServerStep:
        if ETRN not in self.config.extensions:
            return self._refuse("ETRN", replies.NOT_IMPLEMENTED)
        return self._ask_unless_missing("ETRN", Etrn(needed_argument(argument)))

    def _on_xclient(self, argument: str) -> ServerStep:
        if not self.trusted or XCLIENT not in self.config.extensions:
            return self._refuse("XCLIENT", replies.NOT_TRUSTED)
        return self._ask(XClient(parse_attributes(needed_argument(argument), XCLIENT_NAMES)))

    def _on_xforward(self, argument: str) -> ServerStep:
        if not self.trusted or XFORWARD not in self.config.extensions:
            return self._refuse("XFORWARD", replies.NOT_TRUSTED)
        return self._ask(XForward(parse_attributes(needed_argument(argument), XFORWARD_NAMES)))

    def _on_help(self, _: str) -> ServerStep:
        if HELP not in self.config.extensions:
            return self._refuse("HELP", replies.NOT_IMPLEMENTED)
        standing = self._standing
        extensions = [extension for extension in self.config.extensions if extension.offer(standing) is not None]
        offered = {extension.keyword for extension in extensions}
        if CHUNKING.keyword in offered:
            offered.add("BDAT")
        own = {verb for extension in extensions for verb in extension.commands}
        verbs = sorted(self._verbs & (_ALWAYS_THERE | offered) | own)
        return self._answer_at_once(Reply.build(214, " ".join(verbs), "2.0.0"))

    def _on_noop(self, _: str) -> ServerStep:
        return self._answer_at_once(replies.OK)

    def _answer_at_once(self, reply: Reply) -> ServerStep:
        """Answer what nobody has to be told of. Who says something is given time to say more all the same."""
        self._say(reply)
        self._progress += 1
        return AGAIN

    def _on_other(self, verb: str, argument: str) -> ServerStep:
        """Ask about a command of an extension of the application's own, where that is in force. To the limits it
        leads nowhere, as the like of VRFY does."""
        farewell = self._budget.count_junk()
        if farewell is not None:
            return self._hang_up(farewell, "too many commands")
        if not self._offer.offers_command(verb):
            return self._refuse(verb, replies.NOT_IMPLEMENTED)
        return self._ask_unless_missing(verb, ExtensionCommand(verb, argument))

    def _on_quit(self, argument: str) -> ServerStep:
        if argument:
            return self._refuse("QUIT", replies.BAD_ARGUMENTS)
        self._say(replies.GOODBYE)
        self._end_transaction()
        self.state = ServerState.CLOSED
        self._close()
        return AGAIN

    def _path(self, argument: str, prefix: str) -> tuple[Address | None, str | None, str]:
        """Return the path of MAIL or RCPT, by the grammar, or by a tolerance that the config names.

        Only that of MAIL may be null, and only that of RCPT the postmaster without a domain.
        """
        text = path_argument(argument, prefix)
        null, postmaster = prefix == "FROM:", prefix == "TO:"
        if text[:1] == "<":
            return split_path(text, null, postmaster)
        text, used = mend_path(text, self.config.tolerances)
        path = split_path(text, null, postmaster)
        self._events.extend(map(ToleranceUsed, used))
        return path

    # Help.

    def _shown(self, verb: str, argument: str, line: bytes) -> bytes:
        """Return a command as it may be shown."""
        if verb == "AUTH":
            return self._redacted(argument)
        return b"BURL " + SECRET if verb == "BURL" else line

    def _trace_unknown(self, line: bytes) -> None:
        """Show that a line came, but not the line: it may be a password that lost its way."""
        self._trace_line(self._other, b"<%d octets that are no command>" % len(line))


def _name(argument: str) -> str:
    """Return what a client calls itself. Any word will do, for the RFC forbids to make mail depend on it."""
    if not 0 < len(argument) <= 255 or " " in argument or not argument.isascii():
        raise GrammarError("not a name")
    return argument


_Handler: TypeAlias = Callable[[SMTPServerConnection, str], ServerStep]


def _handler(verb: str, outcome: Outcome) -> _Handler:
    """Return what takes a command, or refuses it because it is out of order. A chunk has to be read in any state."""
    if verb != "BDAT" and outcome in replies.NOT_A_TRANSACTION:
        return lambda conn, _: conn._refuse_out_of_order(outcome, verb)
    if verb not in VERBS:
        return lambda conn, argument: conn._on_other(verb, argument)
    handler: _Handler = getattr(SMTPServerConnection, f"_on_{verb.lower()}")
    return handler


_HANDLERS = {rule: _handler(rule[1], outcome) for rule, outcome in RULES.items()}
_LMTP_HANDLERS = {(state, verb): handler for (state, verb), handler in _HANDLERS.items() if verb in LMTP_VERBS}
_SMTP_HANDLERS = {(state, verb): handler for (state, verb), handler in _HANDLERS.items() if verb in SMTP_VERBS}
