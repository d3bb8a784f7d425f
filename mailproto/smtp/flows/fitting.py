"""Fitting a message to what the server offers: the parameters of MAIL, and whether it goes with DATA or BDAT."""

from __future__ import annotations

from mailproto.errors import GrammarError, NotSupportedError
from mailproto.smtp.client import SMTPClientConnection
from mailproto.smtp.messages.content import Content
from mailproto.smtp.messages.submission import Submission
from mailproto.smtp.parameters import Body, MailParameters, Needed


def uses_utf8(conn: SMTPClientConnection, submission: Submission) -> bool:
    """Say whether the message is to go with SMTPUTF8: it calls for it, and the server offers it.

    Where the server does not, addresses are sent in ASCII, which some of them have no form for.
    """
    return conn.uses("SMTPUTF8") and submission.needs_utf8


def needed_parameters(conn: SMTPClientConnection, submission: Submission, content: Content, *, utf8: bool) -> Needed:
    """Return what the message itself needs MAIL to say, beside what the caller says.

    Raises:
        NotSupportedError: the message needs what the server does not offer.
        GrammarError: the caller says that it is 7-bit, and it is not.
    """
    values = submission.parameters
    needed: Needed = {}
    size = _size_to_tell(conn, content)
    if size is not None:
        needed["size"] = size
    if _needs_eight_bit(conn, values, content):
        needed["body"] = Body.EIGHT_BIT_MIME
    if utf8:
        needed["smtputf8"] = True
    if len(submission.recipients) > 1 and conn.uses("PRDR") and not conn.config.lmtp:
        needed["prdr"] = True
    return needed


def suits_chunks(conn: SMTPClientConnection, parameters: MailParameters) -> bool:
    """Say whether the message is to go with BDAT: it has to if it is binary, and does if the server offers it.

    It saves the round trip of DATA, and the search for dots.
    """
    return conn.uses("CHUNKING") and (conn.config.chunking or parameters.body is Body.BINARY_MIME)


def _needs_eight_bit(conn: SMTPClientConnection, values: MailParameters, content: Content) -> bool:
    """Say whether 8-bit octets have to be declared; a message that is not known is taken to have some."""
    if values.body is None:
        if content.eight_bit and not conn.uses("8BITMIME"):
            raise NotSupportedError("the message has 8-bit octets, and the server does not offer 8BITMIME")
        return content.eight_bit is not False and conn.uses("8BITMIME")
    if values.body is Body.BINARY_MIME and not (conn.uses("BINARYMIME") and conn.uses("CHUNKING")):
        raise NotSupportedError("the message is binary, and the server does not offer BINARYMIME")
    if values.body is Body.SEVEN_BIT and content.eight_bit:
        raise GrammarError("8-bit octets in a message that was declared 7-bit")
    return False


def _size_to_tell(conn: SMTPClientConnection, content: Content) -> int | None:
    """Return the size of the message, if it is known, and the server wants to know it."""
    size, limit = content.size, conn.max_message_size
    if size is not None and limit is not None and size > limit:
        raise NotSupportedError(f"the message has {size} octets, and the server takes {limit}")
    return size if conn.uses("SIZE") else None
