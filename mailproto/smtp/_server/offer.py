"""What a server has offered a client in its reply to EHLO, and what MAIL and RCPT may say because of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from mailproto.errors import GrammarError
from mailproto.smtp._server import replies
from mailproto.smtp.config import SMTPServerConfig, UnknownParameters
from mailproto.smtp.extensions import BINARYMIME, SMTPUTF8, Extension, Standing, mail_parameters, rcpt_parameters
from mailproto.smtp.parameters import (
    NO_MAIL_PARAMETERS,
    NO_RCPT_PARAMETERS,
    Body,
    MailParameters,
    Parameter,
    RcptParameters,
    Submitter,
    collect,
    split_parameters,
)
from mailproto.smtp.reply import Reply


class Offer:
    """The extensions in force on one connection: none before EHLO, none after HELO."""

    __slots__ = ("_config", "_keywords", "_mail", "_passes", "_rcpt")

    def __init__(self, config: SMTPServerConfig) -> None:
        self._config = config
        self._keywords: frozenset[str] = frozenset()
        self._mail: dict[str, Parameter] = {}
        self._rcpt: dict[str, Parameter] = {}
        self._passes = False

    def make(self, standing: Standing) -> list[str]:
        """Decide what is offered to a client of this standing; return the lines of the reply to EHLO."""
        offered: list[Extension] = []
        lines: list[str] = []
        for extension in self._config.extensions:
            argument = extension.offer(standing)
            if argument is not None:
                offered.append(extension)
                lines.append(f"{extension.keyword} {argument}" if argument else extension.keyword)
        self._keywords = frozenset(extension.keyword for extension in offered)
        self._mail, self._rcpt = mail_parameters(offered), rcpt_parameters(offered)
        self._passes = self._config.unknown_parameters is UnknownParameters.PASS
        return lines

    def offers(self, extension: Extension) -> bool:
        """Say whether an extension, or another one with its keyword, is in force."""
        return extension.keyword in self._keywords

    def offers_command(self, verb: str) -> bool:
        """Say whether one of the extensions in force has this command."""
        return any(verb in extension.commands for extension in self._config.extensions if self.offers(extension))

    def mail_values(self, text: str, *, authenticated: bool = False) -> MailParameters | Reply:
        """Return what the parameters of a MAIL say, or the reply that refuses them.

        Args:
            authenticated: whether the client is. Of one that is not nothing in AUTH= is believed (RFC 4954
                section 5).

        Raises:
            GrammarError: they break the grammar of their RFCs.
        """
        if not text:
            return NO_MAIL_PARAMETERS
        found = self._split(text)
        if not (self._passes or found.keys() <= self._mail.keys()):
            return replies.UNKNOWN_PARAMETER
        values = MailParameters(**collect(self._mail, found))
        if values.body is Body.BINARY_MIME and not self.offers(BINARYMIME):
            raise GrammarError("BINARYMIME is not offered")
        if values.auth is not None and not authenticated:
            values = replace(values, auth=Submitter.UNKNOWN)
        return self._refusal(self._mail, found, values) or values

    def rcpt_values(self, text: str) -> RcptParameters | Reply:
        """Return what the parameters of a RCPT say, or the reply that refuses them.

        Raises:
            GrammarError: they break the grammar of their RFCs.
        """
        if not text:
            return NO_RCPT_PARAMETERS
        found = self._split(text)
        if not (self._passes or found.keys() <= self._rcpt.keys()):
            return replies.UNKNOWN_PARAMETER
        values = RcptParameters(**collect(self._rcpt, found))
        return self._refusal(self._rcpt, found, values) or values

    def _split(self, text: str) -> dict[str, str | None]:
        if not text.isascii() and not self.offers(SMTPUTF8):
            raise GrammarError("SMTPUTF8 is not offered")
        return split_parameters(text, self._config.limits.max_parameters)

    def _refusal(
        self, known: Mapping[str, Parameter], found: Iterable[str], values: MailParameters | RcptParameters
    ) -> Reply | None:
        """Return the reply to values that are right but cannot be honoured, None if all can."""
        for keyword in found:
            parameter = known.get(keyword)
            if parameter is None or parameter.check is None:
                continue
            value = getattr(values, parameter.field) if parameter.field else values.extra[keyword]
            reply = parameter.check(self._config, value)
            if reply is not None:
                return reply
        return None
