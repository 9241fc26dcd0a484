"""The scan of an export: what it keeps, what it reports, and what it refuses."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from dict_storage import DictStorage
from hypothesis import given, settings
from hypothesis import strategies as st

from relocation.archive.records import Record
from relocation.errors import MAX_REASON, PermanentError, TransientError
from relocation.findings import Finding, FindingKind
from relocation.transfer.prepare.normalised import open_normalised
from relocation.transfer.prepare.scan import ScanReport, scan_export

PREFIX = "runs/1/normalised"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = (
    KEY.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
PRIVATE = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()


def record(model: str, pk: int, **fields: object) -> Record:
    return Record(model if "." in model else f"sentry.{model}", pk, fields)


EXPORT = [
    record("organization", 1, slug="acme", name="Acme"),
    record("organization", 2, slug="other", name="Other"),
    record("user", 11, username="olivia", email="olivia@example.org"),
    record("user", 12, username="oscar", email="oscar@example.org"),
    record("user", 13, username="adele", email="adele@example.org"),
    record("organizationmember", 21, organization=1, user_id=11),
    record("organizationmember", 22, organization=2, user_id=12),
    record("organizationmember", 23, organization=1, user_id=13),
    record("project", 31, organization=1, name="One"),
    record("project", 32, organization=2, name="Two"),
    record("project", 33, organization=1, name="Three"),
]


def scan(
    records: Iterable[Record],
    storage: DictStorage,
    *,
    wanted: Sequence[str] | None = ("acme",),
    max_organizations: int = 20,
    max_users: int = 2000,
) -> ScanReport:
    return scan_export(
        records,
        wanted=wanted,
        max_organizations=max_organizations,
        max_users=max_users,
        storage=storage,
        prefix=PREFIX,
        public_pem=PUBLIC,
    )


def refusal(
    records: Iterable[Record],
    storage: DictStorage,
    *,
    wanted: Sequence[str] = ("acme",),
    max_organizations: int = 20,
    max_users: int = 2000,
) -> str:
    """Return the reason of a refused scan, having checked that nothing is left of it."""
    with pytest.raises(PermanentError) as caught:
        scan(
            records,
            storage,
            wanted=wanted,
            max_organizations=max_organizations,
            max_users=max_users,
        )
    assert storage.objects == {}
    return caught.value.reason


def kept(storage: DictStorage) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the records of the form as a set of model and pk, and their fields."""
    form = open_normalised(storage, PREFIX, PRIVATE)
    return {(item.model, item.pk): item.fields for m in form.models() for item in form.records(m)}


def test_the_form_holds_the_wanted_records_alone(storage: DictStorage) -> None:
    scan(EXPORT, storage)
    assert set(kept(storage)) == {
        ("sentry.organization", 1),
        ("sentry.user", 11),
        ("sentry.user", 13),
        ("sentry.organizationmember", 21),
        ("sentry.organizationmember", 23),
        ("sentry.project", 31),
        ("sentry.project", 33),
    }


def test_the_report_names_organizations_and_users(storage: DictStorage) -> None:
    """A-107: usernames are sorted."""
    report = scan(EXPORT, storage)
    assert [(found.pk, found.slug, found.name) for found in report.organizations] == [
        (1, "acme", "Acme")
    ]
    assert report.usernames == ("adele", "olivia")
    assert report.read["sentry.project"] == 3
    assert report.selected["sentry.project"] == 2
    assert report.skipped["sentry.project"] == {FindingKind.NOT_REQUESTED: 1}
    assert report.findings == ()


def test_a_later_process_reads_the_report_in_the_facts_of_the_form(storage: DictStorage) -> None:
    report = scan([*EXPORT, record("unknown", 1)], storage)
    facts = open_normalised(storage, PREFIX, PRIVATE).facts
    assert facts.items() >= report.as_json().items()
    assert facts["organizations"] == [{"pk": 1, "slug": "acme", "name": "Acme"}]
    assert facts["skipped"]["sentry.unknown"] == {"UnknownModel": 1}
    assert [finding["kind"] for finding in facts["findings"]] == ["UnknownModel"]


def test_groups_may_come_in_any_order_and_in_several_runs(
    make_storage: Callable[[], DictStorage],
) -> None:
    """T-12, W-20, A-47."""
    straight, other = make_storage(), make_storage()
    first = scan(EXPORT, straight)
    second = scan([*EXPORT[1::2], *EXPORT[::-2]], other)
    assert kept(straight) == kept(other)
    assert first == second


