"""Mail a link that works to imported users whose last one is dead."""

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from relocation.prefect_api.context import recovery_context, renew_tokens
from relocation.recovery.claims import renew_dead_claims


@task(cache_policy=NO_CACHE, persist_result=False)
def renew_claims() -> None:
    """Replace claims whose link died before its mail went out; remind users where that is set."""
    if mailed := renew_dead_claims(recovery_context(), renew_tokens):
        get_run_logger().info("Claims renewed: %d", mailed)
