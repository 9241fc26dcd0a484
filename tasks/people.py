"""Who asks for a relocation and whom it is for, found before any work is done for them."""

from dataclasses import dataclass

from relocation.database import database_now
from relocation.errors import PersonError
from relocation.ledger.admission import record_people
from relocation.notices.recipients import check_addresses
from relocation.request import check_request
from relocation.text import one_line
from relocation.transfer.load.ownership import Person, find_user
from tasks.relocation_task import Work


@dataclass(frozen=True)
class People:
    """Owner and creator, as users of the destination."""

    owner: Person
    creator: Person


def resolve_people(work: Work) -> People:
    """Keep the addresses of owner and creator in the ledger, and check them and the request.

    In this order: what is refused can then be told. Idempotent; raises PermanentError.
    """
    request = work.relocation.request
    owner = find_user(work.resources.destination, request.owner)
    creator = find_user(work.resources.destination, request.creator or request.owner)
    ledger = work.resources.ledger
    record_people(
        ledger,
        work.hold,
        owner.email if owner else None,
        creator.email if creator else None,
        database_now(ledger),
    )
    people = People(
        owner=_existing("owner", request.owner, owner),
        creator=_existing("creator", request.creator or request.owner, creator),
    )
    check_addresses(
        (role, person.username, person.email)
        for role, person in (("owner", people.owner), ("creator", people.creator))
    )
    check_request(request, work.settings)
    return people


def _existing(role: str, username: str, person: Person | None) -> Person:
    if person is None:
        raise PersonError(
            f'The {role} "{one_line(username, limit=60)}" is not an active user of the destination.'
        )
    return person
