"""The working form: what is written comes back, and nothing else does."""

from collections.abc import Callable

import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from dict_storage import DictStorage
from hypothesis import given, settings
from hypothesis import strategies as st

from relocation.archive.records import Record
from relocation.errors import ConfigurationError, PermanentError, TransientError
from relocation.transfer.prepare.normalised import (
    NormalisedWriter,
    delete_normalised,
    open_normalised,
    write_records,
)

PREFIX = "runs/1/normalised"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def private_pem(key: PrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def public_pem(key: PrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE, PUBLIC = private_pem(KEY), public_pem(KEY)


def projects(count: int, start: int = 1) -> list[Record]:
    return [
        Record("sentry.project", pk, {"name": f"project {pk}", "organization": 1})
        for pk in range(start, start + count)
    ]


def parts_of(storage: DictStorage) -> list[str]:
    return sorted(key for key in storage.objects if key.endswith(".part"))


def test_records_come_back_by_model_in_dependency_order(storage: DictStorage) -> None:
    records = [
        *projects(2),
        Record("sentry.user", 7, {"username": "olivia\n\u2028"}),
        Record("sentry.organization", 1, {"slug": "acme", "flags": "0"}),
    ]
    write_records(storage, PREFIX, PUBLIC, records, step="scan")

    form = open_normalised(storage, PREFIX, PRIVATE)

    assert form.models() == ["sentry.organization", "sentry.user", "sentry.project"]
    assert list(form.records("sentry.project")) == records[:2]
    assert list(form.records("sentry.user")) == records[2:3]
    assert list(form.records("sentry.team")) == []
    assert form.count("sentry.project") == 2
    assert form.facts == {"step": "scan"}


def test_records_can_be_read_twice(storage: DictStorage) -> None:
    write_records(storage, PREFIX, PUBLIC, projects(3))
    form = open_normalised(storage, PREFIX, PRIVATE)
    assert list(form.records("sentry.project")) == list(form.records("sentry.project"))


def test_an_empty_form_exists(storage: DictStorage) -> None:
    write_records(storage, PREFIX, PUBLIC, [])
    assert open_normalised(storage, PREFIX, PRIVATE).models() == []


@settings(max_examples=15, deadline=None)
@given(flags=st.lists(st.booleans(), max_size=40), part_records=st.integers(1, 9))
def test_exactly_the_selected_records_are_streamed(
    make_storage: Callable[[], DictStorage], flags: list[bool], part_records: int
) -> None:
    storage = make_storage()
    records = projects(len(flags))
    writer = NormalisedWriter(storage, PREFIX, PUBLIC, part_records=part_records)
    for record in records:
        writer.add(record)
    writer.close({"sentry.project": bytes(flags)})

    form = open_normalised(storage, PREFIX, PRIVATE)

    wanted = [record for record, flag in zip(records, flags, strict=True) if flag]
    assert list(form.records("sentry.project")) == wanted
    assert form.count("sentry.project") == len(wanted)
    assert form.models() == (["sentry.project"] if wanted else [])
    assert len(parts_of(storage)) == -(-len(flags) // part_records)


def test_a_selection_that_misses_records_is_refused(storage: DictStorage) -> None:
    writer = NormalisedWriter(storage, PREFIX, PUBLIC)
    writer.add(projects(1)[0])
    with pytest.raises(ValueError, match="flag for each record"):
        writer.close({"sentry.project": b""})


def test_natural_keys_are_replaced_where_their_username_is_known(storage: DictStorage) -> None:
    """T-13."""
    writer = NormalisedWriter(storage, PREFIX, PUBLIC)
    for pk, user in enumerate((["olivia"], ["stranger"], 9, None), start=1):
        writer.add(Record("sentry.organizationmember", pk, {"user_id": user, "role": ["olivia"]}))
    writer.close(None, {"olivia": 5})

    members = open_normalised(storage, PREFIX, PRIVATE).records("sentry.organizationmember")

    fields = [member.fields for member in members]
    assert [field["user_id"] for field in fields] == [5, ["stranger"], 9, None]
    assert [field["role"] for field in fields] == [["olivia"]] * 4  # no reference


def test_a_part_ends_at_its_size_in_bytes(storage: DictStorage) -> None:
    writer = NormalisedWriter(storage, PREFIX, PUBLIC, part_bytes=80)
    for record in projects(4):  # 41 bytes each
        writer.add(record)
    assert len(parts_of(storage)) == 2


def test_buffers_together_stay_within_their_bound(storage: DictStorage) -> None:
    """B-10: the fullest buffer is written out early, and every record still arrives."""
    writer = NormalisedWriter(storage, PREFIX, PUBLIC, buffer_bytes=1000)
    for pk in range(100):
        writer.add(Record("sentry.project", pk, {"name": "x" * 50}))
        writer.add(Record("sentry.team", pk, {"name": "x" * 10}))
    written = parts_of(storage)
    assert len(written) >= 7
    assert written[0].startswith(f"{PREFIX}/sentry.project/")
    writer.close()
    form = open_normalised(storage, PREFIX, PRIVATE)
    assert [record.pk for record in form.records("sentry.project")] == list(range(100))
    assert [record.pk for record in form.records("sentry.team")] == list(range(100))


def test_a_model_outside_the_catalogue_is_a_programming_error(storage: DictStorage) -> None:
    writer = NormalisedWriter(storage, PREFIX, PUBLIC)
    with pytest.raises(ValueError, match="not in the catalogue"):
        writer.add(Record("../escape", 1, {}))
    assert storage.objects == {}


def test_nothing_readable_lies_in_the_storage(storage: DictStorage) -> None:
    secret = "olivia@example.org"
    records = [Record("sentry.user", 1, {"email": secret})]
    write_records(storage, PREFIX, PUBLIC, records, usernames=[secret])
    assert not any(secret.encode() in data for data in storage.objects.values())


def test_the_form_exists_only_once_it_is_closed(storage: DictStorage) -> None:
    writer = NormalisedWriter(storage, PREFIX, PUBLIC, part_records=1)
    writer.add(projects(1)[0])
    assert parts_of(storage)
    with pytest.raises(TransientError):
        open_normalised(storage, PREFIX, PRIVATE)


def test_beginning_again_takes_the_former_form_away(storage: DictStorage) -> None:
    write_records(storage, PREFIX, PUBLIC, projects(2))
    NormalisedWriter(storage, PREFIX, PUBLIC)
    with pytest.raises(TransientError):
        open_normalised(storage, PREFIX, PRIVATE)


def test_a_rerun_replaces_what_a_killed_process_left(storage: DictStorage) -> None:
    killed = NormalisedWriter(storage, PREFIX, PUBLIC, part_records=1)
    for record in projects(3):
        killed.add(record)
    write_records(storage, PREFIX, PUBLIC, projects(1, start=50))
    form = open_normalised(storage, PREFIX, PRIVATE)
    assert [record.pk for record in form.records("sentry.project")] == [50]


def test_a_form_for_another_key_does_not_open(storage: DictStorage) -> None:
    write_records(storage, PREFIX, PUBLIC, projects(1))
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(ConfigurationError) as caught:
        open_normalised(storage, PREFIX, private_pem(other))
    assert "data key" in caught.value.internal


def test_a_key_that_is_not_rsa_is_a_matter_of_configuration(storage: DictStorage) -> None:
    elliptic = ec.generate_private_key(ec.SECP256R1())
    for bad in (public_pem(elliptic), "no key"):
        with pytest.raises(ConfigurationError):
            NormalisedWriter(storage, PREFIX, bad)
    write_records(storage, PREFIX, PUBLIC, projects(1))
    for bad in (private_pem(elliptic), "no key"):
        with pytest.raises(ConfigurationError):
            open_normalised(storage, PREFIX, bad)


@pytest.mark.parametrize("position", [0, 12, -1])
def test_a_changed_part_is_noticed(storage: DictStorage, position: int) -> None:
    write_records(storage, PREFIX, PUBLIC, projects(1))
    (key,) = parts_of(storage)
    changed = bytearray(storage.objects[key])
    changed[position] ^= 1
    storage.objects[key] = bytes(changed)
    with pytest.raises(PermanentError) as caught:
        list(open_normalised(storage, PREFIX, PRIVATE).records("sentry.project"))
    assert key in caught.value.internal
    assert key not in caught.value.reason


def test_an_exchanged_or_cut_part_is_noticed(storage: DictStorage) -> None:
    writer = NormalisedWriter(storage, PREFIX, PUBLIC, part_records=1)
    for record in projects(2):
        writer.add(record)
    writer.close()
    first, second = parts_of(storage)
    whole = storage.objects[first]
    for wrong in (storage.objects[second], whole[:20], whole[:5], b""):
        storage.objects[first] = wrong
        with pytest.raises(PermanentError):
            list(open_normalised(storage, PREFIX, PRIVATE).records("sentry.project"))


def test_a_missing_part_is_worth_another_try(storage: DictStorage) -> None:
    write_records(storage, PREFIX, PUBLIC, projects(1))
    (key,) = parts_of(storage)
    storage.delete(key)
    with pytest.raises(TransientError) as caught:
        list(open_normalised(storage, PREFIX, PRIVATE).records("sentry.project"))
    assert key in caught.value.internal


def test_a_damaged_manifest_is_noticed(storage: DictStorage) -> None:
    write_records(storage, PREFIX, PUBLIC, projects(1), count=1)
    key = f"{PREFIX}/manifest.json"
    good = storage.objects[key]
    foreign = orjson.loads(good) | {"sealed": "AAAA"}
    for bad in (good[:50], b"[]", b"{}", orjson.dumps(foreign)):
        storage.objects[key] = bad
        with pytest.raises(PermanentError):
            open_normalised(storage, PREFIX, PRIVATE)


def test_deleting_removes_everything_and_may_be_repeated(storage: DictStorage) -> None:
    storage.write("runs/2/other", b"stays")
    writer = NormalisedWriter(storage, PREFIX, PUBLIC, part_records=1)
    for record in projects(3):
        writer.add(record)
    writer.close()
    delete_normalised(storage, PREFIX)
    delete_normalised(storage, PREFIX)
    assert list(storage.objects) == ["runs/2/other"]


def test_deleting_removes_the_parts_of_a_killed_process(storage: DictStorage) -> None:
    killed = NormalisedWriter(storage, PREFIX, PUBLIC, part_records=1)
    for record in projects(3):
        killed.add(record)
    assert len(parts_of(storage)) == 3
    delete_normalised(storage, PREFIX)
    assert storage.objects == {}


def test_deleting_removes_parts_that_the_manifest_does_not_name(storage: DictStorage) -> None:
    killed = NormalisedWriter(storage, PREFIX, PUBLIC, part_records=1)
    for record in projects(4):
        killed.add(record)
    write_records(storage, PREFIX, PUBLIC, projects(1))
    delete_normalised(storage, PREFIX)
    assert storage.objects == {}


def test_deleting_goes_on_where_a_killed_deletion_stopped(storage: DictStorage) -> None:
    writer = NormalisedWriter(storage, PREFIX, PUBLIC, part_records=1)
    for record in projects(3):
        writer.add(record)
    writer.close()

    class Dying(DictStorage):
        def delete(self, key: str) -> None:
            if key.endswith("1.part"):
                raise OSError
            super().delete(key)

    dying = Dying()
    dying.objects = storage.objects
    with pytest.raises(OSError):
        delete_normalised(dying, PREFIX)
    assert len(parts_of(storage)) == 2
    delete_normalised(storage, PREFIX)
    assert storage.objects == {}


def test_discarding_leaves_nothing(storage: DictStorage) -> None:
    writer = NormalisedWriter(storage, PREFIX, PUBLIC, part_records=1)
    for record in projects(3):
        writer.add(record)
    writer.discard()
    assert storage.objects == {}
