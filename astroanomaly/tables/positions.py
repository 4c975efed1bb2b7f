"""Positions in a table: which columns hold them, in what frame and unit, and their ICRS degrees or pixels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.config import nearest
from astroanomaly.errors import CatalogError, ConfigError
from astroanomaly.tables.column_names import PIXEL_NAMES, SKY_NAMES, SKY_UCDS, find_pair, ucd_of
from astroanomaly.tables.coordinates import plain_icrs

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["has_positions", "pixel_positions", "sky_positions"]

_SEXTRACTOR_PIXEL = re.compile(r"(X|Y)\w*_IMAGE")


def has_positions(table: Table) -> bool:
    """Whether there are columns of positions by UCD, usual name or unit."""
    return _find_sky(table) is not None or find_pair(table.colnames, PIXEL_NAMES) is not None


def sky_positions(
    table: Table, given: tuple[str, str] | None = None, frame: str | None = None, *, where: str
) -> tuple[np.ndarray, np.ndarray, str] | None:
    """Find the sky positions of a table: columns given, a SkyCoord column, columns of a usual UCD, name or unit.

    Parameters
    ----------
    given
        Names of the longitude and latitude columns.
    frame
        Frame of the positions; None: what the names imply.
    where
        How error messages call the table.

    Returns
    -------
    ra, dec, columns
        ``(n,)`` ICRS degrees, NaN where a row has no valid position, and what they were read from. None if there are
        no positions.

    Raises
    ------
    CatalogError
        If a column holds no angles.
    ConfigError
        If the frame is unknown.
    """
    from astropy.coordinates import SkyCoord

    mixins = [name for name in table.colnames if isinstance(table[name], SkyCoord)]
    if given is None and mixins:
        return *plain_icrs(table[mixins[0]]), mixins[0]
    names = (*given, "icrs") if given else _find_sky(table)
    if names is None:
        return None
    implied = names[2]
    if frame is None and given:  # a column called glon is galactic, whoever names it
        implied = next((known[2] for known in SKY_NAMES if known[0] == given[0].lower()), "icrs")
    name, keywords = _frame(frame or implied)
    equatorial = name in ("icrs", "fk5", "fk4", "fk4noeterms", "gcrs", "cirs", "tete", "precessedgeocentric")
    lon = _degrees(table[names[0]], names[0], equatorial, where)
    lat = _degrees(table[names[1]], names[1], False, where)
    good = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90)
    ra, dec = np.full(len(lon), np.nan), np.full(len(lon), np.nan)
    if name == "icrs":
        ra[good], dec[good] = lon[good] % 360, lat[good]
    elif good.any():
        ra[good], dec[good] = plain_icrs(SkyCoord(lon[good], lat[good], unit="deg", frame=name, **keywords))
    return ra, dec, f"{names[0]}, {names[1]} ({frame or implied})"


def pixel_positions(
    table: Table, given: tuple[str, str] | None = None, *, where: str
) -> tuple[np.ndarray, np.ndarray, str] | None:
    """Find the pixel positions of a table, as `sky_positions`; ``(n,)`` each, counted from 0."""
    names = given or find_pair(table.colnames, PIXEL_NAMES)
    if names is None:
        return None
    x, y = (_pixels(table[name], name, where) for name in names)
    return x, y, f"{names[0]}, {names[1]}"


def _find_sky(table: Table) -> tuple[str, ...] | None:
    """Find ``(longitude, latitude, frame)`` by UCD, usual name or unit."""
    ucds: dict[str, list[str]] = {}
    for name in table.colnames:
        ucds.setdefault(ucd_of(table[name]), []).append(name)
    for first, second, frame in SKY_UCDS:
        if len(ucds.get(first, ())) == 1 and len(ucds.get(second, ())) == 1:
            return ucds[first][0], ucds[second][0], frame
    named = find_pair(table.colnames, SKY_NAMES)
    if named:
        return named
    units = {name: str(getattr(table[name], "unit", None) or "").strip('"') for name in table.colnames}
    hours = [name for name, unit in units.items() if unit in ("hourangle", "h:m:s", "hms")]
    degrees = [name for name, unit in units.items() if unit in ("deg", "d:m:s", "dms")]
    return (hours[0], degrees[0], "icrs") if len(hours) == 1 and len(degrees) == 1 else None


def _frame(text: str) -> tuple[str, dict[str, str]]:
    """Split ``fk5 J1975`` into the frame and its attributes, checked."""
    from astropy.coordinates import SkyCoord, frame_transform_graph

    name, *rest = text.lower().split()
    known = frame_transform_graph.get_names()
    if name not in known:
        raise ConfigError(f"unknown frame {text!r}{nearest(name, known)} (known: {', '.join(sorted(known))})")
    keywords = {"equinox": rest[0].upper()} if rest else {}
    try:
        SkyCoord(0, 0, unit="deg", frame=name, **keywords).transform_to("icrs")
    except Exception as error:  # every frame has its own way of saying that it needs more than two angles
        raise ConfigError(
            f"positions in the frame {text!r} cannot be turned into ICRS ({error}); "
            "expected a frame such as icrs, fk5, 'fk5 J1975', fk4, galactic"
        ) from error
    return name, keywords


def _degrees(column: Any, name: str, hours: bool, where: str) -> np.ndarray:
    """Turn a column of angles into degrees; masked and unreadable ones become NaN."""
    from astropy import units as u

    mask = np.ma.getmaskarray(column) if np.ma.isMaskedArray(column) else np.asarray(getattr(column, "mask", False))
    mask = np.broadcast_to(mask, (len(column),))
    raw = np.asarray(np.ma.getdata(column) if not isinstance(column, u.Quantity) else column.value)
    if raw.ndim != 1:
        raise CatalogError(f"{where}: the position column {name!r} has shape {raw.shape}, expected one number per row")
    unit = getattr(column, "unit", None)
    if raw.dtype.kind in "SUO":
        texts = np.array([x.decode("ascii", "replace") if isinstance(x, bytes) else str(x) for x in raw.tolist()])
        values = _from_texts(texts, mask, hours, unit)
    elif raw.dtype.kind in "iuf":
        values = raw.astype(np.float64)
        words = str(unit or "").strip().lower()
        if words in ("h", "hr", "hour", "hours", "hourangle"):
            values = values * 15
        elif unit is not None and words not in ("", "degree", "degrees", "degs"):
            parsed = u.Unit(unit, parse_strict="silent")
            if not parsed.is_equivalent(u.deg):
                raise CatalogError(f"{where}: the position column {name!r} is in {unit}, expected an angle")
            values = values * parsed.to(u.deg)
    else:
        raise CatalogError(f"{where}: the position column {name!r} holds {raw.dtype}, expected numbers or text")
    return np.where(mask | ~np.isfinite(values), np.nan, values)


def _from_texts(texts: np.ndarray, mask: np.ndarray, hours: bool, unit: Any) -> np.ndarray:
    from astropy import units as u
    from astropy.coordinates import Angle

    values = np.full(len(texts), np.nan)
    words = str(unit or "").strip('"').lower()
    in_hours = words in ("h:m:s", "hms", "hourangle") if words else hours
    for k in np.flatnonzero(~mask):
        text = texts[k].strip()
        try:
            number = float(text)
            values[k] = number * 15 if words == "hourangle" else number
        except ValueError:
            try:
                values[k] = Angle(text, u.hourangle if in_hours else u.deg).deg
            except (ValueError, TypeError, u.UnitsError):
                continue  # a row without a readable position, counted as such later
    return values


def _pixels(column: Any, name: str, where: str) -> np.ndarray:
    raw = np.ma.filled(np.ma.asarray(getattr(column, "value", column)).astype(np.float64), np.nan)
    if raw.ndim != 1:
        raise CatalogError(f"{where}: the position column {name!r} has shape {raw.shape}, expected one number per row")
    raw = np.where(np.isfinite(raw), raw, np.nan)
    return raw - 1 if _SEXTRACTOR_PIXEL.fullmatch(name.upper()) else raw
