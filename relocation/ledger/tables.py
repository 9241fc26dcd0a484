"""The tables of the ledger, for SQLite and PostgreSQL alike."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Enum,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    and_,
    false,
    literal,
)

from relocation.errors import MAX_REASON
from relocation.ledger.column_types import BoundedText, UtcTime
from relocation.notices.kinds import MAX_CAUSE, Channel, NoticeKind
from relocation.steps import ACTIVE, LifecycleEvent, RollBackState, Status, Step, Task

MAX_INTERNAL_ERROR = 20_000


class TryOutcome(StrEnum):
    """How one try of a task ended; a try that has not ended has none."""

    DONE = "DONE"
    FAILED = "FAILED"
    REFUSED = "REFUSED"
    """It failed in a way that no further try can fix."""
    INTERRUPTED = "INTERRUPTED"
    """Its process went away."""


class NoticeState(StrEnum):
    """Where a notice stands in the outbox; the last four are ends."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """It may have arrived, and was sent again once already."""
    REPLACED = "replaced"
    """Another notice says what it was to say."""


def _by_value(enum: type[StrEnum]) -> Enum:
    return Enum(
        enum,
        native_enum=False,
        length=40,  # a new member needs no migration
        values_callable=lambda members: [member.value for member in members],
    )


def _step() -> Enum:
    # With the names that steps had before: a process of an older version may still write them.
    return Enum(Step, native_enum=False, length=40, omit_aliases=False)


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
    }
)

relocations = Table(
    "relocation",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("status", _by_value(Status), nullable=False),
    Column("step", _step(), nullable=False),
    Column("task", _by_value(Task)),
    Column("round", Integer, nullable=False),
    Column("settled_round", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("held_since", UtcTime),
    Column("lease_until", UtcTime),
    Column("resumes", Integer, nullable=False, server_default="0"),
    Column("resume_asked_at", UtcTime),
    Column("resume_asked_of", UtcTime),
    Column("suspended_since", UtcTime),
    Column("owner", BoundedText(200), nullable=False),
    Column("owner_email", BoundedText(400)),
    Column("creator", BoundedText(200)),
    Column("creator_email", BoundedText(400)),
    Column("archive", BoundedText(1000), nullable=False),
    Column("source", BoundedText(200)),
    Column("plan", JSON(none_as_null=True)),
    Column("archive_bytes", BigInteger),
    # Working files lie in a folder for each round: of rounds up to these, they are to go, are gone.
    Column("discarding_round", Integer, nullable=False, server_default="0"),
    Column("discarded_round", Integer, nullable=False, server_default="0"),
    Column("roll_back", _by_value(RollBackState)),
    Column("organizations", JSON, nullable=False),
    Column("reason", BoundedText(MAX_REASON)),
    Column("failed_task", _by_value(Task)),
    Column("internal_error", BoundedText(MAX_INTERNAL_ERROR)),
    Column("cause", BoundedText(MAX_CAUSE)),
    Column("pause_before_step", _step()),
    Column("cancel_before_step", _step()),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("settled_at", UtcTime),
    # Of its notices' keys, which are hashes: they hold addresses. It goes with these.
    Column("notice_key", String(64), nullable=False, server_default=""),
    Column("forgotten_at", UtcTime),
    Column("chunks_removed_at", UtcTime),
    Column("held_back", Boolean, nullable=False, server_default=false()),
)
_is_active = relocations.c.status.in_(ACTIVE)
Index(
    "uq_relocation_active_owner",  # one active relocation an owner (B-9)
    relocations.c.owner,
    unique=True,
    sqlite_where=_is_active,
    postgresql_where=_is_active,
)
Index("ix_relocation_created_at", relocations.c.created_at)
Index("ix_relocation_status", relocations.c.status, relocations.c.updated_at)
is_open = relocations.c.settled_round < relocations.c.round
"""Begun and not settled: what a sweep has to look at."""
Index(
    "ix_relocation_open",
    relocations.c.lease_until,
    sqlite_where=is_open,
    postgresql_where=is_open,
)
has_files = relocations.c.discarding_round < relocations.c.round
"""Working files may lie in the storage, and nobody has begun to remove them."""
Index(
    "ix_relocation_files",
    relocations.c.settled_at,
    sqlite_where=has_files,
    postgresql_where=has_files,
)
is_discarding = relocations.c.discarded_round < relocations.c.discarding_round
"""The removal of working files has begun; until it ends, it is repeated."""
Index(
    "ix_relocation_discarding",
    relocations.c.settled_at,
    sqlite_where=is_discarding,
    postgresql_where=is_discarding,
)
has_cause = relocations.c.cause.is_not(None)
Index(
    "ix_relocation_cause",
    relocations.c.cause,
    sqlite_where=has_cause,
    postgresql_where=has_cause,
)
is_remembered = and_(
    relocations.c.forgotten_at.is_(None),
    relocations.c.status.in_(
        [
            literal(status, relocations.c.status.type, literal_execute=True)
            for status in (Status.SUCCESS, Status.CANCELLED)
        ]
    ),
)
"""It has ended for good, and the ledger still knows of its people."""
Index(
    "ix_relocation_remembered",
    relocations.c.updated_at,
    sqlite_where=is_remembered,
    postgresql_where=is_remembered,
)
has_chunks = and_(
    relocations.c.forgotten_at.is_not(None), relocations.c.chunks_removed_at.is_(None)
)
"""The ledger has forgotten its people; the destination may still have its chunk records."""
Index(
    "ix_relocation_chunks",
    relocations.c.forgotten_at,
    sqlite_where=has_chunks,
    postgresql_where=has_chunks,
)

task_tries = Table(
    "task_try",
    metadata,
    Column("relocation_id", ForeignKey(relocations.c.id), primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("task", _by_value(Task), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("started_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("outcome", _by_value(TryOutcome)),
    Column("reason", BoundedText(MAX_REASON)),
    Column("advice", BoundedText(MAX_REASON)),
    Column("error", BoundedText(MAX_INTERNAL_ERROR)),
    Column("fault", BoundedText(MAX_REASON)),
    Column("worker", BoundedText(200), nullable=False),
)
Index("ix_task_try_ended_at", task_tries.c.ended_at)

tasks_done = Table(
    "task_done",
    metadata,
    Column("relocation_id", ForeignKey(relocations.c.id), primary_key=True),
    Column("task", _by_value(Task), primary_key=True),
    Column("round", Integer, nullable=False),
    Column("done_at", UtcTime, nullable=False),
    Column("result", JSON, nullable=False),
)

task_reports = Table(
    "task_report",
    metadata,
    Column("relocation_id", ForeignKey(relocations.c.id), primary_key=True),
    Column("task", _by_value(Task), primary_key=True),
    Column("round", Integer, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("report", LargeBinary, nullable=False),
)
"""What a task has to tell at length, compressed: of its last try, whether it is done or not."""

events = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("relocation_id", ForeignKey(relocations.c.id), nullable=False),
    Column("round", Integer, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("what", _by_value(LifecycleEvent), nullable=False),
    Column("detail", BoundedText(1000), nullable=False),
)
Index("ix_event_relocation_id", events.c.relocation_id, events.c.id)
Index("ix_event_at", events.c.at)

sweep_lease = Table(
    "sweep_lease",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("worker", BoundedText(400), nullable=False),
    Column("lease_until", UtcTime, nullable=False),
)
"""One row: until when the sweep that began last keeps others from sweeping."""

notices = Table(
    "notice",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("relocation_id", ForeignKey(relocations.c.id), nullable=False),
    Column("round", Integer, nullable=False),
    Column("kind", _by_value(NoticeKind), nullable=False),
    Column("recipient", BoundedText(400), nullable=False),
    Column("about", BoundedText(200), nullable=False),
    Column("dedupe_key", BoundedText(600), nullable=False, unique=True),
    Column("context", JSON, nullable=False),
    Column("message_id", BoundedText(400), nullable=False, unique=True),
    Column("wire", LargeBinary),
    Column("state", _by_value(NoticeState), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("ambiguous", Integer, nullable=False),
    Column("not_before", UtcTime, nullable=False),
    Column("lease_until", UtcTime),
    Column("claimed_by", BoundedText(200)),
    Column("reply", BoundedText(1000)),
    Column("created_at", UtcTime, nullable=False),
    Column("sent_at", UtcTime),
    Column("channel", _by_value(Channel), nullable=False, server_default=Channel.MAIL.value),
    Column("refusals", Integer, nullable=False, server_default="0"),
    Column("unbuildable", Boolean, nullable=False, server_default=false()),
    Column("valid_until", UtcTime),
    Column("cause", BoundedText(MAX_CAUSE)),
)
Index("ix_notice_relocation_id", notices.c.relocation_id, notices.c.id)

told_causes = Table(
    "told_cause",
    metadata,
    Column("cause", String(MAX_CAUSE), primary_key=True),
    Column("until", UtcTime, nullable=False),
)
"""Until when further failures of a cause wait, so that operators read of them in one notice."""

witnesses = Table(
    "witness",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("boot", BoundedText(200), nullable=False),
)
"""One row: the run of the database's machine in which notices are sent.

