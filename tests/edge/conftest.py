"""Every test of this folder that asks for ``front`` runs on both adapters."""

from collections.abc import Iterator

import pytest

from tests.adapters.facades import AioFront, SyncFront


@pytest.fixture(params=[AioFront, SyncFront], ids=["aio", "sync"])
def front(request: pytest.FixtureRequest) -> Iterator[AioFront | SyncFront]:
    chosen: AioFront | SyncFront = request.param()
    yield chosen
    chosen.close()
