"""Ids of a cache as a sequence that reads them when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, overload

import numpy as np

__all__ = ["Ids"]


class _Cache(Protocol):
    """The part of a cache that is needed."""

    def __len__(self) -> int:
        """How many objects."""

    def __contains__(self, object_id: object) -> bool:
        """Whether there is such an object."""

    def ids_at(self, rows: np.ndarray) -> list[str]:
        """Ids at some rows."""

    def find(self, ids: Sequence[str]) -> np.ndarray:
        """Rows of some ids, -1 for those that are not here."""


class Ids(Sequence[str]):
    """Ids of a cache, read shard by shard when asked.

    Parameters
    ----------
    cache
        The cache.
    read
        Gives the ids of all objects one after another.
    """

    def __init__(self, cache: _Cache, read: Callable[[], Iterator[str]]) -> None:
        self._cache = cache
        self._read = read

    def __len__(self) -> int:
        return len(self._cache)

    def __iter__(self) -> Iterator[str]:
        return self._read()

    def __contains__(self, object_id: object) -> bool:
        return object_id in self._cache

    def find(self, ids: Sequence[str]) -> np.ndarray:
        """``(n,)`` int64 rows of some ids, -1 for those that are not here."""
        return self._cache.find(ids)

    @overload
    def __getitem__(self, item: int) -> str: ...
    @overload
    def __getitem__(self, item: slice) -> list[str]: ...
    def __getitem__(self, item: int | slice) -> str | list[str]:
        if isinstance(item, slice):
            return self._cache.ids_at(np.arange(*item.indices(len(self))))
        if not -len(self) <= item < len(self):
            raise IndexError(f"the cache has {len(self)} objects")
        return self._cache.ids_at(np.array([item % len(self)]))[0]

    def __repr__(self) -> str:
        return f"<{len(self)} object ids>"
