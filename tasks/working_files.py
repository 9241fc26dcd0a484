"""Where a relocation's working files lie in the storage, and their removal."""

from datetime import timedelta

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from sqlalchemy import Engine

from relocation.archive.storage import Storage
from relocation.ledger.holds import Hold
from relocation.ledger.relocations import get_relocation
from relocation.ledger.tables import utc_now
from relocation.ledger.tries import done_round
from relocation.ledger.worklist import (
    Discard,
    begin_discarding,
    end_discarding,
    to_discard,
    unsettled_among,
    with_old_files,
)
from relocation.prefect_api.blocks import load_destination, load_storage
from relocation.request import live_archive
from relocation.settings import Settings
from relocation.steps import Task
from relocation.transfer.dry_run.scratch import drop_scratch, scratches
from relocation.transfer.prepare.normalised import Normalised, delete_normalised, open_normalised
from tasks.relocation_task import Work
from tasks.resources import resources_for

_NAMES = {
    Task.SCAN_EXPORT: "export",
    Task.CAPTURE_BASELINE: "baseline",
    Task.CAPTURE_COLLIDING_USERS: "colliding-users",
}
"""The tasks that leave working files, and what these are called."""


def files_of(task: Task, hold: Hold) -> str:
    """Return the prefix under which a task writes its working files, one for each round.

    So that a new round can write while those of an earlier one are removed.
    """
    return _prefix(task, hold.relocation_id, hold.round)


def open_files(work: Work, task: Task) -> Normalised:
    """Open the working files of a task, in whichever round it got done."""
    hold = work.hold
    done = done_round(work.resources.ledger, hold.relocation_id, task)
    prefix = _prefix(task, hold.relocation_id, hold.round if done is None else done)
    return open_normalised(work.resources.storage, prefix, work.resources.private_key)


def _prefix(task: Task, relocation_id: str, round_: int) -> str:
    # Round 0 has what was written before there was a folder for each round.
    folder = f"{relocation_id}/{round_}" if round_ else relocation_id
    return f"relocations/{folder}/{_NAMES[task]}"


@task(cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=5)
def discard_working_files(hold: Hold) -> None:
    """Remove what the relocation wrote into the storage; idempotent.

    Archives that somebody uploaded stay.
    """
    resources = resources_for(hold.relocation_id)
    begin_discarding(resources.ledger, hold.relocation_id)
    for discard in to_discard(resources.ledger, hold.relocation_id):
        _carry_out(discard, resources.ledger, resources.storage)


@task(cache_policy=NO_CACHE, persist_result=False)
def discard_old_files(settings: Settings, ledger: Engine) -> None:
    """Remove the working files of relocations that ended longer ago than they are kept.

    So are those whose removal has begun and did not end: the storage failed, or a process died.
    """
    log, storage = get_run_logger(), load_storage(settings)
    for relocation_id in with_old_files(ledger, utc_now() - timedelta(seconds=settings.retention)):
        begin_discarding(ledger, relocation_id)
    failures = []
    for discard in to_discard(ledger):
        try:
            _carry_out(discard, ledger, storage)
        except Exception as err:  # one that cannot be removed must not keep the others
            log.exception("Working files of relocation %s are left", discard.relocation_id)
            failures.append(err)
        else:
            log.info("The working files of relocation %s are removed", discard.relocation_id)
    if failures:
        raise ExceptionGroup("Working files could not be removed; the next sweep tries", failures)


@task(cache_policy=NO_CACHE, persist_result=False)
def discard_abandoned_scratch(settings: Settings, ledger: Engine) -> None:
    """Remove the scratch databases of trial imports whose process was killed.

    Only of relocations that this ledger has, and has as ended: another service on the same
    destination has its own, and may be trying an import at this moment.
    """
    destination, folder = load_destination(settings), settings.home / "scratch"
    found = scratches(destination, folder)
    ended = found - unsettled_among(ledger, found)
    for relocation_id in sorted(ended):
        drop_scratch(destination, relocation_id, folder)
    if ended:
        get_run_logger().info("Scratch databases removed: %d", len(ended))


def _carry_out(discard: Discard, ledger: Engine, storage: Storage) -> None:
    for round_ in range(discard.first_round, discard.last_round + 1):
        for task_ in _NAMES:
            delete_normalised(storage, _prefix(task_, discard.relocation_id, round_))
    if get_relocation(ledger, discard.relocation_id).round == discard.last_round:
        # Else a new round exports there, and removes it in the end.
        storage.delete(live_archive(discard.relocation_id))
    end_discarding(ledger, discard, utc_now())
