"""Euclid's mosaics: what archives say of them, which tile an object is cut from."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from astroanomaly import BandError
from astroanomaly.sky import cells, enclosing_circle, unit_vectors
from astroanomaly_plugins.euclid.bands import is_wanted

__all__ = ["PIXEL_ARCSEC", "Assignment", "Mosaic", "Tile", "areas", "assign", "make_tiles", "mosaic_extent"]

PIXEL_ARCSEC = 0.1  # of every mosaic of the MER pipeline
_HALF_TILE_DEG = 0.5 * 19_200 * PIXEL_ARCSEC / 3600  # degrees
_CELL_DEG = 8.0  # one question to an archive asks for all mosaics of a cell of the sky of this size
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mosaic:
    """One mosaic: a file that shows one tile in one band.

    Attributes
    ----------
    name
        File name: the product's identifier.
    address
        Where the archive has it.
    local
        Where ESA Datalabs has it; empty where that is not known.
    tile
        Number of the tile.
    instrument
        Instrument, as the archive needs it.
    band
        As `band_name` has it.
    ra, dec
        Middle, ICRS degrees.
    half_x, half_y
        Half its width and height in degrees.
    number
        The archive's own number of it; of two versions the higher is the newer.
    """

    name: str
    address: str
    local: str
    tile: str
    instrument: str
    band: str
    ra: float
    dec: float
    half_x: float
    half_y: float
    number: int = 0

    @property
    def plain(self) -> dict[str, Any]:
        """As JSON values, for the payload of a task."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Tile:
    """The mosaics of one tile, by the names of the bands that were asked for."""

    number: str
    mosaics: dict[str, Mosaic]

    @property
    def first(self) -> Mosaic:
        """The mosaic that stands for the footprint of all."""
        return next(iter(self.mosaics.values()))


@dataclass(frozen=True, eq=False)
class Assignment:
    """Which tile each object is cut from: ``(n,)`` index of the tile, -1 for none, and position on it in degrees."""

    tile: np.ndarray
    x: np.ndarray
    y: np.ndarray


def mosaic_extent(region: str, ra: float, dec: float) -> tuple[float, float]:
    """Read half width and half height in degrees from a polygon; those of an ordinary tile where it is none."""
    numbers = np.array([float(text) for text in re.findall(r"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?", str(region))])
    if len(numbers) < 6 or len(numbers) % 2:
        return _HALF_TILE_DEG, _HALF_TILE_DEG
    corners = numbers.reshape(-1, 2)
    if np.abs(corners).max() <= 2 * np.pi and (ra > 6.5 or abs(dec) > 6.5):
        corners = np.degrees(corners)
    x, y = _project(corners[:, 0], corners[:, 1], ra, dec)
    half_x, half_y = float(np.abs(x).max()), float(np.abs(y).max())
    good = np.isfinite([half_x, half_y]).all() and 1e-4 < half_x < 5 and 1e-4 < half_y < 5
    return (half_x, half_y) if good else (_HALF_TILE_DEG, _HALF_TILE_DEG)


def _project(ra: np.ndarray, dec: np.ndarray, ra0: float, dec0: float) -> tuple[np.ndarray, np.ndarray]:
    """Gnomonic projection: degrees to the west and to the north of a centre; NaN on the other half of the sky."""
    ra, dec, ra0, dec0 = np.radians(ra), np.radians(dec), np.radians(ra0), np.radians(dec0)
    depth = np.sin(dec) * np.sin(dec0) + np.cos(dec) * np.cos(dec0) * np.cos(ra - ra0)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = -np.cos(dec) * np.sin(ra - ra0) / depth
        y = (np.sin(dec) * np.cos(dec0) - np.cos(dec) * np.sin(dec0) * np.cos(ra - ra0)) / depth
    x[depth <= 0] = y[depth <= 0] = np.nan
    return np.degrees(x), np.degrees(y)


def areas(ra: np.ndarray, dec: np.ndarray, margin: float) -> Iterator[tuple[float, float, float]]:
    """Cover positions with circles ``(ra, dec, radius)`` in degrees, few and none larger than needed.

    Parameters
    ----------
    margin
        How far from a position a mosaic may lie and still be of interest, in degrees.
    """
    for rows in cells(ra, dec, _CELL_DEG):
        lon, lat, radius = enclosing_circle(ra[rows], dec[rows])
        yield round(lon, 5), round(lat, 5), round(radius + margin + 2e-5, 5)


