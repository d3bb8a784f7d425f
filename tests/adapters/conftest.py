"""Every test of this folder that asks for an adapter runs on both."""

from collections.abc import Iterator

import pytest

from tests.adapters.facades import AioFront, SyncFront
from tests.adapters.harness import Aio, Sync


@pytest.fixture(params=[Aio, Sync], ids=["aio", "sync"])
def adapter(request: pytest.FixtureRequest) -> Iterator[Aio | Sync]:
    chosen: Aio | Sync = request.param()
    yield chosen
    chosen.close()


@pytest.fixture(params=[AioFront, SyncFront], ids=["aio", "sync"])
def front(request: pytest.FixtureRequest) -> Iterator[AioFront | SyncFront]:
    chosen: AioFront | SyncFront = request.param()
    yield chosen
    chosen.close()
