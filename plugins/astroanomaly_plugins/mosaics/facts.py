"""What the source ``fits`` understood: positions, tiles, bands, pixel scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from astroanomaly import Catalog, Fact
from astroanomaly.cutting import pixel_scale_arcsec
from astroanomaly_plugins.mosaics.placing import Placing
from astroanomaly_plugins.mosaics.tiles import Tile
from astroanomaly_plugins.shared.facts import band_fact, catalog_facts, count_fact, object_fact, scale_fact

__all__ = ["image_facts", "object_facts", "stamp_facts"]


def image_facts(tiles: Sequence[Tile], bands: Sequence[str], units: Sequence[str], named_by: str) -> list[Fact]:
    """Say which band comes from which images, what named it, and the pixel scale."""
    files = {band: [tile.bands[band].place for tile in tiles if band in tile.bands] for band in bands}
    facts = [band_fact(files, dict(zip(bands, units, strict=True)), f"named by {named_by}")]
    scales = [pixel_scale_arcsec(tile.grid) for tile in tiles if tile.grid is not None]
    if scales:
        resampled = sum(tile.tan is not None for tile in tiles)
        note = f"; {resampled} of {len(tiles)} tiles are resampled to a TAN grid of that scale" if resampled else ""
        facts.append(scale_fact(scales, note))
    else:
        facts.append(Fact("pixel scale", "unknown: the images have no WCS"))
    return facts


def object_facts(tiles: Sequence[Tile], catalog: Catalog, placing: Placing) -> list[Fact]:
    """Say which columns gave the positions and how many objects lie on each tile."""
    on = placing.found.tile >= 0
    counts = {
        "on_the_images": int(on.sum()),
        "outside_all_images": int((placing.known & ~on).sum()),
        "without_a_valid_position": int((~placing.known).sum()),
    }
    per_tile = np.bincount(placing.found.tile[on], minlength=len(tiles))
    names = [tile.first.place for tile in tiles]
    return [
        *catalog_facts(catalog, placing.use),
        object_fact(len(catalog), **counts),
        count_fact("tiles", names, per_tile.tolist()),
    ]


def stamp_facts(tiles: Sequence[Tile], broken: int) -> list[Fact]:
    """Say that every image is one object."""
    known = sum(tile.grid is not None for tile in tiles)
    words = "the middle of each image, by its WCS" if known else "none: the images have no WCS"
    return [
        Fact("positions", words if known in (0, len(tiles)) else f"{words}, where it has one", {"kind": "middle"}),
        Fact("ids", "paths of the files", {"column": None}),
        object_fact(len(tiles) + broken, unreadable_files=broken),
    ]
