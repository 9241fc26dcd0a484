"""The catalogue holds together."""

import json
from pathlib import Path

import pytest

from relocation.catalogue import FieldType, Scope, load_catalogue
from relocation.catalogue.places import PLACES

SPECIFIED = Path(__file__).parents[1].parent / "shared" / "spec" / "model-catalog.json"
OUTSIDE = {"sentry.alertruleactivations", "sentry.group"}
"""Excluded models that two references point at."""


MOVED = {
    "sentry.monitor",
    "sentry.savedsearch",
    "workflow_engine.datasource",
    "workflow_engine.datasourcedetector",
}
"""Models that come later here, after what the ids inside their values name."""
WIDER = {"sentry.alertruletriggeraction"}
"""Models of which some rows come along with an organization here."""


def test_no_model_comes_before_one_it_points_at() -> None:
    """I-4, A-12."""
    catalogue = load_catalogue()
    for model in catalogue.values():
        targets = {key.to for key in model.foreign_keys.values()} | set(model.extra_dependencies)
        assert targets - set(catalogue) <= OUTSIDE
        for target in targets & set(catalogue):
            assert catalogue[target].position < model.position, (model.name, target)


def test_every_model_has_a_scope_and_no_field_holds_many_references() -> None:
    """A-13: what joins two models is a model of its own."""
    for model in load_catalogue().values():
        assert model.scopes
        assert len(set(model.columns.values())) == len(model.fields)
        for field in model.foreign_keys:
            assert model.fields[field].type in {FieldType.INTEGER, FieldType.BIGINT}, model.name


def test_every_reference_and_unique_set_names_a_field() -> None:
    for model in load_catalogue().values():
        assert set(model.foreign_keys) <= set(model.fields)
        assert {field for unique in model.uniques for field in unique} <= set(model.fields)


def test_a_scope_admits_what_the_specification_says() -> None:
    """S-2."""
    assert Scope.ORGANIZATION.admits == {Scope.USER, Scope.ORGANIZATION}
    assert Scope.CONFIG.admits == {Scope.USER, Scope.CONFIG}
    assert Scope.GLOBAL.admits == set(Scope)
    assert {model.name for model in load_catalogue().admitted(Scope.USER)} == {
        "sentry.user",
        "sentry.email",
        "sentry.useremail",
        "sentry.useroption",
    }


def test_columns_gain_an_id_only_where_the_orm_adds_one() -> None:
    """T-11."""
    catalogue = load_catalogue()
    assert catalogue["sentry.project"].columns["organization"] == "organization_id"
    assert catalogue["sentry.organizationmember"].columns["user_id"] == "user_id"
    assert catalogue["sentry.organizationmember"].columns["role"] == "role"


def test_it_agrees_with_the_specification() -> None:
    if not SPECIFIED.exists():
        pytest.skip("the specification is not at hand")
    specified = {entry["model"]: entry for entry in json.loads(SPECIFIED.read_text())}
    catalogue = load_catalogue()
    assert set(specified) <= set(catalogue)
    ordered = [entry for entry in specified.values() if "order" in entry]
    by_order = [entry["model"] for entry in sorted(ordered, key=lambda entry: entry["order"])]
    assert [
        name for name in catalogue if "order" in specified.get(name, ()) and name not in MOVED
    ] == [name for name in by_order if name not in MOVED]
    for name in specified:
        model = catalogue[name]
        scopes = {scope.value for scope in model.scopes}
        assert scopes == set(specified[name]["scopes"]) or name in WIDER
        assert model.table == specified[name]["table"]
        assert set(specified[name]["fields"]) <= set(model.fields)
        keys = {
            field: (key.to, key.nullable)
            for field, key in model.foreign_keys.items()
            if field in specified[name]["fields"]
        }
        # A monitor's owning team is a reference that the specification lists as a number.
        keys.pop("owner_team_id", None) if name == "sentry.monitor" else None
        assert keys == {
            field: (key["model"], key["nullable"])
            for field, key in specified[name]["foreign_keys"].items()
        }


def test_values_with_an_encoding_of_their_own_are_marked() -> None:
    catalogue = load_catalogue()
    assert catalogue["sentry.organization"].fields["flags"].type is FieldType.FLAGS
    assert catalogue["sentry.projectoption"].fields["value"].type is FieldType.OPTION
    assert catalogue["sentry.orgauthtoken"].fields["scope_list"].type is FieldType.ARRAY
    assert catalogue["sentry.projectkey"].fields["data"].type is FieldType.JSON


def test_every_place_of_ids_lies_in_a_field_and_comes_after_what_it_names() -> None:
    """The chunk maps of what an id names are whole before the first record that holds one."""
    catalogue = load_catalogue()
    for place in PLACES:
        assert place.field in catalogue[place.model].fields, place
        if place.to in catalogue:
            assert catalogue[place.to].position < catalogue[place.model].position, place


def test_the_page_of_versions_names_every_place_of_ids_and_all_that_is_gone() -> None:
    told = (Path(__file__).parents[1] / "docs" / "versions.md").read_text()
    for place in PLACES:
        assert f"`{place.model.rpartition('.')[2]}`" in told, place
        assert f"`{place.field}`" in told, place
    for model in load_catalogue().values():
        gone = [name for name, field in model.fields.items() if field.until]
        names = [model.name.rpartition(".")[2]] if model.until else gone
        assert all(name in told for name in names), model.name
