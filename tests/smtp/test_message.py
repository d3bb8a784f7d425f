"""Messages in all the shapes that callers have them in: whose they are, to whom they go, and what is sent of them."""

from __future__ import annotations

import copy
import email
import email.policy
import io
from email.headerregistry import Address as Mailbox
from email.headerregistry import Group, HeaderRegistry
from email.message import EmailMessage, Message
from email.mime.text import MIMEText
from typing import Any

import pytest

from mailproto.address import POSTMASTER, Address
from mailproto.errors import GrammarError, NotSupportedError
from mailproto.smtp import MailParameters, RcptParameters, Recipient, Submission, make_submission
from mailproto.smtp.messages.content import open_content


def message(**fields: Any) -> EmailMessage:
    """Return a message with these header fields; ``_`` stands for ``-``."""
    made = EmailMessage()
    for name, value in {"From": "ada@example.org", "To": "bob@example.org", **fields}.items():
        if value is not None:
            made[name.replace("_", "-")] = value
    made.set_content("Hello\n")
    return made


def envelope(made: Message) -> tuple[str, list[str]]:
    submission = make_submission(made)
    return str(submission.reverse_path), list(map(str, submission.forward_paths))


def written(submission: Submission, *, eight_bit: bool = True, utf8: bool = False) -> bytes:
    content = open_content(submission, eight_bit=eight_bit, utf8=utf8)
    assert not hasattr(content.pieces, "__aiter__")
    data = b"".join(map(bytes, content.pieces))
    assert content.size in (None, len(data), len(data) + 2)
    return data


# The envelope.


def test_a_submission_is_changed_into_another_one_which_is_looked_at_as_well() -> None:
    submission = make_submission(b"Hello\r\n", "ada@example.org", "bob@example.org")
    eve = Recipient(Address.parse("eve@example.org"))
    assert submission._replace(recipients=(eve,)).forward_paths == [eve.address]
    assert submission.forward_paths == [Address.parse("bob@example.org")]
    for change in (submission._replace, submission.__replace__):  # the second of which `copy.replace` calls
        with pytest.raises(TypeError, match="an Address is wanted"):
            change(reverse_path="ada@example.org")
        with pytest.raises(TypeError, match="a Recipient is wanted"):
            change(recipients=("eve@example.org",))


def test_a_submission_shows_itself_without_its_message() -> None:
    submission = make_submission(b"a secret\r\n", "ada@example.org", "bob@example.org", progress=print)
    assert "ada" in repr(submission)
    assert "secret" not in repr(submission)
    assert "print" not in repr(submission)


@pytest.mark.parametrize(
    ("fields", "sender", "recipients"),
    [
        ({}, "ada@example.org", ["bob@example.org"]),
        ({"From": "Ada <ada@example.org>", "Sender": "sec@example.org"}, "sec@example.org", ["bob@example.org"]),
        ({"From": "a@b, c@d"}, "a@b", ["bob@example.org"]),
        (
            {"To": "b@c, Carol <c@d>", "Cc": "e@f", "Bcc": "g@h"},
            "ada@example.org",
            ["b@c", "c@d", "e@f", "g@h"],
        ),
        ({"To": "b@c, b@c", "Cc": "b@c"}, "ada@example.org", ["b@c"]),
        ({"To": "friends: b@c, d@e;, f@g"}, "ada@example.org", ["b@c", "d@e", "f@g"]),
        ({"To": "undisclosed-recipients:;", "Bcc": "b@c"}, "ada@example.org", ["b@c"]),
        ({"To": '"x y"@z'}, "ada@example.org", ['"x y"@z']),
        ({"To": '"Smith, J." <j@z> (comment)'}, "ada@example.org", ["j@z"]),
        ({"To": "b@[192.0.2.1]"}, "ada@example.org", ["b@[192.0.2.1]"]),
        (
            {
                "Resent_Date": "Thu, 01 Jan 1970 00:00:00 +0000",
                "Resent_From": "r@s",
                "Resent_To": "t@u",
                "Cc": "no@body",
            },
            "r@s",
            ["t@u"],
        ),
        (
            {
                "Resent_Date": "Thu, 01 Jan 1970 00:00:00 +0000",
                "Resent_From": "r@s",
                "Resent_Sender": "q@s",
                "Resent_Bcc": "t@u",
                "Resent_Cc": "v@w",
            },
            "q@s",
            ["v@w", "t@u"],
        ),
    ],
)
def test_the_envelope_is_in_the_header(fields: dict[str, Any], sender: str, recipients: list[str]) -> None:
    """RFC 5322 sections 3.6.2, 3.6.3 and 3.6.6."""
    assert envelope(message(**fields)) == (sender, recipients)


