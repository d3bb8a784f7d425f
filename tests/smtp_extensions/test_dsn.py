"""DSN (RFC 3461) and its addresses beyond ASCII (RFC 6533)."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.address import Address
from mailproto.errors import GrammarError, NotSupportedError
from mailproto.smtp import (
    Mail,
    MailParameters,
    Notify,
    OriginalRecipient,
    Rcpt,
    RcptParameters,
    Ret,
    SMTPServerConfig,
    SMTPServerConnection,
)
from mailproto.smtp.extensions import DSN, SMTPUTF8
from tests.helpers import PROPERTY, assert_plays
from tests.smtp import ADA, BOB, client, say
from tests.smtp_extensions import (
    converse,
    lines_sent,
    offer_of,
    offering,
    read_mail,
    read_rcpt,
    refuses_mail,
    refuses_rcpt,
    said,
    write_mail,
    write_rcpt,
)

# RFC 3461 section 10.1, the side of Example.ORG.
SUBMISSION = """
E: Connected
! accept()
S: 220 Example.ORG ESMTP
C: EHLO Example.ORG
E: Hello 'Example.ORG' extended
! accept()
S: 250-Example.ORG
S: 250 DSN
C: MAIL FROM:<Alice@Example.ORG> RET=HDRS ENVID=QQ314159
E: Mail Alice@Example.ORG ret=HDRS envid=QQ314159
! accept("<Alice@Example.ORG> sender ok")
S: 250 <Alice@Example.ORG> sender ok
C: RCPT TO:<Bob@Example.COM> NOTIFY=SUCCESS ORCPT=rfc822;Bob@Example.COM
E: Rcpt Bob@Example.COM notify=SUCCESS orcpt=rfc822;Bob@Example.COM
! accept("<Bob@Example.COM> recipient ok")
S: 250 <Bob@Example.COM> recipient ok
C: RCPT TO:<Carol@Ivory.EDU> NOTIFY=FAILURE ORCPT=rfc822;Carol@Ivory.EDU
E: Rcpt Carol@Ivory.EDU notify=FAILURE orcpt=rfc822;Carol@Ivory.EDU
! reject(550, "error - no such recipient")
S: 550 error - no such recipient
C: RCPT TO:<Dana@Ivory.EDU> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Dana@Ivory.EDU
E: Rcpt Dana@Ivory.EDU notify=FAILURE,SUCCESS orcpt=rfc822;Dana@Ivory.EDU
! accept("<Dana@Ivory.EDU> recipient ok")
S: 250 <Dana@Ivory.EDU> recipient ok
C: RCPT TO:<Fred@Bombs.AF.MIL> NOTIFY=NEVER
E: Rcpt Fred@Bombs.AF.MIL notify=NEVER
! accept("<Fred@Bombs.AF.MIL> recipient ok")
S: 250 <Fred@Bombs.AF.MIL> recipient ok
C: RCPT TO:<Sam@Boondoggle.GOV> NOTIFY=SUCCESS ORCPT=rfc822;George@Tax-ME.GOV
E: Rcpt Sam@Boondoggle.GOV notify=SUCCESS orcpt=rfc822;George@Tax-ME.GOV
! accept("recipient okay")
S: 250 recipient okay
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""


def test_the_submission_of_the_rfc_on_the_server() -> None:
    config = SMTPServerConfig(hostname="Example.ORG", extensions=(DSN,))
    assert_plays(lambda: SMTPServerConnection(config), SUBMISSION)


def test_the_submission_of_the_rfc_on_the_client() -> None:
    conn = client("DSN", "EXPN", "SIZE")

    def recipient(name: str, *notify: Notify) -> RcptParameters:
        return RcptParameters(frozenset(notify), OriginalRecipient("rfc822", name))

    conn.mail(Address.parse("Alice@Example.ORG"), MailParameters(ret=Ret.HDRS, envid="QQ314159"))
    assert lines_sent(conn) == ["MAIL FROM:<Alice@Example.ORG> RET=HDRS ENVID=QQ314159"]
    for name, notify, line in (
        ("Bob@Example.COM", [Notify.SUCCESS], "NOTIFY=SUCCESS ORCPT=rfc822;Bob@Example.COM"),
        ("Carol@Ivory.EDU", [Notify.FAILURE], "NOTIFY=FAILURE ORCPT=rfc822;Carol@Ivory.EDU"),
        ("Dana@Ivory.EDU", [Notify.FAILURE, Notify.SUCCESS], "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Dana@Ivory.EDU"),
    ):
        say(conn, "250 ok")
        conn.rcpt(Address.parse(name), recipient(name, *notify))
        assert lines_sent(conn) == [f"RCPT TO:<{name}> {line}"]
    say(conn, "250 ok")
    conn.rcpt(Address.parse("Fred@Bombs.AF.MIL"), RcptParameters(frozenset({Notify.NEVER})))
    assert lines_sent(conn) == ["RCPT TO:<Fred@Bombs.AF.MIL> NOTIFY=NEVER"]


