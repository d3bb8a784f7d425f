"""Command lines and their parameters, as a server reads them: the grammar, and everything that is near it."""

from __future__ import annotations

from typing import Any

import pytest

from mailproto.errors import GrammarError
from mailproto.smtp import (
    Auth,
    CommandRejected,
    Expn,
    Hello,
    Limits,
    Mail,
    Rcpt,
    ServerState,
    SMTPServerConnection,
    Submitter,
    Tolerance,
    ToleranceUsed,
    Vrfy,
)
from mailproto.smtp.extensions import ALL_EXTENSIONS, HELP
from tests.helpers import accept_all, every_cut, talk
from tests.smtp import ADA, EHLO, ENVELOPE, MAIL, RCPT, WITH_EXPN, deliver, greeted, in_transaction, server


def replies_to(*lines: bytes, **settings: Any) -> list[bytes]:
    return talk(greeted(**settings), [line + b"\r\n" for line in lines]).replies


# S59, S60: octets that stand in no command.


@pytest.mark.parametrize("octet", [0, 1, 7, 8, 9, 10, 11, 12, 13, 27, 31, 127])
@pytest.mark.parametrize(
    "line",
    [
        EHLO,
        b"HELO x\r\n",
        MAIL,
        b"MAIL FROM:<ada@example.org> SIZE=10\r\n",
        b"VRFY ada\r\n",
        b"NOOP x\r\n",
        b"HELP x\r\n",
        b"RSET\r\n",
        b"QUIT\r\n",
    ],
)
def test_a_control_character_at_any_place(line: bytes, octet: int) -> None:
    for place in range(len(line) - 1):
        evil = line[:place] + bytes((octet,)) + line[place:]
        if evil.startswith(b"\r\n") or b"\r\r\n" in evil or b"\r\n\n" in evil:
            continue
        conn = greeted()
        before = conn.state, conn.envelope
        result = talk(conn, [evil])
        assert result.replies == [b"500"], evil
        assert [event.verb for event in result.of(CommandRejected)] == [""]
        assert len(result.events) == 1
        assert (conn.state, conn.envelope) == before


@pytest.mark.parametrize(
    ("line", "shown", "reply"),
    [
        (b"MAIL FROM:<J\xf6rg@example.org>", b"MAIL <unreadable>", b"501 5.1.7 Bad sender address syntax"),
        (b"rcpt TO:<J\xf6rg@example.org>", b"RCPT <unreadable>", b"501 5.1.3 Bad recipient address syntax"),
        (b"VRFY J\xf6rg", b"VRFY <unreadable>", b"501 5.5.4 Syntax error in the arguments"),
        (b"AUTH PLAIN s3cr3t\xf6", b"AUTH <unreadable>", b"501 5.5.4 Syntax error in the arguments"),
        (b"s3cr3t\xf6 x", b"<9 octets that are no command>", b"500 5.5.2 Command not recognised"),
        (b"VRFY J\xf6rg\0", b"<10 octets that are no command>", b"500 5.5.2 Command not recognised"),
        (b"BDAT 3\xf6", b"<7 octets that are no command>", b"521 5.5.4 Cannot tell where this chunk ends, good-bye"),
    ],
)
def test_of_octets_that_are_no_text_a_trace_shows_whose_argument_they_were(
    line: bytes, shown: bytes, reply: bytes
) -> None:
    """The reply says what is wrong with it: with an address, for who wrote it in another encoding will read that."""
    conn = greeted()
    seen: list[bytes] = []
    conn.trace = lambda _, spoken: seen.append(spoken)
    assert talk(conn, [line + b"\r\n"]).output == reply + b"\r\n"
    assert seen == [shown, reply]


BAD_UTF8 = [
    b"\xff",
    b"\xc3",
    b"\xe2\x82",
    b"\xc0\xaf",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\x80",
    b"\xfe",
]


