"""SCRAM: the exchanges of the RFCs octet by octet, and everything that must not be believed on either side."""

import base64
import hashlib
import hmac
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto._core.events import TLSInfo
from mailproto._core.flow import Call
from mailproto.errors import AuthenticationError, GrammarError
from mailproto.sasl import (
    Channel,
    Credentials,
    Identity,
    Question,
    ScramClient,
    ScramKey,
    ScramKeyRequest,
    ScramPassword,
    ScramServer,
    decoy_scram_key,
    make_scram_key,
    server_mechanisms,
)
from mailproto.sasl.scram_messages import MAX_NONCE
from tests.helpers import PROPERTY
from tests.sasl_mechanisms.talk import ADA, NOWHERE, SECURE, Client, Server, binding, converse, no

USER = Credentials("user", "pencil")
HASHES = ("SHA-1", "SHA-256", "SHA-512")
KEYS = {name: make_scram_key("open-sesame", name, iterations=4096) for name in HASHES}


def keys(question: Question) -> Any:
    """Answer for ada, whose password is open-sesame, and nobody else."""
    if isinstance(question, ScramKeyRequest):
        return KEYS[question.hash_name] if question.username == "ada" else None
    return False


def client(**options: Any) -> ScramClient:
    return ScramClient("SHA-256", make_nonce=lambda: b"client", **options)


def server(**options: Any) -> ScramServer:
    return ScramServer("SHA-256", make_nonce=lambda: b"server", iterations=4096, **options)


# The exchanges of the RFCs.

RFC_5802 = (
    "SHA-1",
    b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
    b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
    b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
)
RFC_7677 = (
    "SHA-256",
    b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
    b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
    b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
)


@pytest.mark.parametrize("exchange", [RFC_5802, RFC_7677], ids=["RFC 5802 section 5", "RFC 7677 section 3"])
def test_the_client_says_what_the_rfc_says(exchange: tuple[str, bytes, bytes, bytes, bytes]) -> None:
    hash_name, first, challenge, final, signature = exchange
    nonce = first.rpartition(b"r=")[2]
    caller = Client(ScramClient(hash_name, make_nonce=lambda: nonce), USER)
    assert caller.initial == first
    assert caller.answer(challenge) == final
    assert caller.answer(signature) == b""
    caller.succeed()


@pytest.mark.parametrize("exchange", [RFC_5802, RFC_7677], ids=["RFC 5802 section 5", "RFC 7677 section 3"])
def test_the_server_says_what_the_rfc_says(exchange: tuple[str, bytes, bytes, bytes, bytes]) -> None:
    hash_name, first, challenge, final, signature = exchange
    nonce = first.rpartition(b"r=")[2]
    mine = challenge.partition(b",")[0].removeprefix(b"r=" + nonce)
    salt = base64.b64decode(challenge.partition(b"s=")[2].partition(b",")[0])
    key = make_scram_key("pencil", hash_name, iterations=4096, salt=salt)
    called = Server(ScramServer(hash_name, make_nonce=lambda: mine), lambda _: key, initial=first)
    assert called.challenge == challenge
    assert called.answer(final) == signature
    assert called.answer(b"") is None
    assert called.outcome == Identity("user", f"SCRAM-{hash_name}")
    assert called.questions == [ScramKeyRequest("user", hash_name, f"SCRAM-{hash_name}")]


# Both sides together.


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("hash_name", HASHES)
def test_both_sides_agree(hash_name: str, held: bool) -> None:
    called = converse(ScramClient(hash_name), ScramServer(hash_name), keys, held=held)
    assert called.outcome == Identity("ada", f"SCRAM-{hash_name}")


@pytest.mark.parametrize("hash_name", HASHES)
def test_both_sides_bind(hash_name: str) -> None:
    called = converse(ScramClient(hash_name, True), ScramServer(hash_name, True), keys, channel=binding())
    assert called.outcome == Identity("ada", f"SCRAM-{hash_name}-PLUS")


@pytest.mark.parametrize("credentials", [Credentials("ada", "wrong"), Credentials("eve", "open-sesame")])
def test_who_does_not_know_the_password_fails(credentials: Credentials) -> None:
    with pytest.raises(AuthenticationError, match="535"):
        converse(client(), server(), keys, credentials)


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("I\u00adX", "IX"),
        ("\u2168", "IX"),
        ("pa\u00a0ss", "pa ss"),
        ("cafe\u0301", "caf\u00e9"),
    ],
)
def test_names_and_passwords_are_prepared(said: str, stored: str) -> None:
    def answers(question: Question) -> Any:
        assert isinstance(question, ScramKeyRequest)
        return ScramPassword(stored) if question.username == stored else None

    for name, kept in ((said, stored), (stored, said)):
        called = converse(client(), server(), answers, Credentials(name, kept))
        assert called.outcome == Identity(stored, "SCRAM-SHA-256")


