"""Tasks of the source ``euclid``: the objects of each tile together, though they come from several parts of the sky."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from astroanomaly import BandError, Download, Fact, FootprintError, Layout, Task
from astroanomaly_plugins.euclid.datalabs import LocalTiles
from astroanomaly_plugins.euclid.mosaics import PIXEL_ARCSEC, Tile, assign
from astroanomaly_plugins.euclid.search import Found, archive_of
from astroanomaly_plugins.mosaics.objects import footprint
from astroanomaly_plugins.shared.facts import band_fact, count_fact, scale_fact, size_fact
from astroanomaly_plugins.shared.failures import NO_POSITION
from astroanomaly_plugins.shared.gather import Gather, Group
from astroanomaly_plugins.shared.positions import Positions

__all__ = ["Planner"]

_OBJECTS_PER_TASK = 250  # fetched one by one: what a kill can cost is only reading again what is kept
_OWN_COLUMNS = ("tile", "archive")


class Planner:
    """Makes the tasks, and counts what it has made.

    Parameters
    ----------
    found
        Objects, and the archive that has their mosaics.
    payload
        What all tasks have in common.
    """

    def __init__(self, found: Found, payload: dict[str, Any]) -> None:
        self.found, self.payload = found, payload
        self.bands: list[str] = payload["bands"]
        self.size = (payload["size"][0], payload["size"][1])
        self.tiles: dict[str, Tile] = {}
        self.counts: Counter[str] = Counter()
        self.outside = 0
        self._local = LocalTiles(self.bands) if found.via == "datalabs" else None

    @property
    def units(self) -> tuple[str, ...]:
        """Units of the bands, as far as they are known before anything is read."""
        known = self._local.units(self._there(self.found.tiles)) if self._local is not None else {}
        return tuple(known.get(band, "") for band in self.bands)

    def tasks(self) -> Iterator[Task]:
        """Make the tasks.

        Raises
        ------
        FootprintError
            If no object lies on a mosaic.
        BandError
            If a band is nowhere.
        """
        blocks = self.found.blocks
        gather = Gather(blocks)
        hidden_in_all = 0
        for number, (part, positions) in enumerate(blocks):
            for group in gather.ready(part):
                yield from self._of_tile(group)
            own = _apart(positions, self.bands)
            tiles = self.found.tiles if not number else self.found.tiles_of(positions)
            for tile in tiles:
                known = self.tiles.setdefault(tile.number, tile)
                known.mosaics.update({band: one for band, one in tile.mosaics.items() if band not in known.mosaics})
            tiles = [self.tiles[tile.number] for tile in tiles]
            held = np.zeros(len(own), bool)
            there = self._there(tiles)
            hidden = self._hidden(tiles, there, own)
            for tile, placed, on_tile in self._place(there, own):
                shown = ~hidden[placed]
                rows, columns = placed[shown], {name: values[shown] for name, values in on_tile.items()}
                if not len(rows):
                    continue
                held[rows] = True
                self.counts[tile.number] += len(rows)
                one = tile.first
                reach = float(np.hypot(one.half_x, one.half_y)) + max(self.size) * PIXEL_ARCSEC / 3600
                gather.add(f"tile-{tile.number}", tile, {**own.table(rows), **columns}, one.ra, one.dec, 1.05 * reach)
            key = f"not there {number}"
            yield from own.failures(key, np.flatnonzero(hidden), "its mosaics are not on this computer", "failed")
            yield from self._lost(own, ~held & ~hidden, number)
            hidden_in_all += int(hidden.sum())
        if not self.counts and not hidden_in_all:
            first = blocks.first
            raise FootprintError(
                f"none of the {blocks.total} positions lies on a mosaic: {footprint(first.ra, first.dec)} (ICRS)."
                f"{first.remark}"
            )
        for group in gather.rest():
            yield from self._of_tile(group)
        absent = [band for band in self.bands if not any(band in tile.mosaics for tile in self.tiles.values())]
        if absent:
            raise BandError(f"no mosaic at these positions shows the band {absent[0]!r}")

    def _there(self, tiles: list[Tile]) -> list[Tile]:
        """Return the tiles that can be read; of a whole catalogue all have to be."""
        return tiles if self._local is None or self.found.blocks.whole else self._local.there(tiles)

    def _hidden(self, tiles: list[Tile], there: list[Tile], positions: Positions) -> np.ndarray:
        """``(n,)`` bool: which objects would be cut from a tile that cannot be read."""
        if len(there) == len(tiles):
            return np.zeros(len(positions), bool)
        unread = np.array([tile not in there for tile in tiles] + [False])  # the last for objects on no tile
        return unread[assign(tiles, positions.ra, positions.dec, self.size).tile]

    def _place(self, tiles: Sequence[Tile], positions: Positions) -> Iterator[tuple[Tile, np.ndarray, dict[str, Any]]]:
        """Give objects to tiles: for each tile the rows of its objects, and where they lie on it."""
        if not tiles:
            return
        if self._local is not None:
            yield from self._local.place(tiles, positions, self.size)
            return
        assigned = assign(tiles, positions.ra, positions.dec, self.size)
        for number, tile in enumerate(tiles):
            rows = np.flatnonzero(assigned.tile == number)
            if len(rows):
                yield tile, rows, {"x": assigned.x[rows], "y": assigned.y[rows]}

    def _of_tile(self, group: Group) -> Iterator[Task]:
        """Make the tasks of one tile, its objects in the order of the file."""
        table, tile = group.table, group.image
        if self._local is not None:
            yield self._local.task(group.key, tile, table, self.payload)
            return
        order = np.lexsort((table.pop("x"), table.pop("y")))
        mosaics = {band: mosaic.plain for band, mosaic in tile.mosaics.items()}
        content = {**self.payload, "kind": "cutouts", "tile": tile.number, "mosaics": mosaics}
        for start in range(0, len(order), _OBJECTS_PER_TASK):
            part = order[start : start + _OBJECTS_PER_TASK]
            yield Task(f"{group.key}-{start:06d}", content, {name: values[part] for name, values in table.items()})

    def _lost(self, positions: Positions, outside: np.ndarray, number: int) -> list[Task]:
        """Make the task of the objects that no mosaic shows or that have no position."""
        rows = np.flatnonzero(outside)
        known = np.isfinite(positions.ra[rows]) & np.isfinite(positions.dec[rows])
        self.outside += int(known.sum())
        reasons = np.where(known, "outside all Euclid mosaics", NO_POSITION).tolist()
        kinds = np.where(known, "no coverage", "no position").tolist()
        return positions.failures(f"outside {number}" if number else "outside", rows, reasons, kinds)

    def downloads(self) -> list[Download]:
        """Say what reading the tasks that were made fetches."""
        if self._local is not None:
            return []
        nbytes = archive_of(self.found.via, self.payload["environment"], self.payload["login"]).nbytes(self.size)
        return [
            Download(mosaic.name, self.counts[number], self.counts[number] * nbytes)
            for number, tile in self.tiles.items()
            if self.counts[number]
            for mosaic in tile.mosaics.values()
        ]

    def facts(self, layout: Layout) -> list[Fact]:
        """Say where positions and bands come from, and how many objects lie on each tile."""
        tiles = self.tiles.values()
        mosaics = {band: [tile.mosaics[band].name for tile in tiles if band in tile.mosaics] for band in layout.bands}
        units = dict(zip(layout.bands, layout.units, strict=True))
        return [
            *self.found.blocks.facts(outside_all_mosaics=self.outside),
            band_fact(mosaics, units, f"from {self.found.via}"),
            count_fact("tiles", list(self.tiles), [self.counts[number] for number in self.tiles]),
            scale_fact([PIXEL_ARCSEC]),
            size_fact((layout.height, layout.width), PIXEL_ARCSEC),
            self.found.release,
        ]


def _apart(positions: Positions, bands: Sequence[str]) -> Positions:
    """Rename catalogue columns that have the names of columns of the source."""
    kinds = ("product", "filter", "unit", "zero_point")
    own = {*_OWN_COLUMNS, *(f"{kind}_{band}" for kind in kinds for band in bands)}
    columns = {f"{name}_catalog" if name in own else name: values for name, values in positions.columns.items()}
    return replace(positions, columns=columns)