@pytest.mark.parametrize("bad", BAD_UTF8)
@pytest.mark.parametrize(
    "line",
    [
        b"EHLO %s",
        b"HELO x%s",
        b"VRFY %s",
        b"EXPN x%sy",
        b"MAIL FROM:<%s@b>",
        b"MAIL FROM:<a@%s>",
        b"MAIL FROM:<a@b%s>",
        b"MAIL FROM:<a@b> %s",
        b"MAIL FROM:<a@b> SIZE=%s",
        b"MAIL FROM:<a@b> BODY=%s",
        b"MAIL FROM:<%s@b> SMTPUTF8",
        b"AUTH %s",
    ],
)
def test_what_is_not_utf8(line: bytes, bad: bytes) -> None:
    """S60: refused, the state unchanged, no exception, no event."""
    conn = greeted(auth_mechanisms=("PLAIN",), allow_plaintext_auth=True)
    result = talk(conn, [line % bad + b"\r\n"])
    assert result.replies[0][:1] == b"5"
    assert [type(event) for event in result.events] == [CommandRejected]
    assert conn.state is ServerState.READY
    assert conn.envelope is None


@pytest.mark.parametrize("verb", [b"EHLO", b"HELO", b"VRFY", b"EXPN"])
@pytest.mark.parametrize("evil", ["\x85", "\u2028", "\u2029", "\x9b[2J"])
def test_no_line_end_of_unicode_reaches_the_application(verb: bytes, evil: str) -> None:
    """S54: a name or a query stands in logs and header fields."""
    result = talk(greeted(extensions=WITH_EXPN), [b"%s a%sb\r\n" % (verb, evil.encode())])
    assert result.replies == [b"501"]
    assert [type(event) for event in result.events] == [CommandRejected]


@pytest.mark.parametrize("unseen", ["\u3000", "\xa0", "\u200d", "\ue000"])
def test_what_is_not_seen_and_ends_no_line_may_stand_in_a_command(unseen: str) -> None:
    """Names are written with it: the space of Japanese, the joiner of Persian."""
    text = f"a{unseen}b"
    result = talk(greeted(), [b"VRFY " + text.encode() + b"\r\n"], lambda conn, _: conn.answer_default())
    assert result.events == [Vrfy(text)]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("MA\u0131L FROM:<a@b>", b"500"),
        ("R\u017fET", b"500"),
        ("AUTH PLA\u0131N AGEAYg==", b"504"),
        ("BDAT 1 LA\u017fT", b"521"),
    ],
)
def test_no_letter_beyond_ascii_stands_for_one_of_a_keyword(line: str, code: bytes) -> None:
    """RFC 5321 section 2.4: only ASCII has upper and lower case. Of some other letters the upper case is ASCII."""
    conn = greeted(auth_mechanisms=("PLAIN",), allow_plaintext_auth=True)
    assert line.upper().isascii()
    assert talk(conn, [line.encode() + b"\r\n"]).replies == [code]


@pytest.mark.parametrize("name", ["grün.example", "\u2028", "x y"])
def test_a_client_calls_itself_by_one_word_of_ascii(name: str) -> None:
    """S60, RFC 6531 section 3.7.1."""
    assert replies_to(b"EHLO " + name.encode()) == [b"501"]


@pytest.mark.parametrize(
    "name",
    [
        "x",
        "client.example",
        "[192.0.2.1]",
        "[IPv6:2001:db8::1]",
        "under_score",
        "-",
        "x)by(y",
        "[bad",
        "a..b",
        "localhost.",
        '"',
        "x" * 255,
    ],
)
def test_any_other_word_is_a_name(name: str) -> None:
    """RFC 5321 section 4.1.4: mail does not depend on it."""
    (event,) = talk(greeted(), [f"EHLO {name}\r\n".encode()]).events
    assert event == Hello(name, True)
    assert replies_to(b"HELO " + b"x" * 256) == [b"501"]


@pytest.mark.parametrize("lines", [(b"MAIL FROM:<gr\xc3\xbcn@b>",), (b"MAIL FROM:<a@b>", b"RCPT TO:<gr\xc3\xbcn@b>")])
def test_utf8_needs_smtputf8_and_a_message_behind_it_changes_nothing(lines: tuple[bytes, ...]) -> None:
    result = talk(greeted(), [line + b"\r\n" for line in (*lines, b"DATA")])
    assert result.replies[-2:] in ([b"550", b"503"], [b"553", b"554"])


# Verbs.


@pytest.mark.parametrize(
    "verb",
    [
        b"TURN",
        b"ATRN",
        b"DEBUG",
        b"WIZ",
        b"SEND FROM:<a@b>",
        b"SOML",
        b"SAML",
        b"XYZZY",
        b"",
        b" ",
        b"MAIL_",
        b"  QUIT",
    ],
)
def test_dead_and_unknown_verbs(verb: bytes) -> None:
    """S95."""
    assert replies_to(verb, b"NOOP")[0][:2] == b"50"


