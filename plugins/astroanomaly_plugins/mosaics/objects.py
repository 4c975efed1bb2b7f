"""Which object is cut from which tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from astroanomaly.cutting import first_pixels, pixel_scale_arcsec, sky_to_pixel
from astroanomaly.sky import unit_vectors
from astroanomaly_plugins.mosaics.tiles import Tile

__all__ = ["Assignment", "assign", "assign_pixels", "footprint"]


@dataclass(frozen=True, eq=False)
class Assignment:
    """Which tile each object is cut from.

    Attributes
    ----------
    tile
        ``(n,)`` index of the best tile, -1 for none.
    x, y
        ``(n,)`` pixel position on it.
    others
        Further tiles that hold a part of the object's cutout, best first, for the objects that have any.
    """

    tile: np.ndarray
    x: np.ndarray
    y: np.ndarray
    others: dict[int, list[int]]


def assign(tiles: Sequence[Tile], ra: np.ndarray, dec: np.ndarray, size_hw: tuple[int, int]) -> Assignment:
    """Give every object to the tile that covers most of its cutout, then to that where it is farthest from the edge.

    Parameters
    ----------
    ra, dec
        ``(n,)`` ICRS degrees; NaN is on no tile.
    size_hw
        ``(height, width)`` of a cutout.
    """
    from scipy.spatial import cKDTree

    count = len(ra)
    result = Assignment(np.full(count, -1), np.full(count, np.nan), np.full(count, np.nan), {})
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if not len(known):
        return result
    tree = cKDTree(unit_vectors(ra[known], dec[known]))
    best = np.full((count, 2), -np.inf)
    held: dict[int, list[tuple[float, float, int]]] = {}
    for number, tile in enumerate(tiles):
        center, chord = tile.cap
        margin = np.hypot(*size_hw) * np.radians(pixel_scale_arcsec(tile.grid) / 3600) if tile.grid else 0
        near = known[np.asarray(tree.query_ball_point(center, min(2.0, chord * 1.02 + margin)), dtype=np.int64)]
        if not len(near) or tile.grid is None:
            continue
        x, y = sky_to_pixel(tile.grid, ra[near], dec[near])
        coverage, distance = _geometry(x, y, tile.shape, size_hw)
        hit = coverage > 0
        near, x, y, coverage, distance = near[hit], x[hit], y[hit], coverage[hit], distance[hit]
        if len(tiles) > 1:
            for k, c, d in zip(near.tolist(), coverage.tolist(), distance.tolist(), strict=True):
                held.setdefault(k, []).append((c, d, number))
        better = (coverage > best[near, 0]) | ((coverage == best[near, 0]) & (distance > best[near, 1]))
        chosen = near[better]
        best[chosen] = np.stack([coverage, distance], axis=1)[better]
        result.tile[chosen], result.x[chosen], result.y[chosen] = number, x[better], y[better]
    for k, options in held.items():
        if len(options) > 1:
            ranked = sorted(options, key=lambda item: (-item[0], -item[1], item[2]))
            result.others[k] = [number for _, _, number in ranked if number != result.tile[k]]
    return result


def assign_pixels(tile: Tile, x: np.ndarray, y: np.ndarray, size_hw: tuple[int, int]) -> Assignment:
    """Place objects by their pixel positions on the only tile; those off it get tile -1."""
    coverage, _ = _geometry(x, y, tile.shape, size_hw)
    return Assignment(np.where(coverage > 0, 0, -1), np.array(x), np.array(y), {})


def _geometry(
    x: np.ndarray, y: np.ndarray, shape: tuple[int, int], size_hw: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Share of each cutout on the tile, and its centre's distance to the edge (negative outside)."""
    good = np.isfinite(x) & np.isfinite(y) & (np.abs(x) < 2**31) & (np.abs(y) < 2**31)
    coverage, distance = np.zeros(len(x)), np.full(len(x), -np.inf)
    (height, width), (rows, columns) = size_hw, shape
    x0, y0 = first_pixels(x[good], width), first_pixels(y[good], height)
    across = np.clip(np.minimum(x0 + width, columns) - np.maximum(x0, 0), 0, None)
    down = np.clip(np.minimum(y0 + height, rows) - np.maximum(y0, 0), 0, None)
    coverage[good] = across * down / (height * width)
    distance[good] = np.minimum.reduce([x[good] + 0.5, columns - 0.5 - x[good], y[good] + 0.5, rows - 0.5 - y[good]])
    return coverage, distance


def footprint(ra: np.ndarray, dec: np.ndarray) -> str:
    """Describe the range of some positions, also across RA = 0."""
    good = np.isfinite(ra) & np.isfinite(dec)
    if not good.any():
        return "no position"
    ra, dec = ra[good] % 360, dec[good]
    if np.ptp(ra) > 180 and np.ptp((ra + 180) % 360) < np.ptp(ra):
        ra = (ra + 180) % 360 - 180
    return f"RA {ra.min():.5f} to {ra.max():.5f}, Dec {dec.min():+.5f} to {dec.max():+.5f}"