@PROPERTY
@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=60))
def test_any_name_gets_through(name: str) -> None:
    """Commas and equals signs, above all."""
    called = converse(client(), server(), lambda _: KEYS["SHA-256"], Credentials(name, "open-sesame"))
    assert called.outcome == Identity(name, "SCRAM-SHA-256")


@pytest.mark.parametrize("allowed", [True, False])
def test_to_act_as_somebody_else_is_asked_before_the_server_signs(allowed: bool) -> None:
    def answers(question: Question) -> Any:
        return allowed if question.hook == "on_authorize" else keys(question)

    caller = Client(client(), Credentials("ada", "open-sesame", authzid="a,b=c"))
    called = Server(server(), answers, initial=caller.initial)
    assert caller.initial == b"n,a=a=2Cb=3Dc,n=ada,r=client"
    signature = called.answer(caller.answer(called.challenge or b""))
    assert called.questions[1].arguments() == (Identity("ada", "SCRAM-SHA-256"), "a,b=c")
    assert (signature is not None) is allowed
    if allowed:
        called.answer(b"")
    assert called.over
    assert called.outcome == (Identity("ada", "SCRAM-SHA-256", "a,b=c") if allowed else None)


def passwords(question: Question) -> Any:
    """Answer from passwords in clear, of which there is one."""
    return ScramPassword({"ada": "open-sesame"}.get(getattr(question, "username", "")))


def test_a_password_kept_in_clear_will_do() -> None:
    called = converse(client(), server(), passwords)
    assert called.outcome == Identity("ada", "SCRAM-SHA-256")
    with pytest.raises(AuthenticationError):
        converse(client(), server(), passwords, Credentials("eve", "open-sesame"))
    with pytest.raises(AuthenticationError):
        converse(client(), server(), lambda _: ScramPassword("key \U0001f511"))


def test_a_key_of_another_hash_is_none() -> None:
    with pytest.raises(AuthenticationError):
        converse(client(), server(), lambda _: KEYS["SHA-512"])
    with pytest.raises(AuthenticationError):
        converse(client(), server(), lambda _: "open-sesame")


# What a client must not believe.

SALT = b"s=QSXCR+Q6sek8bf92"


