"""The digest of a cache: equal where the content is, whatever the order of objects and their sharding."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Generator
from typing import Protocol

import numpy as np

from astroanomaly.cache.shard import Shard
from astroanomaly.records import Layout, Progress

__all__ = ["digest_steps"]


class _Cache(Protocol):
    """The part of a cache that is needed."""

    layout: Layout

    def __len__(self) -> int:
        """How many objects."""

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The shards."""

    @property
    def positions(self) -> tuple[np.ndarray, np.ndarray]:
        """Right ascension and declination of all objects."""


def digest_steps(cache: _Cache) -> Generator[Progress, None, str]:
    """SHA-256 over (id, pixels, grid, position, columns) of all objects of a cache; reports after each shard."""
    total = start = 0
    yield Progress("digest", 0, len(cache))
    for shard in cache.shards:
        ids, columns = shard.ids, shard.columns()
        grids, numbers, offsets = shard.grids()
        plain = [(name, [str(value) for value in columns[name].tolist()]) for name in sorted(columns)]
        for place, object_id in enumerate(ids):
            number = int(numbers[place])
            parts = [
                object_id,
                grids[number].key if number >= 0 else "",
                f"{offsets[place, 0]},{offsets[place, 1]}",
                *(float(values[start + place]).hex() for values in cache.positions),
                *itertools.chain.from_iterable((name, values[place]) for name, values in plain),
            ]
            one = hashlib.sha256(json.dumps(parts).encode())
            one.update(np.ascontiguousarray(shard.read(place, place + 1)).data)
            total = (total + int.from_bytes(one.digest(), "big")) % 2**256
        start += len(ids)
        yield Progress("digest", start, len(cache))
    layout = cache.layout
    head = json.dumps([list(layout.bands), layout.height, layout.width, layout.pixel_kind, len(cache)])
    return hashlib.sha256(head.encode() + total.to_bytes(32, "big")).hexdigest()
