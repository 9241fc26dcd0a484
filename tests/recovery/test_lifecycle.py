"""Whatever the order of workers, hooks, automation, sweep and operator, the promises hold."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Literal, Unpack

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from ledgers import at
from memory_runs import MemoryRuns
from recovery_world import Seen
from sqlalchemy import Engine, create_engine, event
from task_results import COMPLETED, result_of

from relocation.database import engine_options, prepare
from relocation.errors import FencedOut, PermanentError, TriesUsedUpError
from relocation.ledger.dispatch import (
    DeliveryPolicy,
    RecordedOutcome,
    finish,
    lease_due,
    mark_sending,
    release_expired,
)
from relocation.ledger.holds import Hold, hold_of, open_relocation, renew
from relocation.ledger.migrate import migrate
from relocation.ledger.outbox import notices_of
from relocation.ledger.relocations import find_relocation, list_relocations
from relocation.ledger.tables import NoticeState, TryOutcome
from relocation.ledger.transitions import (
    confirm_suspension,
    record_pause,
    schedule_cancel,
    schedule_pause,
)
from relocation.ledger.tries import begin_try, complete_task, end_try, is_done, succeed
from relocation.model import Relocation, RollBackReport
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.notices.operator import Operator
from relocation.recovery.actions import abort, recover, unpause
from relocation.recovery.context import RecoveryContext
from relocation.recovery.decision import suspension_key
from relocation.recovery.reconcile import reconcile
from relocation.recovery.runs import ENDS, Run, RunState
from relocation.recovery.settlement import end_relocation
from relocation.recovery.sweep import sweep
from relocation.request import RelocationRequest
from relocation.settings import Settings
from relocation.steps import ACTIVE, POLICIES, Status, Task

OWNERS = {"r-1": "olivia", "r-2": "olivia", "r-3": "noah"}
MAIL = "owner@example.org"
DOMAIN = "example.org"
POLICY = DeliveryPolicy(Operator("operator@example.org"), DOMAIN, resend_unknown=True)
END_KINDS = {NoticeKind.FAILED: "FAILURE", NoticeKind.CANCELLED: "CANCELLED"}
PERSONS_WISHES = ["retry", "abort", "recover", "pause", "unpause", "cancel"]
QUIET_SWEEPS = 12
"""Three hours apart: past the day in which an interrupted relocation must go on."""
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


class Lifecycle(RuleBasedStateMachine):
    """Three relocations of two owners, and everybody who may act on them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "ledger.db").write_bytes(_migrated())
        self.engine = _engine(self.folder / "ledger.db")
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        self.runs = MemoryRuns(lambda: self.now)
        self.context = RecoveryContext(
            Settings(_env_file=None),
            self.engine,
            self.runs,
            self._no_roll_back,
            "host:9",
            clock=lambda: self.now,
        )
        self.fences = dict.fromkeys(OWNERS, 0)
        self.rounds = dict.fromkeys(OWNERS, 0)
        self.ledger_is_away = False
        self.suspending: list[Hold] = []
        """Processes that have recorded a pause, and not suspended their run yet."""
        self.confirming: list[tuple[Hold, Run]] = []
        """Runs that their processes have suspended, and not confirmed yet."""
        self.asked: set[str] = set()
        """Paused relocations that a person wants to go on."""
        self.alive: list[Hold] = []
        """Processes that believe that they work, the true holder among them."""
        self.settlements: dict[tuple[str, int], str] = {}
        self.sends: dict[int, int] = {}

    def _no_roll_back(self, *_: object, **__: object) -> RollBackReport:
        raise AssertionError("nothing was imported")

    def teardown(self) -> None:
        try:
            self._everything_comes_to_its_end()
        finally:
            self.engine.dispose()
            shutil.rmtree(self.folder)

    def _everything_comes_to_its_end(self) -> None:
        """Liveness: whatever happened, quiet sweeps alone settle each, or leave it resumable."""
        self.ledger_is_away = False
        self.alive.clear()
        for _ in range(QUIET_SWEEPS):
            self.now += timedelta(hours=3)
            self.sweep()
        for stored in list_relocations(self.engine):
            run = self.runs.runs[stored.id]
            waits = (
                stored.status is Status.PAUSED
                and run.state is RunState.PAUSED
                and stored.suspended_since == run.since
            )
            assert waits or not stored.is_open, (stored, self.runs.states[stored.id])
        self.no_end_without_its_notice_and_no_notice_without_its_end()

    def _put(self, id_: str, state: RunState, *, raised: bool = False) -> None:
        request = {"archive": "a", "organizations": ["acme"], "owner": OWNERS[id_]}
        self.runs.put(id_, state, request=request, raised=raised)
        if state in {RunState.SCHEDULED, RunState.PENDING}:
            self.asked.add(id_)  # whoever does that wants it to go on

    def _fails_for_want_of_the_ledger(self, id_: str) -> None:
        """The flow raises, and its hook cannot record that."""
        self._put(id_, RunState.FAILED, raised=True)

    def _stored(self, id_: str) -> Relocation | None:
        return find_relocation(self.engine, id_)

    def _holds_it(self, hold: Hold) -> bool:
        stored = self._stored(hold.relocation_id)
        return (
            stored is not None and hold_of(stored) == hold and stored.status is Status.IN_PROGRESS
        )

    # A worker takes a run, and everything that a process does.

    @initialize(id_=ids, then=ids, dies=st.booleans())
    def some_have_begun(self, id_: str, then: str, dies: bool) -> None:
        self.open(id_, dies=False, reported=False)
        self.open(then, dies=dies, reported=False)

    @rule(id_=ids, dies=st.booleans(), reported=st.booleans())
    def open(self, id_: str, dies: bool, reported: bool) -> None:
        before = self._stored(id_)
        request = RelocationRequest(archive="a", organizations=["acme"], owner=OWNERS[id_])
        self._put(id_, RunState.RUNNING)
        if self.ledger_is_away:
            self._fails_for_want_of_the_ledger(id_)
            return
        self.asked.discard(id_)
        try:
            opened = open_relocation(self.engine, id_, request, at(self.now))
        except PermanentError as err:
            ended = before is not None and before.status in {Status.SUCCESS, Status.CANCELLED}
            busy = [
                one
                for one in list_relocations(self.engine, owner=OWNERS[id_])
                if one.status in ACTIVE and one.id != id_
            ]
            assert ended or busy
            if not dies:
                self._fail(id_, err, None)
            elif reported:
                self._put(id_, RunState.CRASHED)
        else:
            assert before is None or before.status not in {Status.SUCCESS, Status.CANCELLED}
            assert opened.fence == (before.fence if before else 0) + 1
            goes_on = before is not None and before.is_open
            assert opened.round == (before.round if before else 0) + (0 if goes_on else 1)
            self.alive.append(hold_of(opened))

    @precondition(lambda self: self.alive)
    @rule(random=pick, task=st.sampled_from(TASKS), refused=st.booleans(), ends=st.booleans())
    def work(self, random: Random, task: Task, refused: bool, ends: bool) -> None:
        """Any process goes on as if it still held the relocation."""
        hold = random.choice(self.alive)
        if self.ledger_is_away:
            self.alive.remove(hold)
            self._fails_for_want_of_the_ledger(hold.relocation_id)
            return
        held = self._holds_it(hold)
        if is_done(self.engine, hold.relocation_id, task):
            return
        drafts = [NoticeDraft(NoticeKind.STARTED, MAIL)]
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
                    self.engine,
                    hold,
                    number,
                    COMPLETED,
                    drafts=drafts,
                    sender_domain=DOMAIN,
                    now=self.now,
                )
                self._note(hold.relocation_id, "SUCCESS")
                self._put(hold.relocation_id, RunState.COMPLETED)
                self.alive.remove(hold)
            else:
                complete_task(
                    self.engine,
                    hold,
                    number,
                    result_of(task),
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
        self._put(id_, RunState.FAILED, raised=True)
        self._reconciled(id_, error=error, own=own, set_state=False)

    @precondition(lambda self: self.alive)
    @rule(random=pick)
    def sign_of_life(self, random: Random) -> None:
        hold = random.choice(self.alive)
        if self.ledger_is_away:
            return
        try:
            renew(self.engine, hold, 30, at(self.now))
        except FencedOut:
            self.alive.remove(hold)

    @precondition(lambda self: self.alive)
    @rule(random=pick, reported=st.booleans())
    def die(self, random: Random, reported: bool) -> None:
        """A process is killed; its worker reports it, or died with it."""
        hold = random.choice(self.alive)
        self.alive.remove(hold)
        if reported:
            self._put(hold.relocation_id, RunState.CRASHED)

    @precondition(lambda self: self.alive and not self.ledger_is_away)
    @rule(random=pick)
    def pause_in_the_process(self, random: Random) -> None:
        """It records the pause; that its run is suspended, and known to be, are further steps."""
        hold = random.choice(self.alive)
        held = self._holds_it(hold)
        stored = self._stored(hold.relocation_id)
        assert stored is not None
        self.alive.remove(hold)
        try:
            record_pause(self.engine, hold, stored.step, self.now)
        except FencedOut:
            assert not held
        else:
            self.asked.discard(hold.relocation_id)
            self.suspending.append(hold)

    @precondition(lambda self: self.suspending)
    @rule(random=pick, dies=st.booleans(), reported=st.booleans())
    def suspend_in_the_process(self, random: Random, dies: bool, reported: bool) -> None:
        hold = random.choice(self.suspending)
        self.suspending.remove(hold)
        seen = self.runs.runs[hold.relocation_id]
        if dies:
            if reported:
                self._put(hold.relocation_id, RunState.CRASHED)
        elif seen.state not in ENDS:
            run = self.runs.suspend(seen, suspension_key(hold.fence), timedelta(days=1))
            self.confirming.append((hold, run))

    @precondition(lambda self: self.confirming and not self.ledger_is_away)
    @rule(random=pick)
    def confirm_in_the_process(self, random: Random) -> None:
        hold, run = random.choice(self.confirming)
        self.confirming.remove((hold, run))
        if run.state is RunState.PAUSED:
            confirm_suspension(self.engine, hold.relocation_id, hold.fence, run.since)

    @precondition(lambda self: self.alive and not self.ledger_is_away)
    @rule(random=pick)
    def cancel_in_the_process(self, random: Random) -> None:
        """It was to be cancelled before this step, or its run is being cancelled."""
        hold = random.choice(self.alive)
        self.alive.remove(hold)
        stored = self._stored(hold.relocation_id)
        if stored is None or stored.fence != hold.fence:
            return
        run = self.runs.runs[hold.relocation_id]
        with self._noting():
            ended = end_relocation(
                self.context, hold.relocation_id, stored, run, cancelled=True, own=hold
            )
        if ended:
            self._put(hold.relocation_id, RunState.CANCELLED)

    # Those who look.

    @rule(id_=ids)
    def hook_in_another_process(self, id_: str) -> None:
        self._reconciled(id_, set_state=False)

    @rule(id_=ids)
    def automation(self, id_: str) -> None:
        self._reconciled(id_)

    @rule()
    def sweep(self) -> None:
        if self.ledger_is_away:
            return
        with self._noting():
            assert all(swept.outcome is not None for swept in sweep(self.context))

    def _reconciled(self, id_: str, **how: Unpack[Seen]) -> None:
        run = self.runs.runs.get(id_)
        if self.ledger_is_away or (run is None and self._stored(id_) is None):
            return
        with self._noting():
            reconcile(self.context, id_, run, **how)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Note what was settled meanwhile; nothing that is paused goes on unasked."""
        before = {one.id: one for one in list_relocations(self.engine)}
        yield
        for after in list_relocations(self.engine):
            was = before.get(after.id)
            if not after.is_open and (was is None or was.is_open):
                self._note(after.id, after.status)
            if was is not None and was.status is Status.PAUSED and after.is_open:
                assert after.status is Status.PAUSED or after.id in self.asked

    # A person.

    @rule(
        id_=ids, what=st.sampled_from(["retry", "abort", "recover", "pause", "unpause", "cancel"])
    )
    def operator(self, id_: str, what: str) -> None:
        before = self._stored(id_)
        if before is None or self.ledger_is_away:
            return
        try:
            match what:
                case "retry":
                    self._put(id_, RunState.SCHEDULED)
                case "abort":
                    with self._noting():
                        abort(self.context, id_)
                case "recover":
                    recover(self.context, id_)
                case "unpause":
                    self.asked.add(id_)
                    with self._noting():
                        unpause(self.context, id_, None)
                case "pause":
                    schedule_pause(self.engine, id_, None, self.now)
                case "cancel":
                    schedule_cancel(self.engine, id_, None, self.now)
        except PermanentError:
            after = self._stored(id_)
            assert after == before

    @rule(id_=ids, state=st.sampled_from([s for s in RunState if s is not RunState.SCHEDULED]))
    def set_a_state_by_hand(self, id_: str, state: RunState) -> None:
        if id_ in self.runs.runs:
            self._put(id_, state)

    @rule()
    def the_ledger_goes_away_or_comes_back(self) -> None:
        self.ledger_is_away = not self.ledger_is_away

    # The rest of the world.

    @rule(ends=st.sampled_from(["sent", "retry", "unknown", "dies", "dies sending"]))
    def deliver(self, ends: RecordedOutcome | Literal["dies", "dies sending"]) -> None:
        if self.ledger_is_away:
            return
        release_expired(self.engine, POLICY, now=self.now)
        notice = lease_due(self.engine, worker="w:1", lease_seconds=60, now=self.now)
        if notice is None or ends == "dies":
            return
        mark_sending(self.engine, notice, b"wire", lease_seconds=60, now=self.now)
        self.sends[notice.id] = self.sends.get(notice.id, 0) + (ends != "retry")
        if ends != "dies sending":
            finish(self.engine, notice, ends, "", POLICY, now=self.now)

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
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
