"""Fetch the bands of each object of a task from ESA or IRSA, and put them on one grid."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from astroanomaly import CutoutBlock, Failure, FetchError, Grid, Task, UnreadableError, fetch
from astroanomaly.cutting import (
    align,
    aligned_padding,
    cut,
    first_pixels,
    pixel_scale_arcsec,
    pixel_to_sky,
    sky_to_pixel,
    tan_grid,
)
from astroanomaly_plugins.euclid.files import Band, open_band
from astroanomaly_plugins.euclid.mosaics import PIXEL_ARCSEC, Mosaic
from astroanomaly_plugins.shared.columns import COLUMN

__all__ = ["Archive", "read_cutouts"]

_GRID_TOLERANCE_PX = 0.01  # pixels by which two bands may differ and still be crops of one grid
_SCALE_TOLERANCE = 0.002


class Archive(Protocol):
    """An archive that gives cutouts of mosaics."""

    name: str

    def reading(self) -> AbstractContextManager[None]:
        """Keep open what one task needs."""
        ...

    def cutout(self, mosaic: Mosaic, ra: float, dec: float, size_hw: tuple[int, int]) -> Path:
        """Fetch a cutout; return the file."""
        ...


@dataclass(frozen=True, eq=False)
class Stamp:
    """The bands of one object, cut to size on one grid."""

    images: np.ndarray  # (B, H, W)
    coverage: np.ndarray  # (B,)
    grid: Grid
    offset: tuple[int, int]
    bands: dict[str, Band]


def read_cutouts(archive: Archive, task: Task) -> Iterator[CutoutBlock | Failure]:
    """Fetch and cut the objects of one task; one whose band cannot be fetched is a failure, never half a cutout."""
    payload, table = task.payload, task.table
    names, (height, width) = list(payload["bands"]), payload["size"]
    mosaics = {band: Mosaic(**plain) for band, plain in payload["mosaics"].items()}
    ids = [str(object_id) for object_id in table["id"]]
    ra, dec = np.asarray(table["ra"], np.float64), np.asarray(table["dec"], np.float64)
    carried = {name.removeprefix(COLUMN): values for name, values in table.items() if name.startswith(COLUMN)}

    def make(row: int) -> Stamp:
        place, size = (float(ra[row]), float(dec[row])), (int(height), int(width))
        try:
            bands = {band: open_band(archive.cutout(mosaic, *place, size)) for band, mosaic in mosaics.items()}
        except UnreadableError as error:  # it went between fetching and opening
            raise FetchError(str(error), reason="what was fetched has gone: give --keep-gb more room") from error
        return _assemble(bands, names, place, size)

    with archive.reading():
        for row, stamp in fetch.each(make, range(len(ids))):
            if isinstance(stamp, FetchError):
                yield Failure(ids[row], stamp.reason, float(ra[row]), float(dec[row]))
                continue
            share = float(stamp.coverage.max())
            if share <= 0 or share < payload["min_coverage"]:
                least = payload["min_coverage"]
                why = "no pixel with data" if share <= 0 else f"covered to less than {least:g} of its pixels"
                yield Failure(ids[row], why, float(ra[row]), float(dec[row]), kind="no coverage")
                continue
            columns = {name: values[row : row + 1] for name, values in carried.items()}
            columns |= {name: np.array([value]) for name, value in _provenance(names, mosaics, stamp).items()}
            yield CutoutBlock(
                ids=[ids[row]],
                images=stamp.images[None],
                bands=tuple(names),
                ra=ra[row : row + 1],
                dec=dec[row : row + 1],
                grid=stamp.grid,
                offsets=np.array([stamp.offset], np.int64),
                coverage=stamp.coverage[None],
                columns={**columns, "tile": np.array([payload["tile"]]), "archive": np.array([archive.name])},
                units=tuple(stamp.bands[band].unit if band in stamp.bands else "" for band in names),
            )


def _provenance(names: list[str], mosaics: dict[str, Mosaic], stamp: Stamp) -> dict[str, Any]:
    """Product, filter, unit and zero point of every band, empty for one that is not there."""
    columns: dict[str, Any] = {}
    for band in names:
        found = stamp.bands.get(band)
        columns[f"product_{band}"] = mosaics[band].name if found else ""
        columns[f"filter_{band}"] = (found.filter or mosaics[band].band) if found else ""
        columns[f"unit_{band}"] = found.unit if found else ""
        columns[f"zero_point_{band}"] = found.zero_point if found else np.nan
    return columns


def _assemble(bands: dict[str, Band], names: list[str], place: tuple[float, float], size_hw: tuple[int, int]) -> Stamp:
    """Cut every band on one grid: that of the first, of which all others are shifted crops; else a TAN grid."""
    images = np.full((len(names), *size_hw), np.nan, np.float32)
    coverage = np.zeros(len(names), np.float32)
    first = next(iter(bands.values()))
    shifts = {band: _shift(first.grid, item.grid) for band, item in bands.items()}
    rows = [names.index(band) for band in bands]
    usual = abs(pixel_scale_arcsec(first.grid) / PIXEL_ARCSEC - 1) < _SCALE_TOLERANCE
    if not usual or any(shift is None for shift in shifts.values()):
        grid = tan_grid(place, PIXEL_ARCSEC, size_hw)
        planes, grids = [item.plane for item in bands.values()], [item.grid for item in bands.values()]
        images[rows] = align(planes, grids, grid)
        padded = np.zeros(images.shape, bool)
        padded[rows] = aligned_padding(planes, grids, grid)
        coverage[:] = (np.isfinite(images) & ~padded).mean(axis=(1, 2))
        return Stamp(images, coverage, grid, (0, 0), bands)
    height, width = size_hw
    x, y = sky_to_pixel(first.grid, [place[0]], [place[1]])
    x0, y0 = int(first_pixels(x, width)[0]), int(first_pixels(y, height)[0])
    for row, (band, item) in zip(rows, bands.items(), strict=True):
        dx, dy = shifts[band] or (0, 0)
        stamp, _, share = cut([item.plane], [x0 - dx + width / 2], [y0 - dy + height / 2], size_hw)
        images[row], coverage[row] = stamp[0, 0], share[0, 0]
    return Stamp(images, coverage, first.grid, (x0, y0), bands)


def _shift(first: Grid, other: Grid) -> tuple[int, int] | None:
    """Whole pixels from the first pixel of one grid to that of another; None where their pixels do not coincide."""
    if first.key == other.key:
        return 0, 0
    corners_x, corners_y = np.array([0.0, other.shape[1] - 1.0]), np.array([0.0, other.shape[0] - 1.0])
    x, y = sky_to_pixel(first, *pixel_to_sky(other, corners_x, corners_y))
    dx, dy = x - corners_x, y - corners_y
    if not (np.isfinite(dx).all() and np.isfinite(dy).all()):
        return None
    left, bottom = int(np.round(dx[0])), int(np.round(dy[0]))
    same = np.abs(dx - left).max() < _GRID_TOLERANCE_PX and np.abs(dy - bottom).max() < _GRID_TOLERANCE_PX
    return (left, bottom) if same else None