@pytest.mark.parametrize("verb", [b"EHLO", b"HELO"])
def test_no_reply_to_a_hello_has_a_status_code(verb: bytes) -> None:
    """RFC 2034 section 4: the refusals by the connection itself are like all others."""
    assert talk(greeted(), [verb + b" x y\r\n"]).output == b"501 Syntax error in the arguments\r\n"
    refused = server()
    talk(refused, [], lambda conn, _: conn.reject())
    assert talk(refused, [verb + b" x\r\n"]).output == b"503 Bad sequence of commands\r\n"


@pytest.mark.parametrize("verb", ["\u017ftarttls", "ma\u0131l FROM:<a@b>", "QU\u0130T", "\u212a", "N\u041eOP"])
def test_verbs_are_ascii(verb: str) -> None:
    """SECURITY section 7: Python's upper() makes verbs of things that are none."""
    result = talk(greeted(starttls=True), [verb.encode() + b"\r\n"])
    assert result.replies == [b"500"]


@pytest.mark.parametrize(
    "line",
    [b"DATA x", b"RSET x", b"QUIT now", b"STARTTLS now", b"EHLO", b"HELO", b"VRFY", b"EXPN", b"AUTH", b"EHLO  x"],
)
def test_arguments_too_many_or_too_few(line: bytes) -> None:
    settings: dict[str, Any] = {"starttls": True, "auth_mechanisms": ("PLAIN",), "allow_plaintext_auth": True}
    conn = in_transaction(extensions=WITH_EXPN, **settings)
    if line.startswith((b"STARTTLS", b"AUTH")):
        talk(conn, [b"RSET\r\n"])
    before = conn.state
    result = talk(conn, [line + b"\r\n"])
    assert result.replies == [b"501"]
    assert [type(event) for event in result.events] == [CommandRejected]
    assert conn.state is before
    assert not conn.closing


@pytest.mark.parametrize(
    "line",
    [
        b"NOOP",
        b"RSET",
        b"EHLO x",
        b"HELO x",
        b"MAIL FROM:<a@b>",
        b"MAIL FROM:<a@b> SIZE=5",
        b"VRFY x",
        b"HELP",
        b"QUIT",
    ],
)
def test_white_space_at_the_end_of_a_line_is_tolerated(line: bytes) -> None:
    """RFC 5321 section 4.1.1: receivers SHOULD."""
    assert talk(greeted(), [line + b"  \r\n"]).output == talk(greeted(), [line + b"\r\n"]).output
    assert replies_to(line + b"\t") == [b"500"], "but no control character is"


def test_queries() -> None:
    """S48, S94: nothing is told by default, and what was asked is not said back."""
    conn = greeted(extensions=WITH_EXPN)
    result = talk(conn, [b"VRFY ada <x@y>\r\n", b"EXPN list\r\n"], lambda conn, _: conn.answer_default())
    assert result.events == [Vrfy("ada <x@y>"), Expn("list")]
    assert result.replies == [b"252", b"502"]
    assert b"ada" not in result.output
    assert b"list" not in result.output
    evil = bytes(range(0x20, 0x7F)) * 5
    result = talk(conn, [b"VRFY " + evil + b"\r\n"], lambda conn, _: conn.answer_default())
    assert evil[:20] not in result.output


def test_known_and_unknown_users_look_the_same() -> None:
    """S48."""
    for verb in (b"VRFY", b"EXPN"):
        known, unknown = (
            talk(
                greeted(extensions=WITH_EXPN),
                [verb + b" " + name + b"\r\n"],
                lambda conn, _: conn.answer_default(),
            ).output
            for name in (b"postmaster", b"nobody")
        )
        assert known == unknown


def test_what_a_server_has_beyond_the_minimum_it_lists() -> None:
    """RFC 5321 sections 3.5.2 and 4.1.1.1: HELP and EXPN are no required commands, and a client sees who has them."""
    offered = talk(greeted(extensions=WITH_EXPN), [EHLO]).output
    assert b"250-HELP\r\n" in offered
    assert offered.endswith(b"250 EXPN\r\n")
    conn = greeted()
    assert b"EXPN" not in talk(conn, [EHLO]).output
    result = talk(conn, [b"EXPN list\r\n"])
    assert [type(event) for event in result.events] == [CommandRejected]
    assert result.replies == [b"502"]
    assert talk(greeted(extensions=()), [b"HELP\r\n"]).replies == [b"502"]


