"""ANONYMOUS (RFC 4505): nobody in particular, with a word about who it may be. Off by default on both sides."""

from __future__ import annotations

import stringprep
from dataclasses import dataclass

from mailproto.errors import GrammarError
from mailproto.sasl.base import Challenge, ClientExchange, Credentials, Identity, Question, ServerExchange
from mailproto.sasl.identity import name_of
from mailproto.sasl.text import check_direction, decode_utf8, encode_utf8

_MAX_TRACE = 255
_PROHIBITED = (
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


class Anonymous:
    """Both sides of ANONYMOUS."""

    name = "ANONYMOUS"
    reveals_secret = False


class AnonymousClient(Anonymous):
    """The client's side. The user name, if there is one, goes as the trace."""

    def fits(self, credentials: Credentials) -> bool:
        """Say whether there is no secret, which would be lost on this mechanism."""
        return not credentials.password and not credentials.token

    def start(self, credentials: Credentials) -> ClientExchange:
        """Yield the trace.

        Raises:
            GrammarError: it has more than 255 characters, or one that is prohibited.
        """
        yield encode_utf8(check_trace(credentials.username))


@dataclass(frozen=True, slots=True)
class AnonymousCheck(Question):
    """May anybody in? The answer is true, or the name that nobody in particular goes by, or false.

    ``trace`` is what the client says about itself: an address, or anything, and true or false.
    """

    trace: str
    mechanism: str = "ANONYMOUS"


class AnonymousServer(Anonymous):
    """The server's side."""

    def start(self, initial_response: bytes | None) -> ServerExchange:
        """Ask for the trace if it did not come along, then ask the application for its opinion."""
        trace = initial_response
        if trace is None:
            trace = yield Challenge(b"")
        name = name_of((yield AnonymousCheck(check_trace(decode_utf8(trace)))), "anonymous")
        return Identity(name, self.name) if name else None


def check_trace(trace: str) -> str:
    """Return ``trace`` if it may be one (RFC 4505 sections 2 and 3), raise `GrammarError` otherwise."""
    if len(trace) > _MAX_TRACE or any(prohibited(char) for char in trace for prohibited in _PROHIBITED):
        raise GrammarError("not a trace: too long, or with a character that is prohibited")
    check_direction(trace)
    return trace