The migration makes it unlogged on PostgreSQL: a crash empties it.
"""


def is_in(
    column: ColumnElement[NoticeState], states: tuple[NoticeState, ...]
) -> ColumnElement[bool]:
    """Compare with constants: a database uses a partial index for nothing else."""
    return column.in_([literal(state, column.type, literal_execute=True) for state in states])


OPEN = (NoticeState.QUEUED, NoticeState.CLAIMED, NoticeState.SENDING)
LEASED = (NoticeState.CLAIMED, NoticeState.SENDING)


def _open_notices(name: str, columns: Sequence[Column[Any]], states: Sequence[NoticeState]) -> None:
    """Make an index of the few notices in these states, however many are done with."""
    condition = notices.c.state.in_(states)
    Index(name, *columns, sqlite_where=condition, postgresql_where=condition)


_open_notices("ix_notice_due", [notices.c.not_before, notices.c.id], [NoticeState.QUEUED])
_open_notices("ix_notice_open", [notices.c.relocation_id, notices.c.id], OPEN)
_open_notices("ix_notice_leased", [notices.c.lease_until], LEASED)
has_link = notices.c.valid_until.is_not(None)
Index(
    "ix_notice_valid_until",
    notices.c.valid_until,
    sqlite_where=has_link,
    postgresql_where=has_link,
)


def utc_now() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)
