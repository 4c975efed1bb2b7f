"""Positions in a table: which columns hold them, in what frame and unit, and their ICRS degrees or pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.config import nearest
from astroanomaly.errors import CatalogError, ConfigError
from astroanomaly.tables.column_names import PIXEL_NAMES, SKY_NAMES, SKY_UCDS, find_pair, find_pairs, split_unit, ucd_of
from astroanomaly.tables.coordinates import plain_icrs

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["PositionColumns", "has_positions", "has_sky_positions", "pixel_positions", "sky_positions"]

_SEXTRACTOR_PIXEL = re.compile(r"(X|Y)\w*_IMAGE")
_HOURS = ("h", "hr", "hour", "hours", "hourangle", "h:m:s", "hms")  # units of columns, as files spell them
_OTHERS_LISTED = 4  # pairs of columns that might have been positions too


@dataclass(frozen=True)
class PositionColumns:
    """Which columns of a table gave its positions, and how their numbers were understood.

    Attributes
    ----------
    columns
        Longitude and latitude, or x and y; one name for a SkyCoord column.
    chosen
        Why these: ``named`` by the caller, ``SkyCoord``, ``UCD``, ``usual names`` or ``units``.
    frame
        Frame of the numbers, as astropy calls it, with an equinox where one was given; empty for pixels.
    unit
        Unit of the numbers: ``deg``, ``hourangle`` ..., or ``sexagesimal hours``, ``sexagesimal degrees``; both, where
        longitude and latitude differ. ``pixel`` for pixels.
    stated
        Whether the table itself says the unit.
    origin
        Number of the first pixel, 0 or 1; None for sky positions.
    unused
        Other columns that look like positions and were not used, the first few pairs.
    """

    columns: tuple[str, ...]
    chosen: str
    frame: str = ""
    unit: str = "pixel"
    stated: bool = True
    origin: int | None = None
    unused: tuple[tuple[str, ...], ...] = ()

    def __str__(self) -> str:
        names = ", ".join(self.columns)
        return f"{names} ({self.frame})" if self.frame else names

    @property
    def text(self) -> str:
        """All of it in words."""
        words = f"{', '.join(self.columns)} ({self.chosen}); "
        if self.origin is None:
            words += f"frame {self.frame}; in {self.unit}{'' if self.stated else ', as no unit is stated'}"
        else:
            words += f"pixels, the first of which is {self.origin}"
        others = ", ".join("/".join(pair) for pair in self.unused)
        return f"{words}; not used: {others}" if others else words


def has_sky_positions(table: Table) -> bool:
    """Whether there are columns of sky positions, as `sky_positions` finds them."""
    from astropy.coordinates import SkyCoord

    return _find_sky(table) is not None or any(isinstance(table[name], SkyCoord) for name in table.colnames)


def has_positions(table: Table) -> bool:
    """Whether there are columns of positions by UCD, usual name or unit."""
    return _find_sky(table) is not None or find_pair(table.colnames, PIXEL_NAMES) is not None


def sky_positions(
    table: Table, given: tuple[str, str] | None = None, frame: str | None = None, *, where: str
) -> tuple[np.ndarray, np.ndarray, PositionColumns] | None:
    """Find the sky positions of a table: columns given, a SkyCoord column, columns of a usual UCD, name or unit.

    Parameters
    ----------
    given
        Names of the longitude and latitude columns.
    frame
        Frame of the positions; None: that of the COOSYS of a VOTable, else what the names imply.
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
        column = table[mixins[0]]
        equinox = getattr(column.frame, "equinox", None)
        written = f"{column.frame.name} {equinox.value}" if equinox is not None else column.frame.name
        unused = _unused(table, mixins[0])
        try:
            ra, dec = plain_icrs(column)
        except Exception as error:  # every frame has its own way of saying that it needs more than two angles
            reason = " ".join(str(error).split()).partition(". ")[0]
            raise CatalogError(
                f"{where}: the column {mixins[0]!r} ({column.frame.name}) cannot be turned into ICRS: {reason}. "
                "Turn it with astropy (coords.icrs) and save the table again"
            ) from error
        return ra, dec, PositionColumns((mixins[0],), "SkyCoord", written, "deg", unused=unused)
    found = (*given, "icrs", "named") if given else _find_sky(table)
    if found is None:
        return None
    first, second, implied, chosen = found
    if frame is None and given:  # a column called glon is galactic, whoever names it
        implied = next((known[2] for known in SKY_NAMES if known[0] == first.lower()), "icrs")
    if frame is None and implied in ("icrs", "fk4"):
        frames = {str((getattr(table[name], "meta", None) or {}).get("frame", "")) for name in (first, second)}
        if len(frames) == 1 and (frame := frames.pop() or None):
            chosen += ", COOSYS"
    name, keywords = _frame(frame or implied)
    equatorial = name in ("icrs", "fk5", "fk4", "fk4noeterms", "gcrs", "cirs", "tete", "precessedgeocentric")
    lon, lon_unit = _degrees(table[first], first, equatorial, where)
    lat, lat_unit = _degrees(table[second], second, False, where)
    good = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90)
    ra, dec = np.full(len(lon), np.nan), np.full(len(lon), np.nan)
    if name == "icrs":
        ra[good], dec[good] = lon[good] % 360, lat[good]
    elif good.any():
        ra[good], dec[good] = plain_icrs(SkyCoord(lon[good], lat[good], unit="deg", frame=name, **keywords))
    units = dict.fromkeys((lon_unit or "deg", lat_unit or "deg"))
    stated = bool(lon_unit and lat_unit)
    unused = _unused(table, first, second)
    return (
        ra,
        dec,
        PositionColumns((first, second), chosen, frame or implied, " and ".join(units), stated, None, unused),
    )


