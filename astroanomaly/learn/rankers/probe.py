"""The instant ranker: regularised logistic regression on frozen features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from astroanomaly.config import option
from astroanomaly.errors import ConfigError, TrainingError
from astroanomaly.hookspecs import RankerContext
from astroanomaly.learn.features.invariance import Invariance
from astroanomaly.learn.features.projection import Projection
from astroanomaly.learn.features.scaling import Points
from astroanomaly.learn.features.store import FeatureStore
from astroanomaly.learn.label_errors import trust
from astroanomaly.learn.rankers.feature_ranker import FeatureRanker
from astroanomaly.learn.scoring import log_odds
from astroanomaly.records import NOMINAL, Labelled, Progress, ShardScores

if TYPE_CHECKING:
    from astroanomaly.cache import Cache
    from astroanomaly.learn.explain import ImageScore

__all__ = ["Line", "Probe", "ProbeOptions"]

_STEP = 256  # rows scored together: they stay in the processor's own memory meanwhile


@dataclass(frozen=True)
class ProbeOptions:
    """Settings of the probe."""

    c: float = option(5.0, "inverse strength of the regularisation: smaller is smoother")
    scale: Literal["survey", "plain"] = option(
        "survey",
        "survey: square roots of the features, each on the scale of the survey at hand; plain: features as they are",
    )
    invariance: float = option(
        0.3, "strength of the penalty on differences between an object and its turned or mirrored images; 0: none"
    )
    balanced: bool = option(True, "weigh every label class alike, however rare")
    robust: bool = option(False, "lean less on labels that the others contradict: for when some may be wrong")
    components: int = option(128, "principal components that are ranked in a large cache")
    project_above: int = option(1_000_000, "number of objects above which a cache is large")

    def __post_init__(self) -> None:
        if self.c <= 0:
            raise ConfigError(f"probe.c={self.c}: expected a number above 0")
        if not 0 <= self.invariance <= 1000:
            raise ConfigError(f"probe.invariance={self.invariance}: expected 0 to 1000")
        if self.components < 2:
            raise ConfigError(f"probe.components={self.components}: expected 2 or more")


class Probe(FeatureRanker):
    """Logistic regression on frozen features, class-balanced; learns in under a second.

    Features become points of length 1 on the scale of the survey, see `astroanomaly.learn.features.scaling`. What
    turning and mirroring objects changes in them counts less, see `astroanomaly.learn.features.invariance.Invariance`.

    Its scores are not calibrated probabilities. It has no weights worth keeping: a session saves its settings and the
    labels it learnt from, and fits it again.

    Parameters
    ----------
    options
        Its settings.
    context
        Label classes, model input, network, seed, device and folder.
    """

    name = "probe"
    summary = "logistic regression on frozen features: learns from few labels in under a second"
    section = "probe"
    Options = ProbeOptions

    def __init__(self, options: ProbeOptions, context: RankerContext) -> None:
        super().__init__(options, context)
        self._columns: list[int] = []
        self._line: Line | None = None  # on points
        self._short_line: Line | None = None  # on their projection
        self._projections: dict[int, Projection] = {}
        self._measured: tuple[FeatureStore, int, Points] | None = None

    def fit(
        self, cache: Cache, labels: Labelled, exclude: frozenset[str] = frozenset(), *, complete: bool = True
    ) -> Iterator[Progress]:
        """Compute the features that are missing, then learn.

        Parameters
        ----------
        cache
            The cutouts.
        labels
            What to learn from: ``nominal`` and at least one anomaly class.
        exclude
            Objects never to learn from.
        complete
            False computes the features of the labelled objects only, so that the first ranking comes at once; what
            turning changes is then known only if it was measured before.

        Raises
        ------
        TrainingError
            If only one side is labelled, or a label class is unknown.
        """
        chosen = [(i, c) for i, c in zip(labels.ids, labels.classes, strict=True) if i not in exclude]
        ids, classes = [i for i, _ in chosen], [c for _, c in chosen]
        learnt = self._check(classes)
        store = self._store(cache)
        yield from store.compute(first=ids, only=None if complete else ())
        sample = self._turned(store, exclude)
        if complete:
            yield from store.turned.compute(sample)
        places = np.array([learnt.index(c) for c in classes])
        if len(cache) > self.options.project_above and store.done == len(cache):
            if id(cache) not in self._projections:
                points = self._measure(store, ids, exclude)
                self._projections[id(cache)] = Projection(store, self.options.components, points)
            projection = self._projections[id(cache)]
            yield from projection.compute()
            self._points = projection.points
            invariance = store.turned.invariance(sample, projection.apply, self.options.invariance)
            self._short_line = self._learn(projection.apply(store.get(ids)), places, invariance)
            self._line = self._short_line.before(projection.axes)
        else:
            self._projections.pop(id(cache), None)
            self._points = self._measure(store, ids, exclude)
            invariance = store.turned.invariance(sample, self._points.apply, self.options.invariance)
            self._line = self._learn(self._points.apply(store.get(ids)), places, invariance)
        self._columns = [self.context.classes.index(c) for c in learnt]
        counts = {name: float(count) for name, count in Counter(classes).items()}
        yield Progress("probe", 1, 1, values={"labels": float(len(ids)), **counts})

    def score(
        self, cache: Cache, only: Collection[str] | None = None, *, complete: bool = True
    ) -> Iterator[ShardScores]:
        """Score every object; columns of label classes that have no label are NaN.

        Parameters
        ----------
        cache
            The cutouts, those it learnt from or others.
        only
            Uuids of the shards to score; None: all.
        complete
            Compute missing features first, shard by shard; False leaves the rows of such objects NaN.

        Raises
        ------
        TrainingError
            If it has not learnt yet.
        """
        points, line = self.line
        store, projection = self._store(cache), self._projections.get(id(cache))
        for shard in cache.shards:
            if only is not None and shard.uuid not in only:
                continue
            engine = store.compute_shard(shard.uuid) if complete else ""
            parts = [np.empty((0, len(self.context.classes)), np.float32)]
            rows = store.shard(shard.uuid) if projection is None else projection.shard(shard.uuid)
            for start in range(0, len(shard), _STEP):
                part = rows[start : start + _STEP]
                if projection is not None and self._short_line is not None:
                    logits = self._short_line.at(part.astype(np.float32))
                else:
                    logits = line.at(points.apply(part))
                parts.append(self._wide(logits))
            yield ShardScores(shard.uuid, shard.ids, np.concatenate(parts), engine)

    def image_score(self, cache: Cache, *, expected: int = 0) -> ImageScore:
        """Return how it scores an image, see `astroanomaly.learn.explain`; ``expected`` of them, about.

        Raises
        ------
        TrainingError
            If it has not learnt yet.
        """
        from astroanomaly.learn.explain import feature_score

        points, line = self.line
        return feature_score(
            self._store(cache), lambda rows: self._wide(line.at(points.apply(rows))), expected=expected
        )

    @property
    def line(self) -> tuple[Points, Line]:
        """What it learnt: the scale of the features, and the logits of the label classes that have labels.

        Raises
        ------
        TrainingError
            If it has not learnt yet.
        """
        if self._line is None or self._points is None:
            raise TrainingError("the probe has learnt nothing yet: train it first")
        return self._points, self._line

    def _wide(self, logits: np.ndarray) -> np.ndarray:
        """``(n, classes)`` float32 log-odds of logits of the classes that have labels; NaN for the others."""
        result = np.full((len(logits), len(self.context.classes)), np.nan, np.float32)
        result[:, self._columns] = log_odds(logits)
        return result

    def _measure(self, store: FeatureStore, labelled: list[str], exclude: frozenset[str]) -> Points:
        """Find the scale of the features; it is measured again only when there are more of them."""
        if self.options.scale == "plain":
            return Points.plain()
        if self._measured is None or self._measured[:2] != (store, store.done):
            self._measured = store, store.done, Points.of(store, self.context.seed, exclude, labelled)
        return self._measured[2]

    def _turned(self, store: FeatureStore, exclude: frozenset[str]) -> list[str]:
        """Choose the objects that tell what turning changes; none where that does not matter."""
        wanted = self.options.invariance > 0 and self.options.scale != "plain"
        return store.turned.sample(exclude) if wanted else []

    def _check(self, classes: list[str]) -> list[str]:
        """Return the label classes that have labels, in the context's order, or say what is missing."""
        counts = Counter(classes)
        unknown = sorted(set(counts) - set(self.context.classes))
        if unknown:
            raise TrainingError(f"label class {unknown[0]!r} is not one of {', '.join(self.context.classes)}")
        learnt = [name for name in self.context.classes if counts[name]]
        if NOMINAL not in learnt or len(learnt) < 2:
            found = ", ".join(f"{counts[name]} {name}" for name in learnt) or "none"
            missing = NOMINAL if learnt and NOMINAL not in learnt else "anomaly"
            raise TrainingError(
                f"the probe needs labels on both sides, nominal and anomaly; found: {found}. Label at least one "
                f"object as {missing}, or use --ranker cold, which needs no labels"
            )
        return learnt

    def _learn(self, points: np.ndarray, places: np.ndarray, invariance: Invariance | None) -> Line:
        """Fit ``points`` (n, D) with class numbers ``places`` (n,)."""
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(
            C=self.options.c, class_weight="balanced" if self.options.balanced else None, max_iter=2000
        )
        seen = points.astype(np.float64) if invariance is None else invariance.change(points)
        model.fit(seen, places, sample_weight=trust(points, places) if self.options.robust else None)
        slope, offset = model.coef_.T, model.intercept_  # (D, 1 or classes)
        if invariance is not None:
            slope = invariance.slope(slope)
        if slope.shape[1] == 1:  # two classes: one logit, of the second against the first
            slope, offset = np.hstack([np.zeros_like(slope), slope]), np.array([0.0, offset[0]])
        return Line(slope.astype(np.float32), offset)


@dataclass(frozen=True, eq=False)
class Line:
    """A linear function: logits = points @ slope + offset.

    Parameters
    ----------
    slope
        ``(D, classes)`` float32.
    offset
        ``(classes,)``.
    """

    slope: np.ndarray
    offset: np.ndarray

    def at(self, points: np.ndarray) -> np.ndarray:
        """Return logits ``(n, classes)`` of points ``(n, D)``."""
        return points @ self.slope + self.offset

    def before(self, axes: np.ndarray) -> Line:
        """Return the same function of the points before they were projected on ``axes`` (mean first)."""
        slope = axes[1:].T @ self.slope
        return Line(slope, self.offset - axes[0] @ slope)
