"""Relocations in a ledger that have come to an end, and all that a ledger holds, as text."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from ledgers import at
from sqlalchemy import Engine, select

from relocation.findings import Finding, FindingKind
from relocation.ledger.admission import record_people
from relocation.ledger.dispatch import (
    DeliveryPolicy,
    RecordedOutcome,
    finish,
    lease_due,
    mark_sending,
)
from relocation.ledger.holds import Hold, hold_of, open_relocation
from relocation.ledger.relocations import get_relocation
from relocation.ledger.reports import keep_report
from relocation.ledger.results import (
    ArchiveReceived,
    OrganizationsImported,
    OrganizationsRevealed,
    RelocationCompleted,
    TaskResult,
)
from relocation.ledger.settle import Settlement, settle
from relocation.ledger.tables import metadata
from relocation.ledger.transitions import begin_roll_back, end_roll_back
from relocation.ledger.tries import begin_try, complete_task, succeed
from relocation.model import RecordCounts
from relocation.notices.kinds import NoticeDraft, NoticeKind
from relocation.notices.operator import Operator
from relocation.plan import Plan
from relocation.request import RelocationRequest
from relocation.steps import POLICIES, Status, Task

DOMAIN = "mail.test"
POLICY = DeliveryPolicy(Operator("operator@mail.test"), DOMAIN, resend_unknown=False)
OWNER, CREATOR, MEMBER = "olivia", "carl", "mia"
KIT = {"usernames": [{"old_username": "mia-old", "username": MEMBER}], "ingest_url": "https://x"}
ACCOUNTS = {"sentry.user": RecordCounts(read=3, inserted=2, skipped=1)}


def address(username: str) -> str:
    return f"{username}@people.test"


def opened(ledger: Engine, relocation_id: str, now: datetime, owner: str = OWNER) -> Hold:
    """Begin a relocation, with what a ledger learns of its people on the way."""
    request = RelocationRequest(
        archive="archives/a.tar",
        organizations=["acme"],
        owner=owner,
        creator=CREATOR,
        plan=Plan(users={MEMBER: 42}),
    )
    hold = hold_of(open_relocation(ledger, relocation_id, request, at(now)))
    record_people(ledger, hold, address(owner), address(CREATOR), now)
    return hold


def do(ledger: Engine, hold: Hold, result: TaskResult, now: datetime) -> None:
    """Let a task be done with a result."""
    number = begin_try(ledger, hold, result.task, POLICIES[result.task], "host:1", now=now)
    complete_task(ledger, hold, number, result, sender_domain=DOMAIN, now=now)


def drafts(kind: NoticeKind, owner: str = OWNER) -> list[NoticeDraft]:
    return [
        NoticeDraft(kind, address(person), {"owner": owner})
        for person in dict.fromkeys((owner, CREATOR))
    ]


def succeeds(
    ledger: Engine, hold: Hold, now: datetime, *, link_until: datetime | None = None
) -> None:
    """Bring an open relocation to SUCCESS, with a hand-over kit and a claim of its member."""
    do(ledger, hold, ArchiveReceived(bytes=7, owner_id=471108150815), now)
    renamed = Finding(FindingKind.RENAMED, "sentry.user", f"The user {MEMBER} took another name.")
    do(ledger, hold, OrganizationsImported(ACCOUNTS, (renamed,)), now)
    do(ledger, hold, OrganizationsRevealed(), now)
    keep_report(ledger, hold, Task.COMPLETE, KIT, now)
    number = begin_try(ledger, hold, Task.COMPLETE, POLICIES[Task.COMPLETE], "host:1", now=now)
    claim = NoticeDraft(
        NoticeKind.CLAIM,
        address(MEMBER),
        {"claim_url": "s3cr3t"},
        about=MEMBER,
        valid_until=link_until or now + timedelta(hours=1),
    )
    told = [*drafts(NoticeKind.SUCCEEDED), claim]
    succeed(
        ledger, hold, number, RelocationCompleted((), 1), drafts=told, sender_domain=DOMAIN, now=now
    )


def ends(ledger: Engine, hold: Hold, status: Status, now: datetime) -> None:
    """Settle an open relocation as FAILURE or CANCELLED."""
    kind = NoticeKind.CANCELLED if status is Status.CANCELLED else NoticeKind.FAILED
    error = f"no row of {address(OWNER)}"
    settlement = Settlement(status, "It ended.", internal_error=error, drafts=drafts(kind))
    assert settle(
        ledger,
        hold.relocation_id,
        settlement,
        sender_domain=DOMAIN,
        seen=hold,
        now=now,
    )


def rolls_back(ledger: Engine, hold: Hold, now: datetime, *, wholly: bool = True) -> None:
    begin_roll_back(ledger, hold, cancels=False, now=now)
    if wholly:
        end_roll_back(ledger, hold, now)


def sends(
    ledger: Engine, now: datetime, outcome: RecordedOutcome = "sent", relocation_id: str = ""
) -> int:
    """Hand over what is due, and record the same outcome of each; returns how many."""
    sent = 0
    of = relocation_id or None
    while notice := lease_due(ledger, relocation_id=of, worker="host:1", lease_seconds=60, now=now):
        wire = f"To: {notice.recipient}".encode()
        mark_sending(ledger, notice, wire, lease_seconds=60, now=now)
        finish(ledger, notice, outcome, f"answer about {notice.recipient}", POLICY, now=now)
        sent += 1
    return sent


def held(ledger: Engine, relocation_id: str) -> dict[str, list[dict[str, Any]]]:
    """Return all rows that a ledger has of one relocation, by table."""
    found = {}
    with ledger.begin() as connection:
        for table in metadata.sorted_tables:
            of_it = table.c.id if table.name == "relocation" else table.c.get("relocation_id")
            if of_it is not None:
                rows = connection.execute(select(table).where(of_it == relocation_id))
                found[table.name] = [dict(row._mapping) for row in rows]
    return found


def texts(ledger: Engine, relocation_id: str) -> Iterator[str]:
    """Yield all that a ledger has of one relocation as text."""
    for rows in held(ledger, relocation_id).values():
        for row in rows:
            yield from map(str, row.values())


def is_forgotten(ledger: Engine, relocation_id: str) -> bool:
    return get_relocation(ledger, relocation_id).forgotten_at is not None
