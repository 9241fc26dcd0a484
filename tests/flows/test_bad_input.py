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


def members(sealed: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(sealed)) as tar:
        return {one.name: tar.extractfile(one).read() for one in tar.getmembers()}  # type: ignore[union-attr]


def tar_of(contents: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def tampered(service: Service) -> bytes:
    parts = members(service.seal(plain(example())))
    token = bytearray(parts["export.json"])
    token[len(token) // 2] ^= 1
    return tar_of({**parts, "export.json": bytes(token)})


def wrong_key(service: Service) -> bytes:
    return service.seal(plain(example()), public_key_of(create_private_key(2048)))


# One for each place that refuses; all that each of them refuses is tested beside it.
ARCHIVES: dict[str, tuple[Content, str]] = {
    "before it is opened": (lambda _: b"", "empty"),
    "as it is opened": (wrong_key, "key"),
    "while it is decrypted": (tampered, "changed after it was encrypted"),
    "while it is read": (lambda s: s.seal(plain(example())[:-20]), "cut off"),
    "when a value is converted": (
        lambda s: s.seal(plain(changed("sentry.team", date_added="yesterday"))),
        "date",
    ),
    "when a column is too narrow": (
        lambda s: s.seal(plain(changed("sentry.team", name="x" * 300))),
        "300",
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
    ("slug", "word"), [("$$##", "$$##"), ("nowhere", "nowhere")], ids=["request", "not in the file"]
)
def test_bad_slugs_fail_with_a_reason_and_one_mail(service: Service, slug: str, word: str) -> None:
    """A-108."""
    service.relocate(service.archive(example_export(organizations=1)), slug)
    assert_failed_well(service, word)


def test_an_archive_that_is_not_there_is_looked_for_again(service: Service) -> None:
    """A-106: some storages show a file late."""
    service.relocate("archives/late.tar", "acme")
    assert_failed_well(service, "no archive")
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
