"""Contents of messages, for hypothesis: apart, since no process that a test starts has need of it."""

from __future__ import annotations

from hypothesis import strategies as st

_LINE = st.sampled_from([b"", b".", b"..", b"From x", b"\0", b"\xff\xfe", b"a" * 3000]) | st.binary(max_size=40).map(
    lambda line: line.translate(None, b"\r\n")
)

CONTENTS = st.lists(_LINE, max_size=12).map(b"\r\n".join)
"""Any message whose lines end in CRLF: dots, empty lines, 8-bit, NUL, and often no CRLF at the end."""

MESSY_CONTENTS = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"x", b".", b"\0"]), max_size=20).map(b"".join)
"""Any text with bare CRs and LFs in it."""

CUTS = st.lists(st.integers(0, 5000), max_size=6)
"""Where to cut a message."""
