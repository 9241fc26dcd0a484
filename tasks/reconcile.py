"""See to relocations whose run ended without being settled, was interrupted, or is silent."""

from datetime import timedelta

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from relocation.ledger.reconciling import abandoned, unsettled_among
from relocation.prefect_api.context import surroundings
from relocation.recovery.alarms import tell_if_stuck, tell_unsettled
from relocation.recovery.reconcile import Outcome, await_worker, reconcile, wait_until_free
from relocation.recovery.runs import Run, RunState
from tasks.artifacts import show_standing


@task(cache_policy=NO_CACHE, persist_result=False, retries=3, retry_delay_seconds=[5, 20, 60])
def reconcile_relocation(relocation_id: str) -> Outcome:
    """Settle or resume one relocation, once the process that held it is surely gone."""
    around = surroundings()
    outcome = Outcome.HELD
    if wait_until_free(around, relocation_id):
        run = await_worker(around, relocation_id)
        outcome = reconcile(around, relocation_id, run)
    get_run_logger().info("Relocation %s: %s", relocation_id, outcome)
    if outcome.is_change:
        show_standing(relocation_id)
    return outcome


@task(cache_policy=NO_CACHE, persist_result=False)
def reconcile_open_relocations() -> None:
    """Settle, resume or leave each relocation that nobody holds, and each run nobody settled."""
    around = surroundings()
    log = get_run_logger()
    since = around.clock() - timedelta(seconds=around.settings.sweep_lookback)
    found = {run.id: run for run in around.runs.unsuccessful(since)}
    unsettled = unsettled_among(around.ledger, found.keys()) if found else set[str]()
    # Also what is settled: the process may have died before its run showed that.
    at_work = {run.id for run in found.values() if run.state is RunState.RUNNING}
    silent = {relocation.id: relocation for relocation in abandoned(around.ledger)}
    runs: dict[str, Run] = found | (around.runs.read(silent) if silent else {})
    for relocation_id in {*silent, *unsettled, *at_work}:
        try:
            outcome = reconcile(around, relocation_id, runs.get(relocation_id))
        except Exception as err:  # one that cannot be settled must not keep the others waiting
            log.exception("Relocation %s could not be reconciled", relocation_id)
            if relocation_id in silent:
                tell_unsettled(around, silent[relocation_id], err)
            continue
        if outcome is Outcome.LEFT and relocation_id in silent:
            tell_if_stuck(around, silent[relocation_id])
        if outcome.is_change:
            log.warning("Relocation %s: %s", relocation_id, outcome)
            show_standing(relocation_id)
