"""When an image was taken, as its WCS says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from astropy.wcs import WCS

__all__ = ["middle_time"]

_SCALES = ("tt", "tai", "tdb", "tcb", "tcg")  # beside UTC
_LAST_MJD = 100_000.0  # in 2132
_LONGEST_DAYS = 1.0  # a mean of exposures of many nights has no time


def middle_time(wcs: WCS) -> float:
    """Return the middle of an observation.

    Taken from ``MJD-BEG`` and ``MJD-END``, else ``MJD-AVG``, else ``MJD-OBS``, by convention the start. Each of them
    may also be given as ``DATE-``. Source: FITS paper IV (Rots et al. 2015, A&A 574, A36).

    Parameters
    ----------
    wcs
        Of the image.

    Returns
    -------
    float
        Modified Julian date in UTC; NaN where the WCS has none, or a date without a time of day, or the observation
        lasted more than a day.
    """
    from astropy.time import Time

    first, last, mean, start = (_moment(wcs, name) for name in ("beg", "end", "avg", "obs"))
    known = np.isfinite([first, last]).all()
    if known and not 0 <= last - first <= _LONGEST_DAYS:
        return np.nan
    found = next((one for one in ((first + last) / 2, mean, start) if np.isfinite(one)), np.nan)
    scale = str(wcs.wcs.timesys).strip().lower()
    if scale in _SCALES and np.isfinite(found):
        return float(Time(found, format="mjd", scale=scale).utc.mjd)
    return found


def _moment(wcs: WCS, name: str) -> float:
    """Return one of the times of a WCS as MJD; NaN where it has none, or a day only."""
    value, text = float(getattr(wcs.wcs, f"mjd{name}")), str(getattr(wcs.wcs, f"date{name}")).strip()
    is_day = bool(text) and "T" not in text and value == np.floor(value)  # WCSLIB takes midnight then
    return np.nan if is_day or not 0 < value < _LAST_MJD else value
