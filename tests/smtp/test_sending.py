"""Sending messages: what leaves in how many flights, and the whole truth for each recipient."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto._core.flow import Call, Flow
from mailproto._core.policy import TLSPolicy
from mailproto._flows.endpoints import ask
from mailproto.address import Address
from mailproto.errors import (
    ConnectionClosedError,
    ConnectionTimeoutError,
    GrammarError,
    MailProtoError,
    NotSupportedError,
    RemoteProtocolError,
    SourceError,
)
from mailproto.smtp import (
    Body,
    DeliveryError,
    MailParameters,
    Outcome,
    RecipientResult,
    SendResult,
    SMTPClientConfig,
    SMTPClientConnection,
    Submission,
    make_submission,
)
from mailproto.smtp.flows.client import SessionOptions, open_session, quit_session, request
from mailproto.smtp.flows.sending import send_message, send_messages
from tests.helpers import PROPERTY
from tests.smtp import client
from tests.smtp.pipes import Answerer, Driver, converse, scripted

SENDER, RECIPIENTS = "ada@example.org", ["bob@example.org", "eve@example.org"]
ACCEPTED, REFUSED, DEFERRED, UNKNOWN = Outcome.ACCEPTED, Outcome.REFUSED, Outcome.DEFERRED, Outcome.UNKNOWN


def submission(
    body: Any = b"Subject: x\r\n\r\nHello\r\n", recipients: list[str] | None = None, **options: Any
) -> Submission:
    return make_submission(body, SENDER, RECIPIENTS if recipients is None else recipients, **options)


def send(
    *answers: str | None, conn: SMTPClientConnection | None = None, what: Submission | None = None
) -> tuple[SendResult, list[bytes]]:
    """Send one message to a server with these answers; return the result and the flights."""
    conn = conn if conn is not None else client("PIPELINING")
    driver, flights = converse(
        conn, send_message(conn, what or submission()), scripted(*answers[1:], greeting=str(answers[0]))
    )
    if driver.error is not None:
        raise driver.error
    assert isinstance(driver.result, SendResult)
    return driver.result, flights


def outcomes(result: SendResult) -> list[tuple[Outcome, str, int | None]]:
    return [(r.outcome, r.phase, r.reply.code if r.reply else None) for r in result.recipients]


def test_a_result_is_shown_in_short() -> None:
    """However many recipients there are: by how many of each there are, and one that says what is wrong."""
    accepted, _ = send("250 ok|250 ok|250 ok|354 go", "250 2.0.0 queued")
    assert repr(accepted) == "<SendResult: 2 accepted (250 2.0.0 queued)>"
    mixed, _ = send("250 ok|250 ok|550 5.1.1 who?|354 go", "250 2.0.0 queued")
    assert repr(mixed) == "<SendResult: 1 accepted, 1 refused (eve@example.org: 550 5.1.1 who?)>"
    assert repr(mixed.refused) == "(<eve@example.org: refused (550 5.1.1 who?)>,)"
    broken, _ = send("250 ok", None)
    assert repr(broken) == "<SendResult: 2 deferred (the peer closed the connection)>"
    crowd = SendResult(accepted.recipients * 1000, accepted.reply)
    assert repr(crowd) == "<SendResult: 2000 accepted (250 2.0.0 queued)>"


def test_a_result_is_shown_in_one_line_whatever_is_in_it() -> None:
    """An address may come from a stranger's header, and turn around what stands behind it in a log."""
    error = SourceError("the message could not be read: OSError: one line\nand another")
    recipient = RecipientResult(Address("\u202ebob", "example.org"), Outcome.DEFERRED, "message", error=error)
    said = r"the message could not be read: OSError: one line\nand another"
    assert repr(recipient) == rf"<\u202ebob@example.org: deferred ({said})>"
    assert repr(SendResult((recipient,), error=error)) == f"<SendResult: 1 deferred ({said})>"


# Flights.


def test_a_message_takes_two_round_trips() -> None:
    result, flights = send("250 ok|250 ok|250 ok|354 go", "250 queued as 4711")
    assert flights == [
        b"MAIL FROM:<ada@example.org>\r\nRCPT TO:<bob@example.org>\r\nRCPT TO:<eve@example.org>\r\nDATA\r\n",
        b"Subject: x\r\n\r\nHello\r\n.\r\n",
    ]
    assert result.ok
    assert result.queue_id == "4711"
    assert outcomes(result) == [(ACCEPTED, ".", 250)] * 2


def test_without_pipelining_it_takes_one_for_each_command() -> None:
    result, flights = send("250 ok", "250 ok", "250 ok", "354 go", "250 ok", conn=client())
    assert [flight[:4] for flight in flights] == [b"MAIL", b"RCPT", b"RCPT", b"DATA", b"Subj"]
    assert result.ok


def test_the_next_message_begins_behind_the_end_of_the_last() -> None:
    conn = client("PIPELINING")
    two = [submission(b"one\r\n"), submission(b"two\r\n"), submission(b"three\r\n")]
    server = scripted(
        "250 ok|250 ok|354 go|",
        "250 first|250 ok|250 ok|250 ok|354 go",
        "250 second|250 ok|250 ok|250 ok|354 go",
        "250 third",
        greeting="250 ok",
    )
    driver, flights = converse(conn, send_messages(conn, two), server)
    # The first flight's answers come in two parts here, which is nothing to the client.
    assert [flight.split(b"\r\n")[0] for flight in flights] == [
        b"MAIL FROM:<ada@example.org>",
        b"one",
        b"two",
        b"three",
    ]
    assert all(b"\r\n.\r\nMAIL FROM" in flight for flight in flights[1:3])
    assert [result.reply.text for result in driver.result] == ["first", "second", "third"]


@pytest.mark.parametrize("count", [99, 100, 250])
def test_more_recipients_than_may_be_in_flight(count: int) -> None:
    names = [f"user{i}@example.org" for i in range(count)]

    def server(said: bytes) -> bytes:
        return b"".join(
            b"354 go\r\n" if line == b"DATA" else b"250 ok\r\n" for line in said.split(b"\r\n")[:-1] if line != b"x"
        )

    conn = client("PIPELINING")
    driver, flights = converse(conn, send_message(conn, submission(b"x\r\n", names)), server)
    assert driver.result.ok
    assert len(driver.result.recipients) == count
    assert len(flights) == 1 + (count + 2) // 100 + 1 - ((count + 2) % 100 == 0)


