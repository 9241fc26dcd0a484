"""Pause, cancel, go on, roll back."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from relocation.cli.ids import Id, full_id
from relocation.cli.output import AsJson, fail, out, plain_errors, print_json, print_table
from relocation.cli.server import reach_server
from relocation.errors import CommandError
from relocation.steps import RollBackState, Status, Step
from relocation.text import counted

if TYPE_CHECKING:
    from relocation.recovery.context import RecoveryContext

StepName = Annotated[
    str | None,
    typer.Option(
        "--before",
        help="A later step, such as IMPORTING; the next one when left out.",
        metavar="STEP",
    ),
]


def pause(relocation_id: Id, before: StepName = None, as_json: AsJson = False) -> None:
    """Let a relocation wait before a later step, until it is unpaused."""
    from relocation.ledger.transitions import schedule_pause  # noqa: PLC0415

    with plain_errors(f"relocation show {relocation_id}"):
        later = _step(before)
        context, relocation_id = _context_of(relocation_id)
        step = schedule_pause(context.ledger, relocation_id, later)
    _say(as_json, f"It will pause before {step.name}.", id=relocation_id, pause_before=step.name)


def unpause(
    relocation_id: Id,
    before: Annotated[
        str | None,
        typer.Option("--before", help="Pause again before this later step.", metavar="STEP"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let a paused relocation go on, or change or drop a pause that is scheduled."""
    from relocation.recovery.actions import unpause as go_on  # noqa: PLC0415

    with plain_errors(f"relocation show {relocation_id}"):
        later = _step(before)
        context, relocation_id = _context_of(relocation_id)
        goes_on = go_on(context, relocation_id, later)
    going = "It goes on" if goes_on else "It is not paused"
    then = f", and will pause before {before.upper()}." if before else "."
    _say(as_json, going + then, id=relocation_id, pause_before=before and before.upper())


def cancel(relocation_id: Id, before: StepName = None, as_json: AsJson = False) -> None:
    """Cancel a relocation before a later step; at once where nothing works on it.

    What it imported is removed again, and its people are told.
    """
    from relocation.recovery.actions import cancel_before  # noqa: PLC0415

    with plain_errors(f"relocation show {relocation_id}"):
        later = _step(before)
        context, relocation_id = _context_of(relocation_id)
        step = cancel_before(context, relocation_id, later)
        if step is None:
            _show_next_steps(context, relocation_id)
    name = step.name if step else None
    said = f"It will be cancelled before {name}." if name else "It is cancelled."
    _say(as_json, said, id=relocation_id, cancel_before=name)


def abort(relocation_id: Id, as_json: AsJson = False) -> None:
    """Cancel a relocation now, also in the middle of a step, and roll back what it imported."""
    from relocation.recovery.actions import abort as abort_now  # noqa: PLC0415

    with plain_errors(f"relocation show {relocation_id}"):
        context, relocation_id = _context_of(relocation_id)
        ended = abort_now(context, relocation_id)
        if ended:
            _show_next_steps(context, relocation_id)
    said = "It is cancelled." if ended else "It is being cancelled: its process is ended first."
    _say(as_json, said, id=relocation_id, cancelled=ended)


def recover(
    relocation_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Its id, or how it alone begins.")
    ] = None,
    like: Annotated[
        str | None,
        typer.Option("--like", metavar="ID", help="All that failed for the cause of this one."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--all-failed-since",
            metavar="TIME",
            parser=datetime.fromisoformat,
            help="All that failed since then, such as 2026-03-19T14:05; in this machine's time "
            "zone unless the time has an offset.",
        ),
    ] = None,
    at_once: Annotated[
        int, typer.Option("--at-once", min=1, help="How many of them go on at a time.")
    ] = 3,
    as_json: AsJson = False,
) -> None:
    """Let a failed or interrupted relocation go on where it stopped, as Retry in the UI does.

    Of many, a few go on at a time, and the command waits until they have ended. Where the first
    ones all fail again for the same cause, the others are left as they are.
    """
    from relocation.recovery.actions import recover as go_on  # noqa: PLC0415

    if sum(one is not None for one in (relocation_id, like, since)) != 1:
        raise typer.BadParameter("name one relocation, or --like ID, or --all-failed-since TIME")
    if relocation_id is None:
        _recover_many(like, since, at_once, as_json)
        return
    with plain_errors(f"relocation show {relocation_id}"):
        context, relocation_id = _context_of(relocation_id)
        go_on(context, relocation_id)
    _say(as_json, "Resuming where it stopped.", id=relocation_id)


