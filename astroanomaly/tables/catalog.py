"""Read a catalogue: ids and positions, found or named, from any table astropy reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.config import nearest
from astroanomaly.errors import CatalogError, ConfigError
from astroanomaly.tables.read import read_table

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.table import Table

__all__ = ["Catalog", "catalog_from_table", "read_catalog"]

# Usual names of position columns, in the order they are looked for, with the frame they imply.
_SKY_NAMES = (
    ("ra", "dec", "icrs"), ("raj2000", "dej2000", "icrs"), ("raj2000", "decj2000", "icrs"),
    ("_raj2000", "_dej2000", "icrs"), ("ra_icrs", "de_icrs", "icrs"), ("ra_icrs", "dec_icrs", "icrs"),
    ("alpha_j2000", "delta_j2000", "icrs"), ("alphawin_j2000", "deltawin_j2000", "icrs"),
    ("right_ascension", "declination", "icrs"), ("ra_deg", "dec_deg", "icrs"), ("radeg", "dedeg", "icrs"),
    ("radeg", "decdeg", "icrs"), ("ra_j2000", "dec_j2000", "icrs"), ("s_ra", "s_dec", "icrs"),
    ("ramean", "decmean", "icrs"), ("ra2000", "dec2000", "icrs"), ("x_world", "y_world", "icrs"),
    ("xwin_world", "ywin_world", "icrs"), ("alpha", "delta", "icrs"), ("target_ra", "target_dec", "icrs"),
    ("glon", "glat", "galactic"), ("l", "b", "galactic"), ("elon", "elat", "barycentrictrueecliptic"),
    ("rab1950", "deb1950", "fk4"),
)  # fmt: skip
_SKY_UCDS = (
    ("pos.eq.ra;meta.main", "pos.eq.dec;meta.main", "icrs"),
    ("pos_eq_ra_main", "pos_eq_dec_main", "icrs"),
    ("pos.eq.ra", "pos.eq.dec", "icrs"),
    ("pos.galactic.lon;meta.main", "pos.galactic.lat;meta.main", "galactic"),
    ("pos.galactic.lon", "pos.galactic.lat", "galactic"),
    ("pos.ecliptic.lon", "pos.ecliptic.lat", "barycentrictrueecliptic"),
)
_PIXEL_NAMES = (
    ("x", "y"), ("x_image", "y_image"), ("xwin_image", "ywin_image"), ("xcentroid", "ycentroid"),
    ("x_centroid", "y_centroid"), ("xpix", "ypix"),
)  # fmt: skip
_ID_NAMES = (
    "object_id", "objectid", "obj_id", "objid", "id", "source_id", "sourceid", "src_id", "number", "coadd_object_id",
    "galaxy_id", "target_id", "designation", "name",
)  # fmt: skip
_SEXTRACTOR_PIXEL = re.compile(r"(X|Y)\w*_IMAGE")
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class Catalog:
    """Objects with their ids and positions.

    Parameters
    ----------
    ids
        ``(n,)`` unique object ids as text.
    ra, dec
        ``(n,)`` ICRS degrees, NaN where a row has no valid position; None without sky positions.
    x, y
        ``(n,)`` zero-based pixel positions (the centre of the first pixel is 0), NaN where a row has none; None
        without pixel positions.
    columns
        All columns of the table as they were read.
    found
        What was taken for what: names of the columns under ``id``, ``sky`` and ``pixel``.
    """

    ids: np.ndarray
    ra: np.ndarray | None
    dec: np.ndarray | None
    x: np.ndarray | None
    y: np.ndarray | None
    columns: Table
    found: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


def read_catalog(
    path: str | Path,
    *,
    ra: str | None = None,
    dec: str | None = None,
    x: str | None = None,
    y: str | None = None,
    id: str | None = None,
    frame: str | None = None,
) -> Catalog:
    """Read a catalogue from FITS, VOTable, ECSV, CSV, SExtractor and other text tables; the content decides which.

    Sky positions are, in this order: the columns named by the caller; a SkyCoord column; columns with the UCD
    ``pos.eq.ra;meta.main`` (or another ``pos.eq``, ``pos.galactic`` or ``pos.ecliptic``); columns of a usual name
    (``ra``/``dec``, ``RAJ2000``/``DEJ2000``, ``ALPHA_J2000``, ``X_WORLD``, ``glon``/``glat``, ``l``/``b`` ...); columns
    whose units are hours and degrees. Numbers without a unit are degrees; text is read as sexagesimal hours and degrees
    (degrees for both when the frame is not equatorial). Pixel positions are ``X_IMAGE``/``Y_IMAGE`` and their kin,
    which count from 1 as SExtractor does, or ``x``/``y`` and the like, which count from 0.

    Parameters
    ----------
    path
        The file; it may be compressed with gzip or bzip2.
    ra, dec
        Names of the longitude and latitude columns.
    x, y
        Names of the pixel columns; counted from 1 if they end in ``_IMAGE``, else from 0.
    id
        Name of the id column; left out, a usual name is looked for, and without one the ids are ``row-000001`` ...
    frame
        Frame of the positions, any that SkyCoord knows, with an equinox if need be (``galactic``, ``fk5 J1975``).

    Raises
    ------
    UnreadableError
        If the file is missing or no table.
    CatalogError
        If there is no position, no row, a column that is not there, or an id that occurs twice.
    ConfigError
        If the frame is unknown.
    """
    path = Path(path)
    table = read_table(
        path,
        lambda table: _find_sky(table) is not None or _find_pixels(table) is not None,
        lambda names: id if id in names else _by_name(names, _ID_NAMES),
    )
    return catalog_from_table(table, ra=ra, dec=dec, x=x, y=y, id=id, frame=frame, where=str(path))


def catalog_from_table(
    table: Table,
    *,
    ra: str | None = None,
    dec: str | None = None,
    x: str | None = None,
    y: str | None = None,
    id: str | None = None,
    frame: str | None = None,
    where: str = "the table",
) -> Catalog:
    """Find ids and positions in a table; as `read_catalog`.

    Parameters
    ----------
    where
        How error messages call the table.
    """
    if not len(table):
        raise CatalogError(f"{where} has no rows: there is nothing to cut")
    for first, second, kind in ((ra, dec, "ra and dec"), (x, y, "x and y")):
        if (first is None) != (second is None):
            raise CatalogError(f"{where}: give both columns {kind}, or neither")
    found: dict[str, str] = {}
    sky = _sky_positions(table, _named(table, (ra, dec), where), frame, where, found)
    pixel = _pixel_positions(table, _named(table, (x, y), where), where, found)
    if sky is None and pixel is None:
        raise CatalogError(
            f"{where} has no positions that were recognised. Its columns: {', '.join(table.colnames)}. "
            "Name them: --ra COLUMN --dec COLUMN (with --frame if they are not ICRS), or --x COLUMN --y COLUMN"
        )
    ids = _ids(table, id, where, found)
    (ra_deg, dec_deg), (x_pixel, y_pixel) = sky or (None, None), pixel or (None, None)
    return Catalog(ids, ra_deg, dec_deg, x_pixel, y_pixel, columns=table, found=found)


# ---------------------------------------------------------------------------------------------------------- positions


def _named(table: Table, names: tuple[str | None, str | None], where: str) -> tuple[str, str] | None:
    first, second = names
    if first is None or second is None:
        return None
    for name in (first, second):
        _require(table, name, where)
    return first, second


def _require(table: Table, name: str, where: str) -> None:
    if name not in table.colnames:
        raise CatalogError(
            f"{where} has no column {name!r}{nearest(name, table.colnames)}. Its columns: {', '.join(table.colnames)}"
        )


def _find_pair(table: Table, pairs: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    lower: dict[str, str] = {}
    for name in table.colnames:
        lower.setdefault(name.lower(), name)
    for first, second, *rest in pairs:
        if first in lower and second in lower:
            return (lower[first], lower[second], *rest)
    return None


def _find_sky(table: Table) -> tuple[str, ...] | None:
    """Find ``(longitude, latitude, frame)`` by UCD, usual name or unit."""
    ucds: dict[str, list[str]] = {}
    for name in table.colnames:
        ucd = str((getattr(table[name], "meta", None) or {}).get("ucd", "")).strip().lower()
        if ucd:
            ucds.setdefault(ucd, []).append(name)
    for first, second, frame in _SKY_UCDS:
        if len(ucds.get(first, ())) == 1 and len(ucds.get(second, ())) == 1:
            return ucds[first][0], ucds[second][0], frame
    named = _find_pair(table, _SKY_NAMES)
    if named:
        return named
    units = {name: str(getattr(table[name], "unit", None) or "").strip('"') for name in table.colnames}
    hours = [name for name, unit in units.items() if unit in ("hourangle", "h:m:s", "hms")]
    degrees = [name for name, unit in units.items() if unit in ("deg", "d:m:s", "dms")]
    return (hours[0], degrees[0], "icrs") if len(hours) == 1 and len(degrees) == 1 else None


def _find_pixels(table: Table) -> tuple[str, ...] | None:
    return _find_pair(table, _PIXEL_NAMES)


def _sky_positions(
    table: Table, given: tuple[str, str] | None, frame: str | None, where: str, found: dict[str, str]
) -> tuple[np.ndarray, np.ndarray] | None:
    from astropy.coordinates import SkyCoord

    mixins = [name for name in table.colnames if isinstance(table[name], SkyCoord)]
    if given is None and mixins:
        found["sky"] = mixins[0]
        return _to_icrs(table[mixins[0]])
    names = (*given, "icrs") if given else _find_sky(table)
    if names is None:
        return None
    implied = names[2]
    if frame is None and given:  # a column called glon is galactic, whoever names it
        implied = next((known[2] for known in _SKY_NAMES if known[0] == given[0].lower()), "icrs")
    name, keywords = _frame(frame or implied)
    equatorial = name in ("icrs", "fk5", "fk4", "fk4noeterms", "gcrs", "cirs", "tete", "precessedgeocentric")
    lon = _degrees(table[names[0]], names[0], equatorial, where)
    lat = _degrees(table[names[1]], names[1], False, where)
    found["sky"] = f"{names[0]}, {names[1]} ({frame or implied})"
    good = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90)
    ra, dec = np.full(len(lon), np.nan), np.full(len(lon), np.nan)
    if name == "icrs":
        ra[good], dec[good] = lon[good] % 360, lat[good]
    elif good.any():
        ra[good], dec[good] = _to_icrs(SkyCoord(lon[good], lat[good], unit="deg", frame=name, **keywords))
    return ra, dec


def _to_icrs(coords: SkyCoord) -> tuple[np.ndarray, np.ndarray]:
    icrs = coords.icrs
    ra: np.ndarray
    dec: np.ndarray
    ra, dec = (np.ma.filled(np.ma.asarray(part.deg, dtype=float), np.nan) for part in (icrs.ra, icrs.dec))
    for part in (icrs.ra, icrs.dec):
        mask = getattr(part, "mask", None)
        if mask is not None and np.any(mask):
            ra[np.asarray(mask)] = dec[np.asarray(mask)] = np.nan
    return np.asarray(ra), np.asarray(dec)


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


def _pixel_positions(
    table: Table, given: tuple[str, str] | None, where: str, found: dict[str, str]
) -> tuple[np.ndarray, np.ndarray] | None:
    names = given or _find_pixels(table)
    if names is None:
        return None
    first, second = (_pixels(table[name], name, where) for name in names)
    found["pixel"] = f"{names[0]}, {names[1]}"
    return first, second


def _pixels(column: Any, name: str, where: str) -> np.ndarray:
    raw = np.ma.filled(np.ma.asarray(getattr(column, "value", column)).astype(np.float64), np.nan)
    if raw.ndim != 1:
        raise CatalogError(f"{where}: the position column {name!r} has shape {raw.shape}, expected one number per row")
    raw = np.where(np.isfinite(raw), raw, np.nan)
    return raw - 1 if _SEXTRACTOR_PIXEL.fullmatch(name.upper()) else raw


# ---------------------------------------------------------------------------------------------------------------- ids


def _by_name(names: Sequence[str], usual: Sequence[str]) -> str | None:
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[name] for name in usual if name in lower), None)


def _ids(table: Table, given: str | None, where: str, found: dict[str, str]) -> np.ndarray:
    name = given
    if given is not None:
        _require(table, given, where)
    else:
        main = [n for n in table.colnames if _ucd(table[n]) == "meta.id;meta.main"]
        name = main[0] if len(main) == 1 else _by_name(table.colnames, _ID_NAMES)
    if name is None:
        return np.array([f"row-{number:06d}" for number in range(1, len(table) + 1)])
    column = table[name]
    if getattr(column, "ndim", 1) != 1:
        raise CatalogError(f"{where}: the id column {name!r} has shape {column.shape}, expected one id per row")
    mask = np.ma.getmaskarray(column) if np.ma.isMaskedArray(column) else np.zeros(len(table), bool)
    ids = np.array([_text(x) for x in np.ma.getdata(column).tolist()], dtype=str)
    empty = np.flatnonzero(mask | (ids == ""))
    if len(empty):
        raise CatalogError(
            f"{where}: the id column {name!r} is empty in {len(empty)} rows, the first of them row {empty[0] + 1}; "
            "name another with --id"
        )
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) < len(ids):
        doubled = unique[counts > 1]
        raise CatalogError(
            f"{where}: {len(doubled)} ids in the column {name!r} occur more than once: "
            f"{', '.join(doubled[:_SHOWN].tolist())}{' ...' if len(doubled) > _SHOWN else ''}. Remove the duplicates, "
            "or name another column with --id"
        )
    found["id"] = name
    return ids


def _ucd(column: Any) -> str:
    return str((getattr(column, "meta", None) or {}).get("ucd", "")).strip().lower()


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
