"""Notices that came: of all makers, whole and broken, and what is none."""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email.message import Message
from email.mime.multipart import MIMEMultipart
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.address import Address
from mailproto.errors import GrammarError
from mailproto.smtp import (
    Action,
    EnhancedStatus,
    MailParameters,
    Notify,
    OriginalRecipient,
    RcptParameters,
    ReceivedNotice,
    Reply,
    ReportedRecipient,
    Ret,
    Typed,
    parse_notice,
)
from mailproto.smtp.notices import Report, make_notice
from tests.helpers import PROPERTY, THOROUGH

POLICIES = [email.policy.compat32, email.policy.default, email.policy.SMTPUTF8, email.policy.strict]


def report(status: str, *others: str, kind: str = "message/delivery-status") -> bytes:
    """Return a notice with this status, and these parts behind it."""
    parts = ["Content-Type: text/plain\n\nIt did not work.\n", f"Content-Type: {kind}\n\n{status}", *others]
    text = "".join(f"--xx\n{part}\n" for part in parts)
    head = 'From: <>\nContent-Type: multipart/report; report-type=delivery-status;\n\tboundary="xx"\n\n'
    return f"{head}{text}--xx--\n".encode()


def read(status: str, *others: str) -> ReceivedNotice:
    return parse_notice(report(status, *others))


def read_one(*fields: str) -> ReportedRecipient:
    (recipient,) = read("Reporting-MTA: dns; mx\n\n" + "\n".join(fields) + "\n").recipients
    return recipient


def rfc822(address: str) -> OriginalRecipient:
    return OriginalRecipient("rfc822", address)


POSTFIX = report(
    """\
Reporting-MTA: dns; mail.example.com
Original-Envelope-Id: QQ314159
X-Postfix-Queue-ID: 4ABCDE1234
X-Postfix-Sender: rfc822; ada@example.com
Arrival-Date: Mon,  5 Jan 2026 10:00:00 +0100 (CET)

Final-Recipient: rfc822; bob@example.net
Original-Recipient: rfc822;Bob+x@example.net
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example.net
Diagnostic-Code: smtp; 550 5.1.1 <bob@example.net>: Recipient address
    rejected: User unknown in virtual mailbox table

Final-Recipient: rfc822; carol@example.net
Original-Recipient: rfc822;carol@example.net
Action: delayed
Status: 4.4.1
Diagnostic-Code: X-Postfix; connect to mx.example.net[192.0.2.1]:25: Connection
    timed out
Will-Retry-Until: Sat, 10 Jan 2026 10:00:00 +0100 (CET)
""",
    "Content-Description: Undelivered Message\nContent-Type: message/rfc822\n\n"
    "Received: from x\nMessage-Id: <1@example.com>\nSubject: hello\n\nHow are you?\n",
)
CET = timezone(timedelta(hours=1))


def test_postfix() -> None:
    assert parse_notice(POSTFIX) == ReceivedNotice(
        recipients=(
            ReportedRecipient(
                rfc822("Bob+x@example.net"),
                rfc822("bob@example.net"),
                Action.FAILED,
                EnhancedStatus(5, 1, 1),
                Typed(
                    "smtp",
                    "550 5.1.1 <bob@example.net>: Recipient address rejected: User unknown in virtual mailbox table",
                ),
                Typed("dns", "mx.example.net"),
            ),
            ReportedRecipient(
                rfc822("carol@example.net"),
                rfc822("carol@example.net"),
                Action.DELAYED,
                EnhancedStatus(4, 4, 1),
                Typed("x-postfix", "connect to mx.example.net[192.0.2.1]:25: Connection timed out"),
                retry_until=datetime(2026, 1, 10, 10, tzinfo=CET),
            ),
        ),
        reporting_mta=Typed("dns", "mail.example.com"),
        envelope_id="QQ314159",
        arrival=datetime(2026, 1, 5, 10, tzinfo=CET),
        returned=b"Received: from x\nMessage-Id: <1@example.com>\nSubject: hello\n\nHow are you?\n",
        returned_whole=True,
        message_id="<1@example.com>",
    )


def test_who_bounced() -> None:
    notice = parse_notice(POSTFIX)
    assert [recipient.address for recipient in notice.failed] == ["Bob+x@example.net"]
    assert notice.is_about("QQ314159")
    assert not notice.is_about("qq314159")
    assert notice.failed[0].is_about("Bob+x@example.net")
    assert not notice.failed[0].is_about("carol@example.net")


