"""The command line: thin, and made of the public names alone.

``serve`` runs a small mail host, ``send`` sends a message, ``fetch`` fetches a maildrop, ``probe`` looks at a server,
``relay`` runs a small relay and ``queue`` shows and controls what it has, ``scram-key`` makes what a server keeps of
a password.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from mailproto import __version__
from mailproto.cli import streams

_COMMANDS = ("serve", "send", "fetch", "probe", "relay", "queue", "scram-key")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that ``arguments`` (or the program's own) ask for, and return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(prog="python -m mailproto", description="SMTP and POP3, client and server.")
    parser.add_argument("--version", action="version", version=f"mailproto {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    # Only the command that is named is loaded; all are where none is, for the help to show them.
    for name in [name for name in _COMMANDS if name in arguments[:1]] or _COMMANDS:
        import_module(f"mailproto.cli.{name.replace('-', '_')}").add_parser(commands)
    options = parser.parse_args(arguments)
    streams.prepare()
    try:
        status: int = options.run(options)
    except KeyboardInterrupt:
        return 1  # where there was nothing yet to report
    finally:
        streams.finish()
    return status
