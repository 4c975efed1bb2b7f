"""Right ascensions in hours that were read as degrees: suspected aloud where nothing is found at them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from astroanomaly import Catalog

__all__ = ["HOURS_WAY", "hours_remark", "may_be_hours"]

HOURS_WAY = "say --unit hour, give the column that unit (hourangle), or write them as 10:00:24"


def may_be_hours(catalog: Catalog) -> bool:
    """Whether right ascensions that were read as degrees look like hours."""
    columns = catalog.sky
    return columns is not None and _look_like_hours(catalog.ra, columns.frame, columns.unit, columns.chosen)


def hours_remark(ra: np.ndarray, origin: Mapping[str, Any]) -> str:
    """Return the sentence of an error that suspects hours; empty where there is no reason to.

    Parameters
    ----------
    ra
        ``(n,)`` ICRS degrees, NaN where unknown.
    origin
        What the fact ``positions`` says of them.
    """
    if not _look_like_hours(ra, *(str(origin.get(key, "")) for key in ("frame", "unit", "chosen"))):
        return ""
    return f" All right ascensions of the catalogue are between 0 and 24: if they are hours, {HOURS_WAY}."


def _look_like_hours(ra: np.ndarray | None, frame: str, unit: str, chosen: str) -> bool:
    known = np.asarray([] if ra is None else ra, np.float64)
    known = known[np.isfinite(known)]
    plain = frame in ("icrs", "fk5 J2000") and unit == "deg" and chosen not in ("", "SkyCoord")
    return bool(plain and len(known) and known.min() >= 0 and known.max() <= 24)
