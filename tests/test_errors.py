"""What all exceptions of the library have in common."""

from __future__ import annotations

import copy
import pickle

import pytest

from mailproto import (
    Address,
    AuthenticationError,
    ConnectionClosedError,
    ConnectionTimeoutError,
    GrammarError,
    MailProtoError,
    Reject,
)
from mailproto.maildrop import MaildropBusyError, MessageGoneError, NotRemovedError
from mailproto.pop3 import Response, ResponseError
from mailproto.sasl import TokenRefusedError
from mailproto.smtp import DeliveryError, Outcome, RecipientResult, Reply, ReplyError, SendResult

NO = Reply(550, "no such user")


@pytest.mark.parametrize(
    "error",
    [
        GrammarError("not an address"),
        AuthenticationError("not now", temporary=True),
        ConnectionClosedError("the peer closed the connection", "421 come again"),
        ConnectionTimeoutError("the server did not answer in time", "220 wait"),
        Reject(452, "the disk is full", "4.3.1"),
        MaildropBusyError(),
        MessageGoneError(),
        NotRemovedError([1, 2]),
        ReplyError(NO, "MAIL"),
        ResponseError(Response(False, "no such message"), "RETR"),
        TokenRefusedError("refused", {"status": "401"}),
        DeliveryError(SendResult((RecipientResult(Address("ada", "example.org"), Outcome.REFUSED, "RCPT", NO),))),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_can_be_told_to_another_process(error: MailProtoError) -> None:
    """A pool of processes breaks, and loses all that its processes do, by one that cannot be made again."""
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert (type(twin), str(twin), twin.args, vars(twin)) == (type(error), str(error), error.args, vars(error))
