"""Tests of the extensions of SMTP, one module for each, and what they share."""

from __future__ import annotations

from typing import Any

from mailproto._core.events import TLSInfo
from mailproto.errors import GrammarError
from mailproto.smtp import (
    Extension,
    MailParameters,
    RcptParameters,
    SMTPClientConnection,
    SMTPServerConfig,
    SMTPServerConnection,
    with_extensions,
)
from mailproto.smtp.extensions import mail_parameters, rcpt_parameters
from mailproto.smtp.parameters import collect, format_parameters, split_parameters
from tests.helpers import Talk, every_cut, talk

VERIFIED = TLSInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", "mx.example.org", b"certificate")


def offering(*extensions: Extension, **settings: Any) -> SMTPServerConfig:
    """Return the config of a server that offers these on top of the usual ones."""
    return with_extensions(SMTPServerConfig(hostname="mx.example.org", **settings), *extensions)


def converse(config: SMTPServerConfig, *lines: str, tls: bool = False, ehlo: str = "EHLO client.example") -> Talk:
    """Say EHLO and these lines to a server, and return what came of it behind EHLO, the same however it is cut."""
    data = "".join(f"{line}\r\n" for line in lines).encode("utf-8")
    results: list[Talk] = []
    for pieces in every_cut(data):
        conn = SMTPServerConnection(config)
        if tls:
            conn.tls_established(VERIFIED)
        talk(conn, [f"{ehlo}\r\n".encode()])
        results.append(talk(conn, pieces))
    assert all(result.lines == results[0].lines for result in results)
    assert all(result.output == results[0].output for result in results)
    return results[0]


def said(result: Talk) -> str:
    """Return what the server said, as text."""
    return result.output.decode("utf-8")


def offer_of(config: SMTPServerConfig, *, tls: bool = False) -> list[str]:
    """Return the lines of the reply to EHLO, without codes and without the first."""
    conn = SMTPServerConnection(config)
    if tls:
        conn.tls_established(VERIFIED)
    output = talk(conn, [b"EHLO client.example\r\n"]).output.decode("ascii")
    return [line[4:] for line in output.split("\r\n")[2:-1]]


def read_mail(extension: Extension, text: str) -> MailParameters:
    """Return what MAIL says with ``text`` behind the path."""
    return MailParameters(**collect(mail_parameters([extension]), split_parameters(f" {text}", 10)))


def read_rcpt(extension: Extension, text: str) -> RcptParameters:
    """Return what RCPT says with ``text`` behind the path."""
    return RcptParameters(**collect(rcpt_parameters([extension]), split_parameters(f" {text}", 10)))


def write_mail(extension: Extension, values: MailParameters) -> str:
    """Return what stands behind the path in MAIL."""
    return format_parameters(mail_parameters([extension]), values).removeprefix(" ")


def write_rcpt(extension: Extension, values: RcptParameters, *, utf8: bool = True) -> str:
    """Return what stands behind the path in RCPT."""
    return format_parameters(rcpt_parameters([extension]), values, utf8=utf8).removeprefix(" ")


def refuses_mail(extension: Extension, text: str) -> bool:
    """Say whether the grammar refuses a parameter of MAIL."""
    try:
        read_mail(extension, text)
    except GrammarError:
        return True
    return False


def refuses_rcpt(extension: Extension, text: str) -> bool:
    """Say whether the grammar refuses a parameter of RCPT."""
    try:
        read_rcpt(extension, text)
    except GrammarError:
        return True
    return False


def lines_sent(conn: SMTPClientConnection) -> list[str]:
    """Return the lines that a client says now."""
    return conn.data_to_send().decode("utf-8").split("\r\n")[:-1]
