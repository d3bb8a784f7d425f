"""What every maildrop promises, asked of the mbox: all tests of `tests.maildrop.test_contract`."""

from pathlib import Path

import pytest

from mailproto.maildrop import Mbox
from tests.maildrop import test_contract

TESTS = {name: test for name, test in vars(test_contract).items() if name.startswith("test_")}
globals().update(TESTS)


@pytest.fixture
def maildrop(tmp_path: Path) -> Mbox:
    return Mbox(tmp_path / "mbox")


def test_none_is_left_out() -> None:
    assert len(TESTS) >= 17
