"""What an import changes in the records of certain models (spec 3.6), model by model.

A rule sees the records of a chunk after their references were resolved and before they are
encoded. Unique fields that name no reference are the rules' business: what is taken there gets
another name (user, organization), is renewed (keys, tokens), or is merged (email).
"""

import hashlib
import re
import string
import uuid
import zoneinfo
from collections.abc import Callable, Mapping
from functools import cache, partial
from random import Random
from typing import Any, Final

from sqlalchemy import select

from relocation.catalogue import Model, Scope
from relocation.findings import FindingKind
from relocation.transfer.batch import Batch, unfit
from relocation.transfer.codec import parse_stored_json
from relocation.transfer.naming import NameRule, pick_names
from relocation.transfer.rows import same_text, select_in
from relocation.transfer.schema import UniqueSet

Rule = Callable[[Batch], None]
Make = Callable[[Random], str]

ACTIVE: Final = 0
PENDING_APPROVAL: Final = 3
"""Status of an organization that nobody sees until it is revealed (I-62)."""

_MAX_USERNAME: Final = 128
_USERNAMES = NameRule(_MAX_USERNAME, digits_alone=True)
_RESERVED_SLUGS: Final = """
404 500 about account accept admin api auth avatar blog contact debug docs extensions features help
integrations jobs join legal login logout manage new oauth onboarding organizations out plugins
pricing privacy projects register remote security settings share signup static status support teams
terms welcome
"""
_SLUGS = NameRule(30, frozenset(_RESERVED_SLUGS.split()))
_WORD_LETTERS: Final = string.ascii_letters + string.digits


def row_scope(model: Model, fields: Mapping[str, Any]) -> Scope:
    """Return the scope of one record: some models leave it to their rows (S-4, I-75)."""
    if model.name == "sentry.notificationaction":
        foreign = fields.get("integration_id") or fields.get("sentry_app_id")
        return Scope.GLOBAL if foreign else Scope.ORGANIZATION
    if model.name in {"sentry.apitoken", "sentry.apiauthorization"}:
        return Scope.GLOBAL if fields.get("application") else Scope.CONFIG
    if model.name == "sentry.savedsearch" and fields.get("is_global"):
        return Scope.GLOBAL
    return Scope.ORGANIZATION if Scope.ORGANIZATION in model.scopes else min(model.scopes)


def word(random: Random, length: int) -> str:
    """Return a random word of letters and digits."""
    return "".join(random.choices(_WORD_LETTERS, k=length))


def _take_over_users(batch: Batch) -> None:
    """Strip privileges and passwords (I-50, I-51); every user has to claim the account anew."""
    for draft in batch.rows:
        username = draft.values.get("username")
        if isinstance(username, str) and len(username) > _MAX_USERNAME:
            message = f"has {len(username)} characters; at most {_MAX_USERNAME} are allowed"
            raise unfit(batch.table.model.name, draft.pk, "username", message)
        for field in ("is_staff", "is_superuser", "is_managed", "is_password_expired"):
            batch.put(draft, field, value=False)
        batch.put(draft, "is_unclaimed", value=True)
        # No hash begins with "!": nobody can log in with it, and no key derivation is spent on it.
        batch.put(draft, "password", "!" + word(batch.random, 40))
        batch.put(draft, "last_password_change", batch.now)


def _name_users(batch: Batch) -> None:
    names = _free_names(batch, "username", _USERNAMES, lambda name: name)
    for draft, name in zip(batch.rows, names, strict=True):
        draft.values["username"] = name


def _name_organizations(batch: Batch) -> None:
    """Give each organization a valid, free slug, and report those that had to change (I-62)."""
    names = _free_names(batch, "slug", _SLUGS, partial(_valid_slug, batch))
    for draft, name in zip(batch.rows, names, strict=True):
        old = draft.values["slug"]
        batch.slugs[draft.pk] = old
        if name != old:
            batch.tell(FindingKind.RENAMED, draft.pk, f'"{old}" is now "{name}".', "slug")
        draft.values["slug"] = name
        draft.values["status"] = PENDING_APPROVAL if batch.hide else ACTIVE


def _valid_slug(batch: Batch, slug: str) -> str:
    limit = getattr(batch.table.column("slug").type, "length", None)
    return re.sub(r"[^a-z0-9-]+", "-", slug.lower().replace("_", "-")).strip("-")[:limit]


def _free_names(batch: Batch, field: str, rule: NameRule, base: Callable[[str], str]) -> list[str]:
    for draft in batch.rows:
        if not isinstance(draft.values.get(field), str):
            raise unfit(batch.table.model.name, draft.pk, field, "is not text")
    return pick_names(
        [base(draft.values[field]) for draft in batch.rows],
        rule,
        partial(batch.taken, field, among=same_text),
        random=batch.random,
    )


