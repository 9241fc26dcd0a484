"""What an import changes in records of people: accounts, addresses, settings (I-50 to I-59b)."""

import ipaddress
import zoneinfo
from collections.abc import Callable, Collection
from functools import cache
from typing import Final

from sqlalchemy import column, select, table

from relocation.catalogue import Scope, load_catalogue
from relocation.errors import RequestError
from relocation.findings import FindingKind
from relocation.transfer.database.codec import parse_stored_json
from relocation.transfer.database.rows import same_text, select_in
from relocation.transfer.load.batch import Batch, storable, unfit
from relocation.transfer.load.naming import NameRule, look_alikes, pick_names, visible_form
from relocation.transfer.load.renewal import UNUSABLE, random_word

_MAX_USERNAME: Final = 128
_USERNAMES = NameRule(_MAX_USERNAME, digits_alone=True, alike=visible_form)


def strip_privileges(batch: Batch) -> None:
    """Strip privileges (I-50) and passwords (I-51), as far as the scope does not keep them.

    Whoever's password goes has to claim the account anew.
    """
    scope = batch.options.scope
    for draft in batch.rows:
        username = draft.values.get("username")
        if isinstance(username, str) and len(username) > _MAX_USERNAME:
            message = f"has {len(username)} characters; at most {_MAX_USERNAME} are allowed"
            raise unfit(batch.table.model.name, draft.pk, "username", message)
        if scope not in {Scope.CONFIG, Scope.GLOBAL}:
            for field in ("is_staff", "is_superuser", "is_managed"):
                batch.put(draft, field, value=False)
        if scope is Scope.GLOBAL:
            continue
        batch.put(draft, "is_password_expired", value=False)
        batch.put(draft, "is_unclaimed", value=True)
        # Nobody can log in with it, and no key derivation is spent on it.
        batch.put(draft, "password", UNUSABLE + random_word(batch.random, 40))
        batch.put(draft, "last_password_change", batch.now)


def merge_users(batch: Batch) -> None:
    """Use the accounts that are there, where that was asked for, and leave them as they are (I-53).

    The name must be the same to the letter: the wrong person would get the memberships.
    """
    if not batch.options.merge_users:
        return
    column, pk = batch.table.column("username"), batch.table.table.c.id
    wanted = storable(draft.values.get("username") for draft in batch.rows)
    query = select(column, pk)
    present = dict(map(tuple, select_in(batch.flushed(), query, column.in_, wanted)))
    kept = []
    for draft in batch.rows:
        name = str(draft.values.get("username"))
        if name in present:
            batch.merged[draft.pk] = present[name]
        else:
            kept.append(draft)
    batch.rows = kept


def use_planned_accounts(batch: Batch) -> None:
    """Use the accounts that the plan names, and leave them as they are.

    Whatever may have happened since the plan was checked: a privileged account is none of them.
    """
    plan = batch.options.plan.users
    if not plan:
        return
    pk = batch.table.table.c.id
    fields = ("is_active", "is_staff", "is_superuser")
    query = select(pk, *(batch.table.column(field) for field in fields))
    rows = select_in(batch.flushed(), query, pk.in_, set(plan.values()))
    fit = {one for one, active, *powers in rows if active and not any(powers)}
    kept = []
    for draft in batch.rows:
        name = draft.values.get("username")
        target = plan.get(name) if isinstance(name, str) else None
        if target is None:
            kept.append(draft)
        elif target not in fit or target in {*batch.merged.values(), *batch.merged_users}:
            raise RequestError(f"Account {target} of the plan can no longer be used for a user.")
        else:
            batch.merged[draft.pk] = target
            reason = f"In the plan it becomes account {target}, which stays unchanged."
            batch.report(FindingKind.EXISTING_USER, draft.pk, reason)
    batch.rows = kept


def skip_planned_accounts(field: str, batch: Batch) -> None:
    """Skip what is a person's own where the plan made an account of the person.

    An account gets memberships by a plan and nothing else. What the organization shares stays.
    """
    accounts = set(batch.options.plan.users.values())
    if not accounts:
        return
    kept = []
    for draft in batch.rows:
        shared = draft.values.get("visibility") == "organization"
        if draft.values.get(field) in accounts and not shared:
            reason = "Its user existed before the import and stays unchanged."
            batch.skip(draft.pk, FindingKind.EXISTING_USER, reason)
        else:
            kept.append(draft)
    batch.rows = kept


