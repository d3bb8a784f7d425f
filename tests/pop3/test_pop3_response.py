"""Responses and response codes, read and written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.errors import GrammarError
from mailproto.pop3 import Response, ResponseError
from mailproto.pop3._server.responses import LOGIN_FAILED, NO_MESSAGE
from mailproto.pop3.response import encode_response, parse_response, refusal

PARSED = {
    b"+OK": Response(True),
    b"+OK ": Response(True),
    b"+OK 2 320": Response(True, "2 320"),
    b"-ERR": Response(False),
    b"-ERR no such message": Response(False, "no such message"),
    b"-ERR [IN-USE] Do you have another POP session running?": Response(
        False, "Do you have another POP session running?", "IN-USE"
    ),
    b"-ERR [sys/temp/disk]full": Response(False, "full", "SYS/TEMP/DISK"),
    b"+OK []": Response(True, "[]"),
    b"+OK [a b] c": Response(True, "[a b] c"),
    b"+OK [a/] c": Response(True, "[a/] c"),
    b"+OK [a": Response(True, "[a"),
    b"+OK  [A] b": Response(True, " [A] b"),
    "+OK Grüße".encode(): Response(True, "Grüße"),
    b"+OK \xff": Response(True, "\\xff"),
}


@pytest.mark.parametrize("line", PARSED)
def test_parses(line: bytes) -> None:
    assert parse_response(line) == PARSED[line]


@pytest.mark.parametrize(
    "line", [b"", b"+", b"+ok", b"+OKAY", b"+OK\tx", b"-ERROR", b"-err x", b" +OK", b"OK", b"220 x", b"+OK\r", b"+ x"]
)
def test_refuses_what_is_no_response(line: bytes) -> None:
    with pytest.raises(GrammarError):
        parse_response(line)


ENCODED = {
    Response(True): b"+OK\r\n",
    Response(True, "ready"): b"+OK ready\r\n",
    Response(False, "busy", "IN-USE"): b"-ERR [IN-USE] busy\r\n",
    Response(False, "", "IN-USE"): b"-ERR [IN-USE] \r\n",
    Response(False, "x\r\n+OK forged"): b"-ERR x??+OK forged\r\n",
    Response(False, "a\0b\tc\x7fd\x85e\u2028f"): b"-ERR a?b?c?d?e?f\r\n",
    Response(True, "[AUTH] pretended"): b"+OK ?AUTH] pretended\r\n",
    Response(True, "Grüße"): b"+OK Gr??e\r\n",
}


@pytest.mark.parametrize("response", ENCODED)
def test_encodes_to_one_line_of_ascii(response: Response) -> None:
    assert encode_response(response) == ENCODED[response]


def test_a_long_text_is_cut_at_512_octets() -> None:
    line = encode_response(Response(False, "x" * 1000, "AUTH"))
    assert len(line) == 512
    assert line.endswith(b"x\r\n")


@given(st.booleans(), st.text(max_size=600), st.sampled_from([None, "AUTH", "SYS/TEMP"]))
def test_whatever_the_text_it_is_one_response_with_the_code_given(ok: bool, text: str, code: str | None) -> None:
    line = encode_response(Response(ok, text, code))
    assert line.count(b"\r") == line.count(b"\n") == 1
    parsed = parse_response(line[:-2])
    assert (parsed.ok, parsed.code) == (ok, code)


@pytest.mark.parametrize("code", ["", "A B", "A]", "[A]\r\n", "A/", "/A", "É", "A\n"])
def test_build_refuses_what_is_no_response_code(code: str) -> None:
    with pytest.raises(GrammarError):
        Response.build(False, "x", code)


TEMPORARY = {
    "IN-USE": True,
    "LOGIN-DELAY": True,
    "SYS/TEMP": True,
    "SYS/TEMP/DISK": True,
    "SYS/PERM": False,
    "SYS": False,
    "AUTH": False,
    "X/TEMP": False,
    None: False,
}


@pytest.mark.parametrize("code", TEMPORARY)
def test_tells_what_may_work_later(code: str | None) -> None:
    assert Response(False, "x", code).temporary is TEMPORARY[code]
    assert ResponseError(Response(False, "x", code), "PASS").temporary is TEMPORARY[code]


def test_the_error_shows_the_response_on_one_line() -> None:
    error = ResponseError(parse_response(b"-ERR [IN-USE] locked\x1b[2J\x07 \xe2\x80\xae"), "PASS")
    assert str(error) == "PASS: -ERR [IN-USE] locked\\x1b[2J\\x07 \\u202e"
    assert error.command == "PASS"


REFUSALS = {
    (None, None, None): LOGIN_FAILED,
    (None, "wrong", None): Response(False, "wrong", "AUTH"),
    (None, "busy", "in-use"): Response(False, "busy", "IN-USE"),
    (450, "busy", "IN-USE"): Response(False, "busy", "IN-USE"),
    (451, "Internal error", "4.3.0"): Response(False, "Internal error", "SYS/TEMP"),
    (451, "later", None): Response(False, "later", "SYS/TEMP"),
    (None, "later", "4.7.0"): Response(False, "later", "SYS/TEMP"),
    (535, "wrong", "5.7.8"): Response(False, "wrong", "AUTH"),
    (535, "wrong", None): Response(False, "wrong", "AUTH"),
    (None, "wrong", "5.7.8"): Response(False, "wrong", "AUTH"),
    (501, "malformed", "5.5.2"): Response(False, "malformed"),
    (550, "refused", None): Response(False, "refused"),
}


@pytest.mark.parametrize("said", REFUSALS)
def test_understands_who_thinks_in_smtp(said: tuple[int | None, str | None, str | None]) -> None:
    assert refusal(LOGIN_FAILED, *said) == REFUSALS[said]


def test_only_a_login_is_refused_with_auth() -> None:
    assert refusal(NO_MESSAGE, 535, "x", "5.7.8").code is None
    assert refusal(NO_MESSAGE, None, "x", None).code is None
