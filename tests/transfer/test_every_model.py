"""One export that has every model of the catalogue goes out and in again."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from relocation.archive.records import Record
from relocation.catalogue import Field, FieldType, Model, Scope, load_catalogue
from relocation.transfer.compare.comparing import compare
from relocation.transfer.compare.intended import CHANGES, Intended
from relocation.transfer.database.exporting import export_records
from relocation.transfer.database.schema import reflect
from relocation.transfer.dry_run.existing import load_existing
from relocation.transfer.load.importing import bind, import_records
from relocation.transfer.load.rules import row_scope
from relocation.transfer.source import RecordList

pytestmark = pytest.mark.deep

CATALOGUE = load_catalogue().newest()
DATE = "2023-06-22T22:54:28.773Z"
UUID = "6b2c0f7e-1d4a-4c0c-8f6e-7d5b3a291817"
VALUES: dict[FieldType, Any] = {
    FieldType.INTEGER: 0,
    FieldType.BIGINT: 2**40,
    FieldType.FLOAT: 1.5,
    FieldType.BOOLEAN: False,
    FieldType.DATETIME: DATE,
    FieldType.JSON: {"a": [1, None, "ü"]},
    FieldType.FLAGS: "1",
    FieldType.ARRAY: "['a']",
    FieldType.OPTION: ["a"],
}
OUTSIDE = {
    key.to for model in CATALOGUE.values() for key in model.foreign_keys.values()
} - CATALOGUE.keys()
"""Models that others refer to and that no export has."""
NAMED = {
    ("sentry.userip", "ip_address"): "127.0.0.1",
    ("sentry.useroption", "key"): "language",
    ("sentry.useroption", "project_id"): None,
    ("sentry.incident", "detection_uuid"): UUID,
    ("sentry.incidentactivity", "notification_uuid"): UUID,
    ("sentry.useroption", "organization_id"): None,
    ("sentry.notificationaction", "integration_id"): None,
    ("sentry.notificationaction", "sentry_app_id"): None,
    ("sentry.email", "email"): "ann@example.org",
    ("sentry.useremail", "email"): "ann@example.org",
    ("sentry.user", "email"): "ann@example.org",
}


def value(model: Model, field: Field) -> Any:
    if (model.name, field.name) in NAMED:
        return NAMED[model.name, field.name]
    key = model.foreign_keys.get(field.name)
    if key is not None:
        return None if key.nullable and key.to in {model.name, *OUTSIDE} else 1
    return VALUES.get(field.type, field.name.replace("_", "")[: field.length])


EVERYTHING = [
    Record(
        name,
        1,
        {field: value(model, kind) for field, kind in model.fields.items()},
    )
    for name, model in CATALOGUE.items()
]


@pytest.mark.parametrize("scope", list(Scope))
def test_one_record_of_every_model_goes_out_and_in_again(
    make_destination: Callable[[], Engine], scope: Scope
) -> None:
    """A-2, A-14"""
    first, second = make_destination(), make_destination()
    load_existing(first, reflect(first, CATALOGUE.values()), [RecordList(EVERYTHING, CATALOGUE)])
    expected = [  # what needs a row of a model that no export has stays behind (E-4)
        one.model
        for one in EVERYTHING
        if row_scope(CATALOGUE[one.model], one.fields) in scope.admits
        and not (
            OUTSIDE
            & {key.to for key in CATALOGUE[one.model].foreign_keys.values() if not key.nullable}
        )
    ]
    left = RecordList(export_records(first, scope=scope), CATALOGUE)
    assert list(left.models()) == expected
    bind(second, "one", 1)
    report = import_records(second, left, relocation_id="one", fence=1, scope=scope)
    assert {model: one.inserted for model, one in report.accounts.items()} == dict.fromkeys(
        expected, 1
    )
    right = RecordList(export_records(second, scope=scope), CATALOGUE)
    assert list(right.models()) == expected
    assert compare(left, right, intended=Intended(CHANGES, report.findings)) == []
