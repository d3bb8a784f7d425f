"""Whatever octets the other side sends: an answer, a refusal, or one of two exceptions (S86)."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproto._core.events import TLSInfo
from mailproto.errors import AuthenticationError, GrammarError
from mailproto.sasl import CLIENT_MECHANISMS, SERVER_MECHANISMS, Channel, Credentials, ScramKeyRequest, make_scram_key
from tests.sasl_mechanisms.talk import Client, Server

NONSENSE = settings(derandomize=True, max_examples=50, deadline=None)
KEYS = {name: make_scram_key("open-sesame", name, iterations=4096) for name in ("SHA-1", "SHA-256", "SHA-512")}
CHANNEL = Channel(
    TLSInfo("TLSv1.3", peer_certificate=b"DER", channel_bindings={"tls-exporter": b"data"}),
    tuple(SERVER_MECHANISMS),
    {"tls-exporter": b"data"},
)
EVERYTHING = Credentials("ada", "open-sesame", None, "t0ken")
BARE = Credentials("ada")
SEEDS = (
    b"",
    b"ada",
    b"\0ada\0open-sesame",
    b"p=tls-exporter,,n=ada,r=client",
    b"n,a=eve,n=ada,r=client",
    b"c=biws,r=clientserver,p=AAAA",
    b"r=clientserver,s=QSXCR+Q6sek8bf92,i=4096",
    b"v=AAAA",
    b"e=other-error",
    b"n,a=ada,\1host=x\1auth=Bearer t0ken\1\1",
    b"user=ada\1auth=Bearer t0ken\1\1",
    b"ada 0123456789abcdef0123456789abcdef",
    b'{"status":"401"}',
)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Return octets that are near to what a mechanism wants, or not at all."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data)))
        data[place : place + draw(st.integers(0, 4))] = draw(
            st.binary(max_size=5) | st.sampled_from([b",", b"=", b"\1", b"\0"])
        )
    return bytes(data)


def answers(question: Any) -> Any:
    return KEYS[question.hash_name] if isinstance(question, ScramKeyRequest) else None


@pytest.mark.parametrize("name", SERVER_MECHANISMS)
@NONSENSE
@given(st.none() | messages(), st.lists(messages(), max_size=3))
def test_a_server_hears_nonsense(name: str, initial: bytes | None, responses: list[bytes]) -> None:
    with suppress(GrammarError):
        called = Server(SERVER_MECHANISMS[name], answers, CHANNEL, initial)
        for response in responses:
            if called.over:
                break
            called.answer(response)
        assert called.outcome is None


@pytest.mark.parametrize("name", CLIENT_MECHANISMS)
@NONSENSE
@given(st.lists(messages(), max_size=3), st.booleans())
def test_a_client_hears_nonsense(name: str, challenges: list[bytes], good: bool) -> None:
    mechanism = CLIENT_MECHANISMS[name]
    credentials = EVERYTHING if mechanism.fits(EVERYTHING) else BARE
    with suppress(AuthenticationError, StopIteration):
        caller = Client(mechanism, credentials, CHANNEL)
        for challenge in challenges:
            caller.answer(challenge)
        caller.succeed() if good else caller.fail()
        assert "SCRAM" not in name, "nobody has proved to be the server"
