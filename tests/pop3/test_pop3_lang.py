"""LANG (RFC 6856 section 3) on both sides: the RFC's own examples, the choice, the catalogue, the octets."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.errors import GrammarError, Reject
from mailproto.pop3 import (
    TEXTS,
    CommandRejected,
    Language,
    Login,
    MessageInfo,
    Phrase,
    POP3ClientConnection,
    POP3ServerConfig,
    POP3ServerConnection,
)
from mailproto.pop3.flows import POP3Session
from mailproto.pop3.languages import find_language, parse_languages
from mailproto.pop3.response import Response, encode_response
from tests.pop3.harness import (
    Application,
    client_turns,
    every_client_cut,
    every_server_cut,
    read_transcript,
    said,
    server_segments,
    talk,
)
from tests.pop3.test_pop3_flows_server import App, runner
from tests.pop3.test_pop3_server_login import greeted

SPANISH = Language(
    "es",
    "Español",
    {
        "Language changed": "Idioma cambiado",
        "invalid language {range}": "Idioma <<{range}>> no es conocido",
        "message {number} deleted": "mensaje {number} borrado",
        "Good-bye": "¡Adiós!",
    },
)
OF_THE_RFC = (
    SPANISH,
    Language("en", "English"),
    Language("en-boont", "English Boontling dialect"),
    Language("de", "Deutsch"),
    Language("it", "Italiano"),
    Language("sv", "Svenska", {"Language changed": 'Kommandot "LANG" lyckades'}),
)
CONFIG = POP3ServerConfig(allow_plaintext_auth=True, languages=OF_THE_RFC)
DIALOGUE = """
S: +OK POP3 server ready
C: USER karen
S: +OK Send the password
C: PASS password
S: +OK karen's maildrop contains 2 messages (320 octets)
C: LANG MUL
S: -ERR invalid language MUL
C: LANG
S: +OK Language listing follows:
S: es Español
S: en English
S: en-boont English Boontling dialect
S: de Deutsch
S: it Italiano
S: sv Svenska
S: i-default English
S: .
C: LANG es
S: +OK es Idioma cambiado
C: LANG uga
S: -ERR Idioma <<uga>> no es conocido
C: LANG sv
S: +OK sv Kommandot "LANG" lyckades
C: LANG *
S: +OK es Idioma cambiado
C: DELE 2
S: +OK mensaje 2 borrado
C: QUIT
S: +OK ¡Adiós!
"""
"""The examples of section 3.3, with the accents that an RFC could not have."""


def test_server_speaks_the_rfcs_part_however_the_client_is_cut() -> None:
    transcript = read_transcript(DIALOGUE)
    words: dict[type, list[Any]] = {Login: ["karen's maildrop contains 2 messages (320 octets)"]}
    application = Application((b"x" * 118 + b"\r\n", b"x" * 198 + b"\r\n"), words=words)
    played = every_server_cut(lambda: POP3ServerConnection(CONFIG), server_segments(transcript), application)
    assert played.output.decode() == said(transcript, "S").decode()


def test_client_speaks_the_rfcs_part_however_the_server_is_cut() -> None:
    transcript = read_transcript(DIALOGUE)
    played = every_client_cut(POP3ClientConnection, client_turns(transcript))
    assert played.error is None
    assert played.output.decode() == said(transcript, "C").decode()
    listing = next(event for event in played.events if str(event).startswith("ListingReceived"))
    assert "{'es': 'Español', 'en': 'English', 'en-boont': 'English Boontling dialect'" in listing


@pytest.mark.parametrize("answer", [b"-ERR Server is unable to list languages\r\n", b"+OK\r\nes\r\n.\r\n"])
def test_client_takes_any_answer_to_the_question_for_languages(answer: bytes) -> None:
    played = every_client_cut(POP3ClientConnection, [(None, b"+OK hello\r\n"), (b"LANG", answer)])
    assert played.error is None
    assert ("ListingReceived(command=<LANG>) {'es': ''}" in played.events) == answer.startswith(b"+OK")


def client() -> POP3ClientConnection:
    conn = POP3ClientConnection()
    conn.receive_data(b"+OK hello\r\n")
    conn.next_event()
    return conn


def test_client_knows_which_language_was_chosen() -> None:
    conn = client()
    command = conn.lang()
    assert conn.data_to_send() == b"LANG *\r\n"
    conn.receive_data("+OK es-MX ¡Órale!\r\n".encode())
    conn.next_event()
    assert (command.result, conn.language) == ("es-MX", "es-MX")
    refused = conn.lang("tlh")
    conn.data_to_send()
    conn.receive_data(b"-ERR\r\n")
    conn.next_event()
    assert (refused.result, conn.language) == (None, "es-MX")


@pytest.mark.parametrize("wanted", ["", "a b", "de\r\nQUIT", "abcdefghi", "de-", "-de", "dé", "**"])
def test_client_asks_for_nothing_that_is_no_language(wanted: str) -> None:
    conn = client()
    with pytest.raises(GrammarError):
        conn.lang(wanted)
    assert conn.data_to_send() == b""


@pytest.mark.parametrize("text", ["", "é", "x" * 9])
def test_client_does_not_take_for_chosen_what_is_no_tag(text: str) -> None:
    conn = client()
    conn.lang("es")
    conn.data_to_send()
    conn.receive_data(f"+OK {text}\r\n".encode())
    with pytest.raises(Exception, match="not the tag"):
        conn.next_event()


def test_client_passes_over_what_is_no_language_and_shows_nothing_that_moves_a_cursor() -> None:
    lines = [b"de Deutsch", b"", b" x", b"de twice", b"\xff", b"it \x1b[2J", b"fr fran\xe7ais"]
    assert parse_languages(lines) == {"de": "Deutsch", "it": "\\x1b[2J", "fr": "fran\\xe7ais"}


# The choice.


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        *(("de", "de"), ("DE", "de"), ("EN-boont", "en-boont"), ("en", "en"), ("pt", "pt-BR"), ("p", None)),
        *(("de-CH", None), ("zh", "zh-Hant-TW"), ("zh-hant", "zh-Hant-TW"), ("zh-h", None), ("i-default", None)),
    ],
)
def test_a_range_matches_what_is_narrower(wanted: str, found: str | None) -> None:
    """RFC 4647 section 3.3.1."""
    languages = (*OF_THE_RFC, Language("pt-BR"), Language("pt-PT"), Language("zh-Hant-TW"))
    language = find_language(languages, wanted)
    assert (language.tag if language is not None else None) == found


@pytest.mark.parametrize("argument", [b"", b"de fr", b" de", b"de ", b"d_e", b"de-", b"abcdefghi", b"*-de", b"de\0"])
def test_server_refuses_what_is_no_range(argument: bytes) -> None:
    conn = greeted(CONFIG)
    assert isinstance(talk(conn, b"LANG " + argument + b"\r\n"), CommandRejected)
    assert conn.data_to_send().startswith((b"-ERR Syntax error", b"-ERR Only printable"))
    assert conn.language == "i-default"


def test_the_language_of_this_library_is_there_even_if_it_is_not_named() -> None:
    conn = greeted(CONFIG)
    talk(conn, b"LANG i-default\r\n")
    assert conn.data_to_send() == b"+OK i-default Language changed\r\n"
    ours = Language("I-Default", "Simple English")
    conn = greeted(POP3ServerConfig(languages=(ours,)))
    talk(conn, b"LANG\r\n")
    assert conn.data_to_send() == b"+OK Language listing follows:\r\nI-Default Simple English\r\n.\r\n"


def test_without_languages_there_is_no_lang() -> None:
    conn = greeted()
    talk(conn, b"CAPA\r\n")
    assert b"LANG" not in conn.data_to_send()
    for line in (b"LANG\r\n", b"LANG *\r\n"):
        assert isinstance(talk(conn, line), CommandRejected)
        assert conn.data_to_send() == b"-ERR Command not recognised\r\n"
    conn = greeted(CONFIG)
    talk(conn, b"CAPA\r\n")
    assert b"\r\nLANG\r\n" in conn.data_to_send()


def test_a_users_own_language_is_known_only_after_login() -> None:
    """RFC 6856 section 7: otherwise it would tell which users there are."""
    conn = greeted(CONFIG)
    conn.preferred_language = "sv"
    talk(conn, b"LANG *\r\n")
    assert conn.language == "es"
    talk(conn, b"USER a\r\nPASS b\r\n")
    conn.accept(maildrop=[])
    talk(conn, b"LANG *\r\n")
    assert conn.language == "sv"


def test_the_language_is_forgotten_with_the_handshake() -> None:
    """Somebody in between may have chosen it (RFC 6856 section 7, RFC 2595 section 4)."""
    conn = greeted(POP3ServerConfig(starttls=True, languages=OF_THE_RFC))
    talk(conn, b"LANG es\r\n")
    talk(conn, b"STLS\r\n")
    conn.accept()
    conn.tls_established()
    assert conn.language == "i-default"


# What is said.


def marked(text: str) -> str:
    return "«" + text + "»"


def test_a_catalogue_reaches_all_that_a_server_says() -> None:
    """Every text of ours that comes out is in TEXTS, with its values in it."""
    config = POP3ServerConfig(
        allow_plaintext_auth=True,
        starttls=True,
        auth_mechanisms=("PLAIN",),
        languages=(Language("x-marks", "", {text: marked(text) for text in TEXTS}),),
    )
    conn = greeted(config)
    login = b"USER a\r\nPASS b\r\n"
    commands = b"LANG x-marks\r\nXYZ\r\nNOOP\r\nAUTH\r\nAUTH X\r\nAUTH PLAIN !\r\nLANG\r\nLANG xx\r\nUTF8 x\r\n"
    commands += b"UTF8\r\nSTLS\r\nCAPA\r\n" + login + login
    inside = b"LIST\r\nLIST 9\r\nDELE 1\r\nDELE 1\r\nRSET\r\nRETR 1\r\nTOP 1 0\r\nQUIT\r\n"
    application = Application((b"\r\n",))
    conn.receive_data(commands)
    tries = 0
    while not conn.closing:
        event = conn.next_event()
        if isinstance(event, Login) and not tries:
            conn.reject()
            tries += 1
        elif conn.pending is not None:
            application.answer(conn, event)
        elif event is None:
            assert inside, "the session should be over"
            conn.receive_data(inside)
            inside = b""
    heard = re.findall(r"(?:\+OK|-ERR)(?: \[[A-Z]+\])?(?: x-marks)? (.+)\r\n", conn.data_to_send().decode())
    assert len(heard) == 24
    assert not [text for text in heard if not text.startswith("«") or not text.endswith("»") or "{" in text]
    assert "«message 1 already deleted»" in heard
    assert "«1 messages (2 octets)»" in heard


class Impolite(App):
    def on_login(self, session: POP3Session) -> object:
        raise Reject(450, "später", "IN-USE")


def test_words_of_the_application_are_translated_if_they_are_known() -> None:
    config = POP3ServerConfig(languages=(Language("de"), Language("fi", "", {"später": "myöh"})))
    for lang, heard in (
        (b"", "sp?ter"),
        (b"LANG de\r\n", "später"),
        (b"LANG fi\r\n", "myöh"),
        (b"UTF8\r\n", "später"),
    ):
        server = runner(Impolite(), config)
        server.conn.receive_data(lang + b"USER ada\r\nPASS secret\r\n")
        server.run()
        assert server.take().decode().endswith(f"-ERR [IN-USE] {heard}\r\n")


def test_a_catalogue_may_say_what_it_likes_and_it_is_still_one_line() -> None:
    words = {
        "message {number} deleted": "{number.__class__} {0} {} {nothing} {number}\r\n+OK {number}",
        "Language changed": "[IN-USE] x",
        "maildrop locked and ready": "[AUTH]",
        "Send the password": "x" + "é" * 600,
    }
    conn = greeted(POP3ServerConfig(allow_plaintext_auth=True, languages=(Language("xx", "", words),)))
    talk(conn, b"LANG xx\r\nUSER a\r\nPASS b\r\n")
    conn.accept(maildrop=[MessageInfo(1, "u")])
    talk(conn, b"DELE 1\r\n")
    lines = conn.data_to_send().split(b"\r\n")
    assert lines[0] == b"+OK xx [IN-USE] x"
    assert lines[1] == b"+OK x" + "é".encode() * 252, "cut at a character"
    assert lines[2] == b"+OK ?AUTH]"
    assert lines[3:] == [b"+OK {number.__class__} {0} {} {nothing} 1??+OK 1", b""]


@given(st.text(max_size=600), st.booleans())
def test_whatever_is_said_in_utf8_it_is_one_line_of_it(text: str, ok: bool) -> None:
    line = encode_response(Response(ok, text), True)
    assert len(line) <= 512
    assert line.count(b"\r\n") == line.count(b"\n") == line.count(b"\r") == 1
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028-\u202e]", line[:-2].decode())
    assert not line.startswith((b"+OK [", b"-ERR ["))


@pytest.mark.parametrize("tag", ["", "*", "d e", "abcdefghi", "de\r\n", "é", "."])
def test_a_language_has_a_tag(tag: str) -> None:
    with pytest.raises(GrammarError):
        Language(tag)


@pytest.mark.parametrize("name", [" x", "x\r\n.", "\0", "\x85", "\u2028", "\ud800", "é" * 260])
def test_the_name_of_a_language_is_on_one_line(name: str) -> None:
    with pytest.raises(GrammarError):
        Language("de", name)


def test_two_languages_do_not_share_a_tag() -> None:
    with pytest.raises(GrammarError, match="DE"):
        POP3ServerConfig(languages=(Language("de"), Language("DE")))


def test_a_phrase_is_english_until_it_is_translated() -> None:
    phrase = Phrase("message {number} deleted", number=3)
    assert phrase == "message 3 deleted"
    assert SPANISH.say(phrase) == "mensaje 3 borrado"
    assert Language("it").say(phrase) == "message 3 deleted"
