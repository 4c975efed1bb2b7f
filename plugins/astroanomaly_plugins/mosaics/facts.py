"""What the source ``fits`` understood: positions, tiles, bands, pixel scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from astroanomaly import Catalog, Fact
from astroanomaly.cutting import pixel_scale_arcsec
from astroanomaly_plugins.mosaics.files import Image, why_left_out
from astroanomaly_plugins.mosaics.listing import Listing
from astroanomaly_plugins.mosaics.placing import Placing
from astroanomaly_plugins.mosaics.tiles import Tile
from astroanomaly_plugins.shared.facts import (
    band_fact,
    catalog_facts,
    count_fact,
    left_out_facts,
    object_fact,
    scale_fact,
)

__all__ = ["image_facts", "input_facts", "object_facts", "stamp_facts"]


def image_facts(tiles: Sequence[Tile], bands: Sequence[str], units: Sequence[str], named_by: str) -> list[Fact]:
    """Say which band comes from which images, what named it, and the pixel scale."""
    files = {band: [tile.bands[band].place for tile in tiles if band in tile.bands] for band in bands}
    facts = [band_fact(files, dict(zip(bands, units, strict=True)), f"named by {named_by}")]
    asinh = [image.place for tile in tiles for image in tile.bands.values() if image.asinh]
    if asinh:
        words = f"asinh magnitudes of {len(asinh)} images are made linear flux (BOFFSET, BSOFTEN), as in {asinh[0]}"
        facts.append(Fact("flux", words, {"asinh": len(asinh)}))
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


def input_facts(
    listing: Listing, images: Sequence[Image], tiles: Sequence[Tile], failed: Mapping[str, str], asked: str
) -> list[Fact]:
    """Say of every file and image that was found what became of it.

    Parameters
    ----------
    listing
        What was found in the folders.
    images
        All images of the files.
    tiles
        What is cut from.
    failed
        Files that are failures, by their path below what was given.
    asked
        The flag by which images were chosen; empty without.
    """
    taken = [image for tile in tiles for image in (*tile.bands.values(), *tile.auxiliary.values())]
    used = {(image.path, image.hdu, image.plane) for image in taken}
    used_files = {path for path, _, _ in used}
    left: dict[str, list[str]] = {reason: list(names) for reason, names in listing.others.items()}
    broken = left_files = 0
    holding = {image.path for image in images}
    for path, root, _ in listing.files:
        name = path.relative_to(root).as_posix()
        if name in failed:
            broken += 1
        elif path not in used_files:
            left_files += 1
            if path not in holding:
                left.setdefault("no image in it", []).append(name)
    unused = lost = 0
    for image in images:
        if (image.path, image.hdu, image.plane) in used:
            continue
        if image.relative in failed:
            lost += 1
            continue
        unused += 1
        reason = (f"not chosen by {asked}" if asked else "") or why_left_out(image) or "not needed"
        left.setdefault(reason, []).append(f"{image.relative}{image.spot}")
    others = sum(map(len, listing.others.values()))
    counts = {
        "found": listing.total,
        "used": sum(
            path in used_files and path.relative_to(root).as_posix() not in failed for path, root, _ in listing.files
        ),
        "failed": broken,
        "left_out": left_files + others,
    }
    facts = [
        Fact("files", f"{counts['found']} found: {_parts(counts)}", counts),
        Fact(
            "images",
            f"{len(images)} found in them: {len(used)} used, {f'{lost} failed, ' if lost else ''}{unused} left out",
            {"found": len(images), "used": len(used), "failed": lost, "left_out": unused},
        ),
    ]
    return [*facts, *left_out_facts(left)]


def _parts(counts: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items() if name != "found" and n) or "none used"
    )


def stamp_facts(tiles: Sequence[Tile], broken: int) -> list[Fact]:
    """Say that every image is one object."""
    known = sum(tile.grid is not None for tile in tiles)
    words = "the middle of each image, by its WCS" if known else "none: the images have no WCS"
    return [
        Fact("positions", words if known in (0, len(tiles)) else f"{words}, where it has one", {"kind": "middle"}),
        Fact("ids", "paths of the files", {"column": None}),
        object_fact(len(tiles) + broken, failed=broken),
    ]
