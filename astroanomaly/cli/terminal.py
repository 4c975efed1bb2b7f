"""What the command line shows: progress bars and tables. The library itself never prints."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Table

if TYPE_CHECKING:
    from astroanomaly.records import Progress  # not needed to run, and brings numpy: an error message would wait

__all__ = ["error", "follow", "out", "say", "show_table"]

Result = TypeVar("Result")

out = Console(highlight=False, soft_wrap=True)
_side = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str = "") -> None:
    """Print a line of plain text (markup in it is shown as it is)."""
    out.print(escape(text))


def error(text: str) -> None:
    """Print an error message."""
    _side.print(f"[bold red]astroanomaly:[/] {escape(text)}")


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of plain text."""
    if not out.is_terminal:  # a pipe or a log: every cell whole
        rows = [list(columns), *([str(cell) for cell in row] for row in rows)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
        if title:
            say(title)
        for row in rows:
            say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    table = Table(title=escape(title), title_justify="left")
    for name in columns:
        table.add_column(escape(name), overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    out.print(table)


def follow(steps: Generator[Progress, None, Result]) -> Result:
    """Run a generator of reports to its end behind progress bars; return what it returns.

    Without a terminal, a line is written at the end of each stage and for every message.
    """
    if not _side.is_terminal:
        return _follow_plainly(steps)
    with Bars(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=_side,
        transient=False,
    ) as bars:
        tasks: dict[str, TaskID] = {}
        while True:
            try:
                report = next(steps)
            except StopIteration as end:
                return end.value
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


def _follow_plainly(steps: Generator[Progress, None, Result]) -> Result:
    while True:
        try:
            report = next(steps)
        except StopIteration as end:
            return end.value
        if report.message:
            print(report.message, file=sys.stderr, flush=True)  # noqa: T201
        if report.total and report.done == report.total:
            print(f"{report.stage}: {report.done}", file=sys.stderr, flush=True)  # noqa: T201