def test_exim() -> None:
    """Fields in another order; and what was said in MAIL and RCPT as it stood there."""
    notice = read(
        """\
Reporting-MTA: dns; exim.example.com
Original-Envelope-ID: a+2Bb+3D

Original-Recipient: rfc822;bob+2Bx@example.net
Action: failed
Final-Recipient: rfc822;bob@example.net
Status: 5.0.0
Remote-MTA: dns; mx.example.net
Diagnostic-Code: smtp; 550 No such user
""",
        "Content-type: text/rfc822-headers\n\nReturn-path: <ada@example.com>\nMessage-Id:\n <2@example.com>\n",
    )
    assert notice.is_about("a+b=")
    assert not notice.is_about("a+b")
    assert not notice.returned_whole
    assert notice.returned == b"Return-path: <ada@example.com>\nMessage-Id:\n <2@example.com>\n"
    assert notice.message_id == "<2@example.com>"
    (bob,) = notice.failed
    assert bob.final_recipient == rfc822("bob@example.net")
    assert [bob.is_about(each) for each in ("bob+x@example.net", "bob@example.net", "x")] == [True, True, False]


def test_sendmail() -> None:
    notice = read(
        """\
Reporting-MTA: dns; sun.example.com
Received-From-MTA: DNS; pc.example.com
Arrival-Date: Fri, 8 Jul 1994 09:21:47 -0400 (EDT)

Final-Recipient: RFC822; <bob@example.net>
X-Actual-Recipient: rfc822; bob@host.example.net
Action: failed
Status: 5.1.1
Remote-MTA: DNS; mx.example.net
Diagnostic-Code: SMTP; 550 5.1.1 <bob@example.net>... User unknown
Last-Attempt-Date: Fri, 8 Jul 1994 09:21:49 -0400 (EDT)
"""
    )
    edt = timezone(timedelta(hours=-4))
    assert notice.arrival == datetime(1994, 7, 8, 9, 21, 47, tzinfo=edt)
    assert notice.recipients == (
        ReportedRecipient(
            None,
            rfc822("bob@example.net"),
            Action.FAILED,
            EnhancedStatus(5, 1, 1),
            Typed("smtp", "550 5.1.1 <bob@example.net>... User unknown"),
            Typed("dns", "mx.example.net"),
            datetime(1994, 7, 8, 9, 21, 49, tzinfo=edt),
        ),
    )


def test_exchange() -> None:
    """A part for people with parts of its own, whose boundary begins as ours; no spaces; fields of its own."""
    inner = "multipart/alternative;\r\n boundary=xx_inner\r\n\r\n--xx_inner\r\n\r\nNo.\r\n--xx_inner--\r\n"
    notice = report(
        "Reporting-MTA: dns;EX01.corp.example\n"
        "Received-From-MTA: dns;EX02.corp.example\n"
        "Arrival-Date: Tue, 3 Feb 2026 12:00:00 +0000\n\n"
        "Final-Recipient: rfc822;bob@example.net\n"
        "Action: Failed\n"
        "Status: 5.1.10\n"
        "Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP lookup\n"
        "Remote-MTA: dns;EX03.corp.example\n"
        "X-Display-Name: Bob\n\n",
        "Content-Type: message/rfc822\n\nSubject: hello\n\n",
    )
    notice = notice.replace(b"\n", b"\r\n").replace(b"text/plain\r\n\r\nIt did not work.\r\n", inner.encode())
    parsed = parse_notice(notice)
    assert parsed.reporting_mta == Typed("dns", "EX01.corp.example")
    assert parsed.message_id is None
    (recipient,) = parsed.failed
    assert recipient.status == EnhancedStatus(5, 1, 10)
    assert recipient.remote_mta == Typed("dns", "EX03.corp.example")
    assert str(recipient.remote_mta) == "dns; EX03.corp.example"
    assert str(Typed("", "of no kind")) == "of no kind"
    assert recipient.diagnostic == Typed(
        "smtp", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP lookup"
    )


