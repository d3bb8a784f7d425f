"""Every bound that a connection keeps, in one place, with its reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import SupportsIndex

from mailproto._core.checks import check_fields
from mailproto.errors import GrammarError


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of one connection. All sizes are in octets, all times in seconds.

    The defaults are meant to be kept: generous beside real mail, small beside a machine's memory.

    Args:
        max_line: a command line with its CRLF: the 512 of RFC 5321 section 4.5.3.1.4 plus every extension's
            parameters.
        max_reply_line: a reply line a client reads: servers exceed the 512 of the RFC, and a challenge of AUTH may be
            as long as this (RFC 4954 section 4).
        max_reply_lines: lines of one reply, with 512 octets one with another. More is no reply but an attack on
            memory.
        max_sasl_line: a line of an AUTH exchange (RFC 4954 section 4).
        max_body_line: a line of a message with its CRLF. None: no limit, for real mail passes 998 every day.
        max_hops: Received fields of a message; more is a loop (RFC 5321 section 6.3 wants at least 100 to be let
            pass).
        max_recipients: recipients of one transaction; RFC 5321 section 4.5.3.1.8 wants at least 100.
        max_recipient_domains: different domains of recipients on one connection, for servers that hand over to one
            place only (RFC 9422 section 4.3).
        max_transactions: messages of one connection; then 421.
        max_commands: commands of one connection; then 421.
        max_junk: commands that lead nowhere (NOOP, RSET, VRFY, EHLO again, those of extensions of your own in SMTP)
            between two messages; then 421.
        max_errors: commands in error of one connection; then 421 and good-bye.
        max_free_errors: so many of them that cost nothing.
        error_delay: seconds that each one beyond has the client wait until the next command is looked at.
        max_refused_recipients: recipients refused for good (5yz) by the application on one connection, beyond those
            that it takes messages for; then 421. Who guesses addresses knows no others. A mailing list knows more
            that are good; and if all its members have left, it hears that of so many at a time.
        max_auth_failures: refused attempts to log in; then good-bye.
        max_parameters: parameters of one MAIL or RCPT.
        max_keywords: EHLO keywords or capabilities that a client keeps.
        max_excess: octets of a message that are read and dropped after it was refused; then the connection closes.
        max_in_flight: commands a client sends ahead of their replies: both sides writing and nobody reading is a
            deadlock.
        max_unsent: replies that wait because the peer does not read; beyond it no more commands are looked at.
        max_listing: entries of a POP3 listing that a client keeps.
        max_retrieval: octets of a message that a POP3 client takes, whatever its size was said to be. A server that
            goes on will not end.
        auth_failure_delay: seconds that a server takes to refuse a login, times the number of refusals so far.
        min_data_rate: octets a second that a message has to come with, measured over ``data_timeout``.
        greeting_timeout: a client's wait for the greeting (RFC 5321 section 4.5.3.2.1).
        command_timeout: a client's wait for a reply, a server's for a command (sections 4.5.3.2.2 to 4.5.3.2.4 and
            4.5.3.2.7).
        data_timeout: the wait for a block of a message, or for the peer to take one (section 4.5.3.2.5).
        final_reply_timeout: a client's wait for the reply to a whole message (section 4.5.3.2.6).
        login_timeout: all that a server waits for a client until it has logged in, but for the TLS handshake, however
            much it says meanwhile; an SMTP server if it takes no mail without a login.
        session_timeout: a POP3 server's wait for a command after login: at least ten minutes (RFC 1939 section 3).
        handshake_timeout: a TLS handshake.
        proxy_timeout: a server's wait for the PROXY header of a load balancer, which is there at once or not at all.
        quit_timeout: a client's wait for the reply to QUIT, which changes nothing any more (SMTP).

    Raises:
        TypeError: what there is is no number.
        GrammarError: it is negative, or NaN.
    """

    max_line: int = 4096
    max_reply_line: int = 12288
    max_reply_lines: int = 128
    max_sasl_line: int = 12288
    max_body_line: int | None = None
    max_hops: int = 100
    max_recipients: int = 1000
    max_recipient_domains: int | None = None
    max_transactions: int = 1000
    max_commands: int = 100_000
    max_junk: int = 100
    max_errors: int = 20
    max_free_errors: int = 10
    error_delay: float = 1.0
    max_refused_recipients: int = 100
    max_auth_failures: int = 3
    max_parameters: int = 32
    max_keywords: int = 128
    max_excess: int = 64 << 20
    max_in_flight: int = 100
    max_unsent: int = 256 << 10
    max_listing: int = 1_000_000
    max_retrieval: int = 1 << 30
    auth_failure_delay: float = 2.0
    min_data_rate: int = 500

    greeting_timeout: float = 300.0
    command_timeout: float = 300.0
    data_timeout: float = 180.0
    final_reply_timeout: float = 600.0
    login_timeout: float = 120.0
    session_timeout: float = 600.0
    handshake_timeout: float = 30.0
    proxy_timeout: float = 5.0
    quit_timeout: float = 5.0

    def __post_init__(self) -> None:
        check_fields(self)

    def within(self, seconds: float) -> Limits:
        """Return these limits, with no wait of a client longer than ``seconds``.

        Raises:
            GrammarError: that is no time at all: it does not mean without end, as elsewhere it may.
            TypeError: it is no number.
        """
        if not isinstance(seconds, float | SupportsIndex):
            raise TypeError(f"a timeout is a number of seconds, not {seconds!r:.40}")
        if not seconds > 0:
            raise GrammarError(f"no time to wait for anything: {seconds} seconds")
        return replace(self, **{name: min(seconds, getattr(self, name)) for name in _CLIENT_WAITS})


_CLIENT_WAITS = (
    "greeting_timeout",
    "command_timeout",
    "data_timeout",
    "final_reply_timeout",
    "handshake_timeout",
    "quit_timeout",
)
