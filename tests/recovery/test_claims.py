"""Links that died are mailed anew: by command, or by the sweep, and each at most once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest
from recovery_world import World
from task_results import COMPLETED

from relocation.errors import CannotRenewError, CommandError
from relocation.ledger.dispatch import DeliveryPolicy, RecordedOutcome, finish, lease_due
from relocation.ledger.history import history_of
from relocation.ledger.outbox import Notice, notices_of
from relocation.ledger.tables import NoticeState
from relocation.ledger.tries import begin_try, succeed
from relocation.model import Claim, RenewedClaims
from relocation.notices.operator import Operator
from relocation.notices.success import claim_drafts
from relocation.recovery.claims import ClaimsReport, renew_claims, renew_dead_claims
from relocation.steps import POLICIES, LifecycleEvent, Status, Task

LIFETIME = timedelta(hours=1)
POLICY = DeliveryPolicy(Operator("operator@example.org"), "example.org", resend_unknown=False)


@dataclass
class Accounts:
    """A destination in memory: who may have a new link, and which tokens were written."""

    refuse: dict[str, str] = field(default_factory=dict)
    error: Exception | None = None
    asked: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    def __call__(
        self, relocation_id: str, fence: int, expected: Mapping[str, str], now: datetime
    ) -> RenewedClaims:
        self.asked.append((fence, dict(expected)))
        if self.error:
            raise self.error
        claims = [
            Claim(7, name, address, f"token-{len(self.asked)}-{name}", ("Acme",))
            for name, address in expected.items()
            if name not in self.refuse
        ]
        refused = {name: why for name, why in self.refuse.items() if name in expected}
        return RenewedClaims(tuple(claims), refused)


@pytest.fixture
def accounts() -> Accounts:
    """A destination that refuses nobody."""
    return Accounts()


@pytest.fixture
def succeeded(world: World) -> World:
    """A relocation that succeeded, with a claim each to ann and ben in the outbox."""
    hold, ledger, settings = world.open(), world.context.ledger, world.context.settings
    task = Task.COMPLETE
    number = begin_try(ledger, hold, task, POLICIES[task], "host:1", now=world.now)
    claims = [
        Claim(n, name, f"{name}@x.org", f"first-{name}", ("Acme",))
        for n, name in enumerate(["ann", "ben"])
    ]
    drafts = claim_drafts(world.stored(), claims, settings, world.now)
    domain = settings.sender_domain
    succeed(ledger, hold, number, COMPLETED, drafts=drafts, sender_domain=domain, now=world.now)
    return world


def of(world: World, name: str) -> list[Notice]:
    return [one for one in notices_of(world.context.ledger, "r-1") if one.about == name]


def send(world: World, outcome: RecordedOutcome = "sent") -> int:
    """Deliver what is due, with this outcome; returns how many."""
    count = 0
    while notice := lease_due(world.context.ledger, worker="a:1", lease_seconds=60, now=world.now):
        finish(world.context.ledger, notice, outcome, "so", POLICY, now=world.now)
        count += 1
    return count


def renew(world: World, accounts: Accounts, user: str | None = None) -> ClaimsReport:
    return renew_claims(world.context, accounts, "r-1", user)


def test_a_dead_link_is_replaced_by_a_new_row_with_a_new_token_and_message_id(
    succeeded: World, accounts: Accounts
) -> None:
    send(succeeded)
    succeeded.wait(3600)
    report = renew(succeeded, accounts)
    assert (report.renewed, report.refused) == (2, {})
    old, new = of(succeeded, "ann")
    assert (old.state, new.state) == (NoticeState.SENT, NoticeState.QUEUED)
    assert old.message_id != new.message_id
    assert "token-1-ann" in new.context["claim_url"]
    assert new.context["renewed"] is True
    assert new.valid_until == succeeded.now + LIFETIME
    assert send(succeeded) == 2


def test_it_is_done_under_the_fence_and_leaves_the_relocation_free_and_succeeded(
    succeeded: World, accounts: Accounts
) -> None:
    before = succeeded.stored()
    succeeded.wait(3600)
    renew(succeeded, accounts)
    after = succeeded.stored()
    assert accounts.asked == [(before.fence + 1, {"ann": "ann@x.org", "ben": "ben@x.org"})]
    assert (after.fence, after.status, after.lease_until) == (
        before.fence + 1,
        Status.SUCCESS,
        None,
    )
    story = [one.what for one in history_of(succeeded.context.ledger, "r-1")]
    assert story.count(LifecycleEvent.CLAIMS_RENEWED) == 1


def test_a_link_that_works_stays_and_its_user_is_told_until_when(
    succeeded: World, accounts: Accounts
) -> None:
    """To renew it would break the one in the user's inbox."""
    send(succeeded)
    succeeded.wait(3599)
    report = renew(succeeded, accounts)
    assert report.renewed == 0
    assert "works until 2026-03-01 13:00 UTC" in report.refused["ann"]
    assert accounts.asked == []
    assert len(of(succeeded, "ann")) == 1


def test_a_mail_that_waits_with_a_link_that_works_is_left_alone(
    succeeded: World, accounts: Accounts
) -> None:
    assert "is waiting to be sent" in renew(succeeded, accounts).refused["ann"]
    assert accounts.asked == []