def make_tiles(mosaics: Iterable[Mosaic], bands: Sequence[str], *, strict: bool = True) -> list[Tile]:
    """Group mosaics to tiles; of several versions of one the newest is taken.

    Parameters
    ----------
    bands
        Bands that were asked for, as `band_name` has them.
    strict
        Whether each of them has to be somewhere.

    Raises
    ------
    BandError
        If a band is nowhere, or a letter means several bands of one tile.
    """
    newest: dict[tuple[str, str], Mosaic] = {}
    doubled = 0
    for mosaic in sorted(set(mosaics), key=lambda one: (_moment(one.name), one.number, one.name)):
        doubled += (mosaic.tile, mosaic.band) in newest
        newest[mosaic.tile, mosaic.band] = mosaic
    if doubled:
        _log.warning("the archive has several versions of %d mosaics: the newest are taken", doubled)
    tiles: dict[str, dict[str, Mosaic]] = {}
    for (number, name), mosaic in sorted(newest.items()):
        for wanted in bands:
            if not is_wanted(wanted, name):
                continue
            known = tiles.setdefault(number, {}).get(wanted)
            if known is not None:
                raise BandError(
                    f"tile {number} has two bands that {wanted!r} may mean, {known.band} and {name}: "
                    "name the one you want"
                )
            tiles[number][wanted] = mosaic
    found = {band for mosaics_of in tiles.values() for band in mosaics_of}
    missing = [band for band in bands if band not in found]
    if missing and newest and strict:
        there = ", ".join(sorted({name for _, name in newest}))
        raise BandError(f"no mosaic at these positions shows the band {missing[0]!r}. There are: {there}")
    return [
        Tile(number, {band: mosaics_of[band] for band in bands if band in mosaics_of})
        for number, mosaics_of in tiles.items()
    ]


def _moment(name: str) -> str:
    """When a mosaic was made, as its file name has it."""
    match = re.search(r"_(\d{8}T\d{6}(?:\.\d+)?)Z", name)
    return match.group(1) if match else ""


def assign(tiles: Sequence[Tile], ra: np.ndarray, dec: np.ndarray, size_hw: tuple[int, int]) -> Assignment:
    """Give every object to the tile that shows most of its cutout, all bands counted; then where it is farthest inside.

    Parameters
    ----------
    ra, dec
        ``(n,)`` ICRS degrees; NaN is on no tile.
    size_hw
        ``(height, width)`` of a cutout in pixels.
    """
    from scipy.spatial import cKDTree

    result = Assignment(np.full(len(ra), -1), np.full(len(ra), np.nan), np.full(len(ra), np.nan))
    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    if not len(known) or not tiles:
        return result
    tree = cKDTree(unit_vectors(ra[known], dec[known]))
    best = np.full((len(ra), 2), -np.inf)
    half_height, half_width = (0.5 * length * PIXEL_ARCSEC / 3600 for length in size_hw)
    most = max(len(tile.mosaics) for tile in tiles)
    for number, tile in enumerate(tiles):
        one = tile.first
        reach = np.radians(np.hypot(one.half_x + half_width, one.half_y + half_height)) * 1.05
        center = unit_vectors(np.array([one.ra]), np.array([one.dec]))[0]
        near = known[np.asarray(tree.query_ball_point(center, min(2.0, reach)), dtype=np.int64)]
        if not len(near):
            continue
        x, y = _project(ra[near], dec[near], one.ra, one.dec)
        shown = _overlap(x, half_width, one.half_x) * _overlap(y, half_height, one.half_y)
        inside = np.minimum(one.half_x - np.abs(x), one.half_y - np.abs(y))
        coverage = np.round(shown * len(tile.mosaics) / most, 6)
        better = (shown > 0) & ((coverage > best[near, 0]) | ((coverage == best[near, 0]) & (inside > best[near, 1])))
        chosen = near[better]
        best[chosen] = np.stack([coverage, inside], axis=1)[better]
        result.tile[chosen], result.x[chosen], result.y[chosen] = number, x[better], y[better]
    return result


def _overlap(middle: np.ndarray, half: float, limit: float) -> np.ndarray:
    """Share of ``middle - half`` to ``middle + half`` that lies between ``-limit`` and ``limit``."""
    return np.clip(np.minimum(middle + half, limit) - np.maximum(middle - half, -limit), 0, None) / (2 * half)
