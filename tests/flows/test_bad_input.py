"""Every bad input ends as FAILURE with one clear reason and one mail, and changes nothing."""

import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from embedded_service import Service
from mail_parts import text_of

from relocation.archive.keys import create_private_key, public_key_of
from relocation.errors import MAX_REASON
from relocation.example import example_export
from relocation.ledger.outbox import notices_of
from relocation.ledger.tries import tries_of
from relocation.steps import Status, Task

Content = Callable[[Service], bytes]


def plain(records: object) -> bytes:
    return json.dumps(records).encode()


def example() -> list[dict[str, Any]]:
    return [record._asdict() for record in example_export(organizations=1)]


def changed(model: str, **fields: object) -> list[dict[str, Any]]:
    """The example with other fields in the first record of a model."""
    records = example()
    first = next(record for record in records if record["model"] == model)
    first["fields"] = {**first["fields"], **fields}
    return records


def element(**parts: object) -> list[dict[str, Any]]:
    """The example with one more element, of which some part is wrong."""
    whole = {"model": "sentry.team", "pk": 999, "fields": {}}
    return [*example(), {key: part for key, part in {**whole, **parts}.items() if part != "absent"}]


def members(sealed: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(sealed)) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar.getmembers()}  # type: ignore[union-attr]


def tar_of(contents: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return out.getvalue()


def without(service: Service, name: str) -> bytes:
    parts = members(service.seal(plain(example())))
    return tar_of({key: part for key, part in parts.items() if key != name})


def with_member(service: Service, name: str) -> bytes:
    return tar_of({**members(service.seal(plain(example()))), name: b"x"})


def with_symlink(service: Service) -> bytes:
    parts = members(service.seal(plain(example())))
    del parts["key.pub"]
    return tar_of(parts, {"key.pub": "/etc/passwd"})


def tampered(service: Service) -> bytes:
    parts = members(service.seal(plain(example())))
    token = bytearray(parts["export.json"])
    token[len(token) // 2] ^= 1
    return tar_of({**parts, "export.json": bytes(token)})


def wrong_key(service: Service) -> bytes:
    return service.seal(plain(example()), public_key_of(create_private_key(2048)))


ARCHIVES: dict[str, tuple[Content, str]] = {
    "file is empty": (lambda _: b"", "empty"),
    "not a tar": (lambda _: b"hello" * 400, "tar"),
    "truncated": (lambda s: s.seal(plain(example()))[:2000], "archive"),
    "a member is missing": (lambda s: without(s, "data.key"), "data.key"),
    "a member too many": (lambda s: with_member(s, "more.json"), "more.json"),
    "absolute path": (lambda s: with_member(s, "/etc/passwd"), "archive"),
    "symlink": (with_symlink, "archive"),
    "wrong key": (wrong_key, "key"),
    "tampered": (tampered, "changed after it was encrypted"),
    "not JSON": (lambda s: s.seal(b"[{]"), "JSON"),
    "cut-off JSON": (lambda s: s.seal(plain(example())[:-20]), "cut off"),
    "not a list": (lambda s: s.seal(b'{"model": 1}'), "list"),
    "an element that is no object": (lambda s: s.seal(b"[1]"), "1"),
    "no model": (lambda s: s.seal(plain(element(model="absent"))), "model"),
    "no pk": (lambda s: s.seal(plain(element(pk="absent"))), "pk"),
    "no fields": (lambda s: s.seal(plain(element(fields="absent"))), "fields"),
    "pk that is text": (lambda s: s.seal(plain(element(pk="12"))), "pk"),
    "huge pk": (lambda s: s.seal(plain(element(pk=2**70))), "too large"),
    "NUL": (lambda s: s.seal(plain(changed("sentry.team", name="a\0b"))), "sentry.team"),
    "lone surrogate": (
        lambda s: s.seal(plain(changed("sentry.team", name="a\ud800b"))),
        "",
    ),
    "a date that is none": (
        lambda s: s.seal(plain(changed("sentry.team", date_added="yesterday"))),
        "date",
    ),
    "a string too long": (
        lambda s: s.seal(plain(changed("sentry.team", name="x" * 300))),
        "300",
    ),
    "no users": (
        lambda s: s.seal(plain([r for r in example() if r["model"] != "sentry.user"])),
        "user",
    ),
}


def assert_failed_well(
    service: Service, word: str, *, recipient: str = "olivia@example.org"
) -> None:
    relocation = service.only()
    assert relocation.status == Status.FAILURE
    assert relocation.reason
    assert len(relocation.reason) <= MAX_REASON
    assert word.lower() in relocation.reason.lower()
    assert "on our side" not in relocation.reason
    assert not any(internal in relocation.reason for internal in ("Traceback", "Error", "site-"))
    failed = [n for n in notices_of(service.ledger, relocation.id) if n.kind == "FAILED"]
    assert [(notice.recipient, notice.state) for notice in failed] == [(recipient, "sent")]
    (mail,) = [
        m
        for m in service.inbox.messages()
        if m.message["To"].addresses[0].addr_spec == recipient
        and "fail" in m.message["Subject"].lower()
    ]
    text = text_of(mail.message)
    assert relocation.id in text
    assert "Traceback" not in text
    assert service.count("sentry.organization") == 0


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_bad_archive_fails_with_a_reason_and_one_mail(service: Service, name: str) -> None:
    """A-108, A-121."""
    content, word = ARCHIVES[name]
    slug = "acme"
    service.relocate(service.store(content(service)), slug)
    assert_failed_well(service, word)


@pytest.mark.parametrize(
    ("slugs", "word"),
    [
        ([], "at least one"),
        ([""], "slug"),
        (["$$##"], "$$##"),
        ([f"org-{n}" for n in range(200)], "200"),
        (["nowhere"], "nowhere"),
        (["a" * 5000], "slug"),
    ],
    ids=["none", "empty", "badly formed", "200", "not in the file", "endless"],
)
def test_bad_slugs_fail_with_a_reason_and_one_mail(
    service: Service, slugs: list[str], word: str
) -> None:
    """A-108."""
    archive = service.archive(example_export(organizations=1))
    service.relocate(archive, *slugs)
    assert_failed_well(service, word, recipient="olivia@example.org")


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("archives/nothing-here.tar", "no archive"),
        ("../../etc/passwd", "inside"),
        ("/etc/passwd", "key"),
        ("http://127.0.0.1:9/x", "inside"),
        ("", "key"),
    ],
)
def test_an_archive_that_cannot_be_opened_fails_with_a_reason(
    service: Service, key: str, word: str
) -> None:
    service.relocate(key, "acme")
    assert_failed_well(service, word)


def test_an_archive_that_is_not_there_is_looked_for_again(service: Service) -> None:
    """A-106: some storages show a file late."""
    service.relocate("archives/late.tar", "acme")
    tries = tries_of(service.ledger, service.only().id)
    assert [(one.task, one.outcome) for one in tries] == [(Task.RECEIVE_ARCHIVE, "FAILED")] * 4


def test_an_unknown_owner_fails_and_the_operator_is_told(service: Service) -> None:
    """A-127."""
    archive = service.archive(example_export(organizations=1))
    service.relocate(archive, "acme", owner="nobody")
    assert_failed_well(service, "nobody", recipient=service.settings.operator_email)


def test_a_request_of_the_wrong_shape_fails_and_the_operator_is_told(service: Service) -> None:
    from flows.relocate import relocate

    relocate({"archive": 5, "organizations": "acme"}, return_state=True)
    assert_failed_well(service, "must be text,", recipient=service.settings.operator_email)
