"""Forget what the settings say is kept no longer."""

from datetime import timedelta

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from sqlalchemy import Engine

from relocation.database import database_now
from relocation.ledger import forgetting
from relocation.prefect_api.blocks import load_destination
from relocation.settings import Settings
from relocation.transfer.load.chunks import remove_chunks


@task(cache_policy=NO_CACHE, persist_result=False)
def forget_people(settings: Settings, ledger: Engine) -> None:
    """Remove what the ledger knows of the people of old relocations, then their chunk records.

    As far as the settings ask for it, and some at a time: the next sweep goes on.
    """
    log = get_run_logger()
    now = database_now(ledger)
    if settings.ledger_retention:
        before = now - timedelta(seconds=settings.ledger_retention)
        if forgotten := forgetting.forget_people(ledger, before, now=now):
            log.info("The people of %d relocations are forgotten", forgotten)
    if settings.chunk_retention:
        before = now - timedelta(seconds=settings.chunk_retention)
        old = forgetting.with_old_chunks(ledger, before)
        while old:
            newer = remove_chunks(load_destination(settings), old)
            forgetting.record_chunks_removed(ledger, old.keys() - newer, now)
            log.info("The chunk records of %d relocations are removed", len(old) - len(newer))
            if len(newer) < len(old):
                break
            # The ledger came from a backup and is behind the destination: these stay.
            old = forgetting.with_old_chunks(ledger, before, after=max(old))
