"""Cutouts read from shards, complete with grid, position and catalogue columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from astroanomaly.cache.shard import Shard
from astroanomaly.records import Cutout

__all__ = ["iter_cutouts"]

_AT_A_TIME = 256  # objects; what a shard says of all of its cutouts is read once for so many


def iter_cutouts(
    shard_at: Callable[[int], Shard],
    bands: tuple[str, ...],
    units: tuple[str, ...],
    ids: Sequence[str],
    numbers: np.ndarray,
    rows: np.ndarray,
) -> Iterator[Cutout]:
    """Read cutouts in the order given.

    Parameters
    ----------
    shard_at
        Gives a shard by its index.
    bands, units
        Of the cache.
    ids
        ``(n,)`` object ids.
    numbers, rows
        ``(n,)`` indices of their shards, and their rows there.
    """
    for start in range(0, len(ids), _AT_A_TIME):
        some = slice(start, start + _AT_A_TIME)
        found: dict[int, Cutout] = {}
        for number in np.unique(numbers[some]).tolist():
            places = (start + np.flatnonzero(numbers[some] == number)).tolist()
            cutouts = _of_shard(shard_at(number), bands, units, [ids[k] for k in places], rows[places])
            found.update(zip(places, cutouts, strict=True))
        yield from (found[place] for place in range(start, start + len(found)))


def _of_shard(
    shard: Shard, bands: tuple[str, ...], units: tuple[str, ...], ids: Sequence[str], rows: np.ndarray
) -> Iterator[Cutout]:
    """Read cutouts of one shard by their rows."""
    numbers, offsets = shard.grid_numbers()
    wanted = sorted({int(number) for number in numbers[rows] if number >= 0})
    grids = dict(zip(wanted, shard.read_grids(wanted), strict=True))
    coverage, columns = shard.coverage(), shard.columns()
    ra, dec = shard.positions
    for object_id, row in zip(ids, rows.tolist(), strict=True):
        grid = int(numbers[row])
        yield Cutout(
            object_id=object_id,
            data=shard.read(row, row + 1)[0],
            bands=bands,
            ra=float(ra[row]),
            dec=float(dec[row]),
            grid=grids.get(grid),
            offset=(int(offsets[row, 0]), int(offsets[row, 1])),
            coverage=coverage[row],
            columns={name: column[row] for name, column in columns.items()},
            units=units,
        )
