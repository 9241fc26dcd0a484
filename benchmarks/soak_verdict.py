"""What became of the relocations of a soak: counted in ledger, destination and mailbox."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Engine, func, select

from benchmarks.soak_chaos import Death
from benchmarks.soak_operator import Operator
from benchmarks.soak_peer import Taken
from benchmarks.soak_stage import Asked, Stage
from relocation.catalogue import load_catalogue
from relocation.ledger.history import history_of
from relocation.ledger.outbox import Notice, notices_of
from relocation.ledger.relocations import find_relocation
from relocation.ledger.results import RelocationCompleted
from relocation.ledger.tables import NoticeState, events, is_open, relocations
from relocation.ledger.tables import notices as notices_table
from relocation.ledger.tries import is_done, needed_result
from relocation.model import Relocation
from relocation.notices.kinds import NoticeKind
from relocation.notices.recipients import addressees
from relocation.settings import Settings
from relocation.steps import LifecycleEvent, Status, Task
from relocation.transfer.database.schema import IMPORT_CHUNK, reflect
from relocation.transfer.load.chunks import inserted_pks
from relocation.transfer.load.rules import PENDING_APPROVAL

_ENDS = {NoticeState.SENT, NoticeState.FAILED, NoticeState.UNKNOWN}


@dataclass(frozen=True)
class Line:
    """A line of the table."""

    what: str
    count: float
    must_be: int | None = None

    @property
    def holds(self) -> bool:
        """Whether it is as it must be."""
        return self.must_be is None or self.count == self.must_be


def row_counts(destination: Engine) -> dict[str, int]:
    """Count the rows of each model in the destination."""
    tables = reflect(destination, load_catalogue().values())
    with destination.connect() as connection:
        return {
            model: connection.execute(select(func.count()).select_from(one.table)).scalar_one()
            for model, one in tables.items()
        }


def settled(ledger: Engine, asked: Sequence[Asked]) -> set[str]:
    """Return the ids of those that have ended."""
    ended = select(relocations.c.id).where(~is_open)
    with ledger.connect() as connection:
        ids = set(connection.execute(ended).scalars())
    return ids & {one.id for one in asked}


def verdict(
    stage: Stage,
    asked: Sequence[Asked],
    before: dict[str, int],
    deaths: Sequence[Death],
    operator: Operator,
) -> list[Line]:
    """Return the table of a soak that has ended."""
    found = {one.id: find_relocation(stage.ledger, one.id) for one in asked}
    ends = Counter(
        f"{'flawed' if one.flaw else 'good'}: {relocation.status if relocation else 'unknown'}"
        for one in asked
        for relocation in [found[one.id]]
    )
    lines = [Line(what, count) for what, count in sorted(ends.items())]
    ended = [one for one in found.values() if one is not None and not one.is_open]
    extra, lacking = _rows(stage, before, [one.id for one in ended])
    delays = _delays(stage.ledger, deaths)
    cancelled = {one.id for one in ended if one.status is Status.CANCELLED}
    good = {one.id for one in asked if not one.flaw}
    return [
        *lines,
        Line("lost (neither settled nor paused)", len(asked) - len(ended), 0),
        Line(
            "flawed, yet succeeded",
            sum(one.status is Status.SUCCESS and one.id not in good for one in ended),
            0,
        ),
        Line("cancelled, though nobody asked", len(cancelled - operator.cancelled), 0),
        Line("asked to be cancelled, ended before", len(operator.cancelled - cancelled)),
        Line("pauses that did not hold", len(operator.broken), 0),
        Line("rows left of cancelled relocations", _left(stage, cancelled), 0),
        Line("half-visible organizations", _half_visible(stage, ended), 0),
        Line("duplicate rows", extra, 0),
        Line("missing rows", lacking, 0),
        *_notice_lines(stage, ended),
        Line("processes killed while they held a relocation", len(delays)),
        Line("slowest seconds from such a death to resumption", round(max(delays, default=0), 1)),
    ]


def why_good_ones_failed(ledger: Engine, asked: Sequence[Asked]) -> list[str]:
    """Return what an operator would read of relocations that nothing was wrong with."""
    found = [find_relocation(ledger, one.id) for one in asked if not one.flaw]
    return [
        f"{one.id} failed in {one.failed_task}: {one.reason}\n"
        + "\n".join(
            f"  {event.at:%H:%M:%S} {event.what} {event.detail}"
            for event in history_of(ledger, one.id)
        )
        + f"\n{(one.internal_error or '').strip()[-600:]}"
        for one in found
        if one is not None and one.status is Status.FAILURE
    ]


def _rows(stage: Stage, before: dict[str, int], relocation_ids: list[str]) -> tuple[int, int]:
    """Compare the rows there are with those the chunks account for; returns too many, too few."""
    expected = Counter(before)
    with stage.destination.connect() as connection:
        inserted = select(IMPORT_CHUNK.c.model, func.sum(IMPORT_CHUNK.c.inserted))
        for model, count in connection.execute(inserted.group_by(IMPORT_CHUNK.c.model)):
            expected[model] += int(count)
    for one in relocation_ids:
        if is_done(stage.ledger, one, Task.GRANT_OWNERSHIP):
            # The new owner becomes a member of each organization, which is no chunk's row.
            expected["sentry.organizationmember"] += len(_organizations(stage, one))
    surplus = Counter(row_counts(stage.destination))
    surplus.subtract(expected)
    return (
        sum(count for count in surplus.values() if count > 0),
        -sum(count for count in surplus.values() if count < 0),
    )


def _left(stage: Stage, cancelled: set[str]) -> int:
    """Count the rows that cancelled relocations imported and that are still accounted for."""
    inserted = select(func.sum(IMPORT_CHUNK.c.inserted))
    mine = inserted.where(IMPORT_CHUNK.c.relocation_id.in_(cancelled))
    with stage.destination.connect() as connection:
        return int(connection.execute(mine).scalar_one() or 0)


def _organizations(stage: Stage, relocation_id: str) -> list[int]:
    with stage.destination.connect() as connection:
        return list(inserted_pks(connection, relocation_id, "sentry.organization").values())


def _half_visible(stage: Stage, settled: Sequence[Relocation]) -> int:
    """Count organizations that can be seen and must not, or the other way round."""
    table = reflect(stage.destination, [load_catalogue()["sentry.organization"]])
    organizations = table["sentry.organization"]
    with stage.destination.connect() as connection:
        status = select(organizations.table.c.id, organizations.column("status"))
        states = {row[0]: row[1] for row in connection.execute(status)}
    wrong = 0
    for one in settled:
        revealed = is_done(stage.ledger, one.id, Task.REVEAL_ORGANIZATIONS)
        moved = _organizations(stage, one.id)
        if one.status is Status.SUCCESS and len(moved) != len(one.organizations):
            wrong += 1
        wrong += sum((states[pk] != PENDING_APPROVAL) != revealed for pk in moved)
    return wrong


def _notice_lines(stage: Stage, settled: Sequence[Relocation]) -> list[Line]:
    arrived: dict[str, list[Taken]] = defaultdict(list)
    for mail in stage.peer.taken:
        arrived[mail.message_id].append(mail)
    missing, unknown, twice, in_doubt, changed, refused, replaced = 0, 0, 0, 0, 0, 0, 0
    with stage.ledger.connect() as connection:
        known = set(connection.execute(select(notices_table.c.message_id)).scalars())
    for relocation in settled:
        notices = notices_of(stage.ledger, relocation.id)
        missing += _unwritten(stage.ledger, relocation, notices)
        for notice in notices:
            mails = arrived[notice.message_id]
            if notice.state is NoticeState.REPLACED:
                replaced += 1
            elif notice.message_id in stage.peer.refused:
                refused += 1
            elif notice.state is NoticeState.UNKNOWN and not mails:
                # The server was silent twice, after all of it: resent once, then left to a person.
                unknown += 1
                missing += not _is_told(notice, notices)
            elif not mails or notice.state not in _ENDS:
                missing += 1
            changed += len({mail.content for mail in mails}) > 1
            if len(mails) > 1:
                if notice.ambiguous:
                    in_doubt += 1
                else:
                    twice += 1
    return [
        Line("notices that arrived", sum(len(mails) > 0 for mails in arrived.values())),
        Line("notices that the mail server refused for good", refused),
        Line("notices that a digest, or a claim with a new link, took the place of", replaced),
        Line("notices given up after two silences, the operator told", unknown),
        Line("notices missing", missing, 0),
        Line("notices sent twice", twice, 0),
        Line("notices sent twice, their acknowledgement lost", in_doubt),
        Line("notices sent again with other bytes", changed, 0),
        Line("mails that no notice accounts for", len(arrived.keys() - known), 0),
        Line("alerts of Prefect's automations", stage.peer.alerts),
    ]


def _is_told(notice: Notice, notices: Sequence[Notice]) -> bool:
    """Say whether the operator is told of a notice that was given up; never of one of his own."""
    about = f"undeliverable:{notice.kind}"
    return notice.kind is NoticeKind.OPERATOR or any(one.about == about for one in notices)


def _unwritten(ledger: Engine, relocation: Relocation, notices: Sequence[Notice]) -> int:
    """Count the notices that the relocation's end calls for and the outbox does not hold."""
    people = addressees(relocation, Settings().operator_email)
    wanted: Counter[NoticeKind] = Counter()
    if is_done(ledger, relocation.id, Task.SCAN_EXPORT):
        wanted[NoticeKind.STARTED] = len(people)
    if relocation.status is Status.SUCCESS:
        result = needed_result(ledger, relocation.id, RelocationCompleted)
        wanted |= Counter({NoticeKind.SUCCEEDED: len(people), NoticeKind.CLAIM: result.claims})
    elif relocation.status is Status.CANCELLED:
        wanted[NoticeKind.CANCELLED] = len(people)
    else:
        wanted[NoticeKind.FAILED] = len(people)
    return (wanted - Counter(notice.kind for notice in notices)).total()


def _delays(ledger: Engine, deaths: Sequence[Death]) -> list[float]:
    """Return, for each death of a process that held a relocation, the seconds until it went on."""
    story = select(events).order_by(events.c.at)
    with ledger.connect() as connection:
        told = list(connection.execute(story))
    by_relocation = defaultdict(list)
    for event in told:
        by_relocation[event.relocation_id].append(event)
    delays = []
    for death in deaths:
        when = datetime.fromtimestamp(death.at, UTC)
        for story_of_one in by_relocation.values():
            earlier = [event for event in story_of_one if event.at <= when]
            holders = [
                e for e in earlier if e.what in {LifecycleEvent.OPENED, LifecycleEvent.TAKEN_OVER}
            ]
            over = {LifecycleEvent.SUCCEEDED, LifecycleEvent.FAILED, LifecycleEvent.CANCELLED}
            if not holders or any(event.what in over for event in earlier):
                continue
            if holders[-1].detail.rpartition(":")[2] != str(death.pid):
                continue
            later = [
                event.at
                for event in story_of_one
                if event.at > when and event.what in {LifecycleEvent.TAKEN_OVER, *over}
            ]
            delays.append((later[0] - when).total_seconds() if later else float("inf"))
    return delays
