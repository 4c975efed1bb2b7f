"""Progress of a command on standard error: bars on a terminal, else lines."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import TypeVar

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from astroanomaly.cli.terminal import err, say_facts
from astroanomaly.records import Progress, drain

__all__ = ["follow"]

Result = TypeVar("Result")


def follow(steps: Generator[Progress, None, Result]) -> Result:
    """Run a generator of reports to its end behind progress bars; return what it returns.

    Without a terminal, a line is written at the end of each stage and for every message. What was understood of a
    request goes to standard output.
    """
    if not err.is_terminal:
        return drain(steps, _show_plainly)
    with Bars(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=err,
        transient=False,
    ) as bars:
        tasks: dict[str, TaskID] = {}

        def show(report: Progress) -> None:
            say_facts(report.facts)
            if report.message:
                bars.console.print(escape(report.message))
            if report.stage not in tasks:
                tasks[report.stage] = bars.add_task(escape(report.stage), figures="")
            bars.update(
                tasks[report.stage],
                completed=report.done,
                total=report.total or None,
                figures=escape("  ".join(f"{name} {value:.3g}" for name, value in list(report.values.items())[:4])),
            )

        return drain(steps, show)


def _show_plainly(report: Progress) -> None:
    say_facts(report.facts)
    if report.message:
        print(report.message, file=sys.stderr, flush=True)  # noqa: T201
    if report.total and report.done == report.total:
        print(f"{report.stage}: {report.done}", file=sys.stderr, flush=True)  # noqa: T201
