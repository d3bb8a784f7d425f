"""The real servers, each started once for all tests that want it, and a mailbox that they share with ours."""

from collections.abc import Generator, Iterator

import pytest

from mailproto.maildrop import Maildir
from mailproto.mailhost import MailHost
from tests.interop.courier import Courier, running_courier
from tests.interop.dovecot import PASSWORD, Dovecot, Mailbox, running_dovecot
from tests.interop.exim import Exim, running_exim
from tests.interop.postfix import Postfix, running_postfix
from tests.interop.programs import Daemon, acting_as
from tests.interop.servers import pop3_server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Show with a failure what each server has logged during the test."""
    before = [(daemon, len(daemon.log())) for daemon in Daemon.running]
    try:
        yield
    except BaseException:
        for daemon, length in before:
            item.add_report_section("call", f"log of {daemon.name}", daemon.log()[length:])
        raise


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    """A Dovecot that serves POP3 and LMTP."""
    with running_dovecot() as dovecot:
        yield dovecot


@pytest.fixture(scope="session")
def postfix(dovecot: Dovecot) -> Iterator[Postfix]:
    """A Postfix that delivers to Dovecot's mailboxes and relays to our servers."""
    with running_postfix(dovecot) as postfix:
        yield postfix


@pytest.fixture(scope="session")
def exim(dovecot: Dovecot) -> Iterator[Exim]:
    """An Exim that delivers to Dovecot's mailboxes and relays to our servers."""
    with running_exim(dovecot) as exim:
        yield exim


@pytest.fixture(scope="session")
def courier(dovecot: Dovecot) -> Iterator[Courier]:
    """A Courier that serves Dovecot's mailboxes over POP3."""
    with running_courier(dovecot) as courier:
        yield courier


@pytest.fixture
def mailbox(dovecot: Dovecot) -> Mailbox:
    """An empty mailbox of Dovecot's that no other test uses."""
    return dovecot.mailbox()


@pytest.fixture
def maildir(dovecot: Dovecot, mailbox: Mailbox) -> Iterator[Maildir]:
    """Our view of the mailbox."""
    with acting_as(dovecot.owner):
        yield Maildir(mailbox.maildir)


@pytest.fixture
def ours(mailbox: Mailbox, maildir: Maildir) -> Iterator[int]:
    """The port of our POP3 server over the mailbox."""
    with pop3_server("sync", MailHost(lambda user: maildir, {mailbox.name: PASSWORD})) as port:
        yield port
