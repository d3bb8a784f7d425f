"""SMTPUTF8 behind VRFY and EXPN (RFC 6531 section 3.7.4.2), and addresses in replies (section 3.7.4.1)."""

from __future__ import annotations

from typing import Any

import pytest

from mailproto.errors import NotSupportedError
from mailproto.smtp import Reply, SMTPServerConfig, SMTPServerConnection
from mailproto.smtp.extensions import ENHANCED_STATUS_CODES, EXPN, SMTPUTF8
from tests.helpers import talk
from tests.smtp import client
from tests.smtp_extensions import converse, lines_sent, offering

PLAIN = SMTPServerConfig(extensions=(ENHANCED_STATUS_CODES,))


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("VRFY jörg", "Vrfy 'jörg'"),
        ("VRFY jörg SMTPUTF8", "Vrfy 'jörg' smtputf8"),
        ("VRFY Jörg Schmidt smtputf8", "Vrfy 'Jörg Schmidt' smtputf8"),
        ("EXPN lista SmtpUtf8", "Expn 'lista' smtputf8"),
        ("EXPN lista", "Expn 'lista'"),
        ("VRFY SMTPUTF8", "Vrfy 'SMTPUTF8'"),
        ("VRFY SMTPUTF8 SMTPUTF8", "Vrfy 'SMTPUTF8' smtputf8"),
        ("VRFY a\u017fMTPUTF8", "Vrfy 'a\u017fMTPUTF8'"),
        ("VRFY a \u017fMTPUTF8", "Vrfy 'a \u017fMTPUTF8'"),
    ],
)
def test_what_a_server_reads(line: str, event: str) -> None:
    assert converse(offering(EXPN), line).lines == [event]


def test_where_it_is_not_offered_it_is_a_word_like_others() -> None:
    assert converse(PLAIN, "VRFY ada SMTPUTF8").lines == ["Vrfy 'ada SMTPUTF8'"]
    helo = converse(offering(), "VRFY ada SMTPUTF8", ehlo="HELO client.example")
    assert helo.lines == ["Vrfy 'ada SMTPUTF8'"]


def answered(line: str, reply: Reply, *before: str) -> str:
    """Return what goes out when a server's application answers ``line`` so."""

    def answer(conn: Any, _: object) -> None:
        conn.reply(reply)

    conn = SMTPServerConnection(offering(EXPN))
    talk(conn, [b"EHLO client.example\r\n", *(f"{each}\r\n".encode() for each in before)])
    return talk(conn, [f"{line}\r\n".encode()], answer).output.decode("utf-8")


FOUND = Reply.build(250, "Jörg <jörg@example.org>", "2.1.5")
AMBIGUOUS = Reply.build(553, "Ambiguous: jörg, jürgen", "5.1.4")


def test_the_answer_is_in_utf8_where_the_client_has_allowed_it() -> None:
    assert answered("VRFY jörg SMTPUTF8", FOUND) == "250 2.1.5 Jörg <jörg@example.org>\r\n"
    assert answered("EXPN lista SMTPUTF8", FOUND) == "250 2.1.5 Jörg <jörg@example.org>\r\n"


def test_the_answer_is_withheld_where_it_has_not() -> None:
    assert answered("VRFY jörg", FOUND) == "252 2.6.8 Cannot tell without SMTPUTF8\r\n"
    assert answered("VRFY jörg", AMBIGUOUS) == "550 5.6.8 Cannot tell without SMTPUTF8\r\n"
    ascii_only = Reply.build(250, "Ada <ada@example.org>", "2.1.5")
    assert answered("VRFY ada", ascii_only) == "250 2.1.5 Ada <ada@example.org>\r\n"


def test_a_transaction_with_smtputf8_allows_nothing_to_a_query() -> None:
    assert answered("VRFY jörg", FOUND, "MAIL FROM:<a@b> SMTPUTF8").startswith("252 2.6.8 ")


@pytest.mark.parametrize(
    ("mail", "reply", "line"),
    [
        ("MAIL FROM:<a@b> SMTPUTF8", Reply(251, "to <jörg@d>"), "251 to <jörg@d>"),
        ("MAIL FROM:<a@b> SMTPUTF8", Reply(551, "try <jörg@d>"), "551 try <jörg@d>"),
        ("MAIL FROM:<a@b> SMTPUTF8", Reply(550, "kein Jörg"), "550 kein J?rg"),
        ("MAIL FROM:<a@b>", Reply(251, "to <jorg@d>"), "251 to <jorg@d>"),
        ("MAIL FROM:<a@b>", Reply(251, "to <jörg@d>"), "250 2.1.5 User not local, will forward"),
        ("MAIL FROM:<a@b>", Reply(551, "try <jörg@d>"), "550 5.1.6 User not local"),
    ],
)
def test_only_an_address_may_be_in_utf8_and_only_in_such_a_transaction(mail: str, reply: Reply, line: str) -> None:
    assert answered("RCPT TO:<c@d>", reply, mail) == f"{line}\r\n"


def test_a_client_asks() -> None:
    conn = client("SMTPUTF8")
    for queue, text, smtputf8, line in (
        (conn.vrfy, "jörg", True, "VRFY jörg SMTPUTF8"),
        (conn.vrfy, "jörg", False, "VRFY jörg"),
        (conn.expn, "lista", True, "EXPN lista SMTPUTF8"),
    ):
        queue(text, smtputf8=smtputf8)
        assert lines_sent(conn) == [line]
        conn.receive_data("252 2.6.8 jörg\r\n".encode())
        conn.next_event()


def test_a_client_does_not_ask_a_server_without_it() -> None:
    conn = client("SIZE")
    with pytest.raises(NotSupportedError):
        conn.vrfy("ada", smtputf8=True)
    with pytest.raises(NotSupportedError):
        conn.expn("jörg")
    conn.vrfy("ada")
    assert lines_sent(conn) == ["VRFY ada"]


def test_the_keyword_makes_the_difference() -> None:
    assert SMTPUTF8 in offering().extensions
    assert SMTPUTF8 not in PLAIN.extensions
