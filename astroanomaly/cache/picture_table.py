"""A table of objects that shows their pictures in a notebook, and is a `QTable` otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np
from astropy.table import QTable

from astroanomaly.errors import AstroAnomalyError
from astroanomaly.imaging.html import shown_text

__all__ = ["PictureTable"]

_MAX_ROWS = 50  # that are shown, with a picture each
_MAX_COLUMNS = 12
_DEGREES = ("ra", "dec")  # shown to a millionth, 4 milliarcseconds
_DIGITS = 4
Paint = Callable[[Sequence[str]], Sequence[str]]


class PictureTable(QTable):
    """A `QTable` with a column ``object_id`` whose rows have pictures where it is shown as HTML.

    Parts and copies of it have pictures too. What is made of it otherwise (joined, read back, unpickled) has none.
    """

    _paint: Paint | None = None

    def __init__(self, data: Any = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(data, *args, **kwargs)
        self._paint = getattr(data, "_paint", None)

    @classmethod
    def of(cls, table: QTable, paint: Paint) -> PictureTable:
        """Take a table over.

        Parameters
        ----------
        table
            With a column ``object_id``; its columns are shared, not copied.
        paint
            Gives for some ids an ``<img>`` each, empty where there is none.
        """
        made = cls(table, copy=False)
        made._paint = paint
        return made

    def __getitem__(self, item: Any) -> Any:
        found = super().__getitem__(item)
        if isinstance(found, PictureTable):
            found._paint = self._paint
        return found

    def _repr_html_(self) -> str:
        shown = self[:_MAX_ROWS]
        pictures = shown._pictures()
        names = self.colnames[:_MAX_COLUMNS]
        cells = [[escape(shown_text(text)) for text in _texts(shown, name)] for name in names]
        heads = []
        for name in names:
            unit = self[name].info.unit
            heads.append(escape(shown_text(name)) + (f"<br>{escape(shown_text(unit))}" if unit else ""))
        if pictures:
            cells.insert(0, pictures)
            heads.insert(0, "")
        rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in zip(*cells, strict=True))
        left = len(self) - len(shown)
        more = [f"{left} more rows"] * (left > 0)
        more += [f"{len(self.colnames) - len(names)} more columns"] * (len(self.colnames) > len(names))
        return (
            f"<div><i>{len(self)} object{'' if len(self) == 1 else 's'}</i><table><thead><tr>"
            f"{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead><tbody>{rows}</tbody></table>"
            f"{', '.join(more)}</div>"
        )

    def _pictures(self) -> list[str]:
        """Return an ``<img>`` for each row; nothing where they cannot be made."""
        if self._paint is None or "object_id" not in self.colnames:
            return []
        try:
            return list(self._paint([str(object_id) for object_id in self["object_id"]]))
        except (AstroAnomalyError, OSError):  # the cache is gone
            return []


def _texts(table: QTable, name: str) -> list[str]:
    """Write the values of a column: degrees to the sixth decimal, other fractions to four digits, nothing for NaN."""
    column = table[name]
    values = np.asarray(np.ma.getdata(getattr(getattr(column, "unmasked", column), "value", column)))
    if values.ndim != 1 or values.dtype.kind != "f":
        return list(column.info.iter_str_vals())
    hidden = np.broadcast_to(np.asarray(getattr(column, "mask", False)), values.shape)
    there = np.isfinite(values) & ~hidden
    form = ".6f" if name in _DEGREES else f".{_DIGITS}g"
    return [
        format(value, form) if finite else "" for value, finite in zip(values.tolist(), there.tolist(), strict=True)
    ]