@pytest.mark.parametrize(
    "challenge",
    [
        b"",
        b"r=clientserver",
        b"r=clientserver," + SALT,
        b"r=clientserver," + SALT + b",i=",
        b"r=clientserver," + SALT + b",i=0",
        b"r=clientserver," + SALT + b",i=1",
        b"r=clientserver," + SALT + b",i=4095",
        b"r=clientserver," + SALT + b",i=600001",
        b"r=clientserver," + SALT + b",i=2147483648",
        b"r=clientserver," + SALT + b",i=" + b"9" * 5000,
        b"r=clientserver," + SALT + b",i=4_096",
        b"r=clientserver," + SALT + b",i=+4096",
        b"r=clientserver," + SALT + b",i=04096",
        b"r=clientserver," + SALT + b",i= 4096",
        b"r=clientserver," + SALT + b",i=-4096",
        b"r=client," + SALT + b",i=4096",  # nothing of the server's
        b"r=clien," + SALT + b",i=4096",
        b"r=xclientserver," + SALT + b",i=4096",
        b"r=Clientserver," + SALT + b",i=4096",
        b"r=client\xc3\xa9," + SALT + b",i=4096",
        b"r=client server," + SALT + b",i=4096",
        b"r=client" + b"s" * MAX_NONCE + b"," + SALT + b",i=4096",
        b"r=client" + b"s" * 1_000_000 + b"," + SALT + b",i=4096",
        b"r=clientserver,s=QSXCR+Q6sek8bf9,i=4096",
        b"r=clientserver,s=QSX!R+Q6sek8bf92,i=4096",
        b"r=clientserver,s=,i=4096",
        SALT + b",r=clientserver,i=4096",
        b"r=clientserver,i=4096," + SALT,
        b"m=x,r=clientserver," + SALT + b",i=4096",
        b"r=clientserver," + SALT + b",i=4096,m=x",
        b"r=clientserver," + SALT + b",i=4096,",
        b"r=clientserver," + SALT + b",i=4096,xx=1",
        b"r=clientserver," + SALT + b",i=4096,\xff=1",
        b"r=clientserver," + SALT + b"\x00,i=4096",
        b"v=AAAA",
    ],
)
def test_a_challenge_that_no_client_answers(challenge: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hashlib.pbkdf2_hmac", None)  # and nothing is computed before that is known
    caller = Client(client())
    with pytest.raises(AuthenticationError) as caught:
        caller.answer(challenge)
    assert "sesame" not in repr(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("count", [4096, 600_000])
def test_the_bounds_of_iterations(count: int) -> None:
    caller = Client(client())
    assert caller.answer(b"r=clientserver,%s,i=%d" % (SALT, count)).startswith(b"c=biws,r=clientserver,p=")


def test_bounds_of_iterations_of_ones_own() -> None:
    for refused in (9, 11):
        with pytest.raises(AuthenticationError, match=f"{refused} iterations"):
            Client(client(min_iterations=10, max_iterations=10)).answer(b"r=clients,%s,i=%d" % (SALT, refused))
    assert Client(client(min_iterations=10, max_iterations=10)).answer(b"r=clients,%s,i=10" % SALT)


def test_extensions_that_are_not_known_are_passed_over() -> None:
    """RFC 5802 section 5.1."""
    caller = Client(client())
    assert caller.answer(b"r=clientserver," + SALT + b",i=4096,x=1,y=2")
    called = Server(server(), keys, initial=b"n,,n=ada,r=client,x=1")
    assert called.challenge is not None


@pytest.mark.parametrize("value", [b"unknown-user", b"other-error", b"x" * 5000, b"\x1b[31m", b"\xc3\xa9"])
def test_an_error_of_the_servers_is_a_failure_wherever_it_comes(value: bytes) -> None:
    caller = Client(client())
    with pytest.raises(AuthenticationError, match="refused") as caught:
        caller.answer(b"e=" + value)
    assert len(str(caught.value)) < 200 and str(caught.value).isprintable()
    caller, _ = before_the_signature()
    with pytest.raises(AuthenticationError, match="refused"):
        caller.answer(b"e=" + value)


def before_the_signature(credentials: Credentials = ADA) -> tuple[Client, bytes]:
    """Return a client that waits for the server's signature, and what that is."""
    caller = Client(client(), credentials)
    called = Server(server(), keys, initial=caller.initial)
    signature = called.answer(caller.answer(called.challenge or b""))
    assert signature is not None
    return caller, signature


def test_a_success_before_the_server_has_proved_itself_is_none() -> None:
    for challenged in (False, True):
        caller = Client(client())
        if challenged:
            caller.answer(b"r=clientserver," + SALT + b",i=4096")
        with pytest.raises(AuthenticationError, match="the server said yes"):
            caller.succeed()


@pytest.mark.parametrize(
    "change",
    [
        lambda right: b"",
        lambda right: b"v=",
        lambda right: b"v=AAAA",
        lambda right: right[:-4],
        lambda right: right + b",",
        lambda right: right + b"x",
        lambda right: b"x=1," + right,
        lambda right: b"v=" + base64.b64encode(bytes(32)),
        lambda right: right.replace(b"v=", b"V="),
        lambda right: b"v=" + base64.b64encode(base64.b64decode(right[2:])[::-1]),
        lambda right: b"r=clientserver,s=AAAA,i=4096",
    ],
)
def test_a_server_that_does_not_know_the_password_is_not_believed(change: Any) -> None:
    caller, signature = before_the_signature()
    with pytest.raises(AuthenticationError):
        caller.answer(change(signature))


def test_the_signature_for_another_user_is_none() -> None:
    _, other = before_the_signature(replace(ADA, authzid="ada"))
    caller, _ = before_the_signature()
    with pytest.raises(AuthenticationError, match="not who it says"):
        caller.answer(other)


def test_a_right_signature_is_believed_with_an_extension_behind_it_too() -> None:
    caller, signature = before_the_signature()
    assert caller.answer(signature + b",x=1") == b""
    caller.succeed()


def test_a_signature_and_then_a_refusal_is_a_refusal() -> None:
    caller, signature = before_the_signature()
    caller.answer(signature)
    with pytest.raises(AuthenticationError, match="535"):
        caller.fail()


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials("", "pencil"),
        Credentials("ada", ""),
        Credentials("ada", "key \U0001f511"),
        Credentials("ada", "a\x00b"),
        Credentials("a\x00b", "secret"),
        Credentials("ada", "secret", authzid="a\x00b"),
        Credentials("\ud800", "secret"),
    ],
)
def test_credentials_that_cannot_be_written(credentials: Credentials) -> None:
    with pytest.raises(GrammarError) as caught:
        Client(client(), credentials)
    assert "secret" not in repr(caught.value)


