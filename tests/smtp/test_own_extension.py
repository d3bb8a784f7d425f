"""An extension of one's own: registered with both sides, with parameters of MAIL and of RCPT."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace
from typing import Any

import pytest

from mailproto import smtp, sync
from mailproto._core.policy import TLSPolicy
from mailproto.errors import GrammarError, NotSupportedError, Reject
from mailproto.smtp import (
    DEFAULT_EXTENSIONS,
    Extension,
    Mail,
    MailParameters,
    Parameter,
    Rcpt,
    RcptParameters,
    SMTPClientConfig,
    SMTPClientConnection,
    SMTPServerConfig,
    SMTPServerConnection,
    Standing,
    extensions,
)
from mailproto.smtp.flows.client import SessionOptions, open_session
from tests.helpers import talk
from tests.smtp import ADA, BOB, EHLO, MAIL, client, greeted, server
from tests.smtp.pipes import converse


def parse_colour(text: str | None) -> tuple[int, ...]:
    """``255/0/0``."""
    parts = (text or "").split("/")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise GrammarError("not a colour")
    return tuple(map(int, parts))


def format_colour(colour: tuple[int, ...]) -> str:
    return "/".join(map(str, colour))


def parse_flag(text: str | None) -> bool:
    if text is not None:
        raise GrammarError("no value")
    return True


COLOUR = Extension(
    "XCOLOUR",
    "of one's own",
    lambda standing: "RGB" if standing.authenticated or not standing.config.starttls else None,
    mail=(Parameter("XCOLOUR", parse_colour, format_colour),),
    rcpt=(Parameter("XSHADE", parse_colour, format_colour), Parameter("XDARK", parse_flag, lambda _: None)),
)
WITH_COLOUR = (*DEFAULT_EXTENSIONS, COLOUR)
WIRE = b"MAIL FROM:<ada@example.org> SIZE=5 XColour=255/0/16\r\nRCPT TO:<bob@example.org> xshade=1/2/3 XDARK\r\n"


def test_on_the_server() -> None:
    conn = server(extensions=WITH_COLOUR)
    assert b"XCOLOUR RGB\r\n" in talk(conn, [EHLO]).output
    mail, rcpt = talk(conn, [WIRE]).events
    assert mail == Mail(ADA, MailParameters(size=5, extra={"XCOLOUR": (255, 0, 16)}))
    assert rcpt == Rcpt(BOB, RcptParameters(extra={"XSHADE": (1, 2, 3), "XDARK": True}))


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"MAIL FROM:<a@b> XCOLOUR=red\r\n", b"501"),
        (b"MAIL FROM:<a@b> XCOLOUR\r\n", b"501"),
        (b"MAIL FROM:<a@b> XCOLOUR=1/2/3 XCOLOUR=1/2/3\r\n", b"501"),
        (b"MAIL FROM:<a@b> XSHADE=1/2/3\r\n", b"555"),
        (b"MAIL FROM:<a@b> XDARK\r\n", b"555"),
    ],
)
def test_what_its_parameters_do_not_allow(line: bytes, code: bytes) -> None:
    assert talk(greeted(extensions=WITH_COLOUR), [line]).replies == [code]


def test_what_is_not_registered_is_not_known() -> None:
    result = talk(greeted(), [WIRE])
    assert result.replies == [b"555", b"503"]


def test_an_offer_depends_on_what_the_client_has_reached() -> None:
    settings: dict[str, Any] = {"extensions": WITH_COLOUR, "starttls": True, "auth_mechanisms": ("PLAIN",)}
    conn = greeted(**settings, allow_plaintext_auth=True)
    assert talk(conn, [WIRE]).replies == [b"555", b"503"]
    result = talk(conn, [b"AUTH PLAIN AGEAYg==\r\n", EHLO, WIRE])
    assert b"XCOLOUR RGB" in result.output
    assert result.replies == [b"235", b"250", b"250", b"250"]
    seen: list[Standing] = []
    spy = replace(COLOUR, offer=lambda standing: seen.append(standing))
    talk(greeted(extensions=(spy,)), [MAIL])
    assert [(standing.secure, standing.authenticated) for standing in seen] == [(False, False)]


def test_on_the_client() -> None:
    conn = client("PIPELINING", "SIZE", "xcolour RGB", extensions=WITH_COLOUR)
    assert conn.extensions["XCOLOUR"] == "RGB"
    conn.mail(ADA, MailParameters(size=5, extra={"XCOLOUR": (255, 0, 16)}))
    conn.rcpt(BOB, RcptParameters(extra={"xshade": (1, 2, 3), "XDARK": True}))
    assert conn.data_to_send() == (
        b"MAIL FROM:<ada@example.org> SIZE=5 XCOLOUR=255/0/16\r\nRCPT TO:<bob@example.org> XSHADE=1/2/3 XDARK\r\n"
    )


def test_the_client_sends_it_only_where_it_is_offered() -> None:
    for conn in (client("PIPELINING", extensions=WITH_COLOUR), client("PIPELINING", "XCOLOUR RGB")):
        with pytest.raises((NotSupportedError, GrammarError)):
            conn.mail(ADA, MailParameters(extra={"XCOLOUR": (1, 2, 3)}))
        assert conn.data_to_send() == b""


def test_a_parser_of_ones_own_that_falls_over() -> None:
    """S86: a ValueError for what a peer sends is a 501, whoever wrote the parser."""
    clumsy = Extension("XN", "none", lambda _: "", mail=(Parameter("XN", lambda text: int(str(text)), str),))
    conn = greeted(extensions=(clumsy,))
    assert talk(conn, [b"MAIL FROM:<a@b> XN=many\r\n"]).replies == [b"501"]
    assert talk(conn, [b"MAIL FROM:<a@b> XN=7\r\n"]).replies == [b"250"]


def test_from_one_end_to_the_other() -> None:
    conn_side = server(extensions=WITH_COLOUR)
    seen: list[Any] = []

    def answer(said: bytes) -> bytes:
        result = talk(conn_side, [said] if said else [])
        seen.extend(event for event in result.events if isinstance(event, Mail | Rcpt))
        return result.output

    conn = SMTPClientConnection(SMTPClientConfig(extensions=WITH_COLOUR))
    driver, _ = converse(conn, open_session(conn, SessionOptions(tls=TLSPolicy.NONE)), answer)
    assert driver.error is None
    conn.mail(ADA, MailParameters(extra={"XCOLOUR": (9, 8, 7)}))
    conn.rcpt(BOB, RcptParameters(extra={"XSHADE": (1, 2, 3)}))
    answer(conn.data_to_send())
    assert [event.parameters.extra for event in seen] == [{"XCOLOUR": (9, 8, 7)}, {"XSHADE": (1, 2, 3)}]


@pytest.mark.parametrize("hostname", ["", "x y", "x\r\n", "a..b", "[1.2.3]", "grün.example"])
def test_a_server_has_a_name_that_can_be_said(hostname: str) -> None:
    """RFC 5321 section 4.2: the greeting and the reply to EHLO begin with it, in ASCII."""
    with pytest.raises(GrammarError):
        SMTPServerConfig(hostname=hostname)


def test_the_example_of_the_docs() -> None:
    """What `mailproto.smtp.extensions` tells to write works, on either side."""
    assert extensions.__doc__ is not None
    blocks = [textwrap.dedent(block) for block in re.findall(r"::\n\n((?:(?: {4}.*)?\n)+)", extensions.__doc__)]
    names: dict[str, Any] = {name: getattr(smtp, name) for name in smtp.__all__} | vars(extensions)
    names |= {"GrammarError": GrammarError, "Reject": Reject, "sync": sync}
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 3
    assert names["reply"] == smtp.Reply.build(250, "your tea is on its way", "2.0.0")
    conn = SMTPServerConnection(names["server"])
    offered = talk(conn, [EHLO]).output
    assert b"X-COLOUR red green\r\n" in offered
    assert b"DELIVERBY 240\r\n" in offered
    assert talk(conn, [b"MAIL FROM:<a@b> X-COLOUR=blue\r\n"]).replies == [b"501"]
    (mail,) = talk(conn, [b"MAIL FROM:<a@b> X-COLOUR=red\r\n"]).events
    assert mail.parameters == names["parameters"]
    asking = client("X-COLOUR red green", "PIPELINING", extensions=names["client"].extensions)
    asking.mail(ADA, names["parameters"])
    assert asking.data_to_send() == b"MAIL FROM:<ada@example.org> X-COLOUR=red\r\n"
