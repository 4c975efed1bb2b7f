"""Compare objects: by their image, by a block of numbers beside it, or by all together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np

from astroanomaly.config import nearest
from astroanomaly.errors import ConfigError
from astroanomaly.hookspecs import RankerContext
from astroanomaly.learn.features.blocks import BlockPoints, block_values
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.rankers.score_parts import IMAGE
from astroanomaly.records import FeatureBlock

__all__ = ["TOGETHER", "Comparison", "comparisons"]

TOGETHER = "together"  # image and all blocks
_FEWEST = 10  # objects that a variance is measured on
_ROWS_PER_CHUNK = 256  # compared together: they stay in the processor's own memory meanwhile


def comparisons(blocks: Collection[FeatureBlock]) -> tuple[str, ...]:
    """Return what objects can be compared by in a session with these blocks."""
    return (IMAGE, *(block.name for block in blocks), TOGETHER) if blocks else (IMAGE,)


class Comparison:
    """Points of objects, of which like ones are near one another.

    Those of the image have length 1, see `astroanomaly.learn.features.scaling.FeatureScaler`. Those of a block, see
    `astroanomaly.learn.features.blocks.BlockScale`, have the variance 1 over a sample of the survey; together, so has
    the image, so that each part counts alike.

    Parameters
    ----------
    store
        Features of the survey.
    context
        What rankers are made with.
    by
        ``image``, the name of a block, or ``together``.
    exclude
        Objects whose numbers are not looked at for the scale.
    scaler
        The scale of the features, if it is measured already.

    Raises
    ------
    ConfigError
        For another word.
    """

    def __init__(
        self,
        store: FeatureStore,
        context: RankerContext,
        by: str = IMAGE,
        exclude: frozenset[str] = frozenset(),
        scaler: FeatureScaler | None = None,
    ) -> None:
        known = comparisons(context.blocks)
        if by not in known:
            raise ConfigError(f"objects cannot be compared by {by!r}{nearest(by, known)} (known: {', '.join(known)})")
        self.by = by
        self._store = store
        self._scaler = None
        self._blocks: list[tuple[FeatureBlock, BlockPoints, float]] = []
        self._image_scale = 1.0
        sample = FeatureScaler.sample(store, context.seed, exclude)
        if by in (IMAGE, TOGETHER):
            self._scaler = scaler or FeatureScaler.of(store, context.seed, exclude)
            if by == TOGETHER:
                self._image_scale = _to_unit(self._scaler.transform(store.get(sample)))
        for block in context.blocks:
            if by in (block.name, TOGETHER):
                points = BlockPoints(store.cache, (block,), sample, seed=context.seed, exclude=exclude)
                measured = points.get(store.cache, points.samples[block.name])
                self._blocks.append((block, points, _to_unit(measured)))

    def get(self, ids: Sequence[str]) -> np.ndarray:
        """``(n, D)`` float32 points of some objects; NaN where there are no features, or nothing is known."""
        parts = []
        if self._scaler is not None:
            parts.append(self._scaler.transform(self._store.get(ids)) * np.float32(self._image_scale))
        for block, points, scale in self._blocks:
            part = points.get(self._store.cache, ids) * np.float32(scale)
            if self.by != TOGETHER:
                part[~np.isfinite(block_values(self._store.cache, block).get(ids)).any(axis=1)] = np.nan
            parts.append(part)
        return np.hstack(parts)

    def distances(self, ids: Sequence[str]) -> np.ndarray:
        """``(n,)`` float32: how far every object of the cache is from the nearest of some, NaN where it has no point.

        Raises
        ------
        ConfigError
            If none of these has a point.
        """
        wanted = self.get(ids)
        wanted = wanted[np.isfinite(wanted).all(axis=1)]
        if not len(wanted):
            named = ", ".join(ids)
            raise ConfigError(
                f"nothing is known of {named} in the block {self.by}: compare by image"
                if self._scaler is None
                else f"there are no features of {named}: they are not computed yet, or the cutout is damaged"
            )
        return np.concatenate(list(self._distances(wanted)))

    def nearest(self, object_id: str, n: int, exclude: Collection[str] = ()) -> list[str]:
        """Return the objects that are most like one, itself first, never one of ``exclude``.

        Raises
        ------
        ConfigError
            If that object has no point.
        """
        cache = self._store.cache
        distances = np.nan_to_num(self.distances([object_id]), nan=np.inf)
        if exclude:
            distances[cache.rows(sorted(exclude))] = np.inf
        best = np.argsort(distances, kind="stable")[:n]
        return cache.ids_at(best[np.isfinite(distances[best])])

    def _distances(self, wanted: np.ndarray) -> Iterator[np.ndarray]:
        lengths = np.einsum("ij,ij->i", wanted, wanted)
        for shard in self._store.cache.shards:
            rows = self._store.shard(shard.uuid) if self._scaler is not None else None
            beside = [self._beside(block, points, scale, shard.uuid) for block, points, scale in self._blocks]
            for start in range(0, len(shard), _ROWS_PER_CHUNK):
                part = slice(start, start + _ROWS_PER_CHUNK)
                parts = [one[part] for one in beside]
                if rows is not None and self._scaler is not None:
                    parts.insert(0, self._scaler.transform(rows[part]) * np.float32(self._image_scale))
                points = np.hstack(parts)
                farther = (lengths - 2 * points @ wanted.T).min(axis=1) + np.einsum("ij,ij->i", points, points)
                yield np.sqrt(np.maximum(farther, 0))

    def _beside(self, block: FeatureBlock, points: BlockPoints, scale: float, uuid: str) -> np.ndarray:
        found = points.shard(self._store.cache, uuid) * np.float32(scale)
        if self.by != TOGETHER:
            found[~np.isfinite(block_values(self._store.cache, block).shard(uuid)).any(axis=1)] = np.nan
        return found


def _to_unit(points: np.ndarray) -> float:
    """Return what points ``(n, D)`` are multiplied with, so that their variance is 1; 1 for a few, or all alike."""
    there = points[np.isfinite(points).all(axis=1)]
    total = float(there.var(axis=0).sum()) if len(there) >= _FEWEST else 0.0
    return total**-0.5 if total > 0 else 1.0
