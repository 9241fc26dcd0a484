"""Open the relocation in the ledger, or take it up again."""

from datetime import UTC, datetime

from prefect import get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE

from relocation.blocks import load_ledger
from relocation.ledger.relocations import Hold, open_relocation
from relocation.request import RelocationRequest
from relocation.settings import Settings
from tasks.artifacts import show_request
from tasks.boundary import worth_another_try


@task(
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=3,
    retry_delay_seconds=[1, 5, 15],
    retry_condition_fn=worth_another_try,
)
def begin_relocation(request: RelocationRequest) -> Hold:
    """Open the relocation in the ledger under this flow run's id, and hold it.

    A relocation that was interrupted goes on in its round; one that had failed begins a new round.
    """
    relocation = open_relocation(
        load_ledger(Settings()), str(runtime.flow_run.id), request, datetime.now(UTC)
    )
    get_run_logger().info(
        "Relocation %s, round %d, from archive %s",
        relocation.id,
        relocation.round,
        relocation.archive,
    )
    show_request(relocation)
    return relocation.hold
