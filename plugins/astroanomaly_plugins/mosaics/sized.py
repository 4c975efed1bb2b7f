"""A size for each object, from a column: resampled to the shape of the cache, or whole pixels with a border."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from astroanomaly import Catalog, CatalogError, ConfigError, CutoutBlock, Fact, Failure, Grid, Task
from astroanomaly.cutting import align, aligned_padding, cut, first_pixels, sky_to_pixel, tan_grid
from astroanomaly_plugins.mosaics.planes import BROKEN
from astroanomaly_plugins.mosaics.reading import (
    OpenTile,
    alternatives,
    cut_auxiliary,
    open_tile,
    per_area,
    reason_of,
    refusal,
    with_auxiliary,
)
from astroanomaly_plugins.shared.columns import COLUMN

__all__ = ["MAX_PIXELS", "object_sides", "read_sized", "side_fact"]

_PIXEL_WORDS = ("pix", "pixel", "pixels", "px")
MAX_PIXELS = 8192  # along the side of what is read for one object


def object_sides(catalog: Catalog, column: str, factor: float, scale: float | None) -> tuple[np.ndarray, str]:
    """Return the side of each object's cutout in arcsec, or in pixels where there is no WCS.

    Parameters
    ----------
    column
        Column of the sides, in its unit: an angle, pixels, or none, which is arcsec (pixels without a WCS).
    factor
        What they are multiplied by.
    scale
        Arcsec per pixel; None without a WCS.

    Returns
    -------
    sides, unit
        ``(n,)`` float64, NaN where the column has no size above 0; and what was taken for the unit.

    Raises
    ------
    CatalogError
        If the column is missing, holds no numbers, or its unit is no size.
    """
    from astropy import units as u

    if column not in catalog.columns.colnames:
        raise CatalogError(
            f"the catalogue has no column {column!r} (--size-column). Its columns: "
            f"{', '.join(catalog.columns.colnames)}"
        )
    values = catalog.columns[column]
    try:
        numbers = np.asarray(np.ma.getdata(getattr(values, "value", values)), dtype=np.float64)
        plain = np.where(np.asarray(getattr(values, "mask", False)), np.nan, numbers)
    except (TypeError, ValueError) as error:
        raise CatalogError(f"the column {column!r} (--size-column) holds no numbers: {error}") from error
    if plain.ndim != 1:
        raise CatalogError(f"the column {column!r} (--size-column) has shape {plain.shape}, expected one size per row")
    words = str(getattr(values, "unit", None) or "").strip()
    if words.lower() in _PIXEL_WORDS or (not words and scale is None):
        sides, said = plain * (scale or 1.0), words or "pixels, as no unit is stated and there is no WCS"
    else:
        unit = u.Unit(words or "arcsec", parse_strict="silent")
        if scale is None or not isinstance(unit, u.UnitBase) or not unit.is_equivalent(u.arcsec):
            need = "an angle or pixels" if scale is not None else "pixels: the images have no WCS"
            raise CatalogError(f"the column {column!r} (--size-column) is in {words or 'arcsec'}, expected {need}")
        sides, said = plain * unit.to(u.arcsec), words or "arcsec, as no unit is stated"
    with np.errstate(invalid="ignore"):
        return np.where(np.isfinite(sides) & (sides > 0), sides * factor, np.nan), said


def side_fact(sides: np.ndarray, unit: str, column: str, rule: str, scale: float | None) -> Fact:
    """Say what sizes were understood."""
    known = sides[np.isfinite(sides)]
    if not len(known):
        raise ConfigError(f"no row of the column {column!r} (--size-column) has a size above 0")
    what = "pixels" if scale is None else "arcsec"
    low, middle, high = (float(value) for value in (known.min(), np.median(known), known.max()))
    how = "resampled to the shape of the cache" if rule == "resample" else "whole pixels with a border of NaN"
    words = f"{low:.4g} to {high:.4g} {what}, {middle:.4g} in the middle, by {column} (in {unit}); {how}"
    missing = int((~np.isfinite(sides)).sum())
    words += f"; {missing} without a size" if missing else ""
    return Fact("object sizes", words, {"column": column, "rule": rule, "unit": what, "range": [low, high]})


def read_sized(task: Task) -> Iterator[CutoutBlock | Failure]:
    """Cut the objects of one tile, each in its own size; where other tiles hold one too, the best covered is kept."""
    payload, table = task.payload, task.table
    bands = payload["bands"]
    ra, dec = np.array(table["ra"], np.float64), np.array(table["dec"], np.float64)
    sides = np.array(table["side"], np.float64)
    best: dict[int, _Sized] = {}
    reasons: dict[int, str] = {}
    coverage = np.zeros((len(ra), len(bands)), np.float32)
    try:
        first = open_tile(payload["tiles"][0])
    except BROKEN as error:
        reasons = dict.fromkeys(range(len(ra)), reason_of(error, payload["tiles"][0]))
    else:
        for k in range(len(ra)):
            _try(first, 0, k, (table["x"][k], table["y"][k]), (ra[k], dec[k], sides[k]), payload, best, reasons)
            coverage[k] = best[k].coverage if k in best else 0
    for number, rows in alternatives(table, coverage):
        try:
            tile = open_tile(payload["tiles"][number])
            if tile.grid is None:
                continue
            x, y = sky_to_pixel(tile.grid, ra[rows], dec[rows])
        except BROKEN:
            continue  # the tile's own task reports it
        for k, place in zip(rows.tolist(), zip(x, y, strict=True), strict=True):
            if np.isfinite(place).all() and np.isfinite(sides[k]):
                _try(tile, number, k, place, (ra[k], dec[k], sides[k]), payload, best, reasons)
    columns = {name.removeprefix(COLUMN): values for name, values in table.items() if name.startswith(COLUMN)}
    for k, object_id in enumerate(map(str, table["id"])):
        share = float(best[k].coverage.max()) if k in best else 0.0
        why = refusal(share, payload["min_coverage"], reasons.get(k, ""))
        if why:
            yield Failure(object_id, why, float(ra[k]), float(dec[k]))
        else:
            of_tile = payload["tiles"][best[k].tile].get("columns", {})
            own = {name: values[k : k + 1] for name, values in columns.items()}
            yield best[k].block(object_id, (ra[k], dec[k]), [*bands, *payload.get("auxiliary", [])], own | of_tile)


class _Sized:
    """One cutout in the size of its object."""

    def __init__(
        self, pixels: np.ndarray, coverage: np.ndarray, grid: Grid | None, offset: tuple[int, int], units: Sequence[str]
    ) -> None:
        self.pixels, self.coverage, self.grid, self.offset, self.units = pixels, coverage, grid, offset, tuple(units)
        self.tile = 0

    def block(
        self, object_id: str, place: tuple[float, float], bands: Sequence[str], columns: Mapping[str, Any]
    ) -> CutoutBlock:
        """Return it as a block."""
        return CutoutBlock(
            ids=[object_id],
            images=self.pixels[None],
            bands=tuple(bands),
            ra=np.array(place[:1]),
            dec=np.array(place[1:]),
            grid=self.grid,
            offsets=np.array([self.offset], np.int64),
            coverage=with_auxiliary(self.coverage[None], self.pixels[None]),
            columns={name: np.atleast_1d(value) for name, value in columns.items()},
            units=(*self.units, *("" for _ in range(len(bands) - len(self.units)))),
        )


def _try(
    tile: OpenTile,
    number: int,
    row: int,
    pixel: tuple[float, float],
    object_: tuple[float, float, float],
    payload: Mapping[str, Any],
    best: dict[int, _Sized],
    reasons: dict[int, str],
) -> None:
    """Cut one object from a tile, and keep it if it is covered better than before."""
    if not np.isfinite(object_[2]):
        reasons[row] = f"no size above 0 in the column {payload['size_column']}"
        return
    try:
        if payload["size_rule"] == "resample":
            found = _resampled(tile, object_, payload)
        else:
            found = _bordered(tile, pixel, object_[2] / payload["scale"], payload)
    except _TooLargeError as error:
        reasons[row] = str(error)
        return
    except BROKEN as error:
        reasons.setdefault(row, reason_of(error, payload["tiles"][number]))
        return
    found.tile = number
    if row not in best or found.coverage.mean() > best[row].coverage.mean():
        best[row] = found


class _TooLargeError(Exception):
    """An object is too large for the cache."""


def _resampled(tile: OpenTile, object_: tuple[float, float, float], payload: Mapping[str, Any]) -> _Sized:
    """Resample an object to the shape of the cache: its side is the width of the cutout, on a TAN grid of its own."""
    ra, dec, side = object_
    height, width = payload["size"]
    if side / payload["scale"] > MAX_PIXELS:
        raise _TooLargeError(f"its size of {side:.5g} arcsec is more than {MAX_PIXELS} pixels of the image")
    grid = tan_grid((float(ra), float(dec)), float(side) / width, (height, width))
    bands = [band for band in payload["bands"] if band in tile.planes]
    rows = [payload["bands"].index(band) for band in bands]
    planes, grids = [tile.planes[band] for band in bands], [tile.grids[band] for band in bands]
    pixels = np.full((len(payload["bands"]), height, width), np.nan, np.float32)
    coverage = np.zeros(len(pixels), np.float32)
    known = [one for one in grids if one is not None]
    pixels[rows] = align(
        planes, known, grid, per_area=[per_area(tile.units[b]) for b in bands], nodata=payload["nodata"]
    )
    padded = aligned_padding(planes, known, grid)
    coverage[rows] = (np.isfinite(pixels[rows]) & ~padded).mean(axis=(1, 2))
    middle = np.array([(width - 1) / 2]), np.array([(height - 1) / 2])
    about = [cut_auxiliary(tile, name, *middle, (height, width), grid) for name in payload.get("auxiliary", [])]
    pixels = np.concatenate([pixels, *about])
    return _Sized(pixels, coverage, grid, (0, 0), [tile.units.get(band, "") for band in payload["bands"]])


def _bordered(tile: OpenTile, pixel: tuple[float, float], side: float, payload: Mapping[str, Any]) -> _Sized:
    """Cut an object in whole pixels of the image, and set what is beyond its side to NaN."""
    height, width = payload["size"]
    count = max(1, round(side))
    if count > min(height, width):
        raise _TooLargeError(
            f"its size of {count} pixels is more than the {width} x {height} of the cache: give a larger --size, or "
            "--size-rule resample"
        )
    bands = [band for band in payload["bands"] if band in tile.planes]
    rows = [payload["bands"].index(band) for band in bands]
    (x, y) = (float(value) for value in pixel)
    pixels = np.full((len(payload["bands"]), height, width), np.nan, np.float32)
    coverage = np.zeros(len(pixels), np.float32)
    stamps, offsets, _ = cut([tile.planes[band] for band in bands], [x], [y], (height, width), nodata=payload["nodata"])
    _, _, inner = cut([tile.planes[band] for band in bands], [x], [y], (count, count), nodata=payload["nodata"])
    left, bottom = int(offsets[0, 0]), int(offsets[0, 1])
    a, b = (int(first_pixels(np.array([place]), count)[0]) - start for place, start in ((x, left), (y, bottom)))
    kept = np.zeros((height, width), bool)
    kept[max(0, b) : b + count, max(0, a) : a + count] = True
    pixels[rows] = np.where(kept, stamps[0], np.nan)
    coverage[rows] = inner[0]  # of the object's own square
    place = np.array([x]), np.array([y])
    about = [cut_auxiliary(tile, name, *place, (height, width), None) for name in payload.get("auxiliary", [])]
    pixels = np.concatenate([pixels, *(np.where(kept, one, np.nan) for one in about)])
    return _Sized(pixels, coverage, tile.grid, (left, bottom), [tile.units.get(band, "") for band in payload["bands"]])