@pytest.mark.parametrize("keywords", [("PIPELINING",), ()])
def test_a_refused_sender_with_many_recipients(keywords: tuple[str, ...]) -> None:
    """Those beyond the flight are never sent, and nobody waits for their replies."""
    names = [f"user{i}@example.org" for i in range(250)]

    def server(said: bytes) -> bytes:
        return b"550 no\r\n" + b"503 no\r\n" * (said.count(b"\r\n") - 1)

    conn = client(*keywords)
    driver, flights = converse(conn, send_message(conn, submission(b"x\r\n", names)), server)
    assert outcomes(driver.result) == [(REFUSED, "MAIL", 550)] * 250
    assert sum(flight.count(b"RCPT") for flight in flights) == (99 if keywords else 0)
    assert conn.idle


@pytest.mark.parametrize("keywords", [("PIPELINING",), ("PIPELINING", "CHUNKING")])
@pytest.mark.parametrize("body", [b"a\r\n", b"a\n"])
def test_a_refused_sender_whose_recipients_are_taken(keywords: tuple[str, ...], body: bytes) -> None:
    """By a server that does not know its own mind: no message goes, and it is no mistake of the caller's."""
    conn = client(*keywords)
    what = submission(body, canonicalise=True)
    result, _ = send("550 no|250 ok|250 ok|503 no", "250 ok", conn=conn, what=what)
    assert outcomes(result) == [(REFUSED, "MAIL", 550)] * 2
    assert conn.idle


# The truth for each recipient (S61, S62).


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (("250|250|250|354", "250 ok"), [(ACCEPTED, ".", 250)] * 2),
        (("250|250|550|354", "250 ok"), [(ACCEPTED, ".", 250), (REFUSED, "RCPT", 550)]),
        (("250|450|250|354", "250 ok"), [(DEFERRED, "RCPT", 450), (ACCEPTED, ".", 250)]),
        (("250|251|252|354", "299 fine"), [(ACCEPTED, ".", 299)] * 2),
        # RFC 5321 section 4.5.3.1.10: 552 to RCPT is what 452 should have been.
        (("250|250|552 too many|354", "250 ok"), [(ACCEPTED, ".", 250), (DEFERRED, "RCPT", 552)]),
        (("250|250|250|354", "552 too big"), [(REFUSED, ".", 552)] * 2),
        (("250|250|550|354", "550 spam"), [(REFUSED, ".", 550), (REFUSED, "RCPT", 550)]),
        (("250|250|550|354", "451 later"), [(DEFERRED, ".", 451), (REFUSED, "RCPT", 550)]),
        (("250|250|250|451", "250 reset"), [(DEFERRED, "DATA", 451)] * 2),
        (("250|250|250|554", "250 reset"), [(REFUSED, "DATA", 554)] * 2),
        (("250|250|250|554", "500 what"), [(REFUSED, "DATA", 554)] * 2),
        (("550|503|503|503",), [(REFUSED, "MAIL", 550)] * 2),
        (("452|503|503|503",), [(DEFERRED, "MAIL", 452)] * 2),
        (("550|250|250|354", "250 thanks"), [(REFUSED, "MAIL", 550)] * 2),
        (("250|550|450|554", "250 reset"), [(REFUSED, "RCPT", 550), (DEFERRED, "RCPT", 450)]),
        (("250|550|450|354", "250 for nobody"), [(REFUSED, "RCPT", 550), (DEFERRED, "RCPT", 450)]),
        (("250|550|450|354", "554 for nobody"), [(REFUSED, "RCPT", 550), (DEFERRED, "RCPT", 450)]),
        (("250|550|551 <x@y>|503", "250 reset"), [(REFUSED, "RCPT", 550), (REFUSED, "RCPT", 551)]),
        (("421 closing", None), [(DEFERRED, "MAIL", 421)] * 2),
        (("250|421 closing", None), [(DEFERRED, "RCPT", 421), (DEFERRED, "connection", None)]),
        (("250|250|250|354", "421 closing"), [(DEFERRED, ".", 421)] * 2),
    ],
)
def test_every_mixture_of_replies(
    answers: tuple[str | None, ...], expected: list[tuple[Outcome, str, int | None]]
) -> None:
    conn = client("PIPELINING")
    result, flights = send(*answers, conn=conn)
    assert outcomes(result) == expected
    assert result.ok is all(entry[0] is ACCEPTED for entry in expected)
    if "354" in str(answers[0]) and not any(ACCEPTED is entry[0] or entry[1] == "." for entry in expected):
        assert flights[1] == b".\r\n", "a lone dot ends what nobody gets"
    assert conn.idle or conn.closing, "fit for the next message, or for nothing"


def test_an_enhanced_code_says_whether_552_is_meant() -> None:
    conn = client("PIPELINING", "ENHANCEDSTATUSCODES")
    result, _ = send("250|552 5.2.2 full|552 too many|554", "250 reset", conn=conn)
    assert [entry[0] for entry in outcomes(result)] == [REFUSED, DEFERRED]
    conn = client("PIPELINING", "ENHANCEDSTATUSCODES")
    result, _ = send("250|552 5.5.3 too many|552 5.3.4 too big|554", "250 reset", conn=conn)
    assert [entry[0] for entry in outcomes(result)] == [DEFERRED, REFUSED]


@pytest.mark.parametrize("code", [350, 399, 300, 334])
def test_a_go_ahead_by_another_number(code: int) -> None:
    """The class of the code decides."""
    result, flights = send(f"250|250|250|{code} go", "250 ok")
    assert result.ok
    assert flights[1].endswith(b".\r\n")


def test_a_success_without_a_go_ahead() -> None:
    """A server that says yes to DATA at once has not been given the message, and nobody knows what it means."""
    conn = client("PIPELINING")
    result, _ = send("250|250|250|250 done", "250 reset", conn=conn)
    assert outcomes(result) == [(DEFERRED, "DATA", 250)] * 2
    assert conn.idle or conn.closing


