"""See to relocations whose run ended without being settled, was interrupted, or is silent."""

from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Failed

from relocation.ledger.relocations import find_relocation
from relocation.prefect_api.artifacts import show_next_steps
from relocation.prefect_api.context import recovery_context
from relocation.prefect_api.flow_runs import is_of_another_deployment
from relocation.recovery.context import RecoveryContext
from relocation.recovery.reconcile import ReconcileResult, await_worker, reconcile, wait_until_free
from relocation.recovery.sweep import sweep
from relocation.settings import Settings
from relocation.text import listed


@task(cache_policy=NO_CACHE, persist_result=False, retries=3, retry_delay_seconds=[5, 20, 60])
def reconcile_relocation(relocation_id: str, settings: Settings) -> ReconcileResult:
    """Settle or resume one relocation, once the process that held it is surely gone.

    A run of another installation is left to that.
    """
    context = recovery_context(settings)
    unknown = find_relocation(context.ledger, relocation_id) is None
    if unknown and is_of_another_deployment(relocation_id, settings):
        get_run_logger().warning("Run %s is of another deployment than ours", relocation_id)
        return ReconcileResult.LEFT
    outcome = ReconcileResult.HELD
    if wait_until_free(context, relocation_id):
        run = await_worker(context, relocation_id)
        outcome = reconcile(context, relocation_id, run)
    get_run_logger().info("Relocation %s: %s", relocation_id, outcome)
    if outcome.is_change:
        show_next_steps(context.ledger, relocation_id)
    return outcome


@task(cache_policy=NO_CACHE, persist_result=False)
def reconcile_open_relocations(context: RecoveryContext) -> State[Any] | None:
    """Settle, resume or leave each relocation that nobody holds, and each run nobody settled.

    Fails, once it has seen to all of them, where one could not be reconciled.
    """
    log = get_run_logger()
    failed = []
    for swept in sweep(context):
        if swept.outcome is None:
            failed.append(swept.relocation_id)
        elif swept.outcome.is_change:
            log.warning("Relocation %s: %s", swept.relocation_id, swept.outcome)
            show_next_steps(context.ledger, swept.relocation_id)
    if failed:
        return Failed(message=f"These could not be reconciled: {listed(failed)}")
    return None
