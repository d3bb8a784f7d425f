"""SMTP over blocking sockets: the client and the server."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Unpack

from mailproto._flows.endpoints import ask, need_credentials
from mailproto._net.client import takes
from mailproto._net.listener import Where
from mailproto._net.services import smtp_service
from mailproto._net.smtp_client import SMTPClientBase, SMTPReport
from mailproto.address import Address
from mailproto.errors import ConnectionClosedError
from mailproto.sasl.base import CredentialsSource, ServerMechanisms
from mailproto.sasl.choice import SERVER_MECHANISMS
from mailproto.smtp.config import SMTPServerConfig
from mailproto.smtp.events import ServerEvent
from mailproto.smtp.flows.client import log_in, request
from mailproto.smtp.flows.sending import raise_own, send_messages, send_one
from mailproto.smtp.flows.server import SMTPSession
from mailproto.smtp.messages.submission import MessageSource, Progress, RecipientLike, Submission, make_submission
from mailproto.smtp.parameters import MailParameters
from mailproto.smtp.reply import Reply
from mailproto.smtp.result import SendResult
from mailproto.sync.client import Client
from mailproto.sync.server import Events, Server


class SMTPClient(SMTPClientBase, Client):
    __doc__ = SMTPClientBase.__doc__

    def send_message(
        self,
        message: MessageSource,
        sender: str | Address | None = None,
        recipients: RecipientLike | Sequence[RecipientLike] | None = None,
        *,
        parameters: MailParameters | None = None,
        canonicalise: bool = False,
        downgrade: bool = False,
        progress: Progress | None = None,
    ) -> SendResult:
        """Send one message and return what became of it, for each recipient.

        Args:
            message: an ``email`` message, octets, a file or an iterable of octets.
            sender: the reverse-path, ``""`` the null one; None takes it from the message.
            recipients: the forward-paths, each an address, or a pair of one and its `RcptParameters`; None takes
                them from the message. One whom the server cannot be named so, as it does not offer SMTPUTF8 or
                DSN, say, is refused in the result, with the reason as its ``error``.
            parameters: what else MAIL is to say.
            canonicalise: make a CRLF of every bare CR and LF in octets, files and iterables; otherwise they are
                refused.
            downgrade: rewrite 8-bit content in 7 bits where the server takes nothing else, which changes the
                octets and breaks signatures; otherwise it is refused. An ``email`` message always is rewritten.
            progress: called for each piece that has left, with the octets so far and those of the whole message,
                None where that is not known. What it raises breaks the message off.

        Raises:
            GrammarError: an address is none, or the message has a bare CR or LF.
            NotSupportedError: the message needs what the server does not offer, or is larger than it takes.
            Exception: what the caller's file or iterable, or ``progress``, raised. Where one of these is raised,
                nobody has got the message.
        """
        submission = make_submission(
            message,
            sender,
            recipients,
            parameters=parameters,
            canonicalise=canonicalise,
            downgrade=downgrade,
            progress=progress,
        )
        return raise_own(self.run(send_one(self.conn, submission)))

    def send_messages(self, submissions: Iterable[Submission]) -> list[SendResult]:
        """Send several messages, each begun before the reply to the last one is there.

        Nothing is sent before ``submissions`` was read to its end; `mailproto.smtp.make_submission` makes them.

        Returns:
            A result for each, in their order. What `send_message` would raise is the ``error`` of its result here, or
            the cause of the `SourceError` that is. Behind a connection that breaks all are deferred.
        """
        return self.run(send_messages(self.conn, submissions))

    def quit(self) -> None:
        """Say goodbye, which is a courtesy that changes nothing, and close the connection."""
        with suppress(ConnectionClosedError):
            super().quit()

    def log_in(
        self, user: str | None = None, password: str | None = None, *, credentials: CredentialsSource | None = None
    ) -> None:
        """Authenticate as a user with a password, or with other ``credentials``.

        Raises:
            AuthenticationError: that does not succeed.
        """
        known = need_credentials(user, password, credentials)
        self.run(log_in(self.conn, known, self._options))

    def hello(self) -> Reply:
        """Say EHLO again, so that ``extensions`` are what the server offers now: to who has logged in it may be more.

        Nothing else needs it (RFC 4954 section 4 wants it behind a security layer, RFC 4468 section 3.1 has a use for
        it), and it costs a round trip, so that it is left to you.
        """
        return self.run(self._hello())

    def verify(self, text: str, *, smtputf8: bool = False) -> Reply:
        """Ask about an address with VRFY; most servers do not tell. ``smtputf8`` lets the reply be UTF-8."""
        return self.run(ask(self.conn, request, partial(self.conn.vrfy, text, smtputf8=smtputf8)))

    def expand(self, text: str, *, smtputf8: bool = False) -> Reply:
        """Ask who is on a list with EXPN; ``smtputf8`` lets the reply be UTF-8."""
        return self.run(ask(self.conn, request, partial(self.conn.expn, text, smtputf8=smtputf8)))

    def command(self, verb: str, argument: str = "") -> Reply:
        """Say a command that there is no method for, one of the server's own: ``command("XFOO", "argument")``.

        `mailproto.smtp.SMTPClientConnection.command` says which may be said.

        Raises:
            LocalProtocolError: there is a method for ``verb``.
            GrammarError: not a command that can be sent.
            NotSupportedError: ``argument`` is not ASCII, and the server takes only that.
        """
        return self.run(ask(self.conn, request, self.conn.command, verb, argument))

    def noop(self) -> Reply:
        """Do nothing, and see whether the server is still there."""
        return self.run(ask(self.conn, request, self.conn.noop))


@takes(SMTPClient)
def verify_smtp(*arguments: Any, **keywords: Any) -> SMTPReport:
    """See whether a server can be used: connect, secure the connection, log in, leave; return what it offers.

    The arguments are those of `SMTPClient`, and what is raised is what its ``connect`` raises.
    """
    with SMTPClient(*arguments, **keywords) as client:
        return client.report()


class SMTPEventSession(Events[ServerEvent], SMTPSession):
    """One SMTP client, as a handler over events sees it: ``for event in session``."""


class SMTPServer(Server):
    """Receives mail::

        with SMTPServer(Inbox(), port=8025) as server:
            server.serve_forever()

    Inside the ``with`` it serves already, in threads, and at its end it closes; `serve_forever` only waits.

    Args:
        handler: an object with hooks, which `mailproto.smtp.flows.server` lists, or a function over the
            events of a session.
        host: a name or an address to listen on, several of them, or None for all of the machine.
        port: 0 has the system choose one; see ``port``.
        config: how to behave where the RFCs leave the choice.
        tls: the server's certificate, for STARTTLS or implicit TLS.
        implicit_tls: begin with the handshake, as on port 465.
        mechanisms: the SASL mechanisms by name, of which the config's are offered, or those that
            `mailproto.sasl.default_mechanisms` finds if the config names none.
        spool_threshold: octets of a message that are kept in memory for ``on_message``; more go to a file.
        path: listen on a unix socket instead.
        sock: listen on this socket instead, which is bound already.
        options: how many connections, and the like: `ServerOptions`.

    Attributes:
        tls: may be replaced while the server runs, by a context with a new certificate; new connections take it.
    """

    def __init__(
        self,
        handler: object | Callable[[SMTPEventSession], None],
        host: str | Sequence[str] | None = "127.0.0.1",
        port: int = 8025,
        *,
        config: SMTPServerConfig | None = None,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        mechanisms: ServerMechanisms = SERVER_MECHANISMS,
        spool_threshold: int = 1 << 20,
        **where: Unpack[Where],
    ) -> None:
        service = smtp_service(handler, config, tls, implicit_tls, mechanisms, spool_threshold)
        super().__init__(service, SMTPEventSession, host, port, tls, **where)
