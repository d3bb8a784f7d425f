"""SASL (RFC 4422) for SMTP AUTH (RFC 4954) and POP3 AUTH (RFC 5034), client and server.

A mechanism of your own is a class with ``name``, ``reveals_secret`` and ``start``; see `ClientMechanism` and
`ServerMechanism`, and `mailproto.sasl.plain` for how short one is.
"""

from mailproto.sasl.base import (
    Auth,
    AuthResponse,
    Challenge,
    ClientExchange,
    ClientMechanism,
    ClientMechanisms,
    Credentials,
    Identity,
    PasswordCheck,
    Question,
    ServerExchange,
    ServerMechanism,
    ServerMechanisms,
)
from mailproto.sasl.choice import CLIENT_MECHANISMS, SERVER_MECHANISMS, choose_mechanism
from mailproto.sasl.login import LoginClient, LoginServer
from mailproto.sasl.plain import PlainClient, PlainServer

__all__ = [
    "CLIENT_MECHANISMS",
    "SERVER_MECHANISMS",
    "Auth",
    "AuthResponse",
    "Challenge",
    "ClientExchange",
    "ClientMechanism",
    "ClientMechanisms",
    "Credentials",
    "Identity",
    "LoginClient",
    "LoginServer",
    "PasswordCheck",
    "PlainClient",
    "PlainServer",
    "Question",
    "ServerExchange",
    "ServerMechanism",
    "ServerMechanisms",
    "choose_mechanism",
]
