"""Angles in a column of a table: numbers in a unit, or texts, as degrees."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from astroanomaly.errors import CatalogError
from astroanomaly.tables.column_names import split_unit

__all__ = ["HOURS", "angles_in_degrees", "unit_words"]

HOURS = ("h", "hr", "hour", "hours", "hourangle", "h:m:s", "hms")  # units of columns, as files spell them
_DEGREES = ("deg", "degree", "degrees", "degs", "decimal degrees", "decimal degree", "decimal deg", "deg decimal")
_SEXAGESIMAL = ("d:m:s", "dms")
_HMS = re.compile(r"h{1,2}(rs?|ours?)?[\s:_.]*m{1,2}(in(utes)?)?[\s:_.]*s{1,2}(ec(onds)?)?[.sf]*")  # hh:mm:ss.ss
_DMS = re.compile(r"[+\u00b1-]*d{1,3}(eg(rees)?)?[\s:_.]*(m{1,2}(in)?|arcmin)[\s:_.]*(s{1,2}(ec)?|arcsec)[.sf]*")


def unit_words(column: Any) -> str:
    """Return the unit of a column, else that in its name, as files spell it, in lower case; empty without one."""
    unit = str(getattr(column, "unit", None) or "").strip().strip('"')
    words = (unit or split_unit(column.info.name or "")[1]).lower()
    return "h:m:s" if _HMS.fullmatch(words) else "d:m:s" if _DMS.fullmatch(words) else words


def angles_in_degrees(column: Any, name: str, hours: bool, where: str, given: str = "") -> tuple[np.ndarray, str]:
    """Turn a column of angles into degrees; masked and unreadable ones become NaN. Also the unit, empty if none."""
    from astropy import units as u

    mask = np.ma.getmaskarray(column) if np.ma.isMaskedArray(column) else np.asarray(getattr(column, "mask", False))
    mask = np.broadcast_to(mask, (len(column),))
    raw = np.asarray(np.ma.getdata(column) if not isinstance(column, u.Quantity) else column.value)
    if raw.ndim != 1:
        raise CatalogError(f"{where}: the position column {name!r} has shape {raw.shape}, expected one number per row")
    unit = getattr(column, "unit", None)
    words = given or unit_words(column)
    unit = given or unit
    if raw.dtype.kind in "SUO":
        texts = np.array([x.decode("ascii", "replace") if isinstance(x, bytes) else str(x) for x in raw.tolist()])
        values, words = _from_texts(texts, mask, hours, words, lambda: _in_degrees(unit or words, name, where))
    elif raw.dtype.kind in "iuf":
        values = raw.astype(np.float64)
        if words in HOURS:
            values, words = values * 15, "hourangle"
        elif words and words not in _DEGREES:
            values = values * _in_degrees(unit or words, name, where)
        elif words:
            words = "deg"
    else:
        raise CatalogError(f"{where}: the position column {name!r} holds {raw.dtype}, expected numbers or text")
    return np.where(mask | ~np.isfinite(values), np.nan, values), words


def _in_degrees(unit: Any, name: str, where: str) -> float:
    """Return how many degrees a unit is."""
    from astropy import units as u

    parsed = u.Unit(unit, parse_strict="silent")
    if not isinstance(parsed, u.UnitBase) or not parsed.is_equivalent(u.deg):  # several units with commas are no unit
        raise CatalogError(
            f"{where}: the position column {name!r} is in {unit}, expected an angle: say which unit it is in with "
            "--unit, as in --unit deg, --unit rad or --unit hour"
        )
    return float(parsed.to(u.deg))


def _from_texts(
    texts: np.ndarray, mask: np.ndarray, hours: bool, words: str, unit_degrees: Callable[[], float]
) -> tuple[np.ndarray, str]:
    """Read angles that are texts: numbers in their unit, or sexagesimal."""
    from astropy import units as u
    from astropy.coordinates import Angle

    values = np.full(len(texts), np.nan)
    known = words in (*HOURS, *_DEGREES, *_SEXAGESIMAL)
    in_hours = words in HOURS if known else hours
    scale = 15.0 if words in HOURS else 1.0 if known or not words else None
    sexagesimal = False
    for k in np.flatnonzero(~mask):
        text = texts[k].strip()
        try:
            number = float(text)
        except ValueError:
            try:
                values[k] = Angle(text, u.hourangle if in_hours else u.deg).deg
                sexagesimal = True
            except (ValueError, TypeError, u.UnitsError):
                continue  # a row without a readable position, counted as such later
        else:
            scale = unit_degrees() if scale is None else scale
            values[k] = number * scale
    return values, f"sexagesimal {'hours' if in_hours else 'degrees'}" if sexagesimal else words
