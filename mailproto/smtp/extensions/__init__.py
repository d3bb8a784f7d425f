"""The extensions of SMTP, each a value in a module of its own; `frame` is what they are made of.

A server offers the `DEFAULT_EXTENSIONS` unless its config says otherwise. An extension that is only honest when the
application acts on it is off by default. A client knows all of them and uses what the server offers::

    server = SMTPServerConfig(extensions=(*DEFAULT_EXTENSIONS, DSN, deliver_by(240)))
    client = SMTPClientConfig(extensions=tuple(each for each in ALL_EXTENSIONS if each is not CHUNKING))

`mailproto.smtp.with_extensions` adds to what a config has. One of your own is a keyword, and perhaps parameters: how
their text is read, how it is written. Their values are in ``extra`` of the events, and of what a client sends::

    def parse_colour(text: str | None) -> str:
        if text not in ("red", "green"):
            raise GrammarError("not a colour")  # the client gets 501
        return text

    colour = Parameter("X-COLOUR", parse_colour, str)
    COLOUR = Extension("X-COLOUR", "ours", lambda standing: "red green", mail=(colour,))
    server = with_extensions(server, COLOUR)
    client = with_extensions(client, COLOUR)
    parameters = MailParameters(extra={"X-COLOUR": "red"})

It may have commands, too. A client that was offered the extension says them, and the hook ``on_command`` answers
(without one it is 502); on the other side `SMTPClient.command` says any of them::

    class Kitchen:
        def on_command(self, session, command):  # an `ExtensionCommand`
            if command.argument not in ("tea", "coffee"):
                raise Reject(504, "we have none", "5.5.4")
            return f"your {command.argument} is on its way"  # the client gets 250

    BREW = Extension("X-BREW", "ours", lambda standing: "", commands=("XBREW",))
    kitchen = with_extensions(SMTPServerConfig(), BREW)
    with sync.SMTPServer(Kitchen(), port=0, config=kitchen) as running:
        with sync.SMTPClient("127.0.0.1", running.port) as asking:
            reply = asking.command("XBREW", "tea")
"""

from mailproto.smtp.extensions.basic import (
    AUTH,
    BINARYMIME,
    CHUNKING,
    EIGHT_BIT_MIME,
    ENHANCED_STATUS_CODES,
    EXPN,
    HELP,
    PIPELINING,
    SIZE,
    SMTPUTF8,
    STARTTLS,
)
from mailproto.smtp.extensions.burl import BURL, burl
from mailproto.smtp.extensions.checkpoint import CHECKPOINT
from mailproto.smtp.extensions.conversion import CONNEG, CONPERM
from mailproto.smtp.extensions.deliverby import DELIVERBY, ByMode, DeliverBy, deliver_by
from mailproto.smtp.extensions.dsn import DSN, Notify, OriginalRecipient, Ret
from mailproto.smtp.extensions.edge import ETRN, XCLIENT, XFORWARD
from mailproto.smtp.extensions.frame import (
    Extension,
    Offered,
    Parameter,
    Settings,
    Standing,
    flag,
    mail_parameters,
    rcpt_parameters,
)
from mailproto.smtp.extensions.futurerelease import FUTURERELEASE, HoldFor, HoldUntil, future_release
from mailproto.smtp.extensions.limits import LIMITS, ServerLimits
from mailproto.smtp.extensions.prdr import PRDR
from mailproto.smtp.extensions.priority import MT_PRIORITY, mt_priority
from mailproto.smtp.extensions.requiretls import REQUIRETLS
from mailproto.smtp.extensions.rrvs import RRVS, NoSupport, RequireRecipientValidSince
from mailproto.smtp.extensions.solicit import NO_SOLICITING, no_soliciting
from mailproto.smtp.extensions.tracking import MTRK, Tracking

DEFAULT_EXTENSIONS: tuple[Extension, ...] = (
    PIPELINING,
    SIZE,
    EIGHT_BIT_MIME,
    SMTPUTF8,
    ENHANCED_STATUS_CODES,
    CHUNKING,
    STARTTLS,
    AUTH,
    LIMITS,
    HELP,
)
"""What a server offers unless told otherwise, in this order."""

OFF_BY_DEFAULT: tuple[Extension, ...] = (
    BINARYMIME,
    DSN,
    REQUIRETLS,
    DELIVERBY,
    FUTURERELEASE,
    MT_PRIORITY,
    RRVS,
    NO_SOLICITING,
    MTRK,
    CONPERM,
    CONNEG,
    CHECKPOINT,
    PRDR,
    BURL,
    EXPN,
    ETRN,
    XCLIENT,
    XFORWARD,
)
"""What a server may offer when its application acts on it; DELIVERBY, FUTURERELEASE, MT-PRIORITY, NO-SOLICITING
and BURL have something to tell, which `deliver_by`, `future_release`, `mt_priority`, `no_soliciting` and `burl` make
known."""

ALL_EXTENSIONS: tuple[Extension, ...] = DEFAULT_EXTENSIONS + OFF_BY_DEFAULT
"""What a client makes use of where a server offers it."""

__all__ = [
    "ALL_EXTENSIONS",
    "AUTH",
    "BINARYMIME",
    "BURL",
    "ByMode",
    "CHECKPOINT",
    "CHUNKING",
    "CONNEG",
    "CONPERM",
    "DEFAULT_EXTENSIONS",
    "DELIVERBY",
    "DSN",
    "DeliverBy",
    "EIGHT_BIT_MIME",
    "ENHANCED_STATUS_CODES",
    "ETRN",
    "EXPN",
    "Extension",
    "FUTURERELEASE",
    "HELP",
    "HoldFor",
    "HoldUntil",
    "LIMITS",
    "MTRK",
    "MT_PRIORITY",
    "NO_SOLICITING",
    "NoSupport",
    "Notify",
    "OFF_BY_DEFAULT",
    "Offered",
    "OriginalRecipient",
    "PIPELINING",
    "PRDR",
    "Parameter",
    "REQUIRETLS",
    "RRVS",
    "RequireRecipientValidSince",
    "Ret",
    "SIZE",
    "SMTPUTF8",
    "STARTTLS",
    "ServerLimits",
    "Settings",
    "Standing",
    "Tracking",
    "XCLIENT",
    "XFORWARD",
    "burl",
    "deliver_by",
    "flag",
    "future_release",
    "mail_parameters",
    "mt_priority",
    "no_soliciting",
    "rcpt_parameters",
]
