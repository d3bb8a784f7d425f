"""Notices to the sender: who gets one, what stands in it, and what never does (S52, S53, S72)."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.address import Address
from mailproto.errors import GrammarError
from mailproto.smtp import Body, MailParameters, Notify, OriginalRecipient, RcptParameters, Reply, Ret
from mailproto.smtp.notices import Action, Notice, Report, is_automatic, make_notice
from tests.helpers import PROPERTY

WHEN = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
ALICE, CAROL = Address("Alice", "Example.ORG"), Address("Carol", "Ivory.EDU")
NO_SUCH_USER = Reply.build(550, "error - no such recipient")
MESSAGE = b"From: Alice@Example.ORG\r\nSubject: hello\r\n\r\nHow are you?\r\n"


def failed(reply: Reply = NO_SUCH_USER, **more: Any) -> Report:
    return Report(CAROL, Action.FAILED, reply, "Ivory.EDU", **more)


def notice_of(*reports: Report, **more: Any) -> Notice | None:
    given: dict[str, Any] = {
        "reverse_path": ALICE,
        "message": [MESSAGE],
        "hostname": "Example.ORG",
        "when": WHEN,
        "notice_id": "4711",
    }
    return make_notice(reports or (failed(),), **{**given, **more})


def notice(*reports: Report, **more: Any) -> Notice:
    made = notice_of(*reports, **more)
    assert made is not None
    return made


def parsed(*reports: Report, **more: Any) -> tuple[EmailMessage, list[MIMEPart]]:
    """Return a notice as the standard library understands it, and its three parts."""
    message = message_from_bytes(notice(*reports, **more).content, policy=policy.SMTPUTF8)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    parts = list(message.iter_parts())
    assert len(parts) == 3
    assert not [defect for part in message.walk() for defect in part.defects]
    return message, parts


def raw_part(content: bytes, index: int) -> tuple[str, bytes]:
    """Return the header of a part, and its octets without their encoding.

    Of an encoded message/global the standard library takes the encoding for the message.
    """
    head, _, octets = content.split(b"\r\n--=_4711_0")[index + 1].removeprefix(b"\r\n").partition(b"\r\n\r\n")
    return head.decode(), base64.b64decode(octets) if b"base64" in head else octets


def groups(content: bytes) -> list[dict[str, str]]:
    """Return the fields of a status part, a dict for each group, as they stand there."""
    blocks = raw_part(content, 1)[1].decode("utf-8").replace("\r\n ", " ").split("\r\n\r\n")
    return [dict(line.split(": ", 1) for line in block.removesuffix("\r\n").split("\r\n")) for block in blocks]


def test_the_whole_notice() -> None:
    """RFC 3461 section 10.7, in our words."""
    parameters = RcptParameters(frozenset({Notify.FAILURE}), OriginalRecipient("rfc822", "Carol@Ivory.EDU"))
    made = notice(failed(parameters=parameters, last_attempt=WHEN), parameters=MailParameters(envid="QQ314159"))
    expected = """\
From: Mail Delivery System <postmaster@Example.ORG>
To: <Alice@Example.ORG>
Subject: Undelivered mail
Date: Mon, 23 Nov 2026 08:30:00 +0000
Message-ID: <4711@Example.ORG>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
 boundary="=_4711_0"

--=_4711_0
Content-Type: text/plain; charset=utf-8

This is the mail system at Example.ORG.

Your message could not be delivered, and will not be tried again, to:

  <Carol@Ivory.EDU>
    Ivory.EDU said:
    550 error - no such recipient

--=_4711_0
Content-Type: message/delivery-status

Original-Envelope-Id: QQ314159
Reporting-MTA: dns; Example.ORG

Original-Recipient: rfc822;Carol@Ivory.EDU
Final-Recipient: rfc822; Carol@Ivory.EDU
Action: failed
Status: 5.0.0
Remote-MTA: dns; Ivory.EDU
Diagnostic-Code: smtp; 550 error - no such recipient
Last-Attempt-Date: Mon, 23 Nov 2026 08:30:00 +0000

--=_4711_0
Content-Type: text/rfc822-headers

From: Alice@Example.ORG
Subject: hello

