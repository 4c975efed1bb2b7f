"""Where the objects of a catalogue lie on the tiles: by sky or by pixel positions, never by a guess between the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from astroanomaly import Catalog, CatalogError, ConfigError, FootprintError
from astroanomaly.cutting import pixel_to_sky
from astroanomaly_plugins.mosaics.misses import describe_miss
from astroanomaly_plugins.mosaics.objects import Assignment, assign, assign_pixels
from astroanomaly_plugins.mosaics.tiles import Tile

__all__ = ["Placing", "place"]


class _Options(Protocol):
    """Columns that somebody has named; empty: none."""

    @property
    def ra(self) -> str: ...
    @property
    def x(self) -> str: ...


@dataclass(frozen=True, eq=False)
class Placing:
    """Positions of the objects, and their tiles.

    Attributes
    ----------
    ra, dec
        ``(n,)`` ICRS degrees, NaN where unknown.
    found
        The tile of each object.
    use
        Which positions of the catalogue were used.
    """

    ra: np.ndarray
    dec: np.ndarray
    found: Assignment
    use: Literal["sky", "pixel"]
    known: np.ndarray  # (n,) whether a row has a valid position


def place(tiles: Sequence[Tile], catalog: Catalog, options: _Options, size_hw: tuple[int, int]) -> Placing:
    """Find the tile of every object.

    Images with a WCS are cut at sky positions, or at pixel positions whose columns were named; images without one at
    pixel positions.

    Parameters
    ----------
    options
        Which columns were named.
    size_hw
        ``(height, width)`` of a cutout.

    Raises
    ------
    ConfigError
        If columns of both kinds were named.
    CatalogError
        If the catalogue lacks the positions that are needed.
    FootprintError
        If no object lies on an image; it says how far the nearest is, and what else the numbers might mean.
    """
    if options.ra and options.x:
        raise ConfigError(
            "--ra and --dec name columns of sky positions, --x and --y of pixel positions: name those that hold the "
            "positions of the objects, not both"
        )
    with_wcs = all(tile.grid is not None for tile in tiles)
    if with_wcs and not options.x:
        if catalog.ra is None or catalog.dec is None:
            raise CatalogError(_no_sky_positions(tiles, catalog))
        ra, dec = np.asarray(catalog.ra), np.asarray(catalog.dec)
        placing = Placing(ra, dec, assign(tiles, ra, dec, size_hw), "sky", np.isfinite(ra) & np.isfinite(dec))
    else:
        placing = _by_pixels(tiles, catalog, size_hw)
    if not (placing.found.tile >= 0).any():
        if placing.use == "pixel":
            raise FootprintError(_off_the_image(tiles[0], catalog))
        raise FootprintError(describe_miss(tiles, catalog, size_hw))
    return placing


def _by_pixels(tiles: Sequence[Tile], catalog: Catalog, size_hw: tuple[int, int]) -> Placing:
    if catalog.x is None or catalog.y is None:
        raise CatalogError(
            f"{tiles[0].first.place} has no WCS, so sky positions cannot be cut from it: the catalogue needs pixel "
            f"positions (--x COLUMN --y COLUMN). Its columns: {', '.join(catalog.columns.colnames)}"
        )
    if len(tiles) > 1 or tiles[0].tan is not None:
        raise CatalogError(
            f"pixel positions ({catalog.found.get('pixel', '')}) belong to one image, but there are "
            f"{len(tiles)} tiles{' on a resampled grid' if tiles[0].tan else ''}: ingest one image at a time, or use a "
            "catalogue with sky positions (--ra COLUMN --dec COLUMN)"
        )
    found = assign_pixels(tiles[0], catalog.x, catalog.y, size_hw)
    ra = dec = np.full(len(catalog), np.nan)
    if tiles[0].grid is not None:
        ra, dec = pixel_to_sky(tiles[0].grid, catalog.x, catalog.y)
    return Placing(ra, dec, found, "pixel", np.isfinite(catalog.x) & np.isfinite(catalog.y))


def _no_sky_positions(tiles: Sequence[Tile], catalog: Catalog) -> str:
    pixel = catalog.pixel
    way = ""
    if pixel is not None:
        x, y = pixel.columns
        way = (
            f" Pixel positions ({x}, {y}) are not taken for images with a WCS unless they are named: if they are those "
            f"of this very image, say --x {x} --y {y}"
        )
    return (
        f"{tiles[0].first.place} has a WCS, but no columns of sky positions were recognised in the catalogue. Its "
        f"columns: {', '.join(catalog.columns.colnames)}. Name them: --ra COLUMN --dec COLUMN (with --frame if not "
        f"ICRS).{way}"
    )


def _off_the_image(tile: Tile, catalog: Catalog) -> str:
    spans = [
        f"{name} {np.nanmin(part):.1f} to {np.nanmax(part):.1f}"
        for name, part in (("x", catalog.x), ("y", catalog.y))
        if part is not None and np.isfinite(part).any()
    ]
    span = ", ".join(spans) or "nothing: no row has a valid one"
    height, width = tile.shape
    return f"no object lies on the image: positions span {span}; the image has {width} x {height} pixels"