def _recover_many(like: str | None, since: datetime | None, at_once: int, as_json: bool) -> None:
    from relocation.recovery.rerunning import (  # noqa: PLC0415
        failed_since,
        failed_with_same_cause,
        recover_all,
    )

    def tell(relocation_id: str, what: str) -> None:
        if not as_json:
            out.print(f"{relocation_id}  {what}", soft_wrap=True)

    with plain_errors():
        context = _context()
        if like is not None:
            failed = failed_with_same_cause(context, full_id(context.ledger, like))
        else:
            assert since is not None  # noqa: S101 - one of the two is given
            failed = failed_since(context, since.astimezone())
        done = recover_all(context, failed, at_once=at_once, tell=tell)
    if as_json:
        print_json({"ended": done.ended, "refused": done.refused, "left": done.left})
    else:
        if done.refused:
            print_table(("cannot go on", "because"), list(done.refused.items()))
        succeeded = sum(status is Status.SUCCESS for status in done.ended.values())
        out.print(f"{succeeded} of {counted(len(failed), 'relocation')} succeeded.")
    if done.left:
        fail(
            f"The first {counted(len(done.ended), 'relocation')} failed again for the same cause; "
            f"{len(done.left)} more were not resumed. Mend the cause first: relocation show "
            f"{next(iter(done.ended))}"
        )
    if any(status is Status.FAILURE for status in done.ended.values()) or done.refused:
        raise typer.Exit(1)


def retry(relocation_id: Id, as_json: AsJson = False) -> None:
    """Begin a new relocation of the same archive, as Copy to new run in the UI does.

    From a live source it begins with a new export.
    """
    from relocation.ledger.relocations import get_relocation  # noqa: PLC0415

    with plain_errors(f"relocation show {relocation_id}"):
        context, relocation_id = _context_of(relocation_id)
        ended = get_relocation(context.ledger, relocation_id)
        if ended.status not in {Status.FAILURE, Status.CANCELLED}:
            raise CommandError(
                f"This relocation cannot be retried: it is {ended.status}. Look at it with: "
                f"relocation show {relocation_id}"
            )
        from relocation.prefect_api.blocks import load_storage  # noqa: PLC0415 - imports Prefect
        from relocation.prefect_api.flow_runs import submit  # noqa: PLC0415

        if ended.source is None:
            load_storage(context.settings).open(ended.archive).close()
        new = submit(ended.request)
    _say(as_json, f"Relocation {new} was submitted.", id=new, retries=relocation_id)


def rollback(
    relocation_id: Id,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove from the destination what a failed or cancelled relocation imported."""
    from relocation.ledger.relocations import get_relocation  # noqa: PLC0415
    from relocation.recovery.actions import can_roll_back, roll_back_ended  # noqa: PLC0415

    with plain_errors(f"relocation show {relocation_id}"):
        context, relocation_id = _context_of(relocation_id)
        anything = can_roll_back(context, relocation_id)
        before = get_relocation(context.ledger, relocation_id).roll_back

        def agree() -> None:
            # Only now: nobody is asked about what cannot be done.
            what = f"all that relocation {relocation_id} imported"
            typer.confirm(f"Remove from the destination {what}?", abort=True)

        removed = roll_back_ended(
            context, relocation_id, agree=(lambda: None) if yes else agree
        ).removed
        if anything:
            _show_next_steps(context, relocation_id)
    if as_json:
        print_json({"id": relocation_id, "removed": removed})
        return
    if not removed:
        gone = before is RollBackState.DONE
        out.print("All of it is removed already." if gone else "Nothing was imported.")
        return
    print_table(("model", "rows removed"), [(model, rows) for model, rows in removed.items()])


def _context() -> "RecoveryContext":
    reach_server()
    from relocation.prefect_api.context import recovery_context  # noqa: PLC0415 - imports Prefect: seconds

    return recovery_context()


def _context_of(relocation_id: str) -> "tuple[RecoveryContext, str]":
    """Return what there is to work with, and the whole id of which a person typed the beginning."""
    context = _context()
    return context, full_id(context.ledger, relocation_id)


def _show_next_steps(context: "RecoveryContext", relocation_id: str) -> None:
    from relocation.prefect_api.artifacts import show_next_steps  # noqa: PLC0415

    show_next_steps(context.ledger, relocation_id)


def _step(name: str | None) -> Step | None:
    if name is None:
        return None
    if name.upper() not in Step.__members__:
        names = ", ".join(step.name for step in Step)
        fail(f'There is no step "{name}"; the steps are {names}.', code=2)
    return Step[name.upper()]


def _say(as_json: bool, sentence: str, **data: object) -> None:
    if as_json:
        print_json(data)
    else:
        out.print(sentence, soft_wrap=True)
