"""The models we know, as data (`models.json`), in dependency order."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

from relocation.catalogue.model import Field, FieldType, ForeignKey, Model, Scope

__all__ = ["Catalogue", "Field", "FieldType", "ForeignKey", "Model", "Scope", "load_catalogue"]


class Catalogue(Mapping[str, Model]):
    """Models by name, iterated in dependency order."""

    def __init__(self, models: list[Model]) -> None:
        self._models = {model.name: model for model in models}

    def __getitem__(self, name: str) -> Model:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def newest(self) -> "Catalogue":
        """Return the catalogue without the models and fields that newer versions took away."""
        return Catalogue(
            [
                replace(
                    model,
                    fields={name: one for name, one in model.fields.items() if one.until is None},
                    foreign_keys={
                        name: key
                        for name, key in model.foreign_keys.items()
                        if model.fields[name].until is None
                    },
                )
                for model in self.values()
                if model.until is None
            ]
        )

    def admitted(self, scope: Scope) -> list[Model]:
        """Return the models that a run under `scope` may take in, in dependency order (S-2)."""
        return [model for model in self.values() if model.scopes & scope.admits]


@cache
def load_catalogue() -> Catalogue:
    """Return the catalogue: the models of the reference, of older versions and of newer ones."""
    entries = json.loads((files(__package__) / "models.json").read_text(encoding="utf-8"))
    return Catalogue([_model(entry, position) for position, entry in enumerate(entries)])


def _model(entry: dict[str, Any], position: int) -> Model:
    return Model(
        name=entry["model"],
        table=entry["table"],
        silo=entry["silo"],
        scopes=frozenset(Scope(scope) for scope in entry["scopes"]),
        fields={
            name: Field(
                name=name,
                type=FieldType(field["type"]),
                length=field.get("length"),
                required=field.get("required", False),
                column=field.get("column"),
                until=field.get("until"),
                widest=field.get("widest"),
            )
            for name, field in entry["fields"].items()
        },
        foreign_keys={
            field: ForeignKey(field=field, to=key["to"], kind=key["kind"], nullable=key["nullable"])
            for field, key in entry["foreign_keys"].items()
        },
        uniques=tuple(tuple(unique) for unique in entry["uniques"]),
        extra_dependencies=tuple(entry.get("extra_dependencies", ())),
        position=position,
        until=entry.get("until"),
    )
