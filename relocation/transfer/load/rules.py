"""What an import changes in the records of certain models (spec 3.6), model by model.

A rule sees the records of a chunk after their references were resolved and before they are
encoded. Unique fields that name no reference are the rules' business: what is taken there gets
another name (user, organization), is renewed (keys, tokens), or is merged (email).
"""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from sqlalchemy import select

from relocation.catalogue import Model, Scope
from relocation.errors import RequestError
from relocation.findings import FindingKind
from relocation.transfer.database.rows import select_in
from relocation.transfer.database.schema import UniqueSet, unique_sets
from relocation.transfer.load.batch import Batch, storable
from relocation.transfer.load.naming import NameRule
from relocation.transfer.load.people_rules import (
    address_members,
    check_time_zones,
    free_names,
    merge_addresses,
    merge_users,
    name_users,
    refresh_ip_addresses,
    reset_address_verification,
    skip_merged_users,
    skip_planned_accounts,
    strip_privileges,
    use_planned_accounts,
)
from relocation.transfer.load.renewal import (
    begin_subscriptions,
    prolong_tokens,
    random_hex,
    refresh,
    renew,
    token,
    token_hash,
    uuid4,
)

Rule = Callable[[Batch], None]

ACTIVE: Final = 0
PENDING_APPROVAL: Final = 3
"""Status of an organization that nobody sees until it is revealed (I-62)."""

KEEP_PKS: Final = frozenset({"sentry.project"})
"""Models whose records keep their primary keys in a Global import, as DSNs name them (I-70)."""

_CONFIGS: Final = (
    "sentry.option",
    "sentry.controloption",
    "sentry.relay",
    "sentry.relayusage",
    "sentry.userrole",
)
_RESERVED_SLUGS: Final = """
404 500 about account accept admin api auth avatar blog contact debug docs extensions features help
integrations jobs join legal login logout manage new oauth onboarding organizations out plugins
pricing privacy projects register remote security settings share signup static status support teams
terms welcome
"""
_SLUGS = NameRule(30, frozenset(_RESERVED_SLUGS.split()))


SCOPED_BY_ROW: Final = frozenset(
    {
        "sentry.alertruletriggeraction",
        "sentry.apiauthorization",
        "sentry.apitoken",
        "sentry.notificationaction",
        "sentry.savedsearch",
    }
)
"""Models of which some records belong to another scope than others (S-4, I-75)."""


_MAILS: Final = ((0, 1), (0, 2))
"""Service and kind of target of the alert actions that need nothing but what came along: a mail to
a user, and to a team."""


def row_scope(model: Model, fields: Mapping[str, Any]) -> Scope:
    """Return the scope of one record: some models leave it to their rows (S-4, I-75)."""
    if model.name in {"sentry.notificationaction", "sentry.alertruletriggeraction"}:
        foreign = any(fields.get(name) is not None for name in ("integration_id", "sentry_app_id"))
        if model.name == "sentry.alertruletriggeraction" and not foreign:
            foreign = (fields.get("type"), fields.get("target_type")) not in _MAILS
        return Scope.GLOBAL if foreign else Scope.ORGANIZATION
    if model.name in {"sentry.apitoken", "sentry.apiauthorization"}:
        return Scope.GLOBAL if fields.get("application") else Scope.CONFIG
    if model.name == "sentry.savedsearch" and fields.get("is_global"):
        return Scope.GLOBAL
    return Scope.ORGANIZATION if Scope.ORGANIZATION in model.scopes else min(model.scopes)


def _keep_configs(batch: Batch) -> None:
    """Use the settings that are there (I-60), with the export's values if that was asked for.

    Of two records in one chunk that collide with each other the first stays.
    """
    for unique in unique_sets(batch.table.model):
        known = set(batch.table.fields).issuperset(unique.fields)
        if known and batch.table.model.foreign_keys.keys().isdisjoint(unique.fields):
            _keep_by(batch, unique.fields)


def _keep_by(batch: Batch, names: tuple[str, ...]) -> None:
    columns = [batch.table.column(name) for name in names]
    wanted = storable(draft.values.get(names[0]) for draft in batch.rows)
    query = select(batch.table.table.c.id, *columns)
    present: dict[tuple[str, ...], int] = {
        tuple(map(str, key)): pk
        for pk, *key in select_in(batch.flushed(), query, columns[0].in_, wanted)
    }
    kept, first = [], set[tuple[str, ...]]()
    for draft in batch.rows:
        key = tuple(str(draft.values.get(name)) for name in names)
        if key in first:
            reason = f"An earlier record has the same {', '.join(names)}, which must be unique."
            batch.skip(draft.pk, FindingKind.DUPLICATE, reason)
        elif key not in present:
            kept.append(draft)
        elif batch.options.overwrite_configs:
            batch.overwritten.append((draft, present[key]))
        else:
            batch.merged[draft.pk] = present[key]
        first.add(key)
    batch.rows = kept


