"""Every mechanism through both protocols: a client's flow against a server's, in memory."""

import base64
import itertools
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from mailproto._core.events import TLSInfo
from mailproto._core.limits import Limits
from mailproto._core.policy import TLSPolicy
from mailproto.errors import AuthenticationError, ConnectionClosedError, GrammarError, Reject, RemoteProtocolError
from mailproto.sasl import (
    CLIENT_MECHANISMS,
    SERVER_MECHANISMS,
    Challenge,
    ChannelBinding,
    ClientExchange,
    Credentials,
    Identity,
    OAuthBearerClient,
    Question,
    ServerExchange,
    TokenCheck,
    TokenRefusal,
    TokenRefusedError,
    client_mechanisms,
)
from mailproto.smtp import Reply
from tests.sasl_mechanisms.duet import (
    ALL,
    POP3,
    PROTOCOLS,
    SMTP,
    Careless,
    Duet,
    Handler,
    Protocol,
    Side,
    listen_to_everything,
)
from tests.sasl_mechanisms.talk import ADA, no

BINDING = {"tls-exporter": b"both know this"}
TOKEN = Credentials("ada", token="t0ken")
CREDENTIALS = {
    "OAUTHBEARER": TOKEN,
    "XOAUTH2": TOKEN,
    "EXTERNAL": Credentials(),
    "ANONYMOUS": Credentials("ada@example.test"),
}
protocols = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
mechanisms = pytest.mark.parametrize("name", ALL)


def duet(protocol: Protocol, **settings: Any) -> Duet:
    return Duet(protocol, bindings=BINDING, certificate=True, **settings)


@pytest.mark.parametrize("cut", [None, 1, 7])
@protocols
@mechanisms
def test_every_mechanism_logs_in(protocol: Protocol, name: str, cut: int | None) -> None:
    talked = duet(protocol, cut=cut).talk(credentials=CREDENTIALS.get(name, ADA), mechanisms=[name])
    talked.raise_failure()
    assert talked.identity == Identity("anonymous" if name == "ANONYMOUS" else "ada", name)
    assert talked.server.said.count(protocol.yes.encode()) == 1
    assert talked.server.sleeps == []


@protocols
@mechanisms
def test_every_mechanism_refuses(protocol: Protocol, name: str) -> None:
    wrong = Credentials("ada", "wr0ng") if name not in CREDENTIALS else Credentials("ada", token="wr0ng")
    handler = Handler()
    if name in ("EXTERNAL", "ANONYMOUS"):
        wrong, handler = CREDENTIALS[name], Handler(no)
    talked = duet(protocol, handler=handler).talk(credentials=wrong, mechanisms=[name])
    with pytest.raises(AuthenticationError) as caught:
        talked.raise_failure()
    assert not caught.value.temporary
    assert talked.identity is None
    assert talked.client.said.count(b"\r\nAUTH ") == 1
    assert talked.server.sleeps == [1.0]
    assert "wr0ng" not in str(caught.value)


@protocols
def test_the_best_is_taken_of_all(protocol: Protocol) -> None:
    assert taken(duet(protocol).talk(credentials=ADA)) == "SCRAM-SHA-512-PLUS"
    assert taken(Duet(protocol).talk(credentials=ADA)) == "SCRAM-SHA-512"
    assert taken(duet(protocol).talk(credentials=TOKEN)) == "OAUTHBEARER"
    assert taken(duet(protocol).talk(credentials=Credentials())) == "EXTERNAL"
    assert taken(duet(protocol, offered=("LOGIN", "PLAIN", "CRAM-MD5")).talk(credentials=ADA)) == "PLAIN"


def taken(talked: Duet) -> str:
    talked.raise_failure()
    assert talked.identity is not None
    return talked.identity.mechanism


@protocols
def test_after_a_refusal_nothing_weaker_is_tried(protocol: Protocol) -> None:
    """S15."""
    talked = duet(protocol).talk(credentials=Credentials("ada", "wrong"))
    with pytest.raises(AuthenticationError):
        talked.raise_failure()
    assert talked.client.said.count(b"\r\nAUTH ") == 1
    assert b"PASS" not in talked.client.said


