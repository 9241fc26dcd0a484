"""UPLOADING: the request can be carried out, and the archive is there."""

from relocation.database import database_now
from relocation.errors import MissingArchiveError
from relocation.ledger.admission import admit
from relocation.ledger.results import ArchiveReceived
from relocation.request import check_size
from relocation.steps import Task
from relocation.text import one_line
from tasks.people import resolve_people
from tasks.relocation_task import Done, Work, relocation_task


@relocation_task(Task.RECEIVE_ARCHIVE)
def receive_archive(work: Work) -> Done:
    """Read the addresses of owner and creator, check the request, and find the archive.

    The addresses are kept in the ledger, so that a failing destination cannot silence the mail.
    """
    people = resolve_people(work)
    size = _size(work, work.relocation.archive)
    sizes, limit = work.settings.daily_limits.of(size)
    ledger = work.resources.ledger
    admit(ledger, work.hold, size, sizes=sizes, limit=limit, now=database_now(ledger))
    work.log.info("The archive of relocation %s has %d bytes", work.hold.relocation_id, size)
    return Done(ArchiveReceived(size, people.owner.id))


def _size(work: Work, key: str) -> int:
    try:
        with work.resources.storage.open(key) as archive:
            size = archive.seek(0, 2)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as err:
        raise MissingArchiveError(
            f'There is no archive "{one_line(key, limit=120)}" in the storage.'
        ) from err
    check_size(size, work.settings)
    return size
