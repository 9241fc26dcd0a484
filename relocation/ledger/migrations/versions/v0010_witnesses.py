"""Notice that the database has crashed: marks of notices do not wait for its disk one by one."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table that PostgreSQL empties after a crash."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "witness",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("boot", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_witness"),
        prefixes=["UNLOGGED"] if postgresql else [],
    )


def downgrade() -> None:
    """Remove it again."""
    op.drop_table("witness")