def test_models_out_of_scope_are_counted_and_left_out(storage: DictStorage) -> None:
    report = scan([*EXPORT, record("option", 1, key="a"), record("apikey", 2)], storage)
    assert report.skipped["sentry.option"] == {FindingKind.OUT_OF_SCOPE: 1}
    assert report.skipped["sentry.apikey"] == {FindingKind.OUT_OF_SCOPE: 1}
    assert report.findings == ()
    assert not {model for model, _ in kept(storage)} & {"sentry.option", "sentry.apikey"}


LEFT = [
    record("authenticator", 61, user=11),
    record("authenticator", 62, user=12),
    record("authenticator", 63, user=13),
    record("authenticator", 64, user=["oscar"]),
    record("authenticator", 65, user=["adele"]),
    record("integration", 71),
    record("option", 72, key="a"),
    record("widget", 81, project_id=31),
    record("widget", 82, project_id=32),
    record("widget", 83, organization=2),
    record("widget", 84, whose=1),
    record("project", 33, organization=1, name="Again"),
    record("project", 32, organization=2, name="Again"),
    record("project", 34, organization=1, mood={"a": 1}),
    record("project", 35, organization=2, mood={"a": 1}),
]


def test_what_others_left_behind_is_no_part_of_what_an_owner_is_told(storage: DictStorage) -> None:
    """Nobody's numbers but one's own: counts of other tenants are a leak."""
    report = scan([*EXPORT, *LEFT], storage)
    assert report.skipped["sentry.authenticator"] == {FindingKind.OUT_OF_SCOPE: 5}
    assert report.left_behind == {
        "sentry.authenticator": {FindingKind.OUT_OF_SCOPE: 3},
        "sentry.widget": {FindingKind.UNKNOWN_MODEL: 1},
        "sentry.project": {FindingKind.REPEATED_RECORD: 1},
    }
    assert report.lost_fields == (("sentry.project", "mood", 1),)


def test_what_nothing_says_the_owner_of_is_told_where_all_of_the_file_is_moved(
    storage: DictStorage,
) -> None:
    report = scan([*EXPORT, *LEFT], storage, wanted=None)
    assert report.left_behind["sentry.integration"] == {FindingKind.OUT_OF_SCOPE: 1}
    assert report.left_behind["sentry.widget"] == {FindingKind.UNKNOWN_MODEL: 4}
    assert report.left_behind["sentry.authenticator"] == {FindingKind.OUT_OF_SCOPE: 5}


def test_actions_of_an_integration_or_app_are_out_of_scope_with_their_projects(
    storage: DictStorage,
) -> None:
    """S-4: the projects may come first."""
    report = scan(
        [
            record("notificationactionproject", 51, action=41, project=31),
            record("notificationactionproject", 52, action=42, project=31),
            record("notificationactionproject", 53, action=43, project=31),
            *EXPORT,
            record("notificationaction", 41, organization=1, integration_id=7),
            record("notificationaction", 42, organization=1, sentry_app_id=7),
            record("notificationaction", 43, organization=1, integration_id=None),
        ],
        storage,
    )
    assert report.skipped["sentry.notificationaction"] == {FindingKind.OUT_OF_SCOPE: 2}
    assert report.skipped["sentry.notificationactionproject"] == {FindingKind.OUT_OF_SCOPE: 2}
    mine = {FindingKind.OUT_OF_SCOPE: 2}
    assert report.left_behind == {
        "sentry.notificationaction": mine,
        "sentry.notificationactionproject": mine,
    }
    pairs = {pair for pair in kept(storage) if "action" in pair[0]}
    assert pairs == {("sentry.notificationaction", 43), ("sentry.notificationactionproject", 53)}


def test_unknown_models_are_reported_once_each(storage: DictStorage) -> None:
    report = scan([*EXPORT, *(record("group", pk) for pk in range(3))], storage)
    assert report.findings == (
        Finding(
            FindingKind.UNKNOWN_MODEL,
            "sentry.group",
            "3 records left out: this version does not know the model.",
        ),
    )
    assert report.read["sentry.group"] == 3


def test_every_row_of_a_removed_model_is_left_out(storage: DictStorage) -> None:
    """T-15, W-21: neighbours too."""
    removed = [
        record("organizationmapping", 1),
        record("organizationmapping", 2),
        record("sites.site", 3),
        record("organizationmapping", 4),
    ]
    report = scan([*removed[:3], *EXPORT, removed[3]], storage)
    assert report.skipped["sentry.organizationmapping"] == {FindingKind.REMOVED_MODEL: 3}
    assert report.skipped["sites.site"] == {FindingKind.REMOVED_MODEL: 1}
    assert [(finding.kind, finding.model) for finding in report.findings] == [
        (FindingKind.REMOVED_MODEL, "sentry.organizationmapping"),
        (FindingKind.REMOVED_MODEL, "sites.site"),
    ]
    assert not any("mapping" in model for model, _ in kept(storage))


