"""Operators hear of each failure that is theirs to mend, in the transaction that settles it."""

import pytest
from recovery_world import World
from sqlalchemy.exc import IntegrityError

from relocation.errors import (
    ConfigurationError,
    DifferencesError,
    EncryptionError,
    OwnerBusyError,
    TransientError,
)
from relocation.ledger.outbox import Notice, notices_of
from relocation.ledger.tables import TryOutcome
from relocation.ledger.tries import begin_try, end_try
from relocation.notices.faults import fault_of
from relocation.notices.kinds import Channel, NoticeKind
from relocation.recovery.reconcile import reconcile
from relocation.recovery.runs import RunState
from relocation.steps import POLICIES, Status, Task

SCAN = Task.SCAN_EXPORT


def fail(world: World, error: BaseException | None, *, seen: bool = True) -> list[Notice]:
    """Let a relocation fail in a task; `seen` where its own process settles it."""
    hold, ledger = world.open(), world.context.ledger
    for _ in range(POLICIES[SCAN].tries):
        number = begin_try(ledger, hold, SCAN, POLICIES[SCAN], "host:1", now=world.now)
        outcome = TryOutcome.FAILED
        end_try(ledger, hold, SCAN, number, outcome, error="...", cause=error, now=world.now)
    run = world.runs.put("r-1", RunState.FAILED, "Flow run encountered an exception: s3cr3t")
    if seen:
        reconcile(world.context, "r-1", run, error=error, own=hold)
    else:
        world.wait(31)
        reconcile(world.context, "r-1", run)
    assert world.stored().status is Status.FAILURE
    return [one for one in notices_of(ledger, "r-1") if one.kind is NoticeKind.OPERATOR]


@pytest.mark.parametrize("seen", [True, False])
def test_a_fault_of_ours_is_told_with_what_it_takes_to_mend_it(world: World, seen: bool) -> None:
    """Whichever process settles it: the ledger has the facts."""
    (told,) = fail(world, OSError(28, "No space left on device", "/data/olivia@x.org"), seen=seen)
    assert told.recipient == world.context.settings.operator_email
    context = told.context
    assert context["matter"] == "failed"
    assert (context["task"], context["tries"]) == ("scan_export", POLICIES[SCAN].tries)
    assert context["reason"] == POLICIES[SCAN].reason
    assert context["fault"] == "OSError: No space left on device"
    assert context["destination_state"] == "unchanged"
    assert world.stored().cause == "scan_export:OSError"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TransientError("No free name."), True),
        (ConfigurationError("Not set up.", internal='the block "x" does not exist'), True),
        (DifferencesError("The trial found 3 differences."), True),
        (EncryptionError("The key does not fit."), False),
        (OwnerBusyError("Another relocation is not finished."), False),
    ],
)
def test_only_what_its_owner_cannot_mend_is_told_to_operators(
    world: World, error: Exception, told: bool
) -> None:
    assert bool(fail(world, error)) is told


def test_a_cancelled_relocation_is_nothing_to_mend(world: World) -> None:
    hold = world.open()
    run = world.runs.put("r-1", RunState.CANCELLED)
    reconcile(world.context, "r-1", run, own=hold)
    kinds = {one.kind for one in notices_of(world.context.ledger, "r-1")}
    assert kinds == {NoticeKind.CANCELLED}


def test_it_is_told_through_a_notification_block_too_where_one_is_named(world: World) -> None:
    world.context.settings.operator_block = "slack-webhook/ops"
    mail, block = fail(world, OSError("disk"))
    assert (mail.channel, block.channel) == (Channel.MAIL, Channel.BLOCK)
    assert block.recipient == "slack-webhook/ops"
    assert block.context == mail.context


def test_a_process_that_keeps_dying_is_told_as_that(world: World) -> None:
    hold, ledger = world.open(), world.context.ledger
    for _ in range(POLICIES[SCAN].tries):
        begin_try(ledger, hold, SCAN, POLICIES[SCAN], "host:1", now=world.now)
    world.runs.put("r-1", RunState.CRASHED, "killed")
    world.wait(31)
    reconcile(world.context, "r-1", world.runs.runs["r-1"])
    told = [one for one in notices_of(ledger, "r-1") if one.kind is NoticeKind.OPERATOR]
    assert told[0].context["fault"].startswith("Interrupted: ")
    assert world.stored().cause == "scan_export:Interrupted"


def test_no_row_and_no_secret_is_in_what_operators_are_told(world: World) -> None:
    orig = RuntimeError("duplicate key: (olivia@example.org, pbkdf2$s3cr3t)")
    row = {"email": "olivia@example.org", "password": "pbkdf2$s3cr3t"}
    error = IntegrityError("INSERT INTO auth_user VALUES (...)", row, orig)
    (told,) = fail(world, error)
    for secret in ("olivia", "s3cr3t", "INSERT"):
        assert secret not in str(told.context)
    assert told.context["fault"].startswith("RuntimeError:")


def test_a_fault_names_its_class_its_causes_and_its_place_in_our_code() -> None:
    error = ConfigurationError(
        "Not set up.", internal="postgresql://me:s3cr3t@db.example.org/x does not answer"
    )
    error.__cause__ = ValueError("the row of olivia@example.org")
    assert fault_of(error) == (
        "ConfigurationError: postgresql://***@db.example.org/x does not answer; "
        "caused by ValueError"
    )
    from relocation.notices.wire import mail_address

    with pytest.raises(ValueError, match="address") as raised:
        mail_address("nobody")
    assert "at relocation/notices/wire.py:" in fault_of(raised.value)
    assert "nobody" not in fault_of(raised.value)
