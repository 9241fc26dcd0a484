"""Make tables as a real version of the product has them, from the facts of its models."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlalchemy import Connection

from relocation.catalogue import load_catalogue
from relocation.transfer.database.schema import unique_sets

FACTS = Path(__file__).parents[1] / "real_product/columns-23.7.1.json"

_ON_SQLITE = {
    "bigserial": "INTEGER",
    "serial": "INTEGER",
    "bigint": "BIGINT",
    "boolean": "BOOLEAN",
    "citext": "TEXT COLLATE NOCASE",
    "double precision": "DOUBLE",
    "inet": "CHAR(39)",
    "integer": "INTEGER",
    "jsonb": "JSON",
    "smallint": "SMALLINT",
    "text": "TEXT",
    "timestamp with time zone": "TIMESTAMP",
    "uuid": "CHAR(36)",
}
"""What SQLite makes of a type; it has neither arrays nor addresses, and both are text there."""

_UNTOLD = {
    "sentry_lostpasswordhash": {
        "id": ("bigserial", False),
        "user_id": ("bigint", False),
        "hash": ("varchar(32)", False),
        "date_added": ("timestamp with time zone", False),
    },
    "django_migrations": {
        "id": ("bigserial", False),
        "app": ("varchar(255)", False),
        "name": ("varchar(255)", False),
        "applied": ("timestamp with time zone", False),
    },
}
"""Tables that the facts leave out where they tell of the models alone."""


@dataclass(frozen=True)
class RealColumn:
    """A column as the product's own migrations make it."""

    name: str
    type: str
    nullable: bool


@cache
def real_columns() -> dict[str, dict[str, RealColumn]]:
    """Return by table and field the columns of the real version."""
    return {
        model["table"]: {
            field: RealColumn(name, kind, nullable)
            for field, (name, nullable, _, kind) in model["cols"].items()
        }
        for model in json.loads(FACTS.read_text()).values()
    }


def make_real_tables(connection: Connection) -> None:
    """Make every table of the real version, with the unique sets that the catalogue knows."""
    dialect = connection.dialect.name
    if dialect == "postgresql":
        _make_citext(connection)
    for table, columns in real_columns().items():
        _make(connection, table, list(columns.values()))
    for table, untold in _UNTOLD.items():
        if table not in real_columns():
            made = [RealColumn(name, kind, nullable) for name, (kind, nullable) in untold.items()]
            _make(connection, table, made)
    _add_uniques(connection)


def _make_citext(connection: Connection) -> None:
    """Give PostgreSQL the type; a plain domain where the server came without its extensions."""
    known = "SELECT count(*) FROM pg_available_extensions WHERE name = 'citext'"
    if connection.exec_driver_sql(known).scalar():
        connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS citext")
    else:
        connection.exec_driver_sql("CREATE DOMAIN citext AS text")


def _make(connection: Connection, table: str, columns: list[RealColumn]) -> None:
    parts = []
    for one in columns:
        kind = one.type if connection.dialect.name == "postgresql" else _on_sqlite(one.type)
        key = " PRIMARY KEY" if one.name == "id" else ""
        parts.append(f'"{one.name}" {kind}{key}{"" if one.nullable else " NOT NULL"}')
    connection.exec_driver_sql(f'CREATE TABLE "{table}" ({", ".join(parts)})')


def _on_sqlite(kind: str) -> str:
    if kind.endswith("[]"):
        return "TEXT"
    return _ON_SQLITE.get(kind) or re.sub("^varchar", "VARCHAR", kind)


def _add_uniques(connection: Connection) -> None:
    for model in load_catalogue().values():
        here = {one.name for one in real_columns().get(model.table, {}).values()}
        for number, unique in enumerate(unique_sets(model)):
            names = [model.columns[field] for field in unique.fields]
            if here.issuperset(names) and not unique.where:
                columns = ", ".join(f'"{name}"' for name in names)
                connection.exec_driver_sql(
                    f'CREATE UNIQUE INDEX "real_{model.position}_{number}" '
                    f'ON "{model.table}" ({columns})'
                )