def test_an_address_beyond_ascii() -> None:
    made = message(To=Group("x", [Mailbox("Ödön", "ödön", "例え.テスト")]))
    assert envelope(made)[1] == ["ödön@例え.テスト"]
    assert make_submission(made).needs_utf8


@pytest.mark.parametrize(
    "fields",
    [
        {"From": None},
        {"To": None},
        {"To": "undisclosed-recipients:;"},
        {"To": "bob"},
        {"To": "a@b@c"},
        {"From": "nobody"},
    ],
)
def test_a_header_that_does_not_tell(fields: dict[str, Any]) -> None:
    """S56: nothing is guessed."""
    with pytest.raises(GrammarError):
        make_submission(message(**fields))


@pytest.mark.parametrize("policy", [email.policy.default, email.policy.compat32])
@pytest.mark.parametrize(
    "to",
    [
        b"bob@",
        b"bob@x, <",
        b"bob@x,, <",
        b"bob@x eve@y",
        b"bob@x\r\n eve@y",
        b"bob@x <eve@y",
        b"bob@x <eve@y>",
        b'"bob <b@c',
        b'"',
        b"bob@[",
        b"<>",
        b"@",
        b"<@x>",
        b"friends: bob@x eve@y;",
        b"=?utf-8?q?=40?=",
        b"bob@x\x00y",
        b"b\xc3\xb6b@x, b\xf6b@x",
        b"bob@x, b\xf6b@x",
        b"bob@\xe4.example",
        b'"\xf6"@x',
    ],
)
def test_a_field_that_cannot_be_read_for_sure(to: bytes, policy: Any) -> None:
    """S56, S62: no recipient is left out in silence, and nothing but a GrammarError comes of it."""
    made = email.message_from_bytes(b"From: ada@example.org\r\nTo: " + to + b"\r\n\r\nx", policy=policy)
    with pytest.raises(GrammarError):
        make_submission(made)


@pytest.mark.parametrize("policy", [email.policy.default, email.policy.compat32])
@pytest.mark.parametrize(
    "to",
    [
        b"=?utf-8?q?eve=40evil.example=2C?= <bob@x>",
        b'"=?utf-8?q?eve=40evil.example=2C?=" <bob@x>',
        b'"eve@evil.example, " <bob@x>',
        b"(eve@evil.example) bob@x",
        b"=?utf-8?b?PGV2ZUBldmlsPg==?= <bob@x>",
        b"<@evil.example:bob@x>",
        b"Eve E. Evil <bob@x>",
        b"bob@x,",
        b",, bob@x",
        b"bob@x;",
    ],
)
def test_what_is_no_address_is_taken_for_none(to: bytes, policy: Any) -> None:
    """S56: names, comments and routes send mail nowhere, however they are encoded."""
    made = email.message_from_bytes(b"From: ada@example.org\r\nTo: " + to + b"\r\n\r\nx", policy=policy)
    try:
        assert make_submission(made).forward_paths == [Address("bob", "x")]
    except GrammarError:
        assert to == b"bob@x;"


@pytest.mark.parametrize("policy", [email.policy.default, email.policy.compat32])
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_field_on_several_lines_is_one(policy: Any, end: bytes) -> None:
    """RFC 5322 section 2.2.3; ``email.message_from_bytes`` keeps the lines unless it is told of another policy."""
    fields = b'From: Ada\r\n <ada@example.org>\r\nTo: b@x,\r\n c@x,\r\n\t"D,\r\n D" <d@x>\r\n\r\ntext\r\n'
    made = email.message_from_bytes(fields.replace(b"\r\n", end), policy=policy)
    assert envelope(made) == ("ada@example.org", ["b@x", "c@x", "d@x"])
    assert b"To: b@x,\r\n c@x,\r\n" in written(make_submission(made))


