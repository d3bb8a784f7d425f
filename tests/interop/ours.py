"""Our own clients as the real servers meet them: those over asyncio under the same blocking calls as the others."""

import asyncio
import contextlib
import inspect
from collections.abc import Iterator
from typing import Any, Literal, Self

from mailproto import aio, sync
from mailproto.transcript import Transcript
from tests import data

Adapter = Literal["sync", "aio"]
ADAPTERS: tuple[Adapter, ...] = ("sync", "aio")


@contextlib.contextmanager
def client(adapter: Adapter, kind: str, port: int, **arguments: Any) -> Iterator[Any]:
    """Connect an SMTPClient or POP3Client, and yield it. It trusts the tests' own authority, unless told otherwise.

    Its attribute ``said`` is the conversation, a `Transcript`.
    """
    module: Any = {"sync": sync, "aio": aio}[adapter]
    made = getattr(module, kind)(**{"host": "localhost", "port": port, "cafile": data.CA, **arguments})
    made.said = made.conn.trace = Transcript()
    if adapter == "sync":
        with made:
            yield made
    else:
        with asyncio.Runner() as runner, Blocking(made, runner) as blocking:
            yield blocking


@contextlib.contextmanager
def pool(adapter: Adapter, **arguments: Any) -> Iterator[Any]:
    """Open an SMTPPool of clients with these arguments, and yield it."""
    if adapter == "sync":
        with sync.SMTPPool(lambda: sync.SMTPClient("localhost", **arguments)) as ours:
            yield ours
    else:
        theirs = aio.SMTPPool(lambda: aio.SMTPClient("localhost", **arguments))
        with asyncio.Runner() as runner, Blocking(theirs, runner) as blocking:
            yield blocking


class Blocking:
    """An object from asyncio whose coroutines are run to their end where they are called."""

    def __init__(self, inner: Any, runner: asyncio.Runner) -> None:
        self._inner = inner
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        return self._blocking(attribute) if inspect.ismethod(attribute) else attribute

    def _blocking(self, method: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            result = method(*arguments, **options)
            if inspect.iscoroutine(result):
                return self._runner.run(result)
            return Blocking(result, self._runner) if hasattr(result, "__anext__") else result

        return call

    def __enter__(self) -> Self:
        self._runner.run(self._inner.__aenter__())
        return self

    def __exit__(self, *reason: Any) -> None:
        self._runner.run(self._inner.__aexit__(*reason))

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                item = self._runner.run(self._inner.__anext__())
            except StopAsyncIteration:
                return
            yield Blocking(item, self._runner) if hasattr(item, "__anext__") else item
