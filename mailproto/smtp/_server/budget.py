"""What one client may cost a server: commands, errors, messages, logins, each counted against its limit.

A method that counts returns None, or the 421 to hang up with once the limit is passed.
"""

from __future__ import annotations

from mailproto._core.limits import Limits
from mailproto.smtp._server import replies
from mailproto.smtp.reply import Reply
from mailproto.smtp.rules import JUNK


class Budget:
    """The counts of one connection. STARTTLS does not reset them.

    Attributes:
        errors: commands that were refused without asking anybody.
    """

    __slots__ = (
        "_auth_failures",
        "_commands",
        "_domains",
        "_junk",
        "_limits",
        "_messages",
        "_recipients",
        "_refused",
        "errors",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._commands = self._junk = self.errors = self._messages = self._auth_failures = 0
        self._recipients = self._refused = 0
        self._domains: set[str] = set()

    def count_command(self, verb: str) -> Reply | None:
        """Count a command; one that leads nowhere counts twice, against two limits."""
        self._commands += 1
        if self._commands > self._limits.max_commands:
            return replies.TOO_MANY_COMMANDS
        return self.count_junk() if verb in JUNK else None

    def count_junk(self) -> Reply | None:
        """Count what leads nowhere."""
        self._junk += 1
        return replies.TOO_MANY_COMMANDS if self._junk > self._limits.max_junk else None

    def count_error(self) -> Reply | None:
        """Count a command that was refused without asking anybody."""
        self.errors += 1
        return replies.TOO_MANY_ERRORS if self.errors > self._limits.max_errors else None

    def count_refused_recipient(self, accepted: int) -> Reply | None:
        """Count a recipient that was refused for good, in a transaction that has so many ``accepted`` ones.

        Only those of messages that came make up for others: to name somebody and send him nothing costs nothing.
        """
        self._refused += 1
        excess = self._refused - self._recipients - accepted
        return replies.TOO_MANY_STRANGERS if excess > self._limits.max_refused_recipients else None

    def count_message(self, recipients: int) -> None:
        """Count a message to so many recipients, whatever became of it; the client does something useful, so junk
        counts anew."""
        self._messages += 1
        self._recipients += recipients
        self._junk = 0

    def count_domain(self, domain: str) -> Reply | None:
        """Count the domain of a recipient, if it is a new one."""
        limit = self._limits.max_recipient_domains
        if limit is None or domain in self._domains:
            return None
        if len(self._domains) >= limit:
            return replies.TOO_MANY_DOMAINS
        self._domains.add(domain)
        return None

    def count_auth_failure(self) -> None:
        """Count a refused login."""
        self._auth_failures += 1

    def check_transaction(self) -> Reply | None:
        """Return None while another message may come."""
        return replies.TOO_MANY_TRANSACTIONS if self._messages >= self._limits.max_transactions else None

    def check_login(self) -> Reply | None:
        """Return None while another login may be tried. Checked before the password is, so no guess slips in."""
        return replies.TOO_MANY_LOGINS if self._auth_failures >= self._limits.max_auth_failures else None
