"""Whatever happens beside it, forgetting takes nothing that is needed, and in the end all the rest.

Needed is what a resume, a roll back, a mail that is sent again, a new link or a hand-over kit uses.
"""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from ended import (
    DOMAIN,
    MEMBER,
    address,
    do,
    ends,
    held,
    is_forgotten,
    opened,
    rolls_back,
    sends,
    succeeds,
    texts,
)
from ledgers import sqlite_ledger
from sqlalchemy import event

from relocation.errors import CommandError, PermanentError
from relocation.ledger.claims import newest_claims, replace_claims
from relocation.ledger.dispatch import RecordedOutcome
from relocation.ledger.forgetting import forget_people
from relocation.ledger.holds import Hold, hold_of, release, take_hold
from relocation.ledger.outbox import GIVEN_UP, notices_of, requeue
from relocation.ledger.relocations import find_relocation, get_relocation, list_relocations
from relocation.ledger.reports import reports_of
from relocation.ledger.results import OrganizationsImported
from relocation.ledger.tables import OPEN, NoticeState
from relocation.ledger.tries import was_tried
from relocation.model import Relocation
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.steps import RollBackState, Status, Task

OWNERS = {"r-1": "olivia", "r-2": "noah", "r-3": "emma"}
AGE = timedelta(days=10)
LINK = timedelta(days=4)