def test_several_recipients_of_the_rfc() -> None:
    """RFC 3464 appendix E."""
    notice = read(
        """\
Reporting-MTA: dns; cs.utk.edu

Original-Recipient: rfc822;arathib@vnet.ibm.com
Final-Recipient: rfc822;arathib@vnet.ibm.com
Action: failed
Status: 5.0.0 (permanent failure)
Diagnostic-Code: smtp;  550 'arathib@vnet.IBM.COM' is not a
 registered gateway user
Remote-MTA: dns; vnet.ibm.com

Original-Recipient: rfc822;johnh@hpnjld.njd.hp.com
Final-Recipient: rfc822;johnh@hpnjld.njd.hp.com
Action: delayed
Status: 4.0.0 (hpnjld.njd.jp.com: host name lookup failure)

Original-Recipient: rfc822;wsnell@sdcc13.ucsd.edu
Final-Recipient: rfc822;wsnell@sdcc13.ucsd.edu
Action: failed
Status: 5.0.0
Diagnostic-Code: smtp; 550 user unknown
Remote-MTA: dns; sdcc13.ucsd.edu
"""
    )
    assert [str(each.status) for each in notice.recipients] == ["5.0.0", "4.0.0", "5.0.0"]
    assert [each.address for each in notice.failed] == ["arathib@vnet.ibm.com", "wsnell@sdcc13.ucsd.edu"]
    first = notice.recipients[0].diagnostic
    assert first == Typed("smtp", "550 'arathib@vnet.IBM.COM' is not a registered gateway user")


def test_a_gateway_of_the_rfc() -> None:
    """RFC 3464 appendix E: no returned part, and an address of which nobody knows the type."""
    notice = read(
        """\
Reporting-MTA: mailbus; SYS30

Final-Recipient: unknown; nair_s
Status: 5.0.0 (unknown permanent failure)
Action: failed
"""
    )
    assert notice.reporting_mta == Typed("mailbus", "SYS30")
    assert notice.returned is None
    assert notice.recipients[0].final_recipient == OriginalRecipient("unknown", "nair_s")


