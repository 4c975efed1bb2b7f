"""Positions in a table: which columns hold them, in what frame and unit, and their ICRS degrees or pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.config import nearest
from astroanomaly.errors import CatalogError, ConfigError
from astroanomaly.sky import read_position
from astroanomaly.tables.angles import HOURS, angles_in_degrees, unit_words
from astroanomaly.tables.column_names import (
    PIXEL_NAMES,
    SEXAGESIMAL_NAMES,
    SKY_NAMES,
    SKY_TEXT_NAMES,
    SKY_UCDS,
    find_name,
    find_pair,
    find_pairs,
    ucd_of,
)
from astroanomaly.tables.coordinates import plain_icrs
from astroanomaly.tables.read import column_texts
from astroanomaly.tables.stated_frames import is_equatorial, stated_frame

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["PositionColumns", "has_positions", "has_sky_positions", "pixel_positions", "sky_positions"]

_SEXTRACTOR_PIXEL = re.compile(r"(X|Y)\w*_IMAGE")
_IN_NAME = re.compile(r"_?[bj]?(1855|1875|1900|1925|1950|1975|2000)(?:\.0)?(?!\d)", re.IGNORECASE)  # an equinox
_TEXTS_TRIED = 20  # of a column that may hold positions
_OTHERS_LISTED = 4  # pairs of columns that might have been positions too


@dataclass(frozen=True)
class PositionColumns:
    """Which columns of a table gave its positions, and how their numbers were understood.

    Attributes
    ----------
    columns
        Longitude and latitude, or x and y; one name for a SkyCoord column, or one of texts that hold both.
    chosen
        Why these: ``named`` by the caller, ``SkyCoord``, ``UCD``, ``usual names``, ``units`` or ``parts`` (hours,
        minutes, seconds).
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
    table: Table,
    given: tuple[str, str] | None = None,
    frame: str | None = None,
    *,
    unit: str | None = None,
    where: str,
) -> tuple[np.ndarray, np.ndarray, PositionColumns] | None:
    """Find the sky positions of a table: columns given, a SkyCoord column, columns of a usual UCD, name or unit.

    Parameters
    ----------
    given
        Names of the longitude and latitude columns.
    frame
        Frame of the positions; None: what the table states (COOSYS, RADESYS), or the names say, else ICRS.
    unit
        Unit of the numbers, which goes before that of the columns: ``deg``, ``rad`` ..., or ``hour``: hours of right
        ascension and degrees of declination; two with a comma between them, one for each. None: that of the columns.
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
        If a column holds no angles, or the frame is contradicted.
    ConfigError
        If the frame or the unit is unknown.
    """
    from astropy.coordinates import SkyCoord

    units_given = _two_units(unit)
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
    *columns, implied, chosen = found
    first, second = columns[0], columns[-1]
    implied = implied if frame else stated_frame(table, first, second, implied, where)
    name, keywords = _frame(frame or implied)
    equatorial = is_equatorial(name)
    if chosen == "parts":
        lon, lat, lon_unit, lat_unit = *_from_parts(table, columns), "sexagesimal hours", "sexagesimal degrees"
    elif len(columns) == 1:
        lon, lat = _from_one_text(table[first])
        lon_unit = lat_unit = "text"
    else:
        lon, lon_unit = angles_in_degrees(table[first], first, equatorial, where, units_given[0])
        lat, lat_unit = angles_in_degrees(table[second], second, False, where, units_given[1])
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
        PositionColumns(tuple(columns), chosen, frame or implied, " and ".join(units), stated, None, unused),
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


