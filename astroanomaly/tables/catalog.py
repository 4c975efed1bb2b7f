"""Read a catalogue: ids and positions, found or named, from any table astropy reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroanomaly.config import nearest
from astroanomaly.errors import CatalogError, ConfigError
from astroanomaly.tables.byte_columns import decode_columns
from astroanomaly.tables.column_names import ID_NAMES, find_name, ucd_of
from astroanomaly.tables.given import GivenTable, given_catalog
from astroanomaly.tables.hats import Area, is_hats, read_hats
from astroanomaly.tables.parquet import NOT_PLAIN
from astroanomaly.tables.positions import PositionColumns, has_positions, pixel_positions, sky_positions
from astroanomaly.tables.read import read_table
from astroanomaly.tables.several import PARTS

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.table import Table

__all__ = ["Catalog", "catalog_from_table", "named_columns", "read_catalog", "require_column"]

_IDS_SHOWN = 5  # in a message


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
        What was taken for what: names of the columns under ``id``, ``sky`` and ``pixel``; under ``tables`` those of a
        file that were taken together; under ``not_plain`` columns that a table cannot have, such as lists of Parquet.
    sky, pixel
        The columns of sky and of pixel positions, and how their numbers were understood; None where there are none.
    """

    ids: np.ndarray
    ra: np.ndarray | None
    dec: np.ndarray | None
    x: np.ndarray | None
    y: np.ndarray | None
    columns: Table
    found: dict[str, str] = field(default_factory=dict)
    sky: PositionColumns | None = None
    pixel: PositionColumns | None = None

    def __len__(self) -> int:
        return len(self.ids)


def read_catalog(
    path: str | Path | GivenTable | Table | SkyCoord,
    *,
    ra: str | None = None,
    dec: str | None = None,
    x: str | None = None,
    y: str | None = None,
    id: str | None = None,
    frame: str | None = None,
    unit: str | None = None,
    areas: Sequence[Area] | None = None,
) -> Catalog:
    """Read a catalogue from FITS, VOTable, ECSV, Parquet, HDF5, HATS, regions of DS9, CSV, SExtractor and other text.

    The content decides which.

    An astropy `~astropy.table.Table`, `~astropy.table.QTable` or `~astropy.coordinates.SkyCoord` is taken as it is.

    Sky positions are, in this order: the columns named by the caller; a SkyCoord column; columns with the UCD
    ``pos.eq.ra;meta.main`` (or another ``pos.eq``, ``pos.galactic`` or ``pos.ecliptic``); columns of a usual name
    (``ra``/``dec``, ``RAJ2000``/``DEJ2000``, ``ALPHA_J2000``, ``X_WORLD``, ``glon``/``glat``, ``l``/``b`` ...); the
    parts ``RAh RAm RAs DE- DEd DEm DEs`` of CDS; one column of texts that hold both (``coord``, ``radec`` ...); columns
    whose units are hours and degrees. Numbers without a unit are degrees; text is read as sexagesimal hours and degrees
    (degrees for both when the frame is not equatorial). The frame is that which the table states (COOSYS of a VOTable,
    RADESYS and EQUINOX of a FITS table, ``#Coosys`` of VizieR's texts) or the names say (``RAB1950``), else ICRS.
    Pixel positions are ``X_IMAGE``/``Y_IMAGE`` and their kin, which count from 1 as SExtractor does, or ``x``/``y`` and
    the like, which count from 0.

    Parameters
    ----------
    path
        The file, which may be compressed with gzip or bzip2; ``FILE[TABLE]`` means one of its tables, by number or
        name; or a table, or positions, in memory. Tables of one file that have the same columns are taken together.
    ra, dec
        Names of the longitude and latitude columns.
    x, y
        Names of the pixel columns; counted from 1 if they end in ``_IMAGE``, else from 0.
    id
        Name of the id column; left out, a usual name is looked for, and without one the ids are ``row-000001`` ...
    frame
        Frame of the positions, any that SkyCoord knows, with an equinox if need be (``galactic``, ``fk5 J1975``).
    unit
        Unit of the positions, before that of the columns: ``deg``, ``rad`` ...; ``hour`` means hours of right ascension
        and degrees of declination; two with a comma between them are one for each.
    areas
        Of a HATS catalogue, the only places where rows are wanted; other files are read whole.

    Raises
    ------
    UnreadableError
        If the file is missing or no table.
    CatalogError
        If there is no position, no row, a column that is not there, an id that occurs twice, a frame that is
        contradicted, or if several tables differ.
    ConfigError
        If the frame is unknown, or what was given is neither a path nor a table nor positions.
    """
    given = given_catalog(path)
    if given is None:
        raise ConfigError("no catalogue was given: expected the path of a table, an astropy table or a SkyCoord")
    if isinstance(given, GivenTable):
        where = f"the {given.kind} that was given as catalogue"
        return catalog_from_table(given.table, ra=ra, dec=dec, x=x, y=y, id=id, frame=frame, unit=unit, where=where)
    if areas is not None and is_hats(given):
        table = read_hats(given, areas)
        return catalog_from_table(table, ra=ra, dec=dec, x=x, y=y, id=id, frame=frame, unit=unit, where=str(given))
    table = read_table(
        given,
        has_positions,
        lambda names: id if id in names else find_name(names, ID_NAMES),
    )
    return catalog_from_table(table, ra=ra, dec=dec, x=x, y=y, id=id, frame=frame, unit=unit, where=str(given))


