"""Whatever the order of workers, hooks, automation, sweep and operator, the promises hold."""

import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import Engine, create_engine, event

from relocation.database import engine_options, prepare
from relocation.errors import FencedOut, PermanentError, TriesUsedUpError
from relocation.ledger.control import pause_here, schedule_cancel, schedule_pause
from relocation.ledger.dispatch import Terms, claim_due, finish, mark_sending, release_expired
from relocation.ledger.holds import Hold, hold_of, open_relocation, renew
from relocation.ledger.migrate import migrate
from relocation.ledger.outbox import notices_of
from relocation.ledger.reconciling import abandoned, unsettled_among
from relocation.ledger.relocations import find_relocation, list_relocations
from relocation.ledger.tables import NoticeState, TryOutcome
from relocation.ledger.tries import begin_try, complete_task, done_result, end_try, succeed
from relocation.model import Relocation, RollBackReport
from relocation.notices.kinds import Draft, NoticeKind
from relocation.notices.operator import Operator
from relocation.recovery.control import abort, recover
from relocation.recovery.reconcile import reconcile
from relocation.recovery.runs import Run, RunState
from relocation.recovery.settlement import Surroundings
from relocation.request import RelocationRequest
from relocation.settings import Settings
from relocation.steps import ACTIVE, POLICIES, Status, Task

OWNERS = {"r-1": "olivia", "r-2": "olivia", "r-3": "noah"}
MAIL = "owner@example.org"
DOMAIN = "example.org"
TERMS = Terms(Operator("operator@example.org"), DOMAIN, resend_unknown=True)
END_KINDS = {NoticeKind.FAILED: "FAILURE", NoticeKind.CANCELLED: "CANCELLED"}
ids = st.sampled_from(sorted(OWNERS))
pick = st.randoms(use_true_random=False)
# The import's own rows are other tests' business: here no task touches a destination.
TASKS = [task for task in Task if task is not Task.IMPORT_ORGANIZATIONS]


def _engine(path: Path) -> Engine:
    engine = prepare(create_engine(f"sqlite:///{path}", **engine_options("sqlite")))
    # Nothing here dies with the power, and thousands of transactions need not wait for the disk.
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = OFF"))
    return engine


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        migrate(_engine(path))
        return path.read_bytes()


