"""Why no object of a catalogue lies on the images: how far the nearest one is, and what else its numbers might mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from astroanomaly import Catalog
from astroanomaly.cutting import pixel_to_sky, sky_to_pixel
from astroanomaly.sky import unit_vectors
from astroanomaly_plugins.mosaics.objects import assign, footprint
from astroanomaly_plugins.mosaics.tiles import Tile
from astroanomaly_plugins.shared.hours import HOURS_WAY, may_be_hours

__all__ = ["describe_miss", "nearest_tile"]

_POINTS_PER_SIDE = 65  # of an image, to which distances are measured at first
_MOST_TRIED = 2000  # rows of a catalogue whose numbers are read in another way


def describe_miss(tiles: Sequence[Tile], catalog: Catalog, size_hw: tuple[int, int]) -> str:
    """Write the message of an error: both footprints, the nearest image, and readings that would hit.

    Parameters
    ----------
    tiles
        All with a grid.
    catalog
        With sky positions, none of which lies on a tile.
    size_hw
        ``(height, width)`` of a cutout.
    """
    ra, dec = np.asarray(catalog.ra), np.asarray(catalog.dec)
    if not (np.isfinite(ra) & np.isfinite(dec)).any():
        return f"none of the {len(catalog)} rows of the catalogue has a valid position ({catalog.found.get('sky', '')})"
    corners = [
        pixel_to_sky(tile.grid, [0, tile.shape[1] - 1] * 2, [0, 0, tile.shape[0] - 1, tile.shape[0] - 1])
        for tile in tiles
        if tile.grid is not None
    ]
    images = np.concatenate([part[0] for part in corners]), np.concatenate([part[1] for part in corners])
    words = (
        f"none of the {len(catalog)} objects lies on the images. The catalogue ({catalog.found.get('sky', '')}) covers "
        f"{footprint(ra, dec)}; the images cover {footprint(*images)} (ICRS degrees)."
    )
    near = nearest_tile(tiles, ra, dec)
    if near is not None:
        number, row, distance = near
        words += (
            f" The nearest image is {tiles[number].first.place}: the object {catalog.ids[row]} at RA {ra[row]:.5f}, "
            f"Dec {dec[row]:+.5f} is {_length(distance)} away from it."
        )
    words += _suspicion(tiles, catalog, size_hw, images[0])
    return f"{words} Check the position columns (--ra, --dec) and their frame (--frame)"


def nearest_tile(tiles: Sequence[Tile], ra: np.ndarray, dec: np.ndarray) -> tuple[int, int, float] | None:
    """Find the tile that is nearest to any of some positions, which lie on none.

    Parameters
    ----------
    ra, dec
        ``(n,)`` ICRS degrees, NaN where unknown.

    Returns
    -------
    tile, row, distance
        Their indices, and the angle in degrees between the position and the nearest pixel. None where nothing can be
        measured.
    """
    from scipy.spatial import cKDTree

    known = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    numbers = [number for number, tile in enumerate(tiles) if tile.grid is not None]
    if not len(known) or not numbers:
        return None
    tree = cKDTree(unit_vectors(ra[known], dec[known]))
    caps = [tiles[number].cap for number in numbers]
    to_centers = tree.query(np.array([center for center, _ in caps]))[0]
    least = np.maximum(_angle(to_centers) - np.array([_angle(chord) for _, chord in caps]), 0)
    best: tuple[int, int, float] | None = None
    for k in np.argsort(least, kind="stable"):
        if best is not None and least[k] > best[2]:
            break
        row, distance = _to_edge(tiles[numbers[k]], tree, known, ra, dec)
        if row >= 0 and (best is None or distance < best[2]):
            best = numbers[k], row, distance
    return best


def _to_edge(tile: Tile, tree: Any, known: np.ndarray, ra: np.ndarray, dec: np.ndarray) -> tuple[int, float]:
    """Return the position nearest to a tile and its distance in degrees; -1 where the tile has no edge on the sky."""
    if tile.grid is None:
        return -1, np.inf
    height, width = tile.shape
    u, v = np.linspace(0, width - 1, _POINTS_PER_SIDE), np.linspace(0, height - 1, _POINTS_PER_SIDE)
    zero, one = np.zeros(_POINTS_PER_SIDE), np.ones(_POINTS_PER_SIDE)
    edge = pixel_to_sky(
        tile.grid,
        np.concatenate([u, u, zero, one * (width - 1)]),
        np.concatenate([zero, one * (height - 1), v, v]),
    )
    points = unit_vectors(*edge)
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return -1, np.inf
    chords, nearest = tree.query(points)
    first = int(np.argmin(chords))
    row, distance = int(known[nearest[first]]), float(_angle(chords[first]))
    x, y = sky_to_pixel(tile.grid, ra[row : row + 1], dec[row : row + 1])
    if np.isfinite(x[0]) and np.isfinite(y[0]):  # between the points of the edge
        spot = pixel_to_sky(tile.grid, np.clip(x, 0, width - 1), np.clip(y, 0, height - 1))
        chord = np.linalg.norm(unit_vectors(*spot) - unit_vectors(ra[row : row + 1], dec[row : row + 1]))
        distance = min(distance, float(_angle(chord))) if np.isfinite(chord) else distance
    return row, distance


def _angle(chord: Any) -> np.ndarray:
    """Degrees between two directions whose unit vectors are so far apart."""
    return np.degrees(2 * np.arcsin(np.clip(np.asarray(chord) / 2, 0, 1)))


def _length(degrees: float) -> str:
    return f"{degrees * 3600:.4g} arcsec" if degrees < 0.05 else f"{degrees * 3600:.0f} arcsec ({degrees:.4g} degrees)"


def _suspicion(tiles: Sequence[Tile], catalog: Catalog, size_hw: tuple[int, int], images_ra: np.ndarray) -> str:
    """Say which other reading of the numbers would put objects on the images; empty where none would."""
    best, said = 0, ""
    for what, way, ra, dec in _readings(catalog):
        hits = int((assign(tiles, ra, dec, size_hw).tile >= 0).sum())
        if hits > best:
            best, said = hits, f" Read as {what}, {hits} of {len(ra)} would lie on the images: if that is right, {way}."
    if not said and may_be_hours(catalog) and np.nanmax(images_ra) > 24:
        said = f" All right ascensions of the catalogue are between 0 and 24: if they are hours, {HOURS_WAY}."
    return said


def _readings(catalog: Catalog) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
    """Give what the numbers of a catalogue might mean: in words, how to say so, and the ICRS degrees."""
    from astropy.coordinates import SkyCoord

    columns = catalog.sky
    if columns is None or columns.frame != "icrs" or columns.unit != "deg" or columns.chosen == "SkyCoord":
        return
    step = -(-len(catalog) // _MOST_TRIED)
    ra, dec = np.asarray(catalog.ra)[::step], np.asarray(catalog.dec)[::step]
    good = np.isfinite(ra) & np.isfinite(dec)
    if not good.any():
        return
    if may_be_hours(catalog):
        yield "hours", HOURS_WAY, ra * 15, dec
    if np.abs(ra[good]).max() <= 2 * np.pi and np.abs(dec[good]).max() <= np.pi / 2:
        yield "radians", "say --unit rad", np.degrees(ra), np.degrees(dec)
    if ((ra[good] <= 90) | (ra[good] >= 270)).all():
        first, second = columns.columns
        swapped = np.where(ra > 180, ra - 360, ra)
        yield "latitude and longitude", f"swap them: --ra {second} --dec {first}", dec % 360, swapped
    for frame in ("galactic", "fk4", "barycentrictrueecliptic"):
        lon, lat = np.full(len(ra), np.nan), np.full(len(ra), np.nan)
        place = SkyCoord(ra[good], dec[good], unit="deg", frame=frame).icrs
        lon[good], lat[good] = place.ra.deg, place.dec.deg
        yield f"positions in the frame {frame}", f"say --frame {frame}", lon, lat
