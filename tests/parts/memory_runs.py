"""The server's flow runs, without the server; held to the real ones by tests/flows/test_runs.py."""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from relocation.model import Relocation
from relocation.recovery.runs import ENDS, Run, RunState
from relocation.steps import LifecycleEvent

_UNSUCCESSFUL = {
    RunState.PENDING,
    RunState.RUNNING,
    RunState.CANCELLING,
    RunState.FAILED,
    RunState.CRASHED,
    RunState.CANCELLED,
}


class MemoryRuns:
    """Flow runs with all the states that each of them had (satisfies `Runs`)."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.states: dict[str, list[Run]] = {}
        self.rescheduled: list[str] = []
        self.delays: list[timedelta] = []
        self.announced: list[tuple[str, LifecycleEvent]] = []
        self.away = False
        """While the server cannot be reached."""

    @property
    def runs(self) -> dict[str, Run]:
        return {id_: states[-1] for id_, states in self.states.items()}

    def put(
        self,
        relocation_id: str,
        state: RunState,
        message: str = "",
        *,
        request: Mapping[str, Any] | None = None,
        deployed: bool | None = None,
        raised: bool = False,
        suspension: str = "",
    ) -> Run:
        """Give a run a state, whoever does that; what it was asked stays."""
        states = self.states.setdefault(relocation_id, [])
        now = self.clock()
        if states:
            # The server's clock is finer than one that a test moves.
            now = max(now, states[-1].since + timedelta(microseconds=1))
            request = states[-1].request if request is None else request
            deployed = states[-1].deployed if deployed is None else deployed
        run = Run(
            relocation_id,
            state,
            now,
            message,
            deployed=deployed is not False,
            request=request or {},
            raised=raised,
            suspension=suspension,
        )
        states.append(run)
        return run

    def delete(self, relocation_id: str) -> None:
        self.states.pop(relocation_id, None)

    def read(self, relocation_ids: Collection[str]) -> dict[str, Run]:
        self._reach()
        return {id_: run for id_, run in self.runs.items() if id_ in set(relocation_ids)}

    def unsuccessful(self, since: datetime) -> list[Run]:
        self._reach()
        found = [
            run
            for id_, run in self.runs.items()
            if run.state in _UNSUCCESSFUL and self.states[id_][0].since >= since
        ]
        return sorted(found, key=lambda run: self.states[run.id][0].since, reverse=True)

    def was_resumed(self, relocation_id: str, suspension: str, since: datetime | None) -> bool:
        self._reach()
        states = self.states.get(relocation_id, [])
        begun = since or min((s.since for s in states if s.suspension == suspension), default=None)
        return begun is not None and any(
            s.state is RunState.SCHEDULED and s.since > begun for s in states
        )

    def reschedule(self, relocation_id: str, delay: timedelta = timedelta()) -> None:
        self._reach()
        self.rescheduled.append(relocation_id)
        self.delays.append(delay)
        self.put(relocation_id, RunState.SCHEDULED)

    def suspend(self, run: Run, suspension: str, limit: timedelta) -> Run:
        self._reach()
        now = self.runs[run.id]
        fired = any(state.suspension == suspension for state in self.states[run.id])
        if run.state in ENDS or (now.state is RunState.RUNNING and not fired and now.deployed):
            return self.put(run.id, RunState.PAUSED, suspension=suspension)
        return now

    def conclude(self, relocation_id: str, state: RunState, message: str) -> None:
        self._reach()
        self.put(relocation_id, state, message)

    def announce(self, relocation: Relocation, event: LifecycleEvent) -> None:
        self.announced.append((relocation.id, event))

    def _reach(self) -> None:
        if self.away:
            raise ConnectionError("the server cannot be reached")