def break_at(place: int, *answers: str) -> Answerer:
    """Return a server that is gone behind so many octets of its answers."""
    left = place
    server = scripted(*answers[1:], greeting=answers[0])

    def answer(said: bytes) -> bytes | None:
        nonlocal left
        data = server(said)
        if left <= 0 or data is None:
            return None
        data, left = data[:left], left - len(data)
        return data

    return answer


ANSWERS = ("250 ok|250 ok|550 no|354 go", "250-queued|250 as x")
BEFORE_GO_AHEAD = len("250 ok\r\n250 ok\r\n550 no\r\n354 go\r\n")
WHOLE = BEFORE_GO_AHEAD + len("250-queued\r\n250 as x\r\n")


@pytest.mark.parametrize("place", range(WHOLE + 1))
def test_a_connection_that_breaks_at_any_octet(place: int) -> None:
    """S61, RFC 1047: unknown is when the end of the message was sent, and no complete reply came."""
    conn = client("PIPELINING")
    driver, _ = converse(conn, send_message(conn, submission()), break_at(place, *ANSWERS))
    assert driver.error is None
    bob, eve = driver.result.recipients
    if place == WHOLE:
        assert (bob.outcome, eve.outcome) == (ACCEPTED, REFUSED)
        assert driver.result.error is None
        return
    assert bob.outcome is (UNKNOWN if place >= BEFORE_GO_AHEAD else DEFERRED)
    assert eve.outcome is (REFUSED if place >= BEFORE_GO_AHEAD - 8 else DEFERRED)
    assert isinstance(driver.result.error, ConnectionClosedError)
    assert not driver.result.ok
    with pytest.raises(DeliveryError) as caught:
        driver.result.raise_for_refused()
    assert caught.value.result is driver.result


OFFERS = [("PIPELINING", "CHUNKING"), ("CHUNKING",), ("PIPELINING",), ()]


@pytest.mark.parametrize("keywords", OFFERS)
@pytest.mark.parametrize(
    ("words", "outcome", "code"),
    [
        (b"552 too big\r\n", REFUSED, 552),
        (b"421 enough\r\n", DEFERRED, 421),
        (b"250 so far\r\n", DEFERRED, None),
        (b"552-too", DEFERRED, None),
        (b"", DEFERRED, None),
    ],
)
def test_a_server_that_leaves_in_the_middle_of_a_message(
    words: bytes, outcome: Outcome, code: int | None, keywords: tuple[str, ...]
) -> None:
    """What it says last is heard, the message is not ended, and nobody has it."""
    conn = client(*keywords)
    given: list[bytes] = []

    def body() -> Iterator[bytes]:
        for number in range(20):
            if number == 3:
                conn.receive_data(words) if words else None
                conn.receive_eof()
            given.append(b"x" * (64 << 10))
            yield given[-1]

    answers = ["250", "250"] if "CHUNKING" in keywords else ["250", "250", "354"]
    if "PIPELINING" in keywords:
        answers = ["|".join(answers)]
    flow = send_message(conn, submission(body(), recipients=["bob@example.org"]))
    driver, flights = converse(conn, flow, scripted(*answers[1:], greeting=answers[0]))
    (bob,) = driver.result.recipients
    assert (bob.outcome, bob.reply.code if bob.reply else None) == (outcome, code)
    assert isinstance(driver.result.error, ConnectionClosedError | RemoteProtocolError) or code
    assert b" LAST" not in b"".join(flights)
    assert not b"".join(flights).endswith(b"\r\n.\r\n")
    assert len(given) < 10, "nor is the rest of it read"


@pytest.mark.parametrize("keywords", [("CHUNKING",), ("CHUNKING", "PIPELINING")])
def test_a_message_that_is_refused_while_it_is_sent_is_not_sent_to_its_end(keywords: tuple[str, ...]) -> None:
    """Its length is the server's reason, perhaps."""
    given: list[bytes] = []

    def body() -> Iterator[bytes]:
        for _ in range(20):
            given.append(b"x" * (64 << 10))
            yield given[-1]

    def answer(said: bytes) -> bytes:
        accepted = said.count(b"MAIL") + said.count(b"RCPT") + said.count(b"RSET")
        return b"250 yes\r\n" * accepted + b"552 too long\r\n" * said.count(b"BDAT")

    conn = client(*keywords)
    flow = send_message(conn, submission(body(), recipients=["bob@example.org"]))
    driver, flights = converse(conn, flow, answer)
    assert outcomes(driver.result) == [(REFUSED, "BDAT", 552)]
    assert len(given) < 10
    assert b" LAST" not in b"".join(flights)
    assert conn.idle