@pytest.mark.parametrize(
    ("form", "address"),
    [
        ("utf-8; jörg+x@bücher.example", "jörg+x@bücher.example"),
        (r"utf-8;j\x{F6}rg\x{2B}x@b\x{FC}cher.example", "jörg+x@bücher.example"),
        (r"UTF-8;jörg\x{2B}x@bücher.example", "jörg+x@bücher.example"),
        ("rfc822; jörg@bücher.example", "jörg@bücher.example"),
        (r"utf-8; a\x{202e}b@example.net", "a\u202eb@example.net"),
        (r"utf-8; a\x{2028}b@example.net", r"a\x{2028}b@example.net"),
    ],
)
@pytest.mark.parametrize("encode", [lambda text: text, base64.encodebytes])
def test_an_address_beyond_ascii(form: str, address: str, encode: Callable[[bytes], bytes]) -> None:
    """RFC 6533 section 3: each of its forms; and what is no such form, as it stands there."""
    status = f"Reporting-MTA: dns; mx\n\nFinal-Recipient: {form}\nAction: failed\nStatus: 5.1.1\n"
    octets = report("STATUS", kind="message/global-delivery-status\nContent-Transfer-Encoding: NAME")
    name = b"8bit" if encode(b"") == b"" and encode(b"a") == b"a" else b"base64"
    octets = octets.replace(b"STATUS", encode(status.encode())).replace(b"NAME", name)
    expected = OriginalRecipient("utf-8", address)
    assert parse_notice(octets).recipients[0].final_recipient == expected
    for policy in POLICIES[:3]:
        message = email.message_from_bytes(octets, policy=policy)
        assert parse_notice(message).recipients[0].final_recipient == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("FINAL-RECIPIENT : rfc822;\n\tbob@example.net", {"final_recipient": rfc822("bob@example.net")}),
        ("Final-Recipient: rfc822; bob@example.net (Bob (B.))", {"final_recipient": rfc822("bob@example.net")}),
        ('Final-Recipient: rfc822; "a (b"@example.net', {"final_recipient": rfc822('"a (b"@example.net')}),
        ("Final-Recipient: bob@example.net", {"final_recipient": OriginalRecipient("unknown", "bob@example.net")}),
        ("Final-Recipient: LOCAL; bob", {"final_recipient": OriginalRecipient("local", "bob")}),
        ("Final-Recipient: x.400; bob", {"final_recipient": OriginalRecipient("unknown", "x.400; bob")}),
        ("Final-Recipient: rfc822; a\x07b\u202e", {"final_recipient": rfc822(r"a\x07b\u202e")}),
        ("Final-Recipient: rfc822;", {"final_recipient": None}),
        ("Final-Recipient: rfc822; <>", {"final_recipient": None}),
        ("Final-Recipient:", {"final_recipient": None}),
        ("Original-Recipient: rfc822;bob@example.net", {"original_recipient": rfc822("bob@example.net")}),
        ("Action: FAILED (for good)", {"action": Action.FAILED}),
        ("Action: expanded", {"action": Action.EXPANDED}),
        ("Action: eaten", {"action": None}),
        ("Action: failed\nAction: delivered", {"action": Action.FAILED}),
        ("Status: 4.3.2 (busy)", {"status": EnhancedStatus(4, 3, 2)}),
        ("Status: 550 #5.1.0", {"status": EnhancedStatus(5, 1, 0)}),
        ("Status: 5.01.001", {"status": EnhancedStatus(5, 1, 1)}),
        ("Status: 192.0.2.1", {"status": None}),
        ("Status: 5.1", {"status": None}),
        ("Status: 3.1.1", {"status": None}),
        ("Status: \u0665.1.1", {"status": None}),
        ("Remote-MTA: DNS; MX.example.net (192.0.2.1)", {"remote_mta": Typed("dns", "MX.example.net")}),
        ("Remote-MTA: mx.example.net", {"remote_mta": Typed("", "mx.example.net")}),
        ("Diagnostic-Code: 550 no; really no", {"diagnostic": Typed("", "550 no; really no")}),
        ("Diagnostic-Code: smtp; 550 no (so there)", {"diagnostic": Typed("smtp", "550 no (so there)")}),
        ("Diagnostic-Code: smtp; 550-No\n \n 550 such user", {"diagnostic": Typed("smtp", "550-No  550 such user")}),
        ("Diagnostic-Code: smtp; \xff", {"diagnostic": Typed("smtp", "\xff")}),
        ("Last-Attempt-Date: yesterday", {"last_attempt": None}),
        ("Last-Attempt-Date: 32 Foo 99999999999 25:61", {"last_attempt": None}),
        ("Last-Attempt-Date: 1 Jan 2026 00:00", {"last_attempt": datetime(2026, 1, 1, tzinfo=UTC)}),
        ("Will-Retry-Until: 1 Jan 2026 00:00:00 -0000", {"retry_until": datetime(2026, 1, 1, tzinfo=UTC)}),
        ("no field at all\nStatus: 5.1.1", {"status": EnhancedStatus(5, 1, 1)}),
    ],
)
def test_a_field(field: str, expected: dict[str, Any]) -> None:
    about = "Final-Recipient" if "Action" in field else "Action"
    recipient = read_one(field, f"{about}: relayed")
    assert {name: getattr(recipient, name) for name in expected} == expected


def test_eight_bits_that_are_no_utf8() -> None:
    octets = report("Reporting-MTA: dns; mx\n\nAction: failed\nDiagnostic-Code: smtp; 550 XX\n").replace(
        b"XX", b"\xe4"
    )
    sources: list[Any] = [octets, *(email.message_from_bytes(octets, policy=policy) for policy in POLICIES[:3])]
    for source in sources:
        (recipient,) = parse_notice(source).recipients
        assert recipient.diagnostic == Typed("smtp", r"550 \xe4")


@pytest.mark.parametrize(
    "status",
    [
        "Reporting-MTA: dns; mx\nFinal-Recipient: rfc822; a\nAction: failed\nFinal-Recipient: rfc822; b\n",
        "\n\nReporting-MTA: dns; mx\n\n\n\nFinal-Recipient: rfc822; a\n\nFinal-Recipient: rfc822; b",
        "Reporting-MTA: dns; mx\n\nOriginal-Recipient: rfc822; a\nFinal-Recipient: rfc822; a\n"
        "Original-Recipient: rfc822; b\nFinal-Recipient: rfc822; b\n",
    ],
)
def test_blank_lines_that_are_missing_and_blank_lines_too_many(status: str) -> None:
    notice = read(status)
    assert notice.reporting_mta == Typed("dns", "mx")
    assert [each.address for each in notice.recipients] == ["a", "b"]


