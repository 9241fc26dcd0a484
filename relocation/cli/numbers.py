"""Numbers about the service: for people, for scripts, and for Prometheus."""

import threading
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relocation.cli.output import AsJson, fail, out, plain_errors, print_json, print_table
from relocation.process import LOOPBACK

if TYPE_CHECKING:
    from prometheus_client.core import Metric
    from sqlalchemy import Engine

    from relocation.ledger.stats import Stats


def stats(as_json: AsJson = False) -> None:
    """Show how many relocations, tries and unsent emails there are, and how long tasks take."""
    with plain_errors():
        numbers = _read()
    if as_json:
        print_json(asdict(numbers))
        return
    rows: list[tuple[str, object]] = [
        (f"relocations: {status}", count) for status, count in numbers.relocations.items()
    ]
    rows.append(("oldest open, seconds", _rounded(numbers.oldest_open_seconds)))
    rows += [(f"notices: {state}", count) for state, count in numbers.unsent.items()]
    rows.append(("oldest unsent, seconds", _rounded(numbers.oldest_unsent_seconds)))
    rows += [(f"last hour: {what}", count) for what, count in numbers.happenings.items() if count]
    print_table(["What", "Number"], rows)
    if numbers.task_seconds:
        out.print()
        print_table(
            ["Task, last hour", "Tries", "p50 s", "p95 s"],
            [
                (task, spread.count, f"{spread.p50:.1f}", f"{spread.p95:.1f}")
                for task, spread in numbers.task_seconds.items()
            ],
        )


def metrics(
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Address to serve on.")
    ] = f"{LOOPBACK}:9100",
    file: Annotated[
        Path | None,
        typer.Option(help="Write the numbers to this file once, and exit."),
    ] = None,
) -> None:
    """Serve the numbers to Prometheus until Ctrl-C, or write them once to a file."""
    from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile  # noqa: PLC0415 - half a second

    with plain_errors():
        registry = CollectorRegistry()
        registry.register(Collector(_ledger()))
        if file is not None:
            write_to_textfile(str(file), registry)
            return
        host, _, port = listen.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 2**16):
            fail(f"--listen takes HOST:PORT, such as {LOOPBACK}:9100, not {listen!r}", code=2)
        server, thread = start_http_server(int(port), addr=host, registry=registry)
        out.print(f"Serving metrics on http://{listen}/metrics until Ctrl-C", soft_wrap=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            server.shutdown()
            thread.join()


class Collector:
    """Reads the ledger each time Prometheus asks."""

    def __init__(self, ledger: "Engine") -> None:
        self._ledger = ledger

    def collect(self) -> "Iterator[Metric]":
        """Yield the numbers; only that it is away where the ledger does not answer."""
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

        from relocation.ledger.stats import read_stats  # noqa: PLC0415

        try:
            numbers = read_stats(self._ledger, datetime.now(UTC))
        except SQLAlchemyError:
            yield GaugeMetricFamily("relocation_ledger_up", "Whether the ledger answers.", 0)
            return
        yield GaugeMetricFamily("relocation_ledger_up", "Whether the ledger answers.", 1)
        for name, text, labels, values in _families(numbers):
            family = GaugeMetricFamily(name, text, labels=labels)
            for of_labels, value in values:
                family.add_metric(of_labels, value)
            yield family


def _families(
    numbers: "Stats",
) -> Iterator[tuple[str, str, list[str], list[tuple[list[str], float]]]]:
    yield (
        "relocation_relocations",
        "Relocations in the ledger.",
        ["status"],
        [([status], count) for status, count in numbers.relocations.items()],
    )
    yield (
        "relocation_oldest_open_seconds",
        "Age of the oldest relocation that has not ended; 0 where all have.",
        [],
        [([], numbers.oldest_open_seconds or 0)],
    )
    yield (
        "relocation_unsent_notices",
        "Notices that are not done with.",
        ["state"],
        [([state], count) for state, count in numbers.unsent.items()],
    )
    yield (
        "relocation_oldest_unsent_notice_seconds",
        "Age of the oldest notice that is not done with; 0 where all are.",
        [],
        [([], numbers.oldest_unsent_seconds or 0)],
    )
    yield (
        "relocation_tries_last_hour",
        "Tries that ended in the last hour.",
        ["task", "outcome"],
        [
            ([task, outcome], count)
            for task, outcomes in numbers.tries.items()
            for outcome, count in outcomes.items()
        ],
    )
    yield (
        "relocation_events_last_hour",
        "What happened to relocations in the last hour.",
        ["event"],
        [([what], count) for what, count in numbers.happenings.items()],
    )
    yield (
        "relocation_task_seconds",
        "How long the tries took that ended in the last hour.",
        ["task", "quantile"],
        [
            ([task, quantile], value)
            for task, spread in numbers.task_seconds.items()
            for quantile, value in (("0.5", spread.p50), ("0.95", spread.p95))
        ],
    )


def _ledger() -> "Engine":
    from relocation.prefect_api.blocks import load_ledger  # noqa: PLC0415 - Prefect: a second
    from relocation.settings import Settings  # noqa: PLC0415

    return load_ledger(Settings())


def _read() -> "Stats":
    from relocation.ledger.stats import read_stats  # noqa: PLC0415

    return read_stats(_ledger(), datetime.now(UTC))


def _rounded(seconds: float | None) -> Any:
    return None if seconds is None else round(seconds)
