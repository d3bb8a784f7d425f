"""The server's connection: commands, content, deletions, and the end of a session."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from mailproto.errors import GrammarError, LocalProtocolError
from mailproto.pop3 import (
    CommandRejected,
    Connected,
    ConnectionClosed,
    Limits,
    Login,
    MessageInfo,
    POP3ServerConfig,
    POP3ServerConnection,
    Response,
    Retrieve,
    ServerState,
    Update,
)
from tests.pop3.harness import Application, every_server_cut, talk

IN_CLEAR = POP3ServerConfig(allow_plaintext_auth=True)
MAIL = (b"Subject: one\r\n\r\n.dot\r\nlast\r\n", b"Subject: two\r\n\r\n")
GREETING = b"+OK POP3 server ready\r\n"
LOGIN = b"USER ada\r\nPASS secret\r\n"
LOGGED_IN = b"+OK Send the password\r\n+OK maildrop locked and ready\r\n"


def make(config: POP3ServerConfig = IN_CLEAR) -> POP3ServerConnection:
    return POP3ServerConnection(config)


def in_transaction(contents: Sequence[bytes] = MAIL, config: POP3ServerConfig = IN_CLEAR) -> POP3ServerConnection:
    conn = make(config)
    conn.next_event()
    conn.accept()
    assert isinstance(talk(conn, LOGIN), Login)
    conn.accept(maildrop=Application(contents).maildrop)
    conn.data_to_send()
    return conn


def play(commands: bytes, contents: Sequence[bytes] = MAIL, config: POP3ServerConfig = IN_CLEAR) -> bytes:
    """Log in, say ``commands`` with every cut, and return what the server answers to them."""
    played = every_server_cut(lambda: make(config), [LOGIN + commands], Application(contents))
    assert played.output.startswith(GREETING + LOGGED_IN)
    return played.output[len(GREETING + LOGGED_IN) :]


# Arguments (SECURITY S78).

BAD_ARGUMENTS = [
    "RETR",
    "RETR ",
    "RETR -1",
    "RETR +1",
    "RETR 1 ",
    "RETR  1",
    "RETR 1 2",
    "RETR 99999999999999999999999",
    "RETR 1_0",
    "RETR 0x1",
    "TOP 1",
    "TOP 1 ",
    "TOP 1 -1",
    "TOP  1 1",
    "TOP 1  1",
    "TOP 1 1 1",
    "LIST x",
    "LIST ",
    "UIDL x",
    "DELE",
    "DELE 1,2",
    "STAT 1",
    "STAT ",
    "NOOP ",
    "NOOP x",
    "RSET x",
    "CAPA x",
    "QUIT now",
    "QUIT ",
]


@pytest.mark.parametrize("line", BAD_ARGUMENTS)
def test_arguments_are_exact(line: str) -> None:
    assert play(line.encode("ascii") + b"\r\n") == b"-ERR Syntax error in the arguments\r\n"


@pytest.mark.parametrize("line", ["RETR 0", "RETR 3", "LIST 3", "UIDL 0", "DELE 00", "TOP 3 0"])
def test_numbers_of_no_message(line: str) -> None:
    assert play(line.encode("ascii") + b"\r\n") == b"-ERR no such message, only 2 messages in maildrop\r\n"


@pytest.mark.parametrize(
    "line", [b"RETR \xb2", b"RETR \xd9\xa3", b"NOOP\0", b"NOOP\t", b"NO\x7fOP", b"\xc5\xbfTAT", b"NOOP\r"]
)
def test_a_command_is_printable_ascii(line: bytes) -> None:
    assert play(line + b"\r\n") == b"-ERR Only printable ASCII in a command\r\n"


@pytest.mark.parametrize("line", [b"", b" ", b"XYZZY", b" NOOP", b"LAST", b"XTND XLST", b"LIST\t1"[:4] + b"S"])
def test_unknown_commands(line: bytes) -> None:
    assert play(line + b"\r\n") == b"-ERR Command not recognised\r\n"


def test_keywords_have_no_case() -> None:
    assert play(b"noop\r\nNoOp\r\nlist 1\r\n") == b"+OK\r\n+OK\r\n+OK 1 28\r\n"


def test_only_crlf_ends_a_command() -> None:
    assert play(b"NOOP\nDELE 1\nQUIT\r\n") == b"-ERR Only printable ASCII in a command\r\n"
    assert play(b"NOOP\rDELE 1\rQUIT\r\n") == b"-ERR Only printable ASCII in a command\r\n"


def test_half_a_command_at_the_end_of_input_is_none() -> None:
    played = every_server_cut(make, [LOGIN + b"DELE 1\r\nQUIT"], Application(MAIL))
    assert played.events[-1] == ConnectionClosed(False, "the peer closed the connection")
    assert Update((1,)) not in played.events


def test_a_password_keeps_every_octet_behind_the_first_space() -> None:
    for password in ("two words", " leading", "trailing ", "  ", "a  b", "~"):
        conn = make()
        conn.next_event()
        conn.accept()
        assert talk(conn, f"USER ada\r\nPASS {password}\r\n".encode("ascii")) == Login("ada", password)


@pytest.mark.parametrize(
    "line", ["USER", "USER ", "USER a b", "USER  a", "PASS", "PASS ", "APOP a", "AUTH PLAIN x y"]
)
def test_login_arguments_are_exact(line: str) -> None:
    conn = make(POP3ServerConfig(allow_plaintext_auth=True, auth_mechanisms=("PLAIN",)))
    conn.next_event()
    conn.accept()
    event = talk(conn, f"USER ada\r\n{line}\r\n".encode("ascii"))
    assert isinstance(event, CommandRejected)
    assert not event.response.ok


# Listings.


def test_an_empty_maildrop() -> None:
    assert play(b"STAT\r\nLIST\r\nUIDL\r\n", ()) == b"+OK 0 0\r\n+OK 0 messages (0 octets)\r\n.\r\n+OK\r\n.\r\n"


def test_deleted_messages_are_not_listed() -> None:
    assert play(b"DELE 1\r\nSTAT\r\nLIST\r\nUIDL\r\nLIST 1\r\nUIDL 1\r\nRETR 1\r\nTOP 1 1\r\n") == (
        b"+OK message 1 deleted\r\n"
        b"+OK 1 16\r\n"
        b"+OK 1 messages (16 octets)\r\n2 16\r\n.\r\n"
        b"+OK\r\n2 uid2\r\n.\r\n" + b"-ERR message 1 already deleted\r\n" * 4
    )


def test_last_where_it_is_wanted() -> None:
    config = POP3ServerConfig(allow_plaintext_auth=True, last=True)
    answers = play(b"LAST\r\nTOP 2 0\r\nDELE 1\r\nLAST\r\nRSET\r\nLAST\r\n", config=config)
    assert [line for line in answers.split(b"\r\n") if line in (b"+OK 0", b"+OK 2")] == [b"+OK 0", b"+OK 2", b"+OK 0"]


# Content.


def test_content_is_stuffed() -> None:
    assert play(b"RETR 1\r\nRETR 2\r\n") == (
        b"+OK 28 octets\r\nSubject: one\r\n\r\n..dot\r\nlast\r\n.\r\n+OK 16 octets\r\nSubject: two\r\n\r\n.\r\n"
    )


def test_top() -> None:
    assert play(b"TOP 1 1\r\nTOP 1 0\r\n") == (
        b"+OK top of message follows\r\nSubject: one\r\n\r\n..dot\r\n.\r\n"
        b"+OK top of message follows\r\nSubject: one\r\n\r\n.\r\n"
    )


def test_top_says_when_it_has_enough() -> None:
    conn = in_transaction()
    assert talk(conn, b"TOP 1 1\r\n") == Retrieve(1, 1)
    assert not conn.wants_data
    conn.accept()
    conn.send_data(MAIL[0][:16])
    assert conn.wants_data
    conn.send_data(MAIL[0][16:22])
    assert not conn.wants_data
    conn.send_data(b"ignored")
    conn.end_data()
    assert conn.data_to_send().endswith(b"\r\n\r\n..dot\r\n.\r\n")


@pytest.mark.parametrize("content", [b"", MAIL[0][:-3], MAIL[0][:-6], MAIL[0] + b"x", b"x" + MAIL[0], MAIL[0] * 2])
def test_a_message_that_is_not_of_its_size_never_ends(content: bytes) -> None:
    """SECURITY S80: closing without the lone dot is the only way to say that it is not whole."""
    conn = in_transaction()
    talk(conn, b"RETR 1\r\nDELE 1\r\nQUIT\r\n")
    conn.accept()
    for start in range(0, len(content), 5):
        conn.send_data(content[start : start + 5])
    conn.end_data()
    assert b".\r\n" not in conn.data_to_send().replace(b"..dot", b"")
    assert conn.closing
    assert conn.next_event() == ConnectionClosed(False, "a message is not of the size that its snapshot says")
    assert conn.next_event() is None


def test_a_message_that_is_too_long_ends_the_session_at_once() -> None:
    conn = in_transaction()
    talk(conn, b"RETR 1\r\n")
    conn.accept()
    conn.send_data(MAIL[0])
    assert not conn.closing
    conn.send_data(b"x")
    assert conn.closing


def test_a_message_that_fails_midway_never_ends() -> None:
    for give_up in (POP3ServerConnection.reject, POP3ServerConnection.answer_default):
        conn = in_transaction()
        talk(conn, b"RETR 1\r\n")
        conn.accept()
        conn.send_data(MAIL[0][:-2])
        give_up(conn)
        assert conn.data_to_send() == b"+OK 28 octets\r\nSubject: one\r\n\r\n..dot\r\nlast"
        assert conn.next_event() == ConnectionClosed(False, "the message could not be read to its end")


def test_a_message_can_be_refused_before_it_begins() -> None:
    conn = in_transaction()
    talk(conn, b"RETR 1\r\n")
    conn.reject()
    assert conn.data_to_send() == b"-ERR [SYS/TEMP] Message not available\r\n"
    assert talk(conn, b"STAT\r\n") is None
    assert conn.data_to_send() == b"+OK 2 44\r\n"


def test_nothing_overtakes_a_message() -> None:
    conn = in_transaction()
    assert talk(conn, b"RETR 1\r\nNOOP\r\n") == Retrieve(1)
    conn.accept()
    with pytest.raises(LocalProtocolError):
        conn.next_event()
    with pytest.raises(LocalProtocolError, match="accepted already"):
        conn.accept()
    conn.send_data(MAIL[0])
    with pytest.raises(LocalProtocolError):
        conn.next_event()
    conn.end_data()
    assert conn.next_event() is None
    assert conn.data_to_send().endswith(b".\r\n+OK\r\n")


@pytest.mark.parametrize(
    "stored", [b"a\n.\n+OK forged\n", b"a\r.\r+OK forged\r", b"a\n.\r\n+OK forged\r\n", b"\n.\n"]
)
def test_stored_newlines_forge_no_response(stored: bytes) -> None:
    """SECURITY S21: what leaves is CRLF lines, stuffed, whatever the store keeps."""
    size = len(stored.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n"))
    conn = in_transaction()
    conn._maildrop = type(conn._maildrop)([MessageInfo(size, "x")])
    talk(conn, b"RETR 1\r\n")
    conn.accept()
    for octet in stored:
        conn.send_data(bytes((octet,)))
    conn.end_data()
    lines = conn.data_to_send().split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    assert b"." not in lines[:-2]
    assert not any(b"\n" in line or b"\r" in line for line in lines)


# Deletions (SECURITY S22).


def test_quit_commits_once() -> None:
    played = every_server_cut(make, [LOGIN + b"DELE 2\r\nDELE 1\r\nQUIT\r\nNOOP\r\n"], Application(MAIL))
    assert [event for event in played.events if isinstance(event, Update)] == [Update((1, 2))]
    assert played.events[-1] == ConnectionClosed(True)
    assert played.output.endswith(b"deleted\r\n+OK Good-bye\r\n")


def test_quit_commits_nothing_too_so_that_the_maildrop_can_be_closed() -> None:
    played = every_server_cut(make, [LOGIN + b"DELE 1\r\nRSET\r\nQUIT\r\n"], Application(MAIL))
    assert played.events[-2:] == [Update(()), ConnectionClosed(True)]


@pytest.mark.parametrize("end", [b"", b"QUIT", b"QUIT\n", b"QUIT\r", b"QUIT x\r\n", b"RETR 2\r\n", b"\0\r\n"])
def test_no_other_end_deletes_anything(end: bytes) -> None:
    played = every_server_cut(make, [LOGIN + b"DELE 1\r\n" + end], Application(MAIL))
    assert isinstance(played.events[-1], ConnectionClosed)
    assert not any(isinstance(event, Update) for event in played.events)


def test_a_timeout_deletes_nothing_and_says_nothing() -> None:
    conn = in_transaction()
    assert talk(conn, b"DELE 1\r\n") is None
    conn.data_to_send()
    conn.receive_timeout()
    conn.receive_data(b"QUIT\r\n")
    assert conn.next_event() == ConnectionClosed(False, "the client took too long")
    assert conn.data_to_send() == b""
    assert conn.state is ServerState.CLOSED


def test_a_commit_that_fails_is_told() -> None:
    conn = in_transaction()
    talk(conn, b"DELE 1\r\nQUIT\r\n")
    conn.reject()
    assert conn.data_to_send().endswith(b"-ERR [SYS/TEMP] some deleted messages not removed\r\n")
    assert conn.next_event() == ConnectionClosed(True)


def test_an_update_that_nobody_answered_deleted_nothing() -> None:
    conn = in_transaction()
    talk(conn, b"DELE 1\r\nQUIT\r\n")
    conn.answer_default()
    assert b"-ERR" in conn.data_to_send()


# Shutting down, and waiting.


def test_shutting_down_when_idle_closes_without_a_word() -> None:
    conn = in_transaction()
    conn.shut_down()
    assert conn.closing
    assert conn.data_to_send() == b""
    assert talk(conn, b"DELE 1\r\nQUIT\r\n") == ConnectionClosed(False, "shut down")


@pytest.mark.parametrize("command", [b"RETR 1\r\n", b"QUIT\r\n"])
def test_shutting_down_lets_the_answer_under_way_be_given(command: bytes) -> None:
    conn = in_transaction()
    talk(conn, command + b"NOOP\r\n")
    conn.shut_down()
    assert not conn.closing
    conn.accept()
    if command.startswith(b"RETR"):
        assert not conn.closing
        conn.send_data(MAIL[0])
        conn.end_data()
    assert conn.closing
    assert conn.data_to_send().endswith((b"\r\n.\r\n", b"+OK Good-bye\r\n"))


def test_how_long_to_wait() -> None:
    limits = Limits(login_timeout=1, session_timeout=2, data_timeout=3, handshake_timeout=4)
    conn = make(POP3ServerConfig(allow_plaintext_auth=True, starttls=True, limits=limits))
    conn.next_event()
    assert conn.timeout == 1
    conn.accept()
    talk(conn, b"STLS\r\n")
    conn.accept()
    assert conn.timeout == 4
    conn.tls_established()
    assert conn.timeout == 1
    talk(conn, LOGIN)
    conn.accept(maildrop=[MessageInfo(3, "x")])
    assert conn.timeout == 2
    talk(conn, b"RETR 1\r\n")
    conn.accept()
    assert conn.timeout == 3
    assert Limits().session_timeout >= 600, "RFC 1939 section 3"


def test_any_command_of_who_is_logged_in_begins_the_wait_anew() -> None:
    """RFC 1939 section 3. Before login all that leads nowhere has to fit into one wait."""
    conn = in_transaction()
    for command in (b"NOOP\r\n", b"STAT\r\n", b"LIST\r\n", b"DELE 1\r\n", b"XYZ\r\n"):
        before = conn.progress
        talk(conn, command)
        assert conn.progress > before
    conn = make()
    conn.next_event()
    conn.accept()
    before = conn.progress
    assert talk(conn, b"CAPA\r\nUSER ada\r\n") is None
    assert conn.progress == before


def test_progress_grows_with_a_message_on_its_way() -> None:
    limits = Limits(min_data_rate=10, data_timeout=10)
    conn = in_transaction([b"x" * 998 + b"\r\n"], POP3ServerConfig(allow_plaintext_auth=True, limits=limits))
    talk(conn, b"RETR 1\r\n")
    before = conn.progress
    conn.accept()
    for _ in range(9):
        conn.send_data(b"x" * 100)
    assert conn.progress - before == 9


# The caller's mistakes.


def test_answers_have_to_fit_the_question() -> None:
    conn = make()
    with pytest.raises(LocalProtocolError, match="nothing to answer"):
        conn.accept()
    with pytest.raises(LocalProtocolError, match="nothing to answer"):
        conn.reject()
    assert conn.next_event() == Connected()
    with pytest.raises(LocalProtocolError, match="maildrop"):
        conn.accept(maildrop=[])
    with pytest.raises(LocalProtocolError, match="challenge"):
        conn.challenge(b"")
    conn.accept()
    assert isinstance(talk(conn, LOGIN), Login)
    with pytest.raises(LocalProtocolError, match="maildrop"):
        conn.accept()
    with pytest.raises(GrammarError):
        conn.accept(maildrop=[MessageInfo(1, "a"), MessageInfo(1, "a")])
    with pytest.raises(GrammarError):
        conn.reject(text="x", enhanced="no code\r\n")
    assert conn.pending == Login("ada", "secret")
    with pytest.raises(LocalProtocolError, match="no message"):
        conn.send_data(b"")
    with pytest.raises(LocalProtocolError, match="no message"):
        conn.end_data()
    conn.accept(maildrop=[])
    assert conn.state is ServerState.TRANSACTION


def test_words_of_the_application_stay_on_their_line() -> None:
    conn = in_transaction()
    talk(conn, b"RETR 1\r\n")
    conn.reject(text="gone\r\n+OK forged\r\n.\r\n")
    assert conn.data_to_send() == b"-ERR gone??+OK forged??.??\r\n"


def test_a_refused_connection_is_closed() -> None:
    conn = make()
    conn.next_event()
    conn.reject(text="go away", enhanced="SYS/PERM")
    assert conn.data_to_send() == b"-ERR [SYS/PERM] go away\r\n"
    assert conn.next_event() == ConnectionClosed(False, "refused the connection")


def test_no_more_commands_are_looked_at_for_who_is_gone() -> None:
    conn = in_transaction()
    conn.receive_data(b"RETR 1\r\nDELE 1\r\nQUIT\r\n")
    conn.lose_output()
    assert conn.next_event() == ConnectionClosed(False, "the client is gone")


def test_what_is_asked_already_is_done_for_who_is_gone() -> None:
    conn = in_transaction()
    assert talk(conn, b"RETR 1\r\nRETR 2\r\n") == Retrieve(1)
    conn.lose_output()
    conn.accept()
    conn.send_data(MAIL[0])
    conn.end_data()
    assert isinstance(conn.next_event(), ConnectionClosed)
    conn = in_transaction()
    assert isinstance(talk(conn, b"QUIT\r\n"), Update)
    conn.lose_output()
    conn.accept()
    assert isinstance(conn.next_event(), ConnectionClosed)


def test_who_goes_in_the_middle_of_a_message_gets_no_more_of_it() -> None:
    conn = in_transaction()
    talk(conn, b"RETR 1\r\nRETR 2\r\n")
    conn.accept()
    conn.send_data(MAIL[0][:5])
    conn.lose_output()
    assert not conn.wants_data
    conn.send_data(MAIL[0][5:])
    conn.end_data()
    assert conn.next_event() == ConnectionClosed(False, "the client is gone")


def test_sending_to_who_is_gone_is_no_mistake() -> None:
    conn = in_transaction()
    talk(conn, b"RETR 1\r\n")
    conn.accept()
    conn.receive_timeout()
    conn.send_data(b"x")
    conn.end_data()
    assert conn.next_event() == ConnectionClosed(False, "the client took too long")


def test_a_rejected_command_tells_what_it_was_and_what_was_said() -> None:
    conn = in_transaction()
    assert talk(conn, b"list x\r\n") == CommandRejected("LIST", Response(False, "Syntax error in the arguments"))
    assert talk(conn, b"PA55 hunter2\r\n") == CommandRejected("", Response(False, "Command not recognised"))
