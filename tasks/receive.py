"""UPLOADING: the request can be carried out, and the archive is there."""

from relocation.errors import MissingArchiveError, PersonError
from relocation.ledger.admission import admit, record_people
from relocation.notices.recipients import check_addresses
from relocation.request import RelocationRequest, check_request, check_size
from relocation.steps import Task
from relocation.text import one_line
from relocation.transfer.load.ownership import Person, find_user
from tasks.boundary import Done, Work, relocation_task


@relocation_task(Task.RECEIVE_ARCHIVE)
def receive_archive(work: Work) -> Done:
    """Read the addresses of owner and creator, check the request, and find the archive.

    The addresses are kept in the ledger, so that a failing destination cannot silence the mail.
    """
    request = work.relocation.request
    owner = find_user(work.opened.destination, request.owner)
    creator = find_user(work.opened.destination, request.creator or request.owner)
    record_people(
        work.opened.ledger,
        work.hold,
        owner.email if owner else None,
        creator.email if creator else None,
    )
    people = {
        "owner": _existing("owner", request.owner, owner),
        "creator": _existing("creator", request.creator or request.owner, creator),
    }
    check_addresses((role, one.username, one.email) for role, one in people.items())
    check_request(request, work.settings)
    size = _size(work, request)
    sizes, limit = work.settings.daily_limits.of(size)
    admit(work.opened.ledger, work.hold, size, sizes=sizes, limit=limit)
    work.log.info("The archive of relocation %s has %d bytes", work.hold.relocation_id, size)
    return Done({"bytes": size, "owner_id": people["owner"].id})


def _existing(role: str, username: str, person: Person | None) -> Person:
    if person is None:
        raise PersonError(
            f'The {role} "{one_line(username, limit=60)}" is no active user of the destination.'
        )
    return person


def _size(work: Work, request: RelocationRequest) -> int:
    try:
        with work.opened.storage.open(request.archive) as archive:
            size = archive.seek(0, 2)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as err:
        raise MissingArchiveError(
            f'There is no archive "{one_line(request.archive, limit=120)}" in the storage.'
        ) from err
    check_size(size, work.settings)
    return size
