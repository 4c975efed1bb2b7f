"""Euclid's mosaics on ESA Datalabs, read in place, memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

__all__ = ["LocalTiles", "all_there"]

ARCHIVE = "ESA Datalabs"


def all_there(tiles: Sequence[Tile]) -> bool:
    """Whether every mosaic lies on this computer."""
    mosaics = [mosaic for tile in tiles for mosaic in tile.mosaics.values()]
    return bool(mosaics) and all(mosaic.local and Path(mosaic.local).is_file() for mosaic in mosaics)


class LocalTiles:
    """Tiles whose headers were read, each once.

    Parameters
    ----------
    bands
        Bands that are cut.
    """

    def __init__(self, bands: Sequence[str]) -> None:
        self._bands = bands
        self._opened: dict[str, tuple[LocalTile, dict[str, Any]]] = {}

    def _tile(self, tile: Tile) -> tuple[LocalTile, dict[str, Any]]:
        known = self._opened.get(tile.number)
        if known is None or set(known[0].bands) != set(tile.mosaics):
            known = self._opened[tile.number] = _open(tile, self._bands)
        return known

    def there(self, tiles: Sequence[Tile]) -> list[Tile]:
        """Return the tiles whose mosaics are on this computer.

        Raises
        ------
        UnreadableError
            If no tile has been opened, and none of these can be.
        """
        found = [tile for tile in tiles if all_there([tile])]
        if tiles and not found and not self._opened:
            self._tile(tiles[0])
        return found

    def units(self, tiles: Sequence[Tile]) -> dict[str, str]:
        """Return the unit of every band."""
        local = [self._tile(tile)[0] for tile in tiles]
        return {band: image.unit for tile in reversed(local) for band, image in tile.bands.items()}

    def place(
        self, tiles: Sequence[Tile], positions: Positions, size: tuple[int, int]
    ) -> Iterator[tuple[Tile, np.ndarray, dict[str, Any]]]:
        """Give objects to tiles: for each tile the rows of its objects, and where they lie on it.

        Raises
        ------
        UnreadableError
            If a mosaic is not there.
        BandError
            If a mosaic shows another band than the archive says.
        """
        found = assign([self._tile(tile)[0] for tile in tiles], positions.ra, positions.dec, size)
        for number, tile in enumerate(tiles):
            rows = np.flatnonzero(found.tile == number)
            if not len(rows):
                continue
            columns: dict[str, Any] = {"x": found.x[rows], "y": found.y[rows]}
            others = [found.others.get(k, ()) for k in rows.tolist()]
            if any(others):
                columns["others"] = np.array([" ".join(tiles[other].number for other in each) for each in others])
            yield tile, rows, columns

    def task(self, key: str, tile: Tile, table: dict[str, Any], payload: dict[str, Any]) -> Task:
        """Make the task of one tile, on which its files are opened once for all its objects."""
        order = np.lexsort((table["x"], np.floor(table["y"])))  # that of the file
        numbers = [tile.number]
        if "others" in table:
            texts = np.ma.filled(np.ma.asarray(table["others"]), "").tolist()
            others = sorted({number for text in texts for number in text.split()}, key=list(self._opened).index)
            place = {number: position for position, number in enumerate(others, 1)}
            table["others"] = np.array([" ".join(str(place[number]) for number in text.split()) for text in texts])
            numbers += others
        opened = [self._opened[number] for number in numbers]
        plain = [{**one.plain, "columns": columns} for one, columns in opened]
        sorted_table = {name: values[order] for name, values in table.items()}
        return Task(key, {**payload, "kind": "tile", "tiles": plain}, sorted_table)


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
