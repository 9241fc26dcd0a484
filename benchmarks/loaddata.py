"""The import beside Django's `loaddata` of the same records into the same tables.

`python -m benchmarks.loaddata --records 20000`: once, since it takes minutes. Django's models are
made from the catalogue; `loaddata` keeps primary keys, and neither remaps nor sanitises.
"""

import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import Engine, MetaData

from benchmarks.measuring import Result, options, print_results, side_by_side, timed
from benchmarks.stage import Stage, destination, postgresql, run_import, stage
from relocation.catalogue import Field, FieldType, Model, load_catalogue


def configure(engine: Engine) -> None:
    """Make Django use a destination, and know its models."""
    import django  # noqa: PLC0415 - once it is imported it is there for good
    from django.conf import settings  # noqa: PLC0415

    for label in _labels():
        module = ModuleType(label)
        module.__path__ = [str(Path(__file__).parent)]
        sys.modules[label] = module
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": engine.url.database,
                "USER": engine.url.username,
                "PASSWORD": engine.url.password or "",
                "HOST": engine.url.query.get("host", engine.url.host),
                "PORT": engine.url.port or "",
            }
        },
        INSTALLED_APPS=_labels(),
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()
    metadata = MetaData()
    metadata.reflect(engine, resolve_fks=False)
    for model in load_catalogue().newest().values():
        if model.table in metadata.tables:
            _define(model)


def _labels() -> list[str]:
    return sorted({name.partition(".")[0] for name in load_catalogue()})


def _define(model: Model) -> None:
    from django.db import models  # noqa: PLC0415

    label, _, name = model.name.partition(".")
    options = {"app_label": label, "db_table": model.table, "managed": False}
    fields: dict[str, Any] = {"Meta": type("Meta", (), options), "__module__": label}
    fields["id"] = models.BigAutoField(primary_key=True)
    for field in model.fields.values():
        fields[field.name] = _field(model, field, models)
    type(name, (models.Model,), fields)


def _field(model: Model, field: Field, models: ModuleType) -> Any:
    plain = {"null": True, "blank": True, "db_column": model.columns[field.name]}
    key = model.foreign_keys.get(field.name)
    if key is not None and model.columns[field.name] != field.name and key.to in load_catalogue():
        to = key.to
        return models.ForeignKey(to, models.DO_NOTHING, related_name="+", **plain)
    kinds = {
        FieldType.INTEGER: models.IntegerField,
        FieldType.BIGINT: models.BigIntegerField,
        FieldType.FLOAT: models.FloatField,
        FieldType.BOOLEAN: models.BooleanField,
        FieldType.DATETIME: models.DateTimeField,
        FieldType.JSON: models.JSONField,
        FieldType.FLAGS: models.BigIntegerField,
    }
    return kinds.get(field.type, models.TextField)(**plain)


def measure(here: Stage, server: str) -> Result:
    """Run both once."""
    here.scan_plain()
    source = here.normalised()

    def importing() -> float:
        with destination(server) as engine:
            return timed(lambda: run_import(engine, source))

    def loading() -> float:
        from django.core.management import call_command  # noqa: PLC0415
        from django.db import connection  # noqa: PLC0415

        with destination(server) as engine:
            configure(engine)
            load = partial(call_command, "loaddata", str(here.plain), verbosity=0)
            # Exports hold fields that newer tables lack, which is what both leave out.
            seconds = timed(lambda: load(ignorenonexistent=True))
            connection.close()
            return seconds

    return side_by_side(
        f"import of {here.records:,} records",
        importing,
        "Django loaddata of the same",
        loading,
        bound="<= 0.02",
        rounds=1,
    )


def main(records: int) -> None:
    """Measure, and print a table."""
    with stage(records) as here, postgresql() as server:
        print_results("Django", [measure(here, server)])


if __name__ == "__main__":
    main(options(records=20_000, rounds=1).records)
