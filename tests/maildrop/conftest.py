"""A Maildir for every test of this folder that asks for one."""

from pathlib import Path

import pytest

from mailproto.maildrop import Maildir


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "maildir"


@pytest.fixture
def maildir(path: Path) -> Maildir:
    return Maildir(path)
