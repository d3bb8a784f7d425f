"""Which mechanism a client takes, and which ones a server offers."""

from collections.abc import Sequence
from typing import Any

import pytest

from mailproto._core.events import TLSInfo
from mailproto.errors import AuthenticationError
from mailproto.sasl import (
    CLIENT_MECHANISMS,
    SERVER_MECHANISMS,
    ClientExchange,
    Credentials,
    ScramClient,
    ScramServer,
    choose_mechanism,
    client_mechanisms,
    default_mechanisms,
    offerable,
    server_mechanisms,
)
from tests.sasl_mechanisms.talk import ADA

TOKEN = Credentials("ada", token="abc")
BOTH = Credentials("ada", "open-sesame", token="abc")
NEITHER = Credentials("ada")
ALL = list(SERVER_MECHANISMS)


def choose(offered: Sequence[str] = ALL, credentials: Credentials | None = ADA, **options: Any) -> str:
    return choose_mechanism(offered, secure=True, credentials=credentials, **options).name


def test_the_order() -> None:
    assert (
        list(CLIENT_MECHANISMS)
        == list(SERVER_MECHANISMS)
        == [
            "SCRAM-SHA-512-PLUS",
            "SCRAM-SHA-256-PLUS",
            "SCRAM-SHA-1-PLUS",
            "SCRAM-SHA-512",
            "SCRAM-SHA-256",
            "SCRAM-SHA-1",
            "OAUTHBEARER",
            "XOAUTH2",
            "EXTERNAL",
            "PLAIN",
            "LOGIN",
            "CRAM-MD5",
            "ANONYMOUS",
        ]
    )


def test_best_first() -> None:
    """Take away one after the other, and the next is taken."""
    left, taken = list(ALL), []
    while left:
        try:
            taken.append(choose(left, BOTH, can_bind=True))
        except AuthenticationError:
            break
        left.remove(taken[-1])
    assert taken == [name for name in ALL if name not in ("EXTERNAL", "CRAM-MD5", "ANONYMOUS")]


@pytest.mark.parametrize(
    ("credentials", "offered", "taken"),
    [
        (TOKEN, ALL, "OAUTHBEARER"),
        (TOKEN, ["PLAIN", "XOAUTH2"], "XOAUTH2"),
        (ADA, ["PLAIN", "XOAUTH2"], "PLAIN"),
        (NEITHER, ALL, "EXTERNAL"),
        (Credentials(), ["PLAIN", "EXTERNAL"], "EXTERNAL"),
        (Credentials("ada", "key \U0001f511"), ALL, "PLAIN"),  # SCRAM cannot be fed with that (RFC 5802 section 2.2)
        (Credentials("ada", "open-sesame", authzid="eve"), ["LOGIN", "PLAIN"], "PLAIN"),
        (None, ["LOGIN", "PLAIN"], "PLAIN"),
    ],
)
def test_only_what_the_credentials_can_feed(credentials: Credentials | None, offered: list[str], taken: str) -> None:
    assert choose(offered, credentials) == taken


@pytest.mark.parametrize(
    ("credentials", "offered"),
    [
        (ADA, ["OAUTHBEARER", "EXTERNAL", "XOAUTH2"]),
        (ADA, ["CRAM-MD5", "ANONYMOUS"]),  # off by default (S44, S46)
        (NEITHER, ["PLAIN", "SCRAM-SHA-256", "ANONYMOUS"]),
        (TOKEN, ["PLAIN"]),
        (Credentials("ada", "x", authzid="eve"), ["LOGIN", "CRAM-MD5"]),
        (ADA, []),
        (ADA, ["GSSAPI", "NTLM", "scram-sha-256"]),
    ],
)
def test_none_will_do(credentials: Credentials, offered: list[str]) -> None:
    what = "no mechanism that the server offers can be used: " if offered else "no way to log in"
    with pytest.raises(AuthenticationError, match=what):
        choose(offered, credentials)


def test_a_list_of_the_callers_is_followed_to_the_letter() -> None:
    assert choose(allowed=["LOGIN", "SCRAM-SHA-512"]) == "LOGIN"
    assert choose(allowed=["CRAM-MD5"]) == "CRAM-MD5"
    assert choose(credentials=NEITHER, allowed=["ANONYMOUS"]) == "ANONYMOUS"
    with pytest.raises(AuthenticationError):
        choose(["PLAIN"], allowed=["LOGIN"])
    with pytest.raises(AuthenticationError):
        choose(allowed=[])
    with pytest.raises(AuthenticationError):
        choose(allowed=["GSSAPI"])


def test_binding_is_done_where_it_can_be() -> None:
    offered = ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-512", "PLAIN"]
    assert choose(offered, can_bind=True) == "SCRAM-SHA-1-PLUS"
    assert choose(offered) == "SCRAM-SHA-512"
    with pytest.raises(AuthenticationError):
        choose(offered, must_bind=True)
    with pytest.raises(AuthenticationError):
        choose(["SCRAM-SHA-512", "PLAIN"], can_bind=True, must_bind=True)
    with pytest.raises(AuthenticationError):
        choose(allowed=["SCRAM-SHA-1-PLUS"])


