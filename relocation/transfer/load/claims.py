"""Renew the links by which imported users claim their accounts, and open no door by that."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from random import SystemRandom
from typing import Any, Final

from sqlalchemy import Column, Connection, Engine, inspect, select

from relocation.catalogue import load_catalogue
from relocation.errors import CannotRenewError
from relocation.model import Claim, RenewedClaims
from relocation.transfer.database.rows import select_in
from relocation.transfer.database.schema import ModelTable, reflect
from relocation.transfer.load.chunks import fenced, inserted_pks
from relocation.transfer.load.ownership import (
    Memberships,
    lost_password_records,
    store_tokens,
    tables_of,
)
from relocation.transfer.load.renewal import UNUSABLE, random_word

_USER: Final = "sentry.user"
_GRANTS: Final = {"sentry.userpermission": "user", "sentry.userroleuser": "user"}
"""Models whose rows give a user rights over the whole installation, and the field of the user."""
_NEEDED: Final = ("last_password_change", "last_login")
_MARK: Final = "is_unclaimed"
"""What products before 23.9 do not have: there the password alone tells who has claimed."""


def renew_claims(
    engine: Engine, relocation_id: str, fence: int, expected: Mapping[str, str], now: datetime
) -> RenewedClaims:
    """Give users a fresh token in place of the one whose time is over; all in one transaction.

    `expected` has, by username, the address that the import wrote. A user is refused, with a reason
    that names no address, unless this relocation inserted the account, it is active and has no
    privileges, its password is still the import's marker, nobody has ever logged in with it, and
    its address is the expected one. Raises CannotRenewError where the destination cannot tell, and
    what `fenced` raises.
    """
    (users,) = tables_of(engine, _USER)
    missing = [field for field in _NEEDED if field not in users.fields]
    if missing:
        raise CannotRenewError(
            "The destination doesn't record who has claimed an account: its users table has no "
            f"{' and no '.join(missing)}. Ask these people to reset their passwords in the "
            "product."
        )
    grants = reflect(engine, [load_catalogue()[model] for model in _GRANTS])
    random, memberships = SystemRandom(), Memberships(engine)
    with fenced(engine, relocation_id, fence) as connection:
        tokens = lost_password_records(connection)
        inserted = set(inserted_pks(connection, relocation_id, _USER).values())
        found = {row["username"]: row for row in _accounts(connection, users, expected)}
        privileged = _privileged(connection, grants, [row["id"] for row in found.values()])
        refused = {
            username: why
            for username, address in expected.items()
            if (why := _refusal(found.get(username), address, inserted, privileged))
        }
        renewed = [found[username] for username in expected if username not in refused]
        names = memberships.names(connection, relocation_id, [row["id"] for row in renewed])
        claims = [
            Claim(
                row["id"],
                row["username"],
                row["email"],
                random_word(random, 32),
                names.get(row["id"], ()),
            )
            for row in renewed
        ]
        store_tokens(connection, tokens, claims, now)
    return RenewedClaims(tuple(claims), refused)


def _accounts(
    connection: Connection, users: ModelTable, expected: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    columns: dict[str, Column[Any]] = {field: users.column(field) for field in users.fields}
    wanted = ("username", "email", "password", "is_active", "is_staff", "is_superuser")
    optional = ("is_managed", "is_suspended", "is_sentry_app", _MARK, *_NEEDED)
    shown = {field: columns[field] for field in (*wanted, *optional) if field in columns}
    labelled = [users.table.c.id, *(column.label(field) for field, column in shown.items())]
    query = select(*labelled).with_for_update()
    for row in select_in(connection, query, users.column("username").in_, list(expected)):
        yield dict(row._mapping)


def _privileged(
    connection: Connection, grants: Mapping[str, ModelTable], users: list[int]
) -> set[int]:
    """Return those of the users to whom somebody gave rights over the whole installation."""
    known = inspect(connection).get_table_names()
    found: set[int] = set()
    for model, field in _GRANTS.items():
        table = grants.get(model)
        if table is not None and table.table.name in known:
            person = table.column(field)
            found |= {pk for (pk,) in select_in(connection, select(person), person.in_, users)}
    return found


def _refusal(
    user: Mapping[str, Any] | None, address: str, inserted: set[int], privileged: set[int]
) -> str:
    """Say why a user gets no new link, or "" where there is no reason."""
    if user is None:
        return "there is no longer a user with this name"
    if user["id"] not in inserted:
        return "the account was not made by this relocation"
    if not user["is_active"] or user.get("is_suspended"):
        return "the account is not active"
    rights = ("is_staff", "is_superuser", "is_managed", "is_sentry_app")
    if user["id"] in privileged or any(user.get(right) for right in rights):
        return "the account has privileges"
    if not user.get(_MARK, True) or not str(user["password"]).startswith(UNUSABLE):
        return "the account is claimed"
    imported = user["last_password_change"]
    if imported is None:
        return "it is unclear when the account was imported"
    # What the export says of the old installation is before that.
    if user["last_login"] is not None and user["last_login"] > imported:
        return "somebody has logged in to the account"
    if (user["email"] or "") != address:
        return "the account's address is no longer what the import wrote"
    return ""
