"""The frame: unknown parameters, extensions of one's own, and what every extension has to be."""

from __future__ import annotations

from typing import Any

import pytest

from mailproto import smtp, sync
from mailproto.errors import GrammarError, NotSupportedError, Reject
from mailproto.smtp import (
    ALL_EXTENSIONS,
    DEFAULT_EXTENSIONS,
    OFF_BY_DEFAULT,
    Extension,
    Limits,
    MailParameters,
    Parameter,
    RcptParameters,
    Reply,
    SMTPClientConfig,
    SMTPServerConfig,
    UnknownParameters,
    extensions,
    make_submission,
    with_extensions,
)
from mailproto.smtp.extensions import DELIVERBY, DSN, Settings, deliver_by, flag
from mailproto.smtp.extensions.frame import Offered
from tests.smtp import ADA, BOB, client
from tests.smtp_extensions import converse, lines_sent, offer_of, offering
from tests.smtp_extensions.wire import Wire


class TestUnknownParameters:
    def test_they_are_refused_with_555(self) -> None:
        """RFC 5321 section 4.1.1.11."""
        result = converse(offering(), "MAIL FROM:<a@b> X-FOO=1", "MAIL FROM:<a@b>", "RCPT TO:<c@d> X-FOO")
        assert result.replies == [b"555", b"250", b"555"]
        assert result.output.startswith(b"555 5.5.4 ")

    def test_they_are_passed_on_as_they_came_where_that_is_wanted(self) -> None:
        config = offering(unknown_parameters=UnknownParameters.PASS)
        result = converse(config, "MAIL FROM:<a@b> x-foo=+2Ba;B SIZE=10 Y", "RCPT TO:<c@d> NOTIFY=NEVER")
        assert result.events[0].parameters == MailParameters(size=10, extra={"X-FOO": "+2Ba;B", "Y": None})
        assert result.events[1].parameters == RcptParameters(extra={"NOTIFY": "NEVER"})
        assert result.replies == [b"250", b"250"]

    @pytest.mark.parametrize("text", ["X=", "X=a=b", "=1", "X-FOO=1 x-foo=2", "-X=1", "X  Y", " X"])
    def test_their_grammar_is_not_passed_over(self, text: str) -> None:
        config = offering(unknown_parameters=UnknownParameters.PASS)
        assert converse(config, f"MAIL FROM:<a@b> {text}").replies == [b"501"]

    def test_they_are_counted(self) -> None:
        config = offering(unknown_parameters=UnknownParameters.PASS, limits=Limits(max_parameters=2))
        result = converse(config, "MAIL FROM:<a@b> A B C", "MAIL FROM:<a@b> A B")
        assert result.replies == [b"501", b"250"]

    def test_behind_helo_there_are_none(self) -> None:
        config = offering(unknown_parameters=UnknownParameters.PASS)
        assert converse(config, "MAIL FROM:<a@b> X=1", ehlo="HELO client.example").replies == [b"555"]


def _parse_colour(text: str | None) -> str:
    if text not in ("RED", "GREEN", "BLUE"):
        raise GrammarError("not a colour")
    return text


def _check_colour(config: Settings, colour: str) -> Reply | None:
    return Reply.build(504, "No blue today", "5.5.4") if colour == "BLUE" and not config.starttls else None


def _fit_colour(offered: Offered, colour: str) -> None:
    if colour not in offered.argument.split(" "):
        raise NotSupportedError(f"the server has no {colour}")


COLOUR = Extension(
    "X-COLOUR",
    "of our own",
    lambda standing: "RED GREEN BLUE" if standing.config.starttls else "RED GREEN",
    mail=(Parameter("X-COLOUR", _parse_colour, str, check=_check_colour, fit=_fit_colour),),
    rcpt=(Parameter("X-SHADE", lambda text: text, lambda shade: shade, format_ascii=ascii),),
)