def test_nothing_is_said_to_a_server_without_it() -> None:
    """RFC 3461 section 5.2.2 (a)."""
    conn = client("SIZE")
    with pytest.raises(NotSupportedError):
        conn.mail(ADA, MailParameters(ret=Ret.FULL))
    with pytest.raises(NotSupportedError):
        conn.mail(ADA, MailParameters(envid="x"))
    conn.mail(ADA)
    with pytest.raises(NotSupportedError):
        conn.rcpt(BOB, RcptParameters(notify=frozenset({Notify.NEVER})))
    with pytest.raises(NotSupportedError):
        conn.rcpt(BOB, RcptParameters(orcpt=OriginalRecipient("rfc822", "bob@example.org")))
    conn.rcpt(BOB)
    assert lines_sent(conn) == ["MAIL FROM:<ada@example.org>"]


def test_a_server_does_not_offer_it_unless_told_to() -> None:
    assert "DSN" not in offer_of(offering())
    assert "DSN" in offer_of(offering(DSN))
    result = converse(offering(), "MAIL FROM:<a@b> RET=FULL", "MAIL FROM:<a@b>", "RCPT TO:<c@d> NOTIFY=NEVER")
    assert result.replies == [b"555", b"250", b"555"]


MAIL_PARAMETERS = [
    ("RET=FULL", MailParameters(ret=Ret.FULL), "RET=FULL"),
    ("ret=hdrs", MailParameters(ret=Ret.HDRS), "RET=HDRS"),
    ("ENVID=QQ314159", MailParameters(envid="QQ314159"), "ENVID=QQ314159"),
    ("ENVID=a+2Bb+3Dc+20d", MailParameters(envid="a+b=c d"), "ENVID=a+2Bb+3Dc+20d"),
    ("ENVID=+41+7E", MailParameters(envid="A~"), "ENVID=A~"),
    ("ENVID=a@b.example", MailParameters(envid="a@b.example"), "ENVID=a@b.example"),
    ("ENVID=" + "x" * 100, MailParameters(envid="x" * 100), "ENVID=" + "x" * 100),
    ("RET=FULL ENVID=x", MailParameters(ret=Ret.FULL, envid="x"), "RET=FULL ENVID=x"),
    ("ENVID=x RET=FULL", MailParameters(ret=Ret.FULL, envid="x"), "RET=FULL ENVID=x"),
]


@pytest.mark.parametrize(("text", "values", "written"), MAIL_PARAMETERS)
def test_what_mail_says(text: str, values: MailParameters, written: str) -> None:
    assert read_mail(DSN, text) == values
    assert write_mail(DSN, values) == written


BAD_MAIL_PARAMETERS = [
    "RET",
    "RET=",
    "RET=BODY",
    "RET=FULL,HDRS",
    "RET=\u017full",
    "RET=FULL RET=FULL",
    "RET=FULL ret=HDRS",
    "ENVID",
    "ENVID=",
    "ENVID=a=b",
    "ENVID=a+b",
    "ENVID=a+2b",
    "ENVID=a+2",
    "ENVID=a+",
    "ENVID=+0g",
    "ENVID=a+0D+0ATo:x",
    "ENVID=a+00",
    "ENVID=a+09b",
    "ENVID=a+7F",
    "ENVID=+C3+BC",
    "ENVID=ü",
    "ENVID=" + "x" * 101,
    "ENVID=" + "+41" * 34,
    "ENVID=x ENVID=x",
]


