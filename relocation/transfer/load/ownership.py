"""Hand the imported organizations over: their owner, their visibility, their users' claims."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import SystemRandom
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    Table,
    func,
    select,
    update,
)

from relocation.catalogue import load_catalogue
from relocation.errors import ConfigurationError, PersonError
from relocation.model import Claim, MovedOrganization
from relocation.text import one_line
from relocation.transfer.database.codec import encoder, format_datetime
from relocation.transfer.database.neutral import neutral_value
from relocation.transfer.database.rows import allocate_pks, insert_rows, select_in
from relocation.transfer.database.schema import (
    ModelTable,
    lost_passwords,
    reflect,
    requires_value,
)
from relocation.transfer.load.chunks import (
    check_bound,
    fenced,
    inserted_pks,
    read_chunks,
    record_granted,
)
from relocation.transfer.load.mappings import MappingCount, count_mappings, request_mappings
from relocation.transfer.load.renewal import UNUSABLE, random_word
from relocation.transfer.load.rules import ACTIVE, PENDING_APPROVAL

_ORGANIZATION = "sentry.organization"
_MEMBER = "sentry.organizationmember"
_USER = "sentry.user"
_PROJECT = "sentry.project"
_KEY = "sentry.projectkey"


@dataclass(frozen=True)
class Person:
    """A user of the destination."""

    id: int
    username: str
    email: str


def find_user(engine: Engine, username: str) -> Person | None:
    """Return the active user with exactly this username."""
    (users,) = tables_of(engine, _USER)
    with engine.connect() as connection:
        return _find(connection, users, username)


def grant_ownership(engine: Engine, relocation_id: str, fence: int, owner_username: str) -> None:
    """Make a user an owner of each organization this relocation inserted; idempotent (A-117).

    Raises PermanentError where there is no such active user, and what `fenced` raises.
    """
    check_bound(engine, relocation_id, fence)
    users, members = tables_of(engine, _USER, _MEMBER)
    parent, user = members.column("organization"), members.column("user_id")
    with fenced(engine, relocation_id, fence) as connection:
        owner = _find(connection, users, owner_username)
        if owner is None:
            raise PersonError(
                f'The owner "{one_line(owner_username, limit=60)}" is not an active user of the '
                "destination."
            )
        moved = set(inserted_pks(connection, relocation_id, _ORGANIZATION).values())
        joined = select(members.table.c.id, parent).where(user == owner.id)
        memberships = select_in(connection, joined, parent.in_, moved)
        for membership, _ in memberships:
            raised = update(members.table).where(members.table.c.id == membership)
            connection.execute(raised.values({members.column("role"): "owner"}))
        missing = sorted(moved - {organization for _, organization in memberships})
        pks = allocate_pks(connection, members.table, len(missing))
        insert_rows(
            connection,
            members.table,
            [
                {"id": pk, **_owner_row(members, owner, organization)}
                for pk, organization in zip(pks, missing, strict=True)
            ],
        )
        if pks:
            record_granted(connection, relocation_id, pks)


def reveal_organizations(engine: Engine, relocation_id: str, fence: int) -> int:
    """Make the organizations this relocation inserted visible; idempotent (A-118).

    In the same transaction the product is asked to map those that were hidden until now, and their
    members; returns how many mappings were asked for.
    """
    check_bound(engine, relocation_id, fence)
    organizations, members = tables_of(engine, _ORGANIZATION, _MEMBER)
    status, pk = organizations.column("status"), organizations.table.c.id
    revealed = []
    with fenced(engine, relocation_id, fence) as connection:
        for moved in inserted_pks(connection, relocation_id, _ORGANIZATION).values():
            hidden = update(organizations.table).where(pk == moved, status == PENDING_APPROVAL)
            if connection.execute(hidden.values({status: ACTIVE})).rowcount:
                revealed.append(moved)
        return request_mappings(connection, revealed, members)


def map_visible(engine: Engine, relocation_id: str, fence: int) -> int:
    """Ask the product to map what an import brought without hiding it; returns how many mappings.

    To ask again does no harm: the product makes each of them once.
    """
    (members,) = tables_of(engine, _MEMBER)
    with fenced(engine, relocation_id, fence) as connection:
        inserted = inserted_pks(connection, relocation_id, _ORGANIZATION).values()
        return request_mappings(connection, list(inserted), members)


def mappings_of(engine: Engine, relocation_id: str) -> MappingCount | None:
    """Count the product's mappings of what this relocation moved; None where it has none."""
    organizations, members = tables_of(engine, _ORGANIZATION, _MEMBER)
    with engine.connect() as connection:
        inserted = inserted_pks(connection, relocation_id, _ORGANIZATION).values()
        there = select(organizations.table.c.id)
        moved = select_in(connection, there, organizations.table.c.id.in_, list(inserted))
        return count_mappings(connection, [pk for (pk,) in moved], members)


