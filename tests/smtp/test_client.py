"""The client connection: what leaves when, what each reply means, and what a server may not do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto._core.newlines import Checked, checked_pieces
from mailproto.errors import (
    ConnectionTimeoutError,
    GrammarError,
    LocalProtocolError,
    NotSupportedError,
    RemoteProtocolError,
)
from mailproto.smtp import (
    Body,
    ClientState,
    CommandSkipped,
    ConnectionClosed,
    GreetingReceived,
    Limits,
    MailParameters,
    ReadyForData,
    Reply,
    ReplyReceived,
    SMTPClientConfig,
    SMTPClientConnection,
    StartTLS,
)
from mailproto.smtp.extensions import Ret
from tests.helpers import PROPERTY, cut_at
from tests.smtp import ADA, BOB, EVE, client, say

# Pipelining as a policy of the output (RFC 2920 section 3.1, S63).


def queue_message(conn: SMTPClientConnection, recipients: int = 2) -> list[Any]:
    return [conn.mail(ADA), *(conn.rcpt(BOB) for _ in range(recipients)), conn.data()]


def in_message() -> SMTPClientConnection:
    """Return a client whose server waits for the message."""
    conn = client("PIPELINING")
    queue_message(conn, 1)
    conn.data_to_send()
    say(conn, "250 ok", "250 ok", "354 go")
    return conn


def test_without_the_extension_one_command_leaves_at_a_time() -> None:
    conn = client()
    queue_message(conn)
    for line in (
        b"MAIL FROM:<ada@example.org>\r\n",
        b"RCPT TO:<bob@example.org>\r\n",
        b"RCPT TO:<bob@example.org>\r\n",
    ):
        assert conn.data_to_send() == line
        assert conn.data_to_send() == b""
        say(conn, "250 ok")
    assert conn.data_to_send() == b"DATA\r\n"


def test_with_it_all_up_to_data_leave_in_one_flight() -> None:
    conn = client("PIPELINING")
    queue_message(conn, 3)
    assert conn.data_to_send().count(b"\r\n") == 5
    assert conn.data_to_send() == b""


@pytest.mark.parametrize("verb", ["ehlo", "helo", "vrfy", "expn", "noop", "help", "quit", "auth"])
def test_nothing_leaves_behind_a_command_that_ends_a_group(verb: str) -> None:
    conn = client("PIPELINING", "AUTH PLAIN")
    first: Any = getattr(conn, verb)
    first("PLAIN" if verb == "auth" else "x.example") if verb not in ("noop", "quit") else first()
    if verb != "quit":
        conn.rset()
        conn.rset()
    assert conn.data_to_send().count(b"\r\n") == 1
    if verb != "quit":
        say(conn, "250 ok") if verb not in ("ehlo", "helo") else say(conn, "250-x", "250 PIPELINING")
        assert conn.data_to_send() == (b"RSET\r\n" if verb == "helo" else b"RSET\r\nRSET\r\n")


def test_the_next_message_begins_right_behind_the_last() -> None:
    conn = in_message()
    conn.send_data(b"x\r\n")
    conn.end_data()
    queue_message(conn, 1)
    assert conn.data_to_send() == (b"x\r\n.\r\nMAIL FROM:<ada@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n")


def test_so_many_commands_are_ahead_of_their_replies_and_no_more() -> None:
    """S63: both sides writing and nobody reading is a deadlock."""
    conn = client("PIPELINING", limits=Limits(max_in_flight=10))
    conn.mail(ADA)
    for _ in range(30):
        conn.rcpt(BOB)
    assert conn.data_to_send().count(b"\r\n") == 10
    say(conn, "250 ok", "250 ok", "250 ok")
    assert conn.data_to_send().count(b"\r\n") == 3


def test_where_none_may_be_ahead_they_leave_one_by_one() -> None:
    conn = client("PIPELINING", limits=Limits(max_in_flight=0))
    conn.mail(ADA)
    conn.rcpt(BOB)
    assert conn.data_to_send() == b"MAIL FROM:<ada@example.org>\r\n"
    say(conn, "250 ok")
    assert conn.data_to_send() == b"RCPT TO:<bob@example.org>\r\n"


def test_replies_are_matched_by_count() -> None:
    conn = client("PIPELINING")
    commands = queue_message(conn)
    conn.data_to_send()
    events = say(conn, "251 is 354 not 250", "550-250 ok", "550 5.1.1 250", "250 354", "354 go")
    assert [event.command for event in events] == commands
    assert [event.reply.code for event in events] == [251, 550, 250, 354]
    assert [command.reply and command.reply.code for command in commands] == [251, 550, 250, 354]
    assert conn.in_transaction
    assert conn.state is ClientState.DATA


# Refusals on the way.


def test_what_depends_on_a_refused_mail_is_not_sent() -> None:
    conn = client()
    mail, rcpt, data = queue_message(conn, 1)
    conn.data_to_send()
    events = say(conn, "550 no")
    assert [type(event) for event in events] == [ReplyReceived, CommandSkipped, CommandSkipped]
    assert [event.command for event in events] == [mail, rcpt, data]
    assert not conn.in_transaction
    assert conn.idle
    conn.mail(BOB)
    assert conn.data_to_send() == b"MAIL FROM:<bob@example.org>\r\n"


def test_data_is_not_sent_for_nobody() -> None:
    """S62."""
    conn = client()
    queue_message(conn, 1)
    conn.data_to_send()
    say(conn, "250 ok")
    conn.data_to_send()
    events = say(conn, "550 no")
    assert [type(event) for event in events] == [ReplyReceived, CommandSkipped]
    assert conn.in_transaction
    with pytest.raises(LocalProtocolError):
        conn.data()
    conn.rcpt(EVE)
    conn.data()
    assert conn.data_to_send() == b"RCPT TO:<eve@example.org>\r\n"


def test_one_accepted_recipient_is_enough() -> None:
    conn = client("PIPELINING")
    queue_message(conn, 3)
    conn.data_to_send()
    events = say(conn, "250 ok", "550 no", "450 later", "250 ok", "354 go")
    assert isinstance(events[-1], ReadyForData)
    assert conn.data_to_send() == b""


def test_a_lone_dot_ends_a_message_for_nobody_and_no_later_transaction() -> None:
    """RFC 2920 section 3.1; the transaction that the caller has begun since is another one."""
    conn = client("PIPELINING")
    _, _, data = queue_message(conn, 1)
    conn.data_to_send()
    say(conn, "550 no sender")
    again = conn.mail(BOB)
    assert conn.in_transaction
    events = say(conn, "503 what", "354 go")
    assert [event.reply.code for event in events] == [503]
    assert conn.data_to_send() == b".\r\n"
    assert [event.command for event in say(conn, "250 thanks for nothing")] == [data]
    assert conn.in_transaction, "this is the reply to the old transaction"
    assert conn.data_to_send() == b"MAIL FROM:<bob@example.org>\r\n"
    assert [event.command for event in say(conn, "250 ok")] == [again]
    conn.rcpt(EVE)


def test_an_empty_message_that_was_taken_ends_its_transaction() -> None:
    conn = client("PIPELINING")
    queue_message(conn, 1)
    conn.data_to_send()
    say(conn, "250 ok", "550 no", "354 go", "250 taken")
    assert not conn.in_transaction
    assert conn.state is ClientState.READY
    assert conn.data_to_send() == b".\r\n"
    conn.mail(ADA)


def test_a_refused_data_leaves_the_transaction_to_rset() -> None:
    conn = client("PIPELINING")
    queue_message(conn, 1)
    conn.data_to_send()
    say(conn, "250 ok", "250 ok", "451 busy")
    assert conn.in_transaction
    with pytest.raises(LocalProtocolError, match="under way"):
        conn.mail(ADA)
    conn.rset()
    assert conn.data_to_send() == b"RSET\r\n"
    say(conn, "250 ok")
    assert conn.idle
    conn.mail(ADA)


@pytest.mark.parametrize(
    ("early", "late"), [("250 taken\r\n", ""), ("250 tak", "en\r\n"), ("250-taken\r\n", "250 as x\r\n")]
)
def test_a_message_is_not_taken_before_it_is_whole(early: str, late: str) -> None:
    """What was said before we asked is no answer."""
    conn = in_message()
    conn.send_data(b"x\r\n")
    conn.receive_data(early.encode())
    if late:
        assert conn.next_event() is None
    conn.end_data()
    conn.data_to_send()
    with pytest.raises(RemoteProtocolError, match="before it was whole"):
        conn.receive_data(late.encode()) if late else None
        conn.next_event()


def test_half_a_reply_is_no_clean_end() -> None:
    conn = client()
    assert say(conn, "421-shutting down") == []
    conn.receive_eof()
    assert say(conn) == [ConnectionClosed(False, "the peer closed the connection")]


def test_but_a_refusal_may_come_early() -> None:
    """Servers say that a message is too big as soon as it is."""
    conn = in_message()
    conn.send_data(b"x\r\n")
    conn.receive_data(b"552 too big\r\n")
    end = conn.end_data()
    assert say(conn) == [ReplyReceived(end, Reply(552, "too big"))]
    queue_message(conn, 1)
    conn.data_to_send()
    say(conn, "250 ok", "250 ok", "354 go")
    end = conn.end_data()
    assert say(conn, "250 ok") == [ReplyReceived(end, Reply(250, "ok"))]


@pytest.mark.parametrize("refusal", ["500 what?", "451 not now", "421 bye"])
def test_a_server_that_takes_no_transaction_back_is_left(refusal: str) -> None:
    """S20: the next recipients could end up beside those of the message before."""
    conn = client("PIPELINING")
    conn.mail(ADA)
    conn.rcpt(BOB)
    conn.rset()
    conn.mail(ADA)
    conn.data_to_send()
    events = say(conn, "250 ok", "250 ok", refusal, "250 ok")
    assert [type(event) for event in events] == [ReplyReceived] * 3 + [ConnectionClosed]
    assert not events[-1].clean
    assert conn.closing


def test_nothing_is_mixed_up_when_recipients_beyond_the_flight_are_skipped() -> None:
    conn = client("PIPELINING", limits=Limits(max_in_flight=3))
    commands = queue_message(conn, 6)
    assert conn.data_to_send().count(b"\r\n") == 3
    events = say(conn, "550 no", "503 no", "503 no")
    skipped = [event.command for event in events if isinstance(event, CommandSkipped)]
    assert skipped == commands[3:]
    assert all(command.skipped for command in skipped)
    assert not any(command.skipped for command in commands[:3])
    assert conn.idle


# The caller's mistakes change nothing.


def snapshot(conn: SMTPClientConnection) -> tuple[object, ...]:
    return (conn.state, conn.in_transaction, conn.idle, list(conn._unsent), list(conn._waiting), conn.queued)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda conn: conn.rcpt(BOB),
        lambda conn: conn.data(),
        lambda conn: conn.send_data(b"x"),
        lambda conn: conn.end_data(),
        lambda conn: conn.auth_response(b"x"),
        lambda conn: conn.auth_cancel(),
    ],
)
def test_out_of_order_between_transactions(mistake: Any) -> None:
    conn = client("PIPELINING", "STARTTLS")
    before = snapshot(conn)
    with pytest.raises(LocalProtocolError):
        mistake(conn)
    assert snapshot(conn) == before
    assert conn.data_to_send() == b""


@pytest.mark.parametrize(
    "mistake",
    [
        lambda conn: conn.mail(ADA),
        lambda conn: conn.starttls(),
        lambda conn: conn.auth("PLAIN"),
        lambda conn: conn.data(),
    ],
)
def test_out_of_order_in_a_transaction(mistake: Any) -> None:
    conn = client("PIPELINING", "STARTTLS", "AUTH PLAIN")
    conn.mail(ADA)
    before = snapshot(conn)
    with pytest.raises(LocalProtocolError):
        mistake(conn)
    assert snapshot(conn) == before


@pytest.mark.parametrize("utf8", [False, True])
@pytest.mark.parametrize("text", ["ada@example.org", "ada@example.org> SIZE=1 X=<"])
def test_an_address_is_no_text_in_which_anything_could_stand(text: Any, utf8: bool) -> None:
    conn = client("SMTPUTF8", "8BITMIME")
    parameters = MailParameters(smtputf8=utf8)
    before = snapshot(conn)
    with pytest.raises(TypeError, match=r"Address\.parse"):
        conn.mail(text, parameters)
    assert snapshot(conn) == before
    conn.mail(ADA, parameters)
    before = snapshot(conn)
    for named in (conn.rcpt, conn.check_rcpt):
        with pytest.raises(TypeError, match=r"Address\.parse"):
            named(text)
    assert snapshot(conn) == before


def test_a_message_is_no_time_for_rset() -> None:
    conn = in_message()
    for mistake in (conn.rset, lambda: conn.rcpt(BOB), conn.data, lambda: conn.mail(ADA)):
        with pytest.raises(LocalProtocolError):
            mistake()
    conn.noop()
    assert conn.data_to_send() == b"", "it waits for the end of the message"
    conn.end_data()
    assert conn.data_to_send() == b".\r\nNOOP\r\n"


def test_tls_is_not_asked_for_twice() -> None:
    conn = SMTPClientConnection()
    conn.tls_established()
    say(conn, "220 x")
    with pytest.raises(LocalProtocolError):
        conn.starttls()


def timed_out(conn: SMTPClientConnection) -> None:
    conn.receive_timeout()
    with pytest.raises(ConnectionTimeoutError):
        conn.next_event()


def out_of_step(conn: SMTPClientConnection) -> None:
    conn.receive_data(b"250 what?\r\n")
    with pytest.raises(RemoteProtocolError):
        conn.next_event()


QUEUEING: list[Any] = [
    lambda conn: conn.ehlo("x"),
    lambda conn: conn.helo("x"),
    lambda conn: conn.starttls(),
    lambda conn: conn.auth("PLAIN"),
    lambda conn: conn.mail(ADA),
    lambda conn: conn.rset(),
    lambda conn: conn.noop(),
    lambda conn: conn.vrfy("x"),
    lambda conn: conn.expn("x"),
    lambda conn: conn.help(),
    lambda conn: conn.quit(),
]

ENDINGS: list[Any] = [
    lambda conn: say(conn, "421 bye"),
    lambda conn: (conn.receive_eof(), conn.next_event()),
    timed_out,
    out_of_step,
    lambda conn: (conn.quit(), conn.data_to_send()),
    lambda conn: conn.quit(),
]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("method", QUEUEING)
def test_nothing_is_queued_behind_the_end(ending: Any, method: Any) -> None:
    """S20: nothing leaves FAILED, and nothing is queued that will never be sent."""
    conn = client("PIPELINING", "STARTTLS", "AUTH PLAIN")
    ending(conn)
    before = snapshot(conn)
    with pytest.raises(LocalProtocolError):
        method(conn)
    assert snapshot(conn) == before


@pytest.mark.parametrize("method", QUEUEING)
def test_an_event_tells_of_the_end_and_no_exception(method: Any) -> None:
    """The end of input may come together with data that the caller answers to."""
    conn = client("PIPELINING", "STARTTLS", "AUTH PLAIN")
    conn.receive_eof()
    method(conn)
    assert conn.data_to_send() == b""
    assert conn.next_event() == ConnectionClosed(False, "the peer closed the connection")


@pytest.mark.parametrize("ending", ENDINGS[:4])
@pytest.mark.parametrize("method", [lambda c: c.rcpt(EVE), lambda c: c.data(), lambda c: c.rset()])
def test_nor_in_a_transaction(ending: Any, method: Any) -> None:
    conn = client("PIPELINING")
    conn.mail(ADA)
    conn.rcpt(BOB)
    conn.data_to_send()
    say(conn, "250 ok", "250 ok")
    ending(conn)
    before = snapshot(conn), conn._transaction and conn._transaction.waiting
    with pytest.raises(LocalProtocolError):
        method(conn)
    assert (snapshot(conn), conn._transaction and conn._transaction.waiting) == before


@pytest.mark.parametrize("ending", ENDINGS[:4])
def test_nothing_is_said_behind_the_end_in_a_message(ending: Any) -> None:
    """SECURITY 9.5: no output after the connection is over, least of all the end of half a message."""
    conn = in_message()
    conn.send_data(b"half\r\n")
    conn.data_to_send()
    ending(conn)
    conn.data_to_send()
    if conn.closing:
        for mistake in (lambda: conn.send_data(b"more\r\n"), conn.end_data):
            with pytest.raises(LocalProtocolError):
                mistake()
        assert conn.data_to_send() == b""


def test_half_a_message_is_never_ended() -> None:
    """S2: behind a refused piece the message can only be cut off; what was sent of it is not the message."""
    for piece in (b"bare\nLF", b"bare\rCR", "8bït".encode()):
        conn = in_message()
        conn.send_data(b"fine\r\n")
        with pytest.raises(GrammarError):
            conn.send_data(piece)
        assert conn.closing
        with pytest.raises(LocalProtocolError):
            conn.send_data(b"more\r\n")
        with pytest.raises(LocalProtocolError):
            conn.end_data()
        assert conn.data_to_send() == b"fine\r\n"


def test_a_bare_cr_at_the_end_of_a_message() -> None:
    conn = in_message()
    conn.send_data(b"x\r")
    with pytest.raises(GrammarError):
        conn.end_data()
    assert conn.closing
    assert conn.data_to_send() == b"x"


def test_a_piece_that_was_checked_is_looked_at_behind_a_kept_cr() -> None:
    """By itself it was fine; with the CR before it, it is not."""
    (piece,) = checked_pieces(b"y\r\n", 9)[0]
    conn = in_message()
    conn.send_data(b"x\r")
    with pytest.raises(GrammarError):
        conn.send_data(piece)


def carry(pieces: list[bytes | Checked], *, chunked: bool, canonicalise: bool) -> bytes | None:
    """Send a message in these pieces; return all that leaves, None if it is refused."""
    conn = client("PIPELINING", "CHUNKING")
    conn.mail(ADA)
    conn.rcpt(BOB)
    try:
        if chunked:
            for piece in pieces:
                conn.bdat(piece, canonicalise=canonicalise)
            conn.bdat(b"", last=True)
        else:
            conn.data(canonicalise=canonicalise)
            conn.data_to_send()
            say(conn, "250 ok", "250 ok", "354 go")
            for piece in pieces:
                conn.send_data(piece)
            conn.end_data()
    except GrammarError:
        return None
    return conn.data_to_send()


@PROPERTY
@given(
    st.lists(
        st.one_of(
            st.sampled_from([b"", b"a", b".", b"\r", b"\n", b"a\r", b"\n.", b"\r\n"]),
            st.lists(st.sampled_from([b"\r\n", b".", b"a"]), min_size=1).map(
                lambda parts: checked_pieces(b"".join(parts), 2)[0]
            ),
        )
    ),
    st.booleans(),
    st.booleans(),
)
def test_what_was_checked_leaves_as_all_else_does(
    message: list[bytes | Iterator[Checked]], chunked: bool, canonicalise: bool
) -> None:
    """Whatever stands before it and behind it."""
    pieces = [piece for each in message for piece in ([each] if isinstance(each, bytes) else each)]
    plain: list[bytes | Checked] = [bytes(piece) for piece in pieces]
    expected = carry(plain, chunked=chunked, canonicalise=canonicalise)
    assert carry(pieces, chunked=chunked, canonicalise=canonicalise) == expected


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_what_a_chunk_is_made_of_may_change_behind_it(kind: Any) -> None:
    conn = client("PIPELINING", "CHUNKING")
    conn.mail(ADA)
    conn.rcpt(BOB)
    text = bytearray(b"as it was\r\n")
    piece: Any = text if kind is bytearray else kind(text)
    conn.bdat(piece, last=True)
    text[:2] = b"\r\r"
    assert conn.data_to_send().endswith(b"BDAT 11 LAST\r\nas it was\r\n")


@pytest.mark.parametrize("body", [None, Body.EIGHT_BIT_MIME, Body.BINARY_MIME])
def test_a_number_is_no_piece_of_a_message(body: Body | None) -> None:
    """Of which Python would make so many NULs."""
    conn = client("PIPELINING", "CHUNKING", "8BITMIME", "BINARYMIME")
    conn.mail(ADA, MailParameters(body=body))
    conn.rcpt(BOB)
    with pytest.raises(TypeError, match="octets, not int"):
        conn.bdat(cast(Any, 5), last=True)


# What may only be sent where it is offered (S12, S83).


def test_a_recipient_beyond_ascii_needs_smtputf8() -> None:
    grun = ADA._replace(local_part="grün")
    for offers in ((), ("SMTPUTF8",)):
        conn = client("PIPELINING", *offers)
        with pytest.raises(NotSupportedError):
            conn.mail(grun)
        conn.mail(ADA)
        with pytest.raises(NotSupportedError):
            conn.rcpt(grun)
        conn.rcpt(BOB)
        assert conn.data_to_send().isascii()
    conn = client("PIPELINING", "SMTPUTF8")
    conn.mail(grun, MailParameters(smtputf8=True))
    conn.rcpt(grun)
    assert conn.data_to_send() == "MAIL FROM:<grün@example.org> SMTPUTF8\r\nRCPT TO:<grün@example.org>\r\n".encode()


@pytest.mark.parametrize(
    "parameters",
    [
        MailParameters(size=5),
        MailParameters(body=Body.EIGHT_BIT_MIME),
        MailParameters(smtputf8=True),
        MailParameters(auth=ADA),
        MailParameters(extra={"X": "y"}),
    ],
)
def test_a_parameter_needs_its_extension(parameters: MailParameters) -> None:
    conn = client("PIPELINING")
    before = snapshot(conn)
    with pytest.raises((NotSupportedError, GrammarError)):
        conn.mail(ADA, parameters)
    assert snapshot(conn) == before


def test_what_a_message_needs_said_stands_beside_what_its_sender_says() -> None:
    conn = client("PIPELINING", "SIZE", "8BITMIME", "DSN")
    command = conn.mail(ADA, MailParameters(ret=Ret.HDRS, size=7), {"size": 5, "body": Body.EIGHT_BIT_MIME})
    assert conn.data_to_send() == b"MAIL FROM:<ada@example.org> SIZE=7 BODY=8BITMIME RET=HDRS\r\n"
    assert command.transaction is not None
    assert command.transaction.eight_bit


@pytest.mark.parametrize("code", [250, 355, 450, 550])
def test_a_command_knows_whether_it_was_refused(code: int) -> None:
    conn = client("CHECKPOINT")
    command = conn.mail(ADA, MailParameters(transid="<1@example.org>"))
    assert not command.refused
    conn.data_to_send()
    conn.receive_data(b"%d so\r\n" % code)
    assert isinstance(conn.next_event(), ReplyReceived)
    assert command.refused == (code != 250)


@pytest.mark.parametrize("method", ["vrfy", "expn", "etrn", "help"])
def test_no_command_is_more_than_ascii_where_that_was_not_agreed_on(method: str) -> None:
    conn = client("PIPELINING")
    before = snapshot(conn)
    with pytest.raises(NotSupportedError):
        getattr(conn, method)("grün.example")
    assert snapshot(conn) == before


@pytest.mark.parametrize("offers", [(), ("SMTPUTF8",)])
@pytest.mark.parametrize("verb", ["ehlo", "helo"])
def test_a_client_calls_itself_by_an_ascii_name(verb: str, offers: tuple[str, ...]) -> None:
    """RFC 6531 section 3.7.1: A-labels, whatever the server offers."""
    conn = client(*offers)
    getattr(conn, verb)("grün.example")
    assert conn.data_to_send() == verb.upper().encode() + b" xn--grn-ioa.example\r\n"


# What the server offers (S87).


def test_keywords() -> None:
    conn = client("size 100", "AUTH PLAIN", "auth login", "SIZE 200", "8BitMime", "X-Y a b", "AUTH=CRAM-MD5 PLAIN")
    assert conn.server_name == "mx.example.org"
    assert conn.max_message_size == 100
    assert conn.auth_mechanisms == ("PLAIN", "LOGIN", "CRAM-MD5", "PLAIN")
    assert conn.extensions["8BITMIME"] == ""
    assert conn.extensions["X-Y"] == "a b"


@pytest.mark.parametrize(
    "size", ["SIZE", "SIZE 0", "SIZE -1", "SIZE x", "SIZE 1_0", "SIZE 10 20", "SIZE \u0661", "SIZE +5"]
)
def test_a_size_that_says_nothing(size: str) -> None:
    assert client(size).max_message_size is None


@pytest.mark.parametrize("line", [" AUTH PLAIN", "\u017ftarttls", "ST\u0410RTTLS", "AUTH\tPLAIN", "XAUTH PLAIN"])
def test_keywords_are_ascii_and_stand_first(line: str) -> None:
    conn = client(line)
    assert "STARTTLS" not in conn.extensions
    assert conn.auth_mechanisms == ()


def test_a_mechanism_is_named_in_ascii() -> None:
    """SECURITY section 7: upper() makes PLAIN of things that are not."""
    conn = client("AUTH PLA\u0131N LOG\u0131N")
    assert not {"PLAIN", "LOGIN"} & set(conn.auth_mechanisms)


def test_the_old_form_of_auth_is_a_tolerance() -> None:
    assert client("AUTH=PLAIN LOGIN").auth_mechanisms == ("PLAIN", "LOGIN")
    assert client("AUTH=PLAIN LOGIN", tolerances=frozenset()).auth_mechanisms == ()


def test_ten_thousand_keywords_are_too_many() -> None:
    conn = SMTPClientConnection()
    say(conn, "220 x")
    conn.ehlo("x")
    conn.data_to_send()
    conn.receive_data(b"250-x\r\n" + b"250-KEY\r\n" * 10_000)
    with pytest.raises(RemoteProtocolError, match="endless"):
        conn.next_event()


def test_so_many_keywords_are_kept() -> None:
    keywords = [f"K{i}" for i in range(20)]
    assert list(client(*keywords, limits=Limits(max_keywords=5)).extensions) == keywords[:5]


def test_each_hello_counts_anew() -> None:
    conn = client("PIPELINING", "SIZE 5")
    conn.helo("x")
    conn.data_to_send()
    say(conn, "250-y", "250 SIZE 7")
    assert conn.extensions == {}
    conn.ehlo("x")
    conn.data_to_send()
    say(conn, "250-y", "250 SIZE 7")
    assert conn.extensions == {"SIZE": "7"}
    conn.ehlo("x")
    conn.data_to_send()
    say(conn, "550 no")
    assert conn.extensions == {"SIZE": "7"}, "a refused EHLO changes nothing (RFC 5321 section 4.1.4)"


# What is no reply (S25, S64, S65).

NO_REPLIES = [
    b"25\r\n",
    b"2500 x\r\n",
    b"2_0 x\r\n",
    b" 250 x\r\n",
    b"+25 x\r\n",
    b"250x\r\n",
    b"250\tx\r\n",
    b"250_x\r\n",
    b"\r\n",
    b"x\r\n",
    b"ok 250\r\n",
    b"150 x\r\n",
    b"050 x\r\n",
    b"650 x\r\n",
    b"-50 x\r\n",
    "٢٥٠ x\r\n".encode(),
    b"\xef\xbb\xbf250 x\r\n",
    b"250-a\r\n251 b\r\n",
    b"250-a\r\n550 b\r\n",
    b"250-a\r\n250b\r\n",
    b"250-a\r\n\r\n",
    b"\0250 x\r\n",
    b"\n250 x\r\n",
    b"\r250 x\r\n",
    b"220 ok\r\n354 go\r\n250 x\r\n",
    b"354 go\r\n",
    b"334 \r\n",
]


@pytest.mark.parametrize("octets", NO_REPLIES)
def test_what_is_no_reply_fails_the_connection(octets: bytes) -> None:
    for sizes in ([len(octets)], [1], [3, 1]):
        conn = client()
        conn.noop()
        assert conn.data_to_send() == b"NOOP\r\n"
        with pytest.raises(RemoteProtocolError) as caught:
            for piece in cut_at(octets, sizes):
                conn.receive_data(piece)
                while conn.next_event() is not None:
                    pass
        assert conn.state is ClientState.FAILED
        assert conn.closing
        with pytest.raises(RemoteProtocolError) as again:
            conn.next_event()
        assert str(again.value) == str(caught.value), "once failed, always failed"
        conn.receive_data(b"250 ok\r\n")
        with pytest.raises(RemoteProtocolError):
            conn.next_event()
        assert conn.data_to_send() == b""


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"250\r\n", ""),
        (b"250 \r\n", ""),
        (b"250-\r\n250\r\n", "\n"),
        (b"250  x \r\n", " x "),
        (b"250 gr\xc3\xbc\xc3\x9fe\r\n", "grüße"),
        (b"250 gr\xfc\xdfe\r\n", "gr\\xfc\\xdfe"),
        (b"250-250-x\r\n250 250 y\r\n", "250-x\n250 y"),
    ],
)
def test_what_is_a_reply(octets: bytes, text: str) -> None:
    conn = client()
    command = conn.noop()
    conn.data_to_send()
    conn.receive_data(octets)
    event = conn.next_event()
    assert isinstance(event, ReplyReceived)
    assert event.command is command
    assert event.reply.text == text


@pytest.mark.parametrize(
    "evil", ["\x1b[2J", "\n250 forged", "\r250 forged", "\0", "\x07", "\x7f", "\x9b", "\x85", "\u2028", "\u202e"]
)
def test_no_control_character_of_a_reply_reaches_a_log(evil: str) -> None:
    """S54: the words of a server stand in exceptions and logs; they are on one line there, and move no cursor."""
    conn = client()
    conn.noop()
    conn.data_to_send()
    (event,) = say(conn, f"250 a{evil}b")
    assert event.reply.text.isprintable()
    assert str(event.reply).count("\n") == 0
    conn.receive_data(f"250 a{evil}b\r\n".encode())
    with pytest.raises(RemoteProtocolError) as caught:
        conn.next_event()
    assert str(caught.value).isprintable()


def test_a_long_line_of_a_reply() -> None:
    conn = client(limits=Limits(max_reply_line=100))
    conn.noop()
    conn.data_to_send()
    conn.receive_data(b"250 " + b"x" * 94 + b"\r\n")
    assert isinstance(conn.next_event(), ReplyReceived)
    for octets in (b"250 " + b"x" * 95 + b"\r\n", b"250 " + b"x" * 96):
        conn = client(limits=Limits(max_reply_line=100))
        conn.noop()
        conn.data_to_send()
        conn.receive_data(octets)
        with pytest.raises(RemoteProtocolError, match="endless"):
            conn.next_event()


def test_an_endless_reply() -> None:
    """S25: bounded in lines and in octets."""
    conn = client(limits=Limits(max_reply_lines=5))
    conn.noop()
    conn.data_to_send()
    conn.receive_data(b"250-x\r\n" * 4 + b"250 x\r\n")
    assert isinstance(conn.next_event(), ReplyReceived)
    conn.noop()
    conn.data_to_send()
    conn.receive_data(b"250-x\r\n" * 6)
    with pytest.raises(RemoteProtocolError, match="endless"):
        conn.next_event()
    long = b"250-" + b"x" * 9_996 + b"\r\n"
    conn = client()
    conn.noop()
    conn.data_to_send()
    conn.receive_data(long * 6)
    assert conn.next_event() is None
    conn.receive_data(long)
    with pytest.raises(RemoteProtocolError, match="endless"):
        conn.next_event()


def test_a_reply_to_nothing_fails_the_connection() -> None:
    """S65: it is never kept for later."""
    conn = client()
    conn.receive_data(b"250 ok\r\n")
    with pytest.raises(RemoteProtocolError, match="a reply to nothing"):
        conn.next_event()


@pytest.mark.parametrize("extra", ["250 ok\r\n", "2", "250-ok\r\n", "550 no\r\n"])
def test_what_came_before_a_command_is_not_its_reply(extra: str) -> None:
    """S65, S20: octets that wait while no reply is due answer nothing that is asked later."""
    conn = client()
    conn.noop()
    conn.data_to_send()
    conn.receive_data(b"250 ok\r\n" + extra.encode())
    assert isinstance(conn.next_event(), ReplyReceived)
    conn.mail(ADA)
    assert conn.data_to_send() == b"", "out of step, so nothing is sent"
    if extra.endswith("\r\n") and "-" not in extra:
        with pytest.raises(RemoteProtocolError, match="a reply to nothing"):
            conn.next_event()
    else:
        assert conn.next_event() is None
        assert conn.data_to_send() == b""


def test_421_while_idle_is_a_farewell() -> None:
    conn = client()
    (closed,) = say(conn, "421 4.3.2 shutting down")
    assert closed == ConnectionClosed(False, "the server said: 421 4.3.2 shutting down")
    assert conn.next_event() is None


@pytest.mark.parametrize("step", range(5))
def test_421_at_every_step(step: int) -> None:
    """S66: temporary, and the end."""
    conn = client("PIPELINING")
    commands = queue_message(conn)
    conn.data_to_send()
    replies = ["250 ok", "250 ok", "250 ok", "354 go"][:step]
    say(conn, *replies)
    if step == 4:
        commands.append(conn.end_data())
        conn.data_to_send()
    events = say(conn, "421 later", "250 ignored")
    assert isinstance(events[0], ReplyReceived)
    assert events[0].command is commands[step]
    assert events[0].reply.temporary
    assert isinstance(events[1], ConnectionClosed)
    assert not events[1].clean
    assert len(events) == 2


DIALOGUE = (
    b"220-a\r\n220 b\r\n250-x\r\n250 PIPELINING\r\n250 ok\r\n550-5.1.1 no\r\n550 no\r\n250 ok\r\n354 go\r\n"
    b"250 done\r\n221 bye\r\n"
)


def converse(said: bytes) -> list[Any]:
    """Say EHLO, send a message, say QUIT, as far as the replies go; then the server leaves. Return the events."""
    conn = SMTPClientConnection()
    events: list[Any] = []
    for piece in [*(said[i : i + 1] for i in range(len(said))), b""]:
        conn.receive_data(piece)
        while (event := conn.next_event()) is not None:
            events.append(event)
            if isinstance(event, GreetingReceived):
                conn.ehlo("x.example")
            elif isinstance(event, ReplyReceived) and event.command.verb == "EHLO":
                queue_message(conn)
            elif isinstance(event, ReadyForData):
                conn.send_data(b"x")
                conn.end_data()
                conn.quit()
            conn.data_to_send()
    return events


@pytest.mark.parametrize("place", range(len(DIALOGUE) + 1))
def test_the_end_of_the_server_at_every_octet(place: int) -> None:
    """S66: only what was complete counts, and no end is clean but one where nothing was due."""
    *events, closed = converse(DIALOGUE[:place])
    complete = [part for part in DIALOGUE[:place].split(b"\r\n")[:-1] if part[3:4] == b" "]
    assert [event.reply.code for event in events] == [int(line[:3]) for line in complete]
    assert isinstance(closed, ConnectionClosed)
    assert closed.clean is (place == len(DIALOGUE))


def test_waits() -> None:
    """RFC 5321 section 4.5.3.2: who waits for what, and how long."""
    limits = Limits(
        greeting_timeout=1, command_timeout=2, data_timeout=3, final_reply_timeout=4, quit_timeout=5, max_in_flight=99
    )
    conn = SMTPClientConnection(SMTPClientConfig(limits=limits))
    assert conn.timeout == 1
    say(conn, "220 x")
    conn.ehlo("x")
    conn.data_to_send()
    assert conn.timeout == 2
    say(conn, "250-x", "250 PIPELINING")
    queue_message(conn, 1)
    conn.data_to_send()
    assert conn.timeout == 2
    say(conn, "250 ok", "250 ok", "354 go")
    assert conn.timeout == 3
    conn.end_data()
    conn.data_to_send()
    assert conn.timeout == 4
    conn.quit()
    conn.data_to_send()
    assert conn.timeout == 4, "the final reply is what is waited for first"
    say(conn, "250 ok")
    assert conn.timeout == 5


@pytest.mark.parametrize("phase", range(5))
def test_a_timeout_is_the_end(phase: int) -> None:
    """S19: a reply that comes later would be taken for the reply to something else."""
    conn = SMTPClientConnection() if phase == 0 else client("PIPELINING")
    if phase > 1:
        queue_message(conn, 1)
        conn.data_to_send()
    if phase > 2:
        say(conn, "250 ok", "250 ok", "354 go")
    if phase > 3:
        conn.end_data()
        conn.data_to_send()
    conn.receive_timeout()
    assert conn.closing
    for _ in range(2):
        with pytest.raises(ConnectionTimeoutError):
            conn.next_event()
    conn.receive_data(b"250 late\r\n")
    with pytest.raises(ConnectionTimeoutError):
        conn.next_event()
    conn.receive_timeout()
    assert conn.data_to_send() == b""
    assert isinstance(ConnectionTimeoutError("x"), TimeoutError)


def test_shutting_down() -> None:
    conn = client()
    conn.shut_down()
    assert conn.data_to_send() == b"QUIT\r\n"
    conn.shut_down()
    assert conn.closing, "asked again, it waits no longer"
    conn = client()
    conn.noop()
    conn.shut_down()
    assert conn.closing
    assert conn.data_to_send() == b"", "what was not sent is not sent any more"
    assert conn.next_event() == ConnectionClosed(False, "closed by the client")
    conn.shut_down()
    assert conn.next_event() is None


def test_shutting_down_where_a_handshake_is_due() -> None:
    """There QUIT cannot be said in clear, and would wait for a handshake that nobody does any more."""
    conn = client("STARTTLS")
    conn.starttls()
    conn.data_to_send()
    assert StartTLS() in say(conn, "220 go ahead")
    conn.shut_down()
    assert conn.closing
    assert conn.data_to_send() == b""
    assert conn.next_event() == ConnectionClosed(False, "closed by the client")


def test_idle() -> None:
    conn = SMTPClientConnection()
    assert not conn.idle
    say(conn, "220 x")
    assert conn.idle
    conn.noop()
    assert not conn.idle
    conn.data_to_send()
    assert not conn.idle
    say(conn, "250 ok")
    assert conn.idle
    conn.mail(ADA)
    conn.data_to_send()
    say(conn, "250 ok")
    assert not conn.idle
    conn.rset()
    conn.data_to_send()
    say(conn, "250 ok")
    assert conn.idle
    conn.quit()
    conn.data_to_send()
    say(conn, "221 bye")
    assert not conn.idle


# AUTH.


def test_a_challenge_that_was_overtaken_is_not_answered() -> None:
    """A response behind the final reply would be a secret said as a command."""
    conn = client("AUTH PLAIN")
    conn.auth("PLAIN")
    conn.data_to_send()
    say(conn, "334 ", "535 no")
    with pytest.raises(LocalProtocolError):
        conn.auth_response(b"secret")
    with pytest.raises(LocalProtocolError):
        conn.auth_cancel()
    assert conn.data_to_send() == b""


def test_no_answer_to_a_challenge_behind_the_end() -> None:
    for ending in ENDINGS[:3]:
        conn = client("AUTH PLAIN")
        conn.auth("PLAIN")
        conn.data_to_send()
        say(conn, "334 ")
        ending(conn)
        if conn.closing:
            with pytest.raises(LocalProtocolError):
                conn.auth_response(b"secret")
            assert conn.data_to_send() == b""


def test_two_challenges_at_once_are_no_protocol() -> None:
    conn = client("AUTH PLAIN")
    conn.auth("PLAIN")
    conn.data_to_send()
    conn.receive_data(b"334 \r\n334 \r\n")
    conn.next_event()
    with pytest.raises(RemoteProtocolError):
        conn.next_event()


@pytest.mark.parametrize("challenge", ["=AAA", "AAA=BBB", "AAAA====", "dXN!lcg==", "dXNlch==", "dXNlcg== ", "\u00e4"])
def test_a_challenge_that_is_no_base64_is_cancelled(challenge: str) -> None:
    """S35."""
    conn = client("AUTH PLAIN")
    auth = conn.auth("PLAIN")
    conn.data_to_send()
    assert say(conn, f"334 {challenge}") == []
    assert conn.data_to_send() == b"*\r\n"
    assert [event.command for event in say(conn, "501 cancelled")] == [auth]


def test_a_response_fits_its_line() -> None:
    conn = client("AUTH PLAIN")
    conn.auth("PLAIN")
    conn.data_to_send()
    say(conn, "334 ")
    with pytest.raises(GrammarError) as caught:
        conn.auth_response(b"secret" * 2000)
    assert "secret" not in str(caught.value)
    conn.auth_response(b"x" * 9000)
    assert len(conn.data_to_send()) == 12002


@pytest.mark.parametrize("mechanism", ["", "PLAIN\r\nX", "PL AIN", "X" * 21, "pläin", "PLAIN\0"])
def test_what_is_no_mechanism(mechanism: str) -> None:
    conn = client("AUTH PLAIN")
    with pytest.raises(GrammarError):
        conn.auth(mechanism, b"secret")
    assert conn.data_to_send() == b""


# The state machine under random servers (S86, SECURITY 9.5).

SERVER_TALK = st.lists(
    st.sampled_from(
        [
            b"220 x\r\n",
            b"250 ok\r\n",
            b"250-x\r\n250 PIPELINING\r\n",
            b"250-x\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n",
            b"251 ok\r\n",
            b"334 \r\n",
            b"334 eA==\r\n",
            b"354 go\r\n",
            b"421 bye\r\n",
            b"450 later\r\n",
            b"550 no\r\n",
            b"550-no\r\n",
            b"221 bye\r\n",
            b"25",
            b"\r\n",
            b"\xff\0",
        ]
    )
    | st.binary(max_size=8),
    max_size=14,
)
ACTIONS = st.lists(st.integers(0, 14), max_size=30)


@PROPERTY
@given(SERVER_TALK, ACTIONS, st.lists(st.integers(1, 30), min_size=1, max_size=5))
def test_whatever_a_server_says(said: list[bytes], actions: list[int], sizes: list[int]) -> None:
    conn = SMTPClientConnection()
    todo: list[Any] = [
        lambda: conn.ehlo("x"),
        lambda: conn.mail(ADA),
        lambda: conn.rcpt(BOB),
        lambda: conn.data(),
        lambda: conn.send_data(b"x\r\n"),
        lambda: conn.end_data(),
        lambda: conn.rset(),
        lambda: conn.noop(),
        lambda: conn.auth("PLAIN"),
        lambda: conn.auth_response(b"x"),
        lambda: conn.auth_cancel(),
        lambda: conn.starttls(),
        lambda: conn.quit(),
        lambda: conn.data_to_send(),
        lambda: conn.receive_eof(),
    ]
    turns = iter(actions)
    failed = False
    issued: list[Any] = []
    replied: list[Any] = []
    for piece in cut_at(b"".join(said), sizes):
        for action in (next(turns, 13), next(turns, 13), 13):
            try:
                result = todo[action]()
            except LocalProtocolError:
                continue
            if action not in (4, 9, 10, 13, 14):
                assert not failed
                issued.append(result)
            if action == 13 and failed:
                assert result == b""
        conn.receive_data(piece)
        while True:
            try:
                event = conn.next_event()
            except RemoteProtocolError:
                failed = True
                break
            assert not failed, "once failed, always failed"
            if event is None:
                break
            if isinstance(event, ReplyReceived | CommandSkipped):
                replied.append(event.command)
    assert len(set(map(id, replied))) == len(replied), "one reply a command"
    for command in replied:
        assert command in issued
    in_order = [command for command in replied if command.reply is not None]
    assert in_order == [command for command in issued if command in in_order], "in the order of the commands"
