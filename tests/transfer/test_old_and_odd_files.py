"""Old and odd files, from the file to the rows: nothing of them is a traceback."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from relocation.archive.record import Record
from relocation.catalogue import Scope, load_catalogue
from relocation.errors import PermanentError
from relocation.example import example_export
from relocation.findings import FindingKind
from relocation.transfer.load.importing import ImportReport, bind, import_records
from relocation.transfer.prepare.normalised import open_normalised
from relocation.transfer.prepare.scan import ScanReport, scan_export

Rows = Callable[[str], list[dict[str, Any]]]
Relocate = Callable[..., tuple[ScanReport, ImportReport]]

DATE = "2023-06-22T22:54:28.773Z"


def record(model: str, pk: int, **fields: Any) -> Record:
    return Record(model if "." in model else f"sentry.{model}", pk, fields)


def user(pk: int, username: str, **fields: Any) -> Record:
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
    destination: Engine, make_storage: Callable[[], Any], keys: tuple[str, str]
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


def test_removed_models_and_fields_are_left_out_and_told(relocate: Relocate, rows: Rows) -> None:
    """T-15, W-21: neighbours too."""
    actors = [record("actor", pk) for pk in (1, 2, 3)]
    fields = {"org_role": "owner", "actor": 3, "slug": "t", "name": "T"}
    scanned, _ = relocate(*actors, *FILE, record("team", 1, organization=1, **fields))
    assert scanned.skipped["sentry.actor"] == {FindingKind.REMOVED_MODEL: 3}
    told = {(one.model, one.field) for one in scanned.findings}
    assert {("sentry.team", "org_role"), ("sentry.team", "actor")} <= told
    assert len(rows("sentry.team")) == 1


def test_unknown_fields_are_ignored_and_told(relocate: Relocate, rows: Rows) -> None:
    """T-15"""
    new = record("team", 1, organization=1, slug="t", name="T", of_tomorrow={"a": [1]})
    scanned, _ = relocate(*FILE, new)
    assert [one.field for one in scanned.findings] == ["of_tomorrow"]
    assert len(rows("sentry.team")) == 1


def test_fields_that_an_old_file_lacks_are_no_matter(relocate: Relocate, rows: Rows) -> None:
    relocate(*FILE)  # these lack most of what their models have
    assert rows("sentry.project")[0]["platform"] is None


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


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(place=st.sampled_from(PLACES), junk=JUNK)
def test_whatever_a_field_holds_there_is_a_report_or_a_reason(
    relocate: Relocate, place: tuple[int, str], junk: Any
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
