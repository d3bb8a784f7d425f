"""The real servers, each started once for all tests that want it."""

from collections.abc import Iterator

import pytest

from tests.interop.courier import Courier, running_courier
from tests.interop.dovecot import Dovecot, Mailbox, running_dovecot
from tests.interop.exim import Exim, running_exim
from tests.interop.postfix import Postfix, running_postfix


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
