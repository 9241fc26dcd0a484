"""Know the relocations whose mails may have gone out after the backup that the ledger is of."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the mark."""
    held_back = sa.Column("held_back", sa.Boolean, nullable=False, server_default=sa.false())
    op.add_column("relocation", held_back)


def downgrade() -> None:
    """Remove it again."""
    op.drop_column("relocation", "held_back")
