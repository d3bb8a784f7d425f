"""PLAIN (RFC 4616): the identity and the password in one response. Only ever under TLS."""

from __future__ import annotations

from mailproto.errors import GrammarError
from mailproto.sasl.base import Challenge, ClientExchange, Credentials, ServerExchange
from mailproto.sasl.identity import PasswordCheck, authorize, identify, prepare_authzid
from mailproto.sasl.text import decode_utf8, encode_utf8, saslprep


class Plain:
    """Both sides of PLAIN."""

    name = "PLAIN"
    reveals_secret = True


class PlainClient(Plain):
    """The client's side."""

    def fits(self, credentials: Credentials) -> bool:
        """Say whether there is a user name and a password."""
        return bool(credentials.username and credentials.password)

    def start(self, credentials: Credentials) -> ClientExchange:
        """Yield ``authzid NUL authcid NUL password``.

        Raises:
            GrammarError: a part is empty, or has a NUL in it.
        """
        yield encode_plain(credentials)


class PlainServer(Plain):
    """The server's side."""

    def start(self, initial_response: bytes | None) -> ServerExchange:
        """Ask for the response if it did not come along, then ask the application for its opinion."""
        response = initial_response
        if response is None:
            response = yield Challenge(b"")
        check = parse_plain(response)
        answer = yield check
        return (yield from authorize(identify(check, answer), check.authzid, check.username))


def encode_plain(credentials: Credentials) -> bytes:
    """Return the message of RFC 4616 section 2 for these credentials.

    Raises:
        GrammarError: the user name or the password is empty, or has a NUL in it; or a name is none to SASLprep.
    """
    authzid = prepare_authzid(credentials.authzid or "")
    parts = (authzid or "", credentials.username, credentials.password)
    if not credentials.username or not credentials.password:
        raise GrammarError("the user name and the password must not be empty")
    if any("\0" in part for part in parts):
        raise GrammarError("NUL in a user name or password")
    return encode_utf8("\0".join(parts))


def parse_plain(response: bytes) -> PasswordCheck:
    """Return what a message of RFC 4616 section 2 says, the names prepared with SASLprep.

    Raises:
        GrammarError: not exactly two NULs, an empty name or password, not UTF-8, or a name that SASLprep refuses.
    """
    parts = response.split(b"\0")
    if len(parts) != 3 or not parts[1] or not parts[2]:
        raise GrammarError("not a PLAIN message")
    authzid, username, password = map(decode_utf8, parts)
    return PasswordCheck("PLAIN", saslprep(username), password, prepare_authzid(authzid))
