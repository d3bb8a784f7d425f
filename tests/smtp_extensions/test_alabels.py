"""Domains that are not ASCII, as A-labels (RFC 5890), and the addresses in the header of a message."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from email.policy import EmailPolicy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.address import Address
from mailproto.errors import GrammarError, NotSupportedError
from mailproto.smtp import SMTPClientConfig, SMTPClientConnection, SMTPServerConfig, make_submission
from mailproto.smtp.alabels import encode_address, encode_domain, idna_2003
from mailproto.smtp.extensions import DEFAULT_EXTENSIONS, SMTPUTF8
from tests.helpers import PROPERTY
from tests.smtp import client, say
from tests.smtp_extensions import lines_sent, offering
from tests.smtp_extensions.wire import Wire

NO_UTF8 = SMTPServerConfig(extensions=tuple(each for each in DEFAULT_EXTENSIONS if each is not SMTPUTF8))


@pytest.mark.parametrize(
    ("domain", "encoded"),
    [
        ("example.org", "example.org"),
        ("Example.ORG", "Example.ORG"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("mail.bücher.xn--bcher-kva", "mail.xn--bcher-kva.xn--bcher-kva"),
    ],
)
def test_a_domain_in_ascii(domain: str, encoded: str) -> None:
    assert encode_domain(domain) == encoded


@pytest.mark.parametrize(
    "domain",
    [
        "ü" * 64 + ".example",
        "\ufffd.example",
        "bücher..example",
        "ü-.example",
        "ü\r\n.example",
        # These are taken for dots, and would make a domain of three labels of one of two.
        "a\u2024b.example",
        "ü\u3002b.example",
        "ü\uff61b.example",
    ],
)
def test_a_domain_that_has_no_such_form(domain: str) -> None:
    with pytest.raises(GrammarError):
        encode_domain(domain)


@pytest.mark.parametrize(
    "domain", ["straße.example", "βόλος.example", "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.example", "a\u200db.c"]
)
def test_what_idna_2008_means_otherwise_is_not_sent_to_somebody_else(domain: str) -> None:
    """In IDNA 2003 the first is strasse.example, which is another domain."""
    with pytest.raises(GrammarError, match="IDNA 2008"):
        idna_2003(domain)


def test_a_long_domain_never_reaches_the_codec() -> None:
    """S84: the codec of the standard library has been quadratic (CVE-2022-45061)."""
    calls: list[str] = []

    def encode(domain: str) -> str:
        calls.append(domain)
        return domain

    with pytest.raises(GrammarError):
        encode_domain("ü" * 256, encode)
    assert calls == []


def test_another_codec_can_be_given() -> None:
    assert encode_domain("straße.example", {"straße.example": "xn--strae-oqa.example"}.__getitem__) == (
        "xn--strae-oqa.example"
    )


@pytest.mark.parametrize("answer", ["bücher", "a b", "a\r\nRCPT", "", "x" * 256])
def test_another_codec_is_not_believed_everything(answer: str) -> None:
    with pytest.raises(GrammarError):
        encode_domain("bücher", lambda _: answer)


def test_an_address_in_ascii() -> None:
    assert encode_address(Address("ada", "bücher.example")) == Address("ada", "xn--bcher-kva.example")
    ascii_only = Address("a b", "[192.0.2.1]")
    assert encode_address(ascii_only) is ascii_only
    with pytest.raises(NotSupportedError):
        encode_address(Address("jörg", "example.org"))


@PROPERTY
@given(st.text(st.characters(min_codepoint=0xA0, exclude_characters="\ud800"), min_size=1, max_size=20))
def test_whatever_comes_out_is_ascii(label: str) -> None:
    try:
        encoded = encode_domain(f"{label}.example")
    except GrammarError:
        return
    assert encoded.isascii()
    assert Address("a", encoded).is_ascii


class TestTheConnection:
    def test_without_smtputf8_domains_go_as_a_labels(self) -> None:
        conn = client("SMTPUTF8", "PIPELINING")
        conn.mail(Address("ada", "bücher.example"))
        conn.rcpt(Address("bob", "例え.テスト"))
        assert lines_sent(conn) == [
            "MAIL FROM:<ada@xn--bcher-kva.example>",
            "RCPT TO:<bob@xn--r8jz45g.xn--zckzah>",
        ]

    def test_a_local_part_needs_it(self) -> None:
        conn = client("SMTPUTF8")
        with pytest.raises(NotSupportedError):
            conn.mail(Address("jörg", "example.org"))
        conn.mail(None)
        with pytest.raises(NotSupportedError):
            conn.rcpt(Address("jörg", "example.org"))
        with pytest.raises(NotSupportedError):
            conn.check_rcpt(Address("jörg", "example.org"))
        assert lines_sent(conn) == ["MAIL FROM:<>"]

    def test_a_check_tells_what_would_be_sent_and_sends_nothing(self) -> None:
        conn = client("SMTPUTF8")
        address = Address("bob", "bücher.example")
        assert conn.check_rcpt(address) == Address("bob", "xn--bcher-kva.example")
        assert conn.check_rcpt(address, smtputf8=True) == address
        assert lines_sent(conn) == []

    def test_the_config_knows_another_codec(self) -> None:
        conn = client(idna_encode=lambda _: "xn--strae-oqa.example")
        conn.mail(Address("ada", "straße.example"))
        assert lines_sent(conn) == ["MAIL FROM:<ada@xn--strae-oqa.example>"]

    def test_a_client_says_its_name_in_ascii(self) -> None:
        """RFC 6531 section 3.7.1."""
        for verb in ("ehlo", "helo"):
            conn = SMTPClientConnection()
            say(conn, "220 mx.example.org")
            getattr(conn, verb)("bücher.example")
            assert lines_sent(conn) == [f"{verb.upper()} xn--bcher-kva.example"]


def test_a_server_gives_its_name_in_ascii() -> None:
    """RFC 6531 section 3.7.1."""
    with pytest.raises(GrammarError, match="A-labels"):
        SMTPServerConfig(hostname="bücher.example")


def letter(**fields: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = fields.pop("sender", "Ada <ada@example.org>")
    message["To"] = fields.pop("to", "bob@example.org")
    for name, value in fields.items():
        message[name] = value
    message["Subject"] = "Grüße"
    message.set_content("Hallo\n")
    return message


class TestTheHeader:
    def test_addresses_call_for_smtputf8_and_get_it(self) -> None:
        wire = Wire(offering())
        submission = make_submission(letter(sender="Jörg <jörg@bücher.example>"), "bounce@example.org")
        assert submission.needs_utf8
        assert wire.send(submission).ok
        assert wire.said("MAIL")[0].endswith(" SMTPUTF8 BODY=8BITMIME") or "SMTPUTF8" in wire.said("MAIL")[0]
        ((_, body),) = wire.delivered
        assert "From: Jörg <jörg@bücher.example>\r\n".encode() in body

    def test_display_names_and_subjects_do_not(self) -> None:
        wire = Wire(offering())
        submission = make_submission(letter(sender="Jörg <ada@example.org>"))
        assert not submission.needs_utf8
        assert wire.send(submission).ok
        assert "SMTPUTF8" not in wire.said("MAIL")[0]
        ((_, body),) = wire.delivered
        assert body.partition(b"\r\n\r\n")[0].isascii()

    def test_without_smtputf8_domains_are_a_labels_there_too(self) -> None:
        wire = Wire(NO_UTF8)
        message = letter(
            sender="Jörg Ö <ada@bücher.example>",
            to="Gruppe: bob@bücher.example, Eve <eve@example.org>;, joe@example.org",
            Cc="ann@例え.テスト",
        )
        assert wire.send(make_submission(message)).ok
        ((paths, body),) = wire.delivered
        assert paths == [
            "bob@xn--bcher-kva.example",
            "eve@example.org",
            "joe@example.org",
            "ann@xn--r8jz45g.xn--zckzah",
        ]
        header = body.partition(b"\r\n\r\n")[0].decode("ascii").replace("\r\n ", " ").split("\r\n")
        assert header[0].startswith("From: =?utf-8?")
        assert header[0].endswith("?= <ada@xn--bcher-kva.example>")
        assert header[1] == "To: Gruppe: bob@xn--bcher-kva.example, Eve <eve@example.org>;, joe@example.org"
        assert header[2] == "Cc: ann@xn--r8jz45g.xn--zckzah"
        assert header[3].startswith("Subject: =?utf-8?")

    def test_the_message_of_the_caller_stays_as_it_is(self) -> None:
        message = letter(sender="ada@bücher.example", Bcc="eve@example.org")
        before = message.items()
        assert Wire(NO_UTF8).send(make_submission(message)).ok
        assert message.items() == before

    def test_a_local_part_in_the_header_cannot_go(self) -> None:
        wire = Wire(NO_UTF8)
        with pytest.raises(NotSupportedError, match="in the header"):
            wire.send(make_submission(letter(Cc="jörg@example.org"), recipients=["bob@example.org"]))
        assert wire.heard == []

    def test_there_is_an_end_to_the_fields_around_it(self) -> None:
        """To put one in the place of another is to look at all of them."""
        message = message_from_bytes(b"X: y\r\n" * 999 + b"\r\nx\r\n", policy=policy.SMTP)
        message["From"] = "ada@bücher.example"
        assert Wire(NO_UTF8).send(make_submission(message, "ada@example.org", ["bob@example.org"])).ok
        message["Y"] = "z"
        wire = Wire(NO_UTF8)
        with pytest.raises(NotSupportedError, match="too many fields"):
            wire.send(make_submission(message, "ada@example.org", ["bob@example.org"]))
        assert wire.heard == []

    def test_all_other_fields_stay_octet_for_octet(self) -> None:
        signed = b"DKIM-Signature: a=b;\r\n\tc=d  ;e\r\nTo: bob@example.org (Bob)\r\n"
        message = message_from_bytes(signed + b"\r\nx\r\n", policy=policy.SMTP)
        message["From"] = "ada@bücher.example"
        wire = Wire(NO_UTF8)
        assert wire.send(make_submission(message, "ada@example.org", ["bob@example.org"])).ok
        ((_, body),) = wire.delivered
        assert body == signed + b"From: ada@xn--bcher-kva.example\r\n\r\nx\r\n"

    def test_raw_octets_in_a_field_cannot_go(self) -> None:
        """RFC 6532, parsed: what its octets were nobody knows any more."""
        raw = "From: jörg@bücher.example\r\nTo: bob@example.org\r\n\r\nx\r\n".encode()
        message = message_from_bytes(raw, policy=policy.SMTP)
        submission = make_submission(message, "ada@example.org", ["bob@example.org"])
        assert submission.needs_utf8
        with pytest.raises(NotSupportedError):
            Wire(NO_UTF8).send(submission)
        wire = Wire(offering())
        assert wire.send(submission).ok
        assert wire.delivered == [(["bob@example.org"], raw)]

    def test_fields_in_ascii_are_not_even_parsed(self) -> None:
        """Each would cost more than the rest of the message."""

        parsed: list[str] = []

        class Policy(EmailPolicy):
            def header_fetch_parse(self, name: str, value: str) -> str:
                parsed.append(name)
                return value

        message = message_from_bytes(b"To: bob@example.org\r\nX: y\r\n\r\nx\r\n", policy=Policy(linesep="\r\n"))
        assert not make_submission(message, "ada@example.org", ["bob@example.org"]).needs_utf8
        assert parsed == []
        message["Cc"] = "ann@bücher.example"
        assert make_submission(message, "ada@example.org", ["bob@example.org"]).needs_utf8
        assert parsed == ["Cc"]

    def test_a_field_that_cannot_be_parsed_names_nobody(self) -> None:
        class Policy(EmailPolicy):
            def header_fetch_parse(self, name: str, value: str) -> str:
                raise IndexError(name)

        message = message_from_bytes("To: bob@bücher.example\r\n\r\nx\r\n".encode(), policy=Policy(linesep="\r\n"))
        assert not make_submission(message, "ada@example.org", ["bob@example.org"]).needs_utf8

    def test_a_message_of_the_old_kind_does_not_tell(self) -> None:
        message = Message()
        message["From"] = "jörg@example.org"
        assert not make_submission(message, "ada@example.org", ["bob@example.org"]).needs_utf8


def test_idna_2003_is_the_default() -> None:
    assert SMTPClientConfig().idna_encode is idna_2003
