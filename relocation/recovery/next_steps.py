"""Say where a relocation stands and what an operator can do next, as Markdown."""

from collections.abc import Iterable

from sqlalchemy import Engine

from relocation.errors import NOTHING_TO_DO, MissingOrganizationError
from relocation.ledger.results import RelocationCompleted
from relocation.ledger.tables import TryOutcome
from relocation.ledger.tries import done_result, last_try
from relocation.model import Relocation
from relocation.notices.failure import Destination
from relocation.notices.recipients import mailable
from relocation.recovery.settlement import destination_state
from relocation.steps import RollBackState, Status
from relocation.text import listed, one_line

_DESTINATION = {
    Destination.UNCHANGED: "Nothing was changed in the destination.",
    Destination.HIDDEN: "What was imported so far is in the destination, where nobody can see it.",
    Destination.VISIBLE: "The organizations are in the destination and visible.",
    Destination.REMOVED: "What had been imported was removed from the destination.",
}


def next_steps(ledger: Engine, relocation: Relocation) -> str:
    """Return the page for a relocation that has ended, or waits.

    It says nothing of people: whom the mails went to is in the ledger alone.
    """
    where = f" in `{relocation.failed_task or relocation.task}`" if relocation.task else ""
    title = f"# {relocation.status}{'' if relocation.status is Status.SUCCESS else where}\n\n"
    match relocation.status:
        case Status.SUCCESS:
            return title + _succeeded(ledger, relocation)
        case Status.FAILURE:
            return title + _failed(ledger, relocation)
        case Status.PAUSED:
            return title + _paused(relocation)
        case Status.CANCELLED:
            return title + _cancelled(ledger, relocation)
        case _:
            return title + _interrupted()


def _succeeded(ledger: Engine, relocation: Relocation) -> str:
    done = done_result(ledger, relocation.id, RelocationCompleted)
    return (
        f"In the destination: {code_list(done.organizations if done else ())}. "
        f"{_told(relocation, 'a list of the changes')}\n\n"
        "There is nothing left to do. The tables next to this page account for every record and "
        "email.\n"
    )


def _failed(ledger: Engine, relocation: Relocation) -> str:
    last = last_try(ledger, relocation.id, relocation.round)
    advice = (last.advice if last else None) or NOTHING_TO_DO
    refused = last is not None and last.outcome is TryOutcome.REFUSED and advice != NOTHING_TO_DO
    state = destination_state(ledger, relocation)
    left = _what_is_left(relocation, state)
    steps = [_look(relocation), *(_anew(relocation, advice) if refused else ()), _go_on(relocation)]
    if state is Destination.HIDDEN:
        steps.append(
            "To give up and remove what was imported:\n\n"
            + _command(f"relocation rollback {relocation.id}")
        )
    numbered = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1))
    return (
        f"> {one_line(relocation.reason or '', limit=500)}\n\n{left} "
        f"This is round {relocation.round}. {_told(relocation)}\n\n"
        f"## What to do next\n\n{numbered}"
    )


def _told(relocation: Relocation, what: str = "this reason") -> str:
    """Say who was told, without an address."""
    if relocation.forgotten_at is not None:
        return ""
    reached = [
        who
        for who, address in (
            ("owner", relocation.owner_email),
            ("creator", relocation.creator_email),
        )
        if address and mailable(address)
    ]
    if "owner" in reached:
        return f"Its owner gets {what} by email."
    if reached:
        return (
            "Its owner has no working address, so its creator and an operator are emailed instead."
        )
    return f"Its owner has no working address, so an operator gets {what} by email instead."


def _look(relocation: Relocation) -> str:
    return "See the internal error and every try:\n\n" + _command(
        f"relocation show {relocation.id}"
    )


def _anew(relocation: Relocation, advice: str) -> tuple[str, ...]:
    # The slugs that were asked for are the wrong ones then.
    known = advice != MissingOrganizationError.next_step
    slugs = relocation.organizations[:20] if known else ("SLUG",)
    options = " ".join(f"-o {slug}" for slug in slugs)
    return (
        f"What its owner can do: *{advice}* With the new archive:\n\n"
        + _command(f"relocation submit FILE {code(options)} --owner OWNER"),
    )


def _go_on(relocation: Relocation) -> str:
    return (
        "If you can fix the cause in place, fix it, then choose **Retry** in the menu of this "
        "flow run. Finished tasks are skipped, whatever the dialog says about results. Emails "
        "report the outcome. Or from the command line:\n\n"
        + _command(f"relocation recover {relocation.id}")
    )


def _cancelled(ledger: Engine, relocation: Relocation) -> str:
    state = destination_state(ledger, relocation)
    left = _what_is_left(relocation, state)
    again = "To start over, choose **Copy to new run**, or:\n\n" + _command(
        f"relocation retry {relocation.id}", indent=""
    )
    if state in {Destination.UNCHANGED, Destination.REMOVED}:
        return f"{left} There is nothing left to do. {again}"
    return (
        f"{left} `relocation show {relocation.id}` says why it couldn't be removed. Fix that, "
        "then remove it:\n\n"
        + _command(f"relocation rollback {relocation.id}", indent="")
        + f"\n{again}"
    )


def _what_is_left(relocation: Relocation, state: Destination) -> str:
    if relocation.roll_back is RollBackState.BEGUN:
        return (
            "Its rollback has started but not finished, so part of it may still be in the "
            "destination."
        )
    return _DESTINATION[state]


def _paused(relocation: Relocation) -> str:
    return (
        f"It is waiting before {relocation.step.name} until someone resumes it. Press **Resume**, "
        "or:\n\n" + _command(f"relocation unpause {relocation.id}", indent="")
    )


def _interrupted() -> str:
    return (
        "The process working on it is gone. Nothing is lost, and you don't need to do anything: "
        "it resumes where it stopped, on any worker, no later than the next sweep (every five "
        "minutes). If it doesn't, find out what is wrong, then sweep right away:\n\n"
        + _command("relocation doctor", "relocation sweep", indent="")
    )


def _command(*lines: str, indent: str = "   ") -> str:
    return "".join(f"{indent}{line}\n" for line in ("```sh", *lines, "```"))


def code_list(items: Iterable[str]) -> str:
    """Return texts of anybody's as a Markdown list of code on one line."""
    return listed([f"`{code(item)}`" for item in items])


def code(text: str) -> str:
    """Return a text of anybody's that cannot end the code in which Markdown shows it."""
    return one_line(text, limit=120).replace("`", "'")
