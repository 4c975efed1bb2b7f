"""Tables of archives as plain rows, which can be kept as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from astroanomaly import FetchError

__all__ = ["rows_of"]


def rows_of(table: Any, needed: Sequence[str], more: Sequence[str], what: str) -> list[dict[str, Any]]:
    """Turn an astropy table into rows of JSON values; what is masked, missing or no number is None.

    Parameters
    ----------
    table
        The table; None counts as empty.
    needed, more
        Names of the columns, whatever their case: those that must be there, and those that may.
    what
        What was asked for, as the message will name it.

    Raises
    ------
    FetchError
        If a column is missing.
    """
    if table is None or not len(table):
        return []
    columns = {name.lower(): name for name in table.colnames}
    missing = [name for name in needed if name.lower() not in columns]
    if missing:
        raise FetchError(f"{what}: the table has no column {missing[0]!r}, only {', '.join(table.colnames)}")
    names = [(name, columns.get(name.lower())) for name in (*needed, *more)]
    return [{name: None if column is None else _plain(row[column]) for name, column in names} for row in table]


def _plain(value: Any) -> Any:
    if value is None or np.ma.is_masked(value):
        return None
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bytes):
        plain = plain.decode("utf-8", "replace")
    return None if isinstance(plain, float) and not np.isfinite(plain) else plain
