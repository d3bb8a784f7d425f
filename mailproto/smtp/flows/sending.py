"""Sending messages in as few round trips as the server allows.

MAIL, all RCPTs and DATA leave in one flight, and the next message's MAIL right behind the end of the last message.
A message that goes in chunks (RFC 3030) does not even wait for a go-ahead, so several of them leave in one flight;
since it is not clear where a server stands behind a refused chunk, RSET comes between them (section 2). With a server
that does not pipeline the same commands leave one by one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from mailproto._core.checks import check_each
from mailproto._core.flow import READ, Flow
from mailproto.errors import (
    ConnectionClosedError,
    ConnectionExhaustedError,
    GrammarError,
    NotSupportedError,
    SourceError,
)
from mailproto.smtp.client import SMTPClientConnection
from mailproto.smtp.flows.fitting import needed_parameters, suits_chunks, uses_utf8
from mailproto.smtp.flows.outcomes import Sending
from mailproto.smtp.flows.plain import accepted_by_all, plain_transfer, queue_plain
from mailproto.smtp.flows.planning import Plan
from mailproto.smtp.flows.transfer import ChunkTransfer, DataTransfer, Transfer
from mailproto.smtp.messages.content import open_content
from mailproto.smtp.messages.submission import Submission
from mailproto.smtp.parameters import Body
from mailproto.smtp.result import SendResult

_WINDOW = 16  # messages begun before it is known what became of the first of them


def send_message(conn: SMTPClientConnection, submission: Submission) -> Flow[SendResult]:
    """Send one message and return what became of it, refusals and a broken connection included.

    Raises:
        NotSupportedError: the message needs what the server does not offer. Nothing was sent.
        GrammarError: the message has a bare CR or LF. Nothing was sent, if it was not a file or an iterable;
            otherwise, if it went with DATA, the connection had to be closed.
        Exception: what ``progress`` raised, or a file or an iterable that the message was read from; the same holds
            for it.
    """
    return raise_own((yield from send_one(conn, submission)))


def send_one(conn: SMTPClientConnection, submission: Submission) -> Flow[SendResult]:
    """Do what `send_message` does, but for what it raises, which is the ``error`` of the result here."""
    handles = queue_plain(conn, submission) if conn.undisturbed else None
    if handles is None:
        (result,) = yield from send_messages(conn, (submission,))
        return result
    end = handles[-1]
    yield READ
    while conn.take_good_replies() and end.reply is None:
        yield READ
    if end.reply is not None:
        return accepted_by_all(submission, handles)
    return (yield from plain_transfer(conn, submission, handles).settle())


def raise_own(result: SendResult) -> SendResult:
    """Raise what the caller's own part in the sending of a message has failed by, or else return the result.

    It is returned as well if somebody has the message all the same, or may have it: who only hears of an exception
    would send it again.
    """
    if result.error is None or result.accepted or result.unknown:
        return result
    if isinstance(result.error, NotSupportedError | GrammarError):
        raise result.error
    if isinstance(result.error, SourceError):
        raise result.error.__cause__ or result.error
    return result


def send_messages(conn: SMTPClientConnection, submissions: Iterable[Submission]) -> Flow[list[SendResult]]:
    """Send several messages over one connection, each begun before the reply to the last one is there.

    Returns:
        A result for each, in their order. What `send_message` raises is the ``error`` of its result here, or the
        cause of the `SourceError` that is. When the connection breaks, the messages behind are deferred; so are those
        that the server takes only on another connection, see `ConnectionExhaustedError`.

    Raises:
        TypeError: one is no `Submission`, such as a message, of which `make_submission` makes one. Nothing was sent.
        Exception: what ``submissions`` raises. It is read to its end before anything is sent.
    """
    if isinstance(submissions, Submission):
        raise TypeError("several submissions are wanted, as in a list, not one")
    submissions = tuple(submissions)
    check_each("submissions", submissions, Submission)
    plans: list[Plan] = []
    window: deque[Transfer] = deque()  # those whose outcome is not known yet
    previous: Transfer | None = None  # the last one that anything was said of
    for submission in submissions:
        plan = Plan(conn, submission)
        plans.append(plan)
        for part in plan.parts:
            if not conn.pipelines:  # what is queued now leaves no sooner, but perhaps too soon
                yield from _settle(window, 0)
            elif len(window) == _WINDOW:
                yield from _settle(window, _WINDOW // 2)
            try:
                transfer = yield from _begin(conn, part, previous)
            except (NotSupportedError, GrammarError, SourceError, ConnectionClosedError) as error:
                plan.sendings.append(Sending(conn, part, error))
                continue
            transfer.queue()
            plan.sendings.append(transfer)
            window.append(transfer)
            previous = transfer
            if not transfer.complete:
                yield from _settle(window, 1)
                yield from transfer.carry()
    yield from _settle(window, 0)
    if previous is not None:
        yield from previous.clear()
    return [plan.result() for plan in plans]


def _settle(window: deque[Transfer], left: int) -> Flow[None]:
    """Read what became of the messages in the window, the oldest first, until so many are left."""
    while len(window) > left:
        transfer = window.popleft()
        yield from transfer.carry()
        yield from transfer.finish()


def _begin(conn: SMTPClientConnection, submission: Submission, previous: Transfer | None) -> Flow[Transfer]:
    """Check everything that can be checked before, and queue the first command if nothing is wrong.

    Raises:
        NotSupportedError, GrammarError, SourceError, ConnectionClosedError: something is; nothing was said of the
            message.
    """
    if conn.exhausted:
        raise ConnectionExhaustedError("the server takes no more messages on this connection")
    if conn.over:
        raise ConnectionClosedError("the connection is closed")
    utf8 = uses_utf8(conn, submission)
    eight_bit = conn.uses("8BITMIME") and submission.parameters.body is not Body.SEVEN_BIT
    content = open_content(submission, eight_bit=eight_bit, utf8=utf8, idna_encode=conn.config.idna_encode)
    needed = needed_parameters(conn, submission, content, utf8=utf8)
    if previous is not None:
        yield from previous.make_way()
        if conn.over:
            raise ConnectionClosedError("the connection is closed")
    handles = queue_plain(conn, submission)
    if handles is not None:
        return plain_transfer(conn, submission, handles)
    mail = conn.mail(submission.reverse_path, submission.parameters, needed)
    kind = ChunkTransfer if suits_chunks(conn, submission.parameters) else DataTransfer
    return kind(conn, submission, content, mail)
