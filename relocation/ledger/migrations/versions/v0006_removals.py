"""Keep how far removals are: of working files, round by round, and of what was imported."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_FILES = "('scan_export', 'capture_baseline', 'capture_colliding_users')"
_IMPORT = "SELECT max(started_at) FROM task_try WHERE relocation_id = relocation.id"


def upgrade() -> None:
    """Add the columns, and say in them what the history tells.

    Working files had one folder a relocation, which is round 0 from now on. Where they were only
    marked as removed they may lie there still: they are removed once more.
    """
    op.drop_index("ix_relocation_files", "relocation")
    for column in (
        sa.Column("discarding_round", sa.Integer, nullable=False, server_default="0"),
        sa.Column("discarded_round", sa.Integer, nullable=False, server_default="0"),
        sa.Column("roll_back", sa.String(40)),
    ):
        op.add_column("relocation", column)
    op.execute("UPDATE relocation SET discarded_round = -1")
    op.execute("UPDATE relocation SET discarding_round = round WHERE NOT files_kept")
    op.execute("UPDATE relocation SET discarding_round = -1 WHERE files_kept")
    op.execute(f"UPDATE task_done SET round = 0 WHERE task IN {_FILES}")
    # What was cancelled was settled when its roll back had ended, or was refused, and said so. Of
    # what had failed, only the beginning was kept; to roll back once more does no harm.
    op.execute(
        "UPDATE relocation"
        " SET roll_back = CASE status WHEN 'CANCELLED' THEN 'DONE' ELSE 'BEGUN' END"
        " WHERE status IN ('CANCELLED', 'FAILURE')"
        " AND coalesce(internal_error, '') NOT LIKE 'not rolled back:%'"
        " AND (SELECT max(at) FROM event WHERE relocation_id = relocation.id"
        f" AND what = 'ROLLED_BACK') >= ({_IMPORT} AND task = 'import_organizations')"
    )
    op.drop_column("relocation", "files_kept")
    _create_index("ix_relocation_files", "discarding_round < round")
    _create_index("ix_relocation_discarding", "discarded_round < discarding_round")


def downgrade() -> None:
    """Remove them again; files in folders of rounds are then known to nobody."""
    for name in ("ix_relocation_discarding", "ix_relocation_files"):
        op.drop_index(name, "relocation")
    kept = sa.Column("files_kept", sa.Boolean, nullable=False, server_default=sa.true())
    op.add_column("relocation", kept)
    op.execute("UPDATE relocation SET files_kept = (discarding_round < round)")
    for name in ("roll_back", "discarded_round", "discarding_round"):
        op.drop_column("relocation", name)
    _create_index("ix_relocation_files", "files_kept")


def _create_index(name: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "relocation", ["settled_at"], sqlite_where=where, postgresql_where=where)
