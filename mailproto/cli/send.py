"""python -m mailproto send: send one message, and say what became of it for each recipient.

Whom it is from and to its header says, unless it is said here; its Bcc is not sent then.
"""

from __future__ import annotations

import argparse
import sys
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

from mailproto import sync
from mailproto._core.newlines import CanonicalNewlines
from mailproto.cli.options import Progress, UsageError, add_server_options, client_arguments
from mailproto.cli.streams import complain, print_json, say, words_of
from mailproto.errors import GrammarError, MailProtoError
from mailproto.smtp.fixups import without_bcc
from mailproto.smtp.messages.header import read_header
from mailproto.smtp.messages.submission import make_submission
from mailproto.smtp.result import RecipientResult, SendResult
from mailproto.transcript import Transcript


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("send", help="send a message", description=__doc__)
    add_server_options(parser, user_required=False)
    parser.add_argument(
        "--from", dest="sender", metavar="ADDRESS", help="the sender, in place of Sender or From; '' is nobody"
    )
    parser.add_argument(
        "--to",
        dest="recipients",
        action="append",
        metavar="ADDRESS",
        help="a recipient, in place of those in To, Cc and Bcc; repeatable",
    )
    parser.add_argument("file", metavar="FILE", help="the message, with its header; '-' is standard input")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Send the message; the exit status is 0 only if every recipient was accepted."""
    results: list[SendResult] = []
    error: BaseException | None = None
    try:
        _send(options, results)
    except (MailProtoError, OSError, KeyboardInterrupt, UsageError) as raised:
        error = raised
    result = results[0] if results else None  # which stands, whatever has become of the farewell
    if error is None and result is not None:
        error = result.error
    if options.json:
        print_json(_as_json(result, error))
    if isinstance(error, UsageError):
        raise error
    if result is not None and not options.json:
        _tell(result)
    if error is not None:
        complain(words_of(error) if result is not None else _without_result(error))
    return 0 if result is not None and result.ok else 1


def _send(options: argparse.Namespace, results: list[SendResult]) -> None:
    """Send the message, and add what came of it to ``results`` as soon as that is known."""
    message = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    if options.sender is None or options.recipients is None:
        message = _complete_envelope(options, message)
    client = sync.SMTPClient(**client_arguments(options))
    if options.verbose:
        client.conn.trace = Transcript(complain)
    progress = Progress("sent", len(message), wanted=not options.verbose)
    try:
        with client:
            # Files have the line ends of their system; on the wire there is only CRLF.
            result = client.send_message(
                message,
                options.sender,
                options.recipients,
                canonicalise=True,
                progress=(lambda sent, _: progress.show(sent)) if progress.shown else None,
            )
            results.append(result)
    finally:
        progress.end()


def _complete_envelope(options: argparse.Namespace, message: bytes) -> bytes:
    """Take from the header what the options leave open; return the message, which tells nobody who was in its Bcc."""
    newlines = CanonicalNewlines()
    message = newlines.feed(message) + newlines.finish()
    header, _ = read_header(iter([message]))
    parsed = BytesHeaderParser().parsebytes(header)
    found = make_submission(parsed, options.sender, options.recipients)
    if options.recipients is None:
        if parsed.get_payload():  # at a field such as "Subject : x" the parser takes the header to be over
            raise GrammarError("a header that cannot be read to its end, and may name more recipients")
        message = b"".join(without_bcc([message]))
    options.sender = found.reverse_path or ""
    options.recipients = found.forward_paths
    return message


def _without_result(error: BaseException) -> str:
    """Say what became of a message of which nothing else is known. An interrupt may come when the server has it all,
    and its reply is on its way."""
    words = words_of(error)
    return f"{words}: it may have been sent" if isinstance(error, KeyboardInterrupt) else f"not sent: {words}"


def _as_json(result: SendResult | None, error: BaseException | None) -> dict[str, Any]:
    return {
        "ok": result is not None and result.ok,
        "accepted": [str(recipient.address) for recipient in result.accepted] if result else [],
        "refused": _details(result.refused) if result else {},
        "deferred": _details(result.deferred) if result else {},
        "unknown": [str(recipient.address) for recipient in result.unknown] if result else [],
        "reply": str(result.reply) if result and result.reply else None,
        "error": type(error).__name__ if error is not None else None,
    }


def _details(recipients: tuple[RecipientResult, ...]) -> dict[str, dict[str, Any]]:
    return {str(recipient.address): _detail(recipient) for recipient in recipients}


def _detail(recipient: RecipientResult) -> dict[str, Any]:
    reply, error = recipient.reply, recipient.error
    return {
        "code": reply.code if reply else None,
        "enhanced": str(reply.enhanced) if reply and reply.enhanced else None,
        "text": reply.text if reply else str(error) if error else None,
        "phase": recipient.phase,
    }


def _tell(result: SendResult) -> None:
    said = []
    for recipient in result.recipients:
        why = recipient.reply or recipient.error or recipient.phase
        said.append(f"{recipient.address}: {recipient.outcome.value} ({why})")
    say("\n".join(said))