@pytest.mark.parametrize("policy", [email.policy.default, email.policy.compat32])
def test_many_recipients_are_read_one_after_the_other(policy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time that the standard library takes for a list grows with the square of its length."""
    lengths: list[int] = []
    read = HeaderRegistry.__call__

    def count(self: HeaderRegistry, name: str, value: str) -> Any:
        lengths.append(len(value))
        return read(self, name, value)

    monkeypatch.setattr(HeaderRegistry, "__call__", count)
    names = ['"B, \\", C" ', "=?utf-8?q?B,=2C_C?= ", "Bob ", ""]
    to = ",\r\n ".join(f"{name}<{number}@x>" for number in range(500) for name in names)
    to += ", (and) f: e@x, d@x;"
    made = email.message_from_string(f"From: ada@example.org\nTo: {to}\n\n", policy=policy)
    assert envelope(made) == ("ada@example.org", [*(f"{number}@x" for number in range(500)), "e@x", "d@x"])
    assert max(lengths) < 50


@pytest.mark.parametrize(("begin", "end"), [("", ""), ("c@x, The Bobs (all: of them): ", " ; , d@x")])
def test_many_recipients_with_their_names_behind_them_are_read(begin: str, end: str) -> None:
    """As mail had them for long: in comments, of which none is in another, and perhaps in a group."""
    several = ",\r\n ".join(f"{number}@x (Bob \\( B, {number}th of that name)" for number in range(500))
    to = begin + several + end
    made = email.message_from_string(f"From: ada@example.org\nTo: {to}\n\n", policy=email.policy.default)
    others = [["c@x"], ["d@x"]] if begin else [[], []]
    assert envelope(made)[1] == [*others[0], *(f"{number}@x" for number in range(500)), *others[1]]


def test_a_source_route_is_no_list_of_two() -> None:
    """RFC 5322 section 4.4: it is to be taken, and ignored."""
    made = email.message_from_string("From: ada@example.org\nTo: a@x, < @here,@there:b@x>\n\n")
    assert envelope(made) == ("ada@example.org", ["a@x", "b@x"])


@pytest.mark.parametrize("policy", [email.policy.default, email.policy.compat32])
@pytest.mark.parametrize("to", [b'"' * 10_000, b"(" * 10_000, b"a:" * 5_000, b"a@b," * 25_000])
def test_recipients_that_would_be_read_for_long_are_not(to: bytes, policy: Any) -> None:
    made = email.message_from_bytes(b"From: ada@example.org\r\nTo: " + to + b"\r\n\r\nx", policy=policy)
    with pytest.raises(GrammarError, match="the field To cannot be read"):
        make_submission(made)


@pytest.mark.parametrize("policy", [email.policy.default, email.policy.compat32, email.policy.SMTPUTF8])
def test_an_address_in_octets_is_utf8_or_none(policy: Any) -> None:
    """RFC 6532 section 3.2; S12: what is of another charset is not guessed, mail for it would go to another one."""
    field = "From: ada@example.org\nTo: Élise <é@ü.example>,\n eve@e.example\n\n"
    made = email.message_from_bytes(field.encode(), policy=policy)
    assert make_submission(made).forward_paths == [Address("é", "ü.example"), Address("eve", "e.example")]
    with pytest.raises(GrammarError):
        make_submission(email.message_from_bytes(field.encode("latin-1"), policy=policy))


def test_a_message_resent_twice_does_not_tell() -> None:
    made = message(Resent_Date="Thu, 01 Jan 1970 00:00:00 +0000", Resent_To="a@b", Resent_From="c@d")
    made["Resent-Date"] = "Fri, 02 Jan 1970 00:00:00 +0000"
    with pytest.raises(GrammarError, match="more than once"):
        make_submission(made)
    assert make_submission(made, "x@y", "z@y").forward_paths == [Address("z", "y")]


def test_the_caller_knows_better() -> None:
    submission = make_submission(message(), "boss@example.org", ["x@y", Address("z", "y")])
    assert submission.reverse_path == Address("boss", "example.org")
    assert submission.forward_paths == [Address("x", "y"), Address("z", "y")]
    assert make_submission(message(), "").reverse_path is None, "the null reverse-path"
    assert make_submission(message(), recipients="x@y").reverse_path == Address("ada", "example.org")
    with_parameters = make_submission(b"", "a@b", ("c@d", RcptParameters(extra={"X": "y"})))
    assert with_parameters.recipients[0].parameters.extra == {"X": "y"}


@pytest.mark.parametrize(
    ("sender", "recipients"),
    [
        (None, "a@b"),
        ("a@b", None),
        ("a@b", []),
        ("a@b", ()),
        ("<a@b>", "c@d"),
        ("a@b", "<>"),
        ("a@b", ""),
        ("a@b", ["c@d", "Eve <e@f>"]),
    ],
)
def test_an_envelope_that_is_none(sender: str | None, recipients: Any) -> None:
    with pytest.raises(GrammarError):
        make_submission(b"x", sender, recipients)


@pytest.mark.parametrize("thing", ["Subject: x", io.StringIO("Subject: x"), None, 5])
def test_what_is_no_message_is_told_apart_before_anything_is_said(thing: Any) -> None:
    with pytest.raises(TypeError, match="a message is octets"):
        make_submission(thing, "ada@example.org", "bob@example.org")


def test_an_address_is_text() -> None:
    recipients: Any = b"bob@example.org"
    with pytest.raises(TypeError, match="an address is text"):
        make_submission(b"x", "ada@example.org", recipients)


TEXT: Any = "bob@example.org"


@pytest.mark.parametrize(
    ("sender", "recipient", "hint"),
    [
        ("ada@example.org", Recipient(Address("bob", "example.org")), r"Address\.parse"),
        (None, TEXT, "make_submission"),
        (None, Address("bob", "example.org"), "make_submission"),
        (None, Recipient(TEXT), r"Address\.parse"),
    ],
)
def test_who_makes_a_submission_by_hand_brings_addresses(sender: Any, recipient: Any, hint: str) -> None:
    with pytest.raises(TypeError, match=hint):
        Submission(sender, (recipient,), b"x")


def test_a_postmaster_needs_no_domain() -> None:
    """RFC 5321 section 4.1.1.3: as a recipient, and in any case of letters; a sender has one."""
    made = make_submission(b"x", "ada@example.org", ["Postmaster", ("postmaster", RcptParameters()), "bob@c"])
    assert made.forward_paths == [POSTMASTER, POSTMASTER, Address("bob", "c")]
    with pytest.raises(GrammarError):
        make_submission(b"x", "postmaster", "bob@c")


def test_a_legacy_message() -> None:
    made = MIMEText("Grüße", "plain", "utf-8")
    made["From"] = "=?utf-8?q?Ad=C3=A1?= <ada@example.org>"
    made["To"] = "bob@example.org"
    made["Bcc"] = "eve@example.org"
    assert envelope(made) == ("ada@example.org", ["bob@example.org", "eve@example.org"])
    data = written(make_submission(made), eight_bit=False)
    assert data.isascii()
    assert b"Bcc" not in data
    assert data.count(b"\n") == data.count(b"\r\n")


# What is sent of it.


def test_bcc_stays_at_home() -> None:
    """S88, RFC 5321 section 7.2: off the copy that is sent, in every form, and only off that."""
    made = message(bcc="secret@example.org", Resent_Bcc="other@example.org")
    made["Resent-Bcc"] = "third@example.org"
    before = (made.as_bytes(), copy.deepcopy(made.items()))
    data = written(make_submission(made, "a@b", "c@d"))
    assert b"bcc" not in data.lower()
    assert b"secret" not in data
    assert (made.as_bytes(), made.items()) == before


def test_nothing_of_the_callers_message_changes() -> None:
    made = message(Subject="Grüße", Bcc="x@y")
    made.set_content("naïve\n", cte="8bit")
    made.add_attachment("größer", filename="ä.txt", cte="8bit")
    inner = message()
    inner.set_content("innen\n", cte="8bit")
    made.add_attachment(inner)
    made.set_boundary("BOUNDARY")
    before = made.as_bytes()
    for eight_bit in (True, False):
        data = written(make_submission(made), eight_bit=eight_bit)
        assert data.isascii() is not eight_bit
        assert made.as_bytes() == before


def test_a_message_fits_a_server_of_seven_bits() -> None:
    """What comes out decodes to the same text."""
    made = message(Subject="Grüße")
    made.set_content("naïve\n.\nFrom here\n" + "x" * 1200 + "\n", cte="8bit")
    data = written(make_submission(made), eight_bit=False)
    assert data.isascii()
    read = email.message_from_bytes(data, policy=email.policy.default)
    assert read["Subject"] == "Grüße"
    assert read.get_content().replace("\r\n", "\n") == "naïve\n.\nFrom here\n" + "x" * 1200 + "\n"
    assert b">From" not in data


@pytest.mark.parametrize("policy", [email.policy.default, email.policy.SMTPUTF8, email.policy.compat32])
def test_octets_that_a_message_was_made_of_can_be_sent_again(policy: Any) -> None:
    """A message without MIME fields, its header and its text in UTF-8, as many a program writes them."""
    subject = "Grüße " + "x" * 100
    fields = f"From: a@b\r\nTo: c@d\r\nSubject: {subject}\r\n\r\n"
    made = email.message_from_bytes((fields + "naïve\r\n").encode(), policy=policy)
    assert written(make_submission(made)) == (fields + "naïve\r\n").encode()
    data = written(make_submission(made), eight_bit=False)
    assert data.isascii()
    read = email.message_from_bytes(data, policy=email.policy.default)
    assert read["Subject"] == subject
    assert read.get_payload(decode=True) == "naïve\r\n".encode()


@pytest.mark.parametrize("policy", [email.policy.default, email.policy.compat32])
@pytest.mark.parametrize("charset", ["utf-8", "us-ascii", "iso-2022-jp", "windows-1252", "utf-7", "no-such", None])
def test_a_charset_that_is_wrong_costs_nothing(charset: str | None, policy: Any) -> None:
    """A server of seven bits gets the same octets, though they are not what their charset says."""
    content = b"Gr\xfc\xdfe \x81\xff\r\n"
    kind = f'Content-Type: text/plain; charset="{charset}"\r\n'.encode() if charset else b""
    head = b"From: a@b\r\nTo: c@d\r\n" + kind + b"Content-Transfer-Encoding: 8bit\r\n\r\n"
    data = written(make_submission(email.message_from_bytes(head + content, policy=policy)), eight_bit=False)
    assert data.isascii()
    assert email.message_from_bytes(data).get_payload(decode=True) == content


@pytest.mark.parametrize("eight_bit", [True, False])
@pytest.mark.parametrize("policy", [email.policy.default, email.policy.compat32])
def test_binary_parts_keep_their_octets(policy: Any, eight_bit: bool) -> None:
    """RFC 2045 section 6.2: they are no lines, and are written in a way that lines can hold."""
    octets = b"\x89PNG\r\n\x1a\n\0\r\r\n.\r\nFrom \xff"
    made = message()
    made.add_attachment(octets, "image", "png", cte="binary")
    made["Content-Transfer-Encoding"] = "binary"
    parsed: Any = email.message_from_bytes(made.as_bytes(), policy=policy)
    parsed.get_payload()[1].set_payload(octets.decode("ascii", "surrogateescape"))
    before = parsed.as_bytes()
    data = written(make_submission(parsed), eight_bit=eight_bit)
    read: Any = email.message_from_bytes(data)
    assert read.get_payload()[1].get_payload(decode=True) == octets
    assert read.get_payload()[1]["Content-Transfer-Encoding"] == "base64"
    assert read["Content-Transfer-Encoding"] != "binary"
    assert parsed.as_bytes() == before


EMBEDDED = [
    "=?utf-8?q?x=0D=0ABcc=3A_evil=40x?=",
    "=?utf-8?q?x=0ABcc=3A_evil=40x?= and some more of it, so that the field is folded at last",
    "=?utf-8?b?eA0KDQpib2R5?=" * 4,
    "x\x0bBcc: evil@x",
    "x\x0c\x0cbody",
    "x\x1cBcc: evil@x",
]


@pytest.mark.parametrize("policy", [email.policy.default, email.policy.SMTP.clone(refold_source="all")])
@pytest.mark.parametrize("name", ["Subject", "Content-Type", "X-Evil"])
@pytest.mark.parametrize("value", EMBEDDED)
def test_no_line_end_is_hidden_in_a_field(value: str, name: str, policy: Any) -> None:
    """S52, CVE-2024-6923: the generator of the standard library writes it out, in some versions."""
    raw = f"From: a@b\r\n{name}: {value}\r\nTo: c@d\r\n\r\nx\r\n".encode()
    direct = email.message_from_bytes(raw, policy=policy)
    inner = b"From: a@b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + raw + b"--b--\r\n"
    for made in (direct, email.message_from_bytes(inner, policy=policy)):
        for eight_bit in (True, False):
            try:
                data = written(make_submission(made, "a@b", "c@d"), eight_bit=eight_bit)
            except GrammarError:
                continue
            assert b"\r\nBcc" not in data
            assert b"\r\nbody" not in data


def test_a_field_that_is_folded_at_an_empty_line() -> None:
    """The standard library does that, and the rest of the header would be text."""
    long = "x" * 90
    first, second = Mailbox("a@b", "x y", "x.org"), Mailbox("É", 'q"p', "xn--r8jz45g.xn--zckzah")
    made = message(From=[first, second, Mailbox(long, "a", "b.c")], Subject="behind it")
    read = email.message_from_bytes(written(make_submission(made)), policy=email.policy.default)
    assert read["Subject"] == "behind it"
    assert [mailbox.display_name for mailbox in read["From"].addresses] == ["a@b", "É", long]


@pytest.mark.parametrize("to", ["a@b, " * 4_000 + "c@d", "ä <a@b>, " * 2_000 + "c@d", "ä@b, " * 4_000 + "c@d"])
def test_a_field_that_would_be_read_for_long_stays_as_it_came(to: str) -> None:
    """The time to read one grows with the square of its length, and a stranger may have written the message."""
    reader = Reader()
    octets = f"To: {to}\r\nSubject: x\r\n\r\nx\r\n".encode()
    made = email.message_from_bytes(octets, policy=email.policy.default.clone(header_factory=reader))
    submission = make_submission(made, "ada@here", "bob@here")
    assert not submission.needs_utf8
    assert written(submission) == octets
    assert reader.longest < 100


def test_a_field_of_many_lines_to_python_is_not_folded() -> None:
    """To an older policy it is one of many lines, and a time that grows with the square of them."""
    for count in (100, 101):
        field = "x" + "\x0b x" * count
        made = email.message_from_string(f"Subject: {field}\n\nHello\n", policy=email.policy.compat32)
        submission = make_submission(made, "ada@example.org", "bob@example.org")
        if count == 100:
            assert written(submission).startswith(b"Subject: x\r\n x\r\n")
        else:
            with pytest.raises(GrammarError, match="too many line ends"):
                written(submission)


def test_a_field_that_would_be_folded_for_ever_stays_as_it_came() -> None:
    octets = b"Content-Type: text/plain; " + b"x" * 80 + b"=y\r\n\r\nx\r\n"
    made = email.message_from_bytes(octets, policy=email.policy.default)
    assert written(make_submission(made, "ada@here", "bob@here")) == octets
    other = EmailMessage()
    other["Content-Type"] = made["Content-Type"]
    with pytest.raises(NotSupportedError, match="a name that is too long"):
        written(make_submission(other, "ada@here", "bob@here"))


class Reader(HeaderRegistry):
    """Says how long the fields were that it has read."""

    longest = 0

    def __call__(self, name: str, value: str) -> Any:
        self.longest = max(self.longest, len(value))
        return super().__call__(name, value)


@pytest.mark.parametrize(
    "odd",
    [
        lambda: _with_payload(Message(), "grün"),
        lambda: _with_payload(Message(), ["x"]),
        lambda: _with_payload(EmailMessage(), [b"x"]),
    ],
)
def test_what_the_standard_library_cannot_write(odd: Any) -> None:
    """It falls over in many ways; here it is one, and no other message's result is lost by it."""
    with pytest.raises(GrammarError, match="cannot be written"):
        written(make_submission(odd(), "a@b", "c@d"))


def _with_payload(made: Message, payload: Any) -> Message:
    made.set_payload(payload)
    return made


def test_header_fields_in_utf8_only_with_smtputf8() -> None:
    """RFC 6532."""
    made = message(Subject="Grüße", To="ödön@example.org")
    submission = make_submission(made)
    assert submission.needs_utf8
    assert "Subject: Grüße".encode() in written(submission, utf8=True)
    with pytest.raises(NotSupportedError):
        written(submission)
    plain = make_submission(message(Subject="Grüße"))
    assert not plain.needs_utf8
    assert written(plain).isascii()


def test_line_ends_are_crlf_whatever_the_policy() -> None:
    for policy in (email.policy.default, email.policy.SMTP, email.policy.HTTP, email.policy.compat32):
        made = email.message_from_bytes(b"From: a@b\nTo: c@d\nSubject: x\n\none\ntwo\n", policy=policy)
        data = written(make_submission(made))
        assert data.count(b"\r") == data.count(b"\n") == data.count(b"\r\n") == 6
        assert data.endswith(b"\r\n\r\none\r\ntwo\r\n")


@pytest.mark.parametrize("evil", ["x\r\nBcc: evil@x", "x\nX-Evil: 1", "x\r\n\r\nbody", "\0"])
def test_a_field_that_is_more_than_one(evil: str) -> None:
    """S52: the standard library refuses these, sooner or later; nothing of them is ever sent."""
    made = message()
    try:
        made["Subject"] = evil
        data = written(make_submission(made))
    except (ValueError, GrammarError):
        return
    header = data.partition(b"\r\n\r\n")[0]
    assert b"\r\nBcc:" not in header
    assert b"\r\nX-Evil:" not in header
    assert header.count(b"\r\nSubject:") == 1


def test_octets_are_sent_as_they_are() -> None:
    """S91: nothing folds, nothing decodes, nothing is added but the last line end."""
    data = b"From: x\r\n\t folded\r\nBcc: stays, it is not ours to read\r\n\r\n" + b"y" * 5000 + b"\xff\x00.\r\n.\r\n"
    assert written(make_submission(data, "a@b", "c@d")) == data


@pytest.mark.parametrize(
    ("data", "size", "eight_bit"),
    [
        (b"x\r\n", 3, False),
        (b"x", 3, False),
        (b"", 2, False),
        ("ä\r\n".encode(), 4, True),
        (b"x" * (1 << 20), (1 << 20) + 2, False),
    ],
)
def test_what_is_known_before(data: bytes, size: int, eight_bit: bool) -> None:
    content = open_content(make_submission(data, "a@b", "c@d"), eight_bit=True)
    assert (content.size, content.eight_bit) == (size, eight_bit)


def test_nothing_is_known_of_what_comes_piece_by_piece() -> None:
    content = open_content(make_submission(iter([b"x"]), "a@b", "c@d"), eight_bit=True)
    assert (content.size, content.eight_bit) == (None, None)


@pytest.mark.parametrize("data", [b"a\nb", b"a\rb", b"\n", b"\r", b"x\r\n\r", b"\n.\r\n"])
def test_octets_with_bare_newlines(data: bytes) -> None:
    """S2."""
    with pytest.raises(GrammarError):
        open_content(make_submission(data, "a@b", "c@d"), eight_bit=True)
    mended = make_submission(data, "a@b", "c@d", canonicalise=True)
    assert open_content(mended, eight_bit=True).size is None


def test_a_repr_is_short() -> None:
    submission = make_submission(b"secret body" * 1000, "a@b", "c@d", parameters=MailParameters(size=5))
    assert "secret" not in repr(submission)
    assert len(repr(submission)) < 500
    assert "secret" not in repr(open_content(submission, eight_bit=True))
