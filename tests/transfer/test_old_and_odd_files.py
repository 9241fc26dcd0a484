"""Old and odd files, from the file to the rows: nothing of them is a traceback."""

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from destinations import Rows
from dict_storage import DictStorage
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from relocation.archive.records import Record
from relocation.catalogue import Scope, load_catalogue
from relocation.errors import ConfigurationError, ExportError, PermanentError
from relocation.example import example_export
from relocation.findings import FindingKind
from relocation.transfer.load.importing import ImportReport, bind, import_records
from relocation.transfer.planning import proposal
from relocation.transfer.prepare.normalised import open_normalised
from relocation.transfer.prepare.scan import ScanReport, scan_export

Relocate = Callable[..., tuple[ScanReport, ImportReport]]

DATE = "2023-06-22T22:54:28.773Z"


def record(model: str, pk: int, **fields: object) -> Record:
    return Record(model if "." in model else f"sentry.{model}", pk, fields)


def user(pk: int, username: str, **fields: object) -> Record:
    given = {"username": username, "email": f"{username}@example.org", "is_active": True}
    return record("user", pk, **given | {"date_joined": DATE} | fields)


FILE = [
    record("organization", 1, name="Acme", slug="acme", status=0),
    user(1, "ann"),
    record("organizationmember", 1, organization=1, user_id=1, role="owner", flags="0"),
    record("project", 1, organization=1, slug="p", name="P"),
    record("projectkey", 1, project=1, public_key="a" * 32, secret_key="b" * 32),
]


@pytest.fixture
def relocate(
    destination: Engine, make_storage: Callable[[], DictStorage], keys: tuple[str, str]
) -> Relocate:
    """Scans and imports the records of a file, under a relocation id of its own."""

    def run(*records: Record) -> tuple[ScanReport, ImportReport]:
        storage, name = make_storage(), str(uuid.uuid4())
        scanned = scan_export(
            records,
            wanted=["acme"],
            max_organizations=20,
            max_users=2000,
            storage=storage,
            prefix=name,
            public_pem=keys[1],
        )
        bind(destination, name, 1)
        source = open_normalised(storage, name, keys[0])
        return scanned, import_records(destination, source, relocation_id=name, fence=1)

    return run


def test_groups_in_any_order_and_in_several_runs_arrive_whole(
    relocate: Relocate, rows: Rows
) -> None:
    """A-47, W-19, W-20"""
    example = list(example_export(organizations=1, members=3, projects=2))
    _, straight = relocate(*example)
    mixed = [*reversed(example[::2]), *example[1::2]]
    _, report = relocate(*mixed)
    assert report.accounts.keys() == straight.accounts.keys()
    for model, account in straight.accounts.items():
        found = report.accounts[model]
        assert found.read == account.read
        assert found.inserted + found.merged == account.inserted + account.merged
    assert len(rows("sentry.projectkey")) == 2 * straight.inserted("sentry.projectkey")


def test_natural_keys_are_resolved(relocate: Relocate, rows: Rows) -> None:
    """T-13: a one-element list with a username stands for a user in very old files."""
    member = record("organizationmember", 2, organization=1, user_id=["ben"], role="member")
    search = record("recentsearch", 1, organization=1, user_id=["gone"], query="q", type=0)
    _, report = relocate(*FILE, user(2, "ben"), member, search)
    [_, ben] = rows("sentry.user")
    assert ben["id"] in {one["user_id"] for one in rows("sentry.organizationmember")}
    assert report.accounts["sentry.recentsearch"].dropped == 1


@pytest.mark.parametrize("user_key", [1, ["ann"], ["gone"], [], {}, None])
def test_a_plan_reads_the_addresses_of_old_and_odd_files(
    destination: Engine, keys: tuple[str, str], tmp_path: Path, user_key: object
) -> None:
    """T-13"""
    address = record("useremail", 1, user=user_key, email="Ann@elsewhere.example")
    file = tmp_path / "export.json"
    file.write_text(json.dumps([one._asdict() for one in (*FILE, address)]))
    planned = proposal(destination, file, ["acme"], private_pem=keys[0])
    assert "ann" in {row["name"] for row in planned}


