"""How cutouts of a cache are turned for the eye: from the pixels' kind, the file they came in, and the WCS."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from astroanomaly.cache.plan import read_description
from astroanomaly.cache.shard import Shard
from astroanomaly.cutting.directions import sky_scales
from astroanomaly.cutting.grids import Grid
from astroanomaly.imaging.compass import Compass
from astroanomaly.imaging.orientation import Orientation, OrientationChoice, native, orient
from astroanomaly.records import Layout

__all__ = ["Orientations", "Oriented"]

_CACHED_OBJECTS = 20_000
_CACHED_SHARDS = 64  # whose grid numbers are held, 20 bytes an object, and some of their grids
_CACHED_GRIDS = 32  # of a shard; those of a mosaic are few and are asked for again
_PICTURE_SOURCES = ("images",)  # files whose first row is on top, even where their pixels are kept as flux


class Oriented(Protocol):
    """The part of a cache that orientations need."""

    @property
    def layout(self) -> Layout:
        """Size and kind of the cutouts."""

    def locate(self, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Find where objects lie: indices of their shards, and rows in the shard."""

    def shard(self, number: int) -> Shard:
        """One of its shards."""


@dataclass(frozen=True, eq=False)
class _Direction:
    """What is known of one object: how it is stored, and ``(2, 2)`` `sky_scales` in its middle, None without a WCS."""

    stored: Orientation
    scales: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class _Grids:
    """Number of each cutout's grid in a shard, its offset on it, and grids that were read."""

    numbers: np.ndarray
    offsets: np.ndarray
    read: dict[int, Grid]


class Orientations:
    """Orientations of the cutouts of a cache. The WCS of an object is asked once, those of a page together."""

    def __init__(self, cache: Oriented) -> None:
        self._cache = cache
        self._known: OrderedDict[str, _Direction] = OrderedDict()
        self._grids_of: OrderedDict[int, _Grids] = OrderedDict()
        self._sources: dict[Path, str] = {}

    def of(self, ids: Sequence[str], wanted: OrientationChoice) -> list[Orientation]:
        """How each of some cutouts is turned; see `orient`."""
        layout = self._cache.layout
        shape = (layout.height, layout.width)
        return [orient(one.stored, one.scales, wanted, shape) for one in self._directions(ids)]

    def compasses(self, ids: Sequence[str], wanted: OrientationChoice, binned: int = 1) -> list[Compass | None]:
        """Scale, north and east of each picture, one pixel of which is ``binned`` pixels of the cutout wide."""
        pairs = zip(self.of(ids, wanted), self._directions(ids), strict=True)
        return [None if one.scales is None else Compass.of(binned * turn.scales(one.scales)) for turn, one in pairs]

    def look_up(self, ids: Sequence[str]) -> None:
        """Ask for the WCS of some objects, so that it is known when they are drawn."""
        self._directions(ids)

    def _directions(self, ids: Sequence[str]) -> list[_Direction]:
        new = [object_id for object_id in dict.fromkeys(ids) if object_id not in self._known]
        if new:
            self._look_up(new)
        found = [self._known[object_id] for object_id in ids]
        while len(self._known) > max(_CACHED_OBJECTS, len(ids)):
            self._known.popitem(last=False)
        return found

    def _look_up(self, ids: Sequence[str]) -> None:
        layout = self._cache.layout
        middle = ((layout.width - 1) / 2, (layout.height - 1) / 2)
        indices, rows = self._cache.locate(ids)
        placed: list[tuple[str, Grid, float, float]] = []
        for index in np.unique(indices).tolist():
            chosen = np.flatnonzero(indices == index).tolist()
            shard = self._cache.shard(index)
            grids, offsets = self._grids(index, shard, rows[chosen])
            from_pictures = self._source(shard.folder) in _PICTURE_SOURCES
            for k, grid, (x, y) in zip(chosen, grids, offsets, strict=True):
                stored = native(
                    layout.pixel_kind, layout.stretch, has_wcs=grid is not None, from_pictures=from_pictures
                )
                self._known[ids[k]] = _Direction(stored)
                if grid is not None:
                    placed.append((ids[k], grid, middle[0] + x, middle[1] + y))
        scales = sky_scales([place[1:] for place in placed])
        for (object_id, *_), one in zip(placed, scales, strict=True):
            self._known[object_id] = _Direction(self._known[object_id].stored, one)

    def _grids(self, index: int, shard: Shard, rows: np.ndarray) -> tuple[list[Grid | None], list[tuple[int, int]]]:
        """Grid (None without) and offset x, y of some rows of a shard."""
        if not shard.has_grids:
            return [None] * len(rows), [(0, 0)] * len(rows)
        if index not in self._grids_of:
            self._grids_of[index] = _Grids(*shard.grid_numbers(), {})
            if len(self._grids_of) > _CACHED_SHARDS:
                self._grids_of.popitem(last=False)
        self._grids_of.move_to_end(index)
        known = self._grids_of[index]
        numbers = known.numbers[rows].tolist()
        new = sorted({number for number in numbers if number >= 0} - known.read.keys())
        if new:
            known.read.update(zip(new, shard.read_grids(new), strict=True))
        grids = [known.read.get(number) for number in numbers]
        if len(known.read) > _CACHED_GRIDS:
            known.read.clear()
        return grids, [(x, y) for x, y in known.offsets[rows].tolist()]

    def _source(self, folder: Path) -> str:
        if folder not in self._sources:
            request = read_description(folder).get("request")
            self._sources[folder] = str(request.get("source", "")) if isinstance(request, dict) else ""
        return self._sources[folder]