def test_unknown_and_removed_fields_are_stripped_and_reported_once_each(
    storage: DictStorage,
) -> None:
    """T-15."""
    teams = [
        record(
            "team",
            pk,
            organization=1,
            slug="t",
            actor=pk,
            org_role="owner",
            mood=["good"],
            tone="a",
        )
        for pk in (41, 42)
    ]
    report = scan([*EXPORT, *teams], storage)
    assert [(finding.kind, finding.field) for finding in report.findings] == [
        (FindingKind.UNKNOWN_FIELD, "mood"),
        (FindingKind.REMOVED_FIELD, "org_role"),
    ]
    assert all("2 records" in finding.reason for finding in report.findings)
    # A plain value goes on: the import sees whether a column takes it.
    assert kept(storage)["sentry.team", 41] == {"organization": 1, "slug": "t", "tone": "a"}
    assert "mood" in teams[0].fields  # the caller's record is left alone


def test_an_absent_field_is_no_matter(storage: DictStorage) -> None:
    """T-15: the import supplies defaults."""
    assert scan([*EXPORT, record("team", 41, organization=1)], storage).findings == ()


def test_findings_do_not_grow_with_the_file(storage: DictStorage) -> None:
    strangers = [record(f"model{pk}", pk) for pk in range(1000)]
    fields = {f"field{number}": 1 for number in range(1000)}
    report = scan([*EXPORT, *strangers, record("team", 1, organization=1, **fields)], storage)
    assert len(report.findings) < 450
    assert len(report.read) < 250
    unknown = sum(counts.get(FindingKind.UNKNOWN_MODEL, 0) for counts in report.skipped.values())
    assert unknown == 1000


def test_the_later_of_two_records_with_one_pk_is_dropped_and_reported(storage: DictStorage) -> None:
    report = scan([*EXPORT, record("project", 33, organization=1, name="Again")], storage)
    assert kept(storage)["sentry.project", 33]["name"] == "Three"
    assert report.skipped["sentry.project"] == {
        FindingKind.REPEATED_RECORD: 1,
        FindingKind.NOT_REQUESTED: 1,
    }
    (finding,) = report.findings
    assert (finding.kind, finding.pk) == (FindingKind.REPEATED_RECORD, 33)


def test_natural_keys_become_integers(storage: DictStorage) -> None:
    """T-13: even where the users come later."""
    member = record("organizationmember", 24, organization=1, user_id=["oscar"], inviter_id=["x"])
    report = scan([member, *EXPORT], storage)
    assert report.usernames == ("adele", "olivia", "oscar")
    fields = kept(storage)["sentry.organizationmember", 24]
    assert fields["user_id"] == 12
    assert fields["inviter_id"] == ["x"]


def test_an_export_without_users_is_refused_first(storage: DictStorage) -> None:
    """A-108; 6.4.3: before the slugs are looked for."""
    without = [item for item in EXPORT if item.model != "sentry.user"]
    reason = refusal(without, storage, wanted=["nowhere"])
    assert reason.startswith("The export contains no users")


def test_missing_slugs_are_listed_sorted_with_what_there_is(storage: DictStorage) -> None:
    """A-108; before the limits."""
    reason = refusal(
        EXPORT, storage, wanted=["zeta", "acme", "beta"], max_organizations=1, max_users=0
    )
    assert reason == "These organizations are not in the export: beta, zeta."


def test_part_of_a_slug_is_not_the_slug(storage: DictStorage) -> None:
    """W-12."""
    assert "not in the export: ac." in refusal(EXPORT, storage, wanted=["ac"])


def test_what_else_the_export_holds_is_for_the_operator_alone(storage: DictStorage) -> None:
    """A whole instance's export holds other people's organizations."""
    with pytest.raises(PermanentError) as caught:
        scan(EXPORT, storage, wanted=["zeta"])
    assert "other" not in caught.value.reason
    assert "other" in caught.value.internal


def test_many_missing_slugs_keep_the_reason_short(storage: DictStorage) -> None:
    """W-4."""
    organizations = [record("organization", 100 + n, slug=f"held-{n:03}") for n in range(300)]
    wanted = [f"missing-{number:03}" for number in range(300)]
    reason = refusal([*EXPORT, *organizations], storage, wanted=wanted)
    assert len(reason) <= MAX_REASON
    assert "missing-000, " in reason
    assert "and 295 more" in reason
    assert "held-299" not in reason