@pytest.mark.parametrize("text", BAD_MAIL_PARAMETERS)
def test_what_mail_may_not_say(text: str) -> None:
    assert refuses_mail(DSN, text)


ORCPT = [
    ("ORCPT=rfc822;Bob@Example.COM", "rfc822", "Bob@Example.COM", "ORCPT=rfc822;Bob@Example.COM"),
    ("ORCPT=RFC822;bob+2Btag@example.com", "RFC822", "bob+tag@example.com", "ORCPT=RFC822;bob+2Btag@example.com"),
    ("ORCPT=rfc822;+22a+20b+22@c", "rfc822", '"a b"@c', 'ORCPT=rfc822;"a+20b"@c'),
    ("ORCPT=x400;/S+3Da/C+3Dde", "x400", "/S=a/C=de", "ORCPT=x400;/S+3Da/C+3Dde"),
    ("ORCPT=rfc822;a;b", "rfc822", "a;b", "ORCPT=rfc822;a;b"),
    ("ORCPT=rfc822;\\x{B}", "rfc822", "\\x{B}", "ORCPT=rfc822;\\x{B}"),
    ("ORCPT=utf-8;ada@example.org", "utf-8", "ada@example.org", "ORCPT=utf-8;ada@example.org"),
]


@pytest.mark.parametrize(("text", "address_type", "address", "written"), ORCPT)
def test_the_original_recipient(text: str, address_type: str, address: str, written: str) -> None:
    values = RcptParameters(orcpt=OriginalRecipient(address_type, address))
    assert read_rcpt(DSN, text) == values
    assert write_rcpt(DSN, values) == write_rcpt(DSN, values, utf8=False) == written


# The three forms of RFC 6533 section 3, and what stands for itself in SMTPUTF8, and what without.
UTF8_ORCPT = [
    ("jörg@example.org", "jörg@example.org", "j\\x{F6}rg@example.org"),
    ("j\\x{F6}rg@example.org", "jörg@example.org", "j\\x{F6}rg@example.org"),
    ("j\\x{f6}rg@exampl\\x{2b}e.org", "jörg@exampl\\x{2B}e.org", "j\\x{F6}rg@exampl\\x{2B}e.org"),
    ("a\\x{20}b\\x{3D}\\x{5C}@c", "a\\x{20}b\\x{3D}\\x{5C}@c", "a\\x{20}b\\x{3D}\\x{5C}@c"),
    ("\\x{100}\\x{FFF}@d", "\u0100\u0fff@d", "\\x{100}\\x{FFF}@d"),
    ("\\x{1000}\\x{D7FF}\\x{E000}\\x{FFFD}@d", "\u1000\ud7ff\ue000\ufffd@d", None),
    ("\\x{1F600}\\x{10FFFF}@d", "\U0001f600\U0010ffff@d", "\\x{1F600}\\x{10FFFF}@d"),
    ("用户@例え.テスト", "用户@例え.テスト", "\\x{7528}\\x{6237}@\\x{4F8B}\\x{3048}.\\x{30C6}\\x{30B9}\\x{30C8}"),
]


@pytest.mark.parametrize(("text", "unitext", "xtext"), UTF8_ORCPT)
def test_the_three_forms_of_an_address_beyond_ascii(text: str, unitext: str, xtext: str | None) -> None:
    received = read_rcpt(DSN, f"ORCPT=utf-8;{text}")
    assert received.orcpt is not None
    values = RcptParameters(orcpt=OriginalRecipient("utf-8", "".join(received.orcpt.address)))
    assert values == received
    assert write_rcpt(DSN, values) == f"ORCPT=utf-8;{unitext}"
    assert write_rcpt(DSN, values, utf8=False) == f"ORCPT=utf-8;{text if xtext is None else xtext}"
    assert read_rcpt(DSN, write_rcpt(DSN, values)) == values
    assert read_rcpt(DSN, write_rcpt(DSN, values, utf8=False)) == values


AS_RECEIVED = [
    "rfc822;Bob@Example.COM",
    "RFC822;Bob+40Example.COM",
    "rfc822;+42+6F+62@Example.COM",
    "rfc822;bob+2Btag@example.com",
    "rfc822;\\x{B}",
    "x400;/S+3Da/C+3Dde+20",
    "UTF-8;ada@example.org",
    "utf-8;j\\x{F6}rg@example.org",
    "utf-8;j\\x{f6}rg@exampl\\x{2b}e.org",
    "utf-8;\\x{1F600}\\x{10ffff}@d",
    "utf-8;" + "\\x{10FFFF}" * 49,
]


