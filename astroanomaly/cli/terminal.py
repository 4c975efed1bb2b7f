"""What the command line shows: lines of text, errors and tables. The library itself never prints."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from astroanomaly.records import Fact

__all__ = ["announced", "err", "error", "heard", "out", "say", "say_facts", "show_table"]

_QUIET_S = 0.5  # after which a command says what it does; Python and this package need a quarter of a second before

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


_heard = threading.Event()
_announcing = threading.Lock()  # what is shown comes before the announcement, or after it, whole


@contextlib.contextmanager
def announced(text: str) -> Iterator[None]:
    """Write a line on standard error if the block has shown nothing for a moment.

    Parameters
    ----------
    text
        What is being done.
    """

    def write() -> None:
        with _announcing:
            if not _heard.is_set():
                err.print(escape(text))
                _heard.set()

    _heard.clear()
    timer = threading.Timer(_QUIET_S, write)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # no line after the last one; Python aborts where it ends while another thread writes


def heard() -> None:
    """Note that the command shows something: it need not be announced any more."""
    if not _heard.is_set():
        with _announcing:
            _heard.set()


def say(text: str = "") -> None:
    """Print a line of plain text (markup in it is shown as it is)."""
    heard()
    out.print(escape(text))


def say_facts(facts: Iterable[Fact]) -> None:
    """Print what a source understood of a request, a line each."""
    for fact in facts:
        say(f"{fact.name}: {fact.text}")


def error(text: str) -> None:
    """Print an error message."""
    heard()
    err.print(f"[bold red]astroanomaly:[/] {escape(text)}")


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of plain text."""
    heard()
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