class Runs:
    """The server's flow runs, in memory."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.runs: dict[str, Run] = {}

    def read(self, relocation_ids: Any) -> dict[str, Run]:
        return {one: self.runs[one] for one in relocation_ids if one in self.runs}

    def unsuccessful(self, since: datetime) -> list[Run]:
        succeeded = {RunState.COMPLETED, RunState.SCHEDULED, RunState.PAUSED}
        return [run for run in self.runs.values() if run.state not in succeeded]

    def reschedule(self, relocation_id: str) -> None:
        self.put(relocation_id, RunState.SCHEDULED)

    def conclude(self, relocation_id: str, state: RunState, message: str) -> None:
        self.put(relocation_id, state)

    def announce(self, relocation: Any, turn: Any) -> None:
        assert turn

    def put(self, relocation_id: str, state: RunState) -> None:
        request = {"archive": "a", "organizations": ["acme"], "owner": OWNERS[relocation_id]}
        self.runs[relocation_id] = Run(relocation_id, state, self.clock(), request=request)


class Lifecycle(RuleBasedStateMachine):
    """Three relocations of two owners, and everybody who may act on them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "ledger.db").write_bytes(_migrated())
        self.engine = _engine(self.folder / "ledger.db")
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        self.runs = Runs(lambda: self.now)
        self.around = Surroundings(
            Settings(_env_file=None),
            self.engine,
            self.runs,
            self._no_roll_back,
            "host:9",
            clock=lambda: self.now,
        )
        self.fences = dict.fromkeys(OWNERS, 0)
        self.rounds = dict.fromkeys(OWNERS, 0)
        self.alive: list[Hold] = []
        """Processes that believe that they work, the true holder among them."""
        self.settlements: dict[tuple[str, int], str] = {}
        self.sends: dict[int, int] = {}

    def _no_roll_back(self, *_: object, **__: object) -> RollBackReport:
        raise AssertionError("nothing was imported")

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def _stored(self, id_: str) -> Relocation | None:
        return find_relocation(self.engine, id_)

    def _holds_it(self, hold: Hold) -> bool:
        stored = self._stored(hold.relocation_id)
        return (
            stored is not None and hold_of(stored) == hold and stored.status is Status.IN_PROGRESS
        )

    # A worker takes a run, and everything that a process does.

    @rule(id_=ids)
    def open(self, id_: str) -> None:
        before = self._stored(id_)
        request = RelocationRequest(archive="a", organizations=["acme"], owner=OWNERS[id_])
        self.runs.put(id_, RunState.RUNNING)
        try:
            opened = open_relocation(self.engine, id_, request, self.now)
        except PermanentError as err:
            ended = before is not None and before.status in {Status.SUCCESS, Status.CANCELLED}
            busy = [
                one
                for one in list_relocations(self.engine, owner=OWNERS[id_])
                if one.status in ACTIVE and one.id != id_
            ]
            assert ended or busy
            self._fail(id_, err, None)
        else:
            assert before is None or before.status not in {Status.SUCCESS, Status.CANCELLED}
            assert opened.fence == (before.fence if before else 0) + 1
            goes_on = before is not None and before.status in ACTIVE
            assert opened.round == (before.round if before else 0) + (0 if goes_on else 1)
            self.alive.append(hold_of(opened))

    @precondition(lambda self: self.alive)
    @rule(random=pick, task=st.sampled_from(TASKS), refused=st.booleans(), ends=st.booleans())
    def work(self, random: Any, task: Task, refused: bool, ends: bool) -> None:
        """Any process goes on as if it still held the relocation."""
        hold = random.choice(self.alive)
        held = self._holds_it(hold)
        if done_result(self.engine, hold.relocation_id, task) is not None:
            return
        drafts = [Draft(NoticeKind.STARTED, MAIL)]
        try:
            number = begin_try(self.engine, hold, task, POLICIES[task], "host:1", now=self.now)
            if not ends:
                return
            if refused:
                error = PermanentError("No.")
                outcome = TryOutcome.REFUSED
                end_try(
                    self.engine, hold, task, number, outcome, error="", cause=error, now=self.now
                )
                self._fail(hold.relocation_id, error, hold)
                self.alive.remove(hold)
            elif task is Task.COMPLETE:
                succeed(
                    self.engine, hold, number, {}, drafts=drafts, sender_domain=DOMAIN, now=self.now
                )
                self._note(hold.relocation_id, "SUCCESS")
                self.runs.put(hold.relocation_id, RunState.COMPLETED)
                self.alive.remove(hold)
            else:
                complete_task(
                    self.engine,
                    hold,
                    task,
                    number,
                    {},
                    drafts=drafts,
                    sender_domain=DOMAIN,
                    now=self.now,
                )
        except FencedOut:
            assert not held
            self.alive.remove(hold)  # it stops at once, and reports nothing
        except TriesUsedUpError as err:
            assert held
            self._fail(hold.relocation_id, err, hold)
            self.alive.remove(hold)
        else:
            assert held

    def _fail(self, id_: str, error: BaseException, own: Hold | None) -> None:
        """The run ends Failed, and its hook settles it, or dies before it does."""
        self.runs.put(id_, RunState.FAILED)
        self._reconciled(id_, error=error, own=own, set_state=False)

    @precondition(lambda self: self.alive)
    @rule(random=pick)
    def sign_of_life(self, random: Any) -> None:
        hold = random.choice(self.alive)
        try:
            renew(self.engine, hold, 30, self.now)
        except FencedOut:
            self.alive.remove(hold)

    @precondition(lambda self: self.alive)
    @rule(random=pick, reported=st.booleans())
    def die(self, random: Any, reported: bool) -> None:
        """A process is killed; its worker reports it, or died with it."""
        hold = random.choice(self.alive)
        self.alive.remove(hold)
        if reported:
            self.runs.put(hold.relocation_id, RunState.CRASHED)

    @precondition(lambda self: self.alive)
    @rule(random=pick)
    def pause_in_the_process(self, random: Any) -> None:
        hold = random.choice(self.alive)
        held = self._holds_it(hold)
        stored = self._stored(hold.relocation_id)
        assert stored is not None
        self.alive.remove(hold)
        try:
            pause_here(self.engine, hold, stored.step, self.now)
        except FencedOut:
            assert not held
        else:
            self.runs.put(hold.relocation_id, RunState.PAUSED)

    # Those who look.

    @rule(id_=ids)
    def hook_in_another_process(self, id_: str) -> None:
        self._reconciled(id_, set_state=False)

    @rule(id_=ids)
    def automation(self, id_: str) -> None:
        self._reconciled(id_)

    @rule()
    def sweep(self) -> None:
        ended = {run.id for run in self.runs.unsuccessful(self.now)}
        silent = {one.id for one in abandoned(self.engine, self.now)}
        for id_ in silent | unsettled_among(self.engine, ended):
            self._reconciled(id_)

    def _reconciled(self, id_: str, **how: Any) -> None:
        run = self.runs.runs.get(id_)
        before = self._stored(id_)
        if run is None and before is None:
            return
        reconcile(self.around, id_, run, **how)
        after = self._stored(id_)
        if after is not None and not after.is_open and (before is None or before.is_open):
            self._note(id_, after.status)

    # A person.

    @rule(id_=ids, what=st.sampled_from(["retry", "abort", "recover", "pause", "cancel"]))
    def operator(self, id_: str, what: str) -> None:
        before = self._stored(id_)
        if before is None:
            return
        try:
            match what:
                case "retry":
                    self.runs.put(id_, RunState.SCHEDULED)
                case "abort":
                    if abort(self.around, id_):
                        self._note(id_, "CANCELLED")
                case "recover":
                    recover(self.around, id_)
                case "pause":
                    schedule_pause(self.engine, id_, now=self.now)
                case "cancel":
                    schedule_cancel(self.engine, id_, now=self.now)
        except PermanentError:
            after = self._stored(id_)
            assert after == before

    @rule(id_=ids, state=st.sampled_from([s for s in RunState if s is not RunState.SCHEDULED]))
    def set_a_state_by_hand(self, id_: str, state: RunState) -> None:
        if id_ in self.runs.runs:
            self.runs.put(id_, state)

    # The rest of the world.

    @rule(ends=st.sampled_from(["sent", "retry", "unknown", "dies", "dies sending"]))
    def deliver(self, ends: str) -> None:
        release_expired(self.engine, TERMS, now=self.now)
        notice = claim_due(self.engine, claimed_by="w:1", lease_seconds=60, now=self.now)
        if notice is None or ends == "dies":
            return
        mark_sending(self.engine, notice, b"wire", lease_seconds=60, now=self.now)
        self.sends[notice.id] = self.sends.get(notice.id, 0) + (ends != "retry")
        if ends != "dies sending":
            finish(self.engine, notice, ends, "", TERMS, now=self.now)

    @rule(seconds=st.sampled_from([1, 15, 45, 600, 6000]))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    def _note(self, id_: str, status: str) -> None:
        stored = self._stored(id_)
        assert stored is not None
        assert (id_, stored.round) not in self.settlements, "two settlements in one round"
        self.settlements[id_, stored.round] = status

    @invariant()
    def fences_and_rounds_only_rise(self) -> None:
        for stored in list_relocations(self.engine):
            assert stored.fence >= self.fences[stored.id]
            assert stored.round >= self.rounds[stored.id]
            self.fences[stored.id], self.rounds[stored.id] = stored.fence, stored.round

    @invariant()
    def a_relocation_has_one_holder_at_most(self) -> None:
        held = [hold.relocation_id for hold in self.alive if self._holds_it(hold)]
        assert len(held) == len(set(held))

    @invariant()
    def an_owner_has_one_active_relocation_at_most(self) -> None:
        active = [one.owner for one in list_relocations(self.engine) if one.status in ACTIVE]
        assert len(active) == len(set(active))

    @invariant()
    def no_end_without_its_notice_and_no_notice_without_its_end(self) -> None:
        for stored in list_relocations(self.engine):
            if stored.status in {Status.FAILURE, Status.CANCELLED} and not stored.is_open:
                assert self.settlements[stored.id, stored.round] == stored.status
                assert stored.reason
            told = {
                (notice.round, END_KINDS[notice.kind])
                for notice in notices_of(self.engine, stored.id)
                if notice.kind in END_KINDS
            }
            ends = {
                (round_, status)
                for (id_, round_), status in self.settlements.items()
                if id_ == stored.id and status != "SUCCESS"
            }
            assert told == ends

    @invariant()
    def nothing_is_sent_twice_without_a_doubt(self) -> None:
        for notice in (n for id_ in OWNERS for n in notices_of(self.engine, id_)):
            sends = self.sends.get(notice.id, 0)
            assert sends <= min(2, notice.ambiguous + 1)
            assert notice.state is not NoticeState.SENT or sends >= 1


TestLifecycle = Lifecycle.TestCase
TestLifecycle.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
