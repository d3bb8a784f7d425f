"""Calling the application: optional methods of one object, whose exceptions become answers."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from mailproto._core.flow import Call, Flow
from mailproto._core.server import ServerConnection
from mailproto.errors import GrammarError, LocalProtocolError, Reject

logger = logging.getLogger("mailproto")

INTERNAL_ERROR = Reject(451, "Internal error, try again later", "4.3.0")
"""What the peer is told when a hook fails: never the text of the exception, which may hold anything."""

_REFUSAL = re.compile(r"[45][0-9]{2}(?:[\s-]|\Z)")


class HookCutOffError(Exception):
    """A hook was cancelled, or the pause that a client was made to wait.

    Args:
        when_over: has a function called when the hook has come to its end, as one does in a thread, which nobody can
            stop. None for one that is over.
    """

    def __init__(self, when_over: Callable[[Callable[[], None]], None] | None = None) -> None:
        super().__init__("cancelled")
        self.when_over = when_over


def call_hook(hook: Any, *arguments: Any, cut_off: Callable[[HookCutOffError], None] = lambda _: None) -> Flow[Any]:
    """Return what ``hook(*arguments)`` returns.

    Args:
        cut_off: is told if the hook was cancelled, before anything else is done.

    Raises:
        Reject: as the hook raised it, or `INTERNAL_ERROR` for any other exception, which is logged.
    """
    try:
        return (yield Call(hook, arguments))
    except Exception as error:
        if isinstance(error, HookCutOffError):
            cut_off(error)
        raise refusal_of(hook, error) from None


def check_said(hook: Any, said: object, *words: type) -> None:
    """See whether what a hook said is a yes: None, ``True``, or one of these ``words``, but no text such as "550 no".

    A number may be how many octets were written, or a code, for elsewhere hooks return replies as texts and tuples.
    If it were a yes, mail that was to be refused would be taken, and if only some were, nobody would find out early.

    Raises:
        Reject: it is none; the log says so.
    """
    if said is None or said is True or (isinstance(said, words) and not _is_refusal(said)):
        return
    shown = said if isinstance(said, str | int) else type(said)  # what else there is might be the message
    logger.error("%s returned %.100r, which is no answer: None accepts, raising Reject refuses", _name(hook), shown)
    raise INTERNAL_ERROR


def _is_refusal(said: object) -> bool:
    return isinstance(said, str) and _REFUSAL.match(said) is not None


def refusal_of(hook: Any, error: Exception) -> Reject:
    """Return what the peer is told when a hook raises this: the `Reject`, or `INTERNAL_ERROR`, and the log why."""
    if isinstance(error, Reject):
        return error
    if isinstance(error, HookCutOffError):
        logger.error("the hook was cancelled: %s", _name(hook))
    else:
        logger.error("a hook failed: %s", _name(hook), exc_info=error)
    return INTERNAL_ERROR


def _name(hook: Any) -> str:
    return getattr(hook, "__qualname__", type(hook).__name__)


def forget(refusal: Reject) -> None:
    """Have a refusal that was dealt with forget where it was raised.

    Many an application makes one and raises it over and over. It would remember more each time: the frames of every
    raise, and with them every session and message that was refused.
    """
    refusal.__traceback__ = refusal.__context__ = refusal.__cause__ = None


def answer(conn: ServerConnection[Any], refusal: Reject) -> None:
    """Refuse the pending event with what the application raised, if that can be said, and `forget` the exception."""
    forget(refusal)
    try:
        conn.reject(refusal.code, refusal.text, refusal.enhanced)
    except LocalProtocolError:
        logger.error("a hook rejected what it had answered already")
    except GrammarError as error:
        logger.error("a hook rejected with what cannot be sent: %s", error)
        conn.reject(INTERNAL_ERROR.code, INTERNAL_ERROR.text, INTERNAL_ERROR.enhanced)
