"""Find every relocation that nobody sees to, and see to it: what no hook could, and no person."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from relocation.ledger.reconciling import abandoned, suspended_ids, unsettled_among
from relocation.model import Relocation
from relocation.recovery.alarms import tell_if_stuck, tell_unsettled
from relocation.recovery.reconcile import Outcome, reconcile
from relocation.recovery.runs import Run, RunState
from relocation.recovery.settlement import Surroundings

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Swept:
    """What a sweep did about one relocation."""

    relocation_id: str
    outcome: Outcome | None
    """None where it could not be reconciled: the operator is told, and the next sweep tries."""


def sweep(around: Surroundings) -> Iterator[Swept]:
    """Settle, resume or leave each relocation that nobody holds, and each run nobody settled.

    One that cannot be reconciled keeps no other waiting.
    """
    silent = {one.id: one for one in abandoned(around.ledger, around.clock())}
    runs = _runs_to_look_at(around)
    runs |= around.runs.read(silent.keys() - runs.keys())
    for relocation_id in dict.fromkeys([*silent, *runs]):
        relocation = silent.get(relocation_id)
        yield Swept(relocation_id, _see_to(around, relocation_id, relocation, runs))


def _runs_to_look_at(around: Surroundings) -> dict[str, Run | None]:
    """Return the runs that somebody has to look at whatever the ledger says; None for one gone."""
    since = around.clock() - timedelta(seconds=around.settings.sweep_lookback)
    found = {run.id: run for run in around.runs.unsuccessful(since)}
    unsettled = unsettled_among(around.ledger, found.keys()) if found else set[str]()
    paused = suspended_ids(around.ledger)
    its_run = around.runs.read(paused)
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


def _see_to(
    around: Surroundings,
    relocation_id: str,
    relocation: Relocation | None,
    runs: dict[str, Run | None],
) -> Outcome | None:
    try:
        outcome = reconcile(around, relocation_id, runs.get(relocation_id))
    except Exception as err:  # noqa: BLE001 - whatever it is, it must not keep the others waiting
        _log.exception("Relocation %s could not be reconciled", relocation_id)
        if relocation is not None:
            tell_unsettled(around, relocation, err)
        return None
    if outcome is Outcome.LEFT and relocation is not None:
        tell_if_stuck(around, relocation)
    return outcome
