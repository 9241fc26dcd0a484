"""Turn a unit of work into a task that the ledger governs: skipped when done, its tries counted."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from logging import Logger, LoggerAdapter
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.exceptions import ExternalSignal
from prefect.states import Completed
from sqlalchemy import Engine

from relocation.database import database_now
from relocation.errors import FencedOut, PermanentError
from relocation.ledger.holds import Hold
from relocation.ledger.relocations import get_relocation
from relocation.ledger.results import RelocationCompleted, TaskResult
from relocation.ledger.tables import TryOutcome
from relocation.ledger.tries import (
    begin_try,
    complete_task,
    end_try,
    is_done,
    succeed,
    tries_used,
)
from relocation.model import Relocation
from relocation.notices.kinds import NoticeDraft
from relocation.prefect_api.artifacts import show_next_steps
from relocation.prefect_api.flow_runs import FlowRuns
from relocation.process import worker_name
from relocation.settings import Settings
from relocation.steps import Policy, Task, backoff
from tasks.resources import Resources, resources_for
from tasks.session import is_retryable, stop_if_requested


@dataclass(frozen=True)
class Work:
    """What one try of a task works with."""

    settings: Settings
    resources: Resources
    hold: Hold
    relocation: Relocation
    log: "Logger | LoggerAdapter[Logger]"


@dataclass(frozen=True)
class Done:
    """What a task leaves in the ledger, in one transaction with its being done."""

    result: TaskResult
    notices: Sequence[NoticeDraft] = ()


def relocation_task(name: Task) -> Callable[[Callable[[Work], Done]], Callable[[Hold], None]]:
    """Make a task of DESIGN 4 from the function that does its work.

    Called with a hold, it returns at once where the ledger says that the task is done; otherwise it
    tries within the task's policy, read from the settings of this run, as often as earlier
    processes of this round have left. Every try and its outcome is in the ledger. Raises what the
    last try raised, and PermanentError where none was left. In place of the reference's
    `retry_task_or_fail_relocation`.
    """

    def decorate(body: Callable[[Work], Done]) -> Callable[[Hold], None]:
        @task(
            name=name.value,
            description=body.__doc__,
            retry_condition_fn=is_retryable,
            cache_policy=NO_CACHE,  # the ledger alone says what is done
            persist_result=False,
        )
        def tried(hold: Hold) -> State[Any] | None:
            return _try(name, body, hold, resources_for(hold.relocation_id))

        def run(hold: Hold) -> None:
            resources = resources_for(hold.relocation_id)
            ledger, settings = resources.ledger, resources.settings
            policy = settings.policy(name)
            _stop_before(ledger, name, hold, policy)
            used = tries_used(ledger, hold.relocation_id, hold.round, name)
            waits = backoff(settings.backoff, policy.tries, settings.backoff_limit)[used:]
            within = tried.with_options(
                retries=len(waits),
                retry_delay_seconds=waits,
                retry_jitter_factor=settings.backoff_jitter,
                timeout_seconds=policy.time_limit,
            )
            # Called directly, in the main thread: only so does the time limit bite.
            within(hold)

        run.__name__ = name.value
        run.__doc__ = body.__doc__
        return run

    return decorate


def _stop_before(ledger: Engine, name: Task, hold: Hold, policy: Policy) -> None:
    """Stop the flow before a task that is not done yet, where somebody asked for it.

    Only a flow can suspend itself, so this is no part of the task. Raises what `stop_if_requested`
    raises.
    """
    if not is_done(ledger, hold.relocation_id, name):
        stop_if_requested(ledger, hold, name, policy.step)


def _try(
    name: Task, body: Callable[[Work], Done], hold: Hold, resources: Resources
) -> State[Any] | None:
    ledger, settings = resources.ledger, resources.settings
    if is_done(ledger, hold.relocation_id, name):
        return Completed(name="Skipped", message="Already done, as recorded in the ledger.")
    number = begin_try(
        ledger, hold, name, settings.policy(name), worker_name(), now=database_now(ledger)
    )
    relocation = get_relocation(ledger, hold.relocation_id)
    work = Work(settings, resources, hold, relocation, get_run_logger())
    try:
        _record_done(work, number, body(work))
    except FencedOut:
        raise
    except BaseException as err:
        outcome = _outcome(err)
        error = "".join(traceback.format_exception(err))
        try:
            now = database_now(ledger)
            end_try(ledger, hold, name, number, outcome, error=error, cause=err, now=now)
        except Exception:  # what failed matters more than its record, which the next try makes up
            work.log.exception("How a try of %s ended could not be recorded", name)
        raise
    return None


def _outcome(err: BaseException) -> TryOutcome:
    if isinstance(err, PermanentError):
        return TryOutcome.REFUSED
    # These end the process, and are nothing that the task did; a time limit is no Exception either.
    ended = isinstance(err, (KeyboardInterrupt, SystemExit, ExternalSignal))
    return TryOutcome.INTERRUPTED if ended else TryOutcome.FAILED


def _record_done(work: Work, number: int, done: Done) -> None:
    ledger, result, domain = work.resources.ledger, done.result, work.settings.sender_domain
    now = database_now(ledger)
    if not isinstance(result, RelocationCompleted):
        complete_task(
            ledger, work.hold, number, result, drafts=done.notices, sender_domain=domain, now=now
        )
    else:
        event = succeed(
            ledger, work.hold, number, result, drafts=done.notices, sender_domain=domain, now=now
        )
        FlowRuns().announce(work.relocation, event)
        show_next_steps(ledger, work.relocation.id)
