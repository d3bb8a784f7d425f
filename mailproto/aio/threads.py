"""Hooks that block, beside the loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import Any


class InThreads:
    """Runs some hooks of ``handler``, plain functions that may block, in threads, so that the loop goes on::

        SMTPServer(InThreads(Inbox(), "on_message"))

    Args:
        handler: an object with hooks.
        hooks: the names of those that block.
        executor: where they run; None means the loop's own.
    """

    def __init__(self, handler: object, *hooks: str, executor: Executor | None = None) -> None:
        self._handler = handler
        self._hooks = hooks
        self._executor = executor

    def __getattr__(self, name: str) -> Any:
        hook = getattr(self._handler, name)
        return self._in_thread(hook) if name in self._hooks else hook

    def _in_thread(self, hook: Callable[..., Any]) -> Callable[..., asyncio.Future[Any]]:
        def run(*arguments: Any) -> asyncio.Future[Any]:
            context = contextvars.copy_context()
            loop = asyncio.get_running_loop()
            return loop.run_in_executor(self._executor, context.run, hook, *arguments)

        return run


def beside(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """Return ``function`` as one that runs in a thread; what it returns is awaited in the loop, if it is to be."""

    async def run(*arguments: Any) -> Any:
        result = await asyncio.to_thread(function, *arguments)
        return await result if inspect.isawaitable(result) else result

    return run


class Beside:
    """An object with all of its methods `beside` the loop."""

    def __init__(self, helper: object) -> None:
        self._helper = helper

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return beside(getattr(self._helper, name))
