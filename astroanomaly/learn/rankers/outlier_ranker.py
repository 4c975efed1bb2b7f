"""Base class of rankers without labels: a random sample, its principal components, standardised outlier scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from astroanomaly.config import option
from astroanomaly.errors import ConfigError, TrainingError
from astroanomaly.hookspecs import RankerContext
from astroanomaly.learn.features.projection import principal_axes
from astroanomaly.learn.rankers.feature_ranker import FeatureRanker
from astroanomaly.records import Labelled, Progress, ShardScores

if TYPE_CHECKING:
    from astroanomaly.cache import Cache

__all__ = ["OutlierOptions", "OutlierRanker"]


@dataclass(frozen=True)
class OutlierOptions:
    """Settings that all rankers without labels have."""

    section: ClassVar[str] = "outliers"

    sample: int = option(10_000, "objects drawn at random that the rest is compared with")
    components: int = option(
        128, "principal components to compare on, at most one for every five objects; 0: the features themselves"
    )
    whiten: bool = option(False, "give all principal components the same variance")

    def __post_init__(self) -> None:
        self.at_least("sample", 10)
        self.at_least("components", 0)

    def at_least(self, name: str, least: int) -> None:
        """Refuse a setting that is smaller.

        Raises
        ------
        ConfigError
            If it is.
        """
        if getattr(self, name) < least:
            raise ConfigError(f"{self.section}.{name}={getattr(self, name)}: expected at least {least}")


class OutlierRanker(FeatureRanker):
    """Unusual features first, without labels: derive from it, add `fit_points` and `outlier_score`.

    It needs no labels and uses none. It learns from a bounded random sample of the objects, nominal and anomalous ones
    as they come. The outlier score s of the method becomes (s - median) / (1.4826 x median absolute deviation), both
    measured on the sample: a number that grows with s and is given as the log-odds of ``anomaly``, minus it as that of
    ``nominal``; it is no probability. Columns of other label classes are NaN.

    Parameters
    ----------
    options
        Its settings, with those of `OutlierOptions`.
    context
        Label classes, model input, network, seed, device and folder.
    """

    needs_labels = False
    sqrt_norm = True

    def __init__(self, options: Any, context: RankerContext) -> None:
        super().__init__(options, context)
        self._axes: np.ndarray | None = None
        self._scale: np.ndarray | None = None
        self._sample_scores: dict[str, float] = {}
        self._centre, self._spread = 0.0, 1.0

    def fit_points(self, points: np.ndarray) -> np.ndarray | None:
        """Fit the detector to the sample; `fit` calls it.

        Parameters
        ----------
        points
            ``(n, k)`` float32 principal components, at least three rows.

        Returns
        -------
        numpy.ndarray or None
            ``(n,)`` outlier scores of the sample itself where `outlier_score` would not give them: an object is not its
            own neighbour.
        """
        raise NotImplementedError

    def outlier_score(self, points: np.ndarray) -> np.ndarray:
        """Give the outlier scores ``(n,)`` of points ``(n, k)``, higher is more unusual."""
        raise NotImplementedError

    def fit(self, cache: Cache, labels: Labelled, exclude: frozenset[str] = frozenset()) -> Iterator[Progress]:
        """Compute the features that are missing, then look at a random sample of them.

        Where others are still computing them (`share`), those of the sample only, so that the first ranking comes
        sooner.

        Parameters
        ----------
        cache
            The cutouts.
        labels
            Ignored, nominal ones too: a sample cleaned by hand would be another method.
        exclude
            Objects never to learn from.

        Raises
        ------
        TrainingError
            If there are fewer than three objects to compare.
        """
        ids = cache.sample(self.options.sample, np.random.default_rng(self.context.seed), exclude)
        _refuse_few(ids)
        yield from self.compute(cache, () if self._completes(cache) else ids, exclude)
        points = self.points(cache, ids)
        there = np.isfinite(points).all(axis=1)  # a damaged cutout has no features
        ids, points = [object_id for object_id, yes in zip(ids, there, strict=True) if yes], points[there]
        _refuse_few(ids)
        self._axes = self._scale = None
        if self.options.components:
            # whitened components of too few objects put all of them at one distance from each other
            self._axes = principal_axes(points, min(self.options.components, max(2, len(points) // 5)))
            projected = (points - self._axes[0]) @ self._axes[1:].T
            self._scale = np.maximum(projected.std(axis=0), 1e-12) if self.options.whiten else None
        points = self._project(points)
        scores = self.fit_points(points)
        own = np.asarray(self.outlier_score(points) if scores is None else scores, np.float64)
        self._sample_scores = dict(zip(ids, own.tolist(), strict=True))
        self._centre = float(np.median(own))
        spread = 1.4826 * float(np.median(np.abs(own - self._centre)))
        self._spread = spread if spread > 0 else 1.0
        yield Progress(self.name, 1, 1, values={"sample": float(len(ids))})

    def log_odds(self, points: np.ndarray) -> np.ndarray:
        """Standardised outlier scores ``(n,)`` of points ``(n, D)``."""
        return (self.outlier_score(self._project(points)) - self._centre) / self._spread

    def score(self, cache: Cache, only: Collection[str] | None = None) -> Iterator[ShardScores]:
        """Score every object, those of the sample as they were among themselves; see `FeatureRanker.score`."""
        for scores in super().score(cache, only):
            rows = [row for row, object_id in enumerate(scores.ids) if object_id in self._sample_scores]
            own = np.array([self._sample_scores[scores.ids[row]] for row in rows])
            log_odds = scores.log_odds.copy()
            log_odds[rows] = self._in_columns((own - self._centre) / self._spread)
            yield dataclasses.replace(scores, log_odds=log_odds)

    def _project(self, points: np.ndarray) -> np.ndarray:
        """Bring points to the space that objects are compared in."""
        if self._axes is None:
            return points
        projected = (points - self._axes[0]) @ self._axes[1:].T
        return projected if self._scale is None else projected / self._scale


def _refuse_few(ids: Sequence[str]) -> None:
    if len(ids) < 3:
        raise TrainingError(f"there are {len(ids)} objects to compare; expected at least 3")
