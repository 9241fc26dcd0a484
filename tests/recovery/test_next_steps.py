"""What an operator reads of where a relocation stands, and what listeners hear of it."""

import pytest
from recovery_world import World
from sqlalchemy import update

from relocation.errors import EncryptionError, MissingOrganizationError
from relocation.ledger.tables import TryOutcome, relocations
from relocation.ledger.transitions import record_pause
from relocation.ledger.tries import begin_try, end_try
from relocation.recovery.next_steps import next_steps
from relocation.recovery.reconcile import reconcile
from relocation.recovery.runs import RunState
from relocation.steps import POLICIES, LifecycleEvent, Step, Task


def _fail(world: World, task: Task, error: Exception, outcome: TryOutcome) -> str:
    hold = world.open()
    ledger = world.context.ledger
    for _ in range(1 if outcome is TryOutcome.REFUSED else POLICIES[task].tries):
        number = begin_try(ledger, hold, task, POLICIES[task], "host:1", now=world.now)
        end_try(ledger, hold, task, number, outcome, error="secret", cause=error, now=world.now)
    world.runs.put("r-1", RunState.FAILED)
    reconcile(world.context, "r-1", world.runs.runs["r-1"], error=error, own=hold)
    return next_steps(ledger, world.stored())


def test_a_fault_of_ours_is_mended_and_retried(world: World) -> None:
    text = _fail(world, Task.IMPORT_ORGANIZATIONS, OSError("disk"), TryOutcome.FAILED)
    assert text.startswith("# FAILURE in `import_organizations`\n")
    assert POLICIES[Task.IMPORT_ORGANIZATIONS].reason in text
    assert "nobody can see it" in text
    for command in ("show", "recover", "rollback"):
        assert f"   relocation {command} r-1\n" in text
    assert "submit" not in text
    assert "secret" not in text + str(world.stored())


def test_a_slug_that_was_wrong_is_not_what_to_type_next(world: World) -> None:
    error = MissingOrganizationError("These organizations are not in the export: acme.")
    text = _fail(world, Task.SCAN_EXPORT, error, TryOutcome.REFUSED)
    assert "   relocation submit FILE -o SLUG --owner OWNER\n" in text
    assert "-o acme" not in text


def test_what_was_refused_is_asked_for_anew(world: World) -> None:
    error = EncryptionError("The key does not fit.")
    text = _fail(world, Task.SCAN_EXPORT, error, TryOutcome.REFUSED)
    assert error.next_step in text
    assert "   relocation submit FILE -o acme --owner OWNER\n" in text
    assert "rollback" not in text
    assert "olivia" not in text


@pytest.mark.parametrize(
    ("owner", "creator", "said"),
    [
        ("olivia@example.org", None, "Its owner gets this reason by email."),
        (
            None,
            None,
            "Its owner has no working address, so an operator gets this reason by email instead.",
        ),
        ("no address", "carl@example.org", "its creator and an operator are emailed instead."),
    ],
)
def test_it_says_who_is_told_and_quotes_no_address(
    world: World, owner: str | None, creator: str | None, said: str
) -> None:
    world.open()
    with world.context.ledger.begin() as connection:
        addresses = {"owner_email": owner, "creator_email": creator}
        connection.execute(update(relocations).values(addresses))
    text = _fail(world, Task.SCAN_EXPORT, OSError("disk"), TryOutcome.FAILED)
    assert said in text
    assert "@" not in text


def test_what_waits_says_how_it_goes_on(world: World) -> None:
    hold = world.open()
    record_pause(world.context.ledger, hold, Step.IMPORTING, world.now)
    paused = next_steps(world.context.ledger, world.stored())
    assert "before IMPORTING" in paused
    assert "\nrelocation unpause r-1\n" in paused


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (RunState.FAILED, LifecycleEvent.FAILED),
        (RunState.CANCELLED, LifecycleEvent.CANCELLED),
        (RunState.CRASHED, LifecycleEvent.INTERRUPTED),
    ],
)
def test_each_event_is_announced_once(world: World, state: RunState, event: LifecycleEvent) -> None:
    hold = world.open()
    run = world.runs.put("r-1", state)
    for _ in range(2):
        reconcile(world.context, "r-1", run, own=hold, set_state=False)
    assert world.runs.announced == [("r-1", event)]