def test_a_group_that_names_nobody_is_passed_over() -> None:
    notice = read("Reporting-MTA: dns; mx\n\nX-Log: 1\n\nFinal-Recipient: rfc822; a\n\nX-Log: 2\n")
    assert [each.address for each in notice.recipients] == ["a"]


def test_without_an_action_a_status_decides() -> None:
    assert read_one("Final-Recipient: rfc822; a", "Status: 5.1.1").failed
    assert not read_one("Final-Recipient: rfc822; a", "Status: 4.1.1").failed
    assert not read_one("Final-Recipient: rfc822; a", "Status: 5.1.1", "Action: relayed").failed
    assert not read_one("Final-Recipient: rfc822; a").failed


BARE = report("Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; a\nAction: failed\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b" report-type=delivery-status;", b""),
        (b"report-type=delivery-status", b'REPORT-TYPE="Delivery-Status"'),
        (b"multipart/report", b"Multipart/Report"),
        (b"--xx--\n", b""),
        (b"--xx--\n", b"--xx--"),
        (b"--xx\n", b"--xx  \t\n"),
        (b"--xx--\n", b"--xx--\nwhat stands behind it\n--xx\n\n"),
        (b"message/delivery-status", b"MESSAGE/Delivery-Status; charset=us-ascii"),
        (b"message/delivery-status\n", b"message/delivery-status\nContent-Transfer-Encoding: quoted-printable\n"),
        (b"Content-Type: text/plain", b"Content-Type: text/plain; name*1000000*=x'y'%FF"),
        (b"\n", b"\r\n"),
    ],
)
def test_what_makes_no_difference(old: bytes, new: bytes) -> None:
    assert old in BARE
    assert parse_notice(BARE.replace(old, new)) == parse_notice(BARE)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\n",
        b"Subject: x\n\nHello.\n",
        BARE.replace(b"multipart/report", b"multipart/mixed"),
        BARE.replace(b"delivery-status;", b"disposition-notification;"),
        BARE.replace(b"message/delivery-status", b"text/plain"),
        BARE.replace(b'boundary="xx"', b""),
        BARE.replace(b'boundary="xx"', b'boundary=""'),
        BARE.replace(b'boundary="xx"', b'boundary="\xff"'),
        BARE.replace(b"--xx", b"--yy"),
        BARE.replace(b"Final-Recipient", b"Firstly").replace(b"Action", b"X"),
        BARE.replace(b"-status\n\nRep", b"-status\nContent-Transfer-Encoding: base64\n\nRep"),
        BARE.replace(b"From: <>", b"X: " + b"x" * 300_000),
        BARE.replace(b'boundary="xx"', b'boundary="xx"; x="' + b";" * 20_000 + b'"'),
        BARE.replace(b"Action: failed\n", b"Action: failed\n" * 100_000),
        BARE.replace(b"\n--xx\n", b"\n--xx\n\n" * 30, 1),
    ],
)
def test_what_is_no_notice(octets: bytes) -> None:
    with pytest.raises(GrammarError):
        parse_notice(octets)
    with pytest.raises(GrammarError):
        parse_notice(email.message_from_bytes(octets))


def test_what_is_no_message() -> None:
    text: Any = BARE.decode()
    with pytest.raises(TypeError):
        parse_notice(text)


@pytest.mark.parametrize("level", [b"multipart/mixed; boundary=b", b"message/rfc822"])
def test_deep_nesting(level: bytes) -> None:
    """What makes the parser of the standard library fall over is not looked into."""
    deep = b"".join(b"Content-Type: %s\n\n%s" % (level, b"--b\n" if b"multi" in level else b"") for _ in range(5000))
    octets = BARE.replace(b"\n--xx--", b"\n--xx\nContent-Type: message/rfc822\n\n" + deep + b"\n--xx--")
    notice = parse_notice(octets)
    assert replace(notice, returned=None, returned_whole=False) == parse_notice(BARE)
    assert notice.returned == deep