def test_removed_models_and_fields_are_left_out_and_told(relocate: Relocate, rows: Rows) -> None:
    """T-15, W-21: neighbours too."""
    mappings = [record("organizationmapping", pk) for pk in (1, 2, 3)]
    fields = {"org_role": "owner", "actor": 3, "slug": "t", "name": "T"}
    scanned, _ = relocate(*mappings, *FILE, record("team", 1, organization=1, **fields))
    assert scanned.skipped["sentry.organizationmapping"] == {FindingKind.REMOVED_MODEL: 3}
    told = {(one.model, one.field) for one in scanned.findings}
    assert told == {("sentry.organizationmapping", None), ("sentry.team", "org_role")}
    assert len(rows("sentry.team")) == 1


def test_unknown_structures_are_left_out_and_told(relocate: Relocate, rows: Rows) -> None:
    """T-15"""
    new = record("team", 1, organization=1, slug="t", name="T", of_tomorrow={"a": [1]})
    scanned, _ = relocate(*FILE, new)
    assert [one.field for one in scanned.findings] == ["of_tomorrow"]
    assert len(rows("sentry.team")) == 1


def test_fields_that_an_old_file_lacks_are_no_matter(relocate: Relocate, rows: Rows) -> None:
    relocate(*FILE)  # these lack most of what their models have
    assert rows("sentry.project")[0]["platform"] is None


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize("date", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"])
def test_the_first_and_the_last_day_arrive_whatever_the_zone_of_the_server(
    relocate: Relocate, destination: Engine, rows: Rows, date: str, zone: str
) -> None:
    if destination.dialect.name == "postgresql":
        with destination.begin() as connection:
            name = destination.url.database
            connection.exec_driver_sql(f"ALTER DATABASE {name} SET timezone = '{zone}'")
        destination.dispose()
    relocate(*FILE, record("team", 1, organization=1, slug="t", name="T", date_added=date))
    [team] = rows("sentry.team")
    assert team["date_added"].year == int(date[:4])


def test_primary_keys_may_be_as_large_as_the_format_allows(relocate: Relocate, rows: Rows) -> None:
    """T-14"""
    large = 2**53
    _, report = relocate(
        record("organization", large, name="Acme", slug="acme", status=0),
        user(1, "ann"),
        record("project", large, organization=large, slug="p", name="P"),
        record("projectkey", large - 1, project=large, public_key="a" * 32),
    )
    assert rows("sentry.projectkey")[0]["project"] == rows("sentry.project")[0]["id"] < large
    assert report.findings == ()


def test_names_that_occur_twice_in_one_file_both_arrive(relocate: Relocate, rows: Rows) -> None:
    """A-26, A-27"""
    again = record("organization", 2, name="Other", slug="acme", status=0)
    joined = record("organizationmember", 2, organization=2, user_id=2, role="member")
    relocate(*FILE, again, user(2, "ann"), joined)
    slugs = [one["slug"] for one in rows("sentry.organization")]
    names = [one["username"] for one in rows("sentry.user")]
    assert slugs[0] == "acme"
    assert slugs[1].startswith("acme-")
    assert names[0] == "ann"
    assert names[1].startswith("ann-")


def test_people_without_an_address_arrive(relocate: Relocate, rows: Rows) -> None:
    """An app's user has none."""
    member = record("organizationmember", 2, organization=1, user_id=2, role="member")
    address = record("useremail", 2, user=2, email="")
    _, report = relocate(*FILE, user(2, "app", email=""), member, address)
    assert [one["email"] for one in rows("sentry.user")] == ["ann@example.org", ""]
    assert report.inserted("sentry.useremail") == 1


@pytest.mark.parametrize(
    ("written", "microsecond"),
    [
        ("2023-06-22T22:54:28Z", 0),
        ("2023-06-22T22:54:28.000Z", 0),
        ("2023-06-22T22:54:28.773Z", 773000),
        ("2023-06-22T22:54:28.773456Z", 773456),
        ("2023-06-23T00:54:28.773456+02:00", 773456),
    ],
)
def test_dates_may_have_any_precision(
    relocate: Relocate, rows: Rows, written: str, microsecond: int
) -> None:
    """Spec 1.3: what is below a millisecond arrives too."""
    relocate(*FILE, record("team", 1, organization=1, slug="t", name="T", date_added=written))
    found = rows("sentry.team")[0]["date_added"]
    assert (found.hour, found.second, found.microsecond) == (22, 28, microsecond)


JUNK = st.sampled_from(
    [
        *("", "a\0b", "\ud800", "x" * 300, "{", "2023-13-45", "'", "[", "["),
        *(-1, 2**31, 2**63 - 1, 2**64, -(2**63) - 1, 1.5, 1e308, True, False),
        *([], [1], ["ann"], [["ann"]], {}, {"a": "\0"}, {"a": [{}]}),
    ]
)
PLACES = [
    (number, field)
    for number, one in enumerate(example_export(organizations=1, members=2, projects=1))
    if one.model in load_catalogue()
    and load_catalogue()[one.model].scopes & Scope.ORGANIZATION.admits
    for field in one.fields
]


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(place=st.sampled_from(PLACES), junk=JUNK)
@example(place=(42, "status"), junk=[])
def test_whatever_a_field_holds_there_is_a_report_or_a_reason(
    relocate: Relocate, place: tuple[int, str], junk: object
) -> None:
    """A-64, W-25: and no reason shows the value."""
    records = list(example_export(organizations=1, members=2, projects=1))
    number, field = place
    spoilt = records[number]
    records[number] = spoilt._replace(fields={**spoilt.fields, field: junk})
    try:
        _, report = relocate(*records)
    except PermanentError as err:
        assert err.reason
        assert "xxxx" not in str(err)
    else:
        assert report.accounts


@pytest.mark.parametrize("reference", [True, 1.0, "1"])
def test_a_reference_that_only_equals_a_key_refers_to_nothing(
    relocate: Relocate, rows: Rows, reference: object
) -> None:
    """A reference is a whole number, or a natural key."""
    _, report = relocate(
        *FILE,
        record("team", 1, organization=1, slug="t", name="T"),
        record("projectteam", 1, project=1, team=reference),
        record("monitor", 1, organization_id=1, project_id=1, slug="m", owner_team_id=reference),
    )
    assert rows("sentry.projectteam") == []
    assert rows("sentry.monitor")[0]["owner_team_id"] is None
    assert {(one.kind, one.model, one.field) for one in report.findings} >= {
        (FindingKind.LOST_REFERENCE, "sentry.projectteam", "team"),
        (FindingKind.NULLED_REFERENCE, "sentry.monitor", "owner_team_id"),
    }


def test_a_record_without_what_each_must_have_is_the_exports_fault(relocate: Relocate) -> None:
    """Even where it is the first of its model, by which the others are judged."""
    broken = record("organizationmember", 2, organization=1, user_id=2, flags="0")
    first = [*FILE[:2], user(2, "ben")]
    with pytest.raises(ExportError, match=r"organizationmember 2 cannot be .* its role is missing"):
        relocate(*first, broken, *FILE[2:])
    with pytest.raises(ExportError, match=r"organizationmember 2 cannot be .* its role "):
        relocate(*first, *FILE[2:], broken)


@pytest.mark.parametrize("name", ["ann ", "\uff41\uff4e\uff4e", "ANN\u200d"])
def test_a_username_that_only_looks_like_one_in_use_gets_a_suffix(
    relocate: Relocate, rows: Rows, name: str
) -> None:
    relocate(*FILE)
    relocate(FILE[0], user(1, name), *FILE[2:])
    assert [one["username"][:-2] for one in rows("sentry.user")] == ["a", f"{name}-"]


@pytest.mark.parametrize("there", ["ann ", "\uff41\uff4e\uff4e", "ANN\u200d", "an\x01n"])
@pytest.mark.parametrize("name", ["ann", "\uff21nn"])
def test_a_username_gets_a_suffix_where_one_in_use_only_looks_like_it(
    relocate: Relocate, rows: Rows, there: str, name: str
) -> None:
    relocate(FILE[0], user(1, there), *FILE[2:])
    relocate(FILE[0], user(1, name), *FILE[2:])
    assert rows("sentry.user")[0]["username"] == there
    assert rows("sentry.user")[1]["username"][:-2] == f"{name}-"


def test_letters_of_another_script_are_no_likeness(relocate: Relocate, rows: Rows) -> None:
    for name in ("\u0430nn", "\u7530\u4e2d", "ann"):  # the first letter is Cyrillic
        relocate(FILE[0], user(1, name), *FILE[2:])
    assert [one["username"] for one in rows("sentry.user")] == ["\u0430nn", "\u7530\u4e2d", "ann"]


def alter(engine: Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement))


