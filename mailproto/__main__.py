"""``python -m mailproto``: serve, send, fetch and relay mail without a line of code."""

from __future__ import annotations

import sys

from mailproto.cli import main

if __name__ == "__main__":
    sys.exit(main())