def test_help_names_what_there_is() -> None:
    """And no command that is answered with 502, or that others may give."""
    required = "DATA EHLO HELO HELP MAIL NOOP QUIT RCPT RSET VRFY"
    assert talk(server(extensions=(HELP,)), [b"HELP\r\n"]).output.endswith(f"214 {required}\r\n".encode())
    conn = greeted(extensions=ALL_EXTENSIONS, starttls=True, auth_mechanisms=("PLAIN",))
    everywhere = {"BDAT", "BURL", "ETRN", "EXPN", *required.split(" ")}
    assert set(talk(conn, [b"HELP\r\n"]).output.decode().split()[2:]) == {"STARTTLS", *everywhere}
    conn.trusted = True
    talk(conn, [b"STARTTLS\r\n"])
    conn.tls_established()
    assert set(talk(conn, [b"HELP\r\n"]).output.decode().split()[2:]) == {"AUTH", "XCLIENT", "XFORWARD", *everywhere}


# Paths.


@pytest.mark.parametrize(
    "argument",
    [
        b"",
        b"<a@b>",
        b"FROM",
        b"FROM:",
        b"FROM: ",
        b"FROM <a@b>",
        b"FROM: <a@b>",
        b"FROM:a@b",
        b"FROM:<a@b",
        b"FROM:a@b>",
        b"FROM:<a@b>>",
        b"FROM:<<a@b>",
        b"FROM:<<a@b>>",
        b"FROM:<a@b>SIZE=1",
        b"FROM:<a@b>;SIZE=1",
        b"FROM:<a@b(c)>",
        b"FROM:<a b@c>",
        b"FROM:<a@b@c>",
        b"FROM:Ada <a@b>",
        b"FROM:<Ada <a@b>>",
        b"FROM:<postmaster>",
        b"FROM:< >",
        b'FROM:<""@b>',
        b"FROM:<a@[1.2.3]>",
        b"FROM:<@a:>",
        b"TO:<a@b>",
        b"FROM:<a@b> SIZE=1 SIZE=1",
        b"FROM:<a@b> SIZE=1  BODY=7BIT",
        b"FROM:<a@b>  SIZE=1",
        b"FROM:<a@b> =1",
        b"FROM:<a@b> SIZE=",
        b"FROM:<a@b> SI_ZE=1",
        b"FROM:<a@b> -SIZE=1",
        b"FROM:<a@b> SIZE=1=1",
    ],
)
def test_what_is_no_mail(argument: bytes) -> None:
    conn = greeted()
    result = talk(conn, [b"MAIL " + argument + b"\r\n"])
    assert result.replies == [b"501"]
    assert [type(event) for event in result.events] == [CommandRejected]
    assert conn.state is ServerState.READY


@pytest.mark.parametrize(
    "argument",
    [
        b"TO:<>",
        b"TO:<a>",
        b"TO:a@b",
        b"TO: <a@b>",
        b"FROM:<a@b>",
        b"TO:<a@b",
        b"TO:<@a>",
        b"TO:<postmaster",
        b"TO:<a@b> X=",
        b"TO:<a@b>X",
    ],
)
def test_what_is_no_rcpt(argument: bytes) -> None:
    """S58, S72: and the null path is nobody's address."""
    conn = in_transaction()
    result = talk(conn, [b"RCPT " + argument + b"\r\n"])
    assert result.replies == [b"501"]
    assert conn.envelope is not None
    assert len(conn.envelope.recipients) == 1
    assert conn.state is ServerState.RCPT


def test_paths_are_parsed_into_their_parts() -> None:
    """S13, S57: by the grammar, with the route dropped."""
    conn = greeted()
    wire = b'MAIL FROM:<"a> SIZE=1 <b"@x>\r\nRCPT TO:<@me,@you:u@victim.org>\r\nRCPT TO:<"u@victim.org"@me>\r\n'
    mail, *rcpts = talk(conn, [wire]).events
    assert isinstance(mail, Mail)
    assert mail.reverse_path == ADA._replace(local_part="a> SIZE=1 <b", domain="x")
    assert mail.parameters.size is None
    assert [str(rcpt.address) for rcpt in rcpts] == ["u@victim.org", '"u@victim.org"@me']


