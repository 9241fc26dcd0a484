"""The imported organizations are handed over: owner, visibility, claims."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from destinations import Add, Rows
from sqlalchemy import Engine, text

from relocation.archive.records import Record
from relocation.catalogue import load_catalogue
from relocation.errors import FencedOut, PermanentError
from relocation.transfer.load.importing import bind, import_records
from relocation.transfer.load.ownership import (
    Person,
    find_user,
    grant_ownership,
    issue_claims,
    moved_organizations,
    reveal_organizations,
)
from relocation.transfer.source import RecordList

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def relocate(engine: Engine, source: RecordList, relocation_id: str = "one") -> None:
    bind(engine, relocation_id, 1)
    import_records(engine, source, relocation_id=relocation_id, fence=1)


def user(pk: int, username: str, **fields: object) -> Record:
    email = f"{username}@example.org"
    named = {
        "username": username,
        "email": email,
        "is_active": True,
        "date_joined": NOW.isoformat(),
    }
    return Record("sentry.user", pk, named | fields)


def member(pk: int, organization: int, user_id: int) -> Record:
    fields = {"organization": organization, "user_id": user_id, "role": "member"}
    return Record("sentry.organizationmember", pk, fields)


def organization(pk: int, slug: str) -> Record:
    return Record("sentry.organization", pk, {"name": slug.title(), "slug": slug, "status": 0})


@pytest.fixture
def two_organizations() -> RecordList:
    """Two organizations with their members, one of whom is not active."""
    return RecordList(
        [
            organization(1, "acme"),
            organization(2, "Zeta_Corp"),
            user(1, "ann"),
            user(2, "ben"),
            user(3, "gone", is_active=False),
            member(1, 1, 1),
            member(2, 2, 1),
            member(3, 2, 2),
            member(4, 1, 3),
            Record("sentry.project", 1, {"organization": 1, "slug": "p1", "name": "P1"}),
            Record("sentry.project", 2, {"organization": 1, "slug": "p2", "name": "P2"}),
            Record("sentry.projectkey", 1, {"project": 1, "public_key": "a" * 32}),
            Record("sentry.projectkey", 2, {"project": 2, "public_key": "b" * 32}),
            Record("sentry.projectkey", 3, {"project": 2, "public_key": "c" * 32}),
        ],
        load_catalogue(),
    )


def test_a_user_is_found_by_the_exact_name_if_active(
    destination: Engine, add: Add, owner: int
) -> None:
    assert find_user(destination, "olga") == Person(owner, "olga", "olga@example.org")
    assert find_user(destination, "Olga") is None
    assert find_user(destination, "nobody") is None
    with destination.begin() as connection:
        connection.execute(text("UPDATE auth_user SET is_active = false"))
    assert find_user(destination, "olga") is None


def test_the_owner_gets_each_imported_organization_and_no_other(
    destination: Engine, add: Add, rows: Rows, owner: int, two_organizations: RecordList
) -> None:
    """A-117."""
    foreign = add("sentry.organization", name="Other", slug="other", status=0)
    relocate(destination, two_organizations)
    for _ in range(2):  # a second try changes nothing
        grant_ownership(destination, "one", 1, "olga")
    owned = [one for one in rows("sentry.organizationmember") if one["user_id"] == owner]
    moved = [one["id"] for one in rows("sentry.organization") if one["id"] != foreign]
    assert [one["organization"] for one in owned] == moved
    for one in owned:
        assert one["role"] == "owner"
        assert one["user_email"] == "olga@example.org"
        assert one["user_is_active"]
        assert one["date_added"] is not None
        assert (one["flags"], one["invite_status"], one["token"]) == (0, 0, None)


def test_a_membership_that_is_there_is_raised_to_owner(
    destination: Engine, add: Add, rows: Rows, owner: int, two_organizations: RecordList
) -> None:
    relocate(destination, two_organizations)
    first = rows("sentry.organization")[0]["id"]
    there = add(
        "sentry.organizationmember", organization=first, user_id=owner, role="member", flags=5
    )
    grant_ownership(destination, "one", 1, "olga")
    members = {one["id"]: one for one in rows("sentry.organizationmember")}
    assert (members[there]["role"], members[there]["flags"]) == ("owner", 5)
    assert len([one for one in members.values() if one["user_id"] == owner]) == 2
    assert {one["role"] for one in members.values() if one["user_id"] != owner} == {"member"}


def test_columns_that_we_do_not_know_get_a_neutral_value(
    destination: Engine, rows: Rows, owner: int, two_organizations: RecordList
) -> None:
    """A destination may be newer than the catalogue."""
    relocate(destination, two_organizations)
    with destination.begin() as connection:
        cascade = " CASCADE" if destination.dialect.name == "postgresql" else ""
        connection.execute(text(f"DROP TABLE sentry_organizationmember{cascade}"))
        connection.execute(
            text(
                "CREATE TABLE sentry_organizationmember (id INTEGER PRIMARY KEY, "
                "organization_id BIGINT NOT NULL, user_id BIGINT, role VARCHAR(32) NOT NULL, "
                "mood VARCHAR(8) NOT NULL, points INTEGER NOT NULL, seen TIMESTAMP NOT NULL, "
                "quiet BOOLEAN NOT NULL, rank INTEGER NOT NULL DEFAULT 3)"
            )
        )
    grant_ownership(destination, "one", 1, "olga")
    with destination.connect() as connection:
        found = connection.execute(
            text("SELECT role, mood, points, quiet, rank FROM sentry_organizationmember")
        ).all()
    assert found == [("owner", "", 0, False, 3)] * 2


def test_an_owner_who_is_gone_is_a_failure_with_a_reason(
    destination: Engine, two_organizations: RecordList
) -> None:
    relocate(destination, two_organizations)
    with pytest.raises(PermanentError, match='The owner "olga" is not an active user'):
        grant_ownership(destination, "one", 1, "olga")


def test_revealing_shows_what_this_relocation_moved_and_nothing_else(
    destination: Engine, add: Add, rows: Rows, two_organizations: RecordList
) -> None:
    """A-118."""
    foreign = add("sentry.organization", name="Other", slug="other", status=3)
    relocate(destination, two_organizations)
    first, second = (one["id"] for one in rows("sentry.organization")[1:])
    with destination.begin() as connection:  # one is being deleted meanwhile
        connection.execute(
            text("UPDATE sentry_organization SET status = 1 WHERE id = :id"), {"id": second}
        )
    for _ in range(2):
        reveal_organizations(destination, "one", 1)
    statuses = {one["id"]: one["status"] for one in rows("sentry.organization")}
    assert statuses == {foreign: 3, first: 0, second: 1}


def test_moved_organizations_are_told_with_old_slugs_and_counts(
    destination: Engine, owner: int, two_organizations: RecordList
) -> None:
    """W-12: the slug that was asked for is known, whatever became of it."""
    relocate(destination, two_organizations)
    grant_ownership(destination, "one", 1, "olga")
    acme, zeta = moved_organizations(destination, "one")
    assert (acme.name, acme.slug, acme.old_slug) == ("Acme", "acme", "acme")
    assert (acme.members, acme.projects, acme.keys) == (3, 2, 3)
    assert (zeta.name, zeta.slug, zeta.old_slug) == ("Zeta_Corp", "zeta-corp", "Zeta_Corp")
    assert (zeta.members, zeta.projects, zeta.keys) == (3, 0, 0)
    assert moved_organizations(destination, "another") == []


def test_each_unclaimed_active_user_gets_a_token_of_their_own(
    destination: Engine, owner: int, two_organizations: RecordList
) -> None:
    """A-119, A-20."""
    relocate(destination, two_organizations)
    claims = issue_claims(destination, "one", 1, NOW)
    assert [(one.username, one.email, one.organizations) for one in claims] == [
        ("ann", "ann@example.org", ("Acme", "Zeta_Corp")),
        ("ben", "ben@example.org", ("Zeta_Corp",)),
    ]
    assert len({one.token for one in claims}) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9]{32}", one.token) for one in claims)
    assert stored(destination) == [
        (one.user_id, one.token, "2026-01-02 03:04:05") for one in claims
    ]


def stored(engine: Engine) -> list[Any]:
    query = "SELECT user_id, hash, date_added FROM sentry_lostpasswordhash ORDER BY user_id"
    with engine.connect() as connection:
        return [(*row[:2], str(row[2])[:19]) for row in connection.execute(text(query))]


def test_claims_that_are_issued_again_replace_the_first(
    destination: Engine, two_organizations: RecordList
) -> None:
    relocate(destination, two_organizations)
    first = issue_claims(destination, "one", 1, NOW)
    with destination.begin() as connection:
        connection.execute(text("UPDATE auth_user SET is_unclaimed = false WHERE username = 'ben'"))
    [ann] = issue_claims(destination, "one", 1, NOW)
    assert ann.token != first[0].token
    assert [(user_id, token) for user_id, token, _ in stored(destination)] == [
        (ann.user_id, ann.token),
        (first[1].user_id, first[1].token),
    ]


def test_a_destination_without_lost_password_records_is_told_so(
    destination: Engine, two_organizations: RecordList
) -> None:
    relocate(destination, two_organizations)
    with destination.begin() as connection:
        connection.execute(text("DROP TABLE sentry_lostpasswordhash"))
    with pytest.raises(PermanentError, match="no table for lost passwords"):
        issue_claims(destination, "one", 1, NOW)


def test_an_older_process_hands_nothing_over(
    destination: Engine, rows: Rows, owner: int, two_organizations: RecordList
) -> None:
    """DESIGN 6.6."""
    relocate(destination, two_organizations)
    members = rows("sentry.organizationmember")
    bind(destination, "one", 2)
    with pytest.raises(FencedOut):
        grant_ownership(destination, "one", 1, "olga")
    with pytest.raises(FencedOut):
        reveal_organizations(destination, "one", 1)
    with pytest.raises(FencedOut):
        issue_claims(destination, "one", 1, NOW)
    assert rows("sentry.organizationmember") == members
    assert {one["status"] for one in rows("sentry.organization")} == {3}
    assert stored(destination) == []


def test_the_fresh_installation_ends_with_its_owner_and_two_claims(
    destination: Engine, rows: Rows, owner: int, fresh_install: RecordList
) -> None:
    """A-117 to A-119, A-121."""
    relocate(destination, fresh_install)
    grant_ownership(destination, "one", 1, "olga")
    reveal_organizations(destination, "one", 1)
    [moved] = moved_organizations(destination, "one")
    assert (moved.slug, moved.members, moved.projects, moved.keys) == ("testing", 3, 1, 1)
    roles = {one["user_id"]: one["role"] for one in rows("sentry.organizationmember")}
    assert roles[owner] == "owner"
    assert rows("sentry.organization")[0]["status"] == 0
    assert len(issue_claims(destination, "one", 1, NOW)) == 2
