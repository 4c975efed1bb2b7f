"""Tables of a cache's objects for astropy: all of them, or those near a position."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from astroanomaly.cache.joining import join_columns
from astroanomaly.cache.shard import Shard
from astroanomaly.config import nearest
from astroanomaly.errors import CatalogError, ConfigError
from astroanomaly.tables.column_names import distinct_names
from astroanomaly.tables.coordinates import angle_arcsec, icrs_degrees
from astroanomaly.tables.matching import pairs_within
from astroanomaly.tables.write import build_columns

if TYPE_CHECKING:
    from astropy.coordinates import SkyCoord
    from astropy.table import Column, QTable
    from astropy.units import Quantity

__all__ = ["all_objects", "catalog_columns", "columns_of", "objects_near"]

_OURS = ("object_id", "ra", "dec")


class _Cache(Protocol):
    """The part of a cache that is needed."""

    def __len__(self) -> int:
        """How many objects."""

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The shards."""

    @property
    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Right ascension and declination of all objects."""

    def ids_at(self, rows: np.ndarray) -> list[str]:
        """Ids at some rows."""

    def locate(self, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Shards of objects, and their rows in these."""


def objects_near(cache: _Cache, coord: SkyCoord | str, radius: Quantity | str) -> QTable:
    """Find the objects within a radius; see `astroanomaly.Cache.near`."""
    from astropy.units import Quantity

    ra, dec, scalar = icrs_degrees(coord, "coord")
    reach = angle_arcsec(radius, "radius")
    if not np.isfinite(ra + dec).all():
        raise ConfigError(f"coord: {np.sum(~np.isfinite(ra + dec))} of {len(ra)} positions are unknown (NaN or masked)")
    given, rows, separation = pairs_within(ra, dec, *cache.positions, reach)
    columns: dict[str, Any] = {} if scalar else {"coord_index": given}
    columns |= {
        "object_id": np.array(cache.ids_at(rows), dtype=str),
        "ra": cache.positions[0][rows],
        "dec": cache.positions[1][rows],
        "separation": Quantity(separation, "arcsec"),
    }
    table = build_columns(columns)
    if not scalar:
        table["coord_index"].info.description = "index of the position that was given"
    table["separation"].info.description = "distance from the position that was given"
    table["separation"].info.meta = {"ucd": "pos.angDistance"}
    return table


def all_objects(cache: _Cache, columns: Iterable[str] | None = None) -> QTable:
    """Make the table of all objects; see `astroanomaly.Cache.table`."""
    joined = catalog_columns(cache, _names(columns))
    ids = np.concatenate([np.zeros(0, "U1"), *(np.array(shard.ids, dtype=str) for shard in cache.shards)])
    table: dict[str, Any] = dict(zip(_OURS, (ids, *cache.positions), strict=True))
    table.update(zip(distinct_names([*_OURS, *joined], _OURS)[len(_OURS) :], joined.values(), strict=True))
    return build_columns(table)


def catalog_columns(cache: _Cache, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return catalogue columns of all objects, masked where an object has none, in the order given; None: all.

    Raises
    ------
    CatalogError
        If no shard has one of them.
    """
    parts: list[tuple[slice, Mapping[str, Column]]] = []
    start = 0
    for shard in cache.shards:
        parts.append((slice(start, start + len(shard)), shard.columns(names)))
        start += len(shard)
    there = {name for _, found in parts for name in found}
    missing = next((name for name in names or () if name not in there), None)
    if missing is not None:
        known = dict.fromkeys(name for shard in cache.shards for name in shard.columns())
        raise CatalogError(
            f"there is no column {missing!r}{nearest(missing, known)} (known: {', '.join(known) or 'none'})"
        )
    joined = join_columns(parts, len(cache))
    return joined if names is None else {name: joined[name] for name in names}


def columns_of(cache: _Cache, shard_at: Callable[[int], Shard], ids: Sequence[str]) -> dict[str, Any]:
    """Return the catalogue columns of some objects; see `astroanomaly.Cache.columns`.

    Parameters
    ----------
    cache, ids
        The cache, and the objects.
    shard_at
        Opens one of its shards.
    """
    numbers, places = cache.locate(ids)
    parts = []
    for number in np.unique(numbers):
        chosen = np.flatnonzero(numbers == number)
        found = shard_at(int(number)).columns()
        parts.append((chosen, {name: column[places[chosen]] for name, column in found.items()}))
    return join_columns(parts, len(ids))


def _names(columns: Iterable[str] | None) -> list[str] | None:
    """Return names of columns, each once."""
    names = [columns] if isinstance(columns, str) else columns
    if names is None:
        return None
    listed = list(names) if isinstance(names, Iterable) and getattr(names, "ndim", 1) == 1 else [names]
    wrong = [name for name in listed if not isinstance(name, str)]
    if wrong:
        raise CatalogError(f"columns={columns!r}: expected names of columns, as in columns=['mag', 'z']")
    return list(dict.fromkeys(map(str, listed)))
