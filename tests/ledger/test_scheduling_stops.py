"""A pause or a cancellation is scheduled for a later step, and refused where there is none."""

from collections.abc import Callable
from datetime import datetime

import pytest
from ledgers import at
from sqlalchemy import Engine

from relocation.errors import PermanentError
from relocation.ledger.holds import Hold, hold_of, open_relocation
from relocation.ledger.relocations import get_relocation
from relocation.ledger.settle import Settlement, settle
from relocation.ledger.tables import utc_now
from relocation.ledger.transitions import (
    record_pause,
    reschedule_pause,
    schedule_cancel,
    schedule_pause,
)
from relocation.ledger.tries import begin_try
from relocation.request import RelocationRequest
from relocation.steps import POLICIES, Status, Step, Task

Schedule = Callable[[Engine, str, Step | None, datetime], Step]
both = pytest.mark.parametrize("schedule", [schedule_pause, schedule_cancel])


@pytest.fixture
def scanning(ledger: Engine, hold: Hold) -> Hold:
    """The hold of a relocation in PREPROCESSING."""
    begin_try(ledger, hold, Task.SCAN_EXPORT, POLICIES[Task.SCAN_EXPORT], "host:1", now=utc_now())
    return hold


@both
def test_it_is_the_next_step_unless_one_is_named(
    ledger: Engine, scanning: Hold, schedule: Schedule
) -> None:
    """A-131, A-132: and VALIDATING is a step like any other (W-1)."""
    assert schedule(ledger, "r-1", None, utc_now()) is Step.VALIDATING


@both
def test_it_may_be_any_later_step(ledger: Engine, scanning: Hold, schedule: Schedule) -> None:
    """A-131, A-132."""
    assert schedule(ledger, "r-1", Step.REVEALING, utc_now()) is Step.REVEALING
    stored = get_relocation(ledger, "r-1")
    assert Step.REVEALING in {stored.pause_before_step, stored.cancel_before_step}


@both
@pytest.mark.parametrize("step", [Step.UPLOADING, Step.PREPROCESSING, Step.COMPLETED])
def test_a_past_the_current_and_the_last_step_are_refused_by_name(
    ledger: Engine, scanning: Hold, schedule: Schedule, step: Step
) -> None:
    """A-131, A-132."""
    before = get_relocation(ledger, "r-1")
    with pytest.raises(PermanentError, match="VALIDATING, IMPORTING, POSTPROCESSING, REVEALING"):
        schedule(ledger, "r-1", step, utc_now())
    assert get_relocation(ledger, "r-1") == before


@both
def test_after_the_last_step_that_can_wait_there_is_none(
    ledger: Engine, hold: Hold, schedule: Schedule
) -> None:
    """A-131, A-132."""
    reveal = Task.REVEAL_ORGANIZATIONS
    begin_try(ledger, hold, reveal, POLICIES[reveal], "host:1", now=utc_now())
    with pytest.raises(PermanentError, match="no later step"):
        schedule(ledger, "r-1", None, utc_now())


@both
def test_what_has_ended_is_refused(ledger: Engine, scanning: Hold, schedule: Schedule) -> None:
    """A-131, A-132."""
    failure = Settlement(Status.FAILURE, "No.")
    settle(ledger, "r-1", failure, sender_domain="example.org", seen=scanning, now=utc_now())
    with pytest.raises(PermanentError, match="has ended"):
        schedule(ledger, "r-1", None, utc_now())


@both
def test_what_is_unknown_is_refused(ledger: Engine, schedule: Schedule) -> None:
    with pytest.raises(PermanentError, match="no such relocation"):
        schedule(ledger, "r-9", None, utc_now())


def test_a_paused_one_can_be_paused_again_later_or_not_at_all(
    ledger: Engine, scanning: Hold, now: datetime
) -> None:
    """A-134: until a later step than the one before which it waits."""
    record_pause(ledger, scanning, Step.IMPORTING, now)
    with pytest.raises(PermanentError, match="POSTPROCESSING"):
        reschedule_pause(ledger, "r-1", Step.IMPORTING, utc_now())
    assert reschedule_pause(ledger, "r-1", Step.REVEALING, utc_now()).status is Status.PAUSED
    assert get_relocation(ledger, "r-1").pause_before_step is Step.REVEALING
    reschedule_pause(ledger, "r-1", None, utc_now())
    assert get_relocation(ledger, "r-1").pause_before_step is None


def test_a_scheduled_pause_can_be_moved_and_dropped(ledger: Engine, scanning: Hold) -> None:
    """A-134: of a merely scheduled pause, unpausing only edits it."""
    schedule_pause(ledger, "r-1", Step.IMPORTING, utc_now())
    assert reschedule_pause(ledger, "r-1", Step.REVEALING, utc_now()).status is Status.IN_PROGRESS
    assert get_relocation(ledger, "r-1").pause_before_step is Step.REVEALING
    reschedule_pause(ledger, "r-1", None, utc_now())
    with pytest.raises(PermanentError, match="not paused"):
        reschedule_pause(ledger, "r-1", None, utc_now())


def test_a_relocation_that_goes_on_after_a_pause_keeps_its_round_and_tries(
    ledger: Engine, scanning: Hold, now: datetime, ask: Callable[..., RelocationRequest]
) -> None:
    """A-134; W-7: whoever opens it makes it active, so that no order of events loses it."""
    record_pause(ledger, scanning, Step.VALIDATING, now)
    opened = open_relocation(ledger, "r-1", ask(), at(now))
    assert (opened.status, opened.round) == (Status.IN_PROGRESS, 1)
    scan = POLICIES[Task.SCAN_EXPORT]
    assert begin_try(ledger, hold_of(opened), Task.SCAN_EXPORT, scan, "host:2", now=utc_now()) == 2
