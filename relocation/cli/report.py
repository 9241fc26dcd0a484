"""Everything that was found about the records of a relocation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from relocation.cli.ids import Id, full_id
from relocation.cli.output import AsJson, errors, out, plain_errors, print_json, print_table
from relocation.findings import Finding
from relocation.ledger.results import ExportScanned, OrganizationsImported
from relocation.notices.handover_kit import write_csv
from relocation.settings import Settings
from relocation.steps import Task
from relocation.text import counted

_COLUMNS = ("task", "kind", "model", "field", "pk", "reason")
_COUNTS = ("read", "inserted", "merged", "overwritten", "skipped", "dropped")
Row = Mapping[str, Any]


def report(
    relocation_id: Id,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--csv",
            metavar="DIR",
            file_okay=False,
            help="Write findings.csv, left-out.csv and accounts.csv into this folder.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List every finding about the records of a relocation, and account for all of them.

    It shows what the scan left out, what the import changed or dropped, and where the trial import
    or the verification found a difference. --csv writes one record per line, for a spreadsheet.

    Example: relocation report ID --csv findings
    """
    from relocation.ledger.relocations import get_relocation  # noqa: PLC0415
    from relocation.ledger.reports import reports_of  # noqa: PLC0415
    from relocation.ledger.tries import done_result  # noqa: PLC0415
    from relocation.prefect_api.blocks import load_ledger  # noqa: PLC0415 - imports Prefect: seconds

    with plain_errors():
        ledger = load_ledger(Settings())
        relocation_id = full_id(ledger, relocation_id)
        if get_relocation(ledger, relocation_id).forgotten_at is not None:
            errors.print("Findings about single records were forgotten. Only the numbers remain.")
        reports = reports_of(ledger, relocation_id)
        scanned = done_result(ledger, relocation_id, ExportScanned)
        imported = done_result(ledger, relocation_id, OrganizationsImported)
        found = {one.task: one.findings for one in (scanned, imported) if one is not None}
        findings = list(_findings(found, reports))
        accounts = [
            {"model": model, **asdict(account)}
            for model, account in (imported.accounts if imported else {}).items()
        ]
        left_out = reports.get(Task.SCAN_EXPORT, {}).get("left_out", {})
        if folder is not None:
            _write(folder, findings, accounts, left_out)
    if as_json:
        print_json({"findings": findings, "left_out": left_out, "accounts": accounts})
    elif folder is not None:
        many = counted(len(findings), "finding")
        out.print(f"Wrote {many} to {folder}.", markup=False, soft_wrap=True)
    else:
        _print(findings, accounts, left_out)


def _findings(
    done: Mapping[Task, Sequence[Finding]], reports: Mapping[Task, Row]
) -> Iterator[dict[str, Any]]:
    """Yield the findings of each task: of its report, else of what it was done with."""
    for task in Task:
        told = reports.get(task, {}).get("findings")
        if told is None:
            told = [finding.as_json() for finding in done.get(task, ())]
        for finding in told:
            yield {"task": task.value, **finding}


def _print(
    findings: Sequence[Row], accounts: Sequence[Row], left_out: Mapping[str, Mapping[str, str]]
) -> None:
    out.print("[bold]What became of the records[/bold]")
    print_table(("model", *_COUNTS), [_cells(("model", *_COUNTS), one) for one in accounts])
    out.print("\n[bold]Left out by the scan[/bold]")
    print_table(
        ("model", "cause", "primary keys"),
        [
            (model, cause, pks)
            for model, causes in left_out.items()
            for cause, pks in causes.items()
        ],
    )
    out.print(f"\n[bold]Findings ({len(findings)})[/bold]")
    print_table(_COLUMNS, [_cells(_COLUMNS, one) for one in findings])


def _write(
    folder: Path,
    findings: Sequence[Row],
    accounts: Sequence[Row],
    left_out: Mapping[str, Mapping[str, str]],
) -> None:
    from relocation.transfer.prepare.left_out import left_out as each  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(folder / "findings.csv", _COLUMNS, findings)
    _write_csv(folder / "accounts.csv", ("model", *_COUNTS), accounts)
    records = (finding.as_json() for finding in each({"left_out": left_out}))
    _write_csv(folder / "left-out.csv", ("model", "pk", "kind", "reason"), records)


def _write_csv(path: Path, columns: Sequence[str], rows: Iterator[Row] | Sequence[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        write_csv(file, columns, rows)


def _cells(columns: Sequence[str], row: Row) -> list[Any]:
    return [row.get(column) for column in columns]
