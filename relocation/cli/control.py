"""Pause, cancel, go on, roll back."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from relocation.cli.ids import Id, full_id
from relocation.cli.output import AsJson, fail, out, plain_errors, print_json, print_table
from relocation.cli.server import reach_server
from relocation.errors import CommandError
from relocation.settings import Settings
from relocation.steps import RollBackState, Status, Step
from relocation.text import counted

if TYPE_CHECKING:
    from relocation.recovery.context import RecoveryContext

StepName = Annotated[
    str | None,
    typer.Option(
        "--before",
        help="A later step, such as IMPORTING; by default the next one.",
        metavar="STEP",
    ),
]


def pause(relocation_id: Id, before: StepName = None, as_json: AsJson = False) -> None:
    """Pause a relocation before a later step, until you unpause it."""
    from relocation.ledger.transitions import schedule_pause  # noqa: PLC0415

    with plain_errors(f"relocation show {relocation_id}"):
        later = _step(before)
        context, relocation_id = _context_of(relocation_id)
        step = schedule_pause(context.ledger, relocation_id, later, context.clock())
    _say(as_json, f"It will pause before {step.name}.", id=relocation_id, pause_before=step.name)


def unpause(
    relocation_id: Id,
    before: Annotated[
        str | None,
        typer.Option("--before", help="Pause again before this later step.", metavar="STEP"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Resume a paused relocation, or change or drop a scheduled pause."""
    from relocation.recovery.actions import unpause as go_on  # noqa: PLC0415

    with plain_errors(f"relocation show {relocation_id}"):
        later = _step(before)
        context, relocation_id = _context_of(relocation_id)
        goes_on = go_on(context, relocation_id, later)
    going = "It resumes" if goes_on else "It is not paused"
    then = f", and will pause before {before.upper()}." if before else "."
    _say(as_json, going + then, id=relocation_id, pause_before=before and before.upper())


def cancel(relocation_id: Id, before: StepName = None, as_json: AsJson = False) -> None:
    """Cancel a relocation before a later step, or at once if no process works on it.

    Its import is rolled back, and owner and creator are told.
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
    """Cancel a relocation now, even in the middle of a step, and roll back its import."""
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
        str | None, typer.Argument(metavar="ID", help="Its id, or enough of its beginning.")
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like", metavar="ID", help="Resume all that failed for the same cause as this one."
        ),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            "--all-failed-since",
            metavar="TIME",
            parser=datetime.fromisoformat,
            help="Resume all that failed since then, such as 2026-03-19T14:05; in this machine's "
            "time zone unless the time has an offset.",
        ),
    ] = None,
    at_once: Annotated[
        int, typer.Option("--at-once", min=1, help="How many of them run at a time.")
    ] = 3,
    as_json: AsJson = False,
) -> None:
    """Resume a failed or interrupted relocation where it stopped, like Retry in the UI.

    If there are many, a few run at a time, and the command waits until they have ended. If the
    first ones all fail again for the same cause, the others are left alone.
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
            print_table(("cannot resume", "because"), list(done.refused.items()))
        succeeded = sum(status is Status.SUCCESS for status in done.ended.values())
        out.print(f"{succeeded} of {counted(len(failed), 'relocation')} succeeded.")
    if done.left:
        fail(
            f"The first {counted(len(done.ended), 'relocation')} failed again for the same cause; "
            f"{len(done.left)} more were not resumed. Fix the cause first: relocation show "
            f"{next(iter(done.ended))}"
        )
    if any(status is Status.FAILURE for status in done.ended.values()) or done.refused:
        raise typer.Exit(1)


def retry(relocation_id: Id, as_json: AsJson = False) -> None:
    """Start a new relocation of the same archive, like Copy to new run in the UI.

    If it came from a live source, it starts with a new export.
    """
    from relocation.ledger.relocations import get_relocation  # noqa: PLC0415

    with plain_errors(f"relocation show {relocation_id}"):
        context, relocation_id = _context_of(relocation_id)
        ended = get_relocation(context.ledger, relocation_id)
        if ended.forgotten_at is not None:
            raise CommandError("Its people were forgotten, its owner too. Submit it again.")
        if ended.status not in {Status.FAILURE, Status.CANCELLED}:
            raise CommandError(
                f"This relocation cannot be retried: it is {ended.status}. Look at it with: "
                f"relocation show {relocation_id}"
            )
        from relocation.prefect_api.blocks import load_storage  # noqa: PLC0415 - imports Prefect
        from relocation.prefect_api.flow_runs import RELOCATE, submit  # noqa: PLC0415

        if ended.source is None:
            load_storage(context.settings).open(ended.archive).close()
        new = submit(ended.request, deployment=context.settings.named(RELOCATE))
    _say(as_json, f"Relocation {new} was submitted.", id=new, retries=relocation_id)


def rollback(
    relocation_id: Id,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove everything that a failed or cancelled relocation imported from the destination."""
    from relocation.ledger.relocations import get_relocation  # noqa: PLC0415
    from relocation.recovery.actions import can_roll_back, roll_back_ended  # noqa: PLC0415

    with plain_errors(f"relocation show {relocation_id}"):
        context, relocation_id = _context_of(relocation_id)
        anything = can_roll_back(context, relocation_id)
        before = get_relocation(context.ledger, relocation_id).roll_back

        def agree() -> None:
            # Only now: nobody is asked about what cannot be done.
            what = f"everything that relocation {relocation_id} imported"
            typer.confirm(f"Remove {what} from the destination?", abort=True)

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
        out.print("Everything is already removed." if gone else "Nothing was imported.")
        return
    print_table(("model", "rows removed"), [(model, rows) for model, rows in removed.items()])


def _context() -> "RecoveryContext":
    reach_server()
    from relocation.prefect_api.context import recovery_context  # noqa: PLC0415 - imports Prefect: seconds

    return recovery_context(Settings())


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
