"""Whatever happens to the senders of groups: no mail is lost, none is sent twice unasked."""

import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ledgers import at, sqlite_ledger
from sqlalchemy import Connection, create_engine, event, update

from relocation.database import prepare
from relocation.ledger.dispatch import DeliveryPolicy, LeaseLostError, finish, release_expired
from relocation.ledger.groups import Relay, keep_bytes, lease_group, release, renew
from relocation.ledger.holds import open_relocation
from relocation.ledger.migrate import migrate
from relocation.ledger.outbox import Notice, enqueue, notices_of
from relocation.ledger.tables import NoticeState, notices, witnesses
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.notices.operator import Operator
from relocation.request import RelocationRequest

LEASE = 60.0
HOLD = DeliveryPolicy(Operator("operator@example.org"), "example.org", resend_unknown=False)
RESEND = replace(HOLD, resend_unknown=True)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PEOPLE = 6


@cache
def _migrated() -> Path:
    path = Path(tempfile.mkdtemp(prefix="relocation-groups-"), "ledger.db")
    ledger = sqlite_ledger(path)
    migrate(ledger)
    request = RelocationRequest(archive="a.tar", organizations=["acme"], owner="olivia")
    open_relocation(ledger, "r-1", request, at(NOW))
    ledger.dispose()
    return path


@dataclass(eq=False)
class Sender:
    """A process with a group: what it still holds in memory is lost when it dies."""

    name: str
    waiting: list[Notice]
    connection: Connection
    relay: Relay
    under_way: Notice | None = None
    over: set[int] = field(default_factory=set)