def relayed(params: str, *, smtputf8: bool) -> list[str]:
    """Return what a relay says of ``params`` behind MAIL and RCPT to the next server."""
    mail, rcpt = params.split("|")
    came = converse(offering(DSN), f"MAIL FROM:<a@b>{mail}", f"RCPT TO:<c@d>{rcpt}")
    conn = client("DSN", "SMTPUTF8", "PIPELINING")
    for event in came.events:
        if isinstance(event, Mail):
            conn.mail(event.reverse_path, replace(event.parameters, smtputf8=smtputf8))
        elif isinstance(event, Rcpt):
            conn.rcpt(event.address, event.parameters)
    return lines_sent(conn)


@pytest.mark.parametrize("value", AS_RECEIVED)
@pytest.mark.parametrize("smtputf8", [False, True])
def test_a_relay_passes_on_the_original_recipient_as_it_came(value: str, smtputf8: bool) -> None:
    """RFC 3461 section 5.2.1 (d): an identical one, not only one that means the same."""
    assert relayed(f"| ORCPT={value}", smtputf8=smtputf8)[1] == f"RCPT TO:<c@d> ORCPT={value}"


def test_what_the_next_server_does_not_take_is_written_in_another_form() -> None:
    came = "| ORCPT=utf-8;jörg\\x{2b}@d"
    assert relayed(came, smtputf8=True)[1] == "RCPT TO:<c@d> ORCPT=utf-8;jörg\\x{2b}@d"
    assert relayed(came, smtputf8=False)[1] == "RCPT TO:<c@d> ORCPT=utf-8;j\\x{F6}rg\\x{2B}@d"


@pytest.mark.parametrize("envid", ["QQ314159", "a+2Bb+3Dc+20d", "+41+7E", "+51Q314159", "x" * 100])
def test_a_relay_passes_on_the_envelope_identifier_as_it_came(envid: str) -> None:
    """RFC 3461 section 5.2.1 (a)."""
    assert relayed(f" RET=HDRS ENVID={envid}|", smtputf8=False)[0] == f"MAIL FROM:<a@b> RET=HDRS ENVID={envid}"


# Sections 10.1, 10.2, 10.3 and 10.5 of RFC 3461: how Example.ORG passes on what Alice said.
RELAYED = [
    " NOTIFY=SUCCESS ORCPT=rfc822;Bob@Example.COM",
    " NOTIFY=FAILURE ORCPT=rfc822;Carol@Ivory.EDU",
    " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Dana@Ivory.EDU",
    " NOTIFY=FAILURE ORCPT=rfc822;Eric@Bombs.AF.MIL",
    " NOTIFY=NEVER",
    " NOTIFY=SUCCESS ORCPT=rfc822;George@Tax-ME.GOV",
]


@pytest.mark.parametrize("rcpt", RELAYED)
def test_the_relays_of_the_rfc(rcpt: str) -> None:
    mail = " RET=HDRS ENVID=QQ314159"
    assert relayed(f"{mail}|{rcpt}", smtputf8=False) == [f"MAIL FROM:<a@b>{mail}", f"RCPT TO:<c@d>{rcpt}"]


def test_what_came_in_another_encoding_is_encoded_anew() -> None:
    """A value may be put elsewhere, where the octets it came as mean something else."""
    xtext, unitext = (read_rcpt(DSN, f"ORCPT={text}").orcpt for text in ("rfc822;a+2Bb", "utf-8;a\\x{2B}b"))
    assert xtext is not None
    assert unitext is not None
    assert xtext.address == unitext.address == "a+b"
    crossed = [OriginalRecipient("utf-8", xtext.address), OriginalRecipient("rfc822", unitext.address)]
    written = [write_rcpt(DSN, RcptParameters(orcpt=orcpt)) for orcpt in crossed]
    assert written == ["ORCPT=utf-8;a\\x{2B}b", "ORCPT=rfc822;a+2Bb"]
    assert pickle.loads(pickle.dumps(xtext)).address.encoded == "a+2Bb"


