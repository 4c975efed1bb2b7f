"""Write CSV; on request so that no text in it is a formula to a spreadsheet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any

from astroanomaly.errors import ConfigError
from astroanomaly.tables.escape import FORMULAS_ESCAPED, formula_text, unicode_text

__all__ = ["check_escape", "csv_rows"]


def csv_rows(
    handle: IO[str], names: Iterable[str], *, escape_formulas: bool = False
) -> Callable[[Iterable[Sequence[Any]]], None]:
    """Write a line of names; return what writes rows of texts and numbers.

    Parameters
    ----------
    handle
        Opened with ``newline=""``.
    names
        Column names.
    escape_formulas
        Put an apostrophe before what a spreadsheet would run, in names and texts, and say so in a column
        ``formulas_escaped``: who reads the table with this package gets the texts as they were.
    """
    writer = csv.writer(handle)

    def text(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return formula_text(unicode_text(value)) if escape_formulas else unicode_text(value)

    more = (1,) if escape_formulas else ()
    writer.writerow([*map(text, names), *((FORMULAS_ESCAPED,) if escape_formulas else ())])
    return lambda rows: writer.writerows((*map(text, row), *more) for row in rows)


def check_escape(path: Path, escape_formulas: bool) -> None:
    """Refuse to escape formulas in what is no CSV.

    Raises
    ------
    ConfigError
        If that is asked for.
    """
    if escape_formulas and path.suffix.lower() != ".csv":
        raise ConfigError(f"formulas are escaped in CSV only, and {path} is none: leave --escape-formulas out")