def _name_organizations(batch: Batch) -> None:
    """Give each organization a valid, free slug, and report those that had to change (I-62)."""
    planned = batch.options.plan.slugs
    names = free_names(
        batch, "slug", _SLUGS, lambda slug: planned.get(slug) or _valid_slug(batch, slug)
    )
    for draft, name in zip(batch.rows, names, strict=True):
        old = draft.values["slug"]
        if planned.get(old, name) != name:
            raise RequestError(
                f'The plan asks for the slug "{planned[old]}", which is not available.'
            )
        batch.slugs[draft.pk] = old
        if name != old:
            batch.report(FindingKind.RENAMED, draft.pk, f'"{old}" is now "{name}".', "slug")
        draft.values["slug"] = name
        draft.values["status"] = PENDING_APPROVAL if batch.options.hide else ACTIVE


def _valid_slug(batch: Batch, slug: str) -> str:
    limit = getattr(batch.table.column("slug").type, "length", None)
    return re.sub(r"[^a-z0-9-]+", "-", slug.lower().replace("_", "-")).strip("-")[:limit]


def _find_actors(batch: Batch) -> None:
    """Use the actors that merged users have already; leave out those that stand for nobody."""
    user, pk = batch.table.column("user_id"), batch.table.table.c.id
    merged = {draft.values.get("user_id") for draft in batch.rows} & batch.merged_users
    present = dict(map(tuple, select_in(batch.flushed(), select(user, pk), user.in_, merged)))
    kept = []
    for draft in batch.rows:
        person = draft.values.get("user_id")
        if person in present:
            batch.merged[draft.pk] = present[person]
        elif person is None and draft.values.get("team") is None:
            batch.drop(draft.pk, "It does not say which team or user it stands for.", "team")
        else:
            kept.append(draft)
    batch.rows = kept


def _await_check_in(batch: Batch) -> None:
    """Let no environment of a cron monitor be late before it has checked in here."""
    for draft in batch.rows:
        batch.put(draft, "next_checkin", value=None)


PERSONAL: Final = {
    "explore.exploresavedquerylastvisited": "user_id",
    "explore.exploresavedquerystarred": "user_id",
    "sentry.dashboardfavoriteuser": "user_id",
    "sentry.groupsearchview": "user_id",
    "sentry.groupsearchviewlastvisited": "user_id",
    "sentry.groupsearchviewstarred": "user_id",
    "sentry.organizationaccessrequest": "requester_id",
    "sentry.projectbookmark": "user_id",
    "sentry.recentsearch": "user_id",
    "sentry.rulesnooze": "user_id",
    "sentry.savedsearch": "owner_id",
}
"""What is a person's own, and the reference that says whose."""

_OF_MODELS: Mapping[str, tuple[Rule, ...]] = {
    "sentry.actor": (_find_actors,),
    "sentry.organization": (_name_organizations,),
    "sentry.user": (use_planned_accounts, merge_users, strip_privileges, name_users),
    "sentry.email": (merge_addresses,),
    "sentry.useremail": (skip_merged_users, reset_address_verification),
    "sentry.useroption": (skip_merged_users, check_time_zones),
    "sentry.userpermission": (skip_merged_users,),
    # Not named by I-57, but as little as a permission may it come by a namesake's file.
    "sentry.userroleuser": (skip_merged_users,),
    "sentry.userip": (skip_merged_users, refresh_ip_addresses),
    **dict.fromkeys(_CONFIGS, (_keep_configs,)),
    "sentry.apitoken": (
        partial(renew, "token", token),
        partial(renew, "refresh_token", token),
        prolong_tokens,
        partial(renew, "hashed_token", token_hash),
        partial(renew, "hashed_refresh_token", token_hash),
    ),
    "sentry.organizationmember": (partial(renew, "token", None), address_members),
    "sentry.organizationmemberinvite": (partial(renew, "token", token),),
    "sentry.orgauthtoken": (
        partial(renew, "token_hashed", token_hash, clear="token_last_characters"),
    ),
    "sentry.projectkey": (
        partial(renew, "public_key", random_hex),
        partial(renew, "secret_key", random_hex),
    ),
    "sentry.monitor": (partial(refresh, "guid", uuid4),),
    "sentry.monitorenvironment": (_await_check_in,),
    "sentry.incident": (partial(refresh, "detection_uuid", uuid4),),
    "sentry.incidentactivity": (partial(refresh, "notification_uuid", uuid4),),
    "sentry.querysubscription": (begin_subscriptions,),
}

RULES: Mapping[str, tuple[Rule, ...]] = {
    **_OF_MODELS,
    **{
        model: (partial(skip_planned_accounts, field), *_OF_MODELS.get(model, ()))
        for model, field in PERSONAL.items()
    },
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
    "sentry.querysubscription": frozenset({"date_updated", "status", "subscription_id"}),
}
"""The fields that rules fill, whether an export has them or not."""

EXTRA_UNIQUES: Mapping[str, tuple[UniqueSet, ...]] = {
    "sentry.useroption": (
        UniqueSet(("user", "key"), (("organization_id", None), ("project_id", None))),
    ),
}
"""What must be unique though no constraint says so (I-59b)."""
