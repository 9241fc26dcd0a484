"""An import is taken back: what it brought goes, and nothing else does (B-7)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from destinations import Add, Rows
from sqlalchemy import Engine, Row, inspect, text

from relocation.archive.records import Record
from relocation.catalogue import Scope, load_catalogue
from relocation.errors import ConfigurationError, FencedOut, PermanentError
from relocation.example import example_export
from relocation.transfer.load.importing import bind, import_records, import_report
from relocation.transfer.load.ownership import grant_ownership, issue_claims, reveal_organizations
from relocation.transfer.load.rollback import roll_back
from relocation.transfer.source import RecordList

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ADMITTED = {model.name for model in load_catalogue().admitted(Scope.ORGANIZATION)}
EXAMPLE = RecordList(
    [
        record
        for record in example_export(organizations=1, members=3, projects=2)
        if record.model in ADMITTED
    ],
    load_catalogue(),
)
OURS = {"relocation_fence", "relocation_import_chunk"}


def relocate(engine: Engine, relocation_id: str = "one") -> None:
    bind(engine, relocation_id, 1)
    import_records(engine, EXAMPLE, relocation_id=relocation_id, fence=1, chunk_records=7)


def dump(engine: Engine) -> dict[str, Sequence[Row[Any]]]:
    """Return every row of the destination, save of our own tables."""
    with engine.connect() as connection:
        names = set(inspect(connection).get_table_names()) - OURS
        return {
            name: connection.execute(text(f"SELECT * FROM {name} ORDER BY id")).all()
            for name in sorted(names)
        }


def test_all_that_a_relocation_brought_goes_and_all_else_stays(
    destination: Engine, owner: int
) -> None:
    """With memberships that were granted, claims, and another relocation of the same people."""
    relocate(destination, "other")
    before = dump(destination)
    relocate(destination)
    grant_ownership(destination, "one", 1, "olga")
    assert issue_claims(destination, "one", 1, NOW)
    imported = import_report(destination, "one")
    report = roll_back(destination, "one", 1)
    assert dump(destination) == before
    assert import_report(destination, "one").accounts == {}
    members = "sentry.organizationmember"
    removed = dict(report.removed)
    assert removed.pop(members) == imported.inserted(members) + 1
    assert removed == {
        model: account.inserted
        for model, account in imported.accounts.items()
        if account.inserted and model != members
    }
    assert report.kept == {}


def test_a_second_roll_back_finds_nothing_to_do(destination: Engine) -> None:
    relocate(destination)
    roll_back(destination, "one", 1)
    before = dump(destination)
    assert roll_back(destination, "one", 1).removed == {}
    assert dump(destination) == before


def test_an_import_after_a_roll_back_begins_afresh(destination: Engine) -> None:
    relocate(destination)
    first = import_report(destination, "one")
    roll_back(destination, "one", 1)
    relocate(destination)
    assert import_report(destination, "one") == first


def test_addresses_that_others_use_by_now_stay(destination: Engine, rows: Rows) -> None:
    """I-56: a later relocation merged its addresses into the rows of this one."""
    relocate(destination)
    relocate(destination, "later")
    addresses = rows("sentry.email")
    later = import_report(destination, "later").accounts["sentry.email"]
    assert (later.inserted, later.merged) == (0, len(addresses))
    report = roll_back(destination, "one", 1)
    assert rows("sentry.email") == addresses
    assert report.kept == {"sentry.email": len(addresses)}


@pytest.mark.parametrize(
    ("model", "reference", "values"),
    [
        # A constraint stands behind this reference.
        ("sentry.team", "organization", {"name": "T", "slug": "late"}),
        # None stands behind this one (S-5).
        ("sentry.repository", "organization_id", {"name": "code"}),
    ],
)
def test_what_a_person_added_since_is_named_and_nothing_is_removed(
    destination: Engine, add: Add, model: str, reference: str, values: dict[str, Any]
) -> None:
    relocate(destination)
    with destination.connect() as connection:
        organization = connection.execute(text("SELECT id FROM sentry_organization")).scalar()
    add(model, **values, **{reference: organization})
    before = dump(destination)
    with pytest.raises(PermanentError, match=f"1 of {model}"):
        roll_back(destination, "one", 1)
    assert dump(destination) == before
    assert import_report(destination, "one").accounts


def test_rows_of_tables_outside_the_catalogue_count_too(destination: Engine, rows: Rows) -> None:
    """A destination holds events and groups that no export knows; some would go by cascade."""
    relocate(destination)
    project = rows("sentry.project")[0]["id"]
    with destination.begin() as connection:
        connection.execute(
            text(
                "CREATE TABLE sentry_groupedmessage (id INTEGER PRIMARY KEY, owning BIGINT"
                " REFERENCES sentry_project (id) ON DELETE CASCADE)"
            )
        )
        connection.execute(
            text("INSERT INTO sentry_groupedmessage VALUES (1, :project)"), {"project": project}
        )
    before = dump(destination)
    with pytest.raises(PermanentError, match="1 of sentry_groupedmessage"):
        roll_back(destination, "one", 1)
    assert dump(destination) == before


def test_revealed_organizations_go_only_when_that_is_said(destination: Engine, owner: int) -> None:
    before = dump(destination)
    relocate(destination)
    grant_ownership(destination, "one", 1, "olga")
    reveal_organizations(destination, "one", 1)
    revealed = dump(destination)
    with pytest.raises(PermanentError, match="are already visible: acme"):
        roll_back(destination, "one", 1)
    assert dump(destination) == revealed
    roll_back(destination, "one", 1, revealed=True)
    assert dump(destination) == before


def test_rows_that_a_person_removed_already_are_no_hindrance(
    destination: Engine, rows: Rows
) -> None:
    relocate(destination)
    keys = rows("sentry.projectkey")
    with destination.begin() as connection:
        connection.execute(
            text("DELETE FROM sentry_projectkey WHERE id = :id"), {"id": keys[0]["id"]}
        )
    assert roll_back(destination, "one", 1).removed["sentry.projectkey"] == len(keys) - 1


def test_an_older_process_rolls_nothing_back(destination: Engine) -> None:
    relocate(destination)
    bind(destination, "one", 2)
    before = dump(destination)
    with pytest.raises(FencedOut):
        roll_back(destination, "one", 1)
    assert dump(destination) == before


def test_a_destination_that_was_never_bound_is_not_taken_for_the_one(destination: Engine) -> None:
    with pytest.raises(ConfigurationError, match="not the one this relocation started with"):
        roll_back(destination, "one", 1)


def test_a_relocation_that_imported_nothing_has_nothing_to_roll_back(destination: Engine) -> None:
    bind(destination, "one", 1)
    assert roll_back(destination, "one", 1).removed == {}


def test_users_of_one_import_are_named_where_another_needs_them(
    destination: Engine, add: Add, rows: Rows
) -> None:
    relocate(destination)
    user = rows("sentry.user")[0]["id"]
    there = add("sentry.organization", name="Theirs", slug="theirs", status=0)
    add("sentry.organizationmember", organization=there, user_id=user, role="member", flags=0)
    with pytest.raises(PermanentError, match=r"1 of sentry\.organizationmember"):
        roll_back(destination, "one", 1)


def test_records_of_models_that_nobody_knows_are_forgotten(destination: Engine) -> None:
    bind(destination, "one", 1)
    odd = RecordList([Record("no.such", 1, {})], ["no.such"])
    import_records(destination, odd, relocation_id="one", fence=1)
    roll_back(destination, "one", 1)
    assert import_report(destination, "one").accounts == {}