def test_too_many_organizations_are_refused_with_their_number(storage: DictStorage) -> None:
    """A-108; before the users are counted."""
    reason = refusal(EXPORT, storage, wanted=["acme", "other"], max_organizations=1, max_users=0)
    assert reason == "2 organizations were requested, but one relocation can move at most 1."


def test_too_many_users_are_refused_with_their_number(storage: DictStorage) -> None:
    """A-108."""
    reason = refusal(EXPORT, storage, max_users=1)
    assert reason.startswith("The organizations have 2 members in total,")
    assert "at most 1." in reason


def test_limits_may_be_reached(storage: DictStorage) -> None:
    report = scan(EXPORT, storage, max_organizations=1, max_users=2)
    assert len(report.usernames) == 2


def test_slugs_asked_for_twice_count_once(storage: DictStorage) -> None:
    report = scan(EXPORT, storage, wanted=["acme", "acme"], max_organizations=1)
    assert len(report.organizations) == 1


@pytest.mark.parametrize(
    "fields",
    [{"organization": 2**63}, {"organization": 1, "platform": 2**64}, {"name": "\ud800"}],
    ids=["reference", "number", "text"],
)
def test_a_value_that_no_database_takes_is_refused_with_its_record(
    storage: DictStorage, fields: dict[str, object]
) -> None:
    reason = refusal([*EXPORT, record("project", 77, **fields)], storage)
    assert reason.startswith("The export's sentry.project 77 contains a value that can't be stored")


def test_an_export_that_turns_out_unreadable_leaves_nothing(storage: DictStorage) -> None:
    def broken() -> Iterator[Record]:
        yield from EXPORT
        raise PermanentError("The export is not valid JSON.")

    assert refusal(broken(), storage) == "The export is not valid JSON."


def test_a_refused_scan_takes_a_former_form_away(storage: DictStorage) -> None:
    scan(EXPORT, storage)
    refusal(EXPORT, storage, wanted=["nowhere"])


def test_a_killed_scan_leaves_no_form_and_can_be_run_again(storage: DictStorage) -> None:
    def killed() -> Iterator[Record]:
        yield from EXPORT
        raise KeyboardInterrupt

    scan(EXPORT, storage)
    with pytest.raises(KeyboardInterrupt):
        scan(killed(), storage)
    with pytest.raises(TransientError):
        open_normalised(storage, PREFIX, PRIVATE)
    scan(EXPORT, storage)
    assert ("sentry.project", 31) in kept(storage)


def test_an_alert_action_that_needs_an_integration_is_out_of_scope(storage: DictStorage) -> None:
    """S-4: the mails to members and teams are not."""
    report = scan(
        [
            *EXPORT,
            record("alertrule", 1, organization=1),
            record("alertruletrigger", 1, alert_rule=1),
            record("alertruletriggeraction", 1, alert_rule_trigger=1, type=0, target_type=2),
            record("alertruletriggeraction", 2, alert_rule_trigger=1, type=2, integration_id=7),
        ],
        storage,
    )
    assert report.skipped["sentry.alertruletriggeraction"] == {FindingKind.OUT_OF_SCOPE: 1}
    assert ("sentry.alertruletriggeraction", 1) in kept(storage)


ANYTHING = st.builds(
    Record,
    model=st.sampled_from(
        [
            "sentry.organization",
            "sentry.user",
            "sentry.organizationmember",
            "sentry.project",
            "sentry.snubaquery",
            "sentry.notificationaction",
            "sentry.notificationactionproject",
            "sentry.email",
            "sentry.useremail",
            "sentry.option",
            "sentry.organizationmapping",
            "sentry.stranger",
        ]
    ),
    pk=st.integers(1, 4),
    fields=st.fixed_dictionaries(
        {},
        optional={
            "organization": st.integers(1, 3),
            "user_id": st.one_of(st.integers(11, 13), st.just(["olivia"])),
            "integration_id": st.sampled_from([None, 1]),
            "action": st.integers(1, 4),
            "email": st.sampled_from(["olivia@example.org", "x@example.org"]),
            "stranger": st.none(),
        },
    ),
)


@settings(max_examples=15, deadline=None)
@given(extra=st.lists(ANYTHING, max_size=30))
def test_every_record_is_accounted_for(
    make_storage: Callable[[], DictStorage], extra: list[Record]
) -> None:
    """B-4."""
    storage = make_storage()
    report = scan([*EXPORT, *extra], storage)
    assert report.read == Counter(item.model for item in [*EXPORT, *extra])
    for model, count in report.read.items():
        skipped = sum(report.skipped.get(model, {}).values())
        assert count == report.selected.get(model, 0) + skipped
    assert Counter(model for model, _ in kept(storage)) == report.selected
