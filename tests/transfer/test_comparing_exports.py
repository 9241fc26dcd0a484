"""Two exports side by side: pairing, what covers each field, and bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relocation.archive.records import Record
from relocation.catalogue import Scope, load_catalogue
from relocation.example import example_export
from relocation.findings import Finding, FindingKind
from relocation.transfer.compare.comparing import MAX_FINDINGS, compare, compare_unchanged
from relocation.transfer.compare.fieldchecks import PASSWORD_FIELDS, field_checks
from relocation.transfer.compare.intended import CHANGES, Intended, is_suffixed
from relocation.transfer.source import RecordList

EXAMPLE = example_export(organizations=2, members=3, projects=1)
RENEWED_ALWAYS = {
    "sentry.monitor",
    "sentry.querysubscription",
    "sentry.incident",
    "sentry.incidentactivity",
}


def source(records: list[Record]) -> RecordList:
    return RecordList(records, load_catalogue())


def option(pk: int, key: str, **fields: object) -> Record:
    return Record("sentry.option", pk, {"key": key, "value": "x", **fields})


def user(pk: int, username: str, **fields: object) -> Record:
    given = {"username": username, "password": f"secret of {username}", "email": username}
    return Record("sentry.user", pk, {**given, **fields})


def told(findings: list[Finding]) -> list[tuple[FindingKind, str, str | None]]:
    return [(finding.kind, finding.model, finding.field) for finding in findings]


def change(record: Record, **fields: object) -> Record:
    return record._replace(fields={**record.fields, **fields})


def test_an_export_is_equal_to_itself() -> None:
    """A-70: save for what every import has to renew (A-80, V-6)."""
    pairs = {model: {r.pk: r.pk for r in EXAMPLE if r.model == model} for model in load_catalogue()}
    found = compare(source(EXAMPLE), source(EXAMPLE), pairs=pairs)
    unclaimed = {r.pk for r in EXAMPLE if r.fields.get("is_unclaimed")}
    assert {f.model for f in found} <= {*RENEWED_ALWAYS, "sentry.user"}
    assert {f.pk for f in found if f.model == "sentry.user"} == unclaimed


@pytest.mark.parametrize("longer", ["left", "right"])
def test_extra_records_on_either_side_are_told(longer: str) -> None:
    """A-71"""
    short, long = source([option(1, "a")]), source([option(1, "a"), option(2, "b")])
    sides = (long, short) if longer == "left" else (short, long)
    assert told(compare(*sides)) == [(FindingKind.UNEQUAL_COUNTS, "sentry.option", None)]


def test_primary_keys_that_do_not_rise_are_told() -> None:
    """A-71"""
    [finding] = compare(source([option(2, "b"), option(1, "a")]), source([option(1, "a")] * 0))[:1]
    assert finding.kind is FindingKind.UNORDERED_INPUT
    assert finding.model == "sentry.option"
    assert finding.pk == 1


def test_different_numbers_of_records_end_the_comparison() -> None:
    """5.1 item 3"""
    left = source([option(1, "a"), user(1, "ann")])
    right = source([option(1, "a", value="changed")])
    assert told(compare(left, right)) == [(FindingKind.UNEQUAL_COUNTS, "sentry.user", None)]


def test_users_are_matched_by_username_and_not_by_primary_key() -> None:
    """A-87"""
    left = source([user(1, "ann"), user(2, "bob")])
    right = source([user(7, "bob"), user(8, "ann")])
    assert compare(left, right) == []


def test_what_belongs_to_users_is_matched_by_their_usernames() -> None:
    """A-79, A-87"""

    def export(ann: int, bob: int) -> RecordList:
        addresses = [
            Record("sentry.useremail", number, {"user": pk, "email": "shared@example.com"})
            for number, pk in enumerate(sorted((ann, bob)), start=1)
        ]
        users = sorted([user(ann, "ann"), user(bob, "bob")], key=lambda record: record.pk)
        return source([*users, *addresses])

    assert compare(export(1, 2), export(9, 4)) == []


def test_two_records_with_one_natural_key_are_told() -> None:
    """A-87"""
    twice = source([option(1, "a"), option(2, "a")])
    assert told(compare(twice, twice)) == [
        (FindingKind.DUPLICATE_KEY, "sentry.option", None),
        (FindingKind.DUPLICATE_KEY, "sentry.option", None),
    ]


def test_options_of_users_may_have_one_natural_key() -> None:
    """A-87"""
    options = [
        Record("sentry.useroption", pk, {"user": 1, "key": "theme", "value": "dark"})
        for pk in (1, 2)
    ]
    twice = source([user(1, "ann"), *options])
    assert compare(twice, twice) == []


def test_a_model_outside_the_catalogue_is_a_programming_error() -> None:
    """5.1 item 5"""
    unknown = RecordList([Record("sentry.group", 1, {})], ["sentry.group"])
    with pytest.raises(ValueError, match="catalogue"):
        compare(unknown, unknown)


def test_a_field_on_one_side_alone_is_told_once() -> None:
    """A-73, V-2: though two comparators look at a project's key."""
    key = Record("sentry.projectkey", 1, {"public_key": "a" * 32, "label": None})
    [finding] = compare(source([key]), source([change(key, public_key=None)]))
    assert (finding.kind, finding.field) == (FindingKind.EXISTENCE, "public_key")
    assert "actual" in finding.reason


