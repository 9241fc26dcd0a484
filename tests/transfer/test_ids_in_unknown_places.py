"""The scan tells of ids that an import will not change."""

import json

import pytest

from relocation.archive.records import Record
from relocation.findings import FindingKind
from relocation.transfer.prepare.suspects import Suspects


def found(model: str, *values: object, field: str = "data") -> list[str]:
    suspects = Suspects()
    records = [Record(model, pk, {field: value}) for pk, value in enumerate(values, start=1)]
    suspects.look(model, records)
    told = list(suspects.findings())
    assert all(one.kind is FindingKind.UNKNOWN_ID and one.field == field for one in told)
    return [one.reason.split(" at ")[1].split(" was ")[0] for one in told]


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        (
            {"actions": [{"groupId": 5}, {"project": "7"}]},
            ["actions[].groupId", "actions[].project"],
        ),
        ({"projects": [1, 2], "deep": {"owner": "team:12"}}, ["deep.owner", "projects[]"]),
        # A known place is remapped, the same key with another type is not.
        (
            {"actions": [{"targetType": "Team", "targetIdentifier": 12, "team_id": 3}]},
            ["actions[].team_id"],
        ),
        # Names, truth values, zero and numbers without such a key are no ids.
        ({"id": "sentry.rules.X", "ids": [True, 0, "x"], "frequency": 30, "value": "100"}, []),
        ("{no JSON id 5", []),
        ("[" * 5000 + "5", []),
    ],
)
def test_what_looks_like_an_id_is_told_by_its_place(data: object, paths: list[str]) -> None:
    assert found("sentry.rule", data) == paths
    if not isinstance(data, str):
        assert found("sentry.rule", json.dumps(data)) == paths


def test_a_place_is_told_once_with_its_first_record_and_their_number() -> None:
    suspects = Suspects()
    values = [{"release_ids": [1, 2]}, {}, {"release_ids": [3]}]
    records = [Record("sentry.monitor", pk, {"config": one}) for pk, one in enumerate(values, 4)]
    suspects.look("sentry.monitor", records)
    (one,) = suspects.findings()
    assert (one.model, one.field, one.pk) == ("sentry.monitor", "config", 4)
    assert "release_ids[] was left unchanged in 2 records" in one.reason


def test_at_most_200_places_are_told() -> None:
    assert len(found("sentry.rule", {f"k{n}_id": 1 for n in range(300)})) == 200
