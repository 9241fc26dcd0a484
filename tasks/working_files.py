"""Where a relocation's working files lie in the storage, and their removal."""

from prefect import task
from prefect.cache_policies import NO_CACHE

from relocation.blocks import load_storage
from relocation.ledger.relocations import Hold
from relocation.settings import Settings
from relocation.transfer.normalised import delete_normalised


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
    """Remove what the relocation wrote into the storage, except its archive; idempotent."""
    storage = load_storage(Settings())
    for prefix in (export_prefix, baseline_prefix, colliding_users_prefix):
        delete_normalised(storage, prefix(hold.relocation_id))
