"""Tell faults of ours from refusals, renew claims, and gather what operators are told."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the columns, and the table of causes that operators were told of."""
    for column in (
        sa.Column("channel", sa.String(40), nullable=False, server_default="mail"),
        sa.Column("refusals", sa.Integer, nullable=False, server_default="0"),
        sa.Column("unbuildable", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("valid_until", _TIME),
        sa.Column("cause", sa.Text),
    ):
        op.add_column("notice", column)
    op.add_column("relocation", sa.Column("cause", sa.Text))
    op.add_column("task_try", sa.Column("fault", sa.Text))
    where = sa.text("cause IS NOT NULL")
    op.create_index(
        "ix_relocation_cause", "relocation", ["cause"], sqlite_where=where, postgresql_where=where
    )
    where = sa.text("valid_until IS NOT NULL")
    op.create_index(
        "ix_notice_valid_until",
        "notice",
        ["valid_until"],
        sqlite_where=where,
        postgresql_where=where,
    )
    op.create_table(
        "told_cause",
        sa.Column("cause", sa.String(300), nullable=False),
        sa.Column("until", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("cause", name="pk_told_cause"),
    )


def downgrade() -> None:
    """Remove them again."""
    op.drop_table("told_cause")
    op.drop_index("ix_relocation_cause", "relocation")
    op.drop_index("ix_notice_valid_until", "notice")
    op.drop_column("task_try", "fault")
    op.drop_column("relocation", "cause")
    for name in ("cause", "valid_until", "unbuildable", "refusals", "channel"):
        op.drop_column("notice", name)
