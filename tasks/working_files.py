"""Where a relocation's working files lie in the storage, and their removal."""

from contextlib import suppress
from datetime import timedelta

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from relocation.archive.storage import Storage
from relocation.ledger.holds import Hold
from relocation.ledger.reconciling import forget_files, open_ids, with_old_files
from relocation.ledger.tables import utc_now
from relocation.prefect_api.blocks import load_destination, load_ledger, load_storage
from relocation.request import live_archive
from relocation.settings import Settings
from relocation.transfer.dry_run.scratch import remove_abandoned_scratch
from relocation.transfer.prepare.normalised import delete_normalised
from tasks.held import opened_for


def export_prefix(relocation_id: str) -> str:
    """Return the prefix of the normalised export."""
    return f"relocations/{relocation_id}/export"


def baseline_prefix(relocation_id: str) -> str:
    """Return the prefix of the destination's config-scope records."""
    return f"relocations/{relocation_id}/baseline"


def colliding_users_prefix(relocation_id: str) -> str:
    """Return the prefix of the destination's users whose names the export uses too."""
    return f"relocations/{relocation_id}/colliding-users"


@task(cache_policy=NO_CACHE, persist_result=False, retries=2, retry_delay_seconds=5)
def discard_working_files(hold: Hold) -> None:
    """Remove what the relocation wrote into the storage; idempotent.

    Archives that somebody uploaded stay.
    """
    opened = opened_for(hold.relocation_id)
    forget_files(opened.ledger, hold.relocation_id)
    _discard(opened.storage, hold.relocation_id)


@task(cache_policy=NO_CACHE, persist_result=False)
def discard_old_files() -> None:
    """Remove the working files of relocations that ended longer ago than they are kept."""
    settings = Settings()
    ledger, storage = load_ledger(settings), load_storage(settings)
    for relocation_id in with_old_files(ledger, utc_now() - timedelta(seconds=settings.retention)):
        if forget_files(ledger, relocation_id):
            _discard(storage, relocation_id)
            get_run_logger().info("The working files of relocation %s are removed", relocation_id)


@task(cache_policy=NO_CACHE, persist_result=False)
def discard_abandoned_scratch() -> None:
    """Remove the scratch databases of trial imports whose process was killed."""
    settings = Settings()
    removed = remove_abandoned_scratch(
        load_destination(settings), settings.home / "scratch", open_ids(load_ledger(settings))
    )
    if removed:
        get_run_logger().info("Scratch databases removed: %d", len(removed))


def _discard(storage: Storage, relocation_id: str) -> None:
    for prefix in (export_prefix, baseline_prefix, colliding_users_prefix):
        delete_normalised(storage, prefix(relocation_id))
    with suppress(FileNotFoundError):
        storage.open(live_archive(relocation_id)).close()  # a delete may leave an empty object
        storage.delete(live_archive(relocation_id))