def catalog_from_table(
    table: Table,
    *,
    ra: str | None = None,
    dec: str | None = None,
    x: str | None = None,
    y: str | None = None,
    id: str | None = None,
    frame: str | None = None,
    unit: str | None = None,
    where: str = "the table",
) -> Catalog:
    """Find ids and positions in a table; as `read_catalog`.

    Parameters
    ----------
    where
        How error messages call the table.
    """
    table = decode_columns(table)
    if not len(table):
        raise CatalogError(f"{where} has no rows: there is nothing to cut")
    for first, second, kind in ((ra, dec, "ra and dec"), (x, y, "x and y")):
        if (first is None) != (second is None):
            raise CatalogError(f"{where}: give both columns {kind}, or neither")
    sky = sky_positions(table, named_columns(table, (ra, dec), where), frame, unit=unit, where=where)
    try:
        pixel = pixel_positions(table, named_columns(table, (x, y), where), where=where)
    except CatalogError:
        if sky is None or x is not None:
            raise
        pixel = None  # a column called x holds something else
    if sky is None and pixel is None:
        raise CatalogError(
            f"{where} has no positions that were recognised. Its columns: {', '.join(table.colnames)}. "
            "Name them: --ra COLUMN --dec COLUMN (with --frame if they are not ICRS), or --x COLUMN --y COLUMN"
        )
    ids, id_column = _ids(table, id, where)
    ra_deg, dec_deg, of_sky = sky or (None, None, None)
    x_pixel, y_pixel, of_pixel = pixel or (None, None, None)
    found = {"sky": str(of_sky or ""), "pixel": str(of_pixel or ""), "id": id_column}
    if PARTS in table.meta:
        found["tables"] = ", ".join(dict.fromkeys(map(str, table.meta[PARTS])))
    found["not_plain"] = ", ".join(map(str, table.meta.get(NOT_PLAIN, ())))
    found = {what: columns for what, columns in found.items() if columns}
    return Catalog(ids, ra_deg, dec_deg, x_pixel, y_pixel, table, found, of_sky, of_pixel)


def named_columns(table: Table, names: tuple[str | None, str | None], where: str) -> tuple[str, str] | None:
    """Return two columns that a caller has named, checked; None where he has not.

    Raises
    ------
    CatalogError
        If only one is named, or the table lacks one.
    """
    first, second = names
    if first is None and second is None:
        return None
    if first is None or second is None:
        raise CatalogError(f"{where}: give both columns, or neither")
    for name in (first, second):
        require_column(table, name, where)
    return first, second


def require_column(table: Table, name: str, where: str) -> None:
    """Raise `CatalogError` if a table lacks a column."""
    if name not in table.colnames:
        raise CatalogError(
            f"{where} has no column {name!r}{nearest(name, table.colnames)}. Its columns: {', '.join(table.colnames)}"
        )


def _ids(table: Table, given: str | None, where: str) -> tuple[np.ndarray, str]:
    """Return the ids and the name of their column, empty where rows are numbered for want of one."""
    name = given
    if given is not None:
        require_column(table, given, where)
    else:
        main = [n for n in table.colnames if ucd_of(table[n]) == "meta.id;meta.main"]
        name = main[0] if len(main) == 1 else find_name(table.colnames, ID_NAMES)
    if name is None:
        return np.array([f"row-{number:06d}" for number in range(1, len(table) + 1)]), ""
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
    parts = table.meta.get(PARTS)
    if len(unique) < len(ids) and parts is not None and len(parts) == len(ids):  # each table counts from 1
        ids = np.array([f"{part}/{one}" for part, one in zip(parts, ids, strict=True)])
        unique, counts = np.unique(ids, return_counts=True)
    if len(unique) < len(ids):
        doubled = unique[counts > 1]
        raise CatalogError(
            f"{where}: {len(doubled)} ids in the column {name!r} occur more than once: "
            f"{', '.join(doubled[:_IDS_SHOWN].tolist())}{' ...' if len(doubled) > _IDS_SHOWN else ''}. "
            "Remove the duplicates, or name another column with --id"
        )
    return ids, name


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