RELAYS = [
    b"<u%victim.org@me>",
    b"<victim.org!u@me>",
    b"<@me:u@victim.org>",
    b'<"u@victim.org"@me>',
    b"<u@[127.0.0.1]>",
    b"<u@victim.org@me>",
    b"<u@victim.org>",
    b"<postmaster@victim.org>",
]


@pytest.mark.parametrize("path", RELAYS)
def test_no_recipient_is_accepted_by_forgetting(path: bytes) -> None:
    """S55: who does not answer refuses, whatever the address looks like."""
    conn = greeted()
    result = talk(
        conn, [b"MAIL FROM:<spoof@me>\r\n", b"RCPT TO:" + path + b"\r\n"], lambda conn, _: conn.answer_default()
    )
    assert result.replies[0] == b"250"
    assert result.replies[1] in (b"550", b"501")
    assert conn.envelope is not None
    assert not conn.envelope.recipients


def test_nobody_is_logged_in_by_forgetting() -> None:
    steps = {b"AUTH PLAIN AGEAYg==\r\n": [b"535"], b"AUTH PLAIN\r\nAGEAYg==\r\n": [b"334", b"535"]}
    for wire, replies in steps.items():
        conn = greeted(auth_mechanisms=("PLAIN",), allow_plaintext_auth=True)

        def forget(conn: SMTPServerConnection, event: object) -> None:
            if event == Auth("PLAIN"):
                conn.challenge(b"")
            else:
                conn.answer_default()

        assert talk(conn, [wire], forget).replies == replies
        assert not conn.authenticated


def test_a_policy_sees_through_percent_and_bang_and_route() -> None:
    def policy(conn: Any, event: object) -> None:
        if isinstance(event, Rcpt) and event.address.domain != "me":
            conn.reject()
        else:
            conn.accept()

    for path in RELAYS:
        conn = greeted()
        talk(conn, [MAIL, b"RCPT TO:" + path + b"\r\n"], policy)
        assert conn.envelope is not None
        for rcpt in conn.envelope.recipients:
            # These are local to the domain, and mean nothing more than they say.
            assert rcpt.address.domain == "me"
            assert "victim" in rcpt.address.local_part


# Parameters.


@pytest.mark.parametrize(
    ("parameters", "shown"),
    [
        ("", {}),
        (" SIZE=10", {"size": 10}),
        (" size=0", {"size": 0}),
        (" SIZE=33554432", {"size": 33554432}),
        (" BODY=7BIT", {"body": "7BIT"}),
        (" body=8bitmime", {"body": "8BITMIME"}),
        (" SMTPUTF8", {"smtputf8": True}),
        (" AUTH=<>", {"auth": Submitter.UNKNOWN}),
        # RFC 4954 section 5: who has not logged in can vouch for nobody.
        (" AUTH=e+3Dmc2@example.com", {"auth": Submitter.UNKNOWN}),
        (" SIZE=1 BODY=8BITMIME SMTPUTF8 AUTH=<>", {"size": 1, "body": "8BITMIME", "smtputf8": True}),
    ],
)
def test_parameters_of_mail(parameters: str, shown: dict[str, object]) -> None:
    conn = greeted(auth_mechanisms=("PLAIN",), allow_plaintext_auth=True)
    (mail,) = talk(conn, [f"MAIL FROM:<a@b>{parameters}\r\n".encode()]).events
    for name, value in shown.items():
        found = getattr(mail.parameters, name)
        assert value in (found, getattr(found, "value", None), str(found))


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        (" SIZE", 501),
        (" SIZE=-1", 501),
        (" SIZE=+1", 501),
        (" SIZE=1_0", 501),
        (" SIZE=0x10", 501),
        (" SIZE=1.0", 501),
        (" SIZE=\u0661", 501),
        (" SIZE=\uff11", 501),
        (" SIZE=\u00b2", 501),
        (f" SIZE={10**20}", 501),
        (" SIZE=" + "9" * 3000, 501),
        (" SIZE=33554433", 552),
        (" SIZE=99999999999999999999", 552),
        (" BODY", 501),
        (" BODY=9BIT", 501),
        (" BODY=BINARYMIME", 501),
        (" BODY=8B\u0131TM\u0131ME", 501),
        (" SMTPUTF8=", 501),
        (" SMTPUTF8=1", 501),
        (" \u017fMTPUTF8", 501),
        (" AUTH", 501),
        (" AUTH=x", 501),
        (" AUTH=a+0Ab@c", 501),
        (" AUTH=x+00@y", 501),
        (" AUTH=+g@y", 501),
        (" AUTH=<>x", 501),
        (" XYZZY", 555),
        (" XYZZY=1", 555),
        (" RET=HDRS", 555),
        (" SIZE=1 XYZZY", 555),
        (" SIZE=1 size=1", 501),
        (" SMTPUTF8 SMTPUTF8", 501),
        ("".join(f" X{i}=1" for i in range(33)), 501),
        ("".join(f" X{i}=1" for i in range(32)), 555),
    ],
)
def test_parameters_that_are_none(parameters: str, code: int) -> None:
    """S34, S53, S27."""
    conn = greeted(auth_mechanisms=("PLAIN",), allow_plaintext_auth=True)
    result = talk(conn, [f"MAIL FROM:<a@b>{parameters}\r\n".encode()])
    assert result.replies == [str(code).encode()]
    assert [type(event) for event in result.events] == [CommandRejected]
    assert conn.state is ServerState.READY


