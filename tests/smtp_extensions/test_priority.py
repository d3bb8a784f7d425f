"""MT-PRIORITY (RFC 6710)."""

from __future__ import annotations

import pytest

from mailproto.address import Address
from mailproto.errors import GrammarError, NotSupportedError
from mailproto.smtp import (
    ByMode,
    DeliverBy,
    MailParameters,
    Notify,
    OriginalRecipient,
    RcptParameters,
    SMTPServerConfig,
    SMTPServerConnection,
)
from mailproto.smtp.extensions import DELIVERBY, DSN, MT_PRIORITY, mt_priority
from tests.helpers import assert_plays
from tests.smtp import client, say
from tests.smtp_extensions import converse, lines_sent, offer_of, offering, read_mail, refuses_mail, write_mail

# RFC 6710 section 8, without the parts that other extensions play there.
SUBMISSION = """
E: Connected
! accept("SMTP server here")
S: 220 example.com SMTP server here
C: EHLO mua.example.com
E: Hello 'mua.example.com' extended
! accept()
S: 250-example.com
S: 250-DSN
S: 250-DELIVERBY
S: 250 MT-PRIORITY MIXER
C: MAIL FROM:<eljefe@example.com> BY=125;R ENVID=QQ314159 MT-PRIORITY=3
E: Mail eljefe@example.com envid=QQ314159 deliver_by=125;R mt_priority=3
! accept("<eljefe@example.com> sender ok")
S: 250 <eljefe@example.com> sender ok
C: RCPT TO:<topbanana@example.net>
E: Rcpt topbanana@example.net
! accept("<topbanana@example.net> recipient ok")
S: 250 <topbanana@example.net> recipient ok
C: RCPT TO:<Dana@Ivory.example.net> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Dana@Ivory.example.net
E: Rcpt Dana@Ivory.example.net notify=FAILURE,SUCCESS orcpt=rfc822;Dana@Ivory.example.net
! accept("<Dana@Ivory.example.net> recipient ok")
S: 250 <Dana@Ivory.example.net> recipient ok
C: QUIT
S: 221 Bye
E: ConnectionClosed clean
"""


def test_the_example_of_the_rfc_on_the_server() -> None:
    config = SMTPServerConfig(hostname="example.com", extensions=(DSN, DELIVERBY, mt_priority("MIXER")))
    assert_plays(lambda: SMTPServerConnection(config), SUBMISSION)


def test_the_example_of_the_rfc_on_the_client() -> None:
    conn = client("DSN", "DELIVERBY", "ENHANCEDSTATUSCODES", "MT-PRIORITY STANAG4406")
    values = MailParameters(deliver_by=DeliverBy(120, ByMode.RETURN), envid="QQ314159", mt_priority=3)
    conn.mail(Address.parse("eljefe@example.com"), values)
    assert lines_sent(conn) == ["MAIL FROM:<eljefe@example.com> ENVID=QQ314159 BY=120;R MT-PRIORITY=3"]
    say(conn, "250 ok")
    both = frozenset({Notify.SUCCESS, Notify.FAILURE})
    dana = "Dana@Ivory.example.net"
    conn.rcpt(Address.parse(dana), RcptParameters(both, OriginalRecipient("rfc822", dana)))
    assert lines_sent(conn) == [f"RCPT TO:<{dana}> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;{dana}"]


@pytest.mark.parametrize("priority", range(-9, 10))
def test_every_priority(priority: int) -> None:
    values = MailParameters(mt_priority=priority)
    assert read_mail(MT_PRIORITY, f"mt-priority={priority}") == values
    assert write_mail(MT_PRIORITY, values) == f"MT-PRIORITY={priority}"


@pytest.mark.parametrize(
    "text",
    [
        "MT-PRIORITY",
        "MT-PRIORITY=",
        "MT-PRIORITY=10",
        "MT-PRIORITY=-10",
        "MT-PRIORITY=+1",
        "MT-PRIORITY=-0",
        "MT-PRIORITY=00",
        "MT-PRIORITY=03",
        "MT-PRIORITY=--1",
        "MT-PRIORITY=high",
        "MT-PRIORITY=\u0663",
        "MT-PRIORITY=1 MT-PRIORITY=1",
    ],
)
def test_what_is_no_priority(text: str) -> None:
    assert refuses_mail(MT_PRIORITY, text)
    assert converse(offering(MT_PRIORITY), f"MAIL FROM:<a@b> {text}").replies == [b"501"]


@pytest.mark.parametrize("priority", [-10, 10])
def test_what_a_client_does_not_write(priority: int) -> None:
    with pytest.raises(GrammarError):
        client("MT-PRIORITY").mail(None, MailParameters(mt_priority=priority))


def test_a_client_asks_no_server_without_it() -> None:
    with pytest.raises(NotSupportedError):
        client("DSN").mail(None, MailParameters(mt_priority=0))


def test_a_server_offers_it_when_told_to() -> None:
    assert "MT-PRIORITY" not in offer_of(offering())
    assert "MT-PRIORITY" in offer_of(offering(MT_PRIORITY))
    assert "MT-PRIORITY STANAG4406" in offer_of(offering(mt_priority("STANAG4406")))


@pytest.mark.parametrize("profile", ["a b", "x" * 21, "ü", "a\r\nb", "a/b"])
def test_what_is_no_name_of_a_policy(profile: str) -> None:
    with pytest.raises(GrammarError):
        mt_priority(profile)