def ask(engine: Engine, query: str) -> list[Any]:
    with engine.connect() as connection:
        return [row[0] for row in connection.execute(text(query))]


NEW_FIELDS = {
    "mood": "good",
    "is_quiet": True,
    "weight": 1.5,
    "seen": DATE,
    "external_id": 7,
    "api_key": "k",
    "createdBy": 5,
    "extra": {"a": 1},
    "shape": '{"a": 1}',
    "huge": 2**70,
    "absent": "x",
    "number": "not a number",
}


def test_an_unknown_plain_value_moves_where_a_column_takes_it_and_all_else_is_told(
    relocate: Relocate, destination: Engine
) -> None:
    for column in (
        *("mood varchar(10)", "is_quiet boolean", "weight double precision"),
        *("seen timestamp", "external_id bigint", "api_key text", "extra text", "shape text"),
        *("huge bigint", "number integer", '"createdBy" bigint'),
    ):
        alter(destination, f"ALTER TABLE sentry_team ADD {column}")
    team = record("team", 1, organization=1, slug="t", name="T", **NEW_FIELDS)
    other = record("team", 2, organization=1, slug="u", name="U", mood="x" * 11, absent=None)
    scanned, report = relocate(*FILE, team, other)
    first = [
        ask(destination, f"SELECT {column} FROM sentry_team ORDER BY id")[0]
        for column in ("mood", "is_quiet", "weight", "external_id", "api_key", "extra", "shape")
    ]
    assert first == ["good", True, 1.5, None, None, None, None]
    assert str(ask(destination, "SELECT seen FROM sentry_team")[0]).startswith("2023-06-22 22:54")
    assert ask(destination, "SELECT mood FROM sentry_team ORDER BY id")[1] is None
    told = {(one.field, one.records) for one in (*scanned.findings, *report.findings)}
    assert told == {
        *((name, 1) for name in ("external_id", "api_key", "createdBy", "extra", "shape", "huge")),
        *(("absent", 2), ("number", 1), ("mood", 1)),
    }
    lost = report.lost_fields(scanned.lost_fields)
    assert lost["sentry.team", "absent"] == 2
    assert lost["sentry.team", "api_key"] == 1


