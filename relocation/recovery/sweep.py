"""Find every relocation that nobody sees to, and see to it: what no hook could, and no person."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from relocation.ledger.worklist import abandoned, suspended_ids, unsettled_among
from relocation.model import Relocation
from relocation.recovery.alerts import alert_if_stuck, alert_unsettled
from relocation.recovery.context import RecoveryContext
from relocation.recovery.reconcile import ReconcileResult, reconcile
from relocation.recovery.runs import Run, RunState

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepResult:
    """What a sweep did about one relocation."""

    relocation_id: str
    outcome: ReconcileResult | None
    """None where it could not be reconciled: the operator is told, and the next sweep tries."""


def sweep(context: RecoveryContext) -> Iterator[SweepResult]:
    """Settle, resume or leave each relocation that nobody holds, and each run nobody settled.

    One that cannot be reconciled keeps no other waiting.
    """
    silent = {
        relocation.id: relocation for relocation in abandoned(context.ledger, context.clock())
    }
    runs = _runs_to_check(context)
    runs |= context.runs.read(silent.keys() - runs.keys())
    for relocation_id in dict.fromkeys([*silent, *runs]):
        relocation = silent.get(relocation_id)
        yield SweepResult(relocation_id, _reconcile(context, relocation_id, relocation, runs))


def _runs_to_check(context: RecoveryContext) -> dict[str, Run | None]:
    """Return the runs that somebody has to look at whatever the ledger says; None for one gone."""
    since = context.clock() - timedelta(seconds=context.settings.sweep_lookback)
    found = {run.id: run for run in context.runs.unsuccessful(since)}
    unsettled = unsettled_among(context.ledger, found.keys()) if found else set[str]()
    paused = suspended_ids(context.ledger)
    its_run = context.runs.read(paused)
    return {
        # Also what is settled: the process may have died before its run showed that.
        **{id_: run for id_, run in found.items() if run.state is RunState.RUNNING},
        **{id_: found[id_] for id_ in unsettled},
        **{
            id_: its_run.get(id_)
            for id_ in paused
            if id_ not in its_run or its_run[id_].state is not RunState.PAUSED
        },
    }


def _reconcile(
    context: RecoveryContext,
    relocation_id: str,
    relocation: Relocation | None,
    runs: dict[str, Run | None],
) -> ReconcileResult | None:
    try:
        outcome = reconcile(context, relocation_id, runs.get(relocation_id))
    except Exception as err:  # noqa: BLE001 - whatever it is, it must not keep the others waiting
        _log.exception("Relocation %s could not be reconciled", relocation_id)
        if relocation is not None:
            alert_unsettled(context, relocation, err)
        return None
    if outcome is ReconcileResult.LEFT and relocation is not None:
        alert_if_stuck(context, relocation)
    return outcome
