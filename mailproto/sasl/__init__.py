"""SASL (RFC 4422) for SMTP AUTH (RFC 4954) and POP3 AUTH (RFC 5034), client and server.

A server's mechanisms ask its handler by these hooks; to what it has no hook for the answer is no::

    on_auth(session, check)                   a `PasswordCheck`, or where such mechanisms are offered a `TokenCheck`,
                                              an `ExternalCheck`, a `CramMD5Check` or an `AnonymousCheck`: returns
                                              True, or the name of who it is; all else lets nobody in
    on_scram_key(session, request)            a `ScramKeyRequest`: returns the `ScramKey`, or None
    on_authorize(session, identity, authzid)  may this `Identity` act as that one? returns true or false

A mechanism of your own is a class with ``name``, ``reveals_secret`` and ``start``, and on the client ``fits``; see
`ClientMechanism` and `ServerMechanism`, and `mailproto.sasl.plain` for how short one is.
"""

from mailproto.sasl.anonymous import AnonymousCheck, AnonymousClient, AnonymousServer
from mailproto.sasl.base import (
    Auth,
    AuthResponse,
    Challenge,
    Channel,
    ChannelRequest,
    ClientExchange,
    ClientMechanism,
    ClientMechanisms,
    Compute,
    Credentials,
    CredentialsSource,
    Identity,
    InitialResponseError,
    Question,
    Request,
    ServerExchange,
    ServerMechanism,
    ServerMechanisms,
)
from mailproto.sasl.binding import ChannelBinding, client_bindings, end_point_binding, server_bindings
from mailproto.sasl.choice import (
    CLIENT_MECHANISMS,
    SERVER_MECHANISMS,
    choose_mechanism,
    client_mechanisms,
    default_mechanisms,
    offerable,
    server_mechanisms,
)
from mailproto.sasl.cram_md5 import CramMD5Check, CramMD5Client, CramMD5Server
from mailproto.sasl.external import ExternalCheck, ExternalClient, ExternalServer
from mailproto.sasl.identity import AUTH_HOOKS, Authorization, PasswordCheck, authorize, identify
from mailproto.sasl.login import LoginClient, LoginServer
from mailproto.sasl.plain import PlainClient, PlainServer
from mailproto.sasl.scram_client import ScramClient
from mailproto.sasl.scram_key import ScramKey, ScramPassword, decoy_scram_key, make_scram_key
from mailproto.sasl.scram_server import ScramKeyRequest, ScramServer
from mailproto.sasl.text import saslprep
from mailproto.sasl.tokens import (
    OAuthBearerClient,
    OAuthBearerServer,
    TokenCheck,
    TokenRefusal,
    TokenRefusedError,
    XOAuth2Client,
    XOAuth2Server,
)

__all__ = [
    "AUTH_HOOKS",
    "CLIENT_MECHANISMS",
    "SERVER_MECHANISMS",
    "AnonymousCheck",
    "AnonymousClient",
    "AnonymousServer",
    "Auth",
    "AuthResponse",
    "Authorization",
    "Challenge",
    "Channel",
    "ChannelBinding",
    "ChannelRequest",
    "ClientExchange",
    "ClientMechanism",
    "ClientMechanisms",
    "Compute",
    "CramMD5Check",
    "CramMD5Client",
    "CramMD5Server",
    "Credentials",
    "CredentialsSource",
    "ExternalCheck",
    "ExternalClient",
    "ExternalServer",
    "Identity",
    "InitialResponseError",
    "LoginClient",
    "LoginServer",
    "OAuthBearerClient",
    "OAuthBearerServer",
    "PasswordCheck",
    "PlainClient",
    "PlainServer",
    "Question",
    "Request",
    "ScramClient",
    "ScramKey",
    "ScramKeyRequest",
    "ScramPassword",
    "ScramServer",
    "ServerExchange",
    "ServerMechanism",
    "ServerMechanisms",
    "TokenCheck",
    "TokenRefusal",
    "TokenRefusedError",
    "XOAuth2Client",
    "XOAuth2Server",
    "authorize",
    "choose_mechanism",
    "client_bindings",
    "client_mechanisms",
    "decoy_scram_key",
    "default_mechanisms",
    "end_point_binding",
    "identify",
    "make_scram_key",
    "offerable",
    "saslprep",
    "server_bindings",
    "server_mechanisms",
]