def test_no_unknown_field_of_a_person_or_a_key_moves(
    relocate: Relocate, destination: Engine
) -> None:
    alter(destination, "ALTER TABLE auth_user ADD mood text")
    alter(destination, "ALTER TABLE sentry_projectkey ADD mood text")
    person, key = (one._replace(fields=one.fields | {"mood": "good"}) for one in (FILE[1], FILE[4]))
    scanned, _ = relocate(FILE[0], person, *FILE[2:4], key)
    assert ask(destination, "SELECT mood FROM auth_user") == [None]
    assert ask(destination, "SELECT mood FROM sentry_projectkey") == [None]
    assert {(one.model, one.field) for one in scanned.findings} == {
        ("sentry.user", "mood"),
        ("sentry.projectkey", "mood"),
    }


@pytest.mark.parametrize(("everyone", "moves"), [(False, False), (True, True), (None, True)])
def test_a_restriction_that_the_destination_cannot_hold_stops_the_import(
    relocate: Relocate, destination: Engine, rows: Rows, everyone: bool | None, moves: bool
) -> None:
    """A dashboard for few must not arrive editable by all."""
    alter(destination, "ALTER TABLE sentry_dashboardpermissions DROP is_editable_by_everyone")
    dashboard = record("dashboard", 1, organization=1, title="D", created_by_id=1)
    fields = {} if everyone is None else {"is_editable_by_everyone": everyone}
    permissions = record("dashboardpermissions", 1, dashboard=1, **fields)
    if moves:
        relocate(*FILE, dashboard, permissions)
    else:
        with pytest.raises(ConfigurationError, match="is_editable_by_everyone") as caught:
            relocate(*FILE, dashboard, permissions)
        assert "restricts who may" in caught.value.internal
    assert len(rows("sentry.dashboard")) == moves


def test_a_restricted_dashboard_arrives_restricted(relocate: Relocate, rows: Rows) -> None:
    dashboard = record("dashboard", 1, organization=1, title="D", created_by_id=1)
    relocate(
        *FILE,
        dashboard,
        record("dashboardpermissions", 1, dashboard=1, is_editable_by_everyone=False),
    )
    assert rows("sentry.dashboardpermissions")[0]["is_editable_by_everyone"] is False
