"""Base class of rankers on frozen features: computes features, scores shard by shard, explains scores."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from astroanomaly.errors import CheckpointError, TrainingError
from astroanomaly.hookspecs import FrozenFeatures, RankerContext
from astroanomaly.learn.features.blocks import SCATTER, BlockPoints, block_points
from astroanomaly.learn.features.scaling import FeatureScaler
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.scoring import all_classes
from astroanomaly.records import ANOMALY, NOMINAL, Labelled, Progress, ShardScores

if TYPE_CHECKING:
    from astroanomaly.cache import Cache
    from astroanomaly.learn.explain import ImageScore

__all__ = ["FeatureRanker"]

_OUTLIER_SCATTER = 0.05  # where distances are measured, in units of the variance of the image
_ROWS_PER_CHUNK = 2048  # scored together: against 10,000 neighbours 80 MB of distances


class FeatureRanker:
    """A ranker on frozen features without weights of its own; derive from it and add `fit` and `log_odds`.

    It is fitted again from its settings, seed and labels, which must give the same scores.

    Parameters
    ----------
    options
        Its settings.
    context
        Label classes, model input, network, seed, device and folder.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    section: ClassVar[str]
    Options: ClassVar[type]
    needs_labels: ClassVar[bool] = True
    has_weights: ClassVar[bool] = False
    sqrt_norm: ClassVar[bool] = False  # see `astroanomaly.learn.features.scaling.FeatureScaler.transform`

    def __init__(self, options: Any, context: RankerContext) -> None:
        self.options = options
        self.context = context
        self._stores: dict[int, FeatureStore] = {}
        self._incomplete: set[int] = set()  # whose features others are still computing, by the id of the cache
        self._scaler: FeatureScaler | None = None
        self.beside: BlockPoints | None = None  # None: nothing is looked at beside the features

    # ------------------------------------------------------------------------------------------- what a ranker writes

    def fit(self, cache: Cache, labels: Labelled, exclude: frozenset[str] = frozenset()) -> Iterator[Progress]:
        """Learn, and report; begin with ``yield from self.compute(cache, ids)``. Never learn from ``exclude``."""
        raise NotImplementedError

    def log_odds(self, points: np.ndarray) -> np.ndarray:
        """Give the log-odds of points ``(n, D)``, see `points`.

        Returns
        -------
        numpy.ndarray
            ``(n,)``, higher is more anomalous; or ``(n, classes)`` in the order of ``context.classes``, NaN where a
            class has no score.
        """
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------- what it is given

    def compute(
        self, cache: Cache, first: Sequence[str] = (), exclude: frozenset[str] = frozenset()
    ) -> Iterator[Progress]:
        """Compute the features that are missing, and measure their scale.

        Parameters
        ----------
        cache
            The cutouts.
        first
            Objects to begin with; the only ones where others are still computing the features, see `share`.
        exclude
            Objects not to look at.
        """
        store = self._store(cache)
        yield from store.compute(first=first, only=None if self._completes(cache) else ())
        self._scaler = FeatureScaler.of(store, self.context.seed, exclude, first)
        # each layer has a variance of 1, and the square root of the length is what `sqrt_norm` leaves
        scatter = _OUTLIER_SCATTER * math.sqrt(len(store.widths)) if self.sqrt_norm else SCATTER
        self.beside = block_points(store, self.context, exclude, scatter)

    def points(self, cache: Cache, ids: Sequence[str]) -> np.ndarray:
        """``(n, D)`` float32 points of some objects, after `compute`; see `astroanomaly.learn.features.scaling`.

        The numbers of ``context.blocks`` stand beside those of the image, see `astroanomaly.learn.features.blocks`.
        """
        points = self._fitted().transform(self._store(cache).get(ids), sqrt_norm=self.sqrt_norm)
        return points if self.beside is None else self.with_blocks(points, self.beside.get(cache, ids))

    # ------------------------------------------------------------------------------------------ what a session asks for

    def prepare(self, cache: Cache, exclude: frozenset[str] = frozenset()) -> Iterator[Progress]:
        """Compute what `fit` needs beside features and labels and takes long: here nothing."""
        yield from ()

    def score(self, cache: Cache, only: Collection[str] | None = None) -> Iterator[ShardScores]:
        """Score every object; missing features are computed first, shard by shard.

        Parameters
        ----------
        cache
            The cutouts, those it was fitted on or others.
        only
            Uuids of the shards to score; None: all.

        Yields
        ------
        ShardScores
            NaN for objects without features where others are still computing them, see `share`.

        Raises
        ------
        TrainingError
            If it was not fitted yet.
        """
        self._fitted()
        store = self._store(cache)
        for shard in cache.shards:
            if only is not None and shard.uuid not in only:
                continue
            engine = store.compute_shard(shard.uuid) if self._completes(cache) else ""
            rows, there = store.shard(shard.uuid), store.computed(shard.uuid)
            result = np.full((len(shard), len(self.context.classes)), np.nan, np.float32)
            beside = None if self.beside is None else self.beside.shard(cache, shard.uuid)
            for start in range(0, len(shard), _ROWS_PER_CHUNK):
                here = start + np.flatnonzero(there[start : start + _ROWS_PER_CHUNK])
                if len(here):
                    result[here] = self._of_features(rows[here], *(() if beside is None else (beside[here],)))
            yield ShardScores(shard.uuid, shard.ids, result, engine)

    def image_score(self, cache: Cache, *, expected: int = 0) -> ImageScore:
        """Return how it scores an image, see `astroanomaly.learn.explain`; ``expected`` of them, about.

        Raises
        ------
        TrainingError
            If it was not fitted yet.
        """
        from astroanomaly.learn.explain import feature_score

        self._fitted()
        beside = None if self.beside is None else self.beside.of_shard
        store, classes = self._store(cache), len(self.context.classes)
        return feature_score(store, self._of_features, classes, expected=expected, beside=beside)

    def saliency(self, cache: Cache, object_id: str) -> np.ndarray:
        """Find which part of a cutout its score rests on.

        Returns
        -------
        numpy.ndarray
            ``(height, width)`` float32 of the cutout: how much the score falls when that part is covered.

        Raises
        ------
        TrainingError
            If it was not fitted yet.
        UnknownObjectError
            For an id that is not in the cache.
        """
        return self.image_score(cache).saliency(object_id)

    def save(self, path: Path, metrics: dict[str, float] | None = None) -> None:
        """Refuse: this ranker is refitted from its recipe."""
        raise CheckpointError(f"the ranker {self.name} has no weights to write to {path}: it is fitted again")

    def load(self, path: Path) -> None:
        """Refuse: this ranker is refitted from its recipe."""
        raise CheckpointError(f"the ranker {self.name} has no weights to read from {path}: it is fitted again")

    def share(self, features: FrozenFeatures, *, complete: bool = True) -> None:
        """Use features of a cache that somebody else keeps open, see `astroanomaly.hookspecs.InstantRanker.share`.

        Raises
        ------
        TypeError
            If they are no `FeatureStore`, whose network says what a score rests on.
        """
        if not isinstance(features, FeatureStore):
            raise TypeError(f"{type(features).__name__} is no FeatureStore")
        self._stores[id(features.cache)] = features
        if complete:
            self._incomplete.discard(id(features.cache))
        else:
            self._incomplete.add(id(features.cache))

    def _store(self, cache: Cache) -> FeatureStore:
        """Features of a cache; kept, because those in memory would be lost."""
        if id(cache) not in self._stores:
            self._stores[id(cache)] = FeatureStore.of(cache, self.context)
        return self._stores[id(cache)]

    def _completes(self, cache: Cache) -> bool:
        """Whether missing features are computed here."""
        return id(cache) not in self._incomplete

    def _fitted(self) -> FeatureScaler:
        if self._scaler is None:
            raise TrainingError(f"the ranker {self.name} has not looked at any objects yet: train it first")
        return self._scaler

    def _of_features(self, features: np.ndarray, beside: np.ndarray | None = None) -> np.ndarray:
        """``(n, classes)`` log-odds of features ``(n, D)``, and of what stands beside them, see `with_blocks`."""
        points = self._fitted().transform(features, sqrt_norm=self.sqrt_norm)
        return self._in_columns(self.log_odds(self.with_blocks(points, beside)))

    def with_blocks(self, points: np.ndarray, beside: np.ndarray | None = None) -> np.ndarray:
        """Put the points ``(n, K)`` of the blocks beside those of the image; None: as in the middle of the survey."""
        if self.beside is None:
            return points
        if beside is None:
            beside = np.zeros((len(points), self.beside.width), np.float32)
        return np.hstack([points, beside])

    def _in_columns(self, log_odds: np.ndarray) -> np.ndarray:
        """Bring what `log_odds` gave to ``(n, classes)``.

        A single number is the log-odds of the general anomaly class, or of the first one where there is none.
        """
        if log_odds.ndim == 2:
            return log_odds
        classes = self.context.classes
        nominal = classes.index(NOMINAL)
        general = classes.index(ANOMALY) if ANOMALY in classes else int(nominal == 0)
        result = all_classes(log_odds[:, None], [general], len(classes))
        result[:, nominal] = -result[:, general]
        return result
