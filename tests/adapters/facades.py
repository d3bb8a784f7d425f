"""The clients and servers of both adapters under one blocking interface."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from mailproto import aio, sync
from tests.adapters.harness import Loop


class Blocking:
    """Something of `mailproto.aio`, made to look like its twin in `mailproto.sync`."""

    def __init__(self, loop: Loop, target: Any) -> None:
        self._loop = loop
        self._target = target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        return self._blocking(value) if inspect.ismethod(value) else self._wrap(value)

    def _blocking(self, method: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            result = method(*arguments, **keywords)
            return self._wrap(self._loop.run(result) if inspect.iscoroutine(result) else result)

        return call

    def _wrap(self, value: Any) -> Any:
        return Blocking(self._loop, value) if isinstance(value, aio.Message | aio.Messages) else value

    def __iter__(self) -> Iterator[Any]:
        aiter(self._target)
        return self

    def __next__(self) -> Any:
        try:
            return self._wrap(self._loop.run(self._target.__anext__()))
        except StopAsyncIteration:
            raise StopIteration from None

    def __enter__(self) -> Self:
        self._loop.run(self._target.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.run(self._target.__aexit__(kind, error, traceback))

    def __reduce__(self) -> Any:
        return self._target.__reduce__()

    def __repr__(self) -> str:
        return repr(self._target)


class AioFront:
    """`mailproto.aio`, its loop in a thread."""

    name = "aio"

    def __init__(self) -> None:
        self.loop = Loop()

    def __getattr__(self, name: str) -> Any:
        make = getattr(aio, name)

        async def made(*arguments: Any, **keywords: Any) -> Any:
            return make(*arguments, **keywords)

        return lambda *arguments, **keywords: Blocking(self.loop, self.loop.run(made(*arguments, **keywords)))

    def handler(self, function: Any) -> Any:
        """Return a handler over events that does what the plain ``function`` does to each event."""

        async def handle(session: Any) -> None:
            async for event in session:
                if function(session, event):
                    return

        return handle

    def close(self) -> None:
        self.loop.stop()


class SyncFront:
    """`mailproto.sync`."""

    name = "sync"

    def __getattr__(self, name: str) -> Any:
        return getattr(sync, name)

    def handler(self, function: Any) -> Any:
        """Return a handler over events that does what ``function`` does to each event."""

        def handle(session: Any) -> None:
            for event in session:
                if function(session, event):
                    return

        return handle

    def close(self) -> None:
        pass