class Forgetting:
    """Three relocations that begin, end, are undone and mailed about, while time goes by."""

    def __init__(self, path: Path, random: Random) -> None:
        self.ledger = sqlite_ledger(path)
        event.listen(self.ledger, "connect", lambda raw, _: raw.execute("PRAGMA synchronous = OFF"))
        self.random = random
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        self.looked: dict[str, Relocation] = {}
        """What somebody who is about to renew claims has read, and may act on late."""

    def happen(self, times: int) -> None:
        chance, ids = self.random, sorted(OWNERS)
        ends = [Status.SUCCESS, Status.SUCCESS, Status.FAILURE, Status.CANCELLED]
        outcomes: list[RecordedOutcome] = ["sent", "sent", "failed", "unknown", "retry"]
        for _ in range(times):
            id_ = chance.choice(ids)
            chance.choice(
                (
                    lambda: self.time_goes_by(chance.uniform(0.1, 8)),
                    lambda i=id_: self.begins_or_goes_on(i, imports=chance.random() < 0.4),
                    lambda i=id_: self.ends(i, chance.choice(ends)),
                    lambda i=id_: self.is_rolled_back(i, wholly=chance.random() < 0.6),
                    lambda i=id_: self.mails_are_tried(chance.choice(outcomes), i),
                    lambda i=id_: self.what_was_given_up_is_sent_again(i),
                    lambda i=id_: self.somebody_looks_whose_link_is_dead(i),
                    lambda i=id_: self.and_mails_a_new_one(i),
                    self.a_sweep_forgets,
                )
            )()
            self.whoever_is_still_known_is_known_wholly()
        self.in_the_end_all_that_may_go_is_gone()
        self.ledger.dispose()

    def in_the_end_all_that_may_go_is_gone(self) -> None:
        """Liveness: once the mails are done with and their links dead, nothing keeps it."""
        for _ in range(3):
            self.now += timedelta(days=1)
            sends(self.ledger, self.now)
        with self.ledger.begin() as connection:  # claims whose link died in the outbox
            connection.exec_driver_sql("UPDATE notice SET state = 'failed' WHERE state = 'queued'")
        self.now += AGE + LINK
        forget_people(self.ledger, self.now - AGE, now=self.now)
        for stored in list_relocations(self.ledger):
            assert is_forgotten(self.ledger, stored.id) == self._ended_for_good(stored), stored
            if stored.forgotten_at:
                assert not [text for text in texts(self.ledger, stored.id) if "people" in text]

    def _ended_for_good(self, stored: Relocation) -> bool:
        if stored.is_open:
            return False
        undone = stored.roll_back is RollBackState.DONE
        left = was_tried(self.ledger, stored.id, Task.IMPORT_ORGANIZATIONS) and not undone
        return stored.status is Status.SUCCESS or (stored.status is Status.CANCELLED and not left)

    def _working(self, id_: str) -> Hold | None:
        stored = find_relocation(self.ledger, id_)
        at_work = stored is not None and stored.status is Status.IN_PROGRESS
        return hold_of(stored) if stored is not None and at_work else None

    def time_goes_by(self, days: float) -> None:
        self.now += timedelta(days=days)

    def begins_or_goes_on(self, id_: str, imports: bool) -> None:
        before = find_relocation(self.ledger, id_)
        try:
            hold = opened(self.ledger, id_, self.now, OWNERS[id_])
        except PermanentError:
            assert before is not None
            assert before.status in {Status.SUCCESS, Status.CANCELLED}
            return
        if before is not None:  # a resume finds whom it is for, and what was asked
            assert (before.owner, before.owner_email) == (OWNERS[id_], address(OWNERS[id_]))
            assert before.plan == {"users": {MEMBER: 42}, "slugs": {}}
        if imports and not was_tried(self.ledger, id_, Task.IMPORT_ORGANIZATIONS):
            do(self.ledger, hold, OrganizationsImported({}, ()), self.now)

    def ends(self, id_: str, status: Status) -> None:
        hold = self._working(id_)
        if hold is None:
            return
        if status is not Status.SUCCESS:
            ends(self.ledger, hold, status, self.now)
        elif not was_tried(self.ledger, id_, Task.IMPORT_ORGANIZATIONS):
            succeeds(self.ledger, hold, self.now, link_until=self.now + LINK)

    def is_rolled_back(self, id_: str, wholly: bool) -> None:
        stored = find_relocation(self.ledger, id_)
        if stored is None or stored.status not in {Status.FAILURE, Status.CANCELLED}:
            return
        if stored.is_open or not was_tried(self.ledger, id_, Task.IMPORT_ORGANIZATIONS):
            return
        if stored.roll_back is RollBackState.DONE:
            return
        hold = take_hold(self.ledger, stored, lease_seconds=60, worker="host:2", now=self.now)
        if hold is not None:
            rolls_back(self.ledger, hold, self.now, wholly=wholly)
            release(self.ledger, hold)

    def mails_are_tried(self, outcome: RecordedOutcome, id_: str) -> None:
        if find_relocation(self.ledger, id_):
            sends(self.ledger, self.now, outcome, id_)

    def what_was_given_up_is_sent_again(self, id_: str) -> None:
        if find_relocation(self.ledger, id_) is None:
            return
        try:
            done = requeue(self.ledger, id_, now=self.now)
        except CommandError:
            assert is_forgotten(self.ledger, id_)
        else:
            again = [one for one in notices_of(self.ledger, id_) if one.state in OPEN]
            assert len(again) >= done.queued
            assert all(one.recipient for one in again)

    def somebody_looks_whose_link_is_dead(self, id_: str) -> None:
        stored = find_relocation(self.ledger, id_)
        if stored is not None and stored.status is Status.SUCCESS and not stored.forgotten_at:
            self.looked[id_] = stored

    def and_mails_a_new_one(self, id_: str) -> None:
        seen = self.looked.pop(id_, None)
        if seen is None:
            return
        hold = take_hold(self.ledger, seen, lease_seconds=60, worker="host:3", now=self.now)
        if hold is None:
            return
        assert not is_forgotten(self.ledger, id_)
        old = newest_claims(self.ledger, id_)
        if MEMBER in old and old[MEMBER].state not in OPEN:
            until = self.now + LINK
            draft = NoticeDraft(
                NoticeKind.CLAIM,
                address(MEMBER),
                {"claim_url": "n3w"},
                about=MEMBER,
                edition=old[MEMBER].id,
                valid_until=until,
            )
            replace_claims(
                self.ledger, hold, old.values(), [draft], sender_domain=DOMAIN, now=self.now
            )
        release(self.ledger, hold)

    def a_sweep_forgets(self) -> None:
        before = {one.id: (one, held(self.ledger, one.id)) for one in list_relocations(self.ledger)}
        forget_people(self.ledger, self.now - AGE, now=self.now)
        for id_, (was, rows) in before.items():
            if is_forgotten(self.ledger, id_) and not was.forgotten_at:
                assert self._ended_for_good(was)
                assert was.settled_at is not None
                assert was.settled_at < self.now - AGE
                for notice in rows["notice"]:
                    assert notice["state"] not in OPEN
                    given_up = notice["state"] in GIVEN_UP
                    assert not given_up or notice["not_before"] < self.now - AGE
                    assert not notice["valid_until"] or notice["valid_until"] <= self.now
            else:
                assert held(self.ledger, id_) == rows

    def whoever_is_still_known_is_known_wholly(self) -> None:
        for stored in list_relocations(self.ledger):
            told = notices_of(self.ledger, stored.id)
            if stored.forgotten_at:
                assert not any(notice.recipient or notice.wire for notice in told)
                continue
            assert get_relocation(self.ledger, stored.id).owner == OWNERS[stored.id]
            assert all(notice.recipient for notice in told)
            assert not any(
                notice.state is NoticeState.QUEUED
                and not notice.context
                and notice.kind is NoticeKind.CLAIM
                for notice in told
            )
            if stored.status is Status.SUCCESS:
                assert Task.COMPLETE in reports_of(self.ledger, stored.id)


@pytest.mark.parametrize("seed", range(5))
def test_forgetting_takes_nothing_that_is_needed_and_in_the_end_the_rest(
    seed: int, tmp_path: Path, migrated_file: Path
) -> None:
    shutil.copy(migrated_file, tmp_path / "ledger.db")
    Forgetting(tmp_path / "ledger.db", Random(seed)).happen(80)  # noqa: S311 - chance, no secret
