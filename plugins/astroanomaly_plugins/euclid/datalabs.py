"""Euclid's mosaics on ESA Datalabs, read in place, memory-mapped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astroanomaly import BandError, Task, UnreadableError
from astroanomaly_plugins.euclid.bands import fits_band
from astroanomaly_plugins.euclid.files import header_of, image_of, zero_point
from astroanomaly_plugins.euclid.mosaics import Tile
from astroanomaly_plugins.mosaics.files import Image
from astroanomaly_plugins.mosaics.objects import assign
from astroanomaly_plugins.mosaics.tiles import Tile as LocalTile
from astroanomaly_plugins.mosaics.tiles import make_tile
from astroanomaly_plugins.shared.positions import Positions

__all__ = ["all_there", "plan_local"]

ARCHIVE = "ESA Datalabs"


def all_there(tiles: Sequence[Tile]) -> bool:
    """Whether every mosaic lies on this computer."""
    mosaics = [mosaic for tile in tiles for mosaic in tile.mosaics.values()]
    return bool(mosaics) and all(mosaic.local and Path(mosaic.local).is_file() for mosaic in mosaics)


def plan_local(
    tiles: Sequence[Tile], positions: Positions, payload: dict[str, Any]
) -> tuple[list[Task], np.ndarray, dict[str, str]]:
    """Make one task per tile, on which its files are opened once for all its objects.

    Parameters
    ----------
    payload
        What all tasks have in common: bands, size, least coverage.

    Returns
    -------
    tasks : list of Task
    outside : ndarray
        ``(n,)`` bool: objects that are on no tile.
    units : dict
        Unit of every band.

    Raises
    ------
    UnreadableError
        If a mosaic is not there.
    BandError
        If a mosaic shows another band than the archive says.
    """
    local, columns = zip(*[_open(tile, payload["bands"]) for tile in tiles], strict=True)
    size = (payload["size"][0], payload["size"][1])
    found = assign(local, positions.ra, positions.dec, size)
    tasks = []
    for number in range(len(local)):
        rows = np.flatnonzero(found.tile == number)
        if not len(rows):
            continue
        rows = rows[np.lexsort((found.x[rows], np.floor(found.y[rows])))]  # in the order of the file
        table = {**positions.table(rows), "x": found.x[rows], "y": found.y[rows]}
        others = sorted({other for k in rows.tolist() for other in found.others.get(k, ())})
        if others:
            place = {other: position for position, other in enumerate(others, 1)}
            table["others"] = np.array(
                [" ".join(str(place[other]) for other in found.others.get(k, ())) for k in rows.tolist()]
            )
        plain = [{**local[one].plain, "columns": columns[one]} for one in (number, *others)]
        tasks.append(Task(f"tile-{tiles[number].number}", {**payload, "kind": "tile", "tiles": plain}, table))
    units = {band: image.unit for tile in reversed(local) for band, image in tile.bands.items()}
    return tasks, found.tile < 0, units


def _open(tile: Tile, bands: Sequence[str]) -> tuple[LocalTile, dict[str, Any]]:
    """Read the headers of a tile's mosaics; return where they lie and what rides along with every object cut there."""
    images: dict[str, Image] = {}
    columns: dict[str, Any] = {}
    for band in bands:
        columns |= {f"product_{band}": "", f"filter_{band}": "", f"unit_{band}": "", f"zero_point_{band}": float("nan")}
    for band, mosaic in tile.mosaics.items():
        path = Path(mosaic.local)
        if not mosaic.local or not path.is_file():
            raise UnreadableError(
                f"the mosaic {mosaic.name} is not at {mosaic.local or 'any place the archive names'}: --via datalabs "
                "reads mosaics in place on ESA Datalabs, Euclid's volume mounted; elsewhere say --via esa or irsa"
            )
        images[band] = image_of(path)
        header = header_of(images[band])
        filter = str(header.get("FILTER", "")).strip()
        if not fits_band(filter, mosaic.band):
            raise BandError(f"{path} is of the band {filter!r}, but the archive says {mosaic.band!r}")
        columns[f"product_{band}"] = mosaic.name
        columns[f"filter_{band}"] = filter or mosaic.band
        columns[f"unit_{band}"] = images[band].unit
        columns[f"zero_point_{band}"] = zero_point(header)
    return make_tile(images, None), {**columns, "tile": tile.number, "archive": ARCHIVE}