def test_null_and_absent_are_the_same() -> None:
    """A-73, V-2"""
    key = Record("sentry.projectkey", 1, {"public_key": "a" * 32})
    assert compare(source([key]), source([change(key, label=None)])) == []


def test_fields_come_in_alphabetical_order() -> None:
    """V-3"""
    left = user(1, "ann", name="Ann", avatar_type=1, flags="1")
    right = user(1, "ann", name="Bob", avatar_type=2, flags="2")
    found = compare(source([left]), source([right]))
    assert [finding.field for finding in found] == ["avatar_type", "flags", "name"]


@pytest.mark.parametrize("inviter", [None, 1])
def test_an_inviter_may_be_removed(inviter: int | None) -> None:
    """A-83"""
    member = Record("sentry.organizationmember", 1, {"user_id": 1, "inviter_id": 1})
    left = source([user(1, "ann"), member])
    assert compare(left, source([user(1, "ann"), change(member, inviter_id=inviter)])) == []


@pytest.mark.parametrize(("before", "after"), [(None, 1), (1, 2)])
def test_an_inviter_may_not_appear_or_be_another(before: int | None, after: int) -> None:
    """A-83"""
    member = Record("sentry.organizationmember", 1, {"user_id": 1, "inviter_id": before})
    users = [user(1, "ann"), user(2, "bob")]
    right = source([*users, change(member, inviter_id=after)])
    found = compare(source([*users, member]), right)
    assert [finding.field for finding in found] == ["inviter_id"]


def test_ignored_fields_may_differ_or_be_absent() -> None:
    """A-84"""
    address = Record("sentry.useremail", 1, {"user": 1, "email": "a@b.io", "is_verified": True})
    other = Record("sentry.useremail", 1, {"user": 1, "email": "a@b.io", "validation_hash": "new"})
    left, right = source([user(1, "ann"), address]), source([user(1, "ann"), other])
    assert compare(left, right) == []


def test_what_no_comparator_covers_is_told_without_its_text() -> None:
    """A-86, W-31"""
    secret = "a token that somebody pasted here"
    left, right = option(1, "k", value=secret), option(1, "k", value=secret[::-1])
    [finding] = compare(source([left]), source([right]))
    assert (finding.kind, finding.field) == (FindingKind.UNEQUAL, "value")
    assert secret not in finding.reason
    assert secret[::-1] not in finding.reason


