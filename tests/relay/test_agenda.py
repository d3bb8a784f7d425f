"""The agenda of a relay: each entry stands there once, however often it was moved."""

from __future__ import annotations

import math

from mailproto.relay.agenda import Agenda


def test_entries_come_when_they_are_due() -> None:
    agenda = Agenda()
    assert agenda.next_due() == math.inf
    for name, due in (("m1", 30.0), ("m2", 10.0), ("m3", 20.0)):
        agenda.put(name, due)
    taken = []
    while agenda.next_due() < math.inf:
        taken.append((agenda.next_due(), agenda.take()))
    assert taken == [(10.0, "m2"), (20.0, "m3"), (30.0, "m1")]


def test_what_is_moved_comes_once() -> None:
    agenda = Agenda()
    agenda.put("m1", 30.0)
    agenda.put("m1", -math.inf)
    agenda.put("m1", -math.inf)
    agenda.put("m2", 40.0)
    assert "m1" in agenda
    assert agenda.take() == "m1"
    assert "m1" not in agenda
    assert agenda.next_due() == 40.0
    agenda.put("m1", 50.0)
    assert [agenda.take(), agenda.take()] == ["m2", "m1"]
    agenda.put("m3", 1.0)
    agenda.bring_forward()
    assert (agenda.next_due(), agenda.take(), agenda.next_due()) == (-math.inf, "m3", math.inf)
    agenda.put("m3", 1.0)
    agenda.clear()
    assert agenda.next_due() == math.inf
    assert "m3" not in agenda
