"""Let many failed relocations go on, a few at a time, once their cause is fixed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from relocation.errors import CommandError
from relocation.ledger.relocations import (
    failed_relocations,
    get_relocation,
    owners_with_active_relocations,
)
from relocation.model import Relocation
from relocation.recovery.actions import recover
from relocation.recovery.context import RecoveryContext
from relocation.steps import Status

POLL_SECONDS = 2.0


@dataclass
class Rerun:
    """What became of each of many relocations that were to go on, by id."""

    ended: dict[str, Status] = field(default_factory=dict)
    """Those that went on, and where they are now."""
    refused: dict[str, str] = field(default_factory=dict)
    """Those that cannot go on, and why."""
    left: list[str] = field(default_factory=list)
    """Those that were not tried, since the first ones failed again in the same way."""


def failed_with_same_cause(context: RecoveryContext, relocation_id: str) -> list[Relocation]:
    """Return the failed relocations that share their cause with this one, itself among them.

    Raises CommandError where it has not failed, or its cause is not known.
    """
    relocation = get_relocation(context.ledger, relocation_id)
    if relocation.status is not Status.FAILURE or relocation.is_open:
        raise CommandError(f"This relocation has not failed; it is {relocation.status}.")
    if relocation.cause is None:
        raise CommandError(
            "The cause of this failure was not recorded. Resume this relocation on its own: "
            f"relocation recover {relocation_id}"
        )
    return failed_relocations(context.ledger, cause=relocation.cause)


def failed_since(context: RecoveryContext, since: datetime) -> list[Relocation]:
    """Return the relocations that failed since then, whatever the cause, the oldest first."""
    return failed_relocations(context.ledger, since=since)


def recover_all(
    context: RecoveryContext,
    failed: Sequence[Relocation],
    *,
    at_once: int,
    tell: Callable[[str, str], object] = lambda _id, _what: None,
    sleep: Callable[[float], object] = time.sleep,
) -> Rerun:
    """Let failed relocations go on, at most `at_once` at a time, and wait until they have ended.

    One of an owner's at a time, since a second one would be refused. Where the first ones all fail
    again with their old cause, it is not fixed: the others are left as they are. `tell` hears of
    each turn. Ended in the middle, nothing is lost: what goes on goes on.
    """
    done, waiting = Rerun(), list(failed)
    running: dict[str, Relocation] = {}
    failed_again = 0
    while waiting or running:
        for relocation_id, before in list(running.items()):
            now = get_relocation(context.ledger, relocation_id)
            if now.round == before.round or (now.is_open and now.status is not Status.PAUSED):
                continue
            del running[relocation_id]
            done.ended[relocation_id] = now.status
            again = now.status is Status.FAILURE and now.cause == before.cause
            failed_again += again
            tell(relocation_id, f"{now.status}{', for the same cause' if again else ''}")
        if len(done.ended) >= at_once and failed_again == len(done.ended) and waiting:
            done.left += [relocation.id for relocation in waiting]
            waiting.clear()
        # Until one of them got further than before, no more than the first ones are tried.
        room = at_once - len(running) - (len(done.ended) if failed_again == len(done.ended) else 0)
        for relocation in _start(context, waiting, running, done, room):
            tell(relocation.id, "resuming")
        if running:
            sleep(POLL_SECONDS)
        elif waiting:
            busy = "its owner has another relocation that hasn't finished"
            done.refused |= {relocation.id: busy for relocation in waiting}
            waiting.clear()
    return done


def _start(
    context: RecoveryContext,
    waiting: list[Relocation],
    running: dict[str, Relocation],
    done: Rerun,
    room: int,
) -> list[Relocation]:
    """Let as many go on as there is room for; returns them."""
    started: list[Relocation] = []
    busy = owners_with_active_relocations(context.ledger) | {
        relocation.owner for relocation in running.values()
    }
    for relocation in list(waiting):
        if len(started) >= room:
            break
        if relocation.owner in busy:
            continue
        waiting.remove(relocation)
        try:
            recover(context, relocation.id)
        except CommandError as err:
            done.refused[relocation.id] = err.reason
            continue
        running[relocation.id] = relocation
        busy.add(relocation.owner)
        started.append(relocation)
    return started