@protocols
def test_nothing_below_the_minimum_is_taken(protocol: Protocol) -> None:
    talked = duet(protocol, offered=("PLAIN", "LOGIN")).talk(credentials=ADA, minimum_mechanism="SCRAM-SHA-1")
    with pytest.raises(AuthenticationError):
        talked.raise_failure()
    assert b"AUTH" not in talked.client.said and b"PASS" not in talked.client.said


@protocols
def test_in_clear_nothing_is_said_unless_told(protocol: Protocol) -> None:
    """S14."""
    calls: list[str] = []

    def asked() -> Credentials:
        calls.append("asked")
        return ADA

    talked = Duet(protocol, secure=False).talk(credentials=asked)
    with pytest.raises(AuthenticationError, match="without TLS"):
        talked.raise_failure()
    assert calls == []
    talked = Duet(protocol, secure=False).talk(credentials=asked, allow_plaintext_auth=True)
    assert taken(talked) == "SCRAM-SHA-512"
    assert calls == ["asked"]


# Channel binding.


@protocols
def test_binding_as_the_caller_wants_it(protocol: Protocol) -> None:
    assert taken(duet(protocol).talk(credentials=ADA, channel_binding=ChannelBinding.OFF)) == "SCRAM-SHA-512"
    required = {"credentials": ADA, "channel_binding": ChannelBinding.REQUIRE}
    assert taken(duet(protocol).talk(**required)) == "SCRAM-SHA-512-PLUS"
    for lacking in (Duet(protocol), duet(protocol, offered=("SCRAM-SHA-256", "PLAIN")), Duet(protocol, secure=False)):
        talked = lacking.talk(**required, allow_plaintext_auth=True)
        with pytest.raises(AuthenticationError):
            talked.raise_failure()
        assert b"AUTH" not in talked.client.said and b"PASS" not in talked.client.said


@protocols
def test_tls_unique_on_tls_1_2_only(protocol: Protocol) -> None:
    unique = {"tls-unique": b"data"}
    assert taken(Duet(protocol, bindings=unique, version="TLSv1.2").talk(credentials=ADA)) == "SCRAM-SHA-512-PLUS"
    talked = Duet(protocol, bindings=unique, version="TLSv1.3").talk(credentials=ADA)
    assert taken(talked) == "SCRAM-SHA-512"
    assert b"-PLUS" not in talked.server.said


@protocols
@pytest.mark.parametrize("instead", [b"", b"GS2-KRB5-PLUS ", b"X-PLUS "])
def test_an_offer_cut_down_on_the_way_is_noticed(protocol: Protocol, instead: bytes) -> None:
    """S40: somebody takes every -PLUS that we know out of what the server says, or puts others in their place."""

    class Cut(Duet):
        def _move(self, source: Any, target: Any) -> bool:
            data = source.speak()
            for name in ("512", "256", "1"):
                data = data.replace(f"SCRAM-SHA-{name}-PLUS ".encode(), instead)
            if data:
                target.hear(data)
            return bool(data)

    talked = Cut(protocol, bindings=BINDING).talk(credentials=ADA)
    assert b"AUTH SCRAM-SHA-512 " + base64.b64encode(b"y,,n=ada,r=")[:10] in talked.client.said
    with pytest.raises(AuthenticationError):
        talked.raise_failure()
    assert talked.identity is None


@protocols
def test_a_session_of_somebody_in_between_is_noticed(protocol: Protocol) -> None:
    class InBetween(Duet):
        def _server(self) -> Any:
            self.bindings = {"tls-exporter": b"his session with the server"}
            side = super()._server()
            self.bindings = BINDING
            return side

    talked = InBetween(protocol).talk(credentials=ADA)
    with pytest.raises(AuthenticationError):
        talked.raise_failure()


# What is offered.


