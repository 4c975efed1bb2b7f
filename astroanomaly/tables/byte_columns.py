"""Text in columns of bytes, as FITS has it: UTF-8, or else Latin-1, in which every byte is a letter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["decode_columns"]

_MAX_ASCII = 127


def decode_columns(table: Table) -> Table:
    """Return a table whose columns of bytes are ASCII, or text: astropy reads bytes as UTF-8, and fails on others.

    Parameters
    ----------
    table
        Left as it is; the columns that need no change are shared with it.
    """
    foreign = {name: data for name in table.colnames if (data := _foreign_bytes(table[name])) is not None}
    if not foreign:
        return table
    decoded = table.copy(copy_data=False)
    for name, data in foreign.items():
        try:
            text = np.char.decode(data, "utf-8")
        except UnicodeDecodeError:
            text = np.char.decode(data, "latin-1")
        before = table[name]
        if np.ma.isMaskedArray(before):
            text = np.ma.array(text, mask=np.ma.getmaskarray(before))
        decoded.replace_column(name, type(before)(text, name=name, description=before.description, meta=before.meta))
    return decoded


def _foreign_bytes(column: Any) -> np.ndarray | None:
    """Return the values of a column of bytes beyond ASCII; None for any other column."""
    if np.dtype(getattr(column, "dtype", object)).kind != "S":
        return None
    data = np.ascontiguousarray(np.ma.getdata(column)).view(np.ndarray)
    return data if data.size and data.view(np.uint8).max() > _MAX_ASCII else None