def moved_organizations(engine: Engine, relocation_id: str) -> list[MovedOrganization]:
    """Return the organizations this relocation inserted, as they are now, in the export's order."""
    organizations, members, projects, keys = tables_of(
        engine, _ORGANIZATION, _MEMBER, _PROJECT, _KEY
    )
    pk, parent = organizations.table.c.id, projects.column("organization")
    owned_keys = keys.table.join(projects.table, keys.column("project") == projects.table.c.id)
    query = select(pk, organizations.column("name"), organizations.column("slug"))
    with engine.connect() as connection:
        chunks = read_chunks(connection, relocation_id, _ORGANIZATION)
        old = {chunk.inserted[one]: slug for chunk in chunks for one, slug in chunk.slugs.items()}
        found = {row.id: row for row in select_in(connection, query, pk.in_, old)}
        joined = _counts(connection, members.table, members.column("organization"), old)
        built = _counts(connection, projects.table, parent, old)
        held = _counts(connection, owned_keys, parent, old)
    return [
        MovedOrganization(
            id=one,
            name=found[one].name,
            slug=found[one].slug,
            old_slug=slug,
            members=joined.get(one, 0),
            projects=built.get(one, 0),
            keys=held.get(one, 0),
        )
        for one, slug in old.items()
        if one in found
    ]


def issue_claims(engine: Engine, relocation_id: str, fence: int, now: datetime) -> list[Claim]:
    """Give each user this relocation inserted, still unclaimed and active, a fresh token (R-22).

    The tokens go where the destination keeps its lost-password records, in place of older ones, so
    that only those of the last call work. `now` is aware.
    """
    check_bound(engine, relocation_id, fence)
    (users,) = tables_of(engine, _USER)
    unclaimed = select(users.table.c.id, users.column("username"), users.column("email")).where(
        _is_unclaimed(users), users.column("is_active").is_(True)
    )
    random, memberships = SystemRandom(), Memberships(engine)
    with fenced(engine, relocation_id, fence) as connection:
        tokens = lost_password_records(connection)
        inserted = list(inserted_pks(connection, relocation_id, _USER).values())
        names = memberships.names(connection, relocation_id, inserted)
        claims = [
            Claim(user, username, email or "", random_word(random, 32), names.get(user, ()))
            for user, username, email in sorted(
                select_in(connection, unclaimed, users.table.c.id.in_, inserted)
            )
        ]
        store_tokens(connection, tokens, claims, now)
    return claims


class Memberships:
    """Of which imported organizations the users of a destination are members."""

    def __init__(self, engine: Engine) -> None:
        self._members, self._organizations = tables_of(engine, _MEMBER, _ORGANIZATION)

    def names(
        self, connection: Connection, relocation_id: str, users: Collection[int]
    ) -> dict[int, tuple[str, ...]]:
        """Return the names of a relocation's organizations by user, in their order."""
        organizations, pk = self._organizations, self._organizations.table.c.id
        person = self._members.column("user_id")
        joined = self._members.table.join(
            organizations.table, self._members.column("organization") == pk
        )
        moved = list(inserted_pks(connection, relocation_id, _ORGANIZATION).values())
        named = select(person, organizations.column("name")).select_from(joined)
        names: dict[int, list[str]] = {}
        for user, name in select_in(connection, named.where(pk.in_(moved)), person.in_, users):
            names.setdefault(user, []).append(name)
        return {user: tuple(sorted(of_user)) for user, of_user in names.items()}


