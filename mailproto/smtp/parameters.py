"""The parameters of MAIL and RCPT, typed, and how all of them are read and written (RFC 5321 section 4.1.2).

Each parameter belongs to an extension (`mailproto.smtp.extensions`), which knows what its value looks like. Those
that the library knows have a field of their own in `MailParameters` or `RcptParameters`; those that an application
registers land in ``extra``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Literal, TypedDict

from mailproto._core.codec import UNSAFE
from mailproto.address import Address
from mailproto.errors import GrammarError, NotSupportedError
from mailproto.smtp.extensions import ALL_EXTENSIONS
from mailproto.smtp.extensions.basic import Body, Submitter
from mailproto.smtp.extensions.deliverby import DeliverBy
from mailproto.smtp.extensions.dsn import Notify, OriginalRecipient, Ret
from mailproto.smtp.extensions.frame import Parameter
from mailproto.smtp.extensions.futurerelease import HoldFor, HoldUntil
from mailproto.smtp.extensions.rrvs import RequireRecipientValidSince
from mailproto.smtp.extensions.tracking import Tracking

_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_VALUE = re.compile(rf"[^{UNSAFE} =]+")

__all__ = [
    "Body",
    "MailParameters",
    "NO_MAIL_PARAMETERS",
    "NO_RCPT_PARAMETERS",
    "Needed",
    "Parameter",
    "RcptParameters",
    "Submitter",
    "collect",
    "format_fields",
    "format_parameters",
    "given",
    "split_parameters",
]


def _show(parameters: MailParameters | RcptParameters) -> str:
    """Return a ``repr`` of what is given: there are many parameters, and most messages come without."""
    said = {**given(parameters), "extra": parameters.extra} if parameters.extra else given(parameters)
    return f"{type(parameters).__name__}({', '.join(f'{name}={value!r}' for name, value in said.items())})"


@dataclass(frozen=True, slots=True, repr=False)
class MailParameters:
    """What a client says of a message as a whole, in MAIL.

    Args:
        size: octets, with CRLF line ends and without stuffed dots (RFC 1870 section 5).
        body: what the message is made of (RFC 6152, RFC 3030).
        smtputf8: whether an address or a header field is not ASCII (RFC 6531 section 3.4).
        auth: who submitted the message (RFC 4954 section 5). On a server it is `Submitter.UNKNOWN`, whatever the
            client said, unless the client has authenticated; even then it is for you to trust.
        ret: how much of it a notice of failure is to return (RFC 3461 section 4.3).
        envid: what its notices are to call it, printable ASCII (RFC 3461 section 4.4).
        requiretls: whether it travels over TLS or not at all (RFC 8689).
        deliver_by: when it is late (RFC 2852).
        hold: when the server is to release it (RFC 4865).
        mt_priority: from -9 to 9, the higher the sooner (RFC 6710).
        solicit: the classes of solicitation it belongs to (RFC 3865).
        mtrk: what a later question about it has to match (RFC 3885).
        conperm: whether its content may be converted (RFC 4141).
        prdr: whether the message may get a reply for each recipient (draft-hall-prdr-00).
        transid: a name under which the transaction could be resumed (RFC 1845).
        extra: what extensions of your own added, by keyword.

    Raises:
        GrammarError: it would be held until it is late (RFC 4865 section 5.2).
    """

    size: int | None = None
    body: Body | None = None
    smtputf8: bool = False
    auth: Address | Submitter | None = None
    ret: Ret | None = None
    envid: str | None = None
    requiretls: bool = False
    deliver_by: DeliverBy | None = None
    hold: HoldFor | HoldUntil | None = None
    mt_priority: int | None = None
    solicit: tuple[str, ...] | None = None
    mtrk: Tracking | None = None
    conperm: bool = False
    prdr: bool = False
    transid: str | None = None
    extra: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # HoldUntil names a moment, which cannot be compared without a clock.
        if isinstance(self.hold, HoldFor) and self.deliver_by and self.hold.seconds > self.deliver_by.seconds:
            raise GrammarError("the message would be held until it is late")

    def __repr__(self) -> str:
        return _show(self)


@dataclass(frozen=True, slots=True, repr=False)
class RcptParameters:
    """What a client says of one recipient, in RCPT.

    Args:
        notify: when the sender wants to hear of this recipient: some of `Notify`, or `Notify.NEVER` alone
            (RFC 3461 section 4.1). None leaves it to the server.
        orcpt: whom the sender meant, before aliases and lists (RFC 3461 section 4.2, RFC 6533).
        rrvs: since when the mailbox must have had the same owner (RFC 7293).
        conneg: whether the reply is to say what the recipient can show (RFC 4141).
        extra: what extensions of your own added, by keyword.
    """

    notify: frozenset[Notify] | None = None
    orcpt: OriginalRecipient | None = None
    rrvs: RequireRecipientValidSince | None = None
    conneg: bool = False
    extra: Mapping[str, object] = field(default_factory=dict)

    def __repr__(self) -> str:
        return _show(self)


NO_MAIL_PARAMETERS = MailParameters()
NO_RCPT_PARAMETERS = RcptParameters()


class Needed(TypedDict, total=False):
    """The fields of `MailParameters` that a message may need by itself, whatever else is said of it."""

    size: int
    body: Body
    smtputf8: Literal[True]
    prdr: Literal[True]


def split_parameters(text: str, max_parameters: int) -> dict[str, str | None]:
    """Return keyword (in upper case) to value for what follows a path: nothing, or `` KEY=value KEY2``.

    Raises:
        GrammarError: not Mail-parameters of RFC 5321 section 4.1.2, one stands there twice, or too many.
    """
    if not text:
        return {}
    words = text.split(" ")
    if words[0] or len(words) - 1 > max_parameters:
        raise GrammarError("not a list of parameters")
    found: dict[str, str | None] = {}
    for word in words[1:]:
        keyword, equals, value = word.partition("=")
        if not _KEYWORD.fullmatch(keyword) or (equals and not _VALUE.fullmatch(value)):
            raise GrammarError("not a parameter")
        key = keyword.upper()
        if key in found:
            raise GrammarError(f"{key} stands there twice")
        found[key] = value if equals else None
    return found


def collect(known: Mapping[str, Parameter], found: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the arguments for `MailParameters` or `RcptParameters` that the parameters ``found`` stand for.

    What nobody knows goes into ``extra`` as it came.

    Raises:
        GrammarError: a value is not what its parameter allows, or two of them exclude each other.
    """
    arguments: dict[str, Any] = {}
    extra: dict[str, object] = {}
    for keyword, text in found.items():
        parameter = known.get(keyword)
        if parameter is None:
            extra[keyword] = text
        elif parameter.field is None:
            extra[keyword] = _parse(parameter, text)
        elif parameter.field in arguments:
            raise GrammarError(f"{keyword} and another parameter exclude each other")
        else:
            arguments[parameter.field] = _parse(parameter, text)
    if extra:
        arguments["extra"] = extra
    return arguments


