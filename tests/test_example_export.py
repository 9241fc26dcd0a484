"""The example is an export as T-10 to T-14 and 1.3 describe it."""

import ast
import io
import json
import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from relocation.archive.records import Record, read_records
from relocation.catalogue import FieldType, load_catalogue
from relocation.example import example_export, write_export

SIZES = [{}, {"organizations": 1}, {"organizations": 10, "members": 14, "projects": 7, "seed": 5}]

COVERED = {
    "savedsearch",
    "relay",
    "team",
    "userroleuser",
    "recentsearch",
    "dashboardwidgetquery",
    "user",
    "organizationmemberteam",
    "monitor",
    "notificationaction",
    "projectbookmark",
    "authenticator",
    "rule",
    "rulesnooze",
    "projectteam",
    "ruleactivity",
    "userrole",
    "orgauthtoken",
    "projectownership",
    "environmentproject",
    "useremail",
    "alertruletrigger",
    "dashboard",
    "project",
    "useroption",
    "organizationmember",
    "option",
    "email",
    "projectoption",
    "snubaquery",
    "dashboardwidget",
    "alertrule",
    "organization",
    "groupsearchview",
    "environment",
    "projectredirect",
    "querysubscription",
    "organizationoption",
    "projectkey",
    "counter",
    "alertruleprojects",
}


@pytest.fixture(params=SIZES, ids=str)
def export(request: pytest.FixtureRequest) -> list[Record]:
    """Examples of several sizes."""
    return example_export(**request.param)


def of(export: list[Record], model: str) -> list[Record]:
    return [record for record in export if record.model == f"sentry.{model}"]


def test_it_has_records_of_each_model_of_interest(export: list[Record]) -> None:
    assert {record.model for record in export} == {f"sentry.{model}" for model in COVERED}


def test_groups_follow_the_catalogue_and_keys_rise_in_each(export: list[Record]) -> None:
    """T-12."""
    catalogue = load_catalogue()
    places = [(catalogue[record.model].position, record.pk) for record in export]
    assert all(one < other for one, other in pairwise(places))


def test_each_record_has_the_fields_of_its_model(export: list[Record]) -> None:
    """T-11: null is written, never left out."""
    for record in export:
        model = load_catalogue()[record.model]
        assert record.fields.keys() == model.fields.keys()
        missing = [
            name
            for name, field in model.fields.items()
            if field.required and record.fields[name] is None
        ]
        assert not missing, record


def test_each_reference_finds_an_earlier_record(export: list[Record]) -> None:
    seen: set[tuple[str, int]] = set()
    for record in export:
        for key in load_catalogue()[record.model].foreign_keys.values():
            value = record.fields[key.field]
            assert (key.to, value) in seen or (value is None and key.nullable), (record, key)
        seen.add((record.model, record.pk))


def test_each_unique_set_is_unique(export: list[Record]) -> None:
    counts = Counter(
        (record.model, unique, values)
        for record in export
        for unique in load_catalogue()[record.model].uniques
        if None not in (values := tuple(record.fields[name] for name in unique))
    )
    assert [key for key, count in counts.items() if count > 1] == []


