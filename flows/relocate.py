"""Relocate organizations from an archive or a live product into the destination database."""

from prefect import flow, get_run_logger

from flows.notify import notify
from relocation.request import RelocationRequest
from tasks.capture import capture_baseline, capture_colliding_users
from tasks.compare import try_import, verify_import
from tasks.complete import complete
from tasks.export_source import export_source
from tasks.hand_over import grant_ownership, reveal_organizations
from tasks.hook import settling_hook
from tasks.import_organizations import import_organizations
from tasks.receive import receive_archive
from tasks.resources import forget_hold
from tasks.scan import scan_export
from tasks.session import hold_relocation
from tasks.working_files import discard_working_files


def send_notices(relocation_id: str) -> None:
    """Send the relocation's notices; what fails stays in the outbox and changes nothing (W-42)."""
    try:
        notify(relocation_id, return_state=True)
    except Exception:  # noqa: BLE001 - whatever keeps its run from being created
        get_run_logger().exception("The notices of %s wait in the outbox", relocation_id)


settle_and_notify = settling_hook(send_notices)


@flow(
    name="relocate",
    persist_result=False,
    on_failure=[settle_and_notify],
    on_crashed=[settle_and_notify],
    on_cancellation=[settle_and_notify],
)
def relocate(request: RelocationRequest) -> None:
    """Move organizations out of an archive or a live product, and tell their owner.

    Each line below is a step that the ledger remembers: press **Retry** on a failed run, and the
    work goes on at the step that failed.
    """
    with hold_relocation(request, send_notices) as hold:
        if request.source is not None:
            export_source(hold)
        receive_archive(hold)
        scan_export(hold)
        send_notices(hold.relocation_id)
        capture_baseline(hold)
        capture_colliding_users(hold)
        try_import(hold)
        import_organizations(hold)
        verify_import(hold)
        grant_ownership(hold)
        reveal_organizations(hold)
        complete(hold)
    send_notices(hold.relocation_id)
    discard_working_files(hold, return_state=True)
    forget_hold(hold.relocation_id)