class Senders(RuleBasedStateMachine):
    """Two senders at most, each of which is stopped, killed, or slower than its lease."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="relocation-groups-"))
        shutil.copy(_migrated(), self.folder / "ledger.db")
        # With a pool: no other test moves the file, and there are thousands of transactions.
        self.engine = prepare(create_engine(f"sqlite:///{self.folder / 'ledger.db'}"))
        event.listen(self.engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = 0"))
        self.now = NOW
        self.senders: list[Sender] = []
        self.arrived: Counter[int] = Counter()
        self.deaths = self.crashes = 0
        self.policy = RESEND

    @initialize(resend=st.booleans())
    def people_are_to_be_told(self, resend: bool) -> None:
        self.policy = RESEND if resend else HOLD
        drafts = [NoticeDraft(NoticeKind.STARTED, f"{n}@x.org", {}, str(n)) for n in range(PEOPLE)]
        with self.engine.begin() as connection:
            enqueue(connection, "r-1", 1, drafts, sender_domain="x.org", now=NOW)
        release_expired(self.engine, self.policy, now=self.now)

    @rule(most=st.integers(2, PEOPLE))
    def a_sender_claims(self, most: int) -> None:
        if len(self.senders) < 2:
            self._claim(most)

    def _claim(self, most: int) -> None:
        name = f"w:{self.deaths}:{len(self.senders)}"
        release_expired(self.engine, self.policy, now=self.now)
        group = lease_group(self.engine, most=most, worker=name, lease_seconds=LEASE, now=self.now)
        # Mails to the operator are none of this.
        keep_bytes(self.engine, [(one, b"wire") for one in group])
        if group:
            connection = self.engine.connect()
            relay = Relay(self.engine, connection, LEASE, lambda: self.now)
            self.senders.append(Sender(name, group, connection, relay))

    @precondition(lambda self: self.senders)
    @rule(
        which=st.integers(0, 1),
        steps=st.lists(
            st.sampled_from(["taken", "taken", "lost", "refused", "dropped"]), min_size=1
        ),
    )
    def a_sender_goes_on(self, which: int, steps: list[str]) -> None:
        sender = self.senders[which % len(self.senders)]
        for how in steps:
            if sender in self.senders:
                self._go_on(sender, how)

    def _go_on(self, sender: Sender, how: str) -> None:
        if sender.under_way:
            self._hear(sender, sender.under_way, how)
        elif sender.waiting:
            notice = sender.waiting.pop(0)
            try:
                sender.relay.mark(notice)
            except LeaseLostError:
                self._end(sender)
            else:
                sender.under_way = notice
                self.arrived[notice.id] += 1  # it may, from now on
        else:
            self._end(sender)

    def _hear(self, sender: Sender, notice: Notice, how: str) -> None:
        sender.under_way = None
        if how == "taken":
            sender.relay.sent(notice, "250")
            return
        sender.relay.flush()
        outcome: Any = {"lost": "unknown", "refused": "failed", "dropped": "ours"}[how]
        if how != "lost":
            self.arrived[notice.id] -= 1  # the server said so
        try:
            finish(self.engine, notice, outcome, "so", self.policy, now=self.now)
        except LeaseLostError:
            assert self.now > NOW  # its lease ran out
        if how != "refused":
            self._end(sender)

    def _end(self, sender: Sender) -> None:
        sender.relay.flush()
        release(self.engine, sender.waiting)
        self._forget(sender)

    def _forget(self, sender: Sender) -> None:
        sender.connection.close()
        self.senders.remove(sender)

    @rule(which=st.integers(0, 1))
    def a_sender_claims_for_longer(self, which: int) -> None:
        if which < len(self.senders) and self.senders[which].waiting:
            until = self.now + timedelta(seconds=LEASE)
            renew(self.engine, self.senders[which].waiting, until)

    @precondition(lambda self: self.senders)
    @rule(which=st.integers(0, 1))
    def a_sender_dies(self, which: int) -> None:
        if which < len(self.senders):
            before = self._in_doubt()
            self._forget(self.senders[which])
            self.deaths += 1
            assert self._in_doubt() == before

    @precondition(lambda self: self.senders)
    @rule(lost=st.booleans())
    def the_machine_dies(self, lost: bool) -> None:
        """With all senders; the last marks may not have come to the disk."""
        marked = [sender.under_way.id for sender in self.senders if sender.under_way]
        if lost:
            unmark = update(notices).where(notices.c.id.in_(marked))
            unmark = unmark.where(notices.c.state == NoticeState.SENDING)
            with self.engine.begin() as connection:
                connection.execute(unmark.values(state=NoticeState.CLAIMED))
        while self.senders:
            self._forget(self.senders[0])
            self.deaths += 1
        self.crashes += 1
        with self.engine.begin() as connection:
            connection.execute(update(witnesses).values(boot=f"before {self.crashes}"))

    @rule(seconds=st.sampled_from([10, 45, 90, 4000]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    def _in_doubt(self) -> int:
        return [one.state for one in self.those_of_people()].count(NoticeState.SENDING)

    def those_of_people(self) -> list[Notice]:
        """Return the notices without those that tell an operator of them."""
        kind = NoticeKind.STARTED
        return [one for one in notices_of(self.engine, "r-1") if one.kind is kind]

    @invariant()
    def a_sender_has_one_in_doubt_at_most(self) -> None:
        held = Counter(
            one.claimed_by for one in self.those_of_people() if one.state is NoticeState.SENDING
        )
        assert self.crashes or not held or max(held.values()) == 1

    @invariant()
    def nothing_is_sent_twice_unasked(self) -> None:
        for one in self.those_of_people():
            assert self.arrived[one.id] <= 1 + (one.ambiguous if self.policy is RESEND else 0)

    @invariant()
    def what_counts_as_sent_was_sent(self) -> None:
        for one in self.those_of_people():
            assert one.state is not NoticeState.SENT or self.arrived[one.id] >= 1

    def teardown(self) -> None:
        """Liveness: left alone, whatever there is comes to an end, and nothing stays claimed."""
        try:
            ends = {NoticeState.SENT, NoticeState.FAILED, NoticeState.UNKNOWN}
            for _ in range(3 * PEOPLE):
                if {one.state for one in notices_of(self.engine, "r-1")} <= ends:
                    break
                while self.senders:
                    self._go_on(self.senders[0], "taken")
                self.now += timedelta(hours=2)
                self._claim(PEOPLE)
            assert {one.state for one in notices_of(self.engine, "r-1")} <= ends
            for one in self.those_of_people():
                assert one.state is not NoticeState.UNKNOWN or one.ambiguous
            self.nothing_is_sent_twice_unasked()
        finally:
            for sender in self.senders:
                sender.connection.close()
            self.engine.dispose()
            shutil.rmtree(self.folder)


TestSenders = Senders.TestCase
TestSenders.settings = settings(
    max_examples=30,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.parametrize("resend", [False, True])
def test_a_mark_that_a_crash_of_the_machine_loses_leaves_a_doubt_and_no_second_mail(
    resend: bool,
) -> None:
    """Chance comes to this seldom."""
    senders = Senders()
    senders.people_are_to_be_told(resend=resend)
    senders.a_sender_claims(most=4)
    senders.a_sender_goes_on(which=0, steps=["taken"])
    senders.the_machine_dies(lost=True)
    people = [one.id for one in senders.those_of_people()]
    senders.teardown()
    mails = sum(senders.arrived[one] for one in people)
    assert mails == (PEOPLE + 1 if resend else PEOPLE - 3)
