"""Hooks that block, beside the loop."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor, Future
from functools import partial, wraps
from typing import Any

from mailproto.errors import LocalProtocolError

logger = logging.getLogger("mailproto")


class InThreads:
    """Runs some hooks of ``handler``, plain functions that may block, in threads, so that the loop goes on::

        SMTPServer(InThreads(Inbox(), "on_message"))

    What a hook returns to be awaited, as one does that is a coroutine after all, is awaited in the loop. The
    snapshot that a POP3 server's ``on_login`` returns is asked in the loop, too: if it blocks, give the handler
    ``on_retrieve`` and ``on_commit``, which ask it, and name them here.

    A thread cannot be stopped: when a hook is cancelled, as a server that closes does in the end, its thread goes on.
    What it returns then is nobody's any more and is closed, if it has a ``close``: a maildrop keeps no lock. One that
    deletes messages keeps it until it has.

    Args:
        handler: an object with hooks.
        hooks: the names of those that block.
        executor: where they run; None means the loop's own.

    Raises:
        LocalProtocolError: the handler is a class, or has no hook of one of the names, or none is named, so that
            another one would hold up the loop.
    """

    def __init__(self, handler: object, *hooks: str, executor: Executor | None = None) -> None:
        if isinstance(handler, type):
            raise LocalProtocolError("the handler has to be an object, not a class")
        if not hooks:
            raise LocalProtocolError('name the hooks that block, such as "on_message"')
        for name in hooks:
            if not hasattr(handler, name):
                raise LocalProtocolError(f"the handler has no {name} to run in a thread")
        self._handler = handler
        self._hooks = hooks
        self._executor = executor

    def __dir__(self) -> Iterable[str]:
        return dir(self._handler)

    def __getattr__(self, name: str) -> Any:
        hook = getattr(self._handler, name)
        return beside(hook, self._executor) if name in self._hooks else hook


def beside(function: Callable[..., Any], executor: Executor | None = None) -> Callable[..., Awaitable[Any]]:
    """Return ``function`` as one that runs in a thread; what it returns is awaited in the loop, if it is to be."""

    @wraps(function)  # for the log has to say whose hook it was that failed
    async def run(*arguments: Any) -> Any:
        context = contextvars.copy_context()
        returned: Future[Any] = Future()

        def work() -> Any:
            if not returned.set_running_or_notify_cancel():
                return None
            try:
                result = context.run(function, *arguments)
            except BaseException as error:
                returned.set_exception(error)
                raise
            returned.set_result(result)
            return result

        try:
            result = await _submitted(executor, work, returned)
        except asyncio.CancelledError as cancelled:
            if not returned.cancel():  # its turn has come before, and so it goes on
                returned.add_done_callback(_close_late)  # at once if it is there, but was not taken yet
                # No class of our own: before Python 3.13 ``asyncio.timeout`` takes that for somebody else's.
                vars(cancelled)["when_over"] = partial(_when_over, returned)
            raise
        return await result if inspect.isawaitable(result) else result

    return run


def _submitted(executor: Executor | None, work: Callable[[], Any], returned: Future[Any]) -> asyncio.Future[Any]:
    """Have the work done in a thread, and return what waits for it.

    Raises:
        RuntimeError: no thread can be started, and it is not done. The standard library has it in its queue by then,
            for any thread that is free later on, when nobody expects it any more: a login would lock a maildrop.
    """
    try:
        return asyncio.get_running_loop().run_in_executor(executor, work)
    except RuntimeError:
        if returned.cancel():
            raise
        return asyncio.wrap_future(returned)  # one has just become free, and does it


def _when_over(returned: Future[Any], function: Callable[[], None]) -> None:
    """Call ``function`` when what nobody waits for any more has come to its end: at once, or in its thread."""
    returned.add_done_callback(lambda _: function())


def _close_late(returned: Future[Any]) -> None:
    """Close what was returned to nobody."""
    if returned.exception() is not None:
        return
    close = getattr(returned.result(), "close", None)
    if close is not None and inspect.iscoroutine(closing := close()):
        closing.close()
        logger.error("what a hook returned too late could not be closed")


class Beside:
    """An object with all of its methods `beside` the loop."""

    def __init__(self, helper: object) -> None:
        self._helper = helper

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        return beside(getattr(self._helper, name))
