"""The errors of the positions of a catalogue: which columns hold them, and how large they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from astroanomaly.tables.column_names import ucd_of
from astroanomaly.tables.read import column_numbers

if TYPE_CHECKING:
    from astropy.table import Table
    from astropy.units import UnitBase

__all__ = ["position_errors"]

_RADII = (  # of a circle, or the longer axis of an ellipse
    "position_error", "pos_error", "pos_err", "poserr", "positional_error", "radec_err", "radec_error", "err_pos",
    "error_radius", "errorradius", "err_radius", "e_pos", "poserror", "errmaj", "err_maj", "err_ellipse_major",
    "error_maj", "error_ellipse_major", "sigpos", "sigma_pos",
)  # fmt: skip
_PAIRS = (  # in right ascension and declination
    ("ra_error", "dec_error"), ("e_raj2000", "e_dej2000"), ("e_ra_icrs", "e_de_icrs"), ("ra_err", "dec_err"),
    ("raerr", "decerr"), ("e_ra", "e_dec"), ("e_ra", "e_de"), ("sigra", "sigdec"), ("ra_sigma", "dec_sigma"),
    ("sigma_ra", "sigma_dec"), ("e__raj2000", "e__dej2000"), ("err_ra", "err_dec"),
)  # fmt: skip
_UCDS = ("stat.error;pos.eq", "stat.error;pos", "stat.error;pos.errorellipse", "pos.errorellipse;stat.error")


def position_errors(table: Table) -> tuple[np.ndarray, list[str]] | None:
    """Return how well the positions of a catalogue are known.

    Columns are found by their UCD (``stat.error;pos.eq`` and the like), else by a usual name. Only a column whose unit
    is an angle counts: a number without one is not guessed. Of two columns, in right ascension and in declination, the
    larger error counts, and of an ellipse the longer axis.

    Parameters
    ----------
    table
        The catalogue, or a part of it.

    Returns
    -------
    tuple of numpy.ndarray and list of str
        ``(n,)`` float64 arcsec, NaN where unknown or negative, and the names of the columns; None where there are no
        such columns.
    """
    names = _columns(table)
    if not names:
        return None
    errors = np.stack([column_numbers(table[name]) * _arcsec(table, name) for name in names])
    largest = np.where(np.isnan(errors).any(axis=0), np.nan, errors.max(axis=0))
    return np.where(largest >= 0, largest, np.nan), names


def _columns(table: Table) -> list[str]:
    angles = {name.lower(): name for name in table.colnames if _is_angle(table, name)}
    marked = [name for name in angles.values() if ucd_of(table[name]) in _UCDS]
    if len(marked) == 1:
        return marked
    ra = [name for name in angles.values() if ucd_of(table[name]).startswith("stat.error;pos.eq.ra")]
    dec = [name for name in angles.values() if ucd_of(table[name]).startswith("stat.error;pos.eq.dec")]
    if len(ra) == len(dec) == 1:
        return [*ra, *dec]
    for radius in _RADII:
        if radius in angles:
            return [angles[radius]]
    for first, second in _PAIRS:
        if first in angles and second in angles:
            return [angles[first], angles[second]]
    return []


def _is_angle(table: Table, name: str) -> bool:
    from astropy.units import deg

    unit: UnitBase | None = getattr(table[name], "unit", None)
    column = table[name]
    is_number = getattr(column, "ndim", 1) == 1 and getattr(getattr(column, "dtype", None), "kind", "O") in "iuf"
    return is_number and unit is not None and unit.is_equivalent(deg)


def _arcsec(table: Table, name: str) -> float:
    from astropy.units import arcsec

    return float(table[name].unit.to(arcsec))