ENCODED: dict[FieldType, Callable[[Any], bool]] = {
    FieldType.DATETIME: lambda v: bool(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", v)),
    FieldType.FLAGS: lambda v: isinstance(v, str) and v.isdecimal(),
    FieldType.ARRAY: lambda v: repr(ast.literal_eval(v)) == v and v.startswith("["),
    FieldType.OPTION: lambda v: type(v) is int or json.loads(v) is not None,
    FieldType.JSON: lambda v: isinstance(v, dict | list),
    FieldType.BOOLEAN: lambda v: isinstance(v, bool),
    FieldType.INTEGER: lambda v: type(v) is int,
    FieldType.BIGINT: lambda v: type(v) is int,
    FieldType.FLOAT: lambda v: isinstance(v, float),
    FieldType.TEXT: lambda v: isinstance(v, str),
    FieldType.JSON_TEXT: lambda v: isinstance(json.loads(v), dict),
}


def test_values_are_encoded_as_an_export_encodes_them(export: list[Record]) -> None:
    """1.3, A-9."""
    for record in export:
        for name, field in load_catalogue()[record.model].fields.items():
            value = record.fields[name]
            assert value is None or ENCODED[field.type](value), (record.model, name, value)
            if field.length is not None and value is not None:
                assert len(str(value)) <= field.length, (record.model, name, value)


def test_datetimes_have_three_fractional_digits_also_when_they_are_zero() -> None:
    """A-9."""
    text = json.dumps(example_export())
    assert ":00.000Z" in text
    assert ".250Z" in text


def test_options_are_numbers_and_json_text(export: list[Record]) -> None:
    """1.3."""
    values = [record.fields["value"] for record in of(export, "projectoption")]
    assert {type(value) for value in values} == {int, str}


def test_keys_do_not_start_at_one_and_have_gaps(export: list[Record]) -> None:
    pks = [record.pk for record in of(export, "useremail")]
    assert pks[0] > 1
    assert pks[-1] - pks[0] >= len(pks)


def test_newer_organizations_teams_and_projects_have_snowflake_keys() -> None:
    """T-14."""
    export = example_export()
    for model in ("organization", "team", "project"):
        pks = [record.pk for record in of(export, model)]
        assert min(pks) < 10_000
        assert 4.4e15 < max(pks) < 2**53


def test_slugs_begin_with_acme_and_usernames_and_addresses_follow_them() -> None:
    export = example_export()
    assert [record.fields["slug"] for record in of(export, "organization")] == [
        "acme",
        "birch-labs",
    ]
    users = [(user.fields["username"], user.fields["email"]) for user in of(export, "user")]
    assert users[0] == ("ada.acme", "ada.acme@example.com")


def test_addresses_are_under_the_example_domains_alone(export: list[Record]) -> None:
    buffer = io.BytesIO()
    write_export(export, buffer)
    domains = set(re.findall(r"@([\w.-]+)", buffer.getvalue().decode()))
    assert domains == {"example.com", "example.org"}


def test_every_address_of_a_user_has_its_email_record(export: list[Record]) -> None:
    addresses = [record.fields["email"] for record in of(export, "useremail")]
    assert sorted(addresses) == sorted(record.fields["email"] for record in of(export, "email"))


def test_one_user_is_staff_and_superuser(export: list[Record]) -> None:
    admins = [
        user.fields["username"]
        for user in of(export, "user")
        if user.fields["is_staff"] and user.fields["is_superuser"]
    ]
    assert admins == ["ada.acme"]


def test_every_organization_has_an_owner_and_a_pending_invitation(export: list[Record]) -> None:
    members = of(export, "organizationmember")
    for organization in of(export, "organization"):
        own = [m.fields for m in members if m.fields["organization"] == organization.pk]
        assert [m["role"] for m in own].count("owner") == 1
        invited = [m for m in own if m["user_id"] is None]
        assert len(invited) == 1
        assert invited[0]["email"]
        assert len(invited[0]["token"]) == 64
        assert invited[0]["inviter_id"]


def test_a_user_is_a_member_of_two_organizations() -> None:
    counts = Counter(
        member.fields["user_id"] for member in of(example_export(), "organizationmember")
    )
    del counts[None]
    assert max(counts.values()) == 2


def test_every_project_has_at_least_two_keys(export: list[Record]) -> None:
    """W-15."""
    counts = Counter(key.fields["project"] for key in of(export, "projectkey"))
    assert counts.keys() == {project.pk for project in of(export, "project")}
    assert min(counts.values()) >= 2


def test_counts_are_those_asked_for() -> None:
    export = example_export(organizations=3, members=5, projects=4)
    assert len(of(export, "organization")) == 3
    assert len(of(export, "user")) == 15
    assert len(of(export, "project")) == 12


def test_the_same_seed_gives_the_same_export_and_another_seed_another() -> None:
    assert example_export(seed=3) == example_export(seed=3)
    assert example_export(seed=3) != example_export(seed=4)


def test_what_is_written_is_read_back(export: list[Record]) -> None:
    """T-10: compact, and read by our own reader."""
    buffer = io.BytesIO()
    write_export(iter(export), buffer)
    assert b": " not in buffer.getvalue()[:40]
    buffer.seek(0)
    assert list(read_records(buffer)) == export


def test_no_records_are_written_as_an_empty_list() -> None:
    """E-11."""
    buffer = io.BytesIO()
    write_export([], buffer)
    assert buffer.getvalue() == b"[]"
