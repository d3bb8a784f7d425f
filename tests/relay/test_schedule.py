"""When what is done: a table without a relay."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from mailproto.relay import Entry, Pending, Schedule
from mailproto.relay.schedule import conclude
from mailproto.smtp import Reply
from mailproto.smtp.notices import Action
from tests.relay import ADA, BOB, CAROL, HOUR, START

DAY = 24 * HOUR
LATER = Reply.build(451, "Later", "4.2.1")
FAILED = Pending(CAROL, action=Action.FAILED, reply=Reply.build(550, "Never"), remote_mta="mx.example.net")


def entry(*recipients: Pending, late: bool = False) -> Entry:
    return Entry("m1", ADA, recipients or (Pending(BOB, reply=LATER),), START, START, late=late)


@pytest.mark.parametrize(
    ("age", "due"),
    [
        (0, 0.5 * HOUR),
        (0.5 * HOUR, HOUR),
        (HOUR, 3 * HOUR),
        (5 * DAY - HOUR, 5 * DAY),
        (5 * DAY, 5 * DAY + 2 * HOUR),
        (9 * DAY, 9 * DAY + 2 * HOUR),
    ],
)
def test_the_next_attempt(age: float, due: float) -> None:
    """RFC 5321 section 4.5.4.1: twice in the first hour, then every two hours."""
    assert Schedule().next_attempt(START, START + age) == START + due


@pytest.mark.parametrize("give_up", [math.inf, 1e12])
def test_who_never_gives_up_has_no_time_to_tell_when(give_up: float) -> None:
    """No date is that late, and all that the relay had to tell failed by that."""
    now = START + 4 * HOUR
    (report,), rest = conclude(entry(), now, now, Schedule(give_up=give_up))
    assert (report.action, report.retry_until) == (Action.DELAYED, None)
    assert (rest.due, rest.late, rest.attempts) == (now + 2 * HOUR, True, 1)


@pytest.mark.parametrize(
    ("age", "late", "told"),
    [
        (0, False, []),
        (4 * HOUR - 1, False, []),
        (4 * HOUR, False, ["delayed"]),
        (4 * HOUR, True, []),
        (5 * DAY - 1, True, []),
        (5 * DAY, True, ["failed"]),
        (5 * DAY, False, ["failed"]),
    ],
)
def test_what_the_sender_hears(age: float, late: bool, told: list[str]) -> None:
    tried = replace(entry(late=late), due=START + age)
    reports, rest = conclude(tried, START + age, START + age, Schedule(min_attempts=1))
    assert [report.action.value for report in reports] == told
    assert all(report.reply == LATER for report in reports)
    assert rest.late == (late or told == ["delayed"])
    assert rest.notices == len(told)
    assert bool(rest.recipients) == (told != ["failed"])


def test_who_was_settled_is_told_of_at_once_and_forgotten() -> None:
    reports, rest = conclude(entry(FAILED, Pending(BOB)), START + 1, START + 1, Schedule())
    assert [(report.address, report.remote_mta) for report in reports] == [(CAROL, "mx.example.net")]
    assert rest.recipients == (Pending(BOB),)


def test_somebody_who_was_never_reached() -> None:
    """There may be no reply at all, from nobody."""
    for age, status in ((4 * HOUR, "4.4.7"), (5 * DAY, "4.4.7")):
        (report,), _ = conclude(entry(Pending(BOB)), START + age, START + age, Schedule())
        assert str(report.status) == status
        assert report.remote_mta is None


@pytest.mark.parametrize(
    ("age", "attempts", "since_due", "over"),
    [
        (5 * DAY, 4, 0, True),
        (5 * DAY, 3, 0, False),
        (5 * DAY - 1, 99, 0, False),
        (5 * DAY, 99, 2 * HOUR, True),
        (5 * DAY, 99, 2 * HOUR + 1, False),
    ],
)
def test_what_is_given_up_was_really_tried(age: float, attempts: int, since_due: float, over: bool) -> None:
    tried = replace(entry(), due=START + age - since_due, attempts=attempts)
    reports, rest = conclude(tried, START + age, START + age, Schedule())
    assert [report.action.value for report in reports] == ["failed" if over else "delayed"]
    assert rest.attempts == attempts + 1
    assert all(report.retry_until is None for report in reports) == (age == 5 * DAY), "it is no time in the past"


def test_a_relay_that_is_started_once_a_day_gives_up_as_well() -> None:
    """Each of its attempts is the first one after a day; it went on for ever."""
    waiting, days = entry(late=True), 0
    while waiting.recipients and days < 20:
        now = START + days * DAY + 60
        _, waiting = conclude(waiting, now, now, Schedule())
        days += 1
    assert days == 7


def test_an_attempt_in_which_nothing_could_be_tried_does_not_count() -> None:
    tried = replace(entry(late=True), due=START + 6 * DAY, attempts=99)
    reports, rest = conclude(tried, None, START + 6 * DAY, Schedule())
    assert (reports, rest.recipients, rest.attempts) == ([], tried.recipients, 99)