def test_no_secret_and_no_address_is_in_any_finding() -> None:
    """A-86, W-31: every text field of the example is given another value."""
    catalogue = load_catalogue()
    altered = [
        record._replace(
            fields={
                field: f"{value}~changed" if isinstance(value, str) and value else value
                for field, value in record.fields.items()
            }
        )
        for record in EXAMPLE
    ]
    pairs = {model: {r.pk: r.pk for r in EXAMPLE if r.model == model} for model in catalogue}
    reasons = [f.reason for f in compare(source(EXAMPLE), source(altered), pairs=pairs)]
    assert len(reasons) > 50
    values = {
        str(value)
        for record in EXAMPLE
        for field, value in record.fields.items()
        if field in {"password", "email", "username", "user_email", "token", "public_key",
                     "secret_key", "client_secret", "token_hashed", "key", "validation_hash"}
        and isinstance(value, str) and len(value) > 6
    }  # fmt: skip
    assert values
    assert not [value for value in values if any(value in reason for reason in reasons)]


def test_old_and_new_ways_to_write_values_are_the_same() -> None:
    """A-75, 5.1"""
    left = option(1, "k", last_updated="2023-06-22T00:00:00Z", value='{"a":1, "b":[]}')
    right = option(1, "k", last_updated="2023-06-22T00:00:00.000Z", value='{"b": [], "a": 1}')
    assert compare(source([left]), source([right])) == []


def test_every_field_of_the_catalogue_has_a_check_or_may_differ() -> None:
    """5.2"""
    for model in load_catalogue().values():
        covered = {field for field, _ in field_checks(model, {}, {})}
        rest = set(PASSWORD_FIELDS) if model.name == "sentry.user" else set()
        assert covered | rest == set(model.fields)


def test_findings_are_bounded() -> None:
    left = source([option(pk, f"{pk:05}", value=0) for pk in range(1, MAX_FINDINGS + 25)])
    right = source([option(pk, f"{pk:05}", value=1) for pk in range(1, MAX_FINDINGS + 25)])
    found = compare(left, right)
    assert len(found) == MAX_FINDINGS + 1
    assert found[-1].reason.startswith("24 more")


def test_known_pairs_match_records_that_nothing_else_would() -> None:
    left = source([option(1, "a"), option(2, "b")])
    right = source([option(8, "b"), option(9, "a")])
    assert compare(left, right, pairs={"sentry.option": {1: 9, 2: 8}}) == []
    assert len(compare(left, right, pairs={"sentry.option": {1: 8, 2: 9}})) == 2


def test_a_record_without_a_pair_is_told_unless_the_import_told_why() -> None:
    """B-4"""
    left, right = source([option(1, "a")]), source([])
    [finding] = compare(left, right, pairs={})
    assert (finding.kind, finding.pk) == (FindingKind.EXISTENCE, 1)
    told_of = Finding(FindingKind.DUPLICATE, "sentry.option", "Twice.", pk=1)
    assert compare(left, right, pairs={}, intended=Intended(CHANGES, [told_of])) == []


def test_a_record_that_nothing_stands_for_is_told() -> None:
    right = source([option(5, "new")])
    [finding] = compare(source([]), right, pairs={}, intended=Intended(CHANGES, []))
    assert finding.kind is FindingKind.UNEQUAL_COUNTS


