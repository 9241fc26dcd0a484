"""Keep no address in the keys of notices, and know what is kept of a relocation's people."""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_REMEMBERED = "forgotten_at IS NULL AND status IN ('SUCCESS', 'CANCELLED')"
_CHUNKS = "forgotten_at IS NOT NULL AND chunks_removed_at IS NULL"


def upgrade() -> None:
    """Add the columns, and turn the keys of all notices into hashes: each is still the same one."""
    for column in (
        sa.Column("notice_key", sa.String(64), nullable=False, server_default=""),
        sa.Column("forgotten_at", sa.DateTime(timezone=True)),
        sa.Column("chunks_removed_at", sa.DateTime(timezone=True)),
    ):
        op.add_column("relocation", column)
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        secret = "replace(gen_random_uuid()::text, '-', '')"  # noqa: S105 - how one is made
        keyed = "encode(sha256(convert_to(r.notice_key || notice.dedupe_key, 'UTF8')), 'hex')"
    else:
        raw = connection.connection.dbapi_connection
        assert raw is not None  # noqa: S101 - the transaction is open
        raw.create_function("keyed", 2, _keyed, deterministic=True)
        secret, keyed = "lower(hex(randomblob(16)))", "keyed(r.notice_key, notice.dedupe_key)"
    op.execute(f"UPDATE relocation SET notice_key = {secret}")
    op.execute(
        f"UPDATE notice SET dedupe_key = {keyed} FROM relocation AS r"
        " WHERE r.id = notice.relocation_id"
    )
    _create_index("ix_relocation_remembered", "updated_at", _REMEMBERED)
    _create_index("ix_relocation_chunks", "forgotten_at", _CHUNKS)


def downgrade() -> None:
    """Remove the columns; the keys stay hashes, and an older version would tell things again."""
    for name in ("ix_relocation_chunks", "ix_relocation_remembered"):
        op.drop_index(name, "relocation")
    for name in ("chunks_removed_at", "forgotten_at", "notice_key"):
        op.drop_column("relocation", name)


def _keyed(secret: str, key: str) -> str:
    return hashlib.sha256((secret + key).encode("utf-8", "replace")).hexdigest()


def _create_index(name: str, column: str, condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, "relocation", [column], sqlite_where=where, postgresql_where=where)