def pixel_positions(
    table: Table, given: tuple[str, str] | None = None, *, where: str
) -> tuple[np.ndarray, np.ndarray, PositionColumns] | None:
    """Find the pixel positions of a table, as `sky_positions`; ``(n,)`` each, counted from 0."""
    found = given or find_pair(table.colnames, PIXEL_NAMES)
    if found is None:
        return None
    names = found[0], found[1]
    origins = [_origin(name) for name in names]
    if origins[0] != origins[1]:
        raise CatalogError(
            f"{where}: the column {names[0]!r} counts pixels from {origins[0]}, {names[1]!r} from {origins[1]}: name "
            "two columns of one kind"
        )
    x, y = (_pixels(table[name], name, where) for name in names)
    chosen = "named" if given else "usual names"
    return x, y, PositionColumns(names, chosen, origin=origins[0], unused=_unused(table, *names))


def _find_sky(table: Table) -> tuple[str, str, str, str] | None:
    """Find ``(longitude, latitude, frame, why)`` by UCD, usual name or unit."""
    ucds: dict[str, list[str]] = {}
    for name in table.colnames:
        ucds.setdefault(ucd_of(table[name]), []).append(name)
    for first, second, frame in SKY_UCDS:
        if len(ucds.get(first, ())) == 1 and len(ucds.get(second, ())) == 1:
            return ucds[first][0], ucds[second][0], frame, "UCD"
    named = find_pair(table.colnames, SKY_NAMES)
    if named:
        return named[0], named[1], named[2], "usual names"
    units = {name: _unit_words(table[name]) for name in table.colnames}
    hours = [name for name, unit in units.items() if unit in ("hourangle", "h:m:s", "hms")]
    degrees = [name for name, unit in units.items() if unit in ("deg", "d:m:s", "dms")]
    return (hours[0], degrees[0], "icrs", "units") if len(hours) == 1 and len(degrees) == 1 else None