def _parse(parameter: Parameter, text: str | None) -> Any:
    try:
        return parameter.parse(text)
    except ValueError as error:  # a GrammarError, or what a parser of an application's own falls over
        raise GrammarError(f"not a value for {parameter.keyword}") from error


def given(values: MailParameters | RcptParameters) -> dict[str, Any]:
    """Return the fields that say something, by name, but for ``extra``. Most say nothing."""
    if values is NO_MAIL_PARAMETERS or values is NO_RCPT_PARAMETERS:
        return {}
    names, get = _FIELDS[type(values)]
    said = zip(names, get(values), strict=True)
    return {name: value for name, value in said if value is not None and value is not False}


def format_parameters(
    known: Mapping[str, Parameter], values: MailParameters | RcptParameters, *, utf8: bool = True
) -> str:
    """Return what follows the path for these values: ``""``, or a space and the parameters.

    Raises as `format_fields` does, where the arguments are explained.
    """
    return format_fields(known, given(values), values.extra, utf8=utf8)


def format_fields(
    known: Mapping[str, Parameter], said: Mapping[str, object], extra: Mapping[str, object], *, utf8: bool
) -> str:
    """Return what follows the path for these fields of `MailParameters` or `RcptParameters`.

    Args:
        known: the parameters that may be written, by keyword.
        said: the values by the name of the field, but for ``extra``.
        utf8: whether the message is sent with SMTPUTF8, so that values may be.

    Raises:
        GrammarError: a value cannot be written.
        NotSupportedError: no extension in use has such a parameter.
    """
    text = ""
    for name, value in said.items():
        own = (each for each in known.values() if each.field == name and isinstance(value, each.kind))
        text += _format_one(next(own, None), name, value, utf8)
    for name, value in extra.items():
        text += _format_one(known.get(name.upper()), name, value, utf8)
    return text


def _fields(kind: type) -> tuple[tuple[str, ...], Callable[[object], tuple[object, ...]]]:
    """Return the names of the fields that the library knows, and what gets their values."""
    names = tuple(entry.name for entry in fields(kind) if entry.name != "extra")
    return names, attrgetter(*names)


_FIELDS = {kind: _fields(kind) for kind in (MailParameters, RcptParameters)}


def _unsupported(name: str) -> str:
    """Say what is missing for a value that cannot be written: mostly the extension that the server does not offer."""
    for extension in ALL_EXTENSIONS:
        if any(parameter.field == name for parameter in (*extension.mail, *extension.rcpt)):
            return f"{name!r} needs {extension.keyword}, which the server does not offer, or the config does not have"
    return f"no extension in use has a parameter for {name!a:.40}"


def _format_one(parameter: Parameter | None, name: str, value: object, utf8: bool) -> str:
    if parameter is None:
        raise NotSupportedError(_unsupported(name))
    write = parameter.format if utf8 or parameter.format_ascii is None else parameter.format_ascii
    text = write(value)
    if text is None:
        return f" {parameter.keyword}"
    if not _VALUE.fullmatch(text) or not (utf8 or text.isascii()):
        raise GrammarError(f"not a value for {parameter.keyword}")
    return f" {parameter.keyword}={text}"