def _merge_addresses(batch: Batch) -> None:
    """Use the address rows that are there, and leave them as they are (I-56, W-17)."""
    column, pk = batch.table.column("email"), batch.table.table.c.id
    wanted = {str(draft.values.get("email")) for draft in batch.rows}
    query = select(pk, column).order_by(pk.desc())
    found = select_in(batch.connection, query, same_text(column), wanted)
    present = {address.lower(): key for key, address in found}
    kept, first = [], dict[str, int]()
    for draft in batch.rows:
        address = str(draft.values.get("email")).lower()
        if address in present:
            batch.merged[draft.pk] = present[address]
        elif address in first:
            batch.twins[draft.pk] = first[address]
        else:
            first[address] = draft.pk
            kept.append(draft)
    batch.rows = kept


def _distrust_addresses(batch: Batch) -> None:
    """Make every address of a user unverified, with a new hash (I-58)."""
    for draft in batch.rows:
        batch.put(draft, "is_verified", value=False)
        batch.put(draft, "validation_hash", word(batch.random, 32))
        batch.put(draft, "date_hash_added", batch.now)


def _check_time_zones(batch: Batch) -> None:
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


def _refresh(field: str, make: Make, batch: Batch) -> None:
    """Give every record a value of its own, whatever the export has."""
    for draft in batch.rows:
        batch.put(draft, field, make(batch.random))


def _renew(field: str, make: Make | None, batch: Batch, *, clear: str | None = None) -> None:
    """Replace values that are in use, by `make` or else by null; the record always arrives.

    `clear` names a field that told a part of the replaced value, and becomes null with it.
    """
    if field not in batch.table.fields:
        return
    needed = make is not None and not batch.table.column(field).nullable
    given = {draft.values[field] for draft in batch.rows if draft.values.get(field) is not None}
    in_use = set(batch.taken(field, given))
    for draft in batch.rows:
        value = draft.values.get(field)
        if value is None and not needed:
            continue
        if value is not None and value not in in_use:
            in_use.add(value)
            continue
        draft.values[field] = make(batch.random) if make else None
        if clear is not None:
            batch.put(draft, clear, value=None)
        why = "was in use" if value is not None else "was missing"
        what = "a new one was made" if make else "it is empty now"
        batch.tell(FindingKind.RENEWED, draft.pk, f"It {why}; {what}.", field)


def _hex(random: Random) -> str:
    return f"{random.getrandbits(128):032x}"


def _uuid(random: Random) -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _token_hash(random: Random) -> str:
    """Return the hash of a token that nobody knows: the owner makes a new one (I-66)."""
    return hashlib.sha256(word(random, 64).encode()).hexdigest()


RULES: Mapping[str, tuple[Rule, ...]] = {
    "sentry.organization": (_name_organizations,),
    "sentry.user": (_take_over_users, _name_users),
    "sentry.email": (_merge_addresses,),
    "sentry.useremail": (_distrust_addresses,),
    "sentry.useroption": (_check_time_zones,),
    "sentry.organizationmember": (partial(_renew, "token", None),),
    "sentry.orgauthtoken": (
        partial(_renew, "token_hashed", _token_hash, clear="token_last_characters"),
    ),
    "sentry.projectkey": (
        partial(_renew, "public_key", _hex),
        partial(_renew, "secret_key", _hex),
    ),
    "sentry.monitor": (partial(_refresh, "guid", _uuid),),
    "sentry.querysubscription": (
        partial(_refresh, "subscription_id", lambda random: f"0/{_hex(random)}"),
    ),
}
"""Each model's rules, in the order they are applied."""

WRITTEN: Mapping[str, frozenset[str]] = {
    "sentry.organization": frozenset({"status"}),
    "sentry.user": frozenset(
        {
            "is_managed",
            "is_password_expired",
            "is_staff",
            "is_superuser",
            "is_unclaimed",
            "last_password_change",
            "password",
        }
    ),
    "sentry.useremail": frozenset({"is_verified", "validation_hash", "date_hash_added"}),
    "sentry.monitor": frozenset({"guid"}),
    "sentry.querysubscription": frozenset({"subscription_id"}),
}
"""The fields that rules fill, whether an export has them or not."""

EXTRA_UNIQUES: Mapping[str, tuple[UniqueSet, ...]] = {
    "sentry.useroption": (
        UniqueSet(("user", "key"), (("organization_id", None), ("project_id", None))),
    ),
}
"""What must be unique though no constraint says so (I-59b)."""