@protocols
def test_what_cannot_work_is_neither_offered_nor_taken(protocol: Protocol) -> None:
    asks = ("EHLO x", "AUTH") if protocol is SMTP else ("CAPA", "AUTH")
    everything = "\n".join(duet(protocol).script(*asks))
    assert "SCRAM-SHA-256-PLUS" in everything and "EXTERNAL" in everything
    for lacking in (Duet(protocol), Duet(protocol, secure=False)):
        said = "\n".join(lacking.script(*asks, "AUTH EXTERNAL =", "AUTH SCRAM-SHA-256-PLUS biws"))
        assert "PLUS" not in said and "EXTERNAL" not in said
        assert "SCRAM-SHA-256 " in said and "PLAIN" in said
        assert said.count("mechanism not offered") == 2


@protocols
def test_tls_makes_the_offer_new(protocol: Protocol) -> None:
    conn = protocol.server(auth_mechanisms=ALL, starttls=True)
    assert conn.auth_mechanisms == ()
    conn.tls_established(TLSInfo("TLSv1.3", channel_bindings=BINDING))
    assert conn.auth_mechanisms == tuple(name for name in ALL if name != "EXTERNAL")


@protocols
def test_a_mechanism_that_nobody_knows_is_an_error_of_the_config(protocol: Protocol, caplog: Any) -> None:
    talked = Duet(protocol, offered=("X-OWN", "PLAIN"))
    replies = talked.script("AUTH X-OWN", "AUTH PLAIN " + encode("\0ada\0open-sesame"))
    assert "not available" in replies[-2]
    assert replies[-1].startswith(protocol.yes)
    assert "X-OWN" in caplog.text


# Credentials by callback, mechanisms of one's own.


@protocols
def test_credentials_can_be_fresh(protocol: Protocol) -> None:
    tokens = iter(["0ld", "t0ken"])
    for expected in (TokenRefusedError, None):
        talked = duet(protocol).talk(credentials=lambda: Credentials("ada", token=next(tokens)))
        assert type(talked.client.error) is (expected or type(None))


@protocols
def test_what_the_callback_raises_reaches_the_caller(protocol: Protocol) -> None:
    def fails() -> Credentials:
        raise LookupError("no token today")

    talked = duet(protocol).talk(credentials=fails)
    with pytest.raises(LookupError, match="no token today"):
        talked.raise_failure()
    assert talked.client.conn.idle


class Echo:
    """A mechanism of a user's own: says back what it is asked, twice."""

    name = "X-ECHO"
    reveals_secret = True

    def fits(self, credentials: Credentials) -> bool:
        return True

    def start(self, credentials: Credentials) -> ClientExchange:
        challenge = yield None
        challenge = yield challenge
        yield challenge


class EchoServer:
    """Its other side."""

    name = "X-ECHO"
    reveals_secret = True

    def start(self, initial_response: bytes | None) -> ServerExchange:
        for word in (b"one", b""):
            response = yield Challenge(word)
            if response != word:
                return None
        return Identity("echo", self.name)


@protocols
def test_a_mechanism_of_ones_own(protocol: Protocol) -> None:
    known = {**SERVER_MECHANISMS, "X-ECHO": EchoServer()}
    options = {"credentials": ADA, "known_mechanisms": {"X-ECHO": Echo(), **CLIENT_MECHANISMS}}
    assert taken(Duet(protocol, offered=("X-ECHO", "PLAIN"), known=known).talk(**options)) == "X-ECHO"


class WordRequest(Question):
    """What has to be said?"""

    hook = "on_word"


class WordServer:
    """One that asks by a hook of its own what has to be said."""

    name = "X-ECHO"
    reveals_secret = True

    def start(self, initial_response: bytes | None) -> ServerExchange:
        word = yield WordRequest()
        for _ in range(2):
            if (yield Challenge(b"hello")) != word:
                return None
        return Identity("echo", self.name)


