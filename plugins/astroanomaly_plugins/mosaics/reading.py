"""Read what was planned: open the bands of a tile once, cut its objects, keep the better of overlapping tiles."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import AstroAnomalyError, CutoutBlock, Failure, Grid, Task, UnreadableError
from astroanomaly.cutting import (
    Plane,
    align,
    align_nearest,
    aligned_padding,
    cut,
    first_pixels,
    pixel_to_sky,
    quiet,
    sky_to_pixel,
    tan_grid,
)
from astroanomaly_plugins.mosaics.places import place_stamp
from astroanomaly_plugins.mosaics.planes import BROKEN, first_line, open_plane
from astroanomaly_plugins.shared.columns import COLUMN

__all__ = [
    "OpenTile",
    "alternatives",
    "cut_auxiliary",
    "open_tile",
    "per_area",
    "read_stamps",
    "read_tile",
    "reason_of",
    "refusal",
    "with_auxiliary",
]

_lock = threading.Lock()
_last: dict[str, OpenTile] = {}  # the tile that this process read last: large tasks are split into several of one tile


@dataclass(frozen=True, eq=False)
class OpenTile:
    """The pixels of a tile, band by band, and the grid that cutouts are stored on."""

    planes: dict[str, Plane]
    grids: dict[str, Grid | None]
    grid: Grid | None
    resampled: bool
    units: dict[str, str]
    auxiliary: Mapping[str, tuple[Plane, Grid | None]] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` of the grid."""
        if self.grid is not None:
            return self.grid.shape
        height, width = next(iter(self.planes.values())).stored.shape
        return height, width


def open_tile(plain: Mapping[str, Any]) -> OpenTile:
    """Open a tile, or return it if it was the last one opened in this process."""
    key = json.dumps([plain, [place_stamp(Path(place[0])) for place in plain["bands"].values()]], sort_keys=True)
    with _lock:
        known = _last.get(key)
    if known is not None:
        return known
    with _lock:
        _last.clear()  # before the next one is decoded: two tiles need not be in memory
    planes, grids = {}, {}
    for band, (path, *numbers) in plain["bands"].items():
        planes[band], grids[band] = open_plane(Path(path), *map(int, numbers))
    grid = next(iter(grids.values()))
    if plain["tan"] is not None:
        ra, dec, scale, height, width = plain["tan"]
        grid = tan_grid((ra, dec), scale, (int(height), int(width)))
    elif len({plane.stored.shape for plane in planes.values()}) > 1:
        names = ", ".join(place[0] for place in plain["bands"].values())
        raise UnreadableError(f"the images {names} changed their size after they were planned")
    about = {}
    for name, (path, *numbers) in plain.get("auxiliary", {}).items():
        plane, own = open_plane(Path(path), *map(int, numbers))
        about[name] = replace(plane, constant=()), own or grids.get(name.rpartition(":")[0])
    opened = OpenTile(planes, grids, grid, plain["tan"] is not None, dict(plain["units"]), about)
    with _lock:
        _last[key] = opened
    return opened


def per_area(unit: str) -> bool:
    """Whether a unit is a surface brightness, per solid angle and not per pixel."""
    from astropy import units as u

    with quiet():
        try:
            parsed = u.Unit(unit, parse_strict="silent") if unit else u.dimensionless_unscaled
        except (ValueError, TypeError):  # that it is silent holds for words, not for every text
            return False
    if isinstance(parsed, u.UnrecognizedUnit) or not isinstance(parsed, u.UnitBase):
        return False
    powers = dict(zip(parsed.decompose().bases, parsed.decompose().powers, strict=True))
    return powers.get(u.rad, 0) == -2 or powers.get(u.sr, 0) == -1


