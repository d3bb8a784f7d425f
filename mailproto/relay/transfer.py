"""One message to one host, over a connection that is open: what it takes of the host, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import BinaryIO, NamedTuple

from mailproto.address import Address
from mailproto.aio.smtp import SMTPClient
from mailproto.errors import ConnectionExhaustedError, GrammarError, NotSupportedError, SourceError
from mailproto.relay.entry import Entry, Pending
from mailproto.relay.route import Target
from mailproto.smtp.extensions import Notify
from mailproto.smtp.messages.content import in_seven_bits
from mailproto.smtp.messages.submission import Octets, RecipientLike
from mailproto.smtp.notices import Action
from mailproto.smtp.parameters import NO_RCPT_PARAMETERS, Body, MailParameters
from mailproto.smtp.reply import EnhancedStatus, Reply
from mailproto.smtp.result import Outcome, RecipientResult, SendResult

_TOO_BIG = Reply.build(552, "The next host takes no message of this size", "5.3.4")
_NEEDS_UTF8 = Reply.build(550, "The message needs SMTPUTF8, which the next host does not offer", "5.6.7")
_BROKEN = Reply.build(451, "The connection broke before the next host had answered for the message", "4.4.2")
_SLOW = Reply.build(451, "The next host took too long to take the message", "4.4.2")
_LOGIN_OR_TLS_FIRST = 530
_TOO_MANY = 452
_FULL = Reply.build(452, "The next host takes no more on one connection", "4.5.3")

Changes = Mapping[Address, Pending | None]
"""What is left to be done for some recipients; None: nothing."""


class Message(NamedTuple):
    """The content of an entry: octets, or a file if they are many, and how many they are."""

    content: bytes | BinaryIO
    size: int


class Transfer(NamedTuple):
    """What came of it.

    Attributes:
        changes: what is left to be done.
        accepted: the reply to the message, for those for whom it was taken.
        unknown: those who may have the message, so that nobody else is to give it to them at once.
        cut_off: whether the host took too long, and has no connection any more.
        too_many: whether it has taken as many recipients as it takes at a time (RFC 5321 section 4.5.3.1.10), so that
            the others may follow at once.
        unfit: why it cannot be given the message as it is, which another host may be; None if it can.
    """

    changes: Changes
    accepted: Mapping[Address, Reply] = MappingProxyType({})
    unknown: frozenset[Address] = frozenset()
    cut_off: bool = False
    too_many: bool = False
    unfit: Reply | None = None


def with_reply(recipients: Mapping[Address, Pending], reply: Reply, remote_mta: str | None = None) -> Changes:
    """Return the changes where one reply is for all: they have failed if it is permanent, and wait on if not."""
    action = Action.FAILED if reply.permanent else None
    return {
        address: replace(recipient, action=action, reply=reply, remote_mta=remote_mta)
        for address, recipient in recipients.items()
    }


async def transfer(
    client: SMTPClient,
    target: Target,
    entry: Entry,
    recipients: Mapping[Address, Pending],
    message: Message,
    limit: float,
) -> Transfer:
    """Send a message to some of its recipients, with what the host can do of what its sender wanted.

    After ``limit`` seconds it is cut off, as if the host had.
    """
    offered, biggest = client.extensions, client.max_message_size
    if biggest is not None and message.size > biggest:
        return Transfer(with_reply(recipients, _TOO_BIG))
    if entry.parameters.smtputf8 and "SMTPUTF8" not in offered:
        return Transfer({}, unfit=_NEEDS_UTF8)
    dsn = "DSN" in offered
    to: list[RecipientLike] = [
        (address, recipient.parameters if dsn else NO_RCPT_PARAMETERS) for address, recipient in recipients.items()
    ]
    loop = asyncio.get_running_loop()
    end = loop.time() + limit
    cut = loop.create_task(_close_after(client, limit))
    try:
        content: Octets = message.content
        if "8BITMIME" not in offered or entry.parameters.body is Body.SEVEN_BIT:
            content = await asyncio.to_thread(_in_seven_bits, content)
        wanted = _wanted(entry.parameters, message.size, offered)
        result = await client.send_message(content, entry.reverse_path or "", to, parameters=wanted)
    except (NotSupportedError, GrammarError) as error:
        return Transfer({}, unfit=Reply.build(554, str(error), "5.6.0"))
    finally:
        cut.cancel()
    cut_off = loop.time() >= end
    broken = _SLOW if cut_off else _BROKEN
    changes = {
        each.address: _judge(recipients[each.address], each, target, dsn, broken) for each in result.recipients
    }
    return Transfer(
        changes,
        {each.address: each.reply for each in result.accepted if each.reply is not None},
        frozenset(each.address for each in result.unknown),
        cut_off,
        _were_too_many(result, changes),
    )


def _in_seven_bits(content: Octets) -> Octets:
    """Return the message in 7 bits. It takes a thread, for a stranger may have written what takes long to read."""
    try:
        return in_seven_bits(content)
    except SourceError as error:
        raise error.__cause__ or error from None


def _wanted(parameters: MailParameters, size: int, offered: Container[str]) -> MailParameters:
    """Return what the sender wanted, without what the host does not offer."""
    dsn = "DSN" in offered
    return replace(
        parameters,
        size=size if "SIZE" in offered else None,
        body=parameters.body if "8BITMIME" in offered else None,
        ret=parameters.ret if dsn else None,
        envid=parameters.envid if dsn else None,
    )


def _were_too_many(result: SendResult, changes: Changes) -> bool:
    """Say so if some are through, and the others were not taken for now: by RCPT, for behind the message, in LMTP, it
    is a mailbox that is full."""
    left = [(change, each) for each in result.recipients if (change := changes[each.address]) and not change.action]
    return len(left) < len(changes) and all(
        change.reply is not None and change.reply.code == _TOO_MANY and not _was_taken(each) for change, each in left
    )


def _was_taken(recipient: RecipientResult) -> bool:
    return recipient.recipient_reply is not None and recipient.recipient_reply.ok


async def _close_after(client: SMTPClient, seconds: float) -> None:
    """Close the connection. What is under way ends as if the host had done it, and with the truth about each one."""
    await asyncio.sleep(seconds)
    await client.close()


def _judge(recipient: Pending, result: RecipientResult, target: Target, dsn: bool, broken: Reply) -> Pending | None:
    """Return what is left to be done for a recipient.

    A host with DSN sends the notices itself; one without sends none, so that the sender is told of this relay if he
    wants to hear of success (RFC 3461 sections 5.2.1 and 5.2.2). What LMTP has taken is where it was to go.

    A host on a route that wants a login or TLS first (530 in RFC 4954 section 6 and RFC 3207 section 4) says nothing
    of the message: the route wants mending, and the mail, of which not even a notice could leave, waits for that.
    """
    reply, host = result.reply, target.host
    if result.outcome is Outcome.ACCEPTED:
        if dsn or Notify.SUCCESS not in (recipient.parameters.notify or ()):
            return None
        final = target.route is not None and target.route.lmtp
        action = Action.DELIVERED if final else Action.RELAYED
        return replace(recipient, action=action, reply=reply, remote_mta=host)
    if target.route is not None and reply is not None and reply.code == _LOGIN_OR_TLS_FIRST:
        return replace(recipient, reply=Reply(451, reply.text, EnhancedStatus(4, 7, 0)), remote_mta=host)
    if result.outcome is Outcome.REFUSED:
        own = Reply.build(550, str(result.error), "5.6.7")
        return replace(recipient, action=Action.FAILED, reply=reply or own, remote_mta=host if reply else None)
    if reply is None:
        full = isinstance(result.error, ConnectionExhaustedError)
        return replace(recipient, reply=_FULL if full else broken, remote_mta=None)
    if reply.permanent:  # 552 to RCPT, which means too many recipients (RFC 5321 section 4.5.3.1.10)
        reply = Reply(452, reply.text, EnhancedStatus(4, 5, 3))
    return replace(recipient, reply=reply, remote_mta=host)
