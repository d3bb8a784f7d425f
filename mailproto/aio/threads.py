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

    What a hook returns to be awaited, as one does that is a coroutine after all, is awaited in the loop.

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
        return beside(hook, self._executor) if name in self._hooks else hook


def beside(function: Callable[..., Any], executor: Executor | None = None) -> Callable[..., Awaitable[Any]]:
    """Return ``function`` as one that runs in a thread; what it returns is awaited in the loop, if it is to be."""

    async def run(*arguments: Any) -> Any:
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        result = await loop.run_in_executor(executor, context.run, function, *arguments)
        return await result if inspect.isawaitable(result) else result

    return run


class Beside:
    """An object with all of its methods `beside` the loop."""

    def __init__(self, helper: object) -> None:
        self._helper = helper

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return beside(getattr(self._helper, name))