def test_no_answer_in_time_is_unknown_too() -> None:
    conn = client("PIPELINING")
    flow = send_message(conn, submission())
    flow.send(None)
    conn.data_to_send()
    conn.receive_data(b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n")
    flow.send(None)
    assert conn.data_to_send().endswith(b"\r\n.\r\n")
    conn.receive_timeout()
    with pytest.raises(StopIteration) as stopped:
        flow.send(None)
    result = stopped.value.value
    assert outcomes(result) == [(UNKNOWN, ".", None)] * 2
    assert isinstance(result.error, ConnectionTimeoutError)


def test_nonsense_instead_of_the_final_word_is_unknown_too() -> None:
    result, _ = send("250|250|250|354", "what?")
    assert [entry[0] for entry in outcomes(result)] == [UNKNOWN] * 2
    assert isinstance(result.error, RemoteProtocolError)


def test_what_comes_behind_a_broken_connection_is_deferred() -> None:
    conn = client("PIPELINING")
    server = scripted("250|250|250|354", "250 ok|421 enough", greeting="")
    server(b"")
    driver, _ = converse(conn, send_messages(conn, [submission(), submission(), submission()]), server)
    first, second, third = driver.result
    assert first.ok
    assert {entry[0] for entry in outcomes(second)} == {DEFERRED}
    assert {entry[0] for entry in outcomes(third)} == {DEFERRED}
    assert isinstance(second.error, ConnectionClosedError)
    assert third.error is not None, "it was not tried, and the result says why"


@pytest.mark.parametrize("how", ["eof", "eof seen", "421", "quit"])
def test_a_connection_that_is_over_defers(how: str) -> None:
    """S20: a pooled connection, and a server that has had enough."""
    conn = client("PIPELINING")
    if how == "421":
        conn.receive_data(b"421 idle for too long\r\n")
        conn.receive_eof()
    elif how == "quit":
        conn.quit()
        conn.data_to_send()
        conn.receive_data(b"221 bye\r\n")
        while conn.next_event() is not None:
            pass
    else:
        conn.receive_eof()
        if how == "eof seen":
            conn.next_event()
    driver, flights = converse(conn, send_message(conn, submission()), scripted())
    assert driver.error is None, repr(driver.error)
    assert {entry[0] for entry in outcomes(driver.result)} == {DEFERRED}
    assert isinstance(driver.result.error, ConnectionClosedError)
    assert flights == []


def test_a_second_message_after_every_kind_of_failure() -> None:
    """S20: a clean second transaction, RSET answered first where one was due."""
    for answers in (
        ("250|250|250|354", "550 spam"),
        ("550|503|503|503",),
        ("250|550|550|554", "250 reset"),
        ("250|550|550|354", "554 nobody"),
        ("250|250|250|451", "250 reset"),
    ):
        conn = client("PIPELINING")
        first, _ = send(*answers, conn=conn)
        assert not first.accepted
        second, flights = send("250|250|250|354", "250 ok", conn=conn)
        assert second.ok
        assert flights[0].startswith(b"MAIL FROM")


def test_a_chunk_that_was_not_sent_since_nobody_was_to_get_it() -> None:
    """The server waits for it, and takes no other message before it is told not to."""
    conn = client("CHUNKING")
    server = scripted("450 later", "250 reset", greeting="250 sender")
    flow = send_message(conn, make_submission(b"x\r\n", "ada@example.org", "bob@example.org"))
    driver, flights = converse(conn, flow, server)
    assert [flight[:4] for flight in flights] == [b"MAIL", b"RCPT", b"RSET"]
    assert outcomes(driver.result) == [(DEFERRED, "RCPT", 450)]


@pytest.mark.parametrize(
    ("keywords", "answers", "second"),
    [
        (("CHUNKING",), ["250", "250", "552 no", "500 what?"], (DEFERRED, "connection", None)),
        (("PIPELINING",), ["250|250|451 no", "500 what?"], (DEFERRED, "connection", None)),
        (("PIPELINING", "CHUNKING"), ["250|250|552 no|500 what?|503|250|250"], (UNKNOWN, "BDAT", None)),
    ],
)
def test_a_server_that_takes_no_transaction_back(
    keywords: tuple[str, ...], answers: list[str], second: tuple[Outcome, str, int | None]
) -> None:
    """Nobody gets the next message who was a recipient of the one before: the connection ends."""
    conn = client(*keywords)
    flow = send_messages(conn, [make_submission(b"x\r\n", "ada@example.org", "bob@example.org") for _ in range(2)])
    driver, _ = converse(conn, flow, scripted(*answers[1:], greeting=answers[0]))
    assert driver.error is None, repr(driver.error)
    first, last = driver.result
    assert {entry[0] for entry in outcomes(first)} <= {REFUSED, DEFERRED}
    assert outcomes(last) == [second]
    assert conn.closing


def test_the_server_that_leaves_while_a_refused_chunk_is_taken_back() -> None:
    """What became of the messages before is told all the same."""
    conn = client("CHUNKING")
    flow = send_messages(conn, [make_submission(b"x\r\n", "ada@example.org", "bob@example.org") for _ in range(3)])
    server = scripted("250", "250 taken", "250", "250", "450 later", None, greeting="250")
    driver, flights = converse(conn, flow, server)
    assert driver.error is None, repr(driver.error)
    assert [result.recipients[0].outcome for result in driver.result] == [ACCEPTED, DEFERRED, DEFERRED]
    assert flights[-1] == b"RSET\r\n"


def test_redirects_are_reported_and_not_followed() -> None:
    """S90, RFC 5321 section 7.4."""
    result, flights = send("250|551 try <other@example.com>|251 will go to <third@example.com>|354", "250 ok")
    assert outcomes(result) == [(REFUSED, "RCPT", 551), (ACCEPTED, ".", 250)]
    assert b"other@example.com" not in b"".join(flights)
    assert result.recipients[1].recipient_reply is not None
    assert result.recipients[1].recipient_reply.code == 251


def test_the_result_says_it_in_words() -> None:
    result, _ = send("250|550 5.1.1 no such user|450 later|354", "250 ok")
    assert result.accepted == ()
    assert len(result.refused) == len(result.deferred) == 1
    assert result.unknown == ()
    with pytest.raises(DeliveryError, match=r"bob@example.org and 1 more: refused \(550 5.1.1 no such user\)"):
        result.raise_for_refused()
    result, _ = send("250|250|250|354", "250 ok")
    result.raise_for_refused()
    assert result.queue_id is None


# Before anything is sent.


def test_a_message_that_is_too_big_is_not_sent() -> None:
    """RFC 1870 section 4."""
    conn = client("PIPELINING", "SIZE 20")
    for body, size in ((b"x" * 21, 23), (b"x" * 19 + b"\r\n", 21)):
        with pytest.raises(NotSupportedError, match=f"{size} octets, and the server takes 20"):
            send("", conn=conn, what=submission(body))
    result, flights = send("250|250|250|354", "250 ok", conn=conn, what=submission(b"x" * 18 + b"\r\n"))
    assert flights[0].startswith(b"MAIL FROM:<ada@example.org> SIZE=20\r\n")
    assert result.ok


def test_the_size_is_that_without_the_stuffed_dots() -> None:
    _, flights = send(
        "250|250|250|354", "250 ok", conn=client("PIPELINING", "SIZE"), what=submission(b".x\r\n.y\r\n")
    )
    assert b" SIZE=8\r\n" in flights[0]
    assert flights[1] == b"..x\r\n..y\r\n.\r\n"


def test_a_bare_newline_is_refused_before_anything_is_sent() -> None:
    """S2."""
    for body in (b"a\nb", b"a\rb", b"a\n.\r\nMAIL FROM:<evil@x>\r\n", b"\r", b"\n"):
        conn = client("PIPELINING")
        with pytest.raises(GrammarError, match="bare CR or LF"):
            send("", conn=conn, what=submission(body))
        assert conn.idle


def test_unless_it_is_to_be_mended() -> None:
    body = b"a\n.\r\nMAIL FROM:<evil@x>\rb\r\n.\n"
    _, flights = send("250|250|250|354", "250 ok", what=submission(body, canonicalise=True))
    assert flights[1] == b"a\r\n..\r\nMAIL FROM:<evil@x>\r\nb\r\n..\r\n.\r\n"


def test_eight_bits_where_they_are_offered() -> None:
    """S83, RFC 6152 section 3."""
    body = "Subject: x\r\n\r\nnaïve\r\n".encode()
    _, flights = send("250|250|250|354", "250 ok", conn=client("PIPELINING", "8BITMIME"), what=submission(body))
    assert b" BODY=8BITMIME\r\n" in flights[0]
    with pytest.raises(NotSupportedError, match="8BITMIME"):
        send("", what=submission(body))
    _, flights = send("250|250|250|354", "250 ok", conn=client("PIPELINING", "8BITMIME"))
    assert b"BODY" not in flights[0], "which says nothing that is not needed"


@pytest.mark.parametrize("keywords", [("CHUNKING",), ()])
def test_a_wrong_word_about_bits_spoils_no_other_message(keywords: tuple[str, ...]) -> None:
    """It is refused before anything is said, and what became of the others is told."""
    seven = MailParameters(body=Body.SEVEN_BIT)
    three = [submission(), submission("naïve\r\n".encode(), parameters=seven), submission()]
    conn = client("PIPELINING", "8BITMIME", *keywords)
    server = offering_yes()
    driver, flights = converse(conn, send_messages(conn, three), server)
    assert driver.error is None, repr(driver.error)
    first, second, third = driver.result
    assert first.ok
    assert third.ok
    assert isinstance(second.error, GrammarError)
    assert {entry[0] for entry in outcomes(second)} == {REFUSED}
    assert b"7BIT" not in b"".join(flights)


def test_an_email_message_is_written_in_the_bits_that_are_wanted() -> None:
    message = EmailMessage()
    message.set_content("naïve\n", cte="8bit")
    conn = client("PIPELINING", "8BITMIME")
    what = submission(message, parameters=MailParameters(body=Body.SEVEN_BIT))
    result, flights = send("250|250|250|354", "250 ok", conn=conn, what=what)
    assert result.ok
    assert b" BODY=7BIT\r\n" in flights[0]
    assert flights[1].isascii()


def offering_yes() -> Answerer:
    """Return a server that says yes to everything, and takes a message as a line of its own."""
    state = {"data": False}

    def answer(said: bytes) -> bytes:
        replies = b""
        while said:
            if state["data"]:
                _, _, said = said.partition(b"\r\n.\r\n")
                state["data"] = False
                replies += b"250 taken\r\n"
                continue
            line, _, said = said.partition(b"\r\n")
            if line.startswith(b"BDAT"):
                said = said[int(line.split(b" ")[1]) :]
            state["data"] = line == b"DATA"
            replies += b"354 go\r\n" if state["data"] else b"250 ok\r\n"
        return replies

    return answer


def test_an_address_beyond_ascii_where_it_is_offered() -> None:
    """RFC 6531."""
    what = submission(recipients=["grün@example.org"])
    _, flights = send("250|250|354", "250 ok", conn=client("PIPELINING", "SMTPUTF8", "8BITMIME"), what=what)
    assert flights[0].startswith(b"MAIL FROM:<ada@example.org> ")
    assert b"SMTPUTF8" in flights[0].split(b"\r\n")[0]
    conn = client("PIPELINING")
    driver, flights = converse(conn, send_message(conn, what), scripted())
    assert outcomes(driver.result) == [(REFUSED, "message", None)]
    assert isinstance(driver.result.recipients[0].error, NotSupportedError)
    assert flights == []


def test_a_domain_beyond_ascii_has_another_way() -> None:
    """A-labels go to every server."""
    result, flights = send("250|250|354", "250 ok", what=submission(recipients=["ada@bücher.example"]))
    assert b"RCPT TO:<ada@xn--bcher-kva.example>\r\n" in flights[0]
    assert str(result.recipients[0].address) == "ada@bücher.example"


@pytest.mark.parametrize(
    "parameters",
    [MailParameters(size=5), MailParameters(auth=Address.parse("a@b")), MailParameters(extra={"X": "y"})],
)
def test_a_parameter_that_is_not_offered_spoils_no_other_message(parameters: MailParameters) -> None:
    """The result of the message before is told all the same."""
    conn = client("PIPELINING")
    server = scripted("250|250|250|354", "250 ok", greeting="")
    server(b"")
    three = [submission(), submission(parameters=parameters), submission()]
    driver, _ = converse(conn, send_messages(conn, three[:2]), server)
    assert driver.error is None, repr(driver.error)
    first, second = driver.result
    assert first.ok
    assert isinstance(second.error, NotSupportedError | GrammarError)
    assert {entry[0] for entry in outcomes(second)} == {REFUSED}


# Sources.


def test_messages_that_cannot_be_sent_reset_nothing_twice() -> None:
    """A server counts what leads nowhere, and hangs up when it is too much."""
    conn = client("PIPELINING", "CHUNKING")
    unknown = submission(parameters=MailParameters(extra={"X-COLOUR": "red"}))
    messages = [submission(), *[unknown] * 100, submission()]
    driver, flights = converse(conn, send_messages(conn, messages), offering_yes())
    first, *others, last = driver.result
    assert first.ok
    assert all(isinstance(result.error, NotSupportedError) for result in others)
    assert last.ok
    assert b"".join(flights).count(b"RSET") == 1


def pieces(*data: bytes) -> Iterator[bytes]:
    yield from data


async def async_pieces(*data: Any) -> AsyncIterator[Any]:
    for piece in data:
        yield piece


@pytest.mark.parametrize(
    "source",
    [
        lambda: b".a\r\nb",
        lambda: bytearray(b".a\r\nb"),
        lambda: memoryview(b".a\r\nb"),
        lambda: io.BytesIO(b".a\r\nb"),
        lambda: pieces(b".", b"a\r", b"\nb"),
        lambda: [b".a", b"\r\n", b"b"],
        lambda: async_pieces(b".a\r\n", b"b"),
    ],
)
def test_sources(source: Any) -> None:
    result, flights = send("250|250|250|354", "250 ok", what=submission(source()))
    assert flights[1] == b"..a\r\nb\r\n.\r\n"
    assert result.ok


class Sparse:
    """An asynchronous iterable whose iterator is no iterable itself, which ``async for`` does not ask for either."""

    def __aiter__(self) -> Any:
        return SparseIterator()


class SparseIterator:
    def __init__(self) -> None:
        self._left = [b"two\r\n", b"one\r\n"]

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


@pytest.mark.parametrize("keywords", [("CHUNKING",), ()])
def test_an_iterator_that_is_only_that(keywords: tuple[str, ...]) -> None:
    conn = client("PIPELINING", *keywords)
    driver, flights = converse(conn, send_message(conn, submission(Sparse())), offering_yes())
    assert driver.error is None
    assert driver.result.ok
    assert b"one\r\ntwo\r\n" in b"".join(flights)


def test_a_large_source_is_read_piece_by_piece() -> None:
    read: list[int] = []

    class File(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None
            assert 0 < size <= 1 << 20
            read.append(size)
            return super().read(size)

    _, flights = send("250|250|250|354", "250 ok", what=submission(File(b"x" * (1 << 20))))
    assert len(flights[1]) == (1 << 20) + 5
    assert len(read) > 2


@pytest.mark.parametrize("spoilt", [(b"fine\r\n", b"bare\nLF"), (b"x\r",), (b"fine\r\n", "8bït".encode())])
@pytest.mark.parametrize("kind", [pieces, async_pieces])
def test_a_source_that_turns_out_bad_is_cut_off(kind: Any, spoilt: tuple[bytes, ...]) -> None:
    """S2: half a message was sent, so the connection ends, and nothing of it is delivered."""
    conn = client("PIPELINING")
    driver, flights = converse(
        conn, send_message(conn, submission(kind(*spoilt))), scripted("250|250|354", greeting="250")
    )
    assert isinstance(driver.error, GrammarError)
    assert conn.closing
    assert not b"".join(flights).endswith(b"\r\n.\r\n")


def test_what_was_sent_ahead_of_a_good_bye_is_nobodys() -> None:
    """The server closes behind its 421, so none of it may have arrived: it can be sent again without a doubt."""
    conn = client("PIPELINING", "CHUNKING")
    script = scripted(None, greeting="250|250|250|250 first|250 reset|421 leaving")
    driver, flights = converse(conn, send_messages(conn, [submission()] * 4), script)
    assert flights[0].count(b" LAST\r\n") == 4
    first, *others = driver.result
    assert first.ok
    phases = [(each.outcome, each.phase) for result in others for each in result.recipients]
    assert phases == [(Outcome.DEFERRED, "MAIL")] * 2 + [(Outcome.DEFERRED, "connection")] * 4
    assert all(isinstance(result.error, ConnectionClosedError) for result in others)


def broken() -> Iterator[bytes]:
    yield b"half\r\n"
    raise OSError("disk")


async def async_broken() -> AsyncIterator[bytes]:
    yield b"half\r\n"
    raise OSError("disk")


class BrokenFile(io.RawIOBase):
    def read(self, _: int = -1) -> bytes:
        raise OSError("disk")


class Locked:
    def __iter__(self) -> Iterator[bytes]:
        raise OSError("locked")


class AsyncLocked:
    def __aiter__(self) -> AsyncIterator[bytes]:
        raise OSError("locked")


SOURCES = [broken, async_broken, BrokenFile, Locked, lambda: [b"half\r\n", 3]]


@pytest.mark.parametrize("keywords", [("CHUNKING",), ()])
@pytest.mark.parametrize("source", SOURCES)
def test_a_source_that_fails(source: Any, keywords: tuple[str, ...]) -> None:
    """Chunks are taken back; half a message behind DATA cannot be, and costs the connection."""
    conn = client("PIPELINING", *keywords)
    driver, flights = converse(conn, send_message(conn, submission(source())), offering_yes())
    assert isinstance(driver.error, OSError | TypeError)
    assert conn.idle if keywords else conn.closing
    assert not b"".join(flights).endswith(b"\r\n.\r\n")
    assert b"LAST" not in b"".join(flights)


@pytest.mark.parametrize("keywords", [("CHUNKING",), ()])
@pytest.mark.parametrize("source", SOURCES)
def test_a_source_that_fails_takes_no_other_result_with_it(source: Any, keywords: tuple[str, ...]) -> None:
    """Who does not know what was accepted sends it again."""
    conn = client("PIPELINING", *keywords)
    messages = [submission(), submission(source()), submission()]
    driver, _ = converse(conn, send_messages(conn, messages), offering_yes())
    first, second, third = driver.result
    assert first.ok
    assert isinstance(second.error, SourceError)
    assert isinstance(second.error.__cause__, OSError | TypeError)
    assert {(each.outcome, each.phase) for each in second.recipients} == {(Outcome.DEFERRED, "message")}
    assert third.ok if keywords else third.deferred


def fetched() -> Iterator[bytes]:
    yield b"half\r\n"
    raise ConnectionTimeoutError("the POP3 server did not answer in time")


async def async_fetched() -> AsyncIterator[bytes]:
    yield b"half\r\n"
    raise ConnectionClosedError("the POP3 server hung up")


@pytest.mark.parametrize("keywords", [("CHUNKING",), ()])
@pytest.mark.parametrize("source", [fetched, async_fetched])
def test_a_source_whose_own_connection_breaks(source: Any, keywords: tuple[str, ...]) -> None:
    """That is no word about ours, which is in the middle of a message then."""
    conn = client("PIPELINING", *keywords)
    messages = [submission(), submission(source()), submission()]
    driver, flights = converse(conn, send_messages(conn, messages), offering_yes())
    first, second, third = driver.result
    assert first.ok
    assert isinstance(second.error, SourceError)
    assert isinstance(second.error.__cause__, ConnectionClosedError)
    assert {(each.outcome, each.phase) for each in second.recipients} == {(DEFERRED, "message")}
    assert third.ok if keywords else third.deferred
    assert not b"".join(flights).endswith(b"half\r\n.\r\n")
    assert conn.idle if keywords else conn.closing


def test_our_own_connection_that_breaks_while_a_source_is_read() -> None:
    """A driver that cannot make room for what comes says so where the next piece was to be read."""
    conn = client("PIPELINING")
    flow = send_message(conn, submission(async_pieces(b"one\r\n")))
    driver = Driver(conn, flow)
    driver.go()
    conn.receive_data(b"250\r\n250\r\n250\r\n354\r\n")
    assert isinstance(flow.send(None), Call)
    conn.receive_eof()
    with pytest.raises(StopIteration) as stop:
        flow.throw(ConnectionClosedError("the connection is gone"))
    result: SendResult = stop.value.value
    assert type(result.error) is ConnectionClosedError
    assert {(each.outcome, each.phase) for each in result.recipients} == {(DEFERRED, "connection")}


@pytest.mark.parametrize("source", [broken, async_broken])
def test_what_was_read_of_a_source_that_fails_is_no_message_for_others(source: Any) -> None:
    """A server that takes one recipient at a time is given the message again: half of it is all that there is."""
    conn = client("PIPELINING", "CHUNKING", "LIMITS RCPTMAX=1")
    driver, flights = converse(conn, send_messages(conn, [submission(source())]), offering_yes())
    (result,) = driver.result
    assert {(each.outcome, each.phase) for each in result.recipients} == {(DEFERRED, "message")}
    assert isinstance(result.error, SourceError)
    assert b"LAST" not in b"".join(flights)


def failing(at: int) -> Any:
    """Return what listens to progress, and fails when so many octets have left."""

    def progress(sent: int, _: int | None) -> None:
        if sent >= at:
            raise KeyError("progress")

    return progress


LONG = [b"x" * 69_998 + b"\r\n"] * 3


@pytest.mark.parametrize("keywords", [("CHUNKING",), ()])
def test_progress_that_fails_takes_no_result_with_it(keywords: tuple[str, ...]) -> None:
    """Not those of other messages, and not what became of its own: half of it is taken back, or cut off."""
    conn = client("PIPELINING", *keywords)
    messages = [submission(), submission(LONG, progress=failing(70_000)), submission()]
    driver, flights = converse(conn, send_messages(conn, messages), offering_yes())
    first, second, third = driver.result
    assert first.ok
    assert isinstance(second.error, SourceError)
    assert isinstance(second.error.__cause__, KeyError)
    assert {(each.outcome, each.phase) for each in second.recipients} == {(DEFERRED, "message")}
    assert third.ok if keywords else third.deferred
    assert not b"".join(flights[:-1] if keywords else flights).endswith(b"x\r\n.\r\n")
    conn = client("PIPELINING", *keywords)
    driver, _ = converse(conn, send_message(conn, messages[1]), offering_yes())
    assert isinstance(driver.error, KeyError), "where there is nothing else to tell, it is his own"


@pytest.mark.parametrize("message", [b"x" * 98 + b"\r\n", LONG])
def test_progress_that_fails_behind_the_message_changes_nothing(message: Any) -> None:
    """All of it was sent in chunks: who were told nothing but of the failure would send it again."""
    size = len(message) if isinstance(message, bytes) else sum(map(len, message))
    for job in (send_message, lambda conn, what: send_messages(conn, [submission(), what, submission()])):
        conn = client("PIPELINING", "CHUNKING")
        driver, _ = converse(conn, job(conn, submission(message, progress=failing(size))), offering_yes())
        results = driver.result if isinstance(driver.result, list) else [driver.result]
        assert all(result.ok for result in results)
        (own,) = [result for result in results if result.error is not None]
        assert isinstance(own.error, SourceError)
        assert conn.idle


def test_submissions_that_cannot_all_be_had_are_not_begun_with() -> None:
    def letters() -> Iterator[Submission]:
        yield submission()
        yield submission(recipients=["nobody"])

    conn = client("PIPELINING")
    driver, flights = converse(conn, send_messages(conn, letters()), offering_yes())
    assert isinstance(driver.error, GrammarError)
    assert flights == []
    assert conn.idle


def test_a_submission_is_a_tuple_but_not_several_submissions() -> None:
    conn = client("PIPELINING")
    one: Any = submission()
    driver, flights = converse(conn, send_messages(conn, one), offering_yes())
    assert isinstance(driver.error, TypeError)
    assert str(driver.error) == "several submissions are wanted, as in a list, not one"
    assert flights == []


@pytest.mark.parametrize("keywords", [("CHUNKING",), ()])
@pytest.mark.parametrize(
    "failing", [submission(BrokenFile(), downgrade=True), submission(AsyncLocked())], ids=["downgrade", "locked"]
)
def test_a_source_that_fails_before_anything_is_said(failing: Submission, keywords: tuple[str, ...]) -> None:
    """A file is read for a server of seven bits before it is known whether it can be sent, and one that comes
    asynchronously is opened."""
    conn = client("PIPELINING", *keywords)
    driver, flights = converse(conn, send_messages(conn, [submission(), failing, submission()]), offering_yes())
    first, second, third = driver.result
    assert first.ok
    assert isinstance(second.error, SourceError)
    assert third.ok
    assert b"".join(flights).count(b"MAIL FROM") == 2


class Impatient(io.RawIOBase):
    """A file that does not block, and has nothing at the moment."""

    def __init__(self) -> None:
        self._left: list[bytes | None] = [b"one\r\n", None, b"two\r\n", b""]

    def read(self, _: int = -1) -> bytes | None:
        return self._left.pop(0)


@pytest.mark.parametrize("keywords", [("CHUNKING",), ()])
@pytest.mark.parametrize(
    "source",
    [
        Impatient,
        lambda: [b"one\r\n", None, b"two\r\n"],
        lambda: async_pieces(b"one\r\n", None),
        lambda: ["one\r\n"],
        lambda: [1, 2],
    ],
)
def test_what_is_no_octets_does_not_end_a_message(source: Any, keywords: tuple[str, ...]) -> None:
    """Half a message would be taken for a whole one."""
    conn = client("PIPELINING", *keywords)
    driver, flights = converse(conn, send_message(conn, submission(source())), offering_yes())
    assert isinstance(driver.error, TypeError)
    assert not b"".join(flights).endswith(b"\r\n.\r\n")
    assert b"LAST" not in b"".join(flights)


@pytest.mark.parametrize("limits", [(), ("LIMITS RCPTMAX=1",)])
@pytest.mark.parametrize("keywords", [("CHUNKING",), ()])
@pytest.mark.parametrize("downgrade", [True, False])
def test_a_buffer_that_is_used_again(downgrade: bool, keywords: tuple[str, ...], limits: tuple[str, ...]) -> None:
    """As with ``readinto``: what was given is sent, and not what is there when it leaves."""

    def pieces() -> Iterator[Any]:
        buffer = bytearray(5)
        for word in (b"one\r\n", b"two\r\n", b"six\r\n"):
            buffer[:] = word
            yield memoryview(buffer) if word == b"two\r\n" else buffer

    conn = client("PIPELINING", *keywords, *limits)
    what = submission(pieces(), downgrade=downgrade)
    driver, flights = converse(conn, send_message(conn, what), offering_yes())
    assert driver.result.ok
    assert b"".join(flights).count(b"one\r\ntwo\r\nsix\r\n") == len(limits) + 1


def test_an_email_message() -> None:
    message = EmailMessage()
    message["From"] = "Ada <ada@example.org>"
    message["To"] = "bob@example.org"
    message["Bcc"] = "secret@example.org"
    message["Subject"] = "Grüße"
    message.set_content("naïve\n.\nline\n")
    before = message.as_bytes()
    conn = client("PIPELINING", "SIZE", "8BITMIME")
    driver, flights = converse(
        conn, send_message(conn, make_submission(message)), scripted("250|250|250|354", "250 ok", greeting="")
    )
    wire = flights[1]
    assert driver.result.ok
    assert b"RCPT TO:<secret@example.org>" in flights[0]
    assert b"secret" not in wire
    assert b"Bcc" not in wire
    assert wire.count(b"\n") == wire.count(b"\r\n")
    assert b"\r\n..\r\n" in wire
    assert message.as_bytes() == before, "the caller's message is as it was (S88)"
    assert message["Bcc"] == "secret@example.org"


# Properties.

BODIES = st.lists(st.sampled_from([b"\r\n", b".", b"..", b"x", b"\r\n.", b"Subject: y", b"\t"]), max_size=12).map(
    b"".join
)
ANSWER_CODES = st.sampled_from(["250", "251", "354", "421", "450", "550", "552"])


@PROPERTY
@given(
    st.lists(ANSWER_CODES, min_size=6, max_size=20),
    st.booleans(),
    BODIES,
    st.integers(1, 3),
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.integers(0, 200) | st.none(),
)
def test_every_recipient_gets_a_result_whatever_the_server_says(
    codes: list[str], pipelining: bool, body: bytes, messages: int, sizes: list[int], broken: int | None
) -> None:
    """S86: a result for each message and recipient; never a hang, never a stray exception."""
    left = iter(codes)
    said = 0
    in_data = False

    def server(data: bytes) -> bytes | None:
        nonlocal said, in_data
        answer = b""
        for line in data.split(b"\r\n")[:-1]:
            if in_data and line != b".":
                continue
            code = next(left, "250")
            in_data = line == b"DATA" and code == "354"
            answer += f"{code} x\r\n".encode()
        said += len(answer)
        return None if broken is not None and said > broken else answer

    conn = client(*(["PIPELINING"] if pipelining else []))
    batch = [submission(body) for _ in range(messages)]
    driver, _ = converse(conn, send_messages(conn, batch), server, sizes)
    assert driver.error is None, repr(driver.error)
    assert len(driver.result) == messages
    for result in driver.result:
        assert [str(recipient.address) for recipient in result.recipients] == RECIPIENTS
        if result.accepted:
            assert result.reply is not None
            assert result.reply.ok
        assert result.error is None or isinstance(result.error, MailProtoError)


def test_a_config_without_pipelining() -> None:
    conn = client("PIPELINING", pipelining=False)
    assert conn.config == SMTPClientConfig(pipelining=False)
    result, flights = send("250", "250", "250", "354", "250 ok", conn=conn)
    assert result.ok
    assert len(flights) == 5


def test_a_line_that_ends_anywhere_with_the_last_octets_is_a_closed_connection() -> None:
    """The end of input may come together with data, so that a flow learns of it when it has more to say."""
    greeting, hello = b"220 mx\r\n", b"250-mx\r\n250 PIPELINING\r\n"
    message = [b"250 ok\r\n" * 3 + b"354 go\r\n", b"250 taken\r\n"]
    heard = [greeting, hello, *message, *message, b"250 noop\r\n", b"221 bye\r\n"]
    whole = sum(map(len, heard))
    for cut in range(whole + 1):
        conn = SMTPClientConnection()
        driver = Driver(conn, _whole_session(conn))
        left = cut
        for answer in heard:
            if not driver.done:
                conn.receive_data(answer[:left] or b"")
                if len(answer) >= left:
                    conn.receive_eof()
                driver.go()
            left = max(left - len(answer), 0)
        assert driver.done
        assert driver.error is None or isinstance(driver.error, ConnectionClosedError), f"cut behind {cut} octets"
    assert driver.result == [Outcome.ACCEPTED] * 2


def _whole_session(conn: SMTPClientConnection) -> Flow[list[Outcome]]:
    yield from open_session(conn, SessionOptions(tls=TLSPolicy.NONE))
    first = yield from send_message(conn, submission())
    second = yield from send_message(conn, submission())
    yield from ask(conn, request, conn.noop)
    yield from quit_session(conn)
    return [result.recipients[0].outcome for result in (first, second)]
