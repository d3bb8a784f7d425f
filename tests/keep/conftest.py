"""A ledger for every test of this folder that asks for one."""

from collections.abc import Iterator

import pytest

from mailproto.ledger import SQLiteLedger


@pytest.fixture
def ledger() -> Iterator[SQLiteLedger]:
    with SQLiteLedger(":memory:", "ada@here") as ledger:
        yield ledger
