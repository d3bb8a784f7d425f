"""A server's exchanges broken off at every step of every mechanism (S36), and the dialogues of the RFCs."""

import base64
import gc
from typing import Any

import pytest

from mailproto._core.limits import Limits
from mailproto.sasl import CramMD5Server, Identity
from tests.sasl_mechanisms.duet import ALL, POP3, PROTOCOLS, SMTP, Careless, Duet, Handler, Protocol
from tests.sasl_mechanisms.talk import ADA


def encode(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def scram_steps(name: str, size: int) -> list[str]:
    binding = "p=tls-exporter" if name.endswith("PLUS") else "n"
    return [encode(f"{binding},,n=ada,r=client"), encode("c=biws,r=wrong,p=" + encode(bytes(size)))]


STEPS = {
    "SCRAM-SHA-1": scram_steps("SCRAM-SHA-1", 20),
    "SCRAM-SHA-256": scram_steps("SCRAM-SHA-256", 32),
    "SCRAM-SHA-512": scram_steps("SCRAM-SHA-512", 64),
    "SCRAM-SHA-1-PLUS": scram_steps("SCRAM-SHA-1-PLUS", 20),
    "SCRAM-SHA-256-PLUS": scram_steps("SCRAM-SHA-256-PLUS", 32),
    "SCRAM-SHA-512-PLUS": scram_steps("SCRAM-SHA-512-PLUS", 64),
    "PLAIN": [encode("\0ada\0wrong")],
    "LOGIN": [encode("ada"), encode("wrong")],
    "CRAM-MD5": [encode("ada " + "0" * 32)],
    "OAUTHBEARER": [encode("n,a=ada,\1auth=Bearer x\1\1"), encode("\1")],
    "XOAUTH2": [encode("user=ada\1auth=Bearer x\1\1"), ""],
    "EXTERNAL": [encode("eve")],
    "ANONYMOUS": [encode("trace")],
}
"""What a client says to fail, in response to one challenge after the other."""

GOOD = "AUTH PLAIN " + encode("\0ada\0" + ADA.password)

protocols = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
everywhere = pytest.mark.parametrize(
    ("name", "step"), [(name, step) for name, steps in STEPS.items() for step in range(len(steps))]
)


def make(protocol: Protocol, **settings: Any) -> Duet:
    """Return a server that offers everything, and lets in ada alone."""
    careful = Handler(
        lambda question: (
            question.mechanism == "PLAIN" and question.matches({"ada": ADA.password}.get(question.username))
        )
    )
    return Duet(
        protocol, **{"bindings": {"tls-exporter": b"data"}, "certificate": True, "handler": careful, **settings}
    )


def test_there_are_steps_for_every_mechanism() -> None:
    assert set(STEPS) == set(ALL)


@protocols
@pytest.mark.parametrize("name", STEPS)
def test_the_steps_lead_to_a_refusal(protocol: Protocol, name: str) -> None:
    replies = make(protocol).script(f"AUTH {name}", *STEPS[name])
    asked = [reply for reply in replies if reply.startswith(protocol.ask.rstrip(" "))]
    assert sum(reply.startswith(protocol.no) for reply in replies) == 1
    assert replies[-1].startswith(protocol.no)
    assert len([reply for reply in asked if not reply.startswith("+OK")]) == len(STEPS[name])


@protocols
@everywhere
@pytest.mark.parametrize("response", ["*", "=", "not base64", "QUIT!", "A" * 13_000, "AAA=BBB", b"\xff\x00"])
def test_broken_off_and_then_a_clean_login(protocol: Protocol, name: str, step: int, response: str | bytes) -> None:
    talked = make(protocol)
    replies = talked.script(f"AUTH {name}", *STEPS[name][:step], response, GOOD)
    refusal = replies[-2]
    assert refusal.startswith(("50", "-ERR"))
    assert refusal.startswith(protocol.cancelled) is (isinstance(response, str) and response == "*")
    assert replies[-1].startswith(protocol.yes)
    assert talked.identity == Identity("ada", "PLAIN")


@protocols
@pytest.mark.parametrize("name", ["OAUTHBEARER", "XOAUTH2"])
@pytest.mark.parametrize("response", ["*", "not base64", "A" * 13_000])
def test_a_refused_token_counts_though_the_client_breaks_off(protocol: Protocol, name: str, response: str) -> None:
    talked = make(protocol)
    replies = talked.script(*[f"AUTH {name}", STEPS[name][0], response] * 3, GOOD)
    assert talked.identity is None and talked.server.conn.closing
    assert talked.server.sleeps[:2] == [1.0, 2.0]
    assert not any(reply.startswith(protocol.yes) for reply in replies)
    assert sum(reply.startswith(protocol.cancelled) for reply in replies) == 3 * (response == "*")


@protocols
@everywhere
def test_a_client_that_leaves_in_between(protocol: Protocol, name: str, step: int) -> None:
    talked = make(protocol)
    replies = talked.script(f"AUTH {name}", *STEPS[name][:step])
    assert talked.identity is None
    assert not any(reply.startswith((protocol.yes, protocol.no)) for reply in replies)


@protocols
@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("garbage", [b"\xff", b"\0", b"\0\0\0\0", b"n,,", b"user=", b"\xff" * 9000])
def test_octets_that_are_no_message_of_the_mechanism(protocol: Protocol, name: str, garbage: bytes) -> None:
    rest = ["*"] if name == "LOGIN" else []  # its first response may be anything
    talked = make(protocol)
    replies = talked.script(f"AUTH {name}", encode(garbage), *rest, GOOD)
    assert replies[-2].startswith(("501 5.5.2", "501 5.7.0", "-ERR", "535"))
    assert replies[-1].startswith(protocol.yes)


@protocols
@pytest.mark.parametrize("name", STEPS)
def test_what_looks_like_a_command_is_a_response(protocol: Protocol, name: str) -> None:
    """QUIT, RSET and NOOP are base64, too."""
    for word in ("QUIT", "RSET", "NOOP"):
        replies = make(protocol).script(f"AUTH {name}", word, "*", "NOOP")
        assert not any(reply.startswith(("221", "250 2.0.0", "+OK Good-bye")) for reply in replies[1:-1])


@pytest.mark.parametrize("initial", ["=", encode("tim 0")])
def test_an_initial_response_where_the_server_begins(initial: str) -> None:
    """RFC 4954 section 4: 501 with 5.7.0. RFC 5034 section 4: -ERR."""
    for protocol, refusal in ((SMTP, "501 5.7.0 "), (POP3, "-ERR ")):
        replies = make(protocol).script(f"AUTH CRAM-MD5 {initial}", GOOD)
        assert replies[-2].startswith(refusal)
        assert replies[-1].startswith(protocol.yes)


@protocols
def test_attempts_that_are_broken_off_leave_nothing_behind(protocol: Protocol) -> None:
    endless = Limits(max_errors=10**6, max_junk=10**6, auth_failure_delay=0, max_auth_failures=10**6)

    def objects(attempts: int) -> int:
        talked = make(protocol, limits=endless)
        talked.script(*["AUTH SCRAM-SHA-256", STEPS["SCRAM-SHA-256"][0], "*"] * attempts)
        talked.server.trace.clear()
        talked.handler.asked.clear()
        gc.collect()
        return len(gc.get_objects())

    objects(5)
    few, many = objects(5), objects(300)
    assert many - few < 100


# The dialogues of the RFCs.

TEST = Careless(lambda question: question.matches({"test": "1234" if question.mechanism == "PLAIN" else ""}["test"]))


def test_the_dialogues_of_rfc_4954_section_4_1() -> None:
    plain: dict[str, Any] = {"offered": ("PLAIN",), "handler": TEST}
    replies = Duet(SMTP, **plain).script("AUTH PLAIN dGVzdAB0ZXN0ADEyMzQ=")
    assert replies[-1].startswith("235 2.7.0 ")
    replies = Duet(SMTP, **plain).script("AUTH PLAIN", "dGVzdAB0ZXN0ADEyMzQ=")
    assert replies[-2] == "334 "
    assert replies[-1].startswith("235 2.7.0 ")
    server = CramMD5Server(lambda: b"<4129423.41.12828472@sourcefour.andrew.cmu.edu>")
    challenge = "PDQxMjk0MjMuNDEuMTI4Mjg0NzJAc291cmNlZm91ci5hbmRyZXcuY211LmVkdT4="
    cram = Duet(SMTP, offered=("CRAM-MD5",), known={"CRAM-MD5": server}, handler=Careless(lambda _: True))
    replies = cram.script("AUTH CRAM-MD5", "cmpzMyBlYzNhNTlmZWQzOTVhYmExZWM2MzY3YzRmNGI0MWFjMA==")
    assert replies[-2] == f"334 {challenge}"
    assert replies[-1].startswith("235 2.7.0 ")
    assert cram.identity == Identity("rjs3", "CRAM-MD5")
    external = Duet(SMTP, offered=("EXTERNAL", "PLAIN"), certificate=True, handler=Careless())
    replies = external.script("EHLO client.example.com", "AUTH EXTERNAL =")
    assert "250-AUTH EXTERNAL PLAIN" in [reply.replace("250 AUTH", "250-AUTH") for reply in replies]
    assert replies[-1].startswith("235 2.7.0 ")


def test_the_dialogues_of_rfc_5034_section_6() -> None:
    known = Careless(lambda question: question.matches({"test": "test"}.get(question.username)))
    plain: dict[str, Any] = {"offered": ("PLAIN",), "handler": known}
    replies = Duet(POP3, **plain).script("CAPA", "AUTH PLAIN dGVzdAB0ZXN0AHRlc3Q=")
    assert "SASL PLAIN" in replies
    assert replies[-1].startswith("+OK")
    talked = Duet(POP3, **plain)
    replies = talked.script("AUTH PLAIN", "dGVzdAB0ZXN0AHRlc3Q=")
    assert replies[-2] == "+ "
    assert replies[-1] == "+OK maildrop locked and ready"
    assert talked.identity == Identity("test", "PLAIN")


def test_the_exchange_of_rfc_7628_section_4_1_over_smtp() -> None:
    """As it stands there, but for the tag of IMAP's that has strayed into its line."""
    known = Careless(lambda question: question.token == "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==")
    talked = Duet(SMTP, offered=("OAUTHBEARER",), handler=known)
    replies = talked.script(
        "AUTH OAUTHBEARER bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2Vy"
        "dmVyLmV4YW1wbGUuY29tAXBvcnQ9NTg3AWF1dGg9QmVhcmVyIHZGOWRmd"
        "DRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
    )
    assert replies[-1].startswith("235 2.7.0 ")
    assert talked.identity == Identity("user@example.com", "OAUTHBEARER")


def test_the_failed_exchange_of_google() -> None:
    talked = Duet(SMTP, offered=("XOAUTH2",), handler=Careless(lambda _: None))
    replies = talked.script("AUTH XOAUTH2 " + encode("user=someuser@example.com\1auth=Bearer ya29.vF9dft4\1\1"), "")
    assert base64.b64decode(replies[-2].removeprefix("334 ")).startswith(b"{")
    assert replies[-1].startswith("535 5.7.8 ")
