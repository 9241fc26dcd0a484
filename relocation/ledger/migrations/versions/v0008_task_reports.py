"""Keep what a task has to tell at length, and what else a relocation was asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the table of reports and the columns."""
    op.add_column("relocation", sa.Column("source", sa.Text))
    op.add_column("relocation", sa.Column("plan", sa.JSON))
    op.create_table(
        "task_report",
        sa.Column("relocation_id", sa.String(36), nullable=False),
        sa.Column("task", sa.String(40), nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("report", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("relocation_id", "task", name="pk_task_report"),
        sa.ForeignKeyConstraint(
            ["relocation_id"], ["relocation.id"], name="fk_task_report_relocation_id"
        ),
    )


def downgrade() -> None:
    """Remove it again."""
    op.drop_table("task_report")
    op.drop_column("relocation", "plan")
    op.drop_column("relocation", "source")
