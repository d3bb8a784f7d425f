"""What a server has offered a client in its reply to EHLO, and what MAIL and RCPT may say because of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mailproto.errors import GrammarError
from mailproto.smtp import replies
from mailproto.smtp.config import SMTPServerConfig
from mailproto.smtp.extensions import BINARYMIME, Standing, mail_parameters, rcpt_parameters
from mailproto.smtp.parameters import Body, MailParameters, Parameter, RcptParameters, collect, split_parameters
from mailproto.smtp.reply import Reply

_NO_MAIL_PARAMETERS = MailParameters()
_NO_RCPT_PARAMETERS = RcptParameters()


class Offer:
    """The extensions in force on one connection: none before EHLO, none after HELO."""

    __slots__ = ("_config", "_mail", "_rcpt")

    def __init__(self, config: SMTPServerConfig) -> None:
        self._config = config
        self._mail: dict[str, Parameter] = {}
        self._rcpt: dict[str, Parameter] = {}

    def make(self, standing: Standing) -> list[str]:
        """Decide what is offered to a client of this standing; return the lines of the reply to EHLO."""
        arguments = {extension: extension.offer(standing) for extension in self._config.extensions}
        offered = [extension for extension, argument in arguments.items() if argument is not None]
        self._mail, self._rcpt = mail_parameters(offered), rcpt_parameters(offered)
        return [f"{extension.keyword} {arguments[extension]}".rstrip(" ") for extension in offered]

    def mail_values(self, text: str) -> MailParameters | Reply:
        """Return what the parameters of a MAIL say, or the reply that refuses them.

        Raises:
            GrammarError: they break the grammar of their RFCs.
        """
        if not text:
            return _NO_MAIL_PARAMETERS
        found = split_parameters(text, self._config.limits.max_parameters)
        if not found.keys() <= self._mail.keys():
            return replies.UNKNOWN_PARAMETER
        values = MailParameters(**collect(self._mail, found))
        if values.body is Body.BINARY_MIME and BINARYMIME not in self._config.extensions:
            raise GrammarError("BINARYMIME is not offered")
        return self._refusal(self._mail, found, values) or values

    def rcpt_values(self, text: str) -> RcptParameters | Reply:
        """Return what the parameters of a RCPT say, or the reply that refuses them.

        Raises:
            GrammarError: they break the grammar of their RFCs.
        """
        if not text:
            return _NO_RCPT_PARAMETERS
        found = split_parameters(text, self._config.limits.max_parameters)
        if not found.keys() <= self._rcpt.keys():
            return replies.UNKNOWN_PARAMETER
        values = RcptParameters(**collect(self._rcpt, found))
        return self._refusal(self._rcpt, found, values) or values

    def _refusal(
        self, known: Mapping[str, Parameter], found: Iterable[str], values: MailParameters | RcptParameters
    ) -> Reply | None:
        """Return the reply to values that are right but cannot be honoured, None if all can."""
        for keyword in found:
            parameter = known[keyword]
            value = getattr(values, parameter.field) if parameter.field else values.extra[keyword]
            reply = parameter.check(self._config, value)
            if reply is not None:
                return reply
        return None
