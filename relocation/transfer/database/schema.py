"""The destination's tables: create an embedded one, reflect a real one, and check that it fits."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Double,
    Engine,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    inspect,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from relocation.catalogue import Field, FieldType, Model, load_catalogue
from relocation.errors import ConfigurationError
from relocation.findings import Finding, FindingKind
from relocation.transfer.plain_fields import with_plain_fields

LOST_PASSWORDS: Final = "sentry_lostpasswordhash"
"""Where the destination keeps the one-time tokens that let a person set a password (R-22)."""

_READ_ONCE: Final = "tables_read_once"

_MISSING: Final = "The destination has no column for this field."
_COMPUTED: Final = "The destination computes this column by itself."

_UNCHECKED_KINDS = frozenset({"HybridCloudForeignKey", "ImplicitForeignKey"})
"""Reference kinds that no database constraint stands behind (S-5)."""

_BIG = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers only INTEGER keys by itself
_JSON = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

_TYPES: Mapping[FieldType, TypeEngine[Any]] = {
    FieldType.INTEGER: Integer(),
    FieldType.BIGINT: BigInteger(),
    FieldType.FLOAT: Double(),
    FieldType.BOOLEAN: Boolean(),
    FieldType.TEXT: Text(),
    FieldType.DATETIME: DateTime(timezone=True),
    FieldType.JSON: _JSON,
    FieldType.JSON_TEXT: Text(),
    FieldType.FLAGS: BigInteger(),
    FieldType.ARRAY: Text(),
    FieldType.OPTION: Text(),
}

_own_tables = MetaData()

IMPORT_CHUNK = Table(
    "relocation_import_chunk",
    _own_tables,
    Column("relocation_id", String(64), primary_key=True),
    Column("model", String(100), primary_key=True),
    Column("chunk", Integer, primary_key=True, autoincrement=False),
    *(
        Column(count, Integer, nullable=False)
        for count in ("read", "inserted", "merged", "overwritten", "skipped", "dropped")
    ),
    Column("first_pk", BigInteger, nullable=False),
    Column("last_pk", BigInteger, nullable=False),
    Column("pks", LargeBinary, nullable=False),
    Column("findings", LargeBinary, nullable=False),
)

FENCE = Table(
    "relocation_fence",
    _own_tables,
    Column("relocation_id", String(64), primary_key=True),
    Column("fence", BigInteger, nullable=False),
)


@dataclass(frozen=True)
class UniqueSet:
    """Fields that no two rows share, among the rows whose other fields have the values of `where`.

    A row with a null in one of the fields collides with none.
    """

    fields: tuple[str, ...]
    where: tuple[tuple[str, Any], ...] = ()


_PARTIAL: Mapping[tuple[str, tuple[str, ...]], tuple[tuple[str, Any], ...]] = {
    ("sentry.savedsearch", ("is_global", "name")): (("is_global", True),),
    ("sentry.savedsearch", ("organization", "owner_id", "type")): (("visibility", "owner_pinned"),),
    ("sentry.rulesnooze", ("alert_rule",)): (("user_id", None),),
    ("sentry.rulesnooze", ("rule",)): (("user_id", None),),
}
"""Unique sets of the catalogue that hold only for some rows."""


def unique_sets(model: Model) -> list[UniqueSet]:
    """Return the model's unique sets with the conditions under which they hold."""
    return [UniqueSet(fields, _PARTIAL.get((model.name, fields), ())) for fields in model.uniques]


@dataclass(frozen=True)
class ModelTable:
    """A model and its table in one database."""

    model: Model
    table: Table
    fields: tuple[str, ...]
    """The model's fields that have a column here, and one that can be written."""

    def column(self, field: str) -> Column[Any]:
        """Return the column of a field; raises ConfigurationError where the table has none."""
        if field not in self.fields:
            raise ConfigurationError(
                f"The destination has no column for {self.model.name}.{field}. Its operator has "
                "to upgrade its schema."
            )
        return self.table.c[self.model.columns[field]]


def create_own_tables(engine: Engine) -> None:
    """Create the two tables that the relocation itself keeps in a destination; idempotent."""
    _own_tables.create_all(engine)


def create_embedded(engine: Engine) -> None:
    """Create every table of the catalogue, the lost-password records, and our own; idempotent."""
    _rename_columns(engine)
    embedded_tables().create_all(engine)
    create_own_tables(engine)


def _rename_columns(engine: Engine) -> None:
    """Bring an embedded destination up to date that was made when columns were named as fields."""
    present = set(inspect(engine).get_table_names())
    for model in load_catalogue().values():
        renamed = {one.name: one.column for one in model.fields.values() if one.column is not None}
        if not renamed or model.table not in present:
            continue
        there = {column["name"] for column in inspect(engine).get_columns(model.table)}
        quote = engine.dialect.identifier_preparer.quote
        with engine.begin() as connection:
            for old, new in renamed.items():
                if old in there and new not in there:
                    connection.exec_driver_sql(
                        f"ALTER TABLE {quote(model.table)} RENAME {quote(old)} TO {quote(new)}"
                    )