def test_what_is_not_offered_is_not_known() -> None:
    assert replies_to(b"MAIL FROM:<a@b> AUTH=<>") == [b"555"]
    assert replies_to(b"MAIL FROM:<a@b> SIZE=1", extensions=()) == [b"555"]
    assert replies_to(b"HELO x", b"MAIL FROM:<a@b> SIZE=1") == [b"250", b"555"]
    assert replies_to(b"MAIL FROM:<a@b>", b"RCPT TO:<a@b> NOTIFY=NEVER") == [b"250", b"555"]


def test_without_a_size_limit_every_size_is_taken() -> None:
    result = talk(greeted(max_message_size=0), [b"MAIL FROM:<a@b> SIZE=99999999999999999999\r\n"])
    assert result.replies == [b"250"]


# Tolerances: off by default, each by itself, each reported (DESIGN section 6).

SPACE, BRACKETS = Tolerance.SPACE_AFTER_COLON, Tolerance.MISSING_BRACKETS


@pytest.mark.parametrize(
    ("argument", "needs"),
    [
        (b"FROM: <a@b> SIZE=1", {SPACE}),
        (b"FROM:   <a@b>", {SPACE}),
        (b"FROM:a@b SIZE=1", {BRACKETS}),
        (b"FROM:a@b", {BRACKETS}),
        (b"FROM: a@b", {SPACE, BRACKETS}),
        (b"FROM: <>", {SPACE}),
    ],
)
def test_tolerances(argument: bytes, needs: set[Tolerance]) -> None:
    for granted in (set(), {SPACE}, {BRACKETS}, {SPACE, BRACKETS}):
        conn = greeted(tolerances=frozenset(granted))
        result = talk(conn, [b"MAIL " + argument + b"\r\n"])
        if needs <= granted:
            assert [type(event) for event in result.events] == [Mail] + [ToleranceUsed] * len(needs)
            assert {event.tolerance for event in result.of(ToleranceUsed)} == needs
            assert result.events[0].reverse_path in (None, ADA._replace(local_part="a", domain="b"))
        else:
            assert result.replies == [b"501"]
            assert not result.of(ToleranceUsed)


@pytest.mark.parametrize(
    "argument",
    [
        b"FROM:",
        b"FROM: ",
        b"FROM:  SIZE=1",
        b"FROM:a@b>",
        b"FROM:<a@b",
        b"FROM:a b@c",
        b"FROM:a@b@c",
        b"FROM:a@b> SIZE=1 <c",
    ],
)
def test_tolerance_has_its_limits(argument: bytes) -> None:
    """Least of all does nothing at all become the null reverse-path."""
    conn = greeted(tolerances=frozenset(Tolerance))
    result = talk(conn, [b"MAIL " + argument + b"\r\n"])
    assert result.replies == [b"501"]
    assert [type(event) for event in result.events if not isinstance(event, ToleranceUsed)] == [CommandRejected]


def test_a_tolerance_of_rcpt() -> None:
    conn = in_transaction(tolerances=frozenset(Tolerance))
    result = talk(conn, [b"RCPT TO: postmaster\r\n", b"RCPT TO:eve@example.org\r\n"])
    assert [str(event.address) for event in result.of(Rcpt)] == ["postmaster", "eve@example.org"]