def test_a_link_that_was_given_up_is_renewed_at_once(succeeded: World, accounts: Accounts) -> None:
    """Nobody has it: its token was removed with the mail."""
    send(succeeded, "failed")
    assert renew(succeeded, accounts).renewed == 2
    states = [one.state for one in of(succeeded, "ann")]
    assert states == [NoticeState.REPLACED, NoticeState.QUEUED]


def test_only_the_user_that_is_named_gets_a_new_link(succeeded: World, accounts: Accounts) -> None:
    send(succeeded)
    succeeded.wait(3600)
    assert renew(succeeded, accounts, "ben").renewed == 1
    assert (len(of(succeeded, "ann")), len(of(succeeded, "ben"))) == (1, 2)
    with pytest.raises(CommandError, match='never emailed a claim to a user "eve"'):
        renew(succeeded, accounts, "eve")


def test_whom_the_destination_refuses_gets_none_and_it_is_said(
    succeeded: World, accounts: Accounts
) -> None:
    send(succeeded)
    succeeded.wait(3600)
    accounts.refuse = {"ann": "the account is claimed"}
    report = renew(succeeded, accounts)
    assert (report.renewed, report.refused) == (1, {"ann": "the account is claimed"})
    assert len(of(succeeded, "ann")) == 1


def test_a_relocation_that_has_not_succeeded_or_is_held_is_refused(
    world: World, accounts: Accounts
) -> None:
    world.open()
    with pytest.raises(CommandError, match="has emailed no claims"):
        renew(world, accounts)


def test_what_fails_in_the_destination_changes_no_notice_and_frees_the_relocation(
    succeeded: World, accounts: Accounts
) -> None:
    succeeded.wait(3600)
    before = notices_of(succeeded.context.ledger, "r-1")
    accounts.error = OSError("the destination is away")
    with pytest.raises(OSError, match="away"):
        renew(succeeded, accounts)
    assert notices_of(succeeded.context.ledger, "r-1") == before
    assert succeeded.stored().lease_until is None
    accounts.error = None
    assert renew(succeeded, accounts).renewed == 2


def test_the_sweep_renews_what_died_before_it_was_sent_and_nothing_else(
    succeeded: World, accounts: Accounts
) -> None:
    """An outage of ours, longer than a link lives: nobody loses an account by it."""
    assert renew_dead_claims(succeeded.context, accounts) == 0
    succeeded.wait(3 * 86400)
    assert send(succeeded) == 0
    assert renew_dead_claims(succeeded.context, accounts) == 2
    old, _new = of(succeeded, "ann")
    assert (old.state, old.context, old.wire) == (NoticeState.REPLACED, {}, None)
    assert send(succeeded) == 2
    succeeded.wait(30 * 86400)
    assert renew_dead_claims(succeeded.context, accounts) == 0
    assert len(accounts.asked) == 1


@pytest.mark.parametrize("reminders", [0, 1, 3])
def test_the_sweep_reminds_as_often_as_is_set(
    succeeded: World, accounts: Accounts, reminders: int
) -> None:
    succeeded.context.settings.claim_reminders = reminders
    sent = 0
    for _ in range(8):
        sent += send(succeeded)
        succeeded.wait(3600)
        renew_dead_claims(succeeded.context, accounts)
    assert sent == 2 * (1 + reminders)
    last = of(succeeded, "ann")[-1]
    assert (last.valid_until is None) == bool(reminders)


def test_who_has_claimed_is_reminded_no_more_and_asked_for_once(
    succeeded: World, accounts: Accounts
) -> None:
    succeeded.context.settings.claim_reminders = 5
    send(succeeded)
    accounts.refuse = {"ann": "the account is claimed", "ben": "the account is claimed"}
    for _ in range(4):
        succeeded.wait(3600)
        assert renew_dead_claims(succeeded.context, accounts) == 0
    assert len(accounts.asked) == 1
    assert [one.state for one in of(succeeded, "ann")] == [NoticeState.SENT]
    kinds = {one.kind for one in notices_of(succeeded.context.ledger, "r-1")}
    assert "OPERATOR" not in kinds


def test_where_the_destination_cannot_tell_the_sweep_gives_up_and_says_why(
    succeeded: World, accounts: Accounts
) -> None:
    accounts.error = CannotRenewError("The destination doesn't record who has claimed an account.")
    succeeded.wait(3600)
    for _ in range(3):
        assert renew_dead_claims(succeeded.context, accounts) == 0
    assert len(accounts.asked) == 1
    (ann,) = of(succeeded, "ann")
    assert (ann.state, ann.context) == (NoticeState.FAILED, {})
    assert "doesn't record" in (ann.reply or "")
    told = [one for one in notices_of(succeeded.context.ledger, "r-1") if one.kind == "OPERATOR"]
    assert len(told) == 1
    assert "doesn't record" in told[0].context["reply"]
    assert "@x.org" not in str(told[0].context).replace("a***@x.org", "")


def test_a_destination_that_is_away_leaves_all_to_the_next_sweep(
    succeeded: World, accounts: Accounts
) -> None:
    accounts.error = OSError("away")
    succeeded.wait(3600)
    with pytest.raises(OSError, match="away"):
        renew_dead_claims(succeeded.context, accounts)
    accounts.error = None
    assert renew_dead_claims(succeeded.context, accounts) == 2
