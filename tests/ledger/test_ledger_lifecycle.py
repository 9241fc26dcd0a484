"""Whatever the order of opening, trying, settling and dying, the ledger's promises hold."""

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import Engine, create_engine, event

from relocation.database import engine_options, prepare
from relocation.errors import FencedOut, PermanentError
from relocation.ledger.migrate import migrate
from relocation.ledger.outbox import claim_due, finish, mark_sending, notices_of
from relocation.ledger.relocations import (
    Hold,
    Relocation,
    find_relocation,
    list_relocations,
    open_relocation,
)
from relocation.ledger.settle import Settlement, settle
from relocation.ledger.tables import NoticeState
from relocation.ledger.tries import begin_try, complete_task, done_result, succeed, tries_used
from relocation.notices.kinds import Draft, NoticeKind
from relocation.request import RelocationRequest
from relocation.steps import ACTIVE, POLICIES, Status, Task

OWNERS = {"r-1": "olivia", "r-2": "olivia", "r-3": "noah"}
MAILS = ("owner@example.org", "creator@example.org")
ids = st.sampled_from(sorted(OWNERS))
DOMAIN = "example.org"


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


class Ledger(RuleBasedStateMachine):
    """Processes that open, try, complete and settle three relocations of two owners."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        (self.folder / "ledger.db").write_bytes(_migrated())
        self.engine = _engine(self.folder / "ledger.db")
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        self.fences = dict.fromkeys(OWNERS, 0)
        self.rounds = dict.fromkeys(OWNERS, 0)
        self.settled: set[tuple[str, int]] = set()
        self.holds: list[Hold] = []
        self.sends: dict[int, int] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def _stored(self, id_: str) -> Relocation | None:
        return find_relocation(self.engine, id_)

    def _holds_it(self, hold: Hold) -> bool:
        stored = self._stored(hold.relocation_id)
        return stored is not None and stored.hold == hold and stored.status in ACTIVE

    @rule(id_=ids)
    def open(self, id_: str) -> None:
        before = self._stored(id_)
        busy = [
            one.id
            for one in list_relocations(self.engine, owner=OWNERS[id_])
            if one.status in ACTIVE and one.id != id_
        ]
        ended = before is not None and before.status is Status.SUCCESS
        request = RelocationRequest(archive="a", organizations=["acme"], owner=OWNERS[id_])
        try:
            opened = open_relocation(self.engine, id_, request, self.now)
        except PermanentError as err:
            assert ended or busy
            assert ended or busy[0] in err.reason
            assert not ended or self._stored(id_) == before
        else:
            assert not ended
            assert not busy
            assert opened.fence == (before.fence if before else 0) + 1
            goes_on = before is not None and before.status in ACTIVE
            assert opened.round == (before.round if before else 0) + (0 if goes_on else 1)
            self.holds.append(opened.hold)

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), task=st.sampled_from(Task))
    def work(self, data: st.DataObject, task: Task) -> None:
        """Any process that ever held a relocation goes on as if it still did."""
        hold = data.draw(st.sampled_from(self.holds))
        held = self._holds_it(hold)
        done = done_result(self.engine, hold.relocation_id, task) is not None
        if held and done:
            return
        used = tries_used(self.engine, hold, task)
        drafts = [Draft(NoticeKind.STARTED, mail) for mail in MAILS]
        ends = data.draw(st.sampled_from(["completes", "dies"]))
        step = POLICIES[task].step
        try:
            number = begin_try(self.engine, hold, task, step, "host:1", now=self.now)
            assert number == used + 1
            if ends == "dies":
                assert held
                return
            if task is Task.COMPLETE:
                succeed(self.engine, hold, number, {}, drafts=drafts, sender_domain=DOMAIN)
                self._note_settlement(hold.relocation_id)
            else:
                complete_task(
                    self.engine, hold, task, number, {}, drafts=drafts, sender_domain=DOMAIN
                )
        except FencedOut:
            assert not held
            assert tries_used(self.engine, hold, task) == used
        else:
            assert held
            assert done_result(self.engine, hold.relocation_id, task) == {}

    @rule(id_=ids, with_request=st.booleans())
    def settle(self, id_: str, with_request: bool) -> None:
        before = self._stored(id_)
        request = RelocationRequest(archive="", organizations=[], owner=OWNERS[id_])
        drafts = [Draft(NoticeKind.FAILED, mail) for mail in MAILS]
        settlement = Settlement(Status.FAILURE, "", drafts=drafts)
        try:
            did = settle(
                self.engine,
                id_,
                settlement,
                request=request if with_request else None,
                sender_domain=DOMAIN,
                now=self.now,
            )
        except PermanentError:
            assert before is None
            assert not with_request
            return
        unsettled = before is None or before.settled_round < before.round
        assert did == (unsettled and (before is None or before.status is not Status.SUCCESS))
        if did:
            self._note_settlement(id_)
        else:
            assert self._stored(id_) == before

    def _note_settlement(self, id_: str) -> None:
        stored = self._stored(id_)
        assert stored is not None
        assert (id_, stored.round) not in self.settled, "two settlements in one round"
        self.settled.add((id_, stored.round))

    @rule(ends=st.sampled_from(["sent", "retry", "unknown", "dies", "dies sending"]))
    def deliver(self, ends: str) -> None:
        notice = claim_due(self.engine, claimed_by="w:1", lease_seconds=60, now=self.now)
        if notice is None or ends == "dies":
            return
        mark_sending(self.engine, notice, 60, self.now)
        arrived = ends != "retry"
        self.sends[notice.id] = self.sends.get(notice.id, 0) + arrived
        if ends != "dies sending":
            finish(self.engine, notice, ends, "", self.now)

    @rule(minutes=st.sampled_from([1, 10, 100]))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @invariant()
    def fences_and_rounds_only_rise(self) -> None:
        for stored in list_relocations(self.engine):
            assert stored.fence >= self.fences[stored.id]
            assert stored.round >= self.rounds[stored.id]
            self.fences[stored.id], self.rounds[stored.id] = stored.fence, stored.round

    @invariant()
    def an_owner_has_one_active_relocation_at_most(self) -> None:
        active = [one.owner for one in list_relocations(self.engine) if one.status in ACTIVE]
        assert len(active) == len(set(active))

    @invariant()
    def a_settled_failure_has_its_reason_and_its_notices(self) -> None:
        for stored in list_relocations(self.engine):
            rounds = {round_ for id_, round_ in self.settled if id_ == stored.id}
            if stored.status is Status.SUCCESS:
                rounds.remove(stored.round)
            elif stored.status is Status.FAILURE and stored.settled_round == stored.round:
                assert stored.round in rounds
                assert stored.reason
            told = [
                (notice.round, notice.recipient)
                for notice in notices_of(self.engine, stored.id)
                if notice.kind is NoticeKind.FAILED
            ]
            assert sorted(told) == sorted((round_, mail) for round_ in rounds for mail in MAILS)

    @invariant()
    def nothing_is_sent_twice_without_a_doubt(self) -> None:
        for notice in (n for id_ in OWNERS for n in notices_of(self.engine, id_)):
            sends = self.sends.get(notice.id, 0)
            assert sends <= min(2, notice.ambiguous + 1)
            assert notice.state is not NoticeState.SENT or sends >= 1


TestLedger = Ledger.TestCase
TestLedger.settings = settings(
    max_examples=10,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