def _find_sky(table: Table) -> tuple[str, ...] | None:
    """Find ``(longitude, latitude, frame, why)`` by UCD, usual name, parts or unit; one name for a text with both."""
    ucds: dict[str, list[str]] = {}
    for name in table.colnames:
        ucds.setdefault(ucd_of(table[name]), []).append(name)
    for first, second, frame in SKY_UCDS:
        if len(ucds.get(first, ())) == 1 and len(ucds.get(second, ())) == 1:
            return ucds[first][0], ucds[second][0], frame, "UCD"
    named = find_pair(table.colnames, SKY_NAMES)
    if named:
        return named[0], named[1], named[2], "usual names"
    old = find_pair([_IN_NAME.sub("", name) for name in table.colnames], SKY_NAMES)
    if old:  # RA1950, DEC_B1950: the names say the frame
        bare = {_IN_NAME.sub("", name): name for name in reversed(table.colnames)}
        return bare[old[0]], bare[old[1]], old[2], "usual names"
    by_lower = {name.lower(): name for name in reversed(table.colnames)}
    parts = [by_lower[name] for name in SEXAGESIMAL_NAMES if name in by_lower]
    if {"rah", "ram", "ded", "dem"} <= {name.lower() for name in parts}:
        return *parts, "icrs", "parts"
    text = find_name(table.colnames, SKY_TEXT_NAMES)
    if text is not None and _holds_both(table[text]):
        return text, "icrs", "usual names"
    units = {name: unit_words(table[name]) for name in table.colnames}
    hours = [name for name, unit in units.items() if unit in ("hourangle", "h:m:s", "hms")]
    degrees = [name for name, unit in units.items() if unit in ("deg", "d:m:s", "dms")]
    return (hours[0], degrees[0], "icrs", "units") if len(hours) == 1 and len(degrees) == 1 else None


def _unused(table: Table, *taken: str) -> tuple[tuple[str, ...], ...]:
    """Return the pairs of usual names that were not taken, the first few."""
    pairs = [*find_pairs(table.colnames, SKY_NAMES), *find_pairs(table.colnames, PIXEL_NAMES)]
    others = dict.fromkeys((pair[0], pair[1]) for pair in pairs if pair[:2] != taken)
    return tuple(others)[:_OTHERS_LISTED]


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


def _two_units(unit: str | None) -> tuple[str, str]:
    """Split the unit that somebody gives into that of longitude and that of latitude, checked; empty for none."""
    from astropy import units as u

    if not unit:
        return "", ""
    words = [word.strip().lower() for word in unit.split(",")]
    words = [words[0], "deg" if words[0] in HOURS else words[0]] if len(words) == 1 else words
    for word in words:
        parsed = u.Unit("hourangle" if word in HOURS else word, parse_strict="silent")
        if len(words) != 2 or not parsed.is_equivalent(u.deg):
            raise ConfigError(
                f"unit {unit!r}: expected a unit of angles (deg, rad, arcsec), 'hour' for hours of right ascension and "
                "degrees of declination, or one for each as in 'hour,rad'"
            )
    return words[0], words[1]


def _holds_both(column: Any) -> bool:
    """Whether the first texts of a column, of those that are not empty, are positions."""
    if getattr(column, "ndim", 1) != 1 or getattr(getattr(column, "dtype", None), "kind", "") not in "SUO":
        return False
    texts = [text for text in column_texts(column[:_TEXTS_TRIED]) if text.strip()]
    return bool(texts) and all(_position(text) is not None for text in texts)


def _from_one_text(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Read positions that are one text each; NaN where one is none."""
    found = [_position(text) or (np.nan, np.nan) for text in column_texts(column)]
    lon, lat = np.array(found, float).reshape(-1, 2).T
    return lon, lat


def _position(text: str) -> tuple[float, float] | None:
    try:
        return read_position(text.strip().strip("()[]"))
    except ConfigError:
        return None


def _from_parts(table: Table, columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Put right ascension and declination together from hours, minutes, seconds and the like; NaN where one lacks."""
    parts = {name.lower(): table[name] for name in columns}
    number = {
        name: np.ma.filled(np.ma.asarray(column).astype(float), np.nan)
        for name, column in parts.items()
        if name != "de-"
    }
    zero = np.zeros(len(table))
    lon = 15 * (number["rah"] + number["ram"] / 60 + number.get("ras", zero) / 3600)
    size = np.abs(number["ded"]) + number["dem"] / 60 + number.get("des", zero) / 3600
    signs = column_texts(parts["de-"]) if "de-" in parts else [""] * len(table)
    south = np.array([sign.strip().startswith(("-", "\u2212")) for sign in signs], bool) | np.signbit(number["ded"])
    return lon, np.where(south, -size, size)


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
