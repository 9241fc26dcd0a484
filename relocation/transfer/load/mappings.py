"""Have the product make its mappings of what was imported: by its own outbox, as it does itself.

Without a mapping of an organization and of each membership the product sends members to the login,
refuses invitations and finds nobody by mail. Its outbox job makes them from a row for each.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Engine,
    MetaData,
    Table,
    column,
    delete,
    func,
    inspect,
    select,
    table,
)

from relocation.findings import Finding, FindingKind
from relocation.transfer.database.rows import allocate_pks, insert_rows, select_in
from relocation.transfer.database.schema import ModelTable

OUTBOX: Final = "sentry_regionoutbox"
ORGANIZATION_MAPPING: Final = "sentry_organizationmapping"
MEMBER_MAPPING: Final = "sentry_organizationmembermapping"

TESTED: Final[Mapping[str, str]] = {"0521_migrate_world_map_widgets": "23.7.1"}
"""By the newest migration of the product: the versions whose outbox was tried."""

_OUTBOX_COLUMNS: Final = frozenset(
    {
        "id",
        "shard_scope",
        "shard_identifier",
        "category",
        "object_identifier",
        "payload",
        "scheduled_from",
        "scheduled_for",
    }
)
_ORGANIZATION_SCOPE: Final = 0
ORGANIZATION_UPDATE: Final = 2
MEMBER_UPDATE: Final = 3
_AT_ONCE: Final = datetime(2016, 8, 1, tzinfo=UTC)
"""What the product writes for a row that is due."""

BY_HAND: Final = (
    "The destination maps organizations and members, and its version is not one whose outbox was "
    "tried: until it has mapped them, members cannot open what was moved. After the relocation, "
    "call outbox_for_update().save() for each moved organization and member in the product's own "
    "shell."
)


def maps_by_itself(connection: Connection) -> bool:
    """Tell whether the product makes its mappings from the rows that we know how to write."""
    migrations = table("django_migrations", column("app"), column("name"))
    if not inspect(connection).has_table(migrations.name):
        return False
    newest = select(func.max(migrations.c.name)).where(migrations.c.app == "sentry")
    known = connection.execute(newest).scalar() in TESTED
    return known and _columns(connection, OUTBOX) == _OUTBOX_COLUMNS


def mapping_findings(engine: Engine) -> list[Finding]:
    """Report a destination that needs mappings which only its operator can have made."""
    with engine.connect() as connection:
        needed = inspect(connection).has_table(ORGANIZATION_MAPPING)
        if not needed or maps_by_itself(connection):
            return []
    return [Finding(FindingKind.MAPPED_BY_HAND, "sentry.organizationmapping", BY_HAND)]


def request_mappings(
    connection: Connection, organizations: Collection[int], members: ModelTable
) -> int:
    """Ask the product for the mappings of organizations and of all who are members of them.

    In the transaction that reveals them, so that they are asked for exactly once. Returns how many
    were asked for: none where the product has no such mappings, or is not known well enough.
    """
    if not organizations or not maps_by_itself(connection):
        return 0
    parent = members.column("organization")
    memberships = select_in(
        connection, select(parent, members.table.c.id), parent.in_, organizations
    )
    wanted = [(one, ORGANIZATION_UPDATE, one) for one in sorted(organizations)]
    wanted += [(of, MEMBER_UPDATE, one) for of, one in sorted(map(tuple, memberships))]
    outbox = Table(OUTBOX, MetaData(), autoload_with=connection, resolve_fks=False)
    now = datetime.now(UTC)
    pks = allocate_pks(connection, outbox, len(wanted))
    insert_rows(
        connection, outbox, [_row(pk, now, *one) for pk, one in zip(pks, wanted, strict=True)]
    )
    return len(wanted)


def _row(pk: int, now: datetime, organization: int, category: int, about: int) -> dict[str, Any]:
    return {
        "id": pk,
        "shard_scope": _ORGANIZATION_SCOPE,
        "shard_identifier": organization,
        "category": category,
        "object_identifier": about,
        "scheduled_from": now,
        "scheduled_for": _AT_ONCE,
    }


def withdraw_requests(connection: Connection, category: int, about: Sequence[int]) -> None:
    """Take back what was asked for and not yet done, before the rows it is about go."""
    outbox = table(OUTBOX, column("category"), column("object_identifier"))
    mine = outbox.c.object_identifier.in_(about)
    connection.execute(delete(outbox).where(outbox.c.category == category, mine))


@dataclass(frozen=True)
class MappingCount:
    """How many of the mappings that are needed the product has made."""

    needed: int
    made: int

    @property
    def complete(self) -> bool:
        """Tell whether none is missing."""
        return self.made >= self.needed


def count_mappings(
    connection: Connection, organizations: Collection[int], members: ModelTable
) -> MappingCount | None:
    """Count the mappings of organizations and their members; None where the product has none."""
    if not inspect(connection).has_table(MEMBER_MAPPING):
        return None
    mapped = table(ORGANIZATION_MAPPING, column("organization_id"))
    joined = table(MEMBER_MAPPING, column("organization_id"), column("organizationmember_id"))
    parent, pk = members.column("organization"), members.table.c.id
    needed = {
        tuple(one) for one in select_in(connection, select(parent, pk), parent.in_, organizations)
    }
    ours = joined.c.organization_id.in_
    made = {tuple(one) for one in select_in(connection, select(*joined.c), ours, organizations)}
    known = select(mapped.c.organization_id)
    there = set(select_in(connection, known, mapped.c.organization_id.in_, organizations))
    return MappingCount(
        len(organizations) + len(needed),
        len(there) + len(needed & made),
    )


def _columns(connection: Connection, name: str) -> frozenset[str]:
    if not inspect(connection).has_table(name):
        return frozenset()
    return frozenset(one["name"] for one in inspect(connection).get_columns(name))