def _unused(table: Table, *taken: str) -> tuple[tuple[str, ...], ...]:
    """Return the pairs of usual names that were not taken, the first few."""
    pairs = [*find_pairs(table.colnames, SKY_NAMES), *find_pairs(table.colnames, PIXEL_NAMES)]
    others = dict.fromkeys((pair[0], pair[1]) for pair in pairs if pair[:2] != taken)
    return tuple(others)[:_OTHERS_LISTED]


def _unit_words(column: Any) -> str:
    """Return the unit of a column, else that in its name, as files spell it, in lower case; empty without one."""
    unit = str(getattr(column, "unit", None) or "").strip().strip('"')
    return (unit or split_unit(column.info.name or "")[1]).lower()


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


def _degrees(column: Any, name: str, hours: bool, where: str) -> tuple[np.ndarray, str]:
    """Turn a column of angles into degrees; masked and unreadable ones become NaN. Also the unit, empty if none."""
    from astropy import units as u

    mask = np.ma.getmaskarray(column) if np.ma.isMaskedArray(column) else np.asarray(getattr(column, "mask", False))
    mask = np.broadcast_to(mask, (len(column),))
    raw = np.asarray(np.ma.getdata(column) if not isinstance(column, u.Quantity) else column.value)
    if raw.ndim != 1:
        raise CatalogError(f"{where}: the position column {name!r} has shape {raw.shape}, expected one number per row")
    unit = getattr(column, "unit", None)
    words = _unit_words(column)
    if raw.dtype.kind in "SUO":
        texts = np.array([x.decode("ascii", "replace") if isinstance(x, bytes) else str(x) for x in raw.tolist()])
        values, words = _from_texts(texts, mask, hours, words)
    elif raw.dtype.kind in "iuf":
        values = raw.astype(np.float64)
        if words in _HOURS:
            values, words = values * 15, "hourangle"
        elif words and words not in ("degree", "degrees", "degs"):
            parsed = u.Unit(unit or words, parse_strict="silent")
            if not parsed.is_equivalent(u.deg):
                raise CatalogError(f"{where}: the position column {name!r} is in {unit or words}, expected an angle")
            values = values * parsed.to(u.deg)
        elif words:
            words = "deg"
    else:
        raise CatalogError(f"{where}: the position column {name!r} holds {raw.dtype}, expected numbers or text")
    return np.where(mask | ~np.isfinite(values), np.nan, values), words


def _from_texts(texts: np.ndarray, mask: np.ndarray, hours: bool, words: str) -> tuple[np.ndarray, str]:
    from astropy import units as u
    from astropy.coordinates import Angle

    values = np.full(len(texts), np.nan)
    in_hours = words in _HOURS if words else hours
    sexagesimal = False
    for k in np.flatnonzero(~mask):
        text = texts[k].strip()
        try:
            number = float(text)
            values[k] = number * 15 if words in _HOURS else number
        except ValueError:
            try:
                values[k] = Angle(text, u.hourangle if in_hours else u.deg).deg
                sexagesimal = True
            except (ValueError, TypeError, u.UnitsError):
                continue  # a row without a readable position, counted as such later
    return values, f"sexagesimal {'hours' if in_hours else 'degrees'}" if sexagesimal else words


def _origin(name: str) -> int:
    """Return the number of the first pixel, which the name of a column implies."""
    return 1 if _SEXTRACTOR_PIXEL.fullmatch(name.upper()) else 0


def _pixels(column: Any, name: str, where: str) -> np.ndarray:
    try:
        raw = np.ma.filled(np.ma.asarray(getattr(column, "value", column)).astype(np.float64), np.nan)
    except (TypeError, ValueError) as error:
        raise CatalogError(f"{where}: the position column {name!r} holds no numbers ({error})") from error
    if raw.ndim != 1:
        raise CatalogError(f"{where}: the position column {name!r} has shape {raw.shape}, expected one number per row")
    return np.where(np.isfinite(raw), raw, np.nan) - _origin(name)
