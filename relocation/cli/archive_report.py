"""How what was found in archives is shown to a person."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.filesize import decimal

from relocation.cli.output import out, print_table
from relocation.errors import MAX_REASON
from relocation.findings import FindingKind
from relocation.settings import Settings
from relocation.text import counted, one_line

if TYPE_CHECKING:
    from relocation.transfer.dry_run.comparing_files import FileComparison
    from relocation.transfer.dry_run.inspection import Inspection

SHOWN_PKS = 3
SHOWN_ROWS = 100
CAUSES = {
    FindingKind.NOT_REQUESTED: "not theirs",
    FindingKind.OUT_OF_SCOPE: "out of scope",
    FindingKind.UNKNOWN_MODEL: "unknown",
    FindingKind.REMOVED_MODEL: "removed",
    FindingKind.REPEATED_RECORD: "repeated",
}
"""Why the scan leaves a record out, in few words."""


def print_inspection(found: "Inspection", archive: Path, settings: Settings) -> None:
    contents = found.contents
    facts = [f"{found.format}, {decimal(found.size)}"]
    if found.encrypted_at:
        facts.append(f"encrypted {found.encrypted_at:%Y-%m-%d %H:%M} UTC")
    if found.fingerprint:
        facts.append(f"for the key {found.fingerprint}")
    if contents.newest:
        facts.append(f"its newest record is of {contents.newest}")
    if contents.natural_keys:
        facts.append("references by name, as old versions wrote them")
    if not contents.ordered:
        facts.append("models in an unusual order")
    _line(f"{archive.name}: {'; '.join(facts)}.")
    if contents.records:
        if not contents.complete:
            _line("It cannot be read to its end; this is what comes before the fault.")
        _print_organizations(found)
        _print_records(found)
        _print_losses(found)
    _print_verdict(found)
    if found.encrypted is False and not found.reason and not settings.accept_plain_exports:
        _line("Encrypt it with the public key of the service before you submit it.")


def _print_organizations(found: "Inspection") -> None:
    contents = found.contents
    wanted = {one.pk for one in found.scan.organizations} if found.scan else set()
    rows = [
        (slug, name, contents.members[pk], "yes" if pk in wanted else "no")
        for pk, (slug, name) in contents.organizations.items()
    ]
    _print_section(
        f"Organizations ({len(rows)})", ("slug", "name", "members", "to move"), sorted(rows)
    )


def _print_records(found: "Inspection") -> None:
    accounts = found.rehearsal.accounts if found.rehearsal else {}
    records = found.contents.in_order()
    rows = []
    for model, number in records.items():
        account = accounts.get(model)
        rows.append(
            (
                model,
                number,
                found.scan.selected.get(model, 0) if found.scan else None,
                account.inserted + account.merged if account else None,
                ", ".join(f"{count} {cause}" for cause, count in _left_out(found, model)),
            )
        )
    columns = ("model", "in file", "to move", "arrive", "left out")
    _print_section(f"Records ({sum(records.values())})", columns, rows)


def _left_out(found: "Inspection", model: str) -> Iterator[tuple[str, int]]:
    """Yield why records of a model would not arrive, and how many."""
    if found.scan:
        for kind, count in found.scan.skipped.get(model, {}).items():
            yield CAUSES.get(kind, kind), count
    account = found.rehearsal.accounts.get(model) if found.rehearsal else None
    if account and account.skipped:
        yield "skipped", account.skipped
    if account and account.dropped:
        yield "dropped", account.dropped


def _print_losses(found: "Inspection") -> None:
    losses = found.losses()
    if not losses:
        return
    rows = [
        (
            loss.model,
            loss.field,
            loss.records,
            ", ".join(map(str, loss.pks[:SHOWN_PKS])) + (" ..." if loss.pks[SHOWN_PKS:] else ""),
            loss.reason,
        )
        for loss in losses
    ]
    columns = ("model", "field", "records", "primary keys", "what happens, of the first")
    _print_section("Left out or changed", columns, rows)


def _print_verdict(found: "Inspection") -> None:
    if found.reason:
        out.print("\n[bold red]It would be refused.[/bold red]")
        _line(found.reason)
        if found.scan and len(found.scan.organizations) == len(found.contents.organizations) > 1:
            _line("Name fewer organizations with --organizations.")
        return
    scan = found.scan
    if scan:
        organizations = ", ".join(one.slug for one in scan.organizations)
        records, users = sum(scan.selected.values()), scan.selected.get("sentry.user", 0)
        by = "a service with this key" if found.fingerprint else "a service, once it is encrypted"
        out.print(f"\n[bold green]It would be accepted by {by}.[/bold green]")
        many = f"{counted(users, 'user')}; {counted(records, 'record')} in all"
        _line(f"To be moved: {organizations}; {many}.")


def print_comparison(result: "FileComparison") -> None:
    if result.not_compared:
        _print_section(
            "Not compared, because this version does not know them",
            ("model", "field", "records left", "records right"),
            [(one.model, one.field, one.left, one.right) for one in result.not_compared],
        )
    if not result.findings:
        out.print(f"The exports are equal: {sum(result.left.values())} records.")
        return
    columns = ("model", "field", "primary key", "difference")
    rows = [(one.model, one.field, one.pk, one.reason) for one in result.findings]
    _print_section("Differences", columns, rows)
    out.print(f"\nThe exports differ: {counted(len(result.findings), 'finding')}.")


def _print_section(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    out.print(f"\n[bold]{title}[/bold]")
    print_table(columns, rows[:SHOWN_ROWS])
    if len(rows) > SHOWN_ROWS:
        out.print(f"... and {len(rows) - SHOWN_ROWS} more; --json has them all.")


def _line(text: str) -> None:
    out.print(one_line(text, limit=MAX_REASON), markup=False, soft_wrap=True)
