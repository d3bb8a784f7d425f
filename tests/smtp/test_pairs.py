"""Our client against our server, flow against flow, over pipes that cut anywhere: every octet arrives, or is known
not to have."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto._core.policy import TLSPolicy
from mailproto.errors import Reject
from mailproto.sasl import Credentials
from mailproto.smtp import (
    Envelope,
    Outcome,
    Rcpt,
    SMTPClientConfig,
    SMTPClientConnection,
    SMTPServerConfig,
    SMTPServerConnection,
    make_submission,
)
from mailproto.smtp.extensions import (
    AUTH,
    CHUNKING,
    DEFAULT_EXTENSIONS,
    EIGHT_BIT_MIME,
    ENHANCED_STATUS_CODES,
    SIZE,
    STARTTLS,
)
from mailproto.smtp.flows.client import SessionOptions, open_session, quit_session
from mailproto.smtp.flows.sending import send_messages
from mailproto.smtp.flows.server import SMTPSession, serve
from tests.helpers import PROPERTY
from tests.smtp.pipes import Answerer, Driver, converse, serving

ADA, BOB, EVE = "ada@example.org", "bob@example.org", "eve@example.org"


class Inbox:
    """Keeps what it gets; knows everybody but Eve."""

    def __init__(self) -> None:
        self.messages: list[tuple[list[str], bytes]] = []

    def on_auth(self, session: SMTPSession, check: Any) -> bool:
        return bool(check.password == "pw")

    def on_rcpt(self, session: SMTPSession, rcpt: Rcpt) -> None:
        if str(rcpt.address) == EVE:
            raise Reject(550, "no such user", "5.1.1")

    def on_message(self, session: SMTPSession, envelope: Envelope) -> str:
        content = bytes(envelope)
        if b"SPAM" in content:
            raise Reject(554, "spam", "5.7.1")
        self.messages.append(([str(path) for path in envelope.forward_paths], content))
        return f"queued as {len(self.messages)}"


def pair(inbox: object, server: SMTPServerConfig, sizes: list[int]) -> tuple[SMTPServerConnection, Answerer]:
    conn = SMTPServerConnection(server)
    return conn, serving(Driver(conn, serve(SMTPSession(conn), inbox)), sizes)


BODIES = st.lists(
    st.sampled_from(
        [b"\r\n", b".", b"..", b"\r\n.\r\n", b"\r", b"\n", b"x", b"QUIT\r\n", b"MAIL FROM:<evil@x>\r\n", b"y" * 500]
    ),
    max_size=12,
).map(b"".join)
SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=5)


@PROPERTY
@given(st.lists(BODIES, min_size=1, max_size=3), SIZES, SIZES, st.booleans(), st.booleans(), st.booleans())
def test_every_octet_arrives(
    bodies: list[bytes], up: list[int], down: list[int], pipelining: bool, chunking: bool, tls: bool
) -> None:
    """S2: what arrives is the canonical form of what was sent, in as many messages, whatever is in them."""
    inbox = Inbox()
    extensions = tuple(e for e in DEFAULT_EXTENSIONS if chunking or e is not CHUNKING)
    config = SMTPServerConfig(starttls=tls, auth_mechanisms=("PLAIN",), extensions=extensions)
    server_conn, server = pair(inbox, config, up)
    conn = SMTPClientConnection(SMTPClientConfig(pipelining=pipelining))
    policy = TLSPolicy.REQUIRED if tls else TLSPolicy.NONE
    options = SessionOptions(tls=policy, credentials=Credentials("ada", "pw") if tls else None)
    driver, _ = converse(conn, open_session(conn, options), server, down)
    assert driver.error is None
    assert (server_conn.tls is not None) is tls
    assert server_conn.authenticated is tls
    # Iterables, so that BDAT is made use of where it can be: nobody knows how long they are.
    batch = [make_submission([body[:7], body[7:]], ADA, [BOB, EVE], canonicalise=True) for body in bodies]
    driver, _ = converse(conn, send_messages(conn, batch), server, down)
    assert driver.error is None
    for result in driver.result:
        assert [recipient.outcome for recipient in result.recipients] == [Outcome.ACCEPTED, Outcome.REFUSED]
    canonical = [re.sub(rb"\r\n|\r|\n", b"\r\n", body) for body in bodies]
    ended = [text if not text or text.endswith(b"\r\n") else text + b"\r\n" for text in canonical]
    assert [recipients for recipients, _ in inbox.messages] == [[BOB]] * len(bodies)
    for (_, arrived), text, whole in zip(inbox.messages, canonical, ended, strict=True):
        assert arrived in ((text, whole) if chunking else (whole,))
    assert [result.queue_id for result in driver.result] == [str(i + 1) for i in range(len(bodies))]
    driver, _ = converse(conn, quit_session(conn), server, down)
    assert driver.error is None


@PROPERTY
@given(st.integers(0, 700), st.integers(0, 700), SIZES, st.booleans())
def test_a_connection_that_breaks_tells_the_truth(up: int, down: int, sizes: list[int], chunking: bool) -> None:
    """S17, S61: accepted means there, refused and deferred mean not there, unknown may be either; never twice."""
    inbox = Inbox()
    extensions = tuple(e for e in DEFAULT_EXTENSIONS if chunking or e is not CHUNKING)
    _, server = pair(inbox, SMTPServerConfig(extensions=extensions), sizes)
    left = {"up": up, "down": down}

    def broken(said: bytes) -> bytes | None:
        """A network that carries so many octets each way, and then none."""
        carried, left["up"] = said[: left["up"]], left["up"] - len(said)
        answer = server(carried) if carried or not said else b""
        if answer is None or left["up"] < 0:
            answer = answer or b""
            left["down"], answer = 0, answer[: left["down"]]
            return answer or None
        answer, left["down"] = answer[: left["down"]], left["down"] - len(answer)
        return answer if left["down"] > 0 or answer else None

    conn = SMTPClientConnection()
    driver, _ = converse(conn, open_session(conn, SessionOptions(tls=TLSPolicy.NONE)), broken, sizes)
    if driver.error is not None:
        assert not inbox.messages
        return
    bodies = [b"one\r\n", b"SPAM\r\n", b"three\r\n"]
    batch = [make_submission([body], ADA, [BOB, EVE]) for body in bodies]
    driver, _ = converse(conn, send_messages(conn, batch), broken, sizes)
    assert driver.error is None
    arrived = [content for _, content in inbox.messages]
    assert len(set(arrived)) == len(arrived), "nothing twice"
    for body, result in zip(bodies, driver.result, strict=True):
        bob, eve = result.recipients
        assert eve.outcome in (Outcome.REFUSED, Outcome.DEFERRED)
        if bob.outcome is Outcome.ACCEPTED:
            assert body in arrived
        elif bob.outcome is not Outcome.UNKNOWN:
            assert body not in arrived


@pytest.mark.parametrize("policy", [TLSPolicy.IMPLICIT, TLSPolicy.REQUIRED, TLSPolicy.OPPORTUNISTIC])
def test_logging_in_on_every_kind_of_connection(policy: TLSPolicy) -> None:
    conn_side = SMTPServerConnection(SMTPServerConfig(starttls=True, auth_mechanisms=("LOGIN",)))
    driver = Driver(conn_side, serve(SMTPSession(conn_side), Inbox(), implicit_tls=policy is TLSPolicy.IMPLICIT))
    conn = SMTPClientConnection()
    options = SessionOptions(tls=policy, credentials=Credentials("ada", "pw"))
    client, flights = converse(conn, open_session(conn, options), serving(driver), [3, 1, 7])
    assert client.error is None
    assert conn_side.authenticated
    assert conn.tls is not None
    assert conn_side.tls is not None
    assert flights[-3:] == [b"AUTH LOGIN\r\n", b"YWRh\r\n", b"cHc=\r\n"]


def test_round_trips() -> None:
    """DESIGN section 3: as few as the server allows. STARTTLS, AUTH, three messages and QUIT in six flights."""
    inbox = Inbox()
    _, server = pair(inbox, SMTPServerConfig(starttls=True, auth_mechanisms=("PLAIN",)), [1 << 20])
    conn = SMTPClientConnection()
    flights: list[bytes] = []
    options = SessionOptions(credentials=Credentials("ada", "pw"))
    for flow in (
        open_session(conn, options),
        send_messages(conn, [make_submission(b"x\r\n", ADA, [BOB]) for _ in range(3)]),
        quit_session(conn),
    ):
        driver, more = converse(conn, flow, server)
        assert driver.error is None
        flights += more
    assert [flight.split(b" ")[0].split(b"\r\n")[0] for flight in flights] == [
        b"EHLO",
        b"STARTTLS",
        b"EHLO",
        b"AUTH",
        b"MAIL",
        b"QUIT",
    ]


def test_eight_bits_and_sizes_are_agreed_on() -> None:
    inbox = Inbox()
    extensions = (SIZE, EIGHT_BIT_MIME, ENHANCED_STATUS_CODES, STARTTLS, AUTH)
    _, server = pair(inbox, SMTPServerConfig(extensions=extensions, max_message_size=10), [4])
    conn = SMTPClientConnection()
    converse(conn, open_session(conn, SessionOptions(tls=TLSPolicy.NONE)), server)
    big, fits = make_submission(b"x" * 20, ADA, [BOB]), make_submission("nä\r\n".encode(), ADA, [BOB])
    driver, flights = converse(conn, send_messages(conn, [big, fits]), server)
    first, second = driver.result
    assert first.recipients[0].phase == "message"
    assert second.ok
    assert b"BODY=8BITMIME" in flights[0]
    assert inbox.messages == [([BOB], "nä\r\n".encode())]


def test_an_asynchronous_source() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b".dot", b"\r\n", b".", b"\r\n"):
            yield piece

    inbox = Inbox()
    _, server = pair(inbox, SMTPServerConfig(), [3])
    conn = SMTPClientConnection()
    converse(conn, open_session(conn, SessionOptions(tls=TLSPolicy.NONE)), server)
    driver, _ = converse(conn, send_messages(conn, [make_submission(pieces(), ADA, [BOB])]), server, [2])
    assert driver.result[0].ok
    assert inbox.messages == [([BOB], b".dot\r\n.\r\n")]
