"""A world for every test of the relay."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.relay import World


@pytest.fixture
def world(memory_path: Path) -> World:
    """Return a new world."""
    return World(memory_path)
