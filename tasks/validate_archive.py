"""Look into an archive of the storage, for whoever asks before a relocation."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from relocation.errors import EncryptionError, MissingArchiveError
from relocation.prefect_api.blocks import load_private_key, load_storage
from relocation.request import RelocationRequest, check_request
from relocation.settings import Settings
from relocation.text import counted, one_line
from relocation.transfer.dry_run.inspection import Inspection, inspect_archive


@task(cache_policy=NO_CACHE, persist_result=False)
def examine_archive(archive: str, organizations: Sequence[str], settings: Settings) -> None:
    """Show what the archive holds; raises PermanentError with the reason where it would be refused.

    Makes every check of a relocation that needs no destination, and rehearses the import.
    """
    request = RelocationRequest(archive=archive, organizations=list(organizations), owner="")
    check_request(request, settings)
    with NamedTemporaryFile(prefix="relocation-") as copy:
        try:
            with load_storage(settings).open(archive) as stored:
                shutil.copyfileobj(stored, copy)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as err:
            raise MissingArchiveError(
                f'There is no archive "{one_line(archive, limit=120)}" in the storage.'
            ) from err
        copy.flush()
        found = inspect_archive(
            Path(copy.name),
            private_pem=load_private_key(settings),
            wanted=organizations,
            settings=settings,
            progress=lambda _model, _records: None,
        )
    key = settings.named("relocation-validation")
    create_markdown_artifact(_described(found), key=key, _sync=True)  # type: ignore[call-arg]
    if found.refusal:
        raise found.refusal
    if not found.encrypted and not settings.accept_plain_exports:
        raise EncryptionError("The archive is an unencrypted export.")


def _described(found: Inspection) -> str:
    """Return numbers and slugs alone: names and addresses are nobody's business here."""
    moved = {one.pk for one in found.scan.organizations} if found.scan else set()
    slugs = [slug for pk, (slug, _) in found.contents.organizations.items() if pk in moved]
    records = sum(found.scan.selected.values()) if found.scan else 0
    lines = [
        f"# {'Refused' if found.reason else 'Would be accepted'}",
        "",
        *([one_line(found.reason, limit=500), ""] if found.reason else []),
        f"- Format: {found.format}, {counted(found.size, 'byte')}.",
        f"- To be moved: {', '.join(f'`{one}`' for one in slugs) or 'nothing'}; "
        f"{counted(records, 'record')}.",
        f"- {counted(len(found.findings), 'finding')} about records that are left out or changed.",
    ]
    return "\n".join(lines)
