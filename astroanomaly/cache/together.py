"""Whether several caches can be read as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from astroanomaly.cache.index import Index
from astroanomaly.errors import BandError, CacheError
from astroanomaly.records import Layout

__all__ = ["check_layouts", "refuse_shared_ids"]

_TOGETHER = 2**20  # hashes that are compared in one go


def check_layouts(first: tuple[Path, Layout], other: tuple[Path, Layout]) -> None:
    """Check that the cutouts of another cache are of the same kind, and have the bands of the first.

    Raises
    ------
    CacheError
        If pixels, size or stretch differ.
    BandError
        If the other lacks a band.
    """
    ours, theirs = first[1], other[1]
    for name in ("pixel_kind", "height", "width", "stretch"):
        if getattr(ours, name) != getattr(theirs, name):
            raise CacheError(
                f"{other[0]} cannot be used together with {first[0]}: "
                f"{name} is {getattr(theirs, name)!r} there and {getattr(ours, name)!r} here"
            )
    missing = [band for band in ours.bands if band not in theirs.bands]
    if missing:
        raise BandError(f"{other[0]} has no band {missing[0]!r}; its bands are {list(theirs.bands)}")


def refuse_shared_ids(
    folders: Sequence[Path], indices: Sequence[Index], ids_at: Callable[[np.ndarray], list[str]]
) -> None:
    """Check that no id is in two caches.

    Parameters
    ----------
    ids_at
        Gives the ids of rows, counted over all caches.

    Raises
    ------
    CacheError
        If one is; it names the first of them.
    """
    bases = np.cumsum([0, *(len(index.hashes) for index in indices)])
    for later in range(1, len(indices)):
        for earlier in range(later):
            rows, others = _same_hashes(indices[earlier], indices[later])
            if not len(rows):
                continue
            doubled = set(ids_at(rows + bases[later])) & set(ids_at(others + bases[earlier]))
            if doubled:
                raise CacheError(
                    f"object {min(doubled)!r} is in both {folders[earlier]} and {folders[later]} "
                    f"({len(doubled)} shared ids): ingest one of them again with --prefix"
                )


def _same_hashes(earlier: Index, later: Index) -> tuple[np.ndarray, np.ndarray]:
    """``(m,)`` rows of a later and of an earlier cache whose ids have the same hash."""
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for start in range(0, len(later.hashes), _TOGETHER):
        indices, others = earlier.rows_of(later.hashes[start : start + _TOGETHER])
        found.append((later.rows[start + indices], others))
    rows, others = (np.concatenate(part) for part in zip(*found, strict=True))
    return rows, others
