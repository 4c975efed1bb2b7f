"""Catalogue columns that are stored with the cutouts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly import CatalogError

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["COLUMN", "carried", "is_carried"]

COLUMN = "column:"  # before the names of catalogue columns in a task's table
_log = logging.getLogger(__name__)


def is_carried(column: Any) -> bool:
    """Whether a column holds a single number or text for each row."""
    kind = getattr(getattr(column, "dtype", None), "kind", "-")
    if kind not in "iufbSUO" or getattr(column, "ndim", 0) != 1:
        return False
    if kind != "O":
        return True
    values = getattr(column, "filled", lambda _: column)("")  # a masked one stands for nothing
    return all(value is None or isinstance(value, str | bytes | int | float | np.generic) for value in values)


def carried(table: Table, wanted: Sequence[str]) -> dict[str, Any]:
    """Pick the columns that ride along: one value per row, number or text.

    Parameters
    ----------
    table
        The catalogue's columns.
    wanted
        Their names; ``*`` for all, ``none`` for none.

    Raises
    ------
    CatalogError
        If a column that was named is not there.
    """
    names = list(table.colnames)
    if list(wanted) == ["none"] and "none" not in names:
        return {}
    unknown = [name for name in wanted if name != "*" and name not in names]
    if unknown:
        raise CatalogError(f"the catalogue has no column {unknown[0]!r} to carry. Its columns: {', '.join(names)}")
    found = {}
    for name in names if "*" in wanted else wanted:
        if is_carried(table[name]):
            found[name] = table[name]
        else:
            _log.info("catalogue column %s is not carried: it holds no single number or text per row", name)
    return found
