"""The taking in of messages: DATA, BDAT and BURL, and what is done with chunks that nobody is to get.

How the octets of a message are read is in `mailproto.smtp._server.body`.
"""

from __future__ import annotations

from mailproto._core.connection import AGAIN, STARVED
from mailproto._core.events import MessageChunk
from mailproto.errors import LocalProtocolError
from mailproto.smtp._server import replies
from mailproto.smtp._server.body import BodyReader, ChunkSource
from mailproto.smtp._server.logins import LoginConnection
from mailproto.smtp._server.settling import FAREWELLS, ServerStep
from mailproto.smtp.command import needed_argument, parse_chunk
from mailproto.smtp.events import Burl, CommandRejected, Data, Delivery, MessageAborted, MessageEnd
from mailproto.smtp.extensions import BURL, CHUNKING
from mailproto.smtp.extensions.burl import parse_burl
from mailproto.smtp.parameters import Body
from mailproto.smtp.reply import Reply
from mailproto.smtp.rules import RULES, Outcome, ServerState

_BINARY_MIME = Body.BINARY_MIME  # by this name, as the states in `mailproto.smtp._server.settling` are


class IntakeConnection(LoginConnection):
    """What `SMTPServerConnection` takes messages in with."""

    __slots__ = ()

    # The commands.

    def _on_data(self, argument: str) -> ServerStep:
        if argument:
            return self._refuse("DATA", replies.BAD_ARGUMENTS)
        if self._transaction().mail.parameters.body is _BINARY_MIME:
            return self._refuse("DATA", replies.NO_BINARY)
        return self._ask(Data())

    def _on_bdat(self, argument: str) -> ServerStep:
        """Take a chunk. Its octets are consumed whatever becomes of it, or they would be taken for commands; and they
        may take as long as those of any message, whatever the client did before it announced them."""
        self._progress += 1
        chunk = parse_chunk(argument)
        if chunk is None:
            return self._lose_chunk()
        size, last = chunk
        if size > self.limits.max_excess and 0 < self.config.max_message_size < size:
            return self._hang_up(replies.HUGE_CHUNK, "a chunk beyond all bounds")
        outcome = RULES[self.state, "BDAT"]
        if outcome in replies.NOT_A_TRANSACTION:
            return self._skip_stray_chunk(size, last, outcome)
        if CHUNKING not in self.config.extensions:
            return self._skip_chunk(size, replies.NOT_IMPLEMENTED)
        farewell = self._budget.count_junk() if not size and not last else None
        if farewell is not None:
            return self._hang_up(farewell, "too many empty chunks")
        if outcome is Outcome.ASK:
            self._chunks = ChunkSource()  # a new one, for the old may hold back the end of a message that was reset
            self._chunks.begin(size, last)
            return self._ask(Data(chunked=True))
        self._chunks.begin(size, last)
        self.state = ServerState.DATA
        self._mode = self._read_body
        return AGAIN

    def _on_burl(self, argument: str) -> ServerStep:
        """Have a piece of the message fetched, unless a piece before was refused already."""
        if BURL not in self.config.extensions:
            return self._refuse("BURL", replies.NOT_IMPLEMENTED)
        if not self.authenticated:
            return self._refuse("BURL", replies.AUTH_REQUIRED)
        event = Burl(*parse_burl(needed_argument(argument)), self._transaction())
        refusal = None
        if self._body is not None:
            refusal = self._body.refusal or (replies.CUT_LINE_END if self._chunks.cuts_line_end else None)
        if refusal is None:
            return self._ask(event)
        self._fail_burl(event, refusal)
        return AGAIN

    def _not_a_transaction(self, outcome: Outcome) -> Reply:
        return replies.NOT_A_TRANSACTION[Outcome.BAD_SEQUENCE if self.config.lmtp else outcome]

    # The message.

    def _read_body(self) -> ServerStep:
        body = self._body
        if body is None:
            raise LocalProtocolError("no message is coming in")
        was_refused = body.refusal is not None
        content = body.read(self._buffer)
        if body.refusal is not None and not was_refused:
            self._events.append(MessageAborted(body.refusal))
        if body.excess > self.limits.max_excess:
            self._mode = self._give_up  # behind the refusal, and what led to it
        elif body.source.done:
            self._mode = self._end_body
        elif body.source.at_boundary:
            self._end_chunk(body)
        elif content:  # and more is to come; an end is progress by itself
            self._count_chunk(len(content))
        elif not self._events:
            return STARVED
        return MessageChunk(content) if content else AGAIN

    def _give_up(self) -> ServerStep:
        self._fail("the peer goes on with a message that was refused")
        return AGAIN

    def _end_chunk(self, body: BodyReader) -> None:
        """Answer a chunk that is not the last."""
        self.state = ServerState.CHUNKS
        self._mode = self._read_command
        self._progress += 1
        reply = body.refusal if body.refusal is not None else replies.CHUNK_OK
        self._say(reply)
        if reply.code in FAREWELLS:
            self._close("closed by the server")

    def _end_body(self) -> ServerStep:
        body, self._body = self._body, None
        if body is None:
            raise LocalProtocolError("no message is coming in")
        self._mode = self._read_command
        if self.trace is not None:
            self.trace(self._other, b"<message of %d octets>" % body.size)
        envelope = self._transaction()
        if body.refusal is not None:
            self._finish_message(body.refusal, envelope)
            return AGAIN
        return self._ask(MessageEnd(body.size, envelope))

    def _read_delivery(self) -> ServerStep:
        envelope = self._transaction()
        return self._ask(Delivery(envelope.recipients[len(self._verdicts)], envelope))

    # Chunks for nobody.

    def _lose_chunk(self) -> ServerStep:
        """Hang up on a chunk of which nobody can tell where it ends."""
        return self._hang_up(replies.BAD_CHUNK, "a chunk of unknown size")

    def _skip_stray_chunk(self, size: int, last: bool, outcome: Outcome) -> ServerStep:
        """Refuse a chunk without a transaction. Said ahead of the refusal (RFC 2920) it is junk, but no error."""
        ahead = outcome is Outcome.NO_RECIPIENTS or self._mail_refused
        farewell = self._budget.count_junk() if ahead else None
        if farewell is not None:
            return self._hang_up(farewell, "too many chunks for nobody")
        # In LMTP the last one gets a reply for each recipient, of whom there are none (RFC 2033 section 4.3).
        silent = self.config.lmtp and last
        return self._skip_chunk(size, self._not_a_transaction(outcome), count=not ahead, silent=silent)

    def _skip_chunk(self, size: int, reply: Reply, *, count: bool = True, silent: bool = False) -> ServerStep:
        """Consume a chunk that cannot be taken, then say so, unless nobody waits for a word."""
        if size > self.limits.max_excess:
            return self._hang_up(replies.HUGE_CHUNK, "a chunk beyond all bounds")
        left = size

        def skip() -> ServerStep:
            nonlocal left
            left -= len(self._buffer.take(left))
            if left:
                return STARVED
            self._mode = self._read_command
            return CommandRejected("BDAT", reply) if silent else self._refuse("BDAT", reply, count=count)

        self._mode = skip
        return AGAIN
