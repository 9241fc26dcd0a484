"""Which comparison each field of each model gets (5.2)."""

from collections.abc import Iterator, Mapping
from typing import Final

from relocation.catalogue import FieldType, Model
from relocation.findings import FindingKind
from relocation.text import one_line
from relocation.transfer.compare.comparators import (
    Comparator,
    auto_suffix,
    mask_address,
    mask_secret,
    not_earlier,
    renewed_subscription,
    renewed_uuid,
    same_instant,
    same_items,
    same_masked,
    same_reference,
    same_value,
    secret_form,
)

Ordinals = Mapping[str, Mapping[int, int]]
"""Per model, from one side's primary keys to what both sides share."""

USER: Final = "sentry.user"
PASSWORD_FIELDS: Final = (
    "password",
    "last_password_change",
    "is_unclaimed",
    "is_password_expired",
)
"""The fields of a user that are compared together (V-1)."""

_VALUE = Comparator(FindingKind.UNEQUAL, same_value)
_INSTANT = Comparator(FindingKind.DATETIME_EQUALITY, same_instant)
_LATER = Comparator(FindingKind.DATE_UPDATED, not_earlier)
_ADDRESS = Comparator(FindingKind.EMAIL, same_masked(mask_address))
_HASH = Comparator(FindingKind.HASH, same_masked(mask_secret))
_SECRET = Comparator(FindingKind.SECRET_HEX, secret_form, demanding=True)
_SLUG = Comparator(FindingKind.AUTO_SUFFIX, auto_suffix(lambda slug: one_line(str(slug), limit=60)))
_USERNAME = Comparator(FindingKind.AUTO_SUFFIX, auto_suffix(mask_address))
_UUID = Comparator(FindingKind.UUID4, renewed_uuid, demanding=True)
_SUBSCRIPTION = Comparator(FindingKind.SUBSCRIPTION_ID, renewed_subscription, demanding=True)
_ITEMS = Comparator(FindingKind.UNORDERED_LIST, same_items)

_EXPLICIT: Mapping[tuple[str, str], tuple[Comparator, ...]] = {
    ("sentry.organization", "slug"): (_SLUG,),
    (USER, "username"): (_USERNAME,),
    ("sentry.sentryapp", "creator_label"): (_ADDRESS,),
    ("sentry.apitoken", "token"): (_HASH,),
    ("sentry.apitoken", "refresh_token"): (_HASH,),
    ("sentry.apiapplication", "client_id"): (_HASH,),
    ("sentry.apiapplication", "client_secret"): (_HASH,),
    ("sentry.authidentity", "ident"): (_HASH,),
    ("sentry.orgauthtoken", "token_hashed"): (_HASH,),
    ("sentry.orgauthtoken", "token_last_characters"): (_HASH,),
    ("sentry.organizationmember", "token"): (_HASH,),
    ("sentry.projectkey", "public_key"): (_HASH, _SECRET),
    ("sentry.projectkey", "secret_key"): (_HASH, _SECRET),
    ("sentry.relay", "relay_id"): (_HASH,),
    ("sentry.relay", "public_key"): (_HASH,),
    ("sentry.relayusage", "relay_id"): (_HASH,),
    ("sentry.relayusage", "public_key"): (_HASH,),
    ("sentry.servicehook", "secret"): (_HASH,),
    ("sentry.querysubscription", "subscription_id"): (_SUBSCRIPTION,),
    ("sentry.monitor", "guid"): (_UUID,),
    ("sentry.incident", "detection_uuid"): (_UUID,),
    ("sentry.incidentactivity", "notification_uuid"): (_UUID,),
    ("sentry.apitoken", "scope_list"): (_ITEMS,),
    # Made anew, or told by other fields: these may differ in any way.
    ("sentry.apitoken", "hashed_token"): (),
    ("sentry.apitoken", "hashed_refresh_token"): (),
    ("sentry.apitoken", "token_last_characters"): (),
    ("sentry.useremail", "validation_hash"): (),
    ("sentry.useremail", "is_verified"): (),
    ("sentry.userip", "country_code"): (),
    ("sentry.userip", "region_code"): (),
}

_REMOVABLE: Final = frozenset({("sentry.organizationmember", "inviter_id")})
"""References that an import may drop (A-83)."""

_MODIFIED: Final = frozenset({"date_modified", "date_updated"})
"""Fields that every save sets to now (I-77)."""

_LATER_TOO: Final = frozenset(
    {
        ("sentry.email", "date_added"),
        ("sentry.groupsearchview", "date_added"),
        (USER, "last_active"),
        ("sentry.useremail", "date_hash_added"),
        ("sentry.userip", "first_seen"),
        ("sentry.userip", "last_seen"),
    }
)


def field_checks(
    model: Model, left: Ordinals, right: Ordinals
) -> Iterator[tuple[str, tuple[Comparator, ...]]]:
    """Yield each field of a model, but the password's, in alphabetical order with its comparators.

    No comparator: the field may differ in any way.
    """
    for field in sorted(model.fields):
        if model.name == USER and field in PASSWORD_FIELDS:
            continue
        key = model.foreign_keys.get(field)
        if key is not None:
            compare = same_reference(left.get(key.to, {}), right.get(key.to, {}))
            removable = (model.name, field) in _REMOVABLE
            comparator = Comparator(
                FindingKind.FOREIGN_KEY, compare, removable=removable, demanding=True
            )
            yield field, (comparator,)
        else:
            yield field, _by_name_and_type(model, field)


def _by_name_and_type(model: Model, field: str) -> tuple[Comparator, ...]:
    explicit = _EXPLICIT.get((model.name, field))
    if explicit is not None:
        return explicit
    if model.fields[field].type is FieldType.DATETIME:
        workflow = model.name.startswith("workflow_engine.")
        later = workflow or field in _MODIFIED or (model.name, field) in _LATER_TOO
        return (_LATER if later else _INSTANT,)
    if field == "email" or field.endswith("_email"):
        return (_ADDRESS,)
    return (_VALUE,)