def _cut_tile(
    tile: OpenTile, x: np.ndarray, y: np.ndarray, payload: Mapping[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut positions of a tile into ``(n, bands, height, width)``, and the auxiliary planes behind the bands.

    See `cut` for what is returned; the coverage is that of the bands alone.
    """
    bands, (height, width), nodata = payload["bands"], payload["size"], payload["nodata"]
    names = [band for band in bands if band in tile.planes]
    planes = [tile.planes[name] for name in names]
    if tile.resampled:
        stamps, offsets, padded = _resample(tile, names, x, y, (height, width), nodata)
        coverage = (np.isfinite(stamps) & ~padded).mean(axis=(2, 3), dtype=np.float64).astype(np.float32)
    else:
        stamps, offsets, coverage = cut(planes, x, y, (height, width), nodata=nodata)
    if names == list(bands) and not payload.get("auxiliary"):
        return stamps, offsets, coverage
    columns = [bands.index(name) for name in names]
    about = payload.get("auxiliary", ())
    full = np.full((len(x), len(bands) + len(about), height, width), np.nan, np.float32)
    covered = np.zeros((len(x), len(bands)), np.float32)
    full[:, columns], covered[:, columns] = stamps, coverage
    for number, name in enumerate(about, len(bands)):
        full[:, number] = cut_auxiliary(tile, name, x, y, (height, width), tile.grid if tile.resampled else None)
    return full, offsets, covered


def cut_auxiliary(
    tile: OpenTile, name: str, x: np.ndarray, y: np.ndarray, size_hw: tuple[int, int], target: Grid | None
) -> np.ndarray:
    """Cut an auxiliary plane: ``(n, height, width)``, NaN where there is none; of a target grid the nearest pixels."""
    nothing = np.full((len(x), *size_hw), np.nan, np.float32)
    plane, grid = tile.auxiliary.get(name, (None, None))
    if plane is None or (target is not None and grid is None):
        return nothing
    if target is None or grid is None:
        return cut([plane], x, y, size_hw)[0][:, 0]
    corners = zip(first_pixels(x, size_hw[1]).tolist(), first_pixels(y, size_hw[0]).tolist(), strict=True)
    return np.stack([align_nearest([plane], [grid], target, corner, size_hw)[0] for corner in corners])


def with_auxiliary(coverage: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Add the share of finite pixels of the auxiliary planes to the coverage of the bands."""
    behind = images[:, coverage.shape[1] :]
    return np.concatenate([coverage, np.isfinite(behind).mean(axis=(2, 3), dtype=np.float64)], axis=1)


def _resample(
    tile: OpenTile, names: list[str], x: np.ndarray, y: np.ndarray, size_hw: tuple[int, int], nodata: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Resample the region of all stamps at once where they fill half of it, else every stamp by itself.

    Returns the stamps, their offsets, and which of their pixels are padding.
    """
    height, width = size_hw
    grids = [grid for name in names if (grid := tile.grids[name]) is not None]
    if tile.grid is None or len(grids) < len(names):
        raise UnreadableError("an image has lost its WCS since it was planned")
    planes = [tile.planes[name] for name in names]
    of_area = [per_area(tile.units[name]) for name in names]
    x0, y0 = first_pixels(x, width), first_pixels(y, height)
    left, bottom = int(x0.min()), int(y0.min())
    region = (int(y0.max()) + height - bottom, int(x0.max()) + width - left)
    if region[0] * region[1] <= 2 * len(x) * height * width:
        image = align(planes, grids, tile.grid, (left, bottom), region, of_area, nodata)
        padding = aligned_padding(planes, grids, tile.grid, (left, bottom), region)
        stamps, _, _ = cut(image, x - left, y - bottom, size_hw)
        corners = zip((x0 - left).tolist(), (y0 - bottom).tolist(), strict=True)
        padded = np.stack([padding[:, b : b + height, a : a + width] for a, b in corners])
    else:
        offsets = [(int(a), int(b)) for a, b in zip(x0, y0, strict=True)]
        stamps = np.stack([align(planes, grids, tile.grid, one, size_hw, of_area, nodata) for one in offsets])
        padded = np.stack([aligned_padding(planes, grids, tile.grid, one, size_hw) for one in offsets])
    return stamps, np.stack([x0, y0], axis=1), padded


# ---------------------------------------------------------------------------------------------------- kinds of tasks


def read_tile(task: Task) -> Iterator[CutoutBlock | Failure]:
    """Cut the objects of one tile; where other tiles hold an object too, the best covered cutout is kept."""
    payload, table = task.payload, task.table
    ids = [str(object_id) for object_id in table["id"]]
    ra, dec = np.array(table["ra"], np.float64), np.array(table["dec"], np.float64)
    bands, (height, width), about = payload["bands"], payload["size"], payload.get("auxiliary", [])
    source = np.zeros(len(ids), np.int64)
    reason = ""
    used: dict[int, OpenTile] = {}
    try:
        used[0] = open_tile(payload["tiles"][0])
        images, offsets, coverage = _cut_tile(used[0], np.asarray(table["x"]), np.asarray(table["y"]), payload)
    except BROKEN as error:
        reason = reason_of(error, payload["tiles"][0])
        images = np.full((len(ids), len(bands) + len(about), height, width), np.nan, np.float32)
        offsets, coverage = np.zeros((len(ids), 2), np.int64), np.zeros((len(ids), len(bands)), np.float32)
    for number, rows in alternatives(table, coverage):
        try:
            tile = open_tile(payload["tiles"][number])
            if tile.grid is None:
                continue
            x, y = sky_to_pixel(tile.grid, ra[rows], dec[rows])
            rows, x, y = rows[np.isfinite(x)], x[np.isfinite(x)], y[np.isfinite(x)]
            found = _cut_tile(tile, x, y, payload)
        except BROKEN:
            continue  # the tile's own task reports it
        better = found[2].mean(axis=1) > coverage[rows].mean(axis=1)
        chosen = rows[better]
        images[chosen], offsets[chosen], coverage[chosen] = (part[better] for part in found)
        source[chosen] = number
        used[number] = tile
    good = np.zeros(len(ids), bool)
    best = coverage.max(axis=1)
    for k, share in enumerate(best):
        why = refusal(float(share), payload["min_coverage"], reason)
        good[k] = not why
        if why:
            yield Failure(ids[k], why, float(ra[k]), float(dec[k]))
    columns = {name.removeprefix(COLUMN): values for name, values in table.items() if name.startswith(COLUMN)}
    of_tile = [plain.get("columns", {}) for plain in payload["tiles"]]  # what a source says of all that is cut there
    for number, tile in used.items():
        rows = np.flatnonzero(good & (source == number))
        if len(rows):
            whole = len(rows) == len(ids)
            yield CutoutBlock(
                ids=[ids[k] for k in rows],
                images=images if whole else images[rows],
                bands=(*bands, *about),
                ra=ra[rows],
                dec=dec[rows],
                grid=tile.grid,
                offsets=offsets[rows],
                coverage=with_auxiliary(coverage[rows], images[rows]) if about else coverage[rows],
                columns={
                    **{name: values[rows] for name, values in columns.items()},
                    **{name: np.full(len(rows), value) for name, value in of_tile[number].items()},
                },
                units=(*(tile.units.get(band, "") for band in bands), *("" for _ in about)),
            )


def alternatives(table: Mapping[str, np.ndarray], coverage: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """For each further tile, the objects on it that are not wholly covered yet."""
    if "others" not in table:
        return
    wanted: dict[int, list[int]] = {}
    for k in np.flatnonzero(coverage.min(axis=1) < 1):
        for word in str(table["others"][k]).split():
            wanted.setdefault(int(word), []).append(int(k))
    for number, rows in sorted(wanted.items()):
        left = np.array([k for k in rows if coverage[k].min() < 1], np.int64)
        if len(left):
            yield number, left


def reason_of(error: Exception, plain: Mapping[str, Any]) -> str:
    """Say why a tile cannot be read: whatever goes wrong while its files are read is their failure."""
    if isinstance(error, AstroAnomalyError):
        return str(error)
    names = ", ".join(dict.fromkeys(place[0] for place in plain["bands"].values()))
    return f"{names}: the pixels cannot be read: {first_line(error)}"


def refusal(share: float, least: float, reason: str) -> str:
    """Say why a cutout of that share of covered pixels is a failure; empty where it is none."""
    if share <= 0:
        return reason or "no pixel with data"
    return f"covered to less than {least:g} of its pixels" if share < least else ""


def read_stamps(task: Task) -> Iterator[CutoutBlock | Failure]:
    """Read whole images as cutouts: cropped or padded around their middle to the size of the cache."""
    payload, about = task.payload, task.payload.get("auxiliary", [])
    for object_id, text in zip(task.table["id"], task.table["tile"], strict=True):
        plain = json.loads(str(text))
        try:
            tile = open_tile(plain)
            rows, columns = tile.shape
            x, y = np.array([(columns - 1) / 2]), np.array([(rows - 1) / 2])
            images, offsets, coverage = _cut_tile(tile, x, y, payload)
            ra, dec = (np.full(1, np.nan),) * 2 if tile.grid is None else pixel_to_sky(tile.grid, x, y)
        except BROKEN as error:
            yield Failure(str(object_id), reason_of(error, plain))
            continue
        why = refusal(float(coverage.max()), payload["min_coverage"], "")
        if why:
            yield Failure(str(object_id), why, float(ra[0]), float(dec[0]))
            continue
        yield CutoutBlock(
            ids=[str(object_id)],
            images=images,
            bands=(*payload["bands"], *about),
            ra=ra,
            dec=dec,
            grid=tile.grid,
            offsets=offsets,
            coverage=with_auxiliary(coverage, images) if about else coverage,
            columns={name: np.array([value]) for name, value in plain.get("columns", {}).items()},
            units=(*(tile.units.get(band, "") for band in payload["bands"]), *("" for _ in about)),
        )
