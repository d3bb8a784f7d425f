"""Examples, each of which runs from a fresh clone with nothing installed: ``python3 -m examples.NAME``."""