@pytest.mark.parametrize(
    "status",
    [
        "Action: x\n\n" * 100_000,
        "a:\n" + " x\n" * 300_000,
        " \n" * 500_000,
        "Status: " + "5.1." * 200_000,
        "Remote-MTA: dns; " + "( " * 500_000,
        "Final-Recipient: rfc822;a\n" * 40_000,
        "Diagnostic-Code: " + "\x07" * 900_000,
    ],
)
def test_hostile_input_takes_no_longer_than_its_length(status: str) -> None:
    """Each in a moment; where the time grew with the square these would take minutes."""
    octets = report(status[: 1 << 20])
    if len(status) >= 1 << 20:
        octets = octets[:1_000_000] + b"\n--xx--\n"
    started = datetime.now(UTC)
    with contextlib.suppress(GrammarError):
        parse_notice(octets)
    assert datetime.now(UTC) - started < timedelta(seconds=20)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_message_of_the_standard_library_says_the_same(policy: Any) -> None:
    for octets in (POSTFIX, POSTFIX.replace(b"\n", b"\r\n"), BARE):
        from_octets = parse_notice(octets)
        from_message = parse_notice(email.message_from_bytes(octets, policy=policy))
        as_written = (from_octets.returned or b"").replace(b"\r\n", b"\n")
        assert (from_message.returned or b"").replace(b"\r\n", b"\n") == as_written
        assert replace(from_message, returned=None) == replace(from_octets, returned=None)


def test_a_message_that_somebody_has_built() -> None:
    message = MIMEMultipart("report")
    message.set_param("report-type", "delivery-status")
    status: Message[Any, Any] = Message()
    status["Content-Type"] = "message/delivery-status"
    about: Message[Any, Any] = Message()
    recipient: Message[Any, Any] = Message()
    about["Reporting-MTA"] = "dns; mx"
    recipient["Final-Recipient"] = "rfc822; a"
    status.set_payload([about, recipient])
    message.attach(status)
    assert parse_notice(message).recipients == (ReportedRecipient(final_recipient=rfc822("a")),)


PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60)
PLAIN = PRINTABLE.map(lambda text: " ".join(re.sub(r"[()<>]", "", text).split()))
ADDRESSES = st.builds(
    Address,
    st.from_regex(r"[a-z][a-z0-9+_-]{0,60}|jörg|a b", fullmatch=True),
    st.sampled_from(["example.net", "ü.x"]),
)
ORIGINALS = st.builds(OriginalRecipient, st.just("rfc822"), PLAIN.filter(bool)) | st.builds(
    OriginalRecipient, st.just("utf-8"), st.sampled_from(["jörg+=@ü.x", "b@c"])
)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(
    lambda when: when.replace(microsecond=0, tzinfo=UTC)
)
ALWAYS = frozenset({Notify.SUCCESS, Notify.FAILURE, Notify.DELAY})


@st.composite
def reports(draw: st.DrawFn) -> Report:
    action = draw(st.sampled_from(Action))
    code = {Action.FAILED: 5, Action.DELAYED: 4}.get(action, 2)
    enhanced = draw(st.none() | st.builds(EnhancedStatus, st.just(code), st.integers(0, 999), st.integers(0, 999)))
    text = draw(st.lists(PRINTABLE, max_size=3).map("\n".join))
    return Report(
        draw(ADDRESSES),
        action,
        Reply(code * 100 + 50, text, enhanced),
        draw(st.none() | st.just("mx.example.net")),
        RcptParameters(ALWAYS, draw(st.none() | ORIGINALS)),
        draw(st.none() | TIMES),
        draw(st.none() | TIMES) if action is Action.DELAYED else None,
    )


MESSAGE = b"From: ada@example.org\r\nMessage-ID: <3@example.org>\r\n\r\nHow are you?\r\n"


