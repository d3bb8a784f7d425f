"""Waiting on descriptors: select does what poll does."""

from __future__ import annotations

import runpy
import select
import socket
from collections.abc import Callable, Iterator

import pytest

from mailproto.sync import polling
from mailproto.sync.polling import READABLE, WRITABLE, Poll, SelectPoll


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_the_numbers_are_those_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (READABLE, WRITABLE) == (select.POLLIN, select.POLLOUT)
    monkeypatch.setattr(select, "POLLOUT", 2)  # as it is on AIX
    assert runpy.run_path(polling.__file__)["WRITABLE"] == 2


@pytest.mark.parametrize("new", [select.poll, SelectPoll])
def test_what_was_asked_for_is_told(new: Callable[[], Poll], pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    poll, descriptor = new(), ours.fileno()
    poll.register(descriptor, READABLE)
    assert poll.poll(0) == []
    assert poll.poll(0.5) == []
    poll.register(descriptor, READABLE | WRITABLE)
    assert poll.poll(1000) == [(descriptor, WRITABLE)]
    theirs.send(b"x")
    assert poll.poll(1000) == [(descriptor, READABLE | WRITABLE)]
    poll.register(descriptor, READABLE)
    assert poll.poll(1000) == [(descriptor, READABLE)]
    poll.unregister(descriptor)
    assert poll.poll(0) == []


@pytest.mark.parametrize("new", [select.poll, SelectPoll])
def test_two_are_told_apart(new: Callable[[], Poll], pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    poll = new()
    poll.register(ours.fileno(), READABLE)
    poll.register(theirs.fileno(), READABLE)
    ours.send(b"x")
    assert poll.poll(1000) == [(theirs.fileno(), READABLE)]
