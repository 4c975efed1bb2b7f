"""What the index of a cache needs of its shards, read a part at a time; and which shards count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astroanomaly.cache import schema

__all__ = ["ShardHead", "look_at_shard", "read_head", "read_pieces", "without_doubled_tasks"]

_ROWS = 2**20  # objects that are read together


@dataclass(frozen=True)
class ShardHead:
    """What a shard says of its objects as a whole.

    Attributes
    ----------
    name
        Name of the file.
    first_task
        Lowest ordinal of its tasks.
    count
        How many objects it has.
    id_length
        Bytes of each id as it is stored.
    """

    name: str
    first_task: int
    count: int
    id_length: int


def read_head(folder: Path, name: str) -> ShardHead:
    """Read what a shard of a cache says of its objects as a whole.

    Raises
    ------
    CacheError
        If it is damaged.
    """
    path = folder / schema.SHARD_FOLDER / name
    with schema.open_hdf5(path) as file:
        schema.check_format(file.attrs, "shard", path)
        ids = schema.check_dataset(file, "object_id", (None,), "S", path)
        schema.check_dataset(file, "images", (len(ids), None, None, None), "fu", path, chunks=False)
        return ShardHead(name, int(file.attrs["first_task"]), len(ids), ids.dtype.itemsize)


def read_pieces(folder: Path, name: str) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Read the objects of a shard, at most a million at a time: ``(n,)`` ids as bytes, ICRS degrees.

    Raises
    ------
    CacheError
        If it is damaged.
    """
    path = folder / schema.SHARD_FOLDER / name
    with schema.open_hdf5(path) as file:
        ids = schema.check_dataset(file, "object_id", (None,), "S", path)
        places = [schema.check_dataset(file, axis, (len(ids),), "f", path) for axis in ("ra", "dec")]
        for start in range(0, len(ids), _ROWS):
            rows = slice(start, start + _ROWS)
            ra, dec = (place[rows] for place in places)
            schema.check_declination(dec, path)
            yield ids[rows], ra, dec


def look_at_shard(folder: Path, name: str) -> None:
    """Read of a shard all that the index needs.

    Raises
    ------
    CacheError
        If it is damaged.
    """
    read_head(folder, name)
    for _ in read_pieces(folder, name):
        pass


def without_doubled_tasks(folder: Path, shards: Sequence[ShardHead]) -> list[ShardHead]:
    """Leave out shards that hold a task of another one; of two, the one with more tasks stays.

    Tasks that only a shard left out holds count as not done. A shard without tasks, of objects that were tried again,
    is left out where others hold all its objects.
    """
    keys = {shard.name: _task_keys(folder / schema.SHARD_FOLDER / shard.name) for shard in shards}
    chosen: list[ShardHead] = []
    done: set[str] = set()
    for shard in sorted(shards, key=lambda shard: (shard.first_task, -len(keys[shard.name]), shard.name)):
        if keys[shard.name] and not keys[shard.name] & done:
            chosen.append(shard)
            done |= keys[shard.name]
    again = {shard.name: _ids(folder, shard.name) for shard in shards if not keys[shard.name]}  # few objects
    tried = set().union(*again.values())
    known = {
        one for shard in chosen for ids, *_ in read_pieces(folder, shard.name) for one in tried & set(ids.tolist())
    }
    for shard in shards:
        if shard.name in again and not again[shard.name] <= known:
            chosen.append(shard)
            known |= again[shard.name]
    names = {shard.name for shard in chosen}
    return [shard for shard in shards if shard.name in names]


def _task_keys(path: Path) -> set[str]:
    with schema.open_hdf5(path) as file:
        return set(schema.read_texts(schema.check_dataset(file, "tasks/key", (None,), "S", path)))


def _ids(folder: Path, name: str) -> set[bytes]:
    return {one for ids, *_ in read_pieces(folder, name) for one in ids.tolist()}