# Channel binding (RFC 5802 section 6).


def test_what_a_client_says_about_binding() -> None:
    could = binding()
    bare = replace(could, offered=("SCRAM-SHA-256", "PLAIN"))
    assert Client(client(), channel=NOWHERE).initial == b"n,,n=ada,r=client"
    assert Client(client(), channel=bare).initial == b"y,,n=ada,r=client"
    assert Client(client(), channel=could).initial == b"n,,n=ada,r=client"  # it was not to bind, though it could
    assert Client(client(plus=True), channel=could).initial == b"p=tls-exporter,,n=ada,r=client"


def test_with_nothing_to_bind_to_nothing_is_said() -> None:
    with pytest.raises(AuthenticationError, match="nothing to bind"):
        Client(client(plus=True), channel=SECURE)


def test_the_data_is_in_the_proof() -> None:
    caller = Client(client(plus=True), channel=binding(data=b"\x00\x01data"))
    final = caller.answer(b"r=clientserver," + SALT + b",i=4096")
    assert base64.b64decode(final.partition(b",")[0].removeprefix(b"c=")) == b"p=tls-exporter,,\x00\x01data"


def test_a_session_of_somebody_in_between_is_not_ours() -> None:
    caller = Client(client(plus=True), channel=binding(data=b"with the man in between"))
    called = Server(server(plus=True), keys, binding(data=b"with the client"), caller.initial)
    assert called.answer(caller.answer(called.challenge or b"")) is None
    assert called.over and called.outcome is None


@pytest.mark.parametrize(
    ("plus", "header", "channel"),
    [
        (False, b"y,,", binding()),  # somebody took -PLUS out of the offer
        (False, b"p=tls-exporter,,", binding()),
        (True, b"n,,", binding()),
        (True, b"y,,", binding()),
        (True, b"p=tls-unique,,", binding()),  # a type that we have not
        (True, b"p=no-such-type,,", binding()),
        (True, b"p=tls-unique,,", binding("tls-unique", version="TLSv1.3")),  # a type that is not defined there
        (True, b"p=tls-exporter,,", SECURE),
        (True, b"p=tls-exporter,,", NOWHERE),
        (True, b"p=tls-exporter,,", binding(data=b"")),
    ],
)
def test_binding_as_it_must_not_be_done_fails_before_anybody_is_asked(
    plus: bool, header: bytes, channel: Channel
) -> None:
    called = Server(server(plus=plus), keys, channel, header + b"n=ada,r=client")
    assert called.over and called.outcome is None
    assert called.questions == []


def test_a_client_that_believes_rightly_that_we_do_not_bind_is_let_in() -> None:
    channel = Channel(TLSInfo("TLSv1.3"), ("SCRAM-SHA-256",), {"tls-exporter": b"data"})
    called = converse(client(), server(), keys, channel=channel)
    assert called.outcome is not None


def test_the_offer_cannot_be_cut_down_unseen() -> None:
    """The client could bind and is shown no -PLUS; the server has offered it."""
    seen = replace(binding(), offered=("SCRAM-SHA-256",))
    caller = Client(client(), channel=seen)
    called = Server(server(), keys, binding(), caller.initial)
    assert called.over and called.outcome is None


