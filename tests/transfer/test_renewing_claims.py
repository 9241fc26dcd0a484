"""A new link goes to whoever has not claimed an account yet, and opens no other door."""

from datetime import UTC, datetime, timedelta

import pytest
from destinations import Add, Rows
from sqlalchemy import Engine, text

from relocation.archive.records import Record
from relocation.catalogue import load_catalogue
from relocation.errors import CannotRenewError, FencedOut
from relocation.transfer.load.claims import renew_claims
from relocation.transfer.load.importing import bind, import_records
from relocation.transfer.load.ownership import issue_claims
from relocation.transfer.source import RecordList

NOW = datetime.now(UTC)
EXPECTED = {"ann": "ann@example.org", "ben": "ben@example.org"}


def record(model: str, pk: int, **fields: object) -> Record:
    return Record(model, pk, fields)


def user(pk: int, username: str) -> Record:
    return record(
        "sentry.user",
        pk,
        username=username,
        email=f"{username}@example.org",
        is_active=True,
        date_joined="2020-01-02T03:04:05Z",
        last_login="2020-01-03T03:04:05Z",
    )


@pytest.fixture
def imported(destination: Engine) -> None:
    """Two users of an organization, with the links of its relocation."""
    source = [
        record("sentry.organization", 1, name="Acme", slug="acme", status=0),
        user(1, "ann"),
        user(2, "ben"),
        record("sentry.organizationmember", 1, organization=1, user_id=1, role="member"),
    ]
    bind(destination, "one", 1)
    import_records(destination, RecordList(source, load_catalogue()), relocation_id="one", fence=1)
    issue_claims(destination, "one", 1, NOW)


def tokens(engine: Engine) -> dict[str, tuple[str, str]]:
    query = (
        "SELECT username, hash, t.date_added FROM sentry_lostpasswordhash t "
        "JOIN auth_user u ON u.id = t.user_id"
    )
    with engine.connect() as connection:
        return {name: (token, str(at)[:16]) for name, token, at in connection.execute(text(query))}


@pytest.mark.usefixtures("imported")
def test_a_new_token_takes_the_place_of_the_old_one(destination: Engine) -> None:
    before, later = tokens(destination), NOW + timedelta(days=3)
    bind(destination, "one", 2)
    done = renew_claims(destination, "one", 2, EXPECTED, later)
    assert done.refused == {}
    claims = {claim.username: claim for claim in done.claims}
    assert claims["ann"].organizations == ("Acme",)
    assert claims["ann"].email == "ann@example.org"
    after = tokens(destination)
    for username in EXPECTED:
        assert after[username] == (claims[username].token, f"{later:%Y-%m-%d %H:%M}")
        assert after[username][0] != before[username][0]


@pytest.mark.usefixtures("imported")
def test_only_the_users_that_are_asked_for_get_one(destination: Engine) -> None:
    before = tokens(destination)
    done = renew_claims(destination, "one", 1, {"ben": "ben@example.org"}, NOW)
    assert [claim.username for claim in done.claims] == ["ben"]
    assert tokens(destination)["ann"] == before["ann"]


REFUSALS = [
    ("is_unclaimed = false", "claimed"),
    ("password = 'pbkdf2_sha256$1$a$b'", "claimed"),
    ("is_active = false", "not active"),
    ("is_staff = true", "privileges"),
    ("is_superuser = true", "privileges"),
    ("is_managed = true", "privileges"),
    ("email = 'thief@example.org'", "address is no longer"),
    ("last_login = '2100-01-01 00:00:00'", "logged in"),
    ("last_password_change = NULL", "unclear when"),
    ("username = 'anna'", "no longer a user with this name"),
]


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize(("change", "why"), REFUSALS)
def test_a_link_that_would_open_a_door_is_refused_and_said(
    destination: Engine, change: str, why: str
) -> None:
    with destination.begin() as connection:
        connection.execute(text(f"UPDATE auth_user SET {change} WHERE username = 'ann'"))
    before = tokens(destination)
    done = renew_claims(destination, "one", 1, EXPECTED, NOW + timedelta(days=3))
    assert [claim.username for claim in done.claims] == ["ben"]
    assert list(done.refused) == ["ann"]
    assert why in done.refused["ann"]
    assert "@" not in done.refused["ann"]
    after = tokens(destination)
    assert {name: after[name] for name in after if name != "ben"} == {
        name: before[name] for name in before if name != "ben"
    }


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize("model", ["sentry.userpermission", "sentry.userroleuser"])
def test_rights_that_somebody_gave_an_account_refuse_it(
    destination: Engine, add: Add, rows: Rows, model: str
) -> None:
    ann = next(one["id"] for one in rows("sentry.user") if one["username"] == "ann")
    if model == "sentry.userpermission":
        add(model, user=ann, permission="users.admin")
    else:
        role = add("sentry.userrole", name="admin", permissions="{}")
        add(model, user=ann, role=role)
    done = renew_claims(destination, "one", 1, EXPECTED, NOW)
    assert "privileges" in done.refused["ann"]


@pytest.mark.usefixtures("imported")
def test_an_account_that_this_relocation_did_not_make_is_refused(
    destination: Engine, add: Add
) -> None:
    """Also one that is unclaimed: another relocation's, or an invited one."""
    marks = {"is_active": True, "is_unclaimed": True, "password": "!x", "date_joined": NOW}
    marks |= {"is_staff": False, "is_superuser": False}
    add("sentry.user", username="eve", email="eve@example.org", **marks)
    done = renew_claims(destination, "one", 1, {"eve": "eve@example.org"}, NOW)
    assert done.claims == ()
    assert done.refused == {"eve": "the account was not made by this relocation"}
    assert "eve" not in tokens(destination)


@pytest.mark.usefixtures("imported")
def test_a_destination_that_cannot_tell_who_has_claimed_refuses_all(destination: Engine) -> None:
    with destination.begin() as connection:
        connection.execute(text("ALTER TABLE auth_user DROP COLUMN last_login"))
    before = tokens(destination)
    with pytest.raises(CannotRenewError, match="no last_login"):
        renew_claims(destination, "one", 1, EXPECTED, NOW)
    assert tokens(destination) == before


@pytest.mark.usefixtures("imported")
def test_an_older_process_renews_nothing(destination: Engine) -> None:
    """DESIGN 6.6."""
    before = tokens(destination)
    bind(destination, "one", 2)
    with pytest.raises(FencedOut):
        renew_claims(destination, "one", 1, EXPECTED, NOW)
    assert tokens(destination) == before
