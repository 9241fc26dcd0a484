"""Keep what a task has to tell at length, and give it back."""

import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, delete, insert, select

from relocation.database import reading
from relocation.ledger.holds import Hold, write_held
from relocation.ledger.tables import task_reports
from relocation.steps import Task


def keep_report(
    engine: Engine, hold: Hold, task: Task, report: Mapping[str, Any], now: datetime
) -> None:
    """Keep JSON data as the report of a task, in place of an earlier one; raises FencedOut."""
    with engine.begin() as connection:
        write_held(connection, hold, now)
        _replace(connection, hold, task, zlib.compress(orjson.dumps(report), level=6), now)


def reports_of(engine: Engine, relocation_id: str) -> dict[Task, dict[str, Any]]:
    """Return the reports of a relocation's tasks, in the order of the tasks."""
    mine = task_reports.c.relocation_id == relocation_id
    with reading(engine) as connection:
        rows = connection.execute(select(task_reports.c.task, task_reports.c.report).where(mine))
        found = {task: orjson.loads(zlib.decompress(report)) for task, report in rows}
    return {task: found[task] for task in Task if task in found}


def _replace(connection: Connection, hold: Hold, task: Task, report: bytes, now: datetime) -> None:
    key = {"relocation_id": hold.relocation_id, "task": task}
    connection.execute(delete(task_reports).filter_by(**key))
    connection.execute(insert(task_reports).values(**key, round=hold.round, at=now, report=report))
