"""Plain transactions: all that may leave at once queued in one call, and the good replies taken in one go.

Most messages are small and have nothing special about them, and most are taken. If each of their commands and replies
took its own way through the connection, that would cost more than all the system does to send them. Whatever is not
plain, and every reply that is not good, goes that way.
"""

from __future__ import annotations

from collections.abc import Sequence

from mailproto._core.newlines import Checked, checked
from mailproto.address import Address, check_address
from mailproto.errors import LocalProtocolError, NotSupportedError
from mailproto.smtp import command as commands
from mailproto.smtp._client.requests import RequestingConnection
from mailproto.smtp.command import Command, Transaction
from mailproto.smtp.config import SMTPClientConfig
from mailproto.smtp.messages.content import checked_octets
from mailproto.smtp.parameters import Body
from mailproto.smtp.reply import USUAL_LINE, usual_reply
from mailproto.smtp.rules import ClientState

_IN_TRANSACTION, _READY = ClientState.TRANSACTION, ClientState.READY


class PlainConnection(RequestingConnection):
    """What `SMTPClientConnection` has plain transactions with."""

    __slots__ = ("_usual_line",)

    def __init__(self, config: SMTPClientConfig | None = None) -> None:
        super().__init__(config)
        self._usual_line = min(USUAL_LINE, self.limits.max_reply_line - 2)

    def transact(
        self, reverse_path: Address | None, forward_paths: Sequence[Address], message: bytes | Checked
    ) -> list[Command]:
        """Queue a transaction and return the handles of its commands: MAIL, RCPT for each of the forward-paths, and
        a chunk that is all of the message (RFC 3030), or DATA where the server takes no chunks. Behind `ReadyForData`
        `send_data` has to bring the same message then, and `end_data` to end it.

        It is what `mail`, `rcpt`, and `bdat` or `data` do one by one, for most messages: those of which nothing has
        to be said but their size, and that they have 8-bit octets, which it says where the server wants to know.

        The replies come as events, but for those that `take_good_replies` takes. Behind a chunk or a DATA that was
        refused, or skipped, `rset` is due: the server may still be in the transaction (section 2).

        Raises:
            LocalProtocolError: a transaction is under way, or there is no forward-path.
            NotSupportedError: it takes more than this, or than the server offers. The methods for one command can do
                more, or tell what is missing.
            GrammarError: a bare CR or LF in the message.
            TypeError: an address is text; `Address.parse` makes one of it.
        """
        self._need_session()
        self._need_no_transaction()
        if not forward_paths:
            raise LocalProtocolError("a message without a recipient")
        if reverse_path is not None:
            check_address(reverse_path)
        piece = message if type(message) is Checked else checked(checked_octets(message))
        octets = piece.octets
        if octets and octets[-2:] != b"\r\n":
            octets = bytes(octets) + b"\r\n"
        flight = [commands.mail(reverse_path, self._said_of(len(octets), piece.isascii()))]
        for address in forward_paths:
            check_address(address)
            flight.append(commands.rcpt(address))
        flight.append(self._carrier(octets))
        transaction = Transaction(None if piece.isascii() else Body.EIGHT_BIT_MIME)
        transaction.waiting = len(forward_paths)
        for command in flight:
            if not command.line.isascii():
                raise NotSupportedError("an address that is not ASCII")
            command.transaction = transaction
        if not flight[-1].ends:  # else no more is added to the transaction, so that nobody asks for it
            transaction.data = True
            self._transaction = transaction
        self._unsent.extend(flight)
        self._mails += 1
        return flight

    def _carrier(self, octets: bytes | memoryview) -> Command:
        """Return what carries a plain message: a chunk that is all of it, or DATA."""
        if not ("CHUNKING" in self._terms.keywords and self.config.chunking):
            return commands.simple("DATA")
        chunk = commands.bdat(octets, last=True)
        chunk.plain = True
        return chunk

    def _said_of(self, size: int, ascii_only: bool) -> str:
        """Return the parameters of MAIL for a plain message."""
        terms = self._terms
        if not terms.plain or self.config.lmtp:
            raise NotSupportedError("not plain: LMTP, a limit of domains or an extension of your own")
        if size > (terms.max_size or size):
            raise NotSupportedError("the message is larger than the server takes")
        said = f" SIZE={size}" if "SIZE" in terms.keywords else ""
        if ascii_only:
            return said
        if "8BITMIME" not in terms.keywords:
            raise NotSupportedError("the message has 8-bit octets, and the server does not offer 8BITMIME")
        return f"{said} BODY=8BITMIME"

    @property
    def undisturbed(self) -> bool:
        """Whether the server is there, and has said nothing that was not heard, so that an answer comes next."""
        return not (self._events or self._buffer or self._parser.unfinished or self.over)

    def take_good_replies(self) -> bool:
        """Take what has come of good replies to plain commands: MAIL, RCPT, RSET, and the end of a message. No
        events are made of them: this is for who looks at the handles.

        Returns:
            Whether that was all, so that to wait for more comes next. Otherwise `next_event` tells what there is.
        """
        if self._events or self._parser.unfinished or self.over or self.trace is not None:
            return False
        waiting, enhanced = self._waiting, "ENHANCEDSTATUSCODES" in self.extensions
        owed = len(waiting)
        lines = self._buffer.peek_lines(owed)
        rest = lines.pop()
        octets = 0
        for line in lines:
            command = waiting[0]
            if not command.plain or len(line) > self._usual_line:
                break
            reply = usual_reply(line, enhanced)
            if reply is None or reply.code > 299:
                break
            octets += len(line) + 2
            waiting.popleft()  # and what else a reply does that is good, as in `SMTPClientConnection._on_reply`
            command.reply = reply
            if command.verb != "RCPT":
                self.state = _IN_TRANSACTION if command.verb == "MAIL" else _READY
            elif command.transaction is not None:
                command.transaction.waiting -= 1
                command.transaction.accepted += 1
        taken = owed - len(waiting)
        self._progress += taken
        self._buffer.drop(octets)
        return not rest and taken == len(lines)
