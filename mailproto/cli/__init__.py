"""The command line: thin, and made of the public names alone.

``serve`` runs a small mail host, ``send`` sends a message, ``fetch`` fetches a maildrop, ``probe`` looks at a server,
``scram-key`` makes what a server keeps of a password.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mailproto.cli import fetch, probe, scram_key, send, serve, streams


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that ``arguments`` (or the program's own) ask for, and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m mailproto", description="SMTP and POP3, client and server.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in (serve, send, fetch, probe, scram_key):
        command.add_parser(commands)
    options = parser.parse_args(arguments)
    streams.prepare()
    try:
        status: int = options.run(options)
    except KeyboardInterrupt:
        return 1  # where there was nothing yet to report
    return status
