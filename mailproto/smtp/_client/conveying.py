"""How a client's message leaves: behind DATA, in chunks, or by a URL that the server is to fetch it from.

The commands that lead there are in `mailproto.smtp._client.requests`, what becomes of the replies in
`mailproto.smtp.client`.
"""

from __future__ import annotations

from mailproto._core.dots import Stuffer
from mailproto._core.newlines import CanonicalNewlines, Checked, StrictNewlines
from mailproto.errors import GrammarError, LocalProtocolError, NotSupportedError
from mailproto.smtp import command as commands
from mailproto.smtp._client.pipelining import PipeliningConnection
from mailproto.smtp._client.terms import Terms
from mailproto.smtp.command import Command, Transaction
from mailproto.smtp.config import SMTPClientConfig
from mailproto.smtp.messages.content import checked_octets
from mailproto.smtp.rules import ClientState

END = "."  # the verb of the handle for the end of a message


class ConveyingConnection(PipeliningConnection):
    """What `SMTPClientConnection` sends messages with."""

    __slots__ = ("_newlines", "_open_line", "_premature", "_stuffer", "_terms", "_transaction", "state")

    def __init__(self, config: SMTPClientConfig | None = None) -> None:
        super().__init__(config)
        self.state = ClientState.GREETING
        self._terms = Terms()
        self._transaction: Transaction | None = None  # the one that commands are queued for
        self._premature = False  # whether something was said already when the message ended
        self._stuffer = Stuffer()
        self._newlines: StrictNewlines | CanonicalNewlines = StrictNewlines()
        self._open_line = False  # whether the last line of the chunks so far has no end yet

    def uses(self, keyword: str) -> bool:
        """Say whether the server offers this extension, and ``config.extensions`` has it, too."""
        return keyword in self._terms.keywords

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is under way that was neither ended nor taken back."""
        return self._transaction is not None

    # Behind DATA.

    def data(self, *, canonicalise: bool = False) -> Command:
        """Queue DATA; `ReadyForData` comes when the server waits for the message.

        Args:
            canonicalise: make a CRLF of every bare CR and LF in the message instead of refusing it.

        Raises:
            LocalProtocolError: no RCPT stands before it.
        """
        transaction = self._need_recipients()
        if transaction.chunked or transaction.binary:
            raise LocalProtocolError("DATA and BDAT do not mix, and a binary message needs BDAT")
        command = self._queue(commands.simple("DATA"))
        command.transaction = transaction
        transaction.canonicalise = canonicalise
        transaction.data = True
        return command

    def send_data(self, data: bytes | Checked) -> None:
        """Send a piece of the message, cut anywhere. Dots are stuffed; a bare CR or LF is never sent.

        Raises:
            LocalProtocolError: the server does not wait for a message.
            GrammarError: a bare CR or LF, or 8-bit octets in a message that was declared 7-bit. The connection
                closes, for half a message can neither be taken back nor ended.
        """
        transaction = self._need_message()
        piece = _piece(data)
        try:
            if transaction is not None and not transaction.eight_bit and not piece.isascii():
                raise GrammarError("8-bit octets in a message that was not declared 8-bit")
            self._send(self._stuffer.feed(bytes(self._canonical(piece))))
        except GrammarError:
            self._close("the message could not be sent")
            raise

    def end_data(self) -> Command:
        """End the message and return the handle for the server's final word on it.

        Behind a server that has left the message stays without an end, and the handle is not ``sent``: what has not
        arrived as a whole is nobody's. It may have said why.

        Raises:
            LocalProtocolError: no message is being sent.
            GrammarError: it ends with a bare CR; the connection closes.
        """
        transaction = self._need_message()
        try:
            self._send(self._stuffer.feed(self._newlines.finish()))
        except GrammarError:
            self._close("the message could not be sent")
            raise
        end = Command(END, self._stuffer.finish(), b"<end of message>")
        end.ends = True
        end.transaction = transaction
        self._sending = self._transaction = None
        self.state = ClientState.READY
        self._premature = bool(self._buffer or self._parser.unfinished)
        end.plain = not self._premature and self._has_one_reply(transaction)
        if self._eof:
            self._waiting.append(end)
        else:
            self._transmit(end)
        return end

    # In chunks, and by a URL.

    def bdat(self, data: bytes | Checked, *, last: bool = False, canonicalise: bool = False) -> Command:
        """Queue a chunk of the message (RFC 3030), cut anywhere; ``last`` ends the message.

        A bare CR or LF is never sent, unless MAIL said BODY=BINARYMIME. Nothing has to be waited for before: chunks
        may leave together with MAIL and RCPT. Text whose last line has no end gets one, as it would with DATA.

        In LMTP the last chunk leaves behind the replies to the others: if one of them is refused, nobody knows how
        many it would get.

        Raises:
            LocalProtocolError: no RCPT stands before it, or the message goes by DATA. In LMTP the replies to all
                RCPTs have to be there, for they say how many replies the message will get.
            NotSupportedError: the server does not offer CHUNKING.
            GrammarError: as in `send_data`; the transaction can be taken back with `rset`.
        """
        transaction = self._need_recipients()
        if "CHUNKING" not in self.extensions:
            raise NotSupportedError("the server does not offer CHUNKING")
        if self.config.lmtp and (transaction.waiting or not transaction.accepted):
            raise LocalProtocolError("the recipients are not settled yet")
        piece = _piece(data)
        if not transaction.eight_bit and not piece.isascii():
            raise GrammarError("8-bit octets in a message that was not declared 8-bit")
        if not transaction.chunked:
            self._newlines = CanonicalNewlines() if canonicalise else StrictNewlines()
            self._open_line = False
        octets = bytes(piece) if transaction.binary else self._text_chunk(piece, last)
        if self.config.lmtp and last:
            chunks = self._unsent or self._waiting
            if chunks:
                chunks[-1].alone = True
        command = self._queue(commands.bdat(octets, last))
        command.transaction = transaction
        command.plain = last and self._has_one_reply(transaction)
        transaction.chunked = True
        if last:
            self._transaction = None
        return command

    def _text_chunk(self, piece: bytes | Checked, last: bool) -> bytes | memoryview:
        """Return a chunk of text with its line ends looked at; the last one ends the last line."""
        octets = self._canonical(piece)
        if last:
            octets = bytes(octets) + self._newlines.finish()
        if octets:
            self._open_line = octets[-2:] != b"\r\n"
        return bytes(octets) + b"\r\n" if last and self._open_line else octets

    def _canonical(self, piece: bytes | Checked) -> bytes | memoryview:
        """Return a piece of text with its line ends looked at, unless they were before."""
        if type(piece) is Checked and not self._newlines.kept:
            return piece.octets
        return self._newlines.feed(bytes(piece))

    def burl(self, url: str) -> Command:
        """Queue BURL: the message is what ``url`` refers to, and the server is to fetch it (RFC 4468).

        When it is refused, `rset` is due: some servers have ended the transaction then, and others have not.

        Raises:
            LocalProtocolError: no RCPT stands before it, or a message is being sent in another way.
            NotSupportedError: the server does not offer BURL.
            GrammarError: not an absolute URI.
        """
        transaction = self._need_recipients()
        if not self.uses("BURL"):
            raise NotSupportedError("the server does not offer BURL")
        if transaction.chunked:
            raise LocalProtocolError("the message goes in chunks")
        command = self._queue(commands.burl(url))
        command.transaction = transaction
        self._transaction = None
        return command

    # What they need.

    def _has_one_reply(self, transaction: Transaction | None) -> bool:
        """Say whether a message gets one reply, and not one for each recipient."""
        return not (self.config.lmtp or (transaction is not None and transaction.prdr))

    def _need_transaction(self) -> Transaction:
        transaction = self._transaction
        if transaction is None or transaction.refused or transaction.data:
            raise LocalProtocolError("no transaction is under way")
        return transaction

    def _need_message(self) -> Transaction | None:
        if self._sending is None or self.closing:
            raise LocalProtocolError("no message is being sent")
        return self._sending.transaction

    def _need_recipients(self) -> Transaction:
        transaction = self._need_transaction()
        if not transaction.waiting and not transaction.accepted:
            raise LocalProtocolError("a message without a recipient")
        return transaction


def _piece(data: bytes | Checked) -> bytes | Checked:
    return data if type(data) is Checked else checked_octets(data)
