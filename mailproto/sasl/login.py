"""LOGIN (draft-murchison-sasl-login): the user name, then the password. Obsolete, and offered by everybody."""

from __future__ import annotations

from mailproto.errors import GrammarError
from mailproto.sasl.base import Challenge, ClientExchange, Credentials, ServerExchange
from mailproto.sasl.identity import PasswordCheck, identify
from mailproto.sasl.text import decode_utf8, encode_utf8, saslprep


class Login:
    """Both sides of LOGIN."""

    name = "LOGIN"
    reveals_secret = True


class LoginClient(Login):
    """The client's side. The first challenge asks for the user, the second for the password, whatever they say."""

    def fits(self, credentials: Credentials) -> bool:
        """Say whether there is a user name and a password, and nobody else to act as."""
        return bool(credentials.username and credentials.password) and credentials.authzid is None

    def start(self, credentials: Credentials) -> ClientExchange:
        """Yield nothing to begin with, then the name, then the password.

        Raises:
            GrammarError: one of them is empty, or there is an ``authzid``, which LOGIN has no place for.
        """
        if not credentials.username or not credentials.password:
            raise GrammarError("the user name and the password must not be empty")
        if credentials.authzid is not None:
            raise GrammarError("LOGIN cannot carry an authorization identity")
        yield None
        yield encode_utf8(credentials.username)
        yield encode_utf8(credentials.password)


class LoginServer(Login):
    """The server's side. A user name may come as the initial response, as many clients send it."""

    def start(self, initial_response: bytes | None) -> ServerExchange:
        """Ask for what did not come along, then ask the application for its opinion."""
        username = initial_response
        if username is None:
            username = yield Challenge(b"Username:")
        password = yield Challenge(b"Password:")
        if not username or not password:
            raise GrammarError("an empty user name or password")
        check = PasswordCheck("LOGIN", saslprep(decode_utf8(username)), decode_utf8(password))
        answer = yield check
        return identify(check, answer)
