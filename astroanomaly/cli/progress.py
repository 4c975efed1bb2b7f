"""Progress of a command on standard error: bars on a terminal, else lines."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from astroanomaly.cli.terminal import err, heard, say_facts
from astroanomaly.records import Progress, drain

__all__ = ["PlainLines", "follow", "shown"]

Result = TypeVar("Result")


def follow(steps: Generator[Progress, None, Result]) -> Result:
    """Run a generator of reports to its end behind progress bars; return what it returns."""
    with shown() as show:
        return drain(steps, show)


@contextlib.contextmanager
def shown() -> Iterator[Callable[[Progress], None]]:
    """Give what shows reports by progress bars, as long as the block runs.

    Without a terminal, as in a batch job, a line is written at the end of each stage, for every message, and now and
    then with the time that is left, see `PlainLines`. What was understood of a request goes to standard output.
    """
    if not err.is_terminal:
        yield PlainLines().show
        return
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
            heard()
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

        yield show


class PlainLines:
    """Progress as lines of text, for logs: of one stage after 2, 6, 14, 30 and 60 seconds, then every half minute.

    Parameters
    ----------
    first_s
        Seconds to the first line of a stage; each of the next ones takes twice as long.
    every_s
        The longest time between two lines.
    clock
        What tells the time in seconds.
    """

    def __init__(
        self, first_s: float = 2.0, every_s: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._first_s, self._every_s = first_s, every_s
        self._wait_s = first_s
        self._clock = clock
        self._stage = ""
        self._first = (0.0, 0)  # time of the stage's first report, and what was done before
        self._last_s = 0.0

    def show(self, report: Progress) -> None:
        """Write what there is to say of a report."""
        say_facts(report.facts)
        if report.message:
            _write(report.message)
        now = self._clock()
        if report.stage != self._stage:
            self._stage, self._first, self._last_s = report.stage, (now, report.done), now
            self._wait_s = self._first_s
        if report.total and report.done == report.total:
            _write(f"{report.stage}: {report.done}")
        elif now - self._last_s >= self._wait_s:
            self._last_s, self._wait_s = now, min(2 * self._wait_s, self._every_s)
            _write(f"{report.stage}: {report.done}{self._left(report, now)}")

    def _left(self, report: Progress, now: float) -> str:
        """Say how much and how long is left, as far as that is known."""
        if not report.total:
            return ""
        began, before = self._first
        done = report.done - before
        left = f", {_duration((now - began) * (report.total - report.done) / done)} left" if done > 0 else ""
        return f" of {report.total}{left}"


def _duration(seconds: float) -> str:
    """Say how long in the unit that fits: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _write(text: str) -> None:
    heard()
    print(text, file=sys.stderr, flush=True)  # noqa: T201
