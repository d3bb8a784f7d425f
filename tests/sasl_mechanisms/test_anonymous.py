"""ANONYMOUS: a trace that nobody may believe."""

import pytest

from mailproto.errors import AuthenticationError, GrammarError
from mailproto.sasl import AnonymousCheck, AnonymousClient, AnonymousServer, Credentials, Identity
from tests.sasl_mechanisms.talk import Client, Server, converse, no


@pytest.mark.parametrize("held", [False, True])
def test_the_example_of_rfc_4505(held: bool) -> None:
    called = converse(AnonymousClient(), AnonymousServer(), lambda _: True, Credentials("sirhc"), held=held)
    assert called.questions == [AnonymousCheck("sirhc")]
    assert called.outcome == Identity("anonymous", "ANONYMOUS")


def test_the_trace_is_no_identity() -> None:
    called = converse(AnonymousClient(), AnonymousServer(), lambda _: True, Credentials("ada@example.org"))
    assert called.outcome == Identity("anonymous", "ANONYMOUS")
    named = converse(AnonymousClient(), AnonymousServer(), lambda _: "guest", Credentials("ada@example.org"))
    assert named.outcome == Identity("guest", "ANONYMOUS")


def test_the_trace_may_be_empty() -> None:
    assert Client(AnonymousClient(), Credentials()).initial == b""
    assert converse(AnonymousClient(), AnonymousServer(), lambda _: True, Credentials()).outcome is not None


def test_nobody_gets_in_where_nobody_says_so() -> None:
    with pytest.raises(AuthenticationError):
        converse(AnonymousClient(), AnonymousServer(), no, Credentials("sirhc"))


@pytest.mark.parametrize("trace", ["x" * 256, "a\r\nb", "\x00", "\x7f", "\u2028", "\ue000", "\u202a", "\u0627a"])
def test_a_trace_that_is_none(trace: str) -> None:
    with pytest.raises(GrammarError):
        Client(AnonymousClient(), Credentials(trace))
    with pytest.raises(GrammarError):
        Server(AnonymousServer(), lambda _: True, initial=trace.encode())


@pytest.mark.parametrize("trace", ["x" * 255, "\U0001f511" * 255, "\u00a0 \u00ad", "\u0627"])
def test_a_trace_as_long_and_strange_as_it_may_be(trace: str) -> None:
    called = converse(AnonymousClient(), AnonymousServer(), lambda _: True, Credentials(trace))
    assert called.questions == [AnonymousCheck(trace)]


def test_a_trace_that_is_not_utf8() -> None:
    with pytest.raises(GrammarError):
        Server(AnonymousServer(), lambda _: True, initial=b"\xff")
