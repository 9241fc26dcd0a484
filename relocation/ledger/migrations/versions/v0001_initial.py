"""Create relocations, tries, tasks done and notices."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_NAME = sa.String(40)


def upgrade() -> None:
    """Create the tables."""
    _create_relocation()
    _create_tries_and_results()
    _create_notice()


def downgrade() -> None:
    """Remove the tables, with everything in them."""
    for table in ("notice", "task_done", "task_try", "relocation"):
        op.drop_table(table)


def _create_relocation() -> None:
    op.create_table(
        "relocation",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("status", _NAME, nullable=False),
        sa.Column("step", _NAME, nullable=False),
        sa.Column("task", _NAME),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("settled_round", sa.Integer, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("lease_until", _TIME),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("owner_email", sa.Text),
        sa.Column("creator", sa.Text),
        sa.Column("creator_email", sa.Text),
        sa.Column("archive", sa.Text, nullable=False),
        sa.Column("organizations", sa.JSON, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("failed_task", _NAME),
        sa.Column("internal_error", sa.Text),
        sa.Column("pause_before_step", _NAME),
        sa.Column("cancel_before_step", _NAME),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.Column("settled_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_relocation"),
    )
    active = sa.text("status IN ('IN_PROGRESS', 'INTERRUPTED', 'PAUSED')")
    op.create_index(
        "uq_relocation_active_owner",
        "relocation",
        ["owner"],
        unique=True,
        sqlite_where=active,
        postgresql_where=active,
    )
    op.create_index("ix_relocation_created_at", "relocation", ["created_at"])
    op.create_index("ix_relocation_status", "relocation", ["status", "updated_at"])


def _create_tries_and_results() -> None:
    op.create_table(
        "task_try",
        sa.Column("relocation_id", sa.String(36), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("task", _NAME, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME),
        sa.Column("outcome", _NAME),
        sa.Column("error", sa.Text),
        sa.Column("worker", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("relocation_id", "round", "task", "number", name="pk_task_try"),
        sa.ForeignKeyConstraint(
            ["relocation_id"], ["relocation.id"], name="fk_task_try_relocation_id"
        ),
    )
    op.create_table(
        "task_done",
        sa.Column("relocation_id", sa.String(36), nullable=False),
        sa.Column("task", _NAME, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("done_at", _TIME, nullable=False),
        sa.Column("result", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("relocation_id", "task", name="pk_task_done"),
        sa.ForeignKeyConstraint(
            ["relocation_id"], ["relocation.id"], name="fk_task_done_relocation_id"
        ),
    )


def _create_notice() -> None:
    op.create_table(
        "notice",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("relocation_id", sa.String(36), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("kind", _NAME, nullable=False),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
        sa.Column("dedupe_key", sa.Text, nullable=False),
        sa.Column("context", sa.JSON, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("wire", sa.LargeBinary),
        sa.Column("state", _NAME, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("ambiguous", sa.Integer, nullable=False),
        sa.Column("not_before", _TIME, nullable=False),
        sa.Column("lease_until", _TIME),
        sa.Column("claimed_by", sa.Text),
        sa.Column("reply", sa.Text),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("sent_at", _TIME),
        sa.PrimaryKeyConstraint("id", name="pk_notice"),
        sa.ForeignKeyConstraint(
            ["relocation_id"], ["relocation.id"], name="fk_notice_relocation_id"
        ),
        sa.UniqueConstraint("dedupe_key", name="uq_notice_dedupe_key"),
        sa.UniqueConstraint("message_id", name="uq_notice_message_id"),
    )
    op.create_index("ix_notice_due", "notice", ["state", "not_before"])
    op.create_index("ix_notice_relocation_id", "notice", ["relocation_id", "id"])
