"""AUTH= on MAIL (RFC 4954 section 5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailproto.address import Address
from mailproto.errors import NotSupportedError
from mailproto.smtp import MailParameters, SMTPServerConfig, Submitter
from mailproto.smtp.extensions import AUTH
from tests.helpers import PROPERTY
from tests.smtp import client
from tests.smtp_extensions import converse, lines_sent, read_mail, refuses_mail, write_mail

CONFIG = SMTPServerConfig(auth_mechanisms=("PLAIN",), allow_plaintext_auth=True)
LOGIN = "AUTH PLAIN AGFkYQBzZXNhbWU="
EMC2 = Address.parse("e=mc2@example.com")


def auth_of(*lines: str) -> object:
    """Return what a server makes of AUTH= in the last of these lines."""
    return converse(CONFIG, *lines).events[-1].parameters.auth


def test_who_has_logged_in_may_say_who_submitted_a_message() -> None:
    """The examples of section 5.1."""
    assert auth_of(LOGIN, "MAIL FROM:<e=mc2@example.com> AUTH=e+3Dmc2@example.com") == EMC2
    assert auth_of(LOGIN, "MAIL FROM:<john+@example.org> AUTH=<>") is Submitter.UNKNOWN


def test_nobody_else_is_believed() -> None:
    """If the client is not authenticated, the server MUST behave as if AUTH=<> was supplied."""
    assert auth_of("MAIL FROM:<e=mc2@example.com> AUTH=e+3Dmc2@example.com") is Submitter.UNKNOWN
    assert auth_of("MAIL FROM:<e=mc2@example.com> AUTH=<>") is Submitter.UNKNOWN
    assert auth_of("MAIL FROM:<e=mc2@example.com> SIZE=1") is None


def test_it_is_taken_even_before_login_but_not_from_a_server_without_auth() -> None:
    """Servers that advertise it MUST support the parameter even when the client has not authenticated."""
    assert converse(CONFIG, "MAIL FROM:<a@b> AUTH=<>").replies == [b"250"]
    assert converse(SMTPServerConfig(), "MAIL FROM:<a@b> AUTH=<>").replies == [b"555"]


VALUES: list[tuple[str, Address | Submitter, str]] = [
    ("AUTH=<>", Submitter.UNKNOWN, "AUTH=<>"),
    ("auth=e+3Dmc2@example.com", EMC2, "AUTH=e+3Dmc2@example.com"),
    ("AUTH=+61da@example.org", Address.parse("ada@example.org"), "AUTH=ada@example.org"),
    ("AUTH=john+2B@example.org", Address.parse("john+@example.org"), "AUTH=john+2B@example.org"),
    ("AUTH=john+2b@example.org", Address.parse("john+@example.org"), "AUTH=john+2B@example.org"),
    ('AUTH="a+20b"@example.org', Address("a b", "example.org"), 'AUTH="a+20b"@example.org'),
    ("AUTH=j+C3+B6rg@example.org", Address("jörg", "example.org"), "AUTH=j+C3+B6rg@example.org"),
]


@pytest.mark.parametrize(("text", "submitter", "written"), VALUES)
def test_a_submitter(text: str, submitter: Address | Submitter, written: str) -> None:
    values = MailParameters(auth=submitter)
    assert read_mail(AUTH, text) == values
    assert write_mail(AUTH, values) == written


@pytest.mark.parametrize(
    "text",
    [
        "AUTH",
        "AUTH=",
        "AUTH=ada",
        "AUTH=<ada@example.org>",
        "AUTH=+3C+3E",
        "AUTH=a@b+0AReyes",
        "AUTH=a+00@b",
        "AUTH=a+0d@b",
        "AUTH=a+@b",
        "AUTH=+FF@b",
        "AUTH=jörg@example.org",
        "AUTH=<> AUTH=<>",
    ],
)
def test_what_is_no_submitter(text: str) -> None:
    assert refuses_mail(AUTH, text)
    assert converse(CONFIG, f"MAIL FROM:<a@b> {text}").replies == [b"501"]


def test_a_client_says_it_to_servers_with_auth() -> None:
    conn = client("AUTH PLAIN")
    conn.mail(EMC2, MailParameters(auth=EMC2))
    assert lines_sent(conn) == ["MAIL FROM:<e=mc2@example.com> AUTH=e+3Dmc2@example.com"]
    with pytest.raises(NotSupportedError):
        client("SIZE").mail(EMC2, MailParameters(auth=Submitter.UNKNOWN))


LOCAL_PARTS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=16)


@PROPERTY
@given(LOCAL_PARTS)
def test_what_is_written_is_what_was_meant(local_part: str) -> None:
    values = MailParameters(auth=Address(local_part, "example.org"))
    assert read_mail(AUTH, write_mail(AUTH, values)) == values
