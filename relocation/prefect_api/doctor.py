"""Say what is configured, from where, and whether it works."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import prefect
from sqlalchemy import Engine, func, inspect, select, text

from relocation.archive.keys import public_key_of
from relocation.catalogue import Scope, load_catalogue
from relocation.catalogue.versions import first_version
from relocation.findings import Finding, FindingKind
from relocation.ledger.migrate import is_current
from relocation.ledger.relocations import list_relocations
from relocation.prefect_api import deployments, doctor_mail, doctor_storage
from relocation.prefect_api.automations import automation_problems
from relocation.prefect_api.blocks import (
    block_id,
    load_destination,
    load_ledger,
    load_private_key,
    load_source,
)
from relocation.prefect_api.check import Check, FailedCheckError, Probe, WarningError, check
from relocation.prefect_api.pools import environment_differences, workers_online
from relocation.recovery.decision import CLOCK_TOLERANCE
from relocation.settings import Settings
from relocation.steps import Status
from relocation.text import listed
from relocation.transfer.database.schema import reflect
from relocation.transfer.database.skew import check_later_steps, check_schema, prevents_import
from relocation.transfer.load.mappings import mapping_findings
from relocation.transfer.load.ownership import mappings_of

_RECENT = 20
"""Relocations whose mappings are counted."""
_MISSED_SWEEPS = 3
"""Intervals without a successful sweep after which the safety net is gone."""
_SET_UP = "relocation setup"
_BLOCK = "correct the block in the Prefect UI"


def run_checks(settings: Settings) -> list[Check]:
    """Look at server, clock, deployments, automations, workers, and at what the blocks stand for.

    Never raises and changes nothing. Nothing more can be looked at where the server is silent.
    """
    server = check(
        "Prefect server", _server, "start it with: relocation up; or set PREFECT_API_URL"
    )
    if not server.good:
        return [server]
    return [server, *(check(*probe) for probe in probes(settings))]


def probes(settings: Settings) -> list[Probe]:
    """Return the checks that need a server which answers, each still to be made."""
    start_worker = f"prefect worker start --pool {settings.work_pool}"
    return [
        ("Prefect version", _version, "install the same version here and at the server"),
        ("clock", _clock, "synchronize the clocks of all machines with NTP"),
        ("deployments", lambda: _deployments(settings), _SET_UP),
        (
            "automations",
            lambda: _automations(settings),
            f"{_SET_UP}; enable disabled ones in the Prefect UI",
        ),
        ("worker", lambda: _worker(settings), start_worker),
        (
            "pool",
            lambda: _pool(settings),
            "set the same in both; the pool's with: relocation setup --pool FILE --overwrite",
        ),
        (
            "sweep",
            lambda: _sweep(settings),
            "read the log of its last run in the Prefect UI, then run it there",
        ),
        (f"ledger ({settings.ledger_block})", lambda: _ledger(settings), _SET_UP),
        (
            f"destination ({settings.destination_block})",
            lambda: _destination(settings),
            f"{_SET_UP}; or {_BLOCK}",
        ),
        *(
            [(f"source ({settings.source_block})", lambda: _source(settings), _BLOCK)]
            if block_id(f"sqlalchemy-connector/{settings.source_block}")
            else []
        ),
        (
            "mappings",
            lambda: _mappings(settings),
            "let the cron and the worker of the product run; or see docs/real-product.md",
        ),
        (
            "claim links",
            lambda: doctor_mail.claim_links(settings),
            "give the destination its lost-password table, set RELOCATION_CLAIM_URL and "
            "RELOCATION_BASE_URL",
        ),
        (
            f"storage ({settings.storage_block})",
            lambda: doctor_storage.storage(settings),
            f"{_SET_UP}; or {_BLOCK}",
        ),
        (f"key ({settings.key_block})", lambda: _key(settings), f"{_SET_UP}; or {_BLOCK}"),
        (
            "archives",
            lambda: doctor_storage.archives(settings),
            "restore the key in its block, or ask for new archives made with: relocation "
            "keys public",
        ),
        ("product", lambda: doctor_mail.product_name(settings), "set RELOCATION_PRODUCT_NAME"),
        ("templates", lambda: doctor_mail.templates(settings), "fix it, or remove it"),
        (
            f"mail ({settings.mail_block})",
            lambda: doctor_mail.mail(settings),
            f"start the mail server, or {_BLOCK}",
        ),
        (f"alerts ({settings.alert_block})", lambda: doctor_mail.alerts(settings), _BLOCK),
        *doctor_mail.mail_limit(settings),
        *doctor_mail.operator_block(settings),
    ]


def _server() -> str:
    problem = deployments.server_problem()
    if problem:
        raise FailedCheckError(problem)
    return deployments.server_address()


def _version() -> str:
    here, (there, _) = prefect.__version__, deployments.server_about()
    if here.split(".")[:2] != there.split(".")[:2]:
        raise FailedCheckError(f"the server has {there}, this machine has {here}")
    return there


def _clock() -> str:
    _, date = deployments.server_about()
    skew = abs(datetime.now(UTC) - parsedate_to_datetime(date))
    if skew > CLOCK_TOLERANCE:
        raise FailedCheckError(
            f"it differs from the server's by {skew.total_seconds():.0f} seconds"
        )
    return "agrees with the server's"


def _deployments(settings: Settings) -> str:
    missing = deployments.missing_deployments(settings)
    if missing:
        raise FailedCheckError(f"missing: {', '.join(missing)}")
    return "all present"


def _automations(settings: Settings) -> str:
    problems = automation_problems(settings)
    if problems:
        raise FailedCheckError("; ".join(problems))
    return "all present and enabled"


def _worker(settings: Settings) -> str:
    online = workers_online(settings)
    if not online:
        raise FailedCheckError(f"none is online on the pool {settings.work_pool}: nothing will run")
    return f"{online} online"


def _pool(settings: Settings) -> str:
    differences = environment_differences(settings)
    if differences.set_otherwise:
        raise FailedCheckError("; ".join(differences.set_otherwise))
    if differences.not_set:
        raise WarningError("; ".join(differences.not_set))
    return "nothing in its environment differs from the settings here"


def _sweep(settings: Settings) -> str:
    last, interval = deployments.last_sweep(settings)
    if interval is None:
        raise FailedCheckError("its schedule is off: nothing resumes dead relocations", _SET_UP)
    silent = datetime.now(UTC) - last if last else None
    if silent is None or silent > _MISSED_SWEEPS * interval:
        minutes = f" for {silent.total_seconds() / 60:.0f} minutes" if silent else ""
        raise FailedCheckError(f"none has succeeded{minutes}")
    return "one succeeded recently, or is about to run"


def _ledger(settings: Settings) -> str:
    ledger = load_ledger(settings)
    if not is_current(ledger):
        raise FailedCheckError(f"{_address(ledger)} is not migrated")
    return _address(ledger)


def _destination(settings: Settings) -> str:
    """Tell what is missing: what every relocation needs, or what only newer versions have."""
    destination = load_destination(settings)
    file = (destination.url.database or "").removeprefix(
        "file:"
    )  # it is a URI, so as not to be made
    if destination.dialect.name == "sqlite" and not Path(file).exists():
        raise FailedCheckError(
            f"the file {file} is missing",
            f"restore it, for instance from a backup; or {_BLOCK}",
        )
    models = load_catalogue().admitted(Scope.ORGANIZATION)
    tables = reflect(destination, models)
    skew = check_schema(
        tables,
        {  # what later versions took away, none has to have
            one.name: {field.name for field in one.fields.values() if field.until is None}
            for one in models
            if one.until is None or one.name in tables
        },
    )
    needed = check_later_steps(destination)
    later = [one for one in skew if first_version(one.model, one.field)]
    with destination.connect() as connection:
        a_product = inspect(connection).has_table("django_migrations")
    unfit = needed + [
        one for one in skew if prevents_import(one) and not (a_product and one in later)
    ]
    if unfit:
        raise FailedCheckError(
            f"{_told(unfit[0])}: {unfit[0].reason} ({len(unfit)} such findings)",
            "ask its operator to upgrade it" if a_product else "",
        )
    if not later:
        return _address(destination)
    columns = sum(one.kind is FindingKind.MISSING_COLUMN for one in later)
    listing = listed([_told(one) for one in later], show=5)
    return (
        f"{_address(destination)}; older than the newest exports: {len(later) - columns} tables "
        f"are missing (exports with their models are refused), and {columns} columns (their values "
        f"are lost): {listing}"
    )


def _told(finding: Finding) -> str:
    place = f"{finding.model}.{finding.field}" if finding.field else finding.model
    version = first_version(finding.model, finding.field)
    return f"{place} ({version})" if version else place


def _mappings(settings: Settings) -> str:
    """Tell whether the product lets members in, and has done so with what was moved last."""
    destination = load_destination(settings)
    if by_hand := mapping_findings(destination):
        raise FailedCheckError(by_hand[0].reason)
    moved = [
        one
        for one in list_relocations(load_ledger(settings), limit=_RECENT)
        if one.status is Status.SUCCESS and one.chunks_removed_at is None
    ]
    counts = {one.id: mappings_of(destination, one.id) for one in moved}
    lacking = [(one, count) for one, count in counts.items() if count and not count.complete]
    if lacking:
        one, count = lacking[0]
        raise FailedCheckError(
            f"{count.needed - count.made} of {count.needed} are missing for relocation {one}: its "
            f"members can't open their organizations ({len(lacking)} such relocations)"
        )
    return "the product made all requested ones" if any(counts.values()) else "none needed"


def _source(settings: Settings) -> str:
    source = load_source(settings)
    tables = reflect(source, load_catalogue().admitted(Scope.ORGANIZATION))
    if not tables:
        raise FailedCheckError(f"{_address(source)} has none of the tables that an export reads")
    with source.connect() as connection:
        may_write = (
            connection.dialect.name == "postgresql"
            and connection.execute(
                select(func.has_table_privilege(tables["sentry.user"].table.name, "INSERT"))
            ).scalar()
        )
    if may_write:
        raise FailedCheckError(
            f"{_address(source)} is reached as a user with write access", "give it a read-only user"
        )
    return _address(source)


def _key(settings: Settings) -> str:
    public_key_of(load_private_key(settings))
    return "is a private key"


def _address(engine: Engine) -> str:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    return engine.url.render_as_string(hide_password=True)