# What a server must not believe.


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n",
        b"n,",
        b"n,,",
        b"x,,n=ada,r=client",
        b"N,,n=ada,r=client",
        b"p,,n=ada,r=client",
        b"p=,,n=ada,r=client",
        b"p=a b,,n=ada,r=client",
        b"n,n=ada,r=client",
        b"n,b=eve,n=ada,r=client",
        b"n,a=,n=ada,r=client",
        b"n,a=e=ve,n=ada,r=client",
        b"n,,n=,r=client",
        b"n,,n=ada",
        b"n,,n=ada,r=",
        b"n,,r=client,n=ada",
        b"n,,m=x,n=ada,r=client",
        b"n,,n=ada,r=client,m=x",
        b"n,,n=ada,r=client,",
        b"n,,n=a=da,r=client",
        b"n,,n=a=2cda,r=client",
        b"n,,n=ada=,r=client",
        b"n,,n=a\x00da,r=client",
        b"n,,n=a\x07da,r=client",  # SASLprep
        b"n,,n=\xc2\xad,r=client",  # nothing is left
        b"n,,n=\xff,r=client",
        b"n,,n=ada,r=cli ent",
        b"n,,n=ada,r=\xc3\xa9",
        b"n,,n=ada,r=" + b"x" * (MAX_NONCE // 2 + 1),
        b"n,,n=ada,r=client\r\n",
        b"F,n,,n=ada,r=client",
    ],
)
def test_a_first_message_that_is_none(message: bytes) -> None:
    with pytest.raises(GrammarError):
        Server(server(), keys, initial=message)


def challenged(**options: Any) -> tuple[Server, bytes]:
    """Return a server that waits for the proof, and what that is."""
    caller = Client(client())
    called = Server(server(**options), keys, initial=caller.initial)
    return called, caller.answer(called.challenge or b"")


@pytest.mark.parametrize(
    "change",
    [
        lambda right: b"",
        lambda right: right.partition(b",p=")[0],
        lambda right: right + b",x=1",
        lambda right: right.replace(b"c=biws,", b""),
        lambda right: right.replace(b"c=biws", b"c="),
        lambda right: right.replace(b"c=biws", b"c=biw"),
        lambda right: right.replace(b"c=biws", b"c=bi!s"),
        lambda right: b"m=x," + right,
        lambda right: right.replace(b",p=", b",m=x,p="),
        lambda right: right.replace(b"r=", b"x=1,r="),
        lambda right: right.partition(b",p=")[0] + b",p=AAAA",
        lambda right: right.partition(b",p=")[0] + b",p=" + base64.b64encode(bytes(33)),
        lambda right: right[:-1],
        lambda right: right + b"\x00",
        lambda right: b"\xff" + right,
    ],
)
def test_a_last_message_that_is_none(change: Any) -> None:
    called, right = challenged()
    with pytest.raises(GrammarError):
        called.answer(change(right))


@pytest.mark.parametrize(
    "change",
    [
        lambda right: right.replace(b"c=biws", b"c=eSws"),  # y,,
        lambda right: right.replace(b"c=biws", b"c=biwsAA=="),
        lambda right: right.replace(b"clientserver", b"clientserve"),
        lambda right: right.replace(b"clientserver", b"clientServer"),
        lambda right: right.replace(b"clientserver", b"client"),
        lambda right: right.partition(b",p=")[0] + b",p=" + base64.b64encode(bytes(32)),
        lambda right: right.replace(b",p=", b",x=1,p="),  # signed is something else
    ],
)
def test_a_proof_of_something_else(change: Any) -> None:
    called, right = challenged()
    assert called.answer(change(right)) is None
    assert called.outcome is None


@pytest.mark.parametrize(
    ("wrong", "known"),
    [
        (b"c=biws,r=clientserver", True),
        (b"c=biws,r=clientserve", False),
        (b"c=biws,r=clientserver2", False),
        (b"c=biws,r=client", False),
        (b"c=eSws,r=clientserver", False),
        (b"c=biwsAA==,r=clientserver", False),
    ],
)
def test_a_proof_that_is_right_for_what_it_should_not_say(wrong: bytes, known: bool) -> None:
    """Who knows the password can prove anything, so that the nonce and the binding are looked at by themselves."""
    called, _ = challenged()
    salt, iterations = KEYS["SHA-256"].salt, KEYS["SHA-256"].iterations
    salted = hashlib.pbkdf2_hmac("sha256", ADA.password.encode(), salt, iterations)
    secret = hmac.digest(salted, b"Client Key", "sha256")
    signed = b",".join((b"n=ada,r=client", called.challenge or b"", wrong))
    signature = hmac.digest(hashlib.sha256(secret).digest(), signed, "sha256")
    proof = bytes(one ^ other for one, other in zip(secret, signature, strict=True))
    assert (called.answer(wrong + b",p=" + base64.b64encode(proof)) is not None) is known


def test_a_proof_is_good_for_one_session_only() -> None:
    caller = Client(ScramClient())
    called = Server(ScramServer(), keys, initial=caller.initial)
    final = caller.answer(called.challenge or b"")
    again = Server(ScramServer(), keys, initial=caller.initial)
    assert again.answer(final) is None
    assert again.outcome is None
    assert called.answer(final) is not None


