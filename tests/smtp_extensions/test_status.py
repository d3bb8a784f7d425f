"""The registry of enhanced status codes (RFC 5248)."""

from __future__ import annotations

import pytest

from mailproto.errors import GrammarError
from mailproto.smtp import EnhancedStatus, Reply, describe
from mailproto.smtp.status import agrees


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("5.1.1", "Bad destination mailbox address"),  # RFC 3463
        ("2.1.9", "Message relayed to non-compliant mailer"),  # RFC 3886
        ("5.1.10", "Recipient address has null MX"),  # RFC 7505
        ("4.2.2", "Mailbox full"),
        ("2.3.6", "Requested priority was changed"),  # RFC 6710
        ("5.4.7", "Delivery time expired"),
        ("5.5.6", "Authentication exchange line is too long"),  # RFC 4954
        ("5.6.7", "Non-ASCII addresses not permitted for that sender/recipient"),  # RFC 6531
        ("5.7.8", "Authentication credentials invalid"),
        ("5.7.14", "Trust relationship required"),  # RFC 5248
        ("5.7.17", "Mailbox owner has changed"),  # RFC 7293
        ("5.7.20", "No passing DKIM signature found"),  # RFC 7372
        ("5.7.30", "REQUIRETLS support required"),  # RFC 8689
    ],
)
def test_what_a_code_means(code: str, meaning: str) -> None:
    assert describe(EnhancedStatus.parse(code)) == meaning


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("5.7.999", "Other or undefined security status"),
        ("4.4.99", "Other or undefined network or routing status"),
        ("5.9.1", "Other undefined status"),
        ("2.0.0", "Other undefined status"),
    ],
)
def test_a_code_that_nobody_has_registered_means_what_its_subject_does(code: str, meaning: str) -> None:
    """RFC 3463 section 2."""
    assert describe(EnhancedStatus.parse(code)) == meaning


@pytest.mark.parametrize("reply_class", range(2, 6))
@pytest.mark.parametrize("status_class", [2, 4, 5])
def test_both_codes_are_of_one_class(reply_class: int, status_class: int) -> None:
    """RFC 2034 section 4; and no 3yz has one."""
    code, status = reply_class * 100 + 50, EnhancedStatus(status_class, 1, 1)
    assert agrees(code, status) is (reply_class == status_class)
    if reply_class == status_class:
        assert Reply.build(code, "", status).enhanced == status
    else:
        with pytest.raises(GrammarError):
            Reply.build(code, "", status)


def test_a_code_of_no_class_agrees_with_nothing() -> None:
    assert not agrees(354, EnhancedStatus(3, 0, 0))
