"""UPLOADING: what is to be moved is exported out of a live product."""

from tempfile import TemporaryFile

from relocation.archive.keys import public_key_of
from relocation.errors import MissingOrganizationError
from relocation.steps import Task
from relocation.text import listed
from relocation.transfer.live import export_live
from relocation.transfer.prepare.origin import host_of
from tasks.boundary import Done, Work, relocation_task
from tasks.people import meet_people


@relocation_task(Task.EXPORT_SOURCE)
def export_source(work: Work) -> Done:
    """Export the organizations as they are at one moment, encrypted; the source is only read.

    The archive appears in the storage when it is whole. A try that was interrupted leaves nothing,
    and the next one begins with a moment of its own.
    """
    meet_people(work)
    relocation = work.relocation
    with TemporaryFile(prefix="relocation-") as archive:
        taken = export_live(
            work.opened.source,
            relocation.organizations,
            public_key_of(work.opened.private_key),
            archive,
            max_bytes=work.settings.max_archive_bytes,
        )
        missing = sorted(set(relocation.organizations) - taken.slugs)
        if missing:
            raise MissingOrganizationError(
                f"These organizations are not in the live source: {listed(missing, show=5)}."
            )
        size = archive.seek(0, 2)
        work.opened.storage.write_file(relocation.archive, archive)
    work.log.info("Exported %d records, %d bytes", taken.records, size)
    # An export of organizations has no settings of the installation.
    host = host_of(work.opened.source)
    return Done({"records": taken.records, "bytes": size, "old_host": host})