@pytest.mark.parametrize("word", [b"hello", b"goodbye"])
@protocols
def test_a_mechanism_of_ones_own_may_be_answered_anything(
    protocol: Protocol, word: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """By a hook of its own, and nobody complains of what that says."""

    class Knowing(Careless):
        def on_word(self, *_: Any) -> bytes:
            return word

    options = {"credentials": ADA, "known_mechanisms": {"X-ECHO": Echo()}}
    talked = Duet(protocol, Knowing(), offered=("X-ECHO",), known={"X-ECHO": WordServer()}).talk(**options)
    assert talked.identity == (Identity("echo", "X-ECHO") if word == b"hello" else None)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@protocols
def test_bounds_of_iterations_of_ones_own(protocol: Protocol) -> None:
    talked = duet(protocol).talk(credentials=ADA, known_mechanisms=client_mechanisms(max_iterations=10_000))
    with pytest.raises(AuthenticationError, match="15000 iterations"):
        talked.raise_failure()
    assert talked.client.said.endswith(b"*\r\n")


@protocols
def test_what_takes_long_is_asked_of_the_driver(protocol: Protocol) -> None:
    talked = duet(protocol).talk(credentials=ADA)
    assert (talked.client.computed, talked.server.computed) == (1, 1)
    assert duet(protocol).talk(credentials=ADA, mechanisms=["PLAIN"]).client.computed == 0


# Whom to act as.


@protocols
@pytest.mark.parametrize("name", ["PLAIN", "SCRAM-SHA-256", "OAUTHBEARER", "EXTERNAL"])
def test_to_act_as_somebody_else(protocol: Protocol, name: str) -> None:
    known = CREDENTIALS.get(name, ADA)
    for authzid, expected in (("list", Identity("ada", name, "list")), ("eve", None), ("ada", Identity("ada", name))):
        credentials = Credentials(known.username, known.password, authzid, known.token)
        assert duet(protocol).talk(credentials=credentials, mechanisms=[name]).identity == expected


@protocols
@pytest.mark.parametrize("name", ["PLAIN", "SCRAM-SHA-256"])
def test_without_a_hook_nobody_acts_as_somebody_else(protocol: Protocol, name: str) -> None:
    talked = Duet(protocol, handler=Careless()).talk(
        credentials=Credentials("ada", ADA.password, authzid="list"), mechanisms=[name]
    )
    with pytest.raises(AuthenticationError):
        talked.raise_failure()


@protocols
def test_an_answer_in_the_applications_own_words(protocol: Protocol) -> None:
    def busy(_: Any) -> None:
        raise Reject(454, "Come back tomorrow", "4.7.0")

    talked = duet(protocol, handler=Handler(busy)).talk(credentials=ADA, mechanisms=["PLAIN"])
    with pytest.raises(AuthenticationError, match="Come back tomorrow") as caught:
        talked.raise_failure()
    assert caught.value.temporary


NEITHER = [Reply.build(535, "no", "5.7.8"), Reject(535, "no"), "535 5.7.8 no", SimpleNamespace(success=False), 1]


@pytest.mark.parametrize("answer", NEITHER, ids=repr)
@protocols
@pytest.mark.parametrize("name", [name for name in ALL if not name.startswith("SCRAM")])
def test_what_is_neither_true_nor_a_name_lets_nobody_in(
    protocol: Protocol, name: str, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """As other libraries have their hooks refuse, or who returns what he meant to raise."""
    handler = Handler(lambda _: answer)
    talked = duet(protocol, handler=handler).talk(credentials=CREDENTIALS.get(name, ADA), mechanisms=[name])
    with pytest.raises(AuthenticationError):
        talked.raise_failure()
    assert talked.identity is None
    assert f"a hook answered with what lets nobody in: {type(answer).__name__}" in caplog.messages


@pytest.mark.parametrize("answer", NEITHER, ids=repr)
@protocols
def test_nor_does_it_let_anybody_act_as_another(protocol: Protocol, answer: Any) -> None:
    class Confused(Careless):
        def on_authorize(self, *_: Any) -> Any:
            return answer

    credentials = Credentials("ada", ADA.password, authzid="list")
    for name in ("PLAIN", "SCRAM-SHA-256"):
        talked = duet(protocol, handler=Confused()).talk(credentials=credentials, mechanisms=[name])
        with pytest.raises(AuthenticationError):
            talked.raise_failure()
        assert talked.identity is None


@pytest.mark.parametrize("name", ["535", "500px@example.org", "450th"])
@protocols
def test_a_name_may_begin_with_a_number(protocol: Protocol, name: str) -> None:
    talked = duet(protocol, handler=Handler(lambda _: name)).talk(credentials=ADA, mechanisms=["PLAIN"])
    talked.raise_failure()
    assert talked.identity == Identity(name, "PLAIN")


@protocols
def test_the_reason_for_a_refused_token_reaches_the_caller(protocol: Protocol) -> None:
    strict = Handler(lambda _: TokenRefusal("insufficient_scope", "mail"))
    for name in ("OAUTHBEARER", "XOAUTH2"):
        talked = duet(protocol, handler=strict).talk(credentials=TOKEN, mechanisms=[name])
        with pytest.raises(TokenRefusedError) as caught:
            talked.raise_failure()
        assert caught.value.details == {"status": "insufficient_scope", "schemes": "bearer", "scope": "mail"}


@protocols
def test_a_long_token_is_held_until_it_is_asked_for(protocol: Protocol) -> None:
    """RFC 4954 section 4 and RFC 5034 section 4: a command line stays a command line."""
    long = "t" * 6000
    handler = Handler(lambda question: "ada" if question.token == long else None)
    for name in ("OAUTHBEARER", "XOAUTH2"):
        talked = duet(protocol, handler=handler).talk(credentials=Credentials("ada", token=long), mechanisms=[name])
        talked.raise_failure()
        assert f"AUTH {name}\r\n".encode() in talked.client.said
    limit = 512 if protocol is SMTP else 255
    for size, held in ((limit // 2, False), (limit, True)):
        password = "p" * size
        talked = duet(protocol).talk(credentials=Credentials("ada", password), mechanisms=["PLAIN"])
        lines = talked.client.said.split(b"\r\n")
        (command,) = [line for line in lines if line.startswith(b"AUTH")]
        assert (command == b"AUTH PLAIN") is held
        assert len(command) + 2 <= limit


@protocols
def test_a_server_name_can_be_told(protocol: Protocol) -> None:
    handler = Handler()
    known = {**CLIENT_MECHANISMS, "OAUTHBEARER": OAuthBearerClient("mx.example.test", 587)}
    duet(protocol, handler=handler).talk(credentials=TOKEN, known_mechanisms=known).raise_failure()
    (check,) = handler.asked
    assert check == TokenCheck("OAUTHBEARER", "ada", "t0ken", "mx.example.test", "587")


# A server that is not who it says (S39): scripts that a client has to see through.


def encode(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


class Impostor:
    """Says what it wants: an answer to each line of the client's."""

    def __init__(self, protocol: Protocol, *answers: Callable[[str], str] | str) -> None:
        hello = ["250-mx", "250 AUTH SCRAM-SHA-256 PLAIN LOGIN OAUTHBEARER XOAUTH2 CRAM-MD5"]
        capa = ["+OK", "SASL SCRAM-SHA-256 PLAIN LOGIN OAUTHBEARER XOAUTH2 CRAM-MD5", "."]
        self._answers = itertools.chain(["\r\n".join(hello if protocol is SMTP else capa)], answers)
        self._greeting = "220 mx" if protocol is SMTP else "+OK"
        self._protocol = protocol

    def meet(self, **options: Any) -> Any:
        """Return the client's side, which has opened a session and tried to log in."""
        conn = self._protocol.client()
        flow = self._protocol.client_flow(conn, tls=TLSPolicy.IMPLICIT, **{"credentials": ADA, **options})
        side = Side(conn, flow, TLSInfo("TLSv1.3"))
        side.speak()
        side.hear(self._greeting.encode() + b"\r\n")
        while not side.over:
            said = side.speak().decode()
            answer = next(self._answers, None)
            if answer is None:
                side.hear(b"")
            else:
                side.hear((answer if isinstance(answer, str) else answer(said)).encode() + b"\r\n")
        side.speak()
        return side


def client_nonce(said: str) -> str:
    """Return the nonce in a client's first message."""
    return base64.b64decode(said.split(" ")[-1]).decode().rpartition("r=")[2]


def challenge_for(said: str, ask: str) -> str:
    return ask + encode(f"r={client_nonce(said)}server,s={encode(b'salt')},i=4096")


@protocols
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_yes_that_comes_too_early_ends_the_connection(protocol: Protocol, steps: int) -> None:
    yes = "235 2.7.0 ok" if protocol is SMTP else "+OK"
    ask = protocol.ask
    answers: list[Any] = [lambda said: challenge_for(said, ask), ask + encode("v=" + encode(bytes(32)))]
    side = Impostor(protocol, *answers[:steps], yes).meet(mechanisms=["SCRAM-SHA-256"])
    with pytest.raises(AuthenticationError) as caught:
        raise side.error
    assert ("yes" if steps < 2 else "not who it says") in str(caught.value)
    assert side.conn.closing or not side.conn.idle
    assert (b"\r\n*\r\n" in side.said) is (steps == 2)


@protocols
@pytest.mark.parametrize(("name", "steps"), [("LOGIN", 0), ("LOGIN", 1), ("CRAM-MD5", 0), ("PLAIN", 0)])
def test_a_yes_to_what_was_not_said_yet_is_none(protocol: Protocol, name: str, steps: int) -> None:
    """PLAIN is one of them where its one message is too long to go with the command."""
    yes = "235 2.7.0 ok" if protocol is SMTP else "+OK"
    credentials = Credentials("ada", "p" * 600)
    impostor = Impostor(protocol, *[protocol.ask] * steps, yes)
    side = impostor.meet(mechanisms=[name], credentials=credentials)
    assert isinstance(side.error, AuthenticationError | RemoteProtocolError)
    assert side.conn.closing or not side.conn.idle
    assert encode("p" * 9) not in side.said.decode()


@protocols
@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("PLAIN", ["{ask}"]),  # asks for more
        ("LOGIN", ["{ask}", "{ask}", "{ask}"]),
        ("CRAM-MD5", ["{ask}PDE+", "{ask}"]),
        ("OAUTHBEARER", ["{ask}e30=", "{ask}e30="]),
        ("SCRAM-SHA-256", ["{ask}"]),
        ("SCRAM-SHA-256", ["{ask}" + encode("r=x,s=AAAA,i=4096")]),
        ("SCRAM-SHA-256", ["{ask}" + encode("e=other-error")]),
    ],
)
def test_a_client_that_does_not_go_on_says_so_and_hears_the_end(
    protocol: Protocol, name: str, answers: list[str]
) -> None:
    no = "501 5.7.0 cancelled" if protocol is SMTP else "-ERR cancelled"
    lines = [answer.format(ask=protocol.ask) for answer in answers]
    credentials = CREDENTIALS.get(name, ADA)
    side = Impostor(protocol, *lines, no).meet(mechanisms=[name], credentials=credentials)
    with pytest.raises(AuthenticationError):
        raise side.error
    assert side.said.endswith(b"\r\n*\r\n")
    assert side.conn.idle and not side.conn.closing


@protocols
def test_a_server_that_does_not_take_the_star_is_left(protocol: Protocol) -> None:
    side = Impostor(protocol, *[protocol.ask] * 5).meet(mechanisms=["PLAIN"])
    with pytest.raises(AuthenticationError):
        raise side.error
    assert side.said.count(b"*\r\n") == 1
    assert not side.conn.idle  # so the engine breaks the connection off


@protocols
@pytest.mark.parametrize("challenge", ["=AAA", "AAA=BBB", "AAAA====", "dXN!lcg==", "dXNlcg", "dXNlch==", " AAAA"])
def test_a_challenge_that_is_no_base64_is_answered_with_the_star(protocol: Protocol, challenge: str) -> None:
    """S35: RFC 4954 section 4 and RFC 5034 section 4."""
    no = "501 5.5.2 no" if protocol is SMTP else "-ERR no"
    side = Impostor(protocol, protocol.ask + challenge, no).meet(mechanisms=["SCRAM-SHA-256"])
    with pytest.raises(AuthenticationError):
        raise side.error
    assert side.said.endswith(b"\r\n*\r\n")


@protocols
@pytest.mark.parametrize("name", ["PLAIN", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2"])
def test_a_server_that_leaves_in_between_is_no_success(protocol: Protocol, name: str) -> None:
    """S36, on the other side."""
    credentials = CREDENTIALS.get(name, ADA)
    side = Impostor(protocol).meet(mechanisms=[name], credentials=credentials)
    assert isinstance(side.error, ConnectionClosedError)


@protocols
def test_a_server_that_begins_where_the_client_has_to(protocol: Protocol) -> None:
    long = Credentials("ada", "p" * 600)
    no = "501 5.7.0 no" if protocol is SMTP else "-ERR no"
    side = Impostor(protocol, protocol.ask + "AAAA", no).meet(mechanisms=["PLAIN"], credentials=long)
    assert side.error is not None
    assert encode("p" * 9) not in side.said.decode()


@protocols
def test_credentials_that_cannot_be_written_queue_nothing(protocol: Protocol) -> None:
    talked = Duet(protocol).talk(credentials=Credentials("a\0b", "secret"), mechanisms=["PLAIN"])
    with pytest.raises(GrammarError):
        talked.raise_failure()
    assert b"AUTH" not in talked.client.said
    assert talked.client.conn.idle


# Secrets (S23).


@protocols
@mechanisms
@pytest.mark.parametrize("good", [True, False])
def test_nothing_that_is_logged_shows_a_secret(protocol: Protocol, name: str, good: bool, caplog: Any) -> None:
    listen_to_everything(caplog)
    known = CREDENTIALS.get(name, ADA)
    password = known.password if good else "wr0ng-pass"
    token = known.token if good else "wr0ng-t0ken"
    credentials = Credentials(known.username, password if known.password else "", None, token if known.token else "")
    talked = duet(protocol).talk(credentials=credentials, mechanisms=[name])
    shown = talked.everything(caplog) + repr(credentials)
    for secret in (password, token):
        for form in (secret, encode(secret).rstrip("="), secret.encode().hex(), repr(secret.encode())[2:-1]):
            assert not form or form not in shown
    exchanged = talked.client.said.split(b"AUTH ")[-1].split(b"\r\n")[1:-1]
    assert not any(line.decode() in shown for line in exchanged if len(line) > 8)
    assert "AUTH" in shown


def test_a_password_in_the_wrong_place_is_not_shown(caplog: Any) -> None:
    listen_to_everything(caplog)
    talked = Duet(POP3)
    talked.script("AUTH PLAIN", "not!base64" + encode("\0ada\0open-sesame"), encode("\0ada\0open-sesame"))
    assert not any(b"b3Blbi1zZXNhbW" in line or b"sesame" in line for line in talked.server.trace)


def test_the_limits_of_tries_hold_for_all_mechanisms() -> None:
    for protocol in PROTOCOLS:
        limits = Limits(auth_failure_delay=0.5, max_auth_failures=2)
        talked = Duet(protocol, limits=limits)
        bad = "AUTH PLAIN " + encode("\0ada\0wrong")
        replies = talked.script(bad, "AUTH XOAUTH2 " + encode("user=ada\1auth=Bearer x\1\1"), "", bad, bad)
        assert talked.server.sleeps == [0.5, 1.0]
        assert sum(reply.startswith(protocol.no) for reply in replies) == 2
        assert talked.server.conn.closing


@protocols
def test_a_challenge_may_be_as_long_as_the_rfc_says(protocol: Protocol) -> None:
    """RFC 4954 section 4: 12,288 octets."""
    yes = "235 2.7.0 ok" if protocol is SMTP else "+OK"
    fitting = (12_288 - len(protocol.ask) - 2) // 4 * 3
    known = {**CLIENT_MECHANISMS, "PLAIN": Echo()}
    options: dict[str, Any] = {"known_mechanisms": known, "mechanisms": ["PLAIN"]}
    side = Impostor(protocol, protocol.ask + encode(bytes(fitting)), protocol.ask, yes).meet(**options)
    assert side.error is None
    assert encode(bytes(fitting)).encode() in side.said
    side = Impostor(protocol, protocol.ask + encode(bytes(fitting + 3)), yes).meet(**options)
    assert isinstance(side.error, RemoteProtocolError)