@pytest.mark.parametrize(
    ("model", "field", "before", "after", "intended"),
    [
        ("sentry.user", "username", "ann", "ann-x7", True),
        ("sentry.user", "username", "ann", "bob", False),
        ("sentry.user", "username", "a" * 128, "a" * 125 + "-x7", True),
        ("sentry.user", "is_staff", True, False, True),
        ("sentry.user", "is_staff", False, True, False),
        ("sentry.organization", "status", 0, 3, True),
        ("sentry.organization", "status", 0, 2, False),
        ("sentry.organization", "slug", "Acme_Inc", "acme-inc", False),  # told by the import
        ("sentry.email", "email", "Ann@example.com", "ann@example.com", True),
        ("sentry.email", "email", "ann@example.com", "bob@example.com", False),
        ("sentry.projectkey", "public_key", "not hex", "not hex", True),
        ("sentry.projectkey", "public_key", "a" * 32, "b" * 32, False),
    ],
)
def test_only_what_a_rule_can_have_done_is_intended(
    model: str, field: str, before: object, after: object, intended: bool
) -> None:
    left, right = Record(model, 1, {field: before}), Record(model, 2, {field: after})
    pairs = {model: {1: 2}}
    found = compare(source([left]), source([right]), pairs=pairs, intended=Intended(CHANGES, []))
    assert ([finding.field for finding in found if finding.field == field] == []) is intended


def test_what_the_import_told_of_is_intended_for_that_record_alone() -> None:
    """I-62, I-71, B-6"""
    rename = Finding(FindingKind.RENAMED, "sentry.organization", "Renamed.", "slug", 1)
    intended = Intended(CHANGES, [rename])
    left = [Record("sentry.organization", pk, {"slug": f"Old_{pk}"}) for pk in (1, 2)]
    right = [Record("sentry.organization", pk, {"slug": f"new-{pk}"}) for pk in (1, 2)]
    pairs = {"sentry.organization": {1: 1, 2: 2}}
    found = compare(source(left), source(right), pairs=pairs, intended=intended)
    assert [finding.pk for finding in found] == [2]


def test_a_told_null_is_no_licence_for_another_value() -> None:
    """B-6"""
    nulled = Finding(FindingKind.NULLED_REFERENCE, "sentry.rule", "Gone.", "owner_user_id", 1)
    intended = Intended(CHANGES, [nulled])
    users = [user(4, "ann"), user(5, "bob")]
    left = [*users[:1], Record("sentry.rule", 1, {"owner_user_id": 3})]
    pairs = {"sentry.rule": {1: 1}, "sentry.user": {4: 4}}

    def found(owner: int | None) -> list[str | None]:
        right = [*users[:1], Record("sentry.rule", 1, {"owner_user_id": owner})]
        result = compare(source(left), source(right), pairs=pairs, intended=intended)
        return [finding.field for finding in result if finding.model == "sentry.rule"]

    assert found(None) == []
    assert found(4) == ["owner_user_id"]


@given(st.text(alphabet="ab-1", max_size=130), st.sampled_from([2, 3, 5, 12]))
def test_every_suffix_of_the_import_is_recognised(base: str, length: int) -> None:
    """I-90"""
    picked = base[: 128 - length - 1] + "-" + "z" * length if base else "0123456789ab"
    assert is_suffixed(base, picked)
    assert not is_suffixed(base, picked + "!")


def test_unchanged_records_may_stand_among_others() -> None:
    before, now = [option(1, "a")], [option(1, "a"), option(2, "b")]
    assert compare_unchanged(source(before), source(now)) == []


def test_a_change_and_a_loss_are_told_however_harmless_they_look() -> None:
    """W-17: a later date would pass an ordinary comparison."""
    date = {"date_added": "2023-06-22T00:00:00.000Z"}
    before = [Record("sentry.email", pk, {"email": f"{pk}@example.com", **date}) for pk in (1, 2)]
    now = [change(before[0], date_added="2024-06-22T00:00:00.000Z")]
    assert told(compare_unchanged(source(before), source(now))) == [
        (FindingKind.UNEQUAL, "sentry.email", "date_added"),
        (FindingKind.EXISTENCE, "sentry.email", None),
    ]


def test_the_example_covers_the_organization_scope() -> None:
    admitted = {model.name for model in load_catalogue().admitted(Scope.ORGANIZATION)}
    assert len(admitted & {record.model for record in EXAMPLE}) > 20
