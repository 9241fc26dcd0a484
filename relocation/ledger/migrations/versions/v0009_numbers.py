"""Find what happened in the last hour, however much happened before."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Index tries and events by time."""
    op.create_index("ix_task_try_ended_at", "task_try", ["ended_at"])
    op.create_index("ix_event_at", "event", ["at"])


def downgrade() -> None:
    """Remove the indexes."""
    op.drop_index("ix_event_at", "event")
    op.drop_index("ix_task_try_ended_at", "task_try")
