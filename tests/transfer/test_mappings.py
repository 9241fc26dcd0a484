"""What a real version makes of its own for what was moved: asked for, counted, and taken back."""

from collections.abc import Callable
from typing import Any

import pytest
from real_tables import exported_by_it
from sqlalchemy import Engine, MetaData, Table, insert, text

from relocation.errors import CommandError
from relocation.findings import FindingKind
from relocation.transfer.database.neutral import neutral_value
from relocation.transfer.database.schema import requires_value
from relocation.transfer.load.importing import bind, import_records
from relocation.transfer.load.mappings import MappingCount, mapping_findings
from relocation.transfer.load.ownership import grant_ownership, mappings_of, reveal_organizations
from relocation.transfer.load.rollback import roll_back

OUTBOX = """
    SELECT shard_scope, shard_identifier, category, object_identifier, payload
    FROM sentry_regionoutbox ORDER BY category, object_identifier
"""


def ask(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def tell(engine: Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))


def put(engine: Engine, name: str, **values: object) -> None:
    """Add a row, with a value that says nothing in every other column that requires one."""
    table = Table(name, MetaData(), autoload_with=engine, resolve_fks=False)
    unsaid = {
        column.name: neutral_value(column) for column in table.columns if requires_value(column)
    }
    with engine.begin() as connection:
        connection.execute(insert(table).values(unsaid | values))


def migrated_to(engine: Engine, name: str) -> None:
    tell(
        engine,
        "INSERT INTO django_migrations (id, app, name, applied) VALUES "
        f"(1, 'sentry', '0001_squashed', '2023-07-17'), (2, 'sentry', '{name}', '2023-07-17'), "
        "(3, 'sites', '0999_other', '2023-07-17')",
    )


@pytest.fixture
def known(real: Engine) -> Engine:
    """A destination of the version that was tried."""
    migrated_to(real, "0521_migrate_world_map_widgets")
    return real


@pytest.fixture
def relocated(known: Engine) -> Engine:
    """With one organization and its four members in it, not yet revealed."""
    bind(known, "one", 1)
    import_records(known, exported_by_it(), relocation_id="one", fence=1)
    return known


def test_the_reveal_asks_for_a_mapping_of_each_organization_and_membership(
    relocated: Engine,
) -> None:
    [(organization,)] = ask(relocated, "SELECT id FROM sentry_organization")
    members = ask(relocated, "SELECT id FROM sentry_organizationmember ORDER BY id")
    assert ask(relocated, OUTBOX) == [], "nobody may be let in before"
    assert reveal_organizations(relocated, "one", 1) == 1 + len(members)
    assert ask(relocated, OUTBOX) == [
        (0, organization, 2, organization, None),
        *((0, organization, 3, member, None) for (member,) in members),
    ]
    assert reveal_organizations(relocated, "one", 1) == 0, "a second try asks for nothing again"
    assert len(ask(relocated, OUTBOX)) == 1 + len(members)


def test_the_owner_who_was_added_is_mapped_too(relocated: Engine) -> None:
    put(relocated, "auth_user", id=9000, username="olga", email="olga@example.org", is_active=True)
    grant_ownership(relocated, "one", 1, "olga")
    reveal_organizations(relocated, "one", 1)
    owner = "SELECT id FROM sentry_organizationmember WHERE user_id = 9000"
    [(membership,)] = ask(relocated, owner)
    assert membership in [about for _, _, kind, about, _ in ask(relocated, OUTBOX) if kind == 3]


def test_what_is_imported_visible_is_mapped_as_well(known: Engine) -> None:
    bind(known, "one", 1)
    import_records(known, exported_by_it(), relocation_id="one", fence=1, hide=False)
    [(organization,)] = ask(known, "SELECT id FROM sentry_organization")
    members = ask(known, "SELECT id FROM sentry_organizationmember ORDER BY id")
    assert ask(known, OUTBOX) == [
        (0, organization, 2, organization, None),
        *((0, organization, 3, member, None) for (member,) in members),
    ]
    assert reveal_organizations(known, "one", 1) == 0


@pytest.mark.parametrize(
    "unlike",
    [
        "UPDATE django_migrations SET name = '0522_later' WHERE id = 2",
        "DELETE FROM django_migrations",
        "ALTER TABLE sentry_regionoutbox ADD COLUMN shard_key BIGINT",
    ],
)
def test_a_version_that_was_not_tried_is_told_before_the_import_and_nothing_is_asked_of_it(
    relocated: Engine, unlike: str
) -> None:
    tell(relocated, unlike)
    [finding] = mapping_findings(relocated)
    assert finding.kind is FindingKind.MAPPED_BY_HAND
    assert "outbox_for_update" in finding.reason, "it says what to do"
    assert reveal_organizations(relocated, "one", 1) == 0
    assert ask(relocated, OUTBOX) == []
    assert ask(relocated, "SELECT status FROM sentry_organization") == [(0,)], (
        "revealed all the same"
    )


