"""Catalogue columns of objects that lie in several shards, joined to columns of one length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.errors import CacheError

if TYPE_CHECKING:
    from astropy.table import Column

__all__ = ["join_columns"]

_Piece = tuple[Any, "Column"]  # rows of the result, and their values


def join_columns(parts: Sequence[tuple[np.ndarray | slice, Mapping[str, Column]]], length: int) -> dict[str, Column]:
    """Join the columns of parts of a table whose columns need not be the same.

    Parameters
    ----------
    parts
        For each part its rows in the result, and its columns by name.
    length
        Rows of the result.

    Returns
    -------
    dict
        An `astropy.table.Column` for each name that occurs; a `MaskedColumn`, masked there, where a part lacks it.
        Values are brought to the unit of the first part that has the column. Where that cannot be done the column has
        no unit, and its description says so.

    Raises
    ------
    CacheError
        If the values of a column are numbers here and arrays there.
    """
    pieces: dict[str, list[_Piece]] = {}
    for rows, columns in parts:
        for name, column in columns.items():
            pieces.setdefault(name, []).append((rows, column))
    return {name: _join(name, found, length) for name, found in pieces.items()}


def _join(name: str, pieces: Sequence[_Piece], length: int) -> Column:
    from astropy.table import Column, MaskedColumn

    shapes = {column.shape[1:] for _, column in pieces}
    if len(shapes) > 1:
        raise CacheError(f"the column {name!r} has values of the shapes {sorted(shapes)}: they cannot be one column")
    unit, factors, note = _common_unit([column.unit for _, column in pieces])
    values = [np.ma.getdata(np.asarray(column)) for _, column in pieces]
    values = [value if factor == 1 else value * factor for value, factor in zip(values, factors, strict=True)]
    if len({value.dtype.kind in "USO" for value in values}) > 1:  # text here, numbers there
        values = [value.astype(str) for value in values]
    joined = np.zeros((length, *shapes.pop()), np.result_type(*values))
    there = np.zeros(length, bool)
    for (rows, _), value in zip(pieces, values, strict=True):
        joined[rows], there[rows] = value, True
    described = next((column.description for _, column in pieces if column.description), None)
    meta = next((dict(column.meta) for _, column in pieces if column.meta), None)
    about = {"name": name, "unit": unit, "description": " ".join(filter(None, (described, note))) or None, "meta": meta}
    if there.all():
        return Column(joined, **about)
    mask = np.broadcast_to(~there.reshape(-1, *(1,) * (joined.ndim - 1)), joined.shape)
    return MaskedColumn(joined, mask=mask, **about)


def _common_unit(units: Sequence[Any]) -> tuple[Any, list[float], str]:
    """Return the unit of all, by what each value is to be multiplied, and a note where there is no common one."""
    from astropy.units import UnitBase, UnitsError

    first = units[0]
    try:
        factors = [1.0 if unit == first else float(unit.to(first)) for unit in units if isinstance(unit, UnitBase)]
    except (UnitsError, TypeError, ValueError):
        factors = []
    if all(unit == first for unit in units):
        return first, [1.0] * len(units), ""
    if len(factors) == len(units):
        return first, factors, ""
    names = ", ".join(dict.fromkeys(str(unit) if unit is not None else "none" for unit in units))
    return None, [1.0] * len(units), f"[units differ: {names}]"
