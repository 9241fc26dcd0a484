"""PREPROCESSING: what the destination holds that an import must leave as it is."""

from relocation.archive.keys import public_key_of
from relocation.catalogue import Scope
from relocation.ledger.results import BaselineCaptured, CollidingUsersCaptured, ExportScanned
from relocation.ledger.tries import needed_result
from relocation.steps import Task
from relocation.transfer.database.exporting import export_records
from relocation.transfer.load.accounts import check_plan
from relocation.transfer.load.importing import bind
from relocation.transfer.load.naming import visible_form
from relocation.transfer.prepare.normalised import write_records
from tasks.relocation_task import Done, Work, relocation_task
from tasks.working_files import files_of


@relocation_task(Task.CAPTURE_BASELINE)
def capture_baseline(work: Work) -> Done:
    """Keep the destination's config-scope records, for the trial import to compare with.

    From here on this destination is the relocation's: every later task checks that it still is.
    """
    bind(work.resources.destination, work.hold.relocation_id, work.hold.fence)
    records = export_records(work.resources.destination, scope=Scope.CONFIG, privileged_only=True)
    write_records(
        work.resources.storage,
        files_of(Task.CAPTURE_BASELINE, work.hold),
        public_key_of(work.resources.private_key),
        records,
    )
    return Done(BaselineCaptured())


@relocation_task(Task.CAPTURE_COLLIDING_USERS)
def capture_colliding_users(work: Work) -> Done:
    """Keep the destination's users whose usernames the export uses too, or imitates (A-110).

    Those whom the plan names as well; a plan that this destination cannot obey is refused here.
    """
    names = needed_result(work.resources.ledger, work.relocation.id, ExportScanned).usernames
    named = check_plan(work.resources.destination, work.relocation.request.plan, names)
    records = export_records(
        work.resources.destination,
        scope=Scope.USER,
        usernames={*names, *map(visible_form, names), *named},
    )
    write_records(
        work.resources.storage,
        files_of(Task.CAPTURE_COLLIDING_USERS, work.hold),
        public_key_of(work.resources.private_key),
        records,
    )
    return Done(CollidingUsersCaptured())