def test_the_type_is_told_in_any_case() -> None:
    assert read_rcpt(DSN, "ORCPT=UTF-8;j\\x{F6}rg@d").orcpt == OriginalRecipient("UTF-8", "jörg@d")


NOTIFY = [
    ("NEVER", {Notify.NEVER}, "NEVER"),
    ("success", {Notify.SUCCESS}, "SUCCESS"),
    ("Delay,SUCCESS", {Notify.SUCCESS, Notify.DELAY}, "SUCCESS,DELAY"),
    ("DELAY,FAILURE,SUCCESS", {Notify.SUCCESS, Notify.FAILURE, Notify.DELAY}, "SUCCESS,FAILURE,DELAY"),
    ("SUCCESS,SUCCESS", {Notify.SUCCESS}, "SUCCESS"),
]


@pytest.mark.parametrize(("text", "wanted", "written"), NOTIFY)
def test_when_a_notice_is_wanted(text: str, wanted: set[Notify], written: str) -> None:
    values = RcptParameters(notify=frozenset(wanted))
    assert read_rcpt(DSN, f"NOTIFY={text}") == values
    assert write_rcpt(DSN, values) == f"NOTIFY={written}"


BAD_RCPT_PARAMETERS = [
    "NOTIFY",
    "NOTIFY=",
    "NOTIFY=ALWAYS",
    "NOTIFY=NEVER,SUCCESS",
    "NOTIFY=FAILURE,NEVER",
    "NOTIFY=SUCCESS,",
    "NOTIFY=,SUCCESS",
    "NOTIFY=SUCCESS,,DELAY",
    "NOTIFY=\u017fUCCESS",
    "NOTIFY=NEVER NOTIFY=NEVER",
    "ORCPT",
    "ORCPT=",
    "ORCPT=bob@example.com",
    "ORCPT=;bob@example.com",
    "ORCPT=rfc 822;bob@example.com",
    "ORCPT=rfc(822);bob@example.com",
    "ORCPT=rfc822;a+0A@b",
    "ORCPT=rfc822;a+00",
    "ORCPT=rfc822;a+b@c",
    "ORCPT=rfc822;a+2b@c",
    "ORCPT=rfc822;+C3+BC@c",
    "ORCPT=rfc822;ü@c",
    "ORCPT=utf-8;",
    "ORCPT=utf-8;a+b@c",
    "ORCPT=utf-8;a+2Bb@c",
    "ORCPT=utf-8;a\\b@c",
    "ORCPT=utf-8;a\\x{}@c",
    "ORCPT=utf-8;a\\x{41}@c",
    "ORCPT=utf-8;a\\x{0A}@c",
    "ORCPT=utf-8;a\\x{10}@c",
    "ORCPT=utf-8;a\\x{7F}@c",
    "ORCPT=utf-8;a\\x{85}@c",
    "ORCPT=utf-8;a\\x{D800}@c",
    "ORCPT=utf-8;a\\x{DFFF}@c",
    "ORCPT=utf-8;a\\x{2028}@c",
    "ORCPT=utf-8;a\\x{00F6}@c",
    "ORCPT=utf-8;a\\x{110000}@c",
    "ORCPT=utf-8;a\\x{F6@c",
    "ORCPT=rfc822;" + "x" * 494,
    "ORCPT=rfc822;a ORCPT=rfc822;a",
]


@pytest.mark.parametrize("text", BAD_RCPT_PARAMETERS)
def test_what_rcpt_may_not_say(text: str) -> None:
    assert refuses_rcpt(DSN, text)


def test_a_bad_value_is_501_and_says_that_arguments_are_wrong() -> None:
    """RFC 3461 section 5.1."""
    bad = converse(
        offering(DSN),
        "MAIL FROM:<a@b> ENVID=a+0D+0Ax",
        "MAIL FROM:<a@b> RET=FULL RET=FULL",
        "MAIL FROM:<a@b>",
        "RCPT TO:<c@d> NOTIFY=NEVER,DELAY",
        "RCPT TO:<c@d> ORCPT=rfc822;a+0A@b",
    )
    assert bad.replies == [b"501", b"501", b"250", b"501", b"501"]
    assert said(bad).count("501 5.5.4 ") == 4