def test_behind_the_signature_there_is_nothing_to_say() -> None:
    called, right = challenged()
    assert called.answer(right) is not None
    with pytest.raises(GrammarError):
        called.answer(b"*")


def test_nonces_never_come_again_and_have_no_comma() -> None:
    made = {ScramClient().make_nonce() for _ in range(1000)}
    assert len(made) == 1000
    assert {len(nonce) for nonce in made} == {24}
    assert not any(b"," in nonce for nonce in made)


# Users who are not known (S41).


def first_challenge(mechanism: ScramServer, user: bytes, answers: Any = keys) -> bytes:
    challenge = Server(mechanism, answers, initial=b"n,,n=%s,r=client" % user).challenge
    assert challenge is not None
    return challenge


def test_who_is_not_known_cannot_be_told_from_who_is() -> None:
    mechanism = server(secret=b"kept")
    known, unknown = first_challenge(mechanism, b"ada"), first_challenge(mechanism, b"eve")
    assert first_challenge(mechanism, b"ada") == known
    assert first_challenge(mechanism, b"eve") == unknown
    assert len(known) == len(unknown)
    assert known != unknown != first_challenge(mechanism, b"eva")
    assert first_challenge(server(secret=b"kept"), b"eve") == unknown  # after a restart as well
    assert first_challenge(server(secret=b"another"), b"eve") != unknown


def test_who_is_not_known_cannot_be_told_from_who_has_a_password_in_clear() -> None:
    mechanism = server(secret=b"kept")
    known, unknown = first_challenge(mechanism, b"ada", passwords), first_challenge(mechanism, b"eve", passwords)
    assert len(known) == len(unknown)
    assert first_challenge(mechanism, b"eve", passwords) == unknown
    assert first_challenge(mechanism, b"ada", passwords) == known


@pytest.mark.parametrize(
    ("answer", "derived"),
    [(KEYS["SHA-256"], []), (None, []), (ScramPassword("x"), [4096]), (ScramPassword(None), [4096])],
)
def test_all_that_fail_fail_at_the_proof(answer: Any, derived: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """And who is not known has cost as many iterations before as who is, however keys are kept."""
    counts: list[int] = []
    derive = hashlib.pbkdf2_hmac

    def counted(name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        counts.append(iterations)
        return bytes(derive(name, password, salt, iterations))

    called = Server(server(), lambda _: answer, initial=b"n,,n=ada,r=client")
    monkeypatch.setattr("hashlib.pbkdf2_hmac", counted)
    assert called.answer(b"c=biws,r=clientserver,p=" + base64.b64encode(bytes(32))) is None
    assert called.over and called.outcome is None
    assert counts == derived


def test_no_password_fits_a_decoy() -> None:
    decoy = decoy_scram_key(b"secret", "eve", iterations=4096)
    assert not any(decoy.matches(password) for password in ("", "eve", "secret"))
    assert decoy.hash_name == "SHA-256" and len(decoy.salt) == len(KEYS["SHA-256"].salt)


# Secrets.


def test_nothing_shows_a_secret() -> None:
    key = KEYS["SHA-256"]
    shown = f"{key!r} {ScramPassword('open-sesame')!r} {server(secret=b'kept')!r} {ADA!r} {binding()!r}"
    shown += repr(Call(make_scram_key, ("open-sesame",)))
    assert "sesame" not in shown and "kept" not in shown and "binding data" not in shown
    for part in (key.stored_key, key.server_key):
        assert repr(part)[2:-1] not in shown


def test_hashes_that_scram_does_not_know() -> None:
    for name in ("MD5", "SHA-384", "sha256", ""):
        with pytest.raises(GrammarError):
            ScramClient(name)
        with pytest.raises(GrammarError):
            ScramKey(name, 4096, b"salt", bytes(32), bytes(32))


def test_too_few_iterations_are_the_servers_mistake_and_no_clients() -> None:
    """Each client was told that its response was malformed, and whoever had set the server up was told nothing."""
    with pytest.raises(GrammarError):
        ScramServer("SHA-256", iterations=4095)
    with pytest.raises(GrammarError):
        server_mechanisms(iterations=4095)


def test_no_hook_no_entry() -> None:
    with pytest.raises(AuthenticationError):
        converse(client(), server(), no)
