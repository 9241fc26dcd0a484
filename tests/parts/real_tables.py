"""Make tables as a real version of the product has them, from the facts of its models."""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlalchemy import Connection

from relocation.archive.records import Record
from relocation.catalogue import load_catalogue
from relocation.example import example_export
from relocation.transfer.database.schema import unique_sets
from relocation.transfer.source import RecordList

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

_REFERENCES = (
    ("sentry_actor", "team_id", "sentry_team"),
    ("sentry_organizationmembermapping", "user_id", "auth_user"),
    ("sentry_organizationmembermapping", "inviter_id", "auth_user"),
    ("sentry_team", "actor_id", "sentry_actor"),
    ("sentry_rule", "owner_id", "sentry_actor"),
    ("sentry_alertrule", "owner_id", "sentry_actor"),
)
"""Constraints of columns that the catalogue does not have."""


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
    if dialect == "postgresql":
        for table, column, target in references():
            connection.exec_driver_sql(f'ALTER TABLE "{table}" ADD {_constraint(column, target)}')
    for table, untold in _UNTOLD.items():
        if table not in real_columns():
            made = [RealColumn(name, kind, nullable) for name, (kind, nullable) in untold.items()]
            _make(connection, table, made)
    _add_uniques(connection)


def references() -> list[tuple[str, str, str]]:
    """Return table, column and target of each reference that a constraint stands behind."""
    catalogue = load_catalogue()
    found = list(_REFERENCES)
    for model in catalogue.values():
        there = {one.name for one in real_columns().get(model.table, {}).values()}
        for key in model.foreign_keys.values():
            known = key.to in catalogue and catalogue[key.to].table in real_columns()
            checked = key.kind not in {"HybridCloudForeignKey", "ImplicitForeignKey"}
            if known and checked and model.columns[key.field] in there:
                found.append((model.table, model.columns[key.field], catalogue[key.to].table))
    return list(dict.fromkeys(found))


def _constraint(column: str, target: str) -> str:
    """Return the constraint as Django makes it: it is checked when the transaction ends."""
    checked = "DEFERRABLE INITIALLY DEFERRED"
    return f'FOREIGN KEY ("{column}") REFERENCES "{target}" (id) {checked}'


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
    if connection.dialect.name == "sqlite":  # it adds none to a table that is there
        parts += [_constraint(column, to) for of, column, to in references() if of == table]
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


def exported_by_it(*, organizations: int = 1) -> RecordList:
    """An export as the real version writes it: what it does not know is not there."""
    return RecordList(
        (
            Record(one.model, one.pk, {name: one.fields[name] for name in fields})
            for one in example_export(organizations=organizations)
            if (table := real_columns().get(load_catalogue()[one.model].table)) is not None
            for fields in [one.fields.keys() & table.keys()]
        ),
        load_catalogue(),
    )
