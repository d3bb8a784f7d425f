"""Hooks that block, beside the loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from typing import Any

logger = logging.getLogger("mailproto")


class InThreads:
    """Runs some hooks of ``handler``, plain functions that may block, in threads, so that the loop goes on::

        SMTPServer(InThreads(Inbox(), "on_message"))

    What they return is awaited in the loop, if it is to be.

    A thread cannot be stopped: when a hook is cancelled, as a server that closes does in the end, its thread goes on.
    What it returns then is nobody's any more and is closed, if it has a ``close``: a maildrop keeps no lock.

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

    def _in_thread(self, hook: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
        async def run(*arguments: Any) -> Any:
            context = contextvars.copy_context()
            returned: Future[Any] = Future()

            def work() -> Any:
                result = context.run(hook, *arguments)
                returned.set_result(result)
                return result

            try:
                result = await asyncio.get_running_loop().run_in_executor(self._executor, work)
            except asyncio.CancelledError:
                returned.add_done_callback(_close_late)  # at once if it is there, but was not taken yet
                raise
            return await result if inspect.isawaitable(result) else result

        return run


def _close_late(returned: Future[Any]) -> None:
    """Close what a hook has returned to nobody."""
    close = getattr(returned.result(), "close", None)
    if close is not None and inspect.iscoroutine(closing := close()):
        closing.close()
        logger.error("what a hook returned too late could not be closed")


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
