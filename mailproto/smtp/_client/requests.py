"""The asking half of a client's connection: its commands.

A command is a method: it checks, queues, and returns a handle. When it leaves is decided in
`mailproto.smtp._client.pipelining`, and those that the message goes with are in `mailproto.smtp._client.conveying`.
"""

from __future__ import annotations

from collections import Counter

from mailproto._core.codec import encode_base64
from mailproto.address import Address, check_address
from mailproto.errors import GrammarError, LocalProtocolError, MailProtoError, NotSupportedError
from mailproto.smtp import command as commands
from mailproto.smtp._client.conveying import ConveyingConnection
from mailproto.smtp.alabels import encode_address, encode_domain
from mailproto.smtp.attributes import XCLIENT_NAMES, XFORWARD_NAMES, Attributes, format_attributes
from mailproto.smtp.command import SECRET, Command, Transaction
from mailproto.smtp.config import SMTPClientConfig
from mailproto.smtp.extensions import ServerLimits
from mailproto.smtp.parameters import (
    NO_MAIL_PARAMETERS,
    NO_RCPT_PARAMETERS,
    MailParameters,
    Needed,
    RcptParameters,
    format_fields,
    given,
)
from mailproto.smtp.rules import VERBS

_NOTHING: Needed = {}


class RequestingConnection(ConveyingConnection):
    """What `SMTPClientConnection` asks for."""

    __slots__ = ("_challenged", "_domains", "_error", "_mails", "server_name")

    def __init__(self, config: SMTPClientConfig | None = None) -> None:
        super().__init__(config)
        self.server_name = ""
        self._domains: Counter[str] = Counter()  # of recipients, on a server that limits their number
        self._mails = 0
        self._challenged: Command | None = None  # the AUTH that a challenge was received for
        self._error: MailProtoError | None = None

    # Commands.

    def ehlo(self, name: str) -> Command:
        """Queue EHLO with this client's name, a domain or an address literal (RFC 5321 section 4.1.1.1)."""
        return self._queue(commands.hello("EHLO", encode_domain(name, self.config.idna_encode)))

    def helo(self, name: str) -> Command:
        """Queue HELO, for servers that do not know EHLO."""
        return self._queue(commands.hello("HELO", encode_domain(name, self.config.idna_encode)))

    def lhlo(self, name: str) -> Command:
        """Queue LHLO, which takes the place of EHLO in LMTP (RFC 2033 section 4.1)."""
        return self._queue(commands.hello("LHLO", encode_domain(name, self.config.idna_encode)))

    def starttls(self) -> Command:
        """Queue STARTTLS; `StartTLS` comes when the server agrees (RFC 3207).

        Raises:
            LocalProtocolError: TLS is there already, or a transaction is under way.
        """
        if self.tls is not None:
            raise LocalProtocolError("TLS is in use already")
        self._need_no_transaction()
        return self._queue(commands.simple("STARTTLS"))

    def auth(self, mechanism: str, initial_response: bytes | None = None) -> Command:
        """Queue AUTH (RFC 4954 section 4). None is no initial response, ``b""`` is an empty one;
        base64 is made of it here.
        """
        self._need_no_transaction()
        return self._queue(commands.auth(mechanism, initial_response))

    def auth_response(self, data: bytes) -> None:
        """Answer an `AuthChallenge`; base64 is made of the octets here.

        Raises:
            LocalProtocolError: there is none to answer.
        """
        self._sasl_line(encode_base64(data), SECRET)

    def auth_cancel(self) -> None:
        """Give up an AUTH exchange; the server will answer the command with 501."""
        self._sasl_line(b"*", b"*")

    def mail(
        self, address: Address | None, parameters: MailParameters | None = None, needed: Needed = _NOTHING
    ) -> Command:
        """Queue MAIL and begin a transaction. ``None`` is the null reverse-path.

        Without ``smtputf8`` a domain that is not ASCII is sent in A-labels.

        Args:
            needed: what the message itself needs said, where ``parameters`` do not say it.

        Raises:
            LocalProtocolError: a transaction is under way.
            NotSupportedError: the address or a parameter needs an extension that the server does not offer.
            GrammarError: a parameter's value cannot be written.
            TypeError: the address is text; `Address.parse` makes one of it.
        """
        self._need_no_transaction()
        if address is not None:
            check_address(address)
        values = parameters if parameters is not None else NO_MAIL_PARAMETERS
        said = {**needed, **given(values)}
        utf8 = "smtputf8" in said
        if address is not None and not (utf8 or address.is_ascii):
            address = encode_address(address, self.config.idna_encode)
        text = format_fields(self._terms.mail, said, values.extra, utf8=utf8)
        command = self._queue(commands.mail(address, text))
        command.alone = "transid" in said  # what comes behind would be taken for the rest of another message
        command.transaction = self._transaction = Transaction(said.get("body"), utf8, "prdr" in said)
        self._mails += 1
        return command

    def rcpt(self, address: Address, parameters: RcptParameters | None = None) -> Command:
        """Queue RCPT. In a transaction without ``smtputf8`` a domain that is not ASCII is sent in A-labels.

        Raises:
            LocalProtocolError: there is no transaction to name a recipient in.
            NotSupportedError: the address or a parameter needs an extension that the server does not offer, or
                that MAIL has not asked for.
            GrammarError: a parameter's value cannot be written.
            TypeError: the address is text; `Address.parse` makes one of it.
        """
        transaction = self._need_transaction()
        command = self._queue(self._make_rcpt(address, parameters, transaction.utf8))
        command.transaction = transaction
        transaction.waiting += 1
        if command.address is not None and self._terms.limits.rcpt_domain_max is not None:
            self._domains[command.address.canonical.domain] += 1
        return command

    def _take_back_domain(self, address: Address) -> None:
        """Count the domain of a recipient no more who was not named to the server after all."""
        domain = address.canonical.domain
        self._domains[domain] -= 1
        if self._domains[domain] <= 0:
            del self._domains[domain]

    def check_rcpt(
        self, address: Address, parameters: RcptParameters | None = None, *, smtputf8: bool = False
    ) -> Address:
        """Return the address as `rcpt` would send it, and raise what it would raise; queue nothing.

        Args:
            smtputf8: whether MAIL has, or will have, that parameter.
        """
        return self._make_rcpt(address, parameters, smtputf8).address or address

    def _make_rcpt(self, address: Address, parameters: RcptParameters | None, utf8: bool) -> Command:
        check_address(address)
        values = parameters if parameters is not None else NO_RCPT_PARAMETERS
        if not (utf8 or address.is_ascii):
            address = encode_address(address, self.config.idna_encode)
        return commands.rcpt(address, format_fields(self._terms.rcpt, given(values), values.extra, utf8=utf8))

    def rset(self) -> Command:
        """Queue RSET, which takes the transaction back. A server that refuses it, as none may (RFC 5321 section
        4.1.1.5), is left: nobody knows in which transaction the next message would be.

        Raises:
            LocalProtocolError: a message is being sent.
        """
        if self._sending is not None:
            raise LocalProtocolError("a message is being sent")
        command = self._queue(commands.simple("RSET"))
        self._transaction = None
        return command

    def noop(self) -> Command:
        """Queue NOOP, which only makes the server answer."""
        return self._queue(commands.simple("NOOP"))

    def vrfy(self, text: str, *, smtputf8: bool = False) -> Command:
        """Queue VRFY.

        Args:
            smtputf8: let the reply be in UTF-8 (RFC 6531 section 3.7.4.2).

        Raises:
            NotSupportedError: it may not, or ``text`` is not ASCII, and the server does not offer SMTPUTF8.
        """
        return self._query("VRFY", text, smtputf8)

    def expn(self, text: str, *, smtputf8: bool = False) -> Command:
        """Queue EXPN; the rest is as in `vrfy`."""
        return self._query("EXPN", text, smtputf8)

    def _query(self, verb: str, text: str, smtputf8: bool) -> Command:
        if not isinstance(text, str):
            raise TypeError(f"{verb} asks about a text, not {type(text).__name__}: str() makes one of an Address")
        if (smtputf8 or not text.isascii()) and not self.uses("SMTPUTF8"):
            raise NotSupportedError("the server does not offer SMTPUTF8")
        return self._queue(commands.simple(verb, f"{text} SMTPUTF8" if smtputf8 else text))

    def etrn(self, node: str) -> Command:
        """Queue ETRN: ask the server to run its queue for ``node`` (RFC 1985)."""
        return self._queue(commands.simple("ETRN", node))

    def xclient(self, attributes: Attributes) -> Command:
        """Queue XCLIENT: speak for another client. If the server agrees, the session begins again with EHLO.

        Raises:
            LocalProtocolError: a transaction is under way.
            NotSupportedError: the server does not offer it, to us, or not this attribute.
            GrammarError: an attribute that it does not have, or a value that cannot be.
        """
        return self._speak_for("XCLIENT", attributes, XCLIENT_NAMES)

    def xforward(self, attributes: Attributes) -> Command:
        """Queue XFORWARD: say where the next message came from. Raises as `xclient` does."""
        return self._speak_for("XFORWARD", attributes, XFORWARD_NAMES)

    def _speak_for(self, verb: str, attributes: Attributes, names: tuple[str, ...]) -> Command:
        self._need_no_transaction()
        if verb not in self.extensions:
            raise NotSupportedError(f"the server does not offer {verb}")
        argument = format_attributes(attributes, names)
        offered = self.extensions[verb].upper().split(" ")
        for name in attributes:
            if name.upper() not in offered:
                raise NotSupportedError(f"the server does not take {name.upper()} in {verb}")
        return self._queue(commands.simple(verb, argument))

    def help(self, topic: str = "") -> Command:
        """Queue HELP."""
        return self._queue(commands.simple("HELP", topic))

    def command(self, verb: str, argument: str = "") -> Command:
        """Queue a command that there is no method for: one of the server's own, or of a rare extension.

        It has a single reply, in one line or several, and changes nothing that this connection knows of, such as
        whether there is a transaction. Nothing leaves behind it before its reply is there (RFC 2920 section 3.1). A
        trace shows all of it: there is nothing in it that is known for a secret.

        Args:
            verb: in upper case.

        Raises:
            LocalProtocolError: ``verb`` is a command of SMTP, for which there is a method.
            GrammarError: it is none at all, or ``argument`` has a character that may not stand in a command.
            NotSupportedError: ``argument`` is not ASCII, and the server does not offer SMTPUTF8.
        """
        if verb in VERBS:
            raise LocalProtocolError(f"{verb} has a method of its own")
        return self._queue(commands.other(verb, argument))

    def quit(self) -> Command:
        """Queue QUIT."""
        command = self._queue(commands.simple("QUIT"))
        self._leaving = True
        return command

    # What the server offers.

    @property
    def max_message_size(self) -> int | None:
        """The largest message the server takes, in octets, None if it does not say (RFC 1870)."""
        return self._terms.max_size

    @property
    def auth_mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms the server offers, in upper case."""
        names = self.extensions.get("AUTH", "").split(" ")
        return tuple(name.upper() for name in names if name and name.isascii())

    @property
    def server_limits(self) -> ServerLimits:
        """How much the server has said it takes (RFC 9422). Nothing here is enforced; `send_messages` keeps to it."""
        return self._terms.limits

    @property
    def recipient_domains(self) -> set[str]:
        """The domains of recipients so far, on a server that limits their number (RFC 9422)."""
        return set(self._domains)

    @property
    def exhausted(self) -> bool:
        """Whether the server takes no more messages on this connection, but may on another (MAILMAX of RFC 9422)."""
        limit = self._terms.limits.mail_max
        return limit is not None and self._mails >= limit

    # What they need.

    def _sasl_line(self, line: bytes, shown: bytes) -> None:
        if self._challenged is None or self.closing:
            raise LocalProtocolError("there is no challenge to answer")
        if len(line) + 2 > self.limits.max_sasl_line:
            raise GrammarError("the response is longer than a line of an AUTH exchange may be")
        self._challenged = None
        self._send(line + b"\r\n")
        if self.trace is not None:
            self.trace(self._speaker, shown)

    def _need_no_transaction(self) -> None:
        if self._transaction is not None:
            raise LocalProtocolError("a transaction is under way")
