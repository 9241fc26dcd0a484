"""Send what is due in the outbox."""

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from relocation.blocks import load_ledger, load_mail_server
from relocation.notices.building import Branding
from relocation.notices.delivery import deliver_due
from relocation.notices.rendering import load_templates
from relocation.process import worker_name
from relocation.settings import Settings


@task(cache_policy=NO_CACHE, persist_result=False)
def deliver_notices(relocation_id: str | None = None) -> None:
    """Build, commit and send each due notice; safe to run several times at once."""
    settings = Settings()
    with load_mail_server(settings).mailer(settings.sender_email) as mailer:
        report = deliver_due(
            load_ledger(settings),
            mailer,
            load_templates(settings.templates),
            Branding.of(settings),
            claimed_by=worker_name(),
            relocation_id=relocation_id,
        )
    log = get_run_logger()
    log.info("Notices: %d sent, %d to be tried again", report.sent, report.retry)
    if report.failed or report.unknown:
        log.error(
            "Notices: %d undeliverable, %d with an unknown outcome", report.failed, report.unknown
        )