def embedded_tables() -> MetaData:
    """Return the tables of an embedded destination, without our own."""
    metadata = MetaData()
    for model in load_catalogue().newest().values():
        _define(model, metadata)
    Table(
        LOST_PASSWORDS,
        metadata,
        Column("id", _BIG, primary_key=True),
        Column("user_id", BigInteger, ForeignKey("auth_user.id"), nullable=False, unique=True),
        Column("hash", String(32), nullable=False),
        Column("date_added", DateTime(timezone=True), nullable=False),
    )
    return metadata


def lost_passwords(connection: Connection) -> Table | None:
    """Return the destination's table of lost-password records, if it has one."""
    if not inspect(connection).has_table(LOST_PASSWORDS):
        return None
    return Table(LOST_PASSWORDS, MetaData(), autoload_with=connection, resolve_fks=False)


def _define(model: Model, metadata: MetaData) -> None:
    catalogue = load_catalogue()
    name, columns = model.table, model.columns
    table = Table(
        name,
        metadata,
        Column("id", _BIG, primary_key=True),
        *(
            Column(
                columns[field.name],
                _type(field),
                nullable=not is_mandatory(model, field.name),
                index=field.name in model.foreign_keys,
            )
            for field in model.fields.values()
        ),
    )
    for key in model.foreign_keys.values():
        if key.kind not in _UNCHECKED_KINDS and key.to in catalogue:
            table.append_constraint(
                ForeignKeyConstraint([columns[key.field]], [f"{catalogue[key.to].table}.id"])
            )
    for number, unique in enumerate(unique_sets(model)):
        parts = [table.c[columns[field]] for field in unique.fields]
        if unique.where:
            where = and_(
                *(_equals(table.c[columns[field]], value) for field, value in unique.where)
            )
            Index(
                f"uq_{name}_{number}",
                *parts,
                unique=True,
                sqlite_where=where,
                postgresql_where=where,
            )
        else:
            table.append_constraint(UniqueConstraint(*parts, name=f"uq_{name}_{number}"))


def _equals(column: Column[Any], value: Any) -> ColumnElement[bool]:
    return column.is_(None) if value is None else column == value


def is_mandatory(model: Model, field: str) -> bool:
    """Tell whether no record of a model can be without this field."""
    key = model.foreign_keys.get(field)
    return model.fields[field].required or (key is not None and not key.nullable)


def _type(field: Field) -> TypeEngine[Any]:
    if field.type is FieldType.TEXT and field.length is not None:
        return String(field.length)
    return _TYPES[field.type]


def read_once(engine: Engine, like: Engine | None = None) -> Engine:
    """Return the engine as one whose tables are read once, and then taken to stay as they are.

    With an engine that it is `like`, they share what either has read: the tables are the same. For
    one run of one process: reading all tables takes longer than relocating a small export.
    """
    tables = _tables_read(like) if like is not None else MetaData()
    return engine.execution_options(**{_READ_ONCE: tables})


def _tables_read(engine: Engine) -> MetaData:
    tables: MetaData = engine.get_execution_options().get(_READ_ONCE, MetaData())
    return tables


def reflect(engine: Engine, models: Iterable[Model]) -> dict[str, ModelTable]:
    """Read the tables of the models as the database has them; models without a table are left out.

    The model of a table has its plain columns that the catalogue does not know as fields too.
    Each table's `info["dialect"]` names the dialect, on which the range of an integer depends.
    What an engine of `read_once` has read is not read again.
    """
    wanted = list(models)
    metadata = _tables_read(engine)
    if any(model.table not in metadata.tables for model in wanted):
        present = set(inspect(engine).get_table_names())
        names = [
            model.table
            for model in wanted
            if model.table in present and model.table not in metadata.tables
        ]
        if names:  # without any, SQLAlchemy would read all
            metadata.reflect(engine, only=names, resolve_fks=False)
    found = {}
    for model in wanted:
        table = metadata.tables.get(model.table)
        if table is None:
            continue
        table.info["dialect"] = engine.dialect.name
        for column in table.columns:
            if isinstance(column.type, JSON):
                column.type.none_as_null = True  # else None would be written as JSON's null
        extended = with_plain_fields(model, table)
        fields = tuple(
            field
            for field, name in extended.columns.items()
            if name in table.c and table.c[name].computed is None
        )
        found[model.name] = ModelTable(extended, table, fields)
    return found


def missing_columns(table: ModelTable, used: Iterable[str]) -> list[Finding]:
    """Report the fields in use that cannot be written, and whose values are therefore lost."""
    columns = table.model.columns
    return [
        Finding(FindingKind.COMPUTED_COLUMN, table.model.name, _COMPUTED, field=field)
        if columns[field] in table.table.c
        else Finding(FindingKind.MISSING_COLUMN, table.model.name, _MISSING, field=field)
        for field in sorted(set(used) & table.model.fields.keys() - set(table.fields))
    ]


def requires_value(column: Column[Any]) -> bool:
    """Tell whether a row cannot be inserted without giving this column a value."""
    given = column.server_default is not None or column.identity or column.computed
    return not column.nullable and not given
