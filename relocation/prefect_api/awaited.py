"""Relocations that were submitted, and that no worker has begun: the ledger knows none of them."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort

from relocation.prefect_api.flow_runs import RELOCATE, runs_of, to_run
from relocation.recovery.settlement import tolerant_request
from relocation.settings import Settings

_MOST = 200
SCHEDULED = "SCHEDULED"
"""Its time has not come."""
WAITING = "WAITING"
"""For a worker."""


@dataclass(frozen=True)
class Awaited:
    """A relocation that is to begin."""

    id: str
    status: str
    organizations: tuple[str, ...]
    owner: str
    creator: str | None
    starts_at: datetime
    created_at: datetime

    def has(self, words: Collection[str]) -> bool:
        """Say whether every word is a part of what it is known by, in upper or lower case."""
        known = " ".join((self.id, self.owner, self.creator or "", *self.organizations)).lower()
        return all(word.lower() in known for word in words)

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON data."""
        return asdict(self) | {"step": None, "reason": None}


def awaited_runs(relocation_id: str | None = None) -> list[Awaited]:
    """Return what waits to begin, or to begin again; the newest first, or the one of this id."""
    states = [StateType.SCHEDULED, StateType.PENDING]
    which = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states)))
    if relocation_id is not None:
        try:
            which.id = FlowRunFilterId(any_=[UUID(relocation_id)])
        except ValueError:
            return []
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            **runs_of(Settings().named(RELOCATE)),
            flow_run_filter=which,
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=_MOST,
        )
    return [_awaited(run) for run in runs]


def _awaited(run: FlowRun) -> Awaited:
    request = tolerant_request(to_run(run).request)
    now = datetime.now(UTC)
    starts_at = run.next_scheduled_start_time or run.expected_start_time or now
    return Awaited(
        id=str(run.id),
        status=SCHEDULED if starts_at > now else WAITING,
        organizations=tuple(request.organizations),
        owner=request.owner,
        creator=request.creator,
        starts_at=starts_at,
        created_at=run.created or now,
    )