class TestAnExtensionOfOnesOwn:
    def test_a_server_offers_it_as_things_stand(self) -> None:
        assert "X-COLOUR RED GREEN" in offer_of(offering(COLOUR))
        assert "X-COLOUR RED GREEN BLUE" in offer_of(offering(COLOUR, starttls=True))

    def test_a_server_reads_its_values_into_extra(self) -> None:
        result = converse(offering(COLOUR), "MAIL FROM:<a@b> x-colour=GREEN", "RCPT TO:<c@d> X-SHADE=dark")
        assert result.events[0].parameters.extra == {"X-COLOUR": "GREEN"}
        assert result.events[1].parameters.extra == {"X-SHADE": "dark"}

    def test_a_server_refuses_what_is_wrong_and_what_it_cannot_honour(self) -> None:
        result = converse(offering(COLOUR), "MAIL FROM:<a@b> X-COLOUR=PINK", "MAIL FROM:<a@b> X-COLOUR=BLUE")
        assert result.replies == [b"501", b"504"]
        assert converse(offering(COLOUR, starttls=True), "MAIL FROM:<a@b> X-COLOUR=BLUE").replies == [b"250"]

    def make_client(self, *keywords: str) -> Any:
        return client(*keywords, extensions=(*ALL_EXTENSIONS, COLOUR))

    def test_a_client_writes_it_to_a_server_that_it_suits(self) -> None:
        conn = self.make_client("X-COLOUR RED GREEN", "PIPELINING")
        with pytest.raises(NotSupportedError, match="no BLUE"):
            conn.mail(ADA, MailParameters(extra={"X-COLOUR": "BLUE"}))
        conn.mail(ADA, MailParameters(extra={"x-colour": "RED"}))
        conn.rcpt(BOB, RcptParameters(extra={"X-SHADE": "dark"}))
        assert lines_sent(conn) == [
            "MAIL FROM:<ada@example.org> X-COLOUR=RED",
            "RCPT TO:<bob@example.org> X-SHADE='dark'",
        ]

    def test_a_client_writes_it_to_no_other(self) -> None:
        with pytest.raises(NotSupportedError):
            self.make_client("SIZE").mail(ADA, MailParameters(extra={"X-COLOUR": "RED"}))
        with pytest.raises(NotSupportedError):
            client("X-COLOUR RED").mail(ADA, MailParameters(extra={"X-COLOUR": "RED"}))

    @pytest.mark.parametrize("shade", ["", "a b", "a=b", "a\r\nb", "\x00", "\u2028", "ü"])
    def test_nothing_is_smuggled_in_a_value(self, shade: str) -> None:
        parameter = Parameter("X-SHADE", lambda text: text, lambda value: value)
        conn = client("X-SHADE", extensions=(Extension("X-SHADE", "", lambda _: "", rcpt=(parameter,)),))
        conn.mail(ADA)
        with pytest.raises(GrammarError):
            conn.rcpt(BOB, RcptParameters(extra={"X-SHADE": shade}))

    def test_both_forms_of_a_value_have_to_fit(self) -> None:
        def fit(_: Offered, value: str) -> None:
            raise NotSupportedError(value)

        parameter = Parameter("X", lambda text: text, str, format_ascii=str, fit=fit)
        extension = Extension("X", "", lambda _: "", mail=(parameter,))
        for smtputf8 in (False, True):
            conn = client("X", "SMTPUTF8", extensions=(*ALL_EXTENSIONS, extension))
            with pytest.raises(NotSupportedError, match="v"):
                conn.mail(ADA, MailParameters(smtputf8=smtputf8, extra={"X": "v"}))

    def test_a_flag_has_no_value(self) -> None:
        extension = Extension("X-URGENT", "", lambda _: "", mail=(flag("X-URGENT", "urgent"),))
        assert converse(offering(extension), "MAIL FROM:<a@b> X-URGENT=1").replies == [b"501"]


class TestTheDocumentation:
    def test_its_examples_do_what_they_say(self) -> None:
        errors_and_sync = {"GrammarError": GrammarError, "Reject": Reject, "sync": sync}
        names: dict[str, Any] = vars(smtp) | vars(extensions) | errors_and_sync
        lines = (extensions.__doc__ or "").split("\n")
        exec("\n".join(line[4:] for line in lines if line.startswith("    ") or not line), names)
        assert {"DSN", "DELIVERBY 240", "X-COLOUR red green"} <= set(offer_of(names["server"]))
        wire = Wire(names["server"], names["client"])
        assert wire.send(make_submission(b"x\r\n", "a@b", "c@d", parameters=names["parameters"])).ok
        assert wire.said("MAIL") == ["FROM:<a@b> SIZE=3 X-COLOUR=red"]
        assert converse(names["server"], "MAIL FROM:<a@b> X-COLOUR=blue").replies == [b"501"]
        assert not wire.client.uses("CHUNKING")


class TestWithExtensions:
    def test_they_are_added(self) -> None:
        config = with_extensions(SMTPServerConfig(hostname="mx.example.org"), DSN, COLOUR)
        assert config.extensions == (*DEFAULT_EXTENSIONS, DSN, COLOUR)
        assert config.hostname == "mx.example.org"

    def test_one_with_the_same_keyword_takes_the_place(self) -> None:
        minimum = deliver_by(240)
        config = with_extensions(SMTPServerConfig(extensions=(DELIVERBY, DSN)), minimum)
        assert config.extensions == (minimum, DSN)

    def test_a_client_has_them_too(self) -> None:
        assert with_extensions(SMTPClientConfig(), COLOUR).extensions == (*ALL_EXTENSIONS, COLOUR)


class TestTheWholeSet:
    def test_a_client_knows_all_and_a_server_offers_what_is_honest(self) -> None:
        assert SMTPClientConfig().extensions == ALL_EXTENSIONS == DEFAULT_EXTENSIONS + OFF_BY_DEFAULT
        assert SMTPServerConfig().extensions == DEFAULT_EXTENSIONS

    def test_no_keyword_and_no_parameter_is_there_twice(self) -> None:
        keywords = [extension.keyword for extension in ALL_EXTENSIONS]
        assert len(set(keywords)) == len(keywords)
        for parameters in ([p for e in ALL_EXTENSIONS for p in e.mail], [p for e in ALL_EXTENSIONS for p in e.rcpt]):
            by_identity = {id(parameter): parameter for parameter in parameters}  # 8BITMIME and BINARYMIME share BODY
            names = [parameter.keyword for parameter in by_identity.values()]
            assert len(set(names)) == len(names)

    @pytest.mark.parametrize("extension", ALL_EXTENSIONS, ids=lambda extension: extension.keyword)
    def test_every_field_is_one(self, extension: Extension) -> None:
        for parameter in extension.mail:
            assert parameter.field in MailParameters.__slots__
        for parameter in extension.rcpt:
            assert parameter.field in RcptParameters.__slots__

    def test_every_field_belongs_to_an_extension(self) -> None:
        mail = {parameter.field for extension in ALL_EXTENSIONS for parameter in extension.mail}
        assert mail | {"extra"} == set(MailParameters.__slots__)
        rcpt = {parameter.field for extension in ALL_EXTENSIONS for parameter in extension.rcpt}
        assert rcpt | {"extra"} == set(RcptParameters.__slots__)

    def test_values_that_say_nothing_are_not_written(self) -> None:
        conn = client()
        conn.mail(ADA, MailParameters())
        assert lines_sent(conn) == ["MAIL FROM:<ada@example.org>"]
