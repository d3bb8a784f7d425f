"""Whose mail a mail host takes, however its domains are spelled, and whom it lets in."""

from __future__ import annotations

from typing import Any

import pytest

from mailproto import Address, GrammarError, Reject, TLSPolicy, sync
from mailproto.maildrop import MemoryMaildrop
from mailproto.mailhost import MailHost
from mailproto.pop3 import POP3ServerConfig
from mailproto.smtp import Rcpt, RcptParameters, SMTPServerConfig
from mailproto.smtp.flows.server import SMTPSession
from mailproto.smtp.server import SMTPServerConnection

SESSION = SMTPSession(SMTPServerConnection())


def takes(host: MailHost, address: str) -> bool:
    """Say whether the host takes mail for this address."""
    try:
        host.on_rcpt(SESSION, Rcpt(Address.parse(address), RcptParameters()))
    except Reject as refusal:
        assert (refusal.code, refusal.enhanced) == (550, "5.7.1")
        return False
    return True


@pytest.mark.parametrize("domain", ["m\u00fcnchen.example", "M\u00dcNCHEN.example", "xn--mnchen-3ya.example"])
def test_a_domain_is_the_same_in_all_its_spellings(domain: str) -> None:
    host = MailHost(lambda _: MemoryMaildrop(), {"ada": "pw"}, [domain])
    for spelling in ("m\u00fcnchen.example", "M\u00dcNCHEN.EXAMPLE", "XN--mnchen-3ya.example"):
        assert takes(host, f"ada@{spelling}")
    for other in ("munchen.example", "muenchen.example", "mu\u0308nchen.example.net"):
        assert not takes(host, f"ada@{other}")


def test_a_domain_without_a_form_in_idna_2003_is_still_itself() -> None:
    host = MailHost(lambda _: MemoryMaildrop(), {"ada": "pw"}, ["fa\u00df.example"])
    assert takes(host, "ada@fa\u00df.example")
    assert not takes(host, "ada@fass.example")


def test_what_is_no_domain_is_none() -> None:
    with pytest.raises(GrammarError):
        MailHost(lambda _: MemoryMaildrop(), {"ada": "pw"}, ["example..org"])


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
def test_names_and_passwords_beyond_ascii(mechanism: str) -> None:
    login: dict[str, Any] = {"user": "j\u00f6rg", "password": "p\u00e4ssw\u00f6rd \u2709", "mechanisms": (mechanism,)}
    where: dict[str, Any] = {"tls": TLSPolicy.NONE, "allow_plaintext_auth": True}
    host = MailHost(lambda _: MemoryMaildrop(), {login["user"]: login["password"]})
    smtp = sync.SMTPServer(host, port=0, config=SMTPServerConfig(allow_plaintext_auth=True, require_auth=True))
    pop3 = sync.POP3Server(host, port=0, config=POP3ServerConfig(allow_plaintext_auth=True))
    with smtp, pop3:
        with sync.SMTPClient("127.0.0.1", smtp.port, **login, **where) as client:
            assert client.send_message(b"x\r\n", "", f"{login['user']}@example.org").ok
        with sync.POP3Client("127.0.0.1", pop3.port, **login, **where) as pop:
            assert pop.status() == (1, 3)
        with sync.POP3Client("127.0.0.1", pop3.port, **{**login, "mechanisms": None}, **where) as pop:
            assert pop.status() == (1, 3)
