"""Keep of a pause whether its run is suspended, and of a resumption what it was asked of."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COLUMNS = ("resume_asked_of", "suspended_since")


def upgrade() -> None:
    """Add the columns; the runs of what is paused are confirmed by the next sweep."""
    for name in _COLUMNS:
        op.add_column("relocation", sa.Column(name, sa.DateTime(timezone=True)))


def downgrade() -> None:
    """Remove them again."""
    for name in reversed(_COLUMNS):
        op.drop_column("relocation", name)
