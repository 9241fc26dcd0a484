"""POSTPROCESSING and REVEALING: the organizations get their owner and become visible."""

from relocation.errors import PersonError
from relocation.ledger.results import ArchiveReceived, OrganizationsRevealed, OwnershipGranted
from relocation.ledger.tries import needed_result
from relocation.steps import Task
from relocation.transfer.load.ownership import find_user
from relocation.transfer.load.ownership import grant_ownership as grant
from relocation.transfer.load.ownership import reveal_organizations as reveal
from tasks.relocation_task import Done, Work, relocation_task


@relocation_task(Task.GRANT_OWNERSHIP)
def grant_ownership(work: Work) -> Done:
    """Make the requesting user an owner of each imported organization; idempotent (A-117).

    The one whom the username named when the relocation began: the name may be another's by now.
    """
    received = needed_result(work.resources.ledger, work.relocation.id, ArchiveReceived)
    owner = find_user(work.resources.destination, work.relocation.owner)
    if owner is None or owner.id != received.owner_id:
        raise PersonError("The owner named in the request is no longer a user here.")
    grant(
        work.resources.destination, work.hold.relocation_id, work.hold.fence, work.relocation.owner
    )
    return Done(OwnershipGranted())


@relocation_task(Task.REVEAL_ORGANIZATIONS)
def reveal_organizations(work: Work) -> Done:
    """Make the imported organizations visible; idempotent (A-118)."""
    asked = reveal(work.resources.destination, work.hold.relocation_id, work.hold.fence)
    work.log.info("The product was asked for %d mappings of what was revealed", asked)
    return Done(OrganizationsRevealed(asked))
