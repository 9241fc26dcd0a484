"""Keep in the ledger which sweep is at work: the Prefect server may forget that one has died."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the one row that a sweep leases."""
    table = op.create_table(
        "sweep_lease",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sweep_lease"),
    )
    long_ago = datetime(1970, 1, 1, tzinfo=UTC)
    op.bulk_insert(table, [{"id": 1, "worker": "", "lease_until": long_ago}])


def downgrade() -> None:
    """Remove it again."""
    op.drop_table("sweep_lease")