def test_a_version_that_was_tried_needs_no_hands(known: Engine) -> None:
    assert mapping_findings(known) == []


def test_a_destination_without_mappings_needs_none(destination: Engine) -> None:
    assert mapping_findings(destination) == []
    bind(destination, "one", 1)
    import_records(destination, exported_by_it(), relocation_id="one", fence=1)
    assert reveal_organizations(destination, "one", 1) == 0
    assert mappings_of(destination, "one") is None


def make_mappings(engine: Engine) -> None:
    """Do what the product's job does with the outbox."""
    tell(
        engine,
        "INSERT INTO sentry_organizationmapping (id, organization_id, slug, name, date_created, "
        "verified, idempotency_key, region_name) "
        "SELECT id, id, slug, name, date_added, false, '', 'us' FROM sentry_organization",
        "INSERT INTO sentry_organizationmembermapping "
        "(id, organization_id, organizationmember_id, date_added, role, user_id) "
        "SELECT id, organization_id, id, date_added, role, user_id FROM sentry_organizationmember",
        # Every team has its actor by the import; a user's is made when it owns something.
        "INSERT INTO sentry_actor (id, type, user_id) SELECT 1000 + id, 1, id FROM auth_user",
        "UPDATE sentry_rule SET owner_id = (SELECT min(id) FROM sentry_actor WHERE type = 1)",
    )


def test_it_is_seen_whether_the_mappings_came(relocated: Engine) -> None:
    reveal_organizations(relocated, "one", 1)
    needed = len(ask(relocated, OUTBOX))
    assert mappings_of(relocated, "one") == MappingCount(needed, 0)
    make_mappings(relocated)
    assert mappings_of(relocated, "one") == MappingCount(needed, needed)
    tell(
        relocated,
        "DELETE FROM sentry_organizationmembermapping WHERE id = "
        "(SELECT min(id) FROM sentry_organizationmembermapping)",
    )
    count = mappings_of(relocated, "one")
    assert count == MappingCount(needed, needed - 1)
    assert not count.complete


def test_a_roll_back_takes_what_the_product_made_of_its_own(
    relocated: Engine, dump: Callable[[], dict[str, int]]
) -> None:
    reveal_organizations(relocated, "one", 1)
    make_mappings(relocated)
    assert dump()["sentry_actor"] > 0
    roll_back(relocated, "one", 1, revealed=True)
    assert dump() == {"django_migrations": 3, "relocation_fence": 1}


@pytest.fixture
def dump(known: Engine) -> Callable[[], dict[str, int]]:
    """Counts the rows of each table that has any."""

    def count() -> dict[str, int]:
        kind = "sqlite_master" if known.dialect.name == "sqlite" else "pg_tables"
        name = "name" if known.dialect.name == "sqlite" else "tablename"
        where = "type = 'table'" if known.dialect.name == "sqlite" else "schemaname = 'public'"
        tables = [one for (one,) in ask(known, f"SELECT {name} FROM {kind} WHERE {where}")]
        counts = {one: ask(known, f'SELECT count(*) FROM "{one}"')[0][0] for one in tables}
        return {one: rows for one, rows in counts.items() if rows}

    return count


def team_of_somebody_else_with_our_actor(engine: Engine) -> None:
    [(actor,)] = ask(engine, "SELECT min(id) FROM sentry_actor")
    put(engine, "sentry_organization", id=9000, slug="other")
    put(engine, "sentry_team", id=9000, organization_id=9000, slug="other", actor_id=actor)


def team_in_what_was_moved(engine: Engine) -> None:
    [(organization,)] = ask(engine, "SELECT min(id) FROM sentry_organization")
    put(engine, "sentry_team", id=9000, organization_id=organization, slug="new")


def mapping_of_another_organizations_member(engine: Engine) -> None:
    [(user,)] = ask(engine, "SELECT min(id) FROM auth_user")
    put(engine, "sentry_organizationmembermapping", id=9000, organization_id=9000, user_id=user)


@pytest.mark.parametrize(
    "do",
    [
        team_of_somebody_else_with_our_actor,
        team_in_what_was_moved,
        mapping_of_another_organizations_member,
    ],
    ids=lambda do: do.__name__,
)
def test_a_persons_rows_still_stop_a_roll_back(
    relocated: Engine, dump: Callable[[], dict[str, int]], do: Callable[[Engine], None]
) -> None:
    reveal_organizations(relocated, "one", 1)
    make_mappings(relocated)
    do(relocated)
    before = dump()
    with pytest.raises(CommandError, match="Other records refer to"):
        roll_back(relocated, "one", 1, revealed=True)
    assert dump() == before