def address_members(batch: Batch) -> None:
    """Let the memberships of accounts that were there say the account's address, not the export's.

    The product shows and searches members by it.
    """
    known = {draft.values.get("user_id") for draft in batch.rows} & batch.merged_users
    if not known or "user_email" not in batch.table.fields:
        return
    users = table(load_catalogue()["sentry.user"].table, column("id"), column("email"))
    query = select(users.c.id, users.c.email)
    addresses = dict(map(tuple, select_in(batch.flushed(), query, users.c.id.in_, known)))
    for draft in batch.rows:
        user, told = draft.values.get("user_id"), draft.values.get("user_email")
        if user in addresses and told and told != addresses[user]:
            draft.values["user_email"] = addresses[user] or None
            reason = "It is the address of the account that its user becomes."
            batch.report(FindingKind.RENEWED, draft.pk, reason, "user_email")


def skip_merged_users(batch: Batch) -> None:
    """Skip what the export says of a user who is there already (I-57)."""
    kept = []
    for draft in batch.rows:
        if draft.values.get("user") in batch.merged_users:
            reason = "Its user existed before the import and stays unchanged."
            batch.skip(draft.pk, FindingKind.EXISTING_USER, reason)
        else:
            kept.append(draft)
    batch.rows = kept


def name_users(batch: Batch) -> None:
    """Give each user a free name, and report those that had to change, without the name (W-31)."""
    given = storable(draft.values.get("username") for draft in batch.rows)
    alike = look_alikes(batch.flushed(), batch.table.column("username"), given)
    names = free_names(batch, "username", _USERNAMES, lambda name: name, also=alike)
    for draft, name in zip(batch.rows, names, strict=True):
        old = draft.values["username"]
        if name != old:
            ending = name.rpartition("-")[2]
            how = f'the account\'s name now ends in "-{ending}"' if old else f'it is "{name}" now'
            why = "It was taken" if old else "It was empty"
            batch.report(FindingKind.RENAMED, draft.pk, f"{why}; {how}.", "username")
        draft.values["username"] = name


def merge_addresses(batch: Batch) -> None:
    """Use the address rows that are there, and leave them as they are (I-56, W-17)."""
    column, pk = batch.table.column("email"), batch.table.table.c.id
    wanted = storable(draft.values.get("email") for draft in batch.rows)
    query = select(pk, column).order_by(pk.desc())
    found = select_in(batch.flushed(), query, same_text(column), wanted)
    present = {address.lower(): key for key, address in found}
    kept, first = [], dict[str, int]()
    for draft in batch.rows:
        address = str(draft.values.get("email")).lower()
        if address in present:
            batch.merged[draft.pk] = present[address]
        elif address in first:
            batch.duplicates_of[draft.pk] = first[address]
        else:
            first[address] = draft.pk
            kept.append(draft)
    batch.rows = kept


def reset_address_verification(batch: Batch) -> None:
    """Make every address of a user unverified, with a new hash, outside Global (I-58)."""
    if batch.options.scope is Scope.GLOBAL:
        return
    for draft in batch.rows:
        batch.put(draft, "is_verified", value=False)
        batch.put(draft, "validation_hash", random_word(batch.random, 32))
        batch.put(draft, "date_hash_added", batch.now)


def check_time_zones(batch: Batch) -> None:
    """Refuse a time zone that does not exist (I-59b, A-30)."""
    for draft in batch.rows:
        if draft.values.get("key") != "timezone":
            continue
        value = draft.values.get("value")
        zone = parse_stored_json(value) if isinstance(value, str) else value
        known = zone is None or (isinstance(zone, str) and zone in _time_zones())
        if not known and _time_zones():
            raise unfit(batch.table.model.name, draft.pk, "value", "is not a known time zone")


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def refresh_ip_addresses(batch: Batch) -> None:
    """Refuse what is no IP address; each is first seen now (I-59).

    Where it is the export cannot be trusted to say, and there is no register here to look it up in:
    country and region stay empty until the person comes again.
    """
    for draft in batch.rows:
        try:
            ipaddress.ip_address(str(draft.values.get("ip_address")))
        except ValueError as err:
            message = "is not an IP address"
            raise unfit(batch.table.model.name, draft.pk, "ip_address", message) from err
        for field in ("first_seen", "last_seen"):
            batch.put(draft, field, batch.now)
        for field in ("country_code", "region_code"):
            batch.put(draft, field, None)


def free_names(
    batch: Batch,
    field: str,
    rule: NameRule,
    base: Callable[[str], str],
    *,
    also: Collection[str] = (),
) -> list[str]:
    """Return a free name for each draft; those of `also` are in use whatever is asked for."""
    for draft in batch.rows:
        if not storable([draft.values.get(field)]):
            raise unfit(batch.table.model.name, draft.pk, field, "is not text")
    return pick_names(
        [base(draft.values[field]) for draft in batch.rows],
        rule,
        lambda names: [*batch.taken(field, names, among=same_text), *also],
        random=batch.random,
    )
