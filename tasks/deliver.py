"""Send what is due in the outbox."""

from contextlib import nullcontext

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.concurrency.sync import concurrency

from relocation.delivery.deliver import Post, deliver_due
from relocation.ledger.dispatch import Terms
from relocation.notices.building import Branding
from relocation.notices.rendering import load_templates
from relocation.prefect_api.blocks import load_mail_server
from relocation.process import worker_name
from relocation.settings import Settings
from tasks.artifacts import show_notices
from tasks.held import opened_for


@task(cache_policy=NO_CACHE, persist_result=False)
def deliver_notices(relocation_id: str | None = None) -> None:
    """Build and send each due notice; safe to run several times at once."""
    settings = Settings()
    server = load_mail_server(settings)
    turn = concurrency(settings.mail_limit) if settings.mail_limit else nullcontext()
    with turn, server.mailer(settings.sender_email) as mailer:
        post = Post(
            ledger=opened_for(relocation_id).ledger,
            mailer=mailer,
            templates=load_templates(settings.templates),
            branding=Branding.of(settings),
            terms=Terms(
                operator_email=settings.operator_email,
                sender_domain=settings.sender_domain,
                resend_unknown=settings.unknown_notices == "resend",
            ),
            signing_key=server.signing_key(settings.sender_domain),
            per_minute=settings.notices_per_minute,
        )
        report = deliver_due(post, claimed_by=worker_name(), relocation_id=relocation_id)
    log = get_run_logger()
    log.info("Notices: %d sent, %d to be tried again", report.sent, report.retry)
    if report.failed or report.unknown:
        log.error(
            "Notices: %d undeliverable, %d with an unknown outcome", report.failed, report.unknown
        )
    if relocation_id is not None:
        show_notices(relocation_id)
