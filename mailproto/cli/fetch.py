"""``python -m mailproto fetch``: fetch a maildrop, and delete from the server what is safely stored."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mailproto import sync
from mailproto.cli.options import Progress, add_server_options, client_arguments, complain, print_json
from mailproto.errors import MailProtoError
from mailproto.maildrop import Maildir
from mailproto.transcript import Transcript

Store = Callable[[Iterable[bytes]], object]


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("fetch", help="fetch a maildrop", description=__doc__)
    add_server_options(parser, user_required=True)
    parser.add_argument("--keep", action="store_true", help="leave the messages on the server")
    parser.add_argument(
        "--maildir",
        metavar="DIR",
        help="store the messages in this Maildir; without it they go to standard output, or with --json nowhere, "
        "and then they stay on the server",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Fetch; the exit status is 0 only if everything was fetched, and deleted where that was wanted."""
    fetched: list[dict[str, Any]] = []
    error: Exception | None = None
    try:
        _fetch(options, fetched)
    except (MailProtoError, OSError) as raised:
        error = raised
    if options.json:
        failure = type(error).__name__ if error is not None else None
        print_json({"ok": error is None, "messages": fetched, "error": failure})
    elif error is not None:
        complain(f"{type(error).__name__}: {error}")
    return 0 if error is None else 1


def _fetch(options: argparse.Namespace, fetched: list[dict[str, Any]]) -> None:
    store, safe = _store(options)
    client = sync.POP3Client(**client_arguments(options))
    if options.verbose:
        client.conn.trace = Transcript(complain)
    with client as pop:
        listing = pop.listing()
        progress = Progress("fetched", sum(message.size for message in listing))
        for message in pop.messages(listing):
            digest = _Digest(message)
            store(digest)
            fetched.append(
                {"number": message.number, "uid": message.uid, "size": digest.size, "sha256": digest.hexdigest()}
            )
            if safe and not options.keep:
                message.delete()
            progress.show(sum(entry["size"] for entry in fetched))
        progress.end()


def _store(options: argparse.Namespace) -> tuple[Store, bool]:
    """Return where messages go, and whether they are safe there."""
    if options.maildir is not None:
        return Maildir(options.maildir).deliver, True
    if options.json:
        return _drop, False
    return _write, True


def _drop(content: Iterable[bytes]) -> None:
    for _ in content:
        pass


def _write(content: Iterable[bytes]) -> None:
    sys.stdout.buffer.writelines(content)
    sys.stdout.buffer.flush()


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
