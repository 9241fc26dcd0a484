"""UPLOADING: what is to be moved is exported out of a live product."""

from tempfile import TemporaryFile

from relocation.archive.keys import public_key_of
from relocation.errors import MissingOrganizationError
from relocation.ledger.results import SourceExported
from relocation.steps import Task
from relocation.text import listed
from relocation.transfer.live import export_live
from relocation.transfer.prepare.origin import host_of
from tasks.people import resolve_people
from tasks.relocation_task import Done, Work, relocation_task


@relocation_task(Task.EXPORT_SOURCE)
def export_source(work: Work) -> Done:
    """Export the organizations as they are at one moment, encrypted; the source is only read.

    The archive appears in the storage when it is whole. A try that was interrupted leaves nothing,
    and the next one begins with a moment of its own.
    """
    resolve_people(work)
    relocation = work.relocation
    with TemporaryFile(prefix="relocation-") as archive:
        exported = export_live(
            work.resources.source,
            relocation.organizations,
            public_key_of(work.resources.private_key),
            archive,
            max_bytes=work.settings.max_archive_bytes,
        )
        missing = sorted(set(relocation.organizations) - exported.slugs)
        if missing:
            raise MissingOrganizationError(
                f"These organizations are not in the live source: {listed(missing, show=5)}."
            )
        size = archive.seek(0, 2)
        work.resources.storage.write_file(relocation.archive, archive)
    work.log.info("Exported %d records, %d bytes", exported.records, size)
    # An export of organizations has no settings of the installation.
    host = host_of(work.resources.source)
    return Done(SourceExported(exported.records, size, host))
