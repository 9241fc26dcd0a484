"""Index the notices that are not done with, so that the outbox stays fast as it grows."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Replace the index over all notices by three small ones."""
    op.drop_index("ix_notice_due", "notice")
    _index("ix_notice_due", ["not_before", "id"], "state IN ('queued')")
    _index("ix_notice_open", ["relocation_id", "id"], "state IN ('queued', 'claimed', 'sending')")
    _index("ix_notice_leased", ["lease_until"], "state IN ('claimed', 'sending')")


def downgrade() -> None:
    """Bring the index over all notices back."""
    for name in ("ix_notice_leased", "ix_notice_open", "ix_notice_due"):
        op.drop_index(name, "notice")
    op.create_index("ix_notice_due", "notice", ["state", "not_before"])


def _index(name: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "notice", columns, sqlite_where=where, postgresql_where=where)
