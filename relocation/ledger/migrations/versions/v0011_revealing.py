"""Call the step in which the organizations become visible by what it does."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_COLUMNS = ("step", "pause_before_step", "cancel_before_step")


def upgrade() -> None:
    """Rename the step NOTIFYING to REVEALING."""
    _rename("NOTIFYING", "REVEALING")


def downgrade() -> None:
    """Give it its old name back."""
    _rename("REVEALING", "NOTIFYING")


def _rename(old: str, new: str) -> None:
    for column in _COLUMNS:
        op.execute(f"UPDATE relocation SET {column} = '{new}' WHERE {column} = '{old}'")
