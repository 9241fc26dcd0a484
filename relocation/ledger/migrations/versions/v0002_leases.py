"""Leases, interruptions, the history of a relocation, and what a sweep needs to find."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the columns, the history and the indexes."""
    for column in (
        sa.Column("held_since", _TIME),
        sa.Column("resumes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("resume_asked_at", _TIME),
        sa.Column("archive_bytes", sa.BigInteger),
        sa.Column("files_kept", sa.Boolean, nullable=False, server_default=sa.true()),
    ):
        op.add_column("relocation", column)
    for name in ("reason", "advice"):
        op.add_column("task_try", sa.Column(name, sa.Text))
    _create_index("ix_relocation_open", "lease_until", "settled_round < round")
    _create_index("ix_relocation_files", "settled_at", "files_kept")
    op.create_table(
        "event",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("relocation_id", sa.String(36), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("what", sa.String(40), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event"),
        sa.ForeignKeyConstraint(
            ["relocation_id"], ["relocation.id"], name="fk_event_relocation_id"
        ),
    )
    op.create_index("ix_event_relocation_id", "event", ["relocation_id", "id"])


def downgrade() -> None:
    """Remove them again; the history is lost."""
    op.drop_table("event")
    op.drop_index("ix_relocation_files", "relocation")
    op.drop_index("ix_relocation_open", "relocation")
    for column in ("advice", "reason"):
        op.drop_column("task_try", column)
    for column in ("files_kept", "archive_bytes", "resume_asked_at", "resumes", "held_since"):
        op.drop_column("relocation", column)


def _create_index(name: str, column: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "relocation", [column], sqlite_where=where, postgresql_where=where)
