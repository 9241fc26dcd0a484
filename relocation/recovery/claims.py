"""Mail a link that works to imported users whose last one is dead."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy import Engine

from relocation.errors import CannotRenewError, CommandError
from relocation.ledger.claims import (
    claims_so_far,
    dead_claims,
    give_up_claims,
    newest_claims,
    replace_claims,
)
from relocation.ledger.holds import release, take_hold
from relocation.ledger.leases import LeaseKeeper
from relocation.ledger.outbox import FORGOTTEN, HELD_BACK, Notice
from relocation.ledger.relocations import get_relocation
from relocation.ledger.results import ExportScanned
from relocation.ledger.tables import LEASED, NoticeState
from relocation.ledger.tries import done_result
from relocation.model import Relocation, RenewedClaims
from relocation.notices.operator import Operator
from relocation.notices.success import claim_drafts
from relocation.recovery.context import RecoveryContext
from relocation.steps import Status

_log = logging.getLogger(__name__)


class RenewTokens(Protocol):
    """Writes fresh tokens into the destination; see `transfer.load.claims`."""

    def __call__(
        self, relocation_id: str, fence: int, expected: Mapping[str, str], now: datetime
    ) -> RenewedClaims: ...


@dataclass(frozen=True)
class ClaimsReport:
    """How many users are mailed a new link, and why the others are not."""

    renewed: int
    refused: Mapping[str, str]
    """By username."""


def renew_claims(
    context: RecoveryContext, renew: RenewTokens, relocation_id: str, user: str | None = None
) -> ClaimsReport:
    """Renew the claims of a relocation whose links are dead, or that of one user.

    A link that still works stays as it is: to renew it would break the one that its user has.
    Raises CommandError where there is nothing of the kind, or another process holds it.
    """
    relocation = get_relocation(context.ledger, relocation_id)
    if relocation.forgotten_at is not None:
        raise CommandError(FORGOTTEN)
    newest = newest_claims(context.ledger, relocation_id)
    if user is not None:
        if user not in newest:
            raise CommandError(f'This relocation never emailed a claim to a user "{user}".')
        newest = {user: newest[user]}
    if not newest:
        raise CommandError("This relocation has emailed no claims.")
    report, _ = _renew(context, renew, relocation, newest)
    return report


def renew_dead_claims(context: RecoveryContext, renew: RenewTokens) -> int:
    """Renew the claims whose link died before its mail went out, and remind as the settings ask.

    Returns how many are mailed anew. Users who can have no link are not asked for again. What fails
    stays for the next sweep and keeps no other waiting; the last error is raised in the end.
    """
    mailed, reminders, failure = 0, context.settings.claim_reminders, None
    dead = dead_claims(context.ledger, reminders=reminders, now=context.clock())
    for relocation_id, usernames in dead.items():
        try:
            mailed += _renew_quietly(context, renew, relocation_id, usernames)
        except Exception as err:  # noqa: BLE001 - one must not keep the others waiting
            _log.exception("The claims of relocation %s could not be renewed", relocation_id)
            failure = err
    if failure is not None:
        raise failure
    return mailed


def _renew_quietly(
    context: RecoveryContext, renew: RenewTokens, relocation_id: str, usernames: Collection[str]
) -> int:
    relocation = get_relocation(context.ledger, relocation_id)
    newest = newest_claims(context.ledger, relocation_id)
    wanted = {username: newest[username] for username in usernames}
    try:
        report, denied = _renew(context, renew, relocation, wanted)
    except CannotRenewError as err:
        _give_up(context, relocation, list(wanted.values()), err.reason)
        return 0
    for username, why in denied.items():
        _give_up(context, relocation, [wanted[username]], f"No new link: {why}.")
    return report.renewed


def _give_up(context: RecoveryContext, relocation: Relocation, old: list[Notice], why: str) -> None:
    give_up_claims(
        context.ledger,
        relocation,
        old,
        why,
        Operator.of(context.settings),
        sender_domain=context.settings.sender_domain,
        now=context.clock(),
    )


def _renew(
    context: RecoveryContext,
    renew: RenewTokens,
    relocation: Relocation,
    newest: Mapping[str, Notice],
) -> tuple[ClaimsReport, Mapping[str, str]]:
    """Return the report, and whom of it the destination refused."""
    if relocation.status is not Status.SUCCESS:
        raise CommandError(
            f"Only a relocation that succeeded has claims. This one is {relocation.status}."
        )
    now = context.clock()
    lifetime = timedelta(hours=context.settings.claim_link_hours)
    early = {
        username: why
        for username, notice in newest.items()
        if (why := _too_early(notice, lifetime, now))
    }
    dead = {username: notice for username, notice in newest.items() if username not in early}
    if not dead:
        return ClaimsReport(0, early), {}
    hold = take_hold(
        context.ledger,
        relocation,
        lease_seconds=context.settings.lease_seconds,
        worker=context.worker,
        now=now,
    )
    if hold is None:
        raise CommandError("This relocation is in progress. Try again in a minute.")
    keeper = LeaseKeeper(
        context.ledger,
        hold,
        every=context.settings.lease_renewal,
        lease_seconds=context.settings.lease_seconds,
        lost=lambda: None,  # the destination's own fence refuses the transaction
    )
    try:
        with keeper:
            addresses = {username: notice.recipient for username, notice in dead.items()}
            done = renew(relocation.id, hold.fence, addresses, now)
        # Should this process die here: the old links are dead as before, and the next one renews.
        drafts = claim_drafts(
            relocation,
            done.claims,
            context.settings,
            now,
            old_host=old_host(context.ledger, relocation.id),
            editions=claims_so_far(context.ledger, relocation.id),
        )
        replaced = [dead[claim.username] for claim in done.claims]
        domain = context.settings.sender_domain
        if replaced:
            replace_claims(context.ledger, hold, replaced, drafts, sender_domain=domain, now=now)
    finally:
        release(context.ledger, hold)
    return ClaimsReport(len(replaced), {**early, **done.refused}), done.refused


def old_host(ledger: Engine, relocation_id: str) -> str:
    """Return the host that the organizations come from, "" where the export does not say it."""
    scanned = done_result(ledger, relocation_id, ExportScanned)
    return scanned.old_host if scanned else ""


def _too_early(notice: Notice, lifetime: timedelta, now: datetime) -> str:
    """Say why a user needs no new link yet, or "" where the last one is lost or dead."""
    if notice.state in LEASED:
        return "the email with the link is being sent"
    until = notice.valid_until or notice.created_at + lifetime
    if notice.state is NoticeState.FAILED or notice.reply == HELD_BACK or until <= now:
        return ""
    if notice.state is NoticeState.QUEUED:
        return "the email with the link is waiting to be sent"
    return f"the link that was sent works until {until:%Y-%m-%d %H:%M} UTC"