def test_deviating_parameters_are_not_tolerated_with_the_path() -> None:
    result = talk(greeted(tolerances=frozenset(Tolerance)), [b"MAIL FROM: <a@b> SIZE=x\r\n"])
    assert result.replies == [b"501"]
    assert [type(event) for event in result.events if not isinstance(event, ToleranceUsed)] == [CommandRejected]


# Other protocols (S68).


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nEHLO x\r\n",
        b"POST /x HTTP/1.1\r\n",
        b"PUT / HTTP/1.0\r\n",
        b"CONNECT x:25 HTTP/1.1\r\n",
        b"Host: x\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"get / http/1.1\r\n",
        b"GET /?\0 HTTP/1.1\r\nEHLO x\r\n",
        b"GET /" + b"x" * 10_000 + b" HTTP/1.1\r\nEHLO x\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(100, 200)),
        b"\x16\x03\x01\x00\r\nEHLO x\r\nMAIL FROM:<a@b>\r\n",
        b"\x16\x03\x01" + b"x" * 10_000,
    ],
)
def test_a_browser_is_hung_up_on_at_once(line: bytes) -> None:
    for pieces in ([line], [line[i : i + 1] for i in range(min(len(line), 300))]):
        conn = server()
        result = talk(conn, pieces)
        assert result.lines == ["Connected", "ConnectionClosed 'the peer does not speak SMTP'"], pieces
        assert result.replies in ([], [b"220"])
        assert conn.closing


# Answers (S49, S50).

EVIL_TEXTS = [
    "x\r\n250 ok",
    "x\n250 ok",
    "x\r250 ok",
    "\0",
    "x\x1b[2J",
    "\x7f",
    "naïve",
    "\u2028",
    "\x85",
    "x" * 2000,
    "\r\n",
    "",
]


@pytest.mark.parametrize("text", EVIL_TEXTS)
@pytest.mark.parametrize("verb", [EHLO, MAIL, b"VRFY x\r\n", b"EXPN x\r\n"])
def test_one_answer_is_one_reply(verb: bytes, text: str) -> None:
    for answer, code in (
        (lambda conn, _: conn.accept(text), b"25"),
        (lambda conn, _: conn.reject(550, text), b"55"),
        (lambda conn, _: conn.reject(551, text, "5.7.1"), b"55"),
    ):
        output = talk(greeted(extensions=WITH_EXPN), [verb], answer).output
        lines = output.split(b"\r\n")
        assert lines.pop() == b""
        assert all(line[:2] == code and line[3:4] in (b" ", b"-") for line in lines)
        assert [line[3:4] for line in lines].count(b" ") == 1
        assert lines[-1][3:4] == b" ", "only the last line ends a reply"
        assert len({line[:3] for line in lines}) == 1
        assert all(len(line) <= 510 for line in lines)
        assert all(0x20 <= byte < 0x7F for line in lines for byte in line)


@pytest.mark.parametrize(
    "arguments",
    [(250,), (399,), (600,), (0,), (550, "x", "4.1.1"), (550, "x", "5.1"), (550, "x", "x"), (451, "x", "5.0.0")],
)
def test_a_rejection_that_is_none(arguments: tuple[Any, ...]) -> None:
    conn = greeted()
    conn.receive_data(MAIL)
    event = conn.next_event()
    with pytest.raises(GrammarError):
        conn.reject(*arguments)
    assert conn.pending is event
    assert conn.data_to_send() == b""
    conn.accept()
    assert conn.data_to_send()[:3] == b"250"


def test_enhanced_codes_are_made_to_fit() -> None:
    cases: list[tuple[tuple[Any, ...], bytes]] = [
        ((), b"550 5.7.1 "),
        ((451,), b"451 4.0.0 "),
        ((554,), b"554 5.7.1 "),
        ((550, "x", "5.1.8"), b"550 5.1.8 x"),
    ]
    for arguments, expected in cases:
        conn = greeted()
        conn.receive_data(MAIL)
        conn.next_event()
        conn.reject(*arguments)
        assert conn.data_to_send().startswith(expected)
    assert talk(greeted(extensions=()), [MAIL], lambda conn, _: conn.reject()).output == b"550 Sender refused\r\n"


def test_a_long_line_is_dropped_to_its_end() -> None:
    """S5, S24: its tail is no command, whatever it looks like."""
    limits = Limits(max_line=100)
    for tail in (b"MAIL FROM:<evil@x>", b"\nMAIL FROM:<evil@x>", b"\rQUIT"):
        wire = b"NOOP " + b"x" * 95 + tail + b"\r\nVRFY y\r\n"
        for pieces in every_cut(wire):
            result = talk(greeted(limits=limits), pieces)
            assert result.lines == ["CommandRejected 500 5.5.2 Line too long", "Vrfy 'y'"], pieces
            assert result.replies == [b"500", b"252"]