def test_nothing_below_the_minimum_is_taken() -> None:
    assert choose(minimum="SCRAM-SHA-256") == "SCRAM-SHA-512"
    assert choose(["SCRAM-SHA-256", "PLAIN"], minimum="SCRAM-SHA-256") == "SCRAM-SHA-256"
    for offered in (["SCRAM-SHA-1", "PLAIN"], ["PLAIN"]):
        with pytest.raises(AuthenticationError):
            choose(offered, minimum="SCRAM-SHA-256")
        with pytest.raises(AuthenticationError):
            choose(offered, minimum="SCRAM-SHA-256", allowed=offered)
        with pytest.raises(AuthenticationError):
            choose(offered, minimum="NO-SUCH")


def test_in_clear_only_what_shows_no_secret() -> None:
    assert choose_mechanism(ALL, secure=False, credentials=BOTH).name == "SCRAM-SHA-512"
    for name in ("CRAM-MD5", "SCRAM-SHA-1"):
        assert choose_mechanism(ALL, secure=False, credentials=ADA, allowed=["PLAIN", name]).name == name
    for name in ("EXTERNAL", "ANONYMOUS"):
        assert choose_mechanism(ALL, secure=False, credentials=NEITHER, allowed=[name]).name == name
    for credentials, offered in ((ADA, ["PLAIN", "LOGIN"]), (TOKEN, ["OAUTHBEARER", "XOAUTH2"])):
        with pytest.raises(AuthenticationError, match="in clear"):
            choose_mechanism(offered, secure=False, credentials=credentials)


class Rot13:
    """A mechanism of a user's own."""

    name = "X-ROT13"
    reveals_secret = True

    def fits(self, credentials: Credentials) -> bool:
        return bool(credentials.password)

    def start(self, credentials: Credentials) -> ClientExchange:
        yield credentials.password.encode().translate(bytes.maketrans(b"abcnop", b"nopabc"))


def test_a_mechanism_of_ones_own_has_the_rank_it_is_given() -> None:
    known = {"X-ROT13": Rot13(), **CLIENT_MECHANISMS}
    assert choose(["PLAIN", "X-ROT13"], known=known) == "X-ROT13"
    assert choose(["PLAIN", "X-ROT13"], known={**CLIENT_MECHANISMS, "X-ROT13": Rot13()}) == "PLAIN"


# Servers.

CLEAR = None
SECURE = TLSInfo("TLSv1.3")
BOUND = TLSInfo("TLSv1.3", channel_bindings={"tls-exporter": b"data"})
CERTIFIED = TLSInfo("TLSv1.3", peer_certificate=b"DER")
NAMES = ("SCRAM-SHA-256-PLUS", "EXTERNAL", "SCRAM-SHA-256", "PLAIN")


@pytest.mark.parametrize(
    ("tls", "offered"),
    [
        (CLEAR, NAMES[2:]),
        (SECURE, NAMES[2:]),
        (BOUND, (NAMES[0], *NAMES[2:])),
        (CERTIFIED, NAMES[1:]),
        (TLSInfo("TLSv1.3", channel_bindings={"tls-unique": b"undefined there"}), NAMES[2:]),
        (TLSInfo("TLSv1.2", channel_bindings={"tls-unique": b"data"}, peer_certificate=b"DER"), NAMES),
    ],
)
def test_what_cannot_work_now_is_not_offered(tls: TLSInfo | None, offered: tuple[str, ...]) -> None:
    assert offerable(NAMES, tls) == offered


def test_without_a_word_a_server_offers_what_its_handler_answers() -> None:
    class Passwords:
        def on_auth(self) -> None: ...

    class Keys(Passwords):
        def on_scram_key(self) -> None: ...

    assert default_mechanisms(Passwords()) == ("PLAIN", "LOGIN")
    assert default_mechanisms(Keys()) == ("SCRAM-SHA-256", "PLAIN", "LOGIN")
    assert default_mechanisms(Keys(), {"PLAIN": SERVER_MECHANISMS["PLAIN"]}) == ("PLAIN",)
    assert default_mechanisms(object()) == ()


def test_settings_reach_the_mechanisms() -> None:
    client = client_mechanisms(min_iterations=10, max_iterations=20)["SCRAM-SHA-1-PLUS"]
    assert isinstance(client, ScramClient)
    assert (client.min_iterations, client.max_iterations, client.plus) == (10, 20, True)
    servers = server_mechanisms(secret=b"kept", iterations=5000)
    for name in ("SCRAM-SHA-1", "SCRAM-SHA-512-PLUS"):
        server = servers[name]
        assert isinstance(server, ScramServer)
        assert (server.secret, server.iterations) == (b"kept", 5000)
    once, twice = (server_mechanisms()["SCRAM-SHA-256"] for _ in range(2))
    assert isinstance(once, ScramServer) and isinstance(twice, ScramServer)
    assert once.secret != twice.secret and len(once.secret) == 32