--=_4711_0--
"""
    assert made.content == expected.replace("\n", "\r\n").encode()
    assert made.address == ALICE
    assert made.parameters == MailParameters()
    assert made.rcpt_parameters.notify == frozenset({Notify.NEVER})


def test_a_reply_of_several_lines() -> None:
    """RFC 3461 section 9.2."""
    reply = Reply.build(550, "mailbox unavailable\nuser has moved with no forwarding address")
    content = notice(failed(reply)).content
    field = b"smtp; 550-mailbox unavailable\r\n 550 user has moved with no forwarding address\r\n"
    assert b"Diagnostic-Code: " + field in content


@pytest.mark.parametrize(
    ("action", "reply", "status", "subject"),
    [
        (Action.FAILED, Reply.build(550, "No such user", "5.1.1"), "5.1.1", "Undelivered mail"),
        (Action.FAILED, Reply.build(451, "For five days now", "4.4.1"), "4.4.1", "Undelivered mail"),
        (Action.DELAYED, Reply.build(451, "Later"), "4.0.0", "Delayed mail"),
        (Action.DELIVERED, Reply.build(250, "OK"), "2.0.0", "Delivered mail"),
        (Action.RELAYED, Reply.build(250, "OK", "2.1.5"), "2.1.5", "Relayed mail"),
        (Action.EXPANDED, Reply.build(250, "OK"), "2.0.0", "Delivered mail"),
    ],
)
def test_what_was_done(action: Action, reply: Reply, status: str, subject: str) -> None:
    everything = RcptParameters(frozenset({Notify.SUCCESS, Notify.FAILURE, Notify.DELAY}))
    report = Report(CAROL, action, reply, parameters=everything, retry_until=WHEN)
    message, parts = parsed(report)
    _, recipient = groups(notice(report).content)
    assert message["Subject"] == subject
    assert (recipient["Action"], recipient["Status"]) == (action.value, status)
    assert ("Will-Retry-Until" in recipient) == (action is Action.DELAYED)
    assert "Remote-MTA" not in recipient  # RFC 3464 section 2.3.6: so the verdict is our own
    assert "This system says:" in parts[0].get_content()


@pytest.mark.parametrize(("action", "code"), [(Action.FAILED, 250), (Action.DELAYED, 550), (Action.DELIVERED, 451)])
def test_a_reply_that_says_something_else(action: Action, code: int) -> None:
    with pytest.raises(GrammarError):
        Report(CAROL, action, Reply.build(code, "what?"))


FAILURE, DELAY, SUCCESS, NEVER = Notify.FAILURE, Notify.DELAY, Notify.SUCCESS, Notify.NEVER


@pytest.mark.parametrize(
    ("notify", "told"),
    [
        (None, {Action.FAILED, Action.DELAYED}),
        ({NEVER}, set()),
        ({FAILURE}, {Action.FAILED}),
        ({DELAY}, {Action.DELAYED}),
        ({SUCCESS}, {Action.DELIVERED, Action.RELAYED, Action.EXPANDED}),
        ({FAILURE, DELAY}, {Action.FAILED, Action.DELAYED}),
    ],
)
def test_who_wants_to_hear_of_what(notify: set[Notify] | None, told: set[Action]) -> None:
    """RFC 3461 sections 5.2.2 to 5.2.6, and 5.2.8: the others are not mentioned."""
    parameters = RcptParameters(None if notify is None else frozenset(notify))
    codes = {Action.FAILED: 550, Action.DELAYED: 450}
    reports = [Report(CAROL, each, Reply.build(codes.get(each, 250), "so"), parameters=parameters) for each in Action]
    assert {report.action for report in reports if report.wanted} == told
    if told:
        _, *recipients = groups(notice(*reports).content)
        assert {group["Action"] for group in recipients} == {action.value for action in told}
    else:
        assert notice_of(*reports) is None


def test_nobody_answers_the_null_reverse_path() -> None:
    """RFC 3461 section 5.2: never, whatever the header says."""
    assert notice_of(reverse_path=None) is None
    assert notice_of(reverse_path=None, to_automatic_mail=True) is None


@pytest.mark.parametrize(
    "field",
    [
        b"Auto-Submitted: auto-generated",
        b"Auto-Submitted:auto-replied (rejected)",
        b"AUTO-SUBMITTED:\r\n\tauto-notified; owner-email=x",
        b"Precedence: bulk",
        b"Precedence:  LIST",
        b"precedence: junk",
        b"List-Id: Analysts <analysts.example.org>",
        b"List-Unsubscribe: <mailto:leave@example.org>",
    ],
)
def test_automatic_mail_is_answered_only_on_demand(field: bytes) -> None:
    message = b"Subject: x\r\n" + field + b"\r\n\r\ntext\r\n"
    assert is_automatic(message)
    assert notice_of(message=[message]) is None
    assert notice_of(message=[message], to_automatic_mail=True) is not None


@pytest.mark.parametrize(
    "message",
    [
        b"Auto-Submitted: no\r\n\r\n",
        b"Auto-Submitted: NO (a person)\r\n\r\n",
        b"Precedence: first-class\r\n\r\n",
        b"Subject: list-id: x\r\n\r\n",
        b"Subject: x\r\n Auto-Submitted: auto-replied\r\n\r\n",
        b"\r\nAuto-Submitted: auto-replied\r\n",
        b"Subject: x\r\n\r\nList-Id: in the body\r\n",
        b"no header at all",
        b"",
    ],
)
def test_what_a_person_wrote_is_answered(message: bytes) -> None:
    assert notice_of(message=[message]) is not None


FULL = MailParameters(ret=Ret.FULL)


def returned(*reports: Report, **more: Any) -> tuple[str, bytes]:
    """Return the header and the octets of the third part."""
    return raw_part(notice(*reports, **more).content, 2)


def test_how_much_is_returned() -> None:
    """RFC 3461 section 6.2."""
    header = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n"
    assert returned(parameters=FULL) == ("Content-Type: message/rfc822", MESSAGE)
    only = "Content-Type: text/rfc822-headers"
    delayed = Report(CAROL, Action.DELAYED, Reply.build(450, "later"))
    assert returned() == (only, header)
    assert returned(parameters=MailParameters(ret=Ret.HDRS)) == (only, header)
    assert returned(delayed, parameters=FULL) == (only, header)
    assert returned(parameters=FULL, max_returned=len(MESSAGE) - 1) == (only, header)
    assert returned(parameters=FULL, max_returned=len(MESSAGE)) == ("Content-Type: message/rfc822", MESSAGE)
    assert returned(parameters=MailParameters(ret=Ret.FULL, body=Body.BINARY_MIME)) == (only, header)


@pytest.mark.parametrize("step", [1, 7, 1 << 16])
def test_the_message_may_come_in_any_pieces(step: int) -> None:
    pieces = [MESSAGE[start : start + step] for start in range(0, len(MESSAGE), step)]
    assert notice(message=pieces, parameters=FULL) == notice(parameters=FULL)


def test_what_is_returned_is_bounded() -> None:
    """S72: a short message to us is no long message to somebody else, and no more is read than can be returned."""

    def endless() -> Iterator[bytes]:
        for count in range(10_000):
            assert count < 600, "read on and on"
            yield b"X-Field: %90d\r\n" % count

    head, octets = returned(message=endless(), parameters=FULL)
    assert head == "Content-Type: text/rfc822-headers"
    assert 49_000 < len(octets) <= 50_000
    assert octets.endswith(b"\r\n")
    assert returned(max_returned=0)[1] == b""


def test_the_boundary_is_in_none_of_the_parts() -> None:
    message = b"Subject: x\r\n\r\n--=_4711_0\r\nForged: yes\r\n--=_4711_1--\r\n"
    _, parts = parsed(message=[message], parameters=FULL)
    (original,) = parts[2].iter_parts()
    assert original.as_bytes() == message


def test_eight_bits_without_utf8() -> None:
    message = b"Subject: x\r\nX: \xe4\r\n\r\n\xff\xfe\r\n"
    made = notice(message=[message], parameters=FULL)
    assert message in made.content
    assert made.parameters == MailParameters(body=Body.EIGHT_BIT_MIME)
    head, octets = returned(message=[message])
    assert head == "Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: base64"
    assert octets == b"Subject: x\r\nX: \xe4\r\n"


UTF8_ADDRESS = Address("jörg", "bücher.example")
UTF8_MESSAGE = "Subject: Grüße\r\nFrom: jörg@bücher.example\r\n\r\nñ\r\n".encode()


def test_a_sender_in_ascii_hears_of_utf8_in_seven_bits() -> None:
    """RFC 6533 section 4.5."""
    report = Report(UTF8_ADDRESS, Action.FAILED, Reply.build(550, "kein Empfänger hier", "5.1.1"))
    utf8 = MailParameters(smtputf8=True, ret=Ret.FULL)
    made = notice(report, message=[UTF8_MESSAGE], parameters=utf8)
    assert made.content.isascii()
    assert made.parameters == MailParameters()
    text, status, original = (raw_part(made.content, index) for index in range(3))
    assert "Empfänger".encode() in text[1]
    assert status[0].startswith("Content-Type: message/global-delivery-status\r\n")
    assert groups(made.content)[1]["Final-Recipient"] == "utf-8; jörg@bücher.example"
    assert original == ("Content-Type: message/global\r\nContent-Transfer-Encoding: base64", UTF8_MESSAGE)


def test_a_sender_beyond_ascii_hears_of_it_in_utf8() -> None:
    report = failed(parameters=RcptParameters(orcpt=OriginalRecipient("utf-8", "jörg@bücher.example")))
    made = notice(report, reverse_path=UTF8_ADDRESS, message=[UTF8_MESSAGE])
    assert made.parameters == MailParameters(body=Body.EIGHT_BIT_MIME, smtputf8=True)
    assert "To: <jörg@bücher.example>\r\n".encode() in made.content
    assert "Original-Recipient: utf-8;jörg@bücher.example\r\n".encode() in made.content
    assert b"Content-Type: message/global-headers\r\nContent-Transfer-Encoding: 8bit\r\n" in made.content


def test_a_reply_in_utf8_to_a_message_in_ascii() -> None:
    content = notice(failed(Reply.build(550, "Empfänger unbekannt"))).content
    assert groups(content)[1]["Diagnostic-Code"] == "smtp; 550 Empf?nger unbekannt"


@pytest.mark.parametrize(
    "more",
    [
        {"hostname": "b\u00fccher.example"},
        {"hostname": "a b"},
        {"hostname": "x\r\nBcc: e@example.net"},
        {"notice_id": "a\r\nb"},
        {"notice_id": ""},
        {"notice_id": "x" * 41},
        {"when": datetime(2026, 1, 1)},
        {"arrival": datetime(2026, 1, 1)},
    ],
)
def test_what_the_caller_may_not_say(more: dict[str, Any]) -> None:
    with pytest.raises(GrammarError):
        notice_of(**more)


LINES = st.lists(st.text(max_size=90), max_size=20).map("\n".join)


@PROPERTY
@given(text=LINES, remote=st.text(max_size=40), envid=st.text(max_size=40), utf8=st.booleans())
def test_nothing_that_a_peer_says_becomes_a_field_or_a_part(text: str, remote: str, envid: str, utf8: bool) -> None:
    """S52, S53: control characters, line ends of all kinds, encoded words, surrogates' neighbours."""
    report = Report(CAROL, Action.FAILED, Reply(550, text), remote)
    parameters = MailParameters(envid=envid, smtputf8=utf8)
    content = notice(report, parameters=parameters).content
    assert not set(content.replace(b"\r\n", b"")) & set(b"\r\n\0\x0b\x0c\x1b\x7f")
    assert all(len(line) <= 998 for line in content.split(b"\r\n"))
    names = [name for name, _ in message_from_bytes(content).raw_items()]
    fields = "From To Subject Date Message-ID Auto-Submitted MIME-Version Content-Type"
    assert names == fields.split(" ")
    assert content.count(b"\r\n--=_4711_0") == 4
    per_message, per_recipient = groups(content)
    assert list(per_message) == ["Original-Envelope-Id", "Reporting-MTA"]
    assert list(per_recipient) == ["Final-Recipient", "Action", "Status", "Remote-MTA", "Diagnostic-Code"]


def test_an_encoded_word_in_a_reply_stays_what_it_is() -> None:
    """CVE-2024-6923 and its kin: who decodes it writes a field of the server's choice."""
    content = notice(failed(Reply.build(550, "=?us-ascii?q?a=0ABcc:_eve=40example.net?="))).content
    assert b"smtp; 550 =?us-ascii?q?a=0ABcc:_eve=40example.net?=\r\n" in content


@pytest.mark.parametrize("text", ["\n".join(["x" * 5000] * 50), "\n" * 50_000, "\u4e2d " * 50_000])
def test_a_reply_without_end_is_cut(text: str) -> None:
    content = notice(failed(Reply.build(550, text)), parameters=MailParameters(smtputf8=True)).content
    assert len(content) < 12_000
    assert all(len(line) <= 998 for line in content.split(b"\r\n"))


def test_an_envid_comes_back_as_it_was() -> None:
    content = notice(parameters=MailParameters(envid="Two  spaces, MiXed case " + "x" * 70)).content
    assert groups(content)[0]["Original-Envelope-Id"] == "Two  spaces, MiXed case " + "x" * 70