def test_a_refused_mail_takes_what_hangs_on_it_along() -> None:
    """S63: MAIL refused, and RCPT, DATA and the message come all the same."""

    def policy(conn: Any, event: object) -> None:
        conn.reject() if isinstance(event, Mail) else accept_all(conn, event)

    result = deliver(greeted(), b"MAIL FROM:<evil@x>\r\n", policy)
    assert result.replies == [b"550", b"503", b"503", b"550"]
    assert len(result.of(Mail)) == 2


def test_a_client_that_pipelines_behind_a_refusal_makes_no_errors() -> None:
    """RFC 2920: its RCPTs and DATA were sent before the refusal was there; that is not what max_errors is for."""

    def policy(conn: Any, event: object) -> None:
        conn.reject() if isinstance(event, Mail | Rcpt) else accept_all(conn, event)

    conn = greeted(limits=Limits(max_errors=3, max_refused_recipients=120))
    for _ in range(4):
        result = talk(conn, [MAIL + RCPT * 30 + b"DATA\r\n"], policy)
        assert result.replies == [b"550"] + [b"503"] * 31
    assert not conn.closing

    def no_recipient(conn: Any, event: object) -> None:
        conn.reject() if isinstance(event, Rcpt) else accept_all(conn, event)

    for _ in range(4):
        result = talk(conn, [MAIL + RCPT * 30 + b"DATA\r\nRSET\r\n"], no_recipient)
        assert result.replies == [b"250"] + [b"550"] * 30 + [b"554", b"250"]
    assert not conn.closing
    result = talk(conn, [RCPT] * 4)
    assert result.replies[-1] == b"421", "without a refusal before them they are errors"


@pytest.mark.parametrize("line", [b"NOOP\r\n", b"RSET\r\n", EHLO, b"VRFY ada\r\n"])
def test_behind_another_command_nothing_was_said_ahead_any_more(line: bytes) -> None:
    def policy(conn: Any, event: object) -> None:
        conn.reject() if isinstance(event, Mail) else accept_all(conn, event)

    conn = greeted(limits=Limits(max_errors=3))
    talk(conn, [MAIL, line], policy)
    assert talk(conn, [RCPT] * 4).replies == [b"503"] * 3 + [b"421"]


def test_the_envelope_is_the_transactions_own() -> None:
    """S67: RSET, EHLO, the end of a message: nothing of it is left."""
    for ending in (b"RSET\r\n", EHLO, b"HELO x\r\n", b"DATA\r\n.\r\n"):
        conn = greeted()
        talk(conn, [b"MAIL FROM:<a@b> SIZE=5 BODY=8BITMIME SMTPUTF8\r\n", RCPT, ending])
        assert conn.envelope is None
        assert conn.state is ServerState.READY
        (mail,) = talk(conn, [b"MAIL FROM:<>\r\n"]).events
        assert mail.reverse_path is None
        assert (mail.parameters.size, mail.parameters.body, mail.parameters.smtputf8) == (None, None, False)
        assert conn.envelope is not None
        assert conn.envelope.recipients == []


def test_a_name_is_not_a_login() -> None:
    conn = greeted(auth_mechanisms=("PLAIN",), allow_plaintext_auth=True)
    talk(conn, [b"AUTH PLAIN AGEAYg==\r\n"])
    assert conn.authenticated
    talk(conn, [EHLO, b"RSET\r\n"])
    assert conn.authenticated, "RFC 4954 section 4: until the end, or STARTTLS"


def test_a_mechanism_is_named_in_ascii() -> None:
    conn = greeted(auth_mechanisms=("PLAIN", "LOGIN"), allow_plaintext_auth=True)
    for name in ("pla\u0131n", "LOG\u0130N", "\u0131"):
        result = talk(conn, [f"AUTH {name} AGEAYg==\r\n".encode()])
        assert result.replies == [b"504"]
    assert talk(conn, [b"AUTH plain AGEAYg==\r\n"]).of(Auth)


def test_data_goes_by_the_envelope() -> None:
    result = talk(greeted(), [ENVELOPE])
    assert result.replies == [b"250", b"250", b"354"]
