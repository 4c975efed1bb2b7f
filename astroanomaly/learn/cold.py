"""Rank without labels: how unusual the frozen features of an object are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from astroanomaly.config import option
from astroanomaly.errors import CheckpointError, ConfigError, TrainingError
from astroanomaly.hookspecs import RankerContext, ShardScores
from astroanomaly.learn.features import FeatureStore, unit_length
from astroanomaly.learn.projection import principal_axes
from astroanomaly.records import ANOMALY, NOMINAL, Labelled, Progress

if TYPE_CHECKING:
    from astroanomaly.cache import Cache

__all__ = ["Cold", "ColdOptions"]

_STEP = 2048  # rows scored together: against 10,000 neighbours 80 MB of distances


@dataclass(frozen=True)
class ColdOptions:
    """Settings of the ranker that needs no labels."""

    method: Literal["isolation_forest", "lof", "ocsvm", "neighbours"] = option(
        "neighbours",
        "neighbours: mean distance to the nearest ones; lof: local outlier factor; isolation_forest; ocsvm: one-class "
        "support vector machine",
    )
    sample: int = option(10_000, "objects drawn at random that the rest is compared with")
    neighbours: int = option(20, "how many neighbours count, for neighbours and lof")
    trees: int = option(200, "trees of the isolation forest")
    nu: float = option(0.05, "one-class support vector machine: share of the sample taken as outside")
    components: int = option(
        128, "principal components to compare on, at most one for every five objects; 0: the features themselves"
    )
    whiten: Literal["auto", "yes", "no"] = option(
        "auto", "give all principal components the same variance; auto: for lof and ocsvm, which need it"
    )

    def __post_init__(self) -> None:
        if self.sample < 10 or self.neighbours < 1 or self.trees < 1 or self.components < 0:
            raise ConfigError(
                f"cold.sample={self.sample}, cold.neighbours={self.neighbours}, cold.trees={self.trees}, "
                f"cold.components={self.components}: expected at least 10, 1, 1 and 0"
            )
        if not 0 < self.nu < 1:
            raise ConfigError(f"cold.nu={self.nu}: expected a number between 0 and 1")


class Cold:
    """Unusual features first; needs no labels and learns from a bounded random sample of the objects.

    The raw outlier score s of the method becomes (s - median) / (1.4826 x median absolute deviation), both measured on
    the sample: a number that grows with s and stands in for the log-odds of ``anomaly``, minus it for ``nominal``; it
    is no probability. Columns of other label classes are NaN.

    References
    ----------
    Isolation forest: Liu, Ting & Zhou 2008 (ICDM). Local outlier factor: Breunig et al. 2000 (SIGMOD). One-class
    support vector machine: Schoelkopf et al. 2001 (Neural Computation 13, 1443). Distances to neighbours: Ramaswamy,
    Rastogi & Shim 2000 (SIGMOD).

    Parameters
    ----------
    options
        Its settings.
    context
        Label classes, model input, network, seed, device and folder.
    """

    name = "cold"
    summary = "unusual frozen features first: needs no labels"
    section = "cold"
    Options = ColdOptions
    needs_labels = False
    has_weights = False

    def __init__(self, options: ColdOptions, context: RankerContext) -> None:
        self.options = options
        self.context = context
        self._axes: np.ndarray | None = None
        self._scale: np.ndarray | None = None
        self._judge: Callable[[np.ndarray], np.ndarray] | None = None
        self._own: dict[str, float] = {}
        self._centre, self._spread = 0.0, 1.0
        self._stores: dict[int, FeatureStore] = {}

    def fit(
        self, cache: Cache, labels: Labelled, exclude: frozenset[str] = frozenset(), *, complete: bool = True
    ) -> Iterator[Progress]:
        """Compute the features that are missing, then look at a random sample of them. Labels are not used.

        Parameters
        ----------
        cache
            The cutouts.
        labels
            Ignored.
        exclude
            Objects never to learn from.
        complete
            False computes the features of the sample only, so that the first ranking comes sooner.

        Raises
        ------
        TrainingError
            If there are fewer than three objects to compare.
        """
        rng = np.random.default_rng(self.context.seed)
        ids = cache.sample(self.options.sample, rng, exclude)
        if len(ids) < 3:
            raise TrainingError(f"there are {len(ids)} objects to compare; expected at least 3")
        store = self._store(cache)
        yield from store.compute(first=() if complete else ids, only=None if complete else ())
        points = unit_length(store.get(ids))
        self._axes = self._scale = None
        if self.options.components:
            # whitened components of too few objects put all of them at one distance from each other
            self._axes = principal_axes(points, min(self.options.components, max(2, len(points) // 5)))
            projected = (points - self._axes[0]) @ self._axes[1:].T
            self._scale = np.maximum(projected.std(axis=0), 1e-12) if self._whitens() else None
            points = self._place(points)
        own = self._learn(points)
        self._own = dict(zip(ids, own.tolist(), strict=True))
        self._centre = float(np.median(own))
        spread = 1.4826 * float(np.median(np.abs(own - self._centre)))
        self._spread = spread if spread > 0 else 1.0
        yield Progress("cold", 1, 1, values={"sample": float(len(ids))})

    def score(self, cache: Cache, *, complete: bool = True) -> Iterator[ShardScores]:
        """Score every object.

        Parameters
        ----------
        cache
            The cutouts, those it was fitted on or others.
        complete
            Compute missing features first, shard by shard; False leaves the rows of such objects NaN.

        Raises
        ------
        TrainingError
            If it was not fitted yet.
        """
        if self._judge is None:
            raise TrainingError("the cold ranker has not looked at any objects yet: train it first")
        store = self._store(cache)
        nominal, anomaly = self._columns()
        for shard in cache.shards:
            if complete:
                for _ in store.compute(only=[shard.uuid]):
                    pass
            rows, there, ids = store.shard(shard.uuid), store.computed(shard.uuid), shard.ids
            raw = np.full(len(shard), np.nan)
            for start in range(0, len(shard), _STEP):
                here = start + np.flatnonzero(there[start : start + _STEP])
                if len(here):
                    raw[here] = self._judge(self._place(unit_length(rows[here])))
            for row, object_id in enumerate(ids):  # an object of the sample is not its own neighbour
                raw[row] = self._own.get(object_id, raw[row])
            result = np.full((len(shard), len(self.context.classes)), np.nan, np.float32)
            result[:, anomaly] = (raw - self._centre) / self._spread
            result[:, nominal] = -result[:, anomaly]
            yield ShardScores(shard.uuid, ids, result)

    def save(self, path: Path, metrics: dict[str, float] | None = None) -> None:
        """Refuse: this ranker is refitted from its recipe."""
        raise CheckpointError(f"the cold ranker has no weights to write to {path}: it is fitted again from its seed")

    def load(self, path: Path) -> None:
        """Refuse: this ranker is refitted from its recipe."""
        raise CheckpointError(f"the cold ranker has no weights to read from {path}: it is fitted again from its seed")

    def share(self, store: FeatureStore) -> None:
        """Use somebody else's features of a cache, instead of opening them again."""
        self._stores[id(store.cache)] = store

    def _store(self, cache: Cache) -> FeatureStore:
        """Features of a cache; kept, because those in memory would be lost."""
        if id(cache) not in self._stores:
            self._stores[id(cache)] = FeatureStore.of(cache, self.context)
        return self._stores[id(cache)]

    def _columns(self) -> tuple[int, int]:
        """Columns of ``nominal`` and of the general anomaly class (the first one where there is no such class)."""
        classes = self.context.classes
        nominal = classes.index(NOMINAL)
        if ANOMALY in classes:
            return nominal, classes.index(ANOMALY)
        return nominal, next(column for column in range(len(classes)) if column != nominal)

    def _whitens(self) -> bool:
        """Whether components get the same variance.

        On real galaxies (128 components) whitening took AUROC from .59 to .61 for lof and from .45 to .60 for ocsvm,
        and from .63 to .61 for neighbours; an isolation forest does not notice it.
        """
        return self.options.whiten == "yes" or (
            self.options.whiten == "auto" and self.options.method in ("lof", "ocsvm")
        )

    def _place(self, points: np.ndarray) -> np.ndarray:
        """Bring features of unit length to the space that objects are compared in."""
        if self._axes is None:
            return points
        projected = (points - self._axes[0]) @ self._axes[1:].T
        return projected if self._scale is None else projected / self._scale

    def _learn(self, points: np.ndarray) -> np.ndarray:
        """Fit the method on the sample ``(n, D)``; return the outlier scores ``(n,)`` of the sample itself."""
        options, count = self.options, min(self.options.neighbours, len(points) - 1)
        if options.method == "isolation_forest":
            from sklearn.ensemble import IsolationForest

            forest = IsolationForest(n_estimators=options.trees, random_state=self.context.seed).fit(points)
            self._judge = lambda rows: -forest.score_samples(rows)
            return self._judge(points)
        if options.method == "ocsvm":
            from sklearn.svm import OneClassSVM

            machine = OneClassSVM(nu=options.nu, gamma="scale").fit(points)
            self._judge = lambda rows: -machine.decision_function(rows)
            return self._judge(points)
        if options.method == "lof":
            from sklearn.neighbors import LocalOutlierFactor

            factor = LocalOutlierFactor(n_neighbors=count, novelty=True).fit(points)
            self._judge = lambda rows: -factor.score_samples(rows)
            return -factor.negative_outlier_factor_
        from sklearn.neighbors import NearestNeighbors

        others = NearestNeighbors(n_neighbors=count).fit(points)
        self._judge = lambda rows: others.kneighbors(rows)[0].mean(axis=1)
        return others.kneighbors()[0].mean(axis=1)
