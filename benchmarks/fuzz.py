"""Give the engine what a stranger might upload, and hold it to its promise (`make fuzz`).

A changed archive or export is refused with one bounded reason that shows no secret, or every record
of it is accounted for; either way in little time and memory. N and SEED are read from the
environment, and ONLY, the number of a case to run alone. Ends with 1 where something does not hold.
"""

import io
import json
import os
import sys
import tempfile
import time
import traceback
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from sqlalchemy import Engine

from benchmarks.fuzz_mutations import SECRET, Elements, change_archive, change_export
from benchmarks.stage import destination, postgresql, private_key
from relocation.archive.envelope import open_export, seal_export
from relocation.archive.keys import public_key_of
from relocation.archive.records import read_records
from relocation.archive.storage import FolderStorage
from relocation.errors import MAX_REASON, PermanentError
from relocation.example import example_export
from relocation.model import RecordCounts
from relocation.transfer.bulk import bulk_work
from relocation.transfer.dry_run.trial import try_import
from relocation.transfer.load.importing import bind, import_records
from relocation.transfer.prepare.normalised import open_normalised, write_records
from relocation.transfer.prepare.scan import ScanReport, scan_export

SECONDS = 10.0
MEGABYTES = 512.0
TRIED = 0.1
"""The share of the exports that go through a trial import as well, which takes several times as
long."""
_SECRETS = frozenset(
    {"password", "token", "refresh_token", "secret_key", "email", "validation_hash"}
)


@dataclass(frozen=True)
class Place:
    """Where the cases are run."""

    engine: Engine
    folder: Path
    good: Elements
    archive: bytes


def main() -> int:
    """Run the cases on SQLite and PostgreSQL in turn; returns the exit code."""
    count, seed = int(os.environ.get("N", "2000")), int(os.environ.get("SEED", "1"))
    only = os.environ.get("ONLY")
    numbers = range(count) if only is None else [int(only)]
    outcomes: Counter[str] = Counter()
    faults = 0
    slowest = 0.0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, _places(Path(folder)) as places:
        for number in numbers:
            begin = time.process_time()
            outcome, fault = _hold(places[number % len(places)], Random(f"{seed}/{number}"))  # noqa: S311
            seconds = time.process_time() - begin
            slowest = max(slowest, seconds)
            if seconds > SECONDS:
                fault = f"it took {seconds:.1f} s"
            if _peak() > MEGABYTES:
                fault = f"it took {_peak():.0f} MB"
            outcomes[outcome] += 1
            if fault:
                faults += 1
                print(
                    f"\nCase {number} of seed {seed} (ONLY={number} SEED={seed}): {fault}",
                    flush=True,
                )
    print(f"\n{sum(outcomes.values())} cases, seed {seed}:")
    for outcome, times in outcomes.most_common():
        print(f"{times:6}  {outcome}")
    print(f"at most {slowest:.1f} s of processor time each, and {_peak():.0f} MB; {faults} faults")
    return 1 if faults else 0


@contextmanager
def _places(folder: Path) -> Iterator[list[Place]]:
    good = [record._asdict() for record in example_export(organizations=1, members=2, projects=1)]
    for element in good:
        for name in _SECRETS & element["fields"].keys():
            if isinstance(element["fields"][name], str):
                element["fields"][name] = f"{SECRET}-{element['pk']}@example.org"[-75:]
    sealed = io.BytesIO()
    seal_export(json.dumps(good).encode(), public_key_of(private_key()), sealed)
    write_records(FolderStorage(folder), "nothing", public_key_of(private_key()), [])
    with (
        postgresql() as server,
        destination(server) as one,
        destination(f"sqlite:///{folder}") as other,
    ):
        yield [Place(engine, folder, good, sealed.getvalue()) for engine in (other, one)]


def _hold(place: Place, random: Random) -> tuple[str, str]:
    """Run one case; returns what came of it, and what does not hold."""
    try:
        if random.random() < 0.2:
            stream = io.BytesIO(change_archive(random, place.archive))
        else:
            stream = io.BytesIO(change_export(random, place.good))
        with bulk_work():
            return _relocate(place, stream.getvalue(), tried=random.random() < TRIED), ""
    except PermanentError as err:
        return f"refused: {type(err).__name__}", _fault_of(err)
    except AssertionError as err:
        return "not accounted for", f"{err}\n{traceback.format_exc(limit=-3)}"
    except Exception as err:  # noqa: BLE001 - to find these is what this is for
        return f"broken: {type(err).__name__}", traceback.format_exc(limit=-6)[-3000:]


def _fault_of(err: PermanentError) -> str:
    shown = "".join(traceback.format_exception(err))
    if not 0 < len(err.reason) <= MAX_REASON:
        return f"its reason has {len(err.reason)} characters"
    if SECRET in err.reason or SECRET in err.internal:
        return f"its reason shows a secret: {err.reason} {err.internal}"
    return f"its traceback shows a secret: {shown[:500]}" if SECRET in shown else ""


def _relocate(place: Place, given: bytes, *, tried: bool) -> str:
    storage, name = FolderStorage(place.folder), str(uuid.uuid4())
    text = open_export(io.BytesIO(given), private_key(), accept_plain=True).read()
    report = scan_export(
        read_records(io.BytesIO(text)),
        wanted=None,
        max_organizations=20,
        max_users=2000,
        storage=storage,
        prefix="export",
        public_pem=public_key_of(private_key()),
    )
    _check_scan(report, len(json.loads(text)))
    nothing, export = (
        open_normalised(storage, one, private_key()) for one in ("nothing", "export")
    )
    if tried:
        found = try_import(
            place.engine,
            export,
            baseline=nothing,
            colliding=nothing,
            relocation_id=name,
            chunk_records=20,
            folder=place.folder,
        )
        _check_import(report, found.imported.accounts)
    bind(place.engine, name, 1)
    imported = import_records(place.engine, export, relocation_id=name, fence=1, chunk_records=50)
    _check_import(report, imported.accounts)
    return "moved, and tried before" if tried else "moved"


def _check_scan(report: ScanReport, elements: int) -> None:
    assert sum(report.read.values()) == elements, "not every element was read"
    for model, read in report.read.items():
        skipped = sum(report.skipped.get(model, {}).values())
        assert read == report.selected.get(model, 0) + skipped, f"{model} is not accounted for"
    assert all(len(finding.reason) <= MAX_REASON for finding in report.findings)


def _check_import(report: ScanReport, accounts: Mapping[str, RecordCounts]) -> None:
    assert {model: account.read for model, account in accounts.items()} == dict(report.selected)
    for model, account in accounts.items():
        fates = (
            account.inserted
            + account.merged
            + account.overwritten
            + account.skipped
            + account.dropped
        )
        assert account.read == fates, f"{model} is not accounted for"


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    sys.exit(main())