@THOROUGH
@given(
    told=st.lists(reports(), min_size=1, max_size=3),
    envid=st.none() | PRINTABLE.map(lambda text: text.strip(" ")).filter(bool),
    arrival=st.none() | TIMES,
    utf8=st.booleans(),
    sender=st.sampled_from([Address("ada", "example.org"), Address("ädä", "example.org")]),
    policy=st.sampled_from([None, *POLICIES[:3]]),
)
def test_what_was_written_is_what_is_read(
    told: list[Report], envid: str | None, arrival: datetime | None, utf8: bool, sender: Address, policy: Any
) -> None:
    made = make_notice(
        told,
        reverse_path=sender,
        message=[MESSAGE],
        hostname="mx.example.org",
        when=datetime(2026, 1, 1, tzinfo=UTC),
        notice_id="4711",
        parameters=MailParameters(envid=envid, smtputf8=utf8, ret=Ret.FULL),
        arrival=arrival,
    )
    assert made is not None
    source = made.content if policy is None else email.message_from_bytes(made.content, policy=policy)
    notice = parse_notice(source)
    assert (notice.envelope_id, notice.arrival) == (envid, arrival)
    assert notice.reporting_mta == Typed("dns", "mx.example.org")
    assert notice.message_id == "<3@example.org>"
    assert (notice.returned_whole, notice.returned) in (
        (True, MESSAGE),
        (False, MESSAGE.partition(b"How")[0].removesuffix(b"\r\n")),
    )
    assert [without_text(each) for each in notice.recipients] == [expected(each) for each in told]
    for recipient, report_ in zip(notice.recipients, told, strict=True):
        assert recipient.diagnostic is not None
        assert recipient.diagnostic.kind == "smtp"
        if report_.reply.text.isascii():
            words = f"{report_.reply.code} {report_.reply.enhanced or ''} {report_.reply.text}".split()
            said = re.sub(rf"\b{report_.reply.code}[- ]", "", recipient.diagnostic.value)
            assert set(words) - {str(report_.reply.code)} <= {*said.split(), *recipient.diagnostic.value.split()}


def without_text(recipient: ReportedRecipient) -> ReportedRecipient:
    return replace(recipient, diagnostic=None)


def expected(told: Report) -> ReportedRecipient:
    return ReportedRecipient(
        told.parameters.orcpt,
        OriginalRecipient("rfc822" if told.address.is_ascii else "utf-8", str(told.address)),
        told.action,
        told.status,
        None,
        Typed("dns", told.remote_mta) if told.remote_mta is not None else None,
        told.last_attempt,
        told.retry_until,
    )


def test_a_long_address_is_not_broken() -> None:
    """A line end in it would be a space to whoever reads it (RFC 5322 section 2.2.3)."""
    address = Address("a" * 60, ".".join(["b" * 60] * 3))
    made = make_notice(
        [Report(address, Action.FAILED, Reply(550, "no"), parameters=RcptParameters(orcpt=rfc822("x" * 480)))],
        reverse_path=Address("ada", "example.org"),
        message=[MESSAGE],
        hostname="mx.example.org",
        when=datetime(2026, 1, 1, tzinfo=UTC),
        notice_id="4711",
    )
    assert made is not None
    (recipient,) = parse_notice(made.content).recipients
    assert (recipient.original_recipient, recipient.final_recipient) == (rfc822("x" * 480), rfc822(str(address)))


def with_errors_as_message(octets: bytes, policy: Any) -> None:
    """Read a message of the standard library, unless its own parser falls over."""
    try:
        message = email.message_from_bytes(octets, policy=policy)
    except IndexError:
        return
    with_errors(message)


@PROPERTY
@given(octets=st.binary(max_size=300))
def test_any_octets(octets: bytes) -> None:
    head = b"Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n"
    for source in (octets, head + octets, b"Content-Type: " + octets, head.replace(b"boundary=b", octets)):
        with_errors(source)
        with_errors_as_message(source, email.policy.default)


PIECES = [b"\n", b"\r\n", b"--xx\n", b";", b"*0*=", b'"', b":"]


@THOROUGH
@given(data=st.data())
def test_a_notice_with_some_octets_changed(data: st.DataObject) -> None:
    octets = bytearray(data.draw(st.sampled_from([POSTFIX, BARE])))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(octets)))
        piece = data.draw(
            st.binary(max_size=4) | st.sampled_from([b"\n", b"\r\n", b"--xx\n", b";", b"*0*=", b'"', b":"])
        )
        octets[at : at + data.draw(st.integers(0, 20))] = piece
    with_errors(bytes(octets))
    for policy in POLICIES[:3]:
        with_errors_as_message(bytes(octets), policy)


def with_errors(source: Any) -> None:
    """Read it; what is raised is one error and no other, and what is said is fit to be shown."""
    try:
        notice = parse_notice(source)
    except GrammarError:
        return
    assert notice.recipients
    shown = [notice.envelope_id, notice.message_id, *(notice.reporting_mta or ())]
    for recipient in notice.recipients:
        shown += [recipient.address, *(recipient.diagnostic or ()), *(recipient.remote_mta or ())]
    assert all(text is None or text.isprintable() or not text.isascii() for text in shown)