def lost_password_records(connection: Connection) -> Table:
    """Return the table of one-time tokens; raises ConfigurationError where there is none."""
    tokens = lost_passwords(connection)
    if tokens is None:
        raise ConfigurationError(
            "The destination has no table for lost passwords. Its operator has to upgrade its "
            "schema."
        )
    return tokens


def store_tokens(
    connection: Connection, tokens: Table, claims: Sequence[Claim], now: datetime
) -> None:
    """Write the token of each claim, in place of the one its user has."""
    aware = getattr(tokens.c.date_added.type, "timezone", False)
    moment = now.astimezone(UTC) if aware else now.astimezone(UTC).replace(tzinfo=None)
    user, users = tokens.c.user_id, [claim.user_id for claim in claims]
    known = {pk for (pk,) in select_in(connection, select(user), user.in_, users)}
    for claim in claims:
        if claim.user_id in known:
            old = update(tokens).where(user == claim.user_id)
            connection.execute(old.values(hash=claim.token, date_added=moment))
    new = [claim for claim in claims if claim.user_id not in known]
    pks = allocate_pks(connection, tokens, len(new))
    insert_rows(
        connection,
        tokens,
        [
            {"id": pk, "user_id": claim.user_id, "hash": claim.token, "date_added": moment}
            for pk, claim in zip(pks, new, strict=True)
        ],
    )


def tables_of(engine: Engine, *models: str) -> list[ModelTable]:
    """Return the tables of some models; raises PermanentError where one is missing."""
    catalogue = load_catalogue()
    tables = reflect(engine, [catalogue[model] for model in models])
    for model in models:
        if model not in tables:
            raise ConfigurationError(
                f"The destination has no table for {model}. Its operator has to upgrade its schema."
            )
    return [tables[model] for model in models]


def _is_unclaimed(users: ModelTable) -> ColumnElement[bool]:
    """Return the condition that nobody has claimed an account since it was imported.

    Products before 23.9 keep no mark of it: there the password that the import wrote tells it.
    """
    if "is_unclaimed" in users.fields:
        return users.column("is_unclaimed").is_(True)
    return users.column("password").startswith(UNUSABLE)


def _find(connection: Connection, users: ModelTable, username: str) -> Person | None:
    name = users.column("username")
    query = select(users.table.c.id, name, users.column("email"))
    row = connection.execute(
        query.where(name == username, users.column("is_active").is_(True))
    ).one_or_none()
    return None if row is None else Person(row[0], row[1], row[2] or "")


def _owner_row(members: ModelTable, owner: Person, organization: int) -> dict[str, Any]:
    """Return the row of an owner's membership, with a value in every column that requires one."""
    wanted = {
        "organization": organization,
        "user_id": owner.id,
        "role": "owner",
        "flags": "0",
        "type": 50,
        "invite_status": 0,
        "has_global_access": True,
        "user_is_active": True,
        "user_email": owner.email,
        "date_added": format_datetime(datetime.now(UTC)),
    }
    row = {
        members.column(field).name: encoder(members.model.fields[field], members.column(field))(
            value
        )
        for field, value in wanted.items()
        if field in members.fields
    }
    unknown = {
        column.name: neutral_value(column)
        for column in members.table.columns
        if column.name not in row and not column.primary_key and requires_value(column)
    }
    return row | unknown


def _counts(
    connection: Connection, rows: FromClause, group: Column[Any], among: Mapping[int, Any]
) -> dict[int, int]:
    query = select(group, func.count()).select_from(rows).group_by(group)
    return dict(select_in(connection, query, group.in_, among))