@pytest.mark.parametrize(
    "values",
    [
        MailParameters(envid=""),
        MailParameters(envid="ü"),
        MailParameters(envid="a\r\nb"),
        MailParameters(envid="x" * 101),
        MailParameters(envid="=" * 34),
    ],
)
def test_what_a_client_does_not_write_in_mail(values: MailParameters) -> None:
    with pytest.raises(GrammarError):
        write_mail(DSN, values)


@pytest.mark.parametrize("notify", [frozenset(), frozenset({Notify.NEVER, Notify.DELAY})])
def test_what_a_client_does_not_write_in_rcpt(notify: frozenset[Notify]) -> None:
    with pytest.raises(GrammarError):
        write_rcpt(DSN, RcptParameters(notify=notify))


@pytest.mark.parametrize(
    ("address_type", "address"),
    [
        ("", "a@b"),
        ("rfc 822", "a@b"),
        ("rfc822;x", "a@b"),
        ("rfc822", "ü@b"),
        ("rfc822", "a\r\nRCPT TO:<x@y>"),
        ("utf-8", ""),
        ("utf-8", "a\x85@b"),
        ("utf-8", "a\u2028@b"),
        ("utf-8", "a\ud800@b"),
    ],
)
def test_what_is_no_original_recipient(address_type: str, address: str) -> None:
    with pytest.raises(GrammarError):
        OriginalRecipient(address_type, address)


def test_an_address_that_grows_too_long_is_not_written() -> None:
    fits = RcptParameters(orcpt=OriginalRecipient("utf-8", "ü" * 494))
    assert len(write_rcpt(DSN, fits)) == len("ORCPT=") + 500
    with pytest.raises(GrammarError):
        write_rcpt(DSN, fits, utf8=False)


def test_the_form_is_chosen_by_whether_the_message_goes_with_smtputf8() -> None:
    values = RcptParameters(orcpt=OriginalRecipient("utf-8", "jörg@example.org"))
    for smtputf8, line in ((True, "utf-8;jörg@example.org"), (False, "utf-8;j\\x{F6}rg@example.org")):
        conn = client("DSN", "SMTPUTF8", "PIPELINING")
        conn.mail(ADA, MailParameters(smtputf8=smtputf8))
        conn.rcpt(BOB, values)
        assert lines_sent(conn)[1] == f"RCPT TO:<bob@example.org> ORCPT={line}"


def test_a_server_takes_octets_beyond_ascii_where_it_offers_smtputf8_and_nowhere_else() -> None:
    line = "RCPT TO:<c@d> ORCPT=utf-8;jörg@example.org"
    assert converse(offering(DSN), "MAIL FROM:<a@b>", line).replies == [b"250", b"250"]
    without = SMTPServerConfig(extensions=(DSN,))
    assert converse(without, "MAIL FROM:<a@b>", line).replies == [b"250", b"501"]
    assert SMTPUTF8 not in without.extensions


PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
UTF8 = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")),  # what no line of a log should have
    min_size=1,
    max_size=40,
)


@PROPERTY
@given(st.sampled_from(Ret), PRINTABLE.filter(bool).map(lambda text: text[:33]))
def test_what_is_written_in_mail_is_what_was_meant(ret: Ret, envid: str) -> None:
    values = MailParameters(ret=ret, envid=envid)
    assert read_mail(DSN, write_mail(DSN, values)) == values


@PROPERTY
@given(
    st.one_of(st.just({Notify.NEVER}), st.sets(st.sampled_from([*Notify][:3]), min_size=1)),
    st.one_of(
        st.builds(OriginalRecipient, st.just("rfc822"), PRINTABLE.map(lambda text: text[:160])),
        st.builds(OriginalRecipient, st.sampled_from(["utf-8", "UTF-8"]), UTF8),
    ),
    st.booleans(),
)
def test_what_is_written_in_rcpt_is_what_was_meant(notify: set[Notify], orcpt: OriginalRecipient, utf8: bool) -> None:
    values = RcptParameters(notify=frozenset(notify), orcpt=orcpt)
    written = write_rcpt(DSN, values, utf8=utf8)
    assert utf8 or written.isascii()
    assert read_rcpt(DSN, written) == values
