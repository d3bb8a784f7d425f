"""python -m mailproto fetch: fetch a maildrop, and delete from the server what is safely stored."""

from __future__ import annotations

import argparse
import hashlib
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

from mailproto import sync
from mailproto.cli.options import Progress, UsageError, add_server_options, client_arguments, count, days
from mailproto.cli.streams import complain, is_terminal, print_json, settle, words_of, write
from mailproto.errors import ConnectionClosedError, MailProtoError
from mailproto.ledger import MaildirStore, SQLiteLedger
from mailproto.maildrop import Maildir, mbox_entry
from mailproto.pop3.flows.client import POP3_PORT, POP3S_PORT
from mailproto.pop3.flows.keep import KeepPolicy, KeepReport, Note
from mailproto.pop3.response import ResponseError
from mailproto.transcript import Transcript

Store = Callable[[Iterable[bytes]], object]

_IN_MEMORY = 1 << 20


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("fetch", help="fetch a maildrop", description=__doc__)
    add_server_options(parser, user_required=True)
    parser.add_argument("--keep", action="store_true", help="leave the messages on the server")
    parser.add_argument(
        "--maildir",
        metavar="DIR",
        help="store the messages in this Maildir; without it they go to standard output as they are, one behind the "
        "other and nothing between them, or with --json nowhere. What went to a terminal, or nowhere, stays on the "
        "server",
    )
    parser.add_argument(
        "--mbox",
        action="store_true",
        help="write to standard output in the mbox format of RFC 4155, in which the messages can be told apart",
    )
    kept = parser.add_argument_group("fetch only what is new (with --maildir)")
    kept.add_argument("--ledger", metavar="FILE", help="remember in this file what was fetched")
    kept.add_argument("--delete-after", type=days, metavar="DAYS", help="delete what was fetched so long ago")
    kept.add_argument("--delete-over", type=count, metavar="BYTES", help="delete what is larger once it was fetched")
    kept.add_argument("--max-size", type=count, metavar="BYTES", help="leave larger messages on the server")
    kept.add_argument("--limit", type=count, metavar="N", help="fetch so many messages at most")
    kept.add_argument(
        "--no-unique-ids",
        action="store_true",
        help="tell messages by their content, which takes fetching all of them: for a server whose ids are no good",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Fetch; the exit status is 0 only if everything was fetched, and deleted where that was wanted."""
    fetched: list[dict[str, Any]] = []
    error: BaseException | None = None
    try:
        _check(options)
        (_fetch if options.ledger is None else _fetch_new)(options, fetched)
    except (MailProtoError, OSError, sqlite3.Error, KeyboardInterrupt, UsageError) as raised:
        error = raised
    if options.json:
        failure = type(error).__name__ if error is not None else None
        print_json({"ok": error is None, "messages": fetched, "error": failure})
    if isinstance(error, UsageError):
        raise error
    if error is not None:
        option = "--ledger: " if isinstance(error, sqlite3.Error) else ""  # which SQLite does not say
        complain(f"{option}{words_of(error)}")
    return 0 if error is None else 1


def _check(options: argparse.Namespace) -> None:
    given = (options.delete_after, options.delete_over, options.max_size, options.limit)
    if options.ledger is None and (options.no_unique_ids or any(option is not None for option in given)):
        raise UsageError("--delete-after, --delete-over, --max-size, --limit and --no-unique-ids go with --ledger")
    if options.ledger is not None and options.maildir is None:
        raise UsageError("--ledger goes with --maildir")
    if options.mbox and (options.maildir is not None or options.json):
        raise UsageError("--mbox is for standard output, and goes with neither --maildir nor --json")


def _fetch(options: argparse.Namespace, fetched: list[dict[str, Any]]) -> None:
    store, safe = _store(options)
    deleting = safe and not options.keep
    refusals: list[ResponseError] = []
    failure: OSError | None = None
    with _client(options) as pop:
        listing = pop.listing()
        progress = Progress("fetched", sum(message.size for message in listing), wanted=not options.verbose)
        messages = _given(pop.messages(listing), refusals)
        try:
            for octets in _store_each(messages, store, fetched, deleting=deleting):
                progress.show(octets)
        except OSError as error:
            if options.maildir is None or isinstance(error, MailProtoError):  # nothing is safe, or the line broke
                raise
            failure = error  # behind QUIT: what was stored is deleted, or it would be stored once more each time
        finally:
            progress.end()
        if deleting:
            settle()  # before QUIT, which is what deletes
    if fetched and not (options.keep or options.json or safe):
        complain("the messages stay on the server, for a terminal keeps none")
    if failure is not None:
        raise failure
    _report(refusals)


def _given(messages: sync.Messages, refusals: list[ResponseError]) -> Iterator[sync.Message]:
    """Pass on the messages that the server gives, and note what it refuses: that stops none of the others."""
    while True:
        try:
            yield next(messages)
        except StopIteration:
            return
        except ResponseError as refusal:
            refusals.append(refusal)


def _store_each(
    messages: Iterable[sync.Message], store: Store, fetched: list[dict[str, Any]], *, deleting: bool
) -> Iterator[int]:
    """Store messages, note each, and mark it as deleted if that is wanted; yield the octets stored so far."""
    octets = 0
    for message in messages:
        digest = _Digest(message)
        store(digest)
        fetched.append(
            {"number": message.number, "uid": message.uid, "size": digest.size, "sha256": digest.hexdigest()}
        )
        if deleting:
            message.delete()
        octets += digest.size
        yield octets


def _report(refusals: list[ResponseError]) -> None:
    """Raise the last of what the server refused, having named the others: not all was fetched, or not deleted."""
    for refusal in refusals[:-1]:
        complain(f"refused: {refusal}")
    if refusals:
        raise refusals[-1]


def _fetch_new(options: argparse.Namespace, fetched: list[dict[str, Any]]) -> None:
    account = _account(options)
    policy = KeepPolicy(
        keep=options.keep or (options.delete_after, options.delete_over) != (None, None),
        delete_after=None if options.delete_after is None else options.delete_after * 86400,
        delete_over=options.delete_over,
        max_size=options.max_size,
        limit=options.limit,
        unique_ids=not options.no_unique_ids,
    )
    report = KeepReport()
    progress = Progress("stored", None, wanted=not options.verbose)
    store = _shown(MaildirStore(Maildir(options.maildir), account), progress)
    try:
        with SQLiteLedger(options.ledger, account) as ledger, _client(options) as pop:
            pop.fetch_new(ledger, store, policy, report=report)
    finally:
        progress.end()
        fetched += map(asdict, report.fetched)
        if report.broken_off is not None:
            complain(f"broken off at message {report.broken_off.number}, which is tried last the next time")
    for message in report.too_big:
        complain(f"left on the server: message {message.number} has {message.size} octets")
    _report(report.refused)
    if report.left_out:
        numbers = ", ".join(str(message.number) for message in report.left_out)
        raise ConnectionClosedError(f"left out, because runs have broken off there: message {numbers}")


def _account(options: argparse.Namespace) -> str:
    """Return whose maildrop it is. On both ports of POP3 it is the same one; on any other there may be another."""
    host, port = options.server
    host = f"[{host.lower()}]" if ":" in host else host.lower()
    return f"{options.user}@{host}" if port in (None, POP3_PORT, POP3S_PORT) else f"{options.user}@{host}:{port}"


def _client(options: argparse.Namespace) -> sync.POP3Client:
    client = sync.POP3Client(**client_arguments(options))
    if options.verbose:
        client.conn.trace = Transcript(complain)
    return client


def _store(options: argparse.Namespace) -> tuple[Store, bool]:
    """Return where messages go, one whole one after the other, and whether they are safe there."""
    if options.maildir is not None:
        return Maildir(options.maildir).deliver, True
    if options.json:
        return _drop, False
    if options.mbox:
        return _write_mbox, not is_terminal()
    return _write, not is_terminal()


def _write(content: Iterable[bytes]) -> None:
    """Write a message as it is, but only when all of it is here: half of one could not be told from a whole one."""
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
        spool.writelines(content)
        spool.seek(0)
        write(iter(partial(spool.read, _IN_MEMORY), b""))


def _write_mbox(content: Iterable[bytes]) -> None:
    write(mbox_entry(content))


def _drop(content: Iterable[bytes]) -> None:
    for _ in content:
        pass


def _shown(store: MaildirStore, progress: Progress) -> Callable[[Note, Iterable[bytes]], None]:
    """Return ``store``, which shows meanwhile how much it has stored so far."""
    octets = 0

    def passing(content: Iterable[bytes]) -> Iterator[bytes]:
        nonlocal octets
        for piece in content:
            octets += len(piece)
            progress.show(octets)
            yield piece

    return lambda note, content: store(note, passing(content))


class _Digest:
    """Passes a message on, and takes its measure."""

    def __init__(self, content: Iterable[bytes]) -> None:
        self.size = 0
        self._content = content
        self._hash = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._content:
            self.size += len(piece)
            self._hash.update(piece)
            yield piece

    def hexdigest(self) -> str:
        """Return the digest of what has passed."""
        return self._hash.hexdigest()
