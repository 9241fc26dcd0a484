"""Accounts of the destination: those that users of an export may become, and new ones."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Engine, func, insert, select

from relocation.catalogue import load_catalogue
from relocation.errors import RequestError
from relocation.plan import Plan
from relocation.text import listed, one_line
from relocation.transfer.database.rows import same_text, select_in
from relocation.transfer.database.schema import ModelTable, reflect
from relocation.transfer.load.naming import look_alikes, visible_form
from relocation.transfer.load.ownership import find_user

_USER: Final = "sentry.user"
_ADDRESS: Final = "sentry.useremail"
_ORGANIZATION: Final = "sentry.organization"
_POWERS: Final = ("sentry.userpermission", "sentry.userroleuser")
_PRIVILEGES: Final = ("is_staff", "is_superuser")

Tables = Mapping[str, ModelTable]


@dataclass(frozen=True)
class Account:
    """A user of the destination."""

    id: int
    username: str
    active: bool
    privileged: bool
    """Whether it may do more than its memberships allow."""

    @property
    def refused(self) -> str:
        """Why nobody may become this account, empty where somebody may."""
        if not self.active:
            return "is not active"
        return "has privileges" if self.privileged else ""


def check_plan(engine: Engine, plan: Plan, usernames: Collection[str]) -> list[str]:
    """Refuse a plan that cannot be obeyed in this destination, before anything is written.

    `usernames` are those to be moved. Returns the usernames of the accounts that the plan names.
    Raises RequestError.
    """
    unknown = sorted(plan.users.keys() - set(usernames))
    if unknown:
        raise RequestError(
            f"The plan names users who are not being moved: {listed(unknown, show=5)}."
        )
    tables = account_tables(engine)
    with engine.connect() as connection:
        accounts = accounts_of(connection, tables, plan.users.values())
        taken = _slugs_in_use(connection, tables, plan.slugs.values())
    if taken:
        raise RequestError(
            f"The plan uses slugs that are already taken: {listed(sorted(taken), show=5)}."
        )
    check_accounts(plan, accounts)
    return [account.username for account in accounts.values()]


def check_accounts(plan: Plan, accounts: Mapping[int, Account]) -> None:
    """Refuse a plan by which somebody would become an account that may not be used so."""
    for username, pk in plan.users.items():
        account = accounts.get(pk)
        why = "does not exist" if account is None else account.refused
        if why:
            raise RequestError(
                f'The plan maps "{one_line(username, limit=60)}" to account {pk}, which {why}.'
            )


def account_tables(engine: Engine) -> dict[str, ModelTable]:
    """Return the destination's tables that tell of accounts."""
    names = (_USER, _ADDRESS, _ORGANIZATION, *_POWERS)
    return reflect(engine, [load_catalogue()[name] for name in names])


def accounts_of(connection: Connection, tables: Tables, pks: Collection[int]) -> dict[int, Account]:
    """Return the accounts with these ids."""
    users = tables[_USER]
    pk = users.table.c.id
    columns = [users.column(name) for name in ("username", "is_active", *_PRIVILEGES)]
    powerful = {
        one
        for name in _POWERS
        if name in tables
        for (one,) in _holders(connection, tables[name], pks)
    }
    return {
        one: Account(one, username, bool(active), any(privileges) or one in powerful)
        for one, username, active, *privileges in select_in(
            connection, select(pk, *columns), pk.in_, set(pks)
        )
    }


def _holders(connection: Connection, table: ModelTable, pks: Collection[int]) -> list[Any]:
    user = table.column("user")
    return select_in(connection, select(user), user.in_, set(pks))


def _slugs_in_use(connection: Connection, tables: Tables, slugs: Collection[str]) -> set[str]:
    slug = tables[_ORGANIZATION].column("slug")
    return {one for (one,) in select_in(connection, select(slug), same_text(slug), list(slugs))}


def propose(
    engine: Engine, users: Mapping[str, Collection[str]], slugs: Collection[str]
) -> Iterator[dict[str, Any]]:
    """Yield the rows of a plan for a destination; what to do is left to whoever edits it.

    `users` has the addresses of each username in the export. An account is a candidate where the
    destination itself says that one of these addresses is verified there; what the export says of
    its addresses counts for nothing.
    """
    tables = account_tables(engine)
    with engine.connect() as connection:
        taken = _slugs_in_use(connection, tables, slugs)
        for slug in slugs:
            status = "taken" if slug.lower() in {one.lower() for one in taken} else "free"
            note = "It gets a suffix unless you name another slug." if status == "taken" else ""
            yield {"kind": "organization", "name": slug, "status": status, "note": note}
        owners = _verified(connection, tables, {one for many in users.values() for one in many})
        accounts = accounts_of(connection, tables, {pk for pks in owners.values() for pk in pks})
        names = _names_in_use(connection, tables, users)
        for username, addresses in users.items():
            found = {pk for address in addresses for pk in owners.get(address.lower(), ())}
            yield _proposal(username, [accounts[pk] for pk in sorted(found)], names)


def _proposal(username: str, found: list[Account], names: Collection[str]) -> dict[str, Any]:
    fit = [account for account in found if not account.refused]
    renamed = visible_form(username) in names
    notes = [f"Account {one.id} {one.refused}." for one in found if one.refused]
    if len(fit) > 1:
        notes.append("More than one account has one of the addresses.")
    if renamed:
        notes.append("The name is taken: a new account gets a suffix.")
    return {
        "kind": "user",
        "name": username,
        "status": "exists" if fit else "renamed" if renamed else "new",
        "candidate": " ".join(str(one.id) for one in fit),
        "note": " ".join(notes),
    }


def _verified(
    connection: Connection, tables: Tables, addresses: Collection[str]
) -> dict[str, set[int]]:
    """Return whose verified address each of these is, by the destination's own word."""
    table = tables[_ADDRESS]
    address, user = table.column("email"), table.column("user")
    query = select(func.lower(address), user).where(table.column("is_verified").is_(True))
    owners: dict[str, set[int]] = {}
    for one, pk in select_in(connection, query, same_text(address), list(addresses)):
        owners.setdefault(one, set()).add(pk)
    return owners


def _names_in_use(connection: Connection, tables: Tables, names: Collection[str]) -> set[str]:
    """Return what those names look like that are in use, or that look like one in use."""
    column = tables[_USER].column("username")
    asked = {*names, *map(visible_form, names)}
    found = [name for (name,) in select_in(connection, select(column), same_text(column), asked)]
    return set(map(visible_form, [*found, *look_alikes(connection, column, names)]))


def add_users(destination: Engine, usernames: tuple[str, ...]) -> list[str]:
    """Add users who can own what is relocated, with addresses at example.org; idempotent.

    Returns those that were not there.
    """
    users = reflect(destination, [load_catalogue()[_USER]])[_USER].table
    added = []
    now = datetime.now(UTC).replace(tzinfo=None)
    for name in usernames:
        if find_user(destination, name) is not None:
            continue
        added.append(name)
        with destination.begin() as connection:
            connection.execute(
                insert(users).values(
                    username=name,
                    email=f"{name}@example.org",
                    first_name=name.title(),
                    password="!",  # noqa: S106 - no password can match it
                    is_active=True,
                    is_staff=False,
                    is_superuser=False,
                    is_unclaimed=False,
                    date_joined=now,
                )
            )
    return added
