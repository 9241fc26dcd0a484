"""Send what is due in the outbox, and put links that work in place of dead ones."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from sqlalchemy import Engine

from relocation.delivery.context import DeliveryContext
from relocation.delivery.deliver import DeliveryReport, deliver_due
from relocation.errors import ConfigurationError, TransientError
from relocation.ledger.dispatch import DeliveryPolicy, overdue
from relocation.ledger.tables import utc_now
from relocation.notices.building import Branding
from relocation.notices.operator import Operator
from relocation.notices.rendering import load_templates
from relocation.prefect_api.blocks import load_mail_server, send_to_block
from relocation.prefect_api.context import token_renewal
from relocation.prefect_api.flow_runs import runs_url
from relocation.process import worker_name
from relocation.recovery.claims import renew_dead_claims
from relocation.recovery.context import RecoveryContext
from relocation.settings import Settings
from tasks.artifacts import show_notices
from tasks.resources import resources_for


@task(cache_policy=NO_CACHE, persist_result=False)
def deliver_notices(relocation_id: str | None = None) -> None:
    """Build and send each due notice; safe to run several times at once.

    It fails where notices wait for a fault of ours for longer than the settings allow: an
    automation tells the operator of that.
    """
    resources = resources_for(relocation_id)
    settings, ledger = resources.settings, resources.ledger
    try:
        report = _deliver(settings, ledger, relocation_id)
    finally:
        if relocation_id is not None:
            show_notices(ledger, relocation_id)
    log = get_run_logger()
    log.info("Notices: %d sent, %d to be tried again", report.sent, report.retry)
    if report.failed or report.unknown:
        log.error(
            "Notices: %d undeliverable, %d with an unknown outcome", report.failed, report.unknown
        )
    late = timedelta(seconds=settings.notices_overdue_after)
    if waiting := overdue(ledger, utc_now() - late, relocation_id):
        raise TransientError(
            "Notices are waiting because of a problem on our side.",
            internal=f"{waiting} notices have waited for more than {late}: the mail server, its "
            "block, a notification block or a template needs an operator; see `relocation doctor`",
        )


def _deliver(settings: Settings, ledger: Engine, relocation_id: str | None) -> DeliveryReport:
    delivery = DeliveryContext(
        ledger=ledger,
        mailer=None,
        templates=load_templates(settings.templates),
        branding=Branding.of(settings, runs_url=runs_url()),
        policy=DeliveryPolicy(
            operator=Operator.of(settings),
            sender_domain=settings.sender_domain,
            resend_unknown=settings.unknown_notices == "resend",
        ),
        per_minute=settings.notices_per_minute,
        send_to_block=send_to_block,
    )
    with ExitStack() as held:
        try:
            server = load_mail_server(settings)
            signing_key = server.signing_key(settings.sender_domain)
            if settings.mail_limit:
                held.enter_context(_turn(settings.mail_limit))
        except ConfigurationError:
            # What goes through blocks must not wait for what mails lack.
            deliver_due(delivery, worker=worker_name(), relocation_id=relocation_id, now=utc_now)
            raise
        mailer = held.enter_context(server.mailer(settings.sender_email))
        return deliver_due(
            replace(delivery, mailer=mailer, signing_key=signing_key),
            worker=worker_name(),
            relocation_id=relocation_id,
            now=utc_now,
        )


@contextmanager
def _turn(limit: str) -> Iterator[None]:
    """Hold a place of the global limit; raises ConfigurationError where nobody has created it."""
    with ExitStack() as held:
        try:
            # A lease that could not be renewed must not cut a mail off in the middle.
            place = concurrency(limit, strict=True, raise_on_lease_renewal_failure=False)
            held.enter_context(place)
        except ConcurrencySlotAcquisitionError as err:
            raise ConfigurationError(
                "The relocation service is not fully set up.",
                internal=f'the global concurrency limit "{limit}" of RELOCATION_MAIL_LIMIT does '
                f"not exist; create it: prefect gcl create {limit} --limit 1",
            ) from err
        yield


@task(cache_policy=NO_CACHE, persist_result=False)
def renew_claims(context: RecoveryContext) -> None:
    """Replace claims whose link died before its mail went out; remind users where that is set."""
    if mailed := renew_dead_claims(context, token_renewal(context.settings)):
        get_run_logger().info("Claims renewed: %d", mailed)
